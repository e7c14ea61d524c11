/*
 * explainer.c
 *		Shapley values of many rows, by tables.
 *
 * What a leaf of value v gives feature j of its path depends on the row only through
 * which of the path's features meet all their conditions there. With z_k the share of
 * training rows that feature k alone lets pass, o_k 1 or 0 for met or not, and d
 * features on the path, the definition for the game that explain.c plays is
 *
 *		phi_j = v (o_j - z_j) sum over S of |S|! (d - |S| - 1)! / d! prod_S o_k prod_notS z_k
 *
 * over the sets S of the other features. The factorials are the integral of
 * t^|S| (1 - t)^(d - 1 - |S|) from 0 to 1, so the sum is that of the product of
 * o_k t + z_k (1 - t) over the others: a polynomial, which Gauss's rule of (d + 1) / 2
 * points integrates exactly.
 *
 * Leaves below one node are taken together, as many as MAX_BITS yes-or-no facts about
 * a row suffice to tell all of: does it meet the path's conditions on each feature
 * above the node, and which way do the tests below it send the row. For each pattern of
 * these the sums by feature are made once; a row finds its pattern and adds them.
 * Leaves with more features than that, and those whose tables the memory bound leaves
 * out, are integrated for each row; trees of so many of these that even listing their
 * paths takes more than the bound are walked.
 */
#include "model/family.h"
#include "model/trees/explainer.h"

#define MAX_BITS        8 /* of a pattern: one byte */
#define BRANCHES_A_POLL 64

/* Gauss's rule of n points on 0 .. 1: Newton's method on the Legendre polynomial. */
static void
make_rule(int n, pe_point *points)
{
	for (int i = 0; i < n; i++)
	{
		double x = cos(M_PI * (i + 0.75) / (n + 0.5)), slope = 1;

		for (int round = 0; round < 20; round++)
		{
			double p = 1, before = 0, move;

			for (int k = 1; k <= n; k++)
			{
				double next = ((2 * k - 1) * x * p - (k - 1) * before) / k;

				before = p;
				p = next;
			}
			slope = n * (x * p - before) / (x * x - 1);
			move = p / slope;
			x -= move;
			if (fabs(move) < 1e-16)
				break;
		}
		points[i] = (pe_point){(1 + x) / 2, 1 / ((1 - x * x) * slope * slope)};
	}
}

/* The tests from the root to a node, and the distinct features of them. */
typedef struct leaf_path
{
	int n_steps;
	uint32_t steps[PE_MAX_PATH];
	uint8_t feature_of[PE_MAX_PATH]; /* by step: index into features */
	int n_features;
	uint16_t features[PE_MAX_PATH];
	double zero[PE_MAX_PATH]; /* share that the feature lets pass */
} leaf_path;

typedef struct builder
{
	pe_explainer *explainer;
	uint32_t root;
	size_t table_budget;
	size_t leaf_budget;
	bool too_big;                         /* the tree is to be walked */
	double leaf[1 << MAX_BITS][MAX_BITS]; /* one leaf's parts by its own pattern */
	pe_status status;
	pe_error *err;
} builder;

/* The path one node further. Only what is in use is copied. */
static void
go(const builder *b, const leaf_path *before, uint32_t at, bool left, leaf_path *further)
{
	const pe_model *model = b->explainer->model;
	const pe_node *node = &model->nodes[at];
	int j = 0;

	further->n_steps = before->n_steps + 1;
	further->n_features = before->n_features;
	memcpy(further->steps, before->steps, before->n_steps * sizeof(before->steps[0]));
	memcpy(further->feature_of, before->feature_of, before->n_steps * sizeof(before->feature_of[0]));
	memcpy(further->features, before->features, before->n_features * sizeof(before->features[0]));
	memcpy(further->zero, before->zero, before->n_features * sizeof(before->zero[0]));
	while (j < before->n_features && before->features[j] != node->feature)
		j++;
	if (j == before->n_features)
	{
		further->features[j] = node->feature;
		further->zero[j] = 1;
		further->n_features++;
	}
	further->steps[before->n_steps] = PE_STEP(at - b->root, left);
	further->feature_of[before->n_steps] = (uint8_t) j;
	further->zero[j] *= model->covers[node->left + !left] / model->covers[at];
}

/* Tests below the node, or MAX_BITS + 1 when there are more than MAX_BITS. */
static int
count_tests(const pe_model *model, uint32_t at, int limit)
{
	int count = 1;

	if (model->nodes[at].left == 0 || limit < 0)
		return 0;
	for (int side = 0; side < 2 && count <= limit; side++)
		count += count_tests(model, model->nodes[at].left + side, limit - count);
	return count;
}

static uint32_t *
add_words(builder *b, uint32_t count)
{
	pe_explainer *explainer = b->explainer;

	if (explainer->n_words + count > explainer->words_capacity)
	{
		uint32_t capacity = explainer->words_capacity * 2 + count + 1024;
		uint32_t *grown = NULL;

		/* Places are 32 bits: a forest beyond that is beyond any memory, too. */
		if (explainer->n_words < UINT32_MAX / 4)
			grown = pe_realloc(explainer->env, explainer->words, (size_t) capacity * sizeof(uint32_t));

		if (grown == NULL)
		{
			b->status = pe_fail_memory(b->err);
			return NULL;
		}
		explainer->words = grown;
		explainer->words_capacity = capacity;
	}
	explainer->n_words += count;
	return explainer->words + explainer->n_words - count;
}

static pe_branch *
add_branch(builder *b, size_t parts)
{
	pe_explainer *explainer = b->explainer;
	pe_branch *added;

	if (explainer->n_branches == explainer->branches_capacity)
	{
		uint32_t capacity = explainer->branches_capacity * 2 + 256;
		pe_branch *grown =
		    pe_realloc(explainer->env, explainer->branches, (size_t) capacity * sizeof(pe_branch));

		if (grown == NULL)
		{
			b->status = pe_fail_memory(b->err);
			return NULL;
		}
		explainer->branches = grown;
		explainer->branches_capacity = capacity;
	}
	added = &explainer->branches[explainer->n_branches];
	memset(added, 0, sizeof(*added));
	added->parts = pe_calloc(explainer->env, parts, sizeof(double));
	if (added->parts == NULL)
	{
		b->status = pe_fail_memory(b->err);
		return NULL;
	}
	explainer->n_branches++;
	if (explainer->n_branches % BRANCHES_A_POLL == 0 &&
	    pe_stopped(explainer->env, "explain", b->root, explainer->model->n_nodes))
		b->status = pe_fail(b->err, PE_CANCELLED, "cancelled");
	return added;
}

/* The steps of each feature of the path, as the first bits of a branch. */
static bool
add_path_bits(builder *b, const leaf_path *path)
{
	for (int j = 0; j < path->n_features; j++)
	{
		uint32_t *words = add_words(b, 1), first = b->explainer->n_words;

		if (words == NULL)
			return false;
		for (int i = 0; i < path->n_steps; i++)
			if (path->feature_of[i] == j)
			{
				words = add_words(b, 1);
				if (words == NULL)
					return false;
				*words = path->steps[i];
			}
		b->explainer->words[first - 1] = b->explainer->n_words - first;
	}
	return true;
}

/* b->leaf: what a leaf of value v gives each of its features, by the pattern of those met. */
static void
fill_leaf(builder *b, const leaf_path *path, double value)
{
	int d = path->n_features, n_points = (d + 1) / 2;
	const pe_point *points = pe_rule(b->explainer, d);

	for (unsigned pattern = 0; pattern < 1u << d; pattern++)
	{
		double *parts = b->leaf[pattern];
		double before[MAX_BITS + 1];

		for (int j = 0; j < d; j++)
			parts[j] = 0;
		for (int p = 0; p < n_points; p++)
		{
			double factors[MAX_BITS], after = points[p].weight;

			before[0] = 1;
			for (int j = 0; j < d; j++)
			{
				factors[j] = path->zero[j] * (1 - points[p].t) + (((pattern >> j) & 1) ? points[p].t : 0);
				before[j + 1] = before[j] * factors[j];
			}
			for (int j = d - 1; j >= 0; j--)
			{
				parts[j] += before[j] * after;
				after *= factors[j];
			}
		}
		for (int j = 0; j < d; j++)
			parts[j] *= (((pattern >> j) & 1) - path->zero[j]) * value;
	}
}

/* What leads to a table's node, and the table. */
typedef struct leaf_table
{
	pe_branch *branch;
	uint16_t features[MAX_BITS];
	int n_above;              /* steps to the node */
	int n_bits_above;         /* features of these */
	uint32_t tests[MAX_BITS]; /* below it: number of the node in the tree */
	int n_tests;
} leaf_table;

/* Adds a leaf to the table, for each pattern of it. */
static void
add_leaf(builder *b, const leaf_table *table, const leaf_path *path, double value)
{
	unsigned masks[MAX_BITS] = {0}, wanted[MAX_BITS] = {0};
	int d = path->n_features, bits = table->branch->n_bits;
	double *columns[MAX_BITS];

	fill_leaf(b, path, value);
	for (int j = 0; j < d; j++)
	{
		int column = 0;

		while (table->features[column] != path->features[j])
			column++;
		columns[j] = table->branch->parts + ((size_t) column << bits);
		if (j < table->n_bits_above)
			masks[j] = wanted[j] = 1u << j;
	}
	for (int i = table->n_above; i < path->n_steps; i++)
	{
		int j = path->feature_of[i], bit = table->n_bits_above;

		while (table->tests[bit - table->n_bits_above] != path->steps[i] >> 1)
			bit++;
		masks[j] |= 1u << bit;
		wanted[j] |= (path->steps[i] & 1) << bit;
	}
	for (unsigned pattern = 0; pattern < 1u << bits; pattern++)
	{
		unsigned own = 0;

		for (int j = 0; j < d; j++)
			own |= (unsigned) ((pattern & masks[j]) == wanted[j]) << j;
		for (int j = 0; j < d; j++)
			columns[j][pattern] += b->leaf[own][j];
	}
}

/* Lists the tests at and below the node, and their features. */
static void
list_tests(const pe_model *model, uint32_t root, uint32_t at, leaf_table *table, int *n_features)
{
	const pe_node *node = &model->nodes[at];
	int column = 0;

	if (node->left == 0)
		return;
	while (column < *n_features && table->features[column] != node->feature)
		column++;
	if (column == *n_features)
		table->features[(*n_features)++] = node->feature;
	table->tests[table->n_tests++] = at - root;
	list_tests(model, root, node->left, table, n_features);
	list_tests(model, root, node->left + 1, table, n_features);
}

static void
add_leaves(builder *b, const leaf_table *table, const leaf_path *before, uint32_t at)
{
	const pe_model *model = b->explainer->model;

	if (model->nodes[at].left == 0)
	{
		add_leaf(b, table, before, model->values[at]);
		return;
	}
	for (int side = 0; side < 2; side++)
	{
		leaf_path further;

		go(b, before, at, side == 0, &further);
		add_leaves(b, table, &further, model->nodes[at].left + side);
	}
}

/* One table for all leaves at and below the node. */
static void
make_table(builder *b, const leaf_path *before, uint32_t at)
{
	pe_explainer *explainer = b->explainer;
	leaf_table table = {.n_above = before->n_steps, .n_bits_above = before->n_features};
	int n_features = before->n_features, bits;
	uint32_t first = explainer->n_words;

	memcpy(table.features, before->features, before->n_features * sizeof(before->features[0]));
	list_tests(explainer->model, b->root, at, &table, &n_features);
	bits = table.n_bits_above + table.n_tests;
	table.branch = add_branch(b, (size_t) n_features << bits);
	if (b->status != PE_OK)
		return;
	b->table_budget -= ((size_t) n_features << bits) * sizeof(double);
	table.branch->table = true;
	table.branch->words = first;
	table.branch->n_bits = (uint8_t) bits;
	table.branch->n_features = (uint8_t) n_features;
	if (!add_path_bits(b, before))
		return;
	for (int i = 0; i < table.n_tests; i++)
	{
		uint32_t *words = add_words(b, 2);

		if (words == NULL)
			return;
		words[0] = 1;
		words[1] = PE_STEP(table.tests[i], true);
	}
	for (int j = 0; j < n_features; j++)
	{
		uint32_t *words = add_words(b, 1);

		if (words == NULL)
			return;
		*words = table.features[j];
	}
	add_leaves(b, &table, before, at);
}

/* A leaf that each row integrates for itself. */
static void
make_leaf(builder *b, const leaf_path *path, uint32_t at)
{
	pe_explainer *explainer = b->explainer;
	uint32_t first = explainer->n_words;
	size_t bytes = sizeof(pe_branch) + (path->n_steps + 2 * (size_t) path->n_features) * sizeof(uint32_t) +
	               path->n_features * sizeof(double);
	pe_branch *leaf;

	if (bytes > b->leaf_budget)
	{
		b->too_big = true;
		return;
	}
	b->leaf_budget -= bytes;
	leaf = add_branch(b, (size_t) path->n_features);
	if (b->status != PE_OK)
		return;
	leaf->words = first;
	leaf->n_bits = leaf->n_features = (uint8_t) path->n_features;
	leaf->value = explainer->model->values[at];
	memcpy(leaf->parts, path->zero, path->n_features * sizeof(double));
	if (!add_path_bits(b, path))
		return;
	for (int j = 0; j < path->n_features; j++)
	{
		uint32_t *words = add_words(b, 1);

		if (words == NULL)
			return;
		*words = path->features[j];
	}
}

static void
visit(builder *b, const leaf_path *before, uint32_t at)
{
	const pe_model *model = b->explainer->model;
	int bits = before->n_features;

	if (bits <= MAX_BITS)
		bits += count_tests(model, at, MAX_BITS - bits);
	if (bits <= MAX_BITS && ((size_t) bits << bits) * sizeof(double) <= b->table_budget)
		make_table(b, before, at);
	else if (model->nodes[at].left == 0)
		make_leaf(b, before, at);
	else
		for (int side = 0; side < 2 && b->status == PE_OK && !b->too_big; side++)
		{
			leaf_path further;

			go(b, before, at, side == 0, &further);
			visit(b, &further, model->nodes[at].left + side);
		}
}

static void
make_tree(builder *b, uint32_t tree)
{
	pe_explainer *explainer = b->explainer;
	const pe_model *model = explainer->model;
	leaf_path root = {.n_steps = 0, .n_features = 0};
	uint32_t n_words = explainer->n_words;

	explainer->firsts[tree] = explainer->n_branches;
	b->root = model->roots[tree];
	b->too_big = false;
	if (model->nodes[b->root].left != 0)
		visit(b, &root, b->root);
	if (b->too_big)
	{
		while (explainer->n_branches > explainer->firsts[tree])
			pe_free(explainer->env, explainer->branches[--explainer->n_branches].parts);
		explainer->n_words = n_words;
	}
	else if (model->roots[tree + 1] - b->root > explainer->most_nodes)
		explainer->most_nodes = model->roots[tree + 1] - b->root;
}

static pe_status
make_trees(pe_explainer *explainer, size_t max_bytes, pe_error *err)
{
	const pe_model *model = explainer->model;
	builder *b = pe_calloc(explainer->env, 1, sizeof(*b));
	pe_status status;

	if (b == NULL)
		return pe_fail_memory(err);
	b->explainer = explainer;
	b->table_budget = b->leaf_budget = max_bytes;
	b->err = err;
	for (uint32_t tree = 0; tree < model->n_trees && b->status == PE_OK; tree++)
		make_tree(b, tree);
	explainer->firsts[model->n_trees] = explainer->n_branches;
	status = b->status;
	pe_free(explainer->env, b);
	return status;
}

static pe_status
prepare(pe_explainer *explainer, size_t max_bytes, pe_error *err)
{
	const pe_model *model = explainer->model;

	explainer->firsts = pe_calloc(explainer->env, (size_t) model->n_trees + 1, sizeof(uint32_t));
	explainer->places = pe_alloc(explainer->env, (size_t) model->n_features * sizeof(int));
	if (explainer->firsts == NULL || explainer->places == NULL)
		return pe_fail_memory(err);
	for (int i = 0; i < model->n_features; i++)
		explainer->places[i] = -1;
	for (uint32_t i = 0; i < model->n_nodes; i++)
		if (model->nodes[i].left != 0)
			explainer->places[model->nodes[i].feature] = 0;
	for (int i = 0; i < model->n_features; i++)
		if (explainer->places[i] == 0)
			explainer->places[i] = explainer->n_places++;
	for (int byte = 0; byte < 256; byte++)
	{
		uint8_t bits[8];

		for (int i = 0; i < 8; i++)
			bits[i] = (uint8_t) ((byte >> i) & 1);
		memcpy(&explainer->spread[byte], bits, sizeof(bits));
	}
	for (int n = 1; n <= (model->max_depth + 1) / 2; n++)
		make_rule(n, explainer->points + n * (n - 1) / 2);
	return make_trees(explainer, max_bytes, err);
}

static pe_status
prepare_parts(pe_explainer *explainer, size_t max_bytes, pe_error *err)
{
	const pe_model *parts[2];
	int n = explainer->model->family->parts(explainer->model, parts);
	pe_status status = PE_OK;

	for (int i = 0; i < n && status == PE_OK; i++)
		status =
		    pe_explainer_create(explainer->env, parts[i], max_bytes / (size_t) n, &explainer->parts[i], err);
	return status;
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
	if (model->family->parts != NULL)
		status = prepare_parts(made, max_bytes, err);
	else if (model->algorithm == PE_ALGORITHM_BOOSTED_TREES)
		status = prepare(made, max_bytes, err);
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
	pe_explainer_free(explainer->parts[0]);
	pe_explainer_free(explainer->parts[1]);
	for (uint32_t i = 0; i < explainer->n_branches; i++)
		pe_free(explainer->env, explainer->branches[i].parts);
	pe_free(explainer->env, explainer->branches);
	pe_free(explainer->env, explainer->firsts);
	pe_free(explainer->env, explainer->words);
	pe_free(explainer->env, explainer->places);
	pe_free(explainer->env, explainer);
}
