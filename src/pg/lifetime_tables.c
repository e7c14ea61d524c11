/*
 * lifetime_tables.c
 *		How well a lifetime model fits: order counts as they are and as expected, orders
 *		over time, and a forecast against what happened.
 */
#include "postgres.h"

#include <math.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/arguments.h"
#include "pg/env.h"
#include "pg/guc.h"
#include "pg/lifetime.h"
#include "pg/report.h"
#include "pg/rows.h"

/* ---- a model over a source --------------------------------------------------------------- */

#define MOST_EXTRA 2

/* Rows of a source as the model's customers, with further numbers beside them. */
typedef struct Customers
{
	const PeModel *model;
	const pe_lifetime *lifetime;
	const PeBinding *binding;
	double *values;
	int n_extra;
	PeInput extra[MOST_EXTRA];
	const char *extra_names[MOST_EXTRA];
	uint64 rows;
	void (*one)(struct Customers *customers, const pe_customer *customer, double spend, const double *extra);
	void *arg;
} Customers;

static bool
read_customer(void *arg, TupleTableSlot *slot)
{
	Customers *c = (Customers *) arg;
	double spend, extra[MOST_EXTRA] = {0};
	pe_customer customer;

	c->rows++;
	for (int i = 0; i < c->n_extra; i++)
	{
		extra[i] = slot->tts_isnull[i] ? NAN : pe_input_number(&c->extra[i], slot->tts_values[i]);
		if (!isfinite(extra[i]))
			ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
			                errmsg("column \"%s\" is NULL or infinite in row %llu", c->extra_names[i],
			                       (unsigned long long) c->rows)));
	}
	pe_bind_values(c->binding, slot->tts_values, slot->tts_isnull, c->values, NULL);
	customer = pe_model_customer(c->model->core, c->values, &spend);
	c->one(c, &customer, spend, extra);
	return true;
}

static void
read_customers(Customers *c, const char *source_text)
{
	PeSource *source = pe_source_open(source_text, "source");
	int extra[MOST_EXTRA], *columns, n_columns;

	for (int i = 0; i < c->n_extra; i++)
	{
		Oid type;

		extra[i] = pe_source_need_column(source, c->extra_names[i], "actual");
		type = TupleDescAttr(source->desc, extra[i])->atttypid;
		if (!pe_input_init(&c->extra[i], type, PE_TREAT_NUMBER))
			ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
			                errmsg("column \"%s\" of %s is %s, not a number", c->extra_names[i], source->name,
			                       format_type_be(type))));
	}
	c->values = palloc(sizeof(double) * Max(c->model->n_features, 1));
	c->binding = pe_bind_source(c->model, source, extra, c->n_extra, &columns, &n_columns);
	pe_source_read(source, columns, n_columns, 0, read_customer, c);
}

static Customers
begin_customers(FunctionCallInfo fcinfo, int version_argument)
{
	Customers c = {.model = pe_lifetime_model(fcinfo, 0, version_argument)};

	c.lifetime = pe_model_lifetime(c.model->core);
	pe_need_argument(fcinfo, 1, "source");
	return c;
}

/* Bins 0 .. top of frequency tables; the last takes all above. */
#define MOST_BINS 1000

static int
top_argument(FunctionCallInfo fcinfo, int argument)
{
	int top = PG_ARGISNULL(argument) ? 7 : PG_GETARG_INT32(argument);

	if (top < 0 || top >= MOST_BINS)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("top must be between 0 and %d, not %d", MOST_BINS - 1, top)));
	return top;
}

/* ---- order counts ------------------------------------------------------------------------ */

typedef struct Age
{
	double age; /* the hash key */
	double weight;
} Age;

typedef struct Frequencies
{
	HTAB *ages;
	int top;
	double actual[MOST_BINS];
	double expected[MOST_BINS];
} Frequencies;

static void
count_customer(Customers *c, const pe_customer *customer, double spend, const double *extra)
{
	Frequencies *f = (Frequencies *) c->arg;
	double weight = c->n_extra > 0 ? extra[0] : 1;
	bool found;
	Age *age = hash_search(f->ages, &customer->age, HASH_ENTER, &found);

	if (!found)
		age->weight = 0;
	age->weight += weight;
	f->actual[(int) Min(customer->frequency, f->top)] += weight;
}

PG_FUNCTION_INFO_V1(pe_lifetime_frequencies);

/* lifetime_frequencies(model, source, top, weight, version) -> (orders, or_more, actual, expected) */
Datum
pe_lifetime_frequencies(PG_FUNCTION_ARGS)
{
	PeRow row;
	Customers customers = begin_customers(fcinfo, 4);
	Frequencies *f = palloc0(sizeof(Frequencies));
	HASHCTL control = {.keysize = sizeof(double), .entrysize = sizeof(Age), .hcxt = CurrentMemoryContext};
	HASH_SEQ_STATUS scan;
	Age *age;

	pe_rows_begin(fcinfo, &row);
	f->top = top_argument(fcinfo, 2);
	f->ages = hash_create("profenrich ages", 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	if (!PG_ARGISNULL(3))
	{
		customers.n_extra = 1;
		customers.extra_names[0] = text_to_cstring(PG_GETARG_TEXT_PP(3));
	}
	customers.one = count_customer;
	customers.arg = f;
	read_customers(&customers, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	hash_seq_init(&scan, f->ages);
	while ((age = hash_seq_search(&scan)) != NULL)
	{
		double rest = 1;

		for (int n = 0; n < f->top; n++)
		{
			double probability = pe_lifetime_count_probability(customers.lifetime, age->age, n);

			CHECK_FOR_INTERRUPTS();
			f->expected[n] += age->weight * probability;
			rest -= probability;
		}
		f->expected[f->top] += age->weight * Max(rest, 0);
	}
	for (int n = 0; n <= f->top; n++)
	{
		pe_row_add(&row, Int32GetDatum(n));
		pe_row_add_bool(&row, n == f->top);
		pe_row_add(&row, Float8GetDatum(f->actual[n]));
		pe_row_add(&row, Float8GetDatum(f->expected[n]));
		pe_row_put(&row);
	}
	return (Datum) 0;
}

/* ---- a forecast and what happened --------------------------------------------------------- */

typedef struct Holdout
{
	double horizon;
	int top;
	double customers[MOST_BINS];
	double actual[MOST_BINS];
	double expected[MOST_BINS];
} Holdout;

static void
compare_customer(Customers *c, const pe_customer *customer, double spend, const double *extra)
{
	Holdout *h = (Holdout *) c->arg;
	int bin = (int) Min(customer->frequency, h->top);

	h->customers[bin]++;
	h->actual[bin] += extra[0];
	h->expected[bin] += pe_lifetime_orders(c->lifetime, customer, h->horizon);
}

PG_FUNCTION_INFO_V1(pe_lifetime_holdout);

/* lifetime_holdout(model, source, actual, horizon, top, version) */
Datum
pe_lifetime_holdout(PG_FUNCTION_ARGS)
{
	PeRow row;
	Customers customers = begin_customers(fcinfo, 5);
	Holdout *h = palloc0(sizeof(Holdout));

	pe_rows_begin(fcinfo, &row);
	customers.n_extra = 1;
	customers.extra_names[0] = PG_ARGISNULL(2) ? "holdout_frequency" : text_to_cstring(PG_GETARG_TEXT_PP(2));
	h->horizon = pe_horizon_argument(fcinfo, 3, customers.lifetime);
	h->top = top_argument(fcinfo, 4);
	customers.one = compare_customer;
	customers.arg = h;
	read_customers(&customers, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	for (int n = 0; n <= h->top; n++)
	{
		pe_row_add(&row, Int32GetDatum(n));
		pe_row_add_bool(&row, n == h->top);
		pe_row_add_int64(&row, (int64) h->customers[n]);
		if (h->customers[n] > 0)
		{
			pe_row_add(&row, Float8GetDatum(h->actual[n] / h->customers[n]));
			pe_row_add(&row, Float8GetDatum(h->expected[n] / h->customers[n]));
		}
		else
		{
			pe_row_add_null(&row);
			pe_row_add_null(&row);
		}
		pe_row_put(&row);
	}
	return (Datum) 0;
}

typedef struct Forecasts
{
	double horizon;
	size_t n;
	size_t room;
	double *forecast[2]; /* of orders, of money */
	double *actual[2];
	double alive;
} Forecasts;

/* Two forecasts and two outcomes, and what ranking them takes. */
#define BYTES_OF_CUSTOMER 96

static void
keep_customer(Customers *c, const pe_customer *customer, double spend, const double *extra)
{
	Forecasts *f = (Forecasts *) c->arg;
	double orders = pe_lifetime_orders(c->lifetime, customer, f->horizon);

	if (f->n == f->room)
	{
		f->room *= 2;
		if (f->room * BYTES_OF_CUSTOMER > (size_t) pe_training_memory_limit * 1024 * 1024)
			ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			                errmsg("comparing customers with the forecasts of model \"%s\" needs more memory "
			                       "than profenrich.training_memory allows (%d MB)",
			                       c->model->name, pe_training_memory_limit),
			                errdetail("%zu customers fit; there are more.", f->n),
			                errhint("Raise profenrich.training_memory, or take a sample: source => 'SELECT * "
			                        "FROM ... TABLESAMPLE BERNOULLI (10) REPEATABLE (1)'.")));
		for (int i = 0; i < c->n_extra; i++)
		{
			f->forecast[i] = repalloc_huge(f->forecast[i], f->room * sizeof(double));
			f->actual[i] = repalloc_huge(f->actual[i], f->room * sizeof(double));
		}
	}
	f->forecast[0][f->n] = orders;
	f->actual[0][f->n] = extra[0];
	if (c->n_extra > 1)
	{
		f->forecast[1][f->n] = orders * pe_lifetime_spend(c->lifetime, customer->frequency, spend);
		f->actual[1][f->n] = extra[1];
	}
	f->alive += pe_lifetime_alive(c->lifetime, customer);
	f->n++;
}

static void
put_figure(PeRow *row, const char *of, const char *name, double value, const char *meaning)
{
	pe_row_add_text(row, psprintf("%s%s", of, name));
	if (isfinite(value))
		pe_row_add(row, Float8GetDatum(value));
	else
		pe_row_add_null(row);
	pe_row_add_text(row, meaning);
	pe_row_put(row);
}

static void
put_agreement(PeRow *row, const char *of, const pe_agreement *a)
{
	put_figure(row, of, "actual", a->actual, "sum over all customers of what happened");
	put_figure(row, of, "forecast", a->forecast, "sum of what was expected");
	put_figure(row, of, "mae", a->mae, "mean absolute error by customer");
	put_figure(row, of, "rmse", a->rmse, "root of the mean squared error by customer");
	put_figure(row, of, "spearman", a->spearman, "correlation of the ranks of forecast and outcome");
	put_figure(row, of, "pearson", a->pearson, "correlation of forecast and outcome");
	put_figure(row, of, "gini", a->gini, "how well customers are ordered: 0 is random, 1 is perfect");
}

PG_FUNCTION_INFO_V1(pe_lifetime_evaluate);

/* lifetime_evaluate(model, source, actual, value, horizon, version) -> (metric, value, meaning) */
Datum
pe_lifetime_evaluate(PG_FUNCTION_ARGS)
{
	PeRow row;
	Customers customers = begin_customers(fcinfo, 5);
	Forecasts f = {.room = 1024};
	pe_env env = pe_quiet_env(CurrentMemoryContext);

	pe_rows_begin(fcinfo, &row);
	customers.n_extra = 1;
	customers.extra_names[0] = PG_ARGISNULL(2) ? "holdout_frequency" : text_to_cstring(PG_GETARG_TEXT_PP(2));
	if (!PG_ARGISNULL(3))
	{
		if (!customers.lifetime->with_spend)
			ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			                errmsg("model \"%s\" knows of no money", customers.model->name),
			                errhint("Train a version with the option monetary_value, or leave out value.")));
		customers.n_extra = 2;
		customers.extra_names[1] = text_to_cstring(PG_GETARG_TEXT_PP(3));
	}
	f.horizon = pe_horizon_argument(fcinfo, 4, customers.lifetime);
	for (int i = 0; i < customers.n_extra; i++)
	{
		f.forecast[i] = palloc(f.room * sizeof(double));
		f.actual[i] = palloc(f.room * sizeof(double));
	}
	customers.one = keep_customer;
	customers.arg = &f;
	read_customers(&customers, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	put_figure(&row, "", "customers", (double) f.n, "customers compared");
	for (int i = 0; i < customers.n_extra; i++)
	{
		pe_agreement agreement;
		pe_error error;

		pe_check(pe_compare_forecast(&env, f.forecast[i], f.actual[i], f.n, &agreement, &error), &error);
		put_agreement(&row, i == 0 ? "" : "value_", &agreement);
	}
	put_figure(&row, "", "probability_alive", f.alive / f.n, "mean over all customers");
	return (Datum) 0;
}

/* ---- over time --------------------------------------------------------------------------- */

typedef struct Tracking
{
	int32 first; /* the first day of all */
	int32 last;
	int32 cohort_end;
	int64 *births; /* customers by first day, from base */
	int64 *repeats;
	int32 base;
	int32 room;
} Tracking;

/* Days far from all others would need an array of millions. */
#define MOST_DAYS 200000

static void
make_room(Tracking *t, int32 day)
{
	int64 shift = 0, room = t->room, ahead = (int64) day - t->base;
	int64 *births, *repeats;

	if (t->room > 0 && ahead >= 0 && ahead < t->room)
		return;
	if (t->room == 0)
	{
		t->base = day - 512;
		room = 1024;
	}
	else if (ahead < 0)
	{
		shift = 512 - ahead;
		room += shift;
	}
	else
		room = Max(room * 2, ahead + 512);
	if (room > MOST_DAYS)
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
		                errmsg("the log of orders spans more than %d days", MOST_DAYS / 2),
		                errhint("Leave out orders whose time cannot be true.")));
	births = MemoryContextAllocZero(GetMemoryChunkContext(t->births), room * sizeof(int64));
	repeats = MemoryContextAllocZero(GetMemoryChunkContext(t->births), room * sizeof(int64));
	memcpy(births + shift, t->births, t->room * sizeof(int64));
	memcpy(repeats + shift, t->repeats, t->room * sizeof(int64));
	pfree(t->births);
	pfree(t->repeats);
	t->births = births;
	t->repeats = repeats;
	t->base -= (int32) shift;
	t->room = (int32) room;
}

static void
track_customer(void *arg, const PeOrders *orders)
{
	Tracking *t = (Tracking *) arg;

	if (orders->days[0] > t->cohort_end)
		return;
	make_room(t, orders->days[0]);
	make_room(t, orders->days[orders->n - 1]);
	t->births[orders->days[0] - t->base]++;
	for (int i = 1; i < orders->n; i++)
		t->repeats[orders->days[i] - t->base]++;
	t->first = Min(t->first, orders->days[0]);
	t->last = Max(t->last, orders->days[orders->n - 1]);
}

/* Expected orders of all customers from their first orders to the end of a day. */
static double
expected_until(const Tracking *t, const pe_lifetime *lifetime, double end)
{
	double sum = 0;

	for (int32 day = t->first; day < end && day - t->base < t->room; day++)
	{
		CHECK_FOR_INTERRUPTS();
		if (t->births[day - t->base] > 0)
			sum += (double) t->births[day - t->base] *
			       pe_lifetime_new_orders(lifetime, (end - day) / lifetime->unit_days);
	}
	return sum;
}

#define MOST_PERIODS 100000

PG_FUNCTION_INFO_V1(pe_lifetime_tracking);

/* lifetime_tracking(model, source, customer, time, period, cohort_end, observation_end, version) */
Datum
pe_lifetime_tracking(PG_FUNCTION_ARGS)
{
	PeRow row;
	const PeModel *model = pe_lifetime_model(fcinfo, 0, 7);
	const pe_lifetime *lifetime = pe_model_lifetime(model->core);
	Tracking t = {.first = INT32_MAX, .last = INT32_MIN, .births = palloc(8), .repeats = palloc(8)};
	static const char *const names[] = {"model", "source", "customer", "time", "period"};
	double length, before = 0, cumulative_actual = 0, end;

	pe_rows_begin(fcinfo, &row);
	for (int i = 1; i <= 4; i++)
		pe_need_argument(fcinfo, i, names[i]);
	length = pe_interval_days(PG_GETARG_INTERVAL_P(4), "period");
	if (length < 1)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("period must be a day or longer")));
	t.cohort_end = PG_ARGISNULL(5) ? INT32_MAX : PG_GETARG_DATEADT(5);
	pe_read_orders(text_to_cstring(PG_GETARG_TEXT_PP(1)), text_to_cstring(PG_GETARG_TEXT_PP(2)),
	               text_to_cstring(PG_GETARG_TEXT_PP(3)), NULL, track_customer, &t);
	if (t.first > t.last)
		return (Datum) 0;
	end = PG_ARGISNULL(6) || DATE_NOT_FINITE(PG_GETARG_DATEADT(6)) ? t.last : PG_GETARG_DATEADT(6);
	/* Only whole periods: the part of one would look like a fall. */
	for (int period = 1; t.first + period * length <= end + 1 && period <= MOST_PERIODS; period++)
	{
		double from = t.first + (period - 1) * length, until = t.first + period * length, actual = 0,
		       expected;

		CHECK_FOR_INTERRUPTS();
		for (int32 day = (int32) ceil(from); day < until && day - t.base < t.room; day++)
			actual += (double) t.repeats[day - t.base];
		cumulative_actual += actual;
		expected = expected_until(&t, lifetime, until);
		pe_row_add(&row, Int32GetDatum(period));
		pe_row_add(&row, DateADTGetDatum((DateADT) ceil(until) - 1));
		pe_row_add_int64(&row, (int64) actual);
		pe_row_add(&row, Float8GetDatum(expected - before));
		pe_row_add_int64(&row, (int64) cumulative_actual);
		pe_row_add(&row, Float8GetDatum(expected));
		pe_row_put(&row);
		before = expected;
	}
	return (Datum) 0;
}
