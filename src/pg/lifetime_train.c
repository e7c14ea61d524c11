/*
 * lifetime_train.c
 *		train() for the task lifetime_value: a process of orders, and what they are worth,
 *		from one row per customer.
 */
#include "postgres.h"

#include <math.h>

#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/numeric.h"

#include "pg/evaluation.h"
#include "pg/guc.h"
#include "pg/json_options.h"
#include "pg/lifetime.h"
#include "pg/progress.h"
#include "pg/report.h"
#include "pg/train.h"

#define VALID_OPTIONS                                                                                        \
	"key, weight, frequency, recency, age, monetary_value, unit, horizon, discount_rate, discount_period, "  \
	"consent, deploy, threads"
#define ROWS_PER_CHECK 1024

typedef enum Role
{
	ROLE_FREQUENCY,
	ROLE_RECENCY,
	ROLE_AGE,
	ROLE_SPEND,
	ROLE_WEIGHT,
	N_ROLES
} Role;

static const char *const role_names[N_ROLES] = {"frequency", "recency", "age", "monetary_value", "weight"};

typedef struct Training
{
	PeTrainRequest *request;
	pe_algorithm algorithm;
	const char *key;
	const char *columns[N_ROLES]; /* NULL: not read */
	bool without_spend;           /* asked for by "monetary_value": null */
	const char *unit;
	const char *horizon;
	const char *discount_period;
	double discount_rate;
	bool deploy;
	int threads;
	int slots[N_ROLES]; /* -1: not read */
	PeInput inputs[N_ROLES];
	pe_customers *customers;
	uint64 rows;
	uint64 rows_that_fit;
} Training;

/* ---- options ------------------------------------------------------------------------------ */

static char *
option_text(const char *name, const JsonbValue *value, const char *expected)
{
	if (value->type != jbvString || value->val.string.len == 0)
		pe_raise_bad_option(name, expected);
	return pnstrdup(value->val.string.val, value->val.string.len);
}

static double
option_number(const char *name, const JsonbValue *value, double least, double most, const char *expected)
{
	double number = NAN;

	if (value->type == jbvNumeric)
		number = DatumGetFloat8(
		    DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(value->val.numeric)));
	if (!(number >= least && number <= most))
		pe_raise_bad_option(name, expected);
	return number;
}

static void
set_option(Training *training, const char *name, const JsonbValue *value)
{
	for (int role = 0; role < N_ROLES; role++)
	{
		if (strcmp(name, role_names[role]) != 0)
			continue;
		training->without_spend = training->without_spend || (role == ROLE_SPEND && value->type == jbvNull);
		if (value->type != jbvNull)
			training->columns[role] = option_text(name, value, "a text, the name of a column");
		return;
	}
	if (value->type == jbvNull)
		return;
	if (strcmp(name, "key") == 0)
		training->key = option_text(name, value, "a text, the name of a column");
	else if (strcmp(name, "unit") == 0)
		training->unit = option_text(name, value, "day, week, month or year, or an interval");
	else if (strcmp(name, "horizon") == 0)
		training->horizon = option_text(name, value, "an interval, such as \"12 months\"");
	else if (strcmp(name, "discount_period") == 0)
		training->discount_period = option_text(name, value, "an interval, such as \"1 month\"");
	else if (strcmp(name, "discount_rate") == 0)
		training->discount_rate = option_number(name, value, 0, 1000, "a number of at least 0, 0.01 for 1 %");
	else if (strcmp(name, "threads") == 0)
		training->threads = (int) option_number(name, value, 1, 64, "a whole number from 1 to 64");
	else if (strcmp(name, "deploy") == 0)
	{
		if (value->type != jbvBool)
			pe_raise_bad_option(name, "true or false");
		training->deploy = value->val.boolean;
	}
	else
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("unknown option \"%s\" for algorithm %s", name,
		                       pe_algorithm_name(training->algorithm)),
		                errhint("Valid options are " VALID_OPTIONS ".")));
}

static void
read_options(Training *training, Jsonb *json)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue value;
	char *name = NULL;

	if (json == NULL)
		return;
	if (!JB_ROOT_IS_OBJECT(json))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("options must be a jsonb object"),
		                errhint("For example '{\"unit\": \"week\", \"horizon\": \"12 months\"}'.")));
	iterator = JsonbIteratorInit(&json->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(value.val.string.val, value.val.string.len);
		else if (token == WJB_VALUE)
			set_option(training, name, &value);
	}
}

static Training *
parse_options(PeTrainRequest *request)
{
	Training *training = palloc0(sizeof(Training));

	training->request = request;
	training->algorithm = pe_train_algorithm(request, PE_ALGORITHM_BG_NBD);
	training->deploy = true;
	training->threads = pe_threads;
	training->horizon = "12 months";
	training->discount_period = "1 month";
	training->discount_rate = 0.01;
	if (request->target != NULL && request->target[0] != '\0')
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the task lifetime_value has no target"),
		         errhint("Leave out target; the columns to learn from are named in options: frequency, "
		                 "recency, age, monetary_value.")));
	read_options(training, request->options);
	training->threads = Min(training->threads, pe_threads);
	if (training->unit == NULL)
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("option \"unit\" is required"),
		         errhint("Say what recency and age count%s: day, week, month, year, or an interval.",
		                 training->algorithm == PE_ALGORITHM_SBG     ? ", the length of a contract"
		                 : training->algorithm == PE_ALGORITHM_BG_BB ? ", the time between opportunities"
		                                                             : "")));
	return training;
}

/* ---- reading ------------------------------------------------------------------------------ */

static void
choose_columns(Training *training, int *columns, int *n_columns)
{
	const PeSource *source = training->request->source;

	if (training->key != NULL)
		(void) pe_source_need_column(source, training->key, "key");
	*n_columns = 0;
	for (int role = 0; role < N_ROLES; role++)
	{
		const char *name = training->columns[role];
		bool optional = role == ROLE_SPEND || role == ROLE_WEIGHT;
		int column;
		Oid type;

		training->slots[role] = -1;
		if ((role == ROLE_RECENCY && training->algorithm == PE_ALGORITHM_SBG) ||
		    (role == ROLE_SPEND && training->without_spend) || (role == ROLE_WEIGHT && name == NULL) ||
		    (name == NULL && optional && pe_source_column(source, role_names[role]) < 0))
		{
			training->columns[role] = NULL;
			continue;
		}
		if (name == NULL)
			name = training->columns[role] = role_names[role];
		column = pe_source_need_column(source, name, role_names[role]);
		type = TupleDescAttr(source->desc, column)->atttypid;
		if (!pe_input_init(&training->inputs[role], type, PE_TREAT_NUMBER))
			ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
			                errmsg("%s column \"%s\" is %s", role_names[role], name, format_type_be(type)),
			                errhint("It must be a number. See rfm_summary(), which makes such columns.")));
		training->slots[role] = *n_columns;
		columns[(*n_columns)++] = column;
	}
}

static double
number_of(const Training *training, const TupleTableSlot *slot, Role role, double missing)
{
	int column = training->slots[role];

	if (column < 0)
		return missing;
	return slot->tts_isnull[column] ? NAN
	                                : pe_input_number(&training->inputs[role], slot->tts_values[column]);
}

static bool
read_row(void *arg, TupleTableSlot *slot)
{
	Training *training = (Training *) arg;
	pe_customer customer = {number_of(training, slot, ROLE_FREQUENCY, 0),
	                        number_of(training, slot, ROLE_RECENCY, 0),
	                        number_of(training, slot, ROLE_AGE, 0)};
	pe_error error;

	training->rows++;
	if (training->rows % ROWS_PER_CHECK == 0)
		pe_progress_publish("read", training->rows, 0);
	if (pe_customers_rows(training->customers) >= training->rows_that_fit)
		ereport(
		    ERROR,
		    (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
		     errmsg("training on %s needs more memory than profenrich.training_memory allows (%d MB)",
		            training->request->source->name, pe_training_memory_limit),
		     errdetail("%llu customers fit; there are more.", (unsigned long long) training->rows_that_fit),
		     errhint("Raise profenrich.training_memory, or give alike customers as one row with a "
		             "weight.")));
	pe_check(pe_customers_append(training->customers, &customer, number_of(training, slot, ROLE_SPEND, NAN),
	                             number_of(training, slot, ROLE_WEIGHT, 1), &error),
	         &error);
	return true;
}

static void
read_rows(Training *training)
{
	int columns[N_ROLES], n_columns;
	size_t limit = (size_t) pe_training_memory_limit * 1024 * 1024, one = pe_lifetime_memory(1);
	pe_error error;

	choose_columns(training, columns, &n_columns);
	training->rows_that_fit =
	    limit > one ? (limit - one) / (pe_lifetime_memory(1001) - pe_lifetime_memory(1)) * 1000 : 0;
	pe_check(pe_customers_create(&training->request->env, training->algorithm, &training->customers, &error),
	         &error);
	pe_source_read(training->request->source, columns, n_columns, PE_SOURCE_ORDERED, read_row, training);
	if (training->rows == 0)
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
		                errmsg("%s has no rows to train on", training->request->source->name)));
}

/* ---- storing ------------------------------------------------------------------------------ */

static void
add_figure(StringInfo rows, StringInfo metrics, const char *name, double value, const char *meaning)
{
	if (rows->len > 1)
		appendStringInfoString(rows, ", ");
	appendStringInfo(rows, "{\"metric\": \"%s\", \"value\": ", name);
	pe_json_number(rows, value);
	appendStringInfoString(rows, ", \"meaning\": ");
	escape_json(rows, meaning);
	appendStringInfoChar(rows, '}');
	if (metrics == NULL || !isfinite(value))
		return;
	appendStringInfo(metrics, "%s\"%s\": ", metrics->len > 1 ? ", " : "", name);
	pe_json_number(metrics, value);
}

/* What evaluation() shows of a fit. */
static void
fit_json(const pe_model *model, const char *sentence, const char *unit, char **evaluation, char **metrics)
{
	const pe_lifetime *l = pe_model_lifetime(model);
	StringInfoData rows, all;
	double k = l->n_parameters;

	initStringInfo(&rows);
	initStringInfo(&all);
	appendStringInfoChar(&rows, '[');
	appendStringInfoChar(&all, '{');
	add_figure(&rows, NULL, "verdict", NAN, sentence);
	add_figure(&rows, &all, "log_likelihood", l->log_likelihood, "of the orders: higher is better");
	add_figure(&rows, &all, "aic", 2 * k - 2 * l->log_likelihood,
	           "to compare algorithms on the same customers: lower is better");
	add_figure(&rows, &all, "bic", k * log(l->customers) - 2 * l->log_likelihood,
	           "the same, with a penalty that grows with the customers");
	add_figure(&rows, &all, "customers", l->customers, "customers that were learnt from, by weight");
	if (l->with_spend)
	{
		add_figure(&rows, &all, "spend_log_likelihood", l->spend_log_likelihood,
		           "of the gamma-gamma model of what orders are worth");
		add_figure(&rows, &all, "spend_customers", l->spend_customers,
		           "customers with repeat orders of a value above 0");
		add_figure(&rows, &all, "spend_correlation", l->correlation,
		           "of frequency and monetary value: the gamma-gamma model supposes it to be near 0");
	}
	add_figure(&rows, &all, "horizon_days", l->horizon * l->unit_days, "how far predictions look ahead");
	if (l->with_spend)
	{
		add_figure(&rows, &all, "discount_rate", l->discount_rate, "per discount period");
		add_figure(&rows, &all, "discount_period_days", l->discount_period * l->unit_days,
		           "after each of which orders count for less");
	}
	add_figure(&rows, &all, "unit_days", l->unit_days,
	           psprintf("length of the unit of recency and age (%s)", unit));
	for (int i = 0; i < pe_model_note_count(model); i++)
		add_figure(&rows, NULL, "note", NAN, pe_model_note(model, i));
	appendStringInfoChar(&rows, ']');
	appendStringInfoChar(&all, '}');
	*evaluation = psprintf("{\"rows\": %s, \"deciles\": [], \"roc\": [], \"calibration\": []}", rows.data);
	*metrics = all.data;
}

static char *
features_json(const Training *training)
{
	StringInfoData json;

	initStringInfo(&json);
	for (int role = 0; role < ROLE_WEIGHT; role++)
	{
		if (training->columns[role] == NULL)
			continue;
		appendStringInfo(&json, "%s{\"name\": ", json.len > 0 ? ", " : "[");
		escape_json(&json, training->columns[role]);
		appendStringInfoString(&json, ", \"column\": ");
		escape_json(&json, training->columns[role]);
		appendStringInfoString(
		    &json,
		    ", \"treatment\": \"number\", \"levels\": 0, \"used\": true, \"splits\": 0, \"gain\": null, "
		    "\"mean_contribution\": null}");
	}
	appendStringInfoChar(&json, ']');
	return json.data;
}

static int
store(const Training *training, const pe_model *model)
{
	PeTrainRequest *request = training->request;
	uint8_t *artifact;
	size_t length;
	pe_error error;
	char *checksum;
	char *sentence = psprintf("%s: fitted to %lld customers; compare a forecast with a later period by "
	                          "lifetime_evaluate()",
	                          pe_verdict_name(PE_VERDICT_NOT_EVALUATED), (long long) training->rows);
	char *evaluation, *metrics;
	PeNewVersion version = {
	    .model = request->model,
	    .task = request->task,
	    .algorithm = training->algorithm,
	    .objective = "likelihood",
	    .key = training->key,
	    .source = request->source->text,
	    .consent = request->consent,
	    .without_consent = request->without_consent,
	    .rows = (int64) training->rows,
	    .positives = -1,
	    .options_json = request->options != NULL
	                        ? JsonbToCString(NULL, &request->options->root, VARSIZE(request->options))
	                        : "{}",
	    .verdict = sentence,
	    .quality = pe_verdict_name(PE_VERDICT_NOT_EVALUATED),
	    .memory = (int64) pe_lifetime_memory(pe_customers_rows(training->customers)),
	    .deploy = training->deploy,
	};

	pe_enter_phase(&request->timing, "store");
	pe_progress_publish("store", 0, 0);
	pe_check(pe_model_serialize(&request->env, model, &artifact, &length, &error), &error);
	fit_json(model, sentence, training->unit, &evaluation, &metrics);
	version.artifact = artifact;
	version.artifact_length = length;
	version.features_json = features_json(training);
	version.metrics_json = metrics;
	version.evaluation_json = evaluation;
	version.seconds_json = pe_seconds_json(&request->timing);
	return pe_model_store(&version, &checksum);
}

static pe_model *
fit(Training *training)
{
	pe_lifetime settings = {0};
	pe_lifetime_columns columns = {{NULL}, {NULL}};
	pe_model *model;
	pe_error error;

	settings.unit_days = pe_unit_days(training->unit, "option \"unit\"");
	settings.horizon = pe_unit_days(training->horizon, "option \"horizon\"") / settings.unit_days;
	settings.discount_rate = training->discount_rate;
	settings.discount_period =
	    pe_unit_days(training->discount_period, "option \"discount_period\"") / settings.unit_days;
	for (int role = 0; role < ROLE_WEIGHT; role++)
	{
		PeFeature feature = {
		    .name = training->columns[role], .treatment = PE_TREAT_NUMBER, .column = training->columns[role]};

		if (feature.name == NULL)
			continue;
		columns.names[role] = feature.name;
		columns.source_types[role] = pe_feature_encode(&feature);
	}
	pe_enter_phase(&training->request->timing, "fit");
	pe_check(pe_lifetime_train(&training->request->env, training->customers, training->threads, &columns,
	                           &settings, &model, &error),
	         &error);
	return model;
}

PeTrained
pe_train_lifetime(PeTrainRequest *request)
{
	Training *training = parse_options(request);
	PeTrained trained = {.algorithm = training->algorithm, .metric = "log_likelihood"};
	pe_model *model;

	/* Before the rows are read: a wrong unit should not take that long to be told. */
	(void) pe_unit_days(training->unit, "option \"unit\"");
	(void) pe_unit_days(training->horizon, "option \"horizon\"");
	(void) pe_unit_days(training->discount_period, "option \"discount_period\"");
	read_rows(training);
	model = fit(training);
	for (int i = 0; i < pe_model_note_count(model); i++)
		ereport(NOTICE, (errmsg("%s", pe_model_note(model, i))));
	trained.version = store(training, model);
	trained.rows = (int64) training->rows;
	trained.features = pe_model_feature_count(model);
	trained.headline = pe_model_lifetime(model)->log_likelihood;
	trained.quality = pe_verdict_name(PE_VERDICT_NOT_EVALUATED);
	return trained;
}
