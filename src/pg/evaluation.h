/*
 * evaluation.h
 *		An evaluation as rows a person reads and as JSON that is stored.
 */
#ifndef PE_EVALUATION_H
#define PE_EVALUATION_H

#include "postgres.h"

#include "lib/stringinfo.h"

#include "model/model.h"

/* JSON number: the shortest text that reads back the same, null where it is not finite. */
extern void pe_json_number(StringInfo json, double value);

/* {"auc": 0.84, ...}: the figures that apply. */
extern char *pe_metrics_json(const pe_evaluation *evaluation);

typedef void (*pe_evaluation_sink)(void *arg, const char *metric, double value, const char *meaning);

/* The rows of evaluation() and evaluate(), verdict first; value is NaN where there is none. */
extern void pe_evaluation_rows(const pe_evaluation *evaluation, pe_evaluation_sink sink, void *arg);

/*
 * {"rows": [...], "deciles": [...], "roc": [...], "calibration": [...], "classes": [...],
 * "confusion": [...]}: what evaluation(), lift_table(), roc_curve(), calibration_table(),
 * class_table() and confusion_matrix() show. The model's notes are further rows.
 */
extern char *pe_evaluation_json(const pe_evaluation *evaluation, const pe_model *model);

#endif /* PE_EVALUATION_H */
