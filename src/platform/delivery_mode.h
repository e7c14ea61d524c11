/*
 * delivery_mode.h
 *		Streaming or batch: the one rule by which changed profiles take the one way or
 *		the other, and how long streaming them would take.
 *
 * Pure arithmetic, shared by whoever sends and by whoever only says what would be sent.
 */
#ifndef PE_DELIVERY_MODE_H
#define PE_DELIVERY_MODE_H

#include "platform/throttle.h"

/* The automatic choice is batch above so many keys, or when streaming would take longer. */
#define PE_AUTO_BATCH_KEYS    INT64_C(2000000)
#define PE_AUTO_BATCH_SECONDS 3600.0

/* The option "mode" of an enrichment, and what became of it. */
typedef enum pe_delivery_mode
{
	PE_MODE_STREAMING,
	PE_MODE_BATCH,
	PE_MODE_AUTO
} pe_delivery_mode;

/* "streaming", "batch" or "auto": static. */
extern const char *pe_delivery_mode_name(pe_delivery_mode mode);

/* Fills mode from its name; false when there is no such mode. */
extern bool pe_delivery_mode_parse(const char *name, size_t length, pe_delivery_mode *mode);

/*
 * Seconds that streaming keys takes at a server's rates, in that many requests (0: in full
 * chunks). Zeros in limits mean the defaults, as in throttle.h. Nothing is added for
 * latency, pauses or the gap between two values of one profile.
 */
extern double pe_streaming_seconds(int64_t keys, int64_t requests, const pe_throttle_limits *limits);

/* PE_MODE_STREAMING or PE_MODE_BATCH: what wanted asks for, else batch above either of the two limits. */
extern pe_delivery_mode pe_delivery_mode_within(pe_delivery_mode wanted, int64_t keys, int64_t most_keys,
                                                double seconds, double most_seconds);

/*
 * The same with the usual limits: what wanted asks for, and for PE_MODE_AUTO by how
 * many keys there are and how long streaming them would take. *why (may be NULL)
 * becomes a static text that says what decided.
 */
extern pe_delivery_mode pe_delivery_mode_choose(pe_delivery_mode wanted, int64_t keys, double seconds,
                                                const char **why);

#endif /* PE_DELIVERY_MODE_H */
