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

/*
 * {"rows": [...], "deciles": [...], "roc": [...], "calibration": [...]}: what evaluation(),
 * lift_table(), roc_curve() and calibration_table() show. notes are further rows.
 */
extern char *pe_evaluation_json(const pe_evaluation *evaluation, const pe_model *model);

#endif /* PE_EVALUATION_H */
