/*
 * test_xdm_shape.c
 *		The text form of types: what parses, how it is written back, what is refused, and
 *		memory running out.
 */
#include "platform/xdm_shape.h"
#include "tap.h"

/* Parses and writes back; NULL when refused. The caller frees. */
static char *
round_trip(const char *shape, pe_error *err)
{
	tap_memory memory = {0};
	pe_env env = tap_env(&memory);
	pe_xdm_field field = {0};
	char *written = NULL;
	pe_pool pool;
	pe_text text;

	pe_pool_init(&pool, &env);
	pe_text_init(&text, &env);
	if (pe_shape_parse(shape, &pool, &field, err) == PE_OK)
	{
		pe_shape_write(&text, &field);
		written = strdup(text.data);
	}
	pe_text_free(&text);
	pe_pool_free(&pool);
	IS_INT(memory.live, 0, "nothing is left of %.40s", shape);
	return written;
}

static void
test_good(void)
{
	static const char *const same[] = {
	    "string",
	    "number",
	    "integer",
	    "long",
	    "boolean",
	    "date",
	    "date-time",
	    "array<string>",
	    "array<date-time>",
	    "map<string>",
	    "map<integer>",
	    "{a:string}",
	    "{a:string,b-c:array<{d:map<integer>}>}",
	    "array<{feature:string,value:string,contribution:number}>",
	    "{a:{b:{c:{d:{e:string}}}}}",
	};
	char *written;
	pe_error err = {0};

	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
	{
		written = round_trip(same[i], &err);
		IS_STR(written, same[i], "%s", same[i]);
		free(written);
	}
	written = round_trip(" array < { feature : string ,\n value:string\t} > ", &err);
	IS_STR(written, "array<{feature:string,value:string}>", "blanks are dropped");
	free(written);
}

static void
test_refused(void)
{
	static const struct
	{
		const char *shape;
		const char *message;
	} cases[] = {
	    {"", "character 1: no such type"},
	    {"text", "character 1: no such type"},
	    {"String", "no such type"},
	    {"datetime", "no such type"},
	    {"string string", "character 8: nothing more expected"},
	    {"array", "\"<\" expected"},
	    {"array<string", "character 13: \">\" expected"},
	    {"array<array<string>>", "arrays hold no arrays or maps"},
	    {"array<map<string>>", "arrays hold no arrays or maps"},
	    {"map<number>", "maps hold string or integer only"},
	    {"map<{a:string}>", "maps hold string or integer only"},
	    {"{}", "a name of letters"},
	    {"{a}", "\":\" expected"},
	    {"{a:string", "\",\" or \"}\" expected"},
	    {"{a:string,}", "a name of letters"},
	    {"{a:string,a:string}", "name used twice"},
	    {"{_a:string}", "not beginning with _"},
	    {"{a b:string}", "\":\" expected"},
	    {"{a:{b:{c:{d:{e:{f:string}}}}}}", "nested too deeply"},
	    {"array<{a:{b:{c:{d:{e:string}}}}}>", "nested too deeply"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		pe_error err = {0};
		char *written = round_trip(cases[i].shape, &err);

		OK(written == NULL, "refused: %s", cases[i].shape);
		OK(strstr(err.message, cases[i].message) != NULL, "says: %s", err.message);
		free(written);
	}
}

static void
test_bounds(void)
{
	char *text = malloc(20000);
	pe_error err = {0};
	size_t at = 0;

	at += (size_t) sprintf(text, "{");
	for (int i = 0; i < PE_SHAPE_MAX_MEMBERS; i++)
		at += (size_t) sprintf(text + at, "%sm%d:string", i > 0 ? "," : "", i);
	strcpy(text + at, "}");
	{
		char *written = round_trip(text, &err);

		IS_STR(written, text, "%d members", PE_SHAPE_MAX_MEMBERS);
		free(written);
	}
	strcpy(text + at, ",more:string}");
	OK(round_trip(text, &err) == NULL, "one more is too many");
	memset(text, ' ', PE_SHAPE_MAX_LENGTH + 1);
	text[PE_SHAPE_MAX_LENGTH + 1] = '\0';
	OK(round_trip(text, &err) == NULL, "too long");
	IS_INT(err.code, PE_LIMIT, "and says so");
	memset(text, 'n', 64);
	OK(pe_xdm_name_ok(text, 63) && !pe_xdm_name_ok(text, 64) && !pe_xdm_name_ok(text, 0), "length of names");
	OK(!pe_xdm_name_ok("a.b", 3) && !pe_xdm_name_ok("\xc3\xa4", 2), "characters of names");
	free(text);
}

static void
test_memory(void)
{
	static const char shape[] = "{a:string,b:array<{c:string,d:number}>,e:map<integer>,f:long,g:long,h:long,"
	                            "i:long,j:long,k:long,l:long}";
	bool done = false;

	for (long fail_at = 1; !done && fail_at < 200; fail_at++)
	{
		tap_memory memory = {.fail_at = fail_at};
		pe_env env = tap_env(&memory);
		pe_xdm_field field = {0};
		pe_error err = {0};
		pe_pool pool;
		pe_status status;

		pe_pool_init(&pool, &env);
		status = pe_shape_parse(shape, &pool, &field, &err);
		done = status == PE_OK;
		if (!done && status != PE_OUT_OF_MEMORY)
			OK(false, "call %ld: status %d", fail_at, status);
		pe_pool_free(&pool);
		if (memory.live != 0)
			OK(false, "call %ld leaves %ld blocks", fail_at, memory.live);
	}
	OK(done, "parsed once memory sufficed");
}

int
main(void)
{
	test_good();
	test_refused();
	test_bounds();
	test_memory();
	return tap_done();
}
