/*
 * xdm_fields.h
 *		Field definitions between pe_xdm_field and the Registry's JSON Schema. Private.
 */
#ifndef PE_PLATFORM_XDM_FIELDS_H
#define PE_PLATFORM_XDM_FIELDS_H

#include "platform/json.h"
#include "platform/registry.h"
#include "platform/text.h"

/* {"type":...} of one field. */
void pe_xdm_write(pe_text *text, const pe_xdm_field *field);
/* "properties" of an object: {"a":{...},"b":{...}}. */
void pe_xdm_write_members(pe_text *text, const pe_xdm_field *fields, int count);
/* Definitions in a "properties" object, names and all, in pool. */
pe_status pe_xdm_read_members(pe_pool *pool, pe_json *properties, pe_xdm_field **fields, int *count,
                              pe_error *err);

/*
 * What wanted has and present lacks, as operations of a JSON Patch whose paths begin
 * with base ("/definitions/x/properties/_acme/properties"): appended to patch, comma
 * separated, *added counted. PE_CONFLICT names a field of another type.
 */
pe_status pe_xdm_missing(const pe_xdm_field *wanted, int wanted_count, const pe_xdm_field *present,
                         int present_count, const char *base, pe_text *patch, int *added, pe_error *err);

#endif /* PE_PLATFORM_XDM_FIELDS_H */
