/*
 * failed_read.h
 *		Reading the records of a batch that the platform refused, one call at a time: the
 *		lists of their files, then each file in parts. Between two calls the rows that
 *		the last one brought wait to be written by the caller.
 */
#ifndef PE_FAILED_READ_H
#define PE_FAILED_READ_H

#include "postgres.h"

#include "platform/failed_records.h"
#include "pg/delivery.h"

typedef struct PeFailedRow
{
	const char *key; /* UTF-8 */
	const char *scored_at;
	const char *reason;
	pe_outcome outcome;
} PeFailedRow;

typedef struct PeFailedRead
{
	MemoryContext context;
	pe_env env;
	char batch_id[64];
	pe_failed_area area;
	int areas; /* not yet listed, the present one among them */
	bool listed;
	pe_failed_list list;
	int file;
	int64 offset;
	pe_failed_reader reader;
	bool done;

	/* What the last reply brought; emptied by pe_failed_read_written. */
	MemoryContext row_context;
	pe_env row_env;
	PeFailedRow *rows;
	int row_count;
	int row_capacity;
	bool out_of_memory;
	int64 strangers; /* rows in all that do not say whose they are */
} PeFailedRead;

/* A child of parent; MemoryContextDelete(read->context) ends it. first: where to look first. */
extern PeFailedRead *pe_failed_read_begin(MemoryContext parent, const char *batch_id, const PeTarget *target,
                                          pe_failed_area first);

/* The next call, unless read->done. */
extern pe_status pe_failed_read_next(PeFailedRead *read, pe_pool *pool, pe_call *call, pe_error *err);

/* Takes the reply of that call, which came whole: PE_OK, and rows may be there; or why it is no good. */
extern pe_status pe_failed_read_take(PeFailedRead *read, pe_platform *platform,
                                     const pe_http_response *response, pe_error *err);

extern void pe_failed_read_written(PeFailedRead *read);

#endif /* PE_FAILED_READ_H */
