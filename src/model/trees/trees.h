/*
 * trees.h
 *		What the files of the boosted trees share: the bin matrix, the histogram cell and
 *		the grower of one tree.
 */
#ifndef PE_MODEL_TREES_H
#define PE_MODEL_TREES_H

#include "model/internal.h"

#define PE_EDGES 256 /* floats kept for each column: at most 254 edges, the rest +infinity */

/*
 * The features that have something to tell, as one byte a cell, a row's bytes side by
 * side. Bin 0 is missing. Numeric: bin b >= 1 holds edge[b - 2] < value <= edge[b - 1].
 * Categorical: the bin is the slot.
 */
typedef struct pe_bins
{
	int n_columns;
	int *features;     /* column -> feature */
	int *columns;      /* feature -> column, -1: constant, left out */
	uint32_t *offsets; /* n_columns + 1: the column's first cell in a histogram */
	bool *categorical; /* by column */
	float *edges;      /* PE_EDGES by column */
	size_t stride;     /* bytes from row to row */
	uint8_t *matrix;   /* [row][stride] */
	uint64_t rows;
} pe_bins;

/* Choose edges from the training rows; constant features are left out. */
extern pe_status pe_bins_choose(pe_fit *fit, pe_bins *bins);
/* Fill the matrix, giving back the dataset's values block by block. */
extern pe_status pe_bins_fill(pe_fit *fit, pe_bins *bins);
extern void pe_bins_free(const pe_env *env, pe_bins *bins);
/* A value that lies in the bin, as predict takes it. */
extern double pe_bins_value(const pe_bins *bins, const pe_model *model, int column, uint8_t bin);

/*
 * Gradients in fixed point. |g| and h are at most 2^30 and there are fewer than 2^31
 * rows, so a sum stays below 2^61 and fits an int64: sums are exact, and in whatever
 * order threads add, they are the same.
 */
typedef struct pe_pair
{
	int32_t g;
	int32_t h; /* at least 1, so that a sum of 0 means no row */
} pe_pair;

#define PE_FIXED_ONE 1073741824.0 /* 2^30 */

typedef struct pe_cell
{
	int64_t g;
	int64_t h;
} pe_cell;

typedef struct pe_sums
{
	double g;
	double h;
} pe_sums;

/* How a leaf would best be split. gain <= 0: not at all. */
typedef struct pe_split
{
	double gain;
	int column;
	uint8_t bin; /* numeric: bins 1..bin go left */
	bool categorical;
	bool missing_left;
	pe_level_set set;
	double left_weight; /* the children's values before the learning rate, for monotone bounds */
	double right_weight;
} pe_split;

/* What a split search needs to know of the leaf and the rules. */
typedef struct pe_split_rules
{
	const pe_options *options;
	const pe_bins *bins;
	const signed char *monotone; /* by column; NULL: no constraint at all */
	double unit_g;               /* what one unit of a cell is worth */
	double unit_h;
} pe_split_rules;

typedef struct pe_leaf
{
	uint32_t begin; /* its rows: rows[begin .. begin + count - 1] */
	uint32_t count;
	uint32_t node;
	int depth;
	int slot; /* its histogram, -1: none kept */
	pe_cell sum;
	double squares; /* of the rows' g, in cells' units */
	double lowest;  /* bounds of its value, from monotone ancestors */
	double highest;
	pe_split split;
} pe_leaf;

/* The best split on one column. cells: the column's part of the leaf's histogram. */
extern void pe_split_column(const pe_split_rules *rules, const pe_leaf *leaf, int column,
                            const pe_cell *cells, pe_split *best);
/* The value of a leaf with these sums, before the learning rate. */
extern double pe_leaf_weight(const pe_split_rules *rules, const pe_leaf *leaf);

typedef struct pe_histogram_job pe_histogram_job;

/* Sum the pairs of the given rows into cells (all of bins->offsets[n_columns]), over the active columns. */
extern bool pe_histogram_build(pe_team *pool, const pe_bins *bins, const int *active, int n_active,
                               const pe_pair *pairs, const uint32_t *rows, uint32_t count, pe_cell *cells,
                               pe_cell *thread_cells);

/* The model's nodes while they grow, with what only training needs beside them. */
typedef struct pe_forest
{
	pe_model *model;
	uint32_t nodes_capacity;
	uint32_t sets_capacity;
	uint8_t *bins; /* by node: the split's bin */
	double *gains; /* by node */
} pe_forest;

typedef struct pe_grower
{
	const pe_env *env;
	pe_team *pool;
	const pe_options *options;
	const pe_bins *bins;
	pe_forest *forest;
	pe_split_rules rules;
	const pe_pair *pairs;
	uint32_t *rows;    /* the tree's rows, in ascending order at the start */
	uint32_t *scratch; /* as many */
	int *active;       /* the tree's columns */
	int n_active;
	pe_cell *cells; /* n_slots histograms */
	int n_slots;
	int *free_slots;
	int n_free;
	pe_cell *thread_cells; /* one histogram for each thread but the first */
	pe_split *column_splits;
	pe_leaf *open; /* leaves that may be split */
	int n_open;
	int open_capacity;
	pe_leaf *closed; /* leaves that stay */
	uint32_t n_closed;
	uint32_t closed_capacity;
	pe_error *err;
} pe_grower;

extern pe_status pe_grower_create(pe_grower *grower);
extern void pe_grower_free(pe_grower *grower);
/* Grow one tree over rows[0 .. count - 1], squares being the sum of their g squared; its leaves are then in
 * closed. */
extern pe_status pe_grow_tree(pe_grower *grower, uint32_t count, double squares);

/* The leaf's node that a binned row reaches in tree. */
extern uint32_t pe_forest_walk(const pe_forest *forest, const pe_bins *bins, uint32_t tree,
                               const uint8_t *row);

#endif /* PE_MODEL_TREES_H */
