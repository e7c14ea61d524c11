/*
 * column.c
 *		Reading one leaf: see column.h. Rows are made of whole stretches of pages;
 *		decode.c turns their bytes into values.
 */
#include "snapshot/column.h"

void
pe_column_init(pe_column *column, const pe_env *env, const pe_snapshot_source *source, pe_scratch *scratch,
               const pe_leaf *leaf)
{
	memset(column, 0, sizeof(*column));
	column->pages.env = env;
	column->pages.source = source;
	column->pages.scratch = scratch;
	column->pages.leaf = leaf;
	column->leaf = leaf;
	pe_arena_init(&column->arena, env);
}

void
pe_column_free(pe_column *column)
{
	const pe_env *env = column->pages.env;

	if (env == NULL)
		return;
	pe_pages_free(&column->pages);
	pe_page_free(env, column->held);
	pe_arena_free(&column->arena);
	pe_free(env, column->delta_bytes.kept);
	pe_free(env, column->dictionary);
	pe_free(env, column->look_rep);
	pe_free(env, column->defs);
	pe_free(env, column->reps);
	pe_free(env, column->values);
	memset(column, 0, sizeof(*column));
}

pe_status
pe_column_begin(pe_column *column, const pe_chunk *chunk, uint64_t data_end, pe_error *err)
{
	const pe_env *env = column->pages.env;

	pe_page_free(env, column->held);
	column->held = NULL;
	pe_free(env, column->dictionary);
	column->dictionary = NULL;
	column->dictionary_count = 0;
	column->page_left = 0;
	column->look_at = column->look_end = 0;
	column->delta_bytes.last.length = 0;
	if (column->leaf->max_rep > 0 && column->look_rep == NULL)
	{
		column->look_rep = pe_alloc(env, (size_t) 2 * PE_LOOK_AHEAD);
		if (column->look_rep == NULL)
			return pe_fail_memory(err);
		column->look_def = column->look_rep + PE_LOOK_AHEAD;
	}
	return pe_pages_begin(&column->pages, chunk, data_end, err);
}

bool
pe_column_done(const pe_column *column)
{
	return column->pages.left == 0 && column->page_left == 0 && column->look_at == column->look_end;
}

/* Load the next data page, and the dictionary before it. */
static pe_status
next_page(pe_column *column, pe_error *err)
{
	pe_page_kind kind;
	pe_page *old;
	pe_status status;

	if (pe_stopped(column->pages.env, "reading", 0, 0))
		return pe_fail(err, PE_CANCELLED, "cancelled");
	for (;;)
	{
		status = pe_pages_next(&column->pages, &kind, &old, err);
		if (status != PE_OK)
			return status;
		if (kind == PE_PAGE_DATA)
			break;
		pe_page_free(column->pages.env, old);
		status = pe_column_dictionary(column, err);
		if (status != PE_OK)
			return status;
	}
	if (old != NULL)
	{
		old->next = column->held;
		column->held = old;
	}
	return pe_column_page(column, err);
}

static bool
grow(const pe_env *env, void *array, size_t wanted, size_t size)
{
	void **slot = array;
	void *grown = pe_realloc(env, *slot, wanted * size);

	if (grown == NULL)
		return false;
	*slot = grown;
	return true;
}

/* Room for more entries and for as many values. */
static pe_status
reserve_levels(pe_column *column, size_t more, pe_error *err)
{
	const pe_env *env = column->pages.env;
	size_t wanted = column->entries + more;

	if (wanted <= column->level_capacity)
		return PE_OK;
	if (wanted > PE_SNAPSHOT_MAX_ELEMENTS)
		return pe_fail(err, PE_LIMIT, "the lists of a few rows have more than %u elements",
		               PE_SNAPSHOT_MAX_ELEMENTS);
	wanted = wanted > column->level_capacity * 2 ? wanted : column->level_capacity * 2;
	if (!grow(env, &column->defs, wanted, 1) ||
	    (column->leaf->max_rep > 0 && !grow(env, &column->reps, wanted, 1)))
		return pe_fail_memory(err);
	column->level_capacity = wanted;
	return PE_OK;
}

/* Decode count values of the current page to the batch's end. */
static pe_status
append_values(pe_column *column, size_t count, pe_error *err)
{
	size_t size = pe_leaf_value_size(column->leaf);
	size_t wanted = column->value_count + count;
	pe_status status;

	if (count == 0)
		return PE_OK;
	if (wanted > column->value_capacity)
	{
		wanted = wanted > column->value_capacity * 2 ? wanted : column->value_capacity * 2;
		if (!grow(column->pages.env, &column->values, wanted, size))
			return pe_fail_memory(err);
		column->value_capacity = wanted;
	}
	status = pe_column_decode(column, (char *) column->values + column->value_count * size, count, err);
	column->value_count += count;
	return status;
}

/* How many of the entries have a value; false when a level is too high. */
static bool
count_values(const uint8_t *defs, size_t entries, uint8_t max, uint8_t *seen, size_t *count)
{
	size_t full = 0;
	uint8_t highest = *seen;

	for (size_t i = 0; i < entries; i++)
	{
		full += defs[i] == max;
		highest = defs[i] > highest ? defs[i] : highest;
	}
	*seen = highest;
	*count = full;
	return highest <= max;
}

static pe_status
damaged_levels(pe_error *err)
{
	return pe_fail(err, PE_CORRUPT, "a page's levels are damaged");
}

static pe_status
short_chunk(pe_error *err)
{
	return pe_fail(err, PE_CORRUPT, "the column has fewer values than its row group has rows");
}

static pe_status
read_flat(pe_column *column, size_t rows, pe_error *err)
{
	pe_status status = reserve_levels(column, rows, err);

	if (status != PE_OK)
		return status;
	while (column->entries < rows)
	{
		size_t step = rows - column->entries;
		uint8_t *defs = column->defs + column->entries;
		size_t count;

		if (column->page_left == 0)
		{
			if (column->pages.left == 0)
				return short_chunk(err);
			status = next_page(column, err);
			if (status != PE_OK)
				return status;
			continue;
		}
		if ((int64_t) step > column->page_left)
			step = (size_t) column->page_left;
		if (!pe_levels_read(&column->pages.def, defs, step) ||
		    !count_values(defs, step, column->leaf->max_def, &column->max_def_seen, &count))
			return damaged_levels(err);
		status = append_values(column, count, err);
		if (status != PE_OK)
			return status;
		column->entries += step;
		column->page_left -= (int64_t) step;
	}
	return PE_OK;
}

/* Decode levels of the current page ahead. */
static pe_status
look_ahead(pe_column *column, pe_error *err)
{
	size_t step = column->page_left < PE_LOOK_AHEAD ? (size_t) column->page_left : PE_LOOK_AHEAD;

	if (!pe_levels_read(&column->pages.rep, column->look_rep, step) ||
	    !pe_levels_read(&column->pages.def, column->look_def, step))
		return damaged_levels(err);
	for (size_t i = 0; i < step; i++)
	{
		if (column->look_rep[i] > column->leaf->max_rep)
			return damaged_levels(err);
	}
	column->look_at = 0;
	column->look_end = step;
	column->page_left -= (int64_t) step;
	return PE_OK;
}

/* Move entries from the look-ahead to the batch. */
static pe_status
take_entries(pe_column *column, size_t count, pe_error *err)
{
	pe_status status = reserve_levels(column, count, err);
	size_t values;

	if (status != PE_OK)
		return status;
	memcpy(column->reps + column->entries, column->look_rep + column->look_at, count);
	memcpy(column->defs + column->entries, column->look_def + column->look_at, count);
	if (!count_values(column->defs + column->entries, count, column->leaf->max_def, &column->max_def_seen,
	                  &values))
		return damaged_levels(err);
	column->entries += count;
	column->look_at += count;
	return append_values(column, values, err);
}

/* A row ends where the next entry begins another, so one entry is looked at too many. */
static pe_status
read_nested(pe_column *column, size_t rows, pe_error *err)
{
	size_t seen = 0;
	pe_status status;

	for (;;)
	{
		size_t at = column->look_at;

		if (at == column->look_end)
		{
			if (column->page_left == 0)
			{
				if (column->pages.left == 0)
					return seen == rows ? PE_OK : short_chunk(err);
				status = next_page(column, err);
			}
			else
				status = look_ahead(column, err);
			if (status != PE_OK)
				return status;
			continue;
		}
		if (column->entries == 0 && column->look_rep[at] != 0)
			return damaged_levels(err);
		for (; at < column->look_end; at++)
		{
			if (column->look_rep[at] == 0 && seen++ == rows)
				break;
		}
		status = take_entries(column, at - column->look_at, err);
		if (status != PE_OK)
			return status;
		if (at < column->look_end)
			return PE_OK;
	}
}

pe_status
pe_column_read(pe_column *column, size_t rows, pe_error *err)
{
	/* The last prefixed string is needed for the next one: before its memory goes. */
	if (column->decoder == PE_DECODER_DELTA_BYTES &&
	    !pe_delta_bytes_keep(&column->delta_bytes, column->pages.env))
		return pe_fail_memory(err);
	pe_page_free(column->pages.env, column->held);
	column->held = NULL;
	pe_arena_reset(&column->arena);
	column->made = 0;
	column->entries = 0;
	column->value_count = 0;
	column->max_def_seen = 0;
	column->clean = true;
	return column->leaf->max_rep > 0 ? read_nested(column, rows, err) : read_flat(column, rows, err);
}
