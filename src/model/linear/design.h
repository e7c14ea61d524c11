/*
 * design.h
 *		The design matrix of the linear family, never stored: columns are the intercept, each
 *		number standardised, and a dummy for each level but the first.
 */
#ifndef PE_MODEL_DESIGN_H
#define PE_MODEL_DESIGN_H

#include "model/internal.h"

#define PE_MAX_DESIGN_COLUMNS 2048

typedef struct pe_design_feature
{
	int dense;        /* numeric: its place among the dense columns; -1: none */
	int32_t *dummies; /* categorical: by slot, the dummy's number, -1: base or never seen; NULL: no dummies */
	double fill;      /* numeric: for missing */
	double mean;
	double deviation; /* 0: constant */
	double *weights;  /* categorical: training weight by slot */
} pe_design_feature;

typedef struct pe_design
{
	int n_features;
	pe_design_feature *features;
	int n_dense; /* 1 + numeric features; dense column 0 is the intercept */
	int n_dummies;
	int n_columns;      /* all */
	int *dense_feature; /* dense -> feature */
	int *dummy_feature; /* dummy -> feature */
	int *dummy_slot;
	int *dense_column; /* dense -> column, in the order of features */
	int *dummy_column;
	int32_t *dummy_arena;
	double *weight_arena;
} pe_design;

/* Looks at all training rows; adds notes about filled and constant features. */
extern pe_status pe_design_create(pe_fit *fit, pe_design *design);
extern void pe_design_free(const pe_env *env, pe_design *design);

/* Sums over all training rows at given coefficients. */
typedef struct pe_normal
{
	double objective; /* log-likelihood (binomial), or half the squared errors, negative */
	double *gradient; /* n_columns */
	double *hessian;  /* packed n_columns: of the negative objective */
} pe_normal;

typedef struct pe_accumulator pe_accumulator;

extern pe_accumulator *pe_accumulator_create(pe_fit *fit, const pe_design *design);
extern void pe_accumulator_free(pe_accumulator *accumulator);
/* False when the tick asked to stop. */
extern bool pe_accumulate(pe_accumulator *accumulator, const double *coefficients, pe_normal *normal);

#endif /* PE_MODEL_DESIGN_H */
