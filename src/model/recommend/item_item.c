/*
 * item_item.c
 *		Which items go together: for every item the similarity of those that its users
 *		took as well. What a user is recommended is the sum of the similarities to what
 *		the user took, each times the strength of that.
 *
 * A row of similarities is counted at a time, by the item's users and their items, so
 * that no matrix of all items is ever held. Rows are made in batches: threads fill a
 * batch's rows, the calling thread puts them together.
 */
#include "model/recommend/internal.h"

#define BATCH_BYTES (16u << 20)
#define MOST_BATCH  1024

double
pe_similarity_of(pe_similarity similarity, double both, double one, double other, double users)
{
	switch (similarity)
	{
		case PE_SIMILARITY_COSINE:
			return both / sqrt(one * other);
		case PE_SIMILARITY_JACCARD:
			return both / (one + other - both);
		case PE_SIMILARITY_COUNT:
			return both;
		case PE_SIMILARITY_LIFT:
			return both / (one * other);
		case PE_SIMILARITY_MUTUAL_INFORMATION:
			return log2(users * both / (one * other));
		case PE_SIMILARITY_LEXICOGRAPHERS:
			return both * log2(users * both / (one * other));
		case PE_SIMILARITY_INCLUSION:
			return both / fmin(one, other);
	}
	return 0;
}

/* What one thread works with. */
typedef struct counting
{
	uint32_t *counts;  /* [items], all 0 between rows */
	uint32_t *touched; /* [items] */
	float *values;     /* [items] */
	float *order;      /* [items] */
} counting;

typedef struct batch
{
	pe_team *team;
	const pe_sparse *by_user;
	const pe_sparse *by_item;
	pe_similarity similarity;
	uint32_t min_support;
	uint32_t keep;  /* neighbours of an item at most */
	uint32_t first; /* the item of row 0 */
	uint32_t *lengths;
	uint32_t *columns; /* [rows][keep] */
	float *values;
	counting *counting; /* by thread */
} batch;

static uint32_t
count_row(const batch *work, uint32_t item, counting *count, int thread)
{
	const pe_sparse *by_user = work->by_user, *by_item = work->by_item;
	uint32_t touched = 0, done = 0;

	for (uint32_t at = by_item->starts[item]; at < by_item->starts[item + 1]; at++)
	{
		uint32_t user = by_item->columns[at];

		for (uint32_t cell = by_user->starts[user]; cell < by_user->starts[user + 1]; cell++)
		{
			uint32_t other = by_user->columns[cell];

			if (count->counts[other]++ == 0)
				count->touched[touched++] = other;
		}
		done += by_user->starts[user + 1] - by_user->starts[user] + 16;
		if (done >= PE_POLL_CELLS)
		{
			done = 0;
			if (pe_team_poll(work->team, thread))
				break;
		}
	}
	return touched;
}

static void
sort_rising(uint32_t *values, uint32_t count)
{
	uint32_t gap = 1;

	while (gap < count / 3)
		gap = gap * 3 + 1;
	for (; gap > 0; gap /= 3)
		for (uint32_t i = gap; i < count; i++)
		{
			uint32_t value = values[i], j = i;

			for (; j >= gap && values[j - gap] > value; j -= gap)
				values[j] = values[j - gap];
			values[j] = value;
		}
}

/* The touched items in rising order. */
static void
order_touched(const counting *count, uint32_t touched, uint32_t items)
{
	uint32_t at = 0;

	if (touched < items / 16)
	{
		sort_rising(count->touched, touched);
		return;
	}
	for (uint32_t item = 0; item < items; item++)
		if (count->counts[item] > 0)
			count->touched[at++] = item;
}

/* The nth largest of count values, n from 1; puts them in another order. */
static float
nth_largest(float *values, uint32_t count, uint32_t n)
{
	uint32_t low = 0, high = count - 1, place = n - 1;

	while (low < high)
	{
		float pivot = values[low + (high - low) / 2];
		uint32_t i = low, j = high;

		for (;;)
		{
			while (values[i] > pivot)
				i++;
			while (values[j] < pivot)
				j--;
			if (i >= j)
				break;
			float swap = values[i];

			values[i++] = values[j];
			values[j--] = swap;
		}
		if (place <= j)
			high = j;
		else
			low = j + 1;
	}
	return values[place];
}

/* Puts the row's neighbours into the batch: the nearest ones, of equal ones the first. */
static uint32_t
keep_nearest(const batch *work, const counting *count, uint32_t found, uint32_t *columns, float *values)
{
	uint32_t kept = 0, equals = 0;
	float least;

	if (found <= work->keep)
	{
		memcpy(columns, count->touched, found * sizeof(uint32_t));
		memcpy(values, count->values, found * sizeof(float));
		return found;
	}
	memcpy(count->order, count->values, found * sizeof(float));
	least = nth_largest(count->order, found, work->keep);
	for (uint32_t i = 0; i < found; i++)
		equals += count->values[i] > least;
	equals = work->keep - equals;
	for (uint32_t i = 0; i < found; i++)
	{
		if (count->values[i] < least || (count->values[i] == least && equals == 0))
			continue;
		if (count->values[i] == least)
			equals--;
		columns[kept] = count->touched[i];
		values[kept++] = count->values[i];
	}
	return kept;
}

static void
make_row(void *ctx, uint32_t row, int thread)
{
	const batch *work = ctx;
	counting *count = &work->counting[thread];
	const uint32_t *starts = work->by_item->starts;
	uint32_t item = work->first + row, found = 0;
	double users = work->by_user->rows, own = starts[item + 1] - starts[item];
	uint32_t touched = count_row(work, item, count, thread);

	order_touched(count, touched, work->by_item->rows);
	for (uint32_t i = 0; i < touched; i++)
	{
		uint32_t other = count->touched[i], both = count->counts[other];

		count->counts[other] = 0;
		if (other == item || both < work->min_support)
			continue;
		count->touched[found] = other;
		count->values[found++] =
		    (float) pe_similarity_of(work->similarity, both, own, starts[other + 1] - starts[other], users);
	}
	work->lengths[row] = keep_nearest(work, count, found, work->columns + (size_t) row * work->keep,
	                                  work->values + (size_t) row * work->keep);
}

/* Appends the batch's rows to the result. */
static bool
append(const pe_env *env, const batch *work, uint32_t rows, pe_sparse *result, size_t *capacity)
{
	size_t cells = result->starts[work->first], more = 0;

	for (uint32_t row = 0; row < rows; row++)
		more += work->lengths[row];
	if (cells + more > UINT32_MAX)
		return false;
	if (cells + more > *capacity)
	{
		size_t size = *capacity + *capacity / 2 + more;
		uint32_t *columns = pe_realloc(env, result->columns, size * sizeof(uint32_t));
		float *values;

		if (columns == NULL)
			return false;
		result->columns = columns;
		values = pe_realloc(env, result->values, size * sizeof(float));
		if (values == NULL)
			return false;
		result->values = values;
		*capacity = size;
	}
	for (uint32_t row = 0; row < rows; row++)
	{
		uint32_t length = work->lengths[row];

		memcpy(result->columns + cells, work->columns + (size_t) row * work->keep, length * sizeof(uint32_t));
		memcpy(result->values + cells, work->values + (size_t) row * work->keep, length * sizeof(float));
		cells += length;
		result->starts[work->first + row + 1] = (uint32_t) cells;
	}
	return true;
}

static bool
prepare_counting(const pe_env *env, batch *work, uint32_t rows, int threads)
{
	size_t items = work->by_item->rows;

	work->lengths = pe_calloc(env, rows, sizeof(uint32_t));
	work->columns = pe_calloc(env, (size_t) rows * work->keep, sizeof(uint32_t));
	work->values = pe_calloc(env, (size_t) rows * work->keep, sizeof(float));
	work->counting = pe_calloc(env, threads, sizeof(counting));
	if (work->lengths == NULL || work->columns == NULL || work->values == NULL || work->counting == NULL)
		return false;
	for (int i = 0; i < threads; i++)
	{
		counting *count = &work->counting[i];

		count->counts = pe_calloc(env, items, sizeof(uint32_t));
		count->touched = pe_calloc(env, items, sizeof(uint32_t));
		count->values = pe_calloc(env, items, sizeof(float));
		count->order = pe_calloc(env, items, sizeof(float));
		if (count->counts == NULL || count->touched == NULL || count->values == NULL || count->order == NULL)
			return false;
	}
	return true;
}

static void
free_counting(const pe_env *env, batch *work, int threads)
{
	for (int i = 0; i < threads && work->counting != NULL; i++)
	{
		pe_free(env, work->counting[i].counts);
		pe_free(env, work->counting[i].touched);
		pe_free(env, work->counting[i].values);
		pe_free(env, work->counting[i].order);
	}
	pe_free(env, work->counting);
	pe_free(env, work->lengths);
	pe_free(env, work->columns);
	pe_free(env, work->values);
}

pe_status
pe_item_item_fit(const pe_env *env, pe_team *team, const pe_sparse *by_user, const pe_sparse *by_item,
                 const pe_recommend_options *options, int neighbours, pe_sparse *similarities, pe_error *err)
{
	uint32_t items = by_item->rows;
	uint32_t keep = neighbours > 0 && (uint32_t) neighbours < items ? (uint32_t) neighbours : items;
	size_t rows = BATCH_BYTES / ((size_t) keep * 8) + 1;
	batch work = {.team = team,
	              .by_user = by_user,
	              .by_item = by_item,
	              .similarity = options->similarity,
	              .min_support = (uint32_t) options->min_support,
	              .keep = keep};
	size_t capacity = 1024;
	pe_status status = PE_OK;

	rows = rows > MOST_BATCH ? MOST_BATCH : rows;
	memset(similarities, 0, sizeof(*similarities));
	similarities->rows = similarities->columns_count = items;
	similarities->starts = pe_calloc(env, (size_t) items + 1, sizeof(uint32_t));
	/* Arrays even when nothing goes together. */
	similarities->columns = pe_calloc(env, capacity, sizeof(uint32_t));
	similarities->values = pe_calloc(env, capacity, sizeof(float));
	if (similarities->starts == NULL || similarities->columns == NULL || similarities->values == NULL ||
	    !prepare_counting(env, &work, (uint32_t) rows, pe_team_threads(team)))
		status = pe_fail_memory(err);
	for (; work.first < items && status == PE_OK; work.first += (uint32_t) rows)
	{
		uint32_t here = items - work.first < rows ? items - work.first : (uint32_t) rows;

		pe_team_phase(team, "fit", work.first, items);
		if (!pe_team_run(team, make_row, &work, here))
			status = pe_fail(err, PE_CANCELLED, "cancelled");
		else if (!append(env, &work, here, similarities, &capacity))
			status = pe_fail_memory(err);
	}
	free_counting(env, &work, pe_team_threads(team));
	if (status != PE_OK)
		pe_sparse_free(env, similarities);
	return status;
}
