/*
 * fetch.h
 *		The bytes of parts, several parts at a time, wherever they are.
 */
#ifndef PE_PLATFORM_FETCH_H
#define PE_PLATFORM_FETCH_H

#include "platform/http.h"

typedef struct pe_part
{
	const char *file_id; /* what tells it from another of its name: dataSetFileId, or the version of a file */
	const char *name;    /* as the platform says, e.g. part-00000-....parquet: never a path on our disk */
	const char *path;    /* where it is, for its source */
	int64_t length;      /* -1 when the platform did not say */
} pe_part;

/* Takes bytes of a part that belong at offset; false ends with PE_IO. Must not jump. */
typedef bool (*pe_part_sink)(void *ctx, int64_t offset, const void *data, size_t length);

/* A part on its way. */
typedef struct pe_fetch
{
	const pe_part *part;
	pe_part_sink sink;
	void *ctx;
	int64_t
	    done; /* bytes that are there: set it to take up an earlier download; right after a failure, too */
} pe_fetch;

/* What a source is asked for. */
typedef struct pe_fetch_range
{
	const pe_part *part;
	int64_t first;
	int64_t last;    /* as far as this is wanted; a source without ranges goes on to the end */
	size_t max_body; /* 0: no cap */
	pe_http_sink sink;
	void *sink_ctx;
	void *owner; /* to come back in the response */
} pe_fetch_range;

/* Where the parts are: exchanges of one HTTP client. */
typedef struct pe_fetch_source
{
	void *ctx;
	const pe_env *env;
	pe_status (*start)(void *ctx, const pe_fetch_range *range, pe_http_exchange **exchange, pe_error *err);
	pe_status (*wait)(void *ctx, pe_error *err); /* moves them for at most 50 ms, and asks the tick */
	bool (*take)(void *ctx, pe_http_response *response);
	pe_status (*verdict)(void *ctx, const pe_http_response *response, pe_error *err);
	void (*cancel)(void *ctx, pe_http_exchange *exchange);
	void (*renew)(void *ctx); /* the token was refused: another one may do; NULL: there is none */
} pe_fetch_source;

/*
 * All bytes of the parts into their sinks, those of one part in order, as many parts at a
 * time as parallel says: ranges of 64 MB, a broken transfer taken up at the byte it broke (5
 * times without progress at most), an expired token renewed, the length checked at the end.
 */
pe_status pe_fetch_parts(const pe_fetch_source *source, pe_fetch *items, int count, int parallel,
                         pe_error *err);

/* Does the answer mean that another token might do? */
bool pe_token_refused(const pe_http_response *response);

#endif /* PE_PLATFORM_FETCH_H */
