/*
 * worker_internal.h
 *		What the files of the workers share.
 */
#ifndef PE_WORKER_INTERNAL_H
#define PE_WORKER_INTERNAL_H

#include "postgres.h"

#include "postmaster/bgworker.h"

/*
 * Asks the postmaster for a worker in database; the caller is notified of its start
 * and end. NULL when no background worker slot is free.
 */
extern BackgroundWorkerHandle *pe_worker_start(Oid database, bool *no_slot);

#endif /* PE_WORKER_INTERNAL_H */
