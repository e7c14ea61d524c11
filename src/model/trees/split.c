/*
 * split.c
 *		The best way to split a leaf on one column, from the column's cells.
 *
 * Second order: with G and H the sums of a side's gradients and hessians, the side is
 * worth T(G)^2 / (H + l2), T being G shrunk towards 0 by l1; the gain is what both
 * sides are worth above the whole. Of equal gains the first found stays, so that the
 * result does not depend on threads.
 */
#include "model/trees/trees.h"

/* Up to this many levels in a leaf each is tried against the rest. */
#define ONE_AGAINST_REST 4
/* A level's place in the order is that of its rows and this many average ones. */
#define SMOOTHING_ROWS 10.0
/* Added to l2, in rows, where many levels are chosen at once. */
#define MANY_L2_ROWS 10.0
/*
 * Levels sorted by their own gradients split well on noise, too: with n levels that tell
 * nothing, each is worth Var(g) / mean(h) on average, and the best cut of the order gains
 * 2 / pi of their sum. So much is taken off, or columns of many levels win by chance. What
 * chance gives here it takes again from rows not seen: a split that gains less than twice
 * as much (Akaike's rule) is none.
 */
#define CHANCE_SHARE 0.6366

static inline double
shrink(double g, double l1)
{
	if (g > l1)
		return g - l1;
	if (g < -l1)
		return g + l1;
	return 0;
}

static double
bounded_weight(const pe_split_rules *rules, const pe_leaf *leaf, pe_sums sums, double l2)
{
	double denominator = sums.h + l2;
	double weight = denominator > 0 ? -shrink(sums.g, rules->options->l1) / denominator : 0;

	return weight < leaf->lowest ? leaf->lowest : weight > leaf->highest ? leaf->highest : weight;
}

double
pe_leaf_weight(const pe_split_rules *rules, const pe_leaf *leaf)
{
	pe_sums sums = {(double) leaf->sum.g * rules->unit_g, (double) leaf->sum.h * rules->unit_h};

	return bounded_weight(rules, leaf, sums, rules->options->l2);
}

/* What a side is worth at its best value, or with constraints at the value it may take. */
static inline double
worth(const pe_split_rules *rules, const pe_leaf *leaf, pe_sums sums, double l2)
{
	double g, denominator = sums.h + l2;

	if (rules->monotone != NULL)
	{
		double weight = bounded_weight(rules, leaf, sums, l2);

		return -(2 * sums.g * weight + denominator * weight * weight + 2 * rules->options->l1 * fabs(weight));
	}
	g = shrink(sums.g, rules->options->l1);
	return denominator > 0 ? g * g / denominator : 0;
}

static inline pe_sums
to_sums(const pe_split_rules *rules, int64_t g, int64_t h)
{
	return (pe_sums){(double) g * rules->unit_g, (double) h * rules->unit_h};
}

/*
 * Gain of putting (g, h) to the left; not positive when a side is empty or too light,
 * or when the two sides' values would run against the column's direction.
 */
static inline double
gain_of(const pe_split_rules *rules, const pe_leaf *leaf, int column, int64_t g, int64_t h, double whole,
        double l2)
{
	pe_sums left, right;
	int direction;

	if (h <= 0 || h >= leaf->sum.h)
		return 0;
	left = to_sums(rules, g, h);
	right = to_sums(rules, leaf->sum.g - g, leaf->sum.h - h);
	if (left.h < rules->options->min_child_weight || right.h < rules->options->min_child_weight)
		return 0;
	direction = rules->monotone != NULL ? rules->monotone[column] : 0;
	if (direction != 0 &&
	    direction * (bounded_weight(rules, leaf, right, l2) - bounded_weight(rules, leaf, left, l2)) < 0)
		return 0;
	return worth(rules, leaf, left, l2) + worth(rules, leaf, right, l2) - whole;
}

static double
whole_worth(const pe_split_rules *rules, const pe_leaf *leaf, double l2)
{
	return worth(rules, leaf, to_sums(rules, leaf->sum.g, leaf->sum.h), l2);
}

static void
split_numeric(const pe_split_rules *rules, const pe_leaf *leaf, int column, const pe_cell *cells,
              pe_split *best)
{
	int n_bins = (int) (rules->bins->offsets[column + 1] - rules->bins->offsets[column]);
	double l2 = rules->options->l2;
	double whole = whole_worth(rules, leaf, l2);
	bool has_missing = cells[0].h > 0;
	int64_t g = 0, h = 0;

	for (int bin = 1; bin < n_bins; bin++)
	{
		/* Without rows the split is the one before. */
		if (cells[bin].h == 0)
			continue;
		g += cells[bin].g;
		h += cells[bin].h;
		/* Without missing values the heavier side takes those that prediction may bring. */
		for (int with_missing = 0; with_missing <= has_missing; with_missing++)
		{
			int64_t left_g = g + (with_missing ? cells[0].g : 0),
			        left_h = h + (with_missing ? cells[0].h : 0);
			double gain = gain_of(rules, leaf, column, left_g, left_h, whole, l2);

			if (gain > best->gain)
			{
				pe_sums left = to_sums(rules, left_g, left_h);
				pe_sums right = to_sums(rules, leaf->sum.g - left_g, leaf->sum.h - left_h);

				best->gain = gain;
				best->column = column;
				/* Missing against the rest: every number goes left, also a larger one. */
				best->bin = (uint8_t) (h + cells[0].h == leaf->sum.h ? n_bins - 1 : bin);
				best->categorical = false;
				best->missing_left = has_missing ? with_missing != 0 : left.h > right.h;
				best->left_weight = bounded_weight(rules, leaf, left, l2);
				best->right_weight = bounded_weight(rules, leaf, right, l2);
			}
		}
		/* Beyond the last bin that has rows nothing changes but the threshold. */
		if (h + cells[0].h == leaf->sum.h)
			break;
	}
}

static void
take_set(pe_split *best, double gain, int column)
{
	best->gain = gain;
	best->column = column;
	best->categorical = true;
	best->missing_left = false;
	memset(&best->set, 0, sizeof(best->set));
}

static void
add_slot(pe_level_set *set, int slot)
{
	set->bits[slot >> 5] |= UINT32_C(1) << (slot & 31);
}

/* Slots that no row of the leaf has go where most rows go. */
static void
settle_absent(const pe_leaf *leaf, const pe_cell *cells, pe_level_set *set)
{
	int64_t left = 0;

	for (int slot = 0; slot < 256; slot++)
		if ((set->bits[slot >> 5] >> (slot & 31)) & 1)
			left += cells[slot].h;
	if (left <= leaf->sum.h - left)
		return;
	for (int slot = 0; slot < 256; slot++)
		if (cells[slot].h == 0)
			add_slot(set, slot);
}

/* Missing and other are levels like all others here. */
static void
split_categorical(const pe_split_rules *rules, const pe_leaf *leaf, int column, const pe_cell *column_cells,
                  pe_split *best)
{
	int n_slots = (int) (rules->bins->offsets[column + 1] - rules->bins->offsets[column]);
	pe_cell cells[256] = {{0, 0}};
	uint8_t order[256];
	double place[256];
	int n = 0;
	double mean_g = (double) leaf->sum.g / leaf->count, mean_h = (double) leaf->sum.h / leaf->count;
	double l2 = rules->options->l2, whole, chance = 0;
	bool improved = false;
	int64_t g = 0, h = 0;

	memcpy(cells, column_cells, n_slots * sizeof(*cells));
	for (int slot = 0; slot < n_slots; slot++)
	{
		double key;
		int at;

		if (cells[slot].h == 0)
			continue;
		key = ((double) cells[slot].g + SMOOTHING_ROWS * mean_g) /
		      ((double) cells[slot].h + SMOOTHING_ROWS * mean_h);
		for (at = n++; at > 0 && place[at - 1] > key; at--)
		{
			place[at] = place[at - 1];
			order[at] = order[at - 1];
		}
		place[at] = key;
		order[at] = (uint8_t) slot;
	}
	if (n < 2)
		return;
	if (n > ONE_AGAINST_REST)
	{
		double variance = leaf->squares / leaf->count - mean_g * mean_g;

		l2 += MANY_L2_ROWS * mean_h * rules->unit_h;
		chance = CHANCE_SHARE * (n - 1) * variance * rules->unit_g * rules->unit_g / (mean_h * rules->unit_h);
	}
	whole = whole_worth(rules, leaf, l2);
	for (int i = 0; i + 1 < n + (n <= ONE_AGAINST_REST); i++)
	{
		double gain;

		g = (n <= ONE_AGAINST_REST ? 0 : g) + cells[order[i]].g;
		h = (n <= ONE_AGAINST_REST ? 0 : h) + cells[order[i]].h;
		gain = gain_of(rules, leaf, column, g, h, whole, l2) - chance;
		if (gain > best->gain && gain >= chance)
		{
			take_set(best, gain, column);
			for (int k = n <= ONE_AGAINST_REST ? i : 0; k <= i; k++)
				add_slot(&best->set, order[k]);
			best->left_weight = bounded_weight(rules, leaf, to_sums(rules, g, h), l2);
			best->right_weight =
			    bounded_weight(rules, leaf, to_sums(rules, leaf->sum.g - g, leaf->sum.h - h), l2);
			improved = true;
		}
	}
	if (improved)
		settle_absent(leaf, cells, &best->set);
}

void
pe_split_column(const pe_split_rules *rules, const pe_leaf *leaf, int column, const pe_cell *cells,
                pe_split *best)
{
	memset(best, 0, sizeof(*best));
	best->gain = rules->options->min_gain;
	best->column = -1;
	if (rules->bins->categorical[column])
		split_categorical(rules, leaf, column, cells, best);
	else
		split_numeric(rules, leaf, column, cells, best);
}
