/*
 * model.c
 *		A model's life and what can be asked about it.
 */
#include "model/family.h"
#include "model/selection.h"

pe_status
pe_model_create(const pe_env *env, const pe_dataset *dataset, pe_task task, pe_model **out, pe_error *err)
{
	pe_model *model = pe_calloc(env, 1, sizeof(*model));

	*out = NULL;
	if (model == NULL)
		return pe_fail_memory(err);
	model->env.allocator = env->allocator;
	model->task = task;
	model->algorithm = dataset->algorithm;
	model->family = pe_family_of(dataset->algorithm);
	model->objective = pe_default_objective(task, dataset->algorithm);
	model->log_likelihood = model->null_deviance = model->deviance = NAN;
	model->dispersion = model->aic = NAN;
	model->features = pe_calloc(env, dataset->n_features, sizeof(*model->features));
	if (model->features == NULL)
	{
		pe_model_free(model);
		return pe_fail_memory(err);
	}
	model->n_features = dataset->n_features;
	for (int i = 0; i < dataset->n_features; i++)
	{
		const pe_dataset_feature *from = &dataset->features[i];
		pe_feature *feature = &model->features[i];

		feature->kind = from->kind;
		feature->name = pe_strndup(env, from->name, strlen(from->name));
		feature->source_type = pe_strndup(env, from->source_type, strlen(from->source_type));
		if (feature->name == NULL || feature->source_type == NULL)
		{
			pe_model_free(model);
			return pe_fail_memory(err);
		}
	}
	*out = model;
	return PE_OK;
}

static void
free_feature(const pe_env *env, pe_feature *feature)
{
	pe_free(env, feature->name);
	pe_free(env, feature->source_type);
	if (feature->levels != NULL)
		for (int i = 0; i < feature->n_levels; i++)
			pe_free(env, feature->levels[i]);
	pe_free(env, feature->levels);
}

void
pe_model_free(pe_model *model)
{
	pe_env env;

	if (model == NULL)
		return;
	env = model->env;
	if (model->family != NULL && model->family->release != NULL)
		model->family->release(model);
	for (int i = 0; i < model->n_classes; i++)
		pe_free(&env, model->classes[i]);
	pe_free(&env, model->classes);
	for (int i = 0; i < model->n_features; i++)
		free_feature(&env, &model->features[i]);
	for (int i = 0; i < model->n_notes; i++)
		pe_free(&env, model->notes[i]);
	pe_free(&env, model->features);
	pe_free(&env, model->notes);
	pe_free(&env, model->calibration_x);
	pe_free(&env, model->calibration_y);
	pe_free(&env, model->distribution);
	pe_free(&env, model);
}

pe_status
pe_model_add_note(pe_model *model, pe_error *err, const char *format, ...)
{
	char text[400];
	char **notes = pe_realloc(&model->env, model->notes, (model->n_notes + 1) * sizeof(*notes));
	va_list args;

	if (notes == NULL)
		return pe_fail_memory(err);
	model->notes = notes;
	va_start(args, format);
	pe_error_print(text, sizeof(text), format, args);
	va_end(args);
	if ((notes[model->n_notes] = pe_strndup(&model->env, text, strlen(text))) == NULL)
		return pe_fail_memory(err);
	model->n_notes++;
	return PE_OK;
}

pe_task
pe_model_task(const pe_model *model)
{
	return model->task;
}

pe_objective
pe_model_objective(const pe_model *model)
{
	return model->objective;
}

double
pe_model_objective_parameter(const pe_model *model)
{
	return model->objective_parameter;
}

const double *
pe_model_distribution(const pe_model *model, int *n)
{
	*n = (int) model->n_distribution;
	return model->distribution;
}

int
pe_model_class_count(const pe_model *model)
{
	return model->n_classes;
}

const char *
pe_model_class(const pe_model *model, int class)
{
	return class >= 0 && class < model->n_classes ? model->classes[class] : NULL;
}

bool
pe_model_explains(const pe_model *model)
{
	return model->family->explains;
}

pe_algorithm
pe_model_algorithm(const pe_model *model)
{
	return model->algorithm;
}

size_t
pe_model_bytes(const pe_model *model)
{
	size_t bytes = sizeof(*model);

	for (int i = 0; i < model->n_features; i++)
	{
		const pe_feature *feature = &model->features[i];

		bytes += sizeof(*feature) + strlen(feature->name) + strlen(feature->source_type) + 2;
		for (int level = 0; level < feature->n_levels; level++)
			bytes += sizeof(char *) + strlen(feature->levels[level]) + 1;
	}
	for (int i = 0; i < model->n_notes; i++)
		bytes += sizeof(char *) + strlen(model->notes[i]) + 1;
	for (int i = 0; i < model->n_classes; i++)
		bytes += sizeof(char *) + strlen(model->classes[i]) + 1;
	if (model->family->bytes != NULL)
		bytes += model->family->bytes(model);
	bytes += ((size_t) model->n_calibration * 2 + model->n_distribution) * sizeof(double);
	return bytes;
}

int
pe_model_tree_count(const pe_model *model)
{
	return (int) model->n_trees;
}

int64_t
pe_model_training_rows(const pe_model *model)
{
	return model->training_rows;
}

double
pe_model_base_rate(const pe_model *model)
{
	return model->base_rate;
}

pe_calibration_kind
pe_model_calibration(const pe_model *model)
{
	return model->calibration;
}

int
pe_model_note_count(const pe_model *model)
{
	return model->n_notes;
}

const char *
pe_model_note(const pe_model *model, int note)
{
	return note >= 0 && note < model->n_notes ? model->notes[note] : NULL;
}

int
pe_model_feature_count(const pe_model *model)
{
	return model->n_features;
}

pe_model_feature
pe_model_get_feature(const pe_model *model, int feature)
{
	pe_model_feature result;

	memset(&result, 0, sizeof(result));
	if (feature >= 0 && feature < model->n_features)
	{
		const pe_feature *from = &model->features[feature];

		result.name = from->name;
		result.source_type = from->source_type;
		result.kind = from->kind;
		result.n_levels = from->n_levels;
		result.used = from->used;
		result.gain = from->gain;
		result.splits = from->splits;
		result.mean_contribution = from->mean_contribution;
		result.summarised = from->summarised;
		result.summary = from->summary;
	}
	return result;
}

int
pe_model_find_feature(const pe_model *model, const char *name)
{
	for (int i = 0; i < model->n_features; i++)
		if (strcmp(model->features[i].name, name) == 0)
			return i;
	return -1;
}

int32_t
pe_model_level(const pe_model *model, int feature, const char *text, size_t length)
{
	int low = 0, high;
	const pe_feature *from;

	if (feature < 0 || feature >= model->n_features)
		return PE_UNKNOWN_LEVEL;
	from = &model->features[feature];
	if (length > PE_MAX_LEVEL_LENGTH)
		length = PE_MAX_LEVEL_LENGTH;
	for (high = from->n_levels - 1; low <= high;)
	{
		int middle = (low + high) / 2;
		const char *level = from->levels[middle];
		size_t level_length = strlen(level);
		int order = memcmp(text, level, length < level_length ? length : level_length);

		if (order == 0 && length == level_length)
			return middle;
		if (order < 0 || (order == 0 && length < level_length))
			high = middle - 1;
		else
			low = middle + 1;
	}
	return PE_UNKNOWN_LEVEL;
}

const char *
pe_model_level_text(const pe_model *model, int feature, int32_t code)
{
	if (feature < 0 || feature >= model->n_features || code < 0 || code >= model->features[feature].n_levels)
		return NULL;
	return model->features[feature].levels[code];
}

int
pe_model_coefficient_count(const pe_model *model)
{
	return (int) model->n_terms;
}

pe_coefficient
pe_model_get_coefficient(const pe_model *model, int row)
{
	pe_coefficient result;
	const pe_term *term;

	memset(&result, 0, sizeof(result));
	if (row < 0 || (uint32_t) row >= model->n_terms)
		return result;
	term = &model->terms[row];
	result.class = term->class >= 0 ? model->classes[term->class] : NULL;
	result.feature = term->feature;
	result.name = term->feature < 0 ? "(intercept)" : model->features[term->feature].name;
	if (term->feature >= 0 && term->slot == PE_SLOT_MISSING)
		result.level = "(missing)";
	else if (term->feature >= 0 && term->slot > model->features[term->feature].n_levels)
		result.level = "(other)";
	else if (term->feature >= 0 && term->slot > 0)
		result.level = model->features[term->feature].levels[term->slot - 1];
	result.estimate = term->estimate;
	result.standard_error = term->standard_error;
	result.statistic = term->statistic;
	result.p_value = term->p_value;
	result.aliased = term->aliased;
	return result;
}

double
pe_model_log_likelihood(const pe_model *model)
{
	return model->log_likelihood;
}

double
pe_model_null_deviance(const pe_model *model)
{
	return model->null_deviance;
}

double
pe_model_deviance(const pe_model *model)
{
	return model->deviance;
}

int
pe_model_iterations(const pe_model *model)
{
	return model->iterations;
}

double
pe_model_dispersion(const pe_model *model)
{
	return model->dispersion;
}

double
pe_model_aic(const pe_model *model)
{
	return model->aic;
}

int
pe_model_path_count(const pe_model *model)
{
	return (int) model->n_path;
}

pe_path_point
pe_model_get_path_point(const pe_model *model, int point)
{
	pe_path_point none;

	memset(&none, 0, sizeof(none));
	return point >= 0 && (uint32_t) point < model->n_path ? model->path[point] : none;
}
