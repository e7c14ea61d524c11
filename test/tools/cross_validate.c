/*
 * cross_validate.c
 *		How good models are on rows from a file: those of each fold are predicted by a
 *		model of the other folds, and all predictions are evaluated together.
 *
 *		usage: cross_validate TASK ALGORITHM FILE [OPTION=VALUE...]
 *
 * FILE is tab separated. Its head names the columns: fold, target (for affinity a text),
 * perhaps weight, then features as NAME:n or NAME:c for numbers and categories; an empty
 * cell is missing. Rows of fold -1 are only trained on. Prints figures, one "name value" a line.
 * predictions=OUT among the options writes a line of target and prediction for each predicted row.
 */
#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "model/model.h"

#define MAX_COLUMNS 4096
#define LONGEST     1048576

typedef struct table
{
	pe_feature_spec specs[MAX_COLUMNS];
	int n_features;
	bool weighted;
	char **cells; /* by row: fold, target, weight if any, features; ends of cells are NUL */
	int *folds;
	size_t rows;
} table;

static void *
malloc_alloc(void *ctx, size_t size)
{
	return malloc(size);
}

static void *
malloc_realloc(void *ctx, void *memory, size_t size)
{
	return realloc(memory, size);
}

static void
malloc_free(void *ctx, void *memory)
{
	free(memory);
}

static const pe_env env = {.allocator = {malloc_alloc, malloc_realloc, malloc_free, NULL}};
static pe_error err;

static void
die(const char *what)
{
	fprintf(stderr, "%s\n", what);
	exit(1);
}

static void
check(pe_status status)
{
	if (status == PE_OK)
		return;
	fprintf(stderr, "%s\n%s\n", err.message, err.hint);
	exit(1);
}

static char *
next_cell(char *cell)
{
	return cell + strlen(cell) + 1;
}

/* Tabs become ends of strings; the number of cells. */
static int
cut_line(char *line)
{
	int cells = 1;

	line[strcspn(line, "\r\n")] = '\0';
	for (char *at = line; *at != '\0'; at++)
		if (*at == '\t')
		{
			*at = '\0';
			cells++;
		}
	return cells;
}

static void
read_head(table *t, char *line)
{
	int cells = cut_line(line);
	char *cell = next_cell(next_cell(line));

	t->weighted = strcmp(cell, "weight") == 0;
	if (t->weighted)
		cell = next_cell(cell);
	for (int i = t->weighted ? 3 : 2; i < cells; i++, cell = next_cell(cell))
	{
		size_t length = strlen(cell);
		char *name = strdup(cell);

		if (length < 3 || cell[length - 2] != ':' || t->n_features == MAX_COLUMNS || name == NULL)
			die("a column of the head is no NAME:n or NAME:c");
		name[length - 2] = '\0';
		t->specs[t->n_features++] = (pe_feature_spec){
		    name, "", cell[length - 1] == 'c' ? PE_FEATURE_CATEGORICAL : PE_FEATURE_NUMERIC};
	}
}

static void
read_table(table *t, const char *path)
{
	static char line[LONGEST];
	FILE *file = fopen(path, "r");
	size_t capacity = 0;

	if (file == NULL || fgets(line, sizeof(line), file) == NULL)
		die("the file cannot be read");
	read_head(t, line);
	while (fgets(line, sizeof(line), file) != NULL)
	{
		size_t length = strlen(line) + 1;

		if (t->rows == capacity)
		{
			capacity = capacity * 2 + 1024;
			t->cells = realloc(t->cells, capacity * sizeof(*t->cells));
			t->folds = realloc(t->folds, capacity * sizeof(*t->folds));
		}
		if (cut_line(line) != t->n_features + 2 + t->weighted)
			die("a row has more or fewer cells than the head");
		if (t->cells == NULL || t->folds == NULL || (t->cells[t->rows] = malloc(length)) == NULL)
			die("out of memory");
		memcpy(t->cells[t->rows], line, length);
		t->folds[t->rows++] = atoi(line);
	}
	fclose(file);
}

/* A row's features, levels as codes of the dataset or of the model, whichever is given. */
static void
row_values(const table *t, size_t row, pe_dataset *dataset, const pe_model *model, double *values)
{
	char *cell = next_cell(next_cell(t->cells[row]));

	if (t->weighted)
		cell = next_cell(cell);
	for (int i = 0; i < t->n_features; i++, cell = next_cell(cell))
	{
		int32_t code;

		if (*cell == '\0')
			values[i] = NAN;
		else if (t->specs[i].kind == PE_FEATURE_NUMERIC)
			values[i] = strtod(cell, NULL);
		else if (model != NULL)
			values[i] = pe_model_level(model, i, cell, strlen(cell));
		else
		{
			check(pe_dataset_level(dataset, i, cell, strlen(cell), &code, &err));
			values[i] = code;
		}
	}
}

/* The place of the row's class among the model's, -1: the model does not know it. */
static int
row_class(const table *t, size_t row, const pe_model *model)
{
	const char *text = next_cell(t->cells[row]);

	for (int class = 0; class < pe_model_class_count(model); class ++)
		if (strcmp(pe_model_class(model, class), text) == 0)
			return class;
	return -1;
}

static double
row_target(const table *t, size_t row, pe_task task, pe_dataset *dataset)
{
	const char *cell = next_cell(t->cells[row]);
	int32_t code;

	if (task != PE_TASK_AFFINITY)
		return strtod(cell, NULL);
	check(pe_dataset_class(dataset, cell, strlen(cell), &code, &err));
	return code;
}

static double
row_weight(const table *t, size_t row)
{
	return t->weighted ? strtod(next_cell(next_cell(t->cells[row])), NULL) : 1;
}

static pe_model *
train_without(const table *t, int fold, pe_task task, const pe_options *options, double *seconds)
{
	double values[MAX_COLUMNS];
	struct timespec begin, end;
	pe_dataset *dataset;
	pe_evaluation *evaluation = calloc(1, sizeof(*evaluation));
	pe_model *model;

	check(pe_dataset_create(&env, options->algorithm, t->specs, t->n_features, t->weighted, &dataset, &err));
	for (size_t row = 0; row < t->rows; row++)
	{
		uint64_t number = row;

		if (t->folds[row] == fold)
			continue;
		row_values(t, row, dataset, NULL, values);
		check(pe_dataset_append(dataset, values, row_target(t, row, task, dataset), row_weight(t, row),
		                        pe_hash_bytes(&number, sizeof(number), 0), &err));
	}
	clock_gettime(CLOCK_MONOTONIC, &begin);
	check(pe_train(&env, dataset, task, options, &model, evaluation, &err));
	clock_gettime(CLOCK_MONOTONIC, &end);
	*seconds += (double) (end.tv_sec - begin.tv_sec) + 1e-9 * (double) (end.tv_nsec - begin.tv_nsec);
	pe_dataset_free(dataset);
	free(evaluation);
	return model;
}

/* What all folds' models said of their rows. */
typedef struct outcome
{
	double *predictions;
	double *probabilities; /* affinity: [n][n_classes] */
	double *targets;
	double *weights;
	size_t n;
	int n_classes;
	const char *classes[PE_MAX_CLASSES];
} outcome;

static void
predict_fold(const table *t, int fold, pe_task task, const pe_model *model, outcome *o)
{
	double values[MAX_COLUMNS];

	if (task == PE_TASK_AFFINITY && o->n_classes == 0)
	{
		o->n_classes = pe_model_class_count(model);
		o->probabilities = calloc(t->rows, (size_t) o->n_classes * sizeof(double));
		for (int class = 0; class < o->n_classes; class ++)
			o->classes[class] = strdup(pe_model_class(model, class));
	}
	if (pe_model_class_count(model) != o->n_classes)
		die("the folds do not have the same classes");
	for (size_t row = 0; row < t->rows; row++)
	{
		int class = task == PE_TASK_AFFINITY ? row_class(t, row, model) : 0;

		if (t->folds[row] != fold || class < 0)
			continue;
		row_values(t, row, NULL, model, values);
		o->weights[o->n] = row_weight(t, row);
		o->targets[o->n] = task == PE_TASK_AFFINITY ? class : row_target(t, row, task, NULL);
		if (task == PE_TASK_AFFINITY)
			pe_model_outputs(model, values, o->probabilities + o->n * (size_t) o->n_classes);
		o->predictions[o->n++] = pe_model_predict(model, values);
	}
}

static void
print_figures(const table *t, pe_task task, const pe_options *options, const outcome *o)
{
	static pe_evaluation e;
	const double *weights = t->weighted ? o->weights : NULL;
	pe_objective objective =
	    options->objective != 0 ? options->objective : pe_default_objective(task, options->algorithm);

	if (task == PE_TASK_AFFINITY)
	{
		check(pe_evaluate_classes(&env, o->n_classes, o->classes, o->probabilities, o->targets, weights, o->n,
		                          &e, &err));
		printf("macro_auc %.5f\naccuracy %.5f\nlog_loss %.5f\n", e.macro_auc, e.accuracy, e.log_loss);
		return;
	}
	check(pe_evaluate(&env, task, o->predictions, o->targets, weights, o->n, &e, &err));
	if (task == PE_TASK_PROPENSITY)
	{
		printf("auc %.5f\nlog_loss %.5f\nbrier %.5f\naverage_precision %.5f\n", e.auc, e.log_loss, e.brier,
		       e.average_precision);
		return;
	}
	pe_evaluate_deviance(objective,
	                     objective == PE_OBJECTIVE_QUANTILE ? options->quantile : options->tweedie_power,
	                     o->predictions, o->targets, weights, o->n, &e);
	printf("rmse %.6g\nmae %.6g\nr2 %.5f\ngini %.5f\ndeviance %.6g\n", e.rmse, e.mae, e.r2, e.gini,
	       e.deviance);
}

static void
write_predictions(const outcome *o, const char *path)
{
	FILE *file = fopen(path, "w");

	if (file == NULL)
		die("the predictions cannot be written");
	for (size_t i = 0; i < o->n; i++)
		fprintf(file, "%.17g\t%.17g\n", o->targets[i], o->predictions[i]);
	if (fclose(file) != 0)
		die("the predictions cannot be written");
}

int
main(int argc, char **argv)
{
	static table t;
	static outcome o;
	const char *predictions = NULL;
	double seconds = 0;
	pe_options options;
	pe_task task;
	int folds = 0;

	if (argc < 4 || (task = pe_task_from_name(argv[1])) == 0)
		die("usage: cross_validate TASK ALGORITHM FILE [OPTION=VALUE...]");
	pe_options_init(&options, pe_algorithm_from_name(argv[2]));
	options.holdout = 0;
	for (int i = 4; i < argc; i++)
	{
		char *equals = strchr(argv[i], '=');

		if (equals == NULL)
			die("an option is no NAME=VALUE");
		*equals = '\0';
		if (strcmp(argv[i], "predictions") == 0)
			predictions = equals + 1;
		else
			check(pe_options_set(&options, argv[i], equals + 1, &err));
	}
	read_table(&t, argv[3]);
	o.predictions = calloc(t.rows, sizeof(double));
	o.targets = calloc(t.rows, sizeof(double));
	o.weights = calloc(t.rows, sizeof(double));
	if (o.predictions == NULL || o.targets == NULL || o.weights == NULL)
		die("out of memory");
	for (size_t row = 0; row < t.rows; row++)
		folds = t.folds[row] + 1 > folds ? t.folds[row] + 1 : folds;
	for (int fold = 0; fold < folds; fold++)
	{
		pe_model *model = train_without(&t, fold, task, &options, &seconds);

		predict_fold(&t, fold, task, model, &o);
		pe_model_free(model);
	}
	printf("rows %zu\nseconds %.2f\n", o.n, seconds);
	print_figures(&t, task, &options, &o);
	if (predictions != NULL)
		write_predictions(&o, predictions);
	return 0;
}
