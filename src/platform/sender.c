/*
 * sender.c
 *		The sender's events: what is known of servers, enrichments and slots.
 *
 * What a reply means for the keys is in sender_reply.c, what to do next in
 * sender_plan.c, what status views are told in sender_status.c.
 */
#include "platform/sender.h"

#include "platform/message.h"
#include "platform/sender_internal.h"

const char *
pe_block_name(pe_block block)
{
	switch (block)
	{
		case PE_BLOCK_NONE:
			break;
		case PE_BLOCK_AUTHORISATION:
			return "authorisation";
		case PE_BLOCK_CONFIGURATION:
			return "configuration";
		case PE_BLOCK_SCHEMA:
			return "schema";
		case PE_BLOCK_IDENTITY:
			return "identity";
	}
	return "none";
}

pe_status
pe_sender_open(const pe_env *env, uint64_t seed, int64_t now, pe_sender **result, pe_error *err)
{
	pe_sender *sender = pe_calloc(env, 1, sizeof(*sender));

	if (sender == NULL)
		return pe_fail_memory(err);
	sender->env = env;
	sender->random = seed;
	sender->scan_at = now;
	*result = sender;
	return PE_OK;
}

void
pe_sender_limit(pe_sender *sender, int most_requests)
{
	sender->most_requests = most_requests;
}

/* The handle's members are the first of the slot. */
slot *
pe_slot_of(pe_slot *public)
{
	return (slot *) public;
}

static void
free_work(pe_sender *sender, slot *s)
{
	for (int i = 0; i < s->public.key_count; i++)
		pe_free(sender->env, s->public.keys[i].reason);
	pe_free(sender->env, s->public.keys);
	pe_free(sender->env, s->order);
	pe_free(sender->env, s->groups);
	s->public.keys = NULL;
	s->public.key_count = 0;
	s->order = NULL;
	s->groups = NULL;
	s->group_count = 0;
}

void
pe_sender_close(pe_sender *sender)
{
	if (sender == NULL)
		return;
	for (enrichment *e = sender->enrichments, *next; e != NULL; e = next)
	{
		next = e->next;
		for (int i = 0; i < PE_SHARDS; i++)
			free_work(sender, &e->slots[i]);
		pe_free(sender->env, e);
	}
	for (server_link *l = sender->links, *next; l != NULL; l = next)
	{
		next = l->next;
		pe_free(sender->env, l);
	}
	for (server *v = sender->servers, *next; v != NULL; v = next)
	{
		next = v->next;
		pe_free(sender->env, v);
	}
	pe_free(sender->env, sender);
}

static server *
find_server(pe_sender *sender, int id)
{
	server *v = sender->servers;

	while (v != NULL && v->id != id)
		v = v->next;
	return v;
}

static server_link *
find_link(pe_sender *sender, int id)
{
	server_link *l = sender->links;

	while (l != NULL && l->id != id)
		l = l->next;
	return l;
}

enrichment *
pe_find_enrichment(const pe_sender *sender, int id)
{
	enrichment *e = sender->enrichments;

	while (e != NULL && e->id != id)
		e = e->next;
	return e;
}

void
pe_sender_wake(pe_sender *sender)
{
	sender->wake = true;
	/* Whoever wakes us may be the one whose locks were in the way. */
	for (enrichment *e = sender->enrichments; e != NULL; e = e->next)
		e->write_at = 0;
}

void
pe_sender_scan_begin(pe_sender *sender)
{
	sender->wake = false;
	for (enrichment *e = sender->enrichments; e != NULL; e = e->next)
		e->seen = false;
}

pe_status
pe_sender_server(pe_sender *sender, int id, const pe_throttle_limits *limits, int64_t now)
{
	server *v = find_server(sender, id);

	if (v != NULL)
	{
		pe_throttle_configure(&v->throttle, limits);
		return PE_OK;
	}
	v = pe_calloc(sender->env, 1, sizeof(*v));
	if (v == NULL)
		return PE_OUT_OF_MEMORY;
	v->id = id;
	v->max_bytes = PE_MESSAGE_MAX_BYTES;
	pe_throttle_init(&v->throttle, limits, now);
	v->next = sender->servers;
	sender->servers = v;
	return PE_OK;
}

pe_status
pe_sender_link(pe_sender *sender, int id, int server_id)
{
	server *v = find_server(sender, server_id);
	server_link *l = find_link(sender, id);

	if (v == NULL)
		return PE_NOT_FOUND;
	if (l != NULL)
		return PE_OK;
	l = pe_calloc(sender->env, 1, sizeof(*l));
	if (l == NULL)
		return PE_OUT_OF_MEMORY;
	l->id = id;
	l->server = v;
	l->next = sender->links;
	sender->links = l;
	return PE_OK;
}

static enrichment *
add_enrichment(pe_sender *sender, int id)
{
	enrichment *e = pe_calloc(sender->env, 1, sizeof(*e));

	if (e == NULL)
		return NULL;
	e->id = id;
	e->next_probe = PE_NEVER;
	e->last_accepted = INT64_MIN;
	for (int i = 0; i < PE_SHARDS; i++)
	{
		e->slots[i].owner = e;
		e->slots[i].due_at = PE_NEVER;
		e->slots[i].public.enrichment = id;
		e->slots[i].public.shard = i;
	}
	e->next = sender->enrichments;
	sender->enrichments = e;
	return e;
}

static bool
has_busy_slot(const enrichment *e)
{
	for (int i = 0; i < PE_SHARDS; i++)
		if (e->slots[i].state != SLOT_IDLE)
			return true;
	return false;
}

/* A slot in use finishes by the link it began with; once none is the enrichment changes over. */
static void
change_link(enrichment *e)
{
	if (e->link == e->wanted || has_busy_slot(e))
		return;
	e->link = e->wanted;
	for (int i = 0; i < PE_SHARDS; i++)
		e->slots[i].public.link = e->link->id;
}

/* The slot forgets its work; what was not committed is loaded again some time. */
void
pe_slot_release(pe_sender *sender, slot *s)
{
	enrichment *e = s->owner;

	e->link->server->loaded--;
	e->loaded--;
	free_work(sender, s);
	s->state = SLOT_IDLE;
	s->has_work = true;
	if (e->probe == s)
		e->probe = NULL;
	change_link(e);
}

/*
 * Nothing more is sent from a slot that is ready: what was decided, or only sent, is
 * committed, the rest stays queued.
 */
void
pe_slot_give_up(pe_sender *sender, slot *s)
{
	bool noteworthy = false;

	if (s->state != SLOT_READY)
		return;
	for (int i = 0; i < s->public.key_count; i++)
	{
		pe_key *key = &s->public.keys[i];

		if (key->state == PE_KEY_PENDING)
			key->state = PE_KEY_KEPT;
		noteworthy |= key->state != PE_KEY_KEPT || key->sent_at > 0;
	}
	s->group_count = 0;
	if (!noteworthy)
		pe_slot_release(sender, s);
	else
	{
		s->state = SLOT_DONE;
		if (s->owner->probe == s)
			s->owner->probe = NULL;
	}
}

/* Refusals of keys that are not committed yet are taken back: the schema is the culprit. */
static void
take_back_refusals(slot *s)
{
	if (s->state == SLOT_COMMITTING)
		return;
	for (int i = 0; i < s->public.key_count; i++)
	{
		pe_key *key = &s->public.keys[i];

		if ((key->state == PE_KEY_DEAD || key->state == PE_KEY_RETRY) &&
		    (key->outcome == PE_OUTCOME_REFUSED || key->outcome == PE_OUTCOME_FAULT))
			key->state = PE_KEY_KEPT;
	}
}

void
pe_enrichment_block(pe_sender *sender, enrichment *e, pe_block block, const char *reason, int64_t now)
{
	e->report = true;
	e->block = block;
	e->blocked_by_token = false;
	(void) snprintf(e->reason, sizeof(e->reason), "%s", reason != NULL ? reason : "");
	e->next_probe = block == PE_BLOCK_IDENTITY ? PE_NEVER : now + PE_PROBE_PERIOD;
	e->probe = NULL;
	e->verdicts = e->refused = 0;
	e->healthy = false;
	e->suspect = e->suspect || block == PE_BLOCK_SCHEMA;
	for (int i = 0; i < PE_SHARDS; i++)
	{
		if (block == PE_BLOCK_SCHEMA)
			take_back_refusals(&e->slots[i]);
		pe_slot_give_up(sender, &e->slots[i]);
	}
}

void
pe_enrichment_unblock(enrichment *e)
{
	if (e->block == PE_BLOCK_NONE)
		return;
	e->block = PE_BLOCK_NONE;
	e->blocked_by_token = false;
	e->reason[0] = '\0';
	e->next_probe = PE_NEVER;
	e->probe = NULL;
	e->report = true;
	e->verdicts = e->refused = 0;
	e->healthy = false;
}

bool
pe_enrichment_is_leaving(const enrichment *e)
{
	return e->gone || e->paused || e->link != e->wanted;
}

bool
pe_enrichment_may_send(const enrichment *e, int64_t now)
{
	return !pe_enrichment_is_leaving(e) && e->hold_until <= now &&
	       (e->block == PE_BLOCK_NONE || (e->block != PE_BLOCK_IDENTITY && e->next_probe <= now));
}

/* What was in the way may be gone: nothing that waits for it waits any longer. */
static void
try_afresh(enrichment *e, int64_t now)
{
	e->fresh_since = now;
	e->verdicts = e->refused = 0;
	for (int i = 0; i < PE_SHARDS; i++)
	{
		e->slots[i].next_try = 0;
		e->slots[i].tries = 0;
	}
	e->link->token_try_at = 0;
	e->link->token_tries = 0;
	pe_throttle_probe_now(&e->link->server->throttle, now);
}

void
pe_sender_link_changed(pe_sender *sender, int id, int64_t now)
{
	server_link *l = find_link(sender, id);

	for (enrichment *e = sender->enrichments; e != NULL; e = e->next)
	{
		if (e->link != l)
			continue;
		try_afresh(e, now);
		if (e->next_probe > now && e->block != PE_BLOCK_NONE && e->block != PE_BLOCK_IDENTITY)
			e->next_probe = now;
	}
	if (l != NULL)
		l->token_asked_at = now;
}

/* resume() has cleared what the tables said; what is not written yet is not worth it any more. */
static void
resumed(enrichment *e, int64_t now)
{
	try_afresh(e, now);
	pe_enrichment_unblock(e);
	e->report = false;
	e->stored_blocked = false;
}

/* What the tables say of a block, against what is known here. */
static void
reconcile_block(pe_sender *sender, enrichment *e, const pe_sender_enrichment_info *info, bool is_new,
                int64_t now)
{
	bool unheard;

	if (!is_new && e->resumes != info->resumes)
		resumed(e, now);
	e->resumes = info->resumes;
	/* Another one than this sender may have met the obstacle: a batch, or the sender before. */
	unheard = e->block == PE_BLOCK_NONE && !e->report && !e->stored_blocked;
	if ((is_new || unheard) && info->stored_block != PE_BLOCK_NONE)
	{
		pe_enrichment_block(sender, e, info->stored_block, info->stored_reason, now);
		e->next_probe = info->stored_probe_at;
		e->report = false;
		e->stored_blocked = true;
	}
	/* adopt() cleared it behind our back, or a batch that has landed. */
	else if (!is_new && e->stored_blocked && info->stored_block == PE_BLOCK_NONE)
	{
		pe_enrichment_unblock(e);
		e->report = false;
		e->stored_blocked = false;
		e->suspect = false;
	}
	/* provision() and others who changed something ask for an earlier probe. */
	else if (e->block != PE_BLOCK_NONE && e->block == info->stored_block &&
	         info->stored_probe_at < e->next_probe)
		e->next_probe = info->stored_probe_at;
	if (!info->identity_matches && e->block != PE_BLOCK_IDENTITY)
		pe_enrichment_block(sender, e, PE_BLOCK_IDENTITY,
		                    "this database was provisioned by another cluster: it may be a copy", now);
	else if (info->identity_matches && e->block == PE_BLOCK_IDENTITY)
		pe_enrichment_unblock(e);
}

pe_status
pe_sender_enrichment(pe_sender *sender, const pe_sender_enrichment_info *info, int64_t now)
{
	enrichment *e = pe_find_enrichment(sender, info->id);
	server_link *l = find_link(sender, info->link);
	bool is_new = e == NULL;

	if (l == NULL)
		return PE_NOT_FOUND;
	if (is_new && (e = add_enrichment(sender, info->id)) == NULL)
		return PE_OUT_OF_MEMORY;
	e->seen = true;
	e->gone = false;
	e->wanted = l;
	change_link(e);
	e->paused = info->paused;
	e->hold_until = info->hold_until;
	reconcile_block(sender, e, info, is_new, now);
	if (pe_enrichment_is_leaving(e))
		for (int i = 0; i < PE_SHARDS; i++)
			pe_slot_give_up(sender, &e->slots[i]);
	return PE_OK;
}

void
pe_sender_has_work(pe_sender *sender, int id, int shard)
{
	enrichment *e = pe_find_enrichment(sender, id);

	if (e != NULL && shard >= 0 && shard < PE_SHARDS)
		e->slots[shard].has_work = true;
}

static void
remove_gone(pe_sender *sender)
{
	enrichment **link = &sender->enrichments;

	while (*link != NULL)
	{
		enrichment *e = *link;

		if (!e->gone || has_busy_slot(e))
		{
			link = &e->next;
			continue;
		}
		*link = e->next;
		pe_free(sender->env, e);
	}
}

void
pe_sender_scanned(pe_sender *sender, bool ok, int64_t next_scan)
{
	sender->scanning = false;
	sender->scan_at = next_scan;
	if (!ok)
		return;
	for (enrichment *e = sender->enrichments; e != NULL; e = e->next)
	{
		if (e->seen)
			continue;
		e->gone = true;
		for (int i = 0; i < PE_SHARDS; i++)
			pe_slot_give_up(sender, &e->slots[i]);
	}
	remove_gone(sender);
}

/* The keys as loaded: one group of those that may go now, the others are decided already. */
static void
take_keys(slot *s, const pe_key_past *past)
{
	int ready = 0;

	for (int i = 0; i < s->public.key_count; i++)
	{
		pe_key *key = &s->public.keys[i];

		key->attempts = past != NULL ? past[i].attempts : 0;
		key->before = past != NULL ? past[i].outcome : PE_OUTCOME_ACCEPTED;
		key->delay = past != NULL ? past[i].wait : 0;
		if (key->delay > 0)
			key->state = PE_KEY_LATER;
		else
			s->order[ready++] = i;
	}
	s->groups[0].length = ready;
	s->group_count = ready > 0 ? 1 : 0;
}

pe_status
pe_sender_loaded(pe_sender *sender, pe_slot *public, int64_t now, pe_work_kind kind, int count,
                 const pe_key_past *past)
{
	slot *s = pe_slot_of(public);
	enrichment *e = s->owner;

	s->state = SLOT_IDLE;
	if (count == 0)
	{
		s->has_work = false;
		if (e->probe == s)
			e->probe = NULL;
		return PE_OK;
	}
	if (count > PE_CHUNK_KEYS)
	{
		pe_sender_load_failed(sender, public, now);
		return PE_LIMIT;
	}
	s->public.keys = pe_calloc(sender->env, (size_t) count, sizeof(pe_key));
	s->order = pe_calloc(sender->env, (size_t) count, sizeof(int));
	s->groups = pe_calloc(sender->env, (size_t) count + 1, sizeof(group));
	if (s->public.keys == NULL || s->order == NULL || s->groups == NULL)
	{
		s->public.key_count = 0;
		free_work(sender, s);
		pe_sender_load_failed(sender, public, now);
		return PE_OUT_OF_MEMORY;
	}
	s->public.kind = kind;
	s->public.key_count = count;
	s->public.prefer_retry = kind == PE_WORK_CHUNK;
	take_keys(s, past);
	s->state = SLOT_READY;
	s->tries = 0;
	e->link->server->loaded++;
	e->loaded++;
	/* Nothing to send at all, or the enrichment was paused or blocked meanwhile. */
	pe_slot_settle(sender, s);
	return PE_OK;
}

void
pe_sender_load_failed(pe_sender *sender, pe_slot *public, int64_t now)
{
	slot *s = pe_slot_of(public);

	s->state = SLOT_IDLE;
	s->next_try = now + pe_backoff(&sender->random, s->tries++);
	if (s->owner->probe == s)
		s->owner->probe = NULL;
}

/* Stops the group's keys listed in chosen from being in it, giving them a state. */
static void
decide(slot *s, const int *chosen, int count, pe_key_state state, pe_outcome outcome, bool *left)
{
	for (int i = 0; i < count; i++)
	{
		s->public.keys[chosen[i]].state = state;
		s->public.keys[chosen[i]].outcome = outcome;
		left[chosen[i]] = false;
	}
}

/* Who was served goes to the end of the list, so that enrichments of one server share it fairly. */
static void
serve_last(pe_sender *sender, enrichment *e)
{
	enrichment **at = &sender->enrichments;

	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
	while (*at != NULL)
		at = &(*at)->next;
	*at = e;
	e->next = NULL;
}

void
pe_sender_built(pe_sender *sender, pe_slot *public, int64_t now, const pe_built *built)
{
	slot *s = pe_slot_of(public);
	group current = s->groups[--s->group_count];
	server_link *l = s->owner->link;
	bool left[PE_CHUNK_KEYS];
	int rest = 0;

	if (built->sent_count + built->superseded_count + built->too_big_count == 0)
	{
		s->group_count++;
		pe_sender_build_failed(sender, public, now, false);
		return;
	}
	/* A probe is one's turn only when it is made. */
	if (built->sent_count > 0 || !l->server->throttle.open)
		serve_last(sender, s->owner);
	memset(left, 0, sizeof(left));
	for (int i = 0; i < current.length; i++)
		left[s->order[current.start + i]] = true;
	decide(s, built->superseded, built->superseded_count, PE_KEY_SUPERSEDED, PE_OUTCOME_ACCEPTED, left);
	decide(s, built->too_big, built->too_big_count, PE_KEY_DEAD, PE_OUTCOME_TOO_BIG, left);
	for (int i = 0; i < built->sent_count; i++)
	{
		s->public.keys[built->sent[i]].sent_at = now;
		left[built->sent[i]] = false;
	}

	/* First what waits for a later request, then what is in this one. */
	for (int i = 0; i < s->public.key_count; i++)
		if (left[i])
			s->order[current.start + rest++] = i;
	for (int i = 0; i < built->sent_count; i++)
		s->order[current.start + rest + i] = built->sent[i];
	if (rest > 0)
	{
		s->groups[s->group_count] = current;
		s->groups[s->group_count++].length = rest;
	}
	s->state = SLOT_READY;
	if (built->sent_count == 0)
	{
		pe_slot_settle(sender, s);
		return;
	}
	current.start += rest;
	current.length = built->sent_count;
	s->groups[s->group_count++] = current;
	s->started = now;
	s->bytes = built->bytes;
	s->token_generation = l->token_generation;
	pe_throttle_start(&l->server->throttle, now, built->sent_count);
	s->state = SLOT_SENT;
}

void
pe_sender_build_failed(pe_sender *sender, pe_slot *public, int64_t now, bool token_gone)
{
	slot *s = pe_slot_of(public);

	s->state = SLOT_READY;
	if (token_gone)
		s->owner->link->token = TOKEN_NONE;
	else
		s->next_try = now + pe_backoff(&sender->random, s->tries++);
	pe_slot_settle(sender, s);
}

/*
 * Something of the enrichment could not be written: all sending waits, or only this one's
 * writing. What was in the same transaction has failed with it, which counts once.
 */
static void
not_written(pe_sender *sender, enrichment *e, pe_written written, int64_t now)
{
	if (written == PE_WRITE_CONTENDED && e->write_at > now)
		return;
	if (written == PE_WRITE_FAILED && sender->halted && sender->halted_until > now)
		return;
	if (written == PE_WRITE_CONTENDED)
	{
		e->write_at = now + pe_backoff(&sender->random, e->write_tries);
		if (e->write_tries < MAX_WRITE_TRIES)
			e->write_tries++;
		return;
	}
	sender->halted = true;
	sender->halted_until = now + pe_backoff(&sender->random, sender->halts++);
}

static void
written_again(pe_sender *sender, enrichment *e)
{
	e->write_at = 0;
	e->write_tries = 0;
	sender->halted = false;
	sender->halts = 0;
}

void
pe_sender_committed(pe_sender *sender, pe_slot *public, int64_t now, pe_written written)
{
	slot *s = pe_slot_of(public);

	if (written != PE_WRITTEN)
	{
		s->state = SLOT_DONE;
		not_written(sender, s->owner, written, now);
		return;
	}
	written_again(sender, s->owner);
	for (int i = 0; i < s->public.key_count; i++)
	{
		const pe_key *key = &s->public.keys[i];

		if ((key->state == PE_KEY_RETRY || key->state == PE_KEY_LATER) && now + key->delay < s->due_at)
			s->due_at = now + key->delay;
	}
	pe_slot_release(sender, s);
	if (s->owner->gone)
		remove_gone(sender);
}

void
pe_sender_token(pe_sender *sender, int id, int64_t now, pe_status status, const char *reason)
{
	server_link *l = find_link(sender, id);

	if (l == NULL)
		return;
	if (status == PE_OK)
	{
		l->token = TOKEN_HELD;
		l->token_generation++;
		l->token_tries = 0;
		l->token_failures = 0;
		for (enrichment *e = sender->enrichments; e != NULL; e = e->next)
			if (e->link == l && e->blocked_by_token)
				pe_enrichment_unblock(e);
		return;
	}
	l->token = TOKEN_NONE;
	l->token_try_at = now + pe_backoff(&sender->random, l->token_tries++);
	if (status != PE_UNAUTHORISED && status != PE_CONFIGURATION && status != PE_UNTRUSTED)
	{
		if (l->token_failures++ == 0)
			l->token_failing_since = l->token_asked_at;
		return;
	}
	l->token_failures = 0;
	for (enrichment *e = sender->enrichments; e != NULL; e = e->next)
		if (e->link == l && e->block != PE_BLOCK_IDENTITY && l->token_asked_at >= e->fresh_since)
		{
			pe_enrichment_block(sender, e,
			                    status == PE_UNAUTHORISED ? PE_BLOCK_AUTHORISATION : PE_BLOCK_CONFIGURATION,
			                    reason, now);
			e->blocked_by_token = true;
		}
}

void
pe_sender_reported(pe_sender *sender, int id, pe_written written, int64_t now)
{
	enrichment *e = pe_find_enrichment(sender, id);

	if (e == NULL)
		return;
	if (written == PE_WRITTEN)
	{
		e->stored_blocked = e->block != PE_BLOCK_NONE;
		written_again(sender, e);
		return;
	}
	e->report = true;
	not_written(sender, e, written, now);
}
