/*
 * partition.c
 *		The rows of a tree: brought together with their gradients, and sorted left and right
 *		by a split.
 *
 * A row travels as one word: its number with the gradients that histograms sum, rounded
 * to 16 bits. Rounding goes up or down by a draw from the row's number and the tree's,
 * in proportion, so that sums are right on average whatever the gradients look like. The
 * leaves' values come from the unrounded ones.
 */
#include "model/trees/trees.h"

#define CHUNK_ROWS       2048 /* few enough that threads end together */
#define PARTITION_CHUNKS 1024

/* ---- rounding ------------------------------------------------------------------------- */

static inline pe_entry
make_entry(uint32_t row, pe_pair pair, uint32_t salt)
{
	uint32_t draw = row * UINT32_C(0x9e3779b1) ^ salt;
	int32_t g;
	uint32_t h;

	draw = (draw ^ draw >> 15) * UINT32_C(0x85ebca77);
	draw = (draw ^ draw >> 13) * UINT32_C(0xc2b2ae3d);
	draw ^= draw >> 16;
	g = (pair.g + (int32_t) (draw & ((1u << PE_ENTRY_SHIFT) - 1))) >> PE_ENTRY_SHIFT;
	h = ((uint32_t) pair.h + (draw >> (32 - PE_ENTRY_SHIFT))) >> PE_ENTRY_SHIFT;
	g = g > INT16_MAX ? INT16_MAX : g;
	/* Never 0, which would say that there is no row; it makes the tiniest hessians a little larger. */
	h = h < 1 ? 1 : h;
	return (uint64_t) (uint32_t) g << 48 | (uint64_t) h << 32 | row;
}

typedef struct enter_job
{
	pe_grower *grower;
	const uint32_t *rows;
	uint32_t count;
	uint32_t salt;
} enter_job;

static void
enter_work(void *ctx, uint32_t item, int thread)
{
	enter_job *job = ctx;
	const pe_pair *pairs = job->grower->pairs;
	pe_entry *entries = job->grower->entries;
	uint32_t begin = item * CHUNK_ROWS;
	uint32_t end = job->count - begin < CHUNK_ROWS ? job->count : begin + CHUNK_ROWS;

	for (uint32_t i = begin; i < end; i++)
		entries[i] = make_entry(job->rows[i], pairs[job->rows[i]], job->salt);
	/* While they are in the cache. */
	pe_histogram_add(job->grower->histogram, thread, entries + begin, end - begin);
}

bool
pe_partition_enter(pe_grower *grower, const uint32_t *rows, uint32_t count)
{
	uint64_t mixed =
	    pe_mix64(grower->options->seed * UINT64_C(0x9e3779b97f4a7c15) + grower->forest->model->n_trees + 1);
	enter_job job = {grower, rows, count, (uint32_t) mixed};

	return pe_team_run(grower->pool, enter_work, &job, (count + CHUNK_ROWS - 1) / CHUNK_ROWS);
}

/* ---- left and right ------------------------------------------------------------------- */

typedef struct partition_job
{
	pe_grower *grower;
	const pe_leaf *leaf;
	uint32_t *counts; /* by chunk: rows that go left, then where they begin */
	uint32_t n_left;
	uint8_t lefts[256]; /* by code: 1 goes left */
} partition_job;

bool
pe_split_goes_left(const pe_split *split, uint8_t bin)
{
	if (split->categorical)
		return (split->set.bits[bin >> 5] >> (bin & 31)) & 1;
	return bin == 0 ? split->missing_left : bin <= split->bin;
}

static void
prepare(partition_job *job)
{
	const uint8_t *decode = job->grower->bins->decode + (size_t) job->leaf->split.column * 256;

	for (int code = 0; code < 256; code++)
		job->lefts[code] = pe_split_goes_left(&job->leaf->split, decode[code]);
}

static inline uint32_t
chunk_rows(uint32_t count)
{
	uint32_t rows = (count + PARTITION_CHUNKS - 1) / PARTITION_CHUNKS;

	return rows < CHUNK_ROWS ? CHUNK_ROWS : rows;
}

/*
 * Lefts to the front of left, rights to right and on in the given direction; left may be
 * where the entries are. Which way is a coin toss to the processor, so no branch: both
 * places are free, one is kept. Returns the number of lefts.
 */
static inline uint32_t
sort_entries(const partition_job *job, const pe_entry *entries, uint32_t count, pe_entry *left,
             pe_entry *right, ptrdiff_t direction)
{
	const pe_bins *bins = job->grower->bins;
	const uint8_t *codes = bins->turned + (size_t) bins->groups[job->leaf->split.column] * bins->rows;
	uint32_t n_left = 0;

	for (uint32_t i = 0; i < count; i++)
	{
		pe_entry entry = entries[i];
		uint32_t goes_left = job->lefts[codes[(uint32_t) entry]];

		left[n_left] = entry;
		right[direction * (ptrdiff_t) (i - n_left)] = entry;
		n_left += goes_left;
	}
	return n_left;
}

uint32_t
pe_partition_alone(pe_grower *grower, const pe_leaf *leaf)
{
	partition_job job = {.grower = grower, .leaf = leaf};
	pe_entry *entries = grower->entries + leaf->begin, *scratch = grower->scratch + leaf->begin;
	uint32_t n_left;

	prepare(&job);
	n_left = sort_entries(&job, entries, leaf->count, entries, scratch, 1);
	memcpy(entries + n_left, scratch, (leaf->count - n_left) * sizeof(*entries));
	return n_left;
}

/* Lefts to the front of the chunk's part of the scratch, rights to its back in reverse. */
static void
sort_chunk(void *ctx, uint32_t item, int thread)
{
	partition_job *job = ctx;
	const pe_grower *grower = job->grower;
	uint32_t size = chunk_rows(job->leaf->count);
	uint32_t begin = item * size;
	uint32_t count = job->leaf->count - begin < size ? job->leaf->count - begin : size;
	pe_entry *scratch = grower->scratch + job->leaf->begin + begin;

	job->counts[item] = sort_entries(job, grower->entries + job->leaf->begin + begin, count, scratch,
	                                 scratch + count - 1, -1);
}

static void
place_chunk(void *ctx, uint32_t item, int thread)
{
	partition_job *job = ctx;
	const pe_grower *grower = job->grower;
	uint32_t size = chunk_rows(job->leaf->count);
	uint32_t begin = item * size;
	uint32_t end = job->leaf->count - begin < size ? job->leaf->count : begin + size;
	const pe_entry *scratch = grower->scratch + job->leaf->begin;
	pe_entry *entries = grower->entries + job->leaf->begin;
	uint32_t left = job->counts[item];
	uint32_t n_left = job->counts[item + 1] - left;
	uint32_t right = job->n_left + (begin - left);

	memcpy(entries + left, scratch + begin, n_left * sizeof(*entries));
	for (uint32_t i = end; i-- > begin + n_left;)
		entries[right++] = scratch[i];
}

bool
pe_partition_shared(pe_grower *grower, const pe_leaf *leaf, uint32_t *n_left)
{
	uint32_t counts[PARTITION_CHUNKS + 1];
	partition_job job = {.grower = grower, .leaf = leaf, .counts = counts};
	uint32_t chunks = (leaf->count + chunk_rows(leaf->count) - 1) / chunk_rows(leaf->count);
	uint32_t sum = 0;

	prepare(&job);
	if (!pe_team_run(grower->pool, sort_chunk, &job, chunks))
		return false;
	for (uint32_t i = 0; i < chunks; i++)
	{
		uint32_t count = counts[i];

		counts[i] = sum;
		sum += count;
	}
	counts[chunks] = sum;
	job.n_left = sum;
	*n_left = sum;
	return pe_team_run(grower->pool, place_chunk, &job, chunks);
}
