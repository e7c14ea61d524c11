/*
 * linalg.c
 *		Dot products, the symmetric update, Cholesky's factor and two tail areas.
 */
#include <math.h>

#include "model/linalg.h"

typedef double vector4 __attribute__((vector_size(32)));

/* Through memory, since vectors wider than the baseline's must not be passed by value. */
PE_INLINE void
add_products(vector4 *sum, const double *a, const double *b)
{
	vector4 left, right;

	memcpy(&left, a, sizeof(left));
	memcpy(&right, b, sizeof(right));
	*sum += left * right;
}

PE_INLINE double
sum4(const vector4 *v)
{
	return ((*v)[0] + (*v)[2]) + ((*v)[1] + (*v)[3]);
}

PE_INLINE double
pe_dot_plain(const double *a, const double *b, size_t n)
{
	vector4 sum = {0, 0, 0, 0};
	double rest = 0;
	size_t i = 0;

	for (; i + 4 <= n; i += 4)
		add_products(&sum, a + i, b + i);
	for (; i < n; i++)
		rest += a[i] * b[i];
	return sum4(&sum) + rest;
}

PE_IN_TWO_WIDTHS(extern, double, pe_dot, (const double *a, const double *b, size_t n), (a, b, n))

PE_INLINE void
pe_add_scaled_plain(double *to, double factor, const double *from, size_t n)
{
	vector4 scale = {factor, factor, factor, factor};
	size_t i = 0;

	for (; i + 4 <= n; i += 4)
	{
		vector4 sum, add;

		memcpy(&sum, to + i, sizeof(sum));
		memcpy(&add, from + i, sizeof(add));
		sum += scale * add;
		memcpy(to + i, &sum, sizeof(sum));
	}
	for (; i < n; i++)
		to[i] += factor * from[i];
}

PE_IN_TWO_WIDTHS(extern, void, pe_add_scaled, (double *to, double factor, const double *from, size_t n),
                 (to, factor, from, n))

PE_INLINE void
pe_multiply_plain(double *to, const double *a, const double *b, size_t n)
{
	size_t i = 0;

	for (; i + 4 <= n; i += 4)
	{
		vector4 left, right;

		memcpy(&left, a + i, sizeof(left));
		memcpy(&right, b + i, sizeof(right));
		left *= right;
		memcpy(to + i, &left, sizeof(left));
	}
	for (; i < n; i++)
		to[i] = a[i] * b[i];
}

PE_IN_TWO_WIDTHS(extern, void, pe_multiply, (double *to, const double *a, const double *b, size_t n),
                 (to, a, b, n))

/*
 * Two columns against four: six loads for eight products. Rows beyond the last multiple
 * of four are added after the vectors' sums, as in pe_dot.
 */
PE_INLINE void
dot_tile(const double *a, const double *b, size_t stride, size_t rows, double *top, double *bottom)
{
	vector4 s0[4] = {{0}}, s1[4] = {{0}};
	double r0[4] = {0}, r1[4] = {0};
	size_t i = 0;

	for (; i + 4 <= rows; i += 4)
	{
		vector4 left0, left1, right;

		memcpy(&left0, a + i, sizeof(left0));
		memcpy(&left1, a + stride + i, sizeof(left1));
#pragma GCC unroll 4
		for (int j = 0; j < 4; j++)
		{
			memcpy(&right, b + j * stride + i, sizeof(right));
			s0[j] += left0 * right;
			s1[j] += left1 * right;
		}
	}
	for (; i < rows; i++)
		for (int j = 0; j < 4; j++)
		{
			r0[j] += a[i] * b[j * stride + i];
			r1[j] += a[stride + i] * b[j * stride + i];
		}
	for (int j = 0; j < 4; j++)
	{
		top[j] += sum4(&s0[j]) + r0[j];
		bottom[j] += sum4(&s1[j]) + r1[j];
	}
}

/* Tiles may reach beyond the diagonal: what is there is of no use and does no harm. */
PE_INLINE void
pe_syrk_plain(const double *wz, const double *z, size_t stride, size_t n, size_t rows, double *lower)
{
	size_t i = 0;

	for (; i + 2 <= n; i += 2)
	{
		const double *a = wz + i * stride;
		size_t j = 0;

		for (; j <= i + 1 && j + 4 <= n; j += 4)
			dot_tile(a, z + j * stride, stride, rows, lower + i * n + j, lower + (i + 1) * n + j);
		for (; j <= i + 1; j++)
		{
			lower[i * n + j] += pe_dot_plain(a, z + j * stride, rows);
			lower[(i + 1) * n + j] += pe_dot_plain(a + stride, z + j * stride, rows);
		}
	}
	for (size_t j = 0; i < n && j <= i; j++)
		lower[i * n + j] += pe_dot_plain(wz + i * stride, z + j * stride, rows);
}

PE_IN_TWO_WIDTHS(extern, void, pe_syrk,
                 (const double *wz, const double *z, size_t stride, size_t n, size_t rows, double *lower),
                 (wz, z, stride, n, rows, lower))

bool
pe_cholesky(pe_team *pool, double *a, size_t n, double tolerance, bool *skip)
{
	for (size_t i = 0; i < n; i++)
	{
		double *row = a + pe_packed(i, 0);
		double diagonal = row[i], left;

		if (pe_team_poll(pool, 0))
			return false;
		for (size_t j = 0; j < i && !skip[i]; j++)
		{
			const double *other = a + pe_packed(j, 0);

			row[j] = skip[j] ? 0 : (row[j] - pe_dot(row, other, j)) / other[j];
		}
		left = diagonal - (skip[i] ? 0 : pe_dot(row, row, i));
		if (skip[i] || !(left > tolerance * diagonal))
		{
			skip[i] = true;
			memset(row, 0, (i + 1) * sizeof(*row));
			continue;
		}
		row[i] = sqrt(left);
	}
	return true;
}

void
pe_solve_lower(const double *l, size_t n, const bool *skip, double *x)
{
	for (size_t i = 0; i < n; i++)
	{
		const double *row = l + pe_packed(i, 0);

		x[i] = skip[i] ? 0 : (x[i] - pe_dot(row, x, i)) / row[i];
	}
}

void
pe_solve_upper(const double *l, size_t n, const bool *skip, double *x)
{
	for (size_t i = n; i-- > 0;)
	{
		const double *row = l + pe_packed(i, 0);

		if (skip[i])
		{
			x[i] = 0;
			continue;
		}
		x[i] /= row[i];
		for (size_t j = 0; j < i; j++)
			x[j] -= row[j] * x[i];
	}
}

/* ---- tail areas ----------------------------------------------------------------------- */

double
pe_normal_p(double z)
{
	return erfc(fabs(z) * M_SQRT1_2);
}

/* The continued fraction of the incomplete beta function, by Lentz's method. */
static double
beta_fraction(double a, double b, double x)
{
	const double tiny = 1e-300;
	double c = 1, d = 1 - (a + b) * x / (a + 1), value;

	d = 1 / (fabs(d) < tiny ? tiny : d);
	value = d;
	for (int m = 1; m <= 500; m++)
	{
		double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
		double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
		double factor;

		d = 1 + even * d;
		d = 1 / (fabs(d) < tiny ? tiny : d);
		c = 1 + even / c;
		c = fabs(c) < tiny ? tiny : c;
		value *= c * d;
		d = 1 + odd * d;
		d = 1 / (fabs(d) < tiny ? tiny : d);
		c = 1 + odd / c;
		c = fabs(c) < tiny ? tiny : c;
		factor = c * d;
		value *= factor;
		if (fabs(factor - 1) < 1e-15)
			break;
	}
	return value;
}

/* lgamma's sign is a global of libm's; lgamma_r keeps threads and callers apart. */
static double
log_gamma(double x)
{
	int sign;

	return lgamma_r(x, &sign);
}

double
pe_student_p(double t, double df)
{
	double x = df / (df + t * t), a = df / 2, b = 0.5, front;

	if (isnan(t) || !(df > 0))
		return NAN;
	if (isinf(t) || x <= 0)
		return 0;
	if (x >= 1)
		return 1;
	front = exp(log_gamma(a + b) - log_gamma(a) - log_gamma(b) + a * log(x) + b * log1p(-x));
	if (x < (a + 1) / (a + b + 2))
		return front * beta_fraction(a, b, x) / a;
	return 1 - front * beta_fraction(b, a, 1 - x) / b;
}
