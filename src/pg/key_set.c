/*
 * key_set.c
 *		A set of keys by their hashes: open addressing in 256 parts.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "pg/key_set.h"

#define PARTS         256
#define FIRST_ENTRIES 64

/* 96 bits; all zero means empty, and a key that hashes to that is stored as one. */
typedef struct Entry
{
	uint32 words[3];
} Entry;

typedef struct Part
{
	Entry *entries;
	uint32 capacity; /* a power of two */
	uint32 used;
} Part;

struct PeKeySet
{
	MemoryContext context;
	Part parts[PARTS];
};

PeKeySet *
pe_key_set_create(void)
{
	PeKeySet *set = palloc0(sizeof(PeKeySet));

	set->context = CurrentMemoryContext;
	return set;
}

static inline bool
same(const Entry *a, const Entry *b)
{
	return a->words[0] == b->words[0] && a->words[1] == b->words[1] && a->words[2] == b->words[2];
}

/* Where the entry is, or the empty place where it belongs. */
static Entry *
find(Part *part, const Entry *wanted)
{
	uint32 place = wanted->words[0] & (part->capacity - 1);

	for (;;)
	{
		Entry *entry = &part->entries[place];

		if (same(entry, wanted))
			return entry;
		if ((entry->words[0] | entry->words[1] | entry->words[2]) == 0)
			return entry;
		place = (place + 1) & (part->capacity - 1);
	}
}

static void
grow(PeKeySet *set, Part *part)
{
	Part larger = {.capacity = part->capacity == 0 ? FIRST_ENTRIES : part->capacity * 2, .used = part->used};

	larger.entries = MemoryContextAllocExtended(set->context, sizeof(Entry) * (Size) larger.capacity,
	                                            MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (uint32 i = 0; i < part->capacity; i++)
	{
		const Entry *entry = &part->entries[i];

		if ((entry->words[0] | entry->words[1] | entry->words[2]) != 0)
			*find(&larger, entry) = *entry;
	}
	if (part->entries != NULL)
		pfree(part->entries);
	*part = larger;
}

/* A finaliser that turns every bit of x into every bit of the result. */
static inline uint64
mix(uint64 x)
{
	x = (x ^ (x >> 32)) * UINT64CONST(0xd6e8feb86659fd93);
	x = (x ^ (x >> 32)) * UINT64CONST(0xd6e8feb86659fd93);
	return x ^ (x >> 32);
}

/* Two sums that each word goes through, by different ways; of this machine alone. */
PeKeyHash
pe_key_hash(const void *key, size_t length)
{
	const char *bytes = key;
	PeKeyHash hash = {mix(length + UINT64CONST(0x9e3779b97f4a7c15)),
	                  mix(length ^ UINT64CONST(0xc2b2ae3d27d4eb4f))};

	while (length > 0)
	{
		uint64 word = 0;

		memcpy(&word, bytes, Min(length, sizeof(word)));
		hash.first = mix(hash.first ^ word) * UINT64CONST(0x9e3779b97f4a7c15);
		hash.second = mix(hash.second + word) * UINT64CONST(0x165667b19e3779f9);
		bytes += Min(length, sizeof(word));
		length -= Min(length, sizeof(word));
	}
	hash.first = mix(hash.first);
	hash.second = mix(hash.second);
	return hash;
}

static bool
add(PeKeySet *set, PeKeyHash key)
{
	Part *part = &set->parts[key.second & (PARTS - 1)];
	Entry wanted = {{(uint32) key.first, (uint32) (key.first >> 32), (uint32) (key.second >> 32)}};
	Entry *entry;

	if ((wanted.words[0] | wanted.words[1] | wanted.words[2]) == 0)
		wanted.words[0] = 1;
	/* Two thirds full at most: beyond, looking for an empty place takes ever longer. */
	if ((uint64) part->used * 3 >= (uint64) part->capacity * 2)
		grow(set, part);
	entry = find(part, &wanted);
	if (same(entry, &wanted))
		return false;
	*entry = wanted;
	part->used++;
	return true;
}

int
pe_key_set_add(PeKeySet *set, const PeKeyHash *keys, int n, bool *is_new)
{
	int added = 0;

	for (int i = 0; i < n; i++)
	{
		const Part *part = &set->parts[keys[i].second & (PARTS - 1)];

		if (part->capacity > 0)
			__builtin_prefetch(&part->entries[(uint32) keys[i].first & (part->capacity - 1)], 1);
	}
	for (int i = 0; i < n; i++)
	{
		is_new[i] = add(set, keys[i]);
		added += is_new[i];
	}
	return added;
}
