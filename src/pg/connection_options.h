/*
 * connection_options.h
 *		The options of servers and user mappings: which there are, who may set them,
 *		what their values may be.
 */
#ifndef PE_CONNECTION_OPTIONS_H
#define PE_CONNECTION_OPTIONS_H

#include "postgres.h"

#include "nodes/pg_list.h"

#include "platform/http.h"

/* The value of an option in a list of DefElems, or NULL. */
extern const char *pe_option_value(List *options, const char *name);

/* Raises when the value is not allowed. */
typedef void (*PeOptionCheck)(const char *name, const char *value);

typedef struct PeOptionRule
{
	const char *name;
	Oid catalog;
	bool admin_only; /* names a file or a host: whoever sets it decides where secrets go */
	PeOptionCheck check;
} PeOptionRule;

/* Holds a validator's options to the rules of its wrapper. */
extern void pe_check_options(const PeOptionRule *rules, int count, List *options, Oid catalog);

/* Checks that several wrappers share. */
extern void pe_check_url_option(const char *name, const char *value);
extern void pe_check_file_option(const char *name, const char *value);
extern void pe_check_token_option(const char *name, const char *value);
extern void pe_check_secret_file_option(const char *name, const char *value);
/* The error of one; hides the statement. */
extern void pe_invalid_option(const char *name, const char *hint);

/* What the superuser's settings allow an HTTP client at this moment. */
extern pe_http_config pe_http_limits(const char *ca_file);

#endif /* PE_CONNECTION_OPTIONS_H */
