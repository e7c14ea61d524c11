/*
 * evaluate.c
 *		How good recommendations are: the last items of each user are held out, the first
 *		recommendations of a recommender that knows the others are compared with them.
 *
 * For each user with at least min_items items the last ceil(holdout n) by first time
 * seen (ties: the item's text; without times: drawn by a hash) are the test items. What
 * a user took in training is never recommended; a test item that nobody has in training
 * is a miss. When there is something to choose, half of the scored users choose and the
 * figures are those of the other half.
 */
#include "model/recommend/internal.h"

#define MOST_SCORED 20000 /* users; more tell no more */
#define CHUNK_USERS 4096  /* recommended to at a time */

/* ---- the split ------------------------------------------------------------------------- */

typedef struct last_out
{
	pe_sparse train;
	pe_sparse test; /* same rows, items in rising order */
	int64_t *scored;
	bool *chooses; /* by scored user */
	size_t n_scored;
} last_out;

static void
free_split(const pe_env *env, last_out *split)
{
	pe_sparse_free(env, &split->train);
	pe_sparse_free(env, &split->test);
	pe_free(env, split->scored);
	pe_free(env, split->chooses);
}

/* A hash of a user's text, of an item's too when there is one: no order of rows changes it. */
static uint64_t
hash_text(const pe_texts *texts, uint32_t place, uint64_t seed)
{
	uint64_t hash = pe_recommend_mix(seed + UINT64_C(0x9e3779b97f4a7c15));

	for (size_t i = texts->starts[place]; i < texts->starts[place + 1]; i++)
		hash = pe_recommend_mix(hash ^ (uint8_t) texts->bytes[i]) + UINT64_C(0x2545f4914f6cdd1d);
	return pe_recommend_mix(hash);
}

typedef struct dated
{
	double when;
	uint32_t cell;
} dated;

static inline bool
earlier(const dated *a, const dated *b)
{
	return a->when < b->when || (a->when == b->when && a->cell < b->cell);
}

/* Cells of a user are numbered by item, so that the number breaks ties as the text does. */
static void
sort_dated(dated *cells, uint32_t count)
{
	uint32_t gap = 1;

	while (gap < count / 3)
		gap = gap * 3 + 1;
	for (; gap > 0; gap /= 3)
		for (uint32_t i = gap; i < count; i++)
		{
			dated moved = cells[i];
			uint32_t j = i;

			for (; j >= gap && earlier(&moved, &cells[j - gap]); j -= gap)
				cells[j] = cells[j - gap];
			cells[j] = moved;
		}
}

static uint32_t
test_items(const pe_recommend_options *options, uint32_t items)
{
	uint32_t test = (uint32_t) ceil(options->holdout * items - 1e-9);

	if (items < (uint32_t) options->min_items || items < 2)
		return 0;
	return test < items ? test : items - 1;
}

/* Which cells are held out. held is by cell; scratch has room for the longest row. */
static pe_status
hold_out(const pe_env *env, const pe_history *history, const pe_recommend_options *options, bool *held,
         dated *scratch, pe_error *err)
{
	const pe_sparse *taken = &history->taken;

	for (uint32_t user = 0; user < taken->rows; user++)
	{
		uint32_t start = taken->starts[user], count = taken->starts[user + 1] - start;
		uint32_t test = test_items(options, count);
		uint64_t hash = history->first == NULL ? hash_text(&history->users, user, options->seed) : 0;

		if (user % 1024 == 0 && pe_stopped(env, "evaluate", user, taken->rows))
			return pe_fail(err, PE_CANCELLED, "cancelled");
		if (test == 0)
			continue;
		for (uint32_t i = 0; i < count; i++)
		{
			scratch[i].cell = start + i;
			scratch[i].when =
			    history->first != NULL
			        ? history->first[start + i]
			        : (double) (pe_recommend_mix(hash ^
			                                     hash_text(&history->items, taken->columns[start + i], 0)) >>
			                    11);
		}
		sort_dated(scratch, count);
		for (uint32_t i = count - test; i < count; i++)
			held[scratch[i].cell] = true;
	}
	return PE_OK;
}

static bool
make_part(const pe_env *env, const pe_sparse *taken, const bool *held, bool which, pe_sparse *part)
{
	uint32_t cells = 0, to = 0;

	for (uint32_t cell = 0; cell < pe_sparse_cells(taken); cell++)
		cells += held[cell] == which;
	part->rows = taken->rows;
	part->columns_count = taken->columns_count;
	part->starts = pe_calloc(env, (size_t) taken->rows + 1, sizeof(uint32_t));
	part->columns = pe_calloc(env, cells, sizeof(uint32_t));
	if (taken->values != NULL)
		part->values = pe_calloc(env, cells, sizeof(float));
	if (part->starts == NULL || part->columns == NULL || (taken->values != NULL && part->values == NULL))
		return false;
	for (uint32_t row = 0; row < taken->rows; row++)
	{
		for (uint32_t cell = taken->starts[row]; cell < taken->starts[row + 1]; cell++)
		{
			if (held[cell] != which)
				continue;
			if (taken->values != NULL)
				part->values[to] = taken->values[cell];
			part->columns[to++] = taken->columns[cell];
		}
		part->starts[row + 1] = to;
	}
	return true;
}

/* The users with test items, at most MOST_SCORED of them, drawn by a hash. */
static bool
choose_scored(const pe_env *env, const pe_history *history, const pe_recommend_options *options,
              last_out *split)
{
	uint32_t with_test = 0;

	for (uint32_t user = 0; user < split->test.rows; user++)
		with_test += split->test.starts[user + 1] > split->test.starts[user];
	split->scored = pe_calloc(env, with_test, sizeof(int64_t));
	split->chooses = pe_calloc(env, with_test, sizeof(bool));
	if (split->scored == NULL || split->chooses == NULL)
		return false;
	for (uint32_t user = 0; user < split->test.rows; user++)
	{
		uint64_t hash;

		if (split->test.starts[user + 1] == split->test.starts[user])
			continue;
		hash = hash_text(&history->users, user, options->seed + 1);
		if ((double) (hash >> 11) * 0x1p-53 * with_test >= MOST_SCORED)
			continue;
		split->chooses[split->n_scored] = hash & 1;
		split->scored[split->n_scored++] = user;
	}
	return true;
}

static pe_status
make_split(const pe_env *env, const pe_history *history, const pe_recommend_options *options, last_out *split,
           pe_error *err)
{
	const pe_sparse *taken = &history->taken;
	uint32_t longest = 1;
	bool *held = pe_calloc(env, pe_sparse_cells(taken), sizeof(bool));
	dated *scratch;
	pe_status status;

	for (uint32_t user = 0; user < taken->rows; user++)
		if (taken->starts[user + 1] - taken->starts[user] > longest)
			longest = taken->starts[user + 1] - taken->starts[user];
	scratch = pe_calloc(env, longest, sizeof(dated));
	status = held == NULL || scratch == NULL ? pe_fail_memory(err)
	                                         : hold_out(env, history, options, held, scratch, err);
	if (status == PE_OK &&
	    (!make_part(env, taken, held, false, &split->train) ||
	     !make_part(env, taken, held, true, &split->test) || !choose_scored(env, history, options, split)))
		status = pe_fail_memory(err);
	pe_free(env, held);
	pe_free(env, scratch);
	return status;
}

/* ---- figures --------------------------------------------------------------------------- */

/* Sums over users, of all that chose (0) and of the others (1). */
typedef struct tally_sums
{
	pe_recommend_figures sum;
	int64_t users;
	int64_t recommended;
	bool *covered; /* by item */
} tally_sums;

static bool
is_test_item(const pe_sparse *test, int64_t user, uint32_t item)
{
	uint32_t low = test->starts[user], high = test->starts[user + 1];

	while (low < high)
	{
		uint32_t middle = low + (high - low) / 2;

		if (test->columns[middle] == item)
			return true;
		if (test->columns[middle] < item)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

/* Adds a user's figures; returns the ndcg. */
static double
tally_user(tally_sums *tally, const pe_recommender *recommender, const pe_sparse *test, int64_t user,
           const pe_recommendation *list, int count)
{
	int tests = (int) (test->starts[user + 1] - test->starts[user]);
	int ideal = tests < PE_EVALUATED_AT ? tests : PE_EVALUATED_AT, hits = 0;
	double gain = 0, best = 0, precisions = 0;

	for (int i = 0; i < ideal; i++)
		best += 1 / log2(i + 2);
	for (int i = 0; i < count; i++)
	{
		uint32_t item = list[i].item;

		if (is_test_item(test, user, item))
		{
			hits++;
			gain += 1 / log2(i + 2);
			precisions += (double) hits / (i + 1);
		}
		tally->covered[item] = true;
		tally->recommended++;
		tally->sum.novelty -= log2(fmax(recommender->item_users[item], 1) / recommender->taken.rows);
	}
	tally->users++;
	tally->sum.recall += (double) hits / ideal;
	tally->sum.ndcg += gain / best;
	tally->sum.precision += (double) hits / PE_EVALUATED_AT;
	tally->sum.map += precisions / ideal;
	return gain / best;
}

static pe_recommend_figures
means(const tally_sums *tally, uint32_t items)
{
	double users = (double) (tally->users > 0 ? tally->users : 1);
	double recommended = (double) (tally->recommended > 0 ? tally->recommended : 1);
	pe_recommend_figures figures = tally->sum;
	uint32_t covered = 0;

	for (uint32_t item = 0; item < items; item++)
		covered += tally->covered[item];
	figures.recall /= users;
	figures.ndcg /= users;
	figures.precision /= users;
	figures.map /= users;
	figures.coverage = (double) covered / items;
	figures.novelty = tally->sum.novelty / recommended;
	return figures;
}

/* What the evaluation of one candidate leaves. */
typedef struct trial
{
	pe_recommend_figures choice; /* of the users who choose */
	pe_recommend_figures others;
	double *ndcg; /* by scored user */
} trial;

/* Recommends to the scored users in chunks and counts. everyone: there is nothing to choose. */
static pe_status
score_users(const pe_env *env, pe_team *team, const last_out *split, const pe_recommender *recommender,
            bool everyone, trial *outcome, pe_error *err)
{
	uint32_t items = split->train.columns_count;
	pe_recommendation *lists = pe_calloc(env, CHUNK_USERS * PE_EVALUATED_AT, sizeof(pe_recommendation));
	int *counts = pe_calloc(env, CHUNK_USERS, sizeof(int));
	tally_sums tallies[2] = {{.covered = pe_calloc(env, items, sizeof(bool))},
	                         {.covered = pe_calloc(env, items, sizeof(bool))}};
	pe_status status = PE_OK;

	if (lists == NULL || counts == NULL || tallies[0].covered == NULL || tallies[1].covered == NULL)
		status = pe_fail_memory(err);
	pe_team_phase(team, "evaluate", 0, split->n_scored);
	for (size_t start = 0; start < split->n_scored && status == PE_OK; start += CHUNK_USERS)
	{
		size_t here = split->n_scored - start < CHUNK_USERS ? split->n_scored - start : CHUNK_USERS;

		status = pe_recommend_on_team(env, team, recommender, split->scored + start, here, PE_EVALUATED_AT,
		                              lists, counts, err);
		for (size_t i = 0; i < here && status == PE_OK; i++)
		{
			tally_sums *tally = &tallies[everyone || !split->chooses[start + i]];

			outcome->ndcg[start + i] = tally_user(tally, recommender, &split->test, split->scored[start + i],
			                                      lists + i * PE_EVALUATED_AT, counts[i]);
		}
	}
	if (status == PE_OK)
	{
		outcome->choice = means(&tallies[0], items);
		outcome->others = means(&tallies[1], items);
	}
	pe_free(env, lists);
	pe_free(env, counts);
	pe_free(env, tallies[0].covered);
	pe_free(env, tallies[1].covered);
	return status;
}

/* ---- candidates ------------------------------------------------------------------------ */

static void
set_candidate(pe_recommend_options *options, const pe_recommend_candidate *candidate)
{
	options->method = candidate->method;
	if (candidate->method == PE_RECOMMEND_ALS)
		options->regularization = candidate->regularization;
	if (candidate->method == PE_RECOMMEND_ITEM_ITEM)
		options->neighbours = candidate->neighbours;
}

/* Fits on the training part and scores. The recommender borrows the training part. */
static pe_status
try_candidate(const pe_env *env, pe_team *team, const last_out *split, const pe_recommend_options *options,
              const pe_recommend_candidate *candidate, bool everyone, trial *outcome, pe_error *err)
{
	pe_recommend_options own = *options;
	pe_recommender *recommender = pe_calloc(env, 1, sizeof(*recommender));
	pe_status status;

	if (recommender == NULL)
		return pe_fail_memory(err);
	recommender->env = *env;
	recommender->taken = split->train;
	set_candidate(&own, candidate);
	status = pe_recommender_fit(env, team, &own, recommender, NULL, err);
	if (status == PE_OK)
		status = score_users(env, team, split, recommender, everyone, outcome, err);
	memset(&recommender->taken, 0, sizeof(recommender->taken));
	pe_recommender_free(recommender);
	return status;
}

static void
add_candidate(pe_recommend_evaluation *evaluation, pe_recommend_method method, double regularization,
              int neighbours)
{
	if (evaluation->n_candidates < PE_MAX_CANDIDATES)
		evaluation->candidates[evaluation->n_candidates++] = (pe_recommend_candidate){
		    .method = method, .regularization = regularization, .neighbours = neighbours};
}

/*
 * What is tried. Popularity is always the first, as the measure of all others; it can
 * be chosen when the algorithm is left open. Strong regularization is among what is
 * tried, since on few items a user 64 factors without it do worse than popularity.
 */
static void
list_candidates(pe_recommend_evaluation *evaluation, const pe_recommend_options *options, uint32_t items)
{
	static const double grid[] = {0.1, 1, 10, 30, 100};
	bool automatic = options->method == PE_RECOMMEND_AUTO;
	int many = items <= PE_ALL_NEIGHBOURS_UNTIL ? 0 : PE_MANY_NEIGHBOURS;

	add_candidate(evaluation, PE_RECOMMEND_POPULARITY, 0, 0);
	if (automatic || options->method == PE_RECOMMEND_ITEM_ITEM)
	{
		if (options->neighbours != PE_CHOSEN)
			many = options->neighbours;
		add_candidate(evaluation, PE_RECOMMEND_ITEM_ITEM, 0, many);
		if (options->neighbours == PE_CHOSEN && items > 101)
			add_candidate(evaluation, PE_RECOMMEND_ITEM_ITEM, 0, 100);
		if (options->neighbours == PE_CHOSEN && items > 21)
			add_candidate(evaluation, PE_RECOMMEND_ITEM_ITEM, 0, 20);
	}
	if (automatic || options->method == PE_RECOMMEND_ALS)
	{
		if (options->regularization != PE_CHOSEN)
			add_candidate(evaluation, PE_RECOMMEND_ALS, options->regularization, 0);
		for (size_t i = 0; options->regularization == PE_CHOSEN && i < sizeof(grid) / sizeof(grid[0]); i++)
			add_candidate(evaluation, PE_RECOMMEND_ALS, grid[i], 0);
	}
}

/* Is the ndcg's mean difference more than chance makes of it: two standard errors? */
static bool
is_better(const double *ndcg, const double *baseline, const last_out *split, bool everyone)
{
	double n = 0, sum = 0, squares = 0, mean;

	for (size_t i = 0; i < split->n_scored; i++)
	{
		double difference = ndcg[i] - baseline[i];

		if (!everyone && split->chooses[i])
			continue;
		n++;
		sum += difference;
		squares += difference * difference;
	}
	mean = n > 0 ? sum / n : 0;
	return n > 1 && mean > 0 && mean * mean * n > 4 * (squares / n - mean * mean);
}

/* Tries all candidates; the best by the choosing users' ndcg is chosen, of equal ones the first. */
static pe_status
try_all(const pe_env *env, pe_team *team, const last_out *split, const pe_recommend_options *options,
        pe_recommend_evaluation *evaluation, int *chosen, pe_error *err)
{
	bool automatic = options->method == PE_RECOMMEND_AUTO;
	/* With popularity alone there is one candidate, with another method it and popularity. */
	bool everyone = !automatic && evaluation->n_candidates <= 2;
	trial outcome = {0};
	double *baseline = pe_calloc(env, split->n_scored, sizeof(double));
	double *best = pe_calloc(env, split->n_scored, sizeof(double));
	pe_status status = PE_OK;

	outcome.ndcg = pe_calloc(env, split->n_scored, sizeof(double));
	if (baseline == NULL || best == NULL || outcome.ndcg == NULL)
		status = pe_fail_memory(err);
	*chosen = automatic || evaluation->n_candidates == 1 ? 0 : 1;
	for (int i = 0; i < evaluation->n_candidates && status == PE_OK; i++)
	{
		pe_recommend_candidate *candidate = &evaluation->candidates[i];

		status = try_candidate(env, team, split, options, candidate, everyone, &outcome, err);
		candidate->figures = everyone ? outcome.others : outcome.choice;
		if (i == 0)
		{
			memcpy(baseline, outcome.ndcg, split->n_scored * sizeof(double));
			evaluation->popularity = outcome.others;
		}
		if (i == *chosen ||
		    (i > *chosen && candidate->figures.ndcg > evaluation->candidates[*chosen].figures.ndcg))
		{
			*chosen = i;
			memcpy(best, outcome.ndcg, split->n_scored * sizeof(double));
			evaluation->model = outcome.others;
		}
	}
	if (status == PE_OK)
	{
		evaluation->scored_users = 0;
		for (size_t i = 0; i < split->n_scored; i++)
			evaluation->scored_users += everyone || !split->chooses[i];
		evaluation->choice_users = (int64_t) split->n_scored - evaluation->scored_users;
		evaluation->quality =
		    is_better(best, baseline, split, everyone) ? PE_QUALITY_BETTER : PE_QUALITY_BASELINE;
	}
	pe_free(env, baseline);
	pe_free(env, best);
	pe_free(env, outcome.ndcg);
	return status;
}

/* What is taken when nothing can be compared. */
static void
choose_blindly(pe_recommend_options *options, uint32_t items)
{
	if (options->method == PE_RECOMMEND_AUTO)
		options->method = PE_RECOMMEND_ITEM_ITEM;
	if (options->regularization == PE_CHOSEN)
		options->regularization = 10;
	if (options->neighbours == PE_CHOSEN)
		options->neighbours = items <= PE_ALL_NEIGHBOURS_UNTIL ? 0 : PE_MANY_NEIGHBOURS;
}

static int64_t
items_taken(const pe_sparse *train, bool *seen)
{
	int64_t items = 0;

	for (uint32_t cell = 0; cell < pe_sparse_cells(train); cell++)
	{
		items += !seen[train->columns[cell]];
		seen[train->columns[cell]] = true;
	}
	return items;
}

pe_status
pe_recommend_evaluate(const pe_env *env, pe_team *team, const pe_history *history,
                      pe_recommend_options *options, pe_recommend_evaluation *evaluation, pe_error *err)
{
	last_out split = {0};
	int chosen = 0;
	pe_status status = PE_OK;

	memset(evaluation, 0, sizeof(*evaluation));
	evaluation->rows = history->rows;
	evaluation->pairs = pe_sparse_cells(&history->taken);
	evaluation->users = history->users.count;
	evaluation->items = history->items.count;
	evaluation->train_pairs = evaluation->pairs;
	evaluation->objective = NAN;
	if (options->holdout > 0)
		status = make_split(env, history, options, &split, err);
	evaluation->train_items = evaluation->items;
	if (status == PE_OK && split.n_scored > 0)
	{
		bool *seen = pe_calloc(env, split.train.columns_count, sizeof(bool));

		if (seen == NULL)
			status = pe_fail_memory(err);
		else
			evaluation->train_items = items_taken(&split.train, seen);
		pe_free(env, seen);
	}
	if (status == PE_OK && split.n_scored > 0)
	{
		evaluation->evaluated = true;
		evaluation->train_pairs = pe_sparse_cells(&split.train);
		evaluation->test_pairs = pe_sparse_cells(&split.test);
		list_candidates(evaluation, options, history->items.count);
		status = try_all(env, team, &split, options, evaluation, &chosen, err);
		if (status == PE_OK)
		{
			evaluation->candidates[chosen].chosen = true;
			set_candidate(options, &evaluation->candidates[chosen]);
		}
	}
	if (status == PE_OK)
	{
		choose_blindly(options, history->items.count);
		pe_recommend_judge(evaluation, options);
	}
	free_split(env, &split);
	return status;
}
