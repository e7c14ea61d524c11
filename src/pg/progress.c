/*
 * progress.c
 *		Progress slots in shared memory and the function behind training_progress
 *		and load_progress.
 *
 * The slots are asked for when the module is preloaded; otherwise the first user
 * takes them from the server's slack, and where that fails there is no progress to
 * show. A slot holds numbers and short texts only, written by its owner alone;
 * readers detect a torn read by a change count that is odd while it is written.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "pg/progress.h"
#include "pg/shmem.h"

#define PROGRESS_SLOTS 64
#define PHASE_LENGTH   32

typedef struct ProgressSlot
{
	pg_atomic_uint32 pid;     /* 0 = free */
	pg_atomic_uint32 changes; /* odd while the owner writes */
	Oid database;
	Oid user;
	int kind;
	TimestampTz started;
	uint64 done;
	uint64 total;
	char name[NAMEDATALEN];
	char phase[PHASE_LENGTH];
} ProgressSlot;

static ProgressSlot *slots = NULL;
static ProgressSlot *mine = NULL;
static SubTransactionId mine_subid; /* the one that began it */
static bool callbacks_registered = false;
static shmem_request_hook_type previous_shmem_request = NULL;

static void
request_shmem(void)
{
	if (previous_shmem_request)
		previous_shmem_request();
	RequestAddinShmemSpace(PROGRESS_SLOTS * sizeof(ProgressSlot));
}

void
pe_progress_request_shmem(void)
{
	previous_shmem_request = shmem_request_hook;
	shmem_request_hook = request_shmem;
}

static void
init_slots(void *area)
{
	ProgressSlot *slot = area;

	memset(area, 0, PROGRESS_SLOTS * sizeof(ProgressSlot));
	for (int i = 0; i < PROGRESS_SLOTS; i++)
	{
		pg_atomic_init_u32(&slot[i].pid, 0);
		pg_atomic_init_u32(&slot[i].changes, 0);
	}
}

/* Attach to the slots, making them at first use; false when memory has run out: the work goes on. */
static bool
attach_slots(void)
{
	if (slots == NULL)
		slots = pe_shmem_attach("profenrich progress", PROGRESS_SLOTS * sizeof(ProgressSlot), init_slots);
	return slots != NULL;
}

static void
release_at_transaction_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT || event == XACT_EVENT_COMMIT)
		pe_progress_end();
}

/* An error that somebody catches ends the call, too. */
static void
release_at_subtransaction_end(SubXactEvent event, SubTransactionId mySubid, SubTransactionId parentSubid,
                              void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB && mine != NULL && mine_subid >= mySubid)
		pe_progress_end();
}

static void
release_at_exit(int code, Datum arg)
{
	pe_progress_end();
}

void
pe_progress_begin(pe_progress_kind kind, const char *name)
{
	if (mine != NULL || !attach_slots())
		return;
	if (!callbacks_registered)
	{
		RegisterXactCallback(release_at_transaction_end, NULL);
		RegisterSubXactCallback(release_at_subtransaction_end, NULL);
		before_shmem_exit(release_at_exit, 0);
		callbacks_registered = true;
	}
	for (int i = 0; i < PROGRESS_SLOTS && mine == NULL; i++)
	{
		uint32 none = 0;

		if (pg_atomic_compare_exchange_u32(&slots[i].pid, &none, (uint32) MyProcPid))
			mine = &slots[i];
	}
	if (mine == NULL)
		return;
	mine_subid = GetCurrentSubTransactionId();
	pg_atomic_fetch_add_u32(&mine->changes, 1);
	mine->database = MyDatabaseId;
	mine->user = GetUserId();
	mine->kind = kind;
	mine->started = GetCurrentTimestamp();
	mine->done = mine->total = 0;
	strlcpy(mine->name, name, sizeof(mine->name));
	strlcpy(mine->phase, "starting", sizeof(mine->phase));
	pg_atomic_fetch_add_u32(&mine->changes, 1);
}

void
pe_progress_publish(const char *phase, uint64 done, uint64 total)
{
	if (mine == NULL)
		return;
	pg_atomic_fetch_add_u32(&mine->changes, 1);
	if (phase != NULL && strcmp(phase, mine->phase) != 0)
		strlcpy(mine->phase, phase, sizeof(mine->phase));
	mine->done = done;
	mine->total = total;
	pg_atomic_fetch_add_u32(&mine->changes, 1);
}

void
pe_progress_end(void)
{
	if (mine == NULL)
		return;
	pg_atomic_write_u32(&mine->pid, 0);
	mine = NULL;
}

/* A consistent copy of a slot; false when it is free or keeps changing. */
static bool
read_slot(ProgressSlot *slot, ProgressSlot *copy)
{
	for (int attempt = 0; attempt < 100; attempt++)
	{
		uint32 before = pg_atomic_read_u32(&slot->changes);

		if (pg_atomic_read_u32(&slot->pid) == 0)
			return false;
		pg_read_barrier();
		memcpy(copy, slot, sizeof(*copy));
		pg_read_barrier();
		if (before % 2 == 0 && before == pg_atomic_read_u32(&slot->changes))
			return true;
	}
	return false;
}

PG_FUNCTION_INFO_V1(pe_progress);

/*
 * progress(kind) -> (pid, name, phase, done, total, started): the running loads,
 * trainings or scorings of this database that the caller may see: its own, those of
 * roles it is a member of, or all with pg_read_all_stats.
 */
Datum
pe_progress(PG_FUNCTION_ARGS)
{
	static const char *const kinds[] = {"", "load", "train", "score"};
	char *wanted = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	bool see_all = has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);
	int kind = PE_PROGRESS_LOAD;

	while (kind <= PE_PROGRESS_SCORE && strcmp(wanted, kinds[kind]) != 0)
		kind++;
	if (kind > PE_PROGRESS_SCORE)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("there is no progress of kind \"%s\"", wanted),
		                errhint("The kinds are load, train and score.")));
	InitMaterializedSRF(fcinfo, 0);
	if (!attach_slots())
		return (Datum) 0;
	for (int i = 0; i < PROGRESS_SLOTS; i++)
	{
		ProgressSlot slot;
		Datum values[6];
		bool nulls[6] = {false};

		if (!read_slot(&slots[i], &slot) || slot.database != MyDatabaseId)
			continue;
		if ((int) slot.kind != kind)
			continue;
		if (!see_all && !has_privs_of_role(GetUserId(), slot.user))
			continue;
		values[0] = Int32GetDatum((int32) pg_atomic_read_u32(&slot.pid));
		values[1] = CStringGetTextDatum(slot.name);
		values[2] = CStringGetTextDatum(slot.phase);
		values[3] = Int64GetDatum((int64) slot.done);
		values[4] = Int64GetDatum((int64) slot.total);
		nulls[4] = slot.total == 0;
		values[5] = TimestampTzGetDatum(slot.started);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
