/*
 * http_transfer.c
 *		One exchange as libcurl sees it: its settings and its callbacks.
 *
 * The callbacks copy into memory of the client's allocator, which returns NULL and
 * never jumps, and answer failure by returning short; what went wrong is said
 * after libcurl has returned.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "platform/address.h"
#include "platform/http_internal.h"
#include "platform/utf8.h"

#if LIBCURL_VERSION_NUM < 0x075700
#error "libcurl 7.87 or newer is needed: older ones block in a cancel until the name is resolved"
#endif

#define LOW_SPEED_BYTES   100L
#define LOW_SPEED_SECONDS 10L
/* So long authorities are kept in memory: their file may be changed. */
#define CA_FILE_SECONDS   10L
#define SYSTEM_CA_SECONDS 300L
#define MAX_URL_BYTES     8000
#define MAX_HEADER_VALUE  16384

/* Grow *data so that needed bytes and a NUL fit. */
static bool
grow(pe_http_exchange *exchange, char **data, size_t *capacity, size_t needed)
{
	size_t wanted = *capacity == 0 ? 1024 : *capacity;
	char *bigger;

	if (needed < *capacity)
		return true;
	while (wanted <= needed)
		wanted *= 2;
	bigger = pe_realloc(&exchange->client->env, *data, wanted);
	if (bigger == NULL)
	{
		exchange->out_of_memory = true;
		return false;
	}
	*data = bigger;
	*capacity = wanted;
	return true;
}

/* One header line. A new status line begins a new block and drops the one before. */
static size_t
take_header(char *line, size_t size, size_t count, void *userp)
{
	pe_http_exchange *exchange = userp;
	pe_http_response *response = &exchange->response;
	size_t length = size * count;

	exchange->header_seen += length;
	if (exchange->header_seen > PE_HTTP_MAX_HEADER_BYTES)
	{
		exchange->too_large = true;
		return 0;
	}
	if (length >= 5 && memcmp(line, "HTTP/", 5) == 0)
		response->header_length = 0;
	if (!grow(exchange, &response->headers, &exchange->header_capacity, response->header_length + length))
		return 0;
	memcpy(response->headers + response->header_length, line, length);
	response->header_length += length;
	response->headers[response->header_length] = '\0';
	return length;
}

/* Only a 2xx goes to the sink; what else a server says is an error to be read. */
static bool
goes_to_sink(pe_http_exchange *exchange)
{
	long status = 0;

	if (exchange->sink == NULL)
		return false;
	if (exchange->ssh)
		return true;
	curl_easy_getinfo(exchange->easy, CURLINFO_RESPONSE_CODE, &status);
	return status >= 200 && status < 300;
}

static size_t
take_body(char *data, size_t size, size_t count, void *userp)
{
	pe_http_exchange *exchange = userp;
	pe_http_response *response = &exchange->response;
	size_t length = size * count;
	bool to_sink = goes_to_sink(exchange);
	size_t cap = exchange->sink != NULL && !to_sink ? PE_HTTP_MAX_ERROR_BYTES : exchange->max_body;

	if (length > cap - response->body_length)
	{
		exchange->too_large = true;
		return 0;
	}
	if (to_sink)
	{
		if (length > 0 && !exchange->sink(exchange->sink_ctx, data, length))
		{
			exchange->sink_stopped = true;
			return 0;
		}
	}
	else
	{
		if (!grow(exchange, &response->body, &exchange->body_capacity, response->body_length + length))
			return 0;
		memcpy(response->body + response->body_length, data, length);
	}
	response->body_length += length;
	return length;
}

static size_t
give_body(char *buffer, size_t size, size_t count, void *userp)
{
	pe_http_exchange *exchange = userp;
	size_t length = size * count;

	if (length > exchange->body_length - exchange->body_given)
		length = exchange->body_length - exchange->body_given;
	if (length > 0)
		memcpy(buffer, exchange->body + exchange->body_given, length);
	exchange->body_given += length;
	if (length > 0)
		exchange->response.body_sent = true;
	return length;
}

/* libcurl starts over when a kept connection turns out to be dead. */
static int
rewind_body(void *userp, curl_off_t offset, int origin)
{
	pe_http_exchange *exchange = userp;

	if (origin != SEEK_SET || offset < 0 || (uint64_t) offset > exchange->body_length)
		return CURL_SEEKFUNC_FAIL;
	exchange->body_given = (size_t) offset;
	return CURL_SEEKFUNC_OK;
}

static bool
address_allowed(pe_http_exchange *exchange, pe_address_kind kind)
{
	const pe_http *client = exchange->client;
	bool allowed = false;

	switch (kind)
	{
		case PE_ADDRESS_PUBLIC:
			allowed = !exchange->plain;
			break;
		case PE_ADDRESS_PRIVATE:
			allowed = !exchange->plain && client->allow_private_addresses;
			break;
		case PE_ADDRESS_LOOPBACK:
			allowed =
			    client->allow_insecure_loopback || (!exchange->plain && client->allow_private_addresses);
			break;
		case PE_ADDRESS_UNUSABLE:
			break;
	}
	if (allowed)
		exchange->address_accepted = true;
	else
		exchange->address_refused = true;
	return allowed;
}

/* Called for each resolved address before it is connected to: the place to refuse one. */
static curl_socket_t
open_socket(void *userp, curlsocktype purpose, struct curl_sockaddr *address)
{
	pe_http_exchange *exchange = userp;
	int fd;

	if (!address_allowed(exchange, pe_address_classify(&address->addr, address->addrlen)))
		return CURL_SOCKET_BAD;
	fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
	if (fd < 0 && pe_status_of_errno(errno, PE_OK) == PE_EXHAUSTED)
		exchange->exhausted = true;
	return fd;
}

/* Connected, and nothing of the request has left. A connection that was there may be from a client that
 * allowed more. */
static int
before_request(void *userp, char *address, char *own_address, int port, int own_port)
{
	pe_http_exchange *exchange = userp;

	exchange->connected = true;
	return address_allowed(exchange, pe_address_classify_text(address)) ? CURL_PREREQFUNC_OK
	                                                                    : CURL_PREREQFUNC_ABORT;
}

static bool
known_method(const char *method)
{
	static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"};

	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		if (strcmp(method, methods[i]) == 0)
			return true;
	return false;
}

/* "scheme://host:port", by which exchanges know whether they may share a connection. */
static char *
origin_of(const pe_env *env, CURLU *parsed, const char *scheme)
{
	char *host = NULL;
	char *port = NULL;
	char *origin = NULL;

	if (curl_url_get(parsed, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
	    curl_url_get(parsed, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK)
	{
		size_t size = strlen(scheme) + strlen(host) + strlen(port) + 5;

		origin = pe_alloc(env, size);
		if (origin != NULL)
			snprintf(origin, size, "%s://%s:%s", scheme, host, port);
	}
	curl_free(host);
	curl_free(port);
	return origin;
}

/* Scheme, host and credentials of the URL. */
static pe_status
check_target(pe_http_exchange *exchange, const pe_http_request *request, pe_error *err)
{
	const pe_http *client = exchange->client;
	const char *url = request->url;
	CURLU *parsed;
	char *scheme = NULL;
	char *user = NULL;
	char *password = NULL;
	pe_status status = PE_OK;

	if (strlen(url) > MAX_URL_BYTES)
		return pe_fail(err, PE_LIMIT, "a request's URL is longer than %d bytes", MAX_URL_BYTES);
	for (const char *p = url; *p != '\0'; p++)
		if ((unsigned char) *p <= ' ' || (unsigned char) *p >= 0x7F)
			return pe_fail(err, PE_CONFIGURATION, "a request's URL holds a blank or a control character");
	parsed = curl_url();
	if (parsed == NULL)
		return pe_fail_memory(err);
	if (curl_url_set(parsed, CURLUPART_URL, url, 0) != CURLUE_OK ||
	    curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK)
		status = pe_fail(err, PE_CONFIGURATION, "a request's URL is not valid");
	else if (curl_url_get(parsed, CURLUPART_USER, &user, 0) == CURLUE_OK ||
	         curl_url_get(parsed, CURLUPART_PASSWORD, &password, 0) == CURLUE_OK)
		status = pe_fail(err, PE_CONFIGURATION, "a request's URL holds a user or password");
	else
	{
		exchange->plain = strcmp(scheme, "http") == 0;
		if (strcmp(scheme, "sftp") == 0 ? request->ssh_host_key == NULL : request->ssh_host_key != NULL)
			status = pe_fail(err, PE_CONFIGURATION, "the host key of an sftp server is not known");
		else if (request->ssh_host_key != NULL)
			status = PE_OK;
		else if (exchange->plain ? !client->allow_insecure_loopback : strcmp(scheme, "https") != 0)
			status = pe_fail(err, PE_CONFIGURATION, "a request's URL is not https");
	}
	if (status == PE_OK)
	{
		exchange->origin = origin_of(&client->env, parsed, scheme);
		if (exchange->origin == NULL)
			status = pe_fail_memory(err);
	}
	curl_free(scheme);
	curl_free(user);
	curl_free(password);
	curl_url_cleanup(parsed);
	return status;
}

static pe_status
add_header(pe_http_exchange *exchange, const char *name, const char *value, pe_error *err)
{
	struct curl_slist *longer;
	size_t name_length = strlen(name);
	size_t value_length = strlen(value);
	char *line;

	for (const char *p = name; *p != '\0'; p++)
		if ((unsigned char) *p <= ' ' || (unsigned char) *p >= 0x7F || *p == ':')
			return pe_fail(err, PE_CONFIGURATION, "a request header's name is not valid");
	for (const char *p = value; *p != '\0'; p++)
		if ((unsigned char) *p < ' ' || (unsigned char) *p >= 0x7F)
			return pe_fail(err, PE_CONFIGURATION,
			               "the value of request header %.40s holds a character outside ASCII", name);
	if (value_length > MAX_HEADER_VALUE)
		return pe_fail(err, PE_LIMIT, "the value of request header %.40s is longer than %d bytes", name,
		               MAX_HEADER_VALUE);
	line = pe_alloc(&exchange->client->env, name_length + value_length + 3);
	if (line == NULL)
		return pe_fail_memory(err);
	memcpy(line, name, name_length);
	memcpy(line + name_length, ": ", 2);
	memcpy(line + name_length + 2, value, value_length + 1);
	longer = curl_slist_append(exchange->headers, line);
	explicit_bzero(line, name_length + value_length + 2);
	pe_free(&exchange->client->env, line);
	if (longer == NULL)
		return pe_fail_memory(err);
	exchange->headers = longer;
	return PE_OK;
}

static pe_status
set_headers(pe_http_exchange *exchange, const pe_http_request *request, pe_error *err)
{
	pe_status status = PE_OK;
	struct curl_slist *longer;

	for (int i = 0; i < request->header_count && status == PE_OK; i++)
		status = add_header(exchange, request->headers[i].name, request->headers[i].value, err);
	if (status != PE_OK)
		return status;
	/*
	 * A name without a value takes away what libcurl would add by itself: "Expect"
	 * would cost a round trip, and its default content type is a form's. The value a
	 * caller gave stays.
	 */
	longer = curl_slist_append(exchange->headers, "Expect:");
	if (longer != NULL)
	{
		exchange->headers = longer;
		longer = curl_slist_append(exchange->headers, "Content-Type:");
	}
	return longer != NULL ? PE_OK : pe_fail_memory(err);
}

#define SET(option, value)                                                                                   \
	do                                                                                                       \
	{                                                                                                        \
		if (code == CURLE_OK)                                                                                \
			code = curl_easy_setopt(easy, option, value);                                                    \
	} while (0)

/* How the peer is chosen and trusted. */
static CURLcode
set_trust(CURL *easy, pe_http_exchange *exchange)
{
	const pe_http *client = exchange->client;
	const char *schemes = exchange->ssh ? "sftp" : client->allow_insecure_loopback ? "https,http" : "https";
	CURLcode code = CURLE_OK;

	SET(CURLOPT_PROTOCOLS_STR, schemes);
	SET(CURLOPT_REDIR_PROTOCOLS_STR, "https");
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_MAXREDIRS, 0L);
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NOPROXY, "*");
	SET(CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
	SET(CURLOPT_UNRESTRICTED_AUTH, 0L);
	SET(CURLOPT_HTTP09_ALLOWED, 0L);
	SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
	SET(CURLOPT_OPENSOCKETDATA, exchange);
	SET(CURLOPT_PREREQFUNCTION, before_request);
	SET(CURLOPT_PREREQDATA, exchange);
	if (client->ca_file != NULL)
		SET(CURLOPT_CAINFO, client->ca_file);
	/*
	 * Only what comes from one file is kept and shared between connections. The system's
	 * authorities in each would cost a megabyte and 50 ms of the processor.
	 */
	if (client->ca_file != NULL || curl_version_info(CURLVERSION_NOW)->cainfo != NULL)
		SET(CURLOPT_CAPATH, NULL);
	SET(CURLOPT_CA_CACHE_TIMEOUT, client->ca_file != NULL ? CA_FILE_SECONDS : SYSTEM_CA_SECONDS);
	return code;
}

/* Time limits, threads and signals, and where bytes go. */
static CURLcode
set_limits(CURL *easy, pe_http_exchange *exchange, int total_timeout_ms)
{
	const pe_http *client = exchange->client;
	CURLcode code = CURLE_OK;

	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_QUICK_EXIT, 1L); /* a cancel does not wait for the resolver's thread */
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long) client->connect_timeout_ms);
	SET(CURLOPT_TIMEOUT_MS, total_timeout_ms < 0 ? 0L : (long) total_timeout_ms);
	SET(CURLOPT_LOW_SPEED_LIMIT, LOW_SPEED_BYTES);
	SET(CURLOPT_LOW_SPEED_TIME, LOW_SPEED_SECONDS);
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_HTTP_CONTENT_DECODING, 0L);
	SET(CURLOPT_MAXAGE_CONN, (long) PE_HTTP_IDLE_S);
	SET(CURLOPT_MAXLIFETIME_CONN, (long) PE_HTTP_LIFE_S);
	SET(CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_2TLS);
	SET(CURLOPT_USERAGENT, "profenrich/" PE_VERSION);
	SET(CURLOPT_HEADERFUNCTION, take_header);
	SET(CURLOPT_HEADERDATA, exchange);
	SET(CURLOPT_WRITEFUNCTION, take_body);
	SET(CURLOPT_WRITEDATA, exchange);
	SET(CURLOPT_ERRORBUFFER, exchange->curl_text);
	SET(CURLOPT_PRIVATE, exchange);
	return code;
}

static CURLcode
set_message(CURL *easy, pe_http_exchange *exchange, const pe_http_request *request)
{
	bool has_body = request->body != NULL || strcmp(request->method, "POST") == 0 ||
	                strcmp(request->method, "PUT") == 0 || strcmp(request->method, "PATCH") == 0;
	CURLcode code = CURLE_OK;

	SET(CURLOPT_URL, request->url);
	SET(CURLOPT_HTTPHEADER, exchange->headers);
	if (has_body)
	{
		SET(CURLOPT_POST, 1L);
		SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) exchange->body_length);
		SET(CURLOPT_READFUNCTION, give_body);
		SET(CURLOPT_READDATA, exchange);
		SET(CURLOPT_SEEKFUNCTION, rewind_body);
		SET(CURLOPT_SEEKDATA, exchange);
	}
	if (exchange->ssh)
		return code;
	if (strcmp(request->method, "HEAD") == 0)
		SET(CURLOPT_NOBODY, 1L);
	else
		SET(CURLOPT_CUSTOMREQUEST, request->method);
	return code;
}

/* Who asks, where that is not in a header. */
static CURLcode
set_credentials(CURL *easy, const pe_http_request *request)
{
	CURLcode code = CURLE_OK;

	if (request->user != NULL)
		SET(CURLOPT_USERNAME, request->user);
	if (request->password != NULL)
		SET(CURLOPT_PASSWORD, request->password);
	if (request->sigv4 != NULL)
		SET(CURLOPT_AWS_SIGV4, request->sigv4);
	if (request->ssh_host_key != NULL)
	{
		SET(CURLOPT_SSH_HOST_PUBLIC_KEY_SHA256, request->ssh_host_key);
		SET(CURLOPT_SSH_AUTH_TYPES,
		    (long) (request->ssh_key_file != NULL ? CURLSSH_AUTH_PUBLICKEY : CURLSSH_AUTH_PASSWORD));
		SET(CURLOPT_RESUME_FROM_LARGE, (curl_off_t) request->resume_from);
	}
	if (request->ssh_key_file != NULL)
		SET(CURLOPT_SSH_PRIVATE_KEYFILE, request->ssh_key_file);
	return code;
}

pe_status
pe_http_prepare(pe_http_exchange *exchange, const pe_http_request *request, pe_error *err)
{
	const pe_http *client = exchange->client;
	pe_status status;
	CURLcode code;

	if (!known_method(request->method))
		return pe_fail(err, PE_INTERNAL, "unknown request method");
	exchange->ssh = request->ssh_host_key != NULL;
	status = check_target(exchange, request, err);
	if (status == PE_OK)
		status = set_headers(exchange, request, err);
	if (status != PE_OK)
		return status;
	exchange->body = request->body;
	exchange->body_length = request->body != NULL ? request->body_length : 0;
	exchange->sink = request->sink;
	exchange->sink_ctx = request->sink_ctx;
	exchange->max_body = request->max_body;
	if (request->max_body == 0)
		exchange->max_body = request->sink != NULL ? SIZE_MAX : PE_HTTP_MAX_BODY_BYTES;
	exchange->easy = curl_easy_init();
	if (exchange->easy == NULL)
		return pe_fail_memory(err);
	code = set_trust(exchange->easy, exchange);
	if (code == CURLE_OK)
		code =
		    set_limits(exchange->easy, exchange,
		               request->total_timeout_ms != 0 ? request->total_timeout_ms : client->total_timeout_ms);
	if (code == CURLE_OK)
		code = set_message(exchange->easy, exchange, request);
	if (code == CURLE_OK)
		code = set_credentials(exchange->easy, request);
	if (code == CURLE_OUT_OF_MEMORY)
		return pe_fail_memory(err);
	if (code != CURLE_OK)
		return pe_fail(err, PE_INTERNAL, "libcurl refused a setting: %s", curl_easy_strerror(code));
	return PE_OK;
}

/*
 * Is the process short of descriptors? libcurl does not tell why it could not read a file
 * or resolve a name; what it had open for that is closed again by now.
 */
static bool
descriptors_are_scarce(const pe_http_exchange *exchange)
{
	int taken[PE_HTTP_STARTING_FILES];
	int count = 0;

	while (count < PE_HTTP_STARTING_FILES &&
	       (taken[count] = fcntl(exchange->client->pool->epoll, F_DUPFD_CLOEXEC, 0)) >= 0)
		count++;
	for (int i = 0; i < count; i++)
		close(taken[i]);
	return count < PE_HTTP_STARTING_FILES;
}

static pe_http_failure
failure_of(const pe_http_exchange *exchange, CURLcode code)
{
	bool refused = exchange->address_refused && !exchange->address_accepted;

	if (exchange->out_of_memory)
		return PE_HTTP_MEMORY;
	if (exchange->too_large)
		return PE_HTTP_TOO_LARGE;
	if (exchange->sink_stopped)
		return PE_HTTP_SINK;
	switch (code)
	{
		case CURLE_OK:
			return PE_HTTP_DONE;
		case CURLE_OUT_OF_MEMORY:
			return PE_HTTP_MEMORY;
		case CURLE_COULDNT_RESOLVE_HOST:
		case CURLE_COULDNT_RESOLVE_PROXY:
			return descriptors_are_scarce(exchange) ? PE_HTTP_EXHAUSTED : PE_HTTP_RESOLVE;
		case CURLE_COULDNT_CONNECT:
			return refused ? PE_HTTP_ADDRESS : exchange->exhausted ? PE_HTTP_EXHAUSTED : PE_HTTP_CONNECT;
		case CURLE_ABORTED_BY_CALLBACK:
			return refused ? PE_HTTP_ADDRESS : PE_HTTP_RESET;
		case CURLE_OPERATION_TIMEDOUT:
			return PE_HTTP_TIMEOUT;
		case CURLE_PEER_FAILED_VERIFICATION:
		case CURLE_SSL_ISSUER_ERROR:
		case CURLE_SSL_INVALIDCERTSTATUS:
			return PE_HTTP_UNTRUSTED;
		case CURLE_SSL_CONNECT_ERROR:
		case CURLE_SSL_CIPHER:
		case CURLE_SSL_ENGINE_INITFAILED:
			return PE_HTTP_TLS;
		case CURLE_SSL_CACERT_BADFILE:
			return descriptors_are_scarce(exchange) ? PE_HTTP_EXHAUSTED : PE_HTTP_SETTING;
		case CURLE_SSL_CERTPROBLEM:
		case CURLE_URL_MALFORMAT:
			return PE_HTTP_SETTING;
		case CURLE_UNSUPPORTED_PROTOCOL: /* an answer without a status line */
		case CURLE_WEIRD_SERVER_REPLY:
		case CURLE_BAD_CONTENT_ENCODING:
			return PE_HTTP_GARBAGE;
		default:
			return PE_HTTP_RESET;
	}
}

/* What HTTP would say; 0: nothing. */
static int
ssh_status(CURLcode code)
{
	switch (code)
	{
		case CURLE_OK:
			return 226;
		case CURLE_LOGIN_DENIED:
			return 401;
		case CURLE_REMOTE_ACCESS_DENIED:
			return 403;
		case CURLE_REMOTE_FILE_NOT_FOUND:
			return 404;
		default:
			return 0;
	}
}

void
pe_http_exhausted(pe_http_response *response)
{
	response->failure = PE_HTTP_EXHAUSTED;
	snprintf(response->reason, sizeof(response->reason),
	         "no file descriptor or memory of the system is left for a connection");
}

void
pe_http_conclude(pe_http_exchange *exchange, CURLcode code)
{
	pe_http_response *response = &exchange->response;
	curl_off_t ready_us = 0;
	long status = 0;
	long request_size = 0;

	curl_easy_getinfo(exchange->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(exchange->easy, CURLINFO_PRETRANSFER_TIME_T, &ready_us);
	curl_easy_getinfo(exchange->easy, CURLINFO_REQUEST_SIZE, &request_size);
	response->failure = failure_of(exchange, code);
	response->status = (int) status;
	if (exchange->ssh)
	{
		response->status = ssh_status(code);
		if (response->status != 0 && response->failure == PE_HTTP_RESET)
			response->failure = PE_HTTP_DONE;
	}
	response->connected = ready_us > 0 || request_size > 0;
	if (exchange->body_length == 0)
		response->body_sent = request_size > 0;
	response->elapsed_us = pe_monotonic_us() - exchange->started_us;
	if (response->failure == PE_HTTP_DONE && response->body == NULL && !goes_to_sink(exchange) &&
	    !grow(exchange, &response->body, &exchange->body_capacity, 0))
		response->failure = PE_HTTP_MEMORY;
	if (response->body != NULL)
		response->body[response->body_length] = '\0';
	if (response->failure == PE_HTTP_EXHAUSTED)
		pe_http_exhausted(response);
	else if (response->failure != PE_HTTP_DONE)
	{
		const char *text = exchange->curl_text[0] != '\0' ? exchange->curl_text : curl_easy_strerror(code);

		pe_utf8_printable(text, strlen(text), response->reason, sizeof(response->reason));
	}
	pe_http_read_headers(response);
}
