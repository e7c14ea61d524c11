/*
 * catalog.h
 *		Catalog: data sets, their Profile tags, and their batches.
 */
#ifndef PE_PLATFORM_CATALOG_H
#define PE_PLATFORM_CATALOG_H

#include "platform/platform.h"

typedef struct pe_dataset
{
	const char *id;
	const char *name;
	const char *schema_id;       /* "" when unknown */
	const char *merge_policy_id; /* from tags.unifiedProfile of a snapshot; "" when absent */
	const char *table_name;      /* Query Service's; "" when absent */
	int64_t created_ms;
	int64_t row_count; /* -1 when unknown */
	bool profile_enabled;
	bool identity_enabled;
	bool is_snapshot; /* Profile-Snapshot-Export-..., or the older Profile Attribute ... */
} pe_dataset;

typedef struct pe_dataset_list
{
	pe_dataset *items;
	int count;
	pe_pool pool;
} pe_dataset_list;

/* All data sets, at most limit (0: 10,000), ordered as the platform gives them. */
pe_status pe_catalog_datasets(pe_platform *platform, int limit, pe_dataset_list *list, pe_error *err);
/* Those with exactly this name: names are not unique. */
pe_status pe_catalog_find_dataset(pe_platform *platform, const char *name, pe_dataset_list *list,
                                  pe_error *err);
/* One by its id; PE_NOT_FOUND when absent. */
pe_status pe_catalog_get_dataset(pe_platform *platform, const char *id, pe_dataset_list *list, pe_error *err);
/* The profile snapshot data sets, with their merge policies. */
pe_status pe_catalog_snapshots(pe_platform *platform, pe_dataset_list *list, pe_error *err);
void pe_dataset_list_free(pe_dataset_list *list);

/* id: at least 64 bytes. Profile and identity tags are set from the start. */
pe_status pe_catalog_create_dataset(pe_platform *platform, const char *name, const char *description,
                                    const char *schema_id, char *id, size_t size, pe_error *err);
/* Sets the tags where they are missing. Data that landed before does not reach Profile. */
pe_status pe_catalog_enable_profile(pe_platform *platform, const char *dataset_id, bool *changed,
                                    pe_error *err);

typedef enum pe_batch_state
{
	PE_BATCH_PENDING, /* also any status we do not know */
	PE_BATCH_GOOD,
	PE_BATCH_BAD,
	PE_BATCH_GONE /* reverted, deleted, archived */
} pe_batch_state;

typedef struct pe_batch_info
{
	const char *id;
	const char *status;
	pe_batch_state state;
	const char *dataset_id;
	const char *external_id; /* "" when absent */
	int64_t created_ms;
	int64_t updated_ms;
	int64_t completed_ms;
	int64_t input_records; /* -1 when unknown; so are the next three */
	int64_t output_records;
	int64_t failed_records;
	int64_t output_bytes;
	const char *error_code; /* of the first of errors[]; "" */
	const char *error_text;
} pe_batch_info;

typedef struct pe_batch_list
{
	pe_batch_info *items;
	int count;
	pe_pool pool;
} pe_batch_list;

pe_batch_state pe_batch_state_of(const char *status);

/* Newest first; status NULL: any; created_after_ms 0: any. At most limit. */
pe_status pe_catalog_batches(pe_platform *platform, const char *dataset_id, const char *status,
                             int64_t created_after_ms, int limit, pe_batch_list *list, pe_error *err);
void pe_batch_list_free(pe_batch_list *list);

#endif /* PE_PLATFORM_CATALOG_H */
