/*
 * bg_bb.c
 *		BG/BB: at each of a row of opportunities (a year, a tour, a campaign) the customer
 *		buys with a beta distributed probability, unless it has left before with another
 *		(Fader, Hardie & Shang 2010, Marketing Science 29(6)). Parameters: alpha, beta
 *		(buying), gamma, delta (leaving). And sBG, the same for contracts: the customer
 *		renews until it leaves (Fader & Hardie 2007). Parameters: alpha, beta (leaving).
 */
#include "model/lifetime/process.h"

/* The logarithm of a sum that grows by a term at a time, with the weighted slopes of the terms. */
typedef struct log_sum
{
	double value;
	double slopes[PE_LIFETIME_PARAMETERS];
} log_sum;

static void
add_term(log_sum *sum, double term, const double *slopes)
{
	double total = pe_log_add(sum->value, term), share = exp(term - total);

	for (int i = 0; i < PE_LIFETIME_PARAMETERS; i++)
		sum->slopes[i] += share * (slopes[i] - sum->slopes[i]);
	sum->value = total;
}

/*
 * x of k opportunities taken, in a given order, and there for all of them: the
 * logarithms of B(alpha + x, beta + k - x) / B(alpha, beta) and B(gamma, delta + k) /
 * B(gamma, delta), and their slopes; next() goes on to k + 1 opportunities.
 */
typedef struct history
{
	const double *p;
	double x;
	double k;
	double buying;
	double staying;
	double slopes[PE_LIFETIME_PARAMETERS];
} history;

static history
history_begin(const double *p, double x, double k)
{
	history h = {.p = p, .x = x, .k = k};

	h.buying = pe_log_rising(p[0], x) + pe_log_rising(p[1], k - x) - pe_log_rising(p[0] + p[1], k);
	h.staying = pe_log_staying(p[2], p[3], k);
	h.slopes[0] = pe_rising_slope(p[0], x) - pe_rising_slope(p[0] + p[1], k);
	h.slopes[1] = pe_rising_slope(p[1], k - x) - pe_rising_slope(p[0] + p[1], k);
	h.slopes[2] = -pe_rising_slope(p[2] + p[3], k);
	h.slopes[3] = pe_rising_slope(p[3], k) - pe_rising_slope(p[2] + p[3], k);
	return h;
}

static void
history_next(history *h)
{
	const double *p = h->p;
	double not_bought = p[1] + h->k - h->x, all = p[0] + p[1] + h->k, stayed = p[3] + h->k,
	       chance = p[2] + stayed;

	h->buying += log(not_bought / all);
	h->staying += log(stayed / chance);
	h->slopes[0] -= 1 / all;
	h->slopes[1] += 1 / not_bought - 1 / all;
	h->slopes[2] -= 1 / chance;
	h->slopes[3] += 1 / stayed - 1 / chance;
	h->k++;
}

/* Left right after opportunity k: B(gamma + 1, delta + k) instead of B(gamma, delta + k). */
static double
left_after(const history *h, double *slopes)
{
	double chance = h->p[2] + h->p[3] + h->k;

	memcpy(slopes, h->slopes, sizeof(h->slopes));
	slopes[2] += 1 / h->p[2] - 1 / chance;
	slopes[3] -= 1 / chance;
	return h->buying + h->staying + log(h->p[2] / chance);
}

static log_sum
likelihood(const double *p, const pe_customer *customer)
{
	log_sum sum;
	history h = history_begin(p, customer->frequency, customer->age);

	sum.value = h.buying + h.staying;
	memcpy(sum.slopes, h.slopes, sizeof(sum.slopes));
	h = history_begin(p, customer->frequency, customer->recency);
	for (double i = customer->recency; i < customer->age; i++)
	{
		double slopes[PE_LIFETIME_PARAMETERS], term = left_after(&h, slopes);

		add_term(&sum, term, slopes);
		history_next(&h);
	}
	return sum;
}

static double
log_likelihood(const double *p, const pe_customer *customer, double *gradient)
{
	log_sum sum = likelihood(p, customer);

	for (int i = 0; gradient != NULL && i < PE_LIFETIME_PARAMETERS; i++)
		gradient[i] += p[i] * sum.slopes[i];
	return sum.value;
}

/* There for all opportunities so far. */
static double
there_so_far(const double *p, const pe_customer *customer)
{
	history h = history_begin(p, customer->frequency, customer->age);

	return exp(h.buying + h.staying - likelihood(p, customer).value);
}

static double
alive(const double *p, const pe_customer *customer)
{
	double n = customer->age;

	return there_so_far(p, customer) * (p[3] + n) / (p[2] + p[3] + n);
}

#define MOST_OPPORTUNITIES 100000.0

/*
 * How many of the next t opportunities somebody who was there for n is still there
 * for, on average: the sum over i of B(gamma, delta + n + i) / B(gamma, delta + n). Of
 * the one that t ends within counts the part.
 */
static double
opportunities(double gamma, double delta, double t)
{
	double staying = 1, sum = 0, steps = t < MOST_OPPORTUNITIES ? t : MOST_OPPORTUNITIES, i;

	for (i = 0; i < steps; i++)
	{
		staying *= (delta + i) / (gamma + delta + i);
		sum += staying * (steps - i < 1 ? steps - i : 1);
	}
	/* The rest of a very long horizon, whose terms hardly change from one to the next. */
	if (t > steps)
	{
		double log_ratio = log1p((t - steps) / (gamma + delta + steps)), exponent = (1 - gamma) * log_ratio;

		sum += staying * (gamma + delta + steps) *
		       (fabs(exponent) < 1e-10 ? log_ratio : expm1(exponent) / (1 - gamma));
	}
	return sum;
}

static double
new_orders(const double *p, double t)
{
	return t > 0 ? p[0] / (p[0] + p[1]) * opportunities(p[2], p[3], t) : 0;
}

static double
orders(const double *p, const pe_customer *customer, double t)
{
	double n = customer->age;

	return (p[0] + customer->frequency) / (p[0] + p[1] + n) * opportunities(p[2], p[3] + n, t);
}

static double
log_choose(double n, double k)
{
	int sign;

	return lgamma_r(n + 1, &sign) - lgamma_r(k + 1, &sign) - lgamma_r(n - k + 1, &sign);
}

static double
count_probability(const double *p, double t, uint32_t n)
{
	double periods = floor(t + 1e-9), slopes[PE_LIFETIME_PARAMETERS], sum = 0;
	history h;

	if (!(periods >= n))
		return 0;
	h = history_begin(p, n, n);
	for (; h.k < periods; history_next(&h))
		sum += exp(log_choose(h.k, n) + left_after(&h, slopes));
	return sum + exp(log_choose(periods, n) + h.buying + h.staying);
}

const pe_process pe_bg_bb_process = {4,
                                     {"alpha", "beta", "gamma", "delta"},
                                     log_likelihood,
                                     alive,
                                     new_orders,
                                     there_so_far,
                                     orders,
                                     count_probability};

/* ---- contracts ---------------------------------------------------------------------------- */

static double
sbg_log_likelihood(const double *p, const pe_customer *customer, double *gradient)
{
	double a = p[0], b = p[1], n = customer->frequency, chance = a + b + n;
	bool left = n < customer->age;

	if (gradient != NULL)
	{
		double both = pe_rising_slope(a + b, n);

		gradient[0] += a * (left ? 1 / a - 1 / chance - both : -both);
		gradient[1] += b * (pe_rising_slope(b, n) - both - (left ? 1 / chance : 0));
	}
	return pe_log_staying(a, b, n) + (left ? log(a / chance) : 0);
}

/* Will it renew next time? */
static double
sbg_alive(const double *p, const pe_customer *customer)
{
	double n = customer->frequency;

	return n < customer->age ? 0 : (p[1] + n) / (p[0] + p[1] + n);
}

static double
sbg_new_orders(const double *p, double t)
{
	return t > 0 ? opportunities(p[0], p[1], t) : 0;
}

static double
sbg_orders(const double *p, const pe_customer *customer, double t)
{
	return opportunities(p[0], p[1] + customer->frequency, t);
}

static double
sbg_there(const double *p, const pe_customer *customer)
{
	return customer->frequency < customer->age ? 0 : 1;
}

static double
sbg_count_probability(const double *p, double t, uint32_t n)
{
	double periods = floor(t + 1e-9);

	if (!(periods >= n))
		return 0;
	return exp(pe_log_staying(p[0], p[1], n)) * (n < periods ? p[0] / (p[0] + p[1] + n) : 1);
}

const pe_process pe_sbg_process = {2,          {"alpha", "beta"},    sbg_log_likelihood,
                                   sbg_alive,  sbg_new_orders,       sbg_there,
                                   sbg_orders, sbg_count_probability};
