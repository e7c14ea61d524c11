/*
 * scan.c
 *		How well each feature alone tells the target, before anything is trained: what
 *		restates the target shows here.
 */
#include "model/internal.h"
#include "model/selection.h"

#define SCANNED_ROWS    20000
#define SCANNED_CLASSES 20 /* the most frequent ones */
#define LEAST_ROWS      10 /* fewer rows of a class are told by chance */

typedef struct scan
{
	const pe_env *env;
	const pe_dataset *dataset;
	pe_task task;
	int threads;
	uint8_t *uses;   /* every row, or as many as are enough */
	double *targets; /* of one class against all others */
	double *strengths;
	pe_error *err;
} scan;

/* The strengths of all features for the targets that there are. */
static pe_status
scan_once(scan *s, const double *targets)
{
	pe_options options;
	pe_split_rows rows = {0};
	pe_slot_map map = {0};
	pe_dataset *sample = NULL;
	pe_fit fit = {.env = s->env, .options = &options, .rows = &rows, .map = &map, .err = s->err};
	pe_status status = pe_dataset_copy(s->env, s->dataset, s->uses, targets, &sample, s->err);

	if (status != PE_OK)
		return status;
	pe_options_init(&options, sample->algorithm);
	fit.dataset = sample;
	fit.task = s->task == PE_TASK_VALUE ? PE_TASK_VALUE : PE_TASK_PROPENSITY;
	fit.pool = pe_team_create(s->env, s->threads);
	rows.train = pe_alloc(s->env, sample->rows * sizeof(uint32_t));
	if (fit.pool == NULL || rows.train == NULL)
		status = pe_fail_memory(s->err);
	for (uint64_t row = 0; row < sample->rows && status == PE_OK; row++)
		if (pe_dataset_weight(sample, row) > 0)
			rows.train[rows.n_train++] = (uint32_t) row;
	if (status == PE_OK)
		status = pe_model_create(s->env, sample, fit.task, &fit.model, s->err);
	if (status == PE_OK)
		status = pe_choose_levels(fit.model, sample, &rows, fit.pool, &map, s->err);
	if (status == PE_OK)
		status = pe_feature_strengths(&fit, s->strengths);
	pe_team_free(fit.pool);
	pe_free(s->env, rows.train);
	pe_free(s->env, map.slots);
	pe_free(s->env, map.arena);
	pe_model_free(fit.model);
	pe_dataset_free(sample);
	return status;
}

/* The class with the most rows of those not done; -1: none has enough. */
static int
next_class(const double *counts, const bool *done, int n)
{
	int best = -1;

	for (int i = 0; i < n; i++)
		if (!done[i] && counts[i] >= LEAST_ROWS && (best < 0 || counts[i] > counts[best]))
			best = i;
	return best;
}

static pe_status
scan_classes(scan *s, double *strengths, int *classes)
{
	double counts[PE_MAX_CLASSES] = {0};
	bool done[PE_MAX_CLASSES] = {false};
	int n = (int) s->dataset->classes.count;
	pe_status status = PE_OK;

	for (uint64_t row = 0; row < s->dataset->rows; row++)
		if (s->uses[row] != PE_ROW_LEFT_OUT)
			counts[(int) pe_dataset_target(s->dataset, row)]++;
	for (int i = 0; i < s->dataset->n_features; i++)
	{
		strengths[i] = 0;
		classes[i] = -1;
	}
	for (int round = 0; round < SCANNED_CLASSES && status == PE_OK; round++)
	{
		int class = next_class(counts, done, n);

		if (class < 0)
			break;
		done[class] = true;
		for (uint64_t row = 0; row < s->dataset->rows; row++)
			s->targets[row] = pe_dataset_target(s->dataset, row) == class;
		status = scan_once(s, s->targets);
		for (int i = 0; i < s->dataset->n_features && status == PE_OK; i++)
			if (s->strengths[i] > strengths[i])
			{
				strengths[i] = s->strengths[i];
				classes[i] = class;
			}
	}
	return status;
}

pe_status
pe_scan_features(const pe_env *env, const pe_dataset *dataset, pe_task task, int threads, double *strengths,
                 int *classes, pe_error *err)
{
	scan s = {.env = env, .dataset = dataset, .task = task, .threads = threads, .err = err};
	pe_status status = PE_OK;

	if (!dataset->exact)
		return pe_fail(err, PE_INTERNAL, "a scan needs a dataset of the linear family");
	s.uses = pe_calloc(env, dataset->rows, 1);
	s.targets = pe_alloc(env, dataset->rows * sizeof(double));
	s.strengths = pe_calloc(env, dataset->n_features, sizeof(double));
	if (s.uses == NULL || s.targets == NULL || s.strengths == NULL)
		status = pe_fail_memory(err);
	for (uint64_t row = 0, n = dataset->rows < SCANNED_ROWS ? dataset->rows : SCANNED_ROWS;
	     row < n && status == PE_OK; row++)
		s.uses[row * dataset->rows / n] = PE_ROW_TRAINED;
	if (status == PE_OK && task == PE_TASK_AFFINITY)
		status = scan_classes(&s, strengths, classes);
	else if (status == PE_OK)
	{
		status = scan_once(&s, NULL);
		if (status == PE_OK)
			memcpy(strengths, s.strengths, dataset->n_features * sizeof(double));
	}
	pe_free(env, s.uses);
	pe_free(env, s.targets);
	pe_free(env, s.strengths);
	return status;
}

const char *
pe_dataset_class_text(const pe_dataset *dataset, int class, size_t *length)
{
	const pe_dictionary *classes = &dataset->classes;

	if (class < 0 || (uint32_t) class >= classes->count)
		return NULL;
	*length = classes->starts[class + 1] - classes->starts[class];
	return classes->arena + classes->starts[class];
}

int
pe_dataset_class_count(const pe_dataset *dataset)
{
	return (int) dataset->classes.count;
}
