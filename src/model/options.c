/*
 * options.c
 *		The options of training by name: one table says which algorithm has which, the
 *		range of each and where it is kept.
 */
#include <errno.h>
#include <stdlib.h>

#include "model/internal.h"

typedef enum option_type
{
	OPTION_INTEGER,
	OPTION_NUMBER,
	OPTION_SEED,
	OPTION_CALIBRATE,
	OPTION_OBJECTIVE,
	OPTION_LAMBDA,
	OPTION_GOSS,
	OPTION_CLUSTERS,
	OPTION_SCALE,
	OPTION_MONOTONE
} option_type;

#define FOR_TREES       1u
#define FOR_SINGLE      2u /* logistic and linear */
#define FOR_GLM         4u
#define FOR_MULTINOMIAL 8u
#define FOR_NET         (FOR_SINGLE | FOR_GLM)
#define FOR_LINEAR      (FOR_NET | FOR_MULTINOMIAL)
#define FOR_ALL         (FOR_TREES | FOR_LINEAR)
#define FOR_KMEANS      16u

typedef struct option_entry
{
	const char *name;
	option_type type;
	unsigned algorithms;
	size_t offset;
	double lowest;
	double highest;
	bool above_lowest; /* the lowest value itself is not allowed */
} option_entry;

/* Long paths single out few rows, which costs log-loss where there are few: below FEW_ROWS trees are less
 * deep. */
#define DEFAULT_DEPTH        8
#define DEFAULT_DEPTH_OF_FEW 6
#define FEW_ROWS             6000
#define DEEPEST              32

#define AT(field) offsetof(pe_options, field)

static const option_entry option_table[] = {
    {"trees", OPTION_INTEGER, FOR_TREES, AT(trees), 1, 10000, false},
    {"max_depth", OPTION_INTEGER, FOR_TREES, AT(max_depth), 1, DEEPEST, false},
    {"max_leaves", OPTION_INTEGER, FOR_TREES, AT(max_leaves), 2, 4096, false},
    {"learning_rate", OPTION_NUMBER, FOR_TREES, AT(learning_rate), 0, 1, true},
    {"max_bins", OPTION_INTEGER, FOR_TREES, AT(max_bins), 2, 255, false},
    {"min_child_weight", OPTION_NUMBER, FOR_TREES, AT(min_child_weight), 0, 1e12, false},
    {"min_gain", OPTION_NUMBER, FOR_TREES, AT(min_gain), 0, 1e12, false},
    {"l1", OPTION_NUMBER, FOR_TREES, AT(l1), 0, 1e12, false},
    {"l2", OPTION_NUMBER, FOR_ALL, AT(l2), 0, 1e12, false},
    {"row_sample", OPTION_NUMBER, FOR_TREES, AT(row_sample), 0, 1, true},
    {"column_sample", OPTION_NUMBER, FOR_TREES, AT(column_sample), 0, 1, true},
    {"goss", OPTION_GOSS, FOR_TREES, 0, 0, 0, false},
    {"goss_top", OPTION_NUMBER, FOR_TREES, AT(goss_top), 0, 1, true},
    {"goss_other", OPTION_NUMBER, FOR_TREES, AT(goss_other), 0, 1, true},
    {"objective", OPTION_OBJECTIVE, FOR_ALL, 0, 0, 0, false},
    {"quantile", OPTION_NUMBER, FOR_TREES, AT(quantile), 0.001, 0.999, false},
    {"tweedie_power", OPTION_NUMBER, FOR_TREES | FOR_GLM, AT(tweedie_power), 1.01, 1.99, false},
    {"monotone", OPTION_MONOTONE, FOR_TREES, 0, 0, 0, false},
    {"early_stopping", OPTION_INTEGER, FOR_TREES, AT(early_stopping), 0, 10000, false},
    {"lambda", OPTION_LAMBDA, FOR_NET, AT(lambda), 0, 1e12, true},
    {"l1_ratio", OPTION_NUMBER, FOR_NET, AT(l1_ratio), 0, 1, false},
    {"lambda_count", OPTION_INTEGER, FOR_NET, AT(lambda_count), 2, 1000, false},
    {"folds", OPTION_INTEGER, FOR_NET, AT(folds), 2, 100, false},
    {"clusters", OPTION_CLUSTERS, FOR_KMEANS, AT(clusters), 1, PE_MAX_MODEL_CLUSTERS, false},
    {"max_clusters", OPTION_INTEGER, FOR_KMEANS, AT(max_clusters), 2, 50, false},
    {"starts", OPTION_INTEGER, FOR_KMEANS, AT(starts), 1, 100, false},
    {"scale", OPTION_SCALE, FOR_KMEANS, 0, 0, 0, false},
    {"max_iterations", OPTION_INTEGER, FOR_LINEAR | FOR_KMEANS, AT(max_iterations), 1, 1000, false},
    {"tolerance", OPTION_NUMBER, FOR_LINEAR | FOR_KMEANS, AT(tolerance), 1e-14, 0.1, false},
    {"holdout", OPTION_NUMBER, FOR_ALL, AT(holdout), 0, 0.9, false},
    {"seed", OPTION_SEED, FOR_ALL | FOR_KMEANS, AT(seed), 0, 0, false},
    {"calibrate", OPTION_CALIBRATE, FOR_ALL, AT(calibrate), 0, 0, false},
    {"threads", OPTION_INTEGER, FOR_ALL | FOR_KMEANS, AT(threads), 1, PE_MAX_THREADS, false},
};

#define OPTION_COUNT (sizeof(option_table) / sizeof(option_table[0]))

static unsigned
algorithm_mask(pe_algorithm algorithm)
{
	switch ((int) algorithm)
	{
		case PE_ALGORITHM_BOOSTED_TREES:
			return FOR_TREES;
		case PE_ALGORITHM_GLM:
			return FOR_GLM;
		case PE_ALGORITHM_MULTINOMIAL:
			return FOR_MULTINOMIAL;
		case PE_ALGORITHM_KMEANS:
			return FOR_KMEANS;
	}
	return FOR_SINGLE;
}

void
pe_options_init(pe_options *options, pe_algorithm algorithm)
{
	memset(options, 0, sizeof(*options));
	options->algorithm = algorithm;
	options->holdout = 0.2;
	options->seed = 0;
	options->threads = 1;
	options->calibrate = PE_CALIBRATION_NONE;
	options->trees = 100;
	options->max_depth = DEFAULT_DEPTH;
	options->max_leaves = 31;
	options->learning_rate = 0.1;
	options->max_bins = 255;
	options->min_child_weight = 1;
	options->min_gain = 0;
	options->l1 = 0;
	options->l2 = algorithm == PE_ALGORITHM_BOOSTED_TREES ? 1 : 0;
	options->row_sample = 1;
	options->column_sample = algorithm == PE_ALGORITHM_BOOSTED_TREES ? 0.7 : 1;
	options->goss_top = 0.2;
	options->goss_other = 0.1;
	options->early_stopping = 0;
	options->quantile = 0.5;
	options->tweedie_power = 1.5;
	options->max_iterations = 100;
	options->tolerance = 1e-10;
	options->l1_ratio = 1;
	options->lambda_count = 100;
	options->folds = 5;
	options->max_clusters = 10;
	options->starts = 8;
	if (algorithm == PE_ALGORITHM_KMEANS)
	{
		options->max_iterations = 300;
		options->tolerance = 1e-4;
		options->holdout = 0;
	}
}

void
pe_options_shape(const pe_options *options, double rows, int *max_depth, int *max_leaves)
{
	*max_depth = options->max_depth;
	*max_leaves = options->max_leaves;
	if (options->max_leaves_given && !options->max_depth_given)
		*max_depth = DEEPEST;
	else if (options->max_depth_given && !options->max_leaves_given)
		*max_leaves = 0;
	else if (!options->max_depth_given && rows < FEW_ROWS)
		*max_depth = DEFAULT_DEPTH_OF_FEW;
}

const char *
pe_options_names(pe_algorithm algorithm)
{
	if (algorithm == PE_ALGORITHM_BOOSTED_TREES)
		return "trees, max_depth, max_leaves, learning_rate, max_bins, min_child_weight, min_gain, l1, l2, "
		       "row_sample, column_sample, goss, goss_top, goss_other, objective, quantile, tweedie_power, "
		       "monotone, early_stopping, holdout, seed, calibrate, threads";
	switch ((int) algorithm)
	{
		case PE_ALGORITHM_GLM:
			return "objective, tweedie_power, lambda, l1_ratio, lambda_count, folds, l2, max_iterations, "
			       "tolerance, holdout, seed, threads";
		case PE_ALGORITHM_MULTINOMIAL:
			return "l2, max_iterations, tolerance, objective, holdout, seed, threads";
		case PE_ALGORITHM_KMEANS:
			return "clusters, max_clusters, starts, scale, max_iterations, tolerance, seed, threads";
	}
	return "lambda, l1_ratio, lambda_count, folds, l2, max_iterations, tolerance, objective, holdout, seed, "
	       "calibrate, threads";
}

static const option_entry *
find_option(const char *name)
{
	for (size_t i = 0; i < OPTION_COUNT; i++)
		if (strcmp(option_table[i].name, name) == 0)
			return &option_table[i];
	return NULL;
}

bool
pe_options_known(pe_algorithm algorithm, const char *name)
{
	const option_entry *entry = find_option(name);

	return entry != NULL && (entry->algorithms & algorithm_mask(algorithm)) != 0;
}

/* For each type of value: what was expected, as the hint says it. */
static pe_status
bad_value(pe_error *err, const option_entry *entry, const char *value)
{
	pe_fail(err, PE_INVALID_OPTION, "invalid value \"%.80s\" for option \"%s\"", value, entry->name);
	if (entry->type == OPTION_SEED)
		pe_error_hint(err, "It must be a whole number that is not negative.");
	else if (entry->type == OPTION_CALIBRATE)
		pe_error_hint(err, "It must be none, platt or isotonic.");
	else if (entry->type == OPTION_LAMBDA)
		pe_error_hint(err, "It must be a number above 0, \"cv\" or \"cv_1se\".");
	else if (entry->type == OPTION_GOSS)
		pe_error_hint(err, "It must be true or false.");
	else if (entry->type == OPTION_CLUSTERS)
		pe_error_hint(err, "It must be auto or a whole number from %d to %d.", (int) entry->lowest,
		              (int) entry->highest);
	else if (entry->type == OPTION_SCALE)
		pe_error_hint(err, "It must be standard (mean and deviation) or robust (median and quartiles).");
	else if (entry->type == OPTION_MONOTONE)
		pe_error_hint(err, "It must map features to \"increasing\" or \"decreasing\".");
	else
		pe_error_hint(err, "It must be a %s %s %.15g and at most %.15g.",
		              entry->type == OPTION_INTEGER ? "whole number" : "number",
		              entry->above_lowest ? "above" : "of at least", entry->lowest, entry->highest);
	return PE_INVALID_OPTION;
}

static pe_status
set_number(pe_options *options, const option_entry *entry, const char *value, pe_error *err)
{
	char *end = NULL;
	double number = strtod(value, &end);
	bool whole = entry->type == OPTION_INTEGER || entry->type == OPTION_CLUSTERS;
	void *field = (char *) options + entry->offset;

	if (end == value || *end != '\0' || !isfinite(number) || number < entry->lowest ||
	    number > entry->highest || (entry->above_lowest && number == entry->lowest) ||
	    (whole && number != floor(number)))
		return bad_value(err, entry, value);
	if (whole)
		*(int *) field = (int) number;
	else
		*(double *) field = number;
	if (field == (void *) &options->max_depth)
		options->max_depth_given = true;
	if (field == (void *) &options->max_leaves)
		options->max_leaves_given = true;
	return PE_OK;
}

/* Whatever of the elastic net is given, without a lambda of its own it is chosen by cross-validation. */
static void
want_elastic_net(pe_options *options, const char *name)
{
	static const char *const names[] = {"l1_ratio", "lambda_count", "folds"};

	for (int i = 0; i < 3 && options->lambda_choice == PE_LAMBDA_NONE; i++)
		if (strcmp(name, names[i]) == 0)
			options->lambda_choice = PE_LAMBDA_CV;
}

static pe_status
set_lambda(pe_options *options, const option_entry *entry, const char *value, pe_error *err)
{
	pe_status status = PE_OK;

	if (strcmp(value, "cv") == 0)
		options->lambda_choice = PE_LAMBDA_CV;
	else if (strcmp(value, "cv_1se") == 0)
		options->lambda_choice = PE_LAMBDA_CV_1SE;
	else if ((status = set_number(options, entry, value, err)) == PE_OK)
		options->lambda_choice = PE_LAMBDA_GIVEN;
	return status;
}

static pe_status
set_seed(pe_options *options, const option_entry *entry, const char *value, pe_error *err)
{
	char *end = NULL;

	if (value[0] < '0' || value[0] > '9')
		return bad_value(err, entry, value);
	errno = 0;
	options->seed = strtoull(value, &end, 10);
	if (*end != '\0' || errno != 0)
		return bad_value(err, entry, value);
	return PE_OK;
}

static pe_status
set_calibrate(pe_options *options, const option_entry *entry, const char *value, pe_error *err)
{
	if (strcmp(value, "none") == 0 || strcmp(value, "false") == 0)
		options->calibrate = PE_CALIBRATION_NONE;
	else if (strcmp(value, "platt") == 0)
		options->calibrate = PE_CALIBRATION_PLATT;
	else if (strcmp(value, "isotonic") == 0 || strcmp(value, "true") == 0)
		options->calibrate = PE_CALIBRATION_ISOTONIC;
	else
		return bad_value(err, entry, value);
	return PE_OK;
}

static pe_status
set_objective(pe_options *options, const char *value, pe_error *err)
{
	pe_objective objective = pe_objective_from_name(value);
	char names[256];

	if (objective != PE_OBJECTIVE_DEFAULT && pe_objective_serves(objective, options->algorithm))
	{
		options->objective = objective;
		return PE_OK;
	}
	pe_algorithm_objectives((pe_task) 0, options->algorithm, names, sizeof(names));
	pe_fail(err, PE_INVALID_OPTION,
	        objective != PE_OBJECTIVE_DEFAULT ? "objective \"%.80s\" does not apply to algorithm %s"
	                                          : "invalid value \"%.80s\" for option \"objective\" of %s",
	        value, pe_algorithm_name(options->algorithm));
	pe_error_hint(err, "It must be one of: %s.", names);
	return PE_INVALID_OPTION;
}

static pe_status
set_goss(pe_options *options, const option_entry *entry, const char *value, pe_error *err)
{
	if (strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
		return bad_value(err, entry, value);
	options->goss = strcmp(value, "true") == 0;
	return PE_OK;
}

pe_status
pe_options_set(pe_options *options, const char *name, const char *value, pe_error *err)
{
	const option_entry *entry = find_option(name);

	if (entry == NULL || (entry->algorithms & algorithm_mask(options->algorithm)) == 0)
	{
		if (entry == NULL)
			pe_fail(err, PE_INVALID_OPTION, "unknown option \"%.80s\"", name);
		else
			pe_fail(err, PE_INVALID_OPTION, "option \"%s\" does not apply to algorithm %s", name,
			        pe_algorithm_name(options->algorithm));
		pe_error_hint(err, "The options of %s are: %s.", pe_algorithm_name(options->algorithm),
		              pe_options_names(options->algorithm));
		return PE_INVALID_OPTION;
	}
	switch (entry->type)
	{
		case OPTION_INTEGER:
		case OPTION_NUMBER:
			want_elastic_net(options, name);
			return set_number(options, entry, value, err);
		case OPTION_LAMBDA:
			return set_lambda(options, entry, value, err);
		case OPTION_SEED:
			return set_seed(options, entry, value, err);
		case OPTION_CALIBRATE:
			return set_calibrate(options, entry, value, err);
		case OPTION_OBJECTIVE:
			return set_objective(options, value, err);
		case OPTION_GOSS:
			return set_goss(options, entry, value, err);
		case OPTION_CLUSTERS:
			if (strcmp(value, "auto") != 0)
				return set_number(options, entry, value, err);
			options->clusters = 0;
			return PE_OK;
		case OPTION_SCALE:
			options->robust_scale = strcmp(value, "robust") == 0;
			return options->robust_scale || strcmp(value, "standard") == 0 ? PE_OK
			                                                               : bad_value(err, entry, value);
		case OPTION_MONOTONE:
			return bad_value(err, entry, value);
	}
	return pe_fail(err, PE_INTERNAL, "option \"%s\" has no type", name);
}

pe_status
pe_options_set_monotone(pe_options *options, const char *feature, const char *direction, pe_error *err)
{
	int sign;
	pe_monotone *monotone;

	if (options->algorithm != PE_ALGORITHM_BOOSTED_TREES)
		return pe_options_set(options, "monotone", direction, err);
	if (strcmp(direction, "increasing") == 0 || strcmp(direction, "1") == 0)
		sign = 1;
	else if (strcmp(direction, "decreasing") == 0 || strcmp(direction, "-1") == 0)
		sign = -1;
	else if (strcmp(direction, "0") == 0)
		return PE_OK;
	else
		return bad_value(err, find_option("monotone"), direction);
	if (options->n_monotone >= PE_MAX_MONOTONE || strlen(feature) >= sizeof(options->monotone[0].feature))
	{
		pe_fail(err, PE_LIMIT, "too many or too long names in option \"monotone\"");
		pe_error_hint(err, "At most %d features, of names below %zu bytes, can be held monotone.",
		              PE_MAX_MONOTONE, sizeof(options->monotone[0].feature));
		return PE_LIMIT;
	}
	monotone = &options->monotone[options->n_monotone++];
	snprintf(monotone->feature, sizeof(monotone->feature), "%s", feature);
	monotone->direction = sign;
	return PE_OK;
}

static pe_status
check_goss(const pe_options *options, pe_error *err)
{
	if (!options->goss)
		return PE_OK;
	if (options->row_sample < 1)
	{
		pe_fail(err, PE_INVALID_OPTION, "options \"goss\" and \"row_sample\" exclude each other");
		pe_error_hint(err, "With goss the rows of a tree are chosen by goss_top and goss_other.");
		return PE_INVALID_OPTION;
	}
	if (options->objective == PE_OBJECTIVE_ABSOLUTE || options->objective == PE_OBJECTIVE_QUANTILE)
	{
		pe_fail(err, PE_INVALID_OPTION, "option \"goss\" does not go with objective \"%s\"",
		        pe_objective_name(options->objective));
		pe_error_hint(err, "Its gradients do not tell rows apart; use row_sample.");
		return PE_INVALID_OPTION;
	}
	if (options->goss_top + options->goss_other > 1)
	{
		pe_fail(err, PE_INVALID_OPTION, "options \"goss_top\" and \"goss_other\" are above 1 together");
		pe_error_hint(err, "They are shares of the rows; usual are 0.2 and 0.1.");
		return PE_INVALID_OPTION;
	}
	return PE_OK;
}

pe_status
pe_options_check(const pe_options *options, pe_error *err)
{
	if (options->lambda_choice != PE_LAMBDA_NONE && options->l2 > 0 &&
	    options->algorithm != PE_ALGORITHM_BOOSTED_TREES)
	{
		pe_fail(err, PE_INVALID_OPTION, "option \"l2\" does not go with the elastic net");
		pe_error_hint(err, "Use \"lambda\" with \"l1_ratio\": 0, which is a ridge penalty, or \"l2\" alone.");
		return PE_INVALID_OPTION;
	}
	if (options->algorithm == PE_ALGORITHM_GLM && options->tweedie_power != 1.5 &&
	    options->objective != PE_OBJECTIVE_TWEEDIE)
	{
		pe_fail(err, PE_INVALID_OPTION, "option \"tweedie_power\" goes with the objective tweedie only");
		pe_error_hint(err, "Add \"objective\": \"tweedie\", or leave the option out.");
		return PE_INVALID_OPTION;
	}
	return check_goss(options, err);
}
