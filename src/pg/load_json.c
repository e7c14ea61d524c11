/*
 * load_json.c
 *		XDM paths in jsonb: finding values, turning them into columns, and what is
 *		left when they are taken out.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#include "pg/env.h"
#include "pg/load_json.h"
#include "pg/report.h"

/* A tree of the steps of those paths that have columns. */
struct LoadTaken
{
	const char *name;
	size_t length;
	bool whole;
	LoadTaken *child;   /* first */
	LoadTaken *sibling; /* next */
};

pe_xdm_path *
load_json_path(const char *path)
{
	pe_env env = pe_server_env(CurrentMemoryContext);
	pe_xdm_path *parsed;
	pe_error err;

	pe_check(pe_xdm_path_parse(&env, path, strlen(path), &parsed, &err), &err);
	return parsed;
}

bool
load_json_is_map(const char *name, size_t length)
{
	return (length == 11 && memcmp(name, "identityMap", 11) == 0) ||
	       (length == 17 && memcmp(name, "segmentMembership", 17) == 0);
}

/* Order of two scalars: numbers by size, texts bytewise, numbers before texts. */
static bool
smaller(const JsonbValue *a, const JsonbValue *b)
{
	if (a->type != b->type)
		return a->type < b->type;
	if (a->type == jbvNumeric)
		return DatumGetBool(DirectFunctionCall2(numeric_lt, NumericGetDatum(a->val.numeric),
		                                        NumericGetDatum(b->val.numeric)));
	if (a->type == jbvString)
	{
		int order = memcmp(a->val.string.val, b->val.string.val, Min(a->val.string.len, b->val.string.len));

		return order != 0 ? order < 0 : a->val.string.len < b->val.string.len;
	}
	if (a->type == jbvBool)
		return !a->val.boolean && b->val.boolean;
	return false;
}

/* The step as a list index; -1 when it is none. */
static int
list_index(const pe_xdm_step *step)
{
	int index = 0;

	if (step->length == 0 || step->length > 9)
		return -1;
	for (size_t i = 0; i < step->length; i++)
	{
		if (step->name[i] < '0' || step->name[i] > '9')
			return -1;
		index = index * 10 + (step->name[i] - '0');
	}
	return index;
}

static void find_from(JsonbValue *value, const pe_xdm_path *path, int step, JsonbValue *best, bool *found);

static void
find_in_list(JsonbContainer *list, const pe_xdm_path *path, int step, JsonbValue *best, bool *found)
{
	int index = list_index(&path->steps[step]);
	JsonbValue *element;
	int count = (int) JsonContainerSize(list);

	if (index >= 0)
	{
		element = index < count ? getIthJsonbValueFromContainer(list, index) : NULL;
		if (element != NULL)
			find_from(element, path, step + 1, best, found);
		return;
	}
	for (int i = 0; i < count; i++)
	{
		element = getIthJsonbValueFromContainer(list, i);
		find_from(element, path, step, best, found);
	}
}

static void
find_in_object(JsonbContainer *object, const pe_xdm_path *path, int step, JsonbValue *best, bool *found)
{
	const pe_xdm_step *wanted = &path->steps[step];
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue value;

	if (step == 0 || !load_json_is_map(path->steps[step - 1].name, path->steps[step - 1].length))
	{
		if (getKeyJsonValueFromContainer(object, wanted->name, (int) wanted->length, &value) != NULL)
			find_from(&value, path, step + 1, best, found);
		return;
	}
	it = JsonbIteratorInit(object);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		bool same;

		if (token != WJB_KEY)
			continue;
		same = value.val.string.len == (int) wanted->length &&
		       pg_strncasecmp(value.val.string.val, wanted->name, wanted->length) == 0;
		(void) JsonbIteratorNext(&it, &value, true);
		if (same)
			find_from(&value, path, step + 1, best, found);
	}
}

static void
find_from(JsonbValue *value, const pe_xdm_path *path, int step, JsonbValue *best, bool *found)
{
	check_stack_depth();
	if (step == path->count)
	{
		if (value->type == jbvNull || (*found && !smaller(value, best)))
			return;
		*best = *value;
		*found = true;
		return;
	}
	if (value->type != jbvBinary)
		return;
	if (JsonContainerIsArray(value->val.binary.data))
		find_in_list(value->val.binary.data, path, step, best, found);
	else
		find_in_object(value->val.binary.data, path, step, best, found);
}

bool
load_json_find(JsonbContainer *object, const pe_xdm_path *path, JsonbValue *found)
{
	bool any = false;

	find_in_object(object, path, 0, found, &any);
	return any;
}

int
load_json_seen(const JsonbValue *value, int already)
{
	switch (value->type)
	{
		case jbvBool:
			return LOAD_SEEN_BOOL;
		case jbvString:
			if (already & LOAD_SEEN_TEXT)
				return LOAD_SEEN_TEXT;
			return load_classify_text(value->val.string.val, value->val.string.len, false);
		case jbvNumeric:
		{
			char *text;
			size_t digits;

			if (already & LOAD_SEEN_DOUBLE)
				return LOAD_SEEN_DOUBLE;
			text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
			digits = strspn(text, "-0123456789");

			if (text[digits] != '\0')
				return LOAD_SEEN_DOUBLE;
			return digits <= 18 ? LOAD_SEEN_INT : LOAD_SEEN_NUMERIC;
		}
		default:
			return LOAD_SEEN_CONTAINER;
	}
}

/* A whole number that fits, or nothing: never rounded. */
static int64
whole_number(LoadColumn *column, Numeric number, int64 low, int64 high)
{
	int64 value = DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(number)));

	if (DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(int64_to_numeric(value)),
	                                      NumericGetDatum(number))) != 0)
		load_mismatch(column, ERRCODE_INVALID_TEXT_REPRESENTATION);
	if (value < low || value > high)
		load_mismatch(column, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE);
	return value;
}

static Datum
number_datum(LoadColumn *column, Numeric number)
{
	Datum value = NumericGetDatum(number);
	char *text;

	switch (column->type)
	{
		case INT2OID:
			return Int16GetDatum((int16) whole_number(column, number, PG_INT16_MIN, PG_INT16_MAX));
		case INT4OID:
			return Int32GetDatum((int32) whole_number(column, number, PG_INT32_MIN, PG_INT32_MAX));
		case INT8OID:
			return Int64GetDatum(whole_number(column, number, PG_INT64_MIN, PG_INT64_MAX));
		case FLOAT4OID:
			return DirectFunctionCall1(numeric_float4, value);
		case FLOAT8OID:
			return DirectFunctionCall1(numeric_float8, value);
		default:
			text = DatumGetCString(DirectFunctionCall1(numeric_out, value));
			return load_text_datum(column, text, strlen(text));
	}
}

Datum
load_json_datum(LoadColumn *column, JsonbValue *value)
{
	Datum datum;
	char *text;

	if (column->type == JSONBOID)
		return JsonbPGetDatum(JsonbValueToJsonb(value));
	load_position.column = column;
	switch (value->type)
	{
		case jbvString:
			if (column->type == JSONOID)
				text = JsonbToCString(NULL, &JsonbValueToJsonb(value)->root, -1);
			else
				text = pnstrdup(value->val.string.val, value->val.string.len);
			datum = load_text_datum(column, text, strlen(text));
			break;
		case jbvNumeric:
			datum = number_datum(column, value->val.numeric);
			break;
		case jbvBool:
			text = value->val.boolean ? "true" : "false";
			datum = column->type == BOOLOID ? BoolGetDatum(value->val.boolean)
			                                : load_text_datum(column, text, strlen(text));
			break;
		default:
			text = JsonbToCString(NULL, value->val.binary.data, value->val.binary.len);
			datum = load_text_datum(column, text, strlen(text));
	}
	load_position.column = NULL;
	return datum;
}

/* The order that jsonb keeps keys in: by length, then by bytes. */
static int
compare_names(const char *a, size_t a_length, const char *b, size_t b_length)
{
	if (a_length != b_length)
		return a_length < b_length ? -1 : 1;
	return memcmp(a, b, a_length);
}

/* The child of that name, made in its place among its siblings if need be. */
static LoadTaken *
need_child(LoadTaken *parent, const pe_xdm_step *step)
{
	LoadTaken **place = &parent->child;
	LoadTaken *child;

	while (*place != NULL && compare_names((*place)->name, (*place)->length, step->name, step->length) < 0)
		place = &(*place)->sibling;
	if (*place != NULL && compare_names((*place)->name, (*place)->length, step->name, step->length) == 0)
		return *place;
	child = palloc0(sizeof(LoadTaken));
	child->name = step->name;
	child->length = step->length;
	child->sibling = *place;
	*place = child;
	return child;
}

LoadTaken *
load_json_taken(const LoadPlan *plan, pe_xdm_path *const *paths)
{
	LoadTaken *root = palloc0(sizeof(LoadTaken));

	for (int i = 0; i < plan->count; i++)
	{
		LoadTaken *node = root;

		/* A column of one id of a map does not take the map. */
		if (paths[i] == NULL || load_json_is_map(paths[i]->steps[0].name, paths[i]->steps[0].length))
			continue;
		for (int step = 0; step < paths[i]->count; step++)
			node = need_child(node, &paths[i]->steps[step]);
		node->whole = true;
	}
	return root;
}

/* The object as a value to push, or NULL when nothing is left of it. taken may be NULL. */
static JsonbValue *
rest_of(JsonbContainer *object, const LoadTaken *taken)
{
	JsonbParseState *state = NULL;
	JsonbIterator *it = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue key, value;
	JsonbValue *whole;
	const LoadTaken *next = taken != NULL ? taken->child : NULL;
	bool any = false;

	check_stack_depth();
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	while ((token = JsonbIteratorNext(&it, &key, true)) != WJB_DONE)
	{
		const LoadTaken *child = NULL;
		JsonbValue *kept = &value;

		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&it, &value, true);
		/* Both sides are in the same order: walk along. */
		while (next != NULL &&
		       compare_names(next->name, next->length, key.val.string.val, key.val.string.len) < 0)
			next = next->sibling;
		if (next != NULL &&
		    compare_names(next->name, next->length, key.val.string.val, key.val.string.len) == 0)
			child = next;
		if (value.type == jbvNull || (child != NULL && child->whole))
			continue;
		if (value.type == jbvBinary && JsonContainerIsObject(value.val.binary.data))
			kept = rest_of(value.val.binary.data, child);
		if (kept == NULL)
			continue;
		(void) pushJsonbValue(&state, WJB_KEY, &key);
		(void) pushJsonbValue(&state, WJB_VALUE, kept);
		any = true;
	}
	whole = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return any ? whole : NULL;
}

bool
load_json_rest(JsonbContainer *object, const LoadTaken *taken, Datum *rest)
{
	JsonbValue *value = rest_of(object, taken);

	if (value == NULL)
		return false;
	*rest = JsonbPGetDatum(JsonbValueToJsonb(value));
	return true;
}
