/*
 * train_request.c
 *		train(): what was asked for, handed to the family of models that the task belongs
 *		to, and the row about what became of it.
 *
 * Everything a training allocates is in one memory context, gone when it ends in
 * whichever way. The core is called below here only, never below a callback that the
 * server could jump out of while the core's frames are on the stack.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "pg/consent.h"
#include "pg/goal_train.h"
#include "pg/json_options.h"
#include "pg/models.h"
#include "pg/progress.h"
#include "pg/report.h"
#include "pg/target.h"
#include "pg/train.h"

static char *
need_argument(FunctionCallInfo fcinfo, int argument, const char *name, const char *hint)
{
	char *given = PG_ARGISNULL(argument) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(argument));

	if (given == NULL || given[0] == '\0')
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("argument \"%s\" is required", name),
		                errhint("%s", hint)));
	return given;
}

/* The names of the tasks that can be trained, for hints. */
static char *
task_names(void)
{
	StringInfoData names;
	char algorithms[256];

	initStringInfo(&names);
	for (int task = 1; pe_task_name((pe_task) task) != NULL; task++)
	{
		pe_task_algorithms((pe_task) task, algorithms, sizeof(algorithms));
		if (algorithms[0] != '\0')
			appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "", pe_task_name((pe_task) task));
	}
	return names.data;
}

static pe_task
parse_task(const char *name)
{
	pe_task task = pe_task_from_name(name);
	char algorithms[256];

	if (task == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown task \"%s\"", name),
		                errhint("Valid tasks are %s.", task_names())));
	pe_task_algorithms(task, algorithms, sizeof(algorithms));
	if (algorithms[0] == '\0')
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("task %s is not available", name),
		                errhint("This version has the tasks %s.", task_names())));
	return task;
}

static void
check_model_name(const char *name)
{
	if (strlen(name) > 63)
		ereport(ERROR,
		        (errcode(ERRCODE_NAME_TOO_LONG), errmsg("model name \"%s\" is longer than 63 bytes", name)));
}

/* Does the option positive say that one text counts and all others do not? */
static bool
names_positive(const PeTrainRequest *request)
{
	JsonbValue value;

	return request->options != NULL && JB_ROOT_IS_OBJECT(request->options) &&
	       getKeyJsonValueFromContainer(&request->options->root, "positive", strlen("positive"), &value) !=
	           NULL;
}

/* What the target's type suggests, and for texts how many there are. */
static pe_task
task_of_target(const PeTrainRequest *request)
{
	pe_task task = (pe_task) 0;
	int column;
	Oid type;

	if (request->target == NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("argument \"target\" is required"),
		                errhint("Name the column to predict.")));
	column = pe_source_need_column(request->source, request->target, "target");
	type = TupleDescAttr(request->source->desc, column)->atttypid;
	task = pe_target_task(type);
	if (pe_treatment_of_type(type) == PE_TREAT_CATEGORY && !names_positive(request) &&
	    pe_target_has_classes(request->source, column))
		task = PE_TASK_AFFINITY;
	if (task == 0)
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
		                errmsg("target column \"%s\" is %s, which cannot be a target", request->target,
		                       format_type_be(type)),
		                errhint("A target is a boolean, a number or a text.")));
	return task;
}

/* The option consent is of all families: only rows with consent are in the source that these see. */
static void
take_consent(PeTrainRequest *request)
{
	JsonbValue value;

	if (request->options == NULL || !JB_ROOT_IS_OBJECT(request->options) ||
	    getKeyJsonValueFromContainer(&request->options->root, "consent", strlen("consent"), &value) == NULL)
		return;
	if (value.type != jbvString || value.val.string.len == 0)
		pe_raise_bad_option("consent",
		                    "a text: the name of a boolean column, or a condition on a row, such as "
		                    "\"personalize IN ('y', 'dy')\"");
	request->consent = pe_scalar_text(&value);
	(void) pe_consent_check(request->source, request->consent);
	request->without_consent = pe_consent_count_without(request->source, request->consent);
	request->source = pe_consent_filter(request->source, request->consent);
	request->options = DatumGetJsonbP(
	    DirectFunctionCall2(jsonb_delete, JsonbPGetDatum(request->options), CStringGetTextDatum("consent")));
	if (request->without_consent > 0)
		ereport(NOTICE, (errmsg("left out " INT64_FORMAT " rows without consent", request->without_consent)));
}

/* A goal is its own source and target. */
static void
take_goal(FunctionCallInfo fcinfo, PeTrainRequest *request)
{
	if (!PG_ARGISNULL(2) || !PG_ARGISNULL(3))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("argument \"goal\" excludes \"source\" and \"target\""),
		                errhint("The goal says where the rows are and what is predicted.")));
	if (request->task != 0 && request->task != PE_TASK_PROPENSITY)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("task %s does not learn from a goal", pe_task_name(request->task)),
		                errhint("A goal is a question of yes or no: its task is propensity.")));
	request->task = PE_TASK_PROPENSITY;
	pe_goal_take(request, text_to_cstring(PG_GETARG_TEXT_PP(6)));
}

static PeTrainRequest *
parse_request(FunctionCallInfo fcinfo, MemoryContext context)
{
	PeTrainRequest *request = palloc0(sizeof(PeTrainRequest));
	pe_task existing = (pe_task) 0;

	request->model = need_argument(fcinfo, 0, "model", "Give the model a name.");
	check_model_name(request->model);
	if (!PG_ARGISNULL(1))
		request->task = parse_task(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	if (!PG_ARGISNULL(3))
		request->target = text_to_cstring(PG_GETARG_TEXT_PP(3));
	if (!PG_ARGISNULL(4))
		request->algorithm = text_to_cstring(PG_GETARG_TEXT_PP(4));
	if (request->algorithm != NULL && strcmp(request->algorithm, "auto") == 0)
		request->algorithm = NULL;
	request->options = PG_ARGISNULL(5) ? NULL : PG_GETARG_JSONB_P(5);
	if (!PG_ARGISNULL(6))
		take_goal(fcinfo, request);
	else
		request->source = pe_source_open(
		    need_argument(fcinfo, 2, "source", "Name the table, view or SELECT with the rows to learn from."),
		    "source");
	take_consent(request);
	if (request->task == 0)
		request->task = task_of_target(request);
	if (pe_model_check_owner(request->model, &existing) && existing != request->task)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		                errmsg("model \"%s\" has the task %s, not %s", request->model, pe_task_name(existing),
		                       pe_task_name(request->task)),
		                errhint("Train under another name, or drop the model first.")));
	pe_enter_phase(&request->timing, "read");
	request->env = pe_timed_env(&request->timing, context);
	pe_progress_publish("look", 0, 0);
	return request;
}

PeTrainRequest *
pe_scan_request(const char *source, const char *target, const char *task, Jsonb *options,
                MemoryContext context)
{
	PeTrainRequest *request = palloc0(sizeof(PeTrainRequest));

	request->model = "";
	request->target = target;
	request->options = options;
	request->source = pe_source_open(source, "source");
	take_consent(request);
	request->task = task != NULL ? parse_task(task) : task_of_target(request);
	if (request->task != PE_TASK_PROPENSITY && request->task != PE_TASK_VALUE &&
	    request->task != PE_TASK_AFFINITY)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("task %s has no target that a feature could tell", task),
		                errhint("Valid tasks are propensity, value and affinity.")));
	pe_enter_phase(&request->timing, "read");
	request->env = pe_timed_env(&request->timing, context);
	return request;
}

pe_algorithm
pe_train_algorithm(const PeTrainRequest *request, pe_algorithm automatic)
{
	pe_algorithm algorithm;
	pe_error error;
	char algorithms[256];

	if (request->algorithm == NULL)
		return automatic;
	algorithm = pe_algorithm_from_name(request->algorithm);
	pe_task_algorithms(request->task, algorithms, sizeof(algorithms));
	if (algorithm == 0)
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		         errmsg("unknown algorithm \"%s\"", request->algorithm),
		         errhint("Valid algorithms for %s are auto, %s.", pe_task_name(request->task), algorithms)));
	pe_check(pe_check_task(request->task, algorithm, &error), &error);
	return algorithm;
}

static PeTrained
train_family(PeTrainRequest *request)
{
	switch (request->task)
	{
		case PE_TASK_PROPENSITY:
		case PE_TASK_VALUE:
		case PE_TASK_AFFINITY:
			return pe_train_supervised(request);
		case PE_TASK_LIFETIME_VALUE:
			return pe_train_lifetime(request);
		case PE_TASK_RECOMMENDATION:
			return pe_train_recommend(request);
		case PE_TASK_UPLIFT:
			return pe_train_uplift(request);
		case PE_TASK_SEGMENT:
			return pe_train_segment(request);
		case PE_TASK_ENGAGEMENT:
			return pe_train_engagement(request);
			break;
	}
	elog(ERROR, "task %s has no training", pe_task_name(request->task));
}

static Datum
result_row(FunctionCallInfo fcinfo, const PeTrainRequest *request, const PeTrained *trained)
{
	TupleDesc desc;
	Datum values[9];
	bool nulls[9] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "train() must return a row");
	values[0] = CStringGetTextDatum(request->model);
	values[1] = Int32GetDatum(trained->version);
	values[2] = CStringGetTextDatum(pe_algorithm_name(trained->algorithm));
	values[3] = Int64GetDatum(trained->rows);
	values[4] = Int32GetDatum(trained->features);
	nulls[5] = trained->metric == NULL;
	values[5] = trained->metric != NULL ? CStringGetTextDatum(trained->metric) : (Datum) 0;
	nulls[6] = isnan(trained->headline);
	values[6] = Float8GetDatum(trained->headline);
	values[7] = CStringGetTextDatum(trained->quality);
	values[8] = Float8GetDatum(pe_total_seconds(&request->timing));
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

static Datum
run(FunctionCallInfo fcinfo, MemoryContext context, MemoryContext caller)
{
	PeTrainRequest *request = parse_request(fcinfo, context);
	PeTrained trained = train_family(request);

	MemoryContextSwitchTo(caller);
	return result_row(fcinfo, request, &trained);
}

PG_FUNCTION_INFO_V1(pe_train_model);

/* train(model, task, source, target, algorithm, options, goal) -> one row about the new version. */
Datum
pe_train_model(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context;
	volatile Datum result = (Datum) 0;

	PreventCommandIfReadOnly("train()");
	context = AllocSetContextCreate(caller, "profenrich training", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	pe_progress_begin(PE_PROGRESS_TRAIN, PG_ARGISNULL(0) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_TRY();
	{
		result = run(fcinfo, context, caller);
	}
	PG_FINALLY();
	{
		/* The transaction may go on after an error (a savepoint): the slot must not. */
		pe_progress_end();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	return result;
}
