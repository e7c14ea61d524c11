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

#include "pg/arguments.h"
#include "pg/audit.h"
#include "pg/compat.h"
#include "pg/gate.h"
#include "pg/owner.h"
#include "pg/progress.h"
#include "pg/refresh.h"
#include "pg/resend.h"
#include "pg/suppression.h"

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
		ereport(
		    ERROR,
		    (errcode(ERRCODE_NO_DATA_FOUND),
		     errmsg("no row of the source of enrichment \"%s\" can be sent", refresh->enrichment->name),
		     errdetail("Skipped: %s. Nothing was changed.", pe_refresh_reasons(refresh)),
		     refresh->enrichment->consent != NULL
		         ? errhint("Check the option consent. To clear what was sent, use retract().")
		         : errhint("Check the identity column \"%s\" and the values against the platform's rules.",
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
		     errdetail("The limit is %.1f %%. %sNothing was changed.", 100 * refresh->enrichment->max_retract,
		               refresh->withdrawn == 0
		                   ? ""
		                   : psprintf(INT64_FORMAT " of them are in the source without consent. ",
		                              refresh->withdrawn)),
		     errhint("If so many profiles really left the source, raise the option max_retract.")));
}

/* ---- the SQL functions ------------------------------------------------------------------ */

static void
tell_user(const Refresh *refresh, const char *held_because)
{
	if (held_because != NULL)
		ereport(WARNING,
		        (errmsg("refresh of enrichment \"%s\" is held: %s", refresh->enrichment->name, held_because),
		         errdetail("Nothing was queued."),
		         errhint("Call profenrich.release() to send it after all, or profenrich.discard(); a later "
		                 "refresh takes its place.")));
	if (refresh->gone_attributes != NULL)
		ereport(NOTICE, (errmsg("the source of enrichment \"%s\" has no column any more for: %s",
		                        refresh->enrichment->name, refresh->gone_attributes),
		                 errdetail("What is queued clears these attributes on the profiles that have them."),
		                 errhint("If they are to stay, give the source the columns again and refresh.")));
	if (refresh->skipped > 0)
		ereport(NOTICE, (errmsg(INT64_FORMAT " rows were skipped and will not be sent", refresh->skipped),
		                 errdetail("Reasons: %s.", pe_refresh_reasons(refresh))));
	if (!refresh->enrichment->provisioned && held_because == NULL)
		ereport(NOTICE, (errmsg("enrichment \"%s\" is not provisioned: what is queued waits",
		                        refresh->enrichment->name),
		                 errhint("Run SELECT * FROM profenrich.provision(%s).",
		                         quote_literal_cstr(refresh->enrichment->name))));
}

static Datum
result_row(FunctionCallInfo fcinfo, const Refresh *refresh, int64 run_id, bool held)
{
	TupleDesc desc;
	Datum values[8] = {
	    Int64GetDatum(run_id),
	    Int64GetDatum(refresh->profiles),
	    Int64GetDatum(refresh->nchanged),
	    Int64GetDatum(refresh->unchanged),
	    Int64GetDatum(refresh->retracted),
	    Int64GetDatum(refresh->skipped),
	    Int64GetDatum(refresh->held_back),
	    CStringGetTextDatum(held ? "held" : "queued"),
	};
	bool nulls[8] = {false};

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
	pe_suppression_hold();
	refresh = palloc0(sizeof(Refresh));
	refresh->started = GetCurrentTimestamp();
	refresh->enrichment = pe_enrichment_load(name, true);
	pe_refresh_lock(refresh->enrichment->enrichment_id, name);
	/* Its definition may have changed while this call waited for the lock. */
	refresh->enrichment = pe_enrichment_load(name, true);
	return refresh;
}

/* Writes what was merged, or, when the gate holds it, no more than that it is held. Returns the run. */
static int64
settle(Refresh *refresh, const char *kind, bool released, const char *held_because)
{
	int32 enrichment_id = refresh->enrichment->enrichment_id;
	int64 run_id;

	pe_gate_settle(enrichment_id, released && held_because == NULL ? "released" : "replaced");
	if (held_because != NULL)
		run_id = pe_refresh_write_held(refresh, kind, held_because);
	else
		run_id = pe_refresh_write(refresh, kind);
	pe_gate_remember(refresh, run_id, held_because != NULL);
	return run_id;
}

static void
need_held(const Refresh *refresh)
{
	if (pe_gate_held_run(refresh->enrichment->enrichment_id) == 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		                errmsg("no refresh of enrichment \"%s\" is held", refresh->enrichment->name),
		                errhint("The column outcome of profenrich.runs says what became of each.")));
}

/* refresh(), or release() of the one that is held. */
static Datum
run_refresh(FunctionCallInfo fcinfo, bool released)
{
	char *name = pe_text_argument(fcinfo, 0, "enrichment");
	Refresh *refresh;
	Refresh counts;
	const char *held_because;
	bool held;
	int64 run_id;
	MemoryContext caller = CurrentMemoryContext;

	SPI_connect();
	refresh = begin_refresh(name, released ? "release()" : "refresh()");
	if (released)
		need_held(refresh);
	refuse_unprovisioned(refresh);
	pe_progress_begin(PE_PROGRESS_SCORE, name);
	pe_refresh_read_source(refresh);
	refuse_empty(refresh);
	pe_refresh_merge(refresh);
	refuse_duplicates(refresh);
	pe_gate_measure(refresh, released);
	held_because = pe_gate_reason(refresh);
	held = held_because != NULL;
	if (!refresh->enrichment->gate.on)
		refuse_mass_retraction(refresh);
	run_id = settle(refresh, released ? "release" : "refresh", released, held_because);
	pe_audit(released ? "release" : "refresh", name,
	         "{\"run_id\": " INT64_FORMAT ", \"changed\": " INT64_FORMAT ", \"retracted\": " INT64_FORMAT
	         ", \"held\": %s}",
	         run_id, refresh->nchanged, refresh->retracted, held ? "true" : "false");
	tuplesort_end(refresh->sorted);
	tell_user(refresh, held_because);
	pe_progress_end();
	counts = *refresh;
	SPI_finish();
	MemoryContextSwitchTo(caller);
	return result_row(fcinfo, &counts, run_id, held);
}

PG_FUNCTION_INFO_V1(pe_refresh);

/* refresh(enrichment) -> (run_id, profiles, changed, unchanged, retracted, skipped, held_back, outcome) */
Datum
pe_refresh(PG_FUNCTION_ARGS)
{
	return run_refresh(fcinfo, false);
}

PG_FUNCTION_INFO_V1(pe_release);

/* release(enrichment) -> as refresh() */
Datum
pe_release(PG_FUNCTION_ARGS)
{
	return run_refresh(fcinfo, true);
}

PG_FUNCTION_INFO_V1(pe_discard);

/* discard(enrichment) -> the run that was held */
Datum
pe_discard(PG_FUNCTION_ARGS)
{
	char *name = pe_text_argument(fcinfo, 0, "enrichment");
	Refresh *refresh;
	int64 run_id;

	SPI_connect();
	refresh = begin_refresh(name, "discard()");
	need_held(refresh);
	run_id = pe_gate_held_run(refresh->enrichment->enrichment_id);
	pe_gate_settle(refresh->enrichment->enrichment_id, "discarded");
	pe_audit("discard", name, "{\"run_id\": " INT64_FORMAT "}", run_id);
	SPI_finish();
	PG_RETURN_INT64(run_id);
}

PG_FUNCTION_INFO_V1(pe_retract);

/* retract(enrichment [, keys]) -> number of profiles whose attributes will be cleared on the platform */
Datum
pe_retract(PG_FUNCTION_ARGS)
{
	char *name = pe_text_argument(fcinfo, 0, "enrichment");
	ArrayType *keys = PG_NARGS() > 1 ? pe_keys_argument(fcinfo, 1, "retract") : NULL;
	Refresh *refresh;
	int64 retracted;

	SPI_connect();
	refresh = begin_refresh(name, "retract()");
	if (keys != NULL)
		pe_tell_unknown_keys(name, refresh->enrichment->enrichment_id, PointerGetDatum(keys));
	pe_refresh_note_retracted(refresh, keys);
	if (keys == NULL)
		pe_gate_settle(refresh->enrichment->enrichment_id, "replaced");
	(void) pe_refresh_write(refresh, "retract");
	retracted = refresh->retracted;
	pe_audit("retract", name, "{\"retracted\": " INT64_FORMAT ", \"all\": %s}", retracted,
	         keys == NULL ? "true" : "false");
	SPI_finish();
	PG_RETURN_INT64(retracted);
}
