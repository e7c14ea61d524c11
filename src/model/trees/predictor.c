/*
 * predictor.c
 *		Predictions of many rows: every test of a tree for 32 rows at once.
 *
 * A value is replaced once by the number of its feature's thresholds that lie below
 * it, one byte; a test is then "code > number of the threshold". Missing values are
 * folded into two copies of a feature's codes: 0 where missing goes left, 255 where it
 * goes right. The first six levels of a tree, padded to full width, are 63 comparisons
 * of bytes; of each level's answers a row's own is picked by its answers on the levels
 * above, and the six together are the number of its way out. No branch depends on the
 * data. Where a way out is not a leaf yet, the row walks on by itself.
 *
 * Sums are made in double, tree after tree, as for a single row: the same bits.
 */
#include "model/internal.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define HAVE_AVX2 1
#include <immintrin.h>
#endif

#define GROUP        32 /* rows of a vector of bytes */
#define GROUPS       4  /* of one item of work: a tree stays in the nearest cache for them */
#define ITEM_ROWS    (GROUP * GROUPS)
#define LEVELS       6
#define TESTS        63
#define EXITS        64
#define TOGETHER     4      /* trees whose leaves are added in one pass */
#define MAX_CUTS     254    /* of one feature: codes 0 .. 254, and 255 for missing */
#define ALONE_VISITS 400000 /* rows x trees below which waking others costs more */

/* The sign bit is turned: the comparison of signed bytes is the one that all CPUs have. */
#define CODE(n)     ((int8_t) ((n) ^ 0x80))
#define ALWAYS_LEFT CODE(255) /* as a threshold: no code is above */

typedef int8_t half_vector __attribute__((vector_size(16), aligned(1), may_alias));
typedef int8_t code_vector __attribute__((vector_size(GROUP), aligned(1), may_alias));

/* A feature that some test looks at. Places are offsets in bytes among a group's codes. */
typedef struct code_list
{
	int feature;
	bool categorical;
	int steps;      /* of the search among the cuts */
	int n_cuts;     /* numeric: the distinct thresholds, */
	float *cuts;    /* rising, filled up with infinity to (1 << steps) - 1 */
	uint32_t left;  /* place of the codes with 0 for missing; categorical: of the slots */
	uint32_t right; /* place of those with 255; categorical: none */
} code_list;

typedef struct set_test
{
	uint32_t set;
	uint32_t slots; /* place of its feature's slots */
} set_test;

/* The first levels of a tree, in the order of a heap. */
typedef struct tree_top
{
	uint32_t codes[TESTS]; /* place of the codes to compare */
	int8_t thresholds[TESTS];
	uint8_t levels; /* that have tests at all */
	uint8_t n_sets; /* tests of sets come first: their answers are codes in places of their own */
	bool deeper;    /* some ways out are no leaves */
	bool shallow;   /* not here nor in the next TOGETHER - 1 trees */
	set_test sets[TESTS];
	double values[EXITS];
	uint32_t exits[EXITS]; /* nodes */
} tree_top;

struct pe_predictor
{
	const pe_env *env;
	const pe_model *model;
	tree_top *trees; /* NULL: rows are predicted one by one */
	code_list *lists;
	int n_lists;
	uint32_t set_places;     /* place of the first set test's answers */
	uint32_t group_bytes;    /* of a group's codes */
	bool plain;              /* use nothing that not every CPU has */
	struct predict_job *job; /* of pe_predictor_start */
};

/* A block of rows being predicted. */
typedef struct predict_job
{
	const pe_predictor *predictor;
	pe_team *team;
	pe_prediction_block block;
	int n_margins;  /* of a row: the classes, or 1 */
	uint8_t *desks; /* one for each thread: margins and codes */
	size_t desk_bytes;
	void (*encode)(const code_list *list, const float *values, uint8_t *codes);
	void (*test_sets)(const pe_model *model, const tree_top *top, const uint8_t *codes, uint8_t *answers);
	void (*find_ways)(const tree_top *top, const uint8_t *codes, uint8_t *ways);
} predict_job;

/* ---- making it -------------------------------------------------------------------------- */

/* The thresholds of a feature's tests, sorted and without repetition. False: there are too many. */
static bool
make_cuts(code_list *list, float *thresholds, size_t count, float *scratch)
{
	size_t kept = 0;

	pe_sort_floats(thresholds, scratch, count);
	for (size_t i = 0; i < count; i++)
		if (kept == 0 || thresholds[i] != thresholds[kept - 1])
			thresholds[kept++] = thresholds[i];
	if (kept > MAX_CUTS)
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
		code_list *list = &predictor->lists[predictor->n_lists];
		uint32_t count = starts[i + 1] - starts[i];

		if (count == 0)
			continue;
		list_of[i] = predictor->n_lists++;
		list->feature = i;
		list->categorical = model->features[i].kind == PE_FEATURE_CATEGORICAL;
		list->left = place;
		list->right = place + (list->categorical ? 0 : GROUP);
		place = list->right + GROUP;
		if (list->categorical)
			continue;
		list->cuts = pe_alloc(predictor->env, (MAX_CUTS + 1) * sizeof(float));
		if (list->cuts == NULL)
			return false;
		*fits = make_cuts(list, thresholds + starts[i], count, thresholds + model->n_nodes);
	}
	predictor->set_places = place;
	return true;
}

static void
place_test(const pe_predictor *predictor, tree_top *top, const pe_node *node, const code_list *list, int test)
{
	int low = 0, high = list->n_cuts;

	if (node->flags & PE_NODE_CATEGORICAL)
	{
		top->sets[top->n_sets] = (set_test){node->test.set, list->left};
		top->codes[test] = predictor->set_places + GROUP * (uint32_t) top->n_sets++;
		top->thresholds[test] = CODE(0);
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
	top->codes[test] = (node->flags & PE_NODE_MISSING_LEFT) ? list->left : list->right;
	top->thresholds[test] = CODE(low);
}

/* The node at that position, counted from the left, of its level, and all below it. */
static void
place_node(const pe_predictor *predictor, const int *list_of, tree_top *top, uint32_t at, int level,
           int position)
{
	const pe_model *model = predictor->model;
	const pe_node *node = &model->nodes[at];
	int exits = 1 << (LEVELS - level);

	if (node->left != 0 && level < LEVELS)
	{
		place_test(predictor, top, node, &predictor->lists[list_of[node->feature]],
		           (1 << level) - 1 + position);
		if (top->levels < level + 1)
			top->levels = (uint8_t) (level + 1);
		place_node(predictor, list_of, top, node->left, level + 1, 2 * position);
		place_node(predictor, list_of, top, node->left + 1, level + 1, 2 * position + 1);
		return;
	}
	for (int i = position * exits; i < (position + 1) * exits; i++)
	{
		top->exits[i] = at;
		top->values[i] = model->values[at];
	}
	top->deeper |= node->left != 0;
}

static bool
make_trees(pe_predictor *predictor, const int *list_of)
{
	const pe_model *model = predictor->model;
	uint32_t most_sets = 0;

	predictor->trees = pe_calloc(predictor->env, model->n_trees, sizeof(tree_top));
	if (predictor->trees == NULL)
		return false;
	for (uint32_t tree = 0; tree < model->n_trees; tree++)
	{
		tree_top *top = &predictor->trees[tree];

		memset(top->thresholds, ALWAYS_LEFT, sizeof(top->thresholds)); /* where there is no test */
		place_node(predictor, list_of, top, model->roots[tree], 0, 0);
		if (most_sets < top->n_sets)
			most_sets = top->n_sets;
	}
	for (uint32_t tree = 0; tree + TOGETHER <= model->n_trees; tree++)
	{
		tree_top *top = &predictor->trees[tree];

		top->shallow = true;
		for (int i = 0; i < TOGETHER; i++)
			top->shallow &= !top[i].deeper;
	}
	/* Trees without any test read the first place all the same. */
	predictor->group_bytes = predictor->set_places + GROUP * (most_sets > 0 ? most_sets : 1);
	return true;
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

	predictor->lists = pe_calloc(env, (size_t) model->n_features, sizeof(code_list));
	made = starts != NULL && list_of != NULL && thresholds != NULL && predictor->lists != NULL &&
	       make_lists(predictor, starts, thresholds, list_of, &fits) &&
	       (!fits || make_trees(predictor, list_of));
	pe_free(env, starts);
	pe_free(env, list_of);
	pe_free(env, thresholds);
	return made;
}

static void
free_job(predict_job *job)
{
	pe_team_free(job->team); /* first: its threads may still be at the rest */
	pe_free(job->predictor->env, job->desks);
}

void
pe_predictor_free(pe_predictor *predictor)
{
	if (predictor == NULL)
		return;
	if (predictor->job != NULL)
		free_job(predictor->job);
	pe_free(predictor->env, predictor->job);
	for (int i = 0; predictor->lists != NULL && i < predictor->n_lists; i++)
		pe_free(predictor->env, predictor->lists[i].cuts);
	pe_free(predictor->env, predictor->lists);
	pe_free(predictor->env, predictor->trees);
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

/* ---- predicting ------------------------------------------------------------------------- */

static void
encode_plain(const code_list *list, const float *values, uint8_t *codes)
{
	uint32_t below[GROUP] = {0};

	for (uint32_t step = (1u << list->steps) >> 1; step > 0; step >>= 1)
		for (int row = 0; row < GROUP; row++)
			below[row] += step & -(uint32_t) (list->cuts[below[row] + step - 1] < values[row]);
	for (int row = 0; row < GROUP; row++)
	{
		codes[list->left + row] = (uint8_t) CODE(below[row]); /* nothing is below a NaN */
		codes[list->right + row] = (uint8_t) (isnan(values[row]) ? CODE(255) : CODE(below[row]));
	}
}

#ifdef HAVE_AVX2
/*
 * The same, eight rows in a register: comparing with every 16th cut costs less than the
 * first steps of the search, whose reads go to eight places.
 */
#define FINE_STEPS 4
#define FINE_CUTS  (1 << FINE_STEPS)

__attribute__((target("avx2"))) static void
encode_avx2(const code_list *list, const float *values, uint8_t *codes)
{
	const __m256i turn = _mm256_set1_epi8((char) 0x80), one = _mm256_set1_epi32(1);
	__m256i below[GROUP / 8], missing[GROUP / 8];
	__m256i packed, gaps;
	/* Packing works on halves of registers: fours of bytes come out in this order. */
	const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);

	for (int i = 0; i < GROUP / 8; i++)
	{
		__m256 value = _mm256_loadu_ps(values + 8 * i);
		__m256i at = _mm256_setzero_si256();

		for (int cut = FINE_CUTS - 1; cut < list->n_cuts; cut += FINE_CUTS)
			at = _mm256_sub_epi32(
			    at, _mm256_castps_si256(_mm256_cmp_ps(_mm256_set1_ps(list->cuts[cut]), value, _CMP_LT_OQ)));
		at = _mm256_slli_epi32(at, FINE_STEPS);
		for (int step = (1 << (list->steps < FINE_STEPS ? list->steps : FINE_STEPS)) >> 1; step > 0;
		     step >>= 1)
		{
			__m256i next = _mm256_add_epi32(at, _mm256_set1_epi32(step));
			__m256 cut = _mm256_i32gather_ps(list->cuts, _mm256_sub_epi32(next, one), 4);
			__m256i above = _mm256_castps_si256(_mm256_cmp_ps(cut, value, _CMP_LT_OQ));

			at = _mm256_blendv_epi8(at, next, above);
		}
		below[i] = at;
		missing[i] = _mm256_castps_si256(_mm256_cmp_ps(value, value, _CMP_UNORD_Q));
	}
	packed =
	    _mm256_packus_epi16(_mm256_packs_epi32(below[0], below[1]), _mm256_packs_epi32(below[2], below[3]));
	gaps = _mm256_packs_epi16(_mm256_packs_epi32(missing[0], missing[1]),
	                          _mm256_packs_epi32(missing[2], missing[3]));
	packed = _mm256_xor_si256(_mm256_permutevar8x32_epi32(packed, order), turn);
	gaps = _mm256_permutevar8x32_epi32(gaps, order);
	_mm256_storeu_si256((__m256i *) (codes + list->left), packed); /* nothing is below a NaN */
	_mm256_storeu_si256((__m256i *) (codes + list->right),
	                    _mm256_blendv_epi8(packed, _mm256_set1_epi8((char) CODE(255)), gaps));
}
#endif

/* Codes of up to GROUP rows; what is beyond count is of no meaning but set. */
static void
encode_group(const predict_job *job, const double *values, size_t count, uint8_t *codes)
{
	const pe_predictor *predictor = job->predictor;
	size_t stride = job->block.stride;

	for (int i = 0; i < predictor->n_lists; i++)
	{
		const code_list *list = &predictor->lists[i];
		const pe_feature *feature = &predictor->model->features[list->feature];
		float numbers[GROUP] = {0};

		if (list->categorical)
			for (size_t row = 0; row < GROUP; row++)
				codes[list->left + row] =
				    row < count ? (uint8_t) pe_feature_slot(feature, values[row * stride + list->feature])
				                : 0;
		else
		{
			/* Trained on floats: the same rounding as everywhere. */
			for (size_t row = 0; row < count; row++)
				numbers[row] = (float) values[row * stride + list->feature];
			job->encode(list, numbers, codes);
		}
	}
}

static void
test_sets_plain(const pe_model *model, const tree_top *top, const uint8_t *codes, uint8_t *answers)
{
	for (int i = 0; i < top->n_sets; i++)
	{
		const uint32_t *bits = model->sets[top->sets[i].set].bits;
		const uint8_t *slots = codes + top->sets[i].slots;

		for (int row = 0; row < GROUP; row++)
			answers[i * GROUP + row] = (uint8_t) CODE(!((bits[slots[row] >> 5] >> (slots[row] & 31)) & 1));
	}
}

#ifdef HAVE_AVX2
/* The set's 256 bits are 32 bytes in two registers; a row picks its byte, then its bit. */
__attribute__((target("avx2"))) static void
test_sets_avx2(const pe_model *model, const tree_top *top, const uint8_t *codes, uint8_t *answers)
{
	const __m256i bit_of = _mm256_set1_epi64x((int64_t) UINT64_C(0x8040201008040201));

	for (int i = 0; i < top->n_sets; i++)
	{
		const __m128i *set = (const __m128i *) model->sets[top->sets[i].set].bits;
		__m256i low = _mm256_broadcastsi128_si256(_mm_loadu_si128(set));
		__m256i high = _mm256_broadcastsi128_si256(_mm_loadu_si128(set + 1));
		__m256i slots = _mm256_loadu_si256((const __m256i *) (codes + top->sets[i].slots));
		__m256i byte = _mm256_and_si256(_mm256_srli_epi16(slots, 3), _mm256_set1_epi8(15));
		__m256i bit = _mm256_shuffle_epi8(bit_of, _mm256_and_si256(slots, _mm256_set1_epi8(7)));
		__m256i bits =
		    _mm256_blendv_epi8(_mm256_shuffle_epi8(low, byte), _mm256_shuffle_epi8(high, byte), slots);
		__m256i left = _mm256_cmpeq_epi8(_mm256_and_si256(bits, bit), bit);
		__m256i right = _mm256_andnot_si256(left, _mm256_set1_epi8(1));

		_mm256_storeu_si256((__m256i *) (answers + i * GROUP),
		                    _mm256_xor_si256(right, _mm256_set1_epi8((char) 0x80)));
	}
}
#endif

#define TEST(vector, k)             (*(const vector *) (codes + top->codes[k]) > ((vector){0} + top->thresholds[k]))
#define PICK(left, right, answer)   (((left) & ~(answer)) | ((right) & (answer)))
#define PICK2(v, k, a)              PICK(TEST(v, k), TEST(v, (k) + 1), a)
#define PICK4(v, k, a, b)           PICK(PICK2(v, k, b), PICK2(v, (k) + 2, b), a)
#define PICK8(v, k, a, b, c)        PICK(PICK4(v, k, b, c), PICK4(v, (k) + 4, b, c), a)
#define PICK16(v, k, a, b, c, d)    PICK(PICK8(v, k, b, c, d), PICK8(v, (k) + 8, b, c, d), a)
#define PICK32(v, k, a, b, c, d, e) PICK(PICK16(v, k, b, c, d, e), PICK16(v, (k) + 16, b, c, d, e), a)

/* The ways out of as many rows as the vector has bytes. */
#define FIND_WAYS(vector)                                                                                    \
	do                                                                                                       \
	{                                                                                                        \
		vector a = TEST(vector, 0), b = PICK2(vector, 1, a), c = PICK4(vector, 3, a, b);                     \
		vector way = (a & 32) | (b & 16) | (c & 8);                                                          \
		if (top->levels > 3)                                                                                 \
		{                                                                                                    \
			vector d = PICK8(vector, 7, a, b, c);                                                            \
			way |= d & 4;                                                                                    \
			if (top->levels > 4)                                                                             \
			{                                                                                                \
				vector e = PICK16(vector, 15, a, b, c, d);                                                   \
				way |= e & 2;                                                                                \
				if (top->levels > 5)                                                                         \
					way |= PICK32(vector, 31, a, b, c, d, e) & 1;                                            \
			}                                                                                                \
		}                                                                                                    \
		*(vector *) ways = way;                                                                              \
	} while (0)

static void
find_ways_plain(const tree_top *top, const uint8_t *codes, uint8_t *ways)
{
	for (int half = 0; half < GROUP; half += 16, codes += 16, ways += 16)
		FIND_WAYS(half_vector);
}

#ifdef HAVE_AVX2
__attribute__((target("avx2"))) static void
find_ways_avx2(const tree_top *top, const uint8_t *codes, uint8_t *ways)
{
	FIND_WAYS(code_vector);
}
#endif

/* Adds what TOGETHER trees say of a group, in their order; ways are GROUP apart. */
static inline void
add_leaves(const tree_top *top, const uint8_t *ways, double *sums)
{
	for (int row = 0; row < GROUP; row++)
		sums[row] = (((sums[row] + top[0].values[ways[row]]) + top[1].values[ways[GROUP + row]]) +
		             top[2].values[ways[2 * GROUP + row]]) +
		            top[3].values[ways[3 * GROUP + row]];
}

/* Adds what the tree says of count rows to their sums. */
static inline void
add_values(const pe_model *model, const tree_top *top, const uint8_t *ways, const double *values,
           size_t stride, size_t count, double *sums)
{
	if (!top->deeper)
	{
		for (size_t row = 0; row < count; row++)
			sums[row] += top->values[ways[row]];
		return;
	}
	for (size_t row = 0; row < count; row++)
	{
		uint32_t at = top->exits[ways[row]];

		while (model->nodes[at].left != 0)
			at = model->nodes[at].left + !pe_goes_left(model, &model->nodes[at], values + row * stride);
		sums[row] += model->values[at];
	}
}

/*
 * Margins of the rows first .. first + count - 1, count <= ITEM_ROWS, of a class side
 * by side, ITEM_ROWS apart. Tree t belongs to class t % n_margins.
 */
static void
add_trees(const predict_job *job, size_t first, size_t count, int thread, double *margins, uint8_t *desk)
{
	const pe_predictor *predictor = job->predictor;
	const pe_model *model = predictor->model;
	const double *values = job->block.values + first * job->block.stride;
	size_t stride = job->block.stride;
	uint8_t *codes = desk;
	int class = 0, together;

	for (size_t row = 0; row < count; row += GROUP, codes += predictor->group_bytes)
		encode_group(job, values + row * stride, count - row < GROUP ? count - row : GROUP, codes);
	for (uint32_t tree = 0; tree < model->n_trees; tree += (uint32_t) together)
	{
		const tree_top *top = &predictor->trees[tree];
		double *sums = margins + (size_t) class * ITEM_ROWS;

		together = job->n_margins == 1 && tree + TOGETHER <= model->n_trees && top->shallow ? TOGETHER : 1;
		codes = desk;
		for (size_t row = 0; row < count; row += GROUP, codes += predictor->group_bytes)
		{
			uint8_t ways[TOGETHER * GROUP];

			for (int i = 0; i < together; i++)
			{
				if (top[i].n_sets > 0)
					job->test_sets(model, &top[i], codes, codes + predictor->set_places);
				job->find_ways(&top[i], codes, ways + i * GROUP);
			}
			if (together == TOGETHER)
				add_leaves(top, ways, sums + row); /* beyond count too: there is room, and no meaning */
			else
				add_values(model, top, ways, values + row * stride, stride,
				           count - row < GROUP ? count - row : GROUP, sums + row);
		}
		if (++class == job->n_margins)
			class = 0;
		if (tree / 64 != (tree + (uint32_t) together) / 64 && pe_team_poll(job->team, thread))
			return;
	}
}

/* From a row's margins, ITEM_ROWS apart, to its prediction and outputs. */
static double
predict_classes(const pe_model *model, const double *margins, double *outputs)
{
	double own[PE_MAX_CLASSES], largest;

	if (outputs == NULL)
		outputs = own;
	for (int i = 0; i < model->n_classes; i++)
		outputs[i] = margins[(size_t) i * ITEM_ROWS];
	pe_softmax(outputs, model->n_classes);
	largest = outputs[0];
	for (int i = 1; i < model->n_classes; i++)
		largest = outputs[i] > largest ? outputs[i] : largest;
	return largest;
}

static void
predict_trees(const predict_job *job, size_t first, size_t count, int thread)
{
	const pe_model *model = job->predictor->model;
	const pe_prediction_block *block = &job->block;
	uint8_t *desk = job->desks + (size_t) thread * job->desk_bytes;
	double *margins = (double *) desk;

	for (int class = 0; class < job->n_margins; class ++)
		for (size_t row = 0; row < ITEM_ROWS; row++)
			margins[(size_t) class * ITEM_ROWS + row] =
			    model->class_margins != NULL ? model->class_margins[class] : model->base_margin;
	add_trees(job, first, count, thread, margins,
	          desk + (size_t) job->n_margins * ITEM_ROWS * sizeof(double));
	for (size_t row = 0; row < count; row++)
		block->predictions[first + row] =
		    model->n_classes == 0
		        ? pe_model_link(model, margins[row])
		        : predict_classes(model, margins + row,
		                          block->outputs == NULL ? NULL
		                                                 : block->outputs + (first + row) * model->n_classes);
}

/* Models that are no trees, or too large for codes of a byte. */
static void
predict_singly(const predict_job *job, size_t first, size_t count, int thread)
{
	const pe_model *model = job->predictor->model;
	const pe_prediction_block *block = &job->block;
	int n_outputs = pe_model_output_count(model);

	for (size_t row = first; row < first + count; row++)
	{
		const double *values = block->values + row * block->stride;

		block->predictions[row] = pe_model_predict(model, values);
		if (block->outputs != NULL)
			pe_model_outputs(model, values, block->outputs + row * n_outputs);
		if (row % 8 == 7 && pe_team_poll(job->team, thread))
			return;
	}
}

static void
predict_item(void *ctx, uint32_t item, int thread)
{
	const predict_job *job = ctx;
	const pe_prediction_block *block = &job->block;
	size_t first = (size_t) item * ITEM_ROWS;
	size_t count = block->rows - first < ITEM_ROWS ? block->rows - first : ITEM_ROWS;

	if (job->predictor->trees != NULL)
		predict_trees(job, first, count, thread);
	else
		predict_singly(job, first, count, thread);
	for (size_t row = first; block->scores != NULL && row < first + count; row++)
		block->scores[row] = pe_model_score(job->predictor->model, block->predictions[row]);
}

/* A team of that many threads and their desks. The job is to be freed also when it fails. */
static pe_status
make_job(predict_job *job, const pe_predictor *predictor, int threads, pe_error *err)
{
	job->predictor = predictor;
	job->n_margins = pe_model_margin_count(predictor->model);
	job->encode = encode_plain;
	job->test_sets = test_sets_plain;
	job->find_ways = find_ways_plain;
#ifdef HAVE_AVX2
	if (!predictor->plain && __builtin_cpu_supports("avx2"))
	{
		job->encode = encode_avx2;
		job->test_sets = test_sets_avx2;
		job->find_ways = find_ways_avx2;
	}
#endif
	job->desk_bytes = (size_t) job->n_margins * ITEM_ROWS * sizeof(double) +
	                  ((size_t) predictor->group_bytes * GROUPS + 63) / 64 * 64;
	if ((job->team = pe_team_create(predictor->env, threads)) == NULL)
		return pe_fail_memory(err);
	pe_team_phase(job->team, "predict", 0, 0);
	job->desks = pe_alloc(predictor->env, job->desk_bytes * (size_t) pe_team_threads(job->team));
	return job->desks != NULL ? PE_OK : pe_fail_memory(err);
}

static uint32_t
item_count(size_t rows)
{
	return (uint32_t) ((rows + ITEM_ROWS - 1) / ITEM_ROWS);
}

pe_status
pe_predictor_predict(const pe_predictor *predictor, const double *values, size_t stride, size_t rows,
                     int threads, double *predictions, pe_error *err)
{
	predict_job job = {
	    .block = {.values = values, .stride = stride, .rows = rows, .predictions = predictions}};
	uint32_t items = item_count(rows);
	pe_status status;

	if ((double) rows * predictor->model->n_trees < ALONE_VISITS)
		threads = 1;
	status = make_job(&job, predictor, threads < (int) items ? threads : (int) items, err);
	if (status == PE_OK && !pe_team_run(job.team, predict_item, &job, items))
		status = pe_fail(err, PE_CANCELLED, "cancelled");
	free_job(&job);
	return status;
}

pe_status
pe_predictor_start(pe_predictor *predictor, int threads, pe_error *err)
{
	predictor->job = pe_calloc(predictor->env, 1, sizeof(*predictor->job));
	if (predictor->job == NULL)
		return pe_fail_memory(err);
	return make_job(predictor->job, predictor, threads, err);
}

void
pe_predictor_begin(pe_predictor *predictor, const pe_prediction_block *block)
{
	predict_job *job = predictor->job;

	job->block = *block;
	pe_team_begin(job->team, predict_item, job, item_count(block->rows));
}

pe_status
pe_predictor_finish(pe_predictor *predictor, pe_error *err)
{
	return pe_team_end(predictor->job->team) ? PE_OK : pe_fail(err, PE_CANCELLED, "cancelled");
}
