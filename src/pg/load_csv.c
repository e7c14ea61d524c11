/*
 * load_csv.c
 *		CSV files with a header line, through the machinery of COPY.
 *
 * COPY splits and unquotes the records; which field goes to which column, and the
 * conversion, is done here, because a file's columns are not the table's.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_am.h"
#include "catalog/pg_type.h"
#include "commands/copy.h"
#include "commands/copyfrom_internal.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_node.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "pg/env.h"
#include "pg/load.h"
#include "pg/progress.h"
#include "snapshot/xdm_path.h"

typedef struct CsvReader
{
	CopyFromState copy;
	Relation rel;
	LoadStream *stream;
	int count; /* columns of the header */
	char **header;
	const char **paths; /* the header as XDM paths */
	LoadCsv options;
} CsvReader;

/* COPY's callback has no argument. */
static LoadStream *source_stream = NULL;
static bool source_ended = false;

static int
read_source(void *buffer, int minread, int maxread)
{
	bool reading = load_position.reading;
	size_t got;

	load_position.reading = false;
	got = load_stream_read(source_stream, buffer, (size_t) maxread);
	load_position.reading = reading;
	source_ended = got == 0;
	return (int) got;
}

/* A header as it stands if it is a path, else as one quoted step. */
static const char *
header_path(const char *header)
{
	pe_env env = pe_server_env(CurrentMemoryContext);
	size_t length = strlen(header);
	pe_xdm_path *parsed;
	pe_error err;
	char *path;

	if (pe_xdm_path_parse(&env, header, length, &parsed, &err) == PE_OK)
	{
		pe_xdm_path_free(&env, parsed);
		return header;
	}
	path = palloc(2 * length + 3);
	path[pe_xdm_step_write(header, length, path)] = '\0';
	return path;
}

static void
bad_header(const char *what, const char *hint)
{
	load_position.reading = false;
	load_position.named = true;
	ereport(ERROR, (errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
	                errmsg("file \"%s\": %s", load_position.file, what), errdetail("Nothing was loaded."),
	                errhint("%s", hint != NULL ? hint : "The first line of a CSV file names its columns.")));
}

/* A header that is one name with another delimiter in it: the rows would come as one column. */
static void
refuse_other_delimiter(const CsvReader *csv, const char *header)
{
	const char *at = strpbrk(header, ";\t|");

	if (csv->options.delimiter == NULL && at != NULL)
		bad_header("there is no comma in the header",
		           psprintf("If %s parts the columns, say so: csv => '{\"delimiter\": \"%s\"}'.",
		                    *at == '\t' ? "a tab" : psprintf("\"%c\"", *at),
		                    *at == '\t' ? "\\t" : psprintf("%c", *at)));
}

static int
compare_texts(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

static void
refuse_duplicates(CsvReader *csv)
{
	char **sorted = palloc(sizeof(char *) * csv->count);

	memcpy(sorted, csv->header, sizeof(char *) * csv->count);
	qsort(sorted, csv->count, sizeof(char *), compare_texts);
	for (int i = 1; i < csv->count; i++)
	{
		if (strcmp(sorted[i - 1], sorted[i]) == 0)
			bad_header(psprintf("column \"%s\" is twice in the header", sorted[i]), NULL);
	}
	pfree(sorted);
}

static void
read_header(CsvReader *csv)
{
	char **fields;
	int count;

	if (!NextCopyFromRawFields(csv->copy, &fields, &count) || count == 0)
		bad_header("it is empty, there is no header line", NULL);
	if (count > LOAD_MAX_FIELDS)
		bad_header(psprintf("the header has %d columns, at most %d can be read", count, LOAD_MAX_FIELDS),
		           NULL);
	if (count == 1 && fields[0] != NULL)
		refuse_other_delimiter(csv, fields[0]);
	csv->count = count;
	csv->header = palloc(sizeof(char *) * count);
	csv->paths = palloc(sizeof(char *) * count);
	for (int i = 0; i < count; i++)
	{
		if (fields[i] == NULL || fields[i][0] == '\0')
			bad_header(psprintf("column %d of the header has no name", i + 1), NULL);
		csv->header[i] = pstrdup(fields[i]);
		csv->paths[i] = header_path(csv->header[i]);
	}
	refuse_duplicates(csv);
}

static List *
copy_options(const LoadCsv *csv)
{
	List *options = list_make2(makeDefElem("format", (Node *) makeString("csv"), -1),
	                           makeDefElem("encoding", (Node *) makeString("utf8"), -1));
	const char *const values[][2] = {
	    {"delimiter", csv->delimiter}, {"quote", csv->quote}, {"escape", csv->escape}, {"null", csv->null}};

	for (int i = 0; i < lengthof(values); i++)
	{
		if (values[i][1] != NULL)
			options = lappend(
			    options, makeDefElem(pstrdup(values[i][0]), (Node *) makeString(pstrdup(values[i][1])), -1));
	}
	return options;
}

/*
 * COPY wants a relation, of which splitting records uses nothing: a small catalog
 * will do.
 */
static CsvReader *
csv_open(LoadFile *file)
{
	CsvReader *csv = palloc0(sizeof(CsvReader));

	if (file->csv != NULL)
		csv->options = *file->csv;
	csv->stream = source_stream = load_stream_open(file);
	source_ended = false;
	csv->rel = table_open(AccessMethodRelationId, AccessShareLock);
	csv->copy =
	    BeginCopyFrom(NULL, csv->rel, NULL, NULL, false, read_source, NIL, copy_options(&csv->options));
	load_position.unit = "row";
	load_position.row = 0;
	load_position.reading = true;
	read_header(csv);
	return csv;
}

static void
csv_close(CsvReader *csv)
{
	load_position.reading = false;
	EndCopyFrom(csv->copy);
	table_close(csv->rel, AccessShareLock);
	load_stream_close(csv->stream);
}

/* The token of empty texts, where it is one of its own. */
static void
take_empty(const CsvReader *csv, char **fields)
{
	if (csv->options.empty == NULL)
		return;
	for (int i = 0; i < csv->count; i++)
	{
		if (fields[i] != NULL && strcmp(fields[i], csv->options.empty) == 0)
			fields[i][0] = '\0';
	}
}

/* The next record, as many fields as the header has; NULL fields are NULL. False at the end. */
static bool
csv_next(CsvReader *csv, char ***fields)
{
	char byte;
	int count;

	load_position.row++;
	/* A blank line is one empty field. */
	do
	{
		if (!NextCopyFromRawFields(csv->copy, fields, &count))
		{
			/* COPY takes a lone \. for the end; there must be nothing behind it. */
			if (INPUT_BUF_BYTES(csv->copy) == 0 && (source_ended || read_source(&byte, 1, 1) == 0))
				return false;
			ereport(ERROR,
			        (errcode(ERRCODE_BAD_COPY_FILE_FORMAT), errmsg("end-of-data marker inside the file")));
		}
	} while (count == 1 && csv->count > 1 && (*fields)[0] == NULL);
	if (count == csv->count)
	{
		take_empty(csv, *fields);
		return true;
	}
	load_position.reading = false;
	load_position.named = true;
	ereport(ERROR, (errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
	                errmsg("file \"%s\", row " INT64_FORMAT ", has %d fields, the header has %d",
	                       load_position.file, load_position.row, count, csv->count),
	                errdetail("Nothing was loaded.")));
}

static void
publish(const char *phase, int64 rows, int64 total)
{
	if (rows % 1024 == 0)
		pe_progress_publish(phase, (uint64) rows, (uint64) total);
	if (load_position.row % 32 == 0)
		CHECK_FOR_INTERRUPTS();
}

/* The header's column for a path; -1 when there is none. */
static int
find_header(const CsvReader *csv, const char *path)
{
	for (int i = 0; i < csv->count; i++)
	{
		if (strcmp(csv->paths[i], path) == 0 || strcmp(csv->header[i], path) == 0)
			return i;
	}
	for (int i = 0; i < csv->count; i++)
	{
		if (pg_strcasecmp(csv->header[i], path) == 0)
			return i;
	}
	return -1;
}

/* The fields to watch: all of the header, or the mapped ones. */
static LoadField **
watched_fields(CsvReader *csv, LoadFields *fields, const LoadMapping *mapping, const char *file)
{
	LoadField **watched = palloc0(sizeof(LoadField *) * csv->count);

	if (mapping == NULL)
	{
		for (int i = 0; i < csv->count; i++)
			watched[i] = load_fields_get(fields, csv->paths[i], file);
		return watched;
	}
	for (int i = 0; i < mapping->count; i++)
	{
		int column = find_header(csv, mapping->items[i].path);

		if (column >= 0)
			watched[column] = load_fields_get(fields, mapping->items[i].path, file);
	}
	return watched;
}

static void
csv_discover(LoadFile *file, LoadFields *fields, const LoadMapping *mapping)
{
	CsvReader *csv = csv_open(file);
	LoadField **watched = watched_fields(csv, fields, mapping, file->name);
	char **values;

	while (csv_next(csv, &values))
	{
		for (int i = 0; i < csv->count; i++)
		{
			if (watched[i] == NULL || values[i] == NULL)
				continue;
			watched[i]->filled++;
			if (!(watched[i]->seen & LOAD_SEEN_TEXT))
				watched[i]->seen |= load_classify_text(values[i], strlen(values[i]), true);
		}
		publish("reading fields", ++fields->rows, 0);
	}
	csv_close(csv);
}

/* What no column takes, as an object of texts; false when there is nothing. */
static bool
rest_of(const CsvReader *csv, char **values, const bool *taken, Datum *rest)
{
	JsonbParseState *state = NULL;
	bool any = false;
	JsonbValue *whole;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < csv->count; i++)
	{
		JsonbValue key = {.type = jbvString}, value = {.type = jbvString};

		if (taken[i] || values[i] == NULL)
			continue;
		key.val.string.val = csv->header[i];
		key.val.string.len = (int) strlen(csv->header[i]);
		value.val.string.val = values[i];
		value.val.string.len = (int) strlen(values[i]);
		(void) pushJsonbValue(&state, WJB_KEY, &key);
		(void) pushJsonbValue(&state, WJB_VALUE, &value);
		any = true;
	}
	whole = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	if (any)
		*rest = JsonbPGetDatum(JsonbValueToJsonb(whole));
	return any;
}

/* Which field each column of the plan takes; taken says which fields have one. */
static int *
match_columns(const CsvReader *csv, const LoadPlan *plan, bool *taken)
{
	int *source = palloc(sizeof(int) * plan->count);

	for (int i = 0; i < plan->count; i++)
	{
		source[i] = plan->columns[i].path != NULL ? find_header(csv, plan->columns[i].path) : -1;
		if (source[i] >= 0)
			taken[source[i]] = true;
	}
	return source;
}

static void
csv_read(LoadFile *file, LoadPlan *plan, LoadWriter *writer)
{
	CsvReader *csv = csv_open(file);
	bool *taken = palloc0(sizeof(bool) * csv->count);
	int *source = match_columns(csv, plan, taken);
	int used = 0;
	char **values;

	while (csv_next(csv, &values))
	{
		MemoryContext caller = MemoryContextSwitchTo(load_writer_memory(writer));
		TupleTableSlot *slot = load_writer_slot(writer, used++);

		for (int i = 0; i < plan->count; i++)
		{
			LoadColumn *column = &plan->columns[i];
			int attr = column->attnum - 1;

			if (column->rest)
				slot->tts_isnull[attr] = !rest_of(csv, values, taken, &slot->tts_values[attr]);
			else if (source[i] >= 0 && values[source[i]] != NULL)
			{
				slot->tts_values[attr] =
				    load_text_datum(column, values[source[i]], strlen(values[source[i]]));
				slot->tts_isnull[attr] = false;
			}
		}
		MemoryContextSwitchTo(caller);
		if (used == LOAD_BATCH_ROWS)
		{
			load_position.reading = false;
			load_writer_flush(writer, used);
			load_position.reading = true;
			used = 0;
		}
		publish("loading rows", load_writer_rows(writer) + used, plan->rows);
	}
	load_position.reading = false;
	load_writer_flush(writer, used);
	csv_close(csv);
}

const LoadReader load_csv_reader = {csv_discover, csv_read};
