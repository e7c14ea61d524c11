/*
 * trees_family.c
 *		The trees as a family: their margins, and their part of an artifact.
 */
#include "model/family.h"

static void
write_trees(pe_writer *w, const pe_model *model)
{
	pe_write_double(w, model->base_margin);
	pe_write_doubles(w, model->class_margins, model->n_classes);
	pe_write_int(w, model->n_trees, 4);
	pe_write_int(w, model->n_nodes, 4);
	pe_write_int(w, model->n_sets, 4);
	for (uint32_t i = 1; i <= model->n_trees; i++)
		pe_write_int(w, model->roots[i], 4);
	for (uint32_t i = 0; i < model->n_nodes; i++)
	{
		const pe_node *node = &model->nodes[i];

		pe_write_int(w, node->test.set, 4); /* or the threshold's bits */
		pe_write_int(w, node->left, 4);
		pe_write_int(w, node->feature, 2);
		pe_write_int(w, node->flags, 2);
		pe_write_double(w, model->values[i]);
		pe_write_double(w, model->covers[i]);
	}
	for (uint32_t i = 0; i < model->n_sets; i++)
		for (int word = 0; word < 8; word++)
			pe_write_int(w, model->sets[i].bits[word], 4);
}

static void
read_node(pe_reader *r, pe_model *model, uint32_t at)
{
	pe_node *node = &model->nodes[at];

	node->test.set = (uint32_t) pe_read_int(r, 4);
	node->left = (uint32_t) pe_read_int(r, 4);
	node->feature = (uint16_t) pe_read_int(r, 2);
	node->flags = (uint16_t) pe_read_int(r, 2);
	model->values[at] = pe_read_finite(r, "a leaf's value is not finite");
	model->covers[at] = pe_read_finite(r, "a node's rows are not finite");
	if (!(model->covers[at] >= 1))
		pe_reader_fail(r, "a node has no rows");
}

/*
 * The nodes begin .. end - 1 are one tree: each but the first is the child of exactly one
 * node before it, no path is too long, and tests can be evaluated. Children come in pairs
 * in the order of their parents' numbers or not, so parents are counted in depths.
 */
static void
check_tree(pe_reader *r, const pe_model *model, uint32_t begin, uint32_t end, uint8_t *depths)
{
	uint32_t children = 0;

	if (begin >= end)
		pe_reader_fail(r, "a tree has no nodes");
	memset(depths + begin, 0xff, end - begin);
	depths[begin] = 0;
	for (uint32_t i = begin; i < end && !pe_reader_bad(r); i++)
	{
		const pe_node *node = &model->nodes[i];
		const pe_feature *feature;

		if (depths[i] == 0xff)
			pe_reader_fail(r, "a node has no parent before it");
		else if (node->left == 0)
			continue;
		else if (node->left <= i || node->left >= end - 1 || depths[node->left] != 0xff ||
		         depths[node->left + 1] != 0xff)
			pe_reader_fail(r, "a node's children are not its own");
		else if (depths[i] >= PE_MAX_TREE_DEPTH || node->feature >= model->n_features || node->flags > 3)
			pe_reader_fail(r, "a node is too deep, or tests nothing that there is");
		if (pe_reader_bad(r))
			return;
		feature = &model->features[node->feature];
		if (((node->flags & PE_NODE_CATEGORICAL) != 0) != (feature->kind == PE_FEATURE_CATEGORICAL))
			pe_reader_fail(r, "a node's test is not for its feature's kind");
		else if ((node->flags & PE_NODE_CATEGORICAL) ? node->test.set >= model->n_sets
		                                             : isnan(node->test.threshold))
			pe_reader_fail(r, "a node's test is out of range");
		depths[node->left] = depths[node->left + 1] = (uint8_t) (depths[i] + 1);
		children += 2;
	}
	if (!pe_reader_bad(r) && children + 1 != end - begin)
		pe_reader_fail(r, "a tree has loose nodes");
}

static void
read_trees(pe_reader *r, pe_model *model)
{
	uint8_t *depths;
	uint32_t n_trees, n_nodes, n_sets;

	model->base_margin = pe_read_finite(r, "the base is not finite");
	if (model->n_classes > 0)
		model->class_margins = pe_read_doubles(r, (size_t) model->n_classes, "the base is not finite");
	n_trees = pe_read_count(r, 4, 1000000);
	n_nodes = pe_read_count(r, 28, UINT32_MAX / 2);
	n_sets = pe_read_count(r, 32, UINT32_MAX / 2);
	model->roots = pe_read_array(r, (size_t) n_trees + 1, sizeof(uint32_t));
	model->nodes = pe_read_array(r, n_nodes, sizeof(pe_node));
	model->values = pe_read_array(r, n_nodes, sizeof(double));
	model->covers = pe_read_array(r, n_nodes, sizeof(double));
	model->sets = pe_read_array(r, n_sets, sizeof(pe_level_set));
	depths = pe_read_array(r, n_nodes, 1);
	if (!pe_reader_bad(r))
	{
		model->n_trees = n_trees;
		model->n_nodes = n_nodes;
		model->n_sets = n_sets;
	}
	for (uint32_t i = 1; i <= n_trees && !pe_reader_bad(r); i++)
	{
		model->roots[i] = (uint32_t) pe_read_int(r, 4);
		if (model->roots[i] <= model->roots[i - 1] || model->roots[i] > n_nodes)
			pe_reader_fail(r, "the trees are out of order");
	}
	if (!pe_reader_bad(r) && model->n_classes > 0 && n_trees % (uint32_t) model->n_classes != 0)
		pe_reader_fail(r, "its classes have not as many trees each");
	if (!pe_reader_bad(r) && model->roots[n_trees] != n_nodes)
		pe_reader_fail(r, "nodes belong to no tree");
	for (uint32_t i = 0; i < n_nodes && !pe_reader_bad(r); i++)
		read_node(r, model, i);
	for (uint32_t i = 0; i < n_sets && !pe_reader_bad(r); i++)
		for (int word = 0; word < 8; word++)
			model->sets[i].bits[word] = (uint32_t) pe_read_int(r, 4);
	for (uint32_t tree = 0; tree < n_trees && !pe_reader_bad(r); tree++)
		check_tree(r, model, model->roots[tree], model->roots[tree + 1], depths);
	pe_free(r->env, depths);
	if (!pe_reader_bad(r))
		pe_model_finish_trees(model);
}

static void
release_trees(pe_model *model)
{
	pe_free(&model->env, model->roots);
	pe_free(&model->env, model->nodes);
	pe_free(&model->env, model->values);
	pe_free(&model->env, model->covers);
	pe_free(&model->env, model->sets);
	pe_free(&model->env, model->class_margins);
}

static size_t
trees_bytes(const pe_model *model)
{
	return (size_t) model->n_nodes * (sizeof(pe_node) + 2 * sizeof(double)) +
	       (size_t) model->n_sets * sizeof(pe_level_set) + ((size_t) model->n_trees + 1) * sizeof(uint32_t);
}

#define TOGETHER 8 /* trees that a row walks through at once: memory answers one while another is asked */

/* The node after this one on the row's way; a leaf stays. */
static inline uint32_t
next_node(const pe_model *model, uint32_t at, const double *values)
{
	const pe_node *node = &model->nodes[at];
	uint32_t inside = node->left != 0;
	float value;
	uint32_t left;

	if (node->flags & inside & PE_NODE_CATEGORICAL)
		return node->left + !pe_goes_left(model, node, values);
	/* As pe_goes_left, without a branch; a leaf's feature means nothing. */
	value = (float) values[inside ? node->feature : 0];
	left = (uint32_t) (value <= node->test.threshold) |
	       ((uint32_t) (value != value) & (uint32_t) (node->flags / PE_NODE_MISSING_LEFT));
	return inside ? node->left + !left : at;
}

/* The leaves of count trees, at most TOGETHER. */
static void
find_leaves(const pe_model *model, uint32_t first, uint32_t count, const double *values, uint32_t *leaves)
{
	uint32_t inside;

	for (uint32_t i = 0; i < count; i++)
		leaves[i] = model->roots[first + i];
	do
	{
		inside = 0;
		for (uint32_t i = 0; i < count; i++)
		{
			leaves[i] = next_node(model, leaves[i], values);
			inside |= model->nodes[leaves[i]].left;
		}
	} while (inside != 0);
}

static void
trees_margins(const pe_model *model, const double *values, double *margins)
{
	uint32_t leaves[TOGETHER], count;
	int n = pe_model_margin_count(model);

	for (int i = 0; i < n; i++)
		margins[i] = model->class_margins != NULL ? model->class_margins[i] : model->base_margin;
	for (uint32_t tree = 0, class = 0; tree < model->n_trees; tree += count)
	{
		count = model->n_trees - tree < TOGETHER ? model->n_trees - tree : TOGETHER;
		find_leaves(model, tree, count, values, leaves);
		for (uint32_t i = 0; i < count; i++)
		{
			margins[class] += model->values[leaves[i]];
			if (++class == (uint32_t) n)
				class = 0;
		}
	}
}

const pe_family pe_trees_family = {
    .explains = true,
    .margins = trees_margins,
    .write = write_trees,
    .read = read_trees,
    .release = release_trees,
    .bytes = trees_bytes,
};
