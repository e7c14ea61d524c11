/*
 * encoding.h
 *		The value encodings of Parquet pages, as decoders that hand out any number of
 *		values at a time.
 *
 * All input lies in page buffers with PE_PAGE_PADDING readable bytes behind. A
 * decoder keeps its place and never allocates in proportion to a count it was
 * told. Counts of values asked for that the bytes do not hold make it return
 * false: the page is corrupt.
 */
#ifndef PE_ENCODING_H
#define PE_ENCODING_H

#include "snapshot/arena.h"
#include "snapshot/snapshot.h"

/* The hybrid of runs and bit-packed groups: levels, dictionary indices, booleans. */
typedef struct pe_rle
{
	const uint8_t *at;
	const uint8_t *end;
	int width;           /* bits, 0 to 32 */
	uint64_t run;        /* values left in the run */
	uint32_t value;      /* of a repeated run */
	uint64_t packed;     /* values left in the bit-packed group */
	const uint8_t *bits; /* the group, and the next value's place in it */
	uint64_t bit;
} pe_rle;

void pe_rle_init(pe_rle *rle, const uint8_t *bytes, size_t length, int width);
bool pe_rle_levels(pe_rle *rle, uint8_t *out, size_t count);
bool pe_rle_indices(pe_rle *rle, uint32_t *out, size_t count);

/* The deprecated levels: packed from the most significant bit. Width up to 8. */
bool pe_bit_packed_levels(const uint8_t *bytes, size_t length, int width, uint64_t from, uint8_t *out,
                          size_t count);

/* DELTA_BINARY_PACKED. */
typedef struct pe_delta
{
	const uint8_t *at;
	const uint8_t *end;
	uint64_t total;    /* values in all */
	uint64_t left;     /* not yet handed out */
	uint64_t per_mini; /* values of a miniblock */
	uint32_t minis;    /* miniblocks of a block */
	uint32_t mini;     /* the current one */
	const uint8_t *widths;
	uint64_t mini_left; /* values left in the miniblock */
	uint64_t bit;
	int64_t min_delta;
	int64_t last;
	bool first;
} pe_delta;

bool pe_delta_init(pe_delta *delta, const uint8_t *bytes, size_t length);
bool pe_delta_next(pe_delta *delta, int64_t *out, size_t count);

/* Where the encoded values end and other data begins; NULL when they are cut off. */
const uint8_t *pe_delta_end(const pe_delta *delta);

/* DELTA_LENGTH_BYTE_ARRAY: the slices point into the page. */
typedef struct pe_delta_length
{
	pe_delta lengths;
	const uint8_t *at;
	const uint8_t *end;
} pe_delta_length;

bool pe_delta_length_init(pe_delta_length *delta, const uint8_t *bytes, size_t length);
bool pe_delta_length_next(pe_delta_length *delta, pe_slice *out, size_t count);

/*
 * DELTA_BYTE_ARRAY: the values are put together in an arena, whose bytes are
 * counted in *made and bounded by PE_SNAPSHOT_MAX_PAGE. The previous value must
 * stay readable: pe_delta_bytes_keep moves it to memory of the decoder's own,
 * and must be called before that arena is reset.
 */
typedef struct pe_delta_bytes
{
	pe_delta prefixes;
	pe_delta_length suffixes;
	pe_slice last;
	char *kept;
	size_t kept_size;
} pe_delta_bytes;

bool pe_delta_bytes_init(pe_delta_bytes *delta, const uint8_t *bytes, size_t length);
pe_status pe_delta_bytes_next(pe_delta_bytes *delta, pe_arena *arena, size_t *made, pe_slice *out,
                              size_t count, pe_error *err);
bool pe_delta_bytes_keep(pe_delta_bytes *delta, const pe_env *env);

/* PLAIN byte arrays, each after its length; false when they do not fit. */
bool pe_plain_slices(const uint8_t **at, const uint8_t *end, pe_slice *out, size_t count);

/* BYTE_STREAM_SPLIT: values from..from+count-1 of total, each of size bytes. */
void pe_split_values(const uint8_t *bytes, size_t total, size_t size, size_t from, uint8_t *out,
                     size_t count);

/* INT96 (nanoseconds of the day, Julian day) to microseconds since 1970, saturated. */
int64_t pe_int96_micros(const uint8_t *bytes);

#endif /* PE_ENCODING_H */
