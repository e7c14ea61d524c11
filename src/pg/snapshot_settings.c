/*
 * snapshot_settings.c
 *		What the owner of a table of snapshots has asked for.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"

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

static List *
texts_of(Datum array)
{
	List *texts = NIL;
	Datum *items;
	bool *nulls;
	int count = 0;

	if (array != 0)
		deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &items, &nulls,
		                  &count);
	for (int i = 0; i < count; i++)
		texts = lappend(texts, TextDatumGetCString(items[i]));
	return texts;
}

PeSnapshotSettings
pe_snapshot_settings(const char *schema, const char *name)
{
	Oid types[] = {TEXTOID, TEXTOID};
	Datum values[] = {CStringGetTextDatum(schema), CStringGetTextDatum(name)};
	MemoryContext caller = CurrentMemoryContext;
	PeSnapshotSettings settings = {NULL};

	pe_owner_execute("SELECT validation, keep, namespaces FROM profenrich.snapshot_setting"
	                 " WHERE schema_name = $1 AND table_name = $2",
	                 2, types, values, NULL, true, 1);
	MemoryContextSwitchTo(caller);
	if (SPI_processed == 1)
	{
		Datum validation = column_of(1, -1);

		settings.validation = validation != 0 ? DatumGetJsonbP(validation) : NULL;
		settings.keep = DatumGetIntervalP(column_of(2, sizeof(Interval)));
		settings.namespaces = texts_of(column_of(3, -1));
	}
	SPI_freetuptable(SPI_tuptable);
	return settings;
}

void
pe_snapshot_setting_put(Oid relid, const char *column, Oid type, Datum value, bool isnull)
{
	Oid types[] = {TEXTOID, TEXTOID, type};
	Datum values[] = {CStringGetTextDatum(get_namespace_name(get_rel_namespace(relid))),
	                  CStringGetTextDatum(get_rel_name(relid)), value};
	char nulls[] = {' ', ' ', isnull ? 'n' : ' ', '\0'};

	pe_owner_execute(psprintf("INSERT INTO profenrich.snapshot_setting (schema_name, table_name, %s)"
	                          " VALUES ($1, $2, $3) ON CONFLICT (schema_name, table_name)"
	                          " DO UPDATE SET %s = excluded.%s",
	                          column, column, column),
	                 3, types, values, nulls, false, 0);
}

void
pe_snapshot_settings_forget(const char *schema, const char *name)
{
	Oid types[] = {TEXTOID, TEXTOID};
	Datum values[] = {CStringGetTextDatum(schema), CStringGetTextDatum(name)};

	pe_owner_execute("DELETE FROM profenrich.snapshot_setting WHERE schema_name = $1 AND table_name = $2", 2,
	                 types, values, NULL, false, 0);
}
