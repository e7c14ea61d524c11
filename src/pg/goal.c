/*
 * goal.c
 *		create_goal, alter_goal, drop_goal, goal_anchors, goal_counts: declared questions.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"

#include "pg/arguments.h"
#include "pg/audit.h"
#include "pg/goal.h"
#include "pg/history.h"
#include "pg/owner.h"
#include "pg/rows.h"
#include "pg/snapshot_identity.h"

PG_FUNCTION_INFO_V1(pe_create_goal);
PG_FUNCTION_INFO_V1(pe_alter_goal);
PG_FUNCTION_INFO_V1(pe_drop_goal);
PG_FUNCTION_INFO_V1(pe_goal_anchor_rows);
PG_FUNCTION_INFO_V1(pe_goal_counts);

/* A goal as its row has it. */
typedef struct Declaration
{
	char *name;
	Oid owner;
	char *outcome;
	Interval *within;
	char *snapshots;
	char *key;
	char *eligible; /* NULL: none */
	Jsonb *options;
} Declaration;

/* ---- declaring --------------------------------------------------------------------------- */

static void
check_within(const Interval *within)
{
	if (within->time != 0 || within->day < 0 || within->month < 0 || within->day + within->month <= 0 ||
	    within->day > 3650 || within->month > 120)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("argument \"within\" is not a number of whole days"),
		                errhint("Give from 1 day to 10 years: '30 days', '3 months'.")));
}

/* Days that are not compacted are read in the table itself: the planner knows more of it than of the view. */
static void
open_plain(PeGoal *goal, PeSource *named, const PeHistory *history)
{
	DateADT newest;
	bool compacted;

	SPI_connect();
	compacted = OidIsValid(history->store) && pe_history_newest(history, &newest);
	SPI_finish();
	/* A column that was dropped since is in the history alone. */
	if (named->desc->natts != goal->snapshots->desc->natts)
		return;
	goal->plain = named;
	goal->plain_since = compacted ? newest + 1 : DATEVAL_NOBEGIN;
}

/*
 * The rows of every day: of a table of snapshots those that compaction took out of it as well, which
 * its history has. text stays what was declared.
 */
static void
open_snapshots(PeGoal *goal, const char *text)
{
	PeSource *named = pe_source_open(text, "snapshots");
	PeHistory *history;

	goal->snapshots = named;
	if (!OidIsValid(named->relid) || get_rel_relkind(named->relid) != RELKIND_PARTITIONED_TABLE)
		return;
	history = pe_history_open(pe_snapshot_table_load(named->relid), false);
	if (!OidIsValid(history->view))
		return;
	goal->snapshots = pe_source_open(history->view_label, "snapshots");
	goal->snapshots->text = named->text;
	open_plain(goal, named, history);
}

/* Who counts as something for being gone must not have gone into another profile: what tells that, if it is
 * known. */
static void
find_identities(PeGoal *goal)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid relid = goal->snapshots->relid;
	PeSnapshotTable *table;

	if (goal->events != NULL || goal->absent == PE_ABSENT_LEAVE_OUT || !OidIsValid(relid))
		return;
	SPI_connect();
	if (get_rel_relkind(relid) == RELKIND_VIEW)
		relid = pe_history_table(relid);
	if (OidIsValid(relid) && get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE)
	{
		table = pe_snapshot_table_load(relid);
		if (pe_snapshot_has_identity(table))
			goal->identities = MemoryContextStrdup(caller, pe_snapshot_identity_sql(table).identities);
	}
	SPI_finish();
}

static PeGoal *
goal_of(const Declaration *d)
{
	PeGoal *goal = palloc0(sizeof(PeGoal));

	goal->name = d->name;
	goal->owner = d->owner;
	goal->outcomes = list_make1(d->outcome);
	goal->within = d->within;
	open_snapshots(goal, d->snapshots);
	goal->key = d->key;
	goal->eligible = d->eligible;
	pe_goal_options(goal, d->options);
	find_identities(goal);
	pe_goal_check(goal);
	return goal;
}

static void
check_declaration(Declaration *d)
{
	PeSource *snapshots;

	if (d->name[0] == '\0' || strlen(d->name) >= NAMEDATALEN)
		ereport(ERROR, (errcode(ERRCODE_INVALID_NAME),
		                errmsg("goal name \"%s\" is empty or longer than 63 bytes", d->name)));
	check_within(d->within);
	(void) goal_of(d);
	snapshots = pe_source_open(d->snapshots, "snapshots");
	/* The schema is kept: search_path may be another one when the goal is used. */
	if (OidIsValid(snapshots->relid))
		d->snapshots = pstrdup(snapshots->from);
}

/* The columns of the row that a declaration fills; the name is first. */
#define GOAL_COLUMNS 8
static const Oid goal_types[GOAL_COLUMNS] = {TEXTOID, OIDOID,  TEXTOID, INTERVALOID,
                                             TEXTOID, TEXTOID, TEXTOID, JSONBOID};

static void
goal_values(const Declaration *d, Datum *values, char *nulls)
{
	memset(nulls, ' ', GOAL_COLUMNS);
	values[0] = CStringGetTextDatum(d->name);
	values[1] = ObjectIdGetDatum(d->owner);
	values[2] = CStringGetTextDatum(d->outcome);
	values[3] = IntervalPGetDatum(d->within);
	values[4] = CStringGetTextDatum(d->snapshots);
	values[5] = CStringGetTextDatum(d->key);
	values[6] = d->eligible != NULL ? CStringGetTextDatum(d->eligible) : (Datum) 0;
	nulls[6] = d->eligible != NULL ? ' ' : 'n';
	values[7] = JsonbPGetDatum(d->options);
}

static char *
need_argument(FunctionCallInfo fcinfo, int number, const char *name)
{
	char *given = pe_text_argument(fcinfo, number, name);

	if (given[0] == '\0')
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("argument \"%s\" must not be empty", name)));
	return given;
}

static Jsonb *
empty_object(void)
{
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
}

/* create_goal(name, outcome, within, snapshots, key, eligible, options) */
Datum
pe_create_goal(PG_FUNCTION_ARGS)
{
	Declaration d = {.name = need_argument(fcinfo, 0, "name"), .owner = GetUserId()};
	Datum values[GOAL_COLUMNS];
	char nulls[GOAL_COLUMNS];

	PreventCommandIfReadOnly("create_goal()");
	d.outcome = need_argument(fcinfo, 1, "outcome");
	pe_need_argument(fcinfo, 2, "within");
	d.within = PG_GETARG_INTERVAL_P(2);
	d.snapshots = need_argument(fcinfo, 3, "snapshots");
	d.key = need_argument(fcinfo, 4, "key");
	d.eligible = PG_ARGISNULL(5) ? NULL : need_argument(fcinfo, 5, "eligible");
	d.options = PG_ARGISNULL(6) ? empty_object() : PG_GETARG_JSONB_P(6);
	check_declaration(&d);
	goal_values(&d, values, nulls);
	SPI_connect();
	pe_owner_execute(
	    "INSERT INTO profenrich.goal (name, owner, outcome, within, snapshots, key, eligible, options)"
	    " VALUES ($1, $2::regrole, $3, $4, $5, $6, $7, $8) ON CONFLICT (name) DO NOTHING",
	    GOAL_COLUMNS, goal_types, values, nulls, false, 0);
	if (SPI_processed == 0)
		ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT), errmsg("goal \"%s\" already exists", d.name),
		                errhint("profenrich.alter_goal changes whom it is about and its features.")));
	pe_audit("create_goal", d.name, NULL);
	SPI_finish();
	PG_RETURN_VOID();
}

/* ---- what was declared ------------------------------------------------------------------- */

static char *
text_of_row(HeapTuple row, TupleDesc desc, int column, MemoryContext context)
{
	char *text = SPI_getvalue(row, desc, column);

	return text != NULL ? MemoryContextStrdup(context, text) : NULL;
}

/* The row of that name, in the current context; locked against changes when asked to. */
static Declaration
load(const char *name, bool lock)
{
	static const Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(name)};
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext spi;
	Declaration d = {0};
	HeapTuple row;
	TupleDesc desc;
	bool isnull;

	SPI_connect();
	pe_owner_execute(
	    psprintf("SELECT g.name, g.owner::oid, g.outcome, g.within, g.snapshots, g.key, g.eligible, g.options"
	             " FROM profenrich.goal g WHERE g.name = $1%s",
	             lock ? " FOR UPDATE" : ""),
	    1, types, values, NULL, !lock, 1);
	if (SPI_processed == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("there is no goal \"%s\"", name),
		                errhint("profenrich.goals lists them.")));
	row = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	spi = MemoryContextSwitchTo(caller);
	d.name = text_of_row(row, desc, 1, caller);
	d.owner = DatumGetObjectId(SPI_getbinval(row, desc, 2, &isnull));
	d.outcome = text_of_row(row, desc, 3, caller);
	d.within = palloc(sizeof(Interval));
	*d.within = *DatumGetIntervalP(SPI_getbinval(row, desc, 4, &isnull));
	d.snapshots = text_of_row(row, desc, 5, caller);
	d.key = text_of_row(row, desc, 6, caller);
	d.eligible = text_of_row(row, desc, 7, caller);
	d.options = DatumGetJsonbPCopy(SPI_getbinval(row, desc, 8, &isnull));
	MemoryContextSwitchTo(spi);
	SPI_finish();
	return d;
}

PeGoal *
pe_goal_open(const char *name)
{
	Declaration d = load(name, false);

	return goal_of(&d);
}

static void
check_owner(const Declaration *d)
{
	if (!has_privs_of_role(GetUserId(), d->owner) && !pe_is_member("profenrich_admin"))
		ereport(ERROR,
		        (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("must be owner of goal \"%s\"", d->name)));
}

/* alter_goal(name, eligible, options): NULL leaves as it is, an empty condition makes everybody eligible. */
Datum
pe_alter_goal(PG_FUNCTION_ARGS)
{
	Declaration d;
	Datum values[GOAL_COLUMNS];
	char nulls[GOAL_COLUMNS];

	PreventCommandIfReadOnly("alter_goal()");
	d = load(need_argument(fcinfo, 0, "name"), true);
	check_owner(&d);
	if (!PG_ARGISNULL(1))
		d.eligible = text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (d.eligible != NULL && d.eligible[0] == '\0')
		d.eligible = NULL;
	if (!PG_ARGISNULL(2))
		d.options = PG_GETARG_JSONB_P(2);
	check_declaration(&d);
	goal_values(&d, values, nulls);
	SPI_connect();
	pe_owner_execute("UPDATE profenrich.goal SET eligible = $7, options = $8 WHERE name = $1", GOAL_COLUMNS,
	                 goal_types, values, nulls, false, 0);
	pe_audit("alter_goal", d.name, NULL);
	SPI_finish();
	PG_RETURN_VOID();
}

/* drop_goal(name): models that were trained on it stay. */
Datum
pe_drop_goal(PG_FUNCTION_ARGS)
{
	static const Oid types[] = {TEXTOID};
	Datum values[] = {PG_GETARG_DATUM(0)};
	Declaration d;

	PreventCommandIfReadOnly("drop_goal()");
	d = load(pe_text_argument(fcinfo, 0, "name"), true);
	check_owner(&d);
	SPI_connect();
	pe_owner_execute("DELETE FROM profenrich.goal WHERE name = $1", 1, types, values, NULL, false, 0);
	pe_audit("drop_goal", d.name, NULL);
	SPI_finish();
	PG_RETURN_VOID();
}

/* ---- looking at it ----------------------------------------------------------------------- */

static const char *
use_name(PeAnchorUse use)
{
	static const char *const names[] = {"training", "gap", "validation", "waiting", "unobserved"};

	return names[use];
}

static void
put_anchor(PeRow *row, const PeAnchor *anchor)
{
	pe_row_add(row, DateADTGetDatum(anchor->day));
	pe_row_add(row, DateADTGetDatum(anchor->ends));
	pe_row_add_int64(row, anchor->snapshots);
	pe_row_add_text(row, use_name(anchor->use));
	pe_row_put(row);
}

/* goal_anchors(goal) -> (anchor, window_end, snapshots, used_for), the oldest first. */
Datum
pe_goal_anchor_rows(PG_FUNCTION_ARGS)
{
	PeGoal *goal = pe_goal_open(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PeGoalDays *days = pe_goal_days(goal, PE_GOAL_HOLDOUT);
	int used = days->n_anchors;
	int unused = days->n_unused;
	PeRow row;

	pe_goal_notice_unused(goal, days);
	pe_rows_begin(fcinfo, &row);
	while (used > 0 || unused > 0)
	{
		if (unused == 0 || (used > 0 && days->anchors[used - 1].day < days->unused[unused - 1].day))
			put_anchor(&row, &days->anchors[--used]);
		else
			put_anchor(&row, &days->unused[--unused]);
	}
	return (Datum) 0;
}

/* goal_counts(goal) -> (anchor, window_end, used_for, profiles, eligible, happened, not_happened, left_out)
 */
Datum
pe_goal_counts(PG_FUNCTION_ARGS)
{
	PeGoal *goal = pe_goal_open(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PeGoalDays *days = pe_goal_days(goal, PE_GOAL_HOLDOUT);
	PeRow row;

	pe_goal_notice_unused(goal, days);
	pe_rows_begin(fcinfo, &row);
	for (int i = days->n_anchors - 1; i >= 0; i--)
	{
		const PeAnchor *anchor = &days->anchors[i];

		pe_row_add(&row, DateADTGetDatum(anchor->day));
		pe_row_add(&row, DateADTGetDatum(anchor->ends));
		pe_row_add_text(&row, use_name(anchor->use));
		SPI_connect();
		pe_goal_execute(pe_goal_count_query(goal, days, anchor));
		for (int column = 1; column <= 5; column++)
		{
			bool isnull;

			pe_row_add(&row, SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &isnull));
		}
		SPI_finish();
		pe_row_put(&row);
	}
	return (Datum) 0;
}
