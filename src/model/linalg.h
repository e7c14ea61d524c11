/*
 * linalg.h
 *		The little linear algebra that Newton's method needs. Symmetric matrices are packed:
 *		the lower triangle row by row, element (i, j) with j <= i at i (i + 1) / 2 + j.
 */
#ifndef PE_MODEL_LINALG_H
#define PE_MODEL_LINALG_H

#include "model/pool.h"

/*
 * A function in two versions, the second for wider registers: the same operations in the
 * same order, hence the same bits. name_plain must be PE_INLINE; linkage is static or extern.
 */
#if defined(__x86_64__)
#define PE_IN_TWO_WIDTHS(linkage, type, name, parameters, arguments)                                         \
	__attribute__((target("avx2"))) static type name##_wide parameters                                       \
	{                                                                                                        \
		return name##_plain arguments;                                                                       \
	}                                                                                                        \
	linkage type name parameters                                                                             \
	{                                                                                                        \
		if (__builtin_cpu_supports("avx2"))                                                                  \
			return name##_wide arguments;                                                                    \
		return name##_plain arguments;                                                                       \
	}
#else
#define PE_IN_TWO_WIDTHS(linkage, type, name, parameters, arguments)                                         \
	linkage type name parameters                                                                             \
	{                                                                                                        \
		return name##_plain arguments;                                                                       \
	}
#endif
#define PE_INLINE static inline __attribute__((always_inline))

static inline size_t
pe_packed(size_t i, size_t j)
{
	return i >= j ? i * (i + 1) / 2 + j : j * (j + 1) / 2 + i;
}

/* Sum of a[i] b[i], always in the same order. */
extern double pe_dot(const double *a, const double *b, size_t n);

/* to[i] += factor from[i] */
extern void pe_add_scaled(double *to, double factor, const double *from, size_t n);
/* to[i] = a[i] b[i] */
extern void pe_multiply(double *to, const double *a, const double *b, size_t n);

/* lower (n x n, row-major, lower triangle; the upper one is spoilt) += Z' diag(w) Z over a chunk; z and wz: n
 * arrays of rows, stride apart. */
extern void pe_syrk(const double *wz, const double *z, size_t stride, size_t n, size_t rows, double *lower);

/*
 * Factor the packed matrix a (n x n) in place into L with L L' = a. A column that the ones before it
 * explain but for tolerance of its own diagonal is dropped: skip[j] is set and its row of L is zero. With
 * skip already set on entry the column stays out. False when the tick asked to stop.
 */
extern bool pe_cholesky(pe_team *pool, double *a, size_t n, double tolerance, bool *skip);

/* x becomes L^-1 x, or with transposed L'^-1 x; skipped elements become 0. */
extern void pe_solve_lower(const double *l, size_t n, const bool *skip, double *x);
extern void pe_solve_upper(const double *l, size_t n, const bool *skip, double *x);

/* Two-sided p-value of Student's t with df degrees of freedom, and of the normal z. */
extern double pe_student_p(double t, double df);
extern double pe_normal_p(double z);

#endif /* PE_MODEL_LINALG_H */
