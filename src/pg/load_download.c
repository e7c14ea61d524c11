/*
 * load_download.c
 *		Parts of a batch as temporary files, which a retry in the same session takes up.
 *
 * The files outlive the transaction, and end with the session at the latest. A part belongs to
 * the user mapping it was downloaded under, and is known by path and version: nobody is given
 * what he could not have fetched himself. What the next call does not
 * ask for is let go.
 */
#include "postgres.h"

#include <unistd.h>

#include "lib/ilist.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "pg/guc.h"
#include "pg/load.h"
#include "pg/load_download.h"
#include "pg/progress.h"
#include "pg/report.h"

#define WINDOW 32 /* parts whose descriptors are open at a time */

/* A part, or the beginning of one, in a temporary file. */
typedef struct Kept
{
	dlist_node node;
	Oid umid;
	char *path;    /* at its source */
	char *version; /* what tells it from another of its name: a batch's file, or a version */
	int64 done;
	bool wanted; /* by the call under way */
	File file;
} Kept;

static dlist_head kept_parts = DLIST_STATIC_INIT(kept_parts);

/* What all sinks of a call share. */
typedef struct Download
{
	int64 written; /* of all parts, also of earlier calls */
	int64 total;
	int64 limit; /* -1: none */
	int error;
} Download;

typedef struct Sink
{
	Download *download;
	int fd;
} Sink;

static void
let_go(Kept *kept)
{
	dlist_delete(&kept->node);
	FileClose(kept->file);
	pfree(kept->path);
	pfree(kept->version);
	pfree(kept);
}

void
load_download_release(void)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &kept_parts)
	{
		let_go(dlist_container(Kept, node, iter.cur));
	}
}

static Kept *
find_kept(Oid umid, const pe_part *part)
{
	dlist_iter iter;

	dlist_foreach(iter, &kept_parts)
	{
		Kept *kept = dlist_container(Kept, node, iter.cur);

		if (kept->umid == umid && strcmp(kept->path, part->path) == 0 &&
		    strcmp(kept->version, part->file_id) == 0)
			return kept;
	}
	return NULL;
}

/* In the list as soon as there is a file to lose. */
static Kept *
begin_part(Oid umid, const pe_part *part)
{
	Kept *kept = MemoryContextAllocZero(TopMemoryContext, sizeof(Kept));

	kept->path = MemoryContextStrdup(TopMemoryContext, part->path);
	kept->version = MemoryContextStrdup(TopMemoryContext, part->file_id);
	kept->umid = umid;
	kept->file = OpenTemporaryFile(true);
	dlist_push_tail(&kept_parts, &kept->node);
	return kept;
}

/* For each part what is there of it; the rest of what was kept goes. */
static Kept **
match_parts(Oid umid, const pe_part *parts, int count)
{
	Kept **matched = palloc(sizeof(Kept *) * Max(count, 1));
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &kept_parts)
	{
		dlist_container(Kept, node, iter.cur)->wanted = false;
	}
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		matched[i] = find_kept(umid, &parts[i]);
		if (matched[i] != NULL)
			matched[i]->wanted = true;
	}
	dlist_foreach_modify(iter, &kept_parts)
	{
		Kept *kept = dlist_container(Kept, node, iter.cur);

		if (!kept->wanted)
			let_go(kept);
	}
	return matched;
}

/* Called under libcurl: system calls only. */
static bool
write_bytes(void *ctx, int64_t offset, const void *data, size_t length)
{
	Sink *sink = ctx;
	Download *download = sink->download;
	const char *from = data;

	download->written += (int64) length;
	if (download->limit >= 0 && download->written > download->limit)
	{
		download->error = EDQUOT;
		return false;
	}
	while (length > 0)
	{
		ssize_t put = pwrite(sink->fd, from, length, (off_t) offset);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
		{
			download->error = put < 0 ? errno : ENOSPC;
			return false;
		}
		from += put;
		offset += put;
		length -= (size_t) put;
	}
	pe_progress_publish("downloading bytes", (uint64) download->written, (uint64) download->total);
	return true;
}

/* Its source has answered before: what fails now is the part, and not the way to it. */
static int
part_sqlstate(pe_status code)
{
	switch (code)
	{
		case PE_NOT_FOUND:
			return ERRCODE_UNDEFINED_FILE;
		case PE_UNREACHABLE:
		case PE_BAD_REPLY:
			return ERRCODE_CONNECTION_FAILURE;
		default:
			return pe_sqlstate(code);
	}
}

static void
download_failed(const Download *download, const pe_error *err)
{
	if (download->error == EDQUOT)
		ereport(ERROR, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
		                errmsg("the files to load exceed temp_file_limit (%dkB)", temp_file_limit),
		                errhint("They are kept in temporary files while they are loaded.")));
	if (download->error != 0)
	{
		errno = download->error;
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not write to a temporary file: %m")));
	}
	pe_raise_as(part_sqlstate(err->code), err);
}

/* Descriptors are duplicated for the transfer, because fd.c may close and reopen its own. */
static void
open_sinks(Download *download, Kept **window, int count, Sink *sinks)
{
	for (int i = 0; i < count; i++)
	{
		sinks[i].download = download;
		sinks[i].fd = dup(FileGetRawDesc(window[i]->file));
		if (sinks[i].fd < 0)
		{
			int error = errno;

			while (--i >= 0)
				close(sinks[i].fd);
			errno = error;
			ereport(ERROR, (errcode_for_file_access(), errmsg("could not open a temporary file: %m")));
		}
	}
}

/* Nothing between the opening of the sinks and their closing can raise. */
static void
fetch_window(const LoadSource *source, Download *download, const pe_part *parts, Kept **window, int count)
{
	pe_fetch items[WINDOW];
	Sink sinks[WINDOW];
	pe_error err = {0};
	pe_status status;

	open_sinks(download, window, count, sinks);
	for (int i = 0; i < count; i++)
		items[i] = (pe_fetch){&parts[i], write_bytes, &sinks[i], window[i]->done};
	status = source->fetch(source->ctx, items, count, pe_parallel_downloads, &err);
	for (int i = 0; i < count; i++)
	{
		window[i]->done = items[i].done;
		/* What an attempt before has written beyond is not the part's. */
		if (ftruncate(sinks[i].fd, (off_t) items[i].done) != 0 && status == PE_OK)
		{
			download->error = errno;
			status = PE_IO;
		}
		close(sinks[i].fd);
	}
	if (status != PE_OK)
		download_failed(download, &err);
	CHECK_FOR_INTERRUPTS();
}

List *
load_download(const LoadSource *source, const pe_part *parts, int count)
{
	Download download = {.limit = temp_file_limit >= 0 ? (int64) temp_file_limit * 1024 : -1};
	Kept **matched = match_parts(source->umid, parts, count);
	List *files = NIL;
	pe_error err = {0};

	for (int i = 0; i < count; i++)
	{
		if (matched[i] == NULL)
			matched[i] = begin_part(source->umid, &parts[i]);
		download.written += matched[i]->done;
		download.total += Max(parts[i].length, 0);
	}
	if (download.limit >= 0 && download.total > download.limit)
	{
		download.error = EDQUOT;
		download_failed(&download, &err);
	}
	for (int i = 0; i < count; i += WINDOW)
		fetch_window(source, &download, &parts[i], &matched[i], Min(WINDOW, count - i));
	for (int i = 0; i < count; i++)
		files =
		    lappend(files, load_temporary_file(parts[i].name, matched[i]->file, (uint64) matched[i]->done));
	return files;
}
