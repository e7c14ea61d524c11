/*
 * predictor.h
 *		What the files of the predictor share: a model's trees as programs over bytes.
 */
#ifndef PE_MODEL_PREDICTOR_H
#define PE_MODEL_PREDICTOR_H

#include "model/internal.h"

#define PE_GROUP     32 /* rows of a vector of bytes */
#define PE_GROUPS    4  /* of one item of work: what a step of a program costs is shared by them */
#define PE_ITEM_ROWS (PE_GROUP * PE_GROUPS)
#define PE_EXITS     256 /* of a tree: their numbers are bytes */
#define PE_SCRATCH   8   /* results that wait at most: log2 of the exits */
#define PE_TOGETHER  4   /* trees whose leaves are added in one pass */
#define PE_MAX_CUTS  254 /* of one feature: codes 0 .. 254, and 255 for missing */

/* The sign bit is turned: the comparison of signed bytes is the one that all CPUs have. */
#define PE_CODE(n)     ((int8_t) ((n) ^ 0x80))
#define PE_ALWAYS_LEFT PE_CODE(255) /* as a threshold: no code is above */

/*
 * A feature that some test looks at. A place is an offset in a desk, where PE_ITEM_ROWS
 * bytes lie, one for each row of the item.
 */
typedef struct pe_code_list
{
	int feature;
	bool categorical;
	int steps;      /* of the search among the cuts */
	int n_cuts;     /* numeric: the distinct thresholds, */
	float *cuts;    /* rising, filled up with infinity to (1 << steps) - 1 */
	uint32_t left;  /* place of the codes with 0 for missing; categorical: of the slots */
	uint32_t right; /* place of those with 255; categorical: none */
} pe_code_list;

/* The test of a set: its answers are codes, 1 for right, in a place of their own. */
typedef struct pe_set_test
{
	uint32_t set;
	uint32_t slots; /* place of its feature's slots */
} pe_set_test;

/* One test: each row takes what is at right where its code is above the threshold, else at left. */
typedef struct pe_blend
{
	uint32_t codes; /* places all */
	uint32_t left;
	uint32_t right;
	uint32_t out;
	int8_t threshold;
} pe_blend;

/* A tree's steps, leaves first; the last one's results are the numbers of the rows' exits. */
typedef struct pe_program
{
	uint32_t first_blend;
	uint32_t n_blends; /* at least 1 */
	uint32_t first_set;
	uint32_t n_sets;     /* at most PE_EXITS - 1; answered before the first blend */
	uint32_t first_exit; /* among values and exits */
	bool deeper;         /* some exits are no leaves */
} pe_program;

struct pe_predictor
{
	const pe_env *env;
	const pe_model *model;
	pe_program *programs; /* by tree; NULL: rows are predicted one by one */
	pe_blend *blends;
	pe_set_test *sets;
	double *values;  /* by exit */
	uint32_t *exits; /* nodes */
	pe_code_list *lists;
	int n_lists;
	uint32_t set_places;  /* place of the first set test's answers, */
	uint32_t exit_places; /* of the first exit's number, PE_ITEM_ROWS times, */
	uint32_t n_exit_places;
	uint32_t scratch;        /* of the results that wait, */
	uint32_t results;        /* of tree t's last results, at t % PE_TOGETHER */
	uint32_t numbers;        /* of a group's values, as floats, list after list */
	uint32_t desk_bytes;     /* all places */
	bool plain;              /* use nothing that not every CPU has */
	struct predict_job *job; /* of pe_predictor_start */
};

/* Ends the threads of pe_predictor_start, if it was called. */
extern void pe_predictor_stop(pe_predictor *predictor);

#endif /* PE_MODEL_PREDICTOR_H */
