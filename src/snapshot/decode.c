/*
 * decode.c
 *		The values of a column's pages, in whichever encoding: one switch for each
 *		stretch of values, never a call for each of them.
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

pe_status
pe_column_dictionary(pe_column *column, pe_error *err)
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
pe_status
pe_column_page(pe_column *column, pe_error *err)
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

pe_status
pe_column_decode(pe_column *column, void *out, size_t count, pe_error *err)
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
