/*
 * gzip.h
 *		Gzip as a stream, for exported .json.gz and .csv.gz files. Concatenated
 *		members are one stream; memory is two fixed buffers whatever the file says,
 *		so the caller decides when enough has come out.
 */
#ifndef PE_GZIP_H
#define PE_GZIP_H

#include "pe_base.h"

/* Fill up to capacity bytes; returns how many, 0 at the end, -1 when reading failed. */
typedef int64_t (*pe_gzip_feed)(void *ctx, void *buffer, size_t capacity);

typedef struct pe_gzip pe_gzip;

/* name is for messages and outlives the stream, as ctx does. */
pe_status pe_gzip_open(const pe_env *env, pe_gzip_feed feed, void *ctx, const char *name, pe_gzip **stream,
                       pe_error *err);

/*
 * Up to capacity bytes into buffer; *got is 0 only at the end of the stream.
 * PE_IO when the feed failed, PE_CORRUPT for what is not gzip or ends early or
 * fails its checksum; bytes already delivered then prove nothing.
 */
pe_status pe_gzip_read(pe_gzip *stream, void *buffer, size_t capacity, size_t *got, pe_error *err);
void pe_gzip_close(pe_gzip *stream);

#endif /* PE_GZIP_H */
