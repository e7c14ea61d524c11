/*
 * sums.h
 *		What one step of a fit needs of all rows: the objective, its gradient and Hessian.
 *
 * Rows are shared out in a fixed number of parts that depends on the data alone; a part
 * is summed in order by one thread, and parts are added in order. So the result is the
 * same on any number of threads.
 */
#ifndef PE_MODEL_SUMS_H
#define PE_MODEL_SUMS_H

#include "model/linear/design.h"
#include "model/linear/response.h"

typedef enum pe_sum_kind
{
	PE_SUM_OBJECTIVE, /* the objective alone */
	PE_SUM_GRADIENT,  /* and the gradient */
	PE_SUM_HESSIAN,   /* and the Hessian */
	PE_SUM_EXPECTED   /* with the expected Hessian, and the sums for dispersion and likelihood */
} pe_sum_kind;

typedef struct pe_normal
{
	double objective; /* minus half the deviance */
	double apart;     /* the same of the rows that the view sets apart */
	double *gradient; /* n_columns */
	double *hessian;  /* packed n_columns: of the negative objective */
	pe_response_sums sums;
} pe_normal;

/*
 * The weighted products of all columns with each other, in an array of doubles: among
 * dense ones (n_dense x n_dense, lower triangle), dummies with dense ones, among dummies (packed).
 */
typedef struct pe_gram_layout
{
	size_t cross;
	size_t dummies;
	size_t size;
} pe_gram_layout;

/* What summing them takes, beside the chunk. */
typedef struct pe_gram_scratch
{
	double *wz;         /* [dense][PE_CHUNK_ROWS], z by weight */
	double *transposed; /* [PE_CHUNK_ROWS][dense, made a multiple of 4], wz by row */
} pe_gram_scratch;

extern size_t pe_gram_scratch_size(const pe_design *design); /* in doubles, zero at first */
extern pe_gram_scratch pe_gram_scratch_at(const pe_design *design, double *memory);

extern pe_gram_layout pe_gram_lay_out(const pe_design *design);
/* How many parts of that many bytes rows are shared out in. */
extern uint32_t pe_part_count(uint32_t rows, size_t part_bytes);
extern void pe_gram_add(const pe_design *design, const pe_chunks *chunks, const pe_chunk *chunk, uint32_t n,
                        const double *weights, const pe_gram_scratch *scratch, double *gram);
/* To a packed matrix in the columns' own order. */
extern void pe_gram_unpack(const pe_design *design, const double *gram, double *matrix);
/* gradient[dense, then dummies] += residuals by column. */
extern void pe_gradient_add(const pe_design *design, const pe_chunks *chunks, const pe_chunk *chunk,
                            uint32_t n, const double *residuals, double *gradient);
extern void pe_gradient_unpack(const pe_design *design, const double *sums, double *gradient);

typedef struct pe_accumulator pe_accumulator;

extern pe_accumulator *pe_accumulator_create(pe_fit *fit, const pe_design *design,
                                             const pe_response *response);
extern void pe_accumulator_free(pe_accumulator *accumulator); /* NULL is fine */
/* At the coefficients beta, by column. False when the tick asked to stop. */
extern bool pe_accumulate(pe_accumulator *accumulator, const pe_row_view *view, const double *beta,
                          pe_sum_kind kind, pe_normal *normal);

#endif /* PE_MODEL_SUMS_H */
