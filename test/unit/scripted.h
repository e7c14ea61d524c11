/*
 * scripted.h
 *		Answers from a script in place of the network: this file defines
 *		pe_platform_call and its kin, so the layer's own are not linked. Shared by fuzz_http_reply
 *		and test_platform_replies.
 *
 * A script is answers separated by byte 0x1E. An answer's first byte is its status
 * (2: 200, 6: 206, 1: 400, 4: 404, 9: 409, 5: 503, x: broken off after its body),
 * the rest its body; for a 206 a line with Content-Range comes first.
 */
#ifndef SCRIPTED_H
#define SCRIPTED_H

#include <stdlib.h>

#include "platform/call.h"
#include "platform/fetch.h"
#include "platform/session.h"

static const char *scripted_next;
static const char *scripted_end;
static int scripted_calls;

static void
scripted_begin(const char *script, size_t length)
{
	scripted_next = script;
	scripted_end = script + length;
	scripted_calls = 0;
}

/* The answer's head: status, and where its body begins. */
static const char *
scripted_head(const char *answer, size_t length, pe_http_response *response)
{
	static const char marks[] = "26149x5";
	static const int statuses[] = {200, 206, 400, 404, 409, 200, 503};
	const char *mark = length > 0 && answer[0] != '\0' ? strchr(marks, answer[0]) : NULL;
	const char *line;

	response->status = mark != NULL ? statuses[mark - marks] : 200;
	if (mark == NULL)
		return answer;
	response->failure = *mark == 'x' ? PE_HTTP_RESET : PE_HTTP_DONE;
	if (response->status != 206 || (line = memchr(answer, '\n', length)) == NULL)
		return answer + 1;
	response->headers = malloc((size_t) (line - answer));
	memcpy(response->headers, answer + 1, (size_t) (line - answer) - 1);
	response->header_length = (size_t) (line - answer) - 1;
	return line + 1;
}

static void *
scripted_alloc(void *ctx, size_t size)
{
	(void) ctx;
	return malloc(size);
}

static void
scripted_free(void *ctx, void *ptr)
{
	(void) ctx;
	free(ptr);
}

pe_status
pe_platform_call(pe_platform *platform, const pe_call *call, pe_http_response *response, pe_error *err)
{
	const char *answer = scripted_next;
	const char *end;
	size_t length;

	memset(response, 0, sizeof(*response));
	response->allocator = (pe_allocator){scripted_alloc, NULL, scripted_free, NULL};
	scripted_calls++;
	if (answer == NULL || call->path == NULL)
		return pe_fail(err, PE_UNREACHABLE, "no more answers");
	end = memchr(answer, 0x1E, (size_t) (scripted_end - answer));
	length = (size_t) ((end != NULL ? end : scripted_end) - answer);
	scripted_next = end != NULL ? end + 1 : NULL;
	end = answer + length;
	answer = scripted_head(answer, length, response);
	length = (size_t) (end - answer);
	response->body_length = length;
	if (call->sink != NULL && response->status < 300)
	{
		if (length > 0 && !call->sink(call->sink_ctx, answer, length))
			return pe_fail(err, PE_IO, "the sink stopped");
	}
	else
	{
		/* exactly as long as it is, so that a read beyond its end is seen */
		response->body = malloc(length + 1);
		memcpy(response->body, answer, length);
		response->body[length] = '\0';
	}
	if (response->failure != PE_HTTP_DONE)
		return pe_fail(err, PE_UNREACHABLE, "broke off");
	if (response->status > 299)
		return pe_platform_error(response, call->what != NULL ? call->what : "request", err);
	return PE_OK;
}

/* Answered at once; the answer waits to be taken. */
static pe_http_response scripted_answer;
static bool scripted_waiting;

pe_status
pe_platform_start(pe_platform *platform, const pe_call *call, void *owner, pe_http_exchange **exchange,
                  pe_error *err)
{
	if (scripted_next == NULL)
		return pe_fail(err, PE_UNREACHABLE, "no more answers");
	*exchange = NULL;
	(void) pe_platform_call(platform, call, &scripted_answer, err);
	scripted_answer.owner = owner;
	scripted_waiting = true;
	return PE_OK;
}

pe_status
pe_platform_wait(pe_platform *platform, pe_error *err)
{
	(void) platform;
	/* a script does not wait for the time of another try */
	return scripted_waiting ? PE_OK : pe_fail(err, PE_UNREACHABLE, "nothing under way");
}

bool
pe_platform_take(pe_platform *platform, pe_http_response *response)
{
	(void) platform;
	if (!scripted_waiting)
		return false;
	scripted_waiting = false;
	*response = scripted_answer;
	return true;
}

pe_status
pe_platform_verdict(const pe_platform *platform, const pe_http_response *response, const char *what,
                    pe_error *err)
{
	(void) platform;
	if (response->failure != PE_HTTP_DONE)
		return pe_fail(err, PE_UNREACHABLE, "broke off");
	return response->status > 299 ? pe_platform_error(response, what, err) : PE_OK;
}

bool
pe_token_refused(const pe_http_response *response)
{
	return response->status == 401;
}

static pe_status
scripted_secret(void *ctx, const char *host, char *buffer, size_t size, pe_error *err)
{
	(void) ctx;
	(void) host;
	(void) err;
	snprintf(buffer, size, "secret");
	return PE_OK;
}

static pe_platform *
scripted_session(const pe_env *env)
{
	pe_platform_config config = {.org_id = "A@AdobeOrg", .client_id = "c", .get_secret = scripted_secret};
	pe_platform *platform = NULL;
	pe_error err;

	(void) pe_platform_open(env, &config, &platform, &err);
	return platform;
}

#endif /* SCRIPTED_H */
