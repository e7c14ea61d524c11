/*
 * explainer.h
 *		What the files of the explainer share: its tables.
 */
#ifndef PE_MODEL_EXPLAINER_H
#define PE_MODEL_EXPLAINER_H

#include "model/internal.h"

#define PE_MAX_PATH   PE_MAX_TREE_DEPTH
#define PE_MAX_POINTS ((PE_MAX_PATH + 1) / 2)

/* One test on a path: the node's number in its tree, and which way the path goes. */
#define PE_STEP(node, left) ((uint32_t) (node) << 1 | (left))

/* A leaf, or some leaves below one node, with what leads there. */
typedef struct pe_branch
{
	/* Place in explainer->words: for each bit the number of its steps and the steps; then the features. */
	uint32_t words;
	uint8_t n_bits;
	uint8_t n_features;
	double value;  /* of a leaf without table */
	double *parts; /* [n_features][1 << n_bits]; of a leaf without table its n_features shares */
	bool table;
} pe_branch;

typedef struct pe_point
{
	double t;
	double weight;
} pe_point;

struct pe_explainer
{
	const pe_env *env;
	const pe_model *model;
	pe_explainer *parts[2]; /* of a model whose margin is the difference of those of others, else NULL */
	pe_branch *branches;
	uint32_t n_branches;
	uint32_t branches_capacity;
	uint32_t *firsts; /* n_trees + 1: a tree's branches; one with tests but none is walked */
	uint32_t *words;
	uint32_t n_words;
	uint32_t words_capacity;
	uint32_t most_nodes; /* of a tree that is not walked */
	int *places;         /* by feature: which column of a tile it is, -1: no test looks at it */
	int n_places;
	uint64_t spread[256]; /* a byte's bits as the lowest bits of 8 bytes, in memory's order */
	pe_point points[PE_MAX_POINTS * (PE_MAX_POINTS + 1) / 2]; /* rules of 1, 2, ... points */
};

/* The rule for a leaf with so many features on its path. */
static inline const pe_point *
pe_rule(const pe_explainer *explainer, int n_features)
{
	int n = (n_features + 1) / 2;

	return explainer->points + n * (n - 1) / 2;
}

#endif /* PE_MODEL_EXPLAINER_H */
