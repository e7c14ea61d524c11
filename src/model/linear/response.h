/*
 * response.h
 *		How the target of the linear family is distributed about its mean: the deviance, its
 *		derivatives by the margin, and what follows from them.
 *
 * Binomial with the logit link, gaussian with the identity, poisson, gamma and tweedie
 * with the log link. For each of these the deviance is convex in the margin, so that
 * Newton's method with its own second derivative always has a way down.
 */
#ifndef PE_MODEL_RESPONSE_H
#define PE_MODEL_RESPONSE_H

#include "model/internal.h"

typedef enum pe_distribution
{
	PE_BINOMIAL,
	PE_GAUSSIAN,
	PE_POISSON,
	PE_GAMMA,
	PE_TWEEDIE
} pe_distribution;

typedef struct pe_response
{
	pe_distribution distribution;
	double power; /* tweedie: the variance is the mean to this power */
} pe_response;

/* What fit->task and the options ask for. */
extern pe_response pe_response_of(const pe_fit *fit);
/* Are all training targets in its range? PE_INVALID_DATA names the first that is not. */
extern pe_status pe_response_check(const pe_response *response, const pe_fit *fit);

/* The margin of a mean: the link. mean must be inside the range of means. */
extern double pe_response_margin(const pe_response *response, double mean);
extern double pe_response_mean(const pe_response *response, double margin);

/*
 * For n rows: curvatures[i] and residuals[i] are the second and first derivatives of half
 * the deviance by the margin, times weight, the first negative. expected: the second
 * derivative's expectation instead (what standard errors are made of). Returns minus half
 * the deviance, the sum of weight x unit deviance / 2.
 */
extern double pe_response_rows(const pe_response *response, bool expected, size_t n, const double *targets,
                               const double *weights, const double *margins, double *curvatures,
                               double *residuals);
/* The same sum alone. */
extern double pe_response_objective(const pe_response *response, size_t n, const double *targets,
                                    const double *weights, const double *margins);

/* Sums over rows that dispersion and likelihood need, beside the deviance. */
typedef struct pe_response_sums
{
	double pearson;   /* weight x squared residual / variance */
	double saturated; /* the part of the log-likelihood that no coefficient changes */
	double weight;
} pe_response_sums;

extern void pe_response_add(const pe_response *response, size_t n, const double *targets,
                            const double *weights, const double *margins, pe_response_sums *sums);

/* Is the dispersion known (1), or estimated? */
extern bool pe_response_dispersed(const pe_response *response);
/* NaN where there is no density in closed form (tweedie). As R's glm counts it. */
extern double pe_response_log_likelihood(const pe_response *response, const pe_response_sums *sums,
                                         double deviance, double rows);

#endif /* PE_MODEL_RESPONSE_H */
