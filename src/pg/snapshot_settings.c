/*
 * snapshot_settings.c
 *		What the owner of a table of snapshots has asked for.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/datum.h"

#include "pg/arguments.h"
#include "pg/owner.h"
#include "pg/snapshot_settings.h"

/* A column of the row found, outside of SPI's memory; 0 when null. */
static Datum
column_of(int number, int typlen)
{
	bool isnull;
	Datum value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, number, &isnull);

	return isnull ? (Datum) 0 : datumCopy(value, false, typlen);
}

PeSnapshotSettings
pe_snapshot_settings(Oid relid)
{
	Oid types[] = {REGCLASSOID};
	Datum values[] = {ObjectIdGetDatum(relid)};
	MemoryContext caller = CurrentMemoryContext;
	PeSnapshotSettings settings = {NULL};

	pe_owner_execute("SELECT validation, keep, namespaces FROM profenrich.snapshot_setting"
	                 " WHERE snapshot_table = $1",
	                 1, types, values, NULL, true, 1);
	MemoryContextSwitchTo(caller);
	if (SPI_processed == 1)
	{
		Datum validation = column_of(1, -1);

		settings.validation = validation != 0 ? DatumGetJsonbP(validation) : NULL;
		settings.keep = DatumGetIntervalP(column_of(2, sizeof(Interval)));
		settings.namespaces = pe_texts_of(column_of(3, -1));
	}
	SPI_freetuptable(SPI_tuptable);
	return settings;
}

void
pe_snapshot_setting_put(Oid relid, const char *column, Oid type, Datum value, bool isnull)
{
	Oid types[] = {REGCLASSOID, type};
	Datum values[] = {ObjectIdGetDatum(relid), value};
	char nulls[] = {' ', isnull ? 'n' : ' ', '\0'};

	pe_owner_execute(psprintf("INSERT INTO profenrich.snapshot_setting (snapshot_table, %s)"
	                          " VALUES ($1, $2) ON CONFLICT (snapshot_table) DO UPDATE SET %s = excluded.%s",
	                          column, column, column),
	                 2, types, values, nulls, false, 0);
}

void
pe_snapshot_settings_sweep(void)
{
	pe_owner_execute("DELETE FROM profenrich.snapshot_setting s"
	                 " WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = s.snapshot_table)",
	                 0, NULL, NULL, NULL, false, 0);
}
