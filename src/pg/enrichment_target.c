/*
 * enrichment_target.c
 *		Reading and writing what an enrichment is provisioned with.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "pg/connection.h"
#include "pg/enrichment_target.h"
#include "pg/owner.h"

PeTarget *
pe_target_load(int32 enrichment_id)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext query;
	Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(enrichment_id)};
	PeTarget *target = NULL;

	SPI_connect();
	pe_owner_execute(
	    "SELECT tenant, field_group_id, schema_id, dataset_id, inlet_url, flow_id, org_id, sandbox,"
	    " sender_identity, ready_at FROM profenrich.enrichment_target WHERE enrichment_id = $1",
	    1, types, values, NULL, false, 1);
	query = MemoryContextSwitchTo(caller);
	if (SPI_processed > 0)
	{
		HeapTuple row = SPI_tuptable->vals[0];
		TupleDesc desc = SPI_tuptable->tupdesc;
		bool null;

		target = palloc0(sizeof(PeTarget));
		target->tenant = SPI_getvalue(row, desc, 1);
		target->field_group_id = SPI_getvalue(row, desc, 2);
		target->schema_id = SPI_getvalue(row, desc, 3);
		target->dataset_id = SPI_getvalue(row, desc, 4);
		target->inlet_url = SPI_getvalue(row, desc, 5);
		target->flow_id = SPI_getvalue(row, desc, 6);
		target->org_id = SPI_getvalue(row, desc, 7);
		target->sandbox = SPI_getvalue(row, desc, 8);
		target->sender_identity = SPI_getvalue(row, desc, 9);
		target->ready_at = DatumGetTimestampTz(SPI_getbinval(row, desc, 10, &null));
	}
	MemoryContextSwitchTo(query);
	SPI_finish();
	MemoryContextSwitchTo(caller);
	return target;
}

/* {"attribute": "type", ...} */
static Datum
attributes_json(const PeEnrichment *e)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoChar(&text, '{');
	for (int i = 0; i < e->nattributes; i++)
	{
		if (i > 0)
			appendStringInfoChar(&text, ',');
		escape_json(&text, e->attributes[i].name);
		appendStringInfoChar(&text, ':');
		escape_json(&text, e->attributes[i].shape);
	}
	appendStringInfoChar(&text, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(text.data));
}

void
pe_target_save(const PeEnrichment *e, const PeTarget *target)
{
	Oid types[] = {INT4OID, TEXTOID, TEXTOID, TEXTOID,  TEXTOID, TEXTOID,
	               TEXTOID, TEXTOID, TEXTOID, JSONBOID, TEXTOID, TIMESTAMPTZOID};
	Datum values[] = {
	    Int32GetDatum(e->enrichment_id),
	    CStringGetTextDatum(target->tenant),
	    CStringGetTextDatum(target->field_group_id),
	    CStringGetTextDatum(target->schema_id),
	    CStringGetTextDatum(target->dataset_id),
	    CStringGetTextDatum(target->inlet_url),
	    CStringGetTextDatum(target->flow_id),
	    CStringGetTextDatum(target->org_id),
	    CStringGetTextDatum(target->sandbox),
	    attributes_json(e),
	    CStringGetTextDatum(target->sender_identity),
	    TimestampTzGetDatum(target->ready_at),
	};

	SPI_connect();
	pe_owner_execute(
	    "INSERT INTO profenrich.enrichment_target (enrichment_id, tenant, field_group_id, schema_id, "
	    "dataset_id,"
	    " inlet_url, flow_id, org_id, sandbox, attributes, sender_identity, ready_at)"
	    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
	    " ON CONFLICT (enrichment_id) DO UPDATE SET tenant = excluded.tenant, field_group_id = "
	    "excluded.field_group_id,"
	    " schema_id = excluded.schema_id, dataset_id = excluded.dataset_id, inlet_url = excluded.inlet_url,"
	    " flow_id = excluded.flow_id, org_id = excluded.org_id, sandbox = excluded.sandbox,"
	    " attributes = excluded.attributes, sender_identity = excluded.sender_identity, provisioned_at = "
	    "now(),"
	    " ready_at = excluded.ready_at",
	    lengthof(values), types, values, NULL, false, 0);
	SPI_finish();
}

#define PLACEHOLDER "(known after provision)"

void
pe_target_message(const PeEnrichment *e, pe_message_target *to)
{
	const PeTarget *target = pe_target_load(e->enrichment_id);

	*to = (pe_message_target){.enrichment = e->name, .namespace = e->namespace_code};
	if (target != NULL)
	{
		to->schema_id = target->schema_id;
		to->org_id = target->org_id;
		to->dataset_id = target->dataset_id;
		to->flow_id = target->flow_id;
		to->tenant = target->tenant;
		return;
	}
	to->schema_id = to->dataset_id = to->flow_id = to->tenant = PLACEHOLDER;
	to->org_id = pe_server_load(e->server)->org_id;
	if (to->org_id == NULL)
		to->org_id = PLACEHOLDER;
}
