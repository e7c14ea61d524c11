/*
 * expression.c
 *		SQL expressions that users give as text: a consent, a goal's outcome.
 *
 * An expression is its author's SQL and runs with no more than the rights of whoever
 * runs it. What is checked here is that it is one expression and nothing around it.
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

#include "pg/expression.h"

#define BEFORE_EXPRESSION "SELECT ("
#define BEFORE_BARE       "SELECT  " /* as long as the other, for the positions in errors */

/* An error points into the expression, not into what was put around it. */
static void
expression_error_context(void *arg)
{
	const PeExpression *expression = (const PeExpression *) arg;
	int position = geterrposition();

	if (position == 0)
		position = getinternalerrposition();
	if (position > 0)
	{
		errposition(0);
		internalerrposition(Max(position - (int) strlen(BEFORE_EXPRESSION), 1));
		internalerrquery(expression->text);
	}
	errcontext("%s", expression->role);
}

static void
pg_attribute_noreturn() raise_bad_expression(const PeExpression *expression, const char *what)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s %s", expression->role, what),
	                errhint("%s", expression->hint)));
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
check_is_expression(const PeExpression *expression)
{
	if (!selects_one_expression(psprintf(BEFORE_BARE "%s\n", expression->text)) ||
	    !selects_one_expression(psprintf(BEFORE_EXPRESSION "%s\n)", expression->text)))
		raise_bad_expression(expression, "is not one expression");
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
analyse(const PeSource *source, const PeExpression *expression)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext spi;
	Bitmapset *columns;
	CachedPlanSource *planned;
	SPIPlanPtr plan;
	Query *query;
	Oid type;

	SPI_connect();
	plan = SPI_prepare(psprintf(BEFORE_EXPRESSION "%s\n) FROM %s", expression->text, source->from), 0, NULL);
	if (plan == NULL)
		elog(ERROR, "preparing an expression failed: %s", SPI_result_code_string(SPI_result));
	planned = linitial(SPI_plan_get_plan_sources(plan));
	query = linitial_node(Query, planned->query_list);
	type = getBaseType(TupleDescAttr(planned->resultDesc, 0)->atttypid);
	if (type != BOOLOID)
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
		                errmsg("%s is of type %s, not boolean", expression->role, format_type_be(type)),
		                errhint("Compare it: %s.", expression->comparison)));
	if (query->hasAggs || query->hasWindowFuncs || query->hasTargetSRFs)
		raise_bad_expression(expression, "looks at more than one row");
	spi = MemoryContextSwitchTo(caller);
	columns = named_columns(source, query);
	MemoryContextSwitchTo(spi);
	SPI_finish();
	MemoryContextSwitchTo(caller);
	return columns;
}

Bitmapset *
pe_expression_check(const PeSource *source, const PeExpression *expression)
{
	ErrorContextCallback callback = {
	    .callback = expression_error_context, .arg = (void *) expression, .previous = error_context_stack};
	Bitmapset *columns;

	error_context_stack = &callback;
	check_is_expression(expression);
	columns = analyse(source, expression);
	error_context_stack = callback.previous;
	return columns;
}
