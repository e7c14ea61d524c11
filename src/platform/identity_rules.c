/*
 * identity_rules.c
 *		Identity values that the platform's identity service blocks or skips.
 */
#include <string.h>
#include <strings.h>

#include "platform/identity_rules.h"

static bool
is_blank(const char *value, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (value[i] != ' ' && (value[i] < '\t' || value[i] > '\r'))
			return false;
	return true;
}

static bool
is_blocked_word(const char *value, size_t length)
{
	static const char *const words[] = {"null", "anonymous", "invalid"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strlen(words[i]) == length && strncasecmp(words[i], value, length) == 0)
			return true;
	return false;
}

static size_t
count_characters(const char *value, size_t length)
{
	size_t count = 0;

	for (size_t i = 0; i < length; i++)
		count += ((unsigned char) value[i] & 0xC0) != 0x80;
	return count;
}

static bool
all_digits(const char *value, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (value[i] < '0' || value[i] > '9')
			return false;
	return true;
}

const char *
pe_identity_refusal(const char *namespace_code, const char *value, size_t length)
{
	if (is_blank(value, length))
		return "blank";
	for (size_t i = 0; i < length; i++)
		if ((unsigned char) value[i] < 0x20 || value[i] == 0x7F)
			return "control character";
	if (is_blocked_word(value, length))
		return "blocked value";
	if (count_characters(value, length) > PE_IDENTITY_MAX_CHARACTERS)
		return "too long";
	if (strcasecmp(namespace_code, "ECID") == 0 && (length != PE_ECID_DIGITS || !all_digits(value, length)))
		return "malformed ECID";
	return NULL;
}
