/*
 * metadata.c
 *		The footer and the page headers: see metadata.h.
 *
 * Row groups are kept as byte ranges of the footer and parsed when read: a wide
 * file of many row groups has a million column chunks, of which one row group's
 * are needed at a time.
 */
#include "snapshot/metadata.h"
#include "snapshot/thrift.h"

#define TAIL_BYTES   8 /* footer length and magic */
#define MAX_ELEMENTS ((size_t) 4 * PE_SNAPSHOT_MAX_LEAVES)

static pe_status
corrupt_footer(const pe_snapshot_source *source, const char *what, pe_error *err)
{
	return pe_fail(err, PE_CORRUPT, "Parquet file \"%s\": %s", source->name, what);
}

/* TimeUnit is a union: 1 milliseconds, 2 microseconds, 3 nanoseconds. */
static int
parse_unit(pe_thrift *in)
{
	pe_thrift_struct field = pe_thrift_begin(in);
	int digits = 0;

	while (pe_thrift_next(in, &field))
	{
		if (field.id >= 1 && field.id <= 3)
			digits = 3 * field.id;
		pe_thrift_skip(in, &field);
	}
	return digits;
}

/* The inside of a logical type that has fields of its own. */
static void
parse_logical_details(pe_thrift *in, int id, pe_element *element)
{
	pe_thrift_struct field = pe_thrift_begin(in);

	while (pe_thrift_next(in, &field))
	{
		if (id == 5 && field.id == 1)
			element->scale = pe_thrift_int32(in, &field);
		else if (id == 5 && field.id == 2)
			element->precision = pe_thrift_int32(in, &field);
		else if ((id == 7 || id == 8) && field.id == 2 && field.type == PE_THRIFT_STRUCT)
			element->unit_digits = parse_unit(in);
		else if (id == 10 && field.id == 1)
			element->integer_bits = (int) pe_thrift_int(in, &field);
		else if (id == 10 && field.id == 2)
			element->integer_signed = pe_thrift_bool(in, &field);
		else
			pe_thrift_skip(in, &field);
	}
}

/* LogicalType, a union; a member we do not know leaves the annotation as it is. */
static void
parse_logical(pe_thrift *in, pe_element *element)
{
	static const pe_annotation by_id[] = {
	    [1] = PE_ANNOTATION_STRING, [2] = PE_ANNOTATION_MAP,       [3] = PE_ANNOTATION_LIST,
	    [4] = PE_ANNOTATION_ENUM,   [5] = PE_ANNOTATION_DECIMAL,   [6] = PE_ANNOTATION_DATE,
	    [7] = PE_ANNOTATION_TIME,   [8] = PE_ANNOTATION_TIMESTAMP, [10] = PE_ANNOTATION_INTEGER,
	    [11] = PE_ANNOTATION_NULL,  [12] = PE_ANNOTATION_JSON,     [13] = PE_ANNOTATION_BSON,
	    [14] = PE_ANNOTATION_UUID,  [15] = PE_ANNOTATION_FLOAT16,  [16] = PE_ANNOTATION_VARIANT};
	pe_thrift_struct field = pe_thrift_begin(in);

	while (pe_thrift_next(in, &field))
	{
		if (field.id >= 1 && field.id <= 16 && field.id != 9 && field.type == PE_THRIFT_STRUCT)
		{
			element->annotation = by_id[field.id];
			parse_logical_details(in, field.id, element);
		}
		else
			pe_thrift_skip(in, &field);
	}
}

static void
set_time(pe_element *element, pe_annotation annotation, int digits)
{
	element->annotation = annotation;
	element->unit_digits = digits;
}

static void
set_converted(pe_element *element, int32_t converted)
{
	static const pe_annotation plain[] = {
	    [0] = PE_ANNOTATION_STRING,   [1] = PE_ANNOTATION_MAP,   [2] = PE_ANNOTATION_MAP_KEY_VALUE,
	    [3] = PE_ANNOTATION_LIST,     [4] = PE_ANNOTATION_ENUM,  [5] = PE_ANNOTATION_DECIMAL,
	    [6] = PE_ANNOTATION_DATE,     [19] = PE_ANNOTATION_JSON, [20] = PE_ANNOTATION_BSON,
	    [21] = PE_ANNOTATION_INTERVAL};

	switch (converted)
	{
		case 7:
		case 8:
			set_time(element, PE_ANNOTATION_TIME, converted == 7 ? 3 : 6);
			break;
		case 9:
		case 10:
			set_time(element, PE_ANNOTATION_TIMESTAMP, converted == 9 ? 3 : 6);
			break;
		case 11: /* UINT_8 ... UINT_64, INT_8 ... INT_64 */
		case 12:
		case 13:
		case 14:
		case 15:
		case 16:
		case 17:
		case 18:
			element->annotation = PE_ANNOTATION_INTEGER;
			element->integer_bits = 8 << ((converted - 11) % 4);
			element->integer_signed = converted >= 15;
			break;
		default:
			if (converted >= 0 && converted < (int32_t) (sizeof(plain) / sizeof(plain[0])))
				element->annotation = plain[converted];
			break;
	}
}

static void
parse_element(pe_thrift *in, pe_element *element)
{
	pe_thrift_struct field = pe_thrift_begin(in);
	pe_element logical = {0};
	int32_t converted = -1;
	bool leaf = false;

	memset(element, 0, sizeof(*element));
	element->name = "";
	element->physical = PE_PHYSICAL_NONE;
	while (pe_thrift_next(in, &field))
	{
		switch (field.id)
		{
			case 1:
				element->physical = (pe_physical) pe_thrift_int32(in, &field);
				leaf = true;
				break;
			case 2:
				element->type_length = pe_thrift_int32(in, &field);
				break;
			case 3:
				element->repetition = (pe_repetition) pe_thrift_int32(in, &field);
				break;
			case 4:
				element->name = (const char *) pe_thrift_binary(in, &field, &element->name_length);
				break;
			case 5:
				element->children = pe_thrift_int32(in, &field);
				break;
			case 6:
				converted = pe_thrift_int32(in, &field);
				break;
			case 7:
				element->scale = pe_thrift_int32(in, &field);
				break;
			case 8:
				element->precision = pe_thrift_int32(in, &field);
				break;
			case 10:
				if (pe_thrift_is_struct(in, &field))
					parse_logical(in, &logical);
				break;
			default:
				pe_thrift_skip(in, &field);
				break;
		}
	}
	if (leaf && ((int) element->physical < 0 || element->physical > PE_PHYSICAL_FIXED))
		in->failed = true;
	if ((int) element->repetition < 0 || element->repetition > PE_REPEATED)
		in->failed = true;
	/* Writers state both for old readers' sake; the logical type says more. */
	set_converted(element, converted);
	if (logical.annotation == PE_ANNOTATION_NONE)
		return;
	element->annotation = logical.annotation;
	element->unit_digits = logical.unit_digits;
	element->integer_bits = logical.integer_bits;
	element->integer_signed = logical.integer_signed;
	if (logical.annotation == PE_ANNOTATION_DECIMAL)
	{
		element->scale = logical.scale;
		element->precision = logical.precision;
	}
}

/* Grow array to hold one more item of size bytes; counts are bounded by the footer's length. */
static bool
reserve(const pe_env *env, void **array, size_t *capacity, size_t count, size_t size)
{
	size_t wanted;
	void *grown;

	if (count < *capacity)
		return true;
	wanted = *capacity == 0 ? 32 : *capacity * 2;
	grown = pe_realloc(env, *array, wanted * size);
	if (grown == NULL)
		return false;
	*array = grown;
	*capacity = wanted;
	return true;
}

static pe_status
parse_schema(const pe_env *env, pe_thrift *in, const pe_thrift_struct *field, pe_metadata *metadata,
             pe_error *err)
{
	size_t count = pe_thrift_struct_list(in, field);
	size_t capacity = 0;

	if (count > MAX_ELEMENTS || metadata->elements != NULL)
		return pe_fail(err, PE_LIMIT, "Parquet schema has %zu elements, more than %zu", count, MAX_ELEMENTS);
	for (size_t i = 0; i < count && !in->failed; i++)
	{
		if (!reserve(env, (void **) &metadata->elements, &capacity, i, sizeof(pe_element)))
			return pe_fail_memory(err);
		parse_element(in, &metadata->elements[i]);
		metadata->element_count = i + 1;
	}
	pe_thrift_list_end(in);
	return PE_OK;
}

/* The rows of a row group; its columns are stepped over. */
static int64_t
parse_row_count(pe_thrift *in)
{
	pe_thrift_struct field = pe_thrift_begin(in);
	int64_t rows = -1;

	while (pe_thrift_next(in, &field))
	{
		if (field.id == 3)
			rows = pe_thrift_int(in, &field);
		else
			pe_thrift_skip(in, &field);
	}
	return rows;
}

static pe_status
parse_row_groups(const pe_env *env, pe_thrift *in, const pe_thrift_struct *field, pe_metadata *metadata,
                 pe_error *err)
{
	size_t count = pe_thrift_struct_list(in, field);
	size_t capacity = 0;

	if (metadata->row_groups != NULL)
	{
		in->failed = true;
		return PE_OK;
	}
	for (size_t i = 0; i < count && !in->failed; i++)
	{
		pe_row_group *group;

		if (!reserve(env, (void **) &metadata->row_groups, &capacity, i, sizeof(pe_row_group)))
			return pe_fail_memory(err);
		if (pe_stopped(env, "reading", 0, 0))
			return pe_fail(err, PE_CANCELLED, "cancelled");
		group = &metadata->row_groups[i];
		group->bytes = in->at;
		group->rows = parse_row_count(in);
		group->length = (size_t) (in->at - group->bytes);
		if (group->rows < 0 || __builtin_add_overflow(metadata->rows, group->rows, &metadata->rows))
			in->failed = true;
		metadata->row_group_count = i + 1;
	}
	pe_thrift_list_end(in);
	return PE_OK;
}

static pe_status
parse_file(const pe_env *env, const pe_snapshot_source *source, size_t length, pe_metadata *metadata,
           pe_error *err)
{
	pe_thrift in;
	pe_thrift_struct field;
	bool encrypted = false;

	pe_thrift_init(&in, metadata->footer, length);
	field = pe_thrift_begin(&in);
	while (pe_thrift_next(&in, &field))
	{
		pe_status status = PE_OK;

		if (field.id == 2)
			status = parse_schema(env, &in, &field, metadata, err);
		else if (field.id == 4)
			status = parse_row_groups(env, &in, &field, metadata, err);
		else
		{
			encrypted = encrypted || field.id == 8;
			pe_thrift_skip(&in, &field);
		}
		if (status != PE_OK)
			return status;
	}
	if (in.failed)
		return corrupt_footer(source, "the footer does not parse", err);
	if (metadata->element_count == 0)
		return corrupt_footer(source, "the footer has no schema", err);
	if (encrypted)
		return pe_fail(err, PE_UNSUPPORTED, "Parquet file \"%s\" is encrypted", source->name);
	return PE_OK;
}

static pe_status
read_footer(const pe_env *env, const pe_snapshot_source *source, pe_metadata *metadata, pe_error *err)
{
	uint8_t tail[TAIL_BYTES];
	uint32_t length;

	if (source->size < 4 + TAIL_BYTES)
		return corrupt_footer(source, "too short for a Parquet file", err);
	if (!source->read(source->ctx, source->size - TAIL_BYTES, tail, TAIL_BYTES))
		return pe_fail(err, PE_IO, "could not read file \"%s\"", source->name);
	if (memcmp(tail + 4, "PARE", 4) == 0)
		return pe_fail(err, PE_UNSUPPORTED, "Parquet file \"%s\" is encrypted", source->name);
	if (memcmp(tail + 4, "PAR1", 4) != 0)
		return corrupt_footer(source, "it does not end as a Parquet file does (cut off, or another format)",
		                      err);
	length =
	    (uint32_t) tail[0] | (uint32_t) tail[1] << 8 | (uint32_t) tail[2] << 16 | (uint32_t) tail[3] << 24;
	if (length > source->size - 4 - TAIL_BYTES)
		return corrupt_footer(source, "the footer is said to be longer than the file", err);
	if (length > PE_SNAPSHOT_MAX_FOOTER)
		return pe_fail(err, PE_LIMIT, "Parquet file \"%s\" has a footer of %u bytes, more than %u",
		               source->name, length, PE_SNAPSHOT_MAX_FOOTER);
	metadata->data_end = source->size - TAIL_BYTES - length;
	metadata->footer = pe_alloc(env, length);
	if (metadata->footer == NULL)
		return pe_fail_memory(err);
	if (!source->read(source->ctx, metadata->data_end, metadata->footer, length))
		return pe_fail(err, PE_IO, "could not read file \"%s\"", source->name);
	return parse_file(env, source, length, metadata, err);
}

pe_status
pe_metadata_read(const pe_env *env, const pe_snapshot_source *source, pe_metadata *metadata, pe_error *err)
{
	pe_status status;

	memset(metadata, 0, sizeof(*metadata));
	status = read_footer(env, source, metadata, err);
	if (status != PE_OK)
		pe_metadata_free(env, metadata);
	return status;
}

void
pe_metadata_free(const pe_env *env, pe_metadata *metadata)
{
	pe_free(env, metadata->footer);
	pe_free(env, metadata->elements);
	pe_free(env, metadata->row_groups);
	memset(metadata, 0, sizeof(*metadata));
}

static int64_t
parse_null_count(pe_thrift *in)
{
	pe_thrift_struct field = pe_thrift_begin(in);
	int64_t nulls = -1;

	while (pe_thrift_next(in, &field))
	{
		if (field.id == 3)
			nulls = pe_thrift_int(in, &field);
		else
			pe_thrift_skip(in, &field);
	}
	return nulls;
}

/* ColumnMetaData; offsets are checked by the caller. */
static void
parse_chunk_metadata(pe_thrift *in, pe_chunk *chunk, int64_t *data_offset, int64_t *dictionary_offset)
{
	pe_thrift_struct field = pe_thrift_begin(in);

	while (pe_thrift_next(in, &field))
	{
		switch (field.id)
		{
			case 1:
				chunk->physical = pe_thrift_int32(in, &field);
				break;
			case 4:
				chunk->codec = pe_thrift_int32(in, &field);
				break;
			case 5:
				chunk->values = pe_thrift_int(in, &field);
				break;
			case 6:
				chunk->uncompressed = pe_thrift_int(in, &field);
				break;
			case 7:
				chunk->compressed = pe_thrift_int(in, &field);
				break;
			case 9:
				*data_offset = pe_thrift_int(in, &field);
				break;
			case 11:
				*dictionary_offset = pe_thrift_int(in, &field);
				break;
			case 12:
				if (pe_thrift_is_struct(in, &field))
					chunk->nulls = parse_null_count(in);
				break;
			default:
				pe_thrift_skip(in, &field);
				break;
		}
	}
}

static void
parse_chunk(pe_thrift *in, pe_chunk *chunk)
{
	pe_thrift_struct field = pe_thrift_begin(in);
	int64_t data_offset = -1;
	int64_t dictionary_offset = 0;
	bool present = false;

	memset(chunk, 0, sizeof(*chunk));
	chunk->nulls = -1;
	while (pe_thrift_next(in, &field))
	{
		if (field.id == 3 && pe_thrift_is_struct(in, &field))
		{
			parse_chunk_metadata(in, chunk, &data_offset, &dictionary_offset);
			present = true;
			continue;
		}
		if (field.id == 8)
			chunk->encrypted = true;
		if (field.id == 1 && field.type == PE_THRIFT_BINARY)
			chunk->elsewhere = true;
		pe_thrift_skip(in, &field);
	}
	/* An encrypted column has its metadata elsewhere; it is refused when it is asked for. */
	if (!present && chunk->encrypted)
		return;
	if (!present || data_offset < 0 || chunk->values < 0 || chunk->compressed < 0)
		in->failed = true;
	/* Some writers say 0 for "no dictionary", and some forget to say that there is one. */
	chunk->offset = (uint64_t) data_offset;
	if (dictionary_offset > 0 && dictionary_offset < data_offset)
		chunk->offset = (uint64_t) dictionary_offset;
}

pe_status
pe_metadata_chunks(const pe_metadata *metadata, const pe_snapshot_source *source, size_t row_group,
                   pe_chunk *chunks, size_t count, pe_error *err)
{
	const pe_row_group *group = &metadata->row_groups[row_group];
	size_t found = 0;
	pe_thrift in;
	pe_thrift_struct field;

	pe_thrift_init(&in, group->bytes, group->length);
	field = pe_thrift_begin(&in);
	while (pe_thrift_next(&in, &field))
	{
		if (field.id != 1 || found != 0)
		{
			pe_thrift_skip(&in, &field);
			continue;
		}
		found = pe_thrift_struct_list(&in, &field);
		for (size_t i = 0; i < found && i < count && !in.failed; i++)
			parse_chunk(&in, &chunks[i]);
		if (found != count)
			break;
		pe_thrift_list_end(&in);
	}
	if (in.failed || found != count)
		return pe_fail(err, PE_CORRUPT,
		               "Parquet file \"%s\": row group %zu does not describe the %zu columns", source->name,
		               row_group + 1, count);
	return PE_OK;
}

/* The header of a data page of version 1, or of a dictionary, which has the first two fields only. */
static void
parse_data_header(pe_thrift *in, pe_page_header *header, bool dictionary)
{
	pe_thrift_struct field = pe_thrift_begin(in);

	while (pe_thrift_next(in, &field))
	{
		if (field.id == 1)
			header->values = pe_thrift_int32(in, &field);
		else if (field.id == 2)
			header->encoding = pe_thrift_int32(in, &field);
		else if (field.id == 3 && !dictionary)
			header->def_encoding = pe_thrift_int32(in, &field);
		else if (field.id == 4 && !dictionary)
			header->rep_encoding = pe_thrift_int32(in, &field);
		else
			pe_thrift_skip(in, &field);
	}
}

static void
parse_data_header_v2(pe_thrift *in, pe_page_header *header)
{
	pe_thrift_struct field = pe_thrift_begin(in);

	while (pe_thrift_next(in, &field))
	{
		if (field.id == 1)
			header->values = pe_thrift_int32(in, &field);
		else if (field.id == 4)
			header->encoding = pe_thrift_int32(in, &field);
		else if (field.id == 5)
			header->def_bytes = pe_thrift_int32(in, &field);
		else if (field.id == 6)
			header->rep_bytes = pe_thrift_int32(in, &field);
		else if (field.id == 7)
			header->is_compressed = pe_thrift_bool(in, &field);
		else
			pe_thrift_skip(in, &field);
	}
}

int
pe_page_header_parse(const uint8_t *bytes, size_t length, pe_page_header *header)
{
	pe_thrift in;
	pe_thrift_struct field;
	int details = -1;

	memset(header, 0, sizeof(*header));
	header->kind = -1;
	header->is_compressed = true;
	pe_thrift_init(&in, bytes, length);
	field = pe_thrift_begin(&in);
	while (pe_thrift_next(&in, &field))
	{
		if (field.id == 1)
			header->kind = pe_thrift_int32(&in, &field);
		else if (field.id == 2)
			header->uncompressed = pe_thrift_int32(&in, &field);
		else if (field.id == 3)
			header->compressed = pe_thrift_int32(&in, &field);
		else if (field.id == 4)
		{
			header->crc = (uint32_t) pe_thrift_int32(&in, &field);
			header->has_crc = true;
		}
		else if ((field.id == 5 || field.id == 7) && pe_thrift_is_struct(&in, &field))
		{
			parse_data_header(&in, header, field.id == 7);
			details = field.id == 5 ? PE_PAGE_DATA : PE_PAGE_DICTIONARY;
		}
		else if (field.id == 8 && pe_thrift_is_struct(&in, &field))
		{
			parse_data_header_v2(&in, header);
			details = PE_PAGE_DATA_V2;
		}
		else
			pe_thrift_skip(&in, &field);
	}
	if (in.failed)
		return in.ended ? 0 : -1;
	if (header->kind != PE_PAGE_INDEX && (header->kind < 0 || header->kind != details))
		return -1;
	if (header->uncompressed < 0 || header->compressed < 0 || header->values < 0 || header->def_bytes < 0 ||
	    header->rep_bytes < 0)
		return -1;
	return (int) (in.at - bytes);
}
