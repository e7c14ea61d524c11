/*
 * token.c
 *		The access token: asked for with the client's secret in the request's body (so
 *		that it reaches no access log), held in memory, renewed before it ends.
 */
#include <time.h>

#include "platform/json.h"
#include "platform/session.h"
#include "platform/text.h"
#include "platform/utf8.h"

#define RENEW_EARLY_S         300
#define TOKEN_BYTES           12000
#define REPLY_MEMORY          (1024 * 1024)
#define LONGEST_LIFE_S        (30 * 24 * 3600)
#define MILLISECONDS_IF_ABOVE 1000000 /* the retired exchange answered milliseconds */

static int64_t
boot_time_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

bool
pe_token_valid(const pe_platform *platform)
{
	return platform->authorization != NULL && boot_time_us() < platform->renew_at_us;
}

void
pe_token_forget(pe_platform *platform)
{
	if (platform->authorization != NULL)
	{
		explicit_bzero(platform->authorization, strlen(platform->authorization));
		pe_free(&platform->env, platform->authorization);
		platform->authorization = NULL;
	}
}

/* The host a secret is about to be sent to, without port, lower case. */
static bool
host_of(const char *url, char *host, size_t size)
{
	const char *start = strstr(url, "://");
	size_t length;

	if (start == NULL)
		return false;
	start += 3;
	if (*start == '[')
	{
		length = strcspn(start, "]");
		length += start[length] == ']';
	}
	else
		length = strcspn(start, ":/?#");
	if (length == 0 || length >= size)
		return false;
	for (size_t i = 0; i < length; i++)
		host[i] = start[i] >= 'A' && start[i] <= 'Z' ? (char) (start[i] + 32) : start[i];
	host[length] = '\0';
	return true;
}

/* The form; the text holds the secret, so it has room for all before the secret goes in. */
static pe_status
build_body(pe_platform *platform, const char *host, pe_text *text, pe_error *err)
{
	char secret[PE_SECRET_SIZE] = "";
	pe_text escaped;
	pe_status status = platform->get_secret(platform->secret_ctx, host, secret, sizeof(secret), err);

	if (status == PE_OK && (memchr(secret, '\0', sizeof(secret)) == NULL || secret[0] == '\0'))
		status = pe_fail(err, PE_CONFIGURATION, "the client secret is empty or too long");
	if (status != PE_OK)
	{
		explicit_bzero(secret, sizeof(secret));
		return status;
	}
	pe_text_init(&escaped, &platform->env);
	/* growing would leave copies of the secret in freed memory: make the room first */
	escaped.data = pe_alloc(&platform->env, 3 * PE_SECRET_SIZE + 1);
	escaped.capacity = escaped.data != NULL ? 3 * PE_SECRET_SIZE + 1 : 0;
	escaped.failed = escaped.data == NULL;
	pe_text_percent(&escaped, secret);
	explicit_bzero(secret, sizeof(secret));

	pe_text_puts(text, "grant_type=client_credentials&client_id=");
	pe_text_percent(text, platform->client_id);
	pe_text_puts(text, "&scope=");
	pe_text_percent(text, platform->scopes);
	pe_text_puts(text, "&client_secret=");
	if (!text->failed && !escaped.failed)
	{
		char *data = pe_alloc(&platform->env, text->length + escaped.length + 1);

		if (data == NULL)
			text->failed = true;
		else
		{
			memcpy(data, text->data, text->length);
			memcpy(data + text->length, escaped.data, escaped.length + 1);
			pe_free(&platform->env, text->data);
			text->data = data;
			text->length += escaped.length;
			text->capacity = text->length + 1;
		}
	}
	if (escaped.failed)
		text->failed = true;
	pe_text_wipe(&escaped);
	return text->failed ? pe_fail_memory(err) : PE_OK;
}

pe_status
pe_token_request(pe_platform *platform, pe_token_form *form, pe_error *err)
{
	static const char path[] = "/ims/token/v3";
	char host[256];
	pe_text body;
	pe_status status;

	memset(form, 0, sizeof(*form));
	form->allocator = platform->env.allocator;
	if (platform->get_secret == NULL)
		return pe_fail(err, PE_CONFIGURATION, "no client secret is configured");
	if (!host_of(platform->ims_url, host, sizeof(host)))
		return pe_fail(err, PE_CONFIGURATION, "ims_url has no host");
	pe_text_init(&body, &platform->env);
	status = build_body(platform, host, &body, err);
	form->body = body.data;
	form->body_size = body.capacity;
	if (status == PE_OK)
	{
		size_t base = strlen(platform->ims_url);

		form->url = pe_alloc(&platform->env, base + sizeof(path));
		if (form->url == NULL)
			status = pe_fail_memory(err);
		else
		{
			memcpy(form->url, platform->ims_url, base);
			memcpy(form->url + base, path, sizeof(path));
		}
	}
	if (status != PE_OK)
	{
		pe_token_form_free(form);
		return status;
	}
	form->headers[0] = (pe_http_header){"Content-Type", "application/x-www-form-urlencoded"};
	form->headers[1] = (pe_http_header){"Accept", "application/json"};
	form->request = (pe_http_request){
	    .method = "POST",
	    .url = form->url,
	    .headers = form->headers,
	    .header_count = 2,
	    .body = form->body,
	    .body_length = body.length,
	    .max_body = 64 * 1024,
	};
	return PE_OK;
}

void
pe_token_form_free(pe_token_form *form)
{
	if (form->body != NULL)
	{
		explicit_bzero(form->body, form->body_size);
		form->allocator.free(form->allocator.ctx, form->body);
	}
	if (form->url != NULL)
		form->allocator.free(form->allocator.ctx, form->url);
	form->body = NULL;
	form->url = NULL;
}

/* Keep the token of a 200's body. */
static pe_status
keep_token(pe_platform *platform, pe_json *json, pe_error *err)
{
	const char *token = pe_json_string(json, "access_token");
	const char *type = pe_json_string(json, "token_type");
	int64_t life = pe_json_int64_or(json, "expires_in", 0);
	int64_t early;
	size_t length = token != NULL ? strlen(token) : 0;
	char *authorization;

	if (length == 0 || length > TOKEN_BYTES)
		return pe_fail(err, PE_BAD_REPLY, "the token reply holds no usable token");
	for (size_t i = 0; i < length; i++)
		if ((unsigned char) token[i] <= ' ' || (unsigned char) token[i] >= 0x7F)
			return pe_fail(err, PE_BAD_REPLY, "the token reply holds no usable token");
	if (type != NULL && strcasecmp(type, "bearer") != 0)
		return pe_fail(err, PE_BAD_REPLY, "the token reply holds another kind of token than bearer");
	if (life > MILLISECONDS_IF_ABOVE)
		life /= 1000;
	if (life <= 0)
		return pe_fail(err, PE_BAD_REPLY, "the token reply does not say how long the token lasts");
	if (life > LONGEST_LIFE_S)
		life = LONGEST_LIFE_S;
	authorization = pe_alloc(&platform->env, length + 8);
	if (authorization == NULL)
		return pe_fail_memory(err);
	memcpy(authorization, "Bearer ", 7);
	memcpy(authorization + 7, token, length + 1);
	pe_token_forget(platform);
	platform->authorization = authorization;
	early = life / 10 < RENEW_EARLY_S ? life / 10 : RENEW_EARLY_S;
	platform->renew_at_us = boot_time_us() + (life - early) * 1000000;
	return PE_OK;
}

/* Bad credentials, or a service that should be asked again? */
static pe_status
refused(const pe_http_response *response, pe_error *err)
{
	char text[300];

	if (response->status >= 500 || response->status == 429 || response->status == 408 ||
	    response->status < 400)
		return pe_platform_error(response, "token request", err);
	pe_platform_error_text(response->body, response->body_length, text, sizeof(text));
	pe_fail(err, PE_UNAUTHORISED, "the identity service refused the client id or secret (HTTP %d)",
	        response->status);
	if (text[0] != '\0')
		pe_error_detail(err, "It said: %s", text);
	pe_error_hint(
	    err,
	    "Check client_id, the secret file and the scopes against the OAuth server-to-server credential of "
	    "the project; JWT credentials have ended.");
	return PE_UNAUTHORISED;
}

pe_status
pe_token_accept(pe_platform *platform, const pe_http_response *response, pe_error *err)
{
	pe_json *json;
	pe_status status;

	if (response->failure != PE_HTTP_DONE)
		return pe_http_error(response, platform->ims_url, err);
	if (response->status != 200)
		return refused(response, err);
	status = pe_json_parse(response->body, response->body_length, REPLY_MEMORY, "token reply", &json, err);
	if (status != PE_OK)
		return status;
	status = keep_token(platform, json, err);
	pe_json_free(json);
	return status;
}

pe_status
pe_platform_authenticate(pe_platform *platform, pe_error *err)
{
	pe_token_form form;
	pe_http_response response;
	pe_status status;

	if (pe_token_valid(platform))
		return PE_OK;
	status = pe_token_request(platform, &form, err);
	if (status != PE_OK)
		return status;
	status = pe_http_perform(platform->http, &form.request, &response, err);
	pe_token_form_free(&form);
	if (status == PE_OK)
		status = pe_token_accept(platform, &response, err);
	if (response.body != NULL)
		explicit_bzero(response.body, response.body_length);
	pe_http_response_free(&response);
	return status;
}
