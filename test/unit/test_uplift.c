/* Uplift: figures against published fixtures and brute force, models on a known effect, artifact, memory. */
#include "model/internal.h"
#include "model/uplift/uplift.h"
#include "model_data.h"

static tap_memory memory;
static pe_env env;
static pe_error err;

/* Area under a stepwise-linear curve that value gives at each distinct key, by its definition. */
static double
area_by_hand(const double *keys, const double *outcomes, const uint8_t *treated, int n, bool qini)
{
	double area = 0, last_rows = 0, last_value = 0;

	for (;;)
	{
		double next = -INFINITY, rows = 0, nt = 0, yt = 0, yc = 0, value;

		/* The next lower key: the largest of those that are not counted yet. */
		for (int i = 0; i < n; i++)
		{
			int above = 0;

			for (int k = 0; k < n; k++)
				above += keys[k] >= keys[i];
			if (above > last_rows && keys[i] > next)
				next = keys[i];
		}
		if (isinf(next))
			return area;
		for (int i = 0; i < n; i++)
			if (keys[i] >= next)
			{
				rows++;
				nt += treated[i];
				yt += treated[i] ? outcomes[i] : 0;
				yc += treated[i] ? 0 : outcomes[i];
			}
		if (qini)
			value = yt - (rows > nt ? yc * nt / (rows - nt) : 0);
		else
			value = ((nt > 0 ? yt / nt : 0) - (rows > nt ? yc / (rows - nt) : 0)) * rows;
		area += (rows - last_rows) * (value + last_value) / 2;
		last_rows = rows;
		last_value = value;
	}
}

static void
test_figures(void)
{
	static const double up[] = {0.1, 0.3}, first[] = {0, 1}, second[] = {1, 0};
	static const uint8_t treated_first[] = {1, 0}, treated_second[] = {0, 1};
	pe_uplift_evaluation *e = malloc(sizeof(*e));
	uint64_t state = 77;
	double apart = 0, best_above = 0;
	int compared = 0;

	/* scikit-uplift's own examples of uplift_auc_score. */
	pe_uplift_evaluate(&env, up, first, treated_first, 2, e, &err);
	IS_NEAR(e->auuc, 0, 0, "the worst order has 0");
	pe_uplift_evaluate(&env, up, second, treated_second, 2, e, &err);
	IS_NEAR(e->auuc, 1, 0, "the best has 1");
	for (int round = 0; round < 300; round++)
	{
		double uplifts[12], outcomes[12], best[12], actual, random, perfect = -INFINITY;
		uint8_t treated[12];
		int n = 4 + round % 9;

		for (int i = 0; i < n; i++)
		{
			uplifts[i] = floor(data_uniform(&state) * 6);
			outcomes[i] = data_uniform(&state) < 0.5;
			treated[i] = data_uniform(&state) < 0.5;
		}
		pe_uplift_evaluate(&env, uplifts, outcomes, treated, n, e, &err);
		for (int i = 0; i < n; i++)
			best[i] = treated[i] ? outcomes[i] : -outcomes[i];
		actual = area_by_hand(uplifts, outcomes, treated, n, true);
		for (int i = 0; i < n; i++)
			uplifts[i] = 1;
		random = area_by_hand(uplifts, outcomes, treated, n, true);
		perfect = area_by_hand(best, outcomes, treated, n, true);
		if (perfect > random + 1e-9)
		{
			apart = fmax(apart, fabs(e->qini - (actual - random) / (perfect - random)));
			best_above = fmax(best_above, e->qini);
			compared++;
		}
		else
			apart = fmax(apart, isnan(e->qini) ? 0 : 1);
	}
	OK(compared > 100, "%d random orders", compared);
	IS_NEAR(apart, 0, 1e-12, "areas as by definition");
	IS_INT(pe_uplift_evaluate(&env, up, first, treated_first, 0, e, &err), PE_OK, "no rows");
	OK(e->rows == 0 && isnan(e->qini), "are not evaluated");
	free(e);
}

static void
test_tables(void)
{
	static double uplifts[1000], outcomes[1000];
	static uint8_t treated[1000];
	pe_uplift_evaluation *e = malloc(sizeof(*e));
	int64_t rows = 0;

	/* Every other row treated; of the upper half all treated convert, of the lower all others. */
	for (int i = 0; i < 1000; i++)
	{
		uplifts[i] = i;
		treated[i] = i % 2;
		outcomes[i] = (i >= 500) == (i % 2 == 1);
	}
	pe_uplift_evaluate(&env, uplifts, outcomes, treated, 1000, e, &err);
	IS_NEAR(e->effect, 0, 1e-15, "no effect on the whole");
	IS_NEAR(e->at_10, 1, 1e-15, "all of it above");
	IS_NEAR(e->at_30, 1, 1e-15, "up to the half");
	IS_NEAR(e->qini, 0.667592, 1e-5, "the best order that is known beforehand; hindsight has 1");
	IS_NEAR(e->deciles[0].uplift, 1, 0, "first tenth");
	IS_NEAR(e->deciles[9].uplift, -1, 0, "last tenth");
	IS_NEAR(e->deciles[0].predicted, 949.5, 1e-9, "mean prediction");
	for (int d = 0; d < e->n_deciles; d++)
		rows += e->deciles[d].rows;
	IS_INT(rows, 1000, "tenths are all rows");
	IS_INT(e->n_points, 101, "a hundred steps");
	IS_NEAR(e->curve[50].gain, 250, 1e-9, "gain at the half");
	IS_NEAR(e->curve[100].gain, 0, 1e-9, "and at the end");
	free(e);
}

/* Known effect: treatment adds 0.3 to the gold ones above 0, takes 0.1 from "none"; share of treated given.
 */
static pe_dataset *
simulated(int rows, double share, uint8_t *treated, double *effects)
{
	static const pe_feature_spec specs[] = {{"x", "float8", PE_FEATURE_NUMERIC},
	                                        {"plan", "text", PE_FEATURE_CATEGORICAL},
	                                        {"noise", "float8", PE_FEATURE_NUMERIC}};
	static const char *const plans[] = {"basic", "gold", "none"};
	pe_dataset *dataset = NULL;
	uint64_t state = 4;
	pe_status status = pe_dataset_create(&env, PE_ALGORITHM_BOOSTED_TREES, specs, 3, true, &dataset, &err);

	for (int row = 0; row < rows && status == PE_OK; row++)
	{
		int plan = (int) (data_uniform(&state) * 3);
		double values[3] = {data_uniform(&state) * 2 - 1, 0, data_uniform(&state)};
		double effect = plan == 1 && values[0] > 0 ? 0.3 : plan == 2 ? -0.1 : 0;
		int32_t code;

		status = pe_dataset_level(dataset, 1, plans[plan], strlen(plans[plan]), &code, &err);
		values[1] = code;
		treated[row] = data_uniform(&state) < share;
		if (effects != NULL)
			effects[row] = effect;
		if (status == PE_OK)
			status = pe_dataset_append(dataset, values,
			                           data_uniform(&state) < 0.2 + 0.1 * values[0] + treated[row] * effect,
			                           1, data_key(row), &err);
	}
	if (status == PE_OK)
		return dataset;
	pe_dataset_free(dataset);
	return NULL;
}

static pe_options
tree_options(int trees)
{
	pe_options options;

	pe_options_init(&options, PE_ALGORITHM_BOOSTED_TREES);
	options.trees = trees;
	options.max_depth = 3;
	options.threads = 2;
	return options;
}

static void
test_simulation(pe_algorithm algorithm, double share)
{
	enum
	{
		ROWS = 20000
	};
	uint8_t *treated = malloc(ROWS);
	double *effects = malloc(ROWS * sizeof(double)), error = 0, mean = 0;
	pe_dataset *dataset = simulated(ROWS, share, treated, effects);
	pe_options options = tree_options(40);
	pe_uplift_evaluation *e = malloc(sizeof(*e));
	pe_model *model = NULL;
	pe_status status = pe_uplift_train(&env, dataset, treated, algorithm, &options, &model, e, &err);

	pe_dataset_free(dataset);
	if (OK(status == PE_OK, "%s, %.0f %% treated%s", pe_algorithm_name(algorithm), 100 * share,
	       status == PE_OK ? "" : err.message))
	{
		static const char *const plans[] = {"basic", "gold", "none"};

		for (int plan = 0; plan < 3; plan++)
			for (int i = 0; i < 20; i++)
			{
				double values[3] = {i / 10.0 - 0.95,
				                    pe_model_level(model, 1, plans[plan], strlen(plans[plan])), 0.5};
				double truth = plan == 1 && values[0] > 0 ? 0.3 : plan == 2 ? -0.1 : 0, out[2];
				double predicted = pe_model_predict(model, values);

				error += (predicted - truth) * (predicted - truth) / 60;
				mean += predicted / 60;
				pe_model_outputs(model, values, out);
				if (pe_model_output_count(model) == 2 && fabs(out[0] - out[1] - predicted) > 1e-15)
					error = NAN;
			}
		OK(sqrt(error) < 0.06, "root mean squared error %.3f", sqrt(error));
		IS_NEAR(mean, 0.05 - 0.1 / 3, 0.02, "unbiased");
		OK(e->qini > 0.05 && e->separation > 4 && e->at_10 > 0.2, "Qini %.3f, %.1f, %.3f at 10 %%", e->qini,
		   e->separation, e->at_10);
		IS_NEAR(e->effect, 0.05 - 0.1 / 3, 0.03, "effect on all");
		OK(pe_model_get_feature(model, 1).used && pe_model_score(model, 0.3).score > 80, "can be scored");
	}
	pe_model_free(model);
	free(e);
	free(treated);
	free(effects);
}

/* The bootstrap's standard error against the spread of the coefficient over other rows. */
static void
test_error(void)
{
	enum
	{
		ROWS = 3000,
		ROUNDS = 100
	};
	pe_uplift_evaluation *e = malloc(sizeof(*e));
	double *uplifts = malloc(ROWS * sizeof(double)), *outcomes = malloc(ROWS * sizeof(double));
	uint8_t *treated = malloc(ROWS);
	double sum = 0, squares = 0, errors = 0, deviation;
	uint64_t state = 5;

	for (int round = 0; round < ROUNDS; round++)
	{
		for (int i = 0; i < ROWS; i++)
		{
			double x = data_uniform(&state);

			uplifts[i] = floor(20 * (x + data_uniform(&state)));
			treated[i] = data_uniform(&state) < 0.4;
			outcomes[i] = data_uniform(&state) < 0.2 + treated[i] * 0.2 * x;
		}
		pe_uplift_evaluate(&env, uplifts, outcomes, treated, ROWS, e, &err);
		sum += e->qini;
		squares += e->qini * e->qini;
		errors += e->qini_error / ROUNDS;
	}
	deviation = sqrt((squares - sum * sum / ROUNDS) / (ROUNDS - 1));
	OK(fabs(errors / deviation - 1) < 0.2, "standard error %.4f, over other rows %.4f", errors, deviation);
	free(e);
	free(uplifts);
	free(outcomes);
	free(treated);
}

/* Reasons are of the difference of the parts' log-odds, one row at a time and many. */
static void
test_reasons(pe_algorithm algorithm)
{
	uint8_t *treated = malloc(4000);
	pe_dataset *dataset = simulated(4000, 0.4, treated, NULL);
	pe_options options = tree_options(20);
	pe_uplift_evaluation *e = malloc(sizeof(*e));
	pe_model *model = NULL;
	pe_explainer *explainer = NULL;
	void *scratch;
	double worst = 0, apart = 0;
	uint64_t state = 8;

	IS_INT(pe_uplift_train(&env, dataset, treated, algorithm, &options, &model, e, &err), PE_OK, "trained");
	pe_dataset_free(dataset);
	OK(pe_model_explains(model), "%s gives reasons", pe_algorithm_name(algorithm));
	IS_INT(pe_explainer_create(&env, model, 1 << 20, &explainer, &err), PE_OK, "an explainer");
	scratch = malloc(pe_model_explain_scratch(model));
	for (int i = 0; i < 200; i++)
	{
		double values[3] = {i % 9 == 0 ? NAN : data_uniform(&state) * 2 - 1,
		                    floor(data_uniform(&state) * 4) - 1, data_uniform(&state)};
		double slow[3], quick[3], base, quick_base, sum, out[2] = {0, 0};

		pe_model_explain(model, values, scratch, slow, &base);
		pe_explainer_explain(explainer, values, 3, 1, 1, quick, &quick_base, &err);
		sum = base + slow[0] + slow[1] + slow[2];
		for (int f = 0; f < 3; f++)
			apart = fmax(apart, fabs(slow[f] - quick[f]));
		apart = fmax(apart, fabs(base - quick_base));
		worst = fmax(worst, fabs(sum - pe_model_margin(model, values)));
		pe_model_outputs(model, values, out);
		if (algorithm == PE_ALGORITHM_TWO_MODELS)
			worst = fmax(worst, fabs(sum - log(out[0] / (1 - out[0])) + log(out[1] / (1 - out[1]))));
		else
			worst = fmax(worst, fabs(tanh(sum / 2) - pe_model_predict(model, values)));
	}
	IS_NEAR(worst, 0, 1e-9, "contributions add up to the difference");
	IS_NEAR(apart, 0, 1e-9, "the explainer says the same");
	OK(pe_model_get_feature(model, 1).mean_contribution > pe_model_get_feature(model, 2).mean_contribution,
	   "the plan moves more than noise");
	pe_explainer_free(explainer);
	pe_model_free(model);
	free(scratch);
	free(treated);
	free(e);
}

static int
stop_later(void *ctx, const char *phase, uint64_t done, uint64_t total)
{
	return --*(long *) ctx <= 0;
}

/* Stopped at any tick, it leaves nothing. */
static void
test_cancel(pe_algorithm algorithm)
{
	uint8_t *treated = malloc(2000);
	pe_options options = tree_options(2);
	pe_uplift_evaluation *e = malloc(sizeof(*e));
	pe_status status = PE_CANCELLED;
	long live = memory.live, at, left;
	pe_env stopping = env;

	stopping.tick = stop_later;
	stopping.tick_ctx = &left;
	options.threads = 1;
	for (at = 1; status == PE_CANCELLED && at < 2000; at++)
	{
		pe_dataset *dataset = simulated(2000, 0.5, treated, NULL);
		pe_model *model;

		left = at;
		status = pe_uplift_train(&stopping, dataset, treated, algorithm, &options, &model, e, &err);
		pe_model_free(model);
		pe_dataset_free(dataset);
		if (memory.live != live)
			break;
	}
	OK(status == PE_OK && memory.live == live && at > 10, "%s stops at each of %ld ticks",
	   pe_algorithm_name(algorithm), at - 2);
	free(treated);
	free(e);
}

static void
test_artifact(pe_algorithm algorithm)
{
	uint8_t treated[600], *bytes[2], *twice, *damaged;
	size_t length[2], length_twice;
	pe_options options = tree_options(3);
	pe_uplift_evaluation *e = malloc(sizeof(*e));
	pe_model *model, *again;
	double values[3] = {0.5, 1, NAN}, out[2];
	int refused = 0;
	pe_status status = PE_OUT_OF_MEMORY;

	for (int i = 0; i < 2; i++)
	{
		pe_dataset *dataset = simulated(600, 0.5, treated, NULL);

		options.threads = 1 + 3 * i;
		IS_INT(pe_uplift_train(&env, dataset, treated, algorithm, &options, &model, e, &err), PE_OK, "%s",
		       pe_algorithm_name(algorithm));
		pe_dataset_free(dataset);
		pe_model_serialize(&env, model, &bytes[i], &length[i], &err);
		if (i == 0)
			pe_model_free(model);
	}
	OK(length[0] == length[1] && memcmp(bytes[0], bytes[1], length[0]) == 0,
	   "the same bytes on one thread and on four");
	IS_INT(pe_model_deserialize(&env, bytes[0], length[0], &again, &err), PE_OK, "%zu bytes are read",
	       length[0]);
	pe_model_serialize(&env, again, &twice, &length_twice, &err);
	OK(length_twice == length[0] && memcmp(bytes[0], twice, length_twice) == 0, "and written the same");
	IS_NEAR(pe_model_predict(again, values), pe_model_predict(model, values), 0, "and predict the same");
	pe_model_free(again);
	pe_model_free(model);
	damaged = malloc(length[0]);
	for (size_t at = 24; at < length[0]; at++)
	{
		uint32_t crc;

		memcpy(damaged, bytes[0], length[0]);
		damaged[at] = (uint8_t) (damaged[at] + 1);
		crc = pe_crc32c(damaged + 24, length[0] - 24);
		for (int i = 0; i < 4; i++)
			damaged[20 + i] = (uint8_t) (crc >> (8 * i));
		if (pe_model_deserialize(&env, damaged, length[0], &again, &err) != PE_OK)
		{
			refused++;
			continue;
		}
		(void) pe_model_predict(again, values);
		pe_model_outputs(again, values, out);
		pe_model_free(again);
	}
	OK(refused > 100, "damage is refused (%d) or harmless", refused);
	for (long fail_at = 1; status == PE_OUT_OF_MEMORY; fail_at++)
	{
		memory.calls = 0;
		memory.fail_at = fail_at;
		status = pe_model_deserialize(&env, bytes[0], length[0], &again, &err);
	}
	memory.fail_at = 0;
	IS_INT(status, PE_OK, "reading survives each failing allocation");
	pe_model_free(again);
	free(damaged);
	free(e);
	pe_free(&env, bytes[0]);
	pe_free(&env, bytes[1]);
	pe_free(&env, twice);
}

static void
test_memory(pe_algorithm algorithm)
{
	uint8_t treated[300];
	pe_options options = tree_options(2);
	pe_uplift_evaluation *e = malloc(sizeof(*e));
	pe_model *model = NULL;
	pe_status status = PE_OUT_OF_MEMORY;
	long fail_at = 0, leaks = 0;

	while (status == PE_OUT_OF_MEMORY)
	{
		pe_dataset *dataset = simulated(300, 0.5, treated, NULL);
		long live = memory.live;

		memory.calls = 0;
		memory.fail_at = ++fail_at;
		status = pe_uplift_train(&env, dataset, treated, algorithm, &options, &model, e, &err);
		memory.fail_at = 0;
		leaks += status != PE_OK && memory.live > live;
		pe_dataset_free(dataset);
	}
	OK(status == PE_OK && fail_at > 50, "survives each of %ld failing allocations", fail_at);
	IS_INT(leaks, 0, "and leaks nothing");
	pe_model_free(model);
	free(e);
}

static void
test_errors(void)
{
	uint8_t treated[300];
	pe_dataset *dataset = simulated(300, 0.01, treated, NULL);
	pe_options options = tree_options(2);
	pe_uplift_evaluation *e = malloc(sizeof(*e));
	pe_model *model;

	IS_INT(pe_uplift_train(&env, dataset, treated, PE_ALGORITHM_TWO_MODELS, &options, &model, e, &err),
	       PE_INVALID_DATA, "%s", err.message);
	pe_dataset_free(dataset);
	dataset = simulated(300, 0.5, treated, NULL);
	IS_INT(pe_uplift_train(&env, dataset, treated, PE_ALGORITHM_BOOSTED_TREES, &options, &model, e, &err),
	       PE_INVALID_OPTION, "%s", err.message);
	pe_dataset_free(dataset);
	free(e);
}

/* Equal predictions of rows that come group by group: each tenth has both groups about alike. */
static void
test_ties(void)
{
	enum
	{
		ROWS = 2000
	};
	static double uplifts[ROWS], outcomes[ROWS];
	static uint8_t treated[ROWS];
	pe_uplift_evaluation *e = calloc(1, sizeof(*e));
	bool mixed = true;

	for (int i = 0; i < ROWS; i++)
	{
		uplifts[i] = 0.1;
		outcomes[i] = i % 3 == 0;
		treated[i] = i < ROWS / 2;
	}
	IS_INT(pe_uplift_evaluate(&env, uplifts, outcomes, treated, ROWS, e, &err), PE_OK,
	       "one prediction for all");
	for (int d = 0; d < e->n_deciles; d++)
		mixed = mixed && e->deciles[d].treated > 60 && e->deciles[d].treated < 140;
	OK(mixed && e->n_deciles == 10, "ties do not follow the order of the rows");
	free(e);
}

int
main(void)
{
	env = tap_env(&memory);
	test_figures();
	test_ties();
	test_tables();
	test_simulation(PE_ALGORITHM_TWO_MODELS, 0.5);
	test_simulation(PE_ALGORITHM_TWO_MODELS, 0.25);
	test_simulation(PE_ALGORITHM_CLASS_TRANSFORMATION, 0.5);
	test_simulation(PE_ALGORITHM_CLASS_TRANSFORMATION, 0.25);
	test_error();
	test_reasons(PE_ALGORITHM_TWO_MODELS);
	test_reasons(PE_ALGORITHM_CLASS_TRANSFORMATION);
	test_cancel(PE_ALGORITHM_TWO_MODELS);
	test_cancel(PE_ALGORITHM_CLASS_TRANSFORMATION);
	test_artifact(PE_ALGORITHM_TWO_MODELS);
	test_artifact(PE_ALGORITHM_CLASS_TRANSFORMATION);
	test_memory(PE_ALGORITHM_TWO_MODELS);
	test_memory(PE_ALGORITHM_CLASS_TRANSFORMATION);
	test_errors();
	IS_INT(memory.live, 0, "no block is left");
	return tap_done();
}
