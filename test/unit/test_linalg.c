/* The linear algebra and the tail areas. */
#include "model/internal.h"
#include "model/linalg.h"
#include "model_data.h"

static tap_memory memory;

static void
factor(pe_team *pool)
{
	enum
	{
		N = 37
	};
	double z[N][64], packed[N * (N + 1) / 2], original[N * (N + 1) / 2], lower[N * N] = {0}, b[N], x[N],
	                                                                               worst = 0;
	bool skip[N] = {false};
	uint64_t state = 1;

	for (int i = 0; i < N; i++)
		for (int r = 0; r < 64; r++)
			z[i][r] = data_uniform(&state) - 0.5;
	for (int r = 0; r < 64; r++)
		z[20][r] = z[3][r] - 2 * z[7][r];
	pe_syrk(z[0], z[0], 64, N, 63, lower);
	for (int i = 0; i < N; i++)
		for (int j = 0; j <= i; j++)
		{
			double sum = 0;

			for (int r = 0; r < 63; r++)
				sum += z[i][r] * z[j][r];
			worst = fmax(worst, fabs(sum - lower[i * N + j]));
			packed[pe_packed(i, j)] = original[pe_packed(j, i)] = lower[i * N + j];
		}
	OK(worst < 1e-12, "the symmetric update (%g)", worst);
	OK(pe_cholesky(pool, packed, N, 1e-10, skip), "the factor");
	for (int i = 0; i < N; i++)
		if (skip[i] != (i == 20))
			worst = 1;
	OK(worst < 1, "drops the dependent column, and only that");
	for (int i = 0; i < N; i++)
		x[i] = b[i] = data_uniform(&state);
	pe_solve_lower(packed, N, skip, x);
	pe_solve_upper(packed, N, skip, x);
	worst = 0;
	for (int i = 0; i < N; i++)
	{
		double sum = 0;

		for (int j = 0; j < N; j++)
			sum += original[pe_packed(i, j)] * x[j];
		if (i != 20)
			worst = fmax(worst, fabs(sum - b[i]));
	}
	OK(worst < 1e-9 && x[20] == 0, "solves for the others (%g)", worst);
}

static void
sorting(const pe_env *env)
{
	enum
	{
		N = 5000
	};
	static double keys[N], scratch[N];
	static uint32_t order[N], order_scratch[N];
	static float floats[N], float_scratch[N];
	double copy[N];
	uint64_t state = 2;
	bool sorted = true;

	for (int i = 0; i < N; i++)
	{
		keys[i] = copy[i] = i % 7 == 0    ? 0.0
		                    : i % 11 == 0 ? -0.0
		                                  : ldexp(data_uniform(&state) - 0.5, i % 40 - 20);
		floats[i] = (float) keys[i];
		order[i] = (uint32_t) i;
	}
	OK(pe_sort_doubles(env, keys, order, scratch, order_scratch, N), "sort");
	pe_sort_floats(floats, float_scratch, N);
	for (int i = 0; i < N; i++)
		sorted &=
		    copy[order[i]] == keys[i] && (i == 0 || (keys[i - 1] <= keys[i] && floats[i - 1] <= floats[i] &&
		                                             (keys[i - 1] != keys[i] || order[i - 1] < order[i])));
	OK(sorted, "rising, stable, with what they carry");
}

int
main(void)
{
	pe_env env = tap_env(&memory);
	pe_team *pool = pe_team_create(&env, 2);

	factor(pool);
	sorting(&env);
	pe_team_free(pool);
	/* Tables of Student's t and the normal distribution. */
	IS_NEAR(pe_student_p(2.228138852, 10), 0.05, 1e-9, "t, 10 degrees");
	IS_NEAR(pe_student_p(12.70620474, 1), 0.05, 1e-9, "t, 1 degree");
	IS_NEAR(pe_student_p(-1.983971519, 100), 0.05, 1e-9, "t, 100 degrees");
	IS_NEAR(pe_student_p(0, 5), 1, 0, "t of 0");
	IS_NEAR(pe_normal_p(1.959963984540054), 0.05, 1e-14, "z");
	IS_INT(pe_crc32c((const uint8_t *) "123456789", 9), 0xe3069283, "the check value of CRC-32C");
	/* Part of stored results: these may never change. */
	OK(pe_hash_bytes("profile", 7, 0) == UINT64_C(0x7e4af6c4bf0bc62e), "hash of a short key");
	OK(pe_hash_bytes("a longer key", 12, 5) == UINT64_C(0x48123d3b50de7c91), "hash of a longer one");
	IS_INT(memory.live, 0, "no block is left");
	return tap_done();
}
