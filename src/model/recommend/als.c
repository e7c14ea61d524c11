/*
 * als.c
 *		Implicit feedback by alternating least squares: Hu, Koren, Volinsky,
 *		"Collaborative Filtering for Implicit Feedback Datasets", 2008.
 *
 * Every user u and item i has a preference p, 1 when u took i and 0 else, and a
 * confidence c, 1 + alpha * strength and 1. Minimised is
 *		sum over all u, i of c (p - x_u . y_i)^2 + regularization (sum |x_u|^2 + sum |y_i|^2)
 * by solving for all x with the y fixed and the other way round. With the Gramian
 * G = Y'Y + regularization I of the fixed side, a row's equations are
 *		(G + sum of (c - 1) y y') x = sum of c y
 * over the row's cells alone. A few steps of conjugate gradients from the last sweep's
 * solution do nearly as well as solving them (Takacs, Pilaszy, Tikk 2011), and every
 * step lowers the objective.
 */
#include "model/recommend/internal.h"

#define INITIAL_DEVIATION 0.01
#define CHUNK_COST        16384 /* cells of a chunk of rows, each row counting ROW_COST more */
#define ROW_COST          24
#define GRAM_CHUNK        4096 /* rows whose products one item of work sums */
#define LOSS_CHUNK        1024

/* ---- Gramian --------------------------------------------------------------------------- */

typedef struct gram_work
{
	pe_team *team;
	const pe_kernels *kernels;
	const float *rows;
	uint32_t count;
	int width;
	double *parts;
} gram_work;

static void
gram_chunk(void *ctx, uint32_t item, int thread)
{
	const gram_work *work = ctx;
	double *part = work->parts + (size_t) item * work->width * work->width;
	uint32_t start = item * GRAM_CHUNK;
	uint32_t here = work->count - start < GRAM_CHUNK ? work->count - start : GRAM_CHUNK;
	uint32_t step = 1 + (uint32_t) (16000000 / ((size_t) work->width * work->width));

	memset(part, 0, (size_t) work->width * work->width * sizeof(double));
	for (uint32_t done = 0; done < here; done += step)
	{
		if (pe_team_poll(work->team, thread))
			return;
		work->kernels->gram(work->rows + (size_t) (start + done) * work->width,
		                    here - done < step ? here - done : step, work->width, part);
	}
}

size_t
pe_gramian_parts(uint32_t count, int width)
{
	return ((size_t) count / GRAM_CHUNK + 1) * width * width;
}

bool
pe_gramian(pe_team *team, const pe_kernels *kernels, const float *rows, uint32_t count, int width,
           int factors, double diagonal, double *parts, double *gram)
{
	gram_work work = {team, kernels, rows, count, width, parts};
	uint32_t chunks = (count + GRAM_CHUNK - 1) / GRAM_CHUNK;
	size_t cells = (size_t) width * width;

	if (!pe_team_run(team, gram_chunk, &work, chunks))
		return false;
	memset(gram, 0, cells * sizeof(double));
	/* Parts are cut by row number and added in order, whoever made them. */
	for (uint32_t chunk = 0; chunk < chunks; chunk++)
		for (size_t i = 0; i < cells; i++)
			gram[i] += parts[chunk * cells + i];
	for (int i = 0; i < width; i++)
	{
		for (int j = 0; j < i; j++)
			gram[(size_t) i * width + j] = gram[(size_t) j * width + i];
		gram[(size_t) i * width + i] += i < factors ? diagonal : 0;
	}
	return true;
}

/* ---- half a sweep ---------------------------------------------------------------------- */

typedef struct half
{
	pe_team *team;
	const pe_kernels *kernels;
	const pe_recommend_options *options;
	const pe_sparse *matrix; /* whose rows are solved for */
	const float *fixed;      /* [columns][width] */
	float *solved;           /* [rows][width] */
	int width;
	double *gram;
	float *gram_floats;
	double *parts;
	double *scratch;  /* [threads][width + 1][width], exact only */
	uint32_t *chunks; /* first row of each, and one more */
	uint32_t n_chunks;
} half;

static void
solve_chunk(void *ctx, uint32_t item, int thread)
{
	const half *work = ctx;
	const pe_sparse *matrix = work->matrix;
	int width = work->width;

	for (uint32_t row = work->chunks[item]; row < work->chunks[item + 1]; row++)
	{
		uint32_t start = matrix->starts[row];
		float *x = work->solved + (size_t) row * width;
		pe_row_problem problem = {work->fixed,
		                          width,
		                          matrix->columns + start,
		                          matrix->values != NULL ? matrix->values + start : NULL,
		                          matrix->starts[row + 1] - start,
		                          (float) work->options->alpha,
		                          work->team,
		                          thread};

		if (pe_team_poll(work->team, thread))
			return;
		if (problem.count == 0)
			memset(x, 0, width * sizeof(float));
		else if (work->options->solver == PE_SOLVER_CG)
			work->kernels->conjugate(&problem, work->gram_floats, work->options->cg_steps, x);
		else if (!work->kernels->exact(&problem, work->gram, work->options->factors,
		                               work->scratch + (size_t) thread * width * (width + 1), x))
			work->kernels->conjugate(&problem, work->gram_floats, work->options->factors, x);
	}
}

static bool
solve_half(half *work)
{
	size_t cells = (size_t) work->width * work->width;

	if (!pe_gramian(work->team, work->kernels, work->fixed, work->matrix->columns_count, work->width,
	                work->options->factors, work->options->regularization, work->parts, work->gram))
		return false;
	for (size_t i = 0; i < cells; i++)
		work->gram_floats[i] = (float) work->gram[i];
	return pe_team_run(work->team, solve_chunk, work, work->n_chunks);
}

/* Cuts the rows into chunks of about the same work; a long row is one by itself. */
static bool
cut_rows(const pe_env *env, half *work)
{
	const pe_sparse *matrix = work->matrix;
	size_t most = ((size_t) pe_sparse_cells(matrix) + (size_t) matrix->rows * ROW_COST) / CHUNK_COST * 2 + 2;
	size_t cost = 0;

	work->chunks = pe_calloc(env, (most < matrix->rows ? most : matrix->rows) + 2, sizeof(uint32_t));
	if (work->chunks == NULL)
		return false;
	for (uint32_t row = 0; row < matrix->rows; row++)
	{
		size_t here = (size_t) matrix->starts[row + 1] - matrix->starts[row] + ROW_COST;

		if (cost > 0 && cost + here > CHUNK_COST)
		{
			work->chunks[++work->n_chunks] = row;
			cost = 0;
		}
		cost += here;
	}
	work->chunks[++work->n_chunks] = matrix->rows;
	return true;
}

/* ---- the objective --------------------------------------------------------------------- */

typedef struct loss_work
{
	pe_team *team;
	const pe_sparse *by_user;
	const float *users;
	const float *items;
	int width;
	double alpha;
	double *parts;
} loss_work;

/* What the taken cells change: c (1 - s)^2 instead of s^2. */
static void
loss_chunk(void *ctx, uint32_t item, int thread)
{
	const loss_work *work = ctx;
	const pe_sparse *matrix = work->by_user;
	uint32_t end = matrix->rows - item * LOSS_CHUNK < LOSS_CHUNK ? matrix->rows : (item + 1) * LOSS_CHUNK;
	double sum = 0;

	for (uint32_t row = item * LOSS_CHUNK; row < end; row++)
	{
		const float *x = work->users + (size_t) row * work->width;

		for (uint32_t cell = matrix->starts[row]; cell < matrix->starts[row + 1]; cell++)
		{
			const float *y = work->items + (size_t) matrix->columns[cell] * work->width;
			double c = 1 + work->alpha * (matrix->values != NULL ? matrix->values[cell] : 1), s = 0;

			for (int i = 0; i < work->width; i++)
				s += (double) x[i] * y[i];
			sum += c * (1 - s) * (1 - s) - s * s;
			if (cell % 4096 == 0 && pe_team_poll(work->team, thread))
				return;
		}
		if (pe_team_poll(work->team, thread))
			return;
	}
	work->parts[item] = sum;
}

pe_status
pe_als_objective(const pe_env *env, pe_team *team, const pe_sparse *by_user, const float *users,
                 const float *items, int width, double alpha, double regularization, double *objective,
                 pe_error *err)
{
	size_t cells = (size_t) width * width;
	uint32_t chunks = (by_user->rows + LOSS_CHUNK - 1) / LOSS_CHUNK;
	uint32_t more = by_user->rows > by_user->columns_count ? by_user->rows : by_user->columns_count;
	double *parts = pe_calloc(env, pe_gramian_parts(more, width) + chunks, sizeof(double));
	double *grams = pe_calloc(env, 2 * cells, sizeof(double));
	loss_work work = {team, by_user, users, items, width, alpha, parts};
	const pe_kernels *kernels = pe_recommend_kernels();
	double sum = 0, squares = 0;
	pe_status status = PE_OK;

	if (parts == NULL || grams == NULL)
		status = pe_fail_memory(err);
	else if (!pe_gramian(team, kernels, users, by_user->rows, width, width, 0, parts, grams) ||
	         !pe_gramian(team, kernels, items, by_user->columns_count, width, width, 0, parts,
	                     grams + cells) ||
	         !pe_team_run(team, loss_chunk, &work, chunks))
		status = pe_fail(err, PE_CANCELLED, "cancelled");
	if (status == PE_OK)
	{
		/* The sum of all (x.y)^2 is the trace of the product of the two Gramians. */
		for (size_t i = 0; i < cells; i++)
			sum += grams[i] * grams[cells + i];
		for (int i = 0; i < width; i++)
			squares += grams[(size_t) i * (width + 1)] + grams[cells + (size_t) i * (width + 1)];
		for (uint32_t i = 0; i < chunks; i++)
			sum += parts[i];
		*objective = sum + regularization * squares;
	}
	pe_free(env, parts);
	pe_free(env, grams);
	return status;
}

/* ---- fitting --------------------------------------------------------------------------- */

/* Nearly normal, of deviation 1: the sum of four draws of 16 bits, which is the same on every machine. */
static double
draw(uint64_t seed, uint64_t cell)
{
	uint64_t bits = pe_recommend_mix(pe_recommend_mix(seed * UINT64_C(0x9e3779b97f4a7c15) + 1) ^
	                                 (cell * UINT64_C(0xd1342543de82ef95)));
	double sum = (double) (bits & 0xFFFF) + (double) (bits >> 16 & 0xFFFF) + (double) (bits >> 32 & 0xFFFF) +
	             (double) (bits >> 48);

	return (sum / 65535 - 2) * 1.7320508075688772;
}

static void
start_factors(const pe_recommend_options *options, uint32_t items, int width, float *factors)
{
	for (uint32_t item = 0; item < items; item++)
		for (int i = 0; i < width; i++)
			factors[(size_t) item * width + i] =
			    i < options->factors
			        ? (float) (INITIAL_DEVIATION *
			                   draw(options->seed, (uint64_t) item * PE_MAX_FACTORS + (uint64_t) i))
			        : 0;
}

static pe_status
prepare_half(const pe_env *env, half *work, size_t parts, pe_error *err)
{
	size_t cells = (size_t) work->width * work->width;
	size_t exact = work->options->solver == PE_SOLVER_CG ? 0 : cells + work->width;

	work->gram = pe_calloc(env, cells, sizeof(double));
	work->gram_floats = pe_calloc(env, cells, sizeof(float));
	work->parts = pe_calloc(env, parts, sizeof(double));
	work->scratch = pe_calloc(env, exact * pe_team_threads(work->team), sizeof(double));
	if (work->gram == NULL || work->gram_floats == NULL || work->parts == NULL || work->scratch == NULL ||
	    !cut_rows(env, work))
		return pe_fail_memory(err);
	return PE_OK;
}

static void
free_half(const pe_env *env, half *work)
{
	pe_free(env, work->gram);
	pe_free(env, work->gram_floats);
	pe_free(env, work->parts);
	pe_free(env, work->scratch);
	pe_free(env, work->chunks);
}

pe_status
pe_als_fit(const pe_env *env, pe_team *team, const pe_sparse *by_user, const pe_sparse *by_item,
           const pe_recommend_options *options, const pe_kernels *kernels, float *factors, double *objective,
           double *losses, pe_error *err)
{
	int width = pe_width(options->factors);
	float *users = pe_calloc(env, (size_t) by_user->rows * width, sizeof(float));
	half for_users = {.team = team,
	                  .kernels = kernels,
	                  .options = options,
	                  .matrix = by_user,
	                  .fixed = factors,
	                  .solved = users,
	                  .width = width};
	half for_items = {.team = team,
	                  .kernels = kernels,
	                  .options = options,
	                  .matrix = by_item,
	                  .fixed = users,
	                  .solved = factors,
	                  .width = width};
	pe_status status = PE_OK;

	if (users == NULL)
		return pe_fail_memory(err);
	start_factors(options, by_item->rows, width, factors);
	status = prepare_half(env, &for_users, pe_gramian_parts(by_item->rows, width), err);
	if (status == PE_OK)
		status = prepare_half(env, &for_items, pe_gramian_parts(by_user->rows, width), err);
	for (int sweep = 0; sweep < options->iterations && status == PE_OK; sweep++)
	{
		pe_team_phase(team, "fit", (uint64_t) sweep, (uint64_t) options->iterations);
		if (!solve_half(&for_users) || !solve_half(&for_items))
			status = pe_fail(err, PE_CANCELLED, "cancelled");
		if (status == PE_OK && losses != NULL)
			status = pe_als_objective(env, team, by_user, users, factors, width, options->alpha,
			                          options->regularization, &losses[sweep], err);
	}
	if (status == PE_OK && objective != NULL)
		status = pe_als_objective(env, team, by_user, users, factors, width, options->alpha,
		                          options->regularization, objective, err);
	free_half(env, &for_users);
	free_half(env, &for_items);
	pe_free(env, users);
	return status;
}

size_t
pe_als_memory(uint32_t users, uint32_t items, const pe_recommend_options *options)
{
	size_t width = (size_t) pe_width(options->factors), cells = width * width;
	size_t factors = ((size_t) users + 2 * (size_t) items) * width * sizeof(float);
	size_t parts = (pe_gramian_parts(users, (int) width) + pe_gramian_parts(items, (int) width)) * 8 * 2;

	return factors + parts + cells * 48 + (size_t) options->threads * (cells + width) * 16;
}
