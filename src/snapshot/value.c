/*
 * value.c
 *		Values one at a time: see value.h. Numbers are written exactly; binary floats
 *		in the fewest digits that read back the same.
 */
#include <math.h>
#include <stdlib.h>

#include "snapshot/text.h"
#include "snapshot/value.h"

static int32_t
get32(const void *value)
{
	int32_t out;

	memcpy(&out, value, sizeof(out));
	return out;
}

static int64_t
get64(const void *value)
{
	int64_t out;

	memcpy(&out, value, sizeof(out));
	return out;
}

static void
add_text(pe_buffer *out, const char *text)
{
	pe_buffer_add(out, text, strlen(text));
}

/* Digits of a number, at least width of them. */
static void
add_digits(pe_buffer *out, uint64_t value, int width)
{
	char text[24];
	size_t at = sizeof(text);

	do
	{
		text[--at] = (char) ('0' + value % 10);
		value /= 10;
	} while (value > 0 || (int) (sizeof(text) - at) < width);
	pe_buffer_add(out, text + at, sizeof(text) - at);
}

static void
add_int64(pe_buffer *out, int64_t value)
{
	if (value < 0)
		pe_buffer_char(out, '-');
	add_digits(out, value < 0 ? -(uint64_t) value : (uint64_t) value, 1);
}

double
pe_float16(const uint8_t *bytes)
{
	unsigned bits = (unsigned) bytes[0] | (unsigned) bytes[1] << 8;
	int exponent = (int) (bits >> 10 & 31);
	double fraction = (double) (bits & 1023);
	double value;

	if (exponent == 31)
		value = fraction == 0 ? INFINITY : NAN;
	else if (exponent == 0)
		value = ldexp(fraction, -24);
	else
		value = ldexp(1024 + fraction, exponent - 25);
	return (bits & 0x8000) != 0 ? -value : value;
}

bool
pe_value_int64(const pe_leaf *leaf, const void *value, int64_t *out)
{
	switch (leaf->meaning)
	{
		case PE_MEANS_INT32:
			*out = get32(value);
			return true;
		case PE_MEANS_UINT32:
			*out = (uint32_t) get32(value);
			return true;
		case PE_MEANS_UINT64:
			*out = get64(value);
			return *out >= 0;
		default:
			*out = get64(value);
			return true;
	}
}

/* Digits of a number without sign, and its decimal point scale places from the right. */
static void add_scaled(pe_buffer *out, bool negative, const char *digits, size_t count, int32_t scale);

static void add_decimal64(pe_buffer *out, int64_t value, int32_t scale);

/*
 * Numbers of a few decimals, as most are: an integer divided by a power of ten is
 * rounded as the decimal text would be, so if it gives the value again, that text
 * reads back the same.
 */
static bool
add_short_float(pe_buffer *out, double value, bool single)
{
	static const double powers[] = {1, 10, 100, 1000, 10000, 100000, 1000000};
	double most = single ? 1e7 : 1e15;

	if (value == 0 || !(fabs(value) >= 1e-3 && fabs(value) < 1e9))
		return false;
	for (int places = 1; places <= 6; places++)
	{
		double scaled = nearbyint(value * powers[places]);

		if (fabs(scaled) >= most)
			return false;
		if (single ? (float) (scaled / powers[places]) == (float) value : scaled / powers[places] == value)
		{
			add_decimal64(out, (int64_t) scaled, places);
			return true;
		}
	}
	return false;
}

static void
add_float(pe_buffer *out, double value, bool single)
{
	char text[40];
	int digits = single ? 6 : 15;

	if (isnan(value) || isinf(value))
	{
		add_text(out, isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity");
		return;
	}
	/* Whole numbers are common and quick. */
	if (fabs(value) < 1e15 && value == (double) (int64_t) value && !(value == 0 && signbit(value)) &&
	    (!single || fabs(value) < 1e6))
	{
		add_int64(out, (int64_t) value);
		return;
	}
	if (add_short_float(out, value, single))
		return;
	for (; digits < (single ? 9 : 17); digits++)
	{
		(void) snprintf(text, sizeof(text), "%.*g", digits, value);
		if (single ? strtof(text, NULL) == (float) value : strtod(text, NULL) == value)
			break;
	}
	(void) snprintf(text, sizeof(text), "%.*g", digits, value);
	add_text(out, text);
}

static void
add_scaled(pe_buffer *out, bool negative, const char *digits, size_t count, int32_t scale)
{
	size_t places = (size_t) scale;

	if (negative)
		pe_buffer_char(out, '-');
	if (count <= places)
	{
		pe_buffer_char(out, '0');
		if (places > 0)
			pe_buffer_char(out, '.');
		for (size_t i = count; i < places; i++)
			pe_buffer_char(out, '0');
		pe_buffer_add(out, digits, count);
		return;
	}
	pe_buffer_add(out, digits, count - places);
	if (places > 0)
	{
		pe_buffer_char(out, '.');
		pe_buffer_add(out, digits + count - places, places);
	}
}

static void
add_decimal64(pe_buffer *out, int64_t value, int32_t scale)
{
	char digits[24];
	uint64_t magnitude = value < 0 ? -(uint64_t) value : (uint64_t) value;
	int count = magnitude == 0 ? 0 : snprintf(digits, sizeof(digits), "%llu", (unsigned long long) magnitude);

	if (count == 0 && scale == 0)
		pe_buffer_char(out, '0');
	else
		add_scaled(out, value < 0, digits, (size_t) count, scale);
}

/* Big-endian two's complement of any length: divide by 10^9 again and again. */
static const char *
add_decimal_bytes(pe_buffer *out, const pe_slice *value, int32_t scale)
{
	const unsigned char *bytes = (const unsigned char *) value->data;
	uint32_t words[PE_DECIMAL_BYTES / 4] = {0};
	char digits[PE_DECIMAL_BYTES * 3];
	size_t at = sizeof(digits);
	bool negative = value->length > 0 && bytes[0] >= 0x80;
	uint64_t carry = negative;
	size_t count = (value->length + 3) / 4;

	if (value->length > PE_DECIMAL_BYTES)
		return "a decimal of more than 64 bytes";
	for (size_t i = 0; i < value->length; i++)
		words[i / 4] |= (uint32_t) bytes[value->length - 1 - i] << (8 * (i % 4));
	if (negative && value->length % 4 != 0)
		words[count - 1] |= UINT32_MAX << (8 * (value->length % 4));
	for (size_t i = 0; i < count && negative; i++)
	{
		carry += (uint32_t) ~words[i];
		words[i] = (uint32_t) carry;
		carry >>= 32;
	}
	while (count > 0)
	{
		uint64_t rest = 0;

		for (size_t i = count; i-- > 0;)
		{
			rest = rest << 32 | words[i];
			words[i] = (uint32_t) (rest / 1000000000);
			rest %= 1000000000;
		}
		for (int i = 0; i < 9; i++, rest /= 10)
			digits[--at] = (char) ('0' + rest % 10);
		while (count > 0 && words[count - 1] == 0)
			count--;
	}
	while (at < sizeof(digits) && digits[at] == '0')
		at++;
	if (at == sizeof(digits) && scale == 0)
		pe_buffer_char(out, '0');
	else
		add_scaled(out, negative, digits + at, sizeof(digits) - at, scale);
	return NULL;
}

static const char *
add_decimal(const pe_leaf *leaf, const void *value, pe_buffer *out)
{
	if (leaf->physical == PE_PHYSICAL_INT32)
		add_decimal64(out, get32(value), leaf->scale);
	else if (leaf->physical == PE_PHYSICAL_INT64)
		add_decimal64(out, get64(value), leaf->scale);
	else
		return add_decimal_bytes(out, value, leaf->scale);
	return NULL;
}

/* Proleptic Gregorian; a year outside 0..9999 gets a sign. */
static void
add_date(pe_buffer *out, int64_t days)
{
	int64_t shifted = days + 719468; /* since 0000-03-01 */
	int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
	int64_t day_of_era = shifted - era * 146097;
	int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
	int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	int64_t month = (5 * day_of_year + 2) / 153;
	int64_t day = day_of_year - (153 * month + 2) / 5 + 1;
	int64_t year = year_of_era + era * 400;

	month = month < 10 ? month + 3 : month - 9;
	year += month <= 2;
	if (year < 0 || year > 9999)
		pe_buffer_char(out, year < 0 ? '-' : '+');
	add_digits(out, (uint64_t) (year < 0 ? -year : year), 4);
	pe_buffer_char(out, '-');
	add_digits(out, (uint64_t) month, 2);
	pe_buffer_char(out, '-');
	add_digits(out, (uint64_t) day, 2);
}

/* Seconds of a day and a fraction of so many digits, shown in threes and only if not zero. */
static void
add_clock(pe_buffer *out, int64_t seconds, int64_t fraction, int digits)
{
	add_digits(out, (uint64_t) (seconds / 3600), 2);
	pe_buffer_char(out, ':');
	add_digits(out, (uint64_t) (seconds / 60 % 60), 2);
	pe_buffer_char(out, ':');
	add_digits(out, (uint64_t) (seconds % 60), 2);
	while (digits > 3 && fraction % 1000 == 0)
	{
		fraction /= 1000;
		digits -= 3;
	}
	if (fraction == 0)
		return;
	pe_buffer_char(out, '.');
	add_digits(out, (uint64_t) fraction, digits);
}

static int64_t
units_per_second(int digits)
{
	return digits == 3 ? 1000 : digits == 6 ? 1000000 : 1000000000;
}

static const char *
add_timestamp(const pe_leaf *leaf, const void *value, pe_buffer *out)
{
	int64_t units = units_per_second(leaf->unit_digits);
	int64_t raw = get64(value);
	int64_t seconds = raw / units - (raw % units < 0);
	int64_t days = seconds / 86400 - (seconds % 86400 < 0);

	if (leaf->physical == PE_PHYSICAL_INT96 && (raw == INT64_MIN || raw == INT64_MAX))
		return "a timestamp out of range";
	add_date(out, days);
	pe_buffer_char(out, 'T');
	/* Not units * seconds: that may overflow where the parts do not. */
	add_clock(out, seconds - days * 86400, raw % units + (raw % units < 0 ? units : 0), leaf->unit_digits);
	pe_buffer_char(out, 'Z');
	return NULL;
}

static const char *
add_time(const pe_leaf *leaf, const void *value, pe_buffer *out)
{
	int64_t units = units_per_second(leaf->unit_digits);
	int64_t raw = leaf->physical == PE_PHYSICAL_INT32 ? get32(value) : get64(value);

	if (raw < 0 || raw / units >= 86400)
		return "a time of day out of range";
	add_clock(out, raw / units, raw % units, leaf->unit_digits);
	return NULL;
}

static void
add_uuid(pe_buffer *out, const pe_slice *value)
{
	static const char digits[] = "0123456789abcdef";
	char text[36];
	int at = 0;

	for (int i = 0; i < 16; i++)
	{
		unsigned char byte = (unsigned char) value->data[i];

		if (i == 4 || i == 6 || i == 8 || i == 10)
			text[at++] = '-';
		text[at++] = digits[byte >> 4];
		text[at++] = digits[byte & 15];
	}
	pe_buffer_add(out, text, sizeof(text));
}

/* ISO 8601, as interval's input reads it. */
static void
add_interval(pe_buffer *out, const pe_slice *value)
{
	uint32_t parts[3];
	char text[PE_VALUE_TEXT];

	memcpy(parts, value->data, sizeof(parts));
	(void) snprintf(text, sizeof(text), "P%uM%uDT%u.%03uS", parts[0], parts[1], parts[2] / 1000,
	                parts[2] % 1000);
	add_text(out, text);
}

static void
add_integer(const pe_leaf *leaf, const void *value, pe_buffer *out)
{
	int64_t number;

	if (pe_value_int64(leaf, value, &number))
		add_int64(out, number);
	else
		add_digits(out, (uint64_t) number, 1);
}

static double
float_of(const pe_leaf *leaf, const void *value)
{
	double wide;
	float narrow;

	if (leaf->meaning == PE_MEANS_FLOAT16)
		return pe_float16((const uint8_t *) ((const pe_slice *) value)->data);
	if (leaf->meaning == PE_MEANS_FLOAT)
	{
		memcpy(&narrow, value, sizeof(narrow));
		return narrow;
	}
	memcpy(&wide, value, sizeof(wide));
	return wide;
}

const char *
pe_value_text(const pe_leaf *leaf, const void *value, pe_buffer *out)
{
	const pe_slice *slice = value;

	switch (leaf->meaning)
	{
		case PE_MEANS_NULL:
			break;
		case PE_MEANS_BOOL:
			add_text(out, *(const uint8_t *) value != 0 ? "true" : "false");
			break;
		case PE_MEANS_INT32:
		case PE_MEANS_UINT32:
		case PE_MEANS_INT64:
		case PE_MEANS_UINT64:
			add_integer(leaf, value, out);
			break;
		case PE_MEANS_FLOAT:
		case PE_MEANS_FLOAT16:
		case PE_MEANS_DOUBLE:
			add_float(out, float_of(leaf, value), leaf->meaning != PE_MEANS_DOUBLE);
			break;
		case PE_MEANS_DATE:
			add_date(out, get32(value));
			break;
		case PE_MEANS_TIME:
			return add_time(leaf, value, out);
		case PE_MEANS_TIMESTAMP:
			return add_timestamp(leaf, value, out);
		case PE_MEANS_DECIMAL:
			return add_decimal(leaf, value, out);
		case PE_MEANS_TEXT:
		case PE_MEANS_JSON:
			if (!pe_text_valid(slice->data, slice->length))
				return pe_text_fault(slice->data, slice->length);
			pe_buffer_add(out, slice->data, slice->length);
			break;
		case PE_MEANS_UUID:
			add_uuid(out, slice);
			break;
		case PE_MEANS_INTERVAL:
			add_interval(out, slice);
			break;
		case PE_MEANS_BYTES:
			pe_buffer_base64(out, slice->data, slice->length);
			break;
	}
	return NULL;
}

static const char *
quoted(const pe_leaf *leaf, const void *value, pe_buffer *out)
{
	const char *fault;

	pe_buffer_char(out, '"');
	fault = pe_value_text(leaf, value, out);
	pe_buffer_char(out, '"');
	return fault;
}

const char *
pe_value_json_key(const pe_leaf *leaf, const void *value, pe_buffer *out)
{
	const pe_slice *slice = value;

	if (leaf->meaning != PE_MEANS_TEXT && leaf->meaning != PE_MEANS_JSON)
	{
		/* Keys without an annotation are text as a rule. */
		if (leaf->meaning != PE_MEANS_BYTES || !pe_text_valid(slice->data, slice->length))
			return quoted(leaf, value, out);
	}
	else if (!pe_text_valid(slice->data, slice->length))
		return pe_text_fault(slice->data, slice->length);
	pe_buffer_json_string(out, slice->data, slice->length);
	return NULL;
}

const char *
pe_value_json(const pe_leaf *leaf, const void *value, pe_buffer *out)
{
	const pe_slice *slice = value;
	double number;

	switch (leaf->meaning)
	{
		case PE_MEANS_TEXT:
			return pe_value_json_key(leaf, value, out);
		case PE_MEANS_JSON:
			if (!pe_json_valid(slice->data, slice->length))
				return "text that is not valid JSON";
			pe_buffer_add(out, slice->data, slice->length);
			return NULL;
		case PE_MEANS_FLOAT:
		case PE_MEANS_FLOAT16:
		case PE_MEANS_DOUBLE:
			number = float_of(leaf, value);
			if (isnan(number) || isinf(number))
				add_text(out, "null");
			else
				add_float(out, number, leaf->meaning != PE_MEANS_DOUBLE);
			return NULL;
		case PE_MEANS_NULL:
			add_text(out, "null");
			return NULL;
		case PE_MEANS_BOOL:
		case PE_MEANS_INT32:
		case PE_MEANS_UINT32:
		case PE_MEANS_INT64:
		case PE_MEANS_UINT64:
		case PE_MEANS_DECIMAL:
			return pe_value_text(leaf, value, out);
		default:
			return quoted(leaf, value, out);
	}
}

static int
compare_bytes(const pe_slice *a, const pe_slice *b)
{
	size_t shorter = a->length < b->length ? a->length : b->length;
	int order = shorter > 0 ? memcmp(a->data, b->data, shorter) : 0;

	return order != 0 ? order : (a->length > b->length) - (a->length < b->length);
}

/* Big-endian two's complement numbers of different lengths. */
static int
compare_decimals(const pe_slice *a, const pe_slice *b)
{
	size_t length = a->length > b->length ? a->length : b->length;
	bool minus_a = a->length > 0 && (a->data[0] & 0x80) != 0;
	bool minus_b = b->length > 0 && (b->data[0] & 0x80) != 0;

	if (minus_a != minus_b)
		return minus_a ? -1 : 1;
	for (size_t i = length; i > 0; i--)
	{
		unsigned char byte_a = i > a->length ? (minus_a ? 0xff : 0) : (unsigned char) a->data[a->length - i];
		unsigned char byte_b = i > b->length ? (minus_b ? 0xff : 0) : (unsigned char) b->data[b->length - i];

		if (byte_a != byte_b)
			return byte_a < byte_b ? -1 : 1;
	}
	return 0;
}

static int
compare_floats(double a, double b)
{
	if (isnan(a) || isnan(b))
		return (isnan(a) != 0) - (isnan(b) != 0);
	return (a > b) - (a < b);
}

int
pe_value_compare(const pe_leaf *leaf, const void *a, const void *b)
{
	uint64_t wide_a;
	uint64_t wide_b;

	if (leaf->meaning == PE_MEANS_FLOAT || leaf->meaning == PE_MEANS_DOUBLE ||
	    leaf->meaning == PE_MEANS_FLOAT16)
		return compare_floats(float_of(leaf, a), float_of(leaf, b));
	switch (pe_leaf_value_size(leaf))
	{
		case 1:
			return (int) *(const uint8_t *) a - (int) *(const uint8_t *) b;
		case 4:
			wide_a = (uint64_t) (leaf->meaning == PE_MEANS_UINT32 ? (int64_t) (uint32_t) get32(a) : get32(a));
			wide_b = (uint64_t) (leaf->meaning == PE_MEANS_UINT32 ? (int64_t) (uint32_t) get32(b) : get32(b));
			break;
		case 8:
			wide_a = (uint64_t) get64(a);
			wide_b = (uint64_t) get64(b);
			if (leaf->meaning == PE_MEANS_UINT64)
				return (wide_a > wide_b) - (wide_a < wide_b);
			break;
		default:
			return leaf->meaning == PE_MEANS_DECIMAL ? compare_decimals(a, b) : compare_bytes(a, b);
	}
	return ((int64_t) wide_a > (int64_t) wide_b) - ((int64_t) wide_a < (int64_t) wide_b);
}
