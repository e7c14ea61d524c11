/*
 * multinomial.c
 *		Softmax regression: Newton's method while there are few coefficients, else L-BFGS.
 *
 * Without a penalty the first class is the baseline, its coefficients 0, as in R's multinom.
 * With a ridge penalty no class is special: all have coefficients, and of each column
 * they sum to 0.
 *
 * L-BFGS (Nocedal and Wright, algorithm 7.4) begins each step from Boehning's bound on the
 * Hessian (1992): half the products of the columns, which has to be factored once.
 */
#include "model/linalg.h"
#include "model/linear/linear.h"
#include "model/linear/multinomial.h"
#include "model/linear/softmax.h"

#define ALIAS_TOLERANCE 1e-10
#define AUTOMATIC_RIDGE 0.01
#define SEPARATED_SIZE  10.0 /* as newton.c: a coefficient this large ... */
#define SEPARATED_ERROR 3.0  /* with an error this many times itself runs to infinity */
#define RUNAWAY_SIZE    30.0 /* without an error to look at */
#define SEPARATION_STEP 6
#define MOST_NEWTON     1000 /* coefficients */
#define ENOUGH_LBFGS    1e-5 /* of a standard error */
#define PAIRS           10   /* of steps and changes of the gradient that L-BFGS remembers */

typedef struct multi
{
	pe_linear *l;
	pe_softmax_sums *sums;
	int classes;
	size_t n;   /* columns */
	size_t all; /* classes x n */
	bool newton;
	double *beta; /* [class][column] */
	double *trial;
	double *gradient;
	double *next;
	double *step;
	double *hessian; /* packed all; NULL without Newton */
	double *factor;
	double *column; /* all, for solving */
	bool *fixed;
	bool *skip;
	double *pairs; /* [PAIRS][2][all]: steps, changes */
	double rho[PAIRS];
	int n_pairs;
	double objective;
	double ridge;
	bool automatic_ridge;
	bool converged;
} multi;

static bool
accumulate(multi *w, const double *beta, double *objective, double *gradient)
{
	if (!pe_softmax_accumulate(w->sums, beta, objective, gradient, w->hessian))
		return false;
	for (size_t i = 0; i < w->all; i++)
	{
		if (i % w->n != 0)
		{
			*objective -= w->ridge * beta[i] * beta[i] / 2;
			gradient[i] -= w->ridge * beta[i];
			if (w->newton)
				w->hessian[pe_packed(i, i)] += w->ridge;
		}
		if (w->fixed[i])
			gradient[i] = 0;
	}
	return true;
}

/* ---- directions ----------------------------------------------------------------------- */

/* False when the tick asked to stop; *collapsed: a coefficient lost all its weight. */
static bool
newton_direction(multi *w, bool *collapsed)
{
	memcpy(w->factor, w->hessian, w->all * (w->all + 1) / 2 * sizeof(double));
	memcpy(w->skip, w->fixed, w->all * sizeof(bool));
	if (!pe_cholesky(w->l->fit->pool, w->factor, w->all, 1e-14, w->skip))
		return false;
	*collapsed = false;
	for (size_t i = 0; i < w->all; i++)
		if (w->skip[i] && !w->fixed[i])
			*collapsed = w->l->separated[i % w->n] = true;
	memcpy(w->step, w->gradient, w->all * sizeof(double));
	pe_solve_lower(w->factor, w->all, w->skip, w->step);
	pe_solve_upper(w->factor, w->all, w->skip, w->step);
	return true;
}

/* step: the inverse of the bound times itself. */
static void
precondition(multi *w)
{
	double *step = w->step, *sum = w->column;
	bool baseline = w->ridge == 0;

	memset(sum, 0, w->n * sizeof(double));
	for (int k = 0; k < w->classes && baseline; k++)
		pe_add_scaled(sum, 1, step + k * w->n, w->n);
	for (int k = 0; k < w->classes; k++)
	{
		double *own = step + k * w->n;

		if (baseline)
			pe_add_scaled(own, 1, sum, w->n);
		pe_solve_lower(w->l->factor, w->n, w->l->aliased, own);
		pe_solve_upper(w->l->factor, w->n, w->l->aliased, own);
		for (size_t i = 0; i < w->n; i++)
			own[i] = w->fixed[k * w->n + i] ? 0 : own[i] * (baseline ? 2 : 1);
	}
}

static void
lbfgs_direction(multi *w)
{
	double alpha[PAIRS];

	memcpy(w->step, w->gradient, w->all * sizeof(double));
	for (int i = w->n_pairs - 1; i >= 0; i--)
	{
		const double *s = w->pairs + (size_t) i * 2 * w->all, *y = s + w->all;

		alpha[i] = w->rho[i] * pe_dot(s, w->step, w->all);
		pe_add_scaled(w->step, -alpha[i], y, w->all);
	}
	precondition(w);
	for (int i = 0; i < w->n_pairs; i++)
	{
		const double *s = w->pairs + (size_t) i * 2 * w->all, *y = s + w->all;

		pe_add_scaled(w->step, alpha[i] - w->rho[i] * pe_dot(y, w->step, w->all), s, w->all);
	}
}

/* The step from beta to trial, and what it did to the gradient. */
static void
remember(multi *w)
{
	double *s, product;

	if (w->n_pairs == PAIRS)
	{
		memmove(w->pairs, w->pairs + 2 * w->all, (PAIRS - 1) * 2 * w->all * sizeof(double));
		memmove(w->rho, w->rho + 1, (PAIRS - 1) * sizeof(double));
		w->n_pairs--;
	}
	s = w->pairs + (size_t) w->n_pairs * 2 * w->all;
	for (size_t i = 0; i < w->all; i++)
	{
		s[i] = w->trial[i] - w->beta[i];
		s[w->all + i] = w->gradient[i] - w->next[i];
	}
	product = pe_dot(s, s + w->all, w->all);
	if (product > 0)
		w->rho[w->n_pairs++] = 1 / product;
}

/* ---- steps ---------------------------------------------------------------------------- */

static double
coefficient_error(multi *w, size_t at)
{
	memset(w->column, 0, w->all * sizeof(double));
	w->column[at] = 1;
	pe_solve_lower(w->factor, w->all, w->skip, w->column);
	return sqrt(pe_dot(w->column, w->column, w->all));
}

static bool
find_separation(multi *w)
{
	bool found = false;

	for (size_t i = 0; i < w->all && w->ridge == 0; i++)
		if (i % w->n != 0 && !w->fixed[i] && fabs(w->beta[i]) > (w->newton ? SEPARATED_SIZE : RUNAWAY_SIZE) &&
		    (!w->newton || coefficient_error(w, i) > SEPARATED_ERROR * fabs(w->beta[i])))
			found = w->l->separated[i % w->n] = true;
	return found;
}

/* Along the step as far as the objective rises enough; *moved says whether it did. */
static pe_status
take_step(multi *w, double rise, bool *moved)
{
	double length = 1, objective;

	*moved = false;
	for (int halving = 0; halving < 40 && !*moved; halving++, length /= 2)
	{
		memcpy(w->trial, w->beta, w->all * sizeof(double));
		pe_add_scaled(w->trial, length, w->step, w->all);
		if (!accumulate(w, w->trial, &objective, w->next))
			return pe_linear_cancelled(w->l);
		*moved = objective >= w->objective + 1e-4 * length * rise - 1e-13 * fabs(w->objective);
	}
	if (!*moved)
		return PE_OK;
	if (!w->newton)
		remember(w);
	memcpy(w->beta, w->trial, w->all * sizeof(double));
	memcpy(w->gradient, w->next, w->all * sizeof(double));
	w->objective = objective;
	return PE_OK;
}

static pe_status
iterate(multi *w, bool *separated)
{
	pe_linear *l = w->l;
	const pe_options *options = l->fit->options;
	double enough = fmax(options->tolerance, 1e-3 * sqrt(options->tolerance));
	int most = w->newton ? options->max_iterations : 10 * options->max_iterations;

	if (!w->newton)
		enough = fmax(enough, ENOUGH_LBFGS);
	*separated = w->converged = false;
	w->n_pairs = 0;
	if (!accumulate(w, w->beta, &w->objective, w->gradient))
		return pe_linear_cancelled(l);
	for (l->iterations = 1; l->iterations <= most && !w->converged; l->iterations++)
	{
		bool moved, collapsed = false;
		double rise;
		pe_status status;

		pe_team_phase(l->fit->pool, "fit", (uint64_t) l->iterations, 0);
		if (!w->newton)
			lbfgs_direction(w);
		else if (!newton_direction(w, &collapsed))
			return pe_linear_cancelled(l);
		if ((collapsed && w->ridge == 0) || (l->iterations > SEPARATION_STEP && find_separation(w)))
		{
			*separated = true;
			return PE_OK;
		}
		rise = pe_dot(w->gradient, w->step, w->all);
		if (!isfinite(rise))
			break;
		w->converged = sqrt(fmax(rise, 0)) <= enough;
		if ((status = take_step(w, rise, &moved)) != PE_OK)
			return status;
		if (!moved)
		{
			/* As near as rounding lets it come. */
			w->converged = sqrt(fmax(rise, 0)) <= 1e-4;
			break;
		}
	}
	return PE_OK;
}

/* ---- before and after ----------------------------------------------------------------- */

/* The products of the columns: who is aliased, and the factor of the bound. */
static pe_status
prepare_columns(multi *w)
{
	pe_linear *l = w->l;
	pe_normal normal = {.gradient = w->column, .hessian = l->factor};
	pe_response gaussian = {PE_GAUSSIAN, 0};

	if (l->accumulator == NULL &&
	    (l->accumulator = pe_accumulator_create(l->fit, &l->design, &gaussian)) == NULL)
		return pe_fail_memory(l->fit->err);
	memset(w->trial, 0, w->n * sizeof(double));
	if (!pe_accumulate(l->accumulator, &l->all, w->trial, PE_SUM_HESSIAN, &normal))
		return pe_linear_cancelled(l);
	for (size_t i = 0; i < w->n && w->ridge > 0; i++)
	{
		for (size_t j = 0; j <= i; j++)
			l->factor[pe_packed(i, j)] /= 2;
		l->factor[pe_packed(i, i)] += i > 0 ? w->ridge : 0;
	}
	/* Once found, the same ones stay out. */
	return pe_cholesky(l->fit->pool, l->factor, w->n, w->ridge > 0 ? 0 : ALIAS_TOLERANCE, l->aliased)
	           ? PE_OK
	           : pe_linear_cancelled(l);
}

/* The classes' shares, and all else 0. */
static void
begin(multi *w)
{
	const pe_split_rows *rows = w->l->fit->rows;

	memset(w->beta, 0, w->all * sizeof(double));
	for (int k = 0; k < w->classes; k++)
	{
		w->beta[k * w->n] = log(rows->class_weights[k] / rows->class_weights[0]);
		for (size_t i = 0; i < w->n; i++)
			w->fixed[k * w->n + i] = w->l->aliased[i] || (k == 0 && (i == 0 || w->ridge == 0));
	}
}

static pe_status
solve(multi *w)
{
	pe_linear *l = w->l;
	bool separated;
	pe_status status;
	char text[256] = "";

	pe_mark_constants(l);
	if ((status = prepare_columns(w)) != PE_OK || (status = pe_say_aliases(l)) != PE_OK)
		return status;
	begin(w);
	if ((status = iterate(w, &separated)) != PE_OK)
		return status;
	if (separated)
	{
		for (size_t i = 1; i < w->n && text[0] == '\0'; i++)
			if (l->separated[i])
				pe_describe_column(l, i, text, sizeof(text));
		w->ridge = AUTOMATIC_RIDGE;
		status = pe_model_add_note(l->fit->model, l->fit->err,
		                           "%s: separates the classes, so its coefficient has no finite estimate; a "
		                           "ridge penalty of %g keeps all coefficients finite",
		                           text[0] != '\0' ? text : "the features", AUTOMATIC_RIDGE);
		if (status != PE_OK || (status = prepare_columns(w)) != PE_OK)
			return status;
		begin(w);
		if ((status = iterate(w, &separated)) != PE_OK)
			return status;
	}
	if (!w->converged)
		return pe_model_add_note(l->fit->model, l->fit->err, "not converged after %d iterations",
		                         l->iterations - 1);
	return PE_OK;
}

/* With a penalty only differences of intercepts are determined: they sum to 0 then, as slopes do. */
static void
centre(multi *w)
{
	for (size_t i = 0; i < w->n; i++)
	{
		double mean = 0;

		for (int k = 0; k < w->classes; k++)
			mean += w->beta[k * w->n + i] / w->classes;
		for (int k = 0; k < w->classes; k++)
			w->beta[k * w->n + i] -= mean;
	}
}

static double
intercept_error(multi *w, int class)
{
	memset(w->column, 0, w->all * sizeof(double));
	for (size_t i = 0; i < w->n; i++)
	{
		const pe_column *column = &w->l->columns[i];
		const pe_design_feature *from = column->dense > 0 ? &w->l->design.features[column->feature] : NULL;

		w->column[class * w->n + i] = i == 0                                ? 1
		                              : from != NULL && from->deviation > 0 ? -(from->mean / from->deviation)
		                                                                    : 0;
	}
	pe_solve_lower(w->factor, w->all, w->skip, w->column);
	return sqrt(pe_dot(w->column, w->column, w->all));
}

static void
store_class(multi *w, int class, bool errors, pe_term *terms, double *intercept)
{
	const pe_linear *l = w->l;

	*intercept = w->beta[class * w->n];
	for (size_t i = 0; i < w->n; i++)
	{
		pe_term *term = &terms[i];
		const pe_design_feature *from =
		    l->columns[i].dense > 0 ? &l->design.features[l->columns[i].feature] : NULL;
		double deviation = from != NULL ? from->deviation : 1, error;

		term->feature = l->columns[i].feature;
		term->slot = l->columns[i].slot;
		term->class = class;
		term->aliased = l->aliased[i];
		term->standard_error = term->statistic = term->p_value = NAN;
		if (term->aliased)
			continue;
		term->estimate = w->beta[class * w->n + i] / deviation;
		if (from != NULL)
			*intercept -= w->beta[class * w->n + i] * (from->mean / deviation);
		if (!errors || i == 0)
			continue;
		error = coefficient_error(w, class * w->n + i) / deviation;
		term->standard_error = error;
		term->statistic = term->estimate / error;
		term->p_value = pe_normal_p(term->statistic);
	}
	terms[0].estimate = *intercept;
	if (!errors)
		return;
	terms[0].standard_error = intercept_error(w, class);
	terms[0].statistic = *intercept / terms[0].standard_error;
	terms[0].p_value = pe_normal_p(terms[0].statistic);
}

/* The terms again as predict and explain want them; levels never seen count as the average. */
static void
spread_terms(const multi *w, const pe_term *terms, int class)
{
	pe_model *model = w->l->fit->model;
	pe_multinomial_own *own = model->own;
	size_t classes = (size_t) w->classes;

	for (size_t i = 1; i < w->n; i++)
	{
		size_t slot = terms[i].slot < 0 ? 0 : (size_t) terms[i].slot;

		own->numbers[own->offsets[terms[i].feature] + slot * classes + class] = terms[i].estimate;
		model->features[terms[i].feature].used |= terms[i].estimate != 0;
	}
	for (int i = 0; i < model->n_features; i++)
	{
		const pe_feature *feature = &model->features[i];
		const double *weights = w->l->design.features[i].weights;
		double *numbers = own->numbers + own->offsets[i] + class, total = 0, mean = 0;

		if (feature->kind != PE_FEATURE_CATEGORICAL)
			continue;
		for (int slot = 0; slot < feature->n_levels + 2; slot++)
		{
			total += weights[slot];
			mean += weights[slot] * numbers[slot * classes];
		}
		mean /= total;
		for (int slot = 0; slot < feature->n_levels + 2; slot++)
			if (!(weights[slot] > 0))
				numbers[slot * classes] = mean;
		numbers[(feature->n_levels + 2) * classes] = mean;
	}
}

static void
store_fit(const multi *w)
{
	pe_model *model = w->l->fit->model;
	const pe_split_rows *rows = w->l->fit->rows;
	double null = 0, penalty = 0, free = 0;

	for (int k = 0; k < w->classes; k++)
		null += rows->class_weights[k] * log(rows->class_weights[k] / rows->train_weight);
	for (size_t i = 0; i < w->all; i++)
	{
		penalty += i % w->n != 0 ? w->ridge * w->beta[i] * w->beta[i] / 2 : 0;
		free += !w->fixed[i];
	}
	model->iterations = w->l->iterations - 1;
	model->log_likelihood = w->objective + penalty;
	model->deviance = -2 * model->log_likelihood;
	model->null_deviance = -2 * null;
	model->dispersion = 1;
	if (w->ridge == 0)
		model->aic = model->deviance + 2 * free;
}

static pe_status
store(multi *w)
{
	pe_fit *fit = w->l->fit;
	pe_model *model = fit->model;
	bool errors = w->newton && w->ridge == 0, collapsed;
	pe_multinomial_own *own;

	if (w->newton && !newton_direction(w, &collapsed))
		return pe_linear_cancelled(w->l);
	store_fit(w);
	if (w->ridge > 0)
		centre(w);
	if ((own = model->own = pe_multinomial_own_create(&model->env, model)) == NULL ||
	    (own->numbers = pe_calloc(&model->env, own->count, sizeof(double))) == NULL ||
	    (model->terms = pe_calloc(&model->env, w->all, sizeof(*model->terms))) == NULL)
		return pe_fail_memory(fit->err);
	for (int i = 0; i < model->n_features; i++)
	{
		model->features[i].fill = w->l->design.features[i].fill;
		model->features[i].mean = w->l->design.features[i].mean;
	}
	/* The baseline has nothing but zeros to show. */
	for (int k = w->ridge > 0 ? 0 : 1; k < w->classes; k++)
	{
		pe_term *terms = model->terms + model->n_terms;

		store_class(w, k, errors, terms, &own->numbers[k]);
		spread_terms(w, terms, k);
		model->n_terms += (uint32_t) w->n;
		if (pe_team_poll(fit->pool, 0))
			return pe_linear_cancelled(w->l);
	}
	return w->ridge > 0
	           ? pe_model_add_note(
	                 model, fit->err,
	                 "of each column the coefficients of the classes sum to 0, as its penalty has it")
	           : pe_model_add_note(model, fit->err, "coefficients are relative to the class %s",
	                               model->classes[0]);
}

static bool
allocate(multi *w)
{
	const pe_env *env = w->l->fit->env;
	size_t all = w->all, packed = w->newton ? all * (all + 1) / 2 : 0;

	w->sums = pe_softmax_create(w->l, w->classes, w->newton);
	w->beta = pe_calloc(env, all, sizeof(double));
	w->trial = pe_calloc(env, all, sizeof(double));
	w->gradient = pe_calloc(env, all, sizeof(double));
	w->next = pe_calloc(env, all, sizeof(double));
	w->step = pe_calloc(env, all, sizeof(double));
	w->column = pe_calloc(env, all, sizeof(double));
	w->hessian = w->newton ? pe_calloc(env, packed, sizeof(double)) : NULL;
	w->factor = pe_calloc(env, packed, sizeof(double));
	w->fixed = pe_calloc(env, all, sizeof(bool));
	w->skip = pe_calloc(env, all, sizeof(bool));
	w->pairs = pe_calloc(env, w->newton ? 0 : 2 * PAIRS * all, sizeof(double));
	return w->sums != NULL && w->beta != NULL && w->trial != NULL && w->gradient != NULL && w->next != NULL &&
	       w->step != NULL && w->column != NULL && (!w->newton || w->hessian != NULL) && w->factor != NULL &&
	       w->fixed != NULL && w->skip != NULL && w->pairs != NULL;
}

pe_status
pe_multinomial(pe_linear *l)
{
	const pe_env *env = l->fit->env;
	multi w = {.l = l, .classes = l->fit->model->n_classes, .n = l->n, .ridge = l->fit->options->l2};
	pe_status status;

	w.all = (size_t) w.classes * w.n;
	w.newton = w.all <= MOST_NEWTON;
	status = allocate(&w) ? solve(&w) : pe_fail_memory(l->fit->err);
	if (status == PE_OK)
		status = store(&w);
	pe_softmax_free(w.sums);
	pe_free(env, w.beta);
	pe_free(env, w.trial);
	pe_free(env, w.gradient);
	pe_free(env, w.next);
	pe_free(env, w.step);
	pe_free(env, w.column);
	pe_free(env, w.hessian);
	pe_free(env, w.factor);
	pe_free(env, w.fixed);
	pe_free(env, w.skip);
	pe_free(env, w.pairs);
	return status;
}
