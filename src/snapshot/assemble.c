/*
 * assemble.c
 *		Walking the leaves of a plan row by row: see assemble.h.
 *
 * A walk reads every leaf of its views in step: a list continues while the first
 * leaf's next entry has the list's repetition level, and whatever a node turns out
 * to be, each leaf below moves on by exactly that node. Files whose leaves
 * disagree are memory-safe to walk, because every entry taken is checked against
 * the leaf's end, and are found out at the start of the next row or at the end of
 * the batch, where all must stand at a row's beginning.
 */
#include <math.h>

#include "snapshot/assemble.h"
#include "snapshot/text.h"
#include "snapshot/value.h"

typedef struct walker
{
	pe_plan *plan;
	pe_buffer *out;
	const pe_leaf *leaf; /* of the fault */
	const char *fault;
	bool corrupt;
	bool found;
	const void *best; /* PICK */
} walker;

/* Every loop of a walk ends here, for then nothing moves on. */
static bool
stopped(const walker *w)
{
	return w->corrupt || w->fault != NULL || w->out->full || w->out->failed;
}

/*
 * Which views hold anything in this batch? A wide export is mostly empty columns;
 * they are left out of every row's walk. Below lists everything stays, for there
 * the leaves' entries count.
 */
static bool
activate(pe_view *view)
{
	const pe_node *node = view->node;

	if (node->rep > 0)
		return true;
	if (node->kind == PE_NODE_SCALAR)
		return view->column->value_count > 0;
	if (node->kind != PE_NODE_STRUCT)
		return view->first->column->max_def_seen >= node->def;
	view->active_count = 0;
	for (int i = 0; i < view->child_count; i++)
	{
		if (activate(view->children[i]))
			view->active[view->active_count++] = view->children[i];
	}
	return view->active_count > 0;
}

/* Structs below lists walk all of their children. */
static void
activate_nested(pe_view *view)
{
	for (int i = 0; i < view->child_count; i++)
		activate_nested(view->children[i]);
	if (view->node->kind == PE_NODE_STRUCT && view->node->rep > 0)
	{
		memcpy(view->active, view->children, (size_t) view->child_count * sizeof(pe_view *));
		view->active_count = view->child_count;
	}
}

void
pe_assemble_begin(pe_plan *plan)
{
	for (int i = 0; i < plan->leaf_count; i++)
	{
		plan->leaves[i]->entry = 0;
		plan->leaves[i]->value = 0;
	}
	activate_nested(plan->view);
	(void) activate(plan->view);
}

/* The definition level of the node's next entry; corrupt (and 0) when there is none. */
static unsigned
next_def(walker *w, const pe_view *view)
{
	const pe_view *first = view->first;

	if (first->entry >= first->column->entries)
	{
		w->corrupt = true;
		return 0;
	}
	return first->column->defs[first->entry];
}

/* Does the node's next entry continue the list at this repetition level? */
static bool
continues(const pe_view *view, unsigned rep)
{
	const pe_view *first = view->first;

	return first->entry < first->column->entries && first->column->reps[first->entry] == rep;
}

/* Step over the node once, whatever it holds. */
static void
skip(walker *w, pe_view *view)
{
	for (int i = view->first_leaf; i < view->end_leaf; i++)
	{
		pe_view *leaf = w->plan->leaves[i];
		const pe_column *column = leaf->column;
		uint8_t max_def = column->leaf->max_def;

		if (leaf->entry >= column->entries)
		{
			w->corrupt = true;
			return;
		}
		do
			leaf->value += column->defs[leaf->entry++] == max_def;
		while (column->reps != NULL && leaf->entry < column->entries &&
		       column->reps[leaf->entry] > view->node->rep);
	}
}

/* The scalar's next value, NULL for null. */
static const void *
next_value(walker *w, pe_view *view)
{
	const pe_column *column = view->column;

	if (view->entry >= column->entries)
	{
		w->corrupt = true;
		return NULL;
	}
	if (column->defs[view->entry++] < column->leaf->max_def)
		return NULL;
	return (const char *) column->values + view->value++ * pe_leaf_value_size(column->leaf);
}

static void
set_fault(walker *w, const pe_view *view, const char *fault)
{
	if (fault != NULL && w->fault == NULL)
	{
		w->fault = fault;
		w->leaf = view->column->leaf;
	}
}

static bool
finite_value(const pe_leaf *leaf, const void *value)
{
	double wide;
	float narrow;

	if (leaf->meaning == PE_MEANS_DOUBLE)
	{
		memcpy(&wide, value, sizeof(wide));
		return isfinite(wide);
	}
	if (leaf->meaning == PE_MEANS_FLOAT)
	{
		memcpy(&narrow, value, sizeof(narrow));
		return isfinite(narrow);
	}
	if (leaf->meaning == PE_MEANS_FLOAT16)
		return isfinite(pe_float16((const uint8_t *) ((const pe_slice *) value)->data));
	return leaf->meaning != PE_MEANS_NULL;
}

static bool write_value(walker *w, pe_view *view, bool keep_empty);

static bool
write_scalar(walker *w, pe_view *view)
{
	const void *value = next_value(w, view);
	const pe_leaf *leaf = view->column->leaf;

	if (value == NULL || !finite_value(leaf, value))
		return false;
	if (leaf->meaning == PE_MEANS_TEXT && view->column->clean)
	{
		const pe_slice *text = value;

		pe_buffer_json_string(w->out, text->data, text->length);
	}
	else
		set_fault(w, view, pe_value_json(leaf, value, w->out));
	return true;
}

/* An object's member with its name; takes everything back when it is null. */
static bool
write_member(walker *w, pe_view *view, bool comma)
{
	size_t start = w->out->length;

	if (comma)
		pe_buffer_char(w->out, ',');
	pe_buffer_add(w->out, view->member.data, view->member.length);
	if (write_value(w, view, false))
		return true;
	if (!w->out->failed && !w->out->full)
		w->out->length = start;
	return false;
}

static bool
write_struct(walker *w, pe_view *view, bool keep_empty)
{
	size_t start = w->out->length;
	bool any = false;

	/* Outside of lists a null struct has null members only, and is left out like any without members. */
	if (view->node->rep > 0 && next_def(w, view) < view->node->def)
	{
		skip(w, view);
		return false;
	}
	pe_buffer_char(w->out, '{');
	for (int i = 0; i < view->active_count && !stopped(w); i++)
		any |= write_member(w, view->active[i], any);
	pe_buffer_char(w->out, '}');
	if (any || keep_empty)
		return true;
	if (!w->out->failed && !w->out->full)
		w->out->length = start;
	return false;
}

static void
write_items(walker *w, pe_view *view)
{
	bool comma = false;

	do
	{
		if (comma)
			pe_buffer_char(w->out, ',');
		comma = true;
		if (!write_value(w, view->children[0], true))
			pe_buffer_add(w->out, "null", 4);
	} while (!stopped(w) && continues(view, view->node->item_rep));
}

/* One entry of a map, left out when its key or value is null. */
static bool
write_entry(walker *w, pe_view *view, bool comma)
{
	pe_view *key = view->children[0];
	const void *value = next_value(w, key);
	size_t start = w->out->length;

	if (w->corrupt)
		return false;
	if (value == NULL)
	{
		skip(w, view->children[1]);
		return false;
	}
	if (comma)
		pe_buffer_char(w->out, ',');
	set_fault(w, key, pe_value_json_key(key->column->leaf, value, w->out));
	pe_buffer_char(w->out, ':');
	if (write_value(w, view->children[1], true))
		return true;
	if (!w->out->failed && !w->out->full)
		w->out->length = start;
	return false;
}

static void
write_entries(walker *w, pe_view *view)
{
	bool any = false;

	do
		any |= write_entry(w, view, any);
	while (!stopped(w) && continues(view, view->node->item_rep));
}

/* A list or a map. */
static bool
write_repeated(walker *w, pe_view *view)
{
	bool list = view->node->kind == PE_NODE_LIST;
	unsigned def = next_def(w, view);

	if (w->corrupt)
		return false;
	if (def < view->node->def)
	{
		skip(w, view);
		return false;
	}
	pe_buffer_char(w->out, list ? '[' : '{');
	if (def < view->node->item_def)
		skip(w, view);
	else if (list)
		write_items(w, view);
	else
		write_entries(w, view);
	pe_buffer_char(w->out, list ? ']' : '}');
	return true;
}

/* Write the node's next value; false, and nothing written, when it is null. */
static bool
write_value(walker *w, pe_view *view, bool keep_empty)
{
	if (stopped(w))
		return false;
	switch (view->node->kind)
	{
		case PE_NODE_SCALAR:
			return write_scalar(w, view);
		case PE_NODE_STRUCT:
			return write_struct(w, view, keep_empty);
		default:
			return write_repeated(w, view);
	}
}

/* The path ends here: take the value if it is better than what was found before. */
static void
take_target(walker *w, pe_view *view)
{
	const void *value;

	if (w->plan->kind == PE_PLAN_JSON)
	{
		if (w->found)
			skip(w, view);
		else
			w->found = write_value(w, view, true);
		return;
	}
	value = next_value(w, view);
	if (value != NULL && (w->best == NULL || pe_value_compare(view->column->leaf, value, w->best) < 0))
		w->best = value;
}

static bool
key_matches(const pe_view *view, const void *value)
{
	const pe_leaf *leaf = view->children[0]->column->leaf;
	const pe_slice *text = value;
	char shown[PE_VALUE_TEXT];
	pe_buffer rendered = {.data = shown, .size = sizeof(shown), .full = true};

	if (value == NULL)
		return false;
	if (pe_leaf_value_size(leaf) == sizeof(pe_slice) && leaf->meaning != PE_MEANS_DECIMAL &&
	    leaf->meaning != PE_MEANS_UUID && leaf->meaning != PE_MEANS_INTERVAL &&
	    leaf->meaning != PE_MEANS_FLOAT16)
	{
		if (text->length != view->key->length)
			return false;
		if (memcmp(text->data, view->key->name, text->length) == 0)
			return true;
		if (!view->fold_case)
			return false;
		for (size_t i = 0; i < text->length; i++)
		{
			unsigned char a = (unsigned char) text->data[i];
			unsigned char b = (unsigned char) view->key->name[i];

			a = a >= 'A' && a <= 'Z' ? (unsigned char) (a + 32) : a;
			b = b >= 'A' && b <= 'Z' ? (unsigned char) (b + 32) : b;
			if (a != b)
				return false;
		}
		return true;
	}
	/* A buffer that is full from the start never allocates: what does not fit does not match. */
	if (pe_value_text(leaf, value, &rendered) != NULL)
		return false;
	return rendered.length == view->key->length && memcmp(shown, view->key->name, rendered.length) == 0;
}

static void pick(walker *w, pe_view *view);

static void
pick_items(walker *w, pe_view *view)
{
	int64_t index = 0;

	do
	{
		if (view->index < 0 || view->index == index)
			pick(w, view->children[0]);
		else
			skip(w, view->children[0]);
		index++;
	} while (!stopped(w) && continues(view, view->node->item_rep));
}

static void
pick_entries(walker *w, pe_view *view)
{
	do
	{
		const void *key = next_value(w, view->children[0]);

		if (w->corrupt)
			return;
		if (key_matches(view, key))
			pick(w, view->children[1]);
		else
			skip(w, view->children[1]);
	} while (!stopped(w) && continues(view, view->node->item_rep));
}

static void
pick(walker *w, pe_view *view)
{
	const pe_node *node = view->node;
	unsigned def;

	if (stopped(w))
		return;
	if (view->target)
	{
		take_target(w, view);
		return;
	}
	def = next_def(w, view);
	if (w->corrupt)
		return;
	if (def < node->def || (node->kind != PE_NODE_STRUCT && def < node->item_def))
		skip(w, view);
	else if (node->kind == PE_NODE_STRUCT)
		pick(w, view->children[0]);
	else if (node->kind == PE_NODE_LIST)
		pick_items(w, view);
	else
		pick_entries(w, view);
}

/* Nested leaves must all stand at the beginning of a row. */
static bool
at_row_start(const pe_plan *plan, const pe_view *view)
{
	switch (view->node->kind)
	{
		case PE_NODE_STRUCT:
			if (view->node->rep > 0)
				break;
			for (int i = 0; i < view->active_count; i++)
			{
				if (!at_row_start(plan, view->active[i]))
					return false;
			}
			return true;
		case PE_NODE_SCALAR:
			if (view->column->reps == NULL)
				return true;
			break;
		default:
			break;
	}
	for (int i = view->first_leaf; i < view->end_leaf; i++)
	{
		const pe_view *leaf = plan->leaves[i];

		if (leaf->column->reps != NULL &&
		    (leaf->entry >= leaf->column->entries || leaf->column->reps[leaf->entry] != 0))
			return false;
	}
	return true;
}

/* Are the leaves of every list and map that was walked used up? */
static bool
used_up(const pe_plan *plan, const pe_view *view)
{
	if (view->node->kind == PE_NODE_STRUCT && view->node->rep == 0)
	{
		for (int i = 0; i < view->active_count; i++)
		{
			if (!used_up(plan, view->active[i]))
				return false;
		}
		return true;
	}
	for (int i = view->first_leaf; i < view->end_leaf; i++)
	{
		if (plan->leaves[i]->entry != plan->leaves[i]->column->entries)
			return false;
	}
	return true;
}

static bool
walked(const pe_plan *plan)
{
	/* What is null in all rows is not walked at all. */
	return plan->view->node->kind == PE_NODE_STRUCT ||
	       plan->view->first->column->max_def_seen >= plan->view->node->def;
}

bool
pe_assemble_finished(const pe_plan *plan)
{
	return plan->leaf_count == 0 || !walked(plan) || used_up(plan, plan->view);
}

static pe_status
walk(walker *w)
{
	pe_plan *plan = w->plan;

	if (plan->leaf_count == 0 || !walked(plan))
	{
		if (plan->rest)
			w->found = write_value(w, plan->view, true);
		return PE_OK;
	}
	if (!at_row_start(plan, plan->view))
		return PE_CORRUPT;
	if (plan->view == plan->target && plan->kind == PE_PLAN_JSON)
		w->found = write_value(w, plan->view, plan->rest);
	else
		pick(w, plan->view);
	if (w->fault != NULL)
		return PE_INVALID_DATA;
	return w->corrupt ? PE_CORRUPT : PE_OK;
}

pe_status
pe_assemble_json(pe_plan *plan, bool *found, const pe_leaf **leaf, const char **fault)
{
	walker w = {.plan = plan, .out = &plan->json};
	pe_status status;

	plan->json.limit = plan->json.length + PE_SNAPSHOT_MAX_JSON;
	status = walk(&w);
	*found = w.found;
	*leaf = w.leaf;
	*fault = w.fault;
	if (plan->json.failed)
		return PE_OUT_OF_MEMORY;
	return plan->json.full ? PE_LIMIT : status;
}

pe_status
pe_assemble_pick(pe_plan *plan, void *out, bool *found, const pe_leaf **leaf, const char **fault)
{
	walker w = {.plan = plan, .out = &plan->json};
	pe_status status = walk(&w);

	*found = w.best != NULL;
	*leaf = w.leaf;
	*fault = w.fault;
	if (status == PE_OK && w.best != NULL)
		memcpy(out, w.best, pe_leaf_value_size(plan->target->node->leaf));
	return status;
}
