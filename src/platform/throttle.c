/*
 * throttle.c
 *		Token buckets, adaptive concurrency, circuit breaker.
 */
#include "platform/throttle.h"

#include <math.h>

/* Half of what the platform sustains into profiles would be timid, all of it rude to other senders. */
#define DEFAULT_REQUESTS 100.0
#define DEFAULT_MESSAGES 1500.0
#define DEFAULT_FLIGHT   16

#define FIRST_WINDOW     2.0
#define BREAKER_FAILURES 5
#define MAX_BACKOFF      (300 * PE_SECOND)
/* A bucket holds one second's worth, but at least one full chunk. */
#define MIN_MESSAGE_BUCKET 500.0

uint64_t
pe_random(uint64_t *random)
{
	uint64_t z = (*random += UINT64_C(0x9E3779B97F4A7C15));

	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

int64_t
pe_backoff(uint64_t *random, int attempt)
{
	int64_t most = attempt >= 9 ? MAX_BACKOFF : PE_SECOND << (attempt < 0 ? 0 : attempt);

	if (most > MAX_BACKOFF)
		most = MAX_BACKOFF;
	return (int64_t) (pe_random(random) % (uint64_t) most) + 1;
}

static double
message_bucket(const pe_throttle *throttle)
{
	return fmax(throttle->limits.messages_per_second, MIN_MESSAGE_BUCKET);
}

static double
request_bucket(const pe_throttle *throttle)
{
	return fmax(throttle->limits.requests_per_second, 1.0);
}

void
pe_throttle_configure(pe_throttle *throttle, const pe_throttle_limits *limits)
{
	throttle->limits = *limits;
	if (throttle->limits.requests_per_second <= 0)
		throttle->limits.requests_per_second = DEFAULT_REQUESTS;
	if (throttle->limits.messages_per_second <= 0)
		throttle->limits.messages_per_second = DEFAULT_MESSAGES;
	if (throttle->limits.max_in_flight <= 0)
		throttle->limits.max_in_flight = DEFAULT_FLIGHT;
}

void
pe_throttle_init(pe_throttle *throttle, const pe_throttle_limits *limits, int64_t now)
{
	memset(throttle, 0, sizeof(*throttle));
	pe_throttle_configure(throttle, limits);
	throttle->refilled_at = now;
	throttle->window = FIRST_WINDOW;
}

static void
refill(pe_throttle *throttle, int64_t now)
{
	double seconds = (double) (now - throttle->refilled_at) / (double) PE_SECOND;

	if (seconds <= 0)
		return;
	throttle->requests =
	    fmin(throttle->requests + seconds * throttle->limits.requests_per_second, request_bucket(throttle));
	throttle->messages =
	    fmin(throttle->messages + seconds * throttle->limits.messages_per_second, message_bucket(throttle));
	throttle->refilled_at = now;
}

/* When a bucket that holds `has` and fills at `rate` holds `needs`. */
static int64_t
filled_at(int64_t now, double has, double needs, double rate)
{
	return has >= needs ? now : now + (int64_t) ceil((needs - has) / rate * (double) PE_SECOND) + 1;
}

int64_t
pe_throttle_ready(pe_throttle *throttle, int64_t now, int messages)
{
	double needs = fmin(messages, message_bucket(throttle));
	int64_t requests_at, messages_at, ready;

	if (throttle->open && throttle->in_flight > 0)
		return PE_NEVER;
	if (throttle->in_flight >= (int) throttle->window ||
	    throttle->in_flight >= throttle->limits.max_in_flight)
		return PE_NEVER;
	refill(throttle, now);
	requests_at = filled_at(now, throttle->requests, 1.0, throttle->limits.requests_per_second);
	messages_at = filled_at(now, throttle->messages, needs, throttle->limits.messages_per_second);
	ready = requests_at > messages_at ? requests_at : messages_at;
	if (throttle->open && throttle->open_until > ready)
		ready = throttle->open_until;
	if (throttle->paused_until > ready)
		ready = throttle->paused_until;
	return ready;
}

void
pe_throttle_start(pe_throttle *throttle, int64_t now, int messages)
{
	refill(throttle, now);
	throttle->requests -= 1.0;
	throttle->messages -= messages;
	throttle->in_flight++;
}

/* Shrinks at most once per round trip: one burst of refusals is one signal. */
static void
shrink(pe_throttle *throttle, int64_t now, int64_t started, double factor)
{
	if (started < throttle->shrunk_at)
		return;
	throttle->window = fmax(throttle->window * factor, 1.0);
	throttle->shrunk_at = now;
}

/* Grows by half a request for each good reply, unless replies have become slow. */
static void
adapt_to_latency(pe_throttle *throttle, int64_t now, int64_t started)
{
	double latency = (double) (now - started);

	if (throttle->usual_latency <= 0 || latency < throttle->usual_latency)
		throttle->usual_latency = latency;
	else
		throttle->usual_latency += (latency - throttle->usual_latency) * 0.02;
	if (latency > 4 * throttle->usual_latency && latency > PE_SECOND / 2)
		shrink(throttle, now, started, 0.7);
	else
		throttle->window = fmin(throttle->window + 0.5, throttle->limits.max_in_flight);
}

static void
count_failure(pe_throttle *throttle, int64_t now, int64_t started, uint64_t *random)
{
	shrink(throttle, now, started, 0.5);
	throttle->answered = false;
	if (throttle->failures++ == 0)
		throttle->failing_since = started;
	if (throttle->open)
	{
		/* Stragglers from before it opened say nothing new. */
		if (started >= throttle->open_until)
			throttle->open_until = now + pe_backoff(random, ++throttle->trips);
	}
	else if (throttle->failures >= BREAKER_FAILURES)
	{
		throttle->open = true;
		throttle->trips = 0;
		throttle->open_until = now + pe_backoff(random, 0);
	}
}

static void
answered(pe_throttle *throttle)
{
	throttle->answered = true;
	throttle->failures = 0;
	throttle->open = false;
}

void
pe_throttle_end(pe_throttle *throttle, int64_t now, int64_t started, pe_health health, uint64_t *random)
{
	throttle->in_flight--;
	switch (health)
	{
		case PE_HEALTH_GOOD:
			adapt_to_latency(throttle, now, started);
			answered(throttle);
			break;
		case PE_HEALTH_ANSWERED:
			answered(throttle);
			break;
		case PE_HEALTH_BUSY:
			shrink(throttle, now, started, 0.5);
			throttle->answered = true;
			break;
		case PE_HEALTH_FAILED:
			count_failure(throttle, now, started, random);
			break;
	}
}

pe_reach
pe_throttle_reach(const pe_throttle *throttle, int64_t *since)
{
	*since = throttle->failing_since;
	if (throttle->answered)
		return PE_REACH_ANSWERS;
	return throttle->open && throttle->trips > 0 ? PE_REACH_OUTAGE : PE_REACH_UNKNOWN;
}

void
pe_throttle_probe_now(pe_throttle *throttle, int64_t now)
{
	if (throttle->open_until > now)
		throttle->open_until = now;
}

void
pe_throttle_pause(pe_throttle *throttle, int64_t now, int64_t delay)
{
	if (throttle->paused_until < now + delay)
		throttle->paused_until = now + delay;
}
