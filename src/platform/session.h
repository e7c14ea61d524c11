/*
 * session.h
 *		The inside of a pe_platform, for platform.c and token.c.
 */
#ifndef PE_PLATFORM_SESSION_H
#define PE_PLATFORM_SESSION_H

#include "platform/platform.h"

struct pe_platform
{
	pe_env env;
	pe_http *http;
	char *org_id;
	char *sandbox;
	char *platform_url; /* without a slash at the end; so are the other two */
	char *ims_url;
	char *collection_url;
	char *client_id;
	char *scopes;
	pe_get_secret get_secret;
	void *secret_ctx;
	char *authorization; /* "Bearer <token>", or NULL; wiped before it is freed */
	int64_t renew_at_us; /* on the clock that goes on while the machine sleeps */
};

#endif /* PE_PLATFORM_SESSION_H */
