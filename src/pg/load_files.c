/*
 * load_files.c
 *		The files of a load: globbing, formats, and their bytes.
 *
 * Whether the caller may read the server's files is checked before this is called
 * (load.c). Descriptors come from fd.c, which closes them when the transaction
 * fails.
 */
#include "postgres.h"

#include <fcntl.h>
#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"
#include "utils/wait_event.h"

#include "pg/env.h"
#include "pg/load.h"
#include "pg/load_decode.h"
#include "pg/load_manifest.h"
#include "pg/report.h"
#include "snapshot/gzip.h"

#define STREAM_BUFFER (256 * 1024)

struct LoadStream
{
	LoadFile *file;
	uint64 offset;
	pe_gzip *gzip; /* NULL: plain */
	bool started;
	bool failed; /* reading failed under the decompressor; error says why */
	int error;
	LoadDecoder *decoder; /* NULL: UTF-8 */
	/* Bytes looked at for a byte order mark and not yet handed out. */
	char head[4];
	int head_length;
	int head_used;
};

LoadFormat
load_format_by_name(const char *format)
{
	if (pg_strcasecmp(format, "auto") == 0)
		return LOAD_AUTO;
	if (pg_strcasecmp(format, "parquet") == 0)
		return LOAD_PARQUET;
	if (pg_strcasecmp(format, "ndjson") == 0 || pg_strcasecmp(format, "json") == 0)
		return LOAD_NDJSON;
	if (pg_strcasecmp(format, "csv") == 0)
		return LOAD_CSV;
	ereport(ERROR,
	        (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown snapshot format \"%s\"", format),
	         errhint("Valid formats are auto, parquet, ndjson and csv.")));
}

static bool
ends_with(const char *name, size_t length, const char *ending)
{
	size_t n = strlen(ending);

	return length >= n && pg_strncasecmp(name + length - n, ending, n) == 0;
}

/* What the name says, ignoring .gz; AUTO when it says nothing. */
static LoadFormat
format_of_name(const char *name)
{
	static const struct
	{
		const char *ending;
		LoadFormat format;
	} endings[] = {{".parquet", LOAD_PARQUET}, {".parq", LOAD_PARQUET}, {".ndjson", LOAD_NDJSON},
	               {".jsonl", LOAD_NDJSON},    {".json", LOAD_NDJSON},  {".csv", LOAD_CSV}};
	size_t length = strlen(name);

	if (ends_with(name, length, ".gz"))
		length -= 3;
	for (int i = 0; i < lengthof(endings); i++)
	{
		if (ends_with(name, length, endings[i].ending))
			return endings[i].format;
	}
	return LOAD_AUTO;
}

void
load_file_open(LoadFile *file)
{
	if (file->temporary >= 0 || file->fd >= 0)
		return;
	file->fd = OpenTransientFile(file->path, O_RDONLY | PG_BINARY);
	if (file->fd < 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not open file \"%s\": %m", file->name)));
}

void
load_file_close(LoadFile *file)
{
	if (file->fd >= 0)
		(void) CloseTransientFile(file->fd);
	file->fd = -1;
}

ssize_t
load_file_read(LoadFile *file, uint64 offset, void *buffer, size_t length)
{
	ssize_t got;

	length = Min(length, 1 << 30);
	if (file->temporary >= 0)
		return FileRead(file->temporary, buffer, length, (off_t) offset, PG_WAIT_EXTENSION);
	do
		got = pread(file->fd, buffer, length, (off_t) offset);
	while (got < 0 && errno == EINTR);
	return got;
}

static int64_t
stream_feed(void *ctx, void *buffer, size_t capacity)
{
	LoadStream *stream = ctx;
	ssize_t got = load_file_read(stream->file, stream->offset, buffer, capacity);

	if (got < 0)
	{
		stream->failed = true;
		stream->error = errno;
		return -1;
	}
	stream->offset += got;
	return got;
}

static void
raise_read_failure(LoadStream *stream)
{
	errno = stream->error;
	ereport(ERROR, (errcode_for_file_access(), errmsg("could not read file \"%s\": %m", stream->file->name)));
}

LoadStream *
load_stream_open(LoadFile *file)
{
	LoadStream *stream = palloc0(sizeof(LoadStream));

	stream->file = file;
	load_file_open(file);
	if (file->gzip)
	{
		pe_env env = pe_quiet_env(CurrentMemoryContext);
		pe_error err;

		pe_check(pe_gzip_open(&env, stream_feed, stream, file->base, &stream->gzip, &err), &err);
	}
	return stream;
}

static size_t
stream_bytes(LoadStream *stream, void *buffer, size_t capacity)
{
	CHECK_FOR_INTERRUPTS();
	if (stream->gzip == NULL)
	{
		int64_t got = stream_feed(stream, buffer, capacity);

		if (got < 0)
			raise_read_failure(stream);
		return (size_t) got;
	}
	else
	{
		size_t got = 0;
		pe_error err;
		pe_status status = pe_gzip_read(stream->gzip, buffer, capacity, &got, &err);

		if (stream->failed)
			raise_read_failure(stream);
		if (status != PE_OK)
			load_raise(&err, stream->file, NULL);
		return got;
	}
}

/* The same, those first that were looked at. */
static size_t
head_and_bytes(void *ctx, void *buffer, size_t capacity)
{
	LoadStream *stream = ctx;

	if (stream->head_used < stream->head_length)
	{
		size_t left = Min((size_t) (stream->head_length - stream->head_used), capacity);

		memcpy(buffer, stream->head + stream->head_used, left);
		stream->head_used += (int) left;
		return left;
	}
	return stream_bytes(stream, buffer, capacity);
}

/* The encoding by the byte order mark, which is no data; of UTF-16 it says which one, whatever was asked for.
 */
static const char *
encoding_of_mark(LoadStream *stream, const char *asked)
{
	bool may_be_wide = asked == NULL || pg_strncasecmp(asked, "UTF-16", 6) == 0;

	if (stream->head_length == 3 && memcmp(stream->head, "\xef\xbb\xbf", 3) == 0 &&
	    (asked == NULL || pg_strcasecmp(asked, "UTF-8") == 0))
		stream->head_used = 3;
	else if (stream->head_length >= 2 && may_be_wide &&
	         (memcmp(stream->head, "\xff\xfe", 2) == 0 || memcmp(stream->head, "\xfe\xff", 2) == 0))
	{
		stream->head_used = 2;
		return stream->head[0] == '\xff' ? "UTF-16LE" : "UTF-16BE";
	}
	return asked;
}

static void
begin_text(LoadStream *stream)
{
	const char *encoding = stream->file->csv != NULL ? stream->file->csv->encoding : NULL;

	while (stream->head_length < 3)
	{
		size_t got = stream_bytes(stream, stream->head + stream->head_length, 3 - stream->head_length);

		if (got == 0)
			break;
		stream->head_length += (int) got;
	}
	encoding = encoding_of_mark(stream, encoding);
	if (encoding != NULL && pg_strcasecmp(encoding, "UTF-8") != 0)
		stream->decoder =
		    load_decode_open(encoding, stream->file->name, stream->head_used, head_and_bytes, stream);
}

size_t
load_stream_read(LoadStream *stream, void *buffer, size_t capacity)
{
	if (!stream->started)
	{
		stream->started = true;
		begin_text(stream);
	}
	if (stream->decoder != NULL)
		return load_decode_read(stream->decoder, buffer, capacity);
	return head_and_bytes(stream, buffer, capacity);
}

void
load_stream_close(LoadStream *stream)
{
	if (stream->gzip != NULL)
		pe_gzip_close(stream->gzip);
	if (stream->decoder != NULL)
		load_decode_close(stream->decoder);
	load_file_close(stream->file);
	pfree(stream);
}

void
load_file_expand(LoadFile *file)
{
	LoadStream *stream = load_stream_open(file);
	char *buffer = palloc(STREAM_BUFFER);
	File expanded = OpenTemporaryFile(false);
	uint64 size = 0;

	for (;;)
	{
		size_t got = stream_bytes(stream, buffer, STREAM_BUFFER);

		if (got == 0)
			break;
		if (FileWrite(expanded, buffer, got, (off_t) size, PG_WAIT_EXTENSION) != (int) got)
			ereport(ERROR, (errcode_for_file_access(), errmsg("could not write temporary file: %m")));
		size += got;
	}
	load_stream_close(stream);
	pfree(buffer);
	if (file->temporary >= 0 && !file->borrowed)
		FileClose(file->temporary);
	file->borrowed = false;
	file->temporary = expanded;
	file->size = size;
	file->gzip = false;
}

/* Decide format and compression: what was asked for, the name, the first bytes. */
static void
detect_format(LoadFile *file, LoadFormat asked)
{
	unsigned char head[512];
	ssize_t got;

	load_file_open(file);
	got = load_file_read(file, 0, head, sizeof(head));
	if (got < 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not read file \"%s\": %m", file->name)));
	load_file_close(file);
	file->gzip = got >= 2 && head[0] == 0x1f && head[1] == 0x8b;
	file->format = asked != LOAD_AUTO ? asked : format_of_name(file->name);
	if (file->format != LOAD_AUTO)
		return;
	if (file->gzip)
	{
		LoadStream *stream = load_stream_open(file);

		got = (ssize_t) load_stream_read(stream, head, sizeof(head));
		load_stream_close(stream);
	}
	if (got >= 4 && memcmp(head, "PAR1", 4) == 0)
		file->format = LOAD_PARQUET;
	else
	{
		ssize_t i = 0;

		while (i < got && (head[i] == ' ' || head[i] == '\t' || head[i] == '\r' || head[i] == '\n'))
			i++;
		/* NDJSON may be empty: then it has no rows, and CSV no header. */
		file->format = i == got || head[i] == '{' ? LOAD_NDJSON : LOAD_CSV;
	}
}

static LoadFile *
new_file(const char *name, const char *path, File temporary, uint64 size)
{
	LoadFile *file = palloc0(sizeof(LoadFile));

	file->name = pstrdup(name);
	file->base = strrchr(file->name, '/') != NULL ? strrchr(file->name, '/') + 1 : file->name;
	file->path = path != NULL ? pstrdup(path) : NULL;
	file->temporary = temporary;
	file->size = size;
	file->fd = -1;
	return file;
}

/*
 * A glob takes plain files only, and leaves out what writers of data sets put beside
 * their data (_SUCCESS, .crc); a path without wildcards must be a plain file.
 */
static LoadFile *
file_of_path(const char *path, bool globbed)
{
	const char *base = strrchr(path, '/') + 1;
	struct stat st;

	if (globbed && (base[0] == '_' || base[0] == '.'))
		return NULL;
	if (stat(path, &st) != 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not read file \"%s\": %m", path)));
	if (!S_ISREG(st.st_mode))
	{
		if (globbed)
			return NULL;
		ereport(
		    ERROR,
		    (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("\"%s\" is not a plain file", path),
		     S_ISDIR(st.st_mode) ? errhint("To load all files of a directory write \"%s/*\".", path) : 0));
	}
	if (globbed && st.st_size == 0)
		return NULL;
	return new_file(path, path, -1, (uint64) st.st_size);
}

/* The names that match, in the memory of the server, whatever glob() allocates. */
static char **
glob_paths(const char *path, size_t *count)
{
	glob_t matches = {0};
	char **paths = NULL;
	int result = glob(path, 0, NULL, &matches);

	PG_TRY();
	{
		if (result != 0 && result != GLOB_NOMATCH)
			ereport(ERROR, (errcode(ERRCODE_IO_ERROR), errmsg("could not list the files of \"%s\"", path)));
		*count = result == 0 ? matches.gl_pathc : 0;
		if (*count > LOAD_MAX_FILES)
			ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			                errmsg("\"%s\" matches %zu files, at most %d can be loaded at once", path, *count,
			                       LOAD_MAX_FILES)));
		paths = palloc(sizeof(char *) * Max(*count, 1));
		for (size_t i = 0; i < *count; i++)
			paths[i] = pstrdup(matches.gl_pathv[i]);
	}
	PG_FINALLY();
	{
		globfree(&matches);
	}
	PG_END_TRY();
	return paths;
}

static int
compare_paths(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

/* ---- an export's manifest among the files ---- */

static LoadFile *
find_file(List *files, const char *base)
{
	ListCell *cell;

	foreach (cell, files)
	{
		LoadFile *file = lfirst(cell);

		if (strcmp(file->base, base) == 0)
			return file;
	}
	return NULL;
}

static int64
length_of_file(void *ctx, const char *name)
{
	LoadFile *file = find_file(ctx, name);

	return file != NULL ? (int64) file->size : LOAD_FILE_MISSING;
}

static void
read_manifest(LoadFile *file, pe_manifest *manifest)
{
	pe_env env = pe_quiet_env(CurrentMemoryContext);
	pe_error err = {0};
	char *text;
	ssize_t got;

	if (file->size > LOAD_MAX_MANIFEST)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
		                errmsg("manifest \"%s\" is too large", file->name)));
	text = palloc(file->size + 1);
	load_file_open(file);
	got = load_file_read(file, 0, text, (size_t) file->size);
	if (got < 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not read file \"%s\": %m", file->name)));
	load_file_close(file);
	pe_check(pe_manifest_parse(&env, text, (size_t) got, manifest, &err), &err);
	pfree(text);
}

/* Where a glob takes in a manifest, the files that it names are what is loaded, and all of them must be
 * there. */
static List *
hold_to_manifest(List *files)
{
	LoadFile *found = NULL;
	List *named = NIL;
	pe_manifest manifest;
	ListCell *cell;

	foreach (cell, files)
	{
		LoadFile *file = lfirst(cell);

		if (!pe_manifest_name(file->base))
			continue;
		if (found != NULL)
			ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			                errmsg("\"%s\" and \"%s\" are manifests of two exports", found->name, file->name),
			                errhint("Load one export at a time, or leave manifests out of the glob.")));
		found = file;
	}
	if (found == NULL)
		return files;
	read_manifest(found, &manifest);
	load_check_manifest(&manifest, found->name, length_of_file, files);
	foreach (cell, files)
	{
		CHECK_FOR_INTERRUPTS();
		if (pe_manifest_find(&manifest, ((LoadFile *) lfirst(cell))->base) != NULL)
			named = lappend(named, lfirst(cell));
	}
	pe_manifest_free(&manifest);
	return named;
}

List *
load_list_files(const char *path, LoadFormat format)
{
	bool globbed = strpbrk(path, "*?[") != NULL;
	struct stat st;
	char **paths;
	size_t count;
	List *files = NIL;
	ListCell *cell;

	if (path[0] != '/')
		ereport(
		    ERROR,
		    (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("path \"%s\" is not absolute", path),
		     errhint(
		         "Name a file or a glob on the database server, such as /exports/2026-11-23/*.parquet.")));
	/* A name that has wildcard characters and exists is meant as it is. */
	if (!globbed || stat(path, &st) == 0)
		files = list_make1(file_of_path(path, false));
	else
	{
		paths = glob_paths(path, &count);
		qsort(paths, count, sizeof(char *), compare_paths);
		for (size_t i = 0; i < count; i++)
		{
			LoadFile *file = file_of_path(paths[i], true);

			CHECK_FOR_INTERRUPTS();
			if (file != NULL)
				files = lappend(files, file);
		}
		files = hold_to_manifest(files);
	}
	if (files == NIL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FILE), errmsg("no file matches \"%s\"", path),
		                errhint("Files whose names begin with _ or . and empty files are left out.")));
	foreach (cell, files)
	{
		CHECK_FOR_INTERRUPTS();
		detect_format(lfirst(cell), format);
	}
	return files;
}

LoadFile *
load_temporary_file(const char *name, File temporary, uint64 size)
{
	LoadFile *file = new_file(name, NULL, temporary, size);

	file->borrowed = true;
	detect_format(file, LOAD_AUTO);
	return file;
}

void
load_set_format(List *files, LoadFormat format)
{
	ListCell *cell;

	foreach (cell, files)
	{
		if (format != LOAD_AUTO)
			((LoadFile *) lfirst(cell))->format = format;
	}
}

const LoadReader *
load_reader_for(LoadFormat format)
{
	switch (format)
	{
		case LOAD_PARQUET:
			return &load_parquet_reader;
		case LOAD_NDJSON:
			return &load_ndjson_reader;
		case LOAD_CSV:
			return &load_csv_reader;
		case LOAD_AUTO:
			break;
	}
	elog(ERROR, "file without a format");
}
