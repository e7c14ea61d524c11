/*
 * levels.c
 *		Which levels of a categorical feature a model tells apart, and the slots of the
 *		dataset's codes.
 */
#include "model/internal.h"

/* The order of levels while they are chosen: heap sort, which needs no memory of its own. */
typedef struct level_order
{
	const pe_dictionary *levels;
	const uint32_t *counts; /* NULL: order by text alone */
} level_order;

static int
compare_texts(const pe_dictionary *levels, uint32_t a, uint32_t b)
{
	size_t length_a = levels->starts[a + 1] - levels->starts[a];
	size_t length_b = levels->starts[b + 1] - levels->starts[b];
	int order = memcmp(levels->arena + levels->starts[a], levels->arena + levels->starts[b],
	                   length_a < length_b ? length_a : length_b);

	if (order != 0)
		return order;
	return (length_a > length_b) - (length_a < length_b);
}

static bool
before(const level_order *order, uint32_t a, uint32_t b)
{
	if (order->counts != NULL && order->counts[a] != order->counts[b])
		return order->counts[a] > order->counts[b];
	return compare_texts(order->levels, a, b) < 0;
}

static void
sift(const level_order *order, uint32_t *codes, size_t at, size_t count)
{
	for (;;)
	{
		size_t child = 2 * at + 1;
		uint32_t code = codes[at];

		if (child >= count)
			return;
		if (child + 1 < count && before(order, codes[child], codes[child + 1]))
			child++;
		if (!before(order, code, codes[child]))
			return;
		codes[at] = codes[child];
		codes[child] = code;
		at = child;
	}
}

static void
sort_codes(const level_order *order, uint32_t *codes, size_t count)
{
	for (size_t i = count / 2; i-- > 0;)
		sift(order, codes, i, count);
	for (size_t end = count; end-- > 1;)
	{
		uint32_t code = codes[0];

		codes[0] = codes[end];
		codes[end] = code;
		sift(order, codes, 0, end);
	}
}

/* Training rows by code; the last count is of codes beyond the dictionary, the one after of missing. */
static bool
count_codes(const pe_dataset *dataset, const pe_split_rows *rows, pe_team *pool, int feature,
            uint32_t *counts)
{
	uint32_t n_codes = dataset->features[feature].levels.count;

	for (uint32_t i = 0; i < rows->n_train; i++)
	{
		double value = pe_dataset_value(dataset, feature, rows->train[i]);

		if (isnan(value))
			counts[n_codes + 1]++;
		else
			counts[value >= 0 && value < n_codes ? (uint32_t) value : n_codes]++;
		if (i % 65536 == 0 && pe_team_poll(pool, 0))
			return false;
	}
	return true;
}

/* Take the n_kept first codes into the model, in the order of their texts. */
static pe_status
keep_levels(pe_model *model, int index, const pe_dictionary *levels, uint32_t *codes, uint32_t n_kept,
            uint8_t *slots, pe_error *err)
{
	pe_feature *feature = &model->features[index];
	level_order by_text = {levels, NULL};

	memset(slots, (int) n_kept + 1, (size_t) levels->count + 1);
	sort_codes(&by_text, codes, n_kept);
	if ((feature->levels = pe_calloc(&model->env, n_kept, sizeof(char *))) == NULL)
		return pe_fail_memory(err);
	for (uint32_t i = 0; i < n_kept; i++)
	{
		uint32_t code = codes[i];

		feature->levels[i] = pe_strndup(&model->env, levels->arena + levels->starts[code],
		                                levels->starts[code + 1] - levels->starts[code]);
		if (feature->levels[i] == NULL)
			return pe_fail_memory(err);
		feature->n_levels++;
		slots[code] = (uint8_t) (i + 1);
	}
	return PE_OK;
}

static pe_status
choose_feature(pe_model *model, const pe_dataset *dataset, const pe_split_rows *rows, pe_team *pool,
               int index, uint32_t *counts, uint32_t *codes, uint8_t *slots, pe_error *err)
{
	const pe_dictionary *levels = &dataset->features[index].levels;
	level_order by_count = {levels, counts};
	uint32_t n_codes = 0, n_kept;
	uint64_t present;
	pe_status status;

	memset(counts, 0, ((size_t) levels->count + 2) * sizeof(*counts));
	if (!count_codes(dataset, rows, pool, index, counts))
		return pe_fail(err, PE_CANCELLED, "training was cancelled");
	for (uint32_t code = 0; code < levels->count; code++)
		if (counts[code] > 0)
			codes[n_codes++] = code;
	sort_codes(&by_count, codes, n_codes);
	n_kept = n_codes < PE_MAX_MODEL_LEVELS ? n_codes : PE_MAX_MODEL_LEVELS;
	present = rows->n_train - counts[levels->count + 1];
	/* A key or free text: its levels come once each and tell nothing about the next row. */
	if (levels->overflowed || (n_codes > PE_MAX_MODEL_LEVELS && n_codes > present / 2))
	{
		n_kept = 0;
		status = pe_model_add_note(model, err, "%s: left out, nearly every row has a text of its own",
		                           model->features[index].name);
		if (status != PE_OK)
			return status;
	}
	else if (n_codes > n_kept)
	{
		status = pe_model_add_note(model, err,
		                           "%s: the %u most frequent of %u levels are told apart, the rest is pooled",
		                           model->features[index].name, n_kept, n_codes);
		if (status != PE_OK)
			return status;
	}
	model->features[index].pooled = n_codes > n_kept || counts[levels->count] > 0;
	return keep_levels(model, index, levels, codes, n_kept, slots, err);
}

pe_status
pe_choose_levels(pe_model *model, const pe_dataset *dataset, const pe_split_rows *rows, pe_team *pool,
                 pe_slot_map *map, pe_error *err)
{
	const pe_env *env = &model->env;
	size_t total = 0, most = 0;
	uint32_t *counts, *codes;
	pe_status status = PE_OK;

	for (int i = 0; i < dataset->n_features; i++)
		if (dataset->features[i].kind == PE_FEATURE_CATEGORICAL)
		{
			size_t n_codes = dataset->features[i].levels.count + (size_t) 1;

			total += n_codes;
			most = n_codes > most ? n_codes : most;
		}
	map->slots = pe_calloc(env, dataset->n_features, sizeof(*map->slots));
	map->arena = pe_alloc(env, total);
	counts = pe_alloc(env, (most + 1) * sizeof(*counts));
	codes = pe_alloc(env, most * sizeof(*codes));
	if (map->slots == NULL || map->arena == NULL || counts == NULL || codes == NULL)
		status = pe_fail_memory(err);
	total = 0;
	for (int i = 0; i < dataset->n_features && status == PE_OK; i++)
		if (dataset->features[i].kind == PE_FEATURE_CATEGORICAL)
		{
			map->slots[i] = map->arena + total;
			total += dataset->features[i].levels.count + (size_t) 1;
			status = choose_feature(model, dataset, rows, pool, i, counts, codes, map->slots[i], err);
		}
	pe_free(env, counts);
	pe_free(env, codes);
	return status;
}
