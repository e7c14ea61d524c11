/*
 * refresh_merge.c
 *		One pass over the source's rows and the values queued before, both in key order:
 *		what is new, changed, the same or gone, and when it may be sent.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "pg/owner.h"
#include "pg/refresh.h"
#include "pg/sent.h"
#include "pg/source.h"
#include "pg/wire_value.h"

#define SHARDS          16
#define MAX_LOOKED_INTO 1000 /* changed values */

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
	due = Max(previous->changed_at, previous->not_before) + pe_resend_distance();
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
	values[CHANGE_HASH] = row ? row->tts_values[ROW_HASH] : Int64GetDatum(PE_TOMBSTONE_WAITING);
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

/* The row at hand has a value, sent or not. */
static void
offer_to_sample(Refresh *refresh)
{
	if (refresh->sample != NULL)
		pe_sample_offer(refresh->sample, refresh->row->tts_values[ROW_KEY],
		                refresh->row->tts_values[ROW_VALUE]);
}

/* The row at hand has a key that was not there before. */
static void
take_new(Refresh *refresh)
{
	if (!refresh->row->tts_isnull[ROW_VALUE])
	{
		offer_to_sample(refresh);
		refresh->appeared++;
		note_change(refresh, refresh->row->tts_values[ROW_KEY], refresh->row, NULL);
	}
	pe_refresh_next_row(refresh);
}

Jsonb *
pe_refresh_stored_value(Datum value)
{
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(TextDatumGetCString(value))));
}

/* The row at hand has another value than the existing one: is that worth sending? */
static void
take_changed(Refresh *refresh, TupleTableSlot *existing, const Previous *previous)
{
	bool compares = refresh->hysteresis != NULL || refresh->judges_buckets;

	if (compares && !existing->tts_isnull[5])
	{
		Jsonb *before = DatumGetJsonbP(existing->tts_values[5]);
		Jsonb *after = pe_refresh_stored_value(refresh->row->tts_values[ROW_VALUE]);

		if (refresh->hysteresis != NULL &&
		    pe_hysteresis_holds_back(refresh->hysteresis, before, previous->changed_at, after))
		{
			refresh->held_back++;
			return;
		}
		refresh->bucket_changes +=
		    refresh->judges_buckets && pe_bucket_changes(refresh->enrichment, before, after);
	}
	note_change(refresh, existing->tts_values[0], refresh->row, previous);
	if (refresh->changed_keys == NULL || refresh->changed_keys->nelems < MAX_LOOKED_INTO)
		refresh->changed_keys = accumArrayResult(refresh->changed_keys, existing->tts_values[0], false,
		                                         TEXTOID, GetMemoryChunkContext(refresh));
}

/* The row at hand has the key of an existing value. */
static void
take_known(Refresh *refresh, TupleTableSlot *existing, const Previous *previous)
{
	bool retracted = DatumGetBool(existing->tts_values[3]);

	if (refresh->row->tts_isnull[ROW_VALUE])
	{
		/* Counted as skipped. What was sent stays, unless there is no consent any more. */
		if (!retracted && DatumGetInt64(refresh->row->tts_values[ROW_HASH]) == PE_TOMBSTONE_WAITING)
		{
			refresh->withdrawn++;
			note_change(refresh, existing->tts_values[0], NULL, previous);
		}
		return;
	}
	offer_to_sample(refresh);
	refresh->appeared += retracted;
	if (!retracted &&
	    DatumGetInt64(refresh->row->tts_values[ROW_HASH]) == DatumGetInt64(existing->tts_values[1]))
		refresh->unchanged++;
	else
		take_changed(refresh, existing, previous);
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

	refresh->live += !retracted;
	while (!TupIsNull(refresh->row) && (order = pe_compare_keys(refresh->row->tts_values[ROW_KEY], key)) < 0)
		take_new(refresh);
	if (!TupIsNull(refresh->row) && order == 0)
	{
		take_known(refresh, existing, &previous);
		pe_refresh_next_row(refresh);
	}
	else if (!retracted)
	{
		refresh->absent++;
		if (refresh->enrichment->retract_absent)
			note_change(refresh, key, NULL, &previous);
	}
	else if (hash == PE_TOMBSTONE_ACCEPTED && earliest_resend(&previous, refresh->now) == 0)
		refresh->old_tombstones++;
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

/* Existing values in key order, all or those of the keys, as the extension's owner. */
static void
read_existing(Refresh *refresh, ArrayType *keys, pe_source_row callback)
{
	/* Values are long: read where they are compared. */
	const char *value = refresh->hysteresis != NULL || refresh->judges_buckets ? ", value" : "";
	const char *only = "";
	Oid user;
	int context;
	PeSource *source;

	if (keys != NULL)
		only = psprintf(" AND profile_key OPERATOR(pg_catalog.=) ANY (%s::pg_catalog.text[])",
		                quote_literal_cstr(OidOutputFunctionCall(F_ARRAY_OUT, PointerGetDatum(keys))));
	PushActiveSnapshot(GetTransactionSnapshot());
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(pe_extension_owner(), context | SECURITY_LOCAL_USERID_CHANGE);
	source = pe_source_open(
	    psprintf(
	        "SELECT profile_key, hash, changed_at, retracted, not_before%s FROM profenrich.profile_score "
	        "WHERE enrichment_id OPERATOR(pg_catalog.=) %d%s ORDER BY profile_key COLLATE pg_catalog.\"C\"",
	        value, refresh->enrichment->enrichment_id, only),
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

static Datum
attribute_names(const PeEnrichment *e)
{
	Datum *names = palloc(sizeof(Datum) * e->nattributes);

	for (int i = 0; i < e->nattributes; i++)
		names[i] = CStringGetTextDatum(e->attributes[i].name);
	return PointerGetDatum(construct_array(names, e->nattributes, TEXTOID, -1, false, TYPALIGN_INT));
}

/*
 * What the values before have and the source has not: a column that was dropped or renamed, or whose
 * attribute is no longer one. It changes all that have it, so the first of those that changed show it.
 */
static char *
find_gone_attributes(const Refresh *refresh)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid types[] = {INT4OID, TEXTARRAYOID, TEXTARRAYOID};
	Datum values[3];
	char *names;

	if (refresh->changed_keys == NULL)
		return NULL;
	values[0] = Int32GetDatum(refresh->enrichment->enrichment_id);
	values[1] = makeArrayResult(refresh->changed_keys, CurrentMemoryContext);
	values[2] = attribute_names(refresh->enrichment);
	pe_owner_execute("SELECT string_agg(DISTINCT k, ', ' ORDER BY k) FROM profenrich.profile_score s,"
	                 " jsonb_object_keys(s.value) k WHERE s.enrichment_id = $1 AND s.profile_key = ANY ($2)"
	                 " AND k <> ALL ($3)",
	                 3, types, values, NULL, false, 0);
	MemoryContextSwitchTo(caller);
	names = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	SPI_freetuptable(SPI_tuptable);
	return names;
}

void
pe_refresh_merge(Refresh *refresh)
{
	begin_changes(refresh);
	refresh->hysteresis = pe_hysteresis_open(refresh->enrichment, refresh->now);
	refresh->judges_buckets = !isinf(refresh->enrichment->gate.bucket) && pe_has_buckets(refresh->enrichment);
	refresh->sample = pe_sample_open(refresh->enrichment);
	pe_refresh_next_row(refresh);
	read_existing(refresh, NULL, merge_existing);
	while (!TupIsNull(refresh->row))
		take_new(refresh);
	refresh->gone_attributes = find_gone_attributes(refresh);
}

/* A profile that has a value is to lose it. */
static bool
retract_existing(void *arg, TupleTableSlot *existing)
{
	Refresh *refresh = arg;
	Previous previous = previous_of(existing);

	if (!DatumGetBool(existing->tts_values[3]))
		note_change(refresh, existing->tts_values[0], NULL, &previous);
	return true;
}

void
pe_refresh_note_retracted(Refresh *refresh, ArrayType *keys)
{
	begin_changes(refresh);
	read_existing(refresh, keys, retract_existing);
}
