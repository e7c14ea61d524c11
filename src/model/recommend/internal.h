/*
 * internal.h
 *		What the files of this folder share. Nobody outside src/model/recommend includes
 *		this, but for tests.
 */
#ifndef PE_MODEL_RECOMMEND_INTERNAL_H
#define PE_MODEL_RECOMMEND_INTERNAL_H

#include <math.h>

#include "model/pool.h"
#include "model/recommend/recommend.h"

#define PE_POLL_CELLS 65536 /* cells of a loop between two looks at the clock */

/* Unless told otherwise: all neighbours of few items, the nearest of many. */
#define PE_ALL_NEIGHBOURS_UNTIL 5000
#define PE_MANY_NEIGHBOURS      200

/* ---- sparse matrices ------------------------------------------------------------------ */

/* Rows of (column, value), columns rising in each row. values NULL: every value is 1. */
typedef struct pe_sparse
{
	uint32_t rows;
	uint32_t columns_count;
	uint32_t *starts; /* [rows + 1] */
	uint32_t *columns;
	float *values;
} pe_sparse;

static inline uint32_t
pe_sparse_cells(const pe_sparse *matrix)
{
	return matrix->starts[matrix->rows];
}

/* Zero when it may be freed or was never made. */
extern void pe_sparse_free(const pe_env *env, pe_sparse *matrix);
extern pe_status pe_sparse_transpose(const pe_env *env, const pe_sparse *matrix, pe_sparse *transposed,
                                     pe_error *err);

/* ---- texts ---------------------------------------------------------------------------- */

/* Texts in byte order, none twice: text i is bytes[starts[i]] .. bytes[starts[i + 1]]. */
typedef struct pe_texts
{
	uint32_t count;
	char *bytes;
	size_t *starts; /* [count + 1] */
} pe_texts;

extern void pe_texts_free(const pe_env *env, pe_texts *texts);
extern int64_t pe_texts_find(const pe_texts *texts, const char *text, size_t length);

/* ---- what rows become ----------------------------------------------------------------- */

/* One cell for each user and item; users and items are numbered in byte order of their texts. */
typedef struct pe_history
{
	int64_t rows;
	pe_texts users;
	pe_texts items;
	pe_sparse taken; /* users x items, values: strengths */
	double *first;   /* by cell: when it was first seen, in days; NULL without times */
} pe_history;

/* Takes the rows out of the interactions. PE_INVALID_DATA without any. */
extern pe_status pe_history_create(const pe_env *env, pe_interactions *interactions,
                                   const pe_recommend_options *options, pe_history *history, pe_error *err);
extern void pe_history_free(const pe_env *env, pe_history *history);

/* ---- the arithmetic ------------------------------------------------------------------- */

#define PE_WIDTH_STEP 32 /* rows of factors are padded to a multiple of this with zeros */

static inline int
pe_width(int factors)
{
	return (factors + PE_WIDTH_STEP - 1) / PE_WIDTH_STEP * PE_WIDTH_STEP;
}

/* A row's equations: (gram + sum w y y') x = sum (1 + w) y over its cells, w = alpha * value. */
typedef struct pe_row_problem
{
	const float *factors; /* [columns][width] */
	int width;
	const uint32_t *columns;
	const float *values; /* NULL: 1 */
	uint32_t count;
	float alpha;
	pe_team *team; /* polled between parts of a long row; NULL: not */
	int thread;
} pe_row_problem;

/*
 * The inner loops, with and without AVX2. Both add the same numbers in the same order,
 * eight lanes wide and without fused multiplications, so that results are the same bits.
 */
typedef struct pe_kernels
{
	/* out[i] = x . rows[i] for count rows that follow one another */
	void (*dots)(const float *x, const float *rows, size_t count, int width, float *out);
	/* gram (upper triangle) += rows' rows; [width][width] doubles */
	void (*gram)(const float *rows, size_t count, int width, double *gram);
	/* some steps of conjugate gradients on the row's equations, from x; gram is the full matrix */
	void (*conjugate)(const pe_row_problem *problem, const float *gram, int steps, float *x);
	/* the same exactly; false when the matrix is not positive; scratch is [width + 1][width] doubles */
	bool (*exact)(const pe_row_problem *problem, const double *gram, int factors, double *scratch, float *x);
} pe_kernels;

extern const pe_kernels *pe_recommend_kernels(void);
extern const pe_kernels *pe_recommend_plain_kernels(void); /* for tests: as on a CPU without AVX2 */

/* rows' rows + diagonal, whole and symmetric, [width][width]; false when stopped. */
extern bool pe_gramian(pe_team *team, const pe_kernels *kernels, const float *rows, uint32_t count, int width,
                       int factors, double diagonal, double *parts, double *gram);
extern size_t pe_gramian_parts(uint32_t count, int width); /* doubles of parts */

/* ---- the learners --------------------------------------------------------------------- */

/*
 * Alternating least squares on (by_user, by_item), transposes of each other. factors
 * gets [items][width]. losses, if not NULL, gets the objective after every sweep.
 */
extern pe_status pe_als_fit(const pe_env *env, pe_team *team, const pe_sparse *by_user,
                            const pe_sparse *by_item, const pe_recommend_options *options,
                            const pe_kernels *kernels, float *factors, double *objective, double *losses,
                            pe_error *err);
/* The objective: sum of (1 + w)(p - x.y)^2 over all users and items, + regularization. */
extern pe_status pe_als_objective(const pe_env *env, pe_team *team, const pe_sparse *by_user,
                                  const float *users, const float *items, int width, double alpha,
                                  double regularization, double *objective, pe_error *err);
/* Bytes it takes, for memory.c's sake. */
extern size_t pe_als_memory(uint32_t users, uint32_t items, const pe_recommend_options *options);

/* Similarities of items, the nearest `neighbours` of each (0: all), in neighbours' rows. */
extern pe_status pe_item_item_fit(const pe_env *env, pe_team *team, const pe_sparse *by_user,
                                  const pe_sparse *by_item, const pe_recommend_options *options,
                                  int neighbours, pe_sparse *similarities, pe_error *err);
extern double pe_similarity_of(pe_similarity similarity, double both, double one, double other, double users);

/* ---- the recommender ------------------------------------------------------------------ */

struct pe_recommender
{
	pe_env env; /* the allocator; never ticks */
	pe_recommender_settings settings;
	pe_texts users;
	pe_texts items;
	pe_sparse taken;    /* users x items */
	double *popularity; /* by item: strengths summed */
	uint32_t *item_users;

	pe_sparse similarities; /* item_item: items x items */
	float *factors;         /* ALS: [items][width] */

	/* computed, not stored */
	int width;
	double *gram;      /* ALS: [width][width], regularization on the diagonal */
	uint32_t *popular; /* items by popularity, the most popular first */
	const pe_kernels *kernels;
};

/* popularity and item_users from taken. */
extern pe_status pe_recommender_count(pe_recommender *recommender, pe_error *err);
/* What is computed from what is stored. */
extern pe_status pe_recommender_finish(pe_recommender *recommender, pe_team *team, pe_error *err);

/* Fits the method of settings to the histories; settings say all there is to choose. */
extern pe_status pe_recommender_fit(const pe_env *env, pe_team *team, const pe_recommend_options *options,
                                    pe_recommender *recommender, double *objective, pe_error *err);

extern pe_status pe_recommend_evaluate(const pe_env *env, pe_team *team, const pe_history *history,
                                       pe_recommend_options *options, pe_recommend_evaluation *evaluation,
                                       pe_error *err);
extern void pe_recommend_judge(pe_recommend_evaluation *evaluation, const pe_recommend_options *options);

/* The same as the public one, on a team that is there. */
extern pe_status pe_recommend_on_team(const pe_env *env, pe_team *team, const pe_recommender *recommender,
                                      const int64_t *users, size_t count, int top,
                                      pe_recommendation *recommendations, int *counts, pe_error *err);

static inline uint64_t
pe_recommend_mix(uint64_t x)
{
	x ^= x >> 32;
	x *= UINT64_C(0xd6e8feb86659fd93);
	x ^= x >> 32;
	x *= UINT64_C(0xd6e8feb86659fd93);
	x ^= x >> 32;
	return x;
}

#endif /* PE_MODEL_RECOMMEND_INTERNAL_H */
