/*
 * sent.c
 *		What went out within the resend gap, so that two values of one profile keep their
 *		distance on the wire: the platform may apply such as come close together in
 *		either order.
 *
 * An acknowledgement notes which keys were sent, and when, whatever became of them: a
 * row for each request, of the keys' hashes. Two keys of one hash cost one of them a
 * wait. A chunk is loaded only after the former request of its shard was
 * acknowledged, so nothing can have gone out that is not noted; but for what was in
 * flight when the server crashed.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "pg/exchange.h"
#include "pg/guc.h"
#include "pg/sent.h"

static int32
hash_of(const char *key)
{
	return (int32) hash_bytes((const unsigned char *) key, (int) strlen(key));
}

/* What was sent before is out of the gap. A parameter, since clock_timestamp() is no condition of an index.
 */
static Datum
gap_begin(void)
{
	return TimestampTzGetDatum(GetCurrentTimestamp() - (int64) pe_resend_gap * USECS_PER_SEC);
}

static void
forget_old(const pe_slot *slot)
{
	static PeStatement forget = {.sql = "DELETE FROM profenrich.sent WHERE enrichment_id = $1 AND shard = $2"
	                                    " AND sent_at < $3",
	                             .nargs = 3,
	                             .types = {INT4OID, INT2OID, TIMESTAMPTZOID}};
	Datum values[3] = {Int32GetDatum(slot->enrichment), Int16GetDatum((int16) slot->shard), gap_begin()};

	pe_statement_run(&forget, values, NULL, false, 0);
}

/* The keys of one version that went out, from the first of them on. */
static void
note_version(const pe_slot *slot, const PeLoad *load, int first, Datum *hashes)
{
	static PeStatement note = {
	    .sql = "INSERT INTO profenrich.sent (enrichment_id, shard, version, sent_at, key_hashes)"
	           " VALUES ($1, $2, $3, clock_timestamp() - $4 * interval '1 microsecond', $5)",
	    .nargs = 5,
	    .types = {INT4OID, INT2OID, INT8OID, INT8OID, INT4ARRAYOID}};
	Datum values[5] = {Int32GetDatum(slot->enrichment), Int16GetDatum((int16) slot->shard),
	                   Int64GetDatum(load->versions[first])};
	int64 last_sent = 0;
	int count = 0;

	for (int i = first; i < slot->key_count; i++)
	{
		if (slot->keys[i].sent_at == 0 || load->versions[i] != load->versions[first])
			continue;
		hashes[count++] = Int32GetDatum(hash_of(load->keys[i]));
		last_sent = Max(last_sent, slot->keys[i].sent_at);
	}
	values[3] = Int64GetDatum(pe_worker_now() - last_sent);
	values[4] = PointerGetDatum(construct_array(hashes, count, INT4OID, 4, true, TYPALIGN_INT));
	pe_statement_run(&note, values, NULL, false, 0);
}

/* Is it the first key of its version that went out? */
static bool
begins_version(const pe_slot *slot, const PeLoad *load, int index)
{
	if (slot->keys[index].sent_at == 0)
		return false;
	for (int i = 0; i < index; i++)
		if (slot->keys[i].sent_at != 0 && load->versions[i] == load->versions[index])
			return false;
	return true;
}

void
pe_sent_note(const pe_slot *slot, const PeLoad *load)
{
	Datum *hashes;

	forget_old(slot);
	if (pe_resend_gap == 0)
		return;
	hashes = palloc(Max(slot->key_count, 1) * sizeof(Datum));
	for (int i = 0; i < slot->key_count; i++)
		if (begins_version(slot, load, i))
			note_version(slot, load, i, hashes);
}

/* A key of the load, by its hash. */
typedef struct HashedKey
{
	int32 hash;
	int index;
} HashedKey;

static int
compare_hashes(const void *left, const void *right)
{
	int32 a = ((const HashedKey *) left)->hash;
	int32 b = ((const HashedKey *) right)->hash;

	return (a > b) - (a < b);
}

/* One request of late: its keys that the load has, too, wait until the gap is over. */
static void
take_request(const HashedKey *keys, int count, Datum hashes, TimestampTz sent_at, pe_key_past *past)
{
	int64 wait = sent_at + (int64) pe_resend_gap * USECS_PER_SEC - GetCurrentTimestamp();
	ArrayType *array = DatumGetArrayTypeP(hashes);
	const int32 *hash = (const int32 *) ARR_DATA_PTR(array);
	int length = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));

	for (int i = 0; i < length; i++)
	{
		HashedKey wanted = {.hash = hash[i]};
		const HashedKey *found = bsearch(&wanted, keys, count, sizeof(HashedKey), compare_hashes);

		if (found == NULL)
			continue;
		while (found > keys && found[-1].hash == hash[i])
			found--;
		for (; found < keys + count && found->hash == hash[i]; found++)
			past[found->index].wait = Max(past[found->index].wait, wait);
	}
	if ((Pointer) array != DatumGetPointer(hashes))
		pfree(array);
}

/* What has a newer value is not sent anyway: it need not wait for that. */
static void
release_superseded(const pe_slot *slot, const PeLoad *load, pe_key_past *past)
{
	static PeStatement newest = {
	    .sql = "SELECT k.ord FROM unnest($2) WITH ORDINALITY k(profile_key, ord) LEFT JOIN"
	           " profenrich.profile_score s ON s.enrichment_id = $1 AND s.profile_key = k.profile_key"
	           " WHERE s.version IS DISTINCT FROM $3",
	    .nargs = 3,
	    .types = {INT4OID, TEXTARRAYOID, INT8OID}};
	Datum *keys = palloc(load->count * sizeof(Datum));
	int *indexes = palloc(load->count * sizeof(int));
	Datum values[3] = {Int32GetDatum(slot->enrichment), 0, Int64GetDatum(load->versions[0])};
	int count = 0;

	for (int i = 0; i < load->count; i++)
		if (past[i].wait > 0)
		{
			indexes[count] = i;
			keys[count++] = CStringGetTextDatum(load->keys[i]);
		}
	if (count == 0)
		return;
	values[1] = PointerGetDatum(construct_array(keys, count, TEXTOID, -1, false, TYPALIGN_INT));
	pe_statement_run(&newest, values, NULL, true, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool isnull;
		int64 ord = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));

		past[indexes[ord - 1]].wait = 0;
	}
}

void
pe_sent_waits(const pe_slot *slot, const PeLoad *load, pe_key_past *past)
{
	static PeStatement others = {
	    .sql = "SELECT sent_at, key_hashes FROM profenrich.sent WHERE enrichment_id = $1 AND shard = $2"
	           " AND sent_at > $3 AND version <> $4",
	    .nargs = 4,
	    .types = {INT4OID, INT2OID, TIMESTAMPTZOID, INT8OID}};
	Datum values[4] = {Int32GetDatum(slot->enrichment), Int16GetDatum((int16) slot->shard), gap_begin(),
	                   Int64GetDatum(load->versions[0])};
	HashedKey *keys;

	pe_statement_run(&others, values, NULL, true, 0);
	if (SPI_processed == 0)
		return;
	keys = palloc(load->count * sizeof(HashedKey));
	for (int i = 0; i < load->count; i++)
		keys[i] = (HashedKey){hash_of(load->keys[i]), i};
	qsort(keys, load->count, sizeof(HashedKey), compare_hashes);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];
		TupleDesc desc = SPI_tuptable->tupdesc;
		bool isnull;

		take_request(keys, load->count, SPI_getbinval(row, desc, 2, &isnull),
		             DatumGetTimestampTz(SPI_getbinval(row, desc, 1, &isnull)), past);
	}
	SPI_freetuptable(SPI_tuptable);
	release_superseded(slot, load, past);
}
