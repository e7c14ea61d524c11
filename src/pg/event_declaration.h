/*
 * event_declaration.h
 *		What a declaration of event features says, item by item.
 */
#ifndef PE_EVENT_DECLARATION_H
#define PE_EVENT_DECLARATION_H

#include "postgres.h"

#include "pg/event_plan.h"

/* A stretch of time that ends, or for labels begins, at the anchor. */
typedef struct PeEventWindow
{
	int64 length; /* microseconds, or PE_EVENT_NO_END */
	char *suffix; /* of names: 30d, 12h, all */
	char *words;  /* of descriptions: "30 days" */
} PeEventWindow;

/* One element of "features" or "labels". */
typedef struct PeEventItem
{
	bool label;
	List *makes;       /* int, PeEventMake */
	char *of;          /* column, or NULL: the events */
	char *by;          /* column, or NULL */
	char *as;          /* in names, instead of the column or the event; or NULL */
	List *values;      /* char *; NIL: those declared for the column, or the most frequent */
	int top;           /* 0: all that are declared */
	List *windows;     /* PeEventWindow * */
	PeEventWindow *to; /* what a ratio compares with */
	bool to_previous;  /* the same length of time, just before */
	double unit_days;
} PeEventItem;

typedef struct PeEventDeclaration
{
	char *event;   /* what one is called: "order" */
	List *items;   /* PeEventItem * */
	Jsonb *values; /* of categories, by column; or NULL */
} PeEventDeclaration;

/* Raises, naming what is wrong and what could stand there. */
extern PeEventDeclaration pe_event_declaration(Jsonb *declaration);

/* The texts of a JSON array of scalars. Raises, naming name. */
extern List *pe_event_texts(const char *name, const JsonbValue *value);

extern const char *pe_event_make_name(PeEventMake make);

#endif /* PE_EVENT_DECLARATION_H */
