/*
 * export_folder.c
 *		Which runs of an export are in a folder, and which files belong to each.
 *
 * A run's files are what is in its folder, or what its manifest names: then all of that must be
 * there, in its length, and nothing else is taken.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/datetime.h"

#include "pg/env.h"
#include "pg/export_folder.h"
#include "pg/load.h"
#include "pg/load_download.h"
#include "pg/load_manifest.h"
#include "pg/report.h"

#define RUN_PREFIX "exportTime="

ExportManifestRule
export_manifest_rule(const char *name)
{
	if (strcmp(name, "auto") == 0)
		return EXPORT_MANIFEST_AUTO;
	if (strcmp(name, "required") == 0)
		return EXPORT_MANIFEST_REQUIRED;
	if (strcmp(name, "ignore") == 0)
		return EXPORT_MANIFEST_IGNORED;
	ereport(ERROR,
	        (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown rule for the manifest \"%s\"", name),
	         errhint("Valid are auto, required and ignore.")));
}

/* What a reader of data sets passes over: _SUCCESS, .crc, empty files, folders, and the manifest. */
static bool
is_data(const pe_entry *entry)
{
	const char *name = entry->part.name;

	return !entry->folder && name[0] != '_' && name[0] != '.' && entry->part.length != 0 &&
	       !pe_manifest_name(name);
}

static bool
has_data(const pe_entry_list *list)
{
	for (int i = 0; i < list->count; i++)
	{
		if (is_data(&list->items[i]))
			return true;
	}
	return false;
}

/* ---- runs ---- */

/* The time of exportTime=YYYYMMDDHHMM[SS] in the folder's name; false when there is none. */
static bool
time_of_folder(const char *folder, TimestampTz *time, DateADT *date)
{
	const char *at = strstr(folder, RUN_PREFIX);
	int year, month, day, hour = 0, minute = 0, second = 0;

	if (at == NULL || sscanf(at + strlen(RUN_PREFIX), "%4d%2d%2d%2d%2d%2d", &year, &month, &day, &hour,
	                         &minute, &second) < 3)
		return false;
	if (year < 1 || month < 1 || month > 12 || day < 1 || day > day_tab[isleap(year)][month - 1])
		return false;
	*date = date2j(year, month, day) - POSTGRES_EPOCH_JDATE;
	*time = *date * USECS_PER_DAY + ((hour * 60 + minute) * 60 + second) * USECS_PER_SEC;
	return true;
}

static ExportRun *
new_run(const char *folder)
{
	ExportRun *run = palloc0(sizeof(ExportRun));

	run->folder = folder;
	run->dated = time_of_folder(folder, &run->time, &run->date);
	return run;
}

/* Times are digits that sort as text. */
static int
compare_runs(const ListCell *a, const ListCell *b)
{
	return strcmp(((ExportRun *) lfirst(a))->folder, ((ExportRun *) lfirst(b))->folder);
}

static List *
runs_below(const char *folder, const pe_entry_list *list)
{
	List *runs = NIL;

	for (int i = 0; i < list->count; i++)
	{
		const char *name = list->items[i].part.name;
		ExportRun *run;

		CHECK_FOR_INTERRUPTS();
		if (!list->items[i].folder || strncmp(name, RUN_PREFIX, strlen(RUN_PREFIX)) != 0)
			continue;
		run = new_run(psprintf("%s%s%s", folder, folder[0] != '\0' ? "/" : "", name));
		if (run->dated)
			runs = lappend(runs, run);
	}
	list_sort(runs, compare_runs);
	return runs;
}

static void
list_entries(ExportServer *server, ExportRun *run)
{
	pe_error err = {0};

	pe_check(pe_store_list(server->store, run->folder, &run->list, &err), &err);
	run->listed = true;
}

List *
export_runs(ExportServer *server, const char *path)
{
	char *folder = pstrdup(path + strspn(path, "/"));
	ExportRun *own;
	List *runs;

	for (size_t length = strlen(folder); length > 0 && folder[length - 1] == '/'; length--)
		folder[length - 1] = '\0';
	own = new_run(folder);
	list_entries(server, own);
	runs = has_data(&own->list) ? NIL : runs_below(folder, &own->list);
	return runs != NIL ? runs : list_make1(own);
}

int
export_run_compare(const char *a, const char *b)
{
	const char *time_a = strstr(a, RUN_PREFIX);
	const char *time_b = strstr(b, RUN_PREFIX);

	if (time_a == NULL || time_b == NULL || time_a - a != time_b - b || strncmp(a, b, time_a - a) != 0)
		return EXPORT_RUN_UNRELATED;
	return strcmp(time_a, time_b) < 0 ? -1 : strcmp(time_a, time_b) > 0;
}

/* ---- the manifest ---- */

typedef struct ManifestText
{
	char *data;
	size_t capacity;
} ManifestText;

/* Called under libcurl: no memory is asked for. */
static bool
take_manifest(void *ctx, int64_t offset, const void *data, size_t length)
{
	ManifestText *text = ctx;

	if (offset < 0 || (size_t) offset + length > text->capacity)
		return false;
	memcpy(text->data + offset, data, length);
	return true;
}

static void
read_manifest(ExportServer *server, const pe_entry *entry, pe_manifest *manifest)
{
	pe_env env = pe_quiet_env(CurrentMemoryContext);
	ManifestText text = {.capacity = entry->part.length > 0 ? (size_t) entry->part.length : 0};
	pe_fetch fetch = {&entry->part, take_manifest, &text, 0};
	pe_error err = {0};

	if (entry->part.length <= 0 || entry->part.length > LOAD_MAX_MANIFEST)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
		                errmsg("manifest \"%s\" is empty or too large", entry->part.name)));
	text.data = palloc(text.capacity);
	pe_check(pe_store_fetch(server->store, &fetch, 1, 1, &err), &err);
	pe_check(pe_manifest_parse(&env, text.data, text.capacity, manifest, &err), &err);
}

/* The one manifest of the folder; NULL when there is none. */
static const pe_entry *
find_manifest(const pe_entry_list *list)
{
	const pe_entry *found = NULL;

	for (int i = 0; i < list->count; i++)
	{
		if (list->items[i].folder || !pe_manifest_name(list->items[i].part.name))
			continue;
		if (found != NULL)
			ereport(ERROR,
			        (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			         errmsg("the folder has several manifests, such as \"%s\" and \"%s\"", found->part.name,
			                list->items[i].part.name),
			         errhint("Each run of an export belongs into a folder of its own. manifest => 'ignore' "
			                 "loads all files that are there.")));
		found = &list->items[i];
	}
	return found;
}

static const pe_entry *
find_entry(const pe_entry_list *list, const char *name)
{
	for (int i = 0; i < list->count; i++)
	{
		if (!list->items[i].folder && strcmp(list->items[i].part.name, name) == 0)
			return &list->items[i];
	}
	return NULL;
}

static int64
length_of_entry(void *ctx, const char *name)
{
	const pe_entry *entry = find_entry(ctx, name);

	return entry != NULL ? entry->part.length : LOAD_FILE_MISSING;
}

void
export_run_files(ExportServer *server, ExportRun *run, ExportManifestRule rule)
{
	const pe_entry *entry;
	pe_manifest manifest = {0};

	if (!run->listed)
		list_entries(server, run);
	entry = rule != EXPORT_MANIFEST_IGNORED ? find_manifest(&run->list) : NULL;
	if (entry == NULL && rule == EXPORT_MANIFEST_REQUIRED)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FILE), errmsg("folder \"%s\" has no manifest", run->folder),
		                errhint("It comes last: the export may still be under way.")));
	if (entry != NULL)
	{
		read_manifest(server, entry, &manifest);
		load_check_manifest(&manifest, entry->part.name, length_of_entry, &run->list);
		run->complete = true;
	}
	run->parts = palloc(sizeof(pe_part) * Max(run->list.count, 1));
	for (int i = 0; i < run->list.count; i++)
	{
		if (is_data(&run->list.items[i]) &&
		    (entry == NULL || pe_manifest_find(&manifest, run->list.items[i].part.name) != NULL))
			run->parts[run->count++] = run->list.items[i].part;
	}
	if (run->count == 0)
		ereport(ERROR,
		        (errcode(ERRCODE_UNDEFINED_FILE), errmsg("folder \"%s\" has no file to load", run->folder),
		         errhint("Files whose names begin with _ or . and empty files are left out.")));
}

static pe_status
fetch_files(void *ctx, pe_fetch *items, int count, int parallel, pe_error *err)
{
	return pe_store_fetch(ctx, items, count, parallel, err);
}

void
export_download(ExportServer *server, List *runs)
{
	LoadSource source = {server->umid, server->store, fetch_files};
	pe_part *parts;
	List *files;
	ListCell *cell;
	int count = 0, at = 0;

	foreach (cell, runs)
		count += ((ExportRun *) lfirst(cell))->count;
	parts = palloc(sizeof(pe_part) * Max(count, 1));
	foreach (cell, runs)
	{
		ExportRun *run = lfirst(cell);

		memcpy(parts + at, run->parts, sizeof(pe_part) * run->count);
		at += run->count;
	}
	files = load_download(&source, parts, count);
	at = 0;
	foreach (cell, runs)
	{
		ExportRun *run = lfirst(cell);

		for (int i = 0; i < run->count; i++)
			run->files = lappend(run->files, list_nth(files, at++));
	}
}
