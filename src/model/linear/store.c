/*
 * store.c
 *		Coefficients on the features' own scales, with standard errors, into the model.
 */
#include "model/linalg.h"
#include "model/linear/linear.h"

void
pe_describe_column(const pe_linear *l, size_t column, char *text, size_t size)
{
	const pe_column *name = &l->columns[column];
	const pe_feature *feature = &l->fit->model->features[name->feature];
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

static void
test_term(const pe_linear *l, pe_term *term, double error, double df)
{
	term->standard_error = error;
	term->statistic = term->estimate / error;
	term->p_value = pe_response_dispersed(&l->response) ? pe_student_p(term->statistic, df)
	                                                    : pe_normal_p(term->statistic);
}

/* The length of L^-1 of what is in l->column: the error of that combination of coefficients. */
static double
combination_error(pe_linear *l)
{
	pe_solve_lower(l->factor, l->n, l->skip, l->column);
	return sqrt(pe_dot(l->column, l->column, l->n));
}

/* The intercept as mapped back is b0 - sum of b_j mean_j / deviation_j. */
static double
intercept_error(pe_linear *l)
{
	for (size_t i = 0; i < l->n; i++)
	{
		const pe_column *column = &l->columns[i];
		const pe_design_feature *from = column->dense > 0 ? &l->design.features[column->feature] : NULL;

		l->column[i] = i == 0 ? 1 : from != NULL && from->deviation > 0 ? -(from->mean / from->deviation) : 0;
	}
	return combination_error(l);
}

static double
column_error(pe_linear *l, size_t column)
{
	memset(l->column, 0, l->n * sizeof(double));
	l->column[column] = 1;
	return combination_error(l);
}

/* Dispersion by Pearson's statistic, as R's summary has it; likelihood and AIC as its glm. */
static void
store_fit(const pe_linear *l, double *scale, double *df)
{
	pe_model *model = l->fit->model;
	double rows = l->fit->rows->n_train, rank = 0;
	bool dispersed = pe_response_dispersed(&l->response);

	for (size_t i = 0; i < l->n; i++)
		rank += l->penalised ? !l->aliased[i] && (i == 0 || l->beta[i] != 0) : !l->skip[i];
	*df = rows - rank;
	model->iterations = l->iterations;
	model->deviance = -2 * l->objective;
	model->null_deviance = -2 * l->null_objective;
	model->dispersion = !dispersed ? 1 : *df > 0 ? l->sums.pearson / *df : NAN;
	model->log_likelihood = pe_response_log_likelihood(&l->response, &l->sums, model->deviance, rows);
	model->aic = l->penalised ? NAN : -2 * model->log_likelihood + 2 * (rank + dispersed);
	*scale = sqrt(model->dispersion);
}

static pe_status
store_terms(pe_linear *l)
{
	pe_model *model = l->fit->model;
	double intercept = l->beta[0], scale, df;

	store_fit(l, &scale, &df);
	if ((model->terms = pe_calloc(&model->env, l->n, sizeof(*model->terms))) == NULL)
		return pe_fail_memory(l->fit->err);
	model->n_terms = (uint32_t) l->n;
	for (size_t i = 0; i < l->n; i++)
	{
		pe_term *term = &model->terms[i];
		const pe_design_feature *from =
		    l->columns[i].dense > 0 ? &l->design.features[l->columns[i].feature] : NULL;
		double deviation = from != NULL ? from->deviation : 1;

		term->feature = l->columns[i].feature;
		term->slot = l->columns[i].slot;
		term->class = -1;
		term->aliased = l->aliased[i];
		term->standard_error = term->statistic = term->p_value = NAN;
		if (l->aliased[i] || (!l->penalised && l->skip[i]))
			continue;
		term->estimate = l->beta[i] / deviation;
		if (from != NULL)
			intercept -= l->beta[i] * (from->mean / deviation);
		if (i > 0 && !l->penalised && !l->separated[i])
			test_term(l, term, scale * column_error(l, i) / deviation, df);
		if (pe_team_poll(l->fit->pool, 0))
			return pe_linear_cancelled(l);
	}
	model->terms[0].estimate = model->intercept = intercept;
	if (!l->penalised)
		test_term(l, &model->terms[0], scale * intercept_error(l), df);
	return PE_OK;
}

/* What training never saw tells nothing: it counts as the average. */
static void
average_terms(pe_feature *feature, const double *weights)
{
	double total = 0;

	for (int slot = 0; slot < feature->n_levels + 2; slot++)
	{
		total += weights[slot];
		feature->mean += weights[slot] * feature->terms[slot];
	}
	feature->mean /= total;
	for (int slot = 0; slot < feature->n_levels + 2; slot++)
		if (!(weights[slot] > 0))
			feature->terms[slot] = feature->mean;
}

/* The terms again as predict and explain want them. */
static pe_status
store_features(const pe_linear *l)
{
	pe_model *model = l->fit->model;

	for (int i = 0; i < model->n_features; i++)
	{
		pe_feature *feature = &model->features[i];
		const pe_design_feature *from = &l->design.features[i];

		feature->fill = from->fill;
		feature->mean = from->mean;
		if (feature->kind == PE_FEATURE_CATEGORICAL &&
		    (feature->terms = pe_calloc(&model->env, feature->n_levels + 2, sizeof(double))) == NULL)
			return pe_fail_memory(l->fit->err);
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
		if (model->features[i].kind == PE_FEATURE_CATEGORICAL)
			average_terms(&model->features[i], l->design.features[i].weights);
	return PE_OK;
}

pe_status
pe_store_linear(pe_linear *l)
{
	pe_status status = store_terms(l);

	return status == PE_OK ? store_features(l) : status;
}
