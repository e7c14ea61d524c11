/*
 * event_table.c
 *		Events of many profiles, added up in one pass.
 *
 * Profiles stay in a hash table until it is as large as a query's hash tables may be; from
 * then on events of profiles that are not in it go to files, by bits of the key's hash,
 * and each file is read when those before are done, into a table of its own. A window costs
 * nothing while events come in: each is added to the innermost ring it lies in.
 */
#include "postgres.h"

#include <math.h>

#include "executor/nodeHash.h"
#include "miscadmin.h"
#include "storage/buffile.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "model/model.h"
#include "pg/event_unlike.h"

#define PARTS         64
#define PART_BITS     6
#define MOST_DEPTH    8 /* levels of files; the hash has bits for more */
#define BATCH         64
#define FIRST_ENTRIES 1024 /* powers of two */
#define FIRST_BLOCK   (64 * 1024)
#define LARGEST_BLOCK (1024 * 1024)

typedef struct Profile
{
	PeEventState *states; /* the first one lies behind the key */
	uint32 key_length;
	char key[FLEXIBLE_ARRAY_MEMBER];
} Profile;

typedef struct Entry
{
	uint64 hash;
	Profile *profile; /* NULL: free */
} Entry;

/* A hash table, and the files of those who found no place in it. */
typedef struct Level
{
	MemoryContext context;
	int depth;
	Entry *entries;
	uint64 capacity, used;
	PeUnlike *unlike; /* what different values there are; NULL: nobody asks */
	char *block;      /* the rest of the block that states are taken from */
	size_t block_left, block_size;
	size_t bytes;
	bool full;
	BufFile *events[PARTS];
	BufFile *anchors[PARTS];
} Level;

struct PeEventTable
{
	const PeEventPlan *plan;
	MemoryContext context;
	bool with_anchors;
	int64 as_of;
	size_t limit;
	int event_words;
	size_t state_bytes;
	PeEventWord *fresh; /* the words of a new state */
	int n_tallies[2];
	int *tallies[2]; /* by side of the anchor */
	Level *level;
	int n_pending;
	PeEvent pending[BATCH];
	PeEventWord *pending_words;
	StringInfoData pending_keys;
	int key_starts[BATCH]; /* in pending_keys, which moves when it grows */
};

int
pe_event_words(const PeEventPlan *plan)
{
	return PE_EVENT_NUMBERS + plan->n_numbers + plan->n_categories + plan->n_distincts +
	       (plan->n_distincts + 63) / 64;
}

/* ---- a table -------------------------------------------------------------------------- */

static Level *
create_level(PeEventTable *table, int depth)
{
	MemoryContext context =
	    AllocSetContextCreate(table->context, "profenrich events", ALLOCSET_DEFAULT_SIZES);
	Level *level = MemoryContextAllocZero(table->context, sizeof(Level));

	level->context = context;
	level->depth = depth;
	level->capacity = FIRST_ENTRIES;
	level->entries = MemoryContextAllocZero(context, sizeof(Entry) * level->capacity);
	if (table->plan->has_distinct)
		level->unlike = pe_unlike_create(context);
	return level;
}

static void
fill_cells(const PeTally *tally, PeEventWord *cells)
{
	for (int i = 0; i < tally->n_codes * Max(tally->n_rings, 1); i++)
	{
		PeEventWord *cell = cells + (size_t) i * tally->width;

		if (tally->kind == PE_TALLY_VALUES)
		{
			if (tally->least >= 0)
				cell[tally->least].number = INFINITY;
			if (tally->most >= 0)
				cell[tally->most].number = -INFINITY;
		}
		else
		{
			/* PE_RFM_FIRST and PE_RFM_LAST are the same places. */
			cell[PE_TIMES_FIRST].time = PG_INT64_MAX;
			cell[PE_TIMES_LAST].time = PG_INT64_MIN;
		}
	}
}

PeEventTable *
pe_event_table_create(const PeEventPlan *plan, bool with_anchors, int64 as_of)
{
	PeEventTable *table = palloc0(sizeof(PeEventTable));

	table->plan = plan;
	table->context = CurrentMemoryContext;
	table->with_anchors = with_anchors;
	table->as_of = as_of;
	/* The different values of profiles that are in the table go on growing after it is full. */
	table->limit = get_hash_memory_limit() / (plan->has_distinct ? 2 : 1);
	table->event_words = pe_event_words(plan);
	table->state_bytes = offsetof(PeEventState, words) + sizeof(PeEventWord) * plan->words;
	table->fresh = palloc0(sizeof(PeEventWord) * Max(plan->words, 1));
	for (int side = 0; side < 2; side++)
		table->tallies[side] = palloc(sizeof(int) * Max(plan->n_tallies, 1));
	for (int i = 0; i < plan->n_tallies; i++)
	{
		int side = plan->tallies[i].after;

		fill_cells(&plan->tallies[i], table->fresh + plan->tallies[i].base);
		table->tallies[side][table->n_tallies[side]++] = i;
	}
	table->pending_words = palloc(sizeof(PeEventWord) * table->event_words * BATCH);
	initStringInfo(&table->pending_keys);
	table->level = create_level(table, 0);
	return table;
}

static void *
take(Level *level, size_t bytes)
{
	void *taken;

	bytes = MAXALIGN(bytes);
	if (bytes > level->block_left)
	{
		level->block_size = Min(Max(level->block_size * 2, FIRST_BLOCK), LARGEST_BLOCK);
		level->block_left = Max(level->block_size, bytes);
		level->block = MemoryContextAllocHuge(level->context, level->block_left);
		level->bytes += level->block_left;
	}
	taken = level->block;
	level->block += bytes;
	level->block_left -= bytes;
	return taken;
}

static void
grow_entries(Level *level)
{
	Entry *old = level->entries;
	uint64 capacity = level->capacity * 2;

	level->entries = MemoryContextAllocExtended(level->context, sizeof(Entry) * capacity,
	                                            MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (uint64 i = 0; i < level->capacity; i++)
	{
		uint64 at = old[i].hash & (capacity - 1);

		if (i % 65536 == 0)
			CHECK_FOR_INTERRUPTS();
		if (old[i].profile == NULL)
			continue;
		while (level->entries[at].profile != NULL)
			at = (at + 1) & (capacity - 1);
		level->entries[at] = old[i];
	}
	pfree(old);
	level->bytes += sizeof(Entry) * (capacity - level->capacity);
	level->capacity = capacity;
}

/* The entry of a key, free where the key is not in the table. */
static inline Entry *
find_entry(const Level *level, uint64 hash, const char *key, uint32 key_length)
{
	uint64 at = hash & (level->capacity - 1);

	for (;; at = (at + 1) & (level->capacity - 1))
	{
		Entry *entry = &level->entries[at];

		if (entry->profile == NULL || (entry->hash == hash && entry->profile->key_length == key_length &&
		                               memcmp(entry->profile->key, key, key_length) == 0))
			return entry;
	}
}

static void
init_state(const PeEventTable *table, PeEventState *state, PeEventState *next, int64 anchor)
{
	state->next = next;
	state->anchor = anchor;
	state->met = false;
	memcpy(state->words, table->fresh, sizeof(PeEventWord) * table->plan->words);
}

static size_t
bytes_of(const Level *level)
{
	return level->bytes + (level->unlike != NULL ? pe_unlike_bytes(level->unlike) : 0);
}

/* A profile with its first state, one piece of memory. */
static Profile *
make_profile(PeEventTable *table, Entry *entry, uint64 hash, const char *key, uint32 key_length, int64 anchor)
{
	Level *level = table->level;
	size_t head = MAXALIGN(offsetof(Profile, key) + key_length);
	Profile *profile = take(level, head + table->state_bytes);

	profile->key_length = key_length;
	memcpy(profile->key, key, key_length);
	profile->states = (PeEventState *) ((char *) profile + head);
	init_state(table, profile->states, NULL, anchor);
	entry->hash = hash;
	entry->profile = profile;
	level->used++;
	if (level->used * 2 > level->capacity)
		grow_entries(level);
	level->full = bytes_of(level) > table->limit && level->depth < MOST_DEPTH;
	return profile;
}

/* ---- files ---------------------------------------------------------------------------- */

static int
part_of(const Level *level, uint64 hash)
{
	return (int) (hash >> (64 - PART_BITS * (level->depth + 1))) & (PARTS - 1);
}

static void
put_aside(PeEventTable *table, BufFile **file, const PeEventWord *words, int n_words, const char *key,
          uint32 key_length)
{
	if (*file == NULL)
	{
		MemoryContext before = MemoryContextSwitchTo(table->context);

		*file = BufFileCreateTemp(false);
		MemoryContextSwitchTo(before);
	}
	BufFileWrite(*file, unconstify(PeEventWord *, words), sizeof(PeEventWord) * n_words);
	BufFileWrite(*file, &key_length, sizeof(key_length));
	BufFileWrite(*file, unconstify(char *, key), key_length);
}

/* The next record of a file, or false at its end. */
static bool
take_back(BufFile *file, PeEventWord *words, int n_words, StringInfo key)
{
	uint32 key_length;
	size_t read = BufFileRead(file, words, sizeof(PeEventWord) * n_words);

	if (read == 0)
		return false;
	if (read != sizeof(PeEventWord) * n_words ||
	    BufFileRead(file, &key_length, sizeof(key_length)) != sizeof(key_length))
		ereport(ERROR, (errcode_for_file_access(), errmsg("a temporary file of events ends too early")));
	resetStringInfo(key);
	enlargeStringInfo(key, key_length);
	if (BufFileRead(file, key->data, key_length) != key_length)
		ereport(ERROR, (errcode_for_file_access(), errmsg("a temporary file of events ends too early")));
	key->len = (int) key_length;
	return true;
}

/* ---- adding up ------------------------------------------------------------------------ */

/* Adds to a sum, which holds what is rounded off, too: the order of events does not matter. */
static inline void
add_exactly(PeEventWord *sum, double value)
{
	double total = sum->number + value;
	double rounded = total - sum->number;

	sum[PE_SUM_REST].number += (sum->number - (total - rounded)) + (value - rounded);
	sum[PE_SUM_SIZE].number += fabs(value);
	sum->number = total;
}

static inline void
add_value(PeEventWord *cell, const PeTally *tally, double value)
{
	if (tally->count >= 0)
		cell[tally->count].count++;
	if (tally->sum >= 0)
		add_exactly(&cell[tally->sum], value);
	if (tally->least >= 0 && value < cell[tally->least].number)
		cell[tally->least].number = value;
	if (tally->most >= 0 && value > cell[tally->most].number)
		cell[tally->most].number = value;
}

static inline int64
day_of(int64 time)
{
	return time >= 0 ? time / USECS_PER_DAY : -((USECS_PER_DAY - 1 - time) / USECS_PER_DAY);
}

/* What a day was worth, NULL counting as nothing, as rfm_summary() has it. */
static void
add_day(Level *level, PeEventState *state, int tally, PeEventWord *cell, int64 time, double value)
{
	int64 day = day_of(time);
	double worth = isnan(value) ? 0 : value;

	if (day < cell[PE_RFM_FIRST].time)
	{
		cell[PE_RFM_FIRST].time = day;
		memset(&cell[PE_RFM_OPENING], 0, sizeof(PeEventWord) * PE_SUM_WORDS);
	}
	if (day == cell[PE_RFM_FIRST].time)
		add_exactly(&cell[PE_RFM_OPENING], worth);
	cell[PE_RFM_LAST].time = Max(cell[PE_RFM_LAST].time, day);
	add_exactly(&cell[PE_RFM_TOTAL], worth);
	pe_unlike_add(level->unlike, &(PeUnlikeValue){(uint64) day, state, (uint16) tally, 0, 0});
}

static bool
is_present(const PeEventTable *table, const PeEventWord *words, int distinct)
{
	const PeEventWord *bits = words + table->event_words - (table->plan->n_distincts + 63) / 64;

	return (bits[distinct / 64].hash >> (distinct % 64) & 1) != 0;
}

static void
add_to_tally(PeEventTable *table, PeEventState *state, int index, int ring, const PeEventWord *words)
{
	const PeEventPlan *plan = table->plan;
	const PeTally *tally = &plan->tallies[index];
	const PeEventWord *numbers = words + PE_EVENT_NUMBERS;
	const PeEventWord *codes = numbers + plan->n_numbers;
	const PeEventWord *hashes = codes + plan->n_categories;
	double value = tally->number >= 0 ? numbers[tally->number].number : 1;
	int64 code = tally->category >= 0 ? codes[tally->category].count : 0;
	PeEventWord *cell;

	if (code < 0 || (isnan(value) && tally->kind != PE_TALLY_RFM))
		return;
	cell = state->words + tally->base;
	if (tally->kind == PE_TALLY_VALUES)
	{
		int own = ring >= 0 ? tally->ring_of[ring] : -1;

		if (own < 0)
			return;
		if (tally->unlike < 0)
			add_value(cell + (code * tally->n_rings + own) * tally->width, tally, value);
		else if (is_present(table, words, tally->distinct))
			pe_unlike_add(table->level->unlike,
			              &(PeUnlikeValue){hashes[tally->distinct].hash, state, (uint16) index, (uint16) code,
			                               (uint32) own});
	}
	else if (tally->kind == PE_TALLY_TIMES)
	{
		cell += code * tally->width;
		cell[PE_TIMES_FIRST].time = Min(cell[PE_TIMES_FIRST].time, words[PE_EVENT_TIME].time);
		cell[PE_TIMES_LAST].time = Max(cell[PE_TIMES_LAST].time, words[PE_EVENT_TIME].time);
	}
	else
		add_day(table->level, state, index, cell, words[PE_EVENT_TIME].time, value);
}

/* An event strictly before the anchor is of the past; at it or later, of what lies ahead. */
static void
add_to_state(PeEventTable *table, PeEventState *state, const PeEventWord *words)
{
	const PeEventPlan *plan = table->plan;
	int64 age = state->anchor - words[PE_EVENT_TIME].time;
	bool after = age <= 0;
	const int64 *ends = plan->ends[after];
	int n = plan->n_ends[after];
	int ring = 0;

	state->met = state->met || !after;
	while (ring < n && (after ? -age >= ends[ring] : age > ends[ring]))
		ring++;
	if (ring == n)
		ring = -1;
	for (int i = 0; i < table->n_tallies[after]; i++)
		add_to_tally(table, state, table->tallies[after][i], ring, words);
}

/* The profile of an event, or NULL when it has none here; then the event waits in a file, or is nobody's. */
static Profile *
profile_of(PeEventTable *table, const PeEvent *event)
{
	Level *level = table->level;
	uint64 hash = event->words[PE_EVENT_HASH].hash;
	Entry *entry = find_entry(level, hash, event->key, event->key_length);
	int part;

	if (entry->profile != NULL)
		return entry->profile;
	if (!table->with_anchors && !level->full)
		return make_profile(table, entry, hash, event->key, event->key_length, table->as_of);
	part = part_of(level, hash);
	if (!table->with_anchors || level->anchors[part] != NULL)
		put_aside(table, &level->events[part], event->words, table->event_words, event->key,
		          event->key_length);
	return NULL;
}

/* Many at once, since each profile lies somewhere else in memory. */
static void
add_pending(PeEventTable *table)
{
	Profile *profiles[BATCH];

	CHECK_FOR_INTERRUPTS();
	for (int i = 0; i < table->n_pending; i++)
	{
		uint64 hash = table->pending[i].words[PE_EVENT_HASH].hash;

		table->pending[i].key = table->pending_keys.data + table->key_starts[i];
		__builtin_prefetch(&table->level->entries[hash & (table->level->capacity - 1)]);
	}
	for (int i = 0; i < table->n_pending; i++)
	{
		profiles[i] = profile_of(table, &table->pending[i]);
		for (size_t at = 0; profiles[i] != NULL && at < Min(table->state_bytes + 64, 512); at += 64)
			__builtin_prefetch((const char *) profiles[i] + at, 1);
	}
	for (int i = 0; i < table->n_pending; i++)
	{
		if (profiles[i] == NULL)
			continue;
		for (PeEventState *state = profiles[i]->states; state != NULL; state = state->next)
			add_to_state(table, state, table->pending[i].words);
	}
	table->n_pending = 0;
	resetStringInfo(&table->pending_keys);
}

void
pe_event_table_anchor(PeEventTable *table, const char *key, uint32 key_length, int64 anchor)
{
	Level *level = table->level;
	uint64 hash = pe_hash_bytes(key, key_length, 0);
	Entry *entry = find_entry(level, hash, key, key_length);
	PeEventState *state;

	if (entry->profile == NULL && !level->full)
	{
		(void) make_profile(table, entry, hash, key, key_length, anchor);
		return;
	}
	if (entry->profile == NULL)
	{
		PeEventWord words[] = {{.hash = hash}, {.time = anchor}};

		put_aside(table, &level->anchors[part_of(level, hash)], words, lengthof(words), key, key_length);
		return;
	}
	for (state = entry->profile->states; state != NULL; state = state->next)
	{
		if (state->anchor == anchor)
			return;
	}
	state = take(level, table->state_bytes);
	init_state(table, state, entry->profile->states, anchor);
	entry->profile->states = state;
}

void
pe_event_table_add(PeEventTable *table, const PeEvent *event)
{
	PeEvent *pending = &table->pending[table->n_pending];

	pending->words = table->pending_words + (size_t) table->n_pending * table->event_words;
	memcpy(pending->words, event->words, sizeof(PeEventWord) * table->event_words);
	pending->key_length = event->key_length;
	table->key_starts[table->n_pending] = table->pending_keys.len;
	appendBinaryStringInfo(&table->pending_keys, event->key, (int) event->key_length);
	if (++table->n_pending == BATCH)
		add_pending(table);
}

/* ---- the end -------------------------------------------------------------------------- */

/* What was told apart becomes counts in the cells. */
static void
count_unlike(void *arg, const PeUnlikeValue *value)
{
	const PeEventPlan *plan = (const PeEventPlan *) arg;
	const PeTally *tally = &plan->tallies[value->tally];
	PeEventWord *cells = value->state->words + tally->base;

	if (tally->kind == PE_TALLY_RFM)
		cells[PE_RFM_DAYS].count++;
	else
		cells[(value->code * tally->n_rings + value->ring) * tally->width + tally->unlike].count++;
}

static void
give_states(const PeEventTable *table, const Level *level, pe_event_sink sink, void *arg)
{
	MemoryContext scratch =
	    AllocSetContextCreate(table->context, "profenrich event features", ALLOCSET_DEFAULT_SIZES);
	MemoryContext before = MemoryContextSwitchTo(scratch);

	for (uint64 i = 0; i < level->capacity; i++)
	{
		const Profile *profile = level->entries[i].profile;

		CHECK_FOR_INTERRUPTS();
		if (profile == NULL)
			continue;
		for (const PeEventState *state = profile->states; state != NULL; state = state->next)
		{
			/* Without anchors, who has only events ahead was no profile yet. */
			if (table->with_anchors || state->met)
				sink(arg, profile->key, profile->key_length, state);
		}
		MemoryContextReset(scratch);
	}
	MemoryContextSwitchTo(before);
	MemoryContextDelete(scratch);
}

static void
read_part(PeEventTable *table, BufFile *anchors, BufFile *events)
{
	StringInfoData key;
	PeEventWord *words = palloc(sizeof(PeEventWord) * table->event_words);

	initStringInfo(&key);
	if (anchors != NULL && BufFileSeek(anchors, 0, 0, SEEK_SET) != 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not rewind a temporary file of anchors")));
	while (anchors != NULL && take_back(anchors, words, 2, &key))
	{
		CHECK_FOR_INTERRUPTS();
		pe_event_table_anchor(table, key.data, (uint32) key.len, words[1].time);
	}
	if (events != NULL && BufFileSeek(events, 0, 0, SEEK_SET) != 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not rewind a temporary file of events")));
	while (events != NULL && take_back(events, words, table->event_words, &key))
	{
		PeEvent event = {words, key.data, (uint32) key.len};

		pe_event_table_add(table, &event);
	}
	if (anchors != NULL)
		BufFileClose(anchors);
	if (events != NULL)
		BufFileClose(events);
	pfree(words);
	pfree(key.data);
}

/* The level's own profiles, and then those of its files, each on a level below. */
static void
finish_level(PeEventTable *table, pe_event_sink sink, void *arg)
{
	Level *level = table->level;

	check_stack_depth();
	add_pending(table);
	if (level->unlike != NULL)
		pe_unlike_each(level->unlike, count_unlike, unconstify(PeEventPlan *, table->plan));
	give_states(table, level, sink, arg);
	MemoryContextDelete(level->context);
	for (int part = 0; part < PARTS; part++)
	{
		if (level->events[part] == NULL && level->anchors[part] == NULL)
			continue;
		table->level = create_level(table, level->depth + 1);
		read_part(table, level->anchors[part], level->events[part]);
		finish_level(table, sink, arg);
	}
	pfree(level);
}

void
pe_event_table_finish(PeEventTable *table, pe_event_sink sink, void *arg)
{
	MemoryContext before = MemoryContextSwitchTo(table->context);

	finish_level(table, sink, arg);
	MemoryContextSwitchTo(before);
}
