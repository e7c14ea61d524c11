/*
 * linear.c
 *		The linear family's training: which columns, which learner, what is kept.
 */
#include "model/linear/linear.h"

pe_status
pe_linear_cancelled(const pe_linear *l)
{
	return pe_fail(l->fit->err, PE_CANCELLED, "training was cancelled");
}

static void
name_columns(const pe_design *design, pe_column *columns)
{
	for (int i = 0; i < design->n_dense; i++)
		columns[design->dense_column[i]] = (pe_column){design->dense_feature[i], -1, i, -1};
	for (int i = 0; i < design->n_dummies; i++)
		columns[design->dummy_column[i]] =
		    (pe_column){design->dummy_feature[i], design->dummy_slot[i], -1, i};
}

static bool
allocate(pe_linear *l)
{
	const pe_env *env = l->fit->env;
	size_t n = l->n;

	l->columns = pe_calloc(env, n, sizeof(*l->columns));
	l->beta = pe_calloc(env, n, sizeof(double));
	l->column = pe_calloc(env, n, sizeof(double));
	l->factor = pe_calloc(env, n * (n + 1) / 2, sizeof(double));
	l->skip = pe_calloc(env, n, sizeof(bool));
	l->aliased = pe_calloc(env, n, sizeof(bool));
	l->separated = pe_calloc(env, n, sizeof(bool));
	return l->columns != NULL && l->beta != NULL && l->column != NULL && l->factor != NULL &&
	       l->skip != NULL && l->aliased != NULL && l->separated != NULL;
}

static void
release(pe_linear *l)
{
	const pe_env *env = l->fit->env;

	pe_design_free(env, &l->design);
	pe_accumulator_free(l->accumulator);
	pe_free(env, l->columns);
	pe_free(env, l->beta);
	pe_free(env, l->column);
	pe_free(env, l->factor);
	pe_free(env, l->skip);
	pe_free(env, l->aliased);
	pe_free(env, l->separated);
}

/* Of the model that knows the mean alone; for each distribution that is its best. */
static pe_status
find_null_objective(pe_linear *l)
{
	const pe_split_rows *rows = l->fit->rows;
	double margin = pe_response_margin(&l->response, rows->train_sum / rows->train_weight);

	for (uint32_t i = 0; i < rows->n_train; i++)
	{
		double target = pe_dataset_target(l->fit->dataset, rows->train[i]);
		double weight = pe_dataset_weight(l->fit->dataset, rows->train[i]);

		if (i % 16384 == 0 && pe_team_poll(l->fit->pool, 0))
			return pe_linear_cancelled(l);
		l->null_objective += pe_response_objective(&l->response, 1, &target, &weight, &margin);
	}
	return PE_OK;
}

static pe_status
learn(pe_linear *l)
{
	pe_fit *fit = l->fit;
	pe_status status;

	if ((l->accumulator = pe_accumulator_create(fit, &l->design, &l->response)) == NULL)
		return pe_fail_memory(fit->err);
	if ((status = find_null_objective(l)) != PE_OK)
		return status;
	status = fit->options->lambda_choice != PE_LAMBDA_NONE ? pe_elastic_net(l) : pe_newton(l);
	return status == PE_OK ? pe_store_linear(l) : status;
}

static pe_status
fit_in(pe_linear *l)
{
	pe_fit *fit = l->fit;
	pe_status status;

	pe_team_phase(fit->pool, "fit", 0, 0);
	if (fit->options->objective != PE_OBJECTIVE_DEFAULT)
		fit->model->objective = fit->options->objective;
	if (fit->model->objective == PE_OBJECTIVE_TWEEDIE)
		fit->model->objective_parameter = fit->options->tweedie_power;
	l->response = pe_response_of(fit);
	if ((status = pe_response_check(&l->response, fit)) != PE_OK ||
	    (fit->task != PE_TASK_AFFINITY && (status = pe_find_strongest(fit)) != PE_OK) ||
	    (status = pe_design_create(fit, &l->design)) != PE_OK)
		return status;
	l->n = (size_t) l->design.n_columns;
	l->all = (pe_row_view){fit->rows->train, fit->rows->n_train, NULL, 0, false};
	if (!allocate(l))
		return pe_fail_memory(fit->err);
	name_columns(&l->design, l->columns);
	status = fit->model->algorithm == PE_ALGORITHM_MULTINOMIAL ? pe_multinomial(l) : learn(l);
	if (status != PE_OK)
		return status;
	pe_team_phase(fit->pool, "evaluate", 0, 0);
	return pe_store_margins(fit);
}

pe_status
pe_fit_linear(pe_fit *fit)
{
	pe_linear l = {.fit = fit};
	pe_status status = fit_in(&l);

	release(&l);
	return status;
}
