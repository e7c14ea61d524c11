/*
 * options.c
 *		The options of recommending by name, with their ranges.
 */
#include <errno.h>
#include <stdlib.h>

#include "model/recommend/internal.h"

typedef enum option_type
{
	OPTION_INTEGER,
	OPTION_NUMBER,
	OPTION_DAYS,
	OPTION_SEED,
	OPTION_SIMILARITY,
	OPTION_NEIGHBOURS,
	OPTION_REPEATS,
	OPTION_SOLVER
} option_type;

#define FOR_ALS        1u
#define FOR_ITEM_ITEM  2u
#define FOR_POPULARITY 4u
#define FOR_ALL        (FOR_ALS | FOR_ITEM_ITEM | FOR_POPULARITY)

typedef struct option_entry
{
	const char *name;
	option_type type;
	unsigned methods;
	size_t offset;
	double lowest;
	double highest;
	const char *expected; /* of words */
} option_entry;

#define AT(field) offsetof(pe_recommend_options, field)

static const option_entry option_table[] = {
    {"factors", OPTION_INTEGER, FOR_ALS, AT(factors), 1, PE_MAX_FACTORS, NULL},
    {"iterations", OPTION_INTEGER, FOR_ALS, AT(iterations), 1, 1000, NULL},
    {"regularization", OPTION_NUMBER, FOR_ALS, AT(regularization), 1e-6, 1e9, NULL},
    {"alpha", OPTION_NUMBER, FOR_ALS, AT(alpha), 1e-6, 1e6, NULL},
    {"solver", OPTION_SOLVER, FOR_ALS, AT(solver), 0, 0, "cg or cholesky"},
    {"cg_steps", OPTION_INTEGER, FOR_ALS, AT(cg_steps), 1, 100, NULL},
    {"similarity", OPTION_SIMILARITY, FOR_ITEM_ITEM, AT(similarity), 0, 0,
     "cosine, jaccard, count, lift, mutual_information, lexicographers_mutual_information or "
     "inclusion_index"},
    {"neighbours", OPTION_NEIGHBOURS, FOR_ITEM_ITEM, AT(neighbours), 1, 1e6,
     "\"all\" or a whole number of at least 1"},
    {"min_support", OPTION_INTEGER, FOR_ITEM_ITEM, AT(min_support), 1, 1e9, NULL},
    {"half_life", OPTION_DAYS, FOR_ALL, AT(half_life), 0, 0,
     "a time above 0: \"30 days\", or a number of days"},
    {"repeats", OPTION_REPEATS, FOR_ALL, AT(repeats), 0, 0, "once or sum"},
    {"holdout", OPTION_NUMBER, FOR_ALL, AT(holdout), 0, 0.9, NULL},
    {"min_items", OPTION_INTEGER, FOR_ALL, AT(min_items), 2, 1e6, NULL},
    {"seed", OPTION_SEED, FOR_ALL, AT(seed), 0, 0, "a whole number that is not negative"},
    {"threads", OPTION_INTEGER, FOR_ALL, AT(threads), 1, PE_MAX_THREADS, NULL},
};

#define OPTION_COUNT (sizeof(option_table) / sizeof(option_table[0]))

static const struct
{
	pe_similarity similarity;
	const char *name;
} similarities[] = {
    {PE_SIMILARITY_COSINE, "cosine"},
    {PE_SIMILARITY_JACCARD, "jaccard"},
    {PE_SIMILARITY_COUNT, "count"},
    {PE_SIMILARITY_LIFT, "lift"},
    {PE_SIMILARITY_MUTUAL_INFORMATION, "mutual_information"},
    {PE_SIMILARITY_LEXICOGRAPHERS, "lexicographers_mutual_information"},
    {PE_SIMILARITY_INCLUSION, "inclusion_index"},
};

const char *
pe_similarity_name(pe_similarity similarity)
{
	for (size_t i = 0; i < sizeof(similarities) / sizeof(similarities[0]); i++)
		if (similarities[i].similarity == similarity)
			return similarities[i].name;
	return NULL;
}

const char *
pe_recommend_method_name(pe_recommend_method method)
{
	switch (method)
	{
		case PE_RECOMMEND_AUTO:
			return "auto";
		case PE_RECOMMEND_ALS:
			return "implicit_als";
		case PE_RECOMMEND_ITEM_ITEM:
			return "item_item";
		case PE_RECOMMEND_POPULARITY:
			return "popularity";
	}
	return NULL;
}

bool
pe_recommend_method_from_name(const char *name, pe_recommend_method *method)
{
	static const pe_recommend_method all[] = {PE_RECOMMEND_AUTO, PE_RECOMMEND_ALS, PE_RECOMMEND_ITEM_ITEM,
	                                          PE_RECOMMEND_POPULARITY};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (strcmp(pe_recommend_method_name(all[i]), name) == 0)
		{
			*method = all[i];
			return true;
		}
	return false;
}

void
pe_recommend_options_init(pe_recommend_options *options, pe_recommend_method method)
{
	*options = (pe_recommend_options){.method = method,
	                                  .factors = 64,
	                                  .iterations = 15,
	                                  .regularization = PE_CHOSEN,
	                                  .alpha = 1,
	                                  .solver = PE_SOLVER_CG,
	                                  .cg_steps = 3,
	                                  .half_life = 0,
	                                  .similarity = PE_SIMILARITY_COSINE,
	                                  .neighbours = PE_CHOSEN,
	                                  .min_support = 1,
	                                  .repeats = PE_REPEATS_AUTO,
	                                  .holdout = 0.2,
	                                  .min_items = 5,
	                                  .seed = 0,
	                                  .threads = 1};
}

static unsigned
method_mask(pe_recommend_method method)
{
	switch (method)
	{
		case PE_RECOMMEND_ALS:
			return FOR_ALS;
		case PE_RECOMMEND_ITEM_ITEM:
			return FOR_ITEM_ITEM;
		case PE_RECOMMEND_POPULARITY:
			return FOR_POPULARITY;
		case PE_RECOMMEND_AUTO:
			break;
	}
	return FOR_ALL;
}

const char *
pe_recommend_options_names(pe_recommend_method method)
{
	switch (method)
	{
		case PE_RECOMMEND_ALS:
			return "factors, iterations, regularization, alpha, solver, cg_steps, half_life, repeats, "
			       "holdout, "
			       "min_items, seed, threads";
		case PE_RECOMMEND_ITEM_ITEM:
			return "similarity, neighbours, min_support, half_life, repeats, holdout, min_items, seed, "
			       "threads";
		case PE_RECOMMEND_POPULARITY:
			return "half_life, repeats, holdout, min_items, seed, threads";
		case PE_RECOMMEND_AUTO:
			break;
	}
	return "factors, iterations, regularization, alpha, solver, cg_steps, similarity, neighbours, "
	       "min_support, "
	       "half_life, repeats, holdout, min_items, seed, threads";
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
pe_recommend_options_known(pe_recommend_method method, const char *name)
{
	const option_entry *entry = find_option(name);

	return entry != NULL && (entry->methods & method_mask(method)) != 0;
}

static pe_status
bad_value(pe_error *err, const option_entry *entry, const char *value)
{
	pe_fail(err, PE_INVALID_OPTION, "invalid value \"%.80s\" for option \"%s\"", value, entry->name);
	if (entry->expected != NULL)
		pe_error_hint(err, "It must be %s.", entry->expected);
	else
		pe_error_hint(err, "It must be a %s of at least %.15g and at most %.15g.",
		              entry->type == OPTION_INTEGER ? "whole number" : "number", entry->lowest,
		              entry->highest);
	return PE_INVALID_OPTION;
}

static bool
parse_number(const char *value, double *number)
{
	char *end = NULL;

	*number = strtod(value, &end);
	return end != value && *end == '\0' && isfinite(*number);
}

/* "30 days", "12 hours", "2 weeks", "1 day" or a number of days. */
static bool
parse_days(const char *value, double *days)
{
	static const struct
	{
		const char *unit;
		double days;
	} units[] = {{"", 1}, {"hour", 1.0 / 24}, {"day", 1}, {"week", 7}, {"month", 30.4375}, {"year", 365.25}};
	char *end = NULL;
	double number = strtod(value, &end);
	size_t length;

	if (end == value || !(number > 0) || number > 1e6)
		return false;
	while (*end == ' ')
		end++;
	length = strlen(end);
	if (length > 1 && end[length - 1] == 's')
		length--;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (strlen(units[i].unit) == length && strncmp(units[i].unit, end, length) == 0)
		{
			*days = number * units[i].days;
			return true;
		}
	return false;
}

static bool
set_word(pe_recommend_options *options, const option_entry *entry, const char *value)
{
	if (entry->type == OPTION_SOLVER)
	{
		options->solver = strcmp(value, "cg") == 0 ? PE_SOLVER_CG : PE_SOLVER_CHOLESKY;
		return strcmp(value, "cg") == 0 || strcmp(value, "cholesky") == 0;
	}
	if (entry->type == OPTION_REPEATS)
	{
		options->repeats = strcmp(value, "once") == 0 ? PE_REPEATS_ONCE : PE_REPEATS_SUM;
		return strcmp(value, "once") == 0 || strcmp(value, "sum") == 0;
	}
	for (size_t i = 0; i < sizeof(similarities) / sizeof(similarities[0]); i++)
		if (strcmp(similarities[i].name, value) == 0)
		{
			options->similarity = similarities[i].similarity;
			return true;
		}
	return false;
}

static bool
set_seed(pe_recommend_options *options, const char *value)
{
	char *end = NULL;

	errno = 0;
	options->seed = strtoull(value, &end, 10);
	return value[0] >= '0' && value[0] <= '9' && *end == '\0' && errno == 0;
}

pe_status
pe_recommend_options_set(pe_recommend_options *options, const char *name, const char *value, pe_error *err)
{
	const option_entry *entry = find_option(name);
	double number = 0;
	bool good = true;

	if (entry == NULL || (entry->methods & method_mask(options->method)) == 0)
	{
		if (entry == NULL)
			pe_fail(err, PE_INVALID_OPTION, "unknown option \"%.80s\"", name);
		else
			pe_fail(err, PE_INVALID_OPTION, "option \"%s\" does not apply to algorithm %s", name,
			        pe_recommend_method_name(options->method));
		pe_error_hint(err, "The options of %s are: %s.", pe_recommend_method_name(options->method),
		              pe_recommend_options_names(options->method));
		return PE_INVALID_OPTION;
	}
	switch (entry->type)
	{
		case OPTION_NEIGHBOURS:
			if (strcmp(value, "all") == 0)
			{
				options->neighbours = 0;
				return PE_OK;
			}
			/* fall through */
		case OPTION_INTEGER:
			good = parse_number(value, &number) && number == floor(number) && number >= entry->lowest &&
			       number <= entry->highest;
			if (good)
				*(int *) ((char *) options + entry->offset) = (int) number;
			break;
		case OPTION_NUMBER:
			good = parse_number(value, &number) && number >= entry->lowest && number <= entry->highest;
			if (good)
				*(double *) ((char *) options + entry->offset) = number;
			break;
		case OPTION_DAYS:
			good = parse_days(value, &options->half_life);
			break;
		case OPTION_SEED:
			good = set_seed(options, value);
			break;
		case OPTION_SIMILARITY:
		case OPTION_REPEATS:
		case OPTION_SOLVER:
			good = set_word(options, entry, value);
			break;
	}
	return good ? PE_OK : bad_value(err, entry, value);
}
