/*
 * wire_value.c
 *		From a row of an enrichment's source to the JSON text that goes on the wire.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "common/shortest_dec.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "pg/compat.h"
#include "pg/json_shape.h"
#include "pg/wire_value.h"

/* The platform's limits: a long is a JSON number, and a fragment's arrays are bounded. */
#define MAX_SAFE_INTEGER INT64CONST(9007199254740992)
#define MAX_ARRAY_ITEMS  500

typedef enum Written
{
	WRITTEN,
	ABSENT,
	REFUSED
} Written;

void
pe_wire_column_init(PeWireColumn *wire, int column, const char *name, Oid type, const char *shape)
{
	Oid output;
	bool varlena;

	memset(wire, 0, sizeof(*wire));
	wire->column = column;
	wire->name = name;
	wire->type = getBaseType(type);
	wire->element = get_element_type(wire->type);
	if (OidIsValid(wire->element))
	{
		get_typlenbyvalalign(wire->element, &wire->element_length, &wire->element_by_value,
		                     &wire->element_align);
		wire->element = getBaseType(wire->element);
	}
	getTypeOutputInfo(OidIsValid(wire->element) ? wire->element : wire->type, &output, &varlena);
	fmgr_info(output, &wire->output);
	if (wire->type == JSONBOID)
		wire->shape = pe_json_shape(shape);
}

static Written
append_integer(StringInfo buffer, int64 value, const char **reason)
{
	if (value > MAX_SAFE_INTEGER || value < -MAX_SAFE_INTEGER)
	{
		*reason = "integer beyond 2^53";
		return REFUSED;
	}
	appendStringInfo(buffer, INT64_FORMAT, value);
	return WRITTEN;
}

static Written
append_double(StringInfo buffer, double value, bool single)
{
	char text[DOUBLE_SHORTEST_DECIMAL_LEN];

	if (isnan(value) || isinf(value))
		return ABSENT;
	if (single)
		float_to_shortest_decimal_buf((float) value, text);
	else
		double_to_shortest_decimal_buf(value, text);
	appendStringInfoString(buffer, text);
	return WRITTEN;
}

static Written
append_numeric(StringInfo buffer, Datum value)
{
	if (numeric_is_nan(DatumGetNumeric(value)) || numeric_is_inf(DatumGetNumeric(value)))
		return ABSENT;
	appendStringInfoString(buffer, DatumGetCString(DirectFunctionCall1(numeric_out, value)));
	return WRITTEN;
}

/* RFC 3339 has years 0001 to 9999 only. */
static bool
year_fits(int year)
{
	return year >= 1 && year <= 9999;
}

static Written
append_date(StringInfo buffer, DateADT date, const char **reason)
{
	int year, month, day;

	if (DATE_NOT_FINITE(date))
		return ABSENT;
	j2date(date + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	if (!year_fits(year))
	{
		*reason = "date outside years 1 to 9999";
		return REFUSED;
	}
	appendStringInfo(buffer, "\"%04d-%02d-%02d\"", year, month, day);
	return WRITTEN;
}

static Written
append_timestamp(StringInfo buffer, Timestamp timestamp, const char **reason)
{
	struct pg_tm tm;
	fsec_t fraction;

	if (TIMESTAMP_NOT_FINITE(timestamp))
		return ABSENT;
	if (timestamp2tm(timestamp, NULL, &tm, &fraction, NULL, NULL) != 0 || !year_fits(tm.tm_year))
	{
		*reason = "date outside years 1 to 9999";
		return REFUSED;
	}
	appendStringInfo(buffer, "\"%04d-%02d-%02dT%02d:%02d:%02d", tm.tm_year, tm.tm_mon, tm.tm_mday, tm.tm_hour,
	                 tm.tm_min, tm.tm_sec);
	if (fraction != 0)
		appendStringInfo(buffer, ".%06d", (int) fraction);
	appendStringInfoString(buffer, "Z\"");
	return WRITTEN;
}

static Written
append_jsonb(StringInfo buffer, const PeWireColumn *wire, Datum value, const char **reason)
{
	Jsonb *stripped = DatumGetJsonbP(DirectFunctionCall1(jsonb_strip_nulls, value));

	if (JB_ROOT_IS_SCALAR(stripped))
	{
		*reason = "jsonb value is neither object nor array";
		return REFUSED;
	}
	if (JB_ROOT_COUNT(stripped) == 0)
		return ABSENT;
	if (JB_ROOT_IS_ARRAY(stripped) && JB_ROOT_COUNT(stripped) > MAX_ARRAY_ITEMS)
	{
		*reason = "array longer than 500";
		return REFUSED;
	}
	if (wire->shape != NULL && !pe_json_fits(wire->shape, stripped))
	{
		*reason = "jsonb value does not fit its declared type";
		return REFUSED;
	}
	(void) JsonbToCString(buffer, &stripped->root, VARSIZE(stripped));
	return WRITTEN;
}

static Written
append_text(StringInfo buffer, PeWireColumn *wire, Datum value)
{
	char *text = OutputFunctionCall(&wire->output, value);

	if (text[0] == '\0')
		return ABSENT;
	escape_json(buffer, text);
	return WRITTEN;
}

static Written
append_scalar(StringInfo buffer, PeWireColumn *wire, Oid type, Datum value, const char **reason)
{
	switch (type)
	{
		case BOOLOID:
			appendStringInfoString(buffer, DatumGetBool(value) ? "true" : "false");
			return WRITTEN;
		case INT2OID:
			return append_integer(buffer, DatumGetInt16(value), reason);
		case INT4OID:
			return append_integer(buffer, DatumGetInt32(value), reason);
		case INT8OID:
			return append_integer(buffer, DatumGetInt64(value), reason);
		case FLOAT4OID:
			return append_double(buffer, DatumGetFloat4(value), true);
		case FLOAT8OID:
			return append_double(buffer, DatumGetFloat8(value), false);
		case NUMERICOID:
			return append_numeric(buffer, value);
		case DATEOID:
			return append_date(buffer, DatumGetDateADT(value), reason);
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return append_timestamp(buffer, DatumGetTimestamp(value), reason);
		case JSONBOID:
			return append_jsonb(buffer, wire, value, reason);
		default:
			return append_text(buffer, wire, value);
	}
}

/* One dimension, nulls and absent items left out. */
static Written
append_array(StringInfo buffer, PeWireColumn *wire, Datum value, const char **reason)
{
	ArrayType *array = DatumGetArrayTypeP(value);
	Datum *items;
	bool *nulls;
	int count;
	int start = buffer->len;

	if (ARR_NDIM(array) > 1)
	{
		*reason = "array of several dimensions";
		return REFUSED;
	}
	deconstruct_array(array, ARR_ELEMTYPE(array), wire->element_length, wire->element_by_value,
	                  wire->element_align, &items, &nulls, &count);
	if (count > MAX_ARRAY_ITEMS)
	{
		*reason = "array longer than 500";
		return REFUSED;
	}
	appendStringInfoChar(buffer, '[');
	for (int i = 0; i < count; i++)
	{
		int before = buffer->len;
		Written written;

		if (nulls[i])
			continue;
		if (buffer->data[buffer->len - 1] != '[')
			appendStringInfoChar(buffer, ',');
		written = append_scalar(buffer, wire, wire->element, items[i], reason);
		if (written == REFUSED)
			return REFUSED;
		if (written == ABSENT)
		{
			buffer->len = before;
			buffer->data[before] = '\0';
		}
	}
	if (buffer->len == start + 1)
		return ABSENT;
	appendStringInfoChar(buffer, ']');
	return WRITTEN;
}

const char *
pe_wire_append(StringInfo buffer, PeWireColumn *wire, Datum value)
{
	int before = buffer->len;
	const char *reason = NULL;
	Written written;

	if (buffer->data[buffer->len - 1] != '{')
		appendStringInfoChar(buffer, ',');
	escape_json(buffer, wire->name);
	appendStringInfoChar(buffer, ':');
	if (OidIsValid(wire->element))
		written = append_array(buffer, wire, value, &reason);
	else
		written = append_scalar(buffer, wire, wire->type, value, &reason);
	if (written == ABSENT)
	{
		buffer->len = before;
		buffer->data[before] = '\0';
	}
	return reason;
}

int64
pe_wire_hash(const char *text, int length)
{
	int64 hash = (int64) hash_bytes_extended((const unsigned char *) text, length, 0);

	return hash <= PE_TOMBSTONE_WAITING && hash >= PE_TOMBSTONE_FORGOTTEN ? 1 : hash;
}
