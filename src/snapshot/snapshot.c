/*
 * snapshot.c
 *		The file object behind snapshot.h: opening, the fields, row groups, batches.
 */
#include "snapshot/assemble.h"
#include "snapshot/budget.h"
#include "snapshot/convert.h"
#include "snapshot/snapshot.h"
#include "snapshot/text.h"

/* A batch's JSON is cut off here: the rows after it come with the next batch. */
#define BATCH_JSON_BYTES ((size_t) 16 << 20)
#define JSON_BLOCK_ROWS  64

/* What the arrays of a batch may take together, by the footer's own numbers. */
#define BATCH_BYTES ((int64_t) 32 << 20)

struct pe_snapshot_file
{
	pe_budget budget; /* all memory is counted against it */
	pe_env env;       /* the caller's, with the budget for an allocator */

	pe_snapshot_source source;
	char *name;
	pe_metadata metadata;
	pe_arena arena;
	pe_schema schema;
	pe_snapshot_field *fields;
	int field_count;
	pe_chunk *chunks; /* of the current row group */
	pe_scratch scratch;

	pe_selection selection;
	bool selected;
	pe_snapshot_vector *vectors;
	size_t next_group;
	int64_t group_left; /* rows of the row group not yet read */
	size_t batch_rows;  /* to read at a time in this row group */
	size_t decoded;     /* rows of the batch decoded */
	size_t given;       /* ... and given out */
	int64_t first_row;  /* of the decoded batch */
};

/* Out of memory by our own bound is another error than the machine's. */
static pe_status
finish(pe_snapshot_file *file, pe_status status, pe_error *err)
{
	if (status == PE_OUT_OF_MEMORY && file->budget.exceeded)
	{
		file->budget.exceeded = false;
		return pe_fail(err, PE_LIMIT, "reading Parquet file \"%s\" needs more than %u MB of memory",
		               file->name, (unsigned) (PE_SNAPSHOT_MAX_MEMORY >> 20));
	}
	return status;
}

static void
set_column(pe_error *err, const char *path)
{
	if (err != NULL)
		(void) snprintf(err->column, sizeof(err->column), "%.*s",
		                pe_text_clip(path, strlen(path), sizeof(err->column) - 1), path);
}

/* Say in the message which column of which file it was. */
static pe_status
column_failed(const pe_snapshot_file *file, const pe_leaf *leaf, pe_status status, pe_error *err)
{
	char path[sizeof(err->column)];
	char message[sizeof(err->message)];
	char hint[sizeof(err->hint)];

	if (err == NULL || status == PE_CANCELLED || status == PE_OUT_OF_MEMORY || status == PE_IO)
		return status;
	(void) pe_node_path(leaf->node, path, sizeof(path));
	memcpy(message, err->message, sizeof(message));
	memcpy(hint, err->hint, sizeof(hint));
	(void) pe_fail(err, status, "column \"%s\" of Parquet file \"%.*s\": %.200s", path,
	               pe_text_clip(file->name, strlen(file->name), 100), file->name, message);
	memcpy(err->hint, hint, sizeof(hint));
	set_column(err, path);
	return status;
}

/* A value that cannot be delivered. row counts from 0. */
static pe_status
value_failed(const pe_snapshot_file *file, const char *path, int64_t row, const char *fault, pe_status status,
             pe_error *err)
{
	(void) pe_fail(err, status, "column \"%.*s\", row %lld of Parquet file \"%.*s\" holds %s",
	               pe_text_clip(path, strlen(path), 128), path, (long long) row + 1,
	               pe_text_clip(file->name, strlen(file->name), 128), file->name, fault);
	set_column(err, path);
	if (err != NULL)
		err->row = row + 1;
	return status;
}

/* Fields: leaves under structs only, and outermost lists and maps. */
static int
count_fields(const pe_node *node)
{
	int count = 0;

	if (node->kind != PE_NODE_STRUCT)
		return 1;
	for (int i = 0; i < node->child_count; i++)
		count += count_fields(node->children[i]);
	return count;
}

static pe_status
add_fields(pe_snapshot_file *file, const pe_node *node, pe_error *err)
{
	pe_snapshot_field *field;
	size_t length;
	char *path;

	if (node->kind == PE_NODE_STRUCT)
	{
		pe_status status = PE_OK;

		for (int i = 0; i < node->child_count && status == PE_OK; i++)
			status = add_fields(file, node->children[i], err);
		return status;
	}
	length = pe_node_path(node, NULL, 0);
	if (length > PE_XDM_PATH_MAX_BYTES)
		return pe_fail(err, PE_LIMIT, "Parquet file \"%s\" has a column whose path is longer than %d bytes",
		               file->name, PE_XDM_PATH_MAX_BYTES);
	path = pe_arena_alloc(&file->arena, length + 1);
	if (path == NULL)
		return pe_fail_memory(err);
	(void) pe_node_path(node, path, length + 1);
	field = &file->fields[file->field_count++];
	field->path = path;
	field->kind = node->kind == PE_NODE_SCALAR ? PE_FIELD_SCALAR
	              : node->kind == PE_NODE_LIST ? PE_FIELD_LIST
	                                           : PE_FIELD_MAP;
	field->type = node->kind == PE_NODE_SCALAR ? pe_leaf_suggests(node->leaf) : PE_COLUMN_JSON;
	field->nulls = node->kind == PE_NODE_SCALAR ? 0 : -1;
	return PE_OK;
}

/* Walk the fields in the order add_fields made them, adding a row group's null counts. */
static void
add_nulls(pe_snapshot_file *file, const pe_node *node, int *at)
{
	pe_snapshot_field *field;

	if (node->kind == PE_NODE_STRUCT)
	{
		for (int i = 0; i < node->child_count; i++)
			add_nulls(file, node->children[i], at);
		return;
	}
	field = &file->fields[(*at)++];
	if (node->kind != PE_NODE_SCALAR || field->nulls < 0)
		return;
	if (file->chunks[node->leaf->index].nulls < 0 ||
	    __builtin_add_overflow(field->nulls, file->chunks[node->leaf->index].nulls, &field->nulls))
		field->nulls = -1;
}

static pe_status
read_fields(pe_snapshot_file *file, pe_error *err)
{
	int count = count_fields(file->schema.root);
	pe_status status;

	file->fields = pe_arena_calloc(&file->arena, (size_t) count, sizeof(pe_snapshot_field));
	file->chunks = pe_arena_calloc(&file->arena, (size_t) file->schema.leaf_count, sizeof(pe_chunk));
	if (file->fields == NULL || file->chunks == NULL)
		return pe_fail_memory(err);
	status = add_fields(file, file->schema.root, err);
	for (size_t i = 0; i < file->metadata.row_group_count && status == PE_OK; i++)
	{
		int at = 0;

		if (pe_stopped(&file->env, "reading", 0, (uint64_t) file->metadata.rows))
			return pe_fail(err, PE_CANCELLED, "cancelled");
		status = pe_metadata_chunks(&file->metadata, &file->source, i, file->chunks,
		                            (size_t) file->schema.leaf_count, err);
		if (status == PE_OK)
			add_nulls(file, file->schema.root, &at);
	}
	return status;
}

static pe_status
open_file(pe_snapshot_file *file, pe_error *err)
{
	pe_status status;

	if (!pe_text_valid(file->name, strlen(file->name)))
		return pe_fail(err, PE_INVALID_OPTION, "the name of the Parquet file is not valid UTF-8 text");
	status = pe_metadata_read(&file->env, &file->source, &file->metadata, err);
	if (status == PE_OK)
		status = pe_schema_build(&file->arena, &file->metadata, &file->schema, err);
	if (status == PE_OK)
		status = read_fields(file, err);
	return status;
}

pe_status
pe_snapshot_open(const pe_env *env, const pe_snapshot_source *source, pe_snapshot_file **file, pe_error *err)
{
	pe_snapshot_file *opened = pe_calloc(env, 1, sizeof(*opened));
	pe_status status;

	*file = NULL;
	if (opened == NULL)
		return pe_fail_memory(err);
	opened->env = pe_budget_env(&opened->budget, env, PE_SNAPSHOT_MAX_MEMORY);
	opened->source = *source;
	pe_arena_init(&opened->arena, &opened->env);
	opened->name = pe_strndup(&opened->env, source->name, strlen(source->name));
	opened->source.name = opened->name;
	if (opened->name == NULL)
		status = pe_fail_memory(err);
	else
		status = finish(opened, open_file(opened, err), err);
	if (status != PE_OK)
	{
		pe_snapshot_close(opened);
		return status;
	}
	*file = opened;
	return PE_OK;
}

void
pe_snapshot_close(pe_snapshot_file *file)
{
	pe_env env;

	if (file == NULL)
		return;
	pe_selection_free(&file->selection);
	pe_free(&file->env, file->vectors);
	pe_scratch_free(&file->env, &file->scratch);
	pe_metadata_free(&file->env, &file->metadata);
	pe_arena_free(&file->arena);
	pe_free(&file->env, file->name);
	env = file->budget.outer;
	pe_free(&env, file);
}

int64_t
pe_snapshot_rows(const pe_snapshot_file *file)
{
	return file->metadata.rows;
}

int
pe_snapshot_row_groups(const pe_snapshot_file *file)
{
	return (int) file->metadata.row_group_count;
}

int
pe_snapshot_field_count(const pe_snapshot_file *file)
{
	return file->field_count;
}

const pe_snapshot_field *
pe_snapshot_field_at(const pe_snapshot_file *file, int index)
{
	return &file->fields[index];
}

pe_status
pe_snapshot_select(pe_snapshot_file *file, const pe_snapshot_column *columns, int count, pe_error *err)
{
	pe_status status;

	pe_selection_free(&file->selection);
	pe_free(&file->env, file->vectors);
	file->selected = false;
	file->next_group = 0;
	file->group_left = 0;
	file->decoded = file->given = 0;
	file->first_row = 0;
	file->vectors = pe_calloc(&file->env, (size_t) count, sizeof(pe_snapshot_vector));
	if (file->vectors == NULL)
		return finish(file, pe_fail_memory(err), err);
	status = pe_selection_build(&file->env, &file->source, &file->scratch, &file->schema, columns, count,
	                            &file->selection, err);
	file->selected = status == PE_OK;
	return finish(file, status, err);
}

pe_column_type
pe_snapshot_column_type(const pe_snapshot_file *file, int index)
{
	return file->selection.plans[index].type;
}

/* How many rows to read at a time: what the footer says of their size is used for nothing else. */
static size_t
choose_batch_rows(const pe_snapshot_file *file, int64_t rows)
{
	int64_t row_bytes = 1;
	int64_t batch;

	for (int i = 0; i < file->selection.used_count && rows > 0; i++)
	{
		const pe_leaf *leaf = file->selection.used[i]->leaf;
		const pe_chunk *chunk = &file->chunks[leaf->index];
		int64_t nulls = chunk->nulls > 0 && chunk->nulls <= chunk->values ? chunk->nulls : 0;
		int64_t entries = chunk->values / rows + 1;
		int64_t values = chunk->values > nulls ? (chunk->values - nulls - 1) / rows + 1 : 0;
		int64_t stored = chunk->uncompressed > 0 ? chunk->uncompressed / rows : 0;
		int64_t bytes;

		/* A wide export is mostly columns of nulls, which take a level each and no more. */
		if (__builtin_mul_overflow(values, (int64_t) pe_leaf_value_size(leaf), &bytes) ||
		    __builtin_add_overflow(bytes, entries, &bytes) || __builtin_add_overflow(bytes, stored, &bytes) ||
		    __builtin_add_overflow(row_bytes, bytes, &row_bytes))
			return 1;
	}
	batch = BATCH_BYTES / row_bytes;
	return batch < 1 ? 1 : batch > PE_SNAPSHOT_BATCH_ROWS ? PE_SNAPSHOT_BATCH_ROWS : (size_t) batch;
}

/* Arrays for the rows of a batch. */
static pe_status
reserve_plans(pe_snapshot_file *file, size_t rows, pe_error *err)
{
	for (int i = 0; i < file->selection.count; i++)
	{
		pe_plan *plan = &file->selection.plans[i];
		size_t picked = plan->kind == PE_PLAN_PICK ? pe_leaf_value_size(plan->target->node->leaf) : 0;

		if (plan->capacity >= rows)
			continue;
		pe_free(&file->env, plan->nulls);
		pe_free(&file->env, plan->data);
		pe_free(&file->env, plan->picked);
		plan->capacity = 0;
		plan->nulls = pe_calloc(&file->env, rows, sizeof(bool));
		plan->data = pe_calloc(&file->env, rows, pe_column_type_size(plan->type));
		plan->picked = picked > 0 ? pe_calloc(&file->env, rows, picked) : NULL;
		if (plan->nulls == NULL || plan->data == NULL || (picked > 0 && plan->picked == NULL))
			return pe_fail_memory(err);
		plan->capacity = rows;
	}
	return PE_OK;
}

/* Go to the next row group that has rows; *end is set after the last. */
static pe_status
next_row_group(pe_snapshot_file *file, bool *end, pe_error *err)
{
	pe_status status;

	*end = false;
	for (int i = 0; i < file->selection.used_count && file->next_group > 0; i++)
	{
		if (!pe_column_done(file->selection.used[i]))
			return column_failed(
			    file, file->selection.used[i]->leaf,
			    pe_fail(err, PE_CORRUPT, "the column has more values than its row group has rows"), err);
	}
	while (file->next_group < file->metadata.row_group_count &&
	       file->metadata.row_groups[file->next_group].rows == 0)
		file->next_group++;
	if (file->next_group == file->metadata.row_group_count)
	{
		*end = true;
		return PE_OK;
	}
	status = pe_metadata_chunks(&file->metadata, &file->source, file->next_group, file->chunks,
	                            (size_t) file->schema.leaf_count, err);
	if (status != PE_OK)
		return status;
	for (int i = 0; i < file->selection.used_count; i++)
	{
		pe_column *column = file->selection.used[i];

		status = pe_column_begin(column, &file->chunks[column->leaf->index], file->metadata.data_end, err);
		if (status != PE_OK)
			return column_failed(file, column->leaf, status, err);
	}
	file->group_left = file->metadata.row_groups[file->next_group].rows;
	file->batch_rows = choose_batch_rows(file, file->group_left);
	file->next_group++;
	return reserve_plans(file, file->batch_rows, err);
}

/* Convert dense values and spread them; the nulls are set already. */
static pe_status
fill_vector(pe_snapshot_file *file, pe_plan *plan, const pe_column *column, const void *values, size_t count,
            pe_error *err)
{
	const char *fault = NULL;
	size_t bad = 0;
	size_t row = 0;
	pe_status status;

	pe_arena_reset(&plan->text);
	status = pe_convert(column->leaf, plan->type, values, count, column->clean, &plan->text, plan->data, &bad,
	                    &fault);
	if (status == PE_OK)
	{
		pe_spread(plan->type, plan->data, count, plan->nulls, file->decoded);
		return PE_OK;
	}
	if (status == PE_OUT_OF_MEMORY)
		return pe_fail_memory(err);
	/* The bad-th value that is not null: in which row is it? */
	for (; row < file->decoded; row++)
	{
		if (!plan->nulls[row] && bad-- == 0)
			break;
	}
	return value_failed(file, plan->path, file->first_row + (int64_t) row, fault, status, err);
}

static pe_status
fill_leaf(pe_snapshot_file *file, pe_plan *plan, pe_error *err)
{
	const pe_column *column = plan->view->column;
	uint8_t max_def = column->leaf->max_def;

	for (size_t i = 0; i < file->decoded; i++)
		plan->nulls[i] = column->defs[i] != max_def;
	return fill_vector(file, plan, column, column->values, column->value_count, err);
}

static pe_status
walk_failed(pe_snapshot_file *file, const pe_plan *plan, int64_t row, const pe_leaf *leaf, const char *fault,
            pe_status status, pe_error *err)
{
	char path[sizeof(err->column)];

	switch (status)
	{
		case PE_OUT_OF_MEMORY:
			return pe_fail_memory(err);
		case PE_LIMIT:
			return value_failed(file, plan->path, row, "more JSON than can be read", status, err);
		case PE_CORRUPT:
			return column_failed(
			    file, plan->view->first->column->leaf,
			    pe_fail(err, PE_CORRUPT, "the columns of a list or map do not fit each other"), err);
		default:
			(void) pe_node_path(leaf->node, path, sizeof(path));
			return value_failed(file, path, row, fault, status, err);
	}
}

static pe_status
fill_pick(pe_snapshot_file *file, pe_plan *plan, pe_error *err)
{
	size_t size = pe_leaf_value_size(plan->target->node->leaf);
	size_t count = 0;

	pe_assemble_begin(plan);
	for (size_t i = 0; i < file->decoded; i++)
	{
		const pe_leaf *leaf;
		const char *fault;
		bool found;
		pe_status status =
		    pe_assemble_pick(plan, (char *) plan->picked + count * size, &found, &leaf, &fault);

		if (status != PE_OK)
			return walk_failed(file, plan, file->first_row + (int64_t) i, leaf, fault, status, err);
		plan->nulls[i] = !found;
		count += found;
	}
	if (!pe_assemble_finished(plan))
		return walk_failed(file, plan, 0, NULL, NULL, PE_CORRUPT, err);
	return fill_vector(file, plan, plan->target->column, plan->picked, count, err);
}

/* Read the next rows of the row group into the columns, and fill what needs no JSON. */
static pe_status
decode_batch(pe_snapshot_file *file, pe_error *err)
{
	size_t rows =
	    file->group_left < (int64_t) file->batch_rows ? (size_t) file->group_left : file->batch_rows;

	file->first_row += (int64_t) file->decoded;
	file->decoded = rows;
	file->given = 0;
	for (int i = 0; i < file->selection.used_count; i++)
	{
		pe_column *column = file->selection.used[i];
		pe_status status = pe_column_read(column, rows, err);

		if (status != PE_OK)
			return column_failed(file, column->leaf, status, err);
	}
	file->group_left -= (int64_t) rows;
	for (int i = 0; i < file->selection.count; i++)
	{
		pe_plan *plan = &file->selection.plans[i];
		pe_status status = PE_OK;

		if (pe_stopped(&file->env, "reading", (uint64_t) file->first_row, (uint64_t) file->metadata.rows))
			return pe_fail(err, PE_CANCELLED, "cancelled");
		if (plan->kind == PE_PLAN_LEAF)
			status = fill_leaf(file, plan, err);
		else if (plan->kind == PE_PLAN_PICK)
			status = fill_pick(file, plan, err);
		else if (plan->kind == PE_PLAN_JSON)
			pe_assemble_begin(plan);
		else
		{
			memset(plan->nulls, true, rows);
			memset(plan->data, 0, rows * pe_column_type_size(plan->type));
		}
		if (status != PE_OK)
			return status;
	}
	return PE_OK;
}

/* Write rows from..to-1 of a JSON column; offsets stand in for pointers until the buffer is still. */
static pe_status
write_json(pe_snapshot_file *file, pe_plan *plan, size_t from, size_t to, pe_error *err)
{
	pe_slice *slices = plan->data;

	for (size_t i = from; i < to; i++)
	{
		const pe_leaf *leaf;
		const char *fault;
		bool found;
		size_t start = plan->json.length;
		pe_status status = pe_assemble_json(plan, &found, &leaf, &fault);

		if (status != PE_OK)
			return walk_failed(file, plan, file->first_row + (int64_t) i, leaf, fault, status, err);
		plan->nulls[i] = !found;
		slices[i].data = NULL;
		slices[i].length = plan->json.length - start;
	}
	return PE_OK;
}

static pe_status
finish_json(pe_snapshot_file *file, pe_plan *plan, size_t from, size_t to, pe_error *err)
{
	pe_slice *slices = plan->data;
	size_t offset = 0;

	for (size_t i = from; i < to; i++)
	{
		slices[i].data = plan->json.data != NULL ? plan->json.data + offset : "";
		offset += slices[i].length;
	}
	if (to == file->decoded && !pe_assemble_finished(plan))
		return walk_failed(file, plan, 0, NULL, NULL, PE_CORRUPT, err);
	return PE_OK;
}

/* Write JSON columns from the first row not given out, until the batch or a bound on bytes ends. */
static pe_status
fill_json(pe_snapshot_file *file, size_t *to, pe_error *err)
{
	size_t from = file->given;
	size_t block = JSON_BLOCK_ROWS;
	size_t total = 0;

	for (int i = 0; i < file->selection.count; i++)
		file->selection.plans[i].json.length = 0;
	*to = from;
	while (*to < file->decoded && total < BATCH_JSON_BYTES)
	{
		size_t end = file->decoded - *to < block ? file->decoded : *to + block;

		total = 0;
		for (int i = 0; i < file->selection.count; i++)
		{
			pe_plan *plan = &file->selection.plans[i];
			pe_status status;

			if (plan->kind != PE_PLAN_JSON)
				continue;
			if (pe_stopped(&file->env, "reading", (uint64_t) file->first_row + *to,
			               (uint64_t) file->metadata.rows))
				return pe_fail(err, PE_CANCELLED, "cancelled");
			status = write_json(file, plan, *to, end, err);
			if (status != PE_OK)
				return status;
			total += plan->json.length;
		}
		*to = end;
		/* Rows of megabytes are taken one by one. */
		block = total / (end - from) > BATCH_JSON_BYTES / JSON_BLOCK_ROWS / 4 ? 1 : JSON_BLOCK_ROWS;
	}
	for (int i = 0; i < file->selection.count; i++)
	{
		pe_status status = PE_OK;

		if (file->selection.plans[i].kind == PE_PLAN_JSON)
			status = finish_json(file, &file->selection.plans[i], from, *to, err);
		if (status != PE_OK)
			return status;
	}
	return PE_OK;
}

/* Show rows from..to-1 of the plans' arrays. */
static void
show_batch(pe_snapshot_file *file, size_t from, size_t to, pe_snapshot_batch *batch)
{
	for (int i = 0; i < file->selection.count; i++)
	{
		const pe_plan *plan = &file->selection.plans[i];
		pe_snapshot_vector *vector = &file->vectors[i];

		vector->type = plan->type;
		vector->nulls = plan->nulls + from;
		vector->slices = (const void *) ((const char *) plan->data + from * pe_column_type_size(plan->type));
		vector->null_count = 0;
		for (size_t row = from; row < to; row++)
			vector->null_count += plan->nulls[row];
	}
	batch->rows = to - from;
	batch->first_row = file->first_row + (int64_t) from;
	batch->column_count = file->selection.count;
	batch->columns = file->vectors;
}

static pe_status
next_batch(pe_snapshot_file *file, pe_snapshot_batch *batch, pe_error *err)
{
	size_t to;
	bool end = false;
	pe_status status = PE_OK;

	if (file->given == file->decoded)
	{
		if (file->group_left == 0)
			status = next_row_group(file, &end, err);
		if (status == PE_OK && !end)
			status = decode_batch(file, err);
		if (status != PE_OK || end)
			return status;
	}
	status = fill_json(file, &to, err);
	if (status != PE_OK)
		return status;
	show_batch(file, file->given, to, batch);
	file->given = to;
	return PE_OK;
}

pe_status
pe_snapshot_next(pe_snapshot_file *file, pe_snapshot_batch *batch, pe_error *err)
{
	pe_status status;

	memset(batch, 0, sizeof(*batch));
	if (!file->selected)
		return pe_fail(err, PE_INTERNAL, "no columns of Parquet file \"%s\" are selected", file->name);
	status = next_batch(file, batch, err);
	if (status != PE_OK)
		file->selected = false;
	return finish(file, status, err);
}
