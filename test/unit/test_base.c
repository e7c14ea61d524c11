/*
 * test_base.c
 *		What all pure layers share: an error's text is cut between characters.
 */
#include "pe_base.h"
#include "tap.h"

/* Is every byte of text part of a whole two-byte sequence or ASCII? */
static bool
whole(const char *text)
{
	for (; *text != '\0'; text++)
	{
		if (((unsigned char) *text & 0x80) == 0)
			continue;
		if ((unsigned char) text[0] != 0xC3 || (unsigned char) text[1] != 0xA9)
			return false;
		text++;
	}
	return true;
}

int
main(void)
{
	char accents[1001];
	pe_error err;

	for (int i = 0; i < 1000; i += 2)
		memcpy(accents + i, "\xC3\xA9", 2);
	accents[1000] = '\0';

	for (int lead = 0; lead < 2; lead++)
	{
		pe_fail(&err, PE_INVALID_OPTION, "%s%s", lead != 0 ? "a" : "", accents);
		pe_error_detail(&err, "%s%s", lead != 0 ? "a" : "", accents);
		pe_error_hint(&err, "%s%s", lead != 0 ? "a" : "", accents);
		OK(whole(err.message) && strlen(err.message) > sizeof(err.message) - 5,
		   "a long message ends with a whole character");
		OK(whole(err.detail) && whole(err.hint), "so do detail and hint");
	}
	pe_fail(&err, PE_INVALID_OPTION, "caf\xC3\xA9");
	OK(strcmp(err.message, "caf\xC3\xA9") == 0, "what fits is left alone");
	pe_fail(&err, PE_INVALID_OPTION, "%0400d", 7);
	OK(strlen(err.message) == sizeof(err.message) - 1, "ASCII is cut where the room ends");
	return tap_done();
}
