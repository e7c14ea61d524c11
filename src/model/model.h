/*
 * model.h
 *		What a model is: learn, evaluate, predict, explain, store. The whole public
 *		face of this layer; the glue includes nothing else from here.
 *
 * The order of use: pe_dataset_create, append rows, pe_train, pe_model_serialize;
 * later pe_model_deserialize, then predict, explain and score as often as wished.
 * Models are immutable: every call that takes a const pe_model is thread safe,
 * allocates nothing and never reads out of bounds, whatever bytes it came from.
 *
 * The same rows in the same order with the same options and seed give the same
 * artifact, byte for byte, on any number of threads.
 */
#ifndef PE_MODEL_H
#define PE_MODEL_H

#include "pe_base.h"

typedef enum pe_task
{
	PE_TASK_PROPENSITY = 1,     /* target 0 or 1; predictions are probabilities */
	PE_TASK_VALUE = 2,          /* target any finite number; predictions are expected values */
	PE_TASK_AFFINITY = 3,       /* target one of several classes; the outputs are their probabilities */
	PE_TASK_LIFETIME_VALUE = 4, /* from purchase histories; no target */
	PE_TASK_SEGMENT = 5,        /* clusters of alike rows; no target */
	PE_TASK_ENGAGEMENT = 6,     /* decayed points from events; no target */
	PE_TASK_RECOMMENDATION = 7, /* items for users; no pe_model */
	PE_TASK_UPLIFT = 8          /* what a treatment adds to the probability; uplift/uplift.h */
} pe_task;

typedef enum pe_algorithm
{
	PE_ALGORITHM_LOGISTIC = 1,
	PE_ALGORITHM_LINEAR = 2,
	PE_ALGORITHM_BOOSTED_TREES = 3,
	PE_ALGORITHM_GLM = 4,
	PE_ALGORITHM_MULTINOMIAL = 5,
	PE_ALGORITHM_BG_NBD = 6,
	PE_ALGORITHM_PARETO_NBD = 7,
	PE_ALGORITHM_MBG_NBD = 8,
	PE_ALGORITHM_BG_BB = 9,
	PE_ALGORITHM_SBG = 10,
	PE_ALGORITHM_KMEANS = 11,
	PE_ALGORITHM_DECAYED_POINTS = 12,
	PE_ALGORITHM_IMPLICIT_ALS = 13,
	PE_ALGORITHM_ITEM_ITEM = 14,
	PE_ALGORITHM_POPULARITY = 15,
	PE_ALGORITHM_TWO_PART = 16, /* selection.h */
	PE_ALGORITHM_TWO_MODELS = 17,
	PE_ALGORITHM_CLASS_TRANSFORMATION = 18
} pe_algorithm;

/* What training makes small, and with it the link: log for the last three numbers, else the identity. */
typedef enum pe_objective
{
	PE_OBJECTIVE_DEFAULT = 0, /* as pe_default_objective says */
	PE_OBJECTIVE_LOGISTIC = 1,
	PE_OBJECTIVE_SQUARED = 2,
	PE_OBJECTIVE_ABSOLUTE = 3,
	PE_OBJECTIVE_QUANTILE = 4, /* parameter: the quantile */
	PE_OBJECTIVE_POISSON = 5,
	PE_OBJECTIVE_GAMMA = 6,
	PE_OBJECTIVE_TWEEDIE = 7, /* parameter: the variance's power, between 1 and 2 */
	PE_OBJECTIVE_MULTICLASS = 8
} pe_objective;

typedef enum pe_feature_kind
{
	PE_FEATURE_NUMERIC = 1,
	PE_FEATURE_CATEGORICAL = 2
} pe_feature_kind;

#define PE_MAX_FEATURES        16384
#define PE_MAX_NAME            1023  /* bytes of a feature's name or source type */
#define PE_MAX_LEVEL_LENGTH    1024  /* bytes of a level that are told apart; the rest is cut off */
#define PE_MAX_DISTINCT_LEVELS 65535 /* levels a dataset tells apart in one feature */
#define PE_MAX_MODEL_LEVELS    254   /* the most frequent ones, which a model keeps; the rest is pooled */
#define PE_MAX_ROWS            2000000000
#define PE_MAX_CLASSES         256
#define PE_MAX_MODEL_CLUSTERS  100

/* Names as SQL spells them; NULL for a value that is none, 0 for an unknown name. */
extern const char *pe_task_name(pe_task task);
extern const char *pe_algorithm_name(pe_algorithm algorithm);
extern pe_task pe_task_from_name(const char *name);
extern pe_algorithm pe_algorithm_from_name(const char *name);
extern const char *pe_objective_name(pe_objective objective);
extern pe_objective pe_objective_from_name(const char *name);
extern pe_objective pe_default_objective(pe_task task, pe_algorithm algorithm);
/* The names of the algorithms that serve the task, for hints: "boosted_trees, logistic". */
extern void pe_task_algorithms(pe_task task, char *names, size_t size);
/* PE_OK, or PE_INVALID_OPTION with a hint that names the objectives of the two. */
extern pe_status pe_check_objective(pe_task task, pe_algorithm algorithm, pe_objective objective,
                                    pe_error *err);
/* PE_OK, or PE_INVALID_OPTION with a hint that names the algorithms of the task. */
extern pe_status pe_check_task(pe_task task, pe_algorithm algorithm, pe_error *err);

/*
 * A stable hash, the same on every machine and in every version: of row keys for
 * the holdout, of level texts. Never seeded by anything but its arguments.
 */
extern uint64_t pe_hash_bytes(const void *data, size_t length, uint64_t seed);

/* ---- datasets ------------------------------------------------------------------------- */

typedef struct pe_dataset pe_dataset;

typedef struct pe_feature_spec
{
	const char *name;        /* 1 to PE_MAX_NAME bytes, unique in the dataset */
	const char *source_type; /* opaque to this layer, handed back by pe_model_feature; may be NULL */
	pe_feature_kind kind;
} pe_feature_spec;

/*
 * An empty dataset for the algorithm: boosted trees keep 4 bytes a cell, the linear
 * family 8, since its coefficients must not suffer from rounded inputs. with_weights
 * says whether append's weight is kept. Copies the specs. env must outlive the
 * dataset. The dataset grows in blocks of at most 4 MB or 1,024 rows, never by copying.
 */
extern pe_status pe_dataset_create(const pe_env *env, pe_algorithm algorithm, const pe_feature_spec *features,
                                   int n_features, bool with_weights, pe_dataset **dataset, pe_error *err);
extern void pe_dataset_free(pe_dataset *dataset); /* NULL is fine */

/*
 * The code of a categorical feature's level, made if it is new; this is what append
 * takes as the feature's value. Beyond PE_MAX_DISTINCT_LEVELS all new levels share
 * one code. Codes are the dataset's own; a model has others (pe_model_level).
 */
extern pe_status pe_dataset_level(pe_dataset *dataset, int feature, const char *text, size_t length,
                                  int32_t *code, pe_error *err);

/*
 * The code of a class of PE_TASK_AFFINITY, made if it is new; this is what append takes
 * as the target. Classes beyond PE_MAX_CLASSES are PE_LIMIT. A model numbers its
 * classes in the order of their bytes, whatever order the rows came in.
 */
extern pe_status pe_dataset_class(pe_dataset *dataset, const char *text, size_t length, int32_t *code,
                                  pe_error *err);

/*
 * Append one row. values[n_features]: numbers, level codes, NaN for missing. target:
 * finite, and 0 or 1 where the task is propensity (pe_train checks that). weight: above
 * 0, or 0 to leave the row out; not looked at without weights. key_hash: pe_hash_bytes
 * of the row's key; without a key, of the row's number. Refuses infinite values for the
 * linear family (PE_INVALID_DATA with row and column), clamps them to float for trees.
 */
extern pe_status pe_dataset_append(pe_dataset *dataset, const double *values, double target, double weight,
                                   uint64_t key_hash, pe_error *err);

/*
 * The same for some rows, stride doubles apart, and quicker: an error is about the
 * first bad one, and those before it are kept. weights may be NULL without weights.
 */
extern pe_status pe_dataset_append_rows(pe_dataset *dataset, const double *values, size_t stride,
                                        const double *targets, const double *weights,
                                        const uint64_t *key_hashes, size_t rows, pe_error *err);

extern uint64_t pe_dataset_rows(const pe_dataset *dataset);
extern size_t pe_dataset_bytes(const pe_dataset *dataset); /* allocated right now */

/*
 * The most memory that reading the rows and pe_train over them will have allocated
 * at once, in bytes, with the given options' threads: announce it, and compare it
 * with profenrich.training_memory before and, every block of rows, while reading.
 * An upper bound; level texts beyond a few MB are not in it.
 */
struct pe_options;
extern size_t pe_training_memory(const struct pe_options *options, int n_features, bool with_weights,
                                 uint64_t rows);
/* The most rows for which that stays within bytes. */
extern uint64_t pe_training_memory_rows(const struct pe_options *options, int n_features, bool with_weights,
                                        size_t bytes);

/* ---- options -------------------------------------------------------------------------- */

typedef enum pe_calibration_kind
{
	PE_CALIBRATION_NONE = 0,
	PE_CALIBRATION_PLATT = 1,
	PE_CALIBRATION_ISOTONIC = 2
} pe_calibration_kind;

/* Elastic net: where the penalty's size comes from. */
typedef enum pe_lambda_choice
{
	PE_LAMBDA_NONE = 0, /* no elastic net */
	PE_LAMBDA_GIVEN,
	PE_LAMBDA_CV,    /* the least deviance in cross-validation */
	PE_LAMBDA_CV_1SE /* the largest within one standard error of that */
} pe_lambda_choice;

#define PE_MAX_MONOTONE 64

typedef struct pe_monotone
{
	char feature[128];
	int direction; /* +1 never falls as the feature grows, -1 never rises */
} pe_monotone;

typedef struct pe_options
{
	pe_algorithm algorithm;
	/* every algorithm */
	double holdout; /* share of the rows, by hash of the key */
	uint64_t seed;
	int threads; /* including the calling one */
	pe_objective objective;
	double quantile;      /* of PE_OBJECTIVE_QUANTILE */
	double tweedie_power; /* of PE_OBJECTIVE_TWEEDIE */
	pe_calibration_kind calibrate;
	/* boosted trees */
	int trees;
	int max_depth;  /* of the longest path, in splits */
	int max_leaves; /* 0: no bound, grow by depth; else grow the best leaf first */
	double learning_rate;
	int max_bins;
	double min_child_weight;
	double min_gain;
	double l1;
	double l2; /* also: the ridge penalty of logistic and linear, default 0 there */
	double row_sample;
	double column_sample;
	bool goss;          /* each tree on the rows of the largest gradients and a sample of the others */
	double goss_top;    /* share of the rows that is kept whole */
	double goss_other;  /* share that is drawn from the others, and weighs as much as they do */
	int early_stopping; /* rounds without progress; 0: never */
	int n_monotone;
	pe_monotone monotone[PE_MAX_MONOTONE];
	/* linear family */
	int max_iterations;
	double tolerance;
	pe_lambda_choice lambda_choice;
	double lambda;   /* of PE_LAMBDA_GIVEN */
	double l1_ratio; /* 1: lasso, 0: ridge */
	int lambda_count;
	int folds;
	bool max_depth_given;
	bool max_leaves_given;
	bool only_evaluated; /* the model is thrown away: importances are not worth their time */
	bool keeps_rows;     /* for pe_training_memory: another training over the rows follows (selection.h) */
	/* k-means; max_iterations and tolerance too */
	int clusters;         /* 0: found by silhouette */
	int max_clusters;     /* the most that are tried then */
	int starts;           /* k-means++ starts for each number of clusters */
	bool robust_scale;    /* by median and quartiles */
	int expected_classes; /* affinity, for pe_training_memory: how many classes to reckon with */
} pe_options;

extern void pe_options_init(pe_options *options, pe_algorithm algorithm);

/*
 * Set one option from its text, as jsonb prints a scalar without quotes: "200",
 * "0.05", "true", "isotonic". An unknown name or one that the algorithm does not have,
 * and a value that is no number or out of range: PE_INVALID_OPTION, with the valid
 * names or the range in the hint. Named in the design but not built: PE_UNSUPPORTED.
 */
extern pe_status pe_options_set(pe_options *options, const char *name, const char *value, pe_error *err);
/* One pair of {"monotone": {"feature": "increasing" | "decreasing" | "1" | "-1"}}. */
extern pe_status pe_options_set_monotone(pe_options *options, const char *feature, const char *direction,
                                         pe_error *err);
/* Do the options go together? What pe_train checks first, for those who read rows before. */
extern pe_status pe_options_check(const pe_options *options, pe_error *err);
extern bool pe_options_known(pe_algorithm algorithm, const char *name);
/* "trees, max_depth, ..." for the caller's own hints. Static text. */
extern const char *pe_options_names(pe_algorithm algorithm);

/* ---- evaluation ----------------------------------------------------------------------- */

typedef enum pe_verdict
{
	PE_VERDICT_NOT_EVALUATED = 0,
	PE_VERDICT_TOO_FEW, /* too few positives (or rows) to tell */
	PE_VERDICT_LEAKAGE, /* one feature alone restates the target */
	PE_VERDICT_POOR,
	PE_VERDICT_FAIR,
	PE_VERDICT_GOOD,
	PE_VERDICT_EXCELLENT
} pe_verdict;

#define PE_MAX_ROC_POINTS 200

/* One tenth of the rows, from the highest predictions (decile 1) down. */
typedef struct pe_decile
{
	int64_t rows;
	double weight;
	double sum_target;  /* positives, or the targets' sum */
	double mean_target; /* response rate, or mean actual value */
	double mean_prediction;
	double lift; /* mean_target over the overall mean */
	double cumulative_lift;
	double cumulative_gain; /* share of all positives (value: of the sum) up to here */
	double lowest_prediction;
} pe_decile;

typedef struct pe_roc_point
{
	double threshold; /* predictions >= threshold count as positive */
	double false_positive_rate;
	double true_positive_rate;
} pe_roc_point;

/* Rows by predicted probability, ten bins of equal count with ties kept together. */
typedef struct pe_calibration_bin
{
	double lowest;
	double highest;
	int64_t rows;
	double weight;
	double mean_prediction;
	double mean_target;
} pe_calibration_bin;

/* One class of affinity: how well its rows are told from all others. */
typedef struct pe_class_evaluation
{
	char name[64]; /* cut, where the name is longer */
	int64_t rows;  /* evaluated rows that are of the class */
	double share;  /* of the weight */
	double mean_prediction;
	double auc;       /* one against the rest, by the class's probability; NaN without both */
	double precision; /* of the rows that are predicted to be of the class; NaN when there are none */
	double recall;
} pe_class_evaluation;

#define PE_CONFUSION_CLASSES 20

/*
 * Metrics are NaN where they do not apply (regression ones for propensity, AUC with
 * one class only). All weigh rows by their weight.
 */
typedef struct pe_evaluation
{
	pe_task task;
	bool evaluated;        /* false: holdout 0, only the counts and the verdict are set */
	int64_t training_rows; /* of pe_train; 0 from pe_evaluate */
	int64_t training_positives;
	int64_t rows; /* evaluated */
	int64_t positives;
	double base_rate; /* weighted mean of the target; affinity: the largest class's share */
	/* propensity */
	double auc; /* exact, ties count half */
	double log_loss;
	double brier;
	double ks;
	double average_precision; /* PR-AUC */
	double ece;               /* over the calibration bins, weighted */
	int n_roc;
	pe_roc_point roc[PE_MAX_ROC_POINTS];
	int n_bins;
	pe_calibration_bin bins[10];
	/* value */
	double rmse;
	double mae;
	double r2;
	double gini; /* normalised: 1 is the perfect order, 0 a random one */
	pe_objective objective;
	double deviance;           /* mean, by the objective; quantile, absolute: twice the mean pinball loss */
	double deviance_explained; /* 1 - deviance / that of the best constant */
	double coverage;           /* quantile: share of the rows that are at most the prediction */
	/* affinity; log_loss and brier too, over all classes */
	double accuracy; /* share of the rows whose most probable class is theirs */
	double top3_accuracy;
	double macro_auc;     /* mean of the classes' AUC */
	double null_log_loss; /* of predicting the classes' shares for everybody */
	int n_classes;
	pe_class_evaluation classes[PE_MAX_CLASSES]; /* in the model's order */
	/*
	 * Weight by actual (first index) and most probable class, the most frequent classes first;
	 * what confusion_class does not name falls under index n_confusion.
	 */
	int n_confusion;
	int confusion_class[PE_CONFUSION_CLASSES];
	double confusion[PE_CONFUSION_CLASSES + 1][PE_CONFUSION_CLASSES + 1];
	/* all */
	int n_deciles;
	pe_decile deciles[10];
	/* in words */
	pe_verdict verdict;
	char sentence[512];   /* one or two full sentences: the verdict and its cause */
	double strongest_auc; /* the best AUC (value: share of variance) of one feature alone; NaN unless from
	                         pe_train */
	char strongest_feature[128];
} pe_evaluation;

extern const char *pe_verdict_name(pe_verdict verdict); /* "good", "leakage suspected", ... */
/* The figure the task is judged by, for headlines: "auc", "gini" or "macro_auc", and its value. */
extern const char *pe_evaluation_headline(const pe_evaluation *evaluation, double *value);

/*
 * Evaluate predictions against what happened. weights may be NULL. Targets of
 * PE_TASK_PROPENSITY must be 0 or 1 (PE_INVALID_DATA otherwise). Allocates about
 * 24 bytes a row while it runs.
 */
extern pe_status pe_evaluate(const pe_env *env, pe_task task, const double *predictions,
                             const double *targets, const double *weights, size_t rows,
                             pe_evaluation *evaluation, pe_error *err);

/*
 * The same for PE_TASK_AFFINITY: probabilities[rows][n_classes], targets are classes 0 to
 * n_classes - 1, named by names. Allocates about 40 bytes a row while it runs.
 */
extern pe_status pe_evaluate_classes(const pe_env *env, int n_classes, const char *const *names,
                                     const double *probabilities, const double *targets,
                                     const double *weights, size_t rows, pe_evaluation *evaluation,
                                     pe_error *err);

/*
 * Add what depends on the objective to an evaluation of PE_TASK_VALUE: deviance, its
 * share explained, coverage. parameter: the quantile, or Tweedie's power.
 */
extern void pe_evaluate_deviance(pe_objective objective, double parameter, const double *predictions,
                                 const double *targets, const double *weights, size_t rows,
                                 pe_evaluation *evaluation);

/* ---- training ------------------------------------------------------------------------- */

typedef struct pe_model pe_model;

/*
 * Learn a model and evaluate it on the rows that were held out. options->algorithm
 * must be the dataset's. The dataset's columns are used up: afterwards, also after
 * a failure, only pe_dataset_free may be called on it. Ticks with the phases "bin",
 * "fit", "explain", "evaluate". evaluation must not be NULL. *model is NULL unless PE_OK.
 *
 * PE_INVALID_DATA: no rows, one class only, a target that is not 0 or 1, a constant
 * target, no feature with two different values, ... each naming the cause.
 */
extern pe_status pe_train(const pe_env *env, pe_dataset *dataset, pe_task task, const pe_options *options,
                          pe_model **model, pe_evaluation *evaluation, pe_error *err);
extern void pe_model_free(pe_model *model); /* NULL is fine; the env it was made with must still work */

/* ---- what is in a model --------------------------------------------------------------- */

extern pe_task pe_model_task(const pe_model *model);
extern pe_algorithm pe_model_algorithm(const pe_model *model);
extern pe_objective pe_model_objective(const pe_model *model);
extern int pe_model_class_count(const pe_model *model);              /* 0 but for affinity */
extern const char *pe_model_class(const pe_model *model, int class); /* NULL: no such class */
extern bool pe_model_explains(const pe_model *model); /* may pe_model_margin and explain be called? */
extern size_t pe_model_bytes(const pe_model *model);  /* memory it takes, for a cache */
extern int pe_model_tree_count(const pe_model *model);
extern int64_t pe_model_training_rows(const pe_model *model);
extern double pe_model_base_rate(const pe_model *model); /* mean target of the training rows */
extern pe_calibration_kind pe_model_calibration(const pe_model *model);

/* Things its user should know ("TotalCharges: 11 missing values count as the median 1397.475"). */
extern int pe_model_note_count(const pe_model *model);
extern const char *pe_model_note(const pe_model *model, int note);

#define PE_SPREAD_QUANTILES 5

/* What the rows of the training held, held-out ones too; not stored with the model. */
typedef struct pe_feature_summary
{
	double missing; /* share of the rows without a value */
	double lowest;  /* these three of numbers; NaN without any */
	double highest;
	double mean;
	int distinct;     /* levels, of categories */
	double top_share; /* of the most frequent level, among all rows */
	char top[64];     /* its text, cut off after whole characters */
	/* 5th, 25th, 50th, 75th and 95th percentile of the SHAP values behind mean_contribution; NaN: none */
	double contributions[PE_SPREAD_QUANTILES];
} pe_feature_summary;

typedef struct pe_model_feature
{
	const char *name;
	const char *source_type; /* never NULL */
	pe_feature_kind kind;
	int n_levels;   /* categorical: the levels that the model tells apart */
	bool used;      /* does any split or coefficient look at it? */
	double gain;    /* share of the total gain; linear family: share of the summed mean |contribution| */
	int64_t splits; /* trees: the number of splits on it */
	double mean_contribution; /* mean |SHAP| on up to 2,000 held-out rows, on the margin scale */
	bool summarised;          /* the model was just trained: is summary filled in? */
	pe_feature_summary summary;
} pe_model_feature;

extern int pe_model_feature_count(const pe_model *model);
/* The texts live as long as the model. feature out of range: all zero. */
extern pe_model_feature pe_model_get_feature(const pe_model *model, int feature);
extern int pe_model_find_feature(const pe_model *model, const char *name); /* -1: there is none */

/* What predict takes for a categorical value that is none of the model's levels. */
#define PE_UNKNOWN_LEVEL (-1)
/* The code of a text, or PE_UNKNOWN_LEVEL. */
extern int32_t pe_model_level(const pe_model *model, int feature, const char *text, size_t length);
extern const char *pe_model_level_text(const pe_model *model, int feature,
                                       int32_t code); /* NULL: no such code */

/* One row of the coefficient table of the linear family; each class begins with its intercept. */
typedef struct pe_coefficient
{
	const char *class;     /* multinomial: the class; NULL: there is one table only */
	int feature;           /* -1: the intercept */
	const char *name;      /* "(intercept)" or the feature's name */
	const char *level;     /* the categorical's level, "(missing)", "(other)", or NULL */
	double estimate;       /* on the feature's own scale */
	double standard_error; /* these three are NaN where they are not defined (base, alias, penalty) */
	double statistic;      /* z where the dispersion is known (logistic, poisson, multinomial), else t */
	double p_value;
	bool aliased; /* dropped: it is a combination of the ones before it */
} pe_coefficient;

extern int pe_model_coefficient_count(const pe_model *model); /* 0 for trees */
extern pe_coefficient pe_model_get_coefficient(const pe_model *model, int row);
extern double pe_model_log_likelihood(const pe_model *model); /* of the training rows; NaN for trees */
extern double pe_model_null_deviance(const pe_model *model);
extern double pe_model_deviance(const pe_model *model);
extern double pe_model_dispersion(const pe_model *model); /* 1 where it is known, NaN for trees */
extern double pe_model_aic(const pe_model *model);        /* NaN for tweedie and with a penalty */

/* The elastic net's path, from the largest lambda down. */
typedef struct pe_path_point
{
	double lambda;
	int nonzero;               /* coefficients, the intercept not counted */
	double deviance_explained; /* share of the null deviance, on the training rows */
	double cv_mean;            /* deviance of a row that was left out, mean over folds; NaN without folds */
	double cv_error;           /* its standard error */
	bool least;                /* has the least cv_mean */
	bool one_error;            /* the largest lambda within one standard error of it */
	bool chosen;
} pe_path_point;

extern int pe_model_path_count(const pe_model *model); /* 0 without an elastic net */
extern pe_path_point pe_model_get_path_point(const pe_model *model, int point);
extern int pe_model_iterations(const pe_model *model);

/* ---- predict, explain, score ---------------------------------------------------------- */

/*
 * values[pe_model_feature_count]: numbers, pe_model_level codes, NaN for missing, in
 * the model's order of features. The margin is the sum of trees or terms before the
 * link (log-odds for propensity), the prediction the calibrated probability or value.
 */
extern double pe_model_margin(const pe_model *model, const double *values);
extern double pe_model_predict(const pe_model *model, const double *values);

/* Affinity has a margin for each class, all else one; pe_model_margin is the largest. */
extern int pe_model_margin_count(const pe_model *model);
extern void pe_model_margins(const pe_model *model, const double *values, double *margins);

/*
 * Named numbers beside the prediction: the classes' probabilities of affinity, the
 * cluster and distance of a segment, ... 0 of them for propensity and value.
 * outputs[pe_model_output_count]; NaN where a number is not defined for the row.
 */
extern int pe_model_output_count(const pe_model *model);
extern const char *pe_model_output_name(const pe_model *model, int output);
extern void pe_model_outputs(const pe_model *model, const double *values, double *outputs);

/*
 * The same predictions, bit by bit, for rows one after another, stride doubles apart:
 * many times quicker a row. A predictor holds the trees in a form of its own, about 30
 * bytes a leaf; the model must outlive it. Uses up to threads threads where that
 * is worth while. PE_CANCELLED or PE_OUT_OF_MEMORY.
 */
typedef struct pe_predictor pe_predictor;

extern pe_status pe_predictor_create(const pe_env *env, const pe_model *model, pe_predictor **predictor,
                                     pe_error *err);
extern void pe_predictor_free(pe_predictor *predictor); /* NULL is fine; stops what was begun */
extern pe_status pe_predictor_predict(const pe_predictor *predictor, const double *values, size_t stride,
                                      size_t rows, int threads, double *predictions, pe_error *err);

typedef enum pe_bucket
{
	PE_BUCKET_VERY_LOW = 1,
	PE_BUCKET_LOW,
	PE_BUCKET_MEDIUM,
	PE_BUCKET_HIGH,
	PE_BUCKET_VERY_HIGH
} pe_bucket;

/*
 * Where a prediction stands among those that the model made when it was trained: on
 * its held-out rows when they were 1,000 or more, else on all its rows. score 0-100
 * is the share of them below it, ties counted half, in percent, rounded; percentile
 * is 1 for the lowest hundredth and 100 for the highest; bucket is the percentile's
 * fifth. Depends on the model and the prediction alone.
 */
typedef struct pe_score
{
	int score;
	int percentile;
	pe_bucket bucket;
} pe_score;

/* Rows to predict, and where to put what is wanted of them. */
typedef struct pe_prediction_block
{
	const double *values;
	size_t stride;
	size_t rows;
	double *predictions; /* [rows] */
	pe_score *scores;    /* [rows]; may be NULL */
	double *outputs;     /* [rows][pe_model_output_count]; may be NULL */
} pe_prediction_block;

/*
 * Block after block on threads of the predictor's own, which work on one while the
 * caller prepares the next. start once; then begin and finish in turn. With one thread
 * all is done in finish. Between them the block's arrays must stay where they are.
 */
extern pe_status pe_predictor_start(pe_predictor *predictor, int threads, pe_error *err);
extern void pe_predictor_begin(pe_predictor *predictor, const pe_prediction_block *block);
extern pe_status pe_predictor_finish(pe_predictor *predictor, pe_error *err);

/*
 * The signed contribution of each feature to the margin of this row; contributions
 * and *base sum to pe_model_margin within 1e-9; of several classes to the margin of
 * the row's largest one, whose base it is. scratch: pe_model_explain_scratch
 * bytes, aligned as malloc does, one for each thread; may be NULL when that is 0.
 */
extern size_t pe_model_explain_scratch(const pe_model *model);
extern void pe_model_explain(const pe_model *model, const double *values, void *scratch,
                             double *contributions, double *base);

/*
 * The same for many rows, within 1e-12 of the largest: 80 times quicker a row for trees
 * of depth 6. An explainer holds tables, about 12 MB and 20 ms for 100 such trees.
 * max_bytes bounds them; what does not fit is computed for each row, which is slower,
 * and takes at most as much again. The model must outlive the explainer.
 */
typedef struct pe_explainer pe_explainer;

extern pe_status pe_explainer_create(const pe_env *env, const pe_model *model, size_t max_bytes,
                                     pe_explainer **explainer, pe_error *err);
extern void pe_explainer_free(pe_explainer *explainer); /* NULL is fine */

/*
 * contributions[rows][pe_model_feature_count] of rows one after another, stride
 * doubles apart, and their common *base (NaN with several classes: each has its own), on
 * up to threads threads; the same numbers for any number of them. PE_CANCELLED or PE_OUT_OF_MEMORY.
 */
extern pe_status pe_explainer_explain(const pe_explainer *explainer, const double *values, size_t stride,
                                      size_t rows, int threads, double *contributions, double *base,
                                      pe_error *err);

/* The prediction below which that share of those lies; NaN when the model keeps none. */
extern double pe_model_quantile(const pe_model *model, double share);
extern pe_score pe_model_score(const pe_model *model, double prediction);
/* Do its predictions rank rows? Not those of PE_TASK_SEGMENT: there pe_model_score says nothing. */
extern bool pe_model_ranks(const pe_model *model);
extern const char *pe_bucket_name(pe_bucket bucket); /* "very low", "low", "medium", "high", "very high" */

/* ---- the artifact --------------------------------------------------------------------- */

/*
 * Bytes that hold the whole model, little-endian on every machine, with a format
 * version and a checksum. *bytes is from env's allocator and the caller's to free.
 */
extern pe_status pe_model_serialize(const pe_env *env, const pe_model *model, uint8_t **bytes, size_t *length,
                                    pe_error *err);
/*
 * Any bytes at all may be given: what is not a whole, consistent artifact is
 * PE_CORRUPT, one of a later format version PE_UNSUPPORTED.
 */
extern pe_status pe_model_deserialize(const pe_env *env, const uint8_t *bytes, size_t length,
                                      pe_model **model, pe_error *err);

#endif /* PE_MODEL_H */
