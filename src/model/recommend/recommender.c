/*
 * recommender.c
 *		What is known about users and items, and what follows from it: the top items of
 *		a user, and items alike.
 *
 * A user's factors are not kept: they are solved for from the user's history and the
 * items' factors when they are needed, exactly, which takes some microseconds and makes
 * an artifact a third of the size.
 */
#include "model/recommend/internal.h"

#define USERS_PER_ITEM 16 /* of work: they share a tile of the items' factors */
#define ITEM_TILE      64 /* items scored at a time */

void
pe_recommender_free(pe_recommender *recommender)
{
	pe_env env;

	if (recommender == NULL)
		return;
	env = recommender->env;
	pe_texts_free(&env, &recommender->users);
	pe_texts_free(&env, &recommender->items);
	pe_sparse_free(&env, &recommender->taken);
	pe_sparse_free(&env, &recommender->similarities);
	pe_free(&env, recommender->popularity);
	pe_free(&env, recommender->item_users);
	pe_free(&env, recommender->factors);
	pe_free(&env, recommender->gram);
	pe_free(&env, recommender->popular);
	pe_free(&env, recommender);
}

pe_recommender_settings
pe_recommender_get_settings(const pe_recommender *recommender)
{
	return recommender->settings;
}

uint32_t
pe_recommender_users(const pe_recommender *recommender)
{
	return recommender->taken.rows;
}

uint32_t
pe_recommender_items(const pe_recommender *recommender)
{
	return recommender->taken.columns_count;
}

size_t
pe_recommender_bytes(const pe_recommender *recommender)
{
	const pe_recommender *r = recommender;
	size_t items = r->taken.columns_count;
	size_t bytes = sizeof(*r) + r->users.starts[r->users.count] + r->items.starts[items];

	bytes += ((size_t) r->users.count + items + 2) * sizeof(size_t) + items * 16;
	bytes +=
	    ((size_t) r->taken.rows + 1) * 4 + (size_t) pe_sparse_cells(&r->taken) * (r->taken.values ? 8 : 4);
	if (r->similarities.starts != NULL)
		bytes += (items + 1) * 4 + (size_t) pe_sparse_cells(&r->similarities) * 8;
	if (r->factors != NULL)
		bytes += items * r->width * 4 + (size_t) r->width * r->width * 8;
	return bytes;
}

int64_t
pe_recommender_find_user(const pe_recommender *recommender, const char *text, size_t length)
{
	return pe_texts_find(&recommender->users, text, length);
}

int64_t
pe_recommender_find_item(const pe_recommender *recommender, const char *text, size_t length)
{
	return pe_texts_find(&recommender->items, text, length);
}

static const char *
text_of(const pe_texts *texts, uint32_t place, size_t *length)
{
	*length = texts->starts[place + 1] - texts->starts[place];
	return texts->bytes + texts->starts[place];
}

const char *
pe_recommender_user(const pe_recommender *recommender, uint32_t user, size_t *length)
{
	return text_of(&recommender->users, user, length);
}

const char *
pe_recommender_item(const pe_recommender *recommender, uint32_t item, size_t *length)
{
	return text_of(&recommender->items, item, length);
}

uint32_t
pe_recommender_item_users(const pe_recommender *recommender, uint32_t item)
{
	return recommender->item_users[item];
}

double
pe_recommender_popularity(const pe_recommender *recommender, uint32_t item)
{
	return recommender->popularity[item];
}

uint32_t
pe_recommender_popular(const pe_recommender *recommender, uint32_t place)
{
	return recommender->popular[place];
}

/* ---- what is computed ------------------------------------------------------------------ */

pe_status
pe_recommender_count(pe_recommender *recommender, pe_error *err)
{
	const pe_sparse *taken = &recommender->taken;

	recommender->popularity = pe_calloc(&recommender->env, taken->columns_count, sizeof(double));
	recommender->item_users = pe_calloc(&recommender->env, taken->columns_count, sizeof(uint32_t));
	if (recommender->popularity == NULL || recommender->item_users == NULL)
		return pe_fail_memory(err);
	for (uint32_t cell = 0; cell < pe_sparse_cells(taken); cell++)
	{
		if (cell % PE_POLL_CELLS == 0 &&
		    pe_stopped(&recommender->env, "prepare", cell, pe_sparse_cells(taken)))
			return pe_fail(err, PE_CANCELLED, "cancelled");
		recommender->item_users[taken->columns[cell]]++;
		recommender->popularity[taken->columns[cell]] += taken->values != NULL ? taken->values[cell] : 1;
	}
	return PE_OK;
}

static inline bool
more_popular(const double *popularity, uint32_t a, uint32_t b)
{
	return popularity[a] > popularity[b] || (popularity[a] == popularity[b] && a < b);
}

/* A heap whose root is the least popular. */
static void
sink_popular(const double *popularity, uint32_t *order, uint64_t count, uint64_t at)
{
	uint32_t moved = order[at];

	for (uint64_t child = 2 * at + 1; child < count; child = 2 * at + 1)
	{
		if (child + 1 < count && more_popular(popularity, order[child], order[child + 1]))
			child++;
		if (!more_popular(popularity, moved, order[child]))
			break;
		order[at] = order[child];
		at = child;
	}
	order[at] = moved;
}

/* The most popular first, of equal ones the first by text. */
static void
order_by_popularity(const double *popularity, uint32_t *order, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		order[i] = i;
	for (uint64_t at = count / 2; at-- > 0;)
		sink_popular(popularity, order, count, at);
	for (uint32_t last = count; last-- > 1;)
	{
		uint32_t least = order[0];

		order[0] = order[last];
		order[last] = least;
		sink_popular(popularity, order, last, 0);
	}
}

pe_status
pe_recommender_finish(pe_recommender *recommender, pe_team *team, pe_error *err)
{
	const pe_env *env = &recommender->env;
	uint32_t items = recommender->taken.columns_count;
	double *parts;
	bool done;

	recommender->kernels = pe_recommend_kernels();
	recommender->popular = pe_calloc(env, items, sizeof(uint32_t));
	if (recommender->popular == NULL)
		return pe_fail_memory(err);
	order_by_popularity(recommender->popularity, recommender->popular, items);
	if (recommender->settings.method != PE_RECOMMEND_ALS)
		return PE_OK;
	recommender->gram = pe_calloc(env, (size_t) recommender->width * recommender->width, sizeof(double));
	parts = pe_calloc(env, pe_gramian_parts(items, recommender->width), sizeof(double));
	done = recommender->gram != NULL && parts != NULL;
	if (done && !pe_gramian(team, recommender->kernels, recommender->factors, items, recommender->width,
	                        recommender->settings.factors, recommender->settings.regularization, parts,
	                        recommender->gram))
	{
		pe_free(env, parts);
		return pe_fail(err, PE_CANCELLED, "cancelled");
	}
	pe_free(env, parts);
	return done ? PE_OK : pe_fail_memory(err);
}

pe_status
pe_recommender_fit(const pe_env *env, pe_team *team, const pe_recommend_options *options,
                   pe_recommender *recommender, double *objective, pe_error *err)
{
	pe_sparse by_item = {0};
	pe_status status;

	recommender->settings = (pe_recommender_settings){
	    options->method,    options->factors,    options->iterations, options->regularization, options->alpha,
	    options->half_life, options->similarity, options->neighbours, options->min_support};
	recommender->width = pe_width(options->factors);
	status = pe_recommender_count(recommender, err);
	if (status == PE_OK && options->method != PE_RECOMMEND_POPULARITY)
		status = pe_sparse_transpose(env, &recommender->taken, &by_item, err);
	if (status == PE_OK && options->method == PE_RECOMMEND_ITEM_ITEM)
		status = pe_item_item_fit(env, team, &recommender->taken, &by_item, options, options->neighbours,
		                          &recommender->similarities, err);
	if (status == PE_OK && options->method == PE_RECOMMEND_ALS)
	{
		recommender->factors = pe_calloc(env, (size_t) by_item.rows * recommender->width, sizeof(float));
		status = recommender->factors == NULL
		             ? pe_fail_memory(err)
		             : pe_als_fit(env, team, &recommender->taken, &by_item, options, pe_recommend_kernels(),
		                          recommender->factors, objective, NULL, err);
	}
	pe_sparse_free(env, &by_item);
	return status == PE_OK ? pe_recommender_finish(recommender, team, err) : status;
}

/* ---- the top items --------------------------------------------------------------------- */

/* The best so far of one user: a heap whose root is the worst of them. */
typedef struct top_items
{
	pe_recommendation *items;
	int count;
	int most;
} top_items;

static inline bool
worse(const pe_recommendation *a, const pe_recommendation *b)
{
	return a->score < b->score || (a->score == b->score && a->item > b->item);
}

static void
sift_down(pe_recommendation *items, int count, int at)
{
	pe_recommendation moved = items[at];

	for (int child = 2 * at + 1; child < count; child = 2 * at + 1)
	{
		if (child + 1 < count && worse(&items[child + 1], &items[child]))
			child++;
		if (!worse(&items[child], &moved))
			break;
		items[at] = items[child];
		at = child;
	}
	items[at] = moved;
}

static void
offer(top_items *top, uint32_t item, double score)
{
	pe_recommendation candidate = {item, false, score};

	if (top->count < top->most)
	{
		int at = top->count++;

		for (int parent = (at - 1) / 2; at > 0 && worse(&candidate, &top->items[parent]);
		     parent = (at - 1) / 2)
		{
			top->items[at] = top->items[parent];
			at = parent;
		}
		top->items[at] = candidate;
	}
	else if (worse(&top->items[0], &candidate))
	{
		top->items[0] = candidate;
		sift_down(top->items, top->count, 0);
	}
}

/* The heap becomes a list, the best first. */
static void
finish_top(top_items *top)
{
	for (int count = top->count; count > 1; count--)
	{
		pe_recommendation worst = top->items[0];

		top->items[0] = top->items[count - 1];
		sift_down(top->items, count - 1, 0);
		top->items[count - 1] = worst;
	}
}

/* ---- one block of users ---------------------------------------------------------------- */

/* What one thread works with. */
typedef struct desk
{
	uint8_t *marks;    /* [items]: 1 taken or chosen, all 0 between users */
	float *factors;    /* ALS: [USERS_PER_ITEM][width] */
	double *scratch;   /* ALS: [width + 1][width] */
	double *sums;      /* item_item: [items], all 0 between users */
	uint32_t *touched; /* item_item: [items] */
} desk;

typedef struct asking
{
	pe_team *team;
	const pe_recommender *recommender;
	const int64_t *users;
	size_t count;
	int top;
	pe_recommendation *recommendations;
	int *counts;
	desk *scoring; /* by thread */
} asking;

static void
mark_taken(const pe_sparse *taken, int64_t user, uint8_t *marks, uint8_t mark)
{
	for (uint32_t cell = taken->starts[user]; cell < taken->starts[user + 1]; cell++)
		marks[taken->columns[cell]] = mark;
}

/* Fills what is open with the most popular items that are neither taken nor there already. */
static void
fill_by_popularity(const asking *ask, int64_t user, uint8_t *marks, top_items *top)
{
	const pe_recommender *r = ask->recommender;

	if (user >= 0)
		mark_taken(&r->taken, user, marks, 1);
	for (int i = 0; i < top->count; i++)
		marks[top->items[i].item] = 1;
	for (uint32_t place = 0; place < r->taken.columns_count && top->count < top->most; place++)
	{
		uint32_t item = r->popular[place];

		/* An item that nobody took, which only a part of the data can have, is nobody's favourite. */
		if (marks[item] || r->item_users[item] == 0)
			continue;
		marks[item] = 1;
		top->items[top->count++] = (pe_recommendation){item, true, r->popularity[item]};
	}
	for (int i = 0; i < top->count; i++)
		marks[top->items[i].item] = 0;
	if (user >= 0)
		mark_taken(&r->taken, user, marks, 0);
}

static void
sum_similarities(const asking *ask, int64_t user, desk *scoring, top_items *top, int thread)
{
	const pe_sparse *taken = &ask->recommender->taken, *near = &ask->recommender->similarities;
	uint32_t touched = 0, done = 0;

	mark_taken(taken, user, scoring->marks, 1);
	for (uint32_t cell = taken->starts[user]; cell < taken->starts[user + 1]; cell++)
	{
		uint32_t item = taken->columns[cell];
		double strength = taken->values != NULL ? taken->values[cell] : 1;

		for (uint32_t at = near->starts[item]; at < near->starts[item + 1]; at++)
		{
			uint32_t other = near->columns[at];

			if (scoring->marks[other] == 1)
				continue;
			if (scoring->marks[other] == 0)
			{
				scoring->marks[other] = 2;
				scoring->touched[touched++] = other;
			}
			scoring->sums[other] += strength * near->values[at];
		}
		done += near->starts[item + 1] - near->starts[item];
		if (done >= PE_POLL_CELLS)
		{
			done = 0;
			if (pe_team_poll(ask->team, thread))
				break;
		}
	}
	for (uint32_t i = 0; i < touched; i++)
	{
		uint32_t other = scoring->touched[i];

		offer(top, other, scoring->sums[other]);
		scoring->sums[other] = 0;
		scoring->marks[other] = 0;
	}
	mark_taken(taken, user, scoring->marks, 0);
	finish_top(top);
}

static void
user_factors(const asking *ask, int64_t user, desk *scoring, float *x, int thread)
{
	const pe_recommender *r = ask->recommender;
	uint32_t start = r->taken.starts[user];
	pe_row_problem problem = {r->factors,
	                          r->width,
	                          r->taken.columns + start,
	                          r->taken.values != NULL ? r->taken.values + start : NULL,
	                          r->taken.starts[user + 1] - start,
	                          (float) r->settings.alpha,
	                          ask->team,
	                          thread};

	if (!r->kernels->exact(&problem, r->gram, r->settings.factors, scoring->scratch, x))
		memset(x, 0, r->width * sizeof(float));
}

/* All items' scores for users first .. first + count - 1 of the call, a tile of items at a time. */
static void
score_tiles(const asking *ask, size_t first, int count, desk *scoring, top_items *tops, int thread)
{
	const pe_recommender *r = ask->recommender;
	uint32_t items = r->taken.columns_count;
	uint32_t seen[USERS_PER_ITEM];
	float scores[ITEM_TILE];

	for (int i = 0; i < count; i++)
	{
		int64_t user = ask->users[first + i];

		seen[i] = user >= 0 ? r->taken.starts[user] : 0;
		if (user >= 0)
			user_factors(ask, user, scoring, scoring->factors + (size_t) i * r->width, thread);
	}
	for (uint32_t start = 0; start < items; start += ITEM_TILE)
	{
		uint32_t here = items - start < ITEM_TILE ? items - start : ITEM_TILE;

		if (pe_team_poll(ask->team, thread))
			return;
		for (int i = 0; i < count; i++)
		{
			int64_t user = ask->users[first + i];
			top_items *top = &tops[i];
			double worst = top->count == top->most ? top->items[0].score : -INFINITY;

			if (user < 0)
				continue;
			r->kernels->dots(scoring->factors + (size_t) i * r->width, r->factors + (size_t) start * r->width,
			                 here, r->width, scores);
			for (uint32_t j = 0; j < here; j++)
			{
				uint32_t end = r->taken.starts[user + 1];

				if (!(scores[j] > worst))
					continue;
				while (seen[i] < end && r->taken.columns[seen[i]] < start + j)
					seen[i]++;
				if (seen[i] < end && r->taken.columns[seen[i]] == start + j)
					continue;
				offer(top, start + j, scores[j]);
				worst = top->count == top->most ? top->items[0].score : -INFINITY;
			}
		}
	}
	for (int i = 0; i < count; i++)
		finish_top(&tops[i]);
}

static void
ask_block(void *ctx, uint32_t item, int thread)
{
	const asking *ask = ctx;
	size_t first = (size_t) item * USERS_PER_ITEM;
	int count = ask->count - first < USERS_PER_ITEM ? (int) (ask->count - first) : USERS_PER_ITEM;
	desk *scoring = &ask->scoring[thread];
	top_items tops[USERS_PER_ITEM];

	for (int i = 0; i < count; i++)
		tops[i] = (top_items){ask->recommendations + (first + i) * ask->top, 0, ask->top};
	if (ask->recommender->settings.method == PE_RECOMMEND_ALS)
		score_tiles(ask, first, count, scoring, tops, thread);
	for (int i = 0; i < count; i++)
	{
		int64_t user = ask->users[first + i];

		if (pe_team_poll(ask->team, thread))
			return;
		if (ask->recommender->settings.method == PE_RECOMMEND_ITEM_ITEM && user >= 0)
			sum_similarities(ask, user, scoring, &tops[i], thread);
		if (tops[i].count < tops[i].most)
			fill_by_popularity(ask, user, scoring->marks, &tops[i]);
		ask->counts[first + i] = tops[i].count;
	}
}

static bool
prepare_scoring(const pe_env *env, const pe_recommender *recommender, desk *scoring)
{
	size_t items = recommender->taken.columns_count, width = (size_t) recommender->width;
	bool als = recommender->settings.method == PE_RECOMMEND_ALS;
	bool item_item = recommender->settings.method == PE_RECOMMEND_ITEM_ITEM;

	scoring->marks = pe_calloc(env, items, 1);
	if (als)
	{
		scoring->factors = pe_calloc(env, USERS_PER_ITEM * width, sizeof(float));
		scoring->scratch = pe_calloc(env, width * (width + 1), sizeof(double));
	}
	if (item_item)
	{
		scoring->sums = pe_calloc(env, items, sizeof(double));
		scoring->touched = pe_calloc(env, items, sizeof(uint32_t));
	}
	return scoring->marks != NULL && (!als || (scoring->factors != NULL && scoring->scratch != NULL)) &&
	       (!item_item || (scoring->sums != NULL && scoring->touched != NULL));
}

pe_status
pe_recommend_on_team(const pe_env *env, pe_team *team, const pe_recommender *recommender,
                     const int64_t *users, size_t count, int top, pe_recommendation *recommendations,
                     int *counts, pe_error *err)
{
	int threads = pe_team_threads(team);
	asking ask = {team, recommender, users, count, top, recommendations, counts, NULL};
	size_t blocks = (count + USERS_PER_ITEM - 1) / USERS_PER_ITEM;
	pe_status status = PE_OK;

	if (top < 1 || top > PE_MAX_TOP || blocks > UINT32_MAX)
		return pe_fail(err, PE_LIMIT, "%d recommendations were asked for, %d are the most", top, PE_MAX_TOP);
	ask.scoring = pe_calloc(env, threads, sizeof(desk));
	if (ask.scoring == NULL)
		return pe_fail_memory(err);
	for (int i = 0; i < threads && status == PE_OK; i++)
	{
		if (!prepare_scoring(env, recommender, &ask.scoring[i]))
			status = pe_fail_memory(err);
	}
	if (status == PE_OK && !pe_team_run(team, ask_block, &ask, (uint32_t) blocks))
		status = pe_fail(err, PE_CANCELLED, "cancelled");
	for (int i = 0; i < threads; i++)
	{
		pe_free(env, ask.scoring[i].marks);
		pe_free(env, ask.scoring[i].factors);
		pe_free(env, ask.scoring[i].scratch);
		pe_free(env, ask.scoring[i].sums);
		pe_free(env, ask.scoring[i].touched);
	}
	pe_free(env, ask.scoring);
	return status;
}

pe_status
pe_recommender_recommend(const pe_env *env, const pe_recommender *recommender, const int64_t *users,
                         size_t count, int top, int threads, pe_recommendation *recommendations, int *counts,
                         pe_error *err)
{
	pe_team *team = pe_team_create(env, count > USERS_PER_ITEM ? threads : 1);
	pe_status status;

	if (team == NULL)
		return pe_fail_memory(err);
	pe_team_phase(team, "score", 0, count);
	status = pe_recommend_on_team(env, team, recommender, users, count, top, recommendations, counts, err);
	pe_team_free(team);
	return status;
}

pe_status
pe_recommender_similar(const pe_env *env, const pe_recommender *recommender, uint32_t item, int top,
                       pe_recommendation *similar, int *count, pe_error *err)
{
	const pe_recommender *r = recommender;
	top_items best = {similar, 0, top};
	uint32_t items = r->taken.columns_count;

	*count = 0;
	if (top < 1 || top > PE_MAX_TOP)
		return pe_fail(err, PE_LIMIT, "%d items were asked for, %d are the most", top, PE_MAX_TOP);
	if (r->settings.method == PE_RECOMMEND_POPULARITY)
	{
		pe_fail(err, PE_UNSUPPORTED, "popularity does not tell which items are alike");
		pe_error_hint(err, "Train with algorithm item_item or implicit_als.");
		return PE_UNSUPPORTED;
	}
	if (r->settings.method == PE_RECOMMEND_ITEM_ITEM)
	{
		for (uint32_t at = r->similarities.starts[item]; at < r->similarities.starts[item + 1]; at++)
			offer(&best, r->similarities.columns[at], r->similarities.values[at]);
	}
	else
	{
		const float *x = r->factors + (size_t) item * r->width;
		float own, both, length;

		r->kernels->dots(x, x, 1, r->width, &own);
		for (uint32_t other = 0; other < items; other++)
		{
			const float *y = r->factors + (size_t) other * r->width;

			if (other % 16384 == 0 && pe_stopped(env, "score", other, items))
				return pe_fail(err, PE_CANCELLED, "cancelled");
			r->kernels->dots(x, y, 1, r->width, &both);
			r->kernels->dots(y, y, 1, r->width, &length);
			if (other != item && own > 0 && length > 0)
				offer(&best, other, (double) both / (sqrt(own) * sqrt(length)));
		}
	}
	finish_top(&best);
	*count = best.count;
	return PE_OK;
}
