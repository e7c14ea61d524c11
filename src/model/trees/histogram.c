/*
 * histogram.c
 *		Sums of gradients by bin: the loop that training spends its time in.
 *
 * Each thread adds to cells of its own, one for each code of each group of columns, with
 * g above and h below in one 64-bit word: one addition a group and row. Rows are read
 * whole, since a row's bytes share a cache line; a tile of groups at a time is swept when
 * all cells together would not stay in the second-level cache. Before h could run over,
 * below 2^16 as it is in 2^16 rows, the words are emptied into the leaf's cells. All sums
 * are integers, so the result does not depend on who added what.
 *
 * With few rows in all there is time to be exact, and rounding would decide between
 * splits that are nearly as good: then whole cells take the unrounded pairs.
 */
#include <sched.h>
#include <stdatomic.h>

#include "model/trees/trees.h"

#define CHUNK_ROWS  1024
#define TILE_GROUPS 128 /* 264 kB of words */
#define AHEAD       32  /* rows prefetched before they are needed */
#define CODES       256
/* From group to group: a line more than the codes, or low codes would all compete for the same lines. */
#define GROUP_WORDS 264
#define EXACT_SHIFT 8 /* of g before it is squared */

struct pe_histogram
{
	const pe_env *env;
	pe_team *pool;
	const pe_bins *bins;
	int *active; /* groups that have a column of the tree */
	int n_active;
	int *places;          /* by group: where among the active ones, which is where its words are */
	const pe_pair *pairs; /* by row, to be exact; else NULL */
	/* By thread, GROUP_WORDS for each active group, zero between builds; one or the other. */
	uint64_t *words;
	pe_cell *exact_words;
	uint32_t rows_in[PE_MAX_THREADS];
	int64_t squares[PE_MAX_THREADS];
	pe_cell *cells; /* of the leaf that is being built */
	atomic_flag emptying;
	bool emptied; /* something is in cells already; under the flag while threads add */
};

static uint64_t *
words_of(const pe_histogram *h, int thread)
{
	return h->words + (size_t) thread * h->bins->n_groups * GROUP_WORDS;
}

static pe_cell *
exact_words_of(const pe_histogram *h, int thread)
{
	return h->exact_words + (size_t) thread * h->bins->n_groups * GROUP_WORDS;
}

/* ---- from words to cells -------------------------------------------------------------- */

/* Add a column's share of a group's sums to its cells. */
static void
add_column(const pe_bins *bins, int column, const int64_t *g, const int64_t *h, uint32_t codes,
           pe_cell *cells)
{
	const uint8_t *decode = bins->decode + (size_t) column * CODES;

	cells += bins->offsets[column];
	for (uint32_t code = 0; code < codes; code++)
	{
		cells[decode[code]].g += g[code];
		cells[decode[code]].h += h[code];
	}
}

static void
clear_columns(const pe_bins *bins, int group, pe_cell *cells)
{
	for (int i = bins->member_begin[group]; i < bins->member_begin[group + 1]; i++)
	{
		int column = bins->members[i];

		memset(cells + bins->offsets[column], 0,
		       (bins->offsets[column + 1] - bins->offsets[column]) * sizeof(*cells));
	}
}

/* Add a thread's words of a group to sums by code, in cells' units, and zero them. */
static void
drain_words(uint64_t *words, uint32_t codes, int64_t *sum_g, int64_t *sum_h)
{
	for (uint32_t code = 0; code < codes; code++)
	{
		sum_g[code] += ((int64_t) words[code] >> 32) * (1 << PE_ENTRY_SHIFT);
		sum_h[code] += (int64_t) (uint32_t) words[code] * (1 << PE_ENTRY_SHIFT);
	}
	memset(words, 0, codes * sizeof(*words));
}

static void
drain_exact_words(pe_cell *words, uint32_t codes, int64_t *sum_g, int64_t *sum_h)
{
	for (uint32_t code = 0; code < codes; code++)
	{
		sum_g[code] += words[code].g;
		sum_h[code] += words[code].h;
	}
	memset(words, 0, codes * sizeof(*words));
}

/* Move what the threads first .. last - 1 have in a group's words to its columns' cells. */
static void
move_words(pe_histogram *h, int group, int first, int last, pe_cell *cells)
{
	const pe_bins *bins = h->bins;
	uint32_t codes = bins->group_codes[group];
	size_t begin = (size_t) h->places[group] * GROUP_WORDS;
	int64_t sum_g[CODES] = {0}, sum_h[CODES] = {0};

	for (int thread = first; thread < last; thread++)
		if (h->rows_in[thread] > 0 && h->pairs != NULL)
			drain_exact_words(exact_words_of(h, thread) + begin, codes, sum_g, sum_h);
		else if (h->rows_in[thread] > 0)
			drain_words(words_of(h, thread) + begin, codes, sum_g, sum_h);
	for (int i = bins->member_begin[group]; i < bins->member_begin[group + 1]; i++)
		add_column(bins, bins->members[i], sum_g, sum_h, codes, cells);
}

/* The thread's words are full: the leaf's cells take them, one thread at a time. */
static void
empty_words(pe_histogram *h, int thread)
{
	while (atomic_flag_test_and_set_explicit(&h->emptying, memory_order_acquire))
		sched_yield();
	if (!h->emptied)
		for (int i = 0; i < h->n_active; i++)
			clear_columns(h->bins, h->active[i], h->cells);
	h->emptied = true;
	for (int i = 0; i < h->n_active; i++)
		move_words(h, h->active[i], thread, thread + 1, h->cells);
	atomic_flag_clear_explicit(&h->emptying, memory_order_release);
	h->rows_in[thread] = 0;
}

void
pe_histogram_take(pe_histogram *h, int group, int first_thread, int last_thread, pe_cell *cells)
{
	if (!h->emptied)
		clear_columns(h->bins, group, cells);
	move_words(h, group, first_thread, last_thread, cells);
}

double
pe_histogram_squares(const pe_histogram *h, int first_thread, int last_thread)
{
	int64_t squares = 0;

	for (int thread = first_thread; thread < last_thread; thread++)
		squares += h->squares[thread];
	return ldexp((double) squares, 2 * (h->pairs != NULL ? EXACT_SHIFT : PE_ENTRY_SHIFT));
}

void
pe_histogram_end(pe_histogram *h, int first_thread, int last_thread)
{
	for (int thread = first_thread; thread < last_thread; thread++)
	{
		h->squares[thread] = 0;
		h->rows_in[thread] = 0;
	}
	if (last_thread - first_thread == pe_team_threads(h->pool))
		h->emptied = false;
}

/* ---- adding --------------------------------------------------------------------------- */

static inline uint64_t
word_of(pe_entry entry)
{
	return ((uint64_t) ((int64_t) entry >> 48) << 32) + ((entry >> 32) & 0xffff);
}

#define ADD(k) at[(k) *GROUP_WORDS + codes[places != NULL ? places[k] : (k)]] += word

/* Over n groups, whose words lie side by side, and whose codes do, too, or are at places in the row.
 * Written out since compilers leave loops at this level. */
static inline __attribute__((always_inline)) void
add_rows(const uint8_t *matrix, size_t stride, const int *places, uint64_t *words, int n,
         const pe_entry *entries, uint32_t count)
{
	const int *const first_place = places;
	int last = places != NULL ? places[n - 1] : n - 1;

	for (uint32_t i = 0; i < count; i++)
	{
		const uint8_t *codes = matrix + (size_t) (uint32_t) entries[i] * stride;
		const uint8_t *later =
		    matrix + (size_t) (uint32_t) entries[i + AHEAD < count ? i + AHEAD : count - 1] * stride;
		uint64_t word = word_of(entries[i]);
		uint64_t *at = words;
		int left = n;

		places = first_place;
		__builtin_prefetch(later + (places != NULL ? places[0] : 0));
		__builtin_prefetch(later + last);
		for (; left >= 8; left -= 8, at += 8 * GROUP_WORDS)
		{
			ADD(0);
			ADD(1);
			ADD(2);
			ADD(3);
			ADD(4);
			ADD(5);
			ADD(6);
			ADD(7);
			if (places != NULL)
				places += 8;
			else
				codes += 8;
		}
		for (int k = 0; k < left; k++)
			ADD(k);
	}
}

static void
add_adjoining(const uint8_t *matrix, size_t stride, uint64_t *words, int n, const pe_entry *entries,
              uint32_t count)
{
	add_rows(matrix, stride, NULL, words, n, entries, count);
}

static void
add_chosen(const pe_bins *bins, const int *groups, uint64_t *words, int n, const pe_entry *entries,
           uint32_t count)
{
	add_rows(bins->matrix, bins->stride, groups, words, n, entries, count);
}

/* Few rows: over any groups, unrounded. */
static void
add_exact(const pe_histogram *h, pe_cell *words, const pe_entry *entries, uint32_t count)
{
	const pe_bins *bins = h->bins;

	for (uint32_t i = 0; i < count; i++)
	{
		uint32_t row = (uint32_t) entries[i];
		const uint8_t *codes = bins->matrix + (size_t) row * bins->stride;
		pe_pair pair = h->pairs[row];

		for (int k = 0; k < h->n_active; k++)
		{
			pe_cell *cell = &words[(size_t) k * GROUP_WORDS + codes[h->active[k]]];

			cell->g += pair.g;
			cell->h += pair.h;
		}
	}
}

static void
add_tiles(const pe_histogram *h, uint64_t *words, const pe_entry *entries, uint32_t count)
{
	const pe_bins *bins = h->bins;

	for (int first = 0, n; first < h->n_active; first += n)
	{
		n = h->n_active - first < TILE_GROUPS ? h->n_active - first : TILE_GROUPS;
		if (h->n_active == bins->n_groups)
			add_adjoining(bins->matrix + first, bins->stride, words + (size_t) first * GROUP_WORDS, n,
			              entries, count);
		else
			add_chosen(bins, h->active + first, words + (size_t) first * GROUP_WORDS, n, entries, count);
	}
}

static int64_t
squares_of(const pe_entry *entries, uint32_t count)
{
	int64_t squares = 0;

	for (uint32_t i = 0; i < count; i++)
	{
		int64_t g = (int64_t) entries[i] >> 48;

		squares += g * g;
	}
	return squares;
}

/* Finer, as few rows leave room for: |g| below 2^22. */
static int64_t
exact_squares(const pe_pair *pairs, const pe_entry *entries, uint32_t count)
{
	int64_t squares = 0;

	for (uint32_t i = 0; i < count; i++)
	{
		int64_t g = pairs[(uint32_t) entries[i]].g >> EXACT_SHIFT;

		squares += g * g;
	}
	return squares;
}

void
pe_histogram_add(pe_histogram *h, int thread, const pe_entry *entries, uint32_t count)
{
	int64_t squares = 0;

	for (uint32_t begin = 0; begin < count;)
	{
		uint32_t n = count - begin < CHUNK_ROWS ? count - begin : CHUNK_ROWS;

		if (h->rows_in[thread] + n > PE_ALONE_ROWS)
			empty_words(h, thread);
		if (h->pairs != NULL)
			add_exact(h, exact_words_of(h, thread), entries + begin, n);
		else
			add_tiles(h, words_of(h, thread), entries + begin, n);
		squares +=
		    h->pairs != NULL ? exact_squares(h->pairs, entries + begin, n) : squares_of(entries + begin, n);
		h->rows_in[thread] += n;
		begin += n;
	}
	h->squares[thread] += squares;
}

/* ---- the whole of a leaf, by all threads ---------------------------------------------- */

typedef struct add_job
{
	pe_histogram *histogram;
	const pe_entry *entries;
	uint32_t count;
} add_job;

static void
add_work(void *ctx, uint32_t item, int thread)
{
	add_job *job = ctx;
	uint32_t begin = item * CHUNK_ROWS;
	uint32_t end = job->count - begin < CHUNK_ROWS ? job->count : begin + CHUNK_ROWS;

	pe_histogram_add(job->histogram, thread, job->entries + begin, end - begin);
}

void
pe_histogram_begin(pe_histogram *h, pe_cell *cells)
{
	h->cells = cells;
	h->emptied = false;
}

bool
pe_histogram_add_shared(pe_histogram *h, const pe_entry *entries, uint32_t count)
{
	add_job job = {h, entries, count};

	return pe_team_run(h->pool, add_work, &job, (count + CHUNK_ROWS - 1) / CHUNK_ROWS);
}

/* ---- before and after ----------------------------------------------------------------- */

void
pe_histogram_choose(pe_histogram *h, const int *columns, int n_columns)
{
	const pe_bins *bins = h->bins;

	h->n_active = 0;
	for (int group = 0; group < bins->n_groups; group++)
		h->places[group] = -1;
	for (int i = 0; i < n_columns; i++)
		h->places[bins->groups[columns[i]]] = 0;
	for (int group = 0; group < bins->n_groups; group++)
		if (h->places[group] == 0)
		{
			h->places[group] = h->n_active;
			h->active[h->n_active++] = group;
		}
}

const int *
pe_histogram_groups(const pe_histogram *h, int *n)
{
	*n = h->n_active;
	return h->active;
}

pe_histogram *
pe_histogram_create(const pe_env *env, pe_team *pool, const pe_bins *bins, const pe_pair *exact_pairs)
{
	pe_histogram *h = pe_calloc(env, 1, sizeof(*h));
	size_t words = (size_t) pe_team_threads(pool) * bins->n_groups * GROUP_WORDS;

	if (h == NULL)
		return NULL;
	h->env = env;
	h->pool = pool;
	h->bins = bins;
	h->active = pe_calloc(env, bins->n_groups, sizeof(*h->active));
	h->places = pe_calloc(env, bins->n_groups, sizeof(*h->places));
	h->pairs = exact_pairs;
	if (exact_pairs != NULL)
		h->exact_words = pe_calloc(env, words, sizeof(*h->exact_words));
	else
		h->words = pe_calloc(env, words, sizeof(*h->words));
	atomic_flag_clear(&h->emptying);
	if (h->active == NULL || h->places == NULL || (h->words == NULL && h->exact_words == NULL))
	{
		pe_histogram_free(h);
		return NULL;
	}
	return h;
}

void
pe_histogram_free(pe_histogram *h)
{
	if (h == NULL)
		return;
	pe_free(h->env, h->active);
	pe_free(h->env, h->places);
	pe_free(h->env, h->words);
	pe_free(h->env, h->exact_words);
	pe_free(h->env, h);
}
