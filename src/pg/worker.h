/*
 * worker.h
 *		The background workers: a launcher without a database, and one sender for
 *		each database that has the extension.
 */
#ifndef PE_WORKER_H
#define PE_WORKER_H

#include "postgres.h"

/*
 * Wakes this database's worker when the current transaction commits, because
 * something was queued or changed. Cheap, may be called many times; raises nothing.
 * Without a worker it asks the launcher for one.
 */
extern void pe_wake_worker_at_commit(void);

/* From _PG_init when preloading: shared memory, and the launcher. */
extern void pe_worker_request_shmem(void);
extern void pe_launcher_register(void);

/* Entry points of the processes. */
PGDLLEXPORT extern void pe_launcher_main(Datum arg);
PGDLLEXPORT extern void pe_worker_main(Datum arg);

#endif /* PE_WORKER_H */
