/*
 * exchange.h
 *		The worker's requests and replies: sessions with the platform, tokens, messages.
 */
#ifndef PE_EXCHANGE_H
#define PE_EXCHANGE_H

#include "postgres.h"

#include "platform/platform.h"
#include "pg/connection.h"
#include "pg/delivery.h"

typedef struct PeSession
{
	PeConnection *connection;
	int exchanges;
	bool retired; /* closed when its last exchange ends */
} PeSession;

/* A server under one role's mapping. */
typedef struct PeLink
{
	int id;
	int server_id; /* the same for all links of one server */
	char *server;
	Oid owner;
	PeSession *session; /* for new requests, or NULL */
	List *retired;
	uint64 changes; /* of servers and mappings, when it last looked at them */
	bool asked;     /* a token was asked for in this session already: the next one must be a new one */
	bool seen;
} PeLink;

/* An enrichment, and what its slots hold. */
typedef struct PeQueue
{
	int32 id;
	PeTarget *target; /* NULL once it is gone */
	PeLoad *loads[PE_SHARDS];
	int64 after_chunk[PE_SHARDS]; /* where to go on looking */
	bool from_start[PE_SHARDS];   /* but first look from the start once */
	int64 no_batch_before;        /* the day's budget was used up */
	bool met;                     /* a scan has found it before */
	pe_block told;                /* what was last said of it in the server's log */
	bool told_no_budget;          /* ... that it has none for a batch */
	int64 resumes;                /* by the scan before, as is mode */
	pe_delivery_mode mode;
	pe_reach batch_reach; /* of its last batch job: ANSWERS, or nothing is known */
	int64 note_outage_at; /* its row was locked: no other try before */
	size_t last_bytes;    /* of a request's body, about */
} PeQueue;

/* A worker's state, shared by worker.c, worker_steps.c and exchange.c. */
typedef struct PeWorker
{
	MemoryContext context; /* for the worker's life */
	MemoryContext scratch; /* reset after each step */
	pe_env env;
	pe_sender *sender;
	pe_http_pool *pool; /* the connections of all sessions */
	int64 short_until;  /* the system was out of descriptors or memory lately; 0: not */
	int64 epoch;
	int64 requests;
	int64 accepted;
	MemoryContext targets; /* what the last scan found */
	List *enrichments;     /* PeQueue * */
	List *links;           /* PeLink * */
} PeWorker;

/* The monotonic clock in microseconds. */
extern int64 pe_worker_now(void);

/* Does what the state machine asked for (all but waiting), and tells it how that ended. */
extern void pe_worker_do(PeWorker *worker, const pe_action *action);

/* Says in the server's log that an enrichment is blocked, or no longer, unless that was said before. */
extern void pe_tell_block(PeQueue *queue, pe_block block, const char *reason);

/* Moves transfers on and hands completed replies to the state machine. */
extern void pe_exchange_dispatch(PeWorker *worker);

/*
 * Opens the pool of connections, within the share of descriptors that the server leaves to
 * what is not its own files; and says how many requests may be under way at a time.
 */
extern int pe_exchange_open(PeWorker *worker);

/* The shorter of timeout and what the connections need, in ms. */
extern int pe_exchange_timeout(PeWorker *worker, int timeout);

/* Now and then: has what the system was short of been there for a while? */
extern void pe_exchange_look(PeWorker *worker, int64 now);

/* Made when it is not known yet; make false: NULL instead. */
extern PeQueue *pe_queue_of(PeWorker *worker, int32 id, bool make);

extern PeLink *pe_link_of(PeWorker *worker, const char *server, Oid owner);

/* After a transaction: when server, mapping or settings have changed, the sender tries afresh by the new
 * ones. */
extern void pe_link_refresh(PeWorker *worker, PeLink *link);

/* No new requests by the link's session; it is closed now or with its last exchange. */
extern void pe_link_retire(PeWorker *worker, PeLink *link);

/*
 * A call to the platform that is not the sender's: one request, sent with the link's
 * token, which is got first when there is none. done is called with the reply once it
 * is there. False, with *result saying why, when it could not be started; done is not
 * called then. What call points to must live until done, and so must arg.
 */
typedef void (*PeCallDone)(PeWorker *worker, void *arg, const pe_result *result,
                           const pe_http_response *response);
extern bool pe_exchange_call(PeWorker *worker, PeLink *link, const pe_call *call, PeCallDone done, void *arg,
                             pe_result *result);

/* The session that the link's calls go through now, or NULL. */
extern pe_platform *pe_link_platform(const PeLink *link);

extern void pe_do_token(PeWorker *worker, const pe_action *action);
extern void pe_do_send(PeWorker *worker, const pe_action *action);

#endif /* PE_EXCHANGE_H */
