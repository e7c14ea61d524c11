/*
 * lifetime_family.c
 *		A fitted process of orders as a model like any other: features, prediction,
 *		named outputs, artifact.
 */
#include "model/family.h"
#include "model/lifetime/customers.h"

#define MOST_FEATURES 4

/* The model's features in order, by what they are. */
typedef enum column
{
	COLUMN_FREQUENCY,
	COLUMN_RECENCY,
	COLUMN_AGE,
	COLUMN_SPEND
} column;

/* Contracts have no recency; without money there is no spend. */
static int
columns_of(pe_algorithm process, bool with_spend, column *columns)
{
	int n = 0;

	columns[n++] = COLUMN_FREQUENCY;
	if (process != PE_ALGORITHM_SBG)
		columns[n++] = COLUMN_RECENCY;
	columns[n++] = COLUMN_AGE;
	if (with_spend)
		columns[n++] = COLUMN_SPEND;
	return n;
}

const pe_lifetime *
pe_model_lifetime(const pe_model *model)
{
	return model->family == &pe_lifetime_family ? model->own : NULL;
}

pe_customer
pe_model_customer(const pe_model *model, const double *values, double *spend)
{
	const pe_lifetime *lifetime = model->own;
	column columns[MOST_FEATURES];
	int n = columns_of(lifetime->process, lifetime->with_spend, columns);
	double all[MOST_FEATURES] = {0, 0, 0, NAN};

	for (int i = 0; i < n; i++)
		all[columns[i]] = values[i];
	*spend = all[COLUMN_SPEND];
	return pe_customer_clean(lifetime->process,
	                         (pe_customer){all[COLUMN_FREQUENCY], all[COLUMN_RECENCY], all[COLUMN_AGE]});
}

/* Money over the horizon, or orders where no money is known. */
static double
predict(const pe_model *model, const double *values)
{
	const pe_lifetime *lifetime = model->own;
	double spend;
	pe_customer customer = pe_model_customer(model, values, &spend);

	if (!lifetime->with_spend)
		return pe_lifetime_orders(lifetime, &customer, lifetime->horizon);
	return pe_lifetime_worth(lifetime, &customer, spend, lifetime->horizon, lifetime->discount_rate,
	                         lifetime->discount_period);
}

static int
output_count(const pe_model *model)
{
	return ((const pe_lifetime *) model->own)->with_spend ? 4 : 2;
}

static const char *
output_name(const pe_model *model, int output)
{
	static const char *const names[] = {"p_alive", "expected_orders", "expected_spend", "lifetime_value"};

	return names[output];
}

static void
outputs(const pe_model *model, const double *values, double *out)
{
	const pe_lifetime *lifetime = model->own;
	double spend;
	pe_customer customer = pe_model_customer(model, values, &spend);

	out[0] = pe_lifetime_alive(lifetime, &customer);
	out[1] = pe_lifetime_orders(lifetime, &customer, lifetime->horizon);
	if (!lifetime->with_spend)
		return;
	out[2] = pe_lifetime_spend(lifetime, customer.frequency, spend);
	out[3] = predict(model, values);
}

/* ---- artifact ----------------------------------------------------------------------------- */

static void
write_lifetime(pe_writer *w, const pe_model *model)
{
	const pe_lifetime *l = model->own;

	pe_write_doubles(w, l->parameters, l->n_parameters);
	pe_write_doubles(w, l->standard_errors, l->n_parameters);
	pe_write_double(w, l->log_likelihood);
	pe_write_double(w, l->customers);
	pe_write_double(w, l->rows);
	pe_write_int(w, l->identified, 1);
	pe_write_int(w, l->with_spend, 1);
	if (l->with_spend)
	{
		pe_write_doubles(w, l->spend, PE_SPEND_PARAMETERS);
		pe_write_doubles(w, l->spend_errors, PE_SPEND_PARAMETERS);
		pe_write_double(w, l->spend_log_likelihood);
		pe_write_double(w, l->spend_customers);
		pe_write_double(w, l->mean_spend);
		pe_write_double(w, l->correlation);
	}
	pe_write_double(w, l->unit_days);
	pe_write_double(w, l->horizon);
	pe_write_double(w, l->discount_rate);
	pe_write_double(w, l->discount_period);
}

static double
read_between(pe_reader *r, double least, double most, const char *what)
{
	double value = pe_read_double(r);

	if (!(value >= least && value <= most))
		pe_reader_fail(r, what);
	return value;
}

/* Not negative, or NaN. */
static double
read_error(pe_reader *r)
{
	double value = pe_read_double(r);

	if (value < 0 || isinf(value))
		pe_reader_fail(r, "a standard error is negative or infinite");
	return value;
}

static void
read_parameters(pe_reader *r, int n, double *parameters, double *errors)
{
	for (int i = 0; i < n; i++)
		parameters[i] = read_between(r, PE_SMALLEST_PARAMETER / 2, PE_LARGEST_PARAMETER * 2,
		                             "a parameter is out of range");
	for (int i = 0; i < n; i++)
		errors[i] = read_error(r);
}

static void
read_spend(pe_reader *r, pe_lifetime *l)
{
	read_parameters(r, PE_SPEND_PARAMETERS, l->spend, l->spend_errors);
	l->spend_log_likelihood = pe_read_finite(r, "a likelihood is not finite");
	l->spend_customers = pe_read_finite(r, "a count is not finite");
	l->mean_spend = read_between(r, 0, 1e300, "the mean spend is out of range");
	l->correlation = pe_read_double(r);
	if (fabs(l->correlation) > 1.0001)
		pe_reader_fail(r, "a correlation is out of range");
}

static void
read_lifetime(pe_reader *r, pe_model *model)
{
	pe_lifetime *l = pe_read_array(r, 1, sizeof(*l));
	column columns[MOST_FEATURES];

	model->own = l;
	if (l == NULL)
		return;
	l->process = model->algorithm;
	l->n_parameters = pe_lifetime_parameter_count(model->algorithm);
	read_parameters(r, l->n_parameters, l->parameters, l->standard_errors);
	l->log_likelihood = pe_read_finite(r, "a likelihood is not finite");
	l->customers = pe_read_finite(r, "a count is not finite");
	l->rows = pe_read_finite(r, "a count is not finite");
	l->identified = pe_read_bool(r);
	l->with_spend = pe_read_bool(r);
	l->correlation = NAN;
	if (l->with_spend)
		read_spend(r, l);
	l->unit_days = read_between(r, 1e-9, PE_LARGEST_COUNT, "the unit of time is out of range");
	l->horizon = read_between(r, 0, PE_LARGEST_COUNT, "the horizon is out of range");
	l->discount_rate = read_between(r, 0, 1e6, "the discount is out of range");
	l->discount_period = read_between(r, 1e-9, PE_LARGEST_COUNT, "the discount's period is out of range");
	if (model->n_features != columns_of(l->process, l->with_spend, columns))
		pe_reader_fail(r, "its features are not a customer's");
	for (int i = 0; i < model->n_features; i++)
		if (model->features[i].kind != PE_FEATURE_NUMERIC)
			pe_reader_fail(r, "a feature is no number");
}

static void
release_lifetime(pe_model *model)
{
	pe_free(&model->env, model->own);
}

static size_t
lifetime_bytes(const pe_model *model)
{
	return sizeof(pe_lifetime);
}

const pe_family pe_lifetime_family = {
    .explains = false,
    .predict = predict,
    .output_count = output_count,
    .output_name = output_name,
    .outputs = outputs,
    .write = write_lifetime,
    .read = read_lifetime,
    .release = release_lifetime,
    .bytes = lifetime_bytes,
};

/* ---- training ------------------------------------------------------------------------------- */

#define BLOCK 64

typedef struct predicting
{
	const pe_model *model;
	const pe_customers *customers;
	pe_team *team;
	double *predictions;
	double *alive; /* sums by block */
} predicting;

static void
predict_block(void *ctx, uint32_t item, int thread)
{
	const predicting *job = ctx;
	const pe_lifetime *lifetime = job->model->own;
	size_t end =
	    ((size_t) item + 1) * BLOCK < job->customers->n ? ((size_t) item + 1) * BLOCK : job->customers->n;
	double sum = 0;

	for (size_t i = (size_t) item * BLOCK; i < end; i++)
	{
		const pe_customer_row *row = &job->customers->rows[i];
		const pe_customer *c = &row->customer;

		/* A long horizon with short discount periods takes a millisecond or more for each. */
		if (pe_team_poll(job->team, thread))
			return;
		job->predictions[i] = lifetime->with_spend
		                          ? pe_lifetime_worth(lifetime, c, row->spend, lifetime->horizon,
		                                              lifetime->discount_rate, lifetime->discount_period)
		                          : pe_lifetime_orders(lifetime, c, lifetime->horizon);
		sum += row->weight * pe_lifetime_alive(lifetime, c);
	}
	job->alive[item] = sum;
}

/* The score distribution of all customers, and how many of them are thought to be there. */
static pe_status
predict_all(const pe_env *env, const pe_customers *customers, int threads, pe_model *model,
            double *mean_alive, pe_error *err)
{
	uint32_t blocks = (uint32_t) ((customers->n + BLOCK - 1) / BLOCK);
	predicting job = {.model = model, .customers = customers, .team = pe_team_create(env, threads)};
	pe_status status = PE_OK;

	job.predictions = pe_alloc(env, customers->n * sizeof(double));
	job.alive = pe_alloc(env, blocks * sizeof(double));
	if (job.team == NULL || job.predictions == NULL || job.alive == NULL)
		status = pe_fail_memory(err);
	else
	{
		pe_team_phase(job.team, "evaluate", 0, 0);
		if (!pe_team_run(job.team, predict_block, &job, blocks))
			status = pe_fail(err, PE_CANCELLED, "training was cancelled");
	}
	*mean_alive = 0;
	for (uint32_t i = 0; i < blocks && status == PE_OK; i++)
		*mean_alive += job.alive[i] / ((pe_lifetime *) model->own)->customers;
	pe_team_free(job.team);
	if (status == PE_OK)
		status = pe_fit_distribution(env, model, job.predictions, customers->n, err);
	pe_free(env, job.predictions);
	pe_free(env, job.alive);
	return status;
}

#define NOTED_CORRELATION 0.3

static pe_status
add_notes(pe_model *model, const pe_customers *customers, double mean_alive, pe_error *err)
{
	const pe_lifetime *l = model->own;
	pe_status status = PE_OK;
	size_t without_spend = 0;

	if (!l->identified)
		status = pe_model_add_note(model, err,
		                           "the data do not determine all parameters (a standard error is missing); "
		                           "P(alive) is %.4f on average",
		                           mean_alive);
	for (size_t i = 0; i < customers->n && l->with_spend; i++)
		without_spend += customers->rows[i].customer.frequency > 0 && !(customers->rows[i].spend > 0);
	if (status == PE_OK && without_spend > 0)
		status = pe_model_add_note(
		    model, err, "%zu customers with repeat orders but no value above 0 are not in the spend model",
		    without_spend);
	if (status == PE_OK && l->with_spend && fabs(l->correlation) > NOTED_CORRELATION)
		status =
		    pe_model_add_note(model, err,
		                      "frequency and spend correlate (%.3f): the gamma-gamma model takes them as "
		                      "independent, so that values of frequent customers are off",
		                      l->correlation);
	if (status == PE_OK && l->with_spend && !(l->spend[1] > 1))
		status = pe_model_add_note(model, err,
		                           "the fitted spend has no mean (q = %.3g): customers without repeat orders "
		                           "get the observed mean %.15g",
		                           l->spend[1], l->mean_spend);
	return status;
}

static pe_status
make_model(const pe_env *env, const pe_lifetime *settings, pe_algorithm process,
           const pe_lifetime_columns *names, bool with_spend, pe_model **model, pe_error *err)
{
	pe_feature_spec specs[MOST_FEATURES];
	column columns[MOST_FEATURES];
	int n = columns_of(process, with_spend, columns);
	pe_dataset *dataset;
	pe_status status;

	for (int i = 0; i < n; i++)
		specs[i] =
		    (pe_feature_spec){names->names[columns[i]], names->source_types[columns[i]], PE_FEATURE_NUMERIC};
	if ((status = pe_dataset_create(env, process, specs, n, false, &dataset, err)) != PE_OK)
		return status;
	status = pe_model_create(env, dataset, PE_TASK_LIFETIME_VALUE, model, err);
	pe_dataset_free(dataset);
	if (status != PE_OK)
		return status;
	if (((*model)->own = pe_alloc(env, sizeof(*settings))) == NULL)
		return pe_fail_memory(err);
	memcpy((*model)->own, settings, sizeof(*settings));
	for (int i = 0; i < n; i++)
		(*model)->features[i].used = true;
	return PE_OK;
}

pe_status
pe_lifetime_train(const pe_env *env, const pe_customers *customers, int threads,
                  const pe_lifetime_columns *columns, const pe_lifetime *settings, pe_model **out,
                  pe_error *err)
{
	bool with_spend = columns->names[COLUMN_SPEND] != NULL;
	pe_model *model = NULL;
	double mean_alive;
	pe_status status = make_model(env, settings, customers->process, columns, with_spend, &model, err);

	*out = NULL;
	if (status == PE_OK)
		status = pe_lifetime_fit(env, customers, customers->process, with_spend, threads, model->own, err);
	if (status == PE_OK)
	{
		const pe_lifetime *l = model->own;

		model->training_rows = (int64_t) customers->n;
		model->log_likelihood = l->log_likelihood;
		status = predict_all(env, customers, threads, model, &mean_alive, err);
	}
	if (status == PE_OK)
		status = add_notes(model, customers, mean_alive, err);
	if (status == PE_OK)
		*out = model;
	else
		pe_model_free(model);
	return status;
}
