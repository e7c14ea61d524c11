/*
 * kernel.c
 *		Training of boosted trees alone, without a server: the profiles of profiles.sql
 *		from a generator of numbers, pe_train over them, and what each phase took.
 *
 * usage: kernel ROWS THREADS REPEATS [MATRIX-FILE] [name=value ...]
 * With a file, the same rows are written there for kernel.py: rows and columns as
 * uint64, then float32 cells row by row, then a byte of target and one that says
 * whether the row is held out. "-": no file.
 */
#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "model/internal.h"

#define NUMBERS 20
#define TEXTS   5
#define COLUMNS (NUMBERS + TEXTS)
#define PI      3.14159265358979323846

typedef struct meter
{
	size_t now;
	size_t most;
} meter;

#define METER_HEAD 16

static void *
meter_realloc(void *ctx, void *ptr, size_t size)
{
	meter *m = ctx;
	size_t before = ptr != NULL ? *(size_t *) ((char *) ptr - METER_HEAD) : 0;
	char *block = realloc(ptr != NULL ? (char *) ptr - METER_HEAD : NULL, size + METER_HEAD);

	if (block == NULL)
		return NULL;
	*(size_t *) block = size;
	m->now += size - before;
	m->most = m->now > m->most ? m->now : m->most;
	return block + METER_HEAD;
}

static void *
meter_alloc(void *ctx, size_t size)
{
	return meter_realloc(ctx, NULL, size);
}

static void
meter_free(void *ctx, void *ptr)
{
	((meter *) ctx)->now -= *(size_t *) ((char *) ptr - METER_HEAD);
	free((char *) ptr - METER_HEAD);
}

static double
clock_seconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double) now.tv_sec + 1e-9 * (double) now.tv_nsec;
}

static double
seconds(void)
{
	return clock_seconds(CLOCK_MONOTONIC);
}

static double
uniform(uint64_t row, uint64_t stream)
{
	return pe_draw(row, stream, 77) * (1 - 1e-12) + 1e-13;
}

static double
normal(uint64_t row, uint64_t stream)
{
	return sqrt(-2 * log(uniform(row, stream))) * cos(2 * PI * uniform(row, stream + 1000));
}

/* The columns of profiles.sql, in its order; texts are codes. Returns the target. */
static double
profile(uint64_t i, double *x)
{
	double activity = pow(uniform(i, 60), 0.8), age = 18 + floor(62 * pow(uniform(i, 40), 1.3));
	double tenure = 1 + floor(2500 * pow(uniform(i, 41), 1.5));
	double recency = -log(uniform(i, 42)) * (8 + 70 * (1 - activity));
	double week = activity * 6 * uniform(i, 43), month = floor(week + activity * 18 * uniform(i, 44));
	double orders = floor(-log(uniform(i, 45)) * (0.4 + 7 * activity * activity) - 0.35);
	double tickets = floor(-log(uniform(i, 46)) * 0.6), country = 1 + floor(40 * pow(uniform(i, 47), 2.5));
	double city = 1 + floor(500 * pow(uniform(i, 48), 2)), device = floor(4 * pow(uniform(i, 49), 1.2));
	double channel = floor(8 * pow(uniform(i, 50), 1.5)), discount = pow(uniform(i, 31), 1.6), revenue,
	       margin;

	orders = orders > 0 ? orders : 0;
	revenue = exp(3.6 + 0.5 * normal(i, 30)) * orders;
	x[0] = uniform(i, 1) >= 0.05 ? age : NAN;
	x[1] = tenure;
	x[2] = recency;
	x[3] = floor(week);
	x[4] = month;
	x[5] = month * 3 + floor(6 * uniform(i, 2));
	x[6] = floor(month * exp(1 + 0.6 * normal(i, 3)));
	x[7] = floor(month * uniform(i, 4) * uniform(i, 4));
	x[8] = fmin(orders, floor(3 * uniform(i, 5)));
	x[9] = orders;
	x[10] = revenue;
	x[11] = orders > 0 ? revenue / orders : NAN;
	x[12] = orders > 0 ? discount : NAN;
	x[13] = floor(orders * 0.3 * uniform(i, 6));
	x[14] = uniform(i, 7) >= 0.2 ? 0.7 * activity * uniform(i, 8) : NAN;
	x[15] = uniform(i, 7) >= 0.2 ? 0.2 * activity * uniform(i, 9) : NAN;
	x[16] = uniform(i, 10) < 0.4 ? floor(month * uniform(i, 11)) : NAN;
	x[17] = tickets;
	x[18] = uniform(i, 12) < 0.3 ? floor(11 * pow(uniform(i, 13), 1.2 - activity)) : NAN;
	x[19] = uniform(i, 14) < 0.3 ? -20 * log(uniform(i, 15)) : 0;
	x[20] = country;
	x[21] = device;
	x[22] = channel;
	x[23] = uniform(i, 16) < 0.6 ? fmin(3, floor(activity * 4)) : NAN;
	x[24] = city;
	margin = 5.9 - 1.6 * recency / (40 + recency / 2) + 0.9 * log(1 + month) + 0.5 * log(1 + orders) -
	         0.6 * tickets - (tenure < 90) - 0.9 * (channel == 3) - 0.5 * (device == 1) -
	         0.8 * (fmod(country, 7) == 3) - (recency > 45 && tickets > 0) -
	         1.2 * (discount > 0.5 && orders > 0) - 0.02 * fabs(age - 42) - 0.25 * sin(city * 0.7) - 2.4;
	return uniform(i, 17) < 1 / (1 + exp(margin));
}

static const char *const names[COLUMNS] = {"age",
                                           "tenure_days",
                                           "recency_days",
                                           "visits_week",
                                           "visits_month",
                                           "visits_quarter",
                                           "page_views",
                                           "cart_adds",
                                           "orders_month",
                                           "orders_year",
                                           "revenue_year",
                                           "average_order",
                                           "discount_share",
                                           "returns_year",
                                           "open_rate",
                                           "click_rate",
                                           "push_opens",
                                           "tickets",
                                           "nps",
                                           "credit_balance",
                                           "country",
                                           "device",
                                           "channel",
                                           "tier",
                                           "city"};

static void
fail(const char *what, const pe_error *err)
{
	fprintf(stderr, "%s: %s %s\n", what, err->message, err->hint);
	exit(1);
}

static pe_dataset *
make_dataset(const pe_env *env, uint64_t rows, const pe_options *options, FILE *file)
{
	pe_feature_spec specs[COLUMNS];
	uint64_t shape[2] = {rows, COLUMNS};
	pe_dataset *dataset;
	pe_error err;

	for (int i = 0; i < COLUMNS; i++)
		specs[i] =
		    (pe_feature_spec){names[i], NULL, i < NUMBERS ? PE_FEATURE_NUMERIC : PE_FEATURE_CATEGORICAL};
	if (pe_dataset_create(env, PE_ALGORITHM_BOOSTED_TREES, specs, COLUMNS, false, &dataset, &err) != PE_OK)
		fail("dataset", &err);
	if (file != NULL)
		fwrite(shape, sizeof(shape), 1, file);
	for (uint64_t row = 0; row < rows; row++)
	{
		uint64_t key = pe_hash_bytes(&row, sizeof(row), 0);
		double x[COLUMNS], target = profile(pe_mix64(row + 1), x);
		float cells[COLUMNS];
		uint8_t flags[2] = {target == 1, pe_draw(key, options->seed, PE_DRAW_HOLDOUT) < options->holdout};

		for (int i = 0; i < COLUMNS; i++)
			cells[i] = (float) x[i];
		for (int i = NUMBERS; i < COLUMNS; i++)
		{
			char text[32];
			int32_t code;

			if (isnan(x[i]))
				continue;
			snprintf(text, sizeof(text), "%s %d", names[i], (int) x[i]);
			if (pe_dataset_level(dataset, i, text, strlen(text), &code, &err) != PE_OK)
				fail("level", &err);
			x[i] = code;
		}
		if (file != NULL)
		{
			fwrite(cells, sizeof(cells), 1, file);
			fwrite(flags, sizeof(flags), 1, file);
		}
		if (pe_dataset_append(dataset, x, target, 1, key, &err) != PE_OK)
			fail("append", &err);
	}
	return dataset;
}

/* When each phase began, told by the tick. */
typedef struct phases
{
	double began[3];
	double cpu[3]; /* seconds of all threads until then */
} phases;

static int
note_phase(void *ctx, const char *phase, uint64_t done, uint64_t total)
{
	phases *p = ctx;
	int at = strcmp(phase, "bin") == 0 ? 0 : strcmp(phase, "fit") == 0 ? 1 : 2;

	if (p->began[at] == 0)
	{
		p->began[at] = seconds();
		p->cpu[at] = clock_seconds(CLOCK_PROCESS_CPUTIME_ID);
	}
	return 0;
}

int
main(int argc, char **argv)
{
	uint64_t rows = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
	int threads = argc > 2 ? atoi(argv[2]) : 2, repeats = argc > 3 ? atoi(argv[3]) : 1;
	FILE *file = argc > 4 && strcmp(argv[4], "-") != 0 ? fopen(argv[4], "wb") : NULL;
	pe_options options;
	pe_error err;

	pe_options_init(&options, PE_ALGORITHM_BOOSTED_TREES);
	options.threads = threads;
	for (int i = 5; i < argc; i++)
	{
		char name[64];
		const char *equals = strchr(argv[i], '=');

		snprintf(name, sizeof(name), "%.*s", (int) (equals != NULL ? equals - argv[i] : 0), argv[i]);
		if (equals == NULL || pe_options_set(&options, name, equals + 1, &err) != PE_OK)
			fail("option", &err);
	}
	for (int repeat = 0; repeat < repeats; repeat++)
	{
		meter m = {0, 0};
		phases p = {{0}};
		pe_env env = {
		    .allocator = {meter_alloc, meter_realloc, meter_free, &m}, .tick = note_phase, .tick_ctx = &p};
		double started = seconds(), read, cpu_read, finished;
		pe_dataset *dataset = make_dataset(&env, rows, &options, repeat == 0 ? file : NULL);
		pe_evaluation evaluation;
		pe_model *model;
		uint8_t *bytes = NULL;
		size_t length = 0;

		if (repeat == 0 && file != NULL)
			fclose(file);
		read = seconds();
		cpu_read = clock_seconds(CLOCK_PROCESS_CPUTIME_ID);
		if (pe_train(&env, dataset, PE_TASK_PROPENSITY, &options, &model, &evaluation, &err) != PE_OK)
			fail("train", &err);
		finished = seconds();
		pe_model_serialize(&env, model, &bytes, &length, &err);
		printf("{\"rows\": %llu, \"threads\": %d, \"generate\": %.3f, \"bin\": %.3f, \"fit\": %.3f, "
		       "\"evaluate\": %.3f, "
		       "\"kernel\": %.3f, \"cpu\": %.3f, \"auc\": %.5f, \"log_loss\": %.5f, \"peak_mb\": %.1f, "
		       "\"announced_mb\": %.1f, "
		       "\"model\": \"%016llx\"}\n",
		       (unsigned long long) rows, threads, read - started, p.began[1] - read, p.began[2] - p.began[1],
		       finished - p.began[2], p.began[2] - read, p.cpu[2] - cpu_read, evaluation.auc,
		       evaluation.log_loss, (double) m.most / 1e6,
		       (double) pe_training_memory(&options, COLUMNS, false, rows) / 1e6,
		       (unsigned long long) pe_hash_bytes(bytes, length, 0));
		fflush(stdout);
		pe_free(&env, bytes);
		pe_model_free(model);
		pe_dataset_free(dataset);
	}
	return 0;
}
