/*
 * profile_status.c
 *		profile_status(): the newest value of one profile, and what became of it.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "pg/owner.h"
#include "pg/suppression.h"

/*
 * $1 enrichment, $2 key. A dead letter, retry or chunk counts for the version of the
 * value that it is about. When a value was accepted is known only while its shard has
 * had no other accepted request since the value was due, and there was no other batch.
 */
#define STATUS_SQL                                                                                           \
	"SELECT x.state,"                                                                                        \
	" CASE x.state"                                                                                          \
	"   WHEN 'no value' THEN 'it never was in the source, its row was skipped, or it was retracted and"      \
	" that was accepted: profenrich.runs counts what was skipped'"                                           \
	"   WHEN 'refused' THEN x.dead_reason"                                                                   \
	"   WHEN 'accepted' THEN CASE e.state WHEN 'held' THEN 'the platform took it; a newer refresh is held: " \
	"'"                                                                                                      \
	" || e.why ELSE 'the platform took it, and may have dropped it later: ask platform_profile()' END"       \
	"   ELSE nullif(concat_ws('; ', CASE x.state WHEN 'waiting' THEN 'an earlier value may still be on its"  \
	" way' WHEN 'retrying' THEN x.retry_error WHEN 'in batch' THEN x.batch END,"                             \
	"     CASE WHEN e.state NOT IN ('idle', 'sending', 'waiting', 'retrying', 'held')"                       \
	"       THEN concat_ws(': ', 'state of the enrichment: ' || e.state, e.why)"                             \
	"       WHEN x.state = 'queued' AND e.last_error_at > coalesce(e.last_success_at, '-infinity')"          \
	"       THEN 'the last request failed: ' || e.last_error END), '') END,"                                 \
	" x.version, x.changed_at, x.retracted, x.value, x.identity, x.enqueued_at,"                             \
	" CASE x.state WHEN 'waiting' THEN x.chunk_not_before WHEN 'retrying' THEN x.next_at END,"               \
	" x.attempts, x.http_status,"                                                                            \
	" CASE WHEN x.state = 'accepted' THEN (SELECT min(l.at) FROM (SELECT d.at FROM profenrich.delivery_log"  \
	"   d WHERE d.at >= greatest(x.changed_at, x.not_before) AND d.enrichment_id = x.enrichment_id"          \
	"   AND coalesce(d.shard, x.shard) = x.shard AND d.accepted > 0 LIMIT 2) l HAVING count(*) = 1) END"     \
	", x.namespace FROM (SELECT n.name, n.namespace, n.enrichment_id, s.version, s.changed_at, "             \
	"s.not_before, s.retracted, s.value,"                                                                    \
	"   jsonb_build_object(n.namespace, jsonb_build_array(jsonb_build_object('id', $2, 'primary', true)))"   \
	"     AS identity, k.shard, concat('job ', o.job_id, ' of profenrich.batches') AS batch, "               \
	"o.enqueued_at, o.not_before AS chunk_not_before, r.next_at,"                                            \
	"   r.error AS retry_error, d.reason AS dead_reason,"                                                    \
	"   coalesce(d.attempts, r.attempts) AS attempts, coalesce(d.http_status, r.http_status) AS "            \
	"http_status,"                                                                                           \
	"   CASE WHEN s.version IS NULL THEN 'no value'"                                                         \
	"     WHEN d.version IS NOT NULL THEN 'refused'"                                                         \
	"     WHEN r.version IS NOT NULL THEN 'retrying'"                                                        \
	"     WHEN o.job_id IS NOT NULL THEN 'in batch'"                                                         \
	"     WHEN o.not_before > now() THEN 'waiting'"                                                          \
	"     WHEN o.chunk_id IS NOT NULL THEN 'queued' ELSE 'accepted' END AS state"                            \
	"   FROM profenrich.enrichment n"                                                                        \
	"   CROSS JOIN (SELECT (hashtext($2 COLLATE \"C\") & 15)::int2 AS shard) k"                              \
	"   LEFT JOIN profenrich.profile_score s ON s.enrichment_id = n.enrichment_id AND s.profile_key = $2"    \
	"   LEFT JOIN profenrich.retry r ON r.enrichment_id = n.enrichment_id AND r.profile_key = $2"            \
	"     AND r.version >= s.version"                                                                        \
	"   LEFT JOIN profenrich.dead_letter d ON d.enrichment_id = n.enrichment_id AND d.profile_key = $2"      \
	"     AND d.version >= s.version"                                                                        \
	"   LEFT JOIN LATERAL (SELECT c.* FROM profenrich.outbox c WHERE c.enrichment_id = n.enrichment_id"      \
	"     AND c.shard = k.shard AND c.version = s.version AND $2 = ANY (c.profile_keys) LIMIT 1) o ON true"  \
	"   WHERE n.name = $1) x JOIN profenrich.enrichment_status e ON e.enrichment = x.name"

static bool
is_forgotten(Datum namespace_code, Datum key)
{
	const char *code = TextDatumGetCString(namespace_code);
	const char *id = TextDatumGetCString(key);

	return pe_suppression_has(pe_suppression_load(), code, strlen(code), id, strlen(id));
}

PG_FUNCTION_INFO_V1(pe_profile_status);

/* profile_status(enrichment, key) -> one row; operators may read the tables it is made of */
Datum
pe_profile_status(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid types[2] = {TEXTOID, TEXTOID};
	Datum values[2] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)};
	Datum *columns;
	bool *nulls;
	TupleDesc desc;
	HeapTupleHeader result;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	SPI_connect();
	pe_owner_execute(STATUS_SQL, 2, types, values, NULL, true, 1);
	if (SPI_processed == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("enrichment \"%s\" does not exist", name),
		                errhint("profenrich.enrichment_status lists them.")));
	columns = palloc(sizeof(Datum) * (desc->natts + 1)); /* the last is the namespace */
	nulls = palloc(sizeof(bool) * (desc->natts + 1));
	heap_deform_tuple(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, columns, nulls);
	if (strcmp(TextDatumGetCString(columns[0]), "no value") == 0 &&
	    is_forgotten(columns[desc->natts], values[1]))
	{
		columns[0] = CStringGetTextDatum("forgotten");
		columns[1] =
		    CStringGetTextDatum("it is on the list of the forgotten: profenrich.unforget() takes it off");
	}
	result = SPI_returntuple(heap_form_tuple(desc, columns, nulls), desc);
	SPI_finish();
	PG_RETURN_HEAPTUPLEHEADER(result);
}
