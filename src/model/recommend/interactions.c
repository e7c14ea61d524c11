/*
 * interactions.c
 *		Collecting who took what: texts become numbers, rows go to blocks of columns.
 */
#include "model/recommend/interactions.h"

#include "model/model.h"

#define FIRST_TEXTS 256
#define MOST_ROWS   UINT64_C(4000000000) /* cells are counted in 32 bits */

void
pe_collected_free(const pe_env *env, pe_collected *collected)
{
	pe_free(env, collected->bytes);
	pe_free(env, collected->starts);
	pe_free(env, collected->table);
	memset(collected, 0, sizeof(*collected));
}

void
pe_interaction_block_free(const pe_env *env, pe_interaction_block *block)
{
	pe_free(env, block->users);
	pe_free(env, block->items);
	pe_free(env, block->weights);
	pe_free(env, block->times);
	memset(block, 0, sizeof(*block));
}

void
pe_interactions_drop_rows(pe_interactions *interactions)
{
	for (uint32_t i = 0; i < interactions->n_blocks; i++)
		pe_interaction_block_free(interactions->env, &interactions->blocks[i]);
	pe_free(interactions->env, interactions->blocks);
	interactions->blocks = NULL;
	interactions->n_blocks = 0;
	interactions->blocks_capacity = 0;
}

void
pe_interactions_free(pe_interactions *interactions)
{
	if (interactions == NULL)
		return;
	pe_interactions_drop_rows(interactions);
	pe_collected_free(interactions->env, &interactions->users);
	pe_collected_free(interactions->env, &interactions->items);
	pe_free(interactions->env, interactions);
}

pe_status
pe_interactions_create(const pe_env *env, bool with_times, bool with_weights, pe_interactions **interactions,
                       pe_error *err)
{
	pe_interactions *made = pe_calloc(env, 1, sizeof(*made));

	*interactions = made;
	if (made == NULL)
		return pe_fail_memory(err);
	made->env = env;
	made->with_times = with_times;
	made->with_weights = with_weights;
	return PE_OK;
}

/* ---- texts ---------------------------------------------------------------------------- */

static bool
grow_table(const pe_env *env, pe_collected *collected)
{
	uint32_t size = collected->table_size > 0 ? collected->table_size * 2 : FIRST_TEXTS * 2;
	uint32_t *table = pe_calloc(env, size, sizeof(uint32_t));

	if (table == NULL)
		return false;
	for (uint32_t code = 0; code < collected->count; code++)
	{
		size_t start = collected->starts[code];
		uint64_t hash = pe_hash_bytes(collected->bytes + start, collected->starts[code + 1] - start, 0);
		uint32_t at = (uint32_t) hash & (size - 1);

		while (table[at] != 0)
			at = (at + 1) & (size - 1);
		table[at] = code + 1;
	}
	pe_free(env, collected->table);
	collected->table = table;
	collected->table_size = size;
	return true;
}

static bool
grow_texts(const pe_env *env, pe_collected *collected, size_t length)
{
	if (collected->count + 1 >= collected->capacity)
	{
		uint32_t capacity = collected->capacity > 0 ? collected->capacity * 2 : FIRST_TEXTS;
		size_t *starts = pe_realloc(env, collected->starts, capacity * sizeof(size_t));

		if (starts == NULL)
			return false;
		starts[0] = 0;
		collected->starts = starts;
		collected->capacity = capacity;
	}
	if (collected->bytes == NULL || collected->used + length > collected->size)
	{
		size_t size = collected->size * 2 + length + FIRST_TEXTS * 16;
		char *bytes = pe_realloc(env, collected->bytes, size);

		if (bytes == NULL)
			return false;
		collected->bytes = bytes;
		collected->size = size;
	}
	return true;
}

static pe_status
code_of(const pe_env *env, pe_collected *collected, const char *text, size_t length, uint32_t *code,
        pe_error *err)
{
	uint64_t hash = pe_hash_bytes(text, length, 0);
	uint32_t at;

	if (length > PE_MAX_ITEM_LENGTH)
	{
		pe_fail(err, PE_LIMIT, "a user or item is %zu bytes long", length);
		pe_error_hint(err, "At most %d bytes are told apart.", PE_MAX_ITEM_LENGTH);
		return PE_LIMIT;
	}
	if (collected->count >= collected->table_size / 2 && !grow_table(env, collected))
		return pe_fail_memory(err);
	for (at = (uint32_t) hash & (collected->table_size - 1); collected->table[at] != 0;
	     at = (at + 1) & (collected->table_size - 1))
	{
		uint32_t known = collected->table[at] - 1;
		size_t start = collected->starts[known];

		if (collected->starts[known + 1] - start == length &&
		    memcmp(collected->bytes + start, text, length) == 0)
		{
			*code = known;
			return PE_OK;
		}
	}
	if (!grow_texts(env, collected, length))
		return pe_fail_memory(err);
	memcpy(collected->bytes + collected->used, text, length);
	collected->used += length;
	*code = collected->count++;
	collected->starts[collected->count] = collected->used;
	collected->table[at] = *code + 1;
	return PE_OK;
}

/* ---- rows ----------------------------------------------------------------------------- */

static pe_status
add_block(pe_interactions *interactions, pe_error *err)
{
	const pe_env *env = interactions->env;
	pe_interaction_block *block;

	if (interactions->n_blocks == interactions->blocks_capacity)
	{
		uint32_t capacity = interactions->blocks_capacity * 2 + 16;
		pe_interaction_block *blocks =
		    pe_realloc(env, interactions->blocks, capacity * sizeof(pe_interaction_block));

		if (blocks == NULL)
			return pe_fail_memory(err);
		interactions->blocks = blocks;
		interactions->blocks_capacity = capacity;
	}
	block = &interactions->blocks[interactions->n_blocks];
	memset(block, 0, sizeof(*block));
	block->users = pe_alloc(env, PE_BLOCK_ROWS * sizeof(uint32_t));
	block->items = pe_alloc(env, PE_BLOCK_ROWS * sizeof(uint32_t));
	if (interactions->with_weights)
		block->weights = pe_alloc(env, PE_BLOCK_ROWS * sizeof(float));
	if (interactions->with_times)
		block->times = pe_alloc(env, PE_BLOCK_ROWS * sizeof(double));
	if (block->users == NULL || block->items == NULL ||
	    (interactions->with_weights && block->weights == NULL) ||
	    (interactions->with_times && block->times == NULL))
	{
		pe_interaction_block_free(env, block);
		return pe_fail_memory(err);
	}
	interactions->n_blocks++;
	return PE_OK;
}

pe_status
pe_interactions_add(pe_interactions *interactions, const char *user, size_t user_length, const char *item,
                    size_t item_length, double time, double weight, pe_error *err)
{
	uint32_t at = interactions->rows % PE_BLOCK_ROWS;
	uint32_t user_code, item_code;
	pe_interaction_block *block;
	pe_status status;

	if (interactions->rows >= MOST_ROWS)
		return pe_fail(err, PE_LIMIT, "more than %llu interactions", (unsigned long long) MOST_ROWS);
	status = code_of(interactions->env, &interactions->users, user, user_length, &user_code, err);
	if (status == PE_OK)
		status = code_of(interactions->env, &interactions->items, item, item_length, &item_code, err);
	if (status == PE_OK && interactions->rows / PE_BLOCK_ROWS == interactions->n_blocks)
		status = add_block(interactions, err);
	if (status != PE_OK)
		return status;
	block = &interactions->blocks[interactions->n_blocks - 1];
	block->users[at] = user_code;
	block->items[at] = item_code;
	if (block->weights != NULL)
		block->weights[at] = (float) weight;
	if (block->times != NULL)
		block->times[at] = time;
	interactions->rows++;
	return PE_OK;
}

uint64_t
pe_interactions_rows(const pe_interactions *interactions)
{
	return interactions->rows;
}

static size_t
collected_bytes(const pe_collected *collected)
{
	return collected->size + collected->capacity * sizeof(size_t) + collected->table_size * sizeof(uint32_t);
}

size_t
pe_interactions_bytes(const pe_interactions *interactions)
{
	return interactions->n_blocks * PE_BLOCK_ROWS * pe_interaction_bytes(interactions) +
	       collected_bytes(&interactions->users) + collected_bytes(&interactions->items);
}

/* What the learner takes, with every row a pair of its own, which they are at most. */
static size_t
fit_memory(const pe_interactions *interactions, const pe_recommend_options *options,
           pe_recommend_method method)
{
	size_t users = interactions->users.count, items = interactions->items.count;
	size_t threads = options->threads > 0 ? options->threads : 1;
	size_t kept = options->neighbours > 0 && (size_t) options->neighbours < items
	                  ? (size_t) options->neighbours
	                  : items;

	if (method == PE_RECOMMEND_ALS)
		return pe_als_memory((uint32_t) users, (uint32_t) items, options);
	if (method == PE_RECOMMEND_ITEM_ITEM)
	{
		if (options->neighbours == PE_CHOSEN && items > PE_ALL_NEIGHBOURS_UNTIL)
			kept = PE_MANY_NEIGHBOURS;
		/* Kept twice while they are put together. */
		return 2 * items * kept * 8 + threads * items * 24;
	}
	return 0;
}

size_t
pe_recommend_memory(const pe_interactions *interactions, const pe_recommend_options *options)
{
	size_t rows = interactions->rows;
	size_t users = interactions->users.count, items = interactions->items.count;
	/* Rows ordered by item, then by user; the second is what stays, with its transpose. */
	size_t ordering = 2 * rows * (4 + pe_interaction_bytes(interactions));
	/* taken, its transpose, the training part of both, held-out items. */
	size_t cells = rows * (8 + (interactions->with_times ? 8 : 0)) * 2 + rows * 8 * 2;
	size_t texts = (users + items) * 32 + interactions->users.used + interactions->items.used;
	size_t fit = 0;

	if (options->method == PE_RECOMMEND_AUTO)
	{
		size_t als = fit_memory(interactions, options, PE_RECOMMEND_ALS);
		size_t item = fit_memory(interactions, options, PE_RECOMMEND_ITEM_ITEM);

		fit = als > item ? als : item;
	}
	else
		fit = fit_memory(interactions, options, options->method);
	/* The first matrix takes the place of the blocks while they are given back. */
	return pe_interactions_bytes(interactions) + texts + (ordering > cells + fit ? ordering : cells + fit) +
	       ((size_t) 4 << 20);
}
