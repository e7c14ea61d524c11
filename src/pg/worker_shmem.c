/*
 * worker_shmem.c
 *		The workers' shared memory, and waking them.
 *
 * Asked for when the module is preloaded; otherwise made at first use from the
 * server's slack. It holds numbers only: a process is reached by its number in the
 * process array, so nothing here can dangle.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/shmem.h"

#include "pg/compat.h"
#include "pg/shmem.h"
#include "pg/worker.h"
#include "pg/worker_shmem.h"

typedef struct SharedArea
{
	int tranche;
	PeWorkerShared public;
} SharedArea;

static SharedArea *area = NULL;
static bool wake_pending = false;
static shmem_request_hook_type previous_shmem_request = NULL;

static void
request_shmem(void)
{
	if (previous_shmem_request)
		previous_shmem_request();
	RequestAddinShmemSpace(sizeof(SharedArea));
}

void
pe_worker_request_shmem(void)
{
	previous_shmem_request = shmem_request_hook;
	shmem_request_hook = request_shmem;
}

static void
init_area(void *memory)
{
	SharedArea *made = memory;

	memset(made, 0, sizeof(SharedArea));
	made->tranche = LWLockNewTrancheId();
	LWLockInitialize(&made->public.lock, made->tranche);
}

PeWorkerShared *
pe_worker_shared(void)
{
	if (area == NULL)
	{
		area = pe_shmem_attach("profenrich workers", sizeof(SharedArea), init_area);
		if (area != NULL)
			LWLockRegisterTranche(area->tranche, "profenrich_workers");
	}
	/* Out of shared memory: the worker's safety poll has to do. */
	return area != NULL ? &area->public : NULL;
}

PeWorkerSlot *
pe_worker_slot(PeWorkerShared *shared, Oid database, bool make)
{
	PeWorkerSlot *unused = NULL;

	for (int i = 0; i < PE_WORKER_SLOTS; i++)
	{
		PeWorkerSlot *slot = &shared->slots[i];

		if (slot->database == database)
			return slot;
		/* One whose database has no worker and wants none may be taken over. */
		if (unused == NULL &&
		    (!OidIsValid(slot->database) || (slot->pid == 0 && !slot->probe && !slot->stop)))
			unused = slot;
	}
	if (!make || unused == NULL)
		return NULL;
	memset(unused, 0, sizeof(*unused));
	unused->database = database;
	return unused;
}

void
pe_worker_set_latch(int procno)
{
	if (procno >= 0 && procno < (int) ProcGlobal->allProcCount)
		SetLatch(&ProcGlobal->allProcs[procno].procLatch);
}

/* Nothing here may raise: the transaction has committed. */
static void
wake_worker(void)
{
	PeWorkerSlot *slot;
	int procno = -1;

	LWLockAcquire(&area->public.lock, LW_EXCLUSIVE);
	slot = pe_worker_slot(&area->public, MyDatabaseId, true);
	if (slot != NULL && slot->pid != 0)
	{
		slot->wake = true;
		procno = slot->procno;
	}
	else if (slot != NULL && !slot->stop && area->public.launcher_pid != 0)
	{
		slot->probe = true;
		procno = area->public.launcher_procno;
	}
	LWLockRelease(&area->public.lock);
	pe_worker_set_latch(procno);
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	if (!wake_pending)
		return;
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			wake_pending = false;
			wake_worker();
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			wake_pending = false;
			break;
		default:
			break;
	}
}

void
pe_wake_worker_at_commit(void)
{
	static bool registered = false;

	if (pe_worker_shared() == NULL)
		return;
	if (!registered)
	{
		RegisterXactCallback(at_transaction_end, NULL);
		registered = true;
	}
	wake_pending = true;
}
