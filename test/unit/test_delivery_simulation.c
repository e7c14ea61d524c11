/*
 * test_delivery_simulation.c
 *		The sender's state machine against a lossy platform and a database that
 *		crashes and refuses commits, in virtual time and from a seed.
 *
 * After each run the weather clears, and then: every key's value on the platform is
 * the newest its source had, or the key is a dead letter; what was sent of a key never
 * went back in version; what arrived twice stays within the bound; the counters add
 * up. Each rule in the list of rules is then broken on purpose, which some seed must
 * notice.
 */
#include "tap.h"

enum
{
	RULE_UNKNOWN_IS_NOT_ACCEPTED = 1 << 0,
	RULE_COMMIT_AFTER_REPLY = 1 << 1,
	RULE_KEEP_UNTIL_COMMITTED = 1 << 2,
	RULE_CLAMP_RETRY_AFTER = 1 << 3,
	RULE_COUNT_ENTRIES = 1 << 4,
	RULE_TRIAL = 1 << 5,
	RULE_ORDER = 1 << 6,          /* of the harness: a key has one shard, values are read when sent */
	RULE_COMPARE_NEWEST = 1 << 7, /* of the harness: refresh compares with the newest queued value */
};

static int broken_rules = 0;

#define PE_RULE(rule) ((broken_rules & (rule)) == 0)
#include "platform/sender.c"
#include "platform/sender_plan.c"
#include "platform/sender_reply.c"

#define ENRICHMENTS 3
#define KEYS        320
#define CHUNK       25
#define MAX_CHUNKS  40000
#define MAX_FLIGHTS 64
#define EPOCH       (60 * PE_SECOND)
#define QUIET       (4 * 3600 * PE_SECOND)

typedef struct chunk
{
	bool present;
	int enrichment, shard, count;
	int64_t version;
	int keys[CHUNK];
} chunk;

typedef struct profile
{
	int source;       /* value in the source */
	int value;        /* newest queued */
	int64_t version;  /* of value; 0: never queued */
	int acknowledged; /* last value known to be accepted */
	int arrived;      /* value on the platform, -1 none */
	int64_t arrived_version;
	int64_t sent_version;
	bool bad, faulty;
	bool retrying;
	int64_t retry_version, retry_due;
	pe_key_past past;
	bool dead;
	int64_t dead_version;
} profile;

/* What a slot has loaded; of the harness, as the glue keeps the keys' text. */
typedef struct loaded
{
	int chunk; /* -1: retries */
	int count;
	int keys[PE_CHUNK_KEYS];
	int64_t versions[PE_CHUNK_KEYS];
	int values[PE_CHUNK_KEYS];
	bool superseded[PE_CHUNK_KEYS];
} loaded;

typedef struct flight
{
	pe_slot *slot;
	int64_t at;
	int count;
	int keys[PE_CHUNK_KEYS]; /* indexes into loaded */
	pe_result result;
	pe_result_entry entries[PE_CHUNK_KEYS];
	bool token;
	int server;
} flight;

typedef struct weather
{
	int lost, timed_out, busy, rate, fault, miscount, garbage, token, configuration, entry_busy, too_big;
	int commit_fails, crash;
	bool wrong_schema;
} weather;

typedef struct world
{
	uint64_t random;
	int64_t now, epoch_ends;
	weather weather;
	profile profiles[ENRICHMENTS][KEYS];
	chunk *chunks;
	int chunk_count;
	int64_t run;
	pe_sender *sender;
	tap_memory memory;
	pe_env env;
	flight *flights;
	int flight_count;
	loaded loads[ENRICHMENTS][PE_SHARDS];
	pe_block stored[ENRICHMENTS];
	int64_t stored_probe[ENRICHMENTS];
	long enqueued, accepted, superseded, dead;
	long duplicates, allowed_duplicates, wrongly_dead, wrong_epochs;
	long steps, requests, crashes;
	const char *fault;
} world;

static int
roll(world *w, int sides)
{
	return (int) (pe_random(&w->random) % (uint64_t) sides);
}

static bool
chance(world *w, int permille)
{
	return roll(w, 1000) < permille;
}

static void
complain(world *w, const char *what)
{
	if (w->fault == NULL)
		w->fault = what;
}

static void
change_weather(world *w, bool clear)
{
	int kind = clear ? 0 : roll(w, 12);

	memset(&w->weather, 0, sizeof(w->weather));
	w->epoch_ends = w->now + EPOCH;
	if (clear)
		return;
	w->weather.crash = 2;
	w->weather.commit_fails = 5;
	w->weather.timed_out = 20;
	w->weather.entry_busy = 10;
	switch (kind)
	{
		case 1:
			w->weather.lost = 700;
			break;
		case 2:
			w->weather.timed_out = 400;
			break;
		case 3:
			w->weather.busy = 500;
			break;
		case 4:
			w->weather.rate = 300;
			break;
		case 5:
			w->weather.fault = 600;
			break;
		case 6:
			w->weather.miscount = 400;
			break;
		case 7:
			w->weather.garbage = 400;
			break;
		case 8:
			w->weather.token = 200;
			break;
		case 9:
			w->weather.configuration = 50;
			break;
		case 10:
			w->weather.commit_fails = 500;
			w->weather.crash = 30;
			break;
		case 11:
			w->weather.wrong_schema = chance(w, 300);
			w->weather.too_big = 50;
			break;
		default:
			break;
	}
	w->wrong_epochs += w->weather.wrong_schema;
}

/* A refresh: some profiles get new values; those that changed are queued. */
static void
refresh(world *w, int e)
{
	int share = 1 + roll(w, 60);
	int wanted[PE_SHARDS][KEYS];
	int counts[PE_SHARDS] = {0};
	int64_t version = ++w->run;

	/* No room to queue it all: a very long life goes on without new values. */
	if (w->chunk_count + KEYS > MAX_CHUNKS)
		return;
	for (int k = 0; k < KEYS; k++)
	{
		profile *p = &w->profiles[e][k];
		int compared;
		int shard = PE_RULE(RULE_ORDER) ? k % PE_SHARDS : roll(w, PE_SHARDS);

		if (roll(w, 100) >= share)
			continue;
		p->source = roll(w, 3);
		compared = PE_RULE(RULE_COMPARE_NEWEST) ? p->value : p->acknowledged;
		if (p->version != 0 && p->source == compared)
			continue;
		p->value = p->source;
		p->version = version;
		wanted[shard][counts[shard]++] = k;
	}
	for (int s = 0; s < PE_SHARDS; s++)
		for (int i = 0; i < counts[s] && w->chunk_count < MAX_CHUNKS; i += CHUNK)
		{
			chunk *c = &w->chunks[w->chunk_count++];

			c->present = true;
			c->enrichment = e;
			c->shard = s;
			c->version = version;
			c->count = counts[s] - i < CHUNK ? counts[s] - i : CHUNK;
			memcpy(c->keys, &wanted[s][i], (size_t) c->count * sizeof(int));
			w->enqueued += c->count;
		}
	pe_sender_wake(w->sender);
}

static void
start_sender(world *w)
{
	pe_error err;

	if (pe_sender_open(&w->env, pe_random(&w->random), w->now, &w->sender, &err) != PE_OK)
		complain(w, "the sender did not open");
}

static void
crash(world *w)
{
	/* What is in flight or answered but not committed is sent again. */
	w->allowed_duplicates += 2 * 16 * CHUNK;
	w->crashes++;
	w->flight_count = 0;
	pe_sender_close(w->sender);
	if (w->memory.live != 0)
		complain(w, "the sender leaks");
	start_sender(w);
}

static void
scan(world *w)
{
	static const pe_throttle_limits limits = {200, 3000, 16};
	int64_t due = w->now + 10 * PE_SECOND;

	pe_sender_scan_begin(w->sender);
	for (int v = 0; v < 2; v++)
		pe_sender_server(w->sender, v, &limits, w->now);
	for (int e = 0; e < ENRICHMENTS; e++)
	{
		pe_sender_enrichment_info info = {.id = e,
		                                  .server = e % 2,
		                                  .paused = chance(w, w->weather.crash > 0 ? 20 : 0),
		                                  .identity_matches = true,
		                                  .stored_block = w->stored[e],
		                                  .stored_probe_at = w->stored_probe[e]};

		pe_sender_enrichment(w->sender, &info, w->now);
		for (int k = 0; k < KEYS; k++)
			if (w->profiles[e][k].retrying && w->profiles[e][k].retry_due <= w->now)
				pe_sender_has_work(w->sender, e, k % PE_SHARDS);
	}
	for (int c = 0; c < w->chunk_count; c++)
		if (w->chunks[c].present)
			pe_sender_has_work(w->sender, w->chunks[c].enrichment, w->chunks[c].shard);
	pe_sender_scanned(w->sender, true, due);
}

static int
load_chunk(world *w, pe_slot *slot, loaded *l)
{
	for (int c = 0; c < w->chunk_count; c++)
	{
		chunk *chunk = &w->chunks[c];

		if (!chunk->present || chunk->enrichment != slot->enrichment || chunk->shard != slot->shard)
			continue;
		l->chunk = c;
		l->count = chunk->count;
		for (int i = 0; i < chunk->count; i++)
		{
			l->keys[i] = chunk->keys[i];
			l->versions[i] = chunk->version;
			l->values[i] = w->profiles[slot->enrichment][chunk->keys[i]].value;
		}
		return l->count;
	}
	return 0;
}

static int
load_retries(world *w, pe_slot *slot, loaded *l, pe_key_past *past)
{
	l->chunk = -1;
	l->count = 0;
	for (int k = slot->shard; k < KEYS; k += PE_SHARDS)
	{
		profile *p = &w->profiles[slot->enrichment][k];

		if (!p->retrying || p->retry_due > w->now)
			continue;
		l->keys[l->count] = k;
		l->versions[l->count] = p->retry_version;
		l->values[l->count] = p->value;
		past[l->count++] = p->past;
	}
	return l->count;
}

static void
load(world *w, pe_slot *slot)
{
	loaded *l = &w->loads[slot->enrichment][slot->shard];
	pe_key_past past[PE_CHUNK_KEYS];
	int count = 0;

	if (chance(w, w->weather.commit_fails / 4))
	{
		pe_sender_load_failed(w->sender, slot, w->now);
		return;
	}
	for (int round = 0; round < 2 && count == 0; round++)
	{
		bool retries = (round == 0) == slot->prefer_retry;

		count = retries ? load_retries(w, slot, l, past) : load_chunk(w, slot, l);
		if (count > 0)
			pe_sender_loaded(w->sender, slot, w->now, retries ? PE_WORK_RETRY : PE_WORK_CHUNK, count,
			                 retries ? past : NULL);
	}
	if (count == 0)
		pe_sender_loaded(w->sender, slot, w->now, PE_WORK_CHUNK, 0, NULL);
}

static void
arrive(world *w, int e, const loaded *l, int i, bool answered)
{
	profile *p = &w->profiles[e][l->keys[i]];
	int64_t version = PE_RULE(RULE_ORDER) ? p->version : l->versions[i];

	if (p->arrived_version == version)
		w->duplicates++;
	if (!answered)
		w->allowed_duplicates++;
	p->arrived = PE_RULE(RULE_ORDER) ? p->value : l->values[i];
	p->arrived_version = version;
}

/* What the platform makes of a request; fills the result. */
static void
answer(world *w, flight *f, const loaded *l)
{
	int e = f->slot->enrichment;
	const weather *sky = &w->weather;
	bool bad = false, faulty = false;
	pe_result *r = &f->result;

	memset(r, 0, sizeof(*r));
	r->readable = true;
	r->entries = f->entries;
	for (int i = 0; i < f->count; i++)
	{
		bad |= w->profiles[e][l->keys[f->keys[i]]].bad;
		faulty |= w->profiles[e][l->keys[f->keys[i]]].faulty;
	}
	if (chance(w, sky->lost))
		r->transport = PE_UNREACHABLE;
	else if (chance(w, sky->busy))
		r->http_status = 503, r->retry_after = chance(w, 300) ? PE_SECOND * roll(w, 30) : 0;
	else if (chance(w, sky->rate))
		r->http_status = 429,
		r->retry_after = chance(w, 900) ? PE_SECOND * roll(w, 20) : PE_SECOND * 1000000000;
	else if (chance(w, sky->token))
		r->http_status = chance(w, 500) ? 401 : 403;
	else if (chance(w, sky->configuration))
		r->http_status = 404;
	else if (chance(w, sky->too_big))
		r->http_status = 413;
	else if (chance(w, sky->fault) || faulty)
		r->http_status = 500;
	else if ((bad && chance(w, 300)) || (sky->wrong_schema && chance(w, 500)))
		r->http_status = 400;
	else
	{
		bool unknown = chance(w, sky->timed_out + sky->garbage);
		bool miscount = !unknown && chance(w, sky->miscount);
		bool loses = unknown && chance(w, 500);

		r->http_status = 207;
		r->entry_count = f->count;
		for (int i = 0; i < f->count; i++)
		{
			profile *p = &w->profiles[e][l->keys[f->keys[i]]];

			f->entries[i] = (pe_result_entry){0};
			if (p->bad || sky->wrong_schema)
				f->entries[i].status = 400;
			else if (chance(w, sky->entry_busy))
				f->entries[i].status = chance(w, 500) ? 503 : chance(w, 500) ? 429 : 500;
			else if (!loses && !(miscount && chance(w, 300)))
				arrive(w, e, l, f->keys[i], !unknown && !miscount);
		}
		if (unknown)
			r->transport = chance(w, 500) ? PE_UNREACHABLE : PE_OK, r->body_sent = true, r->readable = false;
		if (miscount)
			r->entry_count = f->count > 1 ? f->count - 1 : 2;
	}
}

static void
build(world *w, const pe_action *action)
{
	pe_slot *slot = action->slot;
	loaded *l = &w->loads[slot->enrichment][slot->shard];
	int superseded[PE_CHUNK_KEYS], sent[PE_CHUNK_KEYS];
	pe_built built = {.sent = sent, .superseded = superseded};
	flight *f = &w->flights[w->flight_count];
	int room = action->max_bytes < 1000 * CHUNK ? 5 : roll(w, 10) == 0 ? 7 : PE_CHUNK_KEYS;

	if (chance(w, w->weather.commit_fails / 4))
	{
		pe_sender_build_failed(w->sender, slot, w->now, chance(w, 300));
		return;
	}
	for (int i = 0; i < action->key_count; i++)
	{
		int index = action->keys[i];
		profile *p = &w->profiles[slot->enrichment][l->keys[index]];

		l->superseded[index] = PE_RULE(RULE_ORDER) && p->version > l->versions[index];
		if (l->superseded[index])
			superseded[built.superseded_count++] = index;
		else if (built.sent_count < room)
		{
			sent[built.sent_count++] = index;
			if (l->versions[index] < p->sent_version)
				complain(w, "an older value was sent after a newer one");
			p->sent_version = l->versions[index];
		}
	}
	built.bytes = (size_t) built.sent_count * 2000;
	if (built.sent_count > 0)
	{
		f->slot = slot;
		f->token = false;
		f->count = built.sent_count;
		memcpy(f->keys, sent, sizeof(int) * (size_t) built.sent_count);
		answer(w, f, l);
		f->at = w->now + 1000 + roll(w, f->result.transport == PE_OK ? 200000 : 30000000);
		w->flight_count++;
		w->requests++;
	}
	pe_sender_built(w->sender, slot, w->now, &built);
}

/* One profile's part of an acknowledgement, as the transaction of the glue does it. */
static void
acknowledge_key(world *w, int e, const loaded *l, int i, const pe_key *key)
{
	profile *p = &w->profiles[e][l->keys[i]];
	bool own_retry = p->retrying && p->retry_version == l->versions[i];

	switch (key->state)
	{
		case PE_KEY_ACCEPTED:
			p->acknowledged = l->values[i];
			w->accepted++;
			w->superseded += p->retrying && !own_retry;
			p->retrying = p->dead = false;
			break;
		case PE_KEY_SUPERSEDED:
			w->superseded++;
			if (own_retry)
				p->retrying = false;
			break;
		case PE_KEY_RETRY:
			w->superseded += p->retrying && !own_retry;
			p->retrying = true;
			p->retry_version = l->versions[i];
			p->retry_due = w->now + key->delay;
			p->past = (pe_key_past){key->attempts, key->outcome};
			break;
		case PE_KEY_DEAD:
			w->dead++;
			w->wrongly_dead += !p->bad && !p->faulty;
			w->superseded += p->retrying && !own_retry;
			p->retrying = false;
			p->dead = true;
			p->dead_version = l->versions[i];
			break;
		case PE_KEY_KEPT:
			break;
		case PE_KEY_PENDING:
			complain(w, "a key without a disposition was committed");
			break;
	}
}

static void
commit(world *w, pe_slot *slot)
{
	loaded *l = &w->loads[slot->enrichment][slot->shard];
	chunk *c = l->chunk >= 0 ? &w->chunks[l->chunk] : NULL;
	int kept = 0;

	if (chance(w, w->weather.commit_fails))
	{
		pe_sender_committed(w->sender, slot, w->now, chance(w, 0.5) ? PE_WRITE_FAILED : PE_WRITE_CONTENDED);
		return;
	}
	for (int i = 0; i < l->count; i++)
		acknowledge_key(w, slot->enrichment, l, i, &slot->keys[i]);
	for (int i = 0; i < l->count && c != NULL; i++)
		if (slot->keys[i].state == PE_KEY_KEPT)
			c->keys[kept++] = l->keys[i];
	if (c != NULL)
	{
		c->count = kept;
		c->present = kept > 0;
	}
	pe_sender_committed(w->sender, slot, w->now, PE_WRITTEN);
}

static void
start_token(world *w, int server)
{
	flight *f = &w->flights[w->flight_count++];

	f->token = true;
	f->server = server;
	f->at = w->now + 1000 + roll(w, 100000);
}

/* Delivers the earliest reply that is due; false when there is none. */
static bool
deliver(world *w)
{
	int first = -1;
	flight f;
	pe_response_summary summary;

	for (int i = 0; i < w->flight_count; i++)
		if (w->flights[i].at <= w->now && (first < 0 || w->flights[i].at < w->flights[first].at))
			first = i;
	if (first < 0)
		return false;
	f = w->flights[first];
	w->flights[first] = w->flights[--w->flight_count];
	f.result.entries = f.entries;
	if (f.token)
		pe_sender_token(w->sender, f.server, w->now,
		                chance(w, w->weather.token / 4) ? PE_UNAUTHORISED
		                : chance(w, w->weather.lost)    ? PE_UNREACHABLE
		                                                : PE_OK,
		                "no token");
	else
		pe_sender_response(w->sender, f.slot, w->now, &f.result, &summary);
	return true;
}

static void
step(world *w)
{
	pe_action action;
	int64_t next;

	w->steps++;
	if (deliver(w))
		return;
	pe_sender_next(w->sender, w->now, &action);
	switch (action.kind)
	{
		case PE_DO_SCAN:
			scan(w);
			break;
		case PE_DO_TOKEN:
			start_token(w, action.server);
			break;
		case PE_DO_LOAD:
			load(w, action.slot);
			break;
		case PE_DO_SEND:
			build(w, &action);
			break;
		case PE_DO_COMMIT:
			commit(w, action.slot);
			break;
		case PE_DO_REPORT:
			w->stored[action.enrichment] = action.block;
			w->stored_probe[action.enrichment] = action.probe_in < 0 ? PE_NEVER : w->now + action.probe_in;
			pe_sender_reported(w->sender, action.enrichment, PE_WRITTEN, w->now);
			break;
		case PE_DO_WAIT:
			next = action.until > w->epoch_ends ? w->epoch_ends : action.until;
			for (int i = 0; i < w->flight_count; i++)
				earliest(&next, w->flights[i].at);
			if (next <= w->now)
				complain(w, "told to wait for the past");
			w->now = next > w->now ? next : w->now + 1;
			break;
	}
	if (w->flight_count > MAX_FLIGHTS - 8)
		complain(w, "too many requests in flight");
}

static void
check(world *w)
{
	long pending = 0;

	for (int c = 0; c < w->chunk_count; c++)
		pending += w->chunks[c].present ? w->chunks[c].count : 0;
	if (pending > 0)
		complain(w, "chunks are left in clear weather");
	for (int e = 0; e < ENRICHMENTS; e++)
		for (int k = 0; k < KEYS; k++)
		{
			profile *p = &w->profiles[e][k];

			pending += p->retrying;
			if (p->version == 0)
				continue;
			/* A bad one may still have its trial to come, or be what the enrichment is blocked by. */
			if (p->retrying && (p->bad || p->faulty))
				continue;
			if (p->retrying)
				complain(w, "retries are left in clear weather");
			else if (p->dead ? p->dead_version != p->version : p->arrived != p->source)
				complain(w, "a value was lost");
		}
	if (w->enqueued != w->accepted + w->superseded + w->dead + pending)
		complain(w, "the counters do not add up");
	if (w->duplicates > w->allowed_duplicates)
		complain(w, "more arrived twice than can be explained");
	/* A storm of 500s may cost a few; a wrong schema costs one sample for each time it is noticed. */
	if (w->wrongly_dead > 60 * w->wrong_epochs + 30)
		complain(w, "good records were dead-lettered wholesale");
}

/* A whole life from a seed; NULL or what went wrong. */
static const char *
simulate(uint64_t seed, long steps, long *requests, long *taken)
{
	world *w = calloc(1, sizeof(*w));
	const char *fault;
	int64_t end;

	w->random = seed;
	w->now = 1000000;
	w->chunks = calloc(MAX_CHUNKS, sizeof(chunk));
	w->flights = calloc(MAX_FLIGHTS, sizeof(flight));
	w->env = tap_env(&w->memory);
	for (int e = 0; e < ENRICHMENTS; e++)
		for (int k = 0; k < KEYS; k++)
			w->profiles[e][k] = (profile){
			    .arrived = -1, .value = -1, .acknowledged = -1, .bad = chance(w, 30), .faulty = chance(w, 8)};
	start_sender(w);
	change_weather(w, false);
	while (w->steps < steps && w->fault == NULL)
	{
		step(w);
		if (w->now >= w->epoch_ends)
		{
			change_weather(w, false);
			refresh(w, roll(w, ENRICHMENTS));
		}
		if (chance(w, w->weather.crash) && chance(w, 20))
			crash(w);
	}
	change_weather(w, true);
	end = w->now + QUIET;
	for (long left = steps * 2 + 100000; w->now < end && left > 0 && w->fault == NULL; left--)
	{
		w->epoch_ends = end;
		step(w);
	}
	check(w);
	fault = w->fault;
	*requests += w->requests;
	*taken += w->steps;
	pe_sender_close(w->sender);
	if (w->memory.live != 0 && fault == NULL)
		fault = "the sender leaks";
	free(w->chunks);
	free(w->flights);
	free(w);
	return fault;
}

static void
test_rules_kept(void)
{
	long requests = 0, steps = 0;

	for (uint64_t seed = 1; seed <= 20; seed++)
	{
		const char *fault = simulate(seed, 10000, &requests, &steps);

		OK(fault == NULL, "seed %llu%s%s", (unsigned long long) seed, fault ? ": " : "", fault ? fault : "");
	}
	printf("# %ld requests in %ld steps\n", requests, steps);
}

static void
test_rules_broken(void)
{
	static const struct
	{
		int rule;
		const char *name;
	} rules[] = {
	    {RULE_UNKNOWN_IS_NOT_ACCEPTED, "counting unknown as accepted"},
	    {RULE_COMMIT_AFTER_REPLY, "acknowledging before the reply"},
	    {RULE_KEEP_UNTIL_COMMITTED, "forgetting what could not be committed"},
	    {RULE_CLAMP_RETRY_AFTER, "waiting as long as Retry-After says"},
	    {RULE_COUNT_ENTRIES, "accepting a reply with another number of entries"},
	    {RULE_TRIAL, "dead-lettering without a trial"},
	    {RULE_ORDER, "sending a profile's values through several slots"},
	    {RULE_COMPARE_NEWEST, "comparing with the acknowledged value"},
	};

	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
	{
		const char *fault = NULL;
		long requests = 0, steps = 0;
		uint64_t seed = 0;

		broken_rules = rules[i].rule;
		while (fault == NULL && ++seed <= 20)
			fault = simulate(seed, 10000, &requests, &steps);
		OK(fault != NULL, "%s is noticed (seed %llu: %s)", rules[i].name, (unsigned long long) seed,
		   fault != NULL ? fault : "no");
		broken_rules = 0;
	}
}

int
main(int argc, char **argv)
{
	if (argc > 1)
	{
		long requests = 0, steps = 0;
		const char *fault =
		    simulate(strtoull(argv[1], NULL, 10), argc > 2 ? atol(argv[2]) : 10000, &requests, &steps);

		printf("%s: %ld requests, %ld steps\n", fault ? fault : "fine", requests, steps);
		return fault != NULL;
	}
	test_rules_kept();
	test_rules_broken();
	return tap_done();
}
