/*
 * sender_internal.h
 *		What sender.c (events), sender_reply.c (what a reply means), sender_plan.c (what
 *		to do next) and sender_status.c share.
 */
#ifndef PE_SENDER_INTERNAL_H
#define PE_SENDER_INTERNAL_H

#include "platform/sender.h"

#define REASON_SIZE 256

/* The sample that tells bad records from a bad schema. */
#define TRIAL_KEYS 20

/* 500 that many times is the data's fault. */
#define MAX_FAULTS 3
/* ... and that many loads of a lone key, when nothing else shows that the server is well. */
#define MAX_LONE_FAULTS 8

/* Somebody's open transaction is looked at again after 16 s at most: it costs the worker a short wait each
 * time. */
#define MAX_WRITE_TRIES 4

typedef enum slot_state
{
	SLOT_IDLE,
	SLOT_LOADING,
	SLOT_READY,    /* loaded; the top group is next */
	SLOT_BUILDING, /* SEND was asked for */
	SLOT_SENT,     /* a request is in flight */
	SLOT_DONE,     /* waits for its commit */
	SLOT_COMMITTING
} slot_state;

/* Keys that go out together: order[start .. start + length). The last of a slot's groups is next. */
typedef struct group
{
	int start;
	int length;
	int faults; /* 500s so far */
	int64_t first_fault;
	bool alone;
	bool token_tried; /* had its one more try with a new token */
} group;

typedef struct slot
{
	pe_slot public;
	struct enrichment *owner;
	slot_state state;
	bool has_work;
	int64_t due_at;   /* committed retries become due; PE_NEVER */
	int64_t next_try; /* backoff */
	int tries;        /* in a row without an answer */
	int *order;
	group *groups;
	int group_count;
	int64_t started;
	size_t bytes;
	int token_generation;
	int reserved; /* messages taken from the bucket */
} slot;

typedef struct enrichment
{
	int id;
	struct server_link *link;
	struct server_link *wanted; /* what it is to change to, as soon as no slot is in use */
	int loaded;                 /* slots that hold work */
	bool paused;
	bool gone;
	bool seen;
	int64_t hold_until;
	pe_block block;
	bool blocked_by_token;
	char reason[REASON_SIZE];
	int64_t next_probe;
	slot *probe;
	bool report;
	bool stored_blocked; /* the tables know of the block */
	int64_t resumes;     /* by the tables */
	int64_t fresh_since; /* resumed, or its link altered: answers to requests begun before block nothing */
	int64_t write_at;    /* its rows were locked: nothing is written of it before */
	int write_tries;
	int verdicts; /* of the present sample */
	int refused;
	bool healthy; /* the last whole sample was */
	bool suspect; /* its schema was, and nothing has been accepted since */
	int64_t last_accepted;
	slot slots[PE_SHARDS];
	struct enrichment *next;
} enrichment;

typedef enum token_state
{
	TOKEN_NONE,
	TOKEN_FETCHING,
	TOKEN_HELD
} token_state;

typedef struct server
{
	int id;
	pe_throttle throttle;
	size_t max_bytes;
	int loaded; /* slots that hold work */
	struct server *next;
} server;

typedef struct server_link
{
	int id;
	server *server;
	token_state token;
	int token_generation;
	int token_tries;
	int token_failures;          /* requests in a row that were not answered, not even by a refusal */
	int64_t token_failing_since; /* when the first of them was made */
	int64_t token_try_at;
	int64_t token_asked_at;
	struct server_link *next;
} server_link;

struct pe_sender
{
	const pe_env *env;
	uint64_t random;
	server *servers;
	server_link *links;
	enrichment *enrichments;
	int most_requests; /* 0: no bound */
	int turn;          /* counts passes, so that slots take turns */
	bool wake;
	bool scanning;
	int64_t scan_at;
	bool halted;
	int halts;
	int64_t halted_until;
};

/* sender.c */
extern enrichment *pe_find_enrichment(const pe_sender *sender, int id);
extern slot *pe_slot_of(pe_slot *public);
extern void pe_slot_release(pe_sender *sender, slot *s);
extern void pe_slot_give_up(pe_sender *sender, slot *s);
extern void pe_enrichment_block(pe_sender *sender, enrichment *e, pe_block block, const char *reason,
                                int64_t now);
extern void pe_enrichment_unblock(enrichment *e);
extern bool pe_enrichment_may_send(const enrichment *e, int64_t now);
/* Is nothing more to be begun for it, not even a probe? */
extern bool pe_enrichment_is_leaving(const enrichment *e);

/* sender_reply.c */
extern void pe_slot_settle(pe_sender *sender, slot *s);

#endif /* PE_SENDER_INTERNAL_H */
