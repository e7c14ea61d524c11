/*
 * recalibrate.c
 *		Probabilities that come true again: what a model's margins meant is learnt anew from
 *		outcomes that it did not know, while its trees or coefficients stay.
 */
#include "model/internal.h"
#include "model/selection.h"

#define LEAST_OF_EACH 10 /* positives and negatives in each half */

typedef struct refitting
{
	const pe_env *env;
	pe_model *model; /* the new one */
	pe_calibration_kind kind;
	const double *margins;
	const double *targets;
	const uint64_t *hashes;
	size_t rows;
	double *half_margins; /* of the rows that a fit is on */
	double *half_targets;
	double *predictions;
	pe_error *err;
} refitting;

static inline bool
in_first_half(const refitting *r, size_t row)
{
	return pe_draw(r->hashes[row], 0, PE_DRAW_CROSS) < 0.5;
}

static void
forget_calibration(pe_model *model)
{
	pe_free(&model->env, model->calibration_x);
	pe_free(&model->env, model->calibration_y);
	model->calibration_x = model->calibration_y = NULL;
	model->n_calibration = 0;
	model->calibration = PE_CALIBRATION_NONE;
}

static pe_status
check_rows(const refitting *r)
{
	size_t positives[2] = {0, 0}, negatives[2] = {0, 0};

	for (size_t i = 0; i < r->rows; i++)
	{
		if (r->targets[i] != 0 && r->targets[i] != 1)
			return pe_fail(r->err, PE_INVALID_DATA, "row %zu: the target is neither 0 nor 1", i + 1);
		if (r->targets[i] == 1)
			positives[in_first_half(r, i)]++;
		else
			negatives[in_first_half(r, i)]++;
	}
	if (positives[0] >= LEAST_OF_EACH && positives[1] >= LEAST_OF_EACH && negatives[0] >= LEAST_OF_EACH &&
	    negatives[1] >= LEAST_OF_EACH)
		return PE_OK;
	pe_fail(r->err, PE_INVALID_DATA, "too few rows to calibrate on: %zu positives and %zu negatives",
	        positives[0] + positives[1], negatives[0] + negatives[1]);
	pe_error_hint(r->err, "At least %d of each are needed; take outcomes of a longer time.",
	              4 * LEAST_OF_EACH);
	return PE_INVALID_DATA;
}

/* Fits on one half of the rows, or on all of them (half < 0), and predicts the others, or all. */
static pe_status
fit_and_predict(refitting *r, int half)
{
	size_t n = 0;
	pe_status status;

	for (size_t i = 0; i < r->rows; i++)
	{
		if (half >= 0 && in_first_half(r, i) != (half == 1))
			continue;
		r->half_margins[n] = r->margins[i];
		r->half_targets[n++] = r->targets[i];
	}
	forget_calibration(r->model);
	status = pe_fit_calibration(r->env, r->model, r->kind, r->half_margins, r->half_targets, NULL, n, r->err);
	for (size_t i = 0; i < r->rows && status == PE_OK; i++)
		if (half < 0 || in_first_half(r, i) != (half == 1))
			r->predictions[i] = pe_model_link(r->model, r->margins[i]);
	return status;
}

static pe_status
refit(refitting *r, pe_evaluation *evaluation)
{
	pe_status status;

	r->half_margins = pe_alloc(r->env, r->rows * sizeof(double));
	r->half_targets = pe_alloc(r->env, r->rows * sizeof(double));
	r->predictions = pe_alloc(r->env, r->rows * sizeof(double));
	if (r->half_margins == NULL || r->half_targets == NULL || r->predictions == NULL)
		return pe_fail_memory(r->err);
	if ((status = fit_and_predict(r, 0)) != PE_OK || (status = fit_and_predict(r, 1)) != PE_OK)
		return status;
	status = pe_evaluate(r->env, PE_TASK_PROPENSITY, r->predictions, r->targets, NULL, r->rows, evaluation,
	                     r->err);
	if (status != PE_OK)
		return status;
	pe_judge(evaluation, NAN, NULL);
	if ((status = fit_and_predict(r, -1)) != PE_OK)
		return status;
	pe_free(&r->model->env, r->model->distribution);
	r->model->distribution = NULL;
	r->model->n_distribution = 0;
	return pe_fit_distribution(r->env, r->model, r->predictions, r->rows, r->err);
}

/* By way of its bytes. */
static pe_status
clone(const pe_env *env, const pe_model *model, pe_model **copy, pe_error *err)
{
	uint8_t *bytes = NULL;
	size_t length;
	pe_status status = pe_model_serialize(env, model, &bytes, &length, err);

	if (status == PE_OK)
		status = pe_model_deserialize(env, bytes, length, copy, err);
	pe_free(env, bytes);
	return status;
}

pe_status
pe_recalibrate(const pe_env *env, const pe_model *model, pe_calibration_kind kind, const double *margins,
               const double *targets, const uint64_t *hashes, size_t rows, pe_model **recalibrated,
               pe_evaluation *evaluation, pe_error *err)
{
	refitting r = {.env = env,
	               .kind = kind,
	               .margins = margins,
	               .targets = targets,
	               .hashes = hashes,
	               .rows = rows,
	               .err = err};
	pe_status status;

	*recalibrated = NULL;
	pe_evaluation_clear(evaluation, PE_TASK_PROPENSITY);
	if (model->task != PE_TASK_PROPENSITY)
	{
		pe_fail(err, PE_INVALID_OPTION, "only models of the task propensity have a calibration");
		pe_error_hint(err, "Train a model of another task on newer rows instead.");
		return PE_INVALID_OPTION;
	}
	if (kind == PE_CALIBRATION_NONE)
		return pe_fail(err, PE_INVALID_OPTION, "a calibration is platt or isotonic");
	if ((status = check_rows(&r)) != PE_OK || (status = clone(env, model, &r.model, err)) != PE_OK)
		return status;
	status = refit(&r, evaluation);
	if (status == PE_OK)
		status = pe_model_add_note(
		    r.model, err, "calibrated anew on %zu rows; each half is evaluated as the other half says", rows);
	pe_free(env, r.half_margins);
	pe_free(env, r.half_targets);
	pe_free(env, r.predictions);
	if (status == PE_OK)
		*recalibrated = r.model;
	else
		pe_model_free(r.model);
	return status;
}
