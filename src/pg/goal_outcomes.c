/*
 * goal_outcomes.c
 *		record_predictions, fill_outcomes, lift_decay: what a model of a goal expected, and
 *		what came of it once the window has passed.
 *
 * Not scores are kept but which version scored which day. Both never change, so that the
 * scores can be had again when their outcomes are known; the snapshot must still be there then.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "pg/arguments.h"
#include "pg/audit.h"
#include "pg/goal.h"
#include "pg/models.h"
#include "pg/owner.h"
#include "pg/rows.h"

PG_FUNCTION_INFO_V1(pe_record_predictions);
PG_FUNCTION_INFO_V1(pe_fill_outcomes);
PG_FUNCTION_INFO_V1(pe_lift_decay);

/* The tenth of a score, as in lift_table: 1 is the highest. By the distribution at training. */
#define DECILE "10 - (sc.percentile - 1) / 10"

#define MAX_AGES 100

/* The version of the argument, the deployed one for none; raises unless it learnt from the goal. */
static int
version_of_goal(const PeGoal *goal, const char *model, int version)
{
	static const Oid types[] = {TEXTOID, INT4OID, TEXTOID};
	Datum values[] = {CStringGetTextDatum(model), Int32GetDatum(0), CStringGetTextDatum(goal->name)};
	MemoryContext holder =
	    AllocSetContextCreate(CurrentMemoryContext, "profenrich goal model", ALLOCSET_SMALL_SIZES);

	version = pe_version_open(model, version, holder)->version;
	MemoryContextDelete(holder);
	values[1] = Int32GetDatum(version);
	SPI_connect();
	pe_owner_execute(
	    "SELECT FROM profenrich.model_version v WHERE v.model = $1 AND v.version = $2 AND v.goal = $3", 3,
	    types, values, NULL, true, 1);
	if (SPI_processed == 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		                errmsg("version %d of model \"%s\" did not learn from goal \"%s\"", version, model,
		                       goal->name),
		                errhint("Train it with goal => %s.", quote_literal_cstr(goal->name))));
	SPI_finish();
	return version;
}

/* Says that the version knows already what came of the day: it looks better there than on days to come. */
static void
notice_learnt(const char *model, int version, DateADT day)
{
	static const Oid types[] = {TEXTOID, INT4OID, DATEOID};
	Datum values[] = {CStringGetTextDatum(model), Int32GetDatum(version), DateADTGetDatum(day)};

	SPI_connect();
	pe_owner_execute("SELECT v.learnt_until FROM profenrich.model_version v"
	                 " WHERE v.model = $1 AND v.version = $2 AND v.learnt_until > $3",
	                 3, types, values, NULL, true, 1);
	if (SPI_processed > 0)
	{
		bool isnull;
		Datum until = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);

		ereport(NOTICE,
		        (errmsg("version %d of model \"%s\" learnt from outcomes up to %s: on %s it looks better "
		                "than it is",
		                version, model, pe_date_text(DatumGetDateADT(until)), pe_date_text(day)),
		         errhint("Name a snapshot of that day or later.")));
	}
	SPI_finish();
}

/* Scores of a day by a version, as sc, to be put after FROM. */
static char *
scores(const PeGoal *goal, const PeGoalDays *days, const char *model, int version, DateADT day)
{
	return psprintf("profenrich.score(%s, %s, %s, %d) AS sc", quote_literal_cstr(model),
	                quote_literal_cstr(pe_goal_scoring_query(goal, days, day)), quote_literal_cstr(goal->key),
	                version);
}

/* ---- recording --------------------------------------------------------------------------- */

/* The run of that goal, version and day, made or made anew. */
static int64
store_run(const PeGoal *goal, const char *model, int version, DateADT day)
{
	static const Oid types[] = {TEXTOID, TEXTOID, INT4OID, DATEOID, DATEOID, OIDOID};
	Datum values[] = {CStringGetTextDatum(goal->name),
	                  CStringGetTextDatum(model),
	                  Int32GetDatum(version),
	                  DateADTGetDatum(day),
	                  DateADTGetDatum(pe_goal_window_end(goal, day)),
	                  ObjectIdGetDatum(GetUserId())};
	bool isnull;
	int64 run;

	pe_owner_execute(
	    "INSERT INTO profenrich.goal_run AS r (goal, model, version, snapshot_date, window_end, recorded_by)"
	    " VALUES ($1, $2, $3, $4, $5, $6::regrole) ON CONFLICT (goal, model, version, snapshot_date) DO "
	    "UPDATE"
	    " SET window_end = excluded.window_end, recorded_by = excluded.recorded_by,"
	    " recorded_at = pg_catalog.now(), filled_at = NULL, hindrance = NULL RETURNING r.run_id",
	    lengthof(types), types, values, NULL, false, 0);
	run = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	values[0] = Int64GetDatum(run);
	pe_owner_execute("DELETE FROM profenrich.goal_run_decile d WHERE d.run_id = $1", 1, (Oid[]){INT8OID},
	                 values, NULL, false, 0);
	return run;
}

typedef struct Decile
{
	int decile;
	int64 profiles;
	double expected;
	int64 happened;
} Decile;

/* The rows of a query: decile, profiles, sum of predictions and, when there is one, how often it happened. */
static int
read_deciles(const char *query, Decile *deciles)
{
	int n;

	pe_goal_execute(query);
	n = Min((int) SPI_processed, 10);
	for (int i = 0; i < n; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];
		TupleDesc desc = SPI_tuptable->tupdesc;
		bool isnull;

		deciles[i].decile = DatumGetInt32(SPI_getbinval(row, desc, 1, &isnull));
		deciles[i].profiles = DatumGetInt64(SPI_getbinval(row, desc, 2, &isnull));
		deciles[i].expected = DatumGetFloat8(SPI_getbinval(row, desc, 3, &isnull));
		deciles[i].happened =
		    desc->natts > 3 ? DatumGetInt64(SPI_getbinval(row, desc, 4, &isnull)) : (int64) 0;
	}
	return n;
}

/* record_predictions(goal, model, snapshot_date, version) -> (snapshot_date, version, profiles, expected) */
Datum
pe_record_predictions(PG_FUNCTION_ARGS)
{
	static const Oid types[] = {INT8OID, INT4OID, INT8OID, FLOAT8OID};
	PeGoal *goal = pe_goal_open(pe_text_argument(fcinfo, 0, "goal"));
	char *model = pe_text_argument(fcinfo, 1, "model");
	int version = version_of_goal(goal, model, pe_version_argument(fcinfo, 3));
	PeGoalDays *days = pe_goal_days(goal, 0);
	DateADT day = PG_ARGISNULL(2) ? days->days[days->n_days - 1] : PG_GETARG_DATEADT(2);
	Decile deciles[10];
	int64 profiles = 0;
	double expected = 0;
	int64 run;
	int n;
	PeRow row;

	PreventCommandIfReadOnly("record_predictions()");
	pe_goal_need_day(goal, days, day);
	notice_learnt(model, version, day);
	pe_rows_begin(fcinfo, &row);
	SPI_connect();
	n = read_deciles(psprintf("SELECT " DECILE ", count(*), sum(sc.prediction) FROM %s GROUP BY 1",
	                          scores(goal, days, model, version, day)),
	                 deciles);
	run = store_run(goal, model, version, day);
	for (int i = 0; i < n; i++)
	{
		Datum values[] = {Int64GetDatum(run), Int32GetDatum(deciles[i].decile),
		                  Int64GetDatum(deciles[i].profiles), Float8GetDatum(deciles[i].expected)};

		pe_owner_execute("INSERT INTO profenrich.goal_run_decile (run_id, decile, profiles, expected)"
		                 " VALUES ($1, $2, $3, $4)",
		                 4, types, values, NULL, false, 0);
		profiles += deciles[i].profiles;
		expected += deciles[i].expected;
	}
	pe_audit("record_predictions", goal->name,
	         "{\"model\": %s, \"version\": %d, \"profiles\": " INT64_FORMAT "}", pe_audit_text(model),
	         version, profiles);
	SPI_finish();
	pe_row_add(&row, DateADTGetDatum(day));
	pe_row_add(&row, Int32GetDatum(version));
	pe_row_add_int64(&row, profiles);
	pe_row_add(&row, Float8GetDatum(expected));
	pe_row_put(&row);
	return (Datum) 0;
}

/* ---- filling in -------------------------------------------------------------------------- */

/* A run whose outcomes are not filled in. */
typedef struct Run
{
	int64 run_id;
	char *model;
	int version;
	DateADT day;
} Run;

static Run *
open_runs(const PeGoal *goal, DateADT observed, int *n)
{
	static const Oid types[] = {TEXTOID, DATEOID};
	Datum values[] = {CStringGetTextDatum(goal->name), DateADTGetDatum(observed)};
	MemoryContext caller = CurrentMemoryContext;
	Run *runs;

	SPI_connect();
	/* Locked, so that two sessions do not do it twice; a version that was dropped cannot score again. */
	pe_owner_execute(
	    "SELECT r.run_id, r.model, r.version, r.snapshot_date FROM profenrich.goal_run r"
	    " JOIN profenrich.model_version v ON v.model = r.model AND v.version = r.version"
	    " WHERE r.goal = $1 AND r.filled_at IS NULL AND r.window_end <= $2 ORDER BY 1 FOR UPDATE OF r",
	    2, types, values, NULL, false, 0);
	*n = (int) SPI_processed;
	runs = MemoryContextAlloc(caller, sizeof(Run) * (*n + 1));
	for (int i = 0; i < *n; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];
		TupleDesc desc = SPI_tuptable->tupdesc;
		bool isnull;

		runs[i].run_id = DatumGetInt64(SPI_getbinval(row, desc, 1, &isnull));
		runs[i].model = MemoryContextStrdup(caller, SPI_getvalue(row, desc, 2));
		runs[i].version = DatumGetInt32(SPI_getbinval(row, desc, 3, &isnull));
		runs[i].day = DatumGetDateADT(SPI_getbinval(row, desc, 4, &isnull));
	}
	SPI_finish();
	return runs;
}

static void
store_outcomes(const Run *run, const Decile *deciles, int n)
{
	static const Oid types[] = {INT8OID, INT4OID, INT8OID, FLOAT8OID, INT8OID};

	for (int i = 0; i < n; i++)
	{
		Datum values[] = {Int64GetDatum(run->run_id), Int32GetDatum(deciles[i].decile),
		                  Int64GetDatum(deciles[i].profiles), Float8GetDatum(deciles[i].expected),
		                  Int64GetDatum(deciles[i].happened)};

		pe_owner_execute(
		    "UPDATE profenrich.goal_run_decile SET known = $3, expected_of_known = $4, happened = $5"
		    " WHERE run_id = $1 AND decile = $2",
		    5, types, values, NULL, false, 0);
	}
	pe_owner_execute(
	    "UPDATE profenrich.goal_run SET filled_at = pg_catalog.now(), hindrance = NULL WHERE run_id = $1", 1,
	    types, (Datum[]){Int64GetDatum(run->run_id)}, NULL, false, 0);
}

/* Why the outcomes of a run cannot be filled in though its window has passed; NULL: they can. */
static const char *
hindrance_of(const PeGoal *goal, const PeGoalDays *days, const Run *run)
{
	DateADT found;

	if (!pe_goal_day_before(days, run->day, run->day, &found))
	{
		ereport(NOTICE,
		        (errmsg("the snapshot of %s is gone: what model \"%s\" expected then cannot be compared",
		                pe_date_text(run->day), run->model)));
		return "gone";
	}
	if (pe_goal_anchor(goal, days, run->day).use == PE_ANCHOR_UNOBSERVED)
	{
		ereport(NOTICE, (errmsg("nobody looked at the end of the window of %s: what model \"%s\" expected "
		                        "then cannot be compared",
		                        pe_date_text(run->day), run->model),
		                 errhint("Load a snapshot of one of the last %d days up to %s.", days->tolerance + 1,
		                         pe_date_text(pe_goal_window_end(goal, run->day)))));
		return "unobserved";
	}
	return NULL;
}

/* The run stays open: the days that it needs may be loaded yet. */
static void
store_hindrance(const Run *run, const char *hindrance)
{
	static const Oid types[] = {INT8OID, TEXTOID};
	Datum values[] = {Int64GetDatum(run->run_id), CStringGetTextDatum(hindrance)};

	pe_owner_execute("UPDATE profenrich.goal_run SET hindrance = $2 WHERE run_id = $1", 2, types, values,
	                 NULL, false, 0);
}

/* Scores the run's day again, and asks what happened to those who were scored. */
static void
fill_run(const PeGoal *goal, const PeGoalDays *days, const Run *run, PeRow *row)
{
	PeAnchor anchor = pe_goal_anchor(goal, days, run->day);
	Decile deciles[10];
	Decile total = {0};
	int n =
	    read_deciles(psprintf("SELECT " DECILE
	                          ", count(*), sum(sc.prediction), count(*) FILTER (WHERE o." PE_OUTCOME_COLUMN
	                          ") FROM %s JOIN (%s) AS o ON o.profile_key = sc.key GROUP BY 1",
	                          scores(goal, days, run->model, run->version, run->day),
	                          pe_goal_outcome_query(goal, &anchor)),
	                 deciles);

	store_outcomes(run, deciles, n);
	for (int i = 0; i < n; i++)
	{
		total.profiles += deciles[i].profiles;
		total.expected += deciles[i].expected;
		total.happened += deciles[i].happened;
	}
	pe_row_add_text(row, run->model);
	pe_row_add(row, Int32GetDatum(run->version));
	pe_row_add(row, DateADTGetDatum(run->day));
	pe_row_add_int64(row, total.profiles);
	pe_row_add(row, Float8GetDatum(total.expected));
	pe_row_add_int64(row, total.happened);
	pe_row_put(row);
}

/* fill_outcomes(goal) -> (model, version, snapshot_date, known, expected, happened) */
Datum
pe_fill_outcomes(PG_FUNCTION_ARGS)
{
	PeGoal *goal = pe_goal_open(pe_text_argument(fcinfo, 0, "goal"));
	PeGoalDays *days = pe_goal_days(goal, 0);
	int n, filled = 0;
	Run *runs;
	PeRow row;

	PreventCommandIfReadOnly("fill_outcomes()");
	runs = open_runs(goal, days->observed, &n);
	pe_rows_begin(fcinfo, &row);
	SPI_connect();
	for (int i = 0; i < n; i++)
	{
		const char *hindrance = hindrance_of(goal, days, &runs[i]);

		if (hindrance != NULL)
		{
			store_hindrance(&runs[i], hindrance);
			continue;
		}
		fill_run(goal, days, &runs[i], &row);
		filled++;
	}
	pe_audit("fill_outcomes", goal->name, "{\"runs\": %d}", filled);
	SPI_finish();
	return (Datum) 0;
}

/* ---- the age of scores ------------------------------------------------------------------- */

static int
parse_ages(ArrayType *array, int *ages)
{
	Datum *values;
	bool *nulls;
	int n;

	deconstruct_array(array, INT4OID, sizeof(int32), true, TYPALIGN_INT, &values, &nulls, &n);
	if (n > MAX_AGES)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("more than %d ages", MAX_AGES)));
	for (int i = 0; i < n; i++)
	{
		if (nulls[i] || DatumGetInt32(values[i]) < 0 || DatumGetInt32(values[i]) > 3650)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			                errmsg("an age is a number of days from 0 to 3650")));
		ages[i] = DatumGetInt32(values[i]);
	}
	return n;
}

/* How scores of one day order what happened from a later one on. */
static void
put_decay(PeRow *row, const PeGoal *goal, const PeGoalDays *days, const char *scored, DateADT day, int age)
{
	PeAnchor anchor = pe_goal_anchor(goal, days, day + age);
	HeapTuple tuple;
	bool isnull;

	pe_goal_execute(
	    psprintf("SELECT count(*), count(*) FILTER (WHERE happened), (avg(happened::int) FILTER (WHERE top) /"
	             " NULLIF(avg(happened::int), 0))::float8 FROM (SELECT o." PE_OUTCOME_COLUMN " AS happened,"
	             " row_number() OVER (ORDER BY sc.prediction DESC, sc.key) * 10 <= count(*) OVER () AS top"
	             " FROM %s JOIN (%s) AS o ON o.profile_key = sc.key) AS ranked",
	             scored, pe_goal_outcome_query(goal, &anchor)));
	tuple = SPI_tuptable->vals[0];
	pe_row_add(row, Int32GetDatum(age));
	pe_row_add(row, DateADTGetDatum(anchor.day));
	for (int column = 1; column <= 3; column++)
	{
		Datum value = SPI_getbinval(tuple, SPI_tuptable->tupdesc, column, &isnull);

		if (isnull)
			pe_row_add_null(row);
		else
			pe_row_add(row, value);
	}
	pe_row_put(row);
}

/* lift_decay(goal, model, snapshot_date, ages, version) -> (age, anchor, profiles, happened, lift) */
Datum
pe_lift_decay(PG_FUNCTION_ARGS)
{
	PeGoal *goal = pe_goal_open(pe_text_argument(fcinfo, 0, "goal"));
	char *model = pe_text_argument(fcinfo, 1, "model");
	int version = version_of_goal(goal, model, pe_version_argument(fcinfo, 4));
	PeGoalDays *days = pe_goal_days(goal, 0);
	int ages[MAX_AGES];
	int n;
	DateADT day, found;
	char *scored;
	PeRow row;

	pe_need_argument(fcinfo, 2, "snapshot_date");
	pe_need_argument(fcinfo, 3, "ages");
	day = PG_GETARG_DATEADT(2);
	n = parse_ages(PG_GETARG_ARRAYTYPE_P(3), ages);
	pe_goal_need_day(goal, days, day);
	notice_learnt(model, version, day);
	scored = scores(goal, days, model, version, day);
	pe_rows_begin(fcinfo, &row);
	SPI_connect();
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (pe_goal_day_before(days, day + ages[i], day + ages[i], &found) &&
		    pe_goal_anchor(goal, days, found).use == PE_ANCHOR_TRAINING)
			put_decay(&row, goal, days, scored, day, ages[i]);
	}
	SPI_finish();
	return (Datum) 0;
}
