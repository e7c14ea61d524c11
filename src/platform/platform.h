/*
 * platform.h
 *		A session with Experience Platform: where it is, who we are there, the token
 *		held in memory, and the one way every typed call goes out.
 *
 * Typed calls (registry.h, identity.h, catalog.h, flow.h, export.h, profile.h,
 * batch.h) block, call the environment's tick at least every 50 ms and return
 * PE_CANCELLED within 200 ms when it asks. A worker that must not block uses the
 * building blocks at the end with pe_platform_http's asynchronous calls.
 */
#ifndef PE_PLATFORM_PLATFORM_H
#define PE_PLATFORM_PLATFORM_H

#include "platform/http.h"
#include "platform/pool.h"

#define PE_DEFAULT_PLATFORM_URL   "https://platform.adobe.io"
#define PE_DEFAULT_IMS_URL        "https://ims-na1.adobelogin.com"
#define PE_DEFAULT_COLLECTION_URL "https://dcs.adobedc.net"
#define PE_DEFAULT_SANDBOX        "prod"
#define PE_DEFAULT_SCOPES         "openid,AdobeID,read_organizations,additional_info.projectedProductContext,session"
#define PE_SECRET_SIZE            1024

/*
 * Writes the client secret, NUL-terminated, for a token request that is about to go
 * to host (no port). Called before each token request, so the owner of the secret
 * decides each time; the buffer is wiped after use. Must not jump.
 */
typedef pe_status (*pe_get_secret)(void *ctx, const char *host, char *buffer, size_t size, pe_error *err);

/* NULL or empty strings take the defaults above; all are copied. */
typedef struct pe_platform_config
{
	const char *org_id;  /* required: 24 hex digits @AdobeOrg */
	const char *sandbox; /* lower-case name */
	const char *platform_url;
	const char *ims_url;
	const char *collection_url;
	const char *client_id; /* required */
	const char *scopes;
	const char *ca_file;
	bool allow_insecure_loopback;
	bool allow_private_addresses;
	int connect_timeout_ms;
	int total_timeout_ms;
	pe_http_pool *pool;       /* of connections, shared with other sessions; NULL: one of its own */
	pe_get_secret get_secret; /* required */
	void *secret_ctx;
} pe_platform_config;

typedef struct pe_platform pe_platform;

/* No network yet. Closing wipes the token; also from a memory context's reset callback. */
pe_status pe_platform_open(const pe_env *env, const pe_platform_config *config, pe_platform **platform,
                           pe_error *err);
void pe_platform_close(pe_platform *platform);

pe_http *pe_platform_http(pe_platform *platform);
const pe_env *pe_platform_env(pe_platform *platform);
const char *pe_platform_org(const pe_platform *platform);
const char *pe_platform_url(const pe_platform *platform);
const char *pe_platform_ims_url(const pe_platform *platform);
const char *pe_platform_collection_url(const pe_platform *platform);

/* Get a token now unless one is held that lasts 5 more minutes. The first step of check_connection. */
pe_status pe_platform_authenticate(pe_platform *platform, pe_error *err);

/* One call to the platform's gateway. Only method and path are required. */
typedef struct pe_call
{
	const char *method;
	const char *path; /* "/data/..." with query, already encoded; or an href of the platform's own host */
	const char *accept;
	const char *content_type; /* with a body; NULL: application/json */
	const char *if_match;
	const char *range; /* "bytes=a-b" */
	const void *body;
	size_t body_length;
	size_t max_body;
	int total_timeout_ms;
	pe_http_sink sink;
	void *sink_ctx;
	const char *what; /* names the request in errors: "data set list" */
} pe_call;

/*
 * Perform with token and common headers; 401 (or 403 with 401013) gets a new token
 * once and one more try. PE_OK only for a 2xx; every other status is mapped by
 * pe_platform_error and the response is there to look at. Free the response always.
 */
pe_status pe_platform_call(pe_platform *platform, const pe_call *call, pe_http_response *response,
                           pe_error *err);

/*
 * The same call without waiting for its answer, for several at a time: only a token that is
 * needed is waited for. owner comes back in the response. pe_platform_wait moves all that is
 * under way for at most 50 ms and asks the tick; pe_platform_take gives a completed response, if
 * there is one; pe_platform_verdict says what it means. A 401 is the caller's to deal with.
 */
pe_status pe_platform_start(pe_platform *platform, const pe_call *call, void *owner,
                            pe_http_exchange **exchange, pe_error *err);
pe_status pe_platform_wait(pe_platform *platform, pe_error *err);
bool pe_platform_take(pe_platform *platform, pe_http_response *response);
pe_status pe_platform_verdict(const pe_platform *platform, const pe_http_response *response, const char *what,
                              pe_error *err);
/*
 * What a non-2xx reply of gateway, Catalog, Registry, IMS or ingestion means: code,
 * message with the platform's own title and detail (bounded, printable), hint.
 */
pe_status pe_platform_error(const pe_http_response *response, const char *what, pe_error *err);

/* The platform's own words in an error body, bounded and printable; empty when there are none. */
void pe_platform_error_text(const char *body, size_t length, char *text, size_t size);
/* Its error_code ("401013", "XDM-3005-400", ...), empty when there is none. */
void pe_platform_error_code(const char *body, size_t length, char *code, size_t size);

/*
 * An href of a reply reduced to path and query, for pe_call.path. PE_UNTRUSTED when it
 * is for another scheme, host or port than the platform's (:443 counts as none).
 */
pe_status pe_platform_href(const pe_platform *platform, const char *href, const char **path, pe_error *err);

/*
 * Building blocks for a caller with its own event loop.
 *
 * pe_token_request fills a request (owned by the form) for pe_http_start; free the
 * form, which wipes the secret, when its exchange is completed or cancelled.
 * pe_token_accept takes the reply: PE_OK, or PE_UNAUTHORISED (bad credentials: do
 * not try again by itself), or the transport's or server's status (try again).
 */
typedef struct pe_token_form
{
	pe_http_request request;
	pe_http_header headers[2];
	char *url;
	char *body;
	size_t body_size;
	pe_allocator allocator;
} pe_token_form;

pe_status pe_token_request(pe_platform *platform, pe_token_form *form, pe_error *err);
void pe_token_form_free(pe_token_form *form);
pe_status pe_token_accept(pe_platform *platform, const pe_http_response *response, pe_error *err);
/* Held and not within 5 minutes (or a tenth of its life, if shorter) of its end? */
bool pe_token_valid(const pe_platform *platform);
/* Forget it, e.g. after a 401. */
void pe_token_forget(pe_platform *platform);

/*
 * The common headers: Authorization, x-api-key, x-gw-ims-org-id, x-sandbox-name, a
 * fresh random x-request-id, and Content-Type when content_type is given. They point
 * into the session and into set: use them before the next call.
 */
#define PE_COMMON_HEADERS 6
typedef struct pe_header_set
{
	pe_http_header headers[PE_COMMON_HEADERS + 6];
	int count;
	char request_id[40];
} pe_header_set;

void pe_platform_headers(pe_platform *platform, const char *content_type, pe_header_set *set);
/* Adds one; name and value are borrowed. */
void pe_header_add(pe_header_set *set, const char *name, const char *value);

#endif /* PE_PLATFORM_PLATFORM_H */
