/*
 * event_views.c
 *		create_event_features() and event_features_into(): features of events as a view
 *		and in a table.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"

#include "pg/arguments.h"
#include "pg/audit.h"
#include "pg/event_request.h"

/* A source as the view repeats it: a relation with its schema, so that search_path may change. */
static const char *
lasting_text(const PeSource *source)
{
	return OidIsValid(source->relid) ? source->from : source->text;
}

/* The query that gives the features, its columns fixed. */
static char *
features_query(const PeEventRequest *request)
{
	Jsonb *fixed = pe_event_declaration_fixed(request->plan, request->declaration);
	StringInfoData query;

	initStringInfo(&query);
	appendStringInfo(&query, "SELECT %s FROM profenrich.event_features(%s, %s, %s, %s::pg_catalog.jsonb",
	                 pe_event_column_list(request, false), quote_literal_cstr(lasting_text(request->events)),
	                 quote_literal_cstr(request->key.name), quote_literal_cstr(request->time.name),
	                 quote_literal_cstr(JsonbToCString(NULL, &fixed->root, -1)));
	if (request->as_of_given)
		appendStringInfo(&query, ", as_of => %s::pg_catalog.date",
		                 quote_literal_cstr(DatumGetCString(
		                     DirectFunctionCall1(date_out, DateADTGetDatum(request->as_of)))));
	if (request->anchors != NULL)
		appendStringInfo(&query, ", anchors => %s", quote_literal_cstr(lasting_text(request->anchors)));
	appendStringInfo(&query, ") AS f(%s)", pe_event_column_list(request, true));
	return query.data;
}

static RangeVar *
range_of(const char *text)
{
	return makeRangeVarFromNameList(textToQualifiedNameList(cstring_to_text(text)));
}

static char *
quoted_name(const char *text)
{
	RangeVar *range = range_of(text);

	return quote_qualified_identifier(range->schemaname, range->relname);
}

/* The name of what is there, with its schema. */
static char *
full_name(const char *text)
{
	Oid relid = RangeVarGetRelid(range_of(text), NoLock, false);

	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));
}

static void
execute(const char *statement, int expected)
{
	if (SPI_execute(statement, false, 0) != expected)
		elog(ERROR, "a statement on event features failed");
}

/* What the columns say is written on them. */
static void
comment_columns(const PeEventRequest *request, const char *kind, const char *relation)
{
	execute(psprintf("COMMENT ON %s %s IS 'features from events, by a declaration'", kind, relation),
	        SPI_OK_UTILITY);
	for (int i = 0; i < pe_event_column_count(request); i++)
		execute(psprintf("COMMENT ON COLUMN %s.%s IS %s", relation,
		                 quote_identifier(pe_event_column_name(request, i)),
		                 quote_literal_cstr(pe_event_column_description(request, i))),
		        SPI_OK_UTILITY);
}

PG_FUNCTION_INFO_V1(pe_create_event_features);

/* create_event_features(name, events, key, event_time, declaration, as_of, anchors) -> columns of the view.
 */
Datum
pe_create_event_features(PG_FUNCTION_ARGS)
{
	char *name = pe_text_argument(fcinfo, 0, "name");
	char *view = quoted_name(name);
	PeEventRequest *request = pe_event_request(fcinfo, 1);

	PreventCommandIfReadOnly("create_event_features()");
	SPI_connect();
	execute(psprintf("CREATE VIEW %s AS %s", view, features_query(request)), SPI_OK_UTILITY);
	comment_columns(request, "VIEW", view);
	SPI_finish();
	pe_audit("create_event_features", full_name(name), "{\"columns\": %d}", pe_event_column_count(request));
	PG_RETURN_INT32(pe_event_column_count(request));
}

PG_FUNCTION_INFO_V1(pe_event_features_into);

/* event_features_into(into_table, events, key, event_time, declaration, as_of, anchors) -> rows. */
Datum
pe_event_features_into(PG_FUNCTION_ARGS)
{
	char *name = pe_text_argument(fcinfo, 0, "into_table");
	char *table = quoted_name(name);
	PeEventRequest *request = pe_event_request(fcinfo, 1);
	Oid relid = RangeVarGetRelid(range_of(name), NoLock, true);
	uint64 rows;

	PreventCommandIfReadOnly("event_features_into()");
	SPI_connect();
	if (OidIsValid(relid))
		execute(psprintf("INSERT INTO %s (%s) %s", table, pe_event_column_list(request, false),
		                 features_query(request)),
		        SPI_OK_INSERT);
	else
		execute(psprintf("CREATE TABLE %s AS %s", table, features_query(request)), SPI_OK_UTILITY);
	rows = SPI_processed;
	if (!OidIsValid(relid))
		comment_columns(request, "TABLE", table);
	SPI_finish();
	pe_audit("event_features_into", full_name(name), "{\"rows\": " UINT64_FORMAT "}", rows);
	PG_RETURN_INT64((int64) rows);
}
