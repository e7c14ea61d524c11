/*
 * goal_train.c
 *		train(goal => ...): the source, target and options that a goal stands for.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/numeric.h"

#include "pg/goal_leakage.h"
#include "pg/goal_train.h"
#include "pg/json_options.h"

static bool
find_option(Jsonb *options, const char *name, JsonbValue *value)
{
	return options != NULL && JB_ROOT_IS_OBJECT(options) &&
	       getKeyJsonValueFromContainer(&options->root, name, strlen(name), value) != NULL &&
	       value->type != jbvNull;
}

/* The share of the anchors that is held out. */
static double
held_out_share(Jsonb *options)
{
	JsonbValue value;
	double share = PE_GOAL_HOLDOUT;

	if (!find_option(options, "holdout", &value))
		return share;
	if (value.type == jbvNumeric)
		share = DatumGetFloat8(
		    DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(value.val.numeric)));
	if (value.type != jbvNumeric || !(share >= 0 && share <= 0.9))
		pe_raise_bad_option("holdout",
		                    "the share of the anchor days that is held out, the latest ones, from 0 to "
		                    "0.9: the model has a goal");
	return share;
}

static void
check_key(const PeGoal *goal, Jsonb *options)
{
	JsonbValue value;

	if (!find_option(options, "key", &value))
		return;
	if (value.type != jbvString || value.val.string.len != strlen(goal->key) ||
	    memcmp(value.val.string.val, goal->key, value.val.string.len) != 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("option \"key\" differs from the key of goal \"%s\"", goal->name),
		                errhint("Leave it out: it is \"%s\".", goal->key)));
}

/* The user's options with the goal's key, and the day from which rows are held out. */
static Jsonb *
with_options(const PeGoal *goal, Jsonb *options, const PeAnchor *first_held)
{
	StringInfoData json;
	Datum ours;

	initStringInfo(&json);
	appendStringInfoString(&json, "{\"key\": ");
	escape_json(&json, goal->key);
	if (first_held != NULL)
		appendStringInfo(&json, ", \"holdout\": {\"from\": \"%s\"}", pe_date_text(first_held->day));
	appendStringInfoChar(&json, '}');
	ours = DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
	if (options == NULL)
		return DatumGetJsonbP(ours);
	if (!JB_ROOT_IS_OBJECT(options))
		return options; /* the error is the parser's */
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(options), ours));
}

/*
 * The anchors that are read, into used, and the first day that is held out, or NULL. The newest
 * is read first: which columns are features is decided by the first rows, and these have most history.
 */
static const PeAnchor *
choose(const PeGoalDays *days, PeAnchor *used, int *n)
{
	const PeAnchor *first_held = NULL;

	*n = 0;
	for (int i = 0; i < days->n_anchors; i++)
	{
		const PeAnchor *anchor = &days->anchors[i];

		if (anchor->use != PE_ANCHOR_GAP)
			used[(*n)++] = *anchor;
		if (anchor->use == PE_ANCHOR_VALIDATION)
			first_held = anchor;
	}
	return first_held;
}

/* The last day whose outcomes are learnt from: by a refit those of the held-out anchors, too. */
static const char *
learnt_until(const PeAnchor *used, int n, Jsonb *options)
{
	JsonbValue value;
	bool refit = find_option(options, "refit", &value) && value.type == jbvBool && value.val.boolean;
	DateADT last = DATEVAL_NOBEGIN;

	for (int i = 0; i < n; i++)
		if (refit || used[i].use != PE_ANCHOR_VALIDATION)
			last = Max(last, used[i].ends);
	return pe_date_text(last);
}

/* What the version says it learnt from. */
static char *
describe(const PeGoal *goal, const PeAnchor *used, int n)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "goal \"%s\" of %s at ", goal->name, goal->snapshots->text);
	for (int i = n - 1; i >= 0; i--)
		appendStringInfo(&text, "%s%s", pe_date_text(used[i].day), i > 0 ? ", " : "");
	return text.data;
}

static void
notice_validation(const PeGoal *goal, const PeGoalDays *days, const PeAnchor *first_held, double share)
{
	int gap = pe_goal_count_anchors(days, PE_ANCHOR_GAP);

	if (share > 0 && first_held == NULL)
		ereport(
		    NOTICE,
		    (errmsg("the anchor days of goal \"%s\" (%d) are too few to validate on the latest: profiles "
		            "are held out instead",
		            goal->name, days->n_anchors),
		     errhint("The evaluation will not tell how well the model does on a later day. Train again when "
		             "more windows have passed.")));
	if (gap > 0)
		ereport(NOTICE,
		        (errmsg("%d anchor days are neither learnt from nor validated on: their windows reach "
		                "beyond %s",
		                gap, pe_date_text(first_held->day))));
}

/* Repeated keys would multiply rows; join NULL: those of the snapshots. */
static void
check_repeated(const PeGoal *goal, const PeGoalJoin *join, DateADT day)
{
	const PeSource *source = join != NULL ? join->source : goal->snapshots;
	const char *key = join != NULL ? join->key : goal->key;
	bool isnull;
	int64 repeated;

	SPI_connect();
	pe_goal_execute(pe_goal_repeated_query(goal, join, day));
	repeated = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	if (repeated > 0)
		ereport(ERROR,
		        (errcode(ERRCODE_CARDINALITY_VIOLATION),
		         errmsg_plural(INT64_FORMAT " profile has more than one row in %s on %s",
		                       INT64_FORMAT " profiles have more than one row in %s on %s",
		                       (unsigned long) repeated, repeated, source->name, pe_date_text(day)),
		         errdetail("Goal \"%s\" tells profiles there apart by column \"%s\".", goal->name, key),
		         errhint("Name another key, or a SELECT with one row for each profile and day.")));
}

static void
check_keys(const PeGoal *goal, const PeAnchor *used, int n)
{
	ListCell *cell;

	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		check_repeated(goal, NULL, used[i].day);
		foreach (cell, goal->joins)
			check_repeated(goal, lfirst(cell), used[i].day);
	}
}

void
pe_goal_take(PeTrainRequest *request, const char *name)
{
	PeGoal *goal = pe_goal_open(name);
	double share = held_out_share(request->options);
	PeGoalDays *days = pe_goal_days(goal, share);
	PeAnchor *used = palloc(sizeof(PeAnchor) * (days->n_anchors + 1));
	const PeAnchor *first_held;
	PeSource *source;
	int n;

	check_key(goal, request->options);
	if (days->n_anchors == 0)
		pe_goal_raise_no_anchor(goal, days);
	pe_goal_notice_unused(goal, days);
	first_held = choose(days, used, &n);
	notice_validation(goal, days, first_held, share);
	check_keys(goal, used, n);
	source = pe_source_open(pe_goal_training_query(goal, days, used, n), "goal");
	source->text = describe(goal, used, n);
	source->name = psprintf("the training set of goal \"%s\"", goal->name);
	pe_goal_warn_changes(goal, days, request->options);
	request->goal = goal;
	request->source = source;
	request->target = PE_OUTCOME_COLUMN;
	request->learnt_until = learnt_until(used, n, request->options);
	request->options = with_options(goal, request->options, first_held);
}

static void
need_rows(const PeGoal *goal, int64 happened, int64 not_happened, const char *which)
{
	int64 fewer = Min(happened, not_happened);

	if (fewer >= goal->minimum)
		return;
	ereport(ERROR,
	        (errcode(ERRCODE_DATA_EXCEPTION), errmsg("too few outcomes to train on goal \"%s\"", goal->name),
	         errdetail("Of the rows %s the outcome is true for " INT64_FORMAT " and false for " INT64_FORMAT
	                   "; at least %d of each are needed.",
	                   which, happened, not_happened, goal->minimum),
	         errhint("Wait for more anchor days, make the window longer or the condition wider; "
	                 "profenrich.goal_counts shows the outcomes of each day. The goal's option \"minimum\" "
	                 "lowers the bound.")));
}

void
pe_goal_check_rows(const PeGoal *goal, int64 happened, int64 not_happened, int64 held_happened,
                   int64 held_not_happened)
{
	bool by_time = held_happened + held_not_happened > 0;

	need_rows(goal, happened - held_happened, not_happened - held_not_happened,
	          by_time ? "learnt from" : "of the training set");
	if (by_time)
		need_rows(goal, held_happened, held_not_happened, "held out");
}
