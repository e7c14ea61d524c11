/*
 * hysteresis.c
 *		Is a changed value worth sending?
 *
 * All arithmetic is decimal and exact, on the numbers as they are sent: from 0.1 to 0.3
 * is a step of 0.2, which in binary it is not.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "pg/hysteresis.h"

struct PeHysteresis
{
	List *rules;             /* of PeSendRule * */
	Datum names;             /* text[]: the attributes that have one */
	TimestampTz stale_until; /* a value of then or before is too old to hold anything back */
};

PeHysteresis *
pe_hysteresis_open(const PeEnrichment *e, TimestampTz now)
{
	PeHysteresis *hysteresis;
	Datum *names;
	ListCell *cell;
	int count = 0;

	if (e->send_rules == NIL)
		return NULL;
	hysteresis = palloc0(sizeof(PeHysteresis));
	hysteresis->rules = e->send_rules;
	names = palloc(sizeof(Datum) * list_length(e->send_rules));
	foreach (cell, e->send_rules)
		names[count++] = CStringGetTextDatum(((PeSendRule *) lfirst(cell))->attribute);
	hysteresis->names = PointerGetDatum(construct_array(names, count, TEXTOID, -1, false, TYPALIGN_INT));
	hysteresis->stale_until = DT_NOBEGIN;
	if (e->max_age != NULL)
		hysteresis->stale_until = DatumGetTimestampTz(DirectFunctionCall2(
		    timestamptz_mi_interval, TimestampTzGetDatum(now), IntervalPGetDatum(e->max_age)));
	return hysteresis;
}

static int
compare(Numeric left, Numeric right)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(left), NumericGetDatum(right)));
}

/* How many boundaries a number has reached. */
static int
bucket_of(const PeSendRule *rule, Numeric number)
{
	int bucket = 0;

	while (bucket < rule->nbuckets && compare(rule->buckets[bucket], number) <= 0)
		bucket++;
	return bucket;
}

static bool
moved_enough(const PeSendRule *rule, Numeric before, Numeric after)
{
	Datum step = DirectFunctionCall2(numeric_sub, NumericGetDatum(after), NumericGetDatum(before));

	if (rule->min_delta != NULL &&
	    compare(DatumGetNumeric(DirectFunctionCall1(numeric_abs, step)), rule->min_delta) >= 0)
		return true;
	return rule->nbuckets > 0 && bucket_of(rule, before) != bucket_of(rule, after);
}

static bool
find_attribute(Jsonb *value, const char *name, JsonbValue *found)
{
	return getKeyJsonValueFromContainer(&value->root, name, strlen(name), found) != NULL;
}

/* Does an attribute's rule say that the step must be sent? */
static bool
rule_sends(const PeSendRule *rule, Jsonb *before, Jsonb *after)
{
	JsonbValue old, new;
	bool had = find_attribute(before, rule->attribute, &old);
	bool has = find_attribute(after, rule->attribute, &new);

	if (!had || !has)
		return had != has;
	/* The column may have had another type when the old value was queued. */
	if (old.type != jbvNumeric || new.type != jbvNumeric)
		return true;
	return moved_enough(rule, old.val.numeric, new.val.numeric);
}

/* An object without the attributes that have a rule. */
static Datum
without_rules(const PeHysteresis *hysteresis, Jsonb *value)
{
	return DirectFunctionCall2(jsonb_delete_array, JsonbPGetDatum(value), hysteresis->names);
}

bool
pe_hysteresis_holds_back(const PeHysteresis *hysteresis, Jsonb *before, TimestampTz queued_at, Jsonb *after)
{
	ListCell *cell;

	if (queued_at <= hysteresis->stale_until)
		return false;
	foreach (cell, hysteresis->rules)
		if (rule_sends(lfirst(cell), before, after))
			return false;
	return DatumGetBool(
	    DirectFunctionCall2(jsonb_eq, without_rules(hysteresis, before), without_rules(hysteresis, after)));
}

/* ---- buckets ------------------------------------------------------------------------------- */

#define BUCKET_ATTRIBUTE "bucket"

static bool
has_bucket_attribute(const PeEnrichment *e)
{
	for (int i = 0; i < e->nattributes; i++)
		if (strcmp(e->attributes[i].name, BUCKET_ATTRIBUTE) == 0)
			return true;
	return false;
}

bool
pe_has_buckets(const PeEnrichment *e)
{
	ListCell *cell;

	foreach (cell, e->send_rules)
		if (((PeSendRule *) lfirst(cell))->nbuckets > 0)
			return true;
	return has_bucket_attribute(e);
}

static bool
same_scalar(const JsonbValue *left, const JsonbValue *right)
{
	if (left->type != right->type)
		return false;
	if (left->type == jbvNumeric)
		return compare(left->val.numeric, right->val.numeric) == 0;
	return left->type == jbvString && left->val.string.len == right->val.string.len &&
	       memcmp(left->val.string.val, right->val.string.val, left->val.string.len) == 0;
}

static bool
attribute_differs(const char *name, Jsonb *before, Jsonb *after)
{
	JsonbValue old, new;
	bool had = find_attribute(before, name, &old);
	bool has = find_attribute(after, name, &new);

	return had != has || (had && !same_scalar(&old, &new));
}

bool
pe_bucket_changes(const PeEnrichment *e, Jsonb *before, Jsonb *after)
{
	ListCell *cell;

	foreach (cell, e->send_rules)
	{
		PeSendRule boundaries = *(PeSendRule *) lfirst(cell);

		boundaries.min_delta = NULL;
		if (boundaries.nbuckets > 0 && rule_sends(&boundaries, before, after))
			return true;
	}
	return has_bucket_attribute(e) && attribute_differs(BUCKET_ATTRIBUTE, before, after);
}
