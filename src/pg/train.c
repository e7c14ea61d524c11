/*
 * train.c
 *		Models that learn a target from features: what was asked for, and the rows of the
 *		source on their way into a dataset.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "pg/goal_train.h"
#include "pg/guc.h"
#include "pg/json_options.h"
#include "pg/progress.h"
#include "pg/report.h"
#include "pg/training.h"

#define ROWS_PER_CHECK 1024

/* ---- what was asked for --------------------------------------------------------------- */

/* The time of {"holdout": {"from": ...}} as a row's is read: in days since 2000-01-01. */
static double
holdout_time(const char *text)
{
	Timestamp time = DatumGetTimestamp(pe_option_input("holdout.from", text, timestamp_in));

	if (TIMESTAMP_NOT_FINITE(time))
		pe_raise_bad_option("holdout.from", "a date or time, such as \"2026-10-01\"");
	return (double) time / USECS_PER_DAY;
}

static int32
code_of_class(void *arg, const char *text, size_t length)
{
	PeTraining *training = (PeTraining *) arg;
	int32_t code;
	pe_error error;

	pe_check(pe_dataset_class(training->dataset, text, length, &code, &error), &error);
	return code;
}

static PeTraining *
parse_options(PeTrainRequest *request, pe_algorithm algorithm)
{
	PeTraining *training = palloc0(sizeof(PeTraining));
	Oid target_type;

	if (request->target == NULL || request->target[0] == '\0')
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("argument \"target\" is required"),
		                errhint("Name the column to predict.")));
	training->request = request;
	training->algorithm = algorithm;
	target_type = TupleDescAttr(request->source->desc,
	                            pe_source_need_column(request->source, request->target, "target"))
	                  ->atttypid;
	training->options = pe_train_options(request->options, request->task, training->algorithm);
	training->target =
	    pe_target_init(request->target, target_type, request->task, training->options.positive);
	training->target.coder = code_of_class;
	training->target.coder_arg = training;
	training->holdout_from =
	    training->options.holdout_from != NULL ? holdout_time(training->options.holdout_from) : NAN;
	return training;
}

/* ---- reading -------------------------------------------------------------------------- */

static void
pg_attribute_noreturn() raise_too_many_rows(const PeTraining *training)
{
	uint64 fit = training->rows_that_fit;

	ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
	                errmsg("training on %s needs more memory than profenrich.training_memory allows (%d MB)",
	                       training->request->source->name, pe_training_memory_limit),
	                errdetail("With %d features, %llu rows fit; there are more.",
	                          training->columns.n_features, (unsigned long long) fit),
	                errhint("Raise profenrich.training_memory, or train on a sample: source => 'SELECT * "
	                        "FROM ... TABLESAMPLE BERNOULLI (10) REPEATABLE (1)'.")));
}

/* What the features and options take before the first row is kept. */
static void
check_memory(const PeTraining *training)
{
	pe_options reckoning = pe_training_reckoning(training);
	size_t least =
	    pe_training_memory(&reckoning, training->columns.n_features, training->columns.weight >= 0, 1);

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
weight_of_row(const PeTraining *training, const TupleTableSlot *slot)
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
key_hash_of_row(const PeTraining *training, const TupleTableSlot *slot)
{
	int column = training->columns.key;
	size_t length;
	const char *text;
	char buffer[PE_KEY_BUFFER];

	if (column < 0 || slot->tts_isnull[column])
		return pe_hash_bytes(&training->rows, sizeof(training->rows), 0);
	text = pe_input_key(&training->columns.key_input, slot->tts_values[column], buffer, &length);
	return pe_hash_bytes(text, length, 0);
}

static int32
code_of_level(void *arg, int feature, const char *text, size_t length)
{
	PeTraining *training = (PeTraining *) arg;
	int32_t code;
	pe_error error;

	pe_check(pe_dataset_level(training->dataset, feature, text, length, &code, &error), &error);
	return code;
}

/* By the row's time, where that decides; rows without one are learnt from. */
static bool
is_held_out(PeTraining *training, const TupleTableSlot *slot)
{
	int column = training->columns.holdout;

	if (column < 0)
		return false;
	if (slot->tts_isnull[column])
	{
		training->without_time++;
		return false;
	}
	return pe_input_number(&training->columns.holdout_input, slot->tts_values[column]) >=
	       training->holdout_from;
}

static void
append_pending(PeTraining *training)
{
	uint64 first = pe_dataset_rows(training->dataset);
	pe_error error;

	pe_check(pe_dataset_append_rows(training->dataset, training->pending, training->columns.n_features,
	                                training->pending_targets, training->pending_weights,
	                                training->pending_hashes, training->n_pending, &error),
	         &error);
	for (int i = 0; i < training->n_pending; i++)
	{
		if (!training->pending_held[i])
			continue;
		pe_check(pe_dataset_hold_out(training->dataset, first + i, &error), &error);
		training->held_out++;
	}
	training->n_pending = 0;
}

static bool
read_row(void *arg, TupleTableSlot *slot)
{
	PeTraining *training = (PeTraining *) arg;
	int column = training->columns.target;
	int at = training->n_pending;
	double target;

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
	pe_row_read(training->reader, slot->tts_values, slot->tts_isnull,
	            training->pending + (size_t) at * training->columns.n_features);
	training->pending_targets[at] = target;
	training->pending_weights[at] = weight_of_row(training, slot);
	training->pending_hashes[at] = key_hash_of_row(training, slot);
	training->pending_held[at] = is_held_out(training, slot);
	if (target == 1)
	{
		training->positives++;
		training->held_positives += training->pending_held[at];
	}
	if (++training->n_pending == PE_PENDING_ROWS)
		append_pending(training);
	return true;
}

/* How many rows fit, as far as that is known. */
static void
reckon(PeTraining *training)
{
	pe_options reckoning = pe_training_reckoning(training);

	training->rows_that_fit =
	    pe_training_memory_rows(&reckoning, training->columns.n_features, training->columns.weight >= 0,
	                            (size_t) pe_training_memory_limit * 1024 * 1024);
}

static void
create_dataset(PeTraining *training)
{
	const PeTrainColumns *columns = &training->columns;
	pe_feature_spec *specs = palloc0(sizeof(pe_feature_spec) * columns->n_features);
	pe_error error;

	for (int i = 0; i < columns->n_features; i++)
	{
		specs[i].name = columns->features[i].name;
		specs[i].source_type = pe_feature_encode(&columns->features[i]);
		specs[i].kind =
		    pe_feature_is_category(&columns->features[i]) ? PE_FEATURE_CATEGORICAL : PE_FEATURE_NUMERIC;
	}
	pe_check(pe_dataset_create(&training->request->env, training->options.core.algorithm, specs,
	                           columns->n_features, columns->weight >= 0, &training->dataset, &error),
	         &error);
	if (columns->holdout >= 0)
		pe_check(pe_dataset_hold_out_none(training->dataset, &error), &error);
	training->pending = palloc(sizeof(double) * PE_PENDING_ROWS * columns->n_features);
	training->reader =
	    pe_row_reader_create(columns->n_features, columns->features, columns->inputs, columns->slots,
	                         columns->snapshot, &columns->snapshot_input, code_of_level, training);
	reckon(training);
	check_memory(training);
}

/* What only the rows could tell of the rows held out by time. */
static void
check_holdout(PeTraining *training)
{
	uint64 rows = pe_dataset_rows(training->dataset);
	const char *column =
	    training->options.holdout_column != NULL ? training->options.holdout_column : PE_SNAPSHOT_COLUMN;

	if (training->columns.holdout < 0)
		return;
	if (training->without_time > 0)
		ereport(NOTICE, (errmsg("%llu rows without a \"%s\" are learnt from",
		                        (unsigned long long) training->without_time, column)));
	if (training->held_out == 0 || training->held_out == rows)
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
		                errmsg("%s has a \"%s\" from %s on", training->held_out == 0 ? "no row" : "every row",
		                       column, training->options.holdout_from),
		                errhint("Choose a time that leaves rows on both sides.")));
	training->options.core.holdout = (double) training->held_out / (double) rows;
}

/* Are there enough rows of each outcome for the goal? */
static void
check_outcomes(const PeTraining *training, uint64 rows)
{
	pe_goal_check_rows(training->request->goal, (int64) training->positives,
	                   (int64) (rows - training->positives), (int64) training->held_positives,
	                   (int64) (training->held_out - training->held_positives));
}

static void
read_rows(PeTraining *training)
{
	pe_options reckoning;
	uint64 rows;

	pe_source_read(training->request->source, training->columns.columns, training->columns.n_columns,
	               PE_SOURCE_ORDERED, read_row, training);
	append_pending(training);
	if (training->rows == 0)
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
		                errmsg("%s has no rows to train on", training->request->source->name)));
	rows = pe_dataset_rows(training->dataset);
	if (rows == 0)
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
		                errmsg("target column \"%s\" is NULL in all %llu rows", training->request->target,
		                       (unsigned long long) training->rows)));
	if (training->without_target > 0)
		ereport(NOTICE, (errmsg("skipped %llu of %llu rows, whose target \"%s\" is NULL",
		                        (unsigned long long) training->without_target,
		                        (unsigned long long) training->rows, training->request->target)));
	if (training->request->goal != NULL)
		check_outcomes(training, rows);
	check_holdout(training);
	training->options.core.expected_classes = pe_dataset_class_count(training->dataset);
	reckon(training);
	if (rows > training->rows_that_fit)
		raise_too_many_rows(training);
	reckoning = pe_training_reckoning(training);
	training->memory =
	    pe_training_memory(&reckoning, training->columns.n_features, training->columns.weight >= 0, rows);
	ereport(DEBUG1, (errmsg("training model \"%s\" on %llu rows and %d features takes at most %zu MB",
	                        training->request->model, (unsigned long long) rows, training->columns.n_features,
	                        training->memory / (1024 * 1024) + 1)));
}

PeTraining *
pe_training_read(PeTrainRequest *request, pe_algorithm algorithm)
{
	PeTraining *training = parse_options(request, algorithm);

	training->columns = pe_train_columns(request->source, request->target, &training->options);
	create_dataset(training);
	read_rows(training);
	return training;
}

PeTrained
pe_train_supervised(PeTrainRequest *request)
{
	PeTraining *training = pe_training_read(request, pe_train_algorithm(request, PE_ALGORITHM_BOOSTED_TREES));
	PeTrained trained = {.algorithm = training->algorithm, .headline = NAN};

	pe_training_learn(training);
	trained.version = pe_training_store(training);
	trained.rows = (int64) (training->rows - training->without_target);
	trained.features = training->columns.n_features;
	trained.metric = pe_evaluation_headline(training->evaluation, &trained.headline);
	trained.quality = pe_verdict_name(training->evaluation->verdict);
	return trained;
}
