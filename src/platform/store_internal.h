/*
 * store_internal.h
 *		What the files of the store share: store.c (requests), store_list.c (listings).
 */
#ifndef PE_PLATFORM_STORE_INTERNAL_H
#define PE_PLATFORM_STORE_INTERNAL_H

#include "platform/store.h"
#include "platform/text.h"

typedef enum pe_store_kind
{
	PE_STORE_S3,
	PE_STORE_AZURE,
	PE_STORE_SFTP
} pe_store_kind;

struct pe_store
{
	pe_env env;
	pe_http *http;
	pe_store_kind kind;
	pe_pool pool; /* of the strings */
	char *base;   /* URL in front of a path, without a slash at its end */
	char *root;   /* folder of the URL, without slashes at its ends */
	char *host;
	char *user;
	char *sigv4;
	char *host_key;
	char *key_file;
	pe_get_secret get_secret;
	void *secret_ctx;
	pe_get_secret get_session;
	void *session_ctx;
};

/*
 * A request for base, path (encoded) and query, under way or, with response, done. range is an
 * HTTP header's value or NULL.
 */
typedef struct pe_store_request
{
	const char *path;
	const char *query; /* without "?"; NULL: none */
	const char *range;
	int64_t resume_from; /* sftp */
	size_t max_body;
	pe_http_sink sink;
	void *sink_ctx;
	void *owner;
} pe_store_request;

pe_status pe_store_perform(pe_store *store, const pe_store_request *request, pe_http_response *response,
                           pe_error *err);
/* What a completed exchange means. */
pe_status pe_store_verdict(pe_store *store, const pe_http_response *response, pe_error *err);

#endif /* PE_PLATFORM_STORE_INTERNAL_H */
