/*
 * worker_shmem.h
 *		What launcher, workers and sessions know of each other: numbers in shared
 *		memory, one slot for each database that has, had or wants a worker.
 */
#ifndef PE_WORKER_SHMEM_H
#define PE_WORKER_SHMEM_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "storage/lwlock.h"

#define PE_WORKER_SLOTS 64

/* How a database's last worker ended; its exit code alone does not tell the launcher. */
typedef enum PeWorkerEnd
{
	PE_WORKER_DIED = 0, /* an error, a signal, or still to come */
	PE_WORKER_ABSENT,   /* the extension is not there (any more) */
	PE_WORKER_YIELDED,  /* somebody wants to drop, rename or copy the database */
	PE_WORKER_OUTDATED, /* the SQL in the database is of another version than the library */
	PE_WORKER_BUSY,     /* another sender holds the lock */
	PE_WORKER_STOPPED   /* stop_worker() */
} PeWorkerEnd;

typedef struct PeWorkerSlot
{
	Oid database; /* InvalidOid: free */
	int pid;      /* 0: no process */
	int procno;
	bool ready;   /* holds the sender's lock */
	bool probe;   /* the launcher should look whether the extension is there */
	bool stop;    /* stop_worker() was called; stays until start_worker() */
	bool wake;    /* something was queued */
	bool no_slot; /* the launcher found no free process for it */
	PeWorkerEnd end;
	TimestampTz started_at;
	TimestampTz seen_at;
	TimestampTz paused_until; /* 0: not paused */
	int in_flight;
	int loaded;
	int blocked;
	bool halted;
	bool short_of; /* descriptors or memory of the system's */
	bool breaker_open;
	int64 epoch;
	int64 requests;
	int64 accepted;
} PeWorkerSlot;

typedef struct PeWorkerShared
{
	LWLock lock;
	int launcher_pid; /* 0: none */
	int launcher_procno;
	PeWorkerSlot slots[PE_WORKER_SLOTS];
} PeWorkerShared;

/* NULL when there is no room in shared memory. Takes the lock of the caller's choice with it. */
extern PeWorkerShared *pe_worker_shared(void);

/* The slot of a database, made if wished and if one is free; else NULL. The lock must be held. */
extern PeWorkerSlot *pe_worker_slot(PeWorkerShared *shared, Oid database, bool make);

/* Sets the latch of the process that said procno was its number; a stale number wakes somebody for nothing.
 */
extern void pe_worker_set_latch(int procno);

#endif /* PE_WORKER_SHMEM_H */
