/*
 * delivery.h
 *		The sender's side of the queue tables: what the worker reads and writes, one
 *		short transaction for each step, none of them open while a socket is in use.
 *
 * Every function here runs a transaction of its own. An error is reported to the
 * server's log and told by false; the caller tries again later. Only a worker calls
 * these.
 */
#ifndef PE_DELIVERY_H
#define PE_DELIVERY_H

#include "postgres.h"

#include "access/htup.h"
#include "access/tupdesc.h"
#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

#include "platform/batch_job.h"
#include "platform/message.h"
#include "platform/sender.h"

/* An enrichment as the last scan found it. */
typedef struct PeTarget
{
	int32 enrichment_id;
	const char *name;
	const char *server;
	Oid owner;
	bool paused;
	const char *namespace_code;
	const char *tenant;
	const char *schema_id;
	const char *dataset_id;
	const char *inlet_id; /* last part of the inlet's URL */
	const char *flow_id;
	const char *org_id;
	bool identity_matches;
	int64 ready_in; /* microseconds; negative: it is */
	pe_block blocked;
	const char *blocked_reason;
	int64 probe_in; /* microseconds, -1: none */
	pe_throttle_limits limits;
	int shards;          /* bit mask: has something due for streaming */
	int64 next_retry_in; /* microseconds, -1: none */
	pe_delivery_mode mode;
	int64 job_id;       /* of the batch under way; 0: none */
	int batch_failures; /* batches that failed in a row, lately */
	int64 held_for;     /* microseconds since a batch landed too lately; not positive: no */
	int64 resumes;      /* how often resume() was called */
	bool outage;        /* the tables say that the platform does not answer */
	bool no_budget;     /* ... that there was none for a batch, within the last hour */
} PeTarget;

/* Chunks of the enrichment wait for a batch: only retries are streamed. */
extern bool pe_target_only_batches(const PeTarget *target);

/* Of so many small chunks at most is a request made. */
#define PE_MERGED_CHUNKS 100

/* A row of the outbox in a load: its keys are count of the load's from first on. */
typedef struct PeLoadedChunk
{
	int64 chunk_id;
	int first;
	int count;
} PeLoadedChunk;

/*
 * What a slot holds: keys as text of the server, each once, with their versions. Of chunks, which are in
 * their order; or, without any, retries.
 */
typedef struct PeLoad
{
	MemoryContext context;
	PeLoadedChunk *chunks;
	int chunk_count;
	TimestampTz waited; /* the earliest not_before of a chunk, 0: none has one */
	int count;
	char **keys;
	int64 *versions;
	bool *retracted; /* as last sent */
	bool overdue;    /* something of it was sent long after it was due, see sent.h */
} PeLoad;

/* One request, for delivery_log. Bounded texts, so that it needs no memory of its own. */
typedef struct PeLogRow
{
	TimestampTz at;
	int32 enrichment_id;
	int64 chunk_id;
	int shard;
	int messages;
	int64 bytes;
	int http_status;
	const char *outcome;
	int accepted;
	int superseded;
	int retried;
	int dead;
	double latency_ms;
	char platform_id[96];
	char error[256];
} PeLogRow;

typedef enum PeDeliveryEnd
{
	PE_DELIVERY_GOES_ON,
	PE_DELIVERY_GONE,  /* the extension was dropped */
	PE_DELIVERY_FENCED /* another sender has taken over */
} PeDeliveryEnd;

/* Set when a step found that the worker must leave. */
extern PeDeliveryEnd pe_delivery_end;

/*
 * Runs task(arg) in a transaction with SPI connected. False when it raised, or when the
 * worker must leave; pe_delivery_contended tells whether it raised for somebody else's lock.
 */
extern bool pe_delivery_contended;
typedef void (*PeTask)(void *arg);
extern bool pe_delivery_step(const char *activity, PeTask task, void *arg);

/*
 * The extension's OID, or InvalidOid (needs a transaction); and the session lock that
 * makes this the only sender, which must be let go explicitly before the process ends.
 */
extern Oid pe_delivery_extension(void);
extern bool pe_delivery_take_lock(Oid extension);

/* A new epoch: acknowledgements of earlier senders are refused from now on. */
extern bool pe_delivery_new_epoch(int64 *epoch);

/* All provisioned enrichments, as PeTarget *, in context. */
extern bool pe_delivery_scan(MemoryContext context, List **targets);

/*
 * The next chunks or the due retries of a slot, as a child context of context: *load is
 * NULL when nothing is due. Small chunks are taken together, as far as they have room in a request. chunks:
 * or retries only. past has room for PE_CHUNK_KEYS, and is zero before.
 */
extern bool pe_delivery_load(MemoryContext context, const pe_slot *slot, bool chunks, int64 after_chunk,
                             PeLoad **load, pe_work_kind *kind, pe_key_past *past);

/* The next chunk of a batch job; *load is NULL when there is none. */
extern bool pe_delivery_load_of_job(MemoryContext context, int32 enrichment_id, int64 job_id,
                                    int64 after_chunk, PeLoad **load);

/*
 * Reads the present values of some of a load's keys and writes them into body, which
 * the caller has begun, in the order of the keys' bytes and until it is full. The three lists
 * of built have room for PE_CHUNK_KEYS each.
 */
typedef struct PeBuilt
{
	int sent[PE_CHUNK_KEYS];
	int sent_count;
	int superseded[PE_CHUNK_KEYS];
	int superseded_count;
	int too_big[PE_CHUNK_KEYS];
	int too_big_count;
} PeBuilt;

extern bool pe_delivery_build(int32 enrichment_id, PeLoad *load, const int *keys, int key_count,
                              pe_message_body *body, PeBuilt *built);

/* A slot whose keys' dispositions are to be written, and what it holds. */
typedef struct PeSettled
{
	const pe_slot *slot;
	const PeLoad *load;
} PeSettled;

/* Writes the dispositions of some slots' keys in one transaction, and with them the log rows that wait. */
extern pe_written pe_delivery_acknowledge(const PeSettled *settled, int count, int64 epoch);

/*
 * Writes down that an enrichment is blocked, or no longer; but nothing when resume() was
 * called since resumes was read: the next scan tells of that.
 */
extern pe_written pe_delivery_report(int32 enrichment_id, pe_block block, const char *reason, int64 probe_in,
                                     int64 resumes);

/*
 * Writes down since how many microseconds the platform has not answered for an enrichment, or -1: it
 * does. *error, in the current memory context: what last failed, NULL when that is not known.
 */
extern pe_written pe_delivery_note_outage(int32 enrichment_id, int64 since, char **error);

/* Log rows wait in memory until the next acknowledgement or flush. */
extern void pe_delivery_log(const PeLogRow *row);
extern int pe_delivery_log_waiting(void);
extern void pe_delivery_log_flush(void);

/* Makes the log's partitions of the next days, drops those past retention. Failure only delays it. */
extern void pe_delivery_keep_partitions(void);

/* Runs a task that writes to the queue, and tells how that ended. */
extern pe_written pe_delivery_write(const char *activity, PeTask task, void *arg);

/* For tasks that write: is this sender still the one, and is the enrichment still there? */
extern bool pe_delivery_holds(int64 epoch);
extern bool pe_delivery_enrichment_exists(int32 enrichment_id);

/* Adds to an enrichment's counters, which an acknowledgement of its keys does. */
extern void pe_delivery_count_up(int32 enrichment_id, int64 accepted, int64 superseded, int64 retried,
                                 int64 dead);

/* A statement that is prepared once. */
typedef struct PeStatement
{
	const char *sql;
	int nargs;
	Oid types[14];
	struct _SPI_plan *plan;
} PeStatement;

extern int pe_statement_run(PeStatement *statement, Datum *values, const char *nulls, bool read_only,
                            long limit);

/* A bigint, or timestamp, of a statement's row; otherwise where it is NULL. */
extern int64 pe_statement_int64(HeapTuple row, TupleDesc desc, int column, int64 otherwise);

/*
 * A next try is never more than five minutes away. One that seems to be is from before the
 * clock was set back, and due.
 */
#define PE_RETRY_DUE(next_at) "(" next_at " <= now() OR " next_at " > now() + interval '10 minutes')"

#endif /* PE_DELIVERY_H */
