/*
 * load_dataset.h
 *		Which data set of the platform is meant, and the days of its batches.
 */
#ifndef PE_LOAD_DATASET_H
#define PE_LOAD_DATASET_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/date.h"
#include "utils/timestamp.h"

#include "pg/connection.h"
#include "platform/export.h"

#define LOAD_MAX_BATCHES 10000 /* of one data set that are looked at */

typedef struct LoadDataset
{
	const char *server;
	char *id;
	char *name;
} LoadDataset;

/* The profile snapshot of the merge policy (NULL: the only one); or any data set that is wanted by id or
 * name. */
extern LoadDataset load_choose_snapshot(const PeConnection *connection, const char *wanted,
                                        const char *merge_policy);
/* Any data set, by id or name. */
extern LoadDataset load_choose_dataset(const PeConnection *connection, const char *wanted);

/* Parts of batches as files: load_download. */
extern List *load_download_batch(const PeConnection *connection, const pe_part *parts, int count);

/* ---- times of the platform: milliseconds since 1970, and days in UTC ---- */

#define LOAD_DAY_MS INT64CONST(86400000)

static inline DateADT
load_day_of_ms(int64 ms)
{
	int64 day = ms >= 0 ? ms / LOAD_DAY_MS : (ms - LOAD_DAY_MS + 1) / LOAD_DAY_MS;

	return (DateADT) (day - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE));
}

static inline int64
load_ms_of_day(DateADT date)
{
	return ((int64) date + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)) * LOAD_DAY_MS;
}

static inline TimestampTz
load_time_of_ms(int64 ms)
{
	return (ms - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * LOAD_DAY_MS) * 1000;
}

static inline int64
load_ms_of_time(TimestampTz time)
{
	return time / 1000 + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * LOAD_DAY_MS;
}

#endif /* PE_LOAD_DATASET_H */
