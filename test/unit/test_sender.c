/*
 * test_sender.c
 *		The sender's decisions one at a time: what it does after each outcome. That they
 *		hold together under fire is test/simulation's.
 */
#include "platform/sender.h"
#include "tap.h"

typedef struct bench
{
	tap_memory memory;
	pe_env env;
	pe_sender *sender;
	int64_t now;
	pe_action action;
	pe_response_summary summary;
	int queued; /* keys of the next chunk to load; 0: none */
	bool retries;
	pe_key_past past[PE_CHUNK_KEYS];
	bool keep_past; /* also of chunks */
	pe_sender_enrichment_info info;
	int tokens, reports;
	pe_block reported;
	int64_t waited;
} bench;

static void
scan(bench *b)
{
	static const pe_throttle_limits limits = {1000, 100000, 16};

	pe_sender_scan_begin(b->sender);
	pe_sender_server(b->sender, 1, &limits, b->now);
	pe_sender_link(b->sender, 1, 1);
	pe_sender_link(b->sender, 2, 1);
	pe_sender_enrichment(b->sender, &b->info, b->now);
	if (b->queued > 0)
		pe_sender_has_work(b->sender, b->info.id, 3);
	pe_sender_scanned(b->sender, true, b->now + 10 * PE_SECOND);
}

/*
 * Goes on until the sender wants to send, to commit, or has nothing to do for
 * longer than limit; answers scans, loads, tokens and reports by itself.
 */
static pe_action_kind
run(bench *b, int64_t limit)
{
	int64_t until = b->now + limit;
	int64_t start = b->now;

	for (int steps = 0; steps < 100000; steps++)
	{
		pe_sender_next(b->sender, b->now, &b->action);
		b->waited = b->now - start;
		switch (b->action.kind)
		{
			case PE_DO_SEND:
			case PE_DO_COMMIT:
				return b->action.kind;
			case PE_DO_SCAN:
				scan(b);
				break;
			case PE_DO_LOAD:
				pe_sender_loaded(b->sender, b->action.slot, b->now,
				                 b->retries ? PE_WORK_RETRY : PE_WORK_CHUNK, b->queued,
				                 b->retries || b->keep_past ? b->past : NULL);
				break;
			case PE_DO_TOKEN:
				b->tokens++;
				pe_sender_token(b->sender, b->action.link, b->now, PE_OK, NULL);
				break;
			case PE_DO_REPORT:
				b->reports++;
				b->reported = b->action.block;
				b->info.stored_block = b->action.block;
				b->info.stored_probe_at = b->action.probe_in < 0 ? PE_NEVER : b->now + b->action.probe_in;
				pe_sender_reported(b->sender, b->action.enrichment, PE_WRITTEN, b->now);
				break;
			case PE_DO_WAIT:
				if (b->action.until > until)
				{
					b->now = until;
					return PE_DO_WAIT;
				}
				b->now = b->action.until;
				break;
		}
	}
	return PE_DO_WAIT;
}

static void
begin(bench *b, int queued)
{
	memset(b, 0, sizeof(*b));
	b->env = tap_env(&b->memory);
	b->now = 5 * PE_SECOND;
	b->queued = queued;
	b->info = (pe_sender_enrichment_info){
	    .id = 7, .link = 1, .identity_matches = true, .stored_probe_at = PE_NEVER};
	pe_sender_open(&b->env, 1, b->now, &b->sender, NULL);
}

static void
end(bench *b)
{
	pe_sender_close(b->sender);
	IS_INT(b->memory.live, 0, "nothing leaks");
}

/* Sends all that was asked for, as a request of 100 bytes a key. */
static pe_slot *
send_all(bench *b)
{
	static const pe_built none = {0};
	pe_built built = none;

	built.sent = b->action.keys;
	built.sent_count = b->action.key_count;
	built.bytes = (size_t) b->action.key_count * 100;
	pe_sender_built(b->sender, b->action.slot, b->now, &built);
	return b->action.slot;
}

static void
reply(bench *b, const pe_result *result)
{
	pe_slot *slot = send_all(b);

	b->now += 50000;
	pe_sender_response(b->sender, slot, b->now, result, &b->summary);
}

static void
reply_status(bench *b, int http_status)
{
	pe_result result = {.transport = PE_OK, .http_status = http_status, .reason = "words"};

	reply(b, &result);
}

/* A multi-status reply in which the keys of a status other than 0 are given. */
static void
reply_entries(bench *b, const int *bad, int bad_count, int status)
{
	pe_result_entry entries[PE_CHUNK_KEYS] = {{0}};
	pe_result result = {.transport = PE_OK,
	                    .http_status = 207,
	                    .readable = true,
	                    .entries = entries,
	                    .entry_count = b->action.key_count};

	for (int i = 0; i < bad_count; i++)
		entries[bad[i]] = (pe_result_entry){status, "bad"};
	reply(b, &result);
}

static void
commit(bench *b)
{
	b->queued = 0;
	pe_sender_committed(b->sender, b->action.slot, b->now, PE_WRITTEN);
}

static int
count_state(const bench *b, pe_key_state state)
{
	int count = 0;

	for (int i = 0; i < b->action.slot->key_count; i++)
		count += b->action.slot->keys[i].state == state;
	return count;
}

/* That is committed which says no more than that it was sent. */
static void
expect_kept(bench *b, int keys)
{
	IS_INT(run(b, 0), PE_DO_COMMIT, "committed");
	IS_INT(count_state(b, PE_KEY_KEPT), keys, "but all stays queued");
	pe_sender_committed(b->sender, b->action.slot, b->now, PE_WRITTEN);
}

static void
test_calm(void)
{
	bench b;

	begin(&b, 40);
	IS_INT(run(&b, PE_SECOND), PE_DO_SEND, "loads, gets a token, sends");
	IS_INT(b.tokens, 1, "one token");
	IS_INT(b.action.key_count, 40, "the whole chunk");
	OK(b.waited > 0, "buckets start empty");
	reply_entries(&b, NULL, 0, 0);
	IS_INT(b.summary.accepted, 40, "all accepted");
	IS_INT(run(&b, 0), PE_DO_COMMIT, "commits after the reply");
	IS_INT(count_state(&b, PE_KEY_ACCEPTED), 40, "all keys");
	commit(&b);
	IS_INT(run(&b, PE_SECOND), PE_DO_WAIT, "then waits");
	end(&b);
}

static void
test_commit_failure(void)
{
	bench b;
	int64_t before;

	begin(&b, 10);
	run(&b, PE_SECOND);
	reply_entries(&b, NULL, 0, 0);
	run(&b, 0);
	pe_sender_committed(b.sender, b.action.slot, b.now, PE_WRITE_FAILED);
	before = b.now;
	pe_sender_has_work(b.sender, 7, 4);
	IS_INT(run(&b, 400 * PE_SECOND), PE_DO_COMMIT, "the same commit again, and nothing else first");
	OK(b.now > before, "after a while");
	commit(&b);
	end(&b);
}

/* Slots that wait together are written in one transaction, whose failure is one failure. */
static void
test_commit_together(void)
{
	bench b;
	pe_action first;
	pe_slot *other;
	int64_t before;

	begin(&b, 10);
	IS_INT(run(&b, PE_SECOND), PE_DO_SEND, "one slot sends");
	first = b.action;
	b.queued = 10;
	pe_sender_has_work(b.sender, 7, 4);
	IS_INT(run(&b, PE_SECOND), PE_DO_SEND, "and another");
	reply_entries(&b, NULL, 0, 0);
	b.action = first;
	reply_entries(&b, NULL, 0, 0);
	IS_INT(run(&b, 0), PE_DO_COMMIT, "one is to be committed");
	other = pe_sender_also_commit(b.sender, b.now);
	OK(other != NULL && other != b.action.slot, "the other one as well");
	OK(pe_sender_also_commit(b.sender, b.now) == NULL, "and no third");
	before = b.now;
	pe_sender_committed(b.sender, b.action.slot, b.now, PE_WRITE_FAILED);
	pe_sender_committed(b.sender, other, b.now, PE_WRITE_FAILED);
	IS_INT(run(&b, 400 * PE_SECOND), PE_DO_COMMIT, "both failed: again");
	OK(b.now - before <= PE_SECOND, "after the pause of a first failure");
	other = pe_sender_also_commit(b.sender, b.now);
	commit(&b);
	OK(other != NULL, "both");
	if (other != NULL)
		pe_sender_committed(b.sender, other, b.now, PE_WRITTEN);
	end(&b);
}

/* What was answered waits while there is more to send, so that more is written together. */
static void
test_commit_later(void)
{
	bench b;
	int sends = 1;

	begin(&b, 10);
	IS_INT(run(&b, PE_SECOND), PE_DO_SEND, "one slot sends");
	reply_entries(&b, NULL, 0, 0);
	pe_sender_has_work(b.sender, 7, 4);
	IS_INT(run(&b, 0), PE_DO_SEND, "another, before the first is committed");
	reply_entries(&b, NULL, 0, 0);
	IS_INT(run(&b, 0), PE_DO_COMMIT, "nothing more to send: both are");
	OK(pe_sender_also_commit(b.sender, b.now) != NULL, "together");
	end(&b);

	begin(&b, 10);
	IS_INT(run(&b, PE_SECOND), PE_DO_SEND, "one slot sends");
	for (int shard = 0; shard < PE_SHARDS; shard++)
		pe_sender_has_work(b.sender, 7, shard);
	reply_entries(&b, NULL, 0, 0);
	for (; run(&b, 0) == PE_DO_SEND && sends < PE_SHARDS; sends++)
		reply_entries(&b, NULL, 0, 0);
	IS_INT(b.action.kind, PE_DO_COMMIT, "more to send, but enough to commit");
	IS_INT(sends, 8, "after eight requests");
	end(&b);
}

/* Somebody holds locks on an enrichment's rows: what is to be written of it waits, the rest goes on. */
static void
test_contention(void)
{
	bench b;
	pe_sender_numbers numbers;

	begin(&b, 10);
	run(&b, PE_SECOND);
	reply_entries(&b, NULL, 0, 0);
	run(&b, 0);
	pe_sender_committed(b.sender, b.action.slot, b.now, PE_WRITE_CONTENDED);
	pe_sender_count(b.sender, b.now, &numbers);
	OK(!numbers.halted, "locks do not halt the sender");
	pe_sender_has_work(b.sender, 7, 4);
	for (int i = 0; i < 40; i++)
	{
		int64_t since = b.now;
		pe_action_kind kind = run(&b, 20 * PE_SECOND);

		if (kind == PE_DO_SEND)
		{
			IS_INT(b.action.slot->shard, 4, "other slots go on sending");
			reply_entries(&b, NULL, 0, 0);
			continue;
		}
		IS_INT(kind, PE_DO_COMMIT, "the commit is tried again");
		OK(b.now > since && b.now - since <= 16 * PE_SECOND, "after a while, but soon");
		pe_sender_committed(b.sender, b.action.slot, b.now, PE_WRITE_CONTENDED);
	}
	pe_sender_wake(b.sender);
	IS_INT(run(&b, 0), PE_DO_COMMIT, "at once when woken");
	commit(&b);
	IS_INT(run(&b, 0), PE_DO_COMMIT, "and then the other's");
	commit(&b);
	end(&b);
}

static void
test_not_sent_and_unknown(void)
{
	bench b;
	pe_result refused = {.transport = PE_UNREACHABLE};
	pe_result lost = {.transport = PE_UNREACHABLE, .body_sent = true};

	begin(&b, 10);
	run(&b, PE_SECOND);
	for (int i = 0; i < 8; i++)
	{
		reply(&b, i % 2 ? &refused : &lost);
		IS_INT(b.summary.accepted, 0, "nothing counts as accepted");
		IS_INT(run(&b, 400 * PE_SECOND), PE_DO_SEND, "sent again within five minutes");
		IS_INT(b.action.key_count, 10, "all of it");
	}
	reply_entries(&b, NULL, 0, 0);
	IS_INT(run(&b, 0), PE_DO_COMMIT, "and accepted in the end");
	IS_INT(count_state(&b, PE_KEY_ACCEPTED), 10, "all keys");
	end(&b);
}

static void
test_rate(void)
{
	bench b;
	pe_result busy = {.transport = PE_OK, .http_status = 429, .retry_after = 7 * PE_SECOND};

	begin(&b, 10);
	run(&b, PE_SECOND);
	reply(&b, &busy);
	IS_INT(run(&b, 100 * PE_SECOND), PE_DO_SEND, "sent again");
	OK(b.waited >= 7 * PE_SECOND && b.waited < 8 * PE_SECOND, "after Retry-After: %lld us",
	   (long long) b.waited);
	busy.retry_after = 100000 * PE_SECOND;
	reply(&b, &busy);
	IS_INT(run(&b, 4000 * PE_SECOND), PE_DO_SEND, "an absurd one");
	OK(b.waited >= 3600 * PE_SECOND && b.waited < 3611 * PE_SECOND, "is an hour: %lld us",
	   (long long) b.waited);
	IS_INT(b.action.slot->keys[0].attempts, 0, "no attempt is counted");
	end(&b);
}

static void
test_halving(void)
{
	bench b;
	int requests = 0;

	begin(&b, 100);
	run(&b, PE_SECOND);
	/* Key 37 spoils every request it is in. */
	while (b.action.kind == PE_DO_SEND && requests++ < 100)
	{
		bool spoilt = false;

		for (int i = 0; i < b.action.key_count; i++)
			spoilt |= b.action.keys[i] == 37;
		if (spoilt)
			reply_status(&b, 400);
		else
			reply_entries(&b, NULL, 0, 0);
		run(&b, PE_SECOND);
	}
	IS_INT(b.action.kind, PE_DO_COMMIT, "found");
	OK(requests <= 16, "in %d requests", requests);
	IS_INT(count_state(&b, PE_KEY_ACCEPTED), 99, "the others are accepted");
	IS_INT(b.action.slot->keys[37].state, PE_KEY_DEAD,
	       "the bad one is dead: the others show that the schema is right");
	IS_STR(b.action.slot->keys[37].reason, "words", "with the platform's words");
	end(&b);
}

static void
test_first_refusal_waits(void)
{
	bench b;
	int bad[] = {1};

	begin(&b, 3);
	run(&b, PE_SECOND);
	reply_entries(&b, bad, 1, 400);
	run(&b, 0);
	IS_INT(b.action.slot->keys[1].state, PE_KEY_RETRY, "too few verdicts yet: tried once more");
	commit(&b);
	b.queued = 1;
	b.retries = true;
	b.past[0] = (pe_key_past){.attempts = 1, .outcome = PE_OUTCOME_REFUSED};
	IS_INT(run(&b, 10 * PE_SECOND), PE_DO_SEND, "which comes soon");
	reply_entries(&b, (int[]){0}, 1, 400);
	run(&b, 0);
	IS_INT(b.action.slot->keys[0].state, PE_KEY_DEAD, "refused again it is dead");
	end(&b);
}

static void
test_schema(void)
{
	bench b;
	int bad[100];

	for (int i = 0; i < 100; i++)
		bad[i] = i;
	begin(&b, 100);
	run(&b, PE_SECOND);
	reply_entries(&b, bad, 100, 400);
	expect_kept(&b, 100);
	IS_INT(run(&b, PE_SECOND), PE_DO_WAIT, "nothing more is sent");
	IS_INT(b.reported, PE_BLOCK_SCHEMA, "blocked: schema");
	IS_INT(run(&b, 400 * PE_SECOND), PE_DO_SEND, "a probe after five minutes");
	IS_INT(b.action.key_count, 1, "of one key");
	reply_entries(&b, bad, 1, 400);
	IS_INT(run(&b, 0), PE_DO_COMMIT, "refused: that one is set aside");
	b.queued = 99;
	pe_sender_committed(b.sender, b.action.slot, b.now, PE_WRITTEN);
	IS_INT(run(&b, 100 * PE_SECOND), PE_DO_WAIT, "and it is still blocked");
	IS_INT(run(&b, 400 * PE_SECOND), PE_DO_SEND, "the next probe");
	reply_entries(&b, NULL, 0, 0);
	IS_INT(run(&b, PE_SECOND), PE_DO_SEND, "accepted: the rest follows");
	IS_INT(b.reported, PE_BLOCK_NONE, "unblocked");
	IS_INT(b.action.key_count, 98, "all of it");
	end(&b);
}

/* Somebody resumes again and again while the schema is still wrong: what was refused before is no more dead
 * for it. */
static void
test_schema_resumed(void)
{
	bench b;
	int bad[40];
	int dead = 0;

	for (int i = 0; i < 40; i++)
		bad[i] = i;
	begin(&b, 40);
	run(&b, PE_SECOND);
	reply_entries(&b, bad, 40, 400);
	expect_kept(&b, 40);
	b.retries = true;
	b.queued = 8;
	for (int i = 0; i < 8; i++)
		b.past[i] = (pe_key_past){.attempts = 1, .outcome = PE_OUTCOME_REFUSED};
	for (int i = 0; i < 5; i++)
	{
		b.info.resumes++;
		b.info.stored_block = PE_BLOCK_NONE;
		scan(&b);
		IS_INT(run(&b, 10 * PE_SECOND), PE_DO_SEND, "resumed");
		reply_entries(&b, bad, b.action.key_count, 400);
		IS_INT(run(&b, 0), PE_DO_COMMIT, "refused");
		dead += count_state(&b, PE_KEY_DEAD);
		pe_sender_committed(b.sender, b.action.slot, b.now, PE_WRITTEN);
	}
	IS_INT(dead, 0, "nothing is dead");
	IS_INT(run(&b, 10 * PE_SECOND), PE_DO_SEND, "the schema is right now");
	reply_entries(&b, bad, 1, 400);
	IS_INT(run(&b, 0), PE_DO_COMMIT, "one is refused, seven are accepted");
	pe_sender_committed(b.sender, b.action.slot, b.now, PE_WRITTEN);
	b.queued = 1;
	IS_INT(run(&b, 10 * PE_SECOND), PE_DO_SEND, "tried again");
	reply_entries(&b, bad, 1, 400);
	IS_INT(run(&b, 0), PE_DO_COMMIT, "and refused again");
	IS_INT(count_state(&b, PE_KEY_DEAD), 1, "that one is");
	end(&b);
}

/* The first key may be one that no schema would make right: another one must get its turn. */
static void
test_schema_probes(void)
{
	bench b;
	int bad[40];

	for (int i = 0; i < 40; i++)
		bad[i] = i;
	begin(&b, 40);
	run(&b, PE_SECOND);
	reply_entries(&b, bad, 40, 400);
	expect_kept(&b, 40);
	for (int i = 0; i < 10; i++)
	{
		IS_INT(run(&b, 400 * PE_SECOND), PE_DO_SEND, "probe %d", i + 1);
		reply_entries(&b, bad, 1, 400);
		IS_INT(run(&b, PE_SECOND), PE_DO_COMMIT, "refused: its key is set aside");
		IS_INT(count_state(&b, PE_KEY_RETRY), 1, "one key");
		IS_INT(count_state(&b, PE_KEY_KEPT), b.queued - 1, "the others stay queued");
		for (int k = 0; k < b.queued; k++)
			if (b.action.slot->keys[k].state == PE_KEY_RETRY)
				OK(b.action.slot->keys[k].delay >= 6 * PE_PROBE_PERIOD, "for several probes");
		b.queued--;
		pe_sender_committed(b.sender, b.action.slot, b.now, PE_WRITTEN);
	}
	end(&b);
}

/* "500 three times" means three times 500, whatever went wrong before. */
static void
test_faults_after_other_failures(void)
{
	bench b;

	begin(&b, 1);
	b.retries = true;
	b.past[0] = (pe_key_past){.attempts = 7, .outcome = PE_OUTCOME_OVERLOAD};
	for (int i = 0; i < 3; i++)
	{
		IS_INT(run(&b, 20 * PE_SECOND), PE_DO_SEND, "try %d", i + 1);
		reply_entries(&b, (int[]){0}, 1, 500);
		IS_INT(run(&b, 0), PE_DO_COMMIT, "500 for the record");
		IS_INT(b.action.slot->keys[0].state, PE_KEY_RETRY, "to be tried again");
		IS_INT(b.action.slot->keys[0].attempts, i + 1, "500s are counted by themselves");
		b.past[0] = (pe_key_past){.attempts = b.action.slot->keys[0].attempts, .outcome = PE_OUTCOME_FAULT};
		pe_sender_committed(b.sender, b.action.slot, b.now, PE_WRITTEN);
	}
	end(&b);
}

/* A key that must wait for its previous value leaves the chunk, the others are sent. */
static void
test_later(void)
{
	bench b;
	pe_slot *slot;

	begin(&b, 3);
	b.past[1].wait = 40 * PE_SECOND;
	b.keep_past = true;
	IS_INT(run(&b, PE_SECOND), PE_DO_SEND, "sends");
	IS_INT(b.action.key_count, 2, "the two that need not wait");
	OK(b.action.keys[0] == 0 && b.action.keys[1] == 2, "the right ones");
	slot = b.action.slot;
	reply_entries(&b, NULL, 0, 0);
	IS_INT(run(&b, 0), PE_DO_COMMIT, "commits");
	IS_INT(slot->keys[1].state, PE_KEY_LATER, "the third has to wait");
	IS_INT(slot->keys[1].delay, 40 * PE_SECOND, "as long as was said");
	OK(slot->keys[0].sent_at > 0 && slot->keys[1].sent_at == 0, "what was sent says when");
	commit(&b);
	b.queued = 1;
	b.past[0].wait = b.past[1].wait = 0;
	IS_INT(run(&b, 9 * PE_SECOND), PE_DO_SEND, "the next is sent");
	end(&b);

	begin(&b, 2);
	b.past[0].wait = b.past[1].wait = 40 * PE_SECOND;
	b.keep_past = true;
	IS_INT(run(&b, PE_SECOND), PE_DO_COMMIT, "nothing to send at all: committed at once");
	IS_INT(count_state(&b, PE_KEY_LATER), 2, "all wait");
	end(&b);
}

static void
test_token(void)
{
	bench b;

	begin(&b, 10);
	run(&b, PE_SECOND);
	reply_status(&b, 401);
	IS_INT(run(&b, PE_SECOND), PE_DO_SEND, "one more try");
	IS_INT(b.tokens, 2, "with a new token");
	reply_status(&b, 403);
	expect_kept(&b, 10);
	IS_INT(run(&b, PE_SECOND), PE_DO_WAIT, "then no more");
	IS_INT(b.reported, PE_BLOCK_AUTHORISATION, "blocked: authorisation");
	IS_INT(run(&b, 400 * PE_SECOND), PE_DO_SEND, "a probe after five minutes");
	reply_entries(&b, NULL, 0, 0);
	IS_INT(run(&b, 0), PE_DO_COMMIT, "accepted");
	commit(&b);
	run(&b, PE_SECOND);
	IS_INT(b.reported, PE_BLOCK_NONE, "unblocked");
	end(&b);
}

static void
test_configuration(void)
{
	bench b;
	pe_result untrusted = {.transport = PE_UNTRUSTED};

	begin(&b, 10);
	run(&b, PE_SECOND);
	reply(&b, &untrusted);
	expect_kept(&b, 10);
	run(&b, PE_SECOND);
	IS_INT(b.reported, PE_BLOCK_CONFIGURATION, "a wrong certificate blocks: configuration");
	/* resume() clears it in the tables. */
	b.info.stored_block = PE_BLOCK_NONE;
	pe_sender_wake(b.sender);
	IS_INT(run(&b, PE_SECOND), PE_DO_SEND, "resume sends at once");
	reply_status(&b, 404);
	expect_kept(&b, 10);
	run(&b, PE_SECOND);
	IS_INT(b.reported, PE_BLOCK_CONFIGURATION, "404 too");
	end(&b);
}

static void
test_identity(void)
{
	bench b;

	begin(&b, 10);
	b.info.identity_matches = false;
	IS_INT(run(&b, 1000 * PE_SECOND), PE_DO_WAIT, "a copy of the database sends nothing, and probes nothing");
	IS_INT(b.reported, PE_BLOCK_IDENTITY, "blocked: identity");
	b.info.identity_matches = true;
	IS_INT(run(&b, 20 * PE_SECOND), PE_DO_SEND, "until it is adopted");
	end(&b);
}

static void
test_too_big(void)
{
	bench b;

	begin(&b, 400);
	run(&b, PE_SECOND);
	reply_status(&b, 413);
	IS_INT(run(&b, PE_SECOND), PE_DO_SEND, "in halves");
	IS_INT(b.action.key_count, 200, "of the keys");
	IS_INT(b.action.max_bytes, 20000, "the limit is remembered");
	end(&b);

	begin(&b, 1);
	run(&b, PE_SECOND);
	reply_status(&b, 413);
	run(&b, PE_SECOND);
	IS_INT(b.action.slot->keys[0].state, PE_KEY_DEAD, "a single one is dead");
	end(&b);
}

static void
test_miscount(void)
{
	bench b;
	pe_result_entry entries[PE_CHUNK_KEYS] = {{0}};
	pe_result result = {
	    .transport = PE_OK, .http_status = 207, .readable = true, .entries = entries, .entry_count = 3};
	pe_result single = {.transport = PE_OK, .http_status = 200, .readable = true, .single = true};

	begin(&b, 4);
	run(&b, PE_SECOND);
	reply(&b, &result);
	IS_INT(b.summary.accepted, 0, "nothing is accepted");
	for (int i = 0; i < 4; i++)
	{
		IS_INT(run(&b, PE_SECOND), PE_DO_SEND, "again");
		OK(b.action.alone && b.action.key_count == 1 && b.action.keys[0] == i,
		   "message %d by itself, by the single call", i);
		reply(&b, &single);
	}
	IS_INT(run(&b, 0), PE_DO_COMMIT, "done");
	end(&b);
}

static void
test_faults(void)
{
	bench b;

	begin(&b, 4);
	run(&b, PE_SECOND);
	for (int i = 0; i < 3; i++)
	{
		IS_INT(b.action.key_count, 4, "500: the same again");
		reply_status(&b, 500);
		IS_INT(run(&b, 100 * PE_SECOND), PE_DO_SEND, "try %d", i + 2);
	}
	IS_INT(b.action.key_count, 2, "three times: halves");
	end(&b);
}

static void
test_parts(void)
{
	bench b;
	int sent[100], superseded[] = {4}, big[] = {9};
	pe_built built = {sent, 0, superseded, 1, big, 1, 1000};
	pe_slot *slot;
	pe_result_entry entries[PE_CHUNK_KEYS] = {{0}};
	pe_result result = {
	    .transport = PE_OK, .http_status = 207, .readable = true, .entries = entries, .entry_count = 40};

	begin(&b, 100);
	run(&b, PE_SECOND);
	for (int i = 0; built.sent_count < 40; i++)
		if (i != 4 && i != 9)
			sent[built.sent_count++] = i;
	slot = b.action.slot;
	pe_sender_built(b.sender, slot, b.now, &built);
	pe_sender_response(b.sender, slot, b.now + 1000, &result, &b.summary);
	IS_INT(run(&b, PE_SECOND), PE_DO_SEND, "what did not fit follows before the commit");
	IS_INT(b.action.key_count, 58, "all that was left");
	reply_entries(&b, NULL, 0, 0);
	IS_INT(run(&b, 0), PE_DO_COMMIT, "one commit");
	IS_INT(count_state(&b, PE_KEY_ACCEPTED), 98, "accepted");
	IS_INT(count_state(&b, PE_KEY_SUPERSEDED), 1, "superseded");
	IS_INT(count_state(&b, PE_KEY_DEAD), 1, "dead");
	end(&b);
}

static void
test_pause(void)
{
	bench b;
	int bad[] = {0};

	begin(&b, 10);
	run(&b, PE_SECOND);
	send_all(&b);
	b.info.paused = true;
	scan(&b);
	{
		pe_result_entry entries[10] = {{0}};
		pe_result result = {
		    .transport = PE_OK, .http_status = 207, .readable = true, .entries = entries, .entry_count = 10};

		entries[0] = (pe_result_entry){401, "token"};
		pe_sender_response(b.sender, b.action.slot, b.now + 1000, &result, &b.summary);
	}
	IS_INT(run(&b, 0), PE_DO_COMMIT, "paused: what was decided is committed");
	IS_INT(count_state(&b, PE_KEY_ACCEPTED), 9, "nine keys");
	IS_INT(b.action.slot->keys[bad[0]].state, PE_KEY_KEPT, "the tenth stays queued");
	pe_sender_committed(b.sender, b.action.slot, b.now, PE_WRITTEN);
	IS_INT(run(&b, 100 * PE_SECOND), PE_DO_WAIT, "nothing is sent");
	b.info.paused = false;
	b.queued = 1;
	IS_INT(run(&b, 20 * PE_SECOND), PE_DO_SEND, "until it is resumed");
	end(&b);
}

/* What went out without an answer that says anything must be written down all the same. */
static void
test_pause_after_unknown(void)
{
	bench b;
	pe_result lost = {.transport = PE_UNREACHABLE, .body_sent = true};

	begin(&b, 5);
	run(&b, PE_SECOND);
	reply(&b, &lost);
	b.info.paused = true;
	scan(&b);
	IS_INT(run(&b, 0), PE_DO_COMMIT, "paused after a lost reply: committed");
	IS_INT(count_state(&b, PE_KEY_KEPT), 5, "all keys stay queued");
	OK(b.action.slot->keys[0].sent_at > 0, "with the time they were sent at");
	end(&b);
}

/* Several slots in use, so that there is never a moment when none is: the new link is used all the same. */
static void
test_change_of_link(void)
{
	bench b;
	pe_slot *first, *second;
	pe_result busy = {.transport = PE_OK, .http_status = 503};
	pe_response_summary summary;

	begin(&b, 5);
	run(&b, PE_SECOND);
	first = send_all(&b);
	pe_sender_has_work(b.sender, 7, 4);
	IS_INT(run(&b, PE_SECOND), PE_DO_SEND, "a second slot");
	second = send_all(&b);
	b.info.link = 2;
	scan(&b);
	pe_sender_has_work(b.sender, 7, 5);
	IS_INT(run(&b, PE_SECOND), PE_DO_WAIT, "nothing more is loaded for the old link");
	pe_sender_response(b.sender, first, b.now, &busy, &summary);
	IS_INT(run(&b, 0), PE_DO_COMMIT, "nor sent again by it");
	pe_sender_committed(b.sender, b.action.slot, b.now, PE_WRITTEN);
	pe_sender_response(b.sender, second, b.now, &busy, &summary);
	IS_INT(run(&b, 0), PE_DO_COMMIT, "the other slot ends, too");
	pe_sender_committed(b.sender, b.action.slot, b.now, PE_WRITTEN);
	IS_INT(run(&b, 20 * PE_SECOND), PE_DO_SEND, "then all goes on");
	IS_INT(b.action.slot->link, 2, "by the new one");
	IS_INT(b.tokens, 2, "with a token of its own");
	end(&b);
}

/* ---- several enrichments at once ---------------------------------------------------------- */

typedef struct crowd
{
	tap_memory memory;
	pe_env env;
	pe_sender *sender;
	int64_t now;
	int enrichments;
	int (*link_of)(int enrichment);
	int (*server_of)(int link);
	pe_throttle_limits limits;
	long sent[16];
	int superseded[16]; /* so many loads of an enrichment's are not worth a request */
	int64_t first_sent[16];
	int most_loaded;
} crowd;

static void
scan_crowd(crowd *c)
{
	pe_sender_scan_begin(c->sender);
	for (int v = 0; v < 2; v++)
		pe_sender_server(c->sender, v, &c->limits, c->now);
	for (int l = 0; l < 2; l++)
		pe_sender_link(c->sender, l, c->server_of(l));
	for (int e = 0; e < c->enrichments; e++)
	{
		pe_sender_enrichment_info info = {
		    .id = e, .link = c->link_of(e), .identity_matches = true, .stored_probe_at = PE_NEVER};

		pe_sender_enrichment(c->sender, &info, c->now);
		for (int s = 0; s < PE_SHARDS; s++)
			pe_sender_has_work(c->sender, e, s);
	}
	pe_sender_scanned(c->sender, true, c->now + 10 * PE_SECOND);
}

/* An endless backlog for that long; each request is answered at once, by answer(enrichment). */
static void
run_crowd(crowd *c, int64_t duration, int (*answer)(int enrichment))
{
	int64_t until = c->now + duration;
	pe_action action;
	pe_sender_numbers numbers;
	pe_built built;
	pe_response_summary summary;

	while (c->now < until)
	{
		pe_sender_next(c->sender, c->now, &action);
		if (action.kind == PE_DO_WAIT)
			c->now = action.until;
		else if (action.kind == PE_DO_SCAN)
			scan_crowd(c);
		else if (action.kind == PE_DO_TOKEN)
			pe_sender_token(c->sender, action.link, c->now, PE_OK, NULL);
		else if (action.kind == PE_DO_LOAD)
			pe_sender_loaded(c->sender, action.slot, c->now, PE_WORK_CHUNK, 2, NULL);
		else if (action.kind == PE_DO_COMMIT)
			pe_sender_committed(c->sender, action.slot, c->now, PE_WRITTEN);
		else if (action.kind == PE_DO_REPORT)
			pe_sender_reported(c->sender, action.enrichment, PE_WRITTEN, c->now);
		else if (c->superseded[action.slot->enrichment] > 0)
		{
			c->superseded[action.slot->enrichment]--;
			built = (pe_built){.superseded = action.keys, .superseded_count = action.key_count};
			pe_sender_built(c->sender, action.slot, c->now, &built);
		}
		else
		{
			pe_result result = {.transport = PE_OK, .http_status = answer(action.slot->enrichment)};
			pe_result_entry entries[2] = {{0}};

			result.readable = result.http_status < 300;
			result.entries = entries;
			result.entry_count = action.key_count;
			result.retry_after = result.http_status == 429 ? 50 * PE_SECOND : 0;
			built = (pe_built){.sent = action.keys, .sent_count = action.key_count, .bytes = 100};
			pe_sender_built(c->sender, action.slot, c->now, &built);
			if (c->sent[action.slot->enrichment]++ == 0)
				c->first_sent[action.slot->enrichment] = c->now;
			c->now += 1000;
			pe_sender_response(c->sender, action.slot, c->now, &result, &summary);
		}
		pe_sender_count(c->sender, c->now, &numbers);
		if (numbers.loaded > c->most_loaded)
			c->most_loaded = numbers.loaded;
	}
}

static int
same(int id)
{
	return id;
}

static int
zero(int id)
{
	(void) id;
	return 0;
}

static int
all_well(int enrichment)
{
	(void) enrichment;
	return 207;
}

static int
last_of_six_is_well(int enrichment)
{
	return enrichment == 5 ? 207 : 500;
}

static int
first_is_rated(int enrichment)
{
	return enrichment == 0 ? 429 : 207;
}

static int
even_or_odd(int enrichment)
{
	return enrichment % 2;
}

static void
begin_crowd(crowd *c, int enrichments, int (*link_of)(int), int (*server_of)(int))
{
	memset(c, 0, sizeof(*c));
	c->env = tap_env(&c->memory);
	c->enrichments = enrichments;
	c->link_of = link_of;
	c->server_of = server_of;
	c->limits = (pe_throttle_limits){10, 1000, 16};
	pe_sender_open(&c->env, 1, 0, &c->sender, NULL);
}

/* Five enrichments in trouble, of sixteen shards each: more than the places there are for chunks. */
static void
test_crowd_of_failures(void)
{
	crowd c;

	begin_crowd(&c, 6, zero, zero);
	run_crowd(&c, 900 * PE_SECOND, last_of_six_is_well);
	OK(c.sent[5] > 5 * (c.sent[0] + c.sent[1] + c.sent[2] + c.sent[3] + c.sent[4]),
	   "the one that is well is not held back: %ld requests against %ld", c.sent[5], c.sent[0]);
	OK(c.most_loaded <= 64 + 6, "and memory is bounded: %d chunks", c.most_loaded);
	pe_sender_close(c.sender);
}

/* The server is only probed, because of the others; whose chunks have newer values behind them gets to those.
 */
static void
test_crowd_of_superseded(void)
{
	crowd c;

	begin_crowd(&c, 6, zero, zero);
	c.superseded[5] = 1000;
	run_crowd(&c, 3600 * PE_SECOND, last_of_six_is_well);
	OK(c.sent[5] > 0 && c.first_sent[5] < 60 * PE_SECOND,
	   "one with a thousand superseded chunks is soon served: after %d s",
	   (int) (c.first_sent[5] / PE_SECOND));
	pe_sender_close(c.sender);
}

/* Two owners with a mapping each for one server: the server has one rate, and pauses as a whole. */
static void
test_shared_server(void)
{
	crowd c;

	begin_crowd(&c, 2, same, zero);
	run_crowd(&c, 100 * PE_SECOND, all_well);
	OK(c.sent[0] + c.sent[1] <= 1010 && c.sent[0] + c.sent[1] >= 900,
	   "two links of a server share its 10 requests/s: %ld in 100 s", c.sent[0] + c.sent[1]);
	OK(c.sent[0] > 400 && c.sent[1] > 400, "fairly: %ld and %ld", c.sent[0], c.sent[1]);
	pe_sender_close(c.sender);

	begin_crowd(&c, 2, same, zero);
	run_crowd(&c, 1000 * PE_SECOND, first_is_rated);
	OK(c.sent[1] < 100, "and its pauses: %ld requests of the other in 1000 s", c.sent[1]);
	pe_sender_close(c.sender);

	begin_crowd(&c, 4, even_or_odd, same);
	run_crowd(&c, 1000 * PE_SECOND, first_is_rated);
	OK(c.sent[1] + c.sent[3] > 9000, "which another server has nothing to do with: %ld",
	   c.sent[1] + c.sent[3]);
	pe_sender_close(c.sender);
}

static void
test_throttle(void)
{
	pe_throttle throttle;
	pe_throttle_limits limits = {10, 1000, 4};
	uint64_t random = 3;
	int64_t now = PE_SECOND;
	int64_t since;
	int started = 0;

	pe_throttle_init(&throttle, &limits, now);
	OK(pe_throttle_ready(&throttle, now, 1) > now, "the buckets start empty");
	for (int64_t until = now + 10 * PE_SECOND; now < until; now += 1000)
		if (pe_throttle_ready(&throttle, now, 100) <= now)
		{
			pe_throttle_start(&throttle, now, 100);
			pe_throttle_end(&throttle, now + 100, now, PE_HEALTH_GOOD, &random);
			started++;
		}
	OK(started >= 95 && started <= 110, "10 requests/s of 100 messages make 100 in 10 s: %d", started);
	for (int i = 0; i < 5; i++)
	{
		now += PE_SECOND;
		pe_throttle_start(&throttle, now, 1);
		pe_throttle_end(&throttle, now + 10, now, PE_HEALTH_FAILED, &random);
	}
	OK(throttle.open, "five failures in a row open the breaker");
	IS_INT(pe_throttle_reach(&throttle, &since), PE_REACH_UNKNOWN, "which may be a hiccup");
	now = pe_throttle_ready(&throttle, now, 1) + PE_SECOND;
	IS_INT(pe_throttle_ready(&throttle, now, 1) <= now, true, "after a while there is a probe");
	pe_throttle_start(&throttle, now, 1);
	OK(pe_throttle_ready(&throttle, now, 1) == PE_NEVER, "one at a time");
	pe_throttle_end(&throttle, now + 10, now, PE_HEALTH_GOOD, &random);
	OK(!throttle.open, "and its success closes it");
	for (int attempt = 0; attempt < 40; attempt++)
	{
		int64_t delay = pe_backoff(&random, attempt);

		if (delay <= 0 || delay > 300 * PE_SECOND || (attempt < 8 && delay > PE_SECOND << attempt))
		{
			OK(false, "backoff %d is %lld", attempt, (long long) delay);
			return;
		}
	}
	OK(true, "backoffs stay within 1 s * 2^n and five minutes");
}

static void
run_to_token(bench *b)
{
	for (;;)
	{
		pe_sender_next(b->sender, b->now, &b->action);
		if (b->action.kind == PE_DO_TOKEN)
			return;
		if (b->action.kind == PE_DO_SCAN)
			scan(b);
		else if (b->action.kind == PE_DO_LOAD)
			pe_sender_loaded(b->sender, b->action.slot, b->now, PE_WORK_CHUNK, b->queued, NULL);
		else
			b->now = b->action.until;
	}
}

/* The platform does not answer, and is back; or gives no token, which is as bad. */
static void
test_outage(void)
{
	static const pe_result unreachable = {.transport = PE_UNREACHABLE, .reason = "connect"};
	bench b;
	int64_t since;
	int64_t first;

	begin(&b, 3);
	IS_INT(pe_sender_reach(b.sender, 7, b.now, &since), PE_REACH_UNKNOWN,
	       "of one that is not known nothing is said");
	run(&b, PE_SECOND);
	IS_INT(pe_sender_reach(b.sender, 7, b.now, &since), PE_REACH_UNKNOWN, "nor before anything was sent");
	first = b.now;
	for (int i = 0; i < 5; i++)
	{
		IS_INT(pe_sender_reach(b.sender, 7, b.now, &since), PE_REACH_UNKNOWN, "%d failures say nothing yet",
		       i);
		reply(&b, &unreachable);
		run(&b, 60 * PE_SECOND);
	}
	reply(&b, &unreachable);
	IS_INT(pe_sender_reach(b.sender, 7, b.now, &since), PE_REACH_OUTAGE, "five, and a probe, are an outage");
	IS_INT(since, first, "since the first");
	run(&b, 60 * PE_SECOND);
	reply_status(&b, 503);
	IS_INT(pe_sender_reach(b.sender, 7, b.now, &since), PE_REACH_OUTAGE, "an answer that it cannot is none");
	run(&b, 600 * PE_SECOND);
	reply_entries(&b, NULL, 0, 0);
	IS_INT(pe_sender_reach(b.sender, 7, b.now, &since), PE_REACH_ANSWERS, "an answer ends it");
	run(&b, 0);
	pe_sender_committed(b.sender, b.action.slot, b.now, PE_WRITTEN);
	for (int i = 0; i < 6; i++)
	{
		run(&b, 600 * PE_SECOND);
		reply(&b, &unreachable);
	}
	run(&b, 600 * PE_SECOND);
	IS_INT(pe_sender_reach(b.sender, 7, b.now, &since), PE_REACH_OUTAGE, "another one");
	reply_status(&b, 429);
	IS_INT(pe_sender_reach(b.sender, 7, b.now, &since), PE_REACH_ANSWERS,
	       "is ended by an answer that asks for patience");
	run(&b, 600 * PE_SECOND);
	reply_status(&b, 404);
	IS_INT(pe_sender_reach(b.sender, 7, b.now, &since), PE_REACH_ANSWERS, "or that blocks");
	b.queued = 0;
	run(&b, 0);
	end(&b);

	begin(&b, 1);
	for (int i = 0; i < 4; i++)
	{
		if (i > 0)
			pe_sender_token(b.sender, b.action.link, b.now, PE_UNREACHABLE, NULL);
		IS_INT(pe_sender_reach(b.sender, 7, b.now, &since), i < 3 ? PE_REACH_UNKNOWN : PE_REACH_OUTAGE,
		       "%d tokens that did not come", i);
		run_to_token(&b);
	}
	b.info.resumes++;
	scan(&b);
	IS_INT(pe_sender_reach(b.sender, 7, b.now, &since), PE_REACH_OUTAGE, "which resume() does not end");
	b.info.hold_until = b.now + PE_SECOND;
	scan(&b);
	IS_INT(pe_sender_reach(b.sender, 7, b.now, &since), PE_REACH_UNKNOWN,
	       "nothing is said of one that is to wait");
	pe_sender_token(b.sender, b.action.link, b.now, PE_UNAUTHORISED, "refused");
	IS_INT(pe_sender_reach(b.sender, 7, b.now, &since), PE_REACH_UNKNOWN,
	       "a refused one is a block, and no outage");
	end(&b);
}

static void
test_memory(void)
{
	for (long fail_at = 1;; fail_at++)
	{
		bench b;
		bool opened;

		memset(&b, 0, sizeof(b));
		b.memory.fail_at = fail_at;
		b.env = tap_env(&b.memory);
		b.queued = 20;
		b.info = (pe_sender_enrichment_info){
		    .id = 7, .link = 1, .identity_matches = true, .stored_probe_at = PE_NEVER};
		opened = pe_sender_open(&b.env, 1, 0, &b.sender, NULL) == PE_OK;
		if (opened && run(&b, 2 * PE_SECOND) == PE_DO_SEND)
		{
			int bad[] = {2, 3};

			reply_entries(&b, bad, 2, 503);
			run(&b, 0);
		}
		if (opened)
			pe_sender_close(b.sender);
		if (b.memory.live != 0)
		{
			OK(false, "failing allocation %ld leaves %ld blocks", fail_at, b.memory.live);
			return;
		}
		if (b.memory.calls < fail_at)
		{
			OK(true, "each of %ld failing allocations is survived", fail_at - 1);
			return;
		}
	}
}

/* A batch of the enrichment has met an obstacle, and says so in the tables. */
static void
test_block_by_others(void)
{
	bench b;

	begin(&b, 0);
	IS_INT(run(&b, PE_SECOND), PE_DO_WAIT, "a known enrichment with nothing to send");
	b.queued = 5;
	b.info.stored_block = PE_BLOCK_CONFIGURATION;
	b.info.stored_reason = "somebody else says so";
	b.info.stored_probe_at = b.now + 60 * PE_SECOND;
	pe_sender_wake(b.sender);
	IS_INT(run(&b, 30 * PE_SECOND), PE_DO_WAIT, "blocked by somebody else: nothing is sent");
	IS_INT(b.reports, 0, "nor is it written down again");
	b.info.stored_block = PE_BLOCK_NONE;
	b.info.stored_probe_at = PE_NEVER;
	pe_sender_wake(b.sender);
	IS_INT(run(&b, 5 * PE_SECOND), PE_DO_SEND, "unblocked by somebody else: it goes on");
	end(&b);
}

/* Two requests of two shards, under way at the same time. */
static void
send_two(bench *b, pe_slot **first, pe_slot **second)
{
	IS_INT(run(b, PE_SECOND), PE_DO_SEND, "one request");
	*first = send_all(b);
	pe_sender_has_work(b->sender, b->info.id, 4);
	IS_INT(run(b, PE_SECOND), PE_DO_SEND, "and another");
	*second = send_all(b);
}

static void
answer(bench *b, pe_slot *slot, const pe_result *result)
{
	b->now += 50000;
	pe_sender_response(b->sender, slot, b->now, result, &b->summary);
}

/* resume(), as the tables tell of it. */
static void
resume(bench *b)
{
	b->info.stored_block = PE_BLOCK_NONE;
	b->info.stored_probe_at = PE_NEVER;
	b->info.resumes++;
	pe_sender_wake(b->sender);
}

/* Goes on past commits until something is to be sent. */
static pe_action_kind
run_to_send(bench *b, int64_t limit)
{
	pe_action_kind kind;

	while ((kind = run(b, limit)) == PE_DO_COMMIT)
		pe_sender_committed(b->sender, b->action.slot, b->now, PE_WRITTEN);
	return kind;
}

/* What was asked before somebody resumed is answered after it. */
static void
test_answer_from_before_resume(void)
{
	static const pe_result untrusted = {.transport = PE_UNTRUSTED, .reason = "certificate"};
	static const pe_result no_token = {.http_status = 401, .reason = "no"};
	static const pe_result refused = {.http_status = 400, .reason = "no"};
	const pe_result *answers[] = {&untrusted, &no_token, &refused};
	pe_slot *first, *second;
	bench b;

	for (int i = 0; i < 3; i++)
	{
		begin(&b, 1);
		send_two(&b, &first, &second);
		answer(&b, first, &untrusted);
		(void) run_to_send(&b, 0);
		IS_INT(b.reported, PE_BLOCK_CONFIGURATION, "blocked by the first");
		resume(&b);
		IS_INT(run_to_send(&b, PE_SECOND), PE_DO_SEND, "resumed: it is tried");
		reply_entries(&b, NULL, 0, 0);
		answer(&b, second, answers[i]);
		IS_INT(run_to_send(&b, PE_SECOND), PE_DO_SEND, "the second's answer, of before, is no obstacle");
		IS_INT(b.reports, 1, "and blocks nothing");
		OK(b.action.slot == second, "its keys are sent again");
		answer(&b, send_all(&b), &untrusted);
		IS_INT(run_to_send(&b, PE_SECOND), PE_DO_WAIT, "what is met after that");
		IS_INT(b.reports, 2, "blocks");
		end(&b);
	}
}

/* resume() comes between an answer that blocks and its being written down. */
static void
test_report_and_resume(void)
{
	static const pe_result untrusted = {.transport = PE_UNTRUSTED, .reason = "certificate"};
	bench b;

	begin(&b, 5);
	b.info.resumes = 3;
	IS_INT(run(&b, PE_SECOND), PE_DO_SEND, "a request");
	answer(&b, send_all(&b), &untrusted);
	IS_INT(run(&b, 0), PE_DO_COMMIT, "is answered by a wrong certificate");
	pe_sender_committed(b.sender, b.action.slot, b.now, PE_WRITTEN);
	pe_sender_next(b.sender, b.now, &b.action);
	IS_INT(b.action.kind, PE_DO_REPORT, "which is to be written down");
	IS_INT(b.action.resumes, 3, "unless somebody has resumed meanwhile");
	resume(&b);
	pe_sender_reported(b.sender, b.action.enrichment, PE_WRITTEN, b.now);
	IS_INT(run_to_send(&b, PE_SECOND), PE_DO_SEND, "who is heard");
	IS_INT(b.reports, 0, "nothing more is written");
	end(&b);
}

/* A resume ends what is waited for: backoff, breaker, token. */
static void
test_resume_ends_waiting(void)
{
	static const pe_result unreachable = {.transport = PE_UNREACHABLE, .reason = "connect"};
	bench b;

	begin(&b, 5);
	for (int i = 0; i < 12; i++)
	{
		IS_INT(run(&b, 400 * PE_SECOND), PE_DO_SEND, "a request");
		answer(&b, send_all(&b), &unreachable);
	}
	resume(&b);
	IS_INT(run(&b, PE_SECOND / 10), PE_DO_SEND,
	       "after many failures it is tried as soon as somebody resumes");
	answer(&b, send_all(&b), &unreachable);
	resume(&b);
	pe_sender_link_changed(b.sender, 1, b.now);
	IS_INT(run(&b, PE_SECOND / 10), PE_DO_SEND, "and again");
	end(&b);
}

/* The server's options change while two requests are under way by the old ones. */
static void
test_altered_server(void)
{
	static const pe_result untrusted = {.transport = PE_UNTRUSTED, .reason = "certificate"};
	pe_slot *first, *second;
	int64_t blocked_at;
	bench b;

	begin(&b, 1);
	send_two(&b, &first, &second);
	answer(&b, first, &untrusted);
	IS_INT(run_to_send(&b, PE_SECOND), PE_DO_WAIT, "blocked");
	blocked_at = b.now;
	pe_sender_link_changed(b.sender, 1, b.now);
	answer(&b, second, &untrusted);
	IS_INT(run_to_send(&b, PE_SECOND), PE_DO_SEND,
	       "an altered server is probed, whatever came from the old one");
	IS_INT(b.reports, 1, "which blocks nothing");
	OK(b.now < blocked_at + PE_SECOND, "it is probed at once");
	reply_entries(&b, NULL, 0, 0);
	IS_INT(run_to_send(&b, PE_SECOND), PE_DO_SEND, "the probe ends the block");
	IS_INT(b.reported, PE_BLOCK_NONE, "as is written down");
	end(&b);
}

/* A token that was asked for before is refused after it. */
static void
test_token_from_before_resume(void)
{
	bench b;

	begin(&b, 5);
	for (;;)
	{
		pe_sender_next(b.sender, b.now, &b.action);
		if (b.action.kind == PE_DO_TOKEN)
			break;
		if (b.action.kind == PE_DO_SCAN)
			scan(&b);
		else if (b.action.kind == PE_DO_LOAD)
			pe_sender_loaded(b.sender, b.action.slot, b.now, PE_WORK_CHUNK, 5, NULL);
		else
			b.now = b.action.until;
	}
	b.now += 1000;
	resume(&b);
	pe_sender_next(b.sender, b.now, &b.action);
	IS_INT(b.action.kind, PE_DO_SCAN, "resumed while a token is asked for");
	scan(&b);
	pe_sender_token(b.sender, 1, b.now + 1000, PE_UNAUTHORISED, "refused");
	IS_INT(run(&b, 2 * PE_SECOND), PE_DO_SEND, "its refusal blocks nothing: another one is asked for");
	IS_INT(b.reports, 0, "nothing was written down");
	end(&b);
}

static void
scan_two(bench *b)
{
	static const pe_throttle_limits limits = {1000, 100000, 16};

	pe_sender_scan_begin(b->sender);
	for (int id = 1; id <= 2; id++)
	{
		pe_sender_enrichment_info info = {
		    .id = id, .link = id, .identity_matches = true, .stored_probe_at = PE_NEVER};

		pe_sender_server(b->sender, id, &limits, b->now);
		pe_sender_link(b->sender, id, id);
		pe_sender_enrichment(b->sender, &info, b->now);
		pe_sender_has_work(b->sender, id, 3);
	}
	pe_sender_scanned(b->sender, true, b->now + 1000 * PE_SECOND);
}

/* What it asks for next when it has waited, but for scans and loads, which it is given. */
static pe_action_kind
next_of_two(bench *b)
{
	for (int steps = 0; steps < 1000; steps++)
	{
		pe_sender_next(b->sender, b->now, &b->action);
		if (b->action.kind == PE_DO_SCAN)
			scan_two(b);
		else if (b->action.kind == PE_DO_LOAD)
			pe_sender_loaded(b->sender, b->action.slot, b->now, PE_WORK_CHUNK, 5, NULL);
		else if (b->action.kind == PE_DO_WAIT && b->action.until < b->now + 100 * PE_SECOND)
			b->now = b->action.until;
		else
			break;
	}
	return b->action.kind;
}

/* At most one request over two servers, be it for a token. */
static void
test_limit(void)
{
	pe_result accepted = {.http_status = 200, .readable = true, .single = true};
	bench b;
	pe_slot *slot;
	int link;

	begin(&b, 0);
	pe_sender_limit(b.sender, 1);
	IS_INT(next_of_two(&b), PE_DO_TOKEN, "a token is asked for");
	link = b.action.link;
	IS_INT(next_of_two(&b), PE_DO_WAIT, "and none for the other server meanwhile");
	pe_sender_token(b.sender, link, b.now, PE_OK, NULL);
	IS_INT(next_of_two(&b), PE_DO_SEND, "it is there: send");
	IS_INT(b.action.slot->link, link, "to the same server");
	slot = send_all(&b);
	IS_INT(next_of_two(&b), PE_DO_WAIT, "the other server waits for its answer, too");
	pe_sender_response(b.sender, slot, b.now, &accepted, &b.summary);
	IS_INT(next_of_two(&b), PE_DO_TOKEN, "then it is its turn");
	OK(b.action.link != link, "at last");
	pe_sender_token(b.sender, b.action.link, b.now, PE_EXHAUSTED, "no file left");
	IS_INT(b.reports, 0, "a token that cannot be had for want of resources blocks nothing");
	end(&b);
}

int
main(void)
{
	test_limit();
	test_calm();
	test_commit_failure();
	test_commit_together();
	test_commit_later();
	test_contention();
	test_not_sent_and_unknown();
	test_rate();
	test_halving();
	test_first_refusal_waits();
	test_schema();
	test_schema_resumed();
	test_schema_probes();
	test_faults_after_other_failures();
	test_later();
	test_token();
	test_configuration();
	test_identity();
	test_too_big();
	test_miscount();
	test_faults();
	test_parts();
	test_pause();
	test_pause_after_unknown();
	test_change_of_link();
	test_crowd_of_failures();
	test_crowd_of_superseded();
	test_shared_server();
	test_throttle();
	test_outage();
	test_memory();
	test_block_by_others();
	test_answer_from_before_resume();
	test_report_and_resume();
	test_resume_ends_waiting();
	test_altered_server();
	test_token_from_before_resume();
	return tap_done();
}
