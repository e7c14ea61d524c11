/*
 * history.c
 *		The store of older days beside a table of snapshots, and the view over both.
 *
 * Store and view are the table owner's and ordinary: dumped, granted and dropped like
 * other tables. Which days the store holds is in profenrich.snapshot_compacted, and in
 * the view's text, which is written anew whenever that changes.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/comment.h"
#include "commands/defrem.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "pg/history.h"
#include "pg/load.h"
#include "pg/owner.h"

#define STORE_SUFFIX "changes"
#define VIEW_SUFFIX  "history"

static const char mark[] = "kept by profenrich";

static bool
is_ours(Oid relid, char relkind)
{
	char *comment = GetComment(relid, RelationRelationId, 0);

	return get_rel_relkind(relid) == relkind && comment != NULL && strstr(comment, mark) != NULL;
}

/* The relation of that name, InvalidOid when there is none. */
static Oid
find(const PeSnapshotTable *table, const char *name, char relkind, bool make)
{
	Oid relid = get_relname_relid(name, get_rel_namespace(table->relid));

	if (!OidIsValid(relid) || is_ours(relid, relkind))
		return relid;
	if (make)
		ereport(ERROR, (errcode(ERRCODE_DUPLICATE_TABLE),
		                errmsg("\"%s\" is there already and was not made by profenrich", name),
		                errhint("Rename it: the history of %s needs the name.", table->label)));
	return InvalidOid;
}

PeHistory *
pe_history_open(const PeSnapshotTable *table, bool make)
{
	PeHistory *history = palloc0(sizeof(PeHistory));
	char *store = makeObjectName(table->name, NULL, STORE_SUFFIX);
	char *view = makeObjectName(table->name, NULL, VIEW_SUFFIX);

	history->table = (PeSnapshotTable *) table;
	history->store_label = load_qualify(table->schema, store);
	history->view_label = load_qualify(table->schema, view);
	history->store = find(table, store, RELKIND_RELATION, make);
	history->view = find(table, view, RELKIND_VIEW, make);
	return history;
}

const char *
pe_history_relation(const PeSnapshotTable *table)
{
	PeHistory *history = pe_history_open(table, false);

	return OidIsValid(history->view) ? history->view_label : table->label;
}

Oid
pe_history_table(Oid view)
{
	Oid types[] = {OIDOID};
	Datum values[] = {ObjectIdGetDatum(view)};
	bool isnull;
	Oid relid;

	pe_owner_execute(
	    "SELECT DISTINCT c.oid FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass"
	    " AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass"
	    " JOIN pg_class c ON c.oid = d.refobjid AND c.relkind = 'p' WHERE r.ev_class = $1",
	    1, types, values, NULL, true, 2);
	if (SPI_processed != 1)
		return InvalidOid;
	relid = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	return pe_history_open(pe_snapshot_table_load(relid), false)->view == view ? relid : InvalidOid;
}

void
pe_history_hold(const PeSnapshotTable *table)
{
	PeHistory *history = pe_history_open(table, false);

	if (OidIsValid(history->view))
		LockRelationOid(history->view, AccessShareLock);
}

/* ---- making the store ------------------------------------------------------------------- */

/* Whoever may read the table may read its history. */
static void
copy_grants(const PeHistory *history, const char *label)
{
	Oid types[] = {OIDOID};
	Datum values[] = {ObjectIdGetDatum(history->table->relid)};
	List *statements = NIL;
	ListCell *cell;

	if (SPI_execute_with_args(
	        "SELECT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(r.rolname) END"
	        " FROM pg_catalog.pg_class c CROSS JOIN LATERAL pg_catalog.aclexplode(c.relacl) a"
	        " LEFT JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) a.grantee"
	        " WHERE c.oid OPERATOR(pg_catalog.=) $1 AND a.privilege_type OPERATOR(pg_catalog.=) 'SELECT'"
	        " AND a.grantee OPERATOR(pg_catalog.<>) c.relowner",
	        1, types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the grants of %s", history->table->label);
	for (uint64 i = 0; i < SPI_processed; i++)
		statements =
		    lappend(statements, psprintf("GRANT SELECT ON %s TO %s", label,
		                                 SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1)));
	foreach (cell, statements)
		load_execute(lfirst(cell));
}

static Oid
owner_of(Oid relid)
{
	Relation rel = relation_open(relid, AccessShareLock);
	Oid owner = rel->rd_rel->relowner;

	relation_close(rel, NoLock);
	return owner;
}

static void
give_to_owner(const PeHistory *history, const char *label, const char *kind)
{
	Oid owner = owner_of(history->table->relid);

	if (owner != GetUserId())
		load_execute(psprintf("ALTER %s %s OWNER TO %s", kind, label,
		                      quote_identifier(GetUserNameFromId(owner, false))));
}

static void
make_store(PeHistory *history)
{
	load_execute(
	    psprintf("CREATE TABLE %s (valid_from pg_catalog.date NOT NULL, valid_to pg_catalog.date NOT NULL)",
	             history->store_label));
	load_execute(psprintf("COMMENT ON TABLE %s IS %s", history->store_label,
	                      quote_literal_cstr(psprintf("older days of %s as changes, %s: read them in %s",
	                                                  history->table->label, mark, history->view_label))));
	load_execute(
	    psprintf("COMMENT ON COLUMN %s.valid_from IS 'first day with this row'", history->store_label));
	load_execute(psprintf(
	    "COMMENT ON COLUMN %s.valid_to IS 'last day with this row; infinity: the newest day here has it'",
	    history->store_label));
	history->store = get_relname_relid(makeObjectName(history->table->name, NULL, STORE_SUFFIX),
	                                   get_rel_namespace(history->table->relid));
	give_to_owner(history, history->store_label, "TABLE");
	copy_grants(history, history->store_label);
}

static void
add_column(const PeHistory *history, Form_pg_attribute attribute, const char *path)
{
	const char *name = NameStr(attribute->attname);

	load_execute(psprintf(
	    "ALTER TABLE %s ADD COLUMN %s", history->store_label,
	    load_column_definition(name, attribute->atttypid, attribute->atttypmod, attribute->attcollation)));
	if (path != NULL)
		load_execute(psprintf("COMMENT ON COLUMN %s.%s IS %s", history->store_label, quote_identifier(name),
		                      quote_literal_cstr(psprintf("XDM path %s", path))));
}

/* A column of the store, which must be of the table's type. */
static bool
has_column(const PeHistory *history, Form_pg_attribute attribute)
{
	const char *name = NameStr(attribute->attname);
	AttrNumber number = get_attnum(history->store, name);
	Oid type;
	int32 typmod;
	Oid collation;

	if (number == InvalidAttrNumber)
		return false;
	get_atttypetypmodcoll(history->store, number, &type, &typmod, &collation);
	if (type != attribute->atttypid || typmod != attribute->atttypmod)
		ereport(ERROR,
		        (errcode(ERRCODE_DATATYPE_MISMATCH),
		         errmsg("column \"%s\" is of type %s in %s and of type %s in %s", name,
		                format_type_with_typemod(attribute->atttypid, attribute->atttypmod),
		                history->table->label, format_type_with_typemod(type, typmod), history->store_label),
		         errhint("Change the type of the older column, or rename it: it stays readable.")));
	return true;
}

void
pe_history_make(PeHistory *history)
{
	Relation rel = relation_open(history->table->relid, AccessShareLock);
	TupleDesc desc = CreateTupleDescCopy(RelationGetDescr(rel));
	bool alone = !OidIsValid(history->store);

	relation_close(rel, NoLock);
	if (!OidIsValid(history->store))
		make_store(history);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (attribute->attisdropped || strcmp(NameStr(attribute->attname), LOAD_DATE_COLUMN) == 0)
			continue;
		if (strcmp(NameStr(attribute->attname), "valid_from") == 0 ||
		    strcmp(NameStr(attribute->attname), "valid_to") == 0)
			ereport(ERROR, (errcode(ERRCODE_DUPLICATE_COLUMN),
			                errmsg("%s has a column \"%s\", which its history needs for itself",
			                       history->table->label, NameStr(attribute->attname)),
			                errhint("Rename the column.")));
		if (has_column(history, attribute))
			continue;
		if (!alone)
			load_lock_exclusive(load_target_open(history->table->label, 0));
		alone = true;
		add_column(history, attribute, load_path_of_column(history->table->relid, attribute->attnum));
	}
	FreeTupleDesc(desc);
	CommandCounterIncrement();
}

/* ---- the view --------------------------------------------------------------------------- */

static void
list_column(List **columns, const char *name)
{
	ListCell *cell;

	foreach (cell, *columns)
		if (strcmp(lfirst(cell), name) == 0)
			return;
	*columns = lappend(*columns, pstrdup(name));
}

static void
list_columns(List **columns, Oid relid)
{
	Relation rel;

	if (!OidIsValid(relid))
		return;
	rel = relation_open(relid, AccessShareLock);
	for (int i = 0; i < RelationGetDescr(rel)->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(rel), i);
		const char *name = NameStr(attribute->attname);

		if (!attribute->attisdropped && strcmp(name, "valid_from") != 0 && strcmp(name, "valid_to") != 0)
			list_column(columns, name);
	}
	relation_close(rel, NoLock);
}

/* What a relation has for a column of the view: the column, or NULL of the other's type. */
static char *
expression_of(Oid relid, Oid other, const char *alias, const char *name)
{
	AttrNumber number = get_attnum(relid, name);
	Oid type;
	int32 typmod;
	Oid collation;

	if (number != InvalidAttrNumber)
		return psprintf("%s.%s", alias, quote_identifier(name));
	get_atttypetypmodcoll(other, get_attnum(other, name), &type, &typmod, &collation);
	return psprintf("NULL::%s AS %s",
	                format_type_extended(type, typmod, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY),
	                quote_identifier(name));
}

/* (DATE '...'), ...: the days of the store; NULL when there are none. */
static char *
store_days(const PeHistory *history)
{
	Oid types[] = {TEXTOID, TEXTOID};
	Datum values[] = {CStringGetTextDatum(history->table->schema),
	                  CStringGetTextDatum(get_rel_name(history->store))};

	pe_owner_execute("SELECT string_agg(format('(DATE %L)', snapshot_date), ', ' ORDER BY snapshot_date)"
	                 " FROM profenrich.snapshot_compacted WHERE schema_name = $1 AND store_name = $2",
	                 2, types, values, NULL, false, 1);
	return SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
}

void
pe_history_write_view(PeHistory *history)
{
	bool made = !OidIsValid(history->view);
	char *days = store_days(history);
	List *columns = NIL;
	StringInfoData table, store;
	ListCell *cell;

	/* A view keeps its columns where they are; new ones come last. */
	list_columns(&columns, history->view);
	list_columns(&columns, history->table->relid);
	list_columns(&columns, history->store);
	initStringInfo(&table);
	initStringInfo(&store);
	foreach (cell, columns)
	{
		const char *name = lfirst(cell);
		const char *separator = table.len > 0 ? ", " : "";
		bool is_date = strcmp(name, LOAD_DATE_COLUMN) == 0;

		appendStringInfo(&table, "%s%s", separator,
		                 expression_of(history->table->relid, history->store, "t", name));
		appendStringInfo(&store, "%s%s", separator,
		                 is_date ? "d." LOAD_DATE_COLUMN
		                         : expression_of(history->store, history->table->relid, "c", name));
	}
	load_execute(psprintf(
	    "CREATE OR REPLACE VIEW %s WITH (security_invoker = true) AS SELECT %s FROM %s AS t%s",
	    history->view_label, table.data, history->table->label,
	    days == NULL ? ""
	                 : psprintf(" UNION ALL SELECT %s FROM (VALUES %s) AS d(" LOAD_DATE_COLUMN ")"
	                            " JOIN %s AS c ON d." LOAD_DATE_COLUMN " OPERATOR(pg_catalog.>=) c.valid_from"
	                            " AND d." LOAD_DATE_COLUMN " OPERATOR(pg_catalog.<=) c.valid_to",
	                            store.data, days, history->store_label)));
	if (!made)
		return;
	load_execute(psprintf("COMMENT ON VIEW %s IS %s", history->view_label,
	                      quote_literal_cstr(psprintf("every day of %s, %s", history->table->label, mark))));
	give_to_owner(history, history->view_label, "VIEW");
	copy_grants(history, history->view_label);
	history->view = get_relname_relid(makeObjectName(history->table->name, NULL, VIEW_SUFFIX),
	                                  get_rel_namespace(history->table->relid));
}

/* ---- its days --------------------------------------------------------------------------- */

bool
pe_history_newest(const PeHistory *history, DateADT *date)
{
	Oid types[] = {TEXTOID, TEXTOID};
	Datum values[] = {CStringGetTextDatum(history->table->schema),
	                  CStringGetTextDatum(get_rel_name(history->store))};
	bool isnull;
	Datum value;

	pe_owner_execute("SELECT max(snapshot_date) FROM profenrich.snapshot_compacted"
	                 " WHERE schema_name = $1 AND store_name = $2",
	                 2, types, values, NULL, false, 1);
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	if (!isnull)
		*date = DatumGetDateADT(value);
	return !isnull;
}

/* Rows that ended before the first day that is left serve no day. */
static void
prune(const PeHistory *history)
{
	Oid types[] = {TEXTOID, TEXTOID};
	Datum values[] = {CStringGetTextDatum(history->table->schema),
	                  CStringGetTextDatum(get_rel_name(history->store))};
	char *first;

	pe_owner_execute("SELECT min(snapshot_date) FROM profenrich.snapshot_compacted"
	                 " WHERE schema_name = $1 AND store_name = $2",
	                 2, types, values, NULL, false, 1);
	first = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	if (first == NULL)
		load_execute(psprintf("DELETE FROM %s", history->store_label));
	else
		load_execute(psprintf("DELETE FROM %s WHERE valid_to OPERATOR(pg_catalog.<) '%s'::pg_catalog.date",
		                      history->store_label, first));
}

bool
pe_history_drop_day(PeHistory *history, DateADT date)
{
	Oid types[] = {TEXTOID, TEXTOID, DATEOID};
	Datum values[] = {CStringGetTextDatum(history->table->schema), (Datum) 0, DateADTGetDatum(date)};

	if (!OidIsValid(history->store))
		return false;
	values[1] = CStringGetTextDatum(get_rel_name(history->store));
	pe_owner_execute("DELETE FROM profenrich.snapshot_compacted"
	                 " WHERE schema_name = $1 AND store_name = $2 AND snapshot_date = $3",
	                 3, types, values, NULL, false, 0);
	if (SPI_processed == 0)
		return false;
	prune(history);
	pe_history_write_view(history);
	return true;
}

Oid
pe_history_view_to_change(Oid parent, DateADT date, bool new_columns)
{
	PeHistory *history = pe_history_open(pe_snapshot_table_load(parent), false);
	DateADT newest;

	if (!OidIsValid(history->store))
		return InvalidOid;
	if (!new_columns && (!pe_history_newest(history, &newest) || date > newest))
		return InvalidOid;
	return history->view;
}

void
pe_history_follow(Oid parent, DateADT date, bool new_columns)
{
	PeHistory *history = pe_history_open(pe_snapshot_table_load(parent), false);

	if (!OidIsValid(history->store))
		return;
	if (!pe_history_drop_day(history, date) && (new_columns || !OidIsValid(history->view)))
		pe_history_write_view(history);
}
