/*
 * snapshot_table.h
 *		A table that snapshots were loaded into, asked by XDM path: which column, or which
 *		place inside a jsonb column, holds what the platform has under a path.
 */
#ifndef PE_SNAPSHOT_TABLE_H
#define PE_SNAPSHOT_TABLE_H

#include "postgres.h"

#include "utils/date.h"
#include "utils/timestamp.h"

typedef struct PeSnapshotColumn
{
	const char *name;
	const char *path; /* NULL: none */
	Oid type;
	int32 typmod;
} PeSnapshotColumn;

typedef struct PeSnapshotTable
{
	Oid relid;
	const char *schema;
	const char *name;
	const char *label; /* "schema"."table", for SQL and messages */
	bool has_rest;     /* has the jsonb column for all that has no column of its own */
	int ncolumns;
	PeSnapshotColumn *columns;
} PeSnapshotTable;

/* A loaded day. */
typedef struct PeSnapshotDay
{
	DateADT date;
	TimestampTz exported_at; /* when the platform made it; of files the day's beginning in UTC */
	int64 rows;              /* as loaded */
	bool compacted;          /* kept as changes: read in the history (history.h) */
	bool complete;           /* loaded without a mapping: what no column has is not in the snapshot */
} PeSnapshotDay;

/*
 * The loaded days of the table $1, to stand after FROM in SQL for pe_owner_execute: those in
 * partitions, and those kept as changes.
 */
#define PE_SNAPSHOT_DAYS                                                                                     \
	"(SELECT s.snapshot_date, s.rows, s.exported_at, s.mapping, s.source, false AS compacted"                \
	" FROM profenrich.snapshot_load s JOIN pg_namespace n ON n.nspname = s.schema_name"                      \
	" JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = s.partition_name"                            \
	" JOIN pg_inherits i ON i.inhrelid = c.oid WHERE i.inhparent = $1"                                       \
	" UNION ALL SELECT k.snapshot_date, k.rows, k.exported_at, k.mapping, k.source, true"                    \
	" FROM profenrich.snapshot_compacted k JOIN pg_class c ON c.oid = k.store WHERE k.into_table = $1) AS d"

/* In the current context, from the catalogs. */
extern PeSnapshotTable *pe_snapshot_table_load(Oid relid);

/*
 * The table of that name, or of that <table>_latest; raises when it cannot be a table
 * of snapshots, or is not the current user's to read. Needs an active snapshot. The table and its
 * history are locked as by reading them: see pe_push_snapshot_of_now().
 */
extern PeSnapshotTable *pe_snapshot_table_open(const char *name);

/*
 * The same for its owner, who is going to change something; raises when the current user is not. Not
 * locked: load_lock_name() comes before any lock on the table.
 */
extern PeSnapshotTable *pe_snapshot_table_own(const char *name);

/* The day of that date, or the newest one (date NULL); raises when it is not loaded. SPI must be connected.
 */
extern PeSnapshotDay pe_snapshot_day(const PeSnapshotTable *table, const DateADT *date);

/* All of them, as an array of dates in SPI's memory. SPI must be connected. */
extern Datum pe_snapshot_days(const PeSnapshotTable *table);

/* The same of those that are kept as changes. */
extern Datum pe_snapshot_compacted_days(const PeSnapshotTable *table);

/*
 * SELECT of the rows of a day, or of about that share of them, and of those columns that the
 * current user may read but snapshot_date; raises when there are none.
 */
extern char *pe_snapshot_day_query(const PeSnapshotTable *table, const PeSnapshotDay *day, double share);

/*
 * SQL of the jsonb that a row t holds under a path of plain steps, such as
 * _acme.churn.score; NULL when no column holds it. exact is set to the column of that
 * very path, or NULL.
 */
extern char *pe_snapshot_json(const PeSnapshotTable *table, const char *path, const PeSnapshotColumn **exact);

/*
 * SQL of the text[] of ids that a row t has in a namespace, null when it has none; NULL when
 * the table holds none.
 */
extern char *pe_snapshot_identities(const PeSnapshotTable *table, const char *namespace_code);

#endif /* PE_SNAPSHOT_TABLE_H */
