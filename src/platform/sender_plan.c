/*
 * sender_plan.c
 *		What to do next: acknowledge before anything else, then write down blocks,
 *		then look for work, then load and send as far as each server allows.
 */
#include "platform/sender.h"

#include "platform/sender_internal.h"

/*
 * Slots of one server that hold keys. Far more than requests in flight, because those
 * of one enrichment in trouble may hold theirs for minutes; a bound, because each
 * holds up to 500 keys.
 */
#define MAX_LOADED 64

static void
earliest(int64_t *when, int64_t candidate)
{
	if (candidate < *when)
		*when = candidate;
}

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
			action->news = e->news;
			e->report = e->news = false;
			return true;
		}
	return false;
}

/* A probe of a schema is one key, so that a refusal costs one failed record. */
static void
prepare_group(slot *s)
{
	group *g = &s->groups[s->group_count - 1];

	if (s->owner->block == PE_BLOCK_SCHEMA && g->length > 1)
	{
		group rest = *g;

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
	s->public.server = s->owner->server->id;
	action->kind = PE_DO_LOAD;
	action->slot = &s->public;
}

static void
ask_for_send(slot *s, pe_action *action)
{
	group *g;

	prepare_group(s);
	g = &s->groups[s->group_count - 1];
	s->state = SLOT_BUILDING;
	action->kind = PE_DO_SEND;
	action->slot = &s->public;
	action->keys = s->order + g->start;
	action->key_count = g->length;
	action->max_bytes = s->owner->server->max_bytes;
	action->alone = g->alone;
}

/*
 * The slot's next step if it can be taken now; otherwise *until is brought forward
 * to when it may be worth another look.
 */
static bool
plan_slot(pe_sender *sender, slot *s, int64_t now, int64_t *until, pe_action *action)
{
	enrichment *e = s->owner;
	server *v = e->server;
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
		if (!e->paused && !e->gone)
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
	ready = pe_throttle_ready(&v->throttle, now,
	                          s->state == SLOT_READY ? s->groups[s->group_count - 1].length : 1);
	if (ready > now)
	{
		earliest(until, ready);
		return false;
	}
	if (s->state == SLOT_IDLE)
	{
		if (v->loaded >= MAX_LOADED)
			return false;
		if (e->block != PE_BLOCK_NONE)
			e->probe = s;
		ask_for_load(s, action);
		return true;
	}
	if (v->token == TOKEN_HELD)
	{
		ask_for_send(s, action);
		return true;
	}
	if (v->token == TOKEN_NONE && v->token_try_at > now)
		earliest(until, v->token_try_at);
	else if (v->token == TOKEN_NONE)
	{
		v->token = TOKEN_FETCHING;
		action->kind = PE_DO_TOKEN;
		action->server = v->id;
		return true;
	}
	return false;
}

/* Slots that hold work come first, then those that would load some; each in turn. */
static bool
plan_slots(pe_sender *sender, int64_t now, int64_t *until, pe_action *action)
{
	for (int pass = 0; pass < 2; pass++)
		for (enrichment *e = sender->enrichments; e != NULL; e = e->next)
			for (int i = 0; i < PE_SHARDS; i++)
			{
				slot *s = &e->slots[(i + sender->turn) % PE_SHARDS];

				if ((s->state == SLOT_READY) == (pass == 0) && plan_slot(sender, s, now, until, action))
				{
					sender->turn = (sender->turn + 1) % PE_SHARDS;
					return true;
				}
			}
	return false;
}

/* The list is turned, so that enrichments of one server share it fairly. */
static void
rotate(pe_sender *sender)
{
	enrichment *first = sender->enrichments;
	enrichment *last = first;

	if (first == NULL || first->next == NULL)
		return;
	while (last->next != NULL)
		last = last->next;
	sender->enrichments = first->next;
	first->next = NULL;
	last->next = first;
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
	if (plan_commit(sender, now, &until, action) || plan_report(sender, now, &until, action))
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
	if (plan_slots(sender, now, &until, action))
	{
		rotate(sender);
		return;
	}
	action->kind = PE_DO_WAIT;
	earliest(&until, sender->scan_at);
	action->until = until;
}
