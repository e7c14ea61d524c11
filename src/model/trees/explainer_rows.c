/*
 * explainer_rows.c
 *		Rows through the explainer's tables.
 *
 * Rows are turned on their side, so that a test is made for 64 of them at once and its
 * answers are one word. The words of a branch's conditions, turned back, are the rows'
 * patterns. Each number of a row is the same sum in the same order on any number of
 * threads, in whatever company the row comes.
 */
#include "model/trees/explainer.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define TILE            64  /* rows whose answers to a test are one word */
#define TILES           4   /* of one item of work: a tree's tables stay in the cache for them */
#define NARROW          512 /* with more features, one tile at a time */
#define BRANCHES_A_POLL 64

/* What a thread works with: its rows turned on their side, and answers and sums so. */
typedef struct work_desk
{
	float *columns;     /* [n_places][width]: numbers, or slots */
	double *sums;       /* [n_places][width] */
	uint64_t *answers;  /* [most_nodes][tiles]: a bit for each row that goes left */
	uint64_t *words;    /* [PE_MAX_PATH][tiles]: a bit for each row that meets a branch's condition */
	uint64_t *patterns; /* [width] bytes */
	uint64_t *chosen;   /* [PE_MAX_PATH][TILE]: all bits of a row that meets the condition, or none */
	double *weights;    /* [PE_MAX_POINTS][TILE] */
	void *scratch;      /* of the walk */
} work_desk;

typedef struct explain_job
{
	const pe_explainer *explainer;
	pe_team *team;
	const double *values;
	size_t stride;
	size_t rows;           /* of the run */
	const uint32_t *order; /* their numbers; NULL: 0, 1, ... */
	uint32_t first_tree;   /* of the class, */
	uint32_t n_classes;    /* whose others follow at this distance */
	int *classes;          /* [all rows]; NULL: there is one */
	double *contributions;
	int tiles; /* of an item */
	uint8_t *desks;
	size_t desk_bytes;
} explain_job;

static size_t
desk_bytes(const pe_explainer *explainer, int tiles)
{
	size_t width = (size_t) tiles * TILE, places = (size_t) explainer->n_places;

	return places * width * (sizeof(float) + sizeof(double)) + width +
	       ((size_t) explainer->most_nodes + PE_MAX_PATH) * tiles * sizeof(uint64_t) +
	       (size_t) (PE_MAX_PATH + PE_MAX_POINTS) * TILE * sizeof(double) +
	       (pe_model_explain_scratch(explainer->model) + 15) / 16 * 16;
}

static work_desk
lay_desk(const explain_job *job, int thread)
{
	size_t width = (size_t) job->tiles * TILE, places = (size_t) job->explainer->n_places;
	work_desk desk;

	desk.sums = (double *) (job->desks + (size_t) thread * job->desk_bytes);
	desk.weights = desk.sums + places * width;
	desk.chosen = (uint64_t *) (desk.weights + PE_MAX_POINTS * TILE);
	desk.answers = desk.chosen + PE_MAX_PATH * TILE;
	desk.words = desk.answers + (size_t) job->explainer->most_nodes * job->tiles;
	desk.patterns = desk.words + PE_MAX_PATH * job->tiles;
	desk.columns = (float *) (desk.patterns + width / 8);
	desk.scratch = desk.columns + places * width;
	return desk;
}

static inline size_t
row_number(const explain_job *job, size_t row)
{
	return job->order != NULL ? job->order[row] : row;
}

static void
turn_rows(const explain_job *job, const work_desk *desk, size_t first, size_t count)
{
	const pe_model *model = job->explainer->model;
	size_t width = (size_t) job->tiles * TILE;

	memset(desk->columns, 0, job->explainer->n_places * width * sizeof(float));
	memset(desk->sums, 0, job->explainer->n_places * width * sizeof(double));
	for (int i = 0; i < model->n_features; i++)
	{
		const pe_feature *feature = &model->features[i];
		float *column = desk->columns + (size_t) job->explainer->places[i] * width;

		if (job->explainer->places[i] < 0)
			continue;
		for (size_t row = 0; row < count; row++)
		{
			double value = job->values[row_number(job, first + row) * job->stride + i];

			column[row] = feature->kind == PE_FEATURE_CATEGORICAL ? (float) pe_feature_slot(feature, value)
			                                                      : (float) value;
		}
	}
}

/* A bit for each of TILE rows that goes left. */
static uint64_t
answer(const pe_model *model, const pe_node *node, const float *column)
{
	bool missing_left = node->flags & PE_NODE_MISSING_LEFT;
	uint64_t bits = 0;

	if (node->flags & PE_NODE_CATEGORICAL)
	{
		const uint32_t *set = model->sets[node->test.set].bits;

		for (int row = 0; row < TILE; row++)
		{
			uint32_t slot = (uint32_t) column[row];

			bits |= (uint64_t) ((set[slot >> 5] >> (slot & 31)) & 1) << row;
		}
		return bits;
	}
	/* NaN is neither at or below the threshold nor above it. */
#ifdef __SSE2__
	for (int row = 0; row < TILE; row += 4)
	{
		__m128 values = _mm_loadu_ps(column + row), threshold = _mm_set1_ps(node->test.threshold);
		__m128 left = missing_left ? _mm_cmpngt_ps(values, threshold) : _mm_cmple_ps(values, threshold);

		bits |= (uint64_t) (unsigned) _mm_movemask_ps(left) << row;
	}
#else
	for (int row = 0; row < TILE; row++)
		bits |= (uint64_t) (missing_left ? !(column[row] > node->test.threshold)
		                                 : column[row] <= node->test.threshold)
		        << row;
#endif
	return bits;
}

/* desk->words: which rows meet each of the branch's conditions. Returns the words after these: the features.
 */
static const uint32_t *
meet_conditions(const explain_job *job, const work_desk *desk, const pe_branch *branch)
{
	const uint32_t *words = job->explainer->words + branch->words;
	int tiles = job->tiles;

	for (int i = 0; i < branch->n_bits; i++)
	{
		uint32_t n_steps = *words++;
		uint64_t *met = desk->words + (size_t) i * tiles;

		for (int tile = 0; tile < tiles; tile++)
			met[tile] = ~UINT64_C(0);
		for (; n_steps > 0; n_steps--, words++)
			for (int tile = 0; tile < tiles; tile++)
				met[tile] &=
				    desk->answers[(size_t) (*words >> 1) * tiles + tile] ^ ((*words & 1) - UINT64_C(1));
	}
	return words;
}

static void
add_table(const explain_job *job, const work_desk *desk, const pe_branch *branch)
{
	const uint32_t *features = meet_conditions(job, desk, branch);
	const uint64_t *spread = job->explainer->spread;
	const uint8_t *patterns = (const uint8_t *) desk->patterns;
	int width = job->tiles * TILE;

	memset(desk->patterns, 0, (size_t) width);
	for (int i = 0; i < branch->n_bits; i++)
		for (int tile = 0; tile < job->tiles; tile++)
		{
			uint64_t met = desk->words[(size_t) i * job->tiles + tile];

			for (int byte = 0; byte < 8; byte++)
				desk->patterns[tile * 8 + byte] |= spread[(met >> (8 * byte)) & 255] << i;
		}
	for (int j = 0; j < branch->n_features; j++)
	{
		const double *parts = branch->parts + ((size_t) j << branch->n_bits);
		double *sums = desk->sums + (size_t) job->explainer->places[features[j]] * width;

		for (int row = 0; row < width; row++)
			sums[row] += parts[patterns[row]];
	}
}

typedef double double_pair __attribute__((vector_size(16), aligned(8), may_alias));
typedef uint64_t bits_pair __attribute__((vector_size(16), aligned(8), may_alias));

/* met or not by the bits of chosen, for two rows. */
#define CHOOSE(chosen, met, not_met)                                                                         \
	((double_pair) (((bits_pair) ((double_pair){0, 0} + (met)) & (chosen)) |                                 \
	                ((bits_pair) ((double_pair){0, 0} + (not_met)) & ~(chosen))))

/* One leaf for the TILE rows of desk->chosen: the sum over the rule's points of weight and product. */
static void
integrate(const explain_job *job, const work_desk *desk, const pe_branch *leaf, const uint32_t *features,
          int tile)
{
	int d = leaf->n_features, n_points = (d + 1) / 2;
	const pe_point *points = pe_rule(job->explainer, d);
	size_t width = (size_t) job->tiles * TILE;

	for (int p = 0; p < n_points; p++)
	{
		double_pair *weights = (double_pair *) (desk->weights + p * TILE);

		for (int i = 0; i < TILE / 2; i++)
			weights[i] = (double_pair){0, 0} + points[p].weight * leaf->value;
		for (int j = 0; j < d; j++)
		{
			const bits_pair *chosen = (const bits_pair *) (desk->chosen + j * TILE);
			double not_met = leaf->parts[j] * (1 - points[p].t), met = not_met + points[p].t;

			for (int i = 0; i < TILE / 2; i++)
				weights[i] *= CHOOSE(chosen[i], met, not_met);
		}
	}
	for (int j = 0; j < d; j++)
	{
		double_pair *sums =
		    (double_pair *) (desk->sums + job->explainer->places[features[j]] * width + tile * TILE);
		const bits_pair *chosen = (const bits_pair *) (desk->chosen + j * TILE);
		double_pair parts[TILE / 2] = {{0, 0}};

		for (int p = 0; p < n_points; p++)
		{
			const double_pair *weights = (const double_pair *) (desk->weights + p * TILE);
			double rest = 1 - points[p].t;
			/* (o - z) over the feature's own factor, which the product has and the sum must not. */
			double met = (1 - leaf->parts[j]) / (points[p].t + leaf->parts[j] * rest), not_met = -1 / rest;

			for (int i = 0; i < TILE / 2; i++)
				parts[i] += weights[i] * CHOOSE(chosen[i], met, not_met);
		}
		for (int i = 0; i < TILE / 2; i++)
			sums[i] += parts[i];
	}
}

static void
add_leaf_of_rows(const explain_job *job, const work_desk *desk, const pe_branch *leaf)
{
	const uint32_t *features = meet_conditions(job, desk, leaf);

	for (int tile = 0; tile < job->tiles; tile++)
	{
		for (int j = 0; j < leaf->n_features; j++)
		{
			uint64_t met = desk->words[(size_t) j * job->tiles + tile];

			for (int row = 0; row < TILE; row++)
				desk->chosen[j * TILE + row] = -((met >> row) & 1);
		}
		integrate(job, desk, leaf, features, tile);
	}
}

/* Adds to contributions rather than to the desk's sums. False when asked to stop. */
static bool
walk_tree(const explain_job *job, const work_desk *desk, uint32_t tree, size_t first, size_t count,
          int thread)
{
	const pe_model *model = job->explainer->model;

	for (size_t i = first; i < first + count; i++)
	{
		size_t row = row_number(job, i);

		pe_explain_tree(model, tree, job->values + row * job->stride, desk->scratch,
		                job->contributions + row * model->n_features);
		if (pe_team_poll(job->team, thread))
			return false;
	}
	return true;
}

/* False when asked to stop. */
static bool
add_tree(const explain_job *job, const work_desk *desk, uint32_t tree, size_t first, size_t count, int thread)
{
	const pe_explainer *explainer = job->explainer;
	const pe_model *model = explainer->model;

	if (explainer->firsts[tree] == explainer->firsts[tree + 1])
		return walk_tree(job, desk, tree, first, count, thread);
	for (uint32_t at = model->roots[tree]; at < model->roots[tree + 1]; at++)
	{
		const pe_node *node = &model->nodes[at];

		for (int tile = 0; node->left != 0 && tile < job->tiles; tile++)
			desk->answers[(size_t) (at - model->roots[tree]) * job->tiles + tile] = answer(
			    model, node,
			    desk->columns + ((size_t) explainer->places[node->feature] * job->tiles + tile) * TILE);
	}
	for (uint32_t i = explainer->firsts[tree]; i < explainer->firsts[tree + 1]; i++)
	{
		if (explainer->branches[i].table)
			add_table(job, desk, &explainer->branches[i]);
		else
			add_leaf_of_rows(job, desk, &explainer->branches[i]);
		if (i % BRANCHES_A_POLL == 0 && pe_team_poll(job->team, thread))
			return false;
	}
	return true;
}

/* Models that are no trees. */
static void
explain_singly(const explain_job *job, size_t first, size_t count)
{
	const pe_model *model = job->explainer->model;
	double base;

	for (size_t row = first; row < first + count; row++)
		pe_model_explain(model, job->values + row * job->stride, NULL,
		                 job->contributions + row * model->n_features, &base);
}

static void
explain_rows(void *ctx, uint32_t item, int thread)
{
	const explain_job *job = ctx;
	const pe_explainer *explainer = job->explainer;
	const pe_model *model = explainer->model;
	size_t width = (size_t) job->tiles * TILE, first = (size_t) item * width;
	size_t count = job->rows - first < width ? job->rows - first : width;
	work_desk desk;

	if (model->algorithm != PE_ALGORITHM_BOOSTED_TREES)
	{
		explain_singly(job, first, count);
		return;
	}
	desk = lay_desk(job, thread);
	turn_rows(job, &desk, first, count);
	for (size_t row = first; row < first + count; row++)
		memset(job->contributions + row_number(job, row) * model->n_features, 0,
		       model->n_features * sizeof(double));
	for (uint32_t tree = job->first_tree; tree < model->n_trees; tree += job->n_classes)
		if (!add_tree(job, &desk, tree, first, count, thread))
			return;
	for (size_t row = 0; row < count; row++)
	{
		double *contributions = job->contributions + row_number(job, first + row) * model->n_features;

		for (int i = 0; i < model->n_features; i++)
			if (explainer->places[i] >= 0)
				contributions[i] += desk.sums[explainer->places[i] * width + row];
	}
}

static uint32_t
item_count(const explain_job *job)
{
	size_t width = (size_t) job->tiles * TILE;

	return (uint32_t) ((job->rows + width - 1) / width);
}

static void
find_classes(void *ctx, uint32_t item, int thread)
{
	const explain_job *job = ctx;
	size_t first = (size_t) item * TILE;

	for (size_t row = first; row < job->rows && row < first + TILE; row++)
	{
		double margin;

		job->classes[row] =
		    pe_largest_margin(job->explainer->model, job->values + row * job->stride, &margin);
		if (pe_team_poll(job->team, thread))
			return;
	}
}

/* The rows of each class in turn, by the trees of that class alone. False when asked to stop. */
static bool
explain_classes(explain_job *job, size_t rows, uint32_t *order)
{
	uint32_t counts[PE_MAX_CLASSES + 1] = {0};

	if (!pe_team_run(job->team, find_classes, job, (uint32_t) ((rows + TILE - 1) / TILE)))
		return false;
	for (size_t row = 0; row < rows; row++)
		counts[job->classes[row] + 1]++;
	for (uint32_t class = 1; class < job->n_classes; class ++)
		counts[class] += counts[class - 1];
	for (size_t row = 0; row < rows; row++)
		order[counts[job->classes[row]]++] = (uint32_t) row; /* each becomes the start of the next */
	for (uint32_t class = 0; class < job->n_classes; class ++)
	{
		uint32_t start = class == 0 ? 0 : counts[class - 1];

		job->first_tree = class;
		job->order = order + start;
		job->rows = counts[class] - start;
		if (!pe_team_run(job->team, explain_rows, job, item_count(job)))
			return false;
	}
	return true;
}

static pe_status
run_job(explain_job *job, pe_error *err)
{
	const pe_env *env = job->explainer->env;
	uint32_t *order = NULL;
	bool by_class = job->explainer->model->algorithm == PE_ALGORITHM_BOOSTED_TREES && job->n_classes > 1;
	pe_status status = PE_OK;

	job->desks = pe_alloc(env, job->desk_bytes * (size_t) pe_team_threads(job->team));
	if (by_class)
	{
		job->classes = pe_alloc(env, job->rows * sizeof(int));
		order = pe_alloc(env, job->rows * sizeof(uint32_t));
	}
	if (job->desks == NULL || (by_class && (job->classes == NULL || order == NULL)))
		status = pe_fail_memory(err);
	else if (by_class ? !explain_classes(job, job->rows, order)
	                  : !pe_team_run(job->team, explain_rows, job, item_count(job)))
		status = pe_fail(err, PE_CANCELLED, "cancelled");
	pe_free(env, job->desks);
	pe_free(env, job->classes);
	pe_free(env, order);
	return status;
}

/* The difference of the parts' contributions. */
static pe_status
explain_parts(const pe_explainer *explainer, const double *values, size_t stride, size_t rows, int threads,
              double *contributions, double *base, pe_error *err)
{
	size_t cells = rows * (size_t) explainer->model->n_features;
	double *of_second, base_of_second;
	pe_status status =
	    pe_explainer_explain(explainer->parts[0], values, stride, rows, threads, contributions, base, err);

	if (status != PE_OK || explainer->parts[1] == NULL)
		return status;
	if ((of_second = pe_alloc(explainer->env, cells * sizeof(double))) == NULL)
		return pe_fail_memory(err);
	status = pe_explainer_explain(explainer->parts[1], values, stride, rows, threads, of_second,
	                              &base_of_second, err);
	for (size_t i = 0; i < cells && status == PE_OK; i++)
		contributions[i] -= of_second[i];
	*base -= base_of_second;
	pe_free(explainer->env, of_second);
	return status;
}

pe_status
pe_explainer_explain(const pe_explainer *explainer, const double *values, size_t stride, size_t rows,
                     int threads, double *contributions, double *base, pe_error *err)
{
	const pe_env *env = explainer->env;
	const pe_model *model = explainer->model;
	explain_job job = {.explainer = explainer,
	                   .values = values,
	                   .stride = stride,
	                   .rows = rows,
	                   .n_classes = model->n_classes > 1 ? (uint32_t) model->n_classes : 1,
	                   .contributions = contributions,
	                   .tiles = 1};
	int items;
	pe_status status;

	if (explainer->parts[0] != NULL)
		return explain_parts(explainer, values, stride, rows, threads, contributions, base, err);
	*base = model->n_classes > 1 ? NAN : model->expected_margin;
	if (rows == 0)
		return PE_OK;
	if (model->algorithm != PE_ALGORITHM_BOOSTED_TREES && model->n_classes <= 1)
		pe_model_explain(model, values, NULL, contributions, base);
	if (explainer->n_places <= NARROW && rows > TILE)
		job.tiles = TILES;
	job.desk_bytes = desk_bytes(explainer, job.tiles);
	items = (int) item_count(&job);
	job.team = pe_team_create(env, threads < items ? threads : items);
	if (job.team == NULL)
		return pe_fail_memory(err);
	pe_team_phase(job.team, "explain", 0, rows);
	status = run_job(&job, err);
	pe_team_free(job.team);
	return status;
}
