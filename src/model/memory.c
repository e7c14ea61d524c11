/*
 * memory.c
 *		What training will take, announced before it begins. Each term names what it is
 *		for; a change of what is allocated changes it here.
 */
#include "model/internal.h"

#define KEPT_BYTES       24 /* a row's target, weight and hash */
#define LIST_BYTES       8  /* train and holdout lists */
#define BOOST_BYTES      44 /* margin, gradient pair, two row lists, two lists of entries, place of the leaf */
#define EVALUATE_BYTES   72 /* of a held-out row: margins, targets, weights, sorts */
#define DISTRIBUTE_BYTES 24 /* of every row when few are held out: margin, prediction, sort */
#define SMALL            2000000
#define BLOCK            6500000 /* 4 MB of values, and 65,536 rows' targets, weights and hashes */

/* Segments: the rows as points too (float), their labels, and the sample that the starts run on. */
static double
segment_memory(const pe_options *options, int n_features, double rows)
{
	double sample = fmin(rows, 65536), clusters = fmax(options->clusters, options->max_clusters);
	double starts = options->starts * (options->clusters > 0 ? 1.0 : options->max_clusters);
	/* Categories have a cell for each level; 16 a feature is what is reckoned with. */
	double centre = n_features * 16.0 * 8, wide = 1024.0 * n_features * 8;

	return SMALL + (wide > BLOCK ? wide : BLOCK) + rows * (KEPT_BYTES + 13 + n_features * 12.0) +
	       sample * (n_features * 4.0 + 8) +
	       options->threads * (sample * (options->robust_scale ? 57 : 41) + 20 * centre + 300000) +
	       starts * clusters * centre + fmin(32 * clusters * centre, 16.8e6) + 2 * clusters * centre;
}

/* Margins of a row, where the caller says that there are several. */
static double
classes_of(const pe_options *options)
{
	return options->expected_classes > 1 ? options->expected_classes : 1;
}

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
	double later = 2 * bins + fit; /* bins by row and by column */
	double classes = classes_of(options);

	/* A margin for each class of every row, and what they have in common; residuals of quantiles. */
	if (trees && classes > 1)
		later += rows * (classes * 8);
	if (trees && (options->objective == PE_OBJECTIVE_ABSOLUTE || options->objective == PE_OBJECTIVE_QUANTILE))
		later += rows * 16;
	distribute *= classes;
	evaluate += rows * options->holdout * 1.02 * 8 * (classes - 1);

	/* Values are given back as bins are filled, before the rest is made; linear keeps them. */
	if (!trees)
		return rows * (KEPT_BYTES + LIST_BYTES) + values + (fit > evaluate ? fit : evaluate);
	later = later > evaluate ? later : evaluate;
	return rows * (KEPT_BYTES + LIST_BYTES) + rows * options->holdout * 1.02 * 8 + distribute +
	       (reading > later ? reading : later);
}

/*
 * Trees while they grow: 37 bytes a node in arrays that grow by a quarter, one of them
 * copied at a time; and the leaves of the tree at hand in arrays that double, with sums by thread. A leaf
 * has a row at least; very deep trees without max_leaves are announced as if each had one.
 */
static double
nodes_memory(const pe_options *options, double rows)
{
	int max_depth, max_leaves;
	double leaves, lists;

	pe_options_shape(options, rows, &max_depth, &max_leaves);
	leaves = fmin(max_leaves > 0 ? fmin(max_leaves, rows) : rows, ldexp(1, max_depth));
	lists = max_leaves > 0 ? 2 : 1;
	return (leaves * 2 * options->trees + 2048) * 37 * 1.6 +
	       (leaves * 3 + 64) * (200 * lists + 16.0 * options->threads);
}

/* Independent of the number of rows. */
static double
fixed_memory(const pe_options *options, int n_features)
{
	double cells = n_features * 257.0 * 16, threads = options->threads, wide = 1024.0 * n_features * 8;
	/* A block that is hardly begun, and all that is small. */
	double fixed = SMALL + (wide > BLOCK ? wide : BLOCK);
	int max_depth, max_leaves;
	double slots;

	pe_options_shape(options, INFINITY, &max_depth, &max_leaves);
	slots = max_leaves > 0 ? max_leaves + 2 : max_depth + 3;
	if (options->algorithm != PE_ALGORITHM_BOOSTED_TREES)
	{
		/* With many levels up to 2,048 columns; numbers alone are what is known beforehand. */
		double columns = n_features + 64.0, parts = fmin(32 * columns * columns * 8, 33.6e6);
		double matrices = 3 * columns * columns * 4, classes = classes_of(options);

		/* One more Hessian, the quadratic's matrix, the coefficients of the path. */
		if (options->lambda_choice != PE_LAMBDA_NONE)
			matrices += columns * (columns * 12 + options->lambda_count * 8.0) + 1.2e6;
		/* Hessian and factor of all classes, as far as Newton goes; the parts have them too. */
		if (options->algorithm == PE_ALGORITHM_MULTINOMIAL)
		{
			matrices += pow(fmin(classes * columns, 1000), 2) * 8 + 25 * classes * columns * 8;
			parts = 33.6e6;
		}
		return fixed + matrices + parts + threads * (columns * 4096 + classes * 1024 + 480000);
	}
	/* Histogram slots and the threads' own, samples for edges, edges, codes' bins and splits; walks' tables.
	 */
	return fixed + 1.2e6 + fmax(cells * 4, fmin(cells * (slots + 48), 67.2e6)) + threads * (cells + 1.6e6) +
	       n_features * (1100.0 + 256 + 300);
}

/* The rows themselves, when a training works on a copy of them, and their uses and targets. */
static double
kept_memory(const pe_options *options, int n_features, double rows)
{
	double cell = options->algorithm == PE_ALGORITHM_BOOSTED_TREES ? 4 : 8;

	return rows * (n_features * cell + KEPT_BYTES + 1 + 8) + BLOCK;
}

size_t
pe_training_memory(const pe_options *options, int n_features, bool with_weights, uint64_t rows)
{
	double bytes = options->algorithm == PE_ALGORITHM_KMEANS
	                   ? segment_memory(options, n_features, (double) rows)
	                   : fixed_memory(options, n_features) + rows_memory(options, n_features, (double) rows);

	if (options->algorithm == PE_ALGORITHM_BOOSTED_TREES)
		bytes += nodes_memory(options, (double) rows);
	if (options->keeps_rows)
		bytes += kept_memory(options, n_features, (double) rows);
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
