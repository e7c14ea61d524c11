/*
 * snapshot_settings.h
 *		What the owner of a table of snapshots has asked for: validation, retention, whose
 *		ids tell profiles apart. Kept by the table's name, so that a restore finds it.
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
extern PeSnapshotSettings pe_snapshot_settings(const char *schema, const char *name);

/* Sets one column of snapshot_setting. SPI must be connected, and the caller own the table. */
extern void pe_snapshot_setting_put(Oid relid, const char *column, Oid type, Datum value, bool isnull);

/* A table made under the name of one that was dropped begins without its settings. */
extern void pe_snapshot_settings_forget(const char *schema, const char *name);

#endif /* PE_SNAPSHOT_SETTINGS_H */
