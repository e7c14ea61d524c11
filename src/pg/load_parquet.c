/*
 * load_parquet.c
 *		Parquet files: columns of the pure reader (snapshot/snapshot.h) into rows.
 *
 * Values are converted a column at a time, without going through text where the
 * types allow it. Only the columns of the plan are decoded.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/env.h"
#include "pg/load.h"
#include "pg/progress.h"
#include "snapshot/snapshot.h"

/* Days and microseconds from 1970-01-01 to 2000-01-01. */
#define EPOCH_DAYS   (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)
#define EPOCH_MICROS ((int64) EPOCH_DAYS * USECS_PER_DAY)

static bool
read_source(void *ctx, uint64_t offset, void *buffer, size_t length)
{
	LoadFile *file = ctx;
	char *to = buffer;

	while (length > 0)
	{
		ssize_t got = load_file_read(file, offset, to, length);

		if (got <= 0)
			return false;
		to += got;
		offset += got;
		length -= got;
	}
	return true;
}

/* All memory of the reader is in the current context, and goes with it. */
static pe_snapshot_file *
open_parquet(LoadFile *file)
{
	pe_env env = pe_quiet_env(CurrentMemoryContext);
	pe_snapshot_source source = {read_source, 0, file->base, file};
	pe_snapshot_file *parquet;
	pe_error err;

	if (file->gzip)
		load_file_expand(file);
	load_file_open(file);
	source.size = file->size;
	if (pe_snapshot_open(&env, &source, &parquet, &err) != PE_OK)
		load_raise(&err, file, NULL);
	return parquet;
}

static void
close_parquet(LoadFile *file, pe_snapshot_file *parquet)
{
	pe_snapshot_close(parquet);
	load_file_close(file);
}

/* The keys of an identityMap as JSON text. */
static void
collect_namespaces(LoadFields *fields, const pe_slice *json, const char *file)
{
	char *text = pnstrdup(json->data, json->length);
	Jsonb *jsonb = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue value;

	if (!JB_ROOT_IS_OBJECT(jsonb))
		return;
	it = JsonbIteratorInit(&jsonb->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			load_fields_namespace(fields, value.val.string.val, value.val.string.len, file);
	}
}

/* Map keys are data: the first rows show which namespaces there are. */
static void
discover_namespaces(LoadFile *file, pe_snapshot_file *parquet, LoadFields *fields)
{
	pe_snapshot_column column = {"identityMap", PE_COLUMN_JSON, true};
	MemoryContext scratch, caller;
	pe_snapshot_batch batch;
	pe_error err;

	if (pe_snapshot_select(parquet, &column, 1, &err) != PE_OK ||
	    pe_snapshot_next(parquet, &batch, &err) != PE_OK)
		load_raise(&err, file, NULL);
	scratch = AllocSetContextCreate(CurrentMemoryContext, "profenrich namespaces", ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(scratch);
	for (size_t i = 0; i < batch.rows && i < LOAD_SAMPLE_ROWS; i++)
	{
		if (!batch.columns[0].nulls[i])
			collect_namespaces(fields, &batch.columns[0].slices[i], file->name);
		MemoryContextReset(scratch);
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(scratch);
}

static void
discover_all(LoadFile *file, pe_snapshot_file *parquet, LoadFields *fields)
{
	int64 rows = pe_snapshot_rows(parquet);
	bool identity = false;

	for (int i = 0; i < pe_snapshot_field_count(parquet); i++)
	{
		const pe_snapshot_field *found = pe_snapshot_field_at(parquet, i);
		LoadField *field;

		CHECK_FOR_INTERRUPTS();
		if (found->kind == PE_FIELD_MAP && strcmp(found->path, "identityMap") == 0)
			identity = true;
		if (found->kind != PE_FIELD_SCALAR)
			continue;
		field = load_fields_get(fields, found->path, file->name);
		if (field == NULL)
			continue;
		load_field_merge(field, found->type, file->name);
		field->filled += found->nulls < 0 ? rows : rows - Min(found->nulls, rows);
	}
	if (identity && rows > 0)
		discover_namespaces(file, parquet, fields);
}

/* What type each mapped path has in this file, if it is there. */
static void
discover_mapped(LoadFile *file, pe_snapshot_file *parquet, LoadFields *fields, const LoadMapping *mapping)
{
	for (int i = 0; i < mapping->count; i++)
	{
		pe_snapshot_column column = {mapping->items[i].path, PE_COLUMN_AUTO, false};
		LoadField *field;
		pe_error err;
		pe_status status = pe_snapshot_select(parquet, &column, 1, &err);

		CHECK_FOR_INTERRUPTS();
		if (status == PE_NOT_FOUND)
			continue;
		if (status != PE_OK)
			load_raise(&err, file, NULL);
		field = load_fields_get(fields, mapping->items[i].path, file->name);
		/* A given type decides; what does not fit it is found value by value. */
		if (OidIsValid(mapping->items[i].type))
			field->type = PE_COLUMN_TEXT;
		else
			load_field_merge(field, pe_snapshot_column_type(parquet, 0), file->name);
		field->filled += pe_snapshot_rows(parquet);
	}
}

static void
parquet_discover(LoadFile *file, LoadFields *fields, const LoadMapping *mapping)
{
	MemoryContext reader =
	    AllocSetContextCreate(CurrentMemoryContext, "profenrich parquet", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(reader);
	pe_snapshot_file *parquet = open_parquet(file);

	fields->rows += pe_snapshot_rows(parquet);
	if (mapping == NULL)
		discover_all(file, parquet, fields);
	else
		discover_mapped(file, parquet, fields, mapping);
	close_parquet(file, parquet);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(reader);
}

/*
 * A text for every row of a slice vector, in one allocation: the batch's memory is
 * dropped as a whole.
 */
static char *
reserve_texts(const pe_snapshot_vector *vector, size_t first, size_t count)
{
	Size bytes = 0;

	for (size_t i = first; i < first + count; i++)
	{
		if (!vector->nulls[i])
			bytes = add_size(bytes, MAXALIGN(VARHDRSZ + vector->slices[i].length));
	}
	return MemoryContextAllocHuge(CurrentMemoryContext, Max(bytes, 1));
}

static void
copy_texts(TupleTableSlot *const *slots, int attr, const pe_snapshot_vector *vector, size_t first,
           size_t count)
{
	char *next = reserve_texts(vector, first, count);

	for (size_t i = 0; i < count; i++)
	{
		TupleTableSlot *slot = slots[i];
		const pe_slice *slice = &vector->slices[first + i];

		slot->tts_isnull[attr] = vector->nulls[first + i];
		if (slot->tts_isnull[attr])
			continue;
		SET_VARSIZE(next, VARHDRSZ + slice->length);
		memcpy(VARDATA(next), slice->data, slice->length);
		slot->tts_values[attr] = PointerGetDatum(next);
		next += MAXALIGN(VARHDRSZ + slice->length);
	}
}

/* Through the type's input function: numeric, jsonb, varchar(n), enums, domains, ... */
static void
convert_texts(TupleTableSlot *const *slots, LoadColumn *column, int attr, const pe_snapshot_vector *vector,
              size_t first, size_t count)
{
	int64 row = load_position.row;

	for (size_t i = 0; i < count; i++)
	{
		TupleTableSlot *slot = slots[i];
		const pe_slice *slice = &vector->slices[first + i];
		char *text;

		/* A rest without any field is nothing. */
		slot->tts_isnull[attr] = vector->nulls[first + i] || (column->rest && slice->length == 2);
		if (slot->tts_isnull[attr])
			continue;
		load_position.row = row + (int64) i;
		text = pnstrdup(slice->data, slice->length);
		slot->tts_values[attr] = load_text_datum(column, text, slice->length);
		if (i % 64 == 0)
			CHECK_FOR_INTERRUPTS();
	}
	load_position.row = row;
}

static Datum
int2_datum(LoadColumn *column, int32 value)
{
	if (value < PG_INT16_MIN || value > PG_INT16_MAX)
		load_mismatch(column, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE);
	return Int16GetDatum((int16) value);
}

static Datum
float4_datum(LoadColumn *column, double value)
{
	float narrow = (float) value;

	if (isinf(narrow) && !isinf(value))
		load_mismatch(column, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE);
	return Float4GetDatum(narrow);
}

static Datum
scalar_datum(LoadColumn *column, const pe_snapshot_vector *vector, size_t i)
{
	switch (vector->type)
	{
		case PE_COLUMN_BOOL:
			return BoolGetDatum(vector->bools[i]);
		case PE_COLUMN_INT32:
			return column->type == INT2OID ? int2_datum(column, vector->int32s[i])
			                               : Int32GetDatum(vector->int32s[i]);
		case PE_COLUMN_INT64:
			return Int64GetDatum(vector->int64s[i]);
		case PE_COLUMN_DOUBLE:
			return column->type == FLOAT4OID ? float4_datum(column, vector->doubles[i])
			                                 : Float8GetDatum(vector->doubles[i]);
		case PE_COLUMN_DATE:
			return DateADTGetDatum(vector->int32s[i] - EPOCH_DAYS);
		case PE_COLUMN_TIMESTAMP:
			return TimestampTzGetDatum(vector->int64s[i] - EPOCH_MICROS);
		default:
			elog(ERROR, "column \"%s\" came in an unexpected form", column->name);
	}
}

static void
convert_scalars(TupleTableSlot *const *slots, LoadColumn *column, int attr, const pe_snapshot_vector *vector,
                size_t first, size_t count)
{
	int64 row = load_position.row;

	for (size_t i = 0; i < count; i++)
	{
		TupleTableSlot *slot = slots[i];

		slot->tts_isnull[attr] = vector->nulls[first + i];
		if (slot->tts_isnull[attr])
			continue;
		load_position.row = row + (int64) i;
		slot->tts_values[attr] = scalar_datum(column, vector, first + i);
	}
	load_position.row = row;
}

static void
convert_column(TupleTableSlot *const *slots, LoadColumn *column, const pe_snapshot_vector *vector,
               size_t first, size_t count, bool all_null)
{
	int attr = column->attnum - 1;

	/* The writer's slots are NULL until something is put there. */
	if (all_null)
		return;
	switch (vector->type)
	{
		case PE_COLUMN_TEXT:
		case PE_COLUMN_NUMERIC:
		case PE_COLUMN_JSON:
			if (column->type == TEXTOID)
				copy_texts(slots, attr, vector, first, count);
			else
				convert_texts(slots, column, attr, vector, first, count);
			return;
		case PE_COLUMN_BYTES:
			copy_texts(slots, attr, vector, first, count);
			return;
		default:
			convert_scalars(slots, column, attr, vector, first, count);
	}
}

/* Rows first .. first + count of a batch, into the table. */
static void
write_rows(LoadPlan *plan, LoadWriter *writer, const pe_snapshot_batch *batch, size_t first, size_t count)
{
	MemoryContext caller = MemoryContextSwitchTo(load_writer_memory(writer));
	TupleTableSlot *const *slots = load_writer_slots(writer, (int) count);

	load_position.row = batch->first_row + (int64) first + 1;
	load_position.reading = true;
	for (int i = 0; i < plan->count; i++)
	{
		convert_column(slots, &plan->columns[i], &batch->columns[i], first, count,
		               batch->columns[i].null_count == batch->rows);
		if (i % 16 == 0)
			CHECK_FOR_INTERRUPTS();
	}
	load_position.reading = false;
	MemoryContextSwitchTo(caller);
	load_writer_flush(writer, (int) count);
}

/*
 * Each column in the form its type takes directly; where the file's type has no such
 * form, as text for the type's input function.
 */
static void
select_columns(LoadFile *file, pe_snapshot_file *parquet, LoadPlan *plan)
{
	pe_snapshot_column *columns = palloc0(sizeof(pe_snapshot_column) * plan->count);
	pe_error err;

	for (int i = 0; i < plan->count; i++)
	{
		columns[i].path = plan->columns[i].path;
		columns[i].type = plan->columns[i].source;
		columns[i].optional = true;
	}
	while (pe_snapshot_select(parquet, columns, plan->count, &err) != PE_OK)
	{
		bool changed = false;

		for (int i = 0; err.code == PE_TYPE_MISMATCH && i < plan->count; i++)
		{
			if (columns[i].type == PE_COLUMN_TEXT || !load_error_is_about(&err, columns[i].path))
				continue;
			columns[i].type = PE_COLUMN_TEXT;
			changed = true;
		}
		if (!changed)
			load_raise(&err, file, plan);
	}
	pfree(columns);
}

static void
parquet_read(LoadFile *file, LoadPlan *plan, LoadWriter *writer)
{
	MemoryContext reader =
	    AllocSetContextCreate(CurrentMemoryContext, "profenrich parquet", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(reader);
	pe_snapshot_file *parquet = open_parquet(file);
	pe_error err;

	select_columns(file, parquet, plan);
	load_position.unit = "row";
	for (;;)
	{
		pe_snapshot_batch batch;

		if (pe_snapshot_next(parquet, &batch, &err) != PE_OK)
			load_raise(&err, file, plan);
		if (batch.rows == 0)
			break;
		for (size_t first = 0; first < batch.rows; first += LOAD_BATCH_ROWS)
			write_rows(plan, writer, &batch, first, Min(batch.rows - first, LOAD_BATCH_ROWS));
		pe_progress_publish("loading rows", (uint64) load_writer_rows(writer), (uint64) plan->rows);
	}
	close_parquet(file, parquet);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(reader);
}

const LoadReader load_parquet_reader = {parquet_discover, parquet_read};
