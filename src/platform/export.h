/*
 * export.h
 *		Data Access: the files of a batch, and getting their bytes.
 */
#ifndef PE_PLATFORM_EXPORT_H
#define PE_PLATFORM_EXPORT_H

#include "platform/fetch.h"
#include "platform/platform.h"

typedef struct pe_part_list
{
	pe_part *items;
	int count;
	int64_t bytes; /* of the known lengths */
	pe_pool pool;
} pe_part_list;

/*
 * Every part of the batch: pages and directories followed, names beginning with _
 * or . and empty parts left out. PE_NOT_FOUND when the batch has expired.
 */
pe_status pe_export_parts(pe_platform *platform, const char *batch_id, pe_part_list *list, pe_error *err);
void pe_part_list_free(pe_part_list *list);

/* All bytes of the parts into their sinks: fetch.h. */
pe_status pe_export_fetch(pe_platform *platform, pe_fetch *items, int count, int parallel, pe_error *err);

#endif /* PE_PLATFORM_EXPORT_H */
