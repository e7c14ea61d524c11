/*
 * page.h
 *		One column chunk as a sequence of pages: found, checked, decompressed, and
 *		taken apart into levels and values.
 */
#ifndef PE_PAGE_H
#define PE_PAGE_H

#include "snapshot/encoding.h"
#include "snapshot/metadata.h"
#include "snapshot/schema.h"

/* A decompressed page; slices point into it while a batch needs them. */
typedef struct pe_page
{
	struct pe_page *next;
	uint8_t *data; /* version 1: levels and values; version 2: values */
	size_t length;
	uint8_t *levels; /* version 2 only */
} pe_page;

/* Read buffers that all columns of a file share: nothing in them outlives a call. */
typedef struct pe_scratch
{
	uint8_t *header;
	size_t header_size;
	uint8_t *body;
	size_t body_size;
} pe_scratch;

/* Levels of a page, in either of their encodings. */
typedef struct pe_levels
{
	int width; /* 0: there are none, all are 0 */
	bool packed;
	pe_rle rle;
	const uint8_t *bytes; /* packed */
	size_t length;
	uint64_t done;
} pe_levels;

typedef struct pe_pages
{
	const pe_env *env;
	const pe_snapshot_source *source;
	pe_scratch *scratch;
	const pe_leaf *leaf;
	int32_t codec;
	uint64_t at; /* the next page's header */
	uint64_t end;
	int64_t left; /* entries on pages not yet loaded */

	pe_page *page; /* the current one, NULL before the first */
	pe_page *dictionary;
	pe_page_header header;
	pe_levels def;
	pe_levels rep;
	const uint8_t *values;
	size_t values_length;
} pe_pages;

/* Begin a chunk; what was held of the one before is freed. data_end: see pe_metadata. */
pe_status pe_pages_begin(pe_pages *pages, const pe_chunk *chunk, uint64_t data_end, pe_error *err);

/*
 * Load the next page. *kind is PE_PAGE_DATA for both versions (levels and values
 * are set), or PE_PAGE_DICTIONARY. The page that was current is given to *old
 * (may be NULL): the caller frees it when nothing points into it.
 */
pe_status pe_pages_next(pe_pages *pages, pe_page_kind *kind, pe_page **old, pe_error *err);
bool pe_levels_read(pe_levels *levels, uint8_t *out, size_t count);
void pe_page_free(const pe_env *env, pe_page *page);
void pe_pages_free(pe_pages *pages);
void pe_scratch_free(const pe_env *env, pe_scratch *scratch);

#endif /* PE_PAGE_H */
