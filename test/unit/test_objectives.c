/*
 * test_objectives.c
 *		What trees minimise: gradients against differences of the loss, leaves against brute
 *		force, and what must hold of models for each objective.
 */
#include "model/internal.h"
#include "model/trees/boost.h"
#include "model_data.h"

static tap_memory memory;
static pe_env env;
static pe_error err;

/* ---- quantiles ------------------------------------------------------------------------ */

static void
quantiles(void)
{
	uint64_t state = 5;
	int right = 0;

	for (int round = 0; round < 500; round++)
	{
		int n = 1 + (int) (data_uniform(&state) * 60);
		double keys[64], weights[64], sorted[64], of[64], share = 0.01 + 0.98 * data_uniform(&state);
		double total = 0, sum = 0, answer = 0, got;

		for (int i = 0; i < n; i++)
		{
			keys[i] = floor(data_uniform(&state) * 12);
			weights[i] = 1 + floor(data_uniform(&state) * 4);
			total += weights[i];
		}
		memcpy(sorted, keys, sizeof(keys));
		memcpy(of, weights, sizeof(weights));
		/* The least key whose weight and that of smaller ones is enough. */
		answer = INFINITY;
		for (int i = 0; i < n; i++)
		{
			sum = 0;
			for (int k = 0; k < n; k++)
				sum += sorted[k] <= sorted[i] ? of[k] : 0;
			if (sum >= share * total && sorted[i] < answer)
				answer = sorted[i];
		}
		got = pe_weighted_quantile(keys, weights, (size_t) n, share);
		right += got == answer;
	}
	IS_INT(right, 500, "weighted quantiles");
}

/* ---- gradients against differences of the loss ----------------------------------------- */

typedef struct one_feature
{
	int n;
	const double *x;
	const double *y;
	const double *weights;
} one_feature;

static pe_model *
fit_one(const one_feature *data, const char *const *settings, pe_evaluation *e)
{
	pe_feature_spec spec = {"x", NULL, PE_FEATURE_NUMERIC};
	pe_options options;
	pe_dataset *dataset;
	pe_model *model = NULL;

	pe_options_init(&options, PE_ALGORITHM_BOOSTED_TREES);
	options.holdout = 0;
	for (; *settings != NULL; settings++)
	{
		char name[64];
		const char *equals = strchr(*settings, '=');

		snprintf(name, sizeof(name), "%.*s", (int) (equals - *settings), *settings);
		if (pe_options_set(&options, name, equals + 1, &err) != PE_OK)
			return NULL;
	}
	pe_dataset_create(&env, PE_ALGORITHM_BOOSTED_TREES, &spec, 1, data->weights != NULL, &dataset, &err);
	for (int i = 0; i < data->n; i++)
		pe_dataset_append(dataset, &data->x[i], data->y[i], data->weights != NULL ? data->weights[i] : 1,
		                  data_key((uint64_t) i), &err);
	pe_train(&env, dataset, PE_TASK_VALUE, &options, &model, e, &err);
	pe_dataset_free(dataset);
	return model;
}

/* The loss as its formula is written in the books. */
static double
textbook_loss(const char *objective, double margin, double y)
{
	if (strcmp(objective, "squared") == 0)
		return (margin - y) * (margin - y) / 2;
	if (strcmp(objective, "absolute") == 0)
		return fabs(margin - y) / 2;
	if (strcmp(objective, "quantile") == 0)
		return y > margin ? 0.8 * (y - margin) : 0.2 * (margin - y);
	if (strcmp(objective, "poisson") == 0)
		return exp(margin) - y * margin;
	if (strcmp(objective, "gamma") == 0)
		return y * exp(-margin) + margin;
	return 2 * y * exp(-0.5 * margin) + 2 * exp(0.5 * margin); /* power 1.5 */
}

/*
 * One tree of two leaves from the best constant: a small step along each leaf's value
 * must lower the loss by what the derivative says, and the full step must lower it, too.
 */
static void
descends(const char *objective)
{
	enum
	{
		N = 400
	};
	static double x[N], y[N];
	uint64_t state = 12;
	char setting[64];
	one_feature data = {N, x, y, NULL};
	static pe_evaluation e;
	pe_model *small, *full;
	double before = 0, after = 0, after_full = 0;

	for (int i = 0; i < N; i++)
	{
		x[i] = data_uniform(&state);
		y[i] = exp(2 * (x[i] > 0.4)) * (0.1 + data_uniform(&state));
	}
	snprintf(setting, sizeof(setting), "objective=%s", objective);
	small = fit_one(&data,
	                SETTINGS(setting, "trees=1", "max_depth=1", "learning_rate=0.0001", "quantile=0.8"), &e);
	full = fit_one(&data, SETTINGS(setting, "trees=1", "max_depth=1", "learning_rate=1", "quantile=0.8"), &e);
	if (!OK(small != NULL && full != NULL, "%s: trained (%s)", objective, err.message))
		return;
	for (int i = 0; i < N; i++)
	{
		before += textbook_loss(objective, small->base_margin, y[i]) / N;
		after += textbook_loss(objective, pe_model_margin(small, &x[i]), y[i]) / N;
		after_full += textbook_loss(objective, pe_model_margin(full, &x[i]), y[i]) / N;
	}
	OK(after < before, "%s: a small step lowers the loss (%g to %g)", objective, before, after);
	OK(after_full < after, "%s: a full step lowers it further (%g)", objective, after_full);
	OK(fabs(pe_model_margin(small, &x[0]) - small->base_margin) < 1e-2, "%s: the small step is small",
	   objective);
	pe_model_free(small);
	pe_model_free(full);
}

/* With one split and full steps the leaves end at their own best constants. */
static void
converges(const char *objective, double share)
{
	enum
	{
		N = 300
	};
	static double x[N], y[N], weights[N];
	uint64_t state = 3;
	char setting[64];
	one_feature data = {N, x, y, weights};
	static pe_evaluation e;
	pe_model *model;
	double worst = 0;

	for (int i = 0; i < N; i++)
	{
		x[i] = i % 3 == 0;
		weights[i] = 1 + i % 4;
		y[i] = floor(10 * exp(x[i]) * (0.2 + data_uniform(&state)));
	}
	snprintf(setting, sizeof(setting), "objective=%s", objective);
	model = fit_one(
	    &data, SETTINGS(setting, "trees=60", "max_depth=1", "learning_rate=0.5", "l2=0", "quantile=0.8"), &e);
	if (!OK(model != NULL, "%s: trained (%s)", objective, err.message))
		return;
	for (int side = 0; side < 2; side++)
	{
		double keys[N], own[N], at = side, sum = 0, total = 0, wanted;
		size_t n = 0;

		for (int i = 0; i < N; i++)
			if (x[i] == side)
			{
				keys[n] = y[i];
				own[n++] = weights[i];
				sum += weights[i] * y[i];
				total += weights[i];
			}
		wanted = share > 0 ? pe_weighted_quantile(keys, own, n, share) : sum / total;
		worst = fmax(worst, fabs(pe_model_predict(model, &at) - wanted) / wanted);
	}
	OK(worst < 1e-4, "%s: each side ends at its own best constant (off by %g)", objective, worst);
	pe_model_free(model);
}

/* Targets times c: the predictions of every value objective but Poisson's regularised ones follow. */
static void
scales(const char *objective, double tolerance)
{
	enum
	{
		N = 500
	};
	static double x[N], y[N], z[N];
	uint64_t state = 9;
	char setting[64];
	one_feature data = {N, x, y, NULL}, scaled = {N, x, z, NULL};
	static pe_evaluation e;
	pe_model *one, *other;
	double worst = 0;

	for (int i = 0; i < N; i++)
	{
		x[i] = data_uniform(&state);
		y[i] = (1 + sin(6 * x[i])) * data_uniform(&state) + 0.01;
		z[i] = 8 * y[i];
	}
	snprintf(setting, sizeof(setting), "objective=%s", objective);
	one = fit_one(&data, SETTINGS(setting, "trees=30", "l2=0", "min_child_weight=0"), &e);
	other = fit_one(&scaled, SETTINGS(setting, "trees=30", "l2=0", "min_child_weight=0"), &e);
	if (!OK(one != NULL && other != NULL, "%s: trained", objective))
		return;
	for (int i = 0; i < N; i++)
		worst = fmax(worst, fabs(pe_model_predict(other, &x[i]) / pe_model_predict(one, &x[i]) / 8 - 1));
	OK(worst < tolerance, "%s: targets 8 times as large, predictions 8 times as large (off by %g)", objective,
	   worst);
	pe_model_free(one);
	pe_model_free(other);
}

/* A weight of 3 is the row three times. */
static void
weights_repeat(pe_task task, const char *objective)
{
	static pe_evaluation e;
	uint64_t state = 21;
	pe_dataset *weighted, *repeated;
	pe_options options;
	pe_model *one = NULL, *other = NULL;
	pe_feature_spec specs[2] = {{"x", NULL, PE_FEATURE_NUMERIC}, {"c", NULL, PE_FEATURE_CATEGORICAL}};
	double worst = 0;
	int code_count = 0;

	pe_options_init(&options, PE_ALGORITHM_BOOSTED_TREES);
	options.holdout = 0;
	options.trees = 20;
	pe_options_set(&options, "objective", objective, &err);
	pe_dataset_create(&env, PE_ALGORITHM_BOOSTED_TREES, specs, 2, true, &weighted, &err);
	pe_dataset_create(&env, PE_ALGORITHM_BOOSTED_TREES, specs, 2, false, &repeated, &err);
	for (int i = 0; i < 600; i++)
	{
		double values[2] = {floor(data_uniform(&state) * 100), 0}, target, uniform = data_uniform(&state);
		int weight = 1 + i % 3, level = i % 4;
		char text[8];
		int32_t code, again;

		snprintf(text, sizeof(text), "l%d", level);
		pe_dataset_level(weighted, 1, text, strlen(text), &code, &err);
		pe_dataset_level(repeated, 1, text, strlen(text), &again, &err);
		code_count += code != again;
		values[1] = code;
		target = task == PE_TASK_PROPENSITY ? uniform < values[0] / 100
		         : task == PE_TASK_VALUE    ? floor(values[0] / 20 + 3 * uniform + level) + 1
		                                    : 0;
		if (task == PE_TASK_AFFINITY)
		{
			const char *class = uniform < values[0] / 150 ? "a" : level > 1 ? "b" : "c";

			pe_dataset_class(weighted, class, 1, &code, &err);
			pe_dataset_class(repeated, class, 1, &again, &err);
			target = code;
		}
		pe_dataset_append(weighted, values, target, weight, data_key((uint64_t) i), &err);
		for (int k = 0; k < weight; k++)
			pe_dataset_append(repeated, values, target, 1, data_key((uint64_t) (i * 3 + k)), &err);
	}
	pe_train(&env, weighted, task, &options, &one, &e, &err);
	pe_train(&env, repeated, task, &options, &other, &e, &err);
	pe_dataset_free(weighted);
	pe_dataset_free(repeated);
	if (!OK(one != NULL && other != NULL && code_count == 0, "%s: trained (%s)", objective, err.message))
		return;
	for (double x = 0; x < 100; x++)
		for (int level = 0; level < 4; level++)
		{
			double values[2] = {x, level};

			worst = fmax(worst, fabs(pe_model_predict(one, values) - pe_model_predict(other, values)));
		}
	OK(worst < 2e-6, "%s: weights are repetitions (off by %g)", objective, worst);
	pe_model_free(one);
	pe_model_free(other);
}

static void
refuses_targets(void)
{
	double x[40], y[40];
	one_feature data = {40, x, y, NULL};
	static pe_evaluation e;

	for (int i = 0; i < 40; i++)
	{
		x[i] = i;
		y[i] = i;
	}
	OK(fit_one(&data, SETTINGS("objective=gamma"), &e) == NULL && err.code == PE_INVALID_DATA && err.row == 1,
	   "gamma: %s", err.message);
	y[7] = -1;
	OK(fit_one(&data, SETTINGS("objective=poisson"), &e) == NULL && err.code == PE_INVALID_DATA &&
	       err.row == 8,
	   "poisson: %s", err.message);
	OK(fit_one(&data, SETTINGS("objective=tweedie"), &e) == NULL && err.code == PE_INVALID_DATA,
	   "tweedie: %s", err.message);
	OK(fit_one(&data, SETTINGS("objective=logistic"), &e) == NULL && err.code == PE_INVALID_OPTION, "%s",
	   err.message);
	OK(fit_one(&data, SETTINGS("objective=quantile", "goss=true"), &e) == NULL &&
	       err.code == PE_INVALID_OPTION,
	   "%s", err.message);
	OK(fit_one(&data, SETTINGS("goss=true", "row_sample=0.5"), &e) == NULL && err.code == PE_INVALID_OPTION,
	   "%s", err.message);
	OK(fit_one(&data, SETTINGS("tweedie_power=2"), &e) == NULL && err.code == PE_INVALID_OPTION, "%s",
	   err.message);
}

/* ---- classes -------------------------------------------------------------------------- */

static pe_status
train_classes(const char *const *settings, int rows, int threads, const char *const *names, pe_model **model,
              pe_evaluation *e)
{
	uint64_t state = 17;
	pe_options options;
	pe_dataset *dataset = NULL;
	pe_feature_spec specs[3] = {{"x", NULL, PE_FEATURE_NUMERIC},
	                            {"y", NULL, PE_FEATURE_NUMERIC},
	                            {"c", NULL, PE_FEATURE_CATEGORICAL}};
	pe_status status;

	*model = NULL;
	pe_options_init(&options, PE_ALGORITHM_BOOSTED_TREES);
	options.threads = threads;
	options.trees = 20;
	for (; *settings != NULL; settings++)
	{
		char name[64];
		const char *equals = strchr(*settings, '=');

		snprintf(name, sizeof(name), "%.*s", (int) (equals - *settings), *settings);
		if ((status = pe_options_set(&options, name, equals + 1, &err)) != PE_OK)
			return status;
	}
	status = pe_dataset_create(&env, PE_ALGORITHM_BOOSTED_TREES, specs, 3, false, &dataset, &err);
	for (int i = 0; i < rows && status == PE_OK; i++)
	{
		double values[3] = {data_uniform(&state) * 4, data_uniform(&state), NAN};
		int class = data_uniform(&state) < 0.15 ? (int) (data_uniform(&state) * 4) : (int) values[0];
		char text[16];
		int32_t code;

		snprintf(text, sizeof(text), "l%d", i % 7);
		if (i % 11 != 0 && (status = pe_dataset_level(dataset, 2, text, strlen(text), &code, &err)) == PE_OK)
			values[2] = code;
		if (status == PE_OK)
			status = pe_dataset_class(dataset, i == 5 ? "hapax" : names[class],
			                          strlen(i == 5 ? "hapax" : names[class]), &code, &err);
		if (status == PE_OK)
			status = pe_dataset_append(dataset, values, code, 1, data_key((uint64_t) i), &err);
	}
	if (status == PE_OK)
		status = pe_train(&env, dataset, PE_TASK_AFFINITY, &options, model, e, &err);
	pe_dataset_free(dataset);
	return status;
}

static const char *const fruit[] = {"pear", "apple", "fig", "quince"};

static void
classes(void)
{
	static pe_evaluation e;
	pe_model *model, *again;
	uint8_t *bytes = NULL, *other = NULL;
	size_t length = 0, other_length = 0;
	double sum = 0, outputs[4], before[4], values[3] = {1.5, 0.5, NAN}, row_sum = 0, cells = 0;

	IS_INT(train_classes(SETTINGS("seed=1"), 4000, 1, fruit, &model, &e), PE_OK, "classes: trained (%s)",
	       err.message);
	if (model == NULL)
		return;
	IS_INT(pe_model_class_count(model), 4, "the class of one row is left out");
	IS_STR(pe_model_class(model, 0), "apple", "classes are in the order of bytes");
	IS_STR(pe_model_class(model, 3), "quince", "to the last");
	OK(pe_model_note_count(model) == 1 && strstr(pe_model_note(model, 0), "\"hapax\"") != NULL, "%s",
	   pe_model_note(model, 0));
	IS_INT(pe_model_tree_count(model) % 4, 0, "a tree for each class");
	pe_model_outputs(model, values, outputs);
	for (int i = 0; i < 4; i++)
		sum += outputs[i];
	OK(fabs(sum - 1) < 1e-12, "probabilities sum to 1");
	OK(outputs[0] > 0.8, "the class of the second quarter is apple: %g", outputs[0]);
	OK(e.accuracy > 0.85 && e.accuracy < 0.92, "accuracy %g is near the 0.8875 that can be had", e.accuracy);
	OK(e.macro_auc > 0.9 && e.log_loss < e.null_log_loss, "mean AUC %g, log-loss %g of %g", e.macro_auc,
	   e.log_loss, e.null_log_loss);
	for (int i = 0; i <= e.n_confusion; i++)
		for (int k = 0; k <= e.n_confusion; k++)
			cells += e.confusion[i][k];
	for (int i = 0; i < e.n_classes; i++)
		row_sum += (double) e.classes[i].rows;
	OK(cells == (double) e.rows && row_sum == (double) e.rows, "the tables count every row");
	OK(e.verdict == PE_VERDICT_EXCELLENT, "%s", e.sentence);
	OK(pe_model_get_feature(model, 0).mean_contribution >
	       5 * pe_model_get_feature(model, 1).mean_contribution,
	   "contributions tell the feature that matters");
	IS_INT(pe_model_serialize(&env, model, &bytes, &length, &err), PE_OK, "stored");
	IS_INT(train_classes(SETTINGS("seed=1"), 4000, 3, fruit, &again, &e), PE_OK, "three threads");
	IS_INT(pe_model_serialize(&env, again, &other, &other_length, &err), PE_OK, "stored");
	OK(length == other_length && memcmp(bytes, other, length) == 0, "the same bytes");
	pe_model_free(again);
	IS_INT(pe_model_deserialize(&env, bytes, length, &again, &err), PE_OK, "read again");
	memcpy(before, outputs, sizeof(before));
	pe_model_outputs(again, values, outputs);
	OK(memcmp(before, outputs, sizeof(before)) == 0, "the same outputs");
	pe_free(&env, bytes);
	pe_free(&env, other);
	pe_model_free(again);
	pe_model_free(model);
	IS_INT(train_classes(SETTINGS("early_stopping=3", "trees=200", "learning_rate=0.3"), 4000, 2, fruit,
	                     &model, &e),
	       PE_OK, "early stopping");
	OK(model != NULL && pe_model_tree_count(model) < 400 && pe_model_tree_count(model) % 4 == 0,
	   "stops after %d trees", model != NULL ? pe_model_tree_count(model) : -1);
	pe_model_free(model);
	OK(train_classes(SETTINGS("seed=1"), 15, 1, fruit, &model, &e) == PE_INVALID_DATA, "%s", err.message);
	pe_model_free(model);
	OK(train_classes(SETTINGS("calibrate=platt"), 400, 1, fruit, &model, &e) == PE_INVALID_OPTION, "%s",
	   err.message);
}

/* Softmax gradients: a class's tree must lower the loss for that class's share of the rows. */
static void
class_evaluation(void)
{
	const double p[] = {0.7, 0.2, 0.1, 0.3, 0.4, 0.3, 0.2, 0.2, 0.6, 0.1, 0.8, 0.1};
	const double targets[] = {0, 0, 2, 1}, weights[] = {1, 1, 2, 1};
	const char *const names[] = {"a", "b", "c"};
	static pe_evaluation e;

	IS_INT(pe_evaluate_classes(&env, 3, names, p, targets, weights, 4, &e, &err), PE_OK, "four rows");
	OK(fabs(e.accuracy - 0.8) < 1e-12, "accuracy");
	OK(fabs(e.log_loss + (log(0.7) + log(0.3) + 2 * log(0.6) + log(0.8)) / 5) < 1e-12, "log-loss");
	OK(fabs(e.classes[0].auc - 1) < 1e-12, "a: AUC");
	OK(fabs(e.classes[1].auc - 1) < 1e-12 && fabs(e.classes[2].auc - 1) < 1e-12, "b and c: AUC");
	OK(fabs(e.classes[0].recall - 0.5) < 1e-12 && fabs(e.classes[1].precision - 0.5) < 1e-12,
	   "recall and precision");
	IS_INT(e.confusion_class[0], 0, "classes of equal weight in their order");
	OK(e.confusion[0][2] == 1 && e.confusion[1][1] == 2, "confusion by weight");
	IS_INT(e.verdict, PE_VERDICT_TOO_FEW, "too few to tell");
	OK(pe_evaluate_classes(&env, 3, names, p, (double[]){0, 3, 1, 1}, NULL, 4, &e, &err) == PE_INVALID_DATA,
	   "%s", err.message);
	OK(pe_evaluate_classes(&env, 3, names, (double[]){0.5, NAN, 0.5}, targets, NULL, 1, &e, &err) ==
	       PE_INVALID_DATA,
	   "%s", err.message);
}

static void
deviances(void)
{
	const double predictions[] = {1, 2, 4}, targets[] = {2, 1, 4};
	static pe_evaluation e;

	pe_evaluate_deviance(PE_OBJECTIVE_POISSON, 0, predictions, targets, NULL, 3, &e);
	OK(fabs(e.deviance - 2 * ((2 * log(2) - 1) + (log(0.5) + 1)) / 3) < 1e-12, "Poisson deviance");
	pe_evaluate_deviance(PE_OBJECTIVE_GAMMA, 0, predictions, targets, NULL, 3, &e);
	OK(fabs(e.deviance - 2 * ((1 - log(2)) + (-0.5 - log(0.5))) / 3) < 1e-12, "Gamma deviance");
	pe_evaluate_deviance(PE_OBJECTIVE_TWEEDIE, 1.0001, predictions, targets, NULL, 3, &e);
	OK(fabs(e.deviance - 2 * ((2 * log(2) - 1) + (log(0.5) + 1)) / 3) < 1e-3,
	   "Tweedie of power near 1 is Poisson");
	pe_evaluate_deviance(PE_OBJECTIVE_TWEEDIE, 1.9999, predictions, targets, NULL, 3, &e);
	OK(fabs(e.deviance - 2 * ((1 - log(2)) + (-0.5 - log(0.5))) / 3) < 1e-3, "and near 2 Gamma");
	pe_evaluate_deviance(PE_OBJECTIVE_QUANTILE, 0.9, predictions, targets, NULL, 3, &e);
	OK(fabs(e.deviance - 2 * (0.9 + 0.1) / 3) < 1e-12 && fabs(e.coverage - 2.0 / 3) < 1e-12,
	   "pinball, coverage");
	pe_evaluate_deviance(PE_OBJECTIVE_ABSOLUTE, 0, targets, targets, NULL, 3, &e);
	OK(e.deviance == 0 && e.deviance_explained == 1, "nothing off");
}

/* ---- sampling ------------------------------------------------------------------------- */

static void
goss(void)
{
	static pe_evaluation plain, sampled, half;
	pe_model *model, *again;
	uint8_t *bytes = NULL, *other = NULL;
	size_t length = 0, other_length = 0;

	data_train(&env, PE_ALGORITHM_BOOSTED_TREES, PE_TASK_PROPENSITY, 12000, true, SETTINGS("trees=60"),
	           &model, &plain, &err);
	pe_model_free(model);
	data_train(&env, PE_ALGORITHM_BOOSTED_TREES, PE_TASK_PROPENSITY, 12000, true,
	           SETTINGS("trees=60", "row_sample=0.3"), &model, &half, &err);
	pe_model_free(model);
	IS_INT(data_train(&env, PE_ALGORITHM_BOOSTED_TREES, PE_TASK_PROPENSITY, 12000, true,
	                  SETTINGS("trees=60", "goss=true"), &model, &sampled, &err),
	       PE_OK, "goss");
	OK(fabs(sampled.auc - plain.auc) < 0.01, "AUC %g, of all rows %g, of a sample %g", sampled.auc, plain.auc,
	   half.auc);
	OK(fabs(sampled.log_loss - plain.log_loss) < 0.02, "log-loss %g of %g: the drawn rows weigh as all",
	   sampled.log_loss, plain.log_loss);
	pe_model_serialize(&env, model, &bytes, &length, &err);
	pe_model_free(model);
	data_train(&env, PE_ALGORITHM_BOOSTED_TREES, PE_TASK_PROPENSITY, 12000, true,
	           SETTINGS("trees=60", "goss=true", "threads=3"), &again, &sampled, &err);
	pe_model_serialize(&env, again, &other, &other_length, &err);
	OK(length == other_length && memcmp(bytes, other, length) == 0, "the same bytes on three threads");
	pe_model_free(again);
	pe_free(&env, bytes);
	pe_free(&env, other);
	IS_INT(data_train(&env, PE_ALGORITHM_BOOSTED_TREES, PE_TASK_VALUE, 12000, true,
	                  SETTINGS("trees=60", "goss=true", "goss_top=0.1", "goss_other=0.2"), &model, &sampled,
	                  &err),
	       PE_OK, "goss for value");
	pe_model_free(model);
	data_train(&env, PE_ALGORITHM_BOOSTED_TREES, PE_TASK_VALUE, 12000, true, SETTINGS("trees=60"), &model,
	           &plain, &err);
	OK(fabs(sampled.r2 - plain.r2) < 0.02, "R squared %g, of all rows %g", sampled.r2, plain.r2);
	pe_model_free(model);
}

/* ---- memory that runs out ------------------------------------------------------------- */

static void
out_of_memory(const char *name, pe_task task, const char *const *settings)
{
	static pe_evaluation e;
	long fail_at = 0, before = memory.live;
	int wrong = 0;
	pe_status status;

	do
	{
		pe_model *model;

		memory.calls = 0;
		memory.fail_at = ++fail_at;
		status = task == PE_TASK_AFFINITY ? train_classes(settings, 300, 1, fruit, &model, &e)
		                                  : data_train(&env, PE_ALGORITHM_BOOSTED_TREES, task, 300, true,
		                                               settings, &model, &e, &err);
		memory.fail_at = 0;
		wrong += status != PE_OK && (status != PE_OUT_OF_MEMORY || model != NULL);
		pe_model_free(model);
		wrong += memory.live != before;
	} while (status != PE_OK && fail_at < 5000 && wrong == 0);
	OK(status == PE_OK && wrong == 0, "%s: each of %ld allocations may fail, and nothing is left", name,
	   fail_at - 1);
}

int
main(void)
{
	static const char *const objectives[] = {"squared", "absolute", "quantile",
	                                         "poisson", "gamma",    "tweedie"};

	env = tap_env(&memory);
	quantiles();
	for (int i = 0; i < 6; i++)
		descends(objectives[i]);
	for (int i = 0; i < 6; i++)
		converges(objectives[i], i == 1 ? 0.5 : i == 2 ? 0.8 : 0);
	scales("squared", 1e-6);
	scales("absolute", 1e-6);
	scales("quantile", 1e-6);
	scales("gamma", 1e-6);
	scales("tweedie", 1e-6);
	weights_repeat(PE_TASK_PROPENSITY, "logistic");
	weights_repeat(PE_TASK_AFFINITY, "multiclass");
	for (int i = 0; i < 6; i++)
		weights_repeat(PE_TASK_VALUE, objectives[i]);
	refuses_targets();
	classes();
	class_evaluation();
	deviances();
	goss();
	out_of_memory("classes", PE_TASK_AFFINITY, SETTINGS("trees=2", "early_stopping=1"));
	out_of_memory("quantile", PE_TASK_VALUE, SETTINGS("trees=2", "objective=quantile"));
	out_of_memory("goss", PE_TASK_PROPENSITY, SETTINGS("trees=2", "goss=true", "learning_rate=1"));
	IS_INT(memory.live, 0, "no block is left");
	return tap_done();
}
