/*
 * test_batch_job.c
 *		The decisions about a batch: whether there is to be one, each step after each
 *		answer, and that a job that is begun again anywhere comes to the same end.
 */
#include "platform/batch_job.h"
#include "tap.h"

#define FILE_SIZE ((size_t) 1024 * 1024)

static pe_job job;
static int64_t now;

static void
begin(pe_job_state state, bool empty)
{
	pe_job_past past = {.state = state, .empty = empty};

	now = 1000 * PE_SECOND;
	pe_job_begin(&job, &past, 7, 90, FILE_SIZE, now);
}

/* The next step, whenever it comes. */
static pe_job_step
next(void)
{
	for (;;)
	{
		int64_t until;
		pe_job_step step = pe_job_next(&job, now, &until);

		if (step != PE_JOB_WAIT || until == PE_NEVER)
			return step;
		now = until;
	}
}

static void
answer(pe_job_answer reply)
{
	pe_job_answered(&job, now, &reply);
}

static void
accept(void)
{
	answer((pe_job_answer){.outcome = PE_OUTCOME_ACCEPTED});
}

static void
written(void)
{
	pe_job_written(&job, now, PE_WRITTEN);
}

/* Takes the steps of a script; each is given the answer that lets the job go on. */
static bool
goes(const pe_job_step *steps, int count)
{
	for (int i = 0; i < count; i++)
	{
		pe_job_step step = next();

		if (step != steps[i])
		{
			printf("# step %d is %d, not %d\n", i, step, steps[i]);
			return false;
		}
		switch (step)
		{
			case PE_JOB_CLAIM:
			case PE_JOB_SAVE:
			case PE_JOB_SETTLE:
			case PE_JOB_GIVE_BACK:
			case PE_JOB_BLOCK:
			case PE_JOB_POSTPONE:
				written();
				break;
			case PE_JOB_PUT:
				answer((pe_job_answer){.outcome = PE_OUTCOME_ACCEPTED, .records = 10});
				break;
			case PE_JOB_POLL:
				answer(
				    (pe_job_answer){.outcome = PE_OUTCOME_ACCEPTED,
				                    .found = true,
				                    .batch = job.state >= PE_JOB_COMPLETED ? PE_BATCH_GOOD : PE_BATCH_PENDING,
				                    .loading = job.state < PE_JOB_COMPLETED});
				break;
			default:
				accept();
				break;
		}
	}
	return true;
}
#define GOES(name, ...)                                                                                      \
	do                                                                                                       \
	{                                                                                                        \
		static const pe_job_step script[] = {__VA_ARGS__};                                                   \
		OK(goes(script, (int) (sizeof(script) / sizeof(script[0]))), name);                                  \
	} while (0)

static void
test_choice(void)
{
	pe_job_choice choice = {.mode = PE_MODE_AUTO,
	                        .due_keys = PE_AUTO_BATCH_KEYS,
	                        .bounds = {PE_AUTO_BATCH_KEYS, PE_AUTO_BATCH_SECONDS}};

	OK(!pe_job_wanted(&choice), "two million keys are streamed");
	choice.due_keys++;
	OK(pe_job_wanted(&choice), "more go by batch");
	choice.recent_failures = PE_JOB_MAX_FAILURES;
	OK(!pe_job_wanted(&choice), "but not after batches that failed");
	choice.recent_failures = 0;
	choice.limits.messages_per_second = 10;
	choice.due_keys = 36001;
	OK(pe_job_wanted(&choice), "as does what would take more than an hour");
	choice.due_keys = 36000;
	OK(!pe_job_wanted(&choice), "and not what takes less");
	choice.mode = PE_MODE_BATCH;
	choice.due_keys = 1;
	OK(pe_job_wanted(&choice), "in batch mode everything goes by batch");
	choice.due_keys = 0;
	OK(!pe_job_wanted(&choice), "but nothing is no batch");
	choice.due_keys = 10000000;
	choice.mode = PE_MODE_STREAMING;
	OK(!pe_job_wanted(&choice), "streaming is streaming");
	OK(pe_job_only_batches(PE_MODE_BATCH, 1) && !pe_job_only_batches(PE_MODE_BATCH, 2) &&
	       !pe_job_only_batches(PE_MODE_AUTO, 0),
	   "chunks wait for a batch in batch mode, unless batches fail");
	for (pe_job_state state = PE_JOB_CLAIMED; state <= PE_JOB_FAILED; state++)
		IS_INT(pe_job_state_of_name(pe_job_state_name(state)), state, "name of %s", pe_job_state_name(state));
	IS_INT(pe_job_state_of_name("other"), PE_JOB_WISHED, "no name of a state");
}

/* An outage is five calls in a row without an answer; of what is in doubt nothing is said. */
static void
test_reach(void)
{
	int64_t since;
	int64_t first;

	begin(PE_JOB_CLAIMED, false);
	IS_INT(pe_job_reach(&job, &since), PE_REACH_UNKNOWN, "nothing was asked yet");
	next();
	accept();
	IS_INT(pe_job_reach(&job, &since), PE_REACH_ANSWERS, "an answer");
	next();
	answer((pe_job_answer){.outcome = PE_OUTCOME_NOT_SENT});
	first = now;
	for (int i = 0; i < 3; i++)
	{
		next();
		answer((pe_job_answer){.outcome = PE_OUTCOME_OVERLOAD});
	}
	IS_INT(pe_job_reach(&job, &since), PE_REACH_UNKNOWN, "four failures in a row are none");
	next();
	answer((pe_job_answer){.outcome = PE_OUTCOME_NOT_SENT, .unasked = true});
	IS_INT(pe_job_reach(&job, &since), PE_REACH_UNKNOWN, "what has its reason here does not count");
	next();
	answer((pe_job_answer){.outcome = PE_OUTCOME_UNKNOWN});
	IS_INT(pe_job_reach(&job, &since), PE_REACH_OUTAGE, "five are an outage");
	IS_INT(since, first, "since the first");
	next();
	answer((pe_job_answer){.outcome = PE_OUTCOME_REFUSED, .http_status = 400});
	IS_INT(pe_job_reach(&job, &since), PE_REACH_ANSWERS, "a refusal is an answer");
}

static void
test_life(void)
{
	begin(PE_JOB_WISHED, false);
	GOES("a whole life", PE_JOB_BUDGET, PE_JOB_CLAIM, PE_JOB_CREATE, PE_JOB_SAVE, PE_JOB_PUT, PE_JOB_SAVE,
	     PE_JOB_COMPLETE, PE_JOB_SAVE, PE_JOB_POLL, PE_JOB_SETTLE, PE_JOB_FORGET);

	begin(PE_JOB_CLAIMED, false);
	IS_INT(next(), PE_JOB_FIND, "begun again with chunks: the platform is asked whether it knows of it");
	answer((pe_job_answer){.outcome = PE_OUTCOME_ACCEPTED, .found = true, .loading = true});
	GOES("it does: its files are uploaded", PE_JOB_SAVE, PE_JOB_PUT);
	begin(PE_JOB_CLAIMED, false);
	GOES("it does not: it is created", PE_JOB_FIND, PE_JOB_CREATE, PE_JOB_SAVE, PE_JOB_PUT);

	begin(PE_JOB_CREATED, false);
	GOES("begun again while uploading", PE_JOB_POLL, PE_JOB_PUT, PE_JOB_SAVE, PE_JOB_COMPLETE, PE_JOB_SAVE,
	     PE_JOB_POLL, PE_JOB_SETTLE, PE_JOB_FORGET);
	begin(PE_JOB_UPLOADED, false);
	GOES("begun again before completion", PE_JOB_POLL, PE_JOB_COMPLETE, PE_JOB_SAVE, PE_JOB_POLL,
	     PE_JOB_SETTLE, PE_JOB_FORGET);
	begin(PE_JOB_UPLOADED, false);
	next();
	answer((pe_job_answer){.outcome = PE_OUTCOME_ACCEPTED, .batch = PE_BATCH_PENDING});
	GOES("completed already, only nobody saw", PE_JOB_SAVE, PE_JOB_POLL, PE_JOB_SETTLE, PE_JOB_FORGET);
	begin(PE_JOB_UPLOADED, false);
	next();
	answer((pe_job_answer){.outcome = PE_OUTCOME_ACCEPTED, .batch = PE_BATCH_GOOD});
	GOES("landed already", PE_JOB_SETTLE, PE_JOB_FORGET);
	begin(PE_JOB_COMPLETED, false);
	GOES("begun again while the platform ingests", PE_JOB_POLL, PE_JOB_SETTLE, PE_JOB_FORGET);
	begin(PE_JOB_LANDED, false);
	GOES("begun again after it landed", PE_JOB_POLL, PE_JOB_SETTLE, PE_JOB_FORGET);
}

static void
test_files(void)
{
	begin(PE_JOB_CREATED, false);
	next();
	answer((pe_job_answer){.outcome = PE_OUTCOME_ACCEPTED, .batch = PE_BATCH_PENDING, .loading = true});
	for (int i = 0; i < 3; i++)
	{
		IS_INT(next(), PE_JOB_PUT, "a file");
		answer((pe_job_answer){.outcome = PE_OUTCOME_ACCEPTED, .more = i < 2, .records = 100});
		IS_INT(next(), PE_JOB_SAVE, "is noted");
		written();
	}
	IS_INT(next(), PE_JOB_COMPLETE, "after the last the batch is completed");

	begin(PE_JOB_CREATED, false);
	next();
	answer((pe_job_answer){.outcome = PE_OUTCOME_ACCEPTED, .batch = PE_BATCH_PENDING, .loading = true});
	next();
	answer((pe_job_answer){.outcome = PE_OUTCOME_TOO_BIG, .http_status = 413});
	IS_INT(job.max_file, FILE_SIZE / 2, "413: files are halved");
	IS_INT(next(), PE_JOB_PUT, "and sent again");
	answer((pe_job_answer){.outcome = PE_OUTCOME_ACCEPTED, .records = 0});
	GOES("no record in any file: the batch is taken back and the chunks go", PE_JOB_SAVE, PE_JOB_ABORT,
	     PE_JOB_SETTLE, PE_JOB_FORGET);
	begin(PE_JOB_UPLOADED, true);
	next();
	answer((pe_job_answer){.outcome = PE_OUTCOME_ACCEPTED, .batch = PE_BATCH_BAD, .reason = "aborted"});
	GOES("taken back before a crash: the same end", PE_JOB_SETTLE, PE_JOB_FORGET);

	begin(PE_JOB_CREATED, false);
	for (int i = 0; i < 4; i++)
	{
		IS_INT(next(), PE_JOB_POLL, "what does the platform think of it");
		answer((pe_job_answer){.outcome = PE_OUTCOME_ACCEPTED, .batch = PE_BATCH_PENDING, .loading = true});
		IS_INT(next(), PE_JOB_PUT, "nothing bad: once more");
		answer((pe_job_answer){.outcome = PE_OUTCOME_REFUSED, .http_status = 400, .reason = "no such file"});
	}
	GOES("refused again and again: given back", PE_JOB_ABORT, PE_JOB_GIVE_BACK, PE_JOB_FORGET);
	IS_STR(job.reason, "no such file", "with the platform's words");
}

static void
test_trouble(void)
{
	int64_t before;

	begin(PE_JOB_WISHED, false);
	OK(pe_job_deciding(&job), "about to be known whether there is a batch");
	next();
	answer((pe_job_answer){.outcome = PE_OUTCOME_NOT_SENT});
	OK(!pe_job_deciding(&job), "no longer when the platform does not answer");
	begin(PE_JOB_WISHED, false);
	next();
	answer((pe_job_answer){.outcome = PE_OUTCOME_ACCEPTED, .count = 80, .more = true});
	IS_INT(next(), PE_JOB_BUDGET, "another page of batches");
	answer((pe_job_answer){.outcome = PE_OUTCOME_ACCEPTED, .count = 90});
	IS_INT(next(), PE_JOB_POSTPONE, "ninety today: no budget is left");
	pe_job_written(&job, now, PE_WRITE_CONTENDED);
	IS_INT(next(), PE_JOB_POSTPONE, "which is written down, however often that takes");
	written();
	IS_INT(next(), PE_JOB_FORGET, "then it is over");
	begin(PE_JOB_WISHED, false);
	pe_job_watch(&job, false, PE_BLOCK_AUTHORISATION, now, false);
	IS_INT(next(), PE_JOB_BUDGET, "a probe of a block");
	answer((pe_job_answer){.outcome = PE_OUTCOME_ACCEPTED, .count = 90});
	GOES("says that it is over, and that there is no budget", PE_JOB_BLOCK, PE_JOB_POSTPONE, PE_JOB_FORGET);
	OK(job.exhausted && strstr(job.reason, "90") != NULL, "%s", job.reason);

	begin(PE_JOB_CLAIMED, false);
	next();
	accept();
	next();
	answer((pe_job_answer){.outcome = PE_OUTCOME_UNKNOWN, .reason = "timeout"});
	before = now;
	IS_INT(next(), PE_JOB_FIND, "a creation of unknown fate: looked for before it is repeated");
	OK(now > before, "after a pause");
	answer((pe_job_answer){.outcome = PE_OUTCOME_ACCEPTED});
	IS_INT(next(), PE_JOB_CREATE, "not found: created");
	answer((pe_job_answer){.outcome = PE_OUTCOME_NOT_SENT});
	IS_INT(next(), PE_JOB_CREATE, "one that never left is just repeated");
	answer((pe_job_answer){.outcome = PE_OUTCOME_RATE, .retry_after = 20 * PE_SECOND});
	before = now;
	IS_INT(next(), PE_JOB_CREATE, "429");
	IS_INT(now - before, 20 * PE_SECOND, "waits as long as it is told to");
	answer((pe_job_answer){.outcome = PE_OUTCOME_TOKEN, .http_status = 401});
	IS_INT(next(), PE_JOB_CREATE, "401: one more try with a new token");
	IS_INT(now - before, 20 * PE_SECOND, "at once");
	answer((pe_job_answer){.outcome = PE_OUTCOME_TOKEN, .http_status = 401, .reason = "no"});
	IS_INT(next(), PE_JOB_BLOCK, "and again: blocked");
	IS_INT(job.block, PE_BLOCK_AUTHORISATION, "authorisation");
	written();
	before = now;
	IS_INT(next(), PE_JOB_CREATE, "a probe");
	IS_INT(now - before, PE_PROBE_PERIOD, "after five minutes");
	accept();
	IS_INT(next(), PE_JOB_BLOCK, "it goes through: no longer blocked");
	IS_INT(job.block, PE_BLOCK_NONE, "is written down");
	written();
	IS_INT(next(), PE_JOB_SAVE, "before the state");

	begin(PE_JOB_COMPLETED, false);
	next();
	answer((pe_job_answer){.outcome = PE_OUTCOME_CONFIGURATION, .http_status = 404});
	GOES("a batch that is not there: given back", PE_JOB_GIVE_BACK, PE_JOB_FORGET);
	begin(PE_JOB_COMPLETED, false);
	next();
	answer((pe_job_answer){.outcome = PE_OUTCOME_ACCEPTED, .batch = PE_BATCH_PENDING, .loading = true});
	GOES("said to be loading still: completed once more", PE_JOB_COMPLETE);

	begin(PE_JOB_COMPLETED, false);
	before = now;
	for (int i = 0; next() == PE_JOB_POLL && i < 10000; i++)
		answer((pe_job_answer){.outcome = PE_OUTCOME_ACCEPTED, .batch = PE_BATCH_PENDING});
	OK(job.state == PE_JOB_COMPLETED && now - before >= PE_JOB_PATIENCE &&
	       now - before < PE_JOB_PATIENCE + 60 * PE_SECOND,
	   "a batch that never ends is given back after a day");
	GOES("...", PE_JOB_GIVE_BACK);

	begin(PE_JOB_UPLOADED, false);
	next();
	answer((pe_job_answer){.outcome = PE_OUTCOME_ACCEPTED, .batch = PE_BATCH_PENDING, .loading = true});
	for (int i = 0; i < 8; i++)
	{
		next();
		answer((pe_job_answer){.outcome = PE_OUTCOME_FAULT, .http_status = 500, .reason = "oops"});
	}
	IS_INT(next(), PE_JOB_COMPLETE, "a fault of the platform is met with patience");
	answer((pe_job_answer){.outcome = PE_OUTCOME_FAULT, .http_status = 500, .reason = "oops"});
	GOES("but not for ever", PE_JOB_ABORT, PE_JOB_GIVE_BACK);
}

static void
test_refused_records(void)
{
	begin(PE_JOB_COMPLETED, false);
	next();
	answer(
	    (pe_job_answer){.outcome = PE_OUTCOME_ACCEPTED, .batch = PE_BATCH_GOOD, .taken = 100, .refused = 3});
	IS_INT(next(), PE_JOB_SAVE, "landed with refused records");
	IS_INT(job.state, PE_JOB_LANDED, "is a state of its own");
	written();
	IS_INT(next(), PE_JOB_READ, "which are they");
	answer((pe_job_answer){.outcome = PE_OUTCOME_ACCEPTED, .more = true});
	IS_INT(next(), PE_JOB_READ, "and which else");
	answer((pe_job_answer){.outcome = PE_OUTCOME_ACCEPTED, .records = 3});
	GOES("all are known: acknowledged", PE_JOB_SETTLE, PE_JOB_FORGET);

	begin(PE_JOB_LANDED, false);
	next();
	answer(
	    (pe_job_answer){.outcome = PE_OUTCOME_ACCEPTED, .batch = PE_BATCH_GOOD, .taken = 100, .refused = 3});
	IS_INT(next(), PE_JOB_READ, "begun again: read from the start");
	answer((pe_job_answer){.outcome = PE_OUTCOME_ACCEPTED, .records = 2});
	GOES("one of them is not known: none is taken for accepted", PE_JOB_GIVE_BACK, PE_JOB_FORGET);

	begin(PE_JOB_COMPLETED, false);
	next();
	answer((pe_job_answer){.outcome = PE_OUTCOME_ACCEPTED,
	                       .batch = PE_BATCH_BAD,
	                       .reason = "wrong type",
	                       .taken = 100,
	                       .refused = 51});
	GOES("failed with most of its records: the schema is to blame", PE_JOB_BLOCK);
	IS_INT(job.block, PE_BLOCK_SCHEMA, "blocked");
	IS_STR(job.reason, "wrong type", "for the platform's reason");
	GOES("and given back", PE_JOB_GIVE_BACK, PE_JOB_FORGET);
	begin(PE_JOB_COMPLETED, false);
	next();
	answer(
	    (pe_job_answer){.outcome = PE_OUTCOME_ACCEPTED, .batch = PE_BATCH_BAD, .taken = 100, .refused = 50});
	GOES("failed otherwise: given back", PE_JOB_GIVE_BACK, PE_JOB_FORGET);
}

static void
test_watch(void)
{
	int64_t until;

	begin(PE_JOB_CREATED, false);
	pe_job_watch(&job, true, PE_BLOCK_NONE, PE_NEVER, false);
	IS_INT(pe_job_next(&job, now, &until), PE_JOB_WAIT, "paused: no file goes up");
	pe_job_watch(&job, false, PE_BLOCK_NONE, PE_NEVER, false);
	IS_INT(next(), PE_JOB_POLL, "resumed");
	accept();
	pe_job_watch(&job, false, PE_BLOCK_CONFIGURATION, now + PE_SECOND, false);
	IS_INT(pe_job_next(&job, now, &until), PE_JOB_WAIT, "blocked by somebody else");
	IS_INT(until, now + PE_SECOND, "until the next probe");
	pe_job_watch(&job, false, PE_BLOCK_NONE, PE_NEVER, false);
	IS_INT(pe_job_next(&job, now, &until), PE_JOB_PUT, "until it is resumed");
	pe_job_watch(&job, false, PE_BLOCK_NONE, PE_NEVER, true);
	answer((pe_job_answer){.outcome = PE_OUTCOME_ACCEPTED, .records = 5, .more = true});
	GOES("dropped: the platform is told, and it is over", PE_JOB_ABORT, PE_JOB_FORGET);

	begin(PE_JOB_COMPLETED, false);
	pe_job_watch(&job, true, PE_BLOCK_NONE, PE_NEVER, false);
	GOES("paused after completion: seen to its end", PE_JOB_POLL, PE_JOB_SETTLE, PE_JOB_FORGET);
	begin(PE_JOB_COMPLETED, false);
	pe_job_watch(&job, false, PE_BLOCK_NONE, PE_NEVER, true);
	GOES("dropped after completion: forgotten", PE_JOB_FORGET);
	begin(PE_JOB_WISHED, false);
	pe_job_watch(&job, true, PE_BLOCK_NONE, PE_NEVER, false);
	GOES("a wish of a paused one is forgotten", PE_JOB_FORGET);

	begin(PE_JOB_COMPLETED, false);
	next();
	answer((pe_job_answer){.outcome = PE_OUTCOME_ACCEPTED, .batch = PE_BATCH_GOOD});
	for (int i = 0; i < 5; i++)
	{
		IS_INT(next(), PE_JOB_SETTLE, "an acknowledgement");
		pe_job_written(&job, now, i % 2 ? PE_WRITE_FAILED : PE_WRITE_CONTENDED);
		IS_INT(pe_job_next(&job, now, &until), PE_JOB_WAIT, "that fails is repeated");
	}
	GOES("until it is written", PE_JOB_SETTLE, PE_JOB_FORGET);
}

/*
 * Random lives against a model of the platform, with crashes at every step: each ends
 * acknowledged exactly once with the batch ingested once, or given back with nothing
 * acknowledged.
 */
typedef struct world
{
	uint64_t random;
	pe_job_past row; /* what the table holds */
	bool stored;
	bool exists; /* the platform's batch */
	bool completed;
	int files_there; /* of 3 */
	int files_noted;
	int files_done; /* by the job in memory */
	int ingested;
	int settled;
	int given_back;
	int created;
} world;

static uint64_t
draw(world *w, uint64_t sides)
{
	w->random = w->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (w->random >> 33) % sides;
}

static void
store(world *w, pe_job_state state)
{
	w->row.state = state;
	w->files_noted = w->files_done;
}

/* One call; what it did is told or lost. */
static pe_job_answer
call(world *w, pe_job_step step)
{
	pe_job_answer reply = {.outcome = PE_OUTCOME_ACCEPTED};
	uint64_t luck = draw(w, 10);

	if (luck == 0)
		return (pe_job_answer){.outcome = PE_OUTCOME_NOT_SENT};
	switch (step)
	{
		case PE_JOB_CREATE:
			w->exists = true;
			w->created++;
			break;
		case PE_JOB_FIND:
			reply.found = w->exists;
			reply.loading = w->exists && !w->completed;
			break;
		case PE_JOB_PUT:
			w->files_there = w->files_done + 1 > w->files_there ? w->files_done + 1 : w->files_there;
			break;
		case PE_JOB_COMPLETE:
			if (!w->completed)
				w->ingested++;
			w->completed = true;
			break;
		case PE_JOB_POLL:
			reply.loading = !w->completed;
			reply.batch = w->completed && draw(w, 3) == 0 ? PE_BATCH_GOOD : PE_BATCH_PENDING;
			break;
		default:
			break;
	}
	if (luck == 1)
		return (pe_job_answer){.outcome = PE_OUTCOME_UNKNOWN};
	if (step == PE_JOB_PUT)
	{
		w->files_done++;
		reply.more = w->files_done < 3;
		reply.records = w->files_done;
	}
	return reply;
}

static bool
live(world *w)
{
	int64_t until;
	pe_job_past fresh = {.state = PE_JOB_WISHED};

	now = 0;
	pe_job_begin(&job, &fresh, w->random, 90, FILE_SIZE, now);
	for (int i = 0; i < 2000; i++)
	{
		pe_job_step step = pe_job_next(&job, now, &until);
		pe_written how = draw(w, 8) == 0 ? PE_WRITE_FAILED : PE_WRITTEN;
		bool crash = draw(w, 12) == 0;

		if (step == PE_JOB_FORGET)
			return true;
		if (step == PE_JOB_WAIT)
		{
			now = until;
			continue;
		}
		if (step == PE_JOB_CLAIM || step == PE_JOB_SAVE || step == PE_JOB_SETTLE || step == PE_JOB_GIVE_BACK)
		{
			if (how == PE_WRITTEN)
			{
				w->stored = true;
				store(w, step == PE_JOB_CLAIM    ? PE_JOB_CLAIMED
				         : step == PE_JOB_SETTLE ? PE_JOB_DONE
				         : step == PE_JOB_SAVE   ? job.state
				                                 : PE_JOB_FAILED);
				w->settled += step == PE_JOB_SETTLE;
				w->given_back += step == PE_JOB_GIVE_BACK;
			}
			if (!crash)
				pe_job_written(&job, now, how);
		}
		else
		{
			pe_job_answer reply = call(w, step);

			if (!crash)
				pe_job_answered(&job, now, &reply);
		}
		if (!crash)
			continue;
		w->files_done = w->files_noted;
		if (w->stored && w->row.state >= PE_JOB_DONE)
			return true;
		pe_job_begin(&job, w->stored ? &w->row : &fresh, w->random, 90, FILE_SIZE, now);
	}
	return false;
}

static void
test_crashes(void)
{
	int wrong = 0;
	int settled = 0;

	for (uint64_t seed = 1; seed <= 20000; seed++)
	{
		world w = {.random = seed * 977};
		bool ended = live(&w);

		settled += w.settled;
		if (!ended || w.settled + w.given_back != 1 || w.ingested > 1 || w.created > 1 ||
		    (w.settled == 1 && (w.ingested != 1 || w.files_there != 3)))
		{
			if (wrong++ < 3)
				printf("# seed %llu: ended %d settled %d given back %d ingested %d created %d files %d\n",
				       (unsigned long long) seed, ended, w.settled, w.given_back, w.ingested, w.created,
				       w.files_there);
		}
	}
	IS_INT(wrong, 0, "20,000 lives with crashes: acknowledged once and ingested once, or given back");
	OK(settled > 19000, "%d of them were acknowledged", settled);
}

int
main(void)
{
	test_choice();
	test_reach();
	test_life();
	test_files();
	test_trouble();
	test_refused_records();
	test_watch();
	test_crashes();
	return tap_done();
}
