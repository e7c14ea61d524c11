/*
 * text.c
 *		A growable byte buffer with JSON and percent escaping, and the clean-up of text
 *		that comes from outside.
 */
#include <ctype.h>

#include "platform/text.h"
#include "platform/utf8.h"

#define FIRST_CAPACITY 256

void
pe_text_init(pe_text *text, const pe_env *env)
{
	memset(text, 0, sizeof(*text));
	text->allocator = env->allocator;
}

/* Room for extra more bytes and the NUL? */
static bool
reserve(pe_text *text, size_t extra)
{
	size_t capacity = text->capacity;
	size_t needed;
	char *data;

	if (text->failed)
		return false;
	if (__builtin_add_overflow(text->length, extra, &needed) || needed > SIZE_MAX / 2)
	{
		text->failed = true;
		return false;
	}
	if (needed < capacity)
		return true;
	if (capacity == 0)
		capacity = FIRST_CAPACITY;
	while (capacity <= needed)
		capacity *= 2;
	data = text->allocator.realloc(text->allocator.ctx, text->data, capacity);
	if (data == NULL)
	{
		text->failed = true;
		return false;
	}
	text->data = data;
	text->capacity = capacity;
	return true;
}

void
pe_text_append(pe_text *text, const char *bytes, size_t length)
{
	if (!reserve(text, length))
		return;
	memcpy(text->data + text->length, bytes, length);
	text->length += length;
	text->data[text->length] = '\0';
}

void
pe_text_puts(pe_text *text, const char *string)
{
	pe_text_append(text, string, strlen(string));
}

void
pe_text_printf(pe_text *text, const char *format, ...)
{
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (length < 0)
		text->failed = true;
	if (!reserve(text, length < 0 ? 0 : (size_t) length))
		return;
	va_start(args, format);
	(void) vsnprintf(text->data + text->length, (size_t) length + 1, format, args);
	va_end(args);
	text->length += (size_t) length;
}

/* Length of the run of bytes that a JSON string holds as they are. */
static size_t
plain_run(const char *string, size_t length)
{
	size_t done = 0;

	while (done < length)
	{
		unsigned char byte = (unsigned char) string[done];
		size_t sequence;

		if (byte < 0x20 || byte == '"' || byte == '\\' || byte == 0x7F)
			break;
		sequence = pe_utf8_length(string + done, length - done);
		if (sequence == 0)
			break;
		done += sequence;
	}
	return done;
}

void
pe_text_json(pe_text *text, const char *string, size_t length)
{
	size_t done = 0;

	pe_text_append(text, "\"", 1);
	while (done < length)
	{
		size_t run = plain_run(string + done, length - done);

		pe_text_append(text, string + done, run);
		done += run;
		if (done == length)
			break;
		switch (string[done])
		{
			case '"':
				pe_text_append(text, "\\\"", 2);
				break;
			case '\\':
				pe_text_append(text, "\\\\", 2);
				break;
			case '\n':
				pe_text_append(text, "\\n", 2);
				break;
			case '\r':
				pe_text_append(text, "\\r", 2);
				break;
			case '\t':
				pe_text_append(text, "\\t", 2);
				break;
			default:
				if ((unsigned char) string[done] < 0x80)
					pe_text_printf(text, "\\u%04x", (unsigned) (unsigned char) string[done]);
				else
					pe_text_puts(text, "\xEF\xBF\xBD");
		}
		done++;
	}
	pe_text_append(text, "\"", 1);
}

void
pe_text_percent(pe_text *text, const char *string)
{
	static const char digits[] = "0123456789ABCDEF";

	for (; *string != '\0'; string++)
	{
		unsigned char byte = (unsigned char) *string;

		if (byte < 0x80 && (isalnum(byte) || strchr("-._~", byte) != NULL))
			pe_text_append(text, string, 1);
		else
		{
			char escape[3] = {'%', digits[byte >> 4], digits[byte & 15]};

			pe_text_append(text, escape, 3);
		}
	}
}

void
pe_text_free(pe_text *text)
{
	if (text->data != NULL)
		text->allocator.free(text->allocator.ctx, text->data);
	text->data = NULL;
	text->length = text->capacity = 0;
}

void
pe_text_wipe(pe_text *text)
{
	if (text->data != NULL)
		explicit_bzero(text->data, text->capacity);
	pe_text_free(text);
}

/* Length of a run that looks like a token: a JWT, or what follows "Bearer ". */
static size_t
token_run(const char *text, size_t length)
{
	size_t skip = 0;
	size_t run;

	if (length >= 7 && strncasecmp(text, "Bearer ", 7) == 0)
		skip = 7;
	else if (length < 3 || memcmp(text, "eyJ", 3) != 0)
		return 0;
	for (run = skip; run < length; run++)
		if (!isalnum((unsigned char) text[run]) && memchr("-._~+/=", text[run], 7) == NULL)
			break;
	return run - skip >= 16 ? run : 0;
}

void
pe_utf8_printable(const char *text, size_t length, char *out, size_t size)
{
	size_t done = 0;
	size_t used = 0;

	if (size == 0)
		return;
	while (done < length)
	{
		size_t sequence = token_run(text + done, length - done);
		const char *piece = text + done;
		size_t piece_length;

		if (sequence > 0)
		{
			piece = "[token]";
			piece_length = 7;
		}
		else if ((sequence = pe_utf8_length(piece, length - done)) == 0)
		{
			sequence = 1;
			piece = "?";
			piece_length = 1;
		}
		else if (sequence == 1 && ((unsigned char) *piece <= ' ' || *piece == 0x7F))
		{
			piece = " ";
			piece_length = used > 0 && out[used - 1] != ' ' ? 1 : 0;
		}
		else if (sequence == 2 && (unsigned char) piece[0] == 0xC2 && (unsigned char) piece[1] < 0xA0)
		{
			piece = "?"; /* C1 controls */
			piece_length = 1;
		}
		else
			piece_length = sequence;
		if (used + piece_length >= size)
			break;
		memcpy(out + used, piece, piece_length);
		used += piece_length;
		done += sequence;
	}
	while (used > 0 && out[used - 1] == ' ')
		used--;
	out[used] = '\0';
}
