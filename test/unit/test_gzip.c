/*
 * test_gzip.c
 *		The gzip stream: members, padding, damage, a bomb, failing memory.
 */
#include <zlib.h>

#include "tap.h"

#include "snapshot/gzip.h"

typedef struct feed_state
{
	const uint8_t *bytes;
	size_t size;
	size_t at;
	size_t step; /* bytes at a time */
	bool broken;
} feed_state;

static int64_t
feed(void *ctx, void *buffer, size_t capacity)
{
	feed_state *state = ctx;
	size_t count = state->size - state->at;

	if (state->broken && state->at > 0)
		return -1;
	count = count < capacity ? count : capacity;
	count = count < state->step ? count : state->step;
	memcpy(buffer, state->bytes + state->at, count);
	state->at += count;
	return (int64_t) count;
}

/* One gzip member of the text, appended at out; returns its length. */
static size_t
member(const void *text, size_t length, uint8_t *out, size_t capacity)
{
	z_stream stream = {0};

	deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
	stream.next_in = (Bytef *) (uintptr_t) text;
	stream.avail_in = (uInt) length;
	stream.next_out = out;
	stream.avail_out = (uInt) capacity;
	deflate(&stream, Z_FINISH);
	deflateEnd(&stream);
	return stream.total_out;
}

static pe_status
inflate_all(const pe_env *env, feed_state *state, size_t chunk, char *out, size_t capacity, size_t *total,
            pe_error *err)
{
	pe_gzip *stream;
	size_t got;
	pe_status status = pe_gzip_open(env, feed, state, "data.gz", &stream, err);

	*total = 0;
	if (status != PE_OK)
		return status;
	do
	{
		size_t room = capacity - *total < chunk ? capacity - *total : chunk;

		status = pe_gzip_read(stream, out + *total, room, &got, err);
		*total += got;
	} while (status == PE_OK && got > 0 && *total < capacity);
	pe_gzip_close(stream);
	return status;
}

static void
check(const char *what, const uint8_t *bytes, size_t size, size_t step, pe_status wanted, const char *text)
{
	tap_memory memory = {0};
	pe_env env = tap_env(&memory);
	feed_state state = {bytes, size, 0, step, false};
	char out[1024];
	size_t total;
	pe_error err = {0};

	IS_INT(inflate_all(&env, &state, 7, out, sizeof(out), &total, &err), wanted, "%s: status", what);
	if (wanted == PE_OK)
		OK(total == strlen(text) && memcmp(out, text, total) == 0, "%s: text", what);
	else
		IS_STR(err.message, text, "%s: message", what);
	IS_INT(memory.live, 0, "%s: nothing leaked", what);
}

static void
test_bomb(void)
{
	tap_memory memory = {0};
	pe_env env = tap_env(&memory);
	static uint8_t packed[70000];
	char *zeros = calloc(1, 64u << 20);
	feed_state state = {.bytes = packed, .step = 65536};
	pe_gzip *stream;
	pe_error err;
	size_t got;
	size_t total = 0;

	state.size = member(zeros, 64u << 20, packed, sizeof(packed));
	free(zeros);
	IS_INT(pe_gzip_open(&env, feed, &state, "bomb.gz", &stream, &err), PE_OK, "a bomb opens");
	zeros = malloc(1000);
	while (total < 10000000 && pe_gzip_read(stream, zeros, 1000, &got, &err) == PE_OK && got > 0)
		total += got;
	OK(total >= 10000000, "and streams until the reader stops");
	pe_gzip_close(stream);
	free(zeros);
	IS_INT(memory.live, 0, "with nothing left behind");
}

int
main(void)
{
	uint8_t bytes[1024];
	size_t first = member("hello ", 6, bytes, sizeof(bytes));
	size_t both = first + member("world", 5, bytes + first, sizeof(bytes) - first);
	tap_memory memory = {0};
	pe_env env = tap_env(&memory);
	pe_status status = PE_OUT_OF_MEMORY;
	feed_state state = {bytes, both, 0, 100, true};
	char out[64];
	size_t total;
	pe_error err;

	memset(bytes + both, 0, sizeof(bytes) - both);
	check("one member", bytes, first, 1000, PE_OK, "hello ");
	check("two members", bytes, both, 1000, PE_OK, "hello world");
	check("a byte at a time", bytes, both, 1, PE_OK, "hello world");
	check("zero padding", bytes, both + 20, 1000, PE_OK, "hello world");
	check("nothing", bytes, 0, 1000, PE_CORRUPT, "file \"data.gz\" is empty, not gzip data");
	check("not gzip", (const uint8_t *) "plain text, no gzip", 19, 1000, PE_CORRUPT,
	      "file \"data.gz\" is not gzip data");
	for (size_t cut = 1; cut < first; cut++)
		check("cut off", bytes, cut, 1000, PE_CORRUPT,
		      "file \"data.gz\" is cut off: its gzip data ends too early");
	bytes[first - 6] ^= 1;
	check("a wrong checksum", bytes, first, 1000, PE_CORRUPT,
	      "file \"data.gz\" is damaged: its gzip data does not inflate");
	bytes[first - 6] ^= 1;
	bytes[both] = 'x';
	check("garbage behind", bytes, both + 1, 1000, PE_CORRUPT,
	      "file \"data.gz\" is cut off: its gzip data ends too early");
	state.step = 5;
	IS_INT(inflate_all(&env, &state, 10, out, sizeof(out), &total, &err), PE_IO, "the feed fails");
	IS_STR(err.message, "file \"data.gz\" could not be read", "and the message says so");
	for (long i = 1; status == PE_OUT_OF_MEMORY && i < 50; i++)
	{
		state = (feed_state){bytes, both, 0, 1000, false};
		memory.calls = 0;
		memory.fail_at = i;
		status = inflate_all(&env, &state, 10, out, sizeof(out), &total, &err);
	}
	IS_INT(status, PE_OK, "inflates once memory is enough");
	IS_INT(memory.live, 0, "failing allocations leak nothing");
	test_bomb();
	return tap_done();
}
