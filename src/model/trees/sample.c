/*
 * sample.c
 *		Which rows and columns a tree sees. All draws go by hash of the row's key, so that
 *		they do not depend on the order of work.
 *
 * GOSS, gradient-based one-side sampling (Ke et al., 2017): the rows of the largest
 * gradients are all kept; of the others a share is drawn, and weighs as much as they
 * all do. It begins after 1 / learning_rate rounds, when gradients tell rows apart.
 */
#include "model/trees/boost.h"

#define EARLY_STOPPING_SHARE 0.1
#define SIZE_SHIFT           15 /* |g| is at most 2^30 */

static void
sample_all(pe_boost *b)
{
	memcpy(b->sampled, b->rows, (b->n_fit + b->n_early) * sizeof(*b->rows));
	b->n_sampled = b->n_fit;
}

pe_status
pe_boost_split_early(pe_boost *b)
{
	const pe_split_rows *rows = b->fit->rows;
	uint32_t early = rows->n_train;

	for (uint32_t i = 0; i < rows->n_train; i++)
	{
		uint64_t hash = pe_dataset_hash(b->fit->dataset, rows->train[i]);

		if (b->fit->options->early_stopping > 0 &&
		    pe_draw(hash, b->fit->options->seed, PE_DRAW_EARLY) < EARLY_STOPPING_SHARE)
			b->rows[--early] = rows->train[i];
		else
			b->rows[b->n_fit++] = rows->train[i];
	}
	b->n_early = rows->n_train - b->n_fit;
	sample_all(b);
	if (b->fit->options->early_stopping > 0 && (b->n_early == 0 || b->n_fit == 0))
	{
		pe_fail(b->fit->err, PE_INVALID_DATA, "too few rows to set some aside for early_stopping");
		pe_error_hint(b->fit->err, "Leave out early_stopping, or train on more rows.");
		return PE_INVALID_DATA;
	}
	return PE_OK;
}

/* ---- rows ----------------------------------------------------------------------------- */

/* Which rows are taken: those whose |g| is of a higher class than border, of the others a share. */
typedef struct row_choice
{
	uint32_t border;
	double share;
} row_choice;

static inline uint32_t
size_class(const pe_pair *pair)
{
	uint32_t size = (uint32_t) (pair->g < 0 ? -(int64_t) pair->g : pair->g);

	return size >> SIZE_SHIFT < PE_GOSS_SIZES ? size >> SIZE_SHIFT : PE_GOSS_SIZES - 1;
}

/* Rows of equal |g| are not told apart: those of the border's class all belong to the others. */
static row_choice
choose_by_gradient(pe_boost *b)
{
	const pe_options *options = b->fit->options;
	uint32_t border = PE_GOSS_SIZES - 1, above = 0;
	double wanted = options->goss_top * b->n_fit, share;

	memset(b->size_counts, 0, PE_GOSS_SIZES * sizeof(*b->size_counts));
	for (uint32_t i = 0; i < b->n_fit; i++)
		b->size_counts[size_class(&b->pairs[b->rows[i]])]++;
	while (border > 0 && above + b->size_counts[border] <= wanted)
		above += b->size_counts[border--];
	share = ((options->goss_top + options->goss_other) * b->n_fit - above) / ((double) b->n_fit - above);
	/* Never more weight than the scales have room for. */
	return (row_choice){border, fmin(fmax(share, options->goss_other), 1)};
}

static inline bool
draws(const pe_boost *b, uint32_t row, uint32_t tree, double share)
{
	return pe_draw(pe_dataset_hash(b->fit->dataset, row), b->fit->options->seed, PE_DRAW_ROWS + tree) < share;
}

static void
amplify(pe_pair *pair, double factor)
{
	double g = pair->g * factor, h = pair->h * factor;

	pair->g = (int32_t) (g < 0 ? g - 0.5 : g + 0.5);
	pair->h = (int32_t) (h + 0.5);
}

/* What is taken to the front of sampled, the others to its back, for early stopping last of all. */
static void
draw_rows(pe_boost *b, uint32_t tree, bool by_gradient)
{
	row_choice choice = {UINT32_MAX, b->fit->options->row_sample};
	uint32_t total = b->n_fit + b->n_early, out = 0, rest = total;

	if (by_gradient)
		choice = choose_by_gradient(b);
	for (uint32_t i = 0; i < b->n_fit; i++)
	{
		uint32_t row = b->rows[i];
		bool large = by_gradient && size_class(&b->pairs[row]) > choice.border;

		if (!large && !draws(b, row, tree, choice.share))
		{
			b->sampled[--rest] = row;
			continue;
		}
		if (by_gradient && !large)
			amplify(&b->pairs[row], 1 / choice.share);
		b->sampled[out++] = row;
	}
	for (uint32_t i = b->n_fit; i < total; i++)
		b->sampled[--rest] = b->rows[i];
	b->n_sampled = out;
}

void
pe_boost_draw_rows(pe_boost *b, uint32_t tree)
{
	const pe_options *options = b->fit->options;
	uint32_t round = tree / (uint32_t) b->n_margins;
	bool by_gradient = options->goss && round >= 1 / options->learning_rate;

	if (!by_gradient && options->row_sample >= 1)
		return; /* all of them, as they are from the start */
	draw_rows(b, tree, by_gradient);
	if (b->n_sampled == 0) /* so few that none was drawn */
		sample_all(b);
}

/* ---- columns -------------------------------------------------------------------------- */

/* At least the share that is asked for, one at least; in order, each with the chance that what is still
 * wanted has among those left. */
void
pe_boost_draw_columns(pe_boost *b, uint32_t tree)
{
	const pe_options *options = b->fit->options;
	pe_grower *grower = &b->grower;
	int n_columns = b->bins.n_columns;
	int wanted = (int) ceil(options->column_sample * n_columns);

	grower->n_active = 0;
	for (int column = 0; column < n_columns; column++)
	{
		uint64_t key = pe_mix64((uint64_t) tree << 32 | (uint32_t) column);

		if (pe_draw(key, options->seed, PE_DRAW_COLUMNS) * (n_columns - column) < wanted - grower->n_active)
			grower->active[grower->n_active++] = column;
	}
}
