/*
 * late_check.c
 *		Looking for records that the platform received and refused afterwards.
 *
 * A check looks through the failed batches of one enrichment's data set, page by page,
 * reads the refused records of those not read before, and has them noted. One check at a
 * time, with one call under way. A check that ends early is begun again later, from its
 * start: what it has noted already is recognised.
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "platform/batch.h"
#include "pg/env.h"
#include "pg/late_check.h"
#include "pg/unix_time.h"

#define LOOK_PERIOD   (10 * PE_SECOND)
#define MAX_TRIES     5
#define MAX_PAGES     100
#define DEFAULT_CALLS 100.0 /* a second */

/* Both words are used for a batch that failed. */
static const char *const statuses[] = {"failed", "failure"};

/* The check under way. */
static struct
{
	MemoryContext context; /* NULL: none */
	int32 enrichment_id;
	TimestampTz since;
	int status; /* which of the lists */
	int page;
	bool listed; /* batches are those of the present page */
	bool picked; /* ... that were not read before */
	bool last_page;
	int batch_count;
	int batch; /* which of them */
	char **batches;
	TimestampTz *created;
	PeFailedRead *read;
	PeLateCounts counts;
	int tries;
	int64 next_try;

	/* the call under way */
	bool calling;
	MemoryContext call_context;
	pe_env env;
	pe_pool pool;
	pe_call call;
	char error[256];
} check;

static int64 next_look = 0;
static uint64 dice = 1;

static PeTarget *
check_target(PeWorker *worker)
{
	PeQueue *queue = pe_queue_of(worker, check.enrichment_id, false);

	return queue != NULL ? queue->target : NULL;
}

static void
end_call(void)
{
	if (check.call_context != NULL)
		MemoryContextDelete(check.call_context);
	check.call_context = NULL;
	check.calling = false;
}

static void
drop_check(void)
{
	end_call();
	MemoryContextDelete(check.context);
	memset(&check, 0, sizeof(check));
}

/* A transaction that cannot be committed now: the check is begun again later. */
static void
end_check(PeWorker *worker, const char *error)
{
	/* Where even that cannot be written it comes again soon. */
	if (pe_late_end(check.enrichment_id, worker->epoch, error) == PE_WRITTEN)
		next_look = 0;
	drop_check();
}

/* A call that did not do what it was for is repeated some times. */
static void
try_again(int64 delay, const char *reason)
{
	strlcpy(check.error, reason != NULL && reason[0] != '\0' ? reason : "the platform did not answer",
	        sizeof(check.error));
	check.tries++;
	check.next_try = pe_worker_now() + (delay > 0 ? delay : pe_backoff(&dice, check.tries));
}

static bool
begin_check(PeWorker *worker, int64 now, int64 *until)
{
	PeLateDue due;

	if (now < next_look)
	{
		*until = Min(*until, next_look);
		return false;
	}
	next_look = now + LOOK_PERIOD;
	if (!pe_late_due(&due) || due.enrichment_id == 0)
	{
		if (due.wait > 0 && now + due.wait < next_look)
			next_look = now + due.wait;
		return true;
	}
	check.enrichment_id = due.enrichment_id;
	check.since = due.since;
	check.context =
	    AllocSetContextCreate(worker->context, "profenrich late failures", ALLOCSET_DEFAULT_SIZES);
	return true;
}

/* ---- replies ----------------------------------------------------------------------------- */

/* A page of failed batches: those that carried our own batches are their jobs' to read. */
static pe_status
take_page(const pe_http_response *response, pe_error *err)
{
	pe_batch_list list;
	pe_status status = pe_batch_read_list(&check.env, response->body, response->body_length, &list, err);
	MemoryContext caller;

	if (status != PE_OK)
		return status;
	caller = MemoryContextSwitchTo(check.context);
	check.last_page = list.count < PE_BATCH_PAGE || check.page + 1 >= MAX_PAGES;
	check.batches = palloc0(Max(list.count, 1) * sizeof(char *));
	check.created = palloc0(Max(list.count, 1) * sizeof(TimestampTz));
	check.batch_count = check.batch = 0;
	for (int i = 0; i < list.count; i++)
		if (list.items[i].state == PE_BATCH_BAD && strncmp(list.items[i].external_id, "profenrich-", 11) != 0)
		{
			check.created[check.batch_count] = pe_time_of_unix_ms(list.items[i].created_ms);
			check.batches[check.batch_count++] = pstrdup(list.items[i].id);
		}
	check.listed = true;
	check.picked = false;
	MemoryContextSwitchTo(caller);
	pe_batch_list_free(&list);
	return PE_OK;
}

static bool
is_answer(const pe_result *result)
{
	return result->transport == PE_OK &&
	       (pe_outcome_of_status(result->http_status) == PE_OUTCOME_ACCEPTED ||
	        (check.read != NULL &&
	         (result->http_status == 416 || (result->http_status == 404 && !check.read->listed))));
}

static void
call_done(PeWorker *worker, void *arg, const pe_result *result, const pe_http_response *response)
{
	const PeTarget *target = check_target(worker);
	pe_platform *platform =
	    target != NULL ? pe_link_platform(pe_link_of(worker, target->server, target->owner)) : NULL;
	pe_error err = {0};
	pe_status status;

	if (platform == NULL || !is_answer(result))
		try_again(result->retry_after, result->reason);
	else
	{
		status = check.read != NULL ? pe_failed_read_take(check.read, platform, response, &err)
		                            : take_page(response, &err);
		if (status == PE_OK)
			check.tries = 0;
		else
			try_again(0, err.message);
	}
	end_call();
}

/* ---- steps --------------------------------------------------------------------------------- */

/* No faster than the server may be called. */
static void
space_calls(const PeTarget *target)
{
	double rate = target->limits.requests_per_second > 0 ? target->limits.requests_per_second : DEFAULT_CALLS;

	check.next_try = Max(check.next_try, pe_worker_now() + (int64) (PE_SECOND / rate));
}

static void
start_call(PeWorker *worker, const PeTarget *target)
{
	pe_batch_query query = {.dataset_id = target->dataset_id,
	                        .status = statuses[check.status],
	                        .created_after_ms = pe_unix_ms(check.since),
	                        .start = check.page * PE_BATCH_PAGE};
	pe_error err = {0};
	pe_result result;
	pe_status status;

	check.calling = true;
	check.call_context =
	    AllocSetContextCreate(check.context, "profenrich late failures call", ALLOCSET_DEFAULT_SIZES);
	check.env = pe_server_env(check.call_context);
	pe_pool_init(&check.pool, &check.env);
	status = check.read != NULL ? pe_failed_read_next(check.read, &check.pool, &check.call, &err)
	                            : pe_batch_list_request(&check.pool, &query, &check.call, &err);
	if (status == PE_OK)
	{
		space_calls(target);
		if (pe_exchange_call(worker, pe_link_of(worker, target->server, target->owner), &check.call,
		                     call_done, NULL, &result))
			return;
		try_again(0, result.reason);
	}
	else
		try_again(0, err.message);
	end_call();
}

/* Records that were read are noted before more is; after the last, so is the batch. */
static void
read_batch(PeWorker *worker, const PeTarget *target)
{
	TimestampTz created = check.created[check.batch];
	const char *id = check.batches[check.batch];
	PeFailedRead *read = check.read;

	if (read == NULL)
	{
		check.read = pe_failed_read_begin(check.context, id, target, PE_FAILED_BATCH);
		check.counts = (PeLateCounts){0};
	}
	else if (read->row_count > 0)
	{
		if (pe_late_apply(check.enrichment_id, worker->epoch, created, read->rows, read->row_count,
		                  &check.counts) != PE_WRITTEN)
			end_check(worker, "refused records could not be noted");
		else
			pe_failed_read_written(read);
	}
	else if (!read->done)
		start_call(worker, target);
	else
	{
		check.counts.strangers = read->strangers;
		if (check.counts.dead + check.counts.retried + check.counts.strangers > 0)
			ereport(LOG,
			        (errmsg("profenrich: the platform refused records of enrichment \"%s\" after it had "
			                "received them: " INT64_FORMAT " are dead letters, " INT64_FORMAT
			                " are tried again, " INT64_FORMAT " do not say whose they are",
			                target->name, check.counts.dead, check.counts.retried, check.counts.strangers)));
		if (pe_late_read(check.enrichment_id, worker->epoch, id, created, &check.counts) != PE_WRITTEN)
		{
			end_check(worker, "a failed batch could not be noted");
			return;
		}
		MemoryContextDelete(read->context);
		check.read = NULL;
		check.batch++;
		if (check.counts.retried > 0)
			pe_sender_wake(worker->sender);
	}
}

/* The unread batches of a page, with their times. */
static bool
pick_unread(void)
{
	MemoryContext caller = MemoryContextSwitchTo(check.context);
	char **ids = palloc(Max(check.batch_count, 1) * sizeof(char *));
	int count = check.batch_count;
	bool done;

	memcpy(ids, check.batches, check.batch_count * sizeof(char *));
	done = pe_late_unread(check.enrichment_id, ids, &count);
	for (int i = 0, from = 0; done && i < count; i++)
	{
		while (check.batches[from] != ids[i])
			from++;
		check.batches[i] = ids[i];
		check.created[i] = check.created[from];
	}
	if (done)
		check.batch_count = count;
	MemoryContextSwitchTo(caller);
	check.picked = done;
	return done;
}

static void
next_page(PeWorker *worker)
{
	check.listed = false;
	check.page = check.last_page ? 0 : check.page + 1;
	check.status += check.last_page;
	if (check.status == lengthof(statuses))
		end_check(worker, NULL);
}

bool
pe_late_step(PeWorker *worker, int64 now, int64 *until)
{
	const PeTarget *target;

	if (check.calling)
		return false;
	if (check.context == NULL)
		return begin_check(worker, now, until);
	target = check_target(worker);
	if (target == NULL || !target->identity_matches)
	{
		drop_check();
		return true;
	}
	if (check.tries >= MAX_TRIES)
	{
		char error[sizeof(check.error)];

		strlcpy(error, check.error, sizeof(error));
		end_check(worker, error);
		return true;
	}
	if (check.next_try > now)
	{
		*until = Min(*until, check.next_try);
		return false;
	}
	if (!check.listed)
		start_call(worker, target);
	else if (!check.picked)
	{
		if (!pick_unread())
			end_check(worker, "known failed batches could not be told");
	}
	else if (check.batch < check.batch_count)
		read_batch(worker, target);
	else
		next_page(worker);
	return true;
}

void
pe_late_wake(void)
{
	next_look = 0;
}
