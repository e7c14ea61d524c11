/*
 * Softmax regression: the conditions of its maximum, from the rows alone; both ways to it;
 * what has none.
 */
#include "model_data.h"

static pe_env env;
static tap_memory memory;
static pe_error err;

#define CLASSES 4
#define NUMBERS 3

/* NUMBERS numbers, a category of so many levels, a class that hangs on them. */
static int
make_row(uint64_t *state, int levels, double *values, int *level, double *weight)
{
	double margins[CLASSES], best = -1e9;
	int chosen = 0;

	for (int k = 0; k < NUMBERS; k++)
		values[k] = data_uniform(state) * (k * 10 + 1) - k;
	*level = (int) (data_uniform(state) * levels);
	*weight = 0.5 + data_uniform(state);
	for (int c = 0; c < CLASSES; c++)
	{
		margins[c] = c * values[0] / 2 - (c == 2) * values[1] / 9 + (*level % CLASSES == c) * 0.7 -
		             log(-log(data_uniform(state)));
		if (margins[c] > best)
			best = margins[chosen = c];
	}
	return chosen;
}

static const char *const class_names[CLASSES] = {"delta", "alpha", "omega", "beta"};

static pe_dataset *
make_dataset(const pe_env *with, int rows, int levels, bool separated)
{
	static const pe_feature_spec specs[] = {{"x0", NULL, PE_FEATURE_NUMERIC},
	                                        {"x1", NULL, PE_FEATURE_NUMERIC},
	                                        {"x2", NULL, PE_FEATURE_NUMERIC},
	                                        {"level", NULL, PE_FEATURE_CATEGORICAL}};
	pe_dataset *dataset = NULL;
	uint64_t state = 11;
	pe_status status =
	    pe_dataset_create(with, PE_ALGORITHM_MULTINOMIAL, specs, NUMBERS + 1, true, &dataset, &err);

	for (int i = 0; i < rows && status == PE_OK; i++)
	{
		double values[NUMBERS + 1], weight;
		int level, class = make_row(&state, levels, values, &level, &weight);
		int32_t code;
		char name[16];

		if (separated)
			values[2] = class == 0 ? 5 + values[2] : -values[2];
		snprintf(name, sizeof(name), "l%03d", level);
		status = pe_dataset_level(dataset, NUMBERS, name, 4, &code, &err);
		values[NUMBERS] = code;
		if (status == PE_OK)
			status = pe_dataset_class(dataset, class_names[class], strlen(class_names[class]), &code, &err);
		if (status == PE_OK)
			status = pe_dataset_append(dataset, values, code, weight, data_key(i), &err);
	}
	if (status == PE_OK)
		return dataset;
	pe_dataset_free(dataset);
	return NULL;
}

static pe_status
train(const pe_env *with, int rows, int levels, bool separated, const char *const *settings, pe_model **model)
{
	pe_options options;
	pe_evaluation e;
	pe_dataset *dataset = make_dataset(with, rows, levels, separated);
	pe_status status = dataset == NULL ? PE_OUT_OF_MEMORY : PE_OK;

	*model = NULL;
	pe_options_init(&options, PE_ALGORITHM_MULTINOMIAL);
	options.holdout = 0;
	for (; *settings != NULL && status == PE_OK; settings++)
	{
		char name[64];
		const char *equals = strchr(*settings, '=');

		snprintf(name, sizeof(name), "%.*s", (int) (equals - *settings), *settings);
		status = pe_options_set(&options, name, equals + 1, &err);
	}
	if (status == PE_OK)
		status = pe_train(with, dataset, PE_TASK_AFFINITY, &options, model, &e, &err);
	pe_dataset_free(dataset);
	return status;
}

/*
 * The largest part of the gradient by a class's intercept or number, or by the level l001,
 * over the rows' weight; with the penalty's part where the numbers are standardised.
 */
static double
missed(const pe_model *model, int rows, int levels, double *log_likelihood)
{
	double gradient[CLASSES][NUMBERS + 2] = {{0}}, total = 0, worst = 0;
	uint64_t state = 11;

	*log_likelihood = 0;
	for (int i = 0; i < rows; i++)
	{
		double values[NUMBERS + 1], weight, p[CLASSES];
		int level, class = make_row(&state, levels, values, &level, &weight);
		char name[16];

		snprintf(name, sizeof(name), "l%03d", level);
		values[NUMBERS] = pe_model_level(model, NUMBERS, name, 4);
		pe_model_outputs(model, values, p);
		total += weight;
		for (int c = 0; c < CLASSES; c++)
		{
			bool own = strcmp(pe_model_class(model, c), class_names[class]) == 0;
			double off = weight * (own - p[c]);

			*log_likelihood += own ? weight * log(p[c]) : 0;
			gradient[c][0] += off;
			for (int k = 0; k < NUMBERS; k++)
				gradient[c][k + 1] += off * values[k];
			gradient[c][NUMBERS + 1] += level == 1 ? off : 0;
		}
	}
	for (int c = 0; c < CLASSES; c++)
		for (int k = 0; k < NUMBERS + 2; k++)
			worst = fmax(worst, fabs(gradient[c][k]) / total);
	return worst;
}

static void
maximum(int rows, int levels, const char *what, bool errors, double tolerance)
{
	uint8_t *bytes[2];
	size_t length[2];
	pe_model *model = NULL;
	double likelihood, off;
	int count;

	for (int threads = 1; threads <= 2; threads++)
	{
		char setting[16];

		pe_model_free(model);
		snprintf(setting, sizeof(setting), "threads=%d", threads);
		train(&env, rows, levels, false, SETTINGS(setting), &model);
		if (!OK(model != NULL, "%s: %s", what, err.message))
			return;
		pe_model_serialize(&env, model, &bytes[threads - 1], &length[threads - 1], &err);
	}
	OK(length[0] == length[1] && memcmp(bytes[0], bytes[1], length[0]) == 0, "%s: the same on 2 threads",
	   what);
	pe_model_free(model);
	IS_INT(pe_model_deserialize(&env, bytes[0], length[0], &model, &err), PE_OK, "%s: read back", what);
	off = missed(model, rows, levels, &likelihood);
	OK(off < tolerance, "%s: the gradient is 0 (%g) after %d steps", what, off, pe_model_iterations(model));
	IS_NEAR(pe_model_log_likelihood(model), likelihood, 1e-7 * fabs(likelihood), "%s: log-likelihood", what);
	OK(pe_model_deviance(model) < pe_model_null_deviance(model), "%s: deviance falls", what);
	count = pe_model_coefficient_count(model);
	IS_INT(count, (CLASSES - 1) * (1 + NUMBERS + levels - 1), "%s: coefficients of all classes but the first",
	       what);
	IS_STR(pe_model_get_coefficient(model, 0).class, "beta", "%s: alpha is the baseline", what);
	OK(isnan(pe_model_get_coefficient(model, 1).standard_error) == !errors, "%s: standard errors", what);
	pe_model_free(model);
	pe_free(&env, bytes[0]);
	pe_free(&env, bytes[1]);
}

static void
contributions(void)
{
	pe_model *model;
	uint64_t state = 3;
	double worst = 0;

	train(&env, 800, 6, false, SETTINGS("l2=1"), &model);
	if (!OK(model != NULL, "with a ridge: %s", err.message))
		return;
	for (int i = 0; i < 200; i++)
	{
		double values[NUMBERS + 1], parts[NUMBERS + 1], base, sum = 0, weight;
		int level;

		make_row(&state, 8, values, &level, &weight);
		values[NUMBERS] = level < 6 ? level : i % 2 ? PE_UNKNOWN_LEVEL : NAN;
		if (i % 5 == 0)
			values[1] = NAN;
		pe_model_explain(model, values, NULL, parts, &base);
		for (int k = 0; k <= NUMBERS; k++)
			sum += parts[k];
		worst = fmax(worst, fabs(base + sum - pe_model_margin(model, values)));
	}
	OK(worst < 1e-9, "contributions sum to the largest margin (%g)", worst);
	IS_INT(pe_model_coefficient_count(model), CLASSES * (1 + NUMBERS + 5), "all classes have coefficients");
	for (int k = 0; k < 1 + NUMBERS + 5; k++)
	{
		double sum = 0;

		for (int c = 0; c < CLASSES; c++)
			sum += pe_model_get_coefficient(model, c * (1 + NUMBERS + 5) + k).estimate;
		OK(fabs(sum) < 1e-9, "which sum to 0 (%g)", sum);
	}
	pe_model_free(model);
}

/* x2 tells the class delta from all others. */
static void
separated(int levels)
{
	pe_model *model;
	bool finite = true, said = false;

	train(&env, 900, levels, true, SETTINGS("threads=1"), &model);
	if (!OK(model != NULL, "separated classes end: %s", err.message))
		return;
	for (int i = 0; i < pe_model_coefficient_count(model); i++)
		finite &= isfinite(pe_model_get_coefficient(model, i).estimate);
	for (int i = 0; i < pe_model_note_count(model); i++)
	{
		said |= strstr(pe_model_note(model, i), "separates the classes") != NULL;
		printf("# %s\n", pe_model_note(model, i));
	}
	OK(finite && said, "with finite coefficients, and are said");
	pe_model_free(model);
}

static void
out_of_memory(void)
{
	pe_status status = PE_OUT_OF_MEMORY;
	pe_model *model = NULL;
	long fail_at;

	for (fail_at = 1; status == PE_OUT_OF_MEMORY && fail_at < 2000; fail_at++)
	{
		long before = memory.live;

		memory.calls = 0;
		memory.fail_at = fail_at;
		status = train(&env, 200, 3, false, SETTINGS("threads=2"), &model);
		memory.fail_at = 0;
		if (status == PE_OUT_OF_MEMORY && (memory.live != before || model != NULL))
			break;
	}
	OK(status == PE_OK && fail_at > 40, "training survives each of %ld failing allocations", fail_at - 1);
	pe_model_free(model);
}

static int
stop_soon(void *ctx, const char *phase, uint64_t done, uint64_t total)
{
	return ++*(int *) ctx > 3;
}

static void
cancel(void)
{
	int ticks = 0;
	pe_env impatient = env;
	pe_model *model;
	long before = memory.live;

	impatient.tick = stop_soon;
	impatient.tick_ctx = &ticks;
	IS_INT(train(&impatient, 20000, 250, false, SETTINGS("threads=2"), &model), PE_CANCELLED,
	       "the tick stops training");
	OK(memory.live == before && model == NULL, "and nothing is left");
}

int
main(void)
{
	env = tap_env(&memory);
	maximum(2000, 6, "Newton", true, 1e-10);
	maximum(40000, 250, "L-BFGS", false, 1e-6);
	contributions();
	separated(3);
	separated(250);
	out_of_memory();
	cancel();
	IS_INT(memory.live, 0, "no block is left");
	return tap_done();
}
