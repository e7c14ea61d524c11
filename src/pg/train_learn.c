/*
 * train_learn.c
 *		From a dataset to a model and its evaluation: at once, after a search, again on all
 *		rows, or in two parts.
 */
#include "postgres.h"

#include <math.h>

#include "utils/builtins.h"

#include "pg/report.h"
#include "pg/training.h"

/* Before the rows are read, half of them may turn out to be held out by time. */
#define HOLDOUT_BY_TIME 0.5

/* The largest value of what makes trees large, the one that a trial may need most room for. */
static void
set_largest(pe_options *options, const pe_search_dimension *dimension)
{
	static const char *const growing[] = {"trees", "max_depth", "max_leaves", "max_bins"};
	double largest = dimension->to;
	pe_error error;

	for (int i = 0; i < dimension->n_values; i++)
		largest = Max(largest, strtod(dimension->values[i], NULL));
	for (int i = 0; i < lengthof(growing); i++)
		if (strcmp(dimension->name, growing[i]) == 0)
			pe_check(pe_options_set(options, growing[i], psprintf("%.0f", largest), &error), &error);
}

pe_options
pe_training_reckoning(const PeTraining *training)
{
	pe_options options = training->options.core;
	const pe_search *search = training->options.search;

	if (training->columns.holdout >= 0 && training->held_out == 0)
		options.holdout = HOLDOUT_BY_TIME;
	for (int i = 0; search != NULL && i < search->n_dimensions; i++)
		set_largest(&options, &search->dimensions[i]);
	return options;
}

char *
pe_training_holdout(const PeTraining *training)
{
	const PeTrainOptions *options = &training->options;

	if (options->holdout_from != NULL)
		return psprintf("\"%s\" from %s on",
		                options->holdout_column != NULL ? options->holdout_column : PE_SNAPSHOT_COLUMN,
		                options->holdout_from);
	if (!(options->core.holdout > 0))
		return pstrdup("none");
	if (options->key != NULL)
		return psprintf("%g %% by hash of \"%s\"", 100 * options->core.holdout, options->key);
	return psprintf("%g %% by hash of the row's number", 100 * options->core.holdout);
}

#define MAX_SHOWN_NOTES 3

static void
report_notes(const pe_model *model)
{
	int n = pe_model_note_count(model);

	for (int i = 0; i < Min(n, MAX_SHOWN_NOTES); i++)
		ereport(NOTICE, (errmsg("%s", pe_valid_text(pe_model_note(model, i)))));
	if (n > MAX_SHOWN_NOTES)
		ereport(NOTICE, (errmsg("%d more notes are in evaluation()", n - MAX_SHOWN_NOTES)));
}

void
pe_training_learn(PeTraining *training)
{
	PeTrainRequest *request = training->request;
	const pe_env *env = &request->env;
	pe_status status;
	pe_error error;

	training->evaluation = palloc0(sizeof(pe_evaluation));
	if (training->options.search != NULL)
		pe_training_search(training);
	pe_enter_phase(&request->timing, "fit");
	if (training->algorithm == PE_ALGORITHM_TWO_PART)
		status = pe_train_two_part(env, training->dataset, &training->options.core, &training->model,
		                           training->evaluation, &error);
	else if (training->options.refit)
		status = pe_train_refit(env, training->dataset, request->task, &training->options.core,
		                        &training->model, training->evaluation, &error);
	else
		status = pe_train(env, training->dataset, request->task, &training->options.core, &training->model,
		                  training->evaluation, &error);
	pe_check(status, &error);
	report_notes(training->model);
}
