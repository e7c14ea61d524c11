/*
 * module.c
 *		What happens when the module is loaded, and which libraries it runs with.
 *
 * Nothing here starts a thread or initialises a library that might: when
 * preloaded, this code runs in the postmaster, which forks.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "pg/compat.h"
#include "pg/guc.h"
#include "pg/progress.h"
#include "pg/worker.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	pe_define_settings();
	if (IsBinaryUpgrade)
		return;
	if (process_shared_preload_libraries_in_progress)
	{
		pe_progress_request_shmem();
		pe_worker_request_shmem();
		pe_launcher_register();
	}
}
