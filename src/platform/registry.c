/*
 * registry.c
 *		The tenant, finding and reading resources, and the field group.
 */
#include "platform/call.h"
#include "platform/registry_internal.h"
#include "platform/xdm_fields.h"

#define PROFILE_CLASS "https://ns.adobe.com/xdm/context/profile"
#define ACCEPT_LIST   "application/vnd.adobe.xed-id+json"
#define ACCEPT_ONE    "application/vnd.adobe.xed+json; version=1"

pe_status
pe_registry_tenant(pe_platform *platform, char *tenant, size_t size, pe_error *err)
{
	pe_call call = {.method = "GET", .path = PE_REGISTRY "/stats", .what = "tenant of the Schema Registry"};
	pe_json *json;
	pe_status status = pe_call_json(platform, &call, &json, err);

	tenant[0] = '\0';
	if (status == PE_OK && (!pe_json_copy(json, "tenantId", tenant, size) || !pe_plain_id(tenant) ||
	                        strpbrk(tenant, ".:") != NULL))
		status = pe_fail(err, PE_BAD_REPLY, "the Schema Registry does not name the tenant");
	pe_json_free(json);
	return status;
}

pe_status
pe_registry_path(pe_platform *platform, const char *kind, const char *id, pe_text *path, pe_error *err)
{
	pe_text_init(path, pe_platform_env(platform));
	if (id[0] == '\0' || strlen(id) > 300)
		return pe_fail(err, PE_NOT_FOUND, "the id of a resource of the Schema Registry is empty or too long");
	pe_text_printf(path, PE_REGISTRY "/tenant/%s/", kind);
	pe_text_percent(path, id);
	return PE_OK;
}

void
pe_registry_read(pe_json *json, pe_resource *resource)
{
	pe_json *tags = pe_json_member(json, "meta:immutableTags");
	pe_json *info = pe_json_member(json, "additionalInfo");
	bool found = resource->found;

	memset(resource, 0, sizeof(*resource));
	resource->found = found;
	pe_json_copy(json, "$id", resource->id, sizeof(resource->id));
	pe_json_copy(json, "meta:altId", resource->alt_id, sizeof(resource->alt_id));
	pe_json_copy(json, "title", resource->title, sizeof(resource->title));
	pe_json_copy(json, "version", resource->version, sizeof(resource->version));
	resource->has_primary_identity = pe_json_bool_or(info, "hasPrimaryIdentity", false);
	resource->profile_enabled = pe_json_bool_or(info, "profileEnabled", false);
	for (int i = 0; i < pe_json_length(tags); i++)
	{
		const char *tag = pe_json_text(pe_json_item(tags, i));

		if (tag != NULL && strcmp(tag, "union") == 0)
			resource->profile_enabled = true;
	}
}

pe_status
pe_registry_find(pe_platform *platform, const char *kind, const char *title, pe_resource *resource,
                 pe_error *err)
{
	pe_status status = PE_OK;
	pe_text start;
	bool more = true;

	memset(resource, 0, sizeof(*resource));
	pe_text_init(&start, pe_platform_env(platform));
	for (int page = 0; more && status == PE_OK && !resource->found && page < PE_MAX_PAGES; page++)
	{
		pe_text path;
		pe_json *json;
		pe_json *results;
		const char *next;

		pe_text_init(&path, pe_platform_env(platform));
		pe_text_printf(&path, PE_REGISTRY "/tenant/%s?limit=300", kind);
		if (pe_filterable(title))
		{
			pe_text_puts(&path, "&property=title==");
			pe_text_percent(&path, title);
		}
		if (start.length > 0)
		{
			pe_text_puts(&path, "&start=");
			pe_text_percent(&path, start.data);
		}
		status = pe_get_text(platform, &path, ACCEPT_LIST, "search in the Schema Registry", &json, err);
		results = pe_json_member(json, "results");
		if (status == PE_OK && !pe_json_is_array(results))
			status = pe_fail(err, PE_BAD_REPLY, "the Schema Registry's list has no results");
		for (int i = 0; i < pe_json_length(results) && !resource->found; i++)
		{
			const char *found = pe_json_string(pe_json_item(results, i), "title");

			if (found == NULL || strcmp(found, title) != 0)
				continue;
			pe_registry_read(pe_json_item(results, i), resource);
			resource->found = resource->id[0] != '\0';
		}
		next = pe_json_text(pe_json_path(json, "_page", "next", NULL));
		more = next != NULL && next[0] != '\0' && (start.length == 0 || strcmp(next, start.data) != 0);
		start.length = 0;
		if (more)
			pe_text_puts(&start, next);
		if (start.failed)
			status = pe_fail_memory(err);
		pe_json_free(json);
	}
	pe_text_free(&start);
	return status;
}

pe_status
pe_registry_fetch(pe_platform *platform, const char *kind, const char *id, pe_json **json, pe_error *err)
{
	pe_text path;
	pe_status status = pe_registry_path(platform, kind, id, &path, err);

	*json = NULL;
	if (status != PE_OK)
		return status;
	return pe_get_text(platform, &path, ACCEPT_ONE, "resource of the Schema Registry", json, err);
}

pe_status
pe_registry_get(pe_platform *platform, const char *kind, const char *id, pe_resource *resource, pe_error *err)
{
	pe_json *json;
	pe_status status = pe_registry_fetch(platform, kind, id, &json, err);

	memset(resource, 0, sizeof(*resource));
	if (status != PE_OK)
		return status;
	pe_registry_read(json, resource);
	pe_json_free(json);
	resource->found = resource->id[0] != '\0';
	if (!resource->found)
		return pe_fail(err, PE_BAD_REPLY, "the Schema Registry's answer has no $id");
	return PE_OK;
}

pe_status
pe_registry_send(pe_platform *platform, const char *method, const char *kind, const char *id,
                 const char *what, pe_text *body, pe_json **json, pe_error *err)
{
	pe_call call = {.method = method, .what = what};
	pe_text path;
	pe_status status;

	*json = NULL;
	if (id != NULL)
	{
		status = pe_registry_path(platform, kind, id, &path, err);
		if (status != PE_OK)
		{
			pe_text_free(body);
			return status;
		}
	}
	else
	{
		pe_text_init(&path, pe_platform_env(platform));
		pe_text_printf(&path, PE_REGISTRY "/tenant/%s", kind);
	}
	return pe_call_text(platform, &call, &path, body, json, err);
}

/* The definition that holds _tenant's properties, and its name among "definitions". */
static pe_json *
tenant_properties(pe_json *json, const char *tenant_key, const char **definition)
{
	pe_json *definitions = pe_json_member(json, "definitions");

	*definition = NULL;
	if (pe_json_is_object(definitions))
	{
		json_object_object_foreach(definitions, name, value)
		{
			pe_json *found = pe_json_path(value, "properties", tenant_key, "properties", NULL);

			if (pe_json_is_object(found))
			{
				*definition = name;
				return found;
			}
		}
	}
	return pe_json_path(json, "properties", tenant_key, "properties", NULL);
}

pe_status
pe_registry_group_fields(pe_platform *platform, const char *tenant, const char *id, pe_pool *pool,
                         pe_xdm_field **fields, int *count, pe_error *err)
{
	char key[256];
	const char *definition;
	pe_json *json;
	pe_status status = pe_registry_fetch(platform, "fieldgroups", id, &json, err);

	pe_pool_init(pool, pe_platform_env(platform));
	*fields = NULL;
	*count = 0;
	if (status != PE_OK)
		return status;
	snprintf(key, sizeof(key), "_%s", tenant);
	status = pe_xdm_read_members(pool, tenant_properties(json, key, &definition), fields, count, err);
	pe_json_free(json);
	if (status != PE_OK)
		pe_pool_free(pool);
	return status;
}

/* "~" and "/" of a name inside a JSON Pointer. */
static void
append_pointer(pe_text *text, const char *name)
{
	for (; *name != '\0'; name++)
		if (*name == '~')
			pe_text_puts(text, "~0");
		else if (*name == '/')
			pe_text_puts(text, "~1");
		else
			pe_text_append(text, name, 1);
}

/* The operations that give an existing field group what it lacks; *added 0: nothing. */
static pe_status
build_patch(const pe_env *env, pe_json *json, const char *tenant, const pe_xdm_field *fields, int count,
            pe_text *patch, int *added, pe_error *err)
{
	char key[256];
	const char *definition;
	pe_json *properties;
	pe_xdm_field *present;
	int present_count;
	pe_pool pool;
	pe_text base;
	pe_status status;

	snprintf(key, sizeof(key), "_%s", tenant);
	properties = tenant_properties(json, key, &definition);
	if (properties == NULL || definition == NULL)
	{
		pe_fail(err, PE_CONFLICT, "the field group of that title holds no fields below %.100s", key);
		pe_error_hint(err, "It was not made for this: choose another title, or delete it on the platform.");
		return PE_CONFLICT;
	}
	pe_pool_init(&pool, env);
	pe_text_init(&base, env);
	pe_text_puts(&base, "/definitions/");
	append_pointer(&base, definition);
	pe_text_printf(&base, "/properties/%s/properties", key);
	status = base.failed ? pe_fail_memory(err)
	                     : pe_xdm_read_members(&pool, properties, &present, &present_count, err);
	if (status == PE_OK)
		status = pe_xdm_missing(fields, count, present, present_count, base.data, patch, added, err);
	if (status == PE_OK && patch->failed)
		status = pe_fail_memory(err);
	pe_text_free(&base);
	pe_pool_free(&pool);
	return status;
}

static pe_status
extend_group(pe_platform *platform, const char *tenant, const pe_xdm_field *fields, int count,
             pe_resource *group, int *added, pe_error *err)
{
	const char *id = group->alt_id[0] != '\0' ? group->alt_id : group->id;
	pe_text patch;
	pe_json *json;
	pe_status status = pe_registry_fetch(platform, "fieldgroups", id, &json, err);

	if (status != PE_OK)
		return status;
	pe_text_init(&patch, pe_platform_env(platform));
	pe_text_puts(&patch, "[");
	status = build_patch(pe_platform_env(platform), json, tenant, fields, count, &patch, added, err);
	pe_text_puts(&patch, "]");
	pe_json_free(json);
	if (status != PE_OK || *added == 0)
	{
		pe_text_free(&patch);
		return status;
	}
	status = pe_registry_send(platform, "PATCH", "fieldgroups", id, "change of the field group", &patch,
	                          &json, err);
	if (status == PE_OK)
		pe_registry_read(json, group);
	pe_json_free(json);
	return status;
}

static pe_status
create_group(pe_platform *platform, const char *tenant, const char *title, const char *description,
             const pe_xdm_field *fields, int count, pe_resource *group, pe_error *err)
{
	pe_text body;
	pe_json *json;
	pe_status status;

	pe_text_init(&body, pe_platform_env(platform));
	pe_text_puts(&body, "{\"type\":\"object\"");
	pe_text_member(&body, "title", title);
	pe_text_member(&body, "description", description);
	pe_text_puts(&body,
	             ",\"meta:intendedToExtend\":[\"" PROFILE_CLASS "\"],\"definitions\":{\"customFields\":{"
	             "\"type\":\"object\",\"properties\":{");
	pe_text_printf(&body, "\"_%s\":{\"type\":\"object\",\"properties\":", tenant);
	pe_xdm_write_members(&body, fields, count);
	pe_text_puts(&body, "}}}},\"allOf\":[{\"$ref\":\"#/definitions/customFields\"}]}");
	status = pe_registry_send(platform, "POST", "fieldgroups", NULL, "new field group", &body, &json, err);
	if (status == PE_OK)
	{
		pe_registry_read(json, group);
		group->found = group->id[0] != '\0';
		if (!group->found)
			status = pe_fail(err, PE_BAD_REPLY, "the Schema Registry's answer has no $id");
	}
	pe_json_free(json);
	return status;
}

pe_status
pe_registry_ensure_field_group(pe_platform *platform, const char *tenant, const char *title,
                               const char *description, const pe_xdm_field *fields, int count,
                               pe_resource *group, bool *created, int *added, pe_error *err)
{
	pe_status status;

	*created = false;
	*added = 0;
	status = pe_xdm_check_fields(fields, count, err);
	if (status == PE_OK && (!pe_plain_id(tenant) || strlen(tenant) > 200))
		status = pe_fail(err, PE_INVALID_OPTION, "the tenant's name is not valid");
	if (status == PE_OK)
		status = pe_registry_find(platform, "fieldgroups", title, group, err);
	if (status != PE_OK)
		return status;
	if (!group->found)
	{
		pe_error refusal;

		status = create_group(platform, tenant, title, description, fields, count, group, err);
		*created = status == PE_OK;
		if (!pe_may_exist(status))
			return status;
		/* somebody else was quicker, or the title belongs to a resource of another kind */
		refusal = *err;
		status = pe_registry_find(platform, "fieldgroups", title, group, err);
		if (status == PE_OK && !group->found)
		{
			*err = refusal;
			status = refusal.code;
		}
		if (status != PE_OK)
			return status;
	}
	return extend_group(platform, tenant, fields, count, group, added, err);
}
