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

/* Answer with a script written as a string. */
static void
answer(const char *script)
{
	scripted_begin(script, strlen(script));
}

#define NEXT "\x1e"
#define CONNECTION(url)                                                                                      \
	"2{\"items\":[{\"id\":\"c-1\",\"name\":\"n\",\"connectionSpec\":{\"id\":\"bc7b00d6-623a-4dfc-9fdb-"      \
	"f1240aeadaeb\"},\"auth\":{"                                                                             \
	"\"params\":{\"dataType\":\"xdm\",\"inletId\":\"ab\",\"inletUrl\":\"" url "\"}}}]}"

static void
test_flow_answers(pe_platform *platform)
{
	static const char *const elsewhere[] = {
	    "https://evil.example/collection/ab", "http://dcs.adobedc.net/collection/ab",
	    "https://dcs.adobedc.net.evil.example/x", "https://dcs.adobedc.net@evil.example/x", "x"};
	pe_error err;
	pe_inlet inlet;
	bool created;

	answer(CONNECTION("https://dcs.adobedc.net:443/collection/ab")
	           NEXT CONNECTION("https://dcs.adobedc.net:443/collection/ab"));
	IS_INT(pe_flow_ensure_inlet(platform, "n", &inlet, &created, &err), PE_OK, "an inlet");
	IS_STR(inlet.inlet_url, "https://dcs.adobedc.net/collection/ab", "below the configured URL");
	for (size_t i = 0; i < sizeof(elsewhere) / sizeof(elsewhere[0]); i++)
	{
		char script[2000];

		snprintf(script, sizeof(script),
		         "%s" NEXT "2{\"items\":[{\"auth\":{\"params\":{\"inletId\":\"ab\",\"inletUrl\":\"%s\"}}}]}",
		         CONNECTION("https://dcs.adobedc.net"), elsewhere[i]);
		answer(script);
		IS_INT(pe_flow_ensure_inlet(platform, "n", &inlet, &created, &err), PE_CONFIGURATION,
		       "an inlet at %s", elsewhere[i]);
		OK(inlet.inlet_url[0] == '\0', "is not taken; hint: %s", err.hint);
	}
	answer("2{\"items\":[]}" NEXT "2{\"id\":\"../../x\"}");
	IS_INT(pe_flow_ensure_inlet(platform, "n", &inlet, &created, &err), PE_BAD_REPLY,
	       "an id that would change the path");
	answer(
	    "2{\"items\":[{\"id\":\"c-0\",\"name\":\"n\",\"state\":\"disabled\"}],\"_links\":{\"next\":{\"href\":"
	    "\"/connections?limit=1&continuationToken=a%2Bb\"}}}" NEXT CONNECTION("https://dcs.adobedc.net")
	        NEXT CONNECTION("https://dcs.adobedc.net"));
	IS_INT(pe_flow_ensure_inlet(platform, "n", &inlet, &created, &err), PE_OK, "one on the second page");
	OK(!created && strcmp(inlet.connection_id, "c-1") == 0 && scripted_calls == 3,
	   "passing over a disabled one");
}

static void
test_export_answers(pe_platform *platform)
{
	pe_error err;
	pe_part_list parts;
	pe_part part = {.file_id = "f", .name = "p", .path = "/data/p", .length = 10};
	int64_t bytes;

	answer("2{\"data\":[],\"_links\":{\"next\":{\"href\":\"https://evil.example/data\"}}}" NEXT
	       "2{\"data\":[]}");
	IS_INT(pe_export_parts(platform, "b", &parts, &err), PE_UNTRUSTED, "a next page elsewhere");
	IS_INT(scripted_calls, 1, "is not asked for");
	answer("2{\"data\":[{\"dataSetFileId\":\"b-1\"}]}" NEXT
	       "2{\"data\":[{\"name\":\"_SUCCESS\",\"length\":\"5\"},{\"name\":\"a/"
	       ".crc\",\"length\":5},{\"name\":\"e\",\"length\":\"0\"},"
	       "{\"name\":\"a b.parquet\",\"length\":\"1576\"},{\"name\":\"c.parquet\"}]}");
	IS_INT(pe_export_parts(platform, "b", &parts, &err), PE_OK, "parts");
	IS_INT(parts.count, 2, "hidden and empty ones left out");
	IS_STR(parts.items[0].path, "/data/foundation/export/files/b-1?path=a%20b.parquet", "path of a part");
	OK(parts.items[0].length == 1576 && parts.items[1].length == -1 && parts.bytes == 1576, "lengths");
	pe_part_list_free(&parts);
	answer("2{\"data\":[{\"dataSetFileId\":\"b-1\"}]}" NEXT
	       "2{\"data\":[{\"name\":\"x\",\"length\":\"-5\"}]}");
	IS_INT(pe_export_parts(platform, "b", &parts, &err), PE_BAD_REPLY, "a negative length");
	answer("2{\"data\":[{\"dataSetFileId\":\"../x\"}]}");
	IS_INT(pe_export_parts(platform, "b", &parts, &err), PE_BAD_REPLY, "an id that would change the path");
	answer("4{}");
	IS_INT(pe_export_parts(platform, "b", &parts, &err), PE_NOT_FOUND, "an expired batch");
	OK(strstr(err.hint, "newer") != NULL, "hint: %s", err.hint);

	answer("6Content-Range: bytes 0-3/10\n0123" NEXT "6Content-Range: bytes 4-9/10\n456789");
	IS_INT(download_part(platform, &part, swallow, NULL, &bytes, &err), PE_OK, "two ranges");
	IS_INT(bytes, 10, "of ten bytes");
	answer("6Content-Range: bytes 0-3/10\n0123" NEXT "6Content-Range: bytes 5-9/10\n56789");
	IS_INT(download_part(platform, &part, swallow, NULL, &bytes, &err), PE_BAD_REPLY, "a gap");
	answer("6Content-Range: bytes 0-3/10\n0123" NEXT "20123456789");
	IS_INT(download_part(platform, &part, swallow, NULL, &bytes, &err), PE_BAD_REPLY,
	       "ranges given up half-way");
	answer("2012345");
	IS_INT(download_part(platform, &part, swallow, NULL, &bytes, &err), PE_CORRUPT, "too short");
	answer("6Content-Range: bytes 0-8/9\n012345678");
	IS_INT(download_part(platform, &part, swallow, NULL, &bytes, &err), PE_CORRUPT, "a part that changed");
}

static void
test_registry_answers(pe_platform *platform)
{
	static const char group[] =
	    "\"$id\":\"https://ns.adobe.com/acme/mixins/1\",\"meta:altId\":\"_acme.mixins.1\",\"title\":\"t\"";
	pe_xdm_field field = {.name = "a", .type = PE_XDM_NUMBER};
	pe_resource resource;
	pe_error err;
	char script[2000];
	bool created;
	int added;

	/* an older deployment says with a plain 400 that the title is taken */
	snprintf(script, sizeof(script),
	         "2{\"results\":[]}" NEXT "1{\"title\":\"not unique\"}" NEXT "2{\"results\":[{%s}]}" NEXT
	         "2{%s,\"definitions\":{\"x/y\":{\"properties\":{\"_acme\":{\"properties\":{}}}}}}" NEXT "2{%s}",
	         group, group, group);
	answer(script);
	IS_INT(pe_registry_ensure_field_group(platform, "acme", "t", "d", &field, 1, &resource, &created, &added,
	                                      &err),
	       PE_OK, "a field group that somebody else was quicker with");
	OK(!created && added == 1 && scripted_calls == 5, "is found and completed");
	answer("2{\"results\":[]}" NEXT "1{\"title\":\"bad\"}" NEXT "2{\"results\":[]}");
	IS_INT(pe_registry_ensure_field_group(platform, "acme", "t", "d", &field, 1, &resource, &created, &added,
	                                      &err),
	       PE_REFUSED, "one that is refused for another reason");
	OK(strstr(err.detail, "bad") != NULL, "keeps the reason");
	snprintf(script, sizeof(script), "2{\"results\":[{%s}]}" NEXT "2{%s}", group, group);
	answer(script);
	IS_INT(pe_registry_ensure_field_group(platform, "acme", "t", "d", &field, 1, &resource, &created, &added,
	                                      &err),
	       PE_CONFLICT, "a field group without fields of the tenant");
	answer("2{\"tenantId\":\"a/../b\"}");
	IS_INT(pe_registry_tenant(platform, script, sizeof(script), &err), PE_BAD_REPLY,
	       "a tenant that would change a path");
}

static void
test_catalog_answers(pe_platform *platform)
{
	pe_dataset_list datasets;
	pe_batch_list batches;
	pe_error err;
	char id[64];

	answer(
	    "2{\"a1\":{\"name\":\"Profile-Snapshot-Export-x\",\"created\":\"5\",\"tags\":{\"unifiedProfile\":["
	    "\"mergePolicyId: p 1\","
	    "\"enabled: "
	    "true\"]}},\"a2\":{\"name\":\"other\"},\"../a3\":{\"name\":\"Profile-Snapshot-Export-y\"},\"a4\":7}");
	IS_INT(pe_catalog_snapshots(platform, &datasets, &err), PE_OK, "snapshots");
	OK(datasets.count == 1 && datasets.items[0].created_ms == 5 && datasets.items[0].profile_enabled,
	   "one of them is");
	if (datasets.count == 1)
		IS_STR(datasets.items[0].merge_policy_id, "p 1", "its merge policy");
	pe_dataset_list_free(&datasets);
	answer("2{\"b1\":{\"status\":\"success\",\"created\":1},\"b3\":{\"status\":\"active\",\"created\":\"3\"},"
	       "\"b2\":{\"status\":"
	       "\"success\",\"created\":2},\"b4\":{\"status\":\"failed\",\"created\":4}}");
	IS_INT(pe_catalog_batches(platform, "d", NULL, 0, 0, &batches, &err), PE_OK, "batches");
	OK(batches.count == 4 && strcmp(batches.items[1].id, "b3") == 0 &&
	       batches.items[1].state == PE_BATCH_GOOD,
	   "newest first");
	pe_batch_list_free(&batches);
	answer("2{}");
	IS_INT(pe_catalog_batches(platform, "d", NULL, 0, 0, &batches, &err), PE_OK, "none");
	IS_INT(batches.count, 0, "is an empty list");
	answer("2[]");
	IS_INT(pe_catalog_batches(platform, "d", NULL, 0, 0, &batches, &err), PE_BAD_REPLY,
	       "a list where an object belongs");
	answer("2[\"@/dataSets/642db013d8fc0e1c07f46b12\"]");
	IS_INT(pe_catalog_create_dataset(platform, "n", "d", "s", id, sizeof(id), &err), PE_OK, "a new data set");
	IS_STR(id, "642db013d8fc0e1c07f46b12", "its id");
	answer("2[\"@/dataSets/\"]");
	IS_INT(pe_catalog_create_dataset(platform, "n", "d", "s", id, sizeof(id), &err), PE_BAD_REPLY, "no id");
	OK(pe_batch_state_of("success") == PE_BATCH_GOOD && pe_batch_state_of("FAILED") == PE_BATCH_BAD &&
	       pe_batch_state_of("inactive") == PE_BATCH_GONE &&
	       pe_batch_state_of("staging") == PE_BATCH_PENDING &&
	       pe_batch_state_of("something new") == PE_BATCH_PENDING,
	   "states of a batch");
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
	test_flow_answers(platform);
	test_export_answers(platform);
	test_registry_answers(platform);
	test_catalog_answers(platform);
	pe_platform_close(platform);
	IS_INT(memory.live, 0, "nothing leaked");
	return tap_done();
}
