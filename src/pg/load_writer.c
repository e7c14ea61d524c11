/*
 * load_writer.c
 *		Rows into a table that this transaction has just made.
 *
 * The table has no index and no trigger yet, and nobody else can see it, so rows go
 * into whole pages (load_pages.h), or where that may not be, to the table access
 * method in batches with a bulk insert state. What the executor
 * would do for columns that the files do not fill is done here: defaults, generated
 * columns, and constraints where the user's table has any.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "miscadmin.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "pg/load_forgotten.h"
#include "pg/load_pages.h"
#include "pg/load_writer.h"

struct LoadWriter
{
	Relation rel;
	EState *estate;
	ResultRelInfo *info;
	LoadPages *pages;     /* NULL: through the table access method */
	BulkInsertState bulk; /* then */
	MemoryContext context;
	MemoryContext batch;
	TupleTableSlot *slots[LOAD_BATCH_ROWS];
	ExprState **defaults; /* by attnum - 1; NULL: no default, or filled */
	int *defaulted;       /* attnum - 1 of those with one */
	int ndefaulted;
	int constant_attr;
	Datum constant;
	bool check;    /* evaluate constraints */
	bool generate; /* there are generated columns */
	CommandId command;
	int64 rows;
	const LoadForgotten *forgotten; /* NULL: nobody */
	int64 left_out;
};

static void
prepare_defaults(LoadWriter *writer, const bool *filled)
{
	TupleDesc desc = RelationGetDescr(writer->rel);

	writer->defaults = palloc0(sizeof(ExprState *) * desc->natts);
	writer->defaulted = palloc(sizeof(int) * desc->natts);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);
		Expr *expression;

		if (attr->attisdropped || filled[i])
			continue;
		if (attr->attgenerated != '\0')
		{
			writer->generate = true;
			continue;
		}
		expression = (Expr *) build_column_default(writer->rel, i + 1);
		if (expression == NULL)
			continue;
		writer->defaults[i] = ExecInitExpr(expression_planner(expression), NULL);
		writer->defaulted[writer->ndefaulted++] = i;
	}
}

LoadWriter *
load_writer_open(Oid relid, const bool *filled, bool trusted, int constant_attnum, Datum constant)
{
	LoadWriter *writer = palloc0(sizeof(LoadWriter));

	writer->context = CurrentMemoryContext;
	writer->constant_attr = constant_attnum - 1;
	writer->constant = constant;
	writer->rel = table_open(relid, RowExclusiveLock);
	writer->estate = CreateExecutorState();
	writer->info = makeNode(ResultRelInfo);
	InitResultRelInfo(writer->info, writer->rel, 0, NULL, 0);
	writer->batch =
	    AllocSetContextCreate(CurrentMemoryContext, "profenrich load batch", ALLOCSET_DEFAULT_SIZES);
	writer->command = GetCurrentCommandId(true);
	if (load_pages_usable(writer->rel))
		writer->pages = load_pages_open(writer->rel, writer->command);
	else
		writer->bulk = GetBulkInsertState();
	prepare_defaults(writer, filled);
	writer->check = !trusted || writer->generate;
	return writer;
}

MemoryContext
load_writer_memory(LoadWriter *writer)
{
	return writer->batch;
}

TupleTableSlot *
load_writer_slot(LoadWriter *writer, int i)
{
	TupleTableSlot *slot = writer->slots[i];

	if (slot == NULL)
	{
		/* The caller is in the batch's memory, which the slot outlives. */
		MemoryContext caller = MemoryContextSwitchTo(writer->context);

		slot = writer->slots[i] = table_slot_create(writer->rel, NULL);
		memset(slot->tts_isnull, true, slot->tts_tupleDescriptor->natts);
		MemoryContextSwitchTo(caller);
	}
	return slot;
}

TupleTableSlot *const *
load_writer_slots(LoadWriter *writer, int count)
{
	for (int i = 0; i < count; i++)
		(void) load_writer_slot(writer, i);
	return writer->slots;
}

static void
complete_row(LoadWriter *writer, TupleTableSlot *slot, ExprContext *context)
{
	slot->tts_values[writer->constant_attr] = writer->constant;
	slot->tts_isnull[writer->constant_attr] = false;
	for (int i = 0; i < writer->ndefaulted; i++)
	{
		int attr = writer->defaulted[i];

		slot->tts_values[attr] = ExecEvalExpr(writer->defaults[attr], context, &slot->tts_isnull[attr]);
	}
	ExecStoreVirtualTuple(slot);
	slot->tts_tableOid = RelationGetRelid(writer->rel);
	if (writer->generate)
		ExecComputeStoredGenerated(writer->info, writer->estate, slot, CMD_INSERT);
	if (writer->check)
		ExecConstraints(writer->info, slot, writer->estate);
}

void
load_writer_constant(LoadWriter *writer, Datum constant)
{
	writer->constant = constant;
}

void
load_writer_leave_out(LoadWriter *writer, const LoadForgotten *forgotten)
{
	writer->forgotten = forgotten;
}

int64
load_writer_left_out(const LoadWriter *writer)
{
	return writer->left_out;
}

/* Moves the rows of forgotten profiles behind the others; how many others there are. */
static int
sort_out_forgotten(LoadWriter *writer, int rows)
{
	int kept = 0;

	for (int i = 0; i < rows; i++)
	{
		TupleTableSlot *slot = writer->slots[i];

		if (load_forgotten_row(writer->forgotten, slot))
			continue;
		writer->slots[i] = writer->slots[kept];
		writer->slots[kept++] = slot;
	}
	writer->left_out += rows - kept;
	return kept;
}

void
load_writer_flush(LoadWriter *writer, int rows)
{
	MemoryContext caller = MemoryContextSwitchTo(writer->batch);
	ExprContext *context = GetPerTupleExprContext(writer->estate);
	int kept = writer->forgotten != NULL ? sort_out_forgotten(writer, rows) : rows;

	for (int i = 0; i < kept; i++)
		complete_row(writer, writer->slots[i], context);
	if (writer->pages != NULL)
		load_pages_add(writer->pages, writer->slots, kept);
	else if (kept > 0)
		table_multi_insert(writer->rel, writer->slots, kept, writer->command, TABLE_INSERT_SKIP_FSM,
		                   writer->bulk);
	writer->rows += kept;
	for (int i = 0; i < rows; i++)
	{
		TupleTableSlot *slot = writer->slots[i];

		ExecClearTuple(slot);
		memset(slot->tts_isnull, true, slot->tts_tupleDescriptor->natts);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextReset(writer->batch);
	ResetPerTupleExprContext(writer->estate);
	CHECK_FOR_INTERRUPTS();
}

int64
load_writer_rows(const LoadWriter *writer)
{
	return writer->rows;
}

void
load_writer_close(LoadWriter *writer)
{
	if (writer->pages != NULL)
		load_pages_close(writer->pages);
	else
	{
		FreeBulkInsertState(writer->bulk);
		table_finish_bulk_insert(writer->rel, TABLE_INSERT_SKIP_FSM);
	}
	for (int i = 0; i < LOAD_BATCH_ROWS && writer->slots[i] != NULL; i++)
		ExecDropSingleTupleTableSlot(writer->slots[i]);
	FreeExecutorState(writer->estate);
	table_close(writer->rel, NoLock);
	MemoryContextDelete(writer->batch);
	pfree(writer);
}
