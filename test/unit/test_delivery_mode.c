/*
 * test_delivery_mode.c
 *		Streaming or batch, at both sides of each limit.
 */
#include "tap.h"

#include "platform/delivery_mode.h"

static void
chooses(pe_delivery_mode wanted, int64_t keys, double seconds, pe_delivery_mode expected, const char *reason)
{
	const pe_mode_limits usual = {PE_AUTO_BATCH_KEYS, PE_AUTO_BATCH_SECONDS};
	const char *why;

	OK(pe_delivery_mode_choose(wanted, &usual, keys, seconds, &why) == expected, "%s, %lld keys, %g s: %s",
	   pe_delivery_mode_name(wanted), (long long) keys, seconds, pe_delivery_mode_name(expected));
	OK(strstr(why, reason) != NULL, "because %s", why);
	OK(pe_delivery_mode_choose(wanted, &usual, keys, seconds, NULL) == expected,
	   "whether or not one asks why");
}

int
main(void)
{
	pe_throttle_limits defaults = {0};
	pe_throttle_limits slow = {.requests_per_second = 1, .messages_per_second = 100};
	pe_delivery_mode mode;

	chooses(PE_MODE_STREAMING, 5000000, 1e6, PE_MODE_STREAMING, "asked for");
	chooses(PE_MODE_BATCH, 1, 1, PE_MODE_BATCH, "asked for");
	chooses(PE_MODE_AUTO, 2000000, 3600, PE_MODE_STREAMING, "soon enough");
	chooses(PE_MODE_AUTO, 2000001, 10, PE_MODE_BATCH, "batch_min_keys");
	chooses(PE_MODE_AUTO, 10, 3600.5, PE_MODE_BATCH, "batch_max_streaming");
	chooses(PE_MODE_AUTO, 0, 0, PE_MODE_STREAMING, "soon enough");

	OK(pe_streaming_seconds(1500000, 0, &defaults) == 1000, "1500 messages a second unless said otherwise");
	OK(pe_streaming_seconds(1500000, 200000, &defaults) == 2000, "many small requests: their rate counts");
	OK(pe_streaming_seconds(1001, 0, &slow) == 10.01, "a server's own rates");
	OK(pe_streaming_seconds(0, 0, &defaults) == 0, "nothing takes no time");

	for (int i = PE_MODE_STREAMING; i <= PE_MODE_AUTO; i++)
	{
		const char *name = pe_delivery_mode_name((pe_delivery_mode) i);

		OK(pe_delivery_mode_parse(name, strlen(name), &mode) && mode == (pe_delivery_mode) i, "%s is a mode",
		   name);
		OK(!pe_delivery_mode_parse(name, strlen(name) - 1, &mode), "part of %s is none", name);
	}
	return tap_done();
}
