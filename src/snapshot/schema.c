/*
 * schema.c
 *		From the footer's flat list of elements to a tree: see schema.h.
 *
 * The recursion is bounded by PE_SNAPSHOT_MAX_DEPTH, and the nodes by twice the
 * elements.
 */
#include "snapshot/schema.h"
#include "snapshot/text.h"
#include "snapshot/xdm_path.h"

typedef struct schema_builder
{
	pe_arena *arena;
	const pe_metadata *metadata;
	size_t *ends; /* for each element, the index behind its subtree */
	pe_schema *schema;
	pe_error *err;
} schema_builder;

typedef struct pe_level
{
	uint8_t def;
	uint8_t rep;
	int depth;
} pe_level;

/* Find the end of every subtree without recursion; also checks depth and leaf count. */
static pe_status
find_ends(schema_builder *b)
{
	const pe_metadata *metadata = b->metadata;
	size_t open[PE_SNAPSHOT_MAX_DEPTH];
	int32_t left[PE_SNAPSHOT_MAX_DEPTH];
	int depth = 0;
	int leaves = 0;

	for (size_t i = 0; i < metadata->element_count; i++)
	{
		const pe_element *element = &metadata->elements[i];
		bool group = element->physical == PE_PHYSICAL_NONE;

		if (i > 0 && depth == 0)
			return pe_fail(b->err, PE_CORRUPT, "Parquet schema has elements outside of its root");
		if (element->children < 0 || (!group && element->children > 0) || (i == 0 && !group))
			return pe_fail(b->err, PE_CORRUPT, "Parquet schema is not a tree");
		if (!pe_text_valid(element->name, element->name_length))
			return pe_fail(b->err, PE_CORRUPT,
			               "Parquet schema has a column name that is not valid UTF-8 text");
		leaves += !group;
		if (depth > 0)
			left[depth - 1]--;
		open[depth] = i;
		left[depth] = element->children;
		depth++;
		while (depth > 0 && left[depth - 1] == 0)
			b->ends[open[--depth]] = i + 1;
		if (depth == PE_SNAPSHOT_MAX_DEPTH)
			return pe_fail(b->err, PE_LIMIT, "Parquet schema is nested more than %d levels deep",
			               PE_SNAPSHOT_MAX_DEPTH);
	}
	if (depth > 0)
		return pe_fail(b->err, PE_CORRUPT, "Parquet schema ends before all of its columns are described");
	if (leaves > PE_SNAPSHOT_MAX_LEAVES)
		return pe_fail(b->err, PE_LIMIT, "Parquet file has %d columns, more than %d", leaves,
		               PE_SNAPSHOT_MAX_LEAVES);
	b->schema->leaf_count = leaves;
	return PE_OK;
}

static pe_meaning
integer_meaning(const pe_element *element)
{
	bool wide = element->physical == PE_PHYSICAL_INT64;

	if (element->annotation != PE_ANNOTATION_INTEGER || element->integer_signed)
		return wide ? PE_MEANS_INT64 : PE_MEANS_INT32;
	if (element->integer_bits == 64 && wide)
		return PE_MEANS_UINT64;
	if (element->integer_bits == 32 && !wide)
		return PE_MEANS_UINT32;
	return wide ? PE_MEANS_INT64 : PE_MEANS_INT32;
}

/* An annotation that does not go with the physical type is ignored, as the format asks. */
static pe_meaning
leaf_meaning(const pe_element *element)
{
	bool is32 = element->physical == PE_PHYSICAL_INT32;
	bool is64 = element->physical == PE_PHYSICAL_INT64;
	bool bytes = element->physical == PE_PHYSICAL_BYTE_ARRAY;
	bool fixed = element->physical == PE_PHYSICAL_FIXED;

	switch (element->annotation)
	{
		case PE_ANNOTATION_NULL:
			return PE_MEANS_NULL;
		case PE_ANNOTATION_STRING:
		case PE_ANNOTATION_ENUM:
			if (bytes || fixed)
				return PE_MEANS_TEXT;
			break;
		case PE_ANNOTATION_JSON:
			if (bytes)
				return PE_MEANS_JSON;
			break;
		case PE_ANNOTATION_UUID:
			if (fixed && element->type_length == 16)
				return PE_MEANS_UUID;
			break;
		case PE_ANNOTATION_INTERVAL:
			if (fixed && element->type_length == 12)
				return PE_MEANS_INTERVAL;
			break;
		case PE_ANNOTATION_FLOAT16:
			if (fixed && element->type_length == 2)
				return PE_MEANS_FLOAT16;
			break;
		case PE_ANNOTATION_DECIMAL:
			if ((is32 || is64 || bytes || fixed) && element->scale >= 0 && element->scale <= 1000)
				return PE_MEANS_DECIMAL;
			break;
		case PE_ANNOTATION_DATE:
			if (is32)
				return PE_MEANS_DATE;
			break;
		case PE_ANNOTATION_TIME:
			if (element->unit_digits != 0 && (element->unit_digits == 3 ? is32 : is64))
				return PE_MEANS_TIME;
			break;
		case PE_ANNOTATION_TIMESTAMP:
			if (is64 && element->unit_digits != 0)
				return PE_MEANS_TIMESTAMP;
			break;
		default:
			break;
	}
	switch (element->physical)
	{
		case PE_PHYSICAL_BOOLEAN:
			return PE_MEANS_BOOL;
		case PE_PHYSICAL_INT32:
		case PE_PHYSICAL_INT64:
			return integer_meaning(element);
		case PE_PHYSICAL_INT96:
			return PE_MEANS_TIMESTAMP;
		case PE_PHYSICAL_FLOAT:
			return PE_MEANS_FLOAT;
		case PE_PHYSICAL_DOUBLE:
			return PE_MEANS_DOUBLE;
		default:
			return PE_MEANS_BYTES;
	}
}

static const pe_element *
element_at(const schema_builder *b, size_t index)
{
	return &b->metadata->elements[index];
}

static pe_node *
new_node(schema_builder *b, pe_node_kind kind, const pe_element *element, pe_level level)
{
	pe_node *node = pe_arena_calloc(b->arena, 1, sizeof(*node));

	if (node == NULL)
		return NULL;
	node->kind = kind;
	node->name.data = element->name;
	node->name.length = element->name_length;
	node->variant = element->annotation == PE_ANNOTATION_VARIANT;
	node->def = level.def;
	node->rep = level.rep;
	node->first_leaf = b->schema->leaf_count;
	return node;
}

static pe_node *
build_leaf(schema_builder *b, const pe_element *element, pe_level level)
{
	pe_node *node = new_node(b, PE_NODE_SCALAR, element, level);
	pe_leaf *leaf = &b->schema->leaves[b->schema->leaf_count];

	if (node == NULL)
		return NULL;
	leaf->index = b->schema->leaf_count++;
	leaf->physical = element->physical;
	leaf->type_length = element->type_length;
	leaf->meaning = leaf_meaning(element);
	leaf->unit_digits = element->physical == PE_PHYSICAL_INT96 ? 6 : element->unit_digits;
	leaf->scale = element->scale;
	leaf->max_def = level.def;
	leaf->max_rep = level.rep;
	leaf->node = node;
	node->leaf = leaf;
	return node;
}

static pe_node *build_node(schema_builder *b, size_t index, pe_level level, bool inside_list);

static pe_node *
build_struct(schema_builder *b, size_t index, pe_level level)
{
	const pe_element *element = element_at(b, index);
	pe_node *node = new_node(b, PE_NODE_STRUCT, element, level);
	size_t child = index + 1;

	if (node == NULL)
		return NULL;
	node->children = pe_arena_calloc(b->arena, (size_t) element->children, sizeof(pe_node *));
	if (node->children == NULL)
		return NULL;
	for (int32_t i = 0; i < element->children; i++, child = b->ends[child])
	{
		pe_node *built = build_node(b, child, level, false);

		if (built == NULL)
			return NULL;
		/* A group without any leaf has no data to read. */
		if (built->first_leaf == b->schema->leaf_count)
			continue;
		built->parent = node;
		node->children[node->child_count++] = built;
	}
	return node;
}

/* A list or map node whose children are the given elements; the level is the items'. */
static pe_node *
build_items(schema_builder *b, pe_node_kind kind, const pe_element *element, pe_level outside, pe_level items,
            const size_t *children, int count, bool repeated_element)
{
	pe_node *node = new_node(b, kind, element, outside);

	if (node == NULL)
		return NULL;
	node->item_def = items.def;
	node->item_rep = items.rep;
	node->children = pe_arena_calloc(b->arena, (size_t) count, sizeof(pe_node *));
	if (node->children == NULL)
		return NULL;
	for (int i = 0; i < count; i++)
	{
		pe_node *built = build_node(b, children[i], items, repeated_element);

		if (built == NULL)
			return NULL;
		/* A map to groups without leaves has keys only. */
		if (built->first_leaf == b->schema->leaf_count && i > 0)
		{
			node->kind = PE_NODE_LIST;
			break;
		}
		built->parent = node;
		node->children[node->child_count++] = built;
	}
	return node;
}

static bool
name_is(const pe_element *element, const char *prefix, size_t prefix_length, const char *suffix)
{
	size_t suffix_length = strlen(suffix);

	return element->name_length == prefix_length + suffix_length &&
	       memcmp(element->name, prefix, prefix_length) == 0 &&
	       memcmp(element->name + prefix_length, suffix, suffix_length) == 0;
}

/*
 * Is the repeated child of a LIST itself the element (two levels), or does it wrap
 * one? The rules are those of the format's compatibility section.
 */
static bool
repeated_is_element(const schema_builder *b, const pe_element *list, size_t repeated_index)
{
	const pe_element *repeated = element_at(b, repeated_index);

	if (repeated->physical != PE_PHYSICAL_NONE || repeated->children != 1)
		return true;
	if (repeated->annotation == PE_ANNOTATION_LIST || repeated->annotation == PE_ANNOTATION_MAP)
		return true;
	if (element_at(b, repeated_index + 1)->repetition == PE_REPEATED)
		return true;
	return name_is(repeated, "array", 5, "") || name_is(repeated, list->name, list->name_length, "_tuple");
}

/* A group of any kind whose own level is known: it is there, once. */
static pe_node *
build_group(schema_builder *b, size_t index, pe_level level)
{
	const pe_element *element = element_at(b, index);
	size_t inner_index = index + 1;
	const pe_element *inner = element->children == 1 ? element_at(b, inner_index) : NULL;
	pe_level items = {(uint8_t) (level.def + 1), (uint8_t) (level.rep + 1), level.depth + 1};
	bool holds_items =
	    inner != NULL && inner->repetition == PE_REPEATED && b->ends[inner_index] > inner_index;

	if (holds_items && element->annotation == PE_ANNOTATION_LIST &&
	    (inner->physical != PE_PHYSICAL_NONE || inner->children > 0))
	{
		bool two_level = repeated_is_element(b, element, inner_index);
		size_t child = two_level ? inner_index : inner_index + 1;

		return build_items(b, PE_NODE_LIST, element, level, items, &child, 1, two_level);
	}
	if (holds_items &&
	    (element->annotation == PE_ANNOTATION_MAP || element->annotation == PE_ANNOTATION_MAP_KEY_VALUE))
	{
		size_t children[2] = {inner_index + 1, inner_index + 2};
		bool scalar_key = inner->children >= 1 && element_at(b, children[0])->physical != PE_PHYSICAL_NONE &&
		                  element_at(b, children[0])->repetition != PE_REPEATED;

		if (inner->children == 2 && scalar_key)
			return build_items(b, PE_NODE_MAP, element, level, items, children, 2, false);
		/* Keys without values are read as their list. */
		if (inner->children == 1 && scalar_key)
			return build_items(b, PE_NODE_LIST, element, level, items, children, 1, false);
	}
	return build_struct(b, index, level);
}

/* inside_list: the element is the repeated one of a list and its level is counted already. */
static pe_node *
build_node(schema_builder *b, size_t index, pe_level level, bool inside_list)
{
	const pe_element *element = element_at(b, index);

	if (element->repetition == PE_REPEATED && !inside_list)
	{
		/* Repeated without a list around it: a list that is never null. */
		pe_level items = {(uint8_t) (level.def + 1), (uint8_t) (level.rep + 1), level.depth + 1};

		return build_items(b, PE_NODE_LIST, element, level, items, &index, 1, true);
	}
	if (element->repetition == PE_OPTIONAL)
		level.def++;
	if (element->physical != PE_PHYSICAL_NONE)
		return build_leaf(b, element, level);
	return build_group(b, index, level);
}

static void
set_ends(pe_node *node, const pe_schema *schema)
{
	if (node->kind == PE_NODE_SCALAR)
	{
		node->end_leaf = node->first_leaf + 1;
		return;
	}
	node->end_leaf = node->first_leaf;
	for (int i = 0; i < node->child_count; i++)
	{
		set_ends(node->children[i], schema);
		node->end_leaf = node->children[i]->end_leaf;
	}
}

pe_status
pe_schema_build(pe_arena *arena, const pe_metadata *metadata, pe_schema *schema, pe_error *err)
{
	schema_builder b = {.arena = arena, .metadata = metadata, .schema = schema, .err = err};
	pe_level level = {0, 0, 0};
	pe_status status;

	memset(schema, 0, sizeof(*schema));
	b.ends = pe_arena_calloc(arena, metadata->element_count, sizeof(size_t));
	if (b.ends == NULL)
		return pe_fail_memory(err);
	status = find_ends(&b);
	if (status != PE_OK)
		return status;
	schema->leaves = pe_arena_calloc(arena, (size_t) schema->leaf_count, sizeof(pe_leaf));
	if (schema->leaves == NULL)
		return pe_fail_memory(err);
	schema->leaf_count = 0;
	schema->root = build_struct(&b, 0, level);
	if (schema->root == NULL)
		return pe_fail_memory(err);
	set_ends(schema->root, schema);
	for (int i = 0; i < schema->leaf_count; i++)
	{
		if (schema->leaves[i].physical == PE_PHYSICAL_FIXED && schema->leaves[i].type_length <= 0)
			return pe_fail(err, PE_CORRUPT, "Parquet schema has a fixed length column of %d bytes",
			               (int) schema->leaves[i].type_length);
	}
	return PE_OK;
}

pe_column_type
pe_leaf_suggests(const pe_leaf *leaf)
{
	switch (leaf->meaning)
	{
		case PE_MEANS_BOOL:
			return PE_COLUMN_BOOL;
		case PE_MEANS_INT32:
			return PE_COLUMN_INT32;
		case PE_MEANS_UINT32:
		case PE_MEANS_INT64:
			return PE_COLUMN_INT64;
		case PE_MEANS_UINT64:
		case PE_MEANS_DECIMAL:
			return PE_COLUMN_NUMERIC;
		case PE_MEANS_FLOAT:
		case PE_MEANS_DOUBLE:
		case PE_MEANS_FLOAT16:
			return PE_COLUMN_DOUBLE;
		case PE_MEANS_DATE:
			return PE_COLUMN_DATE;
		case PE_MEANS_TIMESTAMP:
			return PE_COLUMN_TIMESTAMP;
		case PE_MEANS_JSON:
			return PE_COLUMN_JSON;
		case PE_MEANS_BYTES:
			return PE_COLUMN_BYTES;
		default:
			return PE_COLUMN_TEXT;
	}
}

size_t
pe_leaf_value_size(const pe_leaf *leaf)
{
	switch (leaf->physical)
	{
		case PE_PHYSICAL_BOOLEAN:
			return 1;
		case PE_PHYSICAL_INT32:
		case PE_PHYSICAL_FLOAT:
			return 4;
		case PE_PHYSICAL_INT64:
		case PE_PHYSICAL_DOUBLE:
		case PE_PHYSICAL_INT96:
			return 8;
		default:
			return sizeof(pe_slice);
	}
}

const char *
pe_meaning_name(pe_meaning meaning)
{
	static const char *const names[] = {
	    [PE_MEANS_NULL] = "null",          [PE_MEANS_BOOL] = "boolean",
	    [PE_MEANS_INT32] = "integer",      [PE_MEANS_UINT32] = "unsigned integer",
	    [PE_MEANS_INT64] = "bigint",       [PE_MEANS_UINT64] = "unsigned bigint",
	    [PE_MEANS_FLOAT] = "float",        [PE_MEANS_DOUBLE] = "double precision",
	    [PE_MEANS_FLOAT16] = "half float", [PE_MEANS_DATE] = "date",
	    [PE_MEANS_TIME] = "time",          [PE_MEANS_TIMESTAMP] = "timestamp",
	    [PE_MEANS_DECIMAL] = "decimal",    [PE_MEANS_TEXT] = "text",
	    [PE_MEANS_JSON] = "JSON",          [PE_MEANS_UUID] = "uuid",
	    [PE_MEANS_INTERVAL] = "interval",  [PE_MEANS_BYTES] = "bytes"};

	return names[meaning];
}

size_t
pe_node_path(const pe_node *node, char *out, size_t size)
{
	const pe_node *chain[2 * PE_SNAPSHOT_MAX_DEPTH];
	int count = 0;
	size_t length = 0;

	if (size > 0)
		memset(out, 0, size);
	/* Below a list or map the item has no name a user would write; below a struct it has. */
	for (; node->parent != NULL && count < 2 * PE_SNAPSHOT_MAX_DEPTH; node = node->parent)
	{
		if (node->parent->kind == PE_NODE_STRUCT)
			chain[count++] = node;
	}
	while (count > 0)
	{
		const pe_slice *name = &chain[--count]->name;
		size_t step = pe_xdm_step_write(name->data, name->length, NULL);

		if (length > 0)
		{
			if (length + 1 < size)
				out[length] = '.';
			length++;
		}
		if (length + step < size)
			(void) pe_xdm_step_write(name->data, name->length, out + length);
		else if (length + 1 < size)
			memcpy(out + length, name->data,
			       (size_t) pe_text_clip(name->data, name->length, size - 1 - length));
		length += step;
	}
	return length;
}
