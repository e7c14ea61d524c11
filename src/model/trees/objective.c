/*
 * objective.c
 *		What is minimised: the loss of a margin against the target, its first and second
 *		derivatives in fixed point, the margin that everything starts from, and the values of
 *		leaves where the second-order step is not the best one.
 *
 * Poisson, Tweedie of power p and Gamma are one loss with p = 1, between, 2: with the mean
 * mu = exp(margin), g = mu^(2 - p) - y mu^(1 - p). For h the expectation of the second
 * derivative, mu^(2 - p), is taken: it never vanishes, and -sum g / sum h is then the
 * relative excess x of a leaf's targets over its means, whose best step is log(1 + x).
 */
#include "model/trees/boost.h"

#define LARGEST_MARGIN 50.0 /* of the log link: what exp is taken of stays within 1e-22 .. 1e22 */

typedef struct slopes
{
	double g;
	double h;
} slopes;

/* ---- derivatives of one row ----------------------------------------------------------- */

static inline slopes
squared_slopes(const pe_boost *b, uint32_t row, double margin, double target)
{
	return (slopes){margin - target, 1};
}

/* Absolute error is the pinball loss of the median but for a factor. */
static inline slopes
pinball_slopes(const pe_boost *b, uint32_t row, double margin, double target)
{
	return (slopes){margin >= target ? 1 - b->parameter : -b->parameter, 1};
}

static inline slopes
tweedie_slopes(const pe_boost *b, uint32_t row, double margin, double target)
{
	double whole, ratio;

	margin = margin > LARGEST_MARGIN ? LARGEST_MARGIN : margin < -LARGEST_MARGIN ? -LARGEST_MARGIN : margin;
	if (b->parameter == 1)
	{
		whole = exp(margin);
		return (slopes){whole - target, whole};
	}
	whole = b->parameter == 2 ? 1 : exp((2 - b->parameter) * margin);
	ratio = target > 0 ? target * exp((1 - b->parameter) * margin) : 0;
	return (slopes){whole - ratio, whole};
}

/* Friedman's factor for K trees whose margins matter by their differences only. */
static inline slopes
class_slopes(const pe_boost *b, uint32_t row, double margin, double target)
{
	double p = exp(margin - b->normalisers[row]);
	double k = b->n_margins;

	p = p > 1 ? 1 : p;
	return (slopes){p - ((int) target == b->class), p * (1 - p) * (k / (k - 1))};
}

typedef slopes (*slope_rule)(const pe_boost *b, uint32_t row, double margin, double target);

/* ---- gradients of all rows ------------------------------------------------------------ */

static inline int32_t
to_fixed(double value)
{
	return (int32_t) (value < 0 ? value - 0.5 : value + 0.5);
}

/* A chunk's pairs; rule is a constant wherever this is used, so that it is compiled in. */
static inline __attribute__((always_inline)) void
fill_pairs(pe_boost *b, uint32_t item, slope_rule rule)
{
	const pe_dataset *dataset = b->fit->dataset;
	const double *margins = pe_boost_margins(b, b->class);

	for (uint32_t i = item * PE_BOOST_CHUNK; i < pe_boost_chunk_end(item, b->n_fit); i++)
	{
		uint32_t row = b->rows[i];
		double weight = pe_dataset_weight(dataset, row);
		slopes s = rule(b, row, margins[row], pe_dataset_target(dataset, row));
		pe_pair pair = {to_fixed(s.g * weight * b->scale_g), to_fixed(s.h * weight * b->scale_h)};

		if (pair.h < 1)
			pair.h = 1;
		b->pairs[row] = pair;
	}
}

#define LOGISTIC_ROWS 256 /* at a time */

/* Pairs of the logistic loss from probabilities; all rows are in the block. */
static inline void
put_logistic_pairs(pe_boost *b, const pe_block *block, const uint32_t *rows, uint32_t n, const double *p)
{
	uint32_t mask = (1u << b->fit->dataset->block_shift) - 1;
	const double *targets = block->targets, *weights = block->weights;
	double scale_g = b->scale_g, scale_h = b->scale_h;

	for (uint32_t i = 0; i < n; i++)
	{
		double weight = weights != NULL ? weights[rows[i] & mask] : 1.0;
		double g = p[i] - targets[rows[i] & mask], h = p[i] * (1 - p[i]);
		pe_pair pair = {to_fixed(g * weight * scale_g), to_fixed(h * weight * scale_h)};

		if (pair.h < 1)
			pair.h = 1;
		b->pairs[rows[i]] = pair;
	}
}

/* The same for the logistic loss, whose exponentials are taken together. */
static void
fill_logistic_pairs(pe_boost *b, uint32_t item)
{
	const pe_dataset *dataset = b->fit->dataset;
	unsigned shift = dataset->block_shift;
	const double *margins = pe_boost_margins(b, b->class);
	uint32_t end = pe_boost_chunk_end(item, b->n_fit);
	double gathered[LOGISTIC_ROWS] = {0}, p[LOGISTIC_ROWS];

	for (uint32_t begin = item * PE_BOOST_CHUNK, n; begin < end; begin += n)
	{
		const uint32_t *rows = b->rows + begin;

		n = end - begin < LOGISTIC_ROWS ? end - begin : LOGISTIC_ROWS;
		while (rows[n - 1] >> shift != rows[0] >> shift)
			n--; /* to the end of the block */
		for (uint32_t i = 0; i < n; i++)
			gathered[i] = margins[rows[i]];
		pe_sigmoids(gathered, p, (n + 3) / 4 * 4);
		put_logistic_pairs(b, &dataset->blocks[rows[0] >> shift], rows, n, p);
	}
}

static void
gradient_work(void *ctx, uint32_t item, int thread)
{
	pe_boost *b = ctx;

	switch (b->objective)
	{
		case PE_OBJECTIVE_DEFAULT:
		case PE_OBJECTIVE_LOGISTIC:
			fill_logistic_pairs(b, item);
			break;
		case PE_OBJECTIVE_SQUARED:
			fill_pairs(b, item, squared_slopes);
			break;
		case PE_OBJECTIVE_ABSOLUTE:
		case PE_OBJECTIVE_QUANTILE:
			fill_pairs(b, item, pinball_slopes);
			break;
		case PE_OBJECTIVE_POISSON:
		case PE_OBJECTIVE_GAMMA:
		case PE_OBJECTIVE_TWEEDIE:
			fill_pairs(b, item, tweedie_slopes);
			break;
		case PE_OBJECTIVE_MULTICLASS:
			fill_pairs(b, item, class_slopes);
			break;
	}
}

/* The largest |gradient| and hessian of a chunk, where nothing bounds them beforehand. */
static void
largest_work(void *ctx, uint32_t item, int thread)
{
	pe_boost *b = ctx;
	slope_rule rule = b->objective == PE_OBJECTIVE_SQUARED ? squared_slopes : tweedie_slopes;
	double largest_g = 0, largest_h = 0;

	for (uint32_t i = item * PE_BOOST_CHUNK; i < pe_boost_chunk_end(item, b->n_fit); i++)
	{
		uint32_t row = b->rows[i];
		double weight = pe_dataset_weight(b->fit->dataset, row);
		slopes s = rule(b, row, b->margins[row], pe_dataset_target(b->fit->dataset, row));

		largest_g = fmax(largest_g, fabs(s.g) * weight);
		largest_h = fmax(largest_h, s.h * weight);
	}
	b->partial[2 * item] = largest_g;
	b->partial[2 * item + 1] = largest_h;
}

/* The power of two that brings largest to between 2^29 and 2^30. */
static double
fixed_scale(double largest)
{
	int exponent;

	if (!(largest > 0))
		return 1;
	(void) frexp(largest, &exponent);
	return ldexp(1.0, 30 - exponent);
}

/* Bounds of |g| and h, for the scales. */
static bool
find_bounds(pe_boost *b, slopes *bounds)
{
	double weight = b->fit->rows->largest_weight;

	switch (b->objective)
	{
		case PE_OBJECTIVE_DEFAULT:
		case PE_OBJECTIVE_LOGISTIC:
			*bounds = (slopes){weight, weight * 0.25};
			return true;
		case PE_OBJECTIVE_ABSOLUTE:
		case PE_OBJECTIVE_QUANTILE:
			*bounds = (slopes){weight, weight};
			return true;
		case PE_OBJECTIVE_MULTICLASS:
			*bounds = (slopes){weight, weight * 0.25 * b->n_margins / (b->n_margins - 1.0)};
			return true;
		case PE_OBJECTIVE_SQUARED:
		case PE_OBJECTIVE_POISSON:
		case PE_OBJECTIVE_GAMMA:
		case PE_OBJECTIVE_TWEEDIE:
			break;
	}
	*bounds = (slopes){0, 0};
	if (!pe_team_run(b->fit->pool, largest_work, b, pe_boost_chunks(b->n_fit)))
		return false;
	for (uint32_t i = 0; i < pe_boost_chunks(b->n_fit); i++)
	{
		bounds->g = fmax(bounds->g, b->partial[2 * i]);
		bounds->h = fmax(bounds->h, b->partial[2 * i + 1]);
	}
	return true;
}

bool
pe_boost_gradients(pe_boost *b)
{
	slopes bounds;

	if (!find_bounds(b, &bounds))
		return false;
	/* Rows that stand for others as well weigh as much as they all do. */
	b->scale_g = fixed_scale(bounds.g * b->room);
	b->scale_h = fixed_scale(bounds.h * b->room);
	b->grower.rules.unit_g = 1 / b->scale_g;
	b->grower.rules.unit_h = 1 / b->scale_h;
	return pe_team_run(b->fit->pool, gradient_work, b, pe_boost_chunks(b->n_fit));
}

/* ---- classes: what all margins of a row share in a round ------------------------------- */

static void
normaliser_work(void *ctx, uint32_t item, int thread)
{
	pe_boost *b = ctx;
	uint32_t total = b->n_fit + b->n_early;

	for (uint32_t i = item * PE_BOOST_CHUNK; i < pe_boost_chunk_end(item, total); i++)
	{
		uint32_t row = b->rows[i];
		double largest = -INFINITY, sum = 0;

		for (int class = 0; class < b->n_margins; class ++)
			largest = fmax(largest, pe_boost_margins(b, class)[row]);
		for (int class = 0; class < b->n_margins; class ++)
			sum += exp(pe_boost_margins(b, class)[row] - largest);
		b->normalisers[row] = largest + log(sum);
	}
}

bool
pe_boost_normalise(pe_boost *b)
{
	if (b->objective != PE_OBJECTIVE_MULTICLASS)
		return true;
	return pe_team_run(b->fit->pool, normaliser_work, b, pe_boost_chunks(b->n_fit + b->n_early));
}

/* ---- loss ----------------------------------------------------------------------------- */

static double
row_loss(const pe_boost *b, uint32_t row, double target)
{
	double margin = b->margins[row], bounded;

	switch (b->objective)
	{
		case PE_OBJECTIVE_DEFAULT:
		case PE_OBJECTIVE_LOGISTIC:
			return fmax(margin, 0) - margin * target + log1p(exp(-fabs(margin)));
		case PE_OBJECTIVE_SQUARED:
			return (margin - target) * (margin - target);
		case PE_OBJECTIVE_ABSOLUTE:
		case PE_OBJECTIVE_QUANTILE:
			return target > margin ? b->parameter * (target - margin)
			                       : (1 - b->parameter) * (margin - target);
		case PE_OBJECTIVE_POISSON:
		case PE_OBJECTIVE_GAMMA:
		case PE_OBJECTIVE_TWEEDIE:
			break;
		case PE_OBJECTIVE_MULTICLASS:
			return b->normalisers[row] - pe_boost_margins(b, (int) target)[row];
	}
	bounded = fmin(fmax(margin, -LARGEST_MARGIN), LARGEST_MARGIN);
	if (b->parameter == 1)
		return exp(bounded) - target * bounded;
	if (b->parameter == 2)
		return target * exp(-bounded) + bounded;
	return exp((2 - b->parameter) * bounded) / (2 - b->parameter) -
	       target * exp((1 - b->parameter) * bounded) / (1 - b->parameter);
}

static void
loss_work(void *ctx, uint32_t item, int thread)
{
	pe_boost *b = ctx;
	double loss = 0;

	for (uint32_t i = item * PE_BOOST_CHUNK; i < pe_boost_chunk_end(item, b->n_early); i++)
	{
		uint32_t row = b->rows[b->n_fit + i];

		loss += pe_dataset_weight(b->fit->dataset, row) *
		        row_loss(b, row, pe_dataset_target(b->fit->dataset, row));
	}
	b->partial[2 * item] = loss;
}

bool
pe_boost_early_loss(pe_boost *b, double *loss)
{
	*loss = 0;
	if (!pe_boost_normalise(b) || !pe_team_run(b->fit->pool, loss_work, b, pe_boost_chunks(b->n_early)))
		return false;
	for (uint32_t i = 0; i < pe_boost_chunks(b->n_early); i++)
		*loss += b->partial[2 * i];
	return true;
}

/* ---- quantiles ------------------------------------------------------------------------ */

static inline void
swap_pairs(double *keys, double *weights, size_t a, size_t b)
{
	double key = keys[a], weight = weights[a];

	keys[a] = keys[b];
	weights[a] = weights[b];
	keys[b] = key;
	weights[b] = weight;
}

/* The least key that at least share of the weight is at or below; both arrays are reordered. */
double
pe_weighted_quantile(double *keys, double *weights, size_t count, double share)
{
	double wanted = 0;

	for (size_t i = 0; i < count; i++)
		wanted += share * weights[i];
	while (count > 1)
	{
		double pivot = keys[pe_mix64(count) % count], below = 0, equal = 0;
		size_t less = 0, more = count; /* keys before less are smaller, from more on larger than the pivot */

		for (size_t i = 0; i < more;)
			if (keys[i] < pivot)
			{
				below += weights[i];
				swap_pairs(keys, weights, i++, less++);
			}
			else if (keys[i] > pivot)
				swap_pairs(keys, weights, i, --more);
			else
				equal += weights[i++];
		if (less > 0 && below >= wanted)
			count = less;
		else if (more == count || below + equal >= wanted)
			return pivot;
		else
		{
			wanted -= below + equal;
			keys += more;
			weights += more;
			count -= more;
		}
	}
	return keys[0];
}

/* ---- leaves --------------------------------------------------------------------------- */

/* A leaf's residuals, whose quantile is its best value. */
static void
renew_by_quantile(pe_boost *b, const pe_leaf *leaf)
{
	double *keys = b->residuals + leaf->begin, *weights = b->residual_weights + leaf->begin;

	for (uint32_t i = 0; i < leaf->count; i++)
	{
		uint32_t row = (uint32_t) b->grower.entries[leaf->begin + i];

		keys[i] = pe_dataset_target(b->fit->dataset, row) - b->margins[row];
		weights[i] = pe_dataset_weight(b->fit->dataset, row);
	}
	b->forest.model->values[leaf->node] =
	    b->fit->options->learning_rate * pe_weighted_quantile(keys, weights, leaf->count, b->parameter);
}

static void
renew_work(void *ctx, uint32_t item, int thread)
{
	pe_boost *b = ctx;
	const pe_leaf *leaf = &b->grower.closed[item];
	double *value = &b->forest.model->values[leaf->node], rate = b->fit->options->learning_rate;

	switch (b->objective)
	{
		case PE_OBJECTIVE_ABSOLUTE:
		case PE_OBJECTIVE_QUANTILE:
			renew_by_quantile(b, leaf);
			break;
		case PE_OBJECTIVE_POISSON:
		case PE_OBJECTIVE_GAMMA:
		case PE_OBJECTIVE_TWEEDIE:
			/* A falling step is at least -1 and safe as it is, with no need to trust a leaf of zeros. */
			if (*value > 0)
				*value = rate * log1p(*value / rate);
			break;
		default:
			break;
	}
}

bool
pe_boost_renew_leaves(pe_boost *b)
{
	if (b->objective < PE_OBJECTIVE_ABSOLUTE || b->objective > PE_OBJECTIVE_TWEEDIE)
		return true;
	return pe_team_run(b->fit->pool, renew_work, b, b->grower.n_closed);
}

/* ---- the start ------------------------------------------------------------------------ */

/* The margin that is best for all rows: of the mean, of the classes' shares, or the quantile. */
static pe_status
best_constant(pe_boost *b, double *margin)
{
	const pe_split_rows *rows = b->fit->rows;
	double mean = rows->train_sum / rows->train_weight, *keys, *weights;
	pe_status status = PE_OK;

	switch (b->objective)
	{
		case PE_OBJECTIVE_DEFAULT:
		case PE_OBJECTIVE_LOGISTIC:
			*margin = log(mean / (1 - mean));
			return PE_OK;
		case PE_OBJECTIVE_SQUARED:
			*margin = mean;
			return PE_OK;
		case PE_OBJECTIVE_POISSON:
		case PE_OBJECTIVE_GAMMA:
		case PE_OBJECTIVE_TWEEDIE:
			*margin = log(mean);
			return PE_OK;
		case PE_OBJECTIVE_MULTICLASS:
			*margin = 0;
			return PE_OK;
		case PE_OBJECTIVE_ABSOLUTE:
		case PE_OBJECTIVE_QUANTILE:
			break;
	}
	keys = pe_alloc(b->fit->env, rows->n_train * sizeof(double));
	weights = pe_alloc(b->fit->env, rows->n_train * sizeof(double));
	if (keys == NULL || weights == NULL)
		status = pe_fail_memory(b->fit->err);
	else
	{
		for (uint32_t i = 0; i < rows->n_train; i++)
		{
			keys[i] = pe_dataset_target(b->fit->dataset, rows->train[i]);
			weights[i] = pe_dataset_weight(b->fit->dataset, rows->train[i]);
		}
		*margin = pe_weighted_quantile(keys, weights, rows->n_train, b->parameter);
	}
	pe_free(b->fit->env, keys);
	pe_free(b->fit->env, weights);
	return status;
}

pe_status
pe_boost_start(pe_boost *b)
{
	pe_model *model = b->forest.model;
	const pe_split_rows *rows = b->fit->rows;
	pe_status status = best_constant(b, &model->base_margin);

	if (status != PE_OK)
		return status;
	if (b->objective == PE_OBJECTIVE_MULTICLASS)
	{
		model->class_margins = pe_calloc(&model->env, b->n_margins, sizeof(double));
		if (model->class_margins == NULL)
			return pe_fail_memory(b->fit->err);
	}
	for (int class = 0; class < b->n_margins; class ++)
	{
		double *margins = pe_boost_margins(b, class), base = model->base_margin;

		if (model->class_margins != NULL)
			base = model->class_margins[class] = log(rows->class_weights[class] / rows->train_weight);
		for (uint64_t row = 0; row < b->fit->dataset->rows; row++)
			margins[row] = base;
	}
	return PE_OK;
}
