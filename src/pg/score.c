/*
 * score.c
 *		score(): a source in, a row of scores for each of its rows out.
 *
 * Rows are buffered in two blocks: while one is filled from the source, other threads
 * predict the one before it. What a profile gets depends on its row and the model
 * version alone, never on the other rows.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/arguments.h"
#include "pg/env.h"
#include "pg/guc.h"
#include "pg/key_set.h"
#include "pg/models.h"
#include "pg/progress.h"
#include "pg/report.h"
#include "pg/score.h"
#include "pg/source.h"

#define BLOCK_BYTES ((size_t) 4 << 20) /* of inputs; wide rows make shorter blocks */
#define FEWEST_ROWS 128
#define BUCKETS     5
#define KEY_BYTES   32768 /* of keys allocated at once */

/* Tables that make reasons quick: room for 300 trees of depth 6. */
#define MAX_EXPLAINER_BYTES ((size_t) 64 << 20)

typedef struct Block
{
	MemoryContext memory; /* keys, texts, reasons: reset when the block was handed out */
	char *room;           /* for keys, and how much of it is left */
	size_t room_left;
	int filled;
	double *values; /* [block_rows][n_features] */
	double *predictions;
	pe_score *scores;
	double *outputs; /* [block_rows][n_outputs] */
	Datum *keys;
	PeKeyHash *hashes;
	char **texts; /* [block_rows][n_features], with reasons only */
} Block;

typedef struct Scoring
{
	const PeScoreRequest *request;
	const PeModel *model;
	PeBinding *binding;
	PeInput key_input; /* of slot 0 */
	const PeScoreSink *sink;
	PeKeySet *keys; /* NULL: none can come twice, or it does not matter */
	int block_rows;
	int n_outputs;
	Block blocks[2];
	Block *filling;
	Block *ahead; /* being predicted; NULL: none */
	bool *is_new; /* [block_rows] */
	pe_predictor *predictor;
	pe_explainer *explainer; /* with reasons only, as is the next */
	double *contributions;   /* [block_rows][n_features] */
	pe_env env;              /* of the two */
	Datum buckets[BUCKETS + 1];
	Datum scored_at;
	uint64 rows;
	uint64 handed_out;
	uint64 without_key;
	uint64 repeated;
} Scoring;

/* ---- blocks --------------------------------------------------------------------------- */

static void
explain_block(Scoring *scoring, const Block *block)
{
	double base;
	pe_error err = {0};

	pe_check(pe_explainer_explain(scoring->explainer, block->values, scoring->model->n_features,
	                              block->filled, pe_threads, scoring->contributions, &base, &err),
	         &err);
}

/* A block whose predictions are there goes to the sink, and is empty afterwards. */
static void
hand_out(Scoring *scoring, Block *block)
{
	MemoryContext before = MemoryContextSwitchTo(block->memory);
	const PeModel *model = scoring->model;
	int n_reasons = scoring->request->reasons;
	Datum values[PE_SCORE_COLUMNS];
	bool nulls[PE_SCORE_COLUMNS] = {false};

	if (scoring->explainer != NULL)
		explain_block(scoring, block);
	nulls[PE_SCORE_SCORE] = nulls[PE_SCORE_PERCENTILE] = nulls[PE_SCORE_BUCKET] =
	    !pe_model_ranks(model->core);
	nulls[PE_SCORE_DETAIL] = scoring->n_outputs == 0;
	nulls[PE_SCORE_REASONS] = n_reasons == 0;
	values[PE_SCORE_DETAIL] = values[PE_SCORE_REASONS] = (Datum) 0;
	values[PE_SCORE_MODEL_VERSION] = Int32GetDatum(model->version);
	values[PE_SCORE_SCORED_AT] = scoring->scored_at;
	for (int row = 0; row < block->filled; row++)
	{
		size_t at = (size_t) row * model->n_features;

		CHECK_FOR_INTERRUPTS();
		values[PE_SCORE_KEY] = block->keys[row];
		values[PE_SCORE_PREDICTION] = Float8GetDatum(block->predictions[row]);
		values[PE_SCORE_SCORE] = Int32GetDatum(block->scores[row].score);
		values[PE_SCORE_PERCENTILE] = Int32GetDatum(block->scores[row].percentile);
		values[PE_SCORE_BUCKET] = scoring->buckets[block->scores[row].bucket];
		if (scoring->n_outputs > 0)
			values[PE_SCORE_DETAIL] =
			    pe_score_detail(model, block->outputs + (size_t) row * scoring->n_outputs);
		if (n_reasons > 0)
			values[PE_SCORE_REASONS] = pe_score_reasons(model, n_reasons, block->values + at,
			                                            block->texts + at, scoring->contributions + at);
		scoring->sink->row(scoring->sink->arg, values, nulls);
	}
	if (scoring->sink->block_end != NULL)
		scoring->sink->block_end(scoring->sink->arg);
	scoring->handed_out += block->filled;
	block->filled = 0;
	block->room_left = 0;
	MemoryContextSwitchTo(before);
	MemoryContextReset(block->memory);
	pe_progress_publish("score", scoring->rows, 0);
}

/* Row by row to the front, where a row was taken out. */
static void
move_row(const Scoring *scoring, Block *block, int from, int to)
{
	size_t n = scoring->model->n_features;

	if (from == to)
		return;
	memcpy(block->values + to * n, block->values + from * n, sizeof(double) * n);
	if (block->texts != NULL)
		memcpy(block->texts + to * n, block->texts + from * n, sizeof(char *) * n);
	block->keys[to] = block->keys[from];
}

/* Takes out the rows whose key was there before. */
static void
drop_repeated(Scoring *scoring, Block *block)
{
	int kept = 0;

	if (scoring->keys == NULL ||
	    pe_key_set_add(scoring->keys, block->hashes, block->filled, scoring->is_new) == block->filled)
		return;
	for (int row = 0; row < block->filled; row++)
	{
		if (scoring->is_new[row])
			move_row(scoring, block, row, kept++);
	}
	scoring->repeated += block->filled - kept;
	block->filled = kept;
}

/* Once the call is bound to fail, rows are only counted. */
static bool
is_lost(const Scoring *scoring)
{
	return scoring->without_key > 0 ||
	       (scoring->repeated > 0 && scoring->request->on_duplicate == PE_DUPLICATE_ERROR);
}

/*
 * The block that is being filled goes to be predicted, and the one before it, which
 * was, out. Twice in a row hands out all.
 */
static void
turn_over(Scoring *scoring)
{
	Block *full = scoring->filling;
	Block *done = scoring->ahead;
	pe_error err = {0};

	drop_repeated(scoring, full);
	if (is_lost(scoring))
	{
		full->filled = 0;
		full->room_left = 0;
		MemoryContextReset(full->memory);
		return;
	}
	if (done != NULL)
		pe_check(pe_predictor_finish(scoring->predictor, &err), &err);
	scoring->ahead = NULL;
	if (full->filled > 0)
	{
		pe_prediction_block block = {.values = full->values,
		                             .stride = scoring->model->n_features,
		                             .rows = full->filled,
		                             .predictions = full->predictions,
		                             .scores = full->scores,
		                             .outputs = full->outputs};

		pe_predictor_begin(scoring->predictor, &block);
		scoring->ahead = full;
		scoring->filling = &scoring->blocks[full == &scoring->blocks[0]];
	}
	if (done != NULL)
		hand_out(scoring, done);
}

/* A text datum of the key that lasts as long as the block. */
static Datum
keep_key(Block *block, const char *key, size_t length)
{
	bool is_short = length + VARHDRSZ_SHORT <= VARATT_SHORT_MAX;
	size_t bytes = length + (is_short ? VARHDRSZ_SHORT : VARHDRSZ);
	char *datum;

	if (!is_short || bytes > block->room_left)
	{
		if (!is_short)
			return PointerGetDatum(cstring_to_text_with_len(key, (int) length));
		block->room = MemoryContextAlloc(block->memory, KEY_BYTES);
		block->room_left = KEY_BYTES;
	}
	datum = block->room;
	SET_VARSIZE_SHORT(datum, bytes);
	memcpy(VARDATA_SHORT(datum), key, length);
	block->room += bytes;
	block->room_left -= bytes;
	return PointerGetDatum(datum);
}

static bool
score_row(void *arg, TupleTableSlot *slot)
{
	Scoring *scoring = (Scoring *) arg;
	Block *block = scoring->filling;
	size_t at = (size_t) block->filled * scoring->model->n_features;
	char buffer[PE_KEY_BUFFER];
	size_t length;
	const char *key;
	MemoryContext before;

	scoring->rows++;
	if (slot->tts_isnull[0])
	{
		scoring->without_key++;
		return true;
	}
	key = pe_input_key(&scoring->key_input, slot->tts_values[0], buffer, &length);
	if (scoring->keys != NULL)
		block->hashes[block->filled] = pe_key_hash(key, length);
	if (!is_lost(scoring))
	{
		before = MemoryContextSwitchTo(block->memory);
		block->keys[block->filled] = keep_key(block, key, length);
		if (block->texts == NULL)
			MemoryContextSwitchTo(before);
		pe_bind_values(scoring->binding, slot->tts_values, slot->tts_isnull, block->values + at,
		               block->texts != NULL ? block->texts + at : NULL);
		MemoryContextSwitchTo(before);
	}
	if (++block->filled == scoring->block_rows)
		turn_over(scoring);
	return true;
}

static void
check_keys(const Scoring *scoring, const char *source_name)
{
	if (scoring->without_key > 0)
		ereport(ERROR, (errcode(ERRCODE_NOT_NULL_VIOLATION),
		                errmsg("key column \"%s\" is NULL in %llu of %llu rows of %s", scoring->request->key,
		                       (unsigned long long) scoring->without_key, (unsigned long long) scoring->rows,
		                       source_name),
		                errhint("Leave rows without a key out of the source.")));
	if (scoring->repeated > 0 && scoring->request->on_duplicate == PE_DUPLICATE_ERROR)
		ereport(
		    ERROR,
		    (errcode(ERRCODE_UNIQUE_VIOLATION),
		     errmsg("%llu of %llu rows of %s repeat a key in column \"%s\"",
		            (unsigned long long) scoring->repeated, (unsigned long long) scoring->rows, source_name,
		            scoring->request->key),
		     errhint("Make the source give each key once, or call with on_duplicate => 'first' or 'keep'.")));
}

static void
allocate_block(const Scoring *scoring, Block *block)
{
	size_t rows = scoring->block_rows;
	size_t cells = rows * Max(scoring->model->n_features, 1);

	block->memory =
	    AllocSetContextCreate(CurrentMemoryContext, "profenrich score block", ALLOCSET_DEFAULT_SIZES);
	block->values = palloc_extended(sizeof(double) * cells, MCXT_ALLOC_HUGE);
	block->predictions = palloc(sizeof(double) * rows);
	block->scores = palloc(sizeof(pe_score) * rows);
	if (scoring->n_outputs > 0)
		block->outputs = palloc_extended(sizeof(double) * rows * scoring->n_outputs, MCXT_ALLOC_HUGE);
	block->keys = palloc(sizeof(Datum) * rows);
	block->hashes = palloc(sizeof(PeKeyHash) * rows);
	if (scoring->request->reasons > 0)
		block->texts = palloc_extended(sizeof(char *) * cells, MCXT_ALLOC_HUGE);
}

/* However the scoring ends: its threads are gone before the memory that they work on. */
static void
stop_predicting(void *arg)
{
	Scoring *scoring = (Scoring *) arg;

	pe_predictor_free(scoring->predictor);
	scoring->predictor = NULL;
}

static void
start_predicting(Scoring *scoring)
{
	MemoryContextCallback *callback = palloc(sizeof(MemoryContextCallback));
	pe_error err = {0};

	scoring->env = pe_quiet_env(CurrentMemoryContext);
	callback->func = stop_predicting;
	callback->arg = scoring;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	pe_check(pe_predictor_create(&scoring->env, scoring->model->core, &scoring->predictor, &err), &err);
	pe_check(pe_predictor_start(scoring->predictor, pe_threads, &err), &err);
}

static void
allocate(Scoring *scoring)
{
	int n_features = Max(scoring->model->n_features, 1);
	pe_error err = {0};

	scoring->n_outputs = pe_model_output_count(scoring->model->core);
	scoring->block_rows = PE_SCORE_BLOCK;
	while (scoring->block_rows > FEWEST_ROWS &&
	       sizeof(double) * n_features * scoring->block_rows > BLOCK_BYTES)
		scoring->block_rows /= 2;
	allocate_block(scoring, &scoring->blocks[0]);
	allocate_block(scoring, &scoring->blocks[1]);
	scoring->filling = &scoring->blocks[0];
	scoring->is_new = palloc(sizeof(bool) * scoring->block_rows);
	start_predicting(scoring);
	if (scoring->request->reasons > 0)
	{
		scoring->contributions =
		    palloc_extended(sizeof(double) * scoring->block_rows * n_features, MCXT_ALLOC_HUGE);
		pe_check(pe_explainer_create(&scoring->env, scoring->model->core, MAX_EXPLAINER_BYTES,
		                             &scoring->explainer, &err),
		         &err);
	}
	scoring->scored_at = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	for (int i = 1; i <= BUCKETS; i++)
		scoring->buckets[i] = CStringGetTextDatum(pe_bucket_name((pe_bucket) i));
}

static uint64
score_source(const PeScoreRequest *request, const PeScoreSink *sink)
{
	Scoring *scoring = palloc0(sizeof(Scoring));
	PeSource *source;
	int key;
	int *columns;
	int n_columns;

	scoring->request = request;
	scoring->sink = sink;
	scoring->model = pe_model_open(request->model, request->version, CurrentMemoryContext);
	source = pe_source_open(request->source, "source");
	key = pe_source_need_column(source, request->key, "key");
	if (!pe_input_init(&scoring->key_input, TupleDescAttr(source->desc, key)->atttypid, PE_TREAT_CATEGORY))
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
		                errmsg("column \"%s\" of type %s cannot be a key", request->key,
		                       format_type_be(TupleDescAttr(source->desc, key)->atttypid)),
		                errhint("A key is a text, a number or a uuid.")));
	scoring->binding = pe_bind_source(scoring->model, source, &key, 1, &columns, &n_columns);
	if (request->reasons > 0 && !pe_model_explains(scoring->model->core))
		ereport(ERROR,
		        (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
		         errmsg("model \"%s\" has the algorithm %s, which gives no reasons", scoring->model->name,
		                pe_algorithm_name(pe_model_algorithm(scoring->model->core))),
		         errhint("Call it without reasons.")));
	if (request->on_duplicate != PE_DUPLICATE_KEEP && !pe_source_is_unique(source, key))
		scoring->keys = pe_key_set_create();
	allocate(scoring);
	pe_source_read(source, columns, n_columns, 0, score_row, scoring);
	turn_over(scoring);
	check_keys(scoring, source->name);
	turn_over(scoring);
	return scoring->handed_out;
}

uint64
pe_score_source(const PeScoreRequest *request, const PeScoreSink *sink)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller, "profenrich scoring", ALLOCSET_DEFAULT_SIZES);
	volatile uint64 rows = 0;

	MemoryContextSwitchTo(context);
	pe_progress_begin(PE_PROGRESS_SCORE, request->model);
	PG_TRY();
	{
		rows = score_source(request, sink);
	}
	PG_CATCH();
	{
		/* The transaction may go on after an error (a savepoint): slot and threads must not. */
		pe_progress_end();
		MemoryContextSwitchTo(caller);
		MemoryContextDelete(context);
		PG_RE_THROW();
	}
	PG_END_TRY();
	pe_progress_end();
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	return rows;
}

/* ---- score() --------------------------------------------------------------------------- */

static void
put_row(void *arg, Datum *values, bool *nulls)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) arg;

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

PeOnDuplicate
pe_on_duplicate_from_name(const char *name)
{
	if (strcmp(name, "error") == 0)
		return PE_DUPLICATE_ERROR;
	if (strcmp(name, "first") == 0)
		return PE_DUPLICATE_FIRST;
	if (strcmp(name, "keep") == 0)
		return PE_DUPLICATE_KEEP;
	ereport(ERROR,
	        (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown value \"%s\" for on_duplicate", name),
	         errhint("It must be error, first or keep.")));
	pg_unreachable();
}

void
pe_score_check_request(const PeScoreRequest *request)
{
	if (request->reasons < 0 || request->reasons > 1000)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("reasons must be between 0 and 1000, not %d", request->reasons)));
	if (request->version < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("version must be 1 or more"),
		                errhint("Leave it out for the deployed version.")));
}

PG_FUNCTION_INFO_V1(pe_score_rows);

/* score(model, source, key, version, reasons, on_duplicate) -> the columns of PeScoreColumn. */
Datum
pe_score_rows(PG_FUNCTION_ARGS)
{
	PeScoreRequest request = {
	    .model = pe_text_argument(fcinfo, 0, "model"),
	    .source = pe_text_argument(fcinfo, 1, "source"),
	    .key = pe_text_argument(fcinfo, 2, "key"),
	    .version = pe_version_argument(fcinfo, 3),
	    .reasons = PG_ARGISNULL(4) ? 0 : PG_GETARG_INT32(4),
	    .on_duplicate = PG_ARGISNULL(5) ? PE_DUPLICATE_ERROR
	                                    : pe_on_duplicate_from_name(TextDatumGetCString(PG_GETARG_DATUM(5))),
	};
	PeScoreSink sink = {.row = put_row, .arg = fcinfo->resultinfo};

	pe_score_check_request(&request);
	InitMaterializedSRF(fcinfo, 0);
	(void) pe_score_source(&request, &sink);
	return (Datum) 0;
}
