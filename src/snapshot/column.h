/*
 * column.h
 *		One leaf of the schema, read batch by batch: levels, and the values that are
 *		not null, densely, in the machine's own form.
 */
#ifndef PE_COLUMN_H
#define PE_COLUMN_H

#include "snapshot/page.h"

/* How the values of the current page are encoded. */
typedef enum pe_decoder
{
	PE_DECODER_PLAIN,
	PE_DECODER_DICTIONARY,
	PE_DECODER_RLE,
	PE_DECODER_DELTA,
	PE_DECODER_DELTA_LENGTH,
	PE_DECODER_DELTA_BYTES,
	PE_DECODER_SPLIT
} pe_decoder;

#define PE_LOOK_AHEAD 1024

typedef struct pe_column
{
	pe_pages pages;
	const pe_leaf *leaf;
	pe_arena arena; /* values put together for this batch */
	size_t made;    /* bytes of them */
	pe_page *held;  /* pages the batch's slices may point into, but the current one */

	int64_t page_left; /* entries of the page not yet decoded */
	pe_decoder decoder;
	const uint8_t *at; /* plain */
	const uint8_t *end;
	uint64_t bit; /* plain booleans: bits done; split: values done */
	size_t total; /* split: values of the page */
	pe_rle rle;
	pe_delta delta;
	pe_delta_length delta_length;
	pe_delta_bytes delta_bytes;

	void *dictionary;
	uint32_t dictionary_count;
	bool dictionary_clean; /* all of its text is valid */

	uint8_t *look_rep; /* levels decoded but not yet given out: nested leaves only */
	uint8_t *look_def;
	size_t look_at;
	size_t look_end;

	/* The batch. */
	size_t entries;
	uint8_t *defs;
	uint8_t *reps; /* NULL for leaves that are not nested */
	size_t level_capacity;
	size_t value_count;
	void *values; /* of pe_leaf_value_size each */
	size_t value_capacity;
	uint8_t max_def_seen;
	bool clean; /* text is known to be valid */
} pe_column;

void pe_column_init(pe_column *column, const pe_env *env, const pe_snapshot_source *source,
                    pe_scratch *scratch, const pe_leaf *leaf);
pe_status pe_column_begin(pe_column *column, const pe_chunk *chunk, uint64_t data_end, pe_error *err);

/* Read exactly rows rows. What the last batch pointed to is gone. */
pe_status pe_column_read(pe_column *column, size_t rows, pe_error *err);

/* Is the chunk read to its end? */
bool pe_column_done(const pe_column *column);
void pe_column_free(pe_column *column);

/* Of decode.c. The dictionary page that was just loaded, decoded for its chunk. */
pe_status pe_column_dictionary(pe_column *column, pe_error *err);

/* Set up the decoder for the data page just loaded; one without values is a page of nulls. */
pe_status pe_column_page(pe_column *column, pe_error *err);

/* The next count values of the page to out. */
pe_status pe_column_decode(pe_column *column, void *out, size_t count, pe_error *err);

#endif /* PE_COLUMN_H */
