/*
 * launcher.c
 *		Starts a worker for each database that has the extension, and starts it again
 *		when it ends.
 *
 * The launcher is registered when the module is preloaded. It runs after recovery,
 * so never on a standby, and connects to no database: which databases there are is
 * in a shared catalog. Whether one has the extension only a worker inside it can
 * tell, so each is probed once, and again when CREATE EXTENSION commits there.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "pg/compat.h"
#include "pg/guc.h"
#include "pg/worker.h"
#include "pg/worker_internal.h"
#include "pg/worker_shmem.h"

#define LIST_PERIOD   60000 /* ms between two looks at pg_database */
#define FIRST_BACKOFF 1000  /* ms until a worker that died is started again */
#define MAX_BACKOFF   300000
#define HEALTHY_LIFE  60000 /* ms after which a worker's end is not counted as a failure in a row */
#define YIELD_DELAY   10000 /* ms that somebody has for DROP DATABASE */

/* What the launcher knows of a database. */
typedef struct Child
{
	Oid database;
	char name[NAMEDATALEN];
	BackgroundWorkerHandle *handle; /* NULL: none was started, or it has ended */
	bool listed;
	bool absent; /* probed: no extension there, or one of another version */
	int failures;
	TimestampTz started;
	TimestampTz next_start;
} Child;

static List *children = NIL;
static MemoryContext launcher_context;

void
pe_launcher_register(void)
{
	BackgroundWorker worker = {0};

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 5;
	strlcpy(worker.bgw_library_name, "profenrich", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "pe_launcher_main", sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, "profenrich launcher", sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, "profenrich launcher", sizeof(worker.bgw_type));
	RegisterBackgroundWorker(&worker);
}

BackgroundWorkerHandle *
pe_worker_start(Oid database, bool *no_slot)
{
	BackgroundWorker worker = {0};
	BackgroundWorkerHandle *handle = NULL;

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_main_arg = ObjectIdGetDatum(database);
	worker.bgw_notify_pid = MyProcPid;
	strlcpy(worker.bgw_library_name, "profenrich", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "pe_worker_main", sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, "profenrich worker", sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, "profenrich worker", sizeof(worker.bgw_type));
	*no_slot = !RegisterDynamicBackgroundWorker(&worker, &handle);
	return handle;
}

static void
launcher_exit(int code, Datum arg)
{
	PeWorkerShared *shared = pe_worker_shared();

	if (shared == NULL)
		return;
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	if (shared->launcher_pid == MyProcPid)
		shared->launcher_pid = 0;
	LWLockRelease(&shared->lock);
}

static Child *
child_of(Oid database, const char *name)
{
	ListCell *cell;
	Child *child;
	MemoryContext caller;

	foreach (cell, children)
	{
		child = lfirst(cell);
		if (child->database == database)
			return child;
	}
	caller = MemoryContextSwitchTo(launcher_context);
	child = palloc0(sizeof(Child));
	child->database = database;
	children = lappend(children, child);
	MemoryContextSwitchTo(caller);
	strlcpy(child->name, name, sizeof(child->name));
	return child;
}

/* Is the database among those that profenrich.databases names? */
static bool
is_wanted(const char *name)
{
	char *copy = pstrdup(pe_databases != NULL ? pe_databases : "");
	List *names = NIL;
	ListCell *cell;

	if (copy[0] == '\0')
		return true;
	if (!SplitIdentifierString(copy, ',', &names))
		return false;
	foreach (cell, names)
		if (strcmp(lfirst(cell), name) == 0)
			return true;
	return false;
}

/* Which databases may have a worker: those that accept connections and are no templates. */
static void
list_databases(void)
{
	Relation catalog;
	TableScanDesc scan;
	HeapTuple tuple;
	ListCell *cell;

	foreach (cell, children)
		((Child *) lfirst(cell))->listed = false;
	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	catalog = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(catalog, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);

		/* -2 marks a database whose DROP was interrupted. */
		if (!database->datallowconn || database->datistemplate || database->datconnlimit == -2 ||
		    !is_wanted(NameStr(database->datname)))
			continue;
		child_of(database->oid, NameStr(database->datname))->listed = true;
	}
	table_endscan(scan);
	table_close(catalog, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(launcher_context);

	foreach (cell, children)
	{
		Child *child = lfirst(cell);

		if (child->listed || child->handle != NULL)
			continue;
		children = foreach_delete_current(children, cell);
		pfree(child);
	}
}

/* The worker has ended: when may it be started again, if at all? */
static void
child_ended(Child *child, PeWorkerEnd end)
{
	TimestampTz now = GetCurrentTimestamp();
	int delay;

	pfree(child->handle);
	child->handle = NULL;
	if (end == PE_WORKER_ABSENT || end == PE_WORKER_OUTDATED)
	{
		child->absent = true;
		child->failures = 0;
		return;
	}
	if (TimestampDifferenceExceeds(child->started, now, HEALTHY_LIFE))
		child->failures = 0;
	delay = FIRST_BACKOFF << Min(child->failures, 8);
	child->failures++;
	child->next_start =
	    TimestampTzPlusMilliseconds(now, end == PE_WORKER_YIELDED ? YIELD_DELAY : Min(delay, MAX_BACKOFF));
}

/*
 * CREATE EXTENSION asks for another look. Not taken while a worker that found nothing is still ending: what
 * it found is older, and would be believed last.
 */
static void
take_probe(PeWorkerShared *shared, Child *child)
{
	PeWorkerSlot *slot;
	bool probe;

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	slot = pe_worker_slot(shared, child->database, false);
	probe = slot != NULL && slot->probe;
	if (probe)
		slot->probe = false;
	LWLockRelease(&shared->lock);
	if (!probe)
		return;
	child->absent = false;
	child->failures = 0;
	child->next_start = 0;
}

/*
 * Looks after one database. Returns true while a worker is about to say whether it
 * stays: only one is probed at a time, because worker processes are few.
 */
static bool
tend_child(PeWorkerShared *shared, Child *child, int *timeout)
{
	bool ready = false, stop = false, no_slot;
	PeWorkerEnd end = PE_WORKER_DIED;
	PeWorkerSlot *slot;
	TimestampTz now;
	pid_t pid;

	LWLockAcquire(&shared->lock, LW_SHARED);
	slot = pe_worker_slot(shared, child->database, false);
	if (slot != NULL)
	{
		ready = slot->ready;
		stop = slot->stop;
		end = slot->end;
	}
	LWLockRelease(&shared->lock);
	if (child->handle != NULL)
	{
		if (GetBackgroundWorkerPid(child->handle, &pid) != BGWH_STOPPED)
		{
			/* profenrich.databases names it no more. */
			if (!child->listed)
				TerminateBackgroundWorker(child->handle);
			return child->listed && !ready;
		}
		child_ended(child, end);
	}
	take_probe(shared, child);
	if (!child->listed || child->absent || stop)
		return false;
	/* One that start_worker() started runs already. */
	if (slot != NULL && slot->pid != 0)
		return false;
	now = GetCurrentTimestamp();
	if (child->next_start > now)
	{
		*timeout = Min(*timeout, (int) TimestampDifferenceMilliseconds(now, child->next_start) + 1);
		return false;
	}
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	slot = pe_worker_slot(shared, child->database, true);
	if (slot != NULL)
		slot->end = PE_WORKER_DIED;
	LWLockRelease(&shared->lock);
	child->handle = pe_worker_start(child->database, &no_slot);
	child->started = now;
	if (slot != NULL)
	{
		LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
		slot = pe_worker_slot(shared, child->database, false);
		if (slot != NULL)
			slot->no_slot = no_slot;
		LWLockRelease(&shared->lock);
	}
	if (child->handle != NULL)
		return true;
	if (child->failures == 0)
		ereport(LOG,
		        (errcode(ERRCODE_INSUFFICIENT_RESOURCES),
		         errmsg("profenrich: no background worker slot is free for database \"%s\"", child->name),
		         errhint("Increase max_worker_processes.")));
	child->next_start =
	    TimestampTzPlusMilliseconds(now, Min(FIRST_BACKOFF << Min(child->failures, 8), MAX_BACKOFF));
	child->failures++;
	return false;
}

static bool
anything_to_probe(PeWorkerShared *shared)
{
	bool found = false;

	LWLockAcquire(&shared->lock, LW_SHARED);
	for (int i = 0; i < PE_WORKER_SLOTS && !found; i++)
		found = OidIsValid(shared->slots[i].database) && shared->slots[i].probe;
	LWLockRelease(&shared->lock);
	return found;
}

void
pe_launcher_main(Datum arg)
{
	PeWorkerShared *shared;
	TimestampTz listed = 0;
	uint32 wait_event;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	launcher_context = AllocSetContextCreate(TopMemoryContext, "profenrich launcher", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(launcher_context);
	shared = pe_worker_shared();
	if (shared == NULL)
		ereport(FATAL,
		        (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("profenrich: no shared memory for the launcher")));
	wait_event = PE_WAIT_EVENT("ProfenrichLauncher");
	before_shmem_exit(launcher_exit, 0);
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	shared->launcher_pid = MyProcPid;
	shared->launcher_procno = PE_MY_PROC_NUMBER;
	LWLockRelease(&shared->lock);

	for (;;)
	{
		int timeout = LIST_PERIOD;
		ListCell *cell;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			listed = 0;
		}
		if (listed == 0 || anything_to_probe(shared) ||
		    TimestampDifferenceExceeds(listed, GetCurrentTimestamp(), LIST_PERIOD))
		{
			list_databases();
			listed = GetCurrentTimestamp();
		}
		pgstat_report_activity(STATE_IDLE, NULL);
		foreach (cell, children)
			if (tend_child(shared, lfirst(cell), &timeout))
			{
				/* Until this one is ready or gone; its end sets our latch, its being ready does not. */
				timeout = 100;
				break;
			}
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, timeout, wait_event);
	}
}
