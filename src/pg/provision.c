/*
 * provision.c
 *		provision(): all that an enrichment writes through, found or made.
 *
 * Each step asks first and makes what is missing, so a call that failed half way is
 * simply made again. What is found is held to what the enrichment needs; nothing on
 * the platform is ever removed or retyped.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/formatting.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "platform/catalog.h"
#include "platform/flow.h"
#include "platform/identity.h"
#include "platform/registry.h"
#include "platform/xdm_shape.h"
#include "pg/arguments.h"
#include "pg/audit.h"
#include "pg/connection.h"
#include "pg/enrichment_define.h"
#include "pg/enrichment_target.h"
#include "pg/env.h"
#include "pg/guc.h"
#include "pg/owner.h"
#include "pg/report.h"
#include "pg/rows.h"
#include "pg/sender_identity.h"

PG_FUNCTION_INFO_V1(pe_provision);
PG_FUNCTION_INFO_V1(pe_adopt);

/* How long records sent too early may be lost (facts of the platform). */
#define NEW_FLOW_SECONDS       300
#define CHANGED_SCHEMA_SECONDS 900

typedef struct Provision
{
	PeEnrichment *e;
	PeConnection *connection;
	pe_platform *platform;
	const PeTarget *before; /* NULL the first time */
	PeRow row;
	const char *step; /* for an error's context */
	char tenant[128];
	pe_resource group;
	pe_resource schema;
	char dataset_id[64];
	pe_inlet inlet;
	char flow_id[64];
	bool schema_changed; /* one that was there before */
	bool flow_created;
} Provision;

static void
report(Provision *p, const char *object, const char *id, const char *action, const char *detail)
{
	pe_row_add_text(&p->row, object);
	pe_row_add_text(&p->row, id);
	pe_row_add_text(&p->row, action);
	pe_row_add_text(&p->row, detail);
	pe_row_put(&p->row);
}

static void
provision_tenant(Provision *p)
{
	pe_error err = {0};

	pe_check(pe_registry_tenant(p->platform, p->tenant, sizeof(p->tenant), &err), &err);
	report(
	    p, "tenant", p->tenant, "found",
	    psprintf("organisation %s, sandbox %s", p->connection->server.org_id, p->connection->server.sandbox));
}

/* Codes that the user may have meant, else some of those there are. Codes compare without case. */
static char *
similar_namespaces(const pe_namespace_list *list, const char *code)
{
	char *wanted = asc_tolower(code, strlen(code));
	StringInfoData similar;

	initStringInfo(&similar);
	for (int pass = 0; pass < 2 && similar.len == 0; pass++)
	{
		for (int i = 0, shown = 0; i < list->count && shown < 10; i++)
		{
			const char *known = list->items[i].code;
			int length = strlen(known);

			if (pass == 0 && (length > 100 || varstr_levenshtein_less_equal(wanted, strlen(wanted),
			                                                                asc_tolower(known, length),
			                                                                length, 1, 1, 1, 2, true) > 2))
				continue;
			appendStringInfo(&similar, "%s%s", shown++ > 0 ? ", " : "", pe_from_utf8(known));
		}
	}
	return similar.data;
}

/* The namespace must exist: whoever makes one decides how identities are joined, which is no by-product. */
static void
provision_namespace(Provision *p)
{
	pe_namespace_list list = {0};
	const pe_namespace *found;
	pe_error err = {0};

	pe_check(pe_identity_list(p->platform, &list, &err), &err);
	PG_TRY();
	{
		found = pe_namespace_find(&list, p->e->namespace_code);
		if (found == NULL)
		{
			char *similar = similar_namespaces(&list, p->e->namespace_code);

			ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
			                errmsg("organisation has no identity namespace \"%s\"", p->e->namespace_code),
			                similar[0] != '\0' ? errdetail("Namespaces it has: %s.", similar) : 0,
			                errhint("Name an existing one with profenrich.alter_enrichment, or make it with "
			                        "profenrich.create_identity_namespace: it cannot be deleted again.")));
		}
		/* As the platform writes it: the code's case varies, and records carry it. */
		p->e->namespace_code = pe_from_utf8(found->code);
		report(p, "identity namespace", psprintf(INT64_FORMAT, found->id), "found",
		       psprintf("%s, %s", p->e->namespace_code, pe_from_utf8(found->id_type)));
	}
	PG_FINALLY();
	{
		pe_namespace_list_free(&list);
	}
	PG_END_TRY();
}

/* _tenant.<enrichment>.{profileId, scoredAt, attributes}; what the shapes hold is in pool. */
static pe_xdm_field *
enrichment_fields(const PeEnrichment *e, pe_pool *pool)
{
	pe_xdm_field *object = palloc0(sizeof(pe_xdm_field));
	pe_xdm_field *items = palloc0(sizeof(pe_xdm_field) * (e->nattributes + 2));
	pe_error err = {0};

	items[0].name = PE_KEY_ATTRIBUTE;
	items[0].title = "Profile key";
	items[0].type = PE_XDM_STRING;
	items[1].name = PE_SCORED_AT_ATTRIBUTE;
	items[1].title = "Scored at";
	items[1].type = PE_XDM_DATETIME;
	for (int i = 0; i < e->nattributes; i++)
	{
		items[i + 2].name = e->attributes[i].name;
		pe_check(pe_shape_parse(e->attributes[i].shape, pool, &items[i + 2], &err), &err);
	}
	object->name = e->name;
	object->type = PE_XDM_OBJECT;
	object->items = items;
	object->item_count = e->nattributes + 2;
	return object;
}

static void
provision_field_group(Provision *p)
{
	pe_env env = pe_server_env(CurrentMemoryContext);
	/* Titles are unique over all resources of all sandboxes of the organisation. */
	char *title = psprintf("profenrich %s (%s)", p->e->name, p->connection->server.sandbox);
	char *description = psprintf("Attributes of enrichment %s, written by profenrich", p->e->name);
	bool created = false;
	int added = 0;
	pe_error err = {0};
	pe_pool pool;

	pe_pool_init(&pool, &env);
	pe_check(pe_registry_ensure_field_group(p->platform, p->tenant, title, description,
	                                        enrichment_fields(p->e, &pool), 1, &p->group, &created, &added,
	                                        &err),
	         &err);
	pe_pool_free(&pool);
	p->schema_changed |= !created && added > 0;
	report(p, "field group", p->group.id,
	       created     ? "created"
	       : added > 0 ? "changed"
	                   : "found",
	       created || added == 0 ? title : psprintf("%s: %d attributes added", title, added));
}

static void
provision_schema(Provision *p)
{
	char *title = psprintf("profenrich %s records (%s)", p->e->name, p->connection->server.sandbox);
	char *description = psprintf("Records of enrichment %s, written by profenrich", p->e->name);
	bool created = false;
	pe_error err = {0};

	pe_check(
	    pe_registry_ensure_schema(p->platform, title, description, p->group.id, &p->schema, &created, &err),
	    &err);
	report(p, "schema", p->schema.id, created ? "created" : "found", title);
}

/* Enabling cannot be undone, and works without an identity too: so look before. */
static void
provision_identity(Provision *p)
{
	char *property = psprintf("/_%s/%s/%s", p->tenant, p->e->name, PE_KEY_ATTRIBUTE);
	bool created = false;
	bool enabled = false;
	pe_error err = {0};

	pe_check(pe_registry_ensure_identity(p->platform, p->schema.id, property, p->e->namespace_code, &created,
	                                     &err),
	         &err);
	report(p, "primary identity", property, created ? "created" : "found", p->e->namespace_code);
	pe_check(pe_registry_get(p->platform, "schemas", p->schema.id, &p->schema, &err), &err);
	if (!p->schema.has_primary_identity)
		ereport(ERROR,
		        (errcode(ERRCODE_FDW_REPLY_HANDLE),
		         errmsg("schema \"%s\" has no primary identity on the platform", p->schema.title),
		         errdetail("Records of such a schema could not be joined to profiles."),
		         errhint("Run profenrich.provision again in a minute; it was not enabled for Profile.")));
	pe_check(pe_registry_enable_profile(p->platform, &p->schema, &enabled, &err), &err);
	report(p, "schema for Profile", p->schema.id, enabled ? "enabled" : "found", NULL);
}

/*
 * The one data set of that name, or the one we had. *found stays false when there
 * is none. Frees its list before anything can raise.
 */
static pe_status
find_dataset(Provision *p, const char *name, bool *found, bool *enabled, pe_error *err)
{
	pe_dataset_list list = {0};
	pe_status status = PE_NOT_FOUND;

	if (p->before != NULL)
		status = pe_catalog_get_dataset(p->platform, p->before->dataset_id, &list, err);
	if (status == PE_NOT_FOUND)
		status = pe_catalog_find_dataset(p->platform, name, &list, err);
	if (status != PE_OK)
		return status;
	if (list.count > 1)
	{
		status = pe_fail(err, PE_CONFLICT, "%d data sets are called \"%s\"", list.count, name);
		pe_error_hint(err, "Rename or delete all but one of them on the platform, or choose another name for "
		                   "the enrichment.");
	}
	else if (list.count == 1 && strcmp(list.items[0].schema_id, p->schema.id) != 0)
	{
		status = pe_fail(err, PE_CONFLICT, "data set \"%s\" has another schema", list.items[0].name);
		pe_error_detail(err, "Data set %s has schema %s, and not %s.", list.items[0].id,
		                list.items[0].schema_id, p->schema.id);
		pe_error_hint(err, "Rename or delete it on the platform, or choose another name for the enrichment.");
	}
	else if (list.count == 1)
	{
		*found = true;
		*enabled = list.items[0].profile_enabled && list.items[0].identity_enabled;
		strlcpy(p->dataset_id, list.items[0].id, sizeof(p->dataset_id));
	}
	pe_dataset_list_free(&list);
	return status;
}

static void
provision_dataset(Provision *p)
{
	char *name = psprintf("profenrich %s", p->e->name);
	char *description = psprintf("Records of enrichment %s. profenrich is its only writer.", p->e->name);
	bool found = false;
	bool complete = false;
	bool enabled = false;
	pe_error err = {0};

	pe_check(find_dataset(p, name, &found, &complete, &err), &err);
	if (!found)
		pe_check(pe_catalog_create_dataset(p->platform, name, description, p->schema.id, p->dataset_id,
		                                   sizeof(p->dataset_id), &err),
		         &err);
	else if (!complete)
		pe_check(pe_catalog_enable_profile(p->platform, p->dataset_id, &enabled, &err), &err);
	/* Two writers would overwrite each other's records, and only people can tell. */
	report(p, "data set", p->dataset_id,
	       !found    ? "created"
	       : enabled ? "enabled"
	                 : "found",
	       found && p->before == NULL ? psprintf("%s; was there before: nothing else may write to it", name)
	                                  : name);
}

/* The platform layer refuses an inlet that is not at collection_url: the token goes there. */
static void
provision_flow(Provision *p)
{
	char *name = psprintf("profenrich %s", p->e->name);
	bool created = false;
	pe_error err = {0};

	pe_check(pe_flow_ensure_inlet(p->platform, name, &p->inlet, &created, &err), &err);
	report(p, "inlet", p->inlet.inlet_id, created ? "created" : "found", p->inlet.inlet_url);
	pe_check(pe_flow_ensure_flow(p->platform, name, &p->inlet, p->schema.id, p->dataset_id, p->flow_id,
	                             sizeof(p->flow_id), &p->flow_created, &err),
	         &err);
}

/* When the first record may be sent. */
static TimestampTz
ready_at(const Provision *p)
{
	bool first = p->before == NULL || strcmp(p->before->flow_id, p->flow_id) != 0;
	int seconds = p->schema_changed          ? CHANGED_SCHEMA_SECONDS
	              : p->flow_created || first ? NEW_FLOW_SECONDS
	                                         : 0;
	TimestampTz ready;

	if (seconds > 0 && pe_ready_after >= 0)
		seconds = pe_ready_after;
	ready = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), (int64) seconds * 1000);
	/* A wait that an earlier call began goes on. */
	if (!first && p->before->ready_at > ready && pe_ready_after < 0)
		ready = p->before->ready_at;
	return ready;
}

/* A copy of a database must not take its original's data set over without being told to. */
static void
check_sender(const PeEnrichment *e, const PeTarget *before)
{
	if (before == NULL || strcmp(before->sender_identity, pe_sender_identity()) == 0)
		return;
	ereport(ERROR,
	        (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
	         errmsg("enrichment \"%s\" was provisioned by another cluster", e->name),
	         errdetail("This cluster sends as \"%s\", and that one as \"%s\".", pe_sender_identity(),
	                   before->sender_identity),
	         errhint("If the other one will not send any more, take it over with profenrich.adopt(%s).",
	                 quote_literal_cstr(e->name))));
}

static void
check_place(const Provision *p)
{
	if (p->before == NULL || (strcmp(p->before->org_id, p->connection->server.org_id) == 0 &&
	                          strcmp(p->before->sandbox, p->connection->server.sandbox) == 0))
		return;
	ereport(ERROR,
	        (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
	         errmsg("server \"%s\" is not where enrichment \"%s\" was provisioned", p->e->server, p->e->name),
	         errdetail("It was provisioned in organisation %s, sandbox %s.", p->before->org_id,
	                   p->before->sandbox),
	         errhint("Create another enrichment for another sandbox.")));
}

/* The enrichment's row, so that two calls do not make everything twice. */
static void
lock_enrichment(const char *name)
{
	Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(name)};

	SPI_connect();
	pe_owner_execute("SELECT FROM profenrich.enrichment WHERE name = $1 FOR NO KEY UPDATE", 1, types, values,
	                 NULL, false, 0);
	SPI_finish();
}

static void
save(Provision *p)
{
	Oid types[] = {INT4OID, TEXTOID};
	Datum values[] = {Int32GetDatum(p->e->enrichment_id), CStringGetTextDatum(p->e->namespace_code)};
	PeTarget target = {
	    .tenant = p->tenant,
	    .field_group_id = p->group.id,
	    .schema_id = p->schema.id,
	    .dataset_id = p->dataset_id,
	    .inlet_url = p->inlet.inlet_url,
	    .flow_id = p->flow_id,
	    .org_id = p->connection->server.org_id,
	    .sandbox = p->connection->server.sandbox,
	    .sender_identity = pe_sender_identity(),
	    .ready_at = ready_at(p),
	};

	pe_target_save(p->e, &target);
	SPI_connect();
	pe_owner_execute(
	    "UPDATE profenrich.enrichment SET namespace = $2 WHERE enrichment_id = $1 AND namespace <> $2", 2,
	    types, values, NULL, false, 0);
	/* What blocked the sender may be mended now: have it look. */
	pe_owner_execute("UPDATE profenrich.delivery_state SET next_probe_at = now()"
	                 " WHERE enrichment_id = $1 AND blocked IS NOT NULL",
	                 1, types, values, NULL, false, 0);
	SPI_finish();
	report(p, "flow", p->flow_id, p->flow_created ? "created" : "found",
	       psprintf("records are sent from %s", timestamptz_to_str(target.ready_at)));
}

/* What was being found or made when an error came, and that nothing is lost by it. */
static void
add_context(void *arg)
{
	const Provision *p = arg;

	errcontext("provisioning the %s of enrichment \"%s\"", p->step, p->e->name);
}

static const struct
{
	const char *name;
	void (*run)(Provision *p);
} steps[] = {
    {"tenant", provision_tenant},
    {"identity namespace", provision_namespace},
    {"field group", provision_field_group},
    {"schema", provision_schema},
    {"primary identity", provision_identity},
    {"data set", provision_dataset},
    {"inlet and flow", provision_flow},
};

/* provision(name) -> (object, id, action, detail) */
Datum
pe_provision(PG_FUNCTION_ARGS)
{
	char *name = pe_text_argument(fcinfo, 0, "name");
	Provision *p = palloc0(sizeof(Provision));
	ErrorContextCallback context;

	PreventCommandIfReadOnly("provision()");
	pe_rows_begin(fcinfo, &p->row);
	lock_enrichment(name);
	p->e = pe_enrichment_load(name, true);
	p->before = pe_target_load(p->e->enrichment_id);
	check_sender(p->e, p->before);
	/* Also when an earlier call changed the field group and then failed. */
	p->schema_changed = p->e->unprovisioned != NULL;
	/* With the credential that will send. */
	p->connection = pe_connection_open(p->e->server, p->e->owner, CurrentMemoryContext);
	p->platform = p->connection->platform;
	check_place(p);
	context.callback = add_context;
	context.arg = p;
	context.previous = error_context_stack;
	error_context_stack = &context;
	for (int i = 0; i < lengthof(steps); i++)
	{
		p->step = steps[i].name;
		steps[i].run(p);
	}
	error_context_stack = context.previous;
	save(p);
	pe_audit("provision", p->e->name, NULL);
	pe_connection_close(p->connection);
	return (Datum) 0;
}

/* adopt(name): from now on this cluster is the one that sends. */
Datum
pe_adopt(PG_FUNCTION_ARGS)
{
	char *name = pe_text_argument(fcinfo, 0, "name");
	Oid types[] = {INT4OID, TEXTOID};
	Datum values[2];
	PeEnrichment *e;

	PreventCommandIfReadOnly("adopt()");
	lock_enrichment(name);
	e = pe_enrichment_load(name, true);
	values[0] = Int32GetDatum(e->enrichment_id);
	values[1] = CStringGetTextDatum(pe_sender_identity());
	SPI_connect();
	pe_owner_execute("UPDATE profenrich.enrichment_target SET sender_identity = $2 WHERE enrichment_id = $1",
	                 2, types, values, NULL, false, 0);
	if (SPI_processed == 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		                errmsg("enrichment \"%s\" was never provisioned", e->name),
		                errhint("Run profenrich.provision(%s).", quote_literal_cstr(e->name))));
	pe_owner_execute(
	    "UPDATE profenrich.delivery_state SET blocked = NULL, blocked_reason = NULL, blocked_at = NULL,"
	    " next_probe_at = NULL WHERE enrichment_id = $1 AND blocked = 'identity'",
	    1, types, values, NULL, false, 0);
	pe_audit("adopt", e->name, NULL);
	SPI_finish();
	PG_RETURN_VOID();
}
