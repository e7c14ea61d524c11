/*
 * event_plan.h
 *		From a declaration of features to what is added up over events, and which columns
 *		come out of it.
 */
#ifndef PE_EVENT_PLAN_H
#define PE_EVENT_PLAN_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/jsonb.h"

#include "pg/features.h"
#include "pg/source.h"

#define PE_EVENT_MOST_COLUMNS 1500 /* a row of a table has no room for more than 1600 */
#define PE_EVENT_MOST_BOUNDS  32   /* ends of windows, in one direction */
#define PE_EVENT_NO_END       PG_INT64_MAX

/* What a column says. */
typedef enum PeEventMake
{
	PE_MAKE_COUNT = 1,
	PE_MAKE_ANY,
	PE_MAKE_SUM,
	PE_MAKE_MEAN,
	PE_MAKE_MIN,
	PE_MAKE_MAX,
	PE_MAKE_DISTINCT,
	PE_MAKE_SHARE,
	PE_MAKE_RATIO,
	PE_MAKE_DAYS_SINCE_LAST,
	PE_MAKE_DAYS_SINCE_FIRST,
	PE_MAKE_DAYS_UNTIL_NEXT,
	PE_MAKE_RFM, /* stands for the four that follow */
	PE_MAKE_FREQUENCY,
	PE_MAKE_RECENCY,
	PE_MAKE_AGE,
	PE_MAKE_MONETARY_VALUE
} PeEventMake;

/* A column of the events that is read. */
typedef struct PeEventInput
{
	const char *name;
	int column; /* in the source */
	int slot;   /* in the columns that are read */
	PeInput input;
	List *values;   /* char *, of a category: those told apart; the code is the place in the list */
	List *frequent; /* char *, the most frequent ones, where they were looked up */
	FmgrInfo hash;  /* of one whose different values are counted: its type's own hash */
	Oid collation;
} PeEventInput;

/* How the cells of a tally are laid out. */
typedef enum PeTallyKind
{
	PE_TALLY_VALUES = 1, /* counts, sums, smallest, largest, different ones, by window */
	PE_TALLY_TIMES,      /* the first and the last time, of all events on its side of the anchor */
	PE_TALLY_RFM         /* by days: the first, the last, how many, what the first was worth, what all were */
} PeTallyKind;

/*
 * What is added up of one number (or of the events), for each value of one category (or
 * for all together), on one side of the anchor. Windows are nested, so an event is added
 * to the innermost ring alone; a window is the rings up to its end.
 */
typedef struct PeTally
{
	PeTallyKind kind;
	bool after;   /* the anchor: of a label */
	int number;   /* in numbers; -1: the events themselves */
	int category; /* in categories; -1: all together */
	int distinct; /* in distincts; -1: none */
	int n_codes;
	int n_rings;
	int64 ends[PE_EVENT_MOST_BOUNDS];    /* of the rings, rising, microseconds */
	int ring_of[PE_EVENT_MOST_BOUNDS];   /* from rings of all tallies of this side */
	int width;                           /* words of a cell */
	int count, sum, least, most, unlike; /* where in the cell; -1: not kept. A sum has PE_SUM_WORDS */
	int base;                            /* first word of its cells in a state */
} PeTally;

/* Words of a sum: what it is, what of it was rounded off, and how large the numbers were. */
#define PE_SUM_REST  1
#define PE_SUM_SIZE  2
#define PE_SUM_WORDS 3

/* Words of the other kinds of cells. */
#define PE_TIMES_FIRST 0
#define PE_TIMES_LAST  1
#define PE_TIMES_WIDTH 2
#define PE_RFM_FIRST   0
#define PE_RFM_LAST    1
#define PE_RFM_DAYS    2
#define PE_RFM_OPENING 3 /* a sum: what the first day was worth */
#define PE_RFM_TOTAL   (PE_RFM_OPENING + PE_SUM_WORDS)
#define PE_RFM_WIDTH   (PE_RFM_TOTAL + PE_SUM_WORDS)

typedef struct PeEventColumn
{
	char *name;
	Oid type;
	char *description;
	PeEventMake make;
	int tally;
	int code;
	int64 end;   /* of the window */
	int whole;   /* PE_MAKE_SHARE: the tally of all values together */
	int64 from2; /* PE_MAKE_RATIO: the window it is compared with lies between these */
	int64 end2;
	double unit_days; /* of the RFM columns */
} PeEventColumn;

typedef struct PeEventPlan
{
	const PeSource *source;
	int n_read; /* columns of the source that are read, beside key and time */
	int *read;
	int n_numbers, n_categories, n_distincts;
	PeEventInput *numbers, *categories, *distincts;
	int n_tallies;
	PeTally *tallies;
	int n_ends[2]; /* of rings of all tallies, before and after the anchor */
	int64 ends[2][PE_EVENT_MOST_BOUNDS];
	int words; /* of a state */
	int n_columns;
	PeEventColumn *columns;
	bool has_labels;
	bool has_distinct;
	int64 longest_label;
} PeEventPlan;

/*
 * The plan of a declaration. top_condition restricts the events that the most frequent
 * values of a category are taken from: SQL, or NULL. Raises, naming what is wrong.
 */
extern PeEventPlan *pe_event_plan(const PeSource *source, Jsonb *declaration, const char *top_condition);

/* The declaration with the values of its categories fixed, so that its columns are always the same. */
extern Jsonb *pe_event_declaration_fixed(const PeEventPlan *plan, Jsonb *declaration);

#endif /* PE_EVENT_PLAN_H */
