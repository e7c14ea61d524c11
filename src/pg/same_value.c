/*
 * same_value.c
 *		Comparing a sent value with what a snapshot holds, by meaning.
 *
 * On its way a value changes form: a decimal becomes a double or a float, a time loses
 * its microseconds, a date gets a time, a number is loaded into a text column. None of
 * that is a different value.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/numeric.h"

#include "pg/same_value.h"

#define MAX_NUMBER_TEXT 400

/* Relative: a number that went through four bytes of float and back. */
#define EXPORT_TOLERANCE 1.2e-7

JsonbValue
pe_value_of_jsonb(Jsonb *jsonb)
{
	JsonbValue value = {0};

	if (JB_ROOT_IS_SCALAR(jsonb))
		(void) JsonbExtractScalar(&jsonb->root, &value);
	else
	{
		value.type = jbvBinary;
		value.val.binary.data = &jsonb->root;
		value.val.binary.len = VARSIZE(jsonb) - VARHDRSZ;
	}
	return value;
}

bool
pe_value_is_absent(const JsonbValue *value)
{
	if (value == NULL || value->type == jbvNull)
		return true;
	if (value->type == jbvString)
		return value->val.string.len == 0;
	return value->type == jbvBinary && JsonContainerSize(value->val.binary.data) == 0;
}

/* ---- dates and times ------------------------------------------------------------------- */

/* Exactly count digits at *at; moves behind them. */
static bool
take_digits(const char **at, const char *end, int count, int *number)
{
	*number = 0;
	for (; count > 0; count--)
	{
		if (*at == end || **at < '0' || **at > '9')
			return false;
		*number = *number * 10 + (*(*at)++ - '0');
	}
	return true;
}

static bool
take_char(const char **at, const char *end, char wanted)
{
	if (*at == end || **at != wanted)
		return false;
	(*at)++;
	return true;
}

/* .123456, or nothing; what is finer than a microsecond is dropped. */
static int64
take_fraction(const char **at, const char *end)
{
	int64 scale = USECS_PER_SEC, fraction = 0;

	if (!take_char(at, end, '.'))
		return 0;
	while (*at < end && **at >= '0' && **at <= '9')
	{
		scale /= 10;
		fraction += (*(*at)++ - '0') * scale;
	}
	return fraction;
}

/* Z, +02, +0200 or +02:00, or nothing; the offset in microseconds. */
static bool
take_zone(const char **at, const char *end, int64 *offset)
{
	int hours, minutes = 0;
	bool west;

	*offset = 0;
	if (*at == end || take_char(at, end, 'Z') || take_char(at, end, 'z'))
		return true;
	west = take_char(at, end, '-');
	if (!west && !take_char(at, end, '+'))
		return false;
	if (!take_digits(at, end, 2, &hours))
		return false;
	if (*at < end)
	{
		(void) take_char(at, end, ':');
		if (!take_digits(at, end, 2, &minutes))
			return false;
	}
	*offset = (hours * INT64CONST(60) + minutes) * USECS_PER_MINUTE * (west ? -1 : 1);
	return true;
}

bool
pe_parse_instant(const char *text, int length, TimestampTz *instant, bool *date_only)
{
	const char *at = text, *end = text + length;
	int year, month, day, hour = 0, minute = 0, second = 0;
	int64 fraction = 0, offset = 0;

	if (!take_digits(&at, end, 4, &year) || !take_char(&at, end, '-') || !take_digits(&at, end, 2, &month) ||
	    !take_char(&at, end, '-') || !take_digits(&at, end, 2, &day))
		return false;
	*date_only = at == end;
	if (!*date_only)
	{
		if (!take_char(&at, end, 'T') && !take_char(&at, end, ' '))
			return false;
		if (!take_digits(&at, end, 2, &hour) || !take_char(&at, end, ':') ||
		    !take_digits(&at, end, 2, &minute))
			return false;
		if (take_char(&at, end, ':') && !take_digits(&at, end, 2, &second))
			return false;
		fraction = take_fraction(&at, end);
		if (!take_zone(&at, end, &offset))
			return false;
	}
	if (at != end || month < 1 || month > 12 || day < 1 || day > 31)
		return false;
	*instant = (date2j(year, month, day) - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY +
	           ((hour * INT64CONST(60) + minute) * 60 + second) * USECS_PER_SEC + fraction - offset;
	return true;
}

/* The day that an instant is in, in UTC. */
static int64
day_of(TimestampTz instant)
{
	return instant >= 0 ? instant / USECS_PER_DAY : -((USECS_PER_DAY - 1 - instant) / USECS_PER_DAY);
}

static bool
same_instant(const JsonbValue *a, const JsonbValue *b)
{
	TimestampTz left, right;
	bool left_date, right_date;

	if (!pe_parse_instant(a->val.string.val, a->val.string.len, &left, &left_date) ||
	    !pe_parse_instant(b->val.string.val, b->val.string.len, &right, &right_date))
		return false;
	if (left_date || right_date)
		return day_of(left) == day_of(right);
	return left - right < USECS_PER_SEC && right - left < USECS_PER_SEC;
}

/* ---- scalars --------------------------------------------------------------------------- */

/* A number, or a text that is one. */
static bool
number_of(const JsonbValue *value, double *number)
{
	char text[MAX_NUMBER_TEXT];
	char *end;

	if (value->type == jbvNumeric)
	{
		*number = DatumGetFloat8(
		    DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(value->val.numeric)));
		return true;
	}
	if (value->type != jbvString || value->val.string.len == 0 || value->val.string.len >= MAX_NUMBER_TEXT ||
	    strchr("+-.0123456789", value->val.string.val[0]) == NULL)
		return false;
	memcpy(text, value->val.string.val, value->val.string.len);
	text[value->val.string.len] = '\0';
	*number = strtod(text, &end);
	return *end == '\0';
}

static bool
same_number(const JsonbValue *sent, const JsonbValue *found, const PeTolerance *tolerance)
{
	double a, b, difference;

	if (!number_of(sent, &a) || !number_of(found, &b))
		return false;
	if (a == b)
		return true;
	if (!tolerance->inexact && a == floor(a) && b == floor(b))
		return false;
	difference = fabs(a - b);
	return difference <= tolerance->absolute || difference <= EXPORT_TOLERANCE * Max(fabs(a), fabs(b));
}

static bool
same_boolean(const JsonbValue *a, const JsonbValue *b)
{
	const char *text;
	int length;

	if (a->type != jbvBool)
		return b->type == jbvBool && same_boolean(b, a);
	if (b->type == jbvBool)
		return a->val.boolean == b->val.boolean;
	text = a->val.boolean ? "true" : "false";
	length = (int) strlen(text);
	return b->type == jbvString && b->val.string.len == length &&
	       pg_strncasecmp(b->val.string.val, text, length) == 0;
}

static bool
same_scalar(const JsonbValue *sent, const JsonbValue *found, const PeTolerance *tolerance)
{
	if (sent->type == jbvString && found->type == jbvString)
		return (sent->val.string.len == found->val.string.len &&
		        memcmp(sent->val.string.val, found->val.string.val, sent->val.string.len) == 0) ||
		       same_instant(sent, found);
	return same_boolean(sent, found) || same_number(sent, found, tolerance);
}

/* ---- lists and objects ------------------------------------------------------------------ */

static bool
same_list(JsonbContainer *sent, JsonbContainer *found, const PeTolerance *tolerance)
{
	uint32 count = JsonContainerSize(sent);

	if (count != JsonContainerSize(found))
		return false;
	for (uint32 i = 0; i < count; i++)
		if (!pe_same_value(getIthJsonbValueFromContainer(sent, i), getIthJsonbValueFromContainer(found, i),
		                   tolerance))
			return false;
	return true;
}

/* Has found what each member of sent has? A member that is null or empty is as good as none. */
static bool
has_members(JsonbContainer *sent, JsonbContainer *found, const PeTolerance *tolerance)
{
	JsonbIterator *iterator = JsonbIteratorInit(sent);
	JsonbIteratorToken token;
	JsonbValue key, value;

	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (!pe_same_value(&value,
		                   getKeyJsonValueFromContainer(found, key.val.string.val, key.val.string.len, NULL),
		                   tolerance))
			return false;
	}
	return true;
}

bool
pe_same_value(const JsonbValue *sent, const JsonbValue *found, const PeTolerance *tolerance)
{
	check_stack_depth();
	if (pe_value_is_absent(sent) || pe_value_is_absent(found))
		return pe_value_is_absent(sent) && pe_value_is_absent(found);
	if (sent->type != jbvBinary || found->type != jbvBinary)
		return sent->type != jbvBinary && found->type != jbvBinary && same_scalar(sent, found, tolerance);
	if (JsonContainerIsArray(sent->val.binary.data) != JsonContainerIsArray(found->val.binary.data))
		return false;
	if (JsonContainerIsArray(sent->val.binary.data))
		return same_list(sent->val.binary.data, found->val.binary.data, tolerance);
	return has_members(sent->val.binary.data, found->val.binary.data, tolerance) &&
	       has_members(found->val.binary.data, sent->val.binary.data, tolerance);
}
