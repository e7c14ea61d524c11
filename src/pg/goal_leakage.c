/*
 * goal_leakage.c
 *		goal_leakage(): columns that know the outcome.
 *
 * Some tell it on the anchor day already: no honest feature alone orders profiles with an
 * AUC above 0.99. Others are written when it has happened; where those to whom it has are not
 * eligible they do no harm, and in a training set of a single day they are the whole model.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "pg/features.h"
#include "pg/goal_leakage.h"
#include "pg/rows.h"

PG_FUNCTION_INFO_V1(pe_goal_leakage);

#define MAX_COMPARED   500 /* two counts each, in one row */
#define LEAST_OUTCOMES 20
/* A column changes with the outcome if it does for at least half of those, and 20 times as often as else. */
#define LEAST_SHARE 0.5
#define LEAST_RATIO 20

/* Columns whose values can be compared, in an array of MAX_COMPARED; how many. */
static int
comparable_columns(const PeGoal *goal, int *columns)
{
	int n = 0;

	for (int i = 0; i < goal->snapshots->desc->natts && n < MAX_COMPARED; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(goal->snapshots->desc, i);

		if (strcmp(NameStr(attribute->attname), goal->key) != 0 &&
		    strcmp(NameStr(attribute->attname), PE_SNAPSHOT_COLUMN) != 0 &&
		    !bms_is_member(i, goal->outcome_columns) &&
		    OidIsValid(lookup_type_cache(attribute->atttypid, TYPECACHE_EQ_OPR)->eq_opr))
			columns[n++] = i;
	}
	return n;
}

static double
count_of(int column)
{
	bool isnull;

	return (double) DatumGetInt64(
	    SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &isnull));
}

PeColumnChange *
pe_goal_changes(const PeGoal *goal, const PeGoalDays *days, int *n)
{
	const PeAnchor *anchor = &days->anchors[0];
	int *columns = palloc(sizeof(int) * MAX_COMPARED);
	int n_columns = comparable_columns(goal, columns);
	PeColumnChange *changes = palloc0(sizeof(PeColumnChange) * (n_columns + 1));
	double happened, otherwise;

	*n = 0;
	if (days->n_anchors == 0 || anchor->last <= anchor->day)
		return changes;
	SPI_connect();
	pe_goal_execute(pe_goal_change_query(goal, anchor, columns, n_columns));
	happened = count_of(1);
	otherwise = count_of(2);
	for (int i = 0; i < n_columns && happened >= LEAST_OUTCOMES && otherwise >= LEAST_OUTCOMES; i++)
	{
		PeColumnChange *change = &changes[(*n)++];

		change->column = columns[i];
		change->happened = count_of(3 + 2 * i) / happened;
		change->otherwise = count_of(4 + 2 * i) / otherwise;
		change->suspicious =
		    change->happened >= LEAST_SHARE && change->happened >= LEAST_RATIO * change->otherwise;
	}
	SPI_finish();
	return changes;
}

/* Does {"features": {"exclude": ...}} name the column? */
static bool
is_excluded(Jsonb *options, char *column)
{
	JsonbValue features, exclude;
	JsonbValue name = {.type = jbvString, .val.string = {.val = column, .len = (int) strlen(column)}};

	if (options == NULL || !JB_ROOT_IS_OBJECT(options) ||
	    getKeyJsonValueFromContainer(&options->root, "features", strlen("features"), &features) == NULL ||
	    features.type != jbvBinary || !JsonContainerIsObject(features.val.binary.data) ||
	    getKeyJsonValueFromContainer(features.val.binary.data, "exclude", strlen("exclude"), &exclude) ==
	        NULL)
		return false;
	if (exclude.type == jbvString)
		return exclude.val.string.len == name.val.string.len &&
		       memcmp(exclude.val.string.val, column, name.val.string.len) == 0;
	return exclude.type == jbvBinary && JsonContainerIsArray(exclude.val.binary.data) &&
	       findJsonbValueFromContainer(exclude.val.binary.data, JB_FARRAY, &name) != NULL;
}

static char *
change_in_words(const PeColumnChange *change)
{
	return psprintf(
	    "changes with the outcome: within the window for %.0f %% of those to whom it happened, and "
	    "%.1f %% of the others",
	    100 * change->happened, 100 * change->otherwise);
}

void
pe_goal_warn_changes(const PeGoal *goal, const PeGoalDays *days, Jsonb *options)
{
	int n;
	PeColumnChange *changes = pe_goal_changes(goal, days, &n);

	for (int i = 0; i < n; i++)
	{
		char *column = NameStr(TupleDescAttr(goal->snapshots->desc, changes[i].column)->attname);

		if (changes[i].suspicious && !is_excluded(options, column))
			ereport(WARNING, (errmsg("column \"%s\" %s", column, change_in_words(&changes[i])),
			                  errhint("Name it in options.features.exclude, unless nobody to whom it has "
			                          "happened already is eligible.")));
	}
}

/* ---- the function ------------------------------------------------------------------------ */

static PeColumnChange *
change_of(const PeGoal *goal, PeColumnChange *changes, int n, const char *column)
{
	for (int i = 0; i < n; i++)
		if (strcmp(NameStr(TupleDescAttr(goal->snapshots->desc, changes[i].column)->attname), column) == 0)
			return &changes[i];
	return NULL;
}

static void
add_number(PeRow *row, double value)
{
	if (isnan(value))
		pe_row_add_null(row);
	else
		pe_row_add(row, Float8GetDatum(value));
}

/* strength is NaN for a column that is no feature; change may be NULL. */
static void
put_feature(PeRow *row, const char *feature, const char *column, double strength, bool tells,
            const PeColumnChange *change)
{
	char *why = NULL;

	if (tells)
		why = psprintf("tells the outcome alone, with an AUC of %.3f", strength);
	if (change != NULL && change->suspicious)
		why = why != NULL ? psprintf("%s; %s", why, change_in_words(change)) : change_in_words(change);
	pe_row_add(row, CStringGetTextDatum(feature));
	pe_row_add(row, CStringGetTextDatum(column));
	add_number(row, strength);
	add_number(row, change != NULL ? change->happened : NAN);
	add_number(row, change != NULL ? change->otherwise : NAN);
	pe_row_add_bool(row, why != NULL);
	if (why != NULL)
		pe_row_add(row, CStringGetTextDatum(why));
	else
		pe_row_add_null(row);
	pe_row_put(row);
}

/* The features by how well each alone tells the outcome: leakage_scan() of the latest anchor day. */
static void
scan_training_set(const PeGoal *goal, const PeGoalDays *days)
{
	static const Oid types[] = {TEXTOID};
	Datum query[] = {CStringGetTextDatum(pe_goal_training_query(goal, days, days->anchors, 1))};
	StringInfoData options;

	initStringInfo(&options);
	appendStringInfoString(&options, "{\"features\": {\"exclude\": [");
	escape_json(&options, goal->key);
	appendStringInfoString(&options, "]}}");
	if (SPI_execute_with_args(
	        psprintf("SELECT feature, column_name, strength, suspicious FROM profenrich.leakage_scan($1, "
	                 "'" PE_OUTCOME_COLUMN "', 'propensity', %s)",
	                 quote_literal_cstr(options.data)),
	        1, (Oid *) types, query, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "scanning the training set failed");
}

/* goal_leakage(goal) -> (feature, column_name, strength, changes_happened, changes_otherwise, suspicious,
 * why) */
Datum
pe_goal_leakage(PG_FUNCTION_ARGS)
{
	PeGoal *goal = pe_goal_open(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PeGoalDays *days = pe_goal_days(goal, 0);
	PeColumnChange *changes;
	PeRow row;
	int n;

	if (days->n_anchors == 0)
		pe_goal_raise_no_anchor(goal, days);
	changes = pe_goal_changes(goal, days, &n);
	pe_rows_begin(fcinfo, &row);
	SPI_connect();
	scan_training_set(goal, days);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple tuple = SPI_tuptable->vals[i];
		TupleDesc desc = SPI_tuptable->tupdesc;
		const char *column = SPI_getvalue(tuple, desc, 2);
		PeColumnChange *change = change_of(goal, changes, n, column);
		bool isnull;

		put_feature(&row, SPI_getvalue(tuple, desc, 1), column,
		            DatumGetFloat8(SPI_getbinval(tuple, desc, 3, &isnull)),
		            DatumGetBool(SPI_getbinval(tuple, desc, 4, &isnull)), change);
		if (change != NULL)
			change->listed = true;
	}
	SPI_finish();
	/* What is written afterwards is often empty on all anchor days, and then no feature. */
	for (int i = 0; i < n; i++)
	{
		const char *column = NameStr(TupleDescAttr(goal->snapshots->desc, changes[i].column)->attname);

		if (changes[i].suspicious && !changes[i].listed)
			put_feature(&row, column, column, NAN, false, &changes[i]);
	}
	return (Datum) 0;
}
