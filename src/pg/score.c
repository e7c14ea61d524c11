/*
 * score.c
 *		score(): a source in, a row of scores for each of its rows out.
 *
 * Rows are buffered as blocks of inputs and predicted block by block. What a profile
 * gets depends on its row and the model version alone, never on the other rows.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "pg/env.h"
#include "pg/guc.h"
#include "pg/key_set.h"
#include "pg/models.h"
#include "pg/progress.h"
#include "pg/report.h"
#include "pg/score.h"
#include "pg/source.h"

#define BLOCK_ROWS 1024
#define BUCKETS    5

/* Tables that make reasons quick: room for 300 trees of depth 6. */
#define MAX_EXPLAINER_BYTES ((size_t) 64 << 20)

typedef struct Scoring
{
	const PeScoreRequest *request;
	const PeModel *model;
	PeBinding *binding;
	PeInput key_input; /* of slot 0 */
	pe_score_sink sink;
	void *arg;
	PeKeySet *keys;
	MemoryContext block; /* reset after each block: keys, texts, reasons */
	int filled;
	double *values;      /* [BLOCK_ROWS][n_features] */
	double *predictions; /* [BLOCK_ROWS] */
	text **block_keys;   /* [BLOCK_ROWS] */
	char **texts;        /* [BLOCK_ROWS][n_features], with reasons only */
	pe_predictor *predictor;
	pe_explainer *explainer; /* with reasons only, as is the next */
	double *contributions;   /* [BLOCK_ROWS][n_features] */
	pe_env env;              /* of the two */
	Datum buckets[BUCKETS + 1];
	Datum scored_at;
	uint64 rows;
	uint64 handed_out;
	uint64 without_key;
	uint64 repeated;
} Scoring;

/* ---- reasons -------------------------------------------------------------------------- */

static void
push_pair(JsonbParseState **state, const char *name, JsonbValue *value)
{
	JsonbValue key = {.type = jbvString};

	key.val.string.val = (char *) name;
	key.val.string.len = (int) strlen(name);
	pushJsonbValue(state, WJB_KEY, &key);
	pushJsonbValue(state, WJB_VALUE, value);
}

static void
push_text(JsonbParseState **state, const char *name, const char *text)
{
	JsonbValue value = {.type = jbvString};

	value.val.string.val = (char *) text;
	value.val.string.len = (int) strlen(text);
	push_pair(state, name, &value);
}

/* Six decimals: more would make a delivered value change without meaning anything. */
static void
push_contribution(JsonbParseState **state, double contribution)
{
	JsonbValue value = {.type = jbvNumeric};
	Datum rounded = DirectFunctionCall2(
	    numeric_round, DirectFunctionCall1(float8_numeric, Float8GetDatum(contribution)), Int32GetDatum(6));

	value.val.numeric = DatumGetNumeric(rounded);
	push_pair(state, "contribution", &value);
}

/* The feature with the largest contribution not yet taken; -1 when only zeros are left. */
static int
next_reason(const double *contributions, const bool *taken, int n)
{
	int best = -1;

	for (int i = 0; i < n; i++)
	{
		if (!taken[i] && contributions[i] != 0 &&
		    (best < 0 || fabs(contributions[i]) > fabs(contributions[best])))
			best = i;
	}
	return best;
}

/* [{"feature": ..., "value": ..., "contribution": ...}, ...], the largest first. */
static Datum
reasons_of_row(Scoring *scoring, int row)
{
	const PeModel *model = scoring->model;
	const double *values = scoring->values + (size_t) row * model->n_features;
	char **texts = scoring->texts + (size_t) row * model->n_features;
	const double *contributions = scoring->contributions + (size_t) row * model->n_features;
	bool *taken = palloc0(Max(model->n_features, 1));
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < scoring->request->reasons; i++)
	{
		int feature = next_reason(contributions, taken, model->n_features);
		const char *value;

		if (feature < 0)
			break;
		taken[feature] = true;
		value = model->features[feature].treatment == PE_TREAT_CATEGORY
		            ? texts[feature]
		            : pe_feature_display(&model->features[feature], values[feature]);
		pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		push_text(&state, "feature", model->features[feature].name);
		push_text(&state, "value", value != NULL ? value : "(missing)");
		push_contribution(&state, contributions[feature]);
		pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	}
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL)));
}

/* ---- blocks --------------------------------------------------------------------------- */

static void
predict_block(Scoring *scoring)
{
	size_t stride = scoring->model->n_features;
	double base;
	pe_error err = {0};

	pe_check(pe_predictor_predict(scoring->predictor, scoring->values, stride, scoring->filled, pe_threads,
	                              scoring->predictions, &err),
	         &err);
	if (scoring->explainer != NULL)
		pe_check(pe_explainer_explain(scoring->explainer, scoring->values, stride, scoring->filled,
		                              pe_threads, scoring->contributions, &base, &err),
		         &err);
}

static void
hand_out_block(Scoring *scoring)
{
	MemoryContext before = MemoryContextSwitchTo(scoring->block);
	Datum values[PE_SCORE_COLUMNS];
	bool nulls[PE_SCORE_COLUMNS] = {false};

	predict_block(scoring);
	nulls[PE_SCORE_DETAIL] = true;
	nulls[PE_SCORE_REASONS] = scoring->request->reasons == 0;
	values[PE_SCORE_DETAIL] = values[PE_SCORE_REASONS] = (Datum) 0;
	values[PE_SCORE_MODEL_VERSION] = Int32GetDatum(scoring->model->version);
	values[PE_SCORE_SCORED_AT] = scoring->scored_at;
	for (int row = 0; row < scoring->filled; row++)
	{
		pe_score score = pe_model_score(scoring->model->core, scoring->predictions[row]);

		CHECK_FOR_INTERRUPTS();
		values[PE_SCORE_KEY] = PointerGetDatum(scoring->block_keys[row]);
		values[PE_SCORE_PREDICTION] = Float8GetDatum(scoring->predictions[row]);
		values[PE_SCORE_SCORE] = Int32GetDatum(score.score);
		values[PE_SCORE_PERCENTILE] = Int32GetDatum(score.percentile);
		values[PE_SCORE_BUCKET] = scoring->buckets[score.bucket];
		if (scoring->request->reasons > 0)
			values[PE_SCORE_REASONS] = reasons_of_row(scoring, row);
		scoring->sink(scoring->arg, values, nulls);
	}
	scoring->handed_out += scoring->filled;
	scoring->filled = 0;
	MemoryContextSwitchTo(before);
	MemoryContextReset(scoring->block);
	pe_progress_publish("score", scoring->rows, 0);
}

static bool
score_row(void *arg, TupleTableSlot *slot)
{
	Scoring *scoring = (Scoring *) arg;
	int n_features = scoring->model->n_features;
	char **texts = NULL;
	size_t length;
	const char *key;
	MemoryContext before;

	scoring->rows++;
	if (slot->tts_isnull[0])
	{
		scoring->without_key++;
		return true;
	}
	key = pe_input_text(&scoring->key_input, slot->tts_values[0], &length);
	if (scoring->keys != NULL && !pe_key_set_add(scoring->keys, key, length))
	{
		scoring->repeated++;
		return true;
	}
	/* Once the call is bound to fail, the rows are only counted. */
	if (scoring->without_key > 0 ||
	    (scoring->repeated > 0 && scoring->request->on_duplicate == PE_DUPLICATE_ERROR))
		return true;
	before = MemoryContextSwitchTo(scoring->block);
	scoring->block_keys[scoring->filled] = cstring_to_text_with_len(key, (int) length);
	if (scoring->texts != NULL)
		texts = scoring->texts + (size_t) scoring->filled * n_features;
	if (texts == NULL)
		MemoryContextSwitchTo(before);
	pe_bind_values(scoring->binding, slot->tts_values, slot->tts_isnull,
	               scoring->values + (size_t) scoring->filled * n_features, texts);
	MemoryContextSwitchTo(before);
	if (++scoring->filled == BLOCK_ROWS)
		hand_out_block(scoring);
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
allocate(Scoring *scoring)
{
	int n_features = Max(scoring->model->n_features, 1);
	pe_error err = {0};

	scoring->env = pe_quiet_env(CurrentMemoryContext);
	pe_check(pe_predictor_create(&scoring->env, scoring->model->core, &scoring->predictor, &err), &err);
	scoring->block =
	    AllocSetContextCreate(CurrentMemoryContext, "profenrich score block", ALLOCSET_DEFAULT_SIZES);
	scoring->values = palloc_extended(sizeof(double) * BLOCK_ROWS * n_features, MCXT_ALLOC_HUGE);
	scoring->predictions = palloc(sizeof(double) * BLOCK_ROWS);
	scoring->block_keys = palloc(sizeof(text *) * BLOCK_ROWS);
	if (scoring->request->reasons > 0)
	{
		scoring->texts = palloc_extended(sizeof(char *) * BLOCK_ROWS * n_features, MCXT_ALLOC_HUGE);
		scoring->contributions = palloc_extended(sizeof(double) * BLOCK_ROWS * n_features, MCXT_ALLOC_HUGE);
		pe_check(pe_explainer_create(&scoring->env, scoring->model->core, MAX_EXPLAINER_BYTES,
		                             &scoring->explainer, &err),
		         &err);
	}
	scoring->scored_at = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	for (int i = 1; i <= BUCKETS; i++)
		scoring->buckets[i] = CStringGetTextDatum(pe_bucket_name((pe_bucket) i));
	if (scoring->request->on_duplicate != PE_DUPLICATE_KEEP)
		scoring->keys = pe_key_set_create();
}

static uint64
score_source(const PeScoreRequest *request, pe_score_sink sink, void *arg)
{
	Scoring *scoring = palloc0(sizeof(Scoring));
	PeSource *source;
	int key;
	int *columns;
	int n_columns;

	scoring->request = request;
	scoring->sink = sink;
	scoring->arg = arg;
	scoring->model = pe_model_open(request->model, request->version, CurrentMemoryContext);
	source = pe_source_open(request->source, "source");
	key = pe_source_need_column(source, request->key, "key");
	if (!pe_input_init(&scoring->key_input, TupleDescAttr(source->desc, key)->atttypid, PE_TREAT_CATEGORY))
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
		                errmsg("column \"%s\" of type %s cannot be a key", request->key,
		                       format_type_be(TupleDescAttr(source->desc, key)->atttypid)),
		                errhint("A key is a text, a number or a uuid.")));
	scoring->binding = pe_bind_source(scoring->model, source, &key, 1, &columns, &n_columns);
	allocate(scoring);
	pe_source_read(source, columns, n_columns, 0, score_row, scoring);
	check_keys(scoring, source->name);
	if (scoring->filled > 0)
		hand_out_block(scoring);
	return scoring->handed_out;
}

uint64
pe_score_source(const PeScoreRequest *request, pe_score_sink sink, void *arg)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller, "profenrich scoring", ALLOCSET_DEFAULT_SIZES);
	volatile uint64 rows = 0;

	MemoryContextSwitchTo(context);
	pe_progress_begin(PE_PROGRESS_SCORE, request->model);
	PG_TRY();
	{
		rows = score_source(request, sink, arg);
	}
	PG_FINALLY();
	{
		pe_progress_end();
	}
	PG_END_TRY();
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
	if (request->model == NULL || request->source == NULL || request->key == NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("arguments model, source and key are required")));
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
	    .model = PG_ARGISNULL(0) ? NULL : TextDatumGetCString(PG_GETARG_DATUM(0)),
	    .source = PG_ARGISNULL(1) ? NULL : TextDatumGetCString(PG_GETARG_DATUM(1)),
	    .key = PG_ARGISNULL(2) ? NULL : TextDatumGetCString(PG_GETARG_DATUM(2)),
	    .version = PG_ARGISNULL(3) ? 0 : PG_GETARG_INT32(3),
	    .reasons = PG_ARGISNULL(4) ? 0 : PG_GETARG_INT32(4),
	    .on_duplicate = PG_ARGISNULL(5) ? PE_DUPLICATE_ERROR
	                                    : pe_on_duplicate_from_name(TextDatumGetCString(PG_GETARG_DATUM(5))),
	};

	pe_score_check_request(&request);
	InitMaterializedSRF(fcinfo, 0);
	(void) pe_score_source(&request, put_row, fcinfo->resultinfo);
	return (Datum) 0;
}
