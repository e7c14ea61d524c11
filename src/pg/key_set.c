/*
 * key_set.c
 *		A set of keys by their hashes: open addressing in 256 parts.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "model/model.h"
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

/* Where the entry is, or the empty place where it belongs. */
static Entry *
find(Part *part, const Entry *wanted)
{
	uint32 place = wanted->words[0] & (part->capacity - 1);

	for (;;)
	{
		Entry *entry = &part->entries[place];

		if (memcmp(entry, wanted, sizeof(Entry)) == 0)
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

bool
pe_key_set_add(PeKeySet *set, const void *key, size_t length)
{
	uint64 first = pe_hash_bytes(key, length, 1);
	uint64 second = pe_hash_bytes(key, length, 2);
	Part *part = &set->parts[second & (PARTS - 1)];
	Entry wanted = {{(uint32) first, (uint32) (first >> 32), (uint32) (second >> 32)}};
	Entry *entry;

	if ((wanted.words[0] | wanted.words[1] | wanted.words[2]) == 0)
		wanted.words[0] = 1;
	/* Two thirds full at most: beyond, looking for an empty place takes ever longer. */
	if ((uint64) part->used * 3 >= (uint64) part->capacity * 2)
		grow(set, part);
	entry = find(part, &wanted);
	if (memcmp(entry, &wanted, sizeof(Entry)) == 0)
		return false;
	*entry = wanted;
	part->used++;
	return true;
}
