/*
 * sketch.h
 *		What a column holds, learnt in one pass and in bounded memory: how many different
 *		values and which are frequent, and how its numbers are spread.
 *
 * Small columns are counted exactly; beyond the stated bounds both become estimates
 * with a stated error. The same values in the same order always give the same result.
 */
#ifndef PE_SKETCH_H
#define PE_SKETCH_H

#include "pe_base.h"

/* ---- different and frequent values ---- */

/* Up to so many different values are all counted. */
#define PE_TALLY_VALUES 4096
/* Beyond, the number of different values has this relative standard error: 1.04 / sqrt(2^14). */
#define PE_TALLY_ERROR 0.008125

typedef struct pe_value_tally pe_value_tally;

/* A counted value. It occurred count times at least, and count + pe_value_tally_missed() times at most. */
typedef struct pe_tallied
{
	uint64_t hash;
	int64_t count;
	const void *bytes;
	uint32_t length;
} pe_tallied;

extern pe_status pe_value_tally_open(const pe_env *env, pe_value_tally **tally, pe_error *err);

/*
 * Counts a value. Equal values have equal hashes and others do not; bytes are what
 * pe_value_tally_top shows of it, copied the first time. *fresh: it is not known that the
 * value came before.
 */
extern pe_status pe_value_tally_offer(pe_value_tally *tally, uint64_t hash, const void *bytes, size_t length,
                                      bool *fresh, pe_error *err);

/* How many different values there were; *exact, or an estimate. */
extern int64_t pe_value_tally_distinct(const pe_value_tally *tally, bool *exact);
/* How many occurrences of a value may not have been counted: 0 while counts are exact. */
extern int64_t pe_value_tally_missed(const pe_value_tally *tally);
/* The count of the value with this hash, 0 when it is not among those kept. */
extern int64_t pe_value_tally_count(const pe_value_tally *tally, uint64_t hash);
/* All values kept, most frequent first and by hash among equals; how many. Until the next offer. */
extern pe_status pe_value_tally_sorted(pe_value_tally *tally, const pe_tallied **values, size_t *count,
                                       pe_error *err);
extern void pe_value_tally_free(pe_value_tally *tally);

/* ---- how numbers are spread ---- */

/* Up to so many numbers are all kept; beyond, a quantile's rank is off by less than half a percent. */
#define PE_QUANTILES_NUMBERS 2048

typedef struct pe_quantiles pe_quantiles;

extern pe_status pe_quantiles_open(const pe_env *env, pe_quantiles **q, pe_error *err);
/* A finite number. */
extern pe_status pe_quantiles_offer(pe_quantiles *q, double number, pe_error *err);
extern int64_t pe_quantiles_count(const pe_quantiles *q);
/* Of those offered, exact; 0 of none. The deviation is that of a sample: NaN of fewer than two. */
extern double pe_quantiles_mean(const pe_quantiles *q);
extern double pe_quantiles_deviation(const pe_quantiles *q);

/* Sorts what was kept: once, before the questions below, and not before another offer. */
extern pe_status pe_quantiles_settle(pe_quantiles *q, pe_error *err);
/* The number that a share in [0, 1] lies at or below, between its neighbours where all were kept. NaN of
 * none. */
extern double pe_quantiles_at(const pe_quantiles *q, double share);
/* How many of the numbers are below limit, or at most limit. */
extern double pe_quantiles_below(const pe_quantiles *q, double limit, bool or_equal);
extern void pe_quantiles_free(pe_quantiles *q);

#endif /* PE_SKETCH_H */
