/*
 * flow.h
 *		Flow Service: the streaming inlet that records are sent to, and the flow that
 *		carries them to a data set.
 */
#ifndef PE_PLATFORM_FLOW_H
#define PE_PLATFORM_FLOW_H

#include "platform/platform.h"

typedef struct pe_inlet
{
	char connection_id[64];
	char inlet_id[128];
	char inlet_url[512]; /* https://dcs.adobedc.net/collection/<inletId> */
} pe_inlet;

/* The streaming connection (XDM, authenticated) called name: found, or created. */
pe_status pe_flow_ensure_inlet(pe_platform *platform, const char *name, pe_inlet *inlet, bool *created,
                               pe_error *err);

/*
 * Source connection, target connection and flow from the inlet to the data set, each
 * called name: found, or created. *created tells about the flow, before whose first
 * five minutes records can be lost.
 */
pe_status pe_flow_ensure_flow(pe_platform *platform, const char *name, const pe_inlet *inlet,
                              const char *schema_id, const char *dataset_id, char *flow_id, size_t size,
                              bool *created, pe_error *err);

#endif /* PE_PLATFORM_FLOW_H */
