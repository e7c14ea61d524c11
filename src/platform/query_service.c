/*
 * query_service.c
 *		Where Query Service answers SQL.
 */
#include "platform/call.h"
#include "platform/query_service.h"

#define PE_QUERY "/data/foundation/query"

/* A host's name and nothing else: it comes from outside, and a secret goes there. */
static bool
plain_host(const char *host)
{
	return host[0] != '\0' && host[0] != '-' &&
	       host[strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-")] == '\0';
}

pe_status
pe_query_connection(pe_platform *platform, pe_query_access *access, pe_error *err)
{
	pe_call call = {
	    .method = "GET", .path = PE_QUERY "/connection_parameters", .what = "connection of Query Service"};
	pe_json *json;
	int64_t port;
	pe_status status = pe_call_json(platform, &call, &json, err);

	memset(access, 0, sizeof(*access));
	if (status != PE_OK)
		return status;
	port = pe_json_int64_or(json, "port", 80);
	access->port = (int) port;
	if (!pe_json_copy(json, "host", access->host, sizeof(access->host)) || !plain_host(access->host) ||
	    !pe_json_copy(json, "dbName", access->database, sizeof(access->database)) ||
	    !pe_json_copy(json, "username", access->user, sizeof(access->user)) ||
	    !pe_json_copy(json, "token", access->token, sizeof(access->token)) || port < 1 || port > 65535)
		status = pe_fail(err, PE_BAD_REPLY, "the platform does not say how to connect to Query Service");
	pe_json_free(json);
	return status;
}
