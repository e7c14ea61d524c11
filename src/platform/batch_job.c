/*
 * batch_job.c
 *		What the next step of a batch is.
 */
#include "platform/batch_job.h"

#define MIN_FILE        ((size_t) 64 * 1024)
#define FIRST_POLL      (1 * PE_SECOND)
#define MAX_POLL        (30 * PE_SECOND)
#define MAX_OBJECTIONS  3
#define MAX_WRITE_TRIES 4
/* So many calls in a row without an answer are an outage. */
#define OUTAGE_FAILURES 5
/* A failure of the platform's own comes back so often before the batch is given up. */
#define MAX_FAULTS 8

static const char *const state_names[] = {"wished",    "claimed", "created", "uploaded",
                                          "completed", "landed",  "done",    "failed"};

const char *
pe_job_state_name(pe_job_state state)
{
	return state_names[state];
}

pe_job_state
pe_job_state_of_name(const char *name)
{
	for (pe_job_state state = PE_JOB_CLAIMED; state <= PE_JOB_FAILED; state++)
		if (strcmp(name, state_names[state]) == 0)
			return state;
	return PE_JOB_WISHED;
}

bool
pe_job_only_batches(pe_delivery_mode mode, int recent_failures)
{
	return mode == PE_MODE_BATCH && recent_failures < PE_JOB_MAX_FAILURES;
}

bool
pe_job_wanted(const pe_job_choice *choice)
{
	return choice->due_keys > 0 && choice->recent_failures < PE_JOB_MAX_FAILURES &&
	       pe_delivery_mode_choose(choice->mode, &choice->bounds, choice->due_keys,
	                               pe_streaming_seconds(choice->due_keys, 0, &choice->limits),
	                               NULL) == PE_MODE_BATCH;
}

void
pe_job_begin(pe_job *job, const pe_job_past *past, uint64_t seed, int budget, size_t max_file, int64_t now)
{
	memset(job, 0, sizeof(*job));
	job->state = past->state;
	job->empty = past->empty;
	job->random = seed;
	job->budget = budget;
	job->max_file = max_file;
	job->completed = now - past->waited;
	/* Whether the platform was asked to create it, nobody remembers. */
	job->doubtful = past->state == PE_JOB_CLAIMED;
	/* What became of a batch while nobody looked is worth a question before more is sent to it. */
	job->ask =
	    past->state == PE_JOB_CREATED || past->state == PE_JOB_UPLOADED || past->state == PE_JOB_LANDED;
}

void
pe_job_watch(pe_job *job, bool paused, pe_block stored, int64_t probe_at, bool gone)
{
	job->paused = paused;
	job->gone = job->gone || gone;
	if (job->report || stored == job->block)
		return;
	/* resume() cleared it, or somebody else has met an obstacle that is ours, too. */
	job->block = stored;
	job->next_try = stored == PE_BLOCK_NONE ? 0 : probe_at;
}

bool
pe_job_deciding(const pe_job *job)
{
	return job->state == PE_JOB_WISHED && job->tries == 0 && job->block == PE_BLOCK_NONE && !job->exhausted;
}

static void
say(pe_job *job, const char *reason)
{
	if (reason != NULL && reason != job->reason && reason[0] != '\0')
		(void) snprintf(job->reason, sizeof(job->reason), "%.*s", pe_clipped(reason, sizeof(job->reason) - 1),
		                reason);
}

static void
enter(pe_job *job, pe_job_state state)
{
	job->state = state;
	job->unsaved = true;
	job->tries = 0;
	job->objections = 0;
	job->next_try = 0;
	job->ask = false;
}

static void
fail(pe_job *job, const char *reason)
{
	job->failing = true;
	job->next_try = 0;
	job->ask = false;
	say(job, reason);
}

static void
block(pe_job *job, pe_block why, const char *reason, int64_t now)
{
	job->report = true;
	job->block = why;
	say(job, reason);
	job->next_try = now + PE_PROBE_PERIOD;
}

static void
unblock(pe_job *job)
{
	if (job->block == PE_BLOCK_NONE)
		return;
	job->block = PE_BLOCK_NONE;
	job->report = true;
}

/* The step that the state calls for, with nothing in its way. */
static pe_job_step
wanted_step(const pe_job *job)
{
	switch (job->state)
	{
		case PE_JOB_WISHED:
			return job->looked ? PE_JOB_CLAIM : PE_JOB_BUDGET;
		case PE_JOB_CLAIMED:
			return job->doubtful ? PE_JOB_FIND : PE_JOB_CREATE;
		case PE_JOB_CREATED:
			return PE_JOB_PUT;
		case PE_JOB_UPLOADED:
			return job->empty ? PE_JOB_ABORT : PE_JOB_COMPLETE;
		case PE_JOB_COMPLETED:
			return PE_JOB_POLL;
		case PE_JOB_LANDED:
			return job->read ? PE_JOB_SETTLE : PE_JOB_READ;
		default:
			return PE_JOB_FORGET;
	}
}

static bool
writes(pe_job_step step)
{
	return step == PE_JOB_CLAIM || step == PE_JOB_SAVE || step == PE_JOB_SETTLE || step == PE_JOB_GIVE_BACK ||
	       step == PE_JOB_BLOCK || step == PE_JOB_POSTPONE;
}

/* Does the platform hold a batch that was neither completed nor taken back? */
static bool
takes_files(const pe_job *job)
{
	return (job->state == PE_JOB_CREATED || job->state == PE_JOB_UPLOADED) && !job->aborted;
}

static pe_job_step
choose(const pe_job *job)
{
	if (job->gone)
		return takes_files(job) ? PE_JOB_ABORT : PE_JOB_FORGET;
	if (job->report)
		return PE_JOB_BLOCK;
	if (job->exhausted)
		return job->postponed ? PE_JOB_FORGET : PE_JOB_POSTPONE;
	if (job->failing)
		return takes_files(job) ? PE_JOB_ABORT : PE_JOB_GIVE_BACK;
	if (job->unsaved)
		return PE_JOB_SAVE;
	return job->ask ? PE_JOB_POLL : wanted_step(job);
}

/* A paused enrichment sends nothing more; what the platform has already is seen to its end. */
static bool
may_go_on(const pe_job *job, pe_job_step step)
{
	return !job->paused || writes(step) || step == PE_JOB_FORGET || job->gone ||
	       job->state >= PE_JOB_COMPLETED;
}

pe_job_step
pe_job_next(pe_job *job, int64_t now, int64_t *until)
{
	pe_job_step step = choose(job);
	int64_t when = writes(step) ? job->next_write : job->next_try;

	*until = PE_NEVER;
	if (step == PE_JOB_CLAIM && job->paused)
		return PE_JOB_FORGET;
	if (job->state == PE_JOB_WISHED && job->paused)
		return PE_JOB_FORGET;
	if (!may_go_on(job, step))
		return PE_JOB_WAIT;
	if (step != PE_JOB_FORGET && when > now)
	{
		*until = when;
		return PE_JOB_WAIT;
	}
	job->step = step;
	return step;
}

static void
try_later(pe_job *job, int64_t now, const char *reason)
{
	job->next_try = now + pe_backoff(&job->random, job->tries < 20 ? job->tries++ : job->tries);
	say(job, reason);
}

/*
 * The platform says no to a file or a completion: what does it think of the batch? When
 * that is as it should be, it may be asked again, but not for ever.
 */
static void
object(pe_job *job, const pe_job_answer *answer, int64_t now)
{
	char reason[256];

	if (++job->objections > MAX_OBJECTIONS)
	{
		(void) snprintf(reason, sizeof(reason), "%.*s",
		                answer->reason != NULL ? pe_clipped(answer->reason, sizeof(reason) - 1) : 0,
		                answer->reason != NULL ? answer->reason : "");
		fail(job, reason[0] != '\0' ? reason : "the platform does not take the batch's files");
		return;
	}
	job->ask = true;
	try_later(job, now, answer->reason);
}

/* A definite no. */
static void
refused(pe_job *job, pe_job_step step, const pe_job_answer *answer, int64_t now)
{
	switch (step)
	{
		case PE_JOB_CREATE:
			/* There may be one of that id, by a request whose answer we never saw. */
			if (!job->looked)
				job->doubtful = true;
			else
				block(job, PE_BLOCK_CONFIGURATION, answer->reason, now);
			break;
		case PE_JOB_POLL:
			fail(job, answer->http_status == 404 ? "the platform does not know the batch any more"
			                                     : answer->reason);
			break;
		case PE_JOB_PUT:
		case PE_JOB_COMPLETE:
			object(job, answer, now);
			break;
		case PE_JOB_READ:
			fail(job, "which records the platform refused cannot be told");
			break;
		case PE_JOB_BUDGET:
		case PE_JOB_FIND:
			block(job, PE_BLOCK_CONFIGURATION, answer->reason, now);
			break;
		default:
			break;
	}
}

/* A call that did not do what it was for. */
static void
trouble(pe_job *job, pe_job_step step, const pe_job_answer *answer, int64_t now)
{
	switch (answer->outcome)
	{
		case PE_OUTCOME_RATE:
			job->next_try = now + (answer->retry_after > PE_SECOND ? answer->retry_after : PE_SECOND);
			say(job, answer->reason);
			return;
		case PE_OUTCOME_TOKEN:
			if (job->token_tried)
				block(job, PE_BLOCK_AUTHORISATION, answer->reason, now);
			job->token_tried = true;
			return;
		case PE_OUTCOME_CONFIGURATION:
			/* 404 speaks of the batch, all else of the way there. */
			if (answer->http_status == 404 && step != PE_JOB_CREATE && step != PE_JOB_BUDGET)
				refused(job, step, answer, now);
			else
				block(job, PE_BLOCK_CONFIGURATION, answer->reason, now);
			return;
		case PE_OUTCOME_REFUSED:
			refused(job, step, answer, now);
			return;
		case PE_OUTCOME_TOO_BIG:
			if (step != PE_JOB_PUT || job->max_file <= MIN_FILE)
				refused(job, step, answer, now);
			else
				job->max_file = job->max_file / 2 > MIN_FILE ? job->max_file / 2 : MIN_FILE;
			return;
		default:
			break;
	}
	/* Not sent, unknown, overloaded: it may be repeated, but a creation must not be made twice. */
	if (step == PE_JOB_CREATE && answer->outcome != PE_OUTCOME_NOT_SENT)
		job->doubtful = true;
	if (step == PE_JOB_READ && job->tries >= MAX_FAULTS)
		fail(job, "which records the platform refused cannot be told");
	else if (answer->outcome == PE_OUTCOME_FAULT && job->state < PE_JOB_COMPLETED && job->tries >= MAX_FAULTS)
		fail(job, answer->reason);
	else
		try_later(job, now, answer->reason);
}

/* All that was in the chunks has a newer value: they may go, and there is nothing on the platform. */
static void
nothing_to_land(pe_job *job)
{
	enter(job, PE_JOB_LANDED);
	job->unsaved = false;
	job->read = true;
}

/* A batch that is over, for better or worse. */
static void
finished(pe_job *job, const pe_job_answer *answer, int64_t now)
{
	if (job->empty && job->state == PE_JOB_UPLOADED)
	{
		/* Taken back by us, before a crash. */
		nothing_to_land(job);
		return;
	}
	if (answer->batch != PE_BATCH_GOOD)
	{
		fail(job, answer->reason != NULL && answer->reason[0] != '\0' ? answer->reason
		                                                              : "the platform gave no reason");
		if (answer->taken > 0 && answer->refused > answer->taken * PE_JOB_ERROR_PERCENT / 100)
			block(job, PE_BLOCK_SCHEMA, job->reason, now);
		return;
	}
	if (job->state < PE_JOB_UPLOADED)
	{
		fail(job, "the platform ingested the batch before all of its files were there");
		return;
	}
	job->refused = answer->refused;
	job->read = answer->refused == 0;
	if (job->state != PE_JOB_LANDED)
		enter(job, PE_JOB_LANDED);
	job->ask = false;
	job->next_try = 0;
	/* With nothing to read the row goes from completed to done at once. */
	if (job->read)
		job->unsaved = false;
}

static void
polled(pe_job *job, const pe_job_answer *answer, int64_t now)
{
	int64_t pause = FIRST_POLL << (job->polls < 5 ? job->polls : 5);

	if (answer->batch != PE_BATCH_PENDING)
	{
		finished(job, answer, now);
		return;
	}
	job->ask = false;
	if (job->state == PE_JOB_CREATED || (job->state == PE_JOB_UPLOADED && answer->loading))
		return;
	/* Already under way: a completion whose answer got lost. Or not, though it was completed. */
	if (job->state == PE_JOB_UPLOADED)
	{
		enter(job, PE_JOB_COMPLETED);
		job->completed = now;
	}
	else if (job->state == PE_JOB_COMPLETED && answer->loading)
		job->state = PE_JOB_UPLOADED;
	if (now - job->completed > PE_JOB_PATIENCE)
		fail(job, "the platform did not finish the batch within a day");
	job->polls++;
	job->next_try = now + (pause < MAX_POLL ? pause : MAX_POLL);
}

static void
found(pe_job *job, const pe_job_answer *answer)
{
	job->looked = true;
	job->doubtful = false;
	if (!answer->found)
		return;
	if (answer->loading)
		enter(job, PE_JOB_CREATED);
	else
		fail(job, "a batch of the same external id is over already");
}

static void
accepted(pe_job *job, pe_job_step step, const pe_job_answer *answer, int64_t now)
{
	job->tries = 0;
	job->objections = step == PE_JOB_POLL ? job->objections : 0;
	job->token_tried = false;
	/* Whether a mapping is right only a batch that landed tells. */
	if (job->block != PE_BLOCK_SCHEMA)
		unblock(job);
	switch (step)
	{
		case PE_JOB_BUDGET:
			if (answer->more)
				break;
			job->looked = answer->count < job->budget;
			if (job->looked)
				break;
			job->exhausted = true;
			(void) snprintf(job->reason, sizeof(job->reason),
			                "the sandbox's budget of %d batches a day is used up", job->budget);
			break;
		case PE_JOB_FIND:
			found(job, answer);
			break;
		case PE_JOB_CREATE:
			enter(job, PE_JOB_CREATED);
			break;
		case PE_JOB_PUT:
			job->empty = answer->records == 0;
			enter(job, answer->more ? PE_JOB_CREATED : PE_JOB_UPLOADED);
			break;
		case PE_JOB_COMPLETE:
			enter(job, PE_JOB_COMPLETED);
			if (job->polls == 0)
				job->completed = now;
			job->next_try = now + FIRST_POLL / 2;
			break;
		case PE_JOB_POLL:
			polled(job, answer, now);
			break;
		case PE_JOB_READ:
			job->read = !answer->more;
			if (job->read && answer->records < job->refused)
				fail(job, "which records the platform refused cannot be told");
			break;
		default:
			break;
	}
}

static bool
is_failure(pe_outcome outcome)
{
	return outcome == PE_OUTCOME_NOT_SENT || outcome == PE_OUTCOME_UNKNOWN ||
	       outcome == PE_OUTCOME_OVERLOAD || outcome == PE_OUTCOME_FAULT;
}

static void
note_reach(pe_job *job, const pe_job_answer *answer, int64_t now)
{
	if (answer->unasked)
		return;
	job->answered = !is_failure(answer->outcome);
	if (job->answered)
		job->failures = 0;
	else if (job->failures++ == 0)
		job->failing_since = now;
}

pe_reach
pe_job_reach(const pe_job *job, int64_t *since)
{
	*since = job->failing_since;
	if (job->failures >= OUTAGE_FAILURES)
		return PE_REACH_OUTAGE;
	return job->answered ? PE_REACH_ANSWERS : PE_REACH_UNKNOWN;
}

void
pe_job_answered(pe_job *job, int64_t now, const pe_job_answer *answer)
{
	pe_job_step step = job->step;

	job->step = PE_JOB_WAIT;
	note_reach(job, answer, now);
	if (step == PE_JOB_ABORT)
	{
		/* Whatever came of it: an unfinished batch is dropped by the platform in time. */
		job->aborted = true;
		if (!job->gone && !job->failing)
			nothing_to_land(job);
		return;
	}
	if (answer->outcome == PE_OUTCOME_ACCEPTED)
		accepted(job, step, answer, now);
	else
		trouble(job, step, answer, now);
}

/* Everything that the step stood for is in the tables now. */
static void
is_written(pe_job *job, pe_job_step step)
{
	switch (step)
	{
		case PE_JOB_CLAIM:
			job->state = PE_JOB_CLAIMED;
			job->looked = false;
			break;
		case PE_JOB_SAVE:
			job->unsaved = false;
			break;
		case PE_JOB_SETTLE:
			job->state = PE_JOB_DONE;
			unblock(job);
			break;
		case PE_JOB_GIVE_BACK:
			job->state = PE_JOB_FAILED;
			job->failing = job->unsaved = false;
			break;
		case PE_JOB_BLOCK:
			job->report = false;
			break;
		case PE_JOB_POSTPONE:
			job->postponed = true;
			break;
		default:
			break;
	}
}

void
pe_job_written(pe_job *job, int64_t now, pe_written written)
{
	pe_job_step step = job->step;

	job->step = PE_JOB_WAIT;
	if (written == PE_WRITTEN)
	{
		job->write_tries = 0;
		job->next_write = 0;
		is_written(job, step);
		return;
	}
	job->next_write = now + pe_backoff(&job->random, job->write_tries);
	if (job->write_tries < MAX_WRITE_TRIES)
		job->write_tries++;
}
