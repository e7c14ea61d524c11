/*
 * budget.c
 *		Counting memory: see budget.h. Each block's size stands before it.
 */
#include "snapshot/budget.h"

/* Keeps blocks as aligned as the outer allocator's. */
#define HEADER_BYTES 16

static void *
counted_alloc(void *ctx, size_t size)
{
	pe_budget *budget = ctx;
	char *block;

	if (size > budget->limit - budget->used)
	{
		budget->exceeded = true;
		return NULL;
	}
	block = pe_alloc(&budget->outer, size + HEADER_BYTES);
	if (block == NULL)
		return NULL;
	memcpy(block, &size, sizeof(size));
	budget->used += size;
	return block + HEADER_BYTES;
}

static void
counted_free(void *ctx, void *ptr)
{
	pe_budget *budget = ctx;
	size_t size;

	if (ptr == NULL)
		return;
	memcpy(&size, (char *) ptr - HEADER_BYTES, sizeof(size));
	budget->used -= size;
	pe_free(&budget->outer, (char *) ptr - HEADER_BYTES);
}

static void *
counted_realloc(void *ctx, void *ptr, size_t size)
{
	pe_budget *budget = ctx;
	size_t before;
	char *block;

	if (ptr == NULL)
		return counted_alloc(ctx, size);
	memcpy(&before, (char *) ptr - HEADER_BYTES, sizeof(before));
	if (size > budget->limit - (budget->used - before))
	{
		budget->exceeded = true;
		return NULL;
	}
	block = pe_realloc(&budget->outer, (char *) ptr - HEADER_BYTES, size + HEADER_BYTES);
	if (block == NULL)
		return NULL;
	memcpy(block, &size, sizeof(size));
	budget->used = budget->used - before + size;
	return block + HEADER_BYTES;
}

pe_env
pe_budget_env(pe_budget *budget, const pe_env *outer, uint64_t limit)
{
	pe_env env = *outer;

	budget->outer = *outer;
	budget->limit = limit;
	budget->used = 0;
	budget->exceeded = false;
	env.allocator.alloc = counted_alloc;
	env.allocator.realloc = counted_realloc;
	env.allocator.free = counted_free;
	env.allocator.ctx = budget;
	return env;
}
