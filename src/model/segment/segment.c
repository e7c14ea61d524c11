/*
 * segment.c
 *		Learning segments: scale, start on a sample, go on over all rows, describe.
 *
 * The starts run on a sample of at most 65,536 rows, several at a time; the best of them
 * goes on over all rows. Where the number of clusters is to be found, each number from
 * 2 to options->max_clusters has its starts, and the mean silhouette on at most 2,048
 * rows decides.
 */
#include "model/family.h"
#include "model/segment/kmeans.h"
#include "model/segment/learnt.h"

#define SAMPLE_ROWS     65536
#define SILHOUETTE_ROWS 2048
#define DRAW_SAMPLE     1
#define DRAW_SILHOUETTE 2

typedef struct training
{
	const pe_env *env;
	pe_dataset *dataset;
	const pe_options *options;
	pe_team *team;
	pe_error *err;
	pe_split_rows rows;
	pe_slot_map map;
	pe_model *model;
	pe_segments *segments;
	pe_points points;
	pe_points sample;
	double *centres; /* [most clusters][width] */
	int clusters;    /* wanted at most, then found */
	uint8_t *labels; /* [points] */
	pe_tally tally;
} training;

static pe_status
list_rows(training *t)
{
	uint64_t rows = pe_dataset_rows(t->dataset);

	t->rows.train = pe_alloc(t->env, rows * sizeof(uint32_t));
	if (t->rows.train == NULL)
		return pe_fail_memory(t->err);
	for (uint64_t row = 0; row < rows; row++)
		if (pe_dataset_weight(t->dataset, row) > 0)
			t->rows.train[t->rows.n_train++] = (uint32_t) row;
	if (t->rows.n_train >= 2)
		return PE_OK;
	pe_fail(t->err, PE_INVALID_DATA, "too few rows to find segments in: %u", t->rows.n_train);
	pe_error_hint(t->err, "Segments need at least 2 rows of a weight above 0.");
	return PE_INVALID_DATA;
}

/* Model, scales and points. */
static pe_status
place_rows(training *t)
{
	pe_space *space;
	pe_status status;

	status = pe_model_create(t->env, t->dataset, PE_TASK_SEGMENT, &t->model, t->err);
	if (status != PE_OK)
		return status;
	if ((t->segments = pe_calloc(t->env, 1, sizeof(*t->segments))) == NULL)
		return pe_fail_memory(t->err);
	t->model->own = t->segments;
	t->model->training_rows = t->rows.n_train;
	space = &t->segments->space;
	status = pe_choose_levels(t->model, t->dataset, &t->rows, t->team, &t->map, t->err);
	if (status != PE_OK)
		return status;
	if (!pe_space_alloc(t->env, t->model->n_features, space))
		return pe_fail_memory(t->err);
	status = pe_space_measure(t->env, t->dataset, t->model, &t->rows, &t->map, t->options->robust_scale,
	                          t->team, space, t->err);
	if (status != PE_OK)
		return status;
	if (space->width == 0)
	{
		pe_fail(t->err, PE_INVALID_DATA, "no feature has two different values");
		pe_error_hint(t->err, "Segments tell rows apart by their features: name columns that vary.");
		return PE_INVALID_DATA;
	}
	for (int i = 0; i < space->n_features; i++)
		t->model->features[i].used = space->axes[i].used;
	status = pe_points_make(t->env, t->dataset, &t->rows, &t->map, space, t->team, &t->points, t->err);
	if (status != PE_OK)
		return status;
	return pe_points_sample(t->env, &t->points, SAMPLE_ROWS, t->options->seed * 16 + DRAW_SAMPLE, &t->sample,
	                        NULL, t->err);
}

/* ---- starts ------------------------------------------------------------------------------- */

typedef struct starting
{
	const training *t;
	int n;
	pe_start *starts;
	pe_start_scratch *scratch; /* by thread */
} starting;

static void
run_start(void *ctx, uint32_t item, int thread)
{
	const starting *s = ctx;

	(void) pe_start_run(&s->t->sample, s->t->options->max_iterations, s->t->options->tolerance,
	                    &s->starts[item], &s->scratch[thread], s->t->team, thread);
}

static bool
starting_alloc(const training *t, const int *counts, int n_counts, int most, starting *s)
{
	size_t width = t->segments->space.width;
	int threads = pe_team_threads(t->team);
	bool all = true;

	s->n = n_counts * t->options->starts;
	s->starts = pe_calloc(t->env, s->n, sizeof(*s->starts));
	s->scratch = pe_calloc(t->env, threads, sizeof(*s->scratch));
	if (s->starts == NULL || s->scratch == NULL)
		return false;
	for (int i = 0; i < s->n && all; i++)
	{
		pe_start *start = &s->starts[i];

		start->clusters = counts[i / t->options->starts];
		start->seed = t->options->seed * 1000003 + (uint64_t) start->clusters * 1009 +
		              (uint64_t) (i % t->options->starts);
		start->centres = pe_alloc(t->env, (size_t) start->clusters * width * sizeof(double));
		all = start->centres != NULL;
	}
	for (int i = 0; i < threads && all; i++)
		all = pe_start_scratch_alloc(t->env, &t->sample, most, &s->scratch[i]);
	return all;
}

static void
starting_free(const training *t, starting *s)
{
	for (int i = 0; s->starts != NULL && i < s->n; i++)
		pe_free(t->env, s->starts[i].centres);
	for (int i = 0; s->scratch != NULL && i < pe_team_threads(t->team); i++)
		pe_start_scratch_free(t->env, &s->scratch[i]);
	pe_free(t->env, s->starts);
	pe_free(t->env, s->scratch);
}

/* Of the starts with one number of clusters the one with the least inertia, the first of equals. */
static const pe_start *
best_start(const training *t, const starting *s, int count)
{
	const pe_start *starts = s->starts + (size_t) count * t->options->starts, *best = starts;

	for (int i = 1; i < t->options->starts; i++)
		if (starts[i].inertia < best->inertia)
			best = &starts[i];
	return best;
}

/* Labels of the points by the nearest centre. */
static pe_status
label_points(const training *t, const pe_points *points, const double *centres, int clusters, uint8_t *labels)
{
	pe_search search;
	pe_tally tally = {0};
	pe_status status = PE_OK;

	if (!pe_search_alloc(t->env, points->space, clusters, &search) ||
	    !pe_tally_alloc(t->env, points->space->width, clusters, &tally))
		status = pe_fail_memory(t->err);
	else
	{
		pe_search_set(&search, points->space, centres, clusters);
		if (!pe_tally_rows(points, &search, 0, points->rows, labels, &tally, t->team, 0))
			status = pe_fail(t->err, PE_CANCELLED, "training was cancelled");
	}
	pe_search_free(t->env, &search);
	pe_tally_free(t->env, &tally);
	return status;
}

/* The note that says how the number was chosen. */
static pe_status
note_choice(training *t, const int *found, const double *silhouettes, int n, int chosen)
{
	char text[300] = "";
	size_t used = 0;

	for (int i = 0; i < n && used < sizeof(text); i++)
		used += snprintf(text + used, sizeof(text) - used, "%s%d: %.3f", i > 0 ? ", " : "", found[i],
		                 silhouettes[i]);
	return pe_model_add_note(t->model, t->err, "%d clusters by their silhouette (%s)", found[chosen], text);
}

/* Which of the numbers of clusters is best; *chosen is its index. */
static pe_status
choose_count(training *t, const starting *s, int n_counts, int *chosen)
{
	pe_points few = {0};
	uint8_t *labels;
	int found[PE_MAX_CLUSTERS];
	double silhouettes[PE_MAX_CLUSTERS], best = -INFINITY;
	pe_status status = pe_points_sample(t->env, &t->sample, SILHOUETTE_ROWS,
	                                    t->options->seed * 16 + DRAW_SILHOUETTE, &few, NULL, t->err);

	labels = pe_calloc(t->env, (size_t) n_counts * few.rows, 1);
	if (status == PE_OK && labels == NULL)
		status = pe_fail_memory(t->err);
	for (int i = 0; i < n_counts && status == PE_OK; i++)
	{
		const pe_start *start = best_start(t, s, i);

		found[i] = start->clusters;
		status = label_points(t, &few, start->centres, start->clusters, labels + (size_t) i * few.rows);
	}
	if (status == PE_OK)
		status = pe_silhouettes(t->env, &few, labels, found, n_counts, t->team, silhouettes, t->err);
	for (int i = 0; i < n_counts && status == PE_OK; i++)
		best = silhouettes[i] > best ? silhouettes[i] : best;
	*chosen = 0;
	while (status == PE_OK && *chosen < n_counts - 1 && !(silhouettes[*chosen] >= best))
		++*chosen;
	if (status == PE_OK)
		status = note_choice(t, found, silhouettes, n_counts, *chosen);
	pe_points_free(t->env, &few);
	pe_free(t->env, labels);
	return status;
}

/* Runs all starts; the best one's centres go to t->centres. */
static pe_status
start_centres(training *t)
{
	int counts[PE_MAX_CLUSTERS], n_counts = 0, chosen = 0;
	int most = t->options->clusters > 0 ? t->options->clusters : t->options->max_clusters;
	starting s = {.t = t};
	pe_status status = PE_OK;

	most = (uint32_t) most < t->rows.n_train ? most : (int) t->rows.n_train;
	for (int k = t->options->clusters > 0 ? most : 2; k <= most; k++)
		counts[n_counts++] = k;
	pe_team_phase(t->team, "fit", 0, 0);
	t->centres = pe_alloc(t->env, (size_t) most * t->segments->space.width * sizeof(double));
	if (t->centres == NULL || !starting_alloc(t, counts, n_counts, most, &s))
		status = pe_fail_memory(t->err);
	else if (!pe_team_run(t->team, run_start, &s, (uint32_t) s.n))
		status = pe_fail(t->err, PE_CANCELLED, "training was cancelled");
	if (status == PE_OK && t->options->clusters == 0)
		status = choose_count(t, &s, n_counts, &chosen);
	if (status == PE_OK)
	{
		const pe_start *best = best_start(t, &s, chosen);

		t->clusters = best->clusters;
		memcpy(t->centres, best->centres,
		       (size_t) best->clusters * t->segments->space.width * sizeof(double));
	}
	starting_free(t, &s);
	return status;
}

/* ---- describing --------------------------------------------------------------------------- */

typedef struct describing
{
	const training *t;
	double *scratch; /* by thread: [clusters + 1][256] */
} describing;

#define SLOTS 256

/* Weights by cluster and slot; those of all rows last. false: stopped. */
static bool
sum_slots(const describing *d, int feature, int thread, double *sums)
{
	const training *t = d->t;
	const uint8_t *slots = t->map.slots[feature];
	double *all = sums + (size_t) t->clusters * SLOTS;

	for (uint32_t i = 0; i < t->rows.n_train; i++)
	{
		double value = pe_dataset_value(t->dataset, feature, t->rows.train[i]);
		double weight = pe_points_weight(&t->points, i);
		int slot = isnan(value) ? PE_SLOT_MISSING : slots[(uint32_t) value];

		if (i % 16384 == 0 && pe_team_poll(t->team, thread))
			return false;
		sums[(size_t) t->labels[i] * SLOTS + slot] += weight;
		all[slot] += weight;
	}
	return true;
}

/* The level that the cluster has most above its share of all rows, in standard deviations. */
static void
describe_category(const describing *d, int feature, const double *sums, double total)
{
	pe_segments *s = d->t->segments;
	const double *all = sums + (size_t) s->n_clusters * SLOTS;
	int slots = (int) s->space.axes[feature].cells;

	for (int c = 0; c < s->n_clusters; c++)
	{
		size_t at = (size_t) c * s->space.n_features + feature;
		double most = -INFINITY;

		for (int slot = 0; slot < slots; slot++)
		{
			double share = sums[(size_t) c * SLOTS + slot] / s->weights[c], overall = all[slot] / total;
			double spread = overall * (1 - overall);
			double above = spread > 0 ? (share - overall) / sqrt(spread) : overall > 0 ? 0 : -INFINITY;

			if (!(above > most))
				continue;
			most = above;
			s->level[at] = slot;
			s->profile[at] = share;
			s->overall[at] = overall;
		}
		s->missing[at] = sums[(size_t) c * SLOTS + PE_SLOT_MISSING] / s->weights[c];
	}
}

/* Sums of the values that are there, and of their weights. */
static bool
describe_number(const describing *d, int feature, int thread, double *sums)
{
	const training *t = d->t;
	pe_segments *s = t->segments;

	for (uint32_t i = 0; i < t->rows.n_train; i++)
	{
		double value = pe_dataset_value(t->dataset, feature, t->rows.train[i]);
		double weight = pe_points_weight(&t->points, i), *sum = sums + (size_t) t->labels[i] * SLOTS;

		if (i % 16384 == 0 && pe_team_poll(t->team, thread))
			return false;
		if (isnan(value))
			continue;
		sum[0] += weight * value;
		sum[1] += weight;
	}
	for (int c = 0; c < s->n_clusters; c++)
	{
		size_t at = (size_t) c * s->space.n_features + feature;
		const double *sum = sums + (size_t) c * SLOTS;
		double present = sum[1] / s->weights[c];

		s->profile[at] = sum[1] > 0 ? sum[0] / sum[1] : NAN;
		s->overall[at] = s->space.axes[feature].mean;
		s->missing[at] = present < 1 ? 1 - present : 0;
	}
	return true;
}

static void
describe_feature(void *ctx, uint32_t item, int thread)
{
	const describing *d = ctx;
	size_t cells = (size_t) (d->t->clusters + 1) * SLOTS;
	double *sums = d->scratch + (size_t) thread * cells, total = 0;

	memset(sums, 0, cells * sizeof(double));
	if (d->t->model->features[item].kind == PE_FEATURE_NUMERIC)
	{
		(void) describe_number(d, (int) item, thread, sums);
		return;
	}
	if (!sum_slots(d, (int) item, thread, sums))
		return;
	for (int c = 0; c < d->t->clusters; c++)
		total += d->t->segments->weights[c];
	describe_category(d, (int) item, sums, total);
}

/* Sum over the clusters of weight times squared distance from the overall mean, feature by feature. */
static double
variance_between(training *t)
{
	pe_segments *s = t->segments;
	double all = 0, total = 0;

	for (int c = 0; c < s->n_clusters; c++)
		total += s->weights[c];
	for (int f = 0; f < s->space.n_features; f++)
	{
		const pe_axis *axis = &s->space.axes[f];
		double scale = axis->categorical ? axis->scale : 1, sum = 0;

		for (uint32_t i = axis->at; axis->used && i < axis->at + axis->cells; i++)
		{
			double mean = 0;

			for (int c = 0; c < s->n_clusters; c++)
				mean += s->weights[c] / total * s->centres[(size_t) c * s->space.width + i];
			for (int c = 0; c < s->n_clusters; c++)
			{
				double gap = (s->centres[(size_t) c * s->space.width + i] - mean) * scale;

				sum += s->weights[c] * gap * gap;
			}
		}
		t->model->features[f].gain = sum;
		all += sum;
	}
	for (int f = 0; f < s->space.n_features && all > 0; f++)
		t->model->features[f].gain /= all;
	return all;
}

static pe_status
describe(training *t)
{
	describing d = {.t = t};
	size_t cells = (size_t) (t->clusters + 1) * SLOTS;
	pe_status status = PE_OK;
	double between;

	d.scratch = pe_alloc(t->env, (size_t) pe_team_threads(t->team) * cells * sizeof(double));
	if (d.scratch == NULL)
		status = pe_fail_memory(t->err);
	else if (!pe_team_run(t->team, describe_feature, &d, (uint32_t) t->model->n_features))
		status = pe_fail(t->err, PE_CANCELLED, "training was cancelled");
	pe_free(t->env, d.scratch);
	between = variance_between(t);
	t->segments->explained = between > 0 ? between / (between + t->segments->inertia) : 0;
	return status;
}

static pe_status
measure_silhouette(training *t)
{
	uint32_t n = t->points.rows < SILHOUETTE_ROWS ? t->points.rows : SILHOUETTE_ROWS;
	uint32_t *rows = pe_alloc(t->env, n * sizeof(uint32_t));
	uint8_t *labels = pe_alloc(t->env, n);
	pe_points few = {0};
	pe_status status = PE_OK;

	if (rows == NULL || labels == NULL)
		status = pe_fail_memory(t->err);
	else
		status = pe_points_sample(t->env, &t->points, SILHOUETTE_ROWS,
		                          t->options->seed * 16 + DRAW_SILHOUETTE, &few, rows, t->err);
	for (uint32_t i = 0; i < n && status == PE_OK; i++)
		labels[i] = t->labels[rows[i]];
	if (status == PE_OK)
		status =
		    pe_silhouettes(t->env, &few, labels, &t->clusters, 1, t->team, &t->segments->silhouette, t->err);
	pe_points_free(t->env, &few);
	pe_free(t->env, rows);
	pe_free(t->env, labels);
	return status;
}

/* ---- the whole ---------------------------------------------------------------------------- */

/* Labels, centres and sums of all rows. */
static pe_status
find_clusters(training *t)
{
	int wanted = t->options->clusters, iterations;
	pe_status status = start_centres(t);

	if (status != PE_OK)
		return status;
	t->labels = pe_alloc(t->env, t->points.rows);
	if (t->labels == NULL || !pe_tally_alloc(t->env, t->segments->space.width, t->clusters, &t->tally))
		return pe_fail_memory(t->err);
	status = pe_refine(t->env, &t->points, t->options->max_iterations, t->options->tolerance, t->team,
	                   t->centres, &t->clusters, t->labels, &t->tally, &iterations, t->err);
	if (status == PE_OK)
		t->model->iterations = iterations;
	if (status == PE_OK && t->clusters < wanted)
		status = pe_model_add_note(t->model, t->err,
		                           "%d clusters were asked for; the rows have only %d different places",
		                           wanted, t->clusters);
	return status;
}

static pe_status
keep_clusters(training *t)
{
	pe_segments *s = t->segments;

	if (!pe_segments_alloc(t->env, t->clusters, s) ||
	    !pe_search_alloc(t->env, &s->space, t->clusters, &s->search))
		return pe_fail_memory(t->err);
	memcpy(s->centres, t->centres, (size_t) t->clusters * s->space.width * sizeof(double));
	memcpy(s->weights, t->tally.weights, t->clusters * sizeof(double));
	for (int i = 0; i < t->clusters; i++)
		s->rows[i] = (double) t->tally.rows[i];
	s->inertia = t->tally.inertia;
	pe_search_set(&s->search, &s->space, s->centres, s->n_clusters);
	return PE_OK;
}

static pe_status
train(training *t)
{
	pe_status status;

	pe_team_phase(t->team, "bin", 0, 0);
	if ((status = list_rows(t)) != PE_OK || (status = place_rows(t)) != PE_OK ||
	    (status = find_clusters(t)) != PE_OK || (status = keep_clusters(t)) != PE_OK)
		return status;
	pe_team_phase(t->team, "evaluate", 0, 0);
	if ((status = describe(t)) != PE_OK)
		return status;
	return measure_silhouette(t);
}

pe_status
pe_segment_train(const pe_env *env, pe_dataset *dataset, const pe_options *options, pe_model **model,
                 pe_error *err)
{
	training t = {.env = env, .dataset = dataset, .options = options, .err = err};
	pe_status status = pe_check_task(PE_TASK_SEGMENT, options->algorithm, err);

	*model = NULL;
	if (status != PE_OK)
		return status;
	if (dataset->algorithm != options->algorithm || dataset->used_up)
		return pe_fail(err, PE_INTERNAL, "the dataset was made for another algorithm or is used up");
	dataset->used_up = true;
	t.team = pe_team_create(env, options->threads);
	status = t.team == NULL ? pe_fail_memory(err) : train(&t);
	pe_free(env, t.rows.train);
	pe_free(env, t.map.slots);
	pe_free(env, t.map.arena);
	pe_points_free(env, &t.points);
	pe_points_free(env, &t.sample);
	pe_tally_free(env, &t.tally);
	pe_free(env, t.centres);
	pe_free(env, t.labels);
	pe_team_free(t.team);
	if (status == PE_OK)
		*model = t.model;
	else
		pe_model_free(t.model);
	return status;
}
