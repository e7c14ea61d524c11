/*
 * scripted_calls.h
 *		Every typed call and every reader of a reply, chosen by one letter, over
 *		scripted answers: what fuzz_http_reply and test_platform_replies run.
 */
#ifndef SCRIPTED_CALLS_H
#define SCRIPTED_CALLS_H

#include "reply_ways.h"
#include "scripted.h"
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

static bool
swallow(void *ctx, const void *data, size_t length)
{
	volatile char last = length > 0 ? ((const char *) data)[length - 1] : 0;

	(void) ctx;
	(void) last;
	return true;
}

static const pe_xdm_field reason_members[] = {{.name = "feature", .type = PE_XDM_STRING},
                                              {.name = "contribution", .type = PE_XDM_NUMBER}};
static const pe_xdm_field reason_item[] = {{.type = PE_XDM_OBJECT, .items = reason_members, .item_count = 2}};
static const pe_xdm_field churn_members[] = {
    {.name = "score", .type = PE_XDM_INTEGER},
    {.name = "reasons", .type = PE_XDM_ARRAY, .items = reason_item, .item_count = 1}};
static const pe_xdm_field churn[] = {
    {.name = "churn", .type = PE_XDM_OBJECT, .items = churn_members, .item_count = 2}};

static pe_status
try_bodies(pe_platform *platform, char choice, const char *body, size_t length, pe_error *err)
{
	pe_status status = PE_OK;
	const pe_env *env = pe_platform_env(platform);
	char *exact = malloc(length + 1);
	pe_http_response response = {.status = 200, .body = exact, .body_length = length};
	pe_ingest_reply reply;
	char text[100];

	memcpy(exact, body, length);
	exact[length] = '\0';
	switch (choice)
	{
		case 'a':
			if ((status = pe_ingest_reply_batch(env, exact, length, 500, &reply, err)) == PE_OK)
			{
				for (int i = 0; i < reply.count; i++)
					if (reply.entries[i].status < 100 || reply.entries[i].message == NULL ||
					    reply.entries[i].xaction_id == NULL)
						abort();
				compare_ways(exact, length, &reply);
			}
			pe_ingest_reply_free(&reply);
			break;
		case 'b':
			status = pe_ingest_reply_single(env, exact, length, &reply, err);
			pe_ingest_reply_free(&reply);
			break;
		case 'c':
			status = pe_token_accept(platform, &response, err);
			if (pe_token_valid(platform) && strpbrk(platform->authorization, "\r\n") != NULL)
				abort();
			pe_token_forget(platform);
			break;
		default:
			response.status = length > 0 ? 300 + (unsigned char) exact[0] : 500;
			(void) pe_platform_error(&response, "thing", err);
			pe_platform_error_code(exact, length, text, sizeof(text));
			response.status = 401;
			status = pe_token_accept(platform, &response, err);
			(void) pe_http_retry_after(&response, 0);
			(void) pe_platform_href(platform, exact, &(const char *){NULL}, err);
			break;
	}
	free(exact);
	return status;
}

static void
ignore_record(void *ctx, const pe_failed_record *record)
{
	if (record->reason == NULL || record->scored_at == NULL || (record->key != NULL && record->key[0] == 1))
		(*(int *) ctx)++;
}

/* The first answer is a list of files of refused records, the second some of their lines. */
static pe_status
try_refused(pe_platform *platform, pe_error *err)
{
	int odd = 0;
	pe_failed_reader reader = {.env = pe_platform_env(platform),
	                           .namespace = "CRMID",
	                           .tenant = "acme",
	                           .enrichment = "churn",
	                           .take = ignore_record,
	                           .ctx = &odd};
	pe_failed_list list = {0};
	pe_batch_list batches;
	pe_call call = {.method = "GET", .path = "/data/x"};
	pe_http_response response;
	char id[64];
	pe_status status = pe_platform_call(platform, &call, &response, err);

	if (status == PE_OK)
	{
		status = pe_failed_list_read(platform, "b", PE_FAILED_ROW_ERRORS, response.body, response.body_length,
		                             &list, err);
		pe_failed_list_free(&list);
		if (pe_batch_read_list(pe_platform_env(platform), response.body, response.body_length, &batches,
		                       err) == PE_OK)
			pe_batch_list_free(&batches);
		(void) pe_batch_created(pe_platform_env(platform), response.body, response.body_length, id,
		                        sizeof(id), err);
	}
	pe_http_response_free(&response);
	if (status == PE_OK)
		status = pe_platform_call(platform, &call, &response, err);
	else
		return status;
	if (status == PE_OK)
		status = pe_failed_feed(&reader, response.body, response.body_length, err);
	if (status == PE_OK)
		status = pe_failed_end(&reader, err);
	pe_http_response_free(&response);
	pe_failed_reader_free(&reader);
	return status;
}

static pe_status
try_lists(pe_platform *platform, char choice, pe_error *err)
{
	pe_status status = PE_OK;
	pe_dataset_list datasets;
	pe_batch_list batches;
	pe_part_list parts;
	pe_namespace_list namespaces;
	pe_merge_policy_list policies;

	switch (choice)
	{
		case 'e':
			status = pe_catalog_datasets(platform, 150, &datasets, err);
			pe_dataset_list_free(&datasets);
			break;
		case 'f':
			status = pe_catalog_snapshots(platform, &datasets, err);
			pe_dataset_list_free(&datasets);
			break;
		case 'g':
			status = pe_catalog_batches(platform, "d", "success", 0, 5, &batches, err);
			pe_batch_list_free(&batches);
			break;
		case 'h':
			status = pe_export_parts(platform, "b", &parts, err);
			pe_part_list_free(&parts);
			break;
		case 'i':
			status = try_refused(platform, err);
			break;
		case 'j':
			status = pe_identity_list(platform, &namespaces, err);
			pe_namespace_list_free(&namespaces);
			break;
		default:
			status = pe_profile_merge_policies(platform, &policies, err);
			pe_merge_policy_list_free(&policies);
			break;
	}
	return status;
}

static pe_status
try_steps(pe_platform *platform, char choice, pe_error *err)
{
	pe_status status = PE_OK;
	pe_resource resource = {.id = "https://ns.adobe.com/acme/schemas/1", .found = true};
	pe_inlet inlet = {.connection_id = "c"};
	pe_part part = {.file_id = "f", .name = "p", .path = "/data/p", .length = 100};
	pe_pool pool = {0};
	char id[64];
	char *json;
	int64_t bytes;
	bool created;
	int added;

	switch (choice)
	{
		case 'l':
			status = pe_registry_ensure_field_group(platform, "acme", "churn", "d", churn, 1, &resource,
			                                        &created, &added, err);
			break;
		case 'm':
			status = pe_registry_ensure_schema(platform, "churn", "d", "https://ns.adobe.com/acme/mixins/1",
			                                   &resource, &created, err);
			break;
		case 'n':
			status = pe_registry_ensure_identity(platform, resource.id, "/_acme/churn/crmId", "CRMID",
			                                     &created, err);
			break;
		case 'o':
			status = pe_registry_enable_profile(platform, &resource, &created, err);
			break;
		case 'p':
			status = pe_flow_ensure_inlet(platform, "churn", &inlet, &created, err);
			break;
		case 'q':
			status = pe_flow_ensure_flow(platform, "churn", &inlet, "s", "d", id, sizeof(id), &created, err);
			break;
		case 'r':
			status = pe_catalog_create_dataset(platform, "churn", "d", "s", id, sizeof(id), err);
			break;
		case 's':
			status = download_part(platform, &part, swallow, NULL, &bytes, err);
			break;
		case 't':
			pe_pool_init(&pool, pe_platform_env(platform));
			status = pe_profile_entity(platform, "CRMID", "C-1", NULL, NULL, &pool, &json, err);
			pe_pool_free(&pool);
			break;
		default:
			status = pe_registry_tenant(platform, id, sizeof(id), err);
			break;
	}
	return status;
}

/* data: the letter, then the script. */
static pe_status
scripted_try(pe_platform *platform, const char *data, size_t size)
{
	pe_error err = {0};
	char choice = data[0];

	scripted_begin(data + 1, size - 1);
	if (choice <= 'd')
		return try_bodies(platform, choice, data + 1, size - 1, &err);
	if (choice <= 'k')
		return try_lists(platform, choice, &err);
	return try_steps(platform, choice, &err);
}

#endif /* SCRIPTED_CALLS_H */
