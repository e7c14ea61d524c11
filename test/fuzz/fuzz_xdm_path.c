/*
 * fuzz_xdm_path.c
 *		A path of any bytes: parsed, and written back; what is written must parse to
 *		the same steps.
 */
#include <stdlib.h>

#include "snapshot/xdm_path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void *
fuzz_alloc(void *ctx, size_t size)
{
	return malloc(size);
}

static void *
fuzz_realloc(void *ctx, void *ptr, size_t size)
{
	return realloc(ptr, size);
}

static void
fuzz_free(void *ctx, void *ptr)
{
	free(ptr);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	pe_env env = {.allocator = {fuzz_alloc, fuzz_realloc, fuzz_free, NULL}};
	pe_xdm_path *path;
	pe_xdm_path *again;
	pe_error err;
	char *written;
	size_t length = 0;

	if (pe_xdm_path_parse(&env, (const char *) data, size, &path, &err) != PE_OK)
		return 0;
	written = malloc(2 * size + 2 * PE_XDM_PATH_MAX_STEPS + 1);
	if (written == NULL)
		abort();
	for (int i = 0; i < path->count; i++)
	{
		if (i > 0)
			written[length++] = '.';
		length += pe_xdm_step_write(path->steps[i].name, path->steps[i].length, written + length);
	}
	if (length <= PE_XDM_PATH_MAX_BYTES)
	{
		if (pe_xdm_path_parse(&env, written, length, &again, &err) != PE_OK || again->count != path->count)
			abort();
		for (int i = 0; i < path->count; i++)
		{
			if (again->steps[i].length != path->steps[i].length ||
			    memcmp(again->steps[i].name, path->steps[i].name, path->steps[i].length) != 0)
				abort();
		}
		pe_xdm_path_free(&env, again);
	}
	pe_xdm_path_free(&env, path);
	free(written);
	return 0;
}
