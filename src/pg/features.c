/*
 * features.c
 *		How SQL columns become numbers and levels.
 *
 * What a type is turned into depends on the value alone: never on the session's time
 * zone, date style or locale, so that a model predicts the same for everybody.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/shortest_dec.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "model/model.h"
#include "pg/json_feature.h"

static const char *const treatment_names[] = {
    [PE_TREAT_NUMBER] = "number",     [PE_TREAT_BOOLEAN] = "boolean",
    [PE_TREAT_CATEGORY] = "category", [PE_TREAT_AGE] = "age",
    [PE_TREAT_KEY] = "keys",          [PE_TREAT_KEY_TEXT] = "key_text",
    [PE_TREAT_SEGMENT] = "segments",  [PE_TREAT_SEGMENT_AGE] = "segment_days",
    [PE_TREAT_LIST] = "list",         [PE_TREAT_LENGTH] = "length",
};

const char *
pe_treatment_name(PeTreatment treatment)
{
	return treatment >= PE_TREAT_NUMBER && treatment <= PE_TREAT_LAST ? treatment_names[treatment]
	                                                                  : "unknown";
}

PeTreatment
pe_treatment_from_name(const char *name)
{
	for (int i = PE_TREAT_NUMBER; i <= PE_TREAT_LAST; i++)
	{
		if (strcmp(treatment_names[i], name) == 0)
			return (PeTreatment) i;
	}
	return (PeTreatment) 0;
}

static bool
is_age(const PeFeature *feature)
{
	return feature->treatment == PE_TREAT_AGE || feature->treatment == PE_TREAT_SEGMENT_AGE;
}

/*
 * treatment;reference;bytes of column;column and key in one. The length in front of
 * the names makes any byte in them harmless.
 */
char *
pe_feature_encode(const PeFeature *feature)
{
	char reference[32] = "";

	if (is_age(feature) && feature->by_snapshot)
		strlcpy(reference, "row", sizeof(reference));
	else if (is_age(feature))
		snprintf(reference, sizeof(reference), "%.17g", feature->reference);
	return psprintf("%s;%s;%d;%s%s", treatment_names[feature->treatment], reference,
	                (int) strlen(feature->column), feature->column, feature->key != NULL ? feature->key : "");
}

PeFeature
pe_feature_decode(const char *text)
{
	PeFeature feature = {0};
	const char *reference = strchr(text, ';');
	const char *length = reference != NULL ? strchr(reference + 1, ';') : NULL;
	char *names = NULL;
	long bytes = length != NULL ? strtol(length + 1, &names, 10) : -1;

	if (names == NULL || *names != ';' || bytes < 0 || (size_t) bytes > strlen(names + 1))
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
		                errmsg("a feature of the model says nothing about its column")));
	names++;
	feature.treatment = pe_treatment_from_name(pnstrdup(text, reference - text));
	if (feature.treatment == 0)
		ereport(ERROR,
		        (errcode(ERRCODE_DATA_CORRUPTED), errmsg("a feature of the model has an unknown treatment")));
	feature.column = pnstrdup(names, bytes);
	feature.key = names[bytes] != '\0' ? pstrdup(names + bytes) : NULL;
	feature.by_snapshot = is_age(&feature) && strncmp(reference + 1, "row;", 4) == 0;
	feature.reference = strtod(reference + 1, NULL);
	return feature;
}

PeTreatment
pe_treatment_of_type(Oid type)
{
	type = getBaseType(type);
	switch (type)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			return PE_TREAT_NUMBER;
		case BOOLOID:
			return PE_TREAT_BOOLEAN;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case NAMEOID:
		case UUIDOID:
			return PE_TREAT_CATEGORY;
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return PE_TREAT_AGE;
		case JSONBOID:
			return PE_TREAT_KEY;
		case TEXTARRAYOID:
		case VARCHARARRAYOID:
			return PE_TREAT_LIST;
		default:
			return type_is_enum(type) ? PE_TREAT_CATEGORY : (PeTreatment) 0;
	}
}

static PeInputKind
kind_of_type(Oid type)
{
	switch (type)
	{
		case INT2OID:
			return PE_INPUT_INT2;
		case INT4OID:
			return PE_INPUT_INT4;
		case INT8OID:
			return PE_INPUT_INT8;
		case FLOAT4OID:
			return PE_INPUT_FLOAT4;
		case FLOAT8OID:
			return PE_INPUT_FLOAT8;
		case NUMERICOID:
			return PE_INPUT_NUMERIC;
		case BOOLOID:
			return PE_INPUT_BOOL;
		case DATEOID:
			return PE_INPUT_DATE;
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return PE_INPUT_TIMESTAMP;
		case TEXTOID:
		case VARCHAROID:
			return PE_INPUT_TEXT;
		case JSONBOID:
			return PE_INPUT_JSONB;
		case TEXTARRAYOID:
		case VARCHARARRAYOID:
			return PE_INPUT_ARRAY;
		default:
			return PE_INPUT_OUTPUT;
	}
}

bool
pe_input_init(PeInput *input, Oid type, PeTreatment treatment)
{
	PeInputKind kind = kind_of_type(getBaseType(type));
	bool fits = false;

	memset(input, 0, sizeof(*input));
	switch (treatment)
	{
		case PE_TREAT_NUMBER:
		case PE_TREAT_BOOLEAN:
			fits = kind >= PE_INPUT_INT2 && kind <= PE_INPUT_BOOL;
			break;
		case PE_TREAT_AGE:
			fits = kind == PE_INPUT_DATE || kind == PE_INPUT_TIMESTAMP;
			break;
		case PE_TREAT_KEY:
		case PE_TREAT_KEY_TEXT:
		case PE_TREAT_SEGMENT:
		case PE_TREAT_SEGMENT_AGE:
			fits = kind == PE_INPUT_JSONB;
			break;
		case PE_TREAT_LIST:
		case PE_TREAT_LENGTH:
			fits = kind == PE_INPUT_JSONB || kind == PE_INPUT_ARRAY;
			break;
		case PE_TREAT_CATEGORY:
			/* Numbers and booleans have one text each; dates' would follow the session's style. */
			fits = kind != PE_INPUT_DATE && kind != PE_INPUT_TIMESTAMP && kind != PE_INPUT_JSONB &&
			       kind != PE_INPUT_ARRAY;
			break;
	}
	if (!fits)
		return false;
	input->kind = kind;
	if (treatment == PE_TREAT_CATEGORY && (kind == PE_INPUT_NUMERIC || kind == PE_INPUT_OUTPUT))
	{
		Oid function;
		bool is_varlena;

		getTypeOutputInfo(getBaseType(type), &function, &is_varlena);
		fmgr_info(function, &input->output);
		input->kind = PE_INPUT_OUTPUT;
	}
	return true;
}

#define DAYS_OF_MICROSECONDS(us) ((double) (us) / (double) USECS_PER_DAY)

double
pe_input_number(const PeInput *input, Datum value)
{
	switch (input->kind)
	{
		case PE_INPUT_INT2:
			return DatumGetInt16(value);
		case PE_INPUT_INT4:
			return DatumGetInt32(value);
		case PE_INPUT_INT8:
			return (double) DatumGetInt64(value);
		case PE_INPUT_FLOAT4:
			return DatumGetFloat4(value);
		case PE_INPUT_FLOAT8:
			return DatumGetFloat8(value);
		case PE_INPUT_NUMERIC:
			return DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, value));
		case PE_INPUT_BOOL:
			return DatumGetBool(value) ? 1.0 : 0.0;
		case PE_INPUT_DATE:
			return DATE_NOT_FINITE(DatumGetDateADT(value)) ? NAN : (double) DatumGetDateADT(value);
		case PE_INPUT_TIMESTAMP:
			return TIMESTAMP_NOT_FINITE(DatumGetTimestamp(value))
			           ? NAN
			           : DAYS_OF_MICROSECONDS(DatumGetTimestamp(value));
		case PE_INPUT_TEXT:
		case PE_INPUT_OUTPUT:
		case PE_INPUT_JSONB:
		case PE_INPUT_ARRAY:
			break;
	}
	return NAN;
}

static inline bool
is_integer(const PeInput *input)
{
	return input->kind == PE_INPUT_INT2 || input->kind == PE_INPUT_INT4 || input->kind == PE_INPUT_INT8;
}

const char *
pe_input_key(const PeInput *input, Datum value, char *buffer, size_t *length)
{
	int64 number;

	if (!is_integer(input))
		return pe_input_text(input, value, length);
	number = input->kind == PE_INPUT_INT8   ? DatumGetInt64(value)
	         : input->kind == PE_INPUT_INT4 ? DatumGetInt32(value)
	                                        : DatumGetInt16(value);
	*length = (size_t) pg_lltoa(number, buffer);
	return buffer;
}

const char *
pe_input_text(const PeInput *input, Datum value, size_t *length)
{
	const char *text;

	if (is_integer(input))
		return pe_input_key(input, value, palloc(PE_KEY_BUFFER), length);

	if (input->kind == PE_INPUT_TEXT)
	{
		struct varlena *varlena = PG_DETOAST_DATUM_PACKED(value);

		*length = VARSIZE_ANY_EXHDR(varlena);
		return VARDATA_ANY(varlena);
	}
	if (input->kind == PE_INPUT_BOOL)
		text = DatumGetBool(value) ? "true" : "false";
	/* The types' own output follows extra_float_digits. */
	else if (input->kind == PE_INPUT_FLOAT4)
		text = float_to_shortest_decimal(DatumGetFloat4(value));
	else if (input->kind == PE_INPUT_FLOAT8)
		text = double_to_shortest_decimal(DatumGetFloat8(value));
	else
		text = OutputFunctionCall((FmgrInfo *) &input->output, value);
	*length = strlen(text);
	/* character(n) is padded; the padding is no part of the value. */
	if (input->output.fn_oid == F_BPCHAROUT)
	{
		while (*length > 0 && text[*length - 1] == ' ')
			(*length)--;
	}
	return text;
}

const char *
pe_input_level(const PeInput *input, Datum value, size_t *length)
{
	const char *text = pe_input_text(input, value, length);

	if (*length > PE_MAX_LEVEL_LENGTH)
		*length = pg_mbcliplen(text, (int) *length, PE_MAX_LEVEL_LENGTH);
	return text;
}

bool
pe_feature_is_category(const PeFeature *feature)
{
	return feature->treatment == PE_TREAT_CATEGORY || feature->treatment == PE_TREAT_KEY_TEXT;
}

const char *
pe_feature_level(const PeFeature *feature, const PeInput *input, Datum value, size_t *length)
{
	const char *text;

	if (feature->treatment == PE_TREAT_CATEGORY)
		return pe_input_level(input, value, length);
	text = pe_part_text(feature->key, value, length);
	if (text != NULL && *length > PE_MAX_LEVEL_LENGTH)
		*length = pg_mbcliplen(text, (int) *length, PE_MAX_LEVEL_LENGTH);
	return text;
}

double
pe_feature_number(const PeFeature *feature, const PeInput *input, Datum value, bool isnull, double snapshot)
{
	if (isnull || pe_feature_is_category(feature))
		return NAN;
	switch (feature->treatment)
	{
		case PE_TREAT_NUMBER:
		case PE_TREAT_BOOLEAN:
			return pe_input_number(input, value);
		case PE_TREAT_AGE:
			return (feature->by_snapshot ? snapshot : feature->reference) - pe_input_number(input, value);
		default:
			return pe_part_number(feature, input, value, snapshot);
	}
}

char *
pe_feature_display(const PeFeature *feature, double number)
{
	char *text;

	if (isnan(number))
		return NULL;
	if (feature->treatment == PE_TREAT_BOOLEAN || feature->treatment == PE_TREAT_SEGMENT ||
	    feature->treatment == PE_TREAT_LIST)
		return pstrdup(number != 0 ? "true" : "false");
	if (is_age(feature))
		return psprintf("%.0f days", number);
	text = palloc(DOUBLE_SHORTEST_DECIMAL_LEN);
	double_to_shortest_decimal_buf(number, text);
	return text;
}
