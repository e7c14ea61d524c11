/*
 * bg_nbd.c
 *		BG/NBD and MBG/NBD: orders at a gamma distributed rate; after each order the
 *		customer leaves with a beta distributed probability p. In the modified process
 *		the first order, too, can be the last.
 *
 * Fader, Hardie & Lee (2005), Marketing Science 24(2); Batislam, Denizel & Filiztekin
 * (2007), IJRM 24(3). Parameters: r, alpha (rate), a, b (leaving).
 */
#include "model/lifetime/process.h"

/*
 * What tells the two apart: how many more chances to leave there were than repeat
 * orders. Of x + first chances the last was taken, or none was.
 */
static double
log_likelihood(const double *p, const pe_customer *customer, int first, double *gradient)
{
	double r = p[0], alpha = p[1], a = p[2], b = p[3];
	double x = customer->frequency, n = x + first, count = r + x;
	double until_end = log(alpha + customer->age), until_last = log(alpha + customer->recency);
	double here = -count * until_end, gone, total, share = 1;

	total = here;
	if (n > 0)
	{
		gone = log(a / (b + n - 1)) - count * until_last;
		total = pe_log_add(here, gone);
		share = exp(here - total);
	}
	if (gradient != NULL)
	{
		double both = pe_rising_slope(a + b, n);

		gradient[0] +=
		    r * (pe_rising_slope(r, x) + log(alpha) - share * until_end - (1 - share) * until_last);
		gradient[1] +=
		    r - alpha * count * (share / (alpha + customer->age) + (1 - share) / (alpha + customer->recency));
		gradient[2] += (1 - share) - a * both;
		gradient[3] += b * (pe_rising_slope(b, n) - both - (n > 0 ? (1 - share) / (b + n - 1) : 0));
	}
	return pe_log_rising(r, x) + r * log(alpha) + pe_log_staying(a, b, n) + total;
}

static double
alive(const double *p, const pe_customer *customer, int first)
{
	double r = p[0], alpha = p[1], a = p[2], b = p[3], n = customer->frequency + first;
	double odds;

	if (n == 0)
		return 1;
	odds = log(a / (b + n - 1)) +
	       (r + customer->frequency) * log((alpha + customer->age) / (alpha + customer->recency));
	return odds > 0 ? exp(-odds) / (1 + exp(-odds)) : 1 / (1 + exp(odds));
}

/* A known customer who is still there is a new one of BG/NBD, with what was learnt of the rates. */
static double
orders(const double *p, const pe_customer *customer, int first, double t)
{
	double x = customer->frequency;

	return pe_orders_till_leaving(p[0] + x, p[1] + customer->age, p[2], p[3] + x + first, t);
}

/* first 1: leaving at once leaves 0 orders, and each count has one chance to leave more. */
static double
count_probability(const double *p, double t, uint32_t n, int first)
{
	double a = p[2], b = p[3], m = (double) n + first;
	double probability = exp(pe_log_staying(a, b, m)) * pe_count_probability(p[0], p[1], t, n);

	if (m > 0)
		probability +=
		    a / (a + b + m - 1) * exp(pe_log_staying(a, b, m - 1)) * pe_count_tail(p[0], p[1], t, n);
	return probability;
}

static double
bg_log_likelihood(const double *p, const pe_customer *customer, double *gradient)
{
	return log_likelihood(p, customer, 0, gradient);
}

static double
bg_alive(const double *p, const pe_customer *customer)
{
	return alive(p, customer, 0);
}

static double
bg_new_orders(const double *p, double t)
{
	return pe_orders_till_leaving(p[0], p[1], p[2], p[3], t);
}

static double
bg_orders(const double *p, const pe_customer *customer, double t)
{
	return orders(p, customer, 0, t);
}

static double
bg_count_probability(const double *p, double t, uint32_t n)
{
	return count_probability(p, t, n, 0);
}

const pe_process pe_bg_nbd_process = {
    4,         {"r", "alpha", "a", "b"}, bg_log_likelihood, bg_alive, bg_new_orders, bg_alive,
    bg_orders, bg_count_probability};

static double
mbg_log_likelihood(const double *p, const pe_customer *customer, double *gradient)
{
	return log_likelihood(p, customer, 1, gradient);
}

static double
mbg_alive(const double *p, const pe_customer *customer)
{
	return alive(p, customer, 1);
}

static double
mbg_new_orders(const double *p, double t)
{
	return p[3] / (p[2] + p[3]) * pe_orders_till_leaving(p[0], p[1], p[2], p[3] + 1, t);
}

static double
mbg_orders(const double *p, const pe_customer *customer, double t)
{
	return orders(p, customer, 1, t);
}

static double
mbg_count_probability(const double *p, double t, uint32_t n)
{
	return count_probability(p, t, n, 1);
}

const pe_process pe_mbg_nbd_process = {4,          {"r", "alpha", "a", "b"}, mbg_log_likelihood,
                                       mbg_alive,  mbg_new_orders,           mbg_alive,
                                       mbg_orders, mbg_count_probability};
