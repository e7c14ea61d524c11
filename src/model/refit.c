/*
 * refit.c
 *		A model that was judged on held-out rows, and then learns from those as well.
 */
#include "model/internal.h"
#include "model/selection.h"

pe_status
pe_model_annotate(pe_model *model, const char *note, pe_error *err)
{
	return pe_model_add_note(model, err, "%s", note);
}

/* What only rows that a model did not learn from can tell. */
static pe_status
adopt(pe_model *model, pe_model *judged, const pe_evaluation *evaluation, pe_error *err)
{
	pe_free(&model->env, model->distribution);
	pe_free(&model->env, model->calibration_x);
	pe_free(&model->env, model->calibration_y);
	model->distribution = judged->distribution;
	model->n_distribution = judged->n_distribution;
	model->calibration = judged->calibration;
	model->n_calibration = judged->n_calibration;
	model->calibration_x = judged->calibration_x;
	model->calibration_y = judged->calibration_y;
	judged->distribution = judged->calibration_x = judged->calibration_y = NULL;
	judged->n_distribution = judged->n_calibration = 0;
	judged->calibration = PE_CALIBRATION_NONE;
	if (model->calibration != PE_CALIBRATION_NONE &&
	    pe_model_add_note(model, err, "calibrated on held-out rows of the model that was evaluated") != PE_OK)
		return PE_OUT_OF_MEMORY;
	return pe_model_add_note(
	    model, err,
	    "trained again on all %lld rows; the evaluation is that of the model trained on %lld of them",
	    (long long) model->training_rows, (long long) evaluation->training_rows);
}

/* The rows as options would split them, on a copy. */
static pe_status
train_judged(const pe_env *env, const pe_dataset *dataset, pe_task task, const pe_options *options,
             pe_model **judged, pe_evaluation *evaluation, pe_error *err)
{
	uint8_t *uses = pe_alloc(env, dataset->rows);
	pe_dataset *copy = NULL;
	pe_status status = PE_OK;

	if (uses == NULL)
		return pe_fail_memory(err);
	for (uint64_t row = 0; row < dataset->rows; row++)
		uses[row] = pe_row_is_held_out(dataset, row, options) ? PE_ROW_HELD_OUT : PE_ROW_TRAINED;
	status = pe_dataset_copy(env, dataset, uses, NULL, &copy, err);
	pe_free(env, uses);
	if (status == PE_OK)
		status = pe_train(env, copy, task, options, judged, evaluation, err);
	pe_dataset_free(copy);
	return status;
}

pe_status
pe_train_refit(const pe_env *env, pe_dataset *dataset, pe_task task, const pe_options *options,
               pe_model **model, pe_evaluation *evaluation, pe_error *err)
{
	pe_options again = *options;
	pe_evaluation *unused = pe_alloc(env, sizeof(*unused));
	pe_model *judged = NULL;
	pe_status status;

	*model = NULL;
	if (unused == NULL)
		return pe_fail_memory(err);
	status = train_judged(env, dataset, task, options, &judged, evaluation, err);
	if (status == PE_OK && !evaluation->evaluated)
	{
		status = pe_fail(err, PE_INVALID_OPTION, "option \"refit\" needs held-out rows");
		pe_error_hint(err, "Leave out refit: with no row held out, the model has learnt from all rows.");
	}
	if (status == PE_OK)
		status = pe_dataset_hold_out_none(dataset, err);
	if (status == PE_OK)
	{
		if (options->early_stopping > 0 && judged->n_trees > 0)
			again.trees = (int) judged->n_trees / pe_model_margin_count(judged);
		again.early_stopping = 0;
		again.holdout = 0;
		again.calibrate = PE_CALIBRATION_NONE;
		status = pe_train(env, dataset, task, &again, model, unused, err);
	}
	if (status == PE_OK)
		status = adopt(*model, judged, evaluation, err);
	pe_free(env, unused);
	pe_model_free(judged);
	if (status != PE_OK)
	{
		pe_model_free(*model);
		*model = NULL;
	}
	return status;
}
