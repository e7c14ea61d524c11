/*
 * evaluation.c
 *		How good a model is: the rows of evaluation() and evaluate(), and what of them is
 *		stored.
 */
#include "postgres.h"

#include <math.h>

#include "common/shortest_dec.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"

#include "pg/env.h"
#include "pg/evaluation.h"
#include "pg/guc.h"
#include "pg/models.h"
#include "pg/progress.h"
#include "pg/report.h"
#include "pg/source.h"
#include "pg/target.h"

/* Rows evaluated at a time by evaluate(). */
#define BLOCK_ROWS 1024

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
    {"base_rate", AT(base_rate), "mean of the target over the evaluated rows"},
};

static double
figure_value(const pe_evaluation *evaluation, const Figure *figure)
{
	return *(const double *) ((const char *) evaluation + figure->offset);
}

static const Figure *
figures_of(const pe_evaluation *evaluation, int *n)
{
	bool propensity = evaluation->task == PE_TASK_PROPENSITY;

	*n = propensity ? lengthof(propensity_figures) : lengthof(value_figures);
	return propensity ? propensity_figures : value_figures;
}

typedef void (*row_sink)(void *arg, const char *metric, double value, const char *meaning);

/* The rows of evaluation() and evaluate(), verdict first. */
static void
each_row(const pe_evaluation *evaluation, row_sink sink, void *arg)
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
		     psprintf("%s of \"%s\" alone",
		              evaluation->task == PE_TASK_PROPENSITY ? "AUC" : "share of variance",
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
	escape_json(json, meaning);
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

char *
pe_evaluation_json(const pe_evaluation *evaluation, const pe_model *model)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoString(&json, "{\"rows\": [");
	each_row(evaluation, put_json_row, &json);
	put_fit_rows(&json, model);
	for (int i = 0; i < pe_model_note_count(model); i++)
		put_json_row(&json, "note", NAN, pe_model_note(model, i));
	appendStringInfoString(&json, "], \"deciles\": [");
	if (evaluation->evaluated)
	{
		deciles_to_json(&json, evaluation);
		curves_to_json(&json, evaluation);
	}
	else
		appendStringInfoString(&json, "], \"roc\": [], \"calibration\": [");
	appendStringInfoString(&json, "]}");
	return json.data;
}

/* ---- evaluate(model, source, target, version) ------------------------------------------- */

typedef struct Evaluating
{
	const PeModel *model;
	PeBinding *binding;
	PeTarget target; /* in slot 0 */
	double *values;  /* [BLOCK_ROWS][n_features] */
	int filled;
	double *predictions; /* grow together */
	double *targets;
	size_t rows; /* with a target */
	size_t capacity;
	uint64 read;
	MemoryContext context;
	pe_env env;
	pe_predictor *predictor;
} Evaluating;

static void
grow(Evaluating *evaluating)
{
	MemoryContext before;

	if (evaluating->rows + BLOCK_ROWS <= evaluating->capacity)
		return;
	before = MemoryContextSwitchTo(evaluating->context);
	evaluating->capacity = evaluating->capacity == 0 ? 64 * 1024 : evaluating->capacity * 2;
	if (evaluating->predictions == NULL)
	{
		evaluating->predictions =
		    MemoryContextAllocHuge(evaluating->context, evaluating->capacity * sizeof(double));
		evaluating->targets =
		    MemoryContextAllocHuge(evaluating->context, evaluating->capacity * sizeof(double));
	}
	else
	{
		evaluating->predictions =
		    repalloc_huge(evaluating->predictions, evaluating->capacity * sizeof(double));
		evaluating->targets = repalloc_huge(evaluating->targets, evaluating->capacity * sizeof(double));
	}
	MemoryContextSwitchTo(before);
}

static void
predict_block(Evaluating *evaluating)
{
	size_t first = evaluating->rows - evaluating->filled;
	pe_error err = {0};

	pe_check(pe_predictor_predict(evaluating->predictor, evaluating->values, evaluating->model->n_features,
	                              evaluating->filled, pe_threads, evaluating->predictions + first, &err),
	         &err);
	evaluating->filled = 0;
	pe_progress_publish("predict", evaluating->read, 0);
}

static bool
evaluate_row(void *arg, TupleTableSlot *slot)
{
	Evaluating *evaluating = (Evaluating *) arg;

	evaluating->read++;
	if (slot->tts_isnull[0])
		return true;
	if (evaluating->filled == 0)
		grow(evaluating);
	pe_bind_values(evaluating->binding, slot->tts_values, slot->tts_isnull,
	               evaluating->values + (size_t) evaluating->filled * evaluating->model->n_features, NULL);
	evaluating->targets[evaluating->rows++] =
	    pe_target_value(&evaluating->target, slot->tts_values[0], evaluating->read);
	if (++evaluating->filled == BLOCK_ROWS)
		predict_block(evaluating);
	return true;
}

static void
put_store_row(void *arg, const char *metric, double value, const char *meaning)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) arg;
	Datum values[3] = {CStringGetTextDatum(metric), Float8GetDatum(value), CStringGetTextDatum(meaning)};
	bool nulls[3] = {false, isnan(value), false};

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* Reads the source, predicting as it goes. */
static void
evaluate_source(Evaluating *evaluating, const char *source_text, const char *target_name)
{
	const PeModel *model = evaluating->model;
	PeSource *source = pe_source_open(source_text, "source");
	int target = pe_source_need_column(source, target_name, "target");
	Oid type = TupleDescAttr(source->desc, target)->atttypid;
	const char *positive = NULL;
	int *columns;
	int n_columns;
	pe_error err = {0};

	/* A text target is told apart by the label that training found. */
	if (model->task == PE_TASK_PROPENSITY && pe_treatment_of_type(type) == PE_TREAT_CATEGORY)
		positive = model->positive_label;
	evaluating->target = pe_target_init(target_name, type, model->task, positive);
	evaluating->binding = pe_bind_source(model, source, &target, 1, &columns, &n_columns);
	evaluating->values = palloc(sizeof(double) * BLOCK_ROWS * Max(model->n_features, 1));
	evaluating->context = CurrentMemoryContext;
	evaluating->env = pe_quiet_env(CurrentMemoryContext);
	pe_check(pe_predictor_create(&evaluating->env, model->core, &evaluating->predictor, &err), &err);
	pe_source_read(source, columns, n_columns, 0, evaluate_row, evaluating);
	if (evaluating->filled > 0)
		predict_block(evaluating);
	if (evaluating->rows == 0)
		ereport(ERROR,
		        (errcode(ERRCODE_DATA_EXCEPTION), errmsg("%s has no rows with a target", source->name)));
}

PG_FUNCTION_INFO_V1(pe_evaluate_model);

/* evaluate(model, source, target, version) -> (metric, value, meaning), on rows of the caller's. */
Datum
pe_evaluate_model(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Evaluating evaluating = {0};
	pe_evaluation *evaluation;
	pe_env env;
	pe_error error;
	pe_status status;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("arguments model, source and target are required")));
	InitMaterializedSRF(fcinfo, 0);
	evaluating.model = pe_model_open(text_to_cstring(PG_GETARG_TEXT_PP(0)),
	                                 PG_ARGISNULL(3) ? 0 : PG_GETARG_INT32(3), CurrentMemoryContext);
	if (evaluating.model->task != PE_TASK_PROPENSITY && evaluating.model->task != PE_TASK_VALUE &&
	    evaluating.model->task != PE_TASK_AFFINITY)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
		                errmsg("model \"%s\" has the task %s, which predicts no target",
		                       evaluating.model->name, pe_task_name(evaluating.model->task)),
		                errhint("Lifetime models are compared with a later period by lifetime_evaluate.")));
	evaluate_source(&evaluating, text_to_cstring(PG_GETARG_TEXT_PP(1)),
	                text_to_cstring(PG_GETARG_TEXT_PP(2)));
	evaluation = palloc0(sizeof(pe_evaluation));
	env = pe_server_env(CurrentMemoryContext);
	status = pe_evaluate(&env, evaluating.model->task, evaluating.predictions, evaluating.targets, NULL,
	                     evaluating.rows, evaluation, &error);
	pe_check(status, &error);
	each_row(evaluation, put_store_row, rsinfo);
	return (Datum) 0;
}
