/*
 * snapshot_identity.h
 *		Which profile is a row of a snapshot: its identities, and its key among them.
 */
#ifndef PE_SNAPSHOT_IDENTITY_H
#define PE_SNAPSHOT_IDENTITY_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/array.h"

#include "pg/snapshot_table.h"

/*
 * SQL over a row t of the table. Identities are namespace:id, as in CRMID:4711.
 */
typedef struct PeIdentitySql
{
	List *namespaces; /* of char *, the preferred first */
	List *ids;        /* of char *: text[] of the ids in each, or null */
	char *identities; /* text[] of all, in the namespaces that count; never null */
	char *key; /* text: the smallest id in the first namespace that the row has; null when it has none */
} PeIdentitySql;

/* By set_identity, or else by the namespaces that have columns; raises when there are none. SPI must be
 * connected. */
extern PeIdentitySql pe_snapshot_identity_sql(const PeSnapshotTable *table);

/* Is it known what tells the profiles of the table apart? SPI must be connected. */
extern bool pe_snapshot_has_identity(const PeSnapshotTable *table);

/*
 * The codes of the namespaces (char *) that columns of the table are of, and that its owner named; one
 * may be there twice. A whole identity map has others. SPI must be connected.
 */
extern List *pe_snapshot_namespaces(const PeSnapshotTable *table);

/*
 * SQL of a condition: has the row one of these identities? It has no subquery, so that the planner
 * can ask it where the rows are stored. "false" when none is in a namespace that counts.
 */
extern char *pe_snapshot_identity_filter(const PeIdentitySql *sql, ArrayType *identities);

#endif /* PE_SNAPSHOT_IDENTITY_H */
