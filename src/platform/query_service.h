/*
 * query_service.h
 *		Where Query Service answers SQL, and with which password.
 */
#ifndef PE_PLATFORM_QUERY_SERVICE_H
#define PE_PLATFORM_QUERY_SERVICE_H

#include "platform/platform.h"

/* How to connect. The token is the password: wipe it after use. */
typedef struct pe_query_access
{
	char host[256];
	char database[256];
	char user[256];
	char token[16384];
	int port;
} pe_query_access;

pe_status pe_query_connection(pe_platform *platform, pe_query_access *access, pe_error *err);

#endif /* PE_PLATFORM_QUERY_SERVICE_H */
