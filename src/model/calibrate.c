/*
 * calibrate.c
 *		From margins to probabilities that come true as often as they say, and the
 *		distribution that scores and percentiles are read from.
 */
#include "model/internal.h"

#define PLATT_STEPS 100

static pe_status
allocate(const pe_env *env, pe_model *model, uint32_t points, pe_error *err)
{
	model->calibration_x = pe_alloc(env, points * sizeof(double));
	model->calibration_y = pe_alloc(env, points * sizeof(double));
	if (model->calibration_x == NULL || model->calibration_y == NULL)
		return pe_fail_memory(err);
	model->n_calibration = points;
	return PE_OK;
}

/* The loss of a slope and shift, its gradient and curvature. */
typedef struct platt_sums
{
	double loss;
	double g[2];
	double h[3]; /* aa, ab, bb */
} platt_sums;

static platt_sums
platt_at(const double *margins, const double *targets, const double *weights, size_t rows, double slope,
         double shift, double high, double low)
{
	platt_sums s = {0, {0, 0}, {0, 0, 0}};

	for (size_t i = 0; i < rows; i++)
	{
		double weight = weights != NULL ? weights[i] : 1.0, z = slope * margins[i] + shift;
		double target = targets[i] > 0.5 ? high : low, p = pe_sigmoid(z), d = p - target, w = p * (1 - p);

		s.loss += weight * (fmax(z, 0) - z * target + log1p(exp(-fabs(z))));
		s.g[0] += weight * d * margins[i];
		s.g[1] += weight * d;
		s.h[0] += weight * w * margins[i] * margins[i];
		s.h[1] += weight * w * margins[i];
		s.h[2] += weight * w;
	}
	return s;
}

/* Newton's method with halving on targets drawn in a little, as Platt does, so that a maximum exists. */
static pe_status
fit_platt(const pe_env *env, pe_model *model, const double *margins, const double *targets,
          const double *weights, size_t rows, pe_error *err)
{
	double slope = 1, shift = 0, positives = 0, high, low;
	platt_sums now;

	for (size_t i = 0; i < rows; i++)
		positives += targets[i] > 0.5;
	high = (positives + 1) / (positives + 2);
	low = 1 / ((double) rows - positives + 2);
	now = platt_at(margins, targets, weights, rows, slope, shift, high, low);
	for (int step = 0; step < PLATT_STEPS; step++)
	{
		double aa = now.h[0] + 1e-10, bb = now.h[2] + 1e-10, determinant = aa * bb - now.h[1] * now.h[1];
		double move_slope = -(bb * now.g[0] - now.h[1] * now.g[1]) / determinant;
		double move_shift = -(aa * now.g[1] - now.h[1] * now.g[0]) / determinant;
		double length = 1;
		platt_sums next;

		if (!isfinite(move_slope) || !isfinite(move_shift) || fabs(move_slope) + fabs(move_shift) < 1e-10)
			break;
		do
		{
			next = platt_at(margins, targets, weights, rows, slope + length * move_slope,
			                shift + length * move_shift, high, low);
			if (pe_stopped(env, "evaluate", 0, 0))
				return pe_fail(err, PE_CANCELLED, "training was cancelled");
		} while (!(next.loss <= now.loss) && (length /= 2) > 1e-6);
		if (!(next.loss <= now.loss))
			break;
		slope += length * move_slope;
		shift += length * move_shift;
		now = next;
	}
	model->calibration = PE_CALIBRATION_PLATT;
	if (allocate(env, model, 1, err) != PE_OK)
		return PE_OUT_OF_MEMORY;
	/* Never turn the order round, nor flatten it. */
	model->calibration_x[0] = slope > 1e-3 ? slope : 1e-3;
	model->calibration_y[0] = shift;
	return PE_OK;
}

/* A run of rows that share one probability. */
typedef struct pool_of_rows
{
	double weight;
	double mean;
	double x; /* weighted mean margin */
} pool_of_rows;

/* Rows in the order of margins become pools of rising means: neighbours that fall are merged. */
static uint32_t
pool_violators(const double *sorted, const uint32_t *order, const double *targets, const double *weights,
               size_t rows, pool_of_rows *pools)
{
	uint32_t n = 0;

	for (size_t i = 0; i < rows;)
	{
		pool_of_rows pool = {0, 0, sorted[i]};
		double sum = 0;

		for (size_t tie = i; i < rows && sorted[i] == sorted[tie]; i++)
		{
			double weight = weights != NULL ? weights[order[i]] : 1.0;

			pool.weight += weight;
			sum += weight * targets[order[i]];
		}
		if (!(pool.weight > 0))
			continue;
		pool.mean = sum / pool.weight;
		while (n > 0 && pools[n - 1].mean >= pool.mean)
		{
			const pool_of_rows *last = &pools[--n];
			double weight = last->weight + pool.weight;

			pool.mean = (last->mean * last->weight + pool.mean * pool.weight) / weight;
			pool.x = (last->x * last->weight + pool.x * pool.weight) / weight;
			pool.weight = weight;
		}
		pools[n++] = pool;
	}
	return n;
}

/* Straight lines between the middles of the pools, kept away from 0 and 1. */
static pe_status
fit_isotonic(const pe_env *env, pe_model *model, const double *margins, const double *targets,
             const double *weights, size_t rows, pe_error *err)
{
	double *sorted = pe_alloc(env, rows * sizeof(double)), *scratch = pe_alloc(env, rows * sizeof(double));
	uint32_t *order = pe_alloc(env, rows * sizeof(uint32_t)),
	         *order_scratch = pe_alloc(env, rows * sizeof(uint32_t));
	pool_of_rows *pools = pe_alloc(env, rows * sizeof(*pools));
	pe_status status = PE_OK;

	if (sorted == NULL || scratch == NULL || order == NULL || order_scratch == NULL || pools == NULL)
		status = pe_fail_memory(err);
	else
	{
		memcpy(sorted, margins, rows * sizeof(double));
		for (size_t i = 0; i < rows; i++)
			order[i] = (uint32_t) i;
		if (!pe_sort_doubles(env, sorted, order, scratch, order_scratch, rows))
			status = pe_fail(err, PE_CANCELLED, "training was cancelled");
	}
	if (status == PE_OK)
	{
		uint32_t n = pool_violators(sorted, order, targets, weights, rows, pools);

		model->calibration = PE_CALIBRATION_ISOTONIC;
		status = allocate(env, model, n, err);
		for (uint32_t i = 0; i < n && status == PE_OK; i++)
		{
			/* A pool of w rows without a positive is no proof of 0. */
			double least = 0.5 / (pools[i].weight + 1);

			model->calibration_x[i] = pools[i].x;
			model->calibration_y[i] = fmin(fmax(pools[i].mean, least), 1 - least);
			/* Rounding may put the middle of a pool beyond that of its neighbour. */
			if (i > 0 && model->calibration_x[i] < model->calibration_x[i - 1])
				model->calibration_x[i] = model->calibration_x[i - 1];
			if (i > 0 && model->calibration_y[i] < model->calibration_y[i - 1])
				model->calibration_y[i] = model->calibration_y[i - 1];
		}
	}
	pe_free(env, sorted);
	pe_free(env, scratch);
	pe_free(env, order);
	pe_free(env, order_scratch);
	pe_free(env, pools);
	return status;
}

pe_status
pe_fit_calibration(const pe_env *env, pe_model *model, pe_calibration_kind kind, const double *margins,
                   const double *targets, const double *weights, size_t rows, pe_error *err)
{
	if (kind == PE_CALIBRATION_PLATT)
		return fit_platt(env, model, margins, targets, weights, rows, err);
	if (kind == PE_CALIBRATION_ISOTONIC)
		return fit_isotonic(env, model, margins, targets, weights, rows, err);
	return PE_OK;
}

/* predictions are sorted in place. */
pe_status
pe_fit_distribution(const pe_env *env, pe_model *model, double *predictions, size_t rows, pe_error *err)
{
	uint32_t points = rows < PE_DISTRIBUTION_POINTS ? (uint32_t) rows : PE_DISTRIBUTION_POINTS;
	double *scratch = pe_alloc(env, rows * sizeof(double));

	model->distribution = pe_alloc(env, points * sizeof(double));
	if (scratch == NULL || model->distribution == NULL)
	{
		pe_free(env, scratch);
		return pe_fail_memory(err);
	}
	if (!pe_sort_doubles(env, predictions, NULL, scratch, NULL, rows))
	{
		pe_free(env, scratch);
		return pe_fail(err, PE_CANCELLED, "training was cancelled");
	}
	for (uint32_t i = 0; i < points; i++)
		model->distribution[i] = predictions[points == 1 ? 0 : (uint64_t) i * (rows - 1) / (points - 1)];
	model->n_distribution = points;
	pe_free(env, scratch);
	return PE_OK;
}
