/*
 * boost.c
 *		Boosting: gradients of the loss at the margins so far, one tree for them, its
 *		leaves added to the margins, and again.
 */
#include "model/trees/boost.h"

static pe_status
cancelled(pe_error *err)
{
	return pe_fail(err, PE_CANCELLED, "training was cancelled");
}

/* ---- margins -------------------------------------------------------------------------- */

/* Rows that the tree did not see walk down it; those for early stopping among them. */
static void
walk_work(void *ctx, uint32_t item, int thread)
{
	pe_boost *b = ctx;
	uint32_t total = b->n_fit + b->n_early - b->n_sampled, begin = item * PE_BOOST_CHUNK;

	pe_walker_add(b->walker, b->forest.model->n_trees - 1, b->sampled + b->n_sampled + begin,
	              pe_boost_chunk_end(item, total) - begin, pe_boost_margins(b, b->class), 1, true);
}

static bool
walk_rest(pe_boost *b)
{
	uint32_t walking = b->n_fit + b->n_early - b->n_sampled;

	if (walking == 0)
		return true;
	(void) pe_walker_load(b->walker, b->forest.model->n_trees - 1, walking);
	return pe_team_run(b->fit->pool, walk_work, b, pe_boost_chunks(walking));
}

/* Margins of any rows from all trees, some trees at a time. */
typedef struct margin_job
{
	pe_boost *b;
	const uint32_t *rows;
	uint32_t n_rows;
	uint32_t first; /* of the trees at hand */
	uint32_t n_trees;
	double *margins; /* [n_rows][n_margins] */
} margin_job;

#define MARGIN_ROWS 2048

static void
margin_work(void *ctx, uint32_t item, int thread)
{
	margin_job *job = ctx;
	pe_boost *b = job->b;
	uint32_t begin = item * MARGIN_ROWS, n = (uint32_t) b->n_margins;
	uint32_t count = job->n_rows - begin < MARGIN_ROWS ? job->n_rows - begin : MARGIN_ROWS;

	for (uint32_t tree = job->first; tree < job->first + job->n_trees; tree++)
	{
		pe_walker_add(b->walker, tree, job->rows + begin, count, job->margins + (size_t) begin * n + tree % n,
		              n, false);
		if (pe_team_poll(b->fit->pool, thread))
			return;
	}
}

static bool
all_margins(pe_boost *b, const uint32_t *rows, uint32_t n_rows, double *margins)
{
	const pe_model *model = b->forest.model;
	margin_job job = {b, rows, n_rows, 0, 0, margins};
	uint32_t n = (uint32_t) b->n_margins;

	for (size_t i = 0; i < (size_t) n_rows * n; i++)
		margins[i] = model->class_margins != NULL ? model->class_margins[i % n] : model->base_margin;
	for (; job.first < model->n_trees; job.first += job.n_trees)
	{
		job.n_trees = pe_walker_load(b->walker, job.first, n_rows);
		if (!pe_team_run(b->fit->pool, margin_work, &job, (n_rows + MARGIN_ROWS - 1) / MARGIN_ROWS))
			return false;
	}
	return true;
}

/* ---- the rounds ----------------------------------------------------------------------- */

static pe_status
one_tree(pe_boost *b, uint32_t tree)
{
	pe_status status;

	pe_team_phase(b->fit->pool, "fit", tree, (uint64_t) b->fit->options->trees * b->n_margins);
	pe_boost_draw_columns(b, tree);
	if (!pe_boost_gradients(b))
		return cancelled(b->fit->err);
	pe_boost_draw_rows(b, tree);
	status = pe_grow_tree(&b->grower, b->sampled, b->n_sampled);
	if (status != PE_OK)
		return status;
	if (!pe_boost_renew_leaves(b) ||
	    !pe_leaves_add_values(&b->grower, b->sampled, b->n_sampled, pe_boost_margins(b, b->class)) ||
	    !walk_rest(b))
		return cancelled(b->fit->err);
	return PE_OK;
}

/* A tree for each class, all for the margins that the round began with. */
static pe_status
one_round(pe_boost *b, uint32_t round)
{
	pe_status status = PE_OK;

	if (!pe_boost_normalise(b))
		return cancelled(b->fit->err);
	for (b->class = 0; b->class < b->n_margins && status == PE_OK; b->class ++)
		status = one_tree(b, round * (uint32_t) b->n_margins + (uint32_t) b->class);
	b->class = 0;
	return status;
}

/* Forget the trees after the first so many. */
static void
keep_trees(pe_boost *b, uint32_t trees)
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
all_rounds(pe_boost *b)
{
	const pe_options *options = b->fit->options;
	double best = INFINITY;
	uint32_t best_rounds = 0, rounds = 0, n = (uint32_t) b->n_margins;

	while (rounds < (uint32_t) options->trees)
	{
		pe_status status = one_round(b, rounds++);
		double loss;

		if (status != PE_OK)
			return status;
		if (b->n_early == 0)
			continue;
		if (!pe_boost_early_loss(b, &loss))
			return cancelled(b->fit->err);
		if (loss < best)
		{
			best = loss;
			best_rounds = rounds;
		}
		else if (rounds >= best_rounds + (uint32_t) options->early_stopping)
			break;
	}
	if (b->n_early == 0)
		return PE_OK;
	keep_trees(b, best_rounds * n);
	if (best_rounds == rounds)
		return PE_OK;
	return pe_model_add_note(
	    b->forest.model, b->fit->err,
	    "early stopping: %u trees are kept, the loss on %u rows set aside did not fall any more",
	    best_rounds * n, b->n_early);
}

/* ---- before and after ----------------------------------------------------------------- */

static pe_status
set_monotone(pe_boost *b)
{
	const pe_options *options = b->fit->options;
	const pe_model *model = b->fit->model;

	if (options->n_monotone == 0)
		return PE_OK;
	if (b->objective == PE_OBJECTIVE_ABSOLUTE || b->objective == PE_OBJECTIVE_QUANTILE ||
	    b->objective == PE_OBJECTIVE_MULTICLASS)
	{
		pe_fail(b->fit->err, PE_INVALID_OPTION, "option \"monotone\" does not go with objective \"%s\"",
		        pe_objective_name(b->objective));
		pe_error_hint(b->fit->err, "Leave out monotone, or use another objective.");
		return PE_INVALID_OPTION;
	}
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

/* What not every objective needs. */
static pe_status
allocate_special(pe_boost *b)
{
	const pe_env *env = b->fit->env;
	uint32_t n_train = b->fit->rows->n_train;

	if (b->objective == PE_OBJECTIVE_MULTICLASS &&
	    (b->normalisers = pe_alloc(env, b->fit->dataset->rows * sizeof(double))) == NULL)
		return pe_fail_memory(b->fit->err);
	if (b->fit->options->goss &&
	    (b->size_counts = pe_alloc(env, PE_GOSS_SIZES * sizeof(*b->size_counts))) == NULL)
		return pe_fail_memory(b->fit->err);
	if (b->objective != PE_OBJECTIVE_ABSOLUTE && b->objective != PE_OBJECTIVE_QUANTILE)
		return PE_OK;
	b->residuals = pe_alloc(env, n_train * sizeof(double));
	b->residual_weights = pe_alloc(env, n_train * sizeof(double));
	return b->residuals == NULL || b->residual_weights == NULL ? pe_fail_memory(b->fit->err) : PE_OK;
}

static pe_status
allocate(pe_boost *b)
{
	const pe_env *env = b->fit->env;
	uint64_t rows = b->fit->dataset->rows;
	uint32_t n_train = b->fit->rows->n_train;
	pe_status status = allocate_special(b);

	if (status != PE_OK)
		return status;
	b->forest.model = b->fit->model;
	b->fit->model->roots =
	    pe_calloc(env, (size_t) b->fit->options->trees * b->n_margins + 1, sizeof(uint32_t));
	b->margins = pe_alloc_large(env, rows * b->n_margins, sizeof(*b->margins));
	b->pairs = pe_alloc_large(env, rows, sizeof(*b->pairs));
	b->rows = pe_alloc_large(env, n_train, sizeof(*b->rows));
	b->sampled = pe_alloc_large(env, n_train, sizeof(*b->sampled));
	b->partial = pe_alloc(env, 2 * (pe_boost_chunks(n_train) + 1) * sizeof(*b->partial));
	if (b->fit->model->roots == NULL || b->margins == NULL || b->pairs == NULL || b->rows == NULL ||
	    b->sampled == NULL || b->partial == NULL)
		return pe_fail_memory(b->fit->err);
	b->grower.env = env;
	b->grower.pool = b->fit->pool;
	b->grower.options = b->fit->options;
	b->grower.bins = &b->bins;
	b->grower.forest = &b->forest;
	b->grower.pairs = b->pairs;
	b->grower.capacity = n_train;
	b->grower.err = b->fit->err;
	b->grower.rules.options = b->fit->options;
	b->grower.rules.bins = &b->bins;
	b->walker = pe_walker_create(env, &b->forest, &b->bins);
	return b->walker != NULL ? pe_grower_create(&b->grower) : pe_fail_memory(b->fit->err);
}

/* What growing trees needed; all of it may be missing. */
static void
free_growing(pe_boost *b)
{
	const pe_env *env = b->fit->env;

	if (b->grower.env != NULL)
		pe_grower_free(&b->grower);
	b->grower.env = NULL;
	pe_walker_free(b->walker);
	b->walker = NULL;
	pe_free(env, b->margins);
	pe_free(env, b->normalisers);
	pe_free(env, b->residuals);
	pe_free(env, b->residual_weights);
	pe_free(env, b->size_counts);
	pe_free(env, b->pairs);
	pe_free(env, b->rows);
	pe_free(env, b->sampled);
	pe_free(env, b->partial);
	b->margins = b->partial = b->normalisers = b->residuals = b->residual_weights = NULL;
	b->size_counts = NULL;
	b->pairs = NULL;
	b->rows = b->sampled = NULL;
}

static pe_status
fit_in(pe_boost *b)
{
	pe_fit *fit = b->fit;
	pe_status status;

	pe_team_phase(fit->pool, "bin", 0, 0);
	if ((status = pe_bins_choose(fit, &b->bins)) != PE_OK ||
	    (status = pe_bins_fill(fit, &b->bins)) != PE_OK || (status = allocate(b)) != PE_OK ||
	    (status = pe_boost_split_early(b)) != PE_OK || (status = set_monotone(b)) != PE_OK)
		return status;
	pe_team_phase(fit->pool, "fit", 0, (uint64_t) fit->options->trees);
	if ((status = pe_boost_start(b)) != PE_OK || (status = pe_boost_find_strongest(b)) != PE_OK ||
	    (status = all_rounds(b)) != PE_OK)
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
			for (int class = 0; class < b->n_margins; class ++)
				fit->train_margins[(size_t) i * b->n_margins + class] =
				    pe_boost_margins(b, class)[fit->rows->train[i]];
	/* What only growing needs makes room for the tables that explain. */
	free_growing(b);
	return pe_boost_importances(b);
}

pe_status
pe_fit_trees(pe_fit *fit)
{
	pe_boost *b = pe_calloc(fit->env, 1, sizeof(*b));
	pe_status status;

	if (b == NULL)
		return pe_fail_memory(fit->err);
	b->fit = fit;
	b->objective = fit->model->objective;
	b->n_margins = fit->n_margins;
	b->parameter = b->objective == PE_OBJECTIVE_POISSON    ? 1
	               : b->objective == PE_OBJECTIVE_GAMMA    ? 2
	               : b->objective == PE_OBJECTIVE_ABSOLUTE ? 0.5
	                                                       : fit->model->objective_parameter;
	b->room = fit->options->goss ? 1 / fit->options->goss_other : 1;
	status = fit_in(b);
	free_growing(b);
	pe_bins_free(fit->env, &b->bins);
	pe_free(fit->env, b->forest.bins);
	pe_free(fit->env, b->monotone);
	pe_free(fit->env, b->forest.gains);
	pe_free(fit->env, b);
	return status;
}
