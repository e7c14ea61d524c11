/*
 * world.c
 *		Time, the operator, crashes, and the loop: one event of the world or one action
 *		of the sender is a step. Usage:
 *
 *		simulation FIRST [LAST [STEPS [FAILURES]]]
 *
 * lives through the worlds of these seeds, STEPS each (10,000), until so many (10) have
 * failed. After its steps a world's weather clears, and then all that is queued must
 * be delivered within a bounded time. Prints TAP, with the seed of each world that
 * failed; exits 1 when one did.
 */
#include "world.h"

#include <time.h>

/* More actions than that at one go, without waiting for anything, are a loop. */
#define MAX_BUSY_STEPS 20000
/* Everything is delivered within that time of clear weather: Retry-After holds an hour at most. */
#define MAX_QUIET_AFTER (8 * 3600 * PE_SECOND)

int
roll(world *w, int sides)
{
	return (int) (pe_random(&w->random) % (uint64_t) sides);
}

bool
chance(world *w, int permille)
{
	return permille > 0 && roll(w, 1000) < permille;
}

int64_t
wall(const world *w)
{
	return w->now + w->wall_offset;
}

int
shard_of(const world *w, int key)
{
	return key % w->shards;
}

/* Two owners may have a mapping for one server. */
int
server_of(int link)
{
	return link / 2;
}

void
complain(world *w, const char *format, ...)
{
	va_list args;

	if (w->fault[0] != '\0')
		return;
	va_start(args, format);
	(void) vsnprintf(w->fault, sizeof(w->fault), format, args);
	va_end(args);
}

static void
start_sender(world *w)
{
	w->life++;
	if (pe_sender_open(&w->env, pe_random(&w->random), w->now, &w->sender, NULL) != PE_OK)
		complain(w, "the sender did not open");
}

/* The worker is gone from one moment to the next; what it sent may still arrive. */
static void
crash(world *w)
{
	w->crashes++;
	pe_sender_close(w->sender);
	if (w->memory.live != 0)
		complain(w, "the sender leaks");
	for (int i = 0; i < w->platform.flight_count; i++)
	{
		flight *f = &w->platform.flights[i];

		f->replies_at = PE_NEVER;
		f->used = f->used && f->arrivals > 0;
	}
	oracle_crashed(w);
	w->now += roll(w, 5000000);
	start_sender(w);
}

void
operator_comes(world *w, int e, int within)
{
	if (w->clear)
		return;
	w->watched = e + 1;
	w->operator_at = w->now + roll(w, within);
}

static void
operate(world *w)
{
	int e = w->watched > 0 ? w->watched - 1 : roll(w, w->enrichments);
	target *t = &w->db.targets[e];
	bool watched = w->watched > 0;

	w->operator_at = w->now + (1 + roll(w, 60)) * PE_SECOND;
	w->watched = 0;
	if (!t->exists)
		return;
	if (watched)
	{
		w->altered[t->link] = chance(w, 500);
		if (chance(w, 700))
			database_resume(w, e);
		return;
	}
	switch (roll(w, 20))
	{
		case 0:
		case 1:
			t->paused = true;
			pe_sender_wake(w->sender);
			break;
		case 2:
		case 3:
		case 4:
			database_resume(w, e);
			break;
		case 5:
		case 6:
			database_redrive(w, e);
			break;
		case 7:
			t->identity_matches = !t->identity_matches || chance(w, 500);
			break;
		case 8:
			t->link ^= 1;
			pe_sender_wake(w->sender);
			break;
		case 9:
			t->ready_at = wall(w) + roll(w, 100) * PE_SECOND;
			pe_sender_wake(w->sender);
			break;
		case 10:
			refresh_begin(w, e, 100, chance(w, 100));
			break;
		case 11:
			if (w->enrichments > 1 && chance(w, 30))
				database_drop(w, e);
			break;
		case 12:
			if (w->jumps)
				w->wall_offset += (roll(w, 7200) - 3600) * PE_SECOND;
			break;
		default:
			refresh_begin(w, e, 1 + roll(w, 60), false);
			break;
	}
}

static void
clear_up(world *w)
{
	w->clear = true;
	w->crash = w->trouble = 0;
	platform_change_weather(w);
	for (int e = 0; e < w->enrichments; e++)
	{
		target *t = &w->db.targets[e];

		t->identity_matches = true;
		if (!t->exists)
			continue;
		database_resume(w, e);
	}
	w->operator_at = w->epoch_ends = PE_NEVER;
}

static int64_t
next_event(const world *w)
{
	int64_t next = platform_next(w);

	for (int e = 0; e < w->enrichments; e++)
		if (w->db.refreshes[e].open && w->db.refreshes[e].next_at < next)
			next = w->db.refreshes[e].next_at;
	if (w->operator_at < next)
		next = w->operator_at;
	return w->epoch_ends < next ? w->epoch_ends : next;
}

/* Something that is due; false when nothing is. */
static bool
world_step(world *w)
{
	if (w->now >= w->epoch_ends)
	{
		w->epoch_ends = w->now + (5 + roll(w, 120)) * PE_SECOND;
		platform_change_weather(w);
		return true;
	}
	if (w->now >= w->operator_at)
	{
		operate(w);
		return true;
	}
	for (int e = 0; e < w->enrichments; e++)
		if (w->db.refreshes[e].open && w->db.refreshes[e].next_at <= w->now)
		{
			refresh_go_on(w, e);
			return true;
		}
	return platform_step(w);
}

static void
sender_step(world *w)
{
	pe_action action;
	int64_t next;

	pe_sender_next(w->sender, w->now, &action);
	w->busy_steps++;
	switch (action.kind)
	{
		case PE_DO_SCAN:
			database_scan(w);
			break;
		case PE_DO_TOKEN:
			platform_token(w, action.link);
			break;
		case PE_DO_LOAD:
			database_load(w, action.slot);
			break;
		case PE_DO_SEND:
			database_build(w, &action);
			break;
		case PE_DO_COMMIT:
			database_commit(w, action.slot);
			break;
		case PE_DO_REPORT:
			database_report(w, &action);
			break;
		case PE_DO_WAIT:
			w->busy_steps = 0;
			if (action.until <= w->now)
				complain(w, "told to wait for the past");
			next = next_event(w);
			w->now = next < action.until ? (next > w->now ? next : w->now) : action.until;
			return;
	}
	if (w->busy_steps > MAX_BUSY_STEPS)
		complain(w, "the sender is busy without end");
	/* Each takes its time, and others go on meanwhile. */
	w->now += 1 + (chance(w, 20) ? roll(w, 200000) : roll(w, 1000));
	if (chance(w, w->crash))
		crash(w);
}

static void
step(world *w)
{
	w->steps++;
	if (!world_step(w))
		sender_step(w);
}

static void
make_enrichment(world *w, int e)
{
	w->db.targets[e] = (target){.exists = true,
	                            .identity_matches = true,
	                            .retract_absent = chance(w, 500),
	                            .link = roll(w, 2 * w->servers),
	                            .probe_at = PE_NEVER};
	w->platform.sick[e] = w->enrichments > 1 && chance(w, 150);
	for (int k = 0; k < w->keys; k++)
	{
		record *r = &w->platform.records[e][k];

		w->db.source[e][k] = w->oracle.keys[e][k].source_value = RETRACTED;
		w->oracle.keys[e][k].newest_value = RETRACTED;
		r->bad = chance(w, 30);
		r->faulty = chance(w, 5);
		r->huge = chance(w, 5);
	}
}

static void
make_world(world *w, uint64_t seed)
{
	static const int gaps[] = {0, 0, 60, 300, 900};
	static const int shards[] = {1, 2, 4, 16};

	memset(w, 0, sizeof(*w));
	w->random = seed;
	w->now = PE_SECOND;
	w->wall_offset = 1000000 * PE_SECOND;
	w->env = tap_env(&w->memory);
	w->gap = gaps[roll(w, 5)] * PE_SECOND;
	w->servers = 1 + roll(w, MAX_SERVERS);
	w->enrichments = 1 + roll(w, MAX_ENRICHMENTS);
	w->keys = 20 + roll(w, MAX_KEYS - 20);
	w->shards = shards[roll(w, 4)];
	w->chunk = 1 + roll(w, MAX_CHUNK);
	w->jumps = chance(w, 150);
	w->crash = chance(w, 500) ? 0 : roll(w, 4);
	w->trouble = chance(w, 300) ? 0 : roll(w, 100);
	for (int v = 0; v < w->servers; v++)
		w->oracle.servers[v].limits =
		    (pe_throttle_limits){5 + roll(w, 200), 100 + roll(w, 3000), 1 + roll(w, 16)};
	for (int e = 0; e < w->enrichments; e++)
		make_enrichment(w, e);
	for (int v = 0; v < w->servers; v++)
		w->oracle.servers[v].filled_at = w->now;
	start_sender(w);
}

/* A whole life; what went wrong is in w->fault. */
static void
simulate(world *w, uint64_t seed, long steps)
{
	int64_t cleared;

	make_world(w, seed);
	while (w->steps < steps && w->fault[0] == '\0')
		step(w);
	clear_up(w);
	cleared = w->now;
	while (!oracle_is_quiet(w) && w->fault[0] == '\0')
	{
		step(w);
		if (w->now - cleared > MAX_QUIET_AFTER + w->gap || w->steps > 20 * steps + 1000000)
			complain(w, "still not everything delivered, hours after the weather cleared");
	}
	w->quiet_after = w->now - cleared;
	if (w->fault[0] == '\0')
		oracle_judge(w);
	pe_sender_close(w->sender);
	if (w->memory.live != 0)
		complain(w, "the sender leaks");
	database_free(w);
}

int
main(int argc, char **argv)
{
	uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
	uint64_t last = argc > 2 ? strtoull(argv[2], NULL, 10) : first;
	long steps = argc > 3 ? atol(argv[3]) : 10000;
	long enough = argc > 4 ? atol(argv[4]) : 10;
	world *w = calloc(1, sizeof(*w));
	long total = 0, requests = 0, crashes = 0, unknowns = 0, duplicates = 0, backwards = 0, failures = 0;
	int64_t quiet_after = 0;

	for (uint64_t seed = first; seed <= last && failures < enough; seed++)
	{
		simulate(w, seed, steps);
		if (w->fault[0] != '\0')
		{
			failures++;
			printf("not ok - seed %llu, step %ld: %s\n", (unsigned long long) seed, w->steps, w->fault);
		}
		total += w->steps;
		requests += w->requests;
		crashes += w->crashes;
		unknowns += w->oracle.unknowns;
		duplicates += w->oracle.duplicates;
		backwards += w->oracle.backwards;
		if (w->quiet_after > quiet_after)
			quiet_after = w->quiet_after;
	}
	printf("# %ld steps, %ld requests, %ld crashes, %ld unknown, %ld arrived twice, %ld went back; "
	       "delivered within %lld s\n",
	       total, requests, crashes, unknowns, duplicates, backwards, (long long) (quiet_after / PE_SECOND));
	free(w);
	if (failures == 0)
		printf("ok - seeds %llu to %llu\n", (unsigned long long) first, (unsigned long long) last);
	return failures > 0;
}
