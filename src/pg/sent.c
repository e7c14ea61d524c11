/*
 * sent.c
 *		What went out within the resend gap, so that two values of one profile keep their
 *		distance on the wire: the platform may apply such as come close together in
 *		either order.
 *
 * Who queues a value has it wait for the gap, and a slack, after the value before it was due
 * (pe_resend_distance). As long as that went out within the slack, nothing needs to be looked
 * up; what went out later, after an outage or a failure, is marked overdue, and for as long as
 * the gap all that was sent of its shard is compared with what is to be sent. A value that
 * took the place of one that was waiting has its not_before; where that one went out before the
 * refresh committed, it did so after not_before.
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
static TimestampTz
gap_begin(void)
{
	return GetCurrentTimestamp() - (int64) pe_resend_gap * USECS_PER_SEC;
}

static void
forget_old(const pe_slot *slot)
{
	static PeStatement forget = {.sql = "DELETE FROM profenrich.sent WHERE enrichment_id = $1 AND shard = $2"
	                                    " AND sent_at < $3",
	                             .nargs = 3,
	                             .types = {INT4OID, INT2OID, TIMESTAMPTZOID}};
	Datum values[3] = {Int32GetDatum(slot->enrichment), Int16GetDatum((int16) slot->shard),
	                   TimestampTzGetDatum(gap_begin())};

	pe_statement_run(&forget, values, NULL, false, 0);
}

/* An array of the versions of the keys that went out: of each, or one when it is the same for all. */
static Datum
versions_array(Datum *versions, int count)
{
	bool same = true;

	for (int i = 1; i < count; i++)
		same &= DatumGetInt64(versions[i]) == DatumGetInt64(versions[0]);
	return PointerGetDatum(
	    construct_array(versions, same ? 1 : count, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

static void
note_request(const pe_slot *slot, const PeLoad *load, Datum *hashes, Datum *versions, int count, int64 age)
{
	static PeStatement note = {
	    .sql = "INSERT INTO profenrich.sent (enrichment_id, shard, versions, sent_at, overdue, key_hashes)"
	           " VALUES ($1, $2, $3, clock_timestamp() - $4 * interval '1 microsecond', $5, $6)",
	    .nargs = 6,
	    .types = {INT4OID, INT2OID, INT8ARRAYOID, INT8OID, BOOLOID, INT4ARRAYOID}};
	Datum values[6] = {Int32GetDatum(slot->enrichment),
	                   Int16GetDatum((int16) slot->shard),
	                   versions_array(versions, count),
	                   Int64GetDatum(age),
	                   BoolGetDatum(load->overdue),
	                   PointerGetDatum(construct_array(hashes, count, INT4OID, 4, true, TYPALIGN_INT))};

	pe_statement_run(&note, values, NULL, false, 0);
}

void
pe_sent_note(const pe_slot *slot, const PeLoad *load)
{
	Datum *hashes, *versions;
	int64 last_sent = 0;
	int count = 0;

	forget_old(slot);
	if (pe_resend_gap == 0)
		return;
	hashes = palloc(Max(slot->key_count, 1) * sizeof(Datum));
	versions = palloc(Max(slot->key_count, 1) * sizeof(Datum));
	for (int i = 0; i < slot->key_count; i++)
	{
		if (slot->keys[i].sent_at == 0)
			continue;
		hashes[count] = Int32GetDatum(hash_of(load->keys[i]));
		versions[count++] = Int64GetDatum(load->versions[i]);
		last_sent = Max(last_sent, slot->keys[i].sent_at);
	}
	if (count > 0)
		note_request(slot, load, hashes, versions, count, pe_worker_now() - last_sent);
}

bool
pe_sent_is_overdue(const PeScoreRow *row)
{
	return GetCurrentTimestamp() - Max(row->changed_at, row->not_before) > pe_resend_slack();
}

/* Was anything of the shard sent so late that its successor may come too soon after it? */
static bool
any_overdue(const pe_slot *slot)
{
	static PeStatement look = {.sql = "SELECT 1 FROM profenrich.sent WHERE enrichment_id = $1 AND shard = $2"
	                                  " AND sent_at > $3 AND overdue LIMIT 1",
	                           .nargs = 3,
	                           .types = {INT4OID, INT2OID, TIMESTAMPTZOID}};
	Datum values[3] = {Int32GetDatum(slot->enrichment), Int16GetDatum((int16) slot->shard),
	                   TimestampTzGetDatum(gap_begin())};

	pe_statement_run(&look, values, NULL, true, 1);
	return SPI_processed > 0;
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

/* One request of late: its keys that the load has in another version wait until the gap is over. */
static void
take_request(const PeLoad *load, const HashedKey *keys, HeapTuple row, TupleDesc desc, pe_key_past *past)
{
	bool isnull;
	ArrayType *hashes = DatumGetArrayTypeP(SPI_getbinval(row, desc, 2, &isnull));
	ArrayType *versions = DatumGetArrayTypeP(SPI_getbinval(row, desc, 3, &isnull));
	TimestampTz sent_at = DatumGetTimestampTz(SPI_getbinval(row, desc, 1, &isnull));
	int64 wait = sent_at + (int64) pe_resend_gap * USECS_PER_SEC - GetCurrentTimestamp();
	const int32 *hash = (const int32 *) ARR_DATA_PTR(hashes);
	const int64 *version = (const int64 *) ARR_DATA_PTR(versions);
	int length = ArrayGetNItems(ARR_NDIM(hashes), ARR_DIMS(hashes));
	bool same = ArrayGetNItems(ARR_NDIM(versions), ARR_DIMS(versions)) == 1;

	for (int i = 0; i < length; i++)
	{
		HashedKey wanted = {.hash = hash[i]};
		const HashedKey *found = bsearch(&wanted, keys, load->count, sizeof(HashedKey), compare_hashes);

		if (found == NULL)
			continue;
		while (found > keys && found[-1].hash == hash[i])
			found--;
		for (; found < keys + load->count && found->hash == hash[i]; found++)
			if (load->versions[found->index] != version[same ? 0 : i])
				past[found->index].wait = Max(past[found->index].wait, wait);
	}
	if ((Pointer) hashes != DatumGetPointer(SPI_getbinval(row, desc, 2, &isnull)))
		pfree(hashes);
	if ((Pointer) versions != DatumGetPointer(SPI_getbinval(row, desc, 3, &isnull)))
		pfree(versions);
}

/* What has a newer value is not sent anyway: it need not wait for that. */
static void
release_superseded(const pe_slot *slot, const PeLoad *load, pe_key_past *past)
{
	static PeStatement newest = {
	    .sql = "SELECT k.ord FROM unnest($2, $3) WITH ORDINALITY k(profile_key, version, ord) LEFT JOIN"
	           " profenrich.profile_score s ON s.enrichment_id = $1 AND s.profile_key = k.profile_key"
	           " WHERE s.version IS DISTINCT FROM k.version",
	    .nargs = 3,
	    .types = {INT4OID, TEXTARRAYOID, INT8ARRAYOID}};
	Datum *keys = palloc(load->count * sizeof(Datum));
	Datum *versions = palloc(load->count * sizeof(Datum));
	int *indexes = palloc(load->count * sizeof(int));
	Datum values[3] = {Int32GetDatum(slot->enrichment)};
	int count = 0;

	for (int i = 0; i < load->count; i++)
		if (past[i].wait > 0)
		{
			indexes[count] = i;
			versions[count] = Int64GetDatum(load->versions[i]);
			keys[count++] = CStringGetTextDatum(load->keys[i]);
		}
	if (count == 0)
		return;
	values[1] = PointerGetDatum(construct_array(keys, count, TEXTOID, -1, false, TYPALIGN_INT));
	values[2] =
	    PointerGetDatum(construct_array(versions, count, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	pe_statement_run(&newest, values, NULL, true, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool isnull;
		int64 ord = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));

		past[indexes[ord - 1]].wait = 0;
	}
}

/* As a request has it, the one version of the load; of several, one that no request has. */
static Datum
only_version(const PeLoad *load)
{
	Datum version = Int64GetDatum(load->versions[0]);

	for (int i = 1; i < load->count; i++)
		if (load->versions[i] != load->versions[0])
			version = Int64GetDatum(0);
	return versions_array(&version, 1);
}

void
pe_sent_waits(const pe_slot *slot, const PeLoad *load, pe_key_past *past)
{
	static PeStatement others = {
	    .sql = "SELECT sent_at, key_hashes, versions FROM profenrich.sent WHERE enrichment_id = $1"
	           " AND shard = $2 AND sent_at >= $3 AND versions <> $4",
	    .nargs = 4,
	    .types = {INT4OID, INT2OID, TIMESTAMPTZOID, INT8ARRAYOID}};
	Datum values[4] = {Int32GetDatum(slot->enrichment), Int16GetDatum((int16) slot->shard)};
	HashedKey *keys;

	if (any_overdue(slot))
		values[2] = TimestampTzGetDatum(gap_begin());
	else if (load->waited > 0)
		values[2] = TimestampTzGetDatum(Max(gap_begin(), load->waited));
	else
		return;
	/* Of one version, as a large refresh is sent in many requests. */
	values[3] = only_version(load);
	pe_statement_run(&others, values, NULL, true, 0);
	if (SPI_processed == 0)
		return;
	keys = palloc(load->count * sizeof(HashedKey));
	for (int i = 0; i < load->count; i++)
		keys[i] = (HashedKey){hash_of(load->keys[i]), i};
	qsort(keys, load->count, sizeof(HashedKey), compare_hashes);
	for (uint64 i = 0; i < SPI_processed; i++)
		take_request(load, keys, SPI_tuptable->vals[i], SPI_tuptable->tupdesc, past);
	SPI_freetuptable(SPI_tuptable);
	release_superseded(slot, load, past);
}
