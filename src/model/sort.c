/*
 * sort.c
 *		Radix sorts of numbers: what quantiles and ranks need, without comparisons.
 */
#include "model/internal.h"

#define DIGIT_BITS 11
#define DIGITS     (1u << DIGIT_BITS)
#define POLL_KEYS  131072

/* The bits of a number so arranged that unsigned order is the number's order; -0 becomes 0. */
static inline uint64_t
ordered_double(double key)
{
	uint64_t bits;

	key += 0.0;
	memcpy(&bits, &key, sizeof(bits));
	return bits & (UINT64_C(1) << 63) ? ~bits : bits | (UINT64_C(1) << 63);
}

static inline uint32_t
ordered_float(float key)
{
	uint32_t bits;

	key += 0.0f;
	memcpy(&bits, &key, sizeof(bits));
	return bits & (UINT32_C(1) << 31) ? ~bits : bits | (UINT32_C(1) << 31);
}

static void
starts_from_counts(uint32_t *counts)
{
	uint32_t start = 0;

	for (uint32_t digit = 0; digit < DIGITS; digit++)
	{
		uint32_t count = counts[digit];

		counts[digit] = start;
		start += count;
	}
}

bool
pe_sort_doubles(const pe_env *env, double *keys, uint32_t *carried, double *key_scratch,
                uint32_t *carried_scratch, size_t count)
{
	double *from = keys, *to = key_scratch;
	uint32_t *carried_from = carried, *carried_to = carried_scratch;
	uint32_t counts[DIGITS];

	/* Six passes of 11 bits: an even number, so that the result lies where it came from. */
	for (int shift = 0; shift < 64; shift += DIGIT_BITS)
	{
		double *swap = from;
		uint32_t *carried_swap = carried_from;

		memset(counts, 0, sizeof(counts));
		for (size_t i = 0; i < count; i++)
			counts[(ordered_double(from[i]) >> shift) & (DIGITS - 1)]++;
		starts_from_counts(counts);
		for (size_t i = 0; i < count; i++)
		{
			uint32_t at = counts[(ordered_double(from[i]) >> shift) & (DIGITS - 1)]++;

			to[at] = from[i];
			if (carried != NULL)
				carried_to[at] = carried_from[i];
			if (i % POLL_KEYS == 0 && pe_stopped(env, "evaluate", 0, 0))
				return false;
		}
		from = to;
		to = swap;
		carried_from = carried_to;
		carried_to = carried_swap;
	}
	return true;
}

void
pe_sort_floats(float *keys, float *scratch, size_t count)
{
	float *from = keys, *to = scratch;
	uint32_t counts[DIGITS];

	/* Three passes: the result ends up in the scratch and is copied back. */
	for (int shift = 0; shift < 32; shift += DIGIT_BITS)
	{
		float *swap = from;

		memset(counts, 0, sizeof(counts));
		for (size_t i = 0; i < count; i++)
			counts[(ordered_float(from[i]) >> shift) & (DIGITS - 1)]++;
		starts_from_counts(counts);
		for (size_t i = 0; i < count; i++)
			to[counts[(ordered_float(from[i]) >> shift) & (DIGITS - 1)]++] = from[i];
		from = to;
		to = swap;
	}
	memcpy(keys, scratch, count * sizeof(*keys));
}
