/*
 * rows.h
 *		Rows for set-returning functions that hand over all of them at once, from the
 *		platform's UTF-8.
 */
#ifndef PE_ROWS_H
#define PE_ROWS_H

#include "postgres.h"

#include "funcapi.h"

/* A row being filled, column by column from the left. */
typedef struct PeRow
{
	ReturnSetInfo *result;
	int filled;
	Datum values[16];
	bool nulls[16];
} PeRow;

/* Makes fcinfo's call return a materialised set; row is ready for its first column. */
extern void pe_rows_begin(FunctionCallInfo fcinfo, PeRow *row);

/* The same for a function that returns a set of one scalar. */
extern void pe_rows_begin_single(FunctionCallInfo fcinfo, PeRow *row);

extern void pe_row_add(PeRow *row, Datum value);
extern void pe_row_add_null(PeRow *row);

/* text from UTF-8; NULL and "" become NULL. */
extern void pe_row_add_text(PeRow *row, const char *utf8);
extern void pe_row_add_bool(PeRow *row, bool value);
extern void pe_row_add_int64(PeRow *row, int64 value);

/* timestamptz from milliseconds since 1970; 0 becomes NULL. */
extern void pe_row_add_ms(PeRow *row, int64 ms);

/* Stores the row; it must be full. The next one begins. */
extern void pe_row_put(PeRow *row);

/* UTF-8 to the database's encoding, palloc'd. */
extern char *pe_from_utf8(const char *utf8);
/* The database's encoding to UTF-8, palloc'd when it differs. */
extern char *pe_to_utf8(const char *text);

#endif /* PE_ROWS_H */
