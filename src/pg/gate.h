/*
 * gate.h
 *		Has a refresh moved too far from the one before to be sent unseen? By the option
 *		gate. What is held wrote no value and no chunk: release() refreshes again.
 */
#ifndef PE_GATE_H
#define PE_GATE_H

#include "postgres.h"

#include "pg/refresh.h"

/*
 * Fills refresh->measures: what the merge found, against what was queued last. With
 * released, against the held refresh that is released: its numbers are the reference, and
 * a share may be as high as it was then, give or take a tenth. SPI must be connected.
 */
extern void pe_gate_measure(Refresh *refresh, bool released);

/* Why the refresh is held, in words; NULL when it may go, or when the enrichment has no gate. */
extern char *pe_gate_reason(const Refresh *refresh);

/* The measures as a JSON array, for the run's row. */
extern char *pe_gate_measures_json(const Refresh *refresh);

/* Remembers how the refresh's numbers are spread: as those of what was queued last, or of what is held. */
extern void pe_gate_remember(const Refresh *refresh, int64 run_id, bool held);

/*
 * The run that is held, or 0. pe_gate_settle gives it another outcome ("released",
 * "discarded", "replaced") and forgets its numbers; does nothing when none is held.
 */
extern int64 pe_gate_held_run(int32 enrichment_id);
extern void pe_gate_settle(int32 enrichment_id, const char *outcome);

#endif /* PE_GATE_H */
