/*
 * arguments.c
 *		Arguments of SQL functions that are not STRICT.
 */
#include "postgres.h"

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
