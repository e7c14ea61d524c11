/*
 * fuzz_xdm_shape.c
 *		A declared type: what parses is written back as text that parses to the same.
 */
#include <stdlib.h>

#include "platform/xdm_shape.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void *
plain_alloc(void *ctx, size_t size)
{
	return malloc(size);
}

static void *
plain_realloc(void *ctx, void *ptr, size_t size)
{
	return realloc(ptr, size);
}

static void
plain_free(void *ctx, void *ptr)
{
	free(ptr);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	pe_env env = {.allocator = {plain_alloc, plain_realloc, plain_free, NULL}};
	pe_xdm_field field = {0};
	pe_xdm_field again = {0};
	char *shape = malloc(size + 1);
	pe_text first, second;
	pe_error err;
	pe_pool pool;

	memcpy(shape, data, size);
	shape[size] = '\0';
	pe_pool_init(&pool, &env);
	pe_text_init(&first, &env);
	pe_text_init(&second, &env);
	if (pe_shape_parse(shape, &pool, &field, &err) == PE_OK)
	{
		pe_shape_write(&first, &field);
		if (pe_shape_parse(first.data, &pool, &again, &err) != PE_OK)
			abort();
		pe_shape_write(&second, &again);
		if (strcmp(first.data, second.data) != 0)
			abort();
	}
	pe_text_free(&first);
	pe_text_free(&second);
	pe_pool_free(&pool);
	free(shape);
	return 0;
}
