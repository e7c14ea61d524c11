/*
 * source.c
 *		Reading rows of a table, a view or a SELECT, as the calling user.
 *
 * A query through SPI with a DestReceiver of our own: as quick as a raw table scan,
 * while privileges, row security, views, partitions and foreign tables keep
 * working. Nothing here reads a table by its access method.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "tcop/dest.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "pg/source.h"

#define MOST_NAMED 12 /* columns that an error lists */

typedef struct RowReceiver
{
	DestReceiver pub;
	pe_source_row row;
	void *arg;
	MemoryContext scratch;
	uint64 rows;
} RowReceiver;

/* Where errors about the source's text point: into that text, not into the statement around it. */
typedef struct SourceErrors
{
	const char *text;
	const char *argument;
} SourceErrors;

static void
source_error_context(void *arg)
{
	SourceErrors *errors = (SourceErrors *) arg;
	int position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery(errors->text);
		/* At its first word: it is no statement at all, but perhaps a name. */
		if (geterrcode() == ERRCODE_SYNTAX_ERROR && position == (int) strspn(errors->text, " \t\r\n") + 1)
			errhint("Give the name of a table or view, or a SELECT. Names with capitals or blanks stand in "
			        "double quotes: \"My Schema\".\"My Table\".");
	}
	errcontext("argument \"%s\"", errors->argument);
}

/* The relation that text names, or InvalidOid when text does not read like a name. */
static Oid
resolve_name(const char *text, const char *argument)
{
	List *names = NIL;
	RangeVar *range;
	Oid relid;

	if (!SplitIdentifierString(pstrdup(text), '.', &names) || list_length(names) > 3)
		return InvalidOid;
	if (names == NIL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("\"%s\" is empty", argument),
		                errhint("Give the name of a table or view, or a SELECT.")));
	/* SplitIdentifierString gives C strings, makeRangeVarFromNameList wants String nodes. */
	for (int i = 0; i < list_length(names); i++)
		lfirst(list_nth_cell(names, i)) = makeString(pstrdup((char *) list_nth(names, i)));
	range = makeRangeVarFromNameList(names);
	/* Locked as reading it would: a table dropped meanwhile has no name any more. */
	relid = RangeVarGetRelid(range, AccessShareLock, true);
	if (!OidIsValid(relid))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
		                errmsg("%s: there is no table or view \"%s\"", argument, text),
		                errhint("Give the name of a table or view (with its schema when it is not in "
		                        "search_path), or a SELECT.")));
	return relid;
}

static void
check_relation_kind(Oid relid, const char *text, const char *argument)
{
	switch (get_rel_relkind(relid))
	{
		case RELKIND_RELATION:
		case RELKIND_VIEW:
		case RELKIND_MATVIEW:
		case RELKIND_FOREIGN_TABLE:
		case RELKIND_PARTITIONED_TABLE:
			return;
		default:
			ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
			                errmsg("%s: \"%s\" is not a table or view", argument, text),
			                errhint("Give the name of a table or view, or a SELECT.")));
	}
}

static void
pg_attribute_noreturn() raise_not_a_select(const char *argument, const char *what)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s: %s", argument, what),
	                errhint("Give the name of a table or view, or one SELECT that changes nothing.")));
}

/* The one statement in text, without its semicolon. */
static const char *
check_statement(const char *text, const char *argument)
{
	List *statements = raw_parser(text, RAW_PARSE_DEFAULT);
	RawStmt *raw;
	SelectStmt *select;
	int length;

	if (list_length(statements) != 1)
		raise_not_a_select(argument,
		                   statements == NIL ? "there is no statement in it" : "more than one statement");
	raw = linitial_node(RawStmt, statements);
	select = (SelectStmt *) raw->stmt;
	if (!IsA(select, SelectStmt))
		raise_not_a_select(argument, "the statement is not a SELECT");
	/* SELECT INTO hides in the leftmost arm of a UNION. */
	for (SelectStmt *arm = select; arm != NULL; arm = arm->larg)
	{
		if (arm->intoClause != NULL)
			raise_not_a_select(argument, "SELECT INTO makes a table");
	}
	if (select->lockingClause != NIL)
		raise_not_a_select(argument, "a SELECT with a locking clause");
	length = raw->stmt_len > 0 ? raw->stmt_len : (int) strlen(text) - raw->stmt_location;
	return pnstrdup(text + raw->stmt_location, length);
}

/* Parse analysis only: the columns of the query, and that it writes nothing. */
static TupleDesc
describe(const char *query, const char *argument)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext spi;
	SPIPlanPtr plan;
	CachedPlanSource *planned;
	TupleDesc desc;
	ListCell *cell;

	SPI_connect();
	plan = SPI_prepare(query, 0, NULL);
	if (plan == NULL)
		elog(ERROR, "preparing the source failed: %s", SPI_result_code_string(SPI_result));
	planned = (CachedPlanSource *) linitial(SPI_plan_get_plan_sources(plan));
	if (planned->resultDesc == NULL || planned->resultDesc->natts == 0)
		raise_not_a_select(argument, "it has no columns");
	foreach (cell, planned->query_list)
	{
		Query *analysed = lfirst_node(Query, cell);

		if (analysed->hasModifyingCTE || analysed->rowMarks != NIL || analysed->commandType != CMD_SELECT)
			raise_not_a_select(argument, "a SELECT that changes or locks rows");
	}
	spi = MemoryContextSwitchTo(caller);
	desc = CreateTupleDescCopy(planned->resultDesc);
	MemoryContextSwitchTo(spi);
	SPI_finish();
	MemoryContextSwitchTo(caller);
	return desc;
}

/* Of now, for what is locked already. */
static Snapshot
snapshot_of_now(void)
{
	return IsolationUsesXactSnapshot() ? GetActiveSnapshot() : GetTransactionSnapshot();
}

void
pe_push_snapshot_of_now(void)
{
	PushActiveSnapshot(snapshot_of_now());
}

/* The statement's own snapshot, which is older, stays active meanwhile: what this one sees is not vacuumed
 * away. */
static char *
take_snapshot(void)
{
	Snapshot snapshot = snapshot_of_now();
	char *serialized = palloc(EstimateSnapshotSpace(snapshot));

	SerializeSnapshot(snapshot, serialized);
	return serialized;
}

PeSource *
pe_source_open(const char *text, const char *argument)
{
	PeSource *source = palloc0(sizeof(PeSource));
	SourceErrors errors = {text, argument};
	ErrorContextCallback callback = {
	    .callback = source_error_context, .arg = &errors, .previous = error_context_stack};

	source->text = pstrdup(text);
	source->relid = resolve_name(text, argument);
	if (OidIsValid(source->relid))
	{
		char *schema = get_namespace_name(get_rel_namespace(source->relid));
		char *relation = get_rel_name(source->relid);

		check_relation_kind(source->relid, text, argument);
		source->from = quote_qualified_identifier(schema, relation);
		source->name = psprintf("\"%s.%s\"", schema, relation);
		source->desc = describe(psprintf("SELECT * FROM %s", source->from), argument);
		source->snapshot = take_snapshot();
		return source;
	}
	error_context_stack = &callback;
	{
		const char *statement = check_statement(text, argument);

		source->from = psprintf("(%s\n) AS source", statement);
		source->name = "the query";
		source->desc = describe(statement, argument);
	}
	error_context_stack = callback.previous;
	source->snapshot = take_snapshot();
	return source;
}

int
pe_source_column(const PeSource *source, const char *name)
{
	int found = -1;

	for (int i = 0; i < source->desc->natts; i++)
	{
		if (strcmp(NameStr(TupleDescAttr(source->desc, i)->attname), name) != 0)
			continue;
		if (found >= 0)
			ereport(ERROR, (errcode(ERRCODE_AMBIGUOUS_COLUMN),
			                errmsg("column \"%s\" appears more than once in %s", name, source->name),
			                errhint("Name the columns apart with AS.")));
		found = i;
	}
	return found;
}

/* The names of the columns, for a message: no more than a reader looks through. */
static char *
some_columns(const PeSource *source)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < source->desc->natts && i < MOST_NAMED; i++)
		appendStringInfo(&names, "%s%s", i > 0 ? ", " : "",
		                 quote_identifier(NameStr(TupleDescAttr(source->desc, i)->attname)));
	if (source->desc->natts > MOST_NAMED)
		appendStringInfo(&names, " and %d more", source->desc->natts - MOST_NAMED);
	return names.data;
}

int
pe_source_need_column(const PeSource *source, const char *name, const char *role)
{
	int column = pe_source_column(source, name);
	const char *nearest = NULL;
	int distance = Min(4, (int) strlen(name) / 2 + 1); /* further off is not meant */

	if (column >= 0)
		return column;
	for (int i = 0; i < source->desc->natts; i++)
	{
		const char *candidate = NameStr(TupleDescAttr(source->desc, i)->attname);
		int d = varstr_levenshtein_less_equal(name, strlen(name), candidate, strlen(candidate), 1, 1, 1,
		                                      distance, true);

		if (d < distance)
		{
			distance = d;
			nearest = candidate;
		}
	}
	ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
	                errmsg("%s has no column \"%s\", wanted as %s", source->name, name, role),
	                nearest != NULL ? errhint("Perhaps you meant the column \"%s\".", nearest)
	                                : errhint("Its columns are %s.", some_columns(source))));
	pg_unreachable();
}

/* Types whose values are the same when their texts are, whichever index compares them. */
static bool
text_tells_apart(Oid type)
{
	switch (getBaseType(type))
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case NUMERICOID:
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case UUIDOID:
			return true;
		default:
			return false;
	}
}

/*
 * Unique on this column alone, of all rows, checked at once, by the server's own
 * comparison, and made before anything that our snapshots could still see.
 */
static bool
index_guards(Oid index, AttrNumber column)
{
	HeapTuple tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	Form_pg_index form;
	bool guards;
	bool isnull;
	Datum classes;

	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_index) GETSTRUCT(tuple);
	classes = SysCacheGetAttr(INDEXRELID, tuple, Anum_pg_index_indclass, &isnull);
	guards = form->indisunique && form->indisvalid && form->indimmediate && form->indnkeyatts == 1 &&
	         form->indkey.values[0] == column && heap_attisnull(tuple, Anum_pg_index_indpred, NULL) &&
	         !isnull && ((oidvector *) DatumGetPointer(classes))->values[0] < FirstNormalObjectId &&
	         TransactionIdPrecedes(HeapTupleHeaderGetXmin(tuple->t_data), TransactionXmin);
	ReleaseSysCache(tuple);
	return guards;
}

bool
pe_source_is_unique(const PeSource *source, int column)
{
	Form_pg_attribute attribute = TupleDescAttr(source->desc, column);
	Relation relation;
	AttrNumber number;
	List *indexes;
	ListCell *cell;
	bool unique = false;

	if (!OidIsValid(source->relid) || !text_tells_apart(attribute->atttypid))
		return false;
	number = get_attnum(source->relid, NameStr(attribute->attname));
	/* Locked since the name was looked up. An inheritance parent's index knows nothing of the children. */
	relation = relation_open(source->relid, NoLock);
	if (relation->rd_rel->relkind == RELKIND_PARTITIONED_TABLE || !relation->rd_rel->relhassubclass)
	{
		indexes = RelationGetIndexList(relation);
		foreach (cell, indexes)
			unique = unique || index_guards(lfirst_oid(cell), number);
		list_free(indexes);
	}
	relation_close(relation, NoLock);
	return unique;
}

static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	RowReceiver *receiver = (RowReceiver *) self;
	MemoryContext before;
	bool more;

	slot_getallattrs(slot);
	MemoryContextReset(receiver->scratch);
	before = MemoryContextSwitchTo(receiver->scratch);
	receiver->rows++;
	more = receiver->row(receiver->arg, slot);
	MemoryContextSwitchTo(before);
	return more;
}

static void
receiver_startup(DestReceiver *self, int operation, TupleDesc desc)
{
}

static void
receiver_done(DestReceiver *self)
{
}

/* The query that reads the wanted columns, by name. */
static char *
read_query(const PeSource *source, const int *columns, int ncolumns)
{
	StringInfoData query;

	initStringInfo(&query);
	appendStringInfoString(&query, "SELECT ");
	if (columns == NULL)
		appendStringInfoChar(&query, '*');
	for (int i = 0; columns != NULL && i < ncolumns; i++)
	{
		const char *name = NameStr(TupleDescAttr(source->desc, columns[i])->attname);

		appendStringInfo(&query, "%s%s", i > 0 ? ", " : "", quote_identifier(name));
	}
	appendStringInfo(&query, " FROM %s", source->from);
	return query.data;
}

uint64
pe_source_read(const PeSource *source, const int *columns, int ncolumns, int flags, pe_source_row row,
               void *arg)
{
	RowReceiver receiver = {
	    .pub = {receive_row, receiver_startup, receiver_done, receiver_done, DestTuplestore},
	    .row = row,
	    .arg = arg,
	};
	SPIExecuteOptions options = {.read_only = true, .dest = &receiver.pub};
	MemoryContext caller = CurrentMemoryContext;
	char *query = read_query(source, columns, ncolumns);
	int guc_level = 0;
	int result;

	receiver.scratch = AllocSetContextCreate(caller, "profenrich source row", ALLOCSET_SMALL_SIZES);
	if (flags & PE_SOURCE_ORDERED)
	{
		guc_level = NewGUCNestLevel();
		set_config_option("synchronize_seqscans", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
		                  false);
		set_config_option("max_parallel_workers_per_gather", "0", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
		                  true, 0, false);
		/* Compiling a query over many partitions takes longer than running it. */
		set_config_option("jit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	}
	SPI_connect();
	PushActiveSnapshot(RestoreSnapshot(source->snapshot));
	result = SPI_execute_extended(query, &options);
	if (result != SPI_OK_SELECT)
		elog(ERROR, "reading the source failed: %s", SPI_result_code_string(result));
	PopActiveSnapshot();
	SPI_finish();
	if (guc_level > 0)
		AtEOXact_GUC(true, guc_level);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(receiver.scratch);
	pfree(query);
	return receiver.rows;
}
