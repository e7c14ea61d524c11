/*
 * queue_control.h
 *		An enrichment as its operator names it.
 */
#ifndef PE_QUEUE_CONTROL_H
#define PE_QUEUE_CONTROL_H

#include "postgres.h"

typedef struct PeQueue
{
	int32 enrichment_id;
	bool paused;
	char *blocked; /* NULL: no */
} PeQueue;

/*
 * The enrichment of that name. Raises when there is none, or when the current user
 * is neither its owner nor a member of profenrich_admin. SPI must be connected.
 */
extern PeQueue pe_queue_find(const char *name);

#endif /* PE_QUEUE_CONTROL_H */
