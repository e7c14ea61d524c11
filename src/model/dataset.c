/*
 * dataset.c
 *		Rows on their way to training: columns in blocks, level dictionaries, and the
 *		estimate of what training over them takes.
 */
#include <float.h>

#include "model/internal.h"

#define BLOCK_BYTES (4u << 20)
#define LEAST_SHIFT 10
#define MOST_SHIFT  16

static void *
dataset_alloc(pe_dataset *dataset, size_t bytes)
{
	void *ptr = pe_alloc_large(dataset->env, bytes, 1);

	if (ptr != NULL)
		dataset->bytes += bytes;
	return ptr;
}

static void
dataset_release(pe_dataset *dataset, void *ptr, size_t bytes)
{
	if (ptr != NULL)
		dataset->bytes -= bytes;
	pe_free(dataset->env, ptr);
}

static unsigned
block_shift_for(int n_features, bool exact)
{
	size_t row = (size_t) (n_features > 0 ? n_features : 1) * (exact ? 8 : 4);
	unsigned shift = MOST_SHIFT;

	while (shift > LEAST_SHIFT && (row << shift) > BLOCK_BYTES)
		shift--;
	return shift;
}

static size_t
cell_bytes(const pe_dataset *dataset)
{
	return dataset->exact ? sizeof(double) : sizeof(float);
}

static pe_status
check_specs(const pe_feature_spec *features, int n_features, pe_error *err)
{
	if (n_features < 1)
	{
		pe_fail(err, PE_INVALID_DATA, "there is no feature to learn from");
		pe_error_hint(err, "Select at least one column beside the target and the key.");
		return PE_INVALID_DATA;
	}
	if (n_features > PE_MAX_FEATURES)
	{
		pe_fail(err, PE_LIMIT, "too many features: %d", n_features);
		pe_error_hint(err, "A model can have at most %d features.", PE_MAX_FEATURES);
		return PE_LIMIT;
	}
	for (int i = 0; i < n_features; i++)
	{
		size_t length = features[i].name != NULL ? strlen(features[i].name) : 0;

		if (length == 0 || length > PE_MAX_NAME ||
		    (features[i].source_type != NULL && strlen(features[i].source_type) > PE_MAX_NAME))
			return pe_fail(err, PE_LIMIT, "the name of feature %d is empty or too long", i + 1);
		if (features[i].kind != PE_FEATURE_NUMERIC && features[i].kind != PE_FEATURE_CATEGORICAL)
			return pe_fail(err, PE_INTERNAL, "feature \"%s\" has no kind", features[i].name);
	}
	return PE_OK;
}

pe_status
pe_dataset_create(const pe_env *env, pe_algorithm algorithm, const pe_feature_spec *features, int n_features,
                  bool with_weights, pe_dataset **out, pe_error *err)
{
	pe_dataset *dataset;
	pe_status status = check_specs(features, n_features, err);

	*out = NULL;
	if (status != PE_OK)
		return status;
	if ((dataset = pe_calloc(env, 1, sizeof(*dataset))) == NULL)
		return pe_fail_memory(err);
	dataset->env = env;
	dataset->algorithm = algorithm;
	dataset->exact = algorithm != PE_ALGORITHM_BOOSTED_TREES;
	dataset->with_weights = with_weights;
	dataset->block_shift = block_shift_for(n_features, dataset->exact);
	dataset->features = pe_calloc(env, n_features, sizeof(*dataset->features));
	if (dataset->features == NULL)
	{
		pe_dataset_free(dataset);
		return pe_fail_memory(err);
	}
	dataset->n_features = n_features;
	dataset->bytes = sizeof(*dataset) + n_features * sizeof(*dataset->features);
	for (int i = 0; i < n_features; i++)
	{
		const char *type = features[i].source_type != NULL ? features[i].source_type : "";

		dataset->features[i].kind = features[i].kind;
		dataset->features[i].name = pe_strndup(env, features[i].name, strlen(features[i].name));
		dataset->features[i].source_type = pe_strndup(env, type, strlen(type));
		if (dataset->features[i].name == NULL || dataset->features[i].source_type == NULL)
		{
			pe_dataset_free(dataset);
			return pe_fail_memory(err);
		}
	}
	*out = dataset;
	return PE_OK;
}

static void
free_dictionary(const pe_env *env, pe_dictionary *levels)
{
	pe_free(env, levels->arena);
	pe_free(env, levels->starts);
	pe_free(env, levels->table);
}

void
pe_dataset_free_block_values(pe_dataset *dataset, uint32_t block)
{
	size_t bytes = ((size_t) dataset->n_features << dataset->block_shift) * cell_bytes(dataset);

	dataset_release(dataset, dataset->blocks[block].values, bytes);
	dataset->blocks[block].values = NULL;
}

void
pe_dataset_free(pe_dataset *dataset)
{
	if (dataset == NULL)
		return;
	for (int i = 0; i < dataset->n_features; i++)
	{
		pe_free(dataset->env, dataset->features[i].name);
		pe_free(dataset->env, dataset->features[i].source_type);
		free_dictionary(dataset->env, &dataset->features[i].levels);
	}
	free_dictionary(dataset->env, &dataset->classes);
	for (uint32_t i = 0; i < dataset->n_blocks; i++)
	{
		pe_free(dataset->env, dataset->blocks[i].values);
		pe_free(dataset->env, dataset->blocks[i].targets);
		pe_free(dataset->env, dataset->blocks[i].weights);
		pe_free(dataset->env, dataset->blocks[i].hashes);
	}
	pe_free(dataset->env, dataset->held);
	pe_free(dataset->env, dataset->blocks);
	pe_free(dataset->env, dataset->features);
	pe_free(dataset->env, dataset);
}

/* ---- levels --------------------------------------------------------------------------- */

/* Twice the size, and every text in again. */
static bool
grow_table(pe_dataset *dataset, pe_dictionary *levels)
{
	uint32_t size = levels->table_size == 0 ? 64 : levels->table_size * 2;
	uint32_t *table = pe_calloc(dataset->env, size, sizeof(*table));

	if (table == NULL)
		return false;
	for (uint32_t code = 0; code < levels->count; code++)
	{
		const char *text = levels->arena + levels->starts[code];
		uint32_t at =
		    (uint32_t) pe_hash_bytes(text, levels->starts[code + 1] - levels->starts[code], 0) & (size - 1);

		while (table[at] != 0)
			at = (at + 1) & (size - 1);
		table[at] = code + 1;
	}
	pe_free(dataset->env, levels->table);
	dataset->bytes += (size - levels->table_size) * sizeof(*table);
	levels->table = table;
	levels->table_size = size;
	return true;
}

static bool
grow_texts(pe_dataset *dataset, pe_dictionary *levels, size_t length)
{
	if (levels->count + 2 > levels->capacity)
	{
		uint32_t capacity = levels->capacity == 0 ? 32 : levels->capacity * 2;
		uint32_t *starts = pe_realloc(dataset->env, levels->starts, (size_t) capacity * sizeof(*starts));

		if (starts == NULL)
			return false;
		dataset->bytes += (capacity - levels->capacity) * sizeof(*starts);
		if (levels->capacity == 0)
			starts[0] = 0;
		levels->starts = starts;
		levels->capacity = capacity;
	}
	if (levels->arena_used + length > levels->arena_size)
	{
		size_t size = (levels->arena_size == 0 ? 256 : levels->arena_size * 2) + length;
		char *arena = pe_realloc(dataset->env, levels->arena, size);

		if (arena == NULL)
			return false;
		dataset->bytes += size - levels->arena_size;
		levels->arena = arena;
		levels->arena_size = size;
	}
	return true;
}

/* The text's code in the dictionary, made if it is new; beyond most texts all new ones share code most. */
static pe_status
find_text(pe_dataset *dataset, pe_dictionary *levels, const char *text, size_t length, uint32_t most,
          int32_t *code, pe_error *err)
{
	uint64_t hash;
	uint32_t at;

	length = strnlen(text, length < PE_MAX_LEVEL_LENGTH ? length : PE_MAX_LEVEL_LENGTH);
	if (levels->table_size < (levels->count + 1) * 2 && !grow_table(dataset, levels))
		return pe_fail_memory(err);
	hash = pe_hash_bytes(text, length, 0);
	for (at = (uint32_t) hash & (levels->table_size - 1); levels->table[at] != 0;
	     at = (at + 1) & (levels->table_size - 1))
	{
		uint32_t found = levels->table[at] - 1;

		if (levels->starts[found + 1] - levels->starts[found] == length &&
		    memcmp(levels->arena + levels->starts[found], text, length) == 0)
		{
			*code = (int32_t) found;
			return PE_OK;
		}
	}
	*code = (int32_t) levels->count;
	if (levels->count >= most)
	{
		levels->overflowed = true;
		return PE_OK;
	}
	if (!grow_texts(dataset, levels, length))
		return pe_fail_memory(err);
	memcpy(levels->arena + levels->arena_used, text, length);
	levels->arena_used += length;
	levels->starts[levels->count + 1] = (uint32_t) levels->arena_used;
	levels->table[at] = ++levels->count;
	return PE_OK;
}

pe_status
pe_dataset_level(pe_dataset *dataset, int feature, const char *text, size_t length, int32_t *code,
                 pe_error *err)
{
	if (feature < 0 || feature >= dataset->n_features ||
	    dataset->features[feature].kind != PE_FEATURE_CATEGORICAL)
		return pe_fail(err, PE_INTERNAL, "feature %d is not categorical", feature);
	return find_text(dataset, &dataset->features[feature].levels, text, length, PE_MAX_DISTINCT_LEVELS, code,
	                 err);
}

pe_status
pe_dataset_class(pe_dataset *dataset, const char *text, size_t length, int32_t *code, pe_error *err)
{
	pe_status status = find_text(dataset, &dataset->classes, text, length, PE_MAX_CLASSES, code, err);

	if (status != PE_OK || !dataset->classes.overflowed)
		return status;
	pe_fail(err, PE_LIMIT, "the target has more than %d classes", PE_MAX_CLASSES);
	pe_error_hint(err, "Group the rare ones under one name in the source.");
	return PE_LIMIT;
}

/* ---- rows ----------------------------------------------------------------------------- */

static bool
add_block(pe_dataset *dataset)
{
	size_t rows = (size_t) 1 << dataset->block_shift;
	size_t bytes = rows * dataset->n_features * cell_bytes(dataset);
	pe_block *block;

	if (dataset->n_blocks == dataset->blocks_capacity)
	{
		uint32_t capacity = dataset->blocks_capacity == 0 ? 16 : dataset->blocks_capacity * 2;
		pe_block *blocks = pe_realloc(dataset->env, dataset->blocks, capacity * sizeof(*blocks));

		if (blocks == NULL)
			return false;
		dataset->bytes += (capacity - dataset->blocks_capacity) * sizeof(*blocks);
		dataset->blocks = blocks;
		dataset->blocks_capacity = capacity;
	}
	block = &dataset->blocks[dataset->n_blocks];
	memset(block, 0, sizeof(*block));
	block->values = dataset_alloc(dataset, bytes);
	block->targets = dataset_alloc(dataset, rows * sizeof(double));
	block->hashes = dataset_alloc(dataset, rows * sizeof(uint64_t));
	if (dataset->with_weights)
		block->weights = dataset_alloc(dataset, rows * sizeof(double));
	if (block->values == NULL || block->targets == NULL || block->hashes == NULL ||
	    (dataset->with_weights && block->weights == NULL))
	{
		dataset_release(dataset, block->values, bytes);
		dataset_release(dataset, block->targets, rows * sizeof(double));
		dataset_release(dataset, block->hashes, rows * sizeof(uint64_t));
		dataset_release(dataset, block->weights, rows * sizeof(double));
		return false;
	}
	dataset->n_blocks++;
	return true;
}

static pe_status
bad_row(uint64_t row, pe_error *err, const char *column, const char *what)
{
	pe_fail(err, PE_INVALID_DATA, "row %llu: %s", (unsigned long long) row, what);
	if (err != NULL)
	{
		err->row = (int64_t) row;
		snprintf(err->column, sizeof(err->column), "%s", column);
	}
	return PE_INVALID_DATA;
}

static float
to_float(double value)
{
	if (value > FLT_MAX)
		return FLT_MAX;
	if (value < -FLT_MAX)
		return -FLT_MAX;
	return (float) value;
}

/* What is wrong with the rows, if anything is; *good: how many come before it. */
static pe_status
check_rows(pe_dataset *dataset, const double *values, size_t stride, const double *targets,
           const double *weights, size_t rows, size_t *good, pe_error *err)
{
	if (dataset->used_up)
		return pe_fail(err, PE_INTERNAL, "the dataset was already trained on");
	for (*good = 0; *good < rows; (*good)++)
	{
		const double *row = values + *good * stride;
		uint64_t number = dataset->rows + *good + 1;

		if (!isfinite(targets[*good]))
			return bad_row(number, err, "", "the target is missing or infinite");
		if (dataset->with_weights && !(weights[*good] >= 0 && isfinite(weights[*good])))
			return bad_row(number, err, "", "the weight is negative, missing or infinite");
		if (number > PE_MAX_ROWS)
			return pe_fail(err, PE_LIMIT, "more than %d rows", PE_MAX_ROWS);
		for (int i = 0; dataset->exact && i < dataset->n_features; i++)
			if (isinf(row[i]))
			{
				bad_row(number, err, dataset->features[i].name, "the value is infinite");
				pe_error_hint(err, "Replace infinite values by NULL or a number%s.",
				              dataset->algorithm == PE_ALGORITHM_KMEANS ? "" : ", or use boosted_trees");
				return PE_INVALID_DATA;
			}
	}
	return PE_OK;
}

/* Cells of count rows from at on: column by column, since a block's columns lie far apart. */
static void
put_cells(const pe_dataset *dataset, pe_block *block, size_t at, const double *values, size_t stride,
          size_t count)
{
	for (int i = 0; i < dataset->n_features; i++)
	{
		size_t cell = ((size_t) i << dataset->block_shift) + at;

		if (dataset->exact)
			for (size_t row = 0; row < count; row++)
				((double *) block->values)[cell + row] = values[row * stride + i];
		else
			for (size_t row = 0; row < count; row++)
				((float *) block->values)[cell + row] = to_float(values[row * stride + i]);
	}
}

pe_status
pe_dataset_append_rows(pe_dataset *dataset, const double *values, size_t stride, const double *targets,
                       const double *weights, const uint64_t *key_hashes, size_t rows, pe_error *err)
{
	size_t good = 0;
	pe_status status = check_rows(dataset, values, stride, targets, weights, rows, &good, err);

	for (size_t done = 0, count; done < good; done += count)
	{
		size_t at = dataset->rows & (((size_t) 1 << dataset->block_shift) - 1);
		pe_block *block;

		if (at == 0 && !add_block(dataset))
			return pe_fail_memory(err);
		block = &dataset->blocks[dataset->n_blocks - 1];
		count = ((size_t) 1 << dataset->block_shift) - at;
		count = good - done < count ? good - done : count;
		put_cells(dataset, block, at, values + done * stride, stride, count);
		memcpy(block->targets + at, targets + done, count * sizeof(double));
		memcpy(block->hashes + at, key_hashes + done, count * sizeof(uint64_t));
		if (dataset->with_weights)
			memcpy(block->weights + at, weights + done, count * sizeof(double));
		dataset->rows += count;
	}
	return status;
}

pe_status
pe_dataset_append(pe_dataset *dataset, const double *values, double target, double weight, uint64_t key_hash,
                  pe_error *err)
{
	return pe_dataset_append_rows(dataset, values, (size_t) dataset->n_features, &target, &weight, &key_hash,
	                              1, err);
}

uint64_t
pe_dataset_rows(const pe_dataset *dataset)
{
	return dataset->rows;
}

size_t
pe_dataset_bytes(const pe_dataset *dataset)
{
	return dataset->bytes;
}
