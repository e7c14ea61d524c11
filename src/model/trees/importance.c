/*
 * importance.c
 *		What trees tell of the features: how well one alone tells the target before any tree
 *		is grown, and what each was worth in the finished model.
 */
#include "model/trees/boost.h"

#define IMPORTANCE_ROWS  2000
#define IMPORTANCE_WORK  1.0e9  /* leaves times depth, summed over rows */
#define IMPORTANCE_CELLS 131072 /* values explained at once */
#define TABLE_BYTES      (4u << 20)

static pe_status
cancelled(pe_error *err)
{
	return pe_fail(err, PE_CANCELLED, "training was cancelled");
}

/* ---- one feature alone ---------------------------------------------------------------- */

/*
 * From the cells of one column at the base margin: weight and sum of targets by bin.
 * Numeric bins stay in order with missing at either end, levels go by their rate.
 */
static double
column_strength(const pe_boost *b, const pe_cell *cells, int column, double mean, double variance)
{
	int n = (int) (b->bins.offsets[column + 1] - b->bins.offsets[column]);
	double weights[256], sums[256], total = 0, positive = 0, between = 0, area = 0, seen = 0;
	bool binary = pe_boost_is_binary(b);
	int filled = 0;

	for (int cell = 0; cell < n; cell++)
	{
		double g = (double) cells[cell].g * b->grower.rules.unit_g;
		double h = (double) cells[cell].h * b->grower.rules.unit_h;
		double weight = binary ? h / (mean * (1 - mean)) : h;

		if (!(weight > 0))
			continue;
		weights[filled] = weight;
		sums[filled] = weight * mean - g;
		between += g * g / weight;
		total += weight;
		positive += sums[filled++];
	}
	n = filled;
	if (!binary)
		return variance > 0 ? between / variance : 0;
	if (b->bins.categorical[column])
		for (int i = 1; i < n; i++) /* by rate; what is empty has none */
			for (int k = i; k > 0 && sums[k - 1] * weights[k] > sums[k] * weights[k - 1]; k--)
			{
				double weight = weights[k], sum = sums[k];

				weights[k] = weights[k - 1];
				sums[k] = sums[k - 1];
				weights[k - 1] = weight;
				sums[k - 1] = sum;
			}
	for (int bin = 0; bin < n; bin++)
	{
		double negative = weights[bin] - sums[bin];

		area += sums[bin] * (seen + negative / 2);
		seen += negative;
	}
	area /= positive * (total - positive);
	return area > 0.5 ? area : 1 - area;
}

pe_status
pe_boost_find_strongest(pe_boost *b)
{
	pe_fit *fit = b->fit;
	const pe_split_rows *rows = fit->rows;
	double mean = rows->train_sum / rows->train_weight, variance = 0;
	pe_cell *cells = b->grower.cells;

	fit->strongest = (pe_strongest){0, -1};
	for (uint32_t i = 0; i < b->n_fit; i++)
	{
		double off = pe_dataset_target(fit->dataset, b->rows[i]) - mean;

		variance += pe_dataset_weight(fit->dataset, b->rows[i]) * off * off;
	}
	for (int column = 0; column < b->bins.n_columns; column++)
		b->grower.active[column] = column;
	b->grower.n_active = b->bins.n_columns;
	if (!pe_grower_sum(&b->grower, b->rows, b->n_fit, cells))
		return cancelled(fit->err);
	for (int column = 0; column < b->bins.n_columns; column++)
	{
		uint32_t n = b->bins.offsets[column + 1] - b->bins.offsets[column];
		double strength;

		/* Bins of a handful of rows tell their targets by chance. */
		if ((uint64_t) n * 10 > b->n_fit && (b->bins.categorical[column] || !pe_boost_is_binary(b)))
			continue;
		strength = column_strength(b, cells + b->bins.offsets[column], column, mean, variance);
		if (strength > fit->strongest.strength)
			fit->strongest = (pe_strongest){strength, b->bins.features[column]};
	}
	return PE_OK;
}

/* ---- importances ---------------------------------------------------------------------- */

/* One row as predict takes it, from its bins. */
static void
unbin_row(const pe_boost *b, uint32_t row, double *values)
{
	const pe_model *model = b->fit->model;
	const uint8_t *codes = b->bins.matrix + (size_t) row * b->bins.stride;

	for (int feature = 0; feature < model->n_features; feature++)
		values[feature] = NAN;
	for (int column = 0; column < b->bins.n_columns; column++)
		values[b->bins.features[column]] =
		    pe_bins_value(&b->bins, model, column, pe_bins_at(&b->bins, codes, column));
}

/* Rows for mean |SHAP|: fewer where deep trees make each costly. */
static uint32_t
count_shap_rows(const pe_model *model, uint32_t available)
{
	double work = 1.0 + (double) model->n_nodes / 2 * (model->max_depth + 1.0);
	uint32_t rows = available < IMPORTANCE_ROWS ? available : IMPORTANCE_ROWS;

	if (rows * work > IMPORTANCE_WORK)
		rows = (uint32_t) (IMPORTANCE_WORK / work);
	if (rows < 10)
		rows = available < 10 ? available : 10;
	return rows;
}

/* Sums of |contribution| by feature over n_rows rows, evenly from the list, a block at a time. */
static pe_status
sum_contributions(pe_boost *b, const pe_explainer *explainer, const uint32_t *list, uint32_t available,
                  uint32_t n_rows)
{
	pe_fit *fit = b->fit;
	pe_model *model = fit->model;
	size_t n = (size_t) model->n_features;
	uint32_t block = (uint32_t) (IMPORTANCE_CELLS / n);
	double *values, *contributions, base;
	pe_spread spread;
	pe_status status = pe_spread_create(fit->env, &spread, model->n_features, n_rows, fit->err);

	block = block < 1 ? 1 : block < n_rows ? block : n_rows;
	values = pe_alloc(fit->env, block * n * sizeof(double));
	contributions = pe_alloc(fit->env, block * n * sizeof(double));
	if (status == PE_OK && (values == NULL || contributions == NULL))
		status = pe_fail_memory(fit->err);
	for (uint32_t begin = 0; begin < n_rows && status == PE_OK; begin += block)
	{
		uint32_t count = n_rows - begin < block ? n_rows - begin : block;

		for (uint32_t i = 0; i < count; i++)
			unbin_row(b, list[(uint64_t) (begin + i) * available / n_rows], values + i * n);
		status = pe_explainer_explain(explainer, values, n, count, fit->options->threads, contributions,
		                              &base, fit->err);
		for (uint32_t i = 0; i < count && status == PE_OK; i++)
		{
			pe_spread_put(&spread, begin + i, contributions + i * n);
			for (size_t feature = 0; feature < n; feature++)
				model->features[feature].mean_contribution += fabs(contributions[i * n + feature]);
		}
	}
	if (status == PE_OK)
		status = pe_spread_finish(fit->env, &spread, model, fit->err);
	pe_spread_free(fit->env, &spread);
	pe_free(fit->env, values);
	pe_free(fit->env, contributions);
	return status;
}

/* On held-out rows when there are any. */
static pe_status
mean_contributions(pe_boost *b)
{
	pe_fit *fit = b->fit;
	const uint32_t *list = fit->rows->n_holdout > 0 ? fit->rows->holdout : fit->rows->train;
	uint32_t available = fit->rows->n_holdout > 0 ? fit->rows->n_holdout : fit->rows->n_train;
	uint32_t n_rows = count_shap_rows(fit->model, available);
	pe_explainer *explainer = NULL;
	pe_status status = pe_explainer_create(fit->env, fit->model, TABLE_BYTES, &explainer, fit->err);

	if (status == PE_OK)
		status = sum_contributions(b, explainer, list, available, n_rows);
	pe_explainer_free(explainer);
	for (int i = 0; i < fit->model->n_features; i++)
		fit->model->features[i].mean_contribution /= n_rows;
	return status == PE_CANCELLED ? cancelled(fit->err) : status;
}

static void
share_gains(pe_boost *b)
{
	pe_model *model = b->fit->model;
	double total = 0;

	for (uint32_t i = 0; i < model->n_nodes; i++)
		if (model->nodes[i].left != 0)
		{
			pe_feature *feature = &model->features[model->nodes[i].feature];

			feature->used = true;
			feature->splits++;
			feature->gain += b->forest.gains[i];
			total += b->forest.gains[i];
		}
	for (int i = 0; i < model->n_features; i++)
		if (total > 0)
			model->features[i].gain /= total;
}

pe_status
pe_boost_importances(pe_boost *b)
{
	share_gains(b);
	return b->fit->options->only_evaluated ? PE_OK : mean_contributions(b);
}
