/*
 * batch_budget.h
 *		How many of the sandbox's batches of a day are used up, for plan(). The worker counts
 *		by itself before each batch (batch_delivery.c), the same way.
 */
#ifndef PE_BATCH_BUDGET_H
#define PE_BATCH_BUDGET_H

#include "postgres.h"

#include "pg/connection.h"
#include "pg/enrichment.h"

/* Batches that this database began within the last day in the server's sandbox. SPI must be connected. */
extern int64 pe_batches_begun(const PeServer *server);

/*
 * Those of other feeds, asked from the platform as the enrichment's owner; no more than a thousand,
 * or the budget, are counted. False when it does not say, and *wrong why. SPI must be connected.
 */
extern bool pe_batches_of_others(const PeEnrichment *e, int64 *count, char **wrong);

#endif /* PE_BATCH_BUDGET_H */
