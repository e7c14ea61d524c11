/*
 * connection.h
 *		Servers, user mappings, and sessions with the platform.
 *
 * A server of the wrapper experience_platform says where (organisation, sandbox,
 * hosts), a user mapping says who (client id, secret file). The options and who may
 * set them are checked in connection_options.c.
 */
#ifndef PE_CONNECTION_H
#define PE_CONNECTION_H

#include "postgres.h"

#include "pe_base.h"

struct pe_http_pool;
struct pe_platform;

/* A server's options, with defaults filled in. Strings are never NULL unless noted. */
typedef struct PeServer
{
	Oid serverid;
	const char *name;
	const char *org_id; /* NULL when the option is missing: pe_connection_open refuses that */
	const char *sandbox;
	const char *platform_url; /* no trailing slash in any of the URLs */
	const char *ims_url;
	const char *collection_url;
	const char *ca_file;        /* NULL: the system's certificates */
	double requests_per_second; /* 0: the sender's default */
	double messages_per_second; /* 0: the sender's default */
} PeServer;

/* A session with the platform, under one role's user mapping. */
typedef struct PeConnection
{
	PeServer server;
	Oid roleid; /* whose mapping: InvalidOid when it is the mapping for PUBLIC */
	Oid umid;   /* pg_user_mapping row */
	const char *client_id;
	struct pe_platform *platform; /* platform/platform.h; its calls return a pe_status */
	MemoryContext context;        /* holds all of it */
} PeConnection;

/*
 * Reads a server's options. Raises when there is no such server, or when it belongs
 * to another wrapper. Checks no privilege, reads no secret.
 */
extern PeServer *pe_server_load(const char *name);

/* The same, but raises unless roleid has USAGE on the server: what every SQL function calls first. */
extern PeServer *pe_server_load_checked(const char *name, Oid roleid);

/* Where the sessions that this process opens have their connections; NULL: each its own. */
extern struct pe_http_pool *pe_connection_pool;

/*
 * A session with server under the mapping of roleid, or the mapping for PUBLIC. roleid
 * must have USAGE on the server. Needs a transaction, but the session lives in a
 * child of parent and may be used outside of one: it holds copies of all options,
 * and its secret is read from the file at the time of each token request, then wiped.
 * Nothing is sent before the first call on ->platform.
 *
 * Freed by pe_connection_close, or by itself when parent is reset or deleted, so
 * that no error leaks a socket. Raises: no such server or mapping, no USAGE, a
 * required option missing.
 */
extern PeConnection *pe_connection_open(const char *server, Oid roleid, MemoryContext parent);

/*
 * The same, but where that would raise it returns NULL, and *wrong says what and why, as text of
 * the server. Cancellation and want of memory are raised all the same.
 */
extern PeConnection *pe_connection_try_open(const char *server, Oid roleid, MemoryContext parent,
                                            char **wrong);

/* Could the secret be read now, and may it go where the server's options would send it? */
extern pe_status pe_connection_check_secret(PeConnection *connection, pe_error *err);

/* May the secret, or a token made with it, go to this host as well? */
extern pe_status pe_connection_check_host(PeConnection *connection, const char *host, pe_error *err);

/* Ends the connection and frees it. */
extern void pe_connection_close(PeConnection *connection);

/*
 * Whether the server or the mapping was altered or dropped since the session was
 * opened: long-lived sessions (the worker's) are then opened anew. Only reads a
 * flag; in a process that runs no transactions call AcceptInvalidationMessages now
 * and then.
 */
extern bool pe_connection_stale(const PeConnection *connection);

/* Grows with each change of any server or user mapping that this process has heard of since it first opened
 * one. */
extern uint64 pe_connection_changes(void);

#endif /* PE_CONNECTION_H */
