/*
 * platform_call.c
 *		How a typed call goes out. A file of its own, so that tests can put scripted
 *		answers in its place.
 */
#include <poll.h>

#include "platform/fetch.h"
#include "platform/session.h"

#define SLICE_MS 50

/* The request of one try, with whatever token is held. set holds its headers. */
static pe_http_request
make_request(pe_platform *platform, const pe_call *call, const char *url, pe_header_set *set)
{
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

	pe_platform_headers(platform, type, set);
	if (call->accept != NULL)
		pe_header_add(set, "Accept", call->accept);
	if (call->if_match != NULL)
		pe_header_add(set, "If-Match", call->if_match);
	if (call->range != NULL)
		pe_header_add(set, "Range", call->range);
	request.headers = set->headers;
	request.header_count = set->count;
	return request;
}

static pe_status
send_call(pe_platform *platform, const pe_call *call, const char *url, pe_http_response *response,
          pe_error *err)
{
	pe_header_set set;
	pe_http_request request = make_request(platform, call, url, &set);

	return pe_http_perform(platform->http, &request, response, err);
}

bool
pe_token_refused(const pe_http_response *response)
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

/* The call's URL, to be freed. */
static pe_status
make_url(pe_platform *platform, const pe_call *call, char **url, pe_error *err)
{
	const char *path = call->path;
	size_t base = strlen(platform->platform_url);
	pe_status status;

	if (path[0] != '/' && (status = pe_platform_href(platform, call->path, &path, err)) != PE_OK)
		return status;
	*url = pe_alloc(&platform->env, base + strlen(path) + 1);
	if (*url == NULL)
		return pe_fail_memory(err);
	memcpy(*url, platform->platform_url, base);
	memcpy(*url + base, path, strlen(path) + 1);
	return PE_OK;
}

pe_status
pe_platform_call(pe_platform *platform, const pe_call *call, pe_http_response *response, pe_error *err)
{
	pe_status status;
	char *url;

	memset(response, 0, sizeof(*response));
	response->allocator = platform->env.allocator;
	response->failure = PE_HTTP_SETTING;
	status = make_url(platform, call, &url, err);
	if (status != PE_OK)
		return status;
	status = pe_platform_authenticate(platform, err);
	if (status == PE_OK)
		status = send_call(platform, call, url, response, err);
	if (status == PE_OK && pe_token_refused(response))
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

pe_status
pe_platform_start(pe_platform *platform, const pe_call *call, void *owner, pe_http_exchange **exchange,
                  pe_error *err)
{
	char *url;
	pe_status status = make_url(platform, call, &url, err);

	*exchange = NULL;
	if (status != PE_OK)
		return status;
	status = pe_platform_authenticate(platform, err);
	if (status == PE_OK)
	{
		pe_header_set set;
		pe_http_request request = make_request(platform, call, url, &set);

		request.owner = owner;
		status = pe_http_start(platform->http, &request, exchange, err);
	}
	pe_free(&platform->env, url);
	return status;
}

pe_status
pe_platform_wait(pe_platform *platform, pe_error *err)
{
	struct pollfd ready = {.fd = pe_http_fd(platform->http), .events = POLLIN};
	int timeout = pe_http_timeout_ms(platform->http);

	if (pe_stopped(&platform->env, "waiting for the platform", 0, 0))
		return pe_fail(err, PE_CANCELLED, "cancelled while waiting for the platform");
	(void) poll(&ready, 1, timeout < 0 || timeout > SLICE_MS ? SLICE_MS : timeout);
	return pe_http_dispatch(platform->http, err);
}

bool
pe_platform_take(pe_platform *platform, pe_http_response *response)
{
	return pe_http_next(platform->http, response);
}

pe_status
pe_platform_verdict(const pe_platform *platform, const pe_http_response *response, const char *what,
                    pe_error *err)
{
	if (response->failure != PE_HTTP_DONE)
		return pe_http_error(response, platform->platform_url, err);
	if (response->status < 200 || response->status > 299)
		return pe_platform_error(response, what, err);
	return PE_OK;
}
