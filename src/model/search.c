/*
 * search.c
 *		Which options do best: every trial is cross-validated over the same folds, which go
 *		by hash of the rows' keys.
 *
 * Random search (Bergstra and Bengio, 2012), or the whole grid where it is no larger, with
 * a race: a trial that is behind the best one by more than the folds can explain ends there.
 */
#include <stdlib.h>
#include <time.h>

#include "model/internal.h"
#include "model/selection.h"

#define REDRAWS 20 /* of a trial whose settings were tried before */

typedef struct metric
{
	const char *name;
	size_t offset;
	bool larger_is_better;
	pe_task task;
} metric;

#define AT(field) offsetof(pe_evaluation, field)

static const metric metrics[] = {
    {"auc", AT(auc), true, PE_TASK_PROPENSITY},
    {"log_loss", AT(log_loss), false, PE_TASK_PROPENSITY},
    {"brier", AT(brier), false, PE_TASK_PROPENSITY},
    {"average_precision", AT(average_precision), true, PE_TASK_PROPENSITY},
    {"ks", AT(ks), true, PE_TASK_PROPENSITY},
    {"deviance", AT(deviance), false, PE_TASK_VALUE},
    {"rmse", AT(rmse), false, PE_TASK_VALUE},
    {"mae", AT(mae), false, PE_TASK_VALUE},
    {"gini", AT(gini), true, PE_TASK_VALUE},
    {"log_loss", AT(log_loss), false, PE_TASK_AFFINITY},
    {"accuracy", AT(accuracy), true, PE_TASK_AFFINITY},
    {"macro_auc", AT(macro_auc), true, PE_TASK_AFFINITY},
};

#define METRICS ((int) (sizeof(metrics) / sizeof(metrics[0])))

static const char *
default_metric(pe_task task, const pe_options *options)
{
	pe_objective objective = options->objective != PE_OBJECTIVE_DEFAULT
	                             ? options->objective
	                             : pe_default_objective(task, options->algorithm);

	if (task == PE_TASK_PROPENSITY)
		return "auc";
	if (task == PE_TASK_AFFINITY)
		return "log_loss";
	return objective == PE_OBJECTIVE_SQUARED ? "rmse" : "deviance";
}

static const metric *
find_metric(pe_task task, const pe_options *options, const char *name)
{
	if (name == NULL)
		name = default_metric(task, options);
	for (int i = 0; i < METRICS; i++)
		if (metrics[i].task == task && strcmp(metrics[i].name, name) == 0)
			return &metrics[i];
	return NULL;
}

const char *
pe_search_metric(pe_task task, const pe_options *options, const char *name, bool *larger_is_better)
{
	const metric *found = find_metric(task, options, name);

	if (found == NULL)
		return NULL;
	*larger_is_better = found->larger_is_better;
	return found->name;
}

const char *
pe_search_metrics(pe_task task)
{
	switch (task)
	{
		case PE_TASK_PROPENSITY:
			return "auc, log_loss, brier, average_precision, ks";
		case PE_TASK_VALUE:
			return "deviance, rmse, mae, gini";
		case PE_TASK_AFFINITY:
			return "log_loss, accuracy, macro_auc";
		default:
			return "";
	}
}

void
pe_search_default_space(pe_search *search, pe_algorithm algorithm)
{
	static const pe_search_dimension trees[] = {
	    {.name = "max_leaves", .from = 8, .to = 128, .logarithmic = true, .whole = true},
	    {.name = "learning_rate", .from = 0.03, .to = 0.3, .logarithmic = true},
	    {.name = "min_child_weight", .from = 1, .to = 100, .logarithmic = true},
	    {.name = "row_sample", .from = 0.5, .to = 1},
	    {.name = "column_sample", .from = 0.4, .to = 1},
	    {.name = "l2", .from = 0.1, .to = 30, .logarithmic = true},
	};
	static const pe_search_dimension linear[] = {
	    {.name = "l2", .from = 1e-4, .to = 1e3, .logarithmic = true}};
	bool is_trees = algorithm == PE_ALGORITHM_BOOSTED_TREES;
	int n = is_trees ? (int) (sizeof(trees) / sizeof(trees[0])) : 1;

	memcpy(search->dimensions, is_trees ? trees : linear, n * sizeof(*search->dimensions));
	search->n_dimensions = n;
}

/* ---- a clock that may end a training ------------------------------------------------------------ */

typedef struct search_run
{
	const pe_env *outer;
	pe_env env; /* whose tick knows the deadline */
	const pe_dataset *dataset;
	pe_task task;
	const pe_search *search;
	const metric *metric;
	bool has_deadline; /* not before the first trial is through */
	bool late;         /* the deadline ended a training */
	struct timespec began;
	uint64_t steps; /* folds done, of all trials' */
	uint8_t *folds; /* of each row; not a fold: held out */
	uint8_t *uses;
	pe_evaluation *evaluation;
	double scores[PE_SEARCH_FOLDS]; /* of the trial at hand */
	double best_scores[PE_SEARCH_FOLDS];
	pe_error *err;
} search_run;

static double
elapsed(const search_run *run)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double) (now.tv_sec - run->began.tv_sec) + 1e-9 * (double) (now.tv_nsec - run->began.tv_nsec);
}

static int
search_tick(void *ctx, const char *phase, uint64_t done, uint64_t total)
{
	search_run *run = ctx;

	if (pe_stopped(run->outer, "search", run->steps,
	               (uint64_t) run->search->trials * (uint64_t) run->search->folds))
		return 1;
	run->late = run->has_deadline && elapsed(run) >= run->search->budget;
	return run->late;
}

/* ---- settings ------------------------------------------------------------------------------------- */

static double
draw_number(const pe_search_dimension *dimension, double u)
{
	double number =
	    dimension->logarithmic
	        ? dimension->from * pow(dimension->to / dimension->from, u)
	        : dimension->from + u * (dimension->to - dimension->from + (dimension->whole ? 1 : 0));

	if (dimension->whole)
		number = fmin(floor(dimension->logarithmic ? number + 0.5 : number), dimension->to);
	return number;
}

static void
draw_setting(const pe_search_dimension *dimension, double u, char *setting, size_t size)
{
	if (dimension->values != NULL)
		snprintf(setting, size, "%s", dimension->values[(int) (u * dimension->n_values)]);
	else
		snprintf(setting, size, dimension->whole ? "%.0f" : "%.3g", draw_number(dimension, u));
}

/* How many combinations there are when all dimensions are values; more than most: most + 1. */
static int
combinations(const pe_search *search, int most)
{
	int n = 1;

	for (int i = 0; i < search->n_dimensions; i++)
	{
		if (search->dimensions[i].values == NULL || n > most / search->dimensions[i].n_values)
			return most + 1;
		n *= search->dimensions[i].n_values;
	}
	return n;
}

static bool
was_tried(const pe_trial *trials, int n, const pe_trial *trial)
{
	for (int i = 0; i < n; i++)
		if (memcmp(trials[i].settings, trial->settings, sizeof(trial->settings)) == 0)
			return true;
	return false;
}

static void
make_settings(const pe_search *search, uint64_t seed, pe_trial *trials, int number)
{
	pe_trial *trial = &trials[number];
	int rest = number - 1, grid = combinations(search, search->trials - 1);

	for (int draw = 0; draw < REDRAWS; draw++)
	{
		memset(trial->settings, 0, sizeof(trial->settings));
		for (int i = 0; i < search->n_dimensions; i++)
		{
			const pe_search_dimension *dimension = &search->dimensions[i];
			uint64_t at =
			    ((uint64_t) number * REDRAWS + (uint64_t) draw) * PE_SEARCH_DIMENSIONS + (uint64_t) i;

			if (grid < search->trials)
			{
				snprintf(trial->settings[i], sizeof(trial->settings[i]), "%s",
				         dimension->values[rest % dimension->n_values]);
				rest /= dimension->n_values;
			}
			else
				draw_setting(dimension, pe_draw(pe_mix64(at + 1), seed, PE_DRAW_SEARCH), trial->settings[i],
				             sizeof(trial->settings[i]));
		}
		if (grid < search->trials || !was_tried(trials + 1, number - 1, trial))
			return;
	}
}

static pe_status
set_options(search_run *run, const pe_options *options, pe_trial *trial)
{
	pe_status status = PE_OK;

	trial->options = *options;
	for (int i = 0; i < run->search->n_dimensions && status == PE_OK; i++)
		if (trial->settings[i][0] != '\0')
			status = pe_options_set(&trial->options, run->search->dimensions[i].name, trial->settings[i],
			                        run->err);
	return status;
}

/* ---- folds ---------------------------------------------------------------------------------------- */

static pe_status
deal_folds(search_run *run, const pe_options *options)
{
	const pe_dataset *dataset = run->dataset;

	run->folds = pe_alloc(run->outer, dataset->rows);
	run->uses = pe_alloc(run->outer, dataset->rows);
	run->evaluation = pe_alloc(run->outer, sizeof(*run->evaluation));
	if (run->folds == NULL || run->uses == NULL || run->evaluation == NULL)
		return pe_fail_memory(run->err);
	for (uint64_t row = 0; row < dataset->rows; row++)
		run->folds[row] =
		    pe_row_is_held_out(dataset, row, options)
		        ? UINT8_MAX
		        : (uint8_t) (pe_draw(pe_dataset_hash(dataset, row), options->seed, PE_DRAW_TRIAL_FOLD) *
		                     run->search->folds);
	return PE_OK;
}

/* Learns from the other folds; the score, larger is better, of this one. */
static pe_status
try_fold(search_run *run, const pe_options *options, int fold, double *score)
{
	pe_options own = *options;
	pe_dataset *copy = NULL;
	pe_model *model = NULL;
	pe_status status;

	for (uint64_t row = 0; row < run->dataset->rows; row++)
		run->uses[row] = run->folds[row] == UINT8_MAX ? PE_ROW_LEFT_OUT
		                 : run->folds[row] == fold    ? PE_ROW_HELD_OUT
		                                              : PE_ROW_TRAINED;
	own.calibrate = PE_CALIBRATION_NONE;
	own.only_evaluated = true;
	status = pe_dataset_copy(&run->env, run->dataset, run->uses, NULL, &copy, run->err);
	if (status == PE_OK)
		status = pe_train(&run->env, copy, run->task, &own, &model, run->evaluation, run->err);
	pe_dataset_free(copy);
	pe_model_free(model);
	if (status != PE_OK)
		return status;
	memcpy(score, (const char *) run->evaluation + run->metric->offset, sizeof(*score));
	if (!run->evaluation->evaluated || !isfinite(*score))
	{
		pe_fail(run->err, PE_INVALID_DATA, "fold %d of the search has no %s", fold + 1, run->metric->name);
		pe_error_hint(run->err, "Its rows are too few or all alike: use fewer folds, or more rows.");
		return PE_INVALID_DATA;
	}
	run->steps++;
	return PE_OK;
}

static void
summarise(pe_trial *trial, const double *scores)
{
	double mean = 0, squares = 0;

	for (int i = 0; i < trial->folds; i++)
		mean += scores[i] / trial->folds;
	for (int i = 0; i < trial->folds; i++)
		squares += (scores[i] - mean) * (scores[i] - mean);
	trial->mean = mean;
	trial->deviation = trial->folds > 1 ? sqrt(squares / (trial->folds - 1)) : NAN;
}

/* Behind the best trial on the same folds by more than their differences scatter? */
static bool
is_hopeless(const search_run *run, int folds)
{
	/* Student's t at 97.5 % by number of folds: few of them prove little. */
	static const double bounds[] = {INFINITY, INFINITY, 12.71, 4.30, 3.18, 2.78,
	                                2.57,     2.45,     2.36,  2.31, 2.26};
	double sign = run->metric->larger_is_better ? 1 : -1, mean = 0, squares = 0;
	double bound = bounds[folds < 10 ? folds : 10];

	if (folds < 2)
		return false;
	for (int i = 0; i < folds; i++)
		mean += sign * (run->best_scores[i] - run->scores[i]) / folds;
	for (int i = 0; i < folds; i++)
	{
		double d = sign * (run->best_scores[i] - run->scores[i]) - mean;

		squares += d * d;
	}
	return mean > 0 && mean > bound * sqrt(squares / (folds - 1) / folds);
}

/* As many folds as are worth it. PE_CANCELLED with run->late: the budget is spent. */
static pe_status
run_trial(search_run *run, pe_trial *trial, bool first)
{
	double before = elapsed(run);
	pe_status status = PE_OK;

	trial->folds = 0;
	while (trial->folds < run->search->folds && status == PE_OK)
	{
		status = try_fold(run, &trial->options, trial->folds, &run->scores[trial->folds]);
		if (status != PE_OK)
			break;
		trial->folds++;
		/* What the first fold cost bounds nothing: there must be one trial. */
		if (!first && is_hopeless(run, trial->folds))
			break;
	}
	summarise(trial, run->scores);
	trial->seconds = elapsed(run) - before;
	return status;
}

static bool
is_better(const search_run *run, const pe_trial *trial, const pe_trial *best)
{
	if (trial->folds < run->search->folds)
		return false;
	return best == NULL ||
	       (run->metric->larger_is_better ? trial->mean > best->mean : trial->mean < best->mean);
}

static pe_status
run_trials(search_run *run, const pe_options *options, pe_trial *trials, int *n_trials, int *chosen)
{
	int wanted = run->search->trials, grid = combinations(run->search, wanted - 1);
	pe_status status = PE_OK;

	*n_trials = 0;
	*chosen = -1;
	if (grid < wanted)
		wanted = grid + 1;
	while (*n_trials < wanted && status == PE_OK)
	{
		pe_trial *trial = &trials[*n_trials];

		memset(trial, 0, sizeof(*trial));
		if (*n_trials > 0)
			make_settings(run->search, options->seed, trials, *n_trials);
		if ((status = set_options(run, options, trial)) != PE_OK)
			return status;
		status = run_trial(run, trial, *n_trials == 0);
		if (trial->folds > 0)
			++*n_trials;
		if (is_better(run, trial, *chosen < 0 ? NULL : &trials[*chosen]))
		{
			*chosen = *n_trials - 1;
			memcpy(run->best_scores, run->scores, sizeof(run->scores));
		}
		run->has_deadline = run->search->budget > 0;
		run->steps = (uint64_t) *n_trials * (uint64_t) run->search->folds;
		if (run->has_deadline && elapsed(run) >= run->search->budget)
			break;
	}
	if (status == PE_CANCELLED && run->late)
		status = PE_OK;
	if (status == PE_OK)
		trials[*chosen].chosen = true;
	return status;
}

static pe_status
check_call(const pe_search *search, pe_task task, const pe_options *options, pe_error *err)
{
	if (search->trials < 1 || search->trials > PE_SEARCH_TRIALS || search->folds < 2 ||
	    search->folds > PE_SEARCH_FOLDS || search->n_dimensions < 1)
		return pe_fail(err, PE_INTERNAL, "a search without trials, folds or dimensions");
	if (find_metric(task, options, search->metric) != NULL)
		return PE_OK;
	pe_fail(err, PE_INVALID_OPTION, "unknown metric \"%.80s\" for task %s",
	        search->metric != NULL ? search->metric : "", pe_task_name(task));
	pe_error_hint(err, "Valid ones are %s.", pe_search_metrics(task));
	return PE_INVALID_OPTION;
}

pe_status
pe_search_run(const pe_env *env, const pe_dataset *dataset, pe_task task, const pe_options *options,
              const pe_search *search, pe_trial *trials, int *n_trials, int *chosen, pe_error *err)
{
	search_run run = {
	    .outer = env, .dataset = dataset, .task = task, .search = search, .err = err, .env = *env};
	pe_status status = check_call(search, task, options, err);

	*n_trials = 0;
	*chosen = -1;
	if (status != PE_OK)
		return status;
	run.env.tick = search_tick;
	run.env.tick_ctx = &run;
	run.metric = find_metric(task, options, search->metric);
	clock_gettime(CLOCK_MONOTONIC, &run.began);
	status = deal_folds(&run, options);
	if (status == PE_OK)
		status = run_trials(&run, options, trials, n_trials, chosen);
	pe_free(env, run.folds);
	pe_free(env, run.uses);
	pe_free(env, run.evaluation);
	return status;
}
