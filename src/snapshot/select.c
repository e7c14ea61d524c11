/*
 * select.c
 *		Resolving paths against the schema: see select.h.
 */
#include <strings.h>

#include "snapshot/convert.h"
#include "snapshot/select.h"
#include "snapshot/text.h"

typedef struct view_builder
{
	pe_selection *selection;
	pe_plan *plan;
	const pe_snapshot_source *source;
	pe_scratch *scratch;
	const pe_schema *schema;
	const bool *taken;      /* by leaf: already whole in another column; NULL: nothing is */
	const pe_node *variant; /* what a view would need and cannot be read */
	pe_error *err;
} view_builder;

/* The reader of a leaf, made when the first column needs it. */
static pe_column *
column_of(view_builder *b, const pe_leaf *leaf)
{
	pe_column **slot = &b->selection->columns[leaf->index];

	if (*slot == NULL)
	{
		*slot = pe_arena_alloc(&b->selection->arena, sizeof(pe_column));
		if (*slot != NULL)
			pe_column_init(*slot, b->selection->env, b->source, b->scratch, leaf);
	}
	return *slot;
}

static const pe_node *
variant_around(const pe_node *node)
{
	while (node != NULL && !node->variant)
		node = node->parent;
	return node;
}

static pe_view *
new_view(view_builder *b, const pe_node *node, int children)
{
	pe_view *view = pe_arena_calloc(&b->selection->arena, 1, sizeof(*view));

	if (view == NULL)
		return NULL;
	if (b->variant == NULL)
		b->variant = variant_around(node);
	view->node = node;
	view->index = -1;
	view->first_leaf = b->plan->leaf_count;
	if (node->kind == PE_NODE_SCALAR)
	{
		view->column = column_of(b, node->leaf);
		view->first = view;
		if (view->column == NULL)
			return NULL;
		b->plan->leaves[b->plan->leaf_count++] = view;
	}
	else
	{
		view->children = pe_arena_calloc(&b->selection->arena, (size_t) children * 2, sizeof(pe_view *));
		if (view->children == NULL)
			return NULL;
		view->active = view->children + children;
	}
	view->end_leaf = b->plan->leaf_count;
	return view;
}

/* The member's name as JSON, made once instead of for each row. */
static bool
name_member(view_builder *b, pe_view *view)
{
	const pe_slice *name = &view->node->name;
	pe_buffer buffer;
	char *copy = NULL;

	pe_buffer_init(&buffer, b->selection->env);
	pe_buffer_json_string(&buffer, name->data, name->length);
	pe_buffer_char(&buffer, ':');
	if (!buffer.failed)
		copy = pe_arena_alloc(&b->selection->arena, buffer.length);
	if (copy != NULL)
		memcpy(copy, buffer.data, buffer.length);
	view->member.data = copy;
	view->member.length = buffer.length;
	pe_buffer_free(&buffer);
	return copy != NULL;
}

static bool
add_child(view_builder *b, pe_view *view, pe_view *child)
{
	if (child == NULL || (view->node->kind == PE_NODE_STRUCT && !name_member(b, child)))
		return false;
	view->children[view->child_count++] = child;
	if (view->first == NULL)
		view->first = child->first;
	view->end_leaf = b->plan->leaf_count;
	return true;
}

static bool
all_taken(const view_builder *b, const pe_node *node)
{
	if (b->taken == NULL)
		return false;
	for (int i = node->first_leaf; i < node->end_leaf; i++)
	{
		if (!b->taken[i])
			return false;
	}
	return true;
}

/* The node with everything below that is not taken. */
static pe_view *
whole_view(view_builder *b, const pe_node *node)
{
	pe_view *view = new_view(b, node, node->child_count);

	if (view == NULL)
		return NULL;
	for (int i = 0; i < node->child_count; i++)
	{
		if (node->kind == PE_NODE_STRUCT && all_taken(b, node->children[i]))
			continue;
		if (!add_child(b, view, whole_view(b, node->children[i])))
			return NULL;
	}
	return view;
}

/* Adobe writes namespaces in either case: ECID, ecid. */
static bool
keys_fold_case(const pe_node *node)
{
	static const char *const names[] = {"identityMap", "segmentMembership"};

	for (int i = 0; i < 2; i++)
	{
		if (node->name.length == strlen(names[i]) &&
		    strncasecmp(node->name.data, names[i], node->name.length) == 0)
			return true;
	}
	return false;
}

static const pe_node *
member(const pe_node *node, const pe_xdm_step *step)
{
	for (int i = 0; i < node->child_count; i++)
	{
		const pe_slice *name = &node->children[i]->name;

		if (name->length == step->length && memcmp(name->data, step->name, step->length) == 0)
			return node->children[i];
	}
	for (int i = 0; i < node->child_count && keys_fold_case(node); i++)
	{
		const pe_slice *name = &node->children[i]->name;

		if (name->length == step->length && strncasecmp(name->data, step->name, step->length) == 0)
			return node->children[i];
	}
	return NULL;
}

static int64_t
list_index(const pe_xdm_step *step)
{
	int64_t index = 0;

	if (step->length > 9)
		return -1;
	for (size_t i = 0; i < step->length; i++)
	{
		if (step->name[i] < '0' || step->name[i] > '9')
			return -1;
		index = index * 10 + (step->name[i] - '0');
	}
	return index;
}

/*
 * Does the path lead anywhere from this node? *outer is set to the first list or
 * map on the way (not where it ends), *target to the end.
 */
static bool
find_target(const pe_node *node, const pe_xdm_path *path, int at, const pe_node **outer, int *outer_at,
            const pe_node **target)
{
	while (at < path->count)
	{
		if ((node->kind == PE_NODE_LIST || node->kind == PE_NODE_MAP) && *outer == NULL)
		{
			*outer = node;
			*outer_at = at;
		}
		switch (node->kind)
		{
			case PE_NODE_SCALAR:
				return false;
			case PE_NODE_STRUCT:
				node = member(node, &path->steps[at++]);
				if (node == NULL)
					return false;
				break;
			case PE_NODE_LIST:
				at += list_index(&path->steps[at]) >= 0;
				node = node->children[0];
				break;
			case PE_NODE_MAP:
				at++;
				node = node->children[1];
				break;
		}
	}
	*target = node;
	return true;
}

/* Views from the outermost list or map down to the target; find_target has succeeded. */
static pe_view *
path_view(view_builder *b, const pe_node *node, const pe_xdm_path *path, int at)
{
	pe_view *view;

	if (at == path->count)
	{
		view = whole_view(b, node);
		if (view != NULL)
			view->target = true;
		b->plan->target = view;
		return view;
	}
	view = new_view(b, node, 2);
	if (view == NULL)
		return NULL;
	switch (node->kind)
	{
		case PE_NODE_LIST:
			view->index = list_index(&path->steps[at]);
			if (!add_child(b, view, path_view(b, node->children[0], path, at + (view->index >= 0))))
				return NULL;
			break;
		case PE_NODE_MAP:
			view->key = &path->steps[at];
			view->fold_case = keys_fold_case(node);
			if (!add_child(b, view, whole_view(b, node->children[0])) ||
			    !add_child(b, view, path_view(b, node->children[1], path, at + 1)))
				return NULL;
			break;
		default:
			if (!add_child(b, view, path_view(b, member(node, &path->steps[at]), path, at + 1)))
				return NULL;
			break;
	}
	return view;
}

static pe_status
not_found(const pe_plan *plan, pe_error *err)
{
	(void) pe_fail(err, PE_NOT_FOUND, "no field \"%.*s\" in the Parquet file",
	               pe_text_clip(plan->path, strlen(plan->path), 200), plan->path);
	(void) snprintf(err->column, sizeof(err->column), "%.*s",
	                pe_text_clip(plan->path, strlen(plan->path), sizeof(err->column) - 1), plan->path);
	return PE_NOT_FOUND;
}

static pe_status
mismatch(const pe_plan *plan, const char *found, pe_error *err)
{
	(void) pe_fail(err, PE_TYPE_MISMATCH,
	               "field \"%.*s\" of the Parquet file is %s, which cannot be read as %s",
	               pe_text_clip(plan->path, strlen(plan->path), 200), plan->path, found,
	               pe_column_type_name(plan->type));
	(void) snprintf(err->column, sizeof(err->column), "%.*s",
	                pe_text_clip(plan->path, strlen(plan->path), sizeof(err->column) - 1), plan->path);
	return PE_TYPE_MISMATCH;
}

/* After plan->view was built: is it there, and of fields that can be read? */
static pe_status
check_view(const view_builder *b)
{
	char path[sizeof(b->err->column)];

	if (b->plan->view == NULL)
		return pe_fail_memory(b->err);
	if (b->variant == NULL)
		return PE_OK;
	(void) pe_node_path(b->variant, path, sizeof(path));
	(void) pe_fail(b->err, PE_UNSUPPORTED, "field \"%s\" of the Parquet file is a variant, which is not read",
	               path);
	(void) snprintf(b->err->column, sizeof(b->err->column), "%s", path);
	return PE_UNSUPPORTED;
}

/* How a scalar at the end of a path is delivered. */
static pe_status
plan_scalar(pe_plan *plan, const pe_node *target, bool nested, pe_error *err)
{
	if (plan->type == PE_COLUMN_AUTO)
		plan->type = pe_leaf_suggests(target->leaf);
	if (plan->type == PE_COLUMN_JSON && target->leaf->meaning != PE_MEANS_JSON)
		plan->kind = PE_PLAN_JSON;
	else if (!pe_convert_possible(target->leaf, plan->type))
		return mismatch(plan, pe_meaning_name(target->leaf->meaning), err);
	else
		plan->kind = nested ? PE_PLAN_PICK : PE_PLAN_LEAF;
	return PE_OK;
}

static pe_status
plan_subtree(pe_plan *plan, const pe_node *target, pe_error *err)
{
	static const char *const names[] = {
	    [PE_NODE_STRUCT] = "a struct", [PE_NODE_LIST] = "a list", [PE_NODE_MAP] = "a map"};

	if (plan->type == PE_COLUMN_AUTO)
		plan->type = PE_COLUMN_JSON;
	if (plan->type != PE_COLUMN_JSON && plan->type != PE_COLUMN_TEXT)
		return mismatch(plan, names[target->kind], err);
	plan->kind = PE_PLAN_JSON;
	return PE_OK;
}

static pe_status
plan_path(view_builder *b, const pe_xdm_path *path, bool optional, bool *taken)
{
	pe_plan *plan = b->plan;
	const pe_node *outer = NULL;
	const pe_node *target = NULL;
	int outer_at = 0;
	pe_status status;

	if (!find_target(b->schema->root, path, 0, &outer, &outer_at, &target))
	{
		if (!optional)
			return not_found(plan, b->err);
		plan->kind = PE_PLAN_NULL;
		if (plan->type == PE_COLUMN_AUTO)
			plan->type = PE_COLUMN_TEXT;
		return PE_OK;
	}
	if (target->kind == PE_NODE_SCALAR)
		status = plan_scalar(plan, target, outer != NULL, b->err);
	else
		status = plan_subtree(plan, target, b->err);
	if (status != PE_OK)
		return status;
	plan->leaves =
	    pe_arena_calloc(&b->selection->arena, (size_t) (target->end_leaf - target->first_leaf) + path->count,
	                    sizeof(pe_view *));
	if (plan->leaves == NULL)
		return pe_fail_memory(b->err);
	plan->view =
	    outer != NULL ? path_view(b, outer, path, outer_at) : path_view(b, target, path, path->count);
	status = check_view(b);
	if (status != PE_OK)
		return status;
	for (int i = target->first_leaf; i < target->end_leaf && outer == NULL; i++)
		taken[i] = true;
	return PE_OK;
}

static pe_status
plan_rest(view_builder *b, const bool *taken)
{
	pe_plan *plan = b->plan;
	pe_status status;

	if (plan->type == PE_COLUMN_AUTO)
		plan->type = PE_COLUMN_JSON;
	if (plan->type != PE_COLUMN_JSON && plan->type != PE_COLUMN_TEXT)
		return pe_fail(b->err, PE_TYPE_MISMATCH, "the rest of the fields is read as jsonb, not as %s",
		               pe_column_type_name(plan->type));
	plan->kind = PE_PLAN_JSON;
	plan->leaves = pe_arena_calloc(&b->selection->arena, (size_t) b->schema->leaf_count, sizeof(pe_view *));
	if (plan->leaves == NULL)
		return pe_fail_memory(b->err);
	b->taken = taken;
	plan->view = whole_view(b, b->schema->root);
	b->taken = NULL;
	plan->target = plan->view;
	status = check_view(b);
	if (status == PE_OK)
		plan->view->target = true;
	return status;
}

static pe_status
build_plans(view_builder *b, const pe_snapshot_column *columns, bool *taken)
{
	pe_selection *selection = b->selection;
	pe_status status = PE_OK;

	for (int i = 0; i < selection->count && status == PE_OK; i++)
	{
		pe_plan *plan = &selection->plans[i];

		pe_arena_init(&plan->text, selection->env);
		pe_buffer_init(&plan->json, selection->env);
		plan->type = columns[i].type;
		plan->rest = columns[i].path == NULL;
		plan->path = "";
		if (plan->rest)
			continue;
		status = pe_xdm_path_parse(selection->env, columns[i].path, strlen(columns[i].path),
		                           &selection->paths[i], b->err);
		if (status != PE_OK)
			break;
		plan->path = pe_arena_alloc(&selection->arena, strlen(columns[i].path) + 1);
		if (plan->path == NULL)
			return pe_fail_memory(b->err);
		strcpy((char *) (uintptr_t) plan->path, columns[i].path);
		b->plan = plan;
		status = plan_path(b, selection->paths[i], columns[i].optional, taken);
	}
	/* The rest is what the others have left, wherever it stands among them. */
	for (int i = 0; i < selection->count && status == PE_OK; i++)
	{
		b->plan = &selection->plans[i];
		if (b->plan->rest)
			status = plan_rest(b, taken);
	}
	return status;
}

pe_status
pe_selection_build(const pe_env *env, const pe_snapshot_source *source, pe_scratch *scratch,
                   const pe_schema *schema, const pe_snapshot_column *columns, int count,
                   pe_selection *selection, pe_error *err)
{
	view_builder b = {
	    .selection = selection, .source = source, .scratch = scratch, .schema = schema, .err = err};
	bool *taken;
	pe_status status;

	memset(selection, 0, sizeof(*selection));
	selection->env = env;
	pe_arena_init(&selection->arena, env);
	selection->plans = pe_arena_calloc(&selection->arena, (size_t) count, sizeof(pe_plan));
	selection->paths = pe_arena_calloc(&selection->arena, (size_t) count, sizeof(pe_xdm_path *));
	selection->columns = pe_arena_calloc(&selection->arena, (size_t) schema->leaf_count, sizeof(pe_column *));
	selection->used = pe_arena_calloc(&selection->arena, (size_t) schema->leaf_count, sizeof(pe_column *));
	taken = pe_arena_calloc(&selection->arena, (size_t) schema->leaf_count, sizeof(bool));
	if (selection->plans == NULL || selection->paths == NULL || selection->columns == NULL ||
	    selection->used == NULL || taken == NULL)
		status = pe_fail_memory(err);
	else
	{
		selection->count = count;
		selection->column_count = schema->leaf_count;
		status = build_plans(&b, columns, taken);
	}
	if (status != PE_OK)
	{
		pe_selection_free(selection);
		return status;
	}
	for (int i = 0; i < schema->leaf_count; i++)
	{
		if (selection->columns[i] != NULL)
			selection->used[selection->used_count++] = selection->columns[i];
	}
	return PE_OK;
}

void
pe_selection_free(pe_selection *selection)
{
	const pe_env *env = selection->env;

	if (env == NULL)
		return;
	for (int i = 0; i < selection->count; i++)
	{
		pe_plan *plan = &selection->plans[i];

		pe_xdm_path_free(env, selection->paths[i]);
		pe_free(env, plan->nulls);
		pe_free(env, plan->data);
		pe_free(env, plan->picked);
		if (plan->text.env != NULL)
			pe_arena_free(&plan->text);
		pe_buffer_free(&plan->json);
	}
	for (int i = 0; i < selection->column_count; i++)
	{
		if (selection->columns[i] != NULL)
			pe_column_free(selection->columns[i]);
	}
	pe_arena_free(&selection->arena);
	memset(selection, 0, sizeof(*selection));
}
