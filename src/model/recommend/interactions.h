/*
 * interactions.h
 *		The rows as they come in, shared by interactions.c, which fills them, and
 *		history.c, which makes matrices of them.
 */
#ifndef PE_MODEL_RECOMMEND_INTERACTIONS_H
#define PE_MODEL_RECOMMEND_INTERACTIONS_H

#include "model/recommend/internal.h"

#define PE_BLOCK_ROWS 65536

/* Distinct texts in the order they came: an open-addressing hash over one arena. */
typedef struct pe_collected
{
	char *bytes;
	size_t used;
	size_t size;
	size_t *starts; /* count + 1 */
	uint32_t count;
	uint32_t capacity;
	uint32_t *table; /* code + 1, 0 is empty; table_size is a power of two */
	uint32_t table_size;
} pe_collected;

typedef struct pe_interaction_block
{
	uint32_t *users;
	uint32_t *items;
	float *weights; /* NULL: all 1 */
	double *times;  /* NULL: unknown */
} pe_interaction_block;

struct pe_interactions
{
	const pe_env *env;
	bool with_times;
	bool with_weights;
	uint64_t rows;
	pe_collected users;
	pe_collected items;
	pe_interaction_block *blocks;
	uint32_t n_blocks;
	uint32_t blocks_capacity;
};

static inline size_t
pe_interaction_bytes(const pe_interactions *interactions)
{
	return 8 + (interactions->with_weights ? 4 : 0) + (interactions->with_times ? 8 : 0);
}

extern void pe_collected_free(const pe_env *env, pe_collected *collected);
extern void pe_interaction_block_free(const pe_env *env, pe_interaction_block *block);
/* Drops all rows, keeps the texts. */
extern void pe_interactions_drop_rows(pe_interactions *interactions);

#endif /* PE_MODEL_RECOMMEND_INTERACTIONS_H */
