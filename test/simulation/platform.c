/*
 * platform.c
 *		A model of the platform and the network in front of it: loses, repeats, delays
 *		and reorders requests, refuses records, and answers with everything that it,
 *		or whatever stands between, has ever been seen to answer.
 *
 * What is simpler here: bytes are 2,000 for each message; a reply is what the worker
 * makes of one (pe_result), since reading bodies has tests and fuzzing of its own.
 */
#include "world.h"

/* What transport and reply say when the sender has given up waiting. */
#define CLIENT_TIMEOUT (30 * PE_SECOND)

flight *
new_flight(world *w)
{
	platform *p = &w->platform;

	for (int i = 0; i < MAX_FLIGHTS; i++)
		if (!p->flights[i].used)
		{
			flight *f = &p->flights[i];

			memset(f, 0, offsetof(flight, indexes));
			memset(&f->result, 0, sizeof(f->result));
			f->used = true;
			f->count = 0;
			f->life = w->life;
			f->sent_at = w->now;
			f->arrivals = 1;
			f->arrives_at = f->replies_at = PE_NEVER;
			if (i >= p->flight_count)
				p->flight_count = i + 1;
			return f;
		}
	complain(w, "too much is on the wire");
	return &p->flights[0];
}

/* One kind of trouble for a while, or fair weather. */
void
platform_change_weather(world *w)
{
	for (int v = 0; v < w->servers; v++)
	{
		weather *sky = &w->platform.weather[v];

		memset(sky, 0, sizeof(*sky));
		if (w->clear)
			continue;
		sky->timed_out = 20;
		sky->entry_trouble = 10;
		switch (roll(w, 14))
		{
			case 0:
				sky->lost = 400 + roll(w, 601);
				break;
			case 1:
				sky->timed_out = 400;
				break;
			case 2:
				sky->busy = 500;
				break;
			case 3:
				sky->rate = 300;
				break;
			case 4:
				sky->fault = 600;
				break;
			case 5:
				sky->miscount = 400;
				break;
			case 6:
				sky->garbage = 400;
				break;
			case 7:
				sky->token = 200;
				break;
			case 8:
				sky->configuration = 50;
				break;
			case 9:
				sky->too_big = 100;
				break;
			case 10:
				sky->entry_trouble = 200;
				break;
			default:
				break;
		}
	}
	for (int e = 0; e < w->enrichments; e++)
	{
		w->platform.wrong_schema[e] = !w->clear && chance(w, 30);
		w->oracle.enrichments[e].wrong_epochs += w->platform.wrong_schema[e];
	}
}

static int
pick(world *w, const int *from, int count)
{
	return from[roll(w, count)];
}

static int64_t
retry_after(world *w)
{
	switch (roll(w, 8))
	{
		case 0:
			return 0;
		case 1:
			return -5 * PE_SECOND;
		case 2:
			return INT64_C(1000000000) * PE_SECOND;
		case 3:
			return PE_SECOND / 100;
		default:
			return (1 + roll(w, 30)) * PE_SECOND;
	}
}

/* An answer about the whole request, none of which was taken in. False: it was let through. */
static bool
turned_away(world *w, flight *f)
{
	static const int overloads[] = {408, 425, 502, 503, 504, 599};
	static const int tokens[] = {401, 403};
	static const int configurations[] = {301, 302, 404, 405, 410, 501};
	const weather *sky = &w->platform.weather[f->server];
	pe_result *r = &f->result;
	bool bad = false, faulty = false;

	for (int i = 0; i < f->count; i++)
	{
		bad |= w->platform.records[f->enrichment][f->keys[i]].bad;
		faulty |= w->platform.records[f->enrichment][f->keys[i]].faulty;
	}
	if (chance(w, sky->lost))
		r->transport = PE_UNREACHABLE;
	else if (w->platform.sick[f->enrichment])
		r->http_status = chance(w, 500) ? 500 : 503;
	else if (chance(w, sky->configuration) && chance(w, 300))
		r->transport = PE_UNTRUSTED;
	else if (chance(w, sky->busy))
	{
		r->http_status = pick(w, overloads, 6);
		r->retry_after = chance(w, 300) ? retry_after(w) : 0;
	}
	else if (chance(w, sky->rate))
	{
		r->http_status = 429;
		r->retry_after = retry_after(w);
	}
	else if (chance(w, sky->token))
		r->http_status = pick(w, tokens, 2);
	else if (chance(w, sky->configuration))
		r->http_status = pick(w, configurations, 6);
	else if (chance(w, sky->too_big) && f->count > 1)
		r->http_status = 413;
	else if (chance(w, sky->fault) || faulty)
		r->http_status = 500;
	else if ((bad && (f->alone || chance(w, 300))) ||
	         (w->platform.wrong_schema[f->enrichment] && (f->alone || chance(w, 300))))
		r->http_status = chance(w, 500) ? 400 : 422;
	return r->transport != PE_OK || r->http_status != 0;
}

/* An entry for each message; what is taken in lands when the request arrives. */
static void
take_in(world *w, flight *f)
{
	static const int troubles[] = {503, 503, 500, 429, 401, 413, 404};
	const weather *sky = &w->platform.weather[f->server];

	f->result.http_status = f->alone ? 200 : 207;
	f->result.readable = true;
	f->result.single = f->alone;
	f->result.entry_count = f->count;
	for (int i = 0; i < f->count; i++)
	{
		const record *r = &w->platform.records[f->enrichment][f->keys[i]];

		f->entries[i] = (pe_result_entry){chance(w, 300) ? 202 : 0, NULL};
		if (r->bad || w->platform.wrong_schema[f->enrichment])
			f->entries[i].status = 400;
		else if (!f->alone && chance(w, sky->entry_trouble))
			f->entries[i].status = troubles[chance(w, 100) ? roll(w, 7) : roll(w, 4)];
		f->lands[i] = f->entries[i].status == 0 || f->entries[i].status == 202;
	}
}

/* The reply is lost, damaged, or of another length than the request; what landed has landed all the same. */
static void
damage_reply(world *w, flight *f)
{
	const weather *sky = &w->platform.weather[f->server];
	pe_result *r = &f->result;

	if (chance(w, sky->timed_out))
	{
		*r = (pe_result){.transport = PE_UNREACHABLE, .body_sent = true};
		f->replies_at = w->now + CLIENT_TIMEOUT;
		f->arrives_at = w->now + roll(w, (int) MAX_DELAY);
		if (chance(w, 500))
			f->arrivals = 0;
	}
	else if (chance(w, sky->garbage))
		r->readable = false;
	else if (chance(w, sky->miscount) && !f->alone && chance(w, 300))
		r->reordered = true;
	else if (chance(w, sky->miscount) && !f->alone)
		r->entry_count = f->count > 1 && chance(w, 700) ? f->count - 1 : f->count + 1;
}

void
platform_answer(world *w, flight *f)
{
	int64_t latency = 1000 + roll(w, 200000);

	memset(f->lands, 0, sizeof(f->lands));
	f->arrives_at = w->now + latency / 2;
	f->replies_at = w->now + (chance(w, 20) ? latency * 60 : latency);
	if (turned_away(w, f))
	{
		f->arrivals = 0;
		f->result.reason = "the request was turned away";
		return;
	}
	take_in(w, f);
	/* The network sends it twice. */
	if (!w->clear && chance(w, 10))
		f->arrivals = 2;
	damage_reply(w, f);
}

void
platform_token(world *w, int link)
{
	flight *f = new_flight(w);

	f->token = true;
	f->link = link;
	f->server = server_of(link);
	f->arrivals = 0;
	f->replies_at = w->now + 1000 + roll(w, 100000);
	for (int e = 0; e < w->enrichments; e++)
		if (w->oracle.enrichments[e].told.link == link && chance(w, 50))
			operator_comes(w, e, 50000);
}

static void
token_reply(world *w, const flight *f)
{
	const weather *sky = &w->platform.weather[f->server];
	pe_status status = PE_OK;

	if (chance(w, sky->token / 4))
		status = PE_UNAUTHORISED;
	else if (chance(w, sky->configuration / 4))
		status = PE_CONFIGURATION;
	else if (chance(w, sky->lost))
		status = PE_UNREACHABLE;
	/* That of an earlier session says nothing, see exchange.c. */
	if (f->sent_at < w->altered_at[f->link])
		status = PE_UNREACHABLE;
	oracle_token(w, f, status);
	/* A token is the one thing that takes a block of the link's enrichments away. */
	for (int e = 0; e < w->enrichments; e++)
		if (w->oracle.enrichments[e].told.link == f->link)
			w->oracle.enrichments[e].quiet_until = 0;
	pe_sender_token(w->sender, f->link, w->now, status, "no token");
}

static void
reply(world *w, flight *f)
{
	pe_response_summary summary;

	if (f->life != w->life)
		return;
	if (f->token)
	{
		token_reply(w, f);
		return;
	}
	f->result.entries = f->entries;
	/* A damaged reply has entries of its own. */
	if (f->result.entry_count > f->count)
		f->entries[f->count] = (pe_result_entry){0, NULL};
	oracle_replied(w, f);
	pe_sender_response(w->sender, f->slot, w->now, &f->result, &summary);
	/* Before anything has come of it. */
	if (chance(w, 5))
		operator_comes(w, f->enrichment, 1);
}

static void
arrive(world *w, flight *f)
{
	f->arrives_at = PE_NEVER;
	oracle_arrived(w, f);
	if (--f->arrivals > 0)
		f->arrives_at = w->now + roll(w, (int) (MAX_DELAY - 30 * PE_SECOND));
}

static int64_t
next_of(const flight *f)
{
	if (f->arrivals > 0 && f->arrives_at < f->replies_at)
		return f->arrives_at;
	return f->replies_at;
}

static int
earliest_flight(const world *w)
{
	int first = -1;

	for (int i = 0; i < w->platform.flight_count; i++)
	{
		const flight *f = &w->platform.flights[i];

		if (f->used && (first < 0 || next_of(f) < next_of(&w->platform.flights[first])))
			first = i;
	}
	return first;
}

int64_t
platform_next(const world *w)
{
	int first = earliest_flight(w);

	return first < 0 ? PE_NEVER : next_of(&w->platform.flights[first]);
}

bool
platform_step(world *w)
{
	int first = earliest_flight(w);
	flight *f = first < 0 ? NULL : &w->platform.flights[first];

	if (f == NULL || next_of(f) > w->now)
		return false;
	if (f->arrivals > 0 && f->arrives_at < f->replies_at)
		arrive(w, f);
	else
	{
		f->replies_at = PE_NEVER;
		reply(w, f);
	}
	if (f->arrivals == 0)
		f->arrives_at = PE_NEVER;
	f->used = f->arrives_at != PE_NEVER || f->replies_at != PE_NEVER;
	while (w->platform.flight_count > 0 && !w->platform.flights[w->platform.flight_count - 1].used)
		w->platform.flight_count--;
	return true;
}
