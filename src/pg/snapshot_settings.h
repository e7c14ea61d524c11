/*
 * snapshot_settings.h
 *		What the owner of a table of snapshots has asked for: validation, retention, whose
 *		ids tell profiles apart. They are the table's, whatever its name, and go with it.
 */
#ifndef PE_SNAPSHOT_SETTINGS_H
#define PE_SNAPSHOT_SETTINGS_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "pg/snapshot_table.h"

typedef struct PeSnapshotSettings
{
	Jsonb *validation; /* options; NULL: loads are not validated */
	Interval *keep;    /* NULL: for ever */
	List *namespaces;  /* of char *, the preferred first; NIL: by the columns */
} PeSnapshotSettings;

/* Of a table, all NULL where nothing was set. In the current context; SPI must be connected. */
extern PeSnapshotSettings pe_snapshot_settings(Oid relid);

/* Sets one column of snapshot_setting. SPI must be connected, and the caller own the table. */
extern void pe_snapshot_setting_put(Oid relid, const char *column, Oid type, Datum value, bool isnull);

/* Those of tables that were dropped go. SPI must be connected. */
extern void pe_snapshot_settings_sweep(void);

#endif /* PE_SNAPSHOT_SETTINGS_H */
