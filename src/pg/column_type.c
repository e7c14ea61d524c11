/*
 * column_type.c
 *		set_column_type: another type for a column of a table of snapshots, in every day.
 *
 * A type cannot change beneath a view: ours are dropped, and made again with the grants that they had.
 * The store of older days follows. All of it is one transaction.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "parser/parse_coerce.h"
#include "parser/parse_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "pg/audit.h"
#include "pg/history.h"
#include "pg/load.h"
#include "pg/owner.h"
#include "pg/snapshot_table.h"

PG_FUNCTION_INFO_V1(pe_set_column_type);

static char *
label_of(Oid relid)
{
	return load_qualify(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));
}

/* char *: the statements that give a view of that name the grants of this one, also those on columns. */
static List *
grants_of(Oid view)
{
	Oid types[] = {OIDOID, TEXTOID};
	Datum values[] = {ObjectIdGetDatum(view), CStringGetTextDatum(label_of(view))};
	MemoryContext caller = CurrentMemoryContext;
	List *grants = NIL;

	pe_owner_execute(
	    "SELECT format('GRANT %s%s ON %s TO %s%s', a.privilege_type, ' (' || quote_ident(o.name) || ')',"
	    " $2, CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END,"
	    " CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' END)"
	    " FROM (SELECT NULL::name AS name, relacl AS acl, relowner FROM pg_class WHERE oid = $1"
	    " UNION ALL SELECT t.attname, t.attacl, c.relowner FROM pg_attribute t"
	    " JOIN pg_class c ON c.oid = t.attrelid WHERE c.oid = $1 AND t.attnum > 0) AS o"
	    " CROSS JOIN LATERAL aclexplode(o.acl) a LEFT JOIN pg_roles r ON r.oid = a.grantee"
	    " WHERE a.grantee <> o.relowner",
	    2, types, values, NULL, true, 0);
	MemoryContextSwitchTo(caller);
	for (uint64 i = 0; i < SPI_processed; i++)
		grants = lappend(grants, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
	return grants;
}

/* Drops a view, if there is one; returns the grants that it had. */
static List *
take_down(Oid view)
{
	List *grants;

	if (!OidIsValid(view))
		return NIL;
	grants = grants_of(view);
	load_execute(psprintf("DROP VIEW %s", label_of(view)));
	return grants;
}

static void
grant_again(List *grants)
{
	ListCell *cell;

	foreach (cell, grants)
		load_execute(lfirst(cell));
}

/* Values are converted as an assignment would: what needs more than that could lose them. */
static void
check_change(const PeSnapshotTable *table, const char *name, Oid type)
{
	const PeSnapshotColumn *column = NULL;

	for (int i = 0; i < table->ncolumns; i++)
		if (strcmp(table->columns[i].name, name) == 0)
			column = &table->columns[i];
	if (column == NULL)
		ereport(ERROR,
		        (errcode(ERRCODE_UNDEFINED_COLUMN), errmsg("%s has no column \"%s\"", table->label, name)));
	if (strcmp(name, LOAD_DATE_COLUMN) == 0 || (strcmp(name, LOAD_REST_COLUMN) == 0 && column->path == NULL))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("the type of column \"%s\" cannot change: loads need it", name)));
	if (!can_coerce_type(1, &column->type, &type, COERCION_ASSIGNMENT))
		ereport(ERROR, (errcode(ERRCODE_CANNOT_COERCE),
		                errmsg("column \"%s\" of type %s cannot become %s", name,
		                       format_type_be(column->type), format_type_be(type)),
		                errhint("Choose a wider type, or map the field to a new column.")));
}

static void
alter_column(const char *label, const char *name, const char *type)
{
	load_execute(psprintf("ALTER TABLE %s ALTER COLUMN %s TYPE %s", label, quote_identifier(name), type));
	load_analyze(label);
}

/* The table is locked. */
static void
change_type(LoadTarget *target, const PeSnapshotTable *table, const char *name, const char *type)
{
	PeHistory *history = pe_history_open(table, false);
	bool had_history = OidIsValid(history->view);
	Oid latest = load_latest_view(target);
	List *latest_grants = take_down(latest);
	List *history_grants = take_down(history->view);

	history->view = InvalidOid;
	alter_column(table->label, name, type);
	if (OidIsValid(history->store) && get_attnum(history->store, name) != InvalidAttrNumber)
		alter_column(history->store_label, name, type);
	/* Without a day there is no newest one: then the next load makes the view. */
	if (OidIsValid(latest) && load_write_latest(target))
		grant_again(latest_grants);
	if (had_history)
	{
		pe_history_write_view(history);
		grant_again(history_grants);
	}
}

/* set_column_type(snapshot_table, column_name, type) */
Datum
pe_set_column_type(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	PeSnapshotTable *table;
	LoadTarget *target;
	Oid type;
	int32 typmod;

	load_check_session("set_column_type()");
	parseTypeString(text_to_cstring(PG_GETARG_TEXT_PP(2)), &type, &typmod, false);
	SPI_connect();
	table = pe_snapshot_table_own(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	target = load_target_open(table->label, 0);
	load_lock_exclusive(target);
	/* It may have changed while we waited. */
	table = pe_snapshot_table_load(table->relid);
	check_change(table, name, type);
	change_type(target, table, name,
	            format_type_extended(type, typmod, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
	pe_audit("set_column_type", table->label, "{\"column\": %s, \"type\": %s}", pe_audit_text(name),
	         pe_audit_text(format_type_with_typemod(type, typmod)));
	SPI_finish();
	PG_RETURN_VOID();
}
