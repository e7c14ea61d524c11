/*
 * metadata.h
 *		What a Parquet file says about itself: the footer and the page headers,
 *		parsed and checked, but not yet made sense of (schema.h does that).
 */
#ifndef PE_METADATA_H
#define PE_METADATA_H

#include "snapshot/arena.h"
#include "snapshot/snapshot.h"

/* Numbers below are the format's own. */
typedef enum pe_physical
{
	PE_PHYSICAL_NONE = -1, /* a group */
	PE_PHYSICAL_BOOLEAN = 0,
	PE_PHYSICAL_INT32 = 1,
	PE_PHYSICAL_INT64 = 2,
	PE_PHYSICAL_INT96 = 3,
	PE_PHYSICAL_FLOAT = 4,
	PE_PHYSICAL_DOUBLE = 5,
	PE_PHYSICAL_BYTE_ARRAY = 6,
	PE_PHYSICAL_FIXED = 7
} pe_physical;

typedef enum pe_repetition
{
	PE_REQUIRED = 0,
	PE_OPTIONAL = 1,
	PE_REPEATED = 2
} pe_repetition;

typedef enum pe_encoding
{
	PE_ENCODING_PLAIN = 0,
	PE_ENCODING_PLAIN_DICTIONARY = 2,
	PE_ENCODING_RLE = 3,
	PE_ENCODING_BIT_PACKED = 4,
	PE_ENCODING_DELTA_BINARY_PACKED = 5,
	PE_ENCODING_DELTA_LENGTH_BYTE_ARRAY = 6,
	PE_ENCODING_DELTA_BYTE_ARRAY = 7,
	PE_ENCODING_RLE_DICTIONARY = 8,
	PE_ENCODING_BYTE_STREAM_SPLIT = 9
} pe_encoding;

/*
 * What a schema element is annotated as. Logical types and the older converted
 * types are folded into one.
 */
typedef enum pe_annotation
{
	PE_ANNOTATION_NONE = 0,
	PE_ANNOTATION_STRING,
	PE_ANNOTATION_ENUM,
	PE_ANNOTATION_JSON,
	PE_ANNOTATION_BSON,
	PE_ANNOTATION_UUID,
	PE_ANNOTATION_MAP,
	PE_ANNOTATION_MAP_KEY_VALUE,
	PE_ANNOTATION_LIST,
	PE_ANNOTATION_DECIMAL,
	PE_ANNOTATION_DATE,
	PE_ANNOTATION_TIME,
	PE_ANNOTATION_TIMESTAMP,
	PE_ANNOTATION_INTEGER,
	PE_ANNOTATION_INTERVAL,
	PE_ANNOTATION_FLOAT16,
	PE_ANNOTATION_VARIANT,
	PE_ANNOTATION_NULL
} pe_annotation;

typedef struct pe_element
{
	const char *name; /* in the footer's bytes: not terminated */
	size_t name_length;
	pe_physical physical;
	pe_repetition repetition;
	pe_annotation annotation;
	int32_t type_length; /* of PE_PHYSICAL_FIXED */
	int32_t children;
	int32_t scale;
	int32_t precision;
	int unit_digits;  /* times and timestamps: 3, 6 or 9 */
	int integer_bits; /* PE_ANNOTATION_INTEGER: 8, 16, 32, 64 */
	bool integer_signed;
} pe_element;

/* One column of one row group. */
typedef struct pe_chunk
{
	int32_t physical;
	int32_t codec;
	int64_t values;
	int64_t compressed;   /* bytes, all pages with headers */
	int64_t uncompressed; /* a claim: for guessing only */
	int64_t nulls;        /* -1: not said */
	uint64_t offset;      /* of the first page */
	bool encrypted;
	bool elsewhere; /* in another file */
} pe_chunk;

typedef struct pe_row_group
{
	const uint8_t *bytes; /* its struct in the footer, parsed again when its turn comes */
	size_t length;
	int64_t rows;
} pe_row_group;

typedef struct pe_metadata
{
	uint8_t *footer;
	pe_element *elements; /* the schema, depth first; elements[0] is the root */
	size_t element_count;
	pe_row_group *row_groups;
	size_t row_group_count;
	int64_t rows;      /* sum over the row groups */
	uint64_t data_end; /* file offset behind the last byte that can be a page */
} pe_metadata;

pe_status pe_metadata_read(const pe_env *env, const pe_snapshot_source *source, pe_metadata *metadata,
                           pe_error *err);
void pe_metadata_free(const pe_env *env, pe_metadata *metadata);

/* The chunks of a row group, exactly count of them. */
pe_status pe_metadata_chunks(const pe_metadata *metadata, const pe_snapshot_source *source, size_t row_group,
                             pe_chunk *chunks, size_t count, pe_error *err);

typedef enum pe_page_kind
{
	PE_PAGE_DATA = 0,
	PE_PAGE_INDEX = 1,
	PE_PAGE_DICTIONARY = 2,
	PE_PAGE_DATA_V2 = 3
} pe_page_kind;

typedef struct pe_page_header
{
	int32_t kind;
	int32_t uncompressed;
	int32_t compressed;
	bool has_crc;
	uint32_t crc;
	int32_t values;
	int32_t encoding;
	int32_t def_encoding; /* version 1 */
	int32_t rep_encoding;
	int32_t def_bytes; /* version 2 */
	int32_t rep_bytes;
	bool is_compressed;
} pe_page_header;

/*
 * Parse a page header: bytes used, 0 when more bytes are needed, -1 when it is
 * none. Sizes and counts come back non-negative, nothing else is promised.
 */
int pe_page_header_parse(const uint8_t *bytes, size_t length, pe_page_header *header);

#endif /* PE_METADATA_H */
