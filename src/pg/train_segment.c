/*
 * train_segment.c
 *		train() for the task segment: rows that are alike.
 */
#include "postgres.h"

#include <math.h>

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/json.h"

#include "model/segment/segment.h"
#include "pg/evaluation.h"
#include "pg/guc.h"
#include "pg/progress.h"
#include "pg/report.h"
#include "pg/row_reader.h"
#include "pg/train.h"
#include "pg/train_figures.h"

#define ROWS_PER_CHECK 1024
#define PENDING_ROWS   32

typedef struct Training
{
	PeTrainRequest *request;
	PeTrainOptions options;
	PeTrainColumns columns;
	pe_dataset *dataset;
	PeRowReader *reader;
	int n_pending;
	double *pending;              /* [PENDING_ROWS][n_features] */
	double targets[PENDING_ROWS]; /* always 0: there is no target */
	double weights[PENDING_ROWS];
	uint64 hashes[PENDING_ROWS];
	uint64 rows;
	uint64 rows_that_fit;
} Training;

static Training *
parse_options(PeTrainRequest *request)
{
	Training *training = palloc0(sizeof(Training));
	pe_algorithm algorithm = pe_train_algorithm(request, PE_ALGORITHM_KMEANS);

	if (request->target != NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the task segment has no target"),
		                errhint("Leave out target; a column of that name is a feature like the others.")));
	training->request = request;
	training->options = pe_train_options(request->options, request->task, algorithm);
	if (training->options.positive != NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("option \"positive\" does not apply to the task segment"),
		                errhint("Valid options are key, weight, features, consent, deploy, %s.",
		                        pe_options_names(algorithm))));
	return training;
}

/* ---- reading ------------------------------------------------------------------------------ */

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

static void
append_pending(Training *training)
{
	pe_error error;

	pe_check(pe_dataset_append_rows(training->dataset, training->pending, training->columns.n_features,
	                                training->targets, training->weights, training->hashes,
	                                training->n_pending, &error),
	         &error);
	training->n_pending = 0;
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

static bool
read_row(void *arg, TupleTableSlot *slot)
{
	Training *training = (Training *) arg;
	int at = training->n_pending;

	training->rows++;
	if (training->rows % ROWS_PER_CHECK == 0)
	{
		pe_progress_publish("read", training->rows, 0);
		check_rows_fit(training);
	}
	pe_row_read(training->reader, slot->tts_values, slot->tts_isnull,
	            training->pending + (size_t) at * training->columns.n_features);
	training->weights[at] = weight_of_row(training, slot);
	training->hashes[at] = training->rows;
	if (++training->n_pending == PENDING_ROWS)
		append_pending(training);
	return true;
}

static void
read_rows(Training *training)
{
	const PeTrainColumns *columns = &training->columns;
	const PeSource *source = training->request->source;
	pe_feature_spec *specs = palloc0(sizeof(pe_feature_spec) * columns->n_features);
	pe_error error;

	for (int i = 0; i < columns->n_features; i++)
	{
		specs[i].name = columns->features[i].name;
		specs[i].source_type = pe_feature_encode(&columns->features[i]);
		specs[i].kind =
		    pe_feature_is_category(&columns->features[i]) ? PE_FEATURE_CATEGORICAL : PE_FEATURE_NUMERIC;
	}
	pe_check(pe_dataset_create(&training->request->env, training->options.core.algorithm, specs,
	                           columns->n_features, columns->weight >= 0, &training->dataset, &error),
	         &error);
	training->pending = palloc(sizeof(double) * PENDING_ROWS * columns->n_features);
	training->reader =
	    pe_row_reader_create(columns->n_features, columns->features, columns->inputs, columns->slots,
	                         columns->snapshot, &columns->snapshot_input, code_of_level, training);
	training->rows_that_fit =
	    pe_training_memory_rows(&training->options.core, columns->n_features, columns->weight >= 0,
	                            (size_t) pe_training_memory_limit * 1024 * 1024);
	pe_source_read(source, columns->columns, columns->n_columns, PE_SOURCE_ORDERED, read_row, training);
	append_pending(training);
	check_rows_fit(training);
}

/* ---- what was found ----------------------------------------------------------------------- */

/* How far apart clusters are by their mean silhouette, after Kaufman and Rousseeuw (1990). */
static pe_verdict
verdict_of(double silhouette)
{
	if (isnan(silhouette))
		return PE_VERDICT_NOT_EVALUATED;
	if (silhouette > 0.70)
		return PE_VERDICT_EXCELLENT;
	if (silhouette > 0.50)
		return PE_VERDICT_GOOD;
	return silhouette > 0.25 ? PE_VERDICT_FAIR : PE_VERDICT_POOR;
}

static char *
sentence_of(pe_verdict verdict, pe_segment_summary summary)
{
	const char *words = "Not evaluated: one segment has nothing to be told from.";

	switch (verdict)
	{
		case PE_VERDICT_EXCELLENT:
			words = "Excellent: the segments are far apart";
			break;
		case PE_VERDICT_GOOD:
			words = "Good: the segments are clearly apart";
			break;
		case PE_VERDICT_FAIR:
			words = "Fair: the segments overlap";
			break;
		case PE_VERDICT_POOR:
			words = "Poor: rows are spread without gaps, so that the segments' borders are arbitrary";
			break;
		default:
			return pstrdup(words);
	}
	return psprintf("%s (silhouette %.2f); they account for %.0f %% of the variance.", words,
	                summary.silhouette, 100 * summary.explained);
}

/* "segments": [{...}, ...], a row for each cluster and feature. */
static char *
profile_json(const pe_model *model)
{
	int clusters = pe_model_segment_summary(model).clusters;
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoString(&json, "\"segments\": [");
	for (int cluster = 1; cluster <= clusters; cluster++)
	{
		for (int i = 0; i < pe_model_feature_count(model); i++)
		{
			pe_segment_profile profile = pe_model_segment_profile(model, cluster, i);

			appendStringInfoString(&json, cluster > 1 || i > 0 ? ", {" : "{");
			pe_json_field(&json, "cluster", cluster);
			pe_json_field(&json, "rows", (double) pe_model_segment_rows(model, cluster));
			pe_json_field(&json, "share", pe_model_segment_share(model, cluster));
			appendStringInfoString(&json, ", \"feature\": ");
			escape_json(&json, pe_model_get_feature(model, i).name);
			appendStringInfoString(&json, ", \"level\": ");
			if (profile.level != NULL)
				escape_json(&json, profile.level);
			else
				appendStringInfoString(&json, "null");
			pe_json_field(&json, "value", profile.cluster);
			pe_json_field(&json, "overall", profile.overall);
			pe_json_field(&json, "difference", profile.difference);
			pe_json_field(&json, "missing", profile.missing);
			appendStringInfoChar(&json, '}');
		}
	}
	appendStringInfoChar(&json, ']');
	return json.data;
}

static int
store(Training *training, const pe_model *model, pe_verdict verdict)
{
	pe_segment_summary summary = pe_model_segment_summary(model);
	PeNewVersion version = pe_new_version(training->request);
	PeFigures figures;

	version.algorithm = training->options.core.algorithm;
	version.objective = "inertia";
	version.key = training->options.key;
	version.rows = (int64) training->rows;
	version.verdict = sentence_of(verdict, summary);
	version.quality = pe_verdict_name(verdict);
	version.memory = (int64) pe_training_memory(&training->options.core, training->columns.n_features,
	                                            training->columns.weight >= 0, training->rows);
	version.deploy = training->options.deploy;
	version.features_json = pe_features_json(&training->columns, model);
	pe_figures_begin(&figures);
	pe_figures_say(&figures, "verdict", version.verdict);
	pe_figures_add(
	    &figures, "silhouette", summary.silhouette,
	    "how much nearer a row is to its own segment than to the next: 1 is apart, 0 is no border");
	pe_figures_add(&figures, "explained", summary.explained,
	               "share of the variance that lies between the segments");
	pe_figures_add(&figures, "inertia", summary.inertia,
	               "sum of squared distances to the segments' centres, in standard deviations");
	pe_figures_add(&figures, "segments", summary.clusters, "how many segments there are");
	for (int i = 1; i <= summary.clusters; i++)
		pe_figures_add(
		    &figures, psprintf("segment %d", i), pe_model_segment_share(model, i),
		    psprintf("share of the segment, %lld rows", (long long) pe_model_segment_rows(model, i)));
	pe_figures_add(&figures, "training_rows", (double) pe_model_training_rows(model), "rows learnt from");
	pe_figures_notes(&figures, model);
	version.metrics_json = pe_figures_metrics(&figures);
	version.evaluation_json = pe_figures_evaluation(&figures, profile_json(model));
	return pe_store_version(training->request, &version, model);
}

PeTrained
pe_train_segment(PeTrainRequest *request)
{
	Training *training = parse_options(request);
	PeTrained trained = {.algorithm = training->options.core.algorithm, .metric = "silhouette"};
	pe_model *model;
	pe_verdict verdict;
	pe_error error;

	training->columns = pe_train_columns(request->source, NULL, &training->options);
	read_rows(training);
	pe_enter_phase(&request->timing, "fit");
	pe_check(pe_segment_train(&request->env, training->dataset, &training->options.core, &model, &error),
	         &error);
	for (int i = 0; i < pe_model_note_count(model); i++)
		ereport(NOTICE, (errmsg("%s", pe_model_note(model, i))));
	trained.headline = pe_model_segment_summary(model).silhouette;
	verdict = verdict_of(trained.headline);
	trained.version = store(training, model, verdict);
	trained.rows = (int64) training->rows;
	trained.features = training->columns.n_features;
	trained.quality = pe_verdict_name(verdict);
	return trained;
}
