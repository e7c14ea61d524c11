/*
 * evaluate.c
 *		A model against what happened since: evaluate() says how good it is on other rows,
 *		recalibrate() makes its probabilities come true on them.
 */
#include "postgres.h"

#include <math.h>

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "model/selection.h"
#include "pg/arguments.h"
#include "pg/env.h"
#include "pg/evaluation.h"
#include "pg/guc.h"
#include "pg/models.h"
#include "pg/progress.h"
#include "pg/report.h"
#include "pg/source.h"
#include "pg/target.h"
#include "pg/train.h"

#define BLOCK_ROWS 1024 /* predicted at a time */

/* Rows of the caller's with what the model says of them and what became of them. */
typedef struct Judging
{
	const PeModel *model;
	const PeSource *source;
	PeBinding *binding;
	PeTarget target; /* in slot 0 */
	bool margins;    /* want margins, and hashes; else predictions, and outputs of classes */
	double *values;  /* [BLOCK_ROWS][n_features] */
	int filled;
	int width;           /* numbers that are kept of a row: the classes' probabilities, else 1 */
	double *predictions; /* [BLOCK_ROWS] */
	double *numbers;     /* [capacity][width]; these three grow together */
	double *targets;
	uint64 *hashes;
	size_t rows; /* with a target that the model knows */
	size_t capacity;
	uint64 read;
	uint64 unknown; /* of classes that the model does not know */
	MemoryContext context;
	pe_env env;
	pe_predictor *predictor;
} Judging;

static void *
grown(void *memory, MemoryContext context, size_t bytes)
{
	return memory == NULL ? MemoryContextAllocHuge(context, bytes) : repalloc_huge(memory, bytes);
}

/* A row's target and hash, what is kept of it, and what sorting and calibrating take. */
static size_t
row_bytes(const Judging *judging)
{
	return ((size_t) judging->width + 2) * sizeof(double) + 72;
}

/* All rows are kept until the last one is read. */
static void
grow(Judging *judging)
{
	size_t fit = (size_t) pe_training_memory_limit * 1024 * 1024 / row_bytes(judging);

	if (judging->rows + BLOCK_ROWS <= judging->capacity)
		return;
	if (judging->rows + BLOCK_ROWS > fit)
		ereport(ERROR,
		        (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
		         errmsg("judging model \"%s\" on %s needs more memory than profenrich.training_memory allows "
		                "(%d MB)",
		                judging->model->name, judging->source->name, pe_training_memory_limit),
		         errdetail("%zu rows fit; there are more.", fit / BLOCK_ROWS * BLOCK_ROWS),
		         errhint("Raise profenrich.training_memory, or take a sample: source => 'SELECT * FROM ... "
		                 "TABLESAMPLE BERNOULLI (10) REPEATABLE (1)'.")));
	judging->capacity = judging->capacity == 0 ? 16 * BLOCK_ROWS : judging->capacity * 2;
	judging->capacity = Min(judging->capacity, fit);
	judging->numbers = grown(judging->numbers, judging->context,
	                         judging->capacity * (size_t) judging->width * sizeof(double));
	judging->targets = grown(judging->targets, judging->context, judging->capacity * sizeof(double));
	judging->hashes = grown(judging->hashes, judging->context, judging->capacity * sizeof(uint64));
}

static void
judge_block(Judging *judging)
{
	const PeModel *model = judging->model;
	size_t first = judging->rows - judging->filled;
	double *numbers = judging->numbers + first * (size_t) judging->width;
	pe_prediction_block block = {.values = judging->values,
	                             .stride = model->n_features,
	                             .rows = judging->filled,
	                             .predictions = judging->width > 1 ? judging->predictions : numbers,
	                             .outputs = judging->width > 1 ? numbers : NULL};
	pe_error error;

	if (judging->margins)
	{
		for (int row = 0; row < judging->filled; row++)
			numbers[row] = pe_model_margin(model->core, judging->values + (size_t) row * model->n_features);
		CHECK_FOR_INTERRUPTS();
	}
	else
	{
		pe_predictor_begin(judging->predictor, &block);
		pe_check(pe_predictor_finish(judging->predictor, &error), &error);
	}
	judging->filled = 0;
	pe_progress_publish("predict", judging->read, 0);
}

static bool
judge_row(void *arg, TupleTableSlot *slot)
{
	Judging *judging = (Judging *) arg;
	double target;

	judging->read++;
	if (slot->tts_isnull[0])
		return true;
	target = pe_target_value(&judging->target, slot->tts_values[0], judging->read);
	if (isnan(target))
	{
		judging->unknown++;
		return true;
	}
	if (judging->filled == 0)
		grow(judging);
	pe_bind_values(judging->binding, slot->tts_values, slot->tts_isnull,
	               judging->values + (size_t) judging->filled * judging->model->n_features, NULL);
	judging->hashes[judging->rows] = pe_hash_bytes(&judging->read, sizeof(judging->read), 0);
	judging->targets[judging->rows++] = target;
	if (++judging->filled == BLOCK_ROWS)
		judge_block(judging);
	return true;
}

static int32
code_of_class(void *arg, const char *text, size_t length)
{
	const pe_model *model = ((const PeModel *) arg)->core;

	for (int i = 0; i < pe_model_class_count(model); i++)
		if (strlen(pe_model_class(model, i)) == length && memcmp(pe_model_class(model, i), text, length) == 0)
			return i;
	return -1;
}

static void
start(Judging *judging, const char *source_text, const char *target_name, int **columns, int *n_columns)
{
	const PeModel *model = judging->model;
	PeSource *source = pe_source_open(source_text, "source");
	int target = pe_source_need_column(source, target_name, "target");
	Oid type = TupleDescAttr(source->desc, target)->atttypid;
	const char *positive = NULL;
	pe_error error;

	/* A text target is told apart by the label that training found. */
	if (model->task == PE_TASK_PROPENSITY && pe_treatment_of_type(type) == PE_TREAT_CATEGORY)
		positive = model->positive_label;
	judging->source = source;
	judging->target = pe_target_init(target_name, type, model->task, positive);
	judging->target.coder = code_of_class;
	judging->target.coder_arg = (void *) model;
	judging->binding = pe_bind_source(model, source, &target, 1, columns, n_columns);
	judging->values = palloc(sizeof(double) * BLOCK_ROWS * Max(model->n_features, 1));
	judging->predictions = palloc(sizeof(double) * BLOCK_ROWS);
	judging->width = model->task == PE_TASK_AFFINITY ? pe_model_class_count(model->core) : 1;
	judging->context = CurrentMemoryContext;
	judging->env = pe_quiet_env(CurrentMemoryContext);
	pe_check(pe_predictor_create(&judging->env, model->core, &judging->predictor, &error), &error);
	pe_check(pe_predictor_start(judging->predictor, judging->margins ? 1 : pe_threads, &error), &error);
}

/* Reads the source, predicting as it goes. */
static void
judge_source(Judging *judging, const char *source_text, const char *target_name)
{
	int *columns;
	int n_columns;

	start(judging, source_text, target_name, &columns, &n_columns);
	PG_TRY();
	{
		pe_source_read(judging->source, columns, n_columns, judging->margins ? PE_SOURCE_ORDERED : 0,
		               judge_row, judging);
		if (judging->filled > 0)
			judge_block(judging);
	}
	PG_FINALLY();
	{
		pe_predictor_free(judging->predictor); /* ends its threads */
	}
	PG_END_TRY();
	if (judging->unknown > 0)
		ereport(NOTICE, (errmsg("skipped %llu rows, whose class version %d of model \"%s\" does not know",
		                        (unsigned long long) judging->unknown, judging->model->version,
		                        judging->model->name)));
	if (judging->rows == 0)
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
		                errmsg("%s has no rows with a target", judging->source->name),
		                errhint("It is empty, or the target is NULL in all of its rows.")));
}

/* ---- evaluate(model, source, target, version) ------------------------------------------- */

static void
put_store_row(void *arg, const char *metric, double value, const char *meaning)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) arg;
	Datum values[3] = {CStringGetTextDatum(metric), Float8GetDatum(value),
	                   CStringGetTextDatum(pe_valid_text(meaning))};
	bool nulls[3] = {false, isnan(value), false};

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static void
evaluate_rows(const Judging *judging, pe_evaluation *evaluation)
{
	const PeModel *model = judging->model;
	pe_env env = pe_server_env(CurrentMemoryContext);
	pe_error error;

	if (model->task == PE_TASK_AFFINITY)
	{
		const char **names = palloc(sizeof(char *) * judging->width);

		for (int i = 0; i < judging->width; i++)
			names[i] = pe_model_class(model->core, i);
		pe_check(pe_evaluate_classes(&env, judging->width, names, judging->numbers, judging->targets, NULL,
		                             judging->rows, evaluation, &error),
		         &error);
		return;
	}
	pe_check(pe_evaluate(&env, model->task, judging->numbers, judging->targets, NULL, judging->rows,
	                     evaluation, &error),
	         &error);
	if (model->task == PE_TASK_VALUE && pe_model_objective(model->core) != PE_OBJECTIVE_DEFAULT)
		pe_evaluate_deviance(pe_model_objective(model->core), pe_model_objective_parameter(model->core),
		                     judging->numbers, judging->targets, NULL, judging->rows, evaluation);
}

static void
check_supervised(const PeModel *model)
{
	if (model->task != PE_TASK_PROPENSITY && model->task != PE_TASK_VALUE && model->task != PE_TASK_AFFINITY)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
		                errmsg("model \"%s\" has the task %s, which predicts no target", model->name,
		                       pe_task_name(model->task)),
		                errhint("See profenrich.evaluation for what its training said of it.")));
}

static const char *const judging_arguments[] = {"model", "source", "target", "kind"};

PG_FUNCTION_INFO_V1(pe_evaluate_model);

/* evaluate(model, source, target, version) -> (metric, value, meaning), on rows of the caller's. */
Datum
pe_evaluate_model(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Judging judging = {0};
	pe_evaluation *evaluation;

	for (int i = 0; i < 3; i++)
		pe_need_argument(fcinfo, i, judging_arguments[i]);
	InitMaterializedSRF(fcinfo, 0);
	judging.model = pe_model_open(text_to_cstring(PG_GETARG_TEXT_PP(0)), pe_version_argument(fcinfo, 3),
	                              CurrentMemoryContext);
	check_supervised(judging.model);
	judge_source(&judging, text_to_cstring(PG_GETARG_TEXT_PP(1)), text_to_cstring(PG_GETARG_TEXT_PP(2)));
	evaluation = palloc0(sizeof(pe_evaluation));
	evaluate_rows(&judging, evaluation);
	pe_evaluation_rows(evaluation, put_store_row, rsinfo);
	return (Datum) 0;
}

/* ---- recalibrate(model, source, target, kind, version, deploy) --------------------------- */

static pe_calibration_kind
parse_kind(const char *kind)
{
	if (strcmp(kind, "isotonic") == 0)
		return PE_CALIBRATION_ISOTONIC;
	if (strcmp(kind, "platt") == 0)
		return PE_CALIBRATION_PLATT;
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown calibration \"%s\"", kind),
	                errhint("It is isotonic or platt.")));
}

static int
store_recalibrated(const Judging *judging, const pe_model *core, const pe_evaluation *evaluation,
                   PeTiming *timing, bool deploy)
{
	PeRecalibrated version = {.model = judging->model,
	                          .source = judging->source->text,
	                          .target = judging->target.column,
	                          .rows = (int64) judging->rows,
	                          .deploy = deploy,
	                          .quality = pe_verdict_name(evaluation->verdict),
	                          .verdict = evaluation->sentence,
	                          .metrics_json = pe_metrics_json(evaluation),
	                          .evaluation_json = pe_evaluation_json(evaluation, core)};
	pe_env env = pe_quiet_env(CurrentMemoryContext);
	uint8_t *artifact;
	size_t length;
	pe_error error;

	pe_enter_phase(timing, "store");
	pe_check(pe_model_serialize(&env, core, &artifact, &length, &error), &error);
	for (size_t i = 0; i < judging->rows; i++)
		version.positives += judging->targets[i] > 0.5;
	version.artifact = artifact;
	version.artifact_length = length;
	version.seconds_json = pe_seconds_json(timing);
	return pe_model_store_recalibrated(&version);
}

PG_FUNCTION_INFO_V1(pe_recalibrate_model);

/* recalibrate(model, source, target, kind, version, deploy) -> the new version's number. */
Datum
pe_recalibrate_model(PG_FUNCTION_ARGS)
{
	Judging judging = {.margins = true};
	PeTiming timing = {0};
	pe_calibration_kind kind;
	pe_evaluation *evaluation;
	pe_model *core;
	pe_env env;
	pe_error error;
	char *name;

	PreventCommandIfReadOnly("recalibrate()");
	for (int i = 0; i < 4; i++)
		pe_need_argument(fcinfo, i, judging_arguments[i]);
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	kind = parse_kind(text_to_cstring(PG_GETARG_TEXT_PP(3)));
	(void) pe_model_check_owner(name, NULL);
	pe_enter_phase(&timing, "read");
	judging.model = pe_model_open(name, pe_version_argument(fcinfo, 4), CurrentMemoryContext);
	if (judging.model->task != PE_TASK_PROPENSITY)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
		                errmsg("model \"%s\" has the task %s, which has no calibration", name,
		                       pe_task_name(judging.model->task)),
		                errhint("Train a new version on newer rows instead.")));
	judge_source(&judging, text_to_cstring(PG_GETARG_TEXT_PP(1)), text_to_cstring(PG_GETARG_TEXT_PP(2)));
	pe_enter_phase(&timing, "fit");
	evaluation = palloc0(sizeof(pe_evaluation));
	env = pe_quiet_env(CurrentMemoryContext);
	pe_check(pe_recalibrate(&env, judging.model->core, kind, judging.numbers, judging.targets, judging.hashes,
	                        judging.rows, &core, evaluation, &error),
	         &error);
	PG_RETURN_INT32(
	    store_recalibrated(&judging, core, evaluation, &timing, PG_ARGISNULL(5) || PG_GETARG_BOOL(5)));
}
