/*
 * platform_call.c
 *		How a typed call goes out. A file of its own, so that tests can put scripted
 *		answers in its place.
 */
#include "platform/session.h"

/* One try, with whatever token is held. */
static pe_status
send_call(pe_platform *platform, const pe_call *call, const char *url, pe_http_response *response,
          pe_error *err)
{
	pe_header_set set;
	pe_http_request request = {
	    .method = call->method,
	    .url = url,
	    .body = call->body,
	    .body_length = call->body_length,
	    .max_body = call->max_body,
	    .total_timeout_ms = call->total_timeout_ms,
	    .sink = call->sink,
	    .sink_ctx = call->sink_ctx,
	};
	const char *type = call->content_type;

	if (type == NULL && call->body != NULL)
		type = "application/json";

	pe_platform_headers(platform, type, &set);
	if (call->accept != NULL)
		pe_header_add(&set, "Accept", call->accept);
	if (call->if_match != NULL)
		pe_header_add(&set, "If-Match", call->if_match);
	if (call->range != NULL)
		pe_header_add(&set, "Range", call->range);
	request.headers = set.headers;
	request.header_count = set.count;
	return pe_http_perform(platform->http, &request, response, err);
}

/* Does the answer mean that another token might do? */
static bool
token_refused(const pe_http_response *response)
{
	char code[32];

	if (response->failure != PE_HTTP_DONE)
		return false;
	if (response->status == 401)
		return true;
	if (response->status != 403 || response->body == NULL)
		return false;
	pe_platform_error_code(response->body, response->body_length, code, sizeof(code));
	return strcmp(code, "401013") == 0;
}

pe_status
pe_platform_call(pe_platform *platform, const pe_call *call, pe_http_response *response, pe_error *err)
{
	pe_status status;
	const char *path = call->path;
	char *url;
	size_t base = strlen(platform->platform_url);

	memset(response, 0, sizeof(*response));
	response->allocator = platform->env.allocator;
	response->failure = PE_HTTP_SETTING;
	if (path[0] != '/' && (status = pe_platform_href(platform, call->path, &path, err)) != PE_OK)
		return status;
	url = pe_alloc(&platform->env, base + strlen(path) + 1);
	if (url == NULL)
		return pe_fail_memory(err);
	memcpy(url, platform->platform_url, base);
	memcpy(url + base, path, strlen(path) + 1);

	status = pe_platform_authenticate(platform, err);
	if (status == PE_OK)
		status = send_call(platform, call, url, response, err);
	if (status == PE_OK && token_refused(response))
	{
		pe_http_response_free(response);
		pe_token_forget(platform);
		status = pe_platform_authenticate(platform, err);
		if (status == PE_OK)
			status = send_call(platform, call, url, response, err);
	}
	pe_free(&platform->env, url);
	if (status == PE_OK && (response->status < 200 || response->status > 299))
		status = pe_platform_error(response, call->what != NULL ? call->what : "request", err);
	return status;
}
