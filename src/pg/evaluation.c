/*
 * evaluation.c
 *		How good a model is: the rows of evaluation() and evaluate(), what of them is
 *		stored, and the score distribution.
 */
#include "postgres.h"

#include <math.h>

#include "common/shortest_dec.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/json.h"

#include "model/selection.h"
#include "pg/evaluation.h"
#include "pg/models.h"
#include "pg/report.h"

/* A figure, where it is kept, and how to read it. */
typedef struct Figure
{
	const char *name;
	size_t offset;
	const char *meaning;
} Figure;

#define AT(field) offsetof(pe_evaluation, field)

static const Figure propensity_figures[] = {
    {"auc", AT(auc),
     "chance that a positive row is ranked above a negative one: 0.5 is guessing, 1 is perfect"},
    {"log_loss", AT(log_loss),
     "mean surprise of the outcomes under the predicted probabilities: lower is better"},
    {"brier", AT(brier), "mean squared distance of probability and outcome: lower is better"},
    {"ks", AT(ks), "largest gap between the score distributions of positives and negatives"},
    {"average_precision", AT(average_precision),
     "area under the precision-recall curve; guessing gives the base rate"},
    {"ece", AT(ece), "mean distance between predicted probability and observed rate, by calibration bin"},
    {"base_rate", AT(base_rate), "share of positives among the evaluated rows"},
};

static const Figure value_figures[] = {
    {"gini", AT(gini), "how well rows are ordered by value: 0 is random, 1 is perfect"},
    {"rmse", AT(rmse), "root of the mean squared error, in the target's unit"},
    {"mae", AT(mae), "mean absolute error, in the target's unit"},
    {"r2", AT(r2), "share of the variance explained: 0 is the mean, 1 is perfect"},
    {"deviance", AT(deviance), "mean deviance, what the objective makes small: lower is better"},
    {"deviance_explained", AT(deviance_explained),
     "share of the deviance explained: 0 is the best constant, 1 is perfect"},
    {"coverage", AT(coverage), "share of the rows that are at most the predicted quantile"},
    {"base_rate", AT(base_rate), "mean of the target over the evaluated rows"},
};

static const Figure affinity_figures[] = {
    {"macro_auc", AT(macro_auc),
     "chance that a row of a class is ranked above one of another, by the class's probability: mean of the "
     "classes; 0.5 is guessing, 1 is perfect"},
    {"accuracy", AT(accuracy), "share of the rows whose most probable class is theirs"},
    {"top3_accuracy", AT(top3_accuracy), "share of the rows whose class is among the three most probable"},
    {"log_loss", AT(log_loss),
     "mean surprise of the classes under the predicted probabilities: lower is better"},
    {"null_log_loss", AT(null_log_loss), "the same for predicting the classes' shares for everybody"},
    {"brier", AT(brier),
     "mean squared distance of probabilities and outcome over all classes: lower is better"},
    {"base_rate", AT(base_rate), "share of the most frequent class: what always naming it gets right"},
};

static double
figure_value(const pe_evaluation *evaluation, const Figure *figure)
{
	return *(const double *) ((const char *) evaluation + figure->offset);
}

static const Figure *
figures_of(const pe_evaluation *evaluation, int *n)
{
	switch (evaluation->task)
	{
		case PE_TASK_PROPENSITY:
			*n = lengthof(propensity_figures);
			return propensity_figures;
		case PE_TASK_AFFINITY:
			*n = lengthof(affinity_figures);
			return affinity_figures;
		default:
			*n = lengthof(value_figures);
			return value_figures;
	}
}

void
pe_evaluation_rows(const pe_evaluation *evaluation, pe_evaluation_sink sink, void *arg)
{
	int n;
	const Figure *figures = figures_of(evaluation, &n);

	sink(arg, "verdict", NAN, evaluation->sentence);
	for (int i = 0; i < n && evaluation->evaluated; i++)
	{
		double value = figure_value(evaluation, &figures[i]);

		if (isfinite(value))
			sink(arg, figures[i].name, value, figures[i].meaning);
	}
	if (isfinite(evaluation->strongest_auc) && evaluation->strongest_feature[0] != '\0')
		sink(arg, "strongest_feature", evaluation->strongest_auc,
		     psprintf("%s of \"%s\" alone", evaluation->task == PE_TASK_VALUE ? "share of variance" : "AUC",
		              evaluation->strongest_feature));
	if (evaluation->evaluated)
		sink(arg, "rows", (double) evaluation->rows, "rows evaluated");
	if (evaluation->evaluated && evaluation->task == PE_TASK_PROPENSITY)
		sink(arg, "positives", (double) evaluation->positives, "positives among them");
	if (evaluation->training_rows > 0)
		sink(arg, "training_rows", (double) evaluation->training_rows, "rows trained on");
	if (evaluation->training_rows > 0 && evaluation->task == PE_TASK_PROPENSITY)
		sink(arg, "training_positives", (double) evaluation->training_positives, "positives among them");
}

/* ---- as JSON -------------------------------------------------------------------------- */

void
pe_json_number(StringInfo json, double value)
{
	char digits[DOUBLE_SHORTEST_DECIMAL_LEN];

	if (!isfinite(value))
	{
		appendStringInfoString(json, "null");
		return;
	}
	double_to_shortest_decimal_buf(value, digits);
	appendStringInfoString(json, digits);
}

static void
json_field(StringInfo json, const char *name, double value)
{
	char last = json->data[json->len - 1];

	appendStringInfo(json, "%s\"%s\": ", last == '{' ? "" : ", ", name);
	pe_json_number(json, value);
}

char *
pe_metrics_json(const pe_evaluation *evaluation)
{
	StringInfoData json;
	int n;
	const Figure *figures = figures_of(evaluation, &n);

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	for (int i = 0; i < n && evaluation->evaluated; i++)
		if (isfinite(figure_value(evaluation, &figures[i])))
			json_field(&json, figures[i].name, figure_value(evaluation, &figures[i]));
	json_field(&json, "rows", evaluation->evaluated ? (double) evaluation->rows : 0);
	json_field(&json, "training_rows", (double) evaluation->training_rows);
	appendStringInfoChar(&json, '}');
	return json.data;
}

static void
put_json_row(void *arg, const char *metric, double value, const char *meaning)
{
	StringInfo json = (StringInfo) arg;

	appendStringInfo(json, "%s{\"metric\": ", json->data[json->len - 1] == '[' ? "" : ", ");
	escape_json(json, metric);
	appendStringInfoString(json, ", \"value\": ");
	pe_json_number(json, value);
	appendStringInfoString(json, ", \"meaning\": ");
	escape_json(json, pe_valid_text(meaning));
	appendStringInfoChar(json, '}');
}

static void
deciles_to_json(StringInfo json, const pe_evaluation *evaluation)
{
	for (int i = 0; i < evaluation->n_deciles; i++)
	{
		const pe_decile *decile = &evaluation->deciles[i];

		appendStringInfoString(json, i > 0 ? ", {" : "{");
		json_field(json, "decile", i + 1);
		json_field(json, "rows", (double) decile->rows);
		json_field(json, "sum_target", decile->sum_target);
		json_field(json, "mean_target", decile->mean_target);
		json_field(json, "mean_prediction", decile->mean_prediction);
		json_field(json, "lift", decile->lift);
		json_field(json, "cumulative_lift", decile->cumulative_lift);
		json_field(json, "cumulative_gain", decile->cumulative_gain);
		json_field(json, "lowest_prediction", decile->lowest_prediction);
		appendStringInfoChar(json, '}');
	}
}

static void
curves_to_json(StringInfo json, const pe_evaluation *evaluation)
{
	appendStringInfoString(json, "], \"roc\": [");
	for (int i = 0; i < evaluation->n_roc; i++)
	{
		appendStringInfoString(json, i > 0 ? ", {" : "{");
		json_field(json, "threshold", evaluation->roc[i].threshold);
		json_field(json, "false_positive_rate", evaluation->roc[i].false_positive_rate);
		json_field(json, "true_positive_rate", evaluation->roc[i].true_positive_rate);
		appendStringInfoChar(json, '}');
	}
	appendStringInfoString(json, "], \"calibration\": [");
	for (int i = 0; i < evaluation->n_bins; i++)
	{
		const pe_calibration_bin *bin = &evaluation->bins[i];

		appendStringInfoString(json, i > 0 ? ", {" : "{");
		json_field(json, "bin", i + 1);
		json_field(json, "lowest", bin->lowest);
		json_field(json, "highest", bin->highest);
		json_field(json, "rows", (double) bin->rows);
		json_field(json, "mean_prediction", bin->mean_prediction);
		json_field(json, "mean_target", bin->mean_target);
		appendStringInfoChar(json, '}');
	}
}

/* What the likelihood says of a linear model, on the rows that it learnt from. */
static void
put_fit_rows(StringInfo json, const pe_model *model)
{
	const struct
	{
		const char *name;
		double value;
		const char *meaning;
	} figures[] = {
	    {"training_deviance", pe_model_deviance(model), "deviance of the rows trained on"},
	    {"training_null_deviance", pe_model_null_deviance(model), "the same of their mean alone"},
	    {"dispersion", pe_model_dispersion(model), "variance left over what the mean explains, by Pearson"},
	    {"log_likelihood", pe_model_log_likelihood(model), "of the rows trained on"},
	    {"aic", pe_model_aic(model),
	     "Akaike's criterion: to compare models of the same rows, lower is better"},
	};

	for (int i = 0; i < lengthof(figures); i++)
		if (isfinite(figures[i].value))
			put_json_row(json, figures[i].name, figures[i].value, figures[i].meaning);
}

static void
classes_to_json(StringInfo json, const pe_evaluation *evaluation)
{
	appendStringInfoString(json, "], \"classes\": [");
	for (int i = 0; i < evaluation->n_classes; i++)
	{
		const pe_class_evaluation *class = &evaluation->classes[i];

		appendStringInfoString(json, i > 0 ? ", {\"class\": " : "{\"class\": ");
		escape_json(json, pe_valid_text(class->name));
		json_field(json, "rows", (double) class->rows);
		json_field(json, "share", class->share);
		json_field(json, "mean_prediction", class->mean_prediction);
		json_field(json, "auc", class->auc);
		json_field(json, "precision", class->precision);
		json_field(json, "recall", class->recall);
		appendStringInfoChar(json, '}');
	}
}

/* The class of an index of the confusion matrix. */
static const char *
confusion_name(const pe_evaluation *evaluation, int index)
{
	return index < evaluation->n_confusion ? evaluation->classes[evaluation->confusion_class[index]].name
	                                       : "(other)";
}

static void
confusion_to_json(StringInfo json, const pe_evaluation *evaluation)
{
	int n = evaluation->n_confusion + (evaluation->n_classes > evaluation->n_confusion);

	appendStringInfoString(json, "], \"confusion\": [");
	for (int actual = 0; actual < n && evaluation->n_classes > 0; actual++)
		for (int predicted = 0; predicted < n; predicted++)
		{
			appendStringInfoString(json, actual + predicted > 0 ? ", {\"actual\": " : "{\"actual\": ");
			escape_json(json, pe_valid_text(confusion_name(evaluation, actual)));
			appendStringInfoString(json, ", \"predicted\": ");
			escape_json(json, pe_valid_text(confusion_name(evaluation, predicted)));
			json_field(json, "weight", evaluation->confusion[actual][predicted]);
			appendStringInfoChar(json, '}');
		}
}

char *
pe_evaluation_json(const pe_evaluation *evaluation, const pe_model *model)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoString(&json, "{\"rows\": [");
	pe_evaluation_rows(evaluation, put_json_row, &json);
	put_fit_rows(&json, model);
	for (int i = 0; i < pe_model_note_count(model); i++)
		put_json_row(&json, "note", NAN, pe_model_note(model, i));
	appendStringInfoString(&json, "], \"deciles\": [");
	if (evaluation->evaluated)
	{
		deciles_to_json(&json, evaluation);
		curves_to_json(&json, evaluation);
		classes_to_json(&json, evaluation);
		confusion_to_json(&json, evaluation);
	}
	else
		appendStringInfoString(&json,
		                       "], \"roc\": [], \"calibration\": [], \"classes\": [], \"confusion\": [");
	appendStringInfoString(&json, "]}");
	return json.data;
}

/* ---- score_distribution(model, version) --------------------------------------------------- */

PG_FUNCTION_INFO_V1(pe_score_distribution);

/* score_distribution(model, version) -> (percent, prediction): 0 to 100 % of the rows are at most it. */
Datum
pe_score_distribution(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const PeModel *model;
	const double *points;
	int n;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	model = pe_model_open(text_to_cstring(PG_GETARG_TEXT_PP(0)), pe_version_argument(fcinfo, 1),
	                      CurrentMemoryContext);
	points = pe_model_distribution(model->core, &n);
	for (int percent = 0; percent <= 100 && n > 0; percent++)
	{
		Datum values[2] = {Int32GetDatum(percent), Float8GetDatum(points[(int64) percent * (n - 1) / 100])};
		bool nulls[2] = {false, false};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
