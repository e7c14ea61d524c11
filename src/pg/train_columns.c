/*
 * train_columns.c
 *		Which columns of a source become features, and how.
 *
 * Types decide the treatment, but three things only the rows can tell: whether a
 * text column is a category or names each row, which keys a jsonb column has, and
 * whether a column holds anything at all. So the first rows are looked at before the
 * training reads all of them; the look ends as soon as every column is decided.
 */
#include "postgres.h"

#include <ctype.h>
#include <math.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "pg/json_feature.h"
#include "pg/owner.h"
#include "pg/progress.h"
#include "pg/train.h"

#define SAMPLE_VALUES    10000 /* values of a text or jsonb column that are looked at */
#define MIN_FOR_IDENTITY 20    /* fewer texts than this say nothing about being distinct */
#define IDENTITY_SHARE   0.9   /* distinct texts among all: above it, the column names rows */
#define MAX_NAMED        20    /* columns that a message lists */

typedef struct Candidate
{
	int column; /* index in the source */
	const char *name;
	PeTreatment treatment;
	PeTreatment wanted; /* by the user; 0: nothing in particular */
	bool named;         /* the user asked for it by name */
	PeInput input;
	bool decided;
	bool seen; /* has a value that is not null */
	int64 values;
	int64 distinct;
	HTAB *texts;          /* hashes of the texts, PE_TREAT_CATEGORY */
	PeJsonLook *parts;    /* of those whose parts become features */
	const char *left_out; /* why; NULL: it stays */
} Candidate;

typedef struct Look
{
	Candidate *candidates;
	int n;
	int undecided;
	bool need_latest; /* there are ages without a snapshot date */
	double latest;    /* the latest date of all age columns, in days */
	uint64 rows;
	MemoryContext context;
} Look;

static bool
list_has(const List *names, const char *name)
{
	ListCell *cell;

	foreach (cell, names)
	{
		if (strcmp((const char *) lfirst(cell), name) == 0)
			return true;
	}
	return false;
}

/* ---- looking at rows ------------------------------------------------------------------ */

static void
look_at_text(Look *look, Candidate *candidate, Datum value)
{
	size_t length;
	const char *text = pe_input_text(&candidate->input, value, &length);
	uint64 hash = pe_hash_bytes(text, length, 0);
	bool found;

	if (candidate->texts == NULL)
	{
		HASHCTL control = {.keysize = sizeof(uint64), .entrysize = sizeof(uint64), .hcxt = look->context};

		candidate->texts =
		    hash_create("distinct texts", 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	(void) hash_search(candidate->texts, &hash, HASH_ENTER, &found);
	if (!found)
		candidate->distinct++;
}

/* A value whose parts become features; why not, or NULL. */
static const char *
look_at_parts(Look *look, Candidate *candidate, Datum value)
{
	const char *left_out;
	double latest;

	if (candidate->parts == NULL)
		candidate->parts = pe_json_look_create(look->context, &candidate->input, candidate->wanted);
	left_out = pe_json_look_at(candidate->parts, value);
	latest = pe_json_look_latest(candidate->parts);
	if (look->need_latest && candidate->treatment == PE_TREAT_SEGMENT_AGE && !isnan(latest) &&
	    !(latest <= look->latest))
		look->latest = latest;
	return left_out;
}

/* One value that is not null. */
static void
look_at_value(Look *look, Candidate *candidate, Datum value)
{
	candidate->seen = true;
	candidate->values++;
	switch (candidate->treatment)
	{
		case PE_TREAT_CATEGORY:
			if (!candidate->named)
				look_at_text(look, candidate, value);
			candidate->decided = candidate->named || candidate->values >= SAMPLE_VALUES;
			break;
		case PE_TREAT_AGE:
		{
			double day = pe_input_number(&candidate->input, value);

			candidate->decided = !look->need_latest;
			if (!isnan(day) && (isnan(look->latest) || day > look->latest))
				look->latest = day;
			break;
		}
		case PE_TREAT_NUMBER:
		case PE_TREAT_BOOLEAN:
			candidate->decided = true;
			break;
		default:
			candidate->left_out = look_at_parts(look, candidate, value);
			candidate->decided = candidate->left_out != NULL || candidate->values >= SAMPLE_VALUES;
			break;
	}
	if (candidate->decided)
		look->undecided--;
}

static bool
look_at_row(void *arg, TupleTableSlot *slot)
{
	Look *look = (Look *) arg;

	if ((++look->rows & 4095) == 0)
		pe_progress_publish("look", look->rows, 0);
	for (int i = 0; i < look->n; i++)
	{
		Candidate *candidate = &look->candidates[i];

		if (!candidate->decided && !slot->tts_isnull[i])
			look_at_value(look, candidate, slot->tts_values[i]);
	}
	return look->undecided > 0;
}

static void
look_at_rows(Look *look, const PeSource *source)
{
	int *columns = palloc(sizeof(int) * Max(look->n, 1));

	for (int i = 0; i < look->n; i++)
		columns[i] = look->candidates[i].column;
	look->undecided = look->n;
	look->latest = NAN;
	look->context = CurrentMemoryContext;
	if (look->n > 0)
		pe_source_read(source, columns, look->n, PE_SOURCE_ORDERED, look_at_row, look);
}

/* ---- choosing ------------------------------------------------------------------------- */

/*
 * Where our own enrichments put their attributes ("acme.churnNightly"): yesterday's
 * score must not teach today's model.
 */
static List *
own_prefixes(void)
{
	MemoryContext caller = CurrentMemoryContext;
	List *prefixes = NIL;

	SPI_connect();
	pe_owner_execute("SELECT t.tenant || '.' || e.name FROM profenrich.enrichment e"
	                 " JOIN profenrich.enrichment_target t USING (enrichment_id)",
	                 0, NULL, NULL, NULL, true, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		char *prefix = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);

		if (prefix != NULL)
		{
			MemoryContext spi = MemoryContextSwitchTo(caller);

			prefixes = lappend(prefixes, pstrdup(prefix));
			MemoryContextSwitchTo(spi);
		}
	}
	SPI_finish();
	return prefixes;
}

/*
 * Is name the column that a load makes for an attribute under prefix? Loads write
 * paths in snake case ("acme_churn_nightly_probability"), so case, underscores and
 * dots do not count, but the prefix must end where a word does.
 */
static bool
is_below(const char *name, const char *prefix)
{
	for (;;)
	{
		while (*prefix != '\0' && !isalnum((unsigned char) *prefix))
			prefix++;
		if (*prefix == '\0')
			return *name == '_';
		while (*name == '_')
			name++;
		if (pg_tolower((unsigned char) *name) != pg_tolower((unsigned char) *prefix))
			return false;
		name++;
		prefix++;
	}
}

static bool
is_own_output(const List *prefixes, const char *name)
{
	ListCell *cell;

	foreach (cell, prefixes)
	{
		if (is_below(name, (const char *) lfirst(cell)))
			return true;
	}
	return false;
}

/* What the user wants made of the column; 0: nothing in particular. */
static PeTreatment
wanted_treatment(const PeTrainOptions *options, const char *column)
{
	ListCell *cell;

	foreach (cell, options->treatments)
	{
		const PeWantedTreatment *wanted = (const PeWantedTreatment *) lfirst(cell);

		if (strcmp(wanted->column, column) == 0)
			return wanted->treatment;
	}
	return (PeTreatment) 0;
}

/* Names in options must be columns, and none that has another job. */
static void
check_named(const PeSource *source, const List *names, const char *role, const PeTrainColumns *chosen)
{
	ListCell *cell;

	foreach (cell, names)
	{
		const char *name = (const char *) lfirst(cell);
		int column = pe_source_need_column(source, name, role);

		for (int i = 0; chosen != NULL && i < chosen->n_columns; i++)
		{
			if (chosen->columns[i] == column)
				ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				                errmsg("column \"%s\" is the %s and cannot be a feature", name,
				                       i == chosen->target   ? "target"
				                       : i == chosen->key    ? "key"
				                       : i == chosen->weight ? "weight"
				                       : i == chosen->holdout && i != chosen->snapshot
				                           ? "column that rows are held out by"
				                           : "snapshot date")));
		}
	}
}

static bool
has_other_job(const PeTrainColumns *chosen, int column)
{
	for (int i = 0; i < chosen->n_columns; i++)
	{
		if (chosen->columns[i] == column)
			return true;
	}
	return false;
}

/* A candidate from one column, possibly left out at once. */
static Candidate
make_candidate(const PeSource *source, const PeTrainOptions *options, const List *prefixes, int column)
{
	Form_pg_attribute attribute = TupleDescAttr(source->desc, column);
	const char *name = NameStr(attribute->attname);
	PeTreatment wanted = wanted_treatment(options, name);
	Candidate candidate = {.column = column, .name = name, .wanted = wanted};

	candidate.named = list_has(options->include, name) || wanted != 0;
	candidate.treatment = wanted != 0 ? wanted : pe_treatment_of_type(attribute->atttypid);
	if (candidate.treatment == 0 ||
	    !pe_input_init(&candidate.input, attribute->atttypid, candidate.treatment))
	{
		if (candidate.named)
			ereport(
			    ERROR,
			    (errcode(ERRCODE_DATATYPE_MISMATCH),
			     errmsg("column \"%s\" of type %s cannot be a %s", name, format_type_be(attribute->atttypid),
			            candidate.treatment == 0 ? "feature" : pe_treatment_name(candidate.treatment)),
			     errhint("Cast it in the source, or leave it out.")));
		candidate.left_out = psprintf("of type %s", format_type_be(attribute->atttypid));
	}
	else if (!candidate.named && is_own_output(prefixes, name))
		candidate.left_out = "an attribute that an enrichment of ours wrote";
	return candidate;
}

/* Turns what was seen into a verdict. */
static void
judge(Candidate *candidate)
{
	PeFeature features[PE_JSON_MOST_FEATURES];

	if (candidate->left_out == NULL && candidate->treatment == PE_TREAT_CATEGORY && !candidate->named &&
	    candidate->values >= MIN_FOR_IDENTITY && candidate->distinct > IDENTITY_SHARE * candidate->values)
		candidate->left_out = "nearly every value is distinct";
	if (candidate->left_out == NULL && candidate->parts != NULL &&
	    pe_json_look_features(candidate->parts, candidate->name, features) == 0)
		candidate->left_out = "nothing in it that can be a feature";
	if (candidate->named && candidate->left_out != NULL)
		ereport(
		    ERROR,
		    (errcode(ERRCODE_DATATYPE_MISMATCH),
		     errmsg("column \"%s\" cannot be a feature: %s", candidate->name, candidate->left_out),
		     errhint(
		         "Numbers, booleans, texts, dates, flat jsonb objects, segment memberships and lists can.")));
	if (candidate->named && !candidate->seen)
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
		                errmsg("column \"%s\" has no values: all are NULL", candidate->name),
		                errhint("Take it out of options.features, or fill it.")));
}

/* What could not be used is said once, not column by column. */
static void
report_left_out(const Candidate *candidates, int n)
{
	StringInfoData unusable;
	StringInfoData empty;
	int n_unusable = 0;
	int n_empty = 0;

	initStringInfo(&unusable);
	initStringInfo(&empty);
	for (int i = 0; i < n; i++)
	{
		const Candidate *candidate = &candidates[i];

		if (candidate->left_out != NULL && n_unusable++ < MAX_NAMED)
			appendStringInfo(&unusable, "%s\"%s\" (%s)", n_unusable > 1 ? ", " : "", candidate->name,
			                 candidate->left_out);
		else if (candidate->left_out == NULL && !candidate->seen && n_empty++ < MAX_NAMED)
			appendStringInfo(&empty, "%s\"%s\"", n_empty > 1 ? ", " : "", candidate->name);
	}
	if (n_unusable > MAX_NAMED)
		appendStringInfo(&unusable, " and %d more", n_unusable - MAX_NAMED);
	if (n_empty > MAX_NAMED)
		appendStringInfo(&empty, " and %d more", n_empty - MAX_NAMED);
	if (n_unusable > 0)
		ereport(NOTICE, (errmsg("left out of the features: %s", unusable.data)));
	if (n_empty > 0)
		ereport(WARNING, (errmsg("left out of the features, all values are NULL: %s", empty.data),
		                  errhint("Name them in options.features.exclude to silence this.")));
}

static int
add_column(PeTrainColumns *chosen, int column)
{
	chosen->columns[chosen->n_columns] = column;
	return chosen->n_columns++;
}

/* The features that one column makes: itself, or its parts. */
static void
add_features(PeTrainColumns *chosen, const Candidate *candidate, double latest)
{
	int slot = add_column(chosen, candidate->column);
	PeFeature *features = &chosen->features[chosen->n_features];
	int n = 1;

	if (candidate->parts != NULL)
		n = pe_json_look_features(candidate->parts, candidate->name, features);
	else
		features[0] = (PeFeature){
		    .name = candidate->name, .treatment = candidate->treatment, .column = candidate->name};
	for (int i = 0; i < n; i++)
	{
		if (features[i].treatment == PE_TREAT_AGE || features[i].treatment == PE_TREAT_SEGMENT_AGE)
		{
			features[i].by_snapshot = chosen->snapshot >= 0;
			features[i].reference = latest;
		}
		chosen->inputs[chosen->n_features] = candidate->input;
		chosen->slots[chosen->n_features++] = slot;
	}
}

/* The column whose time decides who is held out; it is no feature, which would tell the two sides apart. */
static void
add_holdout_column(const PeSource *source, const PeTrainOptions *options, PeTrainColumns *chosen)
{
	const char *name = options->holdout_column != NULL ? options->holdout_column : PE_SNAPSHOT_COLUMN;
	int column = pe_source_need_column(source, name, "holdout");
	Oid type = TupleDescAttr(source->desc, column)->atttypid;

	if (!pe_input_init(&chosen->holdout_input, type, PE_TREAT_AGE))
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
		                errmsg("column \"%s\" is %s, which is no date or time to hold out by", name,
		                       format_type_be(type)),
		                errhint("Cast it in the source, or name another column in holdout.column.")));
	for (int i = 0; i < chosen->n_columns; i++)
		if (chosen->columns[i] == column)
			chosen->holdout = i;
	if (chosen->holdout < 0)
		chosen->holdout = add_column(chosen, column);
}

/* The columns with a job of their own: target, key, weight, snapshot date, holdout. */
static PeTrainColumns
special_columns(const PeSource *source, const char *target, const PeTrainOptions *options)
{
	PeTrainColumns chosen = {.target = -1, .key = -1, .weight = -1, .snapshot = -1, .holdout = -1};
	int column;
	int most = source->desc->natts + 5;

	chosen.columns = palloc(sizeof(int) * most);
	if (target != NULL)
	{
		column = pe_source_need_column(source, target, "target");
		chosen.target = add_column(&chosen, column);
		chosen.target_type = TupleDescAttr(source->desc, column)->atttypid;
	}
	if (options->key != NULL)
	{
		column = pe_source_need_column(source, options->key, "key");
		chosen.key = add_column(&chosen, column);
		if (!pe_input_init(&chosen.key_input, TupleDescAttr(source->desc, column)->atttypid,
		                   PE_TREAT_CATEGORY))
			ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
			                errmsg("column \"%s\" cannot be a key", options->key),
			                errhint("A key is a text, a number or a uuid.")));
	}
	if (options->weight != NULL)
	{
		column = pe_source_need_column(source, options->weight, "weight");
		chosen.weight = add_column(&chosen, column);
		if (!pe_input_init(&chosen.weight_input, TupleDescAttr(source->desc, column)->atttypid,
		                   PE_TREAT_NUMBER))
			ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
			                errmsg("column \"%s\" cannot be a weight", options->weight),
			                errhint("A weight is a number.")));
	}
	column = pe_source_column(source, PE_SNAPSHOT_COLUMN);
	if (column >= 0 &&
	    pe_input_init(&chosen.snapshot_input, TupleDescAttr(source->desc, column)->atttypid, PE_TREAT_AGE))
		chosen.snapshot = add_column(&chosen, column);
	if (options->holdout_from != NULL)
		add_holdout_column(source, options, &chosen);
	return chosen;
}

/* All columns that could be features, before any row is seen. */
static Candidate *
list_candidates(const PeSource *source, const PeTrainOptions *options, const PeTrainColumns *special, int *n)
{
	Candidate *candidates = palloc0(sizeof(Candidate) * source->desc->natts);
	List *prefixes = own_prefixes();

	*n = 0;
	for (int i = 0; i < source->desc->natts; i++)
	{
		const char *name = NameStr(TupleDescAttr(source->desc, i)->attname);

		if (has_other_job(special, i) || list_has(options->exclude, name) ||
		    (options->include != NIL && !list_has(options->include, name)))
			continue;
		(void) pe_source_column(source, name); /* raises when two columns have the name */
		candidates[(*n)++] = make_candidate(source, options, prefixes, i);
	}
	return candidates;
}

PeTrainColumns
pe_train_columns(const PeSource *source, const char *target, const PeTrainOptions *options)
{
	PeTrainColumns chosen = special_columns(source, target, options);
	Look look = {0};
	Candidate *all;
	int n_all;
	int most = 0;
	int kept = 0;
	ListCell *cell;

	check_named(source, options->include, "a feature to include", &chosen);
	check_named(source, options->exclude, "a feature to exclude", NULL);
	foreach (cell, options->treatments)
		(void) pe_source_need_column(source, ((const PeWantedTreatment *) lfirst(cell))->column,
		                             "a feature to treat");
	all = list_candidates(source, options, &chosen, &n_all);
	look.candidates = palloc0(sizeof(Candidate) * Max(n_all, 1));
	for (int i = 0; i < n_all; i++)
	{
		if (all[i].left_out == NULL)
			look.candidates[look.n++] = all[i];
		if ((all[i].treatment == PE_TREAT_AGE || all[i].treatment == PE_TREAT_SEGMENT_AGE) &&
		    chosen.snapshot < 0)
			look.need_latest = true;
	}
	look_at_rows(&look, source);
	if (look.n > 0 && look.rows == 0)
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION), errmsg("%s has no rows to train on", source->name)));
	for (int i = 0; i < n_all; i++)
	{
		if (all[i].left_out == NULL)
			all[i] = look.candidates[kept++];
		judge(&all[i]);
		most += pe_treatment_of_part(all[i].treatment) ? PE_JSON_MOST_FEATURES : 1;
	}
	report_left_out(all, n_all);
	chosen.features = palloc0(sizeof(PeFeature) * Max(most, 1));
	chosen.inputs = palloc0(sizeof(PeInput) * Max(most, 1));
	chosen.slots = palloc0(sizeof(int) * Max(most, 1));
	for (int i = 0; i < n_all; i++)
	{
		if (all[i].left_out == NULL && all[i].seen)
			add_features(&chosen, &all[i], look.latest);
	}
	if (chosen.n_features == 0)
		ereport(
		    ERROR,
		    (errcode(ERRCODE_DATA_EXCEPTION), errmsg("%s has no column that can be a feature", source->name),
		     errhint(
		         "Numbers, booleans, texts, dates, flat jsonb objects, segment memberships and lists can.")));
	return chosen;
}
