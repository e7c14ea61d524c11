/*
 * predict.c
 *		predict, classify and explain: one row at a time, anywhere SQL goes.
 *
 * What a call site needs (model, mapping of the row type's columns) is worked out at
 * its first row and kept in fn_extra until the model, the row type or the deployed
 * version changes.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

#include "model/engagement/engagement.h"
#include "pg/models.h"

typedef struct CallSite
{
	MemoryContext context; /* everything below; deleting it lets go of the model */
	char *name;
	int version;
	uint64 generation;
	uint64 row_type; /* the server's identifier of this very shape of the type */
	TupleDesc desc;
	const PeModel *model;
	PeBinding *binding;
	Datum *datums;
	bool *nulls;
	double *values;
} CallSite;

static bool
same_text(const text *left, const char *right)
{
	size_t length = VARSIZE_ANY_EXHDR(left);

	return length == strlen(right) && memcmp(VARDATA_ANY(left), right, length) == 0;
}

static CallSite *
make_site(FmgrInfo *function, const text *name, int version, HeapTupleHeader row)
{
	MemoryContext context =
	    AllocSetContextCreate(function->fn_mcxt, "profenrich call site", ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	CallSite *site = palloc0(sizeof(CallSite));
	Oid type = HeapTupleHeaderGetTypeId(row);
	int32 typmod = HeapTupleHeaderGetTypMod(row);
	TupleDesc desc = lookup_rowtype_tupdesc_copy(type, typmod);

	site->context = context;
	site->name = text_to_cstring(name);
	site->version = version;
	site->model = pe_model_open(site->name, version, context);
	site->generation = pe_model_generation();
	site->row_type = assign_record_type_identifier(type, typmod);
	site->desc = desc;
	site->binding = pe_bind(site->model, desc, "the profile");
	site->datums = palloc(sizeof(Datum) * Max(desc->natts, 1));
	site->nulls = palloc(sizeof(bool) * Max(desc->natts, 1));
	site->values = palloc(sizeof(double) * Max(site->model->n_features, 1));
	MemoryContextSwitchTo(caller);
	return site;
}

/*
 * The site for arguments (model, row, version), its values filled from the row; NULL
 * when model or row is null. texts as in pe_bind_values.
 */
static CallSite *
prepare(FunctionCallInfo fcinfo, int version_argument, char ***texts)
{
	FmgrInfo *function = fcinfo->flinfo;
	CallSite *site = (CallSite *) function->fn_extra;
	text *name;
	int version = 0;
	HeapTupleHeader row;
	HeapTupleData tuple;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		return NULL;
	name = PG_GETARG_TEXT_PP(0);
	row = PG_GETARG_HEAPTUPLEHEADER(1);
	if (version_argument < PG_NARGS())
		version = pe_version_argument(fcinfo, version_argument);
	if (site == NULL || site->version != version || site->generation != pe_model_generation() ||
	    !same_text(name, site->name) ||
	    site->row_type !=
	        assign_record_type_identifier(HeapTupleHeaderGetTypeId(row), HeapTupleHeaderGetTypMod(row)))
	{
		function->fn_extra = NULL;
		if (site != NULL)
			MemoryContextDelete(site->context);
		site = make_site(function, name, version, row);
		function->fn_extra = site;
	}
	tuple.t_len = HeapTupleHeaderGetDatumLength(row);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = row;
	heap_deform_tuple(&tuple, site->desc, site->datums, site->nulls);
	if (texts != NULL)
		*texts = palloc(sizeof(char *) * Max(site->model->n_features, 1));
	pe_bind_values(site->binding, site->datums, site->nulls, site->values, texts != NULL ? *texts : NULL);
	return site;
}

const PeModel *
pe_profile_inputs(FunctionCallInfo fcinfo, int version_argument, double **values)
{
	CallSite *site = prepare(fcinfo, version_argument, NULL);

	if (site == NULL)
		return NULL;
	*values = site->values;
	return site->model;
}

PG_FUNCTION_INFO_V1(pe_predict);

/* predict(model, profile, version) -> probability or value. */
Datum
pe_predict(PG_FUNCTION_ARGS)
{
	CallSite *site = prepare(fcinfo, 2, NULL);

	if (site == NULL)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(pe_model_predict(site->model->core, site->values));
}

/* The first of equals, as the class that predict and explain are about. */
static const char *
most_probable_class(const CallSite *site)
{
	double margins[PE_MAX_CLASSES];
	int best = 0;

	pe_model_margins(site->model->core, site->values, margins);
	for (int i = 1; i < pe_model_class_count(site->model->core); i++)
		if (margins[i] > margins[best])
			best = i;
	return pe_model_class(site->model->core, best);
}

PG_FUNCTION_INFO_V1(pe_classify);

/* classify(model, profile, version) -> the target's label that the probability stands for. */
Datum
pe_classify(PG_FUNCTION_ARGS)
{
	CallSite *site = prepare(fcinfo, 2, NULL);
	double probability;

	if (site == NULL)
		PG_RETURN_NULL();
	if (site->model->task == PE_TASK_ENGAGEMENT)
	{
		double points = pe_model_predict(site->model->core, site->values);

		PG_RETURN_TEXT_P(cstring_to_text(
		    pe_model_engagement(site->model->core)->tiers[pe_model_tier(site->model->core, points)]));
	}
	if (site->model->task == PE_TASK_SEGMENT)
		PG_RETURN_TEXT_P(
		    cstring_to_text(psprintf("segment %.0f", pe_model_predict(site->model->core, site->values))));
	if (site->model->task == PE_TASK_AFFINITY)
		PG_RETURN_TEXT_P(cstring_to_text(most_probable_class(site)));
	if (site->model->task != PE_TASK_PROPENSITY || site->model->positive_label == NULL)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
		                errmsg("model \"%s\" has the task %s, which has no classes", site->model->name,
		                       pe_task_name(site->model->task)),
		                errhint("Use predict.")));
	probability = pe_model_predict(site->model->core, site->values);
	PG_RETURN_TEXT_P(cstring_to_text(probability >= site->model->threshold ? site->model->positive_label
	                                                                       : site->model->negative_label));
}

typedef struct Ranked
{
	int feature;
	double size;
} Ranked;

static int
by_size(const void *left, const void *right)
{
	const Ranked *a = left;
	const Ranked *b = right;

	if (a->size != b->size)
		return a->size > b->size ? -1 : 1;
	return a->feature - b->feature;
}

static void
put_reason(ReturnSetInfo *rsinfo, const char *feature, const char *value, double contribution)
{
	Datum values[3] = {CStringGetTextDatum(feature), value != NULL ? CStringGetTextDatum(value) : (Datum) 0,
	                   Float8GetDatum(contribution)};
	bool nulls[3] = {false, value == NULL, false};

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

PG_FUNCTION_INFO_V1(pe_explain);

/* explain(model, profile, top, version) -> (feature, value, contribution); top NULL: all, and the base. */
Datum
pe_explain(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	char **texts;
	CallSite *site;
	const PeModel *model;
	double *contributions;
	double base;
	Ranked *ranked;
	void *scratch;
	int top;

	InitMaterializedSRF(fcinfo, 0);
	site = prepare(fcinfo, 3, &texts);
	if (site == NULL)
		return (Datum) 0;
	model = site->model;
	if (!pe_model_explains(model->core))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
		                errmsg("model \"%s\" has the algorithm %s, which gives no reasons", model->name,
		                       pe_algorithm_name(pe_model_algorithm(model->core))),
		                errhint("See profenrich.feature_importance for what matters to all rows.")));
	top = PG_ARGISNULL(2) ? model->n_features : PG_GETARG_INT32(2);
	if (top < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("top must not be negative")));
	contributions = palloc(sizeof(double) * Max(model->n_features, 1));
	scratch = palloc(pe_model_explain_scratch(model->core) + 1);
	pe_model_explain(model->core, site->values, scratch, contributions, &base);
	ranked = palloc(sizeof(Ranked) * Max(model->n_features, 1));
	for (int i = 0; i < model->n_features; i++)
		ranked[i] = (Ranked){i, fabs(contributions[i])};
	qsort(ranked, model->n_features, sizeof(Ranked), by_size);
	if (PG_ARGISNULL(2))
		put_reason(rsinfo, "(base)", NULL, base);
	for (int i = 0; i < Min(top, model->n_features); i++)
	{
		int feature = ranked[i].feature;
		const char *value = texts[feature] != NULL ? texts[feature] : NULL;

		if (!pe_feature_is_category(&model->features[feature]))
			value = pe_feature_display(&model->features[feature], site->values[feature]);
		put_reason(rsinfo, model->features[feature].name, value, contributions[feature]);
	}
	return (Datum) 0;
}
