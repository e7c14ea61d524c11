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

#define PARTITION_ROWS       8192
#define PARALLEL_SPLIT_CELLS 32768
#define SLOT_BUDGET          (64u << 20)
#define COLUMNS_AN_ITEM      8

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
	capacity = forest->nodes_capacity * 2 + more + 1024;
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

static inline bool
bin_goes_left(const pe_level_set *set, bool categorical, bool missing_left, uint8_t threshold, uint8_t bin)
{
	if (categorical)
		return (set->bits[bin >> 5] >> (bin & 31)) & 1;
	return bin == 0 ? missing_left : bin <= threshold;
}

uint32_t
pe_forest_walk(const pe_forest *forest, const pe_bins *bins, uint32_t tree, const uint8_t *row)
{
	const pe_model *model = forest->model;
	uint32_t at = model->roots[tree];

	while (model->nodes[at].left != 0)
	{
		const pe_node *node = &model->nodes[at];
		bool categorical = node->flags & PE_NODE_CATEGORICAL;
		uint8_t bin = row[bins->columns[node->feature]];

		at = node->left + !bin_goes_left(categorical ? &model->sets[node->test.set] : NULL, categorical,
		                                 node->flags & PE_NODE_MISSING_LEFT, forest->bins[at], bin);
	}
	return at;
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

		for (int i = 0; i < grower->n_open; i++)
			if (grower->open[i].slot >= 0 &&
			    (poorest == NULL || grower->open[i].split.gain < poorest->split.gain))
				poorest = &grower->open[i];
		if (poorest != NULL)
			release_slot(grower, &poorest->slot);
	}
	return grower->free_slots[--grower->n_free];
}

static bool
build(pe_grower *grower, pe_leaf *leaf)
{
	leaf->slot = take_slot(grower);
	return pe_histogram_build(grower->pool, grower->bins, grower->active, grower->n_active, grower->pairs,
	                          grower->rows + leaf->begin, leaf->count, slot_cells(grower, leaf->slot),
	                          grower->thread_cells);
}

/* ---- the best split of a leaf --------------------------------------------------------- */

typedef struct split_job
{
	pe_grower *grower;
	const pe_leaf *leaf;
} split_job;

static void
split_work(void *ctx, uint32_t item, int thread)
{
	split_job *job = ctx;
	pe_grower *grower = job->grower;
	int end = (int) (item + 1) * COLUMNS_AN_ITEM;
	const pe_cell *cells = slot_cells(grower, job->leaf->slot);

	for (int i = (int) item * COLUMNS_AN_ITEM; i < end && i < grower->n_active; i++)
	{
		int column = grower->active[i];

		pe_split_column(&grower->rules, job->leaf, column, cells + grower->bins->offsets[column],
		                &grower->column_splits[i]);
	}
}

static bool
find_split(pe_grower *grower, pe_leaf *leaf)
{
	split_job job = {grower, leaf};
	uint32_t items = (grower->n_active + COLUMNS_AN_ITEM - 1) / COLUMNS_AN_ITEM;

	memset(&leaf->split, 0, sizeof(leaf->split));
	leaf->split.column = -1;
	if (grower->bins->offsets[grower->bins->n_columns] < PARALLEL_SPLIT_CELLS)
	{
		for (uint32_t item = 0; item < items; item++)
			split_work(&job, item, 0);
		if (pe_team_poll(grower->pool, 0))
			return false;
	}
	else if (!pe_team_run(grower->pool, split_work, &job, items))
		return false;
	for (int i = 0; i < grower->n_active; i++)
		if (grower->column_splits[i].column >= 0 && grower->column_splits[i].gain > leaf->split.gain)
			leaf->split = grower->column_splits[i];
	return true;
}

/* ---- rows to the left, rows to the right ---------------------------------------------- */

typedef struct partition_job
{
	pe_grower *grower;
	const pe_leaf *leaf;
	uint32_t *counts; /* by chunk: rows that go left, then where they begin */
	pe_cell *sums;    /* by chunk, of what goes left */
	double *squares;
	uint32_t n_left;
} partition_job;

#define PARTITION_CHUNKS 1024

static inline uint32_t
chunk_rows(uint32_t count)
{
	uint32_t rows = (count + PARTITION_CHUNKS - 1) / PARTITION_CHUNKS;

	return rows < PARTITION_ROWS ? PARTITION_ROWS : rows;
}

/* Lefts to the front of the chunk's part of the scratch, rights to its back in reverse. */
static void
sort_chunk(void *ctx, uint32_t item, int thread)
{
	partition_job *job = ctx;
	const pe_grower *grower = job->grower;
	const pe_split *split = &job->leaf->split;
	uint32_t size = chunk_rows(job->leaf->count);
	uint32_t begin = item * size;
	uint32_t end = job->leaf->count - begin < size ? job->leaf->count : begin + size;
	const uint32_t *rows = grower->rows + job->leaf->begin;
	uint32_t *scratch = grower->scratch + job->leaf->begin;
	const uint8_t *column = grower->bins->matrix + split->column;
	size_t stride = grower->bins->stride;
	uint32_t left = begin, right = end - 1;
	pe_cell sum = {0, 0};
	double squares = 0;
	uint8_t lefts[256];

	for (int bin = 0; bin < 256; bin++)
		lefts[bin] =
		    bin_goes_left(&split->set, split->categorical, split->missing_left, split->bin, (uint8_t) bin);
	for (uint32_t i = begin; i < end; i++)
	{
		uint32_t row = rows[i];
		uint32_t goes_left = lefts[column[(size_t) row * stride]];

		/* Which way is a coin toss to the processor, so no branch: both places are free, one is kept. */
		scratch[left] = row;
		scratch[right] = row;
		left += goes_left;
		right -= 1 - goes_left;
	}
	for (uint32_t i = begin; i < left; i++)
	{
		const pe_pair *pair = &grower->pairs[scratch[i]];

		sum.g += pair->g;
		sum.h += pair->h;
		squares += (double) pair->g * pair->g;
	}
	job->counts[item] = left - begin;
	job->sums[item] = sum;
	job->squares[item] = squares;
}

static void
place_chunk(void *ctx, uint32_t item, int thread)
{
	partition_job *job = ctx;
	const pe_grower *grower = job->grower;
	uint32_t size = chunk_rows(job->leaf->count);
	uint32_t begin = item * size;
	uint32_t end = job->leaf->count - begin < size ? job->leaf->count : begin + size;
	const uint32_t *scratch = grower->scratch + job->leaf->begin;
	uint32_t *rows = grower->rows + job->leaf->begin;
	uint32_t left = job->counts[item];
	uint32_t n_left = job->counts[item + 1] - left;
	uint32_t right = job->n_left + (begin - left);

	memcpy(rows + left, scratch + begin, n_left * sizeof(*rows));
	for (uint32_t i = end; i-- > begin + n_left;)
		rows[right++] = scratch[i];
}

/* Sort the leaf's rows; left gets its count and sums. Chunks depend on the count alone. */
static bool
partition(pe_grower *grower, const pe_leaf *leaf, pe_leaf *left)
{
	uint32_t counts[PARTITION_CHUNKS + 1];
	pe_cell sums[PARTITION_CHUNKS];
	double squares[PARTITION_CHUNKS];
	partition_job job = {grower, leaf, counts, sums, squares, 0};
	uint32_t chunks = (leaf->count + chunk_rows(leaf->count) - 1) / chunk_rows(leaf->count);
	uint32_t sum = 0;

	if (!pe_team_run(grower->pool, sort_chunk, &job, chunks))
		return false;
	left->sum = (pe_cell){0, 0};
	left->squares = 0;
	for (uint32_t i = 0; i < chunks; i++)
	{
		uint32_t count = counts[i];

		counts[i] = sum;
		sum += count;
		left->sum.g += sums[i].g;
		left->sum.h += sums[i].h;
		left->squares += squares[i];
	}
	counts[chunks] = sum;
	job.n_left = sum;
	left->count = sum;
	return pe_team_run(grower->pool, place_chunk, &job, chunks);
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
	grower->forest->model->values[leaf->node] =
	    grower->options->learning_rate * pe_leaf_weight(&grower->rules, leaf);
	grower->closed[grower->n_closed++] = *leaf;
	return PE_OK;
}

/* Could a leaf be split at all? Then its histogram is worth having. */
static bool
may_split(const pe_grower *grower, const pe_leaf *leaf)
{
	return leaf->depth < grower->options->max_depth && leaf->count >= 2 &&
	       (double) leaf->sum.h * grower->rules.unit_h >= 2 * grower->options->min_child_weight;
}

/* A leaf with a histogram becomes an open one when a split pays, else a closed one. */
static pe_status
settle_leaf(pe_grower *grower, pe_leaf *leaf)
{
	uint32_t capacity = (uint32_t) grower->open_capacity;

	if (leaf->slot >= 0 && may_split(grower, leaf))
	{
		if (!find_split(grower, leaf))
			return cancelled(grower->err);
		if (leaf->split.column >= 0)
		{
			if (!push_leaf(grower->env, &grower->open, (uint32_t) grower->n_open, &capacity))
				return pe_fail_memory(grower->err);
			grower->open_capacity = (int) capacity;
			grower->open[grower->n_open++] = *leaf;
			return PE_OK;
		}
	}
	return close_leaf(grower, leaf);
}

static pe_leaf
take_leaf(pe_grower *grower)
{
	int at = grower->n_open - 1;
	pe_leaf leaf;

	if (grower->options->max_leaves > 0)
	{
		at = 0;
		for (int i = 1; i < grower->n_open; i++)
			if (grower->open[i].split.gain > grower->open[at].split.gain ||
			    (grower->open[i].split.gain == grower->open[at].split.gain &&
			     grower->open[i].node < grower->open[at].node))
				at = i;
	}
	leaf = grower->open[at];
	grower->open[at] = grower->open[--grower->n_open];
	return leaf;
}

/* Any column's cells hold all rows. */
static void
sum_of_cells(const pe_grower *grower, pe_leaf *leaf)
{
	int column = grower->active[0];
	const pe_cell *cells = slot_cells(grower, leaf->slot) + grower->bins->offsets[column];
	uint32_t n = grower->bins->offsets[column + 1] - grower->bins->offsets[column];

	leaf->sum = (pe_cell){0, 0};
	for (uint32_t i = 0; i < n; i++)
	{
		leaf->sum.g += cells[i].g;
		leaf->sum.h += cells[i].h;
	}
}

/* Give both children histograms where they need them, the parent's going to the larger. */
static bool
children_histograms(pe_grower *grower, pe_leaf *parent, pe_leaf *small, pe_leaf *large)
{
	bool small_may, large_may;

	small_may = may_split(grower, small);
	large_may = may_split(grower, large);
	if (large_may && parent->slot >= 0)
	{
		pe_cell *of_large, *of_small;
		uint32_t n = grower->bins->offsets[grower->bins->n_columns];

		large->slot = parent->slot;
		parent->slot = -1;
		if (!build(grower, small))
			return false;
		of_large = slot_cells(grower, large->slot);
		of_small = slot_cells(grower, small->slot);
		for (uint32_t i = 0; i < n; i++)
		{
			of_large[i].g -= of_small[i].g;
			of_large[i].h -= of_small[i].h;
		}
		if (!small_may)
			release_slot(grower, &small->slot);
		return true;
	}
	release_slot(grower, &parent->slot);
	return (!small_may || build(grower, small)) && (!large_may || build(grower, large));
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

static pe_status
split_leaf(pe_grower *grower, pe_leaf *parent)
{
	pe_leaf left = {.depth = parent->depth + 1, .slot = -1, .begin = parent->begin};
	pe_leaf right = {.depth = parent->depth + 1, .slot = -1};
	pe_status status;

	if (!partition(grower, parent, &left))
		return cancelled(grower->err);
	if (left.count == 0 || left.count == parent->count)
		return pe_fail(grower->err, PE_INTERNAL, "a split left one side empty");
	if (!write_split(grower, parent))
		return pe_fail_memory(grower->err);
	right.begin = parent->begin + left.count;
	right.count = parent->count - left.count;
	right.sum = (pe_cell){parent->sum.g - left.sum.g, parent->sum.h - left.sum.h};
	right.squares = parent->squares - left.squares;
	left.node = add_node(grower->forest, left.count);
	right.node = add_node(grower->forest, right.count);
	bound_children(grower, parent, &left, &right);
	if (left.count <= right.count ? !children_histograms(grower, parent, &left, &right)
	                              : !children_histograms(grower, parent, &right, &left))
		return cancelled(grower->err);
	/* The right one first: without max_leaves the newest, so the left, is next. */
	status = settle_leaf(grower, &right);
	return status == PE_OK ? settle_leaf(grower, &left) : status;
}

pe_status
pe_grow_tree(pe_grower *grower, uint32_t count, double squares)
{
	pe_model *model = grower->forest->model;
	pe_leaf root = {
	    .begin = 0, .count = count, .squares = squares, .slot = -1, .lowest = -INFINITY, .highest = INFINITY};
	pe_status status;

	grower->n_open = 0;
	grower->n_closed = 0;
	if (!reserve_nodes(grower->forest, 1))
		return pe_fail_memory(grower->err);
	root.node = add_node(grower->forest, count);
	if (!build(grower, &root))
		return cancelled(grower->err);
	sum_of_cells(grower, &root);
	status = settle_leaf(grower, &root);
	while (status == PE_OK && grower->n_open > 0)
	{
		pe_leaf leaf;

		if (grower->options->max_leaves > 0 &&
		    grower->n_open + (int) grower->n_closed >= grower->options->max_leaves)
			break;
		leaf = take_leaf(grower);
		status = split_leaf(grower, &leaf);
		if (status != PE_OK)
			return status;
	}
	while (status == PE_OK && grower->n_open > 0)
	{
		pe_leaf leaf = grower->open[--grower->n_open];

		status = close_leaf(grower, &leaf);
	}
	if (status == PE_OK)
		model->roots[++model->n_trees] = model->n_nodes;
	return status;
}

pe_status
pe_grower_create(pe_grower *grower)
{
	size_t cells = grower->bins->offsets[grower->bins->n_columns];
	size_t slot_bytes = cells * sizeof(pe_cell);
	size_t wanted = grower->options->max_leaves > 0 ? (size_t) grower->options->max_leaves + 2
	                                                : (size_t) grower->options->max_depth + 3;
	size_t affordable = SLOT_BUDGET / slot_bytes;

	/* A split holds two slots at once, and one more may be asked for. */
	affordable = affordable < 4 ? 4 : affordable;
	grower->n_slots = (int) (wanted < affordable ? wanted : affordable);
	grower->cells = pe_alloc(grower->env, grower->n_slots * slot_bytes);
	grower->thread_cells = pe_alloc(grower->env, (pe_team_threads(grower->pool) - 1) * slot_bytes);
	grower->free_slots = pe_alloc(grower->env, grower->n_slots * sizeof(int));
	grower->column_splits = pe_calloc(grower->env, grower->bins->n_columns, sizeof(pe_split));
	grower->active = pe_calloc(grower->env, grower->bins->n_columns, sizeof(int));
	if (grower->cells == NULL || grower->thread_cells == NULL || grower->free_slots == NULL ||
	    grower->column_splits == NULL || grower->active == NULL)
		return pe_fail_memory(grower->err);
	for (int i = 0; i < grower->n_slots; i++)
		grower->free_slots[i] = i;
	grower->n_free = grower->n_slots;
	return PE_OK;
}

void
pe_grower_free(pe_grower *grower)
{
	pe_free(grower->env, grower->cells);
	pe_free(grower->env, grower->thread_cells);
	pe_free(grower->env, grower->free_slots);
	pe_free(grower->env, grower->column_splits);
	pe_free(grower->env, grower->active);
	pe_free(grower->env, grower->open);
	pe_free(grower->env, grower->closed);
}
