/*
 * kmeans.c
 *		Lloyd's iterations: on a sample by one thread for each start, on all rows by all
 *		threads.
 */
#include "model/segment/kmeans.h"

#define STEP_ROWS   64 /* measured before they are looked at */
#define MOST_PARTS  32
#define LEAST_PART  4096       /* rows */
#define PARTS_BYTES (16 << 20) /* that the parts' sums may take */
#define RELABELS    3

bool
pe_tally_alloc(const pe_env *env, uint32_t width, int centres, pe_tally *tally)
{
	memset(tally, 0, sizeof(*tally));
	tally->sums = pe_alloc(env, (size_t) centres * width * sizeof(double));
	tally->weights = pe_alloc(env, centres * sizeof(double));
	tally->rows = pe_alloc(env, centres * sizeof(int64_t));
	return tally->sums != NULL && tally->weights != NULL && tally->rows != NULL;
}

void
pe_tally_free(const pe_env *env, pe_tally *tally)
{
	pe_free(env, tally->sums);
	pe_free(env, tally->weights);
	pe_free(env, tally->rows);
	memset(tally, 0, sizeof(*tally));
}

static void
tally_clear(pe_tally *tally, uint32_t width, int centres)
{
	memset(tally->sums, 0, (size_t) centres * width * sizeof(double));
	memset(tally->weights, 0, centres * sizeof(double));
	memset(tally->rows, 0, centres * sizeof(int64_t));
	tally->inertia = 0;
	tally->moved = 0;
	tally->farthest = -1;
	tally->far_row = 0;
}

static void
tally_add(pe_tally *to, const pe_tally *from, uint32_t width, int centres)
{
	for (size_t i = 0; i < (size_t) centres * width; i++)
		to->sums[i] += from->sums[i];
	for (int i = 0; i < centres; i++)
	{
		to->weights[i] += from->weights[i];
		to->rows[i] += from->rows[i];
	}
	to->inertia += from->inertia;
	to->moved += from->moved;
	if (from->farthest > to->farthest)
	{
		to->farthest = from->farthest;
		to->far_row = from->far_row;
	}
}

int
pe_nearest(const float *distances, int centres, int *next)
{
	int nearest = 0, second = -1;

	for (int i = 1; i < centres; i++)
		if (distances[i] < distances[nearest])
		{
			second = nearest;
			nearest = i;
		}
		else if (second < 0 || distances[i] < distances[second])
			second = i;
	if (next != NULL)
		*next = second;
	return nearest;
}

static void
tally_row(const pe_points *points, uint32_t row, int label, double distance, pe_tally *tally)
{
	const pe_space *space = points->space;
	const float *values = points->values + (size_t) row * space->n_numbers;
	const uint8_t *slots = points->slots + (size_t) row * space->n_categories;
	double *sums = tally->sums + (size_t) label * space->width, weight = pe_points_weight(points, row);

	for (int i = 0; i < space->n_numbers; i++)
		sums[space->axes[space->numbers[i]].at] += weight * values[i];
	for (int i = 0; i < space->n_categories; i++)
		sums[space->axes[space->categories[i]].at + slots[i]] += weight;
	tally->weights[label] += weight;
	tally->rows[label]++;
	tally->inertia += weight * distance;
	if (distance > tally->farthest)
	{
		tally->farthest = distance;
		tally->far_row = row;
	}
}

bool
pe_tally_rows(const pe_points *points, const pe_search *search, uint32_t from, uint32_t to, uint8_t *labels,
              pe_tally *tally, pe_team *team, int thread)
{
	const pe_space *space = points->space;
	float distances[STEP_ROWS * (PE_MAX_CLUSTERS + PE_LANES)];

	tally_clear(tally, space->width, search->centres);
	for (uint32_t at = from; at < to; at += STEP_ROWS)
	{
		uint32_t n = to - at < STEP_ROWS ? to - at : STEP_ROWS;

		if ((at - from) % (STEP_ROWS * 16) == 0 && pe_team_poll(team, thread))
			return false;
		pe_search_measure(search, space, points->values + (size_t) at * space->n_numbers,
		                  points->slots + (size_t) at * space->n_categories, n, distances);
		for (uint32_t i = 0; i < n; i++)
		{
			const float *row = distances + (size_t) i * search->lanes;
			int label = pe_nearest(row, search->centres, NULL);

			tally->moved += labels[at + i] != label;
			labels[at + i] = (uint8_t) label;
			tally_row(points, at + i, label, row[label], tally);
		}
	}
	return true;
}

/*
 * The centres of the rows that are nearest to each, and how far they went, squared. One
 * without rows goes to the row that is farthest from its centre; several of them do so
 * one iteration after another.
 */
static double
move_centres(const pe_points *points, const pe_tally *tally, int clusters, double *centres, double *row)
{
	const pe_space *space = points->space;
	double shift = 0;
	bool placed = false;

	for (int c = 0; c < clusters; c++)
	{
		double *centre = centres + (size_t) c * space->width;
		const double *sums = tally->sums + (size_t) c * space->width;

		if (!(tally->weights[c] > 0))
		{
			if (!placed && tally->farthest > 0)
			{
				pe_points_centre(points, tally->far_row, row);
				memcpy(centre, row, space->width * sizeof(double));
				shift = INFINITY;
				placed = true;
			}
			continue;
		}
		for (int f = 0; f < space->n_features; f++)
		{
			const pe_axis *axis = &space->axes[f];
			double scale = axis->categorical ? axis->scale : 1;

			for (uint32_t i = axis->at; axis->used && i < axis->at + axis->cells; i++)
			{
				double moved = sums[i] / tally->weights[c], gap = (moved - centre[i]) * scale;

				shift += gap * gap;
				centre[i] = moved;
			}
		}
	}
	return shift;
}

/* ---- one start ---------------------------------------------------------------------------- */

bool
pe_start_scratch_alloc(const pe_env *env, const pe_points *points, int clusters, pe_start_scratch *scratch)
{
	memset(scratch, 0, sizeof(*scratch));
	scratch->rows = pe_alloc(env, (size_t) PE_LANES * points->space->width * sizeof(double));
	scratch->closest = pe_alloc(env, points->rows * sizeof(double));
	scratch->distances = pe_alloc(env, (size_t) points->rows * PE_LANES * sizeof(float));
	scratch->labels = pe_calloc(env, points->rows, 1);
	return pe_search_alloc(env, points->space, clusters, &scratch->search) &&
	       pe_search_alloc(env, points->space, PE_LANES, &scratch->trials) &&
	       pe_tally_alloc(env, points->space->width, clusters, &scratch->tally) && scratch->rows != NULL &&
	       scratch->closest != NULL && scratch->distances != NULL && scratch->labels != NULL;
}

void
pe_start_scratch_free(const pe_env *env, pe_start_scratch *scratch)
{
	pe_search_free(env, &scratch->search);
	pe_search_free(env, &scratch->trials);
	pe_tally_free(env, &scratch->tally);
	pe_free(env, scratch->rows);
	pe_free(env, scratch->closest);
	pe_free(env, scratch->distances);
	pe_free(env, scratch->labels);
	memset(scratch, 0, sizeof(*scratch));
}

static double
draw(uint64_t *state)
{
	*state += UINT64_C(0x9e3779b97f4a7c15);
	return (double) (pe_mix64(*state) >> 11) * 0x1p-53;
}

/* The row at which the running sum of weight times distance reaches a share of the total. */
static uint32_t
draw_row(const pe_points *points, const double *closest, double total, uint64_t *state)
{
	double left = draw(state) * total;
	uint32_t last = 0;

	for (uint32_t i = 0; i < points->rows; i++)
	{
		double part = pe_points_weight(points, i) * (closest != NULL ? closest[i] : 1);

		if (!(part > 0))
			continue;
		last = i;
		if ((left -= part) < 0)
			break;
	}
	return last;
}

/* The candidate that leaves the least to the nearest centre; what is left goes to *total. */
static int
best_candidate(const pe_points *points, const pe_start_scratch *s, int candidates, double *total)
{
	double left[PE_LANES] = {0};
	int best = 0;

	for (uint32_t i = 0; i < points->rows; i++)
		for (int c = 0; c < candidates; c++)
		{
			double distance = s->distances[(size_t) i * PE_LANES + c];

			left[c] += pe_points_weight(points, i) * (distance < s->closest[i] ? distance : s->closest[i]);
		}
	for (int c = 1; c < candidates; c++)
		if (left[c] < left[best])
			best = c;
	*total = left[best];
	return best;
}

/*
 * k-means++: each further centre is a row drawn in proportion to its squared distance to
 * the centres before it, the best of 2 + ln k draws (Arthur and Vassilvitskii 2007, the
 * greedy form). Ends early when every row is a centre.
 */
static bool
seed_centres(const pe_points *points, pe_start *start, pe_start_scratch *s, pe_team *team, int thread)
{
	const pe_space *space = points->space;
	uint64_t state = pe_mix64(start->seed + UINT64_C(0x632be59bd9b4e019));
	int most = 2 + (int) log(start->clusters), found = 0;
	double total = 0;

	most = most < PE_LANES ? most : PE_LANES;
	for (uint32_t i = 0; i < points->rows; i++)
	{
		s->closest[i] = INFINITY;
		total += pe_points_weight(points, i);
	}
	for (; found < start->clusters && total > 0; found++)
	{
		int candidates = found == 0 ? 1 : most, best;

		for (int c = 0; c < candidates; c++)
			pe_points_centre(points, draw_row(points, found == 0 ? NULL : s->closest, total, &state),
			                 s->rows + (size_t) c * space->width);
		pe_search_set(&s->trials, space, s->rows, candidates);
		for (uint32_t at = 0; at < points->rows; at += 1024)
		{
			if (pe_team_poll(team, thread))
				return false;
			pe_search_measure(&s->trials, space, points->values + (size_t) at * space->n_numbers,
			                  points->slots + (size_t) at * space->n_categories,
			                  points->rows - at < 1024 ? points->rows - at : 1024,
			                  s->distances + (size_t) at * PE_LANES);
		}
		best = best_candidate(points, s, candidates, &total);
		for (uint32_t i = 0; i < points->rows; i++)
		{
			double distance = s->distances[(size_t) i * PE_LANES + best];

			s->closest[i] = distance < s->closest[i] ? distance : s->closest[i];
		}
		memcpy(start->centres + (size_t) found * space->width, s->rows + (size_t) best * space->width,
		       space->width * sizeof(double));
	}
	start->clusters = found;
	return true;
}

bool
pe_start_run(const pe_points *points, int max_iterations, double tolerance, pe_start *start,
             pe_start_scratch *s, pe_team *team, int thread)
{
	memset(s->labels, 0xff, points->rows);
	if (!seed_centres(points, start, s, team, thread))
		return false;
	for (int iteration = 0; iteration < max_iterations; iteration++)
	{
		pe_search_set(&s->search, points->space, start->centres, start->clusters);
		if (!pe_tally_rows(points, &s->search, 0, points->rows, s->labels, &s->tally, team, thread))
			return false;
		start->inertia = s->tally.inertia;
		if (s->tally.moved == 0 ||
		    move_centres(points, &s->tally, start->clusters, start->centres, s->rows) <= tolerance)
			break;
	}
	return true;
}

/* ---- all rows ----------------------------------------------------------------------------- */

typedef struct refining
{
	const pe_points *points;
	pe_search search;
	uint32_t parts;
	uint32_t part_rows;
	pe_tally *tallies; /* [parts] */
	uint8_t *labels;
	pe_team *team;
	double *row; /* [width] */
} refining;

static void
tally_part(void *ctx, uint32_t item, int thread)
{
	const refining *r = ctx;
	uint32_t from = item * r->part_rows;
	uint32_t to = r->points->rows - from < r->part_rows ? r->points->rows : from + r->part_rows;

	(void) pe_tally_rows(r->points, &r->search, from, to, r->labels, &r->tallies[item], r->team, thread);
}

/* Label and add up all rows; false: stopped. */
static bool
tally_all(refining *r, const double *centres, int clusters, pe_tally *tally)
{
	pe_search_set(&r->search, r->points->space, centres, clusters);
	if (!pe_team_run(r->team, tally_part, r, r->parts))
		return false;
	tally_clear(tally, r->points->space->width, clusters);
	for (uint32_t i = 0; i < r->parts; i++)
		tally_add(tally, &r->tallies[i], r->points->space->width, clusters);
	return true;
}

static bool
refining_alloc(const pe_env *env, refining *r, int clusters)
{
	size_t bytes = (size_t) clusters * r->points->space->width * sizeof(double);
	uint32_t parts = PARTS_BYTES / bytes < MOST_PARTS ? (uint32_t) (PARTS_BYTES / bytes) : MOST_PARTS;

	parts = parts < 2 ? 2 : parts;
	r->part_rows = (r->points->rows + parts - 1) / parts;
	r->part_rows = r->part_rows < LEAST_PART ? LEAST_PART : r->part_rows;
	parts = (r->points->rows + r->part_rows - 1) / r->part_rows;
	r->row = pe_alloc(env, r->points->space->width * sizeof(double));
	r->tallies = pe_calloc(env, parts, sizeof(*r->tallies));
	if (!pe_search_alloc(env, r->points->space, clusters, &r->search) || r->row == NULL || r->tallies == NULL)
		return false;
	for (r->parts = 0; r->parts < parts; r->parts++)
		if (!pe_tally_alloc(env, r->points->space->width, clusters, &r->tallies[r->parts]))
		{
			r->parts++; /* so that what it has is freed */
			return false;
		}
	return true;
}

static void
refining_free(const pe_env *env, refining *r)
{
	pe_search_free(env, &r->search);
	for (uint32_t i = 0; r->tallies != NULL && i < r->parts; i++)
		pe_tally_free(env, &r->tallies[i]);
	pe_free(env, r->tallies);
	pe_free(env, r->row);
}

/* Centres without rows dropped and, with sort, by falling weight; true when nothing changed. */
static bool
order_centres(const pe_tally *tally, uint32_t width, bool sort, double *centres, int *clusters, double *row)
{
	double weights[PE_MAX_CLUSTERS];
	bool same = true;
	int kept = 0;

	for (int i = 0; i < *clusters; i++)
	{
		double weight = tally->weights[i];
		int at = kept;

		if (!(weight > 0))
		{
			same = false;
			continue;
		}
		memcpy(row, centres + (size_t) i * width, width * sizeof(double));
		for (; sort && at > 0 && weights[at - 1] < weight; at--)
		{
			weights[at] = weights[at - 1];
			memcpy(centres + (size_t) at * width, centres + (size_t) (at - 1) * width,
			       width * sizeof(double));
		}
		same = same && at == i;
		weights[at] = weight;
		memcpy(centres + (size_t) at * width, row, width * sizeof(double));
		kept++;
	}
	*clusters = kept;
	return same;
}

pe_status
pe_refine(const pe_env *env, const pe_points *points, int max_iterations, double tolerance, pe_team *team,
          double *centres, int *clusters, uint8_t *labels, pe_tally *tally, int *iterations, pe_error *err)
{
	refining r = {.points = points, .labels = labels, .team = team};
	pe_status status = refining_alloc(env, &r, *clusters) ? PE_OK : pe_fail_memory(err);

	memset(labels, 0xff, points->rows);
	for (*iterations = 0; *iterations < max_iterations && status == PE_OK;)
	{
		pe_team_phase(team, "fit", (uint64_t) *iterations, (uint64_t) max_iterations);
		if (!tally_all(&r, centres, *clusters, tally))
			status = pe_fail(err, PE_CANCELLED, "training was cancelled");
		++*iterations;
		if (status == PE_OK &&
		    (tally->moved == 0 || move_centres(points, tally, *clusters, centres, r.row) <= tolerance))
			break;
	}
	/* Where rows are equally near to two centres the order decides, so that it may take a second time. */
	for (int i = 0; status == PE_OK; i++)
	{
		if (!tally_all(&r, centres, *clusters, tally))
			status = pe_fail(err, PE_CANCELLED, "training was cancelled");
		else if (order_centres(tally, points->space->width, i < RELABELS, centres, clusters, r.row))
			break;
	}
	refining_free(env, &r);
	return status;
}

/* ---- silhouettes -------------------------------------------------------------------------- */

typedef struct silhouetting
{
	const pe_points *points;
	const uint8_t *labels;
	const int *clusters;
	int sets;
	pe_team *team;
	double *sizes;       /* [sets][PE_MAX_CLUSTERS]: weights */
	pe_search *searches; /* by thread */
	double *centres;     /* by thread: [PE_LANES][width] */
	double *sums;        /* by thread: [sets][PE_LANES][PE_MAX_CLUSTERS] */
	double *widths;      /* [sets][points] */
} silhouetting;

#define SILHOUETTE_STEP 64

/* (b - a) / max(a, b): a the mean distance to the own cluster, b the least to another (Rousseeuw 1987). */
static double
silhouette_of(const double *sums, const double *sizes, int clusters, int label, double weight)
{
	double own = sizes[label] - weight, a, b = INFINITY;

	if (!(own > 1e-12 * sizes[label]))
		return 0;
	a = sums[label] / own;
	for (int c = 0; c < clusters; c++)
		if (c != label && sizes[c] > 0 && sums[c] / sizes[c] < b)
			b = sums[c] / sizes[c];
	if (isinf(b) || !(a > 0 || b > 0))
		return 0;
	return (b - a) / (a > b ? a : b);
}

/* The silhouettes of PE_LANES rows, which are the centres that all rows are measured to. */
static void
silhouette_rows(void *ctx, uint32_t item, int thread)
{
	const silhouetting *s = ctx;
	const pe_points *points = s->points;
	const pe_space *space = points->space;
	pe_search *search = &s->searches[thread];
	double *centres = s->centres + (size_t) thread * PE_LANES * space->width;
	double *sums = s->sums + (size_t) thread * s->sets * PE_LANES * PE_MAX_CLUSTERS;
	uint32_t first = item * PE_LANES;
	int n = points->rows - first < PE_LANES ? (int) (points->rows - first) : PE_LANES;
	float distances[SILHOUETTE_STEP * PE_LANES];

	memset(sums, 0, (size_t) s->sets * PE_LANES * PE_MAX_CLUSTERS * sizeof(double));
	for (int i = 0; i < n; i++)
		pe_points_centre(points, first + i, centres + (size_t) i * space->width);
	pe_search_set(search, space, centres, n);
	for (uint32_t at = 0; at < points->rows; at += SILHOUETTE_STEP)
	{
		uint32_t rows = points->rows - at < SILHOUETTE_STEP ? points->rows - at : SILHOUETTE_STEP;

		if (at % (SILHOUETTE_STEP * 4) == 0 && pe_team_poll(s->team, thread))
			return;
		pe_search_measure(search, space, points->values + (size_t) at * space->n_numbers,
		                  points->slots + (size_t) at * space->n_categories, rows, distances);
		for (uint32_t row = 0; row < rows; row++)
			for (int i = 0; i < n; i++)
			{
				double distance =
				    pe_points_weight(points, at + row) * sqrt(distances[(size_t) row * PE_LANES + i]);

				for (int set = 0; set < s->sets; set++)
					sums[((size_t) set * PE_LANES + i) * PE_MAX_CLUSTERS +
					     s->labels[(size_t) set * points->rows + at + row]] += distance;
			}
	}
	for (int set = 0; set < s->sets; set++)
		for (int i = 0; i < n; i++)
			s->widths[(size_t) set * points->rows + first + i] = silhouette_of(
			    sums + ((size_t) set * PE_LANES + i) * PE_MAX_CLUSTERS,
			    s->sizes + (size_t) set * PE_MAX_CLUSTERS, s->clusters[set],
			    s->labels[(size_t) set * points->rows + first + i], pe_points_weight(points, first + i));
}

static bool
silhouetting_alloc(const pe_env *env, silhouetting *s)
{
	size_t threads = pe_team_threads(s->team), width = s->points->space->width;
	bool all = true;

	s->sizes = pe_calloc(env, (size_t) s->sets * PE_MAX_CLUSTERS, sizeof(double));
	s->searches = pe_calloc(env, threads, sizeof(*s->searches));
	s->centres = pe_alloc(env, threads * PE_LANES * width * sizeof(double));
	s->sums = pe_alloc(env, threads * s->sets * PE_LANES * PE_MAX_CLUSTERS * sizeof(double));
	s->widths = pe_alloc(env, (size_t) s->sets * s->points->rows * sizeof(double));
	for (size_t i = 0; s->searches != NULL && i < threads; i++)
		all = pe_search_alloc(env, s->points->space, PE_LANES, &s->searches[i]) && all;
	return all && s->sizes != NULL && s->searches != NULL && s->centres != NULL && s->sums != NULL &&
	       s->widths != NULL;
}

pe_status
pe_silhouettes(const pe_env *env, const pe_points *points, const uint8_t *labels, const int *clusters,
               int sets, pe_team *team, double *silhouettes, pe_error *err)
{
	silhouetting s = {.points = points, .labels = labels, .clusters = clusters, .sets = sets, .team = team};
	pe_status status = silhouetting_alloc(env, &s) ? PE_OK : pe_fail_memory(err);

	if (status == PE_OK)
	{
		for (int set = 0; set < sets; set++)
			for (uint32_t row = 0; row < points->rows; row++)
				s.sizes[(size_t) set * PE_MAX_CLUSTERS + labels[(size_t) set * points->rows + row]] +=
				    pe_points_weight(points, row);
		if (!pe_team_run(team, silhouette_rows, &s, (points->rows + PE_LANES - 1) / PE_LANES))
			status = pe_fail(err, PE_CANCELLED, "training was cancelled");
	}
	for (int set = 0; set < sets && status == PE_OK; set++)
	{
		double sum = 0, weight = 0;

		for (uint32_t row = 0; row < points->rows; row++)
		{
			sum += pe_points_weight(points, row) * s.widths[(size_t) set * points->rows + row];
			weight += pe_points_weight(points, row);
		}
		silhouettes[set] = clusters[set] > 1 && weight > 0 ? sum / weight : NAN;
	}
	for (int i = 0; s.searches != NULL && i < pe_team_threads(team); i++)
		pe_search_free(env, &s.searches[i]);
	pe_free(env, s.sizes);
	pe_free(env, s.searches);
	pe_free(env, s.centres);
	pe_free(env, s.sums);
	pe_free(env, s.widths);
	return status;
}
