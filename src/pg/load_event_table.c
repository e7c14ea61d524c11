/*
 * load_event_table.c
 *		A table of events: whole batches come in and go out of it.
 *
 * The table is the user's: it may have indexes, triggers, row security, partitions. So rows are
 * read into a temporary table, and go from there through the executor, as the caller.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/varlena.h"

#include "pg/load_event_table.h"
#include "pg/load_forgotten.h"

#define ASIDE "profenrich_events"
#define LINKS "profenrich_identities"

static const char *const own_columns[] = {EVENT_BATCH_COLUMN, EVENT_NAMESPACE_COLUMN, EVENT_KEY_COLUMN};

static bool
is_own(const char *name)
{
	for (int i = 0; i < lengthof(own_columns); i++)
	{
		if (strcmp(own_columns[i], name) == 0)
			return true;
	}
	return false;
}

/* Our columns among the existing ones as such that no field of a file fills. */
static void
mark_own_columns(LoadTarget *target)
{
	LoadExisting *existing = palloc0(sizeof(LoadExisting) * (target->nexisting + lengthof(own_columns)));
	int found = 0;

	if (target->nexisting > 0)
		memcpy(existing, target->existing, sizeof(LoadExisting) * target->nexisting);
	for (int i = 0; i < target->nexisting; i++)
	{
		if (!is_own(existing[i].name))
			continue;
		existing[i].generated = true;
		found += existing[i].type == TEXTOID;
	}
	if (OidIsValid(target->relid) && found < lengthof(own_columns))
		ereport(
		    ERROR,
		    (errcode(ERRCODE_WRONG_OBJECT_TYPE),
		     errmsg("cannot load events into %s: it lacks the columns of a table of events", target->label),
		     errhint("Name a table that does not exist yet, or one with the columns %s, %s and %s of "
		             "type text.",
		             EVENT_BATCH_COLUMN, EVENT_NAMESPACE_COLUMN, EVENT_KEY_COLUMN)));
	for (int i = 0; !OidIsValid(target->relid) && i < lengthof(own_columns); i++)
	{
		existing[target->nexisting].name = own_columns[i];
		existing[target->nexisting].type = TEXTOID;
		existing[target->nexisting].typmod = -1;
		existing[target->nexisting++].generated = true;
	}
	target->existing = existing;
}

LoadTarget *
load_event_table_open(const char *into_table)
{
	LoadTarget *target = load_target_open_plain(into_table);

	load_lock_name(target);
	/* Another load may have made or changed it while we waited. */
	target = load_target_open_plain(into_table);
	mark_own_columns(target);
	return target;
}

void
load_event_table_check_mapping(const LoadMapping *mapping)
{
	for (int i = 0; mapping != NULL && i < mapping->count; i++)
	{
		if (is_own(mapping->items[i].column))
			ereport(ERROR, (errcode(ERRCODE_INVALID_NAME),
			                errmsg("columns: the name \"%s\" is reserved", mapping->items[i].column)));
	}
}

/* ---- keys ---- */

/* SQL for the identity map of a row p of the relation; raises when it has none. */
static char *
map_of_profiles(Oid relid, const char *profiles)
{
	Relation rel = relation_open(relid, AccessShareLock);
	TupleDesc desc = RelationGetDescr(rel);
	char *map = NULL;

	for (int i = 0; i < desc->natts && map == NULL; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);
		const char *path = load_path_of_column(relid, attr->attnum);

		if (!attr->attisdropped && attr->atttypid == JSONBOID &&
		    ((path != NULL && strcmp(path, "identityMap") == 0) ||
		     strcmp(NameStr(attr->attname), EVENT_MAP_COLUMN) == 0))
			map = psprintf("p.%s", quote_identifier(NameStr(attr->attname)));
	}
	relation_close(rel, NoLock);
	if (map != NULL)
		return map;
	if (get_attnum(relid, LOAD_REST_COLUMN) != InvalidAttrNumber &&
	    get_atttype(relid, get_attnum(relid, LOAD_REST_COLUMN)) == JSONBOID)
		return "(p." LOAD_REST_COLUMN " OPERATOR(pg_catalog.->) 'identityMap'::pg_catalog.text)";
	ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
	                errmsg("\"%s\" has no column with the identity map of its profiles", profiles),
	                errhint("Load profiles without columns, or map one to the path identityMap.")));
	return NULL; /* not reached */
}

static Oid
relation_of(const char *name)
{
	return RangeVarGetRelid(makeRangeVarFromNameList(textToQualifiedNameList(cstring_to_text(name))),
	                        AccessShareLock, false);
}

static void
execute_with_namespaces(const char *sql, const EventKeys *keys, uint64 *processed)
{
	Oid types[] = {TEXTARRAYOID};
	Datum values[] = {keys->namespaces};
	char nulls[] = {keys->namespaces != 0 ? ' ' : 'n', '\0'};
	int result = SPI_execute_with_args(sql, 1, types, values, nulls, false, 0);

	if (result < 0)
		elog(ERROR, "statement of the load failed: %s", SPI_result_code_string(result));
	if (processed != NULL)
		*processed = SPI_processed;
}

/* What an earlier call in this transaction has made; IF EXISTS would say so when there is nothing. */
static void
drop_temporary(char *name)
{
	if (OidIsValid(RangeVarGetRelid(makeRangeVar("pg_temp", name, -1), NoLock, true)))
		load_execute(psprintf("DROP TABLE pg_temp.%s", name));
}

void
load_event_table_link(const EventKeys *keys)
{
	Oid relid;

	if (keys->profiles == NULL)
		return;
	relid = relation_of(keys->profiles);
	drop_temporary(LINKS);
	load_execute("CREATE TEMPORARY TABLE " LINKS
	             " (namespace pg_catalog.text, id pg_catalog.text, key_namespace pg_catalog.text,"
	             " key pg_catalog.text) ON COMMIT DROP");
	/* An id that several profiles have belongs to the smallest key. */
	execute_with_namespaces(
	    psprintf("INSERT INTO pg_temp." LINKS " SELECT DISTINCT ON (i.namespace, i.id COLLATE "
	             "pg_catalog.\"C\") i.namespace, i.id, k.namespace, k.id"
	             " FROM %1$s p CROSS JOIN LATERAL profenrich.identity_key(%2$s, $1) k"
	             " CROSS JOIN LATERAL profenrich.identities(%2$s) i"
	             " ORDER BY i.namespace, i.id COLLATE pg_catalog.\"C\", k.namespace, k.id COLLATE "
	             "pg_catalog.\"C\"",
	             load_qualify(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid)),
	             map_of_profiles(relid, keys->profiles)),
	    keys, NULL);
	load_execute("CREATE INDEX ON pg_temp." LINKS " (namespace, id)");
	load_execute("ANALYZE pg_temp." LINKS);
}

/* ---- the table ---- */

static void
create_table(LoadTarget *target, const LoadPlan *plan)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE TABLE %s (", target->label);
	for (int i = 0; i < lengthof(own_columns); i++)
		appendStringInfo(&sql, "%s%s pg_catalog.text%s", i > 0 ? ", " : "", own_columns[i],
		                 i == 0 ? " NOT NULL" : "");
	for (int i = 0; i < plan->count; i++)
	{
		const LoadColumn *column = &plan->columns[i];

		appendStringInfo(
		    &sql, ", %s",
		    load_column_definition(column->name, column->type, column->typmod, column->collation));
	}
	appendStringInfoString(&sql, ")");
	load_execute(sql.data);
	load_execute(psprintf("COMMENT ON COLUMN %s." EVENT_BATCH_COLUMN " IS 'batch that the event came in'",
	                      target->label));
	load_execute(psprintf("COMMENT ON COLUMN %s." EVENT_NAMESPACE_COLUMN " IS 'namespace of profile_key'",
	                      target->label));
	load_execute(psprintf("COMMENT ON COLUMN %s." EVENT_KEY_COLUMN
	                      " IS 'the profile''s key: of the preferred namespace, then the smallest id'",
	                      target->label));
	for (int i = 0; i < plan->count; i++)
		load_comment_path(target->label, &plan->columns[i]);
	load_execute(psprintf("CREATE INDEX ON %s (" EVENT_BATCH_COLUMN ")", target->label));
	load_execute(psprintf("CREATE INDEX ON %s (" EVENT_KEY_COLUMN ")", target->label));
	target->relid = get_relname_relid(target->name, target->namespaceid);
}

static void
add_columns(const LoadTarget *target, const LoadPlan *plan)
{
	for (int i = 0; i < plan->count; i++)
	{
		const LoadColumn *column = &plan->columns[i];

		if (get_attnum(target->relid, column->name) != InvalidAttrNumber)
			continue;
		load_execute(
		    psprintf("ALTER TABLE %s ADD COLUMN %s", target->label,
		             load_column_definition(column->name, column->type, column->typmod, column->collation)));
		load_comment_path(target->label, column);
	}
}

void
load_event_table_shape(LoadTarget *target, const LoadPlan *plan)
{
	if (OidIsValid(target->relid))
		add_columns(target, plan);
	else
		create_table(target, plan);
}

LoadWriter *
load_event_table_aside(const LoadTarget *target, LoadPlan *plan)
{
	bool *filled = palloc0(sizeof(bool) * MaxHeapAttributeNumber);
	StringInfoData sql;
	LoadWriter *writer;
	Oid relid;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "CREATE TEMPORARY TABLE " ASIDE " (" EVENT_BATCH_COLUMN " pg_catalog.text");
	for (int i = 0; i < plan->count; i++)
	{
		const LoadColumn *column = &plan->columns[i];

		appendStringInfo(
		    &sql, ", %s",
		    load_column_definition(column->name, column->type, column->typmod, column->collation));
	}
	appendStringInfoString(&sql, ") ON COMMIT DROP");
	drop_temporary(ASIDE);
	load_execute(sql.data);
	relid = RangeVarGetRelid(makeRangeVar("pg_temp", ASIDE, -1), NoLock, false);
	filled[0] = true;
	for (int i = 0; i < plan->count; i++)
	{
		plan->columns[i].attnum = get_attnum(relid, plan->columns[i].name);
		filled[plan->columns[i].attnum - 1] = true;
	}
	writer = load_writer_open(relid, filled, true, 1, (Datum) 0);
	load_writer_leave_out(writer, load_forgotten_open(plan));
	return writer;
}

/* INSERT ... SELECT: a row's key is that of the profile it is linked to, else its own. */
static char *
insert_statement(const LoadTarget *target, const LoadPlan *plan, const EventKeys *keys)
{
	StringInfoData columns;
	StringInfoData values;
	bool linked = keys->profiles != NULL;

	initStringInfo(&columns);
	initStringInfo(&values);
	for (int i = 0; i < plan->count; i++)
	{
		appendStringInfo(&columns, ", %s", quote_identifier(plan->columns[i].name));
		appendStringInfo(&values, ", s.%s", quote_identifier(plan->columns[i].name));
	}
	return psprintf(
	    "INSERT INTO %s (" EVENT_BATCH_COLUMN ", " EVENT_NAMESPACE_COLUMN ", " EVENT_KEY_COLUMN "%s)"
	    " SELECT s." EVENT_BATCH_COLUMN ", %s%s FROM pg_temp." ASIDE " s"
	    " LEFT JOIN LATERAL profenrich.identity_key(s." EVENT_MAP_COLUMN ", $1) k ON true%s",
	    target->label, columns.data,
	    linked ? "COALESCE(l.key_namespace, k.namespace), COALESCE(l.key, k.id)" : "k.namespace, k.id",
	    values.data,
	    linked ? " LEFT JOIN LATERAL (SELECT g.key_namespace, g.key"
	             " FROM profenrich.identities(s." EVENT_MAP_COLUMN ") i"
	             " JOIN pg_temp." LINKS " g ON g.namespace OPERATOR(pg_catalog.=) i.namespace"
	             " AND g.id OPERATOR(pg_catalog.=) i.id"
	             " ORDER BY (i.namespace OPERATOR(pg_catalog.=) k.namespace AND i.id OPERATOR(pg_catalog.=) "
	             "k.id) DESC,"
	             " g.key_namespace, g.key COLLATE pg_catalog.\"C\" LIMIT 1) l ON true"
	           : "");
}

/* An error of a constraint would show the row. */
static uint64
insert_rows(const LoadTarget *target, const LoadPlan *plan, const EventKeys *keys)
{
	MemoryContext context = CurrentMemoryContext;
	uint64 inserted = 0;

	load_position.file = NULL;
	PG_TRY();
	{
		execute_with_namespaces(insert_statement(target, plan, keys), keys, &inserted);
	}
	PG_CATCH();
	{
		load_rethrow_constraint(context, target->label);
	}
	PG_END_TRY();
	return inserted;
}

int64
load_event_table_take(const LoadTarget *target, const LoadPlan *plan, const EventKeys *keys,
                      LoadWriter *writer)
{
	int64 rows;

	if (load_writer_left_out(writer) > 0)
		ereport(NOTICE, (errmsg(INT64_FORMAT " rows of forgotten profiles were left out",
		                        load_writer_left_out(writer))));
	load_writer_close(writer);
	CommandCounterIncrement();
	rows = (int64) insert_rows(target, plan, keys);
	load_execute("DROP TABLE pg_temp." ASIDE);
	return rows;
}

int64
load_event_table_delete(const LoadTarget *target, const char *batch)
{
	Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(batch)};
	int result = SPI_execute_with_args(
	    psprintf("DELETE FROM %s WHERE " EVENT_BATCH_COLUMN " OPERATOR(pg_catalog.=) $1", target->label), 1,
	    types, values, NULL, false, 0);

	if (result < 0)
		elog(ERROR, "statement of the load failed: %s", SPI_result_code_string(result));
	return (int64) SPI_processed;
}
