/*
 * event_unlike.c
 *		The different values that profiles had: open addressing.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "model/model.h"
#include "pg/event_unlike.h"

#define FIRST_PLACES 1024 /* a power of two */

struct PeUnlike
{
	MemoryContext context;
	PeUnlikeValue *places; /* a free one has no state; hash is that of the value and all it belongs to */
	uint64 capacity, used;
};

PeUnlike *
pe_unlike_create(MemoryContext context)
{
	PeUnlike *set = MemoryContextAllocZero(context, sizeof(PeUnlike));

	set->context = context;
	set->capacity = FIRST_PLACES;
	set->places = MemoryContextAllocZero(context, sizeof(PeUnlikeValue) * set->capacity);
	return set;
}

size_t
pe_unlike_bytes(const PeUnlike *set)
{
	return sizeof(PeUnlikeValue) * set->capacity;
}

static void
grow(PeUnlike *set)
{
	PeUnlikeValue *old = set->places;
	uint64 capacity = set->capacity * 2;

	set->places = MemoryContextAllocExtended(set->context, sizeof(PeUnlikeValue) * capacity,
	                                         MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (uint64 i = 0; i < set->capacity; i++)
	{
		uint64 at = old[i].hash & (capacity - 1);

		if (i % 65536 == 0)
			CHECK_FOR_INTERRUPTS();
		if (old[i].state == NULL)
			continue;
		while (set->places[at].state != NULL)
			at = (at + 1) & (capacity - 1);
		set->places[at] = old[i];
	}
	pfree(old);
	set->capacity = capacity;
}

static inline bool
is_same(const PeUnlikeValue *a, const PeUnlikeValue *b)
{
	return a->hash == b->hash && a->state == b->state && a->tally == b->tally && a->code == b->code;
}

void
pe_unlike_add(PeUnlike *set, const PeUnlikeValue *value)
{
	uint64 parts[3] = {value->hash, (uint64) (uintptr_t) value->state,
	                   (uint64) value->tally << 16 | value->code};
	PeUnlikeValue wanted = *value;
	uint64 at;

	wanted.hash = pe_hash_bytes(parts, sizeof(parts), 0);
	for (at = wanted.hash & (set->capacity - 1); set->places[at].state != NULL;
	     at = (at + 1) & (set->capacity - 1))
	{
		if (!is_same(&set->places[at], &wanted))
			continue;
		set->places[at].ring = Min(set->places[at].ring, wanted.ring);
		return;
	}
	set->places[at] = wanted;
	if (++set->used * 2 > set->capacity)
		grow(set);
}

void
pe_unlike_each(const PeUnlike *set, void (*one)(void *arg, const PeUnlikeValue *value), void *arg)
{
	for (uint64 i = 0; i < set->capacity; i++)
	{
		if (i % 65536 == 0)
			CHECK_FOR_INTERRUPTS();
		if (set->places[i].state != NULL)
			one(arg, &set->places[i]);
	}
}
