/*
 * acknowledge.c
 *		The transaction that lets chunks go, and notes what became of their keys.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "pg/delivery.h"
#include "pg/delivery_state.h"
#include "pg/sent.h"
#include "pg/wire_value.h"

typedef struct AcknowledgeArg
{
	const PeSettled *settled;
	int count;
	int64 epoch;
} AcknowledgeArg;

/* Arrays of one column each, over the keys that were given one state. */
typedef struct Columns
{
	int count;
	Datum *keys;
	Datum *versions;
	Datum *attempts;
	Datum *delays; /* seconds */
	Datum *classes;
	Datum *statuses;
	Datum *reasons;
} Columns;

static Datum
array_of(Datum *items, int count, Oid type)
{
	switch (type)
	{
		case TEXTOID:
			return PointerGetDatum(construct_array(items, count, TEXTOID, -1, false, TYPALIGN_INT));
		case INT8OID:
			return PointerGetDatum(
			    construct_array(items, count, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
		case FLOAT8OID:
			return PointerGetDatum(
			    construct_array(items, count, FLOAT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
		default:
			return PointerGetDatum(construct_array(items, count, INT4OID, 4, true, TYPALIGN_INT));
	}
}

static int
count_of(const PeSettled *arg, pe_key_state state)
{
	int count = 0;

	for (int i = 0; i < arg->slot->key_count; i++)
		count += arg->slot->keys[i].state == state;
	return count;
}

/* The platform gives none for what it never sees. */
static const char *
reason_of(const pe_key *key)
{
	if (key->reason != NULL)
		return key->reason;
	return key->outcome == PE_OUTCOME_TOO_BIG ? "the record is larger than the platform takes" : "";
}

static Columns
columns_of(const PeSettled *arg, pe_key_state state)
{
	int size = Max(arg->slot->key_count, 1);
	Columns columns = {0};

	columns.keys = palloc(size * sizeof(Datum));
	columns.versions = palloc(size * sizeof(Datum));
	columns.attempts = palloc(size * sizeof(Datum));
	columns.delays = palloc(size * sizeof(Datum));
	columns.classes = palloc(size * sizeof(Datum));
	columns.statuses = palloc(size * sizeof(Datum));
	columns.reasons = palloc(size * sizeof(Datum));
	for (int i = 0; i < arg->slot->key_count; i++)
	{
		const pe_key *key = &arg->slot->keys[i];
		int at = columns.count;

		if (key->state != state)
			continue;
		columns.keys[at] = CStringGetTextDatum(arg->load->keys[i]);
		columns.versions[at] = Int64GetDatum(arg->load->versions[i]);
		columns.attempts[at] = Int32GetDatum(key->attempts);
		columns.delays[at] = Float8GetDatum((double) key->delay / PE_SECOND);
		columns.classes[at] = CStringGetTextDatum(pe_outcome_name(key->outcome));
		columns.statuses[at] = Int32GetDatum(key->http_status);
		columns.reasons[at] = CStringGetTextDatum(reason_of(key));
		columns.count++;
	}
	return columns;
}

/* The keys of a chunk that were given one state, as an array; their number. */
static int
keys_of_chunk(const PeSettled *arg, const PeLoadedChunk *chunk, pe_key_state state, Datum *array)
{
	Datum *keys = palloc(chunk->count * sizeof(Datum));
	int count = 0;

	for (int i = chunk->first; i < chunk->first + chunk->count; i++)
		if (arg->slot->keys[i].state == state)
			keys[count++] = CStringGetTextDatum(arg->load->keys[i]);
	*array = array_of(keys, count, TEXTOID);
	return count;
}

/*
 * Keys whose previous value is just out get a chunk of their own, which waits. Only
 * those that are still in the chunk, so that doing it twice does no harm.
 */
static void
split_chunk(const PeSettled *arg, const PeLoadedChunk *chunk)
{
	static PeStatement split = {
	    .sql = "INSERT INTO profenrich.outbox (enrichment_id, shard, version, profile_keys, not_before,"
	           " enqueued_at) SELECT o.enrichment_id, o.shard, o.version, l.keys,"
	           " clock_timestamp() + $3 * interval '1 microsecond', o.enqueued_at FROM profenrich.outbox o,"
	           " LATERAL (SELECT array_agg(k) AS keys FROM unnest($2) k WHERE k = ANY (o.profile_keys)) l"
	           " WHERE o.chunk_id = $1 AND l.keys IS NOT NULL",
	    .nargs = 3,
	    .types = {INT8OID, TEXTARRAYOID, INT8OID}};
	Datum values[3] = {Int64GetDatum(chunk->chunk_id)};
	int64 wait = 0;

	if (keys_of_chunk(arg, chunk, PE_KEY_LATER, &values[1]) == 0)
		return;
	for (int i = chunk->first; i < chunk->first + chunk->count; i++)
		if (arg->slot->keys[i].state == PE_KEY_LATER)
			wait = Max(wait, arg->slot->keys[i].delay);
	values[2] = Int64GetDatum(wait);
	pe_statement_run(&split, values, NULL, false, 0);
}

/* True when all of the chunk was decided about; otherwise it keeps only the keys that were not. */
static bool
shorten_chunk(const PeSettled *arg, const PeLoadedChunk *chunk)
{
	static PeStatement shorten = {.sql = "UPDATE profenrich.outbox SET profile_keys = $2 WHERE chunk_id = $1",
	                              .nargs = 2,
	                              .types = {INT8OID, TEXTARRAYOID}};
	Datum values[2] = {Int64GetDatum(chunk->chunk_id)};
	int kept = keys_of_chunk(arg, chunk, PE_KEY_KEPT, &values[1]);

	if (kept > 0 && kept < chunk->count)
		pe_statement_run(&shorten, values, NULL, false, 0);
	return kept == 0;
}

/* The chunks of which nothing is left go. */
static void
release_chunks(const PeSettled *arg)
{
	static PeStatement delete = {.sql = "DELETE FROM profenrich.outbox WHERE chunk_id = ANY ($1)",
	                             .nargs = 1,
	                             .types = {INT8ARRAYOID}};
	Datum *done = palloc(Max(arg->load->chunk_count, 1) * sizeof(Datum));
	Datum values[1];
	int count = 0;

	for (int i = 0; i < arg->load->chunk_count; i++)
	{
		const PeLoadedChunk *chunk = &arg->load->chunks[i];

		split_chunk(arg, chunk);
		if (shorten_chunk(arg, chunk))
			done[count++] = Int64GetDatum(chunk->chunk_id);
	}
	if (count == 0)
		return;
	values[0] = array_of(done, count, INT8OID);
	pe_statement_run(&delete, values, NULL, false, 0);
}

/* How many rows of the last statement, which returns one boolean, say true. */
static int
count_true(void)
{
	int count = 0;

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool isnull;

		count += DatumGetBool(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
	}
	return count;
}

/* Is anything known to have failed of this enrichment? Mostly not, and then 500 keys need no looking up. */
static bool
has_failures(const PeSettled *arg)
{
	static PeStatement look = {
	    .sql = "SELECT 1 WHERE (SELECT 1 FROM profenrich.retry WHERE enrichment_id = $1 LIMIT 1) IS NOT NULL"
	           " OR (SELECT 1 FROM profenrich.dead_letter WHERE enrichment_id = $1 LIMIT 1) IS NOT NULL",
	    .nargs = 1,
	    .types = {INT4OID}};
	Datum values[1] = {Int32GetDatum(arg->slot->enrichment)};

	/* Not read-only: it must see what others have committed by now. */
	pe_statement_run(&look, values, NULL, false, 1);
	return SPI_processed > 0;
}

/*
 * What is known of these keys' values up to these versions is settled. Returns how many
 * older values waited for another try that is not wanted any more.
 */
static int
forget_failures(const PeSettled *arg, const Columns *columns, bool dead_too)
{
	static PeStatement retry = {
	    .sql = "DELETE FROM profenrich.retry r USING unnest($2, $3) k(profile_key, version)"
	           " WHERE r.enrichment_id = $1 AND r.profile_key = k.profile_key"
	           " AND r.version <= k.version RETURNING r.version < k.version",
	    .nargs = 3,
	    .types = {INT4OID, TEXTARRAYOID, INT8ARRAYOID}};
	/* A refresh in progress deletes dead letters too, and may take its time to commit. */
	static PeStatement dead = {
	    .sql = "DELETE FROM profenrich.dead_letter WHERE ctid IN (SELECT d.ctid FROM unnest($2, $3) "
	           "k(profile_key, version)"
	           " JOIN profenrich.dead_letter d ON d.enrichment_id = $1 AND d.profile_key = k.profile_key"
	           " WHERE d.version <= k.version FOR UPDATE OF d SKIP LOCKED)",
	    .nargs = 3,
	    .types = {INT4OID, TEXTARRAYOID, INT8ARRAYOID}};
	Datum values[3] = {Int32GetDatum(arg->slot->enrichment)};
	int superseded;

	if (columns->count == 0)
		return 0;
	values[1] = array_of(columns->keys, columns->count, TEXTOID);
	values[2] = array_of(columns->versions, columns->count, INT8OID);
	pe_statement_run(&retry, values, NULL, false, 0);
	superseded = count_true();
	if (dead_too)
		pe_statement_run(&dead, values, NULL, false, 0);
	return superseded;
}

/* Older values that wait for another try, and whose place a newer one is about to take. */
static int
count_replaced(const PeSettled *arg, const Columns *columns)
{
	static PeStatement look = {
	    .sql = "SELECT true FROM profenrich.retry r JOIN unnest($2, $3) k(profile_key, version)"
	           " ON r.enrichment_id = $1 AND r.profile_key = k.profile_key AND r.version < k.version",
	    .nargs = 3,
	    .types = {INT4OID, TEXTARRAYOID, INT8ARRAYOID}};
	Datum values[3] = {Int32GetDatum(arg->slot->enrichment)};

	values[1] = array_of(columns->keys, columns->count, TEXTOID);
	values[2] = array_of(columns->versions, columns->count, INT8OID);
	pe_statement_run(&look, values, NULL, true, 0);
	return (int) SPI_processed;
}

/*
 * A retracted profile that the platform has accepted: its tombstone goes, but not
 * before its next value would not have to wait. Until then it is only marked, so that a refresh
 * that brings the profile back knows to wait, and deletes it when it is old enough; no
 * refresh brings a forgotten one back (PE_TOMBSTONE_FORGOTTEN, -2), which goes at once. A
 * row that a refresh has in hand is left alone: it is getting a new value.
 */
static void
drop_tombstones(const PeSettled *arg, const Columns *accepted)
{
#define TOMBSTONES                                                                                           \
	"SELECT s.ctid FROM unnest($2, $3) k(profile_key, version)"                                              \
	" JOIN profenrich.profile_score s ON s.enrichment_id = $1 AND s.profile_key = k.profile_key"             \
	" WHERE s.retracted AND s.version = k.version"
	static PeStatement drop = {
	    .sql = "DELETE FROM profenrich.profile_score WHERE ctid IN (" TOMBSTONES " AND (s.hash = -2 OR"
	           " greatest(s.changed_at, s.not_before) + $4 * interval '1 microsecond' <= clock_timestamp())"
	           " FOR UPDATE OF s SKIP LOCKED)",
	    .nargs = 4,
	    .types = {INT4OID, TEXTARRAYOID, INT8ARRAYOID, INT8OID}};
	static PeStatement mark = {.sql =
	                               "UPDATE profenrich.profile_score SET hash = $4 WHERE ctid IN (" TOMBSTONES
	                               " FOR UPDATE OF s SKIP LOCKED)",
	                           .nargs = 4,
	                           .types = {INT4OID, TEXTARRAYOID, INT8ARRAYOID, INT8OID}};
	Datum values[4] = {Int32GetDatum(arg->slot->enrichment)};

	values[1] = array_of(accepted->keys, accepted->count, TEXTOID);
	values[2] = array_of(accepted->versions, accepted->count, INT8OID);
	values[3] = Int64GetDatum(pe_resend_distance());
	pe_statement_run(&drop, values, NULL, false, 0);
	values[3] = Int64GetDatum(PE_TOMBSTONE_ACCEPTED);
	pe_statement_run(&mark, values, NULL, false, 0);
#undef TOMBSTONES
}

static void
write_retries(const PeSettled *arg, const Columns *columns)
{
	static PeStatement upsert = {
	    .sql = "INSERT INTO profenrich.retry AS r (enrichment_id, profile_key, shard, version, attempts, "
	           "next_at, class,"
	           " http_status, error) SELECT $1, k.profile_key, $2, k.version, k.attempts,"
	           " clock_timestamp() + k.delay * interval '1 second', k.class, nullif(k.status, 0), "
	           "nullif(k.reason, '')"
	           " FROM unnest($3, $4, $5, $6, $7, $8, $9) k(profile_key, version, attempts, delay, class, "
	           "status, reason)"
	           " ON CONFLICT (enrichment_id, profile_key) DO UPDATE SET version = excluded.version,"
	           " attempts = excluded.attempts, next_at = excluded.next_at, class = excluded.class,"
	           " http_status = excluded.http_status, error = excluded.error, shard = excluded.shard"
	           " WHERE r.version <= excluded.version",
	    .nargs = 9,
	    .types = {INT4OID, INT2OID, TEXTARRAYOID, INT8ARRAYOID, INT4ARRAYOID, FLOAT8ARRAYOID, TEXTARRAYOID,
	              INT4ARRAYOID, TEXTARRAYOID}};
	int count = columns->count;
	Datum values[9];

	values[0] = Int32GetDatum(arg->slot->enrichment);
	values[1] = Int16GetDatum((int16) arg->slot->shard);
	values[2] = array_of(columns->keys, count, TEXTOID);
	values[3] = array_of(columns->versions, count, INT8OID);
	values[4] = array_of(columns->attempts, count, INT4OID);
	values[5] = array_of(columns->delays, count, FLOAT8OID);
	values[6] = array_of(columns->classes, count, TEXTOID);
	values[7] = array_of(columns->statuses, count, INT4OID);
	values[8] = array_of(columns->reasons, count, TEXTOID);
	pe_statement_run(&upsert, values, NULL, false, 0);
}

static void
write_dead(const PeSettled *arg, const Columns *columns)
{
	static PeStatement upsert = {
	    .sql = "INSERT INTO profenrich.dead_letter AS d (enrichment_id, profile_key, shard, version, "
	           "attempts, class,"
	           " http_status, reason) SELECT $1, k.profile_key, $2, k.version, k.attempts, k.class,"
	           " nullif(k.status, 0), nullif(k.reason, '')"
	           " FROM unnest($3, $4, $5, $6, $7, $8) k(profile_key, version, attempts, class, status, reason)"
	           " ON CONFLICT (enrichment_id, profile_key) DO UPDATE SET version = excluded.version,"
	           " attempts = excluded.attempts, class = excluded.class, http_status = excluded.http_status,"
	           " reason = excluded.reason, shard = excluded.shard, died_at = clock_timestamp()"
	           " WHERE d.version <= excluded.version",
	    .nargs = 8,
	    .types = {INT4OID, INT2OID, TEXTARRAYOID, INT8ARRAYOID, INT4ARRAYOID, TEXTARRAYOID, INT4ARRAYOID,
	              TEXTARRAYOID}};
	int count = columns->count;
	Datum values[8];

	values[0] = Int32GetDatum(arg->slot->enrichment);
	values[1] = Int16GetDatum((int16) arg->slot->shard);
	values[2] = array_of(columns->keys, count, TEXTOID);
	values[3] = array_of(columns->versions, count, INT8OID);
	values[4] = array_of(columns->attempts, count, INT4OID);
	values[5] = array_of(columns->classes, count, TEXTOID);
	values[6] = array_of(columns->statuses, count, INT4OID);
	values[7] = array_of(columns->reasons, count, TEXTOID);
	pe_statement_run(&upsert, values, NULL, false, 0);
}

bool
pe_delivery_enrichment_exists(int32 enrichment_id)
{
	static PeStatement look = {
	    .sql = "SELECT 1 FROM profenrich.enrichment WHERE enrichment_id = $1 FOR KEY SHARE",
	    .nargs = 1,
	    .types = {INT4OID}};
	Datum values[1] = {Int32GetDatum(enrichment_id)};

	pe_statement_run(&look, values, NULL, false, 1);
	return SPI_processed > 0;
}

static bool
any_retracted(const PeSettled *arg)
{
	for (int i = 0; i < arg->slot->key_count; i++)
		if (arg->slot->keys[i].state == PE_KEY_ACCEPTED && arg->load->retracted[i])
			return true;
	return false;
}

/*
 * Of keys that were accepted, or need not be sent: earlier failures are over, tombstones
 * go. Returns how many older values waited for another try.
 */
static int
settle_good(const PeSettled *arg, bool failed)
{
	bool retracted = any_retracted(arg);
	Columns columns;
	int replaced = 0;

	if (!retracted && !failed)
		return 0;
	columns = columns_of(arg, PE_KEY_ACCEPTED);
	if (failed)
		replaced = forget_failures(arg, &columns, true);
	if (retracted)
		drop_tombstones(arg, &columns);
	if (failed && arg->slot->kind == PE_WORK_RETRY)
	{
		columns = columns_of(arg, PE_KEY_SUPERSEDED);
		replaced += forget_failures(arg, &columns, false);
	}
	return replaced;
}

/* Of keys that were not: they are tried again, or not any more. Returns the same. */
static int
settle_bad(const PeSettled *arg, bool failed)
{
	Columns columns;
	int replaced = 0;

	if (count_of(arg, PE_KEY_RETRY) > 0)
	{
		columns = columns_of(arg, PE_KEY_RETRY);
		if (failed)
			replaced = count_replaced(arg, &columns);
		write_retries(arg, &columns);
	}
	if (count_of(arg, PE_KEY_DEAD) > 0)
	{
		columns = columns_of(arg, PE_KEY_DEAD);
		write_dead(arg, &columns);
		if (failed)
			replaced += forget_failures(arg, &columns, false);
	}
	return replaced;
}

static void
settle_keys(const PeSettled *arg, PeStateChange *change)
{
	bool failed = has_failures(arg);

	pe_sent_note(arg->slot, arg->load);
	release_chunks(arg);
	change->superseded += count_of(arg, PE_KEY_SUPERSEDED) + settle_good(arg, failed);
	change->superseded += settle_bad(arg, failed);
	change->accepted += count_of(arg, PE_KEY_ACCEPTED);
	change->retried += count_of(arg, PE_KEY_RETRY);
	change->dead += count_of(arg, PE_KEY_DEAD);
}

bool
pe_delivery_holds(int64 epoch)
{
	static PeStatement fence = {
	    .sql = "SELECT 1 FROM profenrich.sender WHERE epoch = $1 FOR SHARE", .nargs = 1, .types = {INT8OID}};
	Datum value = Int64GetDatum(epoch);

	pe_statement_run(&fence, &value, NULL, false, 1);
	if (SPI_processed != 1)
		pe_delivery_end = PE_DELIVERY_FENCED;
	return SPI_processed == 1;
}

static void
acknowledge_task(void *data)
{
	const AcknowledgeArg *arg = data;
	List *changes = NIL;
	ListCell *cell;

	if (!pe_delivery_holds(arg->epoch))
		return;
	for (int i = 0; i < arg->count; i++)
	{
		int32 enrichment = arg->settled[i].slot->enrichment;

		/* Dropped with all it had queued: there is nothing left to settle. */
		if (pe_state_is_among(changes, list_length(changes), enrichment) ||
		    pe_delivery_enrichment_exists(enrichment))
			settle_keys(&arg->settled[i], pe_state_change(&changes, enrichment));
	}
	pe_delivery_log_count(changes);
	foreach (cell, changes)
		pe_state_write(lfirst(cell));
	pe_delivery_log_write(changes);
}

pe_written
pe_delivery_write(const char *activity, PeTask task, void *arg)
{
	if (pe_delivery_step(activity, task, arg))
		return PE_WRITTEN;
	return pe_delivery_contended ? PE_WRITE_CONTENDED : PE_WRITE_FAILED;
}

pe_written
pe_delivery_acknowledge(const PeSettled *settled, int count, int64 epoch)
{
	AcknowledgeArg arg = {settled, count, epoch};
	pe_written written = pe_delivery_write("acknowledging", acknowledge_task, &arg);

	if (written == PE_WRITTEN)
		pe_delivery_log_written();
	return written;
}
