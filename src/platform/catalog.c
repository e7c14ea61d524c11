/*
 * catalog.c
 *		Data sets and their Profile tags. Lists of Catalog are objects keyed by id,
 *		paged by offset until a page is not full.
 */
#include "platform/call.h"
#include "platform/catalog.h"
#include "platform/catalog_page.h"

#define MOST_DATASETS 10000
#define PROPERTIES    "name,tags,schemaRef,created,extensions,classification"

static const char snapshot_prefix[] = "Profile-Snapshot-Export";
static const char older_prefix[] = "Profile Attribute ";

pe_status
pe_catalog_pages(pe_platform *platform, const char *query, int limit, const char *what, pe_catalog_row take,
                 void *ctx, pe_error *err)
{
	pe_status status = PE_OK;
	int taken = 0;

	for (int start = 0; status == PE_OK && taken < limit; start += PE_CATALOG_PAGE)
	{
		int wanted = limit - taken < PE_CATALOG_PAGE ? limit - taken : PE_CATALOG_PAGE;
		int seen = 0;
		pe_text path;
		pe_json *json;

		pe_text_init(&path, pe_platform_env(platform));
		pe_text_printf(&path, "%slimit=%d&start=%d", query, wanted, start);
		status = pe_get_text(platform, &path, NULL, what, &json, err);
		if (status != PE_OK)
			return status;
		if (!pe_json_is_object(json))
			status = pe_fail(err, PE_BAD_REPLY, "the %s is not an object keyed by id", what);
		else
		{
			json_object_object_foreach(json, id, row)
			{
				seen++;
				if (status == PE_OK && taken < limit && pe_json_is_object(row))
				{
					status = take(ctx, id, row, err);
					taken++;
				}
			}
		}
		pe_json_free(json);
		if (seen < wanted)
			break;
	}
	return status;
}

/* Value of key in tags[tag], whose entries read "key:value" or "key: value"; NULL when absent. */
static const char *
tag_value(pe_json *row, const char *tag, const char *key)
{
	pe_json *entries = pe_json_path(row, "tags", tag, NULL);
	size_t length = strlen(key);

	for (int i = 0; i < pe_json_length(entries); i++)
	{
		const char *text = pe_json_text(pe_json_item(entries, i));

		if (text != NULL && strncmp(text, key, length) == 0 && text[length] == ':')
			return text + length + 1 + strspn(text + length + 1, " ");
	}
	return NULL;
}

static bool
tag_enabled(pe_json *row, const char *tag)
{
	const char *value = tag_value(row, tag, "enabled");

	return value != NULL && strcmp(value, "true") == 0;
}

pe_status
pe_catalog_read_dataset(pe_pool *pool, const char *id, pe_json *row, pe_dataset *item, pe_error *err)
{
	const char *policy = tag_value(row, "unifiedProfile", "mergePolicyId");
	const char *table = pe_json_text(pe_json_item(pe_json_path(row, "tags", "adobe/pqs/table", NULL), 0));
	pe_json *metrics = pe_json_path(row, "extensions", "adobe_lakeHouse", "metrics", NULL);

	memset(item, 0, sizeof(*item));
	item->id = pe_pool_strdup(pool, id);
	item->name = pe_json_dup(pool, row, "name");
	item->schema_id = pe_json_dup(pool, pe_json_member(row, "schemaRef"), "id");
	item->table_name = pe_pool_strdup(pool, table != NULL ? table : "");
	item->created_ms = pe_json_int64_or(row, "created", 0);
	item->row_count = pe_json_int64_or(metrics, "rowCount", -1);
	item->profile_enabled = tag_enabled(row, "unifiedProfile");
	item->identity_enabled = tag_enabled(row, "unifiedIdentity");
	if (item->id == NULL || item->name == NULL || item->schema_id == NULL || item->table_name == NULL)
		return pe_fail_memory(err);
	item->is_snapshot = strncmp(item->name, snapshot_prefix, strlen(snapshot_prefix)) == 0 ||
	                    strncmp(item->name, older_prefix, strlen(older_prefix)) == 0;
	if (policy == NULL && strncmp(item->name, older_prefix, strlen(older_prefix)) == 0)
		policy = item->name + strlen(older_prefix);
	item->merge_policy_id = pe_pool_strdup(pool, policy != NULL ? policy : "");
	return item->merge_policy_id != NULL ? PE_OK : pe_fail_memory(err);
}

typedef struct dataset_reader
{
	pe_dataset_list *list;
	int capacity;
	const char *name; /* take only these; NULL: all */
	bool snapshots;   /* take only these */
} dataset_reader;

static pe_status
take_dataset(void *ctx, const char *id, pe_json *row, pe_error *err)
{
	dataset_reader *reader = ctx;
	pe_dataset_list *list = reader->list;
	pe_status status;

	if (!pe_plain_id(id))
		return PE_OK;
	if (list->count == reader->capacity)
	{
		int capacity = reader->capacity == 0 ? 32 : reader->capacity * 2;
		pe_dataset *items = pe_pool_grow(&list->pool, list->items, (size_t) list->count * sizeof(*items),
		                                 (size_t) capacity * sizeof(*items));

		if (items == NULL)
			return pe_fail_memory(err);
		list->items = items;
		reader->capacity = capacity;
	}
	/* pages move when a data set appears between two of them */
	for (int i = 0; i < list->count; i++)
		if (strcmp(list->items[i].id, id) == 0)
			return PE_OK;
	status = pe_catalog_read_dataset(&list->pool, id, row, &list->items[list->count], err);
	if (status != PE_OK)
		return status;
	if ((reader->name == NULL || strcmp(list->items[list->count].name, reader->name) == 0) &&
	    (!reader->snapshots || list->items[list->count].is_snapshot))
		list->count++;
	return PE_OK;
}

static pe_status
read_datasets(pe_platform *platform, pe_text *query, int limit, dataset_reader *reader, pe_error *err)
{
	pe_status status;

	if (query->failed)
		status = pe_fail_memory(err);
	else
		status =
		    pe_catalog_pages(platform, query->data, limit, "list of data sets", take_dataset, reader, err);
	pe_text_free(query);
	if (status != PE_OK)
		pe_dataset_list_free(reader->list);
	return status;
}

static void
begin_datasets(pe_platform *platform, pe_dataset_list *list, pe_text *query)
{
	memset(list, 0, sizeof(*list));
	pe_pool_init(&list->pool, pe_platform_env(platform));
	pe_text_init(query, pe_platform_env(platform));
	pe_text_puts(query, PE_CATALOG "/dataSets?properties=" PROPERTIES "&");
}

pe_status
pe_catalog_datasets(pe_platform *platform, int limit, pe_dataset_list *list, pe_error *err)
{
	dataset_reader reader = {.list = list};
	pe_text query;

	begin_datasets(platform, list, &query);
	return read_datasets(platform, &query, limit > 0 ? limit : MOST_DATASETS, &reader, err);
}

pe_status
pe_catalog_find_dataset(pe_platform *platform, const char *name, pe_dataset_list *list, pe_error *err)
{
	dataset_reader reader = {.list = list, .name = name};
	pe_text query;

	begin_datasets(platform, list, &query);
	if (pe_filterable(name))
	{
		pe_text_puts(&query, "name=");
		pe_text_percent(&query, name);
		pe_text_puts(&query, "&");
	}
	return read_datasets(platform, &query, MOST_DATASETS, &reader, err);
}

pe_status
pe_catalog_snapshots(pe_platform *platform, pe_dataset_list *list, pe_error *err)
{
	dataset_reader reader = {.list = list, .snapshots = true};
	pe_text query;
	pe_status status;

	begin_datasets(platform, list, &query);
	pe_text_puts(&query, "property=name~%5E");
	pe_text_percent(&query, snapshot_prefix);
	pe_text_puts(&query, "&");
	status = read_datasets(platform, &query, 1000, &reader, err);
	if (status != PE_OK || list->count > 0)
		return status;
	pe_text_init(&query, pe_platform_env(platform));
	pe_text_puts(&query, PE_CATALOG "/dataSets?properties=" PROPERTIES "&property=name~%5E");
	pe_text_percent(&query, older_prefix);
	pe_text_puts(&query, "&");
	return read_datasets(platform, &query, 1000, &reader, err);
}

pe_status
pe_catalog_get_dataset(pe_platform *platform, const char *id, pe_dataset_list *list, pe_error *err)
{
	dataset_reader reader = {.list = list};
	pe_text path;
	pe_json *json;
	pe_status status;

	begin_datasets(platform, list, &path);
	pe_text_free(&path);
	if (!pe_plain_id(id))
		return pe_fail(err, PE_NOT_FOUND, "\"%.60s\" is not the id of a data set", id);
	pe_text_init(&path, pe_platform_env(platform));
	pe_text_printf(&path, PE_CATALOG "/dataSets/%s?properties=" PROPERTIES, id);
	status = pe_get_text(platform, &path, NULL, "data set", &json, err);
	if (status == PE_NOT_FOUND)
		return pe_fail(err, PE_NOT_FOUND, "data set %s does not exist in this sandbox", id);
	if (status == PE_OK && pe_json_member(json, id) != NULL)
		status = take_dataset(&reader, id, pe_json_member(json, id), err);
	pe_json_free(json);
	if (status == PE_OK && list->count != 1)
		status = pe_fail(err, PE_BAD_REPLY, "the answer about data set %s does not describe it", id);
	if (status != PE_OK)
		pe_dataset_list_free(list);
	return status;
}

void
pe_dataset_list_free(pe_dataset_list *list)
{
	pe_pool_free(&list->pool);
	list->items = NULL;
	list->count = 0;
}

pe_status
pe_catalog_create_dataset(pe_platform *platform, const char *name, const char *description,
                          const char *schema_id, char *id, size_t size, pe_error *err)
{
	pe_call call = {.method = "POST", .what = "new data set"};
	pe_text path;
	pe_text body;
	pe_json *json;
	pe_status status;

	pe_text_init(&path, pe_platform_env(platform));
	pe_text_init(&body, pe_platform_env(platform));
	pe_text_puts(&path, PE_CATALOG "/dataSets");
	pe_text_puts(&body, "{");
	pe_text_member(&body, "name", name);
	pe_text_member(&body, "description", description);
	pe_text_puts(&body, ",\"schemaRef\":{");
	pe_text_member(&body, "id", schema_id);
	pe_text_member(&body, "contentType", "application/vnd.adobe.xed+json;version=1");
	pe_text_puts(
	    &body,
	    "},\"fileDescription\":{\"persisted\":true,\"containerFormat\":\"parquet\",\"format\":\"parquet\"},"
	    "\"tags\":{\"unifiedProfile\":[\"enabled:true\"],\"unifiedIdentity\":[\"enabled:true\"]},"
	    "\"enableErrorDiagnostics\":true}");
	status = pe_call_text(platform, &call, &path, &body, &json, err);
	if (status == PE_OK)
		status = pe_created_id(json, call.what, id, size, err);
	pe_json_free(json);
	return status;
}

pe_status
pe_catalog_enable_profile(pe_platform *platform, const char *dataset_id, bool *changed, pe_error *err)
{
	pe_call call = {
	    .method = "PATCH", .content_type = "application/json-patch+json", .what = "tags of the data set"};
	pe_dataset_list list;
	pe_text path;
	pe_text body;
	pe_json *json;
	bool profile;
	bool identity;
	pe_status status = pe_catalog_get_dataset(platform, dataset_id, &list, err);

	*changed = false;
	if (status != PE_OK)
		return status;
	profile = list.items[0].profile_enabled;
	identity = list.items[0].identity_enabled;
	pe_dataset_list_free(&list);
	if (profile && identity)
		return PE_OK;
	pe_text_init(&path, pe_platform_env(platform));
	pe_text_init(&body, pe_platform_env(platform));
	pe_text_printf(&path, PE_CATALOG "/dataSets/%s", dataset_id);
	pe_text_puts(&body, "[{\"op\":\"add\",\"path\":\"/tags/unifiedProfile\",\"value\":[\"enabled:true\"]},"
	                    "{\"op\":\"add\",\"path\":\"/tags/unifiedIdentity\",\"value\":[\"enabled:true\"]}]");
	status = pe_call_text(platform, &call, &path, &body, &json, err);
	pe_json_free(json);
	*changed = status == PE_OK;
	return status;
}
