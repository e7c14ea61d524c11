/*
 * response.c
 *		The exponential dispersion families of the linear models, row by row.
 *
 * Unit deviances and variances: McCullagh and Nelder, Generalized Linear Models, chapters 2
 * and 8; tweedie: Jorgensen 1987.
 */
#include "model/linear/response.h"

pe_response
pe_response_of(const pe_fit *fit)
{
	pe_response response = {PE_GAUSSIAN, 0};

	switch (fit->model->objective)
	{
		case PE_OBJECTIVE_LOGISTIC:
			response.distribution = PE_BINOMIAL;
			break;
		case PE_OBJECTIVE_POISSON:
			response.distribution = PE_POISSON;
			break;
		case PE_OBJECTIVE_GAMMA:
			response.distribution = PE_GAMMA;
			break;
		case PE_OBJECTIVE_TWEEDIE:
			response.distribution = PE_TWEEDIE;
			response.power = fit->options->tweedie_power;
			break;
		default:
			break;
	}
	return response;
}

pe_status
pe_response_check(const pe_response *response, const pe_fit *fit)
{
	bool positive = response->distribution == PE_GAMMA;

	if (response->distribution == PE_BINOMIAL || response->distribution == PE_GAUSSIAN)
		return PE_OK;
	for (uint32_t i = 0; i < fit->rows->n_train; i++)
	{
		double target = pe_dataset_target(fit->dataset, fit->rows->train[i]);

		if (positive ? target > 0 : target >= 0)
			continue;
		pe_fail(fit->err, PE_INVALID_DATA, "row %llu: the target is %s, which the objective %s cannot be",
		        (unsigned long long) fit->rows->train[i] + 1, target < 0 ? "negative" : "0",
		        pe_objective_name(fit->model->objective));
		pe_error_hint(fit->err, positive ? "Leave such rows out, or use the objective tweedie, which takes 0."
		                                 : "Leave such rows out, or use the objective squared.");
		if (fit->err != NULL)
			fit->err->row = (int64_t) fit->rows->train[i] + 1;
		return PE_INVALID_DATA;
	}
	return PE_OK;
}

double
pe_response_margin(const pe_response *response, double mean)
{
	switch (response->distribution)
	{
		case PE_BINOMIAL:
			return log(mean / (1 - mean));
		case PE_GAUSSIAN:
			return mean;
		default:
			return log(mean);
	}
}

double
pe_response_mean(const pe_response *response, double margin)
{
	switch (response->distribution)
	{
		case PE_BINOMIAL:
			return pe_sigmoid(margin);
		case PE_GAUSSIAN:
			return margin;
		default:
			return exp(margin);
	}
}

/* ---- derivatives ---------------------------------------------------------------------- */

/* One row: minus half the unit deviance; curvature and residual without the weight. */
static inline double
binomial_row(double target, double margin, double *curvature, double *residual)
{
	/* e is at most 1, so that neither p nor 1 - p loses its digits. */
	double e = exp(-fabs(margin)), inverse = 1 / (1 + e), p = margin >= 0 ? inverse : e * inverse;
	double off = margin >= 0 ? e * inverse : inverse;

	*curvature = p * off;
	*residual = target > 0.5 ? off : -p;
	return target * margin - fmax(margin, 0) - log1p(e);
}

static inline double
poisson_row(double target, double margin, double *curvature, double *residual)
{
	double mean = exp(margin);

	*curvature = mean;
	*residual = target - mean;
	return (target > 0 ? target * (margin - log(target)) : 0) - (mean - target);
}

static inline double
gamma_row(double target, double margin, bool expected, double *curvature, double *residual)
{
	double ratio = target * exp(-margin);

	*curvature = expected ? 1 : ratio;
	*residual = ratio - 1;
	return log(target) - margin - (ratio - 1);
}

static inline double
tweedie_row(double target, double margin, double power, bool expected, double *curvature, double *residual)
{
	double low = exp((1 - power) * margin), high = exp((2 - power) * margin);

	*curvature = expected ? high : (power - 1) * target * low + (2 - power) * high;
	*residual = target * low - high;
	return target * low / (1 - power) - high / (2 - power) -
	       (target > 0 ? pow(target, 2 - power) / ((1 - power) * (2 - power)) : 0);
}

double
pe_response_rows(const pe_response *response, bool expected, size_t n, const double *targets,
                 const double *weights, const double *margins, double *curvatures, double *residuals)
{
	double objective = 0;

	for (size_t i = 0; i < n; i++)
	{
		double value = 0;

		switch (response->distribution)
		{
			case PE_BINOMIAL:
				value = binomial_row(targets[i], margins[i], &curvatures[i], &residuals[i]);
				break;
			case PE_GAUSSIAN:
				curvatures[i] = 1;
				residuals[i] = targets[i] - margins[i];
				value = -residuals[i] * residuals[i] / 2;
				break;
			case PE_POISSON:
				value = poisson_row(targets[i], margins[i], &curvatures[i], &residuals[i]);
				break;
			case PE_GAMMA:
				value = gamma_row(targets[i], margins[i], expected, &curvatures[i], &residuals[i]);
				break;
			case PE_TWEEDIE:
				value = tweedie_row(targets[i], margins[i], response->power, expected, &curvatures[i],
				                    &residuals[i]);
				break;
		}
		objective += weights[i] * value;
		curvatures[i] *= weights[i];
		residuals[i] *= weights[i];
	}
	return objective;
}

double
pe_response_objective(const pe_response *response, size_t n, const double *targets, const double *weights,
                      const double *margins)
{
	double objective = 0, curvature, residual;

	for (size_t i = 0; i < n; i++)
		if (weights[i] > 0)
			objective += pe_response_rows(response, false, 1, targets + i, weights + i, margins + i,
			                              &curvature, &residual);
	return objective;
}

/* ---- dispersion and likelihood -------------------------------------------------------- */

void
pe_response_add(const pe_response *response, size_t n, const double *targets, const double *weights,
                const double *margins, pe_response_sums *sums)
{
	for (size_t i = 0; i < n; i++)
	{
		double target = targets[i], mean = pe_response_mean(response, margins[i]);
		double variance = 1, saturated = 0;

		switch (response->distribution)
		{
			case PE_BINOMIAL:
				variance = mean * (1 - mean);
				break;
			case PE_GAUSSIAN:
				saturated = log(weights[i]) / 2 / weights[i];
				break;
			case PE_POISSON:
			{
				int sign;

				variance = mean;
				saturated = (target > 0 ? target * log(target) : 0) - target - lgamma_r(target + 1, &sign);
				break;
			}
			case PE_GAMMA:
				variance = mean * mean;
				saturated = -log(target);
				break;
			case PE_TWEEDIE:
				variance = pow(mean, response->power);
				break;
		}
		sums->weight += weights[i];
		sums->saturated += weights[i] * saturated;
		if (variance > 0)
			sums->pearson += weights[i] * (target - mean) * (target - mean) / variance;
	}
}

bool
pe_response_dispersed(const pe_response *response)
{
	return response->distribution != PE_BINOMIAL && response->distribution != PE_POISSON;
}

double
pe_response_log_likelihood(const pe_response *response, const pe_response_sums *sums, double deviance,
                           double rows)
{
	double shape;
	int sign;

	switch (response->distribution)
	{
		case PE_BINOMIAL:
			return -deviance / 2;
		case PE_POISSON:
			return -deviance / 2 + sums->saturated;
		case PE_GAUSSIAN:
			return -rows / 2 * (log(2 * M_PI * deviance / rows) + 1) + sums->saturated;
		case PE_GAMMA:
			/* With the dispersion's maximum likelihood by the deviance, as R's family takes it. */
			shape = sums->weight / deviance;
			return shape * (-deviance / 2 - sums->weight) + sums->saturated +
			       sums->weight * (shape * log(shape) - lgamma_r(shape, &sign));
		case PE_TWEEDIE:
			break;
	}
	return NAN;
}
