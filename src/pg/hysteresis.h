/*
 * hysteresis.h
 *		Is a changed value worth sending? By the options min_delta, buckets and max_age.
 *		And does it change a bucket?
 */
#ifndef PE_HYSTERESIS_H
#define PE_HYSTERESIS_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/jsonb.h"

#include "pg/enrichment.h"

typedef struct PeHysteresis PeHysteresis;

/* NULL when any change is worth sending. now: when the new values are dated. In the current context. */
extern PeHysteresis *pe_hysteresis_open(const PeEnrichment *e, TimestampTz now);

/*
 * Is the step from before, the newest value that was queued (at queued_at), to after so
 * small that it stays unsent? Never when an attribute without a rule differs, when one
 * with a rule came or went, or when before is older than max_age. Since before stays
 * what it was until something is queued, a slow drift adds up and is sent in the end.
 */
extern bool pe_hysteresis_holds_back(const PeHysteresis *hysteresis, Jsonb *before, TimestampTz queued_at,
                                     Jsonb *after);

/*
 * Has the enrichment buckets, by the option or as an attribute of the name "bucket"; and
 * does a profile change one of them?
 */
extern bool pe_has_buckets(const PeEnrichment *e);
extern bool pe_bucket_changes(const PeEnrichment *e, Jsonb *before, Jsonb *after);

#endif /* PE_HYSTERESIS_H */
