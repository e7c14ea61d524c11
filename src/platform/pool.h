/*
 * pool.h
 *		Memory of one result: what a call of this layer returns (strings, arrays) is
 *		freed in one go by pe_pool_free.
 */
#ifndef PE_PLATFORM_POOL_H
#define PE_PLATFORM_POOL_H

#include "pe_base.h"

typedef struct pe_pool
{
	pe_allocator allocator;
	struct pe_pool_block *blocks;
} pe_pool;

void pe_pool_init(pe_pool *pool, const pe_env *env);
/* Zeroed memory, aligned for any type; NULL when out of memory. */
void *pe_pool_alloc(pe_pool *pool, size_t size);
char *pe_pool_strdup(pe_pool *pool, const char *text);
char *pe_pool_strndup(pe_pool *pool, const char *text, size_t length);
char *pe_pool_printf(pe_pool *pool, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A bigger copy of an array in the pool; the old one stays until the pool goes. */
void *pe_pool_grow(pe_pool *pool, const void *old, size_t old_size, size_t new_size);
/* Safe on a zeroed pool, and twice. */
void pe_pool_free(pe_pool *pool);

#endif /* PE_PLATFORM_POOL_H */
