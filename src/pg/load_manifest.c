/*
 * load_manifest.c
 *		Is an export complete, by its manifest? Else it is still under way, or not all of it is here.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "miscadmin.h"

#include "pg/load_manifest.h"
#include "pg/report.h"

#define MAX_SHOWN 5

void
load_check_manifest(const pe_manifest *manifest, const char *name, load_length_of length_of, void *ctx)
{
	StringInfoData wrong;
	int count = 0;

	initStringInfo(&wrong);
	for (int i = 0; i < manifest->count; i++)
	{
		const pe_manifest_file *file = &manifest->files[i];
		int64 length = length_of(ctx, file->name);

		CHECK_FOR_INTERRUPTS();
		if (length != LOAD_FILE_MISSING && (file->size < 0 || length < 0 || length == file->size))
			continue;
		if (count++ >= MAX_SHOWN)
			continue;
		appendStringInfo(&wrong, "%s\"%s\"", count > 1 ? "; " : "", pe_valid_text(file->name));
		if (length == LOAD_FILE_MISSING)
			appendStringInfoString(&wrong, " is not there");
		else
			appendStringInfo(&wrong, " has " INT64_FORMAT " bytes, not " INT64_FORMAT, length,
			                 (int64) file->size);
	}
	if (count > 0)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
		                errmsg("%d of the %d files in manifest \"%s\" are missing or of another length",
		                       count, manifest->count, pe_valid_text(name)),
		                errdetail("%s%s. Nothing was loaded.", wrong.data, count > MAX_SHOWN ? "; ..." : ""),
		                errhint("The export may still be under way: try again later.")));
}
