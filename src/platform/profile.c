/*
 * profile.c
 *		Reading one profile back, and the merge policies.
 */
#include "platform/call.h"
#include "platform/profile.h"

static void
add_argument(pe_text *path, const char *name, const char *value)
{
	if (value == NULL || value[0] == '\0')
		return;
	pe_text_printf(path, "&%s=", name);
	pe_text_percent(path, value);
}

pe_status
pe_profile_entity(pe_platform *platform, const char *namespace_code, const char *identity, const char *fields,
                  const char *merge_policy, pe_pool *pool, char **json_text, pe_error *err)
{
	pe_text path;
	pe_json *json;
	pe_json *entity = NULL;
	pe_status status;

	*json_text = NULL;
	pe_text_init(&path, pe_platform_env(platform));
	pe_text_puts(&path, PE_PROFILE "/access/entities?schema.name=_xdm.context.profile");
	add_argument(&path, "entityId", identity);
	add_argument(&path, "entityIdNS", namespace_code);
	add_argument(&path, "fields", fields);
	add_argument(&path, "mergePolicyId", merge_policy);
	status = pe_get_text(platform, &path, NULL, "profile", &json, err);
	if (status == PE_OK && pe_json_is_object(json))
	{
		json_object_object_foreach(json, key, entry)
		{
			(void) key;
			entity = pe_json_member(entry, "entity");
			if (pe_json_is_object(entity))
				break;
		}
		if (pe_json_is_object(entity))
		{
			*json_text =
			    pe_pool_strdup(pool, json_object_to_json_string_ext(
			                             entity, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
			status = *json_text != NULL ? PE_OK : pe_fail_memory(err);
		}
		else if (json_object_object_length(json) > 0)
			status = pe_fail(err, PE_BAD_REPLY, "the platform's answer holds no profile");
		else
			status = PE_NOT_FOUND;
	}
	else if (status == PE_OK)
		status = pe_fail(err, PE_BAD_REPLY, "the platform's answer holds no profile");
	pe_json_free(json);
	if (status == PE_NOT_FOUND)
	{
		/* the identity is personal data, and stays out of messages */
		pe_fail(err, PE_NOT_FOUND, "the platform has no profile for this identity in namespace %.40s",
		        namespace_code);
		pe_error_hint(err,
		              "A new profile can take 15 minutes to appear after streaming, longer after a batch.");
	}
	return status;
}

static pe_status
read_policies(const pe_env *env, pe_json *json, pe_merge_policy_list *list, pe_error *err)
{
	pe_json *rows = pe_json_member(json, "children");
	int count;

	if (rows == NULL)
		rows = pe_json_member(json, "results");
	if (rows == NULL && pe_json_is_array(json))
		rows = json;
	pe_pool_init(&list->pool, env);
	if (!pe_json_is_array(rows))
		return pe_fail(err, PE_BAD_REPLY, "the list of merge policies is not a list");
	count = pe_json_length(rows);
	list->items = pe_pool_alloc(&list->pool, (size_t) count * sizeof(*list->items));
	if (list->items == NULL)
		return pe_fail_memory(err);
	for (int i = 0; i < count; i++)
	{
		pe_merge_policy *item = &list->items[list->count];
		pe_json *row = pe_json_item(rows, i);

		item->id = pe_json_dup(&list->pool, row, "id");
		item->name = pe_json_dup(&list->pool, row, "name");
		item->is_default = pe_json_bool_or(row, "default", false);
		if (item->id == NULL || item->name == NULL)
			return pe_fail_memory(err);
		if (item->id[0] != '\0')
			list->count++;
	}
	return PE_OK;
}

pe_status
pe_profile_merge_policies(pe_platform *platform, pe_merge_policy_list *list, pe_error *err)
{
	pe_call call = {.method = "GET",
	                .path = PE_PROFILE "/config/mergePolicies?limit=100",
	                .what = "list of merge policies"};
	pe_json *json;
	pe_status status = pe_call_json(platform, &call, &json, err);

	memset(list, 0, sizeof(*list));
	if (status != PE_OK)
		return status;
	status = read_policies(pe_platform_env(platform), json, list, err);
	pe_json_free(json);
	if (status != PE_OK)
		pe_merge_policy_list_free(list);
	return status;
}

void
pe_merge_policy_list_free(pe_merge_policy_list *list)
{
	pe_pool_free(&list->pool);
	list->items = NULL;
	list->count = 0;
}
