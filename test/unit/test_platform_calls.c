/*
 * test_platform_calls.c
 *		Every typed call against the stand-in platform, over TLS with its own
 *		authority: provisioning from nothing and again, a record sent and read back,
 *		a batch, a snapshot found and downloaded, and what goes wrong on the way.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tap.h"
#include "download.h"

#include "platform/batch.h"
#include "platform/catalog.h"
#include "platform/export.h"
#include "platform/failed_records.h"
#include "platform/flow.h"
#include "platform/identity.h"
#include "platform/ingest_reply.h"
#include "platform/profile.h"
#include "platform/registry.h"

#define ORG "0123456789ABCDEF01234567@AdobeOrg"

static tap_memory memory;
static pe_env env;
static pe_error err;
static char directory[] = "/tmp/profenrich-standin-XXXXXX";
static char origin[100];
static char control_origin[100];
static char ca_file[100];
static pid_t server_pid;

/* OK when the call succeeded, with its error when it did not. */
#define WORKS(call, ...)                                                                                     \
	do                                                                                                       \
	{                                                                                                        \
		pe_status works_status = (call);                                                                     \
		OK(works_status == PE_OK, __VA_ARGS__);                                                              \
		if (works_status != PE_OK)                                                                           \
			printf("#   %s | %s | %s\n", err.message, err.detail, err.hint);                                 \
	} while (0)

static void
pause_ms(int ms)
{
	struct timespec wait = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

	nanosleep(&wait, NULL);
}

static int
read_number(const char *name)
{
	char path[200];
	int number = 0;
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	file = fopen(path, "r");
	if (file == NULL)
		return 0;
	if (fscanf(file, "%d", &number) != 1)
		number = 0;
	fclose(file);
	return number;
}

static void
put_file(const char *name, size_t size)
{
	char path[300];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/'))
	{
		*slash = '\0';
		mkdir(path, 0755);
		*slash = '/';
	}
	file = fopen(path, "w");
	for (size_t i = 0; file != NULL && i < size; i++)
		fputc((int) (i % 251), file);
	if (file != NULL)
		fclose(file);
}

static bool
start_server(void)
{
	if (mkdtemp(directory) == NULL)
		return false;
	put_file("snapshots/default/2026-11-22/part-00000.parquet", 1000);
	put_file("snapshots/default/2026-11-23/part-00000.parquet", 300000);
	put_file("snapshots/default/2026-11-23/part 1&+.parquet", 70000);
	put_file("snapshots/default/2026-11-23/deeper/part-00002.parquet", 5);
	put_file("snapshots/default/2026-11-23/empty.parquet", 0);
	put_file("snapshots/default/2026-11-23/_SUCCESS", 3);
	put_file("snapshots/default/2026-11-23/.crc", 3);
	put_file("snapshots/other/2026-11-23/part-00000.parquet", 7);
	fflush(stdout);
	server_pid = fork();
	if (server_pid == 0)
	{
		char log[200];
		int fd;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		snprintf(log, sizeof(log), "%s/log", directory);
		fd = open(log, O_WRONLY | O_CREAT, 0600);
		dup2(fd, 1);
		dup2(fd, 2);
		execlp("python3", "python3", "test/platform/server", "--state", directory, (char *) NULL);
		_exit(127);
	}
	for (int i = 0; i < 600 && read_number("port") == 0; i++)
		pause_ms(50);
	snprintf(origin, sizeof(origin), "https://localhost:%d", read_number("port"));
	snprintf(control_origin, sizeof(control_origin), "http://127.0.0.1:%d", read_number("control-port"));
	snprintf(ca_file, sizeof(ca_file), "%s/ca.pem", directory);
	return read_number("port") != 0;
}

static void
stop_server(void)
{
	char command[100];

	kill(server_pid, SIGKILL);
	waitpid(server_pid, NULL, 0);
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	if (system(command) != 0)
		printf("# could not remove %s\n", directory);
}

static void
control(const char *path, const char *body)
{
	char url[200];
	pe_http_config config = {.allow_insecure_loopback = true};
	pe_http_header type = {"Content-Type", "application/json"};
	pe_http_request request = {.method = "POST",
	                           .url = url,
	                           .headers = &type,
	                           .header_count = 1,
	                           .body = body,
	                           .body_length = strlen(body)};
	pe_http_response response;
	pe_http *client;

	snprintf(url, sizeof(url), "%s/__control%s", control_origin, path);
	if (pe_http_open(&env, &config, &client, &err) != PE_OK)
		return;
	if (pe_http_perform(client, &request, &response, &err) != PE_OK || response.status != 200)
		OK(false, "control %s: %d %s", path, response.status, err.message);
	pe_http_response_free(&response);
	pe_http_close(client);
}

static pe_status
give_secret(void *ctx, const char *host, char *buffer, size_t size, pe_error *error)
{
	if (strcmp(host, "localhost") != 0)
		return pe_fail(error, PE_CONFIGURATION, "another host");
	snprintf(buffer, size, "%s", (const char *) ctx);
	return PE_OK;
}

static pe_platform_config
session_config(void)
{
	return (pe_platform_config){.org_id = ORG,
	                            .client_id = "profenrich-client",
	                            .platform_url = origin,
	                            .ims_url = origin,
	                            .collection_url = origin,
	                            .ca_file = ca_file,
	                            .allow_private_addresses = true,
	                            .get_secret = give_secret,
	                            .secret_ctx = "profenrich-secret"};
}

static pe_platform *
open_session(pe_platform_config config)
{
	pe_platform *platform = NULL;

	WORKS(pe_platform_open(&env, &config, &platform, &err), "a session opens");
	return platform;
}

static void
test_trust(void)
{
	pe_platform_config config = session_config();
	pe_platform *platform;
	char path[200];

	config.allow_private_addresses = false;
	platform = open_session(config);
	IS_INT(pe_platform_authenticate(platform, &err), PE_UNTRUSTED, "loopback is refused without the setting");
	pe_platform_close(platform);

	config = session_config();
	config.ca_file = NULL;
	platform = open_session(config);
	IS_INT(pe_platform_authenticate(platform, &err), PE_UNTRUSTED,
	       "an authority of its own is not trusted by itself");
	OK(strstr(err.hint, "ca_file") != NULL, "with a hint: %s", err.detail);
	pe_platform_close(platform);

	snprintf(path, sizeof(path), "%s/wrong-ca.pem", directory);
	config.ca_file = path;
	platform = open_session(config);
	IS_INT(pe_platform_authenticate(platform, &err), PE_UNTRUSTED, "another authority");
	pe_platform_close(platform);

	config.ca_file = "/nonexistent.pem";
	platform = open_session(config);
	IS_INT(pe_platform_authenticate(platform, &err), PE_CONFIGURATION,
	       "an authority's file that is not there: %s", err.detail);
	pe_platform_close(platform);

	config = session_config();
	control("/certificate", "{\"kind\":\"wrong_host\"}");
	platform = open_session(config);
	IS_INT(pe_platform_authenticate(platform, &err), PE_UNTRUSTED, "a certificate for another host: %s",
	       err.detail);
	pe_platform_close(platform);
	control("/certificate", "{\"kind\":\"expired\"}");
	platform = open_session(config);
	IS_INT(pe_platform_authenticate(platform, &err), PE_UNTRUSTED, "an expired certificate: %s", err.detail);
	pe_platform_close(platform);
	control("/certificate", "{\"kind\":\"good\"}");

	config.secret_ctx = "wrong-secret";
	platform = open_session(config);
	IS_INT(pe_platform_authenticate(platform, &err), PE_UNAUTHORISED, "a wrong secret: %s", err.detail);
	OK(strstr(err.message, "wrong-secret") == NULL && strstr(err.detail, "wrong-secret") == NULL,
	   "which is not shown");
	pe_platform_close(platform);

	config = session_config();
	config.sandbox = "nowhere";
	platform = open_session(config);
	OK(pe_registry_tenant(platform, path, sizeof(path), &err) != PE_OK, "a sandbox that is not there");
	OK(strstr(err.hint, "sandbox") != NULL, "hint: %s", err.hint);
	pe_platform_close(platform);
}

static const pe_xdm_field reason_members[] = {{.name = "feature", .type = PE_XDM_STRING},
                                              {.name = "value", .type = PE_XDM_STRING},
                                              {.name = "contribution", .type = PE_XDM_NUMBER}};
static const pe_xdm_field reason_item[] = {{.type = PE_XDM_OBJECT, .items = reason_members, .item_count = 3}};
static const pe_xdm_field integer_item[] = {{.type = PE_XDM_INTEGER}};
static const pe_xdm_field string_item[] = {{.type = PE_XDM_STRING}};
static pe_xdm_field members[] = {
    {.name = "crmId", .type = PE_XDM_STRING},
    {.name = "probability", .type = PE_XDM_NUMBER},
    {.name = "score", .type = PE_XDM_INTEGER},
    {.name = "count", .type = PE_XDM_LONG},
    {.name = "active", .type = PE_XDM_BOOLEAN},
    {.name = "day", .type = PE_XDM_DATE},
    {.name = "scoredAt", .type = PE_XDM_DATETIME},
    {.name = "percents", .type = PE_XDM_MAP, .items = integer_item, .item_count = 1},
    {.name = "bands", .type = PE_XDM_MAP, .items = string_item, .item_count = 1},
    {.name = "reasons", .type = PE_XDM_ARRAY, .items = reason_item, .item_count = 1},
    {.name = "tags", .type = PE_XDM_ARRAY, .items = string_item, .item_count = 1},
};

/* What provisioning makes. */
typedef struct provisioned
{
	pe_resource group;
	pe_resource schema;
	char dataset[64];
	pe_inlet inlet;
	char flow[64];
} provisioned;

static void
test_provisioning(pe_platform *platform, provisioned *made)
{
	pe_xdm_field churn[] = {{.name = "churn", .type = PE_XDM_OBJECT, .items = members, .item_count = 9}};
	pe_xdm_field changed[] = {{.name = "churn", .type = PE_XDM_OBJECT, .items = members, .item_count = 11}};
	pe_pool pool;
	pe_xdm_field *fields;
	pe_dataset_list datasets;
	pe_resource again;
	provisioned second;
	char tenant[64];
	bool created;
	int added;
	int count;

	WORKS(pe_registry_tenant(platform, tenant, sizeof(tenant), &err), "tenant");
	IS_STR(tenant, "acme", "its name");
	WORKS(pe_registry_ensure_field_group(platform, tenant, "profenrich churn & more", "scores", churn, 1,
	                                     &made->group, &created, &added, &err),
	      "field group");
	OK(created && added == 0 && made->group.id[0] != '\0' && made->group.alt_id[0] == '_', "created");
	WORKS(pe_registry_ensure_field_group(platform, tenant, "profenrich churn & more", "scores", churn, 1,
	                                     &again, &created, &added, &err),
	      "the same again");
	OK(!created && added == 0, "finds it as it is");
	IS_STR(again.id, made->group.id, "the same one");
	WORKS(pe_registry_ensure_field_group(platform, tenant, "profenrich churn & more", "scores", changed, 1,
	                                     &again, &created, &added, &err),
	      "two attributes more");
	OK(!created && added == 2, "are added");
	WORKS(pe_registry_group_fields(platform, tenant, made->group.alt_id, &pool, &fields, &count, &err),
	      "its fields");
	OK(count == 1 && fields[0].item_count == 11, "are all there");
	for (int i = 0; count == 1 && i < fields[0].item_count; i++)
		for (int j = 0; j < 11; j++)
			if (strcmp(fields[0].items[i].name, members[j].name) == 0)
				IS_INT(fields[0].items[i].type, members[j].type, "type of %s", members[j].name);
	pe_pool_free(&pool);
	members[1].type = PE_XDM_STRING;
	IS_INT(pe_registry_ensure_field_group(platform, tenant, "profenrich churn & more", "scores", changed, 1,
	                                      &again, &created, &added, &err),
	       PE_CONFLICT, "another type for an attribute: %s", err.message);
	members[1].type = PE_XDM_NUMBER;

	WORKS(pe_registry_ensure_schema(platform, "profenrich churn, the \"schema\" ~*", "scores", made->group.id,
	                                &made->schema, &created, &err),
	      "schema");
	OK(created && made->schema.found && !made->schema.profile_enabled, "created");
	WORKS(pe_registry_ensure_schema(platform, "profenrich churn, the \"schema\" ~*", "scores", made->group.id,
	                                &again, &created, &err),
	      "the same again");
	OK(!created && strcmp(again.id, made->schema.id) == 0, "finds it");
	IS_INT(pe_registry_ensure_schema(platform, "profenrich churn & more", "scores", made->group.id, &again,
	                                 &created, &err),
	       PE_CONFLICT, "a title that a field group has: %s", err.detail);

	WORKS(
	    pe_registry_ensure_identity(platform, made->schema.id, "/_acme/churn/crmId", "CRMID", &created, &err),
	    "identity descriptor");
	OK(created, "created");
	WORKS(
	    pe_registry_ensure_identity(platform, made->schema.id, "/_acme/churn/crmId", "CRMID", &created, &err),
	    "again");
	OK(!created, "found");
	IS_INT(
	    pe_registry_ensure_identity(platform, made->schema.id, "/_acme/churn/tags", "CRMID", &created, &err),
	    PE_CONFLICT, "another primary identity: %s", err.message);
	WORKS(pe_registry_enable_profile(platform, &made->schema, &created, &err), "enabling for Profile");
	OK(created && made->schema.profile_enabled && made->schema.has_primary_identity, "changes it");
	WORKS(pe_registry_enable_profile(platform, &made->schema, &created, &err), "again");
	OK(!created, "changes nothing");

	WORKS(pe_catalog_find_dataset(platform, "profenrich churn, 100%", &datasets, &err),
	      "look for a data set");
	IS_INT(datasets.count, 0, "there is none");
	pe_dataset_list_free(&datasets);
	WORKS(pe_catalog_create_dataset(platform, "profenrich churn, 100%", "scores", made->schema.id,
	                                made->dataset, sizeof(made->dataset), &err),
	      "data set");
	IS_INT(strlen(made->dataset), 24, "has an id");
	WORKS(pe_catalog_find_dataset(platform, "profenrich churn, 100%", &datasets, &err), "look again");
	IS_INT(datasets.count, 1, "a name with a comma is found");
	pe_dataset_list_free(&datasets);
	WORKS(pe_catalog_get_dataset(platform, made->dataset, &datasets, &err), "read it");
	OK(datasets.count == 1 && datasets.items[0].profile_enabled && datasets.items[0].identity_enabled,
	   "it is enabled");
	IS_STR(datasets.items[0].schema_id, made->schema.id, "its schema");
	pe_dataset_list_free(&datasets);
	WORKS(pe_catalog_enable_profile(platform, made->dataset, &created, &err), "enable it");
	OK(!created, "changes nothing");
	IS_INT(pe_catalog_get_dataset(platform, "000000000000000000000000", &datasets, &err), PE_NOT_FOUND,
	       "one that is not there");
	IS_INT(pe_catalog_get_dataset(platform, "../x", &datasets, &err), PE_NOT_FOUND, "an id that is none");

	WORKS(pe_flow_ensure_inlet(platform, "profenrich, churn!", &made->inlet, &created, &err), "inlet");
	OK(created && strstr(made->inlet.inlet_url, origin) == made->inlet.inlet_url, "created: %s",
	   made->inlet.inlet_url);
	WORKS(pe_flow_ensure_inlet(platform, "profenrich, churn!", &second.inlet, &created, &err), "again");
	OK(!created && strcmp(second.inlet.inlet_url, made->inlet.inlet_url) == 0, "found");
	WORKS(pe_flow_ensure_flow(platform, "profenrich, churn!", &made->inlet, made->schema.id, made->dataset,
	                          made->flow, sizeof(made->flow), &created, &err),
	      "flow");
	OK(created && made->flow[0] != '\0', "created");
	WORKS(pe_flow_ensure_flow(platform, "profenrich, churn!", &made->inlet, made->schema.id, made->dataset,
	                          second.flow, sizeof(second.flow), &created, &err),
	      "again");
	OK(!created && strcmp(second.flow, made->flow) == 0, "found");
}

static void
test_identity(pe_platform *platform)
{
	pe_namespace_list list;
	const pe_namespace *found;
	bool created;

	WORKS(pe_identity_ensure(platform, "UNITTEST", "Unit test", &created, &err), "namespace");
	OK(created, "created");
	WORKS(pe_identity_ensure(platform, "unittest", "Unit test", &created, &err), "again, in another case");
	OK(!created, "found");
	WORKS(pe_identity_list(platform, &list, &err), "list of namespaces");
	found = pe_namespace_find(&list, "unitTest");
	OK(found != NULL && found->custom && strcmp(found->code, "UNITTEST") == 0, "ours is in it");
	if (found != NULL)
		IS_STR(found->id_type, "CROSS_DEVICE", "of its type");
	OK(pe_namespace_find(&list, "ECID") != NULL && pe_namespace_find(&list, "none") == NULL,
	   "others are, or not");
	pe_namespace_list_free(&list);
}

/* One record through the inlet, as the worker sends it, and read back. */
static void
test_record(pe_platform *platform, const provisioned *made)
{
	pe_header_set set;
	char *body = malloc(8000);
	pe_http_request request = {.method = "POST", .url = made->inlet.inlet_url, .body = body};
	pe_http_response response;
	pe_ingest_reply reply;
	pe_pool pool;
	char *json;
	static const char reference[] =
	    "{\"id\":\"%s\",\"contentType\":\"application/vnd.adobe.xed-full+json;version=1\"}";
	char schema[400];

	snprintf(schema, sizeof(schema), reference, made->schema.id);
	snprintf(
	    body, 8000,
	    "{\"header\":{\"schemaRef\":%s,\"imsOrgId\":\"" ORG "\",\"datasetId\":\"%s\",\"flowId\":\"%s\","
	    "\"source\":{\"name\":\"profenrich\"}},\"body\":{\"xdmMeta\":{\"schemaRef\":%s},\"xdmEntity\":{\"_"
	    "id\":\"C-1\","
	    "\"_acme\":{\"churn\":{\"crmId\":\"C-1\",\"probability\":0.25,\"score\":25,\"percents\":{\"a\":3}}},"
	    "\"identityMap\":{\"CRMID\":[{\"id\":\"C-1\",\"primary\":true}]}}}}",
	    schema, made->dataset, made->flow, schema);
	request.body_length = strlen(body);
	WORKS(pe_platform_authenticate(platform, &err), "authenticate");
	pe_platform_headers(platform, "application/json", &set);
	request.headers = set.headers;
	request.header_count = set.count;
	WORKS(pe_http_perform(pe_platform_http(platform), &request, &response, &err), "send a record");
	IS_INT(response.status, 200, "received: %s", response.status == 200 ? "" : response.body);
	WORKS(pe_ingest_reply_single(&env, response.body, response.body_length, &reply, &err), "its reply");
	pe_ingest_reply_free(&reply);
	pe_http_response_free(&response);
	free(body);

	WORKS(pe_profile_entity(platform, "CRMID", "C-1", NULL, NULL, (pe_pool_init(&pool, &env), &pool), &json,
	                        &err),
	      "read the profile");
	OK(json != NULL && strstr(json, "\"probability\":0.25") != NULL, "%s", json != NULL ? json : "none");
	WORKS(pe_profile_entity(platform, "CRMID", "C-1", "_acme.churn.score", NULL, &pool, &json, &err),
	      "one field of it");
	OK(json != NULL && strstr(json, "\"score\":25") != NULL && strstr(json, "probability") == NULL, "%s",
	   json != NULL ? json : "none");
	IS_INT(pe_profile_entity(platform, "CRMID", "nobody & co", NULL, NULL, &pool, &json, &err), PE_NOT_FOUND,
	       "one that is not there");
	OK(strstr(err.message, "nobody") == NULL, "whose identity stays out of the error");
	pe_pool_free(&pool);
}

/* Sends a request of batch ingestion or of the catalog; its reply is freed with the next one. */
static pe_status
ask(pe_platform *platform, pe_status made, const pe_call *call, pe_http_response *reply)
{
	static pe_http_response last;

	pe_http_response_free(&last);
	memset(&last, 0, sizeof(last));
	if (made == PE_OK)
		made = pe_platform_call(platform, call, &last, &err);
	*reply = last;
	return made;
}
#define ASK(request, ...)                                                                                    \
	do                                                                                                       \
	{                                                                                                        \
		pe_status ask_made = (request);                                                                      \
		WORKS(ask(platform, ask_made, &call, &reply), __VA_ARGS__);                                          \
	} while (0)

typedef struct refused
{
	int count;
	char key[20];
	char reason[200];
} refused;

static void
note_refused(void *ctx, const pe_failed_record *record)
{
	refused *seen = ctx;

	seen->count++;
	snprintf(seen->key, sizeof(seen->key), "%s", record->key != NULL ? record->key : "nobody");
	snprintf(seen->reason, sizeof(seen->reason), "%s", record->reason);
}

/* Whose the refused records of a batch are, by the files in one of the two places. */
static void
test_refused(pe_platform *platform, pe_pool *pool, const char *id, pe_failed_area area)
{
	refused seen = {0};
	pe_failed_reader reader = {.env = &env,
	                           .namespace = "crmid",
	                           .tenant = "acme",
	                           .enrichment = "churn",
	                           .take = note_refused,
	                           .ctx = &seen};
	pe_failed_list list;
	pe_call call;
	pe_http_response reply;
	bool end = false;

	ASK(pe_failed_list_request(pool, id, area, NULL, &call, &err), "list of refused records");
	WORKS(pe_failed_list_read(platform, id, area, reply.body, reply.body_length, &list, &err), "is read");
	IS_INT(list.count, 1, "one file");
	ASK(pe_failed_range_request(pool, &list.items[0], 0, &call, &err), "%s", list.items[0].path);
	WORKS(pe_failed_range_end(&list.items[0], 0, &reply, &end, &err), "its range");
	OK(end, "is all of it");
	WORKS(pe_failed_feed(&reader, reply.body, reply.body_length, &err), "its lines");
	WORKS(pe_failed_end(&reader, &err), "to the end");
	IS_INT(seen.count, 1, "one record");
	IS_STR(seen.key, "C-3", "whose it is");
	OK(strstr(seen.reason, "DCVS-") != NULL, "why: %s", seen.reason);
	pe_failed_reader_free(&reader);
	pe_failed_list_free(&list);
}

static void
test_batch(pe_platform *platform, const provisioned *made)
{
	static const char lines[] =
	    "{\"_id\":\"C-2\",\"_acme\":{\"churn\":{\"crmId\":\"C-2\",\"score\":7}},"
	    "\"identityMap\":{\"CRMID\":[{\"id\":\"C-2\",\"primary\":true}]}}\n"
	    "{\"_id\":\"C-3\",\"_acme\":{\"churn\":{\"crmId\":\"C-3\",\"score\":\"high\"}},"
	    "\"identityMap\":{\"CRMID\":[{\"id\":\"C-3\",\"primary\":true}]}}\n";
	pe_batch_query query = {.dataset_id = made->dataset, .created_after_ms = 1};
	char id[64];
	pe_batch_list list;
	pe_batch_state state = PE_BATCH_PENDING;
	pe_pool pool;
	pe_call call;
	pe_http_response reply;

	pe_pool_init(&pool, &env);
	control("/settings", "{\"batch_ms\":200}");
	ASK(pe_batch_find_request(&pool, "run-1", &call, &err), "look for a batch");
	WORKS(pe_batch_read_list(&env, reply.body, reply.body_length, &list, &err), "read");
	IS_INT(list.count, 0, "there is none");
	pe_batch_list_free(&list);
	ASK(pe_batch_create_request(&pool, made->dataset, "run-1", 60, &call, &err), "create it");
	WORKS(pe_batch_created(&env, reply.body, reply.body_length, id, sizeof(id), &err), "its id");
	for (int i = 0; i < 2; i++)
		ASK(pe_batch_put_request(&pool, id, made->dataset, "part-1.json", lines, strlen(lines), &call, &err),
		    "upload, time %d", i);
	for (int i = 0; i < 2; i++)
		ASK(pe_batch_complete_request(&pool, id, &call, &err), "complete, time %d", i);
	ASK(pe_batch_find_request(&pool, "run-1", &call, &err), "look for it again");
	WORKS(pe_batch_read_list(&env, reply.body, reply.body_length, &list, &err), "read");
	OK(list.count == 1 && strcmp(list.items[0].id, id) == 0, "it is found");
	pe_batch_list_free(&list);
	for (int i = 0; i < 100 && state == PE_BATCH_PENDING; i++)
	{
		if (ask(platform, pe_batch_get_request(&pool, id, &call, &err), &call, &reply) != PE_OK ||
		    pe_batch_read_list(&env, reply.body, reply.body_length, &list, &err) != PE_OK)
			break;
		state = list.items[0].state;
		if (state != PE_BATCH_PENDING)
		{
			IS_STR(list.items[0].dataset_id, made->dataset, "its data set");
			IS_INT(list.items[0].failed_records, 1, "one record failed");
			OK(list.items[0].error_code[0] != '\0', "with a code: %s %s", list.items[0].error_code,
			   list.items[0].error_text);
		}
		pe_batch_list_free(&list);
		pause_ms(50);
	}
	IS_INT(state, PE_BATCH_GOOD, "the batch lands");
	ASK(pe_batch_list_request(&pool, &query, &call, &err), "list of batches");
	WORKS(pe_batch_read_list(&env, reply.body, reply.body_length, &list, &err), "read");
	IS_INT(list.count, 1, "has one");
	pe_batch_list_free(&list);
	test_refused(platform, &pool, id, PE_FAILED_ROW_ERRORS);
	test_refused(platform, &pool, id, PE_FAILED_BATCH);
	IS_INT(
	    ask(platform, pe_batch_get_request(&pool, "01GW3JKCNFMB1TSMY21VGPV98K", &call, &err), &call, &reply),
	    PE_NOT_FOUND, "a batch that is not there");
	IS_INT(pe_batch_get_request(&pool, "../batches", &call, &err), PE_INVALID_OPTION,
	       "an id that would change a path");
	(void) ask(platform, PE_NOT_FOUND, &call, &reply);
	pe_pool_free(&pool);
}

static bool
check_bytes(void *ctx, const void *data, size_t length)
{
	long *at = ctx;
	const unsigned char *bytes = data;

	for (size_t i = 0; i < length; i++, (*at)++)
		if (bytes[i] != *at % 251)
			return false;
	return true;
}

static void
test_snapshot(pe_platform *platform)
{
	pe_dataset_list datasets;
	pe_batch_list batches;
	pe_part_list parts;
	pe_merge_policy_list policies;
	const pe_dataset *chosen = NULL;

	WORKS(pe_catalog_snapshots(platform, &datasets, &err), "snapshot data sets");
	IS_INT(datasets.count, 2, "one for each merge policy");
	for (int i = 0; i < datasets.count; i++)
		if (strcmp(datasets.items[i].merge_policy_id, "default") == 0)
			chosen = &datasets.items[i];
	OK(chosen != NULL && chosen->is_snapshot && chosen->table_name[0] != '\0', "with policy and table");
	if (chosen == NULL)
		return;
	WORKS(pe_profile_merge_policies(platform, &policies, &err), "merge policies");
	OK(policies.count == 2 && policies.items[0].is_default && !policies.items[1].is_default,
	   "two, one the default");
	pe_merge_policy_list_free(&policies);
	WORKS(pe_catalog_batches(platform, chosen->id, "success", 0, 1, &batches, &err), "newest batch");
	OK(batches.count == 1 && batches.items[0].created_ms == INT64_C(1795402800000), "of the newest day");
	control("/settings", "{\"max_range_bytes\":100000,\"parts_per_file\":1}");
	WORKS(pe_export_parts(platform, batches.items[0].id, &parts, &err), "its parts");
	IS_INT(parts.count, 3, "without hidden and empty ones");
	IS_INT(parts.bytes, 370005, "their bytes");
	for (int i = 0; i < parts.count; i++)
	{
		long at = 0;
		int64_t bytes;

		WORKS(download_part(platform, &parts.items[i], check_bytes, &at, &bytes, &err), "download %s",
		      parts.items[i].name);
		IS_INT(bytes, parts.items[i].length, "all of it");
	}
	control("/faults", "{\"path\":\"/files/.*path=\",\"count\":2,\"action\":{\"cut\":\"mid_reply\"}}");
	if (parts.count > 0)
	{
		long at = 0;
		int64_t bytes;

		WORKS(download_part(platform, &parts.items[0], check_bytes, &at, &bytes, &err),
		      "a download that breaks twice");
	}
	pe_part_list_free(&parts);
	pe_batch_list_free(&batches);
	IS_INT(pe_export_parts(platform, "01GW3JKCNFMB1TSMY21VGPV98K", &parts, &err), PE_NOT_FOUND,
	       "an expired batch: %s", err.message);
	pe_dataset_list_free(&datasets);

	WORKS(pe_catalog_datasets(platform, 0, &datasets, &err), "all data sets");
	IS_INT(datasets.count, 3, "are three");
	pe_dataset_list_free(&datasets);
	WORKS(pe_catalog_datasets(platform, 2, &datasets, &err), "two data sets");
	IS_INT(datasets.count, 2, "are two");
	pe_dataset_list_free(&datasets);
}

static void
test_faults(pe_platform *platform)
{
	char tenant[64];

	control("/expire-tokens", "{}");
	WORKS(pe_registry_tenant(platform, tenant, sizeof(tenant), &err), "expired tokens are replaced");
	control("/faults", "{\"path\":\"/stats\",\"count\":1,\"action\":{\"status\":503,\"retry_after\":3}}");
	IS_INT(pe_registry_tenant(platform, tenant, sizeof(tenant), &err), PE_UNREACHABLE, "503: %s",
	       err.message);
	control("/faults",
	        "{\"path\":\"/stats\",\"count\":1,\"action\":{\"redirect\":\"https://localhost:1/x\"}}");
	IS_INT(pe_registry_tenant(platform, tenant, sizeof(tenant), &err), PE_CONFIGURATION, "a redirect: %s",
	       err.message);
	control("/faults", "{\"path\":\"/stats\",\"count\":1,\"action\":{\"garbage\":true}}");
	IS_INT(pe_registry_tenant(platform, tenant, sizeof(tenant), &err), PE_BAD_REPLY, "garbage: %s",
	       err.message);
	control("/faults", "{\"path\":\"/stats\",\"count\":1,\"action\":{\"body_bytes\":20000000}}");
	IS_INT(pe_registry_tenant(platform, tenant, sizeof(tenant), &err), PE_LIMIT, "20 MB: %s", err.message);
	control("/faults", "{\"path\":\"/stats\",\"count\":1,\"action\":{\"header_bytes\":100000}}");
	IS_INT(pe_registry_tenant(platform, tenant, sizeof(tenant), &err), PE_LIMIT, "100 KB of headers: %s",
	       err.message);
	control("/faults", "{\"path\":\"/stats\",\"count\":1,\"action\":{\"cut\":\"mid_reply\"}}");
	OK(pe_registry_tenant(platform, tenant, sizeof(tenant), &err) != PE_OK, "half an answer: %s",
	   err.message);
	WORKS(pe_registry_tenant(platform, tenant, sizeof(tenant), &err), "and then all is well");
}

/* Forty data sets: more than one page of the smallest kind, and connections of one name. */
static void
test_many(pe_platform *platform, const provisioned *made)
{
	pe_dataset_list datasets;
	char id[64];
	bool all = true;

	for (int i = 0; i < 105; i++)
		all = all && pe_catalog_create_dataset(platform, "many", "x", made->schema.id, id, sizeof(id),
		                                       &err) == PE_OK;
	OK(all, "105 data sets of one name");
	WORKS(pe_catalog_find_dataset(platform, "many", &datasets, &err), "are found");
	IS_INT(datasets.count, 105, "over two pages");
	pe_dataset_list_free(&datasets);
}

int
main(void)
{
	pe_platform *platform;
	provisioned made = {0};
	bool existed;

	env = tap_env(&memory);
	OK(start_server(), "the stand-in platform starts");
	platform = open_session(session_config());
	test_trust();
	test_identity(platform);
	WORKS(pe_identity_ensure(platform, "CRMID", "CRM id", &existed, &err), "the namespace of the records");
	test_provisioning(platform, &made);
	control("/settings", "{\"flow_ready_ms\":0}");
	test_record(platform, &made);
	test_batch(platform, &made);
	test_snapshot(platform);
	test_faults(platform);
	test_many(platform, &made);
	pe_platform_close(platform);
	IS_INT(memory.live, 0, "nothing leaked");
	stop_server();
	return tap_done();
}
