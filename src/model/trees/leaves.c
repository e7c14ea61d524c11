/*
 * leaves.c
 *		The leaves of a finished tree: which row is in which, and their exact sums.
 *
 * Rows lie leaf by leaf then, so that whatever else is known of them would have to be
 * looked up all over memory. Only the place of its leaf is written that way, a byte for
 * each row; sums and values then go through the rows in their order.
 */
#include "model/trees/trees.h"

#define CHUNK_ROWS 8192

static inline uint32_t
place_of(const pe_grower *grower, uint32_t row)
{
	return grower->narrow ? grower->places[row] : grower->wide_places[row];
}

typedef struct leaves_job
{
	pe_grower *grower;
	const uint32_t *rows;
	uint32_t count;
	double *margins;
} leaves_job;

static inline uint32_t
chunk_end(const leaves_job *job, uint32_t item)
{
	uint32_t begin = item * CHUNK_ROWS;

	return job->count - begin < CHUNK_ROWS ? job->count : begin + CHUNK_ROWS;
}

static bool
over_chunks(leaves_job *job, pe_work work)
{
	return pe_team_run(job->grower->pool, work, job, (job->count + CHUNK_ROWS - 1) / CHUNK_ROWS);
}

/* ---- which row is in which ------------------------------------------------------------ */

/* By their rows, so that a row's leaf can be searched; a heap, as it needs no memory. */
static void
sort_leaves(pe_leaf *leaves, uint32_t count)
{
	for (uint32_t top = count / 2, end = count; end > 1;)
	{
		uint32_t at, child;
		pe_leaf leaf;

		if (top > 0)
			leaf = leaves[--top];
		else
		{
			leaf = leaves[--end];
			leaves[end] = leaves[0];
		}
		for (at = top; (child = 2 * at + 1) < end; at = child)
		{
			if (child + 1 < end && leaves[child + 1].begin > leaves[child].begin)
				child++;
			if (leaves[child].begin <= leaf.begin)
				break;
			leaves[at] = leaves[child];
		}
		leaves[at] = leaf;
	}
}

/* The last of the leaves, which lie in the order of their rows, that begins at or before position. */
static uint32_t
leaf_at(const pe_grower *grower, uint32_t position)
{
	uint32_t low = 0, high = grower->n_closed;

	while (high - low > 1)
	{
		uint32_t middle = low + (high - low) / 2;

		if (grower->closed[middle].begin <= position)
			low = middle;
		else
			high = middle;
	}
	return low;
}

static void
place_work(void *ctx, uint32_t item, int thread)
{
	leaves_job *job = ctx;
	pe_grower *grower = job->grower;
	uint32_t begin = item * CHUNK_ROWS, end = chunk_end(job, item);

	for (uint32_t at = leaf_at(grower, begin), i = begin; i < end; at++)
	{
		const pe_leaf *leaf = &grower->closed[at];
		uint32_t stop = leaf->begin + leaf->count < end ? leaf->begin + leaf->count : end;

		for (; i < stop && grower->narrow; i++)
			grower->places[(uint32_t) grower->entries[i]] = (uint8_t) at;
		for (; i < stop; i++)
			grower->wide_places[(uint32_t) grower->entries[i]] = at;
	}
}

/* ---- sums ----------------------------------------------------------------------------- */

static void
sum_work(void *ctx, uint32_t item, int thread)
{
	leaves_job *job = ctx;
	const pe_grower *grower = job->grower;
	pe_cell *sums = grower->leaf_sums + (size_t) thread * grower->leaf_sums_capacity;

	for (uint32_t i = item * CHUNK_ROWS; i < chunk_end(job, item); i++)
	{
		uint32_t row = job->rows[i];
		pe_cell *sum = &sums[place_of(grower, row)];

		sum->g += grower->pairs[row].g;
		sum->h += grower->pairs[row].h;
	}
}

/* Zeroed sums for each thread; integers add up the same whoever has which rows. */
static bool
begin_sums(pe_grower *grower)
{
	size_t threads = (size_t) pe_team_threads(grower->pool);

	if (grower->leaf_sums_capacity < grower->n_closed)
	{
		pe_free(grower->env, grower->leaf_sums);
		grower->leaf_sums_capacity = grower->closed_capacity;
		grower->leaf_sums =
		    pe_alloc_large(grower->env, threads * grower->leaf_sums_capacity, sizeof(pe_cell));
		if (grower->leaf_sums == NULL)
			return false;
	}
	for (size_t thread = 0; thread < threads; thread++)
		memset(grower->leaf_sums + thread * grower->leaf_sums_capacity, 0,
		       grower->n_closed * sizeof(pe_cell));
	return true;
}

static void
end_sums(pe_grower *grower)
{
	for (uint32_t i = 0; i < grower->n_closed; i++)
	{
		grower->closed[i].sum = (pe_cell){0, 0};
		for (int thread = 0; thread < pe_team_threads(grower->pool); thread++)
		{
			const pe_cell *sum = &grower->leaf_sums[(size_t) thread * grower->leaf_sums_capacity + i];

			grower->closed[i].sum.g += sum->g;
			grower->closed[i].sum.h += sum->h;
		}
	}
}

pe_status
pe_leaves_settle(pe_grower *grower, const uint32_t *rows, uint32_t count)
{
	leaves_job job = {grower, rows, count, NULL};

	sort_leaves(grower->closed, grower->n_closed);
	if (!begin_sums(grower))
		return pe_fail_memory(grower->err);
	if (!over_chunks(&job, place_work) || !over_chunks(&job, sum_work))
		return pe_fail(grower->err, PE_CANCELLED, "training was cancelled");
	end_sums(grower);
	return PE_OK;
}

/* ---- values --------------------------------------------------------------------------- */

static void
value_work(void *ctx, uint32_t item, int thread)
{
	leaves_job *job = ctx;
	const pe_grower *grower = job->grower;
	const double *values = grower->forest->model->values;

	for (uint32_t i = item * CHUNK_ROWS; i < chunk_end(job, item); i++)
		job->margins[job->rows[i]] += values[grower->closed[place_of(grower, job->rows[i])].node];
}

bool
pe_leaves_add_values(pe_grower *grower, const uint32_t *rows, uint32_t count, double *margins)
{
	leaves_job job = {grower, rows, count, margins};

	return over_chunks(&job, value_work);
}

/* ---- before and after ----------------------------------------------------------------- */

pe_status
pe_leaves_create(pe_grower *grower)
{
	uint64_t rows = grower->bins->rows;

	grower->narrow = grower->options->max_leaves > 0 && grower->options->max_leaves <= UINT8_MAX + 1;
	if (grower->narrow)
		grower->places = pe_alloc_large(grower->env, rows, sizeof(*grower->places));
	else
		grower->wide_places = pe_alloc_large(grower->env, rows, sizeof(*grower->wide_places));
	return grower->places == NULL && grower->wide_places == NULL ? pe_fail_memory(grower->err) : PE_OK;
}

void
pe_leaves_free(pe_grower *grower)
{
	pe_free(grower->env, grower->places);
	pe_free(grower->env, grower->wide_places);
	pe_free(grower->env, grower->leaf_sums);
}
