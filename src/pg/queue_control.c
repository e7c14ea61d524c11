/*
 * queue_control.c
 *		pause, resume, redrive, drain and check_late_failures: what an operator does to a
 *		queue.
 *
 * Callers have no rights on the tables; each function checks that the caller owns
 * the enrichment (or is a member of profenrich_admin) and then works as the
 * extension's owner.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "pg/arguments.h"
#include "pg/audit.h"
#include "pg/compat.h"
#include "pg/owner.h"
#include "pg/queue_control.h"
#include "pg/worker.h"

#define DRAIN_PERIOD 100 /* ms */

PeQueue
pe_queue_find(const char *name)
{
	Oid types[1] = {TEXTOID};
	Datum values[1] = {CStringGetTextDatum(name)};
	PeQueue queue = {0};
	HeapTuple row;
	TupleDesc desc;
	bool isnull;
	Oid owner;
	const char *owner_name;

	pe_owner_execute("SELECT e.enrichment_id, e.owner::oid, e.paused, s.blocked FROM profenrich.enrichment e"
	                 " LEFT JOIN profenrich.delivery_state s USING (enrichment_id) WHERE e.name = $1",
	                 1, types, values, NULL, false, 1);
	if (SPI_processed == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("enrichment \"%s\" does not exist", name),
		                errhint("profenrich.enrichment_status lists them.")));
	row = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	owner = DatumGetObjectId(SPI_getbinval(row, desc, 2, &isnull));
	owner_name = GetUserNameFromId(owner, true);
	if (!has_privs_of_role(GetUserId(), owner) && !pe_is_member("profenrich_admin"))
		ereport(
		    ERROR,
		    (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("must be owner of enrichment \"%s\"", name),
		     owner_name != NULL
		         ? errhint("Its owner is \"%s\"; members of that role or of profenrich_admin may do this.",
		                   owner_name)
		         : errhint("Its owner does not exist any more; members of profenrich_admin may do this.")));
	queue.enrichment_id = DatumGetInt32(SPI_getbinval(row, desc, 1, &isnull));
	queue.paused = DatumGetBool(SPI_getbinval(row, desc, 3, &isnull));
	queue.blocked = SPI_getvalue(row, desc, 4);
	SPI_freetuptable(SPI_tuptable);
	return queue;
}

/* Runs a statement with the enrichment's id as $1; returns the rows it touched. */
static uint64
change(int32 enrichment_id, const char *sql)
{
	Oid types[1] = {INT4OID};
	Datum values[1] = {Int32GetDatum(enrichment_id)};

	pe_owner_execute(sql, 1, types, values, NULL, false, 0);
	return SPI_processed;
}

PG_FUNCTION_INFO_V1(pe_pause);

/* pause(name): nothing is sent any more; what is under way is finished. */
Datum
pe_pause(PG_FUNCTION_ARGS)
{
	char *name = pe_text_argument(fcinfo, 0, "enrichment");
	PeQueue queue;

	PreventCommandIfReadOnly("profenrich.pause()");
	SPI_connect();
	queue = pe_queue_find(name);
	change(queue.enrichment_id,
	       "UPDATE profenrich.enrichment SET paused = true WHERE enrichment_id = $1 AND NOT paused");
	pe_audit("pause", name, NULL);
	SPI_finish();
	pe_wake_worker_at_commit();
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(pe_resume);

/* resume(name): sends again, also what was blocked; a block whose cause is still there comes back. */
Datum
pe_resume(PG_FUNCTION_ARGS)
{
	char *name = pe_text_argument(fcinfo, 0, "enrichment");
	PeQueue queue;

	PreventCommandIfReadOnly("profenrich.resume()");
	SPI_connect();
	queue = pe_queue_find(name);
	change(queue.enrichment_id,
	       "UPDATE profenrich.enrichment SET paused = false WHERE enrichment_id = $1 AND paused");
	/* Counted, so that what the worker met before cannot block it again. */
	change(queue.enrichment_id,
	       "INSERT INTO profenrich.delivery_state AS s (enrichment_id, resumes) VALUES ($1, 1)"
	       " ON CONFLICT (enrichment_id) DO UPDATE SET resumes = s.resumes + 1, blocked = NULL,"
	       " blocked_reason = NULL, blocked_at = NULL, next_probe_at = NULL, no_batch_until = NULL");
	change(queue.enrichment_id,
	       "UPDATE profenrich.retry SET next_at = now() WHERE enrichment_id = $1 AND next_at > now()");
	pe_audit("resume", name, NULL);
	SPI_finish();
	pe_wake_worker_at_commit();
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(pe_redrive);

/*
 * redrive(name) -> keys queued again: dead letters whose value is still the newest.
 * Those with a newer value are only removed, since that one is queued or delivered.
 */
Datum
pe_redrive(PG_FUNCTION_ARGS)
{
	char *name = pe_text_argument(fcinfo, 0, "enrichment");
	PeQueue queue;
	uint64 keys;
	bool isnull;

	PreventCommandIfReadOnly("profenrich.redrive()");
	SPI_connect();
	queue = pe_queue_find(name);
	change(queue.enrichment_id,
	       "WITH dead AS (DELETE FROM profenrich.dead_letter WHERE enrichment_id = $1 RETURNING profile_key, "
	       "shard, version),"
	       " newest AS (SELECT d.* FROM dead d JOIN profenrich.profile_score s ON s.enrichment_id = $1"
	       "   AND s.profile_key = d.profile_key AND s.version = d.version),"
	       " numbered AS (SELECT *, (row_number() OVER (PARTITION BY shard, version ORDER BY profile_key) - "
	       "1) / 500 AS part"
	       "   FROM newest),"
	       " queued AS (INSERT INTO profenrich.outbox (enrichment_id, shard, version, profile_keys)"
	       "   SELECT $1, shard, version, array_agg(profile_key ORDER BY profile_key) FROM numbered"
	       "   GROUP BY shard, version, part)"
	       " SELECT count(*) FROM newest");
	keys = (uint64) DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	pe_audit("redrive", name, "{\"queued\": " UINT64_FORMAT "}", keys);
	SPI_finish();
	pe_wake_worker_at_commit();
	PG_RETURN_INT64((int64) keys);
}

PG_FUNCTION_INFO_V1(pe_check_late_failures);

/* check_late_failures(name): the worker looks at once, not when it is due. */
Datum
pe_check_late_failures(PG_FUNCTION_ARGS)
{
	PeQueue queue;

	PreventCommandIfReadOnly("profenrich.check_late_failures()");
	SPI_connect();
	queue = pe_queue_find(pe_text_argument(fcinfo, 0, "enrichment"));
	change(queue.enrichment_id,
	       "INSERT INTO profenrich.late_check (enrichment_id, next_at, asked) VALUES ($1, now(), true)"
	       " ON CONFLICT (enrichment_id) DO UPDATE SET next_at = now(), asked = true");
	SPI_finish();
	pe_wake_worker_at_commit();
	PG_RETURN_VOID();
}

/* Is anything queued or to be tried again? Under the latest snapshot, whatever the transaction's own. */
static bool
anything_pending(int32 enrichment_id)
{
	Oid types[1] = {INT4OID};
	Datum values[1] = {Int32GetDatum(enrichment_id)};
	bool pending;

	PushActiveSnapshot(GetLatestSnapshot());
	pe_owner_execute("SELECT 1 FROM profenrich.outbox WHERE enrichment_id = $1 UNION ALL"
	                 " SELECT 1 FROM profenrich.retry WHERE enrichment_id = $1 LIMIT 1",
	                 1, types, values, NULL, true, 1);
	pending = SPI_processed > 0;
	SPI_freetuptable(SPI_tuptable);
	PopActiveSnapshot();
	return pending;
}

static void
refuse_to_wait(const char *name, const PeQueue *queue)
{
	if (queue->paused)
		ereport(ERROR,
		        (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		         errmsg("enrichment \"%s\" is paused", name), errhint("Call profenrich.resume() first.")));
	if (queue->blocked != NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		                errmsg("enrichment \"%s\" is blocked: %s", name, queue->blocked),
		                errhint("profenrich.enrichment_status tells why; profenrich.resume() tries again.")));
}

PG_FUNCTION_INFO_V1(pe_drain);

/*
 * drain(name, timeout) -> whether everything queued before is delivered or dead. Waits for
 * that, but not for an enrichment that cannot move. What the caller's own transaction
 * has queued is not sent before it commits, so there is no waiting for it.
 */
Datum
pe_drain(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	TimestampTz until = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
	                                                            TimestampTzGetDatum(GetCurrentTimestamp()),
	                                                            IntervalPGetDatum(PG_GETARG_INTERVAL_P(1))));
	PeQueue queue;
	bool pending;

	SPI_connect();
	queue = pe_queue_find(name);
	while ((pending = anything_pending(queue.enrichment_id)) && GetCurrentTimestamp() < until)
	{
		PushActiveSnapshot(GetLatestSnapshot());
		queue = pe_queue_find(name);
		PopActiveSnapshot();
		refuse_to_wait(name, &queue);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, DRAIN_PERIOD,
		                 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	SPI_finish();
	PG_RETURN_BOOL(!pending);
}
