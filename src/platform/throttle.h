/*
 * throttle.h
 *		How fast and how wide one server may be sent to: two token buckets, an
 *		adaptive number of requests in flight, a circuit breaker and a pause.
 *
 * Pure arithmetic on a caller's monotonic clock (microseconds); no clock and no
 * randomness of its own.
 */
#ifndef PE_THROTTLE_H
#define PE_THROTTLE_H

#include "pe_base.h"

#define PE_SECOND INT64_C(1000000)
#define PE_NEVER  INT64_MAX

/* Zero means the default: 100 requests/s, 1500 messages/s, 16 in flight. */
typedef struct pe_throttle_limits
{
	double requests_per_second;
	double messages_per_second;
	int max_in_flight;
} pe_throttle_limits;

typedef struct pe_throttle
{
	pe_throttle_limits limits;
	double requests; /* in the buckets, as of refilled_at; both start empty */
	double messages;
	int64_t refilled_at;
	double window; /* requests that may be in flight */
	int in_flight;
	int64_t shrunk_at;
	double usual_latency;  /* microseconds; 0 until the first reply */
	bool answered;         /* the last request that ended was */
	int failures;          /* in a row */
	int64_t failing_since; /* when the first of them began */
	int trips;             /* failed probes since the breaker opened */
	bool open;
	int64_t open_until;
	int64_t paused_until;
} pe_throttle;

/* How a request ended, as far as the server's health goes. */
typedef enum pe_health
{
	PE_HEALTH_GOOD,     /* it answered what was asked */
	PE_HEALTH_ANSWERED, /* it answered something else, but it is there */
	PE_HEALTH_BUSY,     /* it asked for a slower pace */
	PE_HEALTH_FAILED    /* no answer, or one that says it cannot */
} pe_health;

/* Does a server answer? A few failures in between say nothing of that. */
typedef enum pe_reach
{
	PE_REACH_UNKNOWN, /* nothing was sent yet, or the last request failed */
	PE_REACH_ANSWERS,
	PE_REACH_OUTAGE /* so many requests failed in a row that it is only probed, and a probe failed, too */
} pe_reach;

extern void pe_throttle_init(pe_throttle *throttle, const pe_throttle_limits *limits, int64_t now);
extern void pe_throttle_configure(pe_throttle *throttle, const pe_throttle_limits *limits);

/*
 * When a request of that many messages may start: now or earlier for at once;
 * PE_NEVER when only the end of another request can tell.
 */
extern int64_t pe_throttle_ready(pe_throttle *throttle, int64_t now, int messages);

extern void pe_throttle_start(pe_throttle *throttle, int64_t now, int messages);
extern void pe_throttle_end(pe_throttle *throttle, int64_t now, int64_t started, pe_health health,
                            uint64_t *random);

/* *since: of an outage, when the first request began that failed. */
extern pe_reach pe_throttle_reach(const pe_throttle *throttle, int64_t *since);

/* The next probe of an open breaker need not wait. */
extern void pe_throttle_probe_now(pe_throttle *throttle, int64_t now);

/* Nothing starts for that long: what Retry-After asks for. */
extern void pe_throttle_pause(pe_throttle *throttle, int64_t now, int64_t delay);

/* Full jitter: anything up to 1 s * 2^attempt, at most 5 minutes. attempt counts from 0. */
extern int64_t pe_backoff(uint64_t *random, int attempt);

/* The next number of a small generator; random is its state and may be any seed. */
extern uint64_t pe_random(uint64_t *random);

#endif /* PE_THROTTLE_H */
