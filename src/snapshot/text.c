/*
 * text.c
 *		UTF-8 and JSON checks: see text.h. Both are linear and use no memory.
 */
#include "snapshot/text.h"

/* Bytes of the well-formed character at text, 0 when it is none. */
static size_t
utf8_length(const unsigned char *text, size_t left)
{
	unsigned char first = text[0];
	unsigned char low = 0x80;
	unsigned char high = 0xbf;
	size_t length;

	if (first < 0x80)
		return first != 0 ? 1 : 0;
	if (first < 0xc2 || first > 0xf4)
		return 0;
	length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
	if (left < length)
		return 0;
	/* The second byte's range excludes overlong forms, surrogates and what is beyond U+10FFFF. */
	if (first == 0xe0)
		low = 0xa0;
	else if (first == 0xed)
		high = 0x9f;
	else if (first == 0xf0)
		low = 0x90;
	else if (first == 0xf4)
		high = 0x8f;
	if (text[1] < low || text[1] > high)
		return 0;
	for (size_t i = 2; i < length; i++)
	{
		if ((text[i] & 0xc0) != 0x80)
			return 0;
	}
	return length;
}

/* Bytes at the front that are ASCII without NUL, eight at a time. */
static size_t
ascii_prefix(const unsigned char *text, size_t length)
{
	const uint64_t ones = UINT64_C(0x0101010101010101);
	const uint64_t highs = UINT64_C(0x8080808080808080);
	size_t at = 0;

	while (length - at >= 8)
	{
		uint64_t word;

		memcpy(&word, text + at, 8);
		if ((((word - ones) | word) & highs) != 0)
			break;
		at += 8;
	}
	return at;
}

bool
pe_text_valid(const char *text, size_t length)
{
	const unsigned char *bytes = (const unsigned char *) text;
	size_t at = 0;

	while (at < length)
	{
		size_t step = ascii_prefix(bytes + at, length - at);

		at += step;
		for (int i = 0; i < 8 && at < length; i++)
		{
			step = utf8_length(bytes + at, length - at);
			if (step == 0)
				return false;
			at += step;
		}
	}
	return true;
}

const char *
pe_text_fault(const char *text, size_t length)
{
	return memchr(text, '\0', length) != NULL ? "a NUL byte" : "invalid UTF-8";
}

int
pe_text_clip(const char *text, size_t length, size_t max)
{
	if (length <= max)
		return (int) length;
	while (max > 0 && ((unsigned char) text[max] & 0xc0) == 0x80)
		max--;
	return (int) max;
}

typedef struct json_scan
{
	const char *at;
	const char *end;
} json_scan;

static void
skip_space(json_scan *in)
{
	while (in->at < in->end && (*in->at == ' ' || *in->at == '\t' || *in->at == '\n' || *in->at == '\r'))
		in->at++;
}

static int
hex4(json_scan *in)
{
	int value = 0;

	if (in->end - in->at < 4)
		return -1;
	for (int i = 0; i < 4; i++)
	{
		char c = *in->at++;
		int digit;

		if (c >= '0' && c <= '9')
			digit = c - '0';
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			digit = (c | 0x20) - 'a' + 10;
		else
			return -1;
		value = value * 16 + digit;
	}
	return value;
}

/* After "\u": surrogates must come in pairs, and U+0000 cannot be stored. */
static bool
scan_unicode(json_scan *in)
{
	int code = hex4(in);

	if (code <= 0 || (code >= 0xdc00 && code <= 0xdfff))
		return false;
	if (code < 0xd800 || code > 0xdbff)
		return true;
	if (in->end - in->at < 2 || in->at[0] != '\\' || in->at[1] != 'u')
		return false;
	in->at += 2;
	code = hex4(in);
	return code >= 0xdc00 && code <= 0xdfff;
}

static bool
scan_string(json_scan *in)
{
	if (in->at >= in->end || *in->at != '"')
		return false;
	in->at++;
	while (in->at < in->end)
	{
		unsigned char c = (unsigned char) *in->at++;

		if (c == '"')
			return true;
		if (c < 0x20)
			return false;
		if (c != '\\')
			continue;
		if (in->at >= in->end)
			return false;
		c = (unsigned char) *in->at++;
		if (c == 'u')
		{
			if (!scan_unicode(in))
				return false;
		}
		else if (c == '\0' || strchr("\"\\/bfnrt", c) == NULL)
			return false;
	}
	return false;
}

static bool
scan_digits(json_scan *in)
{
	const char *start = in->at;

	while (in->at < in->end && *in->at >= '0' && *in->at <= '9')
		in->at++;
	return in->at > start;
}

static bool
scan_number(json_scan *in)
{
	if (in->at < in->end && *in->at == '-')
		in->at++;
	if (in->at < in->end && *in->at == '0')
		in->at++;
	else if (!scan_digits(in))
		return false;
	if (in->at < in->end && *in->at == '.')
	{
		in->at++;
		if (!scan_digits(in))
			return false;
	}
	if (in->at < in->end && (*in->at == 'e' || *in->at == 'E'))
	{
		in->at++;
		if (in->at < in->end && (*in->at == '+' || *in->at == '-'))
			in->at++;
		return scan_digits(in);
	}
	return true;
}

static bool
scan_word(json_scan *in, const char *word)
{
	size_t length = strlen(word);

	if ((size_t) (in->end - in->at) < length || memcmp(in->at, word, length) != 0)
		return false;
	in->at += length;
	return true;
}

static bool
scan_scalar(json_scan *in)
{
	if (in->at >= in->end)
		return false;
	switch (*in->at)
	{
		case '"':
			return scan_string(in);
		case 't':
			return scan_word(in, "true");
		case 'f':
			return scan_word(in, "false");
		case 'n':
			return scan_word(in, "null");
		default:
			return scan_number(in);
	}
}

static bool
scan_key(json_scan *in)
{
	skip_space(in);
	if (!scan_string(in))
		return false;
	skip_space(in);
	if (in->at >= in->end || *in->at != ':')
		return false;
	in->at++;
	return true;
}

/*
 * After a value: close containers and step over a comma. Returns false when the
 * text is wrong; *done when the outermost value is complete.
 */
static bool
scan_after_value(json_scan *in, char *open, int *depth, bool *done)
{
	while (*depth > 0)
	{
		skip_space(in);
		if (in->at >= in->end)
			return false;
		if (*in->at == ',')
		{
			in->at++;
			return open[*depth - 1] == '[' || scan_key(in);
		}
		if (*in->at != (open[*depth - 1] == '[' ? ']' : '}'))
			return false;
		in->at++;
		(*depth)--;
	}
	skip_space(in);
	*done = true;
	return in->at == in->end;
}

bool
pe_json_valid(const char *text, size_t length)
{
	json_scan in = {text, text + length};
	char open[PE_JSON_MAX_DEPTH];
	int depth = 0;
	bool done = false;

	if (!pe_text_valid(text, length))
		return false;
	while (!done)
	{
		skip_space(&in);
		if (in.at < in.end && (*in.at == '[' || *in.at == '{'))
		{
			char close = *in.at == '[' ? ']' : '}';

			if (depth == PE_JSON_MAX_DEPTH)
				return false;
			open[depth++] = *in.at++;
			skip_space(&in);
			if (in.at >= in.end || *in.at != close)
			{
				if (close == '}' && !scan_key(&in))
					return false;
				continue;
			}
			/* Empty: the closing character is left for scan_after_value. */
		}
		else if (!scan_scalar(&in))
			return false;
		if (!scan_after_value(&in, open, &depth, &done))
			return false;
	}
	return true;
}
