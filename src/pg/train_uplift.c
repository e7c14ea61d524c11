/*
 * train_uplift.c
 *		train() for the task uplift: whom a treatment moves.
 */
#include "postgres.h"

#include <math.h>

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "model/uplift/uplift.h"
#include "pg/guc.h"
#include "pg/json_options.h"
#include "pg/progress.h"
#include "pg/report.h"
#include "pg/row_reader.h"
#include "pg/target.h"
#include "pg/train.h"
#include "pg/train_figures.h"

#define ROWS_PER_CHECK 1024

typedef struct Training
{
	PeTrainRequest *request;
	pe_algorithm algorithm;
	const char *treatment;    /* column */
	const char *treated_text; /* its value that counts as treated; NULL: found out */
	PeTrainOptions options;
	PeTrainColumns columns;
	int treatment_slot;
	PeTarget target;
	PeTarget group;
	pe_dataset *dataset;
	PeRowReader *reader;
	MemoryContext context;
	double *values; /* of a row */
	uint8 *treated; /* [capacity] */
	uint64 capacity;
	uint64 rows; /* read */
	uint64 without;
	uint64 conversions;
	uint64 rows_that_fit;
} Training;

/* ---- options ------------------------------------------------------------------------------ */

/* A text option that is ours alone, taken out of the options that the trees get; NULL: not given. */
static char *
take_option(Jsonb **options, const char *name)
{
	JsonbValue key = {.type = jbvString};
	JsonbValue *found;
	char *text;

	if (*options == NULL || !JB_ROOT_IS_OBJECT(*options))
		return NULL;
	key.val.string.val = unconstify(char *, name);
	key.val.string.len = (int) strlen(name);
	found = findJsonbValueFromContainer(&(*options)->root, JB_FOBJECT, &key);
	if (found == NULL)
		return NULL;
	text = pe_scalar_text(found);
	if (text == NULL || text[0] == '\0')
		pe_raise_bad_option(name, "a text");
	*options = DatumGetJsonbP(
	    DirectFunctionCall2(jsonb_delete, JsonbPGetDatum(*options), CStringGetTextDatum(name)));
	return text;
}

static void
pg_attribute_noreturn() raise_not_for_uplift(const char *option)
{
	ereport(ERROR,
	        (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
	         errmsg("option \"%s\" is not available for the task uplift", option), errhint("Leave it out.")));
}

/* By the option method, or as the algorithm; they are the same names. */
static pe_algorithm
method_of(const PeTrainRequest *request, const char *method)
{
	pe_algorithm algorithm = pe_train_algorithm(request, PE_ALGORITHM_TWO_MODELS);
	pe_algorithm named;

	if (method == NULL)
		return algorithm;
	named = pe_algorithm_from_name(method);
	if (named != PE_ALGORITHM_TWO_MODELS && named != PE_ALGORITHM_CLASS_TRANSFORMATION)
		pe_raise_bad_option("method", "two_models or class_transformation");
	if (request->algorithm != NULL && named != algorithm)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("algorithm %s and option \"method\" %s contradict each other",
		                       pe_algorithm_name(algorithm), method),
		                errhint("Give one of them.")));
	return named;
}

static Training *
parse_options(PeTrainRequest *request)
{
	Training *training = palloc0(sizeof(Training));
	Jsonb *rest = request->options;

	if (request->target == NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("argument \"target\" is required"),
		                errhint("Name the column that says who converted.")));
	training->request = request;
	training->context = CurrentMemoryContext;
	training->algorithm = method_of(request, take_option(&rest, "method"));
	training->treatment = take_option(&rest, "treatment");
	training->treated_text = take_option(&rest, "treated");
	if (training->treatment == NULL)
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("option \"treatment\" is required"),
		         errhint("Name the column that says who was treated: {\"treatment\": \"got_mail\"}.")));
	training->options = pe_train_options(rest, PE_TASK_PROPENSITY, PE_ALGORITHM_BOOSTED_TREES);
	if (training->options.core.calibrate != PE_CALIBRATION_NONE)
		raise_not_for_uplift("calibrate");
	if (training->options.core.n_monotone > 0)
		raise_not_for_uplift("monotone");
	if (training->options.search != NULL)
		raise_not_for_uplift("search");
	if (training->options.refit)
		raise_not_for_uplift("refit");
	if (training->options.holdout_from != NULL)
		raise_not_for_uplift("holdout_from");
	/* The treatment decides the group; it is no feature. */
	training->options.exclude = lappend(training->options.exclude, unconstify(char *, training->treatment));
	return training;
}

/* ---- reading ------------------------------------------------------------------------------ */

static void
choose_columns(Training *training)
{
	const PeSource *source = training->request->source;
	PeTrainColumns *columns = &training->columns;
	int treatment = pe_source_need_column(source, training->treatment, "treatment");

	if (training->treated_text == NULL &&
	    pe_treatment_of_type(TupleDescAttr(source->desc, treatment)->atttypid) == PE_TREAT_CATEGORY)
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		         errmsg("treatment column \"%s\" has texts", training->treatment),
		         errhint("Say which one is treated: options => '{\"treated\": \"...\"}'; all others are "
		                 "the control group.")));
	*columns = pe_train_columns(source, training->request->target, &training->options);
	training->target = pe_target_init(training->request->target, columns->target_type, PE_TASK_PROPENSITY,
	                                  training->options.positive);
	training->group = pe_target_init(training->treatment, TupleDescAttr(source->desc, treatment)->atttypid,
	                                 PE_TASK_PROPENSITY, training->treated_text);
	columns->columns = repalloc(columns->columns, sizeof(int) * (columns->n_columns + 1));
	training->treatment_slot = columns->n_columns;
	columns->columns[columns->n_columns++] = treatment;
}

static int32
code_of_level(void *arg, int feature, const char *text, size_t length)
{
	Training *training = (Training *) arg;
	int32_t code;
	pe_error error;

	pe_check(pe_dataset_level(training->dataset, feature, text, length, &code, &error), &error);
	return code;
}

static void
check_rows_fit(const Training *training)
{
	if (pe_dataset_rows(training->dataset) <= training->rows_that_fit)
		return;
	ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
	                errmsg("training on %s needs more memory than profenrich.training_memory allows (%d MB)",
	                       training->request->source->name, pe_training_memory_limit),
	                errdetail("With %d features, %llu rows fit; there are more.",
	                          training->columns.n_features, (unsigned long long) training->rows_that_fit),
	                errhint("Raise profenrich.training_memory, or train on a sample: source => 'SELECT * "
	                        "FROM ... TABLESAMPLE BERNOULLI (10) REPEATABLE (1)'.")));
}

static uint64
key_hash_of_row(const Training *training, const TupleTableSlot *slot)
{
	int column = training->columns.key;
	char buffer[PE_KEY_BUFFER];
	size_t length;
	const char *text;

	if (column < 0 || slot->tts_isnull[column])
		return pe_hash_bytes(&training->rows, sizeof(training->rows), 0);
	text = pe_input_key(&training->columns.key_input, slot->tts_values[column], buffer, &length);
	return pe_hash_bytes(text, length, 0);
}

static double
weight_of_row(const Training *training, const TupleTableSlot *slot)
{
	int column = training->columns.weight;
	double weight = 1;

	if (column >= 0)
		weight = slot->tts_isnull[column]
		             ? NAN
		             : pe_input_number(&training->columns.weight_input, slot->tts_values[column]);
	if (!isfinite(weight) || weight < 0)
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
		                errmsg("weight column \"%s\" is NULL, negative or infinite in row %llu",
		                       training->options.weight, (unsigned long long) training->rows),
		                errhint("A weight is a number of at least 0.")));
	return weight;
}

static void
keep_group(Training *training, uint64 row, bool treated)
{
	if (row >= training->capacity)
	{
		training->capacity = training->capacity == 0 ? 65536 : training->capacity * 2;
		training->treated = training->treated == NULL
		                        ? MemoryContextAllocHuge(training->context, training->capacity)
		                        : repalloc_huge(training->treated, training->capacity);
	}
	training->treated[row] = treated;
}

static bool
read_row(void *arg, TupleTableSlot *slot)
{
	Training *training = (Training *) arg;
	int target_column = training->columns.target, group_column = training->treatment_slot;
	double outcome, treated;
	pe_error error;

	training->rows++;
	if (training->rows % ROWS_PER_CHECK == 0)
	{
		pe_progress_publish("read", training->rows, 0);
		check_rows_fit(training);
	}
	if (slot->tts_isnull[target_column] || slot->tts_isnull[group_column])
	{
		training->without++;
		return true;
	}
	outcome = pe_target_value(&training->target, slot->tts_values[target_column], training->rows);
	treated = pe_target_value(&training->group, slot->tts_values[group_column], training->rows);
	pe_row_read(training->reader, slot->tts_values, slot->tts_isnull, training->values);
	keep_group(training, pe_dataset_rows(training->dataset), treated == 1);
	pe_check(pe_dataset_append(training->dataset, training->values, outcome, weight_of_row(training, slot),
	                           key_hash_of_row(training, slot), &error),
	         &error);
	training->conversions += outcome == 1;
	return true;
}

static void
read_rows(Training *training)
{
	const PeTrainColumns *columns = &training->columns;
	pe_feature_spec *specs = palloc0(sizeof(pe_feature_spec) * columns->n_features);
	pe_error error;

	for (int i = 0; i < columns->n_features; i++)
	{
		specs[i].name = columns->features[i].name;
		specs[i].source_type = pe_feature_encode(&columns->features[i]);
		specs[i].kind =
		    pe_feature_is_category(&columns->features[i]) ? PE_FEATURE_CATEGORICAL : PE_FEATURE_NUMERIC;
	}
	pe_check(pe_dataset_create(&training->request->env, PE_ALGORITHM_BOOSTED_TREES, specs,
	                           columns->n_features, true, &training->dataset, &error),
	         &error);
	training->options.core.keeps_rows = true;
	training->values = palloc(sizeof(double) * columns->n_features);
	training->reader =
	    pe_row_reader_create(columns->n_features, columns->features, columns->inputs, columns->slots,
	                         columns->snapshot, &columns->snapshot_input, code_of_level, training);
	training->rows_that_fit = pe_training_memory_rows(&training->options.core, columns->n_features, true,
	                                                  (size_t) pe_training_memory_limit * 1024 * 1024);
	pe_source_read(training->request->source, columns->columns, columns->n_columns, PE_SOURCE_ORDERED,
	               read_row, training);
	check_rows_fit(training);
	if (training->rows == 0)
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
		                errmsg("%s has no rows to train on", training->request->source->name)));
	if (training->without > 0)
		ereport(NOTICE, (errmsg("skipped %llu of %llu rows, whose target \"%s\" or treatment \"%s\" is NULL",
		                        (unsigned long long) training->without, (unsigned long long) training->rows,
		                        training->request->target, training->treatment)));
}

/* ---- what was found ----------------------------------------------------------------------- */

#define LEAST_CONVERSIONS 50

/* Is the order more than chance? By the difference of the halves' effects in standard errors. */
static pe_verdict
verdict_of(const pe_uplift_evaluation *e)
{
	if (e->rows == 0)
		return PE_VERDICT_NOT_EVALUATED;
	if (e->conversions < LEAST_CONVERSIONS || e->rows - e->conversions < LEAST_CONVERSIONS ||
	    !isfinite(e->separation))
		return PE_VERDICT_TOO_FEW;
	if (e->separation < 2)
		return PE_VERDICT_POOR;
	return e->separation < 4 ? PE_VERDICT_FAIR : PE_VERDICT_GOOD;
}

static char *
sentence_of(pe_verdict verdict, const pe_uplift_evaluation *e)
{
	const char *words;

	switch (verdict)
	{
		case PE_VERDICT_TOO_FEW:
			return psprintf("Too few conversions to tell: %lld of %lld held-out rows.",
			                (long long) e->conversions, (long long) e->rows);
		case PE_VERDICT_POOR:
			words = "Poor: whom the treatment moves cannot be told from chance";
			break;
		case PE_VERDICT_FAIR:
			words = "Fair: the treatment moves those ranked first more than the others";
			break;
		case PE_VERDICT_GOOD:
			words = "Good: the treatment clearly moves those ranked first more than the others";
			break;
		default:
			return pstrdup("Not evaluated: no rows were held out.");
	}
	return psprintf("%s (Qini %.3f, standard error %.3f; %.1f standard errors between the halves); it adds "
	                "%.1f points among all rows, %.1f among the "
	                "first 30 %%.",
	                words, e->qini, e->qini_error, e->separation, 100 * e->effect, 100 * e->at_30);
}

/* "uplift": [...], "qini": [...] */
static char *
tables_json(const pe_uplift_evaluation *e)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoString(&json, "\"uplift\": [");
	for (int i = 0; i < e->n_deciles; i++)
	{
		const pe_uplift_decile *decile = &e->deciles[i];

		appendStringInfoString(&json, i > 0 ? ", {" : "{");
		pe_json_field(&json, "decile", i + 1);
		pe_json_field(&json, "rows", (double) decile->rows);
		pe_json_field(&json, "treated", (double) decile->treated);
		pe_json_field(&json, "treated_rate", decile->treated_rate);
		pe_json_field(&json, "control_rate", decile->control_rate);
		pe_json_field(&json, "uplift", decile->uplift);
		pe_json_field(&json, "predicted", decile->predicted);
		appendStringInfoChar(&json, '}');
	}
	appendStringInfoString(&json, "], \"qini\": [");
	for (int i = 0; i < e->n_points; i++)
	{
		appendStringInfoString(&json, i > 0 ? ", {" : "{");
		pe_json_field(&json, "share", e->curve[i].share);
		pe_json_field(&json, "gain", e->curve[i].gain);
		pe_json_field(&json, "random", e->curve[i].random);
		appendStringInfoChar(&json, '}');
	}
	appendStringInfoChar(&json, ']');
	return json.data;
}

static void
add_figures(PeFigures *figures, const pe_uplift_evaluation *e)
{
	pe_figures_add(
	    figures, "qini", e->qini,
	    "area between the Qini curve and a random order, over that of the best order: 0 is random");
	pe_figures_add(figures, "qini_error", e->qini_error, "standard error of qini");
	pe_figures_add(figures, "auuc", e->auuc, "the same of the uplift curve");
	pe_figures_add(figures, "effect", e->effect,
	               "rate of the treated less rate of the others, over all rows");
	pe_figures_add(figures, "uplift_at_10", e->at_10, "the same among the 10 % with the largest predictions");
	pe_figures_add(figures, "uplift_at_20", e->at_20, "among 20 %");
	pe_figures_add(figures, "uplift_at_30", e->at_30, "among 30 %");
	pe_figures_add(
	    figures, "separation", e->separation,
	    "effect in the better half less that in the other, in standard errors: below 2 it may be chance");
	pe_figures_add(figures, "treated_rate", e->treated_rate, "conversions among treated rows");
	pe_figures_add(figures, "control_rate", e->control_rate, "conversions among the others");
	pe_figures_add(figures, "rows", (double) e->rows, "rows evaluated");
	pe_figures_add(figures, "treated", (double) e->treated, "of them treated");
}

static int
store(Training *training, const pe_model *model, const pe_uplift_evaluation *e, pe_verdict verdict)
{
	PeNewVersion version = pe_new_version(training->request);
	PeFigures figures;

	version.algorithm = training->algorithm;
	version.objective = "logistic";
	version.key = training->options.key;
	version.rows = (int64) pe_dataset_rows(training->dataset);
	version.positives = (int64) training->conversions;
	version.verdict = sentence_of(verdict, e);
	version.quality = pe_verdict_name(verdict);
	version.memory = (int64) pe_training_memory(&training->options.core, training->columns.n_features, true,
	                                            pe_dataset_rows(training->dataset));
	version.deploy = training->options.deploy;
	version.features_json = pe_features_json(&training->columns, model);
	pe_figures_begin(&figures);
	pe_figures_say(&figures, "verdict", version.verdict);
	if (e->rows > 0)
		add_figures(&figures, e);
	pe_figures_add(&figures, "training_rows", (double) pe_model_training_rows(model), "rows learnt from");
	pe_figures_notes(&figures, model);
	version.metrics_json = pe_figures_metrics(&figures);
	version.evaluation_json = pe_figures_evaluation(&figures, tables_json(e));
	return pe_store_version(training->request, &version, model);
}

PeTrained
pe_train_uplift(PeTrainRequest *request)
{
	Training *training = parse_options(request);
	PeTrained trained = {.algorithm = training->algorithm, .metric = "qini"};
	pe_uplift_evaluation *evaluation = palloc0(sizeof(pe_uplift_evaluation));
	pe_model *model;
	pe_verdict verdict;
	pe_error error;

	choose_columns(training);
	read_rows(training);
	if (training->treated == NULL)
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
		                errmsg("target column \"%s\" or treatment column \"%s\" is NULL in all %llu rows",
		                       request->target, training->treatment, (unsigned long long) training->rows)));
	pe_enter_phase(&request->timing, "fit");
	pe_check(pe_uplift_train(&request->env, training->dataset, training->treated, training->algorithm,
	                         &training->options.core, &model, evaluation, &error),
	         &error);
	verdict = verdict_of(evaluation);
	trained.version = store(training, model, evaluation, verdict);
	trained.rows = (int64) pe_dataset_rows(training->dataset);
	trained.features = training->columns.n_features;
	trained.headline = evaluation->rows > 0 ? evaluation->qini : NAN;
	trained.quality = pe_verdict_name(verdict);
	return trained;
}
