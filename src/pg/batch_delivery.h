/*
 * batch_delivery.h
 *		Delivery by batch. batch_delivery.c does what the jobs' state machines
 *		(platform/batch_job.h) ask for; batch_tables.c has the transactions.
 */
#ifndef PE_BATCH_DELIVERY_H
#define PE_BATCH_DELIVERY_H

#include "postgres.h"

#include "platform/batch_job.h"
#include "pg/exchange.h"
#include "pg/failed_read.h"

/* A job: its row, and what is in hand. */
typedef struct PeBatchJob
{
	pe_job job;
	MemoryContext context;
	int32 enrichment_id;
	PeLink *link;
	const char *dataset_id;

	/* the row */
	int64 job_id; /* 0: none yet */
	char external_id[64];
	char batch_id[64];
	int64 keys;
	int files;
	int64 last_chunk;
	int keys_done; /* of the chunk that follows it */
	int64 records;
	int64 bytes;
	int64 superseded;
	int64 retracted;
	bool completed;

	/* What the next PE_JOB_SAVE writes besides: keys for which there is no file big enough. */
	List *too_big; /* char *, in file_context */

	/* PE_JOB_PUT: what the file under way adds when it has arrived */
	MemoryContext file_context;
	pe_message_body body;
	int64 next_chunk;
	int next_keys_done;
	int64 file_superseded;
	int64 file_retracted;
	bool more;

	int budget_start; /* PE_JOB_BUDGET: where the next page begins, and what was counted so far */
	int budget_count;
	PeFailedRead *read; /* PE_JOB_READ */
	int64 resumes;      /* the target's, when the last request was begun */
	int64 known;        /* refused records whose key is known */
} PeBatchJob;

/*
 * Takes a step of a job, if there is one to be taken: at most one transaction, or one
 * call started. False when there is none; then *until is brought forward to when there
 * may be.
 */
extern bool pe_batch_step(PeWorker *worker, int64 now, int64 *until);

/* The scan has found new targets: look at them. */
extern void pe_batch_look(PeWorker *worker);

/* Is it about to be known whether the enrichment's chunks go by batch? */
extern bool pe_batch_deciding(int32 enrichment_id);

/* Does the platform answer the calls of the enrichment's job, or did it the last one's? As pe_job_reach. */
extern pe_reach pe_batch_reach(const PeQueue *queue, int64 *since);

/* profenrich.batch_budget was set anew: enrichments that found none ask again. */
extern void pe_batch_budget_changed(PeWorker *worker);

/* ---- batch_tables.c: a transaction each ------------------------------------------------- */

/* The row of job->job_id; false when it could not be read or is no more. past: as it says. */
extern bool pe_batch_load(PeBatchJob *job, pe_job_past *past);

/* Keys that are queued, due and of no job; counted no further than needed to know that there are enough. */
extern bool pe_batch_due(int32 enrichment_id, int64 enough, int64 *keys);

/* Batches that this database has begun in the last day under one organisation's sandbox. */
extern bool pe_batch_begun(const PeTarget *target, int *count);
/* The data sets of this database's enrichments, as char * in context. */
extern bool pe_batch_own_datasets(MemoryContext context, List **ids);

/* held: chunks that a slot of the sender has in hand. */
extern pe_written pe_batch_claim(PeBatchJob *job, int64 epoch, const int64 *held, int held_count);
extern pe_written pe_batch_save(PeBatchJob *job, int64 epoch);
extern pe_written pe_batch_note(PeBatchJob *job, int64 epoch, const PeFailedRow *rows, int count);
extern pe_written pe_batch_settle(PeBatchJob *job, int64 epoch);
/* No batch is begun for so many microseconds; the claim of one ends it. */
extern pe_written pe_batch_postpone(PeBatchJob *job, int64 epoch, int64 period);
extern pe_written pe_batch_give_back(PeBatchJob *job, int64 epoch);

/* Rows of jobs that are over, past retention. */
extern void pe_batch_forget_old(void);

#endif /* PE_BATCH_DELIVERY_H */
