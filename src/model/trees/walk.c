/*
 * walk.c
 *		Binned rows that no tree was grown on find their leaves: those held out, those kept
 *		for early stopping, those that a tree did not draw.
 *
 * A split becomes a table that says for each code of its group whether it goes right, so
 * that a step is two look-ups without a branch, and leaves lead to themselves, so that
 * all rows take as many steps as the tree is deep.
 */
#include "model/trees/trees.h"

#define CODES        256
#define MOST_NODES   4096 /* loaded at once: a megabyte of tables */
#define ROWS_A_TABLE 16   /* that a table must serve to be worth making */
#define MOST_LEVELS  16   /* deeper trees are walked node by node, since most paths end before */

typedef struct step
{
	uint32_t left;
	uint32_t group;
} step;

struct pe_walker
{
	const pe_env *env;
	const pe_forest *forest;
	const pe_bins *bins;
	uint32_t n_trees; /* loaded, from first on */
	uint32_t first;
	int *levels; /* by loaded tree; 0: has no tables */
	step *steps; /* by node from the first tree's root on */
	uint8_t *rights;
};

static bool
goes_left(const pe_forest *forest, const pe_node *node, uint32_t at, uint8_t bin)
{
	if (node->flags & PE_NODE_CATEGORICAL)
		return (forest->model->sets[node->test.set].bits[bin >> 5] >> (bin & 31)) & 1;
	return bin == 0 ? (node->flags & PE_NODE_MISSING_LEFT) != 0 : bin <= forest->bins[at];
}

/* Node by node. */
static uint32_t
walk(const pe_forest *forest, const pe_bins *bins, uint32_t tree, const uint8_t *codes)
{
	const pe_node *nodes = forest->model->nodes;
	uint32_t at = forest->model->roots[tree];

	while (nodes[at].left != 0)
	{
		uint8_t bin = pe_bins_at(bins, codes, bins->columns[nodes[at].feature]);

		at = nodes[at].left + !goes_left(forest, &nodes[at], at, bin);
	}
	return at;
}

/* The tables of one tree; returns its depth. Parents come before their children. */
static int
load_tree(pe_walker *walker, uint32_t tree, int *depths)
{
	const pe_forest *forest = walker->forest;
	const pe_model *model = forest->model;
	uint32_t base = model->roots[walker->first], begin = model->roots[tree];
	int deepest = 0;

	depths[0] = 0;
	for (uint32_t at = begin; at < model->roots[tree + 1]; at++)
	{
		const pe_node *node = &model->nodes[at];
		uint8_t *rights = walker->rights + (size_t) (at - base) * CODES;
		const uint8_t *decode;
		int column;

		if (node->left == 0)
		{
			walker->steps[at - base] = (step){at - base, 0};
			memset(rights, 0, CODES);
			continue;
		}
		column = walker->bins->columns[node->feature];
		decode = walker->bins->decode + (size_t) column * CODES;
		walker->steps[at - base] = (step){node->left - base, (uint32_t) walker->bins->groups[column]};
		for (int code = 0; code < CODES; code++)
			rights[code] = !goes_left(forest, node, at, decode[code]);
		depths[node->left - begin] = depths[node->left + 1 - begin] = depths[at - begin] + 1;
		deepest = depths[at - begin] + 1 > deepest ? depths[at - begin] + 1 : deepest;
	}
	return deepest;
}

uint32_t
pe_walker_load(pe_walker *walker, uint32_t first, uint32_t n_rows)
{
	const pe_model *model = walker->forest->model;
	int depths[MOST_NODES];

	walker->first = first;
	for (walker->n_trees = 0; first + walker->n_trees < model->n_trees; walker->n_trees++)
	{
		uint32_t tree = first + walker->n_trees;

		if (model->roots[tree + 1] - model->roots[first] > MOST_NODES ||
		    (model->roots[tree + 1] - model->roots[tree]) * ROWS_A_TABLE > n_rows)
			break;
		walker->levels[walker->n_trees] = load_tree(walker, tree, depths);
	}
	/* One tree that is too large for tables, or for so few rows, is walked all the same. */
	if (walker->n_trees == 0 && first < model->n_trees)
	{
		walker->n_trees = 1;
		walker->levels[0] = MOST_LEVELS + 1;
	}
	return walker->n_trees;
}

void
pe_walker_add(const pe_walker *walker, uint32_t tree, const uint32_t *rows, uint32_t n_rows, double *margins,
              size_t stride, bool by_row)
{
	const pe_model *model = walker->forest->model;
	const pe_bins *bins = walker->bins;
	const step *steps = walker->steps;
	const uint8_t *rights = walker->rights;
	uint32_t base = model->roots[walker->first], root = model->roots[tree] - base;
	int levels = walker->levels[tree - walker->first];

	for (uint32_t i = 0; i < n_rows; i++)
	{
		const uint8_t *codes = bins->matrix + (size_t) rows[i] * bins->stride;
		uint32_t at = root;

		if (levels > MOST_LEVELS)
			at = walk(walker->forest, bins, tree, codes) - base;
		else
			for (int level = 0; level < levels; level++)
				at = steps[at].left + rights[(size_t) at * CODES + codes[steps[at].group]];
		margins[(by_row ? (size_t) rows[i] : i) * stride] += model->values[base + at];
	}
}

pe_walker *
pe_walker_create(const pe_env *env, const pe_forest *forest, const pe_bins *bins)
{
	pe_walker *walker = pe_calloc(env, 1, sizeof(*walker));

	if (walker == NULL)
		return NULL;
	walker->env = env;
	walker->forest = forest;
	walker->bins = bins;
	walker->levels = pe_alloc(env, MOST_NODES * sizeof(*walker->levels));
	walker->steps = pe_alloc(env, MOST_NODES * sizeof(*walker->steps));
	walker->rights = pe_alloc(env, (size_t) MOST_NODES * CODES);
	if (walker->levels == NULL || walker->steps == NULL || walker->rights == NULL)
	{
		pe_walker_free(walker);
		return NULL;
	}
	return walker;
}

void
pe_walker_free(pe_walker *walker)
{
	if (walker == NULL)
		return;
	pe_free(walker->env, walker->levels);
	pe_free(walker->env, walker->steps);
	pe_free(walker->env, walker->rights);
	pe_free(walker->env, walker);
}
