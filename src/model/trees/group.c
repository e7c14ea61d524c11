/*
 * group.c
 *		Columns of few bins share a byte: the code of a group says the bins of all its
 *		columns at once, so that a row adds to one cell for all of them. Nothing is lost: a
 *		column's own cells are sums over the codes that hold its bin.
 */
#include "model/trees/trees.h"

#define GROUP_CODES 256
#define OPEN_GROUPS 64 /* of those that have room, the newest so many are looked at */

typedef struct open_group
{
	int group;
	int codes;
} open_group;

typedef struct grouping
{
	pe_bins *bins;
	open_group open[OPEN_GROUPS];
	int n_open;
} grouping;

static int
bins_of(const pe_bins *bins, int column)
{
	return (int) (bins->offsets[column + 1] - bins->offsets[column]);
}

/* First fit: an open group that the column's bins still fit into, or a new one. */
static void
place(grouping *g, int column)
{
	pe_bins *bins = g->bins;
	int n = bins_of(bins, column), at = 0;

	while (at < g->n_open && g->open[at].codes * n > GROUP_CODES)
		at++;
	if (at == g->n_open)
	{
		if (g->n_open == OPEN_GROUPS)
		{
			memmove(g->open, g->open + 1, (OPEN_GROUPS - 1) * sizeof(*g->open));
			at = --g->n_open;
		}
		g->open[g->n_open++] = (open_group){bins->n_groups++, 1};
	}
	bins->groups[column] = g->open[at].group;
	bins->steps[column] = (uint16_t) g->open[at].codes;
	g->open[at].codes *= n;
	bins->group_codes[g->open[at].group] = (uint16_t) g->open[at].codes;
	/* Every column has two bins at least. */
	if (g->open[at].codes * 2 > GROUP_CODES)
	{
		memmove(g->open + at, g->open + at + 1, (g->n_open - at - 1) * sizeof(*g->open));
		g->n_open--;
	}
}

/* The columns of each group one after another, and each column's bin by code. */
static void
list_members(pe_bins *bins)
{
	memset(bins->member_begin, 0, (bins->n_columns + 1) * sizeof(*bins->member_begin));
	for (int column = 0; column < bins->n_columns; column++)
		bins->member_begin[bins->groups[column] + 1]++;
	for (int group = 0; group < bins->n_groups; group++)
		bins->member_begin[group + 1] += bins->member_begin[group];
	for (int column = bins->n_columns - 1; column >= 0; column--)
		bins->members[--bins->member_begin[bins->groups[column] + 1]] = column;
	/* Each end has moved to its group's beginning. */
	for (int group = 0; group < bins->n_groups; group++)
		bins->member_begin[group] = bins->member_begin[group + 1];
	bins->member_begin[bins->n_groups] = bins->n_columns;
	for (int column = 0; column < bins->n_columns; column++)
		for (int code = 0; code < GROUP_CODES; code++)
			bins->decode[(size_t) column * GROUP_CODES + code] =
			    (uint8_t) (code / bins->steps[column] % bins_of(bins, column));
}

pe_status
pe_bins_group(const pe_env *env, pe_bins *bins, pe_error *err)
{
	grouping g = {.bins = bins};
	int n = bins->n_columns;

	bins->groups = pe_calloc(env, n, sizeof(*bins->groups));
	bins->steps = pe_calloc(env, n, sizeof(*bins->steps));
	bins->group_codes = pe_calloc(env, n, sizeof(*bins->group_codes));
	bins->members = pe_calloc(env, n, sizeof(*bins->members));
	bins->member_begin = pe_calloc(env, n + 1, sizeof(*bins->member_begin));
	bins->decode = pe_alloc(env, (size_t) n * GROUP_CODES);
	if (bins->groups == NULL || bins->steps == NULL || bins->group_codes == NULL || bins->members == NULL ||
	    bins->member_begin == NULL || bins->decode == NULL)
		return pe_fail_memory(err);
	/* The largest first, so that the small ones fill what room is left. */
	for (int size = GROUP_CODES; size > 0; size--)
		for (int column = 0; column < n; column++)
			if (bins_of(bins, column) == size)
				place(&g, column);
	list_members(bins);
	bins->stride = (size_t) bins->n_groups;
	return PE_OK;
}
