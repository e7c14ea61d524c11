/*
 * load_events.c
 *		load_events: the events of a data set, batch by batch, each batch once.
 *
 * Event data sets are as they were ingested: nobody has merged the people in them. Their batches
 * come in through the day, and some take the place of others. A call takes what is new, oldest
 * first, in groups that bound the temporary space; it is one transaction, so a failure leaves the
 * table as it was, and what was downloaded stays with the session for a retry.
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
	char *id;
	int64 created_ms;
	int64 bytes; /* as Catalog says; 0: not known */
	pe_part_list parts;
	bool expired;
	List *files;
	int64 rows;
} EventBatch;

typedef struct EventLoad
{
	LoadTarget *target;
	PeConnection *connection;
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
	                  CStringGetTextDatum(load->connection->server.name),
	                  CStringGetTextDatum(load->dataset.id),
	                  TimestampTzGetDatum(load_time_of_ms(batch->created_ms)),
	                  Int64GetDatum(batch->rows),
	                  Int64GetDatum(list_length(batch->files)),
	                  Int64GetDatum(batch->parts.bytes),
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

/* Batches to load, oldest first; those that the platform has replaced lose their rows. */
static List *
sort_batches(EventLoad *load, const pe_batch_list *list)
{
	List *wanted = NIL;

	for (int i = list->count - 1; i >= 0; i--)
	{
		const pe_batch_info *item = &list->items[i];
		bool known = OidIsValid(load->target->relid);
		EventBatch *batch;

		CHECK_FOR_INTERRUPTS();
		if (known && is_replaced(item))
			take_back(load, item->id);
		if (item->state != PE_BATCH_GOOD || (known && booked_status(load->target->relid, item->id) != NULL))
			continue;
		batch = palloc0(sizeof(EventBatch));
		batch->id = pstrdup(item->id);
		batch->created_ms = item->created_ms;
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

/* ---- one group ---- */

static void
list_parts(EventLoad *load, List *group)
{
	ListCell *cell;

	foreach (cell, group)
	{
		EventBatch *batch = lfirst(cell);
		pe_error err = {0};
		pe_status status = pe_export_parts(load->connection->platform, batch->id, &batch->parts, &err);

		batch->expired = status == PE_NOT_FOUND;
		if (batch->expired)
			ereport(NOTICE, (errmsg("batch %s is skipped: its files have expired", batch->id)));
		else
			pe_check(status, &err);
	}
}

static void
download(EventLoad *load, List *group)
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
	download(load, group);
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
		load->bytes += batch->parts.bytes;
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
	return Max(since / 1000 + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * LOAD_DAY_MS - 1, 0);
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

	load.connection = pe_connection_open(server, GetUserId(), CurrentMemoryContext);
	load.dataset = load_choose_dataset(load.connection, dataset);
	list_batches(&load, since_ms);
	if (load.wanted != NIL)
		load_event_table_link(&load.keys);
	load_batches(&load, load.wanted);
	if (load.batches > 0 || load.replaced > 0)
		pe_audit("load_events", load.target->label,
		         "{\"batches\": %d, \"rows\": " INT64_FORMAT ", \"replaced\": %d}", load.batches, load.rows,
		         load.replaced);
	pe_connection_close(load.connection);
	pe_progress_end();
	SPI_finish();
	return result_row(fcinfo, &load);
}
