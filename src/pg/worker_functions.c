/*
 * worker_functions.c
 *		start_worker(), stop_worker() and the function behind worker_status.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "pg/audit.h"
#include "pg/compat.h"
#include "pg/worker.h"
#include "pg/worker_internal.h"
#include "pg/worker_shmem.h"

#define START_TIMEOUT 15000
#define STOP_TIMEOUT  10000

/* A copy of this database's slot; false when it has none. */
static bool
look(PeWorkerShared *shared, PeWorkerSlot *copy)
{
	PeWorkerSlot *slot;

	LWLockAcquire(&shared->lock, LW_SHARED);
	slot = pe_worker_slot(shared, MyDatabaseId, false);
	if (slot != NULL)
		*copy = *slot;
	LWLockRelease(&shared->lock);
	return slot != NULL;
}

static void
nap(void)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 50, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

static PeWorkerShared *
shared_or_error(void)
{
	PeWorkerShared *shared = pe_worker_shared();

	if (shared == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("no shared memory is left for the worker"),
		                errhint("Add profenrich to shared_preload_libraries and restart the server.")));
	return shared;
}

static void
raise_ended(PeWorkerEnd end)
{
	switch (end)
	{
		case PE_WORKER_ABSENT:
			ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			                errmsg("the worker does not see the extension in this database"),
			                errhint("Commit CREATE EXTENSION first.")));
			break;
		case PE_WORKER_OUTDATED:
			ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			                errmsg("the extension in this database is of another version than the library"),
			                errhint("Run ALTER EXTENSION profenrich UPDATE.")));
			break;
		case PE_WORKER_BUSY:
			ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE), errmsg("another worker sends for this database"),
			                errhint("See profenrich.sender and pg_stat_activity.")));
			break;
		default:
			ereport(ERROR,
			        (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			         errmsg("the worker ended while starting"), errhint("The server's log tells why.")));
	}
}

PG_FUNCTION_INFO_V1(pe_start_worker);

/* start_worker() -> pid: starts this database's worker, or finds it running. */
Datum
pe_start_worker(PG_FUNCTION_ARGS)
{
	PeWorkerShared *shared = shared_or_error();
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), START_TIMEOUT);
	PeWorkerSlot *slot;
	PeWorkerSlot seen = {0};
	BackgroundWorkerHandle *handle = NULL;
	bool no_slot = false;
	pid_t pid;

	if (RecoveryInProgress())
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("a standby does not send"),
		                errhint("The worker starts when this server is promoted.")));
	PreventCommandIfReadOnly("start_worker()");
	pe_audit("start_worker", NULL, NULL);
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	slot = pe_worker_slot(shared, MyDatabaseId, true);
	if (slot != NULL)
	{
		slot->stop = false;
		if (slot->pid == 0)
			slot->end = PE_WORKER_DIED;
		seen = *slot;
	}
	LWLockRelease(&shared->lock);
	if (slot == NULL)
		ereport(ERROR, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
		                errmsg("too many databases have a worker: at most %d may", PE_WORKER_SLOTS)));
	if (seen.pid == 0)
	{
		handle = pe_worker_start(MyDatabaseId, &no_slot);
		if (handle == NULL)
			ereport(ERROR,
			        (errcode(ERRCODE_INSUFFICIENT_RESOURCES), errmsg("no background worker slot is free"),
			         errhint("Increase max_worker_processes.")));
	}
	for (;;)
	{
		if (look(shared, &seen) && seen.pid != 0 && seen.ready)
			PG_RETURN_INT32(seen.pid);
		if (handle != NULL && GetBackgroundWorkerPid(handle, &pid) == BGWH_STOPPED)
		{
			(void) look(shared, &seen);
			/* The launcher's was quicker. */
			if (seen.pid == 0)
				raise_ended(seen.end);
		}
		if (GetCurrentTimestamp() > until)
			ereport(ERROR,
			        (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			         errmsg("the worker has not started in time"), errhint("The server's log tells why.")));
		nap();
	}
}

PG_FUNCTION_INFO_V1(pe_stop_worker);

/* stop_worker() -> was one running: it finishes no request that is under way, and stays away until
 * start_worker(). */
Datum
pe_stop_worker(PG_FUNCTION_ARGS)
{
	PeWorkerShared *shared = shared_or_error();
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), STOP_TIMEOUT);
	PeWorkerSlot *slot;
	PeWorkerSlot seen = {0};
	bool was_running;

	PreventCommandIfReadOnly("stop_worker()");
	pe_audit("stop_worker", NULL, NULL);
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	slot = pe_worker_slot(shared, MyDatabaseId, true);
	if (slot != NULL)
	{
		slot->stop = true;
		seen = *slot;
	}
	LWLockRelease(&shared->lock);
	was_running = seen.pid != 0;
	if (was_running)
		pe_worker_set_latch(seen.procno);
	while (look(shared, &seen) && seen.pid != 0)
	{
		if (GetCurrentTimestamp() > until)
			ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE), errmsg("the worker has not ended in time"),
			                errhint("Its process is %d.", seen.pid)));
		nap();
	}
	PG_RETURN_BOOL(was_running);
}

static const char *
running_state(const PeWorkerSlot *seen)
{
	if (!seen->ready)
		return "starting";
	return seen->halted ? "halted" : seen->short_of ? "short of resources" : "running";
}

PG_FUNCTION_INFO_V1(pe_workers);

/* workers() -> one row for this database, none when nothing is known of a worker here. */
Datum
pe_workers(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	PeWorkerShared *shared = pe_worker_shared();
	PeWorkerSlot seen = {0};
	const char *state;
	Datum values[13];
	bool nulls[13] = {false};

	InitMaterializedSRF(fcinfo, 0);
	if (shared == NULL || !look(shared, &seen))
	{
		if (shared == NULL || shared->launcher_pid == 0)
			return (Datum) 0;
		memset(&seen, 0, sizeof(seen));
	}
	state = seen.pid != 0                    ? running_state(&seen)
	        : seen.stop                      ? "stopped"
	        : seen.no_slot                   ? "no slot"
	        : seen.end == PE_WORKER_OUTDATED ? "outdated"
	                                         : "none";
	values[0] = Int32GetDatum(seen.pid);
	nulls[0] = seen.pid == 0;
	values[1] = CStringGetTextDatum(state);
	values[2] = Int32GetDatum(shared->launcher_pid);
	nulls[2] = shared->launcher_pid == 0;
	values[3] = TimestampTzGetDatum(seen.started_at);
	values[4] = TimestampTzGetDatum(seen.seen_at);
	for (int i = 3; i < 13; i++)
		nulls[i] = seen.pid == 0;
	values[5] = Int64GetDatum(seen.epoch);
	values[6] = Int32GetDatum(seen.in_flight);
	values[7] = Int32GetDatum(seen.loaded);
	values[8] = Int32GetDatum(seen.blocked);
	values[9] = BoolGetDatum(seen.breaker_open);
	values[10] = TimestampTzGetDatum(seen.paused_until);
	nulls[10] = nulls[10] || seen.paused_until == 0;
	values[11] = Int64GetDatum(seen.requests);
	values[12] = Int64GetDatum(seen.accepted);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(pe_wake_worker);

/* wake_worker(): when this transaction commits. The install script ends with it, so that the launcher has a
 * look. */
Datum
pe_wake_worker(PG_FUNCTION_ARGS)
{
	pe_wake_worker_at_commit();
	PG_RETURN_VOID();
}
