/*
 * batch_job.h
 *		The decisions about delivering by batch, as a state machine without database,
 *		network or clock: whether a backlog should go by batch, and what the next step
 *		of a batch is.
 *
 * The caller asks pe_job_next what to do now, does it, and tells how it ended; then
 * asks again. The job's row in the caller's table holds its state, its ids and how far
 * its files are: forgetting a job at any moment (a crash) and beginning again with
 * what the row says loses nothing and acknowledges nothing twice, because every call to
 * the platform may be repeated and the chunks leave the queue only with PE_JOB_SETTLE,
 * which is one transaction and the last step.
 *
 *	steps that call the platform		answered by pe_job_answered
 *	PE_JOB_BUDGET		count the sandbox's batches of the last day
 *	PE_JOB_FIND			look for the batch by its external id
 *	PE_JOB_CREATE		create it
 *	PE_JOB_PUT			build the next file from the chunks that are left, and upload it
 *	PE_JOB_COMPLETE		say that all files are there
 *	PE_JOB_POLL			ask what became of it
 *	PE_JOB_READ			get some of the records that were refused
 *	PE_JOB_ABORT		take back a batch that nobody wants any more
 *
 *	steps that write the tables			answered by pe_job_written
 *	PE_JOB_CLAIM		make the row, give it the chunks that are due
 *	PE_JOB_SAVE			write state, ids and counts
 *	PE_JOB_SETTLE		acknowledge: the chunks go, refused records are noted
 *	PE_JOB_GIVE_BACK	the batch failed: its chunks are queued again
 *	PE_JOB_BLOCK		write down that the enrichment is blocked, or no longer
 *	PE_JOB_POSTPONE		write down that the day's budget is used up
 *
 *	PE_JOB_WAIT			nothing until the given time
 *	PE_JOB_FORGET		the job is over
 */
#ifndef PE_BATCH_JOB_H
#define PE_BATCH_JOB_H

#include "pe_base.h"
#include "platform/catalog.h"
#include "platform/delivery_mode.h"
#include "platform/outcome.h"
#include "platform/sender.h"

/* Profile and event batches that a sandbox takes in a day, all its feeds together. */
#define PE_JOB_DAILY_BUDGET 90
/* More refused records than that in a hundred are no bad records but a wrong mapping: the batch fails. */
#define PE_JOB_ERROR_PERCENT 50
/* Batches of an enrichment that may fail in a row before its chunks are streamed. */
#define PE_JOB_MAX_FAILURES 2
/* Unfinished after that, a batch has failed. */
#define PE_JOB_PATIENCE (INT64_C(24) * 3600 * PE_SECOND)

typedef struct pe_job_choice
{
	pe_delivery_mode mode;
	int64_t due_keys;          /* queued, due, and of no job */
	pe_mode_limits bounds;     /* of streaming, in auto mode */
	pe_throttle_limits limits; /* of the server */
	int recent_failures;       /* batches of it that failed in a row, lately */
} pe_job_choice;

/* Should what is due go by batch? */
extern bool pe_job_wanted(const pe_job_choice *choice);
/* Must chunks wait for a batch, instead of being streamed meanwhile? */
extern bool pe_job_only_batches(pe_delivery_mode mode, int recent_failures);

/* What the row says; the order is that of a life. */
typedef enum pe_job_state
{
	PE_JOB_WISHED,    /* no row yet */
	PE_JOB_CLAIMED,   /* it has chunks; the platform may know of it or not */
	PE_JOB_CREATED,   /* the platform knows it; files go up */
	PE_JOB_UPLOADED,  /* all files are there */
	PE_JOB_COMPLETED, /* the platform was told so: its turn */
	PE_JOB_LANDED,    /* ingested: what it refused is being read */
	PE_JOB_DONE,      /* acknowledged */
	PE_JOB_FAILED     /* its chunks were given back */
} pe_job_state;

extern const char *pe_job_state_name(pe_job_state state);
/* PE_JOB_WISHED for a name that is none. */
extern pe_job_state pe_job_state_of_name(const char *name);

typedef enum pe_job_step
{
	PE_JOB_WAIT,
	PE_JOB_BUDGET,
	PE_JOB_FIND,
	PE_JOB_CREATE,
	PE_JOB_PUT,
	PE_JOB_COMPLETE,
	PE_JOB_POLL,
	PE_JOB_READ,
	PE_JOB_ABORT,
	PE_JOB_CLAIM,
	PE_JOB_SAVE,
	PE_JOB_SETTLE,
	PE_JOB_GIVE_BACK,
	PE_JOB_BLOCK,
	PE_JOB_POSTPONE,
	PE_JOB_FORGET
} pe_job_step;

typedef struct pe_job
{
	pe_job_state state;
	pe_block block;   /* why nothing is done; NONE while something is */
	char reason[256]; /* of the block, of the failure, or of what it waits for */
	size_t max_file;  /* bytes of a file, learnt */
	int64_t refused;  /* records that the platform says it refused, of a batch that landed */
	bool exhausted;   /* put off because the day's budget is used up; reason says so */

	/* private */
	bool postponed; /* ... which the tables know */
	uint64_t random;
	pe_job_step step; /* asked for, not yet answered; WAIT: none */
	bool paused;
	bool gone;
	bool aborted;     /* the platform was asked to drop the batch */
	bool unsaved;     /* the row says less than state */
	bool failing;     /* gives its chunks back */
	bool doubtful;    /* a creation whose outcome is not known */
	bool looked;      /* ... and was looked for */
	bool ask;         /* what the platform thinks of the batch comes before anything else */
	bool report;      /* the block is to be written down */
	bool token_tried; /* had its one more try with a new token */
	bool read;        /* all that was refused is known */
	bool empty;       /* all files are there and no record is in them */
	int budget;       /* batches a day */
	int tries;
	bool answered;         /* the last call was, whatever the answer */
	int failures;          /* calls in a row that were not */
	int64_t failing_since; /* when the first of them ended */
	int objections;        /* refusals in a row of a batch that is as it should be */
	int polls;
	int64_t next_try;
	int64_t completed;
	int write_tries;
	int64_t next_write;
} pe_job;

/* What a job begins with: its row, or zeroes for a new one. */
typedef struct pe_job_past
{
	pe_job_state state;
	bool empty;     /* all files are there and no record is in them */
	int64_t waited; /* microseconds since it was completed, where it was */
} pe_job_past;

extern void pe_job_begin(pe_job *job, const pe_job_past *past, uint64_t seed, int budget, size_t max_file,
                         int64_t now);

/*
 * How things stand. paused: nothing more may be sent. stored, probe_at: the block that
 * the tables know of; where a job is under way it is the one that probes. gone: the
 * enrichment was dropped.
 */
extern void pe_job_watch(pe_job *job, bool paused, pe_block stored, int64_t probe_at, bool gone);

/* Is it about to be known whether there is a batch, so that streaming should wait for a moment? */
extern bool pe_job_deciding(const pe_job *job);

/* What to do now. until: for WAIT. */
extern pe_job_step pe_job_next(pe_job *job, int64_t now, int64_t *until);

/* How a call ended. All but outcome belongs to ACCEPTED ones. */
typedef struct pe_job_answer
{
	pe_outcome outcome;
	bool unasked; /* there was no call: this says nothing of the platform */
	int http_status;
	int64_t retry_after;  /* microseconds; 0 when the reply did not say */
	const char *reason;   /* words for people, or NULL */
	int count;            /* BUDGET: batches of the last day */
	bool found;           /* FIND: there is one of that id */
	pe_batch_state batch; /* FIND, POLL */
	bool loading;         /* FIND, POLL: it takes files still */
	int64_t taken;        /* POLL: records in the batch; -1 when not known */
	int64_t refused;      /* POLL: records that were refused; -1 when not known */
	bool more;            /* BUDGET: pages are left. PUT: chunks are. READ: refused records are */
	int64_t records;      /* PUT: in all files so far. READ: refused ones whose key is known, so far */
} pe_job_answer;

extern void pe_job_answered(pe_job *job, int64_t now, const pe_job_answer *answer);
/* Does the platform answer the job's calls? *since: of an outage, when the first one failed. */
extern pe_reach pe_job_reach(const pe_job *job, int64_t *since);
extern void pe_job_written(pe_job *job, int64_t now, pe_written written);

#endif /* PE_BATCH_JOB_H */
