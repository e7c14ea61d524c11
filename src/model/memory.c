/*
 * memory.c
 *		What training will take, announced before it begins. Each term names what it is
 *		for; a change of what is allocated changes it here.
 */
#include "model/internal.h"

#define KEPT_BYTES       24       /* a row's target, weight and hash */
#define LIST_BYTES       8        /* train and holdout lists */
#define BOOST_BYTES      28       /* margin, gradient pair, three row lists */
#define EVALUATE_BYTES   72       /* of a held-out row: margins, targets, weights, sorts */
#define DISTRIBUTE_BYTES 24       /* of every row when few are held out: margin, prediction, sort */
#define SMALL            16000000 /* rounding to blocks, samples for edges, the model itself */

static double
rows_memory(const pe_options *options, int n_features, double rows)
{
	bool trees = options->algorithm == PE_ALGORITHM_BOOSTED_TREES;
	double values = rows * n_features * (trees ? 4 : 8);
	double bins = trees ? rows * ((n_features + 7) / 8 * 8) : 0;
	/* Few held-out rows: all rows' predictions make the distribution. */
	double distribute = rows * options->holdout < 1100 ? rows * DISTRIBUTE_BYTES : 0;
	double evaluate = rows * options->holdout * 1.02 * EVALUATE_BYTES + distribute;
	double fit = trees ? rows * BOOST_BYTES : rows * 16; /* median's sort */
	double reading = values + bins;
	double later = bins + fit;

	/* Values are given back as bins are filled, before the rest is made; linear keeps them. */
	if (!trees)
		return rows * (KEPT_BYTES + LIST_BYTES) + values + (fit > evaluate ? fit : evaluate);
	later = later > evaluate ? later : evaluate;
	return rows * (KEPT_BYTES + LIST_BYTES) + rows * options->holdout * 1.02 * 8 + distribute +
	       (reading > later ? reading : later);
}

/* Independent of the number of rows. */
static double
fixed_memory(const pe_options *options, int n_features)
{
	double cells = n_features * 257.0 * 16, threads = options->threads, block = 1024.0 * n_features * 8;
	double fixed = SMALL + (block > 4e6 ? block : 4e6);

	if (options->algorithm != PE_ALGORITHM_BOOSTED_TREES)
	{
		/* With many levels up to 2,048 columns; numbers alone are what is known beforehand. */
		double columns = n_features + 64.0;

		return fixed + 3 * columns * columns * 4 + 33e6 + threads * (columns * 4096 + 480000);
	}
	/* Histogram slots, the threads' own, samples for edges, edges, nodes while they grow. */
	return fixed + (cells * 4 > 67e6 ? cells * 4 : 67e6) + threads * (cells + 1.6e6) + n_features * 1100.0 +
	       options->trees * 3.0 * 64 * (options->max_leaves > 0 ? options->max_leaves / 32.0 + 1 : 2);
}

size_t
pe_training_memory(const pe_options *options, int n_features, bool with_weights, uint64_t rows)
{
	double bytes = fixed_memory(options, n_features) + rows_memory(options, n_features, (double) rows);

	return bytes < (double) SIZE_MAX / 2 ? (size_t) bytes : SIZE_MAX / 2;
}

uint64_t
pe_training_memory_rows(const pe_options *options, int n_features, bool with_weights, size_t bytes)
{
	uint64_t low = 0, high = PE_MAX_ROWS;

	while (low < high)
	{
		uint64_t middle = low + (high - low + 1) / 2;

		if (pe_training_memory(options, n_features, with_weights, middle) <= bytes)
			low = middle;
		else
			high = middle - 1;
	}
	return low;
}
