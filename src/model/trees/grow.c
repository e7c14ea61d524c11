/*
 * grow.c
 *		One tree: leaves are split until none is worth it. With max_leaves the best leaf
 *		is next, without it the newest, which gives the same tree as level by level and
 *		needs but one histogram for each level.
 *
 * A leaf owns a range of rows; splitting sorts the range into left and right, keeping
 * the order within. Only the smaller child's histogram is summed, the other's is the
 * parent's less that.
 */
#include "model/trees/trees.h"

#define SLOT_BUDGET       (64u << 20)
#define GROUPS_AN_ITEM    2
#define BATCH             16      /* small leaves that are split at once */
#define ALONE_MANY_LEAVES 1500000 /* additions; about a millisecond */
#define ALONE_ONE_LEAF    65536   /* when there is no other leaf to give to the other threads */

static pe_status
cancelled(pe_error *err)
{
	return pe_fail(err, PE_CANCELLED, "training was cancelled");
}

/* ---- nodes ---------------------------------------------------------------------------- */

static bool
grow_array(const pe_env *env, void **array, size_t count, size_t size)
{
	void *grown = pe_realloc(env, *array, count * size);

	if (grown == NULL)
		return false;
	*array = grown;
	return true;
}

static bool
reserve_nodes(pe_forest *forest, uint32_t more)
{
	pe_model *model = forest->model;
	uint32_t capacity;

	if (model->n_nodes + more <= forest->nodes_capacity)
		return true;
	capacity = forest->nodes_capacity + forest->nodes_capacity / 4 + more + 1024;
	if (!grow_array(&model->env, (void **) &model->nodes, capacity, sizeof(pe_node)) ||
	    !grow_array(&model->env, (void **) &model->values, capacity, sizeof(double)) ||
	    !grow_array(&model->env, (void **) &model->covers, capacity, sizeof(double)) ||
	    !grow_array(&model->env, (void **) &forest->gains, capacity, sizeof(double)) ||
	    !grow_array(&model->env, (void **) &forest->bins, capacity, sizeof(uint8_t)))
		return false;
	forest->nodes_capacity = capacity;
	return true;
}

static uint32_t
add_node(pe_forest *forest, uint32_t cover)
{
	pe_model *model = forest->model;
	uint32_t at = model->n_nodes++;

	memset(&model->nodes[at], 0, sizeof(pe_node));
	model->values[at] = 0;
	model->covers[at] = cover;
	forest->bins[at] = 0;
	forest->gains[at] = 0;
	return at;
}

/* Write the split into the leaf's node; its children are the next two nodes. */
static bool
write_split(pe_grower *grower, const pe_leaf *leaf)
{
	pe_forest *forest = grower->forest;
	pe_model *model = forest->model;
	const pe_split *split = &leaf->split;
	pe_node *node;

	if (!reserve_nodes(forest, 2))
		return false;
	node = &model->nodes[leaf->node];
	node->feature = (uint16_t) grower->bins->features[split->column];
	if (split->categorical)
	{
		if (model->n_sets == forest->sets_capacity)
		{
			uint32_t capacity = forest->sets_capacity * 2 + 64;

			if (!grow_array(&model->env, (void **) &model->sets, capacity, sizeof(pe_level_set)))
				return false;
			forest->sets_capacity = capacity;
		}
		node->flags = PE_NODE_CATEGORICAL;
		node->test.set = model->n_sets;
		model->sets[model->n_sets++] = split->set;
	}
	else
	{
		node->flags = split->missing_left ? PE_NODE_MISSING_LEFT : 0;
		node->test.threshold = grower->bins->edges[(size_t) split->column * PE_EDGES + split->bin - 1];
		forest->bins[leaf->node] = split->bin;
	}
	node->left = model->n_nodes;
	forest->gains[leaf->node] = split->gain;
	return true;
}

/* ---- histograms by slot --------------------------------------------------------------- */

static pe_cell *
slot_cells(const pe_grower *grower, int slot)
{
	return grower->cells + (size_t) slot * grower->bins->offsets[grower->bins->n_columns];
}

static void
release_slot(pe_grower *grower, int *slot)
{
	if (*slot >= 0)
		grower->free_slots[grower->n_free++] = *slot;
	*slot = -1;
}

/*
 * A free histogram; when there is none, the open leaf with the least gain gives up
 * its own, and will have both children summed should it be split after all.
 */
static int
take_slot(pe_grower *grower)
{
	if (grower->n_free == 0)
	{
		pe_leaf *poorest = NULL;

		for (uint32_t i = 0; i < grower->n_open; i++)
			if (grower->open[i].slot >= 0 &&
			    (poorest == NULL || grower->open[i].split.gain < poorest->split.gain))
				poorest = &grower->open[i];
		if (poorest != NULL)
			release_slot(grower, &poorest->slot);
	}
	return grower->free_slots[--grower->n_free];
}

/* ---- the best split of a leaf --------------------------------------------------------- */

/* Of equal gains the column further to the front, in whatever order they are looked at. */
static inline void
take_better(pe_split *best, const pe_split *split)
{
	if (split->column >= 0 && (best->column < 0 || split->gain > best->gain ||
	                           (split->gain == best->gain && split->column < best->column)))
		*best = *split;
}

static void
no_split(pe_split *split)
{
	memset(split, 0, sizeof(*split));
	split->column = -1;
}

/* The best split on a column of the group, of those that the tree may use. */
static void
split_group(const pe_grower *grower, const pe_leaf *leaf, int group, pe_split *best)
{
	const pe_bins *bins = grower->bins;
	const pe_cell *cells = slot_cells(grower, leaf->slot);

	for (int i = bins->member_begin[group]; i < bins->member_begin[group + 1]; i++)
	{
		int column = bins->members[i];
		pe_split split;

		if (!grower->is_active[column])
			continue;
		pe_split_column(&grower->rules, leaf, column, cells + bins->offsets[column], &split);
		take_better(best, &split);
	}
}

static void
subtract_group(const pe_grower *grower, int group, const pe_leaf *from, const pe_leaf *what)
{
	const pe_bins *bins = grower->bins;

	for (int i = bins->member_begin[group]; i < bins->member_begin[group + 1]; i++)
	{
		int column = bins->members[i];
		uint32_t n = bins->offsets[column + 1] - bins->offsets[column];
		pe_cell *cells = slot_cells(grower, from->slot) + bins->offsets[column];
		const pe_cell *less = slot_cells(grower, what->slot) + bins->offsets[column];

		for (uint32_t cell = 0; cell < n; cell++)
		{
			cells[cell].g -= less[cell].g;
			cells[cell].h -= less[cell].h;
		}
	}
}

/* ---- a leaf becomes two --------------------------------------------------------------- */

/*
 * A leaf that is being split. Which of its children need a histogram is known when its
 * rows are sorted; slots are set aside before.
 */
typedef struct branch
{
	pe_leaf parent;
	pe_leaf left;
	pe_leaf right;
	int spare[2];
	pe_leaf *small;
	pe_leaf *large;
	bool small_may; /* be split further, which is what a histogram is for */
	bool large_may;
	bool subtract; /* the large one's histogram is the parent's less the small one's */
} branch;

/* Could a leaf be split at all? */
static bool
may_split(const pe_grower *grower, const pe_leaf *leaf)
{
	return leaf->depth < grower->options->max_depth && leaf->count >= 2 &&
	       (double) leaf->sum.h * grower->rules.unit_h >= 2 * grower->options->min_child_weight;
}

/* So little to do that sharing it would cost more, and threads rather take a leaf each. */
static bool
is_small(const pe_grower *grower, const pe_leaf *leaf)
{
	uint64_t work = (uint64_t) leaf->count * (grower->n_groups + 4) + (uint64_t) grower->n_cells * 4;

	return leaf->count <= PE_ALONE_ROWS &&
	       work < (grower->options->max_leaves > 0 ? ALONE_ONE_LEAF : ALONE_MANY_LEAVES);
}

/* The children's values may not cross the middle of the two where the column is monotone. */
static void
bound_children(const pe_grower *grower, const pe_leaf *parent, pe_leaf *left, pe_leaf *right)
{
	double middle = (parent->split.left_weight + parent->split.right_weight) / 2;
	int direction = grower->rules.monotone != NULL ? grower->rules.monotone[parent->split.column] : 0;

	left->lowest = right->lowest = parent->lowest;
	left->highest = right->highest = parent->highest;
	if (direction > 0)
		left->highest = right->lowest = middle;
	else if (direction < 0)
		left->lowest = right->highest = middle;
}

/* What goes left, from the parent's histogram or, without one, from the sorted rows. */
static pe_cell
left_sum(const pe_grower *grower, const pe_leaf *parent, uint32_t n_left)
{
	const pe_split *split = &parent->split;
	pe_cell sum = {0, 0};

	if (parent->slot >= 0)
	{
		uint32_t begin = grower->bins->offsets[split->column], end = grower->bins->offsets[split->column + 1];
		const pe_cell *cells = slot_cells(grower, parent->slot) + begin;

		for (uint32_t bin = 0; bin < end - begin; bin++)
			if (pe_split_goes_left(split, (uint8_t) bin))
			{
				sum.g += cells[bin].g;
				sum.h += cells[bin].h;
			}
		return sum;
	}
	for (uint32_t i = parent->begin; i < parent->begin + n_left; i++)
	{
		const pe_pair *pair = &grower->pairs[(uint32_t) grower->entries[i]];

		if (grower->capacity <= PE_EXACT_ROWS)
		{
			sum.g += pair->g;
			sum.h += pair->h;
			continue;
		}
		sum.g += ((int64_t) grower->entries[i] >> 48) * (1 << PE_ENTRY_SHIFT);
		sum.h += (int64_t) (grower->entries[i] >> 32 & 0xffff) * (1 << PE_ENTRY_SHIFT);
	}
	return sum;
}

/* Slots that splitting the leaf may ask for, beside its own. */
static int
slots_wanted(const pe_grower *grower, const pe_leaf *leaf)
{
	if (leaf->depth + 1 >= grower->options->max_depth)
		return 0;
	return leaf->slot >= 0 ? 1 : 2;
}

static void
begin_branch(pe_grower *grower, branch *b, const pe_leaf *leaf)
{
	int wanted = slots_wanted(grower, leaf);

	memset(b, 0, sizeof(*b));
	b->parent = *leaf;
	b->left = (pe_leaf){.depth = leaf->depth + 1, .slot = -1, .begin = leaf->begin};
	b->right = (pe_leaf){.depth = leaf->depth + 1, .slot = -1};
	no_split(&b->left.split);
	no_split(&b->right.split);
	for (int i = 0; i < 2; i++)
		b->spare[i] = i < wanted ? take_slot(grower) : -1;
}

/* After sorting: what the children are, and who gets which slot. */
static void
divide(const pe_grower *grower, branch *b, uint32_t n_left)
{
	pe_leaf *parent = &b->parent;

	b->left.count = n_left;
	b->left.sum = left_sum(grower, parent, n_left);
	b->right.begin = parent->begin + n_left;
	b->right.count = parent->count - n_left;
	b->right.sum = (pe_cell){parent->sum.g - b->left.sum.g, parent->sum.h - b->left.sum.h};
	bound_children(grower, parent, &b->left, &b->right);
	b->small = b->left.count <= b->right.count ? &b->left : &b->right;
	b->large = b->small == &b->left ? &b->right : &b->left;
	b->small_may = may_split(grower, b->small);
	b->large_may = may_split(grower, b->large);
	b->subtract = b->large_may && parent->slot >= 0;
	if (b->small_may || b->subtract)
	{
		b->small->slot = b->spare[0];
		b->spare[0] = -1;
	}
	if (b->subtract)
	{
		b->large->slot = parent->slot;
		parent->slot = -1;
	}
	else if (b->large_may)
	{
		int *spare = &b->spare[b->spare[0] >= 0 ? 0 : 1];

		b->large->slot = *spare;
		*spare = -1;
	}
}

/* A group's cells of a child that was summed by the threads first .. last - 1, its split, and so for the
 * other. */
static void
finish_group(const pe_grower *grower, branch *b, pe_leaf *summed, int group, int first, int last,
             pe_split *of_summed, pe_split *of_other)
{
	pe_histogram_take(grower->histogram, group, first, last, slot_cells(grower, summed->slot));
	if (summed == b->small ? b->small_may : b->large_may)
		split_group(grower, summed, group, of_summed);
	if (summed == b->small && b->subtract)
	{
		subtract_group(grower, group, b->large, b->small);
		split_group(grower, b->large, group, of_other);
	}
}

static void
note_squares(branch *b, pe_leaf *summed, double squares)
{
	summed->squares = squares;
	if (summed == b->small && b->subtract)
		b->large->squares = b->parent.squares - summed->squares;
}

static void
sum_alone(const pe_grower *grower, branch *b, pe_leaf *leaf, int thread)
{
	int n_groups;
	const int *groups = pe_histogram_groups(grower->histogram, &n_groups);
	pe_leaf *other = leaf == b->small ? b->large : b->small;

	if (leaf->slot < 0)
		return;
	pe_histogram_add(grower->histogram, thread, grower->entries + leaf->begin, leaf->count);
	note_squares(b, leaf, pe_histogram_squares(grower->histogram, thread, thread + 1));
	for (int i = 0; i < n_groups; i++)
		finish_group(grower, b, leaf, groups[i], thread, thread + 1, &leaf->split, &other->split);
	pe_histogram_end(grower->histogram, thread, thread + 1);
}

typedef struct batch
{
	pe_grower *grower;
	branch branches[BATCH];
	uint32_t order[BATCH]; /* the longest first, so that threads end together */
	int n;
} batch;

/* All of a small leaf's splitting, by one thread. */
static void
branch_work(void *ctx, uint32_t item, int thread)
{
	batch *all = ctx;
	branch *b = &all->branches[all->order[item]];

	divide(all->grower, b, pe_partition_alone(all->grower, &b->parent));
	sum_alone(all->grower, b, b->small, thread);
	if (!b->subtract)
		sum_alone(all->grower, b, b->large, thread);
}

static bool
split_small(batch *all)
{
	pe_grower *grower = all->grower;

	for (int i = 0; i < all->n; i++)
	{
		int at = i;

		for (; at > 0 && all->branches[all->order[at - 1]].parent.count < all->branches[i].parent.count; at--)
			all->order[at] = all->order[at - 1];
		all->order[at] = (uint32_t) i;
	}
	return pe_team_run(grower->pool, branch_work, all, (uint32_t) all->n);
}

/* ---- a large leaf, shared by all threads ---------------------------------------------- */

typedef struct finish_job
{
	pe_grower *grower;
	branch *b;
	pe_leaf *summed;
	const int *groups;
	int n_groups;
} finish_job;

static void
finish_work(void *ctx, uint32_t item, int thread)
{
	finish_job *job = ctx;
	int end = (int) (item + 1) * GROUPS_AN_ITEM;

	for (int i = (int) item * GROUPS_AN_ITEM; i < end && i < job->n_groups; i++)
	{
		pe_split *splits = job->grower->group_splits + 2 * (size_t) i;

		no_split(&splits[0]);
		no_split(&splits[1]);
		finish_group(job->grower, job->b, job->summed, job->groups[i], 0, pe_team_threads(job->grower->pool),
		             &splits[0], &splits[1]);
	}
}

/* The leaf's rows are in the histogram's words: take them out, and find the splits. */
static bool
finish_shared(pe_grower *grower, branch *b, pe_leaf *leaf)
{
	finish_job job = {grower, b, leaf, NULL, 0};
	pe_leaf *other = leaf == b->small ? b->large : b->small;
	int threads = pe_team_threads(grower->pool);

	job.groups = pe_histogram_groups(grower->histogram, &job.n_groups);
	note_squares(b, leaf, pe_histogram_squares(grower->histogram, 0, threads));
	if (!pe_team_run(grower->pool, finish_work, &job, (job.n_groups + GROUPS_AN_ITEM - 1) / GROUPS_AN_ITEM))
		return false;
	pe_histogram_end(grower->histogram, 0, threads);
	for (int i = 0; i < job.n_groups; i++)
	{
		take_better(&leaf->split, &grower->group_splits[2 * (size_t) i]);
		take_better(&other->split, &grower->group_splits[2 * (size_t) i + 1]);
	}
	return true;
}

static bool
sum_shared(pe_grower *grower, branch *b, pe_leaf *leaf)
{
	if (leaf->slot < 0)
		return true;
	pe_histogram_begin(grower->histogram, slot_cells(grower, leaf->slot));
	return pe_histogram_add_shared(grower->histogram, grower->entries + leaf->begin, leaf->count) &&
	       finish_shared(grower, b, leaf);
}

static bool
split_large(pe_grower *grower, branch *b)
{
	uint32_t n_left;

	if (!pe_partition_shared(grower, &b->parent, &n_left))
		return false;
	divide(grower, b, n_left);
	return sum_shared(grower, b, b->small) && (b->subtract || sum_shared(grower, b, b->large));
}

/* ---- leaves --------------------------------------------------------------------------- */

static bool
push_leaf(const pe_env *env, pe_leaf **leaves, uint32_t count, uint32_t *capacity)
{
	if (count < *capacity)
		return true;
	if (!grow_array(env, (void **) leaves, (size_t) *capacity * 2 + 64, sizeof(pe_leaf)))
		return false;
	*capacity = *capacity * 2 + 64;
	return true;
}

static pe_status
close_leaf(pe_grower *grower, pe_leaf *leaf)
{
	if (!push_leaf(grower->env, &grower->closed, grower->n_closed, &grower->closed_capacity))
		return pe_fail_memory(grower->err);
	release_slot(grower, &leaf->slot);
	grower->closed[grower->n_closed++] = *leaf;
	return PE_OK;
}

/* A leaf that is worth splitting becomes an open one, any other a closed one. */
static pe_status
settle_leaf(pe_grower *grower, pe_leaf *leaf)
{
	if (leaf->split.column < 0)
		return close_leaf(grower, leaf);
	if (!push_leaf(grower->env, &grower->open, grower->n_open, &grower->open_capacity))
		return pe_fail_memory(grower->err);
	grower->open[grower->n_open++] = *leaf;
	return PE_OK;
}

static pe_status
end_branch(pe_grower *grower, branch *b)
{
	pe_status status;

	if (b->left.count == 0 || b->right.count == 0)
		return pe_fail(grower->err, PE_INTERNAL, "a split left one side empty");
	if (!write_split(grower, &b->parent))
		return pe_fail_memory(grower->err);
	b->left.node = add_node(grower->forest, b->left.count);
	b->right.node = add_node(grower->forest, b->right.count);
	release_slot(grower, &b->parent.slot);
	release_slot(grower, &b->spare[0]);
	release_slot(grower, &b->spare[1]);
	if (!b->small_may)
		release_slot(grower, &b->small->slot);
	/* The right one first: without max_leaves the newest, so the left, is next. */
	status = settle_leaf(grower, &b->right);
	return status == PE_OK ? settle_leaf(grower, &b->left) : status;
}

static pe_leaf
take_leaf(pe_grower *grower, uint32_t at)
{
	pe_leaf leaf = grower->open[at];

	/* Those behind keep their order, or the newest would not be the last. */
	memmove(grower->open + at, grower->open + at + 1, (--grower->n_open - at) * sizeof(leaf));
	return leaf;
}

static uint32_t
best_open(const pe_grower *grower)
{
	uint32_t best = 0;

	for (uint32_t i = 1; i < grower->n_open; i++)
		if (grower->open[i].split.gain > grower->open[best].split.gain ||
		    (grower->open[i].split.gain == grower->open[best].split.gain &&
		     grower->open[i].node < grower->open[best].node))
			best = i;
	return best;
}

/*
 * The leaf that is split next. By gain, or the newest; then large ones come first as long
 * as there are slots enough, so that in the end many small ones are left to share out.
 */
static uint32_t
next_open(const pe_grower *grower)
{
	if (grower->options->max_leaves > 0)
		return best_open(grower);
	if (grower->n_free > grower->options->max_depth + 2)
		for (uint32_t i = grower->n_open; i-- > 0;)
			if (!is_small(grower, &grower->open[i]))
				return i;
	return grower->n_open - 1;
}

/* Split one large leaf, or as many small ones as there are slots for. */
static pe_status
split_some(pe_grower *grower, batch *all)
{
	uint32_t at = next_open(grower);
	bool large = !is_small(grower, &grower->open[at]), done;
	pe_status status = PE_OK;
	pe_leaf leaf = take_leaf(grower, at);

	all->grower = grower;
	all->n = 0;
	begin_branch(grower, &all->branches[all->n++], &leaf);
	while (!large && grower->options->max_leaves == 0 && all->n < BATCH && grower->n_open > 0 &&
	       is_small(grower, &grower->open[grower->n_open - 1]) &&
	       slots_wanted(grower, &grower->open[grower->n_open - 1]) <= grower->n_free)
	{
		leaf = take_leaf(grower, grower->n_open - 1);
		begin_branch(grower, &all->branches[all->n++], &leaf);
	}
	done = large ? split_large(grower, &all->branches[0]) : split_small(all);
	if (!done)
		return cancelled(grower->err);
	for (int i = 0; i < all->n && status == PE_OK; i++)
		status = end_branch(grower, &all->branches[i]);
	return status;
}

/* ---- the tree ------------------------------------------------------------------------- */

/* Any column's cells hold all rows. */
static pe_cell
sum_of_cells(const pe_grower *grower, int column, const pe_cell *cells)
{
	pe_cell sum = {0, 0};

	for (uint32_t i = grower->bins->offsets[column]; i < grower->bins->offsets[column + 1]; i++)
	{
		sum.g += cells[i].g;
		sum.h += cells[i].h;
	}
	return sum;
}

static void
choose_columns(pe_grower *grower)
{
	memset(grower->is_active, 0, grower->bins->n_columns);
	for (int i = 0; i < grower->n_active; i++)
		grower->is_active[grower->active[i]] = true;
	pe_histogram_choose(grower->histogram, grower->active, grower->n_active);
	(void) pe_histogram_groups(grower->histogram, &grower->n_groups);
}

bool
pe_grower_sum(pe_grower *grower, const uint32_t *rows, uint32_t count, pe_cell *cells)
{
	int threads = pe_team_threads(grower->pool), n_groups;
	const int *groups = pe_histogram_groups(grower->histogram, &n_groups);

	choose_columns(grower);
	pe_histogram_begin(grower->histogram, cells);
	if (!pe_partition_enter(grower, rows, count))
		return false;
	groups = pe_histogram_groups(grower->histogram, &n_groups);
	for (int i = 0; i < n_groups; i++)
		pe_histogram_take(grower->histogram, groups[i], 0, threads, cells);
	grower->squares = pe_histogram_squares(grower->histogram, 0, threads);
	pe_histogram_end(grower->histogram, 0, threads);
	return !pe_team_poll(grower->pool, 0);
}

/* The leaves' values, from the unrounded gradients of their rows. */
static pe_status
settle_values(pe_grower *grower, const uint32_t *rows, uint32_t count)
{
	pe_model *model = grower->forest->model;
	pe_status status = pe_leaves_settle(grower, rows, count);

	if (status != PE_OK)
		return status;
	for (uint32_t i = 0; i < grower->n_closed; i++)
		model->values[grower->closed[i].node] =
		    grower->options->learning_rate * pe_leaf_weight(&grower->rules, &grower->closed[i]);
	model->roots[++model->n_trees] = model->n_nodes;
	return PE_OK;
}

static pe_status
begin_tree(pe_grower *grower, const uint32_t *rows, uint32_t count)
{
	pe_leaf root = {.count = count, .lowest = -INFINITY, .highest = INFINITY};
	pe_cell *cells;
	int n_groups;
	const int *groups = pe_histogram_groups(grower->histogram, &n_groups);

	grower->n_open = 0;
	grower->n_closed = 0;
	if (!reserve_nodes(grower->forest, 1))
		return pe_fail_memory(grower->err);
	root.node = add_node(grower->forest, count);
	root.slot = take_slot(grower);
	cells = slot_cells(grower, root.slot);
	if (!pe_grower_sum(grower, rows, count, cells))
		return cancelled(grower->err);
	groups = pe_histogram_groups(grower->histogram, &n_groups);
	root.sum = sum_of_cells(grower, grower->active[0], cells);
	root.squares = grower->squares;
	no_split(&root.split);
	for (int i = 0; i < n_groups && may_split(grower, &root); i++)
		split_group(grower, &root, groups[i], &root.split);
	return settle_leaf(grower, &root);
}

pe_status
pe_grow_tree(pe_grower *grower, const uint32_t *rows, uint32_t count)
{
	pe_status status = begin_tree(grower, rows, count);
	batch all;

	while (status == PE_OK && grower->n_open > 0)
	{
		if (grower->options->max_leaves > 0 &&
		    grower->n_open + grower->n_closed >= (uint32_t) grower->options->max_leaves)
			break;
		status = split_some(grower, &all);
	}
	while (status == PE_OK && grower->n_open > 0)
	{
		pe_leaf leaf = grower->open[--grower->n_open];

		status = close_leaf(grower, &leaf);
	}
	return status == PE_OK ? settle_values(grower, rows, count) : status;
}

pe_status
pe_grower_create(pe_grower *grower)
{
	const pe_bins *bins = grower->bins;
	size_t slot_bytes;
	size_t wanted, affordable;

	grower->n_cells = bins->offsets[bins->n_columns];
	slot_bytes = grower->n_cells * sizeof(pe_cell);
	wanted = grower->options->max_leaves > 0 ? (size_t) grower->options->max_leaves + 2
	                                         : (size_t) grower->options->max_depth + 3 + 3 * BATCH;
	affordable = SLOT_BUDGET / slot_bytes;
	/* A split holds two slots at once, and one more may be asked for. */
	affordable = affordable < 4 ? 4 : affordable;
	grower->n_slots = (int) (wanted < affordable ? wanted : affordable);
	grower->cells = pe_alloc(grower->env, grower->n_slots * slot_bytes);
	grower->histogram = pe_histogram_create(grower->env, grower->pool, bins,
	                                        grower->capacity <= PE_EXACT_ROWS ? grower->pairs : NULL);
	grower->entries = pe_alloc_large(grower->env, grower->capacity, sizeof(pe_entry));
	grower->scratch = pe_alloc_large(grower->env, grower->capacity, sizeof(pe_entry));
	grower->free_slots = pe_alloc(grower->env, grower->n_slots * sizeof(int));
	grower->group_splits = pe_calloc(grower->env, bins->n_groups, 2 * sizeof(pe_split));
	grower->active = pe_calloc(grower->env, bins->n_columns, sizeof(int));
	grower->is_active = pe_calloc(grower->env, bins->n_columns, sizeof(bool));
	if (grower->cells == NULL || grower->histogram == NULL || grower->entries == NULL ||
	    grower->scratch == NULL || grower->free_slots == NULL || grower->group_splits == NULL ||
	    grower->active == NULL || grower->is_active == NULL)
		return pe_fail_memory(grower->err);
	for (int i = 0; i < grower->n_slots; i++)
		grower->free_slots[i] = i;
	grower->n_free = grower->n_slots;
	return pe_leaves_create(grower);
}

void
pe_grower_free(pe_grower *grower)
{
	pe_free(grower->env, grower->cells);
	pe_histogram_free(grower->histogram);
	pe_free(grower->env, grower->entries);
	pe_free(grower->env, grower->scratch);
	pe_free(grower->env, grower->free_slots);
	pe_free(grower->env, grower->group_splits);
	pe_free(grower->env, grower->active);
	pe_free(grower->env, grower->is_active);
	pe_free(grower->env, grower->open);
	pe_free(grower->env, grower->closed);
	pe_leaves_free(grower);
}
