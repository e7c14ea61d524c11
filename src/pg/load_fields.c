/*
 * load_fields.c
 *		The fields that the files of a load hold, and what type each would have as a
 *		column.
 *
 * Parquet says the types of its leaves; JSON and CSV are looked through value by
 * value, and a field gets the narrowest type that holds every value seen. Texts
 * stay texts unless all of them are ISO 8601 dates or timestamps with a zone.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/datetime.h"
#include "utils/memutils.h"

#include "pg/load.h"
#include "snapshot/xdm_path.h"

static uint32
hash_path(const void *key, Size keysize)
{
	const char *path = *(const char *const *) key;

	return DatumGetUInt32(hash_any((const unsigned char *) path, (int) strlen(path)));
}

static int
match_path(const void *a, const void *b, Size keysize)
{
	return strcmp(*(const char *const *) a, *(const char *const *) b);
}

LoadFields *
load_fields_create(void)
{
	LoadFields *fields = palloc0(sizeof(LoadFields));
	HASHCTL control = {0};

	fields->context =
	    AllocSetContextCreate(CurrentMemoryContext, "profenrich load fields", ALLOCSET_DEFAULT_SIZES);
	control.keysize = sizeof(const char *);
	control.entrysize = sizeof(LoadField);
	control.hash = hash_path;
	control.match = match_path;
	control.hcxt = fields->context;
	fields->by_path = hash_create("profenrich load fields", 512, &control,
	                              HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
	return fields;
}

LoadField *
load_fields_get(LoadFields *fields, const char *path, const char *file)
{
	LoadField *field = hash_search(fields->by_path, &path, HASH_FIND, NULL);
	MemoryContext caller;
	char *copy;

	if (field != NULL)
		return field;
	if (fields->count >= LOAD_MAX_FIELDS)
		return NULL;
	caller = MemoryContextSwitchTo(fields->context);
	copy = pstrdup(path);
	field = hash_search(fields->by_path, &copy, HASH_ENTER, NULL);
	memset(field, 0, sizeof(*field));
	field->path = copy;
	field->file = pstrdup(file);
	field->order = fields->count++;
	MemoryContextSwitchTo(caller);
	return field;
}

/* Numbers widen to one that holds both; AUTO when the two cannot live in one column. */
static pe_column_type
wider_type(pe_column_type a, pe_column_type b)
{
	bool a_number =
	    a == PE_COLUMN_INT32 || a == PE_COLUMN_INT64 || a == PE_COLUMN_DOUBLE || a == PE_COLUMN_NUMERIC;
	bool b_number =
	    b == PE_COLUMN_INT32 || b == PE_COLUMN_INT64 || b == PE_COLUMN_DOUBLE || b == PE_COLUMN_NUMERIC;

	if (a == b)
		return a;
	if (!a_number || !b_number)
		return PE_COLUMN_AUTO;
	if (a == PE_COLUMN_NUMERIC || b == PE_COLUMN_NUMERIC)
		return PE_COLUMN_NUMERIC;
	if (a == PE_COLUMN_DOUBLE || b == PE_COLUMN_DOUBLE)
		return PE_COLUMN_DOUBLE;
	return PE_COLUMN_INT64;
}

void
load_field_merge(LoadField *field, pe_column_type type, const char *file)
{
	pe_column_type wider = field->type == PE_COLUMN_AUTO ? type : wider_type(field->type, type);

	if (wider == PE_COLUMN_AUTO)
		ereport(ERROR,
		        (errcode(ERRCODE_DATATYPE_MISMATCH),
		         errmsg("field \"%s\" is %s in file \"%s\" and %s in file \"%s\"", field->path,
		                pe_column_type_name(field->type), field->file, pe_column_type_name(type), file),
		         errhint("Load the files apart, or map the field to a column of type text.")));
	field->type = wider;
}

pe_column_type
load_field_type(const LoadField *field)
{
	int numbers = LOAD_SEEN_INT | LOAD_SEEN_NUMERIC | LOAD_SEEN_DOUBLE;

	if (field->type != PE_COLUMN_AUTO)
		return field->type;
	if (field->seen & LOAD_SEEN_CONTAINER)
		return PE_COLUMN_JSON;
	if (field->seen == LOAD_SEEN_BOOL)
		return PE_COLUMN_BOOL;
	if (field->seen == LOAD_SEEN_DATE)
		return PE_COLUMN_DATE;
	if (field->seen == LOAD_SEEN_TIMESTAMP)
		return PE_COLUMN_TIMESTAMP;
	if (field->seen != 0 && (field->seen & ~numbers) == 0)
	{
		if (field->seen & LOAD_SEEN_DOUBLE)
			return PE_COLUMN_DOUBLE;
		return (field->seen & LOAD_SEEN_NUMERIC) ? PE_COLUMN_NUMERIC : PE_COLUMN_INT64;
	}
	return PE_COLUMN_TEXT;
}

/* length digits at text as a number; -1 when one is no digit. */
static int
digits(const char *text, int length)
{
	int value = 0;

	for (int i = 0; i < length; i++)
	{
		if (text[i] < '0' || text[i] > '9')
			return -1;
		value = value * 10 + (text[i] - '0');
	}
	return value;
}

static bool
is_date(const char *text, size_t length)
{
	int year, month, day;

	if (length < 10 || text[4] != '-' || text[7] != '-')
		return false;
	year = digits(text, 4);
	month = digits(text + 5, 2);
	day = digits(text + 8, 2);
	return year >= 1 && month >= 1 && month <= 12 && day >= 1 && day <= day_tab[isleap(year)][month - 1];
}

/* Z, +hh, +hhmm or +hh:mm: a timestamp without any has no meaning here. */
static bool
is_zone(const char *text, size_t length)
{
	int hours, minutes = 0;

	if (length == 1)
		return text[0] == 'Z' || text[0] == 'z';
	if (length < 3 || (text[0] != '+' && text[0] != '-'))
		return false;
	hours = digits(text + 1, 2);
	if (length == 5)
		minutes = digits(text + 3, 2);
	else if (length == 6 && text[3] == ':')
		minutes = digits(text + 4, 2);
	else if (length != 3)
		return false;
	return hours >= 0 && hours <= 14 && minutes >= 0 && minutes < 60;
}

static bool
is_timestamp(const char *text, size_t length)
{
	size_t i = 19;
	int hour, minute, second;

	if (length < 20 || !is_date(text, 10) || (text[10] != 'T' && text[10] != ' ') || text[13] != ':' ||
	    text[16] != ':')
		return false;
	hour = digits(text + 11, 2);
	minute = digits(text + 14, 2);
	second = digits(text + 17, 2);
	if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59)
		return false;
	if (text[i] == '.')
	{
		i++;
		while (i < length && text[i] >= '0' && text[i] <= '9')
			i++;
		if (i == 20)
			return false;
	}
	return is_zone(text + i, length - i);
}

/*
 * A number as people write them: no leading zeros (a postal code), at most 18
 * digits (an ECID has 38): whatever else looks numeric is more likely a name.
 */
static int
classify_number(const char *text, size_t length)
{
	size_t i = text[0] == '-';
	size_t start = i;
	bool fraction = false;

	while (i < length && text[i] >= '0' && text[i] <= '9')
		i++;
	if (i == start || i - start > 18 || (text[start] == '0' && i - start > 1))
		return LOAD_SEEN_TEXT;
	if (i < length && text[i] == '.')
	{
		size_t point = i++;

		fraction = true;
		while (i < length && text[i] >= '0' && text[i] <= '9')
			i++;
		if (i == point + 1)
			return LOAD_SEEN_TEXT;
	}
	if (i < length && (text[i] == 'e' || text[i] == 'E'))
	{
		size_t exponent;

		fraction = true;
		i++;
		if (i < length && (text[i] == '-' || text[i] == '+'))
			i++;
		exponent = i;
		while (i < length && text[i] >= '0' && text[i] <= '9')
			i++;
		if (i == exponent || i - exponent > 2)
			return LOAD_SEEN_TEXT;
	}
	if (i != length)
		return LOAD_SEEN_TEXT;
	return fraction ? LOAD_SEEN_DOUBLE : LOAD_SEEN_INT;
}

int
load_classify_text(const char *text, size_t length, bool numbers)
{
	if (length >= 10 && length <= 40 && is_date(text, length))
	{
		if (length == 10)
			return LOAD_SEEN_DATE;
		if (is_timestamp(text, length))
			return LOAD_SEEN_TIMESTAMP;
		return LOAD_SEEN_TEXT;
	}
	if (!numbers || length == 0 || length > 40)
		return LOAD_SEEN_TEXT;
	if ((length == 4 && memcmp(text, "true", 4) == 0) || (length == 5 && memcmp(text, "false", 5) == 0))
		return LOAD_SEEN_BOOL;
	return classify_number(text, length);
}

/*
 * The ids of a namespace are what models and enrichments are keyed by, so the first
 * few namespaces become columns. Their case differs between exports, and paths
 * into identityMap match without case: the path is kept in lower case.
 */
void
load_fields_namespace(LoadFields *fields, const char *name, size_t length, const char *file)
{
	size_t step = pe_xdm_step_write(name, length, NULL);
	char *path;
	char *end;
	LoadField *field;

	if (length == 0 || length > NAMEDATALEN)
		return;
	path = palloc(sizeof("identityMap..id") + step);
	end = path + sprintf(path, "identityMap.");
	pe_xdm_step_write(name, length, end);
	for (size_t i = 0; i < step; i++)
		end[i] = (char) pg_ascii_tolower((unsigned char) end[i]);
	strcpy(end + step, ".id");
	field = load_fields_get(fields, path, file);
	if (field != NULL)
	{
		field->type = PE_COLUMN_TEXT;
		field->filled++;
		if (field->name == NULL)
		{
			char *column = palloc(length + sizeof("identity_"));

			strcpy(column, "identity_");
			memcpy(column + 9, name, length);
			column[9 + length] = '\0';
			field->name = MemoryContextStrdup(fields->context, column);
			pfree(column);
		}
	}
	pfree(path);
}
