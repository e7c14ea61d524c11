/*
 * load_convert.c
 *		Values of files into datums, and errors that say where and never what: the
 *		values are personal data.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "pg/load.h"
#include "pg/report.h"

LoadPosition load_position;

/* What an input function's SQLSTATE means for a value. */
static const char *
complaint(int sqlstate)
{
	switch (sqlstate)
	{
		case ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE:
		case ERRCODE_DATETIME_FIELD_OVERFLOW:
		case ERRCODE_INTERVAL_FIELD_OVERFLOW:
			return "is out of range for";
		case ERRCODE_STRING_DATA_RIGHT_TRUNCATION:
			return "is too long for";
		case ERRCODE_CHECK_VIOLATION:
		case ERRCODE_NOT_NULL_VIOLATION:
			return "is not allowed by";
		case ERRCODE_CHARACTER_NOT_IN_REPERTOIRE:
		case ERRCODE_UNTRANSLATABLE_CHARACTER:
			return "has a character that cannot be stored in";
		default:
			return "does not fit";
	}
}

/* The way out for a column whose type was right for the days before. */
static char *
widen_hint(const LoadColumn *column)
{
	bool whole = column->type == INT2OID || column->type == INT4OID || column->type == INT8OID;

	return psprintf(
	    "Correct the file, or give the column a wider type: SELECT profenrich.set_column_type(%s, %s, "
	    "'%s'); a table of events by ALTER TABLE.",
	    quote_literal_cstr(load_position.label), quote_literal_cstr(column->name),
	    whole ? "double precision" : "text");
}

static void
raise_mismatch(const LoadColumn *column, int sqlstate)
{
	load_position.reading = false;
	load_position.named = true;
	ereport(ERROR,
	        (errcode(sqlstate),
	         errmsg("a value for column \"%s\" in file \"%s\", %s " INT64_FORMAT ", %s type %s", column->name,
	                load_position.file, load_position.unit, load_position.row, complaint(sqlstate),
	                column->type_name),
	         errdetail("Nothing was loaded."),
	         errhint("%s", column->existing ? widen_hint(column)
	                                        : "Map the field to a column of a wider type, such as text, or "
	                                          "correct the file.")));
}

void
load_mismatch(const LoadColumn *column, int sqlstate)
{
	raise_mismatch(column, sqlstate);
	pg_unreachable();
}

/* Is it about the data read, and not about the server or the session? */
static bool
about_data(const ErrorData *error)
{
	if (error->elevel != ERROR)
		return false;
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_DATA_EXCEPTION:
		case ERRCODE_PROGRAM_LIMIT_EXCEEDED:
		case ERRCODE_FEATURE_NOT_SUPPORTED:
		case ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION:
			return true;
		default:
			return error->sqlerrcode == ERRCODE_BAD_COPY_FILE_FORMAT;
	}
}

/* What is wrong with a line that no column is to blame for, without its words. */
static const char *
line_complaint(int sqlstate)
{
	switch (sqlstate)
	{
		case ERRCODE_INVALID_TEXT_REPRESENTATION:
			return "is not valid JSON";
		case ERRCODE_STATEMENT_TOO_COMPLEX:
			return "is nested too deeply";
		case ERRCODE_UNTRANSLATABLE_CHARACTER:
			return "holds a character that cannot be stored, such as \\u0000";
		case ERRCODE_CHARACTER_NOT_IN_REPERTOIRE:
			return "holds bytes that are not valid UTF-8";
		case ERRCODE_PROGRAM_LIMIT_EXCEEDED:
			return "is too large";
		case ERRCODE_BAD_COPY_FILE_FORMAT:
			return "is not well-formed CSV";
		default:
			return "cannot be read";
	}
}

/* In an ereport: the way out, where there is one. */
static int
line_hint(int sqlstate, const char *unit)
{
	if (sqlstate == ERRCODE_INVALID_TEXT_REPRESENTATION)
		return errhint(LOAD_NDJSON_HINT);
	if (sqlstate == ERRCODE_CHARACTER_NOT_IN_REPERTOIRE && strcmp(unit, "row") == 0)
		return errhint("If it is CSV in another encoding, name that: csv => '{\"encoding\": \"...\"}'.");
	return 0;
}

void
load_rethrow_constraint(MemoryContext context, const char *label)
{
	ErrorData *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	if (error->elevel != ERROR ||
	    ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION)
		PG_RE_THROW();
	FlushErrorState();
	load_position.named = true;
	ereport(ERROR,
	        (errcode(error->sqlerrcode),
	         error->column_name != NULL
	             ? errmsg("rows without a value violate the NOT NULL of column \"%s\" of %s",
	                      error->column_name, label)
	         : error->constraint_name != NULL ? errmsg("rows violate constraint or unique index \"%s\" of %s",
	                                                   error->constraint_name, label)
	                                          : errmsg("rows violate a constraint of %s", label),
	         load_position.file != NULL
	             ? errdetail("Nothing was loaded. The file was \"%s\".", load_position.file)
	             : errdetail("Nothing was loaded.")));
	pg_unreachable();
}

void
load_rethrow(MemoryContext context, const char *label)
{
	ErrorData *error;
	LoadPosition position = load_position;

	if (!position.reading || position.file == NULL)
		load_rethrow_constraint(context, label);
	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	if (!about_data(error))
		PG_RE_THROW();
	FlushErrorState();
	load_position.reading = false;
	load_position.named = true;
	/* Of a time zone that is not known: it is the value that is at fault, and no argument of the load. */
	if (error->sqlerrcode == ERRCODE_INVALID_PARAMETER_VALUE)
		error->sqlerrcode = ERRCODE_INVALID_TEXT_REPRESENTATION;
	if (position.column != NULL)
		raise_mismatch(position.column, error->sqlerrcode);
	ereport(ERROR, (errcode(error->sqlerrcode),
	                position.row > 0
	                    ? errmsg("file \"%s\", %s " INT64_FORMAT ", %s", position.file, position.unit,
	                             position.row, line_complaint(error->sqlerrcode))
	                    : errmsg("file \"%s\", header, %s", position.file, line_complaint(error->sqlerrcode)),
	                errdetail("Nothing was loaded."), line_hint(error->sqlerrcode, position.unit)));
	pg_unreachable();
}

bool
load_error_is_about(const pe_error *err, const char *path)
{
	return path != NULL && err->column[0] != '\0' &&
	       strncmp(path, err->column, sizeof(err->column) - 1) == 0 &&
	       strlen(err->column) == Min(strlen(path), sizeof(err->column) - 1);
}

void
load_raise(const pe_error *err, const LoadFile *file, const LoadPlan *plan)
{
	const char *where = strstr(err->message, file->base) != NULL ? "" : psprintf("file \"%s\": ", file->base);
	const char *hint = err->hint[0] != '\0' ? err->hint : NULL;
	StringInfoData detail;

	load_position.reading = false;
	load_position.named = true;
	if (err->code == PE_CANCELLED)
		pe_raise(err);
	initStringInfo(&detail);
	for (int i = 0; plan != NULL && i < plan->count; i++)
	{
		const LoadColumn *column = &plan->columns[i];

		if (!load_error_is_about(err, column->path))
			continue;
		appendStringInfo(&detail, "It fills column \"%s\" of type %s. ", column->name, column->type_name);
		if (hint == NULL && column->existing && err->code == PE_TYPE_MISMATCH)
			hint = widen_hint(column);
	}
	if (err->detail[0] != '\0')
		appendStringInfo(&detail, "%s ", err->detail);
	if (file->base != file->name)
		appendStringInfo(&detail, "The file is \"%s\". ", file->name);
	ereport(ERROR, (errcode(pe_sqlstate(err->code)), errmsg("%s%s", where, err->message),
	                errdetail("%sNothing was loaded.", detail.data), hint != NULL ? errhint("%s", hint) : 0));
	pg_unreachable();
}

Datum
load_text_datum(LoadColumn *column, char *text, size_t length)
{
	Datum value;

	if (column->type == TEXTOID)
		return PointerGetDatum(cstring_to_text_with_len(text, (int) length));
	load_position.column = column;
	/* A zone in the text counts, as it does in Parquet: the time is UTC (load.c sets the zone). */
	if (column->type == TIMESTAMPOID)
		value = DirectFunctionCall1(timestamptz_timestamp,
		                            DirectFunctionCall3(timestamptz_in, CStringGetDatum(text),
		                                                ObjectIdGetDatum(InvalidOid),
		                                                Int32GetDatum(column->typmod)));
	else
		value = InputFunctionCall(&column->input, text, column->input_param, column->typmod);
	load_position.column = NULL;
	return value;
}
