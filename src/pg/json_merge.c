/*
 * json_merge.c
 *		jsonb_merge_patch: an object changed by another one (RFC 7396).
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/jsonb.h"

static JsonbValue *merge_objects(JsonbContainer *target, JsonbContainer *patch, JsonbParseState **state);

static bool
is_object(const JsonbValue *value)
{
	return value != NULL && value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data);
}

/* What the patch says of a member: objects into objects, anything else instead of what was there. */
static void
put_member(JsonbValue *key, JsonbValue *target, JsonbValue *patch, JsonbParseState **state)
{
	if (patch->type == jbvNull)
		return;
	(void) pushJsonbValue(state, WJB_KEY, key);
	if (is_object(patch))
		(void) merge_objects(is_object(target) ? target->val.binary.data : NULL, patch->val.binary.data,
		                     state);
	else
		(void) pushJsonbValue(state, WJB_VALUE, patch);
}

/* The members of target that the patch does not name, then those that it does. target may be NULL. */
static JsonbValue *
merge_objects(JsonbContainer *target, JsonbContainer *patch, JsonbParseState **state)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue key, value;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	(void) pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	iterator = target != NULL ? JsonbIteratorInit(target) : NULL;
	while (iterator != NULL && (token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (getKeyJsonValueFromContainer(patch, key.val.string.val, key.val.string.len, NULL) != NULL)
			continue;
		(void) pushJsonbValue(state, WJB_KEY, &key);
		(void) pushJsonbValue(state, WJB_VALUE, &value);
	}
	iterator = JsonbIteratorInit(patch);
	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		put_member(&key,
		           target != NULL
		               ? getKeyJsonValueFromContainer(target, key.val.string.val, key.val.string.len, NULL)
		               : NULL,
		           &value, state);
	}
	return pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

PG_FUNCTION_INFO_V1(pe_jsonb_merge_patch);

/* jsonb_merge_patch(target, patch): a patch that is no object takes the target's place. */
Datum
pe_jsonb_merge_patch(PG_FUNCTION_ARGS)
{
	Jsonb *target = PG_GETARG_JSONB_P(0);
	Jsonb *patch = PG_GETARG_JSONB_P(1);
	JsonbParseState *state = NULL;

	if (!JB_ROOT_IS_OBJECT(patch))
		PG_RETURN_JSONB_P(patch);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(
	    merge_objects(JB_ROOT_IS_OBJECT(target) ? &target->root : NULL, &patch->root, &state)));
}
