/*
 * utf8.h
 *		UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, at most U+10FFFF.
 */
#ifndef PE_PLATFORM_UTF8_H
#define PE_PLATFORM_UTF8_H

#include "pe_base.h"

/* Length of the well-formed sequence that begins at bytes, 0 when there is none. */
static inline size_t
pe_utf8_length(const char *text, size_t available)
{
	const unsigned char *bytes = (const unsigned char *) text;
	size_t length;

	if (available == 0)
		return 0;
	if (bytes[0] < 0x80)
		return 1;
	if (bytes[0] < 0xC2 || bytes[0] > 0xF4)
		return 0;
	length = bytes[0] < 0xE0 ? 2 : bytes[0] < 0xF0 ? 3 : 4;
	if (available < length)
		return 0;
	for (size_t i = 1; i < length; i++)
		if ((bytes[i] & 0xC0) != 0x80)
			return 0;
	if ((bytes[0] == 0xE0 && bytes[1] < 0xA0) || (bytes[0] == 0xED && bytes[1] > 0x9F) ||
	    (bytes[0] == 0xF0 && bytes[1] < 0x90) || (bytes[0] == 0xF4 && bytes[1] > 0x8F))
		return 0;
	return length;
}

/*
 * Copy text from outside into out as one printable line: what is not well-formed
 * becomes '?', controls become blanks, runs of blanks one, and anything that looks
 * like a token is left out. Cut at a character's boundary.
 */
void pe_utf8_printable(const char *text, size_t length, char *out, size_t size);

#endif /* PE_PLATFORM_UTF8_H */
