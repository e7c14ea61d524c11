/*
 * model_data.h
 *		Rows for the model layer's tests: a seeded generator, and a small table that
 *		becomes a dataset.
 */
#ifndef MODEL_DATA_H
#define MODEL_DATA_H

#include "model/model.h"
#include "tap.h"

static inline double
data_uniform(uint64_t *state)
{
	*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (double) (*state >> 11) * 0x1p-53;
}

static inline uint64_t
data_key(uint64_t row)
{
	return pe_hash_bytes(&row, sizeof(row), 0);
}

/*
 * rows x (4 numbers and 2 categories): x0 with missing values, x1, x2 of few values, x3
 * noise; plan of 3 levels; city of 40, some of them rare. target 0/1 or a number.
 */
static const pe_feature_spec data_specs[] = {
    {"x0", "float8", PE_FEATURE_NUMERIC},     {"x1", "float8", PE_FEATURE_NUMERIC},
    {"x2", "int4", PE_FEATURE_NUMERIC},       {"x3", "float8", PE_FEATURE_NUMERIC},
    {"plan", "text", PE_FEATURE_CATEGORICAL}, {"city", "text", PE_FEATURE_CATEGORICAL}};

#define DATA_FEATURES 6

static inline pe_status
data_dataset(const pe_env *env, pe_algorithm algorithm, pe_task task, int rows, bool weighted,
             pe_dataset **dataset, pe_error *err)
{
	uint64_t state = 42;
	pe_status status = pe_dataset_create(env, algorithm, data_specs, DATA_FEATURES, weighted, dataset, err);

	for (int row = 0; row < rows && status == PE_OK; row++)
	{
		static const char *const plans[] = {"basic", "gold", "none"};
		double values[DATA_FEATURES], margin, target;
		int plan = (int) (data_uniform(&state) * 3),
		    city = (int) (data_uniform(&state) * data_uniform(&state) * 40);
		char name[32];
		int32_t code;

		values[0] = data_uniform(&state) * 10 - 5;
		values[1] = data_uniform(&state);
		values[2] = floor(data_uniform(&state) * 5);
		values[3] = data_uniform(&state) * 1000;
		margin = 0.6 * values[0] - 2 * (values[1] > 0.7) + (plan == 1) - 0.8 * (city % 3 == 0) +
		         0.1 * values[2] * values[1];
		if (data_uniform(&state) < 0.1)
			values[0] = NAN;
		status = pe_dataset_level(*dataset, 4, plans[plan], strlen(plans[plan]), &code, err);
		values[4] = code;
		snprintf(name, sizeof(name), "city %d", city);
		if (status == PE_OK)
			status = pe_dataset_level(*dataset, 5, name, strlen(name), &code, err);
		values[5] = data_uniform(&state) < 0.05 ? NAN : code;
		target = task == PE_TASK_PROPENSITY ? data_uniform(&state) < 1 / (1 + exp(-margin))
		                                    : 10 + 3 * margin + data_uniform(&state);
		if (status == PE_OK)
			status =
			    pe_dataset_append(*dataset, values, target, 0.5 + data_uniform(&state), data_key(row), err);
	}
	return status;
}

/* A random row for a model trained on the above, in the model's own codes. */
static inline void
data_row(const pe_model *model, uint64_t *state, double *values)
{
	for (int i = 0; i < DATA_FEATURES; i++)
	{
		pe_model_feature feature = pe_model_get_feature(model, i);

		if (data_uniform(state) < 0.1)
			values[i] = NAN;
		else if (feature.kind == PE_FEATURE_CATEGORICAL)
			values[i] = floor(data_uniform(state) * (feature.n_levels + 1)) - 1;
		else
			values[i] = data_uniform(state) * 12 - 6;
	}
}

/* Train on data_dataset with options set by "name=value" texts, NULL at the end. */
static inline pe_status
data_train(const pe_env *env, pe_algorithm algorithm, pe_task task, int rows, bool weighted,
           const char *const *settings, pe_model **model, pe_evaluation *evaluation, pe_error *err)
{
	pe_options options;
	pe_dataset *dataset = NULL;
	pe_status status;

	*model = NULL;
	pe_options_init(&options, algorithm);
	for (; settings != NULL && *settings != NULL; settings++)
	{
		char name[64];
		const char *equals = strchr(*settings, '=');

		snprintf(name, sizeof(name), "%.*s", (int) (equals - *settings), *settings);
		status = pe_options_set(&options, name, equals + 1, err);
		if (status != PE_OK)
			return status;
	}
	status = data_dataset(env, algorithm, task, rows, weighted, &dataset, err);
	if (status == PE_OK)
		status = pe_train(env, dataset, task, &options, model, evaluation, err);
	pe_dataset_free(dataset);
	return status;
}

#define SETTINGS(...) ((const char *const[]){__VA_ARGS__, NULL})

#endif /* MODEL_DATA_H */
