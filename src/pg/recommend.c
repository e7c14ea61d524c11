/*
 * recommend.c
 *		recommend(), recommend_all(), similar_items(), item_popularity(): asking a version
 *		that recommends.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "model/recommend/recommend.h"
#include "pg/arguments.h"
#include "pg/env.h"
#include "pg/features.h"
#include "pg/guc.h"
#include "pg/key_set.h"
#include "pg/models.h"
#include "pg/progress.h"
#include "pg/report.h"
#include "pg/rows.h"
#include "pg/source.h"

#define BLOCK_USERS 1024

/* ---- arguments ------------------------------------------------------------------------- */

static int
top_argument(FunctionCallInfo fcinfo, int argument)
{
	int top = PG_ARGISNULL(argument) ? 10 : PG_GETARG_INT32(argument);

	if (top < 1 || top > PE_MAX_TOP)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("top must be between 1 and %d, not %d", PE_MAX_TOP, top)));
	return top;
}

static const PeModel *
model_argument(FunctionCallInfo fcinfo, int version_argument, MemoryContext holder)
{
	char *name = pe_text_argument(fcinfo, 0, "model");

	return pe_recommender_open(name, pe_version_argument(fcinfo, version_argument), holder);
}

static Datum
item_text(const pe_recommender *recommender, uint32 item)
{
	size_t length;
	const char *text = pe_recommender_item(recommender, item, &length);

	return PointerGetDatum(cstring_to_text_with_len(text, (int) length));
}

/*
 * What a user may take next tells what the user took. Only who may change the model may
 * ask about its users, however their keys became known: naming a key shows no right to
 * read the rows that the model learnt from.
 */
static void
check_may_ask(const PeModel *model)
{
	if (pe_model_rights(model->name, NULL) == PE_MODEL_OTHERS)
		ereport(
		    ERROR,
		    (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
		     errmsg("must be owner of model \"%s\" to ask about its users", model->name),
		     errhint("Its owner can fill a table from recommend_all() for you to read, or make a SECURITY "
		             "DEFINER function that asks. A user_key of NULL gets what is popular.")));
}

/* ---- recommend(model, user_key, top, version) ------------------------------------------ */

PG_FUNCTION_INFO_V1(pe_recommend);

/* -> (item, score, rank, basis), best first. */
Datum
pe_recommend(PG_FUNCTION_ARGS)
{
	PeRow row;
	int top = top_argument(fcinfo, 2);
	const PeModel *model;
	pe_recommendation *list;
	pe_env env;
	pe_error error;
	int64 user = -1;
	int count = 0;

	pe_rows_begin(fcinfo, &row);
	model = model_argument(fcinfo, 3, CurrentMemoryContext);
	if (!PG_ARGISNULL(1))
	{
		text *key = PG_GETARG_TEXT_PP(1);

		check_may_ask(model);
		user = pe_recommender_find_user(model->recommender, VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key));
	}
	env = pe_quiet_env(CurrentMemoryContext);
	list = palloc(sizeof(pe_recommendation) * top);
	pe_check(pe_recommender_recommend(&env, model->recommender, &user, 1, top, 1, list, &count, &error),
	         &error);
	for (int i = 0; i < count; i++)
	{
		pe_row_add(&row, item_text(model->recommender, list[i].item));
		pe_row_add(&row, Float8GetDatum(list[i].score));
		pe_row_add(&row, Int32GetDatum(i + 1));
		pe_row_add(&row, CStringGetTextDatum(list[i].by_popularity ? "popularity" : "history"));
		pe_row_put(&row);
	}
	return (Datum) 0;
}

/* ---- recommend_all(model, source, key, top, version) ----------------------------------- */

typedef struct Asking
{
	const PeModel *model;
	int top;
	PeRow row;
	PeInput key_input; /* of slot 0 */
	PeKeySet *keys;
	const char *key; /* column */
	const char *source;
	text **items; /* by item, made when first recommended */
	Datum bases[3];
	Datum version;
	Datum now;
	MemoryContext lasting;
	MemoryContext block; /* reset after each block */
	int filled;
	int64 users[BLOCK_USERS];
	Datum user_keys[BLOCK_USERS];
	int counts[BLOCK_USERS];
	pe_recommendation *lists; /* [BLOCK_USERS][top] */
	Datum *texts;             /* [top] */
	Datum *scores;            /* [top] */
	uint64 rows;
	uint64 without_key;
} Asking;

static Datum
cached_item_text(Asking *asking, uint32 item)
{
	if (asking->items[item] == NULL)
	{
		MemoryContext before = MemoryContextSwitchTo(asking->lasting);

		asking->items[item] = (text *) DatumGetPointer(item_text(asking->model->recommender, item));
		MemoryContextSwitchTo(before);
	}
	return PointerGetDatum(asking->items[item]);
}

static void
put_user(Asking *asking, int place)
{
	const pe_recommendation *list = asking->lists + (size_t) place * asking->top;
	int count = asking->counts[place], popular = 0;

	for (int i = 0; i < count; i++)
	{
		asking->texts[i] = cached_item_text(asking, list[i].item);
		asking->scores[i] = Float8GetDatum(list[i].score);
		popular += list[i].by_popularity;
	}
	pe_row_add(&asking->row, asking->user_keys[place]);
	pe_row_add(&asking->row,
	           PointerGetDatum(construct_array(asking->texts, count, TEXTOID, -1, false, TYPALIGN_INT)));
	pe_row_add(&asking->row, PointerGetDatum(construct_array(asking->scores, count, FLOAT8OID, sizeof(float8),
	                                                         FLOAT8PASSBYVAL, TYPALIGN_DOUBLE)));
	pe_row_add(&asking->row, asking->bases[popular == 0 ? 0 : popular == count ? 1 : 2]);
	pe_row_add(&asking->row, asking->version);
	pe_row_add(&asking->row, asking->now);
	pe_row_put(&asking->row);
}

static void
answer_block(Asking *asking)
{
	MemoryContext before = MemoryContextSwitchTo(asking->block);
	pe_env env = pe_quiet_env(asking->block);
	pe_error error;

	pe_check(pe_recommender_recommend(&env, asking->model->recommender, asking->users, asking->filled,
	                                  asking->top, pe_threads, asking->lists, asking->counts, &error),
	         &error);
	for (int i = 0; i < asking->filled; i++)
		put_user(asking, i);
	asking->filled = 0;
	MemoryContextSwitchTo(before);
	MemoryContextReset(asking->block);
	CHECK_FOR_INTERRUPTS();
	pe_progress_publish("score", asking->rows, 0);
}

static void
ask_for(Asking *asking, int64 user, const char *key, size_t length)
{
	MemoryContext before = MemoryContextSwitchTo(asking->block);

	asking->users[asking->filled] = user;
	asking->user_keys[asking->filled++] = PointerGetDatum(cstring_to_text_with_len(key, (int) length));
	MemoryContextSwitchTo(before);
	if (asking->filled == BLOCK_USERS)
		answer_block(asking);
}

static bool
read_key(void *arg, TupleTableSlot *slot)
{
	Asking *asking = (Asking *) arg;
	const char *key;
	size_t length;
	PeKeyHash hash;
	bool is_new;

	asking->rows++;
	if (slot->tts_isnull[0])
	{
		asking->without_key++;
		return true;
	}
	key = pe_input_text(&asking->key_input, slot->tts_values[0], &length);
	hash = pe_key_hash(key, length);
	pe_key_set_add(asking->keys, &hash, 1, &is_new);
	/* What a key gets depends on nothing else in its row: once is enough. */
	if (!is_new || asking->without_key > 0)
		return true;
	ask_for(asking, pe_recommender_find_user(asking->model->recommender, key, length), key, length);
	return true;
}

static void
ask_for_source(Asking *asking)
{
	PeSource *source = pe_source_open(asking->source, "source");
	int key = pe_source_need_column(source, asking->key, "key");

	if (!pe_input_init(&asking->key_input, TupleDescAttr(source->desc, key)->atttypid, PE_TREAT_CATEGORY))
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
		                errmsg("column \"%s\" of type %s cannot be a key", asking->key,
		                       format_type_be(TupleDescAttr(source->desc, key)->atttypid)),
		                errhint("A key is a text, a number or a uuid.")));
	asking->keys = pe_key_set_create();
	pe_source_read(source, &key, 1, 0, read_key, asking);
	if (asking->without_key > 0)
		ereport(ERROR, (errcode(ERRCODE_NOT_NULL_VIOLATION),
		                errmsg("key column \"%s\" is NULL in %llu of %llu rows of %s", asking->key,
		                       (unsigned long long) asking->without_key, (unsigned long long) asking->rows,
		                       source->name),
		                errhint("Leave rows without a key out of the source.")));
}

/* Everybody that the version knows, in byte order. */
static void
ask_for_all(Asking *asking)
{
	const pe_recommender *recommender = asking->model->recommender;

	for (uint32 user = 0; user < pe_recommender_users(recommender); user++)
	{
		size_t length;
		const char *key = pe_recommender_user(recommender, user, &length);

		asking->rows++;
		ask_for(asking, user, key, length);
	}
}

static void
recommend_all(FunctionCallInfo fcinfo, Asking *asking)
{
	asking->top = top_argument(fcinfo, 3);
	asking->source = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (asking->source != NULL)
		asking->key = pe_text_argument(fcinfo, 2, "key");
	else if (!PG_ARGISNULL(2))
		ereport(
		    ERROR,
		    (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("argument \"key\" is given without a source"),
		     errhint("Name the source that has the column, or leave out both for each user of the model.")));
	asking->lasting = CurrentMemoryContext;
	asking->model = model_argument(fcinfo, 4, asking->lasting);
	check_may_ask(asking->model);
	asking->items = palloc_extended(sizeof(text *) * Max(pe_recommender_items(asking->model->recommender), 1),
	                                MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	asking->block =
	    AllocSetContextCreate(asking->lasting, "profenrich recommend block", ALLOCSET_DEFAULT_SIZES);
	asking->lists = palloc(sizeof(pe_recommendation) * BLOCK_USERS * asking->top);
	asking->texts = palloc(sizeof(Datum) * asking->top);
	asking->scores = palloc(sizeof(Datum) * asking->top);
	asking->bases[0] = CStringGetTextDatum("history");
	asking->bases[1] = CStringGetTextDatum("popularity");
	asking->bases[2] = CStringGetTextDatum("both");
	asking->version = Int32GetDatum(asking->model->version);
	asking->now = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	if (asking->source != NULL)
		ask_for_source(asking);
	else
		ask_for_all(asking);
	if (asking->filled > 0)
		answer_block(asking);
}

PG_FUNCTION_INFO_V1(pe_recommend_all);

/* -> (key, items, scores, basis, model_version, scored_at), a row for each key. */
Datum
pe_recommend_all(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller, "profenrich recommending", ALLOCSET_DEFAULT_SIZES);
	Asking *asking = MemoryContextAllocZero(context, sizeof(Asking));

	pe_rows_begin(fcinfo, &asking->row);
	MemoryContextSwitchTo(context);
	pe_progress_begin(PE_PROGRESS_SCORE, PG_ARGISNULL(0) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_TRY();
	{
		recommend_all(fcinfo, asking);
	}
	PG_FINALLY();
	{
		pe_progress_end();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	return (Datum) 0;
}

/* ---- similar_items(model, item, top, version) ------------------------------------------ */

PG_FUNCTION_INFO_V1(pe_similar_items);

/* -> (item, similarity, rank), the most alike first. */
Datum
pe_similar_items(PG_FUNCTION_ARGS)
{
	PeRow row;
	char *item = pe_text_argument(fcinfo, 1, "item");
	int top = top_argument(fcinfo, 2);
	const PeModel *model;
	pe_recommendation *list;
	pe_env env = pe_quiet_env(CurrentMemoryContext);
	pe_error error;
	int64 number;
	int count;

	pe_rows_begin(fcinfo, &row);
	model = model_argument(fcinfo, 3, CurrentMemoryContext);
	number = pe_recommender_find_item(model->recommender, item, strlen(item));
	if (number < 0)
		ereport(ERROR,
		        (errcode(ERRCODE_UNDEFINED_OBJECT),
		         errmsg("version %d of model \"%s\" knows no item \"%s\"", model->version, model->name, item),
		         errhint("See SELECT item FROM profenrich.item_popularity(%s).",
		                 quote_literal_cstr(model->name))));
	list = palloc(sizeof(pe_recommendation) * top);
	pe_check(pe_recommender_similar(&env, model->recommender, (uint32) number, top, list, &count, &error),
	         &error);
	for (int i = 0; i < count; i++)
	{
		pe_row_add(&row, item_text(model->recommender, list[i].item));
		pe_row_add(&row, Float8GetDatum(list[i].score));
		pe_row_add(&row, Int32GetDatum(i + 1));
		pe_row_put(&row);
	}
	return (Datum) 0;
}

/* ---- item_popularity(model, version) --------------------------------------------------- */

PG_FUNCTION_INFO_V1(pe_item_popularity);

/* -> (item, users, popularity, rank), the most popular first. */
Datum
pe_item_popularity(PG_FUNCTION_ARGS)
{
	PeRow row;
	const PeModel *model;

	pe_rows_begin(fcinfo, &row);
	model = model_argument(fcinfo, 1, CurrentMemoryContext);
	for (uint32 place = 0; place < pe_recommender_items(model->recommender); place++)
	{
		uint32 item = pe_recommender_popular(model->recommender, place);

		CHECK_FOR_INTERRUPTS();
		pe_row_add(&row, item_text(model->recommender, item));
		pe_row_add_int64(&row, pe_recommender_item_users(model->recommender, item));
		pe_row_add(&row, Float8GetDatum(pe_recommender_popularity(model->recommender, item)));
		pe_row_add(&row, Int32GetDatum((int32) place + 1));
		pe_row_put(&row);
	}
	return (Datum) 0;
}
