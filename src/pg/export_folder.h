/*
 * export_folder.h
 *		Which runs of an export are in a folder, and which files belong to each.
 */
#ifndef PE_EXPORT_FOLDER_H
#define PE_EXPORT_FOLDER_H

#include "postgres.h"

#include <limits.h>

#include "nodes/pg_list.h"
#include "utils/date.h"
#include "utils/timestamp.h"

#include "pg/export_server.h"

typedef enum ExportManifestRule
{
	EXPORT_MANIFEST_AUTO, /* checked when there is one */
	EXPORT_MANIFEST_REQUIRED,
	EXPORT_MANIFEST_IGNORED
} ExportManifestRule;

/* One run of an export: a folder. */
typedef struct ExportRun
{
	const char *folder; /* below the server's url */
	bool dated;         /* its name says exportTime=... */
	TimestampTz time;   /* then */
	DateADT date;
	bool listed;
	bool complete;      /* a manifest says so */
	pe_entry_list list; /* in the server's memory, as what parts point to */
	int count;
	pe_part *parts;
	List *files; /* of LoadFile */
} ExportRun;

/* auto, required or ignore; raises for others. */
extern ExportManifestRule export_manifest_rule(const char *name);

/*
 * ExportRun *, the oldest first: the runs below the folder that say their time, or, when it has data of
 * its own or there are none, the folder itself.
 */
extern List *export_runs(ExportServer *server, const char *path);

/* Which of two runs, named by folder or by url and folder, is the older: below 0, 0, above 0. */
#define EXPORT_RUN_UNRELATED INT_MAX /* they are not of one export */
extern int export_run_compare(const char *a, const char *b);

/* The run's parts, held to its manifest; raises when it is not complete, or has none. */
extern void export_run_files(ExportServer *server, ExportRun *run, ExportManifestRule rule);

/* Downloads the parts of all these runs, each run's into its files. */
extern void export_download(ExportServer *server, List *runs);

#endif /* PE_EXPORT_FOLDER_H */
