/*
 * arguments.c
 *		Arguments of SQL functions that are not STRICT.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "pg/arguments.h"

void
pe_need_argument(FunctionCallInfo fcinfo, int number, const char *name)
{
	if (PG_ARGISNULL(number))
		ereport(ERROR,
		        (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("argument \"%s\" must not be null", name)));
}

char *
pe_text_argument(FunctionCallInfo fcinfo, int number, const char *name)
{
	pe_need_argument(fcinfo, number, name);
	return text_to_cstring(PG_GETARG_TEXT_PP(number));
}

List *
pe_texts_of(Datum array)
{
	List *texts = NIL;
	Datum *items;
	bool *nulls;
	int count = 0;

	if (array != 0)
		deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &items, &nulls,
		                  &count);
	for (int i = 0; i < count; i++)
		texts = lappend(texts, TextDatumGetCString(items[i]));
	return texts;
}

ArrayType *
pe_keys_argument(FunctionCallInfo fcinfo, int number, const char *function)
{
	if (PG_ARGISNULL(number))
		ereport(ERROR,
		        (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("argument \"keys\" must not be null"),
		         errhint("Without keys %s(enrichment) takes all profiles. A list from a query is written"
		                 " ARRAY(SELECT ...): of no rows array_agg() is null, and that is empty.",
		                 function)));
	return PG_GETARG_ARRAYTYPE_P(number);
}
