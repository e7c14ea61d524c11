/*
 * goal_query.c
 *		The SQL that a goal becomes. Each anchor is a SELECT of its own with its days as
 *		constants, so that no more partitions are read than it is about; they are joined by
 *		UNION ALL, so that rows stream anchor by anchor.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "pg/features.h"
#include "pg/goal.h"

PG_FUNCTION_INFO_V1(pe_training_query);
PG_FUNCTION_INFO_V1(pe_scoring_query);

char *
pe_source_as(const PeSource *source, const char *alias)
{
	if (OidIsValid(source->relid))
		return psprintf("%s AS %s", source->from, alias);
	return psprintf("(SELECT * FROM %s) AS %s", source->from, alias);
}

char *
pe_goal_snapshots_as(const PeGoal *goal, DateADT since, const char *alias)
{
	return pe_source_as(goal->plain != NULL && since >= goal->plain_since ? goal->plain : goal->snapshots,
	                    alias);
}

static Oid
type_of(const PeSource *source, const char *column)
{
	return TupleDescAttr(source->desc, pe_source_column(source, column))->atttypid;
}

/* left = right, as texts where one source has the key as a number and the other as a text. */
static char *
same_key(const PeGoal *goal, const PeSource *other, const char *column, const char *left)
{
	const char *cast =
	    type_of(goal->snapshots, goal->key) == type_of(other, column) ? "" : "::pg_catalog.text";

	return psprintf("%s%s = s.%s%s", left, cast, quote_identifier(goal->key), cast);
}

/* ---- the outcome ------------------------------------------------------------------------- */

/* The bounds of the window, for the time of an event. Days are those of UTC. */
static char *
event_window(const PeGoal *goal, const PeAnchor *anchor)
{
	const char *time = quote_identifier(goal->events_time);
	bool with_zone = goal->events_time_type == TIMESTAMPTZOID;
	const char *type = with_zone ? "timestamptz" : "timestamp";
	const char *zone = with_zone ? "+00" : "";

	if (goal->events_time_type == DATEOID)
		return psprintf("%s > %s AND %s <= %s", time, pe_date_sql(anchor->day), time,
		                pe_date_sql(anchor->ends));
	return psprintf("%s >= %s '%s 00:00%s' AND %s < %s '%s 00:00%s'", time, type,
	                pe_date_text(anchor->day + 1), zone, time, type, pe_date_text(anchor->ends + 1), zone);
}

/* By profile: which outcomes happened in the window, and is it there on the last day? */
static void
append_later(StringInfo query, const PeGoal *goal, const PeAnchor *anchor)
{
	const PeSource *source = goal->events != NULL ? goal->events : goal->snapshots;
	const char *key = goal->events != NULL ? goal->events_key : goal->key;
	char *rows = goal->events != NULL ? pe_source_as(source, "later")
	                                  : pe_goal_snapshots_as(goal, anchor->day + 1, "later");
	ListCell *cell;

	appendStringInfo(query, "(SELECT %s AS profile_key", quote_identifier(key));
	foreach (cell, goal->outcomes)
		appendStringInfo(query, ",\n        bool_or((%s\n)) AS outcome_%d", (const char *) lfirst(cell),
		                 foreach_current_index(cell) + 1);
	if (goal->events == NULL)
		appendStringInfo(query, ",\n        bool_or(snapshot_date = %s) AS seen",
		                 anchor->last > anchor->day ? pe_date_sql(anchor->last) : "NULL");
	appendStringInfo(query, "\n   FROM %s\n  WHERE ", rows);
	if (goal->events != NULL)
		appendStringInfoString(query, event_window(goal, anchor));
	else
		appendStringInfo(query, "snapshot_date > %s AND snapshot_date <= %s", pe_date_sql(anchor->day),
		                 pe_date_sql(anchor->ends));
	appendStringInfo(query, "\n  GROUP BY 1) AS later ON %s",
	                 same_key(goal, source, key, "later.profile_key"));
}

/* Did it happen, as far as rows of the window say so? */
static char *
happened(const PeGoal *goal)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoChar(&sql, '(');
	for (int i = 1; i <= list_length(goal->outcomes); i++)
		appendStringInfo(&sql, "%scoalesce(later.outcome_%d, false)",
		                 i == 1      ? ""
		                 : goal->all ? " AND "
		                             : " OR ",
		                 i);
	appendStringInfoChar(&sql, ')');
	return sql.data;
}

#define IS_GONE "later.seen IS NOT TRUE"

/* The outcome, of those of whom it is known. */
static char *
outcome(const PeGoal *goal)
{
	char *sql = happened(goal);

	if (goal->events == NULL && goal->absent == PE_ABSENT_HAPPENED)
		sql = psprintf("(%s OR " IS_GONE ")", sql);
	return goal->happens ? sql : psprintf("(NOT %s)", sql);
}

/*
 * Whose outcome is not known: gone before the window's end, without one before. Where being gone counts as
 * something, those who went into another profile: they are not gone, nor is it known what became of them.
 * NULL: nobody's.
 */
static char *
unknown(const PeGoal *goal)
{
	if (goal->events != NULL || (goal->absent != PE_ABSENT_LEAVE_OUT && goal->identities == NULL))
		return NULL;
	return psprintf("(" IS_GONE " AND NOT %s%s)", happened(goal),
	                goal->identities != NULL ? " AND merged.profile_key IS NOT NULL" : "");
}

/* Key and identities of a day's profiles. */
static char *
identities_of_day(const PeGoal *goal, DateADT day)
{
	return psprintf("SELECT t.%s AS profile_key, unnest(%s) AS identity FROM %s WHERE t.snapshot_date = %s",
	                quote_identifier(goal->key), goal->identities, pe_goal_snapshots_as(goal, day, "t"),
	                pe_date_sql(day));
}

/* The profiles of the anchor's day that are gone on the window's last, where another shares an identity with
 * them. */
static void
append_merged(StringInfo query, const PeGoal *goal, const PeAnchor *anchor)
{
	const char *key = quote_identifier(goal->key);
	DateADT last = Max(anchor->last, anchor->day);

	appendStringInfo(
	    query,
	    "\n  LEFT JOIN (SELECT DISTINCT a.profile_key\n   FROM (%s\n    AND NOT EXISTS (SELECT FROM "
	    "%s WHERE there.%s = t.%s AND there.snapshot_date = %s)) AS a\n   JOIN (%s) AS b"
	    " ON b.identity = a.identity) AS merged ON merged.profile_key = s.%s",
	    identities_of_day(goal, anchor->day), pe_goal_snapshots_as(goal, last, "there"), key, key,
	    pe_date_sql(last), identities_of_day(goal, last), key);
}

/* ---- the rows ---------------------------------------------------------------------------- */

/* The profiles of a day that the goal is about, as s. */
static void
append_profiles(StringInfo query, const PeGoal *goal, DateADT day)
{
	appendStringInfo(query, "(SELECT * FROM %s WHERE snapshot_date = %s AND %s IS NOT NULL",
	                 pe_goal_snapshots_as(goal, day, "anchor"), pe_date_sql(day),
	                 quote_identifier(goal->key));
	if (goal->eligible != NULL)
		appendStringInfo(query, " AND (%s\n)", goal->eligible);
	appendStringInfoString(query, ") AS s");
}

/* All features: the snapshot's columns, their history, what is joined. */
static void
append_features(StringInfo query, const PeGoal *goal, const PeGoalDays *days, DateADT day)
{
	ListCell *cell;

	for (int i = 0; i < goal->snapshots->desc->natts; i++)
	{
		const char *name = NameStr(TupleDescAttr(goal->snapshots->desc, i)->attname);

		if (strcmp(name, goal->key) != 0 && strcmp(name, PE_SNAPSHOT_COLUMN) != 0)
			appendStringInfo(query, ",\n       s.%s", quote_identifier(name));
	}
	pe_history_select(query, goal, days, day);
	foreach (cell, goal->joins)
	{
		const PeGoalJoin *join = lfirst(cell);

		for (int i = 0; i < join->source->desc->natts; i++)
		{
			const char *name = NameStr(TupleDescAttr(join->source->desc, i)->attname);

			if (strcmp(name, join->key) != 0 && strcmp(name, join->date) != 0)
				appendStringInfo(query, ",\n       joined_%d.%s", foreach_current_index(cell) + 1,
				                 quote_identifier(name));
		}
	}
}

/* The relation of a join, as that alias, on the rows s of a day. */
static void
append_join(StringInfo query, const PeGoal *goal, const PeGoalJoin *join, const char *alias, DateADT day)
{
	appendStringInfo(
	    query, "JOIN %s ON %s AND %s.%s = %s", pe_source_as(join->source, alias),
	    same_key(goal, join->source, join->key, psprintf("%s.%s", alias, quote_identifier(join->key))), alias,
	    quote_identifier(join->date), pe_date_sql(day));
}

static void
append_joins(StringInfo query, const PeGoal *goal, const PeGoalDays *days, DateADT day)
{
	char *history = pe_history_subquery(goal, days, day);
	ListCell *cell;

	if (history != NULL)
		appendStringInfo(query, "\n  LEFT JOIN (%s) AS earlier ON earlier.profile_key = s.%s", history,
		                 quote_identifier(goal->key));
	foreach (cell, goal->joins)
	{
		appendStringInfoString(query, "\n  LEFT ");
		append_join(query, goal, lfirst(cell), psprintf("joined_%d", foreach_current_index(cell) + 1), day);
	}
}

/* What follows the select list: the eligible profiles, with what happened later. */
static void
append_from(StringInfo query, const PeGoal *goal, const PeAnchor *anchor)
{
	appendStringInfoString(query, "\n  FROM ");
	append_profiles(query, goal, anchor->day);
	appendStringInfoString(query, "\n  LEFT JOIN ");
	append_later(query, goal, anchor);
	if (goal->identities != NULL)
		append_merged(query, goal, anchor);
}

static void
append_known(StringInfo query, const PeGoal *goal)
{
	char *left_out = unknown(goal);

	if (left_out != NULL)
		appendStringInfo(query, "\n WHERE NOT %s", left_out);
}

static void
append_anchor(StringInfo query, const PeGoal *goal, const PeGoalDays *days, const PeAnchor *anchor)
{
	appendStringInfo(query, "SELECT s.%s, s.snapshot_date,\n       %s AS " PE_OUTCOME_COLUMN,
	                 quote_identifier(goal->key), outcome(goal));
	append_features(query, goal, days, anchor->day);
	append_from(query, goal, anchor);
	append_joins(query, goal, days, anchor->day);
	append_known(query, goal);
}

char *
pe_goal_outcome_query(const PeGoal *goal, const PeAnchor *anchor)
{
	StringInfoData query;

	initStringInfo(&query);
	appendStringInfo(&query, "SELECT s.%s::pg_catalog.text AS profile_key, %s AS " PE_OUTCOME_COLUMN,
	                 quote_identifier(goal->key), outcome(goal));
	append_from(&query, goal, anchor);
	append_known(&query, goal);
	return query.data;
}

char *
pe_goal_change_query(const PeGoal *goal, const PeAnchor *anchor, const int *columns, int n)
{
	StringInfoData query;

	initStringInfo(&query);
	appendStringInfoString(&query,
	                       "SELECT count(*) FILTER (WHERE happened), count(*) FILTER (WHERE NOT happened)");
	for (int i = 0; i < n; i++)
		appendStringInfo(
		    &query,
		    ",\n count(*) FILTER (WHERE happened AND c%d), count(*) FILTER (WHERE NOT happened AND c%d)", i,
		    i);
	appendStringInfo(&query, "\n FROM (SELECT %s AS happened", happened(goal));
	for (int i = 0; i < n; i++)
	{
		const char *name =
		    quote_identifier(NameStr(TupleDescAttr(goal->snapshots->desc, columns[i])->attname));

		appendStringInfo(&query, ", s.%s IS DISTINCT FROM last.%s AS c%d", name, name, i);
	}
	append_from(&query, goal, anchor);
	appendStringInfo(&query, "\n  JOIN %s ON last.%s = s.%s AND last.snapshot_date = %s) AS changes",
	                 pe_goal_snapshots_as(goal, anchor->last, "last"), quote_identifier(goal->key),
	                 quote_identifier(goal->key), pe_date_sql(anchor->last));
	return query.data;
}

char *
pe_goal_training_query(const PeGoal *goal, const PeGoalDays *days, const PeAnchor *anchors, int n)
{
	StringInfoData query;

	initStringInfo(&query);
	for (int i = 0; i < n; i++)
	{
		if (i > 0)
			appendStringInfoString(&query, "\nUNION ALL\n");
		append_anchor(&query, goal, days, &anchors[i]);
	}
	return query.data;
}

char *
pe_goal_scoring_query(const PeGoal *goal, const PeGoalDays *days, DateADT day)
{
	StringInfoData query;

	initStringInfo(&query);
	appendStringInfo(&query, "SELECT s.%s, s.snapshot_date", quote_identifier(goal->key));
	append_features(&query, goal, days, day);
	appendStringInfoString(&query, "\n  FROM ");
	append_profiles(&query, goal, day);
	append_joins(&query, goal, days, day);
	return query.data;
}

char *
pe_goal_count_query(const PeGoal *goal, const PeGoalDays *days, const PeAnchor *anchor)
{
	char *left_out = unknown(goal);
	StringInfoData query;

	initStringInfo(&query);
	appendStringInfo(&query, "SELECT (SELECT count(*) FROM %s WHERE snapshot_date = %s), count(*),\n",
	                 pe_goal_snapshots_as(goal, anchor->day, "a"), pe_date_sql(anchor->day));
	appendStringInfo(&query,
	                 " count(*) FILTER (WHERE known AND happened), count(*) FILTER (WHERE known AND NOT "
	                 "happened),\n count(*) FILTER (WHERE NOT known)\n FROM (SELECT %s AS known, %s AS "
	                 "happened",
	                 left_out != NULL ? psprintf("NOT %s", left_out) : "true", outcome(goal));
	append_from(&query, goal, anchor);
	appendStringInfoString(&query, ") AS outcomes");
	return query.data;
}

char *
pe_goal_repeated_query(const PeGoal *goal, const PeGoalJoin *join, DateADT day)
{
	StringInfoData query;

	initStringInfo(&query);
	appendStringInfo(&query, "SELECT count(*) FROM (SELECT FROM ");
	append_profiles(&query, goal, day);
	appendStringInfoChar(&query, ' ');
	if (join != NULL)
		append_join(&query, goal, join, "joined", day);
	appendStringInfo(&query, " GROUP BY s.%s HAVING count(*) > 1) AS repeated", quote_identifier(goal->key));
	return query.data;
}

/* ---- running it -------------------------------------------------------------------------- */

void
pe_goal_execute(const char *query)
{
	int guc_level = NewGUCNestLevel();
	int result;

	/* Compiling a query over many partitions takes longer than running it. */
	set_config_option("jit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	pe_push_snapshot_of_now();
	result = SPI_execute(query, true, 0);
	if (result != SPI_OK_SELECT)
		elog(ERROR, "a query of a goal failed: %s", SPI_result_code_string(result));
	PopActiveSnapshot();
	AtEOXact_GUC(true, guc_level);
}

/* ---- the functions ----------------------------------------------------------------------- */

/* A goal whose query is kept, perhaps as a view, and read when more days are compacted. */
static PeGoal *
open_to_keep(const char *name)
{
	PeGoal *goal = pe_goal_open(name);

	goal->plain = NULL;
	return goal;
}

/* training_query(goal) -> the training set of all anchors whose windows have passed, as a SELECT. */
Datum
pe_training_query(PG_FUNCTION_ARGS)
{
	PeGoal *goal = open_to_keep(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PeGoalDays *days = pe_goal_days(goal, 0);

	if (days->n_anchors == 0)
		pe_goal_raise_no_anchor(goal, days);
	pe_goal_notice_unused(goal, days);
	PG_RETURN_TEXT_P(cstring_to_text(pe_goal_training_query(goal, days, days->anchors, days->n_anchors)));
}

/* scoring_query(goal, snapshot_date) -> the rows of a day, the newest one for NULL, as a SELECT. */
Datum
pe_scoring_query(PG_FUNCTION_ARGS)
{
	PeGoal *goal;
	PeGoalDays *days;
	DateADT day;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	goal = open_to_keep(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	days = pe_goal_days(goal, 0);
	day = PG_ARGISNULL(1) ? days->days[days->n_days - 1] : PG_GETARG_DATEADT(1);
	pe_goal_need_day(goal, days, day);
	PG_RETURN_TEXT_P(cstring_to_text(pe_goal_scoring_query(goal, days, day)));
}
