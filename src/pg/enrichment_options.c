/*
 * enrichment_options.c
 *		The options of an enrichment, from their jsonb.
 */
#include "postgres.h"

#include <math.h>

#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/float.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "pg/enrichment_define.h"

#define DEFAULT_MAX_RETRACT 0.05

typedef void (*option_reader)(const char *name, const JsonbValue *value, PeEnrichment *e);

static void read_on_absent(const char *name, const JsonbValue *value, PeEnrichment *e);
static void read_on_duplicate(const char *name, const JsonbValue *value, PeEnrichment *e);
static void read_max_retract(const char *name, const JsonbValue *value, PeEnrichment *e);
static void read_mode(const char *name, const JsonbValue *value, PeEnrichment *e);
static void read_min_delta(const char *name, const JsonbValue *value, PeEnrichment *e);
static void read_buckets(const char *name, const JsonbValue *value, PeEnrichment *e);
static void read_max_age(const char *name, const JsonbValue *value, PeEnrichment *e);
static void read_gate(const char *name, const JsonbValue *value, PeEnrichment *e);
static void read_consent(const char *name, const JsonbValue *value, PeEnrichment *e);

static const struct
{
	const char *name;
	option_reader read;
} readers[] = {
    {"on_absent", read_on_absent},     {"on_duplicate", read_on_duplicate},
    {"max_retract", read_max_retract}, {"mode", read_mode},
    {"min_delta", read_min_delta},     {"buckets", read_buckets},
    {"max_age", read_max_age},         {"gate", read_gate},
    {"consent", read_consent},
};

static void
wrong_value(const char *name, const char *hint)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid value for option \"%s\"", name),
	                errhint("%s", hint)));
}

static bool
is_string(const JsonbValue *value, const char *expected)
{
	return value->type == jbvString && value->val.string.len == strlen(expected) &&
	       memcmp(value->val.string.val, expected, value->val.string.len) == 0;
}

static void
read_on_absent(const char *name, const JsonbValue *value, PeEnrichment *e)
{
	e->retract_absent = is_string(value, "retract");
	if (!e->retract_absent && !is_string(value, "keep"))
		wrong_value(name,
		            "Give \"keep\", which leaves the values of profiles that left the source as they are, or "
		            "\"retract\", which clears them.");
}

static void
read_on_duplicate(const char *name, const JsonbValue *value, PeEnrichment *e)
{
	const char *hint = "Give \"error\", or {\"highest\": column} or {\"lowest\": column}: which of the rows "
	                   "with one key counts.";
	JsonbIterator *iterator;
	JsonbValue key, item;

	if (is_string(value, "error"))
		return;
	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data) ||
	    JsonContainerSize(value->val.binary.data) != 1)
		wrong_value(name, hint);
	iterator = JsonbIteratorInit(value->val.binary.data);
	(void) JsonbIteratorNext(&iterator, &key, true);
	(void) JsonbIteratorNext(&iterator, &key, true);
	(void) JsonbIteratorNext(&iterator, &item, true);
	e->duplicate_highest = is_string(&key, "highest");
	if ((!e->duplicate_highest && !is_string(&key, "lowest")) || item.type != jbvString)
		wrong_value(name, hint);
	e->duplicate_column = pnstrdup(item.val.string.val, item.val.string.len);
}

static void
read_max_retract(const char *name, const JsonbValue *value, PeEnrichment *e)
{
	if (value->type != jbvNumeric)
		wrong_value(name,
		            "Give a share between 0 and 1: 0.05 stops a refresh that would retract more than 5 %.");
	e->max_retract = DatumGetFloat8(DirectFunctionCall1(numeric_float8, NumericGetDatum(value->val.numeric)));
	if (!(e->max_retract >= 0 && e->max_retract <= 1))
		wrong_value(name,
		            "Give a share between 0 and 1: 0.05 stops a refresh that would retract more than 5 %.");
}

static void
read_mode(const char *name, const JsonbValue *value, PeEnrichment *e)
{
	if (value->type != jbvString ||
	    !pe_delivery_mode_parse(value->val.string.val, (size_t) value->val.string.len, &e->mode))
		wrong_value(name,
		            "Give \"auto\", which takes batches for large changes, \"streaming\" or \"batch\".");
}

/* The rule of an attribute, made when it has none yet. */
static PeSendRule *
send_rule(PeEnrichment *e, const JsonbValue *attribute)
{
	PeSendRule *rule;
	ListCell *cell;

	foreach (cell, e->send_rules)
	{
		rule = lfirst(cell);
		if (is_string(attribute, rule->attribute))
			return rule;
	}
	rule = palloc0(sizeof(PeSendRule));
	rule->attribute = pnstrdup(attribute->val.string.val, attribute->val.string.len);
	e->send_rules = lappend(e->send_rules, rule);
	return rule;
}

static Numeric
copy_numeric(const JsonbValue *value)
{
	return DatumGetNumericCopy(NumericGetDatum(value->val.numeric));
}

static int
compare_numeric(Numeric left, Numeric right)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(left), NumericGetDatum(right)));
}

/* Begins to read an object of attribute to something; raises with hint for anything else. */
static JsonbIterator *
open_object(const char *name, const JsonbValue *value, const char *hint)
{
	JsonbIterator *iterator;
	JsonbValue start;

	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		wrong_value(name, hint);
	iterator = JsonbIteratorInit(value->val.binary.data);
	(void) JsonbIteratorNext(&iterator, &start, true);
	return iterator;
}

static void
read_min_delta(const char *name, const JsonbValue *value, PeEnrichment *e)
{
	const char *hint = "Give an object of attributes and positive numbers: {\"probability\": 0.02} sends a "
	                   "probability when it moved by at least 0.02.";
	JsonbIterator *iterator = open_object(name, value, hint);
	JsonbValue attribute, delta;

	while (JsonbIteratorNext(&iterator, &attribute, true) == WJB_KEY)
	{
		PeSendRule *rule = send_rule(e, &attribute);

		(void) JsonbIteratorNext(&iterator, &delta, true);
		if (delta.type != jbvNumeric)
			wrong_value(name, hint);
		rule->min_delta = copy_numeric(&delta);
		if (compare_numeric(rule->min_delta, int64_to_numeric(0)) <= 0)
			wrong_value(name, hint);
	}
}

static void
read_buckets(const char *name, const JsonbValue *value, PeEnrichment *e)
{
	const char *hint = "Give an object of attributes and ascending boundaries: {\"score\": [20, 40, 60, 80]} "
	                   "sends a score when it moved into another bucket.";
	JsonbIterator *iterator = open_object(name, value, hint);
	JsonbValue attribute, list;

	while (JsonbIteratorNext(&iterator, &attribute, true) == WJB_KEY)
	{
		PeSendRule *rule = send_rule(e, &attribute);
		JsonbContainer *boundaries;

		(void) JsonbIteratorNext(&iterator, &list, true);
		if (list.type != jbvBinary || !JsonContainerIsArray(list.val.binary.data) ||
		    JsonContainerSize(list.val.binary.data) == 0)
			wrong_value(name, hint);
		boundaries = list.val.binary.data;
		rule->nbuckets = JsonContainerSize(boundaries);
		rule->buckets = palloc(sizeof(Numeric) * rule->nbuckets);
		for (int i = 0; i < rule->nbuckets; i++)
		{
			JsonbValue *boundary = getIthJsonbValueFromContainer(boundaries, i);

			if (boundary->type != jbvNumeric)
				wrong_value(name, hint);
			rule->buckets[i] = copy_numeric(boundary);
			if (i > 0 && compare_numeric(rule->buckets[i - 1], rule->buckets[i]) >= 0)
				wrong_value(name, hint);
		}
	}
}

/* What interval_in does, without raising: NULL for what is no interval. */
static Interval *
parse_interval(char *text)
{
	char work[256];
	char *field[MAXDATEFIELDS];
	int type[MAXDATEFIELDS];
	int count, kind;
	struct pg_itm_in parts = {0};
	Interval *interval = palloc(sizeof(Interval));
	int failed = ParseDateTime(text, work, sizeof(work), field, type, MAXDATEFIELDS, &count);

	if (failed == 0)
		failed = DecodeInterval(field, type, count, INTERVAL_FULL_RANGE, &kind, &parts);
	if (failed != 0 || kind != DTK_DELTA || itmin2interval(&parts, interval) != 0)
		return NULL;
	return interval;
}

static void
read_max_age(const char *name, const JsonbValue *value, PeEnrichment *e)
{
	const char *hint = "Give a positive interval: \"7 days\" sends any change of a value that is older.";
	Interval zero = {0};

	if (value->type != jbvString)
		wrong_value(name, hint);
	e->max_age = parse_interval(pnstrdup(value->val.string.val, value->val.string.len));
	if (e->max_age == NULL || !DatumGetBool(DirectFunctionCall2(interval_gt, IntervalPGetDatum(e->max_age),
	                                                            IntervalPGetDatum(&zero))))
		wrong_value(name, hint);
}

/* Where the limits of a gate are when nothing else is said. */
static const PeGateLimits default_gate = {
    .on = true, .psi = 0.25, .bucket = 0.25, .lost = 0.1, .appeared = 0.25};

static void
read_gate(const char *name, const JsonbValue *value, PeEnrichment *e)
{
	const char *hint =
	    "Give true, false, or an object of limits: {\"psi\": 0.25, \"bucket\": 0.25, \"lost\": 0.1, "
	    "\"new\": 0.25}; null judges a measure never.";
	const struct
	{
		const char *name;
		double *limit;
	} limits[] = {{"psi", &e->gate.psi},
	              {"bucket", &e->gate.bucket},
	              {"lost", &e->gate.lost},
	              {"new", &e->gate.appeared}};
	JsonbIterator *iterator;
	JsonbValue key, limit;

	if (value->type == jbvBool && !value->val.boolean)
		return;
	e->gate = default_gate;
	if (value->type == jbvBool)
		return;
	iterator = open_object(name, value, hint);
	while (JsonbIteratorNext(&iterator, &key, true) == WJB_KEY)
	{
		double *wanted = NULL;

		(void) JsonbIteratorNext(&iterator, &limit, true);
		for (int i = 0; i < lengthof(limits); i++)
			if (is_string(&key, limits[i].name))
				wanted = limits[i].limit;
		if (wanted == NULL || (limit.type != jbvNumeric && limit.type != jbvNull))
			wrong_value(name, hint);
		*wanted =
		    limit.type == jbvNull
		        ? get_float8_infinity()
		        : DatumGetFloat8(DirectFunctionCall1(numeric_float8, NumericGetDatum(limit.val.numeric)));
		if (!(*wanted >= 0))
			wrong_value(name, hint);
	}
}

static void
read_consent(const char *name, const JsonbValue *value, PeEnrichment *e)
{
	if (value->type != jbvString || value->val.string.len == 0)
		wrong_value(name, "Give a text: the name of a boolean column, or a condition on a row, such as "
		                  "\"personalize IN ('y', 'dy')\".");
	e->consent = pnstrdup(value->val.string.val, value->val.string.len);
}

static void
read_option(const JsonbValue *key, const JsonbValue *value, PeEnrichment *e)
{
	for (int i = 0; i < lengthof(readers); i++)
	{
		if (is_string(key, readers[i].name))
		{
			readers[i].read(readers[i].name, value, e);
			return;
		}
	}
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
	                errmsg("unknown option \"%.*s\"", key->val.string.len, key->val.string.val),
	                errhint("Options of an enrichment are on_absent, on_duplicate, max_retract, min_delta, "
	                        "buckets, max_age, gate, consent and mode.")));
}

void
pe_enrichment_parse_options(const Jsonb *options, PeEnrichment *e)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue key, value;

	e->retract_absent = false;
	e->mode = PE_MODE_AUTO;
	e->max_retract = DEFAULT_MAX_RETRACT;
	e->duplicate_column = NULL;
	e->duplicate_highest = false;
	e->send_rules = NIL;
	e->max_age = NULL;
	e->consent = NULL;
	e->gate = (PeGateLimits){.psi = get_float8_infinity(),
	                         .bucket = get_float8_infinity(),
	                         .lost = get_float8_infinity(),
	                         .appeared = get_float8_infinity()};
	if (!JB_ROOT_IS_OBJECT(options))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("options must be a JSON object"),
		                errhint("For example: '{\"on_absent\": \"retract\"}'.")));
	iterator = JsonbIteratorInit((JsonbContainer *) &options->root);
	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		read_option(&key, &value, e);
	}
	if (e->max_age != NULL && e->send_rules == NIL)
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		         errmsg("option \"max_age\" is given without min_delta or buckets"),
		         errhint("It says for how long these may hold a change back; without them every change "
		                 "is sent.")));
}
