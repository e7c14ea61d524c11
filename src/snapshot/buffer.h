/*
 * buffer.h
 *		Bytes written one after the other. Failure is sticky and checked once, at the
 *		end of whatever was being written.
 */
#ifndef PE_BUFFER_H
#define PE_BUFFER_H

#include "pe_base.h"

typedef struct pe_buffer
{
	const pe_env *env;
	char *data;
	size_t length;
	size_t size;
	size_t limit; /* most bytes to hold; 0: none */
	bool failed;  /* out of memory */
	bool full;    /* beyond the limit */
} pe_buffer;

void pe_buffer_init(pe_buffer *buffer, const pe_env *env);
void pe_buffer_free(pe_buffer *buffer);

/* Make room for more bytes; false when failed or full, and then nothing is ever written again. */
bool pe_buffer_reserve(pe_buffer *buffer, size_t more);

static inline void
pe_buffer_add(pe_buffer *buffer, const char *bytes, size_t length)
{
	if (buffer->size - buffer->length >= length || pe_buffer_reserve(buffer, length))
	{
		if (length > 0)
			memcpy(buffer->data + buffer->length, bytes, length);
		buffer->length += length;
	}
}

static inline void
pe_buffer_char(pe_buffer *buffer, char c)
{
	if (buffer->length < buffer->size || pe_buffer_reserve(buffer, 1))
		buffer->data[buffer->length++] = c;
}

/* A JSON string, with its quotes. The text must be valid UTF-8. */
void pe_buffer_json_string(pe_buffer *buffer, const char *text, size_t length);
void pe_buffer_base64(pe_buffer *buffer, const char *bytes, size_t length);

#endif /* PE_BUFFER_H */
