/*
 * train.c
 *		From interactions to a recommender, and its evaluation in words.
 */
#include "model/recommend/internal.h"

#define LEAST_USERS 50

const char *
pe_recommend_quality_name(pe_recommend_quality quality)
{
	switch (quality)
	{
		case PE_QUALITY_NOT_EVALUATED:
			return "not evaluated";
		case PE_QUALITY_TOO_FEW:
			return "too few users to tell";
		case PE_QUALITY_BASELINE:
			return "does not beat popularity";
		case PE_QUALITY_BETTER:
			return "beats popularity";
	}
	return NULL;
}

void
pe_recommend_judge(pe_recommend_evaluation *evaluation, const pe_recommend_options *options)
{
	pe_recommend_evaluation *e = evaluation;
	double model = e->model.recall * 100, popularity = e->popularity.recall * 100;

	if (!e->evaluated)
	{
		e->quality = PE_QUALITY_NOT_EVALUATED;
		if (options->holdout > 0)
			snprintf(e->sentence, sizeof(e->sentence),
			         "Not evaluated: no user has the %d items that it takes to hold the last ones out.",
			         options->min_items > 2 ? options->min_items : 2);
		else
			snprintf(e->sentence, sizeof(e->sentence), "Not evaluated: holdout is 0.");
		return;
	}
	if (e->scored_users < LEAST_USERS)
	{
		e->quality = PE_QUALITY_TOO_FEW;
		snprintf(e->sentence, sizeof(e->sentence),
		         "Only %lld users could be evaluated, %d are the least that say something.",
		         (long long) e->scored_users, LEAST_USERS);
	}
	else if (options->method == PE_RECOMMEND_POPULARITY)
		snprintf(
		    e->sentence, sizeof(e->sentence),
		    "Popularity is what is recommended: its first %d hit %.1f %% of the last items of %lld users%s.",
		    PE_EVALUATED_AT, popularity, (long long) e->scored_users,
		    e->n_candidates > 1 ? ", and nothing that was tried does better" : "");
	else if (e->quality == PE_QUALITY_BASELINE)
		snprintf(
		    e->sentence, sizeof(e->sentence),
		    "Does not beat popularity: the first %d recommendations hit %.1f %% of the last items of %lld "
		    "users, the most popular items %.1f %%, which is no more than chance makes of it.",
		    PE_EVALUATED_AT, model, (long long) e->scored_users, popularity);
	else
		snprintf(
		    e->sentence, sizeof(e->sentence),
		    "Beats popularity: the first %d recommendations hit %.1f %% of the last items of %lld users, the "
		    "most popular items %.1f %%.",
		    PE_EVALUATED_AT, model, (long long) e->scored_users, popularity);
}

static pe_status
fit_all(const pe_env *env, pe_team *team, const pe_recommend_options *options, pe_history *history,
        pe_recommender **recommender, pe_recommend_evaluation *evaluation, pe_error *err)
{
	pe_recommender *made = pe_calloc(env, 1, sizeof(*made));
	pe_status status;

	if (made == NULL)
		return pe_fail_memory(err);
	made->env = *env;
	made->env.tick = NULL;
	made->env.tick_ctx = NULL;
	made->users = history->users;
	made->items = history->items;
	made->taken = history->taken;
	memset(&history->users, 0, sizeof(history->users));
	memset(&history->items, 0, sizeof(history->items));
	memset(&history->taken, 0, sizeof(history->taken));
	status = pe_recommender_fit(env, team, options, made, &evaluation->objective, err);
	if (status == PE_OK)
		*recommender = made;
	else
		pe_recommender_free(made);
	return status;
}

pe_status
pe_recommend_train(const pe_env *env, pe_interactions *interactions, const pe_recommend_options *options,
                   pe_recommender **recommender, pe_recommend_evaluation *evaluation, pe_error *err)
{
	pe_recommend_options own = *options;
	pe_history history;
	pe_team *team;
	pe_status status;

	*recommender = NULL;
	memset(evaluation, 0, sizeof(*evaluation));
	if (pe_stopped(env, "prepare", 0, 0))
		return pe_fail(err, PE_CANCELLED, "cancelled");
	status = pe_history_create(env, interactions, options, &history, err);
	if (status != PE_OK)
		return status;
	team = pe_team_create(env, options->threads);
	status = team == NULL ? pe_fail_memory(err)
	                      : pe_recommend_evaluate(env, team, &history, &own, evaluation, err);
	pe_free(env, history.first);
	history.first = NULL;
	if (status == PE_OK)
		status = fit_all(env, team, &own, &history, recommender, evaluation, err);
	pe_team_free(team);
	pe_history_free(env, &history);
	return status;
}
