/*
 * What takes more than one training: holdouts by choice, copies, refit, search, two
 * parts; and recalibration and the scan, which take none.
 */
#include <math.h>

#include "model/internal.h"
#include "model/selection.h"
#include "model_data.h"

#define ROWS 2000

static pe_env env;
static tap_memory memory;
static pe_error err;

static pe_dataset *
rows_of(pe_algorithm algorithm, pe_task task, int rows)
{
	pe_dataset *dataset = NULL;

	if (data_dataset(&env, algorithm, task, rows, true, &dataset, &err) != PE_OK)
		printf("# %s\n", err.message);
	return dataset;
}

static pe_options
quick_options(pe_algorithm algorithm)
{
	pe_options options;

	pe_options_init(&options, algorithm);
	options.trees = 10;
	options.max_depth = 3;
	options.column_sample = 1;
	return options;
}

/* The same bytes from the rows themselves and from a copy of them. */
static void
copies(pe_algorithm algorithm, pe_task task)
{
	pe_options options = quick_options(algorithm);
	pe_dataset *dataset = rows_of(algorithm, task, ROWS), *copy = NULL;
	uint8_t *uses = malloc(ROWS), *bytes[2] = {NULL, NULL};
	size_t lengths[2];
	pe_model *model;
	pe_evaluation e;

	for (int row = 0; row < ROWS; row++)
		uses[row] = pe_row_is_held_out(dataset, row, &options) ? PE_ROW_HELD_OUT : PE_ROW_TRAINED;
	IS_INT(pe_dataset_copy(&env, dataset, uses, NULL, &copy, &err), PE_OK, "copied for %s",
	       pe_algorithm_name(algorithm));
	options.holdout = 0.9; /* of no effect on rows that are held out by choice */
	IS_INT(pe_train(&env, copy, task, &options, &model, &e, &err), PE_OK, "trained on a copy");
	pe_model_serialize(&env, model, &bytes[0], &lengths[0], &err);
	pe_model_free(model);
	options.holdout = 0.2;
	IS_INT(pe_train(&env, dataset, task, &options, &model, &e, &err), PE_OK, "trained on the rows");
	pe_model_serialize(&env, model, &bytes[1], &lengths[1], &err);
	pe_model_free(model);
	OK(lengths[0] == lengths[1] && memcmp(bytes[0], bytes[1], lengths[0]) == 0, "the same bytes");
	pe_dataset_free(dataset);
	pe_dataset_free(copy);
	pe_free(&env, bytes[0]);
	pe_free(&env, bytes[1]);
	free(uses);
}

static void
by_choice(void)
{
	pe_options options = quick_options(PE_ALGORITHM_BOOSTED_TREES);
	pe_dataset *dataset = rows_of(PE_ALGORITHM_BOOSTED_TREES, PE_TASK_PROPENSITY, ROWS);
	pe_model *model;
	pe_evaluation e;

	for (int row = 1500; row < ROWS; row++)
		pe_dataset_hold_out(dataset, row, &err);
	IS_INT(pe_dataset_hold_out(dataset, ROWS, &err), PE_INTERNAL, "%s", err.message);
	IS_INT(pe_train(&env, dataset, PE_TASK_PROPENSITY, &options, &model, &e, &err), PE_OK, "trained");
	IS_INT(e.rows, 500, "the rows that were chosen are evaluated");
	IS_INT(e.training_rows, 1500, "and all others learnt from");
	pe_model_free(model);
	pe_dataset_free(dataset);
}

static void
refits(pe_algorithm algorithm, pe_task task)
{
	pe_options options = quick_options(algorithm);
	pe_dataset *dataset = rows_of(algorithm, task, ROWS);
	pe_model *held_out, *model, *all;
	pe_evaluation e, again, unused;
	double values[DATA_FEATURES];
	uint64_t state = 5;
	int differ = 0, same = 0;

	pe_train(&env, dataset, task, &options, &held_out, &e, &err);
	pe_dataset_free(dataset);
	dataset = rows_of(algorithm, task, ROWS);
	IS_INT(pe_train_refit(&env, dataset, task, &options, &model, &again, &err), PE_OK, "%s: refit",
	       pe_algorithm_name(algorithm));
	pe_dataset_free(dataset);
	dataset = rows_of(algorithm, task, ROWS);
	options.holdout = 0;
	pe_train(&env, dataset, task, &options, &all, &unused, &err);
	pe_dataset_free(dataset);
	OK(again.rows == e.rows && again.training_rows == e.training_rows &&
	       (task == PE_TASK_VALUE ? again.rmse == e.rmse : again.auc == e.auc),
	   "the evaluation is that of the held-out rows");
	IS_INT(pe_model_training_rows(model), ROWS, "the model learnt from all rows");
	for (int i = 0; i < 200; i++)
	{
		data_row(all, &state, values);
		same += pe_model_margin(model, values) == pe_model_margin(all, values);
		differ += pe_model_margin(model, values) != pe_model_margin(held_out, values);
	}
	IS_INT(same, 200, "it is the one that all rows give");
	OK(differ > 150, "and not the one that was evaluated");
	OK(model->n_distribution == held_out->n_distribution &&
	       memcmp(model->distribution, held_out->distribution, model->n_distribution * sizeof(double)) == 0,
	   "scores are placed as before");
	OK(strstr(pe_model_note(model, pe_model_note_count(model) - 1), "trained again on all 2000 rows") != NULL,
	   "%s", pe_model_note(model, pe_model_note_count(model) - 1));
	pe_model_free(held_out);
	pe_model_free(model);
	pe_model_free(all);
	dataset = rows_of(algorithm, task, ROWS);
	IS_INT(pe_train_refit(&env, dataset, task, &options, &model, &again, &err), PE_INVALID_OPTION, "%s",
	       err.message);
	pe_dataset_free(dataset);
}

/* Early stopping decides on the number of trees, and calibration is kept. */
static void
refit_details(void)
{
	pe_options options = quick_options(PE_ALGORITHM_BOOSTED_TREES);
	pe_dataset *dataset = rows_of(PE_ALGORITHM_BOOSTED_TREES, PE_TASK_PROPENSITY, ROWS);
	pe_model *judged, *model;
	pe_evaluation e;

	options.trees = 500;
	options.learning_rate = 0.3;
	options.early_stopping = 5;
	options.calibrate = PE_CALIBRATION_PLATT;
	pe_train(&env, dataset, PE_TASK_PROPENSITY, &options, &judged, &e, &err);
	pe_dataset_free(dataset);
	dataset = rows_of(PE_ALGORITHM_BOOSTED_TREES, PE_TASK_PROPENSITY, ROWS);
	IS_INT(pe_train_refit(&env, dataset, PE_TASK_PROPENSITY, &options, &model, &e, &err), PE_OK, "refit");
	pe_dataset_free(dataset);
	OK(pe_model_tree_count(judged) < 500 && pe_model_tree_count(judged) == pe_model_tree_count(model),
	   "as many trees as early stopping left: %d", pe_model_tree_count(model));
	OK(model->calibration == PE_CALIBRATION_PLATT && model->calibration_x[0] == judged->calibration_x[0],
	   "calibrated as the one that was evaluated");
	pe_model_free(judged);
	pe_model_free(model);
}

/* ---- search -------------------------------------------------------------------------------- */

static const char *const depths[] = {"1", "4"};
static const char *const rates[] = {"0.001", "0.3"};

static pe_search
grid(void)
{
	pe_search search = {.trials = 20, .folds = 5, .n_dimensions = 2};

	search.dimensions[0] = (pe_search_dimension){.name = "max_depth", .values = depths, .n_values = 2};
	search.dimensions[1] = (pe_search_dimension){.name = "learning_rate", .values = rates, .n_values = 2};
	return search;
}

static void
searches(void)
{
	pe_options options = quick_options(PE_ALGORITHM_BOOSTED_TREES);
	pe_dataset *dataset = rows_of(PE_ALGORITHM_BOOSTED_TREES, PE_TASK_PROPENSITY, ROWS);
	pe_search search = grid();
	pe_trial *trials = calloc(40, sizeof(*trials));
	int n, chosen, again, best = 0, cut = 0;

	IS_INT(pe_search_run(&env, dataset, PE_TASK_PROPENSITY, &options, &search, trials, &n, &chosen, &err),
	       PE_OK, "searched a grid");
	IS_INT(n, 5, "the options as they are, and each combination once");
	for (int i = 0; i < n; i++)
	{
		if (trials[i].folds == search.folds && trials[i].mean > trials[best].mean)
			best = i;
		cut += trials[i].folds < search.folds;
		printf("# %s %s: %.4f +- %.4f in %d folds\n", trials[i].settings[0], trials[i].settings[1],
		       trials[i].mean, trials[i].deviation, trials[i].folds);
	}
	IS_INT(chosen, best, "the best one is chosen");
	OK(trials[chosen].chosen && trials[chosen].options.learning_rate >= 0.1, "it learns fast enough");
	OK(cut > 0, "hopeless trials are cut short");
	pe_search_default_space(&search, PE_ALGORITHM_BOOSTED_TREES);
	search.trials = 4;
	IS_INT(pe_search_run(&env, dataset, PE_TASK_PROPENSITY, &options, &search, trials, &n, &chosen, &err),
	       PE_OK, "searched at random");
	pe_search_run(&env, dataset, PE_TASK_PROPENSITY, &options, &search, trials + 20, &n, &again, &err);
	OK(n == 4 && again == chosen && trials[3].mean == trials[23].mean &&
	       memcmp(trials[3].settings, trials[23].settings, sizeof(trials[3].settings)) == 0,
	   "the same again: %s %s", trials[3].settings[0], trials[3].settings[1]);
	search.budget = 1e-9;
	IS_INT(pe_search_run(&env, dataset, PE_TASK_PROPENSITY, &options, &search, trials, &n, &chosen, &err),
	       PE_OK, "without time");
	OK(n == 1 && chosen == 0 && trials[0].folds == search.folds, "the first trial is there");
	search.metric = "gini";
	IS_INT(pe_search_run(&env, dataset, PE_TASK_PROPENSITY, &options, &search, trials, &n, &chosen, &err),
	       PE_INVALID_OPTION, "%s", err.message);
	pe_dataset_free(dataset);
	free(trials);
}

static int
stop_at_once(void *ctx, const char *phase, uint64_t done, uint64_t total)
{
	return ++*(int *) ctx > 30;
}

static void
cancelled_search(void)
{
	pe_options options = quick_options(PE_ALGORITHM_BOOSTED_TREES);
	pe_dataset *dataset = rows_of(PE_ALGORITHM_BOOSTED_TREES, PE_TASK_PROPENSITY, ROWS);
	pe_search search = grid();
	pe_trial *trials = calloc(20, sizeof(*trials));
	pe_env stopping = env;
	int ticks = 0, n, chosen;
	long before = memory.live;

	stopping.tick = stop_at_once;
	stopping.tick_ctx = &ticks;
	IS_INT(
	    pe_search_run(&stopping, dataset, PE_TASK_PROPENSITY, &options, &search, trials, &n, &chosen, &err),
	    PE_CANCELLED, "a search can be stopped");
	IS_INT(memory.live, before, "and leaves nothing");
	pe_dataset_free(dataset);
	free(trials);
}

/* ---- two parts ------------------------------------------------------------------------------- */

/* 70 levels, some of them never with an amount; amounts are 0 for most. */
static pe_dataset *
purchases(int rows, double lowest)
{
	static const pe_feature_spec specs[] = {{"x", NULL, PE_FEATURE_NUMERIC},
	                                        {"shop", NULL, PE_FEATURE_CATEGORICAL}};
	pe_dataset *dataset = NULL;
	uint64_t state = 9;

	pe_dataset_create(&env, PE_ALGORITHM_BOOSTED_TREES, specs, 2, false, &dataset, &err);
	for (int row = 0; row < rows; row++)
	{
		double values[2] = {data_uniform(&state), 0}, target;
		int shop = (int) (data_uniform(&state) * 70);
		char name[16];
		int32_t code;

		snprintf(name, sizeof(name), "shop %d", shop);
		pe_dataset_level(dataset, 1, name, strlen(name), &code, &err);
		values[1] = code;
		target = shop % 7 != 0 && data_uniform(&state) < values[0]
		             ? 10 + 50 * (shop % 2) + data_uniform(&state)
		             : lowest;
		pe_dataset_append(dataset, values, target, 1, data_key(row), &err);
	}
	return dataset;
}

static void
two_parts(void)
{
	pe_options options = quick_options(PE_ALGORITHM_BOOSTED_TREES);
	pe_dataset *dataset = purchases(4000, 0);
	pe_model *model, *again;
	pe_evaluation e;
	uint8_t *bytes, *twice;
	size_t length, length_twice;
	double values[2], outputs[2];
	uint64_t state = 4;
	int wrong = 0;

	options.objective = PE_OBJECTIVE_SQUARED;
	options.trees = 30;
	if (!IS_INT(pe_train_two_part(&env, dataset, &options, &model, &e, &err), PE_OK, "two parts: %s",
	            e.sentence))
	{
		printf("# %s\n", err.message);
		return;
	}
	pe_dataset_free(dataset);
	OK(e.evaluated && e.r2 > 0.15 && fabs(e.deciles[0].mean_prediction - e.deciles[0].mean_target) < 6,
	   "R2 %.3f, first decile %.2f against %.2f", e.r2, e.deciles[0].mean_prediction,
	   e.deciles[0].mean_target);
	OK(e.r2 > 0.15, "%s; %s", pe_model_note(model, 0), pe_model_note(model, 1));
	IS_INT(pe_model_output_count(model), 2, "two outputs");
	IS_STR(pe_model_output_name(model, 1), "amount", "by name");
	pe_model_serialize(&env, model, &bytes, &length, &err);
	IS_INT(pe_model_deserialize(&env, bytes, length, &again, &err), PE_OK, "read again: %s", err.message);
	pe_model_serialize(&env, again, &twice, &length_twice, &err);
	OK(length == length_twice && memcmp(bytes, twice, length) == 0, "the same bytes");
	for (int i = 0; i < 300; i++)
	{
		values[0] = data_uniform(&state);
		values[1] = floor(data_uniform(&state) * 72) - 1;
		pe_model_outputs(model, values, outputs);
		wrong += pe_model_predict(model, values) != pe_model_predict(again, values) ||
		         pe_model_predict(model, values) != outputs[0] * outputs[1];
	}
	IS_INT(wrong, 0, "predictions are the product of the outputs, and the same");
	/* A shop's amounts are told apart, whatever the codes of the second part were. */
	wrong = 0;
	for (int shop = 1; shop < 70; shop++)
	{
		char name[16];

		snprintf(name, sizeof(name), "shop %d", shop);
		values[0] = 0.9;
		values[1] = pe_model_level(model, 1, name, strlen(name));
		pe_model_outputs(model, values, outputs);
		if (shop % 7 != 0)
			wrong += fabs(outputs[1] - (10.5 + 50 * (shop % 2))) > 8;
	}
	IS_INT(wrong, 0, "amounts go by shop");
	OK(pe_model_score(model, 100).score == 100 && pe_model_score(model, -1).score == 0, "scores are placed");
	pe_model_free(again);
	pe_model_free(model);
	pe_free(&env, bytes);
	pe_free(&env, twice);
	dataset = purchases(500, -1);
	IS_INT(pe_train_two_part(&env, dataset, &options, &model, &e, &err), PE_INVALID_DATA, "%s", err.message);
	pe_dataset_free(dataset);
	dataset = purchases(500, 5);
	IS_INT(pe_train_two_part(&env, dataset, &options, &model, &e, &err), PE_INVALID_DATA, "%s", err.message);
	options.objective = PE_OBJECTIVE_ABSOLUTE;
	IS_INT(pe_train_two_part(&env, dataset, &options, &model, &e, &err), PE_INVALID_OPTION, "%s",
	       err.message);
	pe_dataset_free(dataset);
}

/* ---- recalibration and scan -------------------------------------------------------------------- */

static void
recalibrates(pe_calibration_kind kind)
{
	enum
	{
		N = 6000
	};
	double *margins = malloc(N * sizeof(double)), *targets = malloc(N * sizeof(double));
	uint64_t *hashes = malloc(N * sizeof(uint64_t)), state = 3;
	pe_model *model, *again;
	pe_evaluation e, before;
	double off = 0;

	data_train(&env, PE_ALGORITHM_BOOSTED_TREES, PE_TASK_PROPENSITY, ROWS, false,
	           SETTINGS("trees=10", "max_depth=6", "column_sample=1"), &model, &before, &err);
	/* Since then all has become rarer. */
	for (int i = 0; i < N; i++)
	{
		double values[DATA_FEATURES];

		data_row(model, &state, values);
		margins[i] = pe_model_margin(model, values);
		targets[i] = data_uniform(&state) < pe_sigmoid(1.5 * margins[i] - 2);
		hashes[i] = data_key(i);
	}
	IS_INT(pe_recalibrate(&env, model, kind, margins, targets, hashes, N, &again, &e, &err), PE_OK,
	       "recalibrated: %s", e.sentence);
	for (double m = -1; m <= 1.5; m += 0.1)
	{
		int below = 0;

		for (int i = 0; i < N; i++)
			below += margins[i] < m;
		/* Where there are margins to learn from. */
		if (below > N / 20 && below < N - N / 20)
			off = fmax(off, fabs(pe_model_link(again, m) - pe_sigmoid(1.5 * m - 2)));
	}
	OK(off > 0 && off < 0.08, "probabilities are right within %.3f", off);
	OK(e.ece < 0.03 && e.rows == N, "also on rows that the half did not know: %.4f", e.ece);
	IS_INT(model->calibration, PE_CALIBRATION_NONE, "the model itself stays");
	IS_INT(again->calibration, kind, "the kind");
	OK(pe_model_score(again, pe_model_link(again, margins[0])).score >= 0, "scores are placed");
	pe_model_free(again);
	IS_INT(pe_recalibrate(&env, model, kind, margins, targets, hashes, 30, &again, &e, &err), PE_INVALID_DATA,
	       "%s", err.message);
	pe_model_free(model);
	free(margins);
	free(targets);
	free(hashes);
}

static void
scans(void)
{
	pe_dataset *dataset = rows_of(PE_ALGORITHM_LOGISTIC, PE_TASK_PROPENSITY, ROWS);
	double strengths[DATA_FEATURES];
	int classes[DATA_FEATURES];

	IS_INT(pe_scan_features(&env, dataset, PE_TASK_PROPENSITY, 2, strengths, classes, &err), PE_OK,
	       "scanned");
	OK(strengths[0] > 0.75 && strengths[3] < 0.55 && strengths[4] > 0.53, "%.3f %.3f %.3f", strengths[0],
	   strengths[3], strengths[4]);
	pe_dataset_free(dataset);
	dataset = rows_of(PE_ALGORITHM_LINEAR, PE_TASK_VALUE, ROWS);
	IS_INT(pe_scan_features(&env, dataset, PE_TASK_VALUE, 2, strengths, classes, &err), PE_OK, "for a value");
	OK(strengths[0] > 0.4 && strengths[3] < 0.02 && strengths[4] > 0.005, "%.3f %.3f %.3f", strengths[0],
	   strengths[3], strengths[4]);
	pe_dataset_free(dataset);
	dataset = purchases(50, 0);
	IS_INT(pe_scan_features(&env, dataset, PE_TASK_VALUE, 2, strengths, classes, &err), PE_INTERNAL, "%s",
	       err.message);
	pe_dataset_free(dataset);
	OK(pe_is_suspicious(PE_TASK_PROPENSITY, 0.995) && !pe_is_suspicious(PE_TASK_VALUE, 0.98), "suspicion");
}

/* One class's rows have their own x; the name of the class is found with it. */
static void
scans_classes(void)
{
	static const pe_feature_spec specs[] = {{"x", NULL, PE_FEATURE_NUMERIC}, {"y", NULL, PE_FEATURE_NUMERIC}};
	pe_dataset *dataset = NULL;
	double strengths[2];
	int classes[2];
	size_t length;
	uint64_t state = 8;

	pe_dataset_create(&env, PE_ALGORITHM_MULTINOMIAL, specs, 2, false, &dataset, &err);
	for (int row = 0; row < 600; row++)
	{
		static const char *const names[] = {"sports", "news", "travel"};
		int class = row % 3;
		double values[2] = {(class == 2) + 0.5 * data_uniform(&state), data_uniform(&state)};
		int32_t code;

		pe_dataset_class(dataset, names[class], strlen(names[class]), &code, &err);
		pe_dataset_append(dataset, values, code, 1, data_key(row), &err);
	}
	IS_INT(pe_scan_features(&env, dataset, PE_TASK_AFFINITY, 1, strengths, classes, &err), PE_OK, "classes");
	OK(strengths[0] == 1 && strengths[1] < 0.6, "%.3f %.3f", strengths[0], strengths[1]);
	OK(memcmp(pe_dataset_class_text(dataset, classes[0], &length), "travel", 6) == 0 && length == 6,
	   "which class");
	pe_dataset_free(dataset);
}

/* ---- allocations --------------------------------------------------------------------------------- */

typedef pe_status (*failing_call)(pe_dataset *dataset);

static pe_status
call_refit(pe_dataset *dataset)
{
	pe_options options = quick_options(PE_ALGORITHM_BOOSTED_TREES);
	pe_model *model;
	pe_evaluation e;
	pe_status status;

	options.trees = 2;
	status = pe_train_refit(&env, dataset, PE_TASK_PROPENSITY, &options, &model, &e, &err);
	pe_model_free(model);
	return status;
}

static pe_status
call_two_part(pe_dataset *dataset)
{
	pe_options options = quick_options(PE_ALGORITHM_BOOSTED_TREES);
	pe_model *model;
	pe_evaluation e;
	pe_status status;

	options.trees = 2;
	options.objective = PE_OBJECTIVE_SQUARED;
	status = pe_train_two_part(&env, dataset, &options, &model, &e, &err);
	pe_model_free(model);
	return status;
}

static pe_status
call_search(pe_dataset *dataset)
{
	pe_options options = quick_options(PE_ALGORITHM_BOOSTED_TREES);
	pe_search search = grid();
	pe_trial trials[2];
	int n, chosen;

	options.trees = 2;
	search.trials = 1;
	search.folds = 2;
	return pe_search_run(&env, dataset, PE_TASK_PROPENSITY, &options, &search, trials, &n, &chosen, &err);
}

static pe_status
call_scan(pe_dataset *dataset)
{
	double strengths[DATA_FEATURES];
	int classes[DATA_FEATURES];

	return pe_scan_features(&env, dataset, PE_TASK_PROPENSITY, 1, strengths, classes, &err);
}

static void
survives(const char *what, failing_call call, int kind)
{
	pe_status status = PE_OUT_OF_MEMORY;
	long fail_at, leaks = 0;

	for (fail_at = 1; status == PE_OUT_OF_MEMORY && fail_at < 4000; fail_at++)
	{
		pe_dataset *dataset = kind == 2   ? purchases(400, 0)
		                      : kind == 1 ? rows_of(PE_ALGORITHM_LOGISTIC, PE_TASK_PROPENSITY, 300)
		                                  : rows_of(PE_ALGORITHM_BOOSTED_TREES, PE_TASK_PROPENSITY, 300);

		memory.calls = 0;
		memory.fail_at = fail_at;
		status = call(dataset);
		memory.fail_at = 0;
		pe_dataset_free(dataset);
		leaks += memory.live != 0;
	}
	OK(status == PE_OK && fail_at > 10 && leaks == 0, "%s survives each of %ld failing allocations", what,
	   fail_at - 1);
}

static void
recalibration_survives(void)
{
	double margins[200], targets[200];
	uint64_t hashes[200];
	pe_status status = PE_OUT_OF_MEMORY;
	pe_model *model, *again;
	pe_evaluation e;
	long fail_at, before, leaks = 0;

	data_train(&env, PE_ALGORITHM_BOOSTED_TREES, PE_TASK_PROPENSITY, 300, false, SETTINGS("trees=2"), &model,
	           &e, &err);
	for (int i = 0; i < 200; i++)
	{
		margins[i] = i / 100.0;
		targets[i] = i % 3 == 0;
		hashes[i] = data_key(i);
	}
	before = memory.live;
	for (fail_at = 1; status == PE_OUT_OF_MEMORY; fail_at++)
	{
		memory.calls = 0;
		memory.fail_at = fail_at;
		status = pe_recalibrate(&env, model, PE_CALIBRATION_ISOTONIC, margins, targets, hashes, 200, &again,
		                        &e, &err);
		memory.fail_at = 0;
		leaks += status != PE_OK && memory.live != before;
	}
	OK(status == PE_OK && leaks == 0, "recalibration survives each of %ld failing allocations", fail_at - 1);
	pe_model_free(again);
	pe_model_free(model);
}

int
main(void)
{
	env = tap_env(&memory);
	copies(PE_ALGORITHM_BOOSTED_TREES, PE_TASK_PROPENSITY);
	copies(PE_ALGORITHM_LINEAR, PE_TASK_VALUE);
	by_choice();
	refits(PE_ALGORITHM_BOOSTED_TREES, PE_TASK_PROPENSITY);
	refits(PE_ALGORITHM_LINEAR, PE_TASK_VALUE);
	refit_details();
	searches();
	cancelled_search();
	two_parts();
	recalibrates(PE_CALIBRATION_ISOTONIC);
	recalibrates(PE_CALIBRATION_PLATT);
	scans();
	scans_classes();
	survives("a refit", call_refit, 0);
	survives("a model of two parts", call_two_part, 2);
	survives("a search", call_search, 0);
	survives("a scan", call_scan, 1);
	recalibration_survives();
	IS_INT(memory.live, 0, "no block is left");
	return tap_done();
}
