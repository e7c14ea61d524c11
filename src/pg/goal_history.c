/*
 * goal_history.c
 *		Features of a goal that tell how a column changed before the anchor: one pass over
 *		the earlier snapshots, grouped by profile.
 */
#include "postgres.h"

#include <ctype.h>

#include "lib/stringinfo.h"
#include "utils/builtins.h"

#include "pg/goal.h"

#define MAX_HISTORY_DAYS 3650

static const struct
{
	const char *words; /* as it is declared, before the number of days */
	const char *name;  /* as it is part of the feature's name */
} kinds[] = {
    [PE_HISTORY_DELTA] = {"delta", "delta"},
    [PE_HISTORY_TREND] = {"trend", "trend"},
    [PE_HISTORY_MEAN] = {"mean", "mean"},
    [PE_HISTORY_SINCE_CHANGE] = {"days since change", "days_since_change"},
    [PE_HISTORY_SINCE_ACTIVE] = {"days since active", "days_since_active"},
};

bool
pe_history_parse(const char *text, PeHistoryKind *kind, int *days)
{
	for (int i = 0; i < lengthof(kinds); i++)
	{
		size_t length = strlen(kinds[i].words);
		char *end;
		long number;

		if (strncmp(text, kinds[i].words, length) != 0 || text[length] != ' ' ||
		    !isdigit((unsigned char) text[length + 1]))
			continue;
		number = strtol(text + length + 1, &end, 10);
		if (*end != '\0' || number < 1 || number > MAX_HISTORY_DAYS)
			return false;
		*kind = (PeHistoryKind) i;
		*days = (int) number;
		return true;
	}
	return false;
}

bool
pe_history_needs_number(PeHistoryKind kind)
{
	return kind == PE_HISTORY_DELTA || kind == PE_HISTORY_TREND || kind == PE_HISTORY_MEAN;
}

const char *
pe_history_name(const char *column, PeHistoryKind kind, int days)
{
	return psprintf("%s_%s_%dd", column, kinds[kind].name, days);
}

/* The snapshot that a delta compares with: the newest that is old enough, and at most twice as old. */
static bool
delta_day(const PeHistoryFeature *feature, const PeGoalDays *days, DateADT anchor, DateADT *day)
{
	return pe_goal_day_before(days, anchor - feature->days, anchor - 2 * feature->days, day);
}

/* One aggregate, over rows p of the earlier days and, for changes, the anchor's row n. */
static void
append_aggregate(StringInfo query, const PeHistoryFeature *feature, const PeGoalDays *days, DateADT anchor)
{
	const char *column = quote_identifier(feature->column);
	char *since = pe_date_sql(anchor - feature->days);
	DateADT day;

	switch (feature->kind)
	{
		case PE_HISTORY_DELTA:
			if (delta_day(feature, days, anchor, &day))
				appendStringInfo(query, "max(p.%s::float8) FILTER (WHERE p.snapshot_date = %s)", column,
				                 pe_date_sql(day));
			else
				appendStringInfoString(query, "NULL::float8");
			break;
		case PE_HISTORY_TREND:
			appendStringInfo(query,
			                 "regr_slope(p.%s::float8, p.snapshot_date - %s) FILTER (WHERE p.snapshot_date "
			                 ">= %s)",
			                 column, pe_date_sql(anchor), since);
			break;
		case PE_HISTORY_MEAN:
			appendStringInfo(query, "avg(p.%s::float8) FILTER (WHERE p.snapshot_date >= %s)", column, since);
			break;
		case PE_HISTORY_SINCE_CHANGE:
			appendStringInfo(query,
			                 "%s - max(p.snapshot_date) FILTER (WHERE p.snapshot_date >= %s AND p.%s IS "
			                 "DISTINCT FROM n.%s)",
			                 pe_date_sql(anchor), since, column, column);
			break;
		case PE_HISTORY_SINCE_ACTIVE:
			appendStringInfo(query,
			                 "%s - max(p.snapshot_date) FILTER (WHERE p.snapshot_date >= %s AND p.%s%s)",
			                 pe_date_sql(anchor), since, column, feature->boolean ? "" : " <> 0");
			break;
	}
}

/* Which of the earlier days are read: no more than the features look at; *first is the first of them. */
static char *
days_condition(const PeGoal *goal, const PeGoalDays *days, DateADT anchor, DateADT *first)
{
	StringInfoData condition;
	int longest = -1;
	ListCell *cell;

	initStringInfo(&condition);
	*first = anchor;
	foreach (cell, goal->history)
	{
		const PeHistoryFeature *feature = lfirst(cell);
		DateADT day = anchor - feature->days;

		if (feature->kind != PE_HISTORY_DELTA)
			longest = Max(longest, feature->days);
		else if (delta_day(feature, days, anchor, &day))
			appendStringInfo(&condition, "%sp.snapshot_date = %s", condition.len > 0 ? " OR " : "",
			                 pe_date_sql(day));
		*first = Min(*first, day);
	}
	if (longest >= 0)
		appendStringInfo(&condition, "%s(p.snapshot_date >= %s AND p.snapshot_date <= %s)",
		                 condition.len > 0 ? " OR " : "", pe_date_sql(anchor - longest), pe_date_sql(anchor));
	return condition.len > 0 ? psprintf("(%s)", condition.data) : "false";
}

char *
pe_history_subquery(const PeGoal *goal, const PeGoalDays *days, DateADT anchor)
{
	const char *key = quote_identifier(goal->key);
	StringInfoData query;
	bool compares = false;
	char *condition;
	DateADT first;
	ListCell *cell;

	if (goal->history == NIL)
		return NULL;
	condition = days_condition(goal, days, anchor, &first);
	initStringInfo(&query);
	appendStringInfo(&query, "SELECT p.%s AS profile_key", key);
	foreach (cell, goal->history)
	{
		const PeHistoryFeature *feature = lfirst(cell);

		appendStringInfoString(&query, ",\n        ");
		append_aggregate(&query, feature, days, anchor);
		appendStringInfo(&query, " AS history_%d", foreach_current_index(cell) + 1);
		compares = compares || feature->kind == PE_HISTORY_SINCE_CHANGE;
	}
	appendStringInfo(&query, "\n   FROM %s", pe_goal_snapshots_as(goal, first, "p"));
	if (compares)
		appendStringInfo(&query, " JOIN %s ON n.%s = p.%s AND n.snapshot_date = %s",
		                 pe_goal_snapshots_as(goal, anchor, "n"), key, key, pe_date_sql(anchor));
	appendStringInfo(&query, "\n  WHERE %s\n  GROUP BY 1", condition);
	return query.data;
}

void
pe_history_select(StringInfo query, const PeGoal *goal, const PeGoalDays *days, DateADT anchor)
{
	ListCell *cell;

	foreach (cell, goal->history)
	{
		const PeHistoryFeature *feature = lfirst(cell);
		int number = foreach_current_index(cell) + 1;

		appendStringInfoString(query, ",\n       ");
		if (feature->kind == PE_HISTORY_DELTA)
			appendStringInfo(query, "s.%s::float8 - earlier.history_%d", quote_identifier(feature->column),
			                 number);
		else
			appendStringInfo(query, "earlier.history_%d", number);
		appendStringInfo(query, " AS %s", quote_identifier(feature->name));
	}
}
