/*
 * test_summary.c
 *		What a training tells of its features, against counting by hand.
 */
#include "model/internal.h"
#include "tap.h"

#define ROWS 5000

static tap_memory memory;
static pe_env env;
static pe_error err;

static double
number_of(int row)
{
	return row % 10 == 0 ? NAN : (row * 37 % 1000) / 8.0 - 20;
}

/* Half of the rows without a missing one have "often". */
static const char *
level_of(int row)
{
	static const char *const rest[] = {
	    "rare", "a level whose text is far longer than the room that is kept for it: ééé"};

	return row % 4 == 3 ? NULL : row % 2 == 0 ? "often" : rest[row % 8 > 3];
}

static pe_dataset *
make_dataset(pe_algorithm algorithm)
{
	pe_feature_spec specs[] = {{"number", NULL, PE_FEATURE_NUMERIC},
	                           {"level", NULL, PE_FEATURE_CATEGORICAL},
	                           {"empty", NULL, PE_FEATURE_NUMERIC}};
	pe_dataset *dataset;

	if (pe_dataset_create(&env, algorithm, specs, 3, false, &dataset, &err) != PE_OK)
		return NULL;
	for (int row = 0; row < ROWS; row++)
	{
		double values[] = {number_of(row), NAN, NAN};
		int32_t code;

		if (level_of(row) != NULL)
		{
			if (pe_dataset_level(dataset, 1, level_of(row), strlen(level_of(row)), &code, &err) != PE_OK)
				break;
			values[1] = code;
		}
		if (pe_dataset_append(dataset, values, row * 37 % 1000 > 500, 1,
		                      (uint64_t) row * UINT64_C(0x9e3779b97f4a7c15), &err) != PE_OK)
			break;
	}
	return dataset;
}

static void
check(pe_algorithm algorithm, int threads)
{
	pe_dataset *dataset = make_dataset(algorithm);
	pe_options options;
	pe_model *model = NULL;
	pe_evaluation *evaluation = calloc(1, sizeof(*evaluation));
	pe_model_feature feature;
	double sum = 0, lowest = INFINITY, highest = -INFINITY;
	int present = 0, often = 0, missing = 0;

	for (int row = 0; row < ROWS; row++)
	{
		double value = number_of(row);

		often += level_of(row) != NULL && strcmp(level_of(row), "often") == 0;
		missing += level_of(row) == NULL;
		if (isnan(value))
			continue;
		present++;
		sum += value;
		lowest = fmin(lowest, value);
		highest = fmax(highest, value);
	}
	pe_options_init(&options, algorithm);
	options.threads = threads;
	IS_INT(pe_train(&env, dataset, PE_TASK_PROPENSITY, &options, &model, evaluation, &err), PE_OK,
	       "%s trains", pe_algorithm_name(algorithm));
	feature = pe_model_get_feature(model, 0);
	OK(feature.summarised && fabs(feature.summary.missing - (ROWS - present) / (double) ROWS) < 1e-12 &&
	       feature.summary.lowest == lowest && feature.summary.highest == highest &&
	       fabs(feature.summary.mean - sum / present) < 1e-9,
	   "a number: share missing, range, mean");
	OK(feature.summary.contributions[0] <= feature.summary.contributions[1] &&
	       feature.summary.contributions[1] <= feature.summary.contributions[2] &&
	       feature.summary.contributions[3] <= feature.summary.contributions[4] &&
	       feature.summary.contributions[0] < 0 && feature.summary.contributions[4] > 0,
	   "its contributions go both ways");
	feature = pe_model_get_feature(model, 1);
	OK(strcmp(feature.summary.top, "often") == 0 && feature.summary.distinct == 3 &&
	       fabs(feature.summary.top_share - often / (double) ROWS) < 1e-12 &&
	       fabs(feature.summary.missing - missing / (double) ROWS) < 1e-12,
	   "a category: the most frequent level, its share, how many there are");
	feature = pe_model_get_feature(model, 2);
	OK(feature.summary.missing == 1 && isnan(feature.summary.mean) && isnan(feature.summary.lowest),
	   "a feature without values");
	pe_model_free(model);
	pe_dataset_free(dataset);
	free(evaluation);
}

static void
check_spread(void)
{
	pe_spread spread;
	pe_model model = {0};
	pe_feature features[2] = {0};

	model.features = features;
	IS_INT(pe_spread_create(&env, &spread, 2, 101, &err), PE_OK, "a spread of 101 rows");
	for (uint32_t row = 0; row < 101; row++)
	{
		double contributions[] = {(double) ((row * 7) % 101), -3};

		pe_spread_put(&spread, row, contributions);
	}
	IS_INT(pe_spread_finish(&env, &spread, &model, &err), PE_OK, "finished");
	OK(features[0].summary.contributions[0] == 5 && features[0].summary.contributions[1] == 25 &&
	       features[0].summary.contributions[2] == 50 && features[0].summary.contributions[4] == 95,
	   "quantiles of 0 to 100");
	OK(features[1].summary.contributions[0] == -3 && features[1].summary.contributions[4] == -3,
	   "of one value");
	pe_spread_free(&env, &spread);
	IS_INT(pe_spread_create(&env, &spread, PE_MAX_FEATURES, 2000, &err), PE_OK, "many features");
	OK(spread.rows * spread.step >= 2000 && (size_t) spread.rows * PE_MAX_FEATURES <= 1100000,
	   "keep fewer rows each");
	pe_spread_free(&env, &spread);
}

int
main(void)
{
	env = tap_env(&memory);
	check(PE_ALGORITHM_BOOSTED_TREES, 1);
	check(PE_ALGORITHM_BOOSTED_TREES, 2);
	check(PE_ALGORITHM_LOGISTIC, 2);
	check_spread();
	IS_INT(memory.live, 0, "no block is left");
	return tap_done();
}
