/*
 * json_shape.h
 *		Does a jsonb value fit the type that was declared for its attribute?
 */
#ifndef PE_JSON_SHAPE_H
#define PE_JSON_SHAPE_H

#include "postgres.h"

#include "utils/jsonb.h"

struct pe_xdm_field;

/* The parsed form of a shape's text, in the current context. Raises when it does not parse. */
extern const struct pe_xdm_field *pe_json_shape(const char *shape);

/*
 * Whether value, with its nulls stripped, can be stored as field: every member known
 * and of its type, integers within their range. Formats of dates are not looked at.
 */
extern bool pe_json_fits(const struct pe_xdm_field *field, Jsonb *value);

#endif /* PE_JSON_SHAPE_H */
