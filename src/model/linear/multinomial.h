/*
 * multinomial.h
 *		What a multinomial model keeps beside its table of coefficients.
 */
#ifndef PE_MODEL_MULTINOMIAL_H
#define PE_MODEL_MULTINOMIAL_H

#include "model/family.h"

/*
 * By class within each item: the intercepts, then feature by feature a number's slopes,
 * or a category's terms by slot and their means over the training rows.
 */
typedef struct pe_multinomial_own
{
	size_t *offsets; /* by feature, into numbers */
	double *numbers;
	size_t count;
} pe_multinomial_own;

/* offsets and count from the model's features and classes. NULL when out of memory. */
extern pe_multinomial_own *pe_multinomial_own_create(const pe_env *env, const pe_model *model);
/* What a feature adds to each margin: terms[n_classes]; value as predict gets it. */
extern const double *pe_multinomial_terms(const pe_model *model, int feature, double value, double *scale);

#endif /* PE_MODEL_MULTINOMIAL_H */
