/*
 * artifact.c
 *		A model as bytes and back.
 *
 * The order is the one of write_model. Format version 1 had neither objectives nor
 * classes.
 */
#include "model/family.h"

#define FORMAT_VERSION 2

static const char magic[] = "PEMODEL\n";

/* ---- writing -------------------------------------------------------------------------- */

static void
write_feature(pe_writer *w, const pe_model *model, const pe_feature *feature)
{
	pe_write_text(w, feature->name);
	pe_write_text(w, feature->source_type);
	pe_write_int(w, feature->kind, 1);
	pe_write_int(w, feature->used, 1);
	pe_write_int(w, feature->pooled, 1);
	pe_write_int(w, (uint64_t) feature->n_levels, 4);
	for (int i = 0; i < feature->n_levels; i++)
		pe_write_text(w, feature->levels[i]);
	pe_write_double(w, feature->gain);
	pe_write_int(w, (uint64_t) feature->splits, 8);
	pe_write_double(w, feature->mean_contribution);
	if (model->family->write_feature != NULL)
		model->family->write_feature(w, feature);
}

static void
write_model(pe_writer *w, const pe_model *model)
{
	pe_write_int(w, model->task, 1);
	pe_write_int(w, model->algorithm, 1);
	pe_write_int(w, (uint64_t) model->training_rows, 8);
	pe_write_double(w, model->base_rate);
	pe_write_int(w, model->objective, 1);
	pe_write_double(w, model->objective_parameter);
	pe_write_int(w, (uint32_t) model->n_classes, 4);
	for (int i = 0; i < model->n_classes; i++)
		pe_write_text(w, model->classes[i]);
	pe_write_int(w, (uint32_t) model->n_features, 4);
	for (int i = 0; i < model->n_features; i++)
		write_feature(w, model, &model->features[i]);
	pe_write_int(w, (uint32_t) model->n_notes, 4);
	for (int i = 0; i < model->n_notes; i++)
		pe_write_text(w, model->notes[i]);
	if (model->family->write != NULL)
		model->family->write(w, model);
	pe_write_int(w, model->calibration, 1);
	pe_write_int(w, model->n_calibration, 4);
	pe_write_doubles(w, model->calibration_x, model->n_calibration);
	pe_write_doubles(w, model->calibration_y, model->n_calibration);
	pe_write_int(w, model->n_distribution, 4);
	pe_write_doubles(w, model->distribution, model->n_distribution);
}

static void
write_body(pe_writer *w, const void *model)
{
	write_model(w, model);
}

pe_status
pe_model_serialize(const pe_env *env, const pe_model *model, uint8_t **bytes, size_t *length, pe_error *err)
{
	return pe_artifact_write(env, magic, FORMAT_VERSION, write_body, model, bytes, length, err);
}

void
pe_write_model(pe_writer *w, const pe_model *model)
{
	write_model(w, model);
}

/* ---- reading -------------------------------------------------------------------------- */

static void
read_levels(pe_reader *r, pe_feature *feature)
{
	uint32_t count = pe_read_count(r, 4, PE_MAX_MODEL_LEVELS);

	if (count > 0 && feature->kind != PE_FEATURE_CATEGORICAL)
		pe_reader_fail(r, "a number has levels");
	if (pe_reader_bad(r) || (feature->levels = pe_read_array(r, count, sizeof(char *))) == NULL)
		return;
	for (uint32_t i = 0; i < count; i++)
	{
		feature->levels[i] = pe_read_text(r, PE_MAX_LEVEL_LENGTH);
		if (pe_reader_bad(r))
		{
			pe_free(r->env, feature->levels[i]);
			return;
		}
		feature->n_levels++;
		if (i > 0 && strcmp(feature->levels[i - 1], feature->levels[i]) >= 0)
			pe_reader_fail(r, "levels are out of order");
	}
}

static void
read_feature(pe_reader *r, const pe_model *model, pe_feature *feature)
{
	uint64_t kind;

	feature->name = pe_read_text(r, PE_MAX_NAME);
	feature->source_type = pe_read_text(r, PE_MAX_NAME);
	kind = pe_read_int(r, 1);
	if (kind != PE_FEATURE_NUMERIC && kind != PE_FEATURE_CATEGORICAL)
		pe_reader_fail(r, "a feature is of no known kind");
	feature->kind = (pe_feature_kind) kind;
	feature->used = pe_read_bool(r);
	feature->pooled = pe_read_bool(r);
	read_levels(r, feature);
	feature->gain = pe_read_finite(r, "an importance is not finite");
	feature->splits = (int64_t) pe_read_int(r, 8);
	feature->mean_contribution = pe_read_finite(r, "an importance is not finite");
	if (model->family->read_feature != NULL && !pe_reader_bad(r))
		model->family->read_feature(r, feature);
}

static void
read_features(pe_reader *r, pe_model *model)
{
	uint32_t count = pe_read_count(r, 23, PE_MAX_FEATURES);

	if (count == 0)
		pe_reader_fail(r, "it has no features");
	if (pe_reader_bad(r) || (model->features = pe_read_array(r, count, sizeof(*model->features))) == NULL)
		return;
	for (uint32_t i = 0; i < count && !pe_reader_bad(r); i++)
	{
		model->n_features++; /* so that what was read of it is freed */
		read_feature(r, model, &model->features[i]);
	}
}

static void
read_notes(pe_reader *r, pe_model *model)
{
	uint32_t count = pe_read_count(r, 4, UINT32_MAX / 16);

	if (pe_reader_bad(r) || (model->notes = pe_read_array(r, count, sizeof(char *))) == NULL)
		return;
	for (uint32_t i = 0; i < count; i++)
	{
		model->notes[i] = pe_read_text(r, 4096);
		if (pe_reader_bad(r))
		{
			pe_free(r->env, model->notes[i]);
			return;
		}
		model->n_notes++;
	}
}

static void
check_rising(pe_reader *r, const double *values, uint32_t count)
{
	for (uint32_t i = 1; i < count && !pe_reader_bad(r); i++)
		if (values[i] < values[i - 1])
			pe_reader_fail(r, "a curve falls");
}

static void
read_tables(pe_reader *r, pe_model *model)
{
	uint64_t kind = pe_read_int(r, 1);

	model->calibration = (pe_calibration_kind) kind;
	model->n_calibration = pe_read_count(r, 16, UINT32_MAX / 2);
	if (kind > PE_CALIBRATION_ISOTONIC || (kind == PE_CALIBRATION_NONE && model->n_calibration != 0) ||
	    (kind == PE_CALIBRATION_PLATT && model->n_calibration != 1) ||
	    (kind == PE_CALIBRATION_ISOTONIC && model->n_calibration == 0))
		pe_reader_fail(r, "the calibration is of no known kind");
	model->calibration_x = pe_read_doubles(r, model->n_calibration, "the calibration is not finite");
	model->calibration_y = pe_read_doubles(r, model->n_calibration, "the calibration is not finite");
	check_rising(r, model->calibration_x, model->n_calibration);
	check_rising(r, model->calibration_y, model->n_calibration);
	model->n_distribution = pe_read_count(r, 8, UINT32_MAX / 2);
	model->distribution = pe_read_doubles(r, model->n_distribution, "the distribution is not finite");
	check_rising(r, model->distribution, model->n_distribution);
}

static void
read_classes(pe_reader *r, pe_model *model)
{
	uint32_t count = pe_read_count(r, 4, PE_MAX_CLASSES);

	if ((model->task == PE_TASK_AFFINITY) != (count >= 2) || count == 1)
		pe_reader_fail(r, "its number of classes is not its task's");
	if (pe_reader_bad(r) || (model->classes = pe_read_array(r, count, sizeof(char *))) == NULL)
		return;
	for (uint32_t i = 0; i < count; i++)
	{
		model->classes[i] = pe_read_text(r, PE_MAX_LEVEL_LENGTH);
		if (pe_reader_bad(r))
		{
			pe_free(r->env, model->classes[i]);
			return;
		}
		model->n_classes++;
		if (i > 0 && strcmp(model->classes[i - 1], model->classes[i]) >= 0)
			pe_reader_fail(r, "classes are out of order");
	}
}

static void
read_objective(pe_reader *r, pe_model *model)
{
	uint64_t objective;

	if (r->version < 2)
	{
		if (model->task > PE_TASK_VALUE || model->algorithm > PE_ALGORITHM_BOOSTED_TREES)
			pe_reader_fail(r, "its format has no such task");
		model->objective = pe_default_objective(model->task, model->algorithm);
		return;
	}
	objective = pe_read_int(r, 1);
	if (objective > PE_OBJECTIVE_MULTICLASS)
		pe_reader_fail(r, "its objective is not known");
	model->objective = (pe_objective) objective;
	model->objective_parameter = pe_read_finite(r, "the objective's parameter is not finite");
	read_classes(r, model);
}

static void
read_model(pe_reader *r, pe_model *model)
{
	uint64_t task = pe_read_int(r, 1), algorithm = pe_read_int(r, 1);

	/* Recommenders are no pe_model and have artifacts of their own. */
	if (!pe_reader_bad(r) && (pe_check_task((pe_task) task, (pe_algorithm) algorithm, NULL) != PE_OK ||
	                          pe_family_of((pe_algorithm) algorithm) == NULL))
		pe_reader_fail(r, "its task and algorithm are not known");
	if (pe_reader_bad(r))
		return;
	model->task = (pe_task) task;
	model->algorithm = (pe_algorithm) algorithm;
	model->family = pe_family_of(model->algorithm);
	model->log_likelihood = model->null_deviance = model->deviance = NAN;
	model->dispersion = model->aic = NAN;
	model->training_rows = (int64_t) pe_read_int(r, 8);
	model->base_rate = pe_read_finite(r, "the base rate is not finite");
	read_objective(r, model);
	read_features(r, model);
	read_notes(r, model);
	if (model->family->read != NULL && !pe_reader_bad(r))
		model->family->read(r, model);
	read_tables(r, model);
}

pe_model *
pe_read_model(pe_reader *r, pe_algorithm wanted)
{
	pe_model *model = pe_read_array(r, 1, sizeof(*model));

	if (model == NULL)
		return NULL;
	model->env.allocator = r->env->allocator;
	/* Looked at before it is read: a part that had parts of its own could go on for ever. */
	if (r->left < 2 || r->at[1] != wanted)
		pe_reader_fail(r, "a part is of another algorithm");
	else
		read_model(r, model);
	if (!pe_reader_bad(r))
		return model;
	pe_model_free(model);
	return NULL;
}

pe_status
pe_model_deserialize(const pe_env *env, const uint8_t *bytes, size_t length, pe_model **out, pe_error *err)
{
	pe_reader r;
	pe_status status = pe_artifact_open(&r, env, bytes, length, magic, FORMAT_VERSION, err);
	pe_model *model;

	*out = NULL;
	if (status != PE_OK)
		return status;
	if ((model = pe_calloc(env, 1, sizeof(*model))) == NULL)
		return pe_fail_memory(err);
	model->env.allocator = env->allocator;
	read_model(&r, model);
	status = pe_artifact_close(&r, err);
	if (status == PE_OK)
		*out = model;
	else
		pe_model_free(model);
	return status;
}
