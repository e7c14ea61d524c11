/*
 * test_platform_replies.c
 *		Every typed call over the fuzzer's corpus of answers, with memory failing at each
 *		of its steps; and what the calls make of chosen answers.
 */
#include <dirent.h>

#include "tap.h"

#include "scripted_calls.h"

#define CORPUS "test/fuzz/corpus/http_reply"

static tap_memory memory;

static int
stop_at_once(void *ctx, const char *phase, uint64_t done, uint64_t total)
{
	return 1;
}

/* One answer file: as it is, then with the n-th allocation failing for every n. */
static void
try_file(pe_platform *platform, const char *name)
{
	char path[300];
	static char data[200000];
	size_t size;
	FILE *file;
	long before = memory.live;
	long steps;
	pe_status status;
	pe_status failed;
	bool clean;

	snprintf(path, sizeof(path), CORPUS "/%s", name);
	file = fopen(path, "rb");
	if (file == NULL)
		return;
	size = fread(data, 1, sizeof(data), file);
	fclose(file);
	if (size == 0)
		return;
	memory.calls = 0;
	memory.fail_at = 0;
	status = scripted_try(platform, data, size);
	steps = memory.calls;
	clean = memory.live == before;
	/* long lists repeat themselves: their first thousand steps will do */
	for (long fail_at = 1; clean && fail_at <= steps && fail_at < 1000; fail_at++)
	{
		memory.calls = 0;
		memory.fail_at = fail_at;
		failed = scripted_try(platform, data, size);
		/* an error's own words are left out when there is no memory to read them */
		clean = memory.live == before && (failed == PE_OUT_OF_MEMORY || status != PE_OK || data[0] == 'd');
		if (!clean)
			printf("# step %ld: status %d, %ld blocks left\n", fail_at, failed, memory.live - before);
	}
	memory.fail_at = 0;
	OK(clean, "%s: out of memory at each of %ld steps", name, steps);
}

int
main(void)
{
	pe_env env = tap_env(&memory);
	pe_platform *platform;
	struct dirent **entries;
	int found = scandir(CORPUS, &entries, NULL, alphasort);

	env.tick = stop_at_once;
	platform = scripted_session(&env);
	OK(found > 10 && platform != NULL, "answers to try");
	for (int i = 0; i < found; i++)
	{
		if (entries[i]->d_name[0] != '.')
			try_file(platform, entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	pe_platform_close(platform);
	IS_INT(memory.live, 0, "nothing leaked");
	return tap_done();
}
