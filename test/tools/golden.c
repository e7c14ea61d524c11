/*
 * golden.c
 *		Makes the files of test/unit/golden: a model's artifact as this format version writes
 *		it, and what the model says of some rows. Files once committed are never made anew:
 *		they stand for what users have stored.
 *
 * usage: golden train DIRECTORY PREFIX   train small models of each supervised kind
 *        golden rows MODEL ROWS          write what a stored artifact predicts
 *
 * A line of ROWS: the values of a row, then the prediction, then the named outputs, as
 * hexadecimal floats.
 */
#include "model_data.h"

#define ROWS 40

static tap_memory memory;
static pe_env env;
static pe_error err;

static void
die(const char *what)
{
	fprintf(stderr, "golden: %s: %s\n", what, err.message);
	exit(1);
}

static void
write_bytes(const char *path, const uint8_t *bytes, size_t length)
{
	FILE *file = fopen(path, "wb");

	if (file == NULL || fwrite(bytes, 1, length, file) != length || fclose(file) != 0)
		die(path);
}

/* Values that reach the parts of most models: small, large, negative, missing, unknown levels. */
static double
value_for(pe_model_feature feature, uint64_t *state)
{
	double draw = data_uniform(state);

	if (draw < 0.1)
		return NAN;
	if (feature.kind == PE_FEATURE_CATEGORICAL)
		return floor(data_uniform(state) * (feature.n_levels + 1)) - 1;
	return draw < 0.5   ? data_uniform(state) * 12 - 6
	       : draw < 0.9 ? floor(data_uniform(state) * 50)
	                    : 1e6 * draw;
}

static void
write_rows(const pe_model *model, const char *path)
{
	FILE *file = fopen(path, "w");
	int n = pe_model_feature_count(model);
	double *values = calloc((size_t) n, sizeof(double));
	uint64_t state = 7;

	if (file == NULL)
		die(path);
	for (int row = 0; row < ROWS; row++)
	{
		for (int i = 0; i < n; i++)
			fprintf(file, "%a ", values[i] = value_for(pe_model_get_feature(model, i), &state));
		fprintf(file, "%a", pe_model_predict(model, values));
#ifdef PE_MAX_CLASSES /* since format version 2 */
		double outputs[PE_MAX_CLASSES];

		pe_model_outputs(model, values, outputs);
		for (int i = 0; i < pe_model_output_count(model); i++)
			fprintf(file, " %a", outputs[i]);
#endif
		fprintf(file, "\n");
	}
	free(values);
	if (fclose(file) != 0)
		die(path);
}

static void
train(const char *directory, const char *prefix, const char *name, pe_algorithm algorithm, pe_task task,
      const char *const *settings)
{
	pe_evaluation *evaluation = calloc(1, sizeof(*evaluation));
	pe_model *model;
	uint8_t *bytes;
	size_t length;
	char path[512];

	if (data_train(&env, algorithm, task, 600, true, settings, &model, evaluation, &err) != PE_OK ||
	    pe_model_serialize(&env, model, &bytes, &length, &err) != PE_OK)
		die(name);
	snprintf(path, sizeof(path), "%s/%s_%s.model", directory, prefix, name);
	write_bytes(path, bytes, length);
	snprintf(path, sizeof(path), "%s/%s_%s.rows", directory, prefix, name);
	write_rows(model, path);
	pe_free(&env, bytes);
	pe_model_free(model);
	free(evaluation);
}

static void
rows_of(const char *from, const char *to)
{
	FILE *file = fopen(from, "rb");
	uint8_t *bytes = malloc(1 << 24);
	size_t length = file != NULL ? fread(bytes, 1, 1 << 24, file) : 0;
	pe_model *model;

	if (pe_model_deserialize(&env, bytes, length, &model, &err) != PE_OK)
		die(from);
	write_rows(model, to);
	pe_model_free(model);
	free(bytes);
	fclose(file);
}

int
main(int argc, char **argv)
{
	env = tap_env(&memory);
	if (argc == 4 && strcmp(argv[1], "rows") == 0)
		rows_of(argv[2], argv[3]);
	else if (argc == 4 && strcmp(argv[1], "train") == 0)
	{
		train(argv[2], argv[3], "trees", PE_ALGORITHM_BOOSTED_TREES, PE_TASK_PROPENSITY,
		      SETTINGS("trees=8", "max_depth=4", "calibrate=isotonic"));
		train(argv[2], argv[3], "trees_value", PE_ALGORITHM_BOOSTED_TREES, PE_TASK_VALUE,
		      SETTINGS("trees=5", "max_leaves=12"));
		train(argv[2], argv[3], "logistic", PE_ALGORITHM_LOGISTIC, PE_TASK_PROPENSITY,
		      SETTINGS("calibrate=platt"));
		train(argv[2], argv[3], "linear", PE_ALGORITHM_LINEAR, PE_TASK_VALUE, SETTINGS("l2=0.1"));
	}
	else
	{
		fprintf(stderr, "usage: golden train DIRECTORY PREFIX | rows MODEL ROWS\n");
		return 2;
	}
	return 0;
}
