/*
 * json_look.c
 *		Which parts of a jsonb or array column become features: what the
 *first rows look like decides between map, segment membership and list, and the
 *most frequent keys, segments and elements are taken.
 */
#include "postgres.h"

#include <math.h>

#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "pg/json_feature.h"

#define MOST_PARTS        20 /* of one column */
#define MAX_PART_BYTES    200
#define MAX_COUNTED_PARTS 20000

/* A key, segment or element, and how often it was there. */
typedef struct Part
{
	char text[MAX_PART_BYTES]; /* hash key, zero padded */
	int64 numbers;             /* of a key: how often it had a number or boolean */
	int64 texts;
} Part;

struct PeJsonLook
{
	MemoryContext context;
	const PeInput *input;
	PeTreatment treatment; /* 0: not known yet */
	HTAB *parts;
	double latest;
};

PeJsonLook *
pe_json_look_create(MemoryContext context, const PeInput *input, PeTreatment wanted)
{
	HASHCTL control = {.keysize = MAX_PART_BYTES, .entrysize = sizeof(Part), .hcxt = context};
	PeJsonLook *look = MemoryContextAllocZero(context, sizeof(PeJsonLook));

	look->context = context;
	look->input = input;
	look->treatment = input->kind == PE_INPUT_ARRAY && wanted == 0 ? PE_TREAT_LIST : wanted;
	look->latest = NAN;
	look->parts = hash_create("parts of a column", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return look;
}

/* Counts a part, unless it is empty, too long, or there are too many. */
static void
count_part(PeJsonLook *look, const char *text, size_t length, bool is_number)
{
	char key[MAX_PART_BYTES] = {0};
	bool full = hash_get_num_entries(look->parts) >= MAX_COUNTED_PARTS;
	bool found;
	Part *part;

	if (length == 0 || length >= MAX_PART_BYTES)
		return;
	memcpy(key, text, length);
	part = hash_search(look->parts, key, full ? HASH_FIND : HASH_ENTER, &found);
	if (part == NULL)
		return;
	if (!found)
		part->numbers = part->texts = 0;
	if (is_number)
		part->numbers++;
	else
		part->texts++;
}

/* ---- shapes
 * ---------------------------------------------------------------------------
 */

static bool
is_object(const JsonbValue *value)
{
	return value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data);
}

/* {"status": ..., "lastQualificationTime": ...} */
static bool
is_membership(const JsonbValue *value)
{
	JsonbValue found;

	return is_object(value) &&
	       (getKeyJsonValueFromContainer(value->val.binary.data, "status", 6, &found) != NULL ||
	        getKeyJsonValueFromContainer(value->val.binary.data, "lastQualificationTime", 21, &found) !=
	            NULL);
}

/* Is one of the object's values a membership? */
static bool
has_membership(JsonbContainer *object)
{
	JsonbIterator *iterator = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue value;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_VALUE && is_membership(&value))
			return true;
	}
	return false;
}

/* What the values of an object say it is; 0: nothing, it is empty. */
static PeTreatment
treatment_of_object(JsonbContainer *object, const char **wrong)
{
	JsonbIterator *iterator = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue value;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token != WJB_VALUE)
			continue;
		if (value.type != jbvBinary)
			return PE_TREAT_KEY;
		if (is_membership(&value) || (is_object(&value) && has_membership(value.val.binary.data)))
			return PE_TREAT_SEGMENT;
		if (JsonContainerSize(value.val.binary.data) > 0)
			*wrong = "jsonb with nested values";
	}
	return (PeTreatment) 0;
}

/* The first value that says anything decides. Returns why the column cannot be used, or NULL. */
static const char *
decide(PeJsonLook *look, JsonbContainer *root)
{
	const char *wrong = NULL;

	if (JsonContainerIsArray(root) && !JsonContainerIsScalar(root))
		look->treatment = PE_TREAT_LIST;
	else if (JsonContainerIsObject(root))
		look->treatment = treatment_of_object(root, &wrong);
	else
		wrong = "jsonb that is no object and no list";
	return look->treatment == 0 ? wrong : NULL;
}

static const char *
look_at_map(PeJsonLook *look, JsonbContainer *root)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue key, value;

	if (!JsonContainerIsObject(root))
		return "jsonb that is not an object";
	iterator = JsonbIteratorInit(root);
	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (value.type == jbvBinary)
			return "jsonb with nested values";
		if (value.type != jbvNull)
			count_part(look, key.val.string.val, (size_t) key.val.string.len, value.type != jbvString);
	}
	return NULL;
}

static void
look_at_membership(PeJsonLook *look, const char *prefix, const JsonbValue *key, JsonbContainer *membership)
{
	char *text = psprintf("%s%.*s", prefix, key->val.string.len, key->val.string.val);
	JsonbValue time;

	if (pe_is_exited(membership))
		return;
	count_part(look, text, strlen(text), true);
	if (getKeyJsonValueFromContainer(membership, "lastQualificationTime", 21, &time) != NULL &&
	    time.type == jbvString)
	{
		double day = pe_iso_days(time.val.string.val, (size_t) time.val.string.len);

		if (!isnan(day) && !(day <= look->latest))
			look->latest = day;
	}
}

/* Segment to membership, below namespaces or at once. */
static void
look_at_segments(PeJsonLook *look, const char *prefix, JsonbContainer *object)
{
	JsonbIterator *iterator = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue key, value;

	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (is_membership(&value))
			look_at_membership(look, prefix, &key, value.val.binary.data);
		else if (is_object(&value) && prefix[0] == '\0')
			look_at_segments(look,
			                 psprintf("%.*s%c", key.val.string.len, key.val.string.val, PE_SEGMENT_SEPARATOR),
			                 value.val.binary.data);
	}
}

static void
count_element(void *arg, const char *text, size_t length)
{
	PeJsonLook *look = (PeJsonLook *) arg;

	if (memchr(text, '\0', length) == NULL)
		count_part(look, text, length, true);
}

const char *
pe_json_look_at(PeJsonLook *look, Datum value)
{
	const char *wrong = NULL;

	if (look->treatment == 0)
		wrong = decide(look, &DatumGetJsonbP(value)->root);
	if (wrong != NULL)
		return wrong;
	switch (look->treatment)
	{
		case PE_TREAT_KEY:
			return look_at_map(look, &DatumGetJsonbP(value)->root);
		case PE_TREAT_SEGMENT:
		case PE_TREAT_SEGMENT_AGE:
			if (!JB_ROOT_IS_OBJECT(DatumGetJsonbP(value)))
				return "jsonb that is not an object";
			look_at_segments(look, "", &DatumGetJsonbP(value)->root);
			return NULL;
		case PE_TREAT_LIST:
			if (pe_each_element(look->input, value, count_element, look) < 0)
				return "jsonb that is not a list";
			return NULL;
		default:
			return NULL;
	}
}

double
pe_json_look_latest(const PeJsonLook *look)
{
	return look->latest;
}

/* ---- features
 * ------------------------------------------------------------------------- */

static int
by_count(const void *left, const void *right)
{
	const Part *a = *(const Part *const *) left;
	const Part *b = *(const Part *const *) right;
	int64 in_a = a->numbers + a->texts, in_b = b->numbers + b->texts;

	if (in_a != in_b)
		return in_a > in_b ? -1 : 1;
	return strcmp(a->text, b->text);
}

/* All parts, the most frequent first, in a fixed order. */
static Part **
sorted_parts(const PeJsonLook *look, int *n)
{
	Part **parts = palloc(sizeof(Part *) * Max(hash_get_num_entries(look->parts), 1));
	HASH_SEQ_STATUS scan;
	Part *part;

	*n = 0;
	hash_seq_init(&scan, look->parts);
	while ((part = hash_seq_search(&scan)) != NULL)
		parts[(*n)++] = part;
	qsort(parts, *n, sizeof(Part *), by_count);
	return parts;
}

/* Below the namespace; with it where two namespaces have a segment of the name.
 */
static const char *
segment_name(Part **parts, int n, const char *key)
{
	const char *separator = strchr(key, PE_SEGMENT_SEPARATOR);
	const char *name = separator != NULL ? separator + 1 : key;

	for (int i = 0; separator != NULL && i < n; i++)
	{
		const char *other = strchr(parts[i]->text, PE_SEGMENT_SEPARATOR);

		if (strcmp(parts[i]->text, key) != 0 && other != NULL && strcmp(other + 1, name) == 0)
			return psprintf("%.*s/%s", (int) (separator - key), key, name);
	}
	return name;
}

static PeFeature *
add_feature(PeFeature *features, int *n, PeTreatment treatment, const char *column, const char *key,
            char *name)
{
	PeFeature *feature = &features[(*n)++];

	*feature = (PeFeature){.name = name, .treatment = treatment, .column = column, .key = key};
	return feature;
}

static void
add_part(const PeJsonLook *look, const char *column, Part **parts, int n_parts, const Part *part,
         PeFeature *features, int *n)
{
	const char *key = pstrdup(part->text);

	switch (look->treatment)
	{
		case PE_TREAT_KEY:
			add_feature(features, n, part->texts > part->numbers ? PE_TREAT_KEY_TEXT : PE_TREAT_KEY, column,
			            key, psprintf("%s.%s", column, key));
			break;
		case PE_TREAT_LIST:
			add_feature(features, n, PE_TREAT_LIST, column, key, psprintf("%s['%s']", column, key));
			break;
		default:
		{
			const char *segment = segment_name(parts, n_parts, key);

			add_feature(features, n, PE_TREAT_SEGMENT, column, key, psprintf("%s['%s']", column, segment));
			if (look->treatment == PE_TREAT_SEGMENT_AGE)
				add_feature(features, n, PE_TREAT_SEGMENT_AGE, column, key,
				            psprintf("%s['%s'] days", column, segment));
		}
	}
}

int
pe_json_look_features(const PeJsonLook *look, const char *column, PeFeature *features)
{
	int n_parts, n = 0;
	Part **parts = sorted_parts(look, &n_parts);

	if (look->treatment == PE_TREAT_LIST || look->treatment == PE_TREAT_LENGTH)
		add_feature(features, &n, PE_TREAT_LENGTH, column, NULL, psprintf("length(%s)", column));
	for (int i = 0; i < Min(n_parts, MOST_PARTS); i++)
		add_part(look, column, parts, n_parts, parts[i], features, &n);
	return n;
}
