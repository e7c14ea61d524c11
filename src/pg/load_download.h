/*
 * load_download.h
 *		Parts of a batch as temporary files, which a retry in the same session takes up.
 */
#ifndef PE_LOAD_DOWNLOAD_H
#define PE_LOAD_DOWNLOAD_H

#include "postgres.h"

#include "nodes/pg_list.h"

#include "platform/fetch.h"

/* Where parts come from, under whose mapping. fetch is called as fetch(ctx, ...). */
typedef struct LoadSource
{
	Oid umid;
	void *ctx;
	pe_status (*fetch)(void *ctx, pe_fetch *items, int count, int parallel, pe_error *err);
} LoadSource;

/*
 * Downloads every part, several at a time, and gives a LoadFile for each, in their order. What
 * has come stays with the session when this, or the load after it, fails: the next call goes on
 * from there. Raises beyond temp_file_limit.
 */
extern List *load_download(const LoadSource *source, const pe_part *parts, int count);

/* The load is done: let go of the temporary files. Also of what earlier ones left. */
extern void load_download_release(void);

#endif /* PE_LOAD_DOWNLOAD_H */
