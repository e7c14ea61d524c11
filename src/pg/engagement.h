/*
 * engagement.h
 *		Reading events: what training engagement and engagement_points() share.
 */
#ifndef PE_PG_ENGAGEMENT_H
#define PE_PG_ENGAGEMENT_H

#include "postgres.h"

#include "datatype/timestamp.h"

#include "model/engagement/engagement.h"
#include "pg/source.h"

/*
 * Reads the source as the caller and adds its events up, in memory bounded by
 * profenrich.training_memory. Rows without key or time are skipped, with a notice.
 * rules->columns say where key, time, type and count are. Raises for columns that are
 * not there or of a wrong type, for counts that are negative, and when memory is short.
 */
extern pe_activity *pe_read_events(const pe_env *env, const PeSource *source,
                                   const pe_engagement_rules *rules, TimestampTz as_of, uint64 *rows);

#endif /* PE_PG_ENGAGEMENT_H */
