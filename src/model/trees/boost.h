/*
 * boost.h
 *		The state of boosting, which its parts share: rounds (boost.c), losses and their
 *		gradients (objective.c), the rows and columns of a tree (sample.c), what the finished
 *		trees tell of the features (importance.c).
 */
#ifndef PE_MODEL_BOOST_H
#define PE_MODEL_BOOST_H

#include "model/trees/trees.h"

#define PE_BOOST_CHUNK 8192 /* rows of one item of work */

typedef struct pe_boost
{
	pe_fit *fit;
	pe_bins bins;
	pe_forest forest;
	pe_grower grower;
	pe_walker *walker;
	pe_objective objective;
	double parameter;    /* the quantile, or the power of the variance: 1 for Poisson, 2 for Gamma */
	int n_margins;       /* of a row: the classes, or 1 */
	int class;           /* whose tree is grown; 0 without classes */
	double *margins;     /* [n_margins][rows of the dataset] */
	double *normalisers; /* classes: by row, the logarithm of the sum of exp(margin) */
	double *residuals;   /* quantiles: by place among the tree's entries */
	double *residual_weights;
	pe_pair *pairs;
	uint32_t *rows; /* that trees are grown on, then those kept for early stopping */
	uint32_t n_fit;
	uint32_t n_early;
	uint32_t *sampled; /* the tree's rows in front, the others after */
	uint32_t n_sampled;
	uint32_t *size_counts; /* goss: rows by class of |gradient| */
	double room;           /* how many times its weight a row may count */
	double *partial;       /* two numbers for each chunk of rows */
	double scale_g;
	double scale_h;
	signed char *monotone;
} pe_boost;

static inline uint32_t
pe_boost_chunks(uint32_t rows)
{
	return (rows + PE_BOOST_CHUNK - 1) / PE_BOOST_CHUNK;
}

static inline uint32_t
pe_boost_chunk_end(uint32_t item, uint32_t rows)
{
	uint32_t begin = item * PE_BOOST_CHUNK;

	return rows - begin < PE_BOOST_CHUNK ? rows : begin + PE_BOOST_CHUNK;
}

/* A class's margins, by row. */
static inline double *
pe_boost_margins(const pe_boost *b, int class)
{
	return b->margins + (size_t) class * b->fit->dataset->rows;
}

/* objective.c. False where the tick asked to stop. */
/* Every margin as good as one constant (for each class) makes it; the model's base. */
extern pe_status pe_boost_start(pe_boost *b);
/* At the beginning of a round: what the margins of a row have in common. */
extern bool pe_boost_normalise(pe_boost *b);
/* The pairs of the rows that trees are grown on, for the class at hand. */
extern bool pe_boost_gradients(pe_boost *b);
/* The values of the leaves just grown, where the second-order step is not the best. */
extern bool pe_boost_renew_leaves(pe_boost *b);
/* The summed loss of the rows kept for early stopping. */
extern bool pe_boost_early_loss(pe_boost *b, double *loss);
extern double pe_weighted_quantile(double *keys, double *weights, size_t count, double share);

/* sigmoid.c. count: a multiple of four. NaN must not occur; the plain one is for tests. */
extern void pe_sigmoids(const double *margins, double *probabilities, size_t count);
extern void pe_sigmoids_plain(const double *margins, double *probabilities, size_t count);

/* sample.c */
#define PE_GOSS_SIZES 32768 /* classes of |gradient| */
/* Which training rows trees are grown on, and which are kept for early stopping. */
extern pe_status pe_boost_split_early(pe_boost *b);
/* This tree's rows, whose gradients are known, to the front of sampled, in order. */
extern void pe_boost_draw_rows(pe_boost *b, uint32_t tree);
/* This tree's columns into the grower's active ones. */
extern void pe_boost_draw_columns(pe_boost *b, uint32_t tree);

/* importance.c */
/* How well one feature alone tells the target, from the cells of gradients at the base margin. */
extern pe_status pe_boost_find_strongest(pe_boost *b);
/* Shares of gain, splits and mean |SHAP| into the model's features. */
extern pe_status pe_boost_importances(pe_boost *b);

#endif /* PE_MODEL_BOOST_H */
