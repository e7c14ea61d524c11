/*
 * progress.h
 *		What a long call is doing, for other sessions to read: one slot of numbers
 *		per running load or training in shared memory.
 */
#ifndef PE_PROGRESS_H
#define PE_PROGRESS_H

#include "postgres.h"

typedef enum pe_progress_kind
{
	PE_PROGRESS_LOAD = 1,
	PE_PROGRESS_TRAIN,
	PE_PROGRESS_SCORE
} pe_progress_kind;

/* Reserves shared memory; called from _PG_init when preloading. */
extern void pe_progress_request_shmem(void);

/*
 * Claims a slot for this backend; name is what is loaded or trained (truncated to
 * 63 bytes). Released by pe_progress_end, at transaction end after an error, and
 * at exit. Without shared memory all of these do nothing.
 */
extern void pe_progress_begin(pe_progress_kind kind, const char *name);
extern void pe_progress_publish(const char *phase, uint64 done, uint64 total);
extern void pe_progress_end(void);

#endif /* PE_PROGRESS_H */
