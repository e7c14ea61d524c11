/*
 * refresh.c
 *		refresh(): score, keep what changed, queue it. retract(): clear what was sent.
 *
 * In one transaction, in this order: the enrichment's row lock; only then the
 * source's snapshot, so that of two refreshes the later one always has the newer
 * data; the source read as the enrichment's owner and sorted by key; one merge with
 * profile_score in key order, which tells what changed; the checks that may stop the
 * refresh; and only then the first write.
 *
 * What a value is compared with is the newest one that was queued, never the last
 * one that was delivered: A, then B, then A while B is still pending must end with A.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "parser/parse_oper.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/queryenvironment.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplesort.h"
#include "utils/tuplestore.h"

#include "pg/compat.h"
#include "pg/enrichment_define.h"
#include "pg/guc.h"
#include "pg/owner.h"
#include "pg/progress.h"
#include "pg/source.h"
#include "pg/wire_row.h"
#include "pg/wire_value.h"
#include "pg/worker.h"

#define SHARDS			16
#define KEYS_PER_CHUNK	500
#define MAX_REASONS		32
#define LOCK_POLL_MS	50
#define DEFAULT_LOCK_MS 5000

/* Columns of a sorted source row. The rank decides between rows of one key: smallest first. */
enum
{
	ROW_KEY,
	ROW_RANK,
	ROW_HASH,
	ROW_VALUE,
	ROW_COLUMNS
};

/* Columns of a change: what the SQL below reads as profenrich_changed. */
enum
{
	CHANGE_KEY,
	CHANGE_HASH,
	CHANGE_RETRACTED,
	CHANGE_SHARD,
	CHANGE_NOT_BEFORE,
	CHANGE_VALUE,
	CHANGE_COLUMNS
};

typedef struct SkipReason
{
	const char *reason;
	int64 rows;
} SkipReason;

typedef struct Refresh
{
	PeEnrichment *enrichment;
	MemoryContext context; /* lives as long as the call */

	/* reading the source */
	PeWireRow *wire;
	int rank_column; /* in the slot: what ranks duplicates, or -1 */
	Oid rank_type; /* built in, as enrichment.c saw to: sorting runs nobody's code */
	Tuplesortstate *sorted;
	TupleTableSlot *row; /* the sorted row at hand; empty at the end */
	StringInfoData text;
	int64 usable;

	/* the merge */
	TimestampTz now; /* what the new values are dated with */
	Tuplestorestate *changed;
	TupleDesc change;
	int64 live; /* profiles that had a value before */
	int64 repeated_keys;
	int64 repeated_rows; /* beyond the first of each key */

	/* what the call returns */
	int64 profiles;
	int64 nchanged;
	int64 unchanged;
	int64 retracted;
	int64 skipped;
	SkipReason reasons[MAX_REASONS];
	int nreasons;
} Refresh;

static void
count_skipped(Refresh *refresh, const char *reason)
{
	refresh->skipped++;
	for (int i = 0; i < refresh->nreasons; i++)
		if (strcmp(refresh->reasons[i].reason, reason) == 0)
		{
			refresh->reasons[i].rows++;
			return;
		}
	if (refresh->nreasons < MAX_REASONS)
		refresh->reasons[refresh->nreasons++] = (SkipReason){.reason = reason, .rows = 1};
}

/* {"blank": 3, ...}, for the run's row and for messages. */
static char *
reasons_json(const Refresh *refresh)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoChar(&text, '{');
	for (int i = 0; i < refresh->nreasons; i++)
	{
		if (i > 0)
			appendStringInfoString(&text, ", ");
		escape_json(&text, refresh->reasons[i].reason);
		appendStringInfo(&text, ": " INT64_FORMAT, refresh->reasons[i].rows);
	}
	appendStringInfoChar(&text, '}');
	return text.data;
}

/* ---- lock, then snapshot --------------------------------------------------------------- */

static void
refuse_old_snapshot(const char *function)
{
	if (IsolationUsesXactSnapshot())
		ereport(ERROR, (errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
						errmsg("%s cannot run in a transaction with isolation level repeatable read or serializable", function),
						errdetail("Its snapshot may be older than the values another refresh has queued."),
						errhint("Run it under read committed.")));
}

/*
 * Locks the enrichment's row until the end of the transaction, or raises after
 * lock_timeout (5 s when that is off). Readers and the worker are not kept out.
 */
static void
lock_enrichment(const PeEnrichment *enrichment)
{
	const char *sql = "SELECT FROM profenrich.enrichment WHERE enrichment_id = $1 FOR NO KEY UPDATE SKIP LOCKED";
	Oid types[1] = {INT4OID};
	Datum values[1] = {Int32GetDatum(enrichment->enrichment_id)};
	int limit_ms = LockTimeout > 0 ? LockTimeout : DEFAULT_LOCK_MS;
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), limit_ms);

	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		pe_owner_execute(sql, 1, types, values, NULL, false, 1);
		SPI_freetuptable(SPI_tuptable);
		if (SPI_processed == 1)
			return;
		if (GetCurrentTimestamp() >= end)
			ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
							errmsg("enrichment \"%s\" is busy: another refresh or change of it is running", enrichment->name),
							errhint("Wait for it to end, or raise lock_timeout.")));
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, LOCK_POLL_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

/* ---- reading the source ---------------------------------------------------------------- */

static TupleDesc
row_descriptor(Oid rank_type)
{
	TupleDesc desc = CreateTemplateTupleDesc(ROW_COLUMNS);

	TupleDescInitEntry(desc, ROW_KEY + 1, "profile_key", TEXTOID, -1, 0);
	TupleDescInitEntryCollation(desc, ROW_KEY + 1, C_COLLATION_OID);
	TupleDescInitEntry(desc, ROW_RANK + 1, "rank", rank_type, -1, 0);
	TupleDescInitEntry(desc, ROW_HASH + 1, "hash", INT8OID, -1, 0);
	TupleDescInitEntry(desc, ROW_VALUE + 1, "value", TEXTOID, -1, 0);
	return desc;
}

/* By key, and among rows of one key the one that counts first; those without a rank last. */
static Tuplesortstate *
begin_sort(TupleDesc desc, Oid rank_type, bool highest_first)
{
	AttrNumber columns[3] = {ROW_KEY + 1, ROW_RANK + 1, ROW_HASH + 1};
	Oid operators[3] = {TextLessOperator, InvalidOid, Int8LessOperator};
	Oid collations[3] = {C_COLLATION_OID, InvalidOid, InvalidOid};
	bool nulls_first[3] = {false, false, false};
	Oid less, greater;

	get_sort_group_operators(rank_type, true, false, true, &less, NULL, &greater, NULL);
	operators[1] = highest_first ? greater : less;
	return tuplesort_begin_heap(desc, 3, columns, operators, collations, nulls_first, maintenance_work_mem, NULL,
								TUPLESORT_NONE);
}

static void
prepare_columns(Refresh *refresh, const PeSource *source)
{
	const PeEnrichment *enrichment = refresh->enrichment;

	refresh->wire = pe_wire_row_open(enrichment, source);
	refresh->rank_column = -1;
	refresh->rank_type = FLOAT8OID;
	if (enrichment->duplicate_column != NULL)
	{
		refresh->rank_column = pe_source_need_column(source, enrichment->duplicate_column, "on_duplicate");
		refresh->rank_type = getBaseType(TupleDescAttr(source->desc, refresh->rank_column)->atttypid);
	}
}

/* What ranks a row among those of its key; false when nothing does: a null, or no number. */
static bool
duplicate_rank(const Refresh *refresh, TupleTableSlot *slot, Datum *rank)
{
	if (refresh->rank_column < 0 || slot->tts_isnull[refresh->rank_column])
		return false;
	*rank = slot->tts_values[refresh->rank_column];
	switch (refresh->rank_type)
	{
		case FLOAT4OID:
			return !isnan(DatumGetFloat4(*rank));
		case FLOAT8OID:
			return !isnan(DatumGetFloat8(*rank));
		case NUMERICOID:
			return !numeric_is_nan(DatumGetNumeric(*rank));
		default:
			return true;
	}
}

/* One row of the source: checked, written as canonical JSON, and put into the sort. */
static bool
take_row(void *arg, TupleTableSlot *slot)
{
	Refresh *refresh = arg;
	const char *reason;
	char *key;
	Datum values[ROW_COLUMNS];
	bool nulls[ROW_COLUMNS] = {false};
	TupleTableSlot *row = refresh->row;

	refresh->profiles++;
	if (refresh->profiles % 1024 == 0)
		pe_progress_publish("reading the source", refresh->profiles, 0);
	reason = pe_wire_row_read(refresh->wire, slot, &key, &refresh->text);
	if (reason != NULL)
	{
		count_skipped(refresh, reason);
		if (key == NULL)
			return true;
	}

	values[ROW_KEY] = CStringGetTextDatum(key);
	nulls[ROW_RANK] = !duplicate_rank(refresh, slot, &values[ROW_RANK]);
	values[ROW_HASH] = Int64GetDatum(pe_wire_hash(refresh->text.data, refresh->text.len));
	values[ROW_VALUE] = PointerGetDatum(cstring_to_text_with_len(refresh->text.data, refresh->text.len));
	/* A row without a value sends nothing, but its profile has not left the source. */
	nulls[ROW_VALUE] = reason != NULL;
	ExecClearTuple(row);
	memcpy(row->tts_values, values, sizeof(values));
	memcpy(row->tts_isnull, nulls, sizeof(nulls));
	ExecStoreVirtualTuple(row);
	tuplesort_puttupleslot(refresh->sorted, row);
	ExecClearTuple(row);
	refresh->usable += reason == NULL;
	return true;
}

/*
 * Reads the source as the enrichment's owner, who can do nothing but read: what the
 * caller may do beyond that, or the extension's owner, is out of its reach.
 */
static void
read_source(Refresh *refresh)
{
	PeOwnerSwitch before;
	PeSource *source;
	TupleDesc desc;

	initStringInfo(&refresh->text);
	PushActiveSnapshot(GetTransactionSnapshot());
	before = pe_enrichment_enter(refresh->enrichment);
	source = pe_source_open(refresh->enrichment->source, "source");
	prepare_columns(refresh, source);
	desc = row_descriptor(refresh->rank_type);
	refresh->row = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	refresh->sorted = begin_sort(desc, refresh->rank_type, refresh->enrichment->duplicate_highest);
	pe_source_read(source, NULL, 0, 0, take_row, refresh);
	pe_enrichment_leave_owner(&before);
	PopActiveSnapshot();

	ExecDropSingleTupleTableSlot(refresh->row);
	refresh->row = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	tuplesort_performsort(refresh->sorted);
}

/* ---- the merge ------------------------------------------------------------------------- */

static int
compare_keys(Datum left, Datum right)
{
	text *a = DatumGetTextPP(left);
	text *b = DatumGetTextPP(right);
	int alen = VARSIZE_ANY_EXHDR(a);
	int blen = VARSIZE_ANY_EXHDR(b);
	int order = memcmp(VARDATA_ANY(a), VARDATA_ANY(b), Min(alen, blen));

	return order != 0 ? order : alen - blen;
}

/* Moves to the first row of the next key, counting those it passes; the row slot is empty at the end. */
static void
next_row(Refresh *refresh)
{
	Datum key = (Datum) 0;
	bool had = !TupIsNull(refresh->row);
	int64 before = refresh->repeated_rows;

	if (had)
		key = datumCopy(refresh->row->tts_values[ROW_KEY], false, -1);
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (!tuplesort_gettupleslot(refresh->sorted, true, false, refresh->row, NULL))
		{
			ExecClearTuple(refresh->row);
			break;
		}
		slot_getallattrs(refresh->row);
		if (!had || compare_keys(key, refresh->row->tts_values[ROW_KEY]) != 0)
			break;
		refresh->repeated_rows++;
	}
	refresh->repeated_keys += refresh->repeated_rows > before;
	if (had)
		pfree(DatumGetPointer(key));
}

/* What was queued for a profile before. */
typedef struct Previous
{
	TimestampTz changed_at;
	TimestampTz not_before; /* 0: it was sent at once */
} Previous;

/*
 * When the next value may be sent: the resend gap after the previous one; 0: at once.
 * A previous value that still waits is never sent now, so its successor takes its
 * place: else a profile that changes with each refresh would wait for ever.
 */
static TimestampTz
earliest_resend(const Previous *previous, TimestampTz now)
{
	TimestampTz due;

	if (previous->not_before > now)
		return previous->not_before;
	due = Max(previous->changed_at, previous->not_before) + (int64) pe_resend_gap * USECS_PER_SEC;
	return due > now ? due : 0;
}

/* Notes a change. row NULL: the profile is retracted. previous NULL: it had no value before. */
static void
note_change(Refresh *refresh, Datum key, TupleTableSlot *row, const Previous *previous)
{
	text *bytes = DatumGetTextPP(key);
	TimestampTz not_before = previous != NULL ? earliest_resend(previous, refresh->now) : 0;
	int shard = hash_bytes((unsigned char *) VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes)) % SHARDS;
	Datum values[CHANGE_COLUMNS];
	bool nulls[CHANGE_COLUMNS] = {false};

	values[CHANGE_KEY] = key;
	values[CHANGE_HASH] = row ? row->tts_values[ROW_HASH] : Int64GetDatum(0);
	values[CHANGE_RETRACTED] = BoolGetDatum(row == NULL);
	values[CHANGE_SHARD] = Int16GetDatum((int16) shard);
	values[CHANGE_NOT_BEFORE] = TimestampTzGetDatum(not_before);
	nulls[CHANGE_NOT_BEFORE] = not_before == 0;
	values[CHANGE_VALUE] = row ? row->tts_values[ROW_VALUE] : (Datum) 0;
	nulls[CHANGE_VALUE] = row == NULL;
	tuplestore_putvalues(refresh->changed, refresh->change, values, nulls);
	if (row == NULL)
		refresh->retracted++;
	else
		refresh->nchanged++;
}

/* From a row of read_existing. */
static Previous
previous_of(TupleTableSlot *existing)
{
	Previous previous = {.changed_at = DatumGetTimestampTz(existing->tts_values[2])};

	if (!existing->tts_isnull[4])
		previous.not_before = DatumGetTimestampTz(existing->tts_values[4]);
	return previous;
}

/* The row at hand has a key that was not there before. */
static void
take_new(Refresh *refresh)
{
	if (!refresh->row->tts_isnull[ROW_VALUE])
		note_change(refresh, refresh->row->tts_values[ROW_KEY], refresh->row, NULL);
	next_row(refresh);
}

/* One existing value, in key order: everything before it is new, itself is the same, changed or gone. */
static bool
merge_existing(void *arg, TupleTableSlot *existing)
{
	Refresh *refresh = arg;
	Datum key = existing->tts_values[0];
	int64 hash = DatumGetInt64(existing->tts_values[1]);
	Previous previous = previous_of(existing);
	bool retracted = DatumGetBool(existing->tts_values[3]);
	int order = 1;

	if (!retracted)
		refresh->live++;
	while (!TupIsNull(refresh->row) && (order = compare_keys(refresh->row->tts_values[ROW_KEY], key)) < 0)
		take_new(refresh);
	if (!TupIsNull(refresh->row) && order == 0)
	{
		if (refresh->row->tts_isnull[ROW_VALUE])
			; /* counted as skipped */
		else if (!retracted && DatumGetInt64(refresh->row->tts_values[ROW_HASH]) == hash)
			refresh->unchanged++;
		else
			note_change(refresh, key, refresh->row, &previous);
		next_row(refresh);
	}
	else if (!retracted && refresh->enrichment->retract_absent)
		note_change(refresh, key, NULL, &previous);
	return true;
}

static TupleDesc
change_descriptor(void)
{
	TupleDesc desc = CreateTemplateTupleDesc(CHANGE_COLUMNS);

	TupleDescInitEntry(desc, CHANGE_KEY + 1, "profile_key", TEXTOID, -1, 0);
	TupleDescInitEntryCollation(desc, CHANGE_KEY + 1, C_COLLATION_OID);
	TupleDescInitEntry(desc, CHANGE_HASH + 1, "hash", INT8OID, -1, 0);
	TupleDescInitEntry(desc, CHANGE_RETRACTED + 1, "retracted", BOOLOID, -1, 0);
	TupleDescInitEntry(desc, CHANGE_SHARD + 1, "shard", INT2OID, -1, 0);
	TupleDescInitEntry(desc, CHANGE_NOT_BEFORE + 1, "not_before", TIMESTAMPTZOID, -1, 0);
	TupleDescInitEntry(desc, CHANGE_VALUE + 1, "value", TEXTOID, -1, 0);
	return desc;
}

/* Existing values in key order, as the extension's owner. */
static void
read_existing(Refresh *refresh, pe_source_row callback)
{
	Oid user;
	int context;
	PeSource *source;

	PushActiveSnapshot(GetTransactionSnapshot());
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(pe_extension_owner(), context | SECURITY_LOCAL_USERID_CHANGE);
	source = pe_source_open(psprintf("SELECT profile_key, hash, changed_at, retracted, not_before FROM profenrich.profile_score "
									 "WHERE enrichment_id OPERATOR(pg_catalog.=) %d ORDER BY profile_key COLLATE pg_catalog.\"C\"",
									 refresh->enrichment->enrichment_id),
							"source");
	pe_source_read(source, NULL, 0, 0, callback, refresh);
	SetUserIdAndSecContext(user, context);
	PopActiveSnapshot();
}

static void
begin_changes(Refresh *refresh)
{
	refresh->now = GetCurrentTimestamp();
	refresh->change = change_descriptor();
	refresh->changed = tuplestore_begin_heap(true, false, maintenance_work_mem);
}

static void
merge(Refresh *refresh)
{
	begin_changes(refresh);
	next_row(refresh);
	read_existing(refresh, merge_existing);
	while (!TupIsNull(refresh->row))
		take_new(refresh);
}

/* ---- the checks that stop a refresh ----------------------------------------------------- */

static void
refuse_unprovisioned(const Refresh *refresh)
{
	const PeEnrichment *enrichment = refresh->enrichment;

	if (enrichment->unprovisioned != NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the platform does not know attribute \"%s\" of enrichment \"%s\" as it is now",
							   enrichment->unprovisioned, enrichment->name),
						errhint("Run SELECT * FROM profenrich.provision(%s) first.", quote_literal_cstr(enrichment->name))));
}

static void
refuse_empty(const Refresh *refresh)
{
	if (refresh->profiles == 0)
		ereport(ERROR, (errcode(ERRCODE_NO_DATA_FOUND),
						errmsg("the source of enrichment \"%s\" has no rows", refresh->enrichment->name),
						errdetail("Nothing was changed."),
						errhint("An empty source is nearly always a failed load. To clear what was sent, use retract().")));
	if (refresh->usable == 0)
		ereport(ERROR, (errcode(ERRCODE_NO_DATA_FOUND),
						errmsg("no row of the source of enrichment \"%s\" can be sent", refresh->enrichment->name),
						errdetail("Skipped: %s. Nothing was changed.", reasons_json(refresh)),
						errhint("Check the identity column \"%s\" and the values against the platform's rules.",
								refresh->enrichment->identity_column)));
}

static void
refuse_duplicates(const Refresh *refresh)
{
	if (refresh->repeated_keys > 0 && refresh->enrichment->duplicate_column == NULL)
		ereport(ERROR, (errcode(ERRCODE_CARDINALITY_VIOLATION),
						errmsg("the source of enrichment \"%s\" has " INT64_FORMAT " keys in more than one row",
							   refresh->enrichment->name, refresh->repeated_keys),
						errdetail(INT64_FORMAT " rows repeat the \"%s\" of another row; nothing was queued.",
								  refresh->repeated_rows, refresh->enrichment->identity_column),
						errhint("Make the source one row for each profile, or set the option on_duplicate to "
								"{\"highest\": \"column\"} or {\"lowest\": \"column\"}.")));
}

static void
refuse_mass_retraction(const Refresh *refresh)
{
	double share = refresh->live > 0 ? (double) refresh->retracted / (double) refresh->live : 0;

	if (share > refresh->enrichment->max_retract)
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
						errmsg("refreshing enrichment \"%s\" would retract " INT64_FORMAT " of " INT64_FORMAT " profiles (%.1f %%)",
							   refresh->enrichment->name, refresh->retracted, refresh->live, 100 * share),
						errdetail("The limit is %.1f %%. Nothing was changed.", 100 * refresh->enrichment->max_retract),
						errhint("If so many profiles really left the source, raise the option max_retract.")));
}

/* ---- writing --------------------------------------------------------------------------- */

static int64
begin_run(const Refresh *refresh, const char *kind)
{
	Oid types[2] = {INT4OID, TEXTOID};
	Datum values[2] = {Int32GetDatum(refresh->enrichment->enrichment_id), CStringGetTextDatum(kind)};
	Oid user = GetUserId();
	bool isnull;

	pe_owner_execute(psprintf("INSERT INTO profenrich.run (enrichment_id, kind, run_by) VALUES ($1, $2, %u::pg_catalog.oid) "
							  "RETURNING run_id",
							  user),
					 2, types, values, NULL, false, 0);
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

static void
end_run(const Refresh *refresh, int64 run_id)
{
	Oid types[7] = {INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, TEXTOID};
	Datum values[7] = {
		Int64GetDatum(run_id),			   Int64GetDatum(refresh->profiles),
		Int64GetDatum(refresh->nchanged),  Int64GetDatum(refresh->unchanged),
		Int64GetDatum(refresh->retracted), Int64GetDatum(refresh->skipped),
		CStringGetTextDatum(reasons_json(refresh)),
	};

	pe_owner_execute("UPDATE profenrich.run SET finished_at = clock_timestamp(), profiles = $2, changed = $3, "
					 "unchanged = $4, retracted = $5, skipped = $6, skipped_reasons = $7::jsonb WHERE run_id = $1",
					 7, types, values, NULL, false, 0);
}

/*
 * Writes the noted changes: the new values, whose dead letters are superseded, and
 * their keys in chunks, each of one shard and of one time to wait for.
 */
static void
write_values(Refresh *refresh, int64 run_id)
{
	EphemeralNamedRelation relation = palloc0(sizeof(EphemeralNamedRelationData));
	Oid types[3] = {INT4OID, INT8OID, TIMESTAMPTZOID};
	Datum values[3] = {Int32GetDatum(refresh->enrichment->enrichment_id), Int64GetDatum(run_id),
					   TimestampTzGetDatum(refresh->now)};

	relation->md.name = "profenrich_changed";
	relation->md.tupdesc = refresh->change;
	relation->md.enrtype = ENR_NAMED_TUPLESTORE;
	relation->md.enrtuples = (double) (refresh->nchanged + refresh->retracted);
	relation->reldata = refresh->changed;
	if (SPI_register_relation(relation) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register the changes");
	pe_owner_execute("INSERT INTO profenrich.profile_score (enrichment_id, profile_key, version, hash, changed_at, not_before, "
					 "retracted, value) "
					 "SELECT $1, profile_key, $2, hash, $3, not_before, retracted, value::jsonb FROM profenrich_changed "
					 "ON CONFLICT (enrichment_id, profile_key) DO UPDATE SET version = EXCLUDED.version, "
					 "hash = EXCLUDED.hash, changed_at = EXCLUDED.changed_at, not_before = EXCLUDED.not_before, "
					 "retracted = EXCLUDED.retracted, value = EXCLUDED.value",
					 3, types, values, NULL, false, 0);
	pe_owner_execute("DELETE FROM profenrich.dead_letter d USING profenrich_changed c "
					 "WHERE d.enrichment_id = $1 AND d.profile_key = c.profile_key",
					 1, types, values, NULL, false, 0);
	pe_owner_execute("INSERT INTO profenrich.outbox (enrichment_id, shard, version, profile_keys, not_before) "
					 "SELECT $1, shard, $2, array_agg(profile_key), not_before FROM (SELECT shard, not_before, profile_key, "
					 "(row_number() OVER (PARTITION BY shard, not_before ORDER BY profile_key) - 1) "
					 "/ " CppAsString2(KEYS_PER_CHUNK) " AS chunk FROM profenrich_changed) AS numbered "
					 "GROUP BY shard, not_before, chunk ORDER BY chunk, shard",
					 2, types, values, NULL, false, 0);
	SPI_unregister_relation("profenrich_changed");
}

static int64
write_changes(Refresh *refresh, const char *kind)
{
	int64 run_id = begin_run(refresh, kind);

	pe_progress_publish("queueing", 0, refresh->nchanged + refresh->retracted);
	if (refresh->nchanged + refresh->retracted > 0)
	{
		write_values(refresh, run_id);
		pe_wake_worker_at_commit();
	}
	tuplestore_end(refresh->changed); /* it may have a file */
	end_run(refresh, run_id);
	return run_id;
}

/* ---- the SQL functions ------------------------------------------------------------------ */

static void
tell_user(const Refresh *refresh)
{
	if (refresh->skipped > 0)
		ereport(NOTICE, (errmsg(INT64_FORMAT " rows were skipped and will not be sent", refresh->skipped),
						 errdetail("Reasons: %s.", reasons_json(refresh))));
	if (!refresh->enrichment->provisioned)
		ereport(NOTICE, (errmsg("enrichment \"%s\" is not provisioned: what is queued waits", refresh->enrichment->name),
						 errhint("Run SELECT * FROM profenrich.provision(%s).",
								 quote_literal_cstr(refresh->enrichment->name))));
}

static Datum
result_row(FunctionCallInfo fcinfo, const Refresh *refresh, int64 run_id)
{
	TupleDesc desc;
	Datum values[6] = {
		Int64GetDatum(run_id),			   Int64GetDatum(refresh->profiles),  Int64GetDatum(refresh->nchanged),
		Int64GetDatum(refresh->unchanged), Int64GetDatum(refresh->retracted), Int64GetDatum(refresh->skipped),
	};
	bool nulls[6] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

static Refresh *
begin_refresh(const char *name, const char *function)
{
	Refresh *refresh;

	PreventCommandIfReadOnly(function);
	refuse_old_snapshot(function);
	refresh = palloc0(sizeof(Refresh));
	refresh->context = CurrentMemoryContext;
	refresh->enrichment = pe_enrichment_load(name, true);
	lock_enrichment(refresh->enrichment);
	/* Its definition may have changed while this call waited for the lock. */
	refresh->enrichment = pe_enrichment_load(name, true);
	return refresh;
}

PG_FUNCTION_INFO_V1(pe_refresh);

/* refresh(enrichment) -> (run_id, profiles, changed, unchanged, retracted, skipped) */
Datum
pe_refresh(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Refresh *refresh;
	int64 run_id;
	MemoryContext caller = CurrentMemoryContext;

	SPI_connect();
	refresh = begin_refresh(name, "refresh()");
	refuse_unprovisioned(refresh);
	pe_progress_begin(PE_PROGRESS_SCORE, name);
	read_source(refresh);
	refuse_empty(refresh);
	merge(refresh);
	refuse_duplicates(refresh);
	refuse_mass_retraction(refresh);
	run_id = write_changes(refresh, "refresh");
	tuplesort_end(refresh->sorted);
	tell_user(refresh);
	pe_progress_end();
	{
		Refresh counts = *refresh;
		Datum result;

		SPI_finish();
		MemoryContextSwitchTo(caller);
		result = result_row(fcinfo, &counts, run_id);
		PG_RETURN_DATUM(result);
	}
}

/* Every profile that has a value is to lose it. */
static bool
retract_existing(void *arg, TupleTableSlot *existing)
{
	Refresh *refresh = arg;

	Previous previous = previous_of(existing);

	if (!DatumGetBool(existing->tts_values[3]))
		note_change(refresh, existing->tts_values[0], NULL, &previous);
	return true;
}

PG_FUNCTION_INFO_V1(pe_retract);

/* retract(enrichment) -> number of profiles whose attributes will be cleared on the platform */
Datum
pe_retract(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Refresh *refresh;
	int64 retracted;

	SPI_connect();
	refresh = begin_refresh(name, "retract()");
	begin_changes(refresh);
	read_existing(refresh, retract_existing);
	(void) write_changes(refresh, "retract");
	retracted = refresh->retracted;
	SPI_finish();
	PG_RETURN_INT64(retracted);
}
