/*
 * catalog_batch.c
 *		Batches as Catalog shows them.
 */
#include <stdlib.h>

#include "platform/batch.h"
#include "platform/call.h"
#include "platform/catalog_page.h"
#include "platform/utf8.h"

pe_batch_state
pe_batch_state_of(const char *status)
{
	static const struct
	{
		const char *status;
		pe_batch_state state;
	} final[] = {
	    {"success", PE_BATCH_GOOD},  {"active", PE_BATCH_GOOD},  {"failure", PE_BATCH_BAD},
	    {"failed", PE_BATCH_BAD},    {"aborted", PE_BATCH_BAD},  {"abandoned", PE_BATCH_BAD},
	    {"inactive", PE_BATCH_GONE}, {"deleted", PE_BATCH_GONE}, {"archived", PE_BATCH_GONE},
	    {"retained", PE_BATCH_GONE},
	};

	for (size_t i = 0; i < sizeof(final) / sizeof(final[0]); i++)
		if (strcasecmp(status, final[i].status) == 0)
			return final[i].state;
	return PE_BATCH_PENDING;
}

static const char *
printable_dup(pe_pool *pool, pe_json *object, const char *key)
{
	const char *text = pe_json_string(object, key);
	char clean[500] = "";
	int64_t number;

	if (text != NULL)
		pe_utf8_printable(text, strlen(text), clean, sizeof(clean));
	else if (pe_json_int64(object, key, &number))
		snprintf(clean, sizeof(clean), "%lld", (long long) number);
	return pe_pool_strdup(pool, clean);
}

pe_status
pe_catalog_read_batch(pe_pool *pool, const char *id, pe_json *row, pe_batch_info *item, pe_error *err)
{
	pe_json *metrics = pe_json_member(row, "metrics");
	pe_json *problem = pe_json_item(pe_json_member(row, "errors"), 0);
	pe_json *related = pe_json_member(row, "relatedObjects");

	memset(item, 0, sizeof(*item));
	item->id = pe_pool_strdup(pool, id);
	item->status = printable_dup(pool, row, "status");
	item->external_id = pe_json_dup(pool, row, "externalId");
	item->dataset_id = "";
	for (int i = 0; i < pe_json_length(related); i++)
	{
		const char *type = pe_json_string(pe_json_item(related, i), "type");

		if (type != NULL && strcmp(type, "dataSet") == 0)
		{
			item->dataset_id = pe_json_dup(pool, pe_json_item(related, i), "id");
			break;
		}
	}
	item->created_ms = pe_json_int64_or(row, "created", 0);
	item->updated_ms = pe_json_int64_or(row, "updated", 0);
	item->completed_ms = pe_json_int64_or(row, "completed", 0);
	item->input_records = pe_json_int64_or(metrics, "inputRecordCount", -1);
	item->output_records = pe_json_int64_or(metrics, "outputRecordCount", -1);
	item->failed_records = pe_json_int64_or(metrics, "failedRecordCount", -1);
	item->output_bytes = pe_json_int64_or(metrics, "outputByteSize", -1);
	item->error_code = printable_dup(pool, problem, "code");
	item->error_text = printable_dup(pool, problem, "description");
	if (item->id == NULL || item->status == NULL || item->external_id == NULL || item->dataset_id == NULL ||
	    item->error_code == NULL || item->error_text == NULL)
		return pe_fail_memory(err);
	item->state = pe_batch_state_of(item->status);
	return PE_OK;
}

typedef struct batch_reader
{
	pe_batch_list *list;
	int capacity;
} batch_reader;

static pe_status
take_batch(void *ctx, const char *id, pe_json *row, pe_error *err)
{
	batch_reader *reader = ctx;
	pe_batch_list *list = reader->list;
	pe_status status;

	if (!pe_plain_id(id))
		return PE_OK;
	if (list->count == reader->capacity)
	{
		int capacity = reader->capacity == 0 ? 16 : reader->capacity * 2;
		pe_batch_info *items = pe_pool_grow(&list->pool, list->items, (size_t) list->count * sizeof(*items),
		                                    (size_t) capacity * sizeof(*items));

		if (items == NULL)
			return pe_fail_memory(err);
		list->items = items;
		reader->capacity = capacity;
	}
	for (int i = 0; i < list->count; i++)
		if (strcmp(list->items[i].id, id) == 0)
			return PE_OK;
	status = pe_catalog_read_batch(&list->pool, id, row, &list->items[list->count], err);
	if (status == PE_OK)
		list->count++;
	return status;
}

/* Newest first; ids are ULIDs, so they order batches of the same millisecond. */
static int
newer(const void *left, const void *right)
{
	const pe_batch_info *a = left;
	const pe_batch_info *b = right;

	if (a->created_ms != b->created_ms)
		return a->created_ms > b->created_ms ? -1 : 1;
	return strcmp(b->id, a->id);
}

static pe_status
read_batches(pe_platform *platform, pe_text *query, int limit, pe_batch_list *list, pe_error *err)
{
	batch_reader reader = {.list = list};
	pe_status status;

	if (query->failed)
		status = pe_fail_memory(err);
	else
		status = pe_catalog_pages(platform, query->data, limit, "list of batches", take_batch, &reader, err);
	pe_text_free(query);
	if (status != PE_OK)
		pe_batch_list_free(list);
	else if (list->count > 1)
		qsort(list->items, (size_t) list->count, sizeof(*list->items), newer);
	return status;
}

static void
begin_batches(pe_platform *platform, pe_batch_list *list, pe_text *query)
{
	memset(list, 0, sizeof(*list));
	pe_pool_init(&list->pool, pe_platform_env(platform));
	pe_text_init(query, pe_platform_env(platform));
	pe_text_puts(query, PE_CATALOG "/batches?orderBy=desc:created&");
}

pe_status
pe_catalog_batches(pe_platform *platform, const char *dataset_id, const char *status,
                   int64_t created_after_ms, int limit, pe_batch_list *list, pe_error *err)
{
	pe_text query;

	begin_batches(platform, list, &query);
	if (dataset_id != NULL)
	{
		pe_text_puts(&query, "dataSet=");
		pe_text_percent(&query, dataset_id);
		pe_text_puts(&query, "&");
	}
	if (status != NULL)
	{
		pe_text_puts(&query, "status=");
		pe_text_percent(&query, status);
		pe_text_puts(&query, "&");
	}
	if (created_after_ms > 0)
		pe_text_printf(&query, "createdAfter=%lld&", (long long) created_after_ms);
	return read_batches(platform, &query, limit > 0 ? limit : PE_CATALOG_PAGE, list, err);
}

pe_status
pe_batch_read_list(const pe_env *env, const char *body, size_t length, pe_batch_list *list, pe_error *err)
{
	batch_reader reader = {.list = list};
	pe_json *json;
	pe_status status;

	memset(list, 0, sizeof(*list));
	pe_pool_init(&list->pool, env);
	status = pe_json_parse(body, length, 0, "list of batches", &json, err);
	if (status == PE_OK && !pe_json_is_object(json))
		status = pe_fail(err, PE_BAD_REPLY, "the list of batches is not an object keyed by id");
	else if (status == PE_OK)
	{
		json_object_object_foreach(json, id, row)
		{
			if (status == PE_OK && pe_json_is_object(row))
				status = take_batch(&reader, id, row, err);
		}
	}
	pe_json_free(json);
	if (status != PE_OK)
		pe_batch_list_free(list);
	else if (list->count > 1)
		qsort(list->items, (size_t) list->count, sizeof(*list->items), newer);
	return status;
}

void
pe_batch_list_free(pe_batch_list *list)
{
	pe_pool_free(&list->pool);
	list->items = NULL;
	list->count = 0;
}
