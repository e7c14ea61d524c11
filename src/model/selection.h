/*
 * selection.h
 *		What takes more than one training over the same rows: holdouts of the caller's
 *		choice, a second training on all rows, search over options, models of two parts;
 *		and what needs no training: calibration on newer outcomes, a scan for leakage.
 *
 * pe_train uses a dataset up. The calls here that take a const pe_dataset leave it as
 * it was and train on copies, one at a time: options->keeps_rows has pe_training_memory
 * count them.
 */
#ifndef PE_MODEL_SELECTION_H
#define PE_MODEL_SELECTION_H

#include "model/model.h"

/* ---- which rows (holdout.c) -------------------------------------------------------------- */

/*
 * Hold the appended row out of training. Once one row was, the option holdout draws no
 * others: for holdouts by time.
 */
extern pe_status pe_dataset_hold_out(pe_dataset *dataset, uint64_t row, pe_error *err);
/* Every row is trained on from now on, whatever the option says. */
extern pe_status pe_dataset_hold_out_none(pe_dataset *dataset, pe_error *err);

/* What a copy makes of a row. */
typedef enum pe_row_use
{
	PE_ROW_LEFT_OUT = 0,
	PE_ROW_TRAINED = 1,
	PE_ROW_HELD_OUT = 2
} pe_row_use;

/*
 * A dataset with the rows that uses[rows] (of pe_row_use) says, in the same order and
 * with the same codes. targets[rows] takes the place of the targets; may be NULL.
 */
extern pe_status pe_dataset_copy(const pe_env *env, const pe_dataset *from, const uint8_t *uses,
                                 const double *targets, pe_dataset **copy, pe_error *err);

/* ---- training again on all rows (refit.c) -------------------------------------------------- */

/*
 * As pe_train, but the model has learnt from all rows, with as many trees as early
 * stopping found on the training rows. Evaluation, calibration and score distribution
 * are those of a model that did not see the held-out rows; a note says so. Uses the
 * dataset up, as pe_train does.
 */
extern pe_status pe_train_refit(const pe_env *env, pe_dataset *dataset, pe_task task,
                                const pe_options *options, pe_model **model, pe_evaluation *evaluation,
                                pe_error *err);

/* Adds to what its user should know (pe_model_note). */
extern pe_status pe_model_annotate(pe_model *model, const char *note, pe_error *err);

/* ---- two parts (two_part.c) ----------------------------------------------------------------- */

/*
 * PE_ALGORITHM_TWO_PART: whether the target is above 0, learnt from all rows, times how
 * much it is, learnt from those where it is. The dataset is of the boosted trees that
 * both parts are; so are the options, whose objective is that of the amounts (default:
 * gamma). Targets must not be negative.
 */
extern pe_status pe_train_two_part(const pe_env *env, pe_dataset *dataset, const pe_options *options,
                                   pe_model **model, pe_evaluation *evaluation, pe_error *err);

/* ---- search (search.c) ------------------------------------------------------------------------ */

#define PE_SEARCH_DIMENSIONS 32
#define PE_SEARCH_TRIALS     1000
#define PE_SEARCH_FOLDS      20

/* One option that the search varies: one of some values, or anything in a range. */
typedef struct pe_search_dimension
{
	const char *name;
	const char *const *values; /* [n_values], as pe_options_set takes them; NULL: a range */
	int n_values;
	double from;
	double to;
	bool logarithmic; /* equal ratios are equally likely */
	bool whole;       /* rounded to whole numbers */
} pe_search_dimension;

typedef struct pe_search
{
	int trials;
	int folds;
	double budget; /* seconds; 0: none */
	/* Of pe_evaluation's figures by name ("auc", ...), see pe_search_metric; NULL: the task's. */
	const char *metric;
	int n_dimensions;
	pe_search_dimension dimensions[PE_SEARCH_DIMENSIONS];
} pe_search;

typedef struct pe_trial
{
	char settings[PE_SEARCH_DIMENSIONS][24]; /* of the dimensions, "" where the options' own was left */
	pe_options options;
	int folds; /* evaluated; fewer than asked for when it was cut short as hopeless, or by the budget */
	double mean;
	double deviation; /* standard, between folds; NaN with one fold */
	double seconds;
	bool chosen;
} pe_trial;

/* The metric of that name for the task, or the default for NULL; NULL when there is none. */
extern const char *pe_search_metric(pe_task task, const pe_options *options, const char *name,
                                    bool *larger_is_better);
/* The names, for hints. */
extern const char *pe_search_metrics(pe_task task);

/* What a search varies unless told otherwise. */
extern void pe_search_default_space(pe_search *search, pe_algorithm algorithm);

/*
 * Cross-validates option sets over the rows that are not held out, by folds of the
 * keys' hashes. Trial 1 is options as they are; the others are drawn from the space by
 * options->seed, or all of its combinations where those are no more. A trial that is
 * clearly worse than the best one on the folds so far is not pursued. trials[search->
 * trials]; *n_trials of them were begun and have at least one fold, *chosen is the best
 * of those that have all folds. Without a budget, or where it suffices, the same rows, options and
 * seed give the same trials. Ticks with the phase "search".
 */
extern pe_status pe_search_run(const pe_env *env, const pe_dataset *dataset, pe_task task,
                               const pe_options *options, const pe_search *search, pe_trial *trials,
                               int *n_trials, int *chosen, pe_error *err);

/* ---- without training (recalibrate.c, scan.c) --------------------------------------------------- */

/*
 * The same model with its calibration fitted anew on margins[rows] that it gave and the
 * targets, 0 or 1, that came of them; its scores are placed among these rows. The evaluation
 * is honest: each half of the rows is judged by a calibration fitted on the other. hashes
 * decide about the halves. The model itself stays as it is.
 */
extern pe_status pe_recalibrate(const pe_env *env, const pe_model *model, pe_calibration_kind kind,
                                const double *margins, const double *targets, const uint64_t *hashes,
                                size_t rows, pe_model **recalibrated, pe_evaluation *evaluation,
                                pe_error *err);

/*
 * How well each feature alone tells the target: the AUC in its better direction, for
 * affinity that of the class it tells best, or the share of the variance for a value.
 * strengths[features] and, for affinity, classes[features] (codes). On at most 20,000
 * rows. The dataset must be of an algorithm of the linear family.
 */
extern pe_status pe_scan_features(const pe_env *env, const pe_dataset *dataset, pe_task task, int threads,
                                  double *strengths, int *classes, pe_error *err);
/* The text of a class's code, not terminated; NULL: there is no such class. */
extern const char *pe_dataset_class_text(const pe_dataset *dataset, int class, size_t *length);

extern int pe_dataset_class_count(const pe_dataset *dataset);
extern double pe_model_objective_parameter(const pe_model *model);
/* Quantiles of the predictions when the model was trained, rising: *n of them, evenly spaced. */
extern const double *pe_model_distribution(const pe_model *model, int *n);

/* Is a feature that strong suspicious of restating the target? */
extern bool pe_is_suspicious(pe_task task, double strength);

#endif /* PE_MODEL_SELECTION_H */
