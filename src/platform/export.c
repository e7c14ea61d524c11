/*
 * export.c
 *		Data Access: the parts of a batch. Numbers about files are strings there; links
 *		carry :443 and are followed on our own host only.
 */
#include "platform/call.h"
#include "platform/export.h"

#define MAX_DEPTH 8
#define MAX_PARTS 1000000

typedef struct part_reader
{
	pe_platform *platform;
	pe_part_list *list;
	int capacity;
	pe_error *err;
} part_reader;

typedef pe_status (*take_row)(part_reader *reader, pe_json *row, const char *file_id, int depth);

/* The next page's path, copied before its tree goes; NULL: none. */
static pe_status
next_page(pe_platform *platform, pe_json *json, pe_text *path, pe_error *err)
{
	const char *href = pe_json_text(pe_json_path(json, "_links", "next", "href", NULL));
	const char *local;
	pe_status status;

	path->length = 0;
	if (href == NULL || href[0] == '\0')
		return PE_OK;
	status = pe_platform_href(platform, href, &local, err);
	if (status == PE_OK)
		pe_text_puts(path, local);
	return path->failed ? pe_fail_memory(err) : status;
}

/* Every row of a paged listing that begins at *path, which is freed. */
static pe_status
each_row(part_reader *reader, pe_text *path, const char *what, const char *file_id, int depth, take_row take)
{
	pe_platform *platform = reader->platform;
	pe_status status = path->failed ? pe_fail_memory(reader->err) : PE_OK;

	for (int page = 0; status == PE_OK && path->length > 0; page++)
	{
		pe_call call = {.method = "GET", .path = path->data, .what = what};
		pe_json *json;
		pe_json *data;

		if (page >= PE_MAX_PAGES)
		{
			status = pe_fail(reader->err, PE_BAD_REPLY, "the %s never ends", what);
			break;
		}
		status = pe_call_json(platform, &call, &json, reader->err);
		if (status != PE_OK)
			break;
		data = pe_json_member(json, "data");
		if (!pe_json_is_array(data))
			status = pe_fail(reader->err, PE_BAD_REPLY, "the %s has no data", what);
		for (int i = 0; status == PE_OK && i < pe_json_length(data); i++)
			status = take(reader, pe_json_item(data, i), file_id, depth);
		if (status == PE_OK)
			status = next_page(platform, json, path, reader->err);
		pe_json_free(json);
	}
	pe_text_free(path);
	return status;
}

static pe_status
add_part(part_reader *reader, const char *file_id, const char *name, int64_t length)
{
	pe_part_list *list = reader->list;
	pe_part *part;
	pe_text path;

	if (list->count >= MAX_PARTS)
		return pe_fail(reader->err, PE_LIMIT, "the batch has more than %d parts", MAX_PARTS);
	if (list->count == reader->capacity)
	{
		int capacity = reader->capacity == 0 ? 64 : reader->capacity * 2;
		pe_part *items = pe_pool_grow(&list->pool, list->items, (size_t) list->count * sizeof(*items),
		                              (size_t) capacity * sizeof(*items));

		if (items == NULL)
			return pe_fail_memory(reader->err);
		list->items = items;
		reader->capacity = capacity;
	}
	part = &list->items[list->count];
	pe_text_init(&path, pe_platform_env(reader->platform));
	pe_text_printf(&path, PE_EXPORT "/files/%s?path=", file_id);
	pe_text_percent(&path, name);
	part->file_id = pe_pool_strdup(&list->pool, file_id);
	part->name = pe_pool_strdup(&list->pool, name);
	part->path = path.failed ? NULL : pe_pool_strdup(&list->pool, path.data);
	part->length = length;
	pe_text_free(&path);
	if (part->file_id == NULL || part->name == NULL || part->path == NULL)
		return pe_fail_memory(reader->err);
	if (length > 0)
		list->bytes += length;
	list->count++;
	return PE_OK;
}

/* The part's own name, behind the last slash of a path. */
static const char *
base_name(const char *name)
{
	const char *slash = strrchr(name, '/');

	return slash != NULL ? slash + 1 : name;
}

/* An entry of a file: a part, or a directory that is a file of its own. */
static pe_status
take_part(part_reader *reader, pe_json *row, const char *file_id, int depth)
{
	const char *name = pe_json_string(row, "name");
	const char *below = pe_json_string(row, "dataSetFileId");
	int64_t length = pe_json_int64_or(row, "length", -1);

	if (name == NULL && below != NULL)
	{
		pe_text path;

		if (!pe_plain_id(below))
			return pe_fail(reader->err, PE_BAD_REPLY, "a file of the batch has an unusable id");
		if (depth >= MAX_DEPTH)
			return pe_fail(reader->err, PE_LIMIT, "the batch's directories are nested more than %d deep",
			               MAX_DEPTH);
		pe_text_init(&path, pe_platform_env(reader->platform));
		pe_text_printf(&path, PE_EXPORT "/files/%s", below);
		return each_row(reader, &path, "list of parts", below, depth + 1, take_part);
	}
	if (name == NULL || name[0] == '\0')
		return pe_fail(reader->err, PE_BAD_REPLY, "a part of the batch has no name");
	if (length < -1)
		return pe_fail(reader->err, PE_BAD_REPLY, "a part of the batch has a negative length");
	if (base_name(name)[0] == '_' || base_name(name)[0] == '.' || length == 0)
		return PE_OK;
	return add_part(reader, file_id, name, length);
}

static pe_status
take_file(part_reader *reader, pe_json *row, const char *file_id, int depth)
{
	if (pe_json_string(row, "dataSetFileId") == NULL)
		return pe_fail(reader->err, PE_BAD_REPLY, "a file of the batch has no id");
	/* a file's row may carry a name; what counts is what is below it */
	json_object_object_del(row, "name");
	return take_part(reader, row, file_id, depth);
}

pe_status
pe_export_parts(pe_platform *platform, const char *batch_id, pe_part_list *list, pe_error *err)
{
	part_reader reader = {.platform = platform, .list = list, .err = err};
	pe_text path;
	pe_status status;

	memset(list, 0, sizeof(*list));
	pe_pool_init(&list->pool, pe_platform_env(platform));
	if (!pe_plain_id(batch_id))
		return pe_fail(err, PE_NOT_FOUND, "\"%.60s\" is not the id of a batch", batch_id);
	pe_text_init(&path, pe_platform_env(platform));
	pe_text_printf(&path, PE_EXPORT "/batches/%s/files?start=0&limit=100", batch_id);
	status = each_row(&reader, &path, "list of the batch's files", "", 0, take_file);
	if (status == PE_NOT_FOUND)
	{
		pe_fail(err, PE_NOT_FOUND, "the files of batch %s are not there (any more)", batch_id);
		pe_error_hint(err, "Batches expire after some days: take a newer one.");
	}
	if (status != PE_OK)
		pe_part_list_free(list);
	return status;
}

void
pe_part_list_free(pe_part_list *list)
{
	pe_pool_free(&list->pool);
	list->items = NULL;
	list->count = 0;
	list->bytes = 0;
}

/* ---- their bytes ---- */

static pe_status
start_part(void *ctx, const pe_fetch_range *range, pe_http_exchange **exchange, pe_error *err)
{
	char bytes[64];
	pe_call call = {.method = "GET",
	                .path = range->part->path,
	                .accept = "application/octet-stream",
	                .range = bytes,
	                .total_timeout_ms = -1,
	                .sink = range->sink,
	                .sink_ctx = range->sink_ctx,
	                .max_body = range->max_body};

	snprintf(bytes, sizeof(bytes), "bytes=%lld-%lld", (long long) range->first, (long long) range->last);
	return pe_platform_start(ctx, &call, range->owner, exchange, err);
}

static pe_status
wait_for_parts(void *ctx, pe_error *err)
{
	return pe_platform_wait(ctx, err);
}

static bool
take_response(void *ctx, pe_http_response *response)
{
	return pe_platform_take(ctx, response);
}

static pe_status
judge(void *ctx, const pe_http_response *response, pe_error *err)
{
	return pe_platform_verdict(ctx, response, "part of the batch", err);
}

static void
cancel_part(void *ctx, pe_http_exchange *exchange)
{
	pe_http_cancel(pe_platform_http(ctx), exchange);
}

static void
renew_token(void *ctx)
{
	pe_token_forget(ctx);
}

pe_status
pe_export_fetch(pe_platform *platform, pe_fetch *items, int count, int parallel, pe_error *err)
{
	pe_fetch_source source = {
	    platform,   pe_platform_env(platform), start_part, wait_for_parts, take_response, judge, cancel_part,
	    renew_token};

	return pe_fetch_parts(&source, items, count, parallel, err);
}
