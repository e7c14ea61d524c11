/*
 * parquet_dump.c
 *		Prints a Parquet file's rows as JSON lines, through the snapshot layer alone:
 *		the other side of the comparison with DuckDB, and a way to look at a file.
 *
 *		usage: parquet_dump FILE               whole rows
 *		       parquet_dump FILE --fields      path, kind, type and nulls of each field
 *		       parquet_dump FILE PATH...       these columns only, as an object of texts
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "snapshot/snapshot.h"

static void *
tool_alloc(void *ctx, size_t size)
{
	return malloc(size);
}

static void *
tool_realloc(void *ctx, void *ptr, size_t size)
{
	return realloc(ptr, size);
}

static void
tool_free(void *ctx, void *ptr)
{
	free(ptr);
}

static bool
tool_read(void *ctx, uint64_t offset, void *buffer, size_t length)
{
	return fseeko(ctx, (off_t) offset, SEEK_SET) == 0 && fread(buffer, 1, length, ctx) == length;
}

static int
report(const char *what, const pe_error *err)
{
	printf("error: %s: %s (status %d, column \"%s\", row %" PRId64 ")\n", what, err->message, (int) err->code,
	       err->column, err->row);
	return 1;
}

static void
print_value(const pe_snapshot_vector *column, size_t row)
{
	if (column->nulls[row])
	{
		printf("null");
		return;
	}
	switch (column->type)
	{
		case PE_COLUMN_BOOL:
			printf("%s", column->bools[row] ? "true" : "false");
			break;
		case PE_COLUMN_INT32:
		case PE_COLUMN_DATE:
			printf("%" PRId32, column->int32s[row]);
			break;
		case PE_COLUMN_INT64:
		case PE_COLUMN_TIMESTAMP:
			printf("%" PRId64, column->int64s[row]);
			break;
		case PE_COLUMN_DOUBLE:
			printf("%.17g", column->doubles[row]);
			break;
		case PE_COLUMN_TEXT:
			printf("\"%.*s\"", (int) column->slices[row].length, column->slices[row].data);
			break;
		default:
			fwrite(column->slices[row].data, 1, column->slices[row].length, stdout);
			break;
	}
}

static int
dump(pe_snapshot_file *file, const pe_snapshot_column *columns, int count)
{
	pe_error err = {0};
	pe_snapshot_batch batch;

	if (pe_snapshot_select(file, columns, count, &err) != PE_OK)
		return report("select", &err);
	for (;;)
	{
		if (pe_snapshot_next(file, &batch, &err) != PE_OK)
			return report("next", &err);
		if (batch.rows == 0)
			return 0;
		for (size_t row = 0; row < batch.rows; row++)
		{
			for (int i = 0; i < count; i++)
			{
				if (columns[i].path != NULL)
					printf("%s\"%s\":", i > 0 ? "," : "{", columns[i].path);
				print_value(&batch.columns[i], row);
			}
			printf(count > 0 && columns[0].path != NULL ? "}\n" : "\n");
		}
	}
}

int
main(int argc, char **argv)
{
	pe_env env = {.allocator = {tool_alloc, tool_realloc, tool_free, NULL}};
	pe_snapshot_source source = {.read = tool_read};
	pe_snapshot_column columns[256] = {{.path = NULL, .type = PE_COLUMN_AUTO}};
	pe_snapshot_file *file;
	pe_error err = {0};
	FILE *stream;
	int count = argc > 2 ? argc - 2 : 1;
	int status;

	if (argc < 2 || argc > 250 || (stream = fopen(argv[1], "rb")) == NULL)
	{
		fprintf(stderr, "usage: %s FILE [--fields | PATH...]\n", argv[0]);
		return 2;
	}
	fseeko(stream, 0, SEEK_END);
	source.size = (uint64_t) ftello(stream);
	source.name = argv[1];
	source.ctx = stream;
	if (pe_snapshot_open(&env, &source, &file, &err) != PE_OK)
	{
		fclose(stream);
		return report("open", &err);
	}
	if (argc == 3 && strcmp(argv[2], "--fields") == 0)
	{
		for (int i = 0; i < pe_snapshot_field_count(file); i++)
		{
			const pe_snapshot_field *field = pe_snapshot_field_at(file, i);

			printf("%s\t%s\t%s\t%" PRId64 "\n", field->path,
			       field->kind == PE_FIELD_SCALAR ? "scalar"
			       : field->kind == PE_FIELD_LIST ? "list"
			                                      : "map",
			       pe_column_type_name(field->type), field->nulls);
		}
		status = 0;
	}
	else
	{
		for (int i = 2; i < argc; i++)
			columns[i - 2].path = argv[i];
		status = dump(file, columns, count);
	}
	pe_snapshot_close(file);
	fclose(stream);
	return status;
}
