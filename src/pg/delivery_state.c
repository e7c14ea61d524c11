/*
 * delivery_state.c
 *		One row for each enrichment: what delivery has done for it, and what is in its way.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "pg/delivery.h"
#include "pg/delivery_state.h"

PeStateChange *
pe_state_change(List **changes, int32 enrichment_id)
{
	PeStateChange *change;
	ListCell *cell;

	foreach (cell, *changes)
	{
		change = lfirst(cell);
		if (change->enrichment_id == enrichment_id)
			return change;
	}
	change = palloc0(sizeof(PeStateChange));
	change->enrichment_id = enrichment_id;
	*changes = lappend(*changes, change);
	return change;
}

bool
pe_state_is_among(List *changes, int count, int32 enrichment_id)
{
	for (int i = 0; i < count; i++)
		if (((PeStateChange *) list_nth(changes, i))->enrichment_id == enrichment_id)
			return true;
	return false;
}

void
pe_state_add_request(PeStateChange *change, const PeLogRow *row)
{
	change->requests++;
	if (row->error[0] != '\0')
		change->error = row;
}

void
pe_state_write(const PeStateChange *change)
{
	static PeStatement upsert = {
	    .sql =
	        "INSERT INTO profenrich.delivery_state AS s (enrichment_id, accepted, superseded, retried, dead,"
	        " requests, last_error, last_error_at, last_success_at)"
	        " SELECT $1, $2, $3, $4, $5, $6, nullif($7, ''), CASE WHEN $7 <> '' THEN $8 END,"
	        " CASE WHEN $2 > 0 THEN clock_timestamp() END"
	        " WHERE EXISTS (SELECT FROM profenrich.enrichment WHERE enrichment_id = $1)"
	        " ON CONFLICT (enrichment_id) DO UPDATE SET accepted = s.accepted + excluded.accepted,"
	        " superseded = s.superseded + excluded.superseded, retried = s.retried + excluded.retried,"
	        " dead = s.dead + excluded.dead, requests = s.requests + excluded.requests,"
	        " last_error = coalesce(excluded.last_error, s.last_error),"
	        " last_error_at = coalesce(excluded.last_error_at, s.last_error_at),"
	        " last_success_at = coalesce(excluded.last_success_at, s.last_success_at)",
	    .nargs = 8,
	    .types = {INT4OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, TEXTOID, TIMESTAMPTZOID}};
	Datum values[8] = {Int32GetDatum(change->enrichment_id),
	                   Int64GetDatum(change->accepted),
	                   Int64GetDatum(change->superseded),
	                   Int64GetDatum(change->retried),
	                   Int64GetDatum(change->dead),
	                   Int64GetDatum(change->requests),
	                   CStringGetTextDatum(change->error != NULL ? change->error->error : ""),
	                   TimestampTzGetDatum(change->error != NULL ? change->error->at : 0)};

	pe_statement_run(&upsert, values, NULL, false, 0);
}

void
pe_delivery_count_up(int32 enrichment_id, int64 accepted, int64 superseded, int64 retried, int64 dead)
{
	PeStateChange change = {
	    .enrichment_id = enrichment_id,
	    .accepted = accepted,
	    .superseded = superseded,
	    .retried = retried,
	    .dead = dead,
	};

	pe_state_write(&change);
}

typedef struct ReportArg
{
	int32 enrichment_id;
	pe_block block;
	const char *reason;
	int64 probe_in;
	int64 resumes;
} ReportArg;

static void
report_task(void *data)
{
	static PeStatement upsert = {
	    .sql =
	        "INSERT INTO profenrich.delivery_state AS s (enrichment_id, blocked, blocked_reason, blocked_at,"
	        " next_probe_at) VALUES ($1, $2, $3, CASE WHEN $2 IS NOT NULL THEN clock_timestamp() END,"
	        " clock_timestamp() + $4 * interval '1 second')"
	        " ON CONFLICT (enrichment_id) DO UPDATE SET blocked = excluded.blocked,"
	        " blocked_reason = excluded.blocked_reason, next_probe_at = excluded.next_probe_at,"
	        " blocked_at = CASE WHEN s.blocked IS NOT DISTINCT FROM excluded.blocked THEN s.blocked_at"
	        " ELSE excluded.blocked_at END WHERE s.resumes = $5",
	    .nargs = 5,
	    .types = {INT4OID, TEXTOID, TEXTOID, FLOAT8OID, INT8OID}};
	const ReportArg *arg = data;
	bool blocked = arg->block != PE_BLOCK_NONE;
	Datum values[5] = {Int32GetDatum(arg->enrichment_id), CStringGetTextDatum(pe_block_name(arg->block)),
	                   CStringGetTextDatum(arg->reason), Float8GetDatum((double) arg->probe_in / PE_SECOND),
	                   Int64GetDatum(arg->resumes)};
	char nulls[5] = {' ', blocked ? ' ' : 'n', blocked ? ' ' : 'n', blocked && arg->probe_in >= 0 ? ' ' : 'n',
	                 ' '};

	if (pe_delivery_enrichment_exists(arg->enrichment_id))
		pe_statement_run(&upsert, values, nulls, false, 0);
}

pe_written
pe_delivery_report(int32 enrichment_id, pe_block block, const char *reason, int64 probe_in, int64 resumes)
{
	ReportArg arg = {enrichment_id, block, reason, probe_in, resumes};

	return pe_delivery_write("noting a block", report_task, &arg);
}

typedef struct OutageArg
{
	int32 enrichment_id;
	int64 since;
	MemoryContext context;
	char *error;
} OutageArg;

/* An error from before the outage does not tell of it; log rows are dated by another clock, about. */
static void
outage_task(void *data)
{
	static PeStatement upsert = {
	    .sql = "INSERT INTO profenrich.delivery_state AS s (enrichment_id, outage_since) VALUES ($1,"
	           " clock_timestamp() - $2 * interval '1 microsecond') ON CONFLICT (enrichment_id) DO UPDATE"
	           " SET outage_since = excluded.outage_since"
	           " RETURNING CASE WHEN last_error_at >= outage_since - interval '1 second' THEN last_error END",
	    .nargs = 2,
	    .types = {INT4OID, INT8OID}};
	OutageArg *arg = data;
	Datum values[2] = {Int32GetDatum(arg->enrichment_id), Int64GetDatum(arg->since)};
	char nulls[2] = {' ', arg->since < 0 ? 'n' : ' '};
	char *error;

	if (!pe_delivery_enrichment_exists(arg->enrichment_id))
		return;
	pe_statement_run(&upsert, values, nulls, false, 0);
	error = SPI_processed > 0 ? SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1) : NULL;
	arg->error = error != NULL ? MemoryContextStrdup(arg->context, error) : NULL;
}

pe_written
pe_delivery_note_outage(int32 enrichment_id, int64 since, char **error)
{
	OutageArg arg = {enrichment_id, since, CurrentMemoryContext};
	pe_written written = pe_delivery_write("noting an outage", outage_task, &arg);

	*error = arg.error;
	return written;
}
