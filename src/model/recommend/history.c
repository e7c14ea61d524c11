/*
 * history.c
 *		From rows to a matrix of users and items: duplicates put together, users and
 *		items numbered in byte order of their texts, so that nothing depends on which
 *		came first.
 */
#include "model/recommend/interactions.h"

void
pe_sparse_free(const pe_env *env, pe_sparse *matrix)
{
	pe_free(env, matrix->starts);
	pe_free(env, matrix->columns);
	pe_free(env, matrix->values);
	memset(matrix, 0, sizeof(*matrix));
}

void
pe_texts_free(const pe_env *env, pe_texts *texts)
{
	pe_free(env, texts->bytes);
	pe_free(env, texts->starts);
	memset(texts, 0, sizeof(*texts));
}

void
pe_history_free(const pe_env *env, pe_history *history)
{
	pe_texts_free(env, &history->users);
	pe_texts_free(env, &history->items);
	pe_sparse_free(env, &history->taken);
	pe_free(env, history->first);
	memset(history, 0, sizeof(*history));
}

static int
compare_bytes(const char *a, size_t a_length, const char *b, size_t b_length)
{
	int order = memcmp(a, b, a_length < b_length ? a_length : b_length);

	return order != 0 ? order : (a_length > b_length) - (a_length < b_length);
}

int64_t
pe_texts_find(const pe_texts *texts, const char *text, size_t length)
{
	uint32_t low = 0, high = texts->count;

	while (low < high)
	{
		uint32_t middle = low + (high - low) / 2;
		size_t start = texts->starts[middle];
		int order = compare_bytes(texts->bytes + start, texts->starts[middle + 1] - start, text, length);

		if (order == 0)
			return middle;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return -1;
}

/* ---- byte order ------------------------------------------------------------------------ */

/* Eight bytes of a text behind what all texts have in common, so that most comparisons end there. */
typedef struct sort_key
{
	uint64_t head;
	uint32_t code;
} sort_key;

static size_t
common_prefix(const pe_collected *texts)
{
	size_t common = texts->starts[1];

	for (uint32_t i = 1; i < texts->count && common > 0; i++)
	{
		const char *text = texts->bytes + texts->starts[i];
		size_t length = texts->starts[i + 1] - texts->starts[i], same = 0;

		while (same < common && same < length && text[same] == texts->bytes[same])
			same++;
		common = same;
	}
	return common;
}

static uint64_t
head_of(const pe_collected *texts, uint32_t code, size_t skip)
{
	const uint8_t *text = (const uint8_t *) texts->bytes + texts->starts[code];
	size_t length = texts->starts[code + 1] - texts->starts[code];
	uint64_t head = 0;

	for (size_t i = skip; i < skip + 8; i++)
		head = head << 8 | (i < length ? text[i] : 0);
	return head;
}

static inline bool
goes_before(const pe_collected *texts, const sort_key *a, const sort_key *b)
{
	size_t a_start, b_start;

	if (a->head != b->head)
		return a->head < b->head;
	a_start = texts->starts[a->code];
	b_start = texts->starts[b->code];
	return compare_bytes(texts->bytes + a_start, texts->starts[a->code + 1] - a_start, texts->bytes + b_start,
	                     texts->starts[b->code + 1] - b_start) <= 0;
}

static void
merge(const pe_collected *texts, const sort_key *from, sort_key *to, size_t start, size_t middle, size_t end)
{
	size_t left = start, right = middle;

	for (size_t at = start; at < end; at++)
	{
		if (left < middle && (right >= end || goes_before(texts, &from[left], &from[right])))
			to[at] = from[left++];
		else
			to[at] = from[right++];
	}
}

/* Sorts keys by merging from scratch and back; the sorted ones are where it points at the end. */
static sort_key *
sort_keys(const pe_env *env, const pe_collected *texts, sort_key *keys, sort_key *scratch)
{
	size_t count = texts->count, merged = 0;
	sort_key *from = keys, *to = scratch;

	for (size_t width = 1; width < count; width *= 2)
	{
		sort_key *swap = from;

		for (size_t start = 0; start < count; start += 2 * width)
		{
			size_t middle = start + width < count ? start + width : count;
			size_t end = start + 2 * width < count ? start + 2 * width : count;

			merge(texts, from, to, start, middle, end);
			merged += end - start;
			if (merged >= PE_POLL_CELLS)
			{
				merged = 0;
				if (pe_stopped(env, "prepare", 0, 0))
					return NULL;
			}
		}
		from = to;
		to = swap;
	}
	return from;
}

/* The texts in byte order, and place[code] of each. */
static pe_status
order_texts(const pe_env *env, const pe_collected *collected, pe_texts *texts, uint32_t **places,
            pe_error *err)
{
	size_t count = collected->count, skip = common_prefix(collected), used = 0;
	sort_key *keys = pe_calloc(env, count, sizeof(sort_key));
	sort_key *scratch = pe_calloc(env, count, sizeof(sort_key)), *sorted = NULL;
	pe_status status = PE_OK;

	texts->count = (uint32_t) count;
	texts->bytes = pe_alloc(env, collected->used);
	texts->starts = pe_calloc(env, count + 1, sizeof(size_t));
	*places = pe_calloc(env, count, sizeof(uint32_t));
	if (keys == NULL || scratch == NULL || texts->bytes == NULL || texts->starts == NULL || *places == NULL)
		status = pe_fail_memory(err);
	for (uint32_t i = 0; i < count && status == PE_OK; i++)
		keys[i] = (sort_key){head_of(collected, i, skip), i};
	if (status == PE_OK && (sorted = sort_keys(env, collected, keys, scratch)) == NULL)
		status = pe_fail(err, PE_CANCELLED, "cancelled");
	for (uint32_t i = 0; i < count && status == PE_OK; i++)
	{
		uint32_t code = sorted[i].code;
		size_t start = collected->starts[code], length = collected->starts[code + 1] - start;

		memcpy(texts->bytes + used, collected->bytes + start, length);
		used += length;
		texts->starts[i + 1] = used;
		(*places)[code] = i;
	}
	pe_free(env, keys);
	pe_free(env, scratch);
	return status;
}

/* ---- rows into cells ------------------------------------------------------------------- */

/* All rows in some order: columns as of a block. */
typedef struct ordered_rows
{
	uint32_t *keys; /* what they will be ordered by next */
	uint32_t *others;
	float *weights;
	double *times;
} ordered_rows;

static void
free_rows(const pe_env *env, ordered_rows *rows)
{
	pe_free(env, rows->keys);
	pe_free(env, rows->others);
	pe_free(env, rows->weights);
	pe_free(env, rows->times);
	memset(rows, 0, sizeof(*rows));
}

static bool
make_rows(const pe_env *env, const pe_interactions *interactions, ordered_rows *rows, bool keys)
{
	rows->keys = keys ? pe_calloc(env, interactions->rows, sizeof(uint32_t)) : NULL;
	rows->others = pe_calloc(env, interactions->rows, sizeof(uint32_t));
	if (interactions->with_weights)
		rows->weights = pe_calloc(env, interactions->rows, sizeof(float));
	if (interactions->with_times)
		rows->times = pe_calloc(env, interactions->rows, sizeof(double));
	return (rows->keys != NULL || !keys) && rows->others != NULL &&
	       (rows->weights != NULL || !interactions->with_weights) &&
	       (rows->times != NULL || !interactions->with_times);
}

static void
sums_to_starts(uint32_t *counts, uint32_t count)
{
	uint32_t start = 0;

	for (uint32_t i = 0; i <= count; i++)
	{
		uint32_t here = counts[i];

		counts[i] = start;
		start += here;
	}
}

/* The rows by item, in the order they came within one. */
static pe_status
order_by_item(const pe_env *env, const pe_interactions *interactions, const uint32_t *user_places,
              const uint32_t *item_places, ordered_rows *rows, pe_error *err)
{
	uint32_t items = interactions->items.count;
	uint32_t *next = pe_calloc(env, (size_t) items + 1, sizeof(uint32_t));
	pe_status status = PE_OK;

	if (next == NULL || !make_rows(env, interactions, rows, true))
		status = pe_fail_memory(err);
	for (int pass = 0; pass < 2 && status == PE_OK; pass++)
	{
		for (uint64_t row = 0; row < interactions->rows && status == PE_OK; row++)
		{
			const pe_interaction_block *block = &interactions->blocks[row / PE_BLOCK_ROWS];
			uint32_t from = row % PE_BLOCK_ROWS, item = item_places[block->items[from]], to;

			if (from == 0 && pe_stopped(env, "prepare", row, interactions->rows))
				status = pe_fail(err, PE_CANCELLED, "cancelled");
			if (pass == 0)
			{
				next[item]++;
				continue;
			}
			to = next[item]++;
			rows->keys[to] = user_places[block->users[from]];
			rows->others[to] = item;
			if (rows->weights != NULL)
				rows->weights[to] = block->weights[from];
			if (rows->times != NULL)
				rows->times[to] = block->times[from];
		}
		if (pass == 0 && status == PE_OK)
			sums_to_starts(next, items);
	}
	pe_free(env, next);
	return status;
}

/* The same rows by user, and by item within a user; starts[u] where each user begins. */
static pe_status
order_by_user(const pe_env *env, const pe_interactions *interactions, const ordered_rows *from,
              uint32_t *starts, ordered_rows *to, pe_error *err)
{
	uint32_t users = interactions->users.count;
	uint32_t rows = (uint32_t) interactions->rows;

	if (!make_rows(env, interactions, to, false))
		return pe_fail_memory(err);
	for (uint32_t row = 0; row < rows; row++)
	{
		if (row % PE_POLL_CELLS == 0 && pe_stopped(env, "prepare", row, rows))
			return pe_fail(err, PE_CANCELLED, "cancelled");
		starts[from->keys[row]]++;
	}
	sums_to_starts(starts, users);
	for (uint32_t row = 0; row < rows; row++)
	{
		uint32_t at = starts[from->keys[row]]++;

		if (row % PE_POLL_CELLS == 0 && pe_stopped(env, "prepare", row, rows))
			return pe_fail(err, PE_CANCELLED, "cancelled");
		to->others[at] = from->others[row];
		if (to->weights != NULL)
			to->weights[at] = from->weights[row];
		if (to->times != NULL)
			to->times[at] = from->times[row];
	}
	/* Each start has moved to its end, which is the next one's start. */
	memmove(starts + 1, starts, users * sizeof(uint32_t));
	starts[0] = 0;
	return PE_OK;
}

/* How rows of one user and item make a strength. */
typedef struct strength_rule
{
	double latest;
	double half_life; /* 0: none */
	bool sum;
} strength_rule;

static double
row_strength(const strength_rule *rule, const ordered_rows *rows, uint32_t row)
{
	double weight = rows->weights != NULL ? rows->weights[row] : 1;

	if (rule->half_life > 0 && rows->times != NULL)
		weight *= exp2(-(rule->latest - rows->times[row]) / rule->half_life);
	return weight;
}

/* What decays below the smallest float is still a cell: its user took the item. */
static float
as_strength(double strength)
{
	float value = (float) strength;

	return value < 1e-30f ? 1e-30f : value > 1e30f ? 1e30f : value;
}

/* Puts equal cells together, in place. */
static pe_status
merge_cells(const pe_env *env, const ordered_rows *rows, const strength_rule *rule, uint32_t users,
            uint32_t *starts, float *strengths, double *first, pe_error *err)
{
	uint32_t to = 0, row = 0;

	for (uint32_t user = 0; user < users; user++)
	{
		uint32_t end = starts[user + 1];

		starts[user] = to;
		while (row < end)
		{
			uint32_t item = rows->others[row];
			double strength = row_strength(rule, rows, row);
			double seen = rows->times != NULL ? rows->times[row] : 0;

			for (row++; row < end && rows->others[row] == item; row++)
			{
				double more = row_strength(rule, rows, row);

				strength = rule->sum ? strength + more : fmax(strength, more);
				if (rows->times != NULL)
					seen = fmin(seen, rows->times[row]);
			}
			if (to % PE_POLL_CELLS == 0 && pe_stopped(env, "prepare", to, starts[users]))
				return pe_fail(err, PE_CANCELLED, "cancelled");
			rows->others[to] = item;
			if (strengths != NULL)
				strengths[to] = as_strength(strength);
			if (first != NULL)
				first[to] = seen;
			to++;
		}
	}
	starts[users] = to;
	return PE_OK;
}

static strength_rule
rule_of(const pe_interactions *interactions, const pe_recommend_options *options)
{
	strength_rule rule = {-INFINITY, interactions->with_times ? options->half_life : 0, false};

	rule.sum = options->repeats == PE_REPEATS_SUM ||
	           (options->repeats == PE_REPEATS_AUTO && (interactions->with_weights || rule.half_life > 0));
	for (uint64_t row = 0; row < interactions->rows && interactions->with_times; row++)
		rule.latest = fmax(rule.latest, interactions->blocks[row / PE_BLOCK_ROWS].times[row % PE_BLOCK_ROWS]);
	return rule;
}

static pe_status
make_cells(const pe_env *env, pe_interactions *interactions, const pe_recommend_options *options,
           const uint32_t *user_places, const uint32_t *item_places, pe_history *history, pe_error *err)
{
	ordered_rows by_item = {0}, by_user = {0};
	pe_sparse *taken = &history->taken;
	strength_rule rule = rule_of(interactions, options);
	bool varied = interactions->with_weights || rule.sum || rule.half_life > 0;
	pe_status status;

	taken->rows = history->users.count;
	taken->columns_count = history->items.count;
	taken->starts = pe_calloc(env, (size_t) taken->rows + 1, sizeof(uint32_t));
	status = taken->starts == NULL
	             ? pe_fail_memory(err)
	             : order_by_item(env, interactions, user_places, item_places, &by_item, err);
	pe_interactions_drop_rows(interactions);
	if (status == PE_OK)
		status = order_by_user(env, interactions, &by_item, taken->starts, &by_user, err);
	free_rows(env, &by_item);
	if (status == PE_OK && varied)
		taken->values = pe_calloc(env, interactions->rows, sizeof(float));
	if (status == PE_OK && interactions->with_times)
		history->first = pe_calloc(env, interactions->rows, sizeof(double));
	if (status == PE_OK &&
	    ((varied && taken->values == NULL) || (interactions->with_times && history->first == NULL)))
		status = pe_fail_memory(err);
	if (status == PE_OK)
		status =
		    merge_cells(env, &by_user, &rule, taken->rows, taken->starts, taken->values, history->first, err);
	taken->columns = by_user.others;
	by_user.others = NULL;
	free_rows(env, &by_user);
	return status;
}

pe_status
pe_history_create(const pe_env *env, pe_interactions *interactions, const pe_recommend_options *options,
                  pe_history *history, pe_error *err)
{
	uint32_t *user_places = NULL, *item_places = NULL;
	pe_status status;

	memset(history, 0, sizeof(*history));
	if (interactions->rows == 0)
		return pe_fail(err, PE_INVALID_DATA, "there are no interactions to learn from");
	history->rows = (int64_t) interactions->rows;
	status = order_texts(env, &interactions->users, &history->users, &user_places, err);
	if (status == PE_OK)
		status = order_texts(env, &interactions->items, &history->items, &item_places, err);
	if (status == PE_OK)
	{
		pe_collected_free(env, &interactions->users);
		pe_collected_free(env, &interactions->items);
		interactions->users.count = history->users.count;
		interactions->items.count = history->items.count;
		status = make_cells(env, interactions, options, user_places, item_places, history, err);
	}
	pe_free(env, user_places);
	pe_free(env, item_places);
	if (status != PE_OK)
		pe_history_free(env, history);
	return status;
}

pe_status
pe_sparse_transpose(const pe_env *env, const pe_sparse *matrix, pe_sparse *transposed, pe_error *err)
{
	uint32_t cells = pe_sparse_cells(matrix), *next;

	memset(transposed, 0, sizeof(*transposed));
	transposed->rows = matrix->columns_count;
	transposed->columns_count = matrix->rows;
	transposed->starts = pe_calloc(env, (size_t) transposed->rows + 2, sizeof(uint32_t));
	transposed->columns = pe_calloc(env, cells, sizeof(uint32_t));
	if (matrix->values != NULL)
		transposed->values = pe_calloc(env, cells, sizeof(float));
	if (transposed->starts == NULL || transposed->columns == NULL ||
	    (matrix->values != NULL && transposed->values == NULL))
	{
		pe_sparse_free(env, transposed);
		return pe_fail_memory(err);
	}
	/* Counted one place ahead, so that filling moves each start to where it belongs. */
	next = transposed->starts + 1;
	for (uint32_t cell = 0; cell < cells; cell++)
	{
		if (cell % PE_POLL_CELLS == 0 && pe_stopped(env, "prepare", cell, cells))
		{
			pe_sparse_free(env, transposed);
			return pe_fail(err, PE_CANCELLED, "cancelled");
		}
		next[matrix->columns[cell]]++;
	}
	sums_to_starts(next, transposed->rows);
	for (uint32_t row = 0, polled = 0; row < matrix->rows; row++)
	{
		for (uint32_t cell = matrix->starts[row]; cell < matrix->starts[row + 1]; cell++)
		{
			uint32_t to = next[matrix->columns[cell]]++;

			transposed->columns[to] = row;
			if (matrix->values != NULL)
				transposed->values[to] = matrix->values[cell];
		}
		if (matrix->starts[row + 1] - polled >= PE_POLL_CELLS)
		{
			polled = matrix->starts[row + 1];
			if (pe_stopped(env, "prepare", polled, cells))
			{
				pe_sparse_free(env, transposed);
				return pe_fail(err, PE_CANCELLED, "cancelled");
			}
		}
	}
	return PE_OK;
}
