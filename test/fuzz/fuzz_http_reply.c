/*
 * fuzz_http_reply.c
 *		Whatever the platform may answer: the first byte chooses the call, the rest is a
 *		script of answers (scripted.h). No answer may crash, hang or leak.
 */
#include "scripted_calls.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static long live;

static void *
count_alloc(void *ctx, size_t size)
{
	(void) ctx;
	live++;
	return malloc(size);
}

static void *
count_realloc(void *ctx, void *ptr, size_t size)
{
	(void) ctx;
	live += ptr == NULL;
	return realloc(ptr, size);
}

static void
count_free(void *ctx, void *ptr)
{
	(void) ctx;
	live -= ptr != NULL;
	free(ptr);
}

/* The waits between tries of a download end at once. */
static int
stop_at_once(void *ctx, const char *phase, uint64_t done, uint64_t total)
{
	(void) ctx;
	(void) phase;
	(void) done;
	(void) total;
	return 1;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static pe_platform *platform;
	static long live_before;

	if (platform == NULL)
	{
		pe_env env = {.allocator = {count_alloc, count_realloc, count_free, NULL}, .tick = stop_at_once};

		platform = scripted_session(&env);
		live_before = live;
	}
	if (size == 0 || platform == NULL)
		return 0;
	(void) scripted_try(platform, (const char *) data, size);
	if (live != live_before)
		abort();
	return 0;
}
