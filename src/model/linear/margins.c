/*
 * margins.c
 *		What a finished model says of the rows: their margins, and the features' mean
 *		contributions.
 */
#include "model/linear/linear.h"

#define IMPORTANCE_ROWS 2000

typedef struct row_job
{
	pe_fit *fit;
	double *values; /* by thread */
	const uint32_t *rows;
	uint32_t n_rows;
	double *margins;
	double *parts; /* importances: by item */
	double *one;   /* by thread */
	uint32_t items;
	uint32_t n_from;
	pe_spread spread;
} row_job;

#define ROWS_AN_ITEM 1024

static pe_status
cancelled(pe_error *err)
{
	return pe_fail(err, PE_CANCELLED, "training was cancelled");
}

static void
load_row(const pe_fit *fit, uint32_t row, double *values)
{
	for (int i = 0; i < fit->model->n_features; i++)
	{
		values[i] = pe_dataset_value(fit->dataset, i, row);
		if (fit->model->features[i].kind == PE_FEATURE_CATEGORICAL && !isnan(values[i]))
		{
			int code = fit->map->slots[i][(uint32_t) values[i]] - 1;

			values[i] = code < fit->model->features[i].n_levels ? code : PE_UNKNOWN_LEVEL;
		}
	}
}

static void
margin_work(void *ctx, uint32_t item, int thread)
{
	row_job *job = ctx;
	const pe_fit *fit = job->fit;
	double *values = job->values + (size_t) thread * fit->model->n_features;
	uint32_t begin = item * ROWS_AN_ITEM;
	uint32_t end = job->n_rows - begin < ROWS_AN_ITEM ? job->n_rows : begin + ROWS_AN_ITEM;

	for (uint32_t i = begin; i < end; i++)
	{
		load_row(fit, job->rows[i], values);
		pe_model_margins(fit->model, values, job->margins + (size_t) i * fit->n_margins);
		if (i % 64 == 0 && pe_team_poll(fit->pool, thread))
			return;
	}
}

static void
importance_work(void *ctx, uint32_t item, int thread)
{
	row_job *job = ctx;
	const pe_fit *fit = job->fit;
	int n = fit->model->n_features;
	double *values = job->values + (size_t) thread * n, *one = job->one + (size_t) thread * n, base;

	for (uint32_t i = item; i < job->n_rows; i += job->items)
	{
		load_row(fit, job->rows[(uint64_t) i * job->n_from / job->n_rows], values);
		pe_model_explain(fit->model, values, NULL, one, &base);
		for (int feature = 0; feature < n; feature++)
			job->parts[(size_t) item * n + feature] += fabs(one[feature]);
		pe_spread_put(&job->spread, i, one);
	}
}

static bool
run_margins(row_job *job, const uint32_t *rows, uint32_t n_rows, double *margins)
{
	job->rows = rows;
	job->n_rows = n_rows;
	job->margins = margins;
	return margins == NULL ||
	       pe_team_run(job->fit->pool, margin_work, job, (n_rows + ROWS_AN_ITEM - 1) / ROWS_AN_ITEM);
}

static pe_status
run_importances(row_job *job)
{
	pe_fit *fit = job->fit;
	const pe_split_rows *rows = fit->rows;
	int n = fit->model->n_features;
	double total = 0;
	pe_status status;

	job->rows = rows->n_holdout > 0 ? rows->holdout : rows->train;
	job->n_from = rows->n_holdout > 0 ? rows->n_holdout : rows->n_train;
	job->n_rows = job->n_from < IMPORTANCE_ROWS ? job->n_from : IMPORTANCE_ROWS;
	status = pe_spread_create(fit->env, &job->spread, n, job->n_rows, fit->err);
	if (status == PE_OK && !pe_team_run(fit->pool, importance_work, job, job->items))
		status = cancelled(fit->err);
	if (status == PE_OK)
		status = pe_spread_finish(fit->env, &job->spread, fit->model, fit->err);
	pe_spread_free(fit->env, &job->spread);
	if (status != PE_OK)
		return status;
	for (int i = 0; i < n; i++)
	{
		double sum = 0;

		for (uint32_t item = 0; item < job->items; item++)
			sum += job->parts[(size_t) item * n + i];
		fit->model->features[i].mean_contribution = sum / job->n_rows;
		total += sum / job->n_rows;
	}
	for (int i = 0; i < n && total > 0; i++)
		fit->model->features[i].gain = fit->model->features[i].mean_contribution / total;
	return PE_OK;
}

pe_status
pe_store_margins(pe_fit *fit)
{
	int n = fit->model->n_features, threads = pe_team_threads(fit->pool);
	row_job job = {.fit = fit, .items = 16};
	pe_status status = PE_OK;

	job.values = pe_alloc(fit->env, (size_t) n * threads * sizeof(double));
	job.one = pe_alloc(fit->env, (size_t) n * threads * sizeof(double));
	job.parts = pe_calloc(fit->env, (size_t) n * job.items, sizeof(double));
	if (job.values == NULL || job.one == NULL || job.parts == NULL)
		status = pe_fail_memory(fit->err);
	else if (!run_margins(&job, fit->rows->holdout, fit->rows->n_holdout, fit->holdout_margins) ||
	         !run_margins(&job, fit->rows->train, fit->rows->n_train, fit->train_margins))
		status = cancelled(fit->err);
	else
		status = run_importances(&job);
	pe_free(fit->env, job.values);
	pe_free(fit->env, job.one);
	pe_free(fit->env, job.parts);
	return status;
}
