/*
 * summary.c
 *		For people who look at a model: what the rows hold in each feature (how much is
 *		missing, the range, the most frequent level; over all rows, held-out ones too), and
 *		where its contributions lie.
 */
#include "model/internal.h"

#define SPREAD_CELLS      1048576
#define LEAST_SPREAD_ROWS 64

typedef struct summary_job
{
	const pe_fit *fit;
	uint32_t **counts; /* by thread: PE_MAX_DISTINCT_LEVELS + 1 */
} summary_job;

/* The cells of one feature in a block, as numbers, and how many rows it has. */
static uint32_t
block_values(const pe_dataset *dataset, int feature, uint32_t block, const float **floats,
             const double **doubles)
{
	uint64_t begin = (uint64_t) block << dataset->block_shift;
	uint64_t rows = dataset->rows - begin, most = (uint64_t) 1 << dataset->block_shift;
	const void *values = dataset->blocks[block].values;
	size_t first = (size_t) feature << dataset->block_shift;

	*floats = dataset->exact ? NULL : (const float *) values + first;
	*doubles = dataset->exact ? (const double *) values + first : NULL;
	return (uint32_t) (rows < most ? rows : most);
}

static void
summarise_number(const summary_job *job, int feature, int thread, pe_feature_summary *summary)
{
	const pe_dataset *dataset = job->fit->dataset;
	double sum = 0, lowest = INFINITY, highest = -INFINITY;
	uint64_t present = 0;

	for (uint32_t block = 0; block < dataset->n_blocks && !pe_team_poll(job->fit->pool, thread); block++)
	{
		const float *floats;
		const double *doubles;
		uint32_t rows = block_values(dataset, feature, block, &floats, &doubles);

		for (uint32_t i = 0; i < rows; i++)
		{
			double value = floats != NULL ? (double) floats[i] : doubles[i];

			if (isnan(value))
				continue;
			present++;
			sum += value;
			lowest = value < lowest ? value : lowest;
			highest = value > highest ? value : highest;
		}
	}
	summary->missing = (double) (dataset->rows - present) / (double) dataset->rows;
	if (present == 0)
		return;
	summary->lowest = lowest;
	summary->highest = highest;
	summary->mean = sum / (double) present;
}

static void
summarise_levels(const summary_job *job, int feature, int thread, pe_feature_summary *summary)
{
	const pe_dataset *dataset = job->fit->dataset;
	const pe_dictionary *levels = &dataset->features[feature].levels;
	uint32_t *counts = job->counts[thread];
	uint32_t top = 0;
	uint64_t present = 0;
	size_t length;
	const char *text;

	memset(counts, 0, ((size_t) levels->count + 1) * sizeof(*counts));
	for (uint32_t block = 0; block < dataset->n_blocks && !pe_team_poll(job->fit->pool, thread); block++)
	{
		const float *floats;
		const double *doubles;
		uint32_t rows = block_values(dataset, feature, block, &floats, &doubles);

		for (uint32_t i = 0; i < rows; i++)
		{
			double value = floats != NULL ? (double) floats[i] : doubles[i];

			if (isnan(value))
				continue;
			present++;
			counts[(uint32_t) value]++;
		}
	}
	summary->missing = (double) (dataset->rows - present) / (double) dataset->rows;
	summary->distinct = (int) levels->count;
	for (uint32_t code = 1; code < levels->count; code++)
		if (counts[code] > counts[top])
			top = code;
	if (present == 0)
		return;
	summary->top_share = (double) counts[top] / (double) dataset->rows;
	text = levels->arena + levels->starts[top];
	length = levels->starts[top + 1] - levels->starts[top];
	if (length >= sizeof(summary->top))
		length = (size_t) pe_clipped(text, sizeof(summary->top) - 1);
	memcpy(summary->top, text, length);
	summary->top[length] = '\0';
}

static void
summarise(void *ctx, uint32_t item, int thread)
{
	summary_job *job = ctx;
	pe_feature *feature = &job->fit->model->features[item];

	for (int i = 0; i < PE_SPREAD_QUANTILES; i++)
		feature->summary.contributions[i] = NAN;
	feature->summary.lowest = feature->summary.highest = feature->summary.mean = NAN;
	if (feature->kind == PE_FEATURE_NUMERIC)
		summarise_number(job, (int) item, thread, &feature->summary);
	else
		summarise_levels(job, (int) item, thread, &feature->summary);
	feature->summarised = true;
}

static pe_status
summarise_all(summary_job *job)
{
	const pe_fit *fit = job->fit;

	for (int i = 0; i < pe_team_threads(fit->pool); i++)
		if ((job->counts[i] = pe_alloc(fit->env, (PE_MAX_DISTINCT_LEVELS + 1) * sizeof(uint32_t))) == NULL)
			return pe_fail_memory(fit->err);
	if (!pe_team_run(fit->pool, summarise, job, (uint32_t) fit->model->n_features))
		return pe_fail(fit->err, PE_CANCELLED, "training was cancelled");
	return PE_OK;
}

pe_status
pe_summarise_features(const pe_fit *fit)
{
	summary_job job = {fit, pe_calloc(fit->env, (size_t) pe_team_threads(fit->pool), sizeof(uint32_t *))};
	pe_status status = job.counts == NULL ? pe_fail_memory(fit->err) : summarise_all(&job);

	for (int i = 0; i < pe_team_threads(fit->pool) && job.counts != NULL; i++)
		pe_free(fit->env, job.counts[i]);
	pe_free(fit->env, job.counts);
	return status;
}

/* ---- where contributions lie ------------------------------------------------------------ */

pe_status
pe_spread_create(const pe_env *env, pe_spread *spread, int n_features, uint32_t rows, pe_error *err)
{
	uint32_t most = SPREAD_CELLS / (uint32_t) n_features;

	most = most < LEAST_SPREAD_ROWS ? LEAST_SPREAD_ROWS : most;
	spread->n_features = n_features;
	spread->step = (rows + most - 1) / most;
	spread->step = spread->step < 1 ? 1 : spread->step;
	spread->rows = (rows + spread->step - 1) / spread->step;
	spread->values = pe_alloc(env, (size_t) spread->rows * n_features * sizeof(float));
	return spread->values != NULL ? PE_OK : pe_fail_memory(err);
}

void
pe_spread_put(pe_spread *spread, uint32_t row, const double *contributions)
{
	if (row % spread->step != 0)
		return;
	for (int feature = 0; feature < spread->n_features; feature++)
		spread->values[(size_t) feature * spread->rows + row / spread->step] = (float) contributions[feature];
}

pe_status
pe_spread_finish(const pe_env *env, pe_spread *spread, pe_model *model, pe_error *err)
{
	static const double shares[PE_SPREAD_QUANTILES] = {0.05, 0.25, 0.5, 0.75, 0.95};
	float *scratch = pe_alloc(env, spread->rows * sizeof(*scratch));

	for (int feature = 0; feature < spread->n_features && scratch != NULL; feature++)
	{
		float *values = spread->values + (size_t) feature * spread->rows;

		pe_sort_floats(values, scratch, spread->rows);
		for (int i = 0; i < PE_SPREAD_QUANTILES; i++)
			model->features[feature].summary.contributions[i] =
			    values[(uint32_t) (shares[i] * (spread->rows - 1) + 0.5)];
	}
	pe_free(env, scratch);
	return scratch != NULL ? PE_OK : pe_fail_memory(err);
}

void
pe_spread_free(const pe_env *env, pe_spread *spread)
{
	pe_free(env, spread->values);
	spread->values = NULL;
}
