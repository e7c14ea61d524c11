/*
 * consent.c
 *		Who may be sent or learnt from.
 *
 * The expression is its author's SQL and runs with no more than his rights: the
 * owner's, within a security-restricted operation, for an enrichment, the caller's for a
 * training. What is checked is that it is one expression and nothing around it.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "optimizer/optimizer.h"
#include "parser/parser.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"

#include "pg/consent.h"

#define BEFORE_EXPRESSION "SELECT ("
#define BEFORE_BARE       "SELECT  " /* as long as the other, for the positions in errors */
#define CONSENT_COLUMN    "profenrich.consent"

const char pe_no_consent[] = "no consent";

/* An error points into the expression, not into what was put around it. */
static void
consent_error_context(void *arg)
{
	int position = geterrposition();

	if (position == 0)
		position = getinternalerrposition();
	if (position > 0)
	{
		errposition(0);
		internalerrposition(Max(position - (int) strlen(BEFORE_EXPRESSION), 1));
		internalerrquery(arg);
	}
	errcontext("option \"consent\"");
}

static void
pg_attribute_noreturn() raise_bad_consent(const char *what)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("option \"consent\" %s", what),
	                errhint("Give the name of a boolean column, or a condition on a row: "
	                        "\"personalize IN ('y', 'dy')\".")));
}

/* Is the query a SELECT of one expression, and of nothing else? */
static bool
selects_one_expression(const char *query)
{
	List *statements = raw_parser(query, RAW_PARSE_DEFAULT);
	SelectStmt *select;
	SelectStmt bare;

	if (list_length(statements) != 1)
		return false;
	select = (SelectStmt *) linitial_node(RawStmt, statements)->stmt;
	if (!IsA(select, SelectStmt) || list_length(select->targetList) != 1)
		return false;
	bare = *select;
	bare.targetList = NIL;
	return equal(&bare, makeNode(SelectStmt));
}

/* Bare, since "a) OR (b" is one between parentheses; and between these, since "a AS b" is one when bare. */
static void
check_is_expression(const char *expression)
{
	if (!selects_one_expression(psprintf(BEFORE_BARE "%s\n", expression)) ||
	    !selects_one_expression(psprintf(BEFORE_EXPRESSION "%s\n)", expression)))
		raise_bad_consent("is not one expression");
}

/* The columns of the first relation that an analysed expression names, by their place in the source. */
static Bitmapset *
named_columns(const PeSource *source, Query *query)
{
	TargetEntry *target = linitial_node(TargetEntry, query->targetList);
	Bitmapset *columns = NULL;
	ListCell *cell;

	foreach (cell, pull_vars_of_level((Node *) target->expr, 0))
	{
		Var *var = lfirst_node(Var, cell);

		if (var->varno == 1 && var->varattno > 0)
			columns = bms_add_member(
			    columns,
			    pe_source_column(source, get_rte_attribute_name(rt_fetch(1, query->rtable), var->varattno)));
	}
	return columns;
}

static Bitmapset *
analyse(const PeSource *source, const char *expression)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext spi;
	Bitmapset *columns;
	CachedPlanSource *planned;
	SPIPlanPtr plan;
	Query *query;
	Oid type;

	SPI_connect();
	plan = SPI_prepare(psprintf(BEFORE_EXPRESSION "%s\n) FROM %s", expression, source->from), 0, NULL);
	if (plan == NULL)
		elog(ERROR, "preparing the consent failed: %s", SPI_result_code_string(SPI_result));
	planned = linitial(SPI_plan_get_plan_sources(plan));
	query = linitial_node(Query, planned->query_list);
	type = getBaseType(TupleDescAttr(planned->resultDesc, 0)->atttypid);
	if (type != BOOLOID)
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
		                errmsg("option \"consent\" is of type %s, not boolean", format_type_be(type)),
		                errhint("Compare it: \"personalize IN ('y', 'dy')\".")));
	if (query->hasAggs || query->hasWindowFuncs || query->hasTargetSRFs)
		raise_bad_consent("looks at more than one row");
	spi = MemoryContextSwitchTo(caller);
	columns = named_columns(source, query);
	MemoryContextSwitchTo(spi);
	SPI_finish();
	MemoryContextSwitchTo(caller);
	return columns;
}

Bitmapset *
pe_consent_check(const PeSource *source, const char *expression)
{
	ErrorContextCallback callback = {
	    .callback = consent_error_context, .arg = (void *) expression, .previous = error_context_stack};
	Bitmapset *columns;

	error_context_stack = &callback;
	check_is_expression(expression);
	columns = analyse(source, expression);
	error_context_stack = callback.previous;
	return columns;
}

/* A copy that reads from something else, with that many columns more. */
static PeSource *
derive(const PeSource *source, const char *from, int more)
{
	PeSource *derived = palloc(sizeof(PeSource));
	int columns = source->desc->natts;

	*derived = *source;
	derived->from = from;
	derived->desc = CreateTemplateTupleDesc(columns + more);
	for (int i = 0; i < columns; i++)
		TupleDescCopyEntry(derived->desc, i + 1, source->desc, i + 1);
	return derived;
}

PeSource *
pe_consent_column(const PeSource *source, const char *expression)
{
	PeSource *derived = derive(
	    source,
	    psprintf("(SELECT *, (%s\n) AS \"" CONSENT_COLUMN "\" FROM %s) AS source", expression, source->from),
	    1);

	TupleDescInitEntry(derived->desc, derived->desc->natts, CONSENT_COLUMN, BOOLOID, -1, 0);
	return derived;
}

PeSource *
pe_consent_filter(const PeSource *source, const char *expression)
{
	return derive(source, psprintf("(SELECT * FROM %s WHERE (%s\n)) AS source", source->from, expression), 0);
}

int64
pe_consent_count_without(const PeSource *source, const char *expression)
{
	int64 count;
	bool isnull;

	SPI_connect();
	if (SPI_execute(
	        psprintf("SELECT pg_catalog.count(*) FROM %s WHERE (%s\n) IS NOT TRUE", source->from, expression),
	        true, 0) != SPI_OK_SELECT)
		elog(ERROR, "counting rows without consent failed");
	count = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	return count;
}
