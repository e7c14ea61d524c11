/*
 * linear.h
 *		What a fit of the linear family knows, as its parts see it.
 *
 * Coefficients are by column, on the design's scale (numbers standardised, dummies as they
 * are), until store.c maps them back.
 */
#ifndef PE_MODEL_LINEAR_H
#define PE_MODEL_LINEAR_H

#include "model/linear/sums.h"

typedef struct pe_column
{
	int feature; /* -1: intercept */
	int slot;    /* -1: numeric */
	int dense;   /* -1: a dummy */
	int dummy;
} pe_column;

typedef struct pe_linear
{
	pe_fit *fit;
	pe_design design;
	pe_response response;
	pe_accumulator *accumulator;
	pe_row_view all; /* every training row */
	size_t n;        /* columns */
	pe_column *columns;
	double *beta;
	bool *aliased;   /* columns that others determine */
	bool *separated; /* their estimate is at infinity */
	double *factor;  /* Cholesky's, packed, of the expected Hessian: for standard errors */
	bool *skip;      /* columns that the factor left out */
	double *column;  /* n, for solving */
	bool penalised;  /* there are no standard errors */
	double null_objective;
	double objective; /* without penalty, at beta */
	pe_response_sums sums;
	int iterations;
} pe_linear;

extern pe_status pe_linear_cancelled(const pe_linear *l);
/* "tenure" or "plan = gold" for notes. */
extern void pe_describe_column(const pe_linear *l, size_t column, char *text, size_t size);
/* l->aliased are the columns of one value: a ridge penalty would leave them in. */
extern void pe_mark_constants(pe_linear *l);
/* Notes about l->aliased; PE_INVALID_DATA when no column is left. */
extern pe_status pe_say_aliases(const pe_linear *l);
/* The learners: beta and what standard errors need. */
extern pe_status pe_newton(pe_linear *l);
extern pe_status pe_elastic_net(pe_linear *l);
extern pe_status pe_multinomial(pe_linear *l);
/* beta into the model: terms, and what predict and explain read. */
extern pe_status pe_store_linear(pe_linear *l);
/* The margins of all rows, and the features' mean contributions, from the model. */
extern pe_status pe_store_margins(pe_fit *fit);

#endif /* PE_MODEL_LINEAR_H */
