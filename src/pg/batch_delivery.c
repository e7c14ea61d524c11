/*
 * batch_delivery.c
 *		Delivery by batch: does what the jobs' state machines ask for.
 *
 * An enrichment has one job at a time, and of all jobs one has a call to the platform
 * under way: that bounds memory to one file, and leaves the connection to the streams.
 * Calls are asynchronous as all of the worker's are; the steps that write are
 * batch_tables.c's.
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "platform/batch.h"
#include "platform/call.h"
#include "pg/batch_delivery.h"
#include "pg/env.h"
#include "pg/guc.h"
#include "pg/unix_time.h"

/* How long it is left alone after the budget was found used up: batches leave it one by one. */
#define BUDGET_PERIOD (900 * PE_SECOND)
/* Counting due chunks takes no more than a part in so many of the worker's time. */
#define DUE_SHARE 20

static List *jobs = NIL; /* PeBatchJob * */
static bool look = false;
static int64 next_due = 0;
static int64 next_call = 0; /* no faster than the server may be called */

/* The one call under way. */
static struct
{
	PeBatchJob *job; /* NULL: none */
	pe_job_step step;
	MemoryContext context;
	pe_env env;
	pe_pool pool;
	pe_call call;
	PeLogRow log;
	List *own_datasets; /* PE_JOB_BUDGET */
	int begun;
} flight;

/* ---- which jobs there are -------------------------------------------------------------- */

static PeTarget *
target_of(PeWorker *worker, int32 enrichment_id)
{
	PeQueue *queue = pe_queue_of(worker, enrichment_id, false);

	return queue != NULL ? queue->target : NULL;
}

static PeBatchJob *
job_of(int32 enrichment_id)
{
	ListCell *cell;

	foreach (cell, jobs)
		if (((PeBatchJob *) lfirst(cell))->enrichment_id == enrichment_id)
			return lfirst(cell);
	return NULL;
}

static PeBatchJob *
make_job(PeWorker *worker, const PeTarget *target, int64 job_id)
{
	MemoryContext context =
	    AllocSetContextCreate(worker->context, "profenrich batch", ALLOCSET_DEFAULT_SIZES);
	PeBatchJob *job = MemoryContextAllocZero(context, sizeof(PeBatchJob));

	job->context = context;
	job->enrichment_id = target->enrichment_id;
	job->link = pe_link_of(worker, target->server, target->owner);
	job->dataset_id = MemoryContextStrdup(context, target->dataset_id);
	job->job_id = job_id;
	job->file_context = AllocSetContextCreate(context, "profenrich batch file", ALLOCSET_DEFAULT_SIZES);
	return job;
}

static void
begin_job(PeWorker *worker, PeBatchJob *job, const pe_job_past *past)
{
	MemoryContext caller = MemoryContextSwitchTo(worker->context);

	pe_job_begin(&job->job, past, (uint64_t) GetCurrentTimestamp() ^ (uint64_t) job->enrichment_id,
	             pe_batch_budget, (size_t) pe_batch_file_size * 1024, pe_worker_now());
	jobs = lappend(jobs, job);
	MemoryContextSwitchTo(caller);
}

static void
forget_job(PeWorker *worker, PeBatchJob *job)
{
	PeQueue *queue = pe_queue_of(worker, job->enrichment_id, false);
	int64 since;

	/* That it was not answered is not the next one's concern: an outage ends with an answer. */
	if (queue != NULL)
		queue->batch_reach =
		    pe_job_reach(&job->job, &since) == PE_REACH_ANSWERS ? PE_REACH_ANSWERS : PE_REACH_UNKNOWN;
	/* Chunks have waited for the decision. */
	if (job->job_id == 0)
		pe_sender_wake(worker->sender);
	jobs = list_delete_ptr(jobs, job);
	MemoryContextDelete(job->context);
}

/* A job of which the tables know and we do not: of the worker before. */
static void
take_over(PeWorker *worker, const PeTarget *target)
{
	PeBatchJob *job = make_job(worker, target, target->job_id);
	pe_job_past past;

	if (pe_batch_load(job, &past))
		begin_job(worker, job, &past);
	else
		MemoryContextDelete(job->context);
}

static bool
may_begin(const PeTarget *target)
{
	return target->mode != PE_MODE_STREAMING && !target->paused && target->identity_matches &&
	       target->ready_in <= 0 && target->held_for <= 0 &&
	       (target->blocked == PE_BLOCK_NONE || target->probe_in == 0);
}

static void
consider(PeWorker *worker, const PeQueue *queue, int64 now)
{
	const PeTarget *target = queue->target;
	pe_job_choice choice = {.mode = target->mode,
	                        .bounds = {pe_batch_min_keys, pe_batch_max_streaming},
	                        .limits = target->limits,
	                        .recent_failures = target->batch_failures};
	pe_job_past past = {.state = PE_JOB_WISHED};
	PeBatchJob *job;

	if (now < queue->no_batch_before || !may_begin(target) ||
	    !pe_batch_due(target->enrichment_id, pe_batch_min_keys, &choice.due_keys) || !pe_job_wanted(&choice))
		return;
	job = make_job(worker, target, 0);
	begin_job(worker, job, &past);
	/* Where it probes, its first answer may end the block. */
	pe_job_watch(&job->job, false, target->blocked, now, false);
}

void
pe_batch_look(PeWorker *worker)
{
	ListCell *cell;

	look = true;
	foreach (cell, jobs)
	{
		PeBatchJob *job = lfirst(cell);
		const PeTarget *target = target_of(worker, job->enrichment_id);
		int64 now = pe_worker_now();

		if (target != NULL)
			job->link = pe_link_of(worker, target->server, target->owner);
		pe_job_watch(&job->job,
		             target != NULL && (target->paused || !target->identity_matches || target->ready_in > 0),
		             target != NULL ? target->blocked : PE_BLOCK_NONE,
		             target == NULL || target->probe_in < 0 ? PE_NEVER : now + target->probe_in,
		             target == NULL ||
		                 (job->job_id != 0 && job->job.state < PE_JOB_DONE && target->job_id != job->job_id));
	}
}

/* Which enrichments want a job. */
static bool
look_for_jobs(PeWorker *worker, int64 now, int64 *until)
{
	ListCell *cell;

	if (look && now < next_due)
		*until = Min(*until, next_due);
	if (!look || now < next_due)
		return false;
	look = false;
	foreach (cell, worker->enrichments)
	{
		const PeQueue *queue = lfirst(cell);
		const PeTarget *target = queue->target;

		if (target == NULL || job_of(target->enrichment_id) != NULL)
			continue;
		if (target->job_id != 0)
			take_over(worker, target);
		else
			consider(worker, queue, now);
	}
	next_due = pe_worker_now() + DUE_SHARE * (pe_worker_now() - now);
	return true;
}

pe_reach
pe_batch_reach(const PeQueue *queue, int64 *since)
{
	const PeBatchJob *job = job_of(queue->id);

	*since = 0;
	return job != NULL ? pe_job_reach(&job->job, since) : queue->batch_reach;
}

void
pe_batch_budget_changed(PeWorker *worker)
{
	ListCell *cell;

	foreach (cell, worker->enrichments)
		((PeQueue *) lfirst(cell))->no_batch_before = 0;
	foreach (cell, jobs)
		((PeBatchJob *) lfirst(cell))->job.budget = pe_batch_budget;
}

bool
pe_batch_deciding(int32 enrichment_id)
{
	const PeBatchJob *job = job_of(enrichment_id);

	return job != NULL && pe_job_deciding(&job->job);
}

/* ---- calls -------------------------------------------------------------------------------- */

static void
end_flight(void)
{
	PeBatchJob *job = flight.job;

	if (job != NULL)
		pe_message_free(&job->body);
	flight.job = NULL;
	if (flight.context != NULL)
		MemoryContextDelete(flight.context);
	flight.context = NULL;
}

static void
log_call(const pe_result *result, const pe_http_response *response, pe_outcome outcome)
{
	/* A poll that went well is not news. */
	if (outcome == PE_OUTCOME_ACCEPTED && flight.step != PE_JOB_PUT && flight.step != PE_JOB_CREATE &&
	    flight.step != PE_JOB_COMPLETE)
		return;
	flight.log.shard = -1;
	flight.log.http_status = result->transport == PE_OK ? result->http_status : 0;
	flight.log.outcome = outcome == PE_OUTCOME_ACCEPTED ? "uploaded" : pe_outcome_name(outcome);
	if (outcome == PE_OUTCOME_ACCEPTED && flight.step != PE_JOB_PUT)
		flight.log.outcome = flight.step == PE_JOB_CREATE ? "created" : "completed";
	flight.log.latency_ms = response != NULL ? (double) response->elapsed_us / 1000 : 0;
	strlcpy(flight.log.platform_id, flight.job->batch_id, sizeof(flight.log.platform_id));
	if (outcome != PE_OUTCOME_ACCEPTED)
		strlcpy(flight.log.error, result->reason != NULL ? result->reason : "", sizeof(flight.log.error));
	pe_delivery_log(&flight.log);
}

/* Batches of other feeds: what our own streams and batches make in the lake is known without asking. */
static pe_status
count_budget(PeBatchJob *job, const pe_http_response *response, pe_job_answer *answer, pe_error *err)
{
	pe_batch_list list;
	pe_status status = pe_batch_read_list(&flight.env, response->body, response->body_length, &list, err);

	if (status != PE_OK)
		return status;
	for (int i = 0; i < list.count; i++)
	{
		ListCell *cell;
		bool ours = false;

		foreach (cell, flight.own_datasets)
			ours |= strcmp(lfirst(cell), list.items[i].dataset_id) == 0;
		job->budget_count += !ours;
	}
	job->budget_start += PE_BATCH_PAGE;
	answer->more = list.count == PE_BATCH_PAGE && job->budget_count < pe_batch_budget;
	pe_batch_list_free(&list);
	answer->count = job->budget_count + flight.begun;
	return PE_OK;
}

static pe_status
read_batch(const PeBatchJob *job, const pe_http_response *response, pe_job_answer *answer, pe_error *err)
{
	pe_batch_list list;
	const pe_batch_info *info;
	pe_status status = pe_batch_read_list(&flight.env, response->body, response->body_length, &list, err);

	if (status != PE_OK)
		return status;
	answer->found = list.count > 0;
	if (list.count == 0 && flight.step == PE_JOB_POLL)
		status = pe_fail(err, PE_BAD_REPLY, "the answer about the batch does not describe it");
	else if (list.count > 0)
	{
		info = &list.items[0];
		answer->batch = info->state;
		answer->loading = strcasecmp(info->status, "loading") == 0;
		answer->taken = info->input_records;
		answer->refused = info->failed_records;
		if (info->error_text[0] != '\0' || info->state != PE_BATCH_GOOD)
			answer->reason = MemoryContextStrdup(
			    flight.context, info->error_text[0] != '\0' ? info->error_text : info->status);
		if (flight.step == PE_JOB_FIND)
			strlcpy(flight.job->batch_id, info->id, sizeof(flight.job->batch_id));
	}
	pe_batch_list_free(&list);
	return status;
}

/* What an accepted reply says. */
static pe_status
read_reply(PeBatchJob *job, const pe_http_response *response, pe_job_answer *answer, pe_error *err)
{
	switch (flight.step)
	{
		case PE_JOB_BUDGET:
			return count_budget(job, response, answer, err);
		case PE_JOB_FIND:
		case PE_JOB_POLL:
			return read_batch(job, response, answer, err);
		case PE_JOB_CREATE:
			return pe_batch_created(&flight.env, response->body, response->body_length, job->batch_id,
			                        sizeof(job->batch_id), err);
		case PE_JOB_PUT:
			job->files++;
			job->last_chunk = job->next_chunk;
			job->keys_done = job->next_keys_done;
			job->records += job->body.messages;
			job->bytes += (int64) job->body.length;
			job->superseded += job->file_superseded;
			job->retracted += job->file_retracted;
			answer->more = job->more;
			answer->records = job->records;
			return PE_OK;
		case PE_JOB_COMPLETE:
			job->completed = true;
			return PE_OK;
		case PE_JOB_READ:
			answer->more = true;
			return pe_failed_read_take(job->read, pe_link_platform(job->link), response, err);
		default:
			return PE_OK;
	}
}

/* Places of refused records that are not there, and ranges past an end, are answers as good as others. */
static bool
is_answer(const pe_result *result)
{
	return result->transport == PE_OK &&
	       (pe_outcome_of_status(result->http_status) == PE_OUTCOME_ACCEPTED ||
	        (flight.step == PE_JOB_READ &&
	         (result->http_status == 416 || (result->http_status == 404 && !flight.job->read->listed))));
}

static void
call_done(PeWorker *worker, void *arg, const pe_result *result, const pe_http_response *response)
{
	PeBatchJob *job = flight.job;
	pe_error err = {0};
	pe_result failed = *result;
	pe_job_answer answer = {.http_status = result->http_status,
	                        .retry_after = result->retry_after,
	                        .reason = result->reason,
	                        .taken = -1,
	                        .refused = -1};

	if (!is_answer(result))
		answer.outcome = result->transport != PE_OK ? pe_outcome_of_result(result, 1)
		                                            : pe_outcome_of_status(result->http_status);
	else if (pe_link_platform(job->link) == NULL || read_reply(job, response, &answer, &err) != PE_OK)
	{
		/* What was asked for may have been done, but that is not known. */
		answer.outcome = PE_OUTCOME_UNKNOWN;
		answer.reason = failed.reason = err.message;
	}
	log_call(&failed, response, answer.outcome);
	pe_job_answered(&job->job, pe_worker_now(), &answer);
	end_flight();
}

/* As much of a chunk as fits into the file. False when its values cannot be read now. */
static bool
add_chunk(PeBatchJob *job, PeLoad *load, bool *full)
{
	int keys[PE_CHUNK_KEYS];
	int count = 0;
	int done;
	PeBuilt built;

	for (int i = job->next_keys_done; i < load->count; i++)
		keys[count++] = i;
	if (!pe_delivery_build(job->enrichment_id, load, keys, count, &job->body, &built))
		return false;
	for (int i = 0; i < built.sent_count; i++)
		job->file_retracted += load->retracted[built.sent[i]];
	for (int i = 0; i < built.too_big_count; i++)
		job->too_big =
		    lappend(job->too_big, MemoryContextStrdup(job->file_context, load->keys[built.too_big[i]]));
	job->file_superseded += built.superseded_count;
	done = built.sent_count + built.superseded_count + built.too_big_count;
	job->next_keys_done += done;
	*full = done < count;
	if (job->next_keys_done < load->count)
		return true;
	job->next_chunk = load->chunks[0].chunk_id;
	job->next_keys_done = 0;
	return true;
}

/* The next file, from the chunks that are left, a transaction each. False when they cannot be read now. */
static bool
build_file(PeBatchJob *job)
{
	MemoryContext caller = CurrentMemoryContext;
	PeLoad *load = NULL;
	bool full = false;
	bool well = true;

	MemoryContextReset(job->file_context);
	job->too_big = NIL;
	job->next_chunk = job->last_chunk;
	job->next_keys_done = job->keys_done;
	job->file_superseded = job->file_retracted = 0;
	MemoryContextSwitchTo(job->file_context);
	do
	{
		well = pe_delivery_load_of_job(job->file_context, job->enrichment_id, job->job_id, job->next_chunk,
		                               &load);
		if (load == NULL)
			break;
		well = add_chunk(job, load, &full);
		MemoryContextDelete(load->context);
	} while (well && !full);
	MemoryContextSwitchTo(caller);
	job->more = full;
	return well;
}

static pe_status
put_request(PeBatchJob *job, const PeTarget *target, pe_error *err)
{
	pe_message_target message = {
	    .tenant = target->tenant, .enrichment = target->name, .namespace = target->namespace_code};
	pe_status status = pe_message_begin_lines(&job->body, &flight.env, &message, job->job.max_file, err);
	char name[32];

	if (status != PE_OK)
		return status;
	if (!build_file(job))
		return pe_fail(err, PE_INTERNAL, "the batch's values cannot be read");
	snprintf(name, sizeof(name), "part-%05d.json", job->files + 1);
	flight.log.messages = job->body.messages;
	flight.log.bytes = (int64) job->body.length;
	return pe_batch_put_request(&flight.pool, job->batch_id, job->dataset_id, name, job->body.data,
	                            job->body.length, &flight.call, err);
}

static pe_status
budget_request(PeBatchJob *job, const PeTarget *target, pe_error *err)
{
	pe_batch_query query = {.created_after_ms = pe_unix_ms(GetCurrentTimestamp()) - PE_MS_PER_DAY,
	                        .start = job->budget_start};

	if (!pe_batch_own_datasets(flight.context, &flight.own_datasets) ||
	    !pe_batch_begun(target, &flight.begun))
		return pe_fail(err, PE_INTERNAL, "the batches begun cannot be counted");
	return pe_batch_list_request(&flight.pool, &query, &flight.call, err);
}

static pe_status
make_request(PeBatchJob *job, const PeTarget *target, pe_error *err)
{
	pe_pool *pool = &flight.pool;
	pe_call *call = &flight.call;

	switch (flight.step)
	{
		case PE_JOB_BUDGET:
			return budget_request(job, target, err);
		case PE_JOB_FIND:
			return pe_batch_find_request(pool, job->external_id, call, err);
		case PE_JOB_CREATE:
			return pe_batch_create_request(pool, job->dataset_id, job->external_id, PE_JOB_ERROR_PERCENT,
			                               call, err);
		case PE_JOB_PUT:
			return put_request(job, target, err);
		case PE_JOB_COMPLETE:
			return pe_batch_complete_request(pool, job->batch_id, call, err);
		case PE_JOB_POLL:
			return pe_batch_get_request(pool, job->batch_id, call, err);
		case PE_JOB_READ:
			return pe_failed_read_next(job->read, pool, call, err);
		default:
			return pe_batch_abort_request(pool, job->batch_id, call, err);
	}
}

static void
answer_unasked(PeBatchJob *job, const char *reason)
{
	pe_job_answer answer = {.outcome = PE_OUTCOME_NOT_SENT, .unasked = true, .reason = reason};

	pe_job_answered(&job->job, pe_worker_now(), &answer);
}

static void
start_call(PeWorker *worker, PeBatchJob *job, pe_job_step step)
{
	const PeTarget *target = target_of(worker, job->enrichment_id);
	pe_error err = {0};
	pe_result result;
	pe_job_answer answer;
	pe_status status;

	/* Nothing but taking it back needs no target. */
	if (target == NULL && step != PE_JOB_ABORT)
	{
		answer_unasked(job, NULL);
		return;
	}
	memset(&flight, 0, sizeof(flight));
	flight.job = job;
	flight.step = step;
	flight.context = AllocSetContextCreate(worker->context, "profenrich batch call", ALLOCSET_DEFAULT_SIZES);
	flight.env = pe_server_env(flight.context);
	pe_pool_init(&flight.pool, &flight.env);
	flight.log.at = GetCurrentTimestamp();
	flight.log.enrichment_id = job->enrichment_id;
	job->resumes = target != NULL ? target->resumes : 0;
	status = make_request(job, target, &err);
	/* A file without records need not be sent: all of its keys have newer values. */
	if (status == PE_OK && step == PE_JOB_PUT && job->body.messages == 0)
	{
		answer = (pe_job_answer){.outcome = PE_OUTCOME_ACCEPTED, .unasked = true};
		(void) read_reply(job, NULL, &answer, &err);
		job->files--;
		pe_job_answered(&job->job, pe_worker_now(), &answer);
		end_flight();
		return;
	}
	if (status == PE_OK)
	{
		if (target != NULL && target->limits.requests_per_second > 0)
			next_call = pe_worker_now() + (int64) (PE_SECOND / target->limits.requests_per_second);
		if (pe_exchange_call(worker, job->link, &flight.call, call_done, NULL, &result))
			return;
		answer = (pe_job_answer){.outcome = pe_outcome_of_result(&result, 1), .reason = result.reason};
		pe_job_answered(&job->job, pe_worker_now(), &answer);
	}
	else
		answer_unasked(job, err.message);
	end_flight();
}

/* ---- steps -------------------------------------------------------------------------------- */

/* Chunks that the sender has loaded are its own until it has done with them. */
static pe_written
claim(PeWorker *worker, PeBatchJob *job)
{
	PeQueue *queue = pe_queue_of(worker, job->enrichment_id, false);
	int64 held[PE_SHARDS * PE_MERGED_CHUNKS];
	int count = 0;
	pe_written written;

	for (int i = 0; queue != NULL && i < PE_SHARDS; i++)
		for (int j = 0; queue->loads[i] != NULL && j < queue->loads[i]->chunk_count; j++)
			held[count++] = queue->loads[i]->chunks[j].chunk_id;
	written = pe_batch_claim(job, worker->epoch, held, count);
	if (written == PE_WRITTEN && job->job_id == 0)
		pe_job_watch(&job->job, false, PE_BLOCK_NONE, PE_NEVER, true);
	if (written != PE_WRITTEN || queue == NULL || queue->target == NULL)
		return written;
	queue->target->job_id = job->job_id;
	if (queue->told_no_budget && job->job_id != 0)
	{
		ereport(LOG,
		        (errmsg("profenrich: a batch is made for enrichment \"%s\" again", queue->target->name)));
		queue->told_no_budget = false;
	}
	return written;
}

/* An answer to a request begun before resume() blocks nothing: the next look at the tables tells the job. */
static pe_written
report(PeWorker *worker, PeBatchJob *job)
{
	PeQueue *queue = pe_queue_of(worker, job->enrichment_id, false);
	PeTarget *target = queue != NULL ? queue->target : NULL;
	bool blocked = job->job.block != PE_BLOCK_NONE;
	int64 resumes = target != NULL ? target->resumes : 0;
	pe_written written;

	if (blocked && job->resumes != resumes)
		return PE_WRITTEN;
	written = pe_delivery_report(job->enrichment_id, job->job.block, job->job.reason,
	                             blocked ? PE_PROBE_PERIOD : -1, resumes);
	if (written != PE_WRITTEN || target == NULL)
		return written;
	pe_tell_block(queue, job->job.block, job->job.reason);
	target->blocked = job->job.block;
	return written;
}

/* Nothing begins before the period is over: what the tables say of it is for people. */
static pe_written
postpone(PeWorker *worker, PeBatchJob *job)
{
	PeQueue *queue = pe_queue_of(worker, job->enrichment_id, false);
	PeTarget *target = queue != NULL ? queue->target : NULL;
	PeLogRow row = {.at = GetCurrentTimestamp(),
	                .enrichment_id = job->enrichment_id,
	                .shard = -1,
	                .outcome = "no budget"};
	pe_written written = pe_batch_postpone(job, worker->epoch, BUDGET_PERIOD);

	if (written != PE_WRITTEN || target == NULL)
		return written;
	queue->no_batch_before = pe_worker_now() + BUDGET_PERIOD;
	strlcpy(row.error, job->job.reason, sizeof(row.error));
	pe_delivery_log(&row);
	if (!queue->told_no_budget)
		ereport(LOG, (errmsg("profenrich: no batch for enrichment \"%s\": %s", target->name, job->job.reason),
		              errdetail_log(pe_target_only_batches(target) ? "It waits." : "It is streamed.")));
	queue->told_no_budget = true;
	return written;
}

static void
write_step(PeWorker *worker, PeBatchJob *job, pe_job_step step)
{
	pe_written written;

	switch (step)
	{
		case PE_JOB_CLAIM:
			written = claim(worker, job);
			break;
		case PE_JOB_SAVE:
			written = pe_batch_save(job, worker->epoch);
			break;
		case PE_JOB_SETTLE:
			written = pe_batch_settle(job, worker->epoch);
			break;
		case PE_JOB_GIVE_BACK:
			written = pe_batch_give_back(job, worker->epoch);
			break;
		case PE_JOB_POSTPONE:
			written = postpone(worker, job);
			break;
		default:
			written = report(worker, job);
			break;
	}
	pe_job_written(&job->job, pe_worker_now(), written);
	/* Whether the stream may go on depends on it. */
	if (written == PE_WRITTEN && step == PE_JOB_SAVE)
		job->too_big = NIL;
	if (written == PE_WRITTEN && step != PE_JOB_SAVE)
		pe_sender_wake(worker->sender);
}

/* Refused records: what has been read is written before more is. */
static void
read_refused(PeWorker *worker, PeBatchJob *job)
{
	const PeTarget *target = target_of(worker, job->enrichment_id);
	pe_job_answer answer = {.outcome = PE_OUTCOME_ACCEPTED, .unasked = true};

	if (target == NULL)
	{
		answer_unasked(job, NULL);
		return;
	}
	if (job->read == NULL)
		job->read = pe_failed_read_begin(job->context, job->batch_id, target, PE_FAILED_ROW_ERRORS);
	if (job->read->row_count > 0)
	{
		if (pe_batch_note(job, worker->epoch, job->read->rows, job->read->row_count) != PE_WRITTEN)
		{
			answer_unasked(job, "refused records cannot be written down");
			return;
		}
		pe_failed_read_written(job->read);
	}
	if (!job->read->done)
	{
		start_call(worker, job, PE_JOB_READ);
		return;
	}
	answer.records = job->known;
	MemoryContextDelete(job->read->context);
	job->read = NULL;
	pe_job_answered(&job->job, pe_worker_now(), &answer);
}

static void
take_step(PeWorker *worker, PeBatchJob *job, pe_job_step step)
{
	switch (step)
	{
		case PE_JOB_CLAIM:
		case PE_JOB_SAVE:
		case PE_JOB_SETTLE:
		case PE_JOB_GIVE_BACK:
		case PE_JOB_BLOCK:
		case PE_JOB_POSTPONE:
			write_step(worker, job, step);
			break;
		case PE_JOB_FORGET:
			forget_job(worker, job);
			break;
		case PE_JOB_READ:
			read_refused(worker, job);
			break;
		default:
			start_call(worker, job, step);
			break;
	}
}

bool
pe_batch_step(PeWorker *worker, int64 now, int64 *until)
{
	ListCell *cell;

	if (flight.job != NULL)
		return false;
	if (now < next_call)
	{
		*until = Min(*until, next_call);
		return false;
	}
	if (look_for_jobs(worker, now, until))
		return true;
	foreach (cell, jobs)
	{
		PeBatchJob *job = lfirst(cell);
		const PeTarget *target = target_of(worker, job->enrichment_id);
		int64 when;
		pe_job_step step;

		/* A copy of the database does not touch the original's batches. */
		if (target != NULL && !target->identity_matches)
			continue;
		step = pe_job_next(&job->job, now, &when);
		if (step == PE_JOB_WAIT)
		{
			*until = Min(*until, when);
			continue;
		}
		/* The next time it is another's turn first. */
		jobs = list_delete_nth_cell(jobs, foreach_current_index(cell));
		{
			MemoryContext caller = MemoryContextSwitchTo(worker->context);

			jobs = lappend(jobs, job);
			MemoryContextSwitchTo(caller);
		}
		take_step(worker, job, step);
		return true;
	}
	return false;
}
