/*
 * http_internal.h
 *		What the files of the HTTP client share: http.c (client), http_pool.c (connections
 *		and the event loop), http_transfer.c (libcurl's callbacks and settings),
 *		http_response.c.
 */
#ifndef PE_PLATFORM_HTTP_INTERNAL_H
#define PE_PLATFORM_HTTP_INTERNAL_H

#include <curl/curl.h>

#include "platform/http.h"

/* How long a connection without a request is kept, and how long any that has one after another. */
#define PE_HTTP_IDLE_S 30
#define PE_HTTP_LIFE_S 600

/*
 * The life of an exchange: it waits in the pool for its turn, is under way in the multi
 * handle, and then done in its client's list, to be taken.
 */
struct pe_http_exchange
{
	pe_http *client;
	pe_http_exchange *next;
	pe_http_exchange **link; /* what points to us, in whichever list we are */
	char *origin;            /* scheme, host and port */
	CURL *easy;
	struct curl_slist *headers;
	const char *body; /* the request's, borrowed */
	size_t body_length;
	size_t body_given; /* bytes that libcurl has taken */
	size_t max_body;
	pe_http_sink sink;
	void *sink_ctx;
	bool plain;             /* http:// */
	bool ssh;               /* sftp:// */
	bool waited;            /* pe_http_perform waits for it: pe_http_next must not give it away */
	bool waited_for_origin; /* for another to connect: not again */
	bool started;           /* libcurl has it */
	bool connected;
	bool finished; /* response is complete */
	bool address_refused;
	bool address_accepted;
	bool exhausted; /* no socket could be made */
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

struct pe_http_pool
{
	pe_env env;
	int most_requests;
	CURLM *multi; /* NULL while there is no connection */
	int epoll;
	bool epoll_failed;   /* a descriptor could not be watched: the next dispatch says so */
	int64_t deadline_us; /* libcurl's timer, -1: none */
	int64_t idle_since_us;
	pe_http_exchange *waiting; /* oldest first; so are the others */
	pe_http_exchange *running;
	int running_count;
	int finished_count; /* in the clients' lists */
};

struct pe_http
{
	pe_env env;
	pe_http_pool *pool;
	bool owns_pool;
	bool allow_insecure_loopback;
	bool allow_private_addresses;
	int connect_timeout_ms;
	int total_timeout_ms;
	char *ca_file;
	int active; /* waiting or running */
	pe_http_exchange *completed;
};

int64_t pe_monotonic_us(void);

/* Has it wait for its turn, which may be now. */
void pe_http_pool_add(pe_http_exchange *exchange);
/* Ends it, however far it has come; pe_http_pool_start then gives its turn to others. */
void pe_http_pool_free(pe_http_exchange *exchange);
void pe_http_pool_start(pe_http_pool *pool);
/* Until something is to be done by the clock, -1: nothing. */
int pe_http_pool_timer_ms(const pe_http_pool *pool);

/* Set up exchange->easy for the request: every safety setting of this layer is here. */
pe_status pe_http_prepare(pe_http_exchange *exchange, const pe_http_request *request, pe_error *err);
/* libcurl is done with the exchange: fill in its response. */
void pe_http_conclude(pe_http_exchange *exchange, CURLcode code);
/* It came to nothing, for want of descriptors or memory of the system's. */
void pe_http_exhausted(pe_http_response *response);
/* Pick content type, retry-after, location and request id out of the header block. */
void pe_http_read_headers(pe_http_response *response);

#endif /* PE_PLATFORM_HTTP_INTERNAL_H */
