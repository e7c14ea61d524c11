/*
 * arena.h
 *		Memory that is given back all at once: for what lives as long as a file,
 *		a selection or a batch. Inside an arena pointers stay put.
 */
#ifndef PE_ARENA_H
#define PE_ARENA_H

#include "pe_base.h"

typedef struct pe_arena_block pe_arena_block;

typedef struct pe_arena
{
	const pe_env *env;
	pe_arena_block *blocks;
} pe_arena;

void pe_arena_init(pe_arena *arena, const pe_env *env);

/* Aligned as the allocator aligns (at least to 8), not zeroed; NULL when out of memory. */
void *pe_arena_alloc(pe_arena *arena, size_t size);
void *pe_arena_calloc(pe_arena *arena, size_t count, size_t size);

/* Free everything but one block of ordinary size, to be filled again. */
void pe_arena_reset(pe_arena *arena);
void pe_arena_free(pe_arena *arena);

#endif /* PE_ARENA_H */
