/*
 * test_identity_rules.c
 *		Each value the platform blocks is refused by name; what it takes passes.
 */
#include "tap.h"

#include "platform/identity_rules.h"

static void
refused(const char *namespace_code, const char *value, const char *reason)
{
	const char *got = pe_identity_refusal(namespace_code, value, strlen(value));

	if (reason == NULL)
		OK(got == NULL, "%s '%.40s' is taken", namespace_code, value);
	else
		IS_STR(got, reason, "%s '%.40s' is refused", namespace_code, value);
}

int
main(void)
{
	char text[4096];

	refused("CRMID", "C-1", NULL);
	refused("CRMID", "nullable", NULL);
	refused("CRMID", "", "blank");
	refused("CRMID", " \t ", "blank");
	refused("CRMID", "null", "blocked value");
	refused("CRMID", "NULL", "blocked value");
	refused("Email", "Anonymous", "blocked value");
	refused("Email", "invalid", "blocked value");
	refused("CRMID", "a\nb", "control character");
	refused("ECID", "12345678901234567890123456789012345678", NULL);
	refused("ecid", "1234567890123456789012345678901234567", "malformed ECID");
	refused("ECID", "1234567890123456789012345678901234567x", "malformed ECID");
	OK(pe_identity_refusal("CRMID", "a\0b", 3) != NULL, "a NUL inside is refused");

	memset(text, 'x', sizeof(text));
	text[1024] = '\0';
	refused("CRMID", text, NULL);
	text[1024] = 'x';
	text[1025] = '\0';
	refused("CRMID", text, "too long");
	for (int i = 0; i < 1024; i++)
		memcpy(text + 2 * i, "\xc3\xa4", 2);
	OK(pe_identity_refusal("CRMID", text, 2048) == NULL, "1,024 characters of two bytes each are taken");
	OK(pe_identity_refusal("CRMID", text, 2050) != NULL, "1,025 characters are not");
	return tap_done();
}
