/*
 * pool.h
 *		The threads of one call: made when the call begins, joined before it returns.
 */
#ifndef PE_MODEL_POOL_H
#define PE_MODEL_POOL_H

#include "pe_base.h"

#define PE_MAX_THREADS 64

typedef struct pe_team pe_team;

/*
 * One item of work. thread is 0 for the calling thread and below pe_team_threads for
 * the others. Items of one run go to threads in any order and at the same time, so
 * what they write must not overlap and must not depend on thread.
 */
typedef void (*pe_work)(void *ctx, uint32_t item, int thread);

/*
 * threads counts the calling one. Fewer threads than asked for, or none, is no error.
 * NULL only when out of memory. All signals are blocked in the threads.
 */
extern pe_team *pe_team_create(const pe_env *env, int threads);
extern void pe_team_free(pe_team *pool); /* joins; NULL is fine */
extern int pe_team_threads(const pe_team *pool);

/* What the tick reports from now on. */
extern void pe_team_phase(pe_team *pool, const char *phase, uint64_t done, uint64_t total);

/*
 * Do items 0 .. items - 1; the caller takes part and can do them all alone. False
 * when the tick asked to stop, in which case items may have been left out or cut short.
 */
extern bool pe_team_run(pe_team *pool, pe_work work, void *ctx, uint32_t items);

/*
 * The same in two calls, between which the others work and the caller does something
 * else: what the work reads and writes is theirs until end returns, or the team is
 * freed. The caller takes part in end. Alone, all is done there.
 */
extern void pe_team_begin(pe_team *pool, pe_work work, void *ctx, uint32_t items);
extern bool pe_team_end(pe_team *pool);

/*
 * Should the work stop? Cheap; to be called by every thread at least every few
 * milliseconds. On the calling thread this is what ticks. Once true, always true.
 */
extern bool pe_team_poll(pe_team *pool, int thread);

#endif /* PE_MODEL_POOL_H */
