/*
 * late_tables.c
 *		What the check for late failures reads and writes, a transaction each. All of it
 *		may be repeated: a record that was noted is not noted again.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "pg/guc.h"
#include "pg/late_check.h"

static int64
int8_result(int column, int64 otherwise)
{
	bool isnull;
	Datum value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &isnull);

	return isnull ? otherwise : DatumGetInt64(value);
}

static Datum
text_array(Datum *items, int count)
{
	return PointerGetDatum(construct_array(items, count, TEXTOID, -1, false, TYPALIGN_INT));
}

/*
 * An enrichment is looked after for two days after its last success: a failed batch turns
 * up within hours. What was missed while nobody looked is made up for, as far as the
 * platform keeps it.
 */
static void
due_task(void *data)
{
	static PeStatement next = {
	    .sql = "SELECT t.enrichment_id, greatest(now() - interval '30 days', least(now() - interval '2 days',"
	           " c.checked_at - interval '1 day')),"
	           " greatest(0, extract(epoch FROM coalesce(c.next_at, now()) - now()) * 1000000)::int8"
	           " FROM profenrich.enrichment_target t JOIN profenrich.delivery_state s USING (enrichment_id)"
	           " LEFT JOIN profenrich.late_check c USING (enrichment_id)"
	           " WHERE c.asked OR ($1 AND s.last_success_at > now() - interval '2 days')"
	           " ORDER BY c.asked DESC NULLS LAST, c.next_at NULLS FIRST LIMIT 1",
	    .nargs = 1,
	    .types = {BOOLOID}};
	PeLateDue *due = data;
	Datum values[1] = {BoolGetDatum(pe_late_check_interval > 0)};
	bool isnull;

	pe_statement_run(&next, values, NULL, true, 1);
	if (SPI_processed == 0)
		return;
	due->wait = int8_result(3, 0);
	due->since = DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	if (due->wait == 0)
		due->enrichment_id =
		    DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

bool
pe_late_due(PeLateDue *due)
{
	*due = (PeLateDue){.wait = -1};
	return pe_delivery_step("looking for a check that is due", due_task, due);
}

typedef struct UnreadArg
{
	int32 enrichment_id;
	char **ids;
	int *count;
} UnreadArg;

static void
unread_task(void *data)
{
	static PeStatement read = {
	    .sql = "SELECT k.ord FROM unnest($2) WITH ORDINALITY k(id, ord) WHERE EXISTS (SELECT FROM"
	           " profenrich.late_batch b WHERE b.enrichment_id = $1 AND b.batch_id = k.id)",
	    .nargs = 2,
	    .types = {INT4OID, TEXTARRAYOID}};
	UnreadArg *arg = data;
	Datum *ids = palloc(Max(*arg->count, 1) * sizeof(Datum));
	Datum values[2] = {Int32GetDatum(arg->enrichment_id)};
	int left = 0;

	for (int i = 0; i < *arg->count; i++)
		ids[i] = CStringGetTextDatum(arg->ids[i]);
	values[1] = text_array(ids, *arg->count);
	pe_statement_run(&read, values, NULL, true, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool isnull;
		int64 ord = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));

		arg->ids[ord - 1] = NULL;
	}
	for (int i = 0; i < *arg->count; i++)
		if (arg->ids[i] != NULL)
			arg->ids[left++] = arg->ids[i];
	*arg->count = left;
}

bool
pe_late_unread(int32 enrichment_id, char **ids, int *count)
{
	UnreadArg arg = {enrichment_id, ids, count};

	return *count == 0 || pe_delivery_step("looking which failed batches are known", unread_task, &arg);
}

typedef struct ApplyArg
{
	int32 enrichment_id;
	int64 epoch;
	TimestampTz created;
	const PeFailedRow *rows;
	int row_count;
	const char *batch_id;
	const char *error;
	PeLateCounts counts;
} ApplyArg;

static bool
may_write(const ApplyArg *arg)
{
	return pe_delivery_holds(arg->epoch) && pe_delivery_enrichment_exists(arg->enrichment_id);
}

/*
 * Of the rows, those that had the newest value: it carries the time of that value. One
 * that clears a profile carries none, and is the newest if the profile is cleared and was
 * before the batch was made (by a clock that may differ from ours by minutes). Keys that
 * are to be tried again anyway, or are known to be dead, are left alone.
 */
#define NEWEST                                                                                               \
	"FROM (SELECT DISTINCT ON (profile_key) * FROM unnest($2, $3, $4, $5, $6) x(profile_key, shard, "        \
	"scored_at, class, reason) ORDER BY profile_key, scored_at DESC) k"                                      \
	" JOIN profenrich.profile_score s ON s.enrichment_id = $1 AND s.profile_key = k.profile_key"             \
	" WHERE CASE WHEN s.retracted THEN k.scored_at = '' AND s.changed_at < $7 + interval '5 minutes'"        \
	"   ELSE k.scored_at = to_char(s.changed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') "   \
	"END"                                                                                                    \
	" AND NOT EXISTS (SELECT FROM profenrich.retry r WHERE r.enrichment_id = $1"                             \
	"   AND r.profile_key = k.profile_key AND r.version >= s.version)"                                       \
	" AND NOT EXISTS (SELECT FROM profenrich.dead_letter d WHERE d.enrichment_id = $1"                       \
	"   AND d.profile_key = k.profile_key AND d.version >= s.version)"

#define APPLY_TYPES                                                                                          \
	{                                                                                                        \
		INT4OID, TEXTARRAYOID, INT2ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID,       \
		    TEXTARRAYOID                                                                                     \
	}

static void
apply_values(const ApplyArg *arg, Datum *values)
{
	Datum *columns[5];
	Datum transient[3] = {CStringGetTextDatum(pe_outcome_name(PE_OUTCOME_FAULT)),
	                      CStringGetTextDatum(pe_outcome_name(PE_OUTCOME_OVERLOAD)),
	                      CStringGetTextDatum(pe_outcome_name(PE_OUTCOME_RATE))};

	for (int i = 0; i < 5; i++)
		columns[i] = palloc(arg->row_count * sizeof(Datum));
	for (int i = 0; i < arg->row_count; i++)
	{
		const PeFailedRow *row = &arg->rows[i];
		const char *key = pg_any_to_server(row->key, (int) strlen(row->key), PG_UTF8);
		uint32 hash = hash_bytes((const unsigned char *) key, (int) strlen(key));

		columns[0][i] = CStringGetTextDatum(key);
		columns[1][i] = Int16GetDatum((int16) (hash % PE_SHARDS));
		columns[2][i] =
		    CStringGetTextDatum(pg_any_to_server(row->scored_at, (int) strlen(row->scored_at), PG_UTF8));
		columns[3][i] = CStringGetTextDatum(pe_outcome_name(row->outcome));
		columns[4][i] =
		    CStringGetTextDatum(pg_any_to_server(row->reason, (int) strlen(row->reason), PG_UTF8));
	}
	values[0] = Int32GetDatum(arg->enrichment_id);
	values[1] = text_array(columns[0], arg->row_count);
	values[2] =
	    PointerGetDatum(construct_array(columns[1], arg->row_count, INT2OID, 2, true, TYPALIGN_SHORT));
	for (int i = 2; i < 5; i++)
		values[i + 1] = text_array(columns[i], arg->row_count);
	values[6] = TimestampTzGetDatum(arg->created);
	values[7] = text_array(transient, 3);
}

static void
apply_task(void *data)
{
	static PeStatement bury = {
	    .sql = "INSERT INTO profenrich.dead_letter AS d (enrichment_id, profile_key, shard, version, class, "
	           "reason) SELECT $1, k.profile_key, k.shard, s.version, k.class, k.reason " NEWEST
	           " AND k.class <> ALL ($8) ON CONFLICT (enrichment_id, profile_key) DO UPDATE SET"
	           " version = excluded.version, class = excluded.class, reason = excluded.reason,"
	           " shard = excluded.shard, attempts = 1, http_status = NULL, died_at = clock_timestamp()"
	           " WHERE d.version < excluded.version",
	    .nargs = 8,
	    .types = APPLY_TYPES};
	static PeStatement retry = {
	    .sql =
	        "INSERT INTO profenrich.retry AS r (enrichment_id, profile_key, shard, version, next_at, class, "
	        "error) SELECT $1, k.profile_key, k.shard, s.version, clock_timestamp(), k.class, "
	        "k.reason " NEWEST
	        " AND k.class = ANY ($8) ON CONFLICT (enrichment_id, profile_key) DO UPDATE SET"
	        " version = excluded.version, class = excluded.class, error = excluded.error, attempts = 1,"
	        " next_at = excluded.next_at, http_status = NULL WHERE r.version < excluded.version",
	    .nargs = 8,
	    .types = APPLY_TYPES};
	ApplyArg *arg = data;
	Datum values[8];

	arg->counts = (PeLateCounts){0};
	if (!may_write(arg))
		return;
	apply_values(arg, values);
	pe_statement_run(&bury, values, NULL, false, 0);
	arg->counts.dead = (int64) SPI_processed;
	pe_statement_run(&retry, values, NULL, false, 0);
	arg->counts.retried = (int64) SPI_processed;
	arg->counts.outdated = arg->row_count - arg->counts.dead - arg->counts.retried;
	/* They were counted as accepted when they were received. */
	if (arg->counts.dead + arg->counts.retried > 0)
		pe_delivery_count_up(arg->enrichment_id, -(arg->counts.dead + arg->counts.retried), 0,
		                     arg->counts.retried, arg->counts.dead);
}

pe_written
pe_late_apply(int32 enrichment_id, int64 epoch, TimestampTz batch_created, const PeFailedRow *rows, int count,
              PeLateCounts *counts)
{
	ApplyArg arg = {.enrichment_id = enrichment_id,
	                .epoch = epoch,
	                .created = batch_created,
	                .rows = rows,
	                .row_count = count};
	pe_written written = pe_delivery_write("noting late failures", apply_task, &arg);

	if (written != PE_WRITTEN)
		return written;
	counts->dead += arg.counts.dead;
	counts->retried += arg.counts.retried;
	counts->outdated += arg.counts.outdated;
	return written;
}

static void
read_task(void *data)
{
	static PeStatement note = {.sql =
	                               "INSERT INTO profenrich.late_batch (enrichment_id, batch_id, created_at)"
	                               " VALUES ($1, $2, $3) ON CONFLICT (enrichment_id, batch_id) DO NOTHING",
	                           .nargs = 3,
	                           .types = {INT4OID, TEXTOID, TIMESTAMPTZOID}};
	static PeStatement count = {
	    .sql = "INSERT INTO profenrich.late_check AS c (enrichment_id, batches, dead, retried, outdated, "
	           "strangers) VALUES ($1, 1, $2, $3, $4, $5) ON CONFLICT (enrichment_id) DO UPDATE SET"
	           " batches = c.batches + 1, dead = c.dead + excluded.dead, retried = c.retried + "
	           "excluded.retried,"
	           " outdated = c.outdated + excluded.outdated, strangers = c.strangers + excluded.strangers",
	    .nargs = 5,
	    .types = {INT4OID, INT8OID, INT8OID, INT8OID, INT8OID}};
	ApplyArg *arg = data;
	Datum values[3] = {Int32GetDatum(arg->enrichment_id), CStringGetTextDatum(arg->batch_id),
	                   TimestampTzGetDatum(arg->created)};
	Datum counts[5] = {Int32GetDatum(arg->enrichment_id), Int64GetDatum(arg->counts.dead),
	                   Int64GetDatum(arg->counts.retried), Int64GetDatum(arg->counts.outdated),
	                   Int64GetDatum(arg->counts.strangers)};

	if (!may_write(arg))
		return;
	pe_statement_run(&note, values, NULL, false, 0);
	if (SPI_processed > 0)
		pe_statement_run(&count, counts, NULL, false, 0);
}

pe_written
pe_late_read(int32 enrichment_id, int64 epoch, const char *batch_id, TimestampTz batch_created,
             const PeLateCounts *counts)
{
	ApplyArg arg = {.enrichment_id = enrichment_id,
	                .epoch = epoch,
	                .created = batch_created,
	                .batch_id = batch_id,
	                .counts = *counts};

	return pe_delivery_write("noting a failed batch", read_task, &arg);
}

static void
end_task(void *data)
{
	static PeStatement end = {
	    .sql = "INSERT INTO profenrich.late_check AS c (enrichment_id, next_at, checked_at, last_error)"
	           " VALUES ($1, clock_timestamp() + $2 * interval '1 second', CASE WHEN $3 = '' THEN"
	           " clock_timestamp() END, nullif($3, '')) ON CONFLICT (enrichment_id) DO UPDATE SET"
	           " next_at = excluded.next_at, asked = false, last_error = excluded.last_error,"
	           " checked_at = coalesce(excluded.checked_at, c.checked_at)",
	    .nargs = 3,
	    .types = {INT4OID, INT4OID, TEXTOID}};
	static PeStatement forget = {.sql = "DELETE FROM profenrich.late_batch WHERE enrichment_id = $1"
	                                    " AND created_at < now() - interval '32 days'",
	                             .nargs = 1,
	                             .types = {INT4OID}};
	ApplyArg *arg = data;
	Datum values[3] = {Int32GetDatum(arg->enrichment_id),
	                   Int32GetDatum(pe_late_check_interval > 0 ? pe_late_check_interval : 900),
	                   CStringGetTextDatum(arg->error)};

	if (!may_write(arg))
		return;
	pe_statement_run(&end, values, NULL, false, 0);
	pe_statement_run(&forget, values, NULL, false, 0);
}

pe_written
pe_late_end(int32 enrichment_id, int64 epoch, const char *error)
{
	ApplyArg arg = {.enrichment_id = enrichment_id, .epoch = epoch, .error = error != NULL ? error : ""};

	return pe_delivery_write("noting a check", end_task, &arg);
}
