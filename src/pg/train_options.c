/*
 * train_options.c
 *		The jsonb argument options of train().
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/numeric.h"

#include "pg/guc.h"
#include "pg/report.h"
#include "pg/train.h"

#define OUR_OPTIONS "key, weight, features, positive, threshold, deploy"

static void
pg_attribute_noreturn() raise_bad_option(const char *name, const char *expected)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid value for option \"%s\"", name),
	                errhint("It must be %s.", expected)));
}

/* The text of a scalar as a user reads it; NULL for null and for what is none. */
static char *
scalar_text(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
		case jbvBool:
			return pstrdup(value->val.boolean ? "true" : "false");
		default:
			return NULL;
	}
}

static char *
need_text(const char *name, const JsonbValue *value)
{
	if (value->type != jbvString || value->val.string.len == 0)
		raise_bad_option(name, "a text, the name of a column");
	return scalar_text(value);
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
		raise_bad_option(name, "a list of column names");
	iterator = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &element, true)) != WJB_DONE)
	{
		if (token == WJB_ELEM)
			list = lappend(list, need_text(name, &element));
	}
	return list;
}

/* Calls one for each pair of a jsonb object. */
static void
each_pair(JsonbContainer *object,
          void (*one)(PeTrainOptions *options, const char *name, const JsonbValue *value),
          PeTrainOptions *options)
{
	JsonbIterator *iterator = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue value;
	char *name = NULL;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(value.val.string.val, value.val.string.len);
		else if (token == WJB_VALUE && value.type != jbvNull)
			one(options, name, &value);
	}
}

static void
set_treatment(PeTrainOptions *options, const char *column, const JsonbValue *value)
{
	PeWantedTreatment *wanted = palloc(sizeof(PeWantedTreatment));
	char *text = scalar_text(value);

	wanted->column = column;
	wanted->treatment = text != NULL ? pe_treatment_from_name(text) : (PeTreatment) 0;
	if (wanted->treatment == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("unknown treatment for column \"%s\"", column),
		                errhint("Valid treatments are number, boolean, category, age and keys.")));
	options->treatments = lappend(options->treatments, wanted);
}

static void
set_monotone(PeTrainOptions *options, const char *feature, const JsonbValue *value)
{
	char *direction = scalar_text(value);
	pe_error error;

	if (direction == NULL)
		raise_bad_option("monotone",
		                 "an object of features and directions, such as {\"tenure\": \"decreasing\"}");
	pe_check(pe_options_set_monotone(&options->core, feature, direction, &error), &error);
}

static void
set_feature_option(PeTrainOptions *options, const char *name, const JsonbValue *value)
{
	if (strcmp(name, "include") == 0)
		options->include = need_names("features.include", value);
	else if (strcmp(name, "exclude") == 0)
		options->exclude = need_names("features.exclude", value);
	else if (strcmp(name, "treatment") == 0)
	{
		if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
			raise_bad_option("features.treatment",
			                 "an object of columns and treatments, such as {\"zip\": \"category\"}");
		each_pair(value->val.binary.data, set_treatment, options);
	}
	else
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown option \"features.%s\"", name),
		         errhint("Valid are include, exclude and treatment.")));
}

static void
set_core_option(PeTrainOptions *options, const char *name, const JsonbValue *value)
{
	char *text = scalar_text(value);
	pe_error error;

	if (strcmp(name, "refit") == 0)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("option \"refit\" is not available"),
		                errhint("The model that is deployed is the one that was evaluated; \"holdout\": 0 "
		                        "trains on all rows.")));
	if (!pe_options_known(options->core.algorithm, name))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("unknown option \"%s\" for algorithm %s", name,
		                       pe_algorithm_name(options->core.algorithm)),
		                errhint("Valid options are " OUR_OPTIONS ", %s.",
		                        pe_options_names(options->core.algorithm))));
	if (text == NULL)
		raise_bad_option(name, "a single value");
	pe_check(pe_options_set(&options->core, name, text, &error), &error);
}

static void
set_option(PeTrainOptions *options, const char *name, const JsonbValue *value)
{
	if (strcmp(name, "key") == 0)
		options->key = need_text(name, value);
	else if (strcmp(name, "weight") == 0)
		options->weight = need_text(name, value);
	else if (strcmp(name, "positive") == 0)
	{
		options->positive = scalar_text(value);
		if (options->positive == NULL)
			raise_bad_option(name, "the value of the target that counts as positive");
	}
	else if (strcmp(name, "threshold") == 0)
	{
		if (value->type == jbvNumeric)
			options->threshold = DatumGetFloat8(
			    DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(value->val.numeric)));
		if (value->type != jbvNumeric || !(options->threshold > 0 && options->threshold < 1))
			raise_bad_option(name, "a number between 0 and 1");
	}
	else if (strcmp(name, "deploy") == 0)
	{
		if (value->type != jbvBool)
			raise_bad_option(name, "true or false");
		options->deploy = value->val.boolean;
	}
	else if (strcmp(name, "features") == 0)
	{
		if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
			raise_bad_option(name, "an object with include, exclude or treatment");
		each_pair(value->val.binary.data, set_feature_option, options);
	}
	else if (strcmp(name, "monotone") == 0 && pe_options_known(options->core.algorithm, name))
	{
		if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
			raise_bad_option(name,
			                 "an object of features and directions, such as {\"tenure\": \"decreasing\"}");
		each_pair(value->val.binary.data, set_monotone, options);
	}
	else
		set_core_option(options, name, value);
}

PeTrainOptions
pe_train_options(Jsonb *json, pe_algorithm algorithm)
{
	PeTrainOptions options = {.threshold = 0.5, .deploy = true};
	pe_error error;

	pe_options_init(&options.core, algorithm);
	options.core.threads = pe_threads;
	if (json == NULL)
		return options;
	if (!JB_ROOT_IS_OBJECT(json))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("options must be a jsonb object"),
		                errhint("For example '{\"key\": \"crm_id\", \"trees\": 200}'.")));
	each_pair(&json->root, set_option, &options);
	pe_check(pe_options_check(&options.core, &error), &error);
	/* One session does not take more threads than the setting allows. */
	options.core.threads = Min(options.core.threads, pe_threads);
	return options;
}
