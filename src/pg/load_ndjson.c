/*
 * load_ndjson.c
 *		Files of one JSON object a line, through the server's own JSON parser, which
 *		guards its stack.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "pg/load.h"
#include "pg/load_json.h"
#include "pg/progress.h"

#define READ_BYTES     (256 * 1024)
#define FLUSH_BYTES    (8 << 20) /* of lines: bounds a batch of long ones */
#define MAX_PATH_DEPTH (PE_XDM_PATH_MAX_STEPS - 4)
#define MAX_PATH_BYTES (PE_XDM_PATH_MAX_BYTES - 64)

/* Lines of a stream, each terminated by a NUL in place of its line end. */
typedef struct LineReader
{
	LoadStream *stream;
	char *buffer;
	size_t capacity; /* without the spare byte for the last terminator */
	size_t start;
	size_t end;
	bool at_end;
	uint64 bytes;
} LineReader;

static LineReader *
lines_open(LoadFile *file)
{
	LineReader *lines = palloc0(sizeof(LineReader));

	lines->stream = load_stream_open(file);
	lines->capacity = 2 * READ_BYTES;
	lines->buffer = palloc(lines->capacity + 1);
	load_position.unit = "line";
	load_position.row = 0;
	return lines;
}

static void
lines_close(LineReader *lines)
{
	load_stream_close(lines->stream);
	pfree(lines->buffer);
	pfree(lines);
}

/* More bytes behind end; moves or grows the buffer when it is full. */
static void
lines_fill(LineReader *lines)
{
	size_t got;

	if (lines->capacity - lines->end < READ_BYTES)
	{
		memmove(lines->buffer, lines->buffer + lines->start, lines->end - lines->start);
		lines->end -= lines->start;
		lines->start = 0;
	}
	if (lines->capacity - lines->end < READ_BYTES)
	{
		if (lines->end > LOAD_MAX_LINE)
			ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("line is too long")));
		lines->capacity *= 2;
		lines->buffer = repalloc_huge(lines->buffer, lines->capacity + 1);
	}
	load_position.reading = false;
	got = load_stream_read(lines->stream, lines->buffer + lines->end, lines->capacity - lines->end);
	load_position.reading = true;
	lines->end += got;
	lines->bytes += got;
	lines->at_end = got == 0;
}

/* The next line that is not blank; false at the end. Counts all lines. */
static bool
lines_next(LineReader *lines, char **line, size_t *length)
{
	size_t scanned = 0;

	for (;;)
	{
		char *begin = lines->buffer + lines->start;
		size_t have = lines->end - lines->start;
		char *newline = memchr(begin + scanned, '\n', have - scanned);
		size_t n;

		if (newline == NULL && !lines->at_end)
		{
			scanned = have;
			/* Counted early, so that an error in filling names this line. */
			load_position.row++;
			lines_fill(lines);
			load_position.row--;
			continue;
		}
		if (newline == NULL && have == 0)
			return false;
		n = newline != NULL ? (size_t) (newline - begin) : have;
		lines->start += newline != NULL ? n + 1 : n;
		load_position.row++;
		scanned = 0;
		while (n > 0 && (begin[n - 1] == '\r' || begin[n - 1] == ' ' || begin[n - 1] == '\t'))
			n--;
		begin[n] = '\0';
		if (n == 0)
			continue;
		*line = begin;
		*length = n;
		return true;
	}
}

/* One line as jsonb, in the current context. */
static Jsonb *
parse_line(char *line, size_t length)
{
	Jsonb *jsonb;

	if (memchr(line, '\0', length) != NULL)
		ereport(ERROR, (errcode(ERRCODE_UNTRANSLATABLE_CHARACTER), errmsg("NUL byte")));
	pg_verifymbstr(line, (int) length, false);
	jsonb = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(line)));
	if (!JB_ROOT_IS_OBJECT(jsonb))
	{
		load_position.reading = false;
		load_position.named = true;
		ereport(ERROR, (errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
		                errmsg("file \"%s\", line " INT64_FORMAT ", is not a JSON object", load_position.file,
		                       load_position.row),
		                errdetail("Nothing was loaded."), errhint(LOAD_NDJSON_HINT)));
	}
	return jsonb;
}

static void
publish(const char *phase, int64 rows, int64 total)
{
	if (rows % 1024 == 0)
		pe_progress_publish(phase, (uint64) rows, (uint64) total);
	if (load_position.row % 32 == 0)
		CHECK_FOR_INTERRUPTS();
}

/* ---- which fields there are ---- */

typedef struct Walk
{
	LoadFields *fields;
	const char *file;
	StringInfoData path;
	int depth;
} Walk;

static void see(Walk *walk, JsonbValue *value);

static void
walk_object(Walk *walk, JsonbContainer *object)
{
	JsonbIterator *it = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue key, value;
	int length = walk->path.len;

	check_stack_depth();
	while ((token = JsonbIteratorNext(&it, &key, true)) != WJB_DONE)
	{
		size_t step;

		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&it, &value, true);
		if (value.type == jbvNull || key.val.string.len == 0)
			continue;
		step = pe_xdm_step_write(key.val.string.val, key.val.string.len, NULL);
		if (walk->depth >= MAX_PATH_DEPTH || length + step > MAX_PATH_BYTES)
			continue;
		if (length > 0)
			appendStringInfoChar(&walk->path, '.');
		enlargeStringInfo(&walk->path, (int) step);
		pe_xdm_step_write(key.val.string.val, key.val.string.len, walk->path.data + walk->path.len);
		walk->path.len += (int) step;
		walk->path.data[walk->path.len] = '\0';
		if (!load_json_is_map(key.val.string.val, key.val.string.len))
			see(walk, &value);
		walk->path.len = length;
		walk->path.data[length] = '\0';
	}
}

static void
see(Walk *walk, JsonbValue *value)
{
	LoadField *field = load_fields_get(walk->fields, walk->path.data, walk->file);

	if (field != NULL)
	{
		field->seen |= load_json_seen(value, field->seen);
		field->filled++;
	}
	if (value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data))
	{
		walk->depth++;
		walk_object(walk, value->val.binary.data);
		walk->depth--;
	}
}

static void
see_namespaces(Walk *walk, JsonbContainer *object)
{
	JsonbValue map, key;
	JsonbIterator *it;
	JsonbIteratorToken token;

	if (getKeyJsonValueFromContainer(object, "identityMap", 11, &map) == NULL || map.type != jbvBinary ||
	    !JsonContainerIsObject(map.val.binary.data))
		return;
	it = JsonbIteratorInit(map.val.binary.data);
	while ((token = JsonbIteratorNext(&it, &key, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			load_fields_namespace(walk->fields, key.val.string.val, key.val.string.len, walk->file);
	}
}

static void
see_mapped(LoadFields *fields, JsonbContainer *object, const LoadMapping *mapping, pe_xdm_path **paths,
           const char *file)
{
	for (int i = 0; i < mapping->count; i++)
	{
		JsonbValue value;
		LoadField *field;

		if (!load_json_find(object, paths[i], &value))
			continue;
		field = load_fields_get(fields, mapping->items[i].path, file);
		field->seen |= load_json_seen(&value, field->seen);
		field->filled++;
	}
}

static void
ndjson_discover(LoadFile *file, LoadFields *fields, const LoadMapping *mapping)
{
	MemoryContext scratch =
	    AllocSetContextCreate(CurrentMemoryContext, "profenrich line", ALLOCSET_DEFAULT_SIZES);
	LineReader *lines = lines_open(file);
	pe_xdm_path **paths = mapping != NULL ? palloc(sizeof(pe_xdm_path *) * mapping->count) : NULL;
	Walk walk = {fields, file->name};
	char *line;
	size_t length;

	initStringInfo(&walk.path);
	for (int i = 0; mapping != NULL && i < mapping->count; i++)
		paths[i] = load_json_path(mapping->items[i].path);
	load_position.reading = true;
	while (lines_next(lines, &line, &length))
	{
		MemoryContext caller = MemoryContextSwitchTo(scratch);
		Jsonb *jsonb = parse_line(line, length);

		if (mapping != NULL)
			see_mapped(fields, &jsonb->root, mapping, paths, file->name);
		else
		{
			walk_object(&walk, &jsonb->root);
			see_namespaces(&walk, &jsonb->root);
		}
		MemoryContextSwitchTo(caller);
		MemoryContextReset(scratch);
		publish("reading fields", ++fields->rows, 0);
	}
	load_position.reading = false;
	lines_close(lines);
	MemoryContextDelete(scratch);
}

/* ---- rows ---- */

static void
convert_line(LoadPlan *plan, pe_xdm_path **paths, const LoadTaken *taken, JsonbContainer *object,
             TupleTableSlot *slot)
{
	for (int i = 0; i < plan->count; i++)
	{
		LoadColumn *column = &plan->columns[i];
		int attr = column->attnum - 1;
		JsonbValue value;

		if (column->rest)
			slot->tts_isnull[attr] = !load_json_rest(object, taken, &slot->tts_values[attr]);
		else if (load_json_find(object, paths[i], &value))
		{
			slot->tts_values[attr] = load_json_datum(column, &value);
			slot->tts_isnull[attr] = false;
		}
	}
}

static void
ndjson_read(LoadFile *file, LoadPlan *plan, LoadWriter *writer)
{
	LineReader *lines = lines_open(file);
	pe_xdm_path **paths = palloc0(sizeof(pe_xdm_path *) * plan->count);
	LoadTaken *taken;
	int used = 0;
	size_t bytes = 0;
	char *line;
	size_t length;

	for (int i = 0; i < plan->count; i++)
		paths[i] = plan->columns[i].path != NULL ? load_json_path(plan->columns[i].path) : NULL;
	taken = load_json_taken(plan, paths);
	load_position.reading = true;
	while (lines_next(lines, &line, &length))
	{
		MemoryContext caller = MemoryContextSwitchTo(load_writer_memory(writer));
		Jsonb *jsonb = parse_line(line, length);

		convert_line(plan, paths, taken, &jsonb->root, load_writer_slot(writer, used++));
		MemoryContextSwitchTo(caller);
		bytes += length;
		if (used == LOAD_BATCH_ROWS || bytes > FLUSH_BYTES)
		{
			load_position.reading = false;
			load_writer_flush(writer, used);
			load_position.reading = true;
			used = 0;
			bytes = 0;
		}
		publish("loading rows", load_writer_rows(writer) + used, plan->rows);
	}
	load_position.reading = false;
	load_writer_flush(writer, used);
	lines_close(lines);
}

const LoadReader load_ndjson_reader = {ndjson_discover, ndjson_read};
