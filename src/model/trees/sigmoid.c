/*
 * sigmoid.c
 *		The logistic function of many margins: the same bits from any processor, as nothing
 *		but additions, multiplications and one division is asked of it, in one order.
 */
#include "model/trees/boost.h"

#define LANES 4

typedef double lanes __attribute__((vector_size(LANES * sizeof(double))));
typedef int64_t integers __attribute__((vector_size(LANES * sizeof(int64_t))));

#define LARGEST  700.0              /* beyond it exp leaves the range of doubles */
#define ROUNDER  6755399441055744.0 /* 1.5 * 2^52: what is added to it is rounded to a whole number */
#define LOG2_E   1.4426950408889634
#define LN2_HIGH 0.693147180369123816490 /* 33 bits, so that whole multiples are exact */
#define LN2_LOW  1.90821492927058770002e-10

/* exp(-x) = 2^n exp(r), |r| <= ln 2 / 2, by Taylor's series to r^11 / 11!: within 1e-14 of it. */
static inline __attribute__((always_inline)) void
fill(const double *margins, double *probabilities, size_t count)
{
	const lanes largest = (lanes){0} + LARGEST;

	for (size_t i = 0; i < count; i += LANES)
	{
		lanes x, shifted, n, r, sum;
		integers above, below, power;

		memcpy(&x, margins + i, sizeof(x));
		above = x > LARGEST;
		below = x < -LARGEST;
		x = (lanes) ((above & (integers) largest) | (below & (integers) -largest) |
		             (~above & ~below & (integers) x));
		x = -x;
		shifted = x * LOG2_E + ROUNDER;
		n = shifted - ROUNDER;
		r = x - n * LN2_HIGH - n * LN2_LOW;
		sum = r * (1.0 / 39916800) + 1.0 / 3628800;
		sum = sum * r + 1.0 / 362880;
		sum = sum * r + 1.0 / 40320;
		sum = sum * r + 1.0 / 5040;
		sum = sum * r + 1.0 / 720;
		sum = sum * r + 1.0 / 120;
		sum = sum * r + 1.0 / 24;
		sum = sum * r + 1.0 / 6;
		sum = sum * r + 0.5;
		sum = sum * r + 1;
		sum = sum * r + 1;
		/* The whole number stands in the lowest bits; 52 up it is an exponent. */
		power = ((integers) shifted << 52) + (integers) ((lanes){0} + 1.0);
		sum = 1.0 / (1.0 + sum * (lanes) power);
		memcpy(probabilities + i, &sum, sizeof(sum));
	}
}

void
pe_sigmoids_plain(const double *margins, double *probabilities, size_t count)
{
	fill(margins, probabilities, count);
}

#if defined(__x86_64__)
static __attribute__((target("avx2"))) void
sigmoids_avx2(const double *margins, double *probabilities, size_t count)
{
	fill(margins, probabilities, count);
}
#endif

void
pe_sigmoids(const double *margins, double *probabilities, size_t count)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx2"))
	{
		sigmoids_avx2(margins, probabilities, count);
		return;
	}
#endif
	pe_sigmoids_plain(margins, probabilities, count);
}
