/*
 * Contributions against Shapley's definition over all coalitions, on small models read
 * from their own structures.
 */
#include "model/internal.h"
#include "model_data.h"

static pe_env env;
static tap_memory memory;
static pe_error err;

/* What a tree says when only the features of the coalition are known. */
static double
expected(const pe_model *model, uint32_t at, const double *values, unsigned coalition)
{
	const pe_node *node = &model->nodes[at];
	double value = values[node->feature];
	bool left;

	if (node->left == 0)
		return model->values[at];
	if (!((coalition >> node->feature) & 1))
		return (model->covers[node->left] * expected(model, node->left, values, coalition) +
		        model->covers[node->left + 1] * expected(model, node->left + 1, values, coalition)) /
		       model->covers[at];
	if (node->flags & PE_NODE_CATEGORICAL)
	{
		int slot = pe_feature_slot(&model->features[node->feature], value);

		left = (model->sets[node->test.set].bits[slot / 32] >> (slot % 32)) & 1;
	}
	else
		left =
		    isnan(value) ? (node->flags & PE_NODE_MISSING_LEFT) != 0 : (float) value <= node->test.threshold;
	return expected(model, node->left + !left, values, coalition);
}

static double
game(const pe_model *model, const double *values, unsigned coalition)
{
	double sum = model->base_margin;

	for (uint32_t tree = 0; tree < model->n_trees; tree++)
		sum += expected(model, model->roots[tree], values, coalition);
	return sum;
}

static double
factorial(int n)
{
	return n <= 1 ? 1 : n * factorial(n - 1);
}

static void
compare(pe_task task, const char *first, const char *second, size_t tables)
{
	pe_explainer *explainer;
	pe_evaluation e;
	pe_model *model;
	double values[DATA_FEATURES], contributions[DATA_FEATURES], base, worst = 0, worst_sum = 0;
	uint64_t state = 11;
	void *scratch;

	data_train(&env, PE_ALGORITHM_BOOSTED_TREES, task, 2000, false, SETTINGS("trees=8", first, second),
	           &model, &e, &err);
	if (!OK(model != NULL, "%s %s", first, second))
		return;
	scratch = malloc(pe_model_explain_scratch(model));
	pe_explainer_create(&env, model, tables, &explainer, &err);
	for (int round = 0; round < 30; round++)
	{
		double sum = 0;

		data_row(model, &state, values);
		if (round % 2 == 0)
			pe_model_explain(model, values, scratch, contributions, &base);
		else
			IS_INT(pe_explainer_explain(explainer, values, DATA_FEATURES, 1, 1, contributions, &base, &err),
			       PE_OK, "explained by tables");
		for (int f = 0; f < DATA_FEATURES; f++)
		{
			double shapley = 0;

			for (unsigned s = 0; s < 1u << DATA_FEATURES; s++)
				if (!((s >> f) & 1))
				{
					int size = __builtin_popcount(s);

					shapley += factorial(size) * factorial(DATA_FEATURES - size - 1) /
					           factorial(DATA_FEATURES) *
					           (game(model, values, s | 1u << f) - game(model, values, s));
				}
			worst = fmax(worst, fabs(shapley - contributions[f]));
			sum += contributions[f];
		}
		worst_sum = fmax(worst_sum, fabs(sum + base - pe_model_margin(model, values)));
		worst = fmax(worst, fabs(base - game(model, values, 0)));
	}
	OK(worst < 1e-9, "Shapley values over all coalitions (%g)", worst);
	OK(worst_sum < 1e-9, "sum to the margin (%g)", worst_sum);
	pe_explainer_free(explainer);
	free(scratch);
	pe_model_free(model);
}

#define MANY 300

/* The tables say what the walk says, for any number of threads and any share of the trees that fits. */
static void
compare_explainer(pe_task task, const char *first, const char *second, size_t max_bytes)
{
	pe_evaluation e;
	pe_model *model;
	pe_explainer *explainer;
	double *values = malloc(MANY * DATA_FEATURES * sizeof(double));
	double *one = malloc(MANY * DATA_FEATURES * sizeof(double));
	double *three = malloc(MANY * DATA_FEATURES * sizeof(double));
	double contributions[DATA_FEATURES], base, walked_base, worst = 0, worst_sum = 0;
	uint64_t state = 5;
	void *scratch;

	data_train(&env, PE_ALGORITHM_BOOSTED_TREES, task, 2000, false, SETTINGS("trees=12", first, second),
	           &model, &e, &err);
	scratch = malloc(pe_model_explain_scratch(model));
	for (int row = 0; row < MANY; row++)
		data_row(model, &state, values + row * DATA_FEATURES);
	IS_INT(pe_explainer_create(&env, model, max_bytes, &explainer, &err), PE_OK, "explainer: %s %s", first,
	       second);
	IS_INT(pe_explainer_explain(explainer, values, DATA_FEATURES, MANY, 1, one, &base, &err), PE_OK,
	       "one thread");
	IS_INT(pe_explainer_explain(explainer, values, DATA_FEATURES, MANY, 3, three, &base, &err), PE_OK,
	       "three threads");
	OK(memcmp(one, three, MANY * DATA_FEATURES * sizeof(double)) == 0, "give the same bits");
	for (int row = 0; row < MANY; row++)
	{
		double sum = base;

		pe_model_explain(model, values + row * DATA_FEATURES, scratch, contributions, &walked_base);
		for (int f = 0; f < DATA_FEATURES; f++)
		{
			worst = fmax(worst, fabs(contributions[f] - one[row * DATA_FEATURES + f]));
			sum += one[row * DATA_FEATURES + f];
		}
		worst_sum = fmax(worst_sum, fabs(sum - pe_model_margin(model, values + row * DATA_FEATURES)));
	}
	OK(base == walked_base, "the same base");
	OK(worst < 1e-11, "the same contributions as the walk (%g)", worst);
	OK(worst_sum < 1e-9, "that sum to the margin (%g)", worst_sum);
	pe_explainer_free(explainer);
	free(scratch);
	free(values);
	free(one);
	free(three);
	pe_model_free(model);
}

#define CLASSES 3

/* A model of three classes from one with that many times more trees. */
static void
make_classes(pe_model *model)
{
	model->task = PE_TASK_AFFINITY;
	model->objective = PE_OBJECTIVE_MULTICLASS;
	model->calibration = PE_CALIBRATION_NONE;
	model->n_classes = CLASSES;
	model->classes = pe_calloc(&model->env, CLASSES, sizeof(char *));
	model->class_margins = pe_calloc(&model->env, CLASSES, sizeof(double));
	for (int i = 0; i < CLASSES; i++)
	{
		model->classes[i] = pe_strndup(&model->env, "abc" + i, 1);
		model->class_margins[i] = 0.1 * i;
	}
}

/* Probabilities of a block, and its largest, are those of single rows. */
static void
compare_classes(const pe_model *model, const double *values)
{
	pe_predictor *predictor;
	double outputs[MANY][CLASSES], predictions[MANY], row[CLASSES];
	pe_prediction_block block = {.values = values,
	                             .stride = DATA_FEATURES,
	                             .rows = MANY,
	                             .predictions = predictions,
	                             .outputs = outputs[0]};
	int different = 0;

	pe_predictor_create(&env, model, &predictor, &err);
	pe_predictor_start(predictor, 2, &err);
	pe_predictor_begin(predictor, &block);
	IS_INT(pe_predictor_finish(predictor, &err), PE_OK, "predicted");
	for (int i = 0; i < MANY; i++)
	{
		pe_model_outputs(model, values + i * DATA_FEATURES, row);
		different += memcmp(row, outputs[i], sizeof(row)) != 0;
		different += predictions[i] != pe_model_predict(model, values + i * DATA_FEATURES);
		different += predictions[i] != fmax(row[0], fmax(row[1], row[2]));
	}
	IS_INT(different, 0, "the probabilities of classes are those of single rows");
	pe_predictor_free(predictor);
}

/* Several classes: why the margin of the row's largest is what it is. */
static void
explain_classes(void)
{
	pe_evaluation e;
	pe_model *model;
	pe_explainer *explainer;
	double *values = malloc(MANY * DATA_FEATURES * sizeof(double));
	double *many = malloc(MANY * DATA_FEATURES * sizeof(double));
	double contributions[DATA_FEATURES], base, none, bases[CLASSES] = {0}, worst = 0, worst_base = 0;
	int met[CLASSES] = {0};
	uint64_t state = 5;
	void *scratch;

	data_train(&env, PE_ALGORITHM_BOOSTED_TREES, PE_TASK_VALUE, 2000, false, SETTINGS("trees=12"), &model, &e,
	           &err);
	make_classes(model);
	scratch = malloc(pe_model_explain_scratch(model));
	for (int row = 0; row < MANY; row++)
		data_row(model, &state, values + row * DATA_FEATURES);
	compare_classes(model, values);
	for (size_t tables = 0; tables <= 64 << 20; tables += 64 << 20)
	{
		IS_INT(pe_explainer_create(&env, model, tables, &explainer, &err), PE_OK, "explainer of classes");
		IS_INT(pe_explainer_explain(explainer, values, DATA_FEATURES, MANY, 2, many, &none, &err), PE_OK,
		       "two threads");
		for (int row = 0; row < MANY; row++)
		{
			double margin, sum = 0;
			int class = pe_largest_margin(model, values + row * DATA_FEATURES, &margin);

			pe_model_explain(model, values + row * DATA_FEATURES, scratch, contributions, &base);
			bases[class] = met[class]++ == 0 ? base : bases[class];
			worst_base = fmax(worst_base, fabs(base - bases[class]));
			for (int f = 0; f < DATA_FEATURES; f++)
			{
				worst = fmax(worst, fabs(contributions[f] - many[row * DATA_FEATURES + f]));
				sum += contributions[f];
			}
			worst = fmax(worst, fabs(base + sum - margin));
			worst = fmax(worst, fabs(margin - pe_model_margin(model, values + row * DATA_FEATURES)));
		}
		pe_explainer_free(explainer);
	}
	OK(met[0] > 0 && met[1] > 0 && met[2] > 0, "each class is met");
	OK(worst_base < 1e-9, "one base for each class (%g)", worst_base);
	OK(worst < 1e-9, "the walk and the tables agree, and sum to the largest margin (%g)", worst);
	free(scratch);
	free(values);
	free(many);
	pe_model_free(model);
}

#define WIDE 14

/* Paths of more features than a table has bits, and many tiles of rows. */
static void
compare_wide(const char *shape, size_t max_bytes)
{
	pe_feature_spec specs[WIDE];
	char names[WIDE][8];
	pe_options options;
	pe_dataset *dataset;
	pe_evaluation e;
	pe_model *model;
	pe_explainer *explainer;
	double *values = malloc(MANY * WIDE * sizeof(double)), *many = malloc(MANY * WIDE * sizeof(double));
	double one[WIDE], base, walked_base, worst = 0, worst_sum = 0;
	uint64_t state = 77;
	void *scratch;

	for (int i = 0; i < WIDE; i++)
	{
		snprintf(names[i], sizeof(names[i]), "x%d", i);
		specs[i] = (pe_feature_spec){names[i], "float8", PE_FEATURE_NUMERIC};
	}
	pe_options_init(&options, PE_ALGORITHM_BOOSTED_TREES);
	pe_options_set(&options, "trees", "4", &err);
	pe_options_set(&options, "min_child_weight", "1", &err);
	pe_options_set(&options, shape[4] == 'd' ? "max_depth" : "max_leaves", strchr(shape, '=') + 1, &err);
	pe_dataset_create(&env, PE_ALGORITHM_BOOSTED_TREES, specs, WIDE, false, &dataset, &err);
	for (int row = 0; row < 3000; row++)
	{
		double x[WIDE], target = 0;

		for (int i = 0; i < WIDE; i++)
		{
			x[i] = data_uniform(&state) < 0.05 ? NAN : data_uniform(&state);
			target += isnan(x[i]) ? 0.3 : (i + 1) * (x[i] > 0.5) * (x[(i + 1) % (i + 1)] > 0.3);
		}
		pe_dataset_append(dataset, x, target, 1, data_key(row), &err);
		if (row < MANY)
			memcpy(values + row * WIDE, x, sizeof(x));
	}
	IS_INT(pe_train(&env, dataset, PE_TASK_VALUE, &options, &model, &e, &err), PE_OK, "%s", shape);
	pe_dataset_free(dataset);
	OK(model->max_depth > 8, "paths are long: %d", model->max_depth);
	scratch = malloc(pe_model_explain_scratch(model));
	IS_INT(pe_explainer_create(&env, model, max_bytes, &explainer, &err), PE_OK, "explainer");
	pe_explainer_explain(explainer, values, WIDE, MANY, 2, many, &base, &err);
	for (int row = 0; row < MANY; row++)
	{
		double sum = base;

		pe_model_explain(model, values + row * WIDE, scratch, one, &walked_base);
		for (int f = 0; f < WIDE; f++)
		{
			worst = fmax(worst, fabs(one[f] - many[row * WIDE + f]));
			sum += many[row * WIDE + f];
		}
		worst_sum = fmax(worst_sum, fabs(sum - pe_model_margin(model, values + row * WIDE)));
	}
	OK(worst < 1e-10, "the same contributions as the walk (%g)", worst);
	OK(worst_sum < 1e-9, "that sum to the margin (%g)", worst_sum);
	pe_explainer_free(explainer);
	free(scratch);
	free(values);
	free(many);
	pe_model_free(model);
}

static void
explainer_out_of_memory(void)
{
	pe_evaluation e;
	pe_model *model;
	pe_explainer *explainer;
	double values[DATA_FEATURES], contributions[DATA_FEATURES], base;
	uint64_t state = 5;
	long live;
	bool done = false;

	data_train(&env, PE_ALGORITHM_BOOSTED_TREES, PE_TASK_VALUE, 500, false,
	           SETTINGS("trees=3", "max_depth=3", "seed=1"), &model, &e, &err);
	data_row(model, &state, values);
	live = memory.live;
	for (long fail_at = 1; !done; fail_at++)
	{
		memory.calls = 0;
		memory.fail_at = fail_at;
		if (pe_explainer_create(&env, model, 3 << 10, &explainer, &err) == PE_OK)
		{
			done = pe_explainer_explain(explainer, values, DATA_FEATURES, 1, 2, contributions, &base, &err) ==
			       PE_OK;
			pe_explainer_free(explainer);
		}
		memory.fail_at = 0;
		if (memory.live != live)
			break;
	}
	IS_INT(memory.live, live, "no failed allocation leaks");
	OK(done, "and in the end it works");
	pe_model_free(model);
}

int
main(void)
{
	env = tap_env(&memory);
	compare(PE_TASK_PROPENSITY, "max_depth=3", "seed=1", 64 << 20);
	compare(PE_TASK_PROPENSITY, "max_depth=3", "seed=1", 6 << 10);
	compare(PE_TASK_VALUE, "max_depth=6", "min_child_weight=3", 64 << 20);
	compare(PE_TASK_VALUE, "max_depth=6", "min_child_weight=3", 6 << 10);
	compare(PE_TASK_VALUE, "max_leaves=60", "min_child_weight=1", 64 << 20);
	compare(PE_TASK_VALUE, "max_leaves=60", "min_child_weight=1", 6 << 10);
	compare_explainer(PE_TASK_PROPENSITY, "max_depth=6", "seed=1", 64 << 20);
	compare_explainer(PE_TASK_VALUE, "max_leaves=60", "min_child_weight=1", 64 << 20);
	compare_explainer(PE_TASK_VALUE, "max_depth=6", "seed=2", 200 << 10);
	compare_explainer(PE_TASK_VALUE, "max_depth=6", "seed=2", 0);
	compare_explainer(PE_TASK_VALUE, "max_depth=6", "seed=2", 50 << 10);
	compare_explainer(PE_TASK_VALUE, "max_depth=2", "seed=2", 64 << 20);
	compare_wide("max_depth=14", 64 << 20);
	compare_wide("max_depth=14", 1 << 20);
	compare_wide("max_leaves=250", 64 << 20);
	explain_classes();
	explainer_out_of_memory();
	IS_INT(memory.live, 0, "no block is left");
	return tap_done();
}
