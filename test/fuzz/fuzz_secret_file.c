/*
 * fuzz_secret_file.c
 *		A secret file's text: no read beyond it, and no secret without all three lines.
 */
#include <stdlib.h>

#include "platform/secret_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const hosts[] = {"h", "127.0.0.1"};
	pe_secret_request request = {.name = "f", .org_id = "A@AdobeOrg", .hosts = hosts, .host_count = 2};
	char *text = malloc(size > 0 ? size : 1); /* exactly as long, so that a step too far shows */
	char secret[32];
	pe_error err;

	memcpy(text, data, size);
	if (pe_secret_parse(&request, text, size, secret, sizeof(secret), &err) == PE_OK)
	{
		if (secret[0] == '\0' || memmem(text, size, "client_secret", 13) == NULL ||
		    memmem(text, size, "A@AdobeOrg", 10) == NULL || memmem(text, size, "127.0.0.1", 9) == NULL)
			abort();
	}
	else if (secret[0] != '\0')
		abort();
	free(text);
	return 0;
}
