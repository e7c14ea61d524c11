/*
 * lifetime_time.c
 *		Lengths of time with their units: what option texts and intervals are in days,
 *		and which calendar period a day lies in.
 */
#include "postgres.h"

#include <math.h>

#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "pg/lifetime.h"

static const struct
{
	const char *name;
	double days;
} units[] = {{"day", 1}, {"week", 7}, {"month", PE_DAYS_PER_MONTH}, {"year", 12 * PE_DAYS_PER_MONTH}};

/* Beyond this, times in units of a nanosecond day would not fit; nobody forecasts a million years. */
#define LONGEST_DAYS 365.25e6

double
pe_interval_days(const Interval *interval, const char *argument)
{
	double days =
	    interval->month * PE_DAYS_PER_MONTH + interval->day + (double) interval->time / USECS_PER_DAY;

	if (!(days > 0 && days <= LONGEST_DAYS))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("%s must be longer than 0 and at most a million years", argument)));
	return days;
}

/* What the server says of a text that is no interval does not name the option. */
static void
name_option(void *option)
{
	errcontext("%s, which must be a day, week, month or year, or an interval such as \"12 months\"",
	           (const char *) option);
}

double
pe_unit_days(const char *text, const char *option)
{
	ErrorContextCallback context = {error_context_stack, name_option, unconstify(char *, option)};
	Datum interval;
	char *end;

	for (int i = 0; i < lengthof(units); i++)
	{
		if (pg_strcasecmp(text, units[i].name) == 0)
			return units[i].days;
	}
	/* A bare number would be read as seconds. */
	(void) strtod(text, &end);
	if (*end == '\0')
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("%s \"%s\" has no unit of time", option, text),
		                errhint("Give a day, week, month or year, or an interval such as \"12 months\".")));
	error_context_stack = &context;
	interval = DirectFunctionCall3(interval_in, CStringGetDatum(text), ObjectIdGetDatum(InvalidOid),
	                               Int32GetDatum(-1));
	error_context_stack = context.previous;
	return pe_interval_days(DatumGetIntervalP(interval), option);
}

PePeriod
pe_period_from_name(const char *name)
{
	for (int i = 0; i < lengthof(units); i++)
	{
		if (pg_strcasecmp(name, units[i].name) == 0)
			return (PePeriod) (i + 1);
	}
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown period \"%s\"", name),
	                errhint("Valid periods are day, week, month and year.")));
}

double
pe_period_days(PePeriod period)
{
	return units[period - 1].days;
}

int32
pe_period_of_day(PePeriod period, int32 day)
{
	int year, month, of_month;

	switch (period)
	{
		case PE_PERIOD_DAY:
			return day;
		case PE_PERIOD_WEEK:
			/* 2000-01-03 was a Monday. */
			return (day - 2) >= 0 ? (day - 2) / 7 : -((8 - day) / 7);
		case PE_PERIOD_MONTH:
		case PE_PERIOD_YEAR:
			j2date(day + POSTGRES_EPOCH_JDATE, &year, &month, &of_month);
			return period == PE_PERIOD_YEAR ? year : year * 12 + month - 1;
	}
	return 0;
}
