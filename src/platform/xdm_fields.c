/*
 * xdm_fields.c
 *		Field definitions: checking names and nesting, writing them as JSON Schema,
 *		reading what the Registry has, and the difference of the two.
 */
#include <ctype.h>

#include "platform/xdm_fields.h"

#define MAX_NAME  100
#define MAX_DEPTH 8

const char *
pe_xdm_type_name(pe_xdm_type type)
{
	switch (type)
	{
		case PE_XDM_STRING:
			return "string";
		case PE_XDM_NUMBER:
			return "number";
		case PE_XDM_INTEGER:
			return "integer";
		case PE_XDM_LONG:
			return "long";
		case PE_XDM_BOOLEAN:
			return "boolean";
		case PE_XDM_DATE:
			return "date";
		case PE_XDM_DATETIME:
			return "date-time";
		case PE_XDM_ARRAY:
			return "array";
		case PE_XDM_MAP:
			return "map";
		case PE_XDM_OBJECT:
			return "object";
		case PE_XDM_OTHER:
			break;
	}
	return "unknown";
}

static pe_status
check_name(const char *name, pe_error *err)
{
	if (name == NULL || name[0] == '\0')
		return pe_fail(err, PE_INVALID_OPTION, "an attribute has no name");
	for (const char *p = name; *p != '\0'; p++)
		if (!((unsigned char) *p < 0x80 && (isalnum((unsigned char) *p) || *p == '_' || *p == '-')))
		{
			pe_fail(err, PE_INVALID_OPTION, "attribute name \"%.100s\" is not possible on the platform",
			        name);
			pe_error_hint(err, "Names there are letters, digits, _ and -.");
			return PE_INVALID_OPTION;
		}
	if (name[0] == '_' || strlen(name) > MAX_NAME)
	{
		pe_fail(err, PE_INVALID_OPTION, "attribute name \"%.100s\" is not possible on the platform", name);
		pe_error_hint(err, "A name must not begin with _ and is at most %d bytes long.", MAX_NAME);
		return PE_INVALID_OPTION;
	}
	return PE_OK;
}

static pe_status check_members(const pe_xdm_field *fields, int count, int depth, pe_error *err);

/* What may stand where; name is the nearest named field's, for the message. */
static pe_status
check_type(const pe_xdm_field *field, const char *name, int depth, pe_error *err)
{
	const pe_xdm_field *item = field->items;

	if (depth > MAX_DEPTH)
		return pe_fail(err, PE_LIMIT, "attribute \"%s\" is nested more than %d deep", name, MAX_DEPTH);
	switch (field->type)
	{
		case PE_XDM_OTHER:
			return pe_fail(err, PE_UNSUPPORTED, "attribute \"%s\" has no type the platform knows", name);
		case PE_XDM_OBJECT:
			if (field->item_count < 1)
				return pe_fail(err, PE_INVALID_OPTION, "attribute \"%s\" is an object without members", name);
			return check_members(item, field->item_count, depth + 1, err);
		case PE_XDM_MAP:
			if (field->item_count == 1 && (item->type == PE_XDM_STRING || item->type == PE_XDM_INTEGER))
				return PE_OK;
			pe_fail(err, PE_INVALID_OPTION,
			        "attribute \"%s\" is a map of something else than strings or integers", name);
			pe_error_hint(
			    err, "The platform's maps hold strings or integers only: scale probabilities to integers, or "
			         "use an array of objects.");
			return PE_INVALID_OPTION;
		case PE_XDM_ARRAY:
			if (field->item_count != 1 || item->type == PE_XDM_ARRAY || item->type == PE_XDM_MAP)
				return pe_fail(err, PE_INVALID_OPTION,
				               "attribute \"%s\" is an array of arrays or maps, or of nothing", name);
			return check_type(item, name, depth + 1, err);
		default:
			return PE_OK;
	}
}

static pe_status
check_members(const pe_xdm_field *fields, int count, int depth, pe_error *err)
{
	for (int i = 0; i < count; i++)
	{
		pe_status status = check_name(fields[i].name, err);

		/* the lake's column names do not tell case apart */
		for (int j = 0; j < i && status == PE_OK; j++)
			if (strcasecmp(fields[i].name, fields[j].name) == 0)
				status = pe_fail(err, PE_INVALID_OPTION, "attribute \"%s\" is there twice", fields[i].name);
		if (status == PE_OK)
			status = check_type(&fields[i], fields[i].name, depth, err);
		if (status != PE_OK)
			return status;
	}
	return PE_OK;
}

pe_status
pe_xdm_check_fields(const pe_xdm_field *fields, int count, pe_error *err)
{
	if (count < 1)
		return pe_fail(err, PE_INVALID_OPTION, "there are no attributes to write");
	return check_members(fields, count, 1, err);
}

void
pe_xdm_write(pe_text *text, const pe_xdm_field *field)
{
	const char *title = field->title != NULL ? field->title : field->name;

	pe_text_puts(text, "{");
	if (title != NULL)
	{
		pe_text_puts(text, "\"title\":");
		pe_text_json(text, title, strlen(title));
		pe_text_puts(text, ",");
	}
	switch (field->type)
	{
		case PE_XDM_STRING:
		case PE_XDM_OTHER:
			pe_text_puts(text, "\"type\":\"string\"");
			break;
		case PE_XDM_NUMBER:
			pe_text_puts(text, "\"type\":\"number\"");
			break;
		case PE_XDM_INTEGER:
			pe_text_puts(text, "\"type\":\"integer\",\"minimum\":-2147483648,\"maximum\":2147483647");
			break;
		case PE_XDM_LONG:
			pe_text_puts(text,
			             "\"type\":\"integer\",\"minimum\":-9007199254740992,\"maximum\":9007199254740992");
			break;
		case PE_XDM_BOOLEAN:
			pe_text_puts(text, "\"type\":\"boolean\"");
			break;
		case PE_XDM_DATE:
			pe_text_puts(text, "\"type\":\"string\",\"format\":\"date\"");
			break;
		case PE_XDM_DATETIME:
			pe_text_puts(text, "\"type\":\"string\",\"format\":\"date-time\"");
			break;
		case PE_XDM_ARRAY:
			pe_text_puts(text, "\"type\":\"array\",\"items\":");
			if (field->item_count > 0)
				pe_xdm_write(text, field->items);
			break;
		case PE_XDM_MAP:
			/* the values' type alone: bounds are not expected there */
			pe_text_printf(
			    text,
			    "\"type\":\"object\",\"meta:xdmType\":\"map\",\"additionalProperties\":{\"type\":\"%s\"}",
			    field->item_count > 0 && field->items->type == PE_XDM_INTEGER ? "integer" : "string");
			break;
		case PE_XDM_OBJECT:
			pe_text_puts(text, "\"type\":\"object\",\"properties\":");
			pe_xdm_write_members(text, field->items, field->item_count);
			break;
	}
	pe_text_puts(text, "}");
}

void
pe_xdm_write_members(pe_text *text, const pe_xdm_field *fields, int count)
{
	pe_text_puts(text, "{");
	for (int i = 0; i < count; i++)
	{
		if (i > 0)
			pe_text_puts(text, ",");
		pe_text_json(text, fields[i].name, strlen(fields[i].name));
		pe_text_puts(text, ":");
		pe_xdm_write(text, &fields[i]);
	}
	pe_text_puts(text, "}");
}

static bool
text_is(pe_json *object, const char *key, const char *value)
{
	const char *text = pe_json_string(object, key);

	return text != NULL && strcmp(text, value) == 0;
}

/* The type of a scalar: meta:xdmType where the Registry gives it, else type, format and bounds. */
static pe_xdm_type
scalar_type(pe_json *json)
{
	static const struct
	{
		const char *name;
		pe_xdm_type type;
	} named[] = {
	    {"string", PE_XDM_STRING},   {"double", PE_XDM_NUMBER},   {"number", PE_XDM_NUMBER},
	    {"int", PE_XDM_INTEGER},     {"integer", PE_XDM_INTEGER}, {"long", PE_XDM_LONG},
	    {"boolean", PE_XDM_BOOLEAN}, {"date", PE_XDM_DATE},       {"date-time", PE_XDM_DATETIME},
	};
	const char *type = pe_json_string(json, "meta:xdmType");
	int64_t bound;

	for (size_t i = 0; type != NULL && i < sizeof(named) / sizeof(named[0]); i++)
		if (strcmp(type, named[i].name) == 0)
			return named[i].type;
	if (type != NULL)
		return PE_XDM_OTHER;
	if (text_is(json, "type", "string"))
		return text_is(json, "format", "date")        ? PE_XDM_DATE
		       : text_is(json, "format", "date-time") ? PE_XDM_DATETIME
		                                              : PE_XDM_STRING;
	if (text_is(json, "type", "number"))
		return PE_XDM_NUMBER;
	if (text_is(json, "type", "boolean"))
		return PE_XDM_BOOLEAN;
	if (!text_is(json, "type", "integer"))
		return PE_XDM_OTHER;
	if (!pe_json_int64(json, "maximum", &bound))
		return pe_json_member(json, "maximum") != NULL ? PE_XDM_LONG : PE_XDM_INTEGER;
	return bound > 2147483648 ? PE_XDM_LONG : bound < 2147483647 ? PE_XDM_OTHER : PE_XDM_INTEGER;
}

/* One definition; the parser's depth limit bounds the recursion. */
static pe_status
read_field(pe_pool *pool, pe_json *json, pe_xdm_field *field, pe_error *err)
{
	pe_json *values = pe_json_member(json, "additionalProperties");
	pe_json *properties = pe_json_member(json, "properties");
	pe_json *single = NULL;

	if (text_is(json, "type", "array"))
	{
		field->type = PE_XDM_ARRAY;
		single = pe_json_member(json, "items");
	}
	else if (pe_json_is_object(properties))
	{
		pe_xdm_field *members;

		field->type = PE_XDM_OBJECT;
		if (pe_xdm_read_members(pool, properties, &members, &field->item_count, err) != PE_OK)
			return err->code;
		field->items = members;
		return PE_OK;
	}
	else if (text_is(json, "meta:xdmType", "map") || pe_json_is_object(values))
	{
		field->type = PE_XDM_MAP;
		single = values;
	}
	else
	{
		field->type = scalar_type(json);
		return PE_OK;
	}
	if (pe_json_is_object(single))
	{
		pe_xdm_field *item = pe_pool_alloc(pool, sizeof(*item));

		if (item == NULL)
			return pe_fail_memory(err);
		field->items = item;
		field->item_count = 1;
		return read_field(pool, single, item, err);
	}
	return PE_OK;
}

pe_status
pe_xdm_read_members(pe_pool *pool, pe_json *properties, pe_xdm_field **fields, int *count, pe_error *err)
{
	int total = pe_json_is_object(properties) ? json_object_object_length(properties) : 0;
	pe_xdm_field *list = pe_pool_alloc(pool, (size_t) total * sizeof(*list));
	pe_status status = PE_OK;
	int used = 0;

	*fields = list;
	*count = 0;
	if (list == NULL)
		return pe_fail_memory(err);
	if (total == 0)
		return PE_OK;
	json_object_object_foreach(properties, name, definition)
	{
		if (status != PE_OK || used >= total)
			break;
		list[used].name = pe_pool_strdup(pool, name);
		if (list[used].name == NULL)
			status = pe_fail_memory(err);
		else
			status = read_field(pool, definition, &list[used], err);
		used++;
	}
	*count = used;
	return status;
}

static const pe_xdm_field *
find_field(const pe_xdm_field *fields, int count, const char *name)
{
	for (int i = 0; i < count; i++)
		if (strcmp(fields[i].name, name) == 0)
			return &fields[i];
	return NULL;
}

/* Can values of wanted's type be written to a field of present's? */
static bool
holds(const pe_xdm_field *present, const pe_xdm_field *wanted)
{
	return present->type == wanted->type || (present->type == PE_XDM_LONG && wanted->type == PE_XDM_INTEGER);
}

static pe_status
compare_field(const pe_xdm_field *wanted, const pe_xdm_field *present, const char *name, const char *path,
              pe_text *patch, int *added, pe_error *err)
{
	char below[1024];
	const pe_xdm_field *item = wanted->items;

	if (!holds(present, wanted))
	{
		pe_fail(err, PE_CONFLICT, "attribute \"%s\" is of type %s on the platform, not %s", name,
		        pe_xdm_type_name(present->type), pe_xdm_type_name(wanted->type));
		pe_error_hint(err, "A field's type cannot change there: give the attribute another name.");
		return PE_CONFLICT;
	}
	if (wanted->type == PE_XDM_OBJECT)
	{
		if ((size_t) snprintf(below, sizeof(below), "%s/properties", path) >= sizeof(below))
			return pe_fail(err, PE_LIMIT, "the path of attribute \"%s\" is too long", name);
		return pe_xdm_missing(item, wanted->item_count, present->items, present->item_count, below, patch,
		                      added, err);
	}
	if ((wanted->type == PE_XDM_ARRAY || wanted->type == PE_XDM_MAP) && wanted->item_count == 1)
	{
		if (present->item_count != 1)
			return pe_fail(err, PE_CONFLICT, "attribute \"%s\" has no item type on the platform", name);
		if ((size_t) snprintf(below, sizeof(below), "%s/items", path) >= sizeof(below))
			return pe_fail(err, PE_LIMIT, "the path of attribute \"%s\" is too long", name);
		return compare_field(item, present->items, name, below, patch, added, err);
	}
	return PE_OK;
}

pe_status
pe_xdm_missing(const pe_xdm_field *wanted, int wanted_count, const pe_xdm_field *present, int present_count,
               const char *base, pe_text *patch, int *added, pe_error *err)
{
	for (int i = 0; i < wanted_count; i++)
	{
		const pe_xdm_field *found = find_field(present, present_count, wanted[i].name);
		char path[1024];
		pe_status status;

		if ((size_t) snprintf(path, sizeof(path), "%s/%s", base, wanted[i].name) >= sizeof(path))
			return pe_fail(err, PE_LIMIT, "the path of attribute \"%s\" is too long", wanted[i].name);
		if (found != NULL)
		{
			status = compare_field(&wanted[i], found, wanted[i].name, path, patch, added, err);
			if (status != PE_OK)
				return status;
			continue;
		}
		pe_text_puts(patch, *added > 0 ? ",{\"op\":\"add\",\"path\":" : "{\"op\":\"add\",\"path\":");
		pe_text_json(patch, path, strlen(path));
		pe_text_puts(patch, ",\"value\":");
		pe_xdm_write(patch, &wanted[i]);
		pe_text_puts(patch, "}");
		(*added)++;
	}
	return PE_OK;
}
