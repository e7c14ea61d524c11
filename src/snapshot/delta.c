/*
 * delta.c
 *		The delta encodings: see encoding.h.
 */
#include "snapshot/encoding.h"

/* Values of a block; writers use 128. More is nonsense, and keeps sums in range. */
#define MAX_BLOCK (UINT64_C(1) << 24)

static bool
read_varint(const uint8_t **at, const uint8_t *end, uint64_t *value)
{
	*value = 0;
	for (int shift = 0; shift < 64; shift += 7)
	{
		uint8_t byte;

		if (*at >= end)
			return false;
		byte = *(*at)++;
		*value |= (uint64_t) (byte & 0x7f) << shift;
		if ((byte & 0x80) == 0)
			return true;
	}
	return false;
}

static bool
read_zigzag(const uint8_t **at, const uint8_t *end, int64_t *value)
{
	uint64_t raw;

	if (!read_varint(at, end, &raw))
		return false;
	*value = (int64_t) (raw >> 1) ^ -(int64_t) (raw & 1);
	return true;
}

bool
pe_delta_init(pe_delta *delta, const uint8_t *bytes, size_t length)
{
	uint64_t block;
	uint64_t minis;

	memset(delta, 0, sizeof(*delta));
	delta->at = bytes;
	delta->end = bytes + length;
	if (!read_varint(&delta->at, delta->end, &block) || !read_varint(&delta->at, delta->end, &minis) ||
	    !read_varint(&delta->at, delta->end, &delta->total) ||
	    !read_zigzag(&delta->at, delta->end, &delta->last))
		return false;
	if (block == 0 || block > MAX_BLOCK || minis == 0 || minis > block || block % minis != 0 ||
	    block / minis % 8 != 0 || delta->total > INT32_MAX)
		return false;
	delta->per_mini = block / minis;
	delta->minis = (uint32_t) minis;
	delta->mini = delta->minis;
	delta->left = delta->total;
	delta->first = true;
	return true;
}

/* Bytes of the current miniblock. */
static uint64_t
mini_bytes(const pe_delta *delta)
{
	return delta->per_mini / 8 * delta->widths[delta->mini];
}

/* Go to the next miniblock, reading a block's header when the last one is done. */
static bool
next_mini(pe_delta *delta)
{
	if (delta->mini < delta->minis)
	{
		uint64_t bytes = mini_bytes(delta);

		delta->at +=
		    bytes < (uint64_t) (delta->end - delta->at) ? bytes : (uint64_t) (delta->end - delta->at);
		delta->mini++;
	}
	if (delta->mini >= delta->minis)
	{
		if (!read_zigzag(&delta->at, delta->end, &delta->min_delta) ||
		    (size_t) (delta->end - delta->at) < delta->minis)
			return false;
		delta->widths = delta->at;
		delta->at += delta->minis;
		delta->mini = 0;
	}
	if (delta->widths[delta->mini] > 64)
		return false;
	delta->mini_left = delta->per_mini;
	delta->bit = 0;
	return true;
}

static inline uint64_t
unpack64(const uint8_t *bits, uint64_t bit, int width)
{
	const uint8_t *at = bits + (bit >> 3);
	int shift = (int) (bit & 7);
	uint64_t word;

	memcpy(&word, at, sizeof(word));
	word >>= shift;
	if (width + shift > 64)
		word |= (uint64_t) at[8] << (64 - shift);
	return width == 64 ? word : word & ((UINT64_C(1) << width) - 1);
}

/* count values of the current miniblock; they must be there. */
static bool
unpack_mini(pe_delta *delta, int64_t *out, size_t count)
{
	int width = delta->widths[delta->mini];
	uint64_t last = (uint64_t) delta->last;

	if ((delta->bit + count * (uint64_t) width + 7) / 8 > (uint64_t) (delta->end - delta->at))
		return false;
	for (size_t i = 0; i < count; i++)
	{
		uint64_t step = width == 0 ? 0 : unpack64(delta->at, delta->bit, width);

		delta->bit += (uint64_t) width;
		last += (uint64_t) delta->min_delta + step;
		out[i] = (int64_t) last;
	}
	delta->last = (int64_t) last;
	delta->mini_left -= count;
	return true;
}

bool
pe_delta_next(pe_delta *delta, int64_t *out, size_t count)
{
	if (count > delta->left)
		return false;
	delta->left -= count;
	if (count > 0 && delta->first)
	{
		*out++ = delta->last;
		count--;
		delta->first = false;
	}
	while (count > 0)
	{
		size_t step;

		if (delta->mini_left == 0 && !next_mini(delta))
			return false;
		step = delta->mini_left < count ? (size_t) delta->mini_left : count;
		if (!unpack_mini(delta, out, step))
			return false;
		out += step;
		count -= step;
	}
	return true;
}

const uint8_t *
pe_delta_end(const pe_delta *delta)
{
	pe_delta walk = *delta;
	uint64_t left = walk.first && walk.left > 0 ? walk.left - 1 : walk.left;
	uint64_t bytes;

	/* Already in a miniblock: what is left of it counts. */
	left = left > walk.mini_left ? left - walk.mini_left : 0;
	while (left > 0)
	{
		if (!next_mini(&walk))
			return NULL;
		left = left > walk.per_mini ? left - walk.per_mini : 0;
	}
	if (walk.mini >= walk.minis)
		return walk.at;
	bytes = mini_bytes(&walk);
	return bytes > (uint64_t) (walk.end - walk.at) ? NULL : walk.at + bytes;
}

bool
pe_delta_length_init(pe_delta_length *delta, const uint8_t *bytes, size_t length)
{
	if (!pe_delta_init(&delta->lengths, bytes, length))
		return false;
	delta->at = pe_delta_end(&delta->lengths);
	delta->end = bytes + length;
	return delta->at != NULL;
}

bool
pe_delta_length_next(pe_delta_length *delta, pe_slice *out, size_t count)
{
	int64_t lengths[256];

	while (count > 0)
	{
		size_t step = count < 256 ? count : 256;

		if (!pe_delta_next(&delta->lengths, lengths, step))
			return false;
		for (size_t i = 0; i < step; i++)
		{
			if (lengths[i] < 0 || lengths[i] > delta->end - delta->at)
				return false;
			out[i].data = (const char *) delta->at;
			out[i].length = (size_t) lengths[i];
			delta->at += lengths[i];
		}
		out += step;
		count -= step;
	}
	return true;
}

bool
pe_delta_bytes_init(pe_delta_bytes *delta, const uint8_t *bytes, size_t length)
{
	const uint8_t *suffixes;

	delta->last.data = "";
	delta->last.length = 0;
	if (!pe_delta_init(&delta->prefixes, bytes, length))
		return false;
	suffixes = pe_delta_end(&delta->prefixes);
	return suffixes != NULL &&
	       pe_delta_length_init(&delta->suffixes, suffixes, (size_t) (bytes + length - suffixes));
}

/* One value: prefix bytes of the last one and then the suffix in out. */
static pe_status
join(pe_delta_bytes *delta, pe_arena *arena, size_t *made, int64_t prefix, pe_slice *out, pe_error *err)
{
	size_t length;
	char *bytes;

	if (prefix < 0 || (uint64_t) prefix > delta->last.length)
		return pe_fail(err, PE_CORRUPT, "a page of prefixed strings is damaged");
	if (prefix > 0)
	{
		length = (size_t) prefix + out->length;
		if (length > PE_SNAPSHOT_MAX_PAGE - *made)
			return pe_fail(err, PE_LIMIT, "prefixed strings need more than %u bytes", PE_SNAPSHOT_MAX_PAGE);
		*made += length;
		bytes = pe_arena_alloc(arena, length);
		if (bytes == NULL)
			return pe_fail_memory(err);
		memcpy(bytes, delta->last.data, (size_t) prefix);
		memcpy(bytes + prefix, out->data, out->length);
		out->data = bytes;
		out->length = length;
	}
	delta->last = *out;
	return PE_OK;
}

pe_status
pe_delta_bytes_next(pe_delta_bytes *delta, pe_arena *arena, size_t *made, pe_slice *out, size_t count,
                    pe_error *err)
{
	int64_t prefixes[256];

	while (count > 0)
	{
		size_t step = count < 256 ? count : 256;

		if (!pe_delta_next(&delta->prefixes, prefixes, step) ||
		    !pe_delta_length_next(&delta->suffixes, out, step))
			return pe_fail(err, PE_CORRUPT, "a page of prefixed strings is damaged");
		for (size_t i = 0; i < step; i++)
		{
			pe_status status = join(delta, arena, made, prefixes[i], &out[i], err);

			if (status != PE_OK)
				return status;
		}
		out += step;
		count -= step;
	}
	return PE_OK;
}

bool
pe_delta_bytes_keep(pe_delta_bytes *delta, const pe_env *env)
{
	char *kept;

	if (delta->last.length == 0 || delta->last.data == delta->kept)
		return true;
	if (delta->last.length > delta->kept_size)
	{
		kept = pe_alloc(env, delta->last.length);
		if (kept == NULL)
			return false;
		pe_free(env, delta->kept);
		delta->kept = kept;
		delta->kept_size = delta->last.length;
	}
	memcpy(delta->kept, delta->last.data, delta->last.length);
	delta->last.data = delta->kept;
	return true;
}
