/*
 * train.c
 *		From rows to an evaluated model: which rows are held out, which learner runs, what
 *		is stored beside what it learnt.
 */
#include "model/internal.h"

#define LARGEST_TARGET    1e100 /* so that squares and their sums stay finite */
#define DISTRIBUTION_ROWS 1000  /* held-out rows that suffice for the score distribution */
#define POLL_ROWS         65536

typedef struct training
{
	pe_fit fit;
	pe_split_rows rows;
	pe_slot_map map;
	pe_evaluation *evaluation;
	pe_objective objective;
	/* the held-out rows' targets and weights, those for calibration first */
	double *targets;
	double *weights;
	double *predictions; /* affinity: the largest probability */
	uint32_t n_calibration;
} training;

static pe_status
cancelled(pe_error *err)
{
	return pe_fail(err, PE_CANCELLED, "training was cancelled");
}

/* ---- which rows ----------------------------------------------------------------------- */

/* What is wrong with a target, or NULL. */
static const char *
target_fault(const training *t, double target, const char **hint)
{
	switch (t->fit.task)
	{
		case PE_TASK_PROPENSITY:
			*hint = "Use a boolean or 0/1 target, or the task value.";
			return target == 0 || target == 1 ? NULL : "the target is neither 0 nor 1";
		case PE_TASK_AFFINITY:
			return target >= 0 && target < t->fit.dataset->classes.count && target == floor(target)
			           ? NULL
			           : "the target is none of the dataset's classes";
		default:
			break;
	}
	*hint = "Filter such rows in the source, or use the objective squared, absolute or quantile.";
	if (!(fabs(target) <= LARGEST_TARGET))
		return "the target is too large";
	if (target < 0 && (t->objective == PE_OBJECTIVE_POISSON || t->objective == PE_OBJECTIVE_TWEEDIE))
		return "the target is negative, which the objective does not allow";
	if (target <= 0 && t->objective == PE_OBJECTIVE_GAMMA)
		return "the target is not above 0, which the objective gamma needs";
	return NULL;
}

static pe_status
check_target(const training *t, uint64_t row, double target)
{
	pe_error *err = t->fit.err;
	const char *hint = NULL, *fault = target_fault(t, target, &hint);

	if (fault == NULL)
		return PE_OK;
	pe_fail(err, PE_INVALID_DATA, "row %llu: %s", (unsigned long long) row + 1, fault);
	if (hint != NULL)
		pe_error_hint(err, "%s", hint);
	if (err != NULL)
		err->row = (int64_t) row + 1;
	return PE_INVALID_DATA;
}

/* Training rows from the front of rows.train, held-out ones to their own list. */
static pe_status
split_rows(training *t)
{
	pe_dataset *dataset = t->fit.dataset;
	const pe_options *options = t->fit.options;
	pe_split_rows *rows = &t->rows;

	rows->train = pe_alloc(t->fit.env, dataset->rows * sizeof(uint32_t));
	rows->holdout = pe_alloc(t->fit.env, dataset->rows * sizeof(uint32_t));
	if (rows->train == NULL || rows->holdout == NULL)
		return pe_fail_memory(t->fit.err);
	for (uint64_t row = 0; row < dataset->rows; row++)
	{
		double target = pe_dataset_target(dataset, row), weight = pe_dataset_weight(dataset, row);
		pe_status status = check_target(t, row, target);

		if (status != PE_OK)
			return status;
		if (row % POLL_ROWS == 0 && pe_team_poll(t->fit.pool, 0))
			return cancelled(t->fit.err);
		if (!(weight > 0))
			continue;
		if (pe_row_is_held_out(dataset, row, options))
		{
			rows->holdout[rows->n_holdout++] = (uint32_t) row;
			continue;
		}
		rows->train[rows->n_train++] = (uint32_t) row;
		rows->train_positives += target == 1;
		rows->train_weight += weight;
		rows->train_sum += weight * target;
		rows->largest_weight = weight > rows->largest_weight ? weight : rows->largest_weight;
	}
	return PE_OK;
}

static pe_status
check_variety(const training *t)
{
	const pe_split_rows *rows = &t->rows;
	pe_error *err = t->fit.err;
	double first;

	if (rows->n_train == 0)
	{
		pe_fail(err, PE_INVALID_DATA,
		        t->fit.dataset->rows == 0 ? "the source has no rows" : "there is no row to train on");
		pe_error_hint(err, "Rows without a target do not count, nor do rows of weight 0 and held-out ones.");
		return PE_INVALID_DATA;
	}
	first = pe_dataset_target(t->fit.dataset, rows->train[0]);
	for (uint32_t i = 1; i < rows->n_train; i++)
		if (pe_dataset_target(t->fit.dataset, rows->train[i]) != first)
			return PE_OK;
	if (t->fit.task == PE_TASK_AFFINITY)
		return PE_OK; /* pe_choose_classes says it with the class's name */
	if (t->fit.task == PE_TASK_PROPENSITY)
		pe_fail(err, PE_INVALID_DATA, "the target has one class only: all %u training rows are %s",
		        rows->n_train, first == 1 ? "positive" : "negative");
	else
		pe_fail(err, PE_INVALID_DATA, "the target has one value only: all %u training rows have %.15g",
		        rows->n_train, first);
	pe_error_hint(err, "Choose a target that differs between profiles, or a source with more rows.");
	return PE_INVALID_DATA;
}

/* The held-out rows that calibration is fitted on go to the front, in order. */
static pe_status
set_calibration_apart(training *t)
{
	pe_split_rows *rows = &t->rows;
	const pe_options *options = t->fit.options;
	uint32_t *rest;
	uint32_t n_rest = 0, positives = 0;

	if (options->calibrate == PE_CALIBRATION_NONE)
		return PE_OK;
	if ((rest = pe_alloc(t->fit.env, rows->n_holdout * sizeof(*rest))) == NULL)
		return pe_fail_memory(t->fit.err);
	for (uint32_t i = 0; i < rows->n_holdout; i++)
	{
		uint32_t row = rows->holdout[i];

		if (pe_draw(pe_dataset_hash(t->fit.dataset, row), options->seed, PE_DRAW_CALIBRATION) < 0.5)
		{
			rows->holdout[t->n_calibration++] = row;
			positives += pe_dataset_target(t->fit.dataset, row) == 1;
		}
		else
			rest[n_rest++] = row;
	}
	if (n_rest > 0)
		memcpy(rows->holdout + t->n_calibration, rest, n_rest * sizeof(*rest));
	pe_free(t->fit.env, rest);
	if (positives < 10 || t->n_calibration - positives < 10)
	{
		pe_fail(t->fit.err, PE_INVALID_DATA,
		        "too few held-out rows to calibrate on: %u, of which %u are positive", t->n_calibration,
		        positives);
		pe_error_hint(t->fit.err, "Raise holdout, train on more rows, or leave out calibrate.");
		return PE_INVALID_DATA;
	}
	return PE_OK;
}

/* ---- after the learner ---------------------------------------------------------------- */

static pe_status
gather_holdout(training *t)
{
	uint32_t n = t->rows.n_holdout;

	t->targets = pe_alloc(t->fit.env, n * sizeof(double));
	t->weights = t->fit.dataset->with_weights ? pe_alloc(t->fit.env, n * sizeof(double)) : NULL;
	t->predictions = pe_alloc(t->fit.env, n * sizeof(double));
	if (t->targets == NULL || t->predictions == NULL || (t->fit.dataset->with_weights && t->weights == NULL))
		return pe_fail_memory(t->fit.err);
	for (uint32_t i = 0; i < n; i++)
	{
		t->targets[i] = pe_dataset_target(t->fit.dataset, t->rows.holdout[i]);
		if (t->weights != NULL)
			t->weights[i] = pe_dataset_weight(t->fit.dataset, t->rows.holdout[i]);
	}
	return PE_OK;
}

static pe_status
calibrate(training *t)
{
	pe_status status;

	if (t->n_calibration == 0)
		return PE_OK;
	status = pe_fit_calibration(t->fit.env, t->fit.model, t->fit.options->calibrate, t->fit.holdout_margins,
	                            t->targets, t->weights, t->n_calibration, t->fit.err);
	if (status != PE_OK)
		return status;
	return pe_model_add_note(t->fit.model, t->fit.err,
	                         "calibrated on %u held-out rows; the evaluation is on the other %u",
	                         t->n_calibration, t->rows.n_holdout - t->n_calibration);
}

/* Margins [rows][n_margins] become what pe_model_predict says; of classes, the margins become probabilities.
 */
static void
link_rows(const training *t, double *margins, uint32_t rows, double *predictions)
{
	int n = t->fit.n_margins;

	for (uint32_t i = 0; i < rows; i++)
	{
		double *p = margins + (size_t) i * n;

		if (t->fit.task != PE_TASK_AFFINITY)
		{
			predictions[i] = pe_model_link(t->fit.model, p[0]);
			continue;
		}
		pe_softmax(p, n);
		predictions[i] = p[0];
		for (int c = 1; c < n; c++)
			predictions[i] = p[c] > predictions[i] ? p[c] : predictions[i];
	}
}

static pe_status
evaluate_rows(training *t, uint32_t skip, uint32_t rows)
{
	const pe_fit *fit = &t->fit;
	const double *weights = t->weights != NULL ? t->weights + skip : NULL;
	pe_status status;

	if (fit->task == PE_TASK_AFFINITY)
		return pe_evaluate_classes(fit->env, fit->n_margins, (const char *const *) fit->model->classes,
		                           fit->holdout_margins + (size_t) skip * fit->n_margins, t->targets + skip,
		                           weights, rows, t->evaluation, fit->err);
	status = pe_evaluate(fit->env, fit->task, t->predictions + skip, t->targets + skip, weights, rows,
	                     t->evaluation, fit->err);
	if (status == PE_OK && fit->task == PE_TASK_VALUE)
		pe_evaluate_deviance(fit->model->objective, fit->model->objective_parameter, t->predictions + skip,
		                     t->targets + skip, weights, rows, t->evaluation);
	return status;
}

static pe_status
evaluate(training *t)
{
	pe_evaluation *e = t->evaluation;
	uint32_t skip = t->n_calibration, n = t->rows.n_holdout - skip;
	const char *strongest =
	    t->fit.strongest.feature >= 0 ? t->fit.model->features[t->fit.strongest.feature].name : NULL;
	pe_status status = PE_OK;

	link_rows(t, t->fit.holdout_margins, t->rows.n_holdout, t->predictions);
	if (n > 0)
		status = evaluate_rows(t, skip, n);
	if (status != PE_OK)
		return status;
	e->training_rows = t->rows.n_train;
	e->training_positives = t->fit.task == PE_TASK_PROPENSITY ? t->rows.train_positives : 0;
	pe_judge(e, strongest != NULL ? t->fit.strongest.strength : NAN, strongest);
	return PE_OK;
}

/* Held-out predictions when they are enough, else those of all rows. */
static pe_status
distribute(training *t)
{
	uint32_t n_train = t->fit.train_margins != NULL ? t->rows.n_train : 0;
	size_t n = (size_t) t->rows.n_holdout + n_train;
	double *predictions = pe_alloc(t->fit.env, n * sizeof(double));
	pe_status status;

	if (predictions == NULL)
		return pe_fail_memory(t->fit.err);
	memcpy(predictions, t->predictions, t->rows.n_holdout * sizeof(double));
	if (n_train > 0)
		link_rows(t, t->fit.train_margins, n_train, predictions + t->rows.n_holdout);
	status = pe_fit_distribution(t->fit.env, t->fit.model, predictions, n, t->fit.err);
	pe_free(t->fit.env, predictions);
	return status;
}

/* ---- the whole ------------------------------------------------------------------------ */

static double
objective_parameter(const training *t)
{
	if (t->objective == PE_OBJECTIVE_QUANTILE)
		return t->fit.options->quantile;
	return t->objective == PE_OBJECTIVE_TWEEDIE ? t->fit.options->tweedie_power : 0;
}

/* An empty model that knows its features, levels and classes. */
static pe_status
begin_model(training *t)
{
	pe_fit *fit = &t->fit;
	pe_status status = pe_model_create(fit->env, fit->dataset, fit->task, &fit->model, fit->err);

	if (status != PE_OK)
		return status;
	fit->model->objective = t->objective;
	fit->model->objective_parameter = objective_parameter(t);
	if (fit->task == PE_TASK_AFFINITY)
	{
		double largest = 0;

		if ((status = pe_choose_classes(fit->model, fit->dataset, &t->rows, fit->err)) != PE_OK)
			return status;
		fit->n_margins = fit->model->n_classes;
		for (int c = 0; c < fit->n_margins; c++)
			largest = fmax(largest, t->rows.class_weights[c]);
		t->rows.train_sum = largest;
	}
	fit->model->training_rows = t->rows.n_train;
	fit->model->base_rate = t->rows.train_sum / t->rows.train_weight;
	if ((status = pe_summarise_features(fit)) != PE_OK)
		return status;
	return pe_choose_levels(fit->model, fit->dataset, &t->rows, fit->pool, &t->map, fit->err);
}

static pe_status
allocate_margins(training *t)
{
	pe_fit *fit = &t->fit;
	size_t bytes = (size_t) fit->n_margins * sizeof(double);

	fit->holdout_margins = pe_alloc(fit->env, t->rows.n_holdout * bytes);
	if (t->rows.n_holdout < DISTRIBUTION_ROWS)
		fit->train_margins = pe_alloc(fit->env, t->rows.n_train * bytes);
	if (fit->holdout_margins == NULL || (t->rows.n_holdout < DISTRIBUTION_ROWS && fit->train_margins == NULL))
		return pe_fail_memory(fit->err);
	return PE_OK;
}

static pe_status
train(training *t)
{
	pe_fit *fit = &t->fit;
	pe_status status;

	pe_team_phase(fit->pool, "bin", 0, 0);
	if ((status = split_rows(t)) != PE_OK || (status = check_variety(t)) != PE_OK ||
	    (status = set_calibration_apart(t)) != PE_OK || (status = begin_model(t)) != PE_OK ||
	    (status = allocate_margins(t)) != PE_OK)
		return status;
	status = fit->options->algorithm == PE_ALGORITHM_BOOSTED_TREES ? pe_fit_trees(fit) : pe_fit_linear(fit);
	if (status != PE_OK)
		return status;
	pe_team_phase(fit->pool, "evaluate", 0, 0);
	if ((status = gather_holdout(t)) != PE_OK || (status = calibrate(t)) != PE_OK ||
	    (status = evaluate(t)) != PE_OK)
		return status;
	return distribute(t);
}

static pe_status
check_call(const pe_dataset *dataset, pe_task task, const pe_options *options, pe_error *err)
{
	pe_status status = pe_check_task(task, options->algorithm, err);

	if (status != PE_OK || (status = pe_options_check(options, err)) != PE_OK ||
	    (status = pe_check_objective(task, options->algorithm, options->objective, err)) != PE_OK)
		return status;
	if (dataset->algorithm != options->algorithm || dataset->used_up)
		return pe_fail(err, PE_INTERNAL, "the dataset was made for another algorithm or is used up");
	if (options->calibrate != PE_CALIBRATION_NONE && (task != PE_TASK_PROPENSITY || !(options->holdout > 0)))
	{
		pe_fail(err, PE_INVALID_OPTION, "option \"calibrate\" needs the task propensity and held-out rows");
		pe_error_hint(err, "Leave out calibrate, or give holdout a share above 0.");
		return PE_INVALID_OPTION;
	}
	return PE_OK;
}

pe_status
pe_train(const pe_env *env, pe_dataset *dataset, pe_task task, const pe_options *options, pe_model **model,
         pe_evaluation *evaluation, pe_error *err)
{
	training t = {.fit = {.env = env,
	                      .dataset = dataset,
	                      .options = options,
	                      .task = task,
	                      .err = err,
	                      .strongest = {0, -1}},
	              .evaluation = evaluation};
	pe_options own = *options;
	pe_status status = check_call(dataset, task, options, err);

	t.fit.n_margins = 1;
	t.objective = options->objective != PE_OBJECTIVE_DEFAULT ? options->objective
	                                                         : pe_default_objective(task, options->algorithm);
	*model = NULL;
	pe_evaluation_clear(evaluation, task);
	if (status != PE_OK)
		return status;
	pe_options_shape(options, (double) dataset->rows, &own.max_depth, &own.max_leaves);
	/* The quantile 0.9 of fewer than ten rows is their largest. */
	if (t.objective == PE_OBJECTIVE_QUANTILE)
		own.min_child_weight = fmax(own.min_child_weight, 1 / fmin(own.quantile, 1 - own.quantile));
	t.fit.options = &own;
	t.fit.rows = &t.rows;
	t.fit.map = &t.map;
	dataset->used_up = true;
	t.fit.pool = pe_team_create(env, options->threads);
	status = t.fit.pool == NULL ? pe_fail_memory(err) : train(&t);
	pe_team_free(t.fit.pool);
	pe_free(env, t.rows.train);
	pe_free(env, t.rows.holdout);
	pe_free(env, t.map.slots);
	pe_free(env, t.map.arena);
	pe_free(env, t.fit.train_margins);
	pe_free(env, t.fit.holdout_margins);
	pe_free(env, t.targets);
	pe_free(env, t.weights);
	pe_free(env, t.predictions);
	if (status == PE_OK)
		*model = t.fit.model;
	else
		pe_model_free(t.fit.model);
	return status;
}
