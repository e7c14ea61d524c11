/*
 * lifetime.c
 *		What follows from a fit: who is still there, how many orders will come, what they
 *		are worth.
 */
#include "model/lifetime/process.h"

#define MOST_OPPORTUNITIES 10000 /* of one customer of bg_bb */
#define MOST_PERIODS       1200  /* discounted one by one: a century of months; more in groups */
#define LARGEST_VALUE      1e300

const pe_process *
pe_process_of(pe_algorithm algorithm)
{
	switch (algorithm)
	{
		case PE_ALGORITHM_BG_NBD:
			return &pe_bg_nbd_process;
		case PE_ALGORITHM_PARETO_NBD:
			return &pe_pareto_nbd_process;
		case PE_ALGORITHM_MBG_NBD:
			return &pe_mbg_nbd_process;
		case PE_ALGORITHM_BG_BB:
			return &pe_bg_bb_process;
		case PE_ALGORITHM_SBG:
			return &pe_sbg_process;
		default:
			return NULL;
	}
}

int
pe_lifetime_parameter_count(pe_algorithm process)
{
	const pe_process *of = pe_process_of(process);

	return of != NULL ? of->n_parameters : 0;
}

const char *
pe_lifetime_parameter_name(pe_algorithm process, int parameter)
{
	const pe_process *of = pe_process_of(process);

	return of != NULL && parameter >= 0 && parameter < of->n_parameters ? of->names[parameter] : NULL;
}

const char *
pe_spend_parameter_name(int parameter)
{
	static const char *const names[PE_SPEND_PARAMETERS] = {"p", "q", "v"};

	return parameter >= 0 && parameter < PE_SPEND_PARAMETERS ? names[parameter] : NULL;
}

static double
sane(double value, double most)
{
	return !(value > 0) ? 0 : value < most ? value : most;
}

pe_customer
pe_customer_clean(pe_algorithm process, pe_customer customer)
{
	bool discrete = process == PE_ALGORITHM_BG_BB;
	double most = discrete ? MOST_OPPORTUNITIES : PE_LARGEST_COUNT;
	pe_customer c = {sane(customer.frequency, most), sane(customer.recency, most), sane(customer.age, most)};

	c.frequency = floor(c.frequency);
	if (discrete)
	{
		c.recency = floor(c.recency);
		c.age = floor(c.age);
	}
	if (process == PE_ALGORITHM_SBG)
		c.recency = c.frequency;
	if (c.frequency == 0)
		c.recency = 0;
	if (discrete && c.recency < c.frequency)
		c.recency = c.frequency;
	if (c.age < c.recency)
		c.age = c.recency;
	return c;
}

double
pe_lifetime_alive(const pe_lifetime *lifetime, const pe_customer *customer)
{
	pe_customer clean = pe_customer_clean(lifetime->process, *customer);

	return pe_process_of(lifetime->process)->alive(lifetime->parameters, &clean);
}

double
pe_lifetime_log_likelihood(const pe_lifetime *lifetime, const pe_customer *customer)
{
	pe_customer clean = pe_customer_clean(lifetime->process, *customer);

	return pe_process_of(lifetime->process)->log_likelihood(lifetime->parameters, &clean, NULL);
}

static double
within_doubles(double value)
{
	return value < LARGEST_VALUE ? value : LARGEST_VALUE;
}

double
pe_lifetime_new_orders(const pe_lifetime *lifetime, double t)
{
	return within_doubles(
	    pe_process_of(lifetime->process)->new_orders(lifetime->parameters, sane(t, PE_LARGEST_COUNT)));
}

double
pe_lifetime_orders(const pe_lifetime *lifetime, const pe_customer *customer, double t)
{
	const pe_process *process = pe_process_of(lifetime->process);
	pe_customer clean = pe_customer_clean(lifetime->process, *customer);

	t = sane(t, PE_LARGEST_COUNT);
	if (!(t > 0))
		return 0;
	return within_doubles(process->there(lifetime->parameters, &clean) *
	                      process->orders_if_there(lifetime->parameters, &clean, t));
}

double
pe_lifetime_count_probability(const pe_lifetime *lifetime, double t, uint32_t n)
{
	return pe_process_of(lifetime->process)
	    ->count_probability(lifetime->parameters, sane(t, PE_LARGEST_COUNT), n);
}

double
pe_lifetime_worth(const pe_lifetime *lifetime, const pe_customer *customer, double spend, double t,
                  double discount_rate, double discount_period)
{
	const pe_process *process = pe_process_of(lifetime->process);
	pe_customer clean = pe_customer_clean(lifetime->process, *customer);
	double worth = lifetime->with_spend ? pe_lifetime_spend(lifetime, clean.frequency, spend) : 1;
	double there, orders = 0, value = 0, factor = 1, periods, at_once;

	t = sane(t, PE_LARGEST_COUNT);
	if (!(discount_rate > 0) || !(discount_period > 0))
		return within_doubles(worth * pe_lifetime_orders(lifetime, &clean, t));
	there = process->there(lifetime->parameters, &clean);
	periods = there > 0 ? ceil(t / discount_period * (1 - 1e-12)) : 0;
	at_once = ceil(periods / MOST_PERIODS);
	for (double first = 0; first < periods; first += at_once)
	{
		double last = fmin(first + at_once, periods), n = last - first;
		double end = last < periods ? last * discount_period : t;
		double so_far = process->orders_if_there(lifetime->parameters, &clean, end);
		double discount = factor / (1 + discount_rate);

		/* Orders of a group are spread over its periods, whose mean discount they get. */
		if (n > 1)
			discount = factor * -expm1(-n * log1p(discount_rate)) / (discount_rate * n);
		factor = n > 1 ? factor * exp(-n * log1p(discount_rate)) : discount;
		value += discount * fmax(within_doubles(so_far) - orders, 0);
		orders = within_doubles(so_far);
	}
	return within_doubles(worth * within_doubles(there * value));
}

double
pe_lifetime_survival(const pe_lifetime *lifetime, double n)
{
	if (lifetime->process != PE_ALGORITHM_SBG)
		return NAN;
	return exp(pe_log_staying(lifetime->parameters[0], lifetime->parameters[1], floor(sane(n, 1e9))));
}

double
pe_lifetime_retention(const pe_lifetime *lifetime, double n)
{
	double a = lifetime->parameters[0], b = lifetime->parameters[1];

	if (lifetime->process != PE_ALGORITHM_SBG)
		return NAN;
	n = floor(sane(n, 1e9));
	return n < 1 ? 1 : (b + n - 1) / (a + b + n - 1);
}

double
pe_lifetime_tenure(const pe_lifetime *lifetime, double n)
{
	double a = lifetime->parameters[0], b = lifetime->parameters[1];

	if (lifetime->process != PE_ALGORITHM_SBG)
		return NAN;
	return a > 1 ? (b + floor(sane(n, 1e9))) / (a - 1) : INFINITY;
}
