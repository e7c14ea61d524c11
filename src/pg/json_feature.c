/*
 * json_feature.c
 *		The numbers and texts of parts of a value: under a key of a map,
 *of a segment membership, of an element in a list.
 *
 * The key of a segment that is listed by namespace is "namespace", a separator,
 *"segment".
 */
#include "postgres.h"

#include <ctype.h>
#include <math.h>

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "pg/json_feature.h"

bool
pe_treatment_of_part(PeTreatment treatment)
{
	return treatment >= PE_TREAT_KEY;
}

/* ---- maps
 * ------------------------------------------------------------------------------
 */

static bool
find_key(JsonbContainer *object, const char *key, size_t length, JsonbValue *found)
{
	return JsonContainerIsObject(object) &&
	       getKeyJsonValueFromContainer(object, key, (int) length, found) != NULL;
}

/* The number or boolean under key of a jsonb object; all else is missing. */
static double
number_of_key(const char *key, Datum value)
{
	JsonbValue found;

	if (!find_key(&DatumGetJsonbP(value)->root, key, strlen(key), &found))
		return NAN;
	if (found.type == jbvNumeric)
		return DatumGetFloat8(
		    DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(found.val.numeric)));
	if (found.type == jbvBool)
		return found.val.boolean ? 1.0 : 0.0;
	return NAN;
}

const char *
pe_part_text(const char *key, Datum value, size_t *length)
{
	JsonbValue found;

	if (!find_key(&DatumGetJsonbP(value)->root, key, strlen(key), &found) || found.type != jbvString)
		return NULL;
	*length = (size_t) found.val.string.len;
	return found.val.string.val;
}

/* ---- segments
 * ------------------------------------------------------------------------- */

/* Two digits at text, or -1. */
static int
two_digits(const char *text)
{
	if (!isdigit((unsigned char) text[0]) || !isdigit((unsigned char) text[1]))
		return -1;
	return (text[0] - '0') * 10 + text[1] - '0';
}

/* Hours and minutes behind a sign, "+02:00" or "-0530", as days; NaN when there
 * is something else. */
static double
zone_days(const char *text, size_t length)
{
	int hours, minutes;

	if (length == 0 || (length == 1 && (*text == 'Z' || *text == 'z')))
		return 0;
	if ((*text != '+' && *text != '-') || length < 5)
		return NAN;
	hours = two_digits(text + 1);
	minutes = two_digits(text + length - 2);
	if (hours < 0 || minutes < 0 || (length != 5 && (length != 6 || text[3] != ':')))
		return NAN;
	return (*text == '+' ? 1 : -1) * (hours * 60 + minutes) / 1440.0;
}

double
pe_iso_days(const char *text, size_t length)
{
	double day, seconds, fraction = 0, unit = 0.1, zone;
	int hour, minute, second;
	size_t at = 19;

	if (length < 10 || two_digits(text) < 0 || two_digits(text + 2) < 0 || two_digits(text + 5) < 1 ||
	    two_digits(text + 5) > 12 || two_digits(text + 8) < 1 || two_digits(text + 8) > 31 ||
	    text[4] != '-' || text[7] != '-')
		return NAN;
	day = date2j(two_digits(text) * 100 + two_digits(text + 2), two_digits(text + 5), two_digits(text + 8)) -
	      POSTGRES_EPOCH_JDATE;
	if (length == 10)
		return day;
	if (length < 19 || (text[10] != 'T' && text[10] != ' ') || text[13] != ':' || text[16] != ':')
		return NAN;
	hour = two_digits(text + 11);
	minute = two_digits(text + 14);
	second = two_digits(text + 17);
	if (hour < 0 || hour > 24 || minute < 0 || minute > 59 || second < 0 || second > 60)
		return NAN;
	if (at < length && text[at] == '.')
	{
		for (at++; at < length && isdigit((unsigned char) text[at]); at++, unit /= 10)
			fraction += (text[at] - '0') * unit;
	}
	zone = zone_days(text + at, length - at);
	seconds = hour * 3600 + minute * 60 + second + fraction;
	return day + seconds / 86400.0 - zone;
}

bool
pe_is_exited(JsonbContainer *membership)
{
	JsonbValue status;

	return find_key(membership, "status", 6, &status) && status.type == jbvString &&
	       status.val.string.len == 6 && pg_strncasecmp(status.val.string.val, "exited", 6) == 0;
}

/* The membership of a segment, or NULL. *missing: the value has none of the
 * shape of memberships. */
static JsonbContainer *
find_membership(const char *key, Datum value, bool *missing)
{
	JsonbContainer *object = &DatumGetJsonbP(value)->root;
	const char *separator = strchr(key, PE_SEGMENT_SEPARATOR);
	JsonbValue found;

	*missing = !JsonContainerIsObject(object);
	if (*missing)
		return NULL;
	if (separator != NULL)
	{
		if (!find_key(object, key, separator - key, &found) || found.type != jbvBinary)
			return NULL;
		object = found.val.binary.data;
		key = separator + 1;
	}
	if (!find_key(object, key, strlen(key), &found) || found.type != jbvBinary ||
	    !JsonContainerIsObject(found.val.binary.data))
		return NULL;
	return found.val.binary.data;
}

static double
is_member(const char *key, Datum value)
{
	bool missing;
	JsonbContainer *membership = find_membership(key, value, &missing);

	if (missing)
		return NAN;
	return membership != NULL && !pe_is_exited(membership) ? 1.0 : 0.0;
}

static double
qualified_at(const char *key, Datum value)
{
	bool missing;
	JsonbContainer *membership = find_membership(key, value, &missing);
	JsonbValue time;

	if (membership == NULL || pe_is_exited(membership) ||
	    !find_key(membership, "lastQualificationTime", 21, &time) || time.type != jbvString)
		return NAN;
	return pe_iso_days(time.val.string.val, (size_t) time.val.string.len);
}

/* ---- lists
 * ----------------------------------------------------------------------------
 */

static int
each_of_array(Datum value, pe_list_element one, void *arg)
{
	ArrayType *array = DatumGetArrayTypeP(value);
	ArrayIterator iterator = array_create_iterator(array, 0, NULL);
	Datum element;
	bool isnull;
	int n = 0;

	while (array_iterate(iterator, &element, &isnull))
	{
		n++;
		if (!isnull && one != NULL)
			one(arg, VARDATA_ANY(DatumGetPointer(element)), VARSIZE_ANY_EXHDR(DatumGetPointer(element)));
	}
	array_free_iterator(iterator);
	return n;
}

int
pe_each_element(const PeInput *input, Datum value, pe_list_element one, void *arg)
{
	JsonbContainer *list;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue element;

	if (input->kind == PE_INPUT_ARRAY)
		return each_of_array(value, one, arg);
	list = &DatumGetJsonbP(value)->root;
	if (!JsonContainerIsArray(list) || JsonContainerIsScalar(list))
		return -1;
	if (one == NULL)
		return (int) JsonContainerSize(list);
	iterator = JsonbIteratorInit(list);
	while ((token = JsonbIteratorNext(&iterator, &element, true)) != WJB_DONE)
	{
		if (token == WJB_ELEM && element.type == jbvString)
			one(arg, element.val.string.val, (size_t) element.val.string.len);
	}
	return (int) JsonContainerSize(list);
}

typedef struct Wanted
{
	const char *text;
	size_t length;
	bool found;
} Wanted;

static void
compare_element(void *arg, const char *text, size_t length)
{
	Wanted *wanted = (Wanted *) arg;

	wanted->found = wanted->found || (length == wanted->length && memcmp(text, wanted->text, length) == 0);
}

static double
contains(const PeInput *input, const char *text, Datum value)
{
	Wanted wanted = {text, strlen(text), false};

	if (pe_each_element(input, value, compare_element, &wanted) < 0)
		return NAN;
	return wanted.found ? 1.0 : 0.0;
}

static double
length_of_list(const PeInput *input, Datum value)
{
	int n = pe_each_element(input, value, NULL, NULL);

	return n >= 0 ? n : NAN;
}

double
pe_part_number(const PeFeature *feature, const PeInput *input, Datum value, double snapshot)
{
	switch (feature->treatment)
	{
		case PE_TREAT_KEY:
			return number_of_key(feature->key, value);
		case PE_TREAT_SEGMENT:
			return is_member(feature->key, value);
		case PE_TREAT_SEGMENT_AGE:
			return (feature->by_snapshot ? snapshot : feature->reference) - qualified_at(feature->key, value);
		case PE_TREAT_LIST:
			return contains(input, feature->key, value);
		case PE_TREAT_LENGTH:
			return length_of_list(input, value);
		default:
			return NAN;
	}
}
