/*
 * sent.h
 *		What went out within the resend gap. Both functions run inside a step of the
 *		worker (delivery.h).
 */
#ifndef PE_SENT_H
#define PE_SENT_H

#include "postgres.h"

#include "pg/delivery.h"

/* For an acknowledgement: which of the slot's keys went out, and when. */
extern void pe_sent_note(const pe_slot *slot, const PeLoad *load);

/* For a load of a chunk: how long each key has to wait for another value of it, in past. */
extern void pe_sent_waits(const pe_slot *slot, const PeLoad *load, pe_key_past *past);

#endif /* PE_SENT_H */
