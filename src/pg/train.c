/*
 * train.c
 *		Models that learn a target from features: from a source to a stored version.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"

#include "pg/env.h"
#include "pg/evaluation.h"
#include "pg/guc.h"
#include "pg/models.h"
#include "pg/progress.h"
#include "pg/report.h"
#include "pg/row_reader.h"
#include "pg/source.h"
#include "pg/target.h"
#include "pg/train.h"

#define ROWS_PER_CHECK 1024
#define PENDING_ROWS   32

typedef struct Training
{
	PeTrainRequest *request;
	pe_algorithm algorithm;
	PeTrainOptions options;
	PeTrainColumns columns;
	PeTarget target;
	pe_dataset *dataset;
	PeRowReader *reader;
	int n_pending;   /* rows read and not yet in the dataset */
	double *pending; /* [PENDING_ROWS][n_features] */
	double pending_targets[PENDING_ROWS];
	double pending_weights[PENDING_ROWS];
	uint64 pending_hashes[PENDING_ROWS];
	uint64 rows; /* read */
	uint64 without_target;
	uint64 positives;
	uint64 rows_that_fit;
	size_t memory; /* announced */
} Training;

/* ---- what was asked for --------------------------------------------------------------- */

static Training *
parse_options(PeTrainRequest *request)
{
	Training *training = palloc0(sizeof(Training));
	Oid target_type;

	if (request->target == NULL || request->target[0] == '\0')
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("argument \"target\" is required"),
		                errhint("Name the column to predict.")));
	training->request = request;
	training->algorithm = pe_train_algorithm(request, PE_ALGORITHM_BOOSTED_TREES);
	target_type = TupleDescAttr(request->source->desc,
	                            pe_source_need_column(request->source, request->target, "target"))
	                  ->atttypid;
	training->options = pe_train_options(request->options, training->algorithm);
	training->target =
	    pe_target_init(request->target, target_type, request->task, training->options.positive);
	return training;
}

/* ---- reading -------------------------------------------------------------------------- */

static void
pg_attribute_noreturn() raise_too_many_rows(const Training *training)
{
	uint64 fit = training->rows_that_fit;

	ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
	                errmsg("training on %s needs more memory than profenrich.training_memory allows (%d MB)",
	                       training->request->source->name, pe_training_memory_limit),
	                errdetail("With %d features, %llu rows fit; there are more.",
	                          training->columns.n_features, (unsigned long long) fit),
	                errhint("Raise profenrich.training_memory, or train on a sample: source => 'SELECT * "
	                        "FROM ... TABLESAMPLE BERNOULLI (10) REPEATABLE (1)'.")));
}

/* What the features and options take before the first row is kept. */
static void
check_memory(const Training *training)
{
	size_t least = pe_training_memory(&training->options.core, training->columns.n_features,
	                                  training->columns.weight >= 0, 1);

	if (training->rows_that_fit == 0)
		ereport(
		    ERROR,
		    (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
		     errmsg("training with %d features needs %zu MB before the first row, and "
		            "profenrich.training_memory allows %d MB",
		            training->columns.n_features, least / (1024 * 1024) + 1, pe_training_memory_limit),
		     errhint(
		         "Raise profenrich.training_memory, or name fewer columns in options.features.include.")));
}

static double
weight_of_row(const Training *training, const TupleTableSlot *slot)
{
	int column = training->columns.weight;
	double weight = 1;

	if (column < 0)
		return weight;
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

/* Decides together with the seed whether the row is held out: by its key, so that a profile stays on one
 * side. */
static uint64
key_hash_of_row(const Training *training, const TupleTableSlot *slot)
{
	int column = training->columns.key;
	size_t length;
	const char *text;
	char buffer[PE_KEY_BUFFER];

	if (column < 0 || slot->tts_isnull[column])
		return pe_hash_bytes(&training->rows, sizeof(training->rows), 0);
	text = pe_input_key(&training->columns.key_input, slot->tts_values[column], buffer, &length);
	return pe_hash_bytes(text, length, 0);
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
append_pending(Training *training)
{
	pe_error error;

	pe_check(pe_dataset_append_rows(training->dataset, training->pending, training->columns.n_features,
	                                training->pending_targets, training->pending_weights,
	                                training->pending_hashes, training->n_pending, &error),
	         &error);
	training->n_pending = 0;
}

static bool
read_row(void *arg, TupleTableSlot *slot)
{
	Training *training = (Training *) arg;
	int column = training->columns.target;
	int at = training->n_pending;
	double target;

	training->rows++;
	if (training->rows % ROWS_PER_CHECK == 0)
	{
		pe_progress_publish("read", training->rows, 0);
		if (pe_dataset_rows(training->dataset) > training->rows_that_fit)
			raise_too_many_rows(training);
	}
	if (slot->tts_isnull[column])
	{
		training->without_target++;
		return true;
	}
	target = pe_target_value(&training->target, slot->tts_values[column], training->rows);
	pe_row_read(training->reader, slot->tts_values, slot->tts_isnull,
	            training->pending + (size_t) at * training->columns.n_features);
	training->pending_targets[at] = target;
	training->pending_weights[at] = weight_of_row(training, slot);
	training->pending_hashes[at] = key_hash_of_row(training, slot);
	if (++training->n_pending == PENDING_ROWS)
		append_pending(training);
	if (target == 1)
		training->positives++;
	return true;
}

static void
create_dataset(Training *training)
{
	const PeTrainColumns *columns = &training->columns;
	pe_feature_spec *specs = palloc0(sizeof(pe_feature_spec) * columns->n_features);
	pe_error error;

	for (int i = 0; i < columns->n_features; i++)
	{
		specs[i].name = columns->features[i].name;
		specs[i].source_type = pe_feature_encode(&columns->features[i]);
		specs[i].kind =
		    columns->features[i].treatment == PE_TREAT_CATEGORY ? PE_FEATURE_CATEGORICAL : PE_FEATURE_NUMERIC;
	}
	pe_check(pe_dataset_create(&training->request->env, training->algorithm, specs, columns->n_features,
	                           columns->weight >= 0, &training->dataset, &error),
	         &error);
	training->pending = palloc(sizeof(double) * PENDING_ROWS * columns->n_features);
	training->reader =
	    pe_row_reader_create(columns->n_features, columns->features, columns->inputs, columns->slots,
	                         columns->snapshot, &columns->snapshot_input, code_of_level, training);
	training->rows_that_fit =
	    pe_training_memory_rows(&training->options.core, columns->n_features, columns->weight >= 0,
	                            (size_t) pe_training_memory_limit * 1024 * 1024);
	check_memory(training);
}

static void
read_rows(Training *training)
{
	uint64 rows;

	pe_source_read(training->request->source, training->columns.columns, training->columns.n_columns,
	               PE_SOURCE_ORDERED, read_row, training);
	append_pending(training);
	if (training->rows == 0)
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
		                errmsg("%s has no rows to train on", training->request->source->name)));
	rows = pe_dataset_rows(training->dataset);
	if (rows == 0)
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
		                errmsg("target column \"%s\" is NULL in all %llu rows", training->request->target,
		                       (unsigned long long) training->rows)));
	if (training->without_target > 0)
		ereport(NOTICE, (errmsg("skipped %llu of %llu rows, whose target \"%s\" is NULL",
		                        (unsigned long long) training->without_target,
		                        (unsigned long long) training->rows, training->request->target)));
	if (rows > training->rows_that_fit)
		raise_too_many_rows(training);
	training->memory = pe_training_memory(&training->options.core, training->columns.n_features,
	                                      training->columns.weight >= 0, rows);
	ereport(DEBUG1, (errmsg("training model \"%s\" on %llu rows and %d features takes at most %zu MB",
	                        training->request->model, (unsigned long long) rows, training->columns.n_features,
	                        training->memory / (1024 * 1024) + 1)));
}

/* ---- storing -------------------------------------------------------------------------- */

static void
summary_json(StringInfo json, const pe_model_feature *feature)
{
	const pe_feature_summary *summary = &feature->summary;

	if (!feature->summarised)
		return;
	appendStringInfoString(json, ", \"missing\": ");
	pe_json_number(json, summary->missing);
	for (int i = 0; i < PE_SPREAD_QUANTILES && !isnan(summary->contributions[0]); i++)
	{
		appendStringInfoString(json, i == 0 ? ", \"contributions\": [" : ", ");
		pe_json_number(json, summary->contributions[i]);
		if (i == PE_SPREAD_QUANTILES - 1)
			appendStringInfoChar(json, ']');
	}
	if (feature->kind == PE_FEATURE_NUMERIC)
	{
		appendStringInfoString(json, ", \"lowest\": ");
		pe_json_number(json, summary->lowest);
		appendStringInfoString(json, ", \"mean\": ");
		pe_json_number(json, summary->mean);
		appendStringInfoString(json, ", \"highest\": ");
		pe_json_number(json, summary->highest);
		return;
	}
	appendStringInfo(json, ", \"distinct\": %d, \"top\": ", summary->distinct);
	escape_json(json, summary->top);
	appendStringInfoString(json, ", \"top_share\": ");
	pe_json_number(json, summary->top_share);
}

static char *
features_json(const Training *training, const pe_model *model)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '[');
	for (int i = 0; i < pe_model_feature_count(model); i++)
	{
		pe_model_feature feature = pe_model_get_feature(model, i);
		const PeFeature *origin = &training->columns.features[i];

		appendStringInfo(&json, "%s{\"name\": ", i > 0 ? ", " : "");
		escape_json(&json, feature.name);
		appendStringInfoString(&json, ", \"column\": ");
		escape_json(&json, origin->column);
		appendStringInfo(
		    &json, ", \"treatment\": \"%s\", \"levels\": %d, \"used\": %s, \"splits\": %lld, \"gain\": ",
		    pe_treatment_name(origin->treatment), feature.n_levels, feature.used ? "true" : "false",
		    (long long) feature.splits);
		pe_json_number(&json, feature.gain);
		appendStringInfoString(&json, ", \"mean_contribution\": ");
		pe_json_number(&json, feature.mean_contribution);
		summary_json(&json, &feature);
		appendStringInfoChar(&json, '}');
	}
	appendStringInfoChar(&json, ']');
	return json.data;
}

#define MAX_SHOWN_NOTES 3

static void
report_notes(const pe_model *model)
{
	int n = pe_model_note_count(model);

	for (int i = 0; i < Min(n, MAX_SHOWN_NOTES); i++)
		ereport(NOTICE, (errmsg("%s", pe_model_note(model, i))));
	if (n > MAX_SHOWN_NOTES)
		ereport(NOTICE, (errmsg("%d more notes are in evaluation()", n - MAX_SHOWN_NOTES)));
}

static int
store(const Training *training, const pe_model *model, const pe_evaluation *evaluation)
{
	Jsonb *options = training->request->options;
	uint8_t *artifact;
	size_t length;
	pe_error error;
	char *checksum;
	PeNewVersion version = {
	    .model = training->request->model,
	    .task = training->request->task,
	    .algorithm = training->algorithm,
	    .objective = pe_objective_name(pe_model_objective(model)),
	    .target = training->request->target,
	    .key = training->options.key,
	    .source = training->request->source->text,
	    .rows = (int64) (training->rows - training->without_target),
	    .positives = training->request->task == PE_TASK_PROPENSITY ? (int64) training->positives : -1,
	    .options_json = options != NULL ? JsonbToCString(NULL, &options->root, VARSIZE(options)) : "{}",
	    .verdict = evaluation->sentence,
	    .quality = pe_verdict_name(evaluation->verdict),
	    .positive_label = pe_target_positive_label(&training->target),
	    .negative_label = pe_target_negative_label(&training->target),
	    .threshold = training->options.threshold,
	    .memory = (int64) training->memory,
	    .deploy = training->options.deploy,
	};

	pe_enter_phase(&training->request->timing, "store");
	pe_progress_publish("store", 0, 0);
	pe_check(pe_model_serialize(&training->request->env, model, &artifact, &length, &error), &error);
	version.artifact = artifact;
	version.artifact_length = length;
	version.features_json = features_json(training, model);
	version.metrics_json = pe_metrics_json(evaluation);
	version.evaluation_json = pe_evaluation_json(evaluation, model);
	version.seconds_json = pe_seconds_json(&training->request->timing);
	return pe_model_store(&version, &checksum);
}

PeTrained
pe_train_supervised(PeTrainRequest *request)
{
	Training *training = parse_options(request);
	pe_evaluation *evaluation = palloc0(sizeof(pe_evaluation));
	pe_model *model = NULL;
	pe_error error;
	PeTrained trained = {.algorithm = training->algorithm, .headline = NAN};

	training->columns = pe_train_columns(request->source, request->target, &training->options);
	create_dataset(training);
	read_rows(training);
	pe_enter_phase(&request->timing, "fit");
	pe_check(pe_train(&request->env, training->dataset, request->task, &training->options.core, &model,
	                  evaluation, &error),
	         &error);
	report_notes(model);
	trained.version = store(training, model, evaluation);
	trained.rows = (int64) (training->rows - training->without_target);
	trained.features = training->columns.n_features;
	trained.metric = pe_evaluation_headline(evaluation, &trained.headline);
	trained.quality = pe_verdict_name(evaluation->verdict);
	return trained;
}
