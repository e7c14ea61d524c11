/*
 * batch_budget.c
 *		How many of the sandbox's batches of a day are used up.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "nodes/pg_list.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "platform/catalog.h"
#include "pg/batch_budget.h"
#include "pg/guc.h"
#include "pg/owner.h"
#include "pg/report.h"
#include "pg/unix_time.h"

/* As far as is counted, where the budget is not above it. */
#define MAX_BATCHES 1000

int64
pe_batches_begun(const PeServer *server)
{
	Oid types[] = {TEXTOID, TEXTOID};
	Datum values[] = {CStringGetTextDatum(server->org_id != NULL ? server->org_id : ""),
	                  CStringGetTextDatum(server->sandbox)};
	bool isnull;

	pe_owner_execute(
	    "SELECT count(*) FROM profenrich.batch_job JOIN profenrich.enrichment_target t USING (enrichment_id) "
	    "WHERE created_at > now() - interval '1 day' AND t.org_id = $1 AND t.sandbox = $2",
	    2, types, values, NULL, false, 1);
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

static List *
own_datasets(void)
{
	List *ids = NIL;

	pe_owner_execute("SELECT dataset_id FROM profenrich.enrichment_target", 0, NULL, NULL, NULL, true, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
		ids = lappend(ids, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
	return ids;
}

/* What our own streams and batches make in the lake is known without asking. Raises nothing. */
static int64
count_others(const pe_batch_list *list, List *own)
{
	int64 others = 0;

	for (int i = 0; i < list->count; i++)
	{
		bool ours = false;
		ListCell *cell;

		foreach (cell, own)
			ours |= strcmp(lfirst(cell), list->items[i].dataset_id) == 0;
		others += !ours;
	}
	return others;
}

bool
pe_batches_of_others(const PeEnrichment *e, int64 *count, char **wrong)
{
	PeConnection *connection = pe_connection_try_open(e->server, e->owner, CurrentMemoryContext, wrong);
	int64 since_ms = pe_unix_ms(GetCurrentTimestamp()) - PE_MS_PER_DAY;
	pe_batch_list list = {0};
	pe_error err = {0};
	pe_status status;
	List *own;

	if (connection == NULL)
		return false;
	own = own_datasets();
	status = pe_catalog_batches(connection->platform, NULL, NULL, since_ms, Max(MAX_BATCHES, pe_batch_budget),
	                            &list, &err);
	if (status == PE_CANCELLED)
		pe_raise(&err);
	if (status == PE_OK)
	{
		*count = count_others(&list, own);
		pe_batch_list_free(&list);
	}
	else
		*wrong =
		    pe_describe_error(pe_valid_text(err.message), pe_valid_text(err.detail), pe_valid_text(err.hint));
	pe_connection_close(connection);
	return status == PE_OK;
}
