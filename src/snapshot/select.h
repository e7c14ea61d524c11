/*
 * select.h
 *		From the paths asked for to plans: which leaves to read for a column, and how
 *		its value comes out of them.
 */
#ifndef PE_SELECT_H
#define PE_SELECT_H

#include "snapshot/buffer.h"
#include "snapshot/column.h"
#include "snapshot/xdm_path.h"

/*
 * A node of the schema as one column sees it: only the children it needs, and for
 * scalars its own place in the leaf's batch, so that several columns can walk the
 * same leaf.
 */
typedef struct pe_view
{
	const pe_node *node;
	struct pe_view **children;
	int child_count;
	struct pe_view **active; /* of a struct: the children that hold anything in this batch */
	int active_count;
	pe_slice member;       /* below a struct: its name as JSON, with the colon */
	struct pe_view *first; /* the first leaf below, itself for a scalar */
	int first_leaf;        /* the leaves below: plan->leaves[first_leaf .. end_leaf - 1] */
	int end_leaf;

	pe_column *column; /* scalars */
	size_t entry;      /* the next entry of the batch */
	size_t value;      /* ... and the next value */

	bool target;            /* where the path ends */
	const pe_xdm_step *key; /* of a map on the path */
	bool fold_case;
	int64_t index; /* of a list on the path: this element, -1 any */
} pe_view;

typedef enum pe_plan_kind
{
	PE_PLAN_NULL, /* not in the file */
	PE_PLAN_LEAF, /* a leaf outside of lists and maps */
	PE_PLAN_PICK, /* the smallest value a path finds in lists and maps */
	PE_PLAN_JSON  /* a subtree, or a scalar as JSON */
} pe_plan_kind;

typedef struct pe_plan
{
	pe_plan_kind kind;
	pe_column_type type;
	const char *path; /* "" for the rest */
	bool rest;
	pe_view *view;   /* where the walk begins */
	pe_view *target; /* where it ends: the view itself but for paths through lists and maps */
	pe_view **leaves;
	int leaf_count;

	pe_snapshot_vector vector; /* what the batch shows; points into the arrays below */
	size_t capacity;           /* rows */
	bool *nulls;
	void *data;    /* of pe_column_type_size each */
	void *picked;  /* PICK: values found, densely, before conversion */
	pe_arena text; /* text made by conversion */
	pe_buffer json;
} pe_plan;

typedef struct pe_selection
{
	const pe_env *env;
	pe_arena arena;
	pe_plan *plans;
	int count;
	pe_column **columns; /* by leaf index, NULL when not read */
	int column_count;
	pe_column **used; /* those that are read, in file order */
	int used_count;
	pe_xdm_path **paths;
} pe_selection;

pe_status pe_selection_build(const pe_env *env, const pe_snapshot_source *source, pe_scratch *scratch,
                             const pe_schema *schema, const pe_snapshot_column *columns, int count,
                             pe_selection *selection, pe_error *err);
void pe_selection_free(pe_selection *selection);

#endif /* PE_SELECT_H */
