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
	bool large;       /* values so large that their differences might overflow */
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

/* ---- rows as columns ------------------------------------------------------------------ */

#define PE_CHUNK_ROWS 128 /* so that 25 columns of them stay in the first level cache */

/*
 * Rows of a list. With folds, those of one fold are set apart: they weigh nothing, and what
 * they weigh is kept beside. That is quicker than to leave them out, since neighbours in the
 * list are neighbours in memory.
 */
typedef struct pe_row_view
{
	const uint32_t *rows;
	uint32_t n;
	const uint8_t *folds; /* by place in the list; NULL: all rows count */
	int fold;             /* the one set apart */
	bool inverse;         /* all others instead */
} pe_row_view;

/* A thread's chunk of rows. */
typedef struct pe_chunk
{
	double *z;        /* [dense][PE_CHUNK_ROWS], standardised */
	int32_t *dummies; /* [categorical][PE_CHUNK_ROWS], number or -1 */
	double targets[PE_CHUNK_ROWS];
	double weights[PE_CHUNK_ROWS];
	double apart[PE_CHUNK_ROWS]; /* with folds: the weights of the rows set apart, else not set */
	uint32_t at[PE_CHUNK_ROWS];  /* the row's place in its block */
} pe_chunk;

typedef struct pe_chunks
{
	int n_categorical;
	int *categorical; /* -> feature */
	pe_chunk *of;     /* by thread */
	double *dense_arena;
	int32_t *dummy_arena;
} pe_chunks;

/* False when out of memory; to be freed in any case. */
extern bool pe_chunks_create(pe_fit *fit, const pe_design *design, pe_chunks *chunks);
extern void pe_chunks_free(const pe_env *env, pe_chunks *chunks);
/* Loads rows begin .. end - 1 of the view, PE_CHUNK_ROWS at most; returns how many. */
extern uint32_t pe_chunk_load(const pe_fit *fit, const pe_design *design, const pe_chunks *chunks, int thread,
                              const pe_row_view *view, uint32_t begin, uint32_t end);
/* beta by column. margins[n] */
extern void pe_chunk_margins(const pe_design *design, const pe_chunks *chunks, const pe_chunk *chunk,
                             uint32_t n, const double *beta, double *margins);

#endif /* PE_MODEL_DESIGN_H */
