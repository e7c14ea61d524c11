/*
 * column.c
 *		Reading one leaf: see column.h. Decoding runs over whole stretches of a page,
 *		one switch for each, never a call for each value.
 */
#include "snapshot/column.h"
#include "snapshot/text.h"

#define INDEX_BLOCK 512

/* Bytes of a value in a PLAIN page; 0 when it varies. */
static size_t
plain_size(const pe_leaf *leaf)
{
	switch (leaf->physical)
	{
		case PE_PHYSICAL_INT96:
			return 12;
		case PE_PHYSICAL_FIXED:
			return (size_t) leaf->type_length;
		case PE_PHYSICAL_BOOLEAN:
		case PE_PHYSICAL_BYTE_ARRAY:
			return 0;
		default:
			return pe_leaf_value_size(leaf);
	}
}

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

static bool
decode_plain_bools(const uint8_t *bytes, size_t length, uint64_t from, uint8_t *out, size_t count)
{
	if (from + count > (uint64_t) length * 8)
		return false;
	for (size_t i = 0; i < count; i++)
		out[i] = bytes[(from + i) >> 3] >> ((from + i) & 7) & 1;
	return true;
}

/* count PLAIN values (not booleans) from *at. */
static bool
decode_plain(const pe_leaf *leaf, const uint8_t **at, const uint8_t *end, void *out, size_t count)
{
	size_t size = plain_size(leaf);

	if (size == 0)
		return pe_plain_slices(at, end, out, count);
	if (count > (size_t) (end - *at) / size)
		return false;
	if (leaf->physical == PE_PHYSICAL_INT96)
	{
		int64_t *micros = out;

		for (size_t i = 0; i < count; i++)
			micros[i] = pe_int96_micros(*at + i * 12);
	}
	else if (leaf->physical == PE_PHYSICAL_FIXED)
	{
		pe_slice *slices = out;

		for (size_t i = 0; i < count; i++)
		{
			slices[i].data = (const char *) *at + i * size;
			slices[i].length = size;
		}
	}
	else
		memcpy(out, *at, count * size);
	*at += count * size;
	return true;
}

static pe_status
load_dictionary(pe_column *column, pe_error *err)
{
	const pe_pages *pages = &column->pages;
	const uint8_t *at = pages->dictionary->data;
	size_t length = pages->dictionary->length;
	size_t count = (size_t) pages->header.values;
	size_t smallest = plain_size(column->leaf);
	bool good;

	if (column->dictionary != NULL)
		return pe_fail(err, PE_CORRUPT, "the column has two dictionaries");
	if (pages->header.encoding != PE_ENCODING_PLAIN && pages->header.encoding != PE_ENCODING_PLAIN_DICTIONARY)
		return pe_fail(err, PE_UNSUPPORTED, "the dictionary has an encoding that is not read, number %d",
		               (int) pages->header.encoding);
	if (column->leaf->physical == PE_PHYSICAL_BOOLEAN)
		return pe_fail(err, PE_CORRUPT, "a boolean column has a dictionary");
	if (count > length / (smallest > 0 ? smallest : 4))
		return pe_fail(err, PE_CORRUPT, "the dictionary is said to have more values than fit into it");
	column->dictionary = pe_calloc(pages->env, count, pe_leaf_value_size(column->leaf));
	if (column->dictionary == NULL)
		return pe_fail_memory(err);
	good = decode_plain(column->leaf, &at, at + length, column->dictionary, count);
	if (!good)
		return pe_fail(err, PE_CORRUPT, "the dictionary is damaged");
	column->dictionary_count = (uint32_t) count;
	column->dictionary_clean = column->leaf->meaning == PE_MEANS_TEXT;
	for (size_t i = 0; i < count && column->dictionary_clean; i++)
	{
		const pe_slice *text = (const pe_slice *) column->dictionary + i;

		column->dictionary_clean = pe_text_valid(text->data, text->length);
	}
	return PE_OK;
}

static pe_status
bad_encoding(const pe_column *column, pe_error *err)
{
	return pe_fail(err, PE_UNSUPPORTED, "a page has an encoding that is not read for its type, number %d",
	               (int) column->pages.header.encoding);
}

static pe_status
begin_dictionary_page(pe_column *column, pe_error *err)
{
	const pe_pages *pages = &column->pages;
	int width = 0;

	if (column->dictionary == NULL)
		return pe_fail(err, PE_CORRUPT, "a page refers to a dictionary that is not there");
	column->decoder = PE_DECODER_DICTIONARY;
	/* A page of nulls only may leave even the width out. */
	if (pages->values_length > 0)
		width = pages->values[0];
	if (width > 32)
		return pe_fail(err, PE_CORRUPT, "a page's dictionary indices have %d bits", width);
	pe_rle_init(&column->rle, pages->values + (pages->values_length > 0),
	            pages->values_length - (pages->values_length > 0), width);
	return PE_OK;
}

static pe_status
begin_split_page(pe_column *column, pe_error *err)
{
	size_t size = plain_size(column->leaf);

	if (size == 0 || column->leaf->physical == PE_PHYSICAL_INT96)
		return bad_encoding(column, err);
	column->decoder = PE_DECODER_SPLIT;
	column->total = column->pages.values_length / size;
	return PE_OK;
}

/* Booleans: runs after their length. */
static bool
begin_rle_page(pe_column *column)
{
	const pe_pages *pages = &column->pages;
	uint32_t length;

	if (pages->values_length < 4)
		length = 0;
	else
		memcpy(&length, pages->values, 4);
	if (length > 0 && length > pages->values_length - 4)
		return false;
	column->decoder = PE_DECODER_RLE;
	pe_rle_init(&column->rle, pages->values + (length > 0 ? 4 : 0), length, 1);
	return true;
}

/* Set up the decoder for the page just loaded. An empty values section is a page of nulls. */
static pe_status
begin_page(pe_column *column, pe_error *err)
{
	const pe_pages *pages = &column->pages;
	pe_physical physical = column->leaf->physical;
	bool integer = physical == PE_PHYSICAL_INT32 || physical == PE_PHYSICAL_INT64;
	bool bytes = physical == PE_PHYSICAL_BYTE_ARRAY;
	bool good = true;

	column->page_left = pages->header.values;
	column->at = pages->values;
	column->end = pages->values + pages->values_length;
	column->bit = 0;
	switch (pages->header.encoding)
	{
		case PE_ENCODING_PLAIN:
			column->decoder = PE_DECODER_PLAIN;
			return PE_OK;
		case PE_ENCODING_PLAIN_DICTIONARY:
		case PE_ENCODING_RLE_DICTIONARY:
			return begin_dictionary_page(column, err);
		case PE_ENCODING_BYTE_STREAM_SPLIT:
			return begin_split_page(column, err);
		case PE_ENCODING_RLE:
			if (physical != PE_PHYSICAL_BOOLEAN)
				return bad_encoding(column, err);
			good = begin_rle_page(column);
			break;
		case PE_ENCODING_DELTA_BINARY_PACKED:
			if (!integer)
				return bad_encoding(column, err);
			column->decoder = PE_DECODER_DELTA;
			memset(&column->delta, 0, sizeof(column->delta));
			good = pages->values_length == 0 ||
			       pe_delta_init(&column->delta, pages->values, pages->values_length);
			break;
		case PE_ENCODING_DELTA_LENGTH_BYTE_ARRAY:
			if (!bytes)
				return bad_encoding(column, err);
			column->decoder = PE_DECODER_DELTA_LENGTH;
			memset(&column->delta_length, 0, sizeof(column->delta_length));
			good = pages->values_length == 0 ||
			       pe_delta_length_init(&column->delta_length, pages->values, pages->values_length);
			break;
		case PE_ENCODING_DELTA_BYTE_ARRAY:
			if (!bytes && physical != PE_PHYSICAL_FIXED)
				return bad_encoding(column, err);
			column->decoder = PE_DECODER_DELTA_BYTES;
			memset(&column->delta_bytes.prefixes, 0, sizeof(column->delta_bytes.prefixes));
			column->delta_bytes.last.length = 0;
			good = pages->values_length == 0 ||
			       pe_delta_bytes_init(&column->delta_bytes, pages->values, pages->values_length);
			break;
		default:
			return bad_encoding(column, err);
	}
	return good ? PE_OK : pe_fail(err, PE_CORRUPT, "a page's values are damaged");
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
		status = load_dictionary(column, err);
		if (status != PE_OK)
			return status;
	}
	if (old != NULL)
	{
		old->next = column->held;
		column->held = old;
	}
	return begin_page(column, err);
}

static bool
decode_dictionary(pe_column *column, void *out, size_t count)
{
	uint32_t indices[INDEX_BLOCK];
	size_t size = pe_leaf_value_size(column->leaf);

	while (count > 0)
	{
		size_t step = count < INDEX_BLOCK ? count : INDEX_BLOCK;
		uint32_t highest = 0;

		if (!pe_rle_indices(&column->rle, indices, step))
			return false;
		for (size_t i = 0; i < step; i++)
			highest = indices[i] > highest ? indices[i] : highest;
		if (highest >= column->dictionary_count)
			return false;
		if (size == 4)
		{
			for (size_t i = 0; i < step; i++)
				((uint32_t *) out)[i] = ((const uint32_t *) column->dictionary)[indices[i]];
		}
		else if (size == 8)
		{
			for (size_t i = 0; i < step; i++)
				((uint64_t *) out)[i] = ((const uint64_t *) column->dictionary)[indices[i]];
		}
		else
		{
			for (size_t i = 0; i < step; i++)
				((pe_slice *) out)[i] = ((const pe_slice *) column->dictionary)[indices[i]];
		}
		out = (char *) out + step * size;
		count -= step;
	}
	return true;
}

static bool
decode_delta(pe_column *column, void *out, size_t count)
{
	int64_t wide[256];
	int32_t *narrow = out;

	if (column->leaf->physical == PE_PHYSICAL_INT64)
		return pe_delta_next(&column->delta, out, count);
	while (count > 0)
	{
		size_t step = count < 256 ? count : 256;

		if (!pe_delta_next(&column->delta, wide, step))
			return false;
		for (size_t i = 0; i < step; i++)
			narrow[i] = (int32_t) wide[i];
		narrow += step;
		count -= step;
	}
	return true;
}

static pe_status
decode_delta_bytes(pe_column *column, pe_slice *out, size_t count, pe_error *err)
{
	pe_status status =
	    pe_delta_bytes_next(&column->delta_bytes, &column->arena, &column->made, out, count, err);

	if (status != PE_OK || column->leaf->physical != PE_PHYSICAL_FIXED)
		return status;
	for (size_t i = 0; i < count; i++)
	{
		if (out[i].length != (size_t) column->leaf->type_length)
			return pe_fail(err, PE_CORRUPT, "a fixed length value has %zu bytes, not %d", out[i].length,
			               (int) column->leaf->type_length);
	}
	return PE_OK;
}

static pe_status
decode_split(pe_column *column, void *out, size_t count, pe_error *err)
{
	size_t size = plain_size(column->leaf);
	pe_slice *slices = out;
	uint8_t *bytes;

	if (count > column->total - column->bit)
		return pe_fail(err, PE_CORRUPT, "a page holds fewer values than it says");
	if (column->leaf->physical != PE_PHYSICAL_FIXED)
		pe_split_values(column->at, column->total, size, column->bit, out, count);
	else
	{
		bytes = pe_arena_alloc(&column->arena, count * size);
		if (bytes == NULL)
			return pe_fail_memory(err);
		pe_split_values(column->at, column->total, size, column->bit, bytes, count);
		for (size_t i = 0; i < count; i++)
		{
			slices[i].data = (const char *) bytes + i * size;
			slices[i].length = size;
		}
	}
	column->bit += count;
	return PE_OK;
}

static pe_status
decode_values(pe_column *column, void *out, size_t count, pe_error *err)
{
	bool good = true;

	if (column->decoder != PE_DECODER_DICTIONARY || !column->dictionary_clean)
		column->clean = false;
	switch (column->decoder)
	{
		case PE_DECODER_PLAIN:
			if (column->leaf->physical == PE_PHYSICAL_BOOLEAN)
			{
				good = decode_plain_bools(column->at, (size_t) (column->end - column->at), column->bit, out,
				                          count);
				column->bit += count;
			}
			else
				good = decode_plain(column->leaf, &column->at, column->end, out, count);
			break;
		case PE_DECODER_DICTIONARY:
			good = decode_dictionary(column, out, count);
			break;
		case PE_DECODER_RLE:
			good = pe_rle_levels(&column->rle, out, count);
			break;
		case PE_DECODER_DELTA:
			good = decode_delta(column, out, count);
			break;
		case PE_DECODER_DELTA_LENGTH:
			good = pe_delta_length_next(&column->delta_length, out, count);
			break;
		case PE_DECODER_DELTA_BYTES:
			return decode_delta_bytes(column, out, count, err);
		case PE_DECODER_SPLIT:
			return decode_split(column, out, count, err);
	}
	return good ? PE_OK : pe_fail(err, PE_CORRUPT, "a page's values are damaged, or fewer than it says");
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
	status = decode_values(column, (char *) column->values + column->value_count * size, count, err);
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
