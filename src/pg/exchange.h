/*
 * exchange.h
 *		The worker's requests and replies: sessions with the platform, tokens, messages.
 */
#ifndef PE_EXCHANGE_H
#define PE_EXCHANGE_H

#include "postgres.h"

#include "pg/delivery.h"

/* A worker's state, shared by worker.c and exchange.c. */
typedef struct PeWorker
{
	MemoryContext context; /* for the worker's life */
	MemoryContext scratch; /* reset after each step */
	pe_env env;
	pe_sender *sender;
	int epoll; /* holds the descriptor of each session's HTTP client */
	int64 epoch;
	int64 requests;
	int64 accepted;
	MemoryContext targets; /* what the last scan found */
	List *enrichments;	   /* Enrichment *, exchange.c */
	List *links;		   /* Link *, exchange.c */
} PeWorker;

/* The monotonic clock in microseconds. */
extern int64 pe_worker_now(void);

/* Does what the state machine asked for (all but waiting), and tells it how that ended. */
extern void pe_worker_do(PeWorker *worker, const pe_action *action);

/* Moves transfers on and hands completed replies to the state machine. */
extern void pe_exchange_dispatch(PeWorker *worker);

/* The shorter of timeout and what the HTTP clients need, in ms. */
extern int pe_exchange_timeout(PeWorker *worker, int timeout);

#endif /* PE_EXCHANGE_H */
