/*
 * search.c
 *		Distances of points to centres: the inner loop of everything here.
 *
 * Eight centres at a time, four rows at a time; each lane adds up one row and one
 * centre in the order of the features, so that wider registers change nothing.
 */
#include "model/segment/space.h"

typedef float lanes8 __attribute__((vector_size(32)));

bool
pe_search_alloc(const pe_env *env, const pe_space *space, int centres, pe_search *search)
{
	uint32_t lines = (uint32_t) space->n_numbers;

	memset(search, 0, sizeof(*search));
	search->lanes = (centres + PE_LANES - 1) / PE_LANES * PE_LANES;
	search->starts = pe_alloc(env, (size_t) space->n_categories * sizeof(uint32_t));
	if (search->starts == NULL)
		return false;
	for (int i = 0; i < space->n_categories; i++)
	{
		search->starts[i] = lines;
		lines += space->axes[space->categories[i]].cells;
	}
	search->lines = pe_calloc(env, (size_t) lines * search->lanes, sizeof(float));
	return search->lines != NULL;
}

void
pe_search_free(const pe_env *env, pe_search *search)
{
	pe_free(env, search->lines);
	pe_free(env, search->starts);
	memset(search, 0, sizeof(*search));
}

/*
 * For indicators x (1 at the row's slot, else 0) and shares p, both times scale:
 * sum (x - p)^2 = 1 - 2 p[slot] + sum p^2, times scale squared.
 */
static void
set_category(pe_search *search, const pe_axis *axis, uint32_t start, const double *shares, int centre)
{
	double sum = 0;

	for (uint32_t slot = 0; slot < axis->cells; slot++)
		sum += shares[slot] * shares[slot];
	for (uint32_t slot = 0; slot < axis->cells; slot++)
	{
		double distance = axis->scale * axis->scale * (1 - 2 * shares[slot] + sum);

		search->lines[(size_t) (start + slot) * search->lanes + centre] =
		    (float) (distance > 0 ? distance : 0);
	}
}

void
pe_search_set(pe_search *search, const pe_space *space, const double *centres, int count)
{
	search->centres = count;
	for (int centre = 0; centre < count; centre++)
	{
		const double *cells = centres + (size_t) centre * space->width;

		for (int i = 0; i < space->n_numbers; i++)
			search->lines[(size_t) i * search->lanes + centre] =
			    (float) cells[space->axes[space->numbers[i]].at];
		for (int i = 0; i < space->n_categories; i++)
		{
			const pe_axis *axis = &space->axes[space->categories[i]];

			set_category(search, axis, search->starts[i], cells + axis->at, centre);
		}
	}
}

#define TOGETHER 4

/* rows: at most TOGETHER of them, a constant where it is inlined. */
static inline __attribute__((always_inline)) void
measure_some(const pe_search *search, const pe_space *space, const float *values, const uint8_t *slots,
             const int rows, float *out)
{
	int n_numbers = space->n_numbers, n_categories = space->n_categories, lanes = search->lanes;

	for (int lane = 0; lane < lanes; lane += PE_LANES)
	{
		lanes8 sums[TOGETHER] = {{0}};

		for (int i = 0; i < n_numbers; i++)
		{
			lanes8 line;

			memcpy(&line, search->lines + (size_t) i * lanes + lane, sizeof(line));
			for (int row = 0; row < rows; row++)
			{
				float value = values[(size_t) row * n_numbers + i];
				lanes8 gap = value - line;

				sums[row] += gap * gap;
			}
		}
		for (int i = 0; i < n_categories; i++)
			for (int row = 0; row < rows; row++)
			{
				size_t at = search->starts[i] + slots[(size_t) row * n_categories + i];
				lanes8 line;

				memcpy(&line, search->lines + at * lanes + lane, sizeof(line));
				sums[row] += line;
			}
		for (int row = 0; row < rows; row++)
			memcpy(out + (size_t) row * lanes + lane, &sums[row], sizeof(lanes8));
	}
}

static inline __attribute__((always_inline)) void
measure(const pe_search *search, const pe_space *space, const float *values, const uint8_t *slots,
        uint32_t rows, float *out)
{
	uint32_t row = 0;

	for (; row + TOGETHER <= rows; row += TOGETHER)
		measure_some(search, space, values + (size_t) row * space->n_numbers,
		             slots + (size_t) row * space->n_categories, TOGETHER,
		             out + (size_t) row * search->lanes);
	for (; row < rows; row++)
		measure_some(search, space, values + (size_t) row * space->n_numbers,
		             slots + (size_t) row * space->n_categories, 1, out + (size_t) row * search->lanes);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void
measure_avx2(const pe_search *search, const pe_space *space, const float *values, const uint8_t *slots,
             uint32_t rows, float *out)
{
	measure(search, space, values, slots, rows, out);
}
#endif

void
pe_search_measure(const pe_search *search, const pe_space *space, const float *values, const uint8_t *slots,
                  uint32_t rows, float *out)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx2"))
	{
		measure_avx2(search, space, values, slots, rows, out);
		return;
	}
#endif
	measure(search, space, values, slots, rows, out);
}

void
pe_search_measure_inputs(const pe_search *search, const pe_space *space, const pe_feature *features,
                         const double *values, float *out)
{
	int lanes = search->lanes;

	for (int lane = 0; lane < lanes; lane++)
		out[lane] = 0;
	for (int i = 0; i < space->n_numbers; i++)
	{
		const float *line = search->lines + (size_t) i * lanes;
		float value = pe_axis_scale(&space->axes[space->numbers[i]], values[space->numbers[i]]);

		for (int lane = 0; lane < lanes; lane++)
		{
			float gap = value - line[lane];

			out[lane] += gap * gap;
		}
	}
	for (int i = 0; i < space->n_categories; i++)
	{
		int feature = space->categories[i], slot = pe_feature_slot(&features[feature], values[feature]);
		const float *line = search->lines + (size_t) (search->starts[i] + (uint32_t) slot) * lanes;

		for (int lane = 0; lane < lanes; lane++)
			out[lane] += line[lane];
	}
}
