/*
 * batch.c
 *		Batch ingestion. Every step may be repeated: a batch is looked up by its external
 *		id before it is created again, files overwrite, completing twice is one.
 */
#include "platform/batch.h"
#include "platform/call.h"

#define MAX_FILE ((size_t) 256 * 1024 * 1024)

/* Uploads are bounded by their progress, not by a total. */
#define UPLOAD_TIMEOUT_MS (-1)

pe_status
pe_batch_create(pe_platform *platform, const char *dataset_id, const char *external_id, int error_percent,
                char *id, size_t size, pe_error *err)
{
	pe_call call = {.method = "POST", .what = "new batch"};
	pe_text path;
	pe_text body;
	pe_json *json;
	pe_status status;

	pe_text_init(&path, pe_platform_env(platform));
	pe_text_init(&body, pe_platform_env(platform));
	pe_text_puts(&path, PE_IMPORT "/batches");
	pe_text_puts(&body, "{");
	pe_text_member(&body, "datasetId", dataset_id);
	pe_text_puts(&body, ",\"inputFormat\":{\"format\":\"json\",\"isMultiLineJson\":false}");
	if (external_id != NULL && external_id[0] != '\0')
		pe_text_member(&body, "externalId", external_id);
	pe_text_printf(&body, ",\"enableErrorDiagnostics\":true,\"partialIngestionPercentage\":%d}",
	               error_percent);
	status = pe_call_text(platform, &call, &path, &body, &json, err);
	if (status == PE_OK && (!pe_json_copy(json, "id", id, size) || !pe_plain_id(id)))
		status = pe_fail(err, PE_BAD_REPLY, "the answer to the new batch holds no id");
	pe_json_free(json);
	return status;
}

/* A call whose answer's body says nothing. */
static pe_status
call_only(pe_platform *platform, pe_call *call, pe_text *path, pe_error *err)
{
	pe_http_response response;
	pe_status status;

	if (path->failed)
		status = pe_fail_memory(err);
	else
	{
		call->path = path->data;
		status = pe_platform_call(platform, call, &response, err);
		pe_http_response_free(&response);
	}
	pe_text_free(path);
	return status;
}

pe_status
pe_batch_put(pe_platform *platform, const char *batch_id, const char *dataset_id, const char *name,
             const void *data, size_t length, pe_error *err)
{
	pe_call call = {.method = "PUT",
	                .content_type = "application/octet-stream",
	                .body = data,
	                .body_length = length,
	                .total_timeout_ms = UPLOAD_TIMEOUT_MS,
	                .what = "file of a batch"};
	pe_text path;

	if (!pe_plain_id(batch_id) || !pe_plain_id(dataset_id) || !pe_plain_id(name) || strchr(name, ':') != NULL)
		return pe_fail(err, PE_INVALID_OPTION, "the name of a batch's file is not possible");
	if (length > MAX_FILE)
		return pe_fail(err, PE_LIMIT, "a batch's file is larger than 256 MB");
	pe_text_init(&path, pe_platform_env(platform));
	pe_text_printf(&path, PE_IMPORT "/batches/%s/datasets/%s/files/%s", batch_id, dataset_id, name);
	return call_only(platform, &call, &path, err);
}

static pe_status
act(pe_platform *platform, const char *batch_id, const char *action, const char *what, pe_error *err)
{
	pe_call call = {.method = "POST", .what = what};
	pe_text path;

	if (!pe_plain_id(batch_id))
		return pe_fail(err, PE_NOT_FOUND, "\"%.60s\" is not the id of a batch", batch_id);
	pe_text_init(&path, pe_platform_env(platform));
	pe_text_printf(&path, PE_IMPORT "/batches/%s?action=%s", batch_id, action);
	return call_only(platform, &call, &path, err);
}

pe_status
pe_batch_complete(pe_platform *platform, const char *batch_id, pe_error *err)
{
	return act(platform, batch_id, "COMPLETE", "completion of a batch", err);
}

pe_status
pe_batch_abort(pe_platform *platform, const char *batch_id, pe_error *err)
{
	return act(platform, batch_id, "ABORT", "abort of a batch", err);
}

static pe_status
take_failed(pe_failed_list *list, int *capacity, const char *batch_id, pe_json *row, pe_error *err)
{
	const char *name = pe_json_string(row, "name");
	pe_failed_file *file;
	pe_text path;

	if (name == NULL || name[0] == '\0' || name[0] == '_' || name[0] == '.')
		return PE_OK;
	if (list->count == *capacity)
	{
		int wanted = *capacity == 0 ? 16 : *capacity * 2;
		pe_failed_file *items = pe_pool_grow(&list->pool, list->items, (size_t) list->count * sizeof(*items),
		                                     (size_t) wanted * sizeof(*items));

		if (items == NULL)
			return pe_fail_memory(err);
		list->items = items;
		*capacity = wanted;
	}
	file = &list->items[list->count];
	memset(&path, 0, sizeof(path));
	path.allocator = list->pool.allocator;
	pe_text_printf(&path, PE_EXPORT "/batches/%s/failed?path=", batch_id);
	pe_text_percent(&path, name);
	file->name = pe_pool_strdup(&list->pool, name);
	file->path = path.failed ? NULL : pe_pool_strdup(&list->pool, path.data);
	file->length = pe_json_int64_or(row, "length", -1);
	pe_text_free(&path);
	if (file->name == NULL || file->path == NULL)
		return pe_fail_memory(err);
	list->count++;
	return PE_OK;
}

pe_status
pe_batch_failed_files(pe_platform *platform, const char *batch_id, pe_failed_list *list, pe_error *err)
{
	pe_status status = PE_OK;
	int capacity = 0;
	pe_text path;

	memset(list, 0, sizeof(*list));
	pe_pool_init(&list->pool, pe_platform_env(platform));
	if (!pe_plain_id(batch_id))
		return pe_fail(err, PE_NOT_FOUND, "\"%.60s\" is not the id of a batch", batch_id);
	pe_text_init(&path, pe_platform_env(platform));
	pe_text_printf(&path, PE_EXPORT "/batches/%s/failed", batch_id);
	if (path.failed)
		status = pe_fail_memory(err);
	for (int page = 0; status == PE_OK && page < PE_MAX_PAGES && path.length > 0; page++)
	{
		pe_call call = {.method = "GET", .path = path.data, .what = "list of failed records"};
		pe_json *json;
		const char *href;
		const char *local;

		status = pe_call_json(platform, &call, &json, err);
		path.length = 0;
		for (int i = 0; status == PE_OK && i < pe_json_length(pe_json_member(json, "data")); i++)
			status =
			    take_failed(list, &capacity, batch_id, pe_json_item(pe_json_member(json, "data"), i), err);
		href = pe_json_text(pe_json_path(json, "_links", "next", "href", NULL));
		if (status == PE_OK && href != NULL &&
		    (status = pe_platform_href(platform, href, &local, err)) == PE_OK)
			pe_text_puts(&path, local);
		if (path.failed)
			status = pe_fail_memory(err);
		pe_json_free(json);
	}
	pe_text_free(&path);
	if (status == PE_NOT_FOUND)
		status = PE_OK; /* kept for 30 days only: none (any more) */
	if (status != PE_OK)
		pe_failed_list_free(list);
	return status;
}

void
pe_failed_list_free(pe_failed_list *list)
{
	pe_pool_free(&list->pool);
	list->items = NULL;
	list->count = 0;
}
