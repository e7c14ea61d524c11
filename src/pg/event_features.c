/*
 * event_features.c
 *		event_features(): reading events, and from what was added up to rows.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "model/model.h"
#include "pg/event_request.h"
#include "pg/event_table.h"
#include "pg/rows.h"

/* Reading the events and the anchors. */
typedef struct Reading
{
	const PeEventRequest *request;
	PeEventTable *table;
	PeEvent event;
	int64 until;  /* events from here on are of no use */
	int64 latest; /* time of an event */
	uint64 rows;
	uint64 skipped;
} Reading;

/* ---- reading -------------------------------------------------------------------------- */

static bool
read_anchor(void *arg, TupleTableSlot *slot)
{
	Reading *reading = (Reading *) arg;
	const PeEventRequest *request = reading->request;
	int64 anchor, buffer;
	uint32 length;
	const char *key;

	reading->rows++;
	if (slot->tts_isnull[0] || slot->tts_isnull[1] ||
	    !pe_event_time(&request->anchor, slot->tts_values[1], &anchor))
	{
		reading->skipped++;
		return true;
	}
	key = pe_event_key_bytes(&request->anchor_key, slot->tts_values[0], &buffer, &length);
	pe_event_table_anchor(reading->table, key, length, anchor);
	return true;
}

static int64
code_of_value(const PeEventInput *category, Datum value)
{
	size_t length;
	const char *text = pe_input_text(&category->input, value, &length);
	ListCell *cell;

	foreach (cell, category->values)
	{
		const char *known = (const char *) lfirst(cell);

		if (strncmp(known, text, length) == 0 && known[length] == '\0')
			return foreach_current_index(cell);
	}
	return -1;
}

static void
read_values(const PeEventPlan *plan, const Datum *values, const bool *nulls, PeEventWord *words)
{
	PeEventWord *at = words + PE_EVENT_NUMBERS;
	PeEventWord *present;

	for (int i = 0; i < plan->n_numbers; i++, at++)
	{
		int slot = plan->numbers[i].slot;

		at->number = nulls[slot] ? NAN : pe_input_number(&plan->numbers[i].input, values[slot]);
		if (isinf(at->number))
			at->number = NAN;
	}
	for (int i = 0; i < plan->n_categories; i++, at++)
	{
		int slot = plan->categories[i].slot;

		at->count = nulls[slot] ? -1 : code_of_value(&plan->categories[i], values[slot]);
	}
	present = at + plan->n_distincts;
	for (int i = 0; i < plan->n_distincts; i++, at++)
	{
		int slot = plan->distincts[i].slot;

		if (i % 64 == 0)
			present[i / 64].hash = 0;
		at->hash = 0;
		if (nulls[slot])
			continue;
		at->hash = DatumGetUInt64(FunctionCall2Coll(&plan->distincts[i].hash, plan->distincts[i].collation,
		                                            values[slot], Int64GetDatum(0)));
		present[i / 64].hash |= UINT64CONST(1) << (i % 64);
	}
}

static bool
read_event(void *arg, TupleTableSlot *slot)
{
	Reading *reading = (Reading *) arg;
	const PeEventRequest *request = reading->request;
	int64 time, buffer;

	reading->rows++;
	if (slot->tts_isnull[0] || slot->tts_isnull[1] ||
	    !pe_event_time(&request->time, slot->tts_values[1], &time))
	{
		reading->skipped++;
		return true;
	}
	reading->latest = Max(reading->latest, time);
	if (time >= reading->until)
		return true;
	reading->event.key =
	    pe_event_key_bytes(&request->key, slot->tts_values[0], &buffer, &reading->event.key_length);
	reading->event.words[PE_EVENT_HASH].hash =
	    pe_hash_bytes(reading->event.key, reading->event.key_length, 0);
	reading->event.words[PE_EVENT_TIME].time = time;
	read_values(request->plan, slot->tts_values + 2, slot->tts_isnull + 2, reading->event.words);
	pe_event_table_add(reading->table, &reading->event);
	return true;
}

static void
report_skipped(const Reading *reading, const char *what)
{
	if (reading->skipped > 0)
		ereport(NOTICE,
		        (errmsg("skipped %llu of %llu %s without key or time", (unsigned long long) reading->skipped,
		                (unsigned long long) reading->rows, what)));
}

/* All rows into a table. */
static PeEventTable *
read_events(const PeEventRequest *request, int64 *latest)
{
	const PeEventPlan *plan = request->plan;
	int64 as_of = (int64) request->as_of * USECS_PER_DAY;
	Reading reading = {.request = request, .until = PG_INT64_MAX, .latest = PG_INT64_MIN};
	int *columns = palloc(sizeof(int) * (plan->n_read + 2));

	reading.event.words = palloc(sizeof(PeEventWord) * pe_event_words(plan));
	reading.table = pe_event_table_create(plan, request->anchors != NULL, as_of);
	if (request->anchors != NULL)
	{
		pe_source_read(request->anchors, NULL, 2, 0, read_anchor, &reading);
		report_skipped(&reading, "anchors");
		reading.rows = reading.skipped = 0;
	}
	else if (plan->longest_label < PE_EVENT_NO_END)
		reading.until = as_of + plan->longest_label;
	columns[0] = request->key.column;
	columns[1] = request->time.column;
	memcpy(columns + 2, plan->read, sizeof(int) * plan->n_read);
	pe_source_read(request->events, columns, plan->n_read + 2, 0, read_event, &reading);
	report_skipped(&reading, "events");
	*latest = reading.latest;
	return reading.table;
}

/* ---- from what was added up to columns ------------------------------------------------ */

typedef struct Output
{
	const PeEventRequest *request;
	ReturnSetInfo *result;
	int64 known_until; /* what happens later is not known yet */
	Datum *values;
	bool *nulls;
} Output;

/* A window's cells together. */
typedef struct Total
{
	int64 count;
	int64 unlike;
	double sum, rest, size;
	double least, most;
} Total;

static void
add_to_sum(Total *total, double value)
{
	double sum = total->sum + value;
	double rounded = sum - total->sum;

	total->rest += (total->sum - (sum - rounded)) + (value - rounded);
	total->sum = sum;
}

/* The rings that end after from, and by end. */
static Total
total_of(const PeTally *tally, const PeEventState *state, int code, int64 from, int64 end)
{
	Total total = {.least = INFINITY, .most = -INFINITY};
	const PeEventWord *cell = state->words + tally->base + (size_t) code * tally->n_rings * tally->width;

	for (int ring = 0; ring < tally->n_rings && tally->ends[ring] <= end; ring++, cell += tally->width)
	{
		if (tally->ends[ring] <= from)
			continue;
		if (tally->count >= 0)
			total.count += cell[tally->count].count;
		if (tally->unlike >= 0)
			total.unlike += cell[tally->unlike].count;
		if (tally->sum >= 0)
		{
			add_to_sum(&total, cell[tally->sum].number);
			total.rest += cell[tally->sum + PE_SUM_REST].number;
			total.size += cell[tally->sum + PE_SUM_SIZE].number;
		}
		if (tally->least >= 0)
			total.least = Min(total.least, cell[tally->least].number);
		if (tally->most >= 0)
			total.most = Max(total.most, cell[tally->most].number);
	}
	return total;
}

/* The sum; nothing where only the rounding of numbers that cancel out is left. */
static double
sum_of(const Total *total)
{
	double sum = total->sum + total->rest;

	return fabs(sum) > ldexp(total->size, -50) ? sum : 0;
}

/* What shares and ratios are made of: the sum where there is a number, else the count. */
static double
measure(const PeTally *tally, const Total *total)
{
	return tally->number >= 0 ? sum_of(total) : (double) total->count;
}

static double
days_between(int64 from, int64 to)
{
	return (double) (to - from) / (double) USECS_PER_DAY;
}

static double
number_of_rfm(const PeEventColumn *column, const PeEventWord *cell, int64 anchor)
{
	int64 repeats = cell[PE_RFM_DAYS].count - 1;
	int64 first = cell[PE_RFM_FIRST].time;
	double opening = cell[PE_RFM_OPENING].number + cell[PE_RFM_OPENING + PE_SUM_REST].number;
	double all = cell[PE_RFM_TOTAL].number + cell[PE_RFM_TOTAL + PE_SUM_REST].number;

	if (repeats < 0)
		return column->make == PE_MAKE_FREQUENCY ? 0 : NAN;
	switch (column->make)
	{
		case PE_MAKE_FREQUENCY:
			return (double) repeats;
		case PE_MAKE_RECENCY:
			return (double) (cell[PE_RFM_LAST].time - first) * (1 / column->unit_days);
		case PE_MAKE_AGE:
			return (double) (pe_event_start_of_day(anchor - 1) / USECS_PER_DAY - first) *
			       (1 / column->unit_days);
		default:
			return repeats > 0 ? (all - opening) / (double) repeats : NAN;
	}
}

static double
number_of_times(const PeEventColumn *column, const PeEventWord *cell, int64 anchor)
{
	if (cell[PE_TIMES_FIRST].time > cell[PE_TIMES_LAST].time)
		return NAN;
	if (column->make == PE_MAKE_DAYS_SINCE_LAST)
		return days_between(cell[PE_TIMES_LAST].time, anchor);
	if (column->make == PE_MAKE_DAYS_SINCE_FIRST)
		return days_between(cell[PE_TIMES_FIRST].time, anchor);
	return days_between(anchor, cell[PE_TIMES_FIRST].time);
}

/* A feature as a number; NaN becomes NULL. */
static double
number_of_column(const PeEventPlan *plan, const PeEventColumn *column, const PeEventState *state)
{
	const PeTally *tally = &plan->tallies[column->tally];
	Total total, other;

	if (tally->kind == PE_TALLY_RFM)
		return number_of_rfm(column, state->words + tally->base, state->anchor);
	if (tally->kind == PE_TALLY_TIMES)
		return number_of_times(column, state->words + tally->base + column->code * PE_TIMES_WIDTH,
		                       state->anchor);
	total = total_of(tally, state, column->code, 0, column->end);
	switch (column->make)
	{
		case PE_MAKE_COUNT:
			return (double) total.count;
		case PE_MAKE_ANY:
			return total.count > 0;
		case PE_MAKE_DISTINCT:
			return (double) total.unlike;
		case PE_MAKE_SUM:
			return sum_of(&total);
		case PE_MAKE_MEAN:
			return sum_of(&total) / (double) total.count;
		case PE_MAKE_MIN:
			return isfinite(total.least) ? total.least : NAN;
		case PE_MAKE_MAX:
			return isfinite(total.most) ? total.most : NAN;
		case PE_MAKE_SHARE:
			other = total_of(&plan->tallies[column->whole], state, 0, 0, column->end);
			return measure(tally, &total) / measure(&plan->tallies[column->whole], &other);
		default: /* PE_MAKE_RATIO */
			other = total_of(tally, state, column->code, column->from2, column->end2);
			return measure(tally, &total) / measure(tally, &other);
	}
}

/* Has the window of a label passed? */
static bool
is_known(const Output *output, const PeEventColumn *column, int64 anchor)
{
	if (!output->request->plan->tallies[column->tally].after || column->make == PE_MAKE_DAYS_UNTIL_NEXT)
		return true;
	return anchor <= output->known_until - column->end;
}

static void
put_state(void *arg, const char *key, uint32 key_length, const PeEventState *state)
{
	Output *output = (Output *) arg;
	const PeEventRequest *request = output->request;
	int first = pe_event_leading_columns(request);

	output->values[0] =
	    pe_event_key_datum(request->anchors != NULL ? &request->anchor_key : &request->key, key, key_length);
	if (request->anchors != NULL)
		output->values[1] = pe_event_moment_datum(&request->anchor, state->anchor);
	for (int i = 0; i < request->plan->n_columns; i++)
	{
		const PeEventColumn *column = &request->plan->columns[i];
		double number =
		    is_known(output, column, state->anchor) ? number_of_column(request->plan, column, state) : NAN;

		output->nulls[first + i] = !isfinite(number);
		if (column->type == INT8OID)
			output->values[first + i] = Int64GetDatum(output->nulls[first + i] ? 0 : (int64) number);
		else if (column->type == BOOLOID)
			output->values[first + i] = BoolGetDatum(number > 0);
		else
			output->values[first + i] = Float8GetDatum(number);
	}
	tuplestore_putvalues(output->result->setResult, output->result->setDesc, output->values, output->nulls);
}

PG_FUNCTION_INFO_V1(pe_event_features);

/* event_features(events, key, event_time, declaration, as_of, anchors) */
Datum
pe_event_features(PG_FUNCTION_ARGS)
{
	PeEventRequest *request = pe_event_request(fcinfo, 0);
	Output output = {.request = request};
	PeEventTable *table;
	int64 latest;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	output.result = (ReturnSetInfo *) fcinfo->resultinfo;
	pe_event_check_columns(request, output.result->setDesc);
	output.values = palloc0(sizeof(Datum) * pe_event_column_count(request));
	output.nulls = palloc0(sizeof(bool) * pe_event_column_count(request));
	table = read_events(request, &latest);
	/* The day of the last event counts as over, but nothing is known of the time to come. */
	output.known_until = latest == PG_INT64_MIN ? PG_INT64_MIN / 2
	                                            : Min(pe_event_start_of_day(latest) + USECS_PER_DAY,
	                                                  GetCurrentTransactionStartTimestamp());
	pe_event_table_finish(table, put_state, &output);
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(pe_event_feature_columns);

/* event_feature_columns(events, key, event_time, declaration, as_of, anchors) */
Datum
pe_event_feature_columns(PG_FUNCTION_ARGS)
{
	PeEventRequest *request = pe_event_request(fcinfo, 0);
	PeRow row;

	pe_rows_begin(fcinfo, &row);
	for (int i = 0; i < pe_event_column_count(request); i++)
	{
		pe_row_add_int64(&row, i + 1);
		pe_row_add(&row, CStringGetTextDatum(pe_event_column_name(request, i)));
		pe_row_add(&row, CStringGetTextDatum(pe_event_type_text(pe_event_column_type(request, i))));
		pe_row_add(&row, CStringGetTextDatum(pe_event_column_description(request, i)));
		pe_row_put(&row);
	}
	return (Datum) 0;
}
