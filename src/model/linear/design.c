/*
 * design.c
 *		What the columns of the design are, and the sums over all rows that one Newton step
 *		needs: gradient, Hessian and likelihood, in one pass.
 *
 * Rows are shared out in a fixed number of parts that depends on the data alone; a part
 * is summed in order by one thread, and parts are added in order. So the result is the
 * same on any number of threads.
 */
#include "model/linear/design.h"
#include "model/linalg.h"

#define CHUNK_ROWS      256
#define MOST_PARTS      32
#define PARTS_BYTES     (32u << 20)
#define LEAST_PART_ROWS 1024

/* ---- columns -------------------------------------------------------------------------- */

typedef struct survey
{
	pe_fit *fit;
	pe_design *design;
	uint32_t *missing; /* by feature */
} survey;

static void
survey_numeric(survey *s, int feature, int thread)
{
	const pe_fit *fit = s->fit;
	pe_design_feature *to = &s->design->features[feature];
	double sum = 0, weights = 0, mean, squares = 0;

	for (int pass = 0; pass < 2; pass++)
	{
		mean = weights > 0 ? sum / weights : 0;
		for (uint32_t i = 0; i < fit->rows->n_train; i++)
		{
			double value = pe_dataset_value(fit->dataset, feature, fit->rows->train[i]);
			double weight = pe_dataset_weight(fit->dataset, fit->rows->train[i]);

			if (i % 16384 == 0 && pe_team_poll(fit->pool, thread))
				return;
			if (isnan(value))
			{
				s->missing[feature] += pass == 0;
				value = to->fill;
			}
			if (pass == 0)
			{
				sum += weight * value;
				weights += weight;
			}
			else
				squares += weight * (value - mean) * (value - mean);
		}
	}
	to->mean = mean;
	to->deviation = sqrt(squares / weights);
	/* What remains of a constant after rounding. */
	if (to->deviation <= 1e-14 * fabs(mean) || !isfinite(to->deviation))
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

/* ---- sums over the rows --------------------------------------------------------------- */

/* One part's sums, side by side in one array of doubles. */
typedef struct part_layout
{
	size_t dense;    /* n_dense x n_dense, lower triangle */
	size_t cross;    /* n_dummies x n_dense */
	size_t dummies;  /* packed n_dummies */
	size_t gradient; /* dense, then dummies */
	size_t objective;
	size_t size;
} part_layout;

/* A thread's chunk of rows. */
typedef struct chunk
{
	double *z;        /* [dense][CHUNK_ROWS] */
	double *wz;       /* the same, by weight */
	int32_t *dummies; /* [categorical][CHUNK_ROWS], number or -1 */
	double margins[CHUNK_ROWS];
	double weights[CHUNK_ROWS];
	double residuals[CHUNK_ROWS];
} chunk;

struct pe_accumulator
{
	pe_fit *fit;
	const pe_design *design;
	const double *coefficients;
	int n_categorical;
	int *categorical; /* -> feature */
	uint32_t n_parts;
	part_layout layout;
	double *parts;
	chunk *chunks; /* by thread */
	double *chunk_arena;
	int32_t *dummy_arena;
};

void
pe_accumulator_free(pe_accumulator *a)
{
	if (a == NULL)
		return;
	pe_free(a->fit->env, a->categorical);
	pe_free(a->fit->env, a->parts);
	pe_free(a->fit->env, a->chunks);
	pe_free(a->fit->env, a->chunk_arena);
	pe_free(a->fit->env, a->dummy_arena);
	pe_free(a->fit->env, a);
}

static void
lay_out_part(pe_accumulator *a)
{
	size_t d = a->design->n_dense, c = a->design->n_dummies;
	uint32_t most = a->fit->rows->n_train / LEAST_PART_ROWS + 1;
	part_layout *layout = &a->layout;

	layout->dense = 0;
	layout->cross = d * d;
	layout->dummies = layout->cross + c * d;
	layout->gradient = layout->dummies + c * (c + 1) / 2;
	layout->objective = layout->gradient + d + c;
	layout->size = layout->objective + 1;
	a->n_parts = (uint32_t) (PARTS_BYTES / (layout->size * sizeof(double)));
	a->n_parts = a->n_parts < 1 ? 1 : a->n_parts > MOST_PARTS ? MOST_PARTS : a->n_parts;
	a->n_parts = a->n_parts < most ? a->n_parts : most;
}

pe_accumulator *
pe_accumulator_create(pe_fit *fit, const pe_design *design)
{
	pe_accumulator *a = pe_calloc(fit->env, 1, sizeof(*a));
	int threads = pe_team_threads(fit->pool);
	size_t dense = (size_t) design->n_dense * CHUNK_ROWS, dummies;

	if (a == NULL)
		return NULL;
	a->fit = fit;
	a->design = design;
	lay_out_part(a);
	a->categorical = pe_calloc(fit->env, design->n_features, sizeof(int));
	for (int i = 0; i < design->n_features && a->categorical != NULL; i++)
		if (design->features[i].dummies != NULL)
			a->categorical[a->n_categorical++] = i;
	dummies = (size_t) a->n_categorical * CHUNK_ROWS;
	a->parts = pe_alloc(fit->env, a->n_parts * a->layout.size * sizeof(double));
	a->chunks = pe_calloc(fit->env, threads, sizeof(*a->chunks));
	a->chunk_arena = pe_alloc(fit->env, 2 * threads * dense * sizeof(double));
	a->dummy_arena = pe_alloc(fit->env, threads * dummies * sizeof(int32_t));
	if (a->categorical == NULL || a->parts == NULL || a->chunks == NULL || a->chunk_arena == NULL ||
	    a->dummy_arena == NULL)
	{
		pe_accumulator_free(a);
		return NULL;
	}
	for (int i = 0; i < threads; i++)
	{
		a->chunks[i].z = a->chunk_arena + 2 * i * dense;
		a->chunks[i].wz = a->chunks[i].z + dense;
		a->chunks[i].dummies = a->dummy_arena + i * dummies;
	}
	return a;
}

/* Rows begin .. begin + n - 1 of the training rows as columns, and their margins. */
static void
load_chunk(const pe_accumulator *a, chunk *c, uint32_t begin, uint32_t n)
{
	const pe_design *design = a->design;
	const pe_dataset *dataset = a->fit->dataset;
	const uint32_t *rows = a->fit->rows->train + begin;
	const double *dummy_coefficients = a->coefficients + design->n_dense;

	for (uint32_t r = 0; r < n; r++)
	{
		c->z[r] = 1;
		c->margins[r] = a->coefficients[0];
	}
	for (int k = 1; k < design->n_dense; k++)
	{
		int feature = design->dense_feature[k];
		const pe_design_feature *from = &design->features[feature];
		double scale = from->deviation > 0 ? 1 / from->deviation : 0;
		double *z = c->z + (size_t) k * CHUNK_ROWS;

		for (uint32_t r = 0; r < n; r++)
		{
			double value = pe_dataset_value(dataset, feature, rows[r]);

			z[r] = ((isnan(value) ? from->fill : value) - from->mean) * scale;
			c->margins[r] += a->coefficients[k] * z[r];
		}
	}
	for (int k = 0; k < a->n_categorical; k++)
	{
		int feature = a->categorical[k];
		const uint8_t *slots = a->fit->map->slots[feature];
		int32_t *dummies = c->dummies + (size_t) k * CHUNK_ROWS;

		for (uint32_t r = 0; r < n; r++)
		{
			double value = pe_dataset_value(dataset, feature, rows[r]);

			dummies[r] =
			    design->features[feature].dummies[isnan(value) ? PE_SLOT_MISSING : slots[(uint32_t) value]];
			if (dummies[r] >= 0)
				c->margins[r] += dummy_coefficients[dummies[r]];
		}
	}
}

/* Working weights and residuals; returns the chunk's part of the objective. */
static double
link_chunk(const pe_accumulator *a, chunk *c, uint32_t begin, uint32_t n)
{
	const pe_dataset *dataset = a->fit->dataset;
	bool binary = a->fit->task == PE_TASK_PROPENSITY;
	double objective = 0;

	for (uint32_t r = 0; r < n; r++)
	{
		uint32_t row = a->fit->rows->train[begin + r];
		double target = pe_dataset_target(dataset, row), weight = pe_dataset_weight(dataset, row);
		double margin = c->margins[r];

		if (binary)
		{
			/* e is at most 1, so that neither p nor 1 - p loses its digits. */
			double e = exp(-fabs(margin)), p = margin >= 0 ? 1 / (1 + e) : e / (1 + e);
			double off = margin >= 0 ? e / (1 + e) : 1 / (1 + e);

			objective += weight * (target * margin - fmax(margin, 0) - log1p(e));
			c->weights[r] = weight * p * off;
			c->residuals[r] = weight * (target > 0.5 ? off : -p);
		}
		else
		{
			double residual = target - margin;

			objective -= weight * residual * residual / 2;
			c->weights[r] = weight;
			c->residuals[r] = weight * residual;
		}
	}
	return objective;
}

static void
sum_chunk(const pe_accumulator *a, chunk *c, uint32_t n, double *part)
{
	const part_layout *layout = &a->layout;
	size_t d = a->design->n_dense;
	double *gradient = part + layout->gradient, *dummy_gradient = gradient + d;

	for (size_t k = 0; k < d; k++)
	{
		const double *z = c->z + k * CHUNK_ROWS;
		double *wz = c->wz + k * CHUNK_ROWS;

		for (uint32_t r = 0; r < n; r++)
			wz[r] = c->weights[r] * z[r];
		gradient[k] += pe_dot(z, c->residuals, n);
	}
	pe_syrk(c->wz, c->z, CHUNK_ROWS, d, n, part + layout->dense);
	for (int i = 0; i < a->n_categorical; i++)
		for (uint32_t r = 0; r < n; r++)
		{
			int32_t dummy = c->dummies[(size_t) i * CHUNK_ROWS + r];
			double *cross;

			if (dummy < 0)
				continue;
			cross = part + layout->cross + dummy * d;
			for (size_t k = 0; k < d; k++)
				cross[k] += c->wz[k * CHUNK_ROWS + r];
			dummy_gradient[dummy] += c->residuals[r];
			for (int j = 0; j <= i; j++)
			{
				int32_t other = c->dummies[(size_t) j * CHUNK_ROWS + r];

				if (other >= 0)
					part[layout->dummies + pe_packed(dummy, other)] += c->weights[r];
			}
		}
}

static void
part_work(void *ctx, uint32_t item, int thread)
{
	pe_accumulator *a = ctx;
	double *part = a->parts + item * a->layout.size;
	uint32_t n = a->fit->rows->n_train;
	uint32_t begin = (uint32_t) ((uint64_t) n * item / a->n_parts);
	uint32_t end = (uint32_t) ((uint64_t) n * (item + 1) / a->n_parts);
	chunk *c = &a->chunks[thread];

	memset(part, 0, a->layout.size * sizeof(*part));
	for (uint32_t at = begin; at < end; at += CHUNK_ROWS)
	{
		uint32_t rows = end - at < CHUNK_ROWS ? end - at : CHUNK_ROWS;

		if (pe_team_poll(a->fit->pool, thread))
			return;
		load_chunk(a, c, at, rows);
		part[a->layout.objective] += link_chunk(a, c, at, rows);
		sum_chunk(a, c, rows, part);
	}
}

/* From the parts, in order, to the columns' own order. */
static void
assemble(const pe_accumulator *a, pe_normal *normal)
{
	const pe_design *design = a->design;
	const part_layout *layout = &a->layout;
	size_t d = design->n_dense, c = design->n_dummies;
	double *sum = a->parts;

	for (uint32_t part = 1; part < a->n_parts; part++)
		for (size_t i = 0; i < layout->size; i++)
			sum[i] += a->parts[part * layout->size + i];
	normal->objective = sum[layout->objective];
	for (size_t i = 0; i < d; i++)
	{
		normal->gradient[design->dense_column[i]] = sum[layout->gradient + i];
		for (size_t j = 0; j <= i; j++)
			normal->hessian[pe_packed(design->dense_column[i], design->dense_column[j])] =
			    sum[layout->dense + i * d + j];
	}
	for (size_t i = 0; i < c; i++)
	{
		size_t column = design->dummy_column[i];

		normal->gradient[column] = sum[layout->gradient + d + i];
		for (size_t j = 0; j < d; j++)
			normal->hessian[pe_packed(column, design->dense_column[j])] = sum[layout->cross + i * d + j];
		for (size_t j = 0; j <= i; j++)
			normal->hessian[pe_packed(column, design->dummy_column[j])] =
			    sum[layout->dummies + pe_packed(i, j)];
	}
}

/* coefficients: dense ones, then dummies. */
bool
pe_accumulate(pe_accumulator *a, const double *coefficients, pe_normal *normal)
{
	a->coefficients = coefficients;
	if (!pe_team_run(a->fit->pool, part_work, a, a->n_parts))
		return false;
	assemble(a, normal);
	return true;
}
