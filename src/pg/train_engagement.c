/*
 * train_engagement.c
 *		train() for the task engagement: rules for points, and how the customers of one
 *		moment are spread over them.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "pg/engagement.h"
#include "pg/evaluation.h"
#include "pg/json_options.h"
#include "pg/lifetime.h"
#include "pg/progress.h"
#include "pg/report.h"
#include "pg/train.h"
#include "pg/train_figures.h"

#define VALID_OPTIONS                                                                                        \
	"key, time, type, count, weights, other_weight, half_life, daily_cap, window, as_of, tiers, consent, "   \
	"deploy"

typedef struct Training
{
	pe_engagement_rules rules;
	TimestampTz as_of;
	bool deploy;
	bool weights_given;
	bool other_given;
} Training;

/* ---- options ------------------------------------------------------------------------------ */

static char *
need_text(const char *name, const JsonbValue *value, const char *expected)
{
	if (value->type != jbvString || value->val.string.len == 0)
		pe_raise_bad_option(name, expected);
	return pnstrdup(value->val.string.val, value->val.string.len);
}

static double
need_number(const char *name, const JsonbValue *value, double least, double most, const char *expected)
{
	double number = NAN;

	if (value->type == jbvNumeric)
		number = DatumGetFloat8(
		    DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(value->val.numeric)));
	if (!(number >= least && number <= most))
		pe_raise_bad_option(name, expected);
	return number;
}

/* An object of names and numbers, in the object's order. */
static int
need_pairs(const char *name, const JsonbValue *value, int most, double least, double highest,
           const char *expected, char ***names, double **numbers)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue part;
	int n = 0;

	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data) ||
	    JsonContainerSize(value->val.binary.data) > most)
		pe_raise_bad_option(name, expected);
	*names = palloc(sizeof(char *) * most);
	*numbers = palloc(sizeof(double) * most);
	iterator = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &part, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			(*names)[n] = pnstrdup(part.val.string.val, part.val.string.len);
		else if (token == WJB_VALUE)
			(*numbers)[n++] = need_number(name, &part, least, highest, expected);
	}
	for (int i = 0; i < n; i++)
	{
		if (strlen((*names)[i]) == 0 || strlen((*names)[i]) > PE_MAX_NAME)
			pe_raise_bad_option(name, expected);
	}
	return n;
}

/* By the percentile above which they begin, the first at 0. */
static void
set_tiers(Training *training, const JsonbValue *value)
{
	static const char expected[] = "an object of at most 20 names and different percentiles above which they "
	                               "begin, one of them 0: {\"low\": 0, \"high\": 80}";
	pe_engagement_rules *rules = &training->rules;

	rules->n_tiers =
	    need_pairs("tiers", value, PE_MAX_TIERS, 0, 99, expected, &rules->tiers, &rules->tier_above);
	for (int i = 1; i < rules->n_tiers; i++)
		for (int k = i; k > 0 && rules->tier_above[k] < rules->tier_above[k - 1]; k--)
		{
			double above = rules->tier_above[k];
			char *tier = rules->tiers[k];

			rules->tier_above[k] = rules->tier_above[k - 1];
			rules->tiers[k] = rules->tiers[k - 1];
			rules->tier_above[k - 1] = above;
			rules->tiers[k - 1] = tier;
		}
	if (rules->n_tiers < 1 || rules->tier_above[0] != 0)
		pe_raise_bad_option("tiers", expected);
	for (int i = 1; i < rules->n_tiers; i++)
	{
		if (rules->tier_above[i] == rules->tier_above[i - 1])
			pe_raise_bad_option("tiers", expected);
	}
}

static void
set_option(void *arg, const char *name, const JsonbValue *value)
{
	Training *training = arg;
	static const char *const columns[] = {"key", "time", "type", "count"};
	pe_engagement_rules *rules = &training->rules;

	for (int i = 0; i < PE_ENGAGEMENT_COLUMNS; i++)
	{
		if (strcmp(name, columns[i]) != 0)
			continue;
		rules->columns[i] = need_text(name, value, "a text, the name of a column");
		return;
	}
	if (strcmp(name, "weights") == 0)
	{
		rules->n_types = need_pairs(name, value, PE_MAX_EVENT_TYPES, -1e9, 1e9,
		                            "an object of at most 1000 types and what an event of each is worth: "
		                            "{\"open\": 1, \"purchase\": 10}",
		                            &rules->types, &rules->weights);
		training->weights_given = true;
	}
	else if (strcmp(name, "other_weight") == 0)
	{
		rules->other_weight = need_number(name, value, -1e9, 1e9, "a number");
		training->other_given = true;
	}
	else if (strcmp(name, "half_life") == 0)
		rules->half_life =
		    pe_unit_days(need_text(name, value, "an interval, such as \"30 days\""), "option \"half_life\"");
	else if (strcmp(name, "window") == 0)
		rules->window =
		    pe_unit_days(need_text(name, value, "an interval, such as \"90 days\""), "option \"window\"");
	else if (strcmp(name, "daily_cap") == 0)
		rules->daily_cap = need_number(name, value, 0, 1e9, "a number of at least 0; 0 is no cap");
	else if (strcmp(name, "as_of") == 0)
	{
		training->as_of = DatumGetTimestampTz(
		    pe_option_input(name, need_text(name, value, "a date and time"), timestamptz_in));
		if (TIMESTAMP_NOT_FINITE(training->as_of))
			pe_raise_bad_option(name, "a finite date and time");
	}
	else if (strcmp(name, "tiers") == 0)
		set_tiers(training, value);
	else if (strcmp(name, "deploy") == 0)
	{
		if (value->type != jbvBool)
			pe_raise_bad_option(name, "true or false");
		training->deploy = value->val.boolean;
	}
	else
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("unknown option \"%s\" for algorithm decayed_points", name),
		                errhint("Valid options are " VALID_OPTIONS ".")));
}

static void
read_options(Training *training, Jsonb *json)
{
	if (json == NULL)
		return;
	if (!JB_ROOT_IS_OBJECT(json))
		ereport(
		    ERROR,
		    (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("options must be a jsonb object"),
		     errhint("For example '{\"key\": \"crm_id\", \"time\": \"at\", \"half_life\": \"30 days\"}'.")));
	pe_each_option(&json->root, set_option, training);
}

static Training *
parse_options(PeTrainRequest *request)
{
	static char *default_tiers[] = {"low", "medium", "high", "top"};
	static double default_above[] = {0, 50, 80, 95};
	Training *training = palloc0(sizeof(Training));
	pe_engagement_rules *rules = &training->rules;

	(void) pe_train_algorithm(request, PE_ALGORITHM_DECAYED_POINTS);
	if (request->target != NULL)
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the task engagement has no target"),
		         errhint("Leave out target; options say what an event is worth: weights, half_life.")));
	rules->half_life = 30;
	rules->window = 90;
	rules->daily_cap = 20;
	rules->tiers = default_tiers;
	rules->tier_above = default_above;
	rules->n_tiers = lengthof(default_tiers);
	for (int i = 0; i < PE_ENGAGEMENT_COLUMNS; i++)
		rules->columns[i] = "";
	training->deploy = true;
	training->as_of = GetCurrentTransactionStartTimestamp();
	read_options(training, request->options);
	if (rules->columns[0][0] == '\0' || rules->columns[1][0] == '\0')
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("options \"key\" and \"time\" are required"),
		                errhint("Name the columns that say who did something, and when.")));
	if (training->weights_given && rules->columns[2][0] == '\0')
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("option \"weights\" needs option \"type\""),
		         errhint("Name the column with the type of an event.")));
	/* Without weights every event is worth the same. */
	if (!training->weights_given && !training->other_given)
		rules->other_weight = 1;
	return training;
}

/* ---- storing ------------------------------------------------------------------------------ */

static int
store(PeTrainRequest *request, const Training *training, const pe_activity *activity, const pe_model *model,
      uint64 events)
{
	const pe_engagement_rules *rules = &training->rules;
	PeNewVersion version = pe_new_version(request);
	uint32_t customers = pe_activity_customers(activity);
	double active = rint(pe_model_base_rate(model) * customers);
	PeFigures figures;

	version.algorithm = PE_ALGORITHM_DECAYED_POINTS;
	version.objective = "points";
	version.key = rules->columns[0];
	version.rows = (int64) events;
	version.verdict =
	    psprintf("Not evaluated: points by stated rules; %.0f of %u customers have some as of %s.", active,
	             customers, timestamptz_to_str(training->as_of));
	version.quality = pe_verdict_name(PE_VERDICT_NOT_EVALUATED);
	version.memory = (int64) pe_activity_bytes(activity);
	version.deploy = training->deploy;
	version.features_json =
	    "[{\"name\": \"points\", \"column\": \"points\", \"treatment\": \"number\", \"levels\": 0, "
	    "\"used\": true, \"splits\": 0, \"gain\": null, \"mean_contribution\": null}]";
	pe_figures_begin(&figures);
	pe_figures_say(&figures, "verdict", version.verdict);
	pe_figures_add(&figures, "customers", customers, "customers with an event up to as_of");
	pe_figures_add(&figures, "active", active,
	               "of them with points above 0: the score is their rank among these");
	pe_figures_add(&figures, "median_points", pe_model_points_at(model, 0.5), "half of the active have more");
	for (int i = 1; i < rules->n_tiers; i++)
		pe_figures_add(&figures, psprintf("tier %s", rules->tiers[i]),
		               pe_model_points_at(model, rules->tier_above[i] / 100),
		               psprintf("points where the tier begins, above percentile %g", rules->tier_above[i]));
	pe_figures_add(&figures, "half_life_days", rules->half_life, "after which an event counts half");
	pe_figures_add(&figures, "window_days", rules->window, "after which it does not count; 0: never");
	pe_figures_add(&figures, "daily_cap", rules->daily_cap,
	               "events of one type and day (UTC) that count; 0: all");
	version.metrics_json = pe_figures_metrics(&figures);
	version.evaluation_json = pe_figures_evaluation(&figures, NULL);
	return pe_store_version(request, &version, model);
}

PeTrained
pe_train_engagement(PeTrainRequest *request)
{
	Training *training = parse_options(request);
	PeFeature points = {.name = "points", .treatment = PE_TREAT_NUMBER, .column = "points"};
	pe_feature_spec spec = {"points", pe_feature_encode(&points), PE_FEATURE_NUMERIC};
	PeTrained trained = {.algorithm = PE_ALGORITHM_DECAYED_POINTS, .features = 1, .metric = "active"};
	pe_activity *activity;
	pe_model *model;
	uint64 events;
	pe_error error;

	activity = pe_read_events(&request->env, request->source, &training->rules, training->as_of, &events);
	pe_enter_phase(&request->timing, "fit");
	pe_check(pe_engagement_train(&request->env, activity, &spec, &model, &error), &error);
	trained.version = store(request, training, activity, model, events);
	trained.rows = (int64) events;
	trained.headline = rint(pe_model_base_rate(model) * pe_activity_customers(activity));
	trained.quality = pe_verdict_name(PE_VERDICT_NOT_EVALUATED);
	return trained;
}
