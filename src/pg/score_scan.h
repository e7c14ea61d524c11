/*
 * score_scan.h
 *		The rows of some keys of profile_score, in the keys' order.
 */
#ifndef PE_SCORE_SCAN_H
#define PE_SCORE_SCAN_H

#include "postgres.h"

#include "datatype/timestamp.h"

/* A row; value is a jsonb that may be toasted, and is null when isnull says so. */
typedef struct PeScoreRow
{
	int64 version;
	TimestampTz changed_at;
	TimestampTz not_before; /* 0: it could go at once */
	bool retracted;
	bool isnull;
	Datum value;
} PeScoreRow;

/* Takes the row of the key at place, NULL when there is none. False ends the scan. */
typedef bool (*PeScoreVisit)(void *arg, int place, const PeScoreRow *row);

/*
 * Visits each of count keys, which are in strictly ascending order of their bytes, with its row
 * of the active snapshot. Each visit has a memory context of its own.
 */
extern void pe_score_scan(int32 enrichment_id, const char *const *keys, int count, PeScoreVisit visit,
                          void *arg);

#endif /* PE_SCORE_SCAN_H */
