/*
 * sums.c
 *		Objective, gradient and Hessian over rows, in one pass.
 */
#include "model/linear/sums.h"
#include "model/linalg.h"

#define MOST_PARTS      32
#define PARTS_BYTES     (32u << 20)
#define LEAST_PART_ROWS 1024

typedef double vector4 __attribute__((vector_size(32)));

/* ---- products of columns -------------------------------------------------------------- */

pe_gram_layout
pe_gram_lay_out(const pe_design *design)
{
	size_t d = design->n_dense, c = design->n_dummies, wide = (d + 3) / 4 * 4;

	return (pe_gram_layout){d * d, d * d + c * wide, d * d + c * wide + c * (c + 1) / 2};
}

size_t
pe_gram_scratch_size(const pe_design *design)
{
	return (2 * (size_t) design->n_dense + 3) * PE_CHUNK_ROWS;
}

pe_gram_scratch
pe_gram_scratch_at(const pe_design *design, double *memory)
{
	return (pe_gram_scratch){memory, memory + (size_t) design->n_dense * PE_CHUNK_ROWS};
}

uint32_t
pe_part_count(uint32_t rows, size_t part_bytes)
{
	size_t most = PARTS_BYTES / part_bytes;
	uint32_t parts = rows / LEAST_PART_ROWS + 1;

	most = most < 1 ? 1 : most > MOST_PARTS ? MOST_PARTS : most;
	return parts < most ? parts : (uint32_t) most;
}

/* Row by row: dummies with dense columns, four of them at a time, and with each other. */
PE_INLINE void
add_dummies_plain(const pe_design *design, const pe_chunks *chunks, const pe_chunk *c, uint32_t n,
                  const double *weights, const pe_gram_scratch *s, double *gram)
{
	pe_gram_layout layout = pe_gram_lay_out(design);
	size_t d = design->n_dense, wide = (d + 3) / 4 * 4;
	double *cross = gram + layout.cross, *pairs = gram + layout.dummies;

	for (size_t k = 0; k < d; k++)
		for (uint32_t r = 0; r < n; r++)
			s->transposed[r * wide + k] = s->wz[k * PE_CHUNK_ROWS + r];
	for (uint32_t r = 0; r < n; r++)
	{
		const double *row = s->transposed + r * wide;

		for (int i = 0; i < chunks->n_categorical; i++)
		{
			int32_t dummy = c->dummies[(size_t) i * PE_CHUNK_ROWS + r];
			double *to = cross + dummy * wide;

			if (dummy < 0)
				continue;
			for (size_t k = 0; k < wide; k += 4)
			{
				vector4 sum, add;

				memcpy(&sum, to + k, sizeof(sum));
				memcpy(&add, row + k, sizeof(add));
				sum += add;
				memcpy(to + k, &sum, sizeof(sum));
			}
			for (int j = 0; j <= i; j++)
			{
				int32_t other = c->dummies[(size_t) j * PE_CHUNK_ROWS + r];

				if (other >= 0)
					pairs[pe_packed(dummy, other)] += weights[r];
			}
		}
	}
}

PE_IN_TWO_WIDTHS(static, void, add_dummies,
                 (const pe_design *design, const pe_chunks *chunks, const pe_chunk *c, uint32_t n,
                  const double *weights, const pe_gram_scratch *s, double *gram),
                 (design, chunks, c, n, weights, s, gram))

void
pe_gram_add(const pe_design *design, const pe_chunks *chunks, const pe_chunk *c, uint32_t n,
            const double *weights, const pe_gram_scratch *s, double *gram)
{
	size_t d = design->n_dense;

	for (size_t k = 0; k < d; k++)
		pe_multiply(s->wz + k * PE_CHUNK_ROWS, weights, c->z + k * PE_CHUNK_ROWS, n);
	pe_syrk(s->wz, c->z, PE_CHUNK_ROWS, d, n, gram);
	if (design->n_dummies > 0)
		add_dummies(design, chunks, c, n, weights, s, gram);
}

void
pe_gram_unpack(const pe_design *design, const double *gram, double *matrix)
{
	pe_gram_layout layout = pe_gram_lay_out(design);
	size_t d = design->n_dense, c = design->n_dummies, wide = (d + 3) / 4 * 4;

	for (size_t i = 0; i < d; i++)
		for (size_t j = 0; j <= i; j++)
			matrix[pe_packed(design->dense_column[i], design->dense_column[j])] = gram[i * d + j];
	for (size_t i = 0; i < c; i++)
	{
		size_t column = design->dummy_column[i];

		for (size_t j = 0; j < d; j++)
			matrix[pe_packed(column, design->dense_column[j])] = gram[layout.cross + i * wide + j];
		for (size_t j = 0; j <= i; j++)
			matrix[pe_packed(column, design->dummy_column[j])] = gram[layout.dummies + pe_packed(i, j)];
	}
}

void
pe_gradient_add(const pe_design *design, const pe_chunks *chunks, const pe_chunk *c, uint32_t n,
                const double *residuals, double *gradient)
{
	size_t d = design->n_dense;

	for (size_t k = 0; k < d; k++)
		gradient[k] += pe_dot(c->z + k * PE_CHUNK_ROWS, residuals, n);
	for (int i = 0; i < chunks->n_categorical; i++)
	{
		const int32_t *dummies = c->dummies + (size_t) i * PE_CHUNK_ROWS;

		for (uint32_t r = 0; r < n; r++)
			if (dummies[r] >= 0)
				gradient[d + dummies[r]] += residuals[r];
	}
}

void
pe_gradient_unpack(const pe_design *design, const double *sums, double *gradient)
{
	for (int i = 0; i < design->n_dense; i++)
		gradient[design->dense_column[i]] = sums[i];
	for (int i = 0; i < design->n_dummies; i++)
		gradient[design->dummy_column[i]] = sums[design->n_dense + i];
}

/* ---- one margin a row ----------------------------------------------------------------- */

/* One part's sums, side by side in one array of doubles. */
#define OBJECTIVE_AT 0
#define PEARSON_AT   1
#define SATURATED_AT 2
#define WEIGHT_AT    3
#define APART_AT     4
#define GRADIENT_AT  5 /* then the products of columns */

/* A thread's own, beside its chunk. */
typedef struct scratch
{
	pe_gram_scratch gram;
	double margins[PE_CHUNK_ROWS];
	double curvatures[PE_CHUNK_ROWS];
	double residuals[PE_CHUNK_ROWS];
} scratch;

struct pe_accumulator
{
	pe_fit *fit;
	const pe_design *design;
	pe_response response;
	pe_chunks chunks;
	scratch *scratch; /* by thread */
	double *arena;
	size_t gram_at; /* of a part */
	size_t part_size;
	double *parts;
	/* the call */
	const pe_row_view *view;
	const double *beta;
	pe_sum_kind kind;
	uint32_t n_parts;
};

void
pe_accumulator_free(pe_accumulator *a)
{
	const pe_env *env;

	if (a == NULL)
		return;
	env = a->fit->env;
	pe_chunks_free(env, &a->chunks);
	pe_free(env, a->scratch);
	pe_free(env, a->arena);
	pe_free(env, a->parts);
	pe_free(env, a);
}

pe_accumulator *
pe_accumulator_create(pe_fit *fit, const pe_design *design, const pe_response *response)
{
	pe_accumulator *a = pe_calloc(fit->env, 1, sizeof(*a));
	size_t threads = pe_team_threads(fit->pool), dense = pe_gram_scratch_size(design);

	if (a == NULL)
		return NULL;
	a->fit = fit;
	a->design = design;
	a->response = *response;
	a->gram_at = GRADIENT_AT + design->n_dense + design->n_dummies;
	a->part_size = a->gram_at + pe_gram_lay_out(design).size;
	a->parts = pe_alloc(fit->env, pe_part_count(fit->rows->n_train, a->part_size * sizeof(double)) *
	                                  a->part_size * sizeof(double));
	a->scratch = pe_calloc(fit->env, threads, sizeof(*a->scratch));
	a->arena = pe_calloc(fit->env, threads * dense, sizeof(double));
	if (!pe_chunks_create(fit, design, &a->chunks) || a->parts == NULL || a->scratch == NULL ||
	    a->arena == NULL)
	{
		pe_accumulator_free(a);
		return NULL;
	}
	for (size_t i = 0; i < threads; i++)
		a->scratch[i].gram = pe_gram_scratch_at(design, a->arena + i * dense);
	return a;
}

static void
add_chunk(const pe_accumulator *a, const pe_chunk *c, scratch *s, uint32_t n, double *part)
{
	pe_response_sums sums = {0};

	pe_chunk_margins(a->design, &a->chunks, c, n, a->beta, s->margins);
	part[OBJECTIVE_AT] += pe_response_rows(&a->response, a->kind == PE_SUM_EXPECTED, n, c->targets,
	                                       c->weights, s->margins, s->curvatures, s->residuals);
	if (a->view->folds != NULL)
		part[APART_AT] += pe_response_objective(&a->response, n, c->targets, c->apart, s->margins);
	if (a->kind >= PE_SUM_GRADIENT)
		pe_gradient_add(a->design, &a->chunks, c, n, s->residuals, part + GRADIENT_AT);
	if (a->kind >= PE_SUM_HESSIAN)
		pe_gram_add(a->design, &a->chunks, c, n, s->curvatures, &s->gram, part + a->gram_at);
	if (a->kind != PE_SUM_EXPECTED)
		return;
	pe_response_add(&a->response, n, c->targets, c->weights, s->margins, &sums);
	part[PEARSON_AT] += sums.pearson;
	part[SATURATED_AT] += sums.saturated;
	part[WEIGHT_AT] += sums.weight;
}

static size_t
used_size(const pe_accumulator *a)
{
	return a->kind >= PE_SUM_HESSIAN ? a->part_size : a->gram_at;
}

static void
part_work(void *ctx, uint32_t item, int thread)
{
	pe_accumulator *a = ctx;
	double *part = a->parts + item * a->part_size;
	uint32_t begin = (uint32_t) ((uint64_t) a->view->n * item / a->n_parts);
	uint32_t end = (uint32_t) ((uint64_t) a->view->n * (item + 1) / a->n_parts);

	memset(part, 0, used_size(a) * sizeof(*part));
	for (uint32_t at = begin; at < end;)
	{
		uint32_t rows;

		if (pe_team_poll(a->fit->pool, thread))
			return;
		rows = pe_chunk_load(a->fit, a->design, &a->chunks, thread, a->view, at, end);
		add_chunk(a, &a->chunks.of[thread], &a->scratch[thread], rows, part);
		at += rows;
	}
}

bool
pe_accumulate(pe_accumulator *a, const pe_row_view *view, const double *beta, pe_sum_kind kind,
              pe_normal *normal)
{
	double *sum = a->parts;

	a->view = view;
	a->beta = beta;
	a->kind = kind;
	a->n_parts = pe_part_count(view->n, a->part_size * sizeof(double));
	if (!pe_team_run(a->fit->pool, part_work, a, a->n_parts))
		return false;
	for (uint32_t part = 1; part < a->n_parts; part++)
		pe_add_scaled(sum, 1, a->parts + part * a->part_size, used_size(a));
	normal->objective = sum[OBJECTIVE_AT];
	normal->apart = view->folds != NULL ? sum[APART_AT] : 0;
	normal->sums = (pe_response_sums){sum[PEARSON_AT], sum[SATURATED_AT], sum[WEIGHT_AT]};
	if (kind >= PE_SUM_GRADIENT)
		pe_gradient_unpack(a->design, sum + GRADIENT_AT, normal->gradient);
	if (kind >= PE_SUM_HESSIAN)
		pe_gram_unpack(a->design, sum + a->gram_at, normal->hessian);
	return true;
}
