/*
 * load_incremental.c
 *		Exports that hold only the profiles that have changed: everybody else is carried
 *		over from the day before.
 *
 * A row of that day gives way when it shares an identity with a row of the export: that is
 * the same profile, also where it was merged or has got a better key meanwhile.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "pg/history.h"
#include "pg/load_incremental.h"
#include "pg/owner.h"
#include "pg/progress.h"
#include "pg/snapshot_identity.h"
#include "pg/snapshot_table.h"
#include "pg/source.h"

static void
find_base(const LoadTarget *target, LoadBase *base)
{
	Oid types[] = {OIDOID, DATEOID};
	Datum values[] = {ObjectIdGetDatum(target->relid), DateADTGetDatum(target->date)};
	HeapTuple row;
	bool null;

	*base = (LoadBase){0};
	if (!OidIsValid(target->relid))
		return;
	pe_push_snapshot_of_now();
	pe_owner_execute("SELECT d.snapshot_date, d.rows, d.compacted, d.source FROM " PE_SNAPSHOT_DAYS
	                 " WHERE d.snapshot_date <= $2 ORDER BY d.snapshot_date DESC",
	                 2, types, values, NULL, true, 1);
	PopActiveSnapshot();
	if (SPI_processed == 0)
		return;
	row = SPI_tuptable->vals[0];
	base->found = true;
	base->date = DatumGetDateADT(SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &null));
	base->rows = DatumGetInt64(SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &null));
	base->compacted = DatumGetBool(SPI_getbinval(row, SPI_tuptable->tupdesc, 3, &null));
	base->source = SPI_getvalue(row, SPI_tuptable->tupdesc, 4);
}

LoadTarget *
load_incremental_open(const char *into_table, DateADT date, LoadBase *base)
{
	LoadTarget *target;

	/* Its one snapshot might show the day that is carried over as empty. */
	if (IsolationUsesXactSnapshot())
		ereport(ERROR, (errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
		                errmsg("incremental exports cannot be loaded in a transaction that sees the past"),
		                errhint("Load in one with isolation level READ COMMITTED.")));
	load_lock_name(load_target_open(into_table, date));
	/* Its columns may have changed while we waited. */
	target = load_target_open(into_table, date);
	find_base(target, base);
	return target;
}

/* The table as the partition aside is: with the columns that the export has brought. */
static PeSnapshotTable *
with_new_columns(const PeSnapshotTable *table, const LoadPlan *plan)
{
	PeSnapshotTable *wider = palloc(sizeof(PeSnapshotTable));

	*wider = *table;
	wider->columns = palloc0(sizeof(PeSnapshotColumn) * (table->ncolumns + plan->count));
	memcpy(wider->columns, table->columns, sizeof(PeSnapshotColumn) * table->ncolumns);
	for (int i = 0; i < plan->count; i++)
	{
		const LoadColumn *column = &plan->columns[i];

		if (column->existing)
			continue;
		wider->columns[wider->ncolumns++] =
		    (PeSnapshotColumn){column->name, column->path, column->type, column->typmod};
		wider->has_rest = wider->has_rest || column->rest;
	}
	return wider;
}

/* A row that nobody can be told by would be there twice after the next export. */
static void
refuse_unknown(const LoadTarget *target, const char *aside, const PeIdentitySql *identity)
{
	StringInfoData namespaces;
	ListCell *cell;

	if (SPI_execute(psprintf("SELECT FROM %s AS t WHERE %s IS NULL", aside, identity->key), false, 1) !=
	    SPI_OK_SELECT)
		elog(ERROR, "could not look for the identities of the export");
	if (SPI_processed == 0)
		return;
	initStringInfo(&namespaces);
	foreach (cell, identity->namespaces)
		appendStringInfo(&namespaces, "%s%s", namespaces.len > 0 ? ", " : "", (char *) lfirst(cell));
	ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
	                errmsg("the export has profiles of which it is not known whom they replace in %s",
	                       target->label),
	                errdetail("They have no id in the namespaces %s. Nothing was loaded.", namespaces.data),
	                errhint("Name more namespaces with set_identity(), the preferred first.")));
}

/* What identities a row of the day before has is costly to tell, and told once. */
static char *
carry_over_query(const LoadTarget *target, const char *aside, const char *day, const PeIdentitySql *before,
                 const PeIdentitySql *now)
{
	StringInfoData names, values, aliases;

	initStringInfo(&names);
	initStringInfo(&values);
	initStringInfo(&aliases);
	for (int i = 0; i < target->nexisting; i++)
	{
		const char *name = quote_identifier(target->existing[i].name);

		if (target->existing[i].generated)
			continue;
		appendStringInfo(&names, ", %s", name);
		appendStringInfo(&values, ", t.%s", name);
		appendStringInfo(&aliases, ", c%d", i);
	}
	return psprintf(
	    "WITH changed AS MATERIALIZED (SELECT DISTINCT unnest(%s) AS id FROM %s AS t),"
	    " before(ids%s) AS MATERIALIZED (SELECT %s%s FROM %s),"
	    " gone AS MATERIALIZED (SELECT DISTINCT ids FROM (SELECT ids, unnest(ids) AS id FROM before) AS one"
	    " JOIN changed USING (id))"
	    " INSERT INTO %s (" LOAD_DATE_COLUMN "%s) SELECT DATE '%s'%s FROM before"
	    " WHERE NOT EXISTS (SELECT FROM gone WHERE gone.ids = before.ids)",
	    now->identities, aside, aliases.data, before->identities, values.data, day, aside, names.data,
	    load_date_text(target->date), aliases.data);
}

/* A row's error would show it. */
static int64
insert(const LoadTarget *target, const char *query)
{
	MemoryContext context = CurrentMemoryContext;

	load_position.file = NULL;
	PG_TRY();
	{
		if (SPI_execute(query, false, 0) != SPI_OK_INSERT)
			elog(ERROR, "could not carry over rows of %s", target->label);
	}
	PG_CATCH();
	{
		load_rethrow_constraint(context, target->label);
	}
	PG_END_TRY();
	return (int64) SPI_processed;
}

int64
load_incremental_carry_over(const LoadTarget *target, const LoadPlan *plan, const LoadBase *base)
{
	PeSnapshotTable *table = pe_snapshot_table_load(target->relid);
	PeIdentitySql before = pe_snapshot_identity_sql(table);
	PeIdentitySql now = pe_snapshot_identity_sql(with_new_columns(table, plan));
	char *aside = load_qualify(target->schema, target->aside);
	char *day =
	    psprintf("%s AS t WHERE t." LOAD_DATE_COLUMN " = DATE '%s'",
	             base->compacted ? pe_history_relation(table) : table->label, load_date_text(base->date));
	int guc_level = pe_server_names_only();
	int64 rows;

	pe_progress_publish("carrying over", 0, (uint64) base->rows);
	refuse_unknown(target, aside, &now);
	rows = insert(target, carry_over_query(target, aside, day, &before, &now));
	AtEOXact_GUC(true, guc_level);
	ereport(NOTICE, (errmsg(INT64_FORMAT " rows of %s were carried over unchanged", rows,
	                        load_date_text(base->date))));
	return rows;
}
