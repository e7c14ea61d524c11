/*
 * engagement.c
 *		engagement_points(): what customers did, as points, with score and tier.
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
#include "pg/engagement.h"
#include "pg/env.h"
#include "pg/guc.h"
#include "pg/models.h"
#include "pg/progress.h"
#include "pg/report.h"

#define ROWS_PER_CHECK 4096

typedef enum Role
{
	ROLE_KEY,
	ROLE_TIME,
	ROLE_TYPE,
	ROLE_COUNT
} Role;

static const char *const role_names[PE_ENGAGEMENT_COLUMNS] = {"key", "time", "type", "count"};

typedef struct Reading
{
	pe_activity *activity;
	const pe_engagement_rules *rules;
	int slots[PE_ENGAGEMENT_COLUMNS]; /* -1: not read */
	PeInput inputs[PE_ENGAGEMENT_COLUMNS];
	uint64 rows;
	uint64 skipped;
} Reading;

static void
choose_columns(Reading *reading, const PeSource *source, int *columns, int *n_columns)
{
	static const PeTreatment treatments[] = {PE_TREAT_CATEGORY, PE_TREAT_AGE, PE_TREAT_CATEGORY,
	                                         PE_TREAT_NUMBER};
	static const char *const wanted[] = {"a text, a number or a uuid", "a date or a timestamp", "a text",
	                                     "a number"};

	*n_columns = 0;
	for (int role = 0; role < PE_ENGAGEMENT_COLUMNS; role++)
	{
		const char *name = reading->rules->columns[role];
		int column;
		Oid type;

		reading->slots[role] = -1;
		if (name[0] == '\0')
			continue;
		column = pe_source_need_column(source, name, role_names[role]);
		type = TupleDescAttr(source->desc, column)->atttypid;
		if (!pe_input_init(&reading->inputs[role], type, treatments[role]))
			ereport(ERROR,
			        (errcode(ERRCODE_DATATYPE_MISMATCH),
			         errmsg("%s column \"%s\" is of type %s", role_names[role], name, format_type_be(type)),
			         errhint("It must be %s.", wanted[role])));
		reading->slots[role] = *n_columns;
		columns[(*n_columns)++] = column;
	}
}

static double
count_of_row(const Reading *reading, const TupleTableSlot *slot)
{
	int column = reading->slots[ROLE_COUNT];
	double count;

	if (column < 0)
		return 1;
	if (slot->tts_isnull[column])
		return 0;
	count = pe_input_number(&reading->inputs[ROLE_COUNT], slot->tts_values[column]);
	if (!(count >= 0) || isinf(count))
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
		                errmsg("count column \"%s\" is negative or infinite in row %llu",
		                       reading->rules->columns[ROLE_COUNT], (unsigned long long) reading->rows),
		                errhint("It is how many events the row stands for.")));
	return count;
}

static bool
read_row(void *arg, TupleTableSlot *slot)
{
	Reading *reading = (Reading *) arg;
	int key = reading->slots[ROLE_KEY], time = reading->slots[ROLE_TIME], type = reading->slots[ROLE_TYPE];
	char buffer[PE_KEY_BUFFER];
	size_t key_length, type_length = 0;
	const char *key_text, *type_text = NULL;
	double at;
	pe_error error;

	reading->rows++;
	if (reading->rows % ROWS_PER_CHECK == 0)
	{
		CHECK_FOR_INTERRUPTS();
		pe_progress_publish("read", reading->rows, 0);
	}
	at = slot->tts_isnull[time] ? NAN : pe_input_number(&reading->inputs[ROLE_TIME], slot->tts_values[time]);
	if (slot->tts_isnull[key] || isnan(at))
	{
		reading->skipped++;
		return true;
	}
	key_text = pe_input_key(&reading->inputs[ROLE_KEY], slot->tts_values[key], buffer, &key_length);
	if (type >= 0 && !slot->tts_isnull[type])
		type_text = pe_input_level(&reading->inputs[ROLE_TYPE], slot->tts_values[type], &type_length);
	pe_check(pe_activity_add(reading->activity, key_text, key_length, type_text, type_length, at,
	                         count_of_row(reading, slot), &error),
	         &error);
	return true;
}

pe_activity *
pe_read_events(const pe_env *env, const PeSource *source, const pe_engagement_rules *rules, TimestampTz as_of,
               uint64 *rows)
{
	Reading reading = {.rules = rules};
	int columns[PE_ENGAGEMENT_COLUMNS], n_columns;
	pe_error error;

	choose_columns(&reading, source, columns, &n_columns);
	pe_check(pe_activity_create(env, rules, (double) as_of / USECS_PER_DAY,
	                            (size_t) pe_training_memory_limit * 1024 * 1024, &reading.activity, &error),
	         &error);
	pe_source_read(source, columns, n_columns, PE_SOURCE_ORDERED, read_row, &reading);
	if (reading.skipped > 0)
		ereport(NOTICE, (errmsg("skipped %llu of %llu events without key or time",
		                        (unsigned long long) reading.skipped, (unsigned long long) reading.rows)));
	pe_check(pe_activity_finish(reading.activity, &error), &error);
	if (rows != NULL)
		*rows = reading.rows;
	return reading.activity;
}

/* ---- engagement_points(model, source, as_of, version) ------------------------------------- */

static const pe_engagement_rules *
open_rules(FunctionCallInfo fcinfo, const PeModel **model)
{
	const pe_engagement_rules *rules;

	pe_need_argument(fcinfo, 0, "model");
	pe_need_argument(fcinfo, 1, "source");
	pe_need_argument(fcinfo, 2, "as_of");
	if (TIMESTAMP_NOT_FINITE(PG_GETARG_TIMESTAMPTZ(2)))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("as_of must be finite")));
	*model = pe_model_open(text_to_cstring(PG_GETARG_TEXT_PP(0)), pe_version_argument(fcinfo, 3),
	                       CurrentMemoryContext);
	rules = pe_model_engagement((*model)->core);
	if (rules == NULL)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
		                errmsg("model \"%s\" has the task %s, not engagement", (*model)->name,
		                       pe_task_name((*model)->task)),
		                errhint("Use score().")));
	return rules;
}

static void
put_customer(ReturnSetInfo *rsinfo, const PeModel *model, const pe_engagement_rules *rules,
             pe_customer_activity customer)
{
	pe_score score = {0, 1, PE_BUCKET_VERY_LOW};
	Datum values[8];
	bool nulls[8] = {false};

	if (customer.points > 0)
		score = pe_model_score(model->core, customer.points);
	values[0] = PointerGetDatum(cstring_to_text_with_len(customer.key, (int) customer.key_length));
	values[1] = Float8GetDatum(customer.points);
	values[2] = Int32GetDatum(score.score);
	values[3] = Int32GetDatum(score.percentile);
	values[4] = CStringGetTextDatum(pe_bucket_name(score.bucket));
	values[5] = CStringGetTextDatum(rules->tiers[pe_model_tier(model->core, customer.points)]);
	values[6] = Float8GetDatum(customer.events);
	values[7] = TimestampTzGetDatum((TimestampTz) rint(customer.last * USECS_PER_DAY));
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static void
put_customers(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const PeModel *model;
	const pe_engagement_rules *rules = open_rules(fcinfo, &model);
	PeSource *source = pe_source_open(text_to_cstring(PG_GETARG_TEXT_PP(1)), "source");
	pe_env env = pe_quiet_env(CurrentMemoryContext);
	pe_activity *activity = pe_read_events(&env, source, rules, PG_GETARG_TIMESTAMPTZ(2), NULL);
	MemoryContext row = AllocSetContextCreate(CurrentMemoryContext, "profenrich row", ALLOCSET_SMALL_SIZES);
	MemoryContext before = MemoryContextSwitchTo(row);

	for (uint32_t i = 0; i < pe_activity_customers(activity); i++)
	{
		CHECK_FOR_INTERRUPTS();
		put_customer(rsinfo, model, rules, pe_activity_customer(activity, i));
		MemoryContextReset(row);
	}
	MemoryContextSwitchTo(before);
}

PG_FUNCTION_INFO_V1(pe_engagement_points);

/* engagement_points(model, source, as_of, version) -> a row for each customer of the events. */
Datum
pe_engagement_points(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller, "profenrich engagement", ALLOCSET_DEFAULT_SIZES);

	InitMaterializedSRF(fcinfo, 0);
	MemoryContextSwitchTo(context);
	pe_progress_begin(PE_PROGRESS_SCORE, PG_ARGISNULL(0) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_TRY();
	{
		put_customers(fcinfo);
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
