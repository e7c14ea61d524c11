/*
 * load_events.c
 *		load_events: the events of a data set, batch by batch, each batch once.
 *
 * Event data sets are as they were ingested: nobody has merged the people in them. Their batches
 * come in through the day, and some take the place of others. A call takes what is new, oldest
 * first, in groups that bound the temporary space; it is one transaction, so a failure leaves the
 * table as it was, and what was downloaded stays with the session for a retry. Where the data set is
 * exported to files, each run of the export is a batch.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "pg/audit.h"
#include "pg/export_folder.h"
#include "pg/load_event_table.h"
#include "pg/load_dataset.h"
#include "pg/load_download.h"
#include "pg/owner.h"
#include "pg/progress.h"
#include "pg/report.h"
#include "pg/suppression.h"
#include "platform/catalog.h"

#define GROUP_BATCHES 64
#define GROUP_BYTES   (INT64CONST(1) << 30)

/* A batch of the platform's, and what became of it. */
typedef struct EventBatch
{
	const char *id;
	int64 created_ms;
	int64 bytes; /* as Catalog says; 0: not known */
	pe_part_list parts;
	ExportRun *run; /* of an export; NULL: parts are the platform's */
	bool expired;
	List *files;
	int64 rows;
} EventBatch;

typedef struct EventLoad
{
	LoadTarget *target;
	PeConnection *connection; /* one of these */
	ExportServer *exports;
	LoadDataset dataset;
	EventKeys keys;
	Datum columns; /* jsonb, or 0 */
	LoadMapping *mapping;
	List *wanted; /* of EventBatch, oldest first */
	int batches;
	int64 rows;
	int replaced;
	int expired;
	int64 files;
	int64 bytes;
} EventLoad;

/* ---- the books ---- */

/* Rows of tables that are gone are of no use to anybody. */
static void
sweep_books(void)
{
	(void) pe_owner_execute("DELETE FROM profenrich.event_load l WHERE NOT EXISTS"
	                        " (SELECT FROM pg_class c WHERE c.oid = l.into_table)",
	                        0, NULL, NULL, NULL, false, 0);
}

/* What the books say of the batch: NULL, loaded or expired. */
static char *
booked_status(Oid relid, const char *batch)
{
	Oid types[] = {OIDOID, TEXTOID};
	Datum values[] = {ObjectIdGetDatum(relid), CStringGetTextDatum(batch)};

	(void) pe_owner_execute("SELECT status FROM profenrich.event_load WHERE into_table = $1 AND batch = $2",
	                        2, types, values, NULL, false, 1);
	return SPI_processed == 1 ? SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1) : NULL;
}

static void
unbook(Oid relid, const char *batch)
{
	Oid types[] = {OIDOID, TEXTOID};
	Datum values[] = {ObjectIdGetDatum(relid), CStringGetTextDatum(batch)};

	(void) pe_owner_execute("DELETE FROM profenrich.event_load WHERE into_table = $1 AND batch = $2", 2,
	                        types, values, NULL, false, 0);
}

static void
book(const EventLoad *load, const EventBatch *batch)
{
	Oid types[] = {OIDOID,         TEXTOID, TEXTOID, TEXTOID, TEXTOID,
	               TIMESTAMPTZOID, INT8OID, INT8OID, INT8OID, JSONBOID};
	Datum values[] = {ObjectIdGetDatum(load->target->relid),
	                  CStringGetTextDatum(batch->id),
	                  CStringGetTextDatum(batch->expired ? "expired" : "loaded"),
	                  CStringGetTextDatum(load->dataset.server),
	                  CStringGetTextDatum(load->dataset.id),
	                  TimestampTzGetDatum(load_time_of_ms(batch->created_ms)),
	                  Int64GetDatum(batch->rows),
	                  Int64GetDatum(list_length(batch->files)),
	                  Int64GetDatum(batch->run != NULL ? batch->bytes : batch->parts.bytes),
	                  load->columns};
	char nulls[] = "          ";

	nulls[9] = load->columns != 0 ? ' ' : 'n';
	(void) pe_owner_execute(
	    "INSERT INTO profenrich.event_load (into_table, batch, status, server, dataset, created_at,"
	    " rows, files, bytes, mapping) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
	    lengthof(types), types, values, nulls, false, 0);
}

/* The columns argument of the last load; false when it had none. */
static bool
previous_columns(Oid relid, Datum *columns)
{
	Oid types[] = {OIDOID};
	Datum values[] = {ObjectIdGetDatum(relid)};
	bool null = true;
	Datum value = 0;

	(void) pe_owner_execute(
	    "SELECT mapping FROM profenrich.event_load WHERE into_table = $1 AND status = 'loaded'"
	    " ORDER BY loaded_at DESC, created_at DESC",
	    1, types, values, NULL, false, 1);
	if (SPI_processed == 1)
		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null);
	if (!null)
		*columns = SPI_datumTransfer(value, false, -1);
	return !null;
}

/* ---- what is to be done ---- */

static bool
is_replaced(const pe_batch_info *batch)
{
	return pg_strcasecmp(batch->status, "inactive") == 0 || pg_strcasecmp(batch->status, "deleted") == 0;
}

static void
take_back(EventLoad *load, const char *batch)
{
	char *status = booked_status(load->target->relid, batch);

	if (status == NULL)
		return;
	if (strcmp(status, "loaded") == 0)
	{
		(void) load_event_table_delete(load->target, batch);
		load->replaced++;
	}
	unbook(load->target->relid, batch);
}

/* A batch to load, if the table has it not yet; else NULL. */
static EventBatch *
wanted_batch(const EventLoad *load, const char *id, int64 created_ms)
{
	EventBatch *batch;

	if (OidIsValid(load->target->relid) && booked_status(load->target->relid, id) != NULL)
		return NULL;
	batch = palloc0(sizeof(EventBatch));
	batch->id = pstrdup(id);
	batch->created_ms = created_ms;
	return batch;
}

/* Batches to load, oldest first; those that the platform has replaced lose their rows. */
static List *
sort_batches(EventLoad *load, const pe_batch_list *list)
{
	List *wanted = NIL;

	for (int i = list->count - 1; i >= 0; i--)
	{
		const pe_batch_info *item = &list->items[i];
		EventBatch *batch;

		CHECK_FOR_INTERRUPTS();
		if (OidIsValid(load->target->relid) && is_replaced(item))
			take_back(load, item->id);
		if (item->state != PE_BATCH_GOOD || (batch = wanted_batch(load, item->id, item->created_ms)) == NULL)
			continue;
		batch->bytes = Max(item->output_bytes, 0);
		wanted = lappend(wanted, batch);
	}
	return wanted;
}

static void
list_batches(EventLoad *load, int64 since_ms)
{
	pe_batch_list list = {0};
	pe_error err = {0};

	pe_check(pe_catalog_batches(load->connection->platform, load->dataset.id, NULL, since_ms,
	                            LOAD_MAX_BATCHES + 1, &list, &err),
	         &err);
	PG_TRY();
	{
		if (list.count > LOAD_MAX_BATCHES)
			ereport(ERROR,
			        (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			         errmsg("data set \"%s\" has more than %d batches", load->dataset.name, LOAD_MAX_BATCHES),
			         errhint("Name the time to begin with: since => '...'.")));
		load->wanted = sort_batches(load, &list);
	}
	PG_FINALLY();
	{
		pe_batch_list_free(&list);
	}
	PG_END_TRY();
}

/*
 * A run counts as loaded from then on, so all of it has to be there: its manifest says so, or a
 * newer run has begun.
 */
static bool
is_finished(const ExportRun *run, const List *runs)
{
	if (run->complete || run != llast(runs))
		return true;
	ereport(NOTICE,
	        (errmsg("run \"%s\" is left for later: it has no manifest, and may be under way", run->folder),
	         errhint("It is loaded when a newer run is there, or its manifest.")));
	return false;
}

static EventBatch *
wanted_run(const EventLoad *load, ExportRun *run, const List *runs, int64 since_ms)
{
	int64 created_ms = load_ms_of_time(run->time);
	EventBatch *batch = created_ms > since_ms ? wanted_batch(load, run->folder, created_ms) : NULL;

	if (batch == NULL)
		return NULL;
	export_run_files(load->exports, run, EXPORT_MANIFEST_AUTO);
	if (!is_finished(run, runs))
		return NULL;
	batch->run = run;
	for (int i = 0; i < run->count; i++)
		batch->bytes += Max(run->parts[i].length, 0);
	return batch;
}

/* The runs of an export, as batches. */
static void
list_runs(EventLoad *load, int64 since_ms)
{
	List *runs = export_runs(load->exports, load->dataset.id);
	ListCell *cell;

	foreach (cell, runs)
	{
		ExportRun *run = lfirst(cell);
		EventBatch *batch;

		CHECK_FOR_INTERRUPTS();
		if (!run->dated)
			ereport(ERROR,
			        (errcode(ERRCODE_UNDEFINED_OBJECT),
			         errmsg("folder \"%s\" has no run of an export", run->folder),
			         errhint("Name the folder of the data set: its runs are folders exportTime=... in it.")));
		batch = wanted_run(load, run, runs, since_ms);
		if (batch != NULL)
			load->wanted = lappend(load->wanted, batch);
	}
}

/* ---- one group ---- */

static void
list_parts(EventLoad *load, List *group)
{
	ListCell *cell;

	foreach (cell, group)
	{
		EventBatch *batch = lfirst(cell);
		pe_error err = {0};
		pe_status status;

		if (batch->run != NULL)
			continue;
		status = pe_export_parts(load->connection->platform, batch->id, &batch->parts, &err);
		batch->expired = status == PE_NOT_FOUND;
		if (batch->expired)
			ereport(NOTICE, (errmsg("batch %s is skipped: its files have expired", batch->id)));
		else
			pe_check(status, &err);
	}
}

static void
download_runs(EventLoad *load, List *group)
{
	List *runs = NIL;
	ListCell *cell;

	foreach (cell, group)
		runs = lappend(runs, ((EventBatch *) lfirst(cell))->run);
	export_download(load->exports, runs);
	foreach (cell, group)
		((EventBatch *) lfirst(cell))->files = ((EventBatch *) lfirst(cell))->run->files;
}

static void
download_batches(EventLoad *load, List *group)
{
	pe_part *parts;
	List *files;
	ListCell *cell;
	int count = 0;
	int at = 0;

	foreach (cell, group)
		count += ((EventBatch *) lfirst(cell))->parts.count;
	parts = palloc(sizeof(pe_part) * Max(count, 1));
	count = 0;
	foreach (cell, group)
	{
		EventBatch *batch = lfirst(cell);

		for (int i = 0; i < batch->parts.count; i++)
			parts[count++] = batch->parts.items[i];
	}
	files = load_download_batch(load->connection, parts, count);
	foreach (cell, group)
	{
		EventBatch *batch = lfirst(cell);

		for (int i = 0; i < batch->parts.count; i++)
			batch->files = lappend(batch->files, list_nth(files, at++));
	}
}

static void
read_group(EventLoad *load, List *group, List *files)
{
	int level = load_fixed_settings();
	LoadPlan *plan = load_plan_files(load->target->label, files, load->target->existing,
	                                 load->target->nexisting, load->mapping);
	LoadWriter *writer;
	ListCell *cell;

	load_plan_add(plan, load->target->existing, load->target->nexisting, EVENT_MAP_COLUMN, "identityMap",
	              JSONBOID);
	load_event_table_shape(load->target, plan);
	writer = load_event_table_aside(load->target, plan);
	foreach (cell, group)
	{
		EventBatch *batch = lfirst(cell);
		int64 before = load_writer_rows(writer);

		load_writer_constant(writer, CStringGetTextDatum(batch->id));
		if (batch->files != NIL)
			load_write_files(load->target->label, batch->files, plan, writer);
		batch->rows = load_writer_rows(writer) - before;
	}
	AtEOXact_GUC(true, level);
	load->rows += load_event_table_take(load->target, plan, &load->keys, writer);
}

static void
load_group(EventLoad *load, List *group)
{
	List *files = NIL;
	ListCell *cell;

	list_parts(load, group);
	if (load->exports != NULL)
		download_runs(load, group);
	else
		download_batches(load, group);
	foreach (cell, group)
		files = list_concat(files, ((EventBatch *) lfirst(cell))->files);
	if (files != NIL)
		read_group(load, group, files);
	foreach (cell, group)
	{
		EventBatch *batch = lfirst(cell);

		/* Without a table there is nothing yet to keep books on. */
		if (OidIsValid(load->target->relid))
			book(load, batch);
		load->batches += !batch->expired;
		load->expired += batch->expired;
		load->files += list_length(batch->files);
		load->bytes += batch->run != NULL ? batch->bytes : batch->parts.bytes;
	}
	load_download_release();
	/* The table may have new columns. */
	load->target = load_event_table_open(load->target->label);
}

static void
free_parts(List *group)
{
	ListCell *cell;

	foreach (cell, group)
		pe_part_list_free(&((EventBatch *) lfirst(cell))->parts);
}

static void
load_group_and_free(EventLoad *load, List *group)
{
	PG_TRY();
	{
		load_group(load, group);
	}
	PG_CATCH();
	{
		free_parts(group);
		PG_RE_THROW();
	}
	PG_END_TRY();
	free_parts(group);
}

static void
load_batches(EventLoad *load, List *batches)
{
	List *group = NIL;
	int64 bytes = 0;
	ListCell *cell;

	foreach (cell, batches)
	{
		EventBatch *batch = lfirst(cell);

		if (list_length(group) >= GROUP_BATCHES || (group != NIL && bytes + batch->bytes > GROUP_BYTES))
		{
			load_group_and_free(load, group);
			group = NIL;
			bytes = 0;
		}
		group = lappend(group, batch);
		bytes += batch->bytes;
	}
	if (group != NIL)
		load_group_and_free(load, group);
}

/* ---- the function ---- */

static char *
text_or_null(FunctionCallInfo fcinfo, int i, const char *required)
{
	if (PG_ARGISNULL(i) && required != NULL)
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be NULL", required)));
	return PG_ARGISNULL(i) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(i));
}

static Datum
result_row(FunctionCallInfo fcinfo, const EventLoad *load)
{
	TupleDesc desc;
	bool nulls[6] = {false};
	Datum values[6] = {Int32GetDatum(load->batches),  Int64GetDatum(load->rows),
	                   Int32GetDatum(load->replaced), Int32GetDatum(load->expired),
	                   Int64GetDatum(load->files),    Int64GetDatum(load->bytes)};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/* Milliseconds since 1970 of the since argument, 0 without. */
static int64
since_argument(FunctionCallInfo fcinfo, int i)
{
	TimestampTz since = PG_ARGISNULL(i) ? 0 : PG_GETARG_TIMESTAMPTZ(i);

	if (PG_ARGISNULL(i) || TIMESTAMP_IS_NOBEGIN(since))
		return 0;
	if (TIMESTAMP_IS_NOEND(since))
		ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("since must not be infinity")));
	return Max(load_ms_of_time(since) - 1, 0);
}

/* Where the batches are, and which there are. dataset is a folder where they are exported to files. */
static void
find_batches(EventLoad *load, const char *server, const char *dataset, int64 since_ms)
{
	if (export_server_is(server))
	{
		load->exports = export_server_open(server);
		load->dataset = (LoadDataset){load->exports->name, pstrdup(dataset), pstrdup(dataset)};
		list_runs(load, since_ms);
		return;
	}
	load->connection = pe_connection_open(server, GetUserId(), CurrentMemoryContext);
	load->dataset = load_choose_dataset(load->connection, dataset);
	list_batches(load, since_ms);
}

PG_FUNCTION_INFO_V1(pe_load_events);

/*
 * load_events(server, into_table, dataset, columns, since, key_namespaces, profiles)
 *		-> (batches, rows, replaced, expired, files, bytes)
 */
Datum
pe_load_events(PG_FUNCTION_ARGS)
{
	char *server = text_or_null(fcinfo, 0, "server");
	char *into_table = text_or_null(fcinfo, 1, "into_table");
	char *dataset = text_or_null(fcinfo, 2, "dataset");
	int64 since_ms = since_argument(fcinfo, 4);
	EventLoad load = {.columns = PG_ARGISNULL(3) ? 0 : PG_GETARG_DATUM(3),
	                  .keys = {.namespaces = PG_ARGISNULL(5) ? 0 : PG_GETARG_DATUM(5),
	                           .profiles = text_or_null(fcinfo, 6, NULL)}};

	load_check_session("load_events()");
	SPI_connect();
	pe_suppression_hold();
	load.target = load_event_table_open(into_table);
	pe_progress_begin(PE_PROGRESS_LOAD, load.target->name);
	sweep_books();
	if (load.columns == 0 && OidIsValid(load.target->relid))
		(void) previous_columns(load.target->relid, &load.columns);
	load.mapping = load.columns != 0 ? load_parse_mapping(load.columns) : NULL;
	load_event_table_check_mapping(load.mapping);

	find_batches(&load, server, dataset, since_ms);
	if (load.wanted != NIL)
		load_event_table_link(&load.keys);
	load_batches(&load, load.wanted);
	if (load.batches > 0 || load.replaced > 0)
		pe_audit("load_events", load.target->label,
		         "{\"batches\": %d, \"rows\": " INT64_FORMAT ", \"replaced\": %d}", load.batches, load.rows,
		         load.replaced);
	if (load.connection != NULL)
		pe_connection_close(load.connection);
	pe_progress_end();
	SPI_finish();
	return result_row(fcinfo, &load);
}
