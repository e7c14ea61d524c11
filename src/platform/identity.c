/*
 * identity.c
 *		Identity namespaces of the organisation.
 */
#include <ctype.h>

#include "platform/call.h"
#include "platform/identity.h"

static pe_status
read_namespace(pe_pool *pool, pe_json *json, pe_namespace *item, pe_error *err)
{
	const char *type = pe_json_string(json, "idType");
	char *upper = pe_pool_strdup(pool, type != NULL ? type : "");

	for (char *p = upper; p != NULL && *p != '\0'; p++)
		*p = (char) toupper((unsigned char) *p);
	item->id = pe_json_int64_or(json, "id", -1);
	item->code = pe_json_dup(pool, json, "code");
	item->name = pe_json_dup(pool, json, "name");
	item->status = pe_json_dup(pool, json, "status");
	item->id_type = upper;
	item->custom = pe_json_bool_or(json, "custom", false);
	if (item->code == NULL || item->name == NULL || item->status == NULL || upper == NULL)
		return pe_fail_memory(err);
	return PE_OK;
}

static pe_status
read_namespaces(const pe_env *env, pe_json *json, pe_namespace_list *list, pe_error *err)
{
	int count = pe_json_length(json);
	pe_status status = PE_OK;

	pe_pool_init(&list->pool, env);
	if (!pe_json_is_array(json))
		return pe_fail(err, PE_BAD_REPLY, "the list of identity namespaces is not a list");
	list->items = pe_pool_alloc(&list->pool, (size_t) count * sizeof(*list->items));
	if (list->items == NULL)
		return pe_fail_memory(err);
	for (int i = 0; i < count && status == PE_OK; i++)
	{
		status = read_namespace(&list->pool, pe_json_item(json, i), &list->items[list->count], err);
		if (status == PE_OK && list->items[list->count].code[0] != '\0')
			list->count++;
	}
	return status;
}

pe_status
pe_identity_list(pe_platform *platform, pe_namespace_list *list, pe_error *err)
{
	pe_call call = {
	    .method = "GET", .path = PE_IDENTITY "/identities", .what = "list of identity namespaces"};
	pe_json *json;
	pe_status status = pe_call_json(platform, &call, &json, err);

	memset(list, 0, sizeof(*list));
	if (status != PE_OK)
		return status;
	status = read_namespaces(pe_platform_env(platform), json, list, err);
	pe_json_free(json);
	if (status != PE_OK)
		pe_namespace_list_free(list);
	return status;
}

void
pe_namespace_list_free(pe_namespace_list *list)
{
	pe_pool_free(&list->pool);
	list->items = NULL;
	list->count = 0;
}

const pe_namespace *
pe_namespace_find(const pe_namespace_list *list, const char *code)
{
	for (int i = 0; i < list->count; i++)
		if (strcasecmp(list->items[i].code, code) == 0)
			return &list->items[i];
	return NULL;
}

static pe_status
code_exists(pe_platform *platform, const char *code, bool *exists, pe_error *err)
{
	pe_namespace_list list;
	pe_status status = pe_identity_list(platform, &list, err);

	*exists = status == PE_OK && pe_namespace_find(&list, code) != NULL;
	pe_namespace_list_free(&list);
	return status;
}

pe_status
pe_identity_ensure(pe_platform *platform, const char *code, const char *name, bool *created, pe_error *err)
{
	pe_call call = {.method = "POST", .path = PE_IDENTITY "/identities", .what = "new identity namespace"};
	pe_http_response response;
	pe_text body;
	bool exists;
	pe_status status = code_exists(platform, code, &exists, err);

	*created = false;
	if (status != PE_OK || exists)
		return status;
	pe_text_init(&body, pe_platform_env(platform));
	pe_text_puts(&body, "{");
	pe_text_member(&body, "name", name);
	pe_text_member(&body, "code", code);
	pe_text_member(&body, "idType", "CROSS_DEVICE");
	pe_text_member(&body, "description", name);
	pe_text_puts(&body, "}");
	if (body.failed)
	{
		pe_text_free(&body);
		return pe_fail_memory(err);
	}
	call.body = body.data;
	call.body_length = body.length;
	status = pe_platform_call(platform, &call, &response, err);
	pe_http_response_free(&response);
	pe_text_free(&body);
	if (pe_may_exist(status))
	{
		/* somebody else was quicker; or the code is taken where we cannot see it */
		pe_error refusal = *err;

		status = code_exists(platform, code, &exists, err);
		if (status == PE_OK && !exists)
		{
			*err = refusal;
			status = refusal.code;
		}
		return status;
	}
	*created = status == PE_OK;
	return status;
}
