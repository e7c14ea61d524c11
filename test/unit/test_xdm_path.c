/*
 * test_xdm_path.c
 *		Parsing and writing of XDM paths.
 */
#include "tap.h"

#include "snapshot/xdm_path.h"

static pe_status
parse(const char *text, pe_xdm_path **path, pe_error *err)
{
	static tap_memory memory;
	pe_env env = tap_env(&memory);

	return pe_xdm_path_parse(&env, text, strlen(text), path, err);
}

static void
check_steps(const char *text, const char *steps)
{
	tap_memory memory = {0};
	pe_env env = tap_env(&memory);
	pe_xdm_path *path;
	pe_error err;
	char joined[256] = "";

	OK(pe_xdm_path_parse(&env, text, strlen(text), &path, &err) == PE_OK, "parses: %s", text);
	for (int i = 0; path != NULL && i < path->count; i++)
	{
		strcat(joined, i > 0 ? "|" : "");
		strcat(joined, path->steps[i].name);
		if (strlen(path->steps[i].name) != path->steps[i].length)
			strcat(joined, "(length)");
	}
	IS_STR(joined, steps, "steps of %s", text);
	pe_xdm_path_free(&env, path);
	IS_INT(memory.live, 0, "nothing leaked by %s", text);
}

static void
check_refused(const char *text, pe_status status, const char *message)
{
	pe_xdm_path *path;
	pe_error err;

	IS_INT(parse(text, &path, &err), status, "refused: %.40s", text);
	OK(path == NULL, "no path for %.40s", text);
	IS_STR(err.message, message, "message for %.40s", text);
}

static void
check_written(const char *name, const char *wanted)
{
	char out[64];
	size_t length = pe_xdm_step_write(name, strlen(name), out);

	out[length] = '\0';
	IS_STR(out, wanted, "written: %s", wanted);
	IS_INT(pe_xdm_step_write(name, strlen(name), NULL), length, "length of %s", wanted);
}

static void
check_allocation_failures(void)
{
	const char *text = "a.\"b.c\".d";
	tap_memory memory = {0};
	pe_env env = tap_env(&memory);
	pe_xdm_path *path;
	pe_error err;
	pe_status status = PE_OUT_OF_MEMORY;

	for (long i = 1; status == PE_OUT_OF_MEMORY && i < 100; i++)
	{
		memory.calls = 0;
		memory.fail_at = i;
		status = pe_xdm_path_parse(&env, text, strlen(text), &path, &err);
	}
	IS_INT(status, PE_OK, "parses once memory is enough");
	pe_xdm_path_free(&env, path);
	IS_INT(memory.live, 0, "failing allocations leak nothing");
}

int
main(void)
{
	char deep[400] = "a";
	char long_path[PE_XDM_PATH_MAX_BYTES + 2];

	check_steps("person", "person");
	check_steps("person.name.firstName", "person|name|firstName");
	check_steps("_acme.subscription.tenureMonths", "_acme|subscription|tenureMonths");
	check_steps("segmentMembership.ups.11111111-2222-3333-4444-555555555555.status",
	            "segmentMembership|ups|11111111-2222-3333-4444-555555555555|status");
	check_steps("\"a.b\".c", "a.b|c");
	check_steps("a.\"say \"\"hi\"\"\"", "a|say \"hi\"");
	check_steps("\"a\"", "a");
	check_steps(" a .b", " a |b");
	check_steps("größe.ä", "größe|ä");

	check_refused("", PE_INVALID_OPTION, "invalid path \"\": a step is empty at character 1");
	check_refused("a.", PE_INVALID_OPTION, "invalid path \"a.\": a step is empty at character 3");
	check_refused("a..b", PE_INVALID_OPTION, "invalid path \"a..b\": a step is empty at character 3");
	check_refused("\"\"", PE_INVALID_OPTION, "invalid path \"\"\"\": a step is empty at character 3");
	check_refused("\"a", PE_INVALID_OPTION,
	              "invalid path \"\"a\": the closing quote is missing at character 3");
	check_refused("\"a\"b", PE_INVALID_OPTION,
	              "invalid path \"\"a\"b\": a dot is missing after the closing quote at character 4");
	check_refused("a\"b", PE_INVALID_OPTION, "invalid path \"a\"b\": unexpected double quote at character 2");
	check_refused("a\xff", PE_INVALID_OPTION, "path is not valid UTF-8 text");
	for (int i = 1; i < 64; i++)
		strcat(deep, ".a");
	{
		pe_xdm_path *path;
		pe_error err;
		tap_memory memory = {0};
		pe_env env = tap_env(&memory);

		IS_INT(pe_xdm_path_parse(&env, deep, strlen(deep), &path, &err), PE_OK, "64 steps");
		IS_INT(path->count, 64, "all of them");
		pe_xdm_path_free(&env, path);
	}
	strcat(deep, ".a");
	check_refused(deep, PE_LIMIT, "path has more than 64 steps");
	memset(long_path, 'x', sizeof(long_path));
	long_path[sizeof(long_path) - 1] = '\0';
	check_refused(long_path, PE_LIMIT, "path is longer than 8192 bytes");

	check_written("name", "name");
	check_written("plan.name", "\"plan.name\"");
	check_written("say \"hi\"", "\"say \"\"hi\"\"\"");
	check_allocation_failures();
	return tap_done();
}
