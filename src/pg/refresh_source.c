/*
 * refresh_source.c
 *		A refresh's source: read as the enrichment's owner, each row checked and written
 *		as canonical JSON, sorted by key.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_collation.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "parser/parse_oper.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/snapmgr.h"

#include "pg/consent.h"
#include "pg/enrichment_define.h"
#include "pg/progress.h"
#include "pg/refresh.h"
#include "pg/source.h"
#include "pg/wire_value.h"

static void
count_skipped(Refresh *refresh, const char *reason)
{
	refresh->skipped++;
	for (int i = 0; i < refresh->nreasons; i++)
		if (strcmp(refresh->reasons[i].reason, reason) == 0)
		{
			refresh->reasons[i].rows++;
			return;
		}
	if (refresh->nreasons < MAX_SKIP_REASONS)
		refresh->reasons[refresh->nreasons++] = (SkipReason){.reason = reason, .rows = 1};
}

static TupleDesc
row_descriptor(Oid rank_type)
{
	TupleDesc desc = CreateTemplateTupleDesc(ROW_COLUMNS);

	TupleDescInitEntry(desc, ROW_KEY + 1, "profile_key", TEXTOID, -1, 0);
	TupleDescInitEntryCollation(desc, ROW_KEY + 1, C_COLLATION_OID);
	TupleDescInitEntry(desc, ROW_RANK + 1, "rank", rank_type, -1, 0);
	TupleDescInitEntry(desc, ROW_HASH + 1, "hash", INT8OID, -1, 0);
	TupleDescInitEntry(desc, ROW_VALUE + 1, "value", TEXTOID, -1, 0);
	return desc;
}

/* By key, and among rows of one key the one that counts first; those without a rank last. */
static Tuplesortstate *
begin_sort(TupleDesc desc, Oid rank_type, bool highest_first)
{
	AttrNumber columns[3] = {ROW_KEY + 1, ROW_RANK + 1, ROW_HASH + 1};
	Oid operators[3] = {TextLessOperator, InvalidOid, Int8LessOperator};
	Oid collations[3] = {C_COLLATION_OID, InvalidOid, InvalidOid};
	bool nulls_first[3] = {false, false, false};
	Oid less, greater;

	get_sort_group_operators(rank_type, true, false, true, &less, NULL, &greater, NULL);
	operators[1] = highest_first ? greater : less;
	return tuplesort_begin_heap(desc, 3, columns, operators, collations, nulls_first, maintenance_work_mem,
	                            NULL, TUPLESORT_NONE);
}

static void
prepare_columns(Refresh *refresh, const PeSource *source)
{
	const PeEnrichment *enrichment = refresh->enrichment;

	refresh->wire = pe_wire_row_open(enrichment, source);
	refresh->rank_column = -1;
	refresh->rank_type = FLOAT8OID;
	if (enrichment->duplicate_column != NULL)
	{
		refresh->rank_column = pe_source_need_column(source, enrichment->duplicate_column, "on_duplicate");
		refresh->rank_type = getBaseType(TupleDescAttr(source->desc, refresh->rank_column)->atttypid);
	}
}

/* What ranks a row among those of its key; false when nothing does: a null, or no number. */
static bool
duplicate_rank(const Refresh *refresh, TupleTableSlot *slot, Datum *rank)
{
	if (refresh->rank_column < 0 || slot->tts_isnull[refresh->rank_column])
		return false;
	*rank = slot->tts_values[refresh->rank_column];
	switch (refresh->rank_type)
	{
		case FLOAT4OID:
			return !isnan(DatumGetFloat4(*rank));
		case FLOAT8OID:
			return !isnan(DatumGetFloat8(*rank));
		case NUMERICOID:
			return !numeric_is_nan(DatumGetNumeric(*rank));
		default:
			return true;
	}
}

/* One row of the source: checked, written as canonical JSON, and put into the sort. */
static bool
take_row(void *arg, TupleTableSlot *slot)
{
	Refresh *refresh = arg;
	const char *reason;
	char *key;
	Datum values[ROW_COLUMNS];
	bool nulls[ROW_COLUMNS] = {false};
	TupleTableSlot *row = refresh->row;

	refresh->profiles++;
	if (refresh->profiles % 1024 == 0)
		pe_progress_publish("reading the source", refresh->profiles, 0);
	reason = pe_wire_row_read(refresh->wire, slot, &key, &refresh->text);
	if (reason != NULL)
	{
		count_skipped(refresh, reason);
		if (key == NULL)
			return true;
	}

	values[ROW_KEY] = CStringGetTextDatum(key);
	nulls[ROW_RANK] = !duplicate_rank(refresh, slot, &values[ROW_RANK]);
	values[ROW_HASH] = Int64GetDatum(
	    reason == pe_no_consent ? PE_TOMBSTONE_WAITING : pe_wire_hash(refresh->text.data, refresh->text.len));
	values[ROW_VALUE] = PointerGetDatum(cstring_to_text_with_len(refresh->text.data, refresh->text.len));
	/* A row without a value sends nothing, but its profile has not left the source; without consent it is
	 * cleared. */
	nulls[ROW_VALUE] = reason != NULL;
	ExecClearTuple(row);
	memcpy(row->tts_values, values, sizeof(values));
	memcpy(row->tts_isnull, nulls, sizeof(nulls));
	ExecStoreVirtualTuple(row);
	tuplesort_puttupleslot(refresh->sorted, row);
	ExecClearTuple(row);
	refresh->usable += reason == NULL;
	return true;
}

/*
 * As the enrichment's owner, who can do nothing but read: what the caller may do
 * beyond that, or the extension's owner, is out of its reach.
 */
void
pe_refresh_read_source(Refresh *refresh)
{
	ErrorContextCallback context = {
	    .callback = pe_enrichment_error_context, .arg = refresh->enrichment, .previous = error_context_stack};
	PeOwnerSwitch before;
	PeSource *source;
	TupleDesc desc;

	error_context_stack = &context;
	initStringInfo(&refresh->text);
	PushActiveSnapshot(GetTransactionSnapshot());
	before = pe_enrichment_enter(refresh->enrichment);
	source = pe_enrichment_open_source(refresh->enrichment);
	prepare_columns(refresh, source);
	desc = row_descriptor(refresh->rank_type);
	refresh->row = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	refresh->sorted = begin_sort(desc, refresh->rank_type, refresh->enrichment->duplicate_highest);
	pe_source_read(source, NULL, 0, 0, take_row, refresh);
	pe_enrichment_leave_owner(&before);
	PopActiveSnapshot();
	error_context_stack = context.previous;

	ExecDropSingleTupleTableSlot(refresh->row);
	refresh->row = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	tuplesort_performsort(refresh->sorted);
}

int
pe_compare_keys(Datum left, Datum right)
{
	text *a = DatumGetTextPP(left);
	text *b = DatumGetTextPP(right);
	int alen = VARSIZE_ANY_EXHDR(a);
	int blen = VARSIZE_ANY_EXHDR(b);
	int order = memcmp(VARDATA_ANY(a), VARDATA_ANY(b), Min(alen, blen));

	return order != 0 ? order : alen - blen;
}

void
pe_refresh_next_row(Refresh *refresh)
{
	Datum key = (Datum) 0;
	bool had = !TupIsNull(refresh->row);
	int64 before = refresh->repeated_rows;

	if (had)
		key = datumCopy(refresh->row->tts_values[ROW_KEY], false, -1);
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (!tuplesort_gettupleslot(refresh->sorted, true, false, refresh->row, NULL))
		{
			ExecClearTuple(refresh->row);
			break;
		}
		slot_getallattrs(refresh->row);
		if (!had || pe_compare_keys(key, refresh->row->tts_values[ROW_KEY]) != 0)
			break;
		refresh->repeated_rows++;
	}
	refresh->repeated_keys += refresh->repeated_rows > before;
	if (had)
		pfree(DatumGetPointer(key));
}
