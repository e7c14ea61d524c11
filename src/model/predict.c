/*
 * predict.c
 *		From a row of values to a margin, a prediction and a score.
 */
#include "model/family.h"

#define LARGEST_LOG 700.0 /* so that a prediction stays finite */

int
pe_model_margin_count(const pe_model *model)
{
	return model->n_classes > 0 ? model->n_classes : 1;
}

void
pe_model_margins(const pe_model *model, const double *values, double *margins)
{
	if (model->family->margins != NULL)
		model->family->margins(model, values, margins);
	else
		margins[0] = model->family->predict(model, values);
}

double
pe_model_margin(const pe_model *model, const double *values)
{
	double margins[PE_MAX_CLASSES], largest;

	pe_model_margins(model, values, margins);
	largest = margins[0];
	for (int i = 1; i < model->n_classes; i++)
		largest = margins[i] > largest ? margins[i] : largest;
	return largest;
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
	switch (model->calibration)
	{
		case PE_CALIBRATION_NONE:
			break;
		case PE_CALIBRATION_PLATT:
			return pe_sigmoid(model->calibration_x[0] * margin + model->calibration_y[0]);
		case PE_CALIBRATION_ISOTONIC:
			return isotonic(model, margin);
	}
	switch (model->objective)
	{
		case PE_OBJECTIVE_LOGISTIC:
			return pe_sigmoid(margin);
		case PE_OBJECTIVE_POISSON:
		case PE_OBJECTIVE_GAMMA:
		case PE_OBJECTIVE_TWEEDIE:
			return exp(margin < LARGEST_LOG ? margin : LARGEST_LOG);
		case PE_OBJECTIVE_DEFAULT:
		case PE_OBJECTIVE_SQUARED:
		case PE_OBJECTIVE_ABSOLUTE:
		case PE_OBJECTIVE_QUANTILE:
		case PE_OBJECTIVE_MULTICLASS:
			break;
	}
	return margin;
}

/* Margins become probabilities in place. */
void
pe_softmax(double *margins, int count)
{
	double largest = margins[0], sum = 0;

	for (int i = 1; i < count; i++)
		largest = margins[i] > largest ? margins[i] : largest;
	for (int i = 0; i < count; i++)
		sum += margins[i] = exp(margins[i] - largest);
	for (int i = 0; i < count; i++)
		margins[i] /= sum;
}

double
pe_model_predict(const pe_model *model, const double *values)
{
	double margins[PE_MAX_CLASSES], largest;

	if (model->family->predict != NULL)
		return model->family->predict(model, values);
	pe_model_margins(model, values, margins);
	if (model->n_classes == 0)
		return pe_model_link(model, margins[0]);
	pe_softmax(margins, model->n_classes);
	largest = margins[0];
	for (int i = 1; i < model->n_classes; i++)
		largest = margins[i] > largest ? margins[i] : largest;
	return largest;
}

int
pe_model_output_count(const pe_model *model)
{
	return model->family->output_count != NULL ? model->family->output_count(model) : model->n_classes;
}

const char *
pe_model_output_name(const pe_model *model, int output)
{
	if (output < 0 || output >= pe_model_output_count(model))
		return NULL;
	return model->family->output_name != NULL ? model->family->output_name(model, output)
	                                          : model->classes[output];
}

void
pe_model_outputs(const pe_model *model, const double *values, double *outputs)
{
	if (model->family->outputs != NULL)
		model->family->outputs(model, values, outputs);
	else if (model->n_classes > 0)
	{
		pe_model_margins(model, values, outputs);
		pe_softmax(outputs, model->n_classes);
	}
}

/*
 * Points below x (or_equal: or at x). No branch depends on the data, so that the search
 * of one row runs ahead while that of the row before it still waits.
 */
static inline uint32_t
count_below(const double *points, uint32_t count, double x, bool or_equal)
{
	const double *base = points;

	while (count > 1)
	{
		uint32_t half = count / 2;
		bool below = or_equal ? base[half - 1] <= x : base[half - 1] < x;

		base += half & -(uint32_t) below;
		count -= half;
	}
	return (uint32_t) (base - points) + (count == 1 && (or_equal ? *base <= x : *base < x));
}

double
pe_model_quantile(const pe_model *model, double share)
{
	if (model->n_distribution == 0 || !(share >= 0 && share <= 1))
		return NAN;
	return model->distribution[(uint32_t) floor(share * (model->n_distribution - 1) + 0.5)];
}

pe_score
pe_model_score(const pe_model *model, double prediction)
{
	const double *points = model->distribution;
	pe_score score = {50, 50, PE_BUCKET_MEDIUM};
	uint32_t below, not_above;
	double share;

	if (model->n_distribution == 0 || isnan(prediction))
		return score;
	below = not_above = count_below(points, model->n_distribution, prediction, false);
	if (below < model->n_distribution && points[below] == prediction)
		not_above += count_below(points + below, model->n_distribution - below, prediction, true);
	share = 0.5 * ((double) below + (double) not_above) / model->n_distribution;
	score.score = (int) (100 * share + 0.5);
	score.percentile = 1 + (int) (100 * share);
	if (score.percentile > 100)
		score.percentile = 100;
	score.bucket = (pe_bucket) (1 + (score.percentile - 1) / 20);
	return score;
}

bool
pe_model_ranks(const pe_model *model)
{
	return model->n_distribution > 0;
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
