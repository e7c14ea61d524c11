/*
 * load_available.c
 *		available_snapshots: the days of a profile snapshot, those that the platform has beside those
 *		that are loaded; and what load_missing_snapshots, which is SQL, needs of C.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"

#include "pg/connection.h"
#include "pg/history.h"
#include "pg/load.h"
#include "pg/load_dataset.h"
#include "pg/owner.h"
#include "pg/report.h"
#include "pg/rows.h"
#include "platform/catalog.h"

/* One day: what the platform has of it, and what is loaded. */
typedef struct Day
{
	DateADT date;
	char *batch;      /* the newest good one; NULL: none */
	int64 created_ms; /* of that */
	char *bad_batch;  /* the newest of the others, when no good one is there */
	char *bad_status;
	bool loaded;
	char *loaded_batch; /* NULL: from files */
} Day;

typedef struct Days
{
	Day *items;
	int count;
	int capacity;
} Days;

static Day *
add_day(Days *days, DateADT date)
{
	if (days->count == days->capacity)
	{
		days->capacity = Max(64, days->capacity * 2);
		days->items = days->items == NULL ? palloc(sizeof(Day) * days->capacity)
		                                  : repalloc(days->items, sizeof(Day) * days->capacity);
	}
	memset(&days->items[days->count], 0, sizeof(Day));
	days->items[days->count].date = date;
	return &days->items[days->count++];
}

static void
add_batches(Days *days, const pe_batch_list *list)
{
	for (int i = 0; i < list->count; i++)
	{
		const pe_batch_info *batch = &list->items[i];
		Day *day;

		if (batch->created_ms <= 0)
			continue;
		day = add_day(days, load_day_of_ms(batch->created_ms));
		day->created_ms = batch->created_ms;
		if (batch->state == PE_BATCH_GOOD)
			day->batch = pstrdup(batch->id);
		else
		{
			day->bad_batch = pstrdup(batch->id);
			day->bad_status = pstrdup(batch->status);
		}
	}
}

static void
list_batches(Days *days, pe_platform *platform, const LoadDataset *dataset)
{
	pe_batch_list list = {0};
	pe_error err = {0};

	pe_check(pe_catalog_batches(platform, dataset->id, NULL, 0, LOAD_MAX_BATCHES, &list, &err), &err);
	PG_TRY();
	{
		add_batches(days, &list);
	}
	PG_FINALLY();
	{
		pe_batch_list_free(&list);
	}
	PG_END_TRY();
}

/* The table to compare with; InvalidOid when it does not exist yet. */
static Oid
find_table(const char *into_table)
{
	Oid relid = RangeVarGetRelid(
	    makeRangeVarFromNameList(textToQualifiedNameList(cstring_to_text(into_table))), NoLock, true);

	if (OidIsValid(relid) && pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, get_rel_name(relid));
	return relid;
}

static void
list_loaded(Days *days, Oid relid)
{
	Oid types[] = {OIDOID};
	Datum values[] = {ObjectIdGetDatum(relid)};

	(void) pe_owner_execute("SELECT snapshot_date, batch FROM profenrich.snapshots"
	                        " WHERE into_table OPERATOR(pg_catalog.=) $1",
	                        1, types, values, NULL, true, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool null;
		Datum date = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &null);
		Day *day = add_day(days, DatumGetDateADT(date));

		day->loaded = true;
		day->loaded_batch = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2);
	}
}

static int
compare_days(const void *a, const void *b)
{
	const Day *left = a;
	const Day *right = b;

	if (left->date != right->date)
		return left->date < right->date ? -1 : 1;
	return left->created_ms < right->created_ms ? -1 : left->created_ms > right->created_ms;
}

/* The first day that the table's retention keeps, reckoned from the newest day that is loaded or can be. */
static DateADT
first_kept(const Days *days, Oid relid)
{
	DateADT first = DATEVAL_NOBEGIN;
	int newest = days->count - 1;

	while (newest >= 0 && !days->items[newest].loaded && days->items[newest].batch == NULL)
		newest--;
	if (newest >= 0)
		(void) pe_history_first_kept(pe_snapshot_table_load(relid), days->items[newest].date, &first);
	return first;
}

/* One item for each day, what is said later winning: batches came in by age. */
static void
merge_days(Days *days)
{
	int kept = 0;

	if (days->count > 1)
		qsort(days->items, days->count, sizeof(Day), compare_days);
	for (int i = 0; i < days->count; i++)
	{
		Day *day = &days->items[i];
		Day *into = kept > 0 ? &days->items[kept - 1] : NULL;

		if (into == NULL || into->date != day->date)
		{
			days->items[kept++] = *day;
			continue;
		}
		if (day->batch != NULL)
		{
			into->batch = day->batch;
			into->created_ms = day->created_ms;
		}
		if (day->bad_batch != NULL)
		{
			into->bad_batch = day->bad_batch;
			into->bad_status = day->bad_status;
		}
		if (day->loaded)
		{
			into->loaded = true;
			into->loaded_batch = day->loaded_batch;
		}
	}
	days->count = kept;
}

static bool
is_changed(const Day *day)
{
	return day->batch != NULL && day->loaded_batch != NULL && strcmp(day->loaded_batch, day->batch) != 0;
}

/* old: the table does not keep days of this age. */
static const char *
status_of(const Day *day, bool old)
{
	if (day->batch == NULL && day->loaded)
		return "kept";
	if (old && !day->loaded)
		return "old";
	if (day->batch == NULL)
		return "lost";
	if (!day->loaded)
		return "missing";
	if (is_changed(day))
		return old ? "old" : "changed";
	return "loaded";
}

static char *
detail_of(const Day *day, bool old)
{
	if (day->batch == NULL && day->bad_batch != NULL)
		return psprintf("batch %s is %s", day->bad_batch, day->bad_status);
	if (day->batch == NULL)
		return "the platform has no batch of this day";
	if (day->loaded && day->loaded_batch == NULL)
		return "loaded from files";
	if (is_changed(day))
		return psprintf("loaded from batch %s", day->loaded_batch);
	if (old && !day->loaded)
		return "the table does not keep days of this age";
	return NULL;
}

static void
put_day(PeRow *row, const Day *day, DateADT first)
{
	bool old = day->date < first;

	pe_row_add(row, DateADTGetDatum(day->date));
	pe_row_add_text(row, status_of(day, old));
	pe_row_add_text(row, day->batch);
	pe_row_add_ms(row, day->batch != NULL ? day->created_ms : 0);
	pe_row_add_text(row, detail_of(day, old));
	pe_row_put(row);
}

PG_FUNCTION_INFO_V1(pe_available_snapshots);

/*
 * available_snapshots(server, into_table, dataset, merge_policy)
 *		-> (snapshot_date, status, batch, exported_at, detail), oldest first, without a gap
 */
Datum
pe_available_snapshots(PG_FUNCTION_ARGS)
{
	char *texts[4];
	PeConnection *connection;
	LoadDataset dataset;
	Days days = {0};
	DateADT first = DATEVAL_NOBEGIN;
	Oid relid;
	PeRow row;

	for (int i = 0; i < lengthof(texts); i++)
		texts[i] = PG_ARGISNULL(i) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(i));
	if (texts[0] == NULL)
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("server must not be NULL")));
	pe_rows_begin(fcinfo, &row);
	SPI_connect();
	connection = pe_connection_open(texts[0], GetUserId(), CurrentMemoryContext);
	dataset = load_choose_snapshot(connection, texts[2], texts[3]);
	list_batches(&days, connection->platform, &dataset);
	pe_connection_close(connection);
	relid = texts[1] != NULL ? find_table(texts[1]) : InvalidOid;
	if (OidIsValid(relid))
		list_loaded(&days, relid);
	merge_days(&days);
	if (OidIsValid(relid))
		first = first_kept(&days, relid);
	for (int i = 0; i < days.count; i++)
	{
		Day gap = {0};

		CHECK_FOR_INTERRUPTS();
		for (gap.date = i > 0 ? days.items[i - 1].date + 1 : days.items[i].date;
		     gap.date < days.items[i].date; gap.date++)
			put_day(&row, &gap, first);
		put_day(&row, &days.items[i], first);
	}
	SPI_finish();
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(pe_refuse_in_transaction);

/* refuse_in_transaction(procedure): its COMMIT would say no more than "invalid transaction termination". */
Datum
pe_refuse_in_transaction(PG_FUNCTION_ARGS)
{
	if (IsTransactionBlock())
		ereport(ERROR, (errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
		                errmsg("%s cannot run inside a transaction: it commits each day by itself",
		                       text_to_cstring(PG_GETARG_TEXT_PP(0))),
		                errhint("CALL it without BEGIN, as the only statement of its command.")));
	PG_RETURN_VOID();
}
