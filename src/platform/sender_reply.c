/*
 * sender_reply.c
 *		What a reply means for the keys that were sent, one function for each row of
 *		the table of outcomes.
 */
#include "platform/sender.h"

#include "platform/sender_internal.h"

/* A group of fewer bytes than this is not worth a lower limit of its own. */
#define MIN_REQUEST_BYTES ((size_t) 16384)

/* How long a key that was refused as a probe waits: a dozen others are tried meanwhile. */
#define SET_ASIDE (12 * PE_PROBE_PERIOD)

static group *
current_group(slot *s)
{
	return &s->groups[s->group_count - 1];
}

/* Nothing left to send: commit. Nothing may be sent any more: commit what is decided. */
void
pe_slot_settle(pe_sender *sender, slot *s)
{
	enrichment *e = s->owner;

	if (s->state != SLOT_READY)
		return;
	if (s->group_count == 0)
	{
		s->state = SLOT_DONE;
		if (e->probe == s)
			e->probe = NULL;
	}
	else if (pe_enrichment_is_leaving(e) || (e->block != PE_BLOCK_NONE && e->probe != s))
		pe_slot_give_up(sender, s);
}

/* The words are kept with the key; without memory for them it goes without. */
static void
note(pe_sender *sender, pe_key *key, pe_outcome outcome, int http_status, const char *reason)
{
	key->outcome = outcome;
	key->http_status = http_status;
	pe_free(sender->env, key->reason);
	key->reason = NULL;
	if (reason != NULL && reason[0] != '\0')
		key->reason = pe_strndup(sender->env, reason, strnlen(reason, REASON_SIZE));
}

static void
retry_later(pe_sender *sender, pe_key *key, int64_t least)
{
	key->state = PE_KEY_RETRY;
	key->delay = pe_backoff(&sender->random, key->attempts);
	if (key->delay < least)
		key->delay = least;
}

/* Begun before somebody said to try afresh: its answer says nothing of what is in the way now. */
static bool
is_outdated(const slot *s)
{
	return s->started < s->owner->fresh_since;
}

/*
 * One more verdict on the enrichment's records. After each sample of 20 it is
 * healthy, or, when more than half were refused, blocked: then mapping or schema is
 * wrong and no key is to blame. True when this verdict blocked it.
 */
static bool
count_verdict(pe_sender *sender, const slot *s, bool refused, const char *reason, int64_t now)
{
	enrichment *e = s->owner;

	if (is_outdated(s))
		return false;
	e->verdicts++;
	e->refused += refused;
	if (e->refused > TRIAL_KEYS / 2)
	{
		pe_enrichment_block(sender, e, PE_BLOCK_SCHEMA, reason, now);
		return true;
	}
	if (e->verdicts >= TRIAL_KEYS)
	{
		e->verdicts = e->refused = 0;
		e->healthy = true;
	}
	return false;
}

static void
accept_key(pe_sender *sender, slot *s, int index, int64_t now)
{
	pe_key *key = &s->public.keys[index];

	note(sender, key, PE_OUTCOME_ACCEPTED, 0, NULL);
	key->state = PE_KEY_ACCEPTED;
	s->owner->last_accepted = now;
	s->owner->suspect = false;
	(void) count_verdict(sender, s, false, NULL, now);
}

/*
 * The platform refuses this one record. While the enrichment is not known to be
 * healthy, a first refusal is held back by one more try, so that a wrong schema is
 * noticed before anything is dead; and after it was, nothing dies before something is
 * accepted, however often somebody resumes. An outdated answer cannot tell one from the other:
 * the key stays undecided, and is sent again. Returns true when the enrichment got blocked.
 */
static bool
refuse_key(pe_sender *sender, slot *s, int index, pe_outcome outcome, int http_status, const char *reason,
           int64_t now)
{
	pe_key *key = &s->public.keys[index];
	enrichment *e = s->owner;
	bool again = key->before == PE_OUTCOME_REFUSED && !e->suspect;

	if (is_outdated(s) && !e->healthy)
		return false;
	note(sender, key, outcome, http_status, reason);
	if (e->healthy || again)
		key->state = PE_KEY_DEAD;
	else
		retry_later(sender, key, 0);
	key->attempts++;
	key->before = PE_OUTCOME_REFUSED;
	if (again && !e->healthy)
		return false;
	return count_verdict(sender, s, true, reason, now);
}

/* Failures of other kinds before say nothing of the data. */
static void
begin_faults(pe_key *key)
{
	if (key->before != PE_OUTCOME_FAULT)
		key->attempts = 0;
}

/*
 * 500 again and again: the data's fault if others were accepted meanwhile, else it
 * waits; but not for ever, when there are no others.
 */
static bool
fault_key(pe_sender *sender, slot *s, int index, int64_t first_fault, const char *reason, int64_t now)
{
	pe_key *key = &s->public.keys[index];

	begin_faults(key);
	if (s->owner->last_accepted >= first_fault || key->attempts + 1 >= MAX_LONE_FAULTS)
		return refuse_key(sender, s, index, PE_OUTCOME_FAULT, 500, reason, now);
	note(sender, key, PE_OUTCOME_FAULT, 500, reason);
	key->attempts++;
	retry_later(sender, key, 0);
	return count_verdict(sender, s, true, reason, now);
}

/* Splits the current group in halves; the first half is next. */
static void
halve(slot *s)
{
	group first = s->groups[--s->group_count];
	group second = first;

	first.length = (first.length + 1) / 2;
	second.start += first.length;
	second.length -= first.length;
	if (second.length > 0)
		s->groups[s->group_count++] = second;
	s->groups[s->group_count++] = first;
}

/* One request for each of the group's keys, by the single-message call. */
static void
separate(slot *s)
{
	group whole = s->groups[--s->group_count];

	for (int i = whole.length - 1; i >= 0; i--)
	{
		group one = whole;

		one.start += i;
		one.length = 1;
		one.alone = true;
		s->groups[s->group_count++] = one;
	}
}

static void
wait_for_server(pe_sender *sender, slot *s, int64_t now)
{
	s->next_try = now + pe_backoff(&sender->random, s->tries++);
}

/* Retry-After holds the whole server; without one a backoff does. */
static void
pause_server(pe_sender *sender, slot *s, int64_t now, int64_t asked)
{
	int64_t delay = asked;

	if (delay <= 0)
		delay = pe_backoff(&sender->random, s->tries++);
	if (delay < PE_SECOND)
		delay = PE_SECOND;
	if (delay > 3600 * PE_SECOND)
		delay = 3600 * PE_SECOND;
	pe_throttle_pause(&s->owner->link->server->throttle, now, delay);
}

/* The token was refused: one refresh at a time, one more try, then blocked. */
static void
on_token_refused(pe_sender *sender, slot *s, const char *reason, int64_t now)
{
	server_link *l = s->owner->link;
	group *g = current_group(s);

	if (s->token_generation != l->token_generation)
		return; /* a newer token is there already */
	if (g->token_tried && !is_outdated(s))
	{
		pe_enrichment_block(sender, s->owner, PE_BLOCK_AUTHORISATION, reason, now);
		return;
	}
	g->token_tried = true;
	if (l->token == TOKEN_HELD)
		l->token = TOKEN_NONE;
}

/* The entry's own status decides for its key. Returns true when the enrichment got blocked. */
static bool
on_entry(pe_sender *sender, slot *s, int index, const pe_result_entry *entry, int64_t now,
         int64_t first_fault, pe_outcome *held)
{
	pe_key *key = &s->public.keys[index];
	pe_outcome outcome = entry->status == 0 ? PE_OUTCOME_ACCEPTED : pe_outcome_of_status(entry->status);

	switch (outcome)
	{
		case PE_OUTCOME_ACCEPTED:
		case PE_OUTCOME_MIXED:
			accept_key(sender, s, index, now);
			return false;
		case PE_OUTCOME_REFUSED:
			return refuse_key(sender, s, index, outcome, entry->status, entry->message, now);
		case PE_OUTCOME_FAULT:
			begin_faults(key);
			if (key->attempts + 1 >= MAX_FAULTS)
				return fault_key(sender, s, index, first_fault, entry->message, now);
			break;
		case PE_OUTCOME_TOO_BIG:
			note(sender, key, outcome, entry->status, entry->message);
			key->state = PE_KEY_DEAD;
			key->attempts++;
			return false;
		case PE_OUTCOME_TOKEN:
		case PE_OUTCOME_RATE:
			/* The key stays in its group: what is wrong is not its own. */
			*held = outcome;
			return false;
		case PE_OUTCOME_CONFIGURATION:
			if (is_outdated(s))
				return false;
			note(sender, key, outcome, entry->status, entry->message);
			key->state = PE_KEY_KEPT;
			pe_enrichment_block(sender, s->owner, PE_BLOCK_CONFIGURATION, entry->message, now);
			return true;
		case PE_OUTCOME_NOT_SENT:
		case PE_OUTCOME_UNKNOWN:
		case PE_OUTCOME_MISCOUNTED:
		case PE_OUTCOME_OVERLOAD:
			break;
	}
	note(sender, key, outcome, entry->status, entry->message);
	retry_later(sender, key, 0);
	key->attempts++;
	return false;
}

/* A reply with an entry for each message. */
static void
on_entries(pe_sender *sender, slot *s, const pe_result *result, int64_t now)
{
	group g = *current_group(s);
	pe_outcome held = PE_OUTCOME_ACCEPTED;
	bool blocked = false;
	int left = 0;

	for (int i = 0; i < g.length; i++)
	{
		int index = s->order[g.start + i];

		/* Accepted keys are accepted, also when an earlier entry got the enrichment blocked. */
		if (blocked && pe_outcome_of_status(result->entries[i].status) != PE_OUTCOME_ACCEPTED &&
		    result->entries[i].status != 0)
			continue;
		blocked = on_entry(sender, s, index, &result->entries[i], now, s->started, &held) || blocked;
	}
	for (int i = 0; i < g.length; i++)
		if (s->public.keys[s->order[g.start + i]].state == PE_KEY_PENDING)
		{
			int index = s->order[g.start + i];

			s->order[g.start + i] = s->order[g.start + left];
			s->order[g.start + left++] = index;
		}
	current_group(s)->length = left;
	if (left == 0)
		s->group_count--;
	else if (blocked)
		return;
	else if (held == PE_OUTCOME_RATE)
		pause_server(sender, s, now, result->retry_after);
	else if (held == PE_OUTCOME_TOKEN)
		on_token_refused(sender, s, "the token was refused for single records", now);
}

static void
accept_group(pe_sender *sender, slot *s, int64_t now)
{
	group g = s->groups[--s->group_count];

	for (int i = 0; i < g.length; i++)
		accept_key(sender, s, s->order[g.start + i], now);
}

/* 400, or 500 three times, for the whole request. */
static void
on_refused(pe_sender *sender, slot *s, pe_outcome outcome, const pe_result *result, int64_t now)
{
	group g = *current_group(s);
	int index = s->order[g.start];

	if (g.length > 1)
	{
		halve(s);
		return;
	}
	if (outcome == PE_OUTCOME_FAULT)
		(void) fault_key(sender, s, index, g.first_fault, result->reason, now);
	else
		(void) refuse_key(sender, s, index, outcome, result->http_status, result->reason, now);
	if (s->public.keys[index].state != PE_KEY_PENDING)
		s->group_count--;
}

static void
on_fault(pe_sender *sender, slot *s, const pe_result *result, int64_t now)
{
	group *g = current_group(s);

	if (g->faults == 0)
		g->first_fault = s->started;
	wait_for_server(sender, s, now);
	if (++g->faults < MAX_FAULTS)
		return;
	/* The halves have two behind them; one that is alone has its own three before it is condemned. */
	g->faults = g->length <= 2 ? 0 : MAX_FAULTS - 1;
	on_refused(sender, s, PE_OUTCOME_FAULT, result, now);
}

static void
on_too_big(pe_sender *sender, slot *s, const pe_result *result)
{
	server *v = s->owner->link->server;
	int index = s->order[current_group(s)->start];
	size_t limit = s->bytes / 2;

	if (current_group(s)->length > 1)
	{
		if (limit < MIN_REQUEST_BYTES)
			limit = MIN_REQUEST_BYTES;
		if (limit < v->max_bytes)
			v->max_bytes = limit;
		halve(s);
		return;
	}
	s->group_count--;
	note(sender, &s->public.keys[index], PE_OUTCOME_TOO_BIG, result->http_status, result->reason);
	s->public.keys[index].state = PE_KEY_DEAD;
	s->public.keys[index].attempts++;
}

/*
 * A probe of the schema was refused. Its key is set aside for some probes: the next must
 * be another one, since this one may be refused for what it is itself.
 */
static void
probe_refused(pe_sender *sender, slot *s, pe_outcome outcome, const pe_result *result, int64_t now)
{
	enrichment *e = s->owner;
	pe_key *key = &s->public.keys[s->order[s->groups[--s->group_count].start]];
	bool mixed = outcome == PE_OUTCOME_MIXED;

	pe_enrichment_block(sender, e, PE_BLOCK_SCHEMA, e->reason, now);
	if (mixed)
		outcome = pe_outcome_of_status(result->entries[0].status);
	note(sender, key, outcome, mixed ? result->entries[0].status : result->http_status,
	     mixed ? result->entries[0].message : result->reason);
	retry_later(sender, key, SET_ASIDE);
	key->attempts++;
}

/* The answer to a probe of a blocked enrichment: unblock, or stay as it is. True when it stays. */
static bool
still_blocked(pe_sender *sender, slot *s, pe_outcome outcome, const pe_result *result, int64_t now)
{
	enrichment *e = s->owner;

	if (e->block == PE_BLOCK_NONE || e->probe != s)
		return false;
	if (e->block != PE_BLOCK_SCHEMA)
	{
		if (outcome == PE_OUTCOME_ACCEPTED || outcome == PE_OUTCOME_REFUSED || outcome == PE_OUTCOME_FAULT ||
		    outcome == PE_OUTCOME_TOO_BIG || outcome == PE_OUTCOME_MISCOUNTED ||
		    (outcome == PE_OUTCOME_MIXED && result->entries[0].status != 401 &&
		     result->entries[0].status != 403))
		{
			pe_enrichment_unblock(e);
			e->probe = NULL;
		}
		return false;
	}
	if (outcome == PE_OUTCOME_ACCEPTED ||
	    (outcome == PE_OUTCOME_MIXED &&
	     (result->entries[0].status == 0 ||
	      pe_outcome_of_status(result->entries[0].status) == PE_OUTCOME_ACCEPTED)))
	{
		pe_enrichment_unblock(e);
		return false;
	}
	if (outcome == PE_OUTCOME_REFUSED || outcome == PE_OUTCOME_FAULT || outcome == PE_OUTCOME_MIXED ||
	    outcome == PE_OUTCOME_TOO_BIG)
	{
		if (!is_outdated(s))
			probe_refused(sender, s, outcome, result, now);
		return true;
	}
	return false;
}

static pe_health
health_of(pe_outcome outcome)
{
	switch (outcome)
	{
		case PE_OUTCOME_ACCEPTED:
		case PE_OUTCOME_MIXED:
			return PE_HEALTH_GOOD;
		case PE_OUTCOME_RATE:
			return PE_HEALTH_BUSY;
		case PE_OUTCOME_NOT_SENT:
		case PE_OUTCOME_UNKNOWN:
		case PE_OUTCOME_OVERLOAD:
		case PE_OUTCOME_FAULT:
			return PE_HEALTH_FAILED;
		case PE_OUTCOME_MISCOUNTED:
		case PE_OUTCOME_REFUSED:
		case PE_OUTCOME_TOO_BIG:
		case PE_OUTCOME_TOKEN:
		case PE_OUTCOME_CONFIGURATION:
			break;
	}
	return PE_HEALTH_ANSWERED;
}

static void
apply(pe_sender *sender, slot *s, pe_outcome outcome, const pe_result *result, int64_t now)
{
	switch (outcome)
	{
		case PE_OUTCOME_ACCEPTED:
			accept_group(sender, s, now);
			break;
		case PE_OUTCOME_MIXED:
			on_entries(sender, s, result, now);
			break;
		case PE_OUTCOME_REFUSED:
			on_refused(sender, s, outcome, result, now);
			break;
		case PE_OUTCOME_FAULT:
			on_fault(sender, s, result, now);
			break;
		case PE_OUTCOME_TOO_BIG:
			on_too_big(sender, s, result);
			break;
		case PE_OUTCOME_MISCOUNTED:
			if (current_group(s)->alone)
				wait_for_server(sender, s, now);
			else
				separate(s);
			break;
		case PE_OUTCOME_TOKEN:
			on_token_refused(sender, s, result->reason, now);
			break;
		case PE_OUTCOME_CONFIGURATION:
			if (!is_outdated(s))
				pe_enrichment_block(sender, s->owner, PE_BLOCK_CONFIGURATION, result->reason, now);
			break;
		case PE_OUTCOME_RATE:
			pause_server(sender, s, now, result->retry_after);
			break;
		case PE_OUTCOME_UNKNOWN:
			wait_for_server(sender, s, now);
			break;
		case PE_OUTCOME_OVERLOAD:
			if (result->retry_after > 0)
				pause_server(sender, s, now, result->retry_after);
			wait_for_server(sender, s, now);
			break;
		case PE_OUTCOME_NOT_SENT:
			wait_for_server(sender, s, now);
			break;
	}
}

void
pe_sender_response(pe_sender *sender, pe_slot *public, int64_t now, const pe_result *result,
                   pe_response_summary *summary)
{
	slot *s = pe_slot_of(public);
	group sent;
	pe_outcome outcome;

	memset(summary, 0, sizeof(*summary));
	if (s->state != SLOT_SENT)
		return;
	sent = *current_group(s);
	outcome = pe_outcome_of_result(result, sent.length);
	summary->outcome = outcome;
	pe_throttle_end(&s->owner->link->server->throttle, now, s->started, health_of(outcome), &sender->random);
	s->state = SLOT_READY;
	if (health_of(outcome) != PE_HEALTH_FAILED && outcome != PE_OUTCOME_RATE)
		s->tries = 0;
	/* A block gives the slots up; this one must first be told what its reply was. */
	s->state = SLOT_SENT;
	if (!still_blocked(sender, s, outcome, result, now))
		apply(sender, s, outcome, result, now);
	s->state = SLOT_READY;
	for (int i = 0; i < sent.length; i++)
	{
		const pe_key *key = &s->public.keys[s->order[sent.start + i]];

		summary->accepted += key->state == PE_KEY_ACCEPTED;
		summary->retried += key->state == PE_KEY_RETRY;
		summary->dead += key->state == PE_KEY_DEAD;
	}
	pe_slot_settle(sender, s);
}
