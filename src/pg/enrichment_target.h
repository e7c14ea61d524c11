/*
 * enrichment_target.h
 *		The row of enrichment_target: what provisioning found or made.
 */
#ifndef PE_ENRICHMENT_TARGET_H
#define PE_ENRICHMENT_TARGET_H

#include "postgres.h"

#include "datatype/timestamp.h"

#include "platform/message.h"
#include "pg/enrichment.h"

typedef struct PeTarget
{
	const char *tenant;
	const char *field_group_id;
	const char *schema_id;
	const char *dataset_id;
	const char *inlet_url;
	const char *flow_id;
	const char *org_id;
	const char *sandbox;
	const char *sender_identity;
	TimestampTz ready_at;
} PeTarget;

/* NULL when the enrichment was never provisioned. In the current context; SPI need not be connected. */
extern PeTarget *pe_target_load(int32 enrichment_id);

/* Inserts or replaces the row, with e's attributes as those the platform has now. */
extern void pe_target_save(const PeEnrichment *e, const PeTarget *target);

/*
 * What its records say about where they go, strings in the current context. Before
 * provisioning placeholders stand for what only the platform knows. SPI need not be connected.
 */
extern void pe_target_message(const PeEnrichment *e, pe_message_target *to);

#endif /* PE_ENRICHMENT_TARGET_H */
