/*
 * linear.c
 *		Logistic and linear regression by Newton's method on standardised columns, mapped
 *		back to the features' own scales, with standard errors.
 *
 * Without a penalty the result is the maximum of the likelihood. Two things have none,
 * and are found and said instead of looped on: columns that others determine
 * (dropped, the later one first, as R does), and classes that a column separates (a small
 * ridge keeps the coefficients finite).
 */
#include "model/linear/design.h"
#include "model/linalg.h"

#define ALIAS_TOLERANCE 1e-10 /* of a column's variance, left over by the columns before it */
#define AUTOMATIC_RIDGE 0.01  /* on the standardised scale */
#define SEPARATED_SIZE  10.0  /* a coefficient this large on that scale ... */
#define SEPARATED_ERROR 3.0   /* with an error this many times itself runs to infinity */
#define SEPARATION_STEP 6     /* not looked for before this step */
#define IMPORTANCE_ROWS 2000

typedef struct newton
{
	pe_fit *fit;
	pe_design design;
	pe_accumulator *accumulator;
	size_t n;     /* columns */
	double *beta; /* by column, standardised scale */
	double *trial;
	double *step;
	double *ordered; /* as pe_accumulate wants them */
	double *factor;  /* packed */
	double *column;  /* n, for solving */
	bool *aliased;   /* columns that others determine */
	bool *skip;      /* those that the factor left out */
	bool *separated;
	pe_normal now;
	pe_normal next;
	double ridge;
	bool automatic_ridge;
	bool converged;
	int iterations;
	double null_objective;
} newton;

static pe_status
cancelled(const newton *w)
{
	return pe_fail(w->fit->err, PE_CANCELLED, "training was cancelled");
}

/* ---- what a column is ----------------------------------------------------------------- */

typedef struct column_name
{
	int feature; /* -1: intercept */
	int slot;    /* -1: numeric */
	int dense;   /* -1: a dummy */
	int dummy;
} column_name;

static void
name_columns(const pe_design *design, column_name *names)
{
	for (int i = 0; i < design->n_dense; i++)
		names[design->dense_column[i]] = (column_name){design->dense_feature[i], -1, i, -1};
	for (int i = 0; i < design->n_dummies; i++)
		names[design->dummy_column[i]] =
		    (column_name){design->dummy_feature[i], design->dummy_slot[i], -1, i};
}

/* "tenure" or "plan = gold" for notes. */
static void
describe(const newton *w, const column_name *name, char *text, size_t size)
{
	const pe_feature *feature = &w->fit->model->features[name->feature];
	int length = pe_clipped(feature->name, 100);

	if (name->slot < 0)
		snprintf(text, size, "%.*s", length, feature->name);
	else if (name->slot == PE_SLOT_MISSING)
		snprintf(text, size, "%.*s missing", length, feature->name);
	else if (name->slot > feature->n_levels)
		snprintf(text, size, "%.*s other", length, feature->name);
	else
	{
		const char *level = feature->levels[name->slot - 1];

		snprintf(text, size, "%.*s = %.*s", length, feature->name, pe_clipped(level, 80), level);
	}
}

/* ---- Newton --------------------------------------------------------------------------- */

static bool
accumulate(newton *w, const double *beta, pe_normal *normal)
{
	const pe_design *design = &w->design;

	for (int i = 0; i < design->n_dense; i++)
		w->ordered[i] = beta[design->dense_column[i]];
	for (int i = 0; i < design->n_dummies; i++)
		w->ordered[design->n_dense + i] = beta[design->dummy_column[i]];
	if (!pe_accumulate(w->accumulator, w->ordered, normal))
		return false;
	for (size_t i = 1; i < w->n; i++)
	{
		normal->objective -= w->ridge * beta[i] * beta[i] / 2;
		normal->gradient[i] -= w->ridge * beta[i];
		normal->hessian[pe_packed(i, i)] += w->ridge;
	}
	return true;
}

/*
 * A column that was independent at the start and no longer is has lost all its weight:
 * the rows that it tells apart are predicted with certainty, so it separates.
 */
static bool
factorise(newton *w, bool *collapsed)
{
	memcpy(w->factor, w->now.hessian, w->n * (w->n + 1) / 2 * sizeof(double));
	memcpy(w->skip, w->aliased, w->n * sizeof(bool));
	if (!pe_cholesky(w->fit->pool, w->factor, w->n, 0, w->skip))
		return false;
	*collapsed = false;
	for (size_t i = 0; i < w->n; i++)
		if (w->skip[i] && !w->aliased[i])
			*collapsed = w->separated[i] = true;
	return true;
}

/* The columns that are aliased, once, where all weights are alike. */
static pe_status
find_aliases(newton *w, const column_name *names)
{
	memcpy(w->factor, w->now.hessian, w->n * (w->n + 1) / 2 * sizeof(double));
	if (!pe_cholesky(w->fit->pool, w->factor, w->n, ALIAS_TOLERANCE, w->aliased))
		return cancelled(w);
	for (size_t i = 1; i < w->n; i++)
	{
		char text[256];
		pe_status status;

		if (!w->aliased[i])
			continue;
		describe(w, &names[i], text, sizeof(text));
		if (names[i].dense > 0 && w->design.features[names[i].feature].deviation == 0)
			status =
			    pe_model_add_note(w->fit->model, w->fit->err, "%s: left out, it has one value only", text);
		else
			status = pe_model_add_note(w->fit->model, w->fit->err,
			                           "%s: left out, the features before it determine it", text);
		if (status != PE_OK)
			return status;
	}
	return PE_OK;
}

/* The standard error of a column on the standardised scale; factor must be current. */
static double
column_error(newton *w, size_t column)
{
	memset(w->column, 0, w->n * sizeof(double));
	w->column[column] = 1;
	pe_solve_lower(w->factor, w->n, w->skip, w->column);
	return sqrt(pe_dot(w->column, w->column, w->n));
}

static bool
find_separation(newton *w)
{
	bool found = false;

	if (w->fit->task != PE_TASK_PROPENSITY || w->ridge > 0)
		return false;
	for (size_t i = 1; i < w->n; i++)
		if (!w->skip[i] && fabs(w->beta[i]) > SEPARATED_SIZE &&
		    column_error(w, i) > SEPARATED_ERROR * fabs(w->beta[i]))
			found = w->separated[i] = true;
	return found;
}

static double
largest_relative_step(const newton *w)
{
	double largest = 0;

	for (size_t i = 0; i < w->n; i++)
	{
		double relative = fabs(w->step[i]) / (fabs(w->beta[i]) + 1);

		largest = relative > largest ? relative : largest;
	}
	return largest;
}

/* beta + step, or half of it and again until the objective does not fall. */
static pe_status
take_step(newton *w, bool *moved)
{
	double length = 1;
	pe_normal swap;

	*moved = false;
	for (int halving = 0; halving < 40 && !*moved; halving++, length /= 2)
	{
		for (size_t i = 0; i < w->n; i++)
			w->trial[i] = w->beta[i] + length * w->step[i];
		if (!accumulate(w, w->trial, &w->next))
			return cancelled(w);
		*moved = w->next.objective >= w->now.objective - 1e-12 * fabs(w->now.objective);
	}
	if (!*moved)
		return PE_OK;
	swap = w->now;
	w->now = w->next;
	w->next = swap;
	memcpy(w->beta, w->trial, w->n * sizeof(double));
	return PE_OK;
}

/*
 * From beta on until a step is below tolerance in units of standard errors; as the
 * method converges quadratically, the coefficients are then exact to rounding.
 */
static pe_status
iterate(newton *w, bool *separated)
{
	const pe_options *options = w->fit->options;
	bool binary = w->fit->task == PE_TASK_PROPENSITY;

	*separated = false;
	w->converged = false;
	for (w->iterations = 1; w->iterations <= options->max_iterations; w->iterations++)
	{
		double decrement, unit = 1;
		bool moved, collapsed;
		pe_status status;

		pe_team_phase(w->fit->pool, "fit", (uint64_t) w->iterations, 0);
		if (!factorise(w, &collapsed))
			return cancelled(w);
		if ((collapsed && w->ridge == 0) || (w->iterations > SEPARATION_STEP && find_separation(w)))
		{
			*separated = true;
			return PE_OK;
		}
		memcpy(w->step, w->now.gradient, w->n * sizeof(double));
		pe_solve_lower(w->factor, w->n, w->skip, w->step);
		decrement = sqrt(pe_dot(w->step, w->step, w->n));
		pe_solve_upper(w->factor, w->n, w->skip, w->step);
		if (!binary)
			unit = sqrt(-2 * w->now.objective / w->fit->rows->n_train) + 1e-300;
		if (!isfinite(decrement))
			break;
		w->converged = decrement <= options->tolerance * unit || largest_relative_step(w) <= 1e-15;
		status = take_step(w, &moved);
		if (status != PE_OK)
			return status;
		if (w->converged)
			break;
		if (!moved)
		{
			/* As near as rounding lets it come. */
			w->converged = decrement <= 1e-5 * unit;
			break;
		}
	}
	if (w->iterations > options->max_iterations)
		w->iterations = options->max_iterations;
	/* At the coefficients arrived at, for the standard errors. */
	return factorise(w, separated) ? PE_OK : cancelled(w);
}

static pe_status
start(newton *w)
{
	double mean = w->fit->rows->train_sum / w->fit->rows->train_weight;

	memset(w->beta, 0, w->n * sizeof(double));
	w->beta[0] = w->fit->task == PE_TASK_PROPENSITY ? log(mean / (1 - mean)) : mean;
	return accumulate(w, w->beta, &w->now) ? PE_OK : cancelled(w);
}

static pe_status
say_separation(newton *w, const column_name *names)
{
	char text[256] = "";
	int count = 0;

	for (size_t i = 0; i < w->n; i++)
		if (w->separated[i] && count++ == 0)
			describe(w, &names[i], text, sizeof(text));
	return pe_model_add_note(
	    w->fit->model, w->fit->err,
	    "%s%s: separates the classes, so its coefficient has no finite estimate; a ridge penalty "
	    "of %g keeps all coefficients finite",
	    text, count > 1 ? " and others" : "", AUTOMATIC_RIDGE);
}

static pe_status
solve(newton *w, const column_name *names)
{
	bool separated;
	pe_status status = start(w);

	if (status != PE_OK)
		return status;
	w->null_objective = w->now.objective;
	if ((status = find_aliases(w, names)) != PE_OK || (status = iterate(w, &separated)) != PE_OK)
		return status;
	if (separated && w->ridge == 0)
	{
		w->ridge = AUTOMATIC_RIDGE;
		w->automatic_ridge = true;
		if ((status = say_separation(w, names)) != PE_OK || (status = start(w)) != PE_OK ||
		    (status = iterate(w, &separated)) != PE_OK)
			return status;
	}
	if (!w->converged)
		return pe_model_add_note(w->fit->model, w->fit->err, "not converged after %d iterations",
		                         w->iterations);
	return PE_OK;
}

/* ---- into the model ------------------------------------------------------------------- */

static void
test_term(const newton *w, pe_term *term, double error, double df)
{
	term->standard_error = error;
	term->statistic = term->estimate / error;
	term->p_value =
	    w->fit->task == PE_TASK_PROPENSITY ? pe_normal_p(term->statistic) : pe_student_p(term->statistic, df);
}

/* The error of the intercept as mapped back: that of b0 - sum of b_j mean_j / deviation_j. */
static double
intercept_error(newton *w, const column_name *names)
{
	for (size_t i = 0; i < w->n; i++)
	{
		const pe_design_feature *from = names[i].dense > 0 ? &w->design.features[names[i].feature] : NULL;

		w->column[i] = i == 0 ? 1 : from != NULL && from->deviation > 0 ? -from->mean / from->deviation : 0;
	}
	pe_solve_lower(w->factor, w->n, w->skip, w->column);
	return sqrt(pe_dot(w->column, w->column, w->n));
}

static double
unpenalised(const newton *w)
{
	double objective = w->now.objective;

	for (size_t i = 1; i < w->n; i++)
		objective += w->ridge * w->beta[i] * w->beta[i] / 2;
	return objective;
}

static void
store_fit(newton *w, double *scale, double *df)
{
	pe_model *model = w->fit->model;
	double objective = unpenalised(w), rows = w->fit->rows->n_train, rank = 0;

	for (size_t i = 0; i < w->n; i++)
		rank += !w->skip[i];
	model->iterations = w->iterations;
	model->deviance = -2 * objective;
	model->null_deviance = -2 * w->null_objective;
	*df = rows - rank;
	*scale = 1;
	model->log_likelihood = objective;
	if (w->fit->task == PE_TASK_VALUE)
	{
		model->log_likelihood = -rows / 2 * (log(2 * M_PI * model->deviance / rows) + 1);
		*scale = *df > 0 ? sqrt(model->deviance / *df) : NAN;
	}
}

static pe_status
store_terms(newton *w, const column_name *names)
{
	pe_model *model = w->fit->model;
	bool penalised = w->ridge > 0 && !w->automatic_ridge;
	double intercept = w->beta[0], scale, df;

	store_fit(w, &scale, &df);
	if ((model->terms = pe_calloc(&model->env, w->n, sizeof(*model->terms))) == NULL)
		return pe_fail_memory(w->fit->err);
	model->n_terms = (uint32_t) w->n;
	for (size_t i = 0; i < w->n; i++)
	{
		pe_term *term = &model->terms[i];
		double deviation = names[i].dense > 0 ? w->design.features[names[i].feature].deviation : 1;

		term->feature = names[i].feature;
		term->slot = names[i].slot;
		term->aliased = w->aliased[i];
		term->standard_error = term->statistic = term->p_value = NAN;
		if (w->skip[i])
			continue;
		term->estimate = w->beta[i] / deviation;
		if (names[i].dense > 0)
			intercept -= term->estimate * w->design.features[names[i].feature].mean;
		if (i > 0 && !penalised && !w->separated[i])
			test_term(w, term, scale * column_error(w, i) / deviation, df);
		if (pe_team_poll(w->fit->pool, 0))
			return cancelled(w);
	}
	model->terms[0].estimate = model->intercept = intercept;
	if (!penalised)
		test_term(w, &model->terms[0], scale * intercept_error(w, names), df);
	return PE_OK;
}

/* The terms again as predict and explain want them. */
static pe_status
store_features(newton *w)
{
	pe_model *model = w->fit->model;

	for (int i = 0; i < model->n_features; i++)
	{
		pe_feature *feature = &model->features[i];
		const pe_design_feature *from = &w->design.features[i];

		feature->fill = from->fill;
		feature->mean = from->mean;
		if (feature->kind == PE_FEATURE_CATEGORICAL &&
		    (feature->terms = pe_calloc(&model->env, feature->n_levels + 2, sizeof(double))) == NULL)
			return pe_fail_memory(w->fit->err);
	}
	for (uint32_t i = 1; i < model->n_terms; i++)
	{
		const pe_term *term = &model->terms[i];
		pe_feature *feature = &model->features[term->feature];

		if (term->slot < 0)
			feature->slope = term->estimate;
		else
			feature->terms[term->slot] = term->estimate;
		feature->used |= term->estimate != 0;
	}
	for (int i = 0; i < model->n_features; i++)
	{
		pe_feature *feature = &model->features[i];
		const double *weights = w->design.features[i].weights;
		double total = 0;

		if (feature->kind != PE_FEATURE_CATEGORICAL)
			continue;
		for (int slot = 0; slot < feature->n_levels + 2; slot++)
		{
			total += weights[slot];
			feature->mean += weights[slot] * feature->terms[slot];
		}
		feature->mean /= total;
		/* What training never saw tells nothing: it counts as the average. */
		for (int slot = 0; slot < feature->n_levels + 2; slot++)
			if (!(weights[slot] > 0))
				feature->terms[slot] = feature->mean;
	}
	return PE_OK;
}

/* ---- margins and importances ---------------------------------------------------------- */

typedef struct row_job
{
	newton *w;
	double *values; /* by thread */
	const uint32_t *rows;
	uint32_t n_rows;
	double *margins;
	double *parts; /* importances: by item */
	double *one;   /* by thread */
	uint32_t items;
	uint32_t n_from;
} row_job;

#define ROWS_AN_ITEM 1024

static void
load_row(const pe_fit *fit, uint32_t row, double *values)
{
	for (int i = 0; i < fit->model->n_features; i++)
	{
		values[i] = pe_dataset_value(fit->dataset, i, row);
		if (fit->model->features[i].kind == PE_FEATURE_CATEGORICAL && !isnan(values[i]))
		{
			int code = fit->map->slots[i][(uint32_t) values[i]] - 1;

			values[i] = code < fit->model->features[i].n_levels ? code : PE_UNKNOWN_LEVEL;
		}
	}
}

static void
margin_work(void *ctx, uint32_t item, int thread)
{
	row_job *job = ctx;
	const pe_fit *fit = job->w->fit;
	double *values = job->values + (size_t) thread * fit->model->n_features;
	uint32_t begin = item * ROWS_AN_ITEM;
	uint32_t end = job->n_rows - begin < ROWS_AN_ITEM ? job->n_rows : begin + ROWS_AN_ITEM;

	for (uint32_t i = begin; i < end; i++)
	{
		load_row(fit, job->rows[i], values);
		job->margins[i] = pe_model_margin(fit->model, values);
		if (i % 64 == 0 && pe_team_poll(fit->pool, thread))
			return;
	}
}

static void
importance_work(void *ctx, uint32_t item, int thread)
{
	row_job *job = ctx;
	const pe_fit *fit = job->w->fit;
	int n = fit->model->n_features;
	double *values = job->values + (size_t) thread * n, *one = job->one + (size_t) thread * n, base;

	for (uint32_t i = item; i < job->n_rows; i += job->items)
	{
		load_row(fit, job->rows[(uint64_t) i * job->n_from / job->n_rows], values);
		pe_model_explain(fit->model, values, NULL, one, &base);
		for (int feature = 0; feature < n; feature++)
			job->parts[(size_t) item * n + feature] += fabs(one[feature]);
	}
}

static bool
run_margins(row_job *job, const uint32_t *rows, uint32_t n_rows, double *margins)
{
	job->rows = rows;
	job->n_rows = n_rows;
	job->margins = margins;
	return margins == NULL ||
	       pe_team_run(job->w->fit->pool, margin_work, job, (n_rows + ROWS_AN_ITEM - 1) / ROWS_AN_ITEM);
}

static bool
run_importances(row_job *job)
{
	pe_fit *fit = job->w->fit;
	const pe_split_rows *rows = fit->rows;
	int n = fit->model->n_features;
	double total = 0;

	job->rows = rows->n_holdout > 0 ? rows->holdout : rows->train;
	job->n_from = rows->n_holdout > 0 ? rows->n_holdout : rows->n_train;
	job->n_rows = job->n_from < IMPORTANCE_ROWS ? job->n_from : IMPORTANCE_ROWS;
	if (!pe_team_run(fit->pool, importance_work, job, job->items))
		return false;
	for (int i = 0; i < n; i++)
	{
		double sum = 0;

		for (uint32_t item = 0; item < job->items; item++)
			sum += job->parts[(size_t) item * n + i];
		fit->model->features[i].mean_contribution = sum / job->n_rows;
		total += sum / job->n_rows;
	}
	for (int i = 0; i < n && total > 0; i++)
		fit->model->features[i].gain = fit->model->features[i].mean_contribution / total;
	return true;
}

static pe_status
store_margins(newton *w)
{
	pe_fit *fit = w->fit;
	int n = fit->model->n_features, threads = pe_team_threads(fit->pool);
	row_job job = {.w = w, .items = 16};
	pe_status status = PE_OK;

	job.values = pe_alloc(fit->env, (size_t) n * threads * sizeof(double));
	job.one = pe_alloc(fit->env, (size_t) n * threads * sizeof(double));
	job.parts = pe_calloc(fit->env, (size_t) n * job.items, sizeof(double));
	if (job.values == NULL || job.one == NULL || job.parts == NULL)
		status = pe_fail_memory(fit->err);
	else if (!run_margins(&job, fit->rows->holdout, fit->rows->n_holdout, fit->holdout_margins) ||
	         !run_margins(&job, fit->rows->train, fit->rows->n_train, fit->train_margins) ||
	         !run_importances(&job))
		status = cancelled(w);
	pe_free(fit->env, job.values);
	pe_free(fit->env, job.one);
	pe_free(fit->env, job.parts);
	return status;
}

/* ---- the whole ------------------------------------------------------------------------ */

static bool
allocate(newton *w)
{
	const pe_env *env = w->fit->env;
	size_t n = w->n, packed = n * (n + 1) / 2;

	w->accumulator = pe_accumulator_create(w->fit, &w->design);
	w->beta = pe_calloc(env, n, sizeof(double));
	w->trial = pe_calloc(env, n, sizeof(double));
	w->step = pe_calloc(env, n, sizeof(double));
	w->ordered = pe_calloc(env, n, sizeof(double));
	w->column = pe_calloc(env, n, sizeof(double));
	w->factor = pe_calloc(env, packed, sizeof(double));
	w->skip = pe_calloc(env, n, sizeof(bool));
	w->aliased = pe_calloc(env, n, sizeof(bool));
	w->separated = pe_calloc(env, n, sizeof(bool));
	w->now.gradient = pe_calloc(env, n, sizeof(double));
	w->now.hessian = pe_calloc(env, packed, sizeof(double));
	w->next.gradient = pe_calloc(env, n, sizeof(double));
	w->next.hessian = pe_calloc(env, packed, sizeof(double));
	return w->accumulator != NULL && w->beta != NULL && w->trial != NULL && w->step != NULL &&
	       w->ordered != NULL && w->column != NULL && w->factor != NULL && w->skip != NULL &&
	       w->aliased != NULL && w->separated != NULL && w->now.gradient != NULL && w->now.hessian != NULL &&
	       w->next.gradient != NULL && w->next.hessian != NULL;
}

static pe_status
check_features(const newton *w)
{
	for (size_t i = 1; i < w->n; i++)
		if (!w->aliased[i])
			return PE_OK;
	pe_fail(w->fit->err, PE_INVALID_DATA, "no feature has two different values in the training rows");
	pe_error_hint(w->fit->err, "Add columns that differ between profiles, or more rows.");
	return PE_INVALID_DATA;
}

static pe_status
fit_in(newton *w)
{
	pe_fit *fit = w->fit;
	column_name *names;
	pe_status status;

	pe_team_phase(fit->pool, "fit", 0, 0);
	if ((status = pe_find_strongest(fit)) != PE_OK || (status = pe_design_create(fit, &w->design)) != PE_OK)
		return status;
	w->n = (size_t) w->design.n_columns;
	w->ridge = fit->options->l2;
	names = pe_calloc(fit->env, w->n, sizeof(*names));
	if (names == NULL || !allocate(w))
	{
		pe_free(fit->env, names);
		return pe_fail_memory(fit->err);
	}
	name_columns(&w->design, names);
	if ((status = solve(w, names)) == PE_OK && (status = check_features(w)) == PE_OK)
		status = store_terms(w, names);
	pe_free(fit->env, names);
	if (status != PE_OK || (status = store_features(w)) != PE_OK)
		return status;
	pe_team_phase(fit->pool, "evaluate", 0, 0);
	return store_margins(w);
}

pe_status
pe_fit_linear(pe_fit *fit)
{
	newton w = {.fit = fit};
	pe_status status = fit_in(&w);
	const pe_env *env = fit->env;

	pe_design_free(env, &w.design);
	pe_accumulator_free(w.accumulator);
	pe_free(env, w.beta);
	pe_free(env, w.trial);
	pe_free(env, w.step);
	pe_free(env, w.ordered);
	pe_free(env, w.column);
	pe_free(env, w.factor);
	pe_free(env, w.skip);
	pe_free(env, w.aliased);
	pe_free(env, w.separated);
	pe_free(env, w.now.gradient);
	pe_free(env, w.now.hessian);
	pe_free(env, w.next.gradient);
	pe_free(env, w.next.hessian);
	return status;
}
