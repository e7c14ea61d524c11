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
	double *margins; /* by row of the dataset */
	pe_pair *pairs;
	uint32_t *rows; /* that trees are grown on, then those kept for early stopping */
	uint32_t n_fit;
	uint32_t n_early;
	uint32_t *sampled; /* the tree's rows in front, the others after */
	uint32_t n_sampled;
	double *partial; /* one number for each chunk of rows */
	double squares;  /* of all fixed-point gradients */
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

static inline bool
pe_boost_is_binary(const pe_boost *b)
{
	return b->fit->task == PE_TASK_PROPENSITY;
}

/* objective.c. False where the tick asked to stop. */
extern void pe_boost_start_margins(pe_boost *b);
extern bool pe_boost_gradients(pe_boost *b);
/* The summed loss of the rows kept for early stopping. */
extern bool pe_boost_early_loss(pe_boost *b, double *loss);

/* sample.c */
/* Which training rows trees are grown on, and which are kept for early stopping. */
extern pe_status pe_boost_split_early(pe_boost *b);
/* This tree's rows to the front of sampled, in order, and its columns into active. */
extern void pe_boost_draw(pe_boost *b, uint32_t tree);

/* importance.c */
/* How well one feature alone tells the target, from the cells of gradients at the base margin. */
extern pe_status pe_boost_find_strongest(pe_boost *b);
/* Shares of gain, splits and mean |SHAP| into the model's features. */
extern pe_status pe_boost_importances(pe_boost *b);

#endif /* PE_MODEL_BOOST_H */
