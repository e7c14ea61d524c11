/*
 * unix_time.h
 *		Milliseconds since 1970, as the platform dates things, and the server's timestamps.
 */
#ifndef PE_UNIX_TIME_H
#define PE_UNIX_TIME_H

#include "postgres.h"

#include "datatype/timestamp.h"

#define PE_MS_PER_DAY (INT64CONST(86400) * 1000)

static inline int64
pe_unix_ms(TimestampTz at)
{
	return (at + ((int64) POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY) / 1000;
}

static inline TimestampTz
pe_time_of_unix_ms(int64 ms)
{
	return ms * 1000 - ((int64) POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
}

#endif /* PE_UNIX_TIME_H */
