/*
 * predictor.c
 *		Predictions of many rows: a model's trees as programs over bytes.
 *
 * A value is replaced once by the number of its feature's thresholds that lie below
 * it, one byte; a test is then "code > number of the threshold". Missing values are
 * folded into two copies of a feature's codes: 0 where missing goes left, 255 where it
 * goes right. A tree is evaluated from its leaves up, for many rows at once: a node's
 * result is, row by row, the left or the right child's, and a leaf's is its number. So
 * a tree of any shape takes one comparison and one choice for each of its tests, no
 * branch depends on the data, and the root's result is the number of the row's leaf.
 * A tree of more than PE_EXITS leaves is cut off; its rows walk on by themselves.
 */
#include "model/trees/predictor.h"

/* The thresholds of a feature's tests, sorted and without repetition. False: there are too many. */
static bool
make_cuts(pe_code_list *list, float *thresholds, size_t count, float *scratch)
{
	size_t kept = 0;

	pe_sort_floats(thresholds, scratch, count);
	for (size_t i = 0; i < count; i++)
		if (kept == 0 || thresholds[i] != thresholds[kept - 1])
			thresholds[kept++] = thresholds[i];
	if (kept > PE_MAX_CUTS)
		return false;
	list->n_cuts = (int) kept;
	while ((1 << list->steps) - 1 < list->n_cuts)
		list->steps++;
	memcpy(list->cuts, thresholds, kept * sizeof(float));
	for (int i = list->n_cuts; i < (1 << list->steps) - 1; i++)
		list->cuts[i] = INFINITY;
	return true;
}

/* All thresholds, those of a feature side by side, from starts[feature] to starts[feature + 1]. */
static void
gather_thresholds(const pe_model *model, uint32_t *starts, float *thresholds)
{
	/* Counted two places on, so that filling moves each start to where the next feature's is. */
	for (uint32_t i = 0; i < model->n_nodes; i++)
		if (model->nodes[i].left != 0)
			starts[model->nodes[i].feature + 2]++;
	for (int i = 2; i < model->n_features + 2; i++)
		starts[i] += starts[i - 1];
	for (uint32_t i = 0; i < model->n_nodes; i++)
		if (model->nodes[i].left != 0)
			thresholds[starts[model->nodes[i].feature + 1]++] = model->nodes[i].test.threshold;
}

/*
 * Lists for the features that are tested. starts: n_features + 2 zeroes; thresholds:
 * room for 2 x n_nodes. *fits: codes of one byte will do. False when out of memory.
 */
static bool
make_lists(pe_predictor *predictor, uint32_t *starts, float *thresholds, int *list_of, bool *fits)
{
	const pe_model *model = predictor->model;
	uint32_t place = 0;

	gather_thresholds(model, starts, thresholds);
	for (int i = 0; i < model->n_features && *fits; i++)
	{
		pe_code_list *list = &predictor->lists[predictor->n_lists];
		uint32_t count = starts[i + 1] - starts[i];

		if (count == 0)
			continue;
		list_of[i] = predictor->n_lists++;
		list->feature = i;
		list->categorical = model->features[i].kind == PE_FEATURE_CATEGORICAL;
		list->left = place;
		list->right = place + (list->categorical ? 0 : PE_ITEM_ROWS);
		place = list->right + PE_ITEM_ROWS;
		if (list->categorical)
			continue;
		list->cuts = pe_alloc(predictor->env, (PE_MAX_CUTS + 1) * sizeof(float));
		if (list->cuts == NULL)
			return false;
		*fits = make_cuts(list, thresholds + starts[i], count, thresholds + model->n_nodes);
	}
	predictor->set_places = place;
	return true;
}

/* ---- programs --------------------------------------------------------------------------- */

/* What is known while a tree's program is written. */
typedef struct maker
{
	pe_predictor *predictor;
	const int *list_of; /* by feature */
	int16_t *exit_of;   /* by node: its number among the tree's exits, or one of these: */
	pe_program *program;
	uint32_t n_blends;
	uint32_t n_sets;
	uint32_t n_exits;
	uint32_t most_sets;
	uint32_t most_exits;
} maker;

#define UNREACHED (-2) /* below an exit */
#define TESTED    (-1)

/*
 * Number the tree's exits. Parents come before their children, so going by number, nodes
 * become tests until there are PE_EXITS ways out.
 */
static void
choose_exits(maker *make, uint32_t tree)
{
	pe_predictor *predictor = make->predictor;
	const pe_model *model = predictor->model;
	uint32_t begin = model->roots[tree], end = model->roots[tree + 1], ways = 1, count = 0;

	for (uint32_t i = begin; i < end; i++)
		make->exit_of[i] = i == begin ? TESTED : UNREACHED;
	for (uint32_t i = begin; i < end; i++)
	{
		const pe_node *node = &model->nodes[i];

		if (make->exit_of[i] == UNREACHED)
			continue;
		if (node->left != 0 && ways < PE_EXITS)
		{
			make->exit_of[node->left] = make->exit_of[node->left + 1] = TESTED; /* or so it seems */
			ways++;
			continue;
		}
		make->program->deeper |= node->left != 0;
		predictor->values[make->n_exits + count] = model->values[i];
		predictor->exits[make->n_exits + count] = i;
		make->exit_of[i] = (int16_t) count++;
	}
	if (make->most_exits < count)
		make->most_exits = count;
	make->n_exits += count;
}

/* How many results wait at most while the node's is found. */
static int
needed(const maker *make, uint32_t at)
{
	const pe_node *node = &make->predictor->model->nodes[at];
	int left, right;

	if (make->exit_of[at] != TESTED)
		return 0;
	left = needed(make, node->left);
	right = needed(make, node->left + 1);
	return left == right ? left + 1 : left > right ? left : right;
}

/* The codes and the threshold of a node's test. */
static void
place_test(maker *make, const pe_node *node, pe_blend *blend)
{
	pe_predictor *predictor = make->predictor;
	const pe_code_list *list = &predictor->lists[make->list_of[node->feature]];
	int low = 0, high = list->n_cuts;

	if (node->flags & PE_NODE_CATEGORICAL)
	{
		predictor->sets[make->n_sets++] = (pe_set_test){node->test.set, list->left};
		blend->codes = predictor->set_places + PE_ITEM_ROWS * make->program->n_sets++;
		blend->threshold = PE_CODE(0);
		return;
	}
	while (low < high)
	{
		int middle = (low + high) / 2;

		if (list->cuts[middle] < node->test.threshold)
			low = middle + 1;
		else
			high = middle;
	}
	blend->codes = (node->flags & PE_NODE_MISSING_LEFT) ? list->left : list->right;
	blend->threshold = PE_CODE(low);
}

/*
 * The steps of the node and all below it; returns the place of the results: of an exit its
 * number's, else the scratch of that slot. Slots below stay as they are. The child that
 * needs more slots comes first, so that the fewest results wait. Places of exits and of
 * scratch count from 0 until all trees are known.
 */
#define SCRATCH_PLACES 0x80000000u

static uint32_t
place_node(maker *make, uint32_t at, uint32_t slot)
{
	const pe_node *node = &make->predictor->model->nodes[at];
	uint32_t sides[2], first;
	pe_blend *blend;

	if (make->exit_of[at] != TESTED)
		return PE_ITEM_ROWS * (uint32_t) make->exit_of[at];
	first = needed(make, node->left) < needed(make, node->left + 1);
	sides[first] = place_node(make, node->left + first, slot);
	sides[!first] =
	    place_node(make, node->left + !first, slot + ((sides[first] & SCRATCH_PLACES) != 0 ? 1 : 0));
	blend = &make->predictor->blends[make->n_blends++];
	place_test(make, node, blend);
	blend->left = sides[0];
	blend->right = sides[1];
	blend->out = SCRATCH_PLACES | PE_ITEM_ROWS * slot;
	return blend->out;
}

static void
make_program(maker *make, uint32_t tree)
{
	pe_predictor *predictor = make->predictor;
	pe_program *program = make->program = &predictor->programs[tree];

	program->first_blend = make->n_blends;
	program->first_set = make->n_sets;
	program->first_exit = make->n_exits;
	choose_exits(make, tree);
	/* Of a tree without any test, every row takes the only exit. */
	if (!(place_node(make, predictor->model->roots[tree], 0) & SCRATCH_PLACES))
		predictor->blends[make->n_blends++] = (pe_blend){.threshold = PE_ALWAYS_LEFT};
	program->n_blends = make->n_blends - program->first_blend;
	if (make->most_sets < program->n_sets)
		make->most_sets = program->n_sets;
}

/* Behind the codes come the answers of sets, the numbers of exits, scratch, and the trees' results. */
static void
place_all(maker *make)
{
	pe_predictor *predictor = make->predictor;

	predictor->exit_places = predictor->set_places + PE_ITEM_ROWS * make->most_sets;
	predictor->n_exit_places = make->most_exits;
	predictor->scratch = predictor->exit_places + PE_ITEM_ROWS * make->most_exits;
	predictor->results = predictor->scratch + PE_ITEM_ROWS * PE_SCRATCH;
	predictor->numbers = predictor->results + PE_ITEM_ROWS * PE_TOGETHER;
	predictor->desk_bytes =
	    predictor->numbers + (uint32_t) ((size_t) predictor->n_lists * PE_GROUP * sizeof(float));
	for (uint32_t tree = 0; tree < predictor->model->n_trees; tree++)
	{
		const pe_program *program = &predictor->programs[tree];
		pe_blend *blends = predictor->blends + program->first_blend;

		for (uint32_t i = 0; i < program->n_blends; i++)
		{
			uint32_t *places[] = {&blends[i].left, &blends[i].right, &blends[i].out};

			for (int side = 0; side < 3; side++)
				*places[side] = (*places[side] & SCRATCH_PLACES)
				                    ? predictor->scratch + (*places[side] & ~SCRATCH_PLACES)
				                    : predictor->exit_places + *places[side];
		}
		blends[program->n_blends - 1].out = predictor->results + PE_ITEM_ROWS * (tree % PE_TOGETHER);
	}
}

static bool
make_programs(pe_predictor *predictor, const int *list_of)
{
	const pe_model *model = predictor->model;
	const pe_env *env = predictor->env;
	maker make = {.predictor = predictor, .list_of = list_of};
	size_t sets = 0, leaves = ((size_t) model->n_nodes + model->n_trees) / 2 + 1;
	bool made;

	for (uint32_t i = 0; i < model->n_nodes; i++)
		sets += (model->nodes[i].flags & PE_NODE_CATEGORICAL) != 0;
	/* A tree has at most as many steps as leaves, one more than its tests. */
	predictor->programs = pe_calloc(env, (size_t) model->n_trees + 1, sizeof(pe_program));
	predictor->blends = pe_alloc(env, leaves * sizeof(pe_blend));
	predictor->sets = pe_alloc(env, (sets + 1) * sizeof(pe_set_test));
	predictor->values = pe_alloc(env, leaves * sizeof(double));
	predictor->exits = pe_alloc(env, leaves * sizeof(uint32_t));
	make.exit_of = pe_alloc(env, (size_t) model->n_nodes * sizeof(int16_t));
	made = predictor->programs != NULL && predictor->blends != NULL && predictor->sets != NULL &&
	       predictor->values != NULL && predictor->exits != NULL && make.exit_of != NULL;
	for (uint32_t tree = 0; made && tree < model->n_trees; tree++)
		make_program(&make, tree);
	if (made)
		place_all(&make);
	pe_free(env, make.exit_of);
	return made;
}

static bool
prepare(pe_predictor *predictor)
{
	const pe_model *model = predictor->model;
	const pe_env *env = predictor->env;
	uint32_t *starts = pe_calloc(env, (size_t) model->n_features + 2, sizeof(uint32_t));
	int *list_of = pe_calloc(env, (size_t) model->n_features, sizeof(int));
	float *thresholds = pe_alloc(env, 2 * (size_t) model->n_nodes * sizeof(float));
	bool fits = true, made;

	predictor->lists = pe_calloc(env, (size_t) model->n_features, sizeof(pe_code_list));
	made = starts != NULL && list_of != NULL && thresholds != NULL && predictor->lists != NULL &&
	       make_lists(predictor, starts, thresholds, list_of, &fits) &&
	       (!fits || make_programs(predictor, list_of));
	pe_free(env, starts);
	pe_free(env, list_of);
	pe_free(env, thresholds);
	return made;
}

void
pe_predictor_free(pe_predictor *predictor)
{
	if (predictor == NULL)
		return;
	pe_predictor_stop(predictor);
	for (int i = 0; predictor->lists != NULL && i < predictor->n_lists; i++)
		pe_free(predictor->env, predictor->lists[i].cuts);
	pe_free(predictor->env, predictor->lists);
	pe_free(predictor->env, predictor->programs);
	pe_free(predictor->env, predictor->blends);
	pe_free(predictor->env, predictor->sets);
	pe_free(predictor->env, predictor->values);
	pe_free(predictor->env, predictor->exits);
	pe_free(predictor->env, predictor);
}

pe_status
pe_predictor_create(const pe_env *env, const pe_model *model, pe_predictor **predictor, pe_error *err)
{
	pe_predictor *made = pe_calloc(env, 1, sizeof(*made));

	*predictor = NULL;
	if (made == NULL)
		return pe_fail_memory(err);
	made->env = env;
	made->model = model;
	if (model->algorithm == PE_ALGORITHM_BOOSTED_TREES && !prepare(made))
	{
		pe_predictor_free(made);
		return pe_fail_memory(err);
	}
	*predictor = made;
	return PE_OK;
}

void
pe_predictor_use_plain(pe_predictor *predictor)
{
	predictor->plain = true;
}
