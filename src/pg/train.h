/*
 * train.h
 *		What the parts of train() share: the request as the user made it, and the
 *		features that were chosen for it.
 */
#ifndef PE_TRAIN_H
#define PE_TRAIN_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/jsonb.h"

#include "model/model.h"
#include "pg/features.h"
#include "pg/source.h"

typedef struct PeWantedTreatment
{
	const char *column;
	PeTreatment treatment;
} PeWantedTreatment;

/* The options that the glue understands, beside those of the core. */
typedef struct PeTrainOptions
{
	pe_options core;
	const char *key;      /* column; NULL: none */
	const char *weight;   /* column; NULL: none */
	const char *positive; /* the target's text that counts as positive; NULL: found out */
	double threshold;
	bool deploy;
	List *include;    /* of char *; NIL: all that can be used */
	List *exclude;    /* of char * */
	List *treatments; /* of PeWantedTreatment * */
} PeTrainOptions;

/* Raises for unknown names (hinting at the valid ones) and bad values. */
extern PeTrainOptions pe_train_options(Jsonb *json, pe_algorithm algorithm);

/* Which columns are read, and what is made of them. */
typedef struct PeTrainColumns
{
	int n_features;
	PeFeature *features;
	PeInput *inputs;
	int *slots; /* [n_features]: index in the row that is read */
	int n_columns;
	int *columns; /* [n_columns]: indexes in the source, in slot order */
	int target;   /* slots; -1: none */
	int key;
	int weight;
	int snapshot;
	Oid target_type;
	PeInput key_input;
	PeInput weight_input;
	PeInput snapshot_input;
} PeTrainColumns;

/*
 * Chooses the features: what each column's type allows, unless options say
 * otherwise, after a look at the first rows (distinct texts, keys of jsonb, columns
 * without any value). Says in a NOTICE what was left out and in a WARNING which
 * columns are empty. Raises when a named column cannot be used or nothing is left.
 */
extern PeTrainColumns pe_train_columns(const PeSource *source, const char *target,
                                       const PeTrainOptions *options);

#endif /* PE_TRAIN_H */
