/*
 * load_export.c
 *		load_export: files that a destination or a dataset export has written, from where they lie.
 *
 * A folder is one export. What belongs to it is what is there, or what its manifest names: then all of
 * that must be there, in its length, and nothing else is taken.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"

#include "pg/env.h"
#include "pg/export_server.h"
#include "pg/load.h"
#include "pg/load_download.h"
#include "pg/load_manifest.h"
#include "pg/progress.h"
#include "pg/report.h"

#define RUN_PREFIX "exportTime="

typedef enum ManifestRule
{
	MANIFEST_AUTO, /* checked when there is one */
	MANIFEST_REQUIRED,
	MANIFEST_IGNORED
} ManifestRule;

typedef struct Export
{
	ExportServer *server;
	char *folder;
	pe_entry_list list; /* in the server's memory, which goes with the call's */
	pe_part *parts;
	int count;
	List *files;
} Export;

static ManifestRule
manifest_rule(const char *name)
{
	if (strcmp(name, "auto") == 0)
		return MANIFEST_AUTO;
	if (strcmp(name, "required") == 0)
		return MANIFEST_REQUIRED;
	if (strcmp(name, "ignore") == 0)
		return MANIFEST_IGNORED;
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

/* The folder of the newest run below; times are digits that sort as text. NULL: no runs. */
static const char *
newest_run(const pe_entry_list *list)
{
	const char *newest = NULL;

	for (int i = 0; i < list->count; i++)
	{
		const char *name = list->items[i].part.name;

		if (list->items[i].folder && strncmp(name, RUN_PREFIX, strlen(RUN_PREFIX)) == 0 &&
		    (newest == NULL || strcmp(name, newest) > 0))
			newest = name;
	}
	return newest;
}

static void
list_folder(Export *export)
{
	const char *run;
	pe_error err = {0};

	pe_check(pe_store_list(export->server->store, export->folder, &export->list, &err), &err);
	if (has_data(&export->list) || (run = newest_run(&export->list)) == NULL)
		return;
	export->folder = psprintf("%s%s%s", export->folder, export->folder[0] != '\0' ? "/" : "", run);
	pe_check(pe_store_list(export->server->store, export->folder, &export->list, &err), &err);
}

/* The day of exportTime=YYYYMMDDHHMM in the folder's name; false when there is none. */
static bool
day_of_folder(const char *folder, DateADT *date)
{
	const char *at = strstr(folder, RUN_PREFIX);
	int year, month, day;

	if (at == NULL || sscanf(at + strlen(RUN_PREFIX), "%4d%2d%2d", &year, &month, &day) != 3)
		return false;
	if (month < 1 || month > 12 || day < 1 || day > day_tab[isleap(year)][month - 1])
		return false;
	*date = date2j(year, month, day) - POSTGRES_EPOCH_JDATE;
	return true;
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
read_manifest(Export *export, const pe_entry *entry, pe_manifest *manifest)
{
	pe_env env = pe_quiet_env(CurrentMemoryContext);
	ManifestText text = {.capacity = entry->part.length > 0 ? (size_t) entry->part.length : 0};
	pe_fetch fetch = {&entry->part, take_manifest, &text, 0};
	pe_error err = {0};

	if (entry->part.length <= 0 || entry->part.length > LOAD_MAX_MANIFEST)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
		                errmsg("manifest \"%s\" is empty or too large", entry->part.name)));
	text.data = palloc(text.capacity);
	pe_check(pe_store_fetch(export->server->store, &fetch, 1, 1, &err), &err);
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

/* The parts to load. */
static void
choose_files(Export *export, ManifestRule rule)
{
	const pe_entry *entry = rule != MANIFEST_IGNORED ? find_manifest(&export->list) : NULL;
	pe_manifest manifest = {0};

	if (entry == NULL && rule == MANIFEST_REQUIRED)
		ereport(ERROR,
		        (errcode(ERRCODE_UNDEFINED_FILE), errmsg("folder \"%s\" has no manifest", export->folder),
		         errhint("It comes last: the export may still be under way.")));
	if (entry != NULL)
	{
		read_manifest(export, entry, &manifest);
		load_check_manifest(&manifest, entry->part.name, length_of_entry, &export->list);
	}
	export->parts = palloc(sizeof(pe_part) * Max(export->list.count, 1));
	for (int i = 0; i < export->list.count; i++)
	{
		if (is_data(&export->list.items[i]) &&
		    (entry == NULL || pe_manifest_find(&manifest, export->list.items[i].part.name) != NULL))
			export->parts[export->count++] = export->list.items[i].part;
	}
	if (export->count == 0)
		ereport(ERROR,
		        (errcode(ERRCODE_UNDEFINED_FILE), errmsg("folder \"%s\" has no file to load", export->folder),
		         errhint("Files whose names begin with _ or . and empty files are left out.")));
}

/* ---- the function ---- */

static pe_status
fetch_files(void *ctx, pe_fetch *items, int count, int parallel, pe_error *err)
{
	return pe_store_fetch(ctx, items, count, parallel, err);
}

static char *
text_argument(FunctionCallInfo fcinfo, int i, const char *name)
{
	if (PG_ARGISNULL(i))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be NULL", name)));
	return text_to_cstring(PG_GETARG_TEXT_PP(i));
}

static DateADT
day_of_export(FunctionCallInfo fcinfo, int i, const Export *export)
{
	DateADT date;

	if (!PG_ARGISNULL(i))
		return PG_GETARG_DATEADT(i);
	if (!day_of_folder(export->folder, &date))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("the day of the export cannot be told from folder \"%s\"", export->folder),
		                errhint("Name it: snapshot_date => '...'.")));
	return date;
}

PG_FUNCTION_INFO_V1(pe_load_export);

/*
 * load_export(server, path, into_table, columns, snapshot_date, format, manifest)
 *		-> (snapshot_date, rows, files, bytes)
 */
Datum
pe_load_export(PG_FUNCTION_ARGS)
{
	char *server = text_argument(fcinfo, 0, "server");
	char *path = text_argument(fcinfo, 1, "path");
	char *into_table = text_argument(fcinfo, 2, "into_table");
	LoadFormat format = load_format_by_name(text_argument(fcinfo, 5, "format"));
	ManifestRule rule = manifest_rule(text_argument(fcinfo, 6, "manifest"));
	Export export = {0};
	LoadOrigin origin = {.function = "load_export"};
	LoadSource source;
	DateADT date;

	load_check_session("load_export()");
	if (!PG_ARGISNULL(4))
		load_check_date(PG_GETARG_DATEADT(4));
	SPI_connect();
	/* What is wrong with the table is said before anything is downloaded. */
	pe_progress_begin(PE_PROGRESS_LOAD, load_target_open(into_table, 0)->name);
	if (!PG_ARGISNULL(3))
		(void) load_parse_mapping(PG_GETARG_DATUM(3));
	export.server = export_server_open(server);
	export.folder = pstrdup(path + strspn(path, "/"));
	list_folder(&export);
	date = day_of_export(fcinfo, 4, &export);
	load_check_date(date);
	choose_files(&export, rule);
	source = (LoadSource){export.server->umid, export.server->store, fetch_files};
	export.files = load_download(&source, export.parts, export.count);
	load_set_format(export.files, format);

	origin.source = psprintf("%s/%s", export.server->url, export.folder);
	origin.server = server;
	load_files(export.files, into_table, PG_ARGISNULL(3) ? (Datum) 0 : PG_GETARG_DATUM(3), !PG_ARGISNULL(3),
	           date, &origin);
	load_download_release();
	SPI_finish();
	return load_result(fcinfo, date, &origin);
}
