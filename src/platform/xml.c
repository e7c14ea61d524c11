/*
 * xml.c
 *		The next element of a name, and its text.
 */
#include <stdlib.h>

#include "platform/xml.h"

/* Where text begins in rest, or NULL. */
static const char *
find(pe_xml rest, const char *text, size_t length)
{
	return rest.length >= length ? memmem(rest.start, rest.length, text, length) : NULL;
}

static pe_xml
from(pe_xml whole, const char *at)
{
	return (pe_xml){at, (size_t) (whole.start + whole.length - at)};
}

/* The next "<tag" with nothing more of a name behind it: where that ends; NULL: none. */
static const char *
find_opening(pe_xml rest, const char *tag, size_t length)
{
	const char *at;

	while ((at = find(rest, "<", 1)) != NULL)
	{
		rest = from(rest, at + 1);
		if (rest.length <= length)
			return NULL;
		if (memcmp(rest.start, tag, length) == 0 && strchr("> \t\r\n/", rest.start[length]) != NULL &&
		    rest.start[length] != '\0')
			return rest.start + length;
	}
	return NULL;
}

/* Behind the ">" that ends the tag; *empty for one that ends with "/>". NULL: cut off. */
static const char *
end_of_tag(pe_xml rest, bool *empty)
{
	const char *end = find(rest, ">", 1);

	*empty = end != NULL && end > rest.start && end[-1] == '/';
	return end != NULL ? end + 1 : NULL;
}

/* The next "</tag": where it begins; NULL: none. */
static const char *
find_closing(pe_xml rest, const char *tag, size_t length)
{
	const char *at;

	while ((at = find(rest, "</", 2)) != NULL)
	{
		rest = from(rest, at + 2);
		if (rest.length > length && memcmp(rest.start, tag, length) == 0 &&
		    (rest.start[length] == '>' || rest.start[length] == ' '))
			return at;
	}
	return NULL;
}

bool
pe_xml_next(pe_xml *rest, const char *tag, pe_xml *content)
{
	size_t length = strlen(tag);
	const char *at = find_opening(*rest, tag, length);
	const char *closing;
	bool empty;

	if (at == NULL)
		return false;
	at = end_of_tag(from(*rest, at), &empty);
	if (at == NULL)
		return false;
	if (empty)
	{
		*content = (pe_xml){at, 0};
		*rest = from(*rest, at);
		return true;
	}
	closing = find_closing(from(*rest, at), tag, length);
	if (closing == NULL)
		return false;
	*content = (pe_xml){at, (size_t) (closing - at)};
	*rest = from(*rest, closing + 2 + length);
	return true;
}

static size_t
put_utf8(char *to, unsigned long code)
{
	if (code < 0x80)
	{
		to[0] = (char) code;
		return 1;
	}
	if (code < 0x800)
	{
		to[0] = (char) (0xC0 | code >> 6);
		to[1] = (char) (0x80 | (code & 0x3F));
		return 2;
	}
	if (code < 0x10000)
	{
		to[0] = (char) (0xE0 | code >> 12);
		to[1] = (char) (0x80 | (code >> 6 & 0x3F));
		to[2] = (char) (0x80 | (code & 0x3F));
		return 3;
	}
	to[0] = (char) (0xF0 | code >> 18);
	to[1] = (char) (0x80 | (code >> 12 & 0x3F));
	to[2] = (char) (0x80 | (code >> 6 & 0x3F));
	to[3] = (char) (0x80 | (code & 0x3F));
	return 4;
}

/* The entity at "&name;", name being length bytes: its text into to, never longer than itself; 0: not one of
 * ours. */
static size_t
resolve(const char *name, size_t length, char *to)
{
	static const struct
	{
		const char *name;
		char text;
	} known[] = {{"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"apos", '\''}};
	char digits[16];
	unsigned long code;
	char *end;

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
	{
		if (strlen(known[i].name) == length && memcmp(known[i].name, name, length) == 0)
		{
			*to = known[i].text;
			return 1;
		}
	}
	if (length < 2 || length > 10 || name[0] != '#')
		return 0;
	memcpy(digits, name + 1, length - 1);
	digits[length - 1] = '\0';
	code = digits[0] == 'x' || digits[0] == 'X' ? strtoul(digits + 1, &end, 16) : strtoul(digits, &end, 10);
	if (*end != '\0' || code == 0 || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
		return 0;
	return put_utf8(to, code);
}

char *
pe_xml_text(pe_pool *pool, pe_xml content)
{
	/* An entity is never shorter than what it stands for: "&#x0;" and longer for at most 4 bytes. */
	char *text = pe_pool_alloc(pool, content.length + 1);
	size_t length = 0;

	if (text == NULL)
		return NULL;
	for (size_t i = 0; i < content.length; i++)
	{
		const char *semicolon =
		    content.start[i] == '&' ? memchr(content.start + i, ';', content.length - i) : NULL;
		size_t size = semicolon != NULL ? resolve(content.start + i + 1,
		                                          (size_t) (semicolon - content.start) - i - 1, text + length)
		                                : 0;

		if (size == 0)
			text[length++] = content.start[i];
		else
		{
			length += size;
			i = (size_t) (semicolon - content.start);
		}
	}
	text[length] = '\0';
	return text;
}

char *
pe_xml_member(pe_pool *pool, pe_xml whole, const char *tag)
{
	pe_xml content;

	return pe_xml_next(&whole, tag, &content) ? pe_xml_text(pool, content) : pe_pool_strdup(pool, "");
}
