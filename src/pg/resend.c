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

#include "pg/arguments.h"
#include "pg/audit.h"
#include "pg/owner.h"
#include "pg/queue_control.h"
#include "pg/refresh.h"
#include "pg/resend.h"
#include "pg/sent.h"
#include "pg/worker.h"

static int64
single_number(void)
{
	bool isnull;

	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

void
pe_tell_unknown_keys(const char *name, int32 enrichment_id, Datum keys)
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
begin_run(int32 enrichment_id, const char *kind)
{
	Oid types[3] = {INT4OID, OIDOID, TEXTOID};
	Datum values[3] = {Int32GetDatum(enrichment_id), ObjectIdGetDatum(GetUserId()),
	                   CStringGetTextDatum(kind)};

	pe_owner_execute("INSERT INTO profenrich.run (enrichment_id, kind, run_by) VALUES ($1, $3, $2)"
	                 " RETURNING run_id",
	                 3, types, values, NULL, false, 0);
	return single_number();
}

static int64
queue_values(int32 enrichment_id, int64 run_id, const char *changes, const char *which, Datum keys)
{
	Oid types[5] = {INT4OID, INT8OID, TIMESTAMPTZOID, INT8OID, TEXTARRAYOID};
	Datum values[5] = {Int32GetDatum(enrichment_id), Int64GetDatum(run_id),
	                   TimestampTzGetDatum(GetCurrentTimestamp()), Int64GetDatum(pe_resend_distance()), keys};

	pe_owner_execute(
	    psprintf(
	        "WITH chosen AS (UPDATE profenrich.profile_score s SET version = $2%s%s,"
	        "   not_before = CASE WHEN s.not_before > $3 THEN s.not_before"
	        "     ELSE greatest($3, greatest(s.changed_at, s.not_before) + $4 * interval '1 microsecond') END"
	        "   WHERE s.enrichment_id = $1%s"
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
	        changes[0] != '\0' ? ", " : "", changes, which),
	    keys != 0 ? 5 : 4, types, values, NULL, false, 0);
	return single_number();
}

static void
end_run(int64 run_id, const char *column, int64 count)
{
	Oid types[2] = {INT8OID, INT8OID};
	Datum values[2] = {Int64GetDatum(run_id), Int64GetDatum(count)};

	pe_owner_execute(
	    psprintf("UPDATE profenrich.run SET finished_at = clock_timestamp(), %s = $2 WHERE run_id = $1",
	             column),
	    2, types, values, NULL, false, 0);
}

int64
pe_queue_again(int32 enrichment_id, const char *kind, const char *changes, const char *which, Datum keys)
{
	int64 run_id = begin_run(enrichment_id, kind);
	int64 queued = queue_values(enrichment_id, run_id, changes, which, keys);

	end_run(run_id, strcmp(kind, "resend") == 0 ? "changed" : "retracted", queued);
	pe_wake_worker_at_commit();
	return queued;
}

/*
 * What is still queued or retried goes out anyway, and is left alone: queueing it anew
 * would only delay it by the resend gap. The mark of a cleared profile waits again.
 */
#define NOT_PENDING                                                                                          \
	" AND NOT EXISTS (SELECT FROM (SELECT k.profile_key COLLATE \"C\" AS profile_key, o.version"             \
	" FROM profenrich.outbox o, unnest(o.profile_keys) k(profile_key) WHERE o.enrichment_id = $1"            \
	" UNION ALL SELECT profile_key, version FROM profenrich.retry WHERE enrichment_id = $1) p"               \
	" WHERE p.profile_key = s.profile_key AND p.version = s.version)"
#define MARK_WAITS "hash = CASE WHEN s.retracted AND s.hash = -1 THEN 0 ELSE s.hash END"

PG_FUNCTION_INFO_V1(pe_resend);

/*
 * resend(enrichment, keys), resend(enrichment) -> values queued again; without keys of all
 * profiles.
 */
Datum
pe_resend(PG_FUNCTION_ARGS)
{
	bool all = PG_NARGS() == 1;
	Datum keys = 0;
	char *name;
	int32 enrichment_id;
	int64 queued;

	PreventCommandIfReadOnly("profenrich.resend()");
	name = pe_text_argument(fcinfo, 0, "enrichment");
	if (!all)
		keys = PointerGetDatum(pe_keys_argument(fcinfo, 1, "resend"));
	SPI_connect();
	enrichment_id = pe_queue_find(name).enrichment_id;
	pe_refresh_lock(enrichment_id, name);
	if (!all)
		pe_tell_unknown_keys(name, enrichment_id, keys);
	queued = pe_queue_again(enrichment_id, "resend", MARK_WAITS,
	                        all ? NOT_PENDING : " AND s.profile_key = ANY ($5)" NOT_PENDING, keys);
	pe_audit("resend", name, "{\"queued\": " INT64_FORMAT ", \"all\": %s}", queued, all ? "true" : "false");
	SPI_finish();
	PG_RETURN_INT64(queued);
}
