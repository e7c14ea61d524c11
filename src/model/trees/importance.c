/*
 * importance.c
 *		What trees tell of the features: how well one alone tells the target before any tree
 *		is grown, and what each was worth in the finished model.
 */
#include "model/trees/boost.h"

#define IMPORTANCE_ROWS  2000
#define IMPORTANCE_WORK  1.0e9  /* leaves times depth, summed over rows */
#define WALKING_WORK     1.0e8  /* times depth once more, without tables */
#define IMPORTANCE_CELLS 131072 /* values explained at once */
#define POLL_ROWS        65536
#define TABLE_BYTES      (4u << 20)

static pe_status
cancelled(pe_error *err)
{
	return pe_fail(err, PE_CANCELLED, "training was cancelled");
}

/* ---- one feature alone ---------------------------------------------------------------- */

/* One bin's rows: their weight, and the weighted sum of what is to be told. */
typedef struct bin_sums
{
	double weight;
	double sum;
} bin_sums;

/* The area under the curve of bins in their order, or in that of their rates; the better direction. */
static double
area_of(bin_sums *bins, int n, bool by_rate)
{
	double area = 0, seen = 0, positives = 0, total = 0;

	for (int i = 1; i < n && by_rate; i++)
		for (int k = i; k > 0 && bins[k - 1].sum * bins[k].weight > bins[k].sum * bins[k - 1].weight; k--)
		{
			bin_sums bin = bins[k];

			bins[k] = bins[k - 1];
			bins[k - 1] = bin;
		}
	for (int i = 0; i < n; i++)
	{
		double negative = bins[i].weight - bins[i].sum;

		area += bins[i].sum * (seen + negative / 2);
		seen += negative;
		positives += bins[i].sum;
		total += bins[i].weight;
	}
	area /= positives * (total - positives);
	return area > 0.5 ? area : 1 - area;
}

/* The same in the order of numbers: rows without one, the first bin, stand on either side of the others. */
static double
area_in_order(bin_sums *bins, int n, bool some_missing)
{
	double area = area_of(bins, n, false);
	bin_sums missing = bins[0];

	if (!some_missing)
		return area;
	memmove(bins, bins + 1, sizeof(bin_sums) * (n - 1));
	bins[n - 1] = missing;
	return fmax(area, area_of(bins, n, false));
}

/*
 * From the cells of one column, filled with targets less their mean and weights: how well
 * its bins tell targets, as AUC of 0/1 targets, else as the share of the variance between bins.
 */
static double
column_strength(const pe_boost *b, const pe_cell *cells, int column, double mean, double variance)
{
	int n = (int) (b->bins.offsets[column + 1] - b->bins.offsets[column]), filled = 0;
	bin_sums bins[256];
	double between = 0;

	for (int cell = 0; cell < n; cell++)
	{
		double off = (double) cells[cell].g / b->scale_g, weight = (double) cells[cell].h / b->scale_h;

		if (!(weight > 0))
			continue;
		bins[filled++] = (bin_sums){weight, weight * mean + off};
		between += off * off / weight;
	}
	if (b->fit->task == PE_TASK_VALUE)
		return variance > 0 ? between / variance : 0;
	/* A class may lie between others in the order of numbers. */
	if (b->bins.categorical[column] || b->fit->task == PE_TASK_AFFINITY)
		return area_of(bins, filled, true);
	return area_in_order(bins, filled, cells[0].h > 0);
}

/* What is to be told: the target, for a class whether it is that. */
static inline double
told(const pe_boost *b, uint32_t row)
{
	double target = pe_dataset_target(b->fit->dataset, row);

	return b->fit->task == PE_TASK_AFFINITY ? (int) target == b->class : target;
}

/* Pairs of what is to be told less its mean, and the weight; the mean and variance of it. */
static bool
fill_told(pe_boost *b, double *mean, double *variance)
{
	double total = 0, sum = 0, largest = 0, scale_h = PE_FIXED_ONE / b->fit->rows->largest_weight;

	/* First the mean, then what is about it, then the pairs. */
	*mean = *variance = 0;
	for (int pass = 0; pass < 3; pass++)
	{
		for (uint32_t i = 0; i < b->n_fit; i++)
		{
			uint32_t row = b->rows[i];
			double weight = pe_dataset_weight(b->fit->dataset, row), off = told(b, row) - *mean;

			if (i % POLL_ROWS == 0 && pe_team_poll(b->fit->pool, 0))
				return false;
			if (pass == 0)
			{
				total += weight;
				sum += weight * off;
			}
			else if (pass == 1)
			{
				*variance += weight * off * off;
				largest = fmax(largest, weight * fabs(off));
			}
			else
				b->pairs[row] = (pe_pair){(int32_t) lrint(weight * off * b->scale_g),
				                          (int32_t) fmax(1, rint(weight * scale_h))};
		}
		if (pass == 0)
			*mean = sum / total;
		b->scale_g = PE_FIXED_ONE / (largest > 0 ? largest : 1);
	}
	b->scale_h = scale_h;
	return true;
}

/* Adds share times each column's strength at telling what is to be told. */
static pe_status
add_strengths(pe_boost *b, double share, double *strengths)
{
	pe_cell *cells = b->grower.cells;
	double mean, variance;

	if (!fill_told(b, &mean, &variance))
		return cancelled(b->fit->err);
	if (!(variance > 0))
		return PE_OK;
	if (!pe_grower_sum(&b->grower, b->rows, b->n_fit, cells))
		return cancelled(b->fit->err);
	for (int column = 0; column < b->bins.n_columns; column++)
	{
		uint32_t n = b->bins.offsets[column + 1] - b->bins.offsets[column];
		bool in_order = b->fit->task == PE_TASK_PROPENSITY && !b->bins.categorical[column];

		/* Bins of a handful of rows tell their targets by chance. */
		if ((uint64_t) n * 10 <= b->n_fit || in_order)
			strengths[column] +=
			    share * column_strength(b, cells + b->bins.offsets[column], column, mean, variance);
	}
	return PE_OK;
}

pe_status
pe_boost_find_strongest(pe_boost *b)
{
	pe_fit *fit = b->fit;
	double *strengths = pe_calloc(fit->env, b->bins.n_columns, sizeof(double));
	pe_status status = PE_OK;

	fit->strongest = (pe_strongest){0, -1};
	if (strengths == NULL)
		return pe_fail_memory(fit->err);
	for (int column = 0; column < b->bins.n_columns; column++)
		b->grower.active[column] = column;
	b->grower.n_active = b->bins.n_columns;
	for (b->class = 0; b->class < b->n_margins && status == PE_OK; b->class ++)
		status = add_strengths(
		    b, b->n_margins > 1 ? fit->rows->class_weights[b->class] / fit->rows->train_weight : 1,
		    strengths);
	b->class = 0;
	for (int column = 0; column < b->bins.n_columns; column++)
		if (strengths[column] > fit->strongest.strength)
			fit->strongest = (pe_strongest){strengths[column], b->bins.features[column]};
	pe_free(fit->env, strengths);
	return status;
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
	double most = model->n_classes > 0 ? WALKING_WORK / (model->max_depth + 1.0) : IMPORTANCE_WORK;
	uint32_t rows = available < IMPORTANCE_ROWS ? available : IMPORTANCE_ROWS;

	if (rows * work > most)
		rows = (uint32_t) (most / work);
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

/* The same where each class has trees of its own: contributions to its margin, summed over classes. */
static pe_status
sum_by_class(pe_boost *b, const uint32_t *list, uint32_t available, uint32_t n_rows)
{
	pe_fit *fit = b->fit;
	pe_model *model = fit->model;
	int n = model->n_features;
	double *values = pe_alloc(fit->env, 2 * (size_t) n * sizeof(double)), *contributions = values + n;
	void *scratch = pe_alloc(fit->env, pe_model_explain_scratch(model));
	pe_status status = values == NULL || scratch == NULL ? pe_fail_memory(fit->err) : PE_OK;

	for (uint32_t i = 0; i < n_rows && status == PE_OK; i++)
	{
		unbin_row(b, list[(uint64_t) i * available / n_rows], values);
		for (uint32_t class = 0; class < (uint32_t) b->n_margins && status == PE_OK; class ++)
		{
			memset(contributions, 0, (size_t) n * sizeof(double));
			for (uint32_t tree = class; tree < model->n_trees; tree += (uint32_t) b->n_margins)
				pe_explain_tree(model, tree, values, scratch, contributions);
			for (int feature = 0; feature < n; feature++)
				model->features[feature].mean_contribution += fabs(contributions[feature]);
			if (pe_team_poll(fit->pool, 0))
				status = PE_CANCELLED;
		}
	}
	pe_free(fit->env, values);
	pe_free(fit->env, scratch);
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
	pe_status status;

	if (b->n_margins > 1)
		status = sum_by_class(b, list, available, n_rows);
	else
	{
		status = pe_explainer_create(fit->env, fit->model, TABLE_BYTES, &explainer, fit->err);
		if (status == PE_OK)
			status = sum_contributions(b, explainer, list, available, n_rows);
		pe_explainer_free(explainer);
	}
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
