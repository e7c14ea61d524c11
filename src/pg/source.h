/*
 * source.h
 *		Reading rows of a table, a view or a SELECT, as the calling user: the one way
 *		in for training, scoring and refreshing.
 */
#ifndef PE_SOURCE_H
#define PE_SOURCE_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "executor/tuptable.h"

/*
 * What a source text stands for. Everything is allocated in the context that was
 * current at pe_source_open.
 */
typedef struct PeSource
{
	const char *text; /* as the user wrote it */
	const char *name; /* for messages: table "public.profiles", or the query */
	Oid relid;        /* InvalidOid for a query */
	const char *from; /* what stands after FROM: a qualified name, or (query) */
	TupleDesc desc;   /* columns: names and types; no dropped ones among them */
	char *snapshot;   /* of the moment at which it was locked, serialized */
} PeSource;

/* How to read. */
#define PE_SOURCE_ORDERED                                                                                    \
	0x01 /* same rows in the same order every time: no parallel plan, no synchronised scan */

/*
 * Called for each row, every column of slot deformed (tts_values, tts_isnull), in a
 * short-lived memory context that is reset before the next row; slot's own memory
 * does not outlive the call either. It is called from our own executor frame, so it
 * may ereport. Returning false ends the read.
 */
typedef bool (*pe_source_row)(void *arg, TupleTableSlot *slot);

/*
 * Resolves text: a name of a table, view, materialised view, foreign or partitioned
 * table if it reads like one (search_path applies), else exactly one SELECT, VALUES,
 * TABLE or WITH ... SELECT that changes nothing. Describes its columns without
 * running it. argument is the SQL argument's name, for messages. Raises: undefined
 * table, wrong object type, syntax error, more than one statement, a statement that
 * writes or locks. Needs an active snapshot.
 *
 * Its tables are locked from here on, against changes of their shape, and what it will show is of
 * this moment: the statement's snapshot may be older than a partition that took its place
 * while we waited for the lock, and would show it empty.
 */
extern PeSource *pe_source_open(const char *text, const char *argument);

/* Index of the column of that name, or -1; raises when several have it. */
extern int pe_source_column(const PeSource *source, const char *name);

/* The same, but raises "no such column", naming role ("target", "key", ...) and hinting at near names. */
extern int pe_source_need_column(const PeSource *source, const char *name, const char *role);

/*
 * Does an index make sure that no two rows of the source have the same text in this
 * column? False where that is not known.
 */
extern bool pe_source_is_unique(const PeSource *source, int column);

/*
 * Runs the source as the current user, privileges, row
 * security and all, and calls row for each row. columns lists which of desc's
 * columns to read, in slot order; NULL reads all. Returns the number of rows given
 * to the callback. Only the listed columns need the reader's SELECT privilege.
 */
extern uint64 pe_source_read(const PeSource *source, const int *columns, int ncolumns, int flags,
                             pe_source_row row, void *arg);

/*
 * What is read from here to PopActiveSnapshot is seen as it is now: for relations that are locked
 * already, for the same reason. In a transaction with one snapshot it stays that one.
 */
extern void pe_push_snapshot_of_now(void);

#endif /* PE_SOURCE_H */
