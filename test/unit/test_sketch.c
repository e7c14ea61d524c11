/*
 * test_sketch.c
 *		What a column holds, against counting and sorting everything.
 */
#include "model/sketch/sketch.h"
#include "tap.h"

static pe_error err;
static tap_memory memory;

static uint64_t
next_random(uint64_t *state)
{
	*state += UINT64_C(0x9e3779b97f4a7c15);
	uint64_t z = *state;
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static void
offer(pe_value_tally *tally, uint64_t value)
{
	bool fresh;
	char text[32];
	int length = snprintf(text, sizeof(text), "v%llu", (unsigned long long) value);

	if (pe_value_tally_offer(tally, value, text, (size_t) length, &fresh, &err) != PE_OK)
		OK(false, "offer: %s", err.message);
}

static void
few_values(void)
{
	pe_env env = tap_env(&memory);
	pe_value_tally *tally;
	const pe_tallied *values;
	size_t count;
	bool exact, wrong = false;

	pe_value_tally_open(&env, &tally, &err);
	for (int i = 0; i < PE_TALLY_VALUES; i++)
		for (int j = 0; j <= i % 7; j++)
			offer(tally, (uint64_t) i);
	IS_INT(pe_value_tally_distinct(tally, &exact), PE_TALLY_VALUES, "up to the bound all values are counted");
	OK(exact, "and that is exact");
	IS_INT(pe_value_tally_missed(tally), 0, "nothing is missed");
	pe_value_tally_sorted(tally, &values, &count, &err);
	IS_INT(count, PE_TALLY_VALUES, "all are kept");
	for (size_t i = 0; i < count; i++)
	{
		char text[32];
		int length = snprintf(text, sizeof(text), "v%llu", (unsigned long long) values[i].hash);

		wrong = wrong || values[i].count != (int64_t) (values[i].hash % 7 + 1) ||
		        (i > 0 && values[i].count > values[i - 1].count) || values[i].length != (uint32_t) length ||
		        memcmp(values[i].bytes, text, (size_t) length) != 0;
	}
	OK(!wrong, "each with its count and its text, most frequent first");
	pe_value_tally_free(tally);
}

/* Half of all are of ten values; the rest are all different. */
static void
many_values(int n)
{
	pe_env env = tap_env(&memory);
	pe_value_tally *tally;
	const pe_tallied *values;
	size_t count;
	bool exact, wrong = false;
	int64_t truth[10] = {0};
	uint64_t state = (uint64_t) n;
	double distinct;

	pe_value_tally_open(&env, &tally, &err);
	for (int i = 0; i < n; i++)
	{
		uint64_t draw = next_random(&state);

		if (draw % 2 == 0)
		{
			truth[draw / 2 % 10]++;
			offer(tally, draw / 2 % 10);
		}
		else
			offer(tally, 1000 + (uint64_t) i);
	}
	distinct = n + 10;
	for (int i = 0; i < 10; i++)
		distinct -= (double) truth[i];
	IS_NEAR((double) pe_value_tally_distinct(tally, &exact) / distinct, 1, 4 * PE_TALLY_ERROR,
	        "distinct of %d within four standard errors", n);
	OK(!exact, "and it is an estimate");
	OK(pe_value_tally_missed(tally) <= 2 * (int64_t) n / PE_TALLY_VALUES,
	   "missed %lld of %d: within the bound", (long long) pe_value_tally_missed(tally), n);
	pe_value_tally_sorted(tally, &values, &count, &err);
	for (int i = 0; i < 10; i++)
	{
		int64_t counted = pe_value_tally_count(tally, (uint64_t) i);

		wrong = wrong || values[i].hash >= 10 || counted > truth[i] ||
		        counted + pe_value_tally_missed(tally) < truth[i];
	}
	OK(!wrong, "the ten frequent ones come first, and their counts are within what may be missed");
	pe_value_tally_free(tally);
}

static int
compare(const void *left, const void *right)
{
	double a = *(const double *) left, b = *(const double *) right;

	return (a > b) - (a < b);
}

/* shape: 0 in order, 1 uniform, 2 with ties and a long tail */
static void
numbers(int n, int shape)
{
	pe_env env = tap_env(&memory);
	pe_quantiles *q;
	double *all = malloc(sizeof(double) * (size_t) n);
	double sum = 0, squares = 0, worst = 0;
	uint64_t state = (uint64_t) (n + shape);

	pe_quantiles_open(&env, &q, &err);
	for (int i = 0; i < n; i++)
	{
		double u = (double) (next_random(&state) >> 11) / 9007199254740992.0;

		all[i] = shape == 0 ? i : shape == 1 ? u : u < 0.4 ? 0 : floor(exp(u * 10));
		sum += all[i];
		if (pe_quantiles_offer(q, all[i], &err) != PE_OK)
			OK(false, "offer: %s", err.message);
	}
	for (int i = 0; i < n; i++)
		squares += (all[i] - sum / n) * (all[i] - sum / n);
	qsort(all, (size_t) n, sizeof(double), compare);
	pe_quantiles_settle(q, &err);
	IS_NEAR(pe_quantiles_mean(q) / (sum / n), 1, 1e-9, "mean of %d, shape %d", n, shape);
	IS_NEAR(pe_quantiles_deviation(q) / sqrt(squares / (n - 1)), 1, 1e-9, "deviation");
	IS_NEAR(pe_quantiles_at(q, 0), all[0], 0, "least");
	IS_NEAR(pe_quantiles_at(q, 1), all[n - 1], 0, "largest");
	for (int i = 1; i < 100; i++)
	{
		double share = i / 100.0, got = pe_quantiles_at(q, share), place = share * (n - 1);
		double low = 0, high = 0;

		if (n <= PE_QUANTILES_NUMBERS)
		{
			double want =
			    all[(int) place] + (place - floor(place)) * (all[(int) ceil(place)] - all[(int) place]);

			worst = fmax(worst, fabs(got - want));
			continue;
		}
		for (int j = 0; j < n; j++)
		{
			low += all[j] < got;
			high += all[j] <= got;
		}
		/* How far q is from the ranks that have this number. */
		worst = fmax(worst, fmax(low / n - share, share - high / n));
		worst = fmax(worst, fabs(pe_quantiles_below(q, got, true) - high) / n);
		worst = fmax(worst, fabs(pe_quantiles_below(q, got, false) - low) / n);
	}
	if (n <= PE_QUANTILES_NUMBERS)
		IS_NEAR(worst, 0, 1e-9, "quantiles of few numbers are exact");
	else
		OK(worst < 0.005, "ranks are off by %.4f at most, half a percent is allowed", worst);
	pe_quantiles_free(q);
	free(all);
}

/* A mean that is a billion deviations large, of numbers that doubles hold exactly. */
static void
large_mean(void)
{
	enum
	{
		N = 100000
	};
	pe_env env = tap_env(&memory);
	pe_quantiles *q;
	double truth = sqrt((N / 1000.0) * (1000.0 * 1000.0 - 1) * 1000.0 / 12 / (N - 1)) / 1024;

	pe_quantiles_open(&env, &q, &err);
	for (int i = 0; i < N; i++)
		pe_quantiles_offer(q, 1e9 + i % 1000 / 1024.0, &err);
	IS_NEAR(pe_quantiles_mean(q) - 1e9, 999 / 2.0 / 1024, 2e-7, "a large mean");
	IS_NEAR(pe_quantiles_deviation(q) / truth, 1, 1e-13, "and the small deviation from it");
	pe_quantiles_free(q);
}

static void
nothing(void)
{
	pe_env env = tap_env(&memory);
	pe_quantiles *q;
	pe_value_tally *tally;
	const pe_tallied *values;
	size_t count;
	bool exact;

	pe_quantiles_open(&env, &q, &err);
	pe_quantiles_settle(q, &err);
	OK(isnan(pe_quantiles_at(q, 0.5)) && isnan(pe_quantiles_deviation(q)), "of no numbers nothing is known");
	pe_quantiles_free(q);
	pe_value_tally_open(&env, &tally, &err);
	IS_INT(pe_value_tally_distinct(tally, &exact), 0, "no values are different");
	IS_INT(pe_value_tally_sorted(tally, &values, &count, &err), PE_OK, "and sorted");
	pe_value_tally_free(tally);
}

/* Every allocation fails once. */
static pe_status
everything(const pe_env *env)
{
	pe_value_tally *tally = NULL;
	pe_quantiles *q = NULL;
	const pe_tallied *values;
	size_t count;
	bool fresh;
	pe_status status = pe_value_tally_open(env, &tally, &err);

	if (status == PE_OK)
		status = pe_quantiles_open(env, &q, &err);
	for (int i = 0; i < 3 * PE_TALLY_VALUES && status == PE_OK; i++)
	{
		status = pe_value_tally_offer(tally, (uint64_t) i, "abcdef", 6, &fresh, &err);
		if (status == PE_OK)
			status = pe_quantiles_offer(q, i, &err);
	}
	if (status == PE_OK)
		status = pe_value_tally_sorted(tally, &values, &count, &err);
	if (status == PE_OK)
		status = pe_quantiles_settle(q, &err);
	pe_value_tally_free(tally);
	pe_quantiles_free(q);
	return status;
}

static void
failing_memory(void)
{
	pe_status status = PE_OUT_OF_MEMORY;
	long fail_at = 0;
	pe_env env = tap_env(&memory);

	while (status == PE_OUT_OF_MEMORY)
	{
		memory.calls = 0;
		memory.fail_at = ++fail_at;
		status = everything(&env);
	}
	memory.fail_at = 0;
	OK(status == PE_OK && fail_at > 20, "each of %ld failing allocations is survived", fail_at - 1);
}

int
main(void)
{
	large_mean();
	nothing();
	few_values();
	many_values(10000);
	many_values(1000000);
	numbers(PE_QUANTILES_NUMBERS, 1);
	numbers(2, 1);
	for (int shape = 0; shape < 3; shape++)
	{
		numbers(20000, shape);
		numbers(500000, shape);
	}
	failing_memory();
	IS_INT(memory.live, 0, "nothing is leaked");
	return tap_done();
}
