/*
 * identity.h
 *		Identity namespaces of the organisation.
 */
#ifndef PE_PLATFORM_IDENTITY_H
#define PE_PLATFORM_IDENTITY_H

#include "platform/platform.h"

typedef struct pe_namespace
{
	int64_t id;
	const char *code;
	const char *name;
	const char *id_type; /* upper case: COOKIE, CROSS_DEVICE, DEVICE, EMAIL, MOBILE, NON_PEOPLE, PHONE */
	const char *status;
	bool custom;
} pe_namespace;

typedef struct pe_namespace_list
{
	pe_namespace *items;
	int count;
	pe_pool pool;
} pe_namespace_list;

pe_status pe_identity_list(pe_platform *platform, pe_namespace_list *list, pe_error *err);
void pe_namespace_list_free(pe_namespace_list *list);
/* By code, compared without case; NULL when absent. */
const pe_namespace *pe_namespace_find(const pe_namespace_list *list, const char *code);
/* Creates a CROSS_DEVICE namespace unless the code exists. */
pe_status pe_identity_ensure(pe_platform *platform, const char *code, const char *name, bool *created,
                             pe_error *err);

#endif /* PE_PLATFORM_IDENTITY_H */
