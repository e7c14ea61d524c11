/*
 * consent.h
 *		Who may be sent or learnt from: a boolean SQL expression over the columns of a
 *		source, of which neither false nor NULL is consent.
 */
#ifndef PE_CONSENT_H
#define PE_CONSENT_H

#include "postgres.h"

#include "nodes/bitmapset.h"

#include "pg/source.h"

/* The reason that rows without consent are skipped for; told apart by its address. */
extern const char pe_no_consent[];

/*
 * Raises unless expression is one boolean expression over a row of source, as the
 * current user sees it; nothing is run. Returns the source's columns that it names.
 */
extern Bitmapset *pe_consent_check(const PeSource *source, const char *expression);

/* The source with one more column, its last: true where there is consent. The expression was checked. */
extern PeSource *pe_consent_column(const PeSource *source, const char *expression);

/* The source's rows that have consent. The expression was checked. */
extern PeSource *pe_consent_filter(const PeSource *source, const char *expression);

/* How many rows of the source, read as the current user, have none. */
extern int64 pe_consent_count_without(const PeSource *source, const char *expression);

#endif /* PE_CONSENT_H */
