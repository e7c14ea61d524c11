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

/* What the superuser's settings allow an HTTP client at this moment. */
extern pe_http_config pe_http_limits(const char *ca_file);

#endif /* PE_CONNECTION_OPTIONS_H */
