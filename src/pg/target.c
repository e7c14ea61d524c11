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

PeTarget
pe_target_init(const char *column, Oid type, pe_task task, const char *positive)
{
	PeTarget target = {.column = column, .task = task, .context = CurrentMemoryContext};
	PeTreatment treatment = pe_treatment_of_type(type);

	target.positive = positive;
	target.positive_given = positive != NULL;
	target.by_text = task == PE_TASK_PROPENSITY && (positive != NULL || treatment == PE_TREAT_CATEGORY);
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
		         errhint("A target is a boolean, a number or a text with two values.")));
	if (positive != NULL && task == PE_TASK_VALUE)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("option \"positive\" does not apply to task value")));
	return target;
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
