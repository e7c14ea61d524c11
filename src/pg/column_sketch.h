/*
 * column_sketch.h
 *		What the columns of a source hold, learnt in one pass and in bounded memory.
 */
#ifndef PE_COLUMN_SKETCH_H
#define PE_COLUMN_SKETCH_H

#include "postgres.h"

#include "fmgr.h"
#include "utils/date.h"

#include "model/sketch/sketch.h"
#include "pg/features.h"
#include "pg/source.h"

/* Values of text are shown, and told apart in lists, up to here. */
#define PE_SHOWN_BYTES 100

typedef enum PeMeasuredAs
{
	PE_NOT_MEASURED,
	PE_AS_NUMBER, /* as float8 */
	PE_AS_TIME    /* date and timestamps, as days from the beginning of the day of the snapshot */
} PeMeasuredAs;

typedef struct PeColumnSketch
{
	const char *name;
	Oid type;
	Oid base; /* under domains */
	int32 typmod;
	Oid collation;
	int16 typlen;
	bool typbyval;
	PeMeasuredAs measured;
	PeInput input; /* where measured */
	bool shown;    /* single values of the type mean something to a reader: no documents, lists, bytes */
	bool ranged;   /* has least and largest values */
	FmgrInfo output;
	FmgrInfo hash;    /* fn_oid InvalidOid: the type has none, and no tally */
	FmgrInfo compare; /* where ranged */

	int64 rows;
	int64 nulls;
	pe_value_tally *tally;   /* NULL when not hashable */
	pe_quantiles *quantiles; /* NULL when not measured; settled; without NaN and infinite values */
	Datum least;
	Datum largest;
	bool has_range; /* there was a value */
} PeColumnSketch;

typedef struct PeSketch
{
	DateADT day;
	int64 rows;
	int ncolumns;
	PeColumnSketch *columns;
	MemoryContext context; /* of all of it, and of its values */
} PeSketch;

/* Reads the source, all its columns, as the caller. day is what times are measured from. */
extern PeSketch *pe_sketch_source(const PeSource *source, DateADT day);

/* The column of that name, or NULL. */
extern const PeColumnSketch *pe_sketch_column(const PeSketch *sketch, const char *name);

/* How many different values; -1 when not known. */
extern int64 pe_sketch_distinct(const PeColumnSketch *column, bool *exact);

/* A value's text, cut short, in the database's encoding; of a kept value NULL when it was too long to keep.
 */
extern char *pe_sketch_text(PeColumnSketch *column, Datum value);
extern char *pe_sketch_kept_text(PeColumnSketch *column, const pe_tallied *value);

#endif /* PE_COLUMN_SKETCH_H */
