/*
 * sender.h
 *		The sender's decisions, as a state machine without database, network or clock.
 *
 * The caller asks pe_sender_next what to do now, does it, and tells how it ended by
 * the event of the same name; then asks again. Replies are told when they come.
 * The queue itself lives in the caller's tables: forgetting a sender at any moment
 * (a crash) loses nothing, because nothing leaves the queue but by a commit that
 * the caller reports, and no commit is asked for before the platform has answered.
 *
 *	PE_DO_SCAN		look which enrichments exist and which shards have work
 *	PE_DO_TOKEN		get a new token for a link
 *	PE_DO_LOAD		take the next chunks, or the retries that are due, of a shard
 *	PE_DO_SEND		build a request from some of the loaded keys and send it
 *	PE_DO_COMMIT	acknowledge: write the keys' dispositions in one transaction
 *	PE_DO_REPORT	write down that an enrichment is blocked, or no longer
 *	PE_DO_WAIT		nothing until the given time, or an event
 *
 * There is one slot for each enrichment and shard, and a slot holds the chunks of one
 * request (or one batch of retries) at a time and has one request in flight: that is what
 * keeps the order. Times are microseconds of a monotonic clock.
 *
 * A link is a server under one credential. Links of one server share its rate, its
 * breaker and its pauses; each has a token of its own.
 */
#ifndef PE_SENDER_H
#define PE_SENDER_H

#include "pe_base.h"
#include "platform/outcome.h"
#include "platform/throttle.h"

#define PE_SHARDS       16
#define PE_CHUNK_KEYS   500
#define PE_PROBE_PERIOD (300 * PE_SECOND)

typedef struct pe_sender pe_sender;

/* Why nothing is sent for an enrichment. */
typedef enum pe_block
{
	PE_BLOCK_NONE = 0,
	PE_BLOCK_AUTHORISATION,
	PE_BLOCK_CONFIGURATION,
	PE_BLOCK_SCHEMA,
	PE_BLOCK_IDENTITY
} pe_block;

extern const char *pe_block_name(pe_block block);

/* What becomes of a key when its slot is committed. */
typedef enum pe_key_state
{
	PE_KEY_PENDING = 0, /* never in a commit */
	PE_KEY_ACCEPTED,    /* gone from queue, retry and dead letters */
	PE_KEY_SUPERSEDED,  /* a newer value is queued: gone from this chunk */
	PE_KEY_RETRY,       /* to retry, due after delay */
	PE_KEY_DEAD,        /* to dead letters */
	PE_KEY_LATER,       /* its chunk's part of it waits for delay: an earlier value is just out */
	PE_KEY_KEPT         /* stays where it is */
} pe_key_state;

typedef struct pe_key
{
	pe_key_state state;
	pe_outcome outcome; /* of the last try */
	int http_status;
	int attempts;      /* failed ones that count, those of earlier loads among them */
	pe_outcome before; /* outcome of the try before this load; ACCEPTED for none */
	int64_t delay;
	int64_t sent_at; /* of the last try of this load, 0: none */
	char *reason;    /* NULL or words of the platform */
} pe_key;

typedef enum pe_work_kind
{
	PE_WORK_CHUNK, /* rows of the outbox, in their order */
	PE_WORK_RETRY  /* rows of retry that are due */
} pe_work_kind;

/* The caller's view of a slot; owner is the caller's to use, and NULL at first. */
typedef struct pe_slot
{
	int enrichment;
	int link;
	int shard;
	pe_work_kind kind;
	int key_count;
	pe_key *keys;
	bool prefer_retry; /* for PE_DO_LOAD: try retries before chunks, so that neither starves */
	void *owner;
} pe_slot;

typedef enum pe_action_kind
{
	PE_DO_WAIT,
	PE_DO_SCAN,
	PE_DO_TOKEN,
	PE_DO_LOAD,
	PE_DO_SEND,
	PE_DO_COMMIT,
	PE_DO_REPORT
} pe_action_kind;

typedef struct pe_action
{
	pe_action_kind kind;
	int64_t until;   /* WAIT */
	int link;        /* TOKEN */
	pe_slot *slot;   /* LOAD, SEND, COMMIT */
	const int *keys; /* SEND: indexes into the slot's keys */
	int key_count;
	size_t max_bytes; /* SEND: learnt limit of the request's size */
	bool alone;       /* SEND: one key by the single-message call */
	int enrichment;   /* REPORT */
	pe_block block;
	const char *reason;
	int64_t probe_in; /* REPORT: microseconds to the next probe, -1 when there is none */
	int64_t resumes;  /* REPORT: written only while the tables have this count, see below */
} pe_action;

extern pe_status pe_sender_open(const pe_env *env, uint64_t seed, int64_t now, pe_sender **sender,
                                pe_error *err);
extern void pe_sender_close(pe_sender *sender);

/* At most so many requests, those for tokens among them, are under way at a time over all servers; 0: no
 * bound. */
extern void pe_sender_limit(pe_sender *sender, int most_requests);

/* What to do now. Every action but WAIT must be answered by its event before the next call. */
extern void pe_sender_next(pe_sender *sender, int64_t now, pe_action *action);

/* Something may have been queued or changed: scan soon. */
extern void pe_sender_wake(pe_sender *sender);

/*
 * PE_DO_SCAN is answered by: pe_sender_scan_begin, then for each server
 * pe_sender_server, for each link pe_sender_link, for each enrichment pe_sender_enrichment, for each shard
 * with something due pe_sender_has_work, then pe_sender_scanned. Enrichments that were not named are
 * forgotten. When the scan fails call only pe_sender_scanned.
 */
typedef struct pe_sender_enrichment_info
{
	int id;
	int link;
	bool paused;
	int64_t hold_until;    /* nothing is sent before (warming up) */
	bool identity_matches; /* false blocks: identity */
	pe_block stored_block; /* what the tables say: taken over at first sight; NONE later unblocks (resume) */
	const char *stored_reason;
	int64_t stored_probe_at; /* PE_NEVER: none */
	/*
	 * How often resume() was called: when it has changed nothing is blocked any more, and
	 * answers to requests begun before do not block it again.
	 */
	int64_t resumes;
} pe_sender_enrichment_info;

extern void pe_sender_scan_begin(pe_sender *sender);
extern pe_status pe_sender_server(pe_sender *sender, int server, const pe_throttle_limits *limits,
                                  int64_t now);
extern pe_status pe_sender_link(pe_sender *sender, int link, int server);
extern pe_status pe_sender_enrichment(pe_sender *sender, const pe_sender_enrichment_info *info, int64_t now);
extern void pe_sender_has_work(pe_sender *sender, int enrichment, int shard);
/*
 * Server or credential were altered, and requests go by the new options from now on: what
 * is blocked is probed at once, and answers to requests begun before block nothing. The
 * answer to a token asked for before is not to be told, but as PE_UNREACHABLE.
 */
extern void pe_sender_link_changed(pe_sender *sender, int link, int64_t now);
/* next_scan: when to look again at the latest. */
extern void pe_sender_scanned(pe_sender *sender, bool ok, int64_t next_scan);

/* Is the enrichment known, or one that is gone but still has a slot in use? Else its slots are, too,
 * forgotten. */
extern bool pe_sender_knows(const pe_sender *sender, int enrichment);

/* What the tables know of a key. */
typedef struct pe_key_past
{
	int attempts;
	pe_outcome outcome; /* of its last try */
	int64_t wait;       /* another value of it was sent so lately that this one has to wait; 0: not at all */
} pe_key_past;

/*
 * PE_DO_LOAD: count keys (at most PE_CHUNK_KEYS) were loaded, 0 when nothing is due;
 * past of each, or NULL. When it fails the slot stays empty, and is loaded again
 * later, as after pe_sender_load_failed.
 */
extern pe_status pe_sender_loaded(pe_sender *sender, pe_slot *slot, int64_t now, pe_work_kind kind, int count,
                                  const pe_key_past *past);
extern void pe_sender_load_failed(pe_sender *sender, pe_slot *slot, int64_t now);

/*
 * PE_DO_SEND: which of the keys went into the request, in the request's order; which
 * have a newer value (or none) and need not go; which are too big for any request.
 * Keys in none of the three wait for a later request. bytes is the body's size.
 * sent_count 0: no request was made. Call it before the request is started.
 */
typedef struct pe_built
{
	const int *sent;
	int sent_count;
	const int *superseded;
	int superseded_count;
	const int *too_big;
	int too_big_count;
	size_t bytes;
} pe_built;

extern void pe_sender_built(pe_sender *sender, pe_slot *slot, int64_t now, const pe_built *built);
/* The request could not be built (no token any more, out of memory, a query failed): nothing was sent. */
extern void pe_sender_build_failed(pe_sender *sender, pe_slot *slot, int64_t now, bool token_gone);

/* What a reply meant, for the log row of its request. */
typedef struct pe_response_summary
{
	pe_outcome outcome;
	int accepted;
	int retried;
	int dead;
} pe_response_summary;

extern void pe_sender_response(pe_sender *sender, pe_slot *slot, int64_t now, const pe_result *result,
                               pe_response_summary *summary);

/*
 * How writing to the tables ended. When it failed, nothing at all is sent until it can be
 * repeated; when only an enrichment's rows were locked by somebody else, what is to be
 * written of that one waits and all others go on.
 */
typedef enum pe_written
{
	PE_WRITTEN,
	PE_WRITE_FAILED,
	PE_WRITE_CONTENDED
} pe_written;

/*
 * PE_DO_COMMIT. Before it is answered, more slots that are to be committed now may be asked
 * for (NULL: there is none), to be written in the same transaction; each is answered for itself.
 */
extern pe_slot *pe_sender_also_commit(pe_sender *sender, int64_t now);
extern void pe_sender_committed(pe_sender *sender, pe_slot *slot, int64_t now, pe_written written);

/*
 * PE_DO_TOKEN may take a while: PE_OK, or why there is none. PE_UNAUTHORISED,
 * PE_CONFIGURATION and PE_UNTRUSTED block the link's enrichments; all else is tried
 * again.
 */
extern void pe_sender_token(pe_sender *sender, int link, int64_t now, pe_status status, const char *reason);

/* PE_DO_REPORT */
extern void pe_sender_reported(pe_sender *sender, int enrichment, pe_written written, int64_t now);

/* For status views: how things stand. */
typedef struct pe_sender_numbers
{
	int in_flight;
	int loaded;
	int blocked;
	bool halted; /* an acknowledgement could not be committed */
	bool breaker_open;
	int64_t paused_until; /* latest pause of any server, 0 for none */
} pe_sender_numbers;

/*
 * Does the platform answer what is sent for an enrichment, its token requests among that? OUTAGE
 * only where there is something to send and nothing else in its way. *since: of an outage, when the first
 * request began that failed.
 */
extern pe_reach pe_sender_reach(const pe_sender *sender, int enrichment, int64_t now, int64_t *since);

extern void pe_sender_count(const pe_sender *sender, int64_t now, pe_sender_numbers *numbers);

#endif /* PE_SENDER_H */
