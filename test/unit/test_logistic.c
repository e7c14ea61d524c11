/*
 * Logistic and linear regression: published coefficients, what has no maximum, and
 * agreement between threads.
 */
#include "model_data.h"

/* second_attack, treatment, trait_anxiety: the 20 patients of the textbook example. */
static const int patients[20][3] = {{1, 1, 70}, {1, 1, 80}, {1, 1, 50}, {1, 0, 60}, {1, 0, 40},
                                    {1, 0, 65}, {1, 0, 75}, {1, 0, 80}, {1, 0, 70}, {1, 0, 60},
                                    {0, 1, 65}, {0, 1, 50}, {0, 1, 45}, {0, 1, 35}, {0, 1, 40},
                                    {0, 1, 50}, {0, 0, 55}, {0, 0, 45}, {0, 0, 50}, {0, 0, 60}};

static pe_env env;
static tap_memory memory;
static pe_error err;

static pe_model *
train_numbers(pe_algorithm algorithm, pe_task task, const pe_feature_spec *specs, int n, const double *rows,
              int count, pe_evaluation *e)
{
	pe_dataset *dataset;
	pe_model *model = NULL;
	pe_options options;

	pe_options_init(&options, algorithm);
	pe_options_set(&options, "holdout", "0", &err);
	if (pe_dataset_create(&env, algorithm, specs, n, false, &dataset, &err) != PE_OK)
		return NULL;
	for (int i = 0; i < count; i++)
		pe_dataset_append(dataset, rows + i * (n + 1) + 1, rows[i * (n + 1)], 1, data_key(i), &err);
	if (pe_train(&env, dataset, task, &options, &model, e, &err) != PE_OK)
		printf("# %s\n", err.message);
	pe_dataset_free(dataset);
	return model;
}

static void
published(void)
{
	static const double want[3] = {-6.36346994178192, -1.02410605239327, 0.119044916668607};
	static const double error[3] = {3.21389766375099, 1.17107844860319, 0.0549790458269317};
	static const double z[3] = {-1.97998524145757, -0.874498248699539, 2.16527796868916};
	pe_feature_spec specs[2] = {{"treatment", "int4", PE_FEATURE_NUMERIC},
	                            {"trait_anxiety", "int4", PE_FEATURE_NUMERIC}};
	double rows[60];
	pe_evaluation e;
	pe_model *model;

	for (int i = 0; i < 60; i++)
		rows[i] = patients[i / 3][i % 3];
	model = train_numbers(PE_ALGORITHM_LOGISTIC, PE_TASK_PROPENSITY, specs, 2, rows, 20, &e);
	if (!OK(model != NULL, "20 patients"))
		return;
	for (int i = 0; i < 3; i++)
	{
		pe_coefficient c = pe_model_get_coefficient(model, i);

		IS_NEAR(c.estimate, want[i], 1e-8, "coefficient %s", c.name);
		IS_NEAR(c.standard_error, error[i], 1e-5, "standard error of %s", c.name);
		IS_NEAR(c.statistic, z[i], 1e-5, "z of %s", c.name);
	}
	IS_NEAR(pe_model_log_likelihood(model), -9.41018298388876, 1e-8, "log-likelihood");
	IS_INT(e.verdict, PE_VERDICT_NOT_EVALUATED, "without a holdout nothing is evaluated");
	OK(pe_model_note_count(model) == 0, "nothing to note");
	pe_model_free(model);
}

/* y = 2 + 3 a - b exactly, and c = a + b. */
static void
aliased(void)
{
	pe_feature_spec specs[4] = {{"a", NULL, PE_FEATURE_NUMERIC},
	                            {"b", NULL, PE_FEATURE_NUMERIC},
	                            {"c", NULL, PE_FEATURE_NUMERIC},
	                            {"constant", NULL, PE_FEATURE_NUMERIC}};
	double rows[50 * 5];
	uint64_t state = 3;
	pe_evaluation e;
	pe_model *model;

	for (int i = 0; i < 50; i++)
	{
		double a = data_uniform(&state), b = data_uniform(&state) * 100 + 5;
		double row[5] = {2 + 3 * a - b + (i % 2 ? 0.01 : -0.01), a, b, a + b, 7};

		memcpy(rows + i * 5, row, sizeof(row));
	}
	model = train_numbers(PE_ALGORITHM_LINEAR, PE_TASK_VALUE, specs, 4, rows, 50, &e);
	if (!OK(model != NULL, "collinear columns"))
		return;
	IS_NEAR(pe_model_get_coefficient(model, 1).estimate, 3, 0.05, "a");
	IS_NEAR(pe_model_get_coefficient(model, 2).estimate, -1, 0.001, "b");
	OK(pe_model_get_coefficient(model, 3).aliased && pe_model_get_coefficient(model, 4).aliased,
	   "the sum and the constant are dropped");
	IS_INT(pe_model_note_count(model), 2, "and both are said");
	printf("# %s\n# %s\n", pe_model_note(model, 0), pe_model_note(model, 1));
	pe_model_free(model);
}

/* Least squares against the textbook formulas for one column. */
static void
least_squares(void)
{
	pe_feature_spec spec = {"x", NULL, PE_FEATURE_NUMERIC};
	double rows[40 * 2], sx = 0, sy = 0, sxx = 0, sxy = 0, sse = 0, slope, intercept;
	uint64_t state = 9;
	pe_evaluation e;
	pe_model *model;
	pe_coefficient c;

	for (int i = 0; i < 40; i++)
	{
		rows[2 * i + 1] = data_uniform(&state) * 10;
		rows[2 * i] = 4 - 0.5 * rows[2 * i + 1] + data_uniform(&state);
		sx += rows[2 * i + 1];
		sy += rows[2 * i];
	}
	for (int i = 0; i < 40; i++)
	{
		sxx += (rows[2 * i + 1] - sx / 40) * (rows[2 * i + 1] - sx / 40);
		sxy += (rows[2 * i + 1] - sx / 40) * (rows[2 * i] - sy / 40);
	}
	slope = sxy / sxx;
	intercept = sy / 40 - slope * sx / 40;
	for (int i = 0; i < 40; i++)
		sse += pow(rows[2 * i] - intercept - slope * rows[2 * i + 1], 2);
	model = train_numbers(PE_ALGORITHM_LINEAR, PE_TASK_VALUE, &spec, 1, rows, 40, &e);
	if (!OK(model != NULL, "one column"))
		return;
	c = pe_model_get_coefficient(model, 1);
	IS_NEAR(c.estimate, slope, 1e-12, "slope");
	IS_NEAR(c.standard_error, sqrt(sse / 38 / sxx), 1e-12, "its standard error");
	IS_NEAR(pe_model_get_coefficient(model, 0).estimate, intercept, 1e-12, "intercept");
	IS_NEAR(pe_model_get_coefficient(model, 0).standard_error,
	        sqrt(sse / 38 * (1. / 40 + sx * sx / 1600 / sxx)), 1e-12, "its standard error");
	OK(c.p_value > 0 && c.p_value < 1e-12, "p-value %g", c.p_value);
	pe_model_free(model);
}

static void
separated(void)
{
	pe_feature_spec specs[2] = {{"x", NULL, PE_FEATURE_NUMERIC}, {"noise", NULL, PE_FEATURE_NUMERIC}};
	double rows[200 * 3];
	uint64_t state = 5;
	pe_evaluation e;
	pe_model *model;
	double sure[2] = {3, 0.5};

	for (int i = 0; i < 200; i++)
	{
		rows[3 * i + 1] = data_uniform(&state) * 4 - 2;
		rows[3 * i + 2] = data_uniform(&state);
		rows[3 * i] = rows[3 * i + 1] > 0.3;
	}
	model = train_numbers(PE_ALGORITHM_LOGISTIC, PE_TASK_PROPENSITY, specs, 2, rows, 200, &e);
	if (!OK(model != NULL, "separated classes end"))
		return;
	OK(pe_model_note_count(model) == 1 && strstr(pe_model_note(model, 0), "separates") != NULL,
	   "and are said: %s", pe_model_note_count(model) ? pe_model_note(model, 0) : "");
	OK(isfinite(pe_model_get_coefficient(model, 1).estimate), "x has a finite coefficient");
	OK(pe_model_predict(model, sure) > 0.99, "and predicts");
	IS_INT(e.verdict, PE_VERDICT_LEAKAGE, "x restates the target");
	pe_model_free(model);
}

static void
rows_and_threads(pe_algorithm algorithm, pe_task task, bool weighted)
{
	uint8_t *bytes[3];
	size_t length[3];
	pe_evaluation e;
	pe_model *model;
	double values[DATA_FEATURES], contributions[DATA_FEATURES], base, worst = 0;
	uint64_t state = 1;

	for (int threads = 1; threads <= 3; threads++)
	{
		char setting[16];

		snprintf(setting, sizeof(setting), "threads=%d", threads);
		if (data_train(&env, algorithm, task, 6000, weighted, SETTINGS(setting), &model, &e, &err) != PE_OK)
			printf("# %s\n", err.message);
		OK(model != NULL, "%s on %d threads", pe_algorithm_name(algorithm), threads);
		pe_model_serialize(&env, model, &bytes[threads - 1], &length[threads - 1], &err);
		if (threads < 3)
			pe_model_free(model);
	}
	OK(length[0] == length[1] && length[0] == length[2] && memcmp(bytes[0], bytes[1], length[0]) == 0 &&
	       memcmp(bytes[0], bytes[2], length[0]) == 0,
	   "the same bytes on 1, 2 and 3 threads");
	for (int i = 0; i < 1000; i++)
	{
		double sum = 0;

		data_row(model, &state, values);
		pe_model_explain(model, values, NULL, contributions, &base);
		for (int f = 0; f < DATA_FEATURES; f++)
			sum += contributions[f];
		worst = fmax(worst, fabs(sum + base - pe_model_margin(model, values)));
	}
	OK(worst < 1e-9, "contributions sum to the margin (%g)", worst);
	for (int i = 0; i < pe_model_note_count(model); i++)
		printf("# %s\n", pe_model_note(model, i));
	printf("# %s\n", e.sentence);
	for (int i = 0; i < 3; i++)
		pe_free(&env, bytes[i]);
	pe_model_free(model);
}

static void
out_of_memory(void)
{
	pe_status status = PE_OUT_OF_MEMORY;
	pe_evaluation e;
	pe_model *model;
	long fail_at;

	for (fail_at = 1; status == PE_OUT_OF_MEMORY && fail_at < 2000; fail_at++)
	{
		long before = memory.live;

		memory.calls = 0;
		memory.fail_at = fail_at;
		status = data_train(&env, PE_ALGORITHM_LOGISTIC, PE_TASK_PROPENSITY, 300, true, SETTINGS("threads=2"),
		                    &model, &e, &err);
		memory.fail_at = 0;
		if (status == PE_OUT_OF_MEMORY && (memory.live != before || model != NULL))
			break;
	}
	OK(status == PE_OK && fail_at > 30, "training survives each of %ld failing allocations", fail_at - 1);
	pe_model_free(model);
}

static int
stop_soon(void *ctx, const char *phase, uint64_t done, uint64_t total)
{
	return ++*(int *) ctx > 2;
}

static void
cancel(void)
{
	int ticks = 0;
	pe_env impatient = env;
	pe_evaluation e;
	pe_model *model;
	long before = memory.live;

	impatient.tick = stop_soon;
	impatient.tick_ctx = &ticks;
	IS_INT(data_train(&impatient, PE_ALGORITHM_LOGISTIC, PE_TASK_PROPENSITY, 60000, false,
	                  SETTINGS("threads=2"), &model, &e, &err),
	       PE_CANCELLED, "the tick stops training");
	OK(memory.live == before && model == NULL, "and nothing is left");
}

static void
refusals(void)
{
	pe_feature_spec spec = {"x", NULL, PE_FEATURE_NUMERIC};
	double constant[6] = {1, 5, 0, 5, 1, 5}, one_class[4] = {1, 2, 1, 3}, not_binary[4] = {1, 2, 2, 3};
	double missing[6] = {1, NAN, 0, NAN, 1, NAN};
	pe_evaluation e;

	OK(train_numbers(PE_ALGORITHM_LOGISTIC, PE_TASK_PROPENSITY, &spec, 1, constant, 3, &e) == NULL &&
	       err.code == PE_INVALID_DATA,
	   "a constant feature: %s", err.message);
	OK(train_numbers(PE_ALGORITHM_LOGISTIC, PE_TASK_PROPENSITY, &spec, 1, missing, 3, &e) == NULL &&
	       err.code == PE_INVALID_DATA,
	   "nothing but missing: %s", err.message);
	OK(train_numbers(PE_ALGORITHM_LOGISTIC, PE_TASK_PROPENSITY, &spec, 1, one_class, 2, &e) == NULL &&
	       err.code == PE_INVALID_DATA,
	   "one class: %s", err.message);
	OK(train_numbers(PE_ALGORITHM_LOGISTIC, PE_TASK_PROPENSITY, &spec, 1, not_binary, 2, &e) == NULL &&
	       err.code == PE_INVALID_DATA,
	   "not a class: %s", err.message);
	OK(train_numbers(PE_ALGORITHM_LOGISTIC, PE_TASK_PROPENSITY, &spec, 1, NULL, 0, &e) == NULL &&
	       err.code == PE_INVALID_DATA,
	   "no rows: %s", err.message);
	OK(train_numbers(PE_ALGORITHM_LOGISTIC, PE_TASK_VALUE, &spec, 1, one_class, 2, &e) == NULL &&
	       err.code == PE_INVALID_OPTION,
	   "wrong task: %s", err.message);
}

int
main(void)
{
	env = tap_env(&memory);
	published();
	least_squares();
	aliased();
	separated();
	rows_and_threads(PE_ALGORITHM_LOGISTIC, PE_TASK_PROPENSITY, false);
	rows_and_threads(PE_ALGORITHM_LOGISTIC, PE_TASK_PROPENSITY, true);
	rows_and_threads(PE_ALGORITHM_LINEAR, PE_TASK_VALUE, true);
	out_of_memory();
	cancel();
	refusals();
	IS_INT(memory.live, 0, "no block is left");
	return tap_done();
}
