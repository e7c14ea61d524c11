/*
 * predict.c
 *		From a row of values to a margin, a prediction and a score.
 */
#include "model/internal.h"

static inline double
tree_value(const pe_model *model, uint32_t tree, const double *values)
{
	uint32_t at = model->roots[tree];

	while (model->nodes[at].left != 0)
		at = model->nodes[at].left + !pe_goes_left(model, &model->nodes[at], values);
	return model->values[at];
}

/* What one feature adds to a linear margin. */
static inline double
linear_term(const pe_feature *feature, double value)
{
	if (feature->kind == PE_FEATURE_CATEGORICAL)
		return feature->terms[pe_feature_slot(feature, value)];
	return feature->slope * (isnan(value) ? feature->fill : value);
}

static double
linear_margin(const pe_model *model, const double *values)
{
	double margin = model->intercept;

	for (int i = 0; i < model->n_features; i++)
		if (model->features[i].used)
			margin += linear_term(&model->features[i], values[i]);
	return margin;
}

double
pe_model_margin(const pe_model *model, const double *values)
{
	double margin = model->base_margin;

	if (model->algorithm != PE_ALGORITHM_BOOSTED_TREES)
		return linear_margin(model, values);
	for (uint32_t tree = 0; tree < model->n_trees; tree++)
		margin += tree_value(model, tree, values);
	return margin;
}

static double
isotonic(const pe_model *model, double margin)
{
	uint32_t low = 0, high = model->n_calibration - 1;
	double span;

	if (!(margin > model->calibration_x[0]))
		return model->calibration_y[0];
	if (margin >= model->calibration_x[high])
		return model->calibration_y[high];
	while (high - low > 1)
	{
		uint32_t middle = (low + high) / 2;

		if (model->calibration_x[middle] <= margin)
			low = middle;
		else
			high = middle;
	}
	span = model->calibration_x[high] - model->calibration_x[low];
	if (!(span > 0))
		return model->calibration_y[high];
	return model->calibration_y[low] + (model->calibration_y[high] - model->calibration_y[low]) *
	                                       ((margin - model->calibration_x[low]) / span);
}

double
pe_model_link(const pe_model *model, double margin)
{
	if (model->task != PE_TASK_PROPENSITY)
		return margin;
	switch (model->calibration)
	{
		case PE_CALIBRATION_NONE:
			break;
		case PE_CALIBRATION_PLATT:
			return pe_sigmoid(model->calibration_x[0] * margin + model->calibration_y[0]);
		case PE_CALIBRATION_ISOTONIC:
			return isotonic(model, margin);
	}
	return pe_sigmoid(margin);
}

double
pe_model_predict(const pe_model *model, const double *values)
{
	return pe_model_link(model, pe_model_margin(model, values));
}

/* Points below x (or_equal: or at x). */
static uint32_t
count_below(const double *points, uint32_t count, double x, bool or_equal)
{
	uint32_t low = 0, high = count;

	while (low < high)
	{
		uint32_t middle = (low + high) / 2;

		if (points[middle] < x || (or_equal && points[middle] == x))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

pe_score
pe_model_score(const pe_model *model, double prediction)
{
	pe_score score = {50, 50, PE_BUCKET_MEDIUM};
	double share;

	if (model->n_distribution == 0 || isnan(prediction))
		return score;
	share = 0.5 *
	        ((double) count_below(model->distribution, model->n_distribution, prediction, false) +
	         (double) count_below(model->distribution, model->n_distribution, prediction, true)) /
	        model->n_distribution;
	score.score = (int) floor(100 * share + 0.5);
	score.percentile = 1 + (int) floor(100 * share);
	if (score.percentile > 100)
		score.percentile = 100;
	score.bucket = (pe_bucket) (1 + (score.percentile - 1) / 20);
	return score;
}

const char *
pe_bucket_name(pe_bucket bucket)
{
	switch (bucket)
	{
		case PE_BUCKET_VERY_LOW:
			return "very low";
		case PE_BUCKET_LOW:
			return "low";
		case PE_BUCKET_MEDIUM:
			return "medium";
		case PE_BUCKET_HIGH:
			return "high";
		case PE_BUCKET_VERY_HIGH:
			return "very high";
	}
	return NULL;
}
