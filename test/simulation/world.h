/*
 * world.h
 *		What the parts of the delivery simulation share: one world, made from a seed.
 *
 * The sender's real state machine (platform/sender.h) runs between a model of the
 * database (database.c) and one of the platform (platform.c), in virtual time; the
 * oracle (oracle.c) watches both sides and knows no more of the sender than what it
 * does. world.c moves time on and plays the operator.
 *
 * There are two clocks, as in the worker: the sender's is monotonic, the tables' is
 * the wall's, which jumps in some worlds.
 */
#ifndef WORLD_H
#define WORLD_H

#include "tap.h"

#include "platform/sender.h"

#define MAX_SERVERS     3
#define MAX_LINKS       (2 * MAX_SERVERS)
#define MAX_ENRICHMENTS 6
#define MAX_KEYS        240
#define MAX_CHUNK       64
#define MAX_MERGED      8 /* chunks in a request */
#define MAX_FLIGHTS     512
#define RETRACTED       (-1)
/* A body may reach the platform this long after it was sent, whatever the sender was told meanwhile. */
#define MAX_DELAY (45 * PE_SECOND)

/* ---- the database ---------------------------------------------------------------------- */

typedef struct score
{
	bool present;
	int64_t version;
	int value; /* RETRACTED: a tombstone */
	int64_t changed_at;
	int64_t not_before;
} score;

typedef struct failed /* a row of retry or of dead_letter */
{
	bool present;
	int64_t version;
	int64_t next_at;
	pe_key_past past;
} failed;

typedef struct chunk
{
	int64_t id;
	int64_t version;
	int64_t not_before;
	int count;
	int keys[MAX_CHUNK];
} chunk;

typedef struct queue /* an enrichment's chunks of one shard, by id */
{
	chunk *chunks;
	int count;
	int room;
	int64_t after;   /* the worker's: where it goes on looking, */
	bool from_start; /* but once from the start */
} queue;

typedef struct refresh /* a transaction in progress */
{
	bool open;
	bool written;
	bool rolls_back;
	int64_t next_at; /* monotonic: when it goes on */
	int64_t looked_at;
	int64_t version;
	int64_t first_chunk;
	bool changed[MAX_KEYS];
	int value[MAX_KEYS]; /* the source's, of that moment */
	bool took_dead[MAX_KEYS];
} refresh;

typedef struct target /* enrichment, enrichment_target and delivery_state */
{
	bool exists;
	bool paused;
	bool identity_matches;
	bool retract_absent;
	int link;
	int64_t ready_at;
	pe_block blocked;
	int64_t probe_at;
	int64_t resumes;
	long enqueued, accepted, superseded, dead;
} target;

/* What a slot has loaded, as the worker keeps it beside the state machine. */
typedef struct loaded
{
	struct
	{
		int64_t id;
		int first, count; /* of the keys */
	} chunks[MAX_MERGED];
	int chunk_count; /* 0: retries */
	int64_t waited;  /* the earliest not_before of a chunk, 0: none has one */
	int count;
	int keys[MAX_KEYS];
	int64_t versions[MAX_KEYS];
	bool overdue; /* something of it was sent long after it was due */
	bool written; /* a commit took effect although it was reported as failed */
} loaded;

typedef struct database
{
	target targets[MAX_ENRICHMENTS];
	int source[MAX_ENRICHMENTS][MAX_KEYS];
	score scores[MAX_ENRICHMENTS][MAX_KEYS];
	int acknowledged[MAX_ENRICHMENTS][MAX_KEYS]; /* for a mutation: the last accepted value */
	failed retry[MAX_ENRICHMENTS][MAX_KEYS];
	failed dead[MAX_ENRICHMENTS][MAX_KEYS];
	failed sent[MAX_ENRICHMENTS][MAX_KEYS];         /* last recorded send: version, and when as next_at */
	int64_t overdue_at[MAX_ENRICHMENTS][PE_SHARDS]; /* last recorded send of what was overdue then */
	queue queues[MAX_ENRICHMENTS][PE_SHARDS];
	refresh refreshes[MAX_ENRICHMENTS];
	loaded loads[MAX_ENRICHMENTS][PE_SHARDS];
	int64_t last_run, last_chunk;
} database;

/* ---- the platform ---------------------------------------------------------------------- */

typedef struct weather /* of one server; in permille */
{
	int lost, timed_out, busy, rate, fault, miscount, garbage, token, configuration, entry_trouble, too_big;
} weather;

typedef struct record /* of a profile */
{
	bool bad, faulty, huge; /* refused; fails the request it is in; too big for any */
	int64_t version;
	int value;
	int64_t arrived_at;
} record;

/* A request under way, of a token or of messages; its arrival and its reply are two events. */
typedef struct flight
{
	bool used, token;
	int life; /* of the sender: a reply to one that has crashed reaches nobody */
	pe_slot *slot;
	int link, server, enrichment, shard;
	bool alone;
	int count;
	int indexes[MAX_KEYS];
	int keys[MAX_KEYS];
	int64_t versions[MAX_KEYS];
	int values[MAX_KEYS];
	bool lands[MAX_KEYS]; /* the platform takes it in */
	int64_t sent_at, arrives_at, replies_at;
	int arrivals; /* still to come: the network may repeat one */
	pe_result result;
	pe_result_entry entries[MAX_KEYS + 1];
} flight;

typedef struct platform
{
	weather weather[MAX_SERVERS];
	bool wrong_schema[MAX_ENRICHMENTS];
	bool sick[MAX_ENRICHMENTS]; /* for good: none of its requests succeeds, while its server is well */
	record records[MAX_ENRICHMENTS][MAX_KEYS];
	flight flights[MAX_FLIGHTS];
	int flight_count; /* highest used + 1 */
} platform;

/* ---- the oracle ------------------------------------------------------------------------ */

typedef struct key_fate
{
	int source_value;       /* as the last refresh that committed saw it */
	int64_t newest_version; /* committed by a refresh */
	int newest_value;
	bool in_flight;
	int64_t sent_version; /* last sent, by any life */
	int64_t sent_at;
	bool unrecorded;       /* it was sent in a life that crashed before it could say so */
	int64_t said_accepted; /* version that the platform said it accepted */
	int said_in_life;
	bool settled;                  /* that acceptance was committed */
	bool uncertain;                /* its platform value may be an older one, after an unknown */
	int refusals, too_big, faults; /* of the version last sent */
} key_fate;

typedef struct server_watch
{
	int failures; /* in a row */
	int in_flight;
	int64_t paused_until;
	double requests, messages; /* what the rates allow */
	int64_t filled_at;
	pe_throttle_limits limits;
} server_watch;

typedef struct enrichment_watch
{
	pe_sender_enrichment_info told; /* by the last scan */
	bool known;
	int64_t quiet_until; /* blocked for its configuration: no probe before */
	int in_flight[PE_SHARDS];
	int wrong_epochs; /* how often its schema became wrong, or was when a sender began */
	int wrongly_dead; /* good records among the dead letters */
	int deaths;
	int64_t resumed_at;                   /* in the tables; what was begun before is no reason to block */
	int64_t fresh_since;                  /* nor, for the sender, what was begun before it heard of it */
	bool evidence[PE_BLOCK_IDENTITY + 1]; /* an answer since then that may block: for that reason */
} enrichment_watch;

typedef struct oracle
{
	key_fate keys[MAX_ENRICHMENTS][MAX_KEYS];
	server_watch servers[MAX_SERVERS];
	enrichment_watch enrichments[MAX_ENRICHMENTS];
	long arrivals, duplicates, unknowns, backwards;
} oracle;

/* ---- the world ------------------------------------------------------------------------- */

typedef struct world
{
	uint64_t random;
	int64_t now, wall_offset;
	int64_t gap;
	int enrichments, servers, keys, shards, chunk;
	bool jumps, clear;
	int crash, trouble; /* permille: of the sender's steps; of the database's transactions */
	int64_t epoch_ends, operator_at;
	int watched;                   /* enrichment + 1 that an operator looks after next */
	bool altered[MAX_LINKS];       /* since the last scan */
	int64_t altered_at[MAX_LINKS]; /* as the sender was told */
	database db;
	platform platform;
	oracle oracle;
	pe_sender *sender;
	int life;
	tap_memory memory;
	pe_env env;
	long steps, requests, crashes, busy_steps;
	int64_t quiet_after; /* how long it took to get everything delivered in clear weather */
	char fault[256];
} world;

extern int roll(world *w, int sides);
extern bool chance(world *w, int permille);
extern int64_t wall(const world *w);
/* Somebody looks after this enrichment, within so long. */
extern void operator_comes(world *w, int e, int within);
extern int shard_of(const world *w, int key);
extern int server_of(int link);
/* The first complaint stops the world. */
extern void complain(world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* database.c */
extern void database_scan(world *w);
extern void database_load(world *w, pe_slot *slot);
extern void database_build(world *w, const pe_action *action);
extern void database_commit(world *w, pe_slot *slot);
extern void database_report(world *w, const pe_action *action);
extern void refresh_begin(world *w, int e, int percent, bool retract_all);
extern void refresh_go_on(world *w, int e);
extern void database_resume(world *w, int e);
extern void database_redrive(world *w, int e);
extern void database_drop(world *w, int e);
extern void database_free(world *w);

/* platform.c */
extern flight *new_flight(world *w);
extern void platform_answer(world *w, flight *f);
extern void platform_token(world *w, int link);
extern void platform_change_weather(world *w);
/* The earliest thing on the wire: takes it when it is due. When that is: PE_NEVER for nothing. */
extern bool platform_step(world *w);
extern int64_t platform_next(const world *w);

/* oracle.c */
extern void oracle_resumed(world *w, int e);
extern void oracle_altered(world *w, int link);
extern void oracle_token(world *w, const flight *f, pe_status status);
extern void oracle_reported(world *w, const pe_action *action);
extern void oracle_scanned(world *w, const pe_sender_enrichment_info *info);
extern void oracle_refreshed(world *w, int e, int key, int source, const score *newest);
extern void oracle_sent(world *w, const flight *f);
extern void oracle_replied(world *w, const flight *f);
extern void oracle_arrived(world *w, const flight *f);
extern void oracle_committed(world *w, const pe_slot *slot, const loaded *l);
extern void oracle_crashed(world *w);
extern bool oracle_is_quiet(const world *w);
extern void oracle_judge(world *w);

#endif /* WORLD_H */
