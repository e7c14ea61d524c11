/*
 * json_options.c
 *		Options given as a jsonb object, read name by name.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/numeric.h"

#include "pg/json_options.h"

void
pe_each_option(JsonbContainer *object, pe_option_reader one, void *arg)
{
	JsonbIterator *iterator = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue value;
	char *name = NULL;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(value.val.string.val, value.val.string.len);
		else if (token == WJB_VALUE && value.type != jbvNull)
			one(arg, name, &value);
	}
}

void
pe_raise_bad_option(const char *name, const char *expected)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid value for option \"%s\"", name),
	                errhint("It must be %s.", expected)));
}

char *
pe_scalar_text(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
		case jbvBool:
			return pstrdup(value->val.boolean ? "true" : "false");
		default:
			return NULL;
	}
}

static void
name_option(void *name)
{
	errcontext("option \"%s\"", (const char *) name);
}

Datum
pe_option_input(const char *name, const char *text, PGFunction input)
{
	ErrorContextCallback callback = {error_context_stack, name_option, unconstify(char *, name)};
	Datum value;

	error_context_stack = &callback;
	value =
	    DirectFunctionCall3(input, CStringGetDatum(text), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	error_context_stack = callback.previous;
	return value;
}
