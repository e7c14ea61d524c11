/*
 * load.c
 *		load_snapshot_file and unload_snapshot, and the order in which a load happens.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "pg/arguments.h"
#include "pg/audit.h"
#include "pg/compat.h"
#include "pg/load.h"
#include "pg/load_forgotten.h"
#include "pg/load_incremental.h"
#include "pg/progress.h"
#include "pg/suppression.h"
#include "pg/validate.h"

void
load_check_session(const char *function)
{
	PreventCommandIfReadOnly(function);
	PreventCommandDuringRecovery(function);
	if (GetDatabaseEncoding() != PG_UTF8)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
		                errmsg("profile snapshots cannot be loaded into a database with encoding %s",
		                       GetDatabaseEncodingName()),
		                errhint("Profiles are UTF-8: create the database with ENCODING 'UTF8'.")));
}

void
load_check_date(DateADT date)
{
	int year = 0, month, day;

	if (!DATE_NOT_FINITE(date))
		j2date(date + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	if (year < 1 || year > 9999)
		ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
		                errmsg("snapshot_date must be a day of the years 1 to 9999")));
}

/* Where we are, and COPY's source, are known once in a process. */
static bool reading_files = false;

/* Errors inside are the files': where and what, never the values. */
static void
run_reader(const char *label, List *files, LoadFields *fields, const LoadMapping *mapping, LoadPlan *plan,
           LoadWriter *writer)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext scratch = AllocSetContextCreate(caller, "profenrich load file", ALLOCSET_DEFAULT_SIZES);
	ListCell *cell;

	if (reading_files)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
		                errmsg("a snapshot cannot be loaded while this session loads another"),
		                errhint("A default, a constraint or a trigger called it.")));
	memset(&load_position, 0, sizeof(load_position));
	load_position.label = label;
	reading_files = true;
	PG_TRY();
	{
		foreach (cell, files)
		{
			LoadFile *file = lfirst(cell);
			const LoadReader *reader = load_reader_for(file->format);

			load_position.file = file->name;
			load_position.unit = "row";
			load_position.row = 0;
			MemoryContextSwitchTo(scratch);
			if (writer == NULL)
				reader->discover(file, fields, mapping);
			else
				reader->read(file, plan, writer);
			MemoryContextSwitchTo(caller);
			MemoryContextReset(scratch);
		}
	}
	PG_CATCH();
	{
		reading_files = false;
		load_rethrow(caller, label);
	}
	PG_END_TRY();
	reading_files = false;
	load_position.reading = false;
	MemoryContextDelete(scratch);
}

/* When every mapped column is there already, nothing needs to be found out. */
static bool
needs_fields(const LoadExisting *existing, int nexisting, const LoadMapping *mapping)
{
	if (mapping == NULL)
		return true;
	for (int i = 0; i < mapping->count; i++)
	{
		bool there = false;

		for (int j = 0; j < nexisting; j++)
			there = there || strcmp(existing[j].name, mapping->items[i].column) == 0;
		if (!there)
			return true;
	}
	return false;
}

/* CONTEXT of errors that come from writing: those of reading name their place themselves. */
static void
writing_context(void *arg)
{
	if (!load_position.reading && !load_position.named && load_position.file != NULL && load_position.row > 0)
		errcontext("loading file \"%s\", up to %s " INT64_FORMAT, load_position.file, load_position.unit,
		           load_position.row);
}

LoadPlan *
load_plan_files(const char *label, List *files, const LoadExisting *existing, int nexisting,
                const LoadMapping *mapping)
{
	LoadFields *fields = load_fields_create();

	if (needs_fields(existing, nexisting, mapping))
		run_reader(label, files, fields, mapping, NULL, NULL);
	return load_make_plan(existing, nexisting, mapping, fields);
}

void
load_write_files(const char *label, List *files, LoadPlan *plan, LoadWriter *writer)
{
	ErrorContextCallback callback = {error_context_stack, writing_context, NULL};

	error_context_stack = &callback;
	run_reader(label, files, NULL, NULL, plan, writer);
	error_context_stack = callback.previous;
}

static int64
fill_aside(LoadTarget *target, LoadPlan *plan, List *files)
{
	bool *filled = palloc0(sizeof(bool) * MaxHeapAttributeNumber);
	AttrNumber date = get_attnum(target->aside_relid, LOAD_DATE_COLUMN);
	LoadWriter *writer;
	int64 rows;

	filled[date - 1] = true;
	for (int i = 0; i < plan->count; i++)
		filled[plan->columns[i].attnum - 1] = true;
	writer =
	    load_writer_open(target->aside_relid, filled, !target->checked, date, DateADTGetDatum(target->date));
	load_writer_leave_out(writer, load_forgotten_open(plan));
	load_write_files(target->label, files, plan, writer);
	rows = load_writer_rows(writer);
	if (load_writer_left_out(writer) > 0)
		ereport(NOTICE, (errmsg(INT64_FORMAT " rows of forgotten profiles were left out",
		                        load_writer_left_out(writer))));
	load_writer_close(writer);
	CommandCounterIncrement();
	return rows;
}

int
load_fixed_settings(void)
{
	int level = NewGUCNestLevel();

	set_config_option("timezone", "UTC", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	set_config_option("datestyle", "ISO, YMD", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	set_config_option("intervalstyle", "postgres", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
	                  false);
	return level;
}

static void
close_files(List *files)
{
	ListCell *cell;

	foreach (cell, files)
	{
		LoadFile *file = lfirst(cell);

		if (file->temporary >= 0 && !file->borrowed)
			FileClose(file->temporary);
		file->temporary = -1;
	}
}

static LoadTarget *
open_target(const char *into_table, DateADT date, bool incremental, LoadBase *base)
{
	LoadTarget *target;

	if (!incremental)
		return load_target_open(into_table, date);
	target = load_incremental_open(into_table, date, base);
	if (!base->found)
		ereport(NOTICE, (errmsg("no day up to %s is loaded in %s: the export is taken for a full one",
		                        load_date_text(date), target->label)));
	return target;
}

/* The partition aside, whole: what the files have, and what is carried over. */
static int64
fill_day(LoadTarget *target, LoadPlan *plan, List *files, const LoadBase *base)
{
	int guc_level = load_fixed_settings();
	int64 rows;

	load_target_create_aside(target, plan);
	rows = fill_aside(target, plan, files);
	AtEOXact_GUC(true, guc_level);
	return rows + (base->found ? load_incremental_carry_over(target, plan, base) : 0);
}

void
load_files(List *files, const char *into_table, Datum columns, bool has_columns, DateADT date,
           bool incremental, LoadOrigin *origin)
{
	LoadTarget *target;
	LoadBase base = {0};
	LoadMapping *mapping;
	LoadPlan *plan;
	ListCell *cell;
	bool used_again;
	int guc_level;

	pe_suppression_hold();
	target = open_target(into_table, date, incremental, &base);
	foreach (cell, files)
		origin->bytes += (int64) ((LoadFile *) lfirst(cell))->size;
	origin->files = list_length(files);
	used_again = !has_columns && OidIsValid(target->relid) && load_previous_mapping(target->relid, &columns);
	mapping = has_columns || used_again ? load_parse_mapping(columns) : NULL;
	if (used_again)
		load_mapping_follow(mapping, target->existing, target->nexisting);
	origin->mapping = mapping != NULL ? columns : 0;

	pe_progress_begin(PE_PROGRESS_LOAD, target->name);
	guc_level = load_fixed_settings();
	plan = load_plan_files(target->label, files, target->existing, target->nexisting, mapping);
	AtEOXact_GUC(true, guc_level);
	origin->rows = fill_day(target, plan, files, &base);
	if (origin->rows == 0)
		ereport(
		    ERROR,
		    (errcode(ERRCODE_DATA_EXCEPTION), errmsg("\"%s\" has no rows", origin->source),
		     errdetail("Nothing was loaded: an empty newest day would look as if every profile had gone.")));
	pe_validation_gate(target, load_qualify(target->schema, target->aside), origin);
	pe_progress_publish("building indexes", (uint64) origin->rows, (uint64) origin->rows);
	load_target_build_indexes(target);
	pe_progress_publish("analyzing", (uint64) origin->rows, (uint64) origin->rows);
	load_analyze(load_qualify(target->schema, target->aside));
	load_publish(target, plan, origin);
	pe_audit(origin->function, target->label, "{\"snapshot_date\": \"%s\", \"rows\": " INT64_FORMAT "}",
	         load_date_text(date), origin->rows);
	close_files(files);
	pe_progress_end();
}

Datum
load_result(FunctionCallInfo fcinfo, DateADT date, const LoadOrigin *origin)
{
	TupleDesc desc;
	Datum values[4];
	bool nulls[4] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = DateADTGetDatum(date);
	values[1] = Int64GetDatum(origin->rows);
	values[2] = Int32GetDatum((int32) origin->files);
	values[3] = Int64GetDatum(origin->bytes);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/* The text of an argument that must be given. */
static char *
text_argument(FunctionCallInfo fcinfo, int i, const char *name)
{
	if (PG_ARGISNULL(i))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be NULL", name)));
	return text_to_cstring(PG_GETARG_TEXT_PP(i));
}

PG_FUNCTION_INFO_V1(pe_load_snapshot_file);

/*
 * load_snapshot_file(path, into_table, columns, snapshot_date, format, incremental, csv)
 *		-> (snapshot_date, rows, files, bytes)
 */
Datum
pe_load_snapshot_file(PG_FUNCTION_ARGS)
{
	LoadOrigin origin = {.function = "load_snapshot_file"};
	char *into_table;
	const LoadCsv *csv;
	LoadFormat format;
	List *files;
	DateADT date;

	load_check_session("load_snapshot_file()");
	if (!has_privs_of_role(GetUserId(), ROLE_PG_READ_SERVER_FILES))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
		                errmsg("permission denied to load from files on the server"),
		                errhint("Only roles with the privileges of pg_read_server_files may; "
		                        "load_snapshot loads from the platform without.")));
	origin.source = text_argument(fcinfo, 0, "path");
	into_table = text_argument(fcinfo, 1, "into_table");
	if (PG_ARGISNULL(3))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("snapshot_date must not be NULL")));
	date = PG_GETARG_DATEADT(3);
	load_check_date(date);
	format = PG_ARGISNULL(4) ? LOAD_AUTO : load_format_by_name(text_argument(fcinfo, 4, "format"));
	csv = PG_ARGISNULL(6) ? NULL : load_csv_options(PG_GETARG_DATUM(6), &format);

	/* What the load allocates belongs to SPI's context, and goes with it. */
	SPI_connect();
	files = load_list_files(origin.source, format);
	load_set_csv(files, csv);
	load_files(files, into_table, PG_ARGISNULL(2) ? (Datum) 0 : PG_GETARG_DATUM(2), !PG_ARGISNULL(2), date,
	           !PG_ARGISNULL(5) && PG_GETARG_BOOL(5), &origin);
	SPI_finish();
	return load_result(fcinfo, date, &origin);
}

PG_FUNCTION_INFO_V1(pe_unload_snapshot);

/* unload_snapshot(table_name, snapshot_date): drops the day's partition. */
Datum
pe_unload_snapshot(PG_FUNCTION_ARGS)
{
	char *table = pe_text_argument(fcinfo, 0, "into_table");
	DateADT date = PG_GETARG_DATEADT(1);
	LoadTarget *target;

	pe_need_argument(fcinfo, 1, "snapshot_date");
	load_check_session("unload_snapshot()");
	load_check_date(date);
	SPI_connect();
	target = load_target_open(table, date);
	if (!OidIsValid(target->relid))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("table %s does not exist", target->label)));
	load_unpublish(target);
	pe_audit("unload_snapshot", target->label, "{\"snapshot_date\": \"%s\"}", load_date_text(date));
	SPI_finish();
	PG_RETURN_VOID();
}
