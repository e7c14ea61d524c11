/*
 * quadratic.c
 *		Coordinate descent with an active set, and where that is slow, because columns are
 *		alike, the active coefficients' equations solved directly.
 */
#include "model/linear/quadratic.h"
#include "model/linalg.h"

#define MOST_SWEEPS  2000
#define SWEEPS_FIRST 20  /* of the active set, before its equations are tried */
#define MOST_DIRECT  512 /* equations; more are left to the sweeps */

bool
pe_quadratic_create(const pe_env *env, size_t m, pe_quadratic *q)
{
	size_t direct = m < MOST_DIRECT ? m : MOST_DIRECT;

	memset(q, 0, sizeof(*q));
	q->m = m;
	q->matrix = pe_calloc(env, m * m, sizeof(double));
	q->b = pe_calloc(env, m, sizeof(double));
	q->gradient = pe_calloc(env, m, sizeof(double));
	q->active = pe_calloc(env, m, sizeof(bool));
	q->places = pe_calloc(env, m, sizeof(size_t));
	q->factor = pe_calloc(env, direct * (direct + 1) / 2, sizeof(double));
	q->solution = pe_calloc(env, m, sizeof(double));
	q->skip = pe_calloc(env, m, sizeof(bool));
	return q->matrix != NULL && q->b != NULL && q->gradient != NULL && q->active != NULL &&
	       q->places != NULL && q->factor != NULL && q->solution != NULL && q->skip != NULL;
}

void
pe_quadratic_free(const pe_env *env, pe_quadratic *q)
{
	pe_free(env, q->matrix);
	pe_free(env, q->b);
	pe_free(env, q->gradient);
	pe_free(env, q->active);
	pe_free(env, q->places);
	pe_free(env, q->factor);
	pe_free(env, q->solution);
	pe_free(env, q->skip);
}

void
pe_quadratic_set(pe_quadratic *q, size_t row, size_t column, double value)
{
	q->matrix[row * q->m + column] = q->matrix[column * q->m + row] = value;
}

static inline double
soft(double x, double threshold)
{
	return x > threshold ? x - threshold : x < -threshold ? x + threshold : 0;
}

/* Set one coefficient to its best; returns by how much that changes its own gradient. */
static double
improve(pe_quadratic *q, size_t j, double l1, double l2)
{
	double bend = q->matrix[j * q->m + j], old = q->b[j], change;

	if (!(bend + l2 > 0))
		return 0;
	q->b[j] = soft(q->gradient[j] + bend * old, l1) / (bend + l2);
	change = q->b[j] - old;
	if (change != 0)
		pe_add_scaled(q->gradient, -change, q->matrix + j * q->m, q->m);
	return fabs(change) * (bend + l2);
}

static double
missed(const pe_quadratic *q, size_t j, double l1, double l2)
{
	double off = q->b[j] == 0 ? fabs(q->gradient[j]) - l1
	                          : fabs(q->gradient[j] - l2 * q->b[j] - copysign(l1, q->b[j]));

	return off > 0 ? off : 0;
}

/*
 * The active coefficients' equations with the signs they have. Taken only when no sign
 * changes and the equations have one solution. False when not taken.
 */
static bool
solve_directly(pe_quadratic *q, pe_team *pool, double l1, double l2)
{
	size_t count = 0;

	for (size_t j = 0; j < q->m; j++)
		if (q->b[j] != 0)
			q->places[count++] = j;
	if (count == 0 || count > MOST_DIRECT)
		return false;
	for (size_t i = 0; i < count; i++)
	{
		size_t row = q->places[i];

		for (size_t k = 0; k <= i; k++)
			q->factor[pe_packed(i, k)] = q->matrix[row * q->m + q->places[k]] + (i == k ? l2 : 0);
		q->solution[i] = q->gradient[row] - l2 * q->b[row] - copysign(l1, q->b[row]);
		q->skip[i] = false;
	}
	if (!pe_cholesky(pool, q->factor, count, 1e-12, q->skip))
		return false;
	for (size_t i = 0; i < count; i++)
		if (q->skip[i])
			return false;
	pe_solve_lower(q->factor, count, q->skip, q->solution);
	pe_solve_upper(q->factor, count, q->skip, q->solution);
	for (size_t i = 0; i < count; i++)
	{
		double to = q->b[q->places[i]] + q->solution[i];

		if (!(to * q->b[q->places[i]] > 0))
			return false;
	}
	for (size_t i = 0; i < count; i++)
	{
		q->b[q->places[i]] += q->solution[i];
		pe_add_scaled(q->gradient, -q->solution[i], q->matrix + q->places[i] * q->m, q->m);
	}
	return true;
}

/* Sweeps over the active set until it rests, a number of times at most. */
static bool
sweep_active(pe_quadratic *q, pe_team *pool, double l1, double l2, double tolerance, int most)
{
	for (int sweep = 0; sweep < most; sweep++)
	{
		double largest = 0;

		if (pe_team_poll(pool, 0))
			return false;
		for (size_t j = 0; j < q->m; j++)
			if (q->active[j])
				largest = fmax(largest, improve(q, j, l1, l2));
		if (largest <= tolerance)
			break;
	}
	return true;
}

bool
pe_quadratic_solve(pe_quadratic *q, pe_team *pool, double l1, double l2, double tolerance)
{
	for (size_t j = 0; j < q->m; j++)
		q->active[j] = q->b[j] != 0;
	for (int round = 0; round < MOST_SWEEPS / SWEEPS_FIRST; round++)
	{
		double worst = 0;

		if (!sweep_active(q, pool, l1, l2, tolerance / 4, SWEEPS_FIRST))
			return false;
		(void) solve_directly(q, pool, l1, l2);
		/* Who breaks a condition comes in. */
		for (size_t j = 0; j < q->m; j++)
		{
			double off = missed(q, j, l1, l2);

			worst = off > worst ? off : worst;
			if (off > 0)
				q->active[j] = true;
		}
		if (worst <= tolerance)
			break;
		if (pe_team_poll(pool, 0))
			return false;
	}
	return true;
}
