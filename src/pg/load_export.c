/*
 * load_export.c
 *		load_export: files that a destination or a dataset export has written, from where they lie.
 *
 * A folder has one run of an export, or many below it: several a day, and all but the first
 * perhaps with only what has changed.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "pg/export_folder.h"
#include "pg/load.h"
#include "pg/load_download.h"
#include "pg/load_incremental.h"
#include "pg/progress.h"
#include "pg/suppression.h"

#define MAX_SHOWN 10 /* days */

typedef struct Export
{
	ExportServer *server;
	const char *path;
	const char *into_table;
	Datum columns;
	bool has_columns;
	LoadFormat format;
	const LoadCsv *csv; /* NULL: as is usual */
	ExportManifestRule rule;
	bool incremental;
	DateADT date;
} Export;

/* ---- which runs ---- */

static void
no_such_day(const Export *export, const List *runs, DateADT wanted)
{
	StringInfoData days;
	int shown = 0;

	if (list_length(runs) == 1)
	{
		const ExportRun *run = linitial(runs);

		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("folder \"%s\" has the run of %s, not one of %s", run->folder,
		                       load_date_text(run->date), load_date_text(wanted)),
		                errhint("Leave snapshot_date out: the day is that of the run.")));
	}
	initStringInfo(&days);
	for (int i = list_length(runs) - 1; i >= 0 && shown <= MAX_SHOWN; i--)
	{
		const ExportRun *run = list_nth(runs, i);

		if (i < list_length(runs) - 1 && ((ExportRun *) list_nth(runs, i + 1))->date == run->date)
			continue;
		appendStringInfo(&days, "%s%s", shown > 0 ? ", " : "",
		                 shown < MAX_SHOWN ? load_date_text(run->date) : "...");
		shown++;
	}
	ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
	                errmsg("folder \"%s\" has no run of %s", export->path, load_date_text(wanted)),
	                errdetail("It has runs of %s.", days.data),
	                errhint("Without snapshot_date the newest run is loaded.")));
}

/* The day to load: of the runs (oldest first) the one that is wanted, or the newest. */
static DateADT
choose_day(const Export *export, const List *runs, const DateADT *wanted)
{
	const ExportRun *newest = llast(runs);
	ListCell *cell;

	if (!newest->dated && wanted == NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("the day of the export cannot be told from folder \"%s\"", newest->folder),
		                errhint("Name it: snapshot_date => '...'.")));
	if (wanted == NULL)
		return newest->date;
	if (!newest->dated)
		return *wanted;
	foreach (cell, runs)
	{
		if (((ExportRun *) lfirst(cell))->date == *wanted)
			return *wanted;
	}
	no_such_day(export, runs, *wanted);
	pg_unreachable();
}

/* The newest run of the day, which holds everybody. */
static List *
newest_run(const Export *export, const List *runs)
{
	ExportRun *newest = NULL;
	int count = 0;
	ListCell *cell;

	foreach (cell, runs)
	{
		ExportRun *run = lfirst(cell);

		if (run->dated && run->date != export->date)
			continue;
		newest = run;
		count++;
	}
	if (count > 1)
		ereport(NOTICE, (errmsg("of the %d runs of %s, \"%s\" alone is loaded", count,
		                        load_date_text(export->date), newest->folder),
		                 errhint("If later runs hold only what has changed, load them with incremental => "
		                         "true.")));
	return list_make1(newest);
}

/* Is the run not in the base yet, and not of a later day? */
static bool
is_pending(const Export *export, const ExportRun *run, const LoadBase *base)
{
	int order;

	if (!run->dated || (!base->found && run->date <= export->date))
		return true;
	if (run->date > export->date)
		return false;
	order = export_run_compare(psprintf("%s/%s", export->server->url, run->folder), base->source);
	if (order != EXPORT_RUN_UNRELATED)
		return order > 0;
	return run->date > base->date || run->date == export->date;
}

/* All runs up to the day that the table lacks, the oldest first: those of days that were missed, too. */
static List *
pending_runs(const Export *export, const List *runs, const LoadBase *base)
{
	List *pending = NIL;
	ListCell *cell;

	foreach (cell, runs)
	{
		CHECK_FOR_INTERRUPTS();
		if (is_pending(export, lfirst(cell), base))
			pending = lappend(pending, lfirst(cell));
	}
	if (pending == NIL)
		ereport(NOTICE, (errmsg("all runs up to %s are loaded", load_date_text(export->date))));
	return pending;
}

/* ---- the function ---- */

static void
load_run(const Export *export, const ExportRun *run, LoadOrigin *total)
{
	LoadOrigin origin = {.function = "load_export", .server = export->server->name};

	origin.source = psprintf("%s/%s", export->server->url, run->folder);
	load_set_format(run->files, export->format);
	load_set_csv(run->files, export->csv);
	load_files(run->files, export->into_table, export->columns, export->has_columns, export->date,
	           export->incremental, &origin);
	total->rows = origin.rows;
	total->files += origin.files;
	total->bytes += origin.bytes;
}

static LoadOrigin
load_runs(Export *export, const DateADT *wanted)
{
	List *runs = export_runs(export->server, export->path);
	LoadOrigin total = {0};
	LoadBase base;
	ListCell *cell;

	export->date = choose_day(export, runs, wanted);
	load_check_date(export->date);
	if (export->incremental)
	{
		pe_suppression_hold();
		(void) load_incremental_open(export->into_table, export->date, &base);
		total.rows = base.rows;
		runs = pending_runs(export, runs, &base);
	}
	else
		runs = newest_run(export, runs);
	foreach (cell, runs)
		export_run_files(export->server, lfirst(cell), export->rule);
	export_download(export->server, runs);
	foreach (cell, runs)
		load_run(export, lfirst(cell), &total);
	load_download_release();
	return total;
}

static char *
text_argument(FunctionCallInfo fcinfo, int i, const char *name)
{
	if (PG_ARGISNULL(i))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be NULL", name)));
	return text_to_cstring(PG_GETARG_TEXT_PP(i));
}

PG_FUNCTION_INFO_V1(pe_load_export);

/*
 * load_export(server, path, into_table, columns, snapshot_date, format, manifest, incremental, csv)
 *		-> (snapshot_date, rows, files, bytes)
 */
Datum
pe_load_export(PG_FUNCTION_ARGS)
{
	char *server = text_argument(fcinfo, 0, "server");
	Export export = {
	    .path = text_argument(fcinfo, 1, "path"),
	    .into_table = text_argument(fcinfo, 2, "into_table"),
	    .columns = PG_ARGISNULL(3) ? (Datum) 0 : PG_GETARG_DATUM(3),
	    .has_columns = !PG_ARGISNULL(3),
	    .format = load_format_by_name(text_argument(fcinfo, 5, "format")),
	    .rule = export_manifest_rule(text_argument(fcinfo, 6, "manifest")),
	    .incremental = !PG_ARGISNULL(7) && PG_GETARG_BOOL(7),
	};
	DateADT wanted = PG_ARGISNULL(4) ? 0 : PG_GETARG_DATEADT(4);
	LoadOrigin total;

	load_check_session("load_export()");
	if (!PG_ARGISNULL(4))
		load_check_date(wanted);
	if (!PG_ARGISNULL(8))
		export.csv = load_csv_options(PG_GETARG_DATUM(8), &export.format);
	SPI_connect();
	/* What is wrong with the table is said before anything is downloaded. */
	pe_progress_begin(PE_PROGRESS_LOAD, load_target_open(export.into_table, 0)->name);
	if (export.has_columns)
		(void) load_parse_mapping(export.columns);
	export.server = export_server_open(server);
	total = load_runs(&export, PG_ARGISNULL(4) ? NULL : &wanted);
	SPI_finish();
	return load_result(fcinfo, export.date, &total);
}
