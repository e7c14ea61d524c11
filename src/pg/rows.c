/*
 * rows.c
 *		Filling the result of a set-returning function.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "pg/rows.h"

static void
begin(FunctionCallInfo fcinfo, PeRow *row, bits32 flags)
{
	InitMaterializedSRF(fcinfo, flags);
	memset(row, 0, sizeof(*row));
	row->result = (ReturnSetInfo *) fcinfo->resultinfo;
	if (row->result->setDesc->natts > lengthof(row->values))
		elog(ERROR, "too many result columns: %d", row->result->setDesc->natts);
}

void
pe_rows_begin(FunctionCallInfo fcinfo, PeRow *row)
{
	begin(fcinfo, row, 0);
}

void
pe_rows_begin_single(FunctionCallInfo fcinfo, PeRow *row)
{
	begin(fcinfo, row, MAT_SRF_USE_EXPECTED_DESC);
}

void
pe_row_add(PeRow *row, Datum value)
{
	if (row->filled >= row->result->setDesc->natts)
		elog(ERROR, "result row has more than %d columns", row->result->setDesc->natts);
	row->values[row->filled] = value;
	row->nulls[row->filled] = false;
	row->filled++;
}

void
pe_row_add_null(PeRow *row)
{
	pe_row_add(row, (Datum) 0);
	row->nulls[row->filled - 1] = true;
}

void
pe_row_add_text(PeRow *row, const char *utf8)
{
	if (utf8 == NULL || utf8[0] == '\0')
		pe_row_add_null(row);
	else
		pe_row_add(row, CStringGetTextDatum(pe_from_utf8(utf8)));
}

void
pe_row_add_bool(PeRow *row, bool value)
{
	pe_row_add(row, BoolGetDatum(value));
}

void
pe_row_add_int64(PeRow *row, int64 value)
{
	pe_row_add(row, Int64GetDatum(value));
}

void
pe_row_add_ms(PeRow *row, int64 ms)
{
	const int64 epoch = (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * 1000;
	TimestampTz at;

	/* The platform's own times are near today: anything that would overflow is not one. */
	if (ms <= 0 || ms > INT64CONST(32503680000000))
	{
		pe_row_add_null(row);
		return;
	}
	at = (ms - epoch) * 1000;
	pe_row_add(row, TimestampTzGetDatum(at));
}

void
pe_row_put(PeRow *row)
{
	if (row->filled != row->result->setDesc->natts)
		elog(ERROR, "result row has %d columns of %d", row->filled, row->result->setDesc->natts);
	tuplestore_putvalues(row->result->setResult, row->result->setDesc, row->values, row->nulls);
	row->filled = 0;
}

char *
pe_from_utf8(const char *utf8)
{
	char *converted = pg_any_to_server(utf8, strlen(utf8), PG_UTF8);

	return converted == utf8 ? pstrdup(utf8) : converted;
}

char *
pe_to_utf8(const char *text)
{
	return pg_server_to_any(text, strlen(text), PG_UTF8);
}
