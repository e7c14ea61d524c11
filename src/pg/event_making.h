/*
 * event_making.h
 *		What the parts of the making of a plan share.
 */
#ifndef PE_EVENT_MAKING_H
#define PE_EVENT_MAKING_H

#include "postgres.h"

#include "pg/event_declaration.h"

#define PE_EVENT_MOST_INPUTS 100

/* A plan while it is made. */
typedef struct PeEventMaking
{
	PeEventPlan *plan;
	PeEventDeclaration declaration;
	const char *top_condition;
} PeEventMaking;

/* What of an item one column is about. */
typedef struct PeEventPart
{
	const PeEventItem *item;
	const char *event;
	char *value; /* NULL: all together */
	int code;
	int number, category, distinct;
} PeEventPart;

/* ---- event_inputs.c: the columns that are read ---- */

/* The place of a column among the numbers, categories or distincts; added where it is new. Raise. */
extern int pe_event_number_input(PeEventPlan *plan, const char *name);
extern int pe_event_category_input(PeEventPlan *plan, const char *name);
extern int pe_event_distinct_input(PeEventPlan *plan, const char *name);
/* The values that an item tells apart, looked up where it asks for the most frequent. */
extern List *pe_event_values_of_item(const PeEventMaking *making, const PeEventItem *item,
                                     PeEventInput *category);
extern int pe_event_code_of_value(PeEventInput *category, char *value);

/* ---- event_names.c: what columns are called, and what they say ---- */

extern char *pe_event_stem(const PeEventPart *part, PeEventMake make);
extern char *pe_event_describe(const PeEventPart *part, PeEventMake make);
extern char *pe_event_unique_name(const PeEventPlan *plan, char *name);

#endif /* PE_EVENT_MAKING_H */
