/*
 * profile.h
 *		Profile service: reading one profile back, and the merge policies.
 */
#ifndef PE_PLATFORM_PROFILE_H
#define PE_PLATFORM_PROFILE_H

#include "platform/platform.h"

/*
 * The profile's merged entity as JSON text (the "entity" member of the first entry),
 * NUL-terminated, in pool. fields (comma separated paths) and merge_policy may be
 * NULL. PE_NOT_FOUND when the platform does not know the identity.
 */
pe_status pe_profile_entity(pe_platform *platform, const char *namespace_code, const char *identity,
                            const char *fields, const char *merge_policy, pe_pool *pool, char **json,
                            pe_error *err);

typedef struct pe_merge_policy
{
	const char *id;
	const char *name;
	bool is_default;
} pe_merge_policy;

typedef struct pe_merge_policy_list
{
	pe_merge_policy *items;
	int count;
	pe_pool pool;
} pe_merge_policy_list;

pe_status pe_profile_merge_policies(pe_platform *platform, pe_merge_policy_list *list, pe_error *err);
void pe_merge_policy_list_free(pe_merge_policy_list *list);

#endif /* PE_PLATFORM_PROFILE_H */
