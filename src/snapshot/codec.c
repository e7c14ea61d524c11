/*
 * codec.c
 *		The compressions of Parquet pages: see codec.h.
 */
#include <lz4.h>
#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>

#include "snapshot/codec.h"

enum
{
	CODEC_NONE = 0,
	CODEC_SNAPPY = 1,
	CODEC_GZIP = 2,
	CODEC_LZO = 3,
	CODEC_BROTLI = 4,
	CODEC_LZ4_HADOOP = 5,
	CODEC_ZSTD = 6,
	CODEC_LZ4_RAW = 7
};

/* The most one byte of input can become; 0: no useful bound. */
static size_t
expansion(int32_t codec)
{
	switch (codec)
	{
		case CODEC_SNAPPY:
			return 32; /* a copy of 64 bytes takes 3 */
		case CODEC_GZIP:
			return 1040; /* a match of 258 bytes takes 2 bits */
		case CODEC_LZ4_HADOOP:
		case CODEC_LZ4_RAW:
			return 256; /* a length byte of 255 */
		default:
			return 0;
	}
}

pe_status
pe_codec_check(int32_t codec, pe_error *err)
{
	if (codec == CODEC_BROTLI || codec == CODEC_LZO)
	{
		(void) pe_fail(err, PE_UNSUPPORTED, "the Parquet file is compressed with %s, which is not read",
		               codec == CODEC_BROTLI ? "brotli" : "LZO");
		pe_error_hint(err, "Export it with snappy, gzip, zstd, lz4 or no compression.");
		return PE_UNSUPPORTED;
	}
	if (codec < CODEC_NONE || codec > CODEC_LZ4_RAW)
		return pe_fail(err, PE_UNSUPPORTED,
		               "the Parquet file is compressed with an unknown method, number %d", (int) codec);
	return PE_OK;
}

static pe_status
corrupt(pe_error *err)
{
	return pe_fail(err, PE_CORRUPT, "a page does not decompress");
}

static bool
inflate_init(z_stream *stream, const uint8_t *in, size_t length)
{
	memset(stream, 0, sizeof(*stream));
	stream->next_in = (Bytef *) (uintptr_t) in;
	stream->avail_in = (uInt) length;
	/* 32: gzip or zlib, whichever the header says. */
	return inflateInit2(stream, 15 + 32) == Z_OK;
}

/* A buffer that grows to at most wanted bytes (and padding). */
typedef struct grown_buffer
{
	const pe_env *env;
	uint8_t *data;
	size_t size;
	size_t wanted;
} grown_buffer;

static bool
grow(grown_buffer *buffer)
{
	size_t size = buffer->size > buffer->wanted / 2 ? buffer->wanted : buffer->size * 2;
	uint8_t *data = pe_realloc(buffer->env, buffer->data, size + PE_PAGE_PADDING);

	if (data == NULL)
		return false;
	buffer->data = data;
	buffer->size = size;
	return true;
}

static pe_status
gunzip(grown_buffer *out, const uint8_t *in, size_t length, pe_error *err)
{
	z_stream stream;
	size_t done = 0;
	pe_status status = PE_CORRUPT;

	if (!inflate_init(&stream, in, length))
		return pe_fail_memory(err);
	for (;;)
	{
		int code;

		if (done == out->size && out->size < out->wanted && !grow(out))
		{
			status = PE_OUT_OF_MEMORY;
			break;
		}
		stream.next_out = out->data + done;
		stream.avail_out = (uInt) (out->size - done);
		code = inflate(&stream, Z_NO_FLUSH);
		done = (size_t) (stream.next_out - out->data);
		/* Concatenated members are one page. */
		if (code == Z_STREAM_END && stream.avail_in > 0 && done < out->wanted)
		{
			if (inflateReset(&stream) != Z_OK)
				break;
			continue;
		}
		if (code == Z_STREAM_END)
		{
			status = done == out->wanted ? PE_OK : PE_CORRUPT;
			break;
		}
		if (code != Z_OK && !(code == Z_BUF_ERROR && done == out->size && out->size < out->wanted))
			break;
	}
	(void) inflateEnd(&stream);
	return status == PE_OK ? PE_OK : status == PE_OUT_OF_MEMORY ? pe_fail_memory(err) : corrupt(err);
}

static pe_status
unzstd(grown_buffer *buffer, const uint8_t *in, size_t length, pe_error *err)
{
	ZSTD_DStream *stream = ZSTD_createDStream();
	ZSTD_inBuffer input = {in, length, 0};
	ZSTD_outBuffer output = {buffer->data, buffer->size, 0};
	pe_status status = PE_CORRUPT;

	if (stream == NULL)
		return pe_fail_memory(err);
	/* The window is memory of the library's own: 128 MB is the most a page could use. */
	(void) ZSTD_DCtx_setParameter(stream, ZSTD_d_windowLogMax, 27);
	for (;;)
	{
		size_t before = output.pos + input.pos;
		size_t left = ZSTD_decompressStream(stream, &output, &input);

		if (ZSTD_isError(left))
			break;
		if (left == 0 && input.pos == input.size)
		{
			status = output.pos == buffer->wanted ? PE_OK : PE_CORRUPT;
			break;
		}
		if (output.pos == output.size && buffer->size < buffer->wanted)
		{
			if (!grow(buffer))
			{
				status = PE_OUT_OF_MEMORY;
				break;
			}
			output.dst = buffer->data;
			output.size = buffer->size;
		}
		else if (output.pos + input.pos == before)
			break;
	}
	(void) ZSTD_freeDStream(stream);
	return status == PE_OK ? PE_OK : status == PE_OUT_OF_MEMORY ? pe_fail_memory(err) : corrupt(err);
}

static uint32_t
big_endian(const uint8_t *bytes)
{
	return (uint32_t) bytes[0] << 24 | (uint32_t) bytes[1] << 16 | (uint32_t) bytes[2] << 8 |
	       (uint32_t) bytes[3];
}

/* Hadoop's framing: plain size, packed size, block; again and again. */
static bool
unlz4_hadoop(const uint8_t *in, size_t length, uint8_t *out, size_t wanted)
{
	while (wanted > 0)
	{
		uint32_t plain;
		uint32_t packed;

		if (length < 8)
			return false;
		plain = big_endian(in);
		packed = big_endian(in + 4);
		in += 8;
		length -= 8;
		if (packed > length || plain > wanted || plain == 0 ||
		    LZ4_decompress_safe((const char *) in, (char *) out, (int) packed, (int) plain) != (int) plain)
			return false;
		in += packed;
		length -= packed;
		out += plain;
		wanted -= plain;
	}
	return length == 0;
}

static bool
decompress_exact(int32_t codec, const uint8_t *in, size_t length, uint8_t *out, size_t wanted)
{
	size_t size = wanted;

	switch (codec)
	{
		case CODEC_SNAPPY:
			return snappy_uncompressed_length((const char *) in, length, &size) == SNAPPY_OK &&
			       size == wanted &&
			       snappy_uncompress((const char *) in, length, (char *) out, &size) == SNAPPY_OK &&
			       size == wanted;
		case CODEC_LZ4_HADOOP:
			if (unlz4_hadoop(in, length, out, wanted))
				return true;
			/* Arrow once wrote plain blocks under the same number. */
			/* FALLTHROUGH */
		case CODEC_LZ4_RAW:
			return LZ4_decompress_safe((const char *) in, (char *) out, (int) length, (int) wanted) ==
			       (int) wanted;
		default:
			return false;
	}
}

pe_status
pe_codec_decompress(const pe_env *env, int32_t codec, const uint8_t *in, size_t length, size_t wanted,
                    uint8_t **out, pe_error *err)
{
	grown_buffer buffer = {.env = env, .size = wanted, .wanted = wanted};
	size_t most = expansion(codec);
	pe_status status;

	*out = NULL;
	if (most > 0 && wanted / most > length + 64)
		return corrupt(err);
	/* Streams start small, so that a lie about the size costs no more than the input. */
	if ((codec == CODEC_ZSTD || codec == CODEC_GZIP) && wanted > 65536 && wanted / 16 > length)
		buffer.size = length * 16 > 65536 ? length * 16 : 65536;
	buffer.data = pe_alloc(env, buffer.size + PE_PAGE_PADDING);
	if (buffer.data == NULL)
		return pe_fail_memory(err);
	if (wanted == 0)
		status = PE_OK;
	else if (codec == CODEC_GZIP)
		status = gunzip(&buffer, in, length, err);
	else if (codec == CODEC_ZSTD)
		status = unzstd(&buffer, in, length, err);
	else
		status = decompress_exact(codec, in, length, buffer.data, wanted) ? PE_OK : corrupt(err);
	if (status != PE_OK)
	{
		pe_free(env, buffer.data);
		return status;
	}
	memset(buffer.data + wanted, 0, PE_PAGE_PADDING);
	*out = buffer.data;
	return PE_OK;
}
