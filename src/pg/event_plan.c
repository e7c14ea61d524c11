/*
 * event_plan.c
 *		From the items of a declaration to tallies and columns.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "pg/event_making.h"
#include "pg/json_options.h"

#define MOST_TALLIES 500

/* ---- tallies --------------------------------------------------------------------------- */

static int
find_tally(PeEventPlan *plan, PeTallyKind kind, bool after, int number, int category, int distinct)
{
	PeTally *tally;

	for (int i = 0; i < plan->n_tallies; i++)
	{
		tally = &plan->tallies[i];
		if (tally->kind == kind && tally->after == after && tally->number == number &&
		    tally->category == category && tally->distinct == distinct)
			return i;
	}
	if (plan->n_tallies == MOST_TALLIES)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("the declaration is too large"),
		                errhint("Make two of it, and join their results.")));
	tally = &plan->tallies[plan->n_tallies];
	*tally = (PeTally){.kind = kind,
	                   .after = after,
	                   .number = number,
	                   .category = category,
	                   .distinct = distinct,
	                   .count = -1,
	                   .sum = -1,
	                   .least = -1,
	                   .most = -1,
	                   .unlike = -1};
	return plan->n_tallies++;
}

/* A place in the tally's cells, given once. */
static void
keep(PeTally *tally, int *where, int words)
{
	if (*where >= 0)
		return;
	*where = tally->width;
	tally->width += words;
}

static void
keep_for(PeTally *tally, PeEventMake make)
{
	bool amounts = tally->number >= 0;

	switch (make)
	{
		case PE_MAKE_SUM:
			keep(tally, &tally->sum, PE_SUM_WORDS);
			break;
		case PE_MAKE_MEAN:
			keep(tally, &tally->sum, PE_SUM_WORDS);
			keep(tally, &tally->count, 1);
			break;
		case PE_MAKE_MIN:
			keep(tally, &tally->least, 1);
			break;
		case PE_MAKE_MAX:
			keep(tally, &tally->most, 1);
			break;
		case PE_MAKE_DISTINCT:
			keep(tally, &tally->unlike, 1);
			break;
		case PE_MAKE_SHARE:
		case PE_MAKE_RATIO:
			keep(tally, amounts ? &tally->sum : &tally->count, amounts ? PE_SUM_WORDS : 1);
			break;
		default:
			keep(tally, &tally->count, 1);
			break;
	}
}

/* The end of a window becomes that of a ring. */
static void
keep_end(PeTally *tally, int64 end)
{
	int at = 0;

	while (at < tally->n_rings && tally->ends[at] < end)
		at++;
	if (at < tally->n_rings && tally->ends[at] == end)
		return;
	if (tally->n_rings == PE_EVENT_MOST_BOUNDS)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
		                errmsg("the declaration has more than %d windows", PE_EVENT_MOST_BOUNDS)));
	memmove(&tally->ends[at + 1], &tally->ends[at], sizeof(int64) * (tally->n_rings - at));
	tally->ends[at] = end;
	tally->n_rings++;
}

/* ---- columns ----------------------------------------------------------------------------- */

static Oid
type_of_make(PeEventMake make)
{
	switch (make)
	{
		case PE_MAKE_COUNT:
		case PE_MAKE_DISTINCT:
		case PE_MAKE_FREQUENCY:
			return INT8OID;
		case PE_MAKE_ANY:
			return BOOLOID;
		default:
			return FLOAT8OID;
	}
}

static PeEventColumn *
add_column(PeEventPlan *plan, char *name, PeEventMake make, int tally, int code)
{
	PeEventColumn *column;

	if (plan->n_columns == PE_EVENT_MOST_COLUMNS)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
		                errmsg("the declaration makes more than %d columns", PE_EVENT_MOST_COLUMNS),
		                errhint("Take fewer windows, or fewer values of the columns in \"by\".")));
	name = pe_event_unique_name(plan, name);
	column = &plan->columns[plan->n_columns++];
	*column =
	    (PeEventColumn){.name = name, .type = type_of_make(make), .make = make, .tally = tally, .code = code};
	return column;
}

static void
add_windows(PeEventPlan *plan, const PeEventPart *part, PeEventMake make)
{
	const PeEventItem *item = part->item;
	bool different = make == PE_MAKE_DISTINCT;
	int number = different ? -1 : part->number;
	int tally = find_tally(plan, PE_TALLY_VALUES, item->label, number, part->category,
	                       different ? part->distinct : -1);
	int whole = make == PE_MAKE_SHARE ? find_tally(plan, PE_TALLY_VALUES, item->label, number, -1, -1) : -1;
	char *name = pe_event_stem(part, make);
	char *what = pe_event_describe(part, make);
	ListCell *cell;

	keep_for(&plan->tallies[tally], make);
	if (whole >= 0)
		keep_for(&plan->tallies[whole], make);
	foreach (cell, item->windows)
	{
		const PeEventWindow *window = (const PeEventWindow *) lfirst(cell);
		const char *before = item->to_previous ? "previous" : item->to != NULL ? item->to->suffix : "";
		PeEventColumn *column;

		if (make == PE_MAKE_RATIO && item->to_previous && window->length == PE_EVENT_NO_END)
			pe_raise_bad_option("to", "another window: nothing is before \"all\"");
		column = add_column(plan,
		                    psprintf("%s%s_%s%s%s", name, item->label ? "_within" : "", window->suffix,
		                             make == PE_MAKE_RATIO ? "_" : "", make == PE_MAKE_RATIO ? before : ""),
		                    make, tally, part->code);
		column->end = window->length;
		column->whole = whole;
		keep_end(&plan->tallies[tally], column->end);
		if (whole >= 0)
			keep_end(&plan->tallies[whole], column->end);
		if (make == PE_MAKE_RATIO)
		{
			column->from2 = item->to_previous ? window->length : 0;
			column->end2 = item->to_previous ? 2 * window->length : item->to->length;
			keep_end(&plan->tallies[tally], column->end2);
		}
		if (window->length == PE_EVENT_NO_END)
			column->description = psprintf("%s before the anchor", what);
		else
			column->description =
			    psprintf("%s in the %s %s the anchor", what, window->words, item->label ? "from" : "before");
		if (make == PE_MAKE_RATIO)
			column->description = psprintf("%s, to %s", column->description,
			                               item->to_previous ? "that of the same length of time before"
			                                                 : psprintf("that with %s", item->to->suffix));
		if (item->label)
			plan->longest_label = Max(plan->longest_label, window->length);
	}
}

static void
add_times(PeEventPlan *plan, const PeEventPart *part, PeEventMake make)
{
	int tally = find_tally(plan, PE_TALLY_TIMES, part->item->label, part->number, part->category, -1);
	PeEventColumn *column = add_column(plan, pe_event_stem(part, make), make, tally, part->code);

	column->description = pe_event_describe(part, make);
	plan->tallies[tally].width = PE_TIMES_WIDTH;
	if (part->item->label)
		plan->longest_label = PE_EVENT_NO_END;
}

/* The columns that rfm_summary() makes, of the same names, so that a lifetime model takes them. */
static void
add_rfm(PeEventPlan *plan, const PeEventPart *part)
{
	static const struct
	{
		PeEventMake make;
		const char *description;
	} columns[] = {{PE_MAKE_FREQUENCY, "days with %ss after the first"},
	               {PE_MAKE_RECENCY, "time from the first %s to the last"},
	               {PE_MAKE_AGE, "time from the first %s to the last day before the anchor"},
	               {PE_MAKE_MONETARY_VALUE, "mean of what days with %ss after the first were worth"}};
	int tally = find_tally(plan, PE_TALLY_RFM, false, part->number, -1, -1);

	plan->tallies[tally].width = PE_RFM_WIDTH;
	plan->has_distinct = true;
	for (int i = 0; i < lengthof(columns); i++)
	{
		PeEventColumn *column;

		if (columns[i].make == PE_MAKE_MONETARY_VALUE && part->number < 0)
			continue;
		column = add_column(plan, pstrdup(pe_event_make_name(columns[i].make)), columns[i].make, tally, 0);
		column->unit_days = part->item->unit_days;
		column->description = psprintf(columns[i].description, part->event);
	}
}

static void
add_part(PeEventPlan *plan, const PeEventPart *part, PeEventMake make)
{
	switch (make)
	{
		case PE_MAKE_RFM:
			add_rfm(plan, part);
			break;
		case PE_MAKE_DAYS_SINCE_LAST:
		case PE_MAKE_DAYS_SINCE_FIRST:
		case PE_MAKE_DAYS_UNTIL_NEXT:
			add_times(plan, part, make);
			break;
		default:
			add_windows(plan, part, make);
			break;
	}
}

static bool
makes_numbers(const PeEventItem *item)
{
	return !(list_length(item->makes) == 1 && linitial_int(item->makes) == PE_MAKE_DISTINCT);
}

static void
add_item(PeEventMaking *making, const PeEventItem *item)
{
	PeEventPlan *plan = making->plan;
	PeEventPart part = {
	    .item = item, .event = making->declaration.event, .number = -1, .category = -1, .distinct = -1};
	List *values = list_make1(NULL);
	ListCell *make, *value;

	if (item->of != NULL && makes_numbers(item))
		part.number = pe_event_number_input(plan, item->of);
	if (list_member_int(item->makes, PE_MAKE_DISTINCT))
	{
		part.distinct = pe_event_distinct_input(plan, item->of);
		plan->has_distinct = true;
	}
	if (item->by != NULL)
	{
		part.category = pe_event_category_input(plan, item->by);
		values = pe_event_values_of_item(making, item, &plan->categories[part.category]);
	}
	plan->has_labels = plan->has_labels || item->label;
	foreach (make, item->makes)
	{
		foreach (value, values)
		{
			part.value = (char *) lfirst(value);
			part.code =
			    part.category >= 0 ? pe_event_code_of_value(&plan->categories[part.category], part.value) : 0;
			add_part(plan, &part, (PeEventMake) lfirst_int(make));
		}
	}
}

/* ---- layout ---------------------------------------------------------------------------- */

/* The rings of all tallies of a side, and which of them lie in which of a tally's own. */
static void
lay_out_rings(PeEventPlan *plan, bool after)
{
	PeTally all = {0};

	for (int i = 0; i < plan->n_tallies; i++)
	{
		for (int ring = 0; plan->tallies[i].after == after && ring < plan->tallies[i].n_rings; ring++)
			keep_end(&all, plan->tallies[i].ends[ring]);
	}
	plan->n_ends[after] = all.n_rings;
	memcpy(plan->ends[after], all.ends, sizeof(all.ends));
	for (int i = 0; i < plan->n_tallies; i++)
	{
		PeTally *tally = &plan->tallies[i];
		int own = 0;

		for (int ring = 0; tally->after == after && ring < all.n_rings; ring++)
		{
			while (own < tally->n_rings && tally->ends[own] < all.ends[ring])
				own++;
			tally->ring_of[ring] = own < tally->n_rings ? own : -1;
		}
	}
}

static void
lay_out(PeEventPlan *plan)
{
	size_t words = 0;

	lay_out_rings(plan, false);
	lay_out_rings(plan, true);
	for (int i = 0; i < plan->n_tallies; i++)
	{
		PeTally *tally = &plan->tallies[i];

		tally->n_codes = tally->category >= 0 ? list_length(plan->categories[tally->category].values) : 1;
		tally->base = (int) words;
		words += (size_t) tally->width * Max(tally->n_rings, 1) * tally->n_codes;
	}
	if (words > 100000)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
		                errmsg("the declaration keeps %zu numbers for each profile", words),
		                errhint("Take fewer windows, or fewer values of the columns in \"by\".")));
	plan->words = (int) words;
}

PeEventPlan *
pe_event_plan(const PeSource *source, Jsonb *declaration, const char *top_condition)
{
	PeEventPlan *plan = palloc0(sizeof(PeEventPlan));
	PeEventMaking making = {plan, pe_event_declaration(declaration), top_condition};
	ListCell *cell;

	plan->source = source;
	plan->read = palloc(sizeof(int) * source->desc->natts);
	plan->numbers = palloc(sizeof(PeEventInput) * PE_EVENT_MOST_INPUTS);
	plan->categories = palloc(sizeof(PeEventInput) * PE_EVENT_MOST_INPUTS);
	plan->distincts = palloc(sizeof(PeEventInput) * PE_EVENT_MOST_INPUTS);
	plan->tallies = palloc(sizeof(PeTally) * MOST_TALLIES);
	plan->columns = palloc(sizeof(PeEventColumn) * PE_EVENT_MOST_COLUMNS);
	foreach (cell, making.declaration.items)
		add_item(&making, (const PeEventItem *) lfirst(cell));
	lay_out(plan);
	return plan;
}
