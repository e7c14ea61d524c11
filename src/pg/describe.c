/*
 * describe.c
 *		describe_snapshot: what each column of a day holds.
 */
#include "postgres.h"

#include <math.h>

#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "pg/arguments.h"
#include "pg/column_sketch.h"
#include "pg/report.h"
#include "pg/rows.h"
#include "pg/snapshot_table.h"
#include "pg/source.h"

#define MAX_TOP 1000

PG_FUNCTION_INFO_V1(pe_describe_snapshot);

static const double shares[] = {0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99};

static Datum
jsonb_of(const char *text)
{
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(text));
}

/* A quantile of times, which are measured in days, in the column's own type. */
static void
append_time(StringInfo json, const PeSketch *sketch, PeColumnSketch *column, double days)
{
	Datum value;

	if (column->base == DATEOID)
		value = DateADTGetDatum((DateADT) floor(days) + sketch->day);
	else
		value = TimestampTzGetDatum((TimestampTz) rint((days + sketch->day) * USECS_PER_DAY));
	escape_json(json, OutputFunctionCall(&column->output, value));
}

static void
add_quantiles(PeRow *row, const PeSketch *sketch, PeColumnSketch *column)
{
	StringInfoData json;

	if (column->quantiles == NULL || pe_quantiles_count(column->quantiles) == 0)
	{
		pe_row_add_null(row);
		return;
	}
	initStringInfo(&json);
	for (int i = 0; i < lengthof(shares); i++)
	{
		double number = pe_quantiles_at(column->quantiles, shares[i]);

		appendStringInfo(&json, "%s\"%g\": ", i == 0 ? "{" : ", ", shares[i]);
		if (column->measured == PE_AS_TIME)
			append_time(&json, sketch, column, number);
		else
			appendStringInfoString(&json, float8out_internal(number));
	}
	appendStringInfoChar(&json, '}');
	pe_row_add(row, jsonb_of(json.data));
}

static void
add_top_values(PeRow *row, PeColumnSketch *column, int top)
{
	const pe_tallied *values;
	StringInfoData json;
	size_t count;
	pe_error err;

	if (column->tally == NULL || !column->shown || column->nulls == column->rows)
	{
		pe_row_add_null(row);
		return;
	}
	pe_check(pe_value_tally_sorted(column->tally, &values, &count, &err), &err);
	initStringInfo(&json);
	appendStringInfoChar(&json, '[');
	for (size_t i = 0; i < count && i < (size_t) top; i++)
	{
		char *text = pe_sketch_kept_text(column, &values[i]);

		appendStringInfo(&json, "%s{\"value\": ", i > 0 ? ", " : "");
		if (text != NULL)
			escape_json(&json, text);
		else
			appendStringInfoString(&json, "null");
		appendStringInfo(&json, ", \"count\": " INT64_FORMAT, values[i].count);
		if (pe_value_tally_missed(column->tally) > 0)
			appendStringInfo(&json, ", \"at_most\": " INT64_FORMAT,
			                 values[i].count + pe_value_tally_missed(column->tally));
		appendStringInfoChar(&json, '}');
	}
	appendStringInfoChar(&json, ']');
	pe_row_add(row, jsonb_of(json.data));
}

static void
add_number(PeRow *row, double number)
{
	if (isnan(number))
		pe_row_add_null(row);
	else
		pe_row_add(row, Float8GetDatum(number));
}

static void
put_column(PeRow *row, const PeSketch *sketch, PeColumnSketch *column, int top)
{
	bool is_number = column->measured == PE_AS_NUMBER && pe_quantiles_count(column->quantiles) > 0;
	bool exact;
	int64 distinct = pe_sketch_distinct(column, &exact);

	pe_row_add(row, CStringGetTextDatum(column->name));
	pe_row_add(row, CStringGetTextDatum(format_type_with_typemod(column->type, column->typmod)));
	pe_row_add_int64(row, column->rows);
	pe_row_add_int64(row, column->nulls);
	add_number(row, column->rows > 0 ? (double) column->nulls / column->rows : NAN);
	if (distinct >= 0)
		pe_row_add_int64(row, distinct);
	else
		pe_row_add_null(row);
	add_number(row, distinct < 0 ? NAN : exact ? 0 : PE_TALLY_ERROR);
	for (int i = 0; i < 2; i++)
	{
		if (column->has_range)
			pe_row_add(row,
			           CStringGetTextDatum(pe_sketch_text(column, i == 0 ? column->least : column->largest)));
		else
			pe_row_add_null(row);
	}
	add_number(row, is_number ? pe_quantiles_mean(column->quantiles) : NAN);
	add_number(row, is_number ? pe_quantiles_deviation(column->quantiles) : NAN);
	add_quantiles(row, sketch, column);
	add_top_values(row, column, top);
	pe_row_put(row);
}

static int
top_argument(FunctionCallInfo fcinfo, int i)
{
	int top;

	pe_need_argument(fcinfo, i, "top");
	top = PG_GETARG_INT32(i);
	if (top < 0 || top > MAX_TOP)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("top must be between 0 and %d, not %d", MAX_TOP, top)));
	return top;
}

/* describe_snapshot(snapshot_table, snapshot_date, top) */
Datum
pe_describe_snapshot(PG_FUNCTION_ARGS)
{
	PeSnapshotTable *table;
	PeSnapshotDay day;
	PeSketch *sketch;
	DateADT date = PG_ARGISNULL(1) ? 0 : PG_GETARG_DATEADT(1);
	int top = top_argument(fcinfo, 2);
	PeRow row;

	pe_need_argument(fcinfo, 0, "snapshot_table");
	pe_rows_begin(fcinfo, &row);
	table = pe_snapshot_table_open(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	SPI_connect();
	pe_push_snapshot_of_now();
	day = pe_snapshot_day(table, PG_ARGISNULL(1) ? NULL : &date);
	PopActiveSnapshot();
	SPI_finish();
	sketch =
	    pe_sketch_source(pe_source_open(pe_snapshot_day_query(table, &day, 1), "snapshot_table"), day.date);
	for (int i = 0; i < sketch->ncolumns; i++)
		put_column(&row, sketch, &sketch->columns[i], top);
	MemoryContextDelete(sketch->context);
	return (Datum) 0;
}
