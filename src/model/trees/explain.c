/*
 * explain.c
 *		Signed contributions of the features to one row's margin: exact Shapley values.
 *
 * Trees: the path-dependent TreeSHAP of Lundberg, Erion and Lee (2018, algorithm 2).
 * A feature that is not in the coalition sends the row down both branches in
 * proportion to the training rows that went there (covers). The walk keeps, for the
 * features on the path, the share of all coalition orders in which each subset size
 * reaches the node; a leaf then gives each feature on its path its part.
 */
#include "model/family.h"

typedef struct path_element
{
	int feature;   /* -1 for the root's element */
	double zero;   /* the share that passes when the feature is absent */
	double one;    /* and when it is present: 1 or 0 */
	double weight; /* of the coalitions of this size */
} path_element;

typedef struct tree_walk
{
	const pe_model *model;
	const double *values;
	double *contributions;
} tree_walk;

/* That of the larger part, and before it the contributions to the second one. */
static size_t
parts_scratch(const pe_model *model)
{
	const pe_model *parts[2];
	size_t most = 0;

	for (int i = model->family->parts(model, parts) - 1; i >= 0; i--)
	{
		size_t bytes = pe_model_explain_scratch(parts[i]);

		most = bytes > most ? bytes : most;
	}
	return most + ((size_t) model->n_features + 1) / 2 * 2 * sizeof(double);
}

size_t
pe_model_explain_scratch(const pe_model *model)
{
	size_t levels = (size_t) model->max_depth + 2;

	if (model->family->parts != NULL)
		return parts_scratch(model);
	if (model->algorithm != PE_ALGORITHM_BOOSTED_TREES)
		return 0;
	return levels * (levels + 1) / 2 * sizeof(path_element);
}

/* Add a feature to the path of the given length; all sizes' weights move on by one. */
static void
extend(path_element *path, int length, double zero, double one, int feature)
{
	path[length] = (path_element){feature, zero, one, length == 0 ? 1.0 : 0.0};
	for (int i = length - 1; i >= 0; i--)
	{
		path[i + 1].weight += one * path[i].weight * (i + 1) / (length + 1);
		path[i].weight = zero * path[i].weight * (length - i) / (length + 1);
	}
}

/* Take out the element at index of a path of which length is the last index. */
static void
unwind(path_element *path, int length, int index)
{
	double one = path[index].one, zero = path[index].zero;
	double next = path[length].weight;

	for (int i = length - 1; i >= 0; i--)
	{
		if (one != 0)
		{
			double before = path[i].weight;

			path[i].weight = next * (length + 1) / ((i + 1) * one);
			next = before - path[i].weight * zero * (length - i) / (length + 1);
		}
		else
			path[i].weight = path[i].weight * (length + 1) / (zero * (length - i));
	}
	for (int i = index; i < length; i++)
	{
		path[i].feature = path[i + 1].feature;
		path[i].zero = path[i + 1].zero;
		path[i].one = path[i + 1].one;
	}
}

/* The sum of the weights that unwind would leave. */
static double
unwound_sum(const path_element *path, int length, int index)
{
	double one = path[index].one, zero = path[index].zero;
	double next = path[length].weight, total = 0;

	for (int i = length - 1; i >= 0; i--)
	{
		if (one != 0)
		{
			double part = next * (length + 1) / ((i + 1) * one);

			total += part;
			next = path[i].weight - part * zero * (length - i) / (length + 1);
		}
		else
			total += path[i].weight * (length + 1) / (zero * (length - i));
	}
	return total;
}

/* Depth is bounded by PE_MAX_TREE_DEPTH, checked when the model was made or read. */
static void
walk(const tree_walk *ctx, uint32_t at, const path_element *parent, int length, double zero, double one,
     int feature)
{
	path_element *path = (path_element *) parent + length; /* a copy of its own for each level */
	const pe_node *node = &ctx->model->nodes[at];
	double incoming_zero = 1, incoming_one = 1;
	double cover = ctx->model->covers[at];
	uint32_t hot, cold;

	memcpy(path, parent, length * sizeof(*path));
	extend(path, length, zero, one, feature);
	if (node->left == 0)
	{
		for (int i = 1; i <= length; i++)
			ctx->contributions[path[i].feature] +=
			    unwound_sum(path, length, i) * (path[i].one - path[i].zero) * ctx->model->values[at];
		return;
	}
	hot = node->left + !pe_goes_left(ctx->model, node, ctx->values);
	cold = node->left + (hot == node->left);
	for (int i = 1; i <= length; i++)
		if (path[i].feature == node->feature)
		{
			incoming_zero = path[i].zero;
			incoming_one = path[i].one;
			unwind(path, length, i);
			length--;
			break;
		}
	walk(ctx, hot, path, length + 1, incoming_zero * ctx->model->covers[hot] / cover, incoming_one,
	     node->feature);
	walk(ctx, cold, path, length + 1, incoming_zero * ctx->model->covers[cold] / cover, 0, node->feature);
}

static void
explain_linear(const pe_model *model, const double *values, double *contributions, double *base)
{
	*base = model->intercept;
	for (int i = 0; i < model->n_features; i++)
	{
		const pe_feature *feature = &model->features[i];
		double term, mean;

		if (!feature->used)
			continue;
		if (feature->kind == PE_FEATURE_CATEGORICAL)
		{
			term = feature->terms[pe_feature_slot(feature, values[i])];
			mean = feature->mean;
		}
		else
		{
			term = feature->slope * (isnan(values[i]) ? feature->fill : values[i]);
			mean = feature->slope * feature->mean;
		}
		contributions[i] = term - mean;
		*base += mean;
	}
}

void
pe_explain_tree(const pe_model *model, uint32_t tree, const double *values, void *scratch,
                double *contributions)
{
	tree_walk ctx = {model, values, contributions};

	if (model->nodes[model->roots[tree]].left != 0)
		walk(&ctx, model->roots[tree], scratch, 0, 1, 1, -1);
}

int
pe_largest_margin(const pe_model *model, const double *values, double *margin)
{
	double margins[PE_MAX_CLASSES];
	int largest = 0;

	pe_model_margins(model, values, margins);
	for (int i = 1; i < model->n_classes; i++)
		if (margins[i] > margins[largest])
			largest = i;
	*margin = margins[largest];
	return largest;
}

/* Of several classes the one that is predicted: why its margin is what it is. */
static void
explain_class(const pe_model *model, const double *values, void *scratch, double *contributions, double *base)
{
	int class = pe_largest_margin(model, values, base);

	for (uint32_t tree = (uint32_t) class; tree < model->n_trees; tree += (uint32_t) model->n_classes)
		pe_explain_tree(model, tree, values, scratch, contributions);
	/* What is left is the mean margin of the class by cover: contributions are what they add to it. */
	for (int i = 0; i < model->n_features; i++)
		*base -= contributions[i];
}

/* Shapley values are linear: those of a difference are the difference of those. */
static void
explain_parts(const pe_model *model, const double *values, void *scratch, double *contributions, double *base)
{
	const pe_model *parts[2];
	int n = model->family->parts(model, parts);
	double *of_second = scratch, base_of_second;

	scratch = of_second + (model->n_features + 1) / 2 * 2;
	pe_model_explain(parts[0], values, scratch, contributions, base);
	if (n < 2)
		return;
	pe_model_explain(parts[1], values, scratch, of_second, &base_of_second);
	*base -= base_of_second;
	for (int i = 0; i < model->n_features; i++)
		contributions[i] -= of_second[i];
}

void
pe_model_explain(const pe_model *model, const double *values, void *scratch, double *contributions,
                 double *base)
{
	if (model->family->parts != NULL)
	{
		explain_parts(model, values, scratch, contributions, base);
		return;
	}
	for (int i = 0; i < model->n_features; i++)
		contributions[i] = 0;
	if (model->algorithm != PE_ALGORITHM_BOOSTED_TREES)
	{
		if (model->n_classes > 0)
			pe_explain_multinomial(model, values, contributions, base);
		else
			explain_linear(model, values, contributions, base);
		return;
	}
	*base = model->expected_margin;
	if (model->n_classes > 0)
	{
		explain_class(model, values, scratch, contributions, base);
		return;
	}
	for (uint32_t tree = 0; tree < model->n_trees; tree++)
		pe_explain_tree(model, tree, values, scratch, contributions);
}

void
pe_model_finish_trees(pe_model *model)
{
	model->expected_margin = model->base_margin;
	model->max_depth = 0;
	for (uint32_t tree = 0; tree < model->n_trees; tree++)
	{
		uint32_t stack[PE_MAX_TREE_DEPTH + 2];
		int depths[PE_MAX_TREE_DEPTH + 2];
		double shares[PE_MAX_TREE_DEPTH + 2];
		int top = 0;

		stack[0] = model->roots[tree];
		depths[0] = 0;
		shares[0] = 1;
		/* Each turn takes one from the stack and adds at most two of the next depth. */
		while (top >= 0)
		{
			uint32_t at = stack[top];
			int depth = depths[top];
			double share = shares[top--];
			uint32_t left = model->nodes[at].left;

			if (left == 0)
			{
				model->expected_margin += share * model->values[at];
				if (depth > model->max_depth)
					model->max_depth = depth;
				continue;
			}
			for (uint32_t child = left; child <= left + 1; child++)
			{
				stack[++top] = child;
				depths[top] = depth + 1;
				shares[top] = share * model->covers[child] / model->covers[at];
			}
		}
	}
}
