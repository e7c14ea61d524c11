/*
 * registry_internal.h
 *		What registry.c (resources, field group) and schema.c (schema, descriptors,
 *		Profile) share. Private.
 */
#ifndef PE_PLATFORM_REGISTRY_INTERNAL_H
#define PE_PLATFORM_REGISTRY_INTERNAL_H

#include "platform/json.h"
#include "platform/registry.h"
#include "platform/text.h"

/* Path of one resource, by $id or altId. Initialises path in any case. */
pe_status pe_registry_path(pe_platform *platform, const char *kind, const char *id, pe_text *path,
                           pe_error *err);
/* What an answer says about a resource; found is left as it is. */
void pe_registry_read(pe_json *json, pe_resource *resource);
/* One resource as it was sent, with its references. */
pe_status pe_registry_fetch(pe_platform *platform, const char *kind, const char *id, pe_json **json,
                            pe_error *err);
/* POST to a kind (id NULL) or change of one resource; body is freed. */
pe_status pe_registry_send(pe_platform *platform, const char *method, const char *kind, const char *id,
                           const char *what, pe_text *body, pe_json **json, pe_error *err);

#endif /* PE_PLATFORM_REGISTRY_INTERNAL_H */
