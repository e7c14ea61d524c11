/*
 * buffer.c
 *		Growing text: see buffer.h.
 */
#include "snapshot/buffer.h"

void
pe_buffer_init(pe_buffer *buffer, const pe_env *env)
{
	memset(buffer, 0, sizeof(*buffer));
	buffer->env = env;
}

void
pe_buffer_free(pe_buffer *buffer)
{
	if (buffer->env != NULL)
		pe_free(buffer->env, buffer->data);
	memset(buffer, 0, sizeof(*buffer));
}

bool
pe_buffer_reserve(pe_buffer *buffer, size_t more)
{
	size_t wanted;
	size_t size;
	char *data;

	if (buffer->failed || buffer->full)
		return false;
	if (__builtin_add_overflow(buffer->length, more, &wanted) ||
	    (buffer->limit > 0 && wanted > buffer->limit))
	{
		/* size = length keeps even the shortest additions out. */
		buffer->full = true;
		buffer->size = buffer->length;
		return false;
	}
	if (wanted <= buffer->size)
		return true;
	size = buffer->size < 512 ? 1024 : buffer->size * 2;
	size = size > wanted ? size : wanted;
	data = pe_realloc(buffer->env, buffer->data, size);
	if (data == NULL)
	{
		buffer->failed = true;
		buffer->size = buffer->length;
		return false;
	}
	buffer->data = data;
	buffer->size = size;
	return true;
}

static void
escape(pe_buffer *buffer, unsigned char c)
{
	static const char digits[] = "0123456789abcdef";
	char text[6] = {'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]};

	switch (c)
	{
		case '"':
			pe_buffer_add(buffer, "\\\"", 2);
			break;
		case '\\':
			pe_buffer_add(buffer, "\\\\", 2);
			break;
		case '\n':
			pe_buffer_add(buffer, "\\n", 2);
			break;
		case '\r':
			pe_buffer_add(buffer, "\\r", 2);
			break;
		case '\t':
			pe_buffer_add(buffer, "\\t", 2);
			break;
		default:
			pe_buffer_add(buffer, text, sizeof(text));
			break;
	}
}

void
pe_buffer_json_string(pe_buffer *buffer, const char *text, size_t length)
{
	size_t done = 0;

	pe_buffer_char(buffer, '"');
	for (size_t i = 0; i < length; i++)
	{
		unsigned char c = (unsigned char) text[i];

		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		pe_buffer_add(buffer, text + done, i - done);
		escape(buffer, c);
		done = i + 1;
	}
	pe_buffer_add(buffer, text + done, length - done);
	pe_buffer_char(buffer, '"');
}

void
pe_buffer_base64(pe_buffer *buffer, const char *bytes, size_t length)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *in = (const unsigned char *) bytes;

	for (size_t i = 0; i < length; i += 3)
	{
		size_t left = length - i;
		unsigned word = (unsigned) in[i] << 16 | (left > 1 ? (unsigned) in[i + 1] << 8 : 0) |
		                (left > 2 ? (unsigned) in[i + 2] : 0);
		char text[4] = {digits[word >> 18], digits[word >> 12 & 63], left > 1 ? digits[word >> 6 & 63] : '=',
		                left > 2 ? digits[word & 63] : '='};

		pe_buffer_add(buffer, text, 4);
	}
}
