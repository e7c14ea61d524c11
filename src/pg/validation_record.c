/*
 * validation_record.c
 *		Keeping what a validation found, also when the load it belongs to fails.
 *
 * A refused load rolls back and would take its verdict with it. So a background worker
 * of its own, which needs no preloading, writes that row in a transaction of its own; the
 * load waits for it. It writes to one table that nothing else locks for long, and gives
 * up soon where somebody does: the load holds locks that nobody sees it wait with.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "pg/compat.h"
#include "pg/owner.h"
#include "pg/validate.h"

#define LOCK_WAIT "2s"
#define KEPT_DAYS "400"

/* What the two processes share. */
typedef struct Shared
{
	Oid database;
	bool kept;
	char record[FLEXIBLE_ARRAY_MEMBER];
} Shared;

extern PGDLLEXPORT void pe_validation_keeper_main(Datum arg);

void
pe_validation_keep(const char *record)
{
	Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(record)};

	pe_owner_execute("DELETE FROM profenrich.snapshot_validation WHERE at < now() - interval '" KEPT_DAYS
	                 " days'",
	                 0, NULL, NULL, NULL, false, 0);
	pe_owner_execute(
	    "INSERT INTO profenrich.snapshot_validation"
	    " (schema_name, table_name, snapshot_date, loaded_by, source, outcome, rows, checks)"
	    " SELECT schema_name, table_name, snapshot_date, loaded_by, source, outcome, rows, checks"
	    " FROM jsonb_to_record($1::jsonb) AS r(schema_name text, table_name text,"
	    " snapshot_date date, loaded_by text, source text, outcome text, rows bigint,"
	    " checks jsonb)",
	    1, types, values, NULL, false, 0);
}

/* Started by pe_validation_keep_apart; arg is the handle of what is shared. */
void
pe_validation_keeper_main(Datum arg)
{
	dsm_segment *segment;
	Shared *shared;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	segment = dsm_attach(DatumGetUInt32(arg));
	if (segment == NULL)
		proc_exit(0);
	dsm_pin_mapping(segment);
	shared = dsm_segment_address(segment);
	BackgroundWorkerInitializeConnectionByOid(shared->database, InvalidOid, 0);
	SetConfigOption("lock_timeout", LOCK_WAIT, PGC_USERSET, PGC_S_SESSION);
	StartTransactionCommand();
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	pgstat_report_activity(STATE_RUNNING, "profenrich: keeping the verdict on a snapshot");
	pe_validation_keep(shared->record);
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(true);
	shared->kept = true;
	proc_exit(0);
}

static void
describe_worker(BackgroundWorker *worker, dsm_segment *segment)
{
	memset(worker, 0, sizeof(*worker));
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_restart_time = BGW_NEVER_RESTART;
	worker->bgw_main_arg = UInt32GetDatum(dsm_segment_handle(segment));
	worker->bgw_notify_pid = MyProcPid;
	strlcpy(worker->bgw_library_name, "profenrich", sizeof(worker->bgw_library_name));
	strlcpy(worker->bgw_function_name, "pe_validation_keeper_main", sizeof(worker->bgw_function_name));
	strlcpy(worker->bgw_name, "profenrich verdict keeper", sizeof(worker->bgw_name));
	strlcpy(worker->bgw_type, "profenrich verdict keeper", sizeof(worker->bgw_type));
}

bool
pe_validation_keep_apart(const char *record)
{
	size_t length = strlen(record) + 1;
	dsm_segment *segment = dsm_create(offsetof(Shared, record) + length, DSM_CREATE_NULL_IF_MAXSEGMENTS);
	BackgroundWorkerHandle *handle;
	BackgroundWorker worker;
	Shared *shared;
	bool kept;

	if (segment == NULL)
		return false;
	shared = dsm_segment_address(segment);
	shared->database = MyDatabaseId;
	shared->kept = false;
	memcpy(shared->record, record, length);
	describe_worker(&worker, segment);
	if (RegisterDynamicBackgroundWorker(&worker, &handle))
		(void) WaitForBackgroundWorkerShutdown(handle);
	kept = shared->kept;
	dsm_detach(segment);
	return kept;
}
