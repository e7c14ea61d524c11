/*
 * secret.h
 *		Where a session's client secret comes from, each time it is needed.
 */
#ifndef PE_SECRET_H
#define PE_SECRET_H

#include "postgres.h"

#include "pe_base.h"

/*
 * Copies of all that a token request needs, so that it works outside of a
 * transaction. Either file or option is set.
 */
typedef struct PeSecret
{
	char *file;   /* bare name in profenrich.secret_directory */
	char *option; /* the secret itself, from the option client_secret */
	char *org_id;
	char *hosts[3]; /* those of the three URLs: a token is as good as the secret for a day */
} PeSecret;

/* A pe_get_secret (platform/platform.h); ctx is a PeSecret. Never jumps, never logs. */
extern pe_status pe_secret_get(void *ctx, const char *host, char *buffer, size_t size, pe_error *err);

/* Overwrites what memory holds of the secret. */
extern void pe_secret_wipe(PeSecret *secret);

#endif /* PE_SECRET_H */
