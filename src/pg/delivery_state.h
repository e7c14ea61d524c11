/*
 * delivery_state.h
 *		What delivery adds up for each enrichment: counters, the last error, a block.
 *
 * These functions run inside a step of the worker (delivery.h). A transaction collects
 * its changes in a list and writes each enrichment's row once, however many requests
 * it is about.
 */
#ifndef PE_DELIVERY_STATE_H
#define PE_DELIVERY_STATE_H

#include "postgres.h"

#include "nodes/pg_list.h"

#include "pg/delivery.h"

/* What a transaction adds to an enrichment's row of delivery_state. */
typedef struct PeStateChange
{
	int32 enrichment_id;
	int64 requests;
	int64 accepted;
	int64 superseded;
	int64 retried;
	int64 dead;
	const PeLogRow *error; /* the last request that failed, or NULL */
} PeStateChange;

/* The enrichment's change, added to the list when there is none yet, in the current memory context. */
extern PeStateChange *pe_state_change(List **changes, int32 enrichment_id);

/* Is the enrichment among the first so many changes? */
extern bool pe_state_is_among(List *changes, int count, int32 enrichment_id);

/* A request of the enrichment is counted; row must live until the change is written. */
extern void pe_state_add_request(PeStateChange *change, const PeLogRow *row);

extern void pe_state_write(const PeStateChange *change);

/* delivery_log.c: adds the waiting log rows' requests to those enrichments that have a change. */
extern void pe_delivery_log_count(List *changes);

/*
 * delivery_log.c: writes the waiting log rows of the enrichments counted, whose requests
 * pe_delivery_log_count() has counted, or all with NIL. In a subtransaction: an error costs the rows,
 * nothing else; a lock in the way only time.
 */
extern void pe_delivery_log_write(List *counted);

/* delivery_log.c: the transaction that wrote them has been committed. */
extern void pe_delivery_log_written(void);

#endif /* PE_DELIVERY_STATE_H */
