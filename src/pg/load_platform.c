/*
 * load_platform.c
 *		load_snapshot: the day's profile snapshot from the platform's Data Access, by
 *		way of temporary files.
 *
 * Every merge policy has a data set of its own, with one batch a day. The parts are
 * downloaded whole before any is read: a load is all or nothing, and the columns
 * depend on every part.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/timestamp.h"

#include "pg/connection.h"
#include "pg/load.h"
#include "pg/load_dataset.h"
#include "pg/load_download.h"
#include "pg/progress.h"
#include "pg/report.h"
#include "platform/catalog.h"
#include "platform/export.h"

#define MAX_TRIED 20 /* batches whose files may turn out to have expired */

typedef struct Batch
{
	char *id;
	int64 created_ms;
} Batch;

/* Which batch of which data set is loaded. */
typedef struct Choice
{
	LoadDataset dataset;
	List *batches; /* that may be loaded, newest first */
	const char *batch_id;
	DateADT date;
	TimestampTz exported_at;
	List *files; /* of LoadFile */
} Choice;

static void
no_batch(const Choice *choice, const DateADT *wanted)
{
	ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FILE),
	                wanted != NULL ? errmsg("data set \"%s\" has no successful batch of %s",
	                                        choice->dataset.name, load_date_text(*wanted))
	                               : errmsg("data set \"%s\" has no successful batch", choice->dataset.name),
	                errhint("The platform keeps snapshots for some days only, and a day may be missing. "
	                        "profenrich.available_snapshots shows those that are there.")));
}

/* The good ones of the list, of the day if one is wanted, newest first. */
static List *
good_batches(const pe_batch_list *list, const DateADT *wanted)
{
	List *batches = NIL;

	for (int i = 0; i < list->count && list_length(batches) < MAX_TRIED; i++)
	{
		const pe_batch_info *item = &list->items[i];
		Batch *batch;

		if (item->state != PE_BATCH_GOOD || (wanted != NULL && load_day_of_ms(item->created_ms) != *wanted))
			continue;
		batch = palloc0(sizeof(Batch));
		batch->id = pstrdup(item->id);
		batch->created_ms = item->created_ms;
		batches = lappend(batches, batch);
	}
	return batches;
}

static void
list_batches(Choice *choice, pe_platform *platform, const DateADT *wanted)
{
	pe_batch_list list = {0};
	pe_error err = {0};

	pe_check(pe_catalog_batches(platform, choice->dataset.id, "success",
	                            wanted != NULL ? load_ms_of_day(*wanted) - 1 : 0,
	                            wanted != NULL ? LOAD_MAX_BATCHES : MAX_TRIED, &list, &err),
	         &err);
	PG_TRY();
	{
		choice->batches = good_batches(&list, wanted);
	}
	PG_FINALLY();
	{
		pe_batch_list_free(&list);
	}
	PG_END_TRY();
	if (choice->batches == NIL)
		no_batch(choice, wanted);
}

/* ---- downloading ---- */

/* The parts of the batch as files. False: the platform has them no more. */
static bool
download_batch(Choice *choice, const PeConnection *connection, const Batch *batch)
{
	pe_part_list list = {0};
	pe_error err = {0};
	pe_status status = pe_export_parts(connection->platform, batch->id, &list, &err);

	if (status == PE_NOT_FOUND)
		return false;
	pe_check(status, &err);
	PG_TRY();
	{
		if (list.count == 0)
			ereport(ERROR,
			        (errcode(ERRCODE_DATA_EXCEPTION),
			         errmsg("batch %s of data set \"%s\" has no files", batch->id, choice->dataset.name)));
		choice->files = load_download_batch(connection, list.items, list.count);
	}
	PG_FINALLY();
	{
		pe_part_list_free(&list);
	}
	PG_END_TRY();
	choice->batch_id = batch->id;
	choice->date = load_day_of_ms(batch->created_ms);
	choice->exported_at = load_time_of_ms(batch->created_ms);
	return true;
}

/* The newest batch that is still there. */
static void
download_newest(Choice *choice, const PeConnection *connection)
{
	ListCell *cell;

	foreach (cell, choice->batches)
	{
		const Batch *batch = lfirst(cell);
		char *day = load_date_text(load_day_of_ms(batch->created_ms));

		if (download_batch(choice, connection, batch))
			return;
		if (lnext(choice->batches, cell) == NULL)
			ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FILE),
			                errmsg("the files of batch %s, of %s, are not there any more", batch->id, day),
			                errdetail("The platform lists the batch, but its files have expired."),
			                errhint("profenrich.available_snapshots shows the days that are there.")));
		ereport(NOTICE, (errmsg("batch %s, of %s, is skipped: its files have expired", batch->id, day)));
	}
}

static char *
optional_text(FunctionCallInfo fcinfo, int i)
{
	return PG_ARGISNULL(i) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(i));
}

PG_FUNCTION_INFO_V1(pe_load_snapshot);

/*
 * load_snapshot(server, into_table, dataset, merge_policy, columns, snapshot_date)
 *		-> (snapshot_date, rows, files, bytes)
 */
Datum
pe_load_snapshot(PG_FUNCTION_ARGS)
{
	char *server = optional_text(fcinfo, 0);
	char *into_table = optional_text(fcinfo, 1);
	DateADT wanted = PG_ARGISNULL(5) ? 0 : PG_GETARG_DATEADT(5);
	LoadOrigin origin = {.function = "load_snapshot"};
	Choice choice = {0};
	PeConnection *connection;

	load_check_session("load_snapshot()");
	if (server == NULL || into_table == NULL)
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
		                errmsg("%s must not be NULL", server == NULL ? "server" : "into_table")));
	if (!PG_ARGISNULL(5))
		load_check_date(wanted);
	SPI_connect();
	/* What is wrong with the table is said before anything is downloaded. */
	pe_progress_begin(PE_PROGRESS_LOAD, load_target_open(into_table, wanted)->name);
	if (!PG_ARGISNULL(4))
		(void) load_parse_mapping(PG_GETARG_DATUM(4));

	connection = pe_connection_open(server, GetUserId(), CurrentMemoryContext);
	choice.dataset = load_choose_snapshot(connection, optional_text(fcinfo, 2), optional_text(fcinfo, 3));
	list_batches(&choice, connection->platform, PG_ARGISNULL(5) ? NULL : &wanted);
	download_newest(&choice, connection);
	pe_connection_close(connection);

	origin.source = choice.dataset.name;
	origin.server = server;
	origin.dataset = choice.dataset.id;
	origin.batch = choice.batch_id;
	origin.exported_at = choice.exported_at;
	load_files(choice.files, into_table, PG_ARGISNULL(4) ? (Datum) 0 : PG_GETARG_DATUM(4), !PG_ARGISNULL(4),
	           choice.date, false, &origin);
	load_download_release();
	SPI_finish();
	return load_result(fcinfo, choice.date, &origin);
}
