/*
 * boost.c
 *		Boosting: gradients of the loss at the margins so far, one tree for them, its
 *		leaves added to the margins, and again.
 */
#include "model/trees/trees.h"

#define CHUNK_ROWS           8192
#define EARLY_STOPPING_SHARE 0.1
#define IMPORTANCE_ROWS      2000
#define IMPORTANCE_WORK      1.0e8 /* leaves times squared depth, summed over rows */

typedef struct boost
{
	pe_fit *fit;
	pe_bins bins;
	pe_forest forest;
	pe_grower grower;
	double *margins; /* by row of the dataset */
	pe_pair *pairs;
	uint32_t *rows; /* that trees are grown on, then those kept for early stopping */
	uint32_t n_fit;
	uint32_t n_early;
	uint32_t *sampled; /* the tree's rows in front, the others after */
	uint32_t n_sampled;
	double *partial; /* one number for each chunk of rows */
	double squares;  /* of all fixed-point gradients */
	double scale_g;
	double scale_h;
	signed char *monotone;
} boost;

static pe_status
cancelled(pe_error *err)
{
	return pe_fail(err, PE_CANCELLED, "training was cancelled");
}

static uint32_t
chunks_of(uint32_t rows)
{
	return (rows + CHUNK_ROWS - 1) / CHUNK_ROWS;
}

static inline uint32_t
chunk_end(uint32_t item, uint32_t rows)
{
	uint32_t begin = item * CHUNK_ROWS;

	return rows - begin < CHUNK_ROWS ? rows : begin + CHUNK_ROWS;
}

static inline bool
is_binary(const boost *b)
{
	return b->fit->task == PE_TASK_PROPENSITY;
}

/* ---- gradients ------------------------------------------------------------------------ */

/* The largest |gradient| of a chunk; squared error only, the logistic one is bounded. */
static void
largest_work(void *ctx, uint32_t item, int thread)
{
	boost *b = ctx;
	double largest = 0;

	for (uint32_t i = item * CHUNK_ROWS; i < chunk_end(item, b->n_fit); i++)
	{
		uint32_t row = b->rows[i];
		double g = fabs(b->margins[row] - pe_dataset_target(b->fit->dataset, row)) *
		           pe_dataset_weight(b->fit->dataset, row);

		if (g > largest)
			largest = g;
	}
	b->partial[item] = largest;
}

static inline int32_t
to_fixed(double value)
{
	return (int32_t) (value < 0 ? value - 0.5 : value + 0.5);
}

static void
gradient_work(void *ctx, uint32_t item, int thread)
{
	boost *b = ctx;
	const pe_dataset *dataset = b->fit->dataset;
	bool binary = is_binary(b);
	double squares = 0;

	for (uint32_t i = item * CHUNK_ROWS; i < chunk_end(item, b->n_fit); i++)
	{
		uint32_t row = b->rows[i];
		double weight = pe_dataset_weight(dataset, row);
		double g, h;

		if (binary)
		{
			double p = pe_sigmoid(b->margins[row]);

			g = (p - pe_dataset_target(dataset, row)) * weight;
			h = p * (1 - p) * weight;
		}
		else
		{
			g = (b->margins[row] - pe_dataset_target(dataset, row)) * weight;
			h = weight;
		}
		b->pairs[row].g = to_fixed(g * b->scale_g);
		b->pairs[row].h = to_fixed(h * b->scale_h);
		if (b->pairs[row].h < 1)
			b->pairs[row].h = 1;
		squares += (double) b->pairs[row].g * b->pairs[row].g;
	}
	b->partial[item] = squares;
}

/* The power of two that brings largest to between 2^29 and 2^30. */
static double
fixed_scale(double largest)
{
	int exponent;

	if (!(largest > 0))
		return 1;
	(void) frexp(largest, &exponent);
	return ldexp(1.0, 30 - exponent);
}

static bool
compute_gradients(boost *b)
{
	double largest_weight = b->fit->rows->largest_weight;

	if (is_binary(b))
	{
		b->scale_g = fixed_scale(largest_weight);
		b->scale_h = fixed_scale(largest_weight * 0.25);
	}
	else
	{
		double largest = 0;

		if (!pe_team_run(b->fit->pool, largest_work, b, chunks_of(b->n_fit)))
			return false;
		for (uint32_t i = 0; i < chunks_of(b->n_fit); i++)
			largest = b->partial[i] > largest ? b->partial[i] : largest;
		b->scale_g = fixed_scale(largest);
		b->scale_h = fixed_scale(largest_weight);
	}
	b->grower.rules.unit_g = 1 / b->scale_g;
	b->grower.rules.unit_h = 1 / b->scale_h;
	if (!pe_team_run(b->fit->pool, gradient_work, b, chunks_of(b->n_fit)))
		return false;
	b->squares = 0;
	for (uint32_t i = 0; i < chunks_of(b->n_fit); i++)
		b->squares += b->partial[i];
	return true;
}

/* ---- margins -------------------------------------------------------------------------- */

static void
leaf_work(void *ctx, uint32_t item, int thread)
{
	boost *b = ctx;
	const pe_leaf *leaf = &b->grower.closed[item];
	double value = b->forest.model->values[leaf->node];

	for (uint32_t i = 0; i < leaf->count; i++)
		b->margins[b->sampled[leaf->begin + i]] += value;
}

/* Rows that the tree did not see walk down it; those for early stopping among them. */
static void
walk_work(void *ctx, uint32_t item, int thread)
{
	boost *b = ctx;
	const pe_model *model = b->forest.model;
	uint32_t total = b->n_fit + b->n_early - b->n_sampled;

	for (uint32_t i = item * CHUNK_ROWS; i < chunk_end(item, total); i++)
	{
		uint32_t row = b->sampled[b->n_sampled + i];
		uint32_t leaf = pe_forest_walk(&b->forest, &b->bins, model->n_trees - 1,
		                               b->bins.matrix + (size_t) row * b->bins.stride);

		b->margins[row] += model->values[leaf];
	}
}

/* Margins of any rows from all trees at once. */
typedef struct margin_job
{
	boost *b;
	const uint32_t *rows;
	uint32_t n_rows;
	double *margins;
} margin_job;

#define MARGIN_ROWS 64

static void
margin_work(void *ctx, uint32_t item, int thread)
{
	margin_job *job = ctx;
	boost *b = job->b;
	const pe_model *model = b->forest.model;
	uint32_t begin = item * MARGIN_ROWS;
	uint32_t end = job->n_rows - begin < MARGIN_ROWS ? job->n_rows : begin + MARGIN_ROWS;

	for (uint32_t i = begin; i < end; i++)
		job->margins[i] = model->base_margin;
	for (uint32_t tree = 0; tree < model->n_trees; tree++)
		for (uint32_t i = begin; i < end; i++)
			job->margins[i] += model->values[pe_forest_walk(
			    &b->forest, &b->bins, tree, b->bins.matrix + (size_t) job->rows[i] * b->bins.stride)];
}

static bool
all_margins(boost *b, const uint32_t *rows, uint32_t n_rows, double *margins)
{
	margin_job job = {b, rows, n_rows, margins};

	return pe_team_run(b->fit->pool, margin_work, &job, (n_rows + MARGIN_ROWS - 1) / MARGIN_ROWS);
}

/* ---- early stopping ------------------------------------------------------------------- */

static void
loss_work(void *ctx, uint32_t item, int thread)
{
	boost *b = ctx;
	double loss = 0;

	for (uint32_t i = item * CHUNK_ROWS; i < chunk_end(item, b->n_early); i++)
	{
		uint32_t row = b->rows[b->n_fit + i];
		double target = pe_dataset_target(b->fit->dataset, row), margin = b->margins[row];
		double weight = pe_dataset_weight(b->fit->dataset, row);

		if (is_binary(b))
			loss += weight * (fmax(margin, 0) - margin * target + log1p(exp(-fabs(margin))));
		else
			loss += weight * (margin - target) * (margin - target);
	}
	b->partial[item] = loss;
}

static bool
early_loss(boost *b, double *loss)
{
	*loss = 0;
	if (!pe_team_run(b->fit->pool, loss_work, b, chunks_of(b->n_early)))
		return false;
	for (uint32_t i = 0; i < chunks_of(b->n_early); i++)
		*loss += b->partial[i];
	return true;
}

/* ---- the rounds ----------------------------------------------------------------------- */

/* This tree's rows to the front of sampled, in order, and its columns into active. */
static void
draw_sample(boost *b, uint32_t tree)
{
	const pe_options *options = b->fit->options;
	pe_grower *grower = &b->grower;
	uint32_t total = b->n_fit + b->n_early, out = 0;

	if (options->row_sample < 1)
	{
		uint32_t rest = total;

		for (uint32_t i = 0; i < b->n_fit; i++)
		{
			uint32_t row = b->rows[i];

			if (pe_draw(pe_dataset_hash(b->fit->dataset, row), options->seed, PE_DRAW_ROWS + tree) <
			    options->row_sample)
				b->sampled[out++] = row;
			else
				b->sampled[--rest] = row;
		}
		for (uint32_t i = b->n_fit; i < total; i++)
			b->sampled[--rest] = b->rows[i];
	}
	if (out == 0) /* all, or so few that none was drawn */
	{
		memcpy(b->sampled, b->rows, total * sizeof(*b->rows));
		out = b->n_fit;
	}
	b->n_sampled = out;
	grower->n_active = 0;
	for (int column = 0; column < b->bins.n_columns; column++)
		if (options->column_sample >= 1 || pe_draw(pe_mix64((uint64_t) tree << 32 | (uint32_t) column),
		                                           options->seed, PE_DRAW_COLUMNS) < options->column_sample)
			grower->active[grower->n_active++] = column;
	if (grower->n_active == 0)
		grower->active[grower->n_active++] =
		    (int) (pe_mix64(options->seed + tree) % (uint64_t) b->bins.n_columns);
}

static pe_status
one_round(boost *b, uint32_t tree)
{
	uint32_t walking;
	pe_status status;

	pe_team_phase(b->fit->pool, "fit", tree, (uint64_t) b->fit->options->trees);
	draw_sample(b, tree);
	if (!compute_gradients(b))
		return cancelled(b->fit->err);
	status = pe_grow_tree(&b->grower, b->n_sampled, b->squares * b->n_sampled / b->n_fit);
	if (status != PE_OK)
		return status;
	walking = b->n_fit + b->n_early - b->n_sampled;
	if (!pe_team_run(b->fit->pool, leaf_work, b, b->grower.n_closed) ||
	    !pe_team_run(b->fit->pool, walk_work, b, chunks_of(walking)))
		return cancelled(b->fit->err);
	return PE_OK;
}

/* Forget the trees after the first so many. */
static void
keep_trees(boost *b, uint32_t trees)
{
	pe_model *model = b->forest.model;

	model->n_trees = trees;
	model->n_nodes = model->roots[trees];
	model->n_sets = 0;
	for (uint32_t i = 0; i < model->n_nodes; i++)
		if (model->nodes[i].left != 0 && (model->nodes[i].flags & PE_NODE_CATEGORICAL) &&
		    model->nodes[i].test.set >= model->n_sets)
			model->n_sets = model->nodes[i].test.set + 1;
}

static pe_status
all_rounds(boost *b)
{
	const pe_options *options = b->fit->options;
	double best = INFINITY;
	uint32_t best_trees = 0;

	for (uint32_t tree = 0; tree < (uint32_t) options->trees; tree++)
	{
		pe_status status = one_round(b, tree);
		double loss;

		if (status != PE_OK)
			return status;
		if (b->n_early == 0)
			continue;
		if (!early_loss(b, &loss))
			return cancelled(b->fit->err);
		if (loss < best)
		{
			best = loss;
			best_trees = tree + 1;
		}
		else if (tree + 1 >= best_trees + (uint32_t) options->early_stopping)
			break;
	}
	if (b->n_early > 0)
	{
		uint32_t grown = b->forest.model->n_trees;

		keep_trees(b, best_trees);
		if (best_trees < grown)
			return pe_model_add_note(
			    b->forest.model, b->fit->err,
			    "early stopping: %u trees are kept, the loss on %u rows set aside did not fall any more",
			    best_trees, b->n_early);
	}
	return PE_OK;
}

/* ---- before and after ----------------------------------------------------------------- */

/* The model's base: the mean target as a margin. */
static void
start_margins(boost *b)
{
	const pe_split_rows *rows = b->fit->rows;
	double mean = rows->train_sum / rows->train_weight;

	b->forest.model->base_margin = is_binary(b) ? log(mean / (1 - mean)) : mean;
	for (uint64_t row = 0; row < b->fit->dataset->rows; row++)
		b->margins[row] = b->forest.model->base_margin;
}

static pe_status
split_early(boost *b)
{
	const pe_split_rows *rows = b->fit->rows;
	uint32_t early = rows->n_train;

	for (uint32_t i = 0; i < rows->n_train; i++)
	{
		uint64_t hash = pe_dataset_hash(b->fit->dataset, rows->train[i]);

		if (b->fit->options->early_stopping > 0 &&
		    pe_draw(hash, b->fit->options->seed, PE_DRAW_EARLY) < EARLY_STOPPING_SHARE)
			b->rows[--early] = rows->train[i];
		else
			b->rows[b->n_fit++] = rows->train[i];
	}
	b->n_early = rows->n_train - b->n_fit;
	if (b->fit->options->early_stopping > 0 && (b->n_early == 0 || b->n_fit == 0))
	{
		pe_fail(b->fit->err, PE_INVALID_DATA, "too few rows to set some aside for early_stopping");
		pe_error_hint(b->fit->err, "Leave out early_stopping, or train on more rows.");
		return PE_INVALID_DATA;
	}
	return PE_OK;
}

static pe_status
set_monotone(boost *b)
{
	const pe_options *options = b->fit->options;
	const pe_model *model = b->fit->model;

	if (options->n_monotone == 0)
		return PE_OK;
	if ((b->monotone = pe_calloc(b->fit->env, b->bins.n_columns, 1)) == NULL)
		return pe_fail_memory(b->fit->err);
	for (int i = 0; i < options->n_monotone; i++)
	{
		int feature = pe_model_find_feature(model, options->monotone[i].feature);

		if (feature < 0 || model->features[feature].kind != PE_FEATURE_NUMERIC)
		{
			pe_fail(b->fit->err, PE_INVALID_OPTION,
			        "option \"monotone\" names \"%s\", which is no numeric feature",
			        options->monotone[i].feature);
			pe_error_hint(b->fit->err, "Name numeric features of the source only.");
			return PE_INVALID_OPTION;
		}
		if (b->bins.columns[feature] >= 0)
			b->monotone[b->bins.columns[feature]] = (signed char) options->monotone[i].direction;
	}
	b->grower.rules.monotone = b->monotone;
	return PE_OK;
}

static pe_status
allocate(boost *b)
{
	const pe_env *env = b->fit->env;
	uint64_t rows = b->fit->dataset->rows;
	uint32_t n_train = b->fit->rows->n_train;

	b->forest.model = b->fit->model;
	b->fit->model->roots = pe_calloc(env, (size_t) b->fit->options->trees + 1, sizeof(uint32_t));
	b->margins = pe_alloc(env, rows * sizeof(*b->margins));
	b->pairs = pe_calloc(env, rows, sizeof(*b->pairs));
	b->rows = pe_alloc(env, n_train * sizeof(*b->rows));
	b->sampled = pe_alloc(env, n_train * sizeof(*b->sampled));
	b->grower.scratch = pe_alloc(env, n_train * sizeof(*b->grower.scratch));
	b->partial = pe_alloc(env, (chunks_of(n_train) + 1) * sizeof(*b->partial));
	if (b->fit->model->roots == NULL || b->margins == NULL || b->pairs == NULL || b->rows == NULL ||
	    b->sampled == NULL || b->grower.scratch == NULL || b->partial == NULL)
		return pe_fail_memory(b->fit->err);
	b->grower.env = env;
	b->grower.pool = b->fit->pool;
	b->grower.options = b->fit->options;
	b->grower.bins = &b->bins;
	b->grower.forest = &b->forest;
	b->grower.pairs = b->pairs;
	b->grower.rows = b->sampled;
	b->grower.err = b->fit->err;
	b->grower.rules.options = b->fit->options;
	b->grower.rules.bins = &b->bins;
	return pe_grower_create(&b->grower);
}

/* ---- one feature alone ---------------------------------------------------------------- */

/*
 * From the cells of one column at the base margin: weight and sum of targets by bin.
 * Numeric bins stay in order with missing at either end, levels go by their rate.
 */
static double
column_strength(const boost *b, const pe_cell *cells, int column, double mean, double variance)
{
	int n = (int) (b->bins.offsets[column + 1] - b->bins.offsets[column]);
	double weights[256], sums[256], total = 0, positive = 0, between = 0, area = 0, seen = 0;
	bool binary = is_binary(b);
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

static pe_status
find_strongest(boost *b)
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
	if (!pe_histogram_build(fit->pool, &b->bins, b->grower.active, b->bins.n_columns, b->pairs, b->rows,
	                        b->n_fit, cells, b->grower.thread_cells))
		return cancelled(fit->err);
	for (int column = 0; column < b->bins.n_columns; column++)
	{
		uint32_t n = b->bins.offsets[column + 1] - b->bins.offsets[column];
		double strength;

		/* Bins of a handful of rows tell their targets by chance. */
		if ((uint64_t) n * 10 > b->n_fit && (b->bins.categorical[column] || !is_binary(b)))
			continue;
		strength = column_strength(b, cells + b->bins.offsets[column], column, mean, variance);
		if (strength > fit->strongest.strength)
			fit->strongest = (pe_strongest){strength, b->bins.features[column]};
	}
	return PE_OK;
}

/* ---- importances ---------------------------------------------------------------------- */

typedef struct shap_job
{
	boost *b;
	const uint32_t *rows;
	uint32_t n_rows;
	uint32_t step_rows; /* in the list the rows are taken from */
	size_t scratch_bytes;
	uint8_t *scratch; /* by thread */
	double *values;   /* by thread, n_features */
	double *parts;    /* by item: n_features sums of |contribution| */
	double *one;      /* by thread, n_features */
	uint32_t items;
} shap_job;

static void
shap_work(void *ctx, uint32_t item, int thread)
{
	shap_job *job = ctx;
	boost *b = job->b;
	const pe_model *model = b->fit->model;
	int n = model->n_features;
	double *values = job->values + (size_t) thread * n, *one = job->one + (size_t) thread * n;
	double *sums = job->parts + (size_t) item * n;
	double base;

	for (uint32_t i = item; i < job->n_rows; i += job->items)
	{
		uint32_t row = job->rows[(uint64_t) i * job->step_rows / job->n_rows];
		const uint8_t *bins = b->bins.matrix + (size_t) row * b->bins.stride;

		for (int feature = 0; feature < n; feature++)
			values[feature] = NAN;
		for (int column = 0; column < b->bins.n_columns; column++)
			values[b->bins.features[column]] = pe_bins_value(&b->bins, model, column, bins[column]);
		pe_model_explain(model, values, job->scratch + (size_t) thread * job->scratch_bytes, one, &base);
		for (int feature = 0; feature < n; feature++)
			sums[feature] += fabs(one[feature]);
		if (pe_team_poll(b->fit->pool, thread))
			return;
	}
}

/* Rows for mean |SHAP|: held-out ones when there are any, fewer when trees are costly. */
static void
choose_shap_rows(shap_job *job)
{
	const pe_split_rows *rows = job->b->fit->rows;
	const pe_model *model = job->b->fit->model;
	double work = 1.0 + (double) model->n_nodes / 2 * (model->max_depth + 1.0) * (model->max_depth + 1.0);

	job->rows = rows->n_holdout > 0 ? rows->holdout : rows->train;
	job->step_rows = rows->n_holdout > 0 ? rows->n_holdout : rows->n_train;
	job->n_rows = job->step_rows < IMPORTANCE_ROWS ? job->step_rows : IMPORTANCE_ROWS;
	if (job->n_rows * work > IMPORTANCE_WORK)
		job->n_rows = (uint32_t) (IMPORTANCE_WORK / work);
	if (job->n_rows < 10)
		job->n_rows = job->step_rows < 10 ? job->step_rows : 10;
	job->items = job->n_rows < 16 ? job->n_rows : 16;
}

static void
share_gains(boost *b)
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

static pe_status
compute_importances(boost *b)
{
	pe_fit *fit = b->fit;
	pe_model *model = fit->model;
	int n = model->n_features, threads = pe_team_threads(fit->pool);
	shap_job job = {.b = b};
	pe_status status = PE_OK;

	choose_shap_rows(&job);
	job.scratch_bytes = pe_model_explain_scratch(model);
	job.scratch = pe_alloc(fit->env, job.scratch_bytes * threads);
	job.values = pe_alloc(fit->env, (size_t) n * threads * sizeof(double));
	job.one = pe_alloc(fit->env, (size_t) n * threads * sizeof(double));
	job.parts = pe_calloc(fit->env, (size_t) n * job.items, sizeof(double));
	if (job.scratch == NULL || job.values == NULL || job.one == NULL || job.parts == NULL)
		status = pe_fail_memory(fit->err);
	else if (!pe_team_run(fit->pool, shap_work, &job, job.items))
		status = cancelled(fit->err);
	share_gains(b);
	for (int i = 0; i < n && status == PE_OK; i++)
	{
		pe_feature *feature = &model->features[i];

		for (uint32_t item = 0; item < job.items; item++)
			feature->mean_contribution += job.parts[(size_t) item * n + i];
		feature->mean_contribution /= job.n_rows;
	}
	pe_free(fit->env, job.scratch);
	pe_free(fit->env, job.values);
	pe_free(fit->env, job.one);
	pe_free(fit->env, job.parts);
	return status;
}

static pe_status
fit_in(boost *b)
{
	pe_fit *fit = b->fit;
	pe_status status;

	pe_team_phase(fit->pool, "bin", 0, 0);
	if ((status = pe_bins_choose(fit, &b->bins)) != PE_OK ||
	    (status = pe_bins_fill(fit, &b->bins)) != PE_OK || (status = allocate(b)) != PE_OK ||
	    (status = split_early(b)) != PE_OK || (status = set_monotone(b)) != PE_OK)
		return status;
	pe_team_phase(fit->pool, "fit", 0, (uint64_t) fit->options->trees);
	start_margins(b);
	if (!compute_gradients(b))
		return cancelled(fit->err);
	if ((status = find_strongest(b)) != PE_OK || (status = all_rounds(b)) != PE_OK)
		return status;
	pe_team_phase(fit->pool, "evaluate", 0, 0);
	pe_model_finish_trees(fit->model);
	if (!all_margins(b, fit->rows->holdout, fit->rows->n_holdout, fit->holdout_margins))
		return cancelled(fit->err);
	/* Early stopping took trees back, so that the running margins are not the model's. */
	if (fit->train_margins != NULL && b->n_early > 0 &&
	    !all_margins(b, fit->rows->train, fit->rows->n_train, fit->train_margins))
		return cancelled(fit->err);
	if (fit->train_margins != NULL && b->n_early == 0)
		for (uint32_t i = 0; i < fit->rows->n_train; i++)
			fit->train_margins[i] = b->margins[fit->rows->train[i]];
	return compute_importances(b);
}

pe_status
pe_fit_trees(pe_fit *fit)
{
	boost *b = pe_calloc(fit->env, 1, sizeof(*b));
	pe_status status;

	if (b == NULL)
		return pe_fail_memory(fit->err);
	b->fit = fit;
	status = fit_in(b);
	if (b->grower.env != NULL)
		pe_grower_free(&b->grower);
	pe_bins_free(fit->env, &b->bins);
	pe_free(fit->env, b->forest.bins);
	pe_free(fit->env, b->margins);
	pe_free(fit->env, b->pairs);
	pe_free(fit->env, b->rows);
	pe_free(fit->env, b->sampled);
	pe_free(fit->env, b->grower.scratch);
	pe_free(fit->env, b->partial);
	pe_free(fit->env, b->monotone);
	pe_free(fit->env, b->forest.gains);
	pe_free(fit->env, b);
	return status;
}
