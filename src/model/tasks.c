/*
 * tasks.c
 *		Tasks, algorithms and objectives by name, and which go together.
 */
#include "model/family.h"

static const char *const task_names[] = {
    [PE_TASK_PROPENSITY] = "propensity",
    [PE_TASK_VALUE] = "value",
    [PE_TASK_AFFINITY] = "affinity",
    [PE_TASK_LIFETIME_VALUE] = "lifetime_value",
    [PE_TASK_SEGMENT] = "segment",
    [PE_TASK_ENGAGEMENT] = "engagement",
    [PE_TASK_RECOMMENDATION] = "recommendation",
    [PE_TASK_UPLIFT] = "uplift",
};

static const char *const objective_names[] = {
    [PE_OBJECTIVE_LOGISTIC] = "logistic", [PE_OBJECTIVE_SQUARED] = "squared",
    [PE_OBJECTIVE_ABSOLUTE] = "absolute", [PE_OBJECTIVE_QUANTILE] = "quantile",
    [PE_OBJECTIVE_POISSON] = "poisson",   [PE_OBJECTIVE_GAMMA] = "gamma",
    [PE_OBJECTIVE_TWEEDIE] = "tweedie",   [PE_OBJECTIVE_MULTICLASS] = "multiclass",
};

#define TASK(task) (1u << (task))

/* Every algorithm: the tasks it serves, and the family that knows it; no family: not a pe_model. */
typedef struct algorithm_entry
{
	const char *name;
	unsigned tasks;
	const pe_family *family;
} algorithm_entry;

static const algorithm_entry algorithms[] = {
    [PE_ALGORITHM_BOOSTED_TREES] = {"boosted_trees",
                                    TASK(PE_TASK_PROPENSITY) | TASK(PE_TASK_VALUE) | TASK(PE_TASK_AFFINITY),
                                    &pe_trees_family},
    [PE_ALGORITHM_LOGISTIC] = {"logistic", TASK(PE_TASK_PROPENSITY), &pe_linear_family},
    [PE_ALGORITHM_LINEAR] = {"linear", TASK(PE_TASK_VALUE), &pe_linear_family},
    [PE_ALGORITHM_TWO_PART] = {"two_part", TASK(PE_TASK_VALUE), &pe_two_part_family},
    [PE_ALGORITHM_BG_NBD] = {"bg_nbd", TASK(PE_TASK_LIFETIME_VALUE), &pe_lifetime_family},
    [PE_ALGORITHM_PARETO_NBD] = {"pareto_nbd", TASK(PE_TASK_LIFETIME_VALUE), &pe_lifetime_family},
    [PE_ALGORITHM_MBG_NBD] = {"mbg_nbd", TASK(PE_TASK_LIFETIME_VALUE), &pe_lifetime_family},
    [PE_ALGORITHM_BG_BB] = {"bg_bb", TASK(PE_TASK_LIFETIME_VALUE), &pe_lifetime_family},
    [PE_ALGORITHM_DECAYED_POINTS] = {"decayed_points", TASK(PE_TASK_ENGAGEMENT), &pe_engagement_family},
    [PE_ALGORITHM_KMEANS] = {"kmeans", TASK(PE_TASK_SEGMENT), &pe_segment_family},
    [PE_ALGORITHM_SBG] = {"sbg", TASK(PE_TASK_LIFETIME_VALUE), &pe_lifetime_family},
    [PE_ALGORITHM_GLM] = {"glm", TASK(PE_TASK_VALUE), &pe_linear_family},
    [PE_ALGORITHM_MULTINOMIAL] = {"multinomial", TASK(PE_TASK_AFFINITY), &pe_multinomial_family},
    [PE_ALGORITHM_CLASS_TRANSFORMATION] = {"class_transformation", TASK(PE_TASK_UPLIFT), &pe_uplift_family},
    [PE_ALGORITHM_TWO_MODELS] = {"two_models", TASK(PE_TASK_UPLIFT), &pe_uplift_family},
    [PE_ALGORITHM_POPULARITY] = {"popularity", TASK(PE_TASK_RECOMMENDATION), NULL},
    [PE_ALGORITHM_ITEM_ITEM] = {"item_item", TASK(PE_TASK_RECOMMENDATION), NULL},
    [PE_ALGORITHM_IMPLICIT_ALS] = {"implicit_als", TASK(PE_TASK_RECOMMENDATION), NULL},
};

#define COUNT(array) ((int) (sizeof(array) / sizeof((array)[0])))

const char *
pe_task_name(pe_task task)
{
	return (int) task > 0 && (int) task < COUNT(task_names) ? task_names[task] : NULL;
}

const char *
pe_objective_name(pe_objective objective)
{
	return (int) objective > 0 && (int) objective < COUNT(objective_names) ? objective_names[objective]
	                                                                       : NULL;
}

const char *
pe_algorithm_name(pe_algorithm algorithm)
{
	return (int) algorithm > 0 && (int) algorithm < COUNT(algorithms) ? algorithms[algorithm].name : NULL;
}

pe_task
pe_task_from_name(const char *name)
{
	for (int task = 1; task < COUNT(task_names); task++)
		if (strcmp(task_names[task], name) == 0)
			return (pe_task) task;
	return (pe_task) 0;
}

pe_objective
pe_objective_from_name(const char *name)
{
	for (int objective = 1; objective < COUNT(objective_names); objective++)
		if (strcmp(objective_names[objective], name) == 0)
			return (pe_objective) objective;
	return PE_OBJECTIVE_DEFAULT;
}

pe_algorithm
pe_algorithm_from_name(const char *name)
{
	for (int algorithm = 1; algorithm < COUNT(algorithms); algorithm++)
		if (algorithms[algorithm].name != NULL && strcmp(algorithms[algorithm].name, name) == 0)
			return (pe_algorithm) algorithm;
	return (pe_algorithm) 0;
}

const pe_family *
pe_family_of(pe_algorithm algorithm)
{
	return (int) algorithm > 0 && (int) algorithm < COUNT(algorithms) ? algorithms[algorithm].family : NULL;
}

pe_objective
pe_default_objective(pe_task task, pe_algorithm algorithm)
{
	if (algorithm == PE_ALGORITHM_GLM)
		return PE_OBJECTIVE_POISSON;
	switch (task)
	{
		case PE_TASK_PROPENSITY:
			return PE_OBJECTIVE_LOGISTIC;
		case PE_TASK_VALUE:
			return PE_OBJECTIVE_SQUARED;
		case PE_TASK_AFFINITY:
			return PE_OBJECTIVE_MULTICLASS;
		case PE_TASK_LIFETIME_VALUE:
		case PE_TASK_SEGMENT:
		case PE_TASK_ENGAGEMENT:
		case PE_TASK_RECOMMENDATION:
		case PE_TASK_UPLIFT:
			break;
	}
	return PE_OBJECTIVE_DEFAULT;
}

/* The objectives that a task, or an algorithm, knows, as bits. */
#define OBJECTIVE(objective) (1u << (objective))
#define LOG_LINKED                                                                                           \
	(OBJECTIVE(PE_OBJECTIVE_POISSON) | OBJECTIVE(PE_OBJECTIVE_GAMMA) | OBJECTIVE(PE_OBJECTIVE_TWEEDIE))

static unsigned
objectives_of_task(pe_task task)
{
	switch (task)
	{
		case PE_TASK_PROPENSITY:
			return OBJECTIVE(PE_OBJECTIVE_LOGISTIC);
		case PE_TASK_VALUE:
			return OBJECTIVE(PE_OBJECTIVE_SQUARED) | OBJECTIVE(PE_OBJECTIVE_ABSOLUTE) |
			       OBJECTIVE(PE_OBJECTIVE_QUANTILE) | LOG_LINKED;
		case PE_TASK_AFFINITY:
			return OBJECTIVE(PE_OBJECTIVE_MULTICLASS);
		default:
			return (int) task == 0 ? ~0u : 0;
	}
}

static unsigned
objectives_of_algorithm(pe_algorithm algorithm)
{
	switch (algorithm)
	{
		case PE_ALGORITHM_BOOSTED_TREES:
			return ~0u;
		case PE_ALGORITHM_LOGISTIC:
			return OBJECTIVE(PE_OBJECTIVE_LOGISTIC);
		case PE_ALGORITHM_LINEAR:
			return OBJECTIVE(PE_OBJECTIVE_SQUARED);
		case PE_ALGORITHM_GLM:
			return OBJECTIVE(PE_OBJECTIVE_SQUARED) | LOG_LINKED;
		case PE_ALGORITHM_MULTINOMIAL:
			return OBJECTIVE(PE_OBJECTIVE_MULTICLASS);
		default:
			return 0;
	}
}

bool
pe_objective_serves(pe_objective objective, pe_algorithm algorithm)
{
	return (objectives_of_algorithm(algorithm) & OBJECTIVE(objective)) != 0;
}

/* Names of the objectives of an algorithm, for hints; of one task only unless that is 0. */
void
pe_algorithm_objectives(pe_task task, pe_algorithm algorithm, char *names, size_t size)
{
	unsigned all = objectives_of_algorithm(algorithm) & objectives_of_task(task);
	size_t used = 0;

	names[0] = '\0';
	for (int objective = 1; objective < COUNT(objective_names); objective++)
		if ((all & OBJECTIVE(objective)) != 0 && used < size)
			used +=
			    snprintf(names + used, size - used, "%s%s", used > 0 ? ", " : "", objective_names[objective]);
}

pe_status
pe_check_objective(pe_task task, pe_algorithm algorithm, pe_objective objective, pe_error *err)
{
	char names[256];

	if (objective == PE_OBJECTIVE_DEFAULT ||
	    (objectives_of_algorithm(algorithm) & objectives_of_task(task) & OBJECTIVE(objective)) != 0)
		return PE_OK;
	pe_algorithm_objectives(task, algorithm, names, sizeof(names));
	pe_fail(err, PE_INVALID_OPTION, "objective \"%s\" does not serve task %s", pe_objective_name(objective),
	        pe_task_name(task));
	pe_error_hint(err, "The objectives of %s with %s are: %s.", pe_task_name(task),
	              pe_algorithm_name(algorithm), names);
	return PE_INVALID_OPTION;
}

void
pe_task_algorithms(pe_task task, char *names, size_t size)
{
	size_t used = 0;

	names[0] = '\0';
	for (int algorithm = COUNT(algorithms) - 1; algorithm > 0; algorithm--)
		if ((algorithms[algorithm].tasks & TASK(task)) != 0 && used < size)
			used +=
			    snprintf(names + used, size - used, "%s%s", used > 0 ? ", " : "", algorithms[algorithm].name);
}

pe_status
pe_check_task(pe_task task, pe_algorithm algorithm, pe_error *err)
{
	const char *task_name = pe_task_name(task);
	const char *algorithm_name = pe_algorithm_name(algorithm);
	char names[256];

	if (task_name == NULL || algorithm_name == NULL)
		return pe_fail(err, PE_INVALID_OPTION, "unknown task or algorithm");
	if ((algorithms[algorithm].tasks & TASK(task)) != 0)
		return PE_OK;
	pe_task_algorithms(task, names, sizeof(names));
	pe_fail(err, PE_INVALID_OPTION, "algorithm %s does not serve task %s", algorithm_name, task_name);
	pe_error_hint(err, "The algorithms of %s are: %s.", task_name, names);
	return PE_INVALID_OPTION;
}
