/*
 * snapshot_table.c
 *		XDM paths to columns of a table that snapshots were loaded into.
 *
 * What load_plan.c decided is read back from the columns' comments. A value may be in
 * a column of its path, inside a jsonb column of a path above it, spread over columns
 * of the paths below it, or in the column for all the rest.
 */
#include "postgres.h"

#include <ctype.h>

#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/varlena.h"

#include "pg/compat.h"
#include "pg/env.h"
#include "pg/history.h"
#include "pg/load.h"
#include "pg/owner.h"
#include "pg/snapshot_table.h"
#include "pg/source.h"
#include "snapshot/xdm_path.h"

#define IDENTITY_MAP "identityMap"

PeSnapshotTable *
pe_snapshot_table_load(Oid relid)
{
	Relation rel = relation_open(relid, AccessShareLock);
	TupleDesc desc = RelationGetDescr(rel);
	PeSnapshotTable *table = palloc0(sizeof(PeSnapshotTable));

	table->relid = relid;
	table->schema = get_namespace_name(RelationGetNamespace(rel));
	table->name = pstrdup(RelationGetRelationName(rel));
	table->label = load_qualify(table->schema, table->name);
	table->columns = palloc0(sizeof(PeSnapshotColumn) * Max(desc->natts, 1));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);
		PeSnapshotColumn *column = &table->columns[table->ncolumns];

		if (attr->attisdropped)
			continue;
		column->name = pstrdup(NameStr(attr->attname));
		column->path = load_path_of_column(relid, attr->attnum);
		column->type = attr->atttypid;
		column->typmod = attr->atttypmod;
		table->has_rest = table->has_rest || (column->path == NULL && column->type == JSONBOID &&
		                                      strcmp(column->name, LOAD_REST_COLUMN) == 0);
		table->ncolumns++;
	}
	relation_close(rel, AccessShareLock);
	return table;
}

/* <table>_latest is a view on one partitioned table: that one. */
static Oid
table_of_latest(Oid view)
{
	Oid types[1] = {OIDOID};
	Datum values[1] = {ObjectIdGetDatum(view)};
	Oid relid = InvalidOid;
	bool isnull;

	SPI_connect();
	pe_owner_execute(
	    "SELECT DISTINCT c.oid FROM pg_rewrite r JOIN pg_class v ON v.oid = r.ev_class"
	    " JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid"
	    " AND d.refclassid = 'pg_class'::regclass JOIN pg_class c ON c.oid = d.refobjid AND c.relkind = 'p'"
	    " WHERE v.oid = $1 AND v.relname = c.relname || '_latest' AND v.relnamespace = c.relnamespace",
	    1, types, values, NULL, true, 2);
	if (SPI_processed == 1)
		relid = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	return relid;
}

/* The table that a name means, of the relation that has it. */
static Oid
table_behind(Oid relid, const char *name)
{
	if (OidIsValid(relid) && get_rel_relkind(relid) == RELKIND_VIEW)
		relid = table_of_latest(relid);
	if (!OidIsValid(relid) || get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
		        (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("\"%s\" is no table of snapshots", name),
		         errhint("Name a table that load_snapshot has filled: profenrich.snapshots lists them.")));
	return relid;
}

PeSnapshotTable *
pe_snapshot_table_open(const char *name)
{
	Oid relid = table_behind(pe_source_open(name, "snapshot")->relid, name);
	PeSnapshotTable *table;

	if (pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK &&
	    pg_attribute_aclcheck_all(relid, GetUserId(), ACL_SELECT, ACLMASK_ANY) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, get_rel_name(relid));
	table = pe_snapshot_table_load(relid);
	pe_history_hold(table);
	return table;
}

PeSnapshotTable *
pe_snapshot_table_own(const char *name)
{
	RangeVar *range = makeRangeVarFromNameList(textToQualifiedNameList(cstring_to_text(name)));
	Oid relid = table_behind(RangeVarGetRelid(range, NoLock, true), name);

	if (!pe_relation_ownercheck(relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(relid));
	return pe_snapshot_table_load(relid);
}

PeSnapshotDay
pe_snapshot_day(const PeSnapshotTable *table, const DateADT *date)
{
	Oid types[2] = {OIDOID, DATEOID};
	Datum values[2] = {ObjectIdGetDatum(table->relid), DateADTGetDatum(date != NULL ? *date : 0)};
	char nulls[2] = {' ', date != NULL ? ' ' : 'n'};
	PeSnapshotDay day;
	HeapTuple row;
	bool isnull;

	pe_owner_execute(
	    "SELECT d.snapshot_date, coalesce(d.exported_at, d.snapshot_date::timestamp AT TIME ZONE 'UTC'),"
	    " d.mapping IS NULL, d.rows, d.compacted FROM " PE_SNAPSHOT_DAYS
	    " WHERE $2 IS NULL OR d.snapshot_date = $2 ORDER BY d.snapshot_date DESC",
	    2, types, values, nulls, true, 1);
	if (SPI_processed == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
		                date != NULL
		                    ? errmsg("no snapshot of %s is loaded in %s", load_date_text(*date), table->label)
		                    : errmsg("no snapshot is loaded in %s", table->label),
		                errhint("profenrich.snapshots lists those that are.")));
	row = SPI_tuptable->vals[0];
	day.date = DatumGetDateADT(SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &isnull));
	day.exported_at = DatumGetTimestampTz(SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &isnull));
	day.complete = DatumGetBool(SPI_getbinval(row, SPI_tuptable->tupdesc, 3, &isnull));
	day.rows = DatumGetInt64(SPI_getbinval(row, SPI_tuptable->tupdesc, 4, &isnull));
	day.compacted = DatumGetBool(SPI_getbinval(row, SPI_tuptable->tupdesc, 5, &isnull));
	SPI_freetuptable(SPI_tuptable);
	return day;
}

static Datum
days_of(const PeSnapshotTable *table, const char *query)
{
	Oid types[] = {OIDOID};
	Datum values[] = {ObjectIdGetDatum(table->relid)};
	bool isnull;
	Datum days;

	pe_owner_execute(query, 1, types, values, NULL, true, 1);
	days = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	return PointerGetDatum(DatumGetArrayTypePCopy(days));
}

#define ARRAY_OF_DAYS "SELECT coalesce(array_agg(d.snapshot_date), '{}') FROM " PE_SNAPSHOT_DAYS

Datum
pe_snapshot_days(const PeSnapshotTable *table)
{
	return days_of(table, ARRAY_OF_DAYS);
}

Datum
pe_snapshot_compacted_days(const PeSnapshotTable *table)
{
	return days_of(table, ARRAY_OF_DAYS " WHERE d.compacted");
}

char *
pe_snapshot_day_query(const PeSnapshotTable *table, const PeSnapshotDay *day, double share)
{
	bool all = pg_class_aclcheck(table->relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK;
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < table->ncolumns; i++)
	{
		const char *name = table->columns[i].name;

		if (strcmp(name, LOAD_DATE_COLUMN) == 0)
			continue;
		if (!all && pg_attribute_aclcheck(table->relid, get_attnum(table->relid, name), GetUserId(),
		                                  ACL_SELECT) != ACLCHECK_OK)
			continue;
		appendStringInfo(&sql, "%s%s", sql.len > 0 ? ", " : "SELECT ", quote_identifier(name));
	}
	if (sql.len == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
		                errmsg("%s has no column to look at but %s", table->label, LOAD_DATE_COLUMN)));
	appendStringInfo(&sql, " FROM %s", day->compacted ? pe_history_relation(table) : table->label);
	if (share < 1 && !day->compacted) /* whole pages, the same ones each time */
		appendStringInfo(&sql, " TABLESAMPLE SYSTEM (%.9g) REPEATABLE (0)", 100 * share);
	appendStringInfo(&sql, " WHERE %s OPERATOR(pg_catalog.=) DATE '%s'", LOAD_DATE_COLUMN,
	                 load_date_text(day->date));
	return sql.data;
}

/* Steps behind the first skip bytes of a path of plain steps, as the text of a text[] literal in SQL. */
static char *
steps_literal(const char *path, size_t skip)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoString(&text, "{\"");
	for (const char *at = path + skip; *at != '\0'; at++)
	{
		if (*at == '.')
			appendStringInfoString(&text, "\",\"");
		else
			appendStringInfoChar(&text, *at);
	}
	appendStringInfoString(&text, "\"}");
	return quote_literal_cstr(text.data);
}

/* Is a the path of something that b is inside of? */
static bool
is_above(const char *a, const char *b)
{
	size_t length = strlen(a);

	return strncmp(a, b, length) == 0 && b[length] == '.';
}

/* The one step that leads from above to path, unquoted; NULL when it is not one. */
static char *
last_step(const char *above, const char *path)
{
	const char *rest = path + strlen(above) + 1;
	pe_env env = pe_server_env(CurrentMemoryContext);
	pe_xdm_path *steps;
	pe_error err;

	if (pe_xdm_path_parse(&env, rest, strlen(rest), &steps, &err) != PE_OK || steps->count != 1)
		return NULL;
	return pnstrdup(steps->steps[0].name, steps->steps[0].length);
}

static void
add_alternative(StringInfo sql, const char *expression)
{
	appendStringInfo(sql, "%s%s", sql->len > 0 ? ", " : "", expression);
}

char *
pe_snapshot_json(const PeSnapshotTable *table, const char *path, const PeSnapshotColumn **exact)
{
	StringInfoData found, members;
	char *whole;

	initStringInfo(&found);
	initStringInfo(&members);
	*exact = NULL;
	for (int i = 0; i < table->ncolumns; i++)
	{
		const PeSnapshotColumn *column = &table->columns[i];
		char *step;

		if (column->path == NULL)
			continue;
		if (strcmp(column->path, path) == 0)
		{
			*exact = column;
			add_alternative(&found, psprintf("to_jsonb(t.%s)", quote_identifier(column->name)));
		}
		else if (column->type == JSONBOID && is_above(column->path, path))
			add_alternative(&found, psprintf("t.%s #> %s", quote_identifier(column->name),
			                                 steps_literal(path, strlen(column->path) + 1)));
		else if (is_above(path, column->path) && (step = last_step(path, column->path)) != NULL)
			appendStringInfo(&members, " || jsonb_build_object(%s, t.%s)", quote_literal_cstr(step),
			                 quote_identifier(column->name));
	}
	if (table->has_rest)
		add_alternative(&found, psprintf("t." LOAD_REST_COLUMN " #> %s", steps_literal(path, 0)));
	if (found.len == 0 && members.len == 0)
		return NULL;
	whole = found.len > 0 ? psprintf("coalesce(%s)", found.data) : "NULL::jsonb";
	if (members.len == 0)
		return whole;
	return psprintf("nullif(jsonb_strip_nulls(coalesce(%s, '{}')%s), '{}')", whole, members.data);
}

/* identityMap.<namespace>, or one step further, as a column's comment has it. */
static char *
identity_path(const char *namespace_code, const char *end)
{
	size_t length = strlen(namespace_code);
	size_t step = pe_xdm_step_write(namespace_code, length, NULL);
	char *path = palloc(sizeof(IDENTITY_MAP) + step + strlen(end) + 1);
	char *at = path + sprintf(path, IDENTITY_MAP ".");

	pe_xdm_step_write(namespace_code, length, at);
	strcpy(at + step, end);
	return path;
}

/*
 * The ids in a list of identities, or in a map of namespace to list, whose keys match without
 * case. By jsonpath and through a record, not by functions that return sets: run for each
 * row of a table, those keep some memory of each call until the query's end. Only texts are
 * ids. Of the server's own types the smallest that has a text[] makes one of a jsonb list, every
 * character as it is.
 */
#define IDS "[*].id ? (@.type() == \"string\")"

static char *
ids_at(const char *json, const char *path)
{
	return psprintf("(jsonb_populate_record(NULL::pg_db_role_setting, jsonb_build_object('setconfig',"
	                " jsonb_path_query_array(%s, %s, '{}', true)))).setconfig",
	                json, quote_literal_cstr(path));
}

/* $.keyvalue() ? (@.key like_regex "^crmid$" flag "i").value[*].id; all but letters and digits is escaped. */
static char *
path_into_map(const char *namespace_code)
{
	StringInfoData regex, path;

	initStringInfo(&regex);
	initStringInfo(&path);
	for (const char *at = namespace_code; *at != '\0'; at++)
	{
		if (ispunct((unsigned char) *at) && !IS_HIGHBIT_SET(*at))
			appendStringInfoChar(&regex, '\\');
		appendStringInfoChar(&regex, *at);
	}
	appendStringInfoString(&path, "$.keyvalue() ? (@.key like_regex ");
	escape_json(&path, psprintf("^%s$", regex.data));
	appendStringInfoString(&path, " flag \"i\").value" IDS);
	return path.data;
}

static void
add_ids(StringInfo sql, const char *ids)
{
	appendStringInfo(sql, "%s%s", sql->len > 0 ? " || " : "", ids);
}

/*
 * A column of single ids holds one of those that the map has: it counts in rows that have
 * no map, as those of a day loaded with another mapping.
 */
char *
pe_snapshot_identities(const PeSnapshotTable *table, const char *namespace_code)
{
	const char *id = identity_path(namespace_code, ".id");
	const char *list = identity_path(namespace_code, "");
	const char *into_map = path_into_map(namespace_code);
	StringInfoData sql, maps;
	char *rest = "(t." LOAD_REST_COLUMN " -> '" IDENTITY_MAP "')";

	initStringInfo(&sql);
	initStringInfo(&maps);
	for (int i = 0; i < table->ncolumns; i++)
	{
		const PeSnapshotColumn *column = &table->columns[i];
		char *value = psprintf("t.%s", quote_identifier(column->name));
		bool is_list = column->path != NULL && pg_strcasecmp(column->path, list) == 0;
		bool is_map = column->path != NULL && strcmp(column->path, IDENTITY_MAP) == 0;

		if (column->type != JSONBOID || (!is_list && !is_map))
			continue;
		add_ids(&sql, ids_at(value, is_list ? "$" IDS : into_map));
		add_alternative(&maps, value);
	}
	if (table->has_rest)
	{
		add_ids(&sql, ids_at(rest, into_map));
		add_alternative(&maps, rest);
	}
	for (int i = 0; i < table->ncolumns; i++)
	{
		char *value = psprintf("ARRAY[t.%s::text]", quote_identifier(table->columns[i].name));

		if (table->columns[i].path != NULL && pg_strcasecmp(table->columns[i].path, id) == 0)
			add_ids(&sql, maps.len > 0
			                  ? psprintf("CASE WHEN coalesce(%s) IS NULL THEN %s END", maps.data, value)
			                  : value);
	}
	return sql.len > 0 ? sql.data : NULL;
}
