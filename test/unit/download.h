/*
 * download.h
 *		One part by itself, for tests.
 */
#ifndef DOWNLOAD_H
#define DOWNLOAD_H

#include "platform/export.h"

typedef struct download_sink
{
	pe_http_sink sink;
	void *ctx;
} download_sink;

static bool
download_pass_on(void *ctx, int64_t offset, const void *data, size_t length)
{
	download_sink *sink = ctx;

	(void) offset;
	return sink->sink(sink->ctx, data, length);
}

static pe_status
download_part(pe_platform *platform, const pe_part *part, pe_http_sink sink, void *ctx, int64_t *bytes,
              pe_error *err)
{
	download_sink to = {sink, ctx};
	pe_fetch fetch = {.part = part, .sink = download_pass_on, .ctx = &to};
	pe_status status = pe_export_fetch(platform, &fetch, 1, 1, err);

	*bytes = fetch.done;
	return status;
}

#endif /* DOWNLOAD_H */
