/*
 * quadratic.h
 *		A quadratic with an elastic net's penalty, made least by coordinate descent.
 */
#ifndef PE_MODEL_QUADRATIC_H
#define PE_MODEL_QUADRATIC_H

#include "model/internal.h"

/* Of b: (b - b0)' matrix (b - b0) / 2 - gradient' (b - b0). */
typedef struct pe_quadratic
{
	size_t m;
	double *matrix;   /* m x m, whole */
	double *b;        /* in: b0, out: the solution */
	double *gradient; /* at b, negative: in and out */
	bool *active;
	/* for the direct solution among the active ones */
	size_t *places;
	double *factor; /* packed, of as many as are solved directly */
	double *solution;
	bool *skip;
} pe_quadratic;

/* False when out of memory; to be freed in any case. */
extern bool pe_quadratic_create(const pe_env *env, size_t m, pe_quadratic *quadratic);
extern void pe_quadratic_free(const pe_env *env, pe_quadratic *quadratic);
extern void pe_quadratic_set(pe_quadratic *quadratic, size_t row, size_t column, double value);

/*
 * Makes the quadratic + l1 |b|_1 + l2 / 2 |b|^2 least, so nearly that no subgradient
 * condition is missed by more than tolerance, or as nearly as a bounded number of sweeps
 * brings it. False when the tick asked to stop.
 */
extern bool pe_quadratic_solve(pe_quadratic *quadratic, pe_team *pool, double l1, double l2,
                               double tolerance);

#endif /* PE_MODEL_QUADRATIC_H */
