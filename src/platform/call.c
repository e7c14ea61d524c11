/*
 * call.c
 *		What the typed calls share.
 */
#include <ctype.h>

#include "platform/call.h"

pe_status
pe_call_json(pe_platform *platform, const pe_call *call, pe_json **json, pe_error *err)
{
	pe_http_response response;
	pe_status status = pe_platform_call(platform, call, &response, err);

	*json = NULL;
	if (status == PE_OK)
		status = pe_json_parse(response.body, response.body_length, 0, call->what, json, err);
	pe_http_response_free(&response);
	return status;
}

pe_status
pe_call_text(pe_platform *platform, pe_call *call, pe_text *path, pe_text *body, pe_json **json,
             pe_error *err)
{
	pe_status status;

	*json = NULL;
	if (path->failed || (body != NULL && body->failed))
		status = pe_fail_memory(err);
	else
	{
		call->path = path->data;
		call->body = body != NULL ? body->data : NULL;
		call->body_length = body != NULL ? body->length : 0;
		status = pe_call_json(platform, call, json, err);
	}
	pe_text_free(path);
	if (body != NULL)
		pe_text_free(body);
	return status;
}

pe_status
pe_get_text(pe_platform *platform, pe_text *path, const char *accept, const char *what, pe_json **json,
            pe_error *err)
{
	pe_call call = {.method = "GET", .accept = accept, .what = what};

	return pe_call_text(platform, &call, path, NULL, json, err);
}

pe_status
pe_created_id(pe_json *json, const char *what, char *id, size_t size, pe_error *err)
{
	const char *text = pe_json_text(pe_json_item(json, 0));
	const char *slash = text != NULL ? strrchr(text, '/') : NULL;

	id[0] = '\0';
	if (slash == NULL || !pe_plain_id(slash + 1) || strlen(slash + 1) >= size)
		return pe_fail(err, PE_BAD_REPLY, "the answer to the %s holds no id", what);
	memcpy(id, slash + 1, strlen(slash + 1) + 1);
	return PE_OK;
}

bool
pe_plain_id(const char *id)
{
	if (id[0] == '\0' || strlen(id) > 200 || strcmp(id, ".") == 0 || strcmp(id, "..") == 0)
		return false;
	for (; *id != '\0'; id++)
		if (!isalnum((unsigned char) *id) && strchr("-_.:", *id) == NULL)
			return false;
	return true;
}

void
pe_text_member(pe_text *text, const char *key, const char *value)
{
	if (text->length > 0 && strchr("{[,:", text->data[text->length - 1]) == NULL)
		pe_text_append(text, ",", 1);
	pe_text_json(text, key, strlen(key));
	pe_text_append(text, ":", 1);
	pe_text_json(text, value, strlen(value));
}
