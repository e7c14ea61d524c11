/*
 * space.c
 *		Scaling features so that each weighs the same, and rows as points.
 */
#include "model/segment/space.h"

#define QUARTILE_ROWS 65536
#define ROBUST_LIMIT  5.0
#define NORMAL_RANGE  1.3489795003921634 /* between the quartiles of a normal distribution, in deviations */
#define POLL_ROWS     16384
#define CHUNK_ROWS    8192

bool
pe_space_alloc(const pe_env *env, int n_features, pe_space *space)
{
	space->n_features = n_features;
	space->axes = pe_calloc(env, n_features, sizeof(*space->axes));
	space->numbers = pe_calloc(env, n_features, sizeof(*space->numbers));
	space->categories = pe_calloc(env, n_features, sizeof(*space->categories));
	return space->axes != NULL && space->numbers != NULL && space->categories != NULL;
}

void
pe_space_free(const pe_env *env, pe_space *space)
{
	pe_free(env, space->axes);
	pe_free(env, space->numbers);
	pe_free(env, space->categories);
	memset(space, 0, sizeof(*space));
}

void
pe_space_index(pe_space *space)
{
	space->n_numbers = space->n_categories = 0;
	space->width = 0;
	for (int i = 0; i < space->n_features; i++)
	{
		pe_axis *axis = &space->axes[i];

		axis->at = 0;
		if (!axis->used)
			continue;
		if (axis->categorical)
			space->categories[space->n_categories++] = i;
		else
			space->numbers[space->n_numbers++] = i;
		axis->at = space->width;
		space->width += axis->cells;
	}
}

/* ---- measuring the rows ------------------------------------------------------------------- */

typedef struct measuring
{
	const pe_dataset *dataset;
	const pe_model *model;
	const pe_split_rows *rows;
	const pe_slot_map *map;
	bool robust;
	pe_team *team;
	pe_env quiet; /* never ticks: threads sort too */
	uint32_t sample;
	double *scratch; /* robust: by thread 2 times sample */
	pe_space *space;
} measuring;

/* Weighted mean and standard deviation of the values that are there; false: stopped. */
static bool
measure_moments(const measuring *m, int feature, int thread, pe_axis *axis)
{
	double weight = 0, mean = 0, squares = 0;

	for (uint32_t i = 0; i < m->rows->n_train; i++)
	{
		uint32_t row = m->rows->train[i];
		double value = pe_dataset_value(m->dataset, feature, row), w, gap;

		if (i % POLL_ROWS == 0 && pe_team_poll(m->team, thread))
			return false;
		if (isnan(value))
			continue;
		w = pe_dataset_weight(m->dataset, row);
		weight += w;
		gap = value - mean;
		mean += gap * (w / weight);
		squares += w * gap * (value - mean);
	}
	axis->mean = mean;
	axis->deviation = weight > 0 ? sqrt(squares / weight) : 0;
	return true;
}

/* Of sorted values, between neighbours by their distance. */
static double
quantile(const double *values, uint32_t count, double share)
{
	double at = share * (count - 1);
	uint32_t below = (uint32_t) at;

	if (below + 1 >= count)
		return values[count - 1];
	return values[below] + (values[below + 1] - values[below]) * (at - below);
}

static void
measure_quartiles(const measuring *m, int feature, int thread, pe_axis *axis)
{
	double *values = m->scratch + (size_t) thread * 2 * m->sample, range;
	uint32_t n = 0;

	for (uint32_t i = 0; i < m->sample; i++)
	{
		double value = pe_dataset_value(m->dataset, feature,
		                                m->rows->train[(uint64_t) i * m->rows->n_train / m->sample]);

		if (!isnan(value))
			values[n++] = value;
	}
	if (n == 0)
		return;
	(void) pe_sort_doubles(&m->quiet, values, NULL, values + m->sample, NULL, n);
	range = quantile(values, n, 0.75) - quantile(values, n, 0.25);
	/* More than half of the values are the same: there is no middle half to measure by. */
	if (!(range > 0))
		return;
	axis->middle = quantile(values, n, 0.5);
	axis->scale = NORMAL_RANGE / range;
	axis->limit = ROBUST_LIMIT;
}

/* Indicators with shares p have the variance 1 - sum p^2 together. */
static bool
measure_category(const measuring *m, int feature, int thread, pe_axis *axis)
{
	double shares[256] = {0}, weight = 0, variance = 1;
	const uint8_t *slots = m->map->slots[feature];

	for (uint32_t i = 0; i < m->rows->n_train; i++)
	{
		uint32_t row = m->rows->train[i];
		double value = pe_dataset_value(m->dataset, feature, row), w = pe_dataset_weight(m->dataset, row);

		if (i % POLL_ROWS == 0 && pe_team_poll(m->team, thread))
			return false;
		shares[isnan(value) ? PE_SLOT_MISSING : slots[(uint32_t) value]] += w;
		weight += w;
	}
	for (uint32_t slot = 0; slot < axis->cells; slot++)
		variance -= (shares[slot] / weight) * (shares[slot] / weight);
	axis->used = false;
	for (uint32_t slot = 0; slot < axis->cells; slot++)
		axis->used = axis->used || (shares[slot] > 0 && shares[slot] < weight);
	axis->scale = axis->used && variance > 1e-12 ? 1 / sqrt(variance) : 0;
	axis->used = axis->scale > 0;
	return true;
}

static void
measure_feature(void *ctx, uint32_t item, int thread)
{
	const measuring *m = ctx;
	const pe_feature *feature = &m->model->features[item];
	pe_axis *axis = &m->space->axes[item];

	axis->categorical = feature->kind == PE_FEATURE_CATEGORICAL;
	axis->cells = axis->categorical ? (uint32_t) feature->n_levels + 2 : 1;
	if (axis->categorical)
	{
		(void) measure_category(m, (int) item, thread, axis);
		return;
	}
	if (!measure_moments(m, (int) item, thread, axis))
		return;
	axis->middle = axis->mean;
	axis->scale = axis->deviation > 0 ? 1 / axis->deviation : 0;
	axis->limit = 1e15;
	/* Rounding of equal values is no variation. */
	axis->used =
	    isfinite(axis->deviation) && axis->deviation > 1e-12 * fabs(axis->mean) && isfinite(axis->scale);
	if (m->robust && axis->used)
		measure_quartiles(m, (int) item, thread, axis);
}

pe_status
pe_space_measure(const pe_env *env, const pe_dataset *dataset, const pe_model *model,
                 const pe_split_rows *rows, const pe_slot_map *map, bool robust, pe_team *team,
                 pe_space *space, pe_error *err)
{
	measuring m = {dataset, model, rows, map, robust, team, *env, 0, NULL, space};
	pe_status status = PE_OK;

	m.quiet.tick = NULL;
	m.sample = rows->n_train < QUARTILE_ROWS ? rows->n_train : QUARTILE_ROWS;
	if (robust)
		m.scratch = pe_alloc(env, (size_t) pe_team_threads(team) * 2 * m.sample * sizeof(double));
	if (robust && m.scratch == NULL)
		status = pe_fail_memory(err);
	else if (!pe_team_run(team, measure_feature, &m, (uint32_t) space->n_features))
		status = pe_fail(err, PE_CANCELLED, "training was cancelled");
	pe_free(env, m.scratch);
	for (int i = 0; i < space->n_features && status == PE_OK; i++)
		if (!isfinite(space->axes[i].deviation) || !isfinite(space->axes[i].mean))
		{
			status =
			    pe_fail(err, PE_INVALID_DATA, "the values of \"%s\" are too large", model->features[i].name);
			pe_error_hint(err, "Leave the column out, or divide it.");
		}
	pe_space_index(space);
	return status;
}

/* ---- points ------------------------------------------------------------------------------- */

typedef struct placing
{
	const pe_dataset *dataset;
	const pe_split_rows *rows;
	const pe_slot_map *map;
	pe_team *team;
	pe_points *points;
} placing;

/* Column by column within the chunk, since a dataset's columns lie far apart. */
static void
place_chunk(void *ctx, uint32_t item, int thread)
{
	const placing *p = ctx;
	const pe_space *space = p->points->space;
	uint32_t from = item * CHUNK_ROWS;
	uint32_t to = from + CHUNK_ROWS < p->points->rows ? from + CHUNK_ROWS : p->points->rows;

	for (int i = 0; i < space->n_numbers; i++)
	{
		if (i % 16 == 0 && pe_team_poll(p->team, thread))
			return;
		for (uint32_t row = from; row < to; row++)
			p->points->values[(size_t) row * space->n_numbers + i] =
			    pe_axis_scale(&space->axes[space->numbers[i]],
			                  pe_dataset_value(p->dataset, space->numbers[i], p->rows->train[row]));
	}
	for (int i = 0; i < space->n_categories; i++)
	{
		const uint8_t *slots = p->map->slots[space->categories[i]];

		if (i % 16 == 0 && pe_team_poll(p->team, thread))
			return;
		for (uint32_t row = from; row < to; row++)
		{
			double value = pe_dataset_value(p->dataset, space->categories[i], p->rows->train[row]);

			p->points->slots[(size_t) row * space->n_categories + i] =
			    isnan(value) ? PE_SLOT_MISSING : slots[(uint32_t) value];
		}
	}
	for (uint32_t row = from; row < to && p->points->weights != NULL; row++)
		p->points->weights[row] = pe_dataset_weight(p->dataset, p->rows->train[row]);
}

static bool
points_alloc(const pe_env *env, const pe_space *space, uint32_t rows, bool with_weights, pe_points *points)
{
	memset(points, 0, sizeof(*points));
	points->space = space;
	points->rows = rows;
	points->values = pe_alloc(env, (size_t) rows * space->n_numbers * sizeof(float));
	points->slots = pe_alloc(env, (size_t) rows * space->n_categories);
	if (with_weights)
		points->weights = pe_alloc(env, (size_t) rows * sizeof(double));
	return points->values != NULL && points->slots != NULL && (!with_weights || points->weights != NULL);
}

pe_status
pe_points_make(const pe_env *env, const pe_dataset *dataset, const pe_split_rows *rows,
               const pe_slot_map *map, const pe_space *space, pe_team *team, pe_points *points, pe_error *err)
{
	placing p = {dataset, rows, map, team, points};

	if (!points_alloc(env, space, rows->n_train, dataset->with_weights, points))
		return pe_fail_memory(err);
	if (!pe_team_run(team, place_chunk, &p, (rows->n_train + CHUNK_ROWS - 1) / CHUNK_ROWS))
		return pe_fail(err, PE_CANCELLED, "training was cancelled");
	return PE_OK;
}

void
pe_points_free(const pe_env *env, pe_points *points)
{
	pe_free(env, points->values);
	pe_free(env, points->slots);
	pe_free(env, points->weights);
	memset(points, 0, sizeof(*points));
}

pe_status
pe_points_sample(const pe_env *env, const pe_points *from, uint32_t most, uint64_t seed, pe_points *points,
                 uint32_t *rows, pe_error *err)
{
	const pe_space *space = from->space;
	uint32_t n = from->rows < most ? from->rows : most;

	if (!points_alloc(env, space, n, from->weights != NULL, points))
		return pe_fail_memory(err);
	for (uint32_t i = 0; i < n; i++)
	{
		uint64_t first = (uint64_t) i * from->rows / n, next = (uint64_t) (i + 1) * from->rows / n;
		size_t row = first + (uint64_t) (pe_draw(i, seed, PE_DRAW_ROWS) * (double) (next - first));

		memcpy(points->values + (size_t) i * space->n_numbers, from->values + row * space->n_numbers,
		       space->n_numbers * sizeof(float));
		memcpy(points->slots + (size_t) i * space->n_categories, from->slots + row * space->n_categories,
		       space->n_categories);
		if (points->weights != NULL)
			points->weights[i] = from->weights[row];
		if (rows != NULL)
			rows[i] = (uint32_t) row;
	}
	return PE_OK;
}

void
pe_points_centre(const pe_points *points, uint32_t row, double *centre)
{
	const pe_space *space = points->space;

	memset(centre, 0, space->width * sizeof(double));
	for (int i = 0; i < space->n_numbers; i++)
		centre[space->axes[space->numbers[i]].at] = points->values[(size_t) row * space->n_numbers + i];
	for (int i = 0; i < space->n_categories; i++)
		centre[space->axes[space->categories[i]].at + points->slots[(size_t) row * space->n_categories + i]] =
		    1;
}
