/*
 * multinomial_family.c
 *		The multinomial model as a family: margins, contributions, and its part of an
 *		artifact.
 */
#include "model/linear/multinomial.h"

pe_multinomial_own *
pe_multinomial_own_create(const pe_env *env, const pe_model *model)
{
	pe_multinomial_own *own = pe_calloc(env, 1, sizeof(*own));
	size_t classes = (size_t) model->n_classes;

	if (own == NULL || (own->offsets = pe_calloc(env, model->n_features, sizeof(size_t))) == NULL)
	{
		pe_free(env, own);
		return NULL;
	}
	own->count = classes;
	for (int i = 0; i < model->n_features; i++)
	{
		bool category = model->features[i].kind == PE_FEATURE_CATEGORICAL;

		own->offsets[i] = own->count;
		own->count += classes * (category ? (size_t) model->features[i].n_levels + 3 : 1);
	}
	return own;
}

const double *
pe_multinomial_terms(const pe_model *model, int feature, double value, double *scale)
{
	const pe_multinomial_own *own = model->own;
	const pe_feature *from = &model->features[feature];
	const double *numbers = own->numbers + own->offsets[feature];

	*scale = 1;
	if (from->kind == PE_FEATURE_CATEGORICAL)
		return numbers + (size_t) pe_feature_slot(from, value) * model->n_classes;
	*scale = isnan(value) ? from->fill : value;
	return numbers;
}

static void
multinomial_margins(const pe_model *model, const double *values, double *margins)
{
	const pe_multinomial_own *own = model->own;

	for (int c = 0; c < model->n_classes; c++)
		margins[c] = own->numbers[c];
	for (int i = 0; i < model->n_features; i++)
	{
		double scale;
		const double *terms;

		if (!model->features[i].used)
			continue;
		terms = pe_multinomial_terms(model, i, values[i], &scale);
		for (int c = 0; c < model->n_classes; c++)
			margins[c] += scale * terms[c];
	}
}

void
pe_explain_multinomial(const pe_model *model, const double *values, double *contributions, double *base)
{
	const pe_multinomial_own *own = model->own;
	double margin;
	int class = pe_largest_margin(model, values, &margin);

	*base = own->numbers[class];
	for (int i = 0; i < model->n_features; i++)
	{
		const pe_feature *feature = &model->features[i];
		const double *numbers = own->numbers + own->offsets[i];
		double scale, mean;

		if (!feature->used)
			continue;
		mean = feature->kind == PE_FEATURE_CATEGORICAL
		           ? numbers[((size_t) feature->n_levels + 2) * model->n_classes + class]
		           : feature->mean * numbers[class];
		contributions[i] = pe_multinomial_terms(model, i, values[i], &scale)[class];
		contributions[i] = contributions[i] * scale - mean;
		*base += mean;
	}
}

static void
write_multinomial_feature(pe_writer *w, const pe_feature *feature)
{
	pe_write_double(w, feature->fill);
	pe_write_double(w, feature->mean);
}

static void
read_multinomial_feature(pe_reader *r, pe_feature *feature)
{
	feature->fill = pe_read_finite(r, "a feature's mean is not finite");
	feature->mean = pe_read_finite(r, "a feature's mean is not finite");
}

static void
write_multinomial(pe_writer *w, const pe_model *model)
{
	const pe_multinomial_own *own = model->own;

	pe_write_terms(w, model);
	pe_write_doubles(w, own->numbers, own->count);
}

static void
read_multinomial(pe_reader *r, pe_model *model)
{
	pe_multinomial_own *own;

	pe_read_terms(r, model);
	if (model->n_classes < 2)
		pe_reader_fail(r, "it has no classes");
	if (pe_reader_bad(r))
		return;
	if ((own = model->own = pe_multinomial_own_create(r->env, model)) == NULL)
	{
		r->no_memory = true;
		return;
	}
	if (own->count > r->left / sizeof(double))
		pe_reader_fail(r, "it ends too early");
	else
		own->numbers = pe_read_doubles(r, own->count, "a coefficient is not finite");
}

static void
release_multinomial(pe_model *model)
{
	pe_multinomial_own *own = model->own;

	if (own != NULL)
	{
		pe_free(&model->env, own->offsets);
		pe_free(&model->env, own->numbers);
		pe_free(&model->env, own);
	}
	pe_free(&model->env, model->terms);
	pe_free(&model->env, model->path);
}

static size_t
multinomial_bytes(const pe_model *model)
{
	const pe_multinomial_own *own = model->own;

	return model->n_terms * sizeof(pe_term) + own->count * sizeof(double) +
	       model->n_features * sizeof(size_t);
}

const pe_family pe_multinomial_family = {
    .explains = true,
    .margins = multinomial_margins,
    .write_feature = write_multinomial_feature,
    .read_feature = read_multinomial_feature,
    .write = write_multinomial,
    .read = read_multinomial,
    .release = release_multinomial,
    .bytes = multinomial_bytes,
};
