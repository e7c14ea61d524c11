/*
 * histogram.c
 *		Sums of gradients by bin: the loop that training spends its time in.
 *
 * Rows are read whole, each column adding to a cell of its own; a column's cells lie
 * side by side, and a tile of columns at a time is swept when all cells together would
 * not stay in the second-level cache. Sums are integers, so what each thread summed
 * for itself is added up afterwards to the same result however the rows were shared.
 */
#include "model/trees/trees.h"

#define CHUNK_ROWS  4096
#define ALONE_CELLS 65536 /* row x column additions below which waking others costs more */
#define TILE_CELLS  12288 /* 192 kB */
#define AHEAD       12    /* rows prefetched before they are needed */
#define MERGE_CELLS 4096

typedef int64_t pair_vector __attribute__((vector_size(16)));

struct pe_histogram_job
{
	pe_team *pool;
	const pe_bins *bins;
	const int *active;
	int n_active;
	bool all_active;
	const pe_pair *pairs;
	const uint32_t *rows;
	uint32_t count;
	uint32_t n_cells;
	pe_cell *cells;
	pe_cell *thread_cells;
	bool used[PE_MAX_THREADS]; /* has the thread zeroed its cells yet? each writes its own */
};

static inline void
add_cell(pe_cell *cell, pair_vector pair)
{
	pair_vector sum;

	memcpy(&sum, cell, sizeof(sum));
	sum += pair;
	memcpy(cell, &sum, sizeof(sum));
}

/* Add rows over the columns first .. last - 1 of the active list. */
static void
add_tile(const pe_histogram_job *job, pe_cell *cells, uint32_t begin, uint32_t end, int first, int last)
{
	const pe_bins *bins = job->bins;
	const uint32_t *offsets = bins->offsets;
	size_t stride = bins->stride;

	for (uint32_t i = begin; i < end; i++)
	{
		uint32_t row = job->rows[i];
		const uint8_t *bytes = bins->matrix + row * stride;
		pair_vector pair = {job->pairs[row].g, job->pairs[row].h};

		if (i + AHEAD < end)
		{
			uint32_t next = job->rows[i + AHEAD];

			__builtin_prefetch(bins->matrix + next * stride + (job->all_active ? first : 0));
			__builtin_prefetch(&job->pairs[next]);
		}
		if (job->all_active)
			for (int column = first; column < last; column++)
				add_cell(&cells[offsets[column] + bytes[column]], pair);
		else
			for (int k = first; k < last; k++)
				add_cell(&cells[offsets[job->active[k]] + bytes[job->active[k]]], pair);
	}
}

static void
add_rows(const pe_histogram_job *job, pe_cell *cells, uint32_t begin, uint32_t end)
{
	const uint32_t *offsets = job->bins->offsets;

	for (int first = 0, last; first < job->n_active; first = last)
	{
		uint32_t in_tile = 0;

		for (last = first; last < job->n_active; last++)
		{
			int column = job->active[last];

			in_tile += offsets[column + 1] - offsets[column];
			if (in_tile > TILE_CELLS && last > first)
				break;
		}
		add_tile(job, cells, begin, end, first, last);
	}
}

static void
histogram_work(void *ctx, uint32_t item, int thread)
{
	pe_histogram_job *job = ctx;
	pe_cell *cells = thread == 0 ? job->cells : job->thread_cells + (size_t) (thread - 1) * job->n_cells;
	uint32_t begin = item * CHUNK_ROWS;
	uint32_t end = job->count - begin < CHUNK_ROWS ? job->count : begin + CHUNK_ROWS;

	if (!job->used[thread])
	{
		memset(cells, 0, job->n_cells * sizeof(*cells));
		job->used[thread] = true;
	}
	add_rows(job, cells, begin, end);
}

static void
merge_work(void *ctx, uint32_t item, int thread)
{
	pe_histogram_job *job = ctx;
	uint32_t begin = item * MERGE_CELLS;
	uint32_t end = job->n_cells - begin < MERGE_CELLS ? job->n_cells : begin + MERGE_CELLS;

	for (int other = 1; other < PE_MAX_THREADS; other++)
	{
		const pe_cell *from = job->thread_cells + (size_t) (other - 1) * job->n_cells;

		if (!job->used[other])
			continue;
		for (uint32_t i = begin; i < end; i++)
		{
			job->cells[i].g += from[i].g;
			job->cells[i].h += from[i].h;
		}
	}
}

bool
pe_histogram_build(pe_team *pool, const pe_bins *bins, const int *active, int n_active, const pe_pair *pairs,
                   const uint32_t *rows, uint32_t count, pe_cell *cells, pe_cell *thread_cells)
{
	pe_histogram_job job = {.pool = pool,
	                        .bins = bins,
	                        .active = active,
	                        .n_active = n_active,
	                        .all_active = n_active == bins->n_columns,
	                        .pairs = pairs,
	                        .rows = rows,
	                        .count = count,
	                        .n_cells = bins->offsets[bins->n_columns],
	                        .cells = cells,
	                        .thread_cells = thread_cells};

	/* The caller's cells are the result, so they are zeroed whether it gets an item or not. */
	memset(cells, 0, job.n_cells * sizeof(*cells));
	job.used[0] = true;
	if ((uint64_t) count * n_active < ALONE_CELLS)
	{
		add_rows(&job, cells, 0, count);
		return !pe_team_poll(pool, 0);
	}
	if (!pe_team_run(pool, histogram_work, &job, (count + CHUNK_ROWS - 1) / CHUNK_ROWS))
		return false;
	if (pe_team_threads(pool) > 1)
		return pe_team_run(pool, merge_work, &job, (job.n_cells + MERGE_CELLS - 1) / MERGE_CELLS);
	return true;
}
