/*
 * lifetime.c
 *		What a lifetime model says of one profile over any horizon, and of itself.
 */
#include "postgres.h"

#include <math.h>

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "pg/arguments.h"
#include "pg/lifetime.h"
#include "pg/rows.h"

#define MOST_OPPORTUNITIES 100000 /* whose counts are added up */

static const pe_lifetime *
lifetime_of(const PeModel *model)
{
	const pe_lifetime *lifetime = pe_model_lifetime(model->core);

	if (lifetime == NULL)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
		                errmsg("model \"%s\" has the task %s, not lifetime_value", model->name,
		                       pe_task_name(model->task)),
		                errhint("See SELECT name, task FROM profenrich.models.")));
	return lifetime;
}

const PeModel *
pe_lifetime_model(FunctionCallInfo fcinfo, int model_argument, int version_argument)
{
	int version = pe_version_argument(fcinfo, version_argument);
	const PeModel *model;

	model = pe_model_open(pe_text_argument(fcinfo, model_argument, "model"), version, CurrentMemoryContext);
	(void) lifetime_of(model);
	return model;
}

double
pe_horizon_argument(FunctionCallInfo fcinfo, int argument, const pe_lifetime *lifetime)
{
	if (PG_ARGISNULL(argument))
		return lifetime->horizon;
	return pe_interval_days(PG_GETARG_INTERVAL_P(argument), "horizon") / lifetime->unit_days;
}

/* ---- one profile -------------------------------------------------------------------------- */

/* The model, customer and spend of arguments (model, profile, ..., version); false for NULL. */
static bool
profile(FunctionCallInfo fcinfo, int version_argument, const pe_lifetime **lifetime, pe_customer *customer,
        double *spend)
{
	double *values;
	const PeModel *model = pe_profile_inputs(fcinfo, version_argument, &values);

	if (model == NULL)
		return false;
	*lifetime = lifetime_of(model);
	*customer = pe_model_customer(model->core, values, spend);
	return true;
}

PG_FUNCTION_INFO_V1(pe_probability_alive);

/* probability_alive(model, profile, version) */
Datum
pe_probability_alive(PG_FUNCTION_ARGS)
{
	const pe_lifetime *lifetime;
	pe_customer customer;
	double spend;

	if (!profile(fcinfo, 2, &lifetime, &customer, &spend))
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(pe_lifetime_alive(lifetime, &customer));
}

PG_FUNCTION_INFO_V1(pe_expected_orders);

/* expected_orders(model, profile, horizon, version) */
Datum
pe_expected_orders(PG_FUNCTION_ARGS)
{
	const pe_lifetime *lifetime;
	pe_customer customer;
	double spend;

	if (!profile(fcinfo, 3, &lifetime, &customer, &spend))
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(pe_lifetime_orders(lifetime, &customer, pe_horizon_argument(fcinfo, 2, lifetime)));
}

static void
need_spend(const pe_lifetime *lifetime)
{
	if (!lifetime->with_spend)
		ereport(ERROR,
		        (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("the model knows of no money"),
		         errhint("Train a version with the option monetary_value, or use expected_orders.")));
}

PG_FUNCTION_INFO_V1(pe_expected_spend);

/* expected_spend(model, profile, version): what an order is worth on average */
Datum
pe_expected_spend(PG_FUNCTION_ARGS)
{
	const pe_lifetime *lifetime;
	pe_customer customer;
	double spend;

	if (!profile(fcinfo, 2, &lifetime, &customer, &spend))
		PG_RETURN_NULL();
	need_spend(lifetime);
	PG_RETURN_FLOAT8(pe_lifetime_spend(lifetime, customer.frequency, spend));
}

PG_FUNCTION_INFO_V1(pe_lifetime_value);

/* lifetime_value(model, profile, horizon, discount_rate, discount_period, version) */
Datum
pe_lifetime_value(PG_FUNCTION_ARGS)
{
	const pe_lifetime *lifetime;
	pe_customer customer;
	double spend, rate, period;

	if (!profile(fcinfo, 5, &lifetime, &customer, &spend))
		PG_RETURN_NULL();
	need_spend(lifetime);
	rate = PG_ARGISNULL(3) ? lifetime->discount_rate : PG_GETARG_FLOAT8(3);
	if (!(rate >= 0 && rate <= 1000))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("discount_rate must be a number of at least 0"),
		                errhint("0.01 is 1 %% in each discount period.")));
	period = PG_ARGISNULL(4)
	             ? lifetime->discount_period
	             : pe_interval_days(PG_GETARG_INTERVAL_P(4), "discount_period") / lifetime->unit_days;
	PG_RETURN_FLOAT8(pe_lifetime_worth(lifetime, &customer, spend, pe_horizon_argument(fcinfo, 2, lifetime),
	                                   rate, period));
}

/* ---- the model ---------------------------------------------------------------------------- */

PG_FUNCTION_INFO_V1(pe_new_customer_orders);

/* new_customer_orders(model, horizon, version) */
Datum
pe_new_customer_orders(PG_FUNCTION_ARGS)
{
	const pe_lifetime *lifetime = lifetime_of(pe_lifetime_model(fcinfo, 0, 2));

	PG_RETURN_FLOAT8(pe_lifetime_new_orders(lifetime, pe_horizon_argument(fcinfo, 1, lifetime)));
}

PG_FUNCTION_INFO_V1(pe_order_count_probability);

/* order_count_probability(model, orders, horizon, version) */
Datum
pe_order_count_probability(PG_FUNCTION_ARGS)
{
	const pe_lifetime *lifetime = lifetime_of(pe_lifetime_model(fcinfo, 0, 3));
	double horizon = pe_horizon_argument(fcinfo, 2, lifetime);
	int32 orders;

	pe_need_argument(fcinfo, 1, "orders");
	orders = PG_GETARG_INT32(1);
	if (orders < 0 || orders > 1000000)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("orders must be between 0 and 1000000, not %d", orders)));
	/* That of bg_bb is a sum over them. */
	if (lifetime->process == PE_ALGORITHM_BG_BB && horizon > MOST_OPPORTUNITIES)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("horizon must be at most %d opportunities to order, not %.0f",
		                       MOST_OPPORTUNITIES, horizon),
		                errhint("An opportunity of this version comes every %g days.", lifetime->unit_days)));
	PG_RETURN_FLOAT8(pe_lifetime_count_probability(lifetime, horizon, orders));
}

static void
add_number(PeRow *row, double value)
{
	if (isfinite(value))
		pe_row_add(row, Float8GetDatum(value));
	else
		pe_row_add_null(row);
}

static void
put_parameter(PeRow *row, const char *part, const char *name, double estimate, double error)
{
	const double z = 1.959963984540054; /* of 95 % */

	pe_row_add_text(row, part);
	pe_row_add_text(row, name);
	add_number(row, estimate);
	add_number(row, error);
	add_number(row, estimate - z * error);
	add_number(row, estimate + z * error);
	pe_row_put(row);
}

PG_FUNCTION_INFO_V1(pe_lifetime_parameters);

/* lifetime_parameters(model, version) -> (part, parameter, estimate, standard_error, lower_95, upper_95) */
Datum
pe_lifetime_parameters(PG_FUNCTION_ARGS)
{
	PeRow row;
	const pe_lifetime *lifetime;

	pe_rows_begin(fcinfo, &row);
	lifetime = lifetime_of(pe_lifetime_model(fcinfo, 0, 1));
	for (int i = 0; i < lifetime->n_parameters; i++)
		put_parameter(&row, "orders", pe_lifetime_parameter_name(lifetime->process, i),
		              lifetime->parameters[i], lifetime->standard_errors[i]);
	for (int i = 0; i < PE_SPEND_PARAMETERS && lifetime->with_spend; i++)
		put_parameter(&row, "spend", pe_spend_parameter_name(i), lifetime->spend[i],
		              lifetime->spend_errors[i]);
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(pe_retention_curve);

/* retention_curve(model, periods, version) -> (period, retention, survival, remaining) */
Datum
pe_retention_curve(PG_FUNCTION_ARGS)
{
	PeRow row;
	const PeModel *model;
	const pe_lifetime *lifetime;
	int32 periods = PG_ARGISNULL(1) ? 12 : PG_GETARG_INT32(1);

	pe_rows_begin(fcinfo, &row);
	model = pe_lifetime_model(fcinfo, 0, 2);
	lifetime = lifetime_of(model);
	if (lifetime->process != PE_ALGORITHM_SBG)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
		                errmsg("model \"%s\" has the algorithm %s, which has no retention curve", model->name,
		                       pe_algorithm_name(lifetime->process)),
		                errhint("A retention curve is that of contracts: algorithm sbg.")));
	if (periods < 0 || periods > 10000)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("periods must be between 0 and 10000, not %d", periods)));
	for (int32 period = 0; period <= periods; period++)
	{
		pe_row_add(&row, Int32GetDatum(period));
		if (period > 0)
			add_number(&row, pe_lifetime_retention(lifetime, period));
		else
			pe_row_add_null(&row);
		add_number(&row, pe_lifetime_survival(lifetime, period));
		add_number(&row, pe_lifetime_tenure(lifetime, period));
		pe_row_put(&row);
	}
	return (Datum) 0;
}
