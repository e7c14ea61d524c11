/*
 * test_message.c
 *		The request body: its exact text, the escaper, its limits, and memory running out.
 */
#include <json-c/json.h>

#include "platform/message.h"
#include "tap.h"

static const pe_message_target target = {
    .schema_id = "https://ns.adobe.com/acme/schemas/1f",
    .org_id = "0123@AdobeOrg",
    .dataset_id = "642db013d8fc0e1c07f46b12",
    .flow_id = "f-1",
    .tenant = "acme",
    .enrichment = "churn",
    .namespace = "CRMID",
};

static pe_message_record
record_of(const char *key, const char *value)
{
	pe_message_record record = {
	    .key = key,
	    .key_length = strlen(key),
	    .value = value,
	    .value_length = value == NULL ? 0 : strlen(value),
	    .scored_at = INT64_C(1795428000123456), /* 2026-11-23 10:00:00.123456 UTC */
	};

	return record;
}

static void
test_exact(void)
{
	tap_memory memory = {0};
	pe_env env = tap_env(&memory);
	pe_message_body body;
	pe_error err;
	pe_message_record record = record_of("C-1", "{\"score\": 0.83, \"band\": \"high\"}");

	IS_INT(pe_message_begin(&body, &env, &target, 100000, false, &err), PE_OK, "begin");
	IS_INT(pe_message_add(&body, &record, &err), PE_OK, "add a score");
	record = record_of("C-2", NULL);
	IS_INT(pe_message_add(&body, &record, &err), PE_OK, "add a retracted profile");
	IS_INT(pe_message_end(&body, &err), PE_OK, "end");
	body.data[body.length] = '\0';
#define ENVELOPE                                                                                             \
	"{\"header\":{\"schemaRef\":{\"id\":\"https://ns.adobe.com/acme/schemas/1f\","                           \
	"\"contentType\":\"application/vnd.adobe.xed-full+json;version=1\"},\"imsOrgId\":\"0123@AdobeOrg\","     \
	"\"datasetId\":\"642db013d8fc0e1c07f46b12\",\"flowId\":\"f-1\",\"source\":{\"name\":\"profenrich\"}},"   \
	"\"body\":{\"xdmMeta\":{\"schemaRef\":{\"id\":\"https://ns.adobe.com/acme/schemas/1f\","                 \
	"\"contentType\":\"application/"                                                                         \
	"vnd.adobe.xed-full+json;version=1\"}},\"xdmEntity\":{\"_acme\":{\"churn\":{"
	IS_STR(body.data,
	       "{\"messages\":[" ENVELOPE "\"score\": 0.83, \"band\": "
	       "\"high\",\"profileId\":\"C-1\",\"scoredAt\":\"2026-11-23T10:00:00.123Z\"}},"
	       "\"identityMap\":{\"CRMID\":[{\"id\":\"C-1\",\"primary\":true}]}}}}," ENVELOPE
	       "\"profileId\":\"C-2\"}},\"identityMap\":{\"CRMID\":[{\"id\":\"C-2\",\"primary\":true}]}}}}]}",
	       "the body, letter by letter");
	pe_message_free(&body);

	pe_message_begin(&body, &env, &target, 100000, true, &err);
	record = record_of("C-1", " { } ");
	IS_INT(pe_message_add(&body, &record, &err), PE_OK, "an empty object is a record too");
	IS_INT(pe_message_add(&body, &record, NULL), PE_LIMIT, "a single-message body holds one");
	pe_message_end(&body, &err);
	body.data[body.length] = '\0';
	IS_STR(body.data,
	       ENVELOPE "\"profileId\":\"C-1\",\"scoredAt\":\"2026-11-23T10:00:00.123Z\"}},"
	                "\"identityMap\":{\"CRMID\":[{\"id\":\"C-1\",\"primary\":true}]}}}}",
	       "alone: no list around it");
	pe_message_free(&body);

	pe_message_begin(&body, &env, &target, 100000, false, &err);
	record = record_of("C-1", "[1]");
	IS_INT(pe_message_add(&body, &record, &err), PE_INVALID_DATA, "a value that is no object");
	IS_INT(body.messages, 0, "is not added");
	pe_message_free(&body);
	IS_INT(memory.live, 0, "nothing leaks");
}

static void
check_escape(const char *in, size_t length, const char *want)
{
	char out[256];
	size_t written = pe_json_escape(out, in, length);

	out[written] = '\0';
	IS_STR(out, want, "escaped");
}

static void
test_escape(void)
{
	check_escape("plain", 5, "plain");
	check_escape("a\"b\\c/d", 7, "a\\\"b\\\\c/d");
	check_escape("\b\f\n\r\t", 5, "\\b\\f\\n\\r\\t");
	check_escape("\0\x01\x1f\x7f", 4, "\\u0000\\u0001\\u001f\\u007f");
	check_escape("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 9, "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
	check_escape("\xc3", 1, "\xef\xbf\xbd");
	check_escape("\xc0\x80", 2, "\xef\xbf\xbd\xef\xbf\xbd");
	check_escape("\xed\xa0\x80", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
	check_escape("\xf4\x90\x80\x80", 4, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
	check_escape("\xe2\x82", 2, "\xef\xbf\xbd\xef\xbf\xbd");
}

/* Any bytes as key come back as the same text, read by another JSON library. */
static void
test_round_trip(void)
{
	unsigned seed = 42;
	bool same = true;

	for (int round = 0; round < 2000 && same; round++)
	{
		char key[32], quoted[256] = "\"";
		size_t length = 0, written;
		struct json_object *parsed;

		for (int i = 0; i < 8; i++)
		{
			seed = seed * 1103515245u + 12345u;
			if ((seed >> 16) % 4 == 0)
				length += (size_t) sprintf(key + length, "\xe2\x82\xac");
			else
				key[length++] = (char) ((seed >> 16) % 127 + 1);
		}
		written = 1 + pe_json_escape(quoted + 1, key, length);
		quoted[written++] = '"';
		quoted[written] = '\0';
		parsed = json_tokener_parse(quoted);
		same = parsed != NULL && (size_t) json_object_get_string_len(parsed) == length &&
		       memcmp(json_object_get_string(parsed), key, length) == 0;
		json_object_put(parsed);
	}
	OK(same, "2000 random keys survive the round trip");
}

static void
test_limits(void)
{
	tap_memory memory = {0};
	pe_env env = tap_env(&memory);
	pe_message_body body;
	pe_message_record record = record_of("C-1", "{\"score\": 1}");
	struct json_object *parsed;
	size_t one;
	char *big = malloc(1200000);
	pe_status status;

	pe_message_begin(&body, &env, &target, 3000, false, NULL);
	pe_message_add(&body, &record, NULL);
	one = body.length;
	while ((status = pe_message_add(&body, &record, NULL)) == PE_OK)
		;
	IS_INT(status, PE_LIMIT, "full at last");
	pe_message_end(&body, NULL);
	OK(body.length <= 3000 && body.length + one > 3000, "filled to the limit and not past it: %zu",
	   body.length);
	body.data[body.length] = '\0';
	parsed = json_tokener_parse(body.data);
	IS_INT(json_object_array_length(json_object_object_get(parsed, "messages")), body.messages,
	       "well-formed, all messages");
	json_object_put(parsed);
	pe_message_free(&body);

	pe_message_begin(&body, &env, &target, 100, false, NULL);
	IS_INT(pe_message_add(&body, &record, NULL), PE_OK, "a learnt limit never stops a single record");
	IS_INT(pe_message_add(&body, &record, NULL), PE_LIMIT, "but it stops the second");
	pe_message_free(&body);

	memset(big, 'x', 1200000);
	memcpy(big, "{\"a\":\"", 6);
	memcpy(big + 1100000, "\"}", 3);
	record = record_of("C-1", big);
	pe_message_begin(&body, &env, &target, 5000000, false, NULL);
	IS_INT(pe_message_add(&body, &record, NULL), PE_LIMIT,
	       "more than the platform takes is refused, first or not");
	IS_INT(body.messages, 0, "and not counted");
	pe_message_free(&body);
	free(big);
	IS_INT(memory.live, 0, "nothing leaks");
}

/* A file of a batch: bare records, one a line. */
static void
test_lines(void)
{
	tap_memory memory = {0};
	pe_env env = tap_env(&memory);
	pe_message_body body;
	pe_message_record record = record_of("C-1", "{\"score\": 1}");
	pe_message_record big;
	char *value = malloc(PE_MESSAGE_MAX_BYTES + 100);
	size_t one;

	IS_INT(pe_message_begin_lines(&body, &env, &target, 3000000, NULL), PE_OK, "a file is begun");
	OK(body.data != NULL && body.capacity == 3000000, "with all of its room");
	IS_INT(pe_message_add(&body, &record, NULL), PE_OK, "a record");
	one = body.length;
	IS_INT(pe_message_add(&body, &record, NULL), PE_OK, "another");
	IS_INT(pe_message_end(&body, NULL), PE_OK, "the end");
	OK(body.length == 2 * one && memcmp(body.data, body.data + one, one) == 0 && body.data[one - 1] == '\n' &&
	       memchr(body.data, '\n', one - 1) == NULL,
	   "each on a line of its own");
	OK(strncmp(body.data, "{\"_", 3) == 0 && memmem(body.data, one, "schemaRef", 9) == NULL &&
	       memmem(body.data, one, "\"identityMap\"", 13) != NULL,
	   "without envelope: %.*s", (int) one - 1, body.data);
	memset(value, 'x', PE_MESSAGE_MAX_BYTES + 100);
	memcpy(value, "{\"a\":\"", 6);
	memcpy(value + PE_MESSAGE_MAX_BYTES + 97, "\"}", 3);
	big = record_of("C-2", value);
	IS_INT(pe_message_add(&body, &big, NULL), PE_LIMIT,
	       "a record larger than the platform takes does not go in");
	IS_INT(body.length, 2 * one, "and leaves the file as it was");
	pe_message_free(&body);

	IS_INT(pe_message_begin_lines(&body, &env, &target, one + 10, NULL), PE_OK, "a small file");
	IS_INT(pe_message_add(&body, &record, NULL), PE_OK, "takes a record");
	IS_INT(pe_message_add(&body, &record, NULL), PE_LIMIT, "and no more");
	pe_message_free(&body);
	memory.fail_at = memory.calls + 3;
	IS_INT(pe_message_begin_lines(&body, &env, &target, 1000, NULL), PE_OUT_OF_MEMORY,
	       "out of memory is told");
	pe_message_free(&body);
	free(value);
	IS_INT(memory.live, 0, "nothing leaks");
}

static void
test_memory(void)
{
	for (long fail_at = 1;; fail_at++)
	{
		tap_memory memory = {.fail_at = fail_at};
		pe_env env = tap_env(&memory);
		pe_message_body body;
		pe_error err;
		pe_message_record record = record_of("C-1", "{\"score\": 1}");
		pe_status status = pe_message_begin(&body, &env, &target, 100000, false, &err);

		for (int i = 0; i < 20 && status == PE_OK; i++)
			status = pe_message_add(&body, &record, &err);
		if (status == PE_OK)
			status = pe_message_end(&body, &err);
		pe_message_free(&body);
		if (memory.live != 0 || (status != PE_OK && status != PE_OUT_OF_MEMORY))
		{
			OK(false, "failing allocation %ld: status %d, %ld blocks live", fail_at, status, memory.live);
			return;
		}
		if (status == PE_OK)
		{
			OK(true, "each of %ld failing allocations is survived", fail_at - 1);
			return;
		}
	}
}

int
main(void)
{
	test_exact();
	test_escape();
	test_round_trip();
	test_limits();
	test_lines();
	test_memory();
	return tap_done();
}
