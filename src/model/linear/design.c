/*
 * design.c
 *		What the columns of the design are, and rows as columns, some at a time.
 */
#include "model/linear/design.h"
#include "model/linalg.h"

#define LARGE_VALUE 1e100 /* beyond it, or below its inverse, squares would leave the range of doubles */
#define TINY_SPREAD 1e-290

/* ---- columns -------------------------------------------------------------------------- */

typedef struct survey
{
	pe_fit *fit;
	pe_design *design;
	uint32_t *missing; /* by feature */
} survey;

/* Sums over a numeric feature's training rows, values times scale. */
typedef struct moments
{
	double largest; /* of the values' sizes */
	double sum;
	double weights;
	double squares; /* about mean */
	uint32_t missing;
} moments;

static bool
sum_moments(const survey *s, int feature, double fill, double scale, double mean, int thread, moments *m)
{
	const pe_fit *fit = s->fit;

	memset(m, 0, sizeof(*m));
	for (uint32_t i = 0; i < fit->rows->n_train; i++)
	{
		double value = pe_dataset_value(fit->dataset, feature, fit->rows->train[i]);
		double weight = pe_dataset_weight(fit->dataset, fit->rows->train[i]);

		if (i % 16384 == 0 && pe_team_poll(fit->pool, thread))
			return false;
		if (isnan(value))
		{
			m->missing++;
			value = fill;
		}
		m->largest = fabs(value) > m->largest ? fabs(value) : m->largest;
		value *= scale;
		m->sum += weight * value;
		m->weights += weight;
		m->squares += weight * (value - mean) * (value - mean);
	}
	return true;
}

/*
 * Mean and deviation in two passes. Values of extreme size are brought near 1 by a power
 * of two first, which changes no digit, so that neither sums nor squares overflow.
 */
static void
survey_numeric(survey *s, int feature, int thread)
{
	pe_design_feature *to = &s->design->features[feature];
	moments m;
	double scale = 1, mean;

	if (!sum_moments(s, feature, to->fill, scale, 0, thread, &m))
		return;
	s->missing[feature] = m.missing;
	if (m.largest > LARGE_VALUE || (m.largest > 0 && m.largest < 1 / LARGE_VALUE))
	{
		int exponent;

		(void) frexp(m.largest, &exponent);
		scale = ldexp(1, exponent > 0 ? -exponent : exponent < -1000 ? 1000 : -exponent);
		if (!sum_moments(s, feature, to->fill, scale, 0, thread, &m))
			return;
	}
	mean = m.sum / m.weights;
	to->large = m.largest > LARGE_VALUE;
	if (!sum_moments(s, feature, to->fill, scale, mean, thread, &m))
		return;
	to->mean = mean / scale;
	to->deviation = sqrt(m.squares / m.weights) / scale;
	/* What remains of a constant after rounding. */
	if (to->deviation <= 1e-14 * fabs(to->mean) || to->deviation < TINY_SPREAD)
		to->deviation = 0;
}

static void
survey_categorical(survey *s, int feature, int thread)
{
	const pe_fit *fit = s->fit;
	const uint8_t *slots = fit->map->slots[feature];
	double *weights = s->design->features[feature].weights;

	for (uint32_t i = 0; i < fit->rows->n_train; i++)
	{
		double value = pe_dataset_value(fit->dataset, feature, fit->rows->train[i]);

		weights[isnan(value) ? PE_SLOT_MISSING : slots[(uint32_t) value]] +=
		    pe_dataset_weight(fit->dataset, fit->rows->train[i]);
		if (i % 16384 == 0 && pe_team_poll(fit->pool, thread))
			return;
	}
}

static void
survey_work(void *ctx, uint32_t item, int thread)
{
	survey *s = ctx;

	if (s->fit->model->features[item].kind == PE_FEATURE_NUMERIC)
		survey_numeric(s, (int) item, thread);
	else
		survey_categorical(s, (int) item, thread);
}

/* The median of what is there. buffer: twice n_train. */
static bool
median(const pe_fit *fit, int feature, double *buffer, double *result)
{
	size_t n = 0;

	for (uint32_t i = 0; i < fit->rows->n_train; i++)
	{
		double value = pe_dataset_value(fit->dataset, feature, fit->rows->train[i]);

		if (!isnan(value))
			buffer[n++] = value;
	}
	*result = 0;
	if (!pe_sort_doubles(fit->env, buffer, NULL, buffer + fit->rows->n_train, NULL, n))
		return false;
	if (n > 0)
		*result = n % 2 == 1 ? buffer[n / 2] : buffer[n / 2 - 1] / 2 + buffer[n / 2] / 2;
	return true;
}

/* Medians where values are missing, said in a note. */
static pe_status
fill_missing(survey *s)
{
	const pe_fit *fit = s->fit;
	double *buffer = pe_alloc(fit->env, 2 * (size_t) fit->rows->n_train * sizeof(double));
	pe_status status = PE_OK;

	if (buffer == NULL)
		return pe_fail_memory(fit->err);
	for (int i = 0; i < s->design->n_features && status == PE_OK; i++)
	{
		pe_design_feature *feature = &s->design->features[i];

		if (s->missing[i] == 0)
			continue;
		if (!median(fit, i, buffer, &feature->fill))
			status = pe_fail(fit->err, PE_CANCELLED, "training was cancelled");
		else if (s->missing[i] == fit->rows->n_train)
			status =
			    pe_model_add_note(fit->model, fit->err, "%s: left out, it is missing in every training row",
			                      fit->model->features[i].name);
		else
			status =
			    pe_model_add_note(fit->model, fit->err, "%s: %u missing values count as the median %.15g",
			                      fit->model->features[i].name, s->missing[i], feature->fill);
		if (status == PE_OK)
		{
			survey_numeric(s, i, 0);
			if (pe_team_poll(fit->pool, 0))
				status = pe_fail(fit->err, PE_CANCELLED, "training was cancelled");
		}
	}
	pe_free(fit->env, buffer);
	return status;
}

/* Number the columns in the order of features; the first level that occurs is the base. */
static pe_status
number_columns(pe_fit *fit, pe_design *design)
{
	design->n_columns = 1;
	design->n_dense = 1;
	design->dense_feature[0] = -1;
	design->dense_column[0] = 0;
	for (int i = 0; i < design->n_features; i++)
	{
		pe_design_feature *feature = &design->features[i];
		const pe_feature *from = &fit->model->features[i];

		if (from->kind == PE_FEATURE_NUMERIC)
		{
			feature->dense = design->n_dense;
			design->dense_feature[design->n_dense] = i;
			design->dense_column[design->n_dense++] = design->n_columns++;
			continue;
		}
		/* Levels, then other, then missing. */
		for (int k = 1, seen = 0; k <= from->n_levels + 2 && from->n_levels > 0; k++)
		{
			int slot = k <= from->n_levels + 1 ? k : PE_SLOT_MISSING;

			if (!(feature->weights[slot] > 0) || seen++ == 0)
				continue;
			feature->dummies[slot] = design->n_dummies;
			design->dummy_feature[design->n_dummies] = i;
			design->dummy_slot[design->n_dummies] = slot;
			design->dummy_column[design->n_dummies++] = design->n_columns++;
		}
	}
	if (design->n_columns <= PE_MAX_DESIGN_COLUMNS)
		return PE_OK;
	pe_fail(fit->err, PE_LIMIT, "the %s model would have %d coefficients",
	        pe_algorithm_name(fit->model->algorithm), design->n_columns);
	pe_error_hint(fit->err,
	              "It can have at most %d: leave out features with many levels, or use boosted_trees.",
	              PE_MAX_DESIGN_COLUMNS);
	return PE_LIMIT;
}

static pe_status
allocate_design(pe_fit *fit, pe_design *design)
{
	const pe_env *env = fit->env;
	size_t slots = 0, n;

	memset(design, 0, sizeof(*design));
	design->n_features = fit->model->n_features;
	for (int i = 0; i < design->n_features; i++)
		if (fit->model->features[i].kind == PE_FEATURE_CATEGORICAL)
			slots += fit->model->features[i].n_levels + 2;
	n = 1 + design->n_features;
	design->features = pe_calloc(env, design->n_features, sizeof(*design->features));
	design->dense_feature = pe_calloc(env, n, sizeof(int));
	design->dense_column = pe_calloc(env, n, sizeof(int));
	design->dummy_feature = pe_calloc(env, slots, sizeof(int));
	design->dummy_slot = pe_calloc(env, slots, sizeof(int));
	design->dummy_column = pe_calloc(env, slots, sizeof(int));
	design->dummy_arena = pe_calloc(env, slots, sizeof(int32_t));
	design->weight_arena = pe_calloc(env, slots, sizeof(double));
	if (design->features == NULL || design->dense_feature == NULL || design->dense_column == NULL ||
	    design->dummy_feature == NULL || design->dummy_slot == NULL || design->dummy_column == NULL ||
	    design->dummy_arena == NULL || design->weight_arena == NULL)
		return pe_fail_memory(fit->err);
	memset(design->dummy_arena, 0xff, slots * sizeof(int32_t));
	slots = 0;
	for (int i = 0; i < design->n_features; i++)
	{
		design->features[i].dense = -1;
		if (fit->model->features[i].kind != PE_FEATURE_CATEGORICAL)
			continue;
		design->features[i].dummies = design->dummy_arena + slots;
		design->features[i].weights = design->weight_arena + slots;
		slots += fit->model->features[i].n_levels + 2;
	}
	return PE_OK;
}

pe_status
pe_design_create(pe_fit *fit, pe_design *design)
{
	survey s = {fit, design, NULL};
	pe_status status = allocate_design(fit, design);

	if (status != PE_OK)
		return status;
	if ((s.missing = pe_calloc(fit->env, design->n_features, sizeof(uint32_t))) == NULL)
		return pe_fail_memory(fit->err);
	if (!pe_team_run(fit->pool, survey_work, &s, (uint32_t) design->n_features))
		status = pe_fail(fit->err, PE_CANCELLED, "training was cancelled");
	for (int i = 0; i < design->n_features && status == PE_OK; i++)
		if (s.missing[i] > 0)
		{
			status = fill_missing(&s);
			break;
		}
	pe_free(fit->env, s.missing);
	return status == PE_OK ? number_columns(fit, design) : status;
}

void
pe_design_free(const pe_env *env, pe_design *design)
{
	pe_free(env, design->features);
	pe_free(env, design->dense_feature);
	pe_free(env, design->dense_column);
	pe_free(env, design->dummy_feature);
	pe_free(env, design->dummy_slot);
	pe_free(env, design->dummy_column);
	pe_free(env, design->dummy_arena);
	pe_free(env, design->weight_arena);
}

/* ---- rows as columns ------------------------------------------------------------------ */

bool
pe_chunks_create(pe_fit *fit, const pe_design *design, pe_chunks *chunks)
{
	size_t threads = pe_team_threads(fit->pool), dense = (size_t) design->n_dense * PE_CHUNK_ROWS, dummies;

	memset(chunks, 0, sizeof(*chunks));
	chunks->categorical = pe_calloc(fit->env, design->n_features, sizeof(int));
	if (chunks->categorical == NULL)
		return false;
	for (int i = 0; i < design->n_features; i++)
		if (design->features[i].dummies != NULL)
			chunks->categorical[chunks->n_categorical++] = i;
	dummies = (size_t) chunks->n_categorical * PE_CHUNK_ROWS;
	chunks->of = pe_calloc(fit->env, threads, sizeof(*chunks->of));
	chunks->dense_arena = pe_alloc(fit->env, threads * dense * sizeof(double));
	chunks->dummy_arena = pe_alloc(fit->env, threads * dummies * sizeof(int32_t));
	if (chunks->of == NULL || chunks->dense_arena == NULL || chunks->dummy_arena == NULL)
		return false;
	for (size_t i = 0; i < threads; i++)
	{
		chunks->of[i].z = chunks->dense_arena + i * dense;
		chunks->of[i].dummies = chunks->dummy_arena + i * dummies;
	}
	return true;
}

void
pe_chunks_free(const pe_env *env, pe_chunks *chunks)
{
	pe_free(env, chunks->categorical);
	pe_free(env, chunks->of);
	pe_free(env, chunks->dense_arena);
	pe_free(env, chunks->dummy_arena);
}

/* Rows of one block of the dataset: cells of a feature are found by adding to one address. */
static void
load_numeric(const pe_design_feature *from, const double *cells, const uint32_t *at, uint32_t n, double *z)
{
	double scale = from->deviation > 0 ? 1 / from->deviation : 0, mean = from->mean * scale;

	/* The difference of large values might overflow; that of others must not lose digits. */
	if (from->large)
		for (uint32_t r = 0; r < n; r++)
			z[r] = (isnan(cells[at[r]]) ? from->fill : cells[at[r]]) * scale - mean;
	else
		for (uint32_t r = 0; r < n; r++)
		{
			double value = cells[at[r]];

			z[r] = ((isnan(value) ? from->fill : value) - from->mean) * scale;
		}
}

static void
load_run(const pe_fit *fit, const pe_design *design, const pe_chunks *chunks, pe_chunk *c, uint32_t first,
         uint32_t n, const pe_block *block)
{
	unsigned shift = fit->dataset->block_shift;
	const double *cells = block->values;

	for (uint32_t r = first; r < first + n; r++)
	{
		c->targets[r] = block->targets[c->at[r]];
		c->weights[r] = fit->dataset->with_weights ? block->weights[c->at[r]] : 1;
		c->z[r] = 1;
	}
	for (int k = 1; k < design->n_dense; k++)
		load_numeric(&design->features[design->dense_feature[k]],
		             cells + ((size_t) design->dense_feature[k] << shift), c->at + first, n,
		             c->z + (size_t) k * PE_CHUNK_ROWS + first);
	for (int k = 0; k < chunks->n_categorical; k++)
	{
		int feature = chunks->categorical[k];
		const uint8_t *slots = fit->map->slots[feature];
		const double *values = cells + ((size_t) feature << shift);
		int32_t *dummies = c->dummies + (size_t) k * PE_CHUNK_ROWS;

		for (uint32_t r = first; r < first + n; r++)
		{
			double value = values[c->at[r]];

			dummies[r] =
			    design->features[feature].dummies[isnan(value) ? PE_SLOT_MISSING : slots[(uint32_t) value]];
		}
	}
}

static void
set_apart(pe_chunk *c, const pe_row_view *view, uint32_t begin, uint32_t n)
{
	for (uint32_t r = 0; r < n; r++)
	{
		bool away = (view->folds[begin + r] == view->fold) != view->inverse;

		c->apart[r] = away ? c->weights[r] : 0;
		c->weights[r] = away ? 0 : c->weights[r];
	}
}

uint32_t
pe_chunk_load(const pe_fit *fit, const pe_design *design, const pe_chunks *chunks, int thread,
              const pe_row_view *view, uint32_t begin, uint32_t end)
{
	pe_chunk *c = &chunks->of[thread];
	unsigned shift = fit->dataset->block_shift;
	uint32_t n = end - begin < PE_CHUNK_ROWS ? end - begin : PE_CHUNK_ROWS;
	const uint32_t *rows = view->rows + begin;

	for (uint32_t r = 0, first = 0; r < n; first = r)
	{
		uint32_t block = rows[r] >> shift;

		for (; r < n && rows[r] >> shift == block; r++)
			c->at[r] = rows[r] & ((1u << shift) - 1);
		load_run(fit, design, chunks, c, first, r - first, &fit->dataset->blocks[block]);
	}
	if (view->folds != NULL)
		set_apart(c, view, begin, n);
	return n;
}

void
pe_chunk_margins(const pe_design *design, const pe_chunks *chunks, const pe_chunk *c, uint32_t n,
                 const double *beta, double *margins)
{
	for (uint32_t r = 0; r < n; r++)
		margins[r] = beta[0];
	for (int k = 1; k < design->n_dense; k++)
		if (beta[design->dense_column[k]] != 0)
			pe_add_scaled(margins, beta[design->dense_column[k]], c->z + (size_t) k * PE_CHUNK_ROWS, n);
	for (int k = 0; k < chunks->n_categorical; k++)
	{
		const int32_t *dummies = c->dummies + (size_t) k * PE_CHUNK_ROWS;

		for (uint32_t r = 0; r < n; r++)
			if (dummies[r] >= 0)
				margins[r] += beta[design->dummy_column[dummies[r]]];
	}
}
