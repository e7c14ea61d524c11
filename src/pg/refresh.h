/*
 * refresh.h
 *		What the parts of a refresh share: the state of one call, from the source's
 *		rows (refresh_source.c) through the merge with what was queued before
 *		(refresh_merge.c) to the queue (refresh_queue.c). refresh.c has the order.
 */
#ifndef PE_REFRESH_H
#define PE_REFRESH_H

#include "postgres.h"

#include "executor/tuptable.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/tuplesort.h"
#include "utils/tuplestore.h"

#include "pg/enrichment.h"
#include "pg/distribution.h"
#include "pg/hysteresis.h"
#include "pg/wire_row.h"

#define MAX_SKIP_REASONS 32

/*
 * Columns of a sorted source row. The rank decides between rows of one key: smallest
 * first. Without a value the row is skipped; with the hash of a tombstone beside that
 * its profile gave no consent.
 */
enum
{
	ROW_KEY,
	ROW_RANK,
	ROW_HASH,
	ROW_VALUE,
	ROW_COLUMNS
};

/* Columns of a change: what the SQL of refresh_queue.c reads as profenrich_changed. */
enum
{
	CHANGE_KEY,
	CHANGE_HASH,
	CHANGE_RETRACTED,
	CHANGE_SHARD,
	CHANGE_NOT_BEFORE,
	CHANGE_VALUE,
	CHANGE_COLUMNS
};

typedef struct SkipReason
{
	const char *reason;
	int64 rows;
} SkipReason;

/* What the gate looks at: the index of an attribute, or a share of the profiles. */
typedef struct PeMeasure
{
	const char *name;
	const char *attribute; /* NULL: of the whole */
	double value;
	double limit; /* infinity: none */
} PeMeasure;

typedef struct Refresh
{
	PeEnrichment *enrichment;
	TimestampTz started;

	/* reading the source */
	PeWireRow *wire;
	int rank_column; /* in the slot: what ranks duplicates, or -1 */
	Oid rank_type;   /* built in, as enrichment.c saw to: sorting runs nobody's code */
	Tuplesortstate *sorted;
	TupleTableSlot *row; /* the sorted row at hand; empty at the end */
	StringInfoData text;
	int64 usable;

	/* the merge */
	TimestampTz now; /* what the new values are dated with */
	PeHysteresis *hysteresis;
	bool judges_buckets; /* and so counts bucket_changes */
	PeSample *sample;    /* NULL: no numeric attribute */
	Tuplestorestate *changed;
	TupleDesc change;
	int64 live;           /* profiles that had a value before */
	int64 old_tombstones; /* of profiles retracted and accepted longer ago than the resend gap */
	int64 repeated_keys;
	int64 repeated_rows; /* beyond the first of each key */
	int64 withdrawn;     /* of those retracted: in the source, without consent */
	int64 absent;        /* live profiles that are not in the source, retracted or not */
	int64 appeared;      /* profiles that had no value before */
	int64 bucket_changes;
	List *measures;                /* of PeMeasure *, by gate.c */
	ArrayBuildState *changed_keys; /* of profiles that had a value, the first of them; NULL: none */
	char *gone_attributes; /* those that the changes clear because their columns are gone; NULL: none */

	/* what the call returns */
	int64 profiles;
	int64 nchanged;
	int64 unchanged;
	int64 held_back; /* changed by too little to be sent */
	int64 retracted;
	int64 skipped;
	SkipReason reasons[MAX_SKIP_REASONS];
	int nreasons;
} Refresh;

/*
 * Locks the enrichment's row until the end of the transaction, or raises after
 * lock_timeout (5 s when that is off). Readers and the worker are not kept out. SPI
 * must be connected.
 */
extern void pe_refresh_lock(int32 enrichment_id, const char *name);

/*
 * Reads the source, checked and written as canonical JSON, into refresh->sorted, by
 * key; leaves refresh->row empty. Counts profiles, usable and skipped ones.
 */
extern void pe_refresh_read_source(Refresh *refresh);

/* Order of two keys, by bytes: what COLLATE "C" sorts by. */
extern int pe_compare_keys(Datum left, Datum right);

/* Moves refresh->row to the first row of the next key, or empties it; counts repeated keys. */
extern void pe_refresh_next_row(Refresh *refresh);

/* The text of a row's or a change's value as profile_score stores it. */
extern Jsonb *pe_refresh_stored_value(Datum value);

/* Merges the sorted rows with the values queued before, and notes what changed. */
extern void pe_refresh_merge(Refresh *refresh);

/* Notes every profile that has a value as one to be retracted, or those of the keys (text[]) only. */
extern void pe_refresh_note_retracted(Refresh *refresh, ArrayType *keys);

/* Counts of reasons as a JSON object, for the run's row and for messages. */
extern char *pe_refresh_reasons(const Refresh *refresh);

/*
 * Writes the run and what was noted: values, chunks of keys, superseded dead letters;
 * wakes the worker at commit. Returns the run's id. kind: "refresh" or "retract".
 */
extern int64 pe_refresh_write(Refresh *refresh, const char *kind);

/* Writes the run alone: held, and why. Drops what was noted. */
extern int64 pe_refresh_write_held(Refresh *refresh, const char *kind, const char *reason);

#endif /* PE_REFRESH_H */
