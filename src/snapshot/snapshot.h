/*
 * snapshot.h
 *		How an exported Parquet file is read, as typed columns.
 *
 * The order of calls: pe_snapshot_open, look at the fields, pe_snapshot_select,
 * pe_snapshot_next until it gives no rows, pe_snapshot_close. Only the column
 * chunks of the leaves behind the selected columns are read.
 *
 * A file is outside input: every size, count and depth it states is bounded
 * before it is believed, and memory follows the bytes really there, not the bytes
 * promised. The bounds are at the end of this header. A file object is used by
 * one thread at a time; any number may be open.
 */
#ifndef PE_SNAPSHOT_H
#define PE_SNAPSHOT_H

#include "pe_base.h"

/*
 * Where the bytes come from. read delivers all length bytes at offset (never
 * beyond size) or returns false. name is for messages only. The structure is
 * copied; what ctx and name point to stays the caller's and outlives the file.
 */
typedef struct pe_snapshot_source
{
	bool (*read)(void *ctx, uint64_t offset, void *buffer, size_t length);
	uint64_t size;
	const char *name;
	void *ctx;
} pe_snapshot_source;

/*
 * What a column can be delivered as. The arrays of pe_snapshot_vector:
 *
 *	BOOL				bools
 *	INT32				int32s
 *	INT64				int64s
 *	DOUBLE				doubles
 *	DATE				int32s: days since 1970-01-01
 *	TIMESTAMP			int64s: microseconds since 1970-01-01 00:00:00 UTC
 *	TEXT, NUMERIC, JSON	slices of valid UTF-8 without NUL bytes; NUMERIC is decimal text
 *						as numeric's input function reads it
 *	BYTES				slices of any bytes
 *
 * Dates and timestamps are inside PostgreSQL's ranges. Timestamps that the file
 * declares as local time are delivered as if they were UTC.
 */
typedef enum pe_column_type
{
	PE_COLUMN_AUTO = 0, /* in a request: what the stored type suggests */
	PE_COLUMN_BOOL,
	PE_COLUMN_INT32,
	PE_COLUMN_INT64,
	PE_COLUMN_DOUBLE,
	PE_COLUMN_DATE,
	PE_COLUMN_TIMESTAMP,
	PE_COLUMN_TEXT,
	PE_COLUMN_NUMERIC,
	PE_COLUMN_BYTES,
	PE_COLUMN_JSON
} pe_column_type;

/* "boolean", "integer", "bigint", ...: SQL's name for it, for messages and DDL. */
const char *pe_column_type_name(pe_column_type type);

typedef enum pe_field_kind
{
	PE_FIELD_SCALAR, /* one value a row, or NULL: can become a typed column */
	PE_FIELD_LIST,   /* a subtree; delivered as JSON */
	PE_FIELD_MAP     /* a subtree; delivered as JSON */
} pe_field_kind;

/*
 * What automatic flattening chooses from: every leaf that lies under structs only,
 * and every outermost list or map, in file order. path is ready for
 * pe_snapshot_column.path.
 */
typedef struct pe_snapshot_field
{
	const char *path; /* XDM path, steps quoted where they need it */
	pe_field_kind kind;
	pe_column_type type; /* suggested: never AUTO */
	int64_t nulls;       /* rows without a value, from statistics; -1 unknown */
} pe_snapshot_field;

/*
 * A column to deliver. path is an XDM path (xdm_path.h) or NULL for "the rest":
 * one JSON object a row with every field that no other column takes whole.
 *
 * A path descends structs by name, maps by key, and lists without a step of their
 * own: person.name.firstName, identityMap.CRMID.id,
 * segmentMembership.ups.<segment id>.status. Where it passes a list, the smallest
 * non-null value is taken (text bytewise, numbers by size); a step of digits picks
 * the element of that number, from 0. Keys of maps called identityMap or
 * segmentMembership match without case, other keys exactly. A path that ends at a
 * struct, list or map gives the subtree as JSON text.
 *
 * In JSON, null members and structs without any member left are left out;
 * numbers are exact (NaN and infinities become null), dates are ISO 8601,
 * timestamps ISO 8601 in UTC with Z, bytes base64.
 */
typedef struct pe_snapshot_column
{
	const char *path;
	pe_column_type type; /* AUTO: the suggested one */
	bool optional;       /* a path that is not in the file is all NULL, not PE_NOT_FOUND */
} pe_snapshot_column;

typedef struct pe_slice
{
	const char *data; /* not terminated */
	size_t length;
} pe_slice;

/*
 * One column of a batch. nulls[i] says row i is NULL (its value is then zero or
 * an empty slice); null_count may be 0, and equals rows when all are.
 */
typedef struct pe_snapshot_vector
{
	pe_column_type type; /* never AUTO */
	size_t null_count;
	const bool *nulls;
	union
	{
		const bool *bools;
		const int32_t *int32s;
		const int64_t *int64s;
		const double *doubles;
		const pe_slice *slices;
	};
} pe_snapshot_vector;

/* Valid until the next call on the file. first_row counts from 0 within the file. */
typedef struct pe_snapshot_batch
{
	size_t rows;
	int64_t first_row;
	int column_count;
	const pe_snapshot_vector *columns; /* in the order of pe_snapshot_select */
} pe_snapshot_batch;

typedef struct pe_snapshot_file pe_snapshot_file;

/*
 * Read and check the footer. env is copied; its tick is called with the phase
 * "reading" and the rows done of all. On failure *file is NULL.
 */
pe_status pe_snapshot_open(const pe_env *env, const pe_snapshot_source *source, pe_snapshot_file **file,
                           pe_error *err);
void pe_snapshot_close(pe_snapshot_file *file);

int64_t pe_snapshot_rows(const pe_snapshot_file *file);
int pe_snapshot_row_groups(const pe_snapshot_file *file);
int pe_snapshot_field_count(const pe_snapshot_file *file);
const pe_snapshot_field *pe_snapshot_field_at(const pe_snapshot_file *file, int index);

/*
 * Choose the columns and go to the first row; may be called again. Paths are
 * copied. Fails with PE_NOT_FOUND (err->column is the path) and PE_TYPE_MISMATCH
 * (the stored type can never be the one asked for, found and wanted named).
 */
pe_status pe_snapshot_select(pe_snapshot_file *file, const pe_snapshot_column *columns, int count,
                             pe_error *err);

/* The type column i of the selection is delivered as: what AUTO became. */
pe_column_type pe_snapshot_column_type(const pe_snapshot_file *file, int index);

/*
 * The next rows; batch->rows is 0 after the last. A value that cannot be delivered
 * (beyond the wanted type's range, a NUL byte or invalid UTF-8 in text, a date
 * PostgreSQL cannot hold) is PE_TYPE_MISMATCH or PE_INVALID_DATA with err->column
 * and err->row (1-based). After any failure the file can only be closed, or
 * selected from again.
 */
pe_status pe_snapshot_next(pe_snapshot_file *file, pe_snapshot_batch *batch, pe_error *err);

/* The bounds. */
#define PE_SNAPSHOT_MAX_DEPTH    64                  /* levels of the schema */
#define PE_SNAPSHOT_MAX_LEAVES   65536               /* columns of the file */
#define PE_SNAPSHOT_MAX_FOOTER   (256u << 20)        /* bytes; a wide file of many row groups has 50 MB */
#define PE_SNAPSHOT_MAX_PAGE     (256u << 20)        /* bytes of a page, before and after decompression */
#define PE_SNAPSHOT_MAX_ELEMENTS (16u << 20)         /* list elements of one leaf in the rows of a batch */
#define PE_SNAPSHOT_MAX_JSON     (256u << 20)        /* bytes of one row's JSON value */
#define PE_SNAPSHOT_MAX_MEMORY   (UINT64_C(2) << 30) /* bytes a file object holds, all together */
#define PE_SNAPSHOT_BATCH_ROWS   4096

#endif /* PE_SNAPSHOT_H */
