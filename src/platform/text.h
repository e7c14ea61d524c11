/*
 * text.h
 *		A growable byte buffer, with the three escapings this layer needs: JSON
 *		strings, percent-encoding and form-encoding. The buffer remembers a failed
 *		allocation, so that a chain of appends is checked once, at its end.
 */
#ifndef PE_PLATFORM_TEXT_H
#define PE_PLATFORM_TEXT_H

#include "pe_base.h"

typedef struct pe_text
{
	pe_allocator allocator;
	char *data; /* NUL-terminated once anything was appended */
	size_t length;
	size_t capacity;
	bool failed; /* out of memory: data is what fitted before */
} pe_text;

void pe_text_init(pe_text *text, const pe_env *env);
void pe_text_append(pe_text *text, const char *bytes, size_t length);
void pe_text_puts(pe_text *text, const char *string);
void pe_text_printf(pe_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A quoted JSON string; bytes that are not UTF-8 become U+FFFD. */
void pe_text_json(pe_text *text, const char *string, size_t length);
/* Everything but unreserved characters as %XX: for path segments and query values. */
void pe_text_percent(pe_text *text, const char *string);
void pe_text_free(pe_text *text);
/* As pe_text_free, after overwriting the bytes: for buffers that held a secret. */
void pe_text_wipe(pe_text *text);

#endif /* PE_PLATFORM_TEXT_H */
