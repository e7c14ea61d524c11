/*
 * schema.c
 *		The schema that scores are written with: its members, its primary identity, and
 *		switching it on for Profile.
 */
#include "platform/call.h"
#include "platform/registry_internal.h"

#define PROFILE_CLASS      "https://ns.adobe.com/xdm/context/profile"
#define IDENTITY_MAP       "https://ns.adobe.com/xdm/context/identitymap"
#define ACCEPT_DESCRIPTORS "application/vnd.adobe.xdm+json"

static bool
has_member(pe_json *schema, const char *reference)
{
	pe_json *members = pe_json_member(schema, "allOf");

	for (int i = 0; i < pe_json_length(members); i++)
	{
		const char *found = pe_json_string(pe_json_item(members, i), "$ref");

		if (found != NULL && strcmp(found, reference) == 0)
			return true;
	}
	return false;
}

static void
add_member(pe_text *patch, const char *reference)
{
	pe_text_puts(patch, patch->length > 1 ? ",{" : "{");
	pe_text_puts(patch, "\"op\":\"add\",\"path\":\"/allOf/-\",\"value\":{");
	pe_text_member(patch, "$ref", reference);
	pe_text_puts(patch, "}}");
}

/* Give a schema that was found what it lacks. */
static pe_status
extend_schema(pe_platform *platform, const char *group_id, pe_resource *schema, pe_error *err)
{
	const char *id = schema->alt_id[0] != '\0' ? schema->alt_id : schema->id;
	pe_text patch;
	pe_json *json;
	pe_json *changed;
	pe_status status = pe_registry_fetch(platform, "schemas", id, &json, err);

	if (status != PE_OK)
		return status;
	pe_registry_read(json, schema);
	if (!has_member(json, PROFILE_CLASS))
	{
		pe_json_free(json);
		pe_fail(err, PE_CONFLICT, "the schema of that title is not of class XDM Individual Profile");
		pe_error_hint(err, "Choose another title, or delete that schema on the platform.");
		return PE_CONFLICT;
	}
	pe_text_init(&patch, pe_platform_env(platform));
	pe_text_puts(&patch, "[");
	if (!has_member(json, IDENTITY_MAP))
		add_member(&patch, IDENTITY_MAP);
	if (!has_member(json, group_id))
		add_member(&patch, group_id);
	pe_json_free(json);
	if (patch.length <= 1 && !patch.failed)
	{
		pe_text_free(&patch);
		return PE_OK;
	}
	pe_text_puts(&patch, "]");
	status =
	    pe_registry_send(platform, "PATCH", "schemas", id, "change of the schema", &patch, &changed, err);
	if (status == PE_OK)
		pe_registry_read(changed, schema);
	pe_json_free(changed);
	return status;
}

static pe_status
create_schema(pe_platform *platform, const char *title, const char *description, const char *group_id,
              pe_resource *schema, pe_error *err)
{
	pe_text body;
	pe_json *json;
	pe_status status;

	pe_text_init(&body, pe_platform_env(platform));
	pe_text_puts(&body, "{\"type\":\"object\"");
	pe_text_member(&body, "title", title);
	pe_text_member(&body, "description", description);
	pe_text_puts(&body, ",\"allOf\":[{\"$ref\":\"" PROFILE_CLASS "\"},{\"$ref\":\"" IDENTITY_MAP "\"},{");
	pe_text_member(&body, "$ref", group_id);
	pe_text_puts(&body, "}]}");
	status = pe_registry_send(platform, "POST", "schemas", NULL, "new schema", &body, &json, err);
	if (status == PE_OK)
	{
		pe_registry_read(json, schema);
		schema->found = schema->id[0] != '\0';
		if (!schema->found)
			status = pe_fail(err, PE_BAD_REPLY, "the Schema Registry's answer has no $id");
	}
	pe_json_free(json);
	return status;
}

pe_status
pe_registry_ensure_schema(pe_platform *platform, const char *title, const char *description,
                          const char *group_id, pe_resource *schema, bool *created, pe_error *err)
{
	pe_status status = pe_registry_find(platform, "schemas", title, schema, err);

	*created = false;
	if (status != PE_OK)
		return status;
	if (!schema->found)
	{
		pe_error refusal;

		status = create_schema(platform, title, description, group_id, schema, err);
		*created = status == PE_OK;
		if (!pe_may_exist(status))
			return status;
		refusal = *err;
		status = pe_registry_find(platform, "schemas", title, schema, err);
		if (status == PE_OK && !schema->found)
		{
			*err = refusal;
			status = refusal.code;
		}
		if (status != PE_OK)
			return status;
	}
	return extend_schema(platform, group_id, schema, err);
}

/* What the schema's identity descriptors say. */
typedef struct descriptor_search
{
	const char *schema_id;
	const char *property;
	const char *code;
	bool same;      /* primary, on our property, of our namespace */
	bool other;     /* primary elsewhere or otherwise */
	bool not_first; /* on our property, but not primary */
	char other_property[200];
} descriptor_search;

/* The list comes grouped by type, as plain results or as an array: look at whatever has an @type. */
static void
look_at(pe_json *json, descriptor_search *search, int depth)
{
	const char *type = pe_json_string(json, "@type");
	const char *schema = pe_json_string(json, "xdm:sourceSchema");
	const char *property = pe_json_string(json, "xdm:sourceProperty");
	const char *code = pe_json_string(json, "xdm:namespace");

	if (depth > 4)
		return;
	for (int i = 0; i < pe_json_length(json); i++)
		look_at(pe_json_item(json, i), search, depth + 1);
	if (type == NULL && pe_json_is_object(json))
	{
		json_object_object_foreach(json, key, value)
		{
			(void) key;
			look_at(value, search, depth + 1);
		}
	}
	if (type == NULL || strcmp(type, "xdm:descriptorIdentity") != 0 || schema == NULL || property == NULL ||
	    strcmp(schema, search->schema_id) != 0)
		return;
	if (!pe_json_bool_or(json, "xdm:isPrimary", false))
		search->not_first |= strcmp(property, search->property) == 0;
	else if (strcmp(property, search->property) == 0 && code != NULL && strcasecmp(code, search->code) == 0)
		search->same = true;
	else
	{
		search->other = true;
		snprintf(search->other_property, sizeof(search->other_property), "%s", property);
	}
}

static pe_status
search_descriptors(pe_platform *platform, descriptor_search *search, pe_error *err)
{
	pe_text path;
	pe_json *json;
	pe_status status;

	pe_text_init(&path, pe_platform_env(platform));
	pe_text_puts(&path, PE_REGISTRY "/tenant/descriptors?property=xdm:sourceSchema==");
	pe_text_percent(&path, search->schema_id);
	status = pe_get_text(platform, &path, ACCEPT_DESCRIPTORS, "list of descriptors", &json, err);
	if (status == PE_OK)
		look_at(json, search, 0);
	pe_json_free(json);
	return status;
}

/* Another primary identity, or ours without being primary, cannot be changed by us. */
static pe_status
check_descriptors(const descriptor_search *search, pe_error *err)
{
	if (search->other)
	{
		pe_fail(err, PE_CONFLICT, "the schema already has another primary identity, on %s",
		        search->other_property);
		pe_error_hint(err,
		              "A schema has one primary identity: use that field and namespace, or another schema.");
		return PE_CONFLICT;
	}
	if (search->not_first && !search->same)
	{
		pe_fail(err, PE_CONFLICT, "%.200s is an identity of the schema already, but not the primary one",
		        search->property);
		pe_error_hint(err, "Delete that descriptor on the platform, or use another schema.");
		return PE_CONFLICT;
	}
	return PE_OK;
}

pe_status
pe_registry_ensure_identity(pe_platform *platform, const char *schema_id, const char *property,
                            const char *namespace_code, bool *created, pe_error *err)
{
	descriptor_search search = {.schema_id = schema_id, .property = property, .code = namespace_code};
	pe_text body;
	pe_json *json;
	pe_status status = search_descriptors(platform, &search, err);

	*created = false;
	if (status == PE_OK)
		status = check_descriptors(&search, err);
	if (status != PE_OK || search.same)
		return status;
	pe_text_init(&body, pe_platform_env(platform));
	pe_text_puts(&body, "{\"@type\":\"xdm:descriptorIdentity\"");
	pe_text_member(&body, "xdm:sourceSchema", schema_id);
	pe_text_puts(&body, ",\"xdm:sourceVersion\":1");
	pe_text_member(&body, "xdm:sourceProperty", property);
	pe_text_member(&body, "xdm:namespace", namespace_code);
	pe_text_puts(&body, ",\"xdm:property\":\"xdm:code\",\"xdm:isPrimary\":true}");
	status =
	    pe_registry_send(platform, "POST", "descriptors", NULL, "new identity descriptor", &body, &json, err);
	pe_json_free(json);
	*created = status == PE_OK;
	if (pe_may_exist(status))
	{
		pe_error refusal = *err;

		status = search_descriptors(platform, &search, err);
		if (status == PE_OK)
			status = check_descriptors(&search, err);
		if (status == PE_OK && !search.same)
		{
			*err = refusal;
			status = refusal.code;
		}
	}
	return status;
}

pe_status
pe_registry_enable_profile(pe_platform *platform, pe_resource *schema, bool *changed, pe_error *err)
{
	char id[sizeof(schema->id)];
	pe_text patch;
	pe_json *json;
	pe_status status;

	*changed = false;
	snprintf(id, sizeof(id), "%s", schema->alt_id[0] != '\0' ? schema->alt_id : schema->id);
	status = pe_registry_get(platform, "schemas", id, schema, err);
	if (status != PE_OK || schema->profile_enabled)
		return status;
	pe_text_init(&patch, pe_platform_env(platform));
	pe_text_puts(&patch, "[{\"op\":\"add\",\"path\":\"/meta:immutableTags\",\"value\":[\"union\"]}]");
	status = pe_registry_send(platform, "PATCH", "schemas", id, "enabling of the schema for Profile", &patch,
	                          &json, err);
	pe_json_free(json);
	if (status != PE_OK)
		return status;
	*changed = true;
	status = pe_registry_get(platform, "schemas", id, schema, err);
	if (status == PE_OK && !schema->profile_enabled)
		status = pe_fail(err, PE_BAD_REPLY,
		                 "the platform took the change, but the schema is still not enabled for Profile");
	return status;
}
