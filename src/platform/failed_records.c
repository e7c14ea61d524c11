/*
 * failed_records.c
 *		Reading the records that the platform refused after it had taken them.
 */
#include "platform/failed_records.h"

#include <stdlib.h>

#include "platform/call.h"
#include "platform/utf8.h"

#define ROW_ERRORS    "row_errors"
#define LIST_BODY     ((size_t) 2 * 1024 * 1024)
#define WHOLE_BODY    ((size_t) 8 * 1024 * 1024)
#define REASON_SIZE   256
#define RECORD_MEMORY ((size_t) 16 * 1024 * 1024)

pe_status
pe_failed_list_request(pe_pool *pool, const char *batch_id, pe_failed_area area, const char *page,
                       pe_call *call, pe_error *err)
{
	if (!pe_plain_id(batch_id))
		return pe_fail(err, PE_INVALID_OPTION, "the id of a batch is not possible");
	*call = (pe_call){.method = "GET", .max_body = LIST_BODY, .what = "list of failed records"};
	if (page != NULL)
		call->path = pe_pool_strdup(pool, page);
	else
		call->path = pe_pool_printf(pool, PE_EXPORT "/batches/%s/%s", batch_id,
		                            area == PE_FAILED_BATCH ? "failed" : "meta?path=" ROW_ERRORS);
	return call->path != NULL ? PE_OK : pe_fail_memory(err);
}

/* The path that downloads a listed name: names of row errors are relative to their folder. */
static const char *
download_path(pe_pool *pool, const char *batch_id, pe_failed_area area, const char *name)
{
	pe_text path = {.allocator = pool->allocator};
	const char *copy;

	pe_text_printf(&path, PE_EXPORT "/batches/%s/%s?path=", batch_id,
	               area == PE_FAILED_BATCH ? "failed" : "meta");
	if (area == PE_FAILED_ROW_ERRORS && strncmp(name, ROW_ERRORS "/", strlen(ROW_ERRORS) + 1) != 0)
		pe_text_puts(&path, ROW_ERRORS "%2F");
	pe_text_percent(&path, name);
	copy = path.failed ? NULL : pe_pool_strdup(pool, path.data);
	pe_text_free(&path);
	return copy;
}

static pe_status
take_file(pe_failed_list *list, int *capacity, const char *batch_id, pe_failed_area area, pe_json *row,
          pe_error *err)
{
	const char *name = pe_json_string(row, "name");
	const char *base = name != NULL ? strrchr(name, '/') : NULL;
	pe_failed_file *file;

	base = base != NULL ? base + 1 : name;
	if (base == NULL || base[0] == '\0' || base[0] == '_' || base[0] == '.' ||
	    pe_json_int64_or(row, "length", -1) == 0)
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
	file->path = download_path(&list->pool, batch_id, area, name);
	file->length = pe_json_int64_or(row, "length", -1);
	if (file->path == NULL)
		return pe_fail_memory(err);
	list->count++;
	return PE_OK;
}

pe_status
pe_failed_list_read(pe_platform *platform, const char *batch_id, pe_failed_area area, const char *body,
                    size_t length, pe_failed_list *list, pe_error *err)
{
	int capacity = 0;
	const char *href;
	const char *local;
	pe_json *json;
	pe_json *data;
	pe_status status;

	memset(list, 0, sizeof(*list));
	pe_pool_init(&list->pool, pe_platform_env(platform));
	status = pe_json_parse(body, length, 0, "list of failed records", &json, err);
	data = pe_json_member(json, "data");
	if (status == PE_OK && !pe_json_is_array(data))
		status = pe_fail(err, PE_BAD_REPLY, "the list of failed records has no data");
	for (int i = 0; status == PE_OK && i < pe_json_length(data); i++)
		status = take_file(list, &capacity, batch_id, area, pe_json_item(data, i), err);
	href = pe_json_text(pe_json_path(json, "_links", "next", "href", NULL));
	if (status == PE_OK && href != NULL && href[0] != '\0')
	{
		status = pe_platform_href(platform, href, &local, err);
		if (status == PE_OK && (list->next = pe_pool_strdup(&list->pool, local)) == NULL)
			status = pe_fail_memory(err);
	}
	pe_json_free(json);
	return status;
}

void
pe_failed_list_free(pe_failed_list *list)
{
	pe_pool_free(&list->pool);
	memset(list, 0, sizeof(*list));
}

pe_status
pe_failed_range_request(pe_pool *pool, const pe_failed_file *file, int64_t offset, pe_call *call,
                        pe_error *err)
{
	*call = (pe_call){.method = "GET",
	                  .path = file->path,
	                  .accept = "application/octet-stream",
	                  .range = pe_pool_printf(pool, "bytes=%lld-%lld", (long long) offset,
	                                          (long long) (offset + PE_FAILED_RANGE - 1)),
	                  .max_body = WHOLE_BODY,
	                  .what = "file of failed records"};
	return call->range != NULL ? PE_OK : pe_fail_memory(err);
}

pe_status
pe_failed_range_end(const pe_failed_file *file, int64_t offset, const pe_http_response *response, bool *end,
                    pe_error *err)
{
	char range[128];
	const char *slash;
	int64_t total = file->length;

	*end = true;
	/* Past the end: the file was as long as what has been read. */
	if (response->status == 416)
		return PE_OK;
	if (response->status == 200)
		return offset == 0 ? PE_OK
		                   : pe_fail(err, PE_BAD_REPLY, "the platform does not send ranges of a failed file");
	if (pe_http_response_header(response, "content-range", range, sizeof(range)) &&
	    (slash = strchr(range, '/')) != NULL && slash[1] >= '0' && slash[1] <= '9')
		total = strtoll(slash + 1, NULL, 10);
	*end = response->body_length == 0 || total < 0 || offset + (int64_t) response->body_length >= total;
	return PE_OK;
}

/* Is one name the other's, but for case? */
static bool
same_name(const char *left, const char *right)
{
	return strcasecmp(left, right) == 0;
}

/* The id under a namespace of an identity map: the primary one, else the first. */
static const char *
mapped_id(pe_json *map, const char *namespace)
{
	const char *id = NULL;

	if (!pe_json_is_object(map))
		return NULL;
	json_object_object_foreach(map, code, items)
	{
		if (!same_name(code, namespace))
			continue;
		for (int i = 0; i < pe_json_length(items); i++)
		{
			const char *candidate = pe_json_string(pe_json_item(items, i), "id");

			if (candidate != NULL &&
			    (id == NULL || pe_json_bool_or(pe_json_item(items, i), "primary", false)))
				id = candidate;
		}
	}
	return id;
}

/* "INGEST-1401-400" ends in the status that a reply would have had; REFUSED without one. */
static pe_outcome
outcome_of_code(const char *code)
{
	const char *dash = code != NULL ? strrchr(code, '-') : NULL;
	pe_outcome outcome;

	if (dash == NULL || strlen(dash + 1) != 3)
		return PE_OUTCOME_REFUSED;
	outcome = pe_outcome_of_status(atoi(dash + 1));
	switch (outcome)
	{
		case PE_OUTCOME_FAULT:
		case PE_OUTCOME_OVERLOAD:
		case PE_OUTCOME_RATE:
		case PE_OUTCOME_TOO_BIG:
			return outcome;
		default:
			return PE_OUTCOME_REFUSED;
	}
}

/* What the platform says was wrong with a line: the first of its errors, in either of its two forms. */
static void
read_reason(pe_json *row, pe_failed_record *record, char *reason)
{
	pe_json *problem = pe_json_item(pe_json_member(row, "_errors"), 0);
	const char *code;
	const char *message;
	char text[REASON_SIZE];

	if (problem == NULL)
		problem = pe_json_item(pe_json_member(row, "_validationErrors"), 0);
	code = pe_json_string(problem, "code");
	message = pe_json_string(problem, "message");
	record->outcome = outcome_of_code(code);
	snprintf(text, sizeof(text), "%s%s%s", message != NULL ? message : "the platform gave no reason",
	         code != NULL ? " " : "", code != NULL ? code : "");
	pe_utf8_printable(text, strlen(text), reason, REASON_SIZE);
	record->reason = reason;
}

/* The entity of a line: the line itself, or what is in the envelope of a streamed message. */
static pe_json *
entity_of(pe_json *row)
{
	pe_json *entity = pe_json_path(row, "body", "xdmEntity", NULL);

	if (entity == NULL)
		entity = pe_json_member(row, "xdmEntity");
	return entity != NULL ? entity : row;
}

static void
read_identity(const pe_failed_reader *reader, pe_json *row, pe_failed_record *record)
{
	pe_json *entity = entity_of(row);
	char tenant[128];
	pe_json *attributes;

	snprintf(tenant, sizeof(tenant), "_%s", reader->tenant);
	attributes = pe_json_path(entity, tenant, reader->enrichment, NULL);
	record->key = mapped_id(pe_json_member(entity, "identityMap"), reader->namespace);
	if (record->key == NULL)
		record->key = pe_json_string(attributes, "profileId");
	record->scored_at = pe_json_string(attributes, "scoredAt");
	if (record->scored_at == NULL)
		record->scored_at = "";
}

/* One object of a line; one that could not be parsed there may still be readable here. */
static pe_status
take_row(pe_failed_reader *reader, pe_json *row)
{
	const char *corrupt = pe_json_string(row, "_corrupt_record");
	pe_failed_record record = {.scored_at = ""};
	char reason[REASON_SIZE];
	pe_json *inner = NULL;

	read_reason(row, &record, reason);
	if (corrupt != NULL &&
	    pe_json_parse(corrupt, strlen(corrupt), RECORD_MEMORY, "record", &inner, NULL) == PE_OUT_OF_MEMORY)
		return PE_OUT_OF_MEMORY;
	read_identity(reader, inner != NULL ? inner : row, &record);
	reader->take(reader->ctx, &record);
	pe_json_free(inner);
	return PE_OK;
}

static void
take_nobody(pe_failed_reader *reader, const char *reason)
{
	pe_failed_record record = {.scored_at = "", .outcome = PE_OUTCOME_REFUSED, .reason = reason};

	reader->take(reader->ctx, &record);
}

static pe_status
take_line(pe_failed_reader *reader, pe_error *err)
{
	pe_json *json = NULL;
	pe_status status = PE_OK;
	size_t blank = strspn(reader->line, " \t\r");

	if (reader->too_long)
		take_nobody(reader, "the record is too long to be read");
	else if (blank < reader->length)
	{
		status = pe_json_parse(reader->line, reader->length, RECORD_MEMORY, "failed record", &json, err);
		if (status == PE_OUT_OF_MEMORY)
			return status;
		if (status == PE_OK && pe_json_is_array(json))
			for (int i = 0; status == PE_OK && i < pe_json_length(json); i++)
				status = take_row(reader, pe_json_item(json, i));
		else if (status == PE_OK)
			status = take_row(reader, json);
		else
		{
			take_nobody(reader, "the record cannot be read");
			status = PE_OK;
		}
		pe_json_free(json);
	}
	reader->length = 0;
	reader->too_long = false;
	return status;
}

/* Room for more bytes of the line and the NUL behind it. */
static bool
reserve(pe_failed_reader *reader, size_t more)
{
	size_t capacity = reader->capacity == 0 ? 4096 : reader->capacity;
	char *line;

	while (capacity <= reader->length + more)
		capacity *= 2;
	if (capacity == reader->capacity)
		return true;
	line = pe_realloc(reader->env, reader->line, capacity);
	if (line == NULL)
		return false;
	reader->line = line;
	reader->capacity = capacity;
	return true;
}

static pe_status
add_to_line(pe_failed_reader *reader, const char *bytes, size_t length, pe_error *err)
{
	if (reader->length + length > PE_FAILED_LINE)
	{
		reader->too_long = true;
		length = 0;
	}
	if (!reserve(reader, length))
		return pe_fail_memory(err);
	memcpy(reader->line + reader->length, bytes, length);
	reader->length += length;
	reader->line[reader->length] = '\0';
	return PE_OK;
}

pe_status
pe_failed_feed(pe_failed_reader *reader, const char *bytes, size_t length, pe_error *err)
{
	pe_status status = PE_OK;

	while (length > 0 && status == PE_OK)
	{
		const char *newline = memchr(bytes, '\n', length);
		size_t part = newline != NULL ? (size_t) (newline - bytes) : length;

		status = add_to_line(reader, bytes, part, err);
		if (status == PE_OK && newline != NULL)
			status = take_line(reader, err);
		part += newline != NULL;
		bytes += part;
		length -= part;
	}
	return status;
}

pe_status
pe_failed_end(pe_failed_reader *reader, pe_error *err)
{
	return reader->length > 0 || reader->too_long ? take_line(reader, err) : PE_OK;
}

void
pe_failed_reader_free(pe_failed_reader *reader)
{
	pe_free(reader->env, reader->line);
	reader->line = NULL;
	reader->length = reader->capacity = 0;
	reader->too_long = false;
}
