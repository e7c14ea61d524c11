/*
 * sample.c
 *		Which rows and columns a tree sees. All draws go by hash of the row's key, so that
 *		they do not depend on the order of work.
 */
#include "model/trees/boost.h"

#define EARLY_STOPPING_SHARE 0.1

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
	if (b->fit->options->early_stopping > 0 && (b->n_early == 0 || b->n_fit == 0))
	{
		pe_fail(b->fit->err, PE_INVALID_DATA, "too few rows to set some aside for early_stopping");
		pe_error_hint(b->fit->err, "Leave out early_stopping, or train on more rows.");
		return PE_INVALID_DATA;
	}
	return PE_OK;
}

void
pe_boost_draw(pe_boost *b, uint32_t tree)
{
	const pe_options *options = b->fit->options;
	pe_grower *grower = &b->grower;
	uint32_t total = b->n_fit + b->n_early, out = 0;

	if (options->row_sample < 1)
	{
		uint32_t rest = total;

		for (uint32_t i = 0; i < b->n_fit; i++)
		{
			uint32_t row = b->rows[i];

			if (pe_draw(pe_dataset_hash(b->fit->dataset, row), options->seed, PE_DRAW_ROWS + tree) <
			    options->row_sample)
				b->sampled[out++] = row;
			else
				b->sampled[--rest] = row;
		}
		for (uint32_t i = b->n_fit; i < total; i++)
			b->sampled[--rest] = b->rows[i];
	}
	if (out == 0) /* all, or so few that none was drawn */
	{
		memcpy(b->sampled, b->rows, total * sizeof(*b->rows));
		out = b->n_fit;
	}
	b->n_sampled = out;
	grower->n_active = 0;
	for (int column = 0; column < b->bins.n_columns; column++)
		if (options->column_sample >= 1 || pe_draw(pe_mix64((uint64_t) tree << 32 | (uint32_t) column),
		                                           options->seed, PE_DRAW_COLUMNS) < options->column_sample)
			grower->active[grower->n_active++] = column;
	if (grower->n_active == 0)
		grower->active[grower->n_active++] =
		    (int) (pe_mix64(options->seed + tree) % (uint64_t) b->bins.n_columns);
}
