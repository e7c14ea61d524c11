/*
 * store.h
 *		Where exports lie: S3 and what speaks like it, Azure Blob storage with the landing
 *		zone, SFTP. Folders are listed and files fetched; nothing is ever written there.
 */
#ifndef PE_PLATFORM_STORE_H
#define PE_PLATFORM_STORE_H

#include "platform/fetch.h"
#include "platform/platform.h"

/* Zeroed and empty strings mean what is said; all are copied. */
typedef struct pe_store_config
{
	const char *url;      /* s3://bucket/folder, https://account/container/folder, sftp://host:port/folder */
	const char *endpoint; /* of something that speaks S3; NULL: Amazon's, of the region */
	const char *region;   /* NULL: us-east-1 */
	const char *user;     /* access key id, or the user of sftp; NULL for Azure */
	const char *host_key; /* of sftp: SHA-256 in base64, with or without "SHA256:"; required there */
	const char *key_file; /* of sftp: path of the private key, instead of a secret */
	pe_http_config http;
	pe_get_secret get_secret; /* secret access key, SAS token, or password */
	void *secret_ctx;
	pe_get_secret get_session; /* session token of temporary S3 credentials; NULL: none */
	void *session_ctx;
} pe_store_config;

typedef struct pe_store pe_store;

/* No network yet. Close also from a memory context's reset callback. */
pe_status pe_store_open(const pe_env *env, const pe_store_config *config, pe_store **store, pe_error *err);
void pe_store_close(pe_store *store);

/* The host that url and endpoint lead to, for the rule of where a secret may go. */
pe_status pe_store_host(const pe_store_config *config, char *host, size_t size, pe_error *err);

typedef struct pe_entry
{
	pe_part part; /* name without folders; length -1 when the store does not say */
	bool folder;
} pe_entry;

typedef struct pe_entry_list
{
	pe_entry *items;
	int count;
	pe_pool pool;
} pe_entry_list;

/* What is in a folder below the URL ("" for its own), in order of names. PE_NOT_FOUND: no such folder. */
pe_status pe_store_list(pe_store *store, const char *folder, pe_entry_list *list, pe_error *err);
void pe_entry_list_free(pe_entry_list *list);

/* The bytes of files that were listed: pe_fetch_parts. */
pe_status pe_store_fetch(pe_store *store, pe_fetch *items, int count, int parallel, pe_error *err);

#endif /* PE_PLATFORM_STORE_H */
