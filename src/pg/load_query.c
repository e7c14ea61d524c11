/*
 * load_query.c
 *		load_query: the result of a query of Query Service, as the snapshot of a day.
 *
 * The rows are put down as JSON, a line each, in a temporary file, from where they go the way of
 * exported files: columns of structs are read by XDM path like the platform's own data.
 */
#include "postgres.h"

#include <ctype.h>

#include "catalog/pg_type.h"
#include "common/jsonapi.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/wait_event.h"

#include "pg/load.h"
#include "pg/progress.h"
#include "pg/query_client.h"

#define ROW_CAP     50000 /* where the service cuts results off, without a word */
#define FLUSH_BYTES (1 << 20)

typedef struct Spool
{
	File file;
	uint64 size;
	StringInfoData buffer;
	int64 rows;
	const char *key; /* column to page by, or NULL */
	int key_column;
	Oid key_type;
	char *last_key; /* of the page's last row */
	int columns;
	MemoryContext context; /* of last_key */
} Spool;

static void
flush(Spool *spool)
{
	int length = spool->buffer.len;

	if (length > 0 &&
	    FileWrite(spool->file, spool->buffer.data, length, (off_t) spool->size, PG_WAIT_EXTENSION) != length)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not write to a temporary file: %m")));
	spool->size += (uint64) length;
	resetStringInfo(&spool->buffer);
}

/* A number as JSON writes one: Infinity and NaN are none. */
static bool
is_number(const char *text)
{
	return IsValidJsonNumber(text, (int) strlen(text));
}

/* Structs, lists and maps come as JSON text, once auto_to_json is set. */
static bool
is_json(const char *text, int length)
{
	JsonLexContext *lex;
	bool valid;

	if (text[0] != '{' && text[0] != '[')
		return false;
	lex = makeJsonLexContextCstringLen(unconstify(char *, text), length, PG_UTF8, false);
	valid = pg_parse_json(lex, &nullSemAction) == JSON_SUCCESS;
	pfree(lex);
	return valid;
}

/* A line of the file ends with its row. */
static void
put_json(StringInfo buffer, const char *text)
{
	for (; *text != '\0'; text++)
		appendStringInfoChar(buffer, *text == '\n' || *text == '\r' ? ' ' : *text);
}

static void
put_value(StringInfo buffer, Oid type, const char *text, int length)
{
	switch (type)
	{
		case BOOLOID:
			appendStringInfoString(buffer, text[0] == 't' ? "true" : "false");
			return;
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			if (is_number(text))
			{
				appendStringInfoString(buffer, text);
				return;
			}
			break;
		default:
			if (is_json(text, length))
			{
				put_json(buffer, text);
				return;
			}
			break;
	}
	escape_json(buffer, text);
}

static void
take_columns(Spool *spool, const PGresult *result)
{
	spool->columns = PQnfields(result);
	for (int i = 0; i < spool->columns; i++)
	{
		for (int j = 0; j < i; j++)
		{
			if (strcmp(PQfname(result, i), PQfname(result, j)) == 0)
				ereport(ERROR, (errcode(ERRCODE_DUPLICATE_COLUMN),
				                errmsg("the query has two columns named \"%s\"", PQfname(result, i)),
				                errhint("Give each a name of its own with AS.")));
		}
	}
	if (spool->key == NULL)
		return;
	for (spool->key_column = 0; spool->key_column < spool->columns; spool->key_column++)
	{
		if (strcmp(PQfname(result, spool->key_column), spool->key) == 0)
		{
			spool->key_type = PQftype(result, spool->key_column);
			return;
		}
	}
	ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
	                errmsg("the query has no column \"%s\" to page by", spool->key)));
}

/* Rows come in order of the key, and each has another one: else pages would lose some. */
static void
note_key(Spool *spool, const PGresult *result)
{
	const char *key = PQgetvalue(result, 0, spool->key_column);

	if (PQgetisnull(result, 0, spool->key_column))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
		                errmsg("column \"%s\" to page by has nulls", spool->key)));
	if (spool->last_key != NULL && strcmp(spool->last_key, key) == 0)
		ereport(ERROR, (errcode(ERRCODE_UNIQUE_VIOLATION),
		                errmsg("column \"%s\" to page by has a value twice", spool->key),
		                errhint("Page by a column that is unique, or GROUP BY it.")));
	if (spool->last_key != NULL)
		pfree(spool->last_key);
	spool->last_key = MemoryContextStrdup(spool->context, key);
}

static void
take_row(void *ctx, const PGresult *result, int64 row)
{
	Spool *spool = ctx;
	bool first = true;

	if (row < 0)
	{
		if (spool->columns == 0)
			take_columns(spool, result);
		return;
	}
	if (spool->key != NULL)
		note_key(spool, result);
	appendStringInfoChar(&spool->buffer, '{');
	for (int i = 0; i < PQnfields(result); i++)
	{
		if (PQgetisnull(result, 0, i))
			continue;
		if (!first)
			appendStringInfoChar(&spool->buffer, ',');
		first = false;
		escape_json(&spool->buffer, PQfname(result, i));
		appendStringInfoChar(&spool->buffer, ':');
		put_value(&spool->buffer, PQftype(result, i), PQgetvalue(result, 0, i), PQgetlength(result, 0, i));
	}
	appendStringInfoString(&spool->buffer, "}\n");
	spool->rows++;
	if (spool->buffer.len >= FLUSH_BYTES)
	{
		flush(spool);
		pe_progress_publish("reading rows", (uint64) spool->rows, 0);
		CHECK_FOR_INTERRUPTS();
	}
}

/* LIMIT 0 at the end lifts the cap: it means "no limit" there. */
static bool
cap_is_lifted(const char *query)
{
	const char *end = query + strlen(query);

	while (end > query && (isspace((unsigned char) end[-1]) || end[-1] == ';'))
		end--;
	if (end == query || end[-1] != '0')
		return false;
	for (end--; end > query && isspace((unsigned char) end[-1]);)
		end--;
	return end - query >= 5 && pg_strncasecmp(end - 5, "limit", 5) == 0;
}

static void
read_whole(PGconn *conn, Spool *spool, const char *query)
{
	int64 rows = query_client_rows(conn, query, take_row, spool);

	if (rows == ROW_CAP && !cap_is_lifted(query))
		ereport(
		    ERROR,
		    (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
		     errmsg("the query gave exactly %d rows, where Query Service cuts results off", ROW_CAP),
		     errdetail("Nothing was loaded, since rows may be missing."),
		     errhint(
		         "End the query with LIMIT 0, which lifts the limit there, or page it by a unique column: "
		         "key => '...'.")));
}

/* A value of the key as a literal that PostgreSQL and Spark read alike. */
static char *
key_literal(const Spool *spool)
{
	switch (spool->key_type)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			if (is_number(spool->last_key))
				return spool->last_key;
			break;
		default:
			break;
	}
	if (strpbrk(spool->last_key, "'\\") != NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("column \"%s\" to page by has values with quotes or backslashes", spool->key),
		                errhint("Page by another column.")));
	return psprintf("'%s'", spool->last_key);
}

static void
read_pages(PGconn *conn, Spool *spool, const char *query)
{
	char *inner = pstrdup(query);
	int64 rows;

	for (size_t length = strlen(inner);
	     length > 0 && (isspace((unsigned char) inner[length - 1]) || inner[length - 1] == ';'); length--)
		inner[length - 1] = '\0';
	if (spool->key[0] == '\0' ||
	    spool->key[strspn(spool->key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")] !=
	        '\0')
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("key must be the plain name of a column of the query")));
	do
	{
		char *where =
		    spool->last_key != NULL ? psprintf(" WHERE %s > %s", spool->key, key_literal(spool)) : "";

		rows = query_client_rows(
		    conn,
		    psprintf("SELECT * FROM (%s) AS page%s ORDER BY %s LIMIT %d", inner, where, spool->key, ROW_CAP),
		    take_row, spool);
		if (rows > ROW_CAP)
			ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			                errmsg("Query Service gave more rows than were asked for")));
	} while (rows == ROW_CAP);
}

static char *
text_argument(FunctionCallInfo fcinfo, int i, const char *name)
{
	if (PG_ARGISNULL(i))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be NULL", name)));
	return text_to_cstring(PG_GETARG_TEXT_PP(i));
}

/* Everything the query gives, in a temporary file of the transaction's. */
static LoadFile *
spool_query(const char *server, const char *query, const char *key)
{
	PeConnection *connection = pe_connection_open(server, GetUserId(), CurrentMemoryContext);
	Spool spool = {.file = OpenTemporaryFile(false), .key = key, .context = CurrentMemoryContext};
	PGconn *conn = query_client_connect(connection);
	LoadFile *file;

	initStringInfo(&spool.buffer);
	(void) query_client_try(conn, "SET auto_to_json=true");
	if (key == NULL)
		read_whole(conn, &spool, query);
	else
		read_pages(conn, &spool, query);
	flush(&spool);
	pe_connection_close(connection);
	file = load_temporary_file("query", spool.file, spool.size);
	file->borrowed = false;
	file->format = LOAD_NDJSON;
	return file;
}

PG_FUNCTION_INFO_V1(pe_load_query);

/*
 * load_query(server, query, into_table, columns, snapshot_date, key)
 *		-> (snapshot_date, rows, files, bytes)
 */
Datum
pe_load_query(PG_FUNCTION_ARGS)
{
	char *server = text_argument(fcinfo, 0, "server");
	char *query = text_argument(fcinfo, 1, "query");
	char *into_table = text_argument(fcinfo, 2, "into_table");
	char *key = PG_ARGISNULL(5) ? NULL : text_argument(fcinfo, 5, "key");
	LoadOrigin origin = {.function = "load_query", .source = "Query Service", .server = server};
	LoadFile *file;
	DateADT date;

	load_check_session("load_query()");
	if (PG_ARGISNULL(4))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("snapshot_date must not be NULL")));
	date = PG_GETARG_DATEADT(4);
	load_check_date(date);
	SPI_connect();
	/* What is wrong with the table is said before anything is asked for. */
	pe_progress_begin(PE_PROGRESS_LOAD, load_target_open(into_table, date)->name);
	if (!PG_ARGISNULL(3))
		(void) load_parse_mapping(PG_GETARG_DATUM(3));
	file = spool_query(server, query, key);
	load_files(list_make1(file), into_table, PG_ARGISNULL(3) ? (Datum) 0 : PG_GETARG_DATUM(3),
	           !PG_ARGISNULL(3), date, false, &origin);
	SPI_finish();
	return load_result(fcinfo, date, &origin);
}
