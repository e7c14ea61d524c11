/*
 * pareto_nbd.c
 *		Pareto/NBD: orders at a gamma distributed rate, a lifetime that is exponential at
 *		another gamma distributed rate (Schmittlein, Morrison & Colombo 1987; Fader &
 *		Hardie 2005). Parameters: r, alpha (orders), s, beta (leaving).
 *
 * The likelihood of having left is
 *		integral over recency..age of s (alpha + u)^-(r + x) (beta + u)^-(s + 1) du,
 * usually written as a difference of two values of 2F1, with one formula for
 * alpha >= beta and one for alpha < beta. The difference cancels, and its series hardly
 * converge when one of alpha and beta is much larger. The integrand is positive and
 * smooth: a few Gauss panels give it, and its derivatives, to all digits anywhere.
 */
#include "model/lifetime/process.h"

#define MOST_PANELS 200
#define PANEL_FALL  8.0

/* Sums over the integrand relative to its value at recency. */
typedef struct leaving
{
	double sum;
	double log_alpha;     /* of it times ln((alpha + u) / (alpha + age)) */
	double log_beta;      /* times ln((beta + u) / (beta + age)) */
	double inverse_alpha; /* times 1 / (alpha + u) */
	double inverse_beta;
} leaving;

static void
add_point(leaving *l, double u, double weight, const double *p, double count, double age, double top,
          bool slopes)
{
	double at_alpha = p[1] + u, at_beta = p[3] + u;
	double log_alpha = log(at_alpha / (p[1] + age)), log_beta = log(at_beta / (p[3] + age));
	double value = weight * exp(-count * log_alpha - p[2] * log_beta - top) / at_beta;

	l->sum += value;
	if (slopes)
	{
		l->log_alpha += value * log_alpha;
		l->log_beta += value * log_beta;
		l->inverse_alpha += value / at_alpha;
		l->inverse_beta += value / at_beta;
	}
}

/* Over the time since the last order; times s exp(top) it is P(left) / P(not left). */
static leaving
integrate_leaving(const double *p, const pe_customer *customer, double *top, bool slopes)
{
	double count = p[0] + customer->frequency, age = customer->age, u = customer->recency;
	double alpha = p[1], s = p[2], beta = p[3];
	leaving l = {0};

	*top = -count * log((alpha + u) / (alpha + age)) - s * log((beta + u) / (beta + age));
	for (int i = 0; i < MOST_PANELS && u < age; i++)
	{
		double steepness = count / (alpha + u) + (s + 1) / (beta + u), before = l.sum;
		double width = PANEL_FALL / steepness, middle, half;

		/* No wider than the way to the next pole. */
		width = fmin(fmin(width, alpha + u), fmin(beta + u, age - u));
		middle = u + 0.5 * width;
		half = 0.5 * width;
		for (int k = 0; k < PE_GAUSS_POINTS / 2; k++)
		{
			double step = half * pe_gauss_nodes[k], weight = half * pe_gauss_weights[k];

			add_point(&l, middle - step, weight, p, count, age, *top, slopes);
			add_point(&l, middle + step, weight, p, count, age, *top, slopes);
		}
		if (l.sum - before < 1e-18 * l.sum)
			break;
		u = width == age - u ? age : u + width;
	}
	return l;
}

/* ln(P(left) / P(not left)); -infinity when there was no time to leave. */
static double
log_odds_of_leaving(const double *p, const leaving *l, double top)
{
	return l->sum > 0 ? log(p[2] * l->sum) + top : -INFINITY;
}

static double
log_likelihood(const double *p, const pe_customer *customer, double *gradient)
{
	double r = p[0], alpha = p[1], s = p[2], beta = p[3], x = customer->frequency, age = customer->age;
	double top, odds;
	leaving l = integrate_leaving(p, customer, &top, gradient != NULL);

	odds = log_odds_of_leaving(p, &l, top);
	if (gradient != NULL)
	{
		double left = odds > 0 ? 1 / (1 + exp(-odds)) : exp(odds) / (1 + exp(odds));
		double share = l.sum > 0 ? left / l.sum : 0;

		gradient[0] += r * (pe_rising_slope(r, x) + log(alpha / (alpha + age)) - share * l.log_alpha);
		gradient[1] += r - alpha * (r + x) * ((1 - left) / (alpha + age) + share * l.inverse_alpha);
		gradient[2] += s * (log(beta / (beta + age)) - share * l.log_beta) + left;
		gradient[3] += s - beta * s * (1 - left) / (beta + age) - beta * (s + 1) * share * l.inverse_beta;
	}
	return pe_log_rising(r, x) + r * log(alpha) - (r + x) * log(alpha + age) - s * log1p(age / beta) +
	       pe_log_add(0, odds);
}

static double
alive(const double *p, const pe_customer *customer)
{
	double top, odds;
	leaving l = integrate_leaving(p, customer, &top, false);

	odds = log_odds_of_leaving(p, &l, top);
	return odds > 0 ? exp(-odds) / (1 + exp(-odds)) : 1 / (1 + exp(odds));
}

/* The integral of P(not left at u) = (1 + u / beta)^-s over 0..t. */
static double
time_there(double s, double beta, double t)
{
	double log_ratio = log1p(t / beta), exponent = (s - 1) * log_ratio;

	if (fabs(exponent) < 1e-10)
		return beta * log_ratio * (1 - 0.5 * exponent);
	return beta * (-expm1(-exponent) / (s - 1));
}

static double
new_orders(const double *p, double t)
{
	return p[0] / p[1] * time_there(p[2], p[3], t);
}

static double
orders(const double *p, const pe_customer *customer, double t)
{
	return (p[0] + customer->frequency) / (p[1] + customer->age) * time_there(p[2], p[3] + customer->age, t);
}

/* ---- how many orders --------------------------------------------------------------------- */

typedef struct count_at_leaving
{
	const double *p;
	double n;
} count_at_leaving;

/* With y = ln u: n orders in a time u that ends with leaving, without the constant factors. */
static double
count_log_value(const void *ctx, double y)
{
	const count_at_leaving *c = ctx;
	double u = exp(y);

	return (c->n + 1) * y - (c->n + c->p[0]) * log(c->p[1] + u) - (c->p[2] + 1) * log(c->p[3] + u);
}

static double
count_slope(const void *ctx, double y)
{
	const count_at_leaving *c = ctx;
	double u = exp(y);

	return c->n + 1 - (c->n + c->p[0]) * u / (c->p[1] + u) - (c->p[2] + 1) * u / (c->p[3] + u);
}

static double
count_probability(const double *p, double t, uint32_t n)
{
	double r = p[0], alpha = p[1], s = p[2], beta = p[3], hi, lo, mode, factor;
	count_at_leaving c = {p, n};
	pe_integrand integrand = {count_log_value, count_slope, &c};
	int sign;

	if (!(t > 0))
		return n == 0 ? 1 : 0;
	hi = log(t);
	lo = hi - 800;
	mode = hi;
	if (count_slope(&c, hi) < 0)
	{
		for (double left = lo; mode - left > 1e-3;)
		{
			double middle = 0.5 * (left + mode);

			if (count_slope(&c, middle) > 0)
				left = middle;
			else
				mode = middle;
		}
	}
	factor = pe_log_rising(r, n) - lgamma_r((double) n + 1, &sign) + r * log(alpha) + log(s) + s * log(beta) +
	         count_log_value(&c, mode);
	return pe_count_probability(r, alpha, t, n) * exp(-s * log1p(t / beta)) +
	       exp(factor) * pe_integrate(&integrand, lo, hi, mode, count_log_value(&c, mode));
}

const pe_process pe_pareto_nbd_process = {
    4, {"r", "alpha", "s", "beta"}, log_likelihood, alive, new_orders, alive, orders, count_probability};
