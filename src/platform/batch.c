/*
 * batch.c
 *		The requests of batch ingestion. What became of a batch is Catalog's to tell.
 */
#include "platform/batch.h"
#include "platform/call.h"

/* Uploads are bounded by their progress, not by a total. */
#define UPLOAD_TIMEOUT_MS (-1)

static pe_status
refuse_name(pe_error *err, const char *what)
{
	return pe_fail(err, PE_INVALID_OPTION, "%s is not possible", what);
}

/* The path is in the pool, or there was no memory for it. */
static pe_status
with_path(pe_call *call, pe_error *err)
{
	return call->path != NULL ? PE_OK : pe_fail_memory(err);
}

pe_status
pe_batch_create_request(pe_pool *pool, const char *dataset_id, const char *external_id, int error_percent,
                        pe_call *call, pe_error *err)
{
	char *body;

	if (!pe_plain_id(dataset_id) || !pe_plain_id(external_id))
		return refuse_name(err, "the id of a batch's data set");
	body = pe_pool_printf(pool,
	                      "{\"datasetId\":\"%s\",\"inputFormat\":{\"format\":\"json\",\"isMultiLineJson\":"
	                      "false},\"externalId\":\"%s\",\"enableErrorDiagnostics\":true,"
	                      "\"partialIngestionPercentage\":%d}",
	                      dataset_id, external_id, error_percent);
	if (body == NULL)
		return pe_fail_memory(err);
	*call = (pe_call){.method = "POST",
	                  .path = PE_IMPORT "/batches",
	                  .body = body,
	                  .body_length = strlen(body),
	                  .max_body = PE_BATCH_MAX_REPLY,
	                  .what = "new batch"};
	return PE_OK;
}

pe_status
pe_batch_put_request(pe_pool *pool, const char *batch_id, const char *dataset_id, const char *name,
                     const void *data, size_t length, pe_call *call, pe_error *err)
{
	if (!pe_plain_id(batch_id) || !pe_plain_id(dataset_id) || !pe_plain_id(name) || strchr(name, ':') != NULL)
		return refuse_name(err, "the name of a batch's file");
	if (length > PE_BATCH_MAX_FILE)
		return pe_fail(err, PE_LIMIT, "a batch's file is larger than 256 MB");
	*call = (pe_call){.method = "PUT",
	                  .path = pe_pool_printf(pool, PE_IMPORT "/batches/%s/datasets/%s/files/%s", batch_id,
	                                         dataset_id, name),
	                  .content_type = "application/octet-stream",
	                  .body = data,
	                  .body_length = length,
	                  .max_body = PE_BATCH_MAX_REPLY,
	                  .total_timeout_ms = UPLOAD_TIMEOUT_MS,
	                  .what = "file of a batch"};
	return with_path(call, err);
}

static pe_status
action_request(pe_pool *pool, const char *batch_id, const char *action, const char *what, pe_call *call,
               pe_error *err)
{
	if (!pe_plain_id(batch_id))
		return refuse_name(err, "the id of a batch");
	*call = (pe_call){.method = "POST",
	                  .path = pe_pool_printf(pool, PE_IMPORT "/batches/%s?action=%s", batch_id, action),
	                  .max_body = PE_BATCH_MAX_REPLY,
	                  .what = what};
	return with_path(call, err);
}

pe_status
pe_batch_complete_request(pe_pool *pool, const char *batch_id, pe_call *call, pe_error *err)
{
	return action_request(pool, batch_id, "COMPLETE", "completion of a batch", call, err);
}

pe_status
pe_batch_abort_request(pe_pool *pool, const char *batch_id, pe_call *call, pe_error *err)
{
	return action_request(pool, batch_id, "ABORT", "abort of a batch", call, err);
}

pe_status
pe_batch_get_request(pe_pool *pool, const char *batch_id, pe_call *call, pe_error *err)
{
	if (!pe_plain_id(batch_id))
		return refuse_name(err, "the id of a batch");
	*call = (pe_call){.method = "GET",
	                  .path = pe_pool_printf(pool, PE_CATALOG "/batches/%s", batch_id),
	                  .max_body = PE_BATCH_MAX_REPLY,
	                  .what = "batch"};
	return with_path(call, err);
}

pe_status
pe_batch_find_request(pe_pool *pool, const char *external_id, pe_call *call, pe_error *err)
{
	if (!pe_plain_id(external_id))
		return refuse_name(err, "the external id of a batch");
	*call = (pe_call){
	    .method = "GET",
	    .path = pe_pool_printf(pool, PE_CATALOG "/batches?orderBy=desc:created&externalId=%s&limit=%d",
	                           external_id, PE_BATCH_PAGE),
	    .max_body = PE_BATCH_MAX_REPLY,
	    .what = "batch by its external id"};
	return with_path(call, err);
}

pe_status
pe_batch_list_request(pe_pool *pool, const pe_batch_query *query, pe_call *call, pe_error *err)
{
	const char *dataset = query->dataset_id != NULL ? query->dataset_id : "";
	const char *status = query->status != NULL ? query->status : "";

	if ((dataset[0] != '\0' && !pe_plain_id(dataset)) || (status[0] != '\0' && !pe_plain_id(status)))
		return refuse_name(err, "the filter of a list of batches");
	*call = (pe_call){.method = "GET",
	                  .path = pe_pool_printf(
	                      pool,
	                      PE_CATALOG "/batches?orderBy=desc:created%s%s%s%s&createdAfter=%lld&properties="
	                                 "status,created,externalId,relatedObjects,metrics,errors"
	                                 "&limit=%d&start=%d",
	                      dataset[0] != '\0' ? "&dataSet=" : "", dataset, status[0] != '\0' ? "&status=" : "",
	                      status, (long long) query->created_after_ms, PE_BATCH_PAGE, query->start),
	                  .max_body = PE_BATCH_MAX_REPLY,
	                  .what = "list of batches"};
	return with_path(call, err);
}

pe_status
pe_batch_created(const pe_env *env, const char *body, size_t length, char *id, size_t size, pe_error *err)
{
	pe_json *json;
	pe_status status = pe_json_parse(body, length, 0, "answer to the new batch", &json, err);

	if (status == PE_OK && (!pe_json_copy(json, "id", id, size) || !pe_plain_id(id)))
		status = pe_fail(err, PE_BAD_REPLY, "the answer to the new batch holds no id");
	pe_json_free(json);
	return status;
}
