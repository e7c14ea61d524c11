/*
 * preview.c
 *		preview(): the messages that would be sent, with nothing sent.
 */
#include "postgres.h"

#include "executor/tuptable.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "platform/message.h"
#include "pg/enrichment_define.h"
#include "pg/enrichment_target.h"
#include "pg/env.h"
#include "pg/report.h"
#include "pg/rows.h"
#include "pg/wire_row.h"

PG_FUNCTION_INFO_V1(pe_preview);

#define MAX_PREVIEW 1000

typedef struct Preview
{
	const PeEnrichment *e;
	pe_message_target target;
	PeWireRow *row;
	int wanted;
	List *messages; /* char *, in context */
	MemoryContext context;
} Preview;

/* One record as the whole body of a single-message call. */
static char *
build_message(Preview *preview, const char *key, const char *value)
{
	pe_env env = pe_server_env(CurrentMemoryContext);
	pe_message_body body = {0};
	pe_message_record record = {
	    .key = key,
	    .key_length = strlen(key),
	    .value = value,
	    .value_length = strlen(value),
	    .scored_at = GetCurrentTimestamp() +
	                 (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * USECS_PER_SEC,
	};
	pe_error err = {0};

	pe_check(pe_message_begin(&body, &env, &preview->target, PE_MESSAGE_MAX_BYTES, true, &err), &err);
	pe_check(pe_message_add(&body, &record, &err), &err);
	pe_check(pe_message_end(&body, &err), &err);
	return pnstrdup(body.data, body.length);
}

/* Rows that refresh would skip are no messages. */
static bool
preview_row(void *arg, TupleTableSlot *slot)
{
	Preview *preview = arg;
	StringInfoData value;
	MemoryContext before;
	char *key;

	initStringInfo(&value);
	if (pe_wire_row_read(preview->row, slot, &key, &value) != NULL)
		return true;
	before = MemoryContextSwitchTo(preview->context);
	preview->messages =
	    lappend(preview->messages, build_message(preview, pe_to_utf8(key), pe_to_utf8(value.data)));
	MemoryContextSwitchTo(before);
	return list_length(preview->messages) < preview->wanted;
}

/* preview(name, n) */
Datum
pe_preview(PG_FUNCTION_ARGS)
{
	PeEnrichment *e = pe_enrichment_load(text_to_cstring(PG_GETARG_TEXT_PP(0)), true);
	Preview preview = {.e = e, .wanted = PG_GETARG_INT32(1), .context = CurrentMemoryContext};
	PeOwnerSwitch before;
	PeSource *source;
	ListCell *cell;
	PeRow row;

	if (preview.wanted < 1 || preview.wanted > MAX_PREVIEW)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("n is %d", preview.wanted),
		                errhint("Preview shows between 1 and %d messages.", MAX_PREVIEW)));
	pe_rows_begin_single(fcinfo, &row);
	pe_target_message(e, &preview.target);
	before = pe_enrichment_enter(e);
	source = pe_enrichment_open_source(e);
	preview.row = pe_wire_row_open(e, source);
	(void) pe_source_read(source, NULL, source->desc->natts, 0, preview_row, &preview);
	pe_enrichment_leave_owner(&before);
	foreach (cell, preview.messages)
	{
		pe_row_add(&row, DirectFunctionCall1(jsonb_in, CStringGetDatum(pe_from_utf8(lfirst(cell)))));
		pe_row_put(&row);
	}
	return (Datum) 0;
}
