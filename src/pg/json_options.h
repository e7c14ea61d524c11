/*
 * json_options.h
 *		Options given as a jsonb object, read name by name.
 */
#ifndef PE_JSON_OPTIONS_H
#define PE_JSON_OPTIONS_H

#include "postgres.h"

#include "fmgr.h"
#include "utils/jsonb.h"

/* Takes one option; raises for a name that it does not know, and for a bad value. */
typedef void (*pe_option_reader)(void *arg, const char *name, const JsonbValue *value);

/* Calls one for each member of object, but those that are null: they are as if left out. */
extern void pe_each_option(JsonbContainer *object, pe_option_reader one, void *arg);

/* The text of a scalar as a user reads it; NULL for null and for what is none. */
extern char *pe_scalar_text(const JsonbValue *value);

/* Raises "invalid value for option name", hinting "It must be expected." */
extern void pe_raise_bad_option(const char *name, const char *expected) pg_attribute_noreturn();

/* What a type's input function makes of text; its errors say which option it is about. */
extern Datum pe_option_input(const char *name, const char *text, PGFunction input);

#endif /* PE_JSON_OPTIONS_H */
