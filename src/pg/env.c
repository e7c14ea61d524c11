/*
 * env.c
 *		The server's side of pe_env.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/procsignal.h"
#include "utils/memutils.h"

#include "pg/env.h"
#include "pg/progress.h"

/*
 * A chunk carries its size in front, because repalloc raises when memory runs out
 * and the server does not tell how many bytes of a chunk are in use.
 */
#define SIZE_PREFIX MAXALIGN(sizeof(size_t))

static void *
context_alloc(void *ctx, size_t size)
{
	char *chunk;

	if (size > MaxAllocHugeSize - SIZE_PREFIX)
		return NULL;
	chunk = MemoryContextAllocExtended((MemoryContext) ctx, size + SIZE_PREFIX,
	                                   MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM);
	if (chunk == NULL)
		return NULL;
	*(size_t *) chunk = size;
	return chunk + SIZE_PREFIX;
}

static void
context_free(void *ctx, void *ptr)
{
	if (ptr != NULL)
		pfree((char *) ptr - SIZE_PREFIX);
}

static void *
context_realloc(void *ctx, void *ptr, size_t size)
{
	void *grown = context_alloc(ctx, size);

	if (grown != NULL && ptr != NULL)
	{
		size_t old = *(size_t *) ((char *) ptr - SIZE_PREFIX);

		memcpy(grown, ptr, Min(old, size));
		context_free(ctx, ptr);
	}
	return grown;
}

static int
quiet_tick(void *ctx, const char *phase, uint64_t done, uint64_t total)
{
	if (!InterruptPending)
		return 0;
	/* Others may wait for this process (DROP DATABASE does): that needs no stop. */
	if (ProcSignalBarrierPending)
		ProcessProcSignalBarrier();
	return QueryCancelPending || ProcDiePending;
}

static int
server_tick(void *ctx, const char *phase, uint64_t done, uint64_t total)
{
	pe_progress_publish(phase, done, total);
	return quiet_tick(ctx, phase, done, total);
}

pe_env
pe_server_env(MemoryContext context)
{
	pe_env env = {
	    .allocator = {context_alloc, context_realloc, context_free, context},
	    .tick = server_tick,
	    .tick_ctx = NULL,
	};

	return env;
}

pe_env
pe_quiet_env(MemoryContext context)
{
	pe_env env = pe_server_env(context);

	env.tick = quiet_tick;
	return env;
}
