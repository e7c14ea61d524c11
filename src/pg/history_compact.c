/*
 * history_compact.c
 *		set_retention, apply_retention, compact_history: older days as changes, and gone.
 *
 * Days go into the store in the order of their dates. A row of the day that is, byte by
 * byte, what the store holds for the day before stays as it is, its end open; one that
 * is there no longer gets an end, one that is new gets in. So only changes are written,
 * and the day is shown again exactly: rows that are the same twice are there twice.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "pg/arguments.h"
#include "pg/audit.h"
#include "pg/history.h"
#include "pg/load.h"
#include "pg/owner.h"
#include "pg/progress.h"
#include "pg/rows.h"
#include "pg/snapshot_settings.h"
#include "pg/source.h"
#include "pg/suppression.h"

#define MAX_YEARS_BACK 1000

PG_FUNCTION_INFO_V1(pe_compact_history);
PG_FUNCTION_INFO_V1(pe_set_retention);
PG_FUNCTION_INFO_V1(pe_apply_retention);

/* ---- one day ---------------------------------------------------------------------------- */

/* The columns of the table as a list in SQL, each behind alias; hashed: as text where the type has no hash.
 */
static char *
column_list(const PeSnapshotTable *table, const char *alias, bool hashed)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < table->ncolumns; i++)
	{
		const PeSnapshotColumn *column = &table->columns[i];
		TypeCacheEntry *type;

		if (strcmp(column->name, LOAD_DATE_COLUMN) == 0)
			continue;
		type = lookup_type_cache(column->type, TYPECACHE_HASH_EXTENDED_PROC);
		appendStringInfo(&sql, "%s%s%s%s", sql.len > 0 ? ", " : "", alias, quote_identifier(column->name),
		                 hashed && !OidIsValid(type->hash_extended_proc) ? "::pg_catalog.text" : "");
	}
	return sql.data;
}

/* Where the rows of a relation are, with a hash of each and which of those with the same hash it is. */
static char *
numbered(const PeSnapshotTable *table, const char *relation, const char *condition)
{
	return psprintf("SELECT place, hash, pg_catalog.row_number() OVER (PARTITION BY hash) AS number FROM"
	                " (SELECT t.ctid AS place, pg_catalog.hash_record_extended(ROW(%s), 0) AS hash"
	                " FROM ONLY %s AS t %s) AS hashed",
	                column_list(table, "t.", true), relation, condition);
}

/*
 * Same hash and same number: if the rows are the same bytes, too, nothing has changed.
 * Where they are not, which takes two different rows with one hash, one ends and the other begins.
 */
static char *
take_query(const PeHistory *history, const char *partition)
{
	const PeSnapshotTable *table = history->table;

	return psprintf(
	    "WITH old AS (%s), new AS (%s), same AS MATERIALIZED (SELECT old.place AS old_place, new.place AS "
	    "new_place"
	    " FROM old JOIN new USING (hash, number)"
	    " JOIN %s AS o ON o.ctid OPERATOR(pg_catalog.=) old.place"
	    " JOIN ONLY %s AS n ON n.ctid OPERATOR(pg_catalog.=) new.place"
	    " WHERE pg_catalog.record_image_eq(ROW(%s), ROW(%s))),"
	    " ended AS (UPDATE %s AS c SET valid_to = $1 WHERE c.valid_to OPERATOR(pg_catalog.=) 'infinity'"
	    " AND NOT EXISTS (SELECT FROM same WHERE same.old_place OPERATOR(pg_catalog.=) c.ctid) RETURNING 1),"
	    " added AS (INSERT INTO %s (valid_from, valid_to, %s) SELECT $2, 'infinity', %s FROM ONLY %s AS p"
	    " WHERE NOT EXISTS (SELECT FROM same WHERE same.new_place OPERATOR(pg_catalog.=) p.ctid) RETURNING 1)"
	    " SELECT (SELECT pg_catalog.count(*) FROM ended), (SELECT pg_catalog.count(*) FROM added)",
	    numbered(table, history->store_label, "WHERE t.valid_to OPERATOR(pg_catalog.=) 'infinity'"),
	    numbered(table, partition, ""), history->store_label, partition, column_list(table, "o.", false),
	    column_list(table, "n.", false), history->store_label, history->store_label,
	    column_list(table, "", false), column_list(table, "p.", false), partition);
}

/* Puts the day's partition into the store behind what it holds; counts of rows that ended and were added. */
static void
take_day(const PeHistory *history, Oid partition, DateADT date, int64 *ended, int64 *added)
{
	char *label = load_qualify(get_namespace_name(get_rel_namespace(partition)), get_rel_name(partition));
	Oid types[] = {DATEOID, DATEOID};
	DateADT before = date;
	Datum values[2];
	bool isnull;

	(void) pe_history_newest(history, &before);
	values[0] = DateADTGetDatum(before);
	values[1] = DateADTGetDatum(date);
	if (SPI_execute_with_args(take_query(history, label), 2, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not compact %s", label);
	*ended = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	*added = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
}

/* ---- compact_history -------------------------------------------------------------------- */

/* A full day that is to go into the store. */
typedef struct Full
{
	DateADT date;
	Oid partition;
	int64 rows;
	int64 ended;
	int64 added;
} Full;

/* Rows moved out of a guarded table would be guarded no longer. */
static void
check_compactable(const PeSnapshotTable *table)
{
	Relation rel = relation_open(table->relid, AccessShareLock);

	if (rel->rd_rel->relrowsecurity)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
		                errmsg("the history of %s cannot be compacted: it has row security", table->label),
		                errhint("set_retention drops older days instead.")));
	relation_close(rel, AccessShareLock);
}

/* Full * of the days before limit that come after those in the store, oldest first. */
static List *
full_days(const PeHistory *history, DateADT limit)
{
	Oid types[] = {OIDOID, DATEOID, DATEOID};
	DateADT newest = 0;
	bool any = OidIsValid(history->store) && pe_history_newest(history, &newest);
	Datum values[] = {ObjectIdGetDatum(history->table->relid), DateADTGetDatum(limit),
	                  DateADTGetDatum(newest)};
	MemoryContext caller = CurrentMemoryContext;
	List *days = NIL;
	bool isnull;

	pe_owner_execute("SELECT s.snapshot_date, c.oid, s.rows FROM profenrich.snapshot_load s"
	                 " JOIN pg_namespace n ON n.nspname = s.schema_name"
	                 " JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = s.partition_name"
	                 " JOIN pg_inherits i ON i.inhrelid = c.oid WHERE i.inhparent = $1"
	                 " AND s.snapshot_date < $2 AND ($3 IS NULL OR s.snapshot_date > $3) ORDER BY 1",
	                 3, types, values, any ? "   " : "  n", false, 0);
	MemoryContextSwitchTo(caller);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Full *day = palloc0(sizeof(Full));
		HeapTuple row = SPI_tuptable->vals[i];

		day->date = DatumGetDateADT(SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &isnull));
		day->partition = DatumGetObjectId(SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &isnull));
		day->rows = DatumGetInt64(SPI_getbinval(row, SPI_tuptable->tupdesc, 3, &isnull));
		days = lappend(days, day);
	}
	return days;
}

/* The day's books go with it. */
static void
enter_day(const PeHistory *history, const Full *day)
{
	Oid types[] = {REGCLASSOID, REGCLASSOID, DATEOID, INT8OID, TEXTOID, TEXTOID};
	Datum values[] = {ObjectIdGetDatum(history->table->relid),
	                  ObjectIdGetDatum(history->store),
	                  DateADTGetDatum(day->date),
	                  Int64GetDatum(day->rows),
	                  CStringGetTextDatum(get_namespace_name(get_rel_namespace(day->partition))),
	                  CStringGetTextDatum(get_rel_name(day->partition))};

	pe_owner_execute(
	    "INSERT INTO profenrich.snapshot_compacted (into_table, store, snapshot_date,"
	    " loaded_at, loaded_by, source, server, dataset, batch, mapping, rows, files, bytes, exported_at)"
	    " SELECT $1, $2, $3, loaded_at, loaded_by, source, server, dataset, batch, mapping, $4,"
	    " files, bytes, exported_at FROM profenrich.snapshot_load"
	    " WHERE schema_name = $5 AND partition_name = $6 AND snapshot_date = $3",
	    6, types, values, NULL, false, 0);
}

static int64
count_rows(const Full *day)
{
	char *label =
	    load_qualify(get_namespace_name(get_rel_namespace(day->partition)), get_rel_name(day->partition));
	bool isnull;

	if (SPI_execute(psprintf("SELECT pg_catalog.count(*) FROM ONLY %s", label), false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not count the rows of %s", label);
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/* How many rows are the same the planner cannot know; it must not look for each of them among all others. */
static int
hash_joins_only(void)
{
	int level = NewGUCNestLevel();

	set_config_option("enable_nestloop", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	set_config_option("jit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	return level;
}

/*
 * The long part, which readers do not notice: every day into the store, while nobody changes
 * it. Then the short one: the partitions go, and the view shows the days from the store.
 * Those who change rows wait for the table, not for a partition: they would hold up the short
 * part with a lock on the table.
 */
static void
compact(PeHistory *history, List *days)
{
	ListCell *cell;
	uint64 done = 0;
	int guc_level;

	LockRelationOid(history->table->relid, ShareLock);
	pe_history_make(history);
	guc_level = hash_joins_only();
	foreach (cell, days)
	{
		Full *day = lfirst(cell);

		CHECK_FOR_INTERRUPTS();
		pe_progress_publish("compacting", done++, (uint64) list_length(days));
		LockRelationOid(day->partition, ShareLock);
		day->rows = count_rows(day);
		take_day(history, day->partition, day->date, &day->ended, &day->added);
		enter_day(history, day);
	}
	AtEOXact_GUC(true, guc_level);
	load_analyze(history->store_label);
	foreach (cell, days)
		load_unpublish(load_target_open(history->table->label, ((Full *) lfirst(cell))->date));
	pe_history_write_view(history);
}

/* older_than back from the newest day. */
static DateADT
days_back(DateADT newest, Interval *interval)
{
	Timestamp limit = DatumGetTimestamp(DirectFunctionCall2(
	    timestamp_mi_interval, DirectFunctionCall1(date_timestamp, DateADTGetDatum(newest)),
	    IntervalPGetDatum(interval)));

	return DatumGetDateADT(DirectFunctionCall1(timestamp_date, TimestampGetDatum(limit)));
}

/* From no day of a snapshot may it lead out of what a timestamp can hold: see days_back(). */
static void
check_interval(const char *name, const Interval *interval)
{
	int64 days = (int64) interval->month * DAYS_PER_MONTH + interval->day + interval->time / USECS_PER_DAY;

	if (interval->month < 0 || interval->day < 0 || interval->time < 0 || days < 1)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("%s must be one day at least, and no part of it negative", name)));
	if (days > MAX_YEARS_BACK * 365)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("%s must be %d years at most", name, MAX_YEARS_BACK)));
}

/* Rows that came after its snapshot would go with their partition. */
static void
check_isolation(void)
{
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
		        (errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
		         errmsg("compact_history() cannot run in a transaction with isolation level repeatable read "
		                "or serializable"),
		         errdetail("Its snapshot may be older than rows of the days to compact."),
		         errhint("Run it under read committed.")));
}

/* The caller's table; nobody else loads, compacts or drops days of it until the transaction ends. */
static PeSnapshotTable *
own_and_hold(const char *name)
{
	PeSnapshotTable *table = pe_snapshot_table_own(name);

	load_lock_name(load_target_open(table->label, 0));
	/* It may have got columns while we waited. */
	return pe_snapshot_table_load(table->relid);
}

static DateADT
newest_day(const PeSnapshotTable *table)
{
	DateADT newest;

	pe_push_snapshot_of_now();
	newest = pe_snapshot_day(table, NULL).date;
	PopActiveSnapshot();
	return newest;
}

/* compact_history(snapshot_table, older_than) -> (snapshot_date, rows, ended, added) */
Datum
pe_compact_history(PG_FUNCTION_ARGS)
{
	char *name = pe_text_argument(fcinfo, 0, "snapshot_table");
	Interval *older_than;
	PeSnapshotTable *table;
	PeHistory *history;
	List *days;
	ListCell *cell;
	PeRow row;

	pe_need_argument(fcinfo, 1, "older_than");
	older_than = PG_GETARG_INTERVAL_P(1);
	load_check_session("compact_history()");
	check_isolation();
	check_interval("older_than", older_than);
	pe_rows_begin(fcinfo, &row);
	SPI_connect();
	/* Or forget() would not find what we have moved. */
	pe_suppression_hold();
	table = own_and_hold(name);
	check_compactable(table);
	history = pe_history_open(table, true);
	days = full_days(history, days_back(newest_day(table), older_than));
	if (days != NIL)
	{
		pe_progress_begin(PE_PROGRESS_LOAD, table->name);
		compact(history, days);
		pe_progress_end();
	}
	else if (OidIsValid(history->store) && !OidIsValid(history->view))
		pe_history_write_view(history);
	foreach (cell, days)
	{
		const Full *day = lfirst(cell);

		pe_row_add(&row, DateADTGetDatum(day->date));
		pe_row_add_int64(&row, day->rows);
		pe_row_add_int64(&row, day->ended);
		pe_row_add_int64(&row, day->added);
		pe_row_put(&row);
	}
	SPI_finish();
	pe_audit("compact_history", table->label, "{\"days\": %d}", list_length(days));
	return (Datum) 0;
}

/* ---- retention -------------------------------------------------------------------------- */

/* set_retention(snapshot_table, keep): NULL keeps every day. */
Datum
pe_set_retention(PG_FUNCTION_ARGS)
{
	PeSnapshotTable *table;

	PreventCommandIfReadOnly("set_retention()");
	pe_need_argument(fcinfo, 0, "snapshot_table");
	if (!PG_ARGISNULL(1))
		check_interval("keep", PG_GETARG_INTERVAL_P(1));
	table = pe_snapshot_table_own(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	SPI_connect();
	pe_snapshot_setting_put(table->relid, "keep", INTERVALOID, PG_ARGISNULL(1) ? 0 : PG_GETARG_DATUM(1),
	                        PG_ARGISNULL(1));
	SPI_finish();
	pe_audit("set_retention", table->label, "{\"keep\": %s}",
	         PG_ARGISNULL(1)
	             ? "null"
	             : pe_audit_text(DatumGetCString(DirectFunctionCall1(interval_out, PG_GETARG_DATUM(1)))));
	PG_RETURN_VOID();
}

/* Days of the table before limit, DateADT, oldest first; of partitions only, or of the store as well. */
static List *
days_before(const PeSnapshotTable *table, DateADT limit)
{
	Oid types[] = {OIDOID, DATEOID};
	Datum values[] = {ObjectIdGetDatum(table->relid), DateADTGetDatum(limit)};
	MemoryContext caller = CurrentMemoryContext;
	List *days = NIL;
	bool isnull;

	pe_owner_execute("SELECT d.snapshot_date FROM " PE_SNAPSHOT_DAYS " WHERE d.snapshot_date < $2 ORDER BY 1",
	                 2, types, values, NULL, false, 0);
	MemoryContextSwitchTo(caller);
	for (uint64 i = 0; i < SPI_processed; i++)
		days = lappend_int(
		    days, DatumGetDateADT(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull)));
	return days;
}

bool
pe_history_first_kept(const PeSnapshotTable *table, DateADT newest, DateADT *first)
{
	PeSnapshotSettings settings = pe_snapshot_settings(table->relid);

	if (settings.keep != NULL)
		*first = days_back(newest, settings.keep);
	return settings.keep != NULL;
}

/* What is older than the table's owner wants to keep, reckoned from its newest day. */
static List *
expired_days(const PeSnapshotTable *table)
{
	DateADT first;

	if (!pe_history_first_kept(table, newest_day(table), &first))
		return NIL;
	return days_before(table, first);
}

static void
drop_days(const PeSnapshotTable *table, List *days)
{
	ListCell *cell;

	foreach (cell, days)
		load_unpublish(load_target_open(table->label, lfirst_int(cell)));
}

/* apply_retention(snapshot_table) -> days dropped */
Datum
pe_apply_retention(PG_FUNCTION_ARGS)
{
	char *name = pe_text_argument(fcinfo, 0, "snapshot_table");
	PeSnapshotTable *table;
	List *days;
	ListCell *cell;
	PeRow row;

	load_check_session("apply_retention()");
	pe_rows_begin_single(fcinfo, &row);
	SPI_connect();
	table = own_and_hold(name);
	days = expired_days(table);
	drop_days(table, days);
	SPI_finish();
	foreach (cell, days)
	{
		pe_row_add(&row, DateADTGetDatum(lfirst_int(cell)));
		pe_row_put(&row);
	}
	pe_audit("apply_retention", table->label, "{\"days\": %d}", list_length(days));
	return (Datum) 0;
}

/* Drops the days unless that would have to wait; false then. */
static bool
drop_days_at_once(const PeSnapshotTable *table, List *days)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool dropped = true;

	if (!load_try_lock_exclusive(load_target_open(table->label, 0)))
		return false;
	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		drop_days(table, days);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
			PG_RE_THROW();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		dropped = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	return dropped;
}

/*
 * After a load, in its transaction: not at the price of its failing. A table that somebody
 * reads keeps its old days until the next load, or until apply_retention.
 */
void
pe_history_retain(Oid parent)
{
	PeSnapshotTable *table = pe_snapshot_table_load(parent);
	List *days;

	/* The day that was entered just now is the newest. */
	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
	days = expired_days(table);
	PopActiveSnapshot();
	if (days == NIL)
		return;
	if (drop_days_at_once(table, days))
		ereport(NOTICE, (errmsg_plural("%d day of %s is older than it keeps and was dropped",
		                               "%d days of %s are older than it keeps and were dropped",
		                               list_length(days), list_length(days), table->label)));
	else
		ereport(NOTICE, (errmsg_plural("%d day of %s is older than it keeps, but the table is in use",
		                               "%d days of %s are older than it keeps, but the table is in use",
		                               list_length(days), list_length(days), table->label),
		                 errhint("The next load drops it, or apply_retention().")));
}
