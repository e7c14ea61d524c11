/*
 * order_log.c
 *		A log of orders, customer by customer: read as the caller, sorted by the server's
 *		own sort, which goes to disk beyond work_mem.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/memutils.h"
#include "utils/tuplesort.h"

#include "pg/lifetime.h"

typedef struct Log
{
	PeInput customer;
	PeInput time;
	PeInput amount;
	bool with_amount;
	const char *source;
	Tuplesortstate *sort;
	TupleTableSlot *slot;
	uint64 rows;
	uint64 skipped;
} Log;

/* The column for a role; raises when there is none of that name or its type does not serve. */
static int
need_column(const PeSource *source, const char *name, const char *role, PeTreatment treatment, PeInput *input)
{
	int column = pe_source_need_column(source, name, role);
	Oid type = TupleDescAttr(source->desc, column)->atttypid;

	if (!pe_input_init(input, type, treatment))
		ereport(ERROR,
		        (errcode(ERRCODE_DATATYPE_MISMATCH),
		         errmsg("%s column \"%s\" of %s is %s", role, name, source->name, format_type_be(type)),
		         errhint("It must be %s.", treatment == PE_TREAT_AGE      ? "a date or a point in time"
		                                   : treatment == PE_TREAT_NUMBER ? "a number"
		                                                                  : "of a type that has a text")));
	return column;
}

static bool
sort_row(void *arg, TupleTableSlot *slot)
{
	Log *log = (Log *) arg;
	double day, amount = 0;
	const char *customer;
	size_t length;

	log->rows++;
	if (slot->tts_isnull[0] || slot->tts_isnull[1])
	{
		log->skipped++;
		return true;
	}
	day = floor(pe_input_number(&log->time, slot->tts_values[1]));
	if (log->with_amount && !slot->tts_isnull[2])
		amount = pe_input_number(&log->amount, slot->tts_values[2]);
	if (!(day >= INT32_MIN / 2 && day <= INT32_MAX / 2) || !isfinite(amount))
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
		                errmsg("row %llu of %s has an infinite %s", (unsigned long long) log->rows,
		                       log->source, isfinite(amount) ? "time" : "amount")));
	customer = pe_input_text(&log->customer, slot->tts_values[0], &length);
	ExecClearTuple(log->slot);
	log->slot->tts_values[0] = PointerGetDatum(cstring_to_text_with_len(customer, length));
	log->slot->tts_values[1] = Int32GetDatum((int32) day);
	log->slot->tts_values[2] = Float8GetDatum(amount);
	memset(log->slot->tts_isnull, 0, 3 * sizeof(bool));
	ExecStoreVirtualTuple(log->slot);
	tuplesort_puttupleslot(log->sort, log->slot);
	return true;
}

static void
begin_sort(Log *log)
{
	TupleDesc desc = CreateTemplateTupleDesc(3);
	/* By amount, too: sums of a day do not depend on the order of the rows. */
	AttrNumber columns[] = {1, 2, 3};
	Oid operators[] = {TextLessOperator, Int4LessOperator, Float8LessOperator};
	Oid collations[] = {C_COLLATION_OID, InvalidOid, InvalidOid};
	bool nulls_first[] = {false, false, false};

	TupleDescInitEntry(desc, 1, "customer", TEXTOID, -1, 0);
	TupleDescInitEntry(desc, 2, "day", INT4OID, -1, 0);
	TupleDescInitEntry(desc, 3, "amount", FLOAT8OID, -1, 0);
	log->sort = tuplesort_begin_heap(desc, 3, columns, operators, collations, nulls_first, work_mem, NULL,
	                                 TUPLESORT_NONE);
	log->slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
}

/* One customer's days while they are collected. */
typedef struct Collected
{
	StringInfoData customer;
	int n;
	int room;
	int32 *days;
	double *amounts;
	int64 *counts;
} Collected;

static void
add_day(Collected *c, int32 day, double amount)
{
	if (c->n > 0 && c->days[c->n - 1] == day)
	{
		c->amounts[c->n - 1] += amount;
		c->counts[c->n - 1]++;
		return;
	}
	if (c->n == c->room)
	{
		c->room *= 2;
		c->days = repalloc_huge(c->days, c->room * sizeof(int32));
		c->amounts = repalloc_huge(c->amounts, c->room * sizeof(double));
		c->counts = repalloc_huge(c->counts, c->room * sizeof(int64));
	}
	c->days[c->n] = day;
	c->amounts[c->n] = amount;
	c->counts[c->n++] = 1;
}

static void
hand_over(Collected *c, MemoryContext scratch, pe_orders_callback callback, void *arg)
{
	PeOrders orders = {c->customer.data, c->n, c->days, c->amounts, c->counts};
	MemoryContext before;

	if (c->n == 0)
		return;
	before = MemoryContextSwitchTo(scratch);
	callback(arg, &orders);
	MemoryContextSwitchTo(before);
	MemoryContextReset(scratch);
	c->n = 0;
}

static void
each_customer(Log *log, pe_orders_callback callback, void *arg)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(log->slot->tts_tupleDescriptor, &TTSOpsMinimalTuple);
	MemoryContext scratch =
	    AllocSetContextCreate(CurrentMemoryContext, "profenrich customer", ALLOCSET_DEFAULT_SIZES);
	Collected c = {.room = 64};

	initStringInfo(&c.customer);
	c.days = palloc(c.room * sizeof(int32));
	c.amounts = palloc(c.room * sizeof(double));
	c.counts = palloc(c.room * sizeof(int64));
	while (tuplesort_gettupleslot(log->sort, true, false, slot, NULL))
	{
		bool isnull;
		text *customer = DatumGetTextPP(slot_getattr(slot, 1, &isnull));
		int32 day = DatumGetInt32(slot_getattr(slot, 2, &isnull));
		double amount = DatumGetFloat8(slot_getattr(slot, 3, &isnull));

		CHECK_FOR_INTERRUPTS();
		if (VARSIZE_ANY_EXHDR(customer) != c.customer.len ||
		    memcmp(VARDATA_ANY(customer), c.customer.data, c.customer.len) != 0)
		{
			hand_over(&c, scratch, callback, arg);
			resetStringInfo(&c.customer);
			appendBinaryStringInfo(&c.customer, VARDATA_ANY(customer), VARSIZE_ANY_EXHDR(customer));
		}
		add_day(&c, day, amount);
	}
	hand_over(&c, scratch, callback, arg);
	ExecDropSingleTupleTableSlot(slot);
	MemoryContextDelete(scratch);
}

void
pe_read_orders(const char *source_text, const char *customer, const char *time, const char *amount,
               pe_orders_callback callback, void *arg)
{
	MemoryContext context =
	    AllocSetContextCreate(CurrentMemoryContext, "profenrich log of orders", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	PeSource *source = pe_source_open(source_text, "source");
	Log log = {.with_amount = amount != NULL, .source = source->name};
	int columns[3];

	columns[0] = need_column(source, customer, "customer", PE_TREAT_CATEGORY, &log.customer);
	columns[1] = need_column(source, time, "time", PE_TREAT_AGE, &log.time);
	if (amount != NULL)
		columns[2] = need_column(source, amount, "amount", PE_TREAT_NUMBER, &log.amount);
	begin_sort(&log);
	pe_source_read(source, columns, amount != NULL ? 3 : 2, 0, sort_row, &log);
	tuplesort_performsort(log.sort);
	if (log.skipped > 0)
		ereport(NOTICE, (errmsg("skipped %llu of %llu rows, whose customer or time is NULL",
		                        (unsigned long long) log.skipped, (unsigned long long) log.rows)));
	each_customer(&log, callback, arg);
	tuplesort_end(log.sort);
	ExecDropSingleTupleTableSlot(log.slot);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}
