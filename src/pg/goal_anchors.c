/*
 * goal_anchors.c
 *		The days of a goal's snapshots: which of them are anchors, and what each serves.
 *
 * The newest anchors are validated on. An anchor whose window reaches beyond the first of
 * these is not learnt from: its outcomes were not known on that day.
 */
#include "postgres.h"

#include <math.h>

#include "access/table.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "pg/features.h"
#include "pg/goal.h"
#include "pg/history.h"

char *
pe_date_text(DateADT day)
{
	int year, month, of_month;

	j2date(day + POSTGRES_EPOCH_JDATE, &year, &month, &of_month);
	return psprintf("%04d-%02d-%02d", year, month, of_month);
}

char *
pe_date_sql(DateADT day)
{
	return psprintf("date '%s'", pe_date_text(day));
}

DateADT
pe_goal_window_end(const PeGoal *goal, DateADT anchor)
{
	Datum end =
	    DirectFunctionCall2(date_pl_interval, DateADTGetDatum(anchor), IntervalPGetDatum(goal->within));

	return DatumGetDateADT(DirectFunctionCall1(timestamp_date, end));
}

/* ---- the days ---------------------------------------------------------------------------- */

/*
 * The days that a table has partitions for, as an array of dates; false when it is not
 * partitioned by a list of days. Whether there is a row in each is another question.
 */
static bool
partition_days(Oid relid, Datum *array)
{
	Relation relation;
	PartitionDesc partitions;
	PartitionBoundInfo bounds;
	Datum *days;
	bool by_day;

	if (!OidIsValid(relid) || get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE)
		return false;
	relation = table_open(relid, AccessShareLock);
	partitions = RelationGetPartitionDesc(relation, true);
	bounds = partitions->boundinfo;
	by_day = RelationGetPartitionKey(relation)->strategy == PARTITION_STRATEGY_LIST &&
	         RelationGetPartitionKey(relation)->partattrs[0] == get_attnum(relid, PE_SNAPSHOT_COLUMN) &&
	         bounds != NULL && !partition_bound_has_default(bounds) && partitions->nparts > 0;
	if (by_day)
	{
		days = palloc(sizeof(Datum) * bounds->ndatums);
		for (int i = 0; i < bounds->ndatums; i++)
			days[i] = bounds->datums[i][0];
		*array = PointerGetDatum(
		    construct_array(days, bounds->ndatums, DATEOID, sizeof(DateADT), true, TYPALIGN_INT));
	}
	table_close(relation, NoLock);
	return by_day;
}

/*
 * The days of the partitions, and of the view over every day of a table those that are kept as changes
 * (an empty array otherwise); false as above. A day is compacted only with its rows.
 */
static bool
stored_days(Oid relid, Datum *partitions, Datum *compacted)
{
	Oid table =
	    OidIsValid(relid) && get_rel_relkind(relid) == RELKIND_VIEW ? pe_history_table(relid) : InvalidOid;

	*compacted = PointerGetDatum(construct_empty_array(DATEOID));
	if (!OidIsValid(table))
		return partition_days(relid, partitions);
	*compacted = pe_snapshot_compacted_days(pe_snapshot_table_load(table));
	return partition_days(table, partitions);
}

static void
read_days(const PeGoal *goal, PeGoalDays *days)
{
	static const Oid types[] = {DATEARRAYOID, DATEARRAYOID};
	MemoryContext caller = CurrentMemoryContext;
	Datum stored[2];
	bool by_partition;
	int result;

	SPI_connect();
	pe_push_snapshot_of_now();
	by_partition = stored_days(goal->snapshots->relid, &stored[0], &stored[1]);
	/* A look into each day instead of reading all rows. */
	if (by_partition)
		result = SPI_execute_with_args(
		    psprintf("SELECT day.d FROM pg_catalog.unnest($1) AS day(d), LATERAL (SELECT FROM %s WHERE s.%s "
		             "= day.d LIMIT 1) AS found WHERE pg_catalog.isfinite(day.d)"
		             " UNION SELECT d FROM pg_catalog.unnest($2) AS d ORDER BY 1",
		             pe_source_as(goal->plain != NULL ? goal->plain : goal->snapshots, "s"),
		             PE_SNAPSHOT_COLUMN),
		    2, (Oid *) types, stored, NULL, true, 0);
	else
		result =
		    SPI_execute(psprintf("SELECT DISTINCT s.%s FROM %s WHERE pg_catalog.isfinite(s.%s) ORDER BY 1",
		                         PE_SNAPSHOT_COLUMN, pe_source_as(goal->snapshots, "s"), PE_SNAPSHOT_COLUMN),
		                true, 0);
	if (result != SPI_OK_SELECT)
		elog(ERROR, "reading the days failed: %s", SPI_result_code_string(result));
	PopActiveSnapshot();
	days->n_days = (int) SPI_processed;
	days->days = MemoryContextAlloc(caller, sizeof(DateADT) * (days->n_days + 1));
	for (int i = 0; i < days->n_days; i++)
	{
		bool isnull;

		days->days[i] =
		    DatumGetDateADT(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
	}
	SPI_finish();
}

/* The time of now as that type; days are those of UTC. */
static const char *
now_as(Oid type)
{
	if (type == TIMESTAMPTZOID)
		return "pg_catalog.now()";
	return type == DATEOID ? "(pg_catalog.now() AT TIME ZONE 'UTC')::date"
	                       : "(pg_catalog.now() AT TIME ZONE 'UTC')";
}

/*
 * The last day of which all events are there: the one before the newest event's. An event that is
 * dated in the future (a booking, a mistake) says nothing of the days until then. DATEVAL_NOBEGIN: none.
 */
static DateADT
last_full_day(const PeGoal *goal)
{
	const char *time = quote_identifier(goal->events_time);
	DateADT day = DATEVAL_NOBEGIN;
	bool isnull;
	Datum value;

	SPI_connect();
	pe_push_snapshot_of_now();
	if (SPI_execute(psprintf("SELECT (pg_catalog.max(e.%s)%s)::date - 1 FROM %s WHERE e.%s <= %s", time,
	                         goal->events_time_type == TIMESTAMPTZOID ? " AT TIME ZONE 'UTC'" : "",
	                         pe_source_as(goal->events, "e"), time, now_as(goal->events_time_type)),
	                true, 0) != SPI_OK_SELECT)
		elog(ERROR, "reading the newest event failed");
	PopActiveSnapshot();
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	if (!isnull)
		day = DatumGetDateADT(value);
	SPI_finish();
	return day;
}

bool
pe_goal_day_before(const PeGoalDays *days, DateADT at_most, DateADT at_least, DateADT *day)
{
	for (int i = days->n_days - 1; i >= 0 && days->days[i] >= at_least; i--)
	{
		if (days->days[i] > at_most)
			continue;
		*day = days->days[i];
		return true;
	}
	return false;
}

void
pe_goal_need_day(const PeGoal *goal, const PeGoalDays *days, DateADT day)
{
	DateADT found;

	if (pe_goal_day_before(days, day, day, &found))
		return;
	ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
	                errmsg("%s has no snapshot of %s", goal->snapshots->name,
	                       DATE_NOT_FINITE(day) ? "infinity" : pe_date_text(day)),
	                errdetail("There are snapshots of %d days, from %s to %s.", days->n_days,
	                          pe_date_text(days->days[0]), pe_date_text(days->days[days->n_days - 1]))));
}

/* ---- the anchors ------------------------------------------------------------------------- */

static int
compare_ints(const void *a, const void *b)
{
	return *(const int *) a - *(const int *) b;
}

/* The usual distance between neighbouring snapshots, the median, and at least a day. */
static int
usual_distance(const PeGoalDays *days)
{
	int n = days->n_days - 1;
	int *distances = palloc(sizeof(int) * Max(n, 1));

	if (n < 1)
		return 1;
	for (int i = 0; i < n; i++)
		distances[i] = days->days[i + 1] - days->days[i];
	qsort(distances, n, sizeof(int), compare_ints);
	return distances[n / 2];
}

/* Can be told from the snapshots what happened up to the window's end? Of events all are there. */
static bool
is_looked_at(const PeGoal *goal, const PeGoalDays *days, const PeAnchor *anchor)
{
	return goal->events != NULL || (anchor->snapshots > 0 && anchor->ends - anchor->last <= days->tolerance);
}

PeAnchor
pe_goal_anchor(const PeGoal *goal, const PeGoalDays *days, DateADT day)
{
	PeAnchor anchor = {.day = day, .ends = pe_goal_window_end(goal, day), .last = DATEVAL_NOBEGIN};

	for (int i = 0; i < days->n_days; i++)
	{
		if (days->days[i] <= day || days->days[i] > anchor.ends)
			continue;
		anchor.last = days->days[i];
		anchor.snapshots++;
	}
	anchor.use = anchor.ends > days->observed        ? PE_ANCHOR_WAITING
	             : is_looked_at(goal, days, &anchor) ? PE_ANCHOR_TRAINING
	                                                 : PE_ANCHOR_UNOBSERVED;
	return anchor;
}

/* Is the day far enough before the last of those chosen, or may it be as near as it is? */
static bool
is_spaced(const PeGoal *goal, const PeAnchor *candidate, const PeAnchor *chosen, int n)
{
	if (goal->dates != NIL || n == 0)
		return true;
	if (goal->every > 0)
		return candidate->day + goal->every <= chosen[n - 1].day;
	return candidate->ends <= chosen[n - 1].day;
}

static bool
is_given(const PeGoal *goal, DateADT day)
{
	if (goal->dates != NIL)
		return list_member_int(goal->dates, day);
	return day >= goal->from && day <= goal->until;
}

/* Is a day that cannot be an anchor worth being listed? Of those that wait the newest speaks for all, unless
 * named. */
static bool
is_listed(const PeGoal *goal, const PeGoalDays *days, const PeAnchor *candidate)
{
	if (candidate->use == PE_ANCHOR_WAITING)
		return goal->dates != NIL || candidate->day == days->days[days->n_days - 1];
	return days->n_unused == 0 || days->unused[days->n_unused - 1].use == PE_ANCHOR_WAITING ||
	       is_spaced(goal, candidate, days->unused, days->n_unused);
}

static void
choose_anchors(const PeGoal *goal, PeGoalDays *days)
{
	days->anchors = palloc(sizeof(PeAnchor) * (days->n_days + 1));
	days->unused = palloc(sizeof(PeAnchor) * (days->n_days + 1));
	for (int i = days->n_days - 1; i >= 0; i--)
	{
		PeAnchor candidate = pe_goal_anchor(goal, days, days->days[i]);

		CHECK_FOR_INTERRUPTS();
		if (!is_given(goal, candidate.day) || !is_spaced(goal, &candidate, days->anchors, days->n_anchors))
			continue;
		if (candidate.use == PE_ANCHOR_TRAINING)
			days->anchors[days->n_anchors++] = candidate;
		else if (is_listed(goal, days, &candidate))
			days->unused[days->n_unused++] = candidate;
	}
}

/* The newest share is held out, at least one anchor; but one alone is not divided. */
static void
assign_uses(PeGoalDays *days, double share)
{
	int held = share > 0 ? Max(1, (int) rint(share * days->n_anchors)) : 0;
	DateADT first_held;

	if (held == 0 || days->n_anchors < 2)
		return;
	first_held = days->anchors[held - 1].day;
	/* With few or overlapping windows the latest anchor alone leaves most to learn from. */
	if (days->anchors[days->n_anchors - 1].ends > first_held)
	{
		held = 1;
		first_held = days->anchors[0].day;
	}
	if (days->anchors[days->n_anchors - 1].ends > first_held)
		return;
	for (int i = 0; i < days->n_anchors; i++)
		days->anchors[i].use = i < held                             ? PE_ANCHOR_VALIDATION
		                       : days->anchors[i].ends > first_held ? PE_ANCHOR_GAP
		                                                            : PE_ANCHOR_TRAINING;
}

PeGoalDays *
pe_goal_days(const PeGoal *goal, double share)
{
	PeGoalDays *days = palloc0(sizeof(PeGoalDays));

	read_days(goal, days);
	if (days->n_days == 0)
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION), errmsg("goal \"%s\" has no snapshots: %s is empty",
		                                                        goal->name, goal->snapshots->name)));
	days->tolerance = goal->tolerance >= 0 ? goal->tolerance : usual_distance(days);
	days->observed = goal->events != NULL ? last_full_day(goal) : days->days[days->n_days - 1];
	choose_anchors(goal, days);
	assign_uses(days, share);
	return days;
}

int
pe_goal_count_anchors(const PeGoalDays *days, PeAnchorUse use)
{
	int n = 0;

	for (int i = 0; i < days->n_anchors; i++)
		n += days->anchors[i].use == use;
	return n;
}

/* ---- what is said of them ---------------------------------------------------------------- */

#define MOST_NAMED 12 /* days that a message lists */

/* Adds a day to a list of n, as far as a reader looks through it. */
static void
add_day(StringInfo list, int *n, DateADT day)
{
	if (*n < MOST_NAMED)
		appendStringInfo(list, "%s%s", *n > 0 ? ", " : "", pe_date_text(day));
	else if (*n == MOST_NAMED)
		appendStringInfoString(list, ", ...");
	(*n)++;
}

/* The days of option "anchors" that have no snapshot; *n of them. */
static char *
missing_days(const PeGoal *goal, const PeGoalDays *days, int *n)
{
	StringInfoData list;
	ListCell *cell;
	DateADT found;

	initStringInfo(&list);
	*n = 0;
	foreach (cell, goal->dates)
		if (!pe_goal_day_before(days, lfirst_int(cell), lfirst_int(cell), &found))
			add_day(&list, n, lfirst_int(cell));
	return list.data;
}

static char *
unobserved_days(const PeGoalDays *days, int *n)
{
	StringInfoData list;

	initStringInfo(&list);
	*n = 0;
	for (int i = days->n_unused - 1; i >= 0; i--)
		if (days->unused[i].use == PE_ANCHOR_UNOBSERVED)
			add_day(&list, n, days->unused[i].day);
	return list.data;
}

void
pe_goal_notice_unused(const PeGoal *goal, const PeGoalDays *days)
{
	int n;
	char *list = missing_days(goal, days, &n);

	if (n > 0)
		ereport(NOTICE, (errmsg("option \"anchors\" of goal \"%s\" names days without a snapshot: %s",
		                        goal->name, list)));
	list = unobserved_days(days, &n);
	if (n > 0)
		ereport(
		    NOTICE,
		    (errmsg_plural(
		         "%d anchor day of goal \"%s\" is left out, since nobody looked at the end of its window: %s",
		         "%d anchor days of goal \"%s\" are left out, since nobody looked at the end of their "
		         "windows: %s",
		         n, n, goal->name, list),
		     errhint("Load a snapshot of one of the last %d days of each window, or give more days as "
		             "the goal's option \"tolerance\".",
		             days->tolerance + 1)));
}

/* The days that option "anchors" names are not there at all. */
static void
check_named_days(const PeGoal *goal, const PeGoalDays *days)
{
	int n;
	char *list = missing_days(goal, days, &n);

	if (n > 0 && n == list_length(goal->dates))
		ereport(ERROR,
		        (errcode(ERRCODE_UNDEFINED_OBJECT),
		         errmsg("%s has no snapshot of any day in option \"anchors\" of goal \"%s\"",
		                goal->snapshots->name, goal->name),
		         errdetail("Named are %s; there are snapshots of %d days, from %s to %s.", list, days->n_days,
		                   pe_date_text(days->days[0]), pe_date_text(days->days[days->n_days - 1])),
		         errhint("Name other days with profenrich.alter_goal, or load these.")));
}

static void
check_observed(const PeGoal *goal, const PeGoalDays *days)
{
	int n;
	char *list = unobserved_days(days, &n);

	if (n > 0)
		ereport(ERROR,
		        (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		         errmsg("goal \"%s\" has no anchor day whose window was looked at to its end", goal->name),
		         errdetail("There is no snapshot of the last %d days of the windows of %s.",
		                   days->tolerance + 1, list),
		         errhint("Load these days, or give more days as the goal's option \"tolerance\"; "
		                 "profenrich.goal_anchors shows them.")));
}

void
pe_goal_raise_no_anchor(const PeGoal *goal, const PeGoalDays *days)
{
	DateADT oldest = days->days[0];
	DateADT newest = days->days[days->n_days - 1];

	check_named_days(goal, days);
	check_observed(goal, days);
	ereport(
	    ERROR,
	    (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
	     errmsg("goal \"%s\" has no anchor day whose window has passed", goal->name),
	     errdetail("There are snapshots of %d days, from %s to %s; outcomes are known up to %s, and the "
	               "window of the oldest day ends on %s.",
	               days->n_days, pe_date_text(oldest), pe_date_text(newest),
	               DATE_NOT_FINITE(days->observed) ? "no day" : pe_date_text(days->observed),
	               pe_date_text(pe_goal_window_end(goal, oldest))),
	     errhint("Wait until it has passed, or load older snapshots; profenrich.goal_anchors shows them.")));
}
