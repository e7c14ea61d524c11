/*
 * refresh.c
 *		refresh(): score, keep what changed, queue it. retract(): clear what was sent.
 *
 * In one transaction, in this order: the enrichment's row lock; only then the
 * source's snapshot, so that of two refreshes the later one always has the newer
 * data; the source read as the enrichment's owner and sorted by key; one merge with
 * profile_score in key order, which tells what changed; the checks that may stop the
 * refresh; and only then the first write.
 *
 * What a value is compared with is the newest one that was queued, never the last
 * one that was delivered: A, then B, then A while B is still pending must end with A.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/builtins.h"

#include "pg/compat.h"
#include "pg/owner.h"
#include "pg/progress.h"
#include "pg/refresh.h"

#define LOCK_POLL_MS    50
#define DEFAULT_LOCK_MS 5000

/* ---- lock, then snapshot --------------------------------------------------------------- */

static void
refuse_old_snapshot(const char *function)
{
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
		        (errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
		         errmsg("%s cannot run in a transaction with isolation level repeatable read or serializable",
		                function),
		         errdetail("Its snapshot may be older than the values another refresh has queued."),
		         errhint("Run it under read committed.")));
}

void
pe_refresh_lock(int32 enrichment_id, const char *name)
{
	const char *sql =
	    "SELECT FROM profenrich.enrichment WHERE enrichment_id = $1 FOR NO KEY UPDATE SKIP LOCKED";
	Oid types[1] = {INT4OID};
	Datum values[1] = {Int32GetDatum(enrichment_id)};
	int limit_ms = LockTimeout > 0 ? LockTimeout : DEFAULT_LOCK_MS;
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), limit_ms);

	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		pe_owner_execute(sql, 1, types, values, NULL, false, 1);
		SPI_freetuptable(SPI_tuptable);
		if (SPI_processed == 1)
			return;
		if (GetCurrentTimestamp() >= end)
			ereport(ERROR,
			        (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			         errmsg("enrichment \"%s\" is busy: another refresh or change of it is running", name),
			         errhint("Wait for it to end, or raise lock_timeout.")));
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, LOCK_POLL_MS,
		                 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

/* ---- the checks that stop a refresh ----------------------------------------------------- */

static void
refuse_unprovisioned(const Refresh *refresh)
{
	const PeEnrichment *enrichment = refresh->enrichment;

	if (enrichment->unprovisioned != NULL)
		ereport(ERROR,
		        (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		         errmsg("the platform does not know attribute \"%s\" of enrichment \"%s\" as it is now",
		                enrichment->unprovisioned, enrichment->name),
		         errhint("Run SELECT * FROM profenrich.provision(%s) first.",
		                 quote_literal_cstr(enrichment->name))));
}

static void
refuse_empty(const Refresh *refresh)
{
	if (refresh->profiles == 0)
		ereport(
		    ERROR,
		    (errcode(ERRCODE_NO_DATA_FOUND),
		     errmsg("the source of enrichment \"%s\" has no rows", refresh->enrichment->name),
		     errdetail("Nothing was changed."),
		     errhint(
		         "An empty source is nearly always a failed load. To clear what was sent, use retract().")));
	if (refresh->usable == 0)
		ereport(ERROR,
		        (errcode(ERRCODE_NO_DATA_FOUND),
		         errmsg("no row of the source of enrichment \"%s\" can be sent", refresh->enrichment->name),
		         errdetail("Skipped: %s. Nothing was changed.", pe_refresh_reasons(refresh)),
		         errhint("Check the identity column \"%s\" and the values against the platform's rules.",
		                 refresh->enrichment->identity_column)));
}

static void
refuse_duplicates(const Refresh *refresh)
{
	if (refresh->repeated_keys > 0 && refresh->enrichment->duplicate_column == NULL)
		ereport(ERROR,
		        (errcode(ERRCODE_CARDINALITY_VIOLATION),
		         errmsg("the source of enrichment \"%s\" has " INT64_FORMAT " keys in more than one row",
		                refresh->enrichment->name, refresh->repeated_keys),
		         errdetail(INT64_FORMAT " rows repeat the \"%s\" of another row; nothing was queued.",
		                   refresh->repeated_rows, refresh->enrichment->identity_column),
		         errhint("Make the source one row for each profile, or set the option on_duplicate to "
		                 "{\"highest\": \"column\"} or {\"lowest\": \"column\"}.")));
}

static void
refuse_mass_retraction(const Refresh *refresh)
{
	double share = refresh->live > 0 ? (double) refresh->retracted / (double) refresh->live : 0;

	if (share > refresh->enrichment->max_retract)
		ereport(
		    ERROR,
		    (errcode(ERRCODE_DATA_EXCEPTION),
		     errmsg("refreshing enrichment \"%s\" would retract " INT64_FORMAT " of " INT64_FORMAT
		            " profiles (%.1f %%)",
		            refresh->enrichment->name, refresh->retracted, refresh->live, 100 * share),
		     errdetail("The limit is %.1f %%. Nothing was changed.", 100 * refresh->enrichment->max_retract),
		     errhint("If so many profiles really left the source, raise the option max_retract.")));
}

/* ---- the SQL functions ------------------------------------------------------------------ */

static void
tell_user(const Refresh *refresh)
{
	if (refresh->skipped > 0)
		ereport(NOTICE, (errmsg(INT64_FORMAT " rows were skipped and will not be sent", refresh->skipped),
		                 errdetail("Reasons: %s.", pe_refresh_reasons(refresh))));
	if (!refresh->enrichment->provisioned)
		ereport(NOTICE, (errmsg("enrichment \"%s\" is not provisioned: what is queued waits",
		                        refresh->enrichment->name),
		                 errhint("Run SELECT * FROM profenrich.provision(%s).",
		                         quote_literal_cstr(refresh->enrichment->name))));
}

static Datum
result_row(FunctionCallInfo fcinfo, const Refresh *refresh, int64 run_id)
{
	TupleDesc desc;
	Datum values[7] = {
	    Int64GetDatum(run_id),
	    Int64GetDatum(refresh->profiles),
	    Int64GetDatum(refresh->nchanged),
	    Int64GetDatum(refresh->unchanged),
	    Int64GetDatum(refresh->retracted),
	    Int64GetDatum(refresh->skipped),
	    Int64GetDatum(refresh->held_back),
	};
	bool nulls[7] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

static Refresh *
begin_refresh(const char *name, const char *function)
{
	Refresh *refresh;

	PreventCommandIfReadOnly(function);
	refuse_old_snapshot(function);
	refresh = palloc0(sizeof(Refresh));
	refresh->started = GetCurrentTimestamp();
	refresh->enrichment = pe_enrichment_load(name, true);
	pe_refresh_lock(refresh->enrichment->enrichment_id, name);
	/* Its definition may have changed while this call waited for the lock. */
	refresh->enrichment = pe_enrichment_load(name, true);
	return refresh;
}

PG_FUNCTION_INFO_V1(pe_refresh);

/* refresh(enrichment) -> (run_id, profiles, changed, unchanged, retracted, skipped, held_back) */
Datum
pe_refresh(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Refresh *refresh;
	int64 run_id;
	MemoryContext caller = CurrentMemoryContext;

	SPI_connect();
	refresh = begin_refresh(name, "refresh()");
	refuse_unprovisioned(refresh);
	pe_progress_begin(PE_PROGRESS_SCORE, name);
	pe_refresh_read_source(refresh);
	refuse_empty(refresh);
	pe_refresh_merge(refresh);
	refuse_duplicates(refresh);
	refuse_mass_retraction(refresh);
	run_id = pe_refresh_write(refresh, "refresh");
	tuplesort_end(refresh->sorted);
	tell_user(refresh);
	pe_progress_end();
	{
		Refresh counts = *refresh;
		Datum result;

		SPI_finish();
		MemoryContextSwitchTo(caller);
		result = result_row(fcinfo, &counts, run_id);
		PG_RETURN_DATUM(result);
	}
}

PG_FUNCTION_INFO_V1(pe_retract);

/* retract(enrichment [, keys]) -> number of profiles whose attributes will be cleared on the platform */
Datum
pe_retract(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ArrayType *keys = PG_NARGS() > 1 ? PG_GETARG_ARRAYTYPE_P(1) : NULL;
	Refresh *refresh;
	int64 retracted;

	SPI_connect();
	refresh = begin_refresh(name, "retract()");
	pe_refresh_note_retracted(refresh, keys);
	(void) pe_refresh_write(refresh, "retract");
	retracted = refresh->retracted;
	SPI_finish();
	PG_RETURN_INT64(retracted);
}
