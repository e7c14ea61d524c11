/*
 * export.c
 *		Data Access: the parts of a batch, and their bytes. Numbers about files are
 *		strings there; links carry :443 and are followed on our own host only.
 */
#include <time.h>
#include <unistd.h>

#include "platform/call.h"
#include "platform/export.h"

#define MAX_DEPTH     8
#define MAX_PARTS     1000000
#define RANGE_BYTES   (INT64_C(64) * 1024 * 1024)
#define FRUITLESS_MAX 5
#define BACKOFF_MS    250

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

/* One download: where it stands. */
typedef struct download
{
	pe_http_sink sink;
	void *ctx;
	int64_t done;
	int64_t total; /* -1: not known yet */
} download;

/* The caller's sink is given each byte once: what arrives is always the next. */
static bool
pass_on(void *ctx, const void *data, size_t length)
{
	download *state = ctx;

	if (!state->sink(state->ctx, data, length))
		return false;
	state->done += (int64_t) length;
	return true;
}

/* "bytes 0-99/1234": does it begin at first? Sets the total when it is given. */
static bool
read_content_range(const char *text, int64_t first, int64_t *total)
{
	long long from;
	long long to;
	long long size;
	int fields = sscanf(text, "bytes %lld-%lld/%lld", &from, &to, &size);

	if (fields < 2 || from != first || to < from)
		return false;
	if (fields == 3)
		*total = size;
	return true;
}

/* Wait before a try that follows a fruitless one, ticking. */
static pe_status
back_off(pe_platform *platform, int tries, pe_error *err)
{
	int64_t left_ms = (int64_t) BACKOFF_MS << tries;

	for (; left_ms > 0; left_ms -= 20)
	{
		struct timespec slice = {.tv_nsec = 20 * 1000 * 1000};

		if (pe_stopped(pe_platform_env(platform), "waiting for the platform", 0, 0))
			return pe_fail(err, PE_CANCELLED, "cancelled while downloading");
		nanosleep(&slice, NULL);
	}
	return PE_OK;
}

/*
 * One range. A server that ignores ranges answers 200 with everything: fine for the
 * first try, unusable once bytes have been passed on.
 */
static pe_status
fetch_range(pe_platform *platform, const pe_part *part, download *state, pe_http_failure *failure,
            bool *whole, pe_error *err)
{
	char range[64];
	char content_range[128];
	int64_t first = state->done;
	int64_t last = first + RANGE_BYTES - 1;
	pe_http_response response;
	pe_call call = {.method = "GET",
	                .path = part->path,
	                .accept = "application/octet-stream",
	                .range = range,
	                .total_timeout_ms = -1,
	                .sink = pass_on,
	                .sink_ctx = state,
	                .max_body = (size_t) RANGE_BYTES,
	                .what = "part of the batch"};
	pe_status status;

	if (state->total >= 0 && last >= state->total)
		last = state->total - 1;
	if (first == 0 && part->length < 0)
		call.max_body = 0; /* of unknown size: a server without ranges sends all of it */
	else if (first == 0 && part->length > RANGE_BYTES)
		call.max_body = (size_t) part->length;
	snprintf(range, sizeof(range), "bytes=%lld-%lld", (long long) first, (long long) last);
	status = pe_platform_call(platform, &call, &response, err);
	*failure = response.failure;
	*whole = false;
	if (response.status == 206)
	{
		/* also after a transfer that broke: the header has come, and so have bytes */
		pe_http_response_header(&response, "content-range", content_range, sizeof(content_range));
		if (!read_content_range(content_range, first, &state->total))
		{
			*failure = PE_HTTP_GARBAGE;
			status =
			    pe_fail(err, PE_BAD_REPLY, "the platform sent another range of the part than was asked for");
		}
	}
	else if (response.status == 200 && status == PE_OK)
	{
		*whole = true;
		if (first > 0)
			status = pe_fail(err, PE_BAD_REPLY, "the platform does not send ranges of the part");
	}
	else if (response.status == 200 && state->done > first)
		*failure = PE_HTTP_GARBAGE; /* broke in the middle, and cannot be taken up */
	pe_http_response_free(&response);
	return status;
}

static bool
worth_another(pe_http_failure failure, pe_status status)
{
	if (failure == PE_HTTP_DONE)
		return status == PE_UNREACHABLE; /* 429, 5xx */
	return failure == PE_HTTP_RESET || failure == PE_HTTP_TIMEOUT || failure == PE_HTTP_CONNECT ||
	       failure == PE_HTTP_RESOLVE || failure == PE_HTTP_TLS;
}

pe_status
pe_export_download(pe_platform *platform, const pe_part *part, pe_http_sink sink, void *sink_ctx,
                   int64_t *bytes, pe_error *err)
{
	download state = {.sink = sink, .ctx = sink_ctx, .total = part->length};
	int fruitless = 0;
	pe_status status;

	*bytes = 0;
	do
	{
		pe_http_failure failure;
		int64_t before = state.done;
		bool whole;

		status = fetch_range(platform, part, &state, &failure, &whole, err);
		*bytes = state.done;
		if (status == PE_OK && whole)
			state.total = part->length >= 0 ? part->length : state.done;
		fruitless = state.done > before ? 0 : fruitless + 1;
		if (status == PE_OK && state.total < 0)
			state.total = state.done; /* 206 without a total: what came is all */
		if (status == PE_OK && whole)
			break;
		if (status == PE_OK && fruitless > 0)
			status = pe_fail(err, PE_BAD_REPLY, "the platform sent an empty range of a part");
		if (status != PE_OK)
		{
			if (!worth_another(failure, status) || fruitless > FRUITLESS_MAX)
				return status;
			status = back_off(platform, fruitless, err);
			if (status != PE_OK)
				return status;
		}
	} while (state.total < 0 || state.done < state.total);
	if (state.done != state.total || (part->length >= 0 && state.done != part->length))
		return pe_fail(err, PE_CORRUPT, "part %.100s has %lld bytes where the platform announced %lld",
		               part->name, (long long) state.done,
		               (long long) (part->length >= 0 ? part->length : state.total));
	return PE_OK;
}
