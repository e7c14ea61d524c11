/*
 * train_figures.c
 *		Figures and features of a version as JSON, and storing it.
 */
#include "postgres.h"

#include <math.h>

#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"

#include "pg/evaluation.h"
#include "pg/progress.h"
#include "pg/report.h"
#include "pg/train_figures.h"

void
pe_figures_begin(PeFigures *figures)
{
	initStringInfo(&figures->rows);
	initStringInfo(&figures->metrics);
	appendStringInfoChar(&figures->rows, '[');
	appendStringInfoChar(&figures->metrics, '{');
}

void
pe_json_field(StringInfo json, const char *name, double value)
{
	appendStringInfo(json, "%s\"%s\": ", json->data[json->len - 1] == '{' ? "" : ", ", name);
	pe_json_number(json, value);
}

static void
add_row(PeFigures *figures, const char *name, double value, const char *meaning)
{
	appendStringInfo(&figures->rows, "%s{\"metric\": ", figures->rows.len > 1 ? ", " : "");
	escape_json(&figures->rows, name);
	appendStringInfoString(&figures->rows, ", \"value\": ");
	pe_json_number(&figures->rows, value);
	appendStringInfoString(&figures->rows, ", \"meaning\": ");
	escape_json(&figures->rows, pe_valid_text(meaning));
	appendStringInfoChar(&figures->rows, '}');
}

void
pe_figures_add(PeFigures *figures, const char *name, double value, const char *meaning)
{
	if (isnan(value))
		return;
	add_row(figures, name, value, meaning);
	pe_json_field(&figures->metrics, name, value);
}

void
pe_figures_say(PeFigures *figures, const char *name, const char *words)
{
	add_row(figures, name, NAN, words);
}

void
pe_figures_notes(PeFigures *figures, const pe_model *model)
{
	for (int i = 0; i < pe_model_note_count(model); i++)
		pe_figures_say(figures, "note", pe_model_note(model, i));
}

char *
pe_figures_evaluation(PeFigures *figures, const char *more)
{
	return psprintf("{\"rows\": %s], \"deciles\": [], \"roc\": [], \"calibration\": []%s%s}",
	                figures->rows.data, more != NULL ? ", " : "", more != NULL ? more : "");
}

char *
pe_figures_metrics(PeFigures *figures)
{
	return psprintf("%s}", figures->metrics.data);
}

char *
pe_features_json(const PeTrainColumns *columns, const pe_model *model)
{
	StringInfoData json;

	initStringInfo(&json);
	for (int i = 0; i < columns->n_features; i++)
	{
		pe_model_feature feature = pe_model_get_feature(model, i);
		const PeFeature *origin = &columns->features[i];

		appendStringInfo(&json, "%s{\"name\": ", i > 0 ? ", " : "[");
		escape_json(&json, feature.name);
		appendStringInfoString(&json, ", \"column\": ");
		escape_json(&json, origin->column);
		appendStringInfo(&json, ", \"treatment\": \"%s\", \"levels\": %d, \"used\": %s, \"splits\": %lld",
		                 pe_treatment_name(origin->treatment), feature.n_levels,
		                 feature.used ? "true" : "false", (long long) feature.splits);
		pe_json_field(&json, "gain", feature.gain);
		pe_json_field(&json, "mean_contribution", feature.mean_contribution);
		appendStringInfoChar(&json, '}');
	}
	appendStringInfoChar(&json, ']');
	return json.data;
}

PeNewVersion
pe_new_version(const PeTrainRequest *request)
{
	PeNewVersion version = {
	    .model = request->model,
	    .task = request->task,
	    .target = request->target,
	    .source = request->source->text,
	    .consent = request->consent,
	    .without_consent = request->without_consent,
	    .positives = -1,
	    .options_json = request->options != NULL
	                        ? JsonbToCString(NULL, &request->options->root, VARSIZE(request->options))
	                        : "{}",
	};

	return version;
}

int
pe_store_version(PeTrainRequest *request, PeNewVersion *version, const pe_model *model)
{
	uint8_t *artifact;
	size_t length;
	pe_error error;
	char *checksum;

	pe_enter_phase(&request->timing, "store");
	pe_progress_publish("store", 0, 0);
	pe_check(pe_model_serialize(&request->env, model, &artifact, &length, &error), &error);
	version->artifact = artifact;
	version->artifact_length = length;
	version->seconds_json = pe_seconds_json(&request->timing);
	return pe_model_store(version, &checksum);
}
