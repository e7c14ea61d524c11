/*
 * database.c
 *		A model of the queue tables and of what src/pg does to them: refresh*.c,
 *		queue_control.c, delivery.c, delivery_load.c, acknowledge.c.
 *
 * What is simpler here than there:
 *  - a value is a number, its own hash; a profile's key is its place, its shard that modulo;
 *  - a transaction is one step, but for a refresh, which looks, writes and commits at three
 *    times, as others see it; rows that it has written are locked in between;
 *  - there is one worker at a time, so the epoch that fences older ones is not there;
 *  - chunks are of fewer keys, and a shard's due retries fit into one load;
 *  - sent remembers for each key when it last went out, the table does so by request, and
 *    a request's room is that of a few chunks;
 *  - all is streamed, and what refresh holds back (hysteresis, gates, consent) has no part in it;
 *  - nothing is written to the log.
 */
#include "world.h"

static queue *
queue_of(world *w, int e, int shard)
{
	return &w->db.queues[e][shard];
}

static void
insert_chunk(world *w, int e, int shard, const chunk *c)
{
	queue *q = queue_of(w, e, shard);
	int at = q->count;

	if (q->count == q->room)
	{
		q->room = q->room > 0 ? 2 * q->room : 8;
		q->chunks = realloc(q->chunks, (size_t) q->room * sizeof(chunk));
	}
	while (at > 0 && q->chunks[at - 1].id > c->id)
		at--;
	memmove(&q->chunks[at + 1], &q->chunks[at], (size_t) (q->count - at) * sizeof(chunk));
	q->chunks[at] = *c;
	q->count++;
	w->db.targets[e].enqueued += c->count;
}

static int
find_chunk(const queue *q, int64_t id)
{
	for (int i = 0; i < q->count; i++)
		if (q->chunks[i].id == id)
			return i;
	return -1;
}

static void
delete_chunk(queue *q, int at)
{
	memmove(&q->chunks[at], &q->chunks[at + 1], (size_t) (q->count - at - 1) * sizeof(chunk));
	q->count--;
}

void
database_free(world *w)
{
	for (int e = 0; e < MAX_ENRICHMENTS; e++)
		for (int s = 0; s < PE_SHARDS; s++)
			free(w->db.queues[e][s].chunks);
}

/* ---- refresh ---------------------------------------------------------------------------- */

/* One of a few values, so that one often comes back before another was sent; or the profile leaves. */
static void
change_source(world *w, int e, int k)
{
	int value = roll(w, 4);

	if (value < 3)
		w->db.source[e][k] = value;
	else if (w->db.targets[e].retract_absent)
		w->db.source[e][k] = RETRACTED;
}

/* The source and the newest values are looked at; the enrichment's row lock keeps other refreshes away. */
void
refresh_begin(world *w, int e, int percent, bool retract_all)
{
	refresh *r = &w->db.refreshes[e];

	if (r->open || !w->db.targets[e].exists)
		return;
	memset(r, 0, sizeof(*r));
	r->open = true;
	r->rolls_back = chance(w, 80);
	r->looked_at = wall(w);
	r->next_at = w->now + roll(w, 3000000);
	for (int k = 0; k < w->keys; k++)
	{
		const score *s = &w->db.scores[e][k];
		int old = s->present ? s->value : RETRACTED;

		if (roll(w, 100) < percent)
			change_source(w, e, k);
		r->value[k] = retract_all ? RETRACTED : w->db.source[e][k];
		r->changed[k] = r->value[k] != old;
	}
}

/* A value that goes out later than this after it was due is overdue. */
static int64_t
slack(const world *w)
{
	return w->gap / 16;
}

static int64_t
due_at(const score *s)
{
	return s->changed_at > s->not_before ? s->changed_at : s->not_before;
}

/* When the next value may go out: the gap and the slack after the previous one was due. */
static int64_t
earliest_resend(const world *w, const score *s, int64_t now)
{
	int64_t due;

	if (!s->present || w->gap == 0)
		return 0;
	if (s->not_before > now)
		return s->not_before;
	due = due_at(s) + w->gap + slack(w);
	return due > now ? due : 0;
}

/* The run gets its number and the chunks theirs, the rows are locked; nobody sees any of it yet. */
static void
refresh_write(world *w, int e)
{
	refresh *r = &w->db.refreshes[e];

	r->written = true;
	r->version = ++w->db.last_run;
	r->first_chunk = w->db.last_chunk + 1;
	w->db.last_chunk += w->keys;
	for (int k = 0; k < w->keys; k++)
		r->took_dead[k] = r->changed[k] && w->db.dead[e][k].present;
	r->next_at = w->now + (chance(w, 100) ? roll(w, 40) * PE_SECOND : roll(w, 2000000));
}

/* Chunks of one shard and one time to wait for. */
static void
refresh_queue(world *w, int e, int shard, bool *left)
{
	refresh *r = &w->db.refreshes[e];

	for (int k = shard; k < w->keys; k += w->shards)
	{
		chunk c = {.id = r->first_chunk, .version = r->version};

		if (!left[k])
			continue;
		c.not_before = w->db.scores[e][k].not_before;
		for (int i = k; i < w->keys && c.count < w->chunk; i += w->shards)
			if (left[i] && w->db.scores[e][i].not_before == c.not_before)
			{
				left[i] = false;
				c.keys[c.count++] = i;
			}
		r->first_chunk++;
		insert_chunk(w, e, shard, &c);
	}
}

static void
refresh_commit(world *w, int e)
{
	refresh *r = &w->db.refreshes[e];
	bool left[MAX_KEYS];

	r->open = false;
	memcpy(left, r->changed, sizeof(left));
	for (int k = 0; k < w->keys; k++)
	{
		score *s = &w->db.scores[e][k];

		if (r->changed[k])
		{
			if (r->took_dead[k])
				w->db.dead[e][k].present = false;
			s->not_before = earliest_resend(w, s, r->looked_at);
			s->present = true;
			s->version = r->version;
			s->value = r->value[k];
			s->changed_at = r->looked_at;
		}
		oracle_refreshed(w, e, k, r->value[k], r->changed[k] ? s : NULL);
	}
	for (int shard = 0; shard < w->shards; shard++)
		refresh_queue(w, e, shard, left);
	pe_sender_wake(w->sender);
}

void
refresh_go_on(world *w, int e)
{
	refresh *r = &w->db.refreshes[e];

	if (!r->written)
		refresh_write(w, e);
	else if (r->rolls_back)
		r->open = false;
	else
		refresh_commit(w, e);
}

static bool
is_locked(const world *w, int e, int k)
{
	const refresh *r = &w->db.refreshes[e];

	return r->open && r->written && r->changed[k];
}

/* ---- the operator ----------------------------------------------------------------------- */

void
database_resume(world *w, int e)
{
	target *t = &w->db.targets[e];

	t->paused = false;
	t->blocked = PE_BLOCK_NONE;
	t->probe_at = PE_NEVER;
	t->resumes++;
	oracle_resumed(w, e);
	for (int k = 0; k < w->keys; k++)
		if (w->db.retry[e][k].next_at > wall(w))
			w->db.retry[e][k].next_at = wall(w);
	pe_sender_wake(w->sender);
}

/* Waits for the rows of a refresh in progress, which here means that it is not begun. */
void
database_redrive(world *w, int e)
{
	for (int k = 0; k < w->keys; k++)
	{
		failed *d = &w->db.dead[e][k];
		const score *s = &w->db.scores[e][k];
		chunk c = {.id = w->db.last_chunk + 1, .version = d->version, .count = 1, .keys = {k}};

		if (!d->present || is_locked(w, e, k))
			continue;
		d->present = false;
		if (!s->present || s->version != d->version)
			continue;
		w->db.last_chunk++;
		insert_chunk(w, e, shard_of(w, k), &c);
	}
	pe_sender_wake(w->sender);
}

/* The enrichment goes with all its rows. */
void
database_drop(world *w, int e)
{
	w->db.targets[e].exists = false;
	w->db.refreshes[e].open = false;
	for (int s = 0; s < PE_SHARDS; s++)
		w->db.queues[e][s].count = 0;
	memset(w->db.scores[e], 0, sizeof(w->db.scores[e]));
	memset(w->db.retry[e], 0, sizeof(w->db.retry[e]));
	memset(w->db.dead[e], 0, sizeof(w->db.dead[e]));
	memset(w->db.sent[e], 0, sizeof(w->db.sent[e]));
	memset(w->db.overdue_at[e], 0, sizeof(w->db.overdue_at[e]));
	pe_sender_wake(w->sender);
}

/* ---- scan, load, build ------------------------------------------------------------------ */

static int64_t
to_sender(const world *w, int64_t wall_time)
{
	return wall_time == PE_NEVER ? PE_NEVER : w->now + (wall_time - wall(w));
}

static void
scan_target(world *w, int e, int64_t *next_scan)
{
	const target *t = &w->db.targets[e];
	pe_sender_enrichment_info info = {
	    .id = e,
	    .link = t->link,
	    .paused = t->paused,
	    .hold_until = t->ready_at > wall(w) ? to_sender(w, t->ready_at) : 0,
	    .identity_matches = t->identity_matches,
	    .stored_block = t->blocked,
	    .stored_reason = "",
	    .stored_probe_at = to_sender(w, t->probe_at),
	    .resumes = t->resumes,
	};

	if (pe_sender_enrichment(w->sender, &info, w->now) != PE_OK)
		complain(w, "enrichment %d was not taken", e);
	oracle_scanned(w, &info);
	for (int s = 0; s < w->shards; s++)
	{
		queue *q = queue_of(w, e, s);
		bool due = false;

		q->from_start = true;
		for (int i = 0; i < q->count && !due; i++)
			due = q->chunks[i].not_before <= wall(w);
		if (due)
			pe_sender_has_work(w->sender, e, s);
	}
	for (int k = 0; k < w->keys; k++)
	{
		const failed *r = &w->db.retry[e][k];

		if (r->present && r->next_at <= wall(w))
			pe_sender_has_work(w->sender, e, shard_of(w, k));
		else if (r->present && to_sender(w, r->next_at) < *next_scan)
			*next_scan = to_sender(w, r->next_at);
	}
}

void
database_scan(world *w)
{
	int64_t next_scan = w->now + 10 * PE_SECOND;

	if (chance(w, w->trouble / 4))
	{
		pe_sender_scanned(w->sender, false, w->now + PE_SECOND);
		return;
	}
	pe_sender_scan_begin(w->sender);
	for (int v = 0; v < w->servers; v++)
		pe_sender_server(w->sender, v, &w->oracle.servers[v].limits, w->now);
	for (int l = 0; l < 2 * w->servers; l++)
	{
		pe_sender_link(w->sender, l, server_of(l));
		if (w->altered[l])
		{
			pe_sender_link_changed(w->sender, l, w->now);
			oracle_altered(w, l);
			w->altered_at[l] = w->now;
		}
		w->altered[l] = false;
	}
	for (int e = 0; e < w->enrichments; e++)
		if (w->db.targets[e].exists)
			scan_target(w, e, &next_scan);
		else
			w->oracle.enrichments[e].known = false;
	if (next_scan < w->now + PE_SECOND / 10)
		next_scan = w->now + PE_SECOND / 10;
	pe_sender_scanned(w->sender, true, next_scan);
}

/*
 * The newest value must wait when another one of its profile went out less than the gap ago: it
 * may have, when anything of the shard was overdue; or since this one was due, which has taken the
 * place of the one before it.
 */
static int64_t
wait_of(const world *w, int e, int k, int64_t version, int64_t waited)
{
	const failed *sent = &w->db.sent[e][k];
	bool overdue = w->db.overdue_at[e][shard_of(w, k)] + w->gap > wall(w);

	if (w->db.scores[e][k].version != version || (!overdue && (waited == 0 || sent->next_at < waited)))
		return 0;
	if (!sent->present || sent->version == version || sent->next_at + w->gap <= wall(w))
		return 0;
	return sent->next_at + w->gap - wall(w);
}

static bool
has_key(const int *keys, int count, int k)
{
	for (int i = 0; i < count; i++)
		if (keys[i] == k)
			return true;
	return false;
}

/* Together with those before it, unless there is no room or one of its profiles is there. */
static bool
add_chunk(const world *w, loaded *l, const chunk *c)
{
	if (l->chunk_count == MAX_MERGED || (l->count > 0 && l->count + c->count > 2 * w->chunk))
		return false;
	for (int i = 0; i < c->count; i++)
		if (has_key(l->keys, l->count, c->keys[i]))
			return false;
	l->chunks[l->chunk_count].id = c->id;
	l->chunks[l->chunk_count].first = l->count;
	l->chunks[l->chunk_count++].count = c->count;
	if (c->not_before != 0 && (l->waited == 0 || c->not_before < l->waited))
		l->waited = c->not_before;
	for (int i = 0; i < c->count; i++)
	{
		l->keys[l->count] = c->keys[i];
		l->versions[l->count++] = c->version;
	}
	return true;
}

/* The first that is due after the place, and those that go with it. */
static void
find_chunks(const world *w, const queue *q, int64_t after, loaded *l)
{
	for (int i = 0; i < q->count; i++)
	{
		const chunk *c = &q->chunks[i];

		if (c->id <= after || c->not_before > wall(w))
			continue;
		if (!add_chunk(w, l, c))
			return;
	}
}

static bool
load_chunks(world *w, const pe_slot *slot, loaded *l, pe_key_past *past)
{
	queue *q = queue_of(w, slot->enrichment, slot->shard);

	find_chunks(w, q, q->from_start ? 0 : q->after, l);
	if (l->count == 0)
		find_chunks(w, q, 0, l);
	q->from_start = false;
	for (int i = 0; i < l->count; i++)
		past[i] = (pe_key_past){.wait = wait_of(w, slot->enrichment, l->keys[i], l->versions[i], l->waited)};
	return l->count > 0;
}

static bool
load_retries(world *w, const pe_slot *slot, loaded *l, pe_key_past *past)
{
	for (int k = slot->shard; k < w->keys; k += w->shards)
	{
		const failed *r = &w->db.retry[slot->enrichment][k];

		if (!r->present || r->next_at > wall(w))
			continue;
		l->keys[l->count] = k;
		l->versions[l->count] = r->version;
		past[l->count++] = r->past;
	}
	return l->count > 0;
}

void
database_load(world *w, pe_slot *slot)
{
	loaded *l = &w->db.loads[slot->enrichment][slot->shard];
	pe_key_past past[PE_CHUNK_KEYS];
	bool found;

	if (chance(w, w->trouble / 4))
	{
		pe_sender_load_failed(w->sender, slot, w->now);
		return;
	}
	memset(l, 0, sizeof(*l));
	if (slot->prefer_retry)
		found = load_retries(w, slot, l, past) || load_chunks(w, slot, l, past);
	else
		found = load_chunks(w, slot, l, past) || load_retries(w, slot, l, past);
	if (pe_sender_loaded(w->sender, slot, w->now, l->chunk_count > 0 ? PE_WORK_CHUNK : PE_WORK_RETRY,
	                     found ? l->count : 0, past) != PE_OK)
		complain(w, "a load was not taken");
}

/* The values of this moment; what has a newer one by now is not sent. */
void
database_build(world *w, const pe_action *action)
{
	pe_slot *slot = action->slot;
	loaded *l = &w->db.loads[slot->enrichment][slot->shard];
	int superseded[MAX_KEYS], too_big[MAX_KEYS];
	int room = (int) (action->max_bytes / 2000) < 1 ? 1 : (int) (action->max_bytes / 2000);
	flight *f;
	pe_built built = {.superseded = superseded, .too_big = too_big};

	if (chance(w, w->trouble / 4))
	{
		pe_sender_build_failed(w->sender, slot, w->now, chance(w, 300));
		return;
	}
	f = new_flight(w);
	f->slot = slot;
	f->link = slot->link;
	f->server = server_of(slot->link);
	f->enrichment = slot->enrichment;
	f->shard = slot->shard;
	f->alone = action->alone;
	for (int i = 0; i < action->key_count; i++)
	{
		int index = action->keys[i];
		int k = l->keys[index];
		const score *s = &w->db.scores[slot->enrichment][k];

		if (!s->present || s->version > l->versions[index])
			superseded[built.superseded_count++] = index;
		else if (w->platform.records[slot->enrichment][k].huge)
			too_big[built.too_big_count++] = index;
		else if (f->count < room)
		{
			f->indexes[f->count] = index;
			f->keys[f->count] = k;
			f->versions[f->count] = l->versions[index];
			f->values[f->count++] = s->value;
			l->overdue |= wall(w) - due_at(s) > slack(w);
		}
	}
	built.sent = f->indexes;
	built.sent_count = f->count;
	built.bytes = (size_t) f->count * 2000;
	pe_sender_built(w->sender, slot, w->now, &built);
	f->used = f->count > 0;
	if (f->count > 0)
	{
		w->requests++;
		oracle_sent(w, f);
		platform_answer(w, f);
	}
}

/* ---- acknowledge ------------------------------------------------------------------------ */

/* What is known of a key's values up to this version is settled. What is older was never accepted itself. */
static void
forget_failures(world *w, int e, int k, int64_t version, bool dead_too)
{
	failed *r = &w->db.retry[e][k];
	failed *d = &w->db.dead[e][k];

	if (r->present && r->version <= version)
	{
		w->db.targets[e].superseded += r->version < version;
		r->present = false;
	}
	if (dead_too && d->present && d->version <= version && !is_locked(w, e, k))
		d->present = false;
}

static void
accept_key(world *w, int e, int k, int64_t version)
{
	score *s = &w->db.scores[e][k];

	forget_failures(w, e, k, version, true);
	w->db.acknowledged[e][k] = s->value;
	if (s->present && s->value == RETRACTED && s->version == version && !is_locked(w, e, k) &&
	    earliest_resend(w, s, wall(w)) == 0)
		s->present = false;
}

static void
retry_key(world *w, int e, int k, int64_t version, const pe_key *key)
{
	failed *r = &w->db.retry[e][k];

	if (r->present && r->version > version)
		return;
	w->db.targets[e].superseded += r->present && r->version < version;
	*r = (failed){true, version, wall(w) + key->delay, {.attempts = key->attempts, .outcome = key->outcome}};
}

static void
settle_key(world *w, const pe_slot *slot, const loaded *l, int i)
{
	int e = slot->enrichment;
	int k = l->keys[i];
	int64_t version = l->versions[i];
	const pe_key *key = &slot->keys[i];

	if (key->sent_at > 0)
		w->db.sent[e][k] = (failed){true, version, key->sent_at + w->wall_offset, {0}};
	if (key->sent_at > 0 && l->overdue && w->db.overdue_at[e][slot->shard] < w->db.sent[e][k].next_at)
		w->db.overdue_at[e][slot->shard] = w->db.sent[e][k].next_at;
	switch (key->state)
	{
		case PE_KEY_ACCEPTED:
			accept_key(w, e, k, version);
			break;
		case PE_KEY_SUPERSEDED:
			if (l->chunk_count == 0)
				forget_failures(w, e, k, version, false);
			break;
		case PE_KEY_RETRY:
			retry_key(w, e, k, version, key);
			break;
		case PE_KEY_DEAD:
			forget_failures(w, e, k, version, false);
			if (!w->db.dead[e][k].present || w->db.dead[e][k].version <= version)
				w->db.dead[e][k] = (failed){true, version, 0, {0}};
			break;
		case PE_KEY_LATER:
		case PE_KEY_KEPT:
			break;
		case PE_KEY_PENDING:
			complain(w, "key %d of enrichment %d was committed undecided", k, e);
			break;
	}
}

/* A chunk's keys of one state, as a chunk like it. */
static chunk
part_of(const pe_slot *slot, const loaded *l, int number, const chunk *from, pe_key_state state)
{
	int first = l->chunks[number].first;
	chunk part = *from;

	part.count = 0;
	for (int i = first; i < first + l->chunks[number].count; i++)
		if (slot->keys[i].state == state && has_key(from->keys, from->count, l->keys[i]))
			part.keys[part.count++] = l->keys[i];
	return part;
}

static void
release_chunk(world *w, const pe_slot *slot, const loaded *l, int number)
{
	queue *q = queue_of(w, slot->enrichment, slot->shard);
	int first = l->chunks[number].first;
	int at = find_chunk(q, l->chunks[number].id);
	chunk kept, later;

	if (at < 0)
		return;
	kept = part_of(slot, l, number, &q->chunks[at], PE_KEY_KEPT);
	later = part_of(slot, l, number, &q->chunks[at], PE_KEY_LATER);
	if (kept.count > 0)
		q->chunks[at] = kept;
	else
		delete_chunk(q, at);
	if (later.count > 0)
	{
		later.id = ++w->db.last_chunk;
		for (int i = first; i < first + l->chunks[number].count; i++)
			if (slot->keys[i].state == PE_KEY_LATER && wall(w) + slot->keys[i].delay > later.not_before)
				later.not_before = wall(w) + slot->keys[i].delay;
		insert_chunk(w, slot->enrichment, slot->shard, &later);
		w->db.targets[slot->enrichment].enqueued -= later.count;
	}
}

/* A dead letter that a refresh is about to delete cannot be written until that has ended. */
static bool
is_contended(world *w, const pe_slot *slot, const loaded *l)
{
	for (int i = 0; i < slot->key_count; i++)
		if (slot->keys[i].state == PE_KEY_DEAD && is_locked(w, slot->enrichment, l->keys[i]) &&
		    w->db.dead[slot->enrichment][l->keys[i]].present)
			return true;
	return chance(w, w->trouble / 4);
}

/* Counters are added to only once: in the tables a commit that took effect ends the worker if it fails. */
static void
acknowledge(world *w, const pe_slot *slot, loaded *l)
{
	target *t = &w->db.targets[slot->enrichment];

	oracle_committed(w, slot, l);
	for (int i = 0; i < slot->key_count; i++)
	{
		if (!l->written)
		{
			t->accepted += slot->keys[i].state == PE_KEY_ACCEPTED;
			t->superseded += slot->keys[i].state == PE_KEY_SUPERSEDED;
			t->dead += slot->keys[i].state == PE_KEY_DEAD;
		}
		settle_key(w, slot, l, i);
	}
	for (int i = 0; i < l->chunk_count; i++)
		release_chunk(w, slot, l, i);
	l->written = true;
}

static loaded *
load_of(world *w, const pe_slot *slot)
{
	return &w->db.loads[slot->enrichment][slot->shard];
}

/* One transaction; it may take effect and yet be reported as failed. */
static pe_written
write_slots(world *w, pe_slot **slots, int count)
{
	bool fails = chance(w, w->trouble);
	bool takes_effect = !fails || chance(w, 300);

	for (int i = 0; i < count; i++)
		if (is_contended(w, slots[i], load_of(w, slots[i])))
			return PE_WRITE_CONTENDED;
	for (int i = 0; i < count && takes_effect; i++)
		if (w->db.targets[slots[i]->enrichment].exists)
			acknowledge(w, slots[i], load_of(w, slots[i]));
	return fails ? PE_WRITE_FAILED : PE_WRITTEN;
}

static void
slot_written(world *w, pe_slot *slot, pe_written written)
{
	const loaded *l = load_of(w, slot);
	bool kept = false;

	for (int i = 0; i < slot->key_count; i++)
		kept |= slot->keys[i].state == PE_KEY_KEPT;
	if (written == PE_WRITTEN && l->chunk_count > 0)
		queue_of(w, slot->enrichment, slot->shard)->after =
		    kept ? l->chunks[0].id - 1 : l->chunks[l->chunk_count - 1].id;
	pe_sender_committed(w->sender, slot, w->now, written);
}

/* The i-th by itself, unless one before it met a lock that is this one's, too. */
static pe_written
write_alone(world *w, pe_slot **slots, const pe_written *written, int i)
{
	for (int before = 0; before < i; before++)
		if (slots[before]->enrichment == slots[i]->enrichment && written[before] == PE_WRITE_CONTENDED)
			return PE_WRITE_CONTENDED;
	return write_slots(w, &slots[i], 1);
}

/* All slots that wait for it together; each by itself when a lock is in the way of one. */
void
database_commit(world *w, pe_slot *slot)
{
	pe_slot *slots[PE_SHARDS];
	pe_written written[PE_SHARDS];
	pe_written together;
	int count = 0;

	for (pe_slot *next = slot; next != NULL;
	     next = count < PE_SHARDS ? pe_sender_also_commit(w->sender, w->now) : NULL)
		slots[count++] = next;
	together = write_slots(w, slots, count);
	for (int i = 0; i < count; i++)
		written[i] =
		    count > 1 && together == PE_WRITE_CONTENDED ? write_alone(w, slots, written, i) : together;
	for (int i = 0; i < count; i++)
		slot_written(w, slots[i], written[i]);
}

void
database_report(world *w, const pe_action *action)
{
	target *t = &w->db.targets[action->enrichment];

	if (chance(w, w->trouble / 2))
	{
		pe_sender_reported(w->sender, action->enrichment,
		                   chance(w, 500) ? PE_WRITE_FAILED : PE_WRITE_CONTENDED, w->now);
		return;
	}
	if (t->resumes == action->resumes)
	{
		t->blocked = action->block;
		t->probe_at = action->probe_in < 0 ? PE_NEVER : wall(w) + action->probe_in;
		oracle_reported(w, action);
	}
	/* Somebody sees it and does something about it, while other requests are still under way. */
	if (t->blocked != PE_BLOCK_NONE && chance(w, 300))
		operator_comes(w, action->enrichment, 200000);
	pe_sender_reported(w->sender, action->enrichment, PE_WRITTEN, w->now);
}
