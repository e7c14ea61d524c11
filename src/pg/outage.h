/*
 * outage.h
 *		Has the platform stopped answering for an enrichment, or does it answer again?
 */
#ifndef PE_OUTAGE_H
#define PE_OUTAGE_H

#include "postgres.h"

#include "pg/exchange.h"

/*
 * Now and then: writes down what is not as the tables say, each enrichment's in a transaction
 * of its own, and says it in the server's log.
 */
extern void pe_outage_look(PeWorker *worker, int64 now);

#endif /* PE_OUTAGE_H */
