/*
 * fit.c
 *		Fitting a process of orders, and the spend, to customers.
 */
#include "model/lifetime/customers.h"

#define N              PE_LIFETIME_PARAMETERS
#define BLOCK          64   /* groups or rows that one item of work sums up */
#define SCOUTED_GROUPS 2048 /* are enough to tell which start leads to the highest top */
#define SCOUT_STEPS    60
#define MOST_STEPS     400
#define STARTS         3

/* A sum over many customers, by blocks, so that it is the same on any number of threads. */
typedef struct sum
{
	pe_team *team;
	const pe_process *process; /* NULL: of spend */
	const pe_customer_group *groups;
	const pe_customer_row *rows; /* of spend */
	size_t n;
	size_t stride; /* every so many-th group */
	int n_parameters;
	double parameters[N];
	double (*blocks)[N + 1]; /* value and gradient */
} sum;

static void
sum_block(void *ctx, uint32_t item, int thread)
{
	const sum *s = ctx;
	double *block = s->blocks[item], value = 0, gradient[N] = {0};
	size_t end = ((size_t) item + 1) * BLOCK < s->n ? ((size_t) item + 1) * BLOCK : s->n;

	for (size_t i = (size_t) item * BLOCK; i < end; i++)
	{
		double weight, own[N] = {0}, one;

		if (i % 8 == 0 && pe_team_poll(s->team, thread))
			return;
		if (s->process != NULL)
		{
			const pe_customer_group *group = &s->groups[i * s->stride];

			weight = group->weight;
			one = s->process->log_likelihood(s->parameters, &group->customer, own);
		}
		else
		{
			const pe_customer_row *row = &s->rows[i];

			if (!(row->customer.frequency > 0 && row->spend > 0))
				continue;
			weight = row->weight;
			one = pe_spend_log_likelihood(s->parameters, row->customer.frequency, row->spend, own);
		}
		value += weight * one;
		for (int j = 0; j < s->n_parameters; j++)
			gradient[j] += weight * own[j];
	}
	block[0] = value;
	memcpy(block + 1, gradient, sizeof(gradient));
}

static bool
sum_likelihood(void *ctx, const double *x, double *value, double *gradient)
{
	sum *s = ctx;
	uint32_t blocks = (uint32_t) ((s->n + BLOCK - 1) / BLOCK);

	for (int j = 0; j < s->n_parameters; j++)
	{
		s->parameters[j] = exp(x[j]);
		gradient[j] = 0;
	}
	*value = 0;
	if (!pe_team_run(s->team, sum_block, s, blocks))
		return false;
	for (uint32_t i = 0; i < blocks; i++)
	{
		*value += s->blocks[i][0];
		for (int j = 0; j < s->n_parameters; j++)
			gradient[j] += s->blocks[i][j + 1];
	}
	return true;
}

/* The best of several starts, found on a part of the rows, followed to the top on all of them. */
static void
maximise(sum *s, double starts[STARTS][N], pe_optimum *best)
{
	size_t n = s->n;
	bool found = false;

	s->stride = s->process != NULL && n > 2 * SCOUTED_GROUPS ? n / SCOUTED_GROUPS : 1;
	s->n = (n + s->stride - 1) / s->stride;
	best->stopped = false;
	for (int i = 0; i < STARTS && !best->stopped; i++)
	{
		pe_optimum tried = {.value = 0};

		for (int j = 0; j < s->n_parameters; j++)
			tried.x[j] =
			    log(fmin(fmax(starts[i][j], 10 * PE_SMALLEST_PARAMETER), 0.1 * PE_LARGEST_PARAMETER));
		pe_climb(sum_likelihood, s, s->n_parameters, SCOUT_STEPS, &tried);
		if (tried.stopped || !found || (isfinite(tried.value) && tried.value > best->value))
			*best = tried;
		found = true;
	}
	s->stride = 1;
	s->n = n;
	if (!best->stopped)
		pe_climb(sum_likelihood, s, s->n_parameters, MOST_STEPS, best);
	if (!best->stopped)
		pe_polish(sum_likelihood, s, s->n_parameters, best);
}

static pe_status
run(sum *s, const pe_env *env, double starts[STARTS][N], pe_optimum *best, pe_error *err)
{
	s->blocks = pe_alloc(env, ((s->n + BLOCK - 1) / BLOCK) * sizeof(*s->blocks));
	if (s->blocks == NULL)
		return pe_fail_memory(err);
	maximise(s, starts, best);
	pe_free(env, s->blocks);
	if (best->stopped)
		return pe_fail(err, PE_CANCELLED, "training was cancelled");
	if (!isfinite(best->value))
		return pe_fail(err, PE_INVALID_DATA, "the likelihood of these rows cannot be computed");
	return PE_OK;
}

/* ---- orders --------------------------------------------------------------------------------- */

typedef struct totals
{
	double weight;
	double orders;
	double age;
} totals;

static void
choose_starts(pe_algorithm process, const totals *all, double starts[STARTS][N])
{
	/* The rate of orders as it looks, and a typical age. */
	double mean = all->age / all->weight, rate = all->orders / fmax(all->age, 1e-300);
	double counted[STARTS][N] = {
	    {1, 0.7 / rate, 1, 3}, {0.3, 0.2 / rate, 0.5, 2}, {0.7, 0.7 / rate, 0.02, 1}};
	double timed[STARTS][N] = {
	    {1, 0.7 / rate, 1, mean}, {0.4, 0.2 / rate, 0.5, 0.3 * mean}, {0.7, 0.7 / rate, 1, 50 * mean}};
	double discrete[STARTS][N] = {{1, 1, 0.5, 3}, {0.5, 1, 1, 10}, {2, 1, 0.2, 1}};
	double contracts[STARTS][N] = {{1, 1}, {0.5, 3}, {3, 6}};

	memcpy(starts,
	       process == PE_ALGORITHM_PARETO_NBD ? timed
	       : process == PE_ALGORITHM_BG_BB    ? discrete
	       : process == PE_ALGORITHM_SBG      ? contracts
	                                          : counted,
	       sizeof(counted));
}

static pe_status
add_up(const pe_customers *customers, totals *all, pe_error *err)
{
	*all = (totals){0};
	for (size_t i = 0; i < customers->n; i++)
	{
		const pe_customer_row *row = &customers->rows[i];

		all->weight += row->weight;
		all->orders += row->weight * row->customer.frequency;
		all->age += row->weight * row->customer.age;
	}
	if (customers->n == 0)
	{
		pe_fail(err, PE_INVALID_DATA, "the source has no customers");
		pe_error_hint(err, "Rows of weight 0 do not count.");
		return PE_INVALID_DATA;
	}
	if (all->orders == 0 && customers->process != PE_ALGORITHM_SBG)
	{
		pe_fail(err, PE_INVALID_DATA, "none of the %zu customers has a repeat order", customers->n);
		pe_error_hint(err, "Observe them longer, or check the frequency column: it counts repeat orders.");
		return PE_INVALID_DATA;
	}
	return PE_OK;
}

static pe_status
fit_orders(const pe_env *env, pe_team *team, const pe_customers *customers, pe_algorithm process,
           pe_lifetime *lifetime, pe_error *err)
{
	sum s = {.team = team, .process = pe_process_of(process)};
	pe_customer_group *groups = NULL;
	double starts[STARTS][N];
	pe_optimum best = {.value = 0};
	totals all;
	pe_status status = add_up(customers, &all, err);

	if (status != PE_OK || (status = pe_customers_group(env, customers, &groups, &s.n, err)) != PE_OK)
		return status;
	s.groups = groups;
	s.n_parameters = s.process->n_parameters;
	choose_starts(process, &all, starts);
	status = run(&s, env, starts, &best, err);
	pe_free(env, groups);
	if (status != PE_OK)
		return status;
	lifetime->process = process;
	lifetime->n_parameters = s.n_parameters;
	for (int i = 0; i < N; i++)
	{
		lifetime->parameters[i] = i < s.n_parameters ? exp(best.x[i]) : 0;
		lifetime->standard_errors[i] = i < s.n_parameters ? lifetime->parameters[i] * best.errors[i] : 0;
	}
	lifetime->log_likelihood = best.value;
	lifetime->customers = all.weight;
	lifetime->rows = (double) customers->n;
	lifetime->identified = best.identified;
	return PE_OK;
}

/* ---- spend ---------------------------------------------------------------------------------- */

/* Weighted, among repeat buyers with a spend. */
static void
correlate(const pe_customers *customers, pe_lifetime *lifetime)
{
	double weight = 0, mean_x = 0, mean_y = 0, xx = 0, yy = 0, xy = 0;

	for (size_t i = 0; i < customers->n; i++)
	{
		const pe_customer_row *row = &customers->rows[i];
		double x = row->customer.frequency, y = row->spend, share, dx, dy;

		if (!(x > 0 && y > 0))
			continue;
		weight += row->weight;
		share = row->weight / weight;
		dx = x - mean_x;
		dy = y - mean_y;
		mean_x += share * dx;
		mean_y += share * dy;
		xx += row->weight * dx * (x - mean_x);
		yy += row->weight * dy * (y - mean_y);
		xy += row->weight * dx * (y - mean_y);
	}
	lifetime->spend_customers = weight;
	lifetime->mean_spend = mean_y;
	lifetime->correlation = xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : NAN;
}

static pe_status
fit_spend(const pe_env *env, pe_team *team, const pe_customers *customers, pe_lifetime *lifetime,
          pe_error *err)
{
	sum s = {.team = team, .rows = customers->rows, .n = customers->n, .n_parameters = PE_SPEND_PARAMETERS};
	pe_optimum best = {.value = 0};
	pe_status status;

	correlate(customers, lifetime);
	if (!(lifetime->spend_customers > 0))
	{
		pe_fail(err, PE_INVALID_DATA, "no customer has repeat orders with a value above 0");
		pe_error_hint(err, "Leave out the monetary value, or check it: it is the mean of repeat orders.");
		return PE_INVALID_DATA;
	}
	{
		double mean = lifetime->mean_spend;
		double starts[STARTS][N] = {{2, 3, mean}, {6, 4, 0.5 * mean}, {1, 10, 9 * mean}};

		status = run(&s, env, starts, &best, err);
	}
	if (status != PE_OK)
		return status;
	lifetime->with_spend = true;
	for (int i = 0; i < PE_SPEND_PARAMETERS; i++)
	{
		lifetime->spend[i] = exp(best.x[i]);
		lifetime->spend_errors[i] = lifetime->spend[i] * best.errors[i];
	}
	lifetime->spend_log_likelihood = best.value;
	return PE_OK;
}

pe_status
pe_lifetime_fit(const pe_env *env, const pe_customers *customers, pe_algorithm process, bool with_spend,
                int threads, pe_lifetime *lifetime, pe_error *err)
{
	pe_team *team;
	pe_status status;

	if (process != customers->process)
		return pe_fail(err, PE_INTERNAL, "the customers were collected for another process");
	if ((team = pe_team_create(env, threads)) == NULL)
		return pe_fail_memory(err);
	pe_team_phase(team, "fit", 0, 0);
	lifetime->with_spend = false;
	lifetime->correlation = NAN;
	status = fit_orders(env, team, customers, process, lifetime, err);
	if (status == PE_OK && with_spend)
		status = fit_spend(env, team, customers, lifetime, err);
	pe_team_free(team);
	return status;
}
