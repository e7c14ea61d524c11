/*
 * softmax.c
 *		Sums over the rows for several classes, shared out as sums.c does.
 */
#include "model/linear/softmax.h"
#include "model/linalg.h"

typedef struct scratch
{
	pe_gram_scratch gram;
	double *margins; /* [class][PE_CHUNK_ROWS], then probabilities */
	double products[PE_CHUNK_ROWS];
} scratch;

struct pe_softmax_sums
{
	pe_linear *l;
	int classes;
	pe_chunks chunks;
	scratch *scratch; /* by thread */
	double *arena;
	double *block; /* packed n, for unpacking */
	size_t gram_size;
	size_t gram_at;
	size_t part_size;
	double *parts;
	/* the call */
	const double *beta;
	bool with_hessian;
	uint32_t n_parts;
};

void
pe_softmax_free(pe_softmax_sums *s)
{
	const pe_env *env;

	if (s == NULL)
		return;
	env = s->l->fit->env;
	pe_chunks_free(env, &s->chunks);
	pe_free(env, s->scratch);
	pe_free(env, s->arena);
	pe_free(env, s->block);
	pe_free(env, s->parts);
	pe_free(env, s);
}

pe_softmax_sums *
pe_softmax_create(pe_linear *l, int classes, bool with_hessian)
{
	const pe_env *env = l->fit->env;
	size_t threads = pe_team_threads(l->fit->pool), gram = pe_gram_scratch_size(&l->design);
	size_t own = gram + (size_t) classes * PE_CHUNK_ROWS;
	pe_softmax_sums *s = pe_calloc(env, 1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->l = l;
	s->classes = classes;
	s->gram_size = pe_gram_lay_out(&l->design).size;
	s->gram_at = 1 + (size_t) classes * l->n;
	s->part_size = s->gram_at + (with_hessian ? (size_t) classes * (classes + 1) / 2 * s->gram_size : 0);
	s->parts =
	    pe_alloc(env, pe_part_count(l->all.n, s->part_size * sizeof(double)) * s->part_size * sizeof(double));
	s->scratch = pe_calloc(env, threads, sizeof(*s->scratch));
	s->arena = pe_calloc(env, threads * own, sizeof(double));
	s->block = pe_calloc(env, l->n * (l->n + 1) / 2, sizeof(double));
	if (!pe_chunks_create(l->fit, &l->design, &s->chunks) || s->parts == NULL || s->scratch == NULL ||
	    s->arena == NULL || s->block == NULL)
	{
		pe_softmax_free(s);
		return NULL;
	}
	for (size_t i = 0; i < threads; i++)
	{
		s->scratch[i].gram = pe_gram_scratch_at(&l->design, s->arena + i * own);
		s->scratch[i].margins = s->arena + i * own + gram;
	}
	return s;
}

/* Margins become probabilities; returns the chunk's log-likelihood. */
static double
link_chunk(const pe_softmax_sums *s, const pe_chunk *c, uint32_t n, double *margins)
{
	double sum = 0;

	for (uint32_t r = 0; r < n; r++)
	{
		double largest = margins[r], total = 0, own = margins[(size_t) c->targets[r] * PE_CHUNK_ROWS + r];

		for (int k = 1; k < s->classes; k++)
			largest = fmax(largest, margins[k * PE_CHUNK_ROWS + r]);
		for (int k = 0; k < s->classes; k++)
			total += margins[k * PE_CHUNK_ROWS + r] = exp(margins[k * PE_CHUNK_ROWS + r] - largest);
		for (int k = 0; k < s->classes; k++)
			margins[k * PE_CHUNK_ROWS + r] /= total;
		sum += c->weights[r] * (own - largest - log(total));
	}
	return sum;
}

static void
add_hessian(const pe_softmax_sums *s, const pe_chunk *c, scratch *t, uint32_t n, double *grams)
{
	for (int k = 0; k < s->classes; k++)
		for (int j = 0; j <= k; j++, grams += s->gram_size)
		{
			const double *p = t->margins + k * PE_CHUNK_ROWS, *q = t->margins + j * PE_CHUNK_ROWS;

			for (uint32_t r = 0; r < n; r++)
				t->products[r] = c->weights[r] * p[r] * (j == k ? 1 - q[r] : -q[r]);
			pe_gram_add(&s->l->design, &s->chunks, c, n, t->products, &t->gram, grams);
		}
}

static void
add_chunk(const pe_softmax_sums *s, const pe_chunk *c, scratch *t, uint32_t n, double *part)
{
	const pe_design *design = &s->l->design;

	for (int k = 0; k < s->classes; k++)
		pe_chunk_margins(design, &s->chunks, c, n, s->beta + k * s->l->n, t->margins + k * PE_CHUNK_ROWS);
	part[0] += link_chunk(s, c, n, t->margins);
	if (s->with_hessian)
		add_hessian(s, c, t, n, part + s->gram_at);
	for (int k = 0; k < s->classes; k++)
	{
		const double *p = t->margins + k * PE_CHUNK_ROWS;

		for (uint32_t r = 0; r < n; r++)
			t->products[r] = c->weights[r] * ((c->targets[r] == k) - p[r]);
		pe_gradient_add(design, &s->chunks, c, n, t->products, part + 1 + k * s->l->n);
	}
}

static void
part_work(void *ctx, uint32_t item, int thread)
{
	pe_softmax_sums *s = ctx;
	const pe_linear *l = s->l;
	double *part = s->parts + item * s->part_size;
	uint32_t end = (uint32_t) ((uint64_t) l->all.n * (item + 1) / s->n_parts);

	memset(part, 0, (s->with_hessian ? s->part_size : s->gram_at) * sizeof(*part));
	for (uint32_t at = (uint32_t) ((uint64_t) l->all.n * item / s->n_parts); at < end;)
	{
		uint32_t rows;

		if (pe_team_poll(l->fit->pool, thread))
			return;
		rows = pe_chunk_load(l->fit, &l->design, &s->chunks, thread, &l->all, at, end);
		add_chunk(s, &s->chunks.of[thread], &s->scratch[thread], rows, part);
		at += rows;
	}
}

/* The blocks of classes k and j to their place in the whole matrix. */
static void
place_block(const pe_softmax_sums *s, int k, int j, double *hessian)
{
	size_t n = s->l->n;

	for (size_t a = 0; a < n; a++)
		for (size_t b = 0; b < (j == k ? a + 1 : n); b++)
			hessian[pe_packed(k * n + a, j * n + b)] = s->block[pe_packed(a, b)];
}

bool
pe_softmax_accumulate(pe_softmax_sums *s, const double *beta, double *objective, double *gradient,
                      double *hessian)
{
	const double *gram = s->parts + s->gram_at;

	s->beta = beta;
	s->with_hessian = hessian != NULL;
	s->n_parts = pe_part_count(s->l->all.n, s->part_size * sizeof(double));
	if (!pe_team_run(s->l->fit->pool, part_work, s, s->n_parts))
		return false;
	for (uint32_t part = 1; part < s->n_parts; part++)
		pe_add_scaled(s->parts, 1, s->parts + part * s->part_size,
		              s->with_hessian ? s->part_size : s->gram_at);
	*objective = s->parts[0];
	for (int k = 0; k < s->classes; k++)
		pe_gradient_unpack(&s->l->design, s->parts + 1 + k * s->l->n, gradient + k * s->l->n);
	for (int k = 0; hessian != NULL && k < s->classes; k++)
		for (int j = 0; j <= k; j++, gram += s->gram_size)
		{
			pe_gram_unpack(&s->l->design, gram, s->block);
			place_block(s, k, j, hessian);
		}
	return true;
}
