/*
 * What users are recommended: ALS against its equations solved densely, similarities
 * against their definitions, the evaluation against a slow one, the artifact, threads,
 * memory and cancelling.
 */
#include "model/recommend/internal.h"
#include "tap.h"

#define USERS 60
#define ITEMS 25

/* Who took what, as a table: strengths, 0 for not taken. */
typedef struct table
{
	double strength[USERS][ITEMS];
	double time[USERS][ITEMS];
} table;

static uint64_t state = 1;

static double
uniform(void)
{
	state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (double) (state >> 11) * 0x1p-53;
}

/* Two groups of users who like two groups of items, and everybody some of the popular ones. */
static void
fill(table *t, bool weights)
{
	state = 7;
	memset(t, 0, sizeof(*t));
	for (int u = 0; u < USERS; u++)
		for (int i = 0; i < ITEMS; i++)
		{
			double chance = i < 3 ? 0.6 : (i % 2 == u % 2 ? 0.5 : 0.05);

			t->time[u][i] = floor(uniform() * 300);
			if (uniform() < chance)
				t->strength[u][i] = weights ? 0.5 + floor(uniform() * 8) / 2 : 1;
		}
}

static const char *
name_of(const char *prefix, int number)
{
	static char names[4][32];
	static int next = 0;

	next = (next + 1) % 4;
	/* Numbers with leading zeros: byte order is their order. */
	snprintf(names[next], sizeof(names[next]), "%s%03d", prefix, number);
	return names[next];
}

static pe_status
add_all(const pe_env *env, const table *t, bool weights, pe_interactions **interactions, pe_error *err)
{
	pe_status status = pe_interactions_create(env, true, weights, interactions, err);

	/* Backwards: numbers must follow the texts, not the rows. */
	for (int u = USERS - 1; u >= 0 && status == PE_OK; u--)
		for (int i = ITEMS - 1; i >= 0 && status == PE_OK; i--)
		{
			const char *user = name_of("u", u), *item = name_of("i", i);

			if (t->strength[u][i] > 0)
				status = pe_interactions_add(*interactions, user, strlen(user), item, strlen(item),
				                             t->time[u][i], t->strength[u][i], err);
		}
	return status;
}

static pe_recommender *
train(const pe_env *env, const table *t, bool weights, const pe_recommend_options *options,
      pe_recommend_evaluation *evaluation)
{
	pe_interactions *interactions;
	pe_recommender *recommender = NULL;
	pe_recommend_evaluation ignored;
	pe_error err;

	if (add_all(env, t, weights, &interactions, &err) != PE_OK ||
	    pe_recommend_train(env, interactions, options, &recommender,
	                       evaluation != NULL ? evaluation : &ignored, &err) != PE_OK)
		printf("# %s\n", err.message);
	pe_interactions_free(interactions);
	return recommender;
}

/* ---- ALS ------------------------------------------------------------------------------- */

/* Gauss with pivots, n at most PE_MAX_FACTORS. */
static void
solve(double *a, double *b, int n)
{
	for (int k = 0; k < n; k++)
	{
		int pivot = k;

		for (int i = k + 1; i < n; i++)
			if (fabs(a[i * n + k]) > fabs(a[pivot * n + k]))
				pivot = i;
		for (int j = 0; j < n && pivot != k; j++)
		{
			double swap = a[k * n + j];

			a[k * n + j] = a[pivot * n + j];
			a[pivot * n + j] = swap;
		}
		if (pivot != k)
		{
			double swap = b[k];

			b[k] = b[pivot];
			b[pivot] = swap;
		}
		for (int i = k + 1; i < n; i++)
		{
			double factor = a[i * n + k] / a[k * n + k];

			for (int j = k; j < n; j++)
				a[i * n + j] -= factor * a[k * n + j];
			b[i] -= factor * b[k];
		}
	}
	for (int k = n - 1; k >= 0; k--)
	{
		for (int j = k + 1; j < n; j++)
			b[k] -= a[k * n + j] * b[j];
		b[k] /= a[k * n + k];
	}
}

/* The dense normal equations of one user: all items, taken or not. */
static void
dense_user(const table *t, int u, const float *items, int width, int factors, double alpha, double lambda,
           double *x)
{
	double *a = calloc((size_t) factors * factors, sizeof(double));

	memset(x, 0, factors * sizeof(double));
	for (int i = 0; i < factors; i++)
		a[i * factors + i] = lambda;
	for (int item = 0; item < ITEMS; item++)
	{
		const float *y = items + (size_t) item * width;
		double c = 1 + alpha * t->strength[u][item];

		for (int i = 0; i < factors; i++)
		{
			for (int j = 0; j < factors; j++)
				a[i * factors + j] += c * y[i] * y[j];
			if (t->strength[u][item] > 0)
				x[i] += c * y[i];
		}
	}
	solve(a, x, factors);
	free(a);
}

static double
dense_objective(const table *t, const float *users, const float *items, int width, double alpha,
                double lambda)
{
	double sum = 0;

	for (int u = 0; u < USERS; u++)
		for (int i = 0; i < ITEMS; i++)
		{
			double s = 0, p = t->strength[u][i] > 0;

			for (int k = 0; k < width; k++)
				s += (double) users[u * width + k] * items[i * width + k];
			sum += (1 + alpha * t->strength[u][i]) * (p - s) * (p - s);
		}
	for (int k = 0; k < USERS * width; k++)
		sum += lambda * users[k] * users[k];
	for (int k = 0; k < ITEMS * width; k++)
		sum += lambda * items[k] * items[k];
	return sum;
}

static void
matrices(const pe_env *env, const table *t, pe_history *history, pe_sparse *by_item)
{
	pe_interactions *interactions;
	pe_recommend_options options;
	pe_error err;

	pe_recommend_options_init(&options, PE_RECOMMEND_ALS);
	if (add_all(env, t, true, &interactions, &err) != PE_OK ||
	    pe_history_create(env, interactions, &options, history, &err) != PE_OK ||
	    pe_sparse_transpose(env, &history->taken, by_item, &err) != PE_OK)
		abort();
	pe_interactions_free(interactions);
}

static void
test_history(const pe_env *env)
{
	table t;
	pe_history history;
	pe_sparse by_item;
	int wrong = 0, cells = 0;

	fill(&t, true);
	matrices(env, &t, &history, &by_item);
	for (uint32_t u = 0; u < history.taken.rows; u++)
		for (uint32_t c = history.taken.starts[u]; c < history.taken.starts[u + 1]; c++, cells++)
		{
			uint32_t i = history.taken.columns[c];

			wrong += history.taken.values[c] != (float) t.strength[u][i] || history.first[c] != t.time[u][i];
		}
	for (uint32_t i = 0; i < by_item.rows; i++)
		for (uint32_t c = by_item.starts[i]; c < by_item.starts[i + 1]; c++, cells--)
			wrong += by_item.values[c] != (float) t.strength[by_item.columns[c]][i];
	IS_INT(wrong, 0, "every cell of the history is what was added");
	IS_INT(cells, 0, "the transpose has as many");
	IS_INT(pe_texts_find(&history.users, "u031", 4), 31, "a user is found by its text");
	IS_INT(pe_texts_find(&history.users, "u31", 3), -1, "one that was never there is not");
	pe_history_free(env, &history);
	pe_sparse_free(env, &by_item);
}

/* Rows of one user and item add up, or the strongest counts; half-lives count from the last row of all. */
static void
test_strengths(const pe_env *env)
{
	static const struct
	{
		pe_repeats repeats;
		double half_life;
		double want;
	} cases[] = {
	    {PE_REPEATS_SUM, 0, 6},     {PE_REPEATS_ONCE, 0, 4},
	    {PE_REPEATS_AUTO, 0, 6},    {PE_REPEATS_SUM, 10, 2 * 0.25 + 4 * 0.5},
	    {PE_REPEATS_AUTO, 10, 2.5}, {PE_REPEATS_ONCE, 10, 2},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		pe_interactions *interactions;
		pe_recommend_options options;
		pe_history history;
		pe_error err;

		pe_recommend_options_init(&options, PE_RECOMMEND_ITEM_ITEM);
		options.repeats = cases[i].repeats;
		options.half_life = cases[i].half_life;
		if (pe_interactions_create(env, true, true, &interactions, &err) != PE_OK ||
		    pe_interactions_add(interactions, "a", 1, "x", 1, 80, 2, &err) != PE_OK ||
		    pe_interactions_add(interactions, "a", 1, "y", 1, 100, 1, &err) != PE_OK ||
		    pe_interactions_add(interactions, "a", 1, "x", 1, 90, 4, &err) != PE_OK ||
		    pe_history_create(env, interactions, &options, &history, &err) != PE_OK)
			abort();
		IS_NEAR(history.taken.values[0], cases[i].want, 1e-6, "strength %zu", i);
		IS_NEAR(history.first[0], 80, 0, "first seen");
		pe_history_free(env, &history);
		pe_interactions_free(interactions);
	}
}

static void
test_als(const pe_env *env)
{
	static const pe_als_solver solvers[] = {PE_SOLVER_CG, PE_SOLVER_CHOLESKY};
	table t;
	pe_history history;
	pe_sparse by_item;
	pe_team *team = pe_team_create(env, 2);
	pe_error err;
	double final[2];

	fill(&t, true);
	matrices(env, &t, &history, &by_item);
	for (int s = 0; s < 2; s++)
	{
		pe_recommend_options options;
		float factors[ITEMS * 32];
		double losses[40];
		int rises = 0;

		pe_recommend_options_init(&options, PE_RECOMMEND_ALS);
		options.factors = 7;
		options.iterations = 40;
		options.regularization = 0.5;
		options.alpha = 2;
		options.solver = solvers[s];
		IS_INT(pe_als_fit(env, team, &history.taken, &by_item, &options, pe_recommend_kernels(), factors,
		                  &final[s], losses, &err),
		       PE_OK, "ALS is fitted by %s", s == 0 ? "conjugate gradients" : "Cholesky");
		for (int i = 1; i < 40; i++)
			rises += losses[i] > losses[i - 1] * (1 + 1e-6);
		IS_INT(rises, 0, "the objective falls with every sweep");
		OK(losses[39] < 0.9 * losses[0], "and by much: %.1f to %.1f", losses[0], losses[39]);
	}
	IS_NEAR(final[0] / final[1], 1, 0.02, "both solvers arrive at the same objective");
	pe_team_free(team);
	pe_history_free(env, &history);
	pe_sparse_free(env, &by_item);
}

/* One half of a sweep against the dense normal equations, for both solvers and both kernels. */
static void
test_normal_equations(const pe_env *env)
{
	table t;
	pe_history history;
	pe_sparse by_item;
	pe_team *team = pe_team_create(env, 1);
	pe_error err;
	int factors = 9, width = pe_width(9);
	float items[ITEMS * 32], users[USERS * 32];
	double gram[32 * 32], parts[2 * 32 * 32], scratch[33 * 32], objective;
	float gram_floats[32 * 32];
	double worst[2] = {0, 0};

	fill(&t, true);
	matrices(env, &t, &history, &by_item);
	memset(items, 0, sizeof(items));
	for (int i = 0; i < ITEMS; i++)
		for (int k = 0; k < factors; k++)
			items[i * width + k] = (float) (uniform() - 0.5);
	OK(pe_gramian(team, pe_recommend_kernels(), items, ITEMS, width, factors, 0.3, parts, gram), "Gramian");
	for (int i = 0; i < width * width; i++)
		gram_floats[i] = (float) gram[i];
	for (int u = 0; u < USERS; u++)
	{
		uint32_t start = history.taken.starts[u];
		pe_row_problem problem = {items,
		                          width,
		                          history.taken.columns + start,
		                          history.taken.values + start,
		                          history.taken.starts[u + 1] - start,
		                          2,
		                          NULL,
		                          0};
		double want[16];
		float exact[32], steps[32] = {0};

		dense_user(&t, u, items, width, factors, 2, 0.3, want);
		if (!pe_recommend_kernels()->exact(&problem, gram, factors, scratch, exact))
			abort();
		pe_recommend_kernels()->conjugate(&problem, gram_floats, 30, steps);
		for (int k = 0; k < factors; k++)
		{
			worst[0] = fmax(worst[0], fabs(exact[k] - want[k]));
			worst[1] = fmax(worst[1], fabs(steps[k] - want[k]));
		}
		memcpy(users + u * width, exact, width * sizeof(float));
	}
	OK(worst[0] < 1e-6, "Cholesky solves the dense normal equations: off by %g", worst[0]);
	OK(worst[1] < 1e-4, "conjugate gradients too, in floats: off by %g", worst[1]);
	IS_INT(pe_als_objective(env, team, &history.taken, users, items, width, 2, 0.3, &objective, &err), PE_OK,
	       "objective");
	IS_NEAR(objective / dense_objective(&t, users, items, width, 2, 0.3), 1, 1e-6,
	        "the objective is that of all users and items");
	pe_team_free(team);
	pe_history_free(env, &history);
	pe_sparse_free(env, &by_item);
}

/* A CPU without AVX2 gets the same bits. */
static void
test_kernels(void)
{
	const pe_kernels *fast = pe_recommend_kernels(), *plain = pe_recommend_plain_kernels();

	for (int width = 32; width <= 96; width += 32)
	{
		static float rows[203 * 96], x[96], a[203], b[203], xa[96], xb[96], gram_floats[96 * 96];
		static double ga[96 * 96], gb[96 * 96], sa[97 * 96], sb[97 * 96];
		uint32_t columns[] = {3, 5, 8, 13, 21, 34, 55, 89, 144};
		float values[] = {1, 2, 0.5f, 3, 1, 1, 7, 1, 2};
		pe_row_problem problem = {rows, width, columns, values, 9, 1.5f, NULL, 0};

		for (int i = 0; i < 203 * width; i++)
			rows[i] = (float) (uniform() - 0.5);
		for (int i = 0; i < width; i++)
			x[i] = (float) (uniform() - 0.5);
		fast->dots(x, rows, 203, width, a);
		plain->dots(x, rows, 203, width, b);
		OK(memcmp(a, b, sizeof(a)) == 0, "dot products are the same bits, width %d", width);
		memset(ga, 0, sizeof(ga));
		memset(gb, 0, sizeof(gb));
		fast->gram(rows, 203, width, ga);
		plain->gram(rows, 203, width, gb);
		OK(memcmp(ga, gb, sizeof(ga)) == 0, "Gramians too");
		for (int i = 0; i < width; i++)
			for (int j = 0; j < width; j++)
			{
				double cell = ga[i < j ? i * width + j : j * width + i] + (i == j);

				gb[i * width + j] = cell;
				gram_floats[i * width + j] = (float) cell;
			}
		memcpy(xa, x, sizeof(x));
		memcpy(xb, x, sizeof(x));
		fast->conjugate(&problem, gram_floats, 3, xa);
		plain->conjugate(&problem, gram_floats, 3, xb);
		OK(memcmp(xa, xb, width * sizeof(float)) == 0, "conjugate gradients too");
		OK(fast->exact(&problem, gb, width, sa, xa) && plain->exact(&problem, gb, width, sb, xb) &&
		       memcmp(xa, xb, width * sizeof(float)) == 0,
		   "exact solutions too");
	}
}

/* ---- item_item ------------------------------------------------------------------------- */

static double
defined(pe_similarity similarity, double both, double one, double other, double users)
{
	double lift = both / one / other;

	switch (similarity)
	{
		case PE_SIMILARITY_COSINE:
			return both / sqrt(one) / sqrt(other);
		case PE_SIMILARITY_JACCARD:
			return both / (one + other - both);
		case PE_SIMILARITY_COUNT:
			return both;
		case PE_SIMILARITY_LIFT:
			return lift;
		case PE_SIMILARITY_MUTUAL_INFORMATION:
			return log(lift * users) / log(2);
		case PE_SIMILARITY_LEXICOGRAPHERS:
			return both * log(lift * users) / log(2);
		case PE_SIMILARITY_INCLUSION:
			return both / (one < other ? one : other);
	}
	return NAN;
}

static void
test_similarities(const pe_env *env)
{
	table t;
	double both[ITEMS][ITEMS];

	fill(&t, true);
	for (int i = 0; i < ITEMS; i++)
		for (int j = 0; j < ITEMS; j++)
		{
			both[i][j] = 0;
			for (int u = 0; u < USERS; u++)
				both[i][j] += t.strength[u][i] > 0 && t.strength[u][j] > 0;
		}
	for (int s = PE_SIMILARITY_COSINE; s <= PE_SIMILARITY_INCLUSION; s++)
	{
		pe_recommend_options options;
		pe_recommender *recommender;
		pe_recommendation list[ITEMS];
		int64_t users[USERS];
		int count, wrong = 0, misplaced = 0;
		pe_error err;

		pe_recommend_options_init(&options, PE_RECOMMEND_ITEM_ITEM);
		options.similarity = (pe_similarity) s;
		options.neighbours = 0;
		options.holdout = 0;
		recommender = train(env, &t, true, &options, NULL);
		for (int i = 0; i < ITEMS; i++)
		{
			if (pe_recommender_similar(env, recommender, i, ITEMS, list, &count, &err) != PE_OK)
				abort();
			for (int n = 0; n < count; n++)
			{
				int j = (int) list[n].item;
				double want = defined((pe_similarity) s, both[i][j], both[i][i], both[j][j], USERS);

				wrong += fabs(list[n].score - want) > 1e-5 * fmax(1, fabs(want)) || j == i;
				misplaced += n > 0 && list[n].score > list[n - 1].score;
			}
		}
		IS_INT(wrong, 0, "%s is what its definition says", pe_similarity_name((pe_similarity) s));
		IS_INT(misplaced, 0, "and the nearest come first");
		/* What users get: sums over their own items, none of these. */
		wrong = misplaced = 0;
		for (int u = 0; u < USERS; u++)
		{
			users[u] = u;
			if (pe_recommender_recommend(env, recommender, users + u, 1, 10, 1, list, &count, &err) != PE_OK)
				abort();
			for (int n = 0; n < count; n++)
			{
				double want = 0;

				for (int j = 0; j < ITEMS; j++)
					if (t.strength[u][j] > 0 && both[list[n].item][j] > 0)
						want += (float) t.strength[u][j] *
						        (float) defined((pe_similarity) s, both[list[n].item][j],
						                        both[list[n].item][list[n].item], both[j][j], USERS);
				wrong += !list[n].by_popularity && fabs(list[n].score - want) > 1e-4 * fmax(1, fabs(want));
				misplaced += t.strength[u][list[n].item] > 0;
			}
		}
		IS_INT(wrong, 0, "scores are sums of strengths and similarities");
		IS_INT(misplaced, 0, "nothing that the user took is recommended");
		pe_recommender_free(recommender);
	}
}

static int
by_falling(const void *a, const void *b)
{
	return (*(const double *) a < *(const double *) b) - (*(const double *) a > *(const double *) b);
}

static void
test_neighbours(const pe_env *env)
{
	table t;
	pe_recommend_options options;
	pe_recommender *all, *some;
	pe_error err;
	int wrong = 0;

	fill(&t, false);
	pe_recommend_options_init(&options, PE_RECOMMEND_ITEM_ITEM);
	options.holdout = 0;
	options.neighbours = 0;
	all = train(env, &t, false, &options, NULL);
	options.neighbours = 4;
	some = train(env, &t, false, &options, NULL);
	for (int i = 0; i < ITEMS; i++)
	{
		pe_recommendation a[ITEMS], b[ITEMS];
		int count_all, count_some;
		double scores[ITEMS];

		if (pe_recommender_similar(env, all, i, ITEMS, a, &count_all, &err) != PE_OK ||
		    pe_recommender_similar(env, some, i, ITEMS, b, &count_some, &err) != PE_OK)
			abort();
		for (int n = 0; n < count_all; n++)
			scores[n] = a[n].score;
		qsort(scores, count_all, sizeof(double), by_falling);
		wrong += count_some != (count_all < 4 ? count_all : 4);
		for (int n = 0; n < count_some; n++)
			wrong += b[n].score != scores[n] || b[n].item != a[n].item;
	}
	IS_INT(wrong, 0, "the 4 nearest neighbours are kept, of equal ones the first");
	pe_recommender_free(all);
	pe_recommender_free(some);
}

/* ---- recommending ---------------------------------------------------------------------- */

static void
test_popularity(const pe_env *env)
{
	table t;
	pe_recommend_options options;
	pe_recommend_evaluation evaluation;
	pe_recommender *recommender;
	pe_recommendation list[40];
	int64_t users[] = {-1, 3};
	int counts[2], taken = 0;
	pe_error err;
	bool ordered = true;

	fill(&t, false);
	pe_recommend_options_init(&options, PE_RECOMMEND_POPULARITY);
	recommender = train(env, &t, false, &options, &evaluation);
	IS_INT(pe_recommender_recommend(env, recommender, users, 2, 20, 1, list, counts, &err), PE_OK,
	       "popular items");
	IS_INT(counts[0], 20, "a user nobody knows gets as many as asked for");
	for (int i = 0; i < 20; i++)
	{
		double users_of = 0;

		for (int u = 0; u < USERS; u++)
			users_of += t.strength[u][list[i].item] > 0;
		ordered = ordered && list[i].score == users_of && list[i].by_popularity &&
		          (i == 0 || list[i].score <= list[i - 1].score);
	}
	OK(ordered, "scores are numbers of users, falling");
	for (int i = 0; i < ITEMS; i++)
		taken += t.strength[3][i] > 0;
	IS_INT(counts[1], ITEMS - taken < 20 ? ITEMS - taken : 20, "a known user gets what is left");
	IS_INT(pe_recommender_similar(env, recommender, 0, 3, list, counts, &err), PE_UNSUPPORTED,
	       "popularity knows no similar items");
	IS_INT(pe_recommender_recommend(env, recommender, users, 2, 0, 1, list, counts, &err), PE_LIMIT,
	       "none at all is refused");
	pe_recommender_free(recommender);
}

/* A slow evaluation of popularity by the definitions. */
static void
test_evaluation(const pe_env *env)
{
	table t;
	pe_recommend_options options;
	pe_recommend_evaluation evaluation;
	bool held[USERS][ITEMS] = {{false}};
	int popularity[ITEMS] = {0}, scored = 0, tests = 0, pairs = 0;
	double recall = 0, ndcg = 0, precision = 0, map = 0;
	bool covered[ITEMS] = {false};
	int n_covered = 0;

	fill(&t, false);
	for (int u = 0; u < USERS; u++)
	{
		int n = 0, test;

		for (int i = 0; i < ITEMS; i++)
			n += t.strength[u][i] > 0;
		pairs += n;
		test = n >= 5 ? (int) ceil(0.2 * n - 1e-9) : 0;
		for (; test > 0; test--)
		{
			int last = -1;

			for (int i = 0; i < ITEMS; i++)
				if (t.strength[u][i] > 0 && !held[u][i] && (last < 0 || t.time[u][i] >= t.time[u][last]))
					last = i;
			held[u][last] = true;
			tests++;
		}
		for (int i = 0; i < ITEMS; i++)
			popularity[i] += t.strength[u][i] > 0 && !held[u][i];
	}
	for (int u = 0; u < USERS; u++)
	{
		bool used[ITEMS] = {false};
		int n = 0, hits = 0;
		double gain = 0, ideal = 0, precisions = 0;

		for (int i = 0; i < ITEMS; i++)
			n += held[u][i];
		if (n == 0)
			continue;
		scored++;
		for (int rank = 1; rank <= 10; rank++)
		{
			int best = -1;

			for (int i = 0; i < ITEMS; i++)
				if (!used[i] && popularity[i] > 0 && (t.strength[u][i] == 0 || held[u][i]) &&
				    (best < 0 || popularity[i] > popularity[best]))
					best = i;
			if (best < 0)
				break;
			used[best] = covered[best] = true;
			if (held[u][best])
			{
				hits++;
				gain += 1 / log2(rank + 1);
				precisions += (double) hits / rank;
			}
			ideal += rank <= n ? 1 / log2(rank + 1) : 0;
		}
		recall += (double) hits / (n < 10 ? n : 10);
		ndcg += gain / ideal;
		precision += hits / 10.0;
		map += precisions / (n < 10 ? n : 10);
	}
	for (int i = 0; i < ITEMS; i++)
		n_covered += covered[i];
	pe_recommend_options_init(&options, PE_RECOMMEND_POPULARITY);
	pe_recommender_free(train(env, &t, false, &options, &evaluation));
	IS_INT(evaluation.scored_users, scored, "scored users");
	IS_INT(evaluation.test_pairs, tests, "held-out pairs");
	IS_INT(evaluation.train_pairs, pairs - tests, "pairs to learn from");
	IS_NEAR(evaluation.popularity.recall, recall / scored, 1e-12, "recall");
	IS_NEAR(evaluation.popularity.ndcg, ndcg / scored, 1e-12, "ndcg");
	IS_NEAR(evaluation.popularity.precision, precision / scored, 1e-12, "precision");
	IS_NEAR(evaluation.popularity.map, map / scored, 1e-12, "map");
	IS_NEAR(evaluation.popularity.coverage, (double) n_covered / ITEMS, 1e-12, "coverage");
	IS_NEAR(evaluation.model.ndcg, evaluation.popularity.ndcg, 0, "popularity is the model");
	IS_INT(evaluation.quality, PE_QUALITY_BASELINE, "which does not beat itself");
	printf("# %s\n", evaluation.sentence);

	pe_recommend_options_init(&options, PE_RECOMMEND_AUTO);
	options.factors = 8;
	pe_recommender_free(train(env, &t, false, &options, &evaluation));
	OK(evaluation.n_candidates >= 7 && evaluation.choice_users > 0 &&
	       evaluation.choice_users + evaluation.scored_users == scored,
	   "auto tries %d candidates on %d users and judges by %d others", evaluation.n_candidates,
	   (int) evaluation.choice_users, (int) evaluation.scored_users);
	for (int i = 0; i < evaluation.n_candidates; i++)
		printf("# %s %g %d: ndcg %.4f%s\n", pe_recommend_method_name(evaluation.candidates[i].method),
		       evaluation.candidates[i].regularization, evaluation.candidates[i].neighbours,
		       evaluation.candidates[i].figures.ndcg, evaluation.candidates[i].chosen ? " chosen" : "");
	for (int i = 0; i < evaluation.n_candidates; i++)
		for (int j = 0; j < evaluation.n_candidates; j++)
			if (evaluation.candidates[i].chosen &&
			    evaluation.candidates[j].figures.ndcg > evaluation.candidates[i].figures.ndcg)
				OK(false, "the best candidate is chosen");
	printf("# %s\n", evaluation.sentence);
}

/* ---- bytes, threads, memory, cancelling ------------------------------------------------ */

static const pe_recommend_method methods[] = {PE_RECOMMEND_ALS, PE_RECOMMEND_ITEM_ITEM,
                                              PE_RECOMMEND_POPULARITY, PE_RECOMMEND_AUTO};

static pe_recommend_options
small_options(pe_recommend_method method)
{
	pe_recommend_options options;

	pe_recommend_options_init(&options, method);
	options.factors = 6;
	options.iterations = 4;
	return options;
}

static void
test_artifact(const pe_env *env)
{
	table t;
	pe_error err;

	fill(&t, true);
	for (int m = 0; m < 4; m++)
	{
		pe_recommend_options options = small_options(methods[m]);
		uint8_t *first = NULL, *again;
		size_t length = 0, size;
		pe_recommender *recommender, *back;
		pe_recommendation a[USERS * 5], b[USERS * 5];
		int counts_a[USERS], counts_b[USERS];
		int64_t users[USERS];
		bool same = true;

		for (int threads = 1; threads <= 3; threads++)
		{
			options.threads = threads;
			recommender = train(env, &t, true, &options, NULL);
			if (pe_recommender_serialize(env, recommender, &again, &size, &err) != PE_OK)
				abort();
			same = same && (threads == 1 || (size == length && memcmp(first, again, size) == 0));
			if (threads == 1)
			{
				first = again;
				length = size;
			}
			else
				pe_free(env, again);
			if (threads < 3)
				pe_recommender_free(recommender);
		}
		OK(same, "%s: the same bytes with 1, 2 and 3 threads", pe_recommend_method_name(methods[m]));
		IS_INT(pe_recommender_deserialize(env, first, length, &back, &err), PE_OK, "read back");
		pe_recommender_serialize(env, back, &again, &size, &err);
		OK(size == length && memcmp(first, again, size) == 0, "and written again: the same bytes");
		pe_free(env, again);
		for (int u = 0; u < USERS; u++)
			users[u] = u % 7 == 0 ? -1 : u;
		memset(a, 0, sizeof(a));
		memset(b, 0, sizeof(b));
		if (pe_recommender_recommend(env, recommender, users, USERS, 5, 3, a, counts_a, &err) != PE_OK)
			abort();
		for (int u = 0; u < USERS; u++)
			if (pe_recommender_recommend(env, back, users + u, 1, 5, 1, b + u * 5, counts_b + u, &err) !=
			    PE_OK)
				abort();
		same = memcmp(counts_a, counts_b, sizeof(counts_a)) == 0;
		for (int i = 0; i < USERS * 5; i++)
			same = same && a[i].item == b[i].item && a[i].score == b[i].score;
		OK(same, "all users at once get what each gets alone");
		for (size_t cut = 0; cut < length; cut += length / 50 + 1)
		{
			pe_recommender *none;

			if (pe_recommender_deserialize(env, first, cut, &none, &err) == PE_OK)
				OK(false, "cut at %zu it is refused", cut);
		}
		pe_free(env, first);
		pe_recommender_free(recommender);
		pe_recommender_free(back);
	}
}

static void
test_failing_allocator(void)
{
	table t;

	fill(&t, true);
	for (int m = 0; m < 4; m++)
	{
		pe_recommend_options options = small_options(methods[m]);
		long attempts = 0;
		bool leaked = false, odd = false;

		options.iterations = 1;
		options.threads = 2;
		for (long fail_at = 1;; fail_at++)
		{
			tap_memory memory = {0, fail_at, 0};
			pe_env env = tap_env(&memory);
			pe_interactions *interactions = NULL;
			pe_recommender *recommender = NULL, *back = NULL;
			pe_recommend_evaluation evaluation;
			pe_recommendation list[5];
			uint8_t *bytes = NULL;
			size_t length = 0;
			int64_t user = 1;
			int count;
			pe_error err;
			pe_status status = add_all(&env, &t, true, &interactions, &err);

			if (status == PE_OK)
				status = pe_recommend_train(&env, interactions, &options, &recommender, &evaluation, &err);
			if (status == PE_OK)
				status = pe_recommender_serialize(&env, recommender, &bytes, &length, &err);
			if (status == PE_OK)
				status = pe_recommender_deserialize(&env, bytes, length, &back, &err);
			if (status == PE_OK)
				status = pe_recommender_recommend(&env, back, &user, 1, 5, 2, list, &count, &err);
			pe_free(&env, bytes);
			pe_recommender_free(recommender);
			pe_recommender_free(back);
			pe_interactions_free(interactions);
			leaked = leaked || memory.live != 0;
			attempts = fail_at;
			if (status == PE_OK)
				break;
			odd = odd || status != PE_OUT_OF_MEMORY;
		}
		OK(attempts > 20 && !leaked && !odd, "%s: each of %ld allocations can fail",
		   pe_recommend_method_name(methods[m]), attempts);
	}
}

static int
stop_at(void *ctx, const char *phase, uint64_t done, uint64_t total)
{
	long *left = ctx;

	return --*left < 0;
}

static void
test_cancel(void)
{
	table t;

	fill(&t, true);
	for (int m = 0; m < 4; m++)
	{
		int cancelled = 0, others = 0;

		for (long ticks = 0; ticks < 40; ticks++)
		{
			tap_memory memory = {0, 0, 0};
			pe_env env = tap_env(&memory);
			pe_recommend_options options = small_options(methods[m]);
			pe_interactions *interactions;
			pe_recommender *recommender = NULL;
			pe_recommend_evaluation evaluation;
			pe_error err;
			long left = ticks;
			pe_status status;

			env.tick = stop_at;
			env.tick_ctx = &left;
			if (add_all(&env, &t, true, &interactions, &err) != PE_OK)
				abort();
			status = pe_recommend_train(&env, interactions, &options, &recommender, &evaluation, &err);
			pe_recommender_free(recommender);
			pe_interactions_free(interactions);
			cancelled += status == PE_CANCELLED;
			others += (status != PE_CANCELLED && status != PE_OK) || memory.live != 0;
		}
		OK(cancelled > 0 && others == 0, "%s: stops when it is told to, %d times, and leaves nothing",
		   pe_recommend_method_name(methods[m]), cancelled);
	}
}

/* An allocator that knows how many bytes are out, and how many were at most. */
typedef struct measured
{
	size_t live;
	size_t most;
} measured;

static void *
measured_realloc(void *ctx, void *ptr, size_t size)
{
	measured *memory = ctx;
	size_t *block = ptr != NULL ? (size_t *) ptr - 2 : NULL;
	size_t before = block != NULL ? block[0] : 0;

	/* Old and new exist together for a while. */
	memory->live += size;
	memory->most = memory->live > memory->most ? memory->live : memory->most;
	memory->live -= before;
	block = realloc(block, size + 2 * sizeof(size_t));
	block[0] = size;
	return block + 2;
}

static void *
measured_alloc(void *ctx, size_t size)
{
	return measured_realloc(ctx, NULL, size);
}

static void
measured_free(void *ctx, void *ptr)
{
	measured *memory = ctx;

	memory->live -= ((size_t *) ptr)[-2];
	free((size_t *) ptr - 2);
}

/* What is announced before training is never exceeded. */
static void
test_memory(void)
{
	for (int m = 0; m < 4; m++)
	{
		measured memory = {0, 0};
		pe_env env = {{measured_alloc, measured_realloc, measured_free, &memory}, NULL, NULL};
		pe_recommend_options options;
		pe_interactions *interactions;
		pe_recommender *recommender;
		pe_recommend_evaluation evaluation;
		uint8_t *bytes;
		size_t length, announced;
		pe_error err;

		state = 3;
		pe_recommend_options_init(&options, methods[m]);
		options.iterations = 1;
		options.threads = 2;
		if (pe_interactions_create(&env, true, true, &interactions, &err) != PE_OK)
			abort();
		for (int row = 0; row < 60000; row++)
		{
			char user[16], item[16];

			snprintf(user, sizeof(user), "u%d", (int) (uniform() * 6000));
			snprintf(item, sizeof(item), "i%d", (int) (uniform() * uniform() * 1500));
			if (pe_interactions_add(interactions, user, strlen(user), item, strlen(item), row, 1, &err) !=
			    PE_OK)
				abort();
		}
		announced = pe_recommend_memory(interactions, &options);
		if (pe_recommend_train(&env, interactions, &options, &recommender, &evaluation, &err) != PE_OK ||
		    pe_recommender_serialize(&env, recommender, &bytes, &length, &err) != PE_OK)
			abort();
		OK(memory.most <= announced, "%s: %zu kB at most, %zu announced",
		   pe_recommend_method_name(methods[m]), memory.most / 1024, announced / 1024);
		pe_free(&env, bytes);
		pe_recommender_free(recommender);
		pe_interactions_free(interactions);
		IS_INT(memory.live, 0, "and nothing is left");
	}
}

static void
test_refusals(const pe_env *env)
{
	pe_interactions *interactions;
	pe_recommend_options options;
	pe_recommender *recommender;
	pe_recommend_evaluation evaluation;
	pe_error err;
	static char longest[PE_MAX_ITEM_LENGTH + 1];
	static const struct
	{
		const char *name;
		const char *value;
		pe_status status;
	} settings[] = {
	    {"factors", "128", PE_OK},
	    {"factors", "0", PE_INVALID_OPTION},
	    {"factors", "1.5", PE_INVALID_OPTION},
	    {"regularization", "0", PE_INVALID_OPTION},
	    {"alpha", "nan", PE_INVALID_OPTION},
	    {"half_life", "30 days", PE_OK},
	    {"half_life", "2 weeks", PE_OK},
	    {"half_life", "-1", PE_INVALID_OPTION},
	    {"half_life", "3 moons", PE_INVALID_OPTION},
	    {"similarity", "jaccard", PE_OK},
	    {"similarity", "", PE_INVALID_OPTION},
	    {"neighbours", "all", PE_OK},
	    {"neighbours", "50", PE_OK},
	    {"neighbours", "none", PE_INVALID_OPTION},
	    {"solver", "cholesky", PE_OK},
	    {"solver", "magic", PE_INVALID_OPTION},
	    {"repeats", "sum", PE_OK},
	    {"seed", "18446744073709551615", PE_OK},
	    {"seed", "-1", PE_INVALID_OPTION},
	    {"trees", "5", PE_INVALID_OPTION},
	};

	pe_recommend_options_init(&options, PE_RECOMMEND_AUTO);
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		IS_INT(pe_recommend_options_set(&options, settings[i].name, settings[i].value, &err),
		       settings[i].status, "%s = %s", settings[i].name, settings[i].value);
	pe_recommend_options_init(&options, PE_RECOMMEND_POPULARITY);
	IS_INT(pe_recommend_options_set(&options, "factors", "3", &err), PE_INVALID_OPTION,
	       "of another algorithm");
	IS_STR(err.message, "option \"factors\" does not apply to algorithm popularity", "and says so");

	if (pe_interactions_create(env, false, false, &interactions, &err) != PE_OK)
		abort();
	IS_INT(pe_recommend_train(env, interactions, &options, &recommender, &evaluation, &err), PE_INVALID_DATA,
	       "nothing to learn from");
	memset(longest, 'x', sizeof(longest));
	IS_INT(pe_interactions_add(interactions, longest, sizeof(longest), "i", 1, 0, 1, &err), PE_LIMIT,
	       "a text that is too long");
	IS_INT(pe_interactions_add(interactions, longest, sizeof(longest) - 1, "", 0, 0, 1, &err), PE_OK,
	       "the longest, and an empty one");
	pe_recommend_options_init(&options, PE_RECOMMEND_AUTO);
	IS_INT(pe_recommend_train(env, interactions, &options, &recommender, &evaluation, &err), PE_OK,
	       "a single interaction");
	IS_INT(evaluation.quality, PE_QUALITY_NOT_EVALUATED, "is not evaluated");
	pe_recommender_free(recommender);
	pe_interactions_free(interactions);
}

int
main(void)
{
	tap_memory memory = {0, 0, 0};
	pe_env env = tap_env(&memory);

	test_history(&env);
	test_strengths(&env);
	test_kernels();
	test_normal_equations(&env);
	test_als(&env);
	test_similarities(&env);
	test_neighbours(&env);
	test_popularity(&env);
	test_evaluation(&env);
	test_artifact(&env);
	test_refusals(&env);
	IS_INT(memory.live, 0, "nothing is left");
	test_memory();
	test_failing_allocator();
	test_cancel();
	return tap_done();
}
