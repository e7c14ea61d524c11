/*
 * agreement.c
 *		How a forecast for each customer compares with what happened.
 */
#include "model/internal.h"
#include "model/lifetime/lifetime.h"

/* Ranks from 1, those of equal values their mean. */
static pe_status
rank(const pe_env *env, const double *values, size_t n, double *ranks, pe_error *err)
{
	double *keys = pe_alloc(env, n * sizeof(double)), *key_scratch = pe_alloc(env, n * sizeof(double));
	uint32_t *order = pe_alloc(env, n * sizeof(uint32_t)), *scratch = pe_alloc(env, n * sizeof(uint32_t));
	pe_status status = PE_OK;

	if (keys == NULL || key_scratch == NULL || order == NULL || scratch == NULL)
		status = pe_fail_memory(err);
	else
	{
		for (size_t i = 0; i < n; i++)
		{
			keys[i] = values[i] + 0.0; /* -0 is 0 */
			order[i] = (uint32_t) i;
		}
		if (!pe_sort_doubles(env, keys, order, key_scratch, scratch, n))
			status = pe_fail(err, PE_CANCELLED, "evaluation was cancelled");
	}
	for (size_t i = 0; status == PE_OK && i < n;)
	{
		size_t first = i;

		while (i < n && keys[i] == keys[first])
			i++;
		for (size_t k = first; k < i; k++)
			ranks[order[k]] = 0.5 * (double) (first + 1 + i);
	}
	pe_free(env, keys);
	pe_free(env, key_scratch);
	pe_free(env, order);
	pe_free(env, scratch);
	return status;
}

static double
correlation(const double *a, const double *b, size_t n)
{
	double mean_a = 0, mean_b = 0, aa = 0, bb = 0, ab = 0;

	for (size_t i = 0; i < n; i++)
	{
		mean_a += a[i] / (double) n;
		mean_b += b[i] / (double) n;
	}
	for (size_t i = 0; i < n; i++)
	{
		aa += (a[i] - mean_a) * (a[i] - mean_a);
		bb += (b[i] - mean_b) * (b[i] - mean_b);
		ab += (a[i] - mean_a) * (b[i] - mean_b);
	}
	return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : NAN;
}

pe_status
pe_compare_forecast(const pe_env *env, const double *forecast, const double *actual, size_t n,
                    pe_agreement *agreement, pe_error *err)
{
	double *ranks_forecast, *ranks_actual;
	pe_evaluation evaluation;
	pe_status status;

	memset(agreement, 0, sizeof(*agreement));
	if (n == 0 || n > UINT32_MAX)
		return pe_fail(err, PE_INVALID_DATA, "there are no customers to compare");
	for (size_t i = 0; i < n; i++)
	{
		agreement->forecast += forecast[i];
		agreement->actual += actual[i];
	}
	status = pe_evaluate(env, PE_TASK_VALUE, forecast, actual, NULL, n, &evaluation, err);
	if (status != PE_OK)
		return status;
	agreement->mae = evaluation.mae;
	agreement->rmse = evaluation.rmse;
	agreement->gini = evaluation.gini;
	agreement->pearson = correlation(forecast, actual, n);
	ranks_forecast = pe_alloc(env, n * sizeof(double));
	ranks_actual = pe_alloc(env, n * sizeof(double));
	if (ranks_forecast == NULL || ranks_actual == NULL)
		status = pe_fail_memory(err);
	if (status == PE_OK)
		status = rank(env, forecast, n, ranks_forecast, err);
	if (status == PE_OK)
		status = rank(env, actual, n, ranks_actual, err);
	if (status == PE_OK)
		agreement->spearman = correlation(ranks_forecast, ranks_actual, n);
	pe_free(env, ranks_forecast);
	pe_free(env, ranks_actual);
	return status;
}
