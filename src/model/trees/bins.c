/*
 * bins.c
 *		From columns of floats to the byte matrix that trees are grown on.
 */
#include "model/trees/trees.h"

#define SAMPLE_ROWS 200000 /* for quantiles; fewer rows are all looked at */
#define CHUNK_ROWS  4096
#define WAVE_BLOCKS 8 /* blocks binned between two givings-back */

typedef struct edge_job
{
	pe_fit *fit;
	pe_bins *bins;
	uint32_t n_sample;
	float *keys; /* two times n_sample for each thread */
	/* by feature, 0 edges: none; NULL-free, PE_EDGES each */
	float *edges;
	uint16_t *n_edges;
	bool *has_missing;
	bool *useful;
} edge_job;

static inline uint32_t
sample_row(const edge_job *job, uint32_t i)
{
	const pe_split_rows *rows = job->fit->rows;

	return rows->train[(uint64_t) i * rows->n_train / job->n_sample];
}

/* Between two neighbours, so that a value just above the lower one still falls right. */
static float
edge_between(float low, float high)
{
	float middle = low + (high - low) * 0.5f;

	if (!isfinite(middle))
		middle = low * 0.5f + high * 0.5f;
	return middle >= low && middle < high ? middle : low;
}

/*
 * Cut sorted values into at most n_bins bins of about equal counts; equal values are
 * never parted, and with few distinct values each gets a bin.
 */
static uint16_t
cut(const float *values, uint32_t count, int n_bins, float *edges)
{
	uint32_t distinct = count > 0;
	uint16_t n_edges = 0;
	uint32_t in_bin = 0, left = count;

	for (uint32_t i = 1; i < count; i++)
		distinct += values[i] != values[i - 1];
	for (uint32_t i = 0, next; i < count && n_edges + 1 < n_bins; i = next)
	{
		for (next = i + 1; next < count && values[next] == values[i]; next++)
			;
		in_bin += next - i;
		if (next == count)
			break;
		/* The bin is full when it has its share of what was left at its beginning. */
		if (distinct <= (uint32_t) n_bins || (uint64_t) in_bin * (n_bins - n_edges) >= left)
		{
			edges[n_edges++] = edge_between(values[i], values[next]);
			left -= in_bin;
			in_bin = 0;
		}
	}
	return n_edges;
}

static void
choose_numeric(edge_job *job, int feature, int thread)
{
	float *keys = job->keys + (size_t) thread * 2 * job->n_sample;
	float *edges = job->edges + (size_t) feature * PE_EDGES;
	uint32_t count = 0;

	for (uint32_t i = 0; i < job->n_sample; i++)
	{
		float value = (float) pe_dataset_value(job->fit->dataset, feature, sample_row(job, i));

		if (isnan(value))
			job->has_missing[feature] = true;
		else
			keys[count++] = value;
		if (i % 16384 == 0 && pe_team_poll(job->fit->pool, thread))
			return;
	}
	pe_sort_floats(keys, keys + job->n_sample, count);
	job->n_edges[feature] = cut(keys, count, job->fit->options->max_bins, edges);
	for (int i = job->n_edges[feature]; i < PE_EDGES; i++)
		edges[i] = INFINITY;
	job->useful[feature] = job->n_edges[feature] > 0 || (job->has_missing[feature] && count > 0);
}

/* Levels were chosen from all training rows; only whether some are missing is looked up. */
static void
choose_categorical(edge_job *job, int feature, int thread)
{
	const pe_feature *from = &job->fit->model->features[feature];

	for (uint32_t i = 0; i < job->n_sample && !job->has_missing[feature]; i++)
	{
		job->has_missing[feature] = isnan(pe_dataset_value(job->fit->dataset, feature, sample_row(job, i)));
		if (i % 16384 == 0 && pe_team_poll(job->fit->pool, thread))
			return;
	}
	job->useful[feature] = from->n_levels > 0 &&
	                       from->n_levels + (from->pooled ? 1 : 0) + (job->has_missing[feature] ? 1 : 0) > 1;
}

static void
choose_work(void *ctx, uint32_t item, int thread)
{
	edge_job *job = ctx;

	if (job->fit->model->features[item].kind == PE_FEATURE_NUMERIC)
		choose_numeric(job, (int) item, thread);
	else
		choose_categorical(job, (int) item, thread);
}

/* Lay out the useful features as columns. */
static pe_status
lay_out(edge_job *job)
{
	pe_fit *fit = job->fit;
	pe_bins *bins = job->bins;
	int n = fit->model->n_features;
	uint32_t cells = 0;

	bins->features = pe_calloc(fit->env, n, sizeof(int));
	bins->columns = pe_calloc(fit->env, n, sizeof(int));
	bins->offsets = pe_calloc(fit->env, n + 1, sizeof(uint32_t));
	bins->categorical = pe_calloc(fit->env, n, sizeof(bool));
	if (bins->features == NULL || bins->columns == NULL || bins->offsets == NULL || bins->categorical == NULL)
		return pe_fail_memory(fit->err);
	for (int feature = 0; feature < n; feature++)
	{
		const pe_feature *from = &fit->model->features[feature];
		int column = bins->n_columns;

		bins->columns[feature] = -1;
		if (!job->useful[feature])
			continue;
		bins->columns[feature] = column;
		bins->features[column] = feature;
		bins->categorical[column] = from->kind == PE_FEATURE_CATEGORICAL;
		bins->offsets[column] = cells;
		cells += bins->categorical[column] ? from->n_levels + 2 : job->n_edges[feature] + 2;
		/* Columns are at or before their features, so this never overwrites what is still needed. */
		if (column != feature)
			memcpy(job->edges + (size_t) column * PE_EDGES, job->edges + (size_t) feature * PE_EDGES,
			       PE_EDGES * sizeof(float));
		bins->n_columns++;
	}
	bins->offsets[bins->n_columns] = cells;
	bins->edges = job->edges;
	job->edges = NULL;
	if (bins->n_columns == 0)
	{
		pe_fail(fit->err, PE_INVALID_DATA, "no feature has two different values in the training rows");
		pe_error_hint(fit->err, "Add columns that differ between profiles, or more rows.");
		return PE_INVALID_DATA;
	}
	return pe_bins_group(fit->env, bins, fit->err);
}

pe_status
pe_bins_choose(pe_fit *fit, pe_bins *bins)
{
	edge_job job = {.fit = fit, .bins = bins};
	int n = fit->model->n_features;
	pe_status status = PE_OK;

	memset(bins, 0, sizeof(*bins));
	bins->rows = fit->dataset->rows;
	job.n_sample = fit->rows->n_train < SAMPLE_ROWS ? fit->rows->n_train : SAMPLE_ROWS;
	job.keys = pe_alloc(fit->env, (size_t) pe_team_threads(fit->pool) * 2 * job.n_sample * sizeof(float));
	job.edges = pe_alloc(fit->env, (size_t) n * PE_EDGES * sizeof(float));
	job.n_edges = pe_calloc(fit->env, n, sizeof(uint16_t));
	job.has_missing = pe_calloc(fit->env, n, sizeof(bool));
	job.useful = pe_calloc(fit->env, n, sizeof(bool));
	if (job.keys == NULL || job.edges == NULL || job.n_edges == NULL || job.has_missing == NULL ||
	    job.useful == NULL)
		status = pe_fail_memory(fit->err);
	else if (!pe_team_run(fit->pool, choose_work, &job, (uint32_t) n))
		status = pe_fail(fit->err, PE_CANCELLED, "training was cancelled");
	else
		status = lay_out(&job);
	pe_free(fit->env, job.keys);
	pe_free(fit->env, job.edges);
	pe_free(fit->env, job.n_edges);
	pe_free(fit->env, job.has_missing);
	pe_free(fit->env, job.useful);
	return status;
}

typedef struct fill_job
{
	pe_fit *fit;
	pe_bins *bins;
	uint32_t first_block;
	uint32_t chunks_in_block;
	uint32_t chunk_rows;
} fill_job;

/* 1 + the number of edges below value, without a branch; edges beyond the last are +infinity. */
static inline uint8_t
numeric_bin(const float *edges, float value)
{
	unsigned at = 0;

	if (isnan(value))
		return 0;
	for (unsigned step = 128; step > 0; step >>= 1)
		at += (edges[at + step - 1] < value) ? step : 0;
	return (uint8_t) (at + 1);
}

/* The codes are sums over their columns, so that each adds its part. */
static void
fill_column(fill_job *job, const float *values, uint32_t count, int column, uint8_t *out)
{
	const pe_bins *bins = job->bins;
	int feature = bins->features[column];
	size_t stride = bins->stride;
	unsigned step = bins->steps[column];

	if (bins->categorical[column])
	{
		const uint8_t *slots = job->fit->map->slots[feature];

		for (uint32_t i = 0; i < count; i++)
		{
			unsigned bin = isnan(values[i]) ? PE_SLOT_MISSING : slots[(uint32_t) values[i]];

			out[i * stride] = (uint8_t) (out[i * stride] + bin * step);
		}
	}
	else
	{
		const float *edges = bins->edges + (size_t) column * PE_EDGES;

		for (uint32_t i = 0; i < count; i++)
			out[i * stride] = (uint8_t) (out[i * stride] + numeric_bin(edges, values[i]) * step);
	}
}

static void
fill_work(void *ctx, uint32_t item, int thread)
{
	fill_job *job = ctx;
	const pe_dataset *dataset = job->fit->dataset;
	const pe_bins *bins = job->bins;
	uint32_t block = job->first_block + item / job->chunks_in_block;
	uint32_t begin = item % job->chunks_in_block * job->chunk_rows;
	uint64_t row = ((uint64_t) block << dataset->block_shift) + begin;
	uint32_t count = job->chunk_rows;

	if (row >= dataset->rows)
		return;
	if (row + count > dataset->rows)
		count = (uint32_t) (dataset->rows - row);
	memset(bins->matrix + row * bins->stride, 0, count * bins->stride);
	for (int i = 0; i < bins->n_columns; i++)
	{
		int column = bins->members[i];
		const float *values = (const float *) dataset->blocks[block].values +
		                      ((size_t) bins->features[column] << dataset->block_shift) + begin;

		fill_column(job, values, count, column, bins->matrix + row * bins->stride + bins->groups[column]);
		if (pe_team_poll(job->fit->pool, thread))
			return;
	}
}

/* A chunk's codes once more, group by group. */
static void
turn_work(void *ctx, uint32_t item, int thread)
{
	const pe_bins *bins = ctx;
	uint64_t begin = (uint64_t) item * CHUNK_ROWS;
	uint64_t count = bins->rows - begin < CHUNK_ROWS ? bins->rows - begin : CHUNK_ROWS;
	const uint8_t *from = bins->matrix + begin * bins->stride;

	for (int group = 0; group < bins->n_groups; group++)
	{
		uint8_t *to = bins->turned + (size_t) group * bins->rows + begin;

		for (uint64_t i = 0; i < count; i++)
			to[i] = from[i * bins->stride + group];
	}
}

/* Not before the values are given back, so that the two are never held at once. */
static pe_status
turn(pe_fit *fit, pe_bins *bins)
{
	if ((bins->turned = pe_alloc_large(fit->env, bins->rows, bins->n_groups)) == NULL)
		return pe_fail_memory(fit->err);
	if (!pe_team_run(fit->pool, turn_work, bins, (uint32_t) ((bins->rows + CHUNK_ROWS - 1) / CHUNK_ROWS)))
		return pe_fail(fit->err, PE_CANCELLED, "training was cancelled");
	return PE_OK;
}

pe_status
pe_bins_fill(pe_fit *fit, pe_bins *bins)
{
	pe_dataset *dataset = fit->dataset;
	fill_job job = {.fit = fit, .bins = bins};

	if ((bins->matrix = pe_alloc_large(fit->env, bins->rows, bins->stride)) == NULL)
		return pe_fail_memory(fit->err);
	job.chunk_rows = 1u << dataset->block_shift;
	if (job.chunk_rows > CHUNK_ROWS)
		job.chunk_rows = CHUNK_ROWS;
	job.chunks_in_block = (1u << dataset->block_shift) / job.chunk_rows;
	for (uint32_t block = 0; block < dataset->n_blocks; block += WAVE_BLOCKS)
	{
		uint32_t blocks = dataset->n_blocks - block < WAVE_BLOCKS ? dataset->n_blocks - block : WAVE_BLOCKS;

		pe_team_phase(fit->pool, "bin", block, dataset->n_blocks);
		job.first_block = block;
		if (!pe_team_run(fit->pool, fill_work, &job, blocks * job.chunks_in_block))
			return pe_fail(fit->err, PE_CANCELLED, "training was cancelled");
		for (uint32_t i = 0; i < blocks; i++)
			pe_dataset_free_block_values(dataset, block + i);
	}
	return turn(fit, bins);
}

void
pe_bins_free(const pe_env *env, pe_bins *bins)
{
	pe_free(env, bins->features);
	pe_free(env, bins->columns);
	pe_free(env, bins->offsets);
	pe_free(env, bins->categorical);
	pe_free(env, bins->edges);
	pe_free(env, bins->groups);
	pe_free(env, bins->steps);
	pe_free(env, bins->group_codes);
	pe_free(env, bins->members);
	pe_free(env, bins->member_begin);
	pe_free(env, bins->decode);
	pe_free(env, bins->matrix);
	pe_free(env, bins->turned);
	memset(bins, 0, sizeof(*bins));
}

double
pe_bins_value(const pe_bins *bins, const pe_model *model, int column, uint8_t bin)
{
	if (bin == 0)
		return NAN;
	if (bins->categorical[column])
	{
		int code = bin - 1;

		return code < model->features[bins->features[column]].n_levels ? code : PE_UNKNOWN_LEVEL;
	}
	/* The upper edge is in its bin; the last bin's is +infinity. */
	return bins->edges[(size_t) column * PE_EDGES + bin - 1];
}
