/*
 * delivery_log.c
 *		One row for each request, written for people: its rows wait in memory for the next
 *		transaction, its partitions are made days ahead.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "pg/delivery.h"
#include "pg/delivery_state.h"
#include "pg/guc.h"

#define MAX_LOG_ROWS 256
#define DAYS_AHEAD   3

static PeLogRow log_rows[MAX_LOG_ROWS];
static int log_row_count = 0;
static int log_rows_taken = 0; /* the first of them, by the transaction under way */

void
pe_delivery_log(const PeLogRow *row)
{
	/* The log is for people; when it cannot be written for long, the oldest lines go. */
	if (log_row_count == MAX_LOG_ROWS)
		memmove(&log_rows[0], &log_rows[1], sizeof(PeLogRow) * --log_row_count);
	log_rows[log_row_count++] = *row;
}

int
pe_delivery_log_waiting(void)
{
	return log_row_count;
}

void
pe_delivery_log_count(List *changes)
{
	int count = list_length(changes);

	for (int i = 0; i < log_row_count; i++)
		if (pe_state_is_among(changes, count, log_rows[i].enrichment_id))
			pe_state_add_request(pe_state_change(&changes, log_rows[i].enrichment_id), &log_rows[i]);
}

static void
write_log_row(const PeLogRow *row)
{
	static PeStatement insert = {
	    .sql = "INSERT INTO profenrich.delivery_log (at, enrichment_id, chunk_id, "
	           "shard, messages, bytes, http_status,"
	           " outcome, accepted, retried, dead, latency_ms, platform_id, error)"
	           " VALUES ($1, $2, nullif($3, 0), nullif($4, -1), $5, $6, nullif($7, 0), $8, $9, "
	           "$10, $11, $12, nullif($13, ''),"
	           " nullif($14, ''))",
	    .nargs = 14,
	    .types = {TIMESTAMPTZOID, INT4OID, INT8OID, INT2OID, INT4OID, INT8OID, INT4OID, TEXTOID, INT4OID,
	              INT4OID, INT4OID, FLOAT8OID, TEXTOID, TEXTOID}};
	Datum error = CStringGetTextDatum(row->error);
	Datum values[14] = {TimestampTzGetDatum(row->at),
	                    Int32GetDatum(row->enrichment_id),
	                    Int64GetDatum(row->chunk_id),
	                    Int16GetDatum((int16) row->shard),
	                    Int32GetDatum(row->messages),
	                    Int64GetDatum(row->bytes),
	                    Int32GetDatum(row->http_status),
	                    CStringGetTextDatum(row->outcome),
	                    Int32GetDatum(row->accepted),
	                    Int32GetDatum(row->retried),
	                    Int32GetDatum(row->dead),
	                    Float8GetDatum(row->latency_ms),
	                    CStringGetTextDatum(row->platform_id),
	                    error};

	pe_statement_run(&insert, values, NULL, false, 0);
}

/*
 * Moves the rows to be written to the front: those of enrichments whose state is being written anyway,
 * since that of another may be locked by somebody for long; NIL: all.
 */
static void
take_rows(List *counted)
{
	log_rows_taken = 0;
	for (int i = 0; i < log_row_count; i++)
	{
		PeLogRow row = log_rows[i];

		if (counted != NIL && !pe_state_is_among(counted, list_length(counted), row.enrichment_id))
			continue;
		memmove(&log_rows[log_rows_taken + 1], &log_rows[log_rows_taken],
		        sizeof(PeLogRow) * (i - log_rows_taken));
		log_rows[log_rows_taken++] = row;
	}
}

void
pe_delivery_log_write(List *counted)
{
	static bool complained = false;
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	int before = list_length(counted);
	ListCell *cell;

	take_rows(counted);
	if (log_rows_taken == 0)
		return;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		for (int i = 0; i < log_rows_taken; i++)
		{
			write_log_row(&log_rows[i]);
			if (!pe_state_is_among(counted, before, log_rows[i].enrichment_id))
				pe_state_add_request(pe_state_change(&counted, log_rows[i].enrichment_id), &log_rows[i]);
		}
		for_each_from(cell, counted, before) pe_state_write(lfirst(cell));
		ReleaseCurrentSubTransaction();
		complained = false;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		/* A lock goes away. */
		if (geterrcode() == ERRCODE_LOCK_NOT_AVAILABLE)
			log_rows_taken = 0;
		else if (!complained)
			EmitErrorReport();
		complained = log_rows_taken > 0;
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
}

void
pe_delivery_log_written(void)
{
	log_row_count -= log_rows_taken;
	memmove(&log_rows[0], &log_rows[log_rows_taken], sizeof(PeLogRow) * log_row_count);
	log_rows_taken = 0;
}

static void
flush_task(void *arg)
{
	pe_delivery_log_write(NIL);
}

void
pe_delivery_log_flush(void)
{
	if (log_row_count > 0 && pe_delivery_step("writing the log", flush_task, NULL))
		pe_delivery_log_written();
}

/*
 * A day's table is made beside the log and attached to it, because that locks the log
 * far less than making it as a partition. Rows of that day that had to go to the default
 * partition are taken over, else there could be no partition for it. Names and bounds are
 * of UTC days.
 */
static void
make_partition_task(void *arg)
{
	int ahead = *(int *) arg;
	char *day, *next_day, *name;

	SPI_execute(psprintf("SELECT to_char(d, 'YYYYMMDD'), to_char(d + 1, 'YYYYMMDD'),"
	                     " to_regclass('profenrich.delivery_log_' || to_char(d, 'YYYYMMDD')) IS NULL"
	                     " FROM (SELECT (now() AT TIME ZONE 'UTC')::date + %d AS d) n",
	                     ahead),
	            true, 1);
	if (strcmp(SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3), "t") != 0)
		return;
	day = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	next_day = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);
	name = psprintf("profenrich.delivery_log_%s", day);
	if (SPI_execute(psprintf("CREATE TABLE %s (LIKE profenrich.delivery_log INCLUDING ALL);"
	                         "COMMENT ON TABLE %s IS 'requests of one day';"
	                         "GRANT SELECT ON %s TO profenrich_operator, profenrich_admin",
	                         name, name, name),
	                false, 0) < 0 ||
	    SPI_execute(psprintf("WITH taken AS (DELETE FROM profenrich.delivery_log_default"
	                         " WHERE at >= '%s 00:00+00' AND at < '%s 00:00+00' RETURNING *)"
	                         " INSERT INTO %s SELECT * FROM taken;"
	                         "ALTER TABLE profenrich.delivery_log ATTACH PARTITION %s"
	                         " FOR VALUES FROM ('%s 00:00+00') TO ('%s 00:00+00');"
	                         "ALTER EXTENSION profenrich ADD TABLE %s",
	                         day, next_day, name, name, day, next_day, name),
	                false, 0) < 0)
		elog(ERROR, "cannot make a partition of the delivery log");
}

static void
drop_partitions_task(void *arg)
{
	SPITupleTable *old;

	SPI_execute(
	    psprintf("SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
	             " WHERE i.inhparent = 'profenrich.delivery_log'::regclass AND c.relname ~ "
	             "'^delivery_log_[0-9]{8}$'"
	             " AND to_date(right(c.relname, 8), 'YYYYMMDD') < (now() AT TIME ZONE 'UTC')::date - %d",
	             pe_log_retention),
	    true, 0);
	old = SPI_tuptable;
	for (uint64 i = 0; i < old->numvals; i++)
	{
		const char *name = quote_identifier(SPI_getvalue(old->vals[i], old->tupdesc, 1));

		/* Whoever reads the log now goes first: the next attempt is an hour away. */
		SPI_execute("LOCK TABLE profenrich.delivery_log IN ACCESS EXCLUSIVE MODE NOWAIT", false, 0);
		SPI_execute(psprintf("ALTER EXTENSION profenrich DROP TABLE profenrich.%s; DROP TABLE profenrich.%s",
		                     name, name),
		            false, 0);
	}
	SPI_execute(psprintf("DELETE FROM profenrich.delivery_log_default WHERE at < now() - interval '%d days'",
	                     pe_log_retention),
	            false, 0);
}

static void
trim_audit_task(void *arg)
{
	SPI_execute(psprintf("DELETE FROM profenrich.audit_log WHERE at < now() - interval '%d days'",
	                     pe_audit_retention),
	            false, 0);
}

void
pe_delivery_keep_partitions(void)
{
	/* One that cannot be made stands in no other's way. */
	for (int ahead = 0; ahead <= DAYS_AHEAD && pe_delivery_end == PE_DELIVERY_GOES_ON; ahead++)
		(void) pe_delivery_step("making log partitions", make_partition_task, &ahead);
	if (pe_delivery_end == PE_DELIVERY_GOES_ON)
		(void) pe_delivery_step("dropping log partitions", drop_partitions_task, NULL);
	if (pe_audit_retention > 0 && pe_delivery_end == PE_DELIVERY_GOES_ON)
		(void) pe_delivery_step("trimming the audit log", trim_audit_task, NULL);
}
