/*
 * maximise.c
 *		Maximum likelihood in a handful of parameters, by their logarithms: BFGS from a
 *		start, then Newton's steps with the Hessian from differences of the gradient.
 *
 * Surfaces of these processes have long flat ridges, and sometimes no maximum at all
 * (nobody leaves: a goes to 0). Then climbing ends where nothing more is gained, and
 * the Hessian says which directions mean nothing.
 */
#include "model/lifetime/process.h"

#define N              PE_LIFETIME_PARAMETERS
#define LONGEST_STEP   1.5   /* of a logarithm */
#define FLAT_ERROR     10.0  /* a standard error of a logarithm that says: anything goes */
#define SAME_VALUE     1e-13 /* relative */
#define SMALL_GRADIENT 1e-9  /* relative to the value */

static double
bounded(double x)
{
	return fmin(fmax(x, log(PE_SMALLEST_PARAMETER)), log(PE_LARGEST_PARAMETER));
}

static double
dot(const double *a, const double *b, int n)
{
	double sum = 0;

	for (int i = 0; i < n; i++)
		sum += a[i] * b[i];
	return sum;
}

/* What BFGS knows of the inverse of the (negative) Hessian. */
static void
update_inverse(double inverse[N][N], const double *step, const double *change, int n)
{
	double curvature = dot(step, change, n), product[N], scale;

	if (!(curvature > 1e-12 * sqrt(dot(step, step, n) * dot(change, change, n))))
		return;
	for (int i = 0; i < n; i++)
		product[i] = dot(inverse[i], change, n);
	scale = (1 + dot(change, product, n) / curvature) / curvature;
	for (int i = 0; i < n; i++)
		for (int j = 0; j < n; j++)
			inverse[i][j] +=
			    scale * step[i] * step[j] - (step[i] * product[j] + product[i] * step[j]) / curvature;
}

static void
reset_inverse(double inverse[N][N], const double *gradient, int n)
{
	double length = sqrt(dot(gradient, gradient, n));

	for (int i = 0; i < n; i++)
		for (int j = 0; j < n; j++)
			inverse[i][j] = i == j ? 1 / (length + 1e-300) : 0;
}

/* A direction uphill, no step longer than allowed. */
static void
direction_of(double inverse[N][N], const double *gradient, int n, double *direction)
{
	double longest = 0;

	for (int i = 0; i < n; i++)
		direction[i] = dot(inverse[i], gradient, n);
	if (!(dot(direction, gradient, n) > 0))
	{
		reset_inverse(inverse, gradient, n);
		for (int i = 0; i < n; i++)
			direction[i] = inverse[i][i] * gradient[i];
	}
	for (int i = 0; i < n; i++)
		longest = fmax(longest, fabs(direction[i]));
	for (int i = 0; i < n && longest > LONGEST_STEP; i++)
		direction[i] *= LONGEST_STEP / longest;
}

/* Where to go next from x: 1 gone, 0 no way up, -1 stopped. */
static int
search_line(pe_likelihood function, void *ctx, int n, const double *direction, const double *gradient,
            double value, const double *x, double *next, double *next_value, double *next_gradient)
{
	double uphill = dot(direction, gradient, n), length = 1;

	for (int tries = 0; tries < 40; tries++, length *= 0.4)
	{
		for (int i = 0; i < n; i++)
			next[i] = bounded(x[i] + length * direction[i]);
		if (!function(ctx, next, next_value, next_gradient))
			return -1;
		if (isfinite(*next_value) && *next_value >= value + 1e-4 * length * uphill)
			return 1;
	}
	return 0;
}

void
pe_climb(pe_likelihood function, void *ctx, int n, int most_steps, pe_optimum *optimum)
{
	double inverse[N][N] = {{0}}, gradient[N], direction[N], next[N], next_value, next_gradient[N];
	int idle = 0;

	optimum->stopped = !function(ctx, optimum->x, &optimum->value, gradient);
	optimum->converged = false;
	reset_inverse(inverse, gradient, n);
	for (int steps = 0; steps < most_steps && !optimum->stopped && isfinite(optimum->value); steps++)
	{
		double step[N], change[N], gained;
		int moved;

		direction_of(inverse, gradient, n, direction);
		moved = search_line(function, ctx, n, direction, gradient, optimum->value, optimum->x, next,
		                    &next_value, next_gradient);
		optimum->stopped = moved < 0;
		if (moved <= 0)
		{
			optimum->converged = moved == 0;
			return;
		}
		for (int i = 0; i < n; i++)
		{
			step[i] = next[i] - optimum->x[i];
			change[i] = gradient[i] - next_gradient[i];
		}
		/* The first curvature seen sets the scale of all directions. */
		if (steps == 0 && dot(step, change, n) > 0)
			for (int i = 0; i < n; i++)
				inverse[i][i] = dot(step, change, n) / dot(change, change, n);
		update_inverse(inverse, step, change, n);
		gained = next_value - optimum->value;
		memcpy(optimum->x, next, sizeof(next));
		memcpy(gradient, next_gradient, sizeof(gradient));
		optimum->value = next_value;
		idle = gained < SAME_VALUE * fabs(next_value) ? idle + 1 : 0;
		if (idle >= 2 || sqrt(dot(gradient, gradient, n)) < SMALL_GRADIENT * (1 + fabs(next_value)))
		{
			optimum->converged = true;
			return;
		}
	}
}

/* ---- at the top --------------------------------------------------------------------------- */

/* The information: minus the Hessian, symmetric, from central differences of the gradient. */
static bool
information_at(pe_likelihood function, void *ctx, int n, const double *x, double information[N][N])
{
	const double h = 1e-4;

	for (int i = 0; i < n; i++)
	{
		double moved[N], value, up[N], down[N];

		memcpy(moved, x, sizeof(moved));
		moved[i] = x[i] + h;
		if (!function(ctx, moved, &value, up))
			return false;
		moved[i] = x[i] - h;
		if (!function(ctx, moved, &value, down))
			return false;
		for (int j = 0; j < n; j++)
			information[i][j] = (down[j] - up[j]) / (2 * h);
	}
	for (int i = 0; i < n; i++)
		for (int j = 0; j < i; j++)
			information[i][j] = information[j][i] = 0.5 * (information[i][j] + information[j][i]);
	return true;
}

/* The inverse, by Gauss and Jordan; false when it is not positive definite. */
static bool
invert(const double information[N][N], int n, double inverse[N][N])
{
	double a[N][2 * N] = {{0}};

	for (int i = 0; i < n; i++)
	{
		memcpy(a[i], information[i], n * sizeof(double));
		a[i][n + i] = 1;
	}
	for (int i = 0; i < n; i++)
	{
		/* Without exchanges: pivots of a positive definite matrix are positive. */
		if (!(a[i][i] > 1e-12 * fabs(information[i][i]) && a[i][i] > 0))
			return false;
		for (int j = 2 * n - 1; j >= i; j--)
			a[i][j] /= a[i][i];
		for (int k = 0; k < n; k++)
			for (int j = 2 * n - 1; k != i && j >= i; j--)
				a[k][j] -= a[k][i] * a[i][j];
	}
	for (int i = 0; i < n; i++)
		memcpy(inverse[i], a[i] + n, n * sizeof(double));
	return true;
}

/* Which parameters are known, when the information of all of them together is singular. */
static void
flat_errors(const double information[N][N], int n, pe_optimum *optimum)
{
	double kept[N][N] = {{0}}, inverse[N][N];
	int index[N], m = 0;

	for (int i = 0; i < n; i++)
	{
		index[m] = i;
		for (int j = 0; j <= m; j++)
			kept[m][j] = kept[j][m] = information[i][index[j]];
		/* A direction in which the likelihood hardly bends is left out. */
		if (information[i][i] * FLAT_ERROR * FLAT_ERROR > 1 &&
		    invert((const double(*)[N]) kept, m + 1, inverse) && sqrt(inverse[m][m]) < FLAT_ERROR)
			m++;
	}
	for (int i = 0; i < n; i++)
		optimum->errors[i] = NAN;
	for (int i = 0; i < m; i++)
		for (int j = 0; j <= i; j++)
			kept[i][j] = kept[j][i] = information[index[i]][index[j]];
	if (m > 0 && invert((const double(*)[N]) kept, m, inverse))
		for (int i = 0; i < m; i++)
			optimum->errors[index[i]] = sqrt(inverse[i][i]);
}

void
pe_polish(pe_likelihood function, void *ctx, int n, pe_optimum *optimum)
{
	double information[N][N], inverse[N][N], value, gradient[N];

	optimum->identified = false;
	for (int i = 0; i < n; i++)
		optimum->errors[i] = NAN;
	for (int steps = 0; steps < 6 && !optimum->stopped; steps++)
	{
		double next[N], next_value, next_gradient[N], longest = 0;

		if (!function(ctx, optimum->x, &value, gradient) ||
		    !information_at(function, ctx, n, optimum->x, information))
		{
			optimum->stopped = true;
			return;
		}
		if (!invert((const double(*)[N]) information, n, inverse))
			break;
		for (int i = 0; i < n; i++)
			longest = fmax(longest, sqrt(inverse[i][i]));
		if (!(longest < FLAT_ERROR))
			break;
		for (int i = 0; i < n; i++)
			optimum->errors[i] = sqrt(inverse[i][i]);
		optimum->identified = true;
		memcpy(next, optimum->x, sizeof(next));
		longest = 0;
		for (int i = 0; i < n; i++)
		{
			double step = dot(inverse[i], gradient, n);

			next[i] = bounded(next[i] + step);
			longest = fmax(longest, fabs(step));
		}
		if (longest > 0.5 || !function(ctx, next, &next_value, next_gradient) ||
		    !(next_value >= value - SAME_VALUE * fabs(value)))
			return;
		memcpy(optimum->x, next, sizeof(next));
		optimum->value = next_value;
		if (longest < 1e-9)
			return;
	}
	if (!optimum->identified)
		flat_errors((const double(*)[N]) information, n, optimum);
}
