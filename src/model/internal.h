/*
 * internal.h
 *		The two things this layer is made of, dataset and model, as its own files see
 *		them. Nobody outside src/model includes this.
 */
#ifndef PE_MODEL_INTERNAL_H
#define PE_MODEL_INTERNAL_H

#include <math.h>

#include "model/model.h"
#include "model/pool.h"

/*
 * A categorical value's slot: 0 is missing, 1..n_levels are the model's levels in
 * byte order, n_levels + 1 is "other": pooled rare levels and, in prediction,
 * levels never seen. Trees use the slot as the bin, so it fits one byte.
 */
#define PE_SLOT_MISSING 0

/* An array of count items that is not zeroed, on large pages where it is large; NULL as pe_calloc. large.c.
 */
extern void *pe_alloc_large(const pe_env *env, size_t count, size_t size);

/* ---- dataset -------------------------------------------------------------------------- */

/* The distinct texts of one categorical feature: an open-addressing hash over one text arena. */
typedef struct pe_dictionary
{
	char *arena; /* the texts, one after another, not terminated */
	size_t arena_used;
	size_t arena_size;
	uint32_t *starts; /* count + 1 offsets into arena */
	uint32_t count;
	uint32_t capacity;
	uint32_t *table; /* code + 1, 0 is empty; table_size is a power of two */
	uint32_t table_size;
	bool overflowed; /* more than PE_MAX_DISTINCT_LEVELS: the rest has code count */
} pe_dictionary;

typedef struct pe_dataset_feature
{
	char *name;
	char *source_type;
	pe_feature_kind kind;
	pe_dictionary levels;
} pe_dataset_feature;

typedef struct pe_block
{
	void *values;    /* [feature][block_rows], float or double; NULL once binned */
	double *targets; /* this and the next two live until the dataset is freed */
	double *weights; /* NULL without weights */
	uint64_t *hashes;
} pe_block;

struct pe_dataset
{
	const pe_env *env;
	pe_algorithm algorithm;
	bool exact; /* values are double */
	bool with_weights;
	int n_features;
	pe_dataset_feature *features;
	pe_dictionary classes;
	unsigned block_shift; /* rows in a block: 1 << block_shift */
	uint64_t rows;
	uint32_t n_blocks;
	uint32_t blocks_capacity;
	pe_block *blocks;
	size_t bytes;
	bool used_up;
	uint64_t *held; /* a bit for each row: held out; NULL: as the option holdout draws */
	uint64_t held_words;
};

static inline double
pe_dataset_target(const pe_dataset *dataset, uint64_t row)
{
	return dataset->blocks[row >> dataset->block_shift].targets[row & ((1u << dataset->block_shift) - 1)];
}

static inline double
pe_dataset_weight(const pe_dataset *dataset, uint64_t row)
{
	if (!dataset->with_weights)
		return 1.0;
	return dataset->blocks[row >> dataset->block_shift].weights[row & ((1u << dataset->block_shift) - 1)];
}

static inline uint64_t
pe_dataset_hash(const pe_dataset *dataset, uint64_t row)
{
	return dataset->blocks[row >> dataset->block_shift].hashes[row & ((1u << dataset->block_shift) - 1)];
}

/* A cell as a number, whatever it is stored as. The block must not be used up. */
static inline double
pe_dataset_value(const pe_dataset *dataset, int feature, uint64_t row)
{
	const pe_block *block = &dataset->blocks[row >> dataset->block_shift];
	size_t cell = ((size_t) feature << dataset->block_shift) + (row & ((1u << dataset->block_shift) - 1));

	return dataset->exact ? ((const double *) block->values)[cell]
	                      : (double) ((const float *) block->values)[cell];
}

/* Was the row held out by pe_dataset_hold_out? Only asked when dataset->held is there. */
static inline bool
pe_dataset_is_held(const pe_dataset *dataset, uint64_t row)
{
	return row >> 6 < dataset->held_words && (dataset->held[row >> 6] >> (row & 63) & 1) != 0;
}

extern void pe_dataset_free_block_values(pe_dataset *dataset, uint32_t block);

/* ---- model ---------------------------------------------------------------------------- */

#define PE_NODE_CATEGORICAL  1u
#define PE_NODE_MISSING_LEFT 2u

/*
 * One node of a tree; 12 bytes, so that five fit a cache line. Children lie side by
 * side: left and left + 1, both after their parent. A leaf has left == 0.
 */
typedef struct pe_node
{
	union
	{
		float threshold; /* numeric: value <= threshold goes left */
		uint32_t set;    /* categorical: index into sets, a bit for each slot that goes left */
	} test;
	uint32_t left;
	uint16_t feature;
	uint16_t flags;
} pe_node;

typedef struct pe_level_set
{
	uint32_t bits[8];
} pe_level_set;

typedef struct pe_feature
{
	char *name;
	char *source_type;
	pe_feature_kind kind;
	bool used;
	bool pooled; /* categorical: training had levels beyond those kept: "other" was seen */
	int n_levels;
	char **levels; /* sorted by bytes, none twice */
	double gain;
	int64_t splits;
	double mean_contribution;
	bool summarised;
	pe_feature_summary summary;
	/* linear family */
	double fill;   /* numeric: what a missing value counts as */
	double mean;   /* numeric: training mean of the filled column; categorical: mean term */
	double slope;  /* numeric: the coefficient */
	double *terms; /* categorical: n_levels + 2 terms by slot */
} pe_feature;

typedef struct pe_term
{
	int32_t feature; /* -1: intercept */
	int32_t slot;    /* categorical: the dummy's slot; -1 for numeric and intercept */
	int32_t class;   /* multinomial: whose margin it is in; else -1 */
	bool aliased;
	double estimate;
	double standard_error;
	double statistic;
	double p_value;
} pe_term;

#define PE_DISTRIBUTION_POINTS 1001
#define PE_MAX_TREE_DEPTH      64

struct pe_model
{
	pe_env env; /* the allocator; never ticks */
	pe_task task;
	pe_algorithm algorithm;
	int n_features;
	pe_feature *features;
	pe_objective objective;
	double objective_parameter; /* the quantile, or the variance's power; else 0 */
	const struct pe_family *family;
	void *own;      /* what a family that is neither trees nor linear learnt; its release frees it */
	int n_classes;  /* affinity, else 0 */
	char **classes; /* sorted by bytes, none twice */
	int64_t training_rows;
	double base_rate;
	int n_notes;
	char **notes;

	/* boosted trees */
	double base_margin;
	double *class_margins;  /* affinity: the base by class */
	double expected_margin; /* the mean margin by cover: base of explain; computed, not stored */
	uint32_t n_trees;
	uint32_t n_nodes;
	uint32_t n_sets;
	uint32_t *roots; /* n_trees + 1: tree t owns the nodes roots[t] .. roots[t + 1] - 1 */
	pe_node *nodes;
	double *values; /* by node: leaf value (learning rate in), 0 inside; */
	double *covers; /* by node: training rows that reached it, at least 1 */
	pe_level_set *sets;
	int max_depth; /* of any tree; computed */

	/* linear family: the terms are the table to read, features hold what predict needs */
	double intercept;
	uint32_t n_terms;
	pe_term *terms;
	double log_likelihood;
	double null_deviance;
	double deviance;
	double dispersion; /* 1 where it is known */
	double aic;
	int iterations;
	uint32_t n_path; /* elastic net: by falling lambda */
	pe_path_point *path;

	/* calibration: platt has one point (slope, shift), isotonic margins and probabilities, both rising */
	pe_calibration_kind calibration;
	uint32_t n_calibration;
	double *calibration_x;
	double *calibration_y;

	/* quantiles of the predictions, rising */
	uint32_t n_distribution;
	double *distribution;
};

/* The slot of a categorical feature's value as predict gets it. */
static inline int
pe_feature_slot(const pe_feature *feature, double value)
{
	if (isnan(value))
		return PE_SLOT_MISSING;
	if (value >= 0.0 && value < (double) feature->n_levels)
		return 1 + (int) value;
	return feature->n_levels + 1;
}

/* Does the row go to the node's left child? */
static inline bool
pe_goes_left(const pe_model *model, const pe_node *node, const double *values)
{
	double value = values[node->feature];

	if (node->flags & PE_NODE_CATEGORICAL)
	{
		int slot = pe_feature_slot(&model->features[node->feature], value);

		return (model->sets[node->test.set].bits[slot >> 5] >> (slot & 31)) & 1;
	}
	/* Trained on floats: the same rounding here sends the same value the same way. */
	return (float) value <= node->test.threshold || ((node->flags & PE_NODE_MISSING_LEFT) && isnan(value));
}

/* For tests: as on a CPU without AVX2. */
extern void pe_predictor_use_plain(pe_predictor *predictor);

/* Of the class that is predicted. */
extern void pe_explain_multinomial(const pe_model *model, const double *values, double *contributions,
                                   double *base);

/* Add one tree's contributions for a row, by the walk of explain.c. */
extern void pe_explain_tree(const pe_model *model, uint32_t tree, const double *values, void *scratch,
                            double *contributions);

/* The class with the largest margin, the first of equals, and that margin; without classes 0. */
extern int pe_largest_margin(const pe_model *model, const double *values, double *margin);

/*
 * How large trees may grow on so many rows. By default to 31 leaves, the best leaf first, within a
 * depth of 8, of 6 below 6,000 rows; who states one of the two alone means it to be the only bound.
 * max_leaves 0: none.
 */
extern void pe_options_shape(const pe_options *options, double rows, int *max_depth, int *max_leaves);
extern bool pe_objective_serves(pe_objective objective, pe_algorithm algorithm);
extern void pe_algorithm_objectives(pe_task task, pe_algorithm algorithm, char *names, size_t size);

extern pe_status pe_model_create(const pe_env *env, const pe_dataset *dataset, pe_task task, pe_model **model,
                                 pe_error *err);
/* Adds a note, cut at 400 bytes; out of memory is the only failure. */
extern pe_status __attribute__((format(printf, 3, 4)))
pe_model_add_note(pe_model *model, pe_error *err, const char *format, ...);
/* max_depth, expected_margin: what follows from the trees and is not stored. */
extern void pe_model_finish_trees(pe_model *model);
/* The link: margin to prediction, calibrated. */
extern double pe_model_link(const pe_model *model, double margin);
extern void pe_softmax(double *margins, int count); /* margins become probabilities in place */
static inline double
pe_sigmoid(double margin)
{
	return 1.0 / (1.0 + exp(-margin));
}

/* ---- the parts of training ------------------------------------------------------------ */

#define PE_DRAW_HOLDOUT     0 /* purposes of pe_draw */
#define PE_DRAW_CALIBRATION 1
#define PE_DRAW_EARLY       2
#define PE_DRAW_COLUMNS     3
#define PE_DRAW_FOLD        4
#define PE_DRAW_SEARCH      5
#define PE_DRAW_CROSS       6
#define PE_DRAW_TRIAL_FOLD  7
#define PE_DRAW_ROWS        16 /* and the tree's number */

/*
 * The model's levels of each categorical feature, from the training rows: the
 * PE_MAX_MODEL_LEVELS most frequent, sorted. slots[f] (NULL for numeric features) maps dataset codes
 * to slots; one allocation, freed by the caller.
 */
typedef struct pe_slot_map
{
	uint8_t **slots;
	uint8_t *arena;
} pe_slot_map;

/* What is known about which rows serve what. Rows in ascending order. */
typedef struct pe_split_rows
{
	uint32_t *train;
	uint32_t n_train;
	uint32_t *holdout;
	uint32_t n_holdout;
	int64_t train_positives;
	double class_weights[PE_MAX_CLASSES]; /* affinity: of the training rows */
	double train_weight;
	double train_sum; /* weighted sum of targets */
	double largest_weight;
} pe_split_rows;

/*
 * Affinity: the classes that are common enough among the training rows, sorted by bytes,
 * into the model; targets become their numbers, and rows of other classes leave the lists.
 */
extern pe_status pe_choose_classes(pe_model *model, pe_dataset *dataset, pe_split_rows *rows, pe_error *err);

extern pe_status pe_choose_levels(pe_model *model, const pe_dataset *dataset, const pe_split_rows *rows,
                                  pe_team *pool, pe_slot_map *map, pe_error *err);

/* How well one feature alone tells the target: AUC for propensity, R squared for value. */
typedef struct pe_strongest
{
	double strength;
	int feature; /* -1: none */
} pe_strongest;

/*
 * The two learners: fill in the model's own part, and put the margins of the training
 * and the held-out rows into the arrays they are given.
 */
typedef struct pe_fit
{
	const pe_env *env;
	pe_team *pool;
	pe_dataset *dataset;
	const pe_options *options;
	pe_task task;
	pe_split_rows *rows;
	pe_slot_map *map;
	pe_model *model;
	int n_margins;           /* of a row, one after another: the classes, or 1 */
	double *train_margins;   /* [n_train][n_margins], filled by the learner; NULL: not wanted */
	double *holdout_margins; /* [n_holdout][n_margins], filled by the learner */
	pe_strongest strongest;
	pe_error *err;
} pe_fit;

extern pe_status pe_fit_trees(pe_fit *fit);
extern pe_status pe_fit_linear(pe_fit *fit);
/* Fills in fit->strongest from a dataset that still has its values. */
extern pe_status pe_find_strongest(pe_fit *fit);
/* The strength of each feature, into strengths[n_features]. */
extern pe_status pe_feature_strengths(pe_fit *fit, double *strengths);

/* Everything to 0, NaN where a figure may not apply. */
extern void pe_evaluation_clear(pe_evaluation *e, pe_task task);
/* Fills in the features' summaries from a dataset that still has its values. */
extern pe_status pe_summarise_features(const pe_fit *fit);

/* Contributions of some rows, to become the quantiles of the features' summaries. */
typedef struct pe_spread
{
	int n_features;
	uint32_t rows; /* kept: every step-th */
	uint32_t step;
	float *values; /* [n_features][rows] */
} pe_spread;

extern pe_status pe_spread_create(const pe_env *env, pe_spread *spread, int n_features, uint32_t rows,
                                  pe_error *err);
/* Of row 0 to rows - 1, each once; threads may put different rows at the same time. */
extern void pe_spread_put(pe_spread *spread, uint32_t row, const double *contributions);
extern pe_status pe_spread_finish(const pe_env *env, pe_spread *spread, pe_model *model, pe_error *err);
extern void pe_spread_free(const pe_env *env, pe_spread *spread);

extern void pe_judge(pe_evaluation *evaluation, double strongest, const char *feature);

/* Fit calibration on (margins, targets, weights) and store it in the model. */
extern pe_status pe_fit_calibration(const pe_env *env, pe_model *model, pe_calibration_kind kind,
                                    const double *margins, const double *targets, const double *weights,
                                    size_t rows, pe_error *err);
extern pe_status pe_fit_distribution(const pe_env *env, pe_model *model, double *predictions, size_t rows,
                                     pe_error *err);

/*
 * Sort keys rising and permute carried alike. scratch arrays of the same lengths.
 * NaN must not occur. False when the tick asked to stop. carried may be NULL.
 */
extern bool pe_sort_doubles(const pe_env *env, double *keys, uint32_t *carried, double *key_scratch,
                            uint32_t *carried_scratch, size_t count);
extern void pe_sort_floats(float *keys, float *scratch, size_t count);

extern uint32_t pe_crc32c(const uint8_t *bytes, size_t length);

static inline uint64_t
pe_mix64(uint64_t x)
{
	x ^= x >> 32;
	x *= UINT64_C(0xd6e8feb86659fd93);
	x ^= x >> 32;
	x *= UINT64_C(0xd6e8feb86659fd93);
	x ^= x >> 32;
	return x;
}

/* A number in [0, 1) that depends on the row's key, the seed and what it is drawn for. */
static inline double
pe_draw(uint64_t hash, uint64_t seed, uint64_t purpose)
{
	return (double) (pe_mix64(hash ^ pe_mix64(seed * UINT64_C(0x9e3779b97f4a7c15) + purpose + 1)) >> 11) *
	       0x1p-53;
}

/* The one rule of who is held out: by the caller's choice where it made one, else drawn. */
static inline bool
pe_row_is_held_out(const pe_dataset *dataset, uint64_t row, const pe_options *options)
{
	if (dataset->held != NULL)
		return pe_dataset_is_held(dataset, row);
	return pe_draw(pe_dataset_hash(dataset, row), options->seed, PE_DRAW_HOLDOUT) < options->holdout;
}

#endif /* PE_MODEL_INTERNAL_H */
