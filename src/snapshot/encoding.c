/*
 * encoding.c
 *		Runs, bits, byte arrays: see encoding.h. The delta family is in delta.c.
 */
#include "snapshot/encoding.h"

void
pe_rle_init(pe_rle *rle, const uint8_t *bytes, size_t length, int width)
{
	memset(rle, 0, sizeof(*rle));
	rle->at = bytes;
	rle->end = bytes + length;
	rle->width = width;
}

/* Read the header of the next run; false at the end or when it is wrong. */
static bool
next_run(pe_rle *rle)
{
	uint64_t header = 0;
	int shift = 0;

	for (;;)
	{
		uint8_t byte;

		if (rle->at >= rle->end || shift > 35)
			return false;
		byte = *rle->at++;
		header |= (uint64_t) (byte & 0x7f) << shift;
		shift += 7;
		if ((byte & 0x80) == 0)
			break;
	}
	if ((header & 1) == 0)
	{
		size_t bytes = ((size_t) rle->width + 7) / 8;

		if (header == 0 || (size_t) (rle->end - rle->at) < bytes)
			return false;
		rle->run = header >> 1;
		rle->value = 0;
		for (size_t i = 0; i < bytes; i++)
			rle->value |= (uint32_t) rle->at[i] << (8 * i);
		rle->at += bytes;
		if (rle->width < 32 && (rle->value >> rle->width) != 0)
			return false;
	}
	else
	{
		uint64_t groups = header >> 1;
		uint64_t bytes = groups * (uint64_t) rle->width;
		uint64_t there = (uint64_t) (rle->end - rle->at);

		if (groups == 0)
			return false;
		rle->packed = groups * 8;
		/* Some writers cut the last group's padding off. */
		if (bytes > there)
		{
			rle->packed = there * 8 / (uint64_t) rle->width;
			bytes = there;
		}
		rle->bits = rle->at;
		rle->bit = 0;
		rle->at += bytes;
	}
	return true;
}

static inline uint32_t
unpack(const uint8_t *bits, uint64_t bit, uint32_t mask)
{
	uint64_t word;

	memcpy(&word, bits + (bit >> 3), sizeof(word));
	return (uint32_t) (word >> (bit & 7)) & mask;
}

static inline uint32_t
width_mask(int width)
{
	return width == 32 ? UINT32_MAX : ((uint32_t) 1 << width) - 1;
}

bool
pe_rle_levels(pe_rle *rle, uint8_t *out, size_t count)
{
	uint32_t mask = width_mask(rle->width);

	while (count > 0)
	{
		size_t step;

		if (rle->run > 0)
		{
			step = rle->run < count ? (size_t) rle->run : count;
			memset(out, (int) rle->value, step);
			rle->run -= step;
		}
		else if (rle->packed > 0)
		{
			step = rle->packed < count ? (size_t) rle->packed : count;
			for (size_t i = 0; i < step; i++)
				out[i] = (uint8_t) unpack(rle->bits, rle->bit + i * (uint64_t) rle->width, mask);
			rle->bit += step * (uint64_t) rle->width;
			rle->packed -= step;
		}
		else
		{
			if (!next_run(rle))
				return false;
			continue;
		}
		out += step;
		count -= step;
	}
	return true;
}

bool
pe_rle_indices(pe_rle *rle, uint32_t *out, size_t count)
{
	uint32_t mask = width_mask(rle->width);

	while (count > 0)
	{
		size_t step;

		if (rle->run > 0)
		{
			step = rle->run < count ? (size_t) rle->run : count;
			for (size_t i = 0; i < step; i++)
				out[i] = rle->value;
			rle->run -= step;
		}
		else if (rle->packed > 0)
		{
			step = rle->packed < count ? (size_t) rle->packed : count;
			for (size_t i = 0; i < step; i++)
				out[i] = unpack(rle->bits, rle->bit + i * (uint64_t) rle->width, mask);
			rle->bit += step * (uint64_t) rle->width;
			rle->packed -= step;
		}
		else
		{
			if (!next_run(rle))
				return false;
			continue;
		}
		out += step;
		count -= step;
	}
	return true;
}

bool
pe_bit_packed_levels(const uint8_t *bytes, size_t length, int width, uint64_t from, uint8_t *out,
                     size_t count)
{
	uint64_t bit = from * (uint64_t) width;

	if ((from + count) * (uint64_t) width > (uint64_t) length * 8)
		return false;
	for (size_t i = 0; i < count; i++)
	{
		unsigned value = 0;

		for (int j = 0; j < width; j++, bit++)
			value = value << 1 | ((unsigned) bytes[bit >> 3] >> (7 - (bit & 7)) & 1);
		out[i] = (uint8_t) value;
	}
	return true;
}

bool
pe_plain_slices(const uint8_t **at, const uint8_t *end, pe_slice *out, size_t count)
{
	const uint8_t *bytes = *at;

	for (size_t i = 0; i < count; i++)
	{
		uint32_t length;

		if (end - bytes < 4)
			return false;
		memcpy(&length, bytes, 4);
		bytes += 4;
		if (length > (size_t) (end - bytes))
			return false;
		out[i].data = (const char *) bytes;
		out[i].length = length;
		bytes += length;
	}
	*at = bytes;
	return true;
}

void
pe_split_values(const uint8_t *bytes, size_t total, size_t size, size_t from, uint8_t *out, size_t count)
{
	for (size_t byte = 0; byte < size; byte++)
	{
		const uint8_t *stream = bytes + byte * total + from;

		for (size_t i = 0; i < count; i++)
			out[i * size + byte] = stream[i];
	}
}

int64_t
pe_int96_micros(const uint8_t *bytes)
{
	const int64_t day_micros = INT64_C(86400000000);
	const int64_t epoch_julian = 2440588;
	int64_t nanos;
	int32_t julian;
	int64_t micros;

	memcpy(&nanos, bytes, 8);
	memcpy(&julian, bytes + 8, 4);
	/* 2^31 days are more microseconds than there are: such values saturate. */
	if (__builtin_mul_overflow((int64_t) julian - epoch_julian, day_micros, &micros) ||
	    __builtin_add_overflow(micros, nanos / 1000 - (nanos % 1000 < 0), &micros))
		return julian < epoch_julian ? INT64_MIN : INT64_MAX;
	return micros;
}
