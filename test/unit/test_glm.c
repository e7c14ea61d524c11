/*
 * Generalised linear models against R's glm, and the elastic net against its own
 * subgradient conditions.
 */
#include "model_data.h"

static pe_env env;
static tap_memory memory;
static pe_error err;

#define SMALL_ROWS 40

/* a, b, g of 3 levels, a count and a weight: the rows that R had, by the same formulas. */
static void
small_row(int i, double *a, double *b, int *g, double *y, double *weight)
{
	*a = i % 7;
	*b = i * i % 11 / 2.0;
	*g = i % 3;
	*weight = 1 + i * 5 % 4 / 2.0;
	*y = floor((i * 7 + 3) % 5 * (1 + *a / 4) + (*g == 1 ? 2 : 0) + i * i % 11 / 5.0);
}

static pe_status
train(pe_algorithm algorithm, pe_dataset *dataset, pe_task task, const char *const *settings,
      pe_model **model, pe_evaluation *e)
{
	pe_options options;
	pe_status status = PE_OK;

	*model = NULL;
	pe_options_init(&options, algorithm);
	options.holdout = 0;
	for (; *settings != NULL && status == PE_OK; settings++)
	{
		char name[64];
		const char *equals = strchr(*settings, '=');

		snprintf(name, sizeof(name), "%.*s", (int) (equals - *settings), *settings);
		status = pe_options_set(&options, name, equals + 1, &err);
	}
	if (status == PE_OK)
		status = pe_train(&env, dataset, task, &options, model, e, &err);
	pe_dataset_free(dataset);
	return status;
}

static pe_dataset *
small_dataset(pe_algorithm algorithm, double shift)
{
	static const pe_feature_spec specs[] = {{"a", NULL, PE_FEATURE_NUMERIC},
	                                        {"b", NULL, PE_FEATURE_NUMERIC},
	                                        {"g", NULL, PE_FEATURE_CATEGORICAL}};
	pe_dataset *dataset;

	if (pe_dataset_create(&env, algorithm, specs, 3, true, &dataset, &err) != PE_OK)
		return NULL;
	for (int i = 0; i < SMALL_ROWS; i++)
	{
		double values[3], y, weight;
		int g;
		int32_t code;

		small_row(i, &values[0], &values[1], &g, &y, &weight);
		pe_dataset_level(dataset, 2, &"abc"[g], 1, &code, &err);
		values[2] = code;
		pe_dataset_append(dataset, values, y + shift, weight, data_key(i), &err);
	}
	return dataset;
}

typedef struct reference
{
	const char *objective;
	const char *power;
	double shift;
	double estimates[5];
	double errors[5];
	double statistics[5];
	double p_values[5];
	double deviance, null_deviance, dispersion, aic;
} reference;

/* R 4.2: glm(y ~ a + b + g, weights), started again
 * from where it ended until nothing moves; tweedie is a family of variance mu^p, log link. */
static const reference references[] = {
    {"poisson",
     "1.5",
     0,
     {0.916613689249023, 0.0868864941006562, 0.107590333960244, 0.248861018575514, -0.0337407064231338},
     {0.174880513445449, 0.0297859861662014, 0.0395766072118891, 0.134264568826821, 0.148063045265981},
     {5.24137121506649, 2.91702593346557, 2.71853353634425, 1.85351221658861, -0.227880673145158},
     {1.5938770055066e-07, 0.00353386389374933, 0.00655720081513579, 0.063808976767653, 0.819739008049072},
     121.99829553829,
     142.771479662312,
     1,
     343.180460927595},
    {"gamma",
     "1.5",
     1,
     {1.20075531177336, 0.0751186737574838, 0.0872925083764637, 0.228761175233937, 0.000953324279187481},
     {0.235288042209401, 0.0415119024429755, 0.0574280450708697, 0.195897106632274, 0.196788457422653},
     {5.10334184643655, 1.80956952914104, 1.52003273433284, 1.16776188871107, 0.0048444115659689},
     {1.17379110929038e-05, 0.0789575262208225, 0.137486012309254, 0.250796575043012, 0.996162241300849},
     20.7719936455155,
     23.865968963175,
     0.446633616061034,
     341.660964766048},
    {"tweedie",
     "1.5",
     0,
     {0.896159461835605, 0.089975986240756, 0.107053554756778, 0.265143893198632, -0.0134883904935389},
     {0.296964735805877, 0.0512750788387374, 0.0696773812126513, 0.236802694172127, 0.249099359658627},
     {3.01773023454683, 1.75477031490746, 1.53641759913531, 1.11968275583006, -0.0541486357573289},
     {0.00472537116423699, 0.0880502522251608, 0.133427911540886, 0.270474148051572, 0.957124652400633},
     83.5778917943958,
     93.3593516633141,
     1.41601625794636,
     NAN},
    {"tweedie",
     "1.2",
     0,
     {0.909045997632987, 0.0880034562600319, 0.107357245296665, 0.254979699736146, -0.0259921494078641},
     {0.298025740262008, 0.0509980157269374, 0.068407484623599, 0.232190549022705, 0.251222909902439},
     {3.050226456392, 1.72562510532244, 1.56937864164105, 1.09814848541149, -0.10346249638601},
     {0.00434032379424562, 0.0932351224255292, 0.125557437305886, 0.279637023874697, 0.918186487967218},
     100.455745151396,
     115.803994761839,
     2.18004853976312,
     NAN},
    {"squared",
     "1.5",
     0,
     {1.8809837948817, 0.395326043930639, 0.50962658913447, 1.25480142971132, -0.106245953668131},
     {1.26150821795793, 0.222568072661659, 0.307903241141704, 1.05031181172759, 1.05509083210019},
     {1.49105948586411, 1.77620284528231, 1.65515175236473, 1.19469420004653, -0.10069839528095},
     {0.144904394804774, 0.084394068015407, 0.106834871974932, 0.240239895537067, 0.920364524172879},
     449.36568745571,
     544.985714285714,
     12.8390196415917,
     202.124354483806},
};

static void
compare(const reference *want)
{
	char objective[32], power[32], what[64];
	pe_evaluation e;
	pe_model *model;
	double values[3] = {2, 3, 1}, margin;

	snprintf(objective, sizeof(objective), "objective=%s", want->objective);
	snprintf(power, sizeof(power),
	         strcmp(want->objective, "tweedie") == 0 ? "tweedie_power=%s" : "tolerance=1e-10", want->power);
	snprintf(what, sizeof(what), "%s %s", want->objective, want->power);
	train(PE_ALGORITHM_GLM, small_dataset(PE_ALGORITHM_GLM, want->shift), PE_TASK_VALUE,
	      SETTINGS(objective, power), &model, &e);
	if (!OK(model != NULL, "%s: %s", what, err.message))
		return;
	IS_INT(pe_model_coefficient_count(model), 5, "%s: coefficients", what);
	for (int i = 0; i < 5; i++)
	{
		pe_coefficient c = pe_model_get_coefficient(model, i);

		IS_NEAR(c.estimate, want->estimates[i], 1e-9, "%s: %s %s", what, c.name, c.level ? c.level : "");
		IS_NEAR(c.standard_error / want->errors[i], 1, 1e-7, "%s: its standard error", what);
		IS_NEAR(c.statistic, want->statistics[i], 1e-6, "%s: its statistic", what);
		IS_NEAR(c.p_value, want->p_values[i], 1e-7, "%s: its p-value", what);
	}
	IS_NEAR(pe_model_deviance(model), want->deviance, 1e-9, "%s: deviance", what);
	IS_NEAR(pe_model_null_deviance(model), want->null_deviance, 1e-9, "%s: null deviance", what);
	IS_NEAR(pe_model_dispersion(model), want->dispersion, 1e-7, "%s: dispersion", what);
	if (isnan(want->aic))
		OK(isnan(pe_model_aic(model)), "%s: no AIC", what);
	else
		IS_NEAR(pe_model_aic(model), want->aic, 1e-8, "%s: AIC", what);
	margin = want->estimates[0] + 2 * want->estimates[1] + 3 * want->estimates[2] + want->estimates[3];
	IS_NEAR(pe_model_predict(model, values), strcmp(want->objective, "squared") == 0 ? margin : exp(margin),
	        1e-8, "%s: prediction", what);
	pe_model_free(model);
}

/* ---- the elastic net ------------------------------------------------------------------ */

#define NET_ROWS    500
#define NET_NUMBERS 8
#define NET_COLUMNS (NET_NUMBERS + 2)

/* Numbers of which some are alike, a category of 3 levels, a target by the objective. */
static void
net_row(int i, uint64_t *state, pe_objective objective, double *columns, double *y, double *weight)
{
	double common = data_uniform(state), margin;
	int level;

	for (int k = 0; k < NET_NUMBERS; k++)
		columns[k] = (k < 3 ? 4 * common + 0.3 * data_uniform(state) : data_uniform(state)) * (k + 1) + k;
	level = (int) (data_uniform(state) * 3);
	columns[NET_NUMBERS] = level == 1;
	columns[NET_NUMBERS + 1] = level == 2;
	*weight = 0.5 + data_uniform(state);
	margin = 0.5 * columns[0] - 0.4 * columns[3] + (level == 1) - 0.2 * columns[5];
	switch ((int) objective)
	{
		case PE_OBJECTIVE_LOGISTIC:
			*y = data_uniform(state) < 1 / (1 + exp(-margin));
			break;
		case PE_OBJECTIVE_SQUARED:
			*y = 3 + margin + data_uniform(state);
			break;
		default:
			*y = floor(exp(margin / 3) * 3 * data_uniform(state)) + (objective == PE_OBJECTIVE_GAMMA);
	}
	(void) i;
}

static pe_dataset *
net_dataset(pe_algorithm algorithm, pe_objective objective)
{
	char names[NET_NUMBERS][8];
	pe_feature_spec specs[NET_NUMBERS + 1];
	pe_dataset *dataset;
	uint64_t state = 77;

	for (int k = 0; k < NET_NUMBERS; k++)
	{
		snprintf(names[k], sizeof(names[k]), "x%d", k);
		specs[k] = (pe_feature_spec){names[k], NULL, PE_FEATURE_NUMERIC};
	}
	specs[NET_NUMBERS] = (pe_feature_spec){"level", NULL, PE_FEATURE_CATEGORICAL};
	if (pe_dataset_create(&env, algorithm, specs, NET_NUMBERS + 1, true, &dataset, &err) != PE_OK)
		return NULL;
	for (int i = 0; i < NET_ROWS; i++)
	{
		double columns[NET_COLUMNS], y, weight;
		int32_t code = 0;

		net_row(i, &state, objective, columns, &y, &weight);
		if (pe_dataset_level(dataset, NET_NUMBERS,
		                     columns[NET_NUMBERS] > 0       ? "b"
		                     : columns[NET_NUMBERS + 1] > 0 ? "c"
		                                                    : "a",
		                     1, &code, &err) != PE_OK)
			break;
		columns[NET_NUMBERS] = code;
		pe_dataset_append(dataset, columns, y, weight, data_key(i), &err);
	}
	return dataset;
}

/* The negative gradient of half the deviance by the margin, by each distribution's own formula. */
static double
residual(pe_objective objective, double y, double margin)
{
	switch ((int) objective)
	{
		case PE_OBJECTIVE_LOGISTIC:
			return y - 1 / (1 + exp(-margin));
		case PE_OBJECTIVE_SQUARED:
			return y - margin;
		case PE_OBJECTIVE_POISSON:
			return y - exp(margin);
		case PE_OBJECTIVE_GAMMA:
			return y / exp(margin) - 1;
		default:
			return (y - exp(margin)) * pow(exp(margin), -0.5); /* tweedie of power 1.5 */
	}
}

/* By how much the coefficients miss the conditions of a minimum, from the rows alone. */
static double
missed(const pe_model *model, pe_objective objective, double lambda, double ratio, int *nonzero)
{
	double beta[NET_COLUMNS + 1], gradient[NET_COLUMNS + 1] = {0}, mean[NET_COLUMNS] = {0};
	double square[NET_COLUMNS] = {0}, total = 0, worst;
	uint64_t state = 77;

	for (int k = 0; k <= NET_COLUMNS; k++)
		beta[k] = pe_model_get_coefficient(model, k).estimate;
	for (int i = 0; i < NET_ROWS; i++)
	{
		double columns[NET_COLUMNS], y, weight, margin = beta[0], off;

		net_row(i, &state, objective, columns, &y, &weight);
		for (int k = 0; k < NET_COLUMNS; k++)
			margin += beta[k + 1] * columns[k];
		off = weight * residual(objective, y, margin);
		gradient[0] += off;
		total += weight;
		for (int k = 0; k < NET_COLUMNS; k++)
		{
			gradient[k + 1] += off * columns[k];
			mean[k] += weight * columns[k];
			square[k] += weight * columns[k] * columns[k];
		}
	}
	worst = fabs(gradient[0]) / total;
	*nonzero = 0;
	for (int k = 0; k < NET_COLUMNS; k++)
	{
		double deviation = sqrt(square[k] / total - mean[k] * mean[k] / total / total);
		double b = beta[k + 1] * deviation, g = gradient[k + 1] / total / deviation;

		*nonzero += b != 0;
		worst = fmax(worst, b == 0 ? fabs(g) - lambda * ratio
		                           : fabs(g - lambda * (1 - ratio) * b - copysign(lambda * ratio, b)));
	}
	return worst;
}

static void
conditions(pe_algorithm algorithm, pe_objective objective)
{
	static const char *const lambdas[] = {"0.3", "0.05", "0.002"}, *const ratios[] = {"1", "0.5", "0"};
	pe_task task = algorithm == PE_ALGORITHM_LOGISTIC ? PE_TASK_PROPENSITY : PE_TASK_VALUE;
	int least = NET_COLUMNS;

	for (int i = 0; i < 9; i++)
	{
		const char *name = pe_objective_name(objective);
		char wanted[32], lambda[32], ratio[32];
		pe_evaluation e;
		pe_model *model;
		int nonzero = -1;
		double worst;

		snprintf(wanted, sizeof(wanted), "objective=%s", name);
		snprintf(lambda, sizeof(lambda), "lambda=%s", lambdas[i / 3]);
		snprintf(ratio, sizeof(ratio), "l1_ratio=%s", ratios[i % 3]);
		train(algorithm, net_dataset(algorithm, objective), task, SETTINGS(wanted, lambda, ratio), &model,
		      &e);
		if (!OK(model != NULL, "%s, %s, %s: %s", name, lambda, ratio, err.message))
			continue;
		worst = missed(model, objective, strtod(lambdas[i / 3], NULL), strtod(ratios[i % 3], NULL), &nonzero);
		OK(worst < 1e-8, "%s, %s, %s: the subgradient conditions hold but for %g", name, lambda, ratio,
		   worst);
		IS_INT(pe_model_path_count(model), 1, "one point");
		IS_INT(pe_model_get_path_point(model, 0).nonzero, nonzero, "with as many coefficients");
		OK(pe_model_get_path_point(model, 0).chosen && isnan(pe_model_get_path_point(model, 0).cv_mean),
		   "which is the one kept");
		OK(isnan(pe_model_get_coefficient(model, 1).standard_error), "and has no standard errors");
		least = nonzero < least ? nonzero : least;
		pe_model_free(model);
	}
	OK(least < NET_COLUMNS, "some lambda leaves coefficients out (%d)", least);
}

/* The path falls, each rule takes its point, and threads change no bit. */
static void
path(pe_algorithm algorithm, pe_objective objective)
{
	pe_task task = algorithm == PE_ALGORITHM_LOGISTIC ? PE_TASK_PROPENSITY : PE_TASK_VALUE;
	const char *name = pe_objective_name(objective);
	uint8_t *bytes[2];
	size_t length[2];
	char wanted[32];
	pe_evaluation e;
	pe_model *model = NULL;
	int least = -1, one_error = -1, chosen = -1, nonzero, n;
	bool falls = true, explains = true;

	snprintf(wanted, sizeof(wanted), "objective=%s", name);
	for (int threads = 1; threads <= 2; threads++)
	{
		char setting[16];

		pe_model_free(model);
		snprintf(setting, sizeof(setting), "threads=%d", threads);
		train(algorithm, net_dataset(algorithm, objective), task,
		      SETTINGS(wanted, "lambda=cv_1se", "l1_ratio=0.9", "lambda_count=40", setting), &model, &e);
		if (!OK(model != NULL, "%s: %s", name, err.message))
			return;
		pe_model_serialize(&env, model, &bytes[threads - 1], &length[threads - 1], &err);
	}
	OK(length[0] == length[1] && memcmp(bytes[0], bytes[1], length[0]) == 0, "%s: the same on 2 threads",
	   name);
	pe_model_free(model);
	IS_INT(pe_model_deserialize(&env, bytes[0], length[0], &model, &err), PE_OK, "read back");
	n = pe_model_path_count(model);
	for (int i = 0; i < n; i++)
	{
		pe_path_point point = pe_model_get_path_point(model, i);

		least = point.least ? i : least;
		one_error = point.one_error ? i : one_error;
		chosen = point.chosen ? i : chosen;
		explains &= point.cv_mean > 0 && point.cv_error > 0;
		falls &= i == 0 || (point.lambda < pe_model_get_path_point(model, i - 1).lambda &&
		                    point.deviance_explained >=
		                        pe_model_get_path_point(model, i - 1).deviance_explained - 1e-9);
	}
	OK(n > 10 && falls && explains, "%s: %d points, of falling lambda and rising share", name, n);
	IS_INT(pe_model_get_path_point(model, 0).nonzero, 0, "the first has no coefficient");
	OK(least > 0 && least >= one_error && one_error == chosen, "%s: least %d, one standard error %d, kept %d",
	   name, least, one_error, chosen);
	OK(missed(model, objective, pe_model_get_path_point(model, chosen).lambda, 0.9, &nonzero) < 1e-8,
	   "and solved at its lambda");
	OK(pe_model_note_count(model) == 1 && strstr(pe_model_note(model, 0), "one standard error") != NULL,
	   "which is said: %s", pe_model_note_count(model) ? pe_model_note(model, 0) : "");
	pe_model_free(model);
	pe_free(&env, bytes[0]);
	pe_free(&env, bytes[1]);
}

/* ---- what has no estimate, extreme numbers -------------------------------------------- */

/* A level whose rows all have the target 0 has no finite coefficient with a log link. */
static void
zero_level(const char *objective)
{
	static const pe_feature_spec specs[] = {{"x", NULL, PE_FEATURE_NUMERIC},
	                                        {"g", NULL, PE_FEATURE_CATEGORICAL}};
	pe_dataset *dataset;
	pe_model *model;
	pe_evaluation e;
	bool finite = true;

	pe_dataset_create(&env, PE_ALGORITHM_GLM, specs, 2, false, &dataset, &err);
	for (int i = 0; i < 300; i++)
	{
		double values[2] = {i % 10, 0};
		int32_t code;

		pe_dataset_level(dataset, 1,
		                 i % 3 == 2   ? "never"
		                 : i % 3 == 1 ? "b"
		                              : "a",
		                 i % 3 == 2 ? 5 : 1, &code, &err);
		values[1] = code;
		pe_dataset_append(dataset, values, i % 3 == 2 ? 0 : i % 5, 1, data_key(i), &err);
	}
	train(PE_ALGORITHM_GLM, dataset, PE_TASK_VALUE, SETTINGS(objective), &model, &e);
	if (!OK(model != NULL, "%s, a level of zeros: %s", objective, err.message))
		return;
	for (int i = 0; i < pe_model_coefficient_count(model); i++)
		finite &= isfinite(pe_model_get_coefficient(model, i).estimate);
	OK(finite, "coefficients are finite");
	OK(pe_model_note_count(model) == 1 && strstr(pe_model_note(model, 0), "g = never") != NULL,
	   "and the level is said: %s", pe_model_note_count(model) ? pe_model_note(model, 0) : "");
	pe_model_free(model);
}

/* y = 1 + 2 u with u on scales far from 1: found again on each. */
static void
scales(void)
{
	static const double sizes[] = {1e300, 1.5e308, 1e-280, 1e150};
	static const pe_feature_spec specs[] = {{"x", NULL, PE_FEATURE_NUMERIC}, {"z", NULL, PE_FEATURE_NUMERIC}};

	for (int k = 0; k < 4; k++)
	{
		pe_dataset *dataset;
		pe_model *model;
		pe_evaluation e;
		uint64_t state = 8;
		double row[2] = {0.25 * sizes[k], 0.5};

		pe_dataset_create(&env, PE_ALGORITHM_LINEAR, specs, 2, false, &dataset, &err);
		for (int i = 0; i < 200; i++)
		{
			double u = 2 * data_uniform(&state) - 1, values[2] = {u * sizes[k], data_uniform(&state)};

			pe_dataset_append(dataset, values, 1 + 2 * u + values[1], 1, data_key(i), &err);
		}
		train(PE_ALGORITHM_LINEAR, dataset, PE_TASK_VALUE, SETTINGS("threads=1"), &model, &e);
		if (!OK(model != NULL, "values near %g: %s", sizes[k], err.message))
			continue;
		IS_INT(pe_model_note_count(model), 0, "nothing is left out");
		IS_NEAR(pe_model_predict(model, row), 2, 1e-9, "and the prediction is exact");
		pe_model_free(model);
	}
}

/* So many rows that the fit begins on a sample of them: the same maximum. */
static void
many_rows(void)
{
	static const pe_feature_spec specs[] = {
	    {"x", NULL, PE_FEATURE_NUMERIC}, {"z", NULL, PE_FEATURE_NUMERIC}, {"rare", NULL, PE_FEATURE_NUMERIC}};
	pe_dataset *dataset;
	pe_model *model;
	pe_evaluation e;
	uint64_t state = 4;
	double gradient[4] = {0}, beta[4], total = 0;
	int rows = 120000;

	pe_dataset_create(&env, PE_ALGORITHM_LOGISTIC, specs, 3, false, &dataset, &err);
	for (int i = 0; i < rows; i++)
	{
		double values[3] = {data_uniform(&state), data_uniform(&state) * 9, i % 6007 == 1};

		pe_dataset_append(dataset, values,
		                  data_uniform(&state) < 1 / (1 + exp(3 - values[0] - values[1] / 3)), 1, data_key(i),
		                  &err);
	}
	train(PE_ALGORITHM_LOGISTIC, dataset, PE_TASK_PROPENSITY, SETTINGS("threads=2"), &model, &e);
	if (!OK(model != NULL, "%d rows: %s", rows, err.message))
		return;
	for (int k = 0; k < 4; k++)
		beta[k] = pe_model_get_coefficient(model, k).estimate;
	state = 4;
	for (int i = 0; i < rows; i++)
	{
		double values[3] = {data_uniform(&state), data_uniform(&state) * 9, i % 6007 == 1}, off;
		double y = data_uniform(&state) < 1 / (1 + exp(3 - values[0] - values[1] / 3));

		off = y - 1 / (1 + exp(-(beta[0] + beta[1] * values[0] + beta[2] * values[1] + beta[3] * values[2])));
		gradient[0] += off;
		for (int k = 0; k < 3; k++)
			gradient[k + 1] += off * values[k];
		total += fabs(off);
	}
	for (int k = 0; k < 4; k++)
		OK(fabs(gradient[k]) < 1e-9 * total, "condition %d of the maximum holds (%g)", k, gradient[k]);
	OK(pe_model_note_count(model) == 0 && !pe_model_get_coefficient(model, 3).aliased,
	   "a column that a sample may not see stays");
	pe_model_free(model);
}

/* ---- refusals, memory, cancel --------------------------------------------------------- */

static void
refused(pe_algorithm algorithm, double shift, const char *const *settings, pe_status code, const char *what)
{
	pe_evaluation e;
	pe_model *model;

	IS_INT(train(algorithm, small_dataset(algorithm, shift), PE_TASK_VALUE, settings, &model, &e), code, "%s",
	       what);
	printf("# %s\n# %s\n", err.message, err.hint);
	pe_model_free(model);
}

static void
refusals(void)
{
	refused(PE_ALGORITHM_GLM, 0, SETTINGS("objective=gamma"), PE_INVALID_DATA, "gamma: a target of 0");
	refused(PE_ALGORITHM_GLM, -1, SETTINGS("objective=poisson"), PE_INVALID_DATA, "poisson: below 0");
	refused(PE_ALGORITHM_GLM, 0, SETTINGS("objective=logistic"), PE_INVALID_OPTION, "glm: logistic");
	refused(PE_ALGORITHM_GLM, 0, SETTINGS("objective=tweedie", "tweedie_power=2"), PE_INVALID_OPTION,
	        "tweedie_power 2");
	refused(PE_ALGORITHM_GLM, 0, SETTINGS("tweedie_power=1.7"), PE_INVALID_OPTION, "without tweedie");
	refused(PE_ALGORITHM_LINEAR, 0, SETTINGS("lambda=0"), PE_INVALID_OPTION, "lambda 0");
	refused(PE_ALGORITHM_LINEAR, 0, SETTINGS("lambda=best"), PE_INVALID_OPTION, "lambda best");
	refused(PE_ALGORITHM_LINEAR, 0, SETTINGS("l1_ratio=1.5"), PE_INVALID_OPTION, "l1_ratio 1.5");
	refused(PE_ALGORITHM_LINEAR, 0, SETTINGS("lambda=cv", "l2=1"), PE_INVALID_OPTION, "lambda and l2");
	refused(PE_ALGORITHM_LINEAR, 0, SETTINGS("folds=100"), PE_INVALID_DATA, "a fold without rows");
}

static void
out_of_memory(void)
{
	pe_status status = PE_OUT_OF_MEMORY;
	pe_evaluation e;
	pe_model *model = NULL;
	long fail_at;

	for (fail_at = 1; status == PE_OUT_OF_MEMORY && fail_at < 2000; fail_at++)
	{
		long before = memory.live;
		pe_dataset *dataset;

		memory.calls = 0;
		memory.fail_at = 0;
		dataset = net_dataset(PE_ALGORITHM_GLM, PE_OBJECTIVE_POISSON);
		memory.calls = 0;
		memory.fail_at = fail_at;
		status = train(PE_ALGORITHM_GLM, dataset, PE_TASK_VALUE,
		               SETTINGS("lambda=cv", "folds=3", "lambda_count=5"), &model, &e);
		memory.fail_at = 0;
		if (status == PE_OUT_OF_MEMORY && (memory.live != before || model != NULL))
			break;
	}
	OK(status == PE_OK && fail_at > 40, "the elastic net survives each of %ld failing allocations",
	   fail_at - 1);
	pe_model_free(model);
}

static int
stop_later(void *ctx, const char *phase, uint64_t done, uint64_t total)
{
	return ++*(int *) ctx > 3;
}

static void
cancel(void)
{
	int ticks = 0;
	pe_env impatient = env;
	pe_evaluation e;
	pe_model *model;
	long before = memory.live;

	impatient.tick = stop_later;
	impatient.tick_ctx = &ticks;
	IS_INT(data_train(&impatient, PE_ALGORITHM_LOGISTIC, PE_TASK_PROPENSITY, 30000, false,
	                  SETTINGS("lambda=cv", "threads=2"), &model, &e, &err),
	       PE_CANCELLED, "the tick stops the elastic net");
	OK(memory.live == before && model == NULL, "and nothing is left");
}

int
main(void)
{
	env = tap_env(&memory);
	for (size_t i = 0; i < sizeof(references) / sizeof(references[0]); i++)
		compare(&references[i]);
	conditions(PE_ALGORITHM_LOGISTIC, PE_OBJECTIVE_LOGISTIC);
	conditions(PE_ALGORITHM_LINEAR, PE_OBJECTIVE_SQUARED);
	conditions(PE_ALGORITHM_GLM, PE_OBJECTIVE_POISSON);
	conditions(PE_ALGORITHM_GLM, PE_OBJECTIVE_GAMMA);
	conditions(PE_ALGORITHM_GLM, PE_OBJECTIVE_TWEEDIE);
	path(PE_ALGORITHM_LOGISTIC, PE_OBJECTIVE_LOGISTIC);
	path(PE_ALGORITHM_LINEAR, PE_OBJECTIVE_SQUARED);
	path(PE_ALGORITHM_GLM, PE_OBJECTIVE_TWEEDIE);
	zero_level("objective=poisson");
	zero_level("objective=tweedie");
	scales();
	many_rows();
	refusals();
	out_of_memory();
	cancel();
	IS_INT(memory.live, 0, "no block is left");
	return tap_done();
}
