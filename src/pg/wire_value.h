/*
 * wire_value.h
 *		From a row of an enrichment's source to the JSON text that goes on the wire.
 */
#ifndef PE_WIRE_VALUE_H
#define PE_WIRE_VALUE_H

#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"

struct pe_xdm_field;

/* One attribute: a column of the source, its name on the platform, how it is written. */
typedef struct PeWireColumn
{
	int column;       /* index in the slot */
	const char *name; /* attribute name */
	Oid type;         /* the column's base type, domains looked through */
	Oid element;      /* array: the element's base type; else InvalidOid */
	FmgrInfo output;  /* output function of type, or of element for an array */
	int16 element_length;
	bool element_by_value;
	char element_align;
	const struct pe_xdm_field *shape; /* jsonb: what it must fit; else NULL */
} PeWireColumn;

/*
 * Prepares a column of the given SQL type. shape is the attribute's declared type as
 * text, which a jsonb value is held to. The caller has checked that the type can be sent.
 */
extern void pe_wire_column_init(PeWireColumn *wire, int column, const char *name, Oid type,
                                const char *shape);

/*
 * Appends "name":value for a non-null datum, with a comma in front when buffer does
 * not end in '{'. A value that the platform has no way to hold (NaN, infinity, an
 * empty text, an empty array or object) is left out, as an absent one is. Returns
 * NULL, or why the whole row must be skipped: a short static text that serves as a
 * counter's name.
 *
 * Numbers are written exactly (floats in their shortest round-trip form), dates as
 * YYYY-MM-DD, timestamps as RFC 3339 in UTC with microseconds when there are any;
 * a timestamp without zone is taken as UTC.
 */
extern const char *pe_wire_append(StringInfo buffer, PeWireColumn *wire, Datum value);

/*
 * In place of a hash: a retracted profile whose record waits, and one whose record was
 * accepted. Of a forgotten profile nothing is left once it was accepted.
 */
#define PE_TOMBSTONE_WAITING   INT64CONST(0)
#define PE_TOMBSTONE_ACCEPTED  INT64CONST(-1)
#define PE_TOMBSTONE_FORGOTTEN INT64CONST(-2)

/* Hash of the canonical text: what decides whether a value has changed. Never one of the above. */
extern int64 pe_wire_hash(const char *text, int length);

#endif /* PE_WIRE_VALUE_H */
