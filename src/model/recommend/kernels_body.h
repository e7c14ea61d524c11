/*
 * kernels_body.h
 *		The inner loops, compiled twice by kernels.c: NAME(x) names them apart and
 *		TARGET says for which CPU.
 *
 * Lanes are spelled out: 8 floats (or doubles) are multiplied and added lane by lane, and
 * lanes are summed in one fixed order, so that both compilations give the same bits.
 * width is a multiple of PE_WIDTH_STEP; what is beyond the factors is zero everywhere.
 */

TARGET static inline half_lanes
NAME(halves)(const lanes *sums)
{
	union
	{
		lanes whole;
		half_lanes half[2];
	} both = {*sums};

	return both.half[0] + both.half[1];
}

TARGET static inline float
NAME(sum)(const lanes *sums)
{
	lanes v = *sums;

	return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

/* The sums of four, each in the order of the one above, put side by side. */
TARGET static inline void
NAME(sum4)(const lanes *sums, float *out)
{
	half_lanes a = NAME(halves)(&sums[0]), b = NAME(halves)(&sums[1]);
	half_lanes c = NAME(halves)(&sums[2]), d = NAME(halves)(&sums[3]);
	half_lanes ab = shuffle(a, b, 0, 4, 1, 5) + shuffle(a, b, 2, 6, 3, 7);
	half_lanes cd = shuffle(c, d, 0, 4, 1, 5) + shuffle(c, d, 2, 6, 3, 7);

	*(loose_half_lanes *) out = shuffle(ab, cd, 0, 1, 4, 5) + shuffle(ab, cd, 2, 3, 6, 7);
}

/* The dot products of x with four rows. */
TARGET static inline void
NAME(dot4)(const float *x, const float *r0, const float *r1, const float *r2, const float *r3, int width,
           float *out)
{
	lanes sums[4] = {{0}};

	for (int i = 0; i < width; i += 8)
	{
		lanes v = load(x + i);

		sums[0] += v * load(r0 + i);
		sums[1] += v * load(r1 + i);
		sums[2] += v * load(r2 + i);
		sums[3] += v * load(r3 + i);
	}
	NAME(sum4)(sums, out);
}

TARGET static inline float
NAME(dot)(const float *x, const float *row, int width)
{
	lanes sum = {0};

	for (int i = 0; i < width; i += 8)
		sum += load(x + i) * load(row + i);
	return NAME(sum)(&sum);
}

TARGET static void
NAME(dots)(const float *x, const float *rows, size_t count, int width, float *out)
{
	size_t i = 0;

	for (; i + 4 <= count; i += 4)
	{
		const float *row = rows + i * width;

		NAME(dot4)(x, row, row + width, row + 2 * width, row + 3 * width, width, out + i);
	}
	for (; i < count; i++)
		out[i] = NAME(dot)(x, rows + i * width, width);
}

/* 4 x 8 cells of rows' rows at (i, j), added to gram. */
TARGET static inline void
NAME(gram_tile)(const float *rows, size_t count, int width, int i, int j, double *gram)
{
	lanes s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
	float sums[4][8] __attribute__((aligned(32)));

	for (size_t row = 0; row < count; row++)
	{
		const float *at = rows + row * width;
		lanes v = load(at + j);

		s0 += at[i] * v;
		s1 += at[i + 1] * v;
		s2 += at[i + 2] * v;
		s3 += at[i + 3] * v;
	}
	store(sums[0], s0);
	store(sums[1], s1);
	store(sums[2], s2);
	store(sums[3], s3);
	for (int a = 0; a < 4; a++)
		for (int b = 0; b < 8; b++)
			gram[(size_t) (i + a) * width + j + b] += sums[a][b];
}

TARGET static void
NAME(gram)(const float *rows, size_t count, int width, double *gram)
{
	for (size_t start = 0; start < count; start += GRAM_ROWS)
	{
		size_t here = count - start < GRAM_ROWS ? count - start : GRAM_ROWS;

		for (int i = 0; i < width; i += 4)
			for (int j = i / 8 * 8; j < width; j += 8)
				NAME(gram_tile)(rows + start * width, here, width, i, j, gram);
	}
}

/* ---- conjugate gradients --------------------------------------------------------------- */

/* q = gram p: 32 columns at a time, two rows at a time into sums of their own. */
TARGET static inline void
NAME(multiply)(const float *gram, const float *p, int width, float *q)
{
	for (int j = 0; j < width; j += 32)
	{
		lanes a0 = {0}, a1 = {0}, a2 = {0}, a3 = {0}, b0 = {0}, b1 = {0}, b2 = {0}, b3 = {0};
		const float *at = gram + j;

		for (int k = 0; k < width; k += 2)
		{
			float pa = p[k], pb = p[k + 1];

			a0 += pa * load(at);
			a1 += pa * load(at + 8);
			a2 += pa * load(at + 16);
			a3 += pa * load(at + 24);
			at += width;
			b0 += pb * load(at);
			b1 += pb * load(at + 8);
			b2 += pb * load(at + 16);
			b3 += pb * load(at + 24);
			at += width;
		}
		store(q + j, a0 + b0);
		store(q + j + 8, a1 + b1);
		store(q + j + 16, a2 + b2);
		store(q + j + 24, a3 + b3);
	}
}

static inline float
NAME(weight)(const pe_row_problem *problem, uint32_t cell)
{
	return problem->values != NULL ? problem->alpha * problem->values[cell] : problem->alpha;
}

/*
 * q += base w_plus (y.p) y over the row's cells: with first the coefficient is
 * 1 + w - w (y.p) instead, which makes the first residual of what is in q. False when
 * the team was told to stop.
 */
TARGET static inline bool
NAME(gather)(const pe_row_problem *problem, const float *p, bool first, float *q)
{
	int width = problem->width;
	uint32_t cell = 0;

	for (; cell + 4 <= problem->count; cell += 4)
	{
		const uint32_t *columns = problem->columns + cell;
		const float *r0 = problem->factors + (size_t) columns[0] * width;
		const float *r1 = problem->factors + (size_t) columns[1] * width;
		const float *r2 = problem->factors + (size_t) columns[2] * width;
		const float *r3 = problem->factors + (size_t) columns[3] * width;
		float s[4];

		if (cell % PE_POLL_CELLS == PE_POLL_CELLS - 4 && problem->team != NULL &&
		    pe_team_poll(problem->team, problem->thread))
			return false;
		NAME(dot4)(p, r0, r1, r2, r3, width, s);
		for (int i = 0; i < 4; i++)
		{
			float w = NAME(weight)(problem, cell + i);

			s[i] = first ? 1 + w - w * s[i] : w * s[i];
		}
		for (int i = 0; i < width; i += 8)
			store(q + i, load(q + i) + ((s[0] * load(r0 + i) + s[1] * load(r1 + i)) +
			                            (s[2] * load(r2 + i) + s[3] * load(r3 + i))));
	}
	for (; cell < problem->count; cell++)
	{
		const float *row = problem->factors + (size_t) problem->columns[cell] * width;
		float w = NAME(weight)(problem, cell), s = NAME(dot)(p, row, width);

		s = first ? 1 + w - w * s : w * s;
		for (int i = 0; i < width; i += 8)
			store(q + i, load(q + i) + s * load(row + i));
	}
	return true;
}

TARGET static void
NAME(conjugate)(const pe_row_problem *problem, const float *gram, int steps, float *x)
{
	float r[PE_MAX_FACTORS] __attribute__((aligned(32)));
	float p[PE_MAX_FACTORS] __attribute__((aligned(32)));
	float q[PE_MAX_FACTORS] __attribute__((aligned(32)));
	int width = problem->width;
	float before;

	/* r = b - A x */
	NAME(multiply)(gram, x, width, r);
	for (int i = 0; i < width; i += 8)
		store(r + i, -load(r + i));
	if (!NAME(gather)(problem, x, true, r))
		return;
	memcpy(p, r, width * sizeof(float));
	before = NAME(dot)(r, r, width);
	for (int step = 0; step < steps && before > 1e-20f; step++)
	{
		float along, length, after;

		NAME(multiply)(gram, p, width, q);
		if (!NAME(gather)(problem, p, false, q))
			return;
		along = NAME(dot)(p, q, width);
		if (!(along > 0))
			return;
		length = before / along;
		for (int i = 0; i < width; i += 8)
		{
			store(x + i, load(x + i) + length * load(p + i));
			store(r + i, load(r + i) - length * load(q + i));
		}
		after = NAME(dot)(r, r, width);
		for (int i = 0; i < width; i += 8)
			store(p + i, load(r + i) + after / before * load(p + i));
		before = after;
	}
}

/* ---- exactly --------------------------------------------------------------------------- */

/* a[j..] += s * v[j..], from a multiple of 8 on */
TARGET static inline void
NAME(add_scaled)(double *a, double s, const double *v, int from, int width)
{
	for (int j = from / 8 * 8; j < width; j += 8)
		store_double(a + j, load_double(a + j) + s * load_double(v + j));
}

/* The upper triangle of A and the right-hand side b in doubles, from the row's cells. */
TARGET static bool
NAME(set_up)(const pe_row_problem *problem, const double *gram, int factors, double *a, double *b)
{
	double y[PE_MAX_FACTORS] __attribute__((aligned(64)));
	int width = problem->width;

	memcpy(a, gram, (size_t) width * width * sizeof(double));
	memset(b, 0, width * sizeof(double));
	for (uint32_t cell = 0; cell < problem->count; cell++)
	{
		const float *row = problem->factors + (size_t) problem->columns[cell] * width;
		double w = NAME(weight)(problem, cell);

		if (cell % 512 == 511 && problem->team != NULL && pe_team_poll(problem->team, problem->thread))
			return false;
		for (int j = 0; j < width; j++)
			y[j] = row[j];
		for (int i = 0; i < factors; i++)
			NAME(add_scaled)(a + (size_t) i * width, w * y[i], y, i, width);
		NAME(add_scaled)(b, 1 + w, y, 0, width);
	}
	return true;
}

TARGET static bool
NAME(exact)(const pe_row_problem *problem, const double *gram, int factors, double *scratch, float *x)
{
	int width = problem->width;
	double *a = scratch, *b = scratch + (size_t) width * width;

	if (!NAME(set_up)(problem, gram, factors, a, b))
		return true; /* stopped: nobody will look at x */
	/* A = U'U row by row; U takes A's place, and U'z = b is solved along the way. */
	for (int k = 0; k < factors; k++)
	{
		double *row = a + (size_t) k * width, pivot = row[k];

		if (!(pivot > 0) || !isfinite(pivot))
			return false;
		pivot = 1 / sqrt(pivot);
		for (int j = k / 8 * 8; j < width; j += 8)
			store_double(row + j, load_double(row + j) * pivot);
		b[k] *= pivot;
		for (int i = k + 1; i < factors; i++)
		{
			NAME(add_scaled)(a + (size_t) i * width, -row[i], row, i, width);
			b[i] -= row[i] * b[k];
		}
	}
	for (int k = factors - 1; k >= 0; k--)
	{
		const double *row = a + (size_t) k * width;
		double sum = b[k];

		for (int j = k + 1; j < factors; j++)
			sum -= row[j] * b[j];
		b[k] = sum / row[k];
	}
	for (int j = 0; j < width; j++)
		x[j] = j < factors ? (float) b[j] : 0;
	return true;
}
