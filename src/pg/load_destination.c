/*
 * load_destination.c
 *		load_destination_payload: what the HTTP API destination posts, one profile at a time.
 *
 * Such a payload is what is new of one profile, at any time of the day, and of the mapped attributes
 * alone. So it has a table of its own, a row for each profile: in a day's partition it would make a
 * snapshot that lacks nearly everybody.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"

#include "pg/audit.h"
#include "pg/load_event_table.h"
#include "pg/load.h"
#include "pg/owner.h"
#include "pg/suppression.h"

#define MAX_PAYLOADS 10000 /* in one call */

typedef struct Delivery
{
	Oid relid;
	char *label;
	Datum namespaces; /* text[], 0: none preferred */
	const PeSuppression *forgotten;
	SPIPlanPtr plan;
	int profiles;
	int inserted;
	int forgotten_profiles;
} Delivery;

/* ---- the table ---- */

static void
register_table(Oid relid, Datum namespaces)
{
	Oid types[] = {OIDOID, TEXTARRAYOID};
	Datum values[] = {ObjectIdGetDatum(relid), namespaces};
	char nulls[] = {' ', namespaces != 0 ? ' ' : 'n', '\0'};

	(void) pe_owner_execute("DELETE FROM profenrich.destination_table d WHERE d.into_table = $1"
	                        " OR NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = d.into_table)",
	                        1, types, values, NULL, false, 0);
	(void) pe_owner_execute(
	    "INSERT INTO profenrich.destination_table (into_table, key_namespaces) VALUES ($1, $2)", 2, types,
	    values, nulls, false, 0);
}

static void
create_table(Delivery *delivery, const LoadTarget *target)
{
	const char *label = target->label;

	load_execute(psprintf(
	    "CREATE TABLE %s (" EVENT_NAMESPACE_COLUMN " pg_catalog.text, " EVENT_KEY_COLUMN
	    " pg_catalog.text, attributes pg_catalog.jsonb NOT NULL, identity_map pg_catalog.jsonb NOT NULL,"
	    " segment_membership pg_catalog.jsonb, received_at pg_catalog.timestamptz NOT NULL,"
	    " payloads pg_catalog.int8 NOT NULL, PRIMARY KEY (" EVENT_NAMESPACE_COLUMN ", " EVENT_KEY_COLUMN "))",
	    label));
	load_execute(psprintf(
	    "COMMENT ON TABLE %s IS 'profiles as a destination delivered them, the newest state of each'",
	    label));
	load_execute(
	    psprintf("COMMENT ON COLUMN %s." EVENT_NAMESPACE_COLUMN " IS 'namespace of profile_key'", label));
	load_execute(psprintf("COMMENT ON COLUMN %s." EVENT_KEY_COLUMN
	                      " IS 'the profile''s key: of the preferred namespace, then the smallest id'",
	                      label));
	load_execute(psprintf(
	    "COMMENT ON COLUMN %s.attributes IS 'what was delivered, merged: all but identities and memberships'",
	    label));
	load_execute(psprintf("COMMENT ON COLUMN %s.identity_map IS 'XDM path identityMap'", label));
	load_execute(psprintf("COMMENT ON COLUMN %s.segment_membership IS 'XDM path segmentMembership'", label));
	load_execute(psprintf("COMMENT ON COLUMN %s.received_at IS 'when the last payload came'", label));
	load_execute(psprintf("COMMENT ON COLUMN %s.payloads IS 'how many have come'", label));
	delivery->relid = get_relname_relid(target->name, target->namespaceid);
	register_table(delivery->relid, delivery->namespaces);
	pe_audit("load_destination_payload", label, NULL);
}

static Oid
find_table(const char *into_table)
{
	return RangeVarGetRelid(makeRangeVarFromNameList(textToQualifiedNameList(cstring_to_text(into_table))),
	                        RowExclusiveLock, true);
}

/* The rule of the table's keys is that of its first payload. */
static void
check_rule(Delivery *delivery)
{
	Oid types[] = {OIDOID, TEXTARRAYOID};
	Datum values[] = {ObjectIdGetDatum(delivery->relid), delivery->namespaces};
	char nulls[] = {' ', delivery->namespaces != 0 ? ' ' : 'n', '\0'};
	bool null, same;
	Datum stored;

	(void) pe_owner_execute("SELECT key_namespaces, $2 IS NULL OR key_namespaces IS NOT DISTINCT FROM $2"
	                        " FROM profenrich.destination_table WHERE into_table = $1",
	                        2, types, values, nulls, false, 1);
	if (SPI_processed == 0)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
		                errmsg("table %s was not made for payloads of a destination", delivery->label),
		                errhint("Name a table that does not exist yet.")));
	stored = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null);
	stored = null ? 0 : SPI_datumTransfer(stored, false, -1);
	same = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &null));
	if (!same)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("table %s has keys of other namespaces", delivery->label),
		                errhint("Leave key_namespaces out, or name another table.")));
	delivery->namespaces = stored;
}

/* A gateway's role needs no more than SELECT, INSERT and UPDATE on a table that is there. */
static void
open_table(Delivery *delivery, const char *into_table)
{
	delivery->relid = find_table(into_table);
	if (!OidIsValid(delivery->relid))
	{
		LoadTarget *target = load_target_open_plain(into_table);

		load_lock_name(target);
		delivery->relid = find_table(into_table);
		delivery->label = target->label;
		if (!OidIsValid(delivery->relid))
		{
			create_table(delivery, target);
			return;
		}
	}
	delivery->label =
	    load_qualify(get_namespace_name(get_rel_namespace(delivery->relid)), get_rel_name(delivery->relid));
	check_rule(delivery);
}

static void
prepare_upsert(Delivery *delivery)
{
	Oid types[] = {JSONBOID, TEXTARRAYOID};

	delivery->plan = SPI_prepare(
	    psprintf(
	        "INSERT INTO %s AS t (" EVENT_NAMESPACE_COLUMN ", " EVENT_KEY_COLUMN
	        ", attributes, identity_map, segment_membership, received_at, payloads)"
	        " SELECT k.namespace, k.id,"
	        " profenrich.jsonb_merge_patch('{}', $1 OPERATOR(pg_catalog.-) "
	        "'{identityMap,segmentMembership}'::pg_catalog.text[]),"
	        " $1 OPERATOR(pg_catalog.->) 'identityMap'::pg_catalog.text,"
	        " $1 OPERATOR(pg_catalog.->) 'segmentMembership'::pg_catalog.text, pg_catalog.clock_timestamp(), "
	        "1"
	        " FROM profenrich.identity_key($1 OPERATOR(pg_catalog.->) 'identityMap'::pg_catalog.text, $2) k"
	        " ON CONFLICT (" EVENT_NAMESPACE_COLUMN ", " EVENT_KEY_COLUMN ") DO UPDATE SET"
	        " attributes = profenrich.jsonb_merge_patch(t.attributes, $1 OPERATOR(pg_catalog.-) "
	        "'{identityMap,segmentMembership}'::pg_catalog.text[]),"
	        " identity_map = excluded.identity_map,"
	        " segment_membership = profenrich.merge_memberships(t.segment_membership, "
	        "excluded.segment_membership),"
	        " received_at = excluded.received_at, payloads = t.payloads OPERATOR(pg_catalog.+) 1"
	        " RETURNING t.xmax OPERATOR(pg_catalog.=) 0",
	        delivery->label),
	    lengthof(types), types);
	if (delivery->plan == NULL)
		elog(ERROR, "statement of the delivery failed: %s", SPI_result_code_string(SPI_result));
}

/* ---- payloads ---- */

static bool
list_is_forgotten(const Delivery *delivery, const JsonbValue *namespace_code, const JsonbValue *list)
{
	if (list->type != jbvBinary || !JsonContainerIsArray(list->val.binary.data))
		return false;
	for (uint32 i = 0; i < JsonContainerSize(list->val.binary.data); i++)
	{
		JsonbValue *entry = getIthJsonbValueFromContainer(list->val.binary.data, i);
		JsonbValue *id = NULL;

		if (entry->type == jbvBinary && JsonContainerIsObject(entry->val.binary.data))
			id = getKeyJsonValueFromContainer(entry->val.binary.data, "id", 2, NULL);
		if (id != NULL && id->type == jbvString &&
		    pe_suppression_has(delivery->forgotten, namespace_code->val.string.val,
		                       namespace_code->val.string.len, id->val.string.val, id->val.string.len))
			return true;
	}
	return false;
}

static bool
is_forgotten(const Delivery *delivery, JsonbContainer *payload)
{
	JsonbValue *map = getKeyJsonValueFromContainer(payload, "identityMap", strlen("identityMap"), NULL);
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue key, value;

	if (delivery->forgotten == NULL || map == NULL || map->type != jbvBinary ||
	    !JsonContainerIsObject(map->val.binary.data))
		return false;
	iterator = JsonbIteratorInit(map->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (list_is_forgotten(delivery, &key, &value))
			return true;
	}
	return false;
}

/* One profile; number counts from 1, for messages: its values are nobody's business. */
static void
take_payload(Delivery *delivery, const JsonbValue *payload, int number)
{
	Datum values[2];
	char nulls[] = {' ', delivery->namespaces != 0 ? ' ' : 'n', '\0'};
	bool null;

	if (payload->type != jbvBinary || !JsonContainerIsObject(payload->val.binary.data))
		ereport(
		    ERROR,
		    (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("payload %d is not a JSON object", number),
		     errhint("A payload is a profile as the HTTP API destination posts it, or an array of such.")));
	if (is_forgotten(delivery, payload->val.binary.data))
	{
		delivery->forgotten_profiles++;
		return;
	}
	values[0] = JsonbPGetDatum(JsonbValueToJsonb(unconstify(JsonbValue *, payload)));
	values[1] = delivery->namespaces;
	if (SPI_execute_plan(delivery->plan, values, nulls, false, 0) != SPI_OK_INSERT_RETURNING)
		elog(ERROR, "statement of the delivery failed: %s", SPI_result_code_string(SPI_result));
	if (SPI_processed == 0)
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("payload %d has no identity", number),
		         errdetail("Nothing of the call was stored."),
		         errhint("Map at least one identity in the destination: it comes as identityMap.")));
	delivery->profiles++;
	if (DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null)))
		delivery->inserted++;
	SPI_freetuptable(SPI_tuptable);
}

static void
take_payloads(Delivery *delivery, Jsonb *payload)
{
	JsonbValue whole = {.type = jbvBinary,
	                    .val.binary = {.data = &payload->root, .len = VARSIZE(payload) - VARHDRSZ}};

	if (JB_ROOT_IS_SCALAR(payload) || !JB_ROOT_IS_ARRAY(payload))
	{
		if (JB_ROOT_IS_SCALAR(payload))
			whole.type = jbvNull;
		take_payload(delivery, &whole, 1);
		return;
	}
	if (JB_ROOT_COUNT(payload) > MAX_PAYLOADS)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
		                errmsg("%d payloads in one call, at most %d can be taken",
		                       (int) JB_ROOT_COUNT(payload), MAX_PAYLOADS)));
	for (int i = 0; i < (int) JB_ROOT_COUNT(payload); i++)
	{
		CHECK_FOR_INTERRUPTS();
		take_payload(delivery, getIthJsonbValueFromContainer(&payload->root, i), i + 1);
	}
}

PG_FUNCTION_INFO_V1(pe_load_destination_payload);

/*
 * load_destination_payload(payload, into_table, key_namespaces)
 *		-> (profiles, inserted, updated, forgotten)
 */
Datum
pe_load_destination_payload(PG_FUNCTION_ARGS)
{
	Delivery delivery = {.namespaces = PG_ARGISNULL(2) ? 0 : PG_GETARG_DATUM(2)};
	TupleDesc desc;
	Datum values[4];
	bool nulls[4] = {false};

	for (int i = 0; i < 2; i++)
	{
		if (PG_ARGISNULL(i))
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			                errmsg("%s must not be NULL", i == 0 ? "payload" : "into_table")));
	}
	load_check_session("load_destination_payload()");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	SPI_connect();
	pe_suppression_hold();
	delivery.forgotten = pe_suppression_load();
	open_table(&delivery, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	prepare_upsert(&delivery);
	take_payloads(&delivery, PG_GETARG_JSONB_P(0));
	SPI_finish();
	values[0] = Int32GetDatum(delivery.profiles);
	values[1] = Int32GetDatum(delivery.inserted);
	values[2] = Int32GetDatum(delivery.profiles - delivery.inserted);
	values[3] = Int32GetDatum(delivery.forgotten_profiles);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}
