/*
 * consent.c
 *		Who may be sent or learnt from.
 *
 * The expression is its author's SQL and runs with no more than his rights: the
 * owner's, within a security-restricted operation, for an enrichment, the caller's for a
 * training.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"

#include "pg/consent.h"
#include "pg/expression.h"

#define CONSENT_COLUMN "profenrich.consent"

const char pe_no_consent[] = "no consent";

Bitmapset *
pe_consent_check(const PeSource *source, const char *expression)
{
	PeExpression consent = {
	    .text = expression,
	    .role = "option \"consent\"",
	    .hint = "Give the name of a boolean column, or a condition on a row: \"personalize IN ('y', 'dy')\".",
	    .comparison = "\"personalize IN ('y', 'dy')\"",
	};

	return pe_expression_check(source, &consent);
}

/* A copy that reads from something else, with that many columns more. */
static PeSource *
derive(const PeSource *source, const char *from, int more)
{
	PeSource *derived = palloc(sizeof(PeSource));
	int columns = source->desc->natts;

	*derived = *source;
	derived->from = from;
	derived->desc = CreateTemplateTupleDesc(columns + more);
	for (int i = 0; i < columns; i++)
		TupleDescCopyEntry(derived->desc, i + 1, source->desc, i + 1);
	return derived;
}

PeSource *
pe_consent_column(const PeSource *source, const char *expression)
{
	PeSource *derived = derive(
	    source,
	    psprintf("(SELECT *, (%s\n) AS \"" CONSENT_COLUMN "\" FROM %s) AS source", expression, source->from),
	    1);

	TupleDescInitEntry(derived->desc, derived->desc->natts, CONSENT_COLUMN, BOOLOID, -1, 0);
	return derived;
}

PeSource *
pe_consent_filter(const PeSource *source, const char *expression)
{
	return derive(source, psprintf("(SELECT * FROM %s WHERE (%s\n)) AS source", source->from, expression), 0);
}

int64
pe_consent_count_without(const PeSource *source, const char *expression)
{
	int64 count;
	bool isnull;

	SPI_connect();
	if (SPI_execute(
	        psprintf("SELECT pg_catalog.count(*) FROM %s WHERE (%s\n) IS NOT TRUE", source->from, expression),
	        true, 0) != SPI_OK_SELECT)
		elog(ERROR, "counting rows without consent failed");
	count = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	return count;
}
