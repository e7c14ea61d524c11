/*
 * elastic_net.c
 *		The elastic net: coefficients that make
 *
 *			deviance / (2 W) + lambda (l1_ratio |b|_1 + (1 - l1_ratio) / 2 |b|^2)
 *
 *		least, W being the rows' weight and b the coefficients of columns scaled to
 *		deviation 1, dummies too; the intercept is free. From the lambda that leaves no
 *		coefficient down to a ten-thousandth of it, each beginning where the one before
 *		ended, and the lambda to keep by cross-validation.
 *
 * The parametrisation and the path are those of Friedman, Hastie and Tibshirani 2010. A
 * lambda's problem is solved by proximal Newton steps: the deviance as a quadratic in b,
 * which coordinate descent makes least on the Hessian alone (quadratic.c), until the
 * subgradient conditions hold. The Hessian is computed anew only when steps stop helping;
 * least squares need it once, and no further pass over the rows.
 */
#include "model/linalg.h"
#include "model/linear/linear.h"
#include "model/linear/quadratic.h"

#define LEAST_RATIO     1e-4 /* of the path's ends, with more rows than columns */
#define LEAST_RATIO_FEW 1e-2 /* and else */
#define PATH_TOLERANCE  1e-3 /* of lambda, for the subgradient conditions: of a path */
#define FINAL_TOLERANCE 1e-9 /* of the coefficients that are kept */
#define LEAST_L1_RATIO                                                                                       \
	1e-3 /* of what a path begins at: ridge alone leaves no coefficient at infinity only                     \
	      */
#define MOST_STEPS      100
#define ENOUGH_DEVIANCE 0.999 /* a path ends where this share is explained */
#define LEAST_GAIN      1e-5  /* or where the next point explains less than this share more */
#define LEAST_POINTS    5

typedef struct net
{
	pe_linear *l;
	pe_row_view view;
	double weight; /* of the view */
	double *scale; /* by column: deviation on the design's scale; 0: stays out */
	double *beta;  /* on the design's scale, where normal is */
	double *trial;
	pe_normal now;
	pe_normal next;
	pe_normal held; /* of the held-out rows at held_beta; gaussian only */
	double *held_beta;
	pe_quadratic quadratic;
	size_t m;       /* columns in the quadratic */
	size_t *member; /* -> column */
	double *product;
	double largest; /* the lambda from which on no coefficient is left */
	bool fresh;     /* the quadratic has now's Hessian */
} net;

/* ---- lambdas -------------------------------------------------------------------------- */

/* The gradient of member k by its scaled coefficient, per unit of weight. */
static double
slope_of(const net *w, size_t k)
{
	return w->now.gradient[w->member[k]] / w->scale[w->member[k]] / w->weight;
}

static double
largest_lambda(const net *w, double l1_ratio)
{
	double largest = 0;

	for (size_t k = 0; k < w->m; k++)
		largest = fmax(largest, fabs(slope_of(w, k)));
	return largest / fmax(l1_ratio, LEAST_L1_RATIO);
}

static double
penalty(const net *w, const double *beta, double lambda, double l1_ratio)
{
	double sum = 0;

	for (size_t k = 0; k < w->m; k++)
	{
		double b = beta[w->member[k]] * w->scale[w->member[k]];

		sum += l1_ratio * fabs(b) + (1 - l1_ratio) / 2 * b * b;
	}
	return lambda * sum;
}

/* By how much the subgradient conditions are missed, intercept included. */
static double
violation(const net *w, double lambda, double l1_ratio)
{
	double worst = fabs(w->now.gradient[0]) / w->weight;

	for (size_t k = 0; k < w->m; k++)
	{
		double b = w->beta[w->member[k]] * w->scale[w->member[k]], slope = slope_of(w, k);
		double off = b == 0 ? fabs(slope) - lambda * l1_ratio
		                    : fabs(slope - lambda * (1 - l1_ratio) * b - copysign(lambda * l1_ratio, b));

		worst = off > worst ? off : worst;
	}
	return worst;
}

/* ---- steps ---------------------------------------------------------------------------- */

/*
 * The Hessian among scaled columns once the intercept is at its best: the intercept's own
 * row and column are eliminated.
 */
static void
take_hessian(net *w)
{
	const double *h = w->now.hessian;

	for (size_t j = 0; j < w->m; j++)
		for (size_t k = 0; k <= j; k++)
		{
			size_t a = w->member[j], b = w->member[k];
			double value = h[pe_packed(a, b)] - h[pe_packed(a, 0)] * (h[pe_packed(b, 0)] / h[0]);

			pe_quadratic_set(&w->quadratic, j, k, value / (w->scale[a] * w->scale[b]) / w->weight);
		}
	w->fresh = true;
}

/* trial: where the quadratic at beta with the penalty is least. */
static bool
propose(net *w, double lambda, double l1_ratio, double tolerance)
{
	const double *h = w->now.hessian;
	double shift;

	for (size_t k = 0; k < w->m; k++)
	{
		size_t column = w->member[k];
		double slope = w->now.gradient[column] - h[pe_packed(column, 0)] * (w->now.gradient[0] / h[0]);

		w->quadratic.b[k] = w->beta[column] * w->scale[column];
		w->quadratic.gradient[k] = slope / w->scale[column] / w->weight;
	}
	if (!pe_quadratic_solve(&w->quadratic, w->l->fit->pool, lambda * l1_ratio, lambda * (1 - l1_ratio),
	                        tolerance))
		return false;
	shift = w->now.gradient[0];
	memcpy(w->trial, w->beta, w->l->n * sizeof(double));
	for (size_t k = 0; k < w->m; k++)
	{
		size_t column = w->member[k];

		w->trial[column] = w->quadratic.b[k] / w->scale[column];
		shift -= h[pe_packed(column, 0)] * (w->trial[column] - w->beta[column]);
	}
	w->trial[0] += shift / h[0];
	return true;
}

/* product = hessian delta; returns delta' product. */
static double
multiply(const double *hessian, const double *delta, size_t n, double *product)
{
	for (size_t i = 0; i < n; i++)
		product[i] = 0;
	for (size_t i = 0; i < n; i++)
	{
		const double *row = hessian + pe_packed(i, 0);

		product[i] += pe_dot(row, delta, i + 1);
		if (delta[i] != 0)
			pe_add_scaled(product, delta[i], row, i);
	}
	return pe_dot(delta, product, n);
}

/* Least squares: the objective is the quadratic itself. */
static void
move_exactly(const net *w, pe_normal *normal, const double *from, const double *to, double *delta,
             double *product)
{
	double bend;

	for (size_t i = 0; i < w->l->n; i++)
		delta[i] = to[i] - from[i];
	bend = multiply(normal->hessian, delta, w->l->n, product);
	normal->objective += pe_dot(normal->gradient, delta, w->l->n) - bend / 2;
	for (size_t i = 0; i < w->l->n; i++)
		normal->gradient[i] -= product[i];
}

/* To trial, or half the way and again, until the penalised objective does not fall. */
static pe_status
move(net *w, double lambda, double l1_ratio, pe_sum_kind kind, bool *moved)
{
	pe_linear *l = w->l;
	double before = w->now.objective / w->weight - penalty(w, w->beta, lambda, l1_ratio), after;
	pe_normal swap;

	*moved = true;
	if (l->response.distribution == PE_GAUSSIAN)
	{
		move_exactly(w, &w->now, w->beta, w->trial, w->next.gradient, w->product);
		memcpy(w->beta, w->trial, l->n * sizeof(double));
		return PE_OK;
	}
	for (int halving = 0; halving < 30; halving++)
	{
		if (!pe_accumulate(l->accumulator, &w->view, w->trial, kind, &w->next))
			return pe_linear_cancelled(l);
		after = w->next.objective / w->weight - penalty(w, w->trial, lambda, l1_ratio);
		if (after >= before - 1e-13 * fabs(before))
		{
			/* A Hessian that was not summed is still the one before. */
			if (kind < PE_SUM_HESSIAN)
			{
				double *hessian = w->now.hessian;

				w->now.hessian = w->next.hessian;
				w->next.hessian = hessian;
			}
			swap = w->now;
			w->now = w->next;
			w->next = swap;
			memcpy(w->beta, w->trial, l->n * sizeof(double));
			w->fresh = kind < PE_SUM_HESSIAN;
			return PE_OK;
		}
		for (size_t i = 0; i < l->n; i++)
			w->trial[i] = (w->trial[i] + w->beta[i]) / 2;
	}
	*moved = false;
	return PE_OK;
}

/* From beta on to the solution at lambda; relative to it, or to the steepest slope, is how exact. */
static pe_status
solve_at(net *w, double lambda, double l1_ratio, double relative, bool *converged)
{
	double steepest = w->largest * fmax(l1_ratio, LEAST_L1_RATIO);
	double tolerance = fmax(relative * fmin(lambda, steepest), 1e-12 * steepest);
	double missed = violation(w, lambda, l1_ratio), before;
	pe_sum_kind kind = PE_SUM_GRADIENT;
	pe_status status;

	*converged = missed <= tolerance;
	for (int step = 0; step < MOST_STEPS && !*converged; step++)
	{
		bool moved;

		if (!w->fresh)
			take_hessian(w);
		if (!propose(w, lambda, l1_ratio, tolerance / 10))
			return pe_linear_cancelled(w->l);
		if ((status = move(w, lambda, l1_ratio, kind, &moved)) != PE_OK)
			return status;
		before = missed;
		missed = violation(w, lambda, l1_ratio);
		*converged = missed <= tolerance;
		w->l->iterations++;
		if (!moved && kind == PE_SUM_HESSIAN)
			break;
		kind = !moved || missed > 0.05 * before ? PE_SUM_HESSIAN : PE_SUM_GRADIENT;
		/* Not moved: the Hessian at hand is of another place; take the one of here. */
		if (!moved)
		{
			if (!pe_accumulate(w->l->accumulator, &w->view, w->beta, PE_SUM_HESSIAN, &w->now))
				return pe_linear_cancelled(w->l);
			w->fresh = false;
		}
	}
	return PE_OK;
}

/* All of a view at the mean: where every path begins. */
static pe_status
begin(net *w, const pe_row_view *view)
{
	pe_linear *l = w->l;
	double target = 0;

	w->view = *view;
	w->weight = 0;
	for (uint32_t i = 0; i < view->n; i++)
	{
		double weight = pe_dataset_weight(l->fit->dataset, view->rows[i]);

		if (view->folds != NULL && (view->folds[i] == view->fold) != view->inverse)
			continue;
		w->weight += weight;
		target += weight * pe_dataset_target(l->fit->dataset, view->rows[i]);
	}
	target /= w->weight;
	if ((l->response.distribution == PE_BINOMIAL && !(target > 0 && target < 1)) ||
	    (l->response.distribution != PE_GAUSSIAN && !(target > 0)))
	{
		pe_fail(l->fit->err, PE_INVALID_DATA, "without one fold, all targets are %s",
		        target > 0 ? "positive" : "0");
		pe_error_hint(l->fit->err, "Use fewer folds, more rows, or a lambda of your own.");
		return PE_INVALID_DATA;
	}
	memset(w->beta, 0, l->n * sizeof(double));
	w->beta[0] = pe_response_margin(&l->response, target);
	w->fresh = false;
	return pe_accumulate(l->accumulator, view, w->beta, PE_SUM_HESSIAN, &w->now) ? PE_OK
	                                                                             : pe_linear_cancelled(l);
}

/* ---- the path ------------------------------------------------------------------------- */

typedef struct path
{
	double *lambdas;
	double *betas; /* by point, l->n each: of all rows */
	pe_path_point *points;
	double *losses; /* by fold, then point: mean deviance of the held-out rows */
	double *fold_weights;
	uint8_t *folds; /* of the training rows */
	int n;
	int kept;
} path;

static void
lay_out_lambdas(net *w, path *p)
{
	const pe_options *options = w->l->fit->options;
	double ratio = w->view.n > w->m ? LEAST_RATIO : LEAST_RATIO_FEW;

	w->largest = largest_lambda(w, options->l1_ratio);
	if (options->lambda_choice == PE_LAMBDA_GIVEN)
	{
		p->n = 1;
		p->lambdas[0] = options->lambda;
		return;
	}
	for (int i = 0; i < p->n; i++)
		p->lambdas[i] = w->largest * pow(ratio, p->n > 1 ? (double) i / (p->n - 1) : 0);
}

static pe_status
follow_path(net *w, path *p)
{
	pe_linear *l = w->l;
	double ratio = l->fit->options->l1_ratio, before = 0;

	for (int i = 0; i < p->n; i++)
	{
		pe_path_point *point = &p->points[i];
		bool converged;
		pe_status status = solve_at(w, p->lambdas[i], ratio, PATH_TOLERANCE, &converged);

		if (status != PE_OK)
			return status;
		pe_team_phase(l->fit->pool, "fit", (uint64_t) i + 1, (uint64_t) p->n);
		memcpy(p->betas + i * l->n, w->beta, l->n * sizeof(double));
		point->lambda = p->lambdas[i];
		for (size_t k = 0; k < w->m; k++)
			point->nonzero += w->beta[w->member[k]] != 0;
		point->deviance_explained = 1 - w->now.objective / l->null_objective;
		point->cv_mean = point->cv_error = NAN;
		if (i + 1 >= LEAST_POINTS &&
		    (point->deviance_explained > ENOUGH_DEVIANCE ||
		     point->deviance_explained - before < LEAST_GAIN * point->deviance_explained))
		{
			p->n = i + 1;
			return PE_OK;
		}
		before = point->deviance_explained;
	}
	return PE_OK;
}

/* The folds of the training rows, which their keys decide. */
static pe_status
deal_folds(const net *w, path *p, int folds)
{
	const pe_fit *fit = w->l->fit;

	for (uint32_t i = 0; i < fit->rows->n_train; i++)
	{
		uint32_t row = fit->rows->train[i];

		if (i % 16384 == 0 && pe_team_poll(fit->pool, 0))
			return pe_linear_cancelled(w->l);
		p->folds[i] =
		    (uint8_t) (pe_draw(pe_dataset_hash(fit->dataset, row), fit->options->seed, PE_DRAW_FOLD) * folds);
		p->fold_weights[p->folds[i]] += pe_dataset_weight(fit->dataset, row);
	}
	for (int fold = 0; fold < folds; fold++)
		if (!(p->fold_weights[fold] > 0))
		{
			pe_fail(fit->err, PE_INVALID_DATA, "%u training rows are too few for %d folds",
			        fit->rows->n_train, folds);
			pe_error_hint(fit->err, "Use fewer folds, more rows, or a lambda of your own.");
			return PE_INVALID_DATA;
		}
	return PE_OK;
}

/* The deviance of the rows set apart at beta, per unit of weight. */
static double
loss_apart(net *w, double weight)
{
	if (w->l->response.distribution != PE_GAUSSIAN)
		return -2 * w->now.apart / weight;
	move_exactly(w, &w->held, w->held_beta, w->beta, w->next.gradient, w->product);
	memcpy(w->held_beta, w->beta, w->l->n * sizeof(double));
	return -2 * w->held.objective / weight;
}

static pe_status
try_fold(net *w, path *p, int fold)
{
	pe_linear *l = w->l;
	pe_row_view rest = {l->all.rows, l->all.n, p->folds, fold, false};
	pe_row_view held = {l->all.rows, l->all.n, p->folds, fold, true};
	pe_status status = begin(w, &rest);

	if (status != PE_OK)
		return status;
	if (l->response.distribution == PE_GAUSSIAN)
	{
		memcpy(w->held_beta, w->beta, l->n * sizeof(double));
		if (!pe_accumulate(l->accumulator, &held, w->beta, PE_SUM_HESSIAN, &w->held))
			return pe_linear_cancelled(l);
	}
	for (int i = 0; i < p->n; i++)
	{
		bool converged;

		pe_team_phase(l->fit->pool, "fit", (uint64_t) fold * p->n + i,
		              (uint64_t) l->fit->options->folds * p->n);
		status = solve_at(w, p->lambdas[i], l->fit->options->l1_ratio, PATH_TOLERANCE, &converged);
		if (status != PE_OK)
			return status;
		p->losses[fold * p->n + i] = loss_apart(w, p->fold_weights[fold]);
	}
	return PE_OK;
}

/* Mean and standard error over folds by their weight; which lambda each rule takes. */
static void
judge_path(path *p, int folds, pe_lambda_choice choice)
{
	double total = 0;
	int least = 0, one_error = 0;

	for (int fold = 0; fold < folds; fold++)
		total += p->fold_weights[fold];
	for (int i = 0; i < p->n; i++)
	{
		double mean = 0, squares = 0;

		for (int fold = 0; fold < folds; fold++)
			mean += p->fold_weights[fold] / total * p->losses[fold * p->n + i];
		for (int fold = 0; fold < folds; fold++)
		{
			double off = p->losses[fold * p->n + i] - mean;

			squares += p->fold_weights[fold] / total * off * off;
		}
		p->points[i].cv_mean = mean;
		p->points[i].cv_error = sqrt(squares / (folds - 1));
		if (mean < p->points[least].cv_mean)
			least = i;
	}
	while (p->points[one_error].cv_mean > p->points[least].cv_mean + p->points[least].cv_error)
		one_error++;
	p->points[least].least = true;
	p->points[one_error].one_error = true;
	p->kept = choice == PE_LAMBDA_CV_1SE ? one_error : least;
}

static pe_status
cross_validate(net *w, path *p)
{
	const pe_options *options = w->l->fit->options;
	pe_status status = deal_folds(w, p, options->folds);

	for (int fold = 0; fold < options->folds && status == PE_OK; fold++)
		status = try_fold(w, p, fold);
	if (status == PE_OK)
		judge_path(p, options->folds, options->lambda_choice);
	return status;
}

/* ---- the whole ------------------------------------------------------------------------ */

/* Columns of one value stay out, and are said. */
static pe_status
choose_columns(net *w)
{
	pe_linear *l = w->l;
	double total = l->fit->rows->train_weight;

	for (size_t i = 1; i < l->n; i++)
	{
		const pe_column *column = &l->columns[i];
		const pe_design_feature *from = &l->design.features[column->feature];
		double share = column->dense < 0 ? from->weights[column->slot] / total : 0;
		char text[256];
		pe_status status;

		w->scale[i] = column->dense > 0 ? from->deviation > 0 : sqrt(share * (1 - share));
		if (w->scale[i] > 0)
		{
			w->member[w->m++] = i;
			continue;
		}
		l->aliased[i] = true;
		pe_describe_column(l, i, text, sizeof(text));
		status = pe_model_add_note(l->fit->model, l->fit->err, "%s: left out, it has one value only", text);
		if (status != PE_OK)
			return status;
	}
	if (w->m > 0)
		return PE_OK;
	pe_fail(l->fit->err, PE_INVALID_DATA, "no feature has two different values in the training rows");
	pe_error_hint(l->fit->err, "Add columns that differ between profiles, or more rows.");
	return PE_INVALID_DATA;
}

static pe_status
say_choice(const net *w, const path *p, bool converged)
{
	const pe_fit *fit = w->l->fit;
	const pe_path_point *point = &fit->model->path[p->kept];
	pe_status status = PE_OK;

	if (fit->options->lambda_choice != PE_LAMBDA_GIVEN)
		status =
		    pe_model_add_note(fit->model, fit->err,
		                      "lambda %.6g of %d from %.6g to %.6g, by cross-validation on %d folds%s; "
		                      "%d of %zu coefficients are not 0",
		                      point->lambda, p->n, p->lambdas[0], p->lambdas[p->n - 1], fit->options->folds,
		                      point->least ? "" : " and the one standard error rule", point->nonzero, w->m);
	if (status == PE_OK && !converged)
		status = pe_model_add_note(fit->model, fit->err, "not converged at lambda %.6g", point->lambda);
	return status;
}

/* The kept point again, exactly, from where the path left it. */
static pe_status
keep(net *w, path *p)
{
	pe_linear *l = w->l;
	pe_path_point *point = &p->points[p->kept];
	bool converged;
	pe_status status = begin(w, &l->all);

	if (status != PE_OK)
		return status;
	memcpy(w->beta, p->betas + p->kept * l->n, l->n * sizeof(double));
	if (!pe_accumulate(l->accumulator, &w->view, w->beta, PE_SUM_HESSIAN, &w->now))
		return pe_linear_cancelled(l);
	w->fresh = false;
	status = solve_at(w, point->lambda, l->fit->options->l1_ratio, FINAL_TOLERANCE, &converged);
	if (status != PE_OK)
		return status;
	memcpy(l->beta, w->beta, l->n * sizeof(double));
	if (!pe_accumulate(l->accumulator, &w->view, w->beta, PE_SUM_EXPECTED, &w->now))
		return pe_linear_cancelled(l);
	l->objective = w->now.objective;
	l->sums = w->now.sums;
	l->penalised = true;
	point->nonzero = 0;
	for (size_t k = 0; k < w->m; k++)
		point->nonzero += l->beta[w->member[k]] != 0;
	point->deviance_explained = 1 - l->objective / l->null_objective;
	point->chosen = true;
	l->fit->model->path = p->points;
	l->fit->model->n_path = (uint32_t) p->n;
	p->points = NULL;
	return say_choice(w, p, converged);
}

static pe_status
run(net *w, path *p)
{
	pe_status status = choose_columns(w);

	if (status != PE_OK)
		return status;
	if (!pe_quadratic_create(w->l->fit->env, w->m, &w->quadratic))
		return pe_fail_memory(w->l->fit->err);
	if ((status = begin(w, &w->l->all)) != PE_OK)
		return status;
	lay_out_lambdas(w, p);
	if ((status = follow_path(w, p)) != PE_OK)
		return status;
	if (w->l->fit->options->lambda_choice != PE_LAMBDA_GIVEN && (status = cross_validate(w, p)) != PE_OK)
		return status;
	return keep(w, p);
}

static bool
allocate(net *w, path *p)
{
	const pe_fit *fit = w->l->fit;
	const pe_env *env = fit->env;
	size_t n = w->l->n, packed = n * (n + 1) / 2, points = fit->options->lambda_count;
	size_t folds = fit->options->folds;
	bool gaussian = w->l->response.distribution == PE_GAUSSIAN,
	     one = fit->options->lambda_choice == PE_LAMBDA_GIVEN;

	p->n = one ? 1 : (int) points;
	w->scale = pe_calloc(env, n, sizeof(double));
	w->member = pe_calloc(env, n, sizeof(size_t));
	w->beta = pe_calloc(env, n, sizeof(double));
	w->trial = pe_calloc(env, n, sizeof(double));
	w->product = pe_calloc(env, n, sizeof(double));
	w->held_beta = pe_calloc(env, n, sizeof(double));
	w->now.gradient = pe_calloc(env, n, sizeof(double));
	w->now.hessian = pe_calloc(env, packed, sizeof(double));
	w->next.gradient = pe_calloc(env, n, sizeof(double));
	w->next.hessian = pe_calloc(env, packed, sizeof(double));
	w->held.gradient = pe_calloc(env, n, sizeof(double));
	w->held.hessian = pe_calloc(env, gaussian && !one ? packed : 0, sizeof(double));
	p->lambdas = pe_calloc(env, p->n, sizeof(double));
	p->betas = pe_calloc(env, p->n * n, sizeof(double));
	p->points = pe_calloc(&fit->model->env, p->n, sizeof(*p->points));
	p->losses = pe_calloc(env, folds * p->n, sizeof(double));
	p->fold_weights = pe_calloc(env, folds, sizeof(double));
	p->folds = pe_alloc(env, one ? 0 : fit->rows->n_train);
	return w->scale != NULL && w->member != NULL && w->beta != NULL && w->trial != NULL &&
	       w->product != NULL && w->held_beta != NULL && w->now.gradient != NULL && w->now.hessian != NULL &&
	       w->next.gradient != NULL && w->next.hessian != NULL && w->held.gradient != NULL &&
	       w->held.hessian != NULL && p->lambdas != NULL && p->betas != NULL && p->points != NULL &&
	       p->losses != NULL && p->fold_weights != NULL && p->folds != NULL;
}

pe_status
pe_elastic_net(pe_linear *l)
{
	const pe_env *env = l->fit->env;
	net w = {.l = l};
	path p = {0};
	pe_status status = allocate(&w, &p) ? run(&w, &p) : pe_fail_memory(l->fit->err);

	pe_quadratic_free(env, &w.quadratic);
	pe_free(env, w.scale);
	pe_free(env, w.member);
	pe_free(env, w.beta);
	pe_free(env, w.trial);
	pe_free(env, w.product);
	pe_free(env, w.held_beta);
	pe_free(env, w.now.gradient);
	pe_free(env, w.now.hessian);
	pe_free(env, w.next.gradient);
	pe_free(env, w.next.hessian);
	pe_free(env, w.held.gradient);
	pe_free(env, w.held.hessian);
	pe_free(env, p.lambdas);
	pe_free(env, p.betas);
	pe_free(&l->fit->model->env, p.points);
	pe_free(env, p.losses);
	pe_free(env, p.fold_weights);
	pe_free(env, p.folds);
	return status;
}
