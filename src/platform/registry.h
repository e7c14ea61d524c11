/*
 * registry.h
 *		Schema Registry: the tenant, and the field group, schema and identity
 *		descriptor that scores are written through.
 */
#ifndef PE_PLATFORM_REGISTRY_H
#define PE_PLATFORM_REGISTRY_H

#include "platform/platform.h"

/* "acme", without the underscore that field paths begin with. */
pe_status pe_registry_tenant(pe_platform *platform, char *tenant, size_t size, pe_error *err);

typedef enum pe_xdm_type
{
	PE_XDM_STRING,
	PE_XDM_NUMBER,
	PE_XDM_INTEGER, /* 32 bits */
	PE_XDM_LONG,    /* 2^53 */
	PE_XDM_BOOLEAN,
	PE_XDM_DATE,
	PE_XDM_DATETIME,
	PE_XDM_ARRAY,  /* of the one item */
	PE_XDM_MAP,    /* string keys, of the one item: string or integer only */
	PE_XDM_OBJECT, /* of the items as named members */
	PE_XDM_OTHER   /* read from the platform, and none of the above */
} pe_xdm_type;

/* One field; below ARRAY and MAP the single item's name is ignored. */
typedef struct pe_xdm_field
{
	const char *name;  /* letters, digits, _ and -, not beginning with _ */
	const char *title; /* NULL: the name */
	pe_xdm_type type;
	const struct pe_xdm_field *items;
	int item_count;
} pe_xdm_field;

const char *pe_xdm_type_name(pe_xdm_type type);

/* Names and nesting as the platform allows them (depth, map values, no duplicates). */
pe_status pe_xdm_check_fields(const pe_xdm_field *fields, int count, pe_error *err);

typedef struct pe_resource
{
	char id[256];     /* $id */
	char alt_id[160]; /* meta:altId, what paths take */
	char title[256];
	char version[16];
	bool has_primary_identity;
	bool profile_enabled;
	bool found; /* by the find calls */
} pe_resource;

/* kind: "fieldgroups" or "schemas"; the title must match exactly. found tells; absence is no error. */
pe_status pe_registry_find(pe_platform *platform, const char *kind, const char *title, pe_resource *resource,
                           pe_error *err);
/* By $id or altId, with additionalInfo read: PE_NOT_FOUND when it is gone. */
pe_status pe_registry_get(pe_platform *platform, const char *kind, const char *id, pe_resource *resource,
                          pe_error *err);

/*
 * The field group called title, holding fields below _tenant: created, or found and
 * given what it lacks (*added counts), or PE_CONFLICT when a field has another type.
 */
pe_status pe_registry_ensure_field_group(pe_platform *platform, const char *tenant, const char *title,
                                         const char *description, const pe_xdm_field *fields, int count,
                                         pe_resource *group, bool *created, int *added, pe_error *err);

/* Fields below _tenant of a field group as the platform has them now. Free the pool. */
pe_status pe_registry_group_fields(pe_platform *platform, const char *tenant, const char *id, pe_pool *pool,
                                   pe_xdm_field **fields, int *count, pe_error *err);

/* Profile class + identityMap + the field group: created, or found and given the group. */
pe_status pe_registry_ensure_schema(pe_platform *platform, const char *title, const char *description,
                                    const char *group_id, pe_resource *schema, bool *created, pe_error *err);

/*
 * A primary identity descriptor on property ("/_acme/churn/crmId", a string field).
 * The platform then requires the field in every record. PE_CONFLICT when the schema
 * has another primary identity.
 */
pe_status pe_registry_ensure_identity(pe_platform *platform, const char *schema_id, const char *property,
                                      const char *namespace_code, bool *created, pe_error *err);

/* Add the union tag; cannot be undone. schema is read again afterwards. */
pe_status pe_registry_enable_profile(pe_platform *platform, pe_resource *schema, bool *changed,
                                     pe_error *err);

#endif /* PE_PLATFORM_REGISTRY_H */
