/*
 * acknowledge.c
 *		Writing the queue: the transaction that lets a chunk go, blocks, and the log.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "pg/delivery.h"
#include "pg/guc.h"
#include "pg/sent.h"
#include "pg/wire_value.h"

#define MAX_LOG_ROWS 256
#define DAYS_AHEAD   3

static PeLogRow log_rows[MAX_LOG_ROWS];
static int log_row_count = 0;

typedef struct AcknowledgeArg
{
	const pe_slot *slot;
	const PeLoad *load;
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

static Columns
columns_of(const AcknowledgeArg *arg, pe_key_state state)
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
		columns.reasons[at] = CStringGetTextDatum(key->reason != NULL ? key->reason : "");
		columns.count++;
	}
	return columns;
}

/*
 * Keys whose previous value is just out get a chunk of their own, which waits. Only
 * those that are still in the chunk, so that doing it twice does no harm.
 */
static void
split_chunk(const AcknowledgeArg *arg)
{
	static PeStatement split = {
	    .sql = "INSERT INTO profenrich.outbox (enrichment_id, shard, version, profile_keys, not_before,"
	           " enqueued_at) SELECT o.enrichment_id, o.shard, o.version, l.keys,"
	           " clock_timestamp() + $3 * interval '1 microsecond', o.enqueued_at FROM profenrich.outbox o,"
	           " LATERAL (SELECT array_agg(k) AS keys FROM unnest($2) k WHERE k = ANY (o.profile_keys)) l"
	           " WHERE o.chunk_id = $1 AND l.keys IS NOT NULL",
	    .nargs = 3,
	    .types = {INT8OID, TEXTARRAYOID, INT8OID}};
	Columns later = columns_of(arg, PE_KEY_LATER);
	Datum values[3] = {Int64GetDatum(arg->load->chunk_id)};
	int64 wait = 0;

	if (later.count == 0)
		return;
	for (int i = 0; i < arg->slot->key_count; i++)
		if (arg->slot->keys[i].state == PE_KEY_LATER)
			wait = Max(wait, arg->slot->keys[i].delay);
	values[1] = array_of(later.keys, later.count, TEXTOID);
	values[2] = Int64GetDatum(wait);
	pe_statement_run(&split, values, NULL, false, 0);
}

/* The chunk goes, or keeps only the keys that nothing was decided about. */
static void
release_chunk(const AcknowledgeArg *arg)
{
	static PeStatement delete = {
	    .sql = "DELETE FROM profenrich.outbox WHERE chunk_id = $1", .nargs = 1, .types = {INT8OID}};
	static PeStatement shorten = {.sql = "UPDATE profenrich.outbox SET profile_keys = $2 WHERE chunk_id = $1",
	                              .nargs = 2,
	                              .types = {INT8OID, TEXTARRAYOID}};
	Columns kept = columns_of(arg, PE_KEY_KEPT);
	Datum values[2] = {Int64GetDatum(arg->load->chunk_id)};

	if (arg->slot->kind != PE_WORK_CHUNK)
		return;
	split_chunk(arg);
	if (kept.count == 0)
		pe_statement_run(&delete, values, NULL, false, 0);
	else if (kept.count < arg->slot->key_count)
	{
		values[1] = array_of(kept.keys, kept.count, TEXTOID);
		pe_statement_run(&shorten, values, NULL, false, 0);
	}
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

/*
 * What is known of these keys' values up to these versions is settled. Returns how many
 * older values waited for another try that is not wanted any more.
 */
static int
forget_failures(const AcknowledgeArg *arg, const Columns *columns, bool dead_too)
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
count_replaced(const AcknowledgeArg *arg, const Columns *columns)
{
	static PeStatement look = {
	    .sql = "SELECT true FROM profenrich.retry r JOIN unnest($2, $3) k(profile_key, version)"
	           " ON r.enrichment_id = $1 AND r.profile_key = k.profile_key AND r.version < k.version",
	    .nargs = 3,
	    .types = {INT4OID, TEXTARRAYOID, INT8ARRAYOID}};
	Datum values[3] = {Int32GetDatum(arg->slot->enrichment)};

	if (columns->count == 0)
		return 0;
	values[1] = array_of(columns->keys, columns->count, TEXTOID);
	values[2] = array_of(columns->versions, columns->count, INT8OID);
	pe_statement_run(&look, values, NULL, true, 0);
	return (int) SPI_processed;
}

/*
 * A retracted profile that the platform has accepted: its tombstone goes, but not
 * before the resend gap has passed. Until then it is only marked, so that a refresh
 * that brings the profile back knows to wait, and deletes it when it is old enough; no
 * refresh brings a forgotten one back (PE_TOMBSTONE_FORGOTTEN, -2), which goes at once. A
 * row that a refresh has in hand is left alone: it is getting a new value.
 */
static void
drop_tombstones(const AcknowledgeArg *arg, const Columns *accepted)
{
#define TOMBSTONES                                                                                           \
	"SELECT s.ctid FROM unnest($2, $3) k(profile_key, version)"                                              \
	" JOIN profenrich.profile_score s ON s.enrichment_id = $1 AND s.profile_key = k.profile_key"             \
	" WHERE s.retracted AND s.version = k.version"
	static PeStatement drop = {
	    .sql = "DELETE FROM profenrich.profile_score WHERE ctid IN (" TOMBSTONES " AND (s.hash = -2 OR"
	           " greatest(s.changed_at, s.not_before) + $4 * interval '1 second' <= clock_timestamp())"
	           " FOR UPDATE OF s SKIP LOCKED)",
	    .nargs = 4,
	    .types = {INT4OID, TEXTARRAYOID, INT8ARRAYOID, INT4OID}};
	static PeStatement mark = {.sql =
	                               "UPDATE profenrich.profile_score SET hash = $4 WHERE ctid IN (" TOMBSTONES
	                               " FOR UPDATE OF s SKIP LOCKED)",
	                           .nargs = 4,
	                           .types = {INT4OID, TEXTARRAYOID, INT8ARRAYOID, INT8OID}};
	Datum values[4] = {Int32GetDatum(arg->slot->enrichment)};
	bool any = false;

	for (int i = 0; i < arg->slot->key_count; i++)
		any |= arg->slot->keys[i].state == PE_KEY_ACCEPTED && arg->load->retracted[i];
	if (!any)
		return;
	values[1] = array_of(accepted->keys, accepted->count, TEXTOID);
	values[2] = array_of(accepted->versions, accepted->count, INT8OID);
	values[3] = Int32GetDatum(pe_resend_gap);
	pe_statement_run(&drop, values, NULL, false, 0);
	values[3] = Int64GetDatum(PE_TOMBSTONE_ACCEPTED);
	pe_statement_run(&mark, values, NULL, false, 0);
#undef TOMBSTONES
}

static void
write_retries(const AcknowledgeArg *arg, const Columns *columns)
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

	if (count == 0)
		return;
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
write_dead(const AcknowledgeArg *arg, const Columns *columns)
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

	if (count == 0)
		return;
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

void
pe_delivery_count_up(int32 enrichment_id, int64 accepted, int64 superseded, int64 retried, int64 dead)
{
	static PeStatement upsert = {
	    .sql =
	        "INSERT INTO profenrich.delivery_state AS s (enrichment_id, accepted, superseded, retried, dead,"
	        " last_success_at) VALUES ($1, $2, $3, $4, $5, CASE WHEN $2 > 0 THEN clock_timestamp() END)"
	        " ON CONFLICT (enrichment_id) DO UPDATE SET accepted = s.accepted + excluded.accepted,"
	        " superseded = s.superseded + excluded.superseded, retried = s.retried + excluded.retried,"
	        " dead = s.dead + excluded.dead, last_success_at = coalesce(excluded.last_success_at, "
	        "s.last_success_at)",
	    .nargs = 5,
	    .types = {INT4OID, INT8OID, INT8OID, INT8OID, INT8OID}};
	Datum values[5] = {Int32GetDatum(enrichment_id), Int64GetDatum(accepted), Int64GetDatum(superseded),
	                   Int64GetDatum(retried), Int64GetDatum(dead)};

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

static void
settle_keys(const AcknowledgeArg *arg)
{
	Columns accepted, superseded, retried, dead;
	int replaced;

	accepted = columns_of(arg, PE_KEY_ACCEPTED);
	superseded = columns_of(arg, PE_KEY_SUPERSEDED);
	retried = columns_of(arg, PE_KEY_RETRY);
	dead = columns_of(arg, PE_KEY_DEAD);
	pe_sent_note(arg->slot, arg->load);
	release_chunk(arg);
	replaced = forget_failures(arg, &accepted, true);
	if (arg->slot->kind == PE_WORK_RETRY)
		replaced += forget_failures(arg, &superseded, false);
	drop_tombstones(arg, &accepted);
	replaced += count_replaced(arg, &retried);
	write_retries(arg, &retried);
	write_dead(arg, &dead);
	replaced += forget_failures(arg, &dead, false);
	pe_delivery_count_up(arg->slot->enrichment, accepted.count, superseded.count + replaced, retried.count,
	                     dead.count);
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

	if (!pe_delivery_holds(arg->epoch))
		return;
	/* Dropped with all it had queued: there is nothing left to settle. */
	if (pe_delivery_enrichment_exists(arg->slot->enrichment))
		settle_keys(arg);
	pe_delivery_write_log();
}

pe_written
pe_delivery_write(const char *activity, PeTask task, void *arg)
{
	if (pe_delivery_step(activity, task, arg))
		return PE_WRITTEN;
	return pe_delivery_contended ? PE_WRITE_CONTENDED : PE_WRITE_FAILED;
}

pe_written
pe_delivery_acknowledge(const pe_slot *slot, const PeLoad *load, int64 epoch)
{
	AcknowledgeArg arg = {slot, load, epoch};
	pe_written written = pe_delivery_write("acknowledging", acknowledge_task, &arg);

	if (written == PE_WRITTEN)
		log_row_count = 0;
	return written;
}

typedef struct ReportArg
{
	int32 enrichment_id;
	pe_block block;
	const char *reason;
	int64 probe_in;
} ReportArg;

static void
report_task(void *data)
{
	static PeStatement upsert = {
	    .sql =
	        "INSERT INTO profenrich.delivery_state AS s (enrichment_id, blocked, blocked_reason, blocked_at,"
	        " next_probe_at) VALUES ($1, $2, $3, CASE WHEN $2 IS NOT NULL THEN clock_timestamp() END,"
	        " clock_timestamp() + $4 * interval '1 second')"
	        " ON CONFLICT (enrichment_id) DO UPDATE SET blocked = excluded.blocked,"
	        " blocked_reason = excluded.blocked_reason, next_probe_at = excluded.next_probe_at,"
	        " blocked_at = CASE WHEN s.blocked IS NOT DISTINCT FROM excluded.blocked THEN s.blocked_at"
	        " ELSE excluded.blocked_at END",
	    .nargs = 4,
	    .types = {INT4OID, TEXTOID, TEXTOID, FLOAT8OID}};
	const ReportArg *arg = data;
	bool blocked = arg->block != PE_BLOCK_NONE;
	Datum values[4] = {Int32GetDatum(arg->enrichment_id), CStringGetTextDatum(pe_block_name(arg->block)),
	                   CStringGetTextDatum(arg->reason), Float8GetDatum((double) arg->probe_in / PE_SECOND)};
	char nulls[4] = {' ', blocked ? ' ' : 'n', blocked ? ' ' : 'n',
	                 blocked && arg->probe_in >= 0 ? ' ' : 'n'};

	if (pe_delivery_enrichment_exists(arg->enrichment_id))
		pe_statement_run(&upsert, values, nulls, false, 0);
}

pe_written
pe_delivery_report(int32 enrichment_id, pe_block block, const char *reason, int64 probe_in)
{
	ReportArg arg = {enrichment_id, block, reason, probe_in};

	return pe_delivery_write("noting a block", report_task, &arg);
}

void
pe_delivery_log(const PeLogRow *row)
{
	/* The log is for people; when it cannot be written for long, the oldest lines go. */
	if (log_row_count == MAX_LOG_ROWS)
		memmove(&log_rows[0], &log_rows[1], sizeof(PeLogRow) * --log_row_count);
	log_rows[log_row_count++] = *row;
}

int
pe_delivery_log_waiting(void)
{
	return log_row_count;
}

static void
write_log_row(const PeLogRow *row)
{
	static PeStatement insert = {
	    .sql = "INSERT INTO profenrich.delivery_log (at, enrichment_id, chunk_id, "
	           "shard, messages, bytes, http_status,"
	           " outcome, accepted, retried, dead, latency_ms, platform_id, error)"
	           " VALUES ($1, $2, nullif($3, 0), nullif($4, -1), $5, $6, nullif($7, 0), $8, $9, "
	           "$10, $11, $12, nullif($13, ''),"
	           " nullif($14, ''))",
	    .nargs = 14,
	    .types = {TIMESTAMPTZOID, INT4OID, INT8OID, INT2OID, INT4OID, INT8OID, INT4OID, TEXTOID, INT4OID,
	              INT4OID, INT4OID, FLOAT8OID, TEXTOID, TEXTOID}};
	static PeStatement state = {
	    .sql =
	        "INSERT INTO profenrich.delivery_state AS s (enrichment_id, requests, last_error, last_error_at)"
	        " SELECT $1, 1, nullif($2, ''), CASE WHEN $2 <> '' THEN $3 END"
	        " WHERE EXISTS (SELECT FROM profenrich.enrichment WHERE enrichment_id = $1)"
	        " ON CONFLICT (enrichment_id) DO UPDATE SET requests = s.requests + 1,"
	        " last_error = coalesce(excluded.last_error, s.last_error),"
	        " last_error_at = coalesce(excluded.last_error_at, s.last_error_at)",
	    .nargs = 3,
	    .types = {INT4OID, TEXTOID, TIMESTAMPTZOID}};
	Datum error = CStringGetTextDatum(row->error);
	Datum values[14] = {TimestampTzGetDatum(row->at),
	                    Int32GetDatum(row->enrichment_id),
	                    Int64GetDatum(row->chunk_id),
	                    Int16GetDatum((int16) row->shard),
	                    Int32GetDatum(row->messages),
	                    Int64GetDatum(row->bytes),
	                    Int32GetDatum(row->http_status),
	                    CStringGetTextDatum(row->outcome),
	                    Int32GetDatum(row->accepted),
	                    Int32GetDatum(row->retried),
	                    Int32GetDatum(row->dead),
	                    Float8GetDatum(row->latency_ms),
	                    CStringGetTextDatum(row->platform_id),
	                    error};
	Datum state_values[3] = {Int32GetDatum(row->enrichment_id), error, TimestampTzGetDatum(row->at)};

	pe_statement_run(&state, state_values, NULL, false, 0);
	pe_statement_run(&insert, values, NULL, false, 0);
}

void
pe_delivery_write_log(void)
{
	static bool complained = false;
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	if (log_row_count == 0)
		return;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		for (int i = 0; i < log_row_count; i++)
			write_log_row(&log_rows[i]);
		ReleaseCurrentSubTransaction();
		complained = false;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		if (!complained)
			EmitErrorReport();
		complained = true;
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
}

static void
flush_task(void *arg)
{
	pe_delivery_write_log();
}

void
pe_delivery_log_flush(void)
{
	if (log_row_count > 0 && pe_delivery_step("writing the log", flush_task, NULL))
		log_row_count = 0;
}

/*
 * A day's table is made beside the log and attached to it, because that locks the log
 * far less than making it as a partition. Rows of that day that had to go to the default
 * partition are taken over, else there could be no partition for it. Names and bounds are
 * of UTC days.
 */
static void
make_partition_task(void *arg)
{
	int ahead = *(int *) arg;
	char *day, *next_day, *name;

	SPI_execute(psprintf("SELECT to_char(d, 'YYYYMMDD'), to_char(d + 1, 'YYYYMMDD'),"
	                     " to_regclass('profenrich.delivery_log_' || to_char(d, 'YYYYMMDD')) IS NULL"
	                     " FROM (SELECT (now() AT TIME ZONE 'UTC')::date + %d AS d) n",
	                     ahead),
	            true, 1);
	if (strcmp(SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3), "t") != 0)
		return;
	day = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	next_day = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);
	name = psprintf("profenrich.delivery_log_%s", day);
	if (SPI_execute(psprintf("CREATE TABLE %s (LIKE profenrich.delivery_log INCLUDING ALL);"
	                         "COMMENT ON TABLE %s IS 'requests of one day';"
	                         "GRANT SELECT ON %s TO profenrich_operator, profenrich_admin",
	                         name, name, name),
	                false, 0) < 0 ||
	    SPI_execute(psprintf("WITH taken AS (DELETE FROM profenrich.delivery_log_default"
	                         " WHERE at >= '%s 00:00+00' AND at < '%s 00:00+00' RETURNING *)"
	                         " INSERT INTO %s SELECT * FROM taken;"
	                         "ALTER TABLE profenrich.delivery_log ATTACH PARTITION %s"
	                         " FOR VALUES FROM ('%s 00:00+00') TO ('%s 00:00+00');"
	                         "ALTER EXTENSION profenrich ADD TABLE %s",
	                         day, next_day, name, name, day, next_day, name),
	                false, 0) < 0)
		elog(ERROR, "cannot make a partition of the delivery log");
}

static void
drop_partitions_task(void *arg)
{
	SPITupleTable *old;

	SPI_execute(
	    psprintf("SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
	             " WHERE i.inhparent = 'profenrich.delivery_log'::regclass AND c.relname ~ "
	             "'^delivery_log_[0-9]{8}$'"
	             " AND to_date(right(c.relname, 8), 'YYYYMMDD') < (now() AT TIME ZONE 'UTC')::date - %d",
	             pe_log_retention),
	    true, 0);
	old = SPI_tuptable;
	for (uint64 i = 0; i < old->numvals; i++)
	{
		const char *name = quote_identifier(SPI_getvalue(old->vals[i], old->tupdesc, 1));

		/* Whoever reads the log now goes first: the next attempt is an hour away. */
		SPI_execute("LOCK TABLE profenrich.delivery_log IN ACCESS EXCLUSIVE MODE NOWAIT", false, 0);
		SPI_execute(psprintf("ALTER EXTENSION profenrich DROP TABLE profenrich.%s; DROP TABLE profenrich.%s",
		                     name, name),
		            false, 0);
	}
	SPI_execute(psprintf("DELETE FROM profenrich.delivery_log_default WHERE at < now() - interval '%d days'",
	                     pe_log_retention),
	            false, 0);
}

static void
trim_audit_task(void *arg)
{
	SPI_execute(psprintf("DELETE FROM profenrich.audit_log WHERE at < now() - interval '%d days'",
	                     pe_audit_retention),
	            false, 0);
}

void
pe_delivery_keep_partitions(void)
{
	/* One that cannot be made stands in no other's way. */
	for (int ahead = 0; ahead <= DAYS_AHEAD && pe_delivery_end == PE_DELIVERY_GOES_ON; ahead++)
		(void) pe_delivery_step("making log partitions", make_partition_task, &ahead);
	if (pe_delivery_end == PE_DELIVERY_GOES_ON)
		(void) pe_delivery_step("dropping log partitions", drop_partitions_task, NULL);
	if (pe_audit_retention > 0 && pe_delivery_end == PE_DELIVERY_GOES_ON)
		(void) pe_delivery_step("trimming the audit log", trim_audit_task, NULL);
}
