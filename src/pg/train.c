/*
 * train.c
 *		train(): from a source to a stored, deployed model version.
 *
 * Everything a training allocates is in one memory context, gone when it ends in
 * whichever way. The core is called from here only, never below a callback that the
 * server could jump out of while the core's frames are on the stack.
 */
#include "postgres.h"

#include <math.h>

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"

#include "pg/env.h"
#include "pg/evaluation.h"
#include "pg/guc.h"
#include "pg/models.h"
#include "pg/progress.h"
#include "pg/report.h"
#include "pg/source.h"
#include "pg/target.h"
#include "pg/train.h"

#define PHASES         8
#define ROWS_PER_CHECK 1024

/* How long each phase took, for model_version.seconds. */
typedef struct Timing
{
	pe_env env; /* whose tick is wrapped */
	int n;
	const char *names[PHASES];
	double seconds[PHASES];
	instr_time since; /* the current phase */
	instr_time started;
} Timing;

typedef struct Training
{
	const char *model;
	pe_task task;
	pe_algorithm algorithm;
	const PeSource *source;
	const char *target_name;
	PeTrainOptions options;
	PeTrainColumns columns;
	PeTarget target;
	pe_env env;
	Timing timing;
	pe_dataset *dataset;
	double *values;
	uint64 rows; /* read */
	uint64 without_target;
	uint64 positives;
	uint64 rows_that_fit;
	size_t memory; /* announced */
} Training;

/* ---- timing --------------------------------------------------------------------------- */

static void
enter_phase(Timing *timing, const char *phase)
{
	instr_time now;

	INSTR_TIME_SET_CURRENT(now);
	if (timing->n > 0)
	{
		instr_time spent = now;

		INSTR_TIME_SUBTRACT(spent, timing->since);
		timing->seconds[timing->n - 1] += INSTR_TIME_GET_DOUBLE(spent);
	}
	else
		timing->started = now;
	timing->since = now;
	if (timing->n < PHASES)
	{
		timing->seconds[timing->n] = 0;
		timing->names[timing->n++] = phase;
	}
}

static int
timing_tick(void *ctx, const char *phase, uint64_t done, uint64_t total)
{
	Timing *timing = (Timing *) ctx;

	if (timing->n == 0 || strcmp(timing->names[timing->n - 1], phase) != 0)
		enter_phase(timing, phase);
	return timing->env.tick(timing->env.tick_ctx, phase, done, total);
}

static double
total_seconds(const Timing *timing)
{
	instr_time now;

	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, timing->started);
	return INSTR_TIME_GET_DOUBLE(now);
}

static char *
seconds_json(Timing *timing)
{
	StringInfoData json;

	enter_phase(timing, timing->names[timing->n - 1]); /* counts the running phase up to now */
	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	for (int i = 0; i < timing->n; i++)
	{
		bool again = false;
		double sum = 0;

		for (int j = 0; j < timing->n; j++)
		{
			if (strcmp(timing->names[j], timing->names[i]) != 0)
				continue;
			again = again || j < i;
			sum += timing->seconds[j];
		}
		if (!again)
			appendStringInfo(&json, "\"%s\": %.6f, ", timing->names[i], sum);
	}
	appendStringInfo(&json, "\"total\": %.6f}", total_seconds(timing));
	return json.data;
}

/* ---- what was asked for --------------------------------------------------------------- */

static char *
need_argument(FunctionCallInfo fcinfo, int argument, const char *name, const char *hint)
{
	char *given = PG_ARGISNULL(argument) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(argument));

	if (given == NULL || given[0] == '\0')
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("argument \"%s\" is required", name),
		                errhint("%s", hint)));
	return given;
}

static pe_task
parse_task(const char *name)
{
	pe_task task = pe_task_from_name(name);
	char algorithms[256];

	if (task == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown task \"%s\"", name),
		                errhint("Valid tasks are propensity and value.")));
	pe_task_algorithms(task, algorithms, sizeof(algorithms));
	if (algorithms[0] == '\0')
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("task %s is not available", name),
		                errhint("This version has the tasks propensity and value.")));
	return task;
}

static pe_algorithm
parse_algorithm(const char *name, pe_task task)
{
	pe_algorithm algorithm;
	pe_error error;
	char algorithms[256];

	if (name == NULL || strcmp(name, "auto") == 0)
		return PE_ALGORITHM_BOOSTED_TREES;
	algorithm = pe_algorithm_from_name(name);
	pe_task_algorithms(task, algorithms, sizeof(algorithms));
	if (algorithm == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown algorithm \"%s\"", name),
		                errhint("Valid algorithms for %s are auto, %s.", pe_task_name(task), algorithms)));
	pe_check(pe_check_task(task, algorithm, &error), &error);
	return algorithm;
}

static void
check_model_name(const char *name)
{
	if (strlen(name) > 63)
		ereport(ERROR,
		        (errcode(ERRCODE_NAME_TOO_LONG), errmsg("model name \"%s\" is longer than 63 bytes", name)));
}

static Training *
parse_request(FunctionCallInfo fcinfo)
{
	Training *training = palloc0(sizeof(Training));
	char *source_text;
	char *algorithm = PG_ARGISNULL(4) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(4));
	pe_task existing = (pe_task) 0;
	Oid target_type;

	training->model = need_argument(fcinfo, 0, "model", "Give the model a name.");
	check_model_name(training->model);
	if (!PG_ARGISNULL(6))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("argument \"goal\" is not available"),
		                errhint("Say what to learn with task, source and target.")));
	if (!PG_ARGISNULL(1))
		training->task = parse_task(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	source_text =
	    need_argument(fcinfo, 2, "source", "Name the table, view or SELECT with the rows to learn from.");
	training->target_name = need_argument(fcinfo, 3, "target", "Name the column to predict.");
	training->source = pe_source_open(source_text, "source");
	target_type = TupleDescAttr(training->source->desc,
	                            pe_source_need_column(training->source, training->target_name, "target"))
	                  ->atttypid;
	if (training->task == 0)
		training->task = pe_target_task(target_type);
	if (training->task == 0)
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
		                errmsg("target column \"%s\" is %s, which cannot be a target", training->target_name,
		                       format_type_be(target_type)),
		                errhint("A target is a boolean, a number or a text with two values.")));
	training->algorithm = parse_algorithm(algorithm, training->task);
	if (pe_model_check_owner(training->model, &existing) && existing != training->task)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		                errmsg("model \"%s\" has the task %s, not %s", training->model,
		                       pe_task_name(existing), pe_task_name(training->task)),
		                errhint("Train under another name, or drop the model first.")));
	training->options = pe_train_options(PG_ARGISNULL(5) ? NULL : PG_GETARG_JSONB_P(5), training->algorithm);
	training->target =
	    pe_target_init(training->target_name, target_type, training->task, training->options.positive);
	return training;
}

/* ---- reading -------------------------------------------------------------------------- */

static void
pg_attribute_noreturn() raise_too_many_rows(const Training *training)
{
	uint64 fit = training->rows_that_fit;

	ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
	                errmsg("training on %s needs more memory than profenrich.training_memory allows (%d MB)",
	                       training->source->name, pe_training_memory_limit),
	                errdetail("With %d features, %llu rows fit; there are more.",
	                          training->columns.n_features, (unsigned long long) fit),
	                errhint("Raise profenrich.training_memory, or train on a sample: source => 'SELECT * "
	                        "FROM ... TABLESAMPLE BERNOULLI (10) REPEATABLE (1)'.")));
}

/* What the features and options take before the first row is kept. */
static void
check_memory(const Training *training)
{
	size_t least = pe_training_memory(&training->options.core, training->columns.n_features,
	                                  training->columns.weight >= 0, 1);

	if (training->rows_that_fit == 0)
		ereport(
		    ERROR,
		    (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
		     errmsg("training with %d features needs %zu MB before the first row, and "
		            "profenrich.training_memory allows %d MB",
		            training->columns.n_features, least / (1024 * 1024) + 1, pe_training_memory_limit),
		     errhint(
		         "Raise profenrich.training_memory, or name fewer columns in options.features.include.")));
}

static double
weight_of_row(const Training *training, const TupleTableSlot *slot)
{
	int column = training->columns.weight;
	double weight = 1;

	if (column < 0)
		return weight;
	weight = slot->tts_isnull[column]
	             ? NAN
	             : pe_input_number(&training->columns.weight_input, slot->tts_values[column]);
	if (!isfinite(weight) || weight < 0)
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
		                errmsg("weight column \"%s\" is NULL, negative or infinite in row %llu",
		                       training->options.weight, (unsigned long long) training->rows),
		                errhint("A weight is a number of at least 0.")));
	return weight;
}

/* Decides together with the seed whether the row is held out: by its key, so that a profile stays on one
 * side. */
static uint64
key_hash_of_row(const Training *training, const TupleTableSlot *slot)
{
	int column = training->columns.key;
	size_t length;
	const char *text;

	if (column < 0 || slot->tts_isnull[column])
		return pe_hash_bytes(&training->rows, sizeof(training->rows), 0);
	text = pe_input_text(&training->columns.key_input, slot->tts_values[column], &length);
	return pe_hash_bytes(text, length, 0);
}

static void
features_of_row(Training *training, const TupleTableSlot *slot)
{
	const PeTrainColumns *columns = &training->columns;
	double snapshot = NAN;
	pe_error error;

	if (columns->snapshot >= 0 && !slot->tts_isnull[columns->snapshot])
		snapshot = pe_input_number(&columns->snapshot_input, slot->tts_values[columns->snapshot]);
	for (int i = 0; i < columns->n_features; i++)
	{
		int column = columns->slots[i];
		Datum value = slot->tts_values[column];
		bool isnull = slot->tts_isnull[column];

		if (columns->features[i].treatment != PE_TREAT_CATEGORY)
			training->values[i] =
			    pe_feature_number(&columns->features[i], &columns->inputs[i], value, isnull, snapshot);
		else if (isnull)
			training->values[i] = NAN;
		else
		{
			size_t length;
			const char *text = pe_input_level(&columns->inputs[i], value, &length);
			int32_t code;

			pe_check(pe_dataset_level(training->dataset, i, text, length, &code, &error), &error);
			training->values[i] = code;
		}
	}
}

static bool
read_row(void *arg, TupleTableSlot *slot)
{
	Training *training = (Training *) arg;
	int column = training->columns.target;
	double target;
	pe_error error;

	training->rows++;
	if (training->rows % ROWS_PER_CHECK == 0)
	{
		pe_progress_publish("read", training->rows, 0);
		if (pe_dataset_rows(training->dataset) > training->rows_that_fit)
			raise_too_many_rows(training);
	}
	if (slot->tts_isnull[column])
	{
		training->without_target++;
		return true;
	}
	target = pe_target_value(&training->target, slot->tts_values[column], training->rows);
	features_of_row(training, slot);
	pe_check(pe_dataset_append(training->dataset, training->values, target, weight_of_row(training, slot),
	                           key_hash_of_row(training, slot), &error),
	         &error);
	if (target == 1)
		training->positives++;
	return true;
}

static void
create_dataset(Training *training)
{
	const PeTrainColumns *columns = &training->columns;
	pe_feature_spec *specs = palloc0(sizeof(pe_feature_spec) * columns->n_features);
	pe_error error;

	for (int i = 0; i < columns->n_features; i++)
	{
		specs[i].name = columns->features[i].name;
		specs[i].source_type = pe_feature_encode(&columns->features[i]);
		specs[i].kind =
		    columns->features[i].treatment == PE_TREAT_CATEGORY ? PE_FEATURE_CATEGORICAL : PE_FEATURE_NUMERIC;
	}
	pe_check(pe_dataset_create(&training->env, training->algorithm, specs, columns->n_features,
	                           columns->weight >= 0, &training->dataset, &error),
	         &error);
	training->values = palloc(sizeof(double) * columns->n_features);
	training->rows_that_fit =
	    pe_training_memory_rows(&training->options.core, columns->n_features, columns->weight >= 0,
	                            (size_t) pe_training_memory_limit * 1024 * 1024);
	check_memory(training);
}

static void
read_rows(Training *training)
{
	uint64 rows;

	pe_source_read(training->source, training->columns.columns, training->columns.n_columns,
	               PE_SOURCE_ORDERED, read_row, training);
	if (training->rows == 0)
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
		                errmsg("%s has no rows to train on", training->source->name)));
	rows = pe_dataset_rows(training->dataset);
	if (rows == 0)
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
		                errmsg("target column \"%s\" is NULL in all %llu rows", training->target_name,
		                       (unsigned long long) training->rows)));
	if (training->without_target > 0)
		ereport(NOTICE, (errmsg("skipped %llu of %llu rows, whose target \"%s\" is NULL",
		                        (unsigned long long) training->without_target,
		                        (unsigned long long) training->rows, training->target_name)));
	if (rows > training->rows_that_fit)
		raise_too_many_rows(training);
	training->memory = pe_training_memory(&training->options.core, training->columns.n_features,
	                                      training->columns.weight >= 0, rows);
	ereport(DEBUG1, (errmsg("training model \"%s\" on %llu rows and %d features takes at most %zu MB",
	                        training->model, (unsigned long long) rows, training->columns.n_features,
	                        training->memory / (1024 * 1024) + 1)));
}

/* ---- storing -------------------------------------------------------------------------- */

static char *
features_json(const Training *training, const pe_model *model)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '[');
	for (int i = 0; i < pe_model_feature_count(model); i++)
	{
		pe_model_feature feature = pe_model_get_feature(model, i);
		const PeFeature *origin = &training->columns.features[i];

		appendStringInfo(&json, "%s{\"name\": ", i > 0 ? ", " : "");
		escape_json(&json, feature.name);
		appendStringInfoString(&json, ", \"column\": ");
		escape_json(&json, origin->column);
		appendStringInfo(
		    &json, ", \"treatment\": \"%s\", \"levels\": %d, \"used\": %s, \"splits\": %lld, \"gain\": ",
		    pe_treatment_name(origin->treatment), feature.n_levels, feature.used ? "true" : "false",
		    (long long) feature.splits);
		pe_json_number(&json, feature.gain);
		appendStringInfoString(&json, ", \"mean_contribution\": ");
		pe_json_number(&json, feature.mean_contribution);
		appendStringInfoChar(&json, '}');
	}
	appendStringInfoChar(&json, ']');
	return json.data;
}

#define MAX_SHOWN_NOTES 3

static void
report_notes(const pe_model *model)
{
	int n = pe_model_note_count(model);

	for (int i = 0; i < Min(n, MAX_SHOWN_NOTES); i++)
		ereport(NOTICE, (errmsg("%s", pe_model_note(model, i))));
	if (n > MAX_SHOWN_NOTES)
		ereport(NOTICE, (errmsg("%d more notes are in evaluation()", n - MAX_SHOWN_NOTES)));
}

static int
store(Training *training, Jsonb *options, const pe_model *model, const pe_evaluation *evaluation)
{
	uint8_t *artifact;
	size_t length;
	pe_error error;
	char *checksum;
	PeNewVersion version = {
	    .model = training->model,
	    .task = training->task,
	    .algorithm = training->algorithm,
	    .objective = pe_objective_name(pe_model_objective(model)),
	    .target = training->target_name,
	    .key = training->options.key,
	    .source = training->source->text,
	    .rows = (int64) (training->rows - training->without_target),
	    .positives = training->task == PE_TASK_PROPENSITY ? (int64) training->positives : -1,
	    .options_json = options != NULL ? JsonbToCString(NULL, &options->root, VARSIZE(options)) : "{}",
	    .verdict = evaluation->sentence,
	    .quality = pe_verdict_name(evaluation->verdict),
	    .positive_label = pe_target_positive_label(&training->target),
	    .negative_label = pe_target_negative_label(&training->target),
	    .threshold = training->options.threshold,
	    .memory = (int64) training->memory,
	    .deploy = training->options.deploy,
	};

	enter_phase(&training->timing, "store");
	pe_progress_publish("store", 0, 0);
	pe_check(pe_model_serialize(&training->env, model, &artifact, &length, &error), &error);
	version.artifact = artifact;
	version.artifact_length = length;
	version.features_json = features_json(training, model);
	version.metrics_json = pe_metrics_json(evaluation);
	version.evaluation_json = pe_evaluation_json(evaluation, model);
	version.seconds_json = seconds_json(&training->timing);
	return pe_model_store(&version, &checksum);
}

static Datum
result_row(FunctionCallInfo fcinfo, const Training *training, int version, const pe_evaluation *evaluation)
{
	TupleDesc desc;
	Datum values[9];
	bool nulls[9] = {false};
	double headline = NAN;
	const char *metric = pe_evaluation_headline(evaluation, &headline);

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "train() must return a row");
	values[0] = CStringGetTextDatum(training->model);
	values[1] = Int32GetDatum(version);
	values[2] = CStringGetTextDatum(pe_algorithm_name(training->algorithm));
	values[3] = Int64GetDatum((int64) (training->rows - training->without_target));
	values[4] = Int32GetDatum(training->columns.n_features);
	nulls[5] = metric == NULL;
	values[5] = metric != NULL ? CStringGetTextDatum(metric) : (Datum) 0;
	nulls[6] = isnan(headline);
	values[6] = Float8GetDatum(headline);
	values[7] = CStringGetTextDatum(pe_verdict_name(evaluation->verdict));
	values[8] = Float8GetDatum(total_seconds(&training->timing));
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

static Datum
run(FunctionCallInfo fcinfo, MemoryContext context, MemoryContext caller)
{
	Training *training;
	pe_model *model = NULL;
	pe_evaluation *evaluation = palloc0(sizeof(pe_evaluation));
	pe_error error;
	int version;
	Datum result;

	training = parse_request(fcinfo);
	enter_phase(&training->timing, "read");
	training->timing.env = pe_server_env(context);
	training->env = training->timing.env;
	training->env.tick = timing_tick;
	training->env.tick_ctx = &training->timing;
	pe_progress_publish("look", 0, 0);
	training->columns = pe_train_columns(training->source, training->target_name, &training->options);
	create_dataset(training);
	read_rows(training);
	enter_phase(&training->timing, "fit");
	pe_check(pe_train(&training->env, training->dataset, training->task, &training->options.core, &model,
	                  evaluation, &error),
	         &error);
	report_notes(model);
	version = store(training, PG_ARGISNULL(5) ? NULL : PG_GETARG_JSONB_P(5), model, evaluation);
	MemoryContextSwitchTo(caller);
	result = result_row(fcinfo, training, version, evaluation);
	return result;
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
