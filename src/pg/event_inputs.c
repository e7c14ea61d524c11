/*
 * event_inputs.c
 *		Which columns of the events a declaration uses, and the values of its categories.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/typcache.h"

#include "pg/event_making.h"

/* ---- columns that are read --------------------------------------------------------------- */

static PeEventInput *
add_input(PeEventPlan *plan, PeEventInput *inputs, int *n, const char *name, int column)
{
	PeEventInput *input;

	if (*n == PE_EVENT_MOST_INPUTS)
		ereport(ERROR,
		        (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
		         errmsg("the declaration uses more than %d columns in one way", PE_EVENT_MOST_INPUTS)));
	input = &inputs[(*n)++];
	memset(input, 0, sizeof(*input));
	input->name = name;
	input->column = column;
	for (input->slot = 0; input->slot < plan->n_read; input->slot++)
	{
		if (plan->read[input->slot] == column)
			return input;
	}
	plan->read[plan->n_read++] = column;
	return input;
}

static int
find_input(const PeEventInput *inputs, int n, int column)
{
	for (int i = 0; i < n; i++)
	{
		if (inputs[i].column == column)
			return i;
	}
	return -1;
}

static void
pg_attribute_noreturn() raise_type(const PeSource *source, int column, const char *cannot)
{
	Form_pg_attribute attribute = TupleDescAttr(source->desc, column);

	ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
	                errmsg("column \"%s\" of %s is %s, which %s", NameStr(attribute->attname), source->name,
	                       format_type_be(attribute->atttypid), cannot),
	                errhint("Cast it in the events, or take another column.")));
}

int
pe_event_number_input(PeEventPlan *plan, const char *name)
{
	int column = pe_source_need_column(plan->source, name, "of");
	int found = find_input(plan->numbers, plan->n_numbers, column);
	PeEventInput *input;

	if (found >= 0)
		return found;
	input = add_input(plan, plan->numbers, &plan->n_numbers, name, column);
	if (!pe_input_init(&input->input, TupleDescAttr(plan->source->desc, column)->atttypid, PE_TREAT_NUMBER))
		raise_type(plan->source, column, "is no number to add up");
	return plan->n_numbers - 1;
}

int
pe_event_distinct_input(PeEventPlan *plan, const char *name)
{
	int column = pe_source_need_column(plan->source, name, "of");
	int found = find_input(plan->distincts, plan->n_distincts, column);
	Form_pg_attribute attribute = TupleDescAttr(plan->source->desc, column);
	TypeCacheEntry *type;
	PeEventInput *input;

	if (found >= 0)
		return found;
	input = add_input(plan, plan->distincts, &plan->n_distincts, name, column);
	type = lookup_type_cache(attribute->atttypid, TYPECACHE_HASH_EXTENDED_PROC);
	if (!OidIsValid(type->hash_extended_proc))
		raise_type(plan->source, column, "has no values to tell apart");
	fmgr_info(type->hash_extended_proc, &input->hash);
	input->collation = attribute->attcollation;
	return plan->n_distincts - 1;
}

int
pe_event_category_input(PeEventPlan *plan, const char *name)
{
	int column = pe_source_need_column(plan->source, name, "by");
	int found = find_input(plan->categories, plan->n_categories, column);
	PeEventInput *input;

	if (found >= 0)
		return found;
	input = add_input(plan, plan->categories, &plan->n_categories, name, column);
	if (!pe_input_init(&input->input, TupleDescAttr(plan->source->desc, column)->atttypid, PE_TREAT_CATEGORY))
		raise_type(plan->source, column, "has no values to tell apart");
	return plan->n_categories - 1;
}

/* ---- values of categories ------------------------------------------------------------- */

/* The most frequent values of a category, by one query as the caller. */
static List *
most_frequent(const PeEventMaking *making, const char *column, int top)
{
	MemoryContext caller = CurrentMemoryContext;
	const char *name = quote_identifier(column);
	char *query =
	    psprintf("SELECT value FROM (SELECT %s::pg_catalog.text AS value, pg_catalog.count(*) AS n FROM %s"
	             " WHERE %s IS NOT NULL%s%s GROUP BY 1) AS counted"
	             " ORDER BY n DESC, value COLLATE \"C\" LIMIT %d",
	             name, making->plan->source->from, name, making->top_condition != NULL ? " AND " : "",
	             making->top_condition != NULL ? making->top_condition : "", top);
	List *values = NIL;

	SPI_connect();
	if (SPI_execute(query, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "counting the values of a column failed");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		char *value = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
		MemoryContext spi = MemoryContextSwitchTo(caller);

		values = lappend(values, pstrdup(value));
		MemoryContextSwitchTo(spi);
	}
	SPI_finish();
	return values;
}

static List *
first_values(const List *values, int n)
{
	return n > 0 ? list_truncate(list_copy(values), n) : unconstify(List *, values);
}

/* The values that an item tells apart. */
List *
pe_event_values_of_item(const PeEventMaking *making, const PeEventItem *item, PeEventInput *category)
{
	JsonbValue declared;

	if (item->values != NIL)
		return item->values;
	if (making->declaration.values != NULL &&
	    getKeyJsonValueFromContainer(&making->declaration.values->root, item->by, (int) strlen(item->by),
	                                 &declared) != NULL)
		return first_values(pe_event_texts("values", &declared), item->top);
	if (item->top == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("by \"%s\": which values are told apart?", item->by),
		                errhint("List them in \"values\", or take the most frequent: \"top\": 5.")));
	if (list_length(category->frequent) < item->top)
		category->frequent = most_frequent(making, item->by, item->top);
	return first_values(category->frequent, item->top);
}

int
pe_event_code_of_value(PeEventInput *category, char *value)
{
	ListCell *cell;

	foreach (cell, category->values)
	{
		if (strcmp((const char *) lfirst(cell), value) == 0)
			return foreach_current_index(cell);
	}
	category->values = lappend(category->values, value);
	return list_length(category->values) - 1;
}

static void
put_values(StringInfo json, const PeEventInput *category)
{
	ListCell *cell;

	escape_json(json, category->name);
	appendStringInfoString(json, ": [");
	foreach (cell, category->frequent)
	{
		appendStringInfoString(json, foreach_current_index(cell) > 0 ? ", " : "");
		escape_json(json, (const char *) lfirst(cell));
	}
	appendStringInfoChar(json, ']');
}

static Datum
concat(Datum left, Datum right)
{
	return DirectFunctionCall2(jsonb_concat, left, right);
}

Jsonb *
pe_event_declaration_fixed(const PeEventPlan *plan, Jsonb *declaration)
{
	PeEventDeclaration declared = pe_event_declaration(declaration);
	StringInfoData json;
	Datum values;

	initStringInfo(&json);
	for (int i = 0; i < plan->n_categories; i++)
	{
		if (plan->categories[i].frequent == NIL)
			continue;
		appendStringInfoString(&json, json.len > 0 ? ", " : "{");
		put_values(&json, &plan->categories[i]);
	}
	if (json.len == 0)
		return declaration;
	appendStringInfoChar(&json, '}');
	values = DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
	if (declared.values != NULL)
		values = concat(JsonbPGetDatum(declared.values), values);
	values = DirectFunctionCall1(
	    jsonb_in, CStringGetDatum(
	                  psprintf("{\"values\": %s}", JsonbToCString(NULL, &DatumGetJsonbP(values)->root, -1))));
	return DatumGetJsonbP(concat(JsonbPGetDatum(declaration), values));
}
