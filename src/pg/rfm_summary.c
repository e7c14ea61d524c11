/*
 * rfm_summary.c
 *		rfm_summary(): from a log of orders to one row per customer: frequency, recency,
 *		age and monetary value, and what the customer did in a later period to compare a
 *		forecast with.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"

#include "pg/arguments.h"
#include "pg/lifetime.h"
#include "pg/rows.h"

typedef struct Summary
{
	PeRow *row;
	PePeriod period;
	double unit_days;
	int32 end; /* last day of the observation */
	bool with_holdout;
	int32 holdout_end;
	bool with_amount;
	int32 last_seen; /* when only the last day is looked for */
} Summary;

/* What happened in one stretch of time, counted in periods. */
typedef struct Stretch
{
	int64 periods; /* with orders */
	int32 first;
	int32 last;
	double first_amount; /* of the first period */
	double amount;
	int64 orders;
} Stretch;

static Stretch
add_up(const Summary *summary, const PeOrders *orders, int32 after, int32 until)
{
	Stretch stretch = {0};

	for (int i = 0; i < orders->n; i++)
	{
		int32 day = orders->days[i], period;

		if (day <= after || day > until)
			continue;
		period = pe_period_of_day(summary->period, day);
		if (stretch.periods == 0)
			stretch.first = period;
		if (stretch.periods == 0 || period != stretch.last)
			stretch.periods++;
		if (period == stretch.first)
			stretch.first_amount += orders->amounts[i];
		stretch.last = period;
		stretch.amount += orders->amounts[i];
		stretch.orders += orders->counts[i];
	}
	return stretch;
}

static void
put_customer(void *arg, const PeOrders *orders)
{
	Summary *summary = (Summary *) arg;
	PeRow *row = summary->row;
	Stretch seen = add_up(summary, orders, INT32_MIN, summary->end);
	double length = pe_period_days(summary->period) / summary->unit_days;
	int32 last_day = orders->days[0];

	if (seen.periods == 0)
		return;
	for (int i = 0; i < orders->n && orders->days[i] <= summary->end; i++)
		last_day = orders->days[i];
	pe_row_add(row, CStringGetTextDatum(orders->customer));
	pe_row_add_int64(row, seen.periods - 1);
	pe_row_add(row, Float8GetDatum((seen.last - seen.first) * length));
	pe_row_add(row, Float8GetDatum((pe_period_of_day(summary->period, summary->end) - seen.first) * length));
	if (summary->with_amount && seen.periods > 1)
		pe_row_add(row, Float8GetDatum((seen.amount - seen.first_amount) / (seen.periods - 1)));
	else
		pe_row_add_null(row);
	pe_row_add_int64(row, seen.orders);
	pe_row_add(row, DateADTGetDatum(orders->days[0]));
	pe_row_add(row, DateADTGetDatum(last_day));
	if (summary->with_holdout)
	{
		Stretch later = add_up(summary, orders, summary->end, summary->holdout_end);

		pe_row_add_int64(row, later.periods);
		if (summary->with_amount)
			pe_row_add(row, Float8GetDatum(later.amount));
		else
			pe_row_add_null(row);
	}
	else
	{
		pe_row_add_null(row);
		pe_row_add_null(row);
	}
	pe_row_put(row);
}

static void
find_last(void *arg, const PeOrders *orders)
{
	Summary *summary = (Summary *) arg;

	summary->last_seen = Max(summary->last_seen, orders->days[orders->n - 1]);
}

static int32
date_argument(FunctionCallInfo fcinfo, int argument, const char *name)
{
	DateADT date = PG_GETARG_DATEADT(argument);

	if (DATE_NOT_FINITE(date))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("argument \"%s\" must be a day, not infinity", name)));
	return date;
}

PG_FUNCTION_INFO_V1(pe_rfm_summary);

/* rfm_summary(source, customer, time, amount, unit, period, observation_end, holdout_end) */
Datum
pe_rfm_summary(PG_FUNCTION_ARGS)
{
	PeRow row;
	Summary summary = {.row = &row, .last_seen = INT32_MIN};
	char *source = pe_text_argument(fcinfo, 0, "source");
	char *customer = pe_text_argument(fcinfo, 1, "customer");
	char *time = pe_text_argument(fcinfo, 2, "time");
	char *amount = PG_ARGISNULL(3) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(3));

	pe_rows_begin(fcinfo, &row);
	summary.with_amount = amount != NULL;
	summary.unit_days = pe_unit_days(pe_text_argument(fcinfo, 4, "unit"), "unit");
	summary.period = pe_period_from_name(pe_text_argument(fcinfo, 5, "period"));
	if (PG_ARGISNULL(6))
	{
		/* Without an end the log is read twice: ages count from its last day. */
		pe_read_orders(source, customer, time, NULL, find_last, &summary);
		if (summary.last_seen == INT32_MIN)
			return (Datum) 0;
		summary.end = summary.last_seen;
	}
	else
		summary.end = date_argument(fcinfo, 6, "observation_end");
	summary.with_holdout = !PG_ARGISNULL(7);
	if (summary.with_holdout)
	{
		summary.holdout_end = date_argument(fcinfo, 7, "holdout_end");
		if (PG_ARGISNULL(6) || summary.holdout_end <= summary.end)
			ereport(ERROR,
			        (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			         errmsg("holdout_end must be later than observation_end"),
			         errhint("The holdout is what happened after the observation, up to holdout_end.")));
	}
	pe_read_orders(source, customer, time, amount, put_customer, &summary);
	return (Datum) 0;
}
