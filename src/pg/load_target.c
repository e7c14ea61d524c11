/*
 * load_target.c
 *		The table that is loaded into, and the partition that is built aside of it.
 *
 * While files are read no lock on the parent is kept: what there is to know of it is
 * copied, so that two loads for different days run side by side and neither blocks
 * a reader. load_publish.c looks again under the lock.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/toast_compression.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_index.h"
#include "catalog/pg_tablespace.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/comment.h"
#include "commands/defrem.h"
#include "commands/tablespace.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "parser/parse_utilcmd.h"
#include "partitioning/partdesc.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/ruleutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "pg/compat.h"
#include "pg/load.h"

/* A column's comment, when the loader wrote it: the path is what follows. */
static const char comment_prefix[] = "XDM path ";

char *
load_qualify(const char *schema, const char *name)
{
	return quote_qualified_identifier(schema, name);
}

char *
load_date_text(DateADT date)
{
	int year, month, day;

	j2date(date + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	return psprintf("%04d-%02d-%02d", year, month, day);
}

void
load_execute(const char *sql)
{
	int result = SPI_execute(sql, false, 0);

	if (result < 0)
		elog(ERROR, "statement of the load failed: %s", SPI_result_code_string(result));
}

/* A small sample is enough for plans right after the load, and costs less of its time. */
void
load_analyze(const char *label)
{
	int level = NewGUCNestLevel();

	set_config_option("default_statistics_target", "10", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
	                  false);
	load_execute(psprintf("ANALYZE %s", label));
	AtEOXact_GUC(true, level);
}

static void
refuse(const LoadTarget *target, const char *what, const char *hint)
{
	ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
	                errmsg("cannot load into %s: %s", target->label, what), errhint("%s", hint)));
}

/* LIST (snapshot_date), on a column of type date. */
static void
check_partitioning(const LoadTarget *target, Relation rel)
{
	const char *hint =
	    "Name a table that does not exist yet, or one made with PARTITION BY LIST (snapshot_date), "
	    "snapshot_date being of type date.";
	PartitionKey key;

	if (rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		refuse(target, "it is not a partitioned table", hint);
	key = RelationGetPartitionKey(rel);
	if (key->strategy != PARTITION_STRATEGY_LIST || key->partnatts != 1 || key->partattrs[0] == 0 ||
	    strcmp(NameStr(TupleDescAttr(RelationGetDescr(rel), key->partattrs[0] - 1)->attname),
	           LOAD_DATE_COLUMN) != 0 ||
	    key->parttypid[0] != DATEOID)
		refuse(target, "it is not partitioned by list on snapshot_date", hint);
}

/* What a multi-insert into a table aside would pass by. */
static void
check_features(const LoadTarget *target, Relation rel)
{
	TupleDesc desc = RelationGetDescr(rel);

	if (rel->trigdesc != NULL)
	{
		for (int i = 0; i < rel->trigdesc->numtriggers; i++)
		{
			Trigger *trigger = &rel->trigdesc->triggers[i];

			if (!trigger->tgisinternal && TRIGGER_FOR_INSERT(trigger->tgtype))
				refuse(target,
				       psprintf("it has the trigger \"%s\" on INSERT, which a bulk load does not fire",
				                trigger->tgname),
				       "Drop the trigger, or load into a table of its own and insert from there.");
		}
	}
	if (check_enable_rls(RelationGetRelid(rel), InvalidOid, true) == RLS_ENABLED)
		refuse(target, "row security applies to you there, which a bulk load does not check",
		       "Load as a role that is exempt from it.");
	for (int i = 0; i < desc->natts; i++)
	{
		if (TupleDescAttr(desc, i)->attidentity != '\0')
			refuse(target,
			       psprintf("column \"%s\" is an identity column", NameStr(TupleDescAttr(desc, i)->attname)),
			       "Drop the identity from the column, or load into a table of its own.");
	}
}

const char *
load_path_of_column(Oid relid, AttrNumber attnum)
{
	char *comment = GetComment(relid, RelationRelationId, attnum);

	if (comment == NULL || strncmp(comment, comment_prefix, sizeof(comment_prefix) - 1) != 0)
		return NULL;
	return comment + sizeof(comment_prefix) - 1;
}

/* The SQL text of a column's default or generation expression; NULL without. */
static char *
default_expression(Relation rel, AttrNumber attnum)
{
	TupleConstr *constr = RelationGetDescr(rel)->constr;

	for (int i = 0; constr != NULL && i < constr->num_defval; i++)
	{
		if (constr->defval[i].adnum == attnum)
			return TextDatumGetCString(DirectFunctionCall2(pg_get_expr,
			                                               CStringGetTextDatum(constr->defval[i].adbin),
			                                               ObjectIdGetDatum(RelationGetRelid(rel))));
	}
	return NULL;
}

static char *
collation_clause(Oid collation, Oid type)
{
	if (!OidIsValid(collation) || collation == get_typcollation(type))
		return "";
	return psprintf(" COLLATE %s", generate_collation_name(collation));
}

static char *
column_type(Oid type, int32 typmod)
{
	return format_type_extended(type, typmod, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
}

char *
load_column_definition(const char *name, Oid type, int32 typmod, Oid collation)
{
	return psprintf("%s %s%s", quote_identifier(name), column_type(type, typmod),
	                collation_clause(collation, type));
}

/* One column of the parent: how the partition must define it, and how it is stored. */
static void
copy_column(LoadTarget *target, Relation rel, Form_pg_attribute attr, StringInfo definitions)
{
	const char *name = quote_identifier(NameStr(attr->attname));
	char *expression = default_expression(rel, attr->attnum);

	appendStringInfo(
	    definitions, ", %s",
	    load_column_definition(NameStr(attr->attname), attr->atttypid, attr->atttypmod, attr->attcollation));
	if (expression != NULL && attr->attgenerated != '\0')
		appendStringInfo(definitions, " GENERATED ALWAYS AS (%s) STORED", expression);
	else if (expression != NULL)
		appendStringInfo(definitions, " DEFAULT %s", expression);
	if (attr->attnotnull)
		appendStringInfoString(definitions, " NOT NULL");
	if (attr->attstorage != get_typstorage(attr->atttypid))
		target->settings =
		    lappend(target->settings, psprintf("ALTER COLUMN %s SET STORAGE %s", name,
		                                       attr->attstorage == TYPSTORAGE_PLAIN      ? "PLAIN"
		                                       : attr->attstorage == TYPSTORAGE_EXTERNAL ? "EXTERNAL"
		                                       : attr->attstorage == TYPSTORAGE_MAIN     ? "MAIN"
		                                                                                 : "EXTENDED"));
	if (attr->attcompression != '\0')
		target->settings =
		    lappend(target->settings, psprintf("ALTER COLUMN %s SET COMPRESSION %s", name,
		                                       GetCompressionMethodName(attr->attcompression)));
}

static void
copy_columns(LoadTarget *target, Relation rel)
{
	TupleDesc desc = RelationGetDescr(rel);
	StringInfoData definitions;

	initStringInfo(&definitions);
	target->existing = palloc0(sizeof(LoadExisting) * desc->natts);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);
		LoadExisting *column;

		if (attr->attisdropped)
			continue;
		copy_column(target, rel, attr, &definitions);
		if (strcmp(NameStr(attr->attname), LOAD_DATE_COLUMN) == 0)
			continue;
		if (attr->attnotnull)
			target->checked = true;
		column = &target->existing[target->nexisting++];
		column->name = pstrdup(NameStr(attr->attname));
		column->path = load_path_of_column(target->relid, attr->attnum);
		column->type = attr->atttypid;
		column->typmod = attr->atttypmod;
		column->collation = attr->attcollation;
		column->generated = attr->attgenerated != '\0';
	}
	target->definitions = definitions.data;
}

static void
copy_constraints(LoadTarget *target, Relation rel)
{
	Relation catalog = table_open(ConstraintRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_pg_constraint_conrelid, BTEqualStrategyNumber, F_OIDEQ,
	            ObjectIdGetDatum(RelationGetRelid(rel)));
	scan = systable_beginscan(catalog, ConstraintRelidTypidNameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(tuple);

		if (form->contype == CONSTRAINT_CHECK)
			target->constraints = lappend(
			    target->constraints, psprintf("CONSTRAINT %s %s", quote_identifier(NameStr(form->conname)),
			                                  TextDatumGetCString(DirectFunctionCall1(
			                                      pg_get_constraintdef, ObjectIdGetDatum(form->oid)))));
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
}

/* Resolve the name: an existing table in the search path, or the schema to make it in. */
static void
resolve_name(LoadTarget *target, const char *into_table)
{
	List *names;
	RangeVar *range;

	if (into_table[0] == '\0')
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("into_table is empty"),
		                errhint("Name the table to load into, such as 'profiles'.")));
	names = textToQualifiedNameList(cstring_to_text(into_table));
	range = makeRangeVarFromNameList(names);
	target->relid = RangeVarGetRelid(range, NoLock, true);
	if (OidIsValid(target->relid))
		target->namespaceid = get_rel_namespace(target->relid);
	else
		target->namespaceid = RangeVarGetCreationNamespace(range);
	target->schema = get_namespace_name(target->namespaceid);
	target->name = pstrdup(range->relname);
	if (target->schema == NULL)
		ereport(ERROR,
		        (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("table \"%s\" was dropped just now", into_table)));
	target->label = load_qualify(target->schema, target->name);
	if (isAnyTempNamespace(target->namespaceid))
		refuse(target, "it is a temporary table", "Load into a permanent table.");
}

/* May the caller make the table, or does he own it? */
static void
check_rights(const LoadTarget *target)
{
	if (!OidIsValid(target->relid))
	{
		AclResult allowed = pe_namespace_aclcheck(target->namespaceid, GetUserId(), ACL_CREATE);

		if (allowed != ACLCHECK_OK)
			aclcheck_error(allowed, OBJECT_SCHEMA, target->schema);
	}
	else if (!pe_relation_ownercheck(target->relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(get_rel_relkind(target->relid)), target->name);
}

static LoadTarget *
begin_target(const char *into_table)
{
	LoadTarget *target = palloc0(sizeof(LoadTarget));

	target->tablespace = "";
	target->definitions = "";
	target->owner = GetUserId();
	resolve_name(target, into_table);
	return target;
}

LoadTarget *
load_target_open(const char *into_table, DateADT date)
{
	LoadTarget *target = begin_target(into_table);
	Relation rel = OidIsValid(target->relid) ? relation_open(target->relid, AccessShareLock) : NULL;

	target->date = date;
	check_rights(target);
	if (rel == NULL)
		return target;
	check_partitioning(target, rel);
	check_features(target, rel);
	copy_columns(target, rel);
	copy_constraints(target, rel);
	if (target->constraints != NIL)
		target->checked = true;
	target->owner = rel->rd_rel->relowner;
	if (OidIsValid(rel->rd_rel->reltablespace))
		target->tablespace =
		    psprintf(" TABLESPACE %s", quote_identifier(get_tablespace_name(rel->rd_rel->reltablespace)));
	relation_close(rel, AccessShareLock);
	return target;
}

LoadTarget *
load_target_open_plain(const char *into_table)
{
	LoadTarget *target = begin_target(into_table);
	Relation rel = OidIsValid(target->relid) ? relation_open(target->relid, AccessShareLock) : NULL;

	check_rights(target);
	if (rel == NULL)
		return target;
	if (rel->rd_rel->relkind != RELKIND_RELATION && rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		refuse(target, "it is not a table", "Name a table, or one that does not exist yet.");
	copy_columns(target, rel);
	relation_close(rel, AccessShareLock);
	return target;
}

char *
load_partition_name(const LoadTarget *target)
{
	char *date = load_date_text(target->date);
	char label[32];

	snprintf(label, sizeof(label), "p%.4s%.2s%.2s", date, date + 5, date + 8);
	return makeObjectName(target->name, NULL, label);
}

/* A name that nothing has yet; other loads into the same table have other process ids. */
static char *
free_name(const LoadTarget *target)
{
	char label[32];

	for (int i = 0;; i++)
	{
		char *name;

		snprintf(label, sizeof(label), "load_%d_%d", MyProcPid, i);
		name = makeObjectName(target->name, NULL, label);
		if (!OidIsValid(get_relname_relid(name, target->namespaceid)))
			return name;
	}
}

/*
 * A plain table like the parent, with the plan's new columns. The CHECK on the date
 * spares ATTACH PARTITION the scan for rows of other dates.
 */
void
load_target_create_aside(LoadTarget *target, LoadPlan *plan)
{
	StringInfoData sql;
	ListCell *cell;
	char *aside;

	target->aside = free_name(target);
	aside = load_qualify(target->schema, target->aside);
	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE TABLE %s (", aside);
	if (OidIsValid(target->relid))
		appendStringInfoString(&sql, target->definitions + 2);
	else
		appendStringInfo(&sql, "%s pg_catalog.date", LOAD_DATE_COLUMN);
	for (int i = 0; i < plan->count; i++)
	{
		const LoadColumn *column = &plan->columns[i];

		if (!column->existing)
			appendStringInfo(
			    &sql, ", %s",
			    load_column_definition(column->name, column->type, column->typmod, column->collation));
	}
	foreach (cell, target->constraints)
		appendStringInfo(&sql, ", %s", (char *) lfirst(cell));
	appendStringInfo(&sql, ")%s", target->tablespace);
	load_execute(sql.data);

	resetStringInfo(&sql);
	appendStringInfo(&sql,
	                 "ALTER TABLE %s ALTER COLUMN %s SET NOT NULL, ADD CONSTRAINT profenrich_load_date CHECK "
	                 "(%s OPERATOR(pg_catalog.=) DATE '%s')",
	                 aside, LOAD_DATE_COLUMN, LOAD_DATE_COLUMN, load_date_text(target->date));
	foreach (cell, target->settings)
		appendStringInfo(&sql, ", %s", (char *) lfirst(cell));
	load_execute(sql.data);
	if (target->owner != GetUserId())
	{
		resetStringInfo(&sql);
		appendStringInfo(&sql, "ALTER TABLE %s OWNER TO %s", aside,
		                 quote_identifier(GetUserNameFromId(target->owner, false)));
		load_execute(sql.data);
	}
	target->aside_relid = get_relname_relid(target->aside, target->namespaceid);
	for (int i = 0; i < plan->count; i++)
		plan->columns[i].attnum = get_attnum(target->aside_relid, plan->columns[i].name);
	pfree(sql.data);
}

/* The parent's indexes as statements on the table aside: no lock on the parent is kept. */
static List *
clone_indexes(Relation parent, Relation aside)
{
	List *statements = NIL;
	ListCell *cell;

	foreach (cell, RelationGetIndexList(parent))
	{
		Relation index = index_open(lfirst_oid(cell), AccessShareLock);
		IndexStmt *statement;
		Oid constraint;

		statement = generateClonedIndexStmt(
		    NULL, index, pe_attribute_map(RelationGetDescr(aside), RelationGetDescr(parent)), &constraint);
		index_close(index, AccessShareLock);
		statements = lappend(statements, statement);
	}
	return statements;
}

static void
define_indexes(LoadTarget *target, List *statements)
{
	ListCell *cell;

	foreach (cell, statements)
	{
		IndexStmt *statement = lfirst(cell);
		IndexElem *first = linitial(statement->indexParams);

		CHECK_FOR_INTERRUPTS();
		statement->idxname =
		    ChooseRelationName(load_partition_name(target), statement->primary ? NULL : first->name,
		                       statement->primary        ? "pkey"
		                       : statement->isconstraint ? "key"
		                                                 : "idx",
		                       target->namespaceid, statement->isconstraint);
		pe_define_index(target->aside_relid, statement);
		CommandCounterIncrement();
	}
}

/* A duplicate's error would show its key. */
static void
build_indexes(LoadTarget *target, List *statements)
{
	MemoryContext context = CurrentMemoryContext;

	load_position.file = NULL;
	PG_TRY();
	{
		define_indexes(target, statements);
	}
	PG_CATCH();
	{
		load_rethrow_constraint(context, target->label);
	}
	PG_END_TRY();
}

/*
 * Built before the parent is locked: ATTACH PARTITION takes an index that fits over
 * instead of building its own under the lock.
 */
void
load_target_build_indexes(LoadTarget *target)
{
	Relation parent, aside;
	List *statements;

	if (!OidIsValid(target->relid))
		return;
	parent = try_relation_open(target->relid, AccessShareLock);
	if (parent == NULL)
		return;
	aside = table_open(target->aside_relid, AccessShareLock);
	statements = clone_indexes(parent, aside);
	table_close(aside, NoLock);
	relation_close(parent, AccessShareLock);
	build_indexes(target, statements);
}
