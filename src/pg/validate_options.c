/*
 * validate_options.c
 *		What validate_snapshot is asked: thresholds and levels, from a JSON object.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "pg/validate.h"

#define MAX_DAYS   400
#define MAX_SAMPLE 10000000

typedef enum OptionKind
{
	OPTION_COUNT,
	OPTION_TEXT,
	OPTION_LIMITS,
	OPTION_LEVEL
} OptionKind;

typedef struct Option
{
	const char *name;
	OptionKind kind;
	size_t offset;
	int most; /* of a count */
} Option;

#define OPTION(name, kind, most)                                                                             \
	{                                                                                                        \
#name, kind, offsetof(PeValidateOptions, name), most                                                 \
	}

static const Option known[] = {
    OPTION(days, OPTION_COUNT, MAX_DAYS),
    OPTION(sample, OPTION_COUNT, MAX_SAMPLE),
    OPTION(key, OPTION_TEXT, 0),
    OPTION(row_count, OPTION_LIMITS, 0),
    OPTION(null_share, OPTION_LIMITS, 0),
    OPTION(psi, OPTION_LIMITS, 0),
    OPTION(duplicate_keys, OPTION_LIMITS, 0),
    OPTION(lost_column, OPTION_LEVEL, 0),
    OPTION(new_column, OPTION_LEVEL, 0),
    OPTION(constant_column, OPTION_LEVEL, 0),
    OPTION(stale, OPTION_LEVEL, 0),
};

PeValidateOptions
pe_validate_defaults(void)
{
	return (PeValidateOptions){
	    .days = 7,
	    .sample = 100000,
	    .row_count = {0.1, 0.3},
	    .null_share = {0.05, 0.2},
	    .psi = {0.1, 0.25},
	    .duplicate_keys = {0, 0.01},
	    .lost_column = PE_VERDICT_FAIL,
	    .new_column = PE_VERDICT_OK,
	    .constant_column = PE_VERDICT_WARN,
	    .stale = PE_VERDICT_FAIL,
	};
}

static void
refuse(const char *name, const char *wanted)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
	                errmsg("option \"%s\" of the validation must be %s", name, wanted)));
}

static const Option *
find_option(const JsonbValue *key)
{
	for (int i = 0; i < lengthof(known); i++)
		if (strlen(known[i].name) == key->val.string.len &&
		    memcmp(known[i].name, key->val.string.val, key->val.string.len) == 0)
			return &known[i];
	ereport(ERROR,
	        (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
	         errmsg("validation has no option \"%s\"", pnstrdup(key->val.string.val, key->val.string.len)),
	         errhint("Options are days, sample, key, row_count, null_share, psi, duplicate_keys, "
	                 "lost_column, new_column, constant_column and stale.")));
	pg_unreachable();
}

static double
number_of(const char *name, const JsonbValue *value)
{
	double number = -1;

	if (value->type == jbvNull)
		return get_float8_infinity();
	if (value->type == jbvNumeric)
		number = DatumGetFloat8(
		    DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(value->val.numeric)));
	if (number < 0)
		refuse(name, "a number from 0 up, null, or a list of two: [warn, fail]");
	return number;
}

static void
set_limits(const char *name, const JsonbValue *value, PeLimits *limits)
{
	JsonbValue *warn, *fail;

	if (value->type != jbvBinary)
	{
		limits->warn = limits->fail = number_of(name, value);
		return;
	}
	warn = JsonContainerIsArray(value->val.binary.data) && JsonContainerSize(value->val.binary.data) == 2
	           ? getIthJsonbValueFromContainer(value->val.binary.data, 0)
	           : NULL;
	fail = warn != NULL ? getIthJsonbValueFromContainer(value->val.binary.data, 1) : NULL;
	if (fail == NULL)
	{
		refuse(name, "a number from 0 up, null, or a list of two: [warn, fail]");
		return;
	}
	limits->warn = number_of(name, warn);
	limits->fail = number_of(name, fail);
	if (limits->warn > limits->fail && warn->type != jbvNull)
		refuse(name, "[warn, fail], the first not above the second");
	limits->warn = Min(limits->warn, limits->fail);
}

static void
set_level(const char *name, const JsonbValue *value, PeVerdictStatus *level)
{
	for (PeVerdictStatus status = PE_VERDICT_OK; status <= PE_VERDICT_FAIL; status++)
	{
		const char *word = pe_verdict_status(status);

		if (value->type == jbvString && value->val.string.len == strlen(word) &&
		    memcmp(value->val.string.val, word, strlen(word)) == 0)
		{
			*level = status;
			return;
		}
	}
	refuse(name, "\"ok\", \"warn\" or \"fail\"");
}

static void
set_count(const Option *option, const JsonbValue *value, int *count)
{
	double number = value->type == jbvNumeric
	                    ? DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
	                                                         NumericGetDatum(value->val.numeric)))
	                    : 0;

	if (number < 1 || number > option->most || number != (int) number)
		refuse(option->name, psprintf("a whole number from 1 to %d", option->most));
	*count = (int) number;
}

static void
set_option(PeValidateOptions *options, const Option *option, const JsonbValue *value)
{
	void *place = (char *) options + option->offset;

	switch (option->kind)
	{
		case OPTION_COUNT:
			set_count(option, value, place);
			break;
		case OPTION_TEXT:
			if (value->type != jbvString || value->val.string.len == 0)
				refuse(option->name, "the name of a column");
			*(char **) place = pnstrdup(value->val.string.val, value->val.string.len);
			break;
		case OPTION_LIMITS:
			set_limits(option->name, value, place);
			break;
		case OPTION_LEVEL:
			set_level(option->name, value, place);
			break;
	}
}

void
pe_validate_options_set(PeValidateOptions *options, const Jsonb *json)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue value;

	if (!JB_ROOT_IS_OBJECT(json))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("options must be a JSON object"),
		                errhint("Write options such as {\"row_count\": [0.1, 0.3], \"key\": \"crm_id\"}.")));
	it = JsonbIteratorInit((JsonbContainer *) &json->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		const Option *option;

		if (token != WJB_KEY)
			continue;
		option = find_option(&value);
		(void) JsonbIteratorNext(&it, &value, true);
		set_option(options, option, &value);
	}
}
