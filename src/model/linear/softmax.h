/*
 * softmax.h
 *		The multinomial log-likelihood over all rows, with its gradient and Hessian.
 */
#ifndef PE_MODEL_SOFTMAX_H
#define PE_MODEL_SOFTMAX_H

#include "model/linear/linear.h"

typedef struct pe_softmax_sums pe_softmax_sums;

/* with_hessian: whether one will ever be asked for. NULL when out of memory. */
extern pe_softmax_sums *pe_softmax_create(pe_linear *l, int classes, bool with_hessian);
extern void pe_softmax_free(pe_softmax_sums *sums); /* NULL is fine */
/*
 * At beta [class][column]: the log-likelihood, its gradient alike, and unless NULL the packed
 * Hessian of the negative one. False when the tick asked to stop.
 */
extern bool pe_softmax_accumulate(pe_softmax_sums *sums, const double *beta, double *objective,
                                  double *gradient, double *hessian);

#endif /* PE_MODEL_SOFTMAX_H */
