/*
 * http_internal.h
 *		What the files of the HTTP client share: http.c (client and event loop),
 *		http_transfer.c (libcurl's callbacks and settings), http_response.c.
 */
#ifndef PE_PLATFORM_HTTP_INTERNAL_H
#define PE_PLATFORM_HTTP_INTERNAL_H

#include <curl/curl.h>

#include "platform/http.h"

/*
 * The age an exchange reaches: under way in the multi handle, done and waiting in
 * the client's list to be taken.
 */
struct pe_http_exchange
{
	pe_http *client;
	pe_http_exchange *next;
	pe_http_exchange **link; /* what points to us, in whichever list we are */
	CURL *easy;
	struct curl_slist *headers;
	const char *body; /* the request's, borrowed */
	size_t body_length;
	size_t body_given; /* bytes that libcurl has taken */
	size_t max_body;
	pe_http_sink sink;
	void *sink_ctx;
	bool plain;    /* http:// */
	bool ssh;      /* sftp:// */
	bool waited;   /* pe_http_perform waits for it: pe_http_next must not give it away */
	bool finished; /* response is complete */
	bool address_refused;
	bool address_accepted;
	bool out_of_memory;
	bool too_large;
	bool sink_stopped;
	size_t header_seen; /* bytes of all header blocks, also of 1xx ones */
	size_t header_capacity;
	size_t body_capacity;
	int64_t started_us;
	pe_http_response response;
	char curl_text[CURL_ERROR_SIZE];
};

struct pe_http
{
	pe_env env;
	bool allow_insecure_loopback;
	bool allow_private_addresses;
	int connect_timeout_ms;
	int total_timeout_ms;
	char *ca_file;
	CURLM *multi;
	int epoll;
	bool epoll_failed;   /* a descriptor could not be watched: the next dispatch says so */
	int64_t deadline_us; /* libcurl's timer, -1: none */
	int active;
	pe_http_exchange *exchanges; /* under way */
	pe_http_exchange *completed; /* oldest first */
};

int64_t pe_monotonic_us(void);

/* Set up exchange->easy for the request: every safety setting of this layer is here. */
pe_status pe_http_prepare(pe_http_exchange *exchange, const pe_http_request *request, pe_error *err);
/* libcurl is done with the exchange: fill in its response. */
void pe_http_conclude(pe_http_exchange *exchange, CURLcode code);
/* Pick content type, retry-after, location and request id out of the header block. */
void pe_http_read_headers(pe_http_response *response);

#endif /* PE_PLATFORM_HTTP_INTERNAL_H */
