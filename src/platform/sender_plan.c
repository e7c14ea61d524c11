/*
 * sender_plan.c
 *		What to do next: look for work, load and send as far as each server allows, then
 *		acknowledge what was answered meanwhile; but before anything else when that is
 *		much, or could not be written, and before a block is written down.
 */
#include "platform/sender.h"

#include "platform/sender_internal.h"

/*
 * Slots of one server that hold keys. Far more than requests in flight, because those
 * of one enrichment in trouble may hold theirs for minutes; a bound, because each
 * holds up to 500 keys. Each enrichment may have one all the same: else four in
 * trouble, with sixteen shards each, would keep all others out.
 */
#define MAX_LOADED 64

static void
earliest(int64_t *when, int64_t candidate)
{
	if (candidate < *when)
		*when = candidate;
}

/*
 * Slots that are acknowledged together, about. Each transaction flushes the WAL, which costs
 * as much as sending one request, so one waits for others as long as there is more to send.
 */
#define ENOUGH_TO_COMMIT 8

static bool
plan_commit(pe_sender *sender, int64_t now, int64_t *until, pe_action *action)
{
	for (enrichment *e = sender->enrichments; e != NULL; e = e->next)
		for (int i = 0; i < PE_SHARDS; i++)
			if (e->slots[i].state == SLOT_DONE)
			{
				if (e->write_at > now)
				{
					earliest(until, e->write_at);
					break;
				}
				e->slots[i].state = SLOT_COMMITTING;
				action->kind = PE_DO_COMMIT;
				action->slot = &e->slots[i].public;
				return true;
			}
	return false;
}

pe_slot *
pe_sender_also_commit(pe_sender *sender, int64_t now)
{
	int64_t until = PE_NEVER;
	pe_action action;

	return plan_commit(sender, now, &until, &action) ? action.slot : NULL;
}

static bool
plan_report(pe_sender *sender, int64_t now, int64_t *until, pe_action *action)
{
	for (enrichment *e = sender->enrichments; e != NULL; e = e->next)
		if (e->report && !e->gone && e->write_at > now)
			earliest(until, e->write_at);
		else if (e->report && !e->gone)
		{
			action->kind = PE_DO_REPORT;
			action->enrichment = e->id;
			action->block = e->block;
			action->reason = e->reason;
			action->probe_in = e->next_probe == PE_NEVER ? -1 : e->next_probe > now ? e->next_probe - now : 0;
			action->resumes = e->resumes;
			e->report = false;
			return true;
		}
	return false;
}

/*
 * A probe of a schema is one key, so that a refusal costs one failed record; any one,
 * since the first may be refused for what it is itself.
 */
static void
prepare_group(pe_sender *sender, slot *s)
{
	group *g = &s->groups[s->group_count - 1];

	if (s->owner->block == PE_BLOCK_SCHEMA && g->length > 1)
	{
		int chosen = g->start + (int) (pe_random(&sender->random) % (uint64_t) g->length);
		int key = s->order[chosen];
		group rest = *g;

		s->order[chosen] = s->order[g->start];
		s->order[g->start] = key;
		rest.start++;
		rest.length--;
		*g = rest;
		s->groups[s->group_count] = rest;
		s->groups[s->group_count].start--;
		s->groups[s->group_count].length = 1;
		s->group_count++;
	}
}

static void
ask_for_load(slot *s, pe_action *action)
{
	s->state = SLOT_LOADING;
	action->kind = PE_DO_LOAD;
	action->slot = &s->public;
}

static void
ask_for_send(pe_sender *sender, slot *s, pe_action *action)
{
	group *g;

	prepare_group(sender, s);
	g = &s->groups[s->group_count - 1];
	s->state = SLOT_BUILDING;
	action->kind = PE_DO_SEND;
	action->slot = &s->public;
	action->keys = s->order + g->start;
	action->key_count = g->length;
	action->max_bytes = s->owner->link->server->max_bytes;
	action->alone = g->alone;
}

/*
 * Each enrichment has something in hand, so that it is always its turn with all others
 * when the server may be sent to; more only as fast as that.
 */
static bool
may_load(const enrichment *e, int64_t now, int64_t *until)
{
	server *v = e->link->server;
	int64_t ready;

	if (e->loaded == 0)
		return true;
	if (v->loaded >= MAX_LOADED)
		return false;
	ready = pe_throttle_ready(&v->throttle, now, 1);
	if (ready > now)
		earliest(until, ready);
	return ready <= now;
}

/* Are as many requests under way as may be? Then each answer is a reason to look again. */
static bool
is_full(const pe_sender *sender)
{
	int requests = 0;

	if (sender->most_requests == 0)
		return false;
	for (const server *v = sender->servers; v != NULL; v = v->next)
		requests += v->throttle.in_flight;
	for (const server_link *l = sender->links; l != NULL; l = l->next)
		requests += l->token == TOKEN_FETCHING;
	return requests >= sender->most_requests;
}

/*
 * The slot's next step if it can be taken now; otherwise *until is brought forward
 * to when it may be worth another look.
 */
static bool
plan_slot(pe_sender *sender, slot *s, bool full, int64_t now, int64_t *until, pe_action *action)
{
	enrichment *e = s->owner;
	server_link *l = e->link;
	int64_t ready;

	if (s->due_at <= now)
	{
		s->has_work = true;
		s->due_at = PE_NEVER;
	}
	if (!((s->state == SLOT_IDLE && s->has_work) || s->state == SLOT_READY))
	{
		if (s->state == SLOT_IDLE)
			earliest(until, s->due_at);
		return false;
	}
	if (!pe_enrichment_may_send(e, now))
	{
		if (!pe_enrichment_is_leaving(e))
			earliest(until, e->hold_until > now ? e->hold_until : e->next_probe);
		return false;
	}
	if (e->block != PE_BLOCK_NONE && e->probe != NULL && e->probe != s)
		return false;
	if (s->next_try > now)
	{
		earliest(until, s->next_try);
		return false;
	}
	if (s->state == SLOT_IDLE)
	{
		if (!may_load(e, now, until))
			return false;
		if (e->block != PE_BLOCK_NONE)
			e->probe = s;
		ask_for_load(s, action);
		return true;
	}
	if (full)
		return false;
	ready = pe_throttle_ready(&l->server->throttle, now, s->groups[s->group_count - 1].length);
	if (ready > now)
	{
		earliest(until, ready);
		return false;
	}
	if (l->token == TOKEN_HELD)
	{
		ask_for_send(sender, s, action);
		return true;
	}
	if (l->token == TOKEN_NONE && l->token_try_at > now)
		earliest(until, l->token_try_at);
	else if (l->token == TOKEN_NONE)
	{
		l->token = TOKEN_FETCHING;
		l->token_asked_at = now;
		action->kind = PE_DO_TOKEN;
		action->link = l->id;
		return true;
	}
	return false;
}

/* The next step of one of the enrichment's slots that hold work, or else of one that would load some. */
static bool
plan_slots_of(pe_sender *sender, enrichment *e, bool with_work, bool full, int64_t now, int64_t *until,
              pe_action *action)
{
	for (int i = 0; i < PE_SHARDS; i++)
	{
		slot *s = &e->slots[(i + sender->turn) % PE_SHARDS];

		if ((s->state == SLOT_READY) == with_work && plan_slot(sender, s, full, now, until, action))
		{
			sender->turn = (sender->turn + 1) % PE_SHARDS;
			return true;
		}
	}
	return false;
}

/*
 * Slots that hold work come first, then those that would load some; each in turn. But where a
 * server is only probed, whose turn it is loads as long as it finds nothing to send: else one
 * whose chunks have newer values behind them would lose its turn to those in trouble, each time.
 */
static bool
plan_slots(pe_sender *sender, int64_t now, int64_t *until, pe_action *action)
{
	bool full = is_full(sender);

	for (enrichment *e = sender->enrichments; e != NULL; e = e->next)
		if (plan_slots_of(sender, e, true, full, now, until, action) ||
		    (e->link->server->throttle.open && plan_slots_of(sender, e, false, full, now, until, action)))
			return true;
	for (enrichment *e = sender->enrichments; e != NULL; e = e->next)
		if (plan_slots_of(sender, e, false, full, now, until, action))
			return true;
	return false;
}

/* May what was answered wait until no more can be sent? */
static bool
may_commit_later(const pe_sender *sender, int64_t now)
{
	int answered = 0;

	for (const enrichment *e = sender->enrichments; e != NULL; e = e->next)
	{
		if (e->report)
			return false;
		for (int i = 0; i < PE_SHARDS && e->write_at <= now; i++)
			answered += e->slots[i].state == SLOT_DONE;
	}
	return answered < ENOUGH_TO_COMMIT && !sender->halted;
}

static bool
plan_writes(pe_sender *sender, int64_t now, int64_t *until, pe_action *action)
{
	return plan_commit(sender, now, until, action) || plan_report(sender, now, until, action);
}

void
pe_sender_next(pe_sender *sender, int64_t now, pe_action *action)
{
	int64_t until = PE_NEVER;

	memset(action, 0, sizeof(*action));
	if (sender->halted && sender->halted_until > now)
	{
		action->kind = PE_DO_WAIT;
		action->until = sender->halted_until;
		return;
	}
	if (!may_commit_later(sender, now) && plan_writes(sender, now, &until, action))
		return;
	if (sender->halted)
	{
		/* What could not be written has gone away (a dropped enrichment): go on. */
		sender->halted = false;
		sender->halts = 0;
	}
	if ((sender->wake || sender->scan_at <= now) && !sender->scanning)
	{
		sender->scanning = true;
		action->kind = PE_DO_SCAN;
		return;
	}
	if (plan_slots(sender, now, &until, action) || plan_writes(sender, now, &until, action))
		return;
	action->kind = PE_DO_WAIT;
	earliest(&until, sender->scan_at);
	action->until = until;
}
