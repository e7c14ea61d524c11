/*
 * explainer.c
 *		Shapley values of many rows, by tables.
 *
 * What a leaf of value v gives feature j of its path depends on the row only through
 * which of the path's features meet all their conditions there. With z_k the share of
 * training rows that feature k alone lets pass, o_k 1 or 0 for met or not, and d
 * features on the path,
 *
 *		phi_j = v (o_j - z_j) sum over S of |S|! (d - |S| - 1)! / d! prod_S o_k prod_notS z_k
 *
 * over the sets S of the other features: the definition for the game that explain.c
 * plays. So each leaf has 2^d rows of d numbers, made once; a row of data finds its
 * pattern by a few bit operations and adds one row of the table.
 */
#include "model/internal.h"

#define MAX_PATH_FEATURES 8  /* 2^8 patterns of 8 numbers: 16 kB a leaf */
#define MAX_TESTS         64 /* nodes of a tree, a bit each */
#define ROWS_AT_ONCE      64 /* of one item of work: a tree's tables stay in the cache for them */

typedef struct leaf_table
{
	int n_features;
	uint16_t features[MAX_PATH_FEATURES];
	uint64_t tests[MAX_PATH_FEATURES]; /* nodes on the path that test the feature */
	uint64_t left[MAX_PATH_FEATURES];  /* of these, where the path goes left */
	double *parts;                     /* [1 << n_features][n_features] */
} leaf_table;

typedef struct tree_table
{
	leaf_table *leaves; /* NULL: the tree is walked */
	uint32_t n_leaves;
	uint32_t n_tests;
	uint32_t tests[MAX_TESTS]; /* node of each bit */
} tree_table;

struct pe_explainer
{
	const pe_env *env;
	const pe_model *model;
	tree_table *trees; /* NULL for the linear family */
};

/* ---- making the tables ----------------------------------------------------------------- */

/* A path from the root: its distinct features with what they let pass. */
typedef struct leaf_path
{
	leaf_table leaf;
	double zero[MAX_PATH_FEATURES];
} leaf_path;

/* Weight of a coalition of s out of the d - 1 others. */
static double
coalition_weight(int s, int d)
{
	double weight = 1.0 / d;

	/* s! (d - 1 - s)! / (d - 1)! is one over "d - 1 choose s". */
	for (int i = 0; i < s; i++)
		weight *= (double) (i + 1) / (d - 1 - i);
	return weight;
}

/* phi_j for v = 1: the polynomial in y of prod (z_k + o_k y), weighed by degree. */
static double
unit_part(const leaf_path *path, unsigned pattern, int j, const double *weights)
{
	int d = path->leaf.n_features, degree = 0;
	double sizes[MAX_PATH_FEATURES] = {1.0};
	double sum = 0;

	for (int k = 0; k < d; k++)
	{
		if (k == j)
			continue;
		if ((pattern >> k) & 1)
		{
			sizes[degree + 1] = sizes[degree];
			for (int s = degree; s > 0; s--)
				sizes[s] = sizes[s] * path->zero[k] + sizes[s - 1];
			sizes[0] *= path->zero[k];
			degree++;
		}
		else
			for (int s = 0; s <= degree; s++)
				sizes[s] *= path->zero[k];
	}
	for (int s = 0; s <= degree; s++)
		sum += sizes[s] * weights[s];
	return (((pattern >> j) & 1) - path->zero[j]) * sum;
}

static bool
fill_leaf(const pe_explainer *explainer, const leaf_path *path, double value, leaf_table *leaf)
{
	int d = path->leaf.n_features;
	double weights[MAX_PATH_FEATURES];

	*leaf = path->leaf;
	leaf->parts = pe_alloc(explainer->env, ((size_t) d << d) * sizeof(double));
	if (leaf->parts == NULL)
		return false;
	for (int s = 0; s < d; s++)
		weights[s] = coalition_weight(s, d);
	for (unsigned pattern = 0; pattern < 1u << d; pattern++)
		for (int j = 0; j < d; j++)
			leaf->parts[(size_t) pattern * d + j] = value * unit_part(path, pattern, j, weights);
	return true;
}

/* The path one node further, to its left or right child. False when it has too many features. */
static bool
step(const pe_model *model, leaf_path *path, uint32_t at, int bit, bool left)
{
	const pe_node *node = &model->nodes[at];
	leaf_table *leaf = &path->leaf;
	int j = 0;

	while (j < leaf->n_features && leaf->features[j] != node->feature)
		j++;
	if (j == leaf->n_features)
	{
		if (j == MAX_PATH_FEATURES)
			return false;
		leaf->features[j] = node->feature;
		path->zero[j] = 1;
		leaf->n_features++;
	}
	leaf->tests[j] |= UINT64_C(1) << bit;
	if (left)
		leaf->left[j] |= UINT64_C(1) << bit;
	path->zero[j] *= model->covers[node->left + !left] / model->covers[at];
	return true;
}

/*
 * Visits the leaves below at. With tables, fills them; without, only adds up the bytes
 * that they would take. False when a path has too many features or memory ran out.
 */
static bool
visit(const pe_explainer *explainer, tree_table *tree, uint32_t at, const leaf_path *before, bool fill,
      size_t *bytes)
{
	const pe_model *model = explainer->model;
	int bit;

	if (model->nodes[at].left == 0)
	{
		int d = before->leaf.n_features;

		*bytes += sizeof(leaf_table) + ((size_t) d << d) * sizeof(double);
		if (fill && !fill_leaf(explainer, before, model->values[at], &tree->leaves[tree->n_leaves]))
			return false;
		tree->n_leaves++;
		return true;
	}
	if (tree->n_tests == MAX_TESTS)
		return false;
	bit = (int) tree->n_tests++;
	tree->tests[bit] = at;
	for (int side = 0; side < 2; side++)
	{
		leaf_path further = *before;

		if (!step(model, &further, at, bit, side == 0) ||
		    !visit(explainer, tree, model->nodes[at].left + side, &further, fill, bytes))
			return false;
	}
	return true;
}

/* Makes a tree's tables when they fit into what is left of *budget. */
static pe_status
make_tree(pe_explainer *explainer, uint32_t root, tree_table *tree, size_t *budget, pe_error *err)
{
	leaf_path nothing;
	size_t bytes = 0;
	uint32_t n_leaves;

	memset(&nothing, 0, sizeof(nothing));
	if (explainer->model->nodes[root].left == 0 || !visit(explainer, tree, root, &nothing, false, &bytes) ||
	    bytes > *budget)
		return PE_OK;
	*budget -= bytes;
	n_leaves = tree->n_leaves;
	tree->leaves = pe_calloc(explainer->env, n_leaves, sizeof(leaf_table));
	if (tree->leaves == NULL)
		return pe_fail_memory(err);
	tree->n_leaves = tree->n_tests = 0;
	if (!visit(explainer, tree, root, &nothing, true, &bytes))
	{
		tree->n_leaves = n_leaves; /* for the free: those not reached are zero */
		return pe_fail_memory(err);
	}
	return PE_OK;
}

pe_status
pe_explainer_create(const pe_env *env, const pe_model *model, size_t max_bytes, pe_explainer **explainer,
                    pe_error *err)
{
	pe_explainer *made = pe_calloc(env, 1, sizeof(*made));
	pe_status status = PE_OK;

	*explainer = NULL;
	if (made == NULL)
		return pe_fail_memory(err);
	made->env = env;
	made->model = model;
	if (model->algorithm == PE_ALGORITHM_BOOSTED_TREES)
	{
		made->trees = pe_calloc(env, model->n_trees, sizeof(tree_table));
		if (made->trees == NULL)
			status = pe_fail_memory(err);
		for (uint32_t i = 0; i < model->n_trees && status == PE_OK; i++)
		{
			if (pe_stopped(env, "explain", i, model->n_trees))
				status = pe_fail(err, PE_CANCELLED, "cancelled");
			else
				status = make_tree(made, model->roots[i], &made->trees[i], &max_bytes, err);
		}
	}
	if (status != PE_OK)
	{
		pe_explainer_free(made);
		return status;
	}
	*explainer = made;
	return PE_OK;
}

void
pe_explainer_free(pe_explainer *explainer)
{
	if (explainer == NULL)
		return;
	for (uint32_t i = 0; explainer->trees != NULL && i < explainer->model->n_trees; i++)
	{
		tree_table *tree = &explainer->trees[i];

		for (uint32_t leaf = 0; tree->leaves != NULL && leaf < tree->n_leaves; leaf++)
			pe_free(explainer->env, tree->leaves[leaf].parts);
		pe_free(explainer->env, tree->leaves);
	}
	pe_free(explainer->env, explainer->trees);
	pe_free(explainer->env, explainer);
}

/* ---- explaining ------------------------------------------------------------------------ */

typedef struct explain_job
{
	const pe_explainer *explainer;
	pe_team *team;
	const double *values;
	size_t stride;
	size_t rows;
	double *contributions;
	uint8_t *scratch; /* by thread, for the trees that are walked */
	size_t scratch_bytes;
} explain_job;

static void
add_tree(const pe_model *model, const tree_table *tree, const double *values, double *contributions)
{
	uint64_t went_left = 0;

	for (uint32_t bit = 0; bit < tree->n_tests; bit++)
		went_left |= (uint64_t) pe_goes_left(model, &model->nodes[tree->tests[bit]], values) << bit;
	for (uint32_t i = 0; i < tree->n_leaves; i++)
	{
		const leaf_table *leaf = &tree->leaves[i];
		const double *part = leaf->parts;
		unsigned pattern = 0;

		for (int j = 0; j < leaf->n_features; j++)
			pattern |= (unsigned) (((went_left ^ leaf->left[j]) & leaf->tests[j]) == 0) << j;
		part += (size_t) pattern * leaf->n_features;
		for (int j = 0; j < leaf->n_features; j++)
			contributions[leaf->features[j]] += part[j];
	}
}

static void
explain_rows(void *ctx, uint32_t item, int thread)
{
	const explain_job *job = ctx;
	const pe_model *model = job->explainer->model;
	size_t first = (size_t) item * ROWS_AT_ONCE;
	size_t count = job->rows - first < ROWS_AT_ONCE ? job->rows - first : ROWS_AT_ONCE;
	const double *values = job->values + first * job->stride;
	double *contributions = job->contributions + first * model->n_features;
	void *scratch = job->scratch + (size_t) thread * job->scratch_bytes;

	if (job->explainer->trees == NULL)
	{
		double base;

		for (size_t row = 0; row < count; row++)
			pe_model_explain(model, values + row * job->stride, NULL, contributions + row * model->n_features,
			                 &base);
		return;
	}
	memset(contributions, 0, count * model->n_features * sizeof(double));
	for (uint32_t i = 0; i < model->n_trees; i++)
	{
		const tree_table *tree = &job->explainer->trees[i];

		for (size_t row = 0; row < count; row++)
		{
			if (tree->leaves != NULL)
				add_tree(model, tree, values + row * job->stride, contributions + row * model->n_features);
			else
				pe_explain_tree(model, i, values + row * job->stride, scratch,
				                contributions + row * model->n_features);
		}
		if (pe_team_poll(job->team, thread))
			return;
	}
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
	                   .contributions = contributions,
	                   .scratch_bytes = pe_model_explain_scratch(model)};
	uint32_t items = (uint32_t) ((rows + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE);
	pe_status status = PE_OK;

	*base = model->expected_margin;
	if (model->algorithm != PE_ALGORITHM_BOOSTED_TREES && rows > 0)
		pe_model_explain(model, values, NULL, contributions, base);
	job.team = pe_team_create(env, threads < (int) items ? threads : (int) items);
	if (job.team == NULL)
		return pe_fail_memory(err);
	pe_team_phase(job.team, "explain", 0, rows);
	job.scratch = pe_alloc(env, job.scratch_bytes * (size_t) pe_team_threads(job.team));
	if (job.scratch == NULL)
		status = pe_fail_memory(err);
	else if (!pe_team_run(job.team, explain_rows, &job, items))
		status = pe_fail(err, PE_CANCELLED, "cancelled");
	pe_free(env, job.scratch);
	pe_team_free(job.team);
	return status;
}
