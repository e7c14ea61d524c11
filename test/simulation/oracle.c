/*
 * oracle.c
 *		What must hold, whatever happens: judged from what went over the wire, what was
 *		written to the tables, and what the sender was told. The table of outcomes is
 *		written down here a second time, on purpose.
 */
#include "world.h"

/* What a reply, or an entry of one, says. */
typedef enum verdict
{
	SAYS_ACCEPTED,
	SAYS_REFUSED,
	SAYS_FAULT,
	SAYS_TOO_BIG,
	SAYS_TOKEN,
	SAYS_CONFIGURATION,
	SAYS_OVERLOAD,
	SAYS_RATE,
	SAYS_NOTHING, /* it may have been taken in, or not */
	SAYS_NOT_SENT,
	SAYS_EACH /* an entry for each message */
} verdict;

static verdict
meaning_of(int status)
{
	switch (status)
	{
		case 0:
			return SAYS_ACCEPTED;
		case 401:
		case 403:
			return SAYS_TOKEN;
		case 404:
		case 405:
		case 410:
		case 501:
			return SAYS_CONFIGURATION;
		case 408:
		case 425:
			return SAYS_OVERLOAD;
		case 413:
			return SAYS_TOO_BIG;
		case 429:
			return SAYS_RATE;
		case 500:
			return SAYS_FAULT;
		default:
			return status < 300   ? SAYS_ACCEPTED
			       : status < 400 ? SAYS_CONFIGURATION
			       : status < 500 ? SAYS_REFUSED
			                      : SAYS_OVERLOAD;
	}
}

static verdict
meaning(const flight *f)
{
	const pe_result *r = &f->result;

	if (r->transport == PE_UNTRUSTED)
		return SAYS_CONFIGURATION;
	if (r->transport != PE_OK)
		return r->body_sent ? SAYS_NOTHING : SAYS_NOT_SENT;
	if (r->http_status >= 300)
		return meaning_of(r->http_status);
	if (!r->readable || r->reordered || r->entry_count != f->count)
		return SAYS_NOTHING;
	return SAYS_EACH;
}

/* ---- what the sender is told ------------------------------------------------------------ */

void
oracle_resumed(world *w, int e)
{
	enrichment_watch *watch = &w->oracle.enrichments[e];

	watch->quiet_until = 0;
	watch->resumed_at = w->now;
	memset(watch->evidence, 0, sizeof(watch->evidence));
}

/*
 * The sender has been told that requests go by other options from now on. An enrichment may still be about to
 * leave this link for the other one of the server.
 */
void
oracle_altered(world *w, int link)
{
	for (int e = 0; e < w->enrichments; e++)
		if (server_of(w->oracle.enrichments[e].told.link) == server_of(link))
		{
			w->oracle.enrichments[e].quiet_until = 0;
			w->oracle.enrichments[e].fresh_since = w->now;
		}
}

/* A block was written down. */
void
oracle_reported(world *w, const pe_action *action)
{
	if (action->block != PE_BLOCK_NONE && action->block != PE_BLOCK_IDENTITY &&
	    !w->oracle.enrichments[action->enrichment].evidence[action->block])
		complain(w, "enrichment %d is blocked by what was met before it was resumed", action->enrichment);
}

void
oracle_scanned(world *w, const pe_sender_enrichment_info *info)
{
	enrichment_watch *watch = &w->oracle.enrichments[info->id];

	/* A block that the tables say ends earlier ends earlier; a copy that is adopted starts afresh. */
	if (watch->known && !watch->told.identity_matches && info->identity_matches)
		watch->quiet_until = 0;
	if (info->stored_block != PE_BLOCK_NONE && info->stored_probe_at < watch->quiet_until)
		watch->quiet_until = info->stored_probe_at;
	if (watch->known && watch->told.resumes != info->resumes)
	{
		watch->quiet_until = 0;
		watch->fresh_since = w->now;
	}
	watch->told = *info;
	watch->known = true;
}

/* newest: what was queued for it now; NULL when nothing was. */
void
oracle_refreshed(world *w, int e, int k, int source, const score *newest)
{
	key_fate *key = &w->oracle.keys[e][k];

	key->source_value = source;
	if (newest == NULL)
		return;
	key->newest_version = newest->version;
	key->newest_value = newest->value;
}

/* ---- sending ---------------------------------------------------------------------------- */

static void
judge_permission(world *w, const flight *f)
{
	enrichment_watch *watch = &w->oracle.enrichments[f->enrichment];
	const pe_sender_enrichment_info *told = &watch->told;

	if (!watch->known)
		complain(w, "sent for enrichment %d, which is gone", f->enrichment);
	if (told->paused)
		complain(w, "sent for enrichment %d, which is paused", f->enrichment);
	if (told->hold_until > w->now)
		complain(w, "sent for enrichment %d, which is warming up", f->enrichment);
	if (!told->identity_matches)
		complain(w, "sent for enrichment %d, which another cluster has provisioned", f->enrichment);
	if (told->link != f->link)
		complain(w, "sent for enrichment %d by a link it has left", f->enrichment);
	if (watch->quiet_until > w->now)
		complain(w, "sent for enrichment %d, which is blocked for another %lld s", f->enrichment,
		         (long long) ((watch->quiet_until - w->now) / PE_SECOND));
	if (watch->in_flight[f->shard]++ > 0)
		complain(w, "two requests in flight for shard %d of enrichment %d", f->shard, f->enrichment);
}

static double
filled(double has, double rate, double least, int64_t since)
{
	double most = rate > least ? rate : least;
	double now = has + rate * (double) since / (double) PE_SECOND;

	return now < most ? now : most;
}

static void
judge_pace(world *w, const flight *f)
{
	server_watch *watch = &w->oracle.servers[f->server];
	int64_t since = w->now - watch->filled_at;
	double messages = watch->limits.messages_per_second > 500 ? watch->limits.messages_per_second : 500;

	watch->requests = filled(watch->requests, watch->limits.requests_per_second, 1, since);
	watch->messages = filled(watch->messages, watch->limits.messages_per_second, 500, since);
	watch->filled_at = w->now;
	if (watch->requests < 0.999)
		complain(w, "more requests than server %d may be sent", f->server);
	if (watch->messages < (f->count < messages ? f->count : messages) - 0.001)
		complain(w, "more messages than server %d may be sent", f->server);
	watch->requests -= 1;
	watch->messages -= f->count;
	if (watch->paused_until > w->now)
		complain(w, "sent to server %d, which asked for another %lld s of pause", f->server,
		         (long long) ((watch->paused_until - w->now) / PE_SECOND));
	if (watch->failures >= 5 && watch->in_flight > 0)
		complain(w, "%d failures in a row, and more than one probe of server %d", watch->failures, f->server);
	if (watch->in_flight++ >= watch->limits.max_in_flight)
		complain(w, "more requests in flight to server %d than allowed", f->server);
}

/* Two values of one profile keep their distance, unless the clock jumped or a crash took the memory of it. */
static bool
may_follow(const world *w, const key_fate *key, int64_t version)
{
	return key->sent_version == 0 || key->sent_version == version || w->now - key->sent_at >= w->gap ||
	       w->jumps || key->unrecorded;
}

void
oracle_sent(world *w, const flight *f)
{
	judge_permission(w, f);
	judge_pace(w, f);
	for (int i = 0; i < f->count; i++)
	{
		key_fate *key = &w->oracle.keys[f->enrichment][f->keys[i]];

		if (key->in_flight)
			complain(w, "two requests in flight with one profile");
		if (f->versions[i] < key->sent_version)
			complain(w, "an older value was sent after a newer one");
		if (f->versions[i] < key->newest_version)
			complain(w, "a superseded value was sent");
		if (f->values[i] != key->newest_value)
			complain(w, "another value was sent than the newest");
		if (key->said_accepted == f->versions[i] && (key->settled || key->said_in_life == w->life))
			complain(w, "sent again what the platform had accepted");
		if (!may_follow(w, key, f->versions[i]))
			complain(w, "sent %lld s after another value of the profile, not %lld",
			         (long long) ((w->now - key->sent_at) / PE_SECOND), (long long) (w->gap / PE_SECOND));
		if (key->sent_version != f->versions[i])
			key->refusals = key->too_big = key->faults = 0;
		key->sent_version = f->versions[i];
		key->sent_at = w->now;
		key->in_flight = true;
		key->unrecorded = false;
	}
}

/* ---- replies ---------------------------------------------------------------------------- */

static void
note_health(world *w, const flight *f, verdict said)
{
	server_watch *watch = &w->oracle.servers[f->server];
	int64_t asked = f->result.retry_after;
	bool miscounted = said == SAYS_NOTHING && f->result.transport == PE_OK && f->result.readable;

	watch->in_flight--;
	if (said == SAYS_NOT_SENT || said == SAYS_OVERLOAD || said == SAYS_FAULT ||
	    (said == SAYS_NOTHING && !miscounted))
		watch->failures++;
	else if (said != SAYS_RATE)
		watch->failures = 0;
	if (said != SAYS_RATE && !(said == SAYS_OVERLOAD && asked > 0))
		return;
	if (asked > 3600 * PE_SECOND)
		asked = 3600 * PE_SECOND;
	if (asked < PE_SECOND)
		asked = PE_SECOND;
	if (w->now + asked > watch->paused_until)
		watch->paused_until = w->now + asked;
}

static void
note_key(world *w, const flight *f, int i, verdict said, bool about_it_alone)
{
	key_fate *key = &w->oracle.keys[f->enrichment][f->keys[i]];

	if (said == SAYS_ACCEPTED)
	{
		key->said_accepted = f->versions[i];
		key->said_in_life = w->life;
		key->settled = false;
	}
	else if (said == SAYS_FAULT)
		key->faults++;
	else if (said == SAYS_REFUSED && about_it_alone)
		key->refusals++;
	else if (said == SAYS_TOO_BIG && about_it_alone)
		key->too_big++;
}

/* What an answer says to a request of that moment may be a reason to block. */
static void
note_evidence(enrichment_watch *watch, int64_t sent_at, verdict said)
{
	if (sent_at < watch->resumed_at)
		return;
	watch->evidence[PE_BLOCK_CONFIGURATION] |= said == SAYS_CONFIGURATION;
	watch->evidence[PE_BLOCK_AUTHORISATION] |= said == SAYS_TOKEN;
	watch->evidence[PE_BLOCK_SCHEMA] |= said == SAYS_REFUSED || said == SAYS_FAULT;
}

void
oracle_token(world *w, const flight *f, pe_status status)
{
	for (int e = 0; e < w->enrichments; e++)
		note_evidence(&w->oracle.enrichments[e], f->sent_at,
		              status == PE_UNAUTHORISED    ? SAYS_TOKEN
		              : status == PE_CONFIGURATION ? SAYS_CONFIGURATION
		                                           : SAYS_NOTHING);
}

void
oracle_replied(world *w, const flight *f)
{
	enrichment_watch *watch = &w->oracle.enrichments[f->enrichment];
	verdict said = meaning(f);
	bool blocks = said == SAYS_CONFIGURATION;

	watch->in_flight[f->shard]--;
	w->oracle.unknowns += said == SAYS_NOTHING;
	note_health(w, f, said);
	for (int i = 0; i < f->count; i++)
	{
		verdict own = said == SAYS_EACH ? meaning_of(f->entries[i].status) : said;

		w->oracle.keys[f->enrichment][f->keys[i]].in_flight = false;
		note_key(w, f, i, own, said == SAYS_EACH || f->count == 1);
		note_evidence(watch, f->sent_at, own);
		blocks |= own == SAYS_CONFIGURATION;
	}
	if (blocks && watch->known && f->sent_at >= watch->fresh_since)
		watch->quiet_until = w->now + PE_PROBE_PERIOD;
}

/* ---- arrivals --------------------------------------------------------------------------- */

/* The sender may not know that this request arrived, or when. */
static bool
is_unknown(const world *w, const flight *f)
{
	return f->life != w->life || f->replies_at == PE_NEVER || meaning(f) == SAYS_NOTHING;
}

void
oracle_arrived(world *w, const flight *f)
{
	for (int i = 0; i < f->count; i++)
	{
		record *r = &w->platform.records[f->enrichment][f->keys[i]];
		key_fate *key = &w->oracle.keys[f->enrichment][f->keys[i]];

		if (!f->lands[i])
			continue;
		w->oracle.arrivals++;
		w->oracle.duplicates += r->version == f->versions[i];
		key->uncertain = r->version > f->versions[i] || (key->uncertain && f->versions[i] <= r->version);
		if (r->version > f->versions[i])
		{
			w->oracle.backwards++;
			if (!is_unknown(w, f))
				complain(w, "a profile's value went back on the platform, and not after an unknown");
			if (w->gap > MAX_DELAY && !w->jumps && w->crashes == 0)
				complain(w, "a profile's value went back on the platform in spite of the gap");
		}
		r->version = f->versions[i];
		r->value = f->values[i];
		r->arrived_at = w->now;
	}
}

/* ---- the tables ------------------------------------------------------------------------- */

static void
judge_death(world *w, const pe_slot *slot, int k)
{
	const key_fate *key = &w->oracle.keys[slot->enrichment][k];
	const record *r = &w->platform.records[slot->enrichment][k];
	enrichment_watch *watch = &w->oracle.enrichments[slot->enrichment];

	if (key->refusals == 0 && key->too_big == 0 && key->faults < 3 && !r->huge)
		complain(w, "dead without having been refused");
	watch->deaths++;
	watch->wrongly_dead += !r->bad && !r->huge && key->refusals > 0;
}

void
oracle_committed(world *w, const pe_slot *slot, const loaded *l)
{
	for (int i = 0; i < slot->key_count; i++)
	{
		key_fate *key = &w->oracle.keys[slot->enrichment][l->keys[i]];

		switch (slot->keys[i].state)
		{
			case PE_KEY_ACCEPTED:
				if (key->said_accepted != l->versions[i])
					complain(w, "counted as accepted what the platform has not said it accepted");
				key->settled = true;
				break;
			case PE_KEY_SUPERSEDED:
				if (key->newest_version <= l->versions[i])
					complain(w, "passed over as superseded what has no newer value");
				break;
			case PE_KEY_DEAD:
				if (!l->written)
					judge_death(w, slot, l->keys[i]);
				break;
			default:
				break;
		}
	}
}

/* What was in flight or not yet written is forgotten; the buckets of a new life are empty. */
void
oracle_crashed(world *w)
{
	for (int v = 0; v < w->servers; v++)
	{
		server_watch *watch = &w->oracle.servers[v];

		*watch = (server_watch){.limits = watch->limits, .filled_at = w->now};
	}
	for (int e = 0; e < w->enrichments; e++)
	{
		enrichment_watch *watch = &w->oracle.enrichments[e];
		const target *t = &w->db.targets[e];

		memset(watch->in_flight, 0, sizeof(watch->in_flight));
		watch->known = false;
		/* The next sender has to notice it anew. */
		watch->wrong_epochs += w->platform.wrong_schema[e];
		if (t->blocked == PE_BLOCK_NONE)
			watch->quiet_until = 0;
		for (int k = 0; k < w->keys; k++)
		{
			key_fate *key = &w->oracle.keys[e][k];
			const failed *sent = &w->db.sent[e][k];

			key->in_flight = false;
			if (!sent->present || sent->version != key->sent_version ||
			    sent->next_at < key->sent_at + w->wall_offset)
				key->unrecorded = true;
		}
	}
}

/* ---- the end ---------------------------------------------------------------------------- */

/* Of a record that spoils what it is in, or all that is sick, nobody knows when it is given up. */
static bool
is_spoilt(const world *w, int e, int k)
{
	const record *r = &w->platform.records[e][k];

	return r->bad || r->faulty || r->huge || w->platform.sick[e];
}

static long
pending_of(const world *w, int e, bool spoilt_too)
{
	long pending = 0;

	for (int s = 0; s < w->shards; s++)
		for (int i = 0; i < w->db.queues[e][s].count; i++)
		{
			const chunk *c = &w->db.queues[e][s].chunks[i];

			for (int j = 0; j < c->count; j++)
				pending += spoilt_too || !is_spoilt(w, e, c->keys[j]);
		}
	for (int k = 0; k < w->keys; k++)
		pending += w->db.retry[e][k].present && (spoilt_too || !is_spoilt(w, e, k));
	return pending;
}

bool
oracle_is_quiet(const world *w)
{
	for (int i = 0; i < w->platform.flight_count; i++)
		if (w->platform.flights[i].used)
			return false;
	for (int e = 0; e < w->enrichments; e++)
		if (w->db.targets[e].exists && (w->db.refreshes[e].open || pending_of(w, e, false) > 0))
			return false;
	return true;
}

static void
judge_key(world *w, int e, int k)
{
	const key_fate *key = &w->oracle.keys[e][k];
	const record *r = &w->platform.records[e][k];
	const failed *dead = &w->db.dead[e][k];
	bool delivered = r->version == key->newest_version && r->value == key->newest_value;

	if (key->newest_value != key->source_value)
		complain(w, "the source's last change of key %d of enrichment %d was not queued", k, e);
	if (key->newest_version == 0 || is_spoilt(w, e, k) || key->uncertain)
		return;
	if (!delivered && !(dead->present && dead->version == key->newest_version))
		complain(w, "a value was lost: version %lld of key %d of enrichment %d",
		         (long long) key->newest_version, k, e);
}

void
oracle_judge(world *w)
{
	for (int e = 0; e < w->enrichments; e++)
	{
		const target *t = &w->db.targets[e];
		const enrichment_watch *watch = &w->oracle.enrichments[e];
		long pending = pending_of(w, e, true);

		if (!t->exists)
			continue;
		for (int k = 0; k < w->keys; k++)
			judge_key(w, e, k);
		if (t->enqueued != t->accepted + t->superseded + t->dead + pending)
			complain(w, "%ld queued are not %ld accepted, %ld superseded, %ld dead and %ld pending",
			         t->enqueued, t->accepted, t->superseded, t->dead, pending);
		/* Noticing that a schema has become wrong costs a sample each time. */
		if (watch->wrongly_dead > 24 * watch->wrong_epochs)
			complain(w, "%d good records are dead; the schema was wrong %d times", watch->wrongly_dead,
			         watch->wrong_epochs);
	}
	if (w->memory.live != 0 && w->sender == NULL)
		complain(w, "the sender leaks");
}
