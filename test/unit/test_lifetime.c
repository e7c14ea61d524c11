/*
 * Processes of orders: formulas against published values, against 2F1 where the
 * textbooks use it, against simulated customers; gradients against differences.
 */
#include "model/lifetime/process.h"
#include "model_data.h"

static const pe_algorithm all[] = {PE_ALGORITHM_BG_NBD, PE_ALGORITHM_MBG_NBD, PE_ALGORITHM_PARETO_NBD,
                                   PE_ALGORITHM_BG_BB, PE_ALGORITHM_SBG};

static pe_lifetime
made(pe_algorithm process, double a, double b, double c, double d)
{
	return (pe_lifetime){.process = process,
	                     .n_parameters = pe_lifetime_parameter_count(process),
	                     .parameters = {a, b, c, d},
	                     .unit_days = 7,
	                     .horizon = 52,
	                     .discount_period = 4};
}

/* The series itself, for 0 <= z < 1 and positive parameters. */
static double
hyp2f1(double a, double b, double c, double z)
{
	double term = 1, sum = 1;

	for (int i = 0; i < 200000 && fabs(term) > 1e-18 * fabs(sum); i++)
	{
		term *= (a + i) * (b + i) / ((c + i) * (i + 1.0)) * z;
		sum += term;
	}
	return sum;
}

/* ---- published values --------------------------------------------------------------------- */

static void
published(void)
{
	static const double counts[] = {0.0019995214, 0.0015170236, 0.0011633150, 0.0009003148, 0.0007023638,
	                                0.0005517902, 0.0004361913, 0.0003467171, 0.0002769613, 0.0002222260};
	static const double times[] = {0.1429, 1, 3, 31.8571, 32, 78};
	static const double orders[] = {0.0078, 0.0532, 0.1506, 1.0405, 1.0437, 1.8576};
	static const double paradox[] = {0.3474606, 0.04283391, 0.004158973, 0.0003583685};
	pe_lifetime bg = made(PE_ALGORITHM_BG_NBD, 0.243, 4.414, 0.793, 2.426);
	pe_lifetime btyd = made(PE_ALGORITHM_BG_NBD, 0.2425982, 4.413684, 0.7929899, 2.426167);
	pe_lifetime stable = made(PE_ALGORITHM_BG_NBD, 0.25, 4, 0.80, 2.50);
	pe_lifetime donors = made(PE_ALGORITHM_BG_BB, 1.203528, 0.7497260, 0.6567808, 2.783796);
	pe_customer nothing = {0, 0, 40}, a_lot = {200, 38, 40}, c1516 = {26, 216 / 7.0, 31},
	            first = {2, 30.43, 38.86};
	pe_customer donor_a = {0, 0, 6}, donor_b = {4, 5, 6};

	IS_NEAR(pe_lifetime_count_probability(&bg, 2, 10), 1.07869e-07, 1e-12, "P(10 in 2)");
	IS_NEAR(pe_lifetime_count_probability(&bg, 39, 0), 0.5737864, 1e-7, "P(0 in 39)");
	for (int n = 11; n <= 20; n++)
		IS_NEAR(pe_lifetime_count_probability(&bg, 30, n), counts[n - 11], 1e-10, "P(%d in 30)", n);
	for (int i = 0; i < 6; i++)
		IS_NEAR(pe_lifetime_new_orders(&btyd, times[i]), orders[i], 0.0004, "E[X(%g)]", times[i]);
	IS_NEAR(pe_lifetime_new_orders(&btyd, 52), 1.444004, 2e-6, "E[X(52)]");
	IS_NEAR(pe_lifetime_orders(&bg, &first, 39), 1.226, 0.0005, "conditional expectation");
	IS_NEAR(pe_lifetime_orders(&btyd, &c1516, 52), 25.75659, 1e-4, "customer 1516");
	IS_NEAR(pe_lifetime_alive(&btyd, &c1516), 0.9688523, 1e-6, "customer 1516 is alive");
	for (int i = 0; i < 4; i++)
	{
		pe_customer frequent = {10 + 5 * i, 20, 39};

		IS_NEAR(pe_lifetime_orders(&btyd, &frequent, 52), paradox[i], 1e-6, "the paradox, %g",
		        frequent.frequency);
	}
	IS_NEAR(pe_lifetime_log_likelihood(&stable, &nothing), -0.59947382, 1e-8, "log p of nothing");
	IS_NEAR(pe_lifetime_log_likelihood(&stable, &a_lot), 100.7957, 5e-5, "log p of 200 orders");
	IS_NEAR(pe_lifetime_new_orders(&donors, 10), 3.179805, 2e-6, "ten years of a new donor");
	IS_NEAR(pe_lifetime_orders(&donors, &donor_a, 10), 0.1302169, 2e-6, "of donor A");
	IS_NEAR(pe_lifetime_orders(&donors, &donor_b, 10), 3.627858, 2e-6, "of donor B");
}

/* ---- the closed forms --------------------------------------------------------------------- */

static void
closed_forms(void)
{
	double worst = 0;

	/* E[X(t)] of BG/NBD: (a + b - 1) / (a - 1) [1 - (alpha / (alpha + t))^r 2F1(r, b; a + b - 1; t / (alpha +
	 * t))]. */
	for (double a = 0.3; a < 6; a += 0.4)
		for (double t = 0.5; t < 200; t *= 3)
		{
			double r = 0.7, alpha = 5, b = 2.5;
			double closed = (a + b - 1) / (a - 1) *
			                (1 - pow(alpha / (alpha + t), r) * hyp2f1(r, b, a + b - 1, t / (alpha + t)));
			double ours = pe_orders_till_leaving(r, alpha, a, b, t);

			worst = fmax(worst, fabs(ours / closed - 1));
		}
	OK(worst < 1e-11, "expected orders are the closed form's (%g)", worst);
	worst = fabs(pe_orders_till_leaving(0.7, 5, 1, 2.5, 30) /
	                 (0.5 * (pe_orders_till_leaving(0.7, 5, 1 - 1e-5, 2.5, 30) +
	                         pe_orders_till_leaving(0.7, 5, 1 + 1e-5, 2.5, 30))) -
	             1);
	OK(worst < 1e-9, "also at a = 1, where that one is 0 / 0 (%g)", worst);
	/* The series and the integral take over from one another somewhere. */
	for (double shape = 0.01; shape < 1e4; shape *= 7)
	{
		double short_of = pe_orders_till_leaving(2, 1, shape, 3, 486),
		       beyond = pe_orders_till_leaving(2, 1, shape, 3, 478);

		OK(short_of >= beyond && (short_of - beyond) / beyond < 0.02, "nothing jumps at a = %g", shape);
	}
	worst = 0;
	for (double t = 1; t < 1e6; t *= 10)
	{
		/* Nobody leaves: r t / alpha; everybody after one order: P(N > 0). */
		worst = fmax(worst, fabs(pe_orders_till_leaving(2, 3, 1e-9, 1e9, t) / (2 * t / 3) - 1));
		worst = fmax(worst, fabs(pe_orders_till_leaving(2, 3, 1e9, 1e-9, t) / -expm1(-2 * log1p(t / 3)) - 1));
	}
	OK(worst < 1e-6, "the limits at any horizon (%g)", worst);
}

/* Both branches of the Pareto/NBD likelihood as they are published. */
static double
pareto_by_2f1(const double *p, const pe_customer *c)
{
	double r = p[0], alpha = p[1], s = p[2], beta = p[3], x = c->frequency, tx = c->recency, t = c->age;
	double high = fmax(alpha, beta), gap = fabs(alpha - beta), second = alpha >= beta ? s + 1 : r + x;
	double f1 = hyp2f1(r + s + x, second, r + s + x + 1, gap / (high + tx)) / pow(high + tx, r + s + x);
	double f2 = hyp2f1(r + s + x, second, r + s + x + 1, gap / (high + t)) / pow(high + t, r + s + x);
	double here = 1 / (pow(alpha + t, r + x) * pow(beta + t, s));

	return lgamma(r + x) - lgamma(r) + r * log(alpha) + s * log(beta) +
	       log(here + s / (r + s + x) * (f1 - f2));
}

static void
pareto_branches(void)
{
	static const double params[][4] = {{0.553, 10.58, 0.606, 11.67},
	                                   {0.553, 11.67, 0.606, 10.58},
	                                   {2, 30, 1, 5},
	                                   {0.4, 3, 2, 20},
	                                   {1, 7, 1, 7}};
	double worst = 0;

	for (int i = 0; i < 5; i++)
		for (int x = 0; x <= 12; x += 3)
			for (double tx = x > 0 ? 2 : 0; tx <= 38; tx += 9)
			{
				pe_customer c = {x, x > 0 ? tx : 0, 39};

				worst = fmax(worst, fabs(pe_pareto_nbd_process.log_likelihood(params[i], &c, NULL) -
				                         pareto_by_2f1(params[i], &c)));
			}
	OK(worst < 1e-9, "Pareto/NBD is what both branches of 2F1 give (%g)", worst);
}

/* ---- gradients ---------------------------------------------------------------------------- */

static double
difference(pe_algorithm process, const double *p, const pe_customer *c, int i)
{
	double h = 1e-5, up[4], down[4];

	memcpy(up, p, sizeof(up));
	memcpy(down, p, sizeof(down));
	up[i] *= exp(h);
	down[i] *= exp(-h);
	return (pe_process_of(process)->log_likelihood(up, c, NULL) -
	        pe_process_of(process)->log_likelihood(down, c, NULL)) /
	       (2 * h);
}

static void
gradients(void)
{
	for (int k = 0; k < 5; k++)
	{
		double worst = 0;
		uint64_t state = 3;

		for (int round = 0; round < 300; round++)
		{
			double p[4], gradient[4] = {0};
			double age = floor(1 + data_uniform(&state) * 60);
			double x = floor(data_uniform(&state) * data_uniform(&state) * (age < 30 ? age : 30));
			double recency = x > 0 ? fmax(x, floor(data_uniform(&state) * age)) : 0;
			pe_customer c = pe_customer_clean(all[k], (pe_customer){x, recency, age});

			for (int i = 0; i < 4; i++)
				p[i] = exp(6 * data_uniform(&state) - 3);
			pe_process_of(all[k])->log_likelihood(p, &c, gradient);
			for (int i = 0; i < pe_lifetime_parameter_count(all[k]); i++)
				worst =
				    fmax(worst, fabs(gradient[i] - difference(all[k], p, &c, i)) / (1 + fabs(gradient[i])));
		}
		OK(worst < 1e-6, "%s: the gradient is that of the likelihood (%g)", pe_algorithm_name(all[k]), worst);
	}
	{
		double p[3] = {6, 4, 15}, gradient[3] = {0}, worst = 0;

		pe_spend_log_likelihood(p, 3, 22, gradient);
		for (int i = 0; i < 3; i++)
		{
			double up[3] = {6, 4, 15}, down[3] = {6, 4, 15};

			up[i] *= exp(1e-5);
			down[i] *= exp(-1e-5);
			worst = fmax(worst, fabs(gradient[i] - (pe_spend_log_likelihood(up, 3, 22, NULL) -
			                                        pe_spend_log_likelihood(down, 3, 22, NULL)) /
			                                           2e-5));
		}
		OK(worst < 1e-7, "gamma-gamma: likewise (%g)", worst);
	}
}

/* ---- simulated customers ------------------------------------------------------------------ */

static double
draw_normal(uint64_t *state)
{
	double u = data_uniform(state) + 0x1p-54;

	return sqrt(-2 * log(u)) * cos(2 * 3.14159265358979323846 * data_uniform(state));
}

/* Marsaglia and Tsang; below 1 by the next shape up. */
static double
draw_gamma(uint64_t *state, double shape)
{
	double d, c;

	if (shape < 1)
		return draw_gamma(state, shape + 1) * pow(data_uniform(state) + 0x1p-54, 1 / shape);
	d = shape - 1.0 / 3;
	c = 1 / sqrt(9 * d);
	for (;;)
	{
		double z = draw_normal(state), v = pow(1 + c * z, 3), u = data_uniform(state) + 0x1p-54;

		if (v > 0 && log(u) < 0.5 * z * z + d - d * v + d * log(v))
			return d * v;
	}
}

static double
draw_beta(uint64_t *state, double a, double b)
{
	double x = draw_gamma(state, a), y = draw_gamma(state, b);

	return x / (x + y);
}

/* What a customer does until age and in the time after it. */
typedef struct story
{
	pe_customer customer;
	double later;
	bool alive;
} story;

static story
live(pe_algorithm process, const double *p, double age, double later, uint64_t *state)
{
	story s = {{0, 0, age}, 0, true};
	bool discrete = process == PE_ALGORITHM_BG_BB || process == PE_ALGORITHM_SBG;
	double rate = discrete ? 0 : draw_gamma(state, p[0]) / p[1], leaving = INFINITY, chance = 0, at = 0;
	double buying = process == PE_ALGORITHM_BG_BB ? draw_beta(state, p[0], p[1]) : 1;

	if (process == PE_ALGORITHM_PARETO_NBD)
		leaving = -log(data_uniform(state) + 0x1p-54) / (draw_gamma(state, p[2]) / p[3]);
	else
		chance = process == PE_ALGORITHM_SBG ? draw_beta(state, p[0], p[1]) : draw_beta(state, p[2], p[3]);
	if (process == PE_ALGORITHM_MBG_NBD && data_uniform(state) < chance)
		leaving = 0;
	while (at < age + later)
	{
		bool order = true;

		at += discrete ? 1 : -log(data_uniform(state) + 0x1p-54) / rate;
		if (discrete && data_uniform(state) < chance)
			leaving = at - 1;
		if (at > leaving || at > age + later || (discrete && leaving < at))
			break;
		if (discrete)
			order = data_uniform(state) < buying;
		if (order && at <= age)
		{
			s.customer.frequency++;
			s.customer.recency = at;
		}
		else if (order)
			s.later++;
		if (!discrete && process != PE_ALGORITHM_PARETO_NBD && data_uniform(state) < chance)
			leaving = at;
	}
	s.alive = leaving > age;
	return s;
}

static void
simulate(pe_algorithm process, double a, double b, double c, double d, double age, double later)
{
	enum
	{
		CUSTOMERS = 120000
	};
	pe_lifetime l = made(process, a, b, c, d);
	double observed[4] = {0}, square[4] = {0}, expected[4] = {0}, total = 0, zero = 0, three = 0, alive = 0,
	       thought_alive = 0, all_orders = 0;
	uint64_t state = 11;

	for (int i = 0; i < CUSTOMERS; i++)
	{
		story s = live(process, l.parameters, age, later, &state);
		/* By what is known of the customer: nothing bought, a little, long ago, lately. */
		int group = s.customer.frequency == 0        ? 0
		            : s.customer.frequency < 3       ? 1
		            : s.customer.recency < 0.7 * age ? 2
		                                             : 3;
		double forecast = pe_lifetime_orders(&l, &s.customer, later), error = s.later - forecast;

		observed[group] += s.later;
		square[group] += error * error;
		expected[group] += forecast;
		total += s.customer.frequency;
		zero += s.customer.frequency == 0;
		three += s.customer.frequency == 3;
		alive += s.alive;
		if (process != PE_ALGORITHM_BG_BB && process != PE_ALGORITHM_SBG)
			thought_alive += pe_lifetime_alive(&l, &s.customer);
		all_orders += s.customer.frequency * s.customer.frequency;
	}
	for (int group = 0; group < 4; group++)
		OK(fabs(observed[group] - expected[group]) < 4.5 * sqrt(square[group]) + 1e-9,
		   "%s: forecast of group %d (%.0f, simulated %.0f)", pe_algorithm_name(process), group,
		   expected[group], observed[group]);
	IS_NEAR(total / CUSTOMERS, pe_lifetime_new_orders(&l, age), 4.5 * sqrt(all_orders) / CUSTOMERS,
	        "%s: orders of new customers", pe_algorithm_name(process));
	IS_NEAR(zero / CUSTOMERS, pe_lifetime_count_probability(&l, age, 0), 4.5 * 0.5 / sqrt(CUSTOMERS),
	        "%s: nothing bought", pe_algorithm_name(process));
	IS_NEAR(three / CUSTOMERS, pe_lifetime_count_probability(&l, age, 3), 4.5 * 0.5 / sqrt(CUSTOMERS),
	        "%s: three orders", pe_algorithm_name(process));
	if (thought_alive > 0)
		IS_NEAR(thought_alive / CUSTOMERS, alive / CUSTOMERS, 4.5 * 0.5 / sqrt(CUSTOMERS), "%s: who is alive",
		        pe_algorithm_name(process));
}

/* The probabilities of counts sum to one, and their mean is the expectation. */
static void
counts(void)
{
	static const double p[4] = {1.3, 6, 1.2, 2.7};

	for (int k = 0; k < 5; k++)
	{
		pe_lifetime l = made(all[k], p[0], p[1], p[2], p[3]);
		double sum = 0, mean = 0;

		for (int n = 0; n < 600; n++)
		{
			double probability = pe_lifetime_count_probability(&l, 40, n);

			sum += probability;
			mean += n * probability;
		}
		IS_NEAR(sum, 1, 1e-11, "%s: some count is certain", pe_algorithm_name(all[k]));
		IS_NEAR(mean, pe_lifetime_new_orders(&l, 40), 1e-8, "%s: their mean", pe_algorithm_name(all[k]));
	}
}

/* ---- whatever is asked ---------------------------------------------------------------------- */

static void
corners(void)
{
	static const double sizes[] = {0, 1e-12, 1, 37, 1e4, 1e9, 1e308, INFINITY, NAN, -3};
	static const double params[] = {1e-9, 1e-3, 1, 1e3, 1e9};
	int wrong = 0, asked = 0;

	for (int k = 0; k < 5; k++)
		for (int mix = 0; mix < 5 * 5 * 5 * 5; mix += 7)
		{
			pe_lifetime l =
			    made(all[k], params[mix % 5], params[mix / 5 % 5], params[mix / 25 % 5], params[mix / 125]);

			l.with_spend = true;
			l.spend[0] = params[mix / 5 % 5];
			l.spend[1] = params[mix % 5];
			l.spend[2] = params[mix / 25 % 5];
			for (int i = 0; i < 3; i++)
			{
				pe_customer c = {sizes[(mix + 3 * i) % 10], sizes[(mix + i) % 9], sizes[(mix / 3 + i) % 10]};
				double horizon = sizes[(mix + 5 * i) % 10], alive = pe_lifetime_alive(&l, &c);
				double orders = pe_lifetime_orders(&l, &c, horizon);
				double worth = pe_lifetime_worth(&l, &c, sizes[mix % 10], horizon, 0.1, 1e300);

				if (!(alive >= 0 && alive <= 1) || !(orders >= 0) || !isfinite(orders) || !isfinite(worth) ||
				    worth < 0 || !isfinite(pe_lifetime_new_orders(&l, horizon)))
					printf("# %s %g %g %g %g, customer %g %g %g, horizon %g: %g %g %g %g\n",
					       pe_algorithm_name(all[k]), l.parameters[0], l.parameters[1], l.parameters[2],
					       l.parameters[3], c.frequency, c.recency, c.age, horizon, alive, orders, worth,
					       pe_lifetime_new_orders(&l, horizon));
				asked++;
				wrong += !(alive >= 0 && alive <= 1) || !(orders >= 0) || !isfinite(orders) ||
				         !isfinite(worth) || worth < 0 || !isfinite(pe_lifetime_new_orders(&l, horizon));
			}
		}
	IS_INT(wrong, 0, "%d customers and parameters that cannot be: finite numbers", asked);
}

/* Discounted day by day for 30 years: more periods than are looked at one by one. */
static void
many_periods(void)
{
	for (int k = 0; k < 5; k++)
	{
		pe_customer c = all[k] == PE_ALGORITHM_SBG ? (pe_customer){3, 3, 3} : (pe_customer){3, 40, 60};
		pe_lifetime l = made(all[k], 1.2, 8, 0.9, 4);
		double expected = 0, before = 0;

		for (int day = 1; day <= 10950; day++)
		{
			double orders = pe_lifetime_orders(&l, &c, day / 7.0);

			expected += (orders - before) * pow(1.0005, -day);
			before = orders;
		}
		IS_NEAR(pe_lifetime_worth(&l, &c, 0, 10950 / 7.0, 0.0005, 1 / 7.0) / expected, 1, 2e-4,
		        "%s: worth of 10950 discounted days", pe_algorithm_name(all[k]));
	}
}

int
main(void)
{
	published();
	closed_forms();
	pareto_branches();
	gradients();
	counts();
	simulate(PE_ALGORITHM_BG_NBD, 0.8, 5, 0.9, 2.5, 39, 30);
	simulate(PE_ALGORITHM_MBG_NBD, 0.8, 5, 0.9, 2.5, 39, 30);
	simulate(PE_ALGORITHM_PARETO_NBD, 0.9, 6, 0.8, 12, 39, 30);
	simulate(PE_ALGORITHM_BG_BB, 1.2, 0.8, 0.7, 3, 8, 5);
	simulate(PE_ALGORITHM_SBG, 0.7, 3.5, 0, 0, 8, 5);
	many_periods();
	corners();
	return tap_done();
}
