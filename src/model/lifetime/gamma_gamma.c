/*
 * gamma_gamma.c
 *		What orders are worth: the values of a customer's orders are gamma distributed with
 *		shape p and a rate that is itself gamma distributed over customers with shape q
 *		and rate v (Fader, Hardie & Lee 2005, JMR 42(4)); independent of how often it orders.
 */
#include "model/lifetime/process.h"

double
pe_spend_log_likelihood(const double *params, double frequency, double spend, double *gradient)
{
	double p = params[0], q = params[1], v = params[2], x = frequency, px = p * x, sum = x * spend;
	double log_all = log(sum + v);

	if (gradient != NULL)
	{
		double all = pe_digamma(px + q);

		gradient[0] += px * (all - pe_digamma(px) + log(sum) - log_all);
		gradient[1] += q * (all - pe_digamma(q) + log(v) - log_all);
		gradient[2] += q - (px + q) * v / (sum + v);
	}
	return pe_log_rising(q, px) - pe_log_rising(1, px - 1) + q * log(v) - log(spend) + px * log(sum) -
	       (px + q) * log_all;
}

double
pe_lifetime_spend(const pe_lifetime *lifetime, double frequency, double spend)
{
	double p = lifetime->spend[0], q = lifetime->spend[1], v = lifetime->spend[2], x = frequency;

	/* Orders worth nothing are not in the fit, which gives them no density: they say nothing of the next. */
	if (!(x > 0) || !(spend > 0))
		x = spend = 0;
	if (!(p * x + q > 1))
		return lifetime->mean_spend;
	return p * (v + x * spend) / (p * x + q - 1);
}
