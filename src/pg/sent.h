/*
 * sent.h
 *		The distance that two values of one profile keep on the wire: by when they are
 *		queued, and by what went out within the resend gap.
 */
#ifndef PE_SENT_H
#define PE_SENT_H

#include "postgres.h"

#include "datatype/timestamp.h"

#include "pg/delivery.h"
#include "pg/guc.h"
#include "pg/score_scan.h"

/* In microseconds: a value that goes out later than this after it was due is overdue. */
static inline int64
pe_resend_slack(void)
{
	return (int64) pe_resend_gap * USECS_PER_SEC / 16;
}

/* In microseconds, from when a value was due, max(changed_at, not_before), until its successor is. */
static inline int64
pe_resend_distance(void)
{
	return (int64) pe_resend_gap * USECS_PER_SEC + pe_resend_slack();
}

/* Would a value that is sent now be overdue? */
extern bool pe_sent_is_overdue(const PeScoreRow *row);

/* These two run inside a step of the worker (delivery.h). */

/* For an acknowledgement: which of the slot's keys went out, and when. */
extern void pe_sent_note(const pe_slot *slot, const PeLoad *load);

/* For a load of chunks: how long each key has to wait for another value of it, in past. */
extern void pe_sent_waits(const pe_slot *slot, const PeLoad *load, pe_key_past *past);

#endif /* PE_SENT_H */
