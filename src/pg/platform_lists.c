/*
 * platform_lists.c
 *		Looking at the platform from SQL: data sets, identity namespaces, one profile.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "platform/catalog.h"
#include "platform/identity.h"
#include "platform/profile.h"
#include "pg/arguments.h"
#include "pg/audit.h"
#include "pg/connection.h"
#include "pg/enrichment_define.h"
#include "pg/report.h"
#include "pg/rows.h"

PG_FUNCTION_INFO_V1(pe_datasets);
PG_FUNCTION_INFO_V1(pe_identity_namespaces);
PG_FUNCTION_INFO_V1(pe_create_identity_namespace);
PG_FUNCTION_INFO_V1(pe_platform_profile);

static PeConnection *
connect_as_caller(text *server)
{
	return pe_connection_open(text_to_cstring(server), GetUserId(), CurrentMemoryContext);
}

static void
put_dataset(PeRow *row, const pe_dataset *dataset)
{
	pe_row_add_text(row, dataset->id);
	pe_row_add_text(row, dataset->name);
	pe_row_add_text(row, dataset->schema_id);
	pe_row_add_bool(row, dataset->profile_enabled);
	pe_row_add_bool(row, dataset->is_snapshot);
	pe_row_add_text(row, dataset->merge_policy_id);
	pe_row_add_text(row, dataset->table_name);
	if (dataset->row_count >= 0)
		pe_row_add_int64(row, dataset->row_count);
	else
		pe_row_add_null(row);
	pe_row_add_ms(row, dataset->created_ms);
	pe_row_put(row);
}

/* datasets(server): a list lives in the session's memory, so it is freed on every path. */
Datum
pe_datasets(PG_FUNCTION_ARGS)
{
	PeConnection *connection = connect_as_caller(PG_GETARG_TEXT_PP(0));
	pe_dataset_list list = {0};
	pe_error err = {0};
	PeRow row;

	pe_rows_begin(fcinfo, &row);
	pe_check(pe_catalog_datasets(connection->platform, 0, &list, &err), &err);
	PG_TRY();
	{
		for (int i = 0; i < list.count; i++)
			put_dataset(&row, &list.items[i]);
	}
	PG_FINALLY();
	{
		pe_dataset_list_free(&list);
	}
	PG_END_TRY();
	pe_connection_close(connection);
	return (Datum) 0;
}

static void
put_namespace(PeRow *row, const pe_namespace *namespace)
{
	pe_row_add_int64(row, namespace->id);
	pe_row_add_text(row, namespace->code);
	pe_row_add_text(row, namespace->name);
	pe_row_add_text(row, namespace->id_type);
	pe_row_add_bool(row, namespace->custom);
	pe_row_put(row);
}

Datum
pe_identity_namespaces(PG_FUNCTION_ARGS)
{
	PeConnection *connection = connect_as_caller(PG_GETARG_TEXT_PP(0));
	pe_namespace_list list = {0};
	pe_error err = {0};
	PeRow row;

	pe_rows_begin(fcinfo, &row);
	pe_check(pe_identity_list(connection->platform, &list, &err), &err);
	PG_TRY();
	{
		for (int i = 0; i < list.count; i++)
			put_namespace(&row, &list.items[i]);
	}
	PG_FINALLY();
	{
		pe_namespace_list_free(&list);
	}
	PG_END_TRY();
	pe_connection_close(connection);
	return (Datum) 0;
}

/*
 * create_identity_namespace(server, code, name) -> created or found. A namespace for
 * people's ids across devices; it cannot be deleted again, so nothing else makes one.
 */
Datum
pe_create_identity_namespace(PG_FUNCTION_ARGS)
{
	char *code;
	char *name;
	PeConnection *connection;
	bool created = false;
	pe_error err = {0};

	/* What it makes stays, whatever becomes of the transaction. */
	PreventCommandIfReadOnly("create_identity_namespace()");
	pe_need_argument(fcinfo, 0, "server");
	code = pe_text_argument(fcinfo, 1, "code");
	name = PG_ARGISNULL(2) ? code : text_to_cstring(PG_GETARG_TEXT_PP(2));
	pe_enrichment_check_namespace(code);
	connection = connect_as_caller(PG_GETARG_TEXT_PP(0));
	pe_check(pe_identity_ensure(connection->platform, code, pe_to_utf8(name), &created, &err), &err);
	pe_audit("create_identity_namespace", code, "{\"created\": %s}", created ? "true" : "false");
	pe_connection_close(connection);
	PG_RETURN_TEXT_P(cstring_to_text(created ? "created" : "found"));
}

/* What the platform has for one identity, as its merged entity; NULL when it knows none. */
Datum
pe_platform_profile(PG_FUNCTION_ARGS)
{
	PeConnection *connection = connect_as_caller(PG_GETARG_TEXT_PP(0));
	char *code = pe_to_utf8(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	char *identity = pe_to_utf8(text_to_cstring(PG_GETARG_TEXT_PP(2)));
	pe_pool pool;
	char *json = NULL;
	volatile Datum result = (Datum) 0;
	pe_error err = {0};
	pe_status status;

	pe_pool_init(&pool, pe_platform_env(connection->platform));
	status = pe_profile_entity(connection->platform, code, identity, NULL, NULL, &pool, &json, &err);
	PG_TRY();
	{
		if (status == PE_OK)
			result = DirectFunctionCall1(jsonb_in, CStringGetDatum(pe_from_utf8(json)));
		else if (status != PE_NOT_FOUND)
			pe_raise(&err);
	}
	PG_FINALLY();
	{
		pe_pool_free(&pool);
	}
	PG_END_TRY();
	pe_connection_close(connection);
	if (status == PE_NOT_FOUND)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(result);
}
