/*
 * process.h
 *		What one process of orders and drop-out is, and the arithmetic they share.
 */
#ifndef PE_MODEL_PROCESS_H
#define PE_MODEL_PROCESS_H

#include <math.h>

#include "model/internal.h"
#include "model/lifetime/lifetime.h"

/* Fitted parameters stay within these, whatever the data; the artifact's are held to it, too. */
#define PE_SMALLEST_PARAMETER 1e-9
#define PE_LARGEST_PARAMETER  1e9
#define PE_LARGEST_COUNT      1e9 /* of orders, and of time in the unit of the data */

/*
 * A process. p: its parameters, natural scale. Customers are clean. gradient: of the
 * log-likelihood by the logarithms of the parameters, added to, NULL: not wanted.
 */
typedef struct pe_process
{
	int n_parameters;
	const char *names[PE_LIFETIME_PARAMETERS];
	double (*log_likelihood)(const double *p, const pe_customer *customer, double *gradient);
	double (*alive)(const double *p, const pe_customer *customer);
	double (*new_orders)(const double *p, double t);
	/* Orders in the next t are the probability of being there times those of somebody who is. */
	double (*there)(const double *p, const pe_customer *customer);
	double (*orders_if_there)(const double *p, const pe_customer *customer, double t);
	double (*count_probability)(const double *p, double t, uint32_t n);
} pe_process;

extern const pe_process pe_bg_nbd_process;
extern const pe_process pe_mbg_nbd_process;
extern const pe_process pe_pareto_nbd_process;
extern const pe_process pe_bg_bb_process;
extern const pe_process pe_sbg_process;

/* NULL: no algorithm of lifetime value. */
extern const pe_process *pe_process_of(pe_algorithm algorithm);

/* ---- arithmetic ----------------------------------------------------------------------- */

extern double pe_digamma(double x); /* x > 0 */

/* ln Gamma(x + n) - ln Gamma(x), and its derivative by x; n >= 0, exact for whole n. */
extern double pe_log_rising(double x, double n);
extern double pe_rising_slope(double x, double n);

/* ln (B(a, b + n) / B(a, b)): of E[q^n] for q = 1 - p, p ~ Beta(a, b). Whole n. */
extern double pe_log_staying(double a, double b, double n);

/* ln(exp(a) + exp(b)). */
static inline double
pe_log_add(double a, double b)
{
	double high = a > b ? a : b, low = a > b ? b : a;

	return isinf(high) ? high : high + log1p(exp(low - high));
}

/*
 * E[(1 - exp(-lambda p t)) / p] for lambda ~ Gamma(r, alpha), p ~ Beta(a, b): the orders
 * in the next t of somebody who leaves after each with probability p. t >= 0.
 */
extern double pe_orders_till_leaving(double r, double alpha, double a, double b, double t);

/* P(N = n) and P(N >= n), N negative binomial: counts in time t at rate Gamma(r, alpha). */
extern double pe_count_probability(double r, double alpha, double t, uint32_t n);
extern double pe_count_tail(double r, double alpha, double t, uint32_t n);

/*
 * The integral of exp(log_value) over lo..hi for a function that is log-concave but for
 * what varies slowly, times exp(-shift): from the mode (within lo..hi) outwards, in steps
 * that the slope of the logarithm tells. Relative error about 1e-13.
 */
typedef struct pe_integrand
{
	double (*log_value)(const void *ctx, double y);
	double (*slope)(const void *ctx, double y);
	const void *ctx;
} pe_integrand;

extern double pe_integrate(const pe_integrand *integrand, double lo, double hi, double mode, double shift);

#define PE_GAUSS_POINTS 16
/* Gauss-Legendre on (-1, 1): the 8 positive nodes and their weights. */
extern const double pe_gauss_nodes[PE_GAUSS_POINTS / 2];
extern const double pe_gauss_weights[PE_GAUSS_POINTS / 2];

/* ---- maximum likelihood --------------------------------------------------------------- */

/* Value and gradient at x; false when the tick asked to stop. */
typedef bool (*pe_likelihood)(void *ctx, const double *x, double *value, double *gradient);

typedef struct pe_optimum
{
	double x[PE_LIFETIME_PARAMETERS];
	double value;
	double errors[PE_LIFETIME_PARAMETERS]; /* standard errors of x; NaN where the surface is flat */
	bool identified;                       /* all of them are known */
	bool converged;
	bool stopped; /* by the tick */
} pe_optimum;

/* The maximum of a function of n logarithms, uphill from optimum->x, by BFGS. */
extern void pe_climb(pe_likelihood function, void *ctx, int n, int most_steps, pe_optimum *optimum);
/* Newton's last steps, and the standard errors from the Hessian there. */
extern void pe_polish(pe_likelihood function, void *ctx, int n, pe_optimum *optimum);

extern double pe_spend_log_likelihood(const double *p, double frequency, double spend, double *gradient);

#endif /* PE_MODEL_PROCESS_H */
