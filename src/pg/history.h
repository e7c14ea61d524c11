/*
 * history.h
 *		Older days of a table of snapshots, kept as changes: beside <table> there are
 *		<table>_changes, where a profile's row is stored once with the days it was
 *		valid, and <table>_history, a view that shows every day, in whichever form. They
 *		are found by these names, and where they or the table were renamed, by our books
 *		and by what the view reads.
 *		What compaction does is in history_compact.c, who is asked is history.c.
 */
#ifndef PE_HISTORY_H
#define PE_HISTORY_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/date.h"

#include "pg/snapshot_table.h"

typedef struct PeHistory
{
	PeSnapshotTable *table;
	Oid store; /* <table>_changes; InvalidOid: there is none */
	Oid view;  /* <table>_history; InvalidOid: there is none */
	char *store_label;
	char *view_label;
} PeHistory;

/* Looks for what belongs to the table; raises where something else has these names and make is set. */
extern PeHistory *pe_history_open(const PeSnapshotTable *table, bool make);

/* The relation in which every loaded day of the table can be read: the view, or the table. Raises when there
 * are compacted days and no view. */
extern const char *pe_history_relation(const PeSnapshotTable *table);

/* The table that a view shows every day of, when it is one of ours; InvalidOid otherwise. */
extern Oid pe_history_table(Oid view);

/* Locks the view as reading it would, to the end of the transaction. */
extern void pe_history_hold(const PeSnapshotTable *table);

/*
 * Makes what is missing: the store, its newer columns. A store that gets columns cannot be read until the
 * transaction ends: then nobody reads the table either.
 */
extern void pe_history_make(PeHistory *history);

/* Writes the view anew: the table's columns, and the days that the store holds. */
extern void pe_history_write_view(PeHistory *history);

/* The newest day in the store; false when there is none. SPI must be connected, as for all below. */
extern bool pe_history_newest(const PeHistory *history, DateADT *date);

/*
 * Takes a day from the store; false when it is not there. Rows that no day needs any more are
 * deleted, and the view follows.
 */
extern bool pe_history_drop_day(PeHistory *history, DateADT date);

/* The view, if it is written anew when this day is loaded; InvalidOid otherwise. */
extern Oid pe_history_view_to_change(Oid parent, DateADT date, bool new_columns);

/* A load has published a day: the store forgets it, and the view, if need be made anew, gets new columns. */
extern void pe_history_follow(Oid parent, DateADT date, bool new_columns);

/* ---- history_compact.c ---- */

/*
 * The first day that the table keeps when newest is its newest day; false: it keeps all. SPI must be
 * connected.
 */
extern bool pe_history_first_kept(const PeSnapshotTable *table, DateADT newest, DateADT *first);

/* After a load in its transaction: drops the days that the table's owner does not want to keep. */
extern void pe_history_retain(Oid parent);

#endif /* PE_HISTORY_H */
