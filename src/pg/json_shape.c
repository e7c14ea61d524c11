/*
 * json_shape.c
 *		Does a jsonb value fit the type that was declared for its attribute?
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "platform/xdm_shape.h"
#include "pg/env.h"
#include "pg/json_shape.h"
#include "pg/report.h"

#define MAX_SAFE_INTEGER INT64CONST(9007199254740992)

const pe_xdm_field *
pe_json_shape(const char *shape)
{
	pe_xdm_field *field = palloc0(sizeof(*field));
	pe_pool *pool = palloc0(sizeof(*pool));
	pe_env *env = palloc(sizeof(*env));
	pe_error err = {0};

	*env = pe_server_env(CurrentMemoryContext);
	pe_pool_init(pool, env);
	pe_check(pe_shape_parse(shape, pool, field, &err), &err);
	return field;
}

/* An integral number of at most limit, either way. */
static bool
integer_fits(const JsonbValue *value, int64 limit)
{
	Datum number;
	Datum whole;
	int64 integer;

	if (value->type != jbvNumeric || numeric_is_nan(value->val.numeric) || numeric_is_inf(value->val.numeric))
		return false;
	number = NumericGetDatum(value->val.numeric);
	whole = DirectFunctionCall2(numeric_trunc, number, Int32GetDatum(0));
	if (!DatumGetBool(DirectFunctionCall2(numeric_eq, number, whole)))
		return false;
	if (DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, number)) > (double) limit ||
	    DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, number)) < -(double) limit)
		return false;
	integer = DatumGetInt64(DirectFunctionCall1(numeric_int8, number));
	return integer <= limit && integer >= -limit;
}

static bool value_fits(const pe_xdm_field *field, const JsonbValue *value);

static const pe_xdm_field *
find_member(const pe_xdm_field *object, const JsonbValue *key)
{
	for (int i = 0; i < object->item_count; i++)
		if (strlen(object->items[i].name) == (size_t) key->val.string.len &&
		    memcmp(object->items[i].name, key->val.string.val, key->val.string.len) == 0)
			return &object->items[i];
	return NULL;
}

/* Every item of an array or map, every known member of an object. */
static bool
container_fits(const pe_xdm_field *field, JsonbContainer *container)
{
	JsonbIterator *iterator = JsonbIteratorInit(container);
	const pe_xdm_field *member = field->items;
	JsonbValue value;
	JsonbIteratorToken token;

	if (JsonContainerIsArray(container) ? field->type != PE_XDM_ARRAY
	                                    : field->type != PE_XDM_MAP && field->type != PE_XDM_OBJECT)
		return false;
	/* The first token only opens the container; what is nested comes as one value. */
	(void) JsonbIteratorNext(&iterator, &value, true);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY && field->type == PE_XDM_OBJECT)
		{
			member = find_member(field, &value);
			if (member == NULL)
				return false;
		}
		else if ((token == WJB_VALUE || token == WJB_ELEM) && !value_fits(member, &value))
			return false;
	}
	return true;
}

static bool
value_fits(const pe_xdm_field *field, const JsonbValue *value)
{
	check_stack_depth();
	switch (field->type)
	{
		case PE_XDM_STRING:
		case PE_XDM_DATE:
		case PE_XDM_DATETIME:
			return value->type == jbvString;
		case PE_XDM_NUMBER:
			return value->type == jbvNumeric;
		case PE_XDM_INTEGER:
			return integer_fits(value, PG_INT32_MAX);
		case PE_XDM_LONG:
			return integer_fits(value, MAX_SAFE_INTEGER);
		case PE_XDM_BOOLEAN:
			return value->type == jbvBool;
		case PE_XDM_ARRAY:
		case PE_XDM_MAP:
		case PE_XDM_OBJECT:
			return value->type == jbvBinary && container_fits(field, value->val.binary.data);
		case PE_XDM_OTHER:
			break;
	}
	return false;
}

bool
pe_json_fits(const pe_xdm_field *field, Jsonb *value)
{
	return container_fits(field, &value->root);
}
