/*
 * train_search.c
 *		The option search of train(): what to try, trying it, and the trials for people to
 *		read.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/numeric.h"

#include "pg/evaluation.h"
#include "pg/json_options.h"
#include "pg/owner.h"
#include "pg/progress.h"
#include "pg/report.h"
#include "pg/training.h"

#define DEFAULT_TRIALS 20
#define DEFAULT_FOLDS  5

/* ---- what to try -------------------------------------------------------------------------- */

static double
number_of(const JsonbValue *value)
{
	if (value->type != jbvNumeric)
		return NAN;
	return DatumGetFloat8(
	    DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(value->val.numeric)));
}

static int
whole_number(const char *name, const JsonbValue *value, int least, int most)
{
	double number = number_of(value);

	if (!(number >= least && number <= most) || number != floor(number))
		pe_raise_bad_option(name, psprintf("a whole number from %d to %d", least, most));
	return (int) number;
}

/* Raises unless the option can have that value in a trial. */
static void
check_setting(const pe_options *options, const char *name, const char *setting)
{
	static const char *const fixed[] = {"holdout", "seed", "threads", "calibrate", "monotone"};
	pe_options tried = *options;
	pe_error error;

	for (int i = 0; i < lengthof(fixed); i++)
		if (strcmp(name, fixed[i]) == 0)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			                errmsg("option \"%s\" cannot be searched over", name),
			                errhint("It is the same for all trials: give it outside of search.")));
	pe_check(pe_options_set(&tried, name, setting, &error), &error);
}

static void
list_of_values(const pe_options *options, pe_search_dimension *dimension, JsonbContainer *array)
{
	JsonbIterator *iterator = JsonbIteratorInit(array);
	JsonbIteratorToken token;
	JsonbValue element;
	const char **values = palloc(sizeof(char *) * PE_SEARCH_TRIALS);

	while ((token = JsonbIteratorNext(&iterator, &element, true)) != WJB_DONE)
	{
		char *text;

		if (token != WJB_ELEM)
			continue;
		text = pe_scalar_text(&element);
		if (text == NULL || strlen(text) >= sizeof(((pe_trial *) 0)->settings[0]) ||
		    dimension->n_values == PE_SEARCH_TRIALS)
			pe_raise_bad_option(psprintf("search.space.%s", dimension->name), "a list of single values");
		check_setting(options, dimension->name, text);
		values[dimension->n_values++] = text;
	}
	dimension->values = values;
	if (dimension->n_values == 0)
		pe_raise_bad_option(psprintf("search.space.%s", dimension->name), "a list of single values");
}

/* {"from": 0.01, "to": 0.3, "scale": "log"} */
static void
range_of_values(const pe_options *options, pe_search_dimension *dimension, JsonbContainer *object)
{
	JsonbValue from, to, scale;
	pe_options tried = *options;
	pe_error error;
	bool known = getKeyJsonValueFromContainer(object, "from", strlen("from"), &from) != NULL &&
	             getKeyJsonValueFromContainer(object, "to", strlen("to"), &to) != NULL;
	int keys = 2;

	if (getKeyJsonValueFromContainer(object, "scale", strlen("scale"), &scale) != NULL)
	{
		char *text = pe_scalar_text(&scale);

		dimension->logarithmic = text != NULL && strcmp(text, "log") == 0;
		known = known && (dimension->logarithmic || (text != NULL && strcmp(text, "linear") == 0));
		keys++;
	}
	if (known)
	{
		dimension->from = number_of(&from);
		dimension->to = number_of(&to);
	}
	if (!known || JsonContainerSize(object) != keys || !(dimension->from < dimension->to) ||
	    (dimension->logarithmic && !(dimension->from > 0)))
		pe_raise_bad_option(psprintf("search.space.%s", dimension->name),
		                    "a list of values, or a range such as {\"from\": 0.01, \"to\": 0.3, \"scale\": "
		                    "\"log\"}");
	check_setting(options, dimension->name, pe_scalar_text(&from));
	check_setting(options, dimension->name, pe_scalar_text(&to));
	/* An option that takes no fraction is drawn whole. */
	dimension->whole =
	    dimension->from == floor(dimension->from) &&
	    pe_options_set(&tried, dimension->name, psprintf("%.17g", dimension->from + 0.5), &error) != PE_OK;
}

static void
space_of(const pe_options *options, pe_search *search, const JsonbValue *json)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue value;
	char *name = NULL;

	search->n_dimensions = 0;
	if (json->type != jbvBinary || !JsonContainerIsObject(json->val.binary.data) ||
	    JsonContainerSize(json->val.binary.data) == 0)
		pe_raise_bad_option("search.space", "an object of options and their values or ranges");
	iterator = JsonbIteratorInit(json->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		pe_search_dimension *dimension = &search->dimensions[search->n_dimensions];

		if (token == WJB_KEY)
			name = pnstrdup(value.val.string.val, value.val.string.len);
		if (token != WJB_VALUE)
			continue;
		if (search->n_dimensions == PE_SEARCH_DIMENSIONS)
			ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			                errmsg("a search over more than %d options", PE_SEARCH_DIMENSIONS)));
		memset(dimension, 0, sizeof(*dimension));
		dimension->name = name;
		if (value.type == jbvBinary && JsonContainerIsArray(value.val.binary.data))
			list_of_values(options, dimension, value.val.binary.data);
		else if (value.type == jbvBinary)
			range_of_values(options, dimension, value.val.binary.data);
		else
			pe_raise_bad_option(psprintf("search.space.%s", name),
			                    "a list of values, or a range such as {\"from\": 0.01, \"to\": 0.3, "
			                    "\"scale\": \"log\"}");
		search->n_dimensions++;
	}
}

static void
set_search_option(pe_search *search, pe_task task, const pe_options *options, const char *name,
                  const JsonbValue *value)
{
	bool larger_is_better;

	if (strcmp(name, "trials") == 0)
		search->trials = whole_number("search.trials", value, 1, PE_SEARCH_TRIALS);
	else if (strcmp(name, "folds") == 0)
		search->folds = whole_number("search.folds", value, 2, PE_SEARCH_FOLDS);
	else if (strcmp(name, "budget_seconds") == 0)
	{
		search->budget = number_of(value);
		if (!(search->budget > 0))
			pe_raise_bad_option("search.budget_seconds", "a number above 0");
	}
	else if (strcmp(name, "metric") == 0)
	{
		char *text = pe_scalar_text(value);

		search->metric = text != NULL ? pe_search_metric(task, options, text, &larger_is_better) : NULL;
		if (search->metric == NULL)
			pe_raise_bad_option("search.metric", psprintf("one of %s", pe_search_metrics(task)));
	}
	else if (strcmp(name, "space") == 0)
		space_of(options, search, value);
	else
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown option \"search.%s\"", name),
		         errhint("Valid are trials, folds, budget_seconds, metric and space.")));
}

pe_search *
pe_search_options(const JsonbValue *json, pe_task task, const pe_options *options)
{
	pe_search *search = palloc0(sizeof(pe_search));
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue value;
	bool larger_is_better;
	char *name = NULL;

	search->trials = DEFAULT_TRIALS;
	search->folds = DEFAULT_FOLDS;
	pe_search_default_space(search, options->algorithm);
	if (json->type == jbvNull || (json->type == jbvBool && !json->val.boolean))
		return NULL;
	if (json->type != jbvBool && (json->type != jbvBinary || !JsonContainerIsObject(json->val.binary.data)))
		pe_raise_bad_option("search", "true, or an object such as {\"trials\": 20, \"folds\": 5}");
	iterator = json->type == jbvBool ? NULL : JsonbIteratorInit(json->val.binary.data);
	while (iterator != NULL && (token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(value.val.string.val, value.val.string.len);
		else if (token == WJB_VALUE && value.type != jbvNull)
			set_search_option(search, task, options, name, &value);
	}
	if (search->metric == NULL)
		search->metric = pe_search_metric(task, options, NULL, &larger_is_better);
	return search;
}

/* ---- trying --------------------------------------------------------------------------------- */

/* {"max_depth": 4, "objective": "gamma"}: what differs from the options as they were given. */
static char *
settings_json(const pe_search *search, const pe_trial *trial)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	for (int i = 0; i < search->n_dimensions; i++)
	{
		const char *setting = trial->settings[i];
		char *end;

		if (setting[0] == '\0')
			continue;
		appendStringInfoString(&json, json.len > 1 ? ", " : "");
		escape_json(&json, search->dimensions[i].name);
		appendStringInfoString(&json, ": ");
		(void) strtod(setting, &end);
		if (*end == '\0')
			pe_json_number(&json, strtod(setting, NULL));
		else if (strcmp(setting, "true") == 0 || strcmp(setting, "false") == 0)
			appendStringInfoString(&json, setting);
		else
			escape_json(&json, setting);
	}
	appendStringInfoChar(&json, '}');
	return json.data;
}

void
pe_training_search(PeTraining *training)
{
	PeTrainRequest *request = training->request;
	const pe_search *search = training->options.search;
	const pe_trial *best;
	int chosen;
	pe_options core = training->options.core;
	pe_error error;

	pe_enter_phase(&request->timing, "search");
	training->trials = palloc0(sizeof(pe_trial) * search->trials);
	pe_check(pe_search_run(&request->env, training->dataset, request->task, &core, search, training->trials,
	                       &training->n_trials, &chosen, &error),
	         &error);
	best = &training->trials[chosen];
	training->options.core = best->options;
	training->options.core.keeps_rows = core.keeps_rows;
	ereport(NOTICE, (errmsg("search chose trial %d of %d: %s %.3g, %s", chosen + 1, training->n_trials,
	                        search->metric, best->mean,
	                        chosen == 0 ? "the options as they were given" : settings_json(search, best))));
}

void
pe_training_store_trials(const PeTraining *training, int version)
{
	static const Oid types[] = {TEXTOID,   INT4OID, INT4OID,   TEXTOID, TEXTOID,
	                            FLOAT8OID, INT4OID, FLOAT8OID, BOOLOID, FLOAT8OID};
	const pe_search *search = training->options.search;

	SPI_connect();
	for (int i = 0; i < training->n_trials; i++)
	{
		const pe_trial *trial = &training->trials[i];
		char nulls[] = "          ";
		Datum values[] = {CStringGetTextDatum(training->request->model),
		                  Int32GetDatum(version),
		                  Int32GetDatum(i + 1),
		                  CStringGetTextDatum(settings_json(search, trial)),
		                  CStringGetTextDatum(search->metric),
		                  Float8GetDatum(trial->mean),
		                  Int32GetDatum(trial->folds),
		                  Float8GetDatum(trial->seconds),
		                  BoolGetDatum(trial->chosen),
		                  Float8GetDatum(trial->deviation)};

		nulls[9] = isnan(trial->deviation) ? 'n' : ' ';
		pe_owner_execute("INSERT INTO profenrich.search_trial"
		                 " (version_id, trial, options, metric, mean, folds, seconds, chosen, deviation)"
		                 " SELECT v.version_id, $3, $4::jsonb, $5, $6, $7, $8, $9, $10"
		                 " FROM profenrich.model_version v WHERE v.model = $1 AND v.version = $2",
		                 lengthof(types), types, values, nulls, false, 0);
	}
	SPI_finish();
}
