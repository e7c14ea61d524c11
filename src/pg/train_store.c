/*
 * train_store.c
 *		What a training leaves: a version with its artifact, features and evaluation.
 */
#include "postgres.h"

#include <math.h>

#include "utils/builtins.h"
#include "utils/json.h"

#include "pg/evaluation.h"
#include "pg/goal.h"
#include "pg/models.h"
#include "pg/progress.h"
#include "pg/report.h"
#include "pg/training.h"

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
	escape_json(json, pe_valid_text(summary->top));
	appendStringInfoString(json, ", \"top_share\": ");
	pe_json_number(json, summary->top_share);
}

static char *
features_json(const PeTraining *training, const pe_model *model)
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

int
pe_training_store(PeTraining *training)
{
	Jsonb *options = training->request->options;
	const pe_model *model = training->model;
	const pe_evaluation *evaluation = training->evaluation;
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
	    .consent = training->request->consent,
	    .without_consent = training->request->without_consent,
	    .goal = training->request->goal != NULL ? training->request->goal->name : NULL,
	    .learnt_until = training->request->learnt_until,
	    .rows = (int64) (training->rows - training->without_target),
	    .positives = training->request->task == PE_TASK_PROPENSITY ? (int64) training->positives : -1,
	    .options_json = options != NULL ? JsonbToCString(NULL, &options->root, VARSIZE(options)) : "{}",
	    .holdout = pe_training_holdout(training),
	    .verdict = pe_valid_text(evaluation->sentence),
	    .quality = pe_verdict_name(evaluation->verdict),
	    .positive_label = pe_target_positive_label(&training->target),
	    .negative_label = pe_target_negative_label(&training->target),
	    .threshold = training->options.threshold,
	    .memory = (int64) training->memory,
	    .deploy = training->options.deploy,
	};
	int number;

	pe_enter_phase(&training->request->timing, "store");
	pe_progress_publish("store", 0, 0);
	pe_check(pe_model_serialize(&training->request->env, model, &artifact, &length, &error), &error);
	version.artifact = artifact;
	version.artifact_length = length;
	version.features_json = features_json(training, model);
	version.metrics_json = pe_metrics_json(evaluation);
	version.evaluation_json = pe_evaluation_json(evaluation, model);
	version.seconds_json = pe_seconds_json(&training->request->timing);
	number = pe_model_store(&version, &checksum);
	pe_training_store_trials(training, number);
	return number;
}
