/*
 * store_list.c
 *		What is in a folder of a store: ListObjectsV2, List Blobs, a directory over sftp.
 */
#include <ctype.h>
#include <stdlib.h>

#include "platform/store_internal.h"
#include "platform/xml.h"

#define MAX_ENTRIES 200000
#define MAX_PAGES   1000

typedef struct lister
{
	pe_store *store;
	pe_entry_list *list;
	int capacity;
	char *folder; /* from the store's root: no slashes at its ends; "" for all of it */
	pe_error *err;
} lister;

/* A path as it stands in a URL: a slash, and its segments encoded. */
static char *
encode_path(lister *here, const char *path)
{
	pe_text text;
	char *copy;

	pe_text_init(&text, &here->store->env);
	pe_text_puts(&text, "/");
	for (const char *at = path; *at != '\0';)
	{
		size_t length = strcspn(at, "/");
		char *segment = pe_pool_strndup(&here->list->pool, at, length);

		if (segment == NULL)
			text.failed = true;
		else
			pe_text_percent(&text, segment);
		at += length;
		if (*at == '/')
		{
			pe_text_puts(&text, "/");
			at++;
		}
	}
	copy = text.failed ? NULL : pe_pool_strdup(&here->list->pool, text.data);
	pe_text_free(&text);
	return copy;
}

static bool
plain_name(const char *name)
{
	if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return false;
	for (const char *c = name; *c != '\0'; c++)
	{
		if ((unsigned char) *c < ' ' || *c == 0x7f || *c == '/')
			return false;
	}
	return true;
}

/* An entry of the folder; whatever has a name that no file can have is passed over. */
static pe_status
add(lister *here, const char *name, const char *version, int64_t length, bool folder)
{
	pe_entry_list *list = here->list;
	pe_entry *entry;
	char *path;

	if (!plain_name(name))
		return PE_OK;
	if (list->count >= MAX_ENTRIES)
		return pe_fail(here->err, PE_LIMIT, "the folder has more than %d entries", MAX_ENTRIES);
	if (list->count == here->capacity)
	{
		int capacity = here->capacity == 0 ? 64 : here->capacity * 2;
		pe_entry *items = pe_pool_grow(&list->pool, list->items, (size_t) list->count * sizeof(*items),
		                               (size_t) capacity * sizeof(*items));

		if (items == NULL)
			return pe_fail_memory(here->err);
		list->items = items;
		here->capacity = capacity;
	}
	path = pe_pool_printf(&list->pool, "%s%s%s", here->folder, here->folder[0] != '\0' ? "/" : "", name);
	entry = &list->items[list->count];
	entry->folder = folder;
	entry->part.name = pe_pool_strdup(&list->pool, name);
	entry->part.file_id = pe_pool_strdup(&list->pool, version);
	entry->part.length = length;
	entry->part.path = path != NULL ? encode_path(here, path) : NULL;
	if (entry->part.name == NULL || entry->part.file_id == NULL || entry->part.path == NULL)
		return pe_fail_memory(here->err);
	list->count++;
	return PE_OK;
}

/* The name of a key inside of the folder; NULL: it is not there, or further below. */
static const char *
name_in_folder(lister *here, char *key)
{
	size_t length = strlen(here->folder);
	char *end;

	if (length > 0 && (strncmp(key, here->folder, length) != 0 || key[length] != '/'))
		return NULL;
	key += length > 0 ? length + 1 : 0;
	end = key + strlen(key);
	if (end > key && end[-1] == '/')
		end[-1] = '\0';
	return strchr(key, '/') == NULL ? key : NULL;
}

static int64_t
number(const char *text)
{
	char *end;
	long long value = strtoll(text, &end, 10);

	return end != text && *end == '\0' && value >= 0 ? value : -1;
}

/* Every element of a page that stands for a file or a folder. */
static pe_status
take_elements(lister *here, pe_xml page, const char *element, const char *key_tag, const char *size_tag,
              const char *version_tag, bool folder)
{
	pe_pool *pool = &here->list->pool;
	pe_status status = PE_OK;
	pe_xml item;

	while (status == PE_OK && pe_xml_next(&page, element, &item))
	{
		char *key = pe_xml_member(pool, item, key_tag);
		char *size = size_tag != NULL ? pe_xml_member(pool, item, size_tag) : "";
		char *version = version_tag != NULL ? pe_xml_member(pool, item, version_tag) : "";
		const char *name;

		if (key == NULL || size == NULL || version == NULL)
			return pe_fail_memory(here->err);
		name = name_in_folder(here, key);
		if (name != NULL)
			status = add(here, name, version, number(size), folder);
	}
	return status;
}

/* One page. *next is the mark of the next one, "" at the end. */
static pe_status
take_page(lister *here, const pe_http_response *response, char **next)
{
	pe_xml page = {response->body, response->body_length};
	bool azure = here->store->kind == PE_STORE_AZURE;
	pe_xml whole = page;
	pe_xml blobs;
	pe_status status;

	if (!pe_xml_next(&whole, azure ? "EnumerationResults" : "ListBucketResult", &blobs))
	{
		pe_fail(here->err, PE_BAD_REPLY, "the listing of %s cannot be understood", here->store->host);
		pe_error_hint(here->err, "Check the server's url.");
		return PE_BAD_REPLY;
	}
	if (azure)
	{
		status = take_elements(here, page, "Blob", "Name", "Content-Length", "Etag", false);
		if (status == PE_OK)
			status = take_elements(here, page, "BlobPrefix", "Name", NULL, NULL, true);
	}
	else
	{
		status = take_elements(here, page, "Contents", "Key", "Size", "ETag", false);
		if (status == PE_OK)
			status = take_elements(here, page, "CommonPrefixes", "Prefix", NULL, NULL, true);
	}
	*next = pe_xml_member(&here->list->pool, blobs, azure ? "NextMarker" : "NextContinuationToken");
	return status == PE_OK && *next == NULL ? pe_fail_memory(here->err) : status;
}

/* Parameters in order of their names: they are signed so. */
static void
put_query(lister *here, const char *next, pe_text *query)
{
	bool azure = here->store->kind == PE_STORE_AZURE;

	if (azure)
		pe_text_puts(query, "comp=list&delimiter=%2F");
	else if (next[0] != '\0')
	{
		pe_text_puts(query, "continuation-token=");
		pe_text_percent(query, next);
		pe_text_puts(query, "&delimiter=%2F&list-type=2");
	}
	else
		pe_text_puts(query, "delimiter=%2F&list-type=2");
	if (azure && next[0] != '\0')
	{
		pe_text_puts(query, "&marker=");
		pe_text_percent(query, next);
	}
	pe_text_puts(query, "&prefix=");
	if (here->folder[0] != '\0')
	{
		pe_text_percent(query, here->folder);
		pe_text_puts(query, "%2F");
	}
	if (azure)
		pe_text_puts(query, "&restype=container");
}

static pe_status
list_objects(lister *here)
{
	char *next = "";
	pe_status status = PE_OK;

	for (int page = 0; status == PE_OK; page++)
	{
		pe_http_response response;
		pe_text query;

		if (page >= MAX_PAGES)
			return pe_fail(here->err, PE_BAD_REPLY, "the listing of %s never ends", here->store->host);
		pe_text_init(&query, &here->store->env);
		put_query(here, next, &query);
		if (query.failed)
			status = pe_fail_memory(here->err);
		else
		{
			pe_store_request request = {.path = here->store->kind == PE_STORE_S3 ? "/" : "",
			                            .query = query.data};

			status = pe_store_perform(here->store, &request, &response, here->err);
			if (status == PE_OK)
				status = take_page(here, &response, &next);
			pe_http_response_free(&response);
		}
		pe_text_free(&query);
		if (status == PE_OK && next[0] == '\0')
			break;
	}
	return status;
}

/* "-rw-r--r-- 1 user group 1576 Nov 30 17:00 name": the server's words for people, which all write alike. */
static pe_status
take_line(lister *here, char *line)
{
	char *at = line;
	char *fields[8];
	char kind = line[0];

	for (int i = 0; i < 8; i++)
	{
		at += strspn(at, " \t");
		fields[i] = at;
		at += strcspn(at, " \t");
		if (*at == '\0')
			return pe_fail(here->err, PE_BAD_REPLY, "the listing of %s cannot be understood",
			               here->store->host);
		*at++ = '\0';
	}
	if (kind != '-' && kind != 'd')
		return PE_OK; /* links and devices */
	return add(here, at, pe_pool_printf(&here->list->pool, "%s %s %s", fields[5], fields[6], fields[7]),
	           kind == 'd' ? -1 : number(fields[4]), kind == 'd');
}

static pe_status
list_directory(lister *here)
{
	char *folder = encode_path(here, here->folder);
	char *path = folder != NULL
	                 ? pe_pool_printf(&here->list->pool, "%s%s", folder, here->folder[0] != '\0' ? "/" : "")
	                 : NULL;
	pe_store_request request = {.path = path};
	pe_http_response response;
	pe_status status;

	if (path == NULL)
		return pe_fail_memory(here->err);
	status = pe_store_perform(here->store, &request, &response, here->err);
	for (char *line = response.body; status == PE_OK && line != NULL && *line != '\0';)
	{
		char *end = strchr(line, '\n');

		if (end != NULL)
			*end = '\0';
		if (line[0] != '\0')
			status = take_line(here, line);
		line = end != NULL ? end + 1 : NULL;
	}
	pe_http_response_free(&response);
	return status;
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(((const pe_entry *) a)->part.name, ((const pe_entry *) b)->part.name);
}

/* Root and folder joined; segments that would lead elsewhere are refused. */
static pe_status
join_folder(lister *here, const char *folder)
{
	const char *root = here->store->root;
	size_t length;

	folder += strspn(folder, "/");
	length = strlen(folder);
	while (length > 0 && folder[length - 1] == '/')
		length--;
	for (const char *at = folder; at < folder + length;)
	{
		size_t segment = strcspn(at, "/");

		if (segment == 0 || (segment == 1 && at[0] == '.') || (segment == 2 && memcmp(at, "..", 2) == 0))
			return pe_fail(here->err, PE_INVALID_OPTION, "path \"%.200s\" is not one of plain folders",
			               folder);
		at += segment + (at[segment] == '/');
	}
	here->folder = pe_pool_printf(&here->list->pool, "%s%s%.*s", root,
	                              root[0] != '\0' && length > 0 ? "/" : "", (int) length, folder);
	return here->folder != NULL ? PE_OK : pe_fail_memory(here->err);
}

pe_status
pe_store_list(pe_store *store, const char *folder, pe_entry_list *list, pe_error *err)
{
	lister here = {.store = store, .list = list, .err = err};
	pe_status status;

	memset(list, 0, sizeof(*list));
	pe_pool_init(&list->pool, &store->env);
	status = join_folder(&here, folder);
	if (status == PE_OK)
		status = store->kind == PE_STORE_SFTP ? list_directory(&here) : list_objects(&here);
	if (status == PE_OK && list->count == 0)
		status = pe_fail(err, PE_NOT_FOUND, "%s has nothing at \"%.200s\"", store->host, here.folder);
	if (status != PE_OK)
		pe_entry_list_free(list);
	else if (list->count > 1)
		qsort(list->items, (size_t) list->count, sizeof(*list->items), by_name);
	return status;
}

void
pe_entry_list_free(pe_entry_list *list)
{
	pe_pool_free(&list->pool);
	list->items = NULL;
	list->count = 0;
}
