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

/* The usual limits of the automatic choice. */
#define PE_AUTO_BATCH_KEYS    2000000
#define PE_AUTO_BATCH_SECONDS 3600

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

/* Above either of them the automatic choice is batch. */
typedef struct pe_mode_limits
{
	int64_t keys;
	double seconds;
} pe_mode_limits;

/*
 * PE_MODE_STREAMING or PE_MODE_BATCH: what wanted asks for, and for PE_MODE_AUTO by how
 * many keys there are and how long streaming them would take. *why (may be NULL)
 * becomes a static text that says what decided.
 */
extern pe_delivery_mode pe_delivery_mode_choose(pe_delivery_mode wanted, const pe_mode_limits *limits,
                                                int64_t keys, double seconds, const char **why);

#endif /* PE_DELIVERY_MODE_H */
