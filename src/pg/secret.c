/*
 * secret.c
 *		Fetching the client secret for a token request.
 *
 * This runs below the platform layer, so nothing here may raise or allocate.
 */
#include "postgres.h"

#include "platform/secret_file.h"
#include "pg/guc.h"
#include "pg/secret.h"

static pe_status
secret_of_option(const PeSecret *secret, char *buffer, size_t size, pe_error *err)
{
	if (!pe_allow_secret_option)
	{
		pe_fail(err, PE_CONFIGURATION, "option \"client_secret\" is not allowed any more");
		pe_error_hint(err, "Name a file with the option secret_file, or have a superuser set "
		                   "profenrich.allow_secret_option.");
		return PE_CONFIGURATION;
	}
	if (strlcpy(buffer, secret->option, size) >= size)
		return pe_fail(err, PE_CONFIGURATION, "option \"client_secret\" is too long");
	return PE_OK;
}

pe_status
pe_secret_get(void *ctx, const char *host, char *buffer, size_t size, pe_error *err)
{
	const PeSecret *secret = ctx;
	const char *hosts[lengthof(secret->hosts) + 1];
	pe_secret_request request = {
	    .directory = pe_secret_directory,
	    .name = secret->file,
	    .org_id = secret->org_id,
	    .hosts = hosts,
	    .host_count = lengthof(hosts),
	};

	if (secret->file == NULL)
		return secret_of_option(secret, buffer, size, err);
	if (pe_secret_directory == NULL || pe_secret_directory[0] == '\0')
	{
		pe_fail(err, PE_CONFIGURATION, "setting profenrich.secret_directory is empty");
		pe_error_hint(err, "Set it in postgresql.conf to the directory that holds secret file \"%s\".",
		              secret->file);
		return PE_CONFIGURATION;
	}
	memcpy(hosts, secret->hosts, sizeof(secret->hosts));
	hosts[lengthof(secret->hosts)] = host;
	return pe_secret_file_read(&request, buffer, size, err);
}

void
pe_secret_wipe(PeSecret *secret)
{
	if (secret->option != NULL)
		explicit_bzero(secret->option, strlen(secret->option));
}
