/*
 * train_options.c
 *		The jsonb argument options of train().
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/numeric.h"

#include "pg/guc.h"
#include "pg/json_options.h"
#include "pg/report.h"
#include "pg/train.h"

#define OUR_OPTIONS "key, weight, features, positive, threshold, consent, deploy"

static char *
need_text(const char *name, const JsonbValue *value)
{
	if (value->type != jbvString || value->val.string.len == 0)
		pe_raise_bad_option(name, "a text, the name of a column");
	return pe_scalar_text(value);
}

/* A list of column names, or one of them. */
static List *
need_names(const char *name, const JsonbValue *value)
{
	List *list = NIL;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue element;

	if (value->type == jbvString)
		return list_make1(need_text(name, value));
	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		pe_raise_bad_option(name, "a list of column names");
	iterator = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &element, true)) != WJB_DONE)
	{
		if (token == WJB_ELEM)
			list = lappend(list, need_text(name, &element));
	}
	return list;
}

static void
set_treatment(void *arg, const char *column, const JsonbValue *value)
{
	PeTrainOptions *options = arg;
	PeWantedTreatment *wanted = palloc(sizeof(PeWantedTreatment));
	char *text = pe_scalar_text(value);

	wanted->column = column;
	wanted->treatment = text != NULL ? pe_treatment_from_name(text) : (PeTreatment) 0;
	if (wanted->treatment == 0 || wanted->treatment == PE_TREAT_KEY_TEXT)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("unknown treatment for column \"%s\"", column),
		                errhint("Valid treatments are number, boolean, category, age, keys, segments, "
		                        "segment_days, list and length.")));
	options->treatments = lappend(options->treatments, wanted);
}

static void
set_monotone(void *arg, const char *feature, const JsonbValue *value)
{
	PeTrainOptions *options = arg;
	char *direction = pe_scalar_text(value);
	pe_error error;

	if (direction == NULL)
		pe_raise_bad_option("monotone",
		                    "an object of features and directions, such as {\"tenure\": \"decreasing\"}");
	pe_check(pe_options_set_monotone(&options->core, feature, direction, &error), &error);
}

static void
set_feature_option(void *arg, const char *name, const JsonbValue *value)
{
	PeTrainOptions *options = arg;
	if (strcmp(name, "include") == 0)
		options->include = need_names("features.include", value);
	else if (strcmp(name, "exclude") == 0)
		options->exclude = need_names("features.exclude", value);
	else if (strcmp(name, "treatment") == 0)
	{
		if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
			pe_raise_bad_option("features.treatment",
			                    "an object of columns and treatments, such as {\"zip\": \"category\"}");
		pe_each_option(value->val.binary.data, set_treatment, options);
	}
	else
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown option \"features.%s\"", name),
		         errhint("Valid are include, exclude and treatment.")));
}

static void
set_core_option(PeTrainOptions *options, const char *name, const JsonbValue *value)
{
	char *text = pe_scalar_text(value);
	pe_error error;

	if (!pe_options_known(options->core.algorithm, name))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("unknown option \"%s\" for algorithm %s", name,
		                       pe_algorithm_name(options->core.algorithm)),
		                errhint("Valid options are " OUR_OPTIONS "%s, %s.",
		                        options->core.algorithm == PE_ALGORITHM_KMEANS ? "" : ", refit, search",
		                        pe_options_names(options->core.algorithm))));
	if (text == NULL)
		pe_raise_bad_option(name, "a single value");
	pe_check(pe_options_set(&options->core, name, text, &error), &error);
}

static bool
need_bool(const char *name, const JsonbValue *value)
{
	if (value->type != jbvBool)
		pe_raise_bad_option(name, "true or false");
	return value->val.boolean;
}

/* {"from": "2026-10-01", "column": "snapshot_date"} */
static void
set_holdout_option(void *arg, const char *name, const JsonbValue *value)
{
	PeTrainOptions *options = arg;
	if (strcmp(name, "from") == 0)
	{
		if (value->type != jbvString)
			pe_raise_bad_option("holdout.from", "a date or time, such as \"2026-10-01\"");
		options->holdout_from = pe_scalar_text(value);
	}
	else if (strcmp(name, "column") == 0)
		options->holdout_column = need_text("holdout.column", value);
	else
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown option \"holdout.%s\"", name),
		         errhint("Valid are from and column.")));
}

static void
set_option(void *arg, const char *name, const JsonbValue *value)
{
	PeTrainOptions *options = arg;
	if (strcmp(name, "key") == 0)
		options->key = need_text(name, value);
	else if (strcmp(name, "weight") == 0)
		options->weight = need_text(name, value);
	else if (strcmp(name, "positive") == 0)
	{
		options->positive = pe_scalar_text(value);
		if (options->positive == NULL)
			pe_raise_bad_option(name, "the value of the target that counts as positive");
	}
	else if (strcmp(name, "threshold") == 0)
	{
		if (value->type == jbvNumeric)
			options->threshold = DatumGetFloat8(
			    DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(value->val.numeric)));
		if (value->type != jbvNumeric || !(options->threshold > 0 && options->threshold < 1))
			pe_raise_bad_option(name, "a number between 0 and 1");
	}
	else if (strcmp(name, "deploy") == 0)
		options->deploy = need_bool(name, value);
	else if (strcmp(name, "refit") == 0)
		options->refit = need_bool(name, value);
	else if (strcmp(name, "search") == 0)
		return; /* once the others are known */
	else if (strcmp(name, "holdout") == 0 && value->type == jbvBinary)
	{
		if (!JsonContainerIsObject(value->val.binary.data))
			pe_raise_bad_option(name, "a share, or an object such as {\"from\": \"2026-10-01\"}");
		pe_each_option(value->val.binary.data, set_holdout_option, options);
		if (options->holdout_from == NULL)
			pe_raise_bad_option(name, "a share, or an object such as {\"from\": \"2026-10-01\"}");
	}
	else if (strcmp(name, "features") == 0)
	{
		if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
			pe_raise_bad_option(name, "an object with include, exclude or treatment");
		pe_each_option(value->val.binary.data, set_feature_option, options);
	}
	else if (strcmp(name, "monotone") == 0 && pe_options_known(options->core.algorithm, name))
	{
		if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
			pe_raise_bad_option(name,
			                    "an object of features and directions, such as {\"tenure\": \"decreasing\"}");
		pe_each_option(value->val.binary.data, set_monotone, options);
	}
	else
		set_core_option(options, name, value);
}

/* Held-out rows and what is done with them need a target. */
static void
check_task(const PeTrainOptions *options, pe_task task, bool searches)
{
	bool supervised = task == PE_TASK_PROPENSITY || task == PE_TASK_VALUE || task == PE_TASK_AFFINITY;

	if (!supervised && (options->refit || options->holdout_from != NULL || searches))
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("option \"%s\" does not apply to task %s",
		                                                          options->refit                  ? "refit"
		                                                          : options->holdout_from != NULL ? "holdout"
		                                                                                          : "search",
		                                                          pe_task_name(task))));
}

/* What only makes sense together, or not at all. */
static void
check_together(const PeTrainOptions *options, pe_algorithm algorithm)
{
	if (algorithm == PE_ALGORITHM_TWO_PART && (options->refit || options->search != NULL))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
		                errmsg("option \"%s\" is not available for algorithm two_part",
		                       options->refit ? "refit" : "search"),
		                errhint("Use it with boosted_trees; the objective tweedie also takes values that are "
		                        "0 for many.")));
	if (options->refit && options->holdout_from == NULL && !(options->core.holdout > 0))
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("option \"refit\" needs held-out rows"),
		         errhint("Leave out refit: with \"holdout\": 0 the model learns from all rows anyway.")));
}

PeTrainOptions
pe_train_options(Jsonb *json, pe_task task, pe_algorithm algorithm)
{
	PeTrainOptions options = {.threshold = 0.5, .deploy = true};
	pe_error error;
	JsonbValue search;
	bool searches;

	/* Both parts are boosted trees. */
	pe_options_init(&options.core,
	                algorithm == PE_ALGORITHM_TWO_PART ? PE_ALGORITHM_BOOSTED_TREES : algorithm);
	options.core.threads = pe_threads;
	if (json == NULL)
		return options;
	if (!JB_ROOT_IS_OBJECT(json))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("options must be a jsonb object"),
		                errhint("For example '{\"key\": \"crm_id\", \"trees\": 200}'.")));
	pe_each_option(&json->root, set_option, &options);
	pe_check(pe_options_check(&options.core, &error), &error);
	/* One session does not take more threads than the setting allows. */
	options.core.threads = Min(options.core.threads, pe_threads);
	searches = getKeyJsonValueFromContainer(&json->root, "search", strlen("search"), &search) != NULL;
	check_task(&options, task, searches);
	if (searches)
		options.search = pe_search_options(&search, task, &options.core);
	options.core.keeps_rows = options.refit || options.search != NULL || algorithm == PE_ALGORITHM_TWO_PART;
	check_together(&options, algorithm);
	return options;
}
