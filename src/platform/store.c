/*
 * store.c
 *		Requests to where exports lie: URLs, credentials, what an answer means.
 *
 * A secret is asked for before each request, and its buffer wiped after libcurl has its copy. A SAS
 * token is part of the URL, which no error shows.
 */
#include <curl/curl.h>
#include <poll.h>

#include "platform/http_internal.h"
#include "platform/secret_file.h"
#include "platform/store_internal.h"
#include "platform/utf8.h"
#include "platform/xml.h"

#define SECRET_BYTES 4096 /* session tokens are long */
#define SLICE_MS     50

/* ---- where ---- */

static bool
scheme_is(const char *url, const char *scheme)
{
	size_t length = strlen(scheme);

	return strncasecmp(url, scheme, length) == 0 && strncmp(url + length, "://", 3) == 0;
}

/* A URL's parts: what is in front of the path, and the path without slashes at its ends. */
typedef struct url_parts
{
	const char *host; /* with port */
	size_t host_length;
	const char *path;
	size_t path_length;
} url_parts;

static pe_status
split_url(const char *url, url_parts *parts, pe_error *err)
{
	const char *start = strstr(url, "://");

	if (start == NULL || strpbrk(url, "?#@") != NULL)
		return pe_fail(err, PE_CONFIGURATION, "the url must not hold a user, a query or a fragment");
	parts->host = start + 3;
	parts->host_length = strcspn(parts->host, "/");
	parts->path = parts->host + parts->host_length;
	parts->path += strspn(parts->path, "/");
	parts->path_length = strlen(parts->path);
	while (parts->path_length > 0 && parts->path[parts->path_length - 1] == '/')
		parts->path_length--;
	return parts->host_length > 0 ? PE_OK : pe_fail(err, PE_CONFIGURATION, "the url has no host");
}

/* The kind, base and root of a configuration, in the pool. */
static pe_status
locate(const pe_store_config *config, pe_pool *pool, pe_store_kind *kind, char **base, char **root,
       pe_error *err)
{
	const char *region = config->region != NULL ? config->region : "us-east-1";
	url_parts parts;
	pe_status status = split_url(config->url, &parts, err);
	int host_length = (int) parts.host_length;

	if (status != PE_OK)
		return status;
	*root = pe_pool_strndup(pool, parts.path, parts.path_length);
	if (scheme_is(config->url, "sftp"))
	{
		*kind = PE_STORE_SFTP;
		*base = pe_pool_printf(pool, "sftp://%.*s", host_length, parts.host);
	}
	else if (scheme_is(config->url, "s3"))
	{
		/* A bucket whose name has dots fits no certificate as a part of a host's name. */
		*kind = PE_STORE_S3;
		if (config->endpoint != NULL)
			*base = pe_pool_printf(pool, "%s/%.*s", config->endpoint, host_length, parts.host);
		else if (memchr(parts.host, '.', parts.host_length) != NULL)
			*base = pe_pool_printf(pool, "https://s3.%s.amazonaws.com/%.*s", region, host_length, parts.host);
		else
			*base = pe_pool_printf(pool, "https://%.*s.s3.%s.amazonaws.com", host_length, parts.host, region);
	}
	else if (scheme_is(config->url, "https") || scheme_is(config->url, "http"))
	{
		size_t container = strcspn(*root != NULL ? *root : "", "/");

		*kind = PE_STORE_AZURE;
		if (parts.path_length == 0)
			return pe_fail(err, PE_CONFIGURATION, "the url names no container");
		*base = pe_pool_strndup(pool, config->url, (size_t) (parts.path - config->url) + container);
		if (*root != NULL)
			*root += container + strspn(*root + container, "/");
	}
	else
		return pe_fail(err, PE_CONFIGURATION, "the url must begin with s3://, https:// or sftp://");
	return *base != NULL && *root != NULL ? PE_OK : pe_fail_memory(err);
}

pe_status
pe_store_host(const pe_store_config *config, char *host, size_t size, pe_error *err)
{
	char memory[2048];
	pe_store_kind kind;
	url_parts parts;
	const char *region = config->region != NULL ? config->region : "us-east-1";
	pe_status status = split_url(config->url, &parts, err);

	if (status != PE_OK)
		return status;
	kind = scheme_is(config->url, "s3") ? PE_STORE_S3 : PE_STORE_AZURE;
	if (kind == PE_STORE_S3 && config->endpoint != NULL)
		snprintf(memory, sizeof(memory), "%s", config->endpoint);
	else if (kind == PE_STORE_S3 && memchr(parts.host, '.', parts.host_length) != NULL)
		snprintf(memory, sizeof(memory), "https://s3.%s.amazonaws.com", region);
	else if (kind == PE_STORE_S3)
		snprintf(memory, sizeof(memory), "https://%.*s.s3.%s.amazonaws.com", (int) parts.host_length,
		         parts.host, region);
	else
		snprintf(memory, sizeof(memory), "%s", config->url);
	return pe_url_host(memory, host, size) ? PE_OK : pe_fail(err, PE_CONFIGURATION, "the url has no host");
}

static pe_status
check_config(const pe_store_config *config, pe_store_kind kind, pe_error *err)
{
	if (kind == PE_STORE_SFTP && (config->host_key == NULL || config->host_key[0] == '\0'))
	{
		pe_fail(err, PE_CONFIGURATION, "an sftp server needs the option host_key");
		pe_error_hint(err, "Ask its administrator, or compare with: ssh-keyscan HOST | ssh-keygen -lf -");
		return PE_CONFIGURATION;
	}
	if (kind != PE_STORE_AZURE && (config->user == NULL || config->user[0] == '\0'))
		return pe_fail(err, PE_CONFIGURATION, "the user mapping has no option \"user\"");
	return PE_OK;
}

pe_status
pe_store_open(const pe_env *env, const pe_store_config *config, pe_store **result, pe_error *err)
{
	pe_store *store = pe_calloc(env, 1, sizeof(*store));
	const char *host_key = config->host_key;
	char host[256];
	pe_status status;

	*result = NULL;
	if (store == NULL)
		return pe_fail_memory(err);
	store->env = *env;
	pe_pool_init(&store->pool, env);
	store->get_secret = config->get_secret;
	store->secret_ctx = config->secret_ctx;
	store->get_session = config->get_session;
	store->session_ctx = config->session_ctx;
	status = locate(config, &store->pool, &store->kind, &store->base, &store->root, err);
	if (status == PE_OK)
		status = check_config(config, store->kind, err);
	if (status == PE_OK)
		status = pe_store_host(config, host, sizeof(host), err);
	if (status == PE_OK)
	{
		if (host_key != NULL && strncmp(host_key, "SHA256:", 7) == 0)
			host_key += 7;
		store->host = pe_pool_strdup(&store->pool, host);
		store->user = config->user != NULL ? pe_pool_strdup(&store->pool, config->user) : NULL;
		store->host_key = host_key != NULL ? pe_pool_strdup(&store->pool, host_key) : NULL;
		store->key_file = config->key_file != NULL ? pe_pool_strdup(&store->pool, config->key_file) : NULL;
		store->sigv4 = pe_pool_printf(&store->pool, "aws:amz:%s:s3",
		                              config->region != NULL ? config->region : "us-east-1");
		if (store->host == NULL || store->sigv4 == NULL || (config->user != NULL && store->user == NULL) ||
		    (host_key != NULL && store->host_key == NULL) ||
		    (config->key_file != NULL && store->key_file == NULL))
			status = pe_fail_memory(err);
	}
	if (status == PE_OK)
		status = pe_http_open(env, &config->http, &store->http, err);
	if (status != PE_OK)
	{
		pe_store_close(store);
		return status;
	}
	*result = store;
	return PE_OK;
}

void
pe_store_close(pe_store *store)
{
	pe_env env;

	if (store == NULL)
		return;
	env = store->env;
	pe_http_close(store->http);
	pe_pool_free(&store->pool);
	pe_free(&env, store);
}

/* ---- one request ---- */

/* All that a request borrows until it has begun. */
typedef struct prepared
{
	pe_http_request http;
	pe_http_header headers[3];
	pe_text url;
	char secret[SECRET_BYTES];
	char session[SECRET_BYTES];
} prepared;

static void
wipe(prepared *ready)
{
	pe_text_wipe(&ready->url);
	explicit_bzero(ready->secret, sizeof(ready->secret));
	explicit_bzero(ready->session, sizeof(ready->session));
}

static void
add_header(prepared *ready, const char *name, const char *value)
{
	ready->headers[ready->http.header_count++] = (pe_http_header){name, value};
}

/* A SAS token may be given as it is copied, with its question mark. */
static void
put_url(pe_store *store, const pe_store_request *request, prepared *ready)
{
	const char *separator = "?";
	const char *sas = ready->secret + (ready->secret[0] == '?');

	pe_text_puts(&ready->url, store->base);
	pe_text_puts(&ready->url, request->path);
	if (request->query != NULL)
	{
		pe_text_puts(&ready->url, separator);
		pe_text_puts(&ready->url, request->query);
		separator = "&";
	}
	if (store->kind == PE_STORE_AZURE)
	{
		pe_text_puts(&ready->url, separator);
		pe_text_puts(&ready->url, sas);
	}
}

static pe_status
prepare(pe_store *store, const pe_store_request *request, prepared *ready, pe_error *err)
{
	pe_status status = PE_OK;

	memset(ready, 0, sizeof(*ready));
	pe_text_init(&ready->url, &store->env);
	if (store->key_file == NULL)
		status = store->get_secret(store->secret_ctx, store->host, ready->secret, sizeof(ready->secret), err);
	if (status == PE_OK && store->get_session != NULL)
		status =
		    store->get_session(store->session_ctx, store->host, ready->session, sizeof(ready->session), err);
	if (status != PE_OK)
		return status;
	put_url(store, request, ready);
	ready->http.method = "GET";
	ready->http.url = ready->url.data;
	ready->http.headers = ready->headers;
	ready->http.max_body = request->max_body;
	ready->http.sink = request->sink;
	ready->http.sink_ctx = request->sink_ctx;
	ready->http.owner = request->owner;
	ready->http.total_timeout_ms = request->sink != NULL ? -1 : 0;
	if (request->range != NULL && store->kind != PE_STORE_SFTP)
		add_header(ready, "Range", request->range);
	switch (store->kind)
	{
		case PE_STORE_S3:
			ready->http.sigv4 = store->sigv4;
			ready->http.user = store->user;
			ready->http.password = ready->secret;
			if (store->get_session != NULL)
				add_header(ready, "x-amz-security-token", ready->session);
			break;
		case PE_STORE_AZURE:
			add_header(ready, "x-ms-version", "2020-10-02");
			break;
		case PE_STORE_SFTP:
			ready->http.user = store->user;
			ready->http.password = store->key_file == NULL ? ready->secret : NULL;
			ready->http.ssh_key_file = store->key_file;
			ready->http.ssh_host_key = store->host_key;
			ready->http.resume_from = request->resume_from;
			break;
	}
	return ready->url.failed ? pe_fail_memory(err) : PE_OK;
}

/* What the store itself calls the trouble: <Code>...</Code>, of letters only. */
static void
error_code(const pe_http_response *response, char *code, size_t size)
{
	pe_xml whole = {response->body, response->body_length};
	pe_xml content;

	code[0] = '\0';
	if (response->body == NULL || !pe_xml_next(&whole, "Code", &content) || content.length >= size)
		return;
	memcpy(code, content.start, content.length);
	code[content.length] = '\0';
	if (code[strspn(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")] != '\0')
		code[0] = '\0';
}

static pe_status
refused(pe_store *store, const pe_http_response *response, const char *code, pe_error *err)
{
	static const char *const hints[] = {
	    [PE_STORE_S3] =
	        "Check the access key, the secret, the region, and that the key may list and read there.",
	    [PE_STORE_AZURE] = "Check the SAS token in the secret file: has it expired, may it list and read?",
	    [PE_STORE_SFTP] = "Check the user, and the password or key, of the user mapping."};

	pe_fail(err, PE_UNAUTHORISED, "%s refuses the credentials", store->host);
	if (code[0] != '\0')
		pe_error_detail(err, "It says %s, with status %d.", code, response->status);
	pe_error_hint(err, "%s", hints[store->kind]);
	return PE_UNAUTHORISED;
}

pe_status
pe_store_verdict(pe_store *store, const pe_http_response *response, pe_error *err)
{
	int status = response->status;
	char code[64];

	if (response->failure != PE_HTTP_DONE)
		return pe_http_error(response, store->base, err);
	if (status >= 200 && status <= 299)
		return PE_OK;
	error_code(response, code, sizeof(code));
	if (status == 401 || status == 403)
		return refused(store, response, code, err);
	if (status == 404)
		return pe_fail(err, PE_NOT_FOUND, "%s has no such file or folder", store->host);
	if (status == 429 || status >= 500)
		return pe_fail(err, PE_UNREACHABLE, "%s answers with status %d", store->host, status);
	pe_fail(err, status >= 300 && status <= 399 ? PE_CONFIGURATION : PE_REFUSED,
	        "%s answers with status %d%s%s", store->host, status, code[0] != '\0' ? ", " : "", code);
	if (status >= 300 && status <= 399)
		pe_error_hint(err, "The bucket may be in another region: check the server option region.");
	else if (store->kind == PE_STORE_S3)
		pe_error_hint(err, "Check the server's url and region.");
	return err->code;
}

pe_status
pe_store_perform(pe_store *store, const pe_store_request *request, pe_http_response *response, pe_error *err)
{
	prepared ready;
	pe_status status = prepare(store, request, &ready, err);

	memset(response, 0, sizeof(*response));
	response->allocator = store->env.allocator;
	response->failure = PE_HTTP_SETTING;
	if (status == PE_OK)
		status = pe_http_perform(store->http, &ready.http, response, err);
	wipe(&ready);
	return status == PE_OK ? pe_store_verdict(store, response, err) : status;
}

/* ---- files ---- */

static pe_status
start_file(void *ctx, const pe_fetch_range *range, pe_http_exchange **exchange, pe_error *err)
{
	pe_store *store = ctx;
	char bytes[64];
	pe_store_request request = {.path = range->part->path,
	                            .range = bytes,
	                            .resume_from = range->first,
	                            .max_body = store->kind == PE_STORE_SFTP ? 0 : range->max_body,
	                            .sink = range->sink,
	                            .sink_ctx = range->sink_ctx,
	                            .owner = range->owner};
	prepared ready;
	pe_status status;

	*exchange = NULL;
	snprintf(bytes, sizeof(bytes), "bytes=%lld-%lld", (long long) range->first, (long long) range->last);
	status = prepare(store, &request, &ready, err);
	if (status == PE_OK)
		status = pe_http_start(store->http, &ready.http, exchange, err);
	wipe(&ready);
	return status;
}

static pe_status
wait_for_files(void *ctx, pe_error *err)
{
	pe_store *store = ctx;
	struct pollfd ready = {.fd = pe_http_fd(store->http), .events = POLLIN};
	int timeout = pe_http_timeout_ms(store->http);

	if (pe_stopped(&store->env, "waiting for the files", 0, 0))
		return pe_fail(err, PE_CANCELLED, "cancelled while waiting for %s", store->host);
	(void) poll(&ready, 1, timeout < 0 || timeout > SLICE_MS ? SLICE_MS : timeout);
	return pe_http_dispatch(store->http, err);
}

static bool
take_response(void *ctx, pe_http_response *response)
{
	return pe_http_next(((pe_store *) ctx)->http, response);
}

static pe_status
judge(void *ctx, const pe_http_response *response, pe_error *err)
{
	return pe_store_verdict(ctx, response, err);
}

static void
cancel_file(void *ctx, pe_http_exchange *exchange)
{
	pe_http_cancel(((pe_store *) ctx)->http, exchange);
}

pe_status
pe_store_fetch(pe_store *store, pe_fetch *items, int count, int parallel, pe_error *err)
{
	pe_fetch_source source = {store,         &store->env, start_file,  wait_for_files,
	                          take_response, judge,       cancel_file, NULL};

	return pe_fetch_parts(&source, items, count, parallel, err);
}
