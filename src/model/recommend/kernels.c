/*
 * kernels.c
 *		The inner loops for a CPU with AVX2 and for one without, and which to take.
 */
#include "model/recommend/internal.h"

#define GRAM_ROWS 128 /* whose factors fit the first cache */

typedef float lanes __attribute__((vector_size(32)));
typedef float half_lanes __attribute__((vector_size(16)));
typedef int lane_numbers __attribute__((vector_size(16)));
typedef double double_lanes __attribute__((vector_size(64)));
typedef float loose_half_lanes __attribute__((vector_size(16), aligned(4)));
typedef float loose_lanes __attribute__((vector_size(32), aligned(4)));
typedef double loose_double_lanes __attribute__((vector_size(64), aligned(8)));

#define load(p)            (*(const loose_lanes *) (p))
#define store(p, v)        (*(loose_lanes *) (p) = (v))
#define load_double(p)     (*(const loose_double_lanes *) (p))
#define store_double(p, v) (*(loose_double_lanes *) (p) = (v))

/* Lanes i, j, k, l of a and b one after the other; GCC before 12 knows this name only. */
#if defined(__clang__)
#define shuffle(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
#define shuffle(a, b, i, j, k, l) __builtin_shuffle(a, b, (lane_numbers){i, j, k, l})
#endif

#define TARGET
#define NAME(x) plain_##x
#include "model/recommend/kernels_body.h"
#undef TARGET
#undef NAME

static const pe_kernels plain = {plain_dots, plain_gram, plain_conjugate, plain_exact};

#if defined(__x86_64__)
#define TARGET  __attribute__((target("avx2")))
#define NAME(x) avx2_##x
#include "model/recommend/kernels_body.h"
#undef TARGET
#undef NAME

static const pe_kernels avx2 = {avx2_dots, avx2_gram, avx2_conjugate, avx2_exact};
#endif

const pe_kernels *
pe_recommend_plain_kernels(void)
{
	return &plain;
}

const pe_kernels *
pe_recommend_kernels(void)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx2"))
		return &avx2;
#endif
	return &plain;
}
