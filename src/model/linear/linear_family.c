/*
 * linear_family.c
 *		The linear models as a family: their margin, and their part of an artifact.
 */
#include "model/family.h"

/* Points of the path as stored: four doubles, a count, three flags. */
#define POINT_BYTES 39

static void
write_path(pe_writer *w, const pe_model *model)
{
	pe_write_int(w, model->n_path, 4);
	for (uint32_t i = 0; i < model->n_path; i++)
	{
		const pe_path_point *point = &model->path[i];

		pe_write_double(w, point->lambda);
		pe_write_int(w, (uint32_t) point->nonzero, 4);
		pe_write_double(w, point->deviance_explained);
		pe_write_double(w, point->cv_mean);
		pe_write_double(w, point->cv_error);
		pe_write_int(w, point->least, 1);
		pe_write_int(w, point->one_error, 1);
		pe_write_int(w, point->chosen, 1);
	}
}

static int
read_small(pe_reader *r)
{
	uint64_t value = pe_read_int(r, 4);

	if (value > INT32_MAX)
		pe_reader_fail(r, "a count is too large");
	return (int) (value & INT32_MAX);
}

static void
read_path(pe_reader *r, pe_model *model)
{
	uint32_t count = pe_read_count(r, POINT_BYTES, 100000);

	if (pe_reader_bad(r) || (model->path = pe_read_array(r, count, sizeof(*model->path))) == NULL)
		return;
	model->n_path = count;
	for (uint32_t i = 0; i < count && !pe_reader_bad(r); i++)
	{
		pe_path_point *point = &model->path[i];

		point->lambda = pe_read_finite(r, "a penalty is not finite");
		point->nonzero = read_small(r);
		point->deviance_explained = pe_read_double(r);
		point->cv_mean = pe_read_double(r);
		point->cv_error = pe_read_double(r);
		point->least = pe_read_bool(r);
		point->one_error = pe_read_bool(r);
		point->chosen = pe_read_bool(r);
	}
}

void
pe_write_terms(pe_writer *w, const pe_model *model)
{
	pe_write_double(w, model->intercept);
	pe_write_int(w, model->n_terms, 4);
	for (uint32_t i = 0; i < model->n_terms; i++)
	{
		const pe_term *term = &model->terms[i];

		pe_write_int(w, (uint32_t) term->feature, 4);
		pe_write_int(w, (uint32_t) term->slot, 4);
		pe_write_int(w, (uint32_t) term->class, 4);
		pe_write_int(w, term->aliased, 1);
		pe_write_double(w, term->estimate);
		pe_write_double(w, term->standard_error);
		pe_write_double(w, term->statistic);
		pe_write_double(w, term->p_value);
	}
	pe_write_double(w, model->log_likelihood);
	pe_write_double(w, model->null_deviance);
	pe_write_double(w, model->deviance);
	pe_write_int(w, (uint32_t) model->iterations, 4);
	pe_write_double(w, model->dispersion);
	pe_write_double(w, model->aic);
	write_path(w, model);
}

void
pe_read_terms(pe_reader *r, pe_model *model)
{
	uint32_t count;

	model->intercept = pe_read_finite(r, "a coefficient is not finite");
	count = pe_read_count(r, 41, UINT32_MAX / 2);
	if (pe_reader_bad(r) || (model->terms = pe_read_array(r, count, sizeof(pe_term))) == NULL)
		return;
	model->n_terms = count;
	for (uint32_t i = 0; i < count && !pe_reader_bad(r); i++)
	{
		pe_term *term = &model->terms[i];

		term->feature = (int32_t) (uint32_t) pe_read_int(r, 4);
		term->slot = (int32_t) (uint32_t) pe_read_int(r, 4);
		term->class = r->version >= 2 ? (int32_t) (uint32_t) pe_read_int(r, 4) : -1;
		term->aliased = pe_read_bool(r);
		term->estimate = pe_read_finite(r, "a coefficient is not finite");
		term->standard_error = pe_read_double(r);
		term->statistic = pe_read_double(r);
		term->p_value = pe_read_double(r);
		if (term->feature < -1 || term->feature >= model->n_features || term->slot < -1 ||
		    (term->feature >= 0 && term->slot > model->features[term->feature].n_levels + 1) ||
		    term->class < -1 || term->class >= model->n_classes)
			pe_reader_fail(r, "a coefficient is of no feature");
	}
	model->log_likelihood = pe_read_double(r);
	model->null_deviance = pe_read_double(r);
	model->deviance = pe_read_double(r);
	model->iterations = read_small(r);
	if (r->version < 2)
		return;
	model->dispersion = pe_read_double(r);
	model->aic = pe_read_double(r);
	read_path(r, model);
}

static void
write_linear_feature(pe_writer *w, const pe_feature *feature)
{
	pe_write_double(w, feature->fill);
	pe_write_double(w, feature->mean);
	pe_write_double(w, feature->slope);
	if (feature->kind == PE_FEATURE_CATEGORICAL)
		pe_write_doubles(w, feature->terms, feature->n_levels + 2);
}

static void
read_linear_feature(pe_reader *r, pe_feature *feature)
{
	feature->fill = pe_read_finite(r, "a coefficient is not finite");
	feature->mean = pe_read_finite(r, "a coefficient is not finite");
	feature->slope = pe_read_finite(r, "a coefficient is not finite");
	if (feature->kind == PE_FEATURE_CATEGORICAL && !pe_reader_bad(r))
		feature->terms = pe_read_doubles(r, (size_t) feature->n_levels + 2, "a coefficient is not finite");
}

/* What one feature adds to a linear margin. */
static inline double
linear_term(const pe_feature *feature, double value)
{
	if (feature->kind == PE_FEATURE_CATEGORICAL)
		return feature->terms[pe_feature_slot(feature, value)];
	return feature->slope * (isnan(value) ? feature->fill : value);
}

static void
linear_margins(const pe_model *model, const double *values, double *margins)
{
	double margin = model->intercept;

	for (int i = 0; i < model->n_features; i++)
		if (model->features[i].used)
			margin += linear_term(&model->features[i], values[i]);
	margins[0] = margin;
}

static void
release_linear(pe_model *model)
{
	for (int i = 0; i < model->n_features; i++)
		pe_free(&model->env, model->features[i].terms);
	pe_free(&model->env, model->terms);
	pe_free(&model->env, model->path);
}

static size_t
linear_bytes(const pe_model *model)
{
	size_t bytes = model->n_terms * sizeof(pe_term) + model->n_path * sizeof(pe_path_point);

	for (int i = 0; i < model->n_features; i++)
		if (model->features[i].terms != NULL)
			bytes += (model->features[i].n_levels + 2) * sizeof(double);
	return bytes;
}

const pe_family pe_linear_family = {
    .explains = true,
    .margins = linear_margins,
    .write_feature = write_linear_feature,
    .read_feature = read_linear_feature,
    .write = pe_write_terms,
    .read = pe_read_terms,
    .release = release_linear,
    .bytes = linear_bytes,
};
