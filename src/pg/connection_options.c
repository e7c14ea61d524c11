/*
 * connection_options.c
 *		The validator of experience_platform.
 *
 * It is given the whole list that would result, not what changes. So a server with
 * an option that only profenrich_admin may set can be altered by its members only.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <math.h>

#include "access/reloptions.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_foreign_table.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"

#include "platform/secret_file.h"
#include "pg/compat.h"
#include "pg/connection_options.h"
#include "pg/guc.h"
#include "pg/owner.h"
#include "pg/report.h"

PG_FUNCTION_INFO_V1(pe_experience_platform_validator);

static void check_org_id(const char *name, const char *value);
static void check_sandbox(const char *name, const char *value);
static void check_rate(const char *name, const char *value);
static void check_secret(const char *name, const char *value);

static const PeOptionRule rules[] = {
    {"org_id", ForeignServerRelationId, false, check_org_id},
    {"sandbox", ForeignServerRelationId, false, check_sandbox},
    {"platform_url", ForeignServerRelationId, true, pe_check_url_option},
    {"ims_url", ForeignServerRelationId, true, pe_check_url_option},
    {"collection_url", ForeignServerRelationId, true, pe_check_url_option},
    {"ca_file", ForeignServerRelationId, true, pe_check_file_option},
    {"requests_per_second", ForeignServerRelationId, false, check_rate},
    {"messages_per_second", ForeignServerRelationId, false, check_rate},
    {"client_id", UserMappingRelationId, false, pe_check_token_option},
    {"secret_file", UserMappingRelationId, true, pe_check_secret_file_option},
    {"client_secret", UserMappingRelationId, false, check_secret},
    {"scopes", UserMappingRelationId, false, pe_check_token_option},
};

const char *
pe_option_value(List *options, const char *name)
{
	ListCell *cell;

	foreach (cell, options)
	{
		DefElem *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, name) == 0)
			return defGetString(option);
	}
	return NULL;
}

pe_http_config
pe_http_limits(const char *ca_file)
{
	pe_http_config limits = {
	    .ca_file = ca_file,
	    .allow_insecure_loopback = pe_allow_insecure_loopback,
	    .allow_private_addresses = pe_allow_private_addresses,
	};

	return limits;
}

void
pe_invalid_option(const char *name, const char *hint)
{
	/* Some put the secret itself where its file's name belongs. */
	ereport(ERROR, (errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
	                errmsg("invalid value for option \"%s\"", name), errhint("%s", hint), errhidestmt(true)));
}

static bool
only_of(const char *value, const char *allowed)
{
	return value[0] != '\0' && value[strspn(value, allowed)] == '\0';
}

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGIT "0123456789"

static void
check_org_id(const char *name, const char *value)
{
	size_t stem = strspn(value, LOWER UPPER DIGIT);

	if (stem == 0 || stem > 64 || strcmp(value + stem, "@AdobeOrg") != 0)
		pe_invalid_option(name, "An organisation's id is 24 hexadecimal digits followed by @AdobeOrg.");
}

static void
check_sandbox(const char *name, const char *value)
{
	if (!only_of(value, LOWER DIGIT "-") || strlen(value) > 63)
		pe_invalid_option(
		    name,
		    "A sandbox is given by its name, of lower-case letters, digits and hyphens, not by its title.");
}

/* A host that is this machine by its very name, whatever a resolver says. */
static bool
is_loopback(const char *host)
{
	struct in_addr v4;
	struct in6_addr v6;

	if (pg_strcasecmp(host, "localhost") == 0)
		return true;
	if (inet_pton(AF_INET, host, &v4) == 1)
		return (ntohl(v4.s_addr) >> 24) == 127;
	return inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

void
pe_check_url_option(const char *name, const char *value)
{
	pe_http_config limits = pe_http_limits(NULL);
	pe_error err = {0};
	char host[256];

	if (pe_http_check_url(&limits, name, value, &err) == PE_OK && pe_url_host(value, host, sizeof(host)) &&
	    (pg_strncasecmp(value, "https:", 6) == 0 || is_loopback(host)))
		return;
	/* The URL itself may hold a password, so it is not quoted. */
	ereport(ERROR,
	        (errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE), errmsg("invalid value for option \"%s\"", name),
	         err.message[0] != '\0' ? errdetail_internal("%s.", err.message) : 0,
	         errhint("Give an https URL without user, password and query. Plain http needs a loopback "
	                 "address and the "
	                 "superuser's setting profenrich.allow_insecure_loopback."),
	         errhidestmt(true)));
}

void
pe_check_file_option(const char *name, const char *value)
{
	if (!is_absolute_path(value))
		pe_invalid_option(name, "Give the absolute path of a PEM file that the server can read.");
}

static void
check_rate(const char *name, const char *value)
{
	char *end;
	double rate = strtod(value, &end);

	if (end == value || *end != '\0' || !isfinite(rate) || rate < 0.001 || rate > 1000000)
		pe_invalid_option(name, "Give a number between 0.001 and 1000000.");
}

/* Goes into headers and forms: printable, no blanks but those between scopes. */
void
pe_check_token_option(const char *name, const char *value)
{
	size_t length = strlen(value);

	for (size_t i = 0; i < length; i++)
	{
		if ((unsigned char) value[i] < 0x20 || (unsigned char) value[i] > 0x7e)
			pe_invalid_option(name, "Only printable ASCII characters are allowed.");
	}
	if (length == 0 || length > 1000)
		pe_invalid_option(name, "Give between 1 and 1000 characters.");
}

void
pe_check_secret_file_option(const char *name, const char *value)
{
	if (!pe_secret_name_ok(value))
		pe_invalid_option(
		    name,
		    "Give the bare name of a file in profenrich.secret_directory, without slash and not beginning "
		    "with a dot.");
}

/* The statement holds the secret: keep it out of the log beside this message. */
static void
check_secret(const char *name, const char *value)
{
	if (!pe_allow_secret_option && !IsBinaryUpgrade)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("option \"%s\" is not allowed", name),
		                errhint("Put the secret into a file of mode 0600 in profenrich.secret_directory and "
		                        "name it with the "
		                        "option secret_file. A superuser may allow the option with "
		                        "profenrich.allow_secret_option."),
		                errhidestmt(true)));
	if (value[0] == '\0' || strlen(value) >= 1024)
		ereport(ERROR, (errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
		                errmsg("invalid value for option \"%s\"", name),
		                errhint("Give between 1 and 1023 characters."), errhidestmt(true)));
	ereport(
	    WARNING,
	    (errmsg("the secret in option \"%s\" can be read in dumps, logs and statistics", name),
	     errhint(
	         "A file in profenrich.secret_directory, named with the option secret_file, shows it nowhere."),
	     errhidestmt(true)));
}

static const PeOptionRule *
find_rule(const PeOptionRule *all, int count, const char *name, Oid catalog)
{
	for (int i = 0; i < count; i++)
	{
		if (all[i].catalog == catalog && strcmp(all[i].name, name) == 0)
			return &all[i];
	}
	return NULL;
}

static void
unknown_option(const PeOptionRule *all, int count, const char *name, Oid catalog)
{
	StringInfoData valid;

	initStringInfo(&valid);
	for (int i = 0; i < count; i++)
	{
		if (all[i].catalog == catalog)
			appendStringInfo(&valid, "%s%s", valid.len > 0 ? ", " : "", all[i].name);
	}
	/* A misspelt client_secret is still a secret. */
	ereport(ERROR, (errcode(ERRCODE_FDW_INVALID_OPTION_NAME), errmsg("invalid option \"%s\"", name),
	                valid.len > 0 ? errhint("Valid options in this context are: %s.", valid.data)
	                              : errhint("There are no valid options in this context."),
	                errhidestmt(true)));
}

void
pe_check_options(const PeOptionRule *all, int count, List *options, Oid catalog)
{
	ListCell *cell;

	foreach (cell, options)
	{
		DefElem *option = lfirst_node(DefElem, cell);
		const PeOptionRule *rule = find_rule(all, count, option->defname, catalog);

		if (rule == NULL)
			unknown_option(all, count, option->defname, catalog);
		if (rule->admin_only && !superuser() && !pe_is_member("profenrich_admin"))
			ereport(ERROR,
			        (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			         errmsg("permission denied to set option \"%s\"", option->defname),
			         errhint("Only superusers and members of profenrich_admin set options that name hosts or "
			                 "files, since these decide where secrets go."),
			         errhidestmt(true)));
		rule->check(option->defname, defGetString(option));
	}
}

Datum
pe_experience_platform_validator(PG_FUNCTION_ARGS)
{
	List *options = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid catalog = PG_GETARG_OID(1);

	if (catalog == ForeignTableRelationId)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
		                errmsg("a server of experience_platform has no foreign tables"),
		                errhint("profenrich.load_snapshot loads a profile snapshot into a table.")));
	if (catalog == UserMappingRelationId && pe_option_value(options, "secret_file") != NULL &&
	    pe_option_value(options, "client_secret") != NULL)
		ereport(ERROR, (errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
		                errmsg("options \"secret_file\" and \"client_secret\" exclude each other"),
		                errhidestmt(true)));
	pe_check_options(rules, lengthof(rules), options, catalog);
	PG_RETURN_VOID();
}
