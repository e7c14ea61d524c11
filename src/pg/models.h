/*
 * models.h
 *		Model versions: where they are stored, the session's cache of loaded ones, and
 *		who may change them.
 *
 * A version is an immutable row of profenrich.model_version with its artifact in
 * parts in profenrich.model_artifact; profenrich.model says which version is
 * deployed. Reading them needs no table right of the caller: whoever may execute
 * predict may predict with any model. Changing them needs the model's ownership.
 */
#ifndef PE_MODELS_H
#define PE_MODELS_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "fmgr.h"
#include "utils/palloc.h"

#include "model/model.h"
#include "pg/features.h"
#include "pg/row_reader.h"
#include "pg/source.h"

/* A loaded version. Read only; lives until the context given to pe_model_open is reset. */
typedef struct PeModel
{
	int64 version_id;
	char *name;
	int version;
	pe_task task;
	double threshold;     /* of classify: a probability at or above it is positive */
	char *positive_label; /* NULL for value models */
	char *negative_label;
	const pe_model *core;                     /* NULL for recommendation */
	const struct pe_recommender *recommender; /* recommendation only */
	int n_features;
	PeFeature *features; /* in the core's order */
	bool uses_snapshot;  /* does a feature need the row's snapshot date? */
} PeModel;

/*
 * The version of that name and number, the deployed one for version 0, from the cache
 * or the tables. It stays loaded until holder is reset or deleted. Raises: no such
 * model or version (with the ones there are), nothing deployed, a corrupt artifact.
 */
extern const PeModel *pe_model_open(const char *name, int version, MemoryContext holder);
/* The same for a version that recommends, which pe_model_open refuses, as this does others. */
extern const PeModel *pe_recommender_open(const char *name, int version, MemoryContext holder);
/* The same for a version of any task. */
extern const PeModel *pe_version_open(const char *name, int version, MemoryContext holder);
/* The argument version of an SQL function as these take it: NULL is 0. Raises for a number below 1. */
extern int pe_version_argument(FunctionCallInfo fcinfo, int argument);

/* Grows with every change to profenrich.model that this session has heard of. */
extern uint64 pe_model_generation(void);

/* Whose a model is: nobody's, since there is none; one that the current user may change; another's. */
typedef enum PeModelRights
{
	PE_MODEL_NONE,
	PE_MODEL_OURS,
	PE_MODEL_OTHERS
} PeModelRights;

/* *task, when wanted, is that of an existing model. */
extern PeModelRights pe_model_rights(const char *name, pe_task *task);

/*
 * May the current user change the model: its owner, a member of it, or of
 * profenrich_admin? Returns false when there is no model of that name, raises when
 * there is one and it is another's; *task is that of the existing model.
 */
extern bool pe_model_check_owner(const char *name, pe_task *task);

/* What train hands over to be stored. Texts that end in _json are jsonb literals. */
typedef struct PeNewVersion
{
	const char *model;
	pe_task task;
	pe_algorithm algorithm;
	const char *objective;
	const char *target; /* NULL: the task has none */
	const char *key;    /* NULL: the row's number */
	const char *source;
	int64 rows;
	int64 positives; /* -1: does not apply */
	const char *options_json;
	const char *holdout; /* which rows were held out, in words; NULL: does not apply */
	const char *features_json;
	const char *metrics_json;
	const char *evaluation_json;
	const char *verdict; /* the sentence */
	const char *quality; /* the word */
	const char *seconds_json;
	const char *positive_label;
	const char *negative_label;
	double threshold;
	int64 memory;             /* bytes that the training was allowed to take */
	const char *consent;      /* NULL: nobody was asked */
	int64 without_consent;    /* rows left out for want of it */
	const char *goal;         /* NULL: none was declared */
	const char *learnt_until; /* of a goal: the day up to which outcomes were learnt from; NULL: no goal */
	const uint8 *artifact;
	size_t artifact_length;
	bool deploy;
} PeNewVersion;

/*
 * Stores the version, making the model when it is new (owned by the current user),
 * and deploys it when asked to or when it is the model's first. Returns its number.
 */
extern int pe_model_store(const PeNewVersion *version, char **checksum);

/* A version whose artifact differs from that of another in its calibration alone. */
typedef struct PeRecalibrated
{
	const PeModel *model; /* the other */
	const char *source;
	const char *target;
	int64 rows;
	int64 positives;
	const char *metrics_json;
	const char *evaluation_json;
	const char *verdict;
	const char *quality;
	const char *seconds_json;
	const uint8 *artifact;
	size_t artifact_length;
	bool deploy;
} PeRecalibrated;

/* Stores it with what it shares with the other: features, labels, options. Returns its number. */
extern int pe_model_store_recalibrated(const PeRecalibrated *version);

/* ---- rows to values ------------------------------------------------------------------- */

/* How the columns of one row type feed one model. */
typedef struct PeBinding
{
	const PeModel *model;
	int *column;     /* [n_features]: index into the row's values */
	PeInput *inputs; /* [n_features] */
	int snapshot;    /* index of the snapshot date, -1: not needed */
	PeInput snapshot_input;
	PeRowReader *reader;
} PeBinding;

/*
 * Finds the model's columns in desc. what names the row in messages ("the profile",
 * "the query"). Raises undefined column or datatype mismatch, naming column, model
 * and version.
 */
extern PeBinding *pe_bind(const PeModel *model, TupleDesc desc, const char *what);

/*
 * The same for a source that is going to be read: *columns are the source's columns
 * to read, the n_extra ones first (in slots 0 ..), then those of the model, and the
 * binding is to the slots.
 */
extern PeBinding *pe_bind_source(const PeModel *model, const PeSource *source, const int *extra, int n_extra,
                                 int **columns, int *n_columns);

/*
 * The model's inputs for one row. texts, if not NULL, gets for each category feature
 * the row's text (the model's own or palloc'd, NULL when missing), for others NULL.
 */
extern void pe_bind_values(const PeBinding *binding, const Datum *values, const bool *nulls, double *out,
                           char **texts);

/*
 * For functions of (model, profile, ..., version): the model and its inputs from the
 * profile, kept at the call site as predict does. NULL when model or profile is NULL.
 */
extern const PeModel *pe_profile_inputs(FunctionCallInfo fcinfo, int version_argument, double **values);

#endif /* PE_MODELS_H */
