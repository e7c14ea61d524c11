/*
 * page.c
 *		Loading pages: see page.h.
 *
 * What a header says about sizes is held against the bytes left in the file before
 * anything is allocated, and against PE_SNAPSHOT_MAX_PAGE.
 */
#include <zlib.h>

#include "snapshot/codec.h"
#include "snapshot/page.h"

#define FIRST_HEADER_BYTES 512
#define MAX_HEADER_BYTES   ((size_t) 4 << 20) /* headers carry statistics, which carry values */
#define KEEP_SCRATCH_BYTES ((size_t) 4 << 20)

/* Old writers left the dictionary page's header out of the chunk's length. */
#define CHUNK_SLACK 128

void
pe_page_free(const pe_env *env, pe_page *page)
{
	while (page != NULL)
	{
		pe_page *next = page->next;

		pe_free(env, page->data);
		pe_free(env, page->levels);
		pe_free(env, page);
		page = next;
	}
}

void
pe_pages_free(pe_pages *pages)
{
	pe_page_free(pages->env, pages->page);
	pe_page_free(pages->env, pages->dictionary);
	pages->page = NULL;
	pages->dictionary = NULL;
}

void
pe_scratch_free(const pe_env *env, pe_scratch *scratch)
{
	pe_free(env, scratch->header);
	pe_free(env, scratch->body);
	memset(scratch, 0, sizeof(*scratch));
}

static bool
reserve(const pe_env *env, uint8_t **buffer, size_t *size, size_t wanted)
{
	if (*size >= wanted && (*size <= KEEP_SCRATCH_BYTES || wanted > KEEP_SCRATCH_BYTES))
		return true;
	pe_free(env, *buffer);
	*size = 0;
	*buffer = pe_alloc(env, wanted);
	if (*buffer == NULL)
		return false;
	*size = wanted;
	return true;
}

pe_status
pe_pages_begin(pe_pages *pages, const pe_chunk *chunk, uint64_t data_end, pe_error *err)
{
	pe_pages_free(pages);
	if (chunk->encrypted)
		return pe_fail(err, PE_UNSUPPORTED, "the column is encrypted");
	if (chunk->elsewhere)
		return pe_fail(err, PE_UNSUPPORTED, "the column's data is in another file");
	if (chunk->physical != (int32_t) pages->leaf->physical)
		return pe_fail(err, PE_CORRUPT, "a row group stores the column as another type than the schema says");
	if (chunk->offset < 4 || chunk->offset > data_end ||
	    (uint64_t) chunk->compressed > data_end - chunk->offset)
		return pe_fail(err, PE_CORRUPT, "the column's data is said to lie outside of the file");
	pages->codec = chunk->codec;
	pages->at = chunk->offset;
	pages->end = chunk->offset + (uint64_t) chunk->compressed;
	pages->end = data_end - pages->end > CHUNK_SLACK ? pages->end + CHUNK_SLACK : data_end;
	pages->left = chunk->values;
	return chunk->values > 0 ? pe_codec_check(chunk->codec, err) : PE_OK;
}

/* Parse the header at pages->at and step behind it. */
static pe_status
read_header(pe_pages *pages, pe_error *err)
{
	size_t wanted = FIRST_HEADER_BYTES;

	for (;;)
	{
		uint64_t there = pages->end - pages->at;
		int used;

		if (wanted > there)
			wanted = (size_t) there;
		if (wanted == 0)
			return pe_fail(err, PE_CORRUPT, "the column's pages end before its last value");
		if (!reserve(pages->env, &pages->scratch->header, &pages->scratch->header_size, wanted))
			return pe_fail_memory(err);
		if (!pages->source->read(pages->source->ctx, pages->at, pages->scratch->header, wanted))
			return pe_fail(err, PE_IO, "could not read file \"%s\"", pages->source->name);
		used = pe_page_header_parse(pages->scratch->header, wanted, &pages->header);
		if (used > 0)
		{
			pages->at += (uint64_t) used;
			return PE_OK;
		}
		if (used < 0 || wanted == there || wanted >= MAX_HEADER_BYTES)
			return pe_fail(err, PE_CORRUPT, "a page header does not parse");
		wanted = wanted * 16 < MAX_HEADER_BYTES ? wanted * 16 : MAX_HEADER_BYTES;
	}
}

static pe_status
check_header(const pe_pages *pages, pe_error *err)
{
	const pe_page_header *header = &pages->header;
	bool v2 = header->kind == PE_PAGE_DATA_V2;
	int64_t levels = (int64_t) header->def_bytes + header->rep_bytes;

	if ((uint64_t) header->compressed > pages->end - pages->at)
		return pe_fail(err, PE_CORRUPT, "a page is said to reach beyond the column's data");
	if ((uint32_t) header->compressed > PE_SNAPSHOT_MAX_PAGE ||
	    (uint32_t) header->uncompressed > PE_SNAPSHOT_MAX_PAGE)
		return pe_fail(err, PE_LIMIT, "a page is said to have %d bytes, more than %u",
		               header->uncompressed > header->compressed ? (int) header->uncompressed
		                                                         : (int) header->compressed,
		               PE_SNAPSHOT_MAX_PAGE);
	if (v2 && (levels > header->compressed || levels > header->uncompressed))
		return pe_fail(err, PE_CORRUPT, "a page's levels are said to be longer than the page");
	return PE_OK;
}

/* Read the page's bytes and check their checksum; *body is in the page or in the scratch buffer. */
static pe_status
read_body(pe_pages *pages, uint8_t *body, pe_error *err)
{
	size_t length = (size_t) pages->header.compressed;

	if (length > 0 && !pages->source->read(pages->source->ctx, pages->at, body, length))
		return pe_fail(err, PE_IO, "could not read file \"%s\"", pages->source->name);
	pages->at += length;
	if (pages->header.has_crc && crc32(crc32(0, NULL, 0), body, (uInt) length) != pages->header.crc)
		return pe_fail(err, PE_CORRUPT, "a page's checksum does not match");
	return PE_OK;
}

static uint8_t *
padded(const pe_env *env, size_t length)
{
	uint8_t *data = pe_alloc(env, length + PE_PAGE_PADDING);

	if (data != NULL)
		memset(data + length, 0, PE_PAGE_PADDING);
	return data;
}

/* A page as it is in the file, no decompression needed. */
static pe_status
load_plain(pe_pages *pages, pe_page *page, pe_error *err)
{
	page->length = (size_t) pages->header.compressed;
	page->data = padded(pages->env, page->length);
	if (page->data == NULL)
		return pe_fail_memory(err);
	return read_body(pages, page->data, err);
}

static pe_status
load_compressed(pe_pages *pages, pe_page *page, pe_error *err)
{
	const pe_page_header *header = &pages->header;
	bool v2 = header->kind == PE_PAGE_DATA_V2;
	size_t levels = v2 ? (size_t) header->def_bytes + (size_t) header->rep_bytes : 0;
	size_t length = (size_t) header->compressed;
	pe_status status;

	if (!reserve(pages->env, &pages->scratch->body, &pages->scratch->body_size, length))
		return pe_fail_memory(err);
	status = read_body(pages, pages->scratch->body, err);
	if (status != PE_OK)
		return status;
	if (v2)
	{
		page->levels = padded(pages->env, levels);
		if (page->levels == NULL)
			return pe_fail_memory(err);
		memcpy(page->levels, pages->scratch->body, levels);
	}
	page->length = (size_t) header->uncompressed - levels;
	return pe_codec_decompress(pages->env, pages->codec, pages->scratch->body + levels, length - levels,
	                           page->length, &page->data, err);
}

static int
bits_for(unsigned max)
{
	int bits = 0;

	while (max >> bits != 0)
		bits++;
	return bits;
}

static void
levels_none(pe_levels *levels)
{
	memset(levels, 0, sizeof(*levels));
}

/* Version 1: levels stand before the values, RLE after their length or packed without. */
static bool
take_levels_v1(pe_levels *levels, unsigned max, int32_t encoding, int32_t count, const uint8_t **at,
               size_t *left)
{
	uint32_t length;

	levels_none(levels);
	if (max == 0)
		return true;
	levels->width = bits_for(max);
	if (encoding == PE_ENCODING_BIT_PACKED)
	{
		uint64_t bytes = ((uint64_t) count * (uint64_t) levels->width + 7) / 8;

		if (bytes > *left)
			return false;
		levels->packed = true;
		levels->bytes = *at;
		levels->length = (size_t) bytes;
		*at += bytes;
		*left -= bytes;
		return true;
	}
	if (encoding != PE_ENCODING_RLE || *left < 4)
		return false;
	memcpy(&length, *at, 4);
	if (length > *left - 4)
		return false;
	pe_rle_init(&levels->rle, *at + 4, length, levels->width);
	*at += 4 + (size_t) length;
	*left -= 4 + (size_t) length;
	return true;
}

static void
take_levels_v2(pe_levels *levels, unsigned max, const uint8_t *bytes, size_t length)
{
	levels_none(levels);
	if (max == 0)
		return;
	levels->width = bits_for(max);
	pe_rle_init(&levels->rle, bytes, length, levels->width);
}

bool
pe_levels_read(pe_levels *levels, uint8_t *out, size_t count)
{
	if (levels->width == 0)
		memset(out, 0, count);
	else if (levels->packed)
	{
		if (!pe_bit_packed_levels(levels->bytes, levels->length, levels->width, levels->done, out, count))
			return false;
		levels->done += count;
	}
	else
		return pe_rle_levels(&levels->rle, out, count);
	return true;
}

static pe_status
take_apart(pe_pages *pages, pe_page *page, pe_error *err)
{
	const pe_page_header *header = &pages->header;
	const uint8_t *at = page->data;
	size_t left = page->length;

	if (header->values > pages->left)
		return pe_fail(err, PE_CORRUPT, "the pages hold more values than the column is said to have");
	pages->left -= header->values;
	if (header->kind == PE_PAGE_DATA)
	{
		if (!take_levels_v1(&pages->rep, pages->leaf->max_rep, header->rep_encoding, header->values, &at,
		                    &left) ||
		    !take_levels_v1(&pages->def, pages->leaf->max_def, header->def_encoding, header->values, &at,
		                    &left))
			return pe_fail(err, PE_CORRUPT, "a page's levels are damaged");
	}
	else
	{
		size_t rep = (size_t) header->rep_bytes;
		size_t def = (size_t) header->def_bytes;
		const uint8_t *levels = page->levels != NULL ? page->levels : page->data;

		take_levels_v2(&pages->rep, pages->leaf->max_rep, levels, rep);
		take_levels_v2(&pages->def, pages->leaf->max_def, levels + rep, def);
		if (page->levels == NULL)
		{
			at += rep + def;
			left -= rep + def;
		}
	}
	pages->values = at;
	pages->values_length = left;
	return PE_OK;
}

pe_status
pe_pages_next(pe_pages *pages, pe_page_kind *kind, pe_page **old, pe_error *err)
{
	pe_page_header *header = &pages->header;
	pe_page *page;
	pe_status status;
	bool plain;

	*old = NULL;
	do
	{
		status = read_header(pages, err);
		if (status == PE_OK)
			status = check_header(pages, err);
		if (status == PE_OK && pe_stopped(pages->env, "reading", 0, 0))
			status = pe_fail(err, PE_CANCELLED, "cancelled");
		if (status != PE_OK)
			return status;
		if (header->kind == PE_PAGE_INDEX)
			pages->at += (uint64_t) header->compressed;
	} while (header->kind == PE_PAGE_INDEX);

	page = pe_calloc(pages->env, 1, sizeof(*page));
	if (page == NULL)
		return pe_fail_memory(err);
	plain = pages->codec == 0 || (header->kind == PE_PAGE_DATA_V2 && !header->is_compressed);
	status = plain ? load_plain(pages, page, err) : load_compressed(pages, page, err);
	if (status == PE_OK && header->kind != PE_PAGE_DICTIONARY)
		status = take_apart(pages, page, err);
	if (status != PE_OK)
	{
		pe_page_free(pages->env, page);
		return status;
	}
	if (header->kind == PE_PAGE_DICTIONARY)
	{
		*kind = PE_PAGE_DICTIONARY;
		*old = pages->dictionary;
		pages->dictionary = page;
	}
	else
	{
		*kind = PE_PAGE_DATA;
		*old = pages->page;
		pages->page = page;
	}
	return PE_OK;
}
