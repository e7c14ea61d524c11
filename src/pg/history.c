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
#include "utils/snapmgr.h"

#include "pg/history.h"
#include "pg/load.h"
#include "pg/owner.h"
#include "pg/source.h"

#define STORE_SUFFIX "changes"
#define VIEW_SUFFIX  "history"

#define MARK "kept by profenrich"

static bool
is_ours(Oid relid, char relkind)
{
	char *comment = GetComment(relid, RelationRelationId, 0);

	return get_rel_relkind(relid) == relkind && comment != NULL && strstr(comment, MARK) != NULL;
}

/* What a query on our books and the catalogs finds of a table and, perhaps, a relation; InvalidOid: nothing.
 */
static Oid
look_up(const char *sql, Oid table, Oid relid)
{
	Oid types[] = {OIDOID, OIDOID};
	Datum values[] = {ObjectIdGetDatum(table), ObjectIdGetDatum(relid)};
	Oid found = InvalidOid;
	bool isnull;

	SPI_connect();
	pe_push_snapshot_of_now();
	pe_owner_execute(sql, 2, types, values, NULL, true, 1);
	if (SPI_processed == 1)
		found = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	PopActiveSnapshot();
	SPI_finish();
	return found;
}

#define TABLES_OF_VIEWS                                                                                      \
	" FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid"          \
	" AND d.refclassid = 'pg_class'::regclass JOIN pg_class c ON c.oid = d.refobjid AND c.relkind = 'p'"

/*
 * Where a table of snapshots was renamed another may have got its name, and one that was dropped leaves its
 * store: is a store or view that one's?
 */
static bool
is_of_other(Oid table, Oid relid)
{
	return OidIsValid(look_up("SELECT into_table FROM profenrich.snapshot_compacted WHERE store = $2"
	                          " AND into_table <> $1 UNION ALL SELECT c.oid" TABLES_OF_VIEWS
	                          " WHERE r.ev_class = $2 AND c.oid <> $1",
	                          table, relid));
}

/* The table's own under whatever name. A comment is easily made: the view must be the table's owner's, too.
 */
static Oid
find_renamed(Oid table, char relkind)
{
	if (relkind == RELKIND_RELATION)
		return look_up("SELECT o.oid FROM profenrich.snapshot_compacted k JOIN pg_class o ON o.oid = k.store"
		               " WHERE k.into_table = $1",
		               table, InvalidOid);
	return look_up("SELECT v.oid" TABLES_OF_VIEWS " JOIN pg_class v ON v.oid = r.ev_class"
	               " AND v.relowner = c.relowner WHERE c.oid = $1 AND v.relkind = 'v'"
	               " AND obj_description(v.oid, 'pg_class') LIKE 'every day of %" MARK "'",
	               table, InvalidOid);
}

static void
check_name_is_free(const PeSnapshotTable *table, const char *name)
{
	if (OidIsValid(get_relname_relid(name, get_rel_namespace(table->relid))))
		ereport(ERROR,
		        (errcode(ERRCODE_DUPLICATE_TABLE),
		         errmsg("\"%s\" is there already and was not made by profenrich for %s", name, table->label),
		         errhint("Rename or drop it: the history of %s needs the name.", table->label)));
}

/*
 * The table's store or view, InvalidOid when there is none: that of its name, or else the one that it had
 * when it, or they, had another.
 */
static Oid
find(const PeSnapshotTable *table, const char *name, char relkind, bool make)
{
	Oid relid = get_relname_relid(name, get_rel_namespace(table->relid));
	Oid renamed;

	if (OidIsValid(relid) && is_ours(relid, relkind) && !is_of_other(table->relid, relid))
		return relid;
	renamed = find_renamed(table->relid, relkind);
	if (!OidIsValid(renamed) && make)
		check_name_is_free(table, name);
	return renamed;
}

static char *
label_of(const PeSnapshotTable *table, Oid relid, const char *name)
{
	if (OidIsValid(relid))
		return load_qualify(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));
	return load_qualify(table->schema, name);
}

PeHistory *
pe_history_open(const PeSnapshotTable *table, bool make)
{
	PeHistory *history = palloc0(sizeof(PeHistory));
	char *store = makeObjectName(table->name, NULL, STORE_SUFFIX);
	char *view = makeObjectName(table->name, NULL, VIEW_SUFFIX);

	history->table = (PeSnapshotTable *) table;
	history->store = find(table, store, RELKIND_RELATION, make);
	history->view = find(table, view, RELKIND_VIEW, make);
	history->store_label = label_of(table, history->store, store);
	history->view_label = label_of(table, history->view, view);
	return history;
}

const char *
pe_history_relation(const PeSnapshotTable *table)
{
	PeHistory *history = pe_history_open(table, false);

	if (OidIsValid(history->view))
		return history->view_label;
	if (OidIsValid(find_renamed(table->relid, RELKIND_RELATION)))
		ereport(ERROR,
		        (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		         errmsg("the view %s of every day, by which compacted days are read, is not there",
		                history->view_label),
		         errhint("compact_history('%s'), called by the owner, makes it anew, as the next load does.",
		                 table->label)));
	return table->label;
}

Oid
pe_history_table(Oid view)
{
	Oid types[] = {OIDOID};
	Datum values[] = {ObjectIdGetDatum(view)};
	bool isnull;
	Oid relid;

	pe_owner_execute("SELECT DISTINCT c.oid" TABLES_OF_VIEWS " WHERE r.ev_class = $1", 1, types, values, NULL,
	                 true, 2);
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
	                                                  history->table->label, MARK, history->view_label))));
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
	Oid types[] = {REGCLASSOID};
	Datum values[] = {ObjectIdGetDatum(history->store)};

	pe_owner_execute("SELECT string_agg(format('(DATE %L)', snapshot_date), ', ' ORDER BY snapshot_date)"
	                 " FROM profenrich.snapshot_compacted WHERE store = $1",
	                 1, types, values, NULL, false, 1);
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

	if (made)
		check_name_is_free(history->table, makeObjectName(history->table->name, NULL, VIEW_SUFFIX));
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
	                      quote_literal_cstr(psprintf("every day of %s, %s", history->table->label, MARK))));
	give_to_owner(history, history->view_label, "VIEW");
	copy_grants(history, history->view_label);
	history->view = get_relname_relid(makeObjectName(history->table->name, NULL, VIEW_SUFFIX),
	                                  get_rel_namespace(history->table->relid));
}

/* ---- its days --------------------------------------------------------------------------- */

bool
pe_history_newest(const PeHistory *history, DateADT *date)
{
	Oid types[] = {REGCLASSOID};
	Datum values[] = {ObjectIdGetDatum(history->store)};
	bool isnull;
	Datum value;

	pe_owner_execute("SELECT max(snapshot_date) FROM profenrich.snapshot_compacted"
	                 " WHERE store = $1",
	                 1, types, values, NULL, false, 1);
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	if (!isnull)
		*date = DatumGetDateADT(value);
	return !isnull;
}

/* Rows that ended before the first day that is left serve no day. */
static void
prune(const PeHistory *history)
{
	Oid types[] = {REGCLASSOID};
	Datum values[] = {ObjectIdGetDatum(history->store)};
	char *first;

	pe_owner_execute("SELECT min(snapshot_date) FROM profenrich.snapshot_compacted"
	                 " WHERE store = $1",
	                 1, types, values, NULL, false, 1);
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
	Oid types[] = {REGCLASSOID, DATEOID};
	Datum values[] = {ObjectIdGetDatum(history->store), DateADTGetDatum(date)};

	if (!OidIsValid(history->store))
		return false;
	pe_owner_execute("DELETE FROM profenrich.snapshot_compacted WHERE store = $1 AND snapshot_date = $2", 2,
	                 types, values, NULL, false, 0);
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
	DateADT newest;

	if (!OidIsValid(history->store) || pe_history_drop_day(history, date))
		return;
	if (OidIsValid(history->view) ? new_columns : pe_history_newest(history, &newest))
		pe_history_write_view(history);
}
