/*
 * export.h
 *		Data Access: the files of a batch, and getting their bytes.
 */
#ifndef PE_PLATFORM_EXPORT_H
#define PE_PLATFORM_EXPORT_H

#include "platform/platform.h"

typedef struct pe_part
{
	const char *file_id; /* dataSetFileId */
	const char *name;    /* as the platform says, e.g. part-00000-....parquet: never a path on our disk */
	const char *path;    /* request path, for pe_export_download */
	int64_t length;      /* -1 when the platform did not say */
} pe_part;

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

/*
 * All bytes of a part into sink, in order: ranges of 64 MB, a broken transfer taken up
 * at the byte it broke (5 times without progress at most), the length checked at the end.
 * sink must not jump; false ends with PE_IO.
 */
pe_status pe_export_download(pe_platform *platform, const pe_part *part, pe_http_sink sink, void *sink_ctx,
                             int64_t *bytes, pe_error *err);

#endif /* PE_PLATFORM_EXPORT_H */
