/*
 * pool.c
 *		Memory of one result, freed in one go.
 */
#include "platform/pool.h"

/* Blocks grow from small, so that a result of a few strings stays small. */
#define FIRST_BLOCK 1000
#define LATER_BLOCK 16000
#define ALIGNMENT   16

typedef struct pe_pool_block
{
	struct pe_pool_block *next;
	size_t used; /* of the bytes that follow the header */
	size_t size;
	size_t padding; /* keeps the bytes that follow aligned */
} pe_pool_block;

_Static_assert(sizeof(pe_pool_block) % ALIGNMENT == 0, "what follows a block's header must be aligned");

void
pe_pool_init(pe_pool *pool, const pe_env *env)
{
	pool->allocator = env->allocator;
	pool->blocks = NULL;
}

void *
pe_pool_alloc(pe_pool *pool, size_t size)
{
	pe_pool_block *block = pool->blocks;
	char *bytes;

	if (size > SIZE_MAX / 2)
		return NULL;
	size = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
	if (block == NULL || block->size - block->used < size)
	{
		size_t wanted = block == NULL ? FIRST_BLOCK : LATER_BLOCK;

		if (wanted < size)
			wanted = size;
		block = pool->allocator.alloc(pool->allocator.ctx, sizeof(*block) + wanted);
		if (block == NULL)
			return NULL;
		block->size = wanted;
		block->used = 0;
		block->next = pool->blocks;
		pool->blocks = block;
	}
	bytes = (char *) (block + 1) + block->used;
	block->used += size;
	memset(bytes, 0, size);
	return bytes;
}

char *
pe_pool_strndup(pe_pool *pool, const char *text, size_t length)
{
	char *copy = pe_pool_alloc(pool, length + 1);

	if (copy != NULL)
		memcpy(copy, text, length);
	return copy;
}

char *
pe_pool_strdup(pe_pool *pool, const char *text)
{
	return pe_pool_strndup(pool, text, strlen(text));
}

char *
pe_pool_printf(pe_pool *pool, const char *format, ...)
{
	va_list args;
	int length;
	char *text;

	va_start(args, format);
	length = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (length < 0 || (text = pe_pool_alloc(pool, (size_t) length + 1)) == NULL)
		return NULL;
	va_start(args, format);
	(void) vsnprintf(text, (size_t) length + 1, format, args);
	va_end(args);
	return text;
}

void *
pe_pool_grow(pe_pool *pool, const void *old, size_t old_size, size_t new_size)
{
	char *bytes = pe_pool_alloc(pool, new_size);

	if (bytes != NULL && old_size > 0)
		memcpy(bytes, old, old_size);
	return bytes;
}

void
pe_pool_free(pe_pool *pool)
{
	while (pool->blocks != NULL)
	{
		pe_pool_block *block = pool->blocks;

		pool->blocks = block->next;
		pool->allocator.free(pool->allocator.ctx, block);
	}
}
