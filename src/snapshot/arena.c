/*
 * arena.c
 *		Blocks on a list, filled from the front: see arena.h.
 */
#include "snapshot/arena.h"

#define ARENA_BLOCK ((size_t) 64 * 1024)

struct pe_arena_block
{
	pe_arena_block *next;
	size_t used;
	size_t size;
	size_t padding; /* keeps data at a multiple of 16 */
	char data[];
};

void
pe_arena_init(pe_arena *arena, const pe_env *env)
{
	arena->env = env;
	arena->blocks = NULL;
}

void *
pe_arena_alloc(pe_arena *arena, size_t size)
{
	pe_arena_block *block = arena->blocks;
	size_t wanted;
	void *ptr;

	if (size > SIZE_MAX / 2)
		return NULL;
	size = (size + 15) & ~(size_t) 15;
	if (block == NULL || block->size - block->used < size)
	{
		wanted = size > ARENA_BLOCK / 4 ? size : ARENA_BLOCK - sizeof(pe_arena_block);
		block = pe_alloc(arena->env, sizeof(pe_arena_block) + wanted);
		if (block == NULL)
			return NULL;
		block->used = 0;
		block->size = wanted;
		/* A large item gets a block of its own behind the one being filled. */
		if (size > ARENA_BLOCK / 4 && arena->blocks != NULL)
		{
			block->next = arena->blocks->next;
			arena->blocks->next = block;
		}
		else
		{
			block->next = arena->blocks;
			arena->blocks = block;
		}
	}
	ptr = block->data + block->used;
	block->used += size;
	return ptr;
}

void *
pe_arena_calloc(pe_arena *arena, size_t count, size_t size)
{
	size_t bytes;
	void *ptr;

	if (__builtin_mul_overflow(count, size, &bytes))
		return NULL;
	ptr = pe_arena_alloc(arena, bytes);
	if (ptr != NULL)
		memset(ptr, 0, bytes);
	return ptr;
}

void
pe_arena_reset(pe_arena *arena)
{
	pe_arena_block *keep = NULL;

	while (arena->blocks != NULL)
	{
		pe_arena_block *block = arena->blocks;

		arena->blocks = block->next;
		if (keep == NULL && block->size == ARENA_BLOCK - sizeof(pe_arena_block))
			keep = block;
		else
			pe_free(arena->env, block);
	}
	if (keep != NULL)
	{
		keep->next = NULL;
		keep->used = 0;
		arena->blocks = keep;
	}
}

void
pe_arena_free(pe_arena *arena)
{
	while (arena->blocks != NULL)
	{
		pe_arena_block *block = arena->blocks;

		arena->blocks = block->next;
		pe_free(arena->env, block);
	}
}
