/*
 * train_figures.h
 *		What is stored of a version beside its artifact, for tasks with figures of their own.
 */
#ifndef PE_TRAIN_FIGURES_H
#define PE_TRAIN_FIGURES_H

#include "postgres.h"

#include "lib/stringinfo.h"

#include "pg/models.h"
#include "pg/train.h"

/* The rows of evaluation() and the object of model_versions.metrics, as they grow. */
typedef struct PeFigures
{
	StringInfoData rows;
	StringInfoData metrics;
} PeFigures;

extern void pe_figures_begin(PeFigures *figures);
/* A figure; in the metrics too, unless it is NaN. */
extern void pe_figures_add(PeFigures *figures, const char *name, double value, const char *meaning);
/* A row of words: "verdict", "note". */
extern void pe_figures_say(PeFigures *figures, const char *name, const char *words);
/* The model's notes as rows. */
extern void pe_figures_notes(PeFigures *figures, const pe_model *model);
/* {"rows": [...], <more>}; more are further fields of the object, NULL for none. */
extern char *pe_figures_evaluation(PeFigures *figures, const char *more);
extern char *pe_figures_metrics(PeFigures *figures);

/* "name": number, after a comma unless it is the first of an object. */
extern void pe_json_field(StringInfo json, const char *name, double value);

/* model_version.features of features that were chosen by pe_train_columns. */
extern char *pe_features_json(const PeTrainColumns *columns, const pe_model *model);

/*
 * What all tasks store alike, from the request: model, task, source, target and options.
 * The rest of the version is the caller's to fill in.
 */
extern PeNewVersion pe_new_version(const PeTrainRequest *request);
/* Serialises the model, closes the timing and stores; returns the version's number. */
extern int pe_store_version(PeTrainRequest *request, PeNewVersion *version, const pe_model *model);

#endif /* PE_TRAIN_FIGURES_H */
