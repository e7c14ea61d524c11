/*
 * text.h
 *		Checks on text from outside: UTF-8, and JSON inside of text.
 */
#ifndef PE_TEXT_H
#define PE_TEXT_H

#include "pe_base.h"

/* Nesting that JSON inside a value may have; jsonb itself refuses a few thousand. */
#define PE_JSON_MAX_DEPTH 512

/* Well-formed UTF-8 (no surrogates, nothing overlong, at most U+10FFFF) without NUL bytes. */
bool pe_text_valid(const char *text, size_t length);

/* "a NUL byte" or "invalid UTF-8", for text that is not valid. */
const char *pe_text_fault(const char *text, size_t length);

/* At most max bytes of valid text, not cutting a character: for messages. */
int pe_text_clip(const char *text, size_t length, size_t max);

/* One JSON value that jsonb would take: valid text, escapes that pair up, no \u0000, bounded depth. */
bool pe_json_valid(const char *text, size_t length);

#endif /* PE_TEXT_H */
