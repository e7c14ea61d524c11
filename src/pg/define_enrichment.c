/*
 * define_enrichment.c
 *		create_enrichment, alter_enrichment, set_enrichment_owner, drop_enrichment.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/syscache.h"

#include "pg/arguments.h"
#include "pg/audit.h"
#include "pg/connection.h"
#include "pg/enrichment_define.h"
#include "pg/owner.h"
#include "pg/rows.h"

PG_FUNCTION_INFO_V1(pe_create_enrichment);
PG_FUNCTION_INFO_V1(pe_alter_enrichment);
PG_FUNCTION_INFO_V1(pe_set_enrichment_owner);
PG_FUNCTION_INFO_V1(pe_drop_enrichment);

/* What the row holds of a definition. declared and options are jsonb datums. */
typedef struct Definition
{
	PeEnrichment e;
	Jsonb *declared;
	Jsonb *options;
} Definition;

/* The columns that create and alter write, as parameters $2 and on; $1 is the name. */
#define DEFINITION_COUNT 9
static const Oid definition_types[DEFINITION_COUNT] = {TEXTOID, OIDOID,   TEXTOID,  TEXTOID, TEXTOID,
                                                       TEXTOID, JSONBOID, JSONBOID, TEXTOID};

static Jsonb *
empty_object(void)
{
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
}

/*
 * Checks all of a definition; the server must be one that the owner, who will send,
 * may use.
 */
static void
check_definition(Definition *d)
{
	pe_enrichment_check_name(d->e.name);
	pe_enrichment_check_namespace(d->e.namespace_code);
	(void) pe_server_load_checked(d->e.server, d->e.owner);
	pe_enrichment_parse_options(d->options, &d->e);
	(void) pe_enrichment_resolve(&d->e, d->declared);
}

static void
definition_values(const Definition *d, Datum *values)
{
	values[0] = CStringGetTextDatum(d->e.name);
	values[1] = ObjectIdGetDatum(d->e.owner);
	values[2] = CStringGetTextDatum(d->e.server);
	values[3] = CStringGetTextDatum(d->e.source);
	values[4] = CStringGetTextDatum(d->e.identity_column);
	values[5] = CStringGetTextDatum(d->e.namespace_code);
	values[6] = JsonbPGetDatum(d->declared);
	values[7] = JsonbPGetDatum(d->options);
	values[8] = CStringGetTextDatum(d->e.search_path);
}

static char *
text_argument(FunctionCallInfo fcinfo, int number, const char *otherwise)
{
	return PG_ARGISNULL(number) ? (char *) otherwise : text_to_cstring(PG_GETARG_TEXT_PP(number));
}

/* create_enrichment(name, server, source, identity_column, namespace, attributes, options) */
Datum
pe_create_enrichment(PG_FUNCTION_ARGS)
{
	static const char *const required[] = {"name", "server", "source", "identity_column", "namespace"};
	Definition d = {0};
	Datum values[DEFINITION_COUNT];

	for (int i = 0; i < lengthof(required); i++)
		pe_need_argument(fcinfo, i, required[i]);
	PreventCommandIfReadOnly("create_enrichment()");
	d.e.name = text_argument(fcinfo, 0, NULL);
	d.e.owner = GetUserId();
	d.e.server = text_argument(fcinfo, 1, NULL);
	d.e.source = text_argument(fcinfo, 2, NULL);
	d.e.search_path = namespace_search_path;
	d.e.identity_column = text_argument(fcinfo, 3, NULL);
	d.e.namespace_code = text_argument(fcinfo, 4, NULL);
	d.declared = PG_ARGISNULL(5) ? empty_object() : PG_GETARG_JSONB_P(5);
	d.options = PG_ARGISNULL(6) ? empty_object() : PG_GETARG_JSONB_P(6);
	check_definition(&d);
	definition_values(&d, values);
	SPI_connect();
	pe_owner_execute(
	    "INSERT INTO profenrich.enrichment (name, owner, server, source, identity_column, namespace,"
	    " attributes, options, search_path) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (name) "
	    "DO NOTHING",
	    DEFINITION_COUNT, definition_types, values, NULL, false, 0);
	if (SPI_processed == 0)
		ereport(ERROR,
		        (errcode(ERRCODE_DUPLICATE_OBJECT), errmsg("enrichment \"%s\" already exists", d.e.name),
		         errhint("profenrich.alter_enrichment changes it.")));
	pe_audit("create_enrichment", d.e.name, "{\"server\": %s, \"namespace\": %s}", pe_audit_text(d.e.server),
	         pe_audit_text(d.e.namespace_code));
	SPI_finish();
	PG_RETURN_VOID();
}

/* What the stored row says, locked until the end of the transaction. */
typedef struct StoredRow
{
	int32 enrichment_id;
	Definition d;
	bool provisioned;
	char *target_org;
	char *target_sandbox;
} StoredRow;

static Jsonb *
copy_jsonb(HeapTuple row, int column)
{
	bool null;
	Datum value = SPI_getbinval(row, SPI_tuptable->tupdesc, column, &null);

	return (Jsonb *) PG_DETOAST_DATUM_COPY(value);
}

/*
 * SPI must be connected. NO KEY: the worker's inserts into the queue check their
 * foreign key against this row and must not wait for us.
 */
static void
lock_row(const char *name, StoredRow *stored)
{
	Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(name)};
	HeapTuple row;
	TupleDesc desc;
	bool null;

	pe_owner_execute(
	    "SELECT e.enrichment_id, e.name, e.owner::oid, e.server, e.source, e.identity_column, e.namespace,"
	    " e.attributes, e.options, t.org_id, t.sandbox, e.search_path"
	    " FROM profenrich.enrichment e LEFT JOIN profenrich.enrichment_target t USING (enrichment_id)"
	    " WHERE e.name = $1 FOR NO KEY UPDATE OF e",
	    1, types, values, NULL, false, 0);
	if (SPI_processed == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("enrichment \"%s\" does not exist", name),
		                errhint("The table profenrich.enrichment lists them.")));
	row = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	memset(stored, 0, sizeof(*stored));
	stored->enrichment_id = DatumGetInt32(SPI_getbinval(row, desc, 1, &null));
	stored->d.e.name = SPI_getvalue(row, desc, 2);
	stored->d.e.owner = DatumGetObjectId(SPI_getbinval(row, desc, 3, &null));
	stored->d.e.server = SPI_getvalue(row, desc, 4);
	stored->d.e.source = SPI_getvalue(row, desc, 5);
	stored->d.e.identity_column = SPI_getvalue(row, desc, 6);
	stored->d.e.namespace_code = SPI_getvalue(row, desc, 7);
	stored->d.declared = copy_jsonb(row, 8);
	stored->d.options = copy_jsonb(row, 9);
	stored->target_org = SPI_getvalue(row, desc, 10);
	stored->target_sandbox = SPI_getvalue(row, desc, 11);
	stored->d.e.search_path = SPI_getvalue(row, desc, 12);
	stored->provisioned = stored->target_org != NULL;
}

/* The same for who owns it. */
static void
lock_own_row(const char *name, StoredRow *stored)
{
	lock_row(name, stored);
	pe_enrichment_check_owner(stored->d.e.name, stored->d.e.owner);
}

/* Once provisioned, records of this enrichment lie under one namespace, in one sandbox. */
static void
check_provisioned_change(const StoredRow *stored, const Definition *wanted)
{
	PeServer *server;

	if (!stored->provisioned)
		return;
	if (pg_strcasecmp(stored->d.e.namespace_code, wanted->e.namespace_code) != 0)
		ereport(
		    ERROR,
		    (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		     errmsg("namespace of enrichment \"%s\" cannot change after it was provisioned", wanted->e.name),
		     errhint("A primary identity is for good on the platform: create another enrichment.")));
	server = pe_server_load(wanted->e.server);
	if (server->org_id == NULL || strcmp(server->org_id, stored->target_org) != 0 ||
	    strcmp(server->sandbox, stored->target_sandbox) != 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		                errmsg("server \"%s\" is not where enrichment \"%s\" was provisioned",
		                       wanted->e.server, wanted->e.name),
		                errdetail("It was provisioned in organisation %s, sandbox %s.", stored->target_org,
		                          stored->target_sandbox),
		                errhint("Create another enrichment for another sandbox.")));
}

/* The names of the arguments that were given, as members of a JSON array. */
static char *
changed_arguments(FunctionCallInfo fcinfo)
{
	static const char *const names[] = {"server",    "source",     "identity_column",
	                                    "namespace", "attributes", "options"};
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < lengthof(names); i++)
		if (!PG_ARGISNULL(i + 1))
			appendStringInfo(&text, "%s\"%s\"", text.len > 0 ? ", " : "", names[i]);
	return text.data;
}

/* alter_enrichment: the arguments of create_enrichment, null keeps what is. */
Datum
pe_alter_enrichment(PG_FUNCTION_ARGS)
{
	StoredRow stored;
	Definition d;
	Datum values[DEFINITION_COUNT];

	pe_need_argument(fcinfo, 0, "name");
	PreventCommandIfReadOnly("alter_enrichment()");
	SPI_connect();
	lock_own_row(text_argument(fcinfo, 0, NULL), &stored);
	d = stored.d;
	d.e.server = text_argument(fcinfo, 1, d.e.server);
	d.e.source = text_argument(fcinfo, 2, d.e.source);
	if (!PG_ARGISNULL(2) || d.e.search_path == NULL)
		d.e.search_path = namespace_search_path;
	d.e.identity_column = text_argument(fcinfo, 3, d.e.identity_column);
	d.e.namespace_code = text_argument(fcinfo, 4, d.e.namespace_code);
	if (!PG_ARGISNULL(5))
		d.declared = PG_GETARG_JSONB_P(5);
	if (!PG_ARGISNULL(6))
		d.options = PG_GETARG_JSONB_P(6);
	check_definition(&d);
	check_provisioned_change(&stored, &d);
	definition_values(&d, values);
	/* In another mode it may need no batch. While the row has the old one, so that listeners hear of it. */
	pe_owner_execute(
	    "UPDATE profenrich.delivery_state s SET no_batch_until = NULL FROM profenrich.enrichment e"
	    " WHERE e.name = $1 AND s.enrichment_id = e.enrichment_id AND s.no_batch_until IS NOT NULL"
	    " AND e.options ->> 'mode' IS DISTINCT FROM $7 ->> 'mode'",
	    DEFINITION_COUNT, definition_types, values, NULL, false, 0);
	pe_owner_execute(
	    "UPDATE profenrich.enrichment SET owner = $2, server = $3, source = $4, identity_column = $5,"
	    " namespace = $6, attributes = $7, options = $8, search_path = $9 WHERE name = $1",
	    DEFINITION_COUNT, definition_types, values, NULL, false, 0);
	pe_audit("alter_enrichment", d.e.name, "{\"changed\": [%s]}", changed_arguments(fcinfo));
	SPI_finish();
	PG_RETURN_VOID();
}

static bool
role_exists(Oid role)
{
	return SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role));
}

/* Who may give an enrichment away owns it, or is an admin when its owner is gone. */
static void
check_may_give_away(const PeEnrichment *e)
{
	if (role_exists(e->owner))
		pe_enrichment_check_owner(e->name, e->owner);
	else if (!pe_is_member("profenrich_admin"))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
		                errmsg("permission denied to give enrichment \"%s\" another owner", e->name),
		                errdetail("Its owner does not exist any more."),
		                errhint("Only members of profenrich_admin may.")));
}

/* As that role sources are read: nobody acts as one that is not theirs. */
static void
check_may_act_as(Oid role)
{
	if (!role_exists(role))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("role with OID %u does not exist", role),
		                errhint("Give the name of a role.")));
	if (!has_privs_of_role(GetUserId(), role))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
		                errmsg("must be member of role \"%s\"", GetUserNameFromId(role, false)),
		                errhint("A member of that role, or a superuser, makes it the owner.")));
}

/* set_enrichment_owner(name, owner): all of the definition must hold for the new one, too. */
Datum
pe_set_enrichment_owner(PG_FUNCTION_ARGS)
{
	Oid types[] = {INT4OID, OIDOID};
	Datum values[2];
	StoredRow stored;
	Definition *d = &stored.d;

	pe_need_argument(fcinfo, 0, "name");
	pe_need_argument(fcinfo, 1, "owner");
	PreventCommandIfReadOnly("set_enrichment_owner()");
	SPI_connect();
	lock_row(text_argument(fcinfo, 0, NULL), &stored);
	check_may_give_away(&d->e);
	d->e.owner = PG_GETARG_OID(1);
	check_may_act_as(d->e.owner);
	check_definition(d);
	values[0] = Int32GetDatum(stored.enrichment_id);
	values[1] = ObjectIdGetDatum(d->e.owner);
	pe_owner_execute("UPDATE profenrich.enrichment SET owner = $2 WHERE enrichment_id = $1", 2, types, values,
	                 NULL, false, 0);
	pe_audit("set_enrichment_owner", d->e.name, "{\"owner\": %s}",
	         pe_audit_text(GetUserNameFromId(d->e.owner, false)));
	SPI_finish();
	PG_RETURN_VOID();
}

/* Chunks and failed keys that are not on the platform yet. Counts no more than a few rows. */
static void
refuse_pending(const StoredRow *stored)
{
	Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(stored->enrichment_id)};

	pe_owner_execute("SELECT FROM profenrich.outbox WHERE enrichment_id = $1"
	                 " UNION ALL SELECT FROM profenrich.retry WHERE enrichment_id = $1 LIMIT 1",
	                 1, types, values, NULL, false, 1);
	if (SPI_processed > 0)
		ereport(
		    ERROR,
		    (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		     errmsg("enrichment \"%s\" has values that are not delivered yet", stored->d.e.name),
		     errhint(
		         "Wait until profenrich.enrichment_status shows none pending, or drop it with force => true, "
		         "which forgets them.")));
}

/* drop_enrichment(name, force). What was sent stays on the platform. */
Datum
pe_drop_enrichment(PG_FUNCTION_ARGS)
{
	Oid types[] = {INT4OID};
	Datum values[1];
	StoredRow stored;

	pe_need_argument(fcinfo, 0, "name");
	pe_need_argument(fcinfo, 1, "force");
	PreventCommandIfReadOnly("drop_enrichment()");
	SPI_connect();
	lock_own_row(text_argument(fcinfo, 0, NULL), &stored);
	if (!PG_GETARG_BOOL(1))
		refuse_pending(&stored);
	values[0] = Int32GetDatum(stored.enrichment_id);
	pe_owner_execute("DELETE FROM profenrich.enrichment WHERE enrichment_id = $1", 1, types, values, NULL,
	                 false, 0);
	pe_audit("drop_enrichment", stored.d.e.name, "{\"force\": %s}", PG_GETARG_BOOL(1) ? "true" : "false");
	SPI_finish();
	PG_RETURN_VOID();
}
