/*
 * arithmetic.c
 *		Ratios of gamma and beta functions that do not cancel, and the expectations that
 *		the processes of orders share.
 */
#include "model/lifetime/process.h"

#define WHOLE_STEPS  256 /* ratios of up to so many factors are multiplied out */
#define SERIES_TERMS 20000
#define NEGLIGIBLE   1e-17

const double pe_gauss_nodes[PE_GAUSS_POINTS / 2] = {
    0.095012509837637454, 0.28160355077925892, 0.45801677765722737, 0.61787624440264377,
    0.755404408355003,    0.86563120238783176, 0.9445750230732326,  0.98940093499164994};
const double pe_gauss_weights[PE_GAUSS_POINTS / 2] = {
    0.18945061045506859, 0.18260341504492361,  0.16915651939500262,  0.14959598881657674,
    0.12462897125553403, 0.095158511682492591, 0.062253523938647706, 0.027152459411754037};

/* ---- gamma and beta ------------------------------------------------------------------- */

double
pe_digamma(double x)
{
	double shift = 0, inverse, square;

	/* Up to where the asymptotic series has all the digits. */
	for (; x < 10; x++)
		shift -= 1 / x;
	inverse = 1 / x;
	square = inverse * inverse;
	return shift + log(x) - 0.5 * inverse -
	       square *
	           (1.0 / 12 -
	            square * (1.0 / 120 -
	                      square * (1.0 / 252 -
	                                square * (1.0 / 240 - square * (1.0 / 132 - square * 691.0 / 32760)))));
}

static double
log_gamma(double x)
{
	int sign;

	return lgamma_r(x, &sign);
}

/* What Stirling's formula leaves out, x >= 100. */
static double
stirling_rest(double x)
{
	double square = 1 / (x * x);

	return (1.0 / 12 - square * (1.0 / 360 - square * (1.0 / 1260))) / x;
}

double
pe_log_rising(double x, double n)
{
	double sum = 0, product = 1;

	if (n == 0)
		return 0;
	if (n > WHOLE_STEPS || n != floor(n))
	{
		if (x < 100)
			return log_gamma(x + n) - log_gamma(x);
		return (x - 0.5) * log1p(n / x) + n * log(x + n) - n + stirling_rest(x + n) - stirling_rest(x);
	}
	for (int i = 0; i < (int) n; i++)
	{
		product *= x + i;
		if (product > 1e200 || product < 1e-200)
		{
			sum += log(product);
			product = 1;
		}
	}
	return sum + log(product);
}

double
pe_rising_slope(double x, double n)
{
	double sum = 0;

	if (n > WHOLE_STEPS || n != floor(n))
		return pe_digamma(x + n) - pe_digamma(x);
	for (int i = 0; i < (int) n; i++)
		sum += 1 / (x + i);
	return sum;
}

double
pe_log_staying(double a, double b, double n)
{
	double sum = 0, product = 1;

	if (n > WHOLE_STEPS || n != floor(n))
		return pe_log_rising(b, n) - pe_log_rising(a + b, n);
	for (int i = 0; i < (int) n; i++)
	{
		product *= (b + i) / (a + b + i);
		if (product < 1e-200)
		{
			sum += log(product);
			product = 1;
		}
	}
	return sum + log(product);
}

/* ---- counts at a gamma distributed rate ------------------------------------------------- */

double
pe_count_probability(double r, double alpha, double t, uint32_t n)
{
	double log_value;

	if (!(t > 0))
		return n == 0 ? 1 : 0;
	log_value = pe_log_rising(r, n) - log_gamma((double) n + 1) - r * log1p(t / alpha);
	return exp(n == 0 ? log_value : log_value - n * log1p(alpha / t));
}

double
pe_count_tail(double r, double alpha, double t, uint32_t n)
{
	double z = t / (alpha + t), sum = 0, term;
	uint32_t j;

	if (n == 0)
		return 1;
	if (!(t > 0))
		return 0;
	if (n > r * t / alpha)
	{
		/* Above the mean: upwards, where the terms fall. */
		term = pe_count_probability(r, alpha, t, n);
		for (j = n; term > NEGLIGIBLE * sum && j - n < 100 * SERIES_TERMS; j++)
		{
			sum += term;
			term *= z * (r + j) / (j + 1.0);
		}
		return sum;
	}
	term = pe_count_probability(r, alpha, t, n - 1);
	for (j = n - 1; term > NEGLIGIBLE * sum; j--)
	{
		sum += term;
		if (j == 0)
			break;
		term *= j / (z * (r + j - 1));
	}
	return sum < 1 ? 1 - sum : 0;
}

/* ---- integrals ------------------------------------------------------------------------ */

static double
panel(const pe_integrand *integrand, double from, double to, double shift)
{
	double middle = 0.5 * (from + to), half = 0.5 * (to - from), sum = 0;

	for (int i = 0; i < PE_GAUSS_POINTS / 2; i++)
	{
		double step = half * pe_gauss_nodes[i];

		sum += pe_gauss_weights[i] * (exp(integrand->log_value(integrand->ctx, middle - step) - shift) +
		                              exp(integrand->log_value(integrand->ctx, middle + step) - shift));
	}
	return sum * fabs(half);
}

/* Panels no wider than 2, nor than what a factor of e^12 takes. */
#define WIDEST_PANEL  2.0
#define PANEL_FALL    12.0
#define MOST_PANELS   4000
#define FALLING_SLOPE 1e-3

static double
outwards(const pe_integrand *integrand, double from, double end, double shift)
{
	double sum = 0, sign = end > from ? 1 : -1, at = from;

	for (int i = 0; i < MOST_PANELS && sign * (end - at) > 0; i++)
	{
		double width = sign * (end - at) < WIDEST_PANEL ? sign * (end - at) : WIDEST_PANEL, value, slope;

		while (fabs(integrand->slope(integrand->ctx, at + sign * width)) * width > PANEL_FALL && width > 1e-9)
			width *= 0.5;
		value = panel(integrand, at, at + sign * width, shift);
		sum += value;
		at += sign * width;
		slope = -sign * integrand->slope(integrand->ctx, at);
		if (slope > FALLING_SLOPE && value < NEGLIGIBLE * sum * width * slope)
			break;
	}
	return sum;
}

double
pe_integrate(const pe_integrand *integrand, double lo, double hi, double mode, double shift)
{
	return outwards(integrand, mode, lo, shift) + outwards(integrand, mode, hi, shift);
}

/* ---- orders of somebody who may leave after each ---------------------------------------- */

typedef struct leaving
{
	double r;
	double alpha;
	double a;
	double b;
	double t;
	bool orders; /* false: the weight alone */
} leaving;

/* With y the log-odds of p: p^a (1 - p)^b [(1 - (1 + p t / alpha)^-r) / p]. */
static double
leaving_log_value(const void *ctx, double y)
{
	const leaving *l = ctx;
	double log_p = y > 0 ? -log1p(exp(-y)) : y - log1p(exp(y)), log_q = log_p - y;
	double p = exp(log_p), value = l->a * log_p + l->b * log_q;

	return l->orders ? value + log(-expm1(-l->r * log1p(p * l->t / l->alpha)) / p) : value;
}

static double
leaving_slope(const void *ctx, double y)
{
	const leaving *l = ctx;
	double q = 1 / (1 + exp(y));

	return l->a * q - l->b * (1 - q);
}

/* For horizons so long that the series would not end soon. */
static double
orders_by_quadrature(double r, double alpha, double a, double b, double t)
{
	leaving l = {r, alpha, a, b, t, true};
	pe_integrand integrand = {leaving_log_value, leaving_slope, &l};
	/* Below lo leaving does not matter, above hi it is certain. */
	double start = r * t / alpha, lo = -42 - log1p((r + 1) * t / alpha), hi = 42;
	double mode = log(a / b), shift, above, below;

	mode = mode < lo ? lo : mode > hi ? hi : mode;
	l.orders = false;
	shift = leaving_log_value(&l, mode);
	below =
	    pe_integrate(&integrand, lo, hi, mode, shift) + exp(a * lo - shift) / a + exp(-b * hi - shift) / b;
	l.orders = true;
	above = pe_integrate(&integrand, lo, hi, mode, shift) + start * exp(a * lo - shift) / a +
	        -expm1(-r * log1p(t / alpha)) * exp(-b * hi - shift) / b;
	return above / below;
}

/*
 * The sum over j of P(N > j) E[(1 - p)^j]: order number j + 1 is placed when there are
 * more than j in the time and none of the j before was the last. All terms positive,
 * where the closed form by 2F1 cancels around a = 1 and a + b = 1.
 */
double
pe_orders_till_leaving(double r, double alpha, double a, double b, double t)
{
	double z, probability, staying = 1, tail, sum = 0;

	if (!(t > 0))
		return 0;
	if (r * log1p(t / alpha) > 600 || r * t / alpha + 40 * (1 + t / alpha) > SERIES_TERMS)
		return orders_by_quadrature(r, alpha, a, b, t);
	z = t / (alpha + t);
	probability = exp(-r * log1p(t / alpha));
	tail = -expm1(-r * log1p(t / alpha));
	for (int j = 0; j < 2 * SERIES_TERMS; j++)
	{
		double term = tail * staying;

		sum += term;
		if (tail <= 1e-16 || term < NEGLIGIBLE * sum)
			break;
		probability *= z * (r + j) / (j + 1.0);
		tail -= probability;
		staying *= (b + j) / (a + b + j);
	}
	return sum;
}
