/*
 * expression.h
 *		A boolean SQL expression over the columns of a source, given as text.
 */
#ifndef PE_EXPRESSION_H
#define PE_EXPRESSION_H

#include "postgres.h"

#include "nodes/bitmapset.h"

#include "pg/source.h"

typedef struct PeExpression
{
	const char *text;
	const char *role;       /* what it is to the user, for messages: option "consent" */
	const char *hint;       /* what may be given instead */
	const char *comparison; /* an example of one that is boolean */
} PeExpression;

/*
 * Raises unless it is one boolean expression over a row of source, as the current user
 * sees it; nothing is run. Returns the source's columns that it names.
 */
extern Bitmapset *pe_expression_check(const PeSource *source, const PeExpression *expression);

#endif /* PE_EXPRESSION_H */
