/*
 * connection.c
 *		Sessions with the platform, and the token each backend keeps.
 *
 * A session (pe_platform) holds file descriptors and a token, so it outlives the
 * call that opened it: when a connection is closed its session is parked, and the
 * next one with the same server, mapping and settings takes it up again, token
 * included. Whether somebody may use it is checked each time.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "foreign/foreign.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/syscache.h"

#include "platform/platform.h"
#include "platform/secret_file.h"
#include "pg/compat.h"
#include "pg/connection.h"
#include "pg/connection_options.h"
#include "pg/env.h"
#include "pg/guc.h"
#include "pg/report.h"
#include "pg/secret.h"

#define WRAPPER    "experience_platform"
#define MAX_PARKED 4

typedef struct Session
{
	dlist_node node; /* in sessions, while it lives */
	MemoryContext context;
	Oid serverid;
	Oid umid;
	uint32 server_hash; /* of the syscache, for invalidations */
	uint32 mapping_hash;
	bool stale;             /* server or mapping changed */
	bool in_use;            /* a PeConnection holds it */
	bool insecure_loopback; /* settings it was opened with */
	bool private_addresses;
	pe_env env;
	pe_platform *platform;
	PeSecret secret;
} Session;

typedef struct Connection
{
	PeConnection public;
	Session *session; /* NULL once released */
	MemoryContextCallback callback;
} Connection;

struct pe_http_pool *pe_connection_pool = NULL;

static dlist_head sessions = DLIST_STATIC_INIT(sessions);
static bool callbacks_registered = false;
static uint64 changes = 0; /* of servers and mappings, any of them */

static void
session_free(Session *session)
{
	dlist_delete(&session->node);
	pe_platform_close(session->platform);
	pe_secret_wipe(&session->secret);
	MemoryContextDelete(session->context);
}

static bool
session_current(const Session *session)
{
	return !session->stale && session->insecure_loopback == pe_allow_insecure_loopback &&
	       session->private_addresses == pe_allow_private_addresses;
}

/* Frees idle sessions that no connection may take up again, and those beyond the limit. */
static void
sweep_sessions(void)
{
	dlist_mutable_iter iter;
	int parked = 0;

	dlist_foreach_modify(iter, &sessions)
	{
		Session *session = dlist_container(Session, node, iter.cur);

		if (!session->in_use && (!session_current(session) || ++parked > MAX_PARKED))
			session_free(session);
	}
}

/* Only sets flags: an invalidation may come in the middle of anything. */
static void
mark_stale(Datum arg, int cacheid, uint32 hash)
{
	dlist_iter iter;

	changes++;
	dlist_foreach(iter, &sessions)
	{
		Session *session = dlist_container(Session, node, iter.cur);
		uint32 own = cacheid == FOREIGNSERVEROID ? session->server_hash : session->mapping_hash;

		if (hash == 0 || hash == own)
			session->stale = true;
	}
}

static void
register_callbacks(void)
{
	if (callbacks_registered)
		return;
	CacheRegisterSyscacheCallback(FOREIGNSERVEROID, mark_stale, (Datum) 0);
	CacheRegisterSyscacheCallback(USERMAPPINGOID, mark_stale, (Datum) 0);
	callbacks_registered = true;
}

static const char *
option_or(List *options, const char *name, const char *otherwise)
{
	const char *value = pe_option_value(options, name);

	return value != NULL ? value : otherwise;
}

static const char *
option_url(List *options, const char *name, const char *otherwise)
{
	char *url = pstrdup(option_or(options, name, otherwise));

	for (size_t length = strlen(url); length > 0 && url[length - 1] == '/'; length--)
		url[length - 1] = '\0';
	return url;
}

static double
option_rate(List *options, const char *name)
{
	const char *value = pe_option_value(options, name);

	return value != NULL ? strtod(value, NULL) : 0;
}

PeServer *
pe_server_load(const char *name)
{
	ForeignServer *server = GetForeignServerByName(name, true);
	PeServer *result;

	if (server == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("server \"%s\" does not exist", name),
		                errhint("Make it with CREATE SERVER %s FOREIGN DATA WRAPPER " WRAPPER
		                        " OPTIONS (org_id ...).",
		                        quote_identifier(name))));
	if (strcmp(GetForeignDataWrapper(server->fdwid)->fdwname, WRAPPER) != 0)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
		                errmsg("server \"%s\" is not one of Experience Platform", name),
		                errhint("Name a server made with FOREIGN DATA WRAPPER " WRAPPER ".")));
	result = palloc0(sizeof(PeServer));
	result->serverid = server->serverid;
	result->name = pstrdup(server->servername);
	result->org_id = pe_option_value(server->options, "org_id");
	result->sandbox = option_or(server->options, "sandbox", PE_DEFAULT_SANDBOX);
	result->platform_url = option_url(server->options, "platform_url", PE_DEFAULT_PLATFORM_URL);
	result->ims_url = option_url(server->options, "ims_url", PE_DEFAULT_IMS_URL);
	result->collection_url = option_url(server->options, "collection_url", PE_DEFAULT_COLLECTION_URL);
	result->ca_file = pe_option_value(server->options, "ca_file");
	result->requests_per_second = option_rate(server->options, "requests_per_second");
	result->messages_per_second = option_rate(server->options, "messages_per_second");
	return result;
}

PeServer *
pe_server_load_checked(const char *name, Oid roleid)
{
	PeServer *server = pe_server_load(name);
	AclResult allowed;

	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(roleid)))
		ereport(ERROR,
		        (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("the enrichment's owner does not exist any more"),
		         errhint("Give it another one with profenrich.set_enrichment_owner().")));
	allowed = pe_foreign_server_aclcheck(server->serverid, roleid, ACL_USAGE);
	if (allowed != ACLCHECK_OK)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
		                errmsg("permission denied for foreign server %s", server->name),
		                errhint("Role \"%s\" needs USAGE on the server.", GetUserNameFromId(roleid, false))));
	if (server->org_id == NULL)
		ereport(ERROR, (errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
		                errmsg("server \"%s\" has no option \"org_id\"", server->name),
		                errhint("Give it with ALTER SERVER %s OPTIONS (ADD org_id '...@AdobeOrg').",
		                        quote_identifier(server->name))));
	return server;
}

/* Whose mapping serves roleid: its own, else the one for PUBLIC (InvalidOid). Raises when there is none. */
static Oid
mapped_role(const PeServer *server, Oid roleid)
{
	const char *name;

	if (SearchSysCacheExists2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(roleid),
	                          ObjectIdGetDatum(server->serverid)))
		return roleid;
	if (SearchSysCacheExists2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(InvalidOid),
	                          ObjectIdGetDatum(server->serverid)))
		return InvalidOid;
	name = GetUserNameFromId(roleid, false);
	ereport(
	    ERROR,
	    (errcode(ERRCODE_UNDEFINED_OBJECT),
	     errmsg("server \"%s\" has no user mapping for role \"%s\"", server->name, name),
	     errhint(
	         "Make it with CREATE USER MAPPING FOR %s SERVER %s OPTIONS (client_id ..., secret_file ...).",
	         quote_identifier(name), quote_identifier(server->name))));
	return InvalidOid; /* not reached */
}

static const char *
required_option(UserMapping *mapping, const PeServer *server, const char *name)
{
	const char *value = pe_option_value(mapping->options, name);

	if (value == NULL)
		ereport(ERROR, (errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
		                errmsg("user mapping for server \"%s\" has no option \"%s\"", server->name, name),
		                errhint("Give it with ALTER USER MAPPING ... SERVER %s OPTIONS (ADD %s ...).",
		                        quote_identifier(server->name), name)));
	return value;
}

static char *
host_of(MemoryContext context, const char *option, const char *url)
{
	char host[256];

	if (!pe_url_host(url, host, sizeof(host)))
		ereport(ERROR, (errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
		                errmsg("invalid value for option \"%s\"", option)));
	return MemoryContextStrdup(context, host);
}

/* What may raise comes first; once the platform is open the session is in the list. */
static Session *
session_open(const PeServer *server, UserMapping *mapping)
{
	const char *client_id = required_option(mapping, server, "client_id");
	const char *option = pe_option_value(mapping->options, "client_secret");
	const char *file = option == NULL ? required_option(mapping, server, "secret_file") : NULL;
	/* Parentless until it is whole, below the current one, so that an error frees it. */
	MemoryContext context =
	    AllocSetContextCreate(CurrentMemoryContext, "profenrich session", ALLOCSET_SMALL_SIZES);
	Session *session = MemoryContextAllocZero(context, sizeof(Session));
	pe_platform_config config = {
	    .org_id = server->org_id,
	    .sandbox = server->sandbox,
	    .platform_url = server->platform_url,
	    .ims_url = server->ims_url,
	    .collection_url = server->collection_url,
	    .client_id = client_id,
	    .scopes = pe_option_value(mapping->options, "scopes"),
	    .ca_file = server->ca_file,
	    .allow_insecure_loopback = pe_allow_insecure_loopback,
	    .allow_private_addresses = pe_allow_private_addresses,
	    .pool = pe_connection_pool,
	    .get_secret = pe_secret_get,
	    .secret_ctx = &session->secret,
	};
	pe_error err = {0};

	session->context = context;
	session->serverid = server->serverid;
	session->umid = mapping->umid;
	session->server_hash = GetSysCacheHashValue1(FOREIGNSERVEROID, ObjectIdGetDatum(server->serverid));
	session->mapping_hash = GetSysCacheHashValue1(USERMAPPINGOID, ObjectIdGetDatum(mapping->umid));
	session->insecure_loopback = pe_allow_insecure_loopback;
	session->private_addresses = pe_allow_private_addresses;
	session->secret.file = file != NULL ? MemoryContextStrdup(context, file) : NULL;
	session->secret.option = option != NULL ? MemoryContextStrdup(context, option) : NULL;
	session->secret.org_id = MemoryContextStrdup(context, server->org_id);
	session->secret.hosts[0] = host_of(context, "ims_url", server->ims_url);
	session->secret.hosts[1] = host_of(context, "platform_url", server->platform_url);
	session->secret.hosts[2] = host_of(context, "collection_url", server->collection_url);
	session->env = pe_quiet_env(context);
	pe_check(pe_platform_open(&session->env, &config, &session->platform, &err), &err);
	MemoryContextSetParent(context, TopMemoryContext);
	dlist_push_head(&sessions, &session->node);
	return session;
}

static Session *
session_take(const PeServer *server, UserMapping *mapping)
{
	Session *session = NULL;
	dlist_iter iter;

	dlist_foreach(iter, &sessions)
	{
		Session *parked = dlist_container(Session, node, iter.cur);

		if (!parked->in_use && parked->serverid == server->serverid && parked->umid == mapping->umid)
		{
			session = parked;
			break;
		}
	}
	if (session == NULL)
		session = session_open(server, mapping);
	session->in_use = true;
	return session;
}

/* When the connection's context goes, on whatever path. Must not raise. */
static void
release_session(void *arg)
{
	Connection *connection = arg;

	if (connection->session == NULL)
		return;
	connection->session->in_use = false;
	dlist_move_head(&sessions, &connection->session->node);
	connection->session = NULL;
	sweep_sessions();
}

PeConnection *
pe_connection_open(const char *server, Oid roleid, MemoryContext parent)
{
	MemoryContext context =
	    AllocSetContextCreate(CurrentMemoryContext, "profenrich connection", ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	Connection *connection = palloc0(sizeof(Connection));
	PeServer *checked;
	Oid mapped;
	UserMapping *mapping;

	/* First: what is refused now may be changed by others. */
	register_callbacks();
	checked = pe_server_load_checked(server, roleid);
	mapped = mapped_role(checked, roleid);
	mapping = GetUserMapping(roleid, checked->serverid);
	connection->public.server = *checked;
	connection->public.roleid = mapped;
	connection->public.umid = mapping->umid;
	connection->public.client_id = pe_option_value(mapping->options, "client_id");
	connection->public.context = context;
	sweep_sessions();
	connection->callback.func = release_session;
	connection->callback.arg = connection;
	MemoryContextRegisterResetCallback(context, &connection->callback);
	connection->session = session_take(checked, mapping);
	connection->public.platform = connection->session->platform;
	MemoryContextSetParent(context, parent);
	MemoryContextSwitchTo(caller);
	return &connection->public;
}

PeConnection *
pe_connection_try_open(const char *server, Oid roleid, MemoryContext parent, char **wrong)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	PeConnection *volatile connection = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		connection = pe_connection_open(server, roleid, parent);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(caller);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(caller);
		CurrentResourceOwner = owner;
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED || error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN ||
		    error->sqlerrcode == ERRCODE_OUT_OF_MEMORY)
			ReThrowError(error);
		*wrong = pe_describe_error(error->message, error->detail, error->hint);
	}
	PG_END_TRY();
	return connection;
}

pe_status
pe_connection_check_secret(PeConnection *connection, pe_error *err)
{
	return pe_connection_check_host(connection, ((Connection *) connection)->session->secret.hosts[0], err);
}

pe_status
pe_connection_check_host(PeConnection *connection, const char *host, pe_error *err)
{
	Session *session = ((Connection *) connection)->session;
	char buffer[PE_SECRET_SIZE];
	pe_status status = pe_secret_get(&session->secret, host, buffer, sizeof(buffer), err);

	explicit_bzero(buffer, sizeof(buffer));
	return status;
}

void
pe_connection_close(PeConnection *connection)
{
	MemoryContextDelete(connection->context);
}

bool
pe_connection_stale(const PeConnection *connection)
{
	const Connection *own = (const Connection *) connection;

	return own->session == NULL || !session_current(own->session);
}

uint64
pe_connection_changes(void)
{
	return changes;
}
