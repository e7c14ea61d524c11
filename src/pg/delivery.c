/*
 * delivery.c
 *		Reading the queue: what there is to do, and the values to send. Which keys a request
 *		is about is delivery_load.c's, writing acknowledge.c's.
 *
 * The worker's session has search_path pg_catalog and plans by index alone, see
 * worker.c; our tables are always named with their schema.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "pg/compat.h"
#include "pg/delivery.h"
#include "pg/owner.h"
#include "pg/score_scan.h"
#include "pg/sender_identity.h"
#include "pg/sent.h"

/* The session lock lives beside the lock that DROP EXTENSION takes, so that it never stands in its way. */
#define SENDER_LOCK_SUBID 1

#define UNIX_EPOCH_OFFSET ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

PeDeliveryEnd pe_delivery_end = PE_DELIVERY_GOES_ON;
bool pe_delivery_contended = false;

/* The extension this worker serves; one made anew after a DROP gets a worker of its own. */
static Oid served_extension = InvalidOid;

Oid
pe_delivery_extension(void)
{
	return get_extension_oid("profenrich", true);
}

bool
pe_delivery_take_lock(Oid extension)
{
	LOCKTAG tag;
	LockAcquireResult result;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, ExtensionRelationId, extension, SENDER_LOCK_SUBID);
	result = LockAcquire(&tag, ExclusiveLock, true, true);
	if (result == LOCKACQUIRE_NOT_AVAIL)
		return false;
	if (result != LOCKACQUIRE_OK)
		LockRelease(&tag, ExclusiveLock, true);
	served_extension = extension;
	return true;
}

/*
 * DROP EXTENSION locks the extension first and then its tables, in an order that is
 * its own. Whoever holds the extension's lock for as long as it touches the tables
 * cannot get into a deadlock with it; whoever cannot get it stays away.
 */
static bool
hold_extension(void)
{
	LOCKTAG tag;
	Oid owner;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, ExtensionRelationId, served_extension, 0);
	if (LockAcquire(&tag, AccessShareLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	if (pe_delivery_extension() != served_extension)
	{
		pe_delivery_end = PE_DELIVERY_GONE;
		return false;
	}
	/* REASSIGN OWNED may have given it to another role. */
	owner = pe_extension_owner();
	if (owner != GetUserId())
		SetSessionAuthorization(owner, superuser_arg(owner));
	return true;
}

/* A lock is tried for again and again while somebody's transaction is open: said once a minute. */
static void
report_contention(const char *activity, const ErrorData *error)
{
	static TimestampTz said_at = 0;
	TimestampTz now = GetCurrentTimestamp();

	if (!TimestampDifferenceExceeds(said_at, now, 60000))
		return;
	said_at = now;
	ereport(
	    LOG,
	    (errcode(error->sqlerrcode),
	     errmsg("profenrich: %s waits for a lock that another session holds", activity),
	     error->context != NULL ? errdetail_log("%s", error->context) : 0,
	     errhint(
	         "A transaction that has changed an enrichment and stays open holds up what is sent of it.")));
}

bool
pe_delivery_step(const char *activity, PeTask task, void *arg)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile bool done = false;

	CHECK_FOR_INTERRUPTS();
	/* A transaction that aborts lets go of session locks too, so the sender's is taken again each time. */
	if (!pe_delivery_take_lock(served_extension))
	{
		pe_delivery_end = PE_DELIVERY_FENCED;
		return false;
	}
	SetCurrentStatementStartTimestamp();
	pgstat_report_activity(STATE_RUNNING, activity);
	pe_delivery_contended = false;
	PG_TRY();
	{
		StartTransactionCommand();
		if (hold_extension())
		{
			PushActiveSnapshot(GetTransactionSnapshot());
			if (SPI_connect() != SPI_OK_CONNECT)
				elog(ERROR, "SPI_connect failed");
			task(arg);
			SPI_finish();
			PopActiveSnapshot();
			done = pe_delivery_end == PE_DELIVERY_GOES_ON;
		}
		if (done)
			CommitTransactionCommand();
		else
			AbortCurrentTransaction();
	}
	PG_CATCH();
	{
		int code = geterrcode();
		ErrorData *error;

		done = false;
		pe_delivery_contended = code == ERRCODE_LOCK_NOT_AVAILABLE || code == ERRCODE_T_R_DEADLOCK_DETECTED;
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		if (!pe_delivery_contended)
			EmitErrorReport();
		FlushErrorState();
		AbortCurrentTransaction();
		if (pe_delivery_contended)
			report_contention(activity, error);
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	return done;
}

int
pe_statement_run(PeStatement *statement, Datum *values, const char *nulls, bool read_only, long limit)
{
	int result;

	if (statement->plan == NULL)
	{
		statement->plan = SPI_prepare(statement->sql, statement->nargs, statement->types);
		if (statement->plan == NULL)
			elog(ERROR, "cannot prepare a statement of the worker: %s", SPI_result_code_string(SPI_result));
		SPI_keepplan(statement->plan);
	}
	result = SPI_execute_plan(statement->plan, values, nulls, read_only, limit);
	if (result < 0)
		elog(ERROR, "a statement of the worker failed: %s", SPI_result_code_string(result));
	return result;
}

static void
new_epoch_task(void *arg)
{
	static PeStatement update = {.sql = "UPDATE profenrich.sender SET epoch = epoch + 1, pid = "
	                                    "pg_backend_pid(), started_at = now() RETURNING epoch"};
	bool isnull;

	pe_statement_run(&update, NULL, NULL, false, 0);
	if (SPI_processed != 1)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("profenrich.sender has no row"),
		                errhint("Run INSERT INTO profenrich.sender DEFAULT VALUES.")));
	*(int64 *) arg = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

bool
pe_delivery_new_epoch(int64 *epoch)
{
	return pe_delivery_step("taking over as sender", new_epoch_task, epoch);
}

/*
 * Scalar subqueries with LIMIT, never EXISTS: the planner must not turn them into a
 * scan of the whole queue.
 */
#define SCAN_SQL                                                                                             \
	"SELECT e.enrichment_id, e.name, e.server, e.owner::oid, e.paused, e.namespace, t.tenant, t.schema_id,"  \
	" t.dataset_id, regexp_replace(t.inlet_url, '^.*/', ''), t.flow_id, t.org_id, t.sender_identity,"        \
	" (extract(epoch FROM t.ready_at - now()) * 1000000)::int8, s.blocked, s.blocked_reason,"                \
	" (extract(epoch FROM s.next_probe_at - now()) * 1000000)::int8, o.requests, o.messages, q.chunks,"      \
	" q.retries, (extract(epoch FROM q.next_retry - now()) * 1000000)::int8, e.options ->> 'mode',"          \
	" (SELECT j.job_id FROM profenrich.batch_job j WHERE j.enrichment_id = e.enrichment_id"                  \
	"   AND j.state NOT IN ('done', 'failed')),"                                                             \
	" (SELECT count(*)::int4 FROM profenrich.batch_job j WHERE j.enrichment_id = e.enrichment_id"            \
	"   AND j.state = 'failed' AND j.finished_at > now() - interval '1 day' AND j.job_id > coalesce("        \
	"   (SELECT max(d.job_id) FROM profenrich.batch_job d WHERE d.enrichment_id = e.enrichment_id"           \
	"   AND d.state = 'done'), 0)),"                                                                         \
	" (extract(epoch FROM s.held_until - now()) * 1000000)::int8, s.resumes,"                                \
	" s.outage_since IS NOT NULL, coalesce(s.no_batch_until > now() - interval '1 hour', false)"             \
	" FROM profenrich.enrichment e JOIN profenrich.enrichment_target t USING (enrichment_id)"                \
	" LEFT JOIN profenrich.delivery_state s USING (enrichment_id)"                                           \
	" LEFT JOIN LATERAL (SELECT max(p.option_value) FILTER (WHERE p.option_name = "                          \
	"'requests_per_second')::float8"                                                                         \
	"   AS requests, max(p.option_value) FILTER (WHERE p.option_name = 'messages_per_second')::float8 AS "   \
	"messages"                                                                                               \
	"   FROM pg_foreign_server f, pg_options_to_table(f.srvoptions) p WHERE f.srvname = e.server) o ON true" \
	" LEFT JOIN LATERAL (SELECT coalesce(bit_or(1 << g) FILTER (WHERE w.chunk IS NOT NULL), 0) AS chunks,"   \
	"   coalesce(bit_or(1 << g) FILTER (WHERE " PE_RETRY_DUE(                                                \
	    "w.retry") "), 0) AS retries,"                                                                       \
	               "   min(w.retry) FILTER (WHERE w.retry > now()) AS next_retry FROM generate_series(0, "   \
	               "15) g,"                                                                                  \
	               "   LATERAL (SELECT (SELECT x.chunk_id FROM profenrich.outbox x WHERE x.enrichment_id = " \
	               "e.enrichment_id"                                                                         \
	               "     AND x.shard = g::int2 AND x.job_id IS NULL AND (x.not_before IS NULL OR "           \
	               "x.not_before <= now())"                                                                  \
	               "     ORDER BY x.chunk_id LIMIT 1)"                                                       \
	               "     AS chunk, (SELECT r.next_at FROM profenrich.retry r WHERE r.enrichment_id = "       \
	               "e.enrichment_id"                                                                         \
	               "     AND r.shard = g::int2 ORDER BY r.next_at LIMIT 1) AS retry OFFSET 0) w) q ON true"

typedef struct ScanArg
{
	MemoryContext context;
	List *targets;
} ScanArg;

static pe_block
block_of_name(const char *name)
{
	for (pe_block block = PE_BLOCK_AUTHORISATION; name != NULL && block <= PE_BLOCK_IDENTITY; block++)
		if (strcmp(name, pe_block_name(block)) == 0)
			return block;
	return PE_BLOCK_NONE;
}

int64
pe_statement_int64(HeapTuple row, TupleDesc desc, int column, int64 otherwise)
{
	bool isnull;
	Datum value = SPI_getbinval(row, desc, column, &isnull);

	return isnull ? otherwise : DatumGetInt64(value);
}

static double
float_column(HeapTuple row, TupleDesc desc, int column)
{
	bool isnull;
	Datum value = SPI_getbinval(row, desc, column, &isnull);

	return isnull ? 0 : DatumGetFloat8(value);
}

static pe_delivery_mode
mode_of_name(const char *name)
{
	pe_delivery_mode mode = PE_MODE_AUTO;

	if (name != NULL)
		(void) pe_delivery_mode_parse(name, strlen(name), &mode);
	return mode;
}

static PeTarget *
read_target(HeapTuple row, TupleDesc desc, const char *identity)
{
	PeTarget *target = palloc0(sizeof(PeTarget));
	bool isnull;

	target->enrichment_id = DatumGetInt32(SPI_getbinval(row, desc, 1, &isnull));
	target->name = SPI_getvalue(row, desc, 2);
	target->server = SPI_getvalue(row, desc, 3);
	target->owner = DatumGetObjectId(SPI_getbinval(row, desc, 4, &isnull));
	target->paused = DatumGetBool(SPI_getbinval(row, desc, 5, &isnull));
	target->namespace_code = SPI_getvalue(row, desc, 6);
	target->tenant = SPI_getvalue(row, desc, 7);
	target->schema_id = SPI_getvalue(row, desc, 8);
	target->dataset_id = SPI_getvalue(row, desc, 9);
	target->inlet_id = SPI_getvalue(row, desc, 10);
	target->flow_id = SPI_getvalue(row, desc, 11);
	target->org_id = SPI_getvalue(row, desc, 12);
	target->identity_matches = strcmp(SPI_getvalue(row, desc, 13), identity) == 0;
	target->ready_in = pe_statement_int64(row, desc, 14, 0);
	target->blocked = block_of_name(SPI_getvalue(row, desc, 15));
	target->blocked_reason = SPI_getvalue(row, desc, 16);
	target->probe_in = pe_statement_int64(row, desc, 17, -1);
	/* One that is past due is due now; only a missing one means never. */
	if (target->probe_in < 0)
		target->probe_in = SPI_getvalue(row, desc, 17) != NULL ? 0 : -1;
	target->limits.requests_per_second = float_column(row, desc, 18);
	target->limits.messages_per_second = float_column(row, desc, 19);
	target->next_retry_in = pe_statement_int64(row, desc, 22, -1);
	target->mode = mode_of_name(SPI_getvalue(row, desc, 23));
	target->job_id = pe_statement_int64(row, desc, 24, 0);
	target->batch_failures = DatumGetInt32(SPI_getbinval(row, desc, 25, &isnull));
	target->held_for = pe_statement_int64(row, desc, 26, 0);
	target->resumes = pe_statement_int64(row, desc, 27, 0);
	target->outage = DatumGetBool(SPI_getbinval(row, desc, 28, &isnull));
	target->no_budget = DatumGetBool(SPI_getbinval(row, desc, 29, &isnull));
	target->shards = DatumGetInt32(SPI_getbinval(row, desc, 21, &isnull));
	if (!pe_target_only_batches(target))
		target->shards |= DatumGetInt32(SPI_getbinval(row, desc, 20, &isnull));
	return target;
}

bool
pe_target_only_batches(const PeTarget *target)
{
	return pe_job_only_batches(target->mode, target->batch_failures);
}

static void
scan_task(void *arg)
{
	static PeStatement scan = {.sql = SCAN_SQL};
	ScanArg *result = arg;
	MemoryContext caller;
	const char *identity = pe_sender_identity();

	pe_statement_run(&scan, NULL, NULL, true, 0);
	caller = MemoryContextSwitchTo(result->context);
	for (uint64 i = 0; i < SPI_processed; i++)
		result->targets =
		    lappend(result->targets, read_target(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, identity));
	MemoryContextSwitchTo(caller);
}

bool
pe_delivery_scan(MemoryContext context, List **targets)
{
	ScanArg arg = {context, NIL};
	bool done = pe_delivery_step("looking for work", scan_task, &arg);

	*targets = done ? arg.targets : NIL;
	return done;
}

/* Writes the values of a load's keys into a body. */
typedef struct BuildArg
{
	int32 enrichment_id;
	PeLoad *load;
	int key_count;
	int order[PE_CHUNK_KEYS]; /* the keys asked for, in the order of their bytes */
	StringInfoData value;
	pe_message_body *body;
	PeBuilt *built;
} BuildArg;

/* Bytes that the platform reads: UTF-8, whatever the database's encoding. */
static const char *
as_utf8(const char *text, size_t *length)
{
	const char *converted;

	if (GetDatabaseEncoding() == PG_UTF8 || GetDatabaseEncoding() == PG_SQL_ASCII)
		return text;
	converted = pg_server_to_any(text, (int) *length, PG_UTF8);
	if (converted != text)
		*length = strlen(converted);
	return converted;
}

/* Into the body, or onto one of the lists. False when the body is full. */
static bool
take_value(void *data, int place, const PeScoreRow *row)
{
	BuildArg *arg = data;
	PeLoad *load = arg->load;
	PeBuilt *built = arg->built;
	int index = arg->order[place];
	pe_message_record record = {.key = load->keys[index], .key_length = strlen(load->keys[index])};
	pe_status status;

	/* No row: forgotten. A newer version: its own chunk follows. */
	if (row == NULL || row->version > load->versions[index])
	{
		built->superseded[built->superseded_count++] = index;
		return true;
	}
	record.key = as_utf8(record.key, &record.key_length);
	if (!row->retracted && !row->isnull)
	{
		Jsonb *value = DatumGetJsonbP(row->value);

		resetStringInfo(&arg->value);
		JsonbToCString(&arg->value, &value->root, VARSIZE(value));
		record.value_length = arg->value.len;
		record.value = as_utf8(arg->value.data, &record.value_length);
	}
	record.scored_at = row->changed_at + UNIX_EPOCH_OFFSET;
	load->overdue |= pe_sent_is_overdue(row);
	status = pe_message_add(arg->body, &record, NULL);
	if (status == PE_OUT_OF_MEMORY)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	if (status == PE_LIMIT && arg->body->messages > 0)
		return false;
	if (status != PE_OK)
		built->too_big[built->too_big_count++] = index;
	else
	{
		load->retracted[index] = record.value == NULL;
		built->sent[built->sent_count++] = index;
	}
	return true;
}

static int
compare_keys(const void *a, const void *b, void *keys)
{
	return strcmp(((char **) keys)[*(const int *) a], ((char **) keys)[*(const int *) b]);
}

static void
build_task(void *data)
{
	BuildArg *arg = data;
	const char *keys[PE_CHUNK_KEYS];

	initStringInfo(&arg->value);
	qsort_arg(arg->order, arg->key_count, sizeof(int), compare_keys, arg->load->keys);
	for (int i = 0; i < arg->key_count; i++)
		keys[i] = arg->load->keys[arg->order[i]];
	pe_score_scan(arg->enrichment_id, keys, arg->key_count, take_value, arg);
}

bool
pe_delivery_build(int32 enrichment_id, PeLoad *load, const int *keys, int key_count, pe_message_body *body,
                  PeBuilt *built)
{
	BuildArg arg = {
	    .enrichment_id = enrichment_id,
	    .load = load,
	    .key_count = key_count,
	    .body = body,
	    .built = built,
	};

	memcpy(arg.order, keys, key_count * sizeof(int));
	built->sent_count = built->superseded_count = built->too_big_count = 0;
	return pe_delivery_step("reading values", build_task, &arg);
}
