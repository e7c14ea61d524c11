/*
 * recommend.h
 *		Recommending: which items a user will take next, learnt from who took what.
 *		The public face of this folder; the glue includes nothing else from it.
 *
 * The order of use: pe_interactions_create, add rows, pe_recommend_train,
 * pe_recommender_serialize; later pe_recommender_deserialize, then ask for the top
 * items of a user, of many users, or for items alike, as often as wished.
 *
 * A recommender is no pe_model: it maps a user it has seen (a text) to items, not a row
 * of features to a number. It is immutable; every call that takes a const
 * pe_recommender is thread safe. The same rows in the same order with the same options
 * give the same bytes on any number of threads and on any CPU.
 */
#ifndef PE_MODEL_RECOMMEND_H
#define PE_MODEL_RECOMMEND_H

#include "pe_base.h"

/* The numbers are those of pe_algorithm; auto is decided by held-out items. */
typedef enum pe_recommend_method
{
	PE_RECOMMEND_AUTO = 0,
	PE_RECOMMEND_ALS = 13,       /* "implicit_als": Hu, Koren, Volinsky 2008 */
	PE_RECOMMEND_ITEM_ITEM = 14, /* "item_item": scores = affinities x similarities of items */
	PE_RECOMMEND_POPULARITY = 15 /* "popularity": the same for everybody, seen items removed */
} pe_recommend_method;

/*
 * Of two items i, j from c_i, c_j, how many users took each, c_ij, how many took both,
 * and n, how many users there are.
 */
typedef enum pe_similarity
{
	PE_SIMILARITY_COSINE = 1,         /* c_ij / sqrt(c_i c_j) */
	PE_SIMILARITY_JACCARD,            /* c_ij / (c_i + c_j - c_ij) */
	PE_SIMILARITY_COUNT,              /* c_ij */
	PE_SIMILARITY_LIFT,               /* c_ij / (c_i c_j) */
	PE_SIMILARITY_MUTUAL_INFORMATION, /* log2(n c_ij / (c_i c_j)) */
	PE_SIMILARITY_LEXICOGRAPHERS,     /* c_ij log2(n c_ij / (c_i c_j)) */
	PE_SIMILARITY_INCLUSION           /* c_ij / min(c_i, c_j) */
} pe_similarity;

typedef enum pe_repeats
{
	PE_REPEATS_AUTO, /* sum with weights or a half-life, once without */
	PE_REPEATS_ONCE, /* of several rows of a user and item the strongest counts */
	PE_REPEATS_SUM   /* they add up */
} pe_repeats;

typedef enum pe_als_solver
{
	PE_SOLVER_CG,      /* a few steps of conjugate gradients from the last sweep's factors */
	PE_SOLVER_CHOLESKY /* each row's equations exactly */
} pe_als_solver;

#define PE_MAX_FACTORS     512
#define PE_MAX_TOP         1000 /* items recommended to one user */
#define PE_MAX_ITEM_LENGTH 1024 /* bytes of a user's or item's text */
#define PE_CHOSEN          (-1) /* of an option: found out by held-out items */

typedef struct pe_recommend_options
{
	pe_recommend_method method;
	int factors;           /* 64 */
	int iterations;        /* 15: sweeps over users and items */
	double regularization; /* of the factors' squares; PE_CHOSEN */
	double alpha;          /* confidence of a taken item: 1 + alpha * strength; 1 */
	pe_als_solver solver;
	int cg_steps;     /* 3 */
	double half_life; /* days after which an interaction counts half; 0: always whole */
	pe_similarity similarity;
	int neighbours;  /* kept for each item; 0: all; PE_CHOSEN */
	int min_support; /* users that two items need in common; 1 */
	pe_repeats repeats;
	double holdout; /* share of a user's items, the last ones, that are held out; 0: not evaluated */
	int min_items;  /* users with fewer items are not evaluated; 5 */
	uint64_t seed;
	int threads;
} pe_recommend_options;

extern void pe_recommend_options_init(pe_recommend_options *options, pe_recommend_method method);
/* value is the text of a JSON scalar. PE_INVALID_OPTION names the option and what it must be. */
extern pe_status pe_recommend_options_set(pe_recommend_options *options, const char *name, const char *value,
                                          pe_error *err);
extern bool pe_recommend_options_known(pe_recommend_method method, const char *name);
extern const char *pe_recommend_options_names(pe_recommend_method method);
extern const char *pe_recommend_method_name(pe_recommend_method method);
/* False for an unknown name. */
extern bool pe_recommend_method_from_name(const char *name, pe_recommend_method *method);
extern const char *pe_similarity_name(pe_similarity similarity);

/* ---- interactions --------------------------------------------------------------------- */

typedef struct pe_interactions pe_interactions;

/* with_times, with_weights: whether add's time and weight are kept. env must outlive it. */
extern pe_status pe_interactions_create(const pe_env *env, bool with_times, bool with_weights,
                                        pe_interactions **interactions, pe_error *err);
/*
 * One row: user took item at time (days from any fixed day; finite) with a weight
 * (finite, above 0). The texts are bytes, told apart as bytes, at most
 * PE_MAX_ITEM_LENGTH of them (PE_LIMIT).
 */
extern pe_status pe_interactions_add(pe_interactions *interactions, const char *user, size_t user_length,
                                     const char *item, size_t item_length, double time, double weight,
                                     pe_error *err);
extern uint64_t pe_interactions_rows(const pe_interactions *interactions);
/* Bytes held at the moment. */
extern size_t pe_interactions_bytes(const pe_interactions *interactions);
/* Bytes that training on what was added so far takes at its peak, the interactions included. */
extern size_t pe_recommend_memory(const pe_interactions *interactions, const pe_recommend_options *options);
extern void pe_interactions_free(pe_interactions *interactions);

/* ---- training ------------------------------------------------------------------------- */

#define PE_EVALUATED_AT 10 /* the k of recall@k and the others */

/* Means over the scored users of their first PE_EVALUATED_AT recommendations. */
typedef struct pe_recommend_figures
{
	double recall;    /* hits / min(k, held-out items) */
	double ndcg;      /* gains 0 or 1, discount log2(rank + 1), ideal list of min(k, held-out items) */
	double precision; /* hits / k */
	double map;       /* sum of precisions at the hits / min(k, held-out items) */
	double coverage;  /* share of all items that were recommended to anybody */
	double novelty;   /* mean of -log2(share of users who took the item) over what was recommended */
} pe_recommend_figures;

/* One setting that was tried. regularization, alpha: ALS; neighbours, similarity: item_item. */
typedef struct pe_recommend_candidate
{
	pe_recommend_method method;
	double regularization;
	int neighbours;
	bool chosen;
	pe_recommend_figures figures; /* on the users that the choice was made by */
} pe_recommend_candidate;

#define PE_MAX_CANDIDATES 16

typedef enum pe_recommend_quality
{
	PE_QUALITY_NOT_EVALUATED,
	PE_QUALITY_TOO_FEW,  /* fewer than 50 scored users */
	PE_QUALITY_BASELINE, /* does not beat popularity (or is it) */
	PE_QUALITY_BETTER    /* beats popularity */
} pe_recommend_quality;

typedef struct pe_recommend_evaluation
{
	bool evaluated;
	int64_t rows;
	int64_t pairs; /* distinct users and items */
	int64_t users;
	int64_t items;
	int64_t train_pairs;
	int64_t train_items; /* that have any of them */
	int64_t test_pairs;
	int64_t scored_users; /* whose figures these are: none of them had a say in the choice */
	int64_t choice_users; /* that the choice was made by; 0: there was none to make */
	int n_candidates;
	pe_recommend_candidate candidates[PE_MAX_CANDIDATES];
	pe_recommend_figures model;
	pe_recommend_figures popularity;
	double objective; /* ALS: of the deployed model after its last sweep */
	pe_recommend_quality quality;
	char sentence[512];
} pe_recommend_evaluation;

extern const char *pe_recommend_quality_name(pe_recommend_quality quality);

typedef struct pe_recommender pe_recommender;

/*
 * Evaluates on each user's last items, chooses what the options leave open, then learns
 * from all rows: the recommender knows every interaction that was added. Uses the
 * interactions up: they may only be freed afterwards. PE_INVALID_DATA: nothing to learn
 * from.
 */
extern pe_status pe_recommend_train(const pe_env *env, pe_interactions *interactions,
                                    const pe_recommend_options *options, pe_recommender **recommender,
                                    pe_recommend_evaluation *evaluation, pe_error *err);
extern void pe_recommender_free(pe_recommender *recommender);

/* ---- what a recommender is ------------------------------------------------------------ */

typedef struct pe_recommender_settings
{
	pe_recommend_method method;
	int factors;
	int iterations;
	double regularization;
	double alpha;
	double half_life;
	pe_similarity similarity;
	int neighbours; /* 0: all */
	int min_support;
} pe_recommender_settings;

extern pe_recommender_settings pe_recommender_get_settings(const pe_recommender *recommender);
extern uint32_t pe_recommender_users(const pe_recommender *recommender);
extern uint32_t pe_recommender_items(const pe_recommender *recommender);
extern size_t pe_recommender_bytes(const pe_recommender *recommender);

/* Number of a user or item, -1 when it is not known; and back, not terminated. */
extern int64_t pe_recommender_find_user(const pe_recommender *recommender, const char *text, size_t length);
extern int64_t pe_recommender_find_item(const pe_recommender *recommender, const char *text, size_t length);
extern const char *pe_recommender_user(const pe_recommender *recommender, uint32_t user, size_t *length);
extern const char *pe_recommender_item(const pe_recommender *recommender, uint32_t item, size_t *length);

/* How many users took the item, and the popularity that items are ranked by (strengths summed). */
extern uint32_t pe_recommender_item_users(const pe_recommender *recommender, uint32_t item);
extern double pe_recommender_popularity(const pe_recommender *recommender, uint32_t item);
/* The item on that place by popularity, place below pe_recommender_items. */
extern uint32_t pe_recommender_popular(const pe_recommender *recommender, uint32_t place);

/* ---- recommending --------------------------------------------------------------------- */

typedef struct pe_recommendation
{
	uint32_t item;
	bool by_popularity; /* nothing known about the user speaks for it; score is its popularity */
	double score;       /* ALS: predicted preference, about 0 to 1; item_item: summed similarity */
} pe_recommendation;

/*
 * The top items of each of count users, best first, none that the user took; -1 for a
 * user not known, who gets the most popular ones, as do places that a known user's
 * history leaves open. recommendations is [count][top], counts says how many of each
 * row are filled (fewer than top only when there are no more items). Ties go to the
 * item whose text is first in byte order. top is 1 to PE_MAX_TOP. What a user gets does
 * not depend on the other users of the call.
 */
extern pe_status pe_recommender_recommend(const pe_env *env, const pe_recommender *recommender,
                                          const int64_t *users, size_t count, int top, int threads,
                                          pe_recommendation *recommendations, int *counts, pe_error *err);

/*
 * The items most alike: by the cosine of their factors (ALS) or the stored similarity
 * (item_item), best first. *count is how many were found. PE_UNSUPPORTED for popularity.
 */
extern pe_status pe_recommender_similar(const pe_env *env, const pe_recommender *recommender, uint32_t item,
                                        int top, pe_recommendation *similar, int *count, pe_error *err);

/* ---- the artifact --------------------------------------------------------------------- */

/* As of pe_model: little-endian, version, checksum; *bytes is the caller's to free. */
extern pe_status pe_recommender_serialize(const pe_env *env, const pe_recommender *recommender,
                                          uint8_t **bytes, size_t *length, pe_error *err);
/* Any bytes may be given: PE_CORRUPT for what is not a whole artifact, PE_UNSUPPORTED for a later version. */
extern pe_status pe_recommender_deserialize(const pe_env *env, const uint8_t *bytes, size_t length,
                                            pe_recommender **recommender, pe_error *err);

#endif /* PE_MODEL_RECOMMEND_H */
