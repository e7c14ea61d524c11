/*
 * export_server.h
 *		Servers of the wrapper experience_platform_files: where exports lie.
 */
#ifndef PE_EXPORT_SERVER_H
#define PE_EXPORT_SERVER_H

#include "postgres.h"

#include "platform/store.h"

typedef struct ExportServer
{
	const char *name;
	const char *url;
	Oid umid;
	pe_store *store; /* its calls return a pe_status */
} ExportServer;

/* Is it one of this wrapper? False also when there is none. */
extern bool export_server_is(const char *name);

/*
 * The server, under the mapping of the current user or that for PUBLIC; raises without USAGE on it. It
 * goes with the current memory context. Nothing is sent before the first call.
 */
extern ExportServer *export_server_open(const char *name);

#endif /* PE_EXPORT_SERVER_H */
