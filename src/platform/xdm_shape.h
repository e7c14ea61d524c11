/*
 * xdm_shape.h
 *		The text form of a field's type, as an enrichment declares it:
 *
 *		string number integer long boolean date date-time
 *		array<T>  map<string>  map<integer>  {name:T,name:T}
 *
 * with blanks allowed between the words. T below an array is a simple type or an
 * object: the platform has no arrays of arrays or of maps.
 */
#ifndef PE_PLATFORM_XDM_SHAPE_H
#define PE_PLATFORM_XDM_SHAPE_H

#include "platform/pool.h"
#include "platform/registry.h"
#include "platform/text.h"

#define PE_SHAPE_MAX_LENGTH  4096
#define PE_SHAPE_MAX_DEPTH   6
#define PE_SHAPE_MAX_MEMBERS 100
#define PE_XDM_NAME_MAX      63

/*
 * A name the platform takes for a custom field: letters, digits, _ and -, not
 * beginning with _, at most PE_XDM_NAME_MAX bytes.
 */
bool pe_xdm_name_ok(const char *name, size_t length);

/*
 * Fills field's type and items (name and title are left alone) from text; everything
 * below is in pool. PE_INVALID_OPTION says at which character it stopped making
 * sense, or which rule of the platform it breaks.
 */
pe_status pe_shape_parse(const char *text, pe_pool *pool, pe_xdm_field *field, pe_error *err);

/* Appends the text form, without blanks. */
void pe_shape_write(pe_text *text, const pe_xdm_field *field);

#endif /* PE_PLATFORM_XDM_SHAPE_H */
