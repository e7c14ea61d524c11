/*
 * test_failed_records.c
 *		Whose record a line of refused records is, in all the forms that the platform
 *		gives them, cut anywhere; and that a failed allocation is told.
 */
#include "platform/failed_records.h"
#include "tap.h"

#define MOST 20

typedef struct seen
{
	int count;
	char keys[MOST][40];
	char reasons[MOST][200];
	char times[MOST][40];
	pe_outcome outcomes[MOST];
} seen;

static void
take(void *ctx, const pe_failed_record *record)
{
	seen *all = ctx;

	if (all->count == MOST)
		return;
	snprintf(all->keys[all->count], 40, "%s", record->key != NULL ? record->key : "nobody");
	snprintf(all->reasons[all->count], 200, "%s", record->reason);
	snprintf(all->times[all->count], 40, "%s", record->scored_at);
	all->outcomes[all->count++] = record->outcome;
}

static const char lines[] =
    /* a record of a batch */
    "{\"_acme\":{\"churn\":{\"score\":\"x\",\"profileId\":\"A\",\"scoredAt\":\"2026-11-23T10:00:00.123Z\"}},"
    "\"identityMap\":{\"CRMID\":[{\"id\":\"A\",\"primary\":true}]},\"_errors\":[{\"code\":\"DCVS-1104-400\","
    "\"message\":\"wrong type\"}],\"_filename\":\"part-00001.json\"}\n"
    /* the namespace in another case, two identities of which the second is primary, and a passing cause */
    "{\"identityMap\":{\"ECID\":[{\"id\":\"E\"}],\"crmId\":[{\"id\":\"B0\"},{\"id\":\"B\",\"primary\":true}]}"
    ","
    "\"_errors\":[{\"code\":\"INGEST-1500-503\",\"message\":\"busy\"}]}\n"
    /* no identity map, but our own key */
    "{\"_acme\":{\"churn\":{\"profileId\":\"C\"}},\"_validationErrors\":[{\"keyword\":\"required\","
    "\"message\":\"identityMap is missing\"}]}\n"
    "\n"
    /* what the platform could not parse */
    "{\"_corrupt_record\":\"{\\\"identityMap\\\":{\\\"CRMID\\\":[{\\\"id\\\":\\\"D\\\"}]}}\",\"_errors\":[{"
    "\"code\":"
    "\"INGEST-1401-400\"}]}\n"
    "{\"_corrupt_record\":\"{half\"}\n"
    /* a streamed message in its envelope, and a line that is a list */
    "{\"header\":{},\"body\":{\"xdmEntity\":{\"identityMap\":{\"CRMID\":[{\"id\":\"F\"}]}}},\"_errors\":[]}\n"
    "[{\"identityMap\":{\"CRMID\":[{\"id\":\"G\"}]}},{\"xdmEntity\":{\"identityMap\":{\"CRMID\":[{\"id\":"
    "\"H\"}]}}}]\n"
    "no JSON at all\n"
    "{\"identityMap\":{\"CRMID\":[{\"id\":\"last, without a newline\"}]}}";

static const char *const wanted[] = {"A", "B", "C", "D",      "nobody",
                                     "F", "G", "H", "nobody", "last, without a newline"};

static pe_status
read_lines(const pe_env *env, size_t piece, seen *all)
{
	pe_failed_reader reader = {
	    .env = env, .namespace = "CRMID", .tenant = "acme", .enrichment = "churn", .take = take, .ctx = all};
	pe_status status = PE_OK;
	pe_error err;

	for (size_t at = 0; status == PE_OK && at < strlen(lines); at += piece)
		status = pe_failed_feed(&reader, lines + at, piece < strlen(lines) - at ? piece : strlen(lines) - at,
		                        &err);
	if (status == PE_OK)
		status = pe_failed_end(&reader, &err);
	pe_failed_reader_free(&reader);
	return status;
}

static void
test_lines(const pe_env *env)
{
	seen all = {0};
	bool same = true;

	IS_INT(read_lines(env, strlen(lines), &all), PE_OK, "lines of all kinds");
	IS_INT(all.count, 10, "ten records");
	for (int i = 0; i < all.count && i < 10; i++)
		IS_STR(all.keys[i], wanted[i], "record %d is %s's", i, wanted[i]);
	IS_STR(all.reasons[0], "wrong type DCVS-1104-400", "why, in the platform's words");
	IS_STR(all.times[0], "2026-11-23T10:00:00.123Z", "and when it was scored");
	IS_INT(all.outcomes[0], PE_OUTCOME_REFUSED, "refused for good");
	IS_INT(all.outcomes[1], PE_OUTCOME_OVERLOAD, "or for now");
	IS_STR(all.reasons[2], "identityMap is missing", "a reason in the other form");
	IS_STR(all.reasons[5], "the platform gave no reason", "or none");
	for (size_t piece = 1; piece < 200; piece++)
	{
		seen again = {0};

		same &= read_lines(env, piece, &again) == PE_OK && memcmp(&again, &all, sizeof(all)) == 0;
	}
	OK(same, "the same in pieces of any size");
}

static void
test_long_line(const pe_env *env)
{
	size_t length = PE_FAILED_LINE + 1000;
	char *line = malloc(length);
	seen all = {0};
	pe_failed_reader reader = {
	    .env = env, .namespace = "CRMID", .tenant = "acme", .enrichment = "churn", .take = take, .ctx = &all};
	static const char after[] = "\n{\"identityMap\":{\"CRMID\":[{\"id\":\"next\"}]}}\n";

	memset(line, ' ', length);
	OK(pe_failed_feed(&reader, line, length / 2, NULL) == PE_OK &&
	       pe_failed_feed(&reader, line, length, NULL) == PE_OK &&
	       pe_failed_feed(&reader, after, strlen(after), NULL) == PE_OK,
	   "a line that does not end");
	OK(all.count == 2 && strcmp(all.keys[0], "nobody") == 0 && strcmp(all.keys[1], "next") == 0,
	   "is nobody's, and the next one is read");
	OK(reader.capacity <= 2 * PE_FAILED_LINE, "in bounded memory");
	pe_failed_reader_free(&reader);
	free(line);
}

static void
test_ranges(void)
{
	pe_failed_file file = {.path = "/data/x", .length = 100};
	pe_http_response response = {.status = 206,
	                             .body_length = 40,
	                             .headers = (char *) "Content-Range: bytes 0-39/90\r\n",
	                             .header_length = 30};
	bool end;

	OK(pe_failed_range_end(&file, 0, &response, &end, NULL) == PE_OK && !end, "a range, and more to come");
	OK(pe_failed_range_end(&file, 50, &response, &end, NULL) == PE_OK && end, "the range that ends it");
	response.header_length = 0;
	response.headers = NULL;
	OK(pe_failed_range_end(&file, 50, &response, &end, NULL) == PE_OK && !end, "by the listed length");
	response.status = 416;
	OK(pe_failed_range_end(&file, 100, &response, &end, NULL) == PE_OK && end, "nothing behind the end");
	response.status = 200;
	OK(pe_failed_range_end(&file, 0, &response, &end, NULL) == PE_OK && end,
	   "a server without ranges sends all of it");
	IS_INT(pe_failed_range_end(&file, 1, &response, &end, NULL), PE_BAD_REPLY, "but not from the middle");
}

int
main(void)
{
	tap_memory memory = {0};
	pe_env env = tap_env(&memory);
	bool told = true;

	test_lines(&env);
	test_long_line(&env);
	test_ranges();
	for (long at = 1;; at++)
	{
		seen all = {0};
		pe_status status;

		memory.calls = 0;
		memory.fail_at = at;
		status = read_lines(&env, 100, &all);
		if (memory.calls < at)
			break;
		told &= status == PE_OUT_OF_MEMORY;
	}
	memory.fail_at = 0;
	OK(told, "a failed allocation is told");
	IS_INT(memory.live, 0, "nothing leaks");
	return tap_done();
}
