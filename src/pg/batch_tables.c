/*
 * batch_tables.c
 *		What a batch job reads and writes, a transaction each. Each that writes is fenced
 *		by the sender's epoch and touches the job only in the state it is known in, so that
 *		nothing is acknowledged twice.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/batch_delivery.h"
#include "pg/guc.h"
#include "pg/wire_value.h"

/* More than that goes into the next batch: 25 million keys, in files that the platform's smallest limit
 * allows. */
#define MAX_CHUNKS 50000

typedef struct JobArg
{
	PeBatchJob *job;
	int64 epoch;
	const int64 *held;
	int held_count;
	const PeFailedRow *rows;
	int row_count;
	pe_job_past *past;
	int64 period;   /* microseconds */
	int64 accepted; /* what became of its keys */
	int64 retried;
	int64 dead;
} JobArg;

static Datum
int8_array(const int64 *items, int count)
{
	Datum *datums = palloc(Max(count, 1) * sizeof(Datum));

	for (int i = 0; i < count; i++)
		datums[i] = Int64GetDatum(items[i]);
	return PointerGetDatum(construct_array(datums, count, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

static Datum
text_array(Datum *items, int count)
{
	return PointerGetDatum(construct_array(items, count, TEXTOID, -1, false, TYPALIGN_INT));
}

static int64
int8_result(int column)
{
	bool isnull;
	Datum value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

static void
text_result(int column, char *text, size_t size)
{
	const char *value = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column);

	strlcpy(text, value != NULL ? value : "", size);
}

/* ---- reading ---------------------------------------------------------------------------- */

static void
load_task(void *data)
{
	static PeStatement read = {
	    .sql =
	        "SELECT state, external_id, batch_id, keys, files::int8, last_chunk_id, keys_done::int8, records,"
	        " bytes, superseded, retracted, completed_at IS NOT NULL,"
	        " (extract(epoch FROM clock_timestamp() - completed_at) * 1000000)::int8,"
	        " (SELECT count(*) FROM profenrich.batch_failure f WHERE f.job_id = j.job_id)"
	        " FROM profenrich.batch_job j WHERE job_id = $1",
	    .nargs = 1,
	    .types = {INT8OID}};
	JobArg *arg = data;
	PeBatchJob *job = arg->job;
	Datum values[1] = {Int64GetDatum(job->job_id)};
	char state[16];
	bool isnull;

	pe_statement_run(&read, values, NULL, true, 1);
	if (SPI_processed == 0)
		return;
	text_result(1, state, sizeof(state));
	text_result(2, job->external_id, sizeof(job->external_id));
	text_result(3, job->batch_id, sizeof(job->batch_id));
	job->keys = int8_result(4);
	job->files = (int) int8_result(5);
	job->last_chunk = int8_result(6);
	job->keys_done = (int) int8_result(7);
	job->records = int8_result(8);
	job->bytes = int8_result(9);
	job->superseded = int8_result(10);
	job->retracted = int8_result(11);
	job->completed = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 12, &isnull));
	arg->past->state = pe_job_state_of_name(state);
	arg->past->waited = int8_result(13);
	arg->past->empty = arg->past->state == PE_JOB_UPLOADED && job->records == 0;
}

bool
pe_batch_load(PeBatchJob *job, pe_job_past *past)
{
	JobArg arg = {.job = job, .past = past};

	*past = (pe_job_past){0};
	return pe_delivery_step("reading a batch", load_task, &arg) && past->state != PE_JOB_WISHED;
}

typedef struct DueArg
{
	int32 enrichment_id;
	int64 enough;
	int64 keys;
} DueArg;

/* A chunk holds 500 keys at most, and rarely less than a hundred where there are many. */
static void
due_task(void *data)
{
	static PeStatement count = {
	    .sql = "SELECT sum(key_count)::int8 FROM (SELECT key_count FROM profenrich.outbox"
	           " WHERE enrichment_id = $1 AND job_id IS NULL AND (not_before IS NULL OR not_before <= now())"
	           " LIMIT $2) x",
	    .nargs = 2,
	    .types = {INT4OID, INT8OID}};
	DueArg *arg = data;
	Datum values[2] = {Int32GetDatum(arg->enrichment_id), Int64GetDatum(arg->enough / 100 + 1000)};

	pe_statement_run(&count, values, NULL, true, 1);
	arg->keys = int8_result(1);
}

bool
pe_batch_due(int32 enrichment_id, int64 enough, int64 *keys)
{
	DueArg arg = {enrichment_id, enough, 0};
	bool done = pe_delivery_step("counting what is due", due_task, &arg);

	*keys = arg.keys;
	return done;
}

typedef struct BegunArg
{
	const PeTarget *target;
	int count;
} BegunArg;

static void
begun_task(void *data)
{
	static PeStatement count = {
	    .sql = "SELECT count(*) FROM profenrich.batch_job j JOIN profenrich.enrichment_target t USING "
	           "(enrichment_id)"
	           " WHERE j.created_at > now() - interval '1 day' AND (t.org_id, t.sandbox) ="
	           " (SELECT o.org_id, o.sandbox FROM profenrich.enrichment_target o WHERE o.enrichment_id = $1)",
	    .nargs = 1,
	    .types = {INT4OID}};
	BegunArg *arg = data;
	Datum values[1] = {Int32GetDatum(arg->target->enrichment_id)};

	pe_statement_run(&count, values, NULL, true, 1);
	arg->count = (int) int8_result(1);
}

bool
pe_batch_begun(const PeTarget *target, int *count)
{
	BegunArg arg = {target, 0};
	bool done = pe_delivery_step("counting batches", begun_task, &arg);

	*count = arg.count;
	return done;
}

typedef struct DatasetsArg
{
	MemoryContext context;
	List *ids;
} DatasetsArg;

static void
datasets_task(void *data)
{
	static PeStatement read = {.sql = "SELECT dataset_id FROM profenrich.enrichment_target"};
	DatasetsArg *arg = data;

	pe_statement_run(&read, NULL, NULL, true, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext before = MemoryContextSwitchTo(arg->context);

		arg->ids = lappend(arg->ids, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
		MemoryContextSwitchTo(before);
	}
}

bool
pe_batch_own_datasets(MemoryContext context, List **ids)
{
	DatasetsArg arg = {context, NIL};
	bool done = pe_delivery_step("reading data sets", datasets_task, &arg);

	*ids = arg.ids;
	return done;
}

/* ---- writing ---------------------------------------------------------------------------- */

/* Whoever may write goes on; a job that is not there any more was dropped with its enrichment. */
static bool
may_write(const JobArg *arg)
{
	return pe_delivery_holds(arg->epoch) && pe_delivery_enrichment_exists(arg->job->enrichment_id);
}

static void
claim_task(void *data)
{
	static PeStatement insert = {
	    .sql = "INSERT INTO profenrich.batch_job (enrichment_id) VALUES ($1) RETURNING job_id, external_id",
	    .nargs = 1,
	    .types = {INT4OID}};
	static PeStatement take = {
	    .sql = "WITH taken AS (UPDATE profenrich.outbox SET job_id = $2 WHERE chunk_id IN ("
	           " SELECT chunk_id FROM profenrich.outbox WHERE enrichment_id = $1 AND job_id IS NULL"
	           " AND (not_before IS NULL OR not_before <= now()) AND chunk_id <> ALL ($3)"
	           " ORDER BY chunk_id LIMIT " CppAsString2(
	               MAX_CHUNKS) ") RETURNING key_count)"
	                           " UPDATE profenrich.batch_job SET keys = (SELECT coalesce(sum(key_count), 0) "
	                           "FROM taken)"
	                           " WHERE job_id = $2 RETURNING keys",
	    .nargs = 3,
	    .types = {INT4OID, INT8OID, INT8ARRAYOID}};
	static PeStatement drop = {
	    .sql = "DELETE FROM profenrich.batch_job WHERE job_id = $1", .nargs = 1, .types = {INT8OID}};
	static PeStatement has_budget = {
	    .sql = "UPDATE profenrich.delivery_state SET no_batch_until = NULL WHERE enrichment_id = $1"
	           " AND no_batch_until IS NOT NULL",
	    .nargs = 1,
	    .types = {INT4OID}};
	JobArg *arg = data;
	PeBatchJob *job = arg->job;
	Datum values[3] = {Int32GetDatum(job->enrichment_id)};

	if (!may_write(arg))
		return;
	pe_statement_run(&has_budget, values, NULL, false, 0);
	pe_statement_run(&insert, values, NULL, false, 0);
	job->job_id = int8_result(1);
	text_result(2, job->external_id, sizeof(job->external_id));
	values[1] = Int64GetDatum(job->job_id);
	values[2] = int8_array(arg->held, arg->held_count);
	pe_statement_run(&take, values, NULL, false, 0);
	job->keys = int8_result(1);
	/* Streamed meanwhile. */
	if (job->keys == 0)
	{
		pe_statement_run(&drop, &values[1], NULL, false, 0);
		job->job_id = 0;
	}
}

pe_written
pe_batch_claim(PeBatchJob *job, int64 epoch, const int64 *held, int held_count)
{
	JobArg arg = {.job = job, .epoch = epoch, .held = held, .held_count = held_count};
	pe_written written = pe_delivery_write("making a batch", claim_task, &arg);

	if (written != PE_WRITTEN)
		job->job_id = 0;
	return written;
}

static void
postpone_task(void *data)
{
	static PeStatement upsert = {
	    .sql = "INSERT INTO profenrich.delivery_state AS s (enrichment_id, no_batch_until) VALUES ($1,"
	           " clock_timestamp() + $2 * interval '1 microsecond') ON CONFLICT (enrichment_id) DO UPDATE"
	           " SET no_batch_until = excluded.no_batch_until",
	    .nargs = 2,
	    .types = {INT4OID, INT8OID}};
	JobArg *arg = data;
	Datum values[2] = {Int32GetDatum(arg->job->enrichment_id), Int64GetDatum(arg->period)};

	if (may_write(arg))
		pe_statement_run(&upsert, values, NULL, false, 0);
}

pe_written
pe_batch_postpone(PeBatchJob *job, int64 epoch, int64 period)
{
	JobArg arg = {.job = job, .epoch = epoch, .period = period};

	return pe_delivery_write("putting off a batch", postpone_task, &arg);
}

/* Keys that were refused before they were sent. */
static void
note_too_big(const PeBatchJob *job)
{
	static PeStatement insert = {
	    .sql = "INSERT INTO profenrich.batch_failure (job_id, profile_key, class, reason)"
	           " SELECT $1, k, $3, 'the record is larger than the platform takes' FROM unnest($2) k"
	           " ON CONFLICT (job_id, profile_key) DO NOTHING",
	    .nargs = 3,
	    .types = {INT8OID, TEXTARRAYOID, TEXTOID}};
	Datum *keys = palloc(Max(list_length(job->too_big), 1) * sizeof(Datum));
	int count = 0;
	ListCell *cell;
	Datum values[3] = {Int64GetDatum(job->job_id), 0,
	                   CStringGetTextDatum(pe_outcome_name(PE_OUTCOME_TOO_BIG))};

	if (job->too_big == NIL)
		return;
	foreach (cell, job->too_big)
		keys[count++] = CStringGetTextDatum(lfirst(cell));
	values[1] = text_array(keys, count);
	pe_statement_run(&insert, values, NULL, false, 0);
}

static void
save_task(void *data)
{
	static PeStatement update = {
	    .sql =
	        "UPDATE profenrich.batch_job SET state = $2, batch_id = nullif($3, ''), files = $4,"
	        " last_chunk_id = $5, keys_done = $6, records = $7, bytes = $8, superseded = $9, retracted = "
	        "$10,"
	        " refused = $11, completed_at = CASE WHEN $12 THEN coalesce(completed_at, clock_timestamp()) END"
	        " WHERE job_id = $1 AND state NOT IN ('done', 'failed')",
	    .nargs = 12,
	    .types = {INT8OID, TEXTOID, TEXTOID, INT4OID, INT8OID, INT4OID, INT8OID, INT8OID, INT8OID, INT8OID,
	              INT8OID, BOOLOID}};
	JobArg *arg = data;
	const PeBatchJob *job = arg->job;
	Datum values[12] = {Int64GetDatum(job->job_id),
	                    CStringGetTextDatum(pe_job_state_name(job->job.state)),
	                    CStringGetTextDatum(job->batch_id),
	                    Int32GetDatum(job->files),
	                    Int64GetDatum(job->last_chunk),
	                    Int32GetDatum(job->keys_done),
	                    Int64GetDatum(job->records),
	                    Int64GetDatum(job->bytes),
	                    Int64GetDatum(job->superseded),
	                    Int64GetDatum(job->retracted),
	                    Int64GetDatum(Max(job->job.refused, 0)),
	                    BoolGetDatum(job->completed)};

	if (!may_write(arg))
		return;
	pe_statement_run(&update, values, NULL, false, 0);
	note_too_big(job);
}

pe_written
pe_batch_save(PeBatchJob *job, int64 epoch)
{
	JobArg arg = {.job = job, .epoch = epoch};

	return pe_delivery_write("noting a batch's state", save_task, &arg);
}

static void
note_task(void *data)
{
	static PeStatement insert = {
	    .sql = "INSERT INTO profenrich.batch_failure (job_id, profile_key, class, reason)"
	           " SELECT $1, k.profile_key, k.class, k.reason FROM unnest($2, $3, $4) k(profile_key, class, "
	           "reason)"
	           " ON CONFLICT (job_id, profile_key) DO NOTHING",
	    .nargs = 4,
	    .types = {INT8OID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID}};
	static PeStatement count = {.sql = "SELECT count(*) FROM profenrich.batch_failure WHERE job_id = $1"
	                                   " AND class <> $2",
	                            .nargs = 2,
	                            .types = {INT8OID, TEXTOID}};
	JobArg *arg = data;
	Datum *keys = palloc(arg->row_count * sizeof(Datum));
	Datum *classes = palloc(arg->row_count * sizeof(Datum));
	Datum *reasons = palloc(arg->row_count * sizeof(Datum));
	Datum values[4] = {Int64GetDatum(arg->job->job_id)};

	if (!may_write(arg))
		return;
	for (int i = 0; i < arg->row_count; i++)
	{
		const PeFailedRow *row = &arg->rows[i];

		keys[i] = CStringGetTextDatum(pg_any_to_server(row->key, (int) strlen(row->key), PG_UTF8));
		classes[i] = CStringGetTextDatum(pe_outcome_name(row->outcome));
		reasons[i] = CStringGetTextDatum(pg_any_to_server(row->reason, (int) strlen(row->reason), PG_UTF8));
	}
	values[1] = text_array(keys, arg->row_count);
	values[2] = text_array(classes, arg->row_count);
	values[3] = text_array(reasons, arg->row_count);
	pe_statement_run(&insert, values, NULL, false, 0);
	values[1] = CStringGetTextDatum(pe_outcome_name(PE_OUTCOME_TOO_BIG));
	pe_statement_run(&count, values, NULL, false, 1);
	arg->job->known = int8_result(1);
}

pe_written
pe_batch_note(PeBatchJob *job, int64 epoch, const PeFailedRow *rows, int count)
{
	JobArg arg = {.job = job, .epoch = epoch, .rows = rows, .row_count = count};

	return pe_delivery_write("noting refused records", note_task, &arg);
}

/*
 * The keys of the job's chunks; of a key that is in two of them, the newer version is
 * what was sent.
 */
#define SENT                                                                                                 \
	"(SELECT k.profile_key, o.version, o.shard FROM profenrich.outbox o, unnest(o.profile_keys) "            \
	"k(profile_key) WHERE o.enrichment_id = $1 AND o.job_id = $2)"

static uint64
run_for_job(PeStatement *statement, const PeBatchJob *job, Datum third)
{
	Datum values[3] = {Int32GetDatum(job->enrichment_id), Int64GetDatum(job->job_id), third};

	pe_statement_run(statement, values, NULL, false, 0);
	return SPI_processed;
}

/* What was refused of the newest values: for good, or to be tried again. */
static void
settle_refused(const PeBatchJob *job, int64 *dead, int64 *retried)
{
	static PeStatement bury = {
	    .sql = "INSERT INTO profenrich.dead_letter AS d (enrichment_id, profile_key, shard, version, class, "
	           "reason)"
	           " SELECT DISTINCT ON (f.profile_key) $1, f.profile_key, x.shard, x.version, f.class, f.reason"
	           " FROM " SENT " x JOIN profenrich.batch_failure f ON f.job_id = $2 AND f.profile_key = "
	           "x.profile_key JOIN profenrich.profile_score s ON s.enrichment_id = $1"
	           " AND s.profile_key = f.profile_key AND s.version = x.version WHERE f.class <> ALL ($3)"
	           " ORDER BY f.profile_key"
	           " ON CONFLICT (enrichment_id, profile_key) DO UPDATE SET version = excluded.version,"
	           " class = excluded.class, reason = excluded.reason, shard = excluded.shard, attempts = "
	           "d.attempts + 1,"
	           " http_status = NULL, died_at = clock_timestamp()",
	    .nargs = 3,
	    .types = {INT4OID, INT8OID, TEXTARRAYOID}};
	static PeStatement retry = {
	    .sql =
	        "INSERT INTO profenrich.retry AS r (enrichment_id, profile_key, shard, version, next_at, class, "
	        "error)"
	        " SELECT DISTINCT ON (f.profile_key) $1, f.profile_key, x.shard, x.version, clock_timestamp(),"
	        " f.class, f.reason"
	        " FROM " SENT " x JOIN profenrich.batch_failure f ON f.job_id = $2 AND f.profile_key = "
	        "x.profile_key JOIN profenrich.profile_score s ON s.enrichment_id = $1"
	        " AND s.profile_key = f.profile_key AND s.version = x.version WHERE f.class = ANY ($3)"
	        " ORDER BY f.profile_key"
	        " ON CONFLICT (enrichment_id, profile_key) DO UPDATE SET version = excluded.version,"
	        " class = excluded.class, error = excluded.error, shard = excluded.shard, attempts = r.attempts "
	        "+ 1,"
	        " next_at = excluded.next_at, http_status = NULL",
	    .nargs = 3,
	    .types = {INT4OID, INT8OID, TEXTARRAYOID}};
	Datum transient[3] = {CStringGetTextDatum(pe_outcome_name(PE_OUTCOME_FAULT)),
	                      CStringGetTextDatum(pe_outcome_name(PE_OUTCOME_OVERLOAD)),
	                      CStringGetTextDatum(pe_outcome_name(PE_OUTCOME_RATE))};
	Datum classes = text_array(transient, 3);

	*dead = (int64) run_for_job(&bury, job, classes);
	*retried = (int64) run_for_job(&retry, job, classes);
}

/* What is known of these keys' older tries is over; only where there is anything to look through. */
static void
settle_failures(const PeBatchJob *job)
{
	static PeStatement any = {.sql = "SELECT 1 FROM profenrich.retry WHERE enrichment_id = $1 UNION ALL"
	                                 " SELECT 1 FROM profenrich.dead_letter WHERE enrichment_id = $1 LIMIT 1",
	                          .nargs = 1,
	                          .types = {INT4OID}};
	static PeStatement retry = {.sql = "DELETE FROM profenrich.retry r USING " SENT
	                                   " x WHERE r.enrichment_id = $1 AND r.profile_key = x.profile_key"
	                                   " AND r.version <= x.version",
	                            .nargs = 2,
	                            .types = {INT4OID, INT8OID}};
	static PeStatement dead = {
	    .sql = "DELETE FROM profenrich.dead_letter WHERE ctid IN (SELECT d.ctid FROM " SENT
	           " x JOIN profenrich.dead_letter d ON d.enrichment_id = $1 AND d.profile_key = x.profile_key"
	           " WHERE d.version <= x.version FOR UPDATE OF d SKIP LOCKED)",
	    .nargs = 2,
	    .types = {INT4OID, INT8OID}};
	Datum values[2] = {Int32GetDatum(job->enrichment_id), Int64GetDatum(job->job_id)};

	pe_statement_run(&any, values, NULL, false, 1);
	if (SPI_processed == 0)
		return;
	pe_statement_run(&retry, values, NULL, false, 0);
	pe_statement_run(&dead, values, NULL, false, 0);
}

/* Retracted profiles are marked as accepted; a later refresh sweeps them once the resend gap has passed. */
static void
settle_tombstones(const PeBatchJob *job)
{
	static PeStatement mark = {
	    .sql = "UPDATE profenrich.profile_score SET hash = $3 WHERE ctid IN (SELECT s.ctid FROM " SENT
	           " x JOIN profenrich.profile_score s ON s.enrichment_id = $1 AND s.profile_key = x.profile_key"
	           " WHERE s.retracted AND s.version = x.version AND NOT EXISTS (SELECT FROM "
	           "profenrich.batch_failure f WHERE f.job_id = $2 AND f.profile_key = x.profile_key)"
	           " FOR UPDATE OF s SKIP LOCKED)",
	    .nargs = 3,
	    .types = {INT4OID, INT8OID, INT8OID}};

	if (job->retracted > 0)
		(void) run_for_job(&mark, job, Int64GetDatum(PE_TOMBSTONE_ACCEPTED));
}

static int64
count_failures(const PeBatchJob *job)
{
	static PeStatement count = {.sql = "SELECT count(*) FROM profenrich.batch_failure WHERE job_id = $1",
	                            .nargs = 1,
	                            .types = {INT8OID}};
	Datum values[1] = {Int64GetDatum(job->job_id)};

	pe_statement_run(&count, values, NULL, false, 1);
	return int8_result(1);
}

/* The job's row, when it is still to be ended; locked. */
static bool
still_open(const PeBatchJob *job)
{
	static PeStatement lock = {
	    .sql = "SELECT 1 FROM profenrich.batch_job WHERE job_id = $1 AND state NOT IN ('done', 'failed') FOR "
	           "UPDATE",
	    .nargs = 1,
	    .types = {INT8OID}};
	Datum values[1] = {Int64GetDatum(job->job_id)};

	pe_statement_run(&lock, values, NULL, false, 1);
	return SPI_processed > 0;
}

/*
 * The row says how it ended. What was in a batch may take the platform a while to bring to
 * the profiles: the next values wait for the resend gap, so that they come later.
 */
static void
end_job(const PeBatchJob *job, pe_job_state state, const char *error)
{
	static PeStatement end = {
	    .sql = "UPDATE profenrich.batch_job SET state = $2, error = nullif($3, ''), refused = $4,"
	           " finished_at = clock_timestamp() WHERE job_id = $1",
	    .nargs = 4,
	    .types = {INT8OID, TEXTOID, TEXTOID, INT8OID}};
	static PeStatement clear = {
	    .sql = "DELETE FROM profenrich.batch_failure WHERE job_id = $1", .nargs = 1, .types = {INT8OID}};
	static PeStatement hold = {
	    .sql = "INSERT INTO profenrich.delivery_state AS s (enrichment_id, held_until) VALUES ($1,"
	           " clock_timestamp() + $2 * interval '1 second') ON CONFLICT (enrichment_id) DO UPDATE"
	           " SET held_until = excluded.held_until",
	    .nargs = 2,
	    .types = {INT4OID, INT4OID}};
	Datum values[4] = {Int64GetDatum(job->job_id), CStringGetTextDatum(pe_job_state_name(state)),
	                   CStringGetTextDatum(error), Int64GetDatum(Max(job->job.refused, 0))};
	Datum hold_values[2] = {Int32GetDatum(job->enrichment_id), Int32GetDatum(pe_resend_gap)};

	pe_statement_run(&end, values, NULL, false, 0);
	pe_statement_run(&clear, values, NULL, false, 0);
	if (job->completed && pe_resend_gap > 0)
		pe_statement_run(&hold, hold_values, NULL, false, 0);
}

/* The log's row of how it ended, once that is committed. */
static void
log_end(const JobArg *arg, const char *outcome, const char *error)
{
	PeLogRow row = {.at = GetCurrentTimestamp(),
	                .enrichment_id = arg->job->enrichment_id,
	                .shard = -1,
	                .outcome = outcome,
	                .accepted = (int) arg->accepted,
	                .retried = (int) arg->retried,
	                .dead = (int) arg->dead};

	strlcpy(row.platform_id, arg->job->batch_id, sizeof(row.platform_id));
	strlcpy(row.error, error, sizeof(row.error));
	pe_delivery_log(&row);
}

static void
settle_task(void *data)
{
	static PeStatement release = {
	    .sql = "DELETE FROM profenrich.outbox WHERE enrichment_id = $1 AND job_id = $2",
	    .nargs = 2,
	    .types = {INT4OID, INT8OID}};
	JobArg *arg = data;
	const PeBatchJob *job = arg->job;
	int64 failures;

	if (!may_write(arg) || !still_open(job))
		return;
	failures = count_failures(job);
	settle_failures(job);
	if (failures > 0)
		settle_refused(job, &arg->dead, &arg->retried);
	settle_tombstones(job);
	(void) run_for_job(&release, job, (Datum) 0);
	arg->accepted = job->keys - job->superseded - failures;
	/* Of the keys that failed, those with a newer value are superseded now. */
	pe_delivery_count_up(job->enrichment_id, arg->accepted,
	                     job->superseded + failures - arg->dead - arg->retried, arg->retried, arg->dead);
	end_job(job, PE_JOB_DONE, "");
}

pe_written
pe_batch_settle(PeBatchJob *job, int64 epoch)
{
	JobArg arg = {.job = job, .epoch = epoch};
	pe_written written = pe_delivery_write("acknowledging a batch", settle_task, &arg);

	if (written == PE_WRITTEN)
		log_end(&arg, pe_outcome_name(arg.dead + arg.retried > 0 ? PE_OUTCOME_MIXED : PE_OUTCOME_ACCEPTED),
		        "");
	return written;
}

static void
give_back_task(void *data)
{
	static PeStatement release = {
	    .sql = "UPDATE profenrich.outbox SET job_id = NULL WHERE enrichment_id = $1 AND job_id = $2",
	    .nargs = 2,
	    .types = {INT4OID, INT8OID}};
	JobArg *arg = data;
	const PeBatchJob *job = arg->job;

	if (!may_write(arg) || !still_open(job))
		return;
	(void) run_for_job(&release, job, (Datum) 0);
	end_job(job, PE_JOB_FAILED, job->job.reason);
}

pe_written
pe_batch_give_back(PeBatchJob *job, int64 epoch)
{
	JobArg arg = {.job = job, .epoch = epoch};
	pe_written written = pe_delivery_write("giving back a batch's chunks", give_back_task, &arg);

	if (written == PE_WRITTEN)
		log_end(&arg, "failed", job->job.reason);
	return written;
}

static void
forget_task(void *arg)
{
	(void) SPI_execute(psprintf("DELETE FROM profenrich.batch_job WHERE state IN ('done', 'failed')"
	                            " AND finished_at < now() - interval '%d days'",
	                            pe_log_retention),
	                   false, 0);
}

void
pe_batch_forget_old(void)
{
	(void) pe_delivery_step("forgetting old batches", forget_task, NULL);
}
