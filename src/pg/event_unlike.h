/*
 * event_unlike.h
 *		The different values that profiles had: a set, in memory.
 */
#ifndef PE_EVENT_UNLIKE_H
#define PE_EVENT_UNLIKE_H

#include "postgres.h"

#include "pg/event_table.h"

typedef struct PeUnlike PeUnlike;

/* One value of a tally's cell, by its hash, with the innermost ring it was met in. */
typedef struct PeUnlikeValue
{
	uint64 hash;
	PeEventState *state;
	uint16 tally;
	uint16 code;
	uint32 ring;
} PeUnlikeValue;

extern PeUnlike *pe_unlike_create(MemoryContext context);
/*
 * Where the value was met before, the smaller ring stays. Two values of one profile would
 * have to share 64 bits of hash to be taken for one.
 */
extern void pe_unlike_add(PeUnlike *set, const PeUnlikeValue *value);
extern void pe_unlike_each(const PeUnlike *set, void (*one)(void *arg, const PeUnlikeValue *value),
                           void *arg);
extern size_t pe_unlike_bytes(const PeUnlike *set);

#endif /* PE_EVENT_UNLIKE_H */
