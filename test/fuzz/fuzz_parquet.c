/*
 * fuzz_parquet.c
 *		A Parquet file of any bytes: opened, every field and the rest read, by paths
 *		too. The allocator refuses what no small file can need, so that trust in a
 *		stated size shows as an allocation far beyond the input.
 */
#include <stdlib.h>

#include "snapshot/snapshot.h"

/* Beyond this much for inputs of a few KB something believed a number. */
#define MEMORY_LIMIT ((size_t) 512 << 20)
#define MAX_FIELDS   48
#define MAX_BATCHES  64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct fuzz_memory
{
	size_t used;
	long live;
} fuzz_memory;

static void *
fuzz_alloc(void *ctx, size_t size)
{
	fuzz_memory *memory = ctx;
	size_t *block;

	if (size > MEMORY_LIMIT - memory->used)
		return NULL;
	block = malloc(size + 16);
	if (block == NULL)
		return NULL;
	*block = size;
	memory->used += size;
	memory->live++;
	return (char *) block + 16;
}

static void
fuzz_free(void *ctx, void *ptr)
{
	fuzz_memory *memory = ctx;

	if (ptr == NULL)
		return;
	memory->used -= *(size_t *) (void *) ((char *) ptr - 16);
	memory->live--;
	free((char *) ptr - 16);
}

static void *
fuzz_realloc(void *ctx, void *ptr, size_t size)
{
	void *moved = fuzz_alloc(ctx, size);
	size_t before;

	if (moved == NULL || ptr == NULL)
		return moved;
	before = *(size_t *) (void *) ((char *) ptr - 16);
	memcpy(moved, ptr, before < size ? before : size);
	fuzz_free(ctx, ptr);
	return moved;
}

typedef struct fuzz_input
{
	const uint8_t *data;
	size_t size;
} fuzz_input;

static bool
fuzz_read(void *ctx, uint64_t offset, void *buffer, size_t length)
{
	const fuzz_input *input = ctx;

	if (offset > input->size || length > input->size - offset)
		abort(); /* the reader promises never to ask beyond the size */
	memcpy(buffer, input->data + offset, length);
	return true;
}

/* Where the touched bytes end up, so that no compiler leaves the reads out. */
static volatile unsigned fuzz_sum;

/* Touch everything that a batch points to. */
static unsigned
touch(const pe_snapshot_batch *batch)
{
	unsigned sum = 0;

	for (int i = 0; i < batch->column_count; i++)
	{
		const pe_snapshot_vector *column = &batch->columns[i];

		for (size_t row = 0; row < batch->rows; row++)
		{
			sum += column->nulls[row];
			switch (column->type)
			{
				case PE_COLUMN_BOOL:
					sum += column->bools[row];
					break;
				case PE_COLUMN_INT32:
				case PE_COLUMN_DATE:
					sum += (unsigned) column->int32s[row];
					break;
				case PE_COLUMN_INT64:
				case PE_COLUMN_TIMESTAMP:
				case PE_COLUMN_DOUBLE:
					sum += (unsigned) column->int64s[row];
					break;
				default:
					if (column->slices[row].length > 0)
						sum += (unsigned char) column->slices[row].data[0] +
						       (unsigned char) column->slices[row].data[column->slices[row].length - 1];
					break;
			}
		}
	}
	return sum;
}

static void
read_columns(pe_snapshot_file *file, const pe_snapshot_column *columns, int count)
{
	pe_snapshot_batch batch;
	pe_error err;

	if (pe_snapshot_select(file, columns, count, &err) != PE_OK)
		return;
	for (int i = 0; i < MAX_BATCHES && pe_snapshot_next(file, &batch, &err) == PE_OK && batch.rows > 0; i++)
		fuzz_sum = touch(&batch);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_memory memory = {0, 0};
	fuzz_input input = {data, size};
	pe_env env = {.allocator = {fuzz_alloc, fuzz_realloc, fuzz_free, &memory}};
	pe_snapshot_source source = {fuzz_read, size, "fuzz", &input};
	pe_snapshot_column columns[MAX_FIELDS + 1];
	const pe_snapshot_column rest = {NULL, PE_COLUMN_AUTO, false};
	const pe_snapshot_column paths[] = {{"identityMap.CRMID.id", PE_COLUMN_TEXT, true},
	                                    {"a.0.b", PE_COLUMN_AUTO, true},
	                                    {"segmentMembership.ups.x.status", PE_COLUMN_JSON, true}};
	pe_snapshot_file *file;
	pe_error err;
	int count = 0;

	if (pe_snapshot_open(&env, &source, &file, &err) == PE_OK)
	{
		for (int i = 0; i < pe_snapshot_field_count(file) && i < MAX_FIELDS; i++)
			columns[count++] =
			    (pe_snapshot_column){pe_snapshot_field_at(file, i)->path, PE_COLUMN_AUTO, false};
		columns[count++] = rest;
		read_columns(file, columns, count);
		for (int i = 0; i < count; i++)
			columns[i].type = PE_COLUMN_TEXT;
		read_columns(file, columns, count);
		read_columns(file, &rest, 1);
		read_columns(file, paths, 3);
		pe_snapshot_close(file);
	}
	if (memory.live != 0)
		abort();
	return 0;
}
