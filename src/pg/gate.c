/*
 * gate.c
 *		Has a refresh moved too far from the one before to be sent unseen?
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"

#include "pg/distribution.h"
#include "pg/gate.h"
#include "pg/owner.h"

/* With fewer profiles on either side chance alone would move the index by more than a tenth. */
#define LEAST_JUDGED   500
#define RELEASE_LEEWAY 1.1
#define QUEUED         "queued"
#define HELD           "held"

/* ---- what was before ------------------------------------------------------------------- */

static void
read_array(Datum datum, Oid element, int *count, Datum **items)
{
	bool *nulls;

	deconstruct_array(DatumGetArrayTypePCopy(datum), element, sizeof(Datum), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
	                  items, &nulls, count);
}

static PeDistribution *
read_distribution(HeapTuple row, TupleDesc desc)
{
	PeDistribution *distribution = palloc0(sizeof(PeDistribution));
	Datum *items;
	int count;
	bool isnull;

	distribution->attribute = SPI_getvalue(row, desc, 1);
	read_array(SPI_getbinval(row, desc, 2, &isnull), FLOAT8OID, &distribution->nedges, &items);
	distribution->edges = palloc(sizeof(double) * Max(distribution->nedges, 1));
	for (int i = 0; i < distribution->nedges; i++)
		distribution->edges[i] = DatumGetFloat8(items[i]);
	read_array(SPI_getbinval(row, desc, 3, &isnull), INT8OID, &count, &items);
	if (count != 2 * distribution->nedges + 1)
		elog(ERROR, "stored distribution of \"%s\" has %d counts for %d edges", distribution->attribute,
		     count, distribution->nedges);
	distribution->counts = palloc(sizeof(int64) * count);
	for (int i = 0; i < count; i++)
		distribution->counts[i] = DatumGetInt64(items[i]);
	distribution->missing = DatumGetInt64(SPI_getbinval(row, desc, 4, &isnull));
	return distribution;
}

/* Of what was queued last, or of what is held: PeDistribution *, in the current context. */
static List *
read_distributions(const Refresh *refresh, const char *state)
{
	Oid types[] = {INT4OID, TEXTOID};
	Datum values[] = {Int32GetDatum(refresh->enrichment->enrichment_id), CStringGetTextDatum(state)};
	List *list = NIL;

	pe_owner_execute("SELECT attribute, edges, counts, missing FROM profenrich.attribute_distribution "
	                 "WHERE enrichment_id = $1 AND state = $2 ORDER BY attribute",
	                 2, types, values, NULL, false, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
		list = lappend(list, read_distribution(SPI_tuptable->vals[i], SPI_tuptable->tupdesc));
	return list;
}

static const PeDistribution *
find_distribution(List *list, const char *attribute)
{
	ListCell *cell;

	foreach (cell, list)
	{
		const PeDistribution *distribution = lfirst(cell);

		if (strcmp(distribution->attribute, attribute) == 0)
			return distribution;
	}
	return NULL;
}

/* ---- measuring --------------------------------------------------------------------------- */

static void
add_measure(Refresh *refresh, const char *name, const char *attribute, double value, double limit)
{
	PeMeasure *measure = palloc(sizeof(PeMeasure));

	*measure = (PeMeasure){.name = name, .attribute = attribute, .value = value, .limit = limit};
	refresh->measures = lappend(refresh->measures, measure);
}

static void
measure_attributes(Refresh *refresh, bool released)
{
	List *before = read_distributions(refresh, released ? HELD : QUEUED);

	for (int i = 0; refresh->sample != NULL && i < pe_sample_attributes(refresh->sample); i++)
	{
		const char *attribute = pe_sample_attribute(refresh->sample, i);
		const PeDistribution *was = find_distribution(before, attribute);
		const PeDistribution *is;

		if (was == NULL)
			continue;
		is = pe_sample_distribution(refresh->sample, i, was);
		if (pe_distribution_size(was) >= LEAST_JUDGED && pe_distribution_size(is) >= LEAST_JUDGED)
			add_measure(refresh, "psi", attribute, pe_distribution_psi(was, is),
			            refresh->enrichment->gate.psi);
	}
}

/* What a share of the held refresh was; 0 when it was not measured. */
static double
held_share(const Refresh *refresh, const char *name)
{
	Oid types[] = {INT4OID, TEXTOID};
	Datum values[] = {Int32GetDatum(refresh->enrichment->enrichment_id), CStringGetTextDatum(name)};
	bool isnull = true;
	Datum value = (Datum) 0;

	pe_owner_execute("SELECT (m ->> 'value')::pg_catalog.float8 FROM profenrich.run r, "
	                 "pg_catalog.jsonb_array_elements(r.measures) m "
	                 "WHERE r.enrichment_id = $1 AND r.outcome = '" HELD "' AND m ->> 'measure' = $2",
	                 2, types, values, NULL, false, 1);
	if (SPI_processed > 0)
		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	return isnull ? 0 : DatumGetFloat8(value);
}

static void
measure_share(Refresh *refresh, const char *name, int64 count, double limit, bool released)
{
	if (released && limit < 1)
		limit = Max(limit, held_share(refresh, name) * RELEASE_LEEWAY);
	add_measure(refresh, name, NULL, (double) count / refresh->live, limit);
}

/* Profiles that were absent already when the enrichment was refreshed last, and keep their values. */
static int64
absent_before(const Refresh *refresh)
{
	Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(refresh->enrichment->enrichment_id)};
	bool isnull;

	pe_owner_execute("SELECT absent FROM profenrich.run WHERE enrichment_id = $1 AND outcome = '" QUEUED "' "
	                 "AND kind IN ('refresh', 'release') ORDER BY run_id DESC LIMIT 1",
	                 1, types, values, NULL, false, 1);
	if (SPI_processed == 0)
		return 0;
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

void
pe_gate_measure(Refresh *refresh, bool released)
{
	const PeGateLimits *gate = &refresh->enrichment->gate;

	refresh->measures = NIL;
	if (refresh->live == 0)
		return;
	measure_attributes(refresh, released);
	measure_share(refresh, "retracted", refresh->retracted, refresh->enrichment->max_retract, released);
	measure_share(refresh, "lost", Max(refresh->absent - absent_before(refresh), 0), gate->lost, released);
	measure_share(refresh, "new", refresh->appeared, gate->appeared, released);
	if (refresh->judges_buckets)
		measure_share(refresh, "bucket", refresh->bucket_changes, gate->bucket, released);
}

/* ---- the verdict --------------------------------------------------------------------------- */

char *
pe_gate_reason(const Refresh *refresh)
{
	StringInfoData words;
	ListCell *cell;

	if (!refresh->enrichment->gate.on)
		return NULL;
	initStringInfo(&words);
	foreach (cell, refresh->measures)
	{
		const PeMeasure *measure = lfirst(cell);

		if (measure->value <= measure->limit)
			continue;
		appendStringInfoString(&words, words.len > 0 ? "; " : "");
		if (measure->attribute != NULL)
			appendStringInfo(&words, "%s of %s is %.3f, above %.3g", measure->name, measure->attribute,
			                 measure->value, measure->limit);
		else
			appendStringInfo(&words, "share %s is %.1f %%, above %.3g %%", measure->name,
			                 100 * measure->value, 100 * measure->limit);
	}
	return words.len > 0 ? words.data : NULL;
}

char *
pe_gate_measures_json(const Refresh *refresh)
{
	StringInfoData json;
	ListCell *cell;

	initStringInfo(&json);
	appendStringInfoChar(&json, '[');
	foreach (cell, refresh->measures)
	{
		const PeMeasure *measure = lfirst(cell);

		appendStringInfo(&json, "%s{\"measure\": \"%s\"", json.len > 1 ? ", " : "", measure->name);
		if (measure->attribute != NULL)
		{
			appendStringInfoString(&json, ", \"attribute\": ");
			escape_json(&json, measure->attribute);
		}
		appendStringInfo(&json, ", \"value\": %s", float8out_internal(measure->value));
		if (!isinf(measure->limit))
			appendStringInfo(&json, ", \"limit\": %s", float8out_internal(measure->limit));
		appendStringInfo(&json, ", \"ok\": %s}", measure->value <= measure->limit ? "true" : "false");
	}
	appendStringInfoChar(&json, ']');
	return json.data;
}

/* ---- what is remembered -------------------------------------------------------------------- */

static Datum
float8_array(const double *numbers, int count)
{
	Datum *items = palloc(sizeof(Datum) * Max(count, 1));

	for (int i = 0; i < count; i++)
		items[i] = Float8GetDatum(numbers[i]);
	return PointerGetDatum(
	    construct_array(items, count, FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

static Datum
int8_array(const int64 *numbers, int count)
{
	Datum *items = palloc(sizeof(Datum) * Max(count, 1));

	for (int i = 0; i < count; i++)
		items[i] = Int64GetDatum(numbers[i]);
	return PointerGetDatum(
	    construct_array(items, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

static void
forget(int32 enrichment_id, const char *state)
{
	Oid types[] = {INT4OID, TEXTOID};
	Datum values[] = {Int32GetDatum(enrichment_id), CStringGetTextDatum(state)};

	pe_owner_execute("DELETE FROM profenrich.attribute_distribution WHERE enrichment_id = $1 AND state = $2",
	                 2, types, values, NULL, false, 0);
}

void
pe_gate_remember(const Refresh *refresh, int64 run_id, bool held)
{
	int32 enrichment_id = refresh->enrichment->enrichment_id;
	const char *state = held ? HELD : QUEUED;
	/* In the bins of what was queued last, so that what is released can be compared with it. */
	List *before = held ? read_distributions(refresh, QUEUED) : NIL;

	forget(enrichment_id, state);
	for (int i = 0; refresh->sample != NULL && i < pe_sample_attributes(refresh->sample); i++)
	{
		const char *attribute = pe_sample_attribute(refresh->sample, i);
		const PeDistribution *is =
		    pe_sample_distribution(refresh->sample, i, find_distribution(before, attribute));
		Oid types[] = {INT4OID, TEXTOID, TEXTOID, INT8OID, FLOAT8ARRAYOID, INT8ARRAYOID, INT8OID};
		Datum values[] = {Int32GetDatum(enrichment_id),        CStringGetTextDatum(state),
		                  CStringGetTextDatum(attribute),      Int64GetDatum(run_id),
		                  float8_array(is->edges, is->nedges), int8_array(is->counts, 2 * is->nedges + 1),
		                  Int64GetDatum(is->missing)};

		pe_owner_execute(
		    "INSERT INTO profenrich.attribute_distribution (enrichment_id, state, attribute, run_id, "
		    "edges, counts, missing) VALUES ($1, $2, $3, $4, $5, $6, $7)",
		    lengthof(types), types, values, NULL, false, 0);
	}
}

int64
pe_gate_held_run(int32 enrichment_id)
{
	Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(enrichment_id)};
	bool isnull;

	pe_owner_execute("SELECT run_id FROM profenrich.run WHERE enrichment_id = $1 AND outcome = '" HELD "'", 1,
	                 types, values, NULL, false, 1);
	if (SPI_processed == 0)
		return 0;
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

void
pe_gate_settle(int32 enrichment_id, const char *outcome)
{
	Oid types[] = {INT4OID, TEXTOID};
	Datum values[] = {Int32GetDatum(enrichment_id), CStringGetTextDatum(outcome)};

	pe_owner_execute("UPDATE profenrich.run SET outcome = $2 WHERE enrichment_id = $1 AND outcome = '" HELD
	                 "'",
	                 2, types, values, NULL, false, 0);
	if (SPI_processed > 0)
		forget(enrichment_id, HELD);
}
