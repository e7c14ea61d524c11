/*
 * xdm_shape.c
 *		Parsing and writing the text form of a field's type.
 */
#include "platform/xdm_shape.h"

typedef struct parser
{
	const char *text;
	size_t at;
	pe_pool *pool;
	pe_error *err;
} parser;

static const struct
{
	const char *word;
	pe_xdm_type type;
} simple_types[] = {
    {"string", PE_XDM_STRING},      {"number", PE_XDM_NUMBER},   {"integer", PE_XDM_INTEGER},
    {"long", PE_XDM_LONG},          {"boolean", PE_XDM_BOOLEAN}, {"date", PE_XDM_DATE},
    {"date-time", PE_XDM_DATETIME},
};

static pe_status parse_type(parser *p, int depth, pe_xdm_field *field);

static bool
is_word_character(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

bool
pe_xdm_name_ok(const char *name, size_t length)
{
	if (length == 0 || length > PE_XDM_NAME_MAX || name[0] == '_')
		return false;
	for (size_t i = 0; i < length; i++)
	{
		if (!is_word_character(name[i]))
			return false;
	}
	return true;
}

static pe_status
shape_error(parser *p, const char *what)
{
	pe_fail(p->err, PE_INVALID_OPTION, "invalid type at character %zu: %s", p->at + 1, what);
	pe_error_hint(p->err, "Types are string, number, integer, long, boolean, date, date-time, array<type>, "
	                      "map<string>, map<integer> and {name:type,...}.");
	return PE_INVALID_OPTION;
}

static void
skip_blanks(parser *p)
{
	while (p->text[p->at] == ' ' || p->text[p->at] == '\t' || p->text[p->at] == '\n' ||
	       p->text[p->at] == '\r')
		p->at++;
}

static bool
take(parser *p, char c)
{
	skip_blanks(p);
	if (p->text[p->at] != c)
		return false;
	p->at++;
	return true;
}

/* Length of the word at the next non-blank; 0 when there is none. */
static size_t
next_word(parser *p, const char **word)
{
	size_t length = 0;

	skip_blanks(p);
	*word = p->text + p->at;
	while (is_word_character((*word)[length]))
		length++;
	return length;
}

static bool
is_word(const char *word, size_t length, const char *expected)
{
	return strlen(expected) == length && memcmp(word, expected, length) == 0;
}

/* "<" type ">" after array or map. */
static pe_status
parse_item(parser *p, int depth, pe_xdm_field *field)
{
	pe_xdm_field *item = pe_pool_alloc(p->pool, sizeof(*item));
	pe_status status;

	if (item == NULL)
		return pe_fail_memory(p->err);
	if (!take(p, '<'))
		return shape_error(p, "\"<\" expected");
	status = parse_type(p, depth + 1, item);
	if (status != PE_OK)
		return status;
	if (!take(p, '>'))
		return shape_error(p, "\">\" expected");
	if (field->type == PE_XDM_MAP && item->type != PE_XDM_STRING && item->type != PE_XDM_INTEGER)
		return shape_error(p, "maps hold string or integer only");
	if (field->type == PE_XDM_ARRAY && (item->type == PE_XDM_ARRAY || item->type == PE_XDM_MAP))
		return shape_error(p, "arrays hold no arrays or maps");
	field->items = item;
	field->item_count = 1;
	return PE_OK;
}

static bool
has_member(const pe_xdm_field *members, int count, const char *name, size_t length)
{
	for (int i = 0; i < count; i++)
	{
		if (is_word(name, length, members[i].name))
			return true;
	}
	return false;
}

static pe_status
parse_member(parser *p, int depth, pe_xdm_field *members, int count)
{
	const char *name;
	size_t length = next_word(p, &name);

	if (!pe_xdm_name_ok(name, length))
		return shape_error(p, "a name of letters, digits, _ and - expected, not beginning with _");
	if (has_member(members, count, name, length))
		return shape_error(p, "name used twice");
	p->at += length;
	if (!take(p, ':'))
		return shape_error(p, "\":\" expected");
	members[count].name = pe_pool_strndup(p->pool, name, length);
	if (members[count].name == NULL)
		return pe_fail_memory(p->err);
	return parse_type(p, depth + 1, &members[count]);
}

/* name ":" type { "," name ":" type } "}" after the opening brace. */
static pe_status
parse_members(parser *p, int depth, pe_xdm_field *field)
{
	pe_xdm_field *members = NULL;
	int count = 0;
	int room = 0;

	field->type = PE_XDM_OBJECT;
	do
	{
		pe_status status;

		if (count == PE_SHAPE_MAX_MEMBERS)
			return shape_error(p, "too many members");
		if (count == room)
		{
			int more = room == 0 ? 8 : room * 2;

			members = pe_pool_grow(p->pool, members, (size_t) room * sizeof(*members),
			                       (size_t) more * sizeof(*members));
			if (members == NULL)
				return pe_fail_memory(p->err);
			room = more;
		}
		status = parse_member(p, depth, members, count);
		if (status != PE_OK)
			return status;
		count++;
	} while (take(p, ','));
	if (!take(p, '}'))
		return shape_error(p, "\",\" or \"}\" expected");
	field->items = members;
	field->item_count = count;
	return PE_OK;
}

static pe_status
parse_type(parser *p, int depth, pe_xdm_field *field)
{
	const char *word;
	size_t length;

	if (depth > PE_SHAPE_MAX_DEPTH)
		return shape_error(p, "nested too deeply");
	if (take(p, '{'))
		return parse_members(p, depth, field);
	length = next_word(p, &word);
	for (size_t i = 0; i < sizeof(simple_types) / sizeof(simple_types[0]); i++)
	{
		if (is_word(word, length, simple_types[i].word))
		{
			p->at += length;
			field->type = simple_types[i].type;
			return PE_OK;
		}
	}
	if (is_word(word, length, "array"))
		field->type = PE_XDM_ARRAY;
	else if (is_word(word, length, "map"))
		field->type = PE_XDM_MAP;
	else
		return shape_error(p, "no such type");
	p->at += length;
	return parse_item(p, depth, field);
}

pe_status
pe_shape_parse(const char *text, pe_pool *pool, pe_xdm_field *field, pe_error *err)
{
	parser p = {.text = text, .at = 0, .pool = pool, .err = err};
	pe_status status;

	if (strlen(text) > PE_SHAPE_MAX_LENGTH)
		return pe_fail(err, PE_LIMIT, "type is longer than %d characters", PE_SHAPE_MAX_LENGTH);
	field->items = NULL;
	field->item_count = 0;
	status = parse_type(&p, 1, field);
	if (status != PE_OK)
		return status;
	skip_blanks(&p);
	if (text[p.at] != '\0')
		return shape_error(&p, "nothing more expected");
	return PE_OK;
}

void
pe_shape_write(pe_text *text, const pe_xdm_field *field)
{
	switch (field->type)
	{
		case PE_XDM_ARRAY:
		case PE_XDM_MAP:
			pe_text_puts(text, field->type == PE_XDM_ARRAY ? "array<" : "map<");
			if (field->item_count == 1)
				pe_shape_write(text, field->items);
			pe_text_puts(text, ">");
			return;
		case PE_XDM_OBJECT:
			for (int i = 0; i < field->item_count; i++)
			{
				pe_text_puts(text, i == 0 ? "{" : ",");
				pe_text_puts(text, field->items[i].name);
				pe_text_puts(text, ":");
				pe_shape_write(text, &field->items[i]);
			}
			pe_text_puts(text, "}");
			return;
		default:
			break;
	}
	for (size_t i = 0; i < sizeof(simple_types) / sizeof(simple_types[0]); i++)
	{
		if (simple_types[i].type == field->type)
			pe_text_puts(text, simple_types[i].word);
	}
}
