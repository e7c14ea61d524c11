/*
 * http.h
 *		HTTPS clients over connections that they share, behind one epoll descriptor; safe by
 *		default and with no switch to make it otherwise.
 *
 * Certificates and host names are always verified, TLS is 1.2 or newer, redirects
 * are returned and never followed, proxies, netrc and cookies of the environment
 * are ignored, replies are never compressed, header and body bytes are counted and
 * capped here. Names that resolve to private, link-local, loopback or multicast
 * addresses are refused after resolution unless the configuration allows them. Files over
 * sftp come through the same client, from hosts whose key is known; an answer then has a
 * status as HTTP would give it (226 when all has come, 401, 403, 404).
 *
 * Clients and pools belong to the process and thread that opened them: never inherit one
 * over fork. They keep file descriptors and libcurl's own memory, so they must be
 * closed explicitly; in the server from a memory context's reset callback.
 */
#ifndef PE_PLATFORM_HTTP_H
#define PE_PLATFORM_HTTP_H

#include "pe_base.h"

typedef struct pe_http pe_http;
typedef struct pe_http_pool pe_http_pool;
typedef struct pe_http_exchange pe_http_exchange;

#define PE_HTTP_CONNECT_TIMEOUT_MS 5000
#define PE_HTTP_TOTAL_TIMEOUT_MS   30000
#define PE_HTTP_MAX_HEADER_BYTES   (64 * 1024)
#define PE_HTTP_MAX_BODY_BYTES     (8 * 1024 * 1024)
#define PE_HTTP_MAX_ERROR_BYTES    (64 * 1024)

/* Zeroed means: system certificates, public addresses only, the timeouts above. */
typedef struct pe_http_config
{
	const char *ca_file;          /* PEM bundle that replaces the system's, or NULL */
	bool allow_insecure_loopback; /* http:// and loopback addresses: for a stand-in platform only */
	bool allow_private_addresses; /* private networks, link-local and loopback, still HTTPS */
	int connect_timeout_ms;       /* 0: PE_HTTP_CONNECT_TIMEOUT_MS */
	int total_timeout_ms;         /* 0: PE_HTTP_TOTAL_TIMEOUT_MS */
	pe_http_pool *pool;           /* shared with others; NULL: one of its own */
	int max_requests;             /* at a time, of a pool of its own; 0: 16 */
} pe_http_config;

typedef struct pe_http_header
{
	const char *name;
	const char *value;
} pe_http_header;

/*
 * Takes the body of a 2xx reply piece by piece instead of memory; false stops the
 * transfer. Called under libcurl: it must neither jump nor call the client.
 */
typedef bool (*pe_http_sink)(void *ctx, const void *data, size_t length);

/*
 * Everything but the body and the sink's context is copied by pe_http_start; the
 * body is borrowed until the exchange is completed or cancelled.
 */
typedef struct pe_http_request
{
	const char *method; /* GET, HEAD, POST, PUT, PATCH, DELETE */
	const char *url;
	const pe_http_header *headers;
	int header_count;
	const void *body; /* NULL: none */
	size_t body_length;
	size_t max_body;      /* bytes of reply accepted; 0: PE_HTTP_MAX_BODY_BYTES, or no cap with a sink */
	int total_timeout_ms; /* 0: the client's; -1: none, only the stall limit (100 B/s for 10 s) */
	pe_http_sink sink;
	void *sink_ctx;
	void *owner; /* handed back in the response */
	/* Of exported files (store.h). */
	const char *user;
	const char *password;
	const char *sigv4;        /* "aws:amz:REGION:s3": signed with user and password */
	const char *ssh_host_key; /* the host key's SHA-256 in base64: sftp://, which nothing else allows */
	const char *ssh_key_file; /* private key of user's, instead of the password */
	int64_t resume_from;      /* of a file over sftp */
} pe_http_request;

/* What ended an exchange. Everything but PE_HTTP_DONE has no usable status. */
typedef enum pe_http_failure
{
	PE_HTTP_DONE = 0,  /* a whole reply, whatever its status */
	PE_HTTP_RESOLVE,   /* the host's name could not be resolved */
	PE_HTTP_CONNECT,   /* refused or unreachable */
	PE_HTTP_TLS,       /* the handshake failed for another reason than trust */
	PE_HTTP_UNTRUSTED, /* certificate or host name wrong */
	PE_HTTP_ADDRESS,   /* every resolved address is one that is not allowed */
	PE_HTTP_TIMEOUT,   /* connect, total or stall limit */
	PE_HTTP_RESET,     /* the connection broke, or the reply was cut short */
	PE_HTTP_TOO_LARGE, /* headers or body over the cap */
	PE_HTTP_GARBAGE,   /* not HTTP */
	PE_HTTP_SINK,      /* the sink said stop */
	PE_HTTP_CANCELLED, /* the tick said stop, or pe_http_cancel */
	PE_HTTP_MEMORY,    /* out of memory */
	PE_HTTP_EXHAUSTED, /* the system has no descriptor or memory left just now */
	PE_HTTP_SETTING    /* the CA file cannot be read, the URL is not allowed, ... */
} pe_http_failure;

typedef struct pe_http_response
{
	pe_http_failure failure;
	int status;         /* 0 unless a status line was read; trust it only with PE_HTTP_DONE */
	bool body_sent;     /* libcurl took at least one byte of the request's body (or the whole
	                     * head of a request without one): a failure is then "unknown", else "not sent" */
	bool connected;     /* TCP and TLS were up */
	char *body;         /* NUL-terminated, never NULL after DONE; NULL when a sink took it */
	size_t body_length; /* bytes in body, or handed to the sink */
	char *headers;      /* the last header block as received, for pe_http_response_header */
	size_t header_length;
	char content_type[128]; /* empty when absent; so are the next three */
	char retry_after[64];
	char location[256];
	char request_id[64];
	int64_t elapsed_us;
	void *owner;
	char reason[160]; /* in words, without URL, query, token or payload */
	pe_allocator allocator;
} pe_http_response;

/* The libraries underneath, as "libcurl/7.88.1 OpenSSL/3.0.15 ...". */
void pe_http_versions(char *text, size_t size);

/*
 * Connections for many clients. At most most_requests are under way at a time, of all
 * clients: more wait for their turn, in order, and their time limits do not run
 * meanwhile. At most twice as many connections are open, idle ones among them, which are
 * closed after half a minute; a connection that is still being made takes up to
 * PE_HTTP_STARTING_FILES descriptors. A connection may serve any client that asks for the same host by the
 * same certificates; whether its address is allowed is asked for each request. The env's allocator must live
 * as long as the pool, and the pool longer than its clients.
 */
#define PE_HTTP_STARTING_FILES 4
pe_status pe_http_pool_open(const pe_env *env, int most_requests, pe_http_pool **pool, pe_error *err);
void pe_http_pool_close(pe_http_pool *pool); /* accepts NULL */

/* As pe_http_fd, pe_http_timeout_ms and pe_http_dispatch below, for all clients at once. */
int pe_http_pool_fd(const pe_http_pool *pool);
int pe_http_pool_timeout_ms(const pe_http_pool *pool);
pe_status pe_http_pool_dispatch(pe_http_pool *pool, pe_error *err);

/* env's allocator must live as long as the client; its tick is used by pe_http_perform. */
pe_status pe_http_open(const pe_env *env, const pe_http_config *config, pe_http **client, pe_error *err);

/* Cancels what is under way. Accepts NULL. */
void pe_http_close(pe_http *client);

/*
 * The asynchronous core. Wait until pe_http_fd is readable or pe_http_timeout_ms
 * have gone by (-1: no timer), call pe_http_dispatch, then take completed exchanges
 * with pe_http_next until it returns false. exchange may be NULL; it is valid until
 * its response was taken or it was cancelled (a cancelled one gives no response).
 */
pe_status pe_http_start(pe_http *client, const pe_http_request *request, pe_http_exchange **exchange,
                        pe_error *err);
int pe_http_fd(const pe_http *client);
int pe_http_timeout_ms(const pe_http *client);
pe_status pe_http_dispatch(pe_http *client, pe_error *err);
bool pe_http_next(pe_http *client, pe_http_response *response);
void pe_http_cancel(pe_http *client, pe_http_exchange *exchange);
int pe_http_active(const pe_http *client);

/*
 * Blocking: start, wait in slices of at most 50 ms with the tick called between
 * them, and return PE_OK whenever a whole reply came, whatever its status. On a
 * failure err is filled as by pe_http_error and response still tells how far it got.
 * Other exchanges of the client keep moving meanwhile. Free the response always.
 */
pe_status pe_http_perform(pe_http *client, const pe_http_request *request, pe_http_response *response,
                          pe_error *err);

void pe_http_response_free(pe_http_response *response);

/* Value of the header called name (any case) in the last header block, copied; false when absent. */
bool pe_http_response_header(const pe_http_response *response, const char *name, char *value, size_t size);

/* Seconds of Retry-After (number, or date against now), clamped to 1..3600; 0 when absent or unreadable. */
int pe_http_retry_after(const pe_http_response *response, int64_t now_unix);

/* Fill err for a response that is not PE_HTTP_DONE; url gives the host for the message. */
pe_status pe_http_error(const pe_http_response *response, const char *url, pe_error *err);

/*
 * Check a URL of the configuration: absolute, https (or http where allowed), no
 * user, password, query or fragment. what names it in the error.
 */
pe_status pe_http_check_url(const pe_http_config *config, const char *what, const char *url, pe_error *err);

#endif /* PE_PLATFORM_HTTP_H */
