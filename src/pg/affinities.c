/*
 * affinities.c
 *		The probabilities of all classes, as a map: exact ones for SQL, whole percents for
 *		the platform, whose maps hold integers.
 */
#include "postgres.h"

#include <math.h>

#include "common/shortest_dec.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "pg/models.h"

typedef struct ClassProbability
{
	int class;
	double probability;
} ClassProbability;

static int
by_probability(const void *left, const void *right)
{
	const ClassProbability *a = left;
	const ClassProbability *b = right;

	if (a->probability != b->probability)
		return a->probability > b->probability ? -1 : 1;
	return a->class - b->class;
}

/* Arguments (model, profile, top, version): the classes, most probable first, and how many are wanted. */
static ClassProbability *
ranked_classes(FunctionCallInfo fcinfo, const PeModel **model, int *n)
{
	double *values;
	double outputs[PE_MAX_CLASSES];
	ClassProbability *classes;

	*model = pe_profile_inputs(fcinfo, 3, &values);
	if (*model == NULL)
		return NULL;
	if ((*model)->task != PE_TASK_AFFINITY)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
		                errmsg("model \"%s\" has the task %s, not affinity", (*model)->name,
		                       pe_task_name((*model)->task)),
		                errhint("Use predict.")));
	*n = pe_model_class_count((*model)->core);
	classes = palloc(sizeof(ClassProbability) * *n);
	pe_model_outputs((*model)->core, values, outputs);
	for (int i = 0; i < *n; i++)
		classes[i] = (ClassProbability){i, outputs[i]};
	if (!PG_ARGISNULL(2))
	{
		int top = PG_GETARG_INT32(2);

		if (top < 1)
			ereport(ERROR,
			        (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("top must be 1 or more, not %d", top),
			         errhint("Leave it out for all classes.")));
		qsort(classes, *n, sizeof(ClassProbability), by_probability);
		*n = Min(*n, top);
	}
	return classes;
}

static void
push_class(JsonbParseState **state, const char *name, Datum number)
{
	JsonbValue key = {.type = jbvString};
	JsonbValue value = {.type = jbvNumeric};

	key.val.string.val = (char *) name;
	key.val.string.len = (int) strlen(name);
	value.val.numeric = DatumGetNumeric(number);
	pushJsonbValue(state, WJB_KEY, &key);
	pushJsonbValue(state, WJB_VALUE, &value);
}

/* The shortest number that reads back as the same; the cast of the server keeps 15 digits. */
static Datum
exact_numeric(double number)
{
	char digits[DOUBLE_SHORTEST_DECIMAL_LEN];

	double_to_shortest_decimal_buf(number, digits);
	return DirectFunctionCall3(numeric_in, CStringGetDatum(digits), ObjectIdGetDatum(InvalidOid),
	                           Int32GetDatum(-1));
}

PG_FUNCTION_INFO_V1(pe_affinities);

/* affinities(model, profile, top, version) -> {"sports": 0.61, ...} */
Datum
pe_affinities(PG_FUNCTION_ARGS)
{
	const PeModel *model;
	int n = 0;
	ClassProbability *classes = ranked_classes(fcinfo, &model, &n);
	JsonbParseState *state = NULL;

	if (classes == NULL)
		PG_RETURN_NULL();
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < n; i++)
		push_class(&state, pe_model_class(model->core, classes[i].class),
		           exact_numeric(classes[i].probability));
	PG_RETURN_JSONB_P(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

PG_FUNCTION_INFO_V1(pe_affinity_percents);

/* affinity_percents(model, profile, top, version) -> {"sports": 61, ...}; classes that round to 0 are left
 * out. */
Datum
pe_affinity_percents(PG_FUNCTION_ARGS)
{
	const PeModel *model;
	int n = 0;
	ClassProbability *classes = ranked_classes(fcinfo, &model, &n);
	JsonbParseState *state = NULL;

	if (classes == NULL)
		PG_RETURN_NULL();
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < n; i++)
	{
		int percent = (int) floor(100 * classes[i].probability + 0.5);

		if (percent > 0)
			push_class(&state, pe_model_class(model->core, classes[i].class),
			           DirectFunctionCall1(int4_numeric, Int32GetDatum(percent)));
	}
	PG_RETURN_JSONB_P(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}
