/*
 * newton.c
 *		The maximum of the likelihood by Newton's method, with a ridge penalty or without.
 *
 * Without a penalty two things have no maximum, and are found and said instead of looped
 * on: columns that others determine (dropped, the later one first, as R does), and targets
 * that a column separates (a small ridge keeps the coefficients finite).
 *
 * Many rows are begun on a sample of them: its coefficients are within a few standard errors
 * of the end, and the rows as a whole are then passed over four times instead of ten.
 */
#include "model/linalg.h"
#include "model/linear/linear.h"

#define ALIAS_TOLERANCE 1e-10 /* of a column's variance, left over by the columns before it */
#define AUTOMATIC_RIDGE 0.01  /* on the standardised scale */
#define SEPARATED_SIZE  10.0  /* a coefficient this large on that scale ... */
#define SEPARATED_ERROR 3.0   /* with an error this many times itself runs to infinity */
#define SEPARATION_STEP 6     /* not looked for before this step */
#define SAMPLE_ROWS     20000
#define SAMPLED_ROWS    (5 * SAMPLE_ROWS)
#define SAMPLE_RIDGE    1.0
#define SAMPLE_STEP     1.0   /* in standard errors of the sample, which are larger than those of all rows */
#define SURE_STEP       1e-3  /* in standard errors: from here on the next one's size can be foretold */
#define SURE_REST       1e-10 /* and this small it is not looked at */

typedef struct newton
{
	pe_linear *l;
	pe_row_view view;
	size_t n;
	double *trial;
	double *step;
	pe_normal now; /* at l->beta */
	pe_normal next;
	double ridge;
	bool automatic_ridge;
	bool converged;
} newton;

static bool
accumulate(newton *w, const double *beta, pe_sum_kind kind, pe_normal *normal)
{
	if (!pe_accumulate(w->l->accumulator, &w->view, beta, kind, normal))
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
	pe_linear *l = w->l;

	memcpy(l->factor, w->now.hessian, w->n * (w->n + 1) / 2 * sizeof(double));
	memcpy(l->skip, l->aliased, w->n * sizeof(bool));
	if (!pe_cholesky(l->fit->pool, l->factor, w->n, 0, l->skip))
		return false;
	*collapsed = false;
	for (size_t i = 0; i < w->n; i++)
		if (l->skip[i] && !l->aliased[i])
			*collapsed = l->separated[i] = true;
	return true;
}

/* The columns that are aliased: all weights are above 0 here. */
static pe_status
find_aliases(newton *w)
{
	pe_linear *l = w->l;

	pe_mark_constants(l);
	memcpy(l->factor, w->now.hessian, w->n * (w->n + 1) / 2 * sizeof(double));
	if (!pe_cholesky(l->fit->pool, l->factor, w->n, ALIAS_TOLERANCE, l->aliased))
		return pe_linear_cancelled(l);
	return PE_OK;
}

void
pe_mark_constants(pe_linear *l)
{
	for (size_t i = 0; i < l->n; i++)
		l->aliased[i] = l->columns[i].dense > 0 && l->design.features[l->columns[i].feature].deviation == 0;
}

pe_status
pe_say_aliases(const pe_linear *l)
{
	bool any = false;

	for (size_t i = 1; i < l->n; i++)
	{
		char text[256];
		pe_status status;

		any |= !l->aliased[i];
		if (!l->aliased[i])
			continue;
		pe_describe_column(l, i, text, sizeof(text));
		status = pe_model_add_note(l->fit->model, l->fit->err,
		                           l->columns[i].dense > 0 &&
		                                   l->design.features[l->columns[i].feature].deviation == 0
		                               ? "%s: left out, it has one value only"
		                               : "%s: left out, the features before it determine it",
		                           text);
		if (status != PE_OK)
			return status;
	}
	if (any)
		return PE_OK;
	pe_fail(l->fit->err, PE_INVALID_DATA, "no feature has two different values in the training rows");
	pe_error_hint(l->fit->err, "Add columns that differ between profiles, or more rows.");
	return PE_INVALID_DATA;
}

/* The size of one standard error where the dispersion is not 1. */
static double
error_unit(const newton *w)
{
	if (!pe_response_dispersed(&w->l->response))
		return 1;
	return sqrt(-2 * w->now.objective / w->view.n) + 1e-300;
}

/* The standard error of a column on the standardised scale; factor must be current. */
static double
column_error(pe_linear *l, size_t column)
{
	memset(l->column, 0, l->n * sizeof(double));
	l->column[column] = 1;
	pe_solve_lower(l->factor, l->n, l->skip, l->column);
	return sqrt(pe_dot(l->column, l->column, l->n));
}

static bool
find_separation(newton *w)
{
	pe_linear *l = w->l;
	bool found = false;
	double unit = error_unit(w);

	if (l->response.distribution == PE_GAUSSIAN || l->response.distribution == PE_GAMMA || w->ridge > 0)
		return false;
	for (size_t i = 1; i < w->n; i++)
		if (!l->skip[i] && fabs(l->beta[i]) > SEPARATED_SIZE &&
		    unit * column_error(l, i) > SEPARATED_ERROR * fabs(l->beta[i]))
			found = l->separated[i] = true;
	return found;
}

static double
largest_relative_step(const newton *w)
{
	double largest = 0;

	for (size_t i = 0; i < w->n; i++)
	{
		double relative = fabs(w->step[i]) / (fabs(w->l->beta[i]) + 1);

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
			w->trial[i] = w->l->beta[i] + length * w->step[i];
		if (!accumulate(w, w->trial, PE_SUM_HESSIAN, &w->next))
			return pe_linear_cancelled(w->l);
		*moved = w->next.objective >= w->now.objective - 1e-12 * fabs(w->now.objective);
	}
	if (!*moved)
		return PE_OK;
	swap = w->now;
	w->now = w->next;
	w->next = swap;
	memcpy(w->l->beta, w->trial, w->n * sizeof(double));
	return PE_OK;
}

/*
 * A step so small that the Hessian it leads to is the one at hand, to rounding, and what is
 * left after it nothing: taken without another pass over the rows. Quadratic convergence
 * tells what is left from this step and the one before.
 */
static bool
take_sure_step(newton *w, double decrement, double before, double unit)
{
	double size = decrement / unit;

	if (w->view.n < SAMPLED_ROWS || !(size < SURE_STEP) ||
	    !(size <= SURE_REST || size / (before / unit) / (before / unit) * size * size <= SURE_REST))
		return false;
	for (size_t i = 0; i < w->n; i++)
		w->l->beta[i] += w->step[i];
	w->now.objective += decrement * decrement / 2;
	w->converged = true;
	return true;
}

/*
 * From beta on until a step is small in units of standard errors. As the method converges
 * quadratically, what remains after a step of 1e-3 times the tolerance's root is far below
 * the tolerance, and the coefficients are exact to rounding.
 */
static pe_status
iterate(newton *w, bool *separated)
{
	pe_linear *l = w->l;
	const pe_options *options = l->fit->options;
	double enough = fmax(options->tolerance, 1e-3 * sqrt(options->tolerance)), before = 0;

	if (w->view.n < l->all.n)
		enough = SAMPLE_STEP;
	*separated = false;
	w->converged = false;
	for (l->iterations = 1; l->iterations <= options->max_iterations; l->iterations++)
	{
		double decrement, unit = error_unit(w);
		bool moved, collapsed;
		pe_status status;

		pe_team_phase(l->fit->pool, "fit", (uint64_t) l->iterations, 0);
		if (!factorise(w, &collapsed))
			return pe_linear_cancelled(l);
		if ((collapsed && w->ridge == 0) || (l->iterations > SEPARATION_STEP && find_separation(w)))
		{
			*separated = true;
			return PE_OK;
		}
		memcpy(w->step, w->now.gradient, w->n * sizeof(double));
		pe_solve_lower(l->factor, w->n, l->skip, w->step);
		decrement = sqrt(pe_dot(w->step, w->step, w->n));
		pe_solve_upper(l->factor, w->n, l->skip, w->step);
		if (!isfinite(decrement))
			break;
		w->converged = decrement <= enough * unit || largest_relative_step(w) <= 1e-15;
		if (take_sure_step(w, decrement, before, unit))
			break;
		before = decrement;
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
	if (l->iterations > options->max_iterations)
		l->iterations = options->max_iterations;
	return PE_OK;
}

static void
begin_at_mean(newton *w)
{
	const pe_split_rows *rows = w->l->fit->rows;

	memset(w->l->beta, 0, w->n * sizeof(double));
	w->l->beta[0] = pe_response_margin(&w->l->response, rows->train_sum / rows->train_weight);
}

/*
 * Newton on every k-th row; beta is then where the rest begins, or unchanged. The ridge
 * keeps levels that the sample hardly has from running far off.
 */
static pe_status
begin_on_sample(newton *w)
{
	pe_linear *l = w->l;
	const pe_split_rows *rows = l->fit->rows;
	uint32_t *sample, n = SAMPLE_ROWS;
	bool separated = true;
	pe_status status;

	while (n < w->n * 100)
		n *= 2;
	if (rows->n_train / 5 < n)
		return PE_OK;
	if ((sample = pe_alloc(l->fit->env, n * sizeof(*sample))) == NULL)
		return pe_fail_memory(l->fit->err);
	for (uint32_t i = 0; i < n; i++)
		sample[i] = rows->train[(uint64_t) i * rows->n_train / n];
	w->view = (pe_row_view){sample, n, NULL, 0, false};
	w->ridge = fmax(w->ridge, SAMPLE_RIDGE);
	if (!accumulate(w, l->beta, PE_SUM_HESSIAN, &w->now))
		status = pe_linear_cancelled(l);
	else if ((status = find_aliases(w)) == PE_OK)
		status = iterate(w, &separated);
	w->view = l->all;
	w->ridge = l->fit->options->l2;
	pe_free(l->fit->env, sample);
	/* What only the sample separates must not be the start: begin as without it. */
	if (separated || !w->converged)
		begin_at_mean(w);
	memset(l->separated, 0, w->n * sizeof(bool));
	return status;
}

static pe_status
begin(newton *w)
{
	pe_linear *l = w->l;
	pe_status status;
	bool again = false;

	begin_at_mean(w);
	if ((status = begin_on_sample(w)) != PE_OK)
		return status;
	if (!accumulate(w, l->beta, PE_SUM_HESSIAN, &w->now))
		return pe_linear_cancelled(l);
	if ((status = find_aliases(w)) != PE_OK)
		return status;
	for (size_t i = 1; i < w->n; i++)
		if (l->aliased[i] && l->beta[i] != 0)
		{
			l->beta[i] = 0;
			again = true;
		}
	if (again && !accumulate(w, l->beta, PE_SUM_HESSIAN, &w->now))
		return pe_linear_cancelled(l);
	return PE_OK;
}

static pe_status
say_separation(const newton *w)
{
	const pe_linear *l = w->l;
	char text[256] = "";
	int count = 0;

	for (size_t i = 1; i < w->n; i++)
		if (l->separated[i] && count++ == 0)
			pe_describe_column(l, i, text, sizeof(text));
	return pe_model_add_note(
	    l->fit->model, l->fit->err,
	    "%s%s: %s, so its coefficient has no finite estimate; a ridge penalty of %g keeps all "
	    "coefficients finite",
	    text, count > 1 ? " and others" : "",
	    l->response.distribution == PE_BINOMIAL ? "separates the classes" : "tells apart rows of target 0",
	    AUTOMATIC_RIDGE);
}

/* At the coefficients arrived at: what standard errors, dispersion and likelihood need. */
static pe_status
finish(newton *w)
{
	pe_linear *l = w->l;
	bool collapsed, known = l->response.distribution == PE_BINOMIAL;

	if (!known && !accumulate(w, l->beta, PE_SUM_EXPECTED, &w->now))
		return pe_linear_cancelled(l);
	if (!factorise(w, &collapsed))
		return pe_linear_cancelled(l);
	l->sums = w->now.sums;
	l->objective = w->now.objective;
	for (size_t i = 1; i < w->n; i++)
		l->objective += w->ridge * l->beta[i] * l->beta[i] / 2;
	l->penalised = w->ridge > 0 && !w->automatic_ridge;
	if (!w->converged)
		return pe_model_add_note(l->fit->model, l->fit->err, "not converged after %d iterations",
		                         l->iterations);
	return PE_OK;
}

static pe_status
solve(newton *w)
{
	bool separated;
	pe_status status;

	if ((status = begin(w)) != PE_OK || (status = pe_say_aliases(w->l)) != PE_OK ||
	    (status = iterate(w, &separated)) != PE_OK)
		return status;
	if (separated && w->ridge == 0)
	{
		w->ridge = AUTOMATIC_RIDGE;
		w->automatic_ridge = true;
		begin_at_mean(w);
		if ((status = say_separation(w)) != PE_OK)
			return status;
		if (!accumulate(w, w->l->beta, PE_SUM_HESSIAN, &w->now))
			return pe_linear_cancelled(w->l);
		if ((status = iterate(w, &separated)) != PE_OK)
			return status;
	}
	return finish(w);
}

pe_status
pe_newton(pe_linear *l)
{
	const pe_env *env = l->fit->env;
	size_t n = l->n, packed = n * (n + 1) / 2;
	newton w = {.l = l, .view = l->all, .n = n, .ridge = l->fit->options->l2};
	pe_status status;

	w.trial = pe_calloc(env, n, sizeof(double));
	w.step = pe_calloc(env, n, sizeof(double));
	w.now.gradient = pe_calloc(env, n, sizeof(double));
	w.now.hessian = pe_calloc(env, packed, sizeof(double));
	w.next.gradient = pe_calloc(env, n, sizeof(double));
	w.next.hessian = pe_calloc(env, packed, sizeof(double));
	if (w.trial == NULL || w.step == NULL || w.now.gradient == NULL || w.now.hessian == NULL ||
	    w.next.gradient == NULL || w.next.hessian == NULL)
		status = pe_fail_memory(l->fit->err);
	else
		status = solve(&w);
	pe_free(env, w.trial);
	pe_free(env, w.step);
	pe_free(env, w.now.gradient);
	pe_free(env, w.now.hessian);
	pe_free(env, w.next.gradient);
	pe_free(env, w.next.hessian);
	return status;
}
