/*
 * http_response.c
 *		Reading a response's headers, and saying what a failure means.
 */
#include <curl/curl.h>

#include "platform/http_internal.h"
#include "platform/utf8.h"

#define RETRY_AFTER_MAX 3600

void
pe_http_response_free(pe_http_response *response)
{
	if (response->body != NULL)
		response->allocator.free(response->allocator.ctx, response->body);
	if (response->headers != NULL)
		response->allocator.free(response->allocator.ctx, response->headers);
	response->body = NULL;
	response->headers = NULL;
	response->body_length = response->header_length = 0;
}

bool
pe_http_response_header(const pe_http_response *response, const char *name, char *value, size_t size)
{
	const char *line = response->headers;
	const char *end = line != NULL ? line + response->header_length : NULL;
	size_t name_length = strlen(name);

	value[0] = '\0';
	while (line != NULL && line < end)
	{
		const char *line_end = memchr(line, '\n', (size_t) (end - line));
		const char *text;

		if (line_end == NULL)
			line_end = end;
		if ((size_t) (line_end - line) > name_length && line[name_length] == ':' &&
		    strncasecmp(line, name, name_length) == 0)
		{
			text = line + name_length + 1;
			while (text < line_end && (*text == ' ' || *text == '\t'))
				text++;
			pe_utf8_printable(text, (size_t) (line_end - text), value, size);
			return true;
		}
		line = line_end + 1;
	}
	return false;
}

void
pe_http_read_headers(pe_http_response *response)
{
	pe_http_response_header(response, "content-type", response->content_type, sizeof(response->content_type));
	pe_http_response_header(response, "retry-after", response->retry_after, sizeof(response->retry_after));
	pe_http_response_header(response, "location", response->location, sizeof(response->location));
	pe_http_response_header(response, "x-request-id", response->request_id, sizeof(response->request_id));
}

int
pe_http_retry_after(const pe_http_response *response, int64_t now_unix)
{
	const char *text = response->retry_after;
	int64_t seconds = 0;

	if (text[0] == '\0')
		return 0;
	if (text[strspn(text, "0123456789")] == '\0')
	{
		for (; *text != '\0' && seconds <= RETRY_AFTER_MAX; text++)
			seconds = seconds * 10 + (*text - '0');
	}
	else
	{
		time_t when = curl_getdate(text, NULL);

		if (when == (time_t) -1)
			return 0;
		seconds = (int64_t) when - now_unix;
	}
	return seconds < 1 ? 1 : seconds > RETRY_AFTER_MAX ? RETRY_AFTER_MAX : (int) seconds;
}

/* The URL's host, and nothing else of it. */
static void
host_of(const char *url, char *host, size_t size)
{
	const char *start = strstr(url, "://");
	size_t length;

	start = start != NULL ? start + 3 : url;
	length = strcspn(start, "/?#");
	pe_utf8_printable(start, length, host, size);
}

pe_status
pe_http_error(const pe_http_response *response, const char *url, pe_error *err)
{
	char host[128];
	pe_status status = PE_UNREACHABLE;

	host_of(url, host, sizeof(host));
	switch (response->failure)
	{
		case PE_HTTP_DONE:
			return PE_OK;
		case PE_HTTP_RESOLVE:
			status = pe_fail(err, PE_UNREACHABLE, "could not resolve host %s", host);
			pe_error_hint(err, "Check the URL in the server's options and the machine's name resolution.");
			break;
		case PE_HTTP_CONNECT:
			status = pe_fail(err, PE_UNREACHABLE, "could not connect to %s", host);
			pe_error_hint(
			    err,
			    "Check the URL in the server's options and that the machine may reach it; proxies of the "
			    "environment are not used.");
			break;
		case PE_HTTP_TLS:
			status = pe_fail(err, PE_UNREACHABLE, "no secure connection to %s", host);
			pe_error_hint(err, "The other side must speak TLS 1.2 or newer.");
			break;
		case PE_HTTP_UNTRUSTED:
			if (strncmp(url, "sftp:", 5) == 0)
			{
				status = pe_fail(err, PE_UNTRUSTED, "the host key of %s is not the expected one", host);
				pe_error_hint(err, "Compare the server option host_key with the key that the host's "
				                   "administrator gives you; somebody may be in between.");
				break;
			}
			status = pe_fail(err, PE_UNTRUSTED, "the certificate of %s is not trusted", host);
			pe_error_hint(
			    err, "If the host's certificate is signed by an authority of your own, name its file in the "
			         "server option ca_file.");
			break;
		case PE_HTTP_ADDRESS:
			status = pe_fail(err, PE_UNTRUSTED, "host %s resolves to an address that is not allowed", host);
			pe_error_hint(
			    err,
			    "Private, link-local and loopback addresses are refused unless a superuser allows them.");
			return status;
		case PE_HTTP_TIMEOUT:
			status = pe_fail(err, PE_UNREACHABLE, "no answer from %s in time", host);
			break;
		case PE_HTTP_RESET:
			status = pe_fail(err, PE_UNREACHABLE, "the connection to %s broke", host);
			break;
		case PE_HTTP_TOO_LARGE:
			status = pe_fail(err, PE_LIMIT, "the answer of %s is larger than allowed", host);
			return status;
		case PE_HTTP_GARBAGE:
			status = pe_fail(err, PE_BAD_REPLY, "the answer of %s is not HTTP", host);
			pe_error_hint(err, "Check the URL in the server's options.");
			break;
		case PE_HTTP_SINK:
			return pe_fail(err, PE_IO, "the bytes received from %s could not be stored", host);
		case PE_HTTP_CANCELLED:
			return pe_fail(err, PE_CANCELLED, "cancelled while waiting for %s", host);
		case PE_HTTP_MEMORY:
			return pe_fail_memory(err);
		case PE_HTTP_EXHAUSTED:
			status = pe_fail(err, PE_EXHAUSTED,
			                 "the system is out of descriptors or memory for a connection to %s", host);
			pe_error_hint(err, "Raise the limit of open files of the server's processes, or have less open.");
			break;
		case PE_HTTP_SETTING:
			status = pe_fail(err, PE_CONFIGURATION, "the connection to %s cannot be set up", host);
			pe_error_hint(err, "Check the server option ca_file: a readable file of PEM certificates.");
			break;
	}
	if (response->reason[0] != '\0')
		pe_error_detail(err, "%s.", response->reason);
	return status;
}

/* Is one of the parts that a configured URL must not have there? */
static bool
has_part(CURLU *parsed, CURLUPart part)
{
	char *text = NULL;
	bool present = curl_url_get(parsed, part, &text, 0) == CURLUE_OK;

	curl_free(text);
	return present;
}

pe_status
pe_http_check_url(const pe_http_config *config, const char *what, const char *url, pe_error *err)
{
	CURLU *parsed;
	char *scheme = NULL;
	pe_status status = PE_OK;

	for (const char *p = url; *p != '\0'; p++)
		if ((unsigned char) *p <= ' ' || (unsigned char) *p >= 0x7F)
			return pe_fail(err, PE_CONFIGURATION, "%s holds a blank or a character outside ASCII", what);
	if (strlen(url) > 1000)
		return pe_fail(err, PE_CONFIGURATION, "%s is longer than 1000 bytes", what);
	parsed = curl_url();
	if (parsed == NULL)
		return pe_fail_memory(err);
	if (curl_url_set(parsed, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK ||
	    curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK)
	{
		status = pe_fail(err, PE_CONFIGURATION, "%s is not a URL", what);
		pe_error_hint(err, "Write it as https://host or https://host:port.");
	}
	else if (strcmp(scheme, "https") != 0 &&
	         !(strcmp(scheme, "http") == 0 && config->allow_insecure_loopback))
	{
		status = pe_fail(err, PE_CONFIGURATION, "%s must begin with https://", what);
		pe_error_hint(err, "Nothing is sent unencrypted, except to loopback under a superuser's setting.");
	}
	else if (has_part(parsed, CURLUPART_USER) || has_part(parsed, CURLUPART_PASSWORD))
		status = pe_fail(err, PE_CONFIGURATION, "%s must not hold a user or password", what);
	else if (has_part(parsed, CURLUPART_QUERY) || has_part(parsed, CURLUPART_FRAGMENT) ||
	         strpbrk(url, "?#") != NULL)
		status = pe_fail(err, PE_CONFIGURATION, "%s must not hold a query or fragment", what);
	curl_free(scheme);
	curl_url_cleanup(parsed);
	return status;
}
