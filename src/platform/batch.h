/*
 * batch.h
 *		Batch ingestion: create, upload, complete, and the records it refused.
 */
#ifndef PE_PLATFORM_BATCH_H
#define PE_PLATFORM_BATCH_H

#include "platform/platform.h"

/* JSON lines, diagnostics on, at most error_percent of rows may fail. id: at least 64 bytes. */
pe_status pe_batch_create(pe_platform *platform, const char *dataset_id, const char *external_id,
                          int error_percent, char *id, size_t size, pe_error *err);
/* name: [A-Za-z0-9._-]+; at most 256 MB; the same name again overwrites, so repeating is safe. */
pe_status pe_batch_put(pe_platform *platform, const char *batch_id, const char *dataset_id, const char *name,
                       const void *data, size_t length, pe_error *err);
/* 200 means taken, not ingested: poll pe_catalog_get_batch. Safe to repeat. */
pe_status pe_batch_complete(pe_platform *platform, const char *batch_id, pe_error *err);
pe_status pe_batch_abort(pe_platform *platform, const char *batch_id, pe_error *err);

typedef struct pe_failed_file
{
	const char *name;
	const char *path; /* request path for pe_export_download */
	int64_t length;   /* -1 when unknown */
} pe_failed_file;

typedef struct pe_failed_list
{
	pe_failed_file *items;
	int count;
	pe_pool pool;
} pe_failed_list;

/* Files with the failed records of a batch; empty when there are none (any more). */
pe_status pe_batch_failed_files(pe_platform *platform, const char *batch_id, pe_failed_list *list,
                                pe_error *err);
void pe_failed_list_free(pe_failed_list *list);

#endif /* PE_PLATFORM_BATCH_H */
