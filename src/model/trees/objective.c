/*
 * objective.c
 *		What is minimised: the loss of a margin against the target, its first and second
 *		derivatives in fixed point, and the margin that everything starts from.
 */
#include "model/trees/boost.h"

/* The model's base: the mean target as a margin. */
void
pe_boost_start_margins(pe_boost *b)
{
	const pe_split_rows *rows = b->fit->rows;
	double mean = rows->train_sum / rows->train_weight;

	b->forest.model->base_margin = pe_boost_is_binary(b) ? log(mean / (1 - mean)) : mean;
	for (uint64_t row = 0; row < b->fit->dataset->rows; row++)
		b->margins[row] = b->forest.model->base_margin;
}

/* ---- gradients ------------------------------------------------------------------------ */

/* The largest |gradient| of a chunk; squared error only, the logistic one is bounded. */
static void
largest_work(void *ctx, uint32_t item, int thread)
{
	pe_boost *b = ctx;
	double largest = 0;

	for (uint32_t i = item * PE_BOOST_CHUNK; i < pe_boost_chunk_end(item, b->n_fit); i++)
	{
		uint32_t row = b->rows[i];
		double g = fabs(b->margins[row] - pe_dataset_target(b->fit->dataset, row)) *
		           pe_dataset_weight(b->fit->dataset, row);

		if (g > largest)
			largest = g;
	}
	b->partial[item] = largest;
}

static inline int32_t
to_fixed(double value)
{
	return (int32_t) (value < 0 ? value - 0.5 : value + 0.5);
}

static void
gradient_work(void *ctx, uint32_t item, int thread)
{
	pe_boost *b = ctx;
	const pe_dataset *dataset = b->fit->dataset;
	bool binary = pe_boost_is_binary(b);
	double squares = 0;

	for (uint32_t i = item * PE_BOOST_CHUNK; i < pe_boost_chunk_end(item, b->n_fit); i++)
	{
		uint32_t row = b->rows[i];
		double weight = pe_dataset_weight(dataset, row);
		double g, h;

		if (binary)
		{
			double p = pe_sigmoid(b->margins[row]);

			g = (p - pe_dataset_target(dataset, row)) * weight;
			h = p * (1 - p) * weight;
		}
		else
		{
			g = (b->margins[row] - pe_dataset_target(dataset, row)) * weight;
			h = weight;
		}
		b->pairs[row].g = to_fixed(g * b->scale_g);
		b->pairs[row].h = to_fixed(h * b->scale_h);
		if (b->pairs[row].h < 1)
			b->pairs[row].h = 1;
		squares += (double) b->pairs[row].g * b->pairs[row].g;
	}
	b->partial[item] = squares;
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

bool
pe_boost_gradients(pe_boost *b)
{
	double largest_weight = b->fit->rows->largest_weight;

	if (pe_boost_is_binary(b))
	{
		b->scale_g = fixed_scale(largest_weight);
		b->scale_h = fixed_scale(largest_weight * 0.25);
	}
	else
	{
		double largest = 0;

		if (!pe_team_run(b->fit->pool, largest_work, b, pe_boost_chunks(b->n_fit)))
			return false;
		for (uint32_t i = 0; i < pe_boost_chunks(b->n_fit); i++)
			largest = b->partial[i] > largest ? b->partial[i] : largest;
		b->scale_g = fixed_scale(largest);
		b->scale_h = fixed_scale(largest_weight);
	}
	b->grower.rules.unit_g = 1 / b->scale_g;
	b->grower.rules.unit_h = 1 / b->scale_h;
	if (!pe_team_run(b->fit->pool, gradient_work, b, pe_boost_chunks(b->n_fit)))
		return false;
	b->squares = 0;
	for (uint32_t i = 0; i < pe_boost_chunks(b->n_fit); i++)
		b->squares += b->partial[i];
	return true;
}

/* ---- early stopping ------------------------------------------------------------------- */

static void
loss_work(void *ctx, uint32_t item, int thread)
{
	pe_boost *b = ctx;
	double loss = 0;

	for (uint32_t i = item * PE_BOOST_CHUNK; i < pe_boost_chunk_end(item, b->n_early); i++)
	{
		uint32_t row = b->rows[b->n_fit + i];
		double target = pe_dataset_target(b->fit->dataset, row), margin = b->margins[row];
		double weight = pe_dataset_weight(b->fit->dataset, row);

		if (pe_boost_is_binary(b))
			loss += weight * (fmax(margin, 0) - margin * target + log1p(exp(-fabs(margin))));
		else
			loss += weight * (margin - target) * (margin - target);
	}
	b->partial[item] = loss;
}

bool
pe_boost_early_loss(pe_boost *b, double *loss)
{
	*loss = 0;
	if (!pe_team_run(b->fit->pool, loss_work, b, pe_boost_chunks(b->n_early)))
		return false;
	for (uint32_t i = 0; i < pe_boost_chunks(b->n_early); i++)
		*loss += b->partial[i];
	return true;
}
