/*
 * model_dump.c
 *		Prints a stored artifact of boosted trees as JSON: its features with their levels,
 *		and its trees as a model that XGBoost loads, for comparing predictions and reasons.
 *
 * usage: model_dump ARTIFACT
 *
 * A categorical value is its slot there: 1 .. n for the levels, n + 1 for all others.
 */
#include <float.h>
#include <stdio.h>
#include <stdlib.h>

#include "model/internal.h"

static void *
tool_alloc(void *ctx, size_t size)
{
	return malloc(size);
}

static void *
tool_realloc(void *ctx, void *ptr, size_t size)
{
	return realloc(ptr, size);
}

static void
tool_free(void *ctx, void *ptr)
{
	free(ptr);
}

static void
print_text(const char *text)
{
	putchar('"');
	for (; *text != '\0'; text++)
	{
		if (*text == '"' || *text == '\\')
			putchar('\\');
		if ((unsigned char) *text < ' ')
			printf("\\u%04x", *text);
		else
			putchar(*text);
	}
	putchar('"');
}

static void
print_features(const pe_model *model)
{
	printf("\"features\": [");
	for (int i = 0; i < model->n_features; i++)
	{
		const pe_feature *feature = &model->features[i];

		printf("%s{\"name\": ", i > 0 ? ", " : "");
		print_text(feature->name);
		if (feature->kind == PE_FEATURE_CATEGORICAL)
		{
			printf(", \"levels\": [");
			for (int level = 0; level < feature->n_levels; level++)
			{
				printf("%s", level > 0 ? ", " : "");
				print_text(feature->levels[level]);
			}
			printf("]");
		}
		printf("}");
	}
	printf("]");
}

static bool
in_set(const pe_model *model, const pe_node *node, int slot)
{
	return (model->sets[node->test.set].bits[slot >> 5] >> (slot & 31)) & 1;
}

/* What holds for each node of a tree, as a list. */
typedef double (*node_number)(const pe_model *model, uint32_t node, uint32_t root);

static double
left_child(const pe_model *model, uint32_t node, uint32_t root)
{
	return model->nodes[node].left != 0 ? (double) (model->nodes[node].left - root) : -1;
}

static double
right_child(const pe_model *model, uint32_t node, uint32_t root)
{
	return model->nodes[node].left != 0 ? (double) (model->nodes[node].left + 1 - root) : -1;
}

static double
parent(const pe_model *model, uint32_t node, uint32_t root)
{
	for (uint32_t i = root; i < node; i++)
		if (model->nodes[i].left != 0 && (model->nodes[i].left == node || model->nodes[i].left + 1 == node))
			return i - root;
	return INT32_MAX;
}

static double
feature_index(const pe_model *model, uint32_t node, uint32_t root)
{
	return model->nodes[node].left != 0 ? model->nodes[node].feature : 0;
}

/* There, what is below goes left; here, what is below or at it. */
static double
condition(const pe_model *model, uint32_t node, uint32_t root)
{
	const pe_node *at = &model->nodes[node];

	if (at->left == 0)
		return model->values[node];
	if (at->flags & PE_NODE_CATEGORICAL)
		return 0;
	/* JSON knows no infinity: a test that all values pass, missing ones apart. */
	return fmin(nextafterf(at->test.threshold, INFINITY), FLT_MAX);
}

static double
missing_left(const pe_model *model, uint32_t node, uint32_t root)
{
	const pe_node *at = &model->nodes[node];

	if (at->left == 0)
		return 0;
	return (at->flags & PE_NODE_CATEGORICAL) ? in_set(model, at, PE_SLOT_MISSING)
	                                         : (at->flags & PE_NODE_MISSING_LEFT) != 0;
}

static double
split_type(const pe_model *model, uint32_t node, uint32_t root)
{
	return model->nodes[node].left != 0 && (model->nodes[node].flags & PE_NODE_CATEGORICAL);
}

static double
value(const pe_model *model, uint32_t node, uint32_t root)
{
	return model->values[node];
}

static double
cover(const pe_model *model, uint32_t node, uint32_t root)
{
	return model->covers[node];
}

static double
zero(const pe_model *model, uint32_t node, uint32_t root)
{
	return 0;
}

/* XGBoost tells whole numbers from others by how they are written. */
static void
print_list(const pe_model *model, uint32_t tree, const char *name, bool whole, node_number number)
{
	uint32_t root = model->roots[tree];

	printf("\"%s\": [", name);
	for (uint32_t node = root; node < model->roots[tree + 1]; node++)
		printf(whole ? "%s%.0f" : "%s%.9e", node > root ? ", " : "", number(model, node, root));
	printf("], ");
}

/*
 * The slots of each categorical test that go right: there a set is what goes right. It must
 * not be empty, as where only missing values do: then it is a slot that no value has.
 */
static uint32_t
right_slots(const pe_model *model, const pe_node *node, int *slots)
{
	int last = model->features[node->feature].n_levels + 1;
	uint32_t n = 0;

	for (int slot = 1; slot <= last; slot++)
		if (!in_set(model, node, slot))
			slots[n++] = slot;
	if (n == 0)
		slots[n++] = last + 1;
	return n;
}

static void
print_categories(const pe_model *model, uint32_t tree)
{
	static const char *const names[] = {"categories", "categories_nodes", "categories_segments",
	                                    "categories_sizes"};
	uint32_t root = model->roots[tree];

	for (int list = 0; list < 4; list++)
	{
		const char *separator = "";
		uint32_t before = 0;

		printf("\"%s\": [", names[list]);
		for (uint32_t at = root; at < model->roots[tree + 1]; at++)
		{
			int slots[256];
			uint32_t n;

			if (split_type(model, at, root) == 0)
				continue;
			n = right_slots(model, &model->nodes[at], slots);
			for (uint32_t i = 0; list == 0 && i < n; i++, separator = ", ")
				printf("%s%d", separator, slots[i]);
			if (list > 0)
				printf("%s%u", separator, list == 1 ? at - root : list == 2 ? before : n);
			separator = ", ";
			before += n;
		}
		printf("], ");
	}
}

static void
print_tree(const pe_model *model, uint32_t tree)
{
	printf("%s{", tree > 0 ? ",\n" : "");
	print_categories(model, tree);
	print_list(model, tree, "base_weights", false, value);
	print_list(model, tree, "default_left", true, missing_left);
	print_list(model, tree, "left_children", true, left_child);
	print_list(model, tree, "right_children", true, right_child);
	print_list(model, tree, "parents", true, parent);
	print_list(model, tree, "loss_changes", false, zero);
	print_list(model, tree, "split_conditions", false, condition);
	print_list(model, tree, "split_indices", true, feature_index);
	print_list(model, tree, "split_type", true, split_type);
	print_list(model, tree, "sum_hessian", false, cover);
	printf("\"id\": %u, \"tree_param\": {\"num_deleted\": \"0\", \"num_feature\": \"%d\", \"num_nodes\": "
	       "\"%u\", "
	       "\"size_leaf_vector\": \"0\"}}",
	       tree, model->n_features, model->roots[tree + 1] - model->roots[tree]);
}

static void
print_trees(const pe_model *model)
{
	int n_classes = model->n_classes;

	printf("\"xgboost\": {\"version\": [1, 7, 4], \"learner\": {\"attributes\": {}, \"feature_names\": [], "
	       "\"feature_types\": [");
	for (int i = 0; i < model->n_features; i++)
		printf("%s\"%s\"", i > 0 ? ", " : "",
		       model->features[i].kind == PE_FEATURE_CATEGORICAL ? "c" : "float");
	printf("], \"gradient_booster\": {\"name\": \"gbtree\", \"model\": {\"gbtree_model_param\": "
	       "{\"num_parallel_tree\": \"1\", \"num_trees\": \"%u\", \"size_leaf_vector\": \"0\"}, "
	       "\"tree_info\": [",
	       model->n_trees);
	for (uint32_t tree = 0; tree < model->n_trees; tree++)
		printf("%s%u", tree > 0 ? ", " : "", n_classes > 0 ? tree % (uint32_t) n_classes : 0);
	printf("], \"trees\": [\n");
	for (uint32_t tree = 0; tree < model->n_trees; tree++)
		print_tree(model, tree);
	printf("]}}, \"learner_model_param\": {\"base_score\": \"0\", \"boost_from_average\": \"0\", "
	       "\"num_class\": \"%d\", \"num_feature\": \"%d\", \"num_target\": \"1\"}, ",
	       n_classes, model->n_features);
	if (n_classes > 0)
		printf("\"objective\": {\"name\": \"multi:softprob\", \"softmax_multiclass_param\": {\"num_class\": "
		       "\"%d\"}}}}",
		       n_classes);
	else
		printf("\"objective\": {\"name\": \"reg:squarederror\", \"reg_loss_param\": {\"scale_pos_weight\": "
		       "\"1\"}}}}");
}

static uint8_t *
read_file(const char *path, size_t *length)
{
	FILE *file = fopen(path, "rb");
	uint8_t *bytes = NULL;

	if (file == NULL)
		return NULL;
	*length = 0;
	for (size_t got = 1; got > 0; *length += got)
	{
		bytes = realloc(bytes, *length + 65536);
		got = fread(bytes + *length, 1, 65536, file);
	}
	fclose(file);
	return bytes;
}

int
main(int argc, char **argv)
{
	pe_env env = {.allocator = {tool_alloc, tool_realloc, tool_free, NULL}};
	pe_error err = {0};
	pe_model *model;
	size_t length;
	uint8_t *bytes = argc == 2 ? read_file(argv[1], &length) : NULL;

	if (bytes == NULL || pe_model_deserialize(&env, bytes, length, &model, &err) != PE_OK)
	{
		fprintf(stderr, "model_dump: %s\n", bytes == NULL ? "no artifact to read" : err.message);
		return 1;
	}
	if (pe_model_algorithm(model) != PE_ALGORITHM_BOOSTED_TREES)
	{
		fprintf(stderr, "model_dump: not boosted trees\n");
		return 1;
	}
	printf("{");
	print_features(model);
	printf(", \"bases\": [");
	for (int i = 0; i < pe_model_margin_count(model); i++)
		printf("%s%.17g", i > 0 ? ", " : "",
		       model->class_margins != NULL ? model->class_margins[i] : model->base_margin);
	printf("], \"classes\": [");
	for (int i = 0; i < model->n_classes; i++)
	{
		printf("%s", i > 0 ? ", " : "");
		print_text(model->classes[i]);
	}
	printf("], ");
	print_trees(model);
	printf("}\n");
	pe_model_free(model);
	free(bytes);
	return 0;
}
