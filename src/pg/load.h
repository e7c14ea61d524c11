/*
 * load.h
 *		What the parts of a snapshot load share: files, the fields found in them, the
 *		plan that maps fields to columns, the target table and the row writer.
 *
 * The order of a load (load.c): list the files; look at what they hold
 * (load_parquet.c, load_ndjson.c, load_csv.c fill LoadFields); make the plan
 * (load_plan.c); make a partition aside (load_target.c); read every file into it
 * (load_writer.c); publish it under the table's lock (load_publish.c). Everything
 * happens in the caller's transaction, as the caller, so a failure at any point
 * leaves nothing behind.
 */
#ifndef PE_LOAD_H
#define PE_LOAD_H

#include "postgres.h"

#include "access/attnum.h"
#include "fmgr.h"
#include "storage/fd.h"
#include "utils/date.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

#include "pe_base.h"
#include "pg/load_writer.h"
#include "snapshot/snapshot.h"

#define LOAD_DATE_COLUMN "snapshot_date"
#define LOAD_REST_COLUMN "other"
#define LOAD_MAX_COLUMNS 500        /* typed columns of automatic flattening */
#define LOAD_MAX_MAPPED  1500       /* columns of an explicit mapping: the server's limit is 1600 */
#define LOAD_MAX_FIELDS  20000      /* fields remembered of NDJSON and CSV: the rest stays in "other" */
#define LOAD_MAX_LINE    (16 << 20) /* bytes of one NDJSON line: parsing it cannot be interrupted */
#define LOAD_MAX_FILES   100000
#define LOAD_NAMESPACES  16   /* namespaces of identityMap that become columns by themselves */
#define LOAD_SAMPLE_ROWS 4096 /* rows of a Parquet file searched for namespaces */

typedef enum LoadFormat
{
	LOAD_AUTO,
	LOAD_PARQUET,
	LOAD_NDJSON,
	LOAD_CSV
} LoadFormat;

/* ---- load_files.c: where the bytes are ---- */

/* How CSV files are written; NULL: as is usual. */
typedef struct LoadCsv
{
	const char *delimiter; /* one byte, as quote and escape */
	const char *quote;
	const char *escape;
	const char *null;     /* what stands for no value; by default nothing */
	const char *empty;    /* what stands for an empty text, beside "" */
	const char *encoding; /* as iconv calls it; UTF-8, or UTF-16 with a byte order mark */
} LoadCsv;

/* One file: a path on the server, or a temporary file with a downloaded part. */
typedef struct LoadFile
{
	const char *name;  /* for messages: the path, or the part's name */
	const char *base;  /* behind its last slash: what the pure readers call it, who cut long names */
	const char *path;  /* NULL for a temporary file */
	File temporary;    /* -1 when it is a path, or not expanded */
	bool borrowed;     /* the temporary file is another's to close */
	uint64 size;       /* bytes as stored */
	LoadFormat format; /* never AUTO once listed */
	bool gzip;
	const LoadCsv *csv; /* NULL: as is usual */
	int fd;             /* while open; -1 */
} LoadFile;

extern LoadFormat load_format_by_name(const char *format);
/* The files of a path or glob, in name order. Raises when there is none, or one is not a plain file. */
extern List *load_list_files(const char *path, LoadFormat format);
/*
 * A file for a downloaded part: temporary is written and of this size, and the caller's to close;
 * looks for its format.
 */
extern LoadFile *load_temporary_file(const char *name, File temporary, uint64 size);
/* The format that was asked for, where it is not AUTO, instead of what the files look like. */
extern void load_set_format(List *files, LoadFormat format);
/* From a JSON object (load_csv_options.c); raises for what it does not know. Files that have them are CSV. */
extern LoadCsv *load_csv_options(Datum json, LoadFormat *format);
extern void load_set_csv(List *files, const LoadCsv *csv);
/* Open and close for load_file_read; closed by itself at the end of the (sub)transaction. */
extern void load_file_open(LoadFile *file);
extern void load_file_close(LoadFile *file);
/* Up to length bytes at offset; -1 with errno on failure. Never raises. */
extern ssize_t load_file_read(LoadFile *file, uint64 offset, void *buffer, size_t length);

/* Puts the bytes of a compressed file into a temporary file: Parquet needs random access. */
extern void load_file_expand(LoadFile *file);

/* The bytes of a text file from the start: decompressed, in UTF-8, without a byte order mark. */
typedef struct LoadStream LoadStream;
extern LoadStream *load_stream_open(LoadFile *file);
/* Up to capacity bytes, 0 at the end. Raises, and answers interrupts. */
extern size_t load_stream_read(LoadStream *stream, void *buffer, size_t capacity);
extern void load_stream_close(LoadStream *stream);

/* ---- fields: what the files hold ---- */

/* What values of a JSON or CSV field were seen as; the type is derived from the set. */
#define LOAD_SEEN_BOOL      0x001
#define LOAD_SEEN_INT       0x002 /* fits bigint */
#define LOAD_SEEN_NUMERIC   0x004 /* whole, beyond bigint */
#define LOAD_SEEN_DOUBLE    0x008
#define LOAD_SEEN_DATE      0x010
#define LOAD_SEEN_TIMESTAMP 0x020
#define LOAD_SEEN_TEXT      0x040
#define LOAD_SEEN_CONTAINER 0x080 /* object where others have a scalar, or a list: stays in "other" */

typedef struct LoadField
{
	const char *path;    /* hash key: an XDM path */
	const char *name;    /* column name to derive from instead of the path, or NULL */
	pe_column_type type; /* AUTO: to be derived from seen */
	int seen;
	int64 filled;     /* rows with a value, of all files */
	int order;        /* first seen as the how-manieth */
	const char *file; /* where it was first seen */
} LoadField;

typedef struct LoadFields
{
	HTAB *by_path;
	int count;
	int64 rows; /* of all files; 0 when they were not looked at */
	MemoryContext context;
} LoadFields;

extern LoadFields *load_fields_create(void);
/* The field of that path, made if need be; NULL when there are too many. path is copied. */
extern LoadField *load_fields_get(LoadFields *fields, const char *path, const char *file);
/* Merge a typed sighting (Parquet) into a field: raises when the types cannot live in one column. */
extern void load_field_merge(LoadField *field, pe_column_type type, const char *file);
/* The type of a field, from what was merged or seen. */
extern pe_column_type load_field_type(const LoadField *field);
/* What a piece of text looks like: one of the LOAD_SEEN flags. numbers: "12" counts as one. */
extern int load_classify_text(const char *text, size_t length, bool numbers);
/* Remember that identityMap has this namespace. */
extern void load_fields_namespace(LoadFields *fields, const char *name, size_t length, const char *file);

/* ---- load_plan.c: which column takes what ---- */

/* The user's mapping: column = path, or path with a type. */
typedef struct LoadMapped
{
	const char *column;
	const char *path;
	Oid type; /* InvalidOid: from the field */
	int32 typmod;
} LoadMapped;

typedef struct LoadMapping
{
	int count;
	LoadMapped *items;
} LoadMapping;

/* A column of the target, and how it is filled. */
typedef struct LoadColumn
{
	const char *name;
	const char *path; /* XDM path; NULL for the rest, and for a column without source */
	bool rest;        /* the "other" column */
	bool existing;    /* in the table already */
	Oid type;
	int32 typmod;
	Oid collation;
	AttrNumber attnum;     /* in the partition; set when that is made */
	pe_column_type source; /* the form in which a reader should deliver it */
	const char *type_name; /* for messages */
	FmgrInfo input;        /* the type's input function */
	Oid input_param;
} LoadColumn;

typedef struct LoadPlan
{
	int count;
	LoadColumn *columns; /* those with a source; "other" last among the new ones */
	int rest;            /* index of "other", or -1 */
	int64 rows;          /* to expect; 0: unknown */
} LoadPlan;

/* An existing column of the target table. */
typedef struct LoadExisting
{
	const char *name;
	const char *path; /* from the column's comment; NULL */
	Oid type;
	int32 typmod;
	Oid collation;
	bool generated;
} LoadExisting;

extern LoadMapping *load_parse_mapping(Datum columns);
/* A mapping used again: the types of columns that are there may have changed since, and are the table's. */
extern void load_mapping_follow(LoadMapping *mapping, const LoadExisting *existing, int nexisting);
extern LoadPlan *load_make_plan(const LoadExisting *existing, int nexisting, const LoadMapping *mapping,
                                LoadFields *fields);
/* One more column for the plan, of a type whose values may be missing everywhere. */
extern void load_plan_add(LoadPlan *plan, const LoadExisting *existing, int nexisting, const char *name,
                          const char *path, Oid type);
/* The SQL type for a delivered one. */
extern Oid load_type_oid(pe_column_type type);

/* ---- load_convert.c: values into datums ---- */

/* For a line that is none of NDJSON: the beginning of an object over several lines, or a list. */
#define LOAD_NDJSON_HINT                                                                                     \
	"NDJSON has one JSON object a line, one for each profile; \"jq -c\" puts objects on lines of their own."

/* Where the load is, for messages; row 0 = not at a row. */
typedef struct LoadPosition
{
	const char *label; /* the table */
	const char *file;
	const char *unit; /* "row" or "line" */
	int64 row;
	const LoadColumn *column; /* being converted, or NULL */
	bool reading;             /* an error now is the file's */
	bool named;               /* the error being raised names its place */
} LoadPosition;

/* The one load of this backend that is under way. */
extern LoadPosition load_position;

/*
 * In a PG_CATCH: an error of reading or converting is raised again as one that names
 * file, row and column and shows no value; any other as it is.
 */
extern void load_rethrow(MemoryContext context, const char *label) pg_attribute_noreturn();
/* The same for a violated constraint of the table called label, whose message would show the row. */
extern void load_rethrow_constraint(MemoryContext context, const char *label) pg_attribute_noreturn();
/* Raise an error of the pure reader likewise. plan gives columns' names for paths; may be NULL. */
extern void load_raise(const pe_error *err, const LoadFile *file, const LoadPlan *plan)
    pg_attribute_noreturn();
/* Does err->column, which may be cut, stand for this path? */
extern bool load_error_is_about(const pe_error *err, const char *path);
/* Text in the database's encoding into the column's type. text is terminated. */
extern Datum load_text_datum(LoadColumn *column, char *text, size_t length);
/* The value does not fit the column: raise, naming everything but the value. */
extern void load_mismatch(const LoadColumn *column, int sqlstate) pg_attribute_noreturn();

/* ---- the formats ---- */

typedef struct LoadReader
{
	/* Add the file's fields. paths: only these are wanted (explicit mapping), or NULL for all. */
	void (*discover)(LoadFile *file, LoadFields *fields, const LoadMapping *mapping);
	/* Read every row into the writer. */
	void (*read)(LoadFile *file, LoadPlan *plan, LoadWriter *writer);
} LoadReader;

extern const LoadReader load_parquet_reader;
extern const LoadReader load_ndjson_reader;
extern const LoadReader load_csv_reader;
extern const LoadReader *load_reader_for(LoadFormat format);

/* ---- load_target.c, load_publish.c: the table ---- */

typedef struct LoadTarget
{
	char *schema;
	char *name;
	char *label; /* schema.name, quoted, for messages and SQL */
	Oid namespaceid;
	Oid relid; /* InvalidOid when it is to be made */
	DateADT date;
	LoadExisting *existing; /* without snapshot_date */
	int nexisting;
	List *constraints; /* of char *: CHECK constraints of the table, as SQL */
	bool checked;      /* rows must be checked: it has CHECK or NOT NULL constraints of its own */
	List *settings;    /* of char *: ALTER TABLE actions: storage, compression, statistics */
	char *definitions; /* existing columns as SQL column definitions */
	char *tablespace;  /* " TABLESPACE x" or "" */
	Oid owner;
	char *aside; /* name of the partition while it is built */
	Oid aside_relid;
} LoadTarget;

extern LoadTarget *load_target_open(const char *into_table, DateADT date);
/* A table that rows are inserted into: any kind of one, or none yet. The caller must own it. */
extern LoadTarget *load_target_open_plain(const char *into_table);
/* Make the partition aside with the plan's columns; fills their attnum. */
extern void load_target_create_aside(LoadTarget *target, LoadPlan *plan);
/* The parent's indexes, on the loaded partition. */
extern void load_target_build_indexes(LoadTarget *target);
/* profiles_p20261123, at most 63 bytes */
extern char *load_partition_name(const LoadTarget *target);
/* The XDM path that a column of a loaded table holds, from its comment; NULL: none. */
extern const char *load_path_of_column(Oid relid, AttrNumber attnum);
/* "schema"."name" */
extern char *load_qualify(const char *schema, const char *name);
extern char *load_date_text(DateADT date);
/* name type COLLATE ..., every part qualified. */
extern char *load_column_definition(const char *name, Oid type, int32 typmod, Oid collation);
/* The column's comment that says where it came from. */
extern void load_comment_path(const char *label, const LoadColumn *column);
/* Run one utility statement as the caller; SPI is connected. */
extern void load_execute(const char *sql);
/* Statistics for plans made at once, before autovacuum comes by: a sample, whose size is bounded. */
extern void load_analyze(const char *label);

/* Where a load came from, for the bookkeeping. */
typedef struct LoadOrigin
{
	const char *function; /* whose load it is, for the audit log */
	const char *source;   /* the path, or the data set's name */
	const char *server;   /* NULL for files */
	const char *dataset;
	const char *batch;
	Datum mapping;           /* jsonb, or 0 */
	TimestampTz exported_at; /* when the platform made it; 0: not known */
	int64 rows;
	int64 files;
	int64 bytes;
} LoadOrigin;

/*
 * Only one load or unload of a table at a time goes on beyond this, to the end of its transaction; also
 * while the table does not exist yet.
 */
extern void load_lock_name(const LoadTarget *target);
/* Keeps all others from the table and our views of it, also readers; raises when these do not make way. */
extern void load_lock_exclusive(LoadTarget *target);
/* The same without waiting; false: somebody is there. */
extern bool load_try_lock_exclusive(LoadTarget *target);
/* Attach the partition, replacing the date's old one; move the view on; write it down. */
extern void load_publish(LoadTarget *target, const LoadPlan *plan, const LoadOrigin *origin);

/* Detach and drop the partition of target->date, and move the view back. */
extern void load_unpublish(LoadTarget *target);
/* <table>_latest, when it is ours; InvalidOid otherwise. */
extern Oid load_latest_view(LoadTarget *target);
/* Makes it, over the newest day; false when there is no day. SPI must be connected. */
extern bool load_write_latest(LoadTarget *target);
/* The columns argument of the last load into parent, allocated outside SPI; false when it had none. */
extern bool load_previous_mapping(Oid parent, Datum *mapping);

/* ---- load.c ---- */

/*
 * Everything between the list of files and the published partition; fills rows, files and bytes of origin.
 * incremental: the files have only what has changed since the day before (load_incremental.h).
 */
extern void load_files(List *files, const char *into_table, Datum columns, bool has_columns, DateADT date,
                       bool incremental, LoadOrigin *origin);
/* What of the files goes into which column; label names the table in errors. */
extern LoadPlan *load_plan_files(const char *label, List *files, const LoadExisting *existing, int nexisting,
                                 const LoadMapping *mapping);
/* Every row of the files, planned, into the writer. Errors name file, row and column, never a value. */
extern void load_write_files(const char *label, List *files, LoadPlan *plan, LoadWriter *writer);
/*
 * Texts of files mean the same whatever the session's settings: UTC unless they say so, ISO first.
 * Undone with AtEOXact_GUC(true, level).
 */
extern int load_fixed_settings(void);
/* The result row of the load functions. */
extern Datum load_result(FunctionCallInfo fcinfo, DateADT date, const LoadOrigin *origin);
/* Checks that hold for every load: encoding, read-only transactions. */
extern void load_check_session(const char *function);
/* Raises unless the date can be a partition's. */
extern void load_check_date(DateADT date);

#endif /* PE_LOAD_H */
