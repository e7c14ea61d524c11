/*
 * same_value.h
 *		Is what a snapshot holds the value that was sent?
 */
#ifndef PE_SAME_VALUE_H
#define PE_SAME_VALUE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/jsonb.h"

/*
 * How closely numbers are compared, beyond what four bytes of float lose: they may
 * differ by absolute. Whole numbers are the same only when they are equal, unless
 * inexact says that the column cannot hold them all.
 */
typedef struct PeTolerance
{
	double absolute;
	bool inexact;
} PeTolerance;

/*
 * Compares by meaning, not by form: numbers and booleans with their texts, dates and
 * times (to the second, to the day where one of them is a date) in any ISO form. Null,
 * an empty text, list or object is the same as nothing, which NULL stands for.
 */
extern bool pe_same_value(const JsonbValue *sent, const JsonbValue *found, const PeTolerance *tolerance);

/* Is it null, or empty? */
extern bool pe_value_is_absent(const JsonbValue *value);

/* The value of a whole jsonb. */
extern JsonbValue pe_value_of_jsonb(Jsonb *jsonb);

/* An ISO 8601 date or time; without a zone it is UTC's. False when the text is none. */
extern bool pe_parse_instant(const char *text, int length, TimestampTz *instant, bool *date_only);

#endif /* PE_SAME_VALUE_H */
