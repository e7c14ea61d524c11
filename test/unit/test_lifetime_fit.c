/*
 * Fitting processes of orders: what was simulated is found again, whatever the number
 * of threads, the unit of time and the grouping; failures leave nothing behind.
 */
#include "model/lifetime/customers.h"
#include "model_data.h"

static tap_memory memory;
static pe_env env;
static pe_error err;

static double
draw_gamma(uint64_t *state, int shape)
{
	double sum = 0;

	for (int i = 0; i < shape; i++)
		sum -= log(data_uniform(state) + 0x1p-54);
	return sum;
}

/*
 * Customers of BG/NBD with r = 2, alpha = 4, a = 1, b = 3 in weeks times scale; with leaving
 * false nobody ever leaves. Spends: p = 6, q = 4, v = 15.
 */
static pe_customers *
customers(const pe_env *of, pe_algorithm process, int n, double scale, bool leaving)
{
	pe_customers *made = NULL;
	uint64_t state = 5;

	if (pe_customers_create(of, process, &made, &err) != PE_OK)
		return NULL;
	for (int i = 0; i < n; i++)
	{
		double rate = draw_gamma(&state, 2) / 4, p1 = draw_gamma(&state, 1),
		       p = p1 / (p1 + draw_gamma(&state, 3));
		double age = 20 + i % 20, at = 0, v = draw_gamma(&state, 4) / 15, spend = 0;
		pe_customer c = {0, 0, age * scale};

		while ((at += draw_gamma(&state, 1) / rate) < age)
		{
			/* Rounded to days, as logs are, but not into the day of the first order. */
			c.frequency++;
			c.recency = fmin(fmax(ceil(at * 7) / 7, 1.0 / 7), age) * scale;
			spend += draw_gamma(&state, 6) / v;
			if (leaving && data_uniform(&state) < p)
				break;
		}
		if (pe_customers_append(made, &c, c.frequency > 0 ? spend / c.frequency : NAN, 1, &err) != PE_OK)
		{
			pe_customers_free(made);
			return NULL;
		}
	}
	return made;
}

static void
recover(void)
{
	static const double truth[] = {2, 4, 1, 3}, spend[] = {6, 4, 15};
	pe_customers *weeks = customers(&env, PE_ALGORITHM_BG_NBD, 20000, 1, true);
	pe_customers *days = customers(&env, PE_ALGORITHM_BG_NBD, 20000, 7, true);
	pe_lifetime one = {.unit_days = 7}, three = {.unit_days = 7}, by_day = {.unit_days = 1};
	pe_customer c = {3, 10, 20}, c_days = {3, 70, 140};
	size_t groups;
	pe_customer_group *grouped;

	IS_INT(pe_lifetime_fit(&env, weeks, PE_ALGORITHM_BG_NBD, true, 1, &one, &err), PE_OK, "fitted");
	for (int i = 0; i < 4; i++)
		IS_NEAR(one.parameters[i], truth[i], 4 * one.standard_errors[i], "%s is found again",
		        pe_lifetime_parameter_name(PE_ALGORITHM_BG_NBD, i));
	for (int i = 0; i < 3; i++)
		IS_NEAR(one.spend[i], spend[i], 4 * one.spend_errors[i], "%s, too", pe_spend_parameter_name(i));
	OK(one.identified && fabs(one.correlation) < 0.05,
	   "all of it is known, frequency and spend do not correlate");
	pe_lifetime_fit(&env, weeks, PE_ALGORITHM_BG_NBD, true, 3, &three, &err);
	OK(memcmp(one.parameters, three.parameters, sizeof(one.parameters)) == 0 &&
	       memcmp(one.spend, three.spend, sizeof(one.spend)) == 0 &&
	       one.log_likelihood == three.log_likelihood,
	   "three threads find the same bits");
	pe_lifetime_fit(&env, days, PE_ALGORITHM_BG_NBD, true, 1, &by_day, &err);
	IS_NEAR(by_day.parameters[1], 7 * one.parameters[1], 1e-5, "in days alpha is seven times as large");
	IS_NEAR(pe_lifetime_orders(&by_day, &c_days, 70), pe_lifetime_orders(&one, &c, 10), 1e-6,
	        "and forecasts are the same");
	IS_INT(pe_customers_group(&env, weeks, &grouped, &groups, &err), PE_OK, "%zu groups", groups);
	OK(groups < 20000, "customers that are alike are one");
	pe_free(&env, grouped);
	pe_customers_free(weeks);
	pe_customers_free(days);
}

/* The top of the likelihood from the other processes' starts, too: no fit ends on a slope. */
static void
tops(void)
{
	static const pe_algorithm processes[] = {PE_ALGORITHM_BG_NBD, PE_ALGORITHM_MBG_NBD,
	                                         PE_ALGORITHM_PARETO_NBD};

	for (int k = 0; k < 3; k++)
	{
		pe_customers *rows = customers(&env, processes[k], 4000, 1, true);
		pe_lifetime l = {.unit_days = 7};
		double worst = 0, gradient[4] = {0}, scale;

		IS_INT(pe_lifetime_fit(&env, rows, processes[k], false, 1, &l, &err), PE_OK, "%s",
		       pe_algorithm_name(processes[k]));
		for (size_t i = 0; i < rows->n; i++)
			pe_process_of(processes[k])->log_likelihood(l.parameters, &rows->rows[i].customer, gradient);
		for (int i = 0; i < 4; i++)
		{
			scale = l.standard_errors[i] / l.parameters[i];
			worst = fmax(worst, fabs(gradient[i] * scale));
		}
		OK(worst < 1e-5, "its gradient vanishes (%g of a standard error)", worst);
		pe_customers_free(rows);
	}
}

static void
nobody_leaves(void)
{
	static const pe_algorithm processes[] = {PE_ALGORITHM_BG_NBD, PE_ALGORITHM_MBG_NBD,
	                                         PE_ALGORITHM_PARETO_NBD};
	pe_customer loyal = {5, 20, 25};

	for (int k = 0; k < 3; k++)
	{
		pe_customers *rows = customers(&env, processes[k], 3000, 1, false);
		pe_lifetime l = {.unit_days = 7};

		IS_INT(pe_lifetime_fit(&env, rows, processes[k], false, 2, &l, &err), PE_OK, "nobody leaves: %s",
		       pe_algorithm_name(processes[k]));
		OK(!l.identified, "the drop-out is not known");
		OK(isfinite(l.standard_errors[0]) && isfinite(l.standard_errors[1]), "but the rate of orders is");
		OK(pe_lifetime_alive(&l, &loyal) > 0.999, "and everybody is there");
		IS_NEAR(pe_lifetime_new_orders(&l, 10), 5, 0.15, "orders come at their rate");
		pe_customers_free(rows);
	}
}

static void
refuse(void)
{
	static const struct
	{
		pe_algorithm process;
		pe_customer customer;
		double spend;
		double weight;
		const char *message;
	} cases[] = {
	    {PE_ALGORITHM_BG_NBD,
	     {1.5, 1, 2},
	     NAN,
	     1,
	     "row 1: the frequency is not a whole number of at least 0"},
	    {PE_ALGORITHM_BG_NBD, {-1, 1, 2}, NAN, 1, "row 1: the frequency is not a whole number of at least 0"},
	    {PE_ALGORITHM_BG_NBD,
	     {NAN, 1, 2},
	     NAN,
	     1,
	     "row 1: the frequency is not a whole number of at least 0"},
	    {PE_ALGORITHM_BG_NBD, {1, 3, 2}, NAN, 1, "row 1: the recency is larger than the age"},
	    {PE_ALGORITHM_BG_NBD, {0, 1, 2}, NAN, 1, "row 1: a recency without a repeat order"},
	    {PE_ALGORITHM_BG_NBD, {2, 0, 2}, NAN, 1, "row 1: repeat orders, but a recency of 0"},
	    {PE_ALGORITHM_BG_NBD, {1, 1, INFINITY}, NAN, 1, "row 1: the age is NULL, negative or too large"},
	    {PE_ALGORITHM_BG_NBD, {1, 1, 2}, -5, 1, "row 1: the monetary value is negative or infinite"},
	    {PE_ALGORITHM_BG_NBD, {1, 1, 2}, 5, NAN, "row 1: the weight is NULL, negative or infinite"},
	    {PE_ALGORITHM_BG_BB,
	     {1, 1.5, 2},
	     NAN,
	     1,
	     "row 1: recency and age must be whole numbers of opportunities"},
	    {PE_ALGORITHM_BG_BB, {2, 1, 2}, NAN, 1, "row 1: more orders than opportunities"},
	    {PE_ALGORITHM_SBG, {3, 0, 2}, NAN, 1, "row 1: more renewals than were due"},
	};
	pe_customers *rows;
	pe_lifetime l = {.unit_days = 7};
	pe_customer never = {0, 0, 10};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		pe_customers_create(&env, cases[i].process, &rows, &err);
		IS_INT(pe_customers_append(rows, &cases[i].customer, cases[i].spend, cases[i].weight, &err),
		       PE_INVALID_DATA, "refused");
		IS_STR(err.message, cases[i].message, "and why");
		pe_customers_free(rows);
	}
	pe_customers_create(&env, PE_ALGORITHM_BG_NBD, &rows, &err);
	IS_INT(pe_lifetime_fit(&env, rows, PE_ALGORITHM_BG_NBD, false, 1, &l, &err), PE_INVALID_DATA,
	       "no customers");
	pe_customers_append(rows, &never, NAN, 1, &err);
	IS_INT(pe_lifetime_fit(&env, rows, PE_ALGORITHM_BG_NBD, false, 1, &l, &err), PE_INVALID_DATA,
	       "no repeat orders");
	IS_STR(err.message, "none of the 1 customers has a repeat order", "and why");
	pe_customers_free(rows);
}

/* ---- as a model ----------------------------------------------------------------------------- */

static const pe_lifetime_columns names = {{"frequency", "recency", "age", "monetary_value"},
                                          {"a", "b", "c", "d"}};
static const pe_lifetime settings = {
    .unit_days = 7, .horizon = 52, .discount_rate = 0.01, .discount_period = 30.4375 / 7};

static pe_status
train_once(const pe_env *of, int rows, pe_model **model)
{
	pe_customers *made = customers(of, PE_ALGORITHM_BG_NBD, rows, 1, true);
	pe_status status = PE_OUT_OF_MEMORY;

	*model = NULL;
	if (made != NULL)
		status = pe_lifetime_train(of, made, 2, &names, &settings, model, &err);
	pe_customers_free(made);
	return status;
}

static void
models(void)
{
	pe_model *model, *again;
	uint8_t *bytes, *twice;
	size_t length, length_twice;
	double values[4] = {3, 10, 20, 25}, out[4], spend;
	pe_customer c;
	int accepted = 0, bad = 0;

	IS_INT(train_once(&env, 2000, &model), PE_OK, "a model");
	IS_INT(pe_model_output_count(model), 4, "of four outputs");
	IS_STR(pe_model_output_name(model, 3), "lifetime_value", "the last is the value");
	pe_model_outputs(model, values, out);
	c = pe_model_customer(model, values, &spend);
	OK(out[0] == pe_lifetime_alive(pe_model_lifetime(model), &c) &&
	       out[3] == pe_model_predict(model, values) && spend == 25,
	   "and they are what the functions say");
	OK(out[3] < out[1] * out[2] && out[3] > 0.9 * out[1] * out[2], "discounted a little");
	pe_model_serialize(&env, model, &bytes, &length, &err);
	IS_INT(pe_model_deserialize(&env, bytes, length, &again, &err), PE_OK, "%zu bytes are read", length);
	pe_model_serialize(&env, again, &twice, &length_twice, &err);
	OK(length == length_twice && memcmp(bytes, twice, length) == 0, "and written the same");
	OK(pe_model_predict(again, values) == pe_model_predict(model, values), "and predict the same");
	pe_model_free(again);
	/* Damaged anywhere, with a right checksum: refused, or finite. */
	for (size_t at = 24; at < 420 && at < length; at++)
		for (int flip = 1; flip < 256; flip *= 2)
		{
			uint32_t crc;

			memcpy(twice, bytes, length);
			twice[at] ^= (uint8_t) flip;
			crc = pe_crc32c(twice + 24, length - 24);
			for (int i = 0; i < 4; i++)
				twice[20 + i] = (uint8_t) (crc >> (8 * i));
			if (pe_model_deserialize(&env, twice, length, &again, &err) != PE_OK)
				continue;
			accepted++;
			pe_model_outputs(again, values, out);
			for (int i = 0; i < 4; i++)
				bad += !isfinite(out[i]);
			pe_model_free(again);
		}
	OK(accepted > 0 && bad == 0, "damage that is accepted (%d times) gives finite outputs", accepted);
	pe_free(&env, bytes);
	pe_free(&env, twice);
	pe_model_free(model);
}

static void
without_memory(void)
{
	pe_status status = PE_OUT_OF_MEMORY;
	long fail_at, before = memory.live;
	bool clean = true;
	pe_model *model;

	for (fail_at = 1; fail_at < 400 && status != PE_OK; fail_at++)
	{
		memory.calls = 0;
		memory.fail_at = fail_at;
		status = train_once(&env, 1100, &model);
		memory.fail_at = 0;
		pe_model_free(model);
		clean = clean && memory.live == before && (status == PE_OK || status == PE_OUT_OF_MEMORY);
	}
	OK(status == PE_OK && clean, "each of %ld allocations may fail", fail_at - 1);
	status = PE_OUT_OF_MEMORY;
	for (fail_at = 1; fail_at < 100 && status != PE_OK; fail_at++)
	{
		double forecast[50], actual[50];
		pe_agreement agreement;

		for (int i = 0; i < 50; i++)
		{
			forecast[i] = i % 7;
			actual[i] = (i * 3) % 5;
		}
		memory.calls = 0;
		memory.fail_at = fail_at;
		status = pe_compare_forecast(&env, forecast, actual, 50, &agreement, &err);
		memory.fail_at = 0;
		clean = clean && memory.live == before;
	}
	OK(status == PE_OK && clean, "those of a comparison, too");
}

static int ticks_left;

static int
stop_later(void *ctx, const char *phase, uint64_t done, uint64_t total)
{
	return ticks_left-- <= 0;
}

static void
cancelled(void)
{
	pe_env stopping = env;
	long before = memory.live;
	int stopped = 0;

	stopping.tick = stop_later;
	for (int ticks = 0; ticks < 60; ticks += 3)
	{
		pe_model *model;
		pe_status status;

		ticks_left = ticks;
		status = train_once(&stopping, 1500, &model);
		stopped += status == PE_CANCELLED;
		if (status != PE_CANCELLED && status != PE_OK)
			stopped = -1000;
		pe_model_free(model);
	}
	OK(stopped > 0 && memory.live == before, "stopped at %d moments, and nothing is left", stopped);
}

static void
agreement(void)
{
	static const double forecast[] = {1, 2, 2, 4, 8}, actual[] = {0, 3, 1, 2, 10};
	pe_agreement a;

	IS_INT(pe_compare_forecast(&env, forecast, actual, 5, &a, &err), PE_OK, "a forecast and what happened");
	IS_NEAR(a.mae, 7 / 5.0, 1e-12, "mean absolute error");
	IS_NEAR(a.rmse, sqrt(11 / 5.0), 1e-12, "root of the mean squared error");
	/* Ranks 1 2.5 2.5 4 5 and 1 4 2 3 5. */
	IS_NEAR(a.spearman, 8 / sqrt(9.5 * 10), 1e-12, "Spearman with ties");
	IS_NEAR(a.pearson, 41.6 / sqrt(31.2 * 62.8), 1e-12, "Pearson");
	OK(pe_compare_forecast(&env, forecast, actual, 0, &a, &err) == PE_INVALID_DATA, "nobody to compare");
}

int
main(void)
{
	env = tap_env(&memory);
	recover();
	tops();
	nobody_leaves();
	refuse();
	models();
	without_memory();
	cancelled();
	agreement();
	IS_INT(memory.live, 0, "nothing is left behind");
	return tap_done();
}
