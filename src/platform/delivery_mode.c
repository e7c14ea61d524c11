/*
 * delivery_mode.c
 *		Streaming or batch.
 */
#include "platform/delivery_mode.h"

#include <math.h>
#include <string.h>

#include "platform/sender.h"

static const char *const mode_names[] = {
    [PE_MODE_STREAMING] = "streaming",
    [PE_MODE_BATCH] = "batch",
    [PE_MODE_AUTO] = "auto",
};

const char *
pe_delivery_mode_name(pe_delivery_mode mode)
{
	return mode_names[mode];
}

bool
pe_delivery_mode_parse(const char *name, size_t length, pe_delivery_mode *mode)
{
	for (size_t i = 0; i < sizeof(mode_names) / sizeof(mode_names[0]); i++)
		if (strlen(mode_names[i]) == length && memcmp(mode_names[i], name, length) == 0)
		{
			*mode = (pe_delivery_mode) i;
			return true;
		}
	return false;
}

double
pe_streaming_seconds(int64_t keys, int64_t requests, const pe_throttle_limits *limits)
{
	pe_throttle throttle;

	pe_throttle_init(&throttle, limits, 0);
	if (requests == 0)
		requests = (keys + PE_CHUNK_KEYS - 1) / PE_CHUNK_KEYS;
	return fmax((double) keys / throttle.limits.messages_per_second,
	            (double) requests / throttle.limits.requests_per_second);
}

pe_delivery_mode
pe_delivery_mode_choose(pe_delivery_mode wanted, const pe_mode_limits *limits, int64_t keys, double seconds,
                        const char **why)
{
	const char *ignored;

	if (why == NULL)
		why = &ignored;
	*why = "asked for";
	if (wanted != PE_MODE_AUTO)
		return wanted;
	*why = "more changed profiles than profenrich.batch_min_keys";
	if (keys > limits->keys)
		return PE_MODE_BATCH;
	*why = "streaming would take longer than profenrich.batch_max_streaming";
	if (seconds > limits->seconds)
		return PE_MODE_BATCH;
	*why = "few enough, and soon enough streamed";
	return PE_MODE_STREAMING;
}
