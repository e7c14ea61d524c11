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
pe_sender_reach(const pe_sender *sender, int id, int64_t *since)
{
	const enrichment *e = pe_find_enrichment(sender, id);
	pe_reach reach;

	*since = 0;
	if (e == NULL || e->block != PE_BLOCK_NONE || pe_enrichment_is_leaving(e))
		return PE_REACH_UNKNOWN;
	reach = pe_throttle_reach(&e->link->server->throttle, since);
	if (reach != PE_REACH_OUTAGE && e->link->token_tries >= TOKEN_FAILURES)
	{
		reach = PE_REACH_OUTAGE;
		*since = e->link->token_failing_since;
	}
	else if (reach == PE_REACH_ANSWERS && e->link->token_tries > 0)
		reach = PE_REACH_UNKNOWN;
	if (reach == PE_REACH_OUTAGE && !has_anything_to_send(e))
		reach = PE_REACH_UNKNOWN;
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
		numbers->breaker_open |= v->throttle.open;
		if (v->throttle.paused_until > now && v->throttle.paused_until > numbers->paused_until)
			numbers->paused_until = v->throttle.paused_until;
	}
	for (const enrichment *e = sender->enrichments; e != NULL; e = e->next)
		numbers->blocked += e->block != PE_BLOCK_NONE;
}
