/*
 * test_snapshot.c
 *		Parquet files of test/data/parquet (written by test/tools/make_parquet.mjs) read
 *		whole and in parts, and what must be refused: damage, lies, impossible values.
 */
#include "tap.h"

#include "snapshot/snapshot.h"

#define DATA "test/data/parquet/"

/* A column of its own type that must be there. */
#define COLUMN(path)                                                                                         \
	{                                                                                                        \
		path, PE_COLUMN_AUTO, false                                                                          \
	}

typedef struct memory_file
{
	uint8_t *bytes;
	size_t size;
	uint64_t read; /* bytes asked for */
} memory_file;

static bool
read_memory(void *ctx, uint64_t offset, void *buffer, size_t length)
{
	memory_file *file = ctx;

	if (offset > file->size || length > file->size - offset)
		return false;
	memcpy(buffer, file->bytes + offset, length);
	file->read += length;
	return true;
}

static memory_file
load(const char *name)
{
	memory_file file = {0};
	char path[256];
	FILE *stream;

	snprintf(path, sizeof(path), DATA "%s", name);
	stream = fopen(path, "rb");
	if (stream == NULL)
	{
		printf("Bail out! no file %s\n", path);
		exit(1);
	}
	fseek(stream, 0, SEEK_END);
	file.size = (size_t) ftell(stream);
	rewind(stream);
	file.bytes = malloc(file.size);
	if (fread(file.bytes, 1, file.size, stream) != file.size)
		exit(1);
	fclose(stream);
	return file;
}

static pe_status
open_memory(const pe_env *env, memory_file *file, const char *name, pe_snapshot_file **opened, pe_error *err)
{
	pe_snapshot_source source = {read_memory, file->size, name, file};

	return pe_snapshot_open(env, &source, opened, err);
}

/* Read every row of the selection; a checksum over all that was delivered. */
static pe_status
drain(pe_snapshot_file *file, int64_t *rows, uint64_t *sum, pe_error *err)
{
	pe_snapshot_batch batch;
	pe_status status;

	*rows = 0;
	*sum = 0;
	while ((status = pe_snapshot_next(file, &batch, err)) == PE_OK && batch.rows > 0)
	{
		for (int i = 0; i < batch.column_count; i++)
		{
			const pe_snapshot_vector *column = &batch.columns[i];

			for (size_t row = 0; row < batch.rows; row++)
			{
				*sum = *sum * 31 + column->nulls[row];
				if (column->type == PE_COLUMN_TEXT || column->type == PE_COLUMN_JSON ||
				    column->type == PE_COLUMN_BYTES || column->type == PE_COLUMN_NUMERIC)
				{
					for (size_t k = 0; k < column->slices[row].length; k++)
						*sum = *sum * 31 + (uint8_t) column->slices[row].data[k];
				}
				else if (column->type == PE_COLUMN_BOOL)
					*sum = *sum * 31 + column->bools[row];
				else if (column->type == PE_COLUMN_INT32 || column->type == PE_COLUMN_DATE)
					*sum = *sum * 31 + (uint32_t) column->int32s[row];
				else
					*sum = *sum * 31 + (uint64_t) column->int64s[row];
			}
		}
		*rows += (int64_t) batch.rows;
	}
	return status;
}

/* Open, select every field and the rest, read all. */
static pe_status
read_all(const pe_env *env, memory_file *input, int64_t *rows, pe_error *err)
{
	pe_snapshot_file *file;
	pe_snapshot_column columns[64];
	pe_snapshot_column rest = {NULL, PE_COLUMN_AUTO, false};
	uint64_t sum;
	pe_status status = open_memory(env, input, "test.parquet", &file, err);
	int count = 0;

	if (status != PE_OK)
		return status;
	for (int i = 0; i < pe_snapshot_field_count(file) && i < 63; i++)
		columns[count++] = (pe_snapshot_column){pe_snapshot_field_at(file, i)->path, PE_COLUMN_AUTO, false};
	columns[count++] = rest;
	status = pe_snapshot_select(file, columns, count, err);
	if (status == PE_OK)
		status = drain(file, rows, &sum, err);
	if (status == PE_OK)
		status = pe_snapshot_select(file, &rest, 1, err);
	if (status == PE_OK)
		status = drain(file, rows, &sum, err);
	pe_snapshot_close(file);
	return status;
}

static bool
slice_is(const pe_snapshot_vector *column, size_t row, const char *text)
{
	bool same = !column->nulls[row] && column->slices[row].length == strlen(text) &&
	            memcmp(column->slices[row].data, text, strlen(text)) == 0;

	if (!same)
		printf("#   got %.*s\n", (int) column->slices[row].length, column->slices[row].data);
	return same;
}

/* The values of row i as the generator's query makes them. */
static void
test_flat(const char *name, int64_t rows)
{
	tap_memory memory = {0};
	pe_env env = tap_env(&memory);
	memory_file input = load(name);
	pe_snapshot_file *file;
	pe_snapshot_batch batch;
	pe_error err = {0};
	bool good[18];
	pe_snapshot_column columns[18] = {
	    COLUMN("id"),   COLUMN("flag"),  COLUMN("tiny"), COLUMN("big"), COLUMN("real8"),  COLUMN("real4"),
	    COLUMN("city"), COLUMN("name"),  COLUMN("day"),  COLUMN("at"),  COLUMN("amount"), COLUMN("u32"),
	    COLUMN("u64"),  COLUMN("clock"), COLUMN("uuid"), COLUMN("raw"), COLUMN("doc"),    COLUMN("nothing")};
	int64_t seen = 0;

	memset(good, true, sizeof(good));
	IS_INT(open_memory(&env, &input, name, &file, &err), PE_OK, "%s opens", name);
	IS_INT(pe_snapshot_rows(file), rows, "%s: rows", name);
	IS_INT(pe_snapshot_select(file, columns, 18, &err), PE_OK, "%s: select", name);
	IS_INT(pe_snapshot_column_type(file, 9), PE_COLUMN_TIMESTAMP, "%s: a timestamp by itself", name);
	while (pe_snapshot_next(file, &batch, &err) == PE_OK && batch.rows > 0)
	{
		const pe_snapshot_vector *c = batch.columns;

		for (size_t r = 0; r < batch.rows; r++)
		{
			int64_t i = batch.first_row + (int64_t) r;
			char text[64];

			good[0] &= !c[0].nulls[r] && c[0].int64s[r] == i;
			good[1] &= c[1].nulls[r] == (i % 7 == 1) && c[1].bools[r] == (i % 7 != 1 && i % 3 == 0);
			good[2] &=
			    c[2].nulls[r] == (i % 7 == 2) && c[2].int32s[r] == (i % 7 != 2 ? i * 37 % 200 - 100 : 0);
			good[3] &= c[3].nulls[r] == (i % 7 == 3) && c[3].int64s[r] == (i % 7 != 3 ? i * 1000003 : 0);
			good[4] &= c[4].nulls[r] == (i % 7 == 4) && c[4].doubles[r] == (i % 7 != 4 ? (double) i / 8 : 0);
			good[5] &= c[5].nulls[r] == (i % 7 == 5) && c[5].doubles[r] == (i % 7 != 5 ? (double) i / 4 : 0);
			snprintf(text, sizeof(text), "city %d", (int) (i % 10));
			good[6] &= i % 7 == 6 ? c[6].nulls[r] : slice_is(&c[6], r, text);
			snprintf(text, sizeof(text), "name of %d \xc3\xa9", (int) i);
			good[7] &= i % 7 == 0 ? c[7].nulls[r] : slice_is(&c[7], r, text);
			good[8] &= c[8].int32s[r] == 18262 + i % 1000;
			good[9] &= c[9].int64s[r] == INT64_C(1709210096789012) + i * 60000000;
			snprintf(text, sizeof(text), "%d.%02d", (int) (i * 125 / 100), (int) (i * 125 % 100));
			good[10] &= slice_is(&c[10], r, text);
			good[11] &= c[11].int64s[r] == 4294967295 - i;
			snprintf(text, sizeof(text), "%llu", 18446744073709551615ull - (unsigned long long) i);
			good[12] &= slice_is(&c[12], r, text);
			good[13] &= slice_is(&c[13], r, "01:02:03.500");
			snprintf(text, sizeof(text), "00000000-0000-0000-0000-%012d", (int) i);
			good[14] &= slice_is(&c[14], r, text);
			snprintf(text, sizeof(text), "b%d", (int) i);
			good[15] &= slice_is(&c[15], r, text);
			snprintf(text, sizeof(text), "{\"n\": %d}", (int) i);
			good[16] &= slice_is(&c[16], r, text);
			good[17] &= c[17].nulls[r];
		}
		seen += (int64_t) batch.rows;
	}
	IS_INT(err.code, PE_OK, "%s: read to the end%s", name, err.message);
	IS_INT(seen, rows, "%s: all rows", name);
	for (int i = 0; i < 18; i++)
		OK(good[i], "%s: values of %s", name, columns[i].path);
	pe_snapshot_close(file);
	IS_INT(memory.live, 0, "%s: nothing leaked", name);
	free(input.bytes);
}

static void
test_fields(void)
{
	static const char *const paths[] = {"_id",
	                                    "person.name.firstName",
	                                    "person.name.lastName",
	                                    "person.birthDate",
	                                    "_acme.crmId",
	                                    "_acme.subscription.tenureMonths",
	                                    "_acme.subscription.\"plan.name\"",
	                                    "identityMap",
	                                    "segmentMembership",
	                                    "numbers",
	                                    "nested",
	                                    "by_number"};
	tap_memory memory = {0};
	pe_env env = tap_env(&memory);
	memory_file input = load("profile.parquet");
	pe_snapshot_file *file;
	pe_error err;

	IS_INT(open_memory(&env, &input, "profile.parquet", &file, &err), PE_OK, "profile opens");
	IS_INT(pe_snapshot_field_count(file), 12, "twelve fields");
	for (int i = 0; i < 12; i++)
		IS_STR(pe_snapshot_field_at(file, i)->path, paths[i], "field %d", i);
	IS_INT(pe_snapshot_field_at(file, 3)->type, PE_COLUMN_DATE, "a birth date is a date");
	IS_INT(pe_snapshot_field_at(file, 2)->nulls, 100, "null count from statistics");
	IS_INT(pe_snapshot_field_at(file, 7)->kind, PE_FIELD_MAP, "identityMap is a map");
	IS_INT(pe_snapshot_field_at(file, 9)->kind, PE_FIELD_LIST, "numbers is a list");
	pe_snapshot_close(file);
	free(input.bytes);
}

static void
test_paths(const char *name)
{
	tap_memory memory = {0};
	pe_env env = tap_env(&memory);
	memory_file input = load(name);
	pe_snapshot_file *file;
	pe_snapshot_batch batch;
	pe_error err = {0};
	pe_snapshot_column columns[] = {
	    COLUMN("identityMap.CRMID.id"),
	    COLUMN("identityMap.ecid.id"),
	    COLUMN("segmentMembership.ups.11111111-2222-3333-4444-555555555555.status"),
	    COLUMN("_acme.subscription.\"plan.name\""),
	    COLUMN("numbers"),
	    COLUMN("nested"),
	    COLUMN("identityMap.crmid"),
	    COLUMN("by_number.1"),
	    COLUMN("nested.3.1"),
	    {"numbers.0", PE_COLUMN_DOUBLE, false},
	    {"no.such", PE_COLUMN_DATE, true},
	    COLUMN("person"),
	    COLUMN(NULL)};
	uint64_t whole;

	IS_INT(open_memory(&env, &input, name, &file, &err), PE_OK, "%s opens", name);
	IS_INT(pe_snapshot_select(file, columns, 13, &err), PE_OK, "paths through maps and lists");
	IS_INT(pe_snapshot_next(file, &batch, &err), PE_OK, "read");
	IS_INT(batch.rows, 300, "one batch");
	OK(slice_is(&batch.columns[0], 0, "C-0") && slice_is(&batch.columns[0], 1, "C-1") &&
	       batch.columns[0].nulls[4] && slice_is(&batch.columns[0], 9 - 1, "C-8") &&
	       slice_is(&batch.columns[0], 100, "C-100"),
	   "the smallest id, whatever case the namespace has");
	OK(slice_is(&batch.columns[1], 1, "00000000000000000000000000000000000001"), "the ECID");
	OK(slice_is(&batch.columns[2], 0, "realized") && slice_is(&batch.columns[2], 1, "exited"),
	   "a segment's status");
	OK(slice_is(&batch.columns[3], 7, "plan 3"), "a step with a dot");
	OK(batch.columns[4].nulls[0] && slice_is(&batch.columns[4], 1, "[]") &&
	       slice_is(&batch.columns[4], 2, "[2,null,-2]"),
	   "a list: null, empty, with a null");
	OK(slice_is(&batch.columns[5], 3, "[[3],[],null,[3,4]]"), "lists in lists");
	OK(slice_is(&batch.columns[6], 2,
	            "[{\"id\":\"C-3\",\"primary\":false},{\"id\":\"C-2\",\"primary\":true}]"),
	   "a subtree below a map");
	OK(slice_is(&batch.columns[7], 2, "one"), "a key that is a number");
	OK(!batch.columns[8].nulls[5] && batch.columns[8].int64s[5] == 6, "elements by index");
	OK(batch.columns[9].nulls[1] && batch.columns[9].doubles[2] == 2.0, "an element as another type");
	OK(batch.columns[10].null_count == 300 && batch.columns[10].type == PE_COLUMN_DATE,
	   "an optional path is all null");
	OK(slice_is(&batch.columns[11], 3, "{\"name\":{\"firstName\":\"F3\"},\"birthDate\":\"1980-02-03\"}"),
	   "a struct");
	OK(slice_is(&batch.columns[12], 4,
	            "{\"_id\":\"p4\",\"_acme\":{\"crmId\":\"C-4\",\"subscription\":{\"tenureMonths\":4}},"
	            "\"segmentMembership\":{\"ups\":{\"11111111-2222-3333-4444-555555555555\":{\"status\":"
	            "\"realized\","
	            "\"lastQualificationTime\":\"2026-11-22T03:00:00Z\"}}},\"by_number\":{\"1\":\"one\"}}"),
	   "the rest: what no other column takes whole");
	OK(pe_snapshot_next(file, &batch, &err) == PE_OK && batch.rows == 0, "and the end");

	/* Only the chunks asked for are read. */
	whole = input.read;
	input.read = 0;
	IS_INT(pe_snapshot_select(file, columns + 3, 1, &err), PE_OK, "one column");
	IS_INT(pe_snapshot_next(file, &batch, &err), PE_OK, "read again from the first row");
	OK(slice_is(&batch.columns[0], 7, "plan 3"), "the same values");
	OK(input.read < 2048 && whole > 3 * input.read, "few bytes are read for it");
	pe_snapshot_close(file);
	IS_INT(memory.live, 0, "nothing leaked");
	free(input.bytes);
}

static void
test_groups(void)
{
	tap_memory memory = {0};
	pe_env env = tap_env(&memory);
	memory_file input = load("groups.parquet");
	pe_snapshot_file *file;
	pe_snapshot_batch batch;
	pe_error err = {0};
	pe_snapshot_column columns[] = {COLUMN("id"), COLUMN("pair.1"), COLUMN("word"), COLUMN(NULL)};
	int64_t rows = 0;
	bool good = true;

	IS_INT(open_memory(&env, &input, "groups.parquet", &file, &err), PE_OK, "row groups open");
	IS_INT(pe_snapshot_row_groups(file), 3, "three of them");
	IS_INT(pe_snapshot_select(file, columns, 4, &err), PE_OK, "select");
	while (pe_snapshot_next(file, &batch, &err) == PE_OK && batch.rows > 0)
	{
		good &= batch.first_row == rows;
		for (size_t r = 0; r < batch.rows; r++, rows++)
		{
			char text[64];

			good &= batch.columns[0].int64s[r] == rows && batch.columns[1].int64s[r] == rows + 1;
			snprintf(text, sizeof(text), "{\"pair\":[%d,%d]}", (int) rows, (int) rows + 1);
			good &= slice_is(&batch.columns[3], r, text);
		}
	}
	OK(good && rows == 5000, "5000 rows in order");
	pe_snapshot_close(file);
	free(input.bytes);
	input = load("empty.parquet");
	IS_INT(read_all(&env, &input, &rows, &err), PE_OK, "a file without rows");
	IS_INT(rows, 0, "has none");
	free(input.bytes);
}

static void
check_select(const char *name, const char *path, pe_column_type type, pe_status wanted, const char *message)
{
	tap_memory memory = {0};
	pe_env env = tap_env(&memory);
	memory_file input = load(name);
	pe_snapshot_file *file;
	pe_snapshot_column column = {path, type, false};
	pe_error err = {0};
	int64_t rows;
	uint64_t sum;
	pe_status status = open_memory(&env, &input, name, &file, &err);

	if (status == PE_OK)
		status = pe_snapshot_select(file, &column, 1, &err);
	if (status == PE_OK)
		status = drain(file, &rows, &sum, &err);
	IS_INT(status, wanted, "%s as %s", path, pe_column_type_name(type));
	IS_STR(err.message, message, "message for %s", path);
	if (wanted == PE_INVALID_DATA)
		OK(err.row == 3 && strcmp(err.column, path) == 0, "row and column of %s", path);
	pe_snapshot_close(file);
	IS_INT(memory.live, 0, "%s: nothing leaked", path);
	free(input.bytes);
}

static void
test_refusals(void)
{
	check_select("bad_values.parquet", "nul", PE_COLUMN_AUTO, PE_INVALID_DATA,
	             "column \"nul\", row 3 of Parquet file \"bad_values.parquet\" holds a NUL byte");
	check_select("bad_values.parquet", "bytes", PE_COLUMN_TEXT, PE_INVALID_DATA,
	             "column \"bytes\", row 3 of Parquet file \"bad_values.parquet\" holds invalid UTF-8");
	check_select("bad_values.parquet", "bytes", PE_COLUMN_BYTES, PE_OK, "");
	check_select(
	    "bad_values.parquet", "day", PE_COLUMN_AUTO, PE_INVALID_DATA,
	    "column \"day\", row 3 of Parquet file \"bad_values.parquet\" holds a date beyond the range of date");
	check_select("bad_values.parquet", "at", PE_COLUMN_AUTO, PE_INVALID_DATA,
	             "column \"at\", row 3 of Parquet file \"bad_values.parquet\" holds a timestamp beyond the "
	             "range of timestamptz");
	check_select("bad_values.parquet", "list", PE_COLUMN_AUTO, PE_INVALID_DATA,
	             "column \"list\", row 3 of Parquet file \"bad_values.parquet\" holds a NUL byte");
	check_select("bad_values.parquet", "big", PE_COLUMN_INT32, PE_TYPE_MISMATCH,
	             "column \"big\", row 3 of Parquet file \"bad_values.parquet\" holds a number beyond the "
	             "range of integer");
	check_select("flat_plain.parquet", "city", PE_COLUMN_INT32, PE_TYPE_MISMATCH,
	             "field \"city\" of the Parquet file is text, which cannot be read as integer");
	check_select("flat_plain.parquet", "amount", PE_COLUMN_DOUBLE, PE_TYPE_MISMATCH,
	             "field \"amount\" of the Parquet file is decimal, which cannot be read as double precision");
	check_select("profile.parquet", "identityMap", PE_COLUMN_INT64, PE_TYPE_MISMATCH,
	             "field \"identityMap\" of the Parquet file is a map, which cannot be read as bigint");
	check_select("flat_plain.parquet", "cities", PE_COLUMN_AUTO, PE_NOT_FOUND,
	             "no field \"cities\" in the Parquet file");
	check_select("flat_plain.parquet", "city.name", PE_COLUMN_AUTO, PE_NOT_FOUND,
	             "no field \"city.name\" in the Parquet file");
	check_select("flat_brotli.parquet", "id", PE_COLUMN_AUTO, PE_UNSUPPORTED,
	             "column \"id\" of Parquet file \"flat_brotli.parquet\": the Parquet file is compressed with "
	             "brotli, which is not read");
	check_select("variant.parquet", "thing", PE_COLUMN_AUTO, PE_UNSUPPORTED,
	             "field \"thing\" of the Parquet file is a variant, which is not read");
	check_select("variant.parquet", "thing.metadata", PE_COLUMN_AUTO, PE_UNSUPPORTED,
	             "field \"thing\" of the Parquet file is a variant, which is not read");
	check_select("variant.parquet", "id", PE_COLUMN_AUTO, PE_OK, "");
	check_select("flat_plain.parquet", "id", PE_COLUMN_TEXT, PE_OK, "");
	check_select("flat_plain.parquet", "at", PE_COLUMN_TEXT, PE_OK, "");
	check_select("flat_plain.parquet", "real4", PE_COLUMN_NUMERIC, PE_OK, "");
	check_select("flat_plain.parquet", "day", PE_COLUMN_TIMESTAMP, PE_OK, "");
	check_select("flat_plain.parquet", "tiny", PE_COLUMN_INT64, PE_OK, "");
	check_select("flat_plain.parquet", "big", PE_COLUMN_DOUBLE, PE_OK, "");
	check_select("flat_plain.parquet", "city", PE_COLUMN_JSON, PE_OK, "");
	check_select("profile.parquet", "person", PE_COLUMN_TEXT, PE_OK, "");
}

/* A growing file of Thrift bytes. */
typedef struct forged
{
	uint8_t bytes[400000];
	size_t size;
} forged;

static void
put(forged *out, int count, ...)
{
	va_list args;

	va_start(args, count);
	for (int i = 0; i < count; i++)
		out->bytes[out->size++] = (uint8_t) va_arg(args, int);
	va_end(args);
}

static void
put_varint(forged *out, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		put(out, 1, (int) (value & 0x7f) | 0x80);
	put(out, 1, (int) value);
}

static pe_status
open_forged(forged *out, pe_error *err)
{
	tap_memory memory = {0};
	pe_env env = tap_env(&memory);
	uint32_t footer = (uint32_t) (out->size - 4);
	memory_file input = {.bytes = out->bytes};
	pe_snapshot_file *file;
	pe_status status;

	memcpy(out->bytes + out->size, &footer, 4);
	memcpy(out->bytes + out->size + 4, "PAR1", 4);
	input.size = out->size + 8;
	status = open_memory(&env, &input, "forged.parquet", &file, err);
	pe_snapshot_close(file);
	if (memory.live != 0)
		OK(false, "a forged file leaks");
	return status;
}

/* A schema of groups in groups, each with one child. */
static pe_status
open_deep(forged *out, int depth, pe_error *err)
{
	out->size = 0;
	put(out, 4, 'P', 'A', 'R', '1');
	put(out, 3, 0x15, 0x02, 0x19);
	put(out, 1, 0xfc);
	put_varint(out, (uint64_t) depth + 1);
	for (int i = 0; i < depth; i++)
	{
		/* {3: repetition optional, 4: name "g", 5: one child} */
		put(out, 8, 0x35, 0x02, 0x18, 0x01, 'g', 0x15, 0x02, 0x00);
	}
	/* {1: type INT32, 3: repetition optional, 4: name "x"} */
	put(out, 8, 0x15, 0x02, 0x25, 0x02, 0x18, 0x01, 'x', 0x00);
	/* 3: rows 0, 4: no row groups */
	put(out, 5, 0x16, 0x00, 0x19, 0x0c, 0x00);
	return open_forged(out, err);
}

static void
test_forged(void)
{
	static forged out;
	pe_error err = {0};

	IS_INT(open_deep(&out, 60, &err), PE_OK, "60 levels of schema%s", err.message);
	IS_INT(open_deep(&out, 64, &err), PE_LIMIT, "64 groups and a leaf");
	IS_STR(err.message, "Parquet schema is nested more than 64 levels deep", "says so");
	IS_INT(open_deep(&out, 27500, &err), PE_LIMIT, "a 220 KB file of deep schema");

	out.size = 0;
	put(&out, 4, 'P', 'A', 'R', '1');
	put(&out, 4, 0x15, 0x02, 0x19, 0xfc);
	put_varint(&out, 1u << 30);
	put(&out, 4, 0x15, 0x02, 0x00, 0x00);
	IS_INT(open_forged(&out, &err), PE_CORRUPT, "a schema of 2^30 elements in a few bytes");

	/* A root that says it has 2^31 - 1 children. */
	out.size = 0;
	put(&out, 4, 'P', 'A', 'R', '1');
	put(&out, 7, 0x15, 0x02, 0x19, 0x1c, 0x48, 0x01, 'r');
	put(&out, 1, 0x15);
	put_varint(&out, 0xfffffffe);
	put(&out, 5, 0x00, 0x16, 0x00, 0x19, 0x0c);
	put(&out, 1, 0x00);
	IS_INT(open_forged(&out, &err), PE_CORRUPT, "a root with children that are not there");
	IS_STR(err.message, "Parquet schema ends before all of its columns are described", "says so");

	out.size = 4;
	IS_INT(open_forged(&out, &err), PE_CORRUPT, "an empty footer");
}

/* What a forged file says. */
typedef struct claims
{
	bool nested;     /* lists of integers instead of integers; everything is null */
	uint64_t values; /* of the page, by its levels too */
	uint64_t rows;   /* of the row group */
	int codec;
	uint64_t uncompressed; /* of the page; 0: what is true */
} claims;

static void
put_zigzag(forged *out, uint64_t value)
{
	put_varint(out, value * 2);
}

/* A run of levels in the hybrid encoding, after its length. */
static void
put_levels(forged *out, uint64_t first_zeros, uint64_t count, int level)
{
	size_t start = out->size;
	uint32_t length;

	put(out, 4, 0, 0, 0, 0);
	if (first_zeros > 0)
	{
		put_varint(out, first_zeros << 1);
		put(out, 1, 0);
	}
	if (count > 0)
	{
		put_varint(out, count << 1);
		put(out, 1, level);
	}
	length = (uint32_t) (out->size - start - 4);
	memcpy(out->bytes + start, &length, 4);
}

/* One column, one row group, one page of nulls. */
static void
forge(forged *out, const claims *c)
{
	static forged body;
	size_t chunk;

	body.size = 0;
	if (c->nested)
		put_levels(&body, 1, c->values - 1, 1);
	put_levels(&body, 0, c->values, c->nested ? 2 : 0);
	out->size = 0;
	put(out, 4, 'P', 'A', 'R', '1');
	/* Page header: data page, sizes, {values, PLAIN, RLE, RLE}. */
	put(out, 3, 0x15, 0x00, 0x15);
	put_zigzag(out, c->uncompressed > 0 ? c->uncompressed : body.size);
	put(out, 1, 0x15);
	put_zigzag(out, body.size);
	put(out, 2, 0x2c, 0x15);
	put_zigzag(out, c->values);
	put(out, 8, 0x15, 0x00, 0x15, 0x06, 0x15, 0x06, 0x00, 0x00);
	memcpy(out->bytes + out->size, body.bytes, body.size);
	out->size += body.size;
	chunk = out->size - 4;
	/* Footer: the schema, then the rows and the row group. */
	put(out, 3, 0x15, 0x02, 0x19);
	if (c->nested)
	{
		put(out, 8, 0x4c, 0x48, 0x01, 'r', 0x15, 0x02, 0x00, 0x35);
		put(out, 9, 0x02, 0x18, 0x01, 'x', 0x15, 0x02, 0x15, 0x06, 0x00);
		put(out, 8, 0x35, 0x04, 0x18, 0x01, 'l', 0x15, 0x02, 0x00);
	}
	else
		put(out, 7, 0x2c, 0x48, 0x01, 'r', 0x15, 0x02, 0x00);
	put(out, 8, 0x15, 0x02, 0x25, 0x02, 0x18, 0x01, 'x', 0x00);
	put(out, 1, 0x16);
	put_zigzag(out, c->rows);
	put(out, 8, 0x19, 0x1c, 0x19, 0x1c, 0x3c, 0x15, 0x02, 0x35);
	put_zigzag(out, (uint64_t) c->codec);
	put(out, 1, 0x16);
	put_zigzag(out, c->values);
	put(out, 1, 0x16);
	put_zigzag(out, chunk);
	put(out, 1, 0x16);
	put_zigzag(out, chunk);
	put(out, 6, 0x26, 0x08, 0x00, 0x00, 0x26, 0x00);
	out->size--;
	put_zigzag(out, c->rows);
	put(out, 2, 0x00, 0x00);
}

/* An allocator that notes the most it was asked for at once. */
typedef struct peak_memory
{
	size_t largest;
} peak_memory;

static void *
peak_alloc(void *ctx, size_t size)
{
	peak_memory *peak = ctx;

	peak->largest = size > peak->largest ? size : peak->largest;
	return malloc(size);
}

static void *
peak_realloc(void *ctx, void *ptr, size_t size)
{
	peak_memory *peak = ctx;

	peak->largest = size > peak->largest ? size : peak->largest;
	return realloc(ptr, size);
}

static void
peak_free(void *ctx, void *ptr)
{
	free(ptr);
}

/* Read two batches of a forged file; then what was the status, and the largest allocation? */
static pe_status
read_forged(forged *out, size_t *rows, size_t *largest, pe_error *err)
{
	peak_memory peak = {0};
	pe_env env = {.allocator = {peak_alloc, peak_realloc, peak_free, &peak}};
	memory_file input = {.bytes = out->bytes};
	pe_snapshot_column column = COLUMN("x");
	uint32_t footer;
	pe_snapshot_file *file;
	pe_snapshot_batch batch;
	pe_status status;
	size_t start = 4;

	/* The footer begins at its version field, behind the page. */
	while (memcmp(out->bytes + start, "\x15\x02\x19", 3) != 0)
		start++;
	footer = (uint32_t) (out->size - start);
	memcpy(out->bytes + out->size, &footer, 4);
	memcpy(out->bytes + out->size + 4, "PAR1", 4);
	input.size = out->size + 8;
	*rows = 0;
	memset(err, 0, sizeof(*err));
	status = open_memory(&env, &input, "forged.parquet", &file, err);
	if (status == PE_OK)
		status = pe_snapshot_select(file, &column, 1, err);
	for (int i = 0; i < 2 && status == PE_OK; i++)
	{
		status = pe_snapshot_next(file, &batch, err);
		*rows += batch.rows;
	}
	*largest = peak.largest;
	pe_snapshot_close(file);
	return status;
}

static void
test_lies(void)
{
	static forged out;
	pe_error err;
	size_t rows;
	size_t largest;

	forge(&out, &(claims){.values = 1000, .rows = 1000});
	IS_INT(read_forged(&out, &rows, &largest, &err), PE_OK, "a forged file can be right%s", err.message);
	IS_INT(rows, 1000, "and read");
	forge(&out, &(claims){.nested = true, .values = 1000, .rows = 1});
	IS_INT(read_forged(&out, &rows, &largest, &err), PE_OK, "one with a list too%s", err.message);
	IS_INT(rows, 1, "in one row");

	forge(&out, &(claims){.values = INT32_MAX, .rows = INT32_MAX});
	IS_INT(read_forged(&out, &rows, &largest, &err), PE_OK, "2^31 nulls in a few bytes");
	OK(rows == 8192 && largest < 1000000, "are read by the batch: %zu rows, %zu bytes", rows, largest);
	forge(&out, &(claims){.nested = true, .values = INT32_MAX, .rows = 1});
	IS_INT(read_forged(&out, &rows, &largest, &err), PE_LIMIT, "a list of 2^31 nulls");
	OK(largest < (64u << 20), "stops at the bound: %zu bytes", largest);
	forge(&out, &(claims){.values = 10, .rows = 1000});
	IS_INT(read_forged(&out, &rows, &largest, &err), PE_CORRUPT, "fewer values than rows");
	forge(&out, &(claims){.values = 1000, .rows = 10});
	IS_INT(read_forged(&out, &rows, &largest, &err), PE_CORRUPT, "more values than rows");
	forge(&out, &(claims){.values = 10, .rows = 10, .codec = 1, .uncompressed = INT32_MAX});
	IS_INT(read_forged(&out, &rows, &largest, &err), PE_LIMIT, "a page of 2 GB");
	IS_STR(err.message,
	       "column \"x\" of Parquet file \"forged.parquet\": a page is said to have 2147483647 bytes, more "
	       "than 268435456",
	       "says so");
	for (int codec = 1; codec <= 7; codec++)
	{
		if (codec == 3 || codec == 4)
			continue;
		forge(&out, &(claims){.values = 10, .rows = 10, .codec = codec, .uncompressed = 200u << 20});
		IS_INT(read_forged(&out, &rows, &largest, &err), PE_CORRUPT,
		       "a page of 200 MB in a few bytes, codec %d", codec);
		OK(largest < 1000000, "takes no memory: %zu bytes", largest);
	}
}

/* Whatever happens to the bytes, the end is a clean read or an error with a message. */
static void
check_damaged(const char *what, const uint8_t *bytes, size_t size, int *failures)
{
	tap_memory memory = {0};
	pe_env env = tap_env(&memory);
	/* A copy of exactly this size, so that the sanitizer sees what is read beyond it. */
	memory_file input = {.bytes = malloc(size > 0 ? size : 1), .size = size};
	pe_error err = {0};
	int64_t rows;
	pe_status status;

	memcpy(input.bytes, bytes, size);
	status = read_all(&env, &input, &rows, &err);
	*failures += status != PE_OK;
	if (memory.live != 0 || (status != PE_OK && err.message[0] == '\0'))
		OK(false, "%s: leaves %ld blocks, status %d, message \"%s\"", what, memory.live, (int) status,
		   err.message);
	free(input.bytes);
}

static void
test_damage(const char *name)
{
	memory_file input = load(name);
	uint64_t state = 88172645463325252u;
	char what[64];
	int failures = 0;
	int cuts = 0;

	for (size_t size = 0; size < input.size;
	     size += size < 64 || size > input.size - 64 ? 1 : input.size / 50 + 1)
	{
		snprintf(what, sizeof(what), "%s cut at %zu", name, size);
		check_damaged(what, input.bytes, size, &failures);
		cuts++;
	}
	IS_INT(failures, cuts, "%s: every cut is refused", name);
	failures = 0;
	for (int i = 0; i < 400; i++)
	{
		size_t places[3];
		uint8_t saved[3];

		for (int k = 0; k < 3; k++)
		{
			state ^= state << 13;
			state ^= state >> 7;
			state ^= state << 17;
			places[k] = state % input.size;
			saved[k] = input.bytes[places[k]];
			input.bytes[places[k]] ^= (uint8_t) (1u << (state >> 40) % 8);
		}
		snprintf(what, sizeof(what), "%s flip %d", name, i);
		check_damaged(what, input.bytes, input.size, &failures);
		for (int k = 2; k >= 0; k--)
			input.bytes[places[k]] = saved[k];
	}
	OK(failures > 0, "%s: %d of 400 flips are found out, none does harm", name, failures);
	free(input.bytes);
}

static void
test_allocation_failures(const char *name)
{
	tap_memory memory = {0};
	pe_env env = tap_env(&memory);
	memory_file input = load(name);
	pe_error err = {0};
	int64_t rows;
	pe_status status = PE_OUT_OF_MEMORY;
	long tries = 0;
	bool leaked = false;

	while (status == PE_OUT_OF_MEMORY && tries < 20000)
	{
		memory.calls = 0;
		memory.fail_at = ++tries;
		status = read_all(&env, &input, &rows, &err);
		leaked = leaked || memory.live != 0;
	}
	IS_INT(status, PE_OK, "%s: read once %ld allocations are granted", name, tries);
	OK(!leaked, "%s: no failure leaks", name);
	free(input.bytes);
}

static int
stop_at_once(void *ctx, const char *phase, uint64_t done, uint64_t total)
{
	return --*(int *) ctx < 0;
}

static void
test_cancel(void)
{
	tap_memory memory = {0};
	pe_env env = tap_env(&memory);
	memory_file input = load("profile.parquet");
	pe_error err = {0};
	int64_t rows;
	pe_status status = PE_CANCELLED;
	int ticks = 0;

	env.tick = stop_at_once;
	for (int i = 0; status == PE_CANCELLED && i < 1000; i++)
	{
		ticks = i;
		env.tick_ctx = &ticks;
		status = read_all(&env, &input, &rows, &err);
		if (memory.live != 0)
			break;
	}
	IS_INT(status, PE_OK, "cancelled at every tick in turn, then read");
	IS_INT(memory.live, 0, "nothing leaked");
	free(input.bytes);
}

int
main(void)
{
	test_flat("flat_plain.parquet", 500);
	test_flat("flat_snappy.parquet", 200);
	test_flat("flat_gzip.parquet", 200);
	test_flat("flat_zstd.parquet", 200);
	test_flat("flat_lz4_raw.parquet", 200);
	test_flat("flat_v2.parquet", 500);
	test_fields();
	test_paths("profile.parquet");
	test_paths("profile_v2.parquet");
	test_groups();
	test_refusals();
	test_forged();
	test_lies();
	test_damage("profile.parquet");
	test_damage("profile_v2.parquet");
	test_damage("flat_v2.parquet");
	test_damage("flat_snappy.parquet");
	test_allocation_failures("profile_v2.parquet");
	test_allocation_failures("flat_v2.parquet");
	test_cancel();
	return tap_done();
}
