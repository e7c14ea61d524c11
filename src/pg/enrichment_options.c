/*
 * enrichment_options.c
 *		The options of an enrichment, from their jsonb.
 */
#include "postgres.h"

#include <math.h>

#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "pg/enrichment_define.h"

#define DEFAULT_MAX_RETRACT 0.05

typedef void (*option_reader)(const char *name, const JsonbValue *value, PeEnrichment *e);

static void read_on_absent(const char *name, const JsonbValue *value, PeEnrichment *e);
static void read_on_duplicate(const char *name, const JsonbValue *value, PeEnrichment *e);
static void read_max_retract(const char *name, const JsonbValue *value, PeEnrichment *e);
static void read_mode(const char *name, const JsonbValue *value, PeEnrichment *e);
static void refuse_option(const char *name, const JsonbValue *value, PeEnrichment *e);

static const struct
{
	const char *name;
	option_reader read;
} readers[] = {
    {"on_absent", read_on_absent}, {"on_duplicate", read_on_duplicate}, {"max_retract", read_max_retract},
    {"mode", read_mode},           {"min_delta", refuse_option},        {"max_age", refuse_option},
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
	if (is_string(value, "streaming"))
		return;
	if (is_string(value, "batch") || is_string(value, "auto"))
		ereport(ERROR,
		        (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
		         errmsg("option \"mode\" can only be \"streaming\" in this version"),
		         errhint("Leave it out: streaming delivers up to a few million changed profiles a day.")));
	wrong_value(name, "Give \"streaming\".");
}

static void
refuse_option(const char *name, const JsonbValue *value, PeEnrichment *e)
{
	ereport(ERROR,
	        (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
	         errmsg("option \"%s\" is not offered in this version", name),
	         errhint("Round or bucket the value in the source, so that small moves do not change it.")));
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
	                errhint("Options of an enrichment are on_absent, on_duplicate, max_retract and mode.")));
}

void
pe_enrichment_parse_options(const Jsonb *options, PeEnrichment *e)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue key, value;

	e->retract_absent = false;
	e->max_retract = DEFAULT_MAX_RETRACT;
	e->duplicate_column = NULL;
	e->duplicate_highest = false;
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
}
