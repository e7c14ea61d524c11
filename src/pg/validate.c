/*
 * validate.c
 *		validate_snapshot, set_validation, and the gate that a load has to pass.
 *
 * Whether loads into a table are validated is a property of the table, not of the call:
 * it holds for every way of loading, and for the job that was written before it was set.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/json.h"
#include "utils/snapmgr.h"

#include "pg/arguments.h"
#include "pg/audit.h"
#include "pg/guc.h"
#include "pg/load.h"
#include "pg/owner.h"
#include "pg/progress.h"
#include "pg/rows.h"
#include "pg/snapshot_settings.h"
#include "pg/validate.h"

#define NAMED_CHECKS 10 /* in an error's detail */

PG_FUNCTION_INFO_V1(pe_validate_snapshot);
PG_FUNCTION_INFO_V1(pe_set_validation);

/* ---- the functions ---------------------------------------------------------------------- */

static void
add_finite(PeRow *row, double number)
{
	if (isfinite(number))
		pe_row_add(row, Float8GetDatum(number));
	else
		pe_row_add_null(row);
}

static void
put_verdict(PeRow *row, const PeVerdict *verdict)
{
	pe_row_add(row, CStringGetTextDatum(verdict->check));
	pe_row_add_text(row, verdict->column);
	pe_row_add(row, CStringGetTextDatum(pe_verdict_status(verdict->status)));
	add_finite(row, verdict->value);
	add_finite(row, verdict->threshold);
	pe_row_add(row, CStringGetTextDatum(verdict->words));
	pe_row_put(row);
}

/* validate_snapshot(snapshot_table, snapshot_date, options) */
Datum
pe_validate_snapshot(PG_FUNCTION_ARGS)
{
	PeValidateOptions options = pe_validate_defaults();
	DateADT date = PG_ARGISNULL(1) ? 0 : PG_GETARG_DATEADT(1);
	PeSnapshotTable *table;
	PeSnapshotSettings settings;
	PeSnapshotDay day;
	ListCell *cell;
	PeRow row;

	pe_need_argument(fcinfo, 0, "snapshot_table");
	pe_rows_begin(fcinfo, &row);
	table = pe_snapshot_table_open(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	SPI_connect();
	pe_push_snapshot_of_now();
	settings = pe_snapshot_settings(table->relid);
	if (settings.validation != NULL)
		pe_validate_options_set(&options, settings.validation);
	if (!PG_ARGISNULL(2))
		pe_validate_options_set(&options, PG_GETARG_JSONB_P(2));
	day = pe_snapshot_day(table, PG_ARGISNULL(1) ? NULL : &date);
	foreach (cell, pe_validate(table, pe_snapshot_day_query(table, &day, 1), day.date, &options))
		put_verdict(&row, lfirst(cell));
	PopActiveSnapshot();
	SPI_finish();
	return (Datum) 0;
}

/* Now, and not when the next load ends. */
static void
check_key(const PeSnapshotTable *table, const char *key)
{
	for (int i = 0; i < table->ncolumns; i++)
		if (strcmp(table->columns[i].name, key) == 0 && strcmp(key, LOAD_DATE_COLUMN) != 0)
			return;
	ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
	                errmsg("%s has no column \"%s\", wanted as key", table->label, key),
	                errhint("Name the column that tells its profiles apart.")));
}

/* set_validation(snapshot_table, options): NULL ends it. */
Datum
pe_set_validation(PG_FUNCTION_ARGS)
{
	PeValidateOptions options = pe_validate_defaults();
	PeSnapshotTable *table;

	PreventCommandIfReadOnly("set_validation()");
	pe_need_argument(fcinfo, 0, "snapshot_table");
	table = pe_snapshot_table_own(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	if (!PG_ARGISNULL(1))
		pe_validate_options_set(&options, PG_GETARG_JSONB_P(1));
	if (options.key != NULL)
		check_key(table, options.key);
	SPI_connect();
	pe_snapshot_setting_put(table->relid, "validation", JSONBOID, PG_ARGISNULL(1) ? 0 : PG_GETARG_DATUM(1),
	                        PG_ARGISNULL(1));
	SPI_finish();
	pe_audit("set_validation", table->label, "{\"on\": %s}", PG_ARGISNULL(1) ? "false" : "true");
	PG_RETURN_VOID();
}

/* ---- what is kept ----------------------------------------------------------------------- */

static void
append_number(StringInfo json, const char *name, double number)
{
	if (isfinite(number))
		appendStringInfo(json, ", \"%s\": %s", name, float8out_internal(number));
}

/* The verdicts that are not ok, as a JSON array. */
static void
append_verdicts(StringInfo json, List *verdicts)
{
	const char *separator = "";
	ListCell *cell;

	appendStringInfoChar(json, '[');
	foreach (cell, verdicts)
	{
		const PeVerdict *verdict = lfirst(cell);

		if (verdict->status == PE_VERDICT_OK)
			continue;
		appendStringInfo(json, "%s{\"check\": \"%s\"", separator, verdict->check);
		separator = ", ";
		if (verdict->column != NULL)
		{
			appendStringInfoString(json, ", \"column\": ");
			escape_json(json, verdict->column);
		}
		appendStringInfo(json, ", \"status\": \"%s\"", pe_verdict_status(verdict->status));
		append_number(json, "value", verdict->value);
		append_number(json, "threshold", verdict->threshold);
		appendStringInfoString(json, ", \"explanation\": ");
		escape_json(json, verdict->words);
		appendStringInfoChar(json, '}');
	}
	appendStringInfoChar(json, ']');
}

static void
append_text(StringInfo json, const char *name, const char *text)
{
	appendStringInfo(json, ", \"%s\": ", name);
	escape_json(json, text);
}

/* A row of snapshot_validation, as JSON: one text goes between processes. */
static char *
record_of(const LoadTarget *target, const LoadOrigin *origin, const char *outcome, List *verdicts)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfo(&json, "{\"outcome\": \"%s\"", outcome);
	append_text(&json, "schema_name", target->schema);
	append_text(&json, "table_name", target->name);
	append_text(&json, "snapshot_date", load_date_text(target->date));
	append_text(&json, "loaded_by", GetUserNameFromId(GetUserId(), false));
	append_text(&json, "source", origin->source);
	appendStringInfo(&json, ", \"rows\": " INT64_FORMAT ", \"checks\": ", origin->rows);
	append_verdicts(&json, verdicts);
	appendStringInfoChar(&json, '}');
	return json.data;
}

/* ---- the gate --------------------------------------------------------------------------- */

static char *
failures(List *verdicts, int *count)
{
	StringInfoData words;
	ListCell *cell;

	initStringInfo(&words);
	*count = 0;
	foreach (cell, verdicts)
	{
		const PeVerdict *verdict = lfirst(cell);

		if (verdict->status != PE_VERDICT_FAIL || ++*count > NAMED_CHECKS)
			continue;
		appendStringInfo(&words, "%s%s", words.len > 0 ? "; " : "", verdict->check);
		if (verdict->column != NULL)
			appendStringInfo(&words, " of \"%s\"", verdict->column);
		appendStringInfo(&words, ": %s", verdict->words);
	}
	if (*count > NAMED_CHECKS)
		appendStringInfo(&words, "; and %d more", *count - NAMED_CHECKS);
	appendStringInfoChar(&words, '.');
	return words.data;
}

static void
refuse(const LoadTarget *target, const LoadOrigin *origin, List *verdicts, const char *words, int count)
{
	bool kept = pe_validation_keep_apart(record_of(target, origin, "refused", verdicts));

	ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
	                errmsg("the snapshot of %s was not loaded into %s: %d of its checks failed",
	                       load_date_text(target->date), target->label, count),
	                errdetail("%s", words),
	                errhint("%s To load it all the same, set profenrich.snapshot_gate to force.",
	                        kept ? "profenrich.snapshot_validations keeps the verdict."
	                             : "The verdict could not be kept: no background worker was free.")));
}

/* The rows that this command has written are seen by a snapshot taken now. */
static List *
validate_aside(const LoadTarget *target, const char *aside, const PeValidateOptions *options)
{
	PeSnapshotTable *table = pe_snapshot_table_load(target->relid);
	PeSnapshotTable *today = pe_snapshot_table_load(target->aside_relid);
	PeSnapshotDay day = {.date = target->date};
	List *verdicts;

	today->label = aside;
	PushActiveSnapshot(GetLatestSnapshot());
	verdicts = pe_validate(table, pe_snapshot_day_query(today, &day, 1), target->date, options);
	PopActiveSnapshot();
	return verdicts;
}

void
pe_validation_gate(const LoadTarget *target, const char *aside, const LoadOrigin *origin)
{
	PeValidateOptions options = pe_validate_defaults();
	PeSnapshotSettings settings;
	List *verdicts;
	char *words;
	int count;

	if (!OidIsValid(target->relid) || pe_snapshot_gate == PE_GATE_OFF)
		return;
	settings = pe_snapshot_settings(target->relid);
	if (settings.validation == NULL)
		return;
	pe_progress_publish("validating", (uint64) origin->rows, (uint64) origin->rows);
	/* Reading the previous days locks the table until we commit: not while another load waits to change it.
	 */
	load_lock_name(target);
	pe_validate_options_set(&options, settings.validation);
	verdicts = validate_aside(target, aside, &options);
	words = failures(verdicts, &count);
	if (count > 0 && pe_snapshot_gate == PE_GATE_REFUSE)
		refuse(target, origin, verdicts, words, count);
	if (count > 0)
		ereport(WARNING, (errmsg("the snapshot of %s is loaded into %s although %d of its checks failed",
		                         load_date_text(target->date), target->label, count),
		                  errdetail("%s", words)));
	pe_validation_keep(record_of(target, origin, count > 0 ? "forced" : "passed", verdicts));
}
