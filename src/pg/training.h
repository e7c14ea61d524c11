/*
 * training.h
 *		One training of a target, from its options to the stored version, as the files
 *		that do its parts see it: reading (train.c), learning (train_learn.c), search
 *		(train_search.c), storing (train_store.c).
 */
#ifndef PE_TRAINING_H
#define PE_TRAINING_H

#include "postgres.h"

#include "pg/row_reader.h"
#include "pg/target.h"
#include "pg/train.h"

#define PE_PENDING_ROWS 32

typedef struct PeTraining
{
	PeTrainRequest *request;
	pe_algorithm algorithm;
	PeTrainOptions options;
	PeTrainColumns columns;
	PeTarget target;
	double holdout_from; /* days since 2000-01-01; NaN: by hash */
	pe_dataset *dataset;
	PeRowReader *reader;
	int n_pending;   /* rows read and not yet in the dataset */
	double *pending; /* [PE_PENDING_ROWS][n_features] */
	double pending_targets[PE_PENDING_ROWS];
	double pending_weights[PE_PENDING_ROWS];
	uint64 pending_hashes[PE_PENDING_ROWS];
	bool pending_held[PE_PENDING_ROWS];
	uint64 rows; /* read */
	uint64 without_target;
	uint64 without_time; /* of those by whose time rows are held out */
	uint64 held_out;     /* by time */
	uint64 positives;
	uint64 held_positives; /* of those held out by time */
	uint64 rows_that_fit;
	size_t memory; /* announced */
	pe_trial *trials;
	int n_trials;
	const char *search_metric;
	pe_model *model;
	pe_evaluation *evaluation;
} PeTraining;

/* What was asked for, its columns chosen and all rows of the source in the dataset. */
extern PeTraining *pe_training_read(PeTrainRequest *request, pe_algorithm algorithm);

/* The options for memory: the largest that may be used. */
extern pe_options pe_training_reckoning(const PeTraining *training);

/* Which rows are held out, in words. */
extern char *pe_training_holdout(const PeTraining *training);

/* Learns from the dataset, in whichever way the options ask for: model and evaluation. */
extern void pe_training_learn(PeTraining *training);

/* Tries option sets on the dataset, which stays as it was; options.core are the best ones afterwards. */
extern void pe_training_search(PeTraining *training);
/* The trials, once the version is stored. */
extern void pe_training_store_trials(const PeTraining *training, int version);

/* Stores the version. Returns its number. */
extern int pe_training_store(PeTraining *training);

#endif /* PE_TRAINING_H */
