/*
 * json.c
 *		Bounded parsing and typed look-ups over json-c.
 */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>

#include "platform/json.h"

/* What json-c 0.16 takes for a value: its smallest containers hold 16 members or 32 items. */
#define OBJECT_COST 800
#define ARRAY_COST  400
#define VALUE_COST  96

/*
 * An upper bound of the tree's size in memory, from the text alone: three bytes "[],"
 * make four hundred, so a body that is small enough to receive may still be far too
 * big to parse.
 */
static size_t
tree_cost(const char *text, size_t length)
{
	size_t cost = length;
	bool in_string = false;

	for (size_t i = 0; i < length; i++)
	{
		char byte = text[i];

		if (in_string)
		{
			if (byte == '\\')
				i++;
			else if (byte == '"')
				in_string = false;
		}
		else if (byte == '"')
			in_string = true;
		else if (byte == '{')
			cost += OBJECT_COST;
		else if (byte == '[')
			cost += ARRAY_COST;
		else if (byte == ',')
			cost += VALUE_COST;
	}
	return cost;
}

pe_status
pe_json_parse(const char *text, size_t length, size_t memory, const char *what, pe_json **result,
              pe_error *err)
{
	struct json_tokener *tokener;
	pe_json *json;
	enum json_tokener_error error;
	size_t parsed;

	*result = NULL;
	if (length == 0)
		return pe_fail(err, PE_BAD_REPLY, "the %s is empty", what);
	if (length > INT_MAX / 2 || tree_cost(text, length) > (memory > 0 ? memory : PE_JSON_MEMORY))
		return pe_fail(err, PE_BAD_REPLY, "the %s is too large to be read", what);
	tokener = json_tokener_new_ex(PE_JSON_DEPTH);
	if (tokener == NULL)
		return pe_fail_memory(err);
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	json = json_tokener_parse_ex(tokener, text, (int) length);
	error = json_tokener_get_error(tokener);
	parsed = json_tokener_get_parse_end(tokener);
	json_tokener_free(tokener);
	while (error == json_tokener_success && parsed < length && strchr(" \t\r\n", text[parsed]) != NULL &&
	       text[parsed] != '\0')
		parsed++;
	if (error != json_tokener_success || parsed != length || json == NULL)
	{
		json_object_put(json);
		return pe_fail(err, PE_BAD_REPLY, "the %s is not the JSON it should be (%s)", what,
		               error == json_tokener_success    ? "more than one value, or none"
		               : error == json_tokener_continue ? "cut short"
		                                                : json_tokener_error_desc(error));
	}
	*result = json;
	return PE_OK;
}

void
pe_json_free(pe_json *json)
{
	json_object_put(json);
}

bool
pe_json_is_object(pe_json *json)
{
	return json_object_is_type(json, json_type_object);
}

bool
pe_json_is_array(pe_json *json)
{
	return json_object_is_type(json, json_type_array);
}

pe_json *
pe_json_member(pe_json *object, const char *key)
{
	pe_json *value = NULL;

	if (!pe_json_is_object(object) || !json_object_object_get_ex(object, key, &value))
		return NULL;
	return value;
}

pe_json *
pe_json_path(pe_json *object, ...)
{
	const char *key;
	va_list args;

	va_start(args, object);
	while (object != NULL && (key = va_arg(args, const char *)) != NULL)
		object = pe_json_member(object, key);
	va_end(args);
	return object;
}

int
pe_json_length(pe_json *array)
{
	return pe_json_is_array(array) ? (int) json_object_array_length(array) : 0;
}

pe_json *
pe_json_item(pe_json *array, int index)
{
	if (index < 0 || index >= pe_json_length(array))
		return NULL;
	return json_object_array_get_idx(array, (size_t) index);
}

const char *
pe_json_text(pe_json *json)
{
	const char *text;

	if (!json_object_is_type(json, json_type_string))
		return NULL;
	text = json_object_get_string(json);
	if (text == NULL || strlen(text) != (size_t) json_object_get_string_len(json))
		return NULL;
	return text;
}

const char *
pe_json_string(pe_json *object, const char *key)
{
	return pe_json_text(pe_json_member(object, key));
}

bool
pe_json_copy(pe_json *object, const char *key, char *buffer, size_t size)
{
	const char *text = pe_json_string(object, key);

	buffer[0] = '\0';
	if (text == NULL || strlen(text) >= size)
		return false;
	memcpy(buffer, text, strlen(text) + 1);
	return true;
}

char *
pe_json_dup(pe_pool *pool, pe_json *object, const char *key)
{
	const char *text = pe_json_string(object, key);

	return pe_pool_strdup(pool, text != NULL ? text : "");
}

static bool
text_to_int64(const char *text, int64_t *value)
{
	char *end;

	if (text[0] == '\0' || text[strspn(text, "-0123456789")] != '\0')
		return false;
	errno = 0;
	*value = strtoll(text, &end, 10);
	return *end == '\0' && errno == 0;
}

bool
pe_json_int64(pe_json *object, const char *key, int64_t *value)
{
	pe_json *member = pe_json_member(object, key);
	double number;

	switch (member != NULL ? json_object_get_type(member) : json_type_null)
	{
		case json_type_int:
			*value = json_object_get_int64(member);
			return true;
		case json_type_double:
			number = json_object_get_double(member);
			if (!(fabs(number) < 9e18) || number != trunc(number))
				return false;
			*value = (int64_t) number;
			return true;
		case json_type_string:
			return pe_json_text(member) != NULL && text_to_int64(pe_json_text(member), value);
		default:
			return false;
	}
}

int64_t
pe_json_int64_or(pe_json *object, const char *key, int64_t otherwise)
{
	int64_t value;

	return pe_json_int64(object, key, &value) ? value : otherwise;
}

bool
pe_json_bool_or(pe_json *object, const char *key, bool otherwise)
{
	pe_json *member = pe_json_member(object, key);
	const char *text = pe_json_text(member);

	if (json_object_is_type(member, json_type_boolean))
		return json_object_get_boolean(member);
	if (text != NULL && strcasecmp(text, "true") == 0)
		return true;
	if (text != NULL && strcasecmp(text, "false") == 0)
		return false;
	return otherwise;
}
