/*
 * train.h
 *		What the parts of train() share: the request as the user made it, and the
 *		features that were chosen for it.
 */
#ifndef PE_TRAIN_H
#define PE_TRAIN_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "portability/instr_time.h"
#include "utils/jsonb.h"

#include "model/selection.h"
#include "pg/features.h"
#include "pg/source.h"

#define PE_TIMING_PHASES 16

/* How long each phase took, for model_version.seconds. */
typedef struct PeTiming
{
	pe_env env; /* whose tick is wrapped */
	int n;
	const char *names[PE_TIMING_PHASES];
	double seconds[PE_TIMING_PHASES];
	instr_time since; /* the current phase */
	instr_time started;
} PeTiming;

/* Closes the phase before; the name must be static. */
extern void pe_enter_phase(PeTiming *timing, const char *phase);
extern double pe_total_seconds(const PeTiming *timing);
/* {"read": 0.5, ..., "total": 2.5}; counts the running phase up to now. */
extern char *pe_seconds_json(PeTiming *timing);
/* Allocates in context; ticks go to the progress slot and to timing. */
extern pe_env pe_timed_env(PeTiming *timing, MemoryContext context);

/* What was asked of train(); each family looks at the options, target and algorithm itself. */
typedef struct PeTrainRequest
{
	const char *model; /* the caller may train it */
	pe_task task;
	const char *algorithm; /* NULL: the family's choice */
	const char *target;    /* NULL: none was named */
	const PeSource *source;
	const struct PeGoal *goal; /* NULL: none; else source, target and some options are its */
	const char *learnt_until;  /* of a goal: the last day whose outcomes are learnt from */
	Jsonb *options;            /* NULL: none; the consent is taken out of them */
	const char *consent;       /* NULL: nobody is asked; the source has only rows with consent */
	int64 without_consent;
	PeTiming timing;
	pe_env env; /* of the training's memory context, with timing */
} PeTrainRequest;

/* What train() says about the version that was stored. */
typedef struct PeTrained
{
	int version;
	pe_algorithm algorithm;
	int64 rows;
	int features;
	const char *metric; /* the headline figure's name; NULL: none */
	double headline;    /* NaN: none */
	const char *quality;
} PeTrained;

/* The same for a look at the rows without a model; task may be NULL. */
extern PeTrainRequest *pe_scan_request(const char *source, const char *target, const char *task,
                                       Jsonb *options, MemoryContext context);

/* The algorithm that was asked for, or automatic. Raises when the task has none of that name. */
extern pe_algorithm pe_train_algorithm(const PeTrainRequest *request, pe_algorithm automatic);

/* The families: read the source, learn, store the version. */
extern PeTrained pe_train_supervised(PeTrainRequest *request); /* propensity, value, affinity */
extern PeTrained pe_train_lifetime(PeTrainRequest *request);   /* lifetime_value */
extern PeTrained pe_train_recommend(PeTrainRequest *request);
extern PeTrained pe_train_segment(PeTrainRequest *request);
extern PeTrained pe_train_uplift(PeTrainRequest *request);
extern PeTrained pe_train_engagement(PeTrainRequest *request);

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
	const char *holdout_from;   /* rows of this time and later are held out; NULL: by hash */
	const char *holdout_column; /* whose time it is; NULL: the snapshot date */
	bool refit;
	pe_search *search; /* NULL: none */
	List *include;     /* of char *; NIL: all that can be used */
	List *exclude;     /* of char * */
	List *treatments;  /* of PeWantedTreatment * */
} PeTrainOptions;

/* Raises for unknown names (hinting at the valid ones) and bad values. */
extern PeTrainOptions pe_train_options(Jsonb *json, pe_task task, pe_algorithm algorithm);

/* The option search: true, or an object. Options are those that do not vary. NULL for false. */
extern pe_search *pe_search_options(const JsonbValue *json, pe_task task, const pe_options *options);

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
	int holdout; /* whose time decides who is held out */
	Oid target_type;
	PeInput key_input;
	PeInput weight_input;
	PeInput snapshot_input;
	PeInput holdout_input;
} PeTrainColumns;

/*
 * Chooses the features: what each column's type allows, unless options say
 * otherwise, after a look at the first rows (distinct texts, keys of jsonb, columns
 * without any value). Says in a NOTICE what was left out and in a WARNING which
 * columns are empty. Raises when a named column cannot be used or nothing is left.
 * target may be NULL.
 */
extern PeTrainColumns pe_train_columns(const PeSource *source, const char *target,
                                       const PeTrainOptions *options);

#endif /* PE_TRAIN_H */
