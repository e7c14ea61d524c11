/*
 * resend.h
 *		Queueing values again that are there already.
 */
#ifndef PE_RESEND_H
#define PE_RESEND_H

#include "postgres.h"

/*
 * Changes rows of profile_score (alias s) of an enrichment, those for which the condition
 * which holds (SQL that begins with AND), and queues them as a run of that kind: with a new
 * version, and not before the resend gap has passed. changes is further SQL for SET, of which
 * an empty one is "". In both $3 is the time of the call and $5 is keys, a text[] (0: none).
 * Their dead letters go. Returns how many. SPI must be connected, the enrichment locked.
 */
extern int64 pe_queue_again(int32 enrichment_id, const char *kind, const char *changes, const char *which,
                            Datum keys);

/*
 * A NOTICE when keys, a text[], has some without a value in the enrichment: that is no error, but
 * whoever names them should know. SPI must be connected.
 */
extern void pe_tell_unknown_keys(const char *name, int32 enrichment_id, Datum keys);

#endif /* PE_RESEND_H */
