/*
 * resend.c
 *		resend(): queues newest values again, as they are.
 *
 * A value that is queued again gets the version of this run, so that what an older
 * chunk or retry still holds of it is superseded. It keeps the time it was scored at;
 * not_before alone says when it goes out, which is what the next value's gap counts from.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "pg/guc.h"
#include "pg/owner.h"
#include "pg/queue_control.h"
#include "pg/refresh.h"
#include "pg/worker.h"

static int64
single_number(void)
{
	bool isnull;

	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/* Keys without a value are no error, but whoever names them should know. */
static void
tell_unknown_keys(const char *name, int32 enrichment_id, Datum keys)
{
	Oid types[2] = {INT4OID, TEXTARRAYOID};
	Datum values[2] = {Int32GetDatum(enrichment_id), keys};
	int64 unknown;

	pe_owner_execute("SELECT count(DISTINCT k) FROM unnest($2) k WHERE NOT EXISTS (SELECT FROM"
	                 " profenrich.profile_score s WHERE s.enrichment_id = $1 AND s.profile_key = k)",
	                 2, types, values, NULL, false, 0);
	unknown = single_number();
	if (unknown > 0)
		ereport(NOTICE,
		        (errmsg(INT64_FORMAT " of the keys have no value in enrichment \"%s\"", unknown, name),
		         errhint("profenrich.profile_status() tells why of each key.")));
}

static int64
begin_run(int32 enrichment_id)
{
	Oid types[2] = {INT4OID, OIDOID};
	Datum values[2] = {Int32GetDatum(enrichment_id), ObjectIdGetDatum(GetUserId())};

	pe_owner_execute("INSERT INTO profenrich.run (enrichment_id, kind, run_by) VALUES ($1, 'resend', $2)"
	                 " RETURNING run_id",
	                 2, types, values, NULL, false, 0);
	return single_number();
}

/*
 * What is still queued or retried goes out anyway, and is left alone: queueing it anew
 * would only delay it by the resend gap.
 */
static int64
queue_values(int32 enrichment_id, int64 run_id, Datum keys, bool all)
{
	Oid types[5] = {INT4OID, INT8OID, TIMESTAMPTZOID, INT4OID, TEXTARRAYOID};
	Datum values[5] = {Int32GetDatum(enrichment_id), Int64GetDatum(run_id),
	                   TimestampTzGetDatum(GetCurrentTimestamp()), Int32GetDatum(pe_resend_gap), keys};

	pe_owner_execute(
	    psprintf(
	        "WITH pending AS MATERIALIZED (SELECT k.profile_key COLLATE \"C\" AS profile_key, o.version"
	        "   FROM profenrich.outbox o, unnest(o.profile_keys) k(profile_key) WHERE o.enrichment_id = $1"
	        "   UNION ALL SELECT profile_key, version FROM profenrich.retry WHERE enrichment_id = $1),"
	        " chosen AS (UPDATE profenrich.profile_score s SET version = $2,"
	        "   hash = CASE WHEN s.retracted THEN 0 ELSE s.hash END,"
	        "   not_before = CASE WHEN s.not_before > $3 THEN s.not_before"
	        "     ELSE greatest($3, greatest(s.changed_at, s.not_before) + $4 * interval '1 second') END"
	        "   WHERE s.enrichment_id = $1%s AND NOT EXISTS (SELECT FROM pending p"
	        "     WHERE p.profile_key = s.profile_key AND p.version = s.version)"
	        "   RETURNING s.profile_key, s.not_before, (hashtext(s.profile_key) & 15)::int2 AS shard),"
	        " dead AS (DELETE FROM profenrich.dead_letter d USING chosen c"
	        "   WHERE d.enrichment_id = $1 AND d.profile_key = c.profile_key),"
	        " numbered AS (SELECT *, (row_number() OVER (PARTITION BY shard, not_before ORDER BY profile_key)"
	        "   - 1) / 500 AS chunk FROM chosen),"
	        " queued AS (INSERT INTO profenrich.outbox (enrichment_id, shard, version, profile_keys, "
	        "not_before)"
	        "   SELECT $1, shard, $2, array_agg(profile_key ORDER BY profile_key), not_before FROM numbered"
	        "   GROUP BY shard, not_before, chunk ORDER BY chunk, shard)"
	        " SELECT count(*) FROM chosen",
	        all ? "" : " AND s.profile_key = ANY ($5)"),
	    all ? 4 : 5, types, values, NULL, false, 0);
	return single_number();
}

static void
end_run(int64 run_id, int64 changed)
{
	Oid types[2] = {INT8OID, INT8OID};
	Datum values[2] = {Int64GetDatum(run_id), Int64GetDatum(changed)};

	pe_owner_execute(
	    "UPDATE profenrich.run SET finished_at = clock_timestamp(), changed = $2 WHERE run_id = $1", 2, types,
	    values, NULL, false, 0);
}

PG_FUNCTION_INFO_V1(pe_resend);

/* resend(enrichment, keys) -> values queued again; keys NULL: of all profiles */
Datum
pe_resend(PG_FUNCTION_ARGS)
{
	bool all = PG_ARGISNULL(1);
	Datum keys = all ? (Datum) 0 : PG_GETARG_DATUM(1);
	char *name;
	int32 enrichment_id;
	int64 run_id, queued;

	PreventCommandIfReadOnly("profenrich.resend()");
	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("enrichment must not be null")));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	SPI_connect();
	enrichment_id = pe_queue_find(name).enrichment_id;
	pe_refresh_lock(enrichment_id, name);
	if (!all)
		tell_unknown_keys(name, enrichment_id, keys);
	run_id = begin_run(enrichment_id);
	queued = queue_values(enrichment_id, run_id, keys, all);
	end_run(run_id, queued);
	SPI_finish();
	pe_wake_worker_at_commit();
	PG_RETURN_INT64(queued);
}
