/*
 * sender_status.c
 *		How things stand, for those who look at it.
 */
#include "platform/sender.h"

#include "platform/sender_internal.h"

/* So many tokens in a row that could not be got are an outage, too. */
#define TOKEN_FAILURES 3

bool
pe_sender_knows(const pe_sender *sender, int id)
{
	return pe_find_enrichment(sender, id) != NULL;
}

static bool
has_anything_to_send(const enrichment *e)
{
	for (int i = 0; i < PE_SHARDS; i++)
		if (e->slots[i].state != SLOT_IDLE || e->slots[i].has_work || e->slots[i].due_at != PE_NEVER)
			return true;
	return false;
}

pe_reach
pe_sender_reach(const pe_sender *sender, int id, int64_t now, int64_t *since)
{
	const enrichment *e = pe_find_enrichment(sender, id);
	const server_link *l;
	pe_reach reach;

	*since = 0;
	if (e == NULL || pe_enrichment_is_leaving(e))
		return PE_REACH_UNKNOWN;
	l = e->link;
	reach = pe_throttle_reach(&l->server->throttle, since);
	if (reach != PE_REACH_OUTAGE && l->token_failures >= TOKEN_FAILURES)
	{
		reach = PE_REACH_OUTAGE;
		*since = l->token_failing_since;
	}
	/* Without a token nobody knows what it would answer now. */
	if (reach == PE_REACH_ANSWERS && l->token != TOKEN_HELD)
		return PE_REACH_UNKNOWN;
	if (reach == PE_REACH_OUTAGE &&
	    (e->block != PE_BLOCK_NONE || e->hold_until > now || !has_anything_to_send(e)))
		return PE_REACH_UNKNOWN;
	return reach;
}

void
pe_sender_count(const pe_sender *sender, int64_t now, pe_sender_numbers *numbers)
{
	memset(numbers, 0, sizeof(*numbers));
	numbers->halted = sender->halted;
	for (const server *v = sender->servers; v != NULL; v = v->next)
	{
		numbers->in_flight += v->throttle.in_flight;
		numbers->loaded += v->loaded;
	}
	/* How a server was that nothing is sent to any more is nobody's concern. */
	for (const enrichment *e = sender->enrichments; e != NULL; e = e->next)
	{
		const pe_throttle *throttle = &e->link->server->throttle;

		numbers->blocked += e->block != PE_BLOCK_NONE;
		numbers->breaker_open |= throttle->open;
		if (throttle->paused_until > now && throttle->paused_until > numbers->paused_until)
			numbers->paused_until = throttle->paused_until;
	}
}
