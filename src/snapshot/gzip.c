/*
 * gzip.c
 *		Inflating a stream of gzip members: see gzip.h.
 */
#include <zlib.h>

#include "snapshot/gzip.h"
#include "snapshot/text.h"

#define GZIP_INPUT_BYTES 65536

struct pe_gzip
{
	pe_env env;
	pe_gzip_feed feed;
	void *ctx;
	const char *name;
	z_stream stream;
	bool inside;   /* of a member */
	bool any;      /* a member has been read */
	bool ended;    /* the feed has */
	bool finished; /* all has been delivered, or failed */
	pe_error failed;
	uint8_t input[GZIP_INPUT_BYTES];
};

/* zlib's own state comes from our allocator too. */
static void *
zlib_alloc(void *opaque, uInt items, uInt size)
{
	return pe_calloc(opaque, items, size);
}

static void
zlib_free(void *opaque, void *ptr)
{
	pe_free(opaque, ptr);
}

pe_status
pe_gzip_open(const pe_env *env, pe_gzip_feed feed, void *ctx, const char *name, pe_gzip **stream,
             pe_error *err)
{
	pe_gzip *opened = pe_calloc(env, 1, sizeof(*opened));

	*stream = NULL;
	if (opened == NULL)
		return pe_fail_memory(err);
	opened->env = *env;
	opened->feed = feed;
	opened->ctx = ctx;
	opened->name = name;
	opened->stream.zalloc = zlib_alloc;
	opened->stream.zfree = zlib_free;
	opened->stream.opaque = &opened->env;
	/* 16: a gzip header and nothing else. */
	if (inflateInit2(&opened->stream, 15 + 16) != Z_OK)
	{
		pe_free(env, opened);
		return pe_fail_memory(err);
	}
	*stream = opened;
	return PE_OK;
}

void
pe_gzip_close(pe_gzip *stream)
{
	pe_env env;

	if (stream == NULL)
		return;
	(void) inflateEnd(&stream->stream);
	env = stream->env;
	pe_free(&env, stream);
}

static pe_status
stop(pe_gzip *in, pe_status status, const char *what, pe_error *err)
{
	in->finished = true;
	(void) pe_fail(&in->failed, status, "file \"%.*s\" %s", pe_text_clip(in->name, strlen(in->name), 200),
	               in->name, what);
	if (err != NULL)
		*err = in->failed;
	return status;
}

static pe_status
refill(pe_gzip *in, pe_error *err)
{
	int64_t got = in->feed(in->ctx, in->input, sizeof(in->input));

	if (got < 0 || got > (int64_t) sizeof(in->input))
		return stop(in, PE_IO, "could not be read", err);
	in->ended = got == 0;
	in->stream.next_in = in->input;
	in->stream.avail_in = (uInt) got;
	return PE_OK;
}

/* Between members: another one, zero padding (tapes, some tools), or the end. */
static pe_status
between(pe_gzip *in, pe_error *err)
{
	while (in->any && in->stream.avail_in > 0 && *in->stream.next_in == 0)
	{
		in->stream.next_in++;
		in->stream.avail_in--;
	}
	if (in->stream.avail_in == 0)
		return PE_OK;
	if (in->any && inflateReset(&in->stream) != Z_OK)
		return stop(in, PE_INTERNAL, "could not be inflated", err);
	in->inside = true;
	return PE_OK;
}

static pe_status
inflate_some(pe_gzip *in, pe_error *err)
{
	int code = inflate(&in->stream, Z_NO_FLUSH);

	if (code == Z_STREAM_END)
	{
		in->inside = false;
		in->any = true;
		return PE_OK;
	}
	if (code == Z_MEM_ERROR)
	{
		in->finished = true;
		in->failed.code = PE_OUT_OF_MEMORY;
		return pe_fail_memory(err);
	}
	if (code != Z_OK && code != Z_BUF_ERROR)
		return stop(in, PE_CORRUPT,
		            in->any || in->stream.total_out > 0 ? "is damaged: its gzip data does not inflate"
		                                                : "is not gzip data",
		            err);
	return PE_OK;
}

pe_status
pe_gzip_read(pe_gzip *stream, void *buffer, size_t capacity, size_t *got, pe_error *err)
{
	uInt wanted = capacity > (1u << 30) ? 1u << 30 : (uInt) capacity;
	pe_status status = PE_OK;

	*got = 0;
	if (stream->failed.code != PE_OK)
	{
		if (err != NULL)
			*err = stream->failed;
		return stream->failed.code;
	}
	stream->stream.next_out = buffer;
	stream->stream.avail_out = wanted;
	while (status == PE_OK && !stream->finished && stream->stream.avail_out == wanted && wanted > 0)
	{
		if (stream->stream.avail_in == 0 && !stream->ended)
			status = refill(stream, err);
		else if (!stream->inside && stream->stream.avail_in > 0)
			status = between(stream, err);
		else if (!stream->inside)
		{
			/* Ended between members; an empty file is no gzip file. */
			if (!stream->any)
				status = stop(stream, PE_CORRUPT, "is empty, not gzip data", err);
			stream->finished = true;
		}
		else
		{
			uInt before = stream->stream.avail_in;

			status = inflate_some(stream, err);
			if (status == PE_OK && stream->ended && stream->inside && before == 0 &&
			    stream->stream.avail_out == wanted)
				status = stop(stream, PE_CORRUPT, "is cut off: its gzip data ends too early", err);
		}
	}
	*got = status == PE_OK ? wanted - stream->stream.avail_out : 0;
	return status;
}
