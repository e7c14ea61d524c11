/*
 * score.h
 *		Scoring a whole source, block by block, into whatever takes the rows.
 */
#ifndef PE_SCORE_H
#define PE_SCORE_H

#include "postgres.h"

#include "pg/models.h"

/* The columns of score(), in order. */
typedef enum PeScoreColumn
{
	PE_SCORE_KEY,
	PE_SCORE_PREDICTION,
	PE_SCORE_SCORE,
	PE_SCORE_PERCENTILE,
	PE_SCORE_BUCKET,
	PE_SCORE_DETAIL,
	PE_SCORE_REASONS,
	PE_SCORE_MODEL_VERSION,
	PE_SCORE_SCORED_AT,
	PE_SCORE_COLUMNS
} PeScoreColumn;

typedef enum PeOnDuplicate
{
	PE_DUPLICATE_ERROR, /* "error": stop at the end and say how many */
	PE_DUPLICATE_FIRST, /* "first": the first row of a key counts */
	PE_DUPLICATE_KEEP   /* "keep": every row is scored, nothing is checked */
} PeOnDuplicate;

typedef struct PeScoreRequest
{
	const char *model;
	const char *source;
	const char *key;
	int version; /* 0: the deployed one */
	int reasons;
	PeOnDuplicate on_duplicate;
} PeScoreRequest;

/* Raises for an unknown name, a missing argument, a number out of range. */
extern PeOnDuplicate pe_on_duplicate_from_name(const char *name);
extern void pe_score_check_request(const PeScoreRequest *request);

/* Rows of a block, at most. */
#define PE_SCORE_BLOCK 1024

/* What takes the rows. Called from our own frame: may ereport. */
typedef struct PeScoreSink
{
	void (*row)(void *arg, Datum *values, bool *nulls); /* what values point to lives until block_end */
	void (*block_end)(void *arg);                       /* after at most PE_SCORE_BLOCK rows; may be NULL */
	void *arg;
} PeScoreSink;

/*
 * Reads the source as the current user, scores its rows in order and hands each to
 * sink. Raises at the end when keys are NULL or, unless allowed, repeated: the sink
 * must then undo its work (an aborted transaction does). Returns the rows handed out.
 */
extern uint64 pe_score_source(const PeScoreRequest *request, const PeScoreSink *sink);

/* ---- score_json.c --------------------------------------------------------------------- */

/*
 * [{"feature": ..., "value": ..., "contribution": ...}, ...], the largest n first, of a
 * row with these inputs, texts (of categories, as pe_bind_values gives them) and
 * contributions. Palloc'd, like all that it takes on the way.
 */
extern Datum pe_score_reasons(const PeModel *model, int n, const double *values, char **texts,
                              const double *contributions);

/* {"name": number, ...} of the model's outputs; null for those that are not finite. */
extern Datum pe_score_detail(const PeModel *model, const double *outputs);

#endif /* PE_SCORE_H */
