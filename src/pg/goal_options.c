/*
 * goal_options.c
 *		The options of a goal, and what its columns must be like.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/typcache.h"

#include "pg/expression.h"
#include "pg/features.h"
#include "pg/goal.h"
#include "pg/json_options.h"
#include "pg/train.h"

#define MAX_EVERY 3650

/* The elements of a list of texts, or the text itself, as char *. */
static List *
need_texts(const char *name, const JsonbValue *value, const char *expected)
{
	List *texts = NIL;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue element;

	if (value->type == jbvString)
		return list_make1(pe_scalar_text(value));
	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		pe_raise_bad_option(name, expected);
	iterator = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &element, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		if (element.type != jbvString || element.val.string.len == 0)
			pe_raise_bad_option(name, expected);
		texts = lappend(texts, pe_scalar_text(&element));
	}
	return texts;
}

static char *
need_text(const char *name, const JsonbValue *value, const char *expected)
{
	if (value->type != jbvString || value->val.string.len == 0)
		pe_raise_bad_option(name, expected);
	return pe_scalar_text(value);
}

static int
need_count(const char *name, const JsonbValue *value, int most, const char *expected)
{
	double number = -1;

	if (value->type == jbvNumeric)
		number = DatumGetFloat8(
		    DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(value->val.numeric)));
	if (!(number >= 0 && number <= most && number == floor(number)))
		pe_raise_bad_option(name, expected);
	return (int) number;
}

static DateADT
parse_date(const char *name, const char *text)
{
	DateADT day = DatumGetDateADT(pe_option_input(name, text, date_in));

	if (DATE_NOT_FINITE(day))
		pe_raise_bad_option(name, "a date, such as \"2026-10-01\"");
	return day;
}

/* ---- options of options ------------------------------------------------------------------ */

static void
read_events(void *arg, const char *name, const JsonbValue *value)
{
	PeGoal *goal = arg;
	if (strcmp(name, "source") == 0)
		goal->events =
		    pe_source_open(need_text("events.source", value, "a table, view or SELECT"), "events.source");
	else if (strcmp(name, "key") == 0)
		goal->events_key = need_text("events.key", value, "the name of a column");
	else if (strcmp(name, "time") == 0)
		goal->events_time = need_text("events.time", value, "the name of a column");
	else
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown option \"events.%s\"", name),
		         errhint("Valid are source, key and time.")));
}

static void
read_history(void *arg, const char *column, const JsonbValue *value)
{
	PeGoal *goal = arg;
	static const char expected[] = "an object of columns and lists, such as {\"spend\": [\"delta 7\", "
	                               "\"trend 30\", \"mean 30\", \"days since "
	                               "change 90\", \"days since active 90\"]}";
	List *texts = need_texts("history", value, expected);
	ListCell *cell;

	foreach (cell, texts)
	{
		PeHistoryFeature *feature = palloc0(sizeof(PeHistoryFeature));

		feature->column = pstrdup(column);
		if (!pe_history_parse(lfirst(cell), &feature->kind, &feature->days))
			pe_raise_bad_option("history", expected);
		feature->name = pe_history_name(column, feature->kind, feature->days);
		goal->history = lappend(goal->history, feature);
	}
}

/* The join that is being read is the last of the list. */
static void
read_join(void *arg, const char *name, const JsonbValue *value)
{
	PeGoal *goal = arg;
	PeGoalJoin *join = llast(goal->joins);

	if (strcmp(name, "source") == 0)
		join->source =
		    pe_source_open(need_text("join.source", value, "a table, view or SELECT"), "join.source");
	else if (strcmp(name, "key") == 0)
		join->key = need_text("join.key", value, "the name of a column");
	else if (strcmp(name, "date") == 0)
		join->date = need_text("join.date", value, "the name of a column");
	else
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown option \"join.%s\"", name),
		                errhint("Valid are source, key and date.")));
}

static void
read_joins(PeGoal *goal, const JsonbValue *value)
{
	static const char expected[] = "an object with source, key and date, or a list of them: {\"source\": "
	                               "\"event_features\", \"key\": \"crm_id\", "
	                               "\"date\": \"snapshot_date\"}";
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue element;

	if (value->type != jbvBinary)
		pe_raise_bad_option("join", expected);
	if (JsonContainerIsObject(value->val.binary.data))
	{
		goal->joins = lappend(goal->joins, palloc0(sizeof(PeGoalJoin)));
		pe_each_option(value->val.binary.data, read_join, goal);
		return;
	}
	iterator = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &element, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		if (element.type != jbvBinary || !JsonContainerIsObject(element.val.binary.data))
			pe_raise_bad_option("join", expected);
		goal->joins = lappend(goal->joins, palloc0(sizeof(PeGoalJoin)));
		pe_each_option(element.val.binary.data, read_join, goal);
	}
}

static void
read_absent(PeGoal *goal, const JsonbValue *value)
{
	static const char *const names[] = {"leave_out", "happened", "not_happened"};
	char *text = pe_scalar_text(value);

	for (int i = 0; i < lengthof(names) && text != NULL; i++)
	{
		if (strcmp(text, names[i]) != 0)
			continue;
		goal->absent = (PeGoalAbsent) i;
		return;
	}
	pe_raise_bad_option("absent", "\"leave_out\", \"happened\" or \"not_happened\"");
}

static void
read_anchors(PeGoal *goal, const JsonbValue *value)
{
	static const char expected[] = "a list of dates, such as [\"2026-09-01\", \"2026-10-01\"]";
	List *texts = need_texts("anchors", value, expected);
	ListCell *cell;

	foreach (cell, texts)
		goal->dates = lappend_int(goal->dates, parse_date("anchors", lfirst(cell)));
	if (goal->dates == NIL)
		pe_raise_bad_option("anchors", expected);
}

static void
read_more_outcomes(PeGoal *goal, const char *name, const JsonbValue *value)
{
	static const char expected[] = "a list of conditions, such as [\"plan = 'free'\"]";

	if (list_length(goal->outcomes) > 1)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("options \"all\" and \"any\" exclude each other"),
		                errhint("Write one of them as a single condition with AND or OR.")));
	goal->all = strcmp(name, "all") == 0;
	goal->outcomes = list_concat(goal->outcomes, need_texts(name, value, expected));
}

static void
read_option(void *arg, const char *name, const JsonbValue *value)
{
	PeGoal *goal = arg;
	if (strcmp(name, "all") == 0 || strcmp(name, "any") == 0)
		read_more_outcomes(goal, name, value);
	else if (strcmp(name, "happens") == 0)
	{
		if (value->type != jbvBool)
			pe_raise_bad_option(name, "true (will it happen?) or false (will it not?)");
		goal->happens = value->val.boolean;
	}
	else if (strcmp(name, "absent") == 0)
		read_absent(goal, value);
	else if (strcmp(name, "anchors") == 0)
		read_anchors(goal, value);
	else if (strcmp(name, "every") == 0)
	{
		goal->every = need_count(name, value, MAX_EVERY, "a number of days from 1 to 3650");
		if (goal->every == 0)
			pe_raise_bad_option(name, "a number of days from 1 to 3650");
	}
	else if (strcmp(name, "from") == 0)
		goal->from = parse_date(name, need_text(name, value, "a date, such as \"2026-10-01\""));
	else if (strcmp(name, "until") == 0)
		goal->until = parse_date(name, need_text(name, value, "a date, such as \"2026-10-01\""));
	else if (strcmp(name, "minimum") == 0)
		goal->minimum = need_count(name, value, PG_INT32_MAX, "a number of rows");
	else if (strcmp(name, "tolerance") == 0)
		goal->tolerance = need_count(name, value, MAX_EVERY, "a number of days from 0 to 3650");
	else if (strcmp(name, "join") == 0)
		read_joins(goal, value);
	else if (strcmp(name, "events") == 0 || strcmp(name, "history") == 0)
	{
		bool events = name[0] == 'e';

		if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
			pe_raise_bad_option(
			    name, events ? "an object with source, key and time"
			                 : "an object of columns and lists, such as {\"spend\": [\"delta 7\"]}");
		pe_each_option(value->val.binary.data, events ? read_events : read_history, goal);
	}
	else
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown option \"%s\" for a goal", name),
		         errhint("Valid options are all, any, happens, absent, events, anchors, every, from, until, "
		                 "history, join, minimum and tolerance.")));
}

void
pe_goal_options(PeGoal *goal, Jsonb *options)
{
	goal->from = DATEVAL_NOBEGIN;
	goal->until = DATEVAL_NOEND;
	goal->happens = true;
	goal->minimum = 50;
	goal->tolerance = -1;
	if (options == NULL)
		return;
	if (!JB_ROOT_IS_OBJECT(options))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("options must be a jsonb object"),
		                errhint("For example '{\"history\": {\"spend\": [\"delta 7\"]}}'.")));
	pe_each_option(&options->root, read_option, goal);
	if (goal->dates != NIL &&
	    (goal->every > 0 || !DATE_NOT_FINITE(goal->from) || !DATE_NOT_FINITE(goal->until)))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("option \"anchors\" excludes \"every\", \"from\" and \"until\"")));
	if (goal->events != NULL && goal->tolerance >= 0)
		ereport(
		    ERROR,
		    (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		     errmsg("option \"tolerance\" does not apply to outcomes among events"),
		     errhint(
		         "Events are known up to the day before the newest one, whichever days have snapshots.")));
	if (goal->events != NULL && goal->absent != PE_ABSENT_LEAVE_OUT)
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		         errmsg("option \"absent\" does not apply to outcomes among events"),
		         errhint("A profile without such an event counts as one to which it did not happen.")));
}

/* ---- columns ----------------------------------------------------------------------------- */

static void
check_expressions(PeGoal *goal)
{
	PeExpression expression = {
	    .hint = "Give a condition on one row: \"churned\" or \"plan = 'free' AND spend = 0\".",
	    .comparison = "\"plan = 'free'\"",
	};
	ListCell *cell;

	foreach (cell, goal->outcomes)
	{
		expression.text = lfirst(cell);
		expression.role = foreach_current_index(cell) == 0 ? "argument \"outcome\""
		                  : goal->all                      ? "option \"all\""
		                                                   : "option \"any\"";
		if (goal->events != NULL)
			(void) pe_expression_check(goal->events, &expression);
		else
			goal->outcome_columns =
			    bms_add_members(goal->outcome_columns, pe_expression_check(goal->snapshots, &expression));
	}
	if (goal->eligible == NULL)
		return;
	expression.text = goal->eligible;
	expression.role = "argument \"eligible\"";
	(void) pe_expression_check(goal->snapshots, &expression);
}

/* The column's type; raises when it is not there. */
static Oid
need_column(const PeSource *source, const char *column, const char *role)
{
	return getBaseType(TupleDescAttr(source->desc, pe_source_need_column(source, column, role))->atttypid);
}

static void
need_date(const PeSource *source, const char *column, const char *role)
{
	Oid type = need_column(source, column, role);

	if (type != DATEOID)
		ereport(ERROR,
		        (errcode(ERRCODE_DATATYPE_MISMATCH),
		         errmsg("column \"%s\" of %s is %s, not date", column, source->name, format_type_be(type))));
}

static void
check_events(PeGoal *goal)
{
	if (goal->events == NULL || goal->events_key == NULL || goal->events_time == NULL)
		pe_raise_bad_option("events", "an object with source, key and time");
	(void) need_column(goal->events, goal->events_key, "events.key");
	goal->events_time_type = need_column(goal->events, goal->events_time, "events.time");
	if (goal->events_time_type != DATEOID && goal->events_time_type != TIMESTAMPOID &&
	    goal->events_time_type != TIMESTAMPTZOID)
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
		                errmsg("column \"%s\" of %s is %s, not a date or timestamp", goal->events_time,
		                       goal->events->name, format_type_be(goal->events_time_type))));
}

static void
check_history(PeGoal *goal)
{
	ListCell *cell;

	foreach (cell, goal->history)
	{
		PeHistoryFeature *feature = lfirst(cell);
		Oid type = need_column(goal->snapshots, feature->column, "option \"history\"");
		bool number = pe_treatment_of_type(type) == PE_TREAT_NUMBER;
		TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_EQ_OPR);

		feature->boolean = type == BOOLOID;
		if (number || (feature->boolean && feature->kind == PE_HISTORY_SINCE_ACTIVE) ||
		    (OidIsValid(entry->eq_opr) && feature->kind == PE_HISTORY_SINCE_CHANGE))
			continue;
		ereport(ERROR,
		        (errcode(ERRCODE_DATATYPE_MISMATCH),
		         errmsg("option \"history\": column \"%s\" is %s, which has no \"%s\"", feature->column,
		                format_type_be(type), feature->name + strlen(feature->column) + 1),
		         errhint("Columns of numbers have all kinds, booleans days since active and days since "
		                 "change, others days since change.")));
	}
}

static void
add_name(List **names, const char *name)
{
	ListCell *cell;

	if (strlen(name) >= NAMEDATALEN)
		ereport(ERROR, (errcode(ERRCODE_NAME_TOO_LONG),
		                errmsg("feature \"%s\" would have a name longer than 63 bytes", name),
		                errhint("Rename the column in a view.")));
	foreach (cell, *names)
	{
		if (strcmp(lfirst(cell), name) == 0)
			ereport(ERROR, (errcode(ERRCODE_DUPLICATE_COLUMN),
			                errmsg("the training set would have two columns \"%s\"", name),
			                errhint("Rename one of them in a view, or leave it out there.")));
	}
	*names = lappend(*names, pstrdup(name));
}

/* No two columns of the training set may have one name. */
static void
check_names(const PeGoal *goal)
{
	List *names = list_make1(pstrdup(PE_OUTCOME_COLUMN));
	ListCell *cell;

	for (int i = 0; i < goal->snapshots->desc->natts; i++)
		add_name(&names, NameStr(TupleDescAttr(goal->snapshots->desc, i)->attname));
	foreach (cell, goal->history)
		add_name(&names, ((PeHistoryFeature *) lfirst(cell))->name);
	foreach (cell, goal->joins)
	{
		const PeGoalJoin *join = lfirst(cell);

		for (int i = 0; i < join->source->desc->natts; i++)
		{
			const char *name = NameStr(TupleDescAttr(join->source->desc, i)->attname);

			if (strcmp(name, join->key) != 0 && strcmp(name, join->date) != 0)
				add_name(&names, name);
		}
	}
}

void
pe_goal_check(PeGoal *goal)
{
	PeGoalDays days = {0};
	PeAnchor anchor;
	ListCell *cell;

	need_date(goal->snapshots, PE_SNAPSHOT_COLUMN, "the day of a snapshot");
	(void) need_column(goal->snapshots, goal->key, "key");
	if (goal->events != NULL || goal->events_key != NULL || goal->events_time != NULL)
		check_events(goal);
	foreach (cell, goal->joins)
	{
		const PeGoalJoin *join = lfirst(cell);

		if (join->source == NULL || join->key == NULL || join->date == NULL)
			pe_raise_bad_option("join", "an object with source, key and date");
		(void) need_column(join->source, join->key, "join.key");
		need_date(join->source, join->date, "join.date");
	}
	check_expressions(goal);
	check_history(goal);
	check_names(goal);
	/* Whatever else is wrong shows when the query is described. */
	anchor = pe_goal_anchor(goal, &days, 0);
	(void) pe_source_open(pe_goal_training_query(goal, &days, &anchor, 1), "goal");
}
