/*
 * export_server.c
 *		Servers of the wrapper experience_platform_files: their options, and opening one.
 *
 * The rules are those of experience_platform: a server says where, a user mapping who; secrets are
 * in files that say which hosts they may go to, and whoever sets what names a host or a file is an
 * administrator.
 */
#include "postgres.h"

#include "access/reloptions.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_foreign_table.h"
#include "catalog/pg_user_mapping.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/acl.h"
#include "utils/syscache.h"

#include "pg/compat.h"
#include "pg/connection_options.h"
#include "pg/env.h"
#include "pg/export_server.h"
#include "pg/guc.h"
#include "pg/report.h"
#include "platform/secret_file.h"

#define WRAPPER "experience_platform_files"

/* ---- options ---- */

static void
check_store_url(const char *name, const char *value)
{
	const char *host = strstr(value, "://");

	if (pg_strncasecmp(value, "https://", 8) == 0)
	{
		pe_check_url_option(name, value);
		return;
	}
	if (host == NULL ||
	    (pg_strncasecmp(value, "s3://", 5) != 0 && pg_strncasecmp(value, "sftp://", 7) != 0) ||
	    host[3] == '/' || host[3] == '\0' || strlen(value) > 1000)
		pe_invalid_option(
		    name, "Give s3://bucket/folder, https://account.blob.core.windows.net/container/folder or "
		          "sftp://host/folder.");
	for (const char *c = value; *c != '\0'; c++)
	{
		if ((unsigned char) *c <= ' ' || (unsigned char) *c >= 0x7f || strchr("@?#\"\\", *c) != NULL)
			pe_invalid_option(name, "A url holds no user, password, query or fragment.");
	}
}

static void
check_region(const char *name, const char *value)
{
	if (value[0] == '\0' || strlen(value) > 40 ||
	    value[strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789-")] != '\0')
		pe_invalid_option(name, "A region is like eu-central-1.");
}

/* 32 bytes in base64, without padding; ssh-keygen writes SHA256: in front. */
static void
check_host_key(const char *name, const char *value)
{
	if (strncmp(value, "SHA256:", 7) == 0)
		value += 7;
	if (strlen(value) != 43 ||
	    value[strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")] != '\0')
		pe_invalid_option(name,
		                  "Give the key's SHA-256 as ssh-keygen -lf shows it: SHA256: and 43 characters.");
}

static const PeOptionRule rules[] = {
    {"url", ForeignServerRelationId, true, check_store_url},
    {"endpoint", ForeignServerRelationId, true, pe_check_url_option},
    {"region", ForeignServerRelationId, false, check_region},
    {"ca_file", ForeignServerRelationId, true, pe_check_file_option},
    {"host_key", ForeignServerRelationId, true, check_host_key},
    {"user", UserMappingRelationId, false, pe_check_token_option},
    {"secret_file", UserMappingRelationId, true, pe_check_secret_file_option},
    {"session_token_file", UserMappingRelationId, true, pe_check_secret_file_option},
    {"key_file", UserMappingRelationId, true, pe_check_secret_file_option},
};

PG_FUNCTION_INFO_V1(pe_experience_platform_files_validator);

Datum
pe_experience_platform_files_validator(PG_FUNCTION_ARGS)
{
	List *options = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid catalog = PG_GETARG_OID(1);

	if (catalog == ForeignTableRelationId)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
		                errmsg("a server of " WRAPPER " has no foreign tables"),
		                errhint("profenrich.load_export loads exported files into a table.")));
	if (catalog == UserMappingRelationId && pe_option_value(options, "key_file") != NULL &&
	    pe_option_value(options, "secret_file") != NULL)
		ereport(ERROR,
		        (errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
		         errmsg("options \"key_file\" and \"secret_file\" exclude each other"), errhidestmt(true)));
	pe_check_options(rules, lengthof(rules), options, catalog);
	PG_RETURN_VOID();
}

/* ---- opening one ---- */

/* A pe_get_secret: runs below the platform layer, so nothing here may raise or allocate. */
static pe_status
read_secret(void *ctx, const char *host, char *buffer, size_t size, pe_error *err)
{
	const char *file = ctx;
	pe_secret_request request = {
	    .directory = pe_secret_directory, .name = file, .hosts = &host, .host_count = 1};

	if (pe_secret_directory == NULL || pe_secret_directory[0] == '\0')
	{
		pe_fail(err, PE_CONFIGURATION, "setting profenrich.secret_directory is empty");
		pe_error_hint(err, "Set it in postgresql.conf to the directory that holds secret file \"%s\".", file);
		return PE_CONFIGURATION;
	}
	return pe_secret_file_read(&request, buffer, size, err);
}

static bool
is_ours(const ForeignServer *server)
{
	return strcmp(GetForeignDataWrapper(server->fdwid)->fdwname, WRAPPER) == 0;
}

bool
export_server_is(const char *name)
{
	ForeignServer *server = GetForeignServerByName(name, true);

	return server != NULL && is_ours(server);
}

static ForeignServer *
find_server(const char *name)
{
	ForeignServer *server = GetForeignServerByName(name, true);

	if (server == NULL)
		ereport(ERROR,
		        (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("server \"%s\" does not exist", name),
		         errhint("Make it with CREATE SERVER %s FOREIGN DATA WRAPPER " WRAPPER " OPTIONS (url ...).",
		                 quote_identifier(name))));
	if (!is_ours(server))
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
		                errmsg("server \"%s\" is not one of exported files", name),
		                errhint("Name a server made with FOREIGN DATA WRAPPER " WRAPPER ".")));
	if (pe_foreign_server_aclcheck(server->serverid, GetUserId(), ACL_USAGE) != ACLCHECK_OK)
		ereport(ERROR,
		        (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
		         errmsg("permission denied for foreign server %s", name),
		         errhint("Role \"%s\" needs USAGE on the server.", GetUserNameFromId(GetUserId(), false))));
	if (pe_option_value(server->options, "url") == NULL)
		ereport(ERROR,
		        (errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
		         errmsg("server \"%s\" has no option \"url\"", name),
		         errhint("Give it with ALTER SERVER %s OPTIONS (ADD url '...').", quote_identifier(name))));
	return server;
}

static UserMapping *
find_mapping(const ForeignServer *server)
{
	if (!SearchSysCacheExists2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(GetUserId()),
	                           ObjectIdGetDatum(server->serverid)) &&
	    !SearchSysCacheExists2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(InvalidOid),
	                           ObjectIdGetDatum(server->serverid)))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
		                errmsg("server \"%s\" has no user mapping for role \"%s\"", server->servername,
		                       GetUserNameFromId(GetUserId(), false)),
		                errhint("Make it with CREATE USER MAPPING ... SERVER %s OPTIONS (secret_file ...).",
		                        quote_identifier(server->servername))));
	return GetUserMapping(GetUserId(), server->serverid);
}

static const char *
without_slash(const char *url)
{
	char *copy = url != NULL ? pstrdup(url) : NULL;

	for (size_t length = copy != NULL ? strlen(copy) : 0; length > 0 && copy[length - 1] == '/'; length--)
		copy[length - 1] = '\0';
	return copy;
}

/* The path of a private key that is kept as a secret file is. */
static char *
key_path(const char *file)
{
	pe_error err = {0};

	if (file == NULL)
		return NULL;
	if (pe_secret_directory == NULL || pe_secret_directory[0] == '\0')
		ereport(ERROR,
		        (errcode(ERRCODE_FDW_ERROR), errmsg("setting profenrich.secret_directory is empty"),
		         errhint("Set it in postgresql.conf to the directory that holds key file \"%s\".", file)));
	pe_check(pe_secret_file_check(pe_secret_directory, file, &err), &err);
	return psprintf("%s/%s", pe_secret_directory, file);
}

static void
close_store(void *arg)
{
	pe_store_close(((ExportServer *) arg)->store);
}

ExportServer *
export_server_open(const char *name)
{
	ForeignServer *server = find_server(name);
	UserMapping *mapping = find_mapping(server);
	const char *secret = pe_option_value(mapping->options, "secret_file");
	const char *session = pe_option_value(mapping->options, "session_token_file");
	const char *key = pe_option_value(mapping->options, "key_file");
	ExportServer *result = palloc0(sizeof(ExportServer));
	MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));
	pe_env env = pe_quiet_env(CurrentMemoryContext);
	pe_error err = {0};
	pe_store_config config = {
	    .url = pe_option_value(server->options, "url"),
	    .endpoint = without_slash(pe_option_value(server->options, "endpoint")),
	    .region = pe_option_value(server->options, "region"),
	    .user = pe_option_value(mapping->options, "user"),
	    .host_key = pe_option_value(server->options, "host_key"),
	    .key_file = key_path(key),
	    .http = pe_http_limits(pe_option_value(server->options, "ca_file")),
	    .get_secret = read_secret,
	    .secret_ctx = unconstify(char *, secret),
	    .get_session = session != NULL ? read_secret : NULL,
	    .session_ctx = unconstify(char *, session),
	};

	if (secret == NULL && key == NULL)
		ereport(ERROR,
		        (errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
		         errmsg("user mapping for server \"%s\" has no option \"secret_file\"", name),
		         errhint("Give it with ALTER USER MAPPING ... SERVER %s OPTIONS (ADD secret_file ...).",
		                 quote_identifier(name))));
	result->name = pstrdup(name);
	result->url = config.url;
	result->umid = mapping->umid;
	callback->func = close_store;
	callback->arg = result;
	pe_check(pe_store_open(&env, &config, &result->store, &err), &err);
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	return result;
}
