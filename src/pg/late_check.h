/*
 * late_check.h
 *		Looking for records that the platform received and refused afterwards.
 *		late_check.c asks the platform, late_tables.c has the transactions.
 */
#ifndef PE_LATE_CHECK_H
#define PE_LATE_CHECK_H

#include "postgres.h"

#include "datatype/timestamp.h"

#include "pg/exchange.h"
#include "pg/failed_read.h"

/*
 * Takes a step of the check that is under way, or begins one that is due: at most one
 * transaction, or one call started. False when there is nothing to do; then *until is
 * brought forward to when there may be.
 */
extern bool pe_late_step(PeWorker *worker, int64 now, int64 *until);

/* Somebody may have asked for one. */
extern void pe_late_wake(void);

/* What a check is for. */
typedef struct PeLateDue
{
	int32 enrichment_id; /* 0: none is due */
	TimestampTz since;   /* batches made after it are looked for */
	int64 wait;          /* microseconds until the next is due; -1: nothing will be */
} PeLateDue;

/* What became of the records of one failed batch. */
typedef struct PeLateCounts
{
	int64 dead;
	int64 retried;
	int64 outdated;
	int64 strangers;
} PeLateCounts;

/* ---- late_tables.c: a transaction each ---------------------------------------------------- */

extern bool pe_late_due(PeLateDue *due);

/* Of ids, in place, those whose records were not read yet; false when they cannot be told. */
extern bool pe_late_unread(int32 enrichment_id, char **ids, int *count);

/* Notes refused records: dead letters, or retries, where the value they had is the newest. */
extern pe_written pe_late_apply(int32 enrichment_id, int64 epoch, TimestampTz batch_created,
                                const PeFailedRow *rows, int count, PeLateCounts *counts);

/* All records of the batch have been read. */
extern pe_written pe_late_read(int32 enrichment_id, int64 epoch, const char *batch_id,
                               TimestampTz batch_created, const PeLateCounts *counts);

/* The check is over; error: NULL, or why it did not come to its end. */
extern pe_written pe_late_end(int32 enrichment_id, int64 epoch, const char *error);

#endif /* PE_LATE_CHECK_H */
