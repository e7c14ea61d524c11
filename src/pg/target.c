/*
 * target.c
 *		The target column as a number.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "pg/target.h"

/* Texts that say yes and no in what people export; compared without case. */
static const char *const yes_words[] = {"true", "t", "yes", "y", "1", "on"};
static const char *const no_words[] = {"false", "f", "no", "n", "0", "off"};

static bool
among(const char *const *words, int n, const char *text, size_t length)
{
	for (int i = 0; i < n; i++)
	{
		if (strlen(words[i]) == length && pg_strncasecmp(words[i], text, length) == 0)
			return true;
	}
	return false;
}

pe_task
pe_target_task(Oid type)
{
	switch (pe_treatment_of_type(type))
	{
		case PE_TREAT_BOOLEAN:
		case PE_TREAT_CATEGORY:
			return PE_TASK_PROPENSITY;
		case PE_TREAT_NUMBER:
			return PE_TASK_VALUE;
		default:
			return (pe_task) 0;
	}
}

/* Two texts of a column, until a third one comes. */
typedef struct TextLook
{
	PeInput input;
	char *texts[2];
	size_t lengths[2];
	int n;
	int values;
	MemoryContext context;
} TextLook;

#define LOOKED_AT 10000 /* values */

static bool
look_at_text(void *arg, TupleTableSlot *slot)
{
	TextLook *look = (TextLook *) arg;
	const char *text;
	size_t length;

	if (slot->tts_isnull[0])
		return true;
	text = pe_input_level(&look->input, slot->tts_values[0], &length);
	for (int i = 0; i < look->n; i++)
		if (look->lengths[i] == length && memcmp(look->texts[i], text, length) == 0)
			return ++look->values < LOOKED_AT;
	if (look->n < 2)
	{
		look->texts[look->n] = MemoryContextAlloc(look->context, length + 1);
		memcpy(look->texts[look->n], text, length);
		look->lengths[look->n] = length;
	}
	return ++look->n <= 2 && ++look->values < LOOKED_AT;
}

bool
pe_target_has_classes(const PeSource *source, int column)
{
	TextLook look = {.context = CurrentMemoryContext};

	if (!pe_input_init(&look.input, TupleDescAttr(source->desc, column)->atttypid, PE_TREAT_CATEGORY))
		return false;
	pe_source_read(source, &column, 1, PE_SOURCE_ORDERED, look_at_text, &look);
	return look.n > 2;
}

PeTarget
pe_target_init(const char *column, Oid type, pe_task task, const char *positive)
{
	PeTarget target = {.column = column, .task = task, .context = CurrentMemoryContext};
	PeTreatment treatment = pe_treatment_of_type(type);

	target.positive = positive;
	target.positive_given = positive != NULL;
	target.by_text = task == PE_TASK_AFFINITY ||
	                 (task == PE_TASK_PROPENSITY && (positive != NULL || treatment == PE_TREAT_CATEGORY));
	if (task == PE_TASK_VALUE && treatment != PE_TREAT_NUMBER)
		ereport(ERROR,
		        (errcode(ERRCODE_DATATYPE_MISMATCH),
		         errmsg("target column \"%s\" is %s, and the task value needs a number", column,
		                format_type_be(type)),
		         errhint("Cast the target in the source, or use task propensity for a yes-or-no target.")));
	if (!pe_input_init(&target.input, type, target.by_text ? PE_TREAT_CATEGORY : PE_TREAT_NUMBER))
		ereport(ERROR,
		        (errcode(ERRCODE_DATATYPE_MISMATCH),
		         errmsg("target column \"%s\" is %s, which cannot be a target", column, format_type_be(type)),
		         errhint("A target is a boolean, a number or a text.")));
	if (positive != NULL && task != PE_TASK_PROPENSITY)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("option \"positive\" does not apply to task %s", pe_task_name(task))));
	return target;
}

static double
code_of_class(const PeTarget *target, Datum value)
{
	size_t length;
	const char *text = pe_input_level(&target->input, value, &length);
	int32 code = target->coder(target->coder_arg, text, length);

	return code >= 0 ? code : NAN;
}

static double
value_of_text(PeTarget *target, Datum value)
{
	size_t length;
	const char *text = pe_input_text(&target->input, value, &length);
	bool is_positive;
	const char **label;

	if (target->positive_given)
		is_positive = strlen(target->positive) == length && memcmp(target->positive, text, length) == 0;
	else if (among(yes_words, lengthof(yes_words), text, length))
		is_positive = true;
	else if (among(no_words, lengthof(no_words), text, length))
		is_positive = false;
	else
	{
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
		                errmsg("target column \"%s\" has texts other than yes and no", target->column),
		                errhint("Say which one counts: options => '{\"positive\": \"...\"}'; all others "
		                        "count as negative.")));
		pg_unreachable();
	}
	label = is_positive ? &target->positive : &target->negative;
	if (*label == NULL)
	{
		MemoryContext before = MemoryContextSwitchTo(target->context);

		*label = pnstrdup(text, length);
		MemoryContextSwitchTo(before);
	}
	else if (!is_positive && (strlen(*label) != length || memcmp(*label, text, length) != 0))
		target->many_negatives = true;
	return is_positive ? 1.0 : 0.0;
}

double
pe_target_value(PeTarget *target, Datum value, uint64 row)
{
	double number;

	if (target->task == PE_TASK_AFFINITY)
		return code_of_class(target, value);
	if (target->by_text)
		return value_of_text(target, value);
	number = pe_input_number(&target->input, value);
	if (!isfinite(number))
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
		                errmsg("target column \"%s\" is not a finite number in row %llu", target->column,
		                       (unsigned long long) row),
		                errhint("Leave such rows out of the source.")));
	if (target->task == PE_TASK_PROPENSITY && number != 0 && number != 1)
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
		                errmsg("target column \"%s\" has values other than 0 and 1, first in row %llu",
		                       target->column, (unsigned long long) row),
		                errhint("Use task value for amounts, or say which value counts: options => "
		                        "'{\"positive\": \"...\"}'.")));
	return number;
}

const char *
pe_target_positive_label(const PeTarget *target)
{
	if (target->task != PE_TASK_PROPENSITY)
		return NULL;
	if (target->by_text)
		return target->positive != NULL ? target->positive : "true";
	return target->input.kind == PE_INPUT_BOOL ? "true" : "1";
}

const char *
pe_target_negative_label(const PeTarget *target)
{
	if (target->task != PE_TASK_PROPENSITY)
		return NULL;
	if (target->by_text && target->many_negatives)
		return "other";
	if (target->by_text)
		return target->negative != NULL ? target->negative : "false";
	return target->input.kind == PE_INPUT_BOOL ? "false" : "0";
}
