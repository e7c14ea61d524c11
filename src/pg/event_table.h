/*
 * event_table.h
 *		Events of many profiles, added up in one pass: a hash table of profiles within
 *		the memory that a query may hash in, and files of what does not fit.
 */
#ifndef PE_EVENT_TABLE_H
#define PE_EVENT_TABLE_H

#include "postgres.h"

#include "pg/event_plan.h"

/* A word of what is kept for a profile. */
typedef union PeEventWord
{
	int64 count;
	int64 time;
	double number;
	uint64 hash;
} PeEventWord;

/*
 * An event: words, and the bytes of its key. The words are the key's hash, the time, then
 * for each of the plan's numbers its value (NaN: missing), for each category its code (-1:
 * none of those told apart), for each distinct its hash, and which of these are not NULL, a
 * bit each.
 */
typedef struct PeEvent
{
	PeEventWord *words; /* pe_event_words() of them */
	const char *key;
	uint32 key_length;
} PeEvent;

#define PE_EVENT_HASH    0
#define PE_EVENT_TIME    1
#define PE_EVENT_NUMBERS 2
extern int pe_event_words(const PeEventPlan *plan);

/* What was added up for one profile at one anchor; the plan says what the words are. */
typedef struct PeEventState
{
	struct PeEventState *next; /* another anchor of the same profile */
	int64 anchor;
	bool met; /* an event before the anchor */
	PeEventWord words[FLEXIBLE_ARRAY_MEMBER];
} PeEventState;

/* Takes a finished state, in a context that is reset afterwards. */
typedef void (*pe_event_sink)(void *arg, const char *key, uint32 key_length, const PeEventState *state);

typedef struct PeEventTable PeEventTable;

/*
 * In the current context. Without anchors of their own (given by pe_event_table_anchor,
 * all of them before the first event) profiles are those with an event before as_of.
 */
extern PeEventTable *pe_event_table_create(const PeEventPlan *plan, bool with_anchors, int64 as_of);
extern void pe_event_table_anchor(PeEventTable *table, const char *key, uint32 key_length, int64 anchor);
/* The words and the key are copied. */
extern void pe_event_table_add(PeEventTable *table, const PeEvent *event);
/* Gives every state to the sink, and ends the table. */
extern void pe_event_table_finish(PeEventTable *table, pe_event_sink sink, void *arg);

#endif /* PE_EVENT_TABLE_H */
