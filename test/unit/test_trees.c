/*
 * Boosted trees: the same bytes on any number of threads, splits against brute force,
 * missing values, levels, constraints, options.
 */
#include "model/internal.h"
#include "model_data.h"

static pe_env env;
static tap_memory memory;
static pe_error err;

static void
same_on_threads(pe_task task, int rows, const char *extra, const char *extra2)
{
	uint8_t *first = NULL;
	size_t first_length = 0;

	for (int threads = 1; threads <= 3; threads++)
	{
		char setting[16];
		uint8_t *bytes = NULL;
		size_t length = 0;
		pe_evaluation e;
		pe_model *model;

		snprintf(setting, sizeof(setting), "threads=%d", threads);
		if (data_train(&env, PE_ALGORITHM_BOOSTED_TREES, task, rows, true,
		               SETTINGS(setting, "trees=10", extra, extra2), &model, &e, &err) != PE_OK)
			printf("# %s\n", err.message);
		if (!OK(model != NULL, "%s, %s, %d threads: %s", extra, extra2, threads, e.sentence))
			return;
		pe_model_serialize(&env, model, &bytes, &length, &err);
		pe_model_free(model);
		if (threads == 1)
		{
			first = bytes;
			first_length = length;
			continue;
		}
		OK(length == first_length && memcmp(first, bytes, length) == 0, "the same bytes");
		pe_free(&env, bytes);
	}
	pe_free(&env, first);
}

/* One tree of depth 1 on few rows against all thresholds and both directions of missing. */
static void
brute_force(void)
{
	uint64_t state = 77;
	int agreed = 0;

	for (int round = 0; round < 40; round++)
	{
		enum
		{
			N = 24,
			F = 3
		};
		pe_feature_spec specs[F] = {{"a", NULL, PE_FEATURE_NUMERIC},
		                            {"b", NULL, PE_FEATURE_NUMERIC},
		                            {"c", NULL, PE_FEATURE_NUMERIC}};
		double x[N][F], y[N], mean = 0, best = 0, left_value = 0, right_value = 0, probe_best = 0;
		bool goes_left[N] = {false};
		pe_dataset *dataset;
		pe_options options;
		pe_evaluation e;
		pe_model *model;

		pe_dataset_create(&env, PE_ALGORITHM_BOOSTED_TREES, specs, F, false, &dataset, &err);
		for (int i = 0; i < N; i++)
		{
			for (int f = 0; f < F; f++)
				x[i][f] = data_uniform(&state) < 0.2 ? NAN : floor(data_uniform(&state) * 8);
			y[i] = data_uniform(&state) + (x[i][1] > 3) - (isnan(x[i][0]) ? 0.7 : 0);
			mean += y[i] / N;
			pe_dataset_append(dataset, x[i], y[i], 1, data_key(i), &err);
		}
		for (int f = 0; f < F; f++)
			for (int threshold = 0; threshold < 8; threshold++)
				for (int missing_left = 0; missing_left < 2; missing_left++)
				{
					double gl = 0, gr = 0, hl = 0, hr = 0, gain;

					for (int i = 0; i < N; i++)
						if (isnan(x[i][f]) ? missing_left : x[i][f] <= threshold)
							gl += mean - y[i], hl++;
						else
							gr += mean - y[i], hr++;
					gain = hl >= 1 && hr >= 1
					           ? gl * gl / (hl + 1) + gr * gr / (hr + 1) - (gl + gr) * (gl + gr) / (N + 1)
					           : 0;
					if (gain > best + 1e-9)
					{
						best = gain;
						left_value = -gl / (hl + 1);
						right_value = -gr / (hr + 1);
						for (int i = 0; i < N; i++)
							goes_left[i] = isnan(x[i][f]) ? missing_left : x[i][f] <= threshold;
					}
				}
		pe_options_init(&options, PE_ALGORITHM_BOOSTED_TREES);
		pe_options_set(&options, "trees", "1", &err);
		pe_options_set(&options, "max_depth", "1", &err);
		pe_options_set(&options, "learning_rate", "1", &err);
		pe_options_set(&options, "holdout", "0", &err);
		pe_train(&env, dataset, PE_TASK_VALUE, &options, &model, &e, &err);
		pe_dataset_free(dataset);
		for (int i = 0; i < N && model != NULL; i++)
			probe_best = fmax(probe_best, fabs(pe_model_predict(model, x[i]) - mean -
			                                   (goes_left[i] ? left_value : right_value)));
		agreed += model != NULL && probe_best < 1e-6;
		pe_model_free(model);
	}
	IS_INT(agreed, 40, "the best split, the direction of missing and the leaves, 40 times");
}

static pe_model *
train_column(const pe_feature_spec *spec, const double *values, const double *targets,
             const char *const *levels, int n, pe_task task, pe_options *options)
{
	pe_dataset *dataset;
	pe_evaluation e;
	pe_model *model = NULL;

	pe_dataset_create(&env, PE_ALGORITHM_BOOSTED_TREES, spec, 1, false, &dataset, &err);
	for (int i = 0; i < n; i++)
	{
		double value = values != NULL ? values[i] : NAN;
		int32_t code;

		if (levels != NULL && levels[i] != NULL &&
		    pe_dataset_level(dataset, 0, levels[i], strlen(levels[i]), &code, &err) == PE_OK)
			value = code;
		pe_dataset_append(dataset, &value, targets[i], 1, data_key(i), &err);
	}
	if (pe_train(&env, dataset, task, options, &model, &e, &err) != PE_OK)
		printf("# %s\n", err.message);
	pe_dataset_free(dataset);
	return model;
}

/* Levels that alternate by name can only be told apart by sets. */
static void
categories(void)
{
	static char names[600][16];
	const char *levels[600];
	double targets[600];
	pe_feature_spec spec = {"level", "text", PE_FEATURE_CATEGORICAL};
	pe_options options;
	pe_model *model;
	double worst = 0;

	for (int i = 0; i < 600; i++)
	{
		int level = i % 12;

		snprintf(names[i], sizeof(names[i]), "l%02d", level);
		levels[i] = level == 11 ? NULL : names[i];
		targets[i] = level % 2 == 0 ? 5 : -5;
	}
	pe_options_init(&options, PE_ALGORITHM_BOOSTED_TREES);
	options.holdout = 0;
	options.trees = 60;
	options.max_depth = 2;
	options.learning_rate = 0.3;
	model = train_column(&spec, NULL, targets, levels, 600, PE_TASK_VALUE, &options);
	if (!OK(model != NULL, "a categorical feature"))
		return;
	for (int i = 0; i < 12; i++)
	{
		double value = levels[i] != NULL ? pe_model_level(model, 0, levels[i], strlen(levels[i])) : NAN;

		worst = fmax(worst, fabs(pe_model_predict(model, &value) - targets[i]));
	}
	OK(worst < 0.05, "alternating levels and missing are told apart (%g)", worst);
	IS_INT(pe_model_level(model, 0, "nowhere", 7), PE_UNKNOWN_LEVEL, "a new level is unknown");
	IS_STR(pe_model_level_text(model, 0, pe_model_level(model, 0, "l03", 3)), "l03", "codes and texts agree");
	pe_model_free(model);
}

static void
many_levels(void)
{
	static char names[4000][16];
	static const char *levels[4000];
	static double targets[4000];
	pe_feature_spec spec = {"level", "text", PE_FEATURE_CATEGORICAL};
	pe_options options;
	pe_model *model;
	double unknown = PE_UNKNOWN_LEVEL;

	for (int i = 0; i < 4000; i++)
	{
		snprintf(names[i], sizeof(names[i]), "n%d", i % 10 < 7 ? i % 100 : i % 1000);
		levels[i] = names[i];
		targets[i] = i % 10 < 7;
	}
	pe_options_init(&options, PE_ALGORITHM_BOOSTED_TREES);
	model = train_column(&spec, NULL, targets, levels, 4000, PE_TASK_PROPENSITY, &options);
	if (OK(model != NULL, "more levels than a model keeps"))
	{
		IS_INT(pe_model_get_feature(model, 0).n_levels, PE_MAX_MODEL_LEVELS, "the most frequent are kept");
		OK(pe_model_note_count(model) == 1, "%s", pe_model_note(model, 0));
		OK(pe_model_predict(model, &unknown) < 0.4, "the rest is pooled");
	}
	pe_model_free(model);
	for (int i = 0; i < 4000; i++)
		snprintf(names[i], sizeof(names[i]), "key%d", i);
	model = train_column(&spec, NULL, targets, levels, 4000, PE_TASK_PROPENSITY, &options);
	OK(model == NULL && err.code == PE_INVALID_DATA, "a key teaches nothing");
}

static void
monotone(void)
{
	pe_feature_spec spec = {"x", NULL, PE_FEATURE_NUMERIC};
	static double values[2000], targets[2000];
	uint64_t state = 8;
	pe_options options;
	pe_model *model;
	bool falls = false;
	double before = -INFINITY;

	for (int i = 0; i < 2000; i++)
	{
		values[i] = data_uniform(&state) * 6;
		targets[i] = values[i] + 2 * sin(3 * values[i]) + data_uniform(&state);
	}
	pe_options_init(&options, PE_ALGORITHM_BOOSTED_TREES);
	IS_INT(pe_options_set_monotone(&options, "x", "increasing", &err), PE_OK, "monotone is set");
	model = train_column(&spec, values, targets, NULL, 2000, PE_TASK_VALUE, &options);
	for (double x = -1; x < 7 && model != NULL; x += 0.01)
	{
		double now = pe_model_predict(model, &x);

		falls |= now < before - 1e-12;
		before = now;
	}
	OK(model != NULL && !falls, "the prediction never falls");
	pe_model_free(model);
	pe_options_init(&options, PE_ALGORITHM_BOOSTED_TREES);
	pe_options_set_monotone(&options, "y", "1", &err);
	OK(train_column(&spec, values, targets, NULL, 2000, PE_TASK_VALUE, &options) == NULL &&
	       err.code == PE_INVALID_OPTION,
	   "an unknown feature: %s", err.message);
}

/* The percentile by its definition, at, below and above each point of the distribution. */
static void
scores_by_counting(const pe_model *model)
{
	int different = 0;

	for (uint32_t i = 0; i < 3 * model->n_distribution; i++)
	{
		double at = model->distribution[i / 3];
		double x = i % 3 == 0 ? at : nextafter(at, i % 3 == 1 ? -INFINITY : INFINITY);
		double share = 0;

		for (uint32_t p = 0; p < model->n_distribution; p++)
			share += model->distribution[p] < x ? 1 : model->distribution[p] == x ? 0.5 : 0;
		share /= model->n_distribution;
		different += pe_model_score(model, x).score != (int) floor(100 * share + 0.5);
		different += pe_model_score(model, x).percentile != (int) fmin(100, 1 + floor(100 * share));
	}
	OK(model->n_distribution > 100 && different == 0, "scores are what counting gives");
}

static void
predictions_agree(void)
{
	pe_evaluation e;
	pe_model *model;
	double rows[100][DATA_FEATURES], block[100], worst = 0, contributions[DATA_FEATURES], base;
	uint64_t state = 4;
	void *scratch;
	pe_predictor *predictor;

	data_train(&env, PE_ALGORITHM_BOOSTED_TREES, PE_TASK_PROPENSITY, 5000, false,
	           SETTINGS("calibrate=isotonic"), &model, &e, &err);
	if (!OK(model != NULL, "a calibrated model"))
		return;
	OK(e.rows > 0 && e.rows < 700, "evaluated on the half that calibration did not see: %lld",
	   (long long) e.rows);
	scratch = malloc(pe_model_explain_scratch(model));
	for (int i = 0; i < 100; i++)
		data_row(model, &state, rows[i]);
	IS_INT(pe_predictor_create(&env, model, &predictor, &err), PE_OK, "a predictor");
	IS_INT(pe_predictor_predict(predictor, rows[0], DATA_FEATURES, 100, 1, block, &err), PE_OK,
	       "predicts a block");
	pe_predictor_free(predictor);
	for (int i = 0; i < 100; i++)
	{
		double sum = 0;

		worst = fmax(worst, fabs(block[i] - pe_model_predict(model, rows[i])));
		pe_model_explain(model, rows[i], scratch, contributions, &base);
		for (int f = 0; f < DATA_FEATURES; f++)
			sum += contributions[f];
		worst = fmax(worst, fabs(sum + base - pe_model_margin(model, rows[i])));
	}
	OK(worst < 1e-9, "block, row and contributions agree (%g)", worst);
	scores_by_counting(model);
	IS_INT(pe_model_score(model, -1).percentile, 1, "lowest percentile");
	IS_INT(pe_model_score(model, 2).percentile, 100, "highest percentile");
	IS_INT(pe_model_score(model, 2).score, 100, "highest score");
	IS_STR(pe_bucket_name(pe_model_score(model, 2).bucket), "very high", "bucket");
	free(scratch);
	pe_model_free(model);
}

#define MANY 300

/* Block and row give the same bits, on any CPU, with any number of threads, whatever the trees look like. */
static void
compare_predictor(pe_task task, const char *first, const char *second)
{
	pe_evaluation e;
	pe_model *model;
	pe_predictor *predictor;
	double *values = malloc(MANY * DATA_FEATURES * sizeof(double)), row[MANY], block[MANY];
	uint64_t state = 9;

	data_train(&env, PE_ALGORITHM_BOOSTED_TREES, task, 3000, false, SETTINGS("trees=12", first, second),
	           &model, &e, &err);
	if (!OK(model != NULL, "%s %s", first, second))
		return;
	for (int i = 0; i < MANY; i++)
	{
		double *at = values + i * DATA_FEATURES;

		data_row(model, &state, at);
		at[0] = i % 17 == 0 ? INFINITY : i % 19 == 0 ? -INFINITY : at[0];
		/* On a threshold itself, where rounding would show. */
		for (int f = 0; f < DATA_FEATURES; f++)
		{
			const pe_node *node = &model->nodes[(uint32_t) (i * 7 + f) % model->n_nodes];

			if (node->left != 0 && !(node->flags & PE_NODE_CATEGORICAL))
				at[node->feature] = node->test.threshold;
		}
		row[i] = pe_model_predict(model, at);
	}
	IS_INT(pe_predictor_create(&env, model, &predictor, &err), PE_OK, "predictor");
	for (int plain = 0; plain < 2; plain++)
	{
		for (int rows = MANY; rows > 0; rows = rows / 2 - 1)
		{
			memset(block, 0, sizeof(block));
			pe_predictor_predict(predictor, values, DATA_FEATURES, rows, 1, block, &err);
			OK(memcmp(block, row, rows * sizeof(double)) == 0, "%d rows, %s", rows,
			   plain ? "plain" : "as the CPU can");
		}
		pe_predictor_use_plain(predictor);
	}
	pe_predictor_free(predictor);
	free(values);
	pe_model_free(model);
}

/* Two blocks in turn on threads of the predictor's own: the same bits, and the scores. */
static void
check_blocks(const pe_model *model, const double *values, int rows, int threads)
{
	pe_predictor *predictor;
	double *predictions[2] = {malloc(rows * sizeof(double)), malloc(rows * sizeof(double))};
	pe_score *scores = malloc(rows * sizeof(pe_score));
	int different = 0;

	IS_INT(pe_predictor_create(&env, model, &predictor, &err), PE_OK, "a predictor for blocks");
	IS_INT(pe_predictor_start(predictor, threads, &err), PE_OK, "%d threads of its own", threads);
	for (int turn = 0; turn < 5; turn++)
	{
		int count = turn == 4 ? rows % 100 : rows;
		pe_prediction_block block = {.values = values,
		                             .stride = DATA_FEATURES,
		                             .rows = (size_t) count,
		                             .predictions = predictions[turn % 2],
		                             .scores = turn % 2 == 0 ? scores : NULL};

		pe_predictor_begin(predictor, &block);
		different += pe_predictor_finish(predictor, &err) != PE_OK;
		for (int i = 0; i < count; i++)
		{
			double one = pe_model_predict(model, values + i * DATA_FEATURES);
			pe_score score = pe_model_score(model, one);

			different += memcmp(&one, &predictions[turn % 2][i], sizeof(one)) != 0;
			different += turn % 2 == 0 && memcmp(&score, &scores[i], sizeof(score)) != 0;
		}
	}
	IS_INT(different, 0, "blocks on %d threads are as row by row", threads);
	/* Begun and never finished: freeing waits until nobody works any more. */
	pe_predictor_begin(predictor, &(pe_prediction_block){values, DATA_FEATURES, (size_t) rows, predictions[0],
	                                                     scores, NULL});
	pe_predictor_free(predictor);
	free(predictions[0]);
	free(predictions[1]);
	free(scores);
}

/* Enough rows and trees for threads to take part. */
static void
predict_on_threads(void)
{
	pe_evaluation e;
	pe_model *model;
	pe_predictor *predictor;
	int rows = 20000, different = 0;
	double *values = malloc((size_t) rows * DATA_FEATURES * sizeof(double)),
	       *block = malloc(rows * sizeof(double));
	uint64_t state = 3;

	data_train(&env, PE_ALGORITHM_BOOSTED_TREES, PE_TASK_PROPENSITY, 2000, false, SETTINGS("trees=40"),
	           &model, &e, &err);
	for (int i = 0; i < rows; i++)
		data_row(model, &state, values + i * DATA_FEATURES);
	pe_predictor_create(&env, model, &predictor, &err);
	IS_INT(pe_predictor_predict(predictor, values, DATA_FEATURES, rows, 3, block, &err), PE_OK,
	       "three threads");
	for (int i = 0; i < rows; i++)
	{
		double one = pe_model_predict(model, values + i * DATA_FEATURES);

		different += memcmp(&one, &block[i], sizeof(one)) != 0;
	}
	IS_INT(different, 0, "the same bits as row by row");
	pe_predictor_free(predictor);
	check_blocks(model, values, rows, 3);
	check_blocks(model, values, rows, 1);
	free(values);
	free(block);
	pe_model_free(model);
}

static void
predictor_out_of_memory(void)
{
	pe_evaluation e;
	pe_model *model;
	pe_predictor *predictor;
	double values[DATA_FEATURES], prediction;
	uint64_t state = 5;
	long live;
	bool done = false;

	data_train(&env, PE_ALGORITHM_BOOSTED_TREES, PE_TASK_VALUE, 500, false, SETTINGS("trees=3"), &model, &e,
	           &err);
	data_row(model, &state, values);
	live = memory.live;
	for (long fail_at = 1; !done; fail_at++)
	{
		memory.calls = 0;
		memory.fail_at = fail_at;
		if (pe_predictor_create(&env, model, &predictor, &err) == PE_OK)
		{
			done = pe_predictor_predict(predictor, values, DATA_FEATURES, 1, 2, &prediction, &err) == PE_OK &&
			       pe_predictor_start(predictor, 2, &err) == PE_OK;
			pe_predictor_free(predictor);
		}
		memory.fail_at = 0;
		if (memory.live != live)
			break;
	}
	IS_INT(memory.live, live, "no failed allocation leaks");
	OK(done, "and in the end it works");
	pe_model_free(model);
}

static void
option_names(void)
{
	pe_options options;

	pe_options_init(&options, PE_ALGORITHM_BOOSTED_TREES);
	IS_INT(pe_options_set(&options, "trees", "250", &err), PE_OK, "trees");
	IS_INT(options.trees, 250, "is taken");
	IS_INT(pe_options_set(&options, "trees", "0", &err), PE_INVALID_OPTION, "%s", err.hint);
	IS_INT(pe_options_set(&options, "trees", "ten", &err), PE_INVALID_OPTION, "%s", err.message);
	IS_INT(pe_options_set(&options, "learning_rate", "nan", &err), PE_INVALID_OPTION, "%s", err.message);
	IS_INT(pe_options_set(&options, "max_iterations", "5", &err), PE_INVALID_OPTION, "%s", err.message);
	IS_INT(pe_options_set(&options, "tree", "5", &err), PE_INVALID_OPTION, "%s", err.hint);
	IS_INT(pe_options_set(&options, "goss", "true", &err), PE_OK, "goss");
	IS_INT(pe_options_set(&options, "goss", "0.2", &err), PE_INVALID_OPTION, "%s", err.hint);
	IS_INT(pe_options_set(&options, "objective", "tweedie", &err), PE_OK, "an objective");
	IS_INT(pe_options_set(&options, "objective", "hinge", &err), PE_INVALID_OPTION, "%s", err.hint);
	IS_INT(pe_options_set(&options, "seed", "-1", &err), PE_INVALID_OPTION, "%s", err.hint);
	IS_INT(pe_options_set(&options, "seed", "18446744073709551615", &err), PE_OK, "the largest seed");
	IS_INT(pe_options_set(&options, "calibrate", "perhaps", &err), PE_INVALID_OPTION, "%s", err.hint);
	OK(pe_training_memory(&options, 25, false, 2000000) < 500u << 20, "2,000,000 x 25 in %zu MB",
	   pe_training_memory(&options, 25, false, 2000000) >> 20);
	OK(pe_training_memory(&options, 25, false, pe_training_memory_rows(&options, 25, false, 1u << 30)) <=
	       1u << 30,
	   "the rows that fit, fit");
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
		status = data_train(&env, PE_ALGORITHM_BOOSTED_TREES, PE_TASK_PROPENSITY, 400, true,
		                    SETTINGS("threads=2", "trees=3", "calibrate=platt", "early_stopping=2"), &model,
		                    &e, &err);
		memory.fail_at = 0;
		if (status == PE_OUT_OF_MEMORY && (memory.live != before || model != NULL))
			break;
	}
	OK(status == PE_OK && fail_at > 30, "training survives each of %ld failing allocations", fail_at - 1);
	pe_model_free(model);
}

/* An allocator that knows how much is out, and the most that ever was. */
typedef struct meter
{
	size_t now;
	size_t most;
} meter;

#define METER_HEAD 16

static void *
meter_realloc(void *ctx, void *ptr, size_t size)
{
	meter *m = ctx;
	size_t before = ptr != NULL ? *(size_t *) ((char *) ptr - METER_HEAD) : 0;
	char *block = realloc(ptr != NULL ? (char *) ptr - METER_HEAD : NULL, size + METER_HEAD);

	*(size_t *) block = size;
	m->now += size - before;
	m->most = m->now > m->most ? m->now : m->most;
	return block + METER_HEAD;
}

static void *
meter_alloc(void *ctx, size_t size)
{
	return meter_realloc(ctx, NULL, size);
}

static void
meter_free(void *ctx, void *ptr)
{
	((meter *) ctx)->now -= *(size_t *) ((char *) ptr - METER_HEAD);
	free((char *) ptr - METER_HEAD);
}

static void
memory_announced(pe_algorithm algorithm, pe_task task, const char *first, const char *second)
{
	meter m = {0, 0};
	pe_env metered = {.allocator = {meter_alloc, meter_realloc, meter_free, &m}};
	pe_options options;
	pe_evaluation e;
	pe_model *model;
	size_t announced;
	enum
	{
		ROWS = 150000
	};

	pe_options_init(&options, algorithm);
	options.threads = 2;
	options.trees = 3;
	for (int i = 0; i < 2; i++)
	{
		const char *setting = i == 0 ? first : second, *equals = strchr(setting, '=');
		char name[64];

		snprintf(name, sizeof(name), "%.*s", (int) (equals - setting), setting);
		IS_INT(pe_options_set(&options, name, equals + 1, &err), PE_OK, "%s", setting);
	}
	IS_INT(data_train(&metered, algorithm, task, ROWS, true, SETTINGS("threads=2", first, second), &model, &e,
	                  &err),
	       PE_OK, "%s %s %s", pe_algorithm_name(algorithm), first, second);
	announced = pe_training_memory(&options, DATA_FEATURES, true, ROWS);
	OK(m.most <= announced, "%zu KB were used, %zu KB announced", m.most >> 10, announced >> 10);
	pe_model_free(model);
	IS_INT(m.now, 0, "and all given back");
}

static int
stop_at(void *ctx, const char *phase, uint64_t done, uint64_t total)
{
	return --*(int *) ctx <= 0;
}

static void
cancel(void)
{
	int cancelled = 0, left = 0;

	for (int ticks = 1; ticks <= 9; ticks += 2)
	{
		int countdown = ticks;
		pe_env impatient = env;
		pe_evaluation e;
		pe_model *model;
		long before = memory.live;

		impatient.tick = stop_at;
		impatient.tick_ctx = &countdown;
		cancelled += data_train(&impatient, PE_ALGORITHM_BOOSTED_TREES, PE_TASK_PROPENSITY, 20000, false,
		                        SETTINGS("threads=2"), &model, &e, &err) == PE_CANCELLED;
		left += memory.live != before;
	}
	IS_INT(cancelled, 5, "the tick stops training wherever it is");
	IS_INT(left, 0, "and nothing is left");
}

int
main(void)
{
	env = tap_env(&memory);
	same_on_threads(PE_TASK_PROPENSITY, 30000, "max_depth=5", "l1=0.1");
	same_on_threads(PE_TASK_VALUE, 30000, "max_leaves=20", "min_gain=0.01");
	same_on_threads(PE_TASK_PROPENSITY, 20000, "row_sample=0.5", "column_sample=0.6");
	same_on_threads(PE_TASK_PROPENSITY, 20000, "early_stopping=2", "learning_rate=0.9");
	brute_force();
	categories();
	many_levels();
	monotone();
	predictions_agree();
	compare_predictor(PE_TASK_PROPENSITY, "max_depth=6", "seed=1");
	compare_predictor(PE_TASK_VALUE, "max_depth=2", "seed=1");
	compare_predictor(PE_TASK_VALUE, "max_depth=9", "min_child_weight=1");
	compare_predictor(PE_TASK_VALUE, "max_leaves=60", "min_child_weight=1");
	compare_predictor(PE_TASK_VALUE, "max_leaves=256", "min_child_weight=1");
	compare_predictor(PE_TASK_VALUE, "max_leaves=600", "min_child_weight=1"); /* some walk on */
	predict_on_threads();
	predictor_out_of_memory();
	option_names();
	out_of_memory();
	cancel();
	memory_announced(PE_ALGORITHM_BOOSTED_TREES, PE_TASK_PROPENSITY, "trees=3", "calibrate=isotonic");
	memory_announced(PE_ALGORITHM_BOOSTED_TREES, PE_TASK_VALUE, "trees=3", "holdout=0");
	memory_announced(PE_ALGORITHM_BOOSTED_TREES, PE_TASK_VALUE, "trees=3", "max_depth=20");
	memory_announced(PE_ALGORITHM_BOOSTED_TREES, PE_TASK_VALUE, "trees=3", "max_leaves=1000");
	memory_announced(PE_ALGORITHM_LOGISTIC, PE_TASK_PROPENSITY, "holdout=0.5", "seed=1");
	memory_announced(PE_ALGORITHM_LINEAR, PE_TASK_VALUE, "holdout=0", "seed=1");
	IS_INT(memory.live, 0, "no block is left");
	return tap_done();
}
