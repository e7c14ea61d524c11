/*
 * convert.c
 *		Conversions of arrays: see convert.h. One switch, then a plain loop.
 */
#include <math.h>

#include "snapshot/convert.h"
#include "snapshot/text.h"

/* PostgreSQL's ranges, from the epoch of Unix: 4714-11-24 BC on, to 5874897-12-31. */
#define MIN_DATE      (-2440588)
#define MAX_DATE      2145042905
#define DAY_MICROS    INT64_C(86400000000)
#define MIN_TIMESTAMP (MIN_DATE * DAY_MICROS)

/* Integers up to here are exact as doubles. */
#define MAX_EXACT (INT64_C(1) << 53)

static const char beyond_integer[] = "a number beyond the range of integer";
static const char beyond_bigint[] = "a number beyond the range of bigint";
static const char beyond_double[] = "an integer that double precision cannot hold exactly";
static const char beyond_date[] = "a date beyond the range of date";
static const char beyond_timestamp[] = "a timestamp beyond the range of timestamptz";

size_t
pe_column_type_size(pe_column_type type)
{
	switch (type)
	{
		case PE_COLUMN_BOOL:
			return sizeof(bool);
		case PE_COLUMN_INT32:
		case PE_COLUMN_DATE:
			return 4;
		case PE_COLUMN_INT64:
		case PE_COLUMN_TIMESTAMP:
		case PE_COLUMN_DOUBLE:
			return 8;
		default:
			return sizeof(pe_slice);
	}
}

const char *
pe_column_type_name(pe_column_type type)
{
	static const char *const names[] = {[PE_COLUMN_AUTO] = "its own type",
	                                    [PE_COLUMN_BOOL] = "boolean",
	                                    [PE_COLUMN_INT32] = "integer",
	                                    [PE_COLUMN_INT64] = "bigint",
	                                    [PE_COLUMN_DOUBLE] = "double precision",
	                                    [PE_COLUMN_DATE] = "date",
	                                    [PE_COLUMN_TIMESTAMP] = "timestamp with time zone",
	                                    [PE_COLUMN_TEXT] = "text",
	                                    [PE_COLUMN_NUMERIC] = "numeric",
	                                    [PE_COLUMN_BYTES] = "bytea",
	                                    [PE_COLUMN_JSON] = "jsonb"};

	return names[type];
}

static bool
is_integer(pe_meaning meaning)
{
	return meaning == PE_MEANS_INT32 || meaning == PE_MEANS_UINT32 || meaning == PE_MEANS_INT64 ||
	       meaning == PE_MEANS_UINT64;
}

static bool
is_float(pe_meaning meaning)
{
	return meaning == PE_MEANS_FLOAT || meaning == PE_MEANS_DOUBLE || meaning == PE_MEANS_FLOAT16;
}

bool
pe_convert_possible(const pe_leaf *leaf, pe_column_type type)
{
	pe_meaning meaning = leaf->meaning;

	if (meaning == PE_MEANS_NULL || type == PE_COLUMN_AUTO || type == PE_COLUMN_TEXT)
		return true;
	switch (type)
	{
		case PE_COLUMN_BOOL:
			return meaning == PE_MEANS_BOOL;
		case PE_COLUMN_INT32:
		case PE_COLUMN_INT64:
			return is_integer(meaning);
		case PE_COLUMN_DOUBLE:
			return is_integer(meaning) || is_float(meaning);
		case PE_COLUMN_NUMERIC:
			return is_integer(meaning) || is_float(meaning) || meaning == PE_MEANS_DECIMAL;
		case PE_COLUMN_DATE:
			return meaning == PE_MEANS_DATE;
		case PE_COLUMN_TIMESTAMP:
			return meaning == PE_MEANS_TIMESTAMP || meaning == PE_MEANS_DATE;
		case PE_COLUMN_BYTES:
			return meaning == PE_MEANS_BYTES || meaning == PE_MEANS_TEXT || meaning == PE_MEANS_JSON;
		default:
			return meaning == PE_MEANS_JSON;
	}
}

typedef struct conversion
{
	const pe_leaf *leaf;
	const void *values;
	size_t count;
	size_t bad;
	const char *fault;
} conversion;

static pe_status
fault_at(conversion *c, size_t index, const char *fault, pe_status status)
{
	c->bad = index;
	c->fault = fault;
	return status;
}

static pe_status
to_int32(conversion *c, int32_t *out)
{
	const char *values = c->values;
	size_t size = pe_leaf_value_size(c->leaf);

	if (c->leaf->meaning == PE_MEANS_INT32)
	{
		memcpy(out, values, c->count * sizeof(int32_t));
		return PE_OK;
	}
	for (size_t i = 0; i < c->count; i++)
	{
		int64_t value;

		if (!pe_value_int64(c->leaf, values + i * size, &value) || value < INT32_MIN || value > INT32_MAX)
			return fault_at(c, i, beyond_integer, PE_TYPE_MISMATCH);
		out[i] = (int32_t) value;
	}
	return PE_OK;
}

static pe_status
to_int64(conversion *c, int64_t *out)
{
	const int32_t *narrow = c->values;
	const int64_t *wide = c->values;

	switch (c->leaf->meaning)
	{
		case PE_MEANS_INT32:
			for (size_t i = 0; i < c->count; i++)
				out[i] = narrow[i];
			break;
		case PE_MEANS_UINT32:
			for (size_t i = 0; i < c->count; i++)
				out[i] = (uint32_t) narrow[i];
			break;
		case PE_MEANS_UINT64:
			for (size_t i = 0; i < c->count; i++)
			{
				if (wide[i] < 0)
					return fault_at(c, i, beyond_bigint, PE_TYPE_MISMATCH);
			}
			/* FALLTHROUGH */
		default:
			memcpy(out, wide, c->count * sizeof(int64_t));
			break;
	}
	return PE_OK;
}

static pe_status
to_double(conversion *c, double *out)
{
	const float *floats = c->values;
	const int32_t *narrow = c->values;
	const int64_t *wide = c->values;
	const pe_slice *slices = c->values;

	switch (c->leaf->meaning)
	{
		case PE_MEANS_DOUBLE:
			memcpy(out, c->values, c->count * sizeof(double));
			break;
		case PE_MEANS_FLOAT:
			for (size_t i = 0; i < c->count; i++)
				out[i] = floats[i];
			break;
		case PE_MEANS_FLOAT16:
			for (size_t i = 0; i < c->count; i++)
				out[i] = pe_float16((const uint8_t *) slices[i].data);
			break;
		case PE_MEANS_INT32:
			for (size_t i = 0; i < c->count; i++)
				out[i] = narrow[i];
			break;
		case PE_MEANS_UINT32:
			for (size_t i = 0; i < c->count; i++)
				out[i] = (uint32_t) narrow[i];
			break;
		default:
			for (size_t i = 0; i < c->count; i++)
			{
				if (wide[i] > MAX_EXACT || wide[i] < (c->leaf->meaning == PE_MEANS_UINT64 ? 0 : -MAX_EXACT))
					return fault_at(c, i, beyond_double, PE_TYPE_MISMATCH);
				out[i] = (double) wide[i];
			}
			break;
	}
	return PE_OK;
}

static pe_status
to_date(conversion *c, int32_t *out)
{
	const int32_t *days = c->values;

	for (size_t i = 0; i < c->count; i++)
	{
		if (days[i] < MIN_DATE || days[i] > MAX_DATE)
			return fault_at(c, i, beyond_date, PE_INVALID_DATA);
		out[i] = days[i];
	}
	return PE_OK;
}

static pe_status
to_timestamp(conversion *c, int64_t *out)
{
	const int32_t *days = c->values;
	const int64_t *units = c->values;
	bool over = false;

	for (size_t i = 0; i < c->count; i++)
	{
		if (c->leaf->meaning == PE_MEANS_DATE)
			over = __builtin_mul_overflow((int64_t) days[i], DAY_MICROS, &out[i]);
		else if (c->leaf->unit_digits == 3)
			over = __builtin_mul_overflow(units[i], 1000, &out[i]);
		else if (c->leaf->unit_digits == 9)
			out[i] = units[i] / 1000 - (units[i] % 1000 < 0);
		else
		{
			out[i] = units[i];
			/* INT96 saturates when it is decoded. */
			over = c->leaf->physical == PE_PHYSICAL_INT96 && units[i] == INT64_MAX;
		}
		if (over || out[i] < MIN_TIMESTAMP)
			return fault_at(c, i, beyond_timestamp, PE_INVALID_DATA);
	}
	return PE_OK;
}

static pe_status
check_text(conversion *c, bool json)
{
	const pe_slice *slices = c->values;

	for (size_t i = 0; i < c->count; i++)
	{
		if (!pe_text_valid(slices[i].data, slices[i].length))
			return fault_at(c, i, pe_text_fault(slices[i].data, slices[i].length), PE_INVALID_DATA);
		if (json && !pe_json_valid(slices[i].data, slices[i].length))
			return fault_at(c, i, "text that is not valid JSON", PE_INVALID_DATA);
	}
	return PE_OK;
}

/* Every value written out as text into the arena. */
static pe_status
render(conversion *c, pe_arena *arena, pe_slice *out)
{
	size_t size = pe_leaf_value_size(c->leaf);
	pe_buffer buffer;
	pe_status status = PE_OK;

	pe_buffer_init(&buffer, arena->env);
	for (size_t i = 0; i < c->count && status == PE_OK; i++)
	{
		const char *fault;
		char *copy;

		buffer.length = 0;
		fault = pe_value_text(c->leaf, (const char *) c->values + i * size, &buffer);
		if (fault != NULL)
		{
			status = fault_at(c, i, fault, PE_INVALID_DATA);
			break;
		}
		copy = buffer.failed ? NULL : pe_arena_alloc(arena, buffer.length);
		if (copy == NULL)
		{
			status = PE_OUT_OF_MEMORY;
			break;
		}
		if (buffer.length > 0)
			memcpy(copy, buffer.data, buffer.length);
		out[i].data = copy;
		out[i].length = buffer.length;
	}
	pe_buffer_free(&buffer);
	return status;
}

static pe_status
to_slices(conversion *c, pe_column_type type, bool clean, pe_arena *arena, pe_slice *out)
{
	pe_meaning meaning = c->leaf->meaning;
	bool stored = meaning == PE_MEANS_TEXT || meaning == PE_MEANS_JSON || meaning == PE_MEANS_BYTES;
	pe_status status;

	if (!stored)
		return render(c, arena, out);
	/* Bytes without an annotation are read as text when text is asked for. */
	if (type != PE_COLUMN_BYTES && (!clean || type == PE_COLUMN_JSON))
	{
		status = check_text(c, type == PE_COLUMN_JSON);
		if (status != PE_OK)
			return status;
	}
	memcpy(out, c->values, c->count * sizeof(pe_slice));
	return PE_OK;
}

pe_status
pe_convert(const pe_leaf *leaf, pe_column_type type, const void *values, size_t count, bool clean,
           pe_arena *arena, void *out, size_t *bad, const char **fault)
{
	conversion c = {.leaf = leaf, .values = values, .count = count};
	pe_status status = PE_OK;

	if (count == 0)
		return PE_OK;
	if (leaf->meaning == PE_MEANS_NULL)
	{
		*bad = 0;
		*fault = "a value, though its type says there are only nulls";
		return PE_INVALID_DATA;
	}
	switch (type)
	{
		case PE_COLUMN_BOOL:
			memcpy(out, values, count);
			break;
		case PE_COLUMN_INT32:
			status = to_int32(&c, out);
			break;
		case PE_COLUMN_INT64:
			status = to_int64(&c, out);
			break;
		case PE_COLUMN_DOUBLE:
			status = to_double(&c, out);
			break;
		case PE_COLUMN_DATE:
			status = to_date(&c, out);
			break;
		case PE_COLUMN_TIMESTAMP:
			status = to_timestamp(&c, out);
			break;
		default:
			status = to_slices(&c, type, clean, arena, out);
			break;
	}
	*bad = c.bad;
	*fault = c.fault;
	return status;
}

#define SPREAD(item_type)                                                                                    \
	do                                                                                                       \
	{                                                                                                        \
		item_type *items = data;                                                                             \
		item_type zero;                                                                                      \
                                                                                                             \
		memset(&zero, 0, sizeof(zero));                                                                      \
		for (size_t i = rows; i-- > 0;)                                                                      \
			items[i] = nulls[i] ? zero : items[--count];                                                     \
	} while (0)

void
pe_spread(pe_column_type type, void *data, size_t count, const bool *nulls, size_t rows)
{
	if (count == rows)
		return;
	if (count == 0)
	{
		memset(data, 0, rows * pe_column_type_size(type));
		return;
	}
	switch (pe_column_type_size(type))
	{
		case 1:
			SPREAD(uint8_t);
			break;
		case 4:
			SPREAD(uint32_t);
			break;
		case 8:
			SPREAD(uint64_t);
			break;
		default:
			SPREAD(pe_slice);
			break;
	}
}
