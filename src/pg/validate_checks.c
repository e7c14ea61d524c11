/*
 * validate_checks.c
 *		Is a day's snapshot like those before it? The checks.
 *
 * Today is read whole and once; of each previous day a sample, one day after the other.
 * How far a column's values have moved is the population stability index: of numbers
 * and times between the deciles of the newest previous day, each decile being a bin of
 * its own as well, so that values that many profiles share are told apart; of other
 * columns with few values over the values. Times are measured back from their day.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/memutils.h"

#include "pg/load.h"
#include "pg/owner.h"
#include "pg/report.h"
#include "pg/validate.h"

#define DECILES      10
#define CATEGORIES   50   /* values of a column that are told apart; the others are one */
#define MANY_VALUES  1000 /* a column with more has no categories */
#define LEAST_JUDGED 500  /* values; of fewer a shift says little */
#define LEAST_LOST   20   /* values that a column should have had before its lack is a failure */

/* What previous days held in a column, in bins. */
typedef struct Reference
{
	int64 rows;
	int64 nulls;
	double null_shares; /* sum over days */
	int days;           /* that had the column */
	int nbins;          /* 0: not judged */
	double *before;     /* counts of previous days, and of today */
	double *now;
	int nedges; /* numbers: 2 nedges + 1 bins */
	double *edges;
	uint64 *categories; /* others: nbins - 1 hashes, and the rest */
	bool varied;        /* had more than one value */
} Reference;

typedef struct Validation
{
	const PeSnapshotTable *table;
	const PeValidateOptions *options;
	DateADT day;
	const char *today;
	PeSketch *sketch;
	Reference *references; /* one for each column of today */
	int ndays;
	PeSnapshotDay *days; /* newest first */
	List *verdicts;
} Validation;

const char *
pe_verdict_status(PeVerdictStatus status)
{
	return status == PE_VERDICT_FAIL ? "fail" : status == PE_VERDICT_WARN ? "warn" : "ok";
}

static void
add(Validation *v, const char *check, const char *column, PeVerdictStatus status, double value,
    double threshold, char *words)
{
	PeVerdict *verdict = palloc(sizeof(PeVerdict));

	*verdict = (PeVerdict){.check = check,
	                       .column = column,
	                       .status = status,
	                       .value = value,
	                       .threshold = threshold,
	                       .words = words};
	v->verdicts = lappend(v->verdicts, verdict);
}

/* A value judged by limits: how far it is from what is usual. */
static void
judge(Validation *v, const char *check, const char *column, double value, const PeLimits *limits, char *words)
{
	double size = fabs(value);
	PeVerdictStatus status = size > limits->fail   ? PE_VERDICT_FAIL
	                         : size > limits->warn ? PE_VERDICT_WARN
	                                               : PE_VERDICT_OK;

	add(v, check, column, status, value, status == PE_VERDICT_FAIL ? limits->fail : limits->warn, words);
}

/* ---- previous days ---------------------------------------------------------------------- */

static void
find_days(Validation *v)
{
	Oid types[] = {OIDOID, DATEOID};
	Datum values[] = {ObjectIdGetDatum(v->table->relid), DateADTGetDatum(v->day)};
	bool isnull;

	pe_owner_execute("SELECT d.snapshot_date, d.rows, d.compacted FROM " PE_SNAPSHOT_DAYS
	                 " WHERE d.snapshot_date < $2 ORDER BY 1 DESC",
	                 2, types, values, NULL, true, v->options->days);
	v->ndays = (int) SPI_processed;
	v->days = palloc0(sizeof(PeSnapshotDay) * Max(v->ndays, 1));
	for (int i = 0; i < v->ndays; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];

		v->days[i].date = DatumGetDateADT(SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &isnull));
		v->days[i].rows = DatumGetInt64(SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &isnull));
		v->days[i].compacted = DatumGetBool(SPI_getbinval(row, SPI_tuptable->tupdesc, 3, &isnull));
	}
	SPI_freetuptable(SPI_tuptable);
}

/* Bins of a column, from the newest previous day that has enough of it. */
static void
choose_bins(Reference *reference, const PeColumnSketch *before, const PeColumnSketch *now)
{
	const pe_tallied *values;
	size_t count;
	bool exact;
	pe_error err;

	if (before->rows - before->nulls < LEAST_JUDGED || now->rows - now->nulls < LEAST_JUDGED ||
	    before->type != now->type)
		return;
	if (before->quantiles != NULL)
	{
		reference->edges = palloc(sizeof(double) * (DECILES + 1));
		for (int i = 0; i <= DECILES; i++)
		{
			double edge = pe_quantiles_at(before->quantiles, (double) i / DECILES);

			if (!isnan(edge) && (reference->nedges == 0 || edge > reference->edges[reference->nedges - 1]))
				reference->edges[reference->nedges++] = edge;
		}
		reference->nbins = 2 * reference->nedges + 1;
	}
	else if (before->tally != NULL && pe_sketch_distinct(before, &exact) <= MANY_VALUES && exact)
	{
		pe_check(pe_value_tally_sorted(before->tally, &values, &count, &err), &err);
		count = Min(count, CATEGORIES);
		reference->categories = palloc(sizeof(uint64) * Max(count, 1));
		for (size_t i = 0; i < count; i++)
			reference->categories[i] = values[i].hash;
		reference->nbins = (int) count + 1;
	}
	reference->before = palloc0(sizeof(double) * Max(reference->nbins, 1));
	reference->now = palloc0(sizeof(double) * Max(reference->nbins, 1));
}

/* Adds a column's values to counts in the reference's bins. */
static void
count_in_bins(const Reference *reference, const PeColumnSketch *column, double *counts)
{
	double all = (double) (column->rows - column->nulls);
	double done = 0;

	if (reference->categories != NULL)
	{
		for (int i = 0; i < reference->nbins - 1; i++)
		{
			double count = (double) pe_value_tally_count(column->tally, reference->categories[i]);

			counts[i] += count;
			done += count;
		}
		counts[reference->nbins - 1] += Max(all - done, 0);
		return;
	}
	for (int i = 0; i < reference->nedges; i++)
	{
		double below = pe_quantiles_below(column->quantiles, reference->edges[i], false);
		double upto = pe_quantiles_below(column->quantiles, reference->edges[i], true);

		counts[2 * i] += below - done;
		counts[2 * i + 1] += upto - below;
		done = upto;
	}
	counts[reference->nbins - 1] += (double) pe_quantiles_count(column->quantiles) - done;
}

static void
add_day(Validation *v, const PeSketch *before)
{
	for (int i = 0; i < v->sketch->ncolumns; i++)
	{
		const PeColumnSketch *now = &v->sketch->columns[i];
		const PeColumnSketch *then = pe_sketch_column(before, now->name);
		Reference *reference = &v->references[i];
		bool exact;

		if (then == NULL || then->rows == 0)
			continue;
		reference->days++;
		reference->rows += then->rows;
		reference->nulls += then->nulls;
		reference->null_shares += (double) then->nulls / then->rows;
		reference->varied = reference->varied || pe_sketch_distinct(then, &exact) > 1;
		if (reference->nbins == 0)
			choose_bins(reference, then, now);
		if (reference->nbins > 0 && then->type == now->type)
			count_in_bins(reference, then, reference->before);
	}
}

/* One previous day at a time: memory is for two of them. */
static void
read_days(Validation *v)
{
	for (int i = 0; i < v->ndays; i++)
	{
		double share =
		    v->days[i].rows > v->options->sample ? (double) v->options->sample / (double) v->days[i].rows : 1;
		PeSketch *before = pe_sketch_source(
		    pe_source_open(pe_snapshot_day_query(v->table, &v->days[i], share), "snapshot_table"),
		    v->days[i].date);

		add_day(v, before);
		MemoryContextDelete(before->context);
	}
	for (int i = 0; i < v->sketch->ncolumns; i++)
		if (v->references[i].nbins > 0)
			count_in_bins(&v->references[i], &v->sketch->columns[i], v->references[i].now);
}

/* ---- the whole day ---------------------------------------------------------------------- */

static int
compare_counts(const void *left, const void *right)
{
	double a = *(const double *) left;
	double b = *(const double *) right;

	return (a > b) - (a < b);
}

/* Against the median of the previous days: one odd day among them does not matter. */
static void
check_row_count(Validation *v)
{
	double *counts = palloc(sizeof(double) * Max(v->ndays, 1));
	double median;
	double change;

	for (int i = 0; i < v->ndays; i++)
		counts[i] = (double) v->days[i].rows;
	qsort(counts, v->ndays, sizeof(double), compare_counts);
	median = (counts[(v->ndays - 1) / 2] + counts[v->ndays / 2]) / 2;
	change = median > 0 ? (double) v->sketch->rows / median - 1 : 0;
	judge(v, "row_count", NULL, change, &v->options->row_count,
	      psprintf(INT64_FORMAT " rows, %+.1f %% against %.0f, the median of %d previous days",
	               v->sketch->rows, 100 * change, median, v->ndays));
}

/* The column that tells profiles apart: as the options say, or the first of single ids. */
static const char *
key_column(const Validation *v)
{
	const char *key = v->options->key;

	for (int i = 0; key == NULL && i < v->table->ncolumns; i++)
	{
		const char *path = v->table->columns[i].path;

		if (path != NULL && strncmp(path, "identityMap.", 12) == 0 && strlen(path) > 15 &&
		    strcmp(path + strlen(path) - 3, ".id") == 0)
			key = v->table->columns[i].name;
	}
	if (key != NULL && pe_sketch_column(v->sketch, key) == NULL)
	{
		if (v->options->key == NULL)
			return NULL;
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
		                errmsg("%s has no column \"%s\", wanted as key", v->table->label, key)));
	}
	return key;
}

static int64
query_number(const char *sql, int column)
{
	bool isnull;
	Datum value;

	if (SPI_execute(sql, true, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not look at the snapshot");
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &isnull);
	return isnull ? 0 : DatumGetInt64(value);
}

static void
check_duplicates(Validation *v)
{
	const char *key = key_column(v);
	int64 keyed, surplus;

	if (key == NULL)
		return;
	keyed = pe_sketch_column(v->sketch, key)->rows - pe_sketch_column(v->sketch, key)->nulls;
	surplus = query_number(
	    psprintf("SELECT pg_catalog.sum(n OPERATOR(pg_catalog.-) 1)::pg_catalog.int8 FROM (SELECT"
	             " pg_catalog.count(*) AS n FROM (%s) AS today WHERE %s IS NOT NULL GROUP BY %s) AS keys",
	             v->today, quote_identifier(key), quote_identifier(key)),
	    1);
	judge(v, "duplicate_keys", key, keyed > 0 ? (double) surplus / keyed : 0, &v->options->duplicate_keys,
	      surplus > 0 ? psprintf(INT64_FORMAT " rows have a key that another row has", surplus)
	                  : pstrdup("every key is there once"));
}

/* One number for all rows of a query, in whatever order they come; of the columns that both days have. */
static char *
content_query(const Validation *v, const char *rows)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql,
	                       "SELECT pg_catalog.count(*), (pg_catalog.sum(pg_catalog.hash_record_extended("
	                       "ROW(");
	for (int i = 0, listed = 0; i < v->sketch->ncolumns; i++)
	{
		const PeColumnSketch *column = &v->sketch->columns[i];

		if (v->references[i].days == 0)
			continue;
		appendStringInfo(&sql, "%s%s%s", listed++ > 0 ? ", " : "", quote_identifier(column->name),
		                 column->tally != NULL ? "" : "::pg_catalog.text");
	}
	appendStringInfo(
	    &sql, "), 0)) OPERATOR(pg_catalog.%%) 9223372036854775807)::pg_catalog.int8 FROM (%s) AS rows", rows);
	return sql.data;
}

static void
check_stale(Validation *v)
{
	char *then = load_date_text(v->days[0].date);
	char *before = pe_snapshot_day_query(v->table, &v->days[0], 1);
	bool same = v->days[0].rows == v->sketch->rows;

	for (int i = 0; i < v->sketch->ncolumns; i++)
		same = same && (v->references[i].days > 0 || v->sketch->columns[i].nulls == v->sketch->rows);
	if (same)
		same = query_number(content_query(v, v->today), 2) == query_number(content_query(v, before), 2);
	add(v, "stale", NULL, same ? v->options->stale : PE_VERDICT_OK, same, 1,
	    same ? psprintf("every profile is as it was on %s", then) : psprintf("it differs from %s", then));
}

/* ---- columns ---------------------------------------------------------------------------- */

/* Half a row more in each bin: an empty one weighs little instead of infinitely much. */
static double
stability_index(const Reference *reference)
{
	double before = reference->nbins / 2.0;
	double now = reference->nbins / 2.0;
	double psi = 0;

	for (int i = 0; i < reference->nbins; i++)
	{
		before += reference->before[i];
		now += reference->now[i];
	}
	for (int i = 0; i < reference->nbins; i++)
	{
		double was = (reference->before[i] + 0.5) / before;
		double is = (reference->now[i] + 0.5) / now;

		psi += (is - was) * log(is / was);
	}
	return psi;
}

/* A column that had values and has none, or the other way; true when it is one of these. */
static bool
check_presence(Validation *v, const PeColumnSketch *column, const Reference *reference)
{
	bool was = reference->rows > reference->nulls;
	bool is = column->rows > column->nulls;
	double usual = reference->days > 0 ? reference->null_shares / reference->days : 1;
	double expected = (1 - usual) * v->sketch->rows;

	if (was == is)
		return !is;
	if (is)
		add(v, "new_column", column->name, v->options->new_column, 1 - (double) column->nulls / column->rows,
		    get_float8_infinity(),
		    psprintf("%.1f %% of the rows have it, no previous day had",
		             100 - 100.0 * column->nulls / column->rows));
	else
		add(v, "lost_column", column->name,
		    expected >= LEAST_LOST ? v->options->lost_column : Min(v->options->lost_column, PE_VERDICT_WARN),
		    1, 1 - usual, psprintf("no row has it, on previous days %.1f %% had", 100 * (1 - usual)));
	return true;
}

static void
check_column(Validation *v, const PeColumnSketch *column, const Reference *reference)
{
	bool exact;

	if (check_presence(v, column, reference))
		return;
	if (reference->days > 0 && v->sketch->rows > 0)
	{
		double share = (double) column->nulls / column->rows;
		double usual = reference->null_shares / reference->days;

		judge(v, "null_share", column->name, share - usual, &v->options->null_share,
		      psprintf("%.1f %% of the rows lack it, on previous days %.1f %%", 100 * share, 100 * usual));
	}
	if (reference->nbins > 0)
	{
		double psi = stability_index(reference);

		judge(v, "psi", column->name, psi, &v->options->psi,
		      psprintf("its values have moved by %.3f on the population stability index", psi));
	}
	if (column->tally != NULL && pe_sketch_distinct(column, &exact) == 1 && reference->varied)
		add(v, "constant_column", column->name, v->options->constant_column, 1, 1,
		    pstrdup("all rows that have it have the same value, on previous days there were several"));
}

/* ---- all of it -------------------------------------------------------------------------- */

static int
compare_verdicts(const ListCell *left, const ListCell *right)
{
	const PeVerdict *a = lfirst(left);
	const PeVerdict *b = lfirst(right);

	if (a->status != b->status)
		return a->status > b->status ? -1 : 1;
	if ((a->column == NULL) != (b->column == NULL))
		return a->column == NULL ? -1 : 1;
	if (strcmp(a->check, b->check) != 0)
		return strcmp(a->check, b->check);
	return a->column == NULL ? 0 : strcmp(a->column, b->column);
}

List *
pe_validate(const PeSnapshotTable *table, const char *today, DateADT day, const PeValidateOptions *options)
{
	Validation v = {.table = table, .options = options, .day = day, .today = today};

	find_days(&v);
	v.sketch = pe_sketch_source(pe_source_open(today, "snapshot_table"), day);
	v.references = palloc0(sizeof(Reference) * Max(v.sketch->ncolumns, 1));
	read_days(&v);
	if (v.ndays == 0)
		add(&v, "row_count", NULL, PE_VERDICT_OK, 0, options->row_count.warn,
		    psprintf(INT64_FORMAT " rows, and no previous day to compare with", v.sketch->rows));
	else
	{
		check_row_count(&v);
		check_stale(&v);
		for (int i = 0; i < v.sketch->ncolumns; i++)
			check_column(&v, &v.sketch->columns[i], &v.references[i]);
	}
	check_duplicates(&v);
	list_sort(v.verdicts, compare_verdicts);
	return v.verdicts;
}
