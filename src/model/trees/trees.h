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
 * The features that have something to tell, as bins. Bin 0 is missing. Numeric: bin
 * b >= 1 holds edge[b - 2] < value <= edge[b - 1]. Categorical: the bin is the slot.
 * Columns of few bins form groups, and a row has one byte for each group: the code,
 * which is the sum of bin * step over the group's columns.
 */
typedef struct pe_bins
{
	int n_columns;
	int *features;     /* column -> feature */
	int *columns;      /* feature -> column, -1: constant, left out */
	uint32_t *offsets; /* n_columns + 1: the column's first cell in a histogram */
	bool *categorical; /* by column */
	float *edges;      /* PE_EDGES by column */
	int n_groups;
	int *groups;           /* by column */
	uint16_t *steps;       /* by column */
	uint16_t *group_codes; /* how many codes each group has, up to 256 */
	int *members;          /* the columns, group by group */
	int *member_begin;     /* n_groups + 1 */
	uint8_t *decode;       /* [column][256]: the column's bin by its group's code */
	size_t stride;         /* bytes from row to row */
	uint8_t *matrix;       /* [row][stride] of codes, for histograms */
	uint8_t *turned;       /* [group][rows] of the same, for partitions */
	uint64_t rows;
} pe_bins;

/* Choose edges from the training rows; constant features are left out. */
extern pe_status pe_bins_choose(pe_fit *fit, pe_bins *bins);
/* Put the columns into groups; part of choosing. group.c. */
extern pe_status pe_bins_group(const pe_env *env, pe_bins *bins, pe_error *err);
/* Fill the matrix, giving back the dataset's values block by block. */
extern pe_status pe_bins_fill(pe_fit *fit, pe_bins *bins);
extern void pe_bins_free(const pe_env *env, pe_bins *bins);
/* The column's bin in a row of the matrix. */
static inline uint8_t
pe_bins_at(const pe_bins *bins, const uint8_t *codes, int column)
{
	return bins->decode[(size_t) column * 256 + codes[bins->groups[column]]];
}
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
	double squares; /* of the rows' rounded g, in cells' units */
	double lowest;  /* bounds of its value, from monotone ancestors */
	double highest;
	pe_split split;
} pe_leaf;

/* The best split on one column. cells: the column's part of the leaf's histogram. */
extern void pe_split_column(const pe_split_rules *rules, const pe_leaf *leaf, int column,
                            const pe_cell *cells, pe_split *best);
/* The value of a leaf with these sums, before the learning rate. */
extern double pe_leaf_weight(const pe_split_rules *rules, const pe_leaf *leaf);

/* Does a row with this bin go left? */
extern bool pe_split_goes_left(const pe_split *split, uint8_t bin);

/*
 * A row of a tree: its number below, above it h and then g of its pair, each rounded to
 * units of 2^PE_ENTRY_SHIFT; |g| <= 2^15, 1 <= h < 2^16.
 */
typedef uint64_t pe_entry;

#define PE_ENTRY_SHIFT 15
#define PE_EXACT_ROWS  50000

/* Where histograms are summed. One build at a time, or one at a time on each thread. */
typedef struct pe_histogram pe_histogram;

/* exact_pairs: by row, to be summed instead of the entries' rounded ones; or NULL. */
extern pe_histogram *pe_histogram_create(const pe_env *env, pe_team *pool, const pe_bins *bins,
                                         const pe_pair *exact_pairs);
extern void pe_histogram_free(pe_histogram *histogram);
/* From now on over the groups of these columns. */
extern void pe_histogram_choose(pe_histogram *histogram, const int *columns, int n_columns);
extern const int *pe_histogram_groups(const pe_histogram *histogram, int *n);
/*
 * Add rows: as one of several threads of a run that was begun, by all threads, or on one
 * thread alone, then at most PE_ALONE_ROWS in all.
 */
#define PE_ALONE_ROWS 65536
extern void pe_histogram_begin(pe_histogram *histogram, pe_cell *cells);
extern void pe_histogram_add(pe_histogram *histogram, int thread, const pe_entry *entries, uint32_t count);
extern bool pe_histogram_add_shared(pe_histogram *histogram, const pe_entry *entries, uint32_t count);
/* Put what the threads have of a group into the cells of its columns; each group once. */
extern void pe_histogram_take(pe_histogram *histogram, int group, int first_thread, int last_thread,
                              pe_cell *cells);
/* The sum of the rows' g squared, in cells' units. */
extern double pe_histogram_squares(const pe_histogram *histogram, int first_thread, int last_thread);
/* After the last group: ready for the next build. */
extern void pe_histogram_end(pe_histogram *histogram, int first_thread, int last_thread);

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
	uint32_t capacity; /* the most rows of a tree; up to PE_EXACT_ROWS nothing is rounded */
	pe_entry *entries; /* the rows while the tree grows */
	pe_entry *scratch; /* as many */
	int *active;       /* the tree's columns */
	int n_active;
	bool *is_active; /* by column */
	int n_groups;    /* that these columns are in */
	pe_histogram *histogram;
	uint32_t n_cells; /* of one histogram */
	double squares;   /* what pe_grower_sum saw of g squared, in cells' units */
	pe_cell *cells;   /* n_slots histograms */
	int n_slots;
	int *free_slots;
	int n_free;
	pe_split *group_splits; /* best ones of two leaves by group */
	pe_leaf *open;          /* leaves that may be split */
	uint32_t n_open;
	uint32_t open_capacity;
	pe_leaf *closed; /* leaves that stay, at the end in the order of their rows */
	uint32_t n_closed;
	uint32_t closed_capacity;
	/* When the tree is done, by row of the dataset: the place of its leaf in closed. */
	bool narrow; /* no tree has more than 256 leaves: a byte is enough */
	uint8_t *places;
	uint32_t *wide_places;
	pe_cell *leaf_sums; /* [threads][leaf_sums_capacity] */
	uint32_t leaf_sums_capacity;
	pe_error *err;
} pe_grower;

extern pe_status pe_grower_create(pe_grower *grower);
extern void pe_grower_free(pe_grower *grower);
/* Grow one tree over these rows, which ascend; its leaves are then in closed, with exact sums. */
extern pe_status pe_grow_tree(pe_grower *grower, const uint32_t *rows, uint32_t count);
/* The cells of all columns over these rows. */
extern bool pe_grower_sum(pe_grower *grower, const uint32_t *rows, uint32_t count, pe_cell *cells);

/* partition.c. False: the tick asked to stop. */
/* Entries for the rows, summed into the histogram, which must have begun. */
extern bool pe_partition_enter(pe_grower *grower, const uint32_t *rows, uint32_t count);
/* Sort a leaf's entries into left and right, keeping the order; by one thread or by all. */
extern uint32_t pe_partition_alone(pe_grower *grower, const pe_leaf *leaf);
extern bool pe_partition_shared(pe_grower *grower, const pe_leaf *leaf, uint32_t *n_left);

/* leaves.c: a finished tree's leaves, and the rows in them. */
extern pe_status pe_leaves_create(pe_grower *grower);
extern void pe_leaves_free(pe_grower *grower);
/* Find each row's leaf, and the leaves' exact sums; closed is in the order of its rows from then on. */
extern pe_status pe_leaves_settle(pe_grower *grower, const uint32_t *rows, uint32_t count);
/* Add the values of the leaves to the margins of their rows. */
extern bool pe_leaves_add_values(pe_grower *grower, const uint32_t *rows, uint32_t count, double *margins);

/* walk.c: the values of grown trees for rows that they were not grown on. */
typedef struct pe_walker pe_walker;

extern pe_walker *pe_walker_create(const pe_env *env, const pe_forest *forest, const pe_bins *bins);
extern void pe_walker_free(pe_walker *walker);
/* Prepare for trees from first on, and for about so many rows; returns for how many trees. */
extern uint32_t pe_walker_load(pe_walker *walker, uint32_t first, uint32_t n_rows);
/*
 * Add a loaded tree's values to the rows' margins, which lie stride apart: by row the margin
 * of the dataset's row, else of the row's place in the list. Threads may do so at once.
 */
extern void pe_walker_add(const pe_walker *walker, uint32_t tree, const uint32_t *rows, uint32_t n_rows,
                          double *margins, size_t stride, bool by_row);

#endif /* PE_MODEL_TREES_H */
