/*
 * score_into.c
 *		score_into(): scores straight into a table.
 *
 * A plain heap table that has exactly our columns takes blocks of rows through its
 * multi-insert. Whatever needs more than that (indexes, constraints, triggers, rules,
 * row security, partitions, generated or further columns, Citus, foreign tables)
 * gets an INSERT ... SELECT through the executor, which knows all of it.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/varlena.h"

#include "pg/arguments.h"
#include "pg/audit.h"
#include "pg/score.h"

static const struct
{
	const char *name;
	Oid type;
	const char *sql_type;
} columns[PE_SCORE_COLUMNS] = {
    [PE_SCORE_KEY] = {"key", TEXTOID, "text"},
    [PE_SCORE_PREDICTION] = {"prediction", FLOAT8OID, "double precision"},
    [PE_SCORE_SCORE] = {"score", INT4OID, "integer"},
    [PE_SCORE_PERCENTILE] = {"percentile", INT4OID, "integer"},
    [PE_SCORE_BUCKET] = {"bucket", TEXTOID, "text"},
    [PE_SCORE_DETAIL] = {"detail", JSONBOID, "jsonb"},
    [PE_SCORE_REASONS] = {"reasons", JSONBOID, "jsonb"},
    [PE_SCORE_MODEL_VERSION] = {"model_version", INT4OID, "integer"},
    [PE_SCORE_SCORED_AT] = {"scored_at", TIMESTAMPTZOID, "timestamp with time zone"},
};

/* A table being filled block by block. */
typedef struct Filling
{
	Relation relation;
	TupleTableSlot *slots[PE_SCORE_BLOCK];
	int filled;
	int score_column[PE_SCORE_COLUMNS]; /* by attribute: which of our columns it is */
	BulkInsertState bulk;
	CommandId command;
	int options;
	MemoryContext scratch; /* of the insert itself */
} Filling;

static int
score_column_of(const char *name)
{
	for (int i = 0; i < PE_SCORE_COLUMNS; i++)
	{
		if (strcmp(columns[i].name, name) == 0)
			return i;
	}
	return -1;
}

/* Can blocks of rows go straight in? Otherwise the executor does it. */
static bool
is_plain(Relation relation, bool is_new, bool with_reasons)
{
	TupleDesc desc = RelationGetDescr(relation);
	TupleConstr *constraints = desc->constr;

	if (relation->rd_rel->relkind != RELKIND_RELATION || relation->rd_rel->relispartition ||
	    relation->rd_rel->relhasindex || relation->trigdesc != NULL || relation->rd_rules != NULL ||
	    relation->rd_tableam != GetHeapamTableAmRoutine())
		return false;
	if (constraints != NULL && constraints->num_check > 0)
		return false;
	if (check_enable_rls(RelationGetRelid(relation), InvalidOid, true) != RLS_NONE)
		return false;
	/* Rows put into a distributed table's local shell would vanish from sight. */
	if (!is_new && OidIsValid(get_extension_oid("citus", true)))
		return false;
	if (desc->natts != PE_SCORE_COLUMNS)
		return false;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		int column = attribute->attisdropped ? -1 : score_column_of(NameStr(attribute->attname));

		if (column < 0 || attribute->atttypid != columns[column].type || attribute->attgenerated != '\0')
			return false;
		if (attribute->attnotnull &&
		    (column == PE_SCORE_DETAIL || (column == PE_SCORE_REASONS && !with_reasons)))
			return false;
	}
	return true;
}

static void
flush(void *arg)
{
	Filling *filling = (Filling *) arg;
	MemoryContext before;

	if (filling->filled == 0)
		return;
	before = MemoryContextSwitchTo(filling->scratch);
	table_multi_insert(filling->relation, filling->slots, filling->filled, filling->command, filling->options,
	                   filling->bulk);
	MemoryContextSwitchTo(before);
	MemoryContextReset(filling->scratch);
	for (int i = 0; i < filling->filled; i++)
		ExecClearTuple(filling->slots[i]);
	filling->filled = 0;
}

/* The values live until the block's end, where the rows are written. */
static void
put_row(void *arg, Datum *values, bool *nulls)
{
	Filling *filling = (Filling *) arg;
	TupleTableSlot *slot = filling->slots[filling->filled++];

	for (int i = 0; i < PE_SCORE_COLUMNS; i++)
	{
		int column = filling->score_column[i];

		slot->tts_isnull[i] = nulls[column];
		slot->tts_values[i] = values[column];
	}
	ExecStoreVirtualTuple(slot);
}

static uint64
fill_blocks(const PeScoreRequest *request, Relation relation, bool is_new)
{
	Filling *filling = palloc0(sizeof(Filling));
	TupleDesc desc = RelationGetDescr(relation);
	PeScoreSink sink = {.row = put_row, .block_end = flush, .arg = filling};
	uint64 rows;

	filling->relation = relation;
	for (int i = 0; i < desc->natts; i++)
		filling->score_column[i] = score_column_of(NameStr(TupleDescAttr(desc, i)->attname));
	for (int i = 0; i < PE_SCORE_BLOCK; i++)
		filling->slots[i] = table_slot_create(relation, NULL);
	filling->bulk = GetBulkInsertState();
	filling->command = GetCurrentCommandId(true);
	filling->options = is_new ? TABLE_INSERT_SKIP_FSM : 0;
	filling->scratch =
	    AllocSetContextCreate(CurrentMemoryContext, "profenrich score insert", ALLOCSET_DEFAULT_SIZES);
	rows = pe_score_source(request, &sink);
	for (int i = 0; i < PE_SCORE_BLOCK; i++)
		ExecDropSingleTupleTableSlot(filling->slots[i]);
	FreeBulkInsertState(filling->bulk);
	table_finish_bulk_insert(relation, filling->options);
	return rows;
}

/* Through the executor, as the caller, with whatever the table has. */
static uint64
fill_by_insert(const PeScoreRequest *request, Oid relid)
{
	static const Oid types[] = {TEXTOID, TEXTOID, TEXTOID, INT4OID, INT4OID, TEXTOID};
	static const char *const duplicates[] = {"error", "first", "keep"};
	Datum values[] = {
	    CStringGetTextDatum(request->model), CStringGetTextDatum(request->source),
	    CStringGetTextDatum(request->key),   Int32GetDatum(request->version),
	    Int32GetDatum(request->reasons),     CStringGetTextDatum(duplicates[request->on_duplicate])};
	char nulls[] = {' ', ' ', ' ', request->version == 0 ? 'n' : ' ', ' ', ' '};
	StringInfoData list;
	char *table =
	    quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));
	uint64 rows;

	initStringInfo(&list);
	for (int i = 0; i < PE_SCORE_COLUMNS; i++)
	{
		if (get_attnum(relid, columns[i].name) != InvalidAttrNumber)
			appendStringInfo(&list, "%s%s", list.len > 0 ? ", " : "", columns[i].name);
	}
	if (get_attnum(relid, "key") == InvalidAttrNumber || get_attnum(relid, "prediction") == InvalidAttrNumber)
		ereport(
		    ERROR,
		    (errcode(ERRCODE_UNDEFINED_COLUMN),
		     errmsg("table %s has no column \"key\" or no column \"prediction\"", table),
		     errhint("Name a table with columns of score(), or one that does not exist yet: it is made.")));
	SPI_connect();
	if (SPI_execute_with_args(
	        psprintf("INSERT INTO %s (%s) SELECT %s FROM profenrich.score($1, $2, $3, $4, $5, $6)", table,
	                 list.data, list.data),
	        lengthof(types), (Oid *) types, values, nulls, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "inserting scores failed");
	rows = SPI_processed;
	SPI_finish();
	return rows;
}

/* The table's oid, made when it is not there; *is_new tells which. */
static Oid
find_or_make_table(const char *name, bool *is_new)
{
	RangeVar *range = makeRangeVarFromNameList(textToQualifiedNameList(cstring_to_text(name)));
	Oid relid = RangeVarGetRelid(range, NoLock, true);
	StringInfoData create;

	*is_new = !OidIsValid(relid);
	if (!*is_new)
		return relid;
	initStringInfo(&create);
	appendStringInfo(&create, "CREATE TABLE %s (",
	                 quote_qualified_identifier(range->schemaname, range->relname));
	for (int i = 0; i < PE_SCORE_COLUMNS; i++)
		appendStringInfo(&create, "%s%s %s", i > 0 ? ", " : "", columns[i].name, columns[i].sql_type);
	appendStringInfoChar(&create, ')');
	SPI_connect();
	if (SPI_execute(create.data, false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "making the table of scores failed");
	SPI_finish();
	return RangeVarGetRelid(range, NoLock, false);
}

/* Into a table that the caller may insert into as a whole. */
static uint64
fill_table(const PeScoreRequest *request, Oid relid, bool is_new)
{
	Relation relation = table_open(relid, RowExclusiveLock);
	uint64 rows;

	if (is_plain(relation, is_new, request->reasons > 0))
		rows = fill_blocks(request, relation, is_new);
	else
		rows = fill_by_insert(request, relid);
	table_close(relation, NoLock);
	return rows;
}

PG_FUNCTION_INFO_V1(pe_score_into);

/* score_into(model, source, key, into_table, reasons, version, on_duplicate) -> rows written. */
Datum
pe_score_into(PG_FUNCTION_ARGS)
{
	PeScoreRequest request = {
	    .model = pe_text_argument(fcinfo, 0, "model"),
	    .source = pe_text_argument(fcinfo, 1, "source"),
	    .key = pe_text_argument(fcinfo, 2, "key"),
	    .reasons = PG_ARGISNULL(4) ? 0 : PG_GETARG_INT32(4),
	    .version = pe_version_argument(fcinfo, 5),
	    .on_duplicate = PG_ARGISNULL(6) ? PE_DUPLICATE_ERROR
	                                    : pe_on_duplicate_from_name(TextDatumGetCString(PG_GETARG_DATUM(6))),
	};
	bool is_new;
	Oid relid;
	uint64 rows;

	pe_score_check_request(&request);
	PreventCommandIfReadOnly("score_into()");
	relid = find_or_make_table(pe_text_argument(fcinfo, 3, "into_table"), &is_new);
	if (pg_class_aclcheck(relid, GetUserId(), ACL_INSERT) == ACLCHECK_OK)
		rows = fill_table(&request, relid, is_new);
	else
		rows = fill_by_insert(&request, relid); /* column privileges, or the error */
	pe_audit("score_into",
	         quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid)),
	         "{\"model\": %s, \"rows\": " UINT64_FORMAT "}", pe_audit_text(request.model), rows);
	PG_RETURN_INT64((int64) rows);
}
