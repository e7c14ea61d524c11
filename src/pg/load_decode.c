/*
 * load_decode.c
 *		Text of another encoding as UTF-8, piece by piece, by the C library's iconv: the server's own
 *		conversions lack UTF-16, which the platform's file destinations write.
 */
#include "postgres.h"

#include <iconv.h>

#include "miscadmin.h"
#include "utils/memutils.h"

#include "pg/load.h"
#include "pg/load_decode.h"

#define BUFFER (64 * 1024)

struct LoadDecoder
{
	const char *encoding;
	const char *file;
	load_decode_feed feed;
	void *ctx;
	iconv_t conversion; /* (iconv_t) -1: closed */
	uint64 decoded;     /* bytes of the file */
	bool ended;         /* the feed */
	char in[BUFFER];
	size_t in_length; /* bytes that are not decoded yet, at the beginning of in */
	char out[BUFFER];
	size_t out_length;
	size_t out_used;
};

static void
close_conversion(void *arg)
{
	load_decode_close(arg);
}

void
load_decode_close(LoadDecoder *decoder)
{
	if (decoder->conversion != (iconv_t) -1)
		iconv_close(decoder->conversion);
	decoder->conversion = (iconv_t) -1;
}

LoadDecoder *
load_decode_open(const char *encoding, const char *file, uint64 before, load_decode_feed feed, void *ctx)
{
	LoadDecoder *decoder = palloc0(sizeof(LoadDecoder));
	MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));

	decoder->encoding = encoding;
	decoder->file = file;
	decoder->decoded = before;
	decoder->feed = feed;
	decoder->ctx = ctx;
	decoder->conversion = iconv_open("UTF-8", encoding);
	if (decoder->conversion == (iconv_t) -1)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
		                errmsg("text in encoding \"%s\" cannot be converted here: %m", encoding)));
	callback->func = close_conversion;
	callback->arg = decoder;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	return decoder;
}

static void
not_of_the_encoding(const LoadDecoder *decoder)
{
	load_position.named = true;
	ereport(ERROR, (errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
	                errmsg("file \"%s\" is not text in encoding %s at byte " UINT64_FORMAT, decoder->file,
	                       decoder->encoding, decoder->decoded + 1),
	                errdetail("Nothing was loaded."),
	                errhint("Name its encoding: csv => '{\"encoding\": \"...\"}'.")));
}

/* Fills out as far as the text goes. */
static void
decode(LoadDecoder *decoder)
{
	char *from = decoder->in;
	char *to = decoder->out;
	size_t left = decoder->in_length;
	size_t room = BUFFER;

	bool stopped = iconv(decoder->conversion, &from, &left, &to, &room) == (size_t) -1 &&
	               (errno == EILSEQ || (errno == EINVAL && decoder->ended));

	decoder->decoded += decoder->in_length - left;
	/* What is good comes first: the next call is about the rest. */
	if (stopped && to == decoder->out)
		not_of_the_encoding(decoder);
	memmove(decoder->in, from, left);
	decoder->in_length = left;
	decoder->out_used = 0;
	decoder->out_length = BUFFER - room;
}

size_t
load_decode_read(LoadDecoder *decoder, void *buffer, size_t capacity)
{
	size_t taken;

	while (decoder->out_used == decoder->out_length)
	{
		CHECK_FOR_INTERRUPTS();
		if (!decoder->ended && decoder->in_length < BUFFER)
		{
			size_t got =
			    decoder->feed(decoder->ctx, decoder->in + decoder->in_length, BUFFER - decoder->in_length);

			decoder->ended = got == 0;
			decoder->in_length += got;
		}
		if (decoder->ended && decoder->in_length == 0)
			return 0;
		decode(decoder);
	}
	taken = Min(decoder->out_length - decoder->out_used, capacity);
	memcpy(buffer, decoder->out + decoder->out_used, taken);
	decoder->out_used += taken;
	return taken;
}
