/*
 * event_declaration.c
 *		Reading a declaration of event features.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "pg/event_declaration.h"
#include "pg/json_options.h"
#include "pg/lifetime.h"

#define MOST_TOP 200

static const char *const make_names[] = {
    [PE_MAKE_COUNT] = "count",
    [PE_MAKE_ANY] = "any",
    [PE_MAKE_SUM] = "sum",
    [PE_MAKE_MEAN] = "mean",
    [PE_MAKE_MIN] = "min",
    [PE_MAKE_MAX] = "max",
    [PE_MAKE_DISTINCT] = "distinct",
    [PE_MAKE_SHARE] = "share",
    [PE_MAKE_RATIO] = "ratio",
    [PE_MAKE_DAYS_SINCE_LAST] = "days_since_last",
    [PE_MAKE_DAYS_SINCE_FIRST] = "days_since_first",
    [PE_MAKE_DAYS_UNTIL_NEXT] = "days_until_next",
    [PE_MAKE_RFM] = "rfm",
    [PE_MAKE_FREQUENCY] = "frequency",
    [PE_MAKE_RECENCY] = "recency",
    [PE_MAKE_AGE] = "age",
    [PE_MAKE_MONETARY_VALUE] = "monetary_value",
};

#define FEATURE_MAKES                                                                                        \
	"count, any, sum, mean, min, max, distinct, share, ratio, days_since_last, days_since_first and rfm"
#define LABEL_MAKES "count, any, sum, mean, min, max, distinct and days_until_next"

const char *
pe_event_make_name(PeEventMake make)
{
	return make_names[make];
}

static bool
is_text(const JsonbValue *value)
{
	return value->type == jbvString && value->val.string.len > 0;
}

static bool
is_array(const JsonbValue *value)
{
	return value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data);
}

/* The elements of an array, or the one scalar: JsonbValue *. */
static List *
elements(const JsonbValue *value)
{
	List *list = NIL;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue element;

	if (!is_array(value))
		return list_make1(unconstify(JsonbValue *, value));
	iterator = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &element, true)) != WJB_DONE)
	{
		JsonbValue *copy;

		if (token != WJB_ELEM)
			continue;
		copy = palloc(sizeof(JsonbValue));
		*copy = element;
		list = lappend(list, copy);
	}
	return list;
}

static char *
need_text(const char *name, const JsonbValue *value, const char *expected)
{
	if (!is_text(value))
		pe_raise_bad_option(name, expected);
	return pe_scalar_text(value);
}

List *
pe_event_texts(const char *name, const JsonbValue *value)
{
	List *texts = NIL;
	ListCell *cell;

	foreach (cell, elements(value))
	{
		char *text = pe_scalar_text((JsonbValue *) lfirst(cell));

		if (text == NULL)
			pe_raise_bad_option(name, "a list of texts, numbers or booleans");
		texts = lappend(texts, text);
	}
	return texts;
}

/* ---- windows -------------------------------------------------------------------------- */

static void
pg_attribute_noreturn() raise_bad_window(const char *text)
{
	ereport(ERROR,
	        (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("\"%s\" is no window", text),
	         errhint("A window has a fixed length, such as \"30 days\", \"2 weeks\" or \"12 hours\", or is "
	                 "\"all\". For a month say 30 days.")));
}

static PeEventWindow *
need_window(const char *name, const JsonbValue *value)
{
	static const struct
	{
		int64 length;
		const char *suffix, *one, *many;
	} units[] = {{USECS_PER_DAY, "d", "day", "days"},
	             {USECS_PER_HOUR, "h", "hour", "hours"},
	             {USECS_PER_MINUTE, "min", "minute", "minutes"}};
	char *text = need_text(name, value, "a window, such as \"30 days\" or \"all\"");
	PeEventWindow *window = palloc0(sizeof(PeEventWindow));
	const Interval *interval;
	char *end;

	if (strcmp(text, "all") == 0)
	{
		window->length = PE_EVENT_NO_END;
		window->suffix = "all";
		window->words = "ever";
		return window;
	}
	(void) strtod(text, &end);
	if (*end == '\0') /* a bare number would be read as seconds */
		raise_bad_window(text);
	interval = DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(text),
	                                                 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	if (interval->month != 0 || interval->day < 0 || interval->day > 36525 || interval->time < 0 ||
	    interval->time > 36525 * USECS_PER_DAY || (interval->day == 0 && interval->time == 0))
		raise_bad_window(text);
	window->length = interval->day * USECS_PER_DAY + interval->time;
	for (int i = 0; i < lengthof(units); i++)
	{
		int64 n = window->length / units[i].length;

		if (window->length % units[i].length != 0)
			continue;
		window->suffix = psprintf(INT64_FORMAT "%s", n, units[i].suffix);
		window->words = psprintf(INT64_FORMAT " %s", n, n == 1 ? units[i].one : units[i].many);
		return window;
	}
	raise_bad_window(text);
}

static List *
need_windows(const char *name, const JsonbValue *value)
{
	List *windows = NIL;
	ListCell *cell;

	foreach (cell, elements(value))
		windows = lappend(windows, need_window(name, (JsonbValue *) lfirst(cell)));
	if (windows == NIL)
		pe_raise_bad_option(name, "a window or a list of windows");
	return windows;
}

/* ---- items ---------------------------------------------------------------------------- */

static bool
fits_side(PeEventMake make, bool label)
{
	switch (make)
	{
		case PE_MAKE_COUNT:
		case PE_MAKE_ANY:
		case PE_MAKE_SUM:
		case PE_MAKE_MEAN:
		case PE_MAKE_MIN:
		case PE_MAKE_MAX:
		case PE_MAKE_DISTINCT:
			return true;
		case PE_MAKE_DAYS_UNTIL_NEXT:
			return label;
		default:
			return !label && make <= PE_MAKE_RFM;
	}
}

static List *
need_makes(const JsonbValue *value, bool label)
{
	List *makes = NIL;
	ListCell *cell;

	foreach (cell, elements(value))
	{
		char *text =
		    need_text("make", (JsonbValue *) lfirst(cell), "the name of what to make, or a list of them");
		PeEventMake make = (PeEventMake) 0;

		for (int i = PE_MAKE_COUNT; i <= PE_MAKE_RFM; i++)
		{
			if (strcmp(make_names[i], text) == 0 && fits_side((PeEventMake) i, label))
				make = (PeEventMake) i;
		}
		if (make == 0)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			                errmsg("a %s cannot be \"%s\"", label ? "label" : "feature", text),
			                errhint("It is one of %s.", label ? LABEL_MAKES : FEATURE_MAKES)));
		makes = lappend_int(makes, make);
	}
	return makes;
}

static int
need_top(const JsonbValue *value)
{
	int64 top = 0;

	if (value->type == jbvNumeric)
		top = DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(value->val.numeric)));
	if (top < 1 || top > MOST_TOP)
		pe_raise_bad_option("top", psprintf("a whole number from 1 to %d", MOST_TOP));
	return (int) top;
}

static void
set_member(PeEventItem *item, const char *name, const JsonbValue *value)
{
	if (strcmp(name, "make") == 0)
		item->makes = need_makes(value, item->label);
	else if (strcmp(name, "of") == 0)
		item->of = need_text(name, value, "the name of a column");
	else if (strcmp(name, "by") == 0)
		item->by = need_text(name, value, "the name of a column");
	else if (strcmp(name, "as") == 0)
		item->as = need_text(name, value, "a word for the names of the columns");
	else if (strcmp(name, "values") == 0)
		item->values = pe_event_texts(name, value);
	else if (strcmp(name, "top") == 0)
		item->top = need_top(value);
	else if (!item->label && strcmp(name, "windows") == 0)
		item->windows = need_windows(name, value);
	else if (item->label && strcmp(name, "within") == 0)
		item->windows = need_windows(name, value);
	else if (!item->label && strcmp(name, "to") == 0 && is_text(value) &&
	         strcmp(pe_scalar_text(value), "previous") == 0)
		item->to_previous = true;
	else if (!item->label && strcmp(name, "to") == 0)
		item->to = need_window(name, value);
	else if (!item->label && strcmp(name, "unit") == 0)
		item->unit_days = pe_unit_days(need_text(name, value, "a unit of time"), "unit");
	else
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("a %s has no member \"%s\"", item->label ? "label" : "feature", name),
		                errhint("Valid members are make, of, by, values, top, as, %s.",
		                        item->label ? "within" : "windows, to and unit")));
}

static bool
makes_one_of(const PeEventItem *item, PeEventMake make)
{
	return list_member_int(item->makes, make);
}

/* What only all members together can tell. */
static void
check_item(const PeEventItem *item)
{
	const char *wrong = NULL;

	if (item->makes == NIL)
		wrong = "it has no \"make\"";
	else if (item->of == NULL && (makes_one_of(item, PE_MAKE_SUM) || makes_one_of(item, PE_MAKE_MEAN) ||
	                              makes_one_of(item, PE_MAKE_MIN) || makes_one_of(item, PE_MAKE_MAX) ||
	                              makes_one_of(item, PE_MAKE_DISTINCT)))
		wrong = "what it makes needs \"of\", a column";
	else if (item->by == NULL && (item->values != NIL || item->top > 0))
		wrong = "it has values, but no \"by\"";
	else if (item->by == NULL && makes_one_of(item, PE_MAKE_SHARE))
		wrong = "a share needs \"by\", the column whose values have shares";
	else if (item->by != NULL && makes_one_of(item, PE_MAKE_RFM))
		wrong = "rfm cannot be split by a column";
	else if (makes_one_of(item, PE_MAKE_RATIO) && item->to == NULL && !item->to_previous)
		wrong = "a ratio needs \"to\", another window or \"previous\"";
	else if (item->label && item->windows == NIL && !makes_one_of(item, PE_MAKE_DAYS_UNTIL_NEXT))
		wrong = "it needs \"within\"";
	if (wrong != NULL)
		ereport(
		    ERROR,
		    (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		     errmsg("a %s of the declaration: %s", item->label ? "label" : "feature", wrong),
		     errhint("Such as {\"make\": [\"count\", \"sum\"], \"of\": \"amount\", \"%s\": [\"30 days\"]}.",
		             item->label ? "within" : "windows")));
}

static PeEventItem *
need_item(const JsonbValue *value, bool label, List *windows)
{
	PeEventItem *item = palloc0(sizeof(PeEventItem));
	JsonbIterator *iterator;
	JsonbValue name, member;
	ListCell *cell;

	item->label = label;
	item->unit_days = 7;
	if (is_text(value))
		item->makes = need_makes(value, label);
	else if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		pe_raise_bad_option(label ? "labels" : "features", "a list of objects with \"make\"");
	else
	{
		iterator = JsonbIteratorInit(value->val.binary.data);
		(void) JsonbIteratorNext(&iterator, &name, true);
		while (JsonbIteratorNext(&iterator, &name, true) == WJB_KEY)
		{
			(void) JsonbIteratorNext(&iterator, &member, true);
			set_member(item, pnstrdup(name.val.string.val, name.val.string.len), &member);
		}
	}
	if (!label && item->windows == NIL)
		item->windows = windows;
	check_item(item);
	foreach (cell, item->windows)
	{
		if (label && ((PeEventWindow *) lfirst(cell))->length == PE_EVENT_NO_END)
			pe_raise_bad_option("within", "a window with an end: what lies ahead is never all known");
	}
	return item;
}

static List *
need_items(const char *name, const JsonbValue *value, List *windows)
{
	List *items = NIL;
	ListCell *cell;

	foreach (cell, elements(value))
		items = lappend(items, need_item((JsonbValue *) lfirst(cell), strcmp(name, "labels") == 0, windows));
	return items;
}

static bool
member_of(Jsonb *object, const char *name, JsonbValue *value)
{
	return getKeyJsonValueFromContainer(&object->root, name, (int) strlen(name), value) != NULL &&
	       value->type != jbvNull;
}

static void
check_members(Jsonb *declaration)
{
	JsonbIterator *iterator = JsonbIteratorInit(&declaration->root);
	JsonbValue name, member;

	(void) JsonbIteratorNext(&iterator, &name, true);
	while (JsonbIteratorNext(&iterator, &name, true) == WJB_KEY)
	{
		const char *text = pnstrdup(name.val.string.val, name.val.string.len);

		(void) JsonbIteratorNext(&iterator, &member, true);
		if (strcmp(text, "event") != 0 && strcmp(text, "windows") != 0 && strcmp(text, "features") != 0 &&
		    strcmp(text, "labels") != 0 && strcmp(text, "values") != 0)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			                errmsg("the declaration has no member \"%s\"", text),
			                errhint("Valid members are event, windows, features, labels and values.")));
	}
}

PeEventDeclaration
pe_event_declaration(Jsonb *declaration)
{
	PeEventDeclaration result = {.event = "event"};
	JsonbValue all = {.type = jbvString, .val.string = {.len = 3, .val = "all"}};
	List *windows = list_make1(need_window("windows", &all));
	JsonbValue value;

	if (!JB_ROOT_IS_OBJECT(declaration))
		pe_raise_bad_option("declaration", "a JSON object with \"features\"");
	check_members(declaration);
	if (member_of(declaration, "event", &value))
		result.event = need_text("event", &value, "a word for one event, such as \"order\"");
	if (member_of(declaration, "windows", &value))
		windows = need_windows("windows", &value);
	if (member_of(declaration, "features", &value))
		result.items = need_items("features", &value, windows);
	if (member_of(declaration, "labels", &value))
		result.items = list_concat(result.items, need_items("labels", &value, NIL));
	if (member_of(declaration, "values", &value))
	{
		if (value.type != jbvBinary || !JsonContainerIsObject(value.val.binary.data))
			pe_raise_bad_option("values", "an object of columns and lists of values");
		result.values = JsonbValueToJsonb(&value);
	}
	if (result.items == NIL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("the declaration has no features and no labels"),
		                errhint("Such as {\"event\": \"order\", \"windows\": [\"30 days\", \"all\"], "
		                        "\"features\": [\"count\", {\"make\": \"sum\", \"of\": \"amount\"}]}.")));
	return result;
}
