/*
 * deviance.c
 *		How far predictions are from what happened, in the measure that was minimised: twice
 *		the log-likelihood ratio to the perfect model, or for quantiles the pinball loss.
 */
#include "model/internal.h"

/* Of one row. Predictions of the log link are above 0; the least is so that logarithms exist. */
static double
unit_deviance(pe_objective objective, double parameter, double prediction, double target)
{
	double mean = prediction > 1e-300 ? prediction : 1e-300, off = target - prediction;

	switch (objective)
	{
		case PE_OBJECTIVE_ABSOLUTE:
			return fabs(off);
		case PE_OBJECTIVE_QUANTILE:
			return 2 * (off > 0 ? parameter * off : (parameter - 1) * off);
		case PE_OBJECTIVE_POISSON:
			return 2 * ((target > 0 ? target * log(target / mean) : 0) - target + mean);
		case PE_OBJECTIVE_GAMMA:
			return target > 0 ? 2 * (target / mean - 1 - log(target / mean)) : NAN;
		case PE_OBJECTIVE_TWEEDIE:
		{
			double one = 1 - parameter, two = 2 - parameter;

			return 2 * ((target > 0 ? pow(target, two) / (one * two) : 0) - target * pow(mean, one) / one +
			            pow(mean, two) / two);
		}
		case PE_OBJECTIVE_DEFAULT:
		case PE_OBJECTIVE_LOGISTIC:
		case PE_OBJECTIVE_SQUARED:
		case PE_OBJECTIVE_MULTICLASS:
			break;
	}
	return off * off;
}

/* The mean deviance of one prediction for all rows. */
static double
constant_deviance(pe_objective objective, double parameter, double prediction, const double *targets,
                  const double *weights, size_t rows)
{
	double sum = 0, total = 0;

	for (size_t i = 0; i < rows; i++)
	{
		double weight = weights != NULL ? weights[i] : 1.0;

		total += weight;
		if (weight > 0)
			sum += weight * unit_deviance(objective, parameter, prediction, targets[i]);
	}
	return sum / total;
}

/* The best constant: the mean; for pinball loss, which is convex, by halving on the share below. */
static double
best_constant(pe_objective objective, double parameter, const double *targets, const double *weights,
              size_t rows)
{
	double sum = 0, total = 0, low = INFINITY, high = -INFINITY;

	if (objective == PE_OBJECTIVE_ABSOLUTE)
		parameter = 0.5;
	for (size_t i = 0; i < rows; i++)
	{
		double weight = weights != NULL ? weights[i] : 1.0;

		sum += weight * targets[i];
		total += weight;
		low = targets[i] < low ? targets[i] : low;
		high = targets[i] > high ? targets[i] : high;
	}
	if (objective != PE_OBJECTIVE_ABSOLUTE && objective != PE_OBJECTIVE_QUANTILE)
		return sum / total;
	for (int step = 0; step < 60 && low < high; step++)
	{
		double middle = low + (high - low) / 2, below = 0;

		for (size_t i = 0; i < rows; i++)
			below += targets[i] <= middle ? (weights != NULL ? weights[i] : 1.0) : 0;
		if (below >= parameter * total)
			high = middle;
		else
			low = middle;
	}
	return high;
}

void
pe_evaluate_deviance(pe_objective objective, double parameter, const double *predictions,
                     const double *targets, const double *weights, size_t rows, pe_evaluation *e)
{
	double sum = 0, total = 0, below = 0, constant;

	for (size_t i = 0; i < rows; i++)
	{
		double weight = weights != NULL ? weights[i] : 1.0;

		total += weight;
		if (weight > 0)
			sum += weight * unit_deviance(objective, parameter, predictions[i], targets[i]);
		below += targets[i] <= predictions[i] ? weight : 0;
	}
	e->objective = objective;
	e->deviance = sum / total;
	constant = best_constant(objective, parameter, targets, weights, rows);
	constant = constant_deviance(objective, parameter, constant, targets, weights, rows);
	e->deviance_explained = constant > 0 ? 1 - e->deviance / constant : NAN;
	e->coverage = objective == PE_OBJECTIVE_QUANTILE ? below / total : NAN;
}
