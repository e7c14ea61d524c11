/*
 * The loops that training of trees spends its time in: columns in groups against columns
 * alone, rounded sums that never run over, sorting of rows, the leaves' rows, the logistic function.
 */
#include "model/trees/boost.h"
#include "model_data.h"

static pe_env env;
static tap_memory memory;
static pe_error err;

#define MOST_COLUMNS 64

/* A bin matrix as pe_bins_choose and pe_bins_fill would leave it, with the bins of each column beside it. */
typedef struct table
{
	pe_bins bins;
	uint8_t *plain; /* [column][rows] */
} table;

static void
make_table(table *t, const int *sizes, int n_columns, uint32_t rows, uint64_t *state)
{
	pe_bins *bins = &t->bins;

	memset(t, 0, sizeof(*t));
	bins->n_columns = n_columns;
	bins->rows = rows;
	bins->offsets = pe_calloc(&env, n_columns + 1, sizeof(uint32_t));
	bins->categorical = pe_calloc(&env, n_columns, sizeof(bool));
	for (int column = 0; column < n_columns; column++)
		bins->offsets[column + 1] = bins->offsets[column] + (uint32_t) sizes[column];
	pe_bins_group(&env, bins, &err);
	t->plain = pe_alloc(&env, (size_t) n_columns * rows);
	bins->matrix = pe_calloc(&env, rows, bins->stride);
	bins->turned = pe_calloc(&env, rows, (size_t) bins->n_groups);
	for (uint32_t row = 0; row < rows; row++)
		for (int column = 0; column < n_columns; column++)
		{
			/* Low bins more often, the last one never: it must not be needed. */
			int bin = (int) (data_uniform(state) * data_uniform(state) * (sizes[column] - 1));
			int group = bins->groups[column];

			t->plain[(size_t) column * rows + row] = (uint8_t) bin;
			bins->matrix[row * bins->stride + group] += (uint8_t) (bin * bins->steps[column]);
			bins->turned[(size_t) group * rows + row] += (uint8_t) (bin * bins->steps[column]);
		}
}

static void
free_table(table *t)
{
	pe_free(&env, t->plain);
	pe_bins_free(&env, &t->bins);
}

typedef struct grown
{
	pe_team *team;
	pe_options options;
	pe_model *model;
	pe_forest forest;
	pe_grower grower;
	pe_pair *pairs;
	uint32_t *rows;
} grown;

static void
make_grower(grown *g, const table *t, int threads, uint32_t capacity)
{
	uint32_t rows = (uint32_t) t->bins.rows;

	memset(g, 0, sizeof(*g));
	pe_options_init(&g->options, PE_ALGORITHM_BOOSTED_TREES);
	g->team = pe_team_create(&env, threads);
	g->model = pe_calloc(&env, 1, sizeof(*g->model));
	g->pairs = pe_calloc(&env, rows, sizeof(*g->pairs));
	g->rows = pe_calloc(&env, rows, sizeof(*g->rows));
	for (uint32_t row = 0; row < rows; row++)
		g->rows[row] = row;
	g->forest.model = g->model;
	g->grower = (pe_grower){.env = &env,
	                        .pool = g->team,
	                        .options = &g->options,
	                        .bins = &t->bins,
	                        .forest = &g->forest,
	                        .pairs = g->pairs,
	                        .capacity = capacity,
	                        .err = &err};
	IS_INT(pe_grower_create(&g->grower), PE_OK, "a grower on %d threads", threads);
	for (int column = 0; column < t->bins.n_columns; column++)
		g->grower.active[g->grower.n_active++] = column;
}

static void
free_grower(grown *g)
{
	pe_grower_free(&g->grower);
	pe_team_free(g->team);
	pe_free(&env, g->model);
	pe_free(&env, g->pairs);
	pe_free(&env, g->rows);
}

/* Groups hold each column once, and a code says the bins of all of them. */
static void
groups(void)
{
	uint64_t state = 5;
	int sizes[MOST_COLUMNS], wrong = 0, most = 0;
	table t;

	for (int column = 0; column < MOST_COLUMNS; column++)
		sizes[column] =
		    column % 4 == 0 ? 256 : 2 + (int) (data_uniform(&state) * (column % 4 == 1 ? 200 : 12));
	make_table(&t, sizes, MOST_COLUMNS, 500, &state);
	for (int group = 0; group < t.bins.n_groups; group++)
	{
		int codes = 1;

		for (int i = t.bins.member_begin[group]; i < t.bins.member_begin[group + 1]; i++)
		{
			wrong += t.bins.groups[t.bins.members[i]] != group;
			codes *= sizes[t.bins.members[i]];
		}
		wrong += codes != t.bins.group_codes[group];
		most = codes > most ? codes : most;
	}
	for (int column = 0; column < MOST_COLUMNS; column++)
		for (uint32_t row = 0; row < 500; row++)
			wrong += pe_bins_at(&t.bins, t.bins.matrix + row * t.bins.stride, column) !=
			         t.plain[(size_t) column * 500 + row];
	IS_INT(wrong, 0, "every column in one group, every bin read back from its code");
	OK(most <= 256 && t.bins.n_groups < MOST_COLUMNS * 2 / 3, "%d columns in %d groups of at most %d codes",
	   MOST_COLUMNS, t.bins.n_groups, most);
	free_table(&t);
}

/* The cells of every column against sums row by row: exact ones, rounded ones within the rounding. */
static void
sums(int threads, bool rounded, bool extreme)
{
	static const int sizes[] = {256, 3, 200, 4, 2, 17, 9, 30, 6, 5, 255, 2, 2, 128, 12, 8, 21, 40, 7, 3};
	enum
	{
		COLUMNS = sizeof(sizes) / sizeof(*sizes),
		ROWS = 150000
	};
	uint64_t state = 11;
	table t;
	grown g;
	pe_cell *cells, *expected;
	double worst = 0;
	int wrong = 0;
	uint32_t n_cells;

	make_table(&t, sizes, COLUMNS, ROWS, &state);
	make_grower(&g, &t, threads, rounded ? ROWS : 1);
	n_cells = t.bins.offsets[COLUMNS];
	cells = pe_calloc(&env, n_cells, sizeof(*cells));
	expected = pe_calloc(&env, n_cells, sizeof(*expected));
	for (uint32_t row = 0; row < ROWS; row++)
	{
		/* As large as they can be, all of one sign: nothing may run over. */
		g.pairs[row].g = extreme ? -(1 << 30) : (int32_t) ((data_uniform(&state) - 0.4) * (1 << 30));
		g.pairs[row].h = extreme ? 1 << 30 : 40000 + (int32_t) (data_uniform(&state) * 1000000);
		for (int column = 0; column < COLUMNS; column++)
		{
			pe_cell *cell = &expected[t.bins.offsets[column] + t.plain[(size_t) column * ROWS + row]];

			cell->g += g.pairs[row].g;
			cell->h += g.pairs[row].h;
		}
	}
	/* The capacity decides whether anything is rounded; the entries need room for all rows. */
	pe_free(&env, g.grower.entries);
	g.grower.entries = pe_calloc(&env, ROWS, sizeof(pe_entry));
	OK(pe_grower_sum(&g.grower, g.rows, ROWS, cells), "sums on %d threads", threads);
	for (uint32_t i = 0; i < n_cells; i++)
	{
		double off_g = fabs((double) (cells[i].g - expected[i].g)),
		       off_h = fabs((double) (cells[i].h - expected[i].h));

		wrong += (cells[i].h > 0) != (expected[i].h > 0);
		worst = fmax(worst, fmax(off_g, off_h) / ((1 << PE_ENTRY_SHIFT) * sqrt(ROWS)));
		wrong += !rounded && (off_g != 0 || off_h != 0);
		wrong += extreme && (off_g != 0 || off_h != 0);
	}
	IS_INT(wrong, 0, "%s gradients, %s", extreme ? "the largest" : "ordinary", rounded ? "rounded" : "exact");
	/* A row is off by half a unit on the average: 150,000 of them by about 0.5 * sqrt(150,000). */
	OK(worst < 2.5, "rounding evens out: %.2f units for the root of the rows", worst);
	pe_free(&env, cells);
	pe_free(&env, expected);
	free_grower(&g);
	free_table(&t);
}

/* Rows scattered over leaves, as a tree leaves them: each finds its leaf, sums are exact, values arrive. */
static void
leaves(int threads, int n_leaves)
{
	enum
	{
		ROWS = 30000
	};
	uint64_t state = 11;
	int size = 7, wrong = 0;
	uint32_t *owners, begin = 0;
	pe_cell *sums;
	double *margins;
	table t;
	grown g;

	make_table(&t, &size, 1, ROWS, &state);
	make_grower(&g, &t, threads, ROWS);
	pe_leaves_free(&g.grower);
	g.grower.places = NULL;
	g.options.max_leaves = n_leaves;
	IS_INT(pe_leaves_create(&g.grower), PE_OK, "room for %d leaves", n_leaves);
	owners = pe_calloc(&env, ROWS, sizeof(*owners));
	sums = pe_calloc(&env, (size_t) n_leaves, sizeof(*sums));
	margins = pe_calloc(&env, ROWS, sizeof(*margins));
	g.model->values = pe_calloc(&env, (size_t) n_leaves, sizeof(double));
	g.grower.closed = pe_calloc(&env, (size_t) n_leaves, sizeof(pe_leaf));
	g.grower.n_closed = g.grower.closed_capacity = (uint32_t) n_leaves;
	for (uint32_t row = 0; row < ROWS; row++)
	{
		owners[row] = (uint32_t) (data_uniform(&state) * n_leaves);
		g.pairs[row] = (pe_pair){(int32_t) ((data_uniform(&state) - 0.5) * (1 << 30)), 1 + (int32_t) row};
		sums[owners[row]].g += g.pairs[row].g;
		sums[owners[row]].h += g.pairs[row].h;
	}
	for (int leaf = 0; leaf < n_leaves; leaf++)
	{
		uint32_t end = begin;

		for (uint32_t row = 0; row < ROWS; row++)
			if (owners[row] == (uint32_t) leaf)
				g.grower.entries[end++] = row;
		g.model->values[leaf] = leaf + 0.5;
		/* Leaves are closed in any order. */
		g.grower.closed[(leaf * 7 + 3) % n_leaves] =
		    (pe_leaf){.begin = begin, .count = end - begin, .node = (uint32_t) leaf};
		begin = end;
	}
	IS_INT(pe_leaves_settle(&g.grower, g.rows, ROWS), PE_OK, "settled on %d threads", threads);
	for (int i = 0; i < n_leaves; i++)
		wrong += g.grower.closed[i].sum.g != sums[g.grower.closed[i].node].g ||
		         g.grower.closed[i].sum.h != sums[g.grower.closed[i].node].h;
	IS_INT(wrong, 0, "exact sums of %d leaves", n_leaves);
	OK(pe_leaves_add_values(&g.grower, g.rows, ROWS, margins), "values are added");
	for (uint32_t row = 0; row < ROWS; row++)
		wrong += margins[row] != owners[row] + 0.5;
	IS_INT(wrong, 0, "each row has its leaf's value");
	pe_free(&env, owners);
	pe_free(&env, sums);
	pe_free(&env, margins);
	pe_free(&env, g.model->values);
	free_grower(&g);
	free_table(&t);
}

static void
sigmoids(void)
{
	enum
	{
		N = 4000
	};
	static double margins[N], plain[N], best[N];
	double worst = 0;

	for (int i = 0; i < N; i++)
		margins[i] = (i - N / 2) * (i % 2 == 0 ? 0.5 : 0.01);
	margins[0] = -INFINITY;
	margins[1] = INFINITY;
	pe_sigmoids_plain(margins, plain, N);
	pe_sigmoids(margins, best, N);
	OK(memcmp(plain, best, sizeof(plain)) == 0, "the same bits with and without wide registers");
	for (int i = 0; i < N; i++)
		worst = fmax(worst, fabs(plain[i] - pe_sigmoid(margins[i])));
	OK(worst < 1e-14, "as the library has it, within %g", worst);
}

/* On either side of the number of rows from which sums are rounded, whatever is sampled. */
static void
rounding_costs_nothing(const char *first, const char *second)
{
	double auc[2];

	for (int rounded = 0; rounded < 2; rounded++)
	{
		pe_evaluation e;
		pe_model *model;
		int rows = PE_EXACT_ROWS * 5 / 4 + (rounded ? 1500 : -1500);

		if (data_train(&env, PE_ALGORITHM_BOOSTED_TREES, PE_TASK_PROPENSITY, rows, false,
		               SETTINGS("trees=20", "threads=2", first, second), &model, &e, &err) != PE_OK)
			printf("# %s\n", err.message);
		OK(model != NULL && (e.training_rows > PE_EXACT_ROWS) == rounded, "%lld rows, %s, %s",
		   (long long) e.training_rows, first, second);
		auc[rounded] = e.auc;
		pe_model_free(model);
	}
	OK(fabs(auc[0] - auc[1]) < 0.003, "auc %.4f exact, %.4f rounded", auc[0], auc[1]);
}

/* The same artifact on any number of threads, with rows enough that they are rounded and shared. */
static void
same_bytes(const char *first, const char *second)
{
	uint64_t hashes[3] = {0};

	for (int threads = 1; threads <= 3; threads++)
	{
		char setting[16];
		uint8_t *bytes = NULL;
		size_t length = 0;
		pe_evaluation e;
		pe_model *model;

		snprintf(setting, sizeof(setting), "threads=%d", threads);
		if (data_train(&env, PE_ALGORITHM_BOOSTED_TREES, PE_TASK_PROPENSITY, 120000, true,
		               SETTINGS(setting, "trees=4", first, second), &model, &e, &err) == PE_OK &&
		    pe_model_serialize(&env, model, &bytes, &length, &err) == PE_OK)
			hashes[threads - 1] = pe_hash_bytes(bytes, length, 0);
		pe_free(&env, bytes);
		pe_model_free(model);
	}
	OK(hashes[0] != 0 && hashes[0] == hashes[1] && hashes[0] == hashes[2],
	   "the same bytes on 1, 2 and 3 threads: %s, %s", first, second);
}

/* The evaluation's margins come from bins, tables or node by node; predictions from the rows' values. */
static void
walks(const char *first, const char *second)
{
	enum
	{
		ROWS = 12000,
		F = 6
	};
	static double x[ROWS][F], y[ROWS], predictions[ROWS], targets[ROWS];
	pe_feature_spec specs[F];
	static const char *const names[F] = {"a", "b", "c", "d", "e", "f"};
	uint64_t state = 21;
	pe_dataset *dataset;
	pe_options options;
	pe_evaluation e, again;
	pe_model *model = NULL;
	size_t n = 0;

	for (int f = 0; f < F; f++)
		specs[f] = (pe_feature_spec){names[f], NULL, PE_FEATURE_NUMERIC};
	pe_options_init(&options, PE_ALGORITHM_BOOSTED_TREES);
	options.trees = 15;
	for (int i = 0; i < 2; i++)
	{
		char name[64];
		const char *setting = i == 0 ? first : second, *equals = strchr(setting, '=');

		snprintf(name, sizeof(name), "%.*s", (int) (equals - setting), setting);
		IS_INT(pe_options_set(&options, name, equals + 1, &err), PE_OK, "%s", setting);
	}
	pe_dataset_create(&env, PE_ALGORITHM_BOOSTED_TREES, specs, F, false, &dataset, &err);
	for (int i = 0; i < ROWS; i++)
	{
		for (int f = 0; f < F; f++)
			x[i][f] = data_uniform(&state) < 0.1 ? NAN : floor(data_uniform(&state) * (f < 4 ? 5 : 400));
		y[i] = data_uniform(&state) < 1 / (1 + exp(2 - (x[i][0] > 2) - (x[i][5] > 250) * 2));
		pe_dataset_append(dataset, x[i], y[i], 1, data_key(i), &err);
	}
	pe_train(&env, dataset, PE_TASK_PROPENSITY, &options, &model, &e, &err);
	pe_dataset_free(dataset);
	if (!OK(model != NULL, "%s, %s", first, second))
		return;
	for (int i = 0; i < ROWS; i++)
		if (pe_draw(data_key(i), options.seed, PE_DRAW_HOLDOUT) < options.holdout)
		{
			predictions[n] = pe_model_predict(model, x[i]);
			targets[n++] = y[i];
		}
	IS_INT(pe_evaluate(&env, PE_TASK_PROPENSITY, predictions, targets, NULL, n, &again, &err), PE_OK,
	       "%zu rows", n);
	OK(e.rows == (int64_t) n && fabs(e.log_loss - again.log_loss) < 1e-12, "log loss %.12f and %.12f",
	   e.log_loss, again.log_loss);
	pe_model_free(model);
}

int
main(void)
{
	env = tap_env(&memory);
	groups();
	for (int threads = 1; threads <= 3; threads++)
	{
		sums(threads, false, false);
		sums(threads, true, false);
		sums(threads, true, true);
	}
	leaves(1, 31);
	leaves(3, 256);
	leaves(2, 300);
	sigmoids();
	walks("max_depth=6", "seed=1");
	walks("max_depth=24", "min_child_weight=0.01");
	walks("max_leaves=50", "row_sample=0.5");
	walks("early_stopping=3", "row_sample=0.7");
	rounding_costs_nothing("max_depth=6", "row_sample=1");
	rounding_costs_nothing("row_sample=0.5", "seed=3");
	rounding_costs_nothing("column_sample=0.5", "row_sample=0.7");
	rounding_costs_nothing("goss=true", "seed=4");
	same_bytes("max_depth=6", "seed=1");
	same_bytes("max_leaves=40", "column_sample=0.6");
	same_bytes("row_sample=0.6", "early_stopping=2");
	IS_INT(memory.live, 0, "no block is left");
	return tap_done();
}
