/*
 * worker.c
 *		The sender of one database: its life, and the loop that does what the state
 *		machine (platform/sender.h) says.
 *
 * Order of a turn: interrupts, housekeeping once a second, every step that can be
 * done now, then one wait for latch, sockets or time. No transaction is open during
 * the wait. Requests and their replies are exchange.c's, tables are delivery.c's.
 */
#include "postgres.h"

#include <time.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_database.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "pg/batch_delivery.h"
#include "pg/compat.h"
#include "pg/env.h"
#include "pg/exchange.h"
#include "pg/guc.h"
#include "pg/late_check.h"
#include "pg/outage.h"
#include "pg/owner.h"
#include "pg/worker.h"
#include "pg/worker_shmem.h"

#define TICK             (1 * PE_SECOND)
#define PARTITION_PERIOD (3600 * PE_SECOND)

static PeWorker worker;
static PeWorkerSlot *my_slot = NULL;
static PeWorkerEnd my_end = PE_WORKER_DIED;

int64
pe_worker_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * PE_SECOND + now.tv_nsec / 1000;
}

/* The slot becomes free; a wake-up that came too late is for the next worker. */
static void
worker_exit(int code, Datum arg)
{
	PeWorkerShared *shared = pe_worker_shared();
	int launcher = -1;

	/* Nobody else does it for a process that ends outside of a transaction. */
	LockReleaseSession(DEFAULT_LOCKMETHOD);
	if (shared == NULL || my_slot == NULL)
		return;
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	if (my_slot->pid == MyProcPid)
	{
		my_slot->pid = 0;
		my_slot->ready = false;
		my_slot->end = my_end;
		if (my_slot->wake && !my_slot->stop)
			my_slot->probe = true;
		my_slot->wake = false;
		if (shared->launcher_pid != 0)
			launcher = shared->launcher_procno;
	}
	LWLockRelease(&shared->lock);
	my_slot = NULL;
	pe_worker_set_latch(launcher);
}

/* Leaves for a reason that is not an error. */
static void
leave(PeWorkerEnd end)
{
	my_end = end;
	proc_exit(end == PE_WORKER_DIED ? 1 : 0);
}

/* Without a slot there would be no telling of one worker from another: the session lock alone decides. */
static void
claim_slot(void)
{
	PeWorkerShared *shared = pe_worker_shared();

	before_shmem_exit(worker_exit, 0);
	if (shared == NULL)
		return;
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	my_slot = pe_worker_slot(shared, MyDatabaseId, true);
	if (my_slot != NULL && my_slot->pid == 0)
	{
		bool stop = my_slot->stop;

		memset(my_slot, 0, sizeof(*my_slot));
		my_slot->database = MyDatabaseId;
		my_slot->stop = stop;
		my_slot->pid = MyProcPid;
		my_slot->procno = PE_MY_PROC_NUMBER;
		my_slot->started_at = my_slot->seen_at = GetCurrentTimestamp();
		LWLockRelease(&shared->lock);
		return;
	}
	/* Somebody else is at work in this database. */
	if (my_slot != NULL)
	{
		my_slot = NULL;
		LWLockRelease(&shared->lock);
		proc_exit(0);
	}
	LWLockRelease(&shared->lock);
}

static void
set_option(const char *name, const char *value)
{
	SetConfigOption(name, value, PGC_SUSET, PGC_S_OVERRIDE);
}

/*
 * What the worker's statements rely on, whatever the roles' own settings: every look
 * is one by index into tables whose statistics change by the second, and nothing
 * waits long for a lock or for a standby: it would hold up all enrichments, where one is
 * locked by somebody's open transaction.
 */
static void
settle_session(void)
{
	/* First: a database's setting of role would outlast the change of user. */
	set_option("role", "none");
	set_option("search_path", "pg_catalog, pg_temp");
	set_option("synchronous_commit", "local");
	set_option("default_transaction_isolation", "read committed");
	set_option("default_transaction_read_only", "off");
	set_option("statement_timeout", "0");
	set_option("lock_timeout", "100");
	set_option("idle_in_transaction_session_timeout", "0");
	set_option("jit", "off");
	set_option("enable_seqscan", "off");
	set_option("enable_bitmapscan", "off");
	set_option("enable_hashjoin", "off");
	set_option("enable_mergejoin", "off");
	set_option("max_parallel_workers_per_gather", "0");
	set_option("plan_cache_mode", "force_generic_plan");
	set_option("application_name", "profenrich worker");
}

/* The extension is there, nobody else sends, and this session is its owner's from now on. */
static void
become_sender(void)
{
	Oid extension;
	bool locked = false;
	Oid owner = InvalidOid;
	char *version = NULL;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	extension = pe_delivery_extension();
	if (OidIsValid(extension))
	{
		owner = pe_extension_owner();
		version = MemoryContextStrdup(TopMemoryContext, pe_extension_version());
		locked = pe_delivery_take_lock(extension);
	}
	if (locked)
		SetSessionAuthorization(owner, superuser_arg(owner));
	PopActiveSnapshot();
	CommitTransactionCommand();
	if (!OidIsValid(extension))
		leave(PE_WORKER_ABSENT);
	if (strcmp(version, PE_VERSION) != 0)
	{
		ereport(LOG,
		        (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		         errmsg("profenrich: nothing is sent for database %u, whose extension is of version %s while "
		                "the library is of version %s",
		                MyDatabaseId, version, PE_VERSION),
		         errhint("Run ALTER EXTENSION profenrich UPDATE there.")));
		leave(PE_WORKER_OUTDATED);
	}
	if (!locked)
		leave(PE_WORKER_BUSY);
	pfree(version);
}

/*
 * DROP DATABASE, ALTER DATABASE RENAME and CREATE DATABASE ... TEMPLATE hold a lock
 * on the database and wait a few seconds for its sessions to end.
 */
static bool
database_is_wanted(void)
{
	LOCKTAG tag;

	SET_LOCKTAG_OBJECT(tag, InvalidOid, DatabaseRelationId, MyDatabaseId, 0);
	if (LockAcquire(&tag, RowExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
		return true;
	LockRelease(&tag, RowExclusiveLock, true);
	return false;
}

static void
publish(int64 now)
{
	PeWorkerShared *shared = pe_worker_shared();
	pe_sender_numbers numbers;

	if (my_slot == NULL)
		return;
	pe_sender_count(worker.sender, now, &numbers);
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	my_slot->seen_at = GetCurrentTimestamp();
	my_slot->paused_until = numbers.paused_until > now ? my_slot->seen_at + (numbers.paused_until - now) : 0;
	my_slot->in_flight = numbers.in_flight;
	my_slot->loaded = numbers.loaded;
	my_slot->blocked = numbers.blocked;
	my_slot->halted = numbers.halted;
	my_slot->short_of = worker.short_until != 0;
	my_slot->breaker_open = numbers.breaker_open;
	my_slot->epoch = worker.epoch;
	my_slot->requests = worker.requests;
	my_slot->accepted = worker.accepted;
	LWLockRelease(&shared->lock);
}

/* What sessions ask of this worker. */
static void
take_messages(void)
{
	PeWorkerShared *shared = pe_worker_shared();
	bool wake, stop;

	if (my_slot == NULL)
		return;
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	wake = my_slot->wake;
	stop = my_slot->stop;
	my_slot->wake = false;
	LWLockRelease(&shared->lock);
	if (stop)
		leave(PE_WORKER_STOPPED);
	if (wake)
	{
		pe_sender_wake(worker.sender);
		pe_late_wake();
	}
}

static void
leave_when_told(void)
{
	Oid extension = InvalidOid;

	if (pe_delivery_end == PE_DELIVERY_GOES_ON)
		return;
	if (pe_delivery_end == PE_DELIVERY_FENCED)
		leave(PE_WORKER_BUSY);
	/* Dropped and made anew while we slept: its worker is another one. */
	StartTransactionCommand();
	extension = pe_delivery_extension();
	CommitTransactionCommand();
	leave(OidIsValid(extension) ? PE_WORKER_DIED : PE_WORKER_ABSENT);
}

static void
housekeeping(int64 now)
{
	static int64 next_tick = 0;
	static int64 next_partitions = 0;

	if (ConfigReloadPending)
	{
		int budget = pe_batch_budget;

		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
		if (pe_batch_budget != budget)
			pe_batch_budget_changed(&worker);
		pe_sender_wake(worker.sender);
	}
	if (now < next_tick)
		return;
	next_tick = now + TICK;
	take_messages();
	if (database_is_wanted())
		leave(PE_WORKER_YIELDED);
	pe_exchange_look(&worker, now);
	publish(now);
	pe_delivery_log_flush();
	pe_outage_look(&worker, now);
	if (now >= next_partitions)
	{
		next_partitions = now + PARTITION_PERIOD;
		pe_delivery_keep_partitions();
		if (pe_delivery_end == PE_DELIVERY_GOES_ON)
			pe_batch_forget_old();
	}
}

/* Everything that can be done without waiting; returns when there may be more. */
static int64
do_steps(void)
{
	pe_action action;

	for (;;)
	{
		int64 now = pe_worker_now();
		int64 until = now + TICK;
		bool stepped;

		CHECK_FOR_INTERRUPTS();
		housekeeping(now);
		leave_when_told();
		stepped = pe_batch_step(&worker, now, &until) || pe_late_step(&worker, now, &until);
		leave_when_told();
		pe_sender_next(worker.sender, now, &action);
		if (action.kind == PE_DO_WAIT && !stepped)
			return Min(action.until, until);
		pe_worker_do(&worker, &action);
		leave_when_told();
		MemoryContextReset(worker.scratch);
		/* Replies must not wait until a long backlog has been looked through. */
		pe_exchange_dispatch(&worker);
	}
}

static void
wait_for_something(WaitEventSet *events, int64 until, uint32 wait_event)
{
	int64 now = pe_worker_now();
	int timeout = until <= now ? 0 : (int) Min((until - now) / 1000 + 1, TICK / 1000);
	WaitEvent event;

	timeout = pe_exchange_timeout(&worker, timeout);
	pgstat_report_activity(STATE_IDLE, NULL);
	if (WaitEventSetWait(events, timeout, &event, 1, wait_event) > 0 && (event.events & WL_LATCH_SET))
		ResetLatch(MyLatch);
}

static void
send_forever(void)
{
	uint32 wait_event = PE_WAIT_EVENT("ProfenrichWorker");
	WaitEventSet *events = pe_create_wait_event_set(TopMemoryContext, 3);

	AddWaitEventToSet(events, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(events, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(events, WL_SOCKET_READABLE, pe_http_pool_fd(worker.pool), NULL, NULL);
	for (;;)
	{
		int64 until;

		CHECK_FOR_INTERRUPTS();
		take_messages();
		pe_exchange_dispatch(&worker);
		until = do_steps();
		wait_for_something(events, until, wait_event);
	}
}

/*
 * The server's own timeouts end a statement by SIGINT. pg_cancel_backend() sends it, too, and is ignored:
 * each of our statements is short, and there is none to cancel in between.
 */
static void
handle_interrupt(SIGNAL_ARGS)
{
	if (get_timeout_indicator(LOCK_TIMEOUT, false) || get_timeout_indicator(STATEMENT_TIMEOUT, false))
		StatementCancelHandler(postgres_signal_arg);
}

void
pe_worker_main(Datum arg)
{
	pe_error err = {0};

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	pqsignal(SIGINT, handle_interrupt);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(arg), InvalidOid, 0);
	claim_slot();
	if (RecoveryInProgress())
		leave(PE_WORKER_DIED);
	settle_session();
	become_sender();

	worker.context = AllocSetContextCreate(TopMemoryContext, "profenrich worker", ALLOCSET_DEFAULT_SIZES);
	worker.scratch =
	    AllocSetContextCreate(worker.context, "profenrich worker scratch", ALLOCSET_DEFAULT_SIZES);
	worker.env = pe_server_env(worker.context);
	if (!pe_delivery_new_epoch(&worker.epoch))
		leave(PE_WORKER_DIED);
	if (pe_sender_open(&worker.env, (uint64_t) GetCurrentTimestamp() ^ (uint64_t) MyProcPid, pe_worker_now(),
	                   &worker.sender, &err) != PE_OK)
		ereport(FATAL, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	pe_sender_limit(worker.sender, pe_exchange_open(&worker));
	if (my_slot != NULL)
	{
		LWLockAcquire(&pe_worker_shared()->lock, LW_EXCLUSIVE);
		my_slot->ready = true;
		my_slot->epoch = worker.epoch;
		LWLockRelease(&pe_worker_shared()->lock);
	}
	ereport(LOG, (errmsg("profenrich: the sender of database %u has started", MyDatabaseId)));
	MemoryContextSwitchTo(worker.scratch);
	send_forever();
}
