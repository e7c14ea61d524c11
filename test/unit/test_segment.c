/* Segments: k-means against brute force and fixed data, scaling, numbering, threads, artifact. */
#include "model/internal.h"
#include "model/segment/kmeans.h"
#include "model/segment/learnt.h"
#include "model_data.h"

static tap_memory memory;
static pe_env env;
static pe_error err;

static pe_model *
train_on(pe_dataset *dataset, const char *const *settings)
{
	pe_options options;
	pe_model *model = NULL;

	pe_options_init(&options, PE_ALGORITHM_KMEANS);
	for (; settings != NULL && *settings != NULL; settings++)
	{
		char name[64];
		const char *equals = strchr(*settings, '=');

		snprintf(name, sizeof(name), "%.*s", (int) (equals - *settings), *settings);
		if (pe_options_set(&options, name, equals + 1, &err) != PE_OK)
			printf("# %s\n", err.message);
	}
	if (pe_segment_train(&env, dataset, &options, &model, &err) != PE_OK)
		printf("# %s\n", err.message);
	pe_dataset_free(dataset);
	return model;
}

/* Rows of two numbers. */
static pe_dataset *
plane(const double (*rows)[2], int n, const double *weights)
{
	static const pe_feature_spec specs[] = {{"x", "float8", PE_FEATURE_NUMERIC},
	                                        {"y", "float8", PE_FEATURE_NUMERIC}};
	pe_dataset *dataset;

	pe_dataset_create(&env, PE_ALGORITHM_KMEANS, specs, 2, weights != NULL, &dataset, &err);
	for (int i = 0; i < n; i++)
		pe_dataset_append(dataset, rows[i], 0, weights != NULL ? weights[i] : 1, data_key(i), &err);
	return dataset;
}

/* count blobs of equal spread around (10 i, 7 i^2 mod 23), sizes falling with i. */
static pe_dataset *
blobs(int count, int rows)
{
	static double at[20000][2];
	uint64_t state = 7;

	for (int i = 0; i < rows; i++)
	{
		int blob = (int) (data_uniform(&state) * data_uniform(&state) * count);

		at[i][0] = 10.0 * blob + data_uniform(&state) + data_uniform(&state) + data_uniform(&state);
		at[i][1] =
		    (7 * blob * blob) % 23 + data_uniform(&state) + data_uniform(&state) + data_uniform(&state);
	}
	return plane((const double(*)[2]) at, rows, NULL);
}

/* The least inertia of all ways to part n rows into k clusters, standardised. */
static double
brute_force(const double (*rows)[2], int n, int k)
{
	double x[16][2], best = INFINITY;
	long ways = 1;

	for (int d = 0; d < 2; d++)
	{
		double mean = 0, square = 0;

		for (int i = 0; i < n; i++)
			mean += rows[i][d] / n;
		for (int i = 0; i < n; i++)
			square += (rows[i][d] - mean) * (rows[i][d] - mean) / n;
		for (int i = 0; i < n; i++)
			x[i][d] = (rows[i][d] - mean) / sqrt(square);
	}
	for (int i = 0; i < n; i++)
		ways *= k;
	for (long way = 0; way < ways; way++)
	{
		double sums[4][2] = {{0}}, inertia = 0;
		int counts[4] = {0}, labels[16];
		long left = way;

		for (int i = 0; i < n; i++, left /= k)
		{
			labels[i] = (int) (left % k);
			counts[labels[i]]++;
			for (int d = 0; d < 2; d++)
				sums[labels[i]][d] += x[i][d];
		}
		for (int i = 0; i < n; i++)
			for (int d = 0; d < 2; d++)
			{
				double gap = x[i][d] - sums[labels[i]][d] / counts[labels[i]];

				inertia += gap * gap;
			}
		best = inertia < best ? inertia : best;
	}
	return best;
}

static void
test_brute_force(void)
{
	uint64_t state = 99;

	for (int round = 0; round < 20; round++)
	{
		double rows[10][2];
		int k = 2 + round % 2;
		pe_model *model;

		for (int i = 0; i < 10; i++)
			for (int d = 0; d < 2; d++)
				rows[i][d] = floor(data_uniform(&state) * 20) * (d + 1);
		model =
		    train_on(plane(rows, 10, NULL), k == 2 ? SETTINGS("clusters=2", "starts=30", "tolerance=1e-12")
		                                           : SETTINGS("clusters=3", "starts=30", "tolerance=1e-12"));
		IS_NEAR(pe_model_segment_summary(model).inertia, brute_force(rows, 10, k), 1e-5,
		        "round %d: the best of all partitions of 10 rows into %d", round, k);
		pe_model_free(model);
	}
}

/* Numbering, sizes, outputs and profile on clusters that are plain to see. */
static void
test_blobs(void)
{
	pe_model *model = train_on(blobs(5, 8000), SETTINGS("clusters=auto"));
	pe_segment_summary summary = pe_model_segment_summary(model);
	double share = 0, values[2] = {20.5, 6.5}, out[4];
	int64_t rows = 0, before = INT64_MAX;
	int falling = 0;
	pe_segment_profile profile;

	IS_INT(summary.clusters, 5, "five blobs are five clusters");
	OK(summary.silhouette > 0.7 && summary.explained > 0.95, "well apart: %g, %g", summary.silhouette,
	   summary.explained);
	for (int c = 1; c <= summary.clusters; c++)
	{
		falling += pe_model_segment_rows(model, c) <= before;
		before = pe_model_segment_rows(model, c);
		rows += before;
		share += pe_model_segment_share(model, c);
	}
	IS_INT(falling, 5, "numbered by size");
	IS_INT(rows, 8000, "each row is in one");
	IS_NEAR(share, 1, 1e-12, "shares sum to 1");
	IS_STR(pe_model_output_name(model, 0), "cluster", "outputs are named");
	pe_model_outputs(model, values, out);
	OK(out[0] == pe_model_predict(model, values) && out[0] >= 1 && out[0] <= 5 && out[1] < 0.3 &&
	       out[2] != out[0] && out[3] > 3 * out[1],
	   "cluster %g at %g, next %g at %g", out[0], out[1], out[2], out[3]);
	profile = pe_model_segment_profile(model, (int) out[0], 0);
	IS_NEAR(profile.cluster, 21.5, 0.1, "the mean in the feature's unit");
	OK(profile.level == NULL && profile.overall < 15 && profile.difference > 0.5, "above all rows' mean");
	OK(isnan(pe_model_segment_profile(model, 6, 0).cluster), "no sixth cluster");
	IS_INT(pe_model_segment_rows(model, 0), 0, "nor a zeroth");
	OK(strstr(pe_model_note(model, 0), "5 clusters by their silhouette") != NULL, "%s",
	   pe_model_note(model, 0));
	pe_model_free(model);
}

/* Fixed data; the figures are those of scikit-learn 1.2 (KMeans and silhouette_score) on it. */
static void
test_fixed(void)
{
	static const double rows[][2] = {{1, 2},  {1, 4}, {1, 0}, {10, 2}, {10, 4},
	                                 {10, 0}, {5, 9}, {6, 9}, {5, 8}};
	pe_model *model = train_on(plane(rows, 9, NULL), SETTINGS("clusters=3", "tolerance=1e-12"));
	pe_segment_summary summary = pe_model_segment_summary(model);
	double a = pe_model_predict(model, rows[0]), b = pe_model_predict(model, rows[3]);

	IS_INT(summary.clusters, 3, "three triples");
	OK(a == pe_model_predict(model, rows[1]) && a == pe_model_predict(model, rows[2]) &&
	       b == pe_model_predict(model, rows[4]) && b == pe_model_predict(model, rows[5]) && a != b,
	   "found");
	IS_NEAR(summary.inertia, 1.4701435, 1e-6, "inertia");
	IS_NEAR(summary.silhouette, 0.7133262, 1e-6, "silhouette");
	pe_model_free(model);
}

/* A weight of 3 is the row three times; a weight of 0 leaves it out. */
static void
test_weights(void)
{
	static const double once[][2] = {{0, 0}, {1, 0}, {8, 8}, {9, 7}, {100, 100}};
	static const double thrice[][2] = {{0, 0}, {0, 0}, {0, 0}, {1, 0}, {8, 8}, {9, 7}, {9, 7}};
	static const double weights[] = {3, 1, 1, 2, 0};
	pe_model *weighted = train_on(plane(once, 5, weights), SETTINGS("clusters=2"));
	pe_model *repeated = train_on(plane(thrice, 7, NULL), SETTINGS("clusters=2"));
	pe_segment_summary a = pe_model_segment_summary(weighted), b = pe_model_segment_summary(repeated);

	IS_NEAR(a.inertia, b.inertia, 1e-5, "inertia by weight");
	IS_NEAR(pe_model_segment_share(weighted, 1), 4.0 / 7, 1e-12, "share by weight");
	IS_INT(pe_model_segment_rows(weighted, 1), 2, "rows are counted once");
	IS_NEAR(pe_model_segment_profile(weighted, 2, 0).cluster,
	        pe_model_segment_profile(repeated, 2, 0).cluster, 1e-9, "profile by weight");
	pe_model_free(weighted);
	pe_model_free(repeated);
}

static pe_dataset *
mixed(int rows)
{
	pe_dataset *dataset = NULL;

	data_dataset(&env, PE_ALGORITHM_KMEANS, PE_TASK_VALUE, rows, true, &dataset, &err);
	return dataset;
}

/* Categories and missing values: what predict says of the training rows is what training counted. */
static void
test_mixed(const char *scale)
{
	pe_model *model = train_on(mixed(3000), SETTINGS("clusters=4", scale));
	pe_dataset *again = mixed(3000);
	int64_t counts[5] = {0};
	int wrong = 0, levels = 0;

	for (uint64_t row = 0; row < 3000; row++)
	{
		double values[DATA_FEATURES];

		for (int i = 0; i < DATA_FEATURES; i++)
		{
			values[i] = pe_dataset_value(again, i, row);
			if (i >= 4 && !isnan(values[i]))
			{
				const pe_dictionary *d = &again->features[i].levels;
				uint32_t code = (uint32_t) values[i];

				values[i] = pe_model_level(model, i, d->arena + d->starts[code],
				                           d->starts[code + 1] - d->starts[code]);
			}
		}
		counts[(int) pe_model_predict(model, values)]++;
	}
	for (int c = 1; c <= 4; c++)
	{
		wrong += counts[c] != pe_model_segment_rows(model, c);
		levels += pe_model_segment_profile(model, c, 4).level != NULL;
	}
	IS_INT(wrong, 0, "%s: predictions count as training did", scale);
	IS_INT(levels, 4, "categories are described by a level");
	OK(pe_model_segment_profile(model, 1, 0).missing > 0.02 &&
	       pe_model_segment_profile(model, 1, 0).missing < 0.3,
	   "missing values are counted");
	pe_dataset_free(again);
	pe_model_free(model);
}

/* Fewer different rows than clusters; one row; constant columns; far too large numbers. */
static void
test_edges(void)
{
	static const double twice[][2] = {{0, 1}, {0, 1}, {5, 5}, {5, 5}, {5, 5}};
	static const double same[][2] = {{1, 1}, {1, 1}, {1, 1}};
	static const double large[][2] = {{1e300, 1}, {-1e300, 2}, {1e307, 3}};
	pe_model *model = train_on(plane(twice, 5, NULL), SETTINGS("clusters=4"));
	pe_segment_summary summary = pe_model_segment_summary(model);
	double none[2] = {NAN, NAN};

	IS_INT(summary.clusters, 2, "two places are two clusters");
	IS_NEAR(summary.inertia, 0, 0, "of no extent");
	IS_INT(pe_model_segment_rows(model, 1), 3, "the larger first");
	OK(strstr(pe_model_note(model, 0), "only 2 different places") != NULL, "%s", pe_model_note(model, 0));
	OK(pe_model_predict(model, none) == 1, "a row without values is nearest to the mean");
	pe_model_free(model);
	model = train_on(plane(twice, 5, NULL), SETTINGS("clusters=1"));
	IS_INT(pe_model_segment_rows(model, 1), 5, "one cluster has all rows");
	OK(isnan(pe_model_segment_summary(model).silhouette) && pe_model_output_count(model) == 2,
	   "and nothing to compare with");
	pe_model_free(model);
	model = train_on(plane(twice, 5, NULL), SETTINGS("clusters=auto"));
	IS_INT(pe_model_segment_summary(model).clusters, 2, "found with fewer rows than numbers tried");
	pe_model_free(model);
	OK(train_on(plane(same, 3, NULL), NULL) == NULL && err.code == PE_INVALID_DATA, "%s", err.message);
	OK(train_on(plane(same, 1, NULL), NULL) == NULL && err.code == PE_INVALID_DATA, "%s", err.message);
	OK(train_on(plane(large, 3, NULL), NULL) == NULL && err.code == PE_INVALID_DATA, "%s", err.message);
}

/* One value a million deviations off has a cluster of its own unless cut off. */
static void
test_robust(void)
{
	double rows[400][2];
	pe_model *model;

	for (int i = 0; i < 400; i++)
	{
		rows[i][0] = i % 20 + 100 * (i >= 200);
		rows[i][1] = i % 7;
	}
	rows[0][0] = 1e9;
	model = train_on(plane(rows, 400, NULL), SETTINGS("clusters=2"));
	IS_INT(pe_model_segment_rows(model, 2), 1, "standard: the odd one is alone");
	pe_model_free(model);
	model = train_on(plane(rows, 400, NULL), SETTINGS("clusters=2", "scale=robust"));
	OK(pe_model_segment_rows(model, 2) >= 190, "robust: it is not");
	pe_model_free(model);
}

static void
test_threads(void)
{
	uint8_t *bytes[3];
	size_t length[3];
	static const char *const threads[] = {"threads=1", "threads=2", "threads=5"};

	for (int i = 0; i < 3; i++)
	{
		pe_model *model = train_on(blobs(4, 20000), SETTINGS(threads[i], "clusters=auto", "max_clusters=6"));

		pe_model_serialize(&env, model, &bytes[i], &length[i], &err);
		pe_model_free(model);
	}
	OK(length[0] == length[1] && memcmp(bytes[0], bytes[1], length[0]) == 0 && length[0] == length[2] &&
	       memcmp(bytes[0], bytes[2], length[0]) == 0,
	   "the same bytes on 1, 2 and 5 threads");
	for (int i = 0; i < 3; i++)
		pe_free(&env, bytes[i]);
}

/* The two ways of measuring give the same bits. */
static void
test_measuring(void)
{
	pe_model *model = train_on(mixed(2000), SETTINGS("clusters=11"));
	const pe_segments *s = model->own;
	uint64_t state = 5;
	int wrong = 0;

	for (int round = 0; round < 500; round++)
	{
		double values[DATA_FEATURES];
		float one[16], block[16], numbers[DATA_FEATURES];
		uint8_t slots[DATA_FEATURES];

		data_row(model, &state, values);
		pe_search_measure_inputs(&s->search, &s->space, model->features, values, one);
		for (int i = 0; i < s->space.n_numbers; i++)
			numbers[i] = pe_axis_scale(&s->space.axes[s->space.numbers[i]], values[s->space.numbers[i]]);
		for (int i = 0; i < s->space.n_categories; i++)
			slots[i] = (uint8_t) pe_feature_slot(&model->features[s->space.categories[i]],
			                                     values[s->space.categories[i]]);
		pe_search_measure(&s->search, &s->space, numbers, slots, 1, block);
		wrong += memcmp(one, block, 11 * sizeof(float)) != 0;
	}
	IS_INT(wrong, 0, "row by row and in blocks");
	pe_model_free(model);
}

static void
test_artifact(void)
{
	pe_model *model = train_on(mixed(500), SETTINGS("clusters=3")), *again;
	uint8_t *bytes, *twice, *damaged;
	size_t length, length_twice;
	double values[DATA_FEATURES], out[4];
	uint64_t state = 3;
	int wrong = 0, accepted = 0, refused = 0;
	pe_status status = PE_OUT_OF_MEMORY;

	pe_model_serialize(&env, model, &bytes, &length, &err);
	IS_INT(pe_model_deserialize(&env, bytes, length, &again, &err), PE_OK, "%zu bytes are read", length);
	pe_model_serialize(&env, again, &twice, &length_twice, &err);
	OK(length == length_twice && memcmp(bytes, twice, length) == 0, "and written the same");
	for (int i = 0; i < 300; i++)
	{
		data_row(model, &state, values);
		wrong += pe_model_predict(model, values) != pe_model_predict(again, values);
	}
	IS_INT(wrong, 0, "and predict the same");
	pe_model_free(again);
	damaged = malloc(length);
	for (size_t at = 24; at < length; at++)
		for (int change = 0; change < 2; change++)
		{
			uint32_t crc;

			memcpy(damaged, bytes, length);
			damaged[at] = change == 0 ? 0xff : (uint8_t) (damaged[at] + 1);
			crc = pe_crc32c(damaged + 24, length - 24);
			for (int i = 0; i < 4; i++)
				damaged[20 + i] = (uint8_t) (crc >> (8 * i));
			if (pe_model_deserialize(&env, damaged, length, &again, &err) != PE_OK)
			{
				refused++;
				continue;
			}
			accepted++;
			pe_model_outputs(again, values, out);
			for (int c = 0; c <= 4; c++)
				for (int f = 0; f < DATA_FEATURES; f++)
					(void) pe_model_segment_profile(again, c, f);
			pe_model_free(again);
		}
	OK(accepted > 0 && refused > 0, "damage is refused (%d) or harmless (%d)", refused, accepted);
	for (memory.calls = 0, memory.fail_at = 1; status == PE_OUT_OF_MEMORY; memory.fail_at++)
	{
		memory.calls = 0;
		status = pe_model_deserialize(&env, bytes, length, &again, &err);
	}
	memory.fail_at = 0;
	IS_INT(status, PE_OK, "reading survives each failing allocation");
	pe_model_free(again);
	free(damaged);
	pe_free(&env, bytes);
	pe_free(&env, twice);
	pe_model_free(model);
}

static void
test_memory(void)
{
	pe_options options;
	pe_model *model = NULL;
	pe_status status = PE_OUT_OF_MEMORY;
	long fail_at, leaks = 0;

	for (int robust = 0; robust < 2; robust++)
	{
		status = PE_OUT_OF_MEMORY;
		for (fail_at = 1; status == PE_OUT_OF_MEMORY; fail_at++)
		{
			pe_dataset *dataset = mixed(300);
			long live = memory.live;

			pe_options_init(&options, PE_ALGORITHM_KMEANS);
			options.threads = 2;
			options.starts = 2;
			options.max_clusters = 3;
			options.robust_scale = robust;
			memory.calls = 0;
			memory.fail_at = fail_at;
			status = pe_segment_train(&env, dataset, &options, &model, &err);
			memory.fail_at = 0;
			leaks += status == PE_OUT_OF_MEMORY && memory.live != live;
			pe_dataset_free(dataset);
		}
		OK(status == PE_OK && fail_at > 40, "training survives each of %ld failing allocations", fail_at - 1);
		pe_model_free(model);
	}
	IS_INT(leaks, 0, "and leaks nothing");
}

static int ticks_left;

static int
stop_later(void *ctx, const char *phase, uint64_t done, uint64_t total)
{
	return --ticks_left < 0;
}

static void
test_cancel(void)
{
	int cancelled = 0;
	pe_status status = PE_CANCELLED;

	for (int allowed = 0; status == PE_CANCELLED && allowed < 4000; allowed = allowed * 5 / 4 + 1)
	{
		pe_dataset *dataset = blobs(3, 20000);
		pe_env ticking = env;
		pe_options options;
		pe_model *model = NULL;
		long live = memory.live;

		pe_options_init(&options, PE_ALGORITHM_KMEANS);
		options.starts = 2;
		options.max_clusters = 4;
		ticking.tick = stop_later;
		ticks_left = allowed;
		status = pe_segment_train(&ticking, dataset, &options, &model, &err);
		cancelled += status == PE_CANCELLED && memory.live == live;
		pe_model_free(model);
		pe_dataset_free(dataset);
	}
	OK(cancelled > 0 && status == PE_OK, "stopped %d times without a leak", cancelled);
}

/* What is announced holds. */
typedef struct counting
{
	size_t now;
	size_t most;
} counting;

static void *
count_alloc(void *ctx, size_t size)
{
	counting *c = ctx;
	size_t *block = malloc(size + 16);

	*block = size;
	c->now += size;
	c->most = c->now > c->most ? c->now : c->most;
	return (char *) block + 16;
}

static void
count_free(void *ctx, void *ptr)
{
	if (ptr == NULL)
		return;
	((counting *) ctx)->now -= *(size_t *) ((char *) ptr - 16);
	free((char *) ptr - 16);
}

static void *
count_realloc(void *ctx, void *ptr, size_t size)
{
	void *copy = count_alloc(ctx, size);

	if (ptr != NULL)
	{
		size_t old = *(size_t *) ((char *) ptr - 16);

		memcpy(copy, ptr, old < size ? old : size);
		count_free(ctx, ptr);
	}
	return copy;
}

static void
test_announced(void)
{
	for (int rows = 2000; rows <= 200000; rows *= 10)
	{
		counting c = {0};
		pe_env counted = {.allocator = {count_alloc, count_realloc, count_free, &c}};
		pe_options options;
		pe_dataset *dataset;
		pe_model *model = NULL;
		size_t announced;

		pe_options_init(&options, PE_ALGORITHM_KMEANS);
		options.threads = 2;
		options.starts = 2;
		options.max_clusters = 4;
		options.robust_scale = true;
		announced = pe_training_memory(&options, DATA_FEATURES, true, rows);
		data_dataset(&counted, PE_ALGORITHM_KMEANS, PE_TASK_VALUE, rows, true, &dataset, &err);
		(void) pe_segment_train(&counted, dataset, &options, &model, &err);
		OK(model != NULL && c.most <= announced && announced < 4 * c.most + (16 << 20),
		   "%d rows: %zu of %zu bytes", rows, c.most, announced);
		pe_dataset_free(dataset);
		pe_model_free(model);
		IS_INT(c.now, 0, "and all is given back");
	}
}

int
main(void)
{
	env = tap_env(&memory);
	test_fixed();
	test_brute_force();
	test_blobs();
	test_weights();
	test_mixed("scale=standard");
	test_mixed("scale=robust");
	test_edges();
	test_robust();
	test_threads();
	test_measuring();
	test_artifact();
	test_memory();
	test_cancel();
	test_announced();
	IS_INT(memory.live, 0, "no block is left");
	return tap_done();
}
