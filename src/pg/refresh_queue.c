/*
 * refresh_queue.c
 *		What a refresh writes: its run, the new values, and the chunks of keys to send.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/queryenvironment.h"

#include "pg/gate.h"
#include "pg/owner.h"
#include "pg/progress.h"
#include "pg/refresh.h"
#include "pg/sent.h"
#include "pg/wire_value.h"
#include "pg/worker.h"

#define KEYS_PER_CHUNK 500

char *
pe_refresh_reasons(const Refresh *refresh)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoChar(&text, '{');
	for (int i = 0; i < refresh->nreasons; i++)
	{
		if (i > 0)
			appendStringInfoString(&text, ", ");
		escape_json(&text, refresh->reasons[i].reason);
		appendStringInfo(&text, ": " INT64_FORMAT, refresh->reasons[i].rows);
	}
	appendStringInfoChar(&text, '}');
	return text.data;
}

static int64
begin_run(const Refresh *refresh, const char *kind)
{
	Oid types[4] = {INT4OID, TEXTOID, TIMESTAMPTZOID, OIDOID};
	Datum values[4] = {Int32GetDatum(refresh->enrichment->enrichment_id), CStringGetTextDatum(kind),
	                   TimestampTzGetDatum(refresh->started), ObjectIdGetDatum(GetUserId())};
	bool isnull;

	pe_owner_execute(
	    "INSERT INTO profenrich.run (enrichment_id, kind, started_at, run_by) VALUES ($1, $2, $3, $4) "
	    "RETURNING run_id",
	    4, types, values, NULL, false, 0);
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/* reason: why it is held; NULL: it is queued. */
static void
end_run(const Refresh *refresh, int64 run_id, const char *reason)
{
	Oid types[] = {INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID,
	               TEXTOID, INT8OID, TEXTOID, TEXTOID, INT8OID};
	Datum values[] = {
	    Int64GetDatum(run_id),
	    Int64GetDatum(refresh->profiles),
	    Int64GetDatum(refresh->nchanged),
	    Int64GetDatum(refresh->unchanged),
	    Int64GetDatum(refresh->retracted),
	    Int64GetDatum(refresh->skipped),
	    CStringGetTextDatum(pe_refresh_reasons(refresh)),
	    Int64GetDatum(refresh->held_back),
	    CStringGetTextDatum(pe_gate_measures_json(refresh)),
	    reason != NULL ? CStringGetTextDatum(reason) : (Datum) 0,
	    /* Those that are retracted have no value any more. */
	    Int64GetDatum(refresh->enrichment->retract_absent ? 0 : refresh->absent),
	};
	char nulls[] = "           ";

	if (reason == NULL)
		nulls[9] = 'n';
	pe_owner_execute(
	    "UPDATE profenrich.run SET finished_at = clock_timestamp(), profiles = $2, changed = $3, "
	    "unchanged = $4, retracted = $5, skipped = $6, skipped_reasons = $7::jsonb, held_back = $8, "
	    "measures = $9::jsonb, held_reason = $10, absent = $11, outcome = CASE WHEN $10 IS NULL THEN "
	    "'queued' ELSE 'held' "
	    "END "
	    "WHERE run_id = $1",
	    lengthof(types), types, values, nulls, false, 0);
}

/*
 * Writes the noted changes: the new values, whose dead letters are superseded, and
 * their keys in chunks, each of one shard and of one time to wait for.
 */
static void
write_values(Refresh *refresh, int64 run_id)
{
	EphemeralNamedRelation relation = palloc0(sizeof(EphemeralNamedRelationData));
	Oid types[3] = {INT4OID, INT8OID, TIMESTAMPTZOID};
	Datum values[3] = {Int32GetDatum(refresh->enrichment->enrichment_id), Int64GetDatum(run_id),
	                   TimestampTzGetDatum(refresh->now)};

	relation->md.name = "profenrich_changed";
	relation->md.tupdesc = refresh->change;
	relation->md.enrtype = ENR_NAMED_TUPLESTORE;
	relation->md.enrtuples = (double) (refresh->nchanged + refresh->retracted);
	relation->reldata = refresh->changed;
	if (SPI_register_relation(relation) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register the changes");
	pe_owner_execute(
	    "INSERT INTO profenrich.profile_score (enrichment_id, profile_key, version, hash, changed_at, "
	    "not_before, "
	    "retracted, value) "
	    "SELECT $1, profile_key, $2, hash, $3, not_before, retracted, value::jsonb FROM profenrich_changed "
	    "ON CONFLICT (enrichment_id, profile_key) DO UPDATE SET version = EXCLUDED.version, "
	    "hash = EXCLUDED.hash, changed_at = EXCLUDED.changed_at, not_before = EXCLUDED.not_before, "
	    "retracted = EXCLUDED.retracted, value = EXCLUDED.value",
	    3, types, values, NULL, false, 0);
	pe_owner_execute("DELETE FROM profenrich.dead_letter d USING profenrich_changed c "
	                 "WHERE d.enrichment_id = $1 AND d.profile_key = c.profile_key",
	                 1, types, values, NULL, false, 0);
	pe_owner_execute(
	    "INSERT INTO profenrich.outbox (enrichment_id, shard, version, profile_keys, not_before) "
	    "SELECT $1, shard, $2, array_agg(profile_key), not_before FROM (SELECT shard, not_before, "
	    "profile_key, "
	    "(row_number() OVER (PARTITION BY shard, not_before ORDER BY profile_key) - 1) "
	    "/ " CppAsString2(KEYS_PER_CHUNK) " AS chunk FROM profenrich_changed) AS numbered "
	                                      "GROUP BY shard, not_before, chunk ORDER BY chunk, shard",
	    2, types, values, NULL, false, 0);
	SPI_unregister_relation("profenrich_changed");
}

/* Tombstones that no value needs to wait for any more. */
static void
sweep_tombstones(const Refresh *refresh)
{
	Oid types[4] = {INT4OID, INT8OID, TIMESTAMPTZOID, INT8OID};
	Datum values[4] = {Int32GetDatum(refresh->enrichment->enrichment_id),
	                   Int64GetDatum(PE_TOMBSTONE_ACCEPTED), TimestampTzGetDatum(refresh->now),
	                   Int64GetDatum(pe_resend_distance())};

	pe_owner_execute(
	    "DELETE FROM profenrich.profile_score WHERE enrichment_id = $1 AND retracted AND hash = $2 "
	    "AND greatest(changed_at, not_before) + $4 * interval '1 microsecond' <= $3",
	    4, types, values, NULL, false, 0);
}

int64
pe_refresh_write(Refresh *refresh, const char *kind)
{
	int64 run_id = begin_run(refresh, kind);

	pe_progress_publish("queueing", 0, refresh->nchanged + refresh->retracted);
	if (refresh->nchanged + refresh->retracted > 0)
	{
		write_values(refresh, run_id);
		pe_wake_worker_at_commit();
	}
	tuplestore_end(refresh->changed); /* it may have a file */
	if (refresh->old_tombstones > 0)
		sweep_tombstones(refresh);
	end_run(refresh, run_id, NULL);
	return run_id;
}

int64
pe_refresh_write_held(Refresh *refresh, const char *kind, const char *reason)
{
	int64 run_id = begin_run(refresh, kind);

	tuplestore_end(refresh->changed);
	end_run(refresh, run_id, reason);
	return run_id;
}
