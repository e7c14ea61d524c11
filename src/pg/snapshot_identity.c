/*
 * snapshot_identity.c
 *		Which profile is a row of a snapshot; set_identity.
 *
 * The platform has no id of a profile that stays: what it has is the identities that
 * were stitched together, which may be others tomorrow. A profile's key is therefore
 * chosen among them by rule, and who is who on another day is told by what they share.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "pg/arguments.h"
#include "pg/audit.h"
#include "pg/env.h"
#include "pg/load.h"
#include "pg/owner.h"
#include "pg/snapshot_identity.h"
#include "pg/snapshot_settings.h"
#include "pg/source.h"
#include "snapshot/xdm_path.h"

PG_FUNCTION_INFO_V1(pe_set_identity);

/* Of a column with the path identityMap.<namespace>.id, or with single_ids false of any beneath a namespace;
 * or NULL. */
static char *
namespace_of(const PeSnapshotColumn *column, bool single_ids)
{
	pe_env env = pe_server_env(CurrentMemoryContext);
	pe_xdm_path *path;
	pe_error err;

	if (column->path == NULL ||
	    pe_xdm_path_parse(&env, column->path, strlen(column->path), &path, &err) != PE_OK)
		return NULL;
	if (path->count < 2 || path->steps[0].length != 11 || memcmp(path->steps[0].name, "identityMap", 11) != 0)
		return NULL;
	if (single_ids &&
	    (path->count != 3 || path->steps[2].length != 2 || memcmp(path->steps[2].name, "id", 2) != 0))
		return NULL;
	return pnstrdup(path->steps[1].name, path->steps[1].length);
}

static List *
namespaces_of_columns(const PeSnapshotTable *table, bool single_ids)
{
	List *namespaces = NIL;

	for (int i = 0; i < table->ncolumns; i++)
	{
		char *code = namespace_of(&table->columns[i], single_ids);

		if (code != NULL)
			namespaces = lappend(namespaces, code);
	}
	return namespaces;
}

List *
pe_snapshot_namespaces(const PeSnapshotTable *table)
{
	return list_concat(namespaces_of_columns(table, false), pe_snapshot_settings(table->relid).namespaces);
}

/* NIL: it is not known what tells the profiles apart. */
static List *
namespaces_of(const PeSnapshotTable *table)
{
	List *namespaces = pe_snapshot_settings(table->relid).namespaces;

	if (namespaces == NIL)
		namespaces = namespaces_of_columns(table, true);
	return namespaces;
}

static List *
need_namespaces(const PeSnapshotTable *table)
{
	List *namespaces = namespaces_of(table);

	if (namespaces == NIL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		                errmsg("it is not known what tells the profiles of %s apart", table->label),
		                errhint("Name the namespaces with set_identity(), or map a column to an id, such as "
		                        "identityMap.CRMID.id.")));
	return namespaces;
}

bool
pe_snapshot_has_identity(const PeSnapshotTable *table)
{
	return namespaces_of(table) != NIL;
}

/* pe_snapshot_identity_sql() by these namespaces. */
static PeIdentitySql
identity_sql(const PeSnapshotTable *table, List *namespaces)
{
	StringInfoData all, key;
	PeIdentitySql sql = {.namespaces = namespaces};
	ListCell *cell;

	initStringInfo(&all);
	initStringInfo(&key);
	foreach (cell, sql.namespaces)
	{
		const char *code = lfirst(cell);
		char *ids = pe_snapshot_identities(table, code);
		char *prefix = quote_literal_cstr(psprintf("%s:", code));

		if (ids == NULL)
			ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
			                errmsg("no column of %s holds ids of the namespace \"%s\"", table->label, code),
			                errhint("Load with a column for them, or for the whole of identityMap.")));
		sql.ids = lappend(sql.ids, ids);
		appendStringInfo(&all,
		                 "%sARRAY(SELECT %s || i FROM unnest(%s) AS i"
		                 " WHERE i <> '')",
		                 all.len > 0 ? " || " : "", prefix, ids);
		appendStringInfo(&key,
		                 "%s(SELECT %s || min(i COLLATE \"C\")"
		                 " FROM unnest(%s) AS i WHERE i <> '')",
		                 key.len > 0 ? ", " : "", prefix, ids);
	}
	sql.identities = psprintf("(%s)", all.data);
	sql.key = psprintf("coalesce(%s)", key.data);
	return sql;
}

PeIdentitySql
pe_snapshot_identity_sql(const PeSnapshotTable *table)
{
	return identity_sql(table, need_namespaces(table));
}

/* The ids of those identities that are in the namespace, as the text of an array; NULL: none. */
static char *
ids_in(const char *code, const Datum *identities, int count)
{
	size_t length = strlen(code);
	Datum *ids = palloc(sizeof(Datum) * Max(count, 1));
	int found = 0;
	Oid output;
	bool is_varlena;

	for (int i = 0; i < count; i++)
	{
		char *identity = TextDatumGetCString(identities[i]);

		if (pg_strncasecmp(identity, code, length) == 0 && identity[length] == ':')
			ids[found++] = CStringGetTextDatum(identity + length + 1);
	}
	if (found == 0)
		return NULL;
	getTypeOutputInfo(TEXTARRAYOID, &output, &is_varlena);
	return OidOutputFunctionCall(
	    output, PointerGetDatum(construct_array(ids, found, TEXTOID, -1, false, TYPALIGN_INT)));
}

char *
pe_snapshot_identity_filter(const PeIdentitySql *sql, ArrayType *identities)
{
	StringInfoData condition;
	ListCell *code, *ids;
	Datum *items;
	bool *nulls;
	int count;

	initStringInfo(&condition);
	deconstruct_array(identities, TEXTOID, -1, false, TYPALIGN_INT, &items, &nulls, &count);
	forboth(code, sql->namespaces, ids, sql->ids)
	{
		char *wanted = ids_in(lfirst(code), items, count);

		if (wanted != NULL)
			appendStringInfo(&condition, "%s(%s) && %s::text[]", condition.len > 0 ? " OR " : "",
			                 (char *) lfirst(ids), quote_literal_cstr(wanted));
	}
	return condition.len > 0 ? psprintf("(%s)", condition.data) : "false";
}

/* The newest loaded day; false when there is none. */
static bool
newest_day(const PeSnapshotTable *table, DateADT *newest)
{
	ArrayType *days = DatumGetArrayTypeP(pe_snapshot_days(table));
	const DateADT *dates = (const DateADT *) ARR_DATA_PTR(days);
	int count = ArrayGetNItems(ARR_NDIM(days), ARR_DIMS(days));

	for (int i = 0; i < count; i++)
		if (i == 0 || dates[i] > *newest)
			*newest = dates[i];
	return count > 0;
}

/* Has a row of the day an id? */
static bool
is_used(const PeSnapshotTable *table, DateADT day, const char *ids)
{
	Oid types[] = {DATEOID};
	Datum values[] = {DateADTGetDatum(day)};
	bool isnull;

	if (SPI_execute_with_args(psprintf("SELECT EXISTS (SELECT FROM %s AS t WHERE t." LOAD_DATE_COLUMN
	                                   " = $1 AND cardinality(%s) > 0)",
	                                   table->label, ids),
	                          1, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not look for ids in %s", table->label);
	return DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/* Raises where no column holds a namespace; one that nobody has an id in may be to come, or mistyped. */
static void
check_namespaces(const PeSnapshotTable *table, List *namespaces)
{
	int guc_level = pe_server_names_only();
	PeIdentitySql sql = identity_sql(table, namespaces);
	DateADT newest = 0;
	bool any = newest_day(table, &newest);
	ListCell *code, *ids;

	forboth(code, sql.namespaces, ids, sql.ids)
	{
		if (any && !is_used(table, newest, lfirst(ids)))
			ereport(WARNING, (errmsg("no profile of %s has an id of the namespace \"%s\" on %s", table->label,
			                         (char *) lfirst(code), load_date_text(newest)),
			                  errhint("Where it is mistyped, call set_identity() again.")));
	}
	AtEOXact_GUC(true, guc_level);
}

/* set_identity(snapshot_table, namespaces): NULL, those that have columns. */
Datum
pe_set_identity(PG_FUNCTION_ARGS)
{
	bool none = PG_ARGISNULL(1);
	PeSnapshotTable *table;

	PreventCommandIfReadOnly("set_identity()");
	pe_need_argument(fcinfo, 0, "snapshot_table");
	if (!none && (ARR_NDIM(PG_GETARG_ARRAYTYPE_P(1)) != 1 || array_contains_nulls(PG_GETARG_ARRAYTYPE_P(1))))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("namespaces must be a list of the codes of namespaces, the preferred first"),
		                errhint("Such as '{CRMID,ECID}'.")));
	table = pe_snapshot_table_own(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	SPI_connect();
	if (!none)
		check_namespaces(table, pe_texts_of(PG_GETARG_DATUM(1)));
	pe_snapshot_setting_put(table->relid, "namespaces", TEXTARRAYOID, none ? 0 : PG_GETARG_DATUM(1), none);
	SPI_finish();
	pe_audit("set_identity", table->label, NULL);
	PG_RETURN_VOID();
}
