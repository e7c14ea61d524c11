/*
 * leakage_scan.c
 *		leakage_scan(): how well each feature alone tells the target, before anything is
 *		trained.
 */
#include "postgres.h"

#include <math.h>

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "pg/arguments.h"
#include "pg/env.h"
#include "pg/guc.h"
#include "pg/report.h"
#include "pg/training.h"

typedef struct Ranked
{
	int feature;
	double strength;
} Ranked;

static int
by_strength(const void *left, const void *right)
{
	const Ranked *a = left;
	const Ranked *b = right;

	if (a->strength != b->strength)
		return a->strength > b->strength ? -1 : 1;
	return a->feature - b->feature;
}

/* The linear family keeps numbers as they are. */
static pe_algorithm
algorithm_of(pe_task task)
{
	switch (task)
	{
		case PE_TASK_VALUE:
			return PE_ALGORITHM_LINEAR;
		case PE_TASK_AFFINITY:
			return PE_ALGORITHM_MULTINOMIAL;
		default:
			return PE_ALGORITHM_LOGISTIC;
	}
}

static void
put_rows(ReturnSetInfo *rsinfo, const PeTraining *training, const double *strengths, const int *classes)
{
	pe_task task = training->request->task;
	int n = training->columns.n_features;
	Ranked *ranked = palloc(sizeof(Ranked) * n);

	for (int i = 0; i < n; i++)
		ranked[i] = (Ranked){i, strengths[i]};
	qsort(ranked, n, sizeof(Ranked), by_strength);
	for (int i = 0; i < n; i++)
	{
		const PeFeature *feature = &training->columns.features[ranked[i].feature];
		size_t length = 0;
		const char *class =
		    task == PE_TASK_AFFINITY
		        ? pe_dataset_class_text(training->dataset, classes[ranked[i].feature], &length)
		        : NULL;
		Datum values[6] = {CStringGetTextDatum(feature->name),
		                   CStringGetTextDatum(feature->column),
		                   Float8GetDatum(ranked[i].strength),
		                   CStringGetTextDatum(task == PE_TASK_VALUE ? "r2" : "auc"),
		                   class != NULL ? PointerGetDatum(cstring_to_text_with_len(class, (int) length))
		                                 : (Datum) 0,
		                   BoolGetDatum(pe_is_suspicious(task, ranked[i].strength))};
		bool nulls[6] = {false, false, false, false, class == NULL, false};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

PG_FUNCTION_INFO_V1(pe_leakage_scan);

/* leakage_scan(source, target, task, options) -> (feature, column_name, strength, measure, class, suspicious)
 */
Datum
pe_leakage_scan(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context;
	PeTrainRequest *request;
	PeTraining *training;
	double *strengths;
	int *classes;
	pe_error error;

	InitMaterializedSRF(fcinfo, 0);
	context = AllocSetContextCreate(caller, "profenrich scan", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	request = pe_scan_request(pe_text_argument(fcinfo, 0, "source"), pe_text_argument(fcinfo, 1, "target"),
	                          PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2)),
	                          PG_ARGISNULL(3) ? NULL : PG_GETARG_JSONB_P(3), context);
	training = pe_training_read(request, algorithm_of(request->task));
	strengths = palloc0(sizeof(double) * training->columns.n_features);
	classes = palloc0(sizeof(int) * training->columns.n_features);
	pe_check(pe_scan_features(&training->request->env, training->dataset, training->request->task, pe_threads,
	                          strengths, classes, &error),
	         &error);
	put_rows(rsinfo, training, strengths, classes);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	return (Datum) 0;
}
