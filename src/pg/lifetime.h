/*
 * lifetime.h
 *		What the SQL functions about orders and lifetime value share: lengths of time, the
 *		log of orders, and a lifetime model over a source.
 */
#ifndef PE_LIFETIME_GLUE_H
#define PE_LIFETIME_GLUE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "fmgr.h"

#include "model/lifetime/lifetime.h"
#include "pg/models.h"
#include "pg/source.h"

/* A month counts as a twelfth of 365.25 days, as a unit of time and in intervals. */
#define PE_DAYS_PER_MONTH 30.4375

/* "day", "week", "month", "year", or the text of an interval, in days. Raises, naming the option. */
extern double pe_unit_days(const char *text, const char *option);
/* Raises for a negative or infinite interval, naming the argument. */
extern double pe_interval_days(const Interval *interval, const char *argument);

/* ---- the log of orders ---------------------------------------------------------------- */

/* All orders of one customer, by day; days since 2000-01-01, in UTC for points in time. */
typedef struct PeOrders
{
	const char *customer; /* in the database's encoding */
	int n;                /* days with orders, rising */
	const int32 *days;
	const double *amounts; /* summed by day; 0 without an amount column */
	const int64 *counts;   /* orders of the day */
} PeOrders;

/* Called for each customer, in byte order of their texts, in a context that is reset afterwards. */
typedef void (*pe_orders_callback)(void *arg, const PeOrders *orders);

/*
 * Reads the source and gives each customer's orders, sorted on disk beyond work_mem.
 * Rows without customer or time are skipped, with a NOTICE. amount may be NULL.
 */
extern void pe_read_orders(const char *source, const char *customer, const char *time, const char *amount,
                           pe_orders_callback callback, void *arg);

/* The number of the calendar period ("day", "week", "month", "year") that a day lies in. */
typedef enum PePeriod
{
	PE_PERIOD_DAY = 1,
	PE_PERIOD_WEEK, /* from Monday */
	PE_PERIOD_MONTH,
	PE_PERIOD_YEAR
} PePeriod;

extern PePeriod pe_period_from_name(const char *name); /* raises */
extern int32 pe_period_of_day(PePeriod period, int32 day);
extern double pe_period_days(PePeriod period);

/* ---- a lifetime model over rows ---------------------------------------------------------- */

/* The model, which must have the task lifetime_value; version argument NULL: the deployed one. */
extern const PeModel *pe_lifetime_model(FunctionCallInfo fcinfo, int model_argument, int version_argument);

/* An interval argument in the model's unit of time; its own horizon when the argument is NULL. */
extern double pe_horizon_argument(FunctionCallInfo fcinfo, int argument, const pe_lifetime *lifetime);

#endif /* PE_LIFETIME_GLUE_H */
