/*
 * goal.h
 *		A declared question about profiles (will this happen within so many days?) and the
 *		queries that it becomes: a training set of anchor days whose windows have passed,
 *		and the rows of a day to score.
 *
 * Nothing here runs as anybody but the caller: a goal is text until its query is read as
 * a source is.
 */
#ifndef PE_GOAL_H
#define PE_GOAL_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "nodes/bitmapset.h"
#include "nodes/pg_list.h"
#include "utils/date.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "pg/source.h"

/* The column of a training set that says whether it happened. */
#define PE_OUTCOME_COLUMN "outcome"
/* The share of the anchors that a training validates on, unless asked otherwise. */
#define PE_GOAL_HOLDOUT 0.2

/* What a profile counts as that is gone on the last snapshot of its window, and had no outcome before. */
typedef enum PeGoalAbsent
{
	PE_ABSENT_LEAVE_OUT,
	PE_ABSENT_HAPPENED,
	PE_ABSENT_NOT_HAPPENED
} PeGoalAbsent;

/* A column of numbers, or of anything that can be compared, seen over the days before the anchor. */
typedef enum PeHistoryKind
{
	PE_HISTORY_DELTA,        /* value less that of so many days ago */
	PE_HISTORY_TREND,        /* slope a day of a straight line through the values */
	PE_HISTORY_MEAN,         /* of the values */
	PE_HISTORY_SINCE_CHANGE, /* days since it last had another value */
	PE_HISTORY_SINCE_ACTIVE  /* days since it last was true, or not 0 */
} PeHistoryKind;

typedef struct PeHistoryFeature
{
	const char *column;
	PeHistoryKind kind;
	int days; /* how far back it looks */
	const char *name;
	bool boolean; /* is the column one? */
} PeHistoryFeature;

/* A relation with more features, joined by key and day. */
typedef struct PeGoalJoin
{
	PeSource *source;
	const char *key;
	const char *date;
} PeGoalJoin;

typedef struct PeGoal
{
	const char *name;
	Oid owner;
	List *outcomes; /* of char *, SQL expressions */
	bool all;       /* all of them must happen, else any */
	bool happens;   /* false: the question is whether it does not */
	Interval *within;
	PeSource *snapshots;
	PeSource *plain; /* a quicker way to the days from plain_since on; NULL: there is none */
	DateADT plain_since;
	const char *key;      /* column of snapshots */
	const char *eligible; /* SQL condition on the anchor's row; NULL: everybody is */
	PeSource *events;     /* where outcomes happen; NULL: in later snapshots */
	const char *events_key;
	const char *events_time;
	Oid events_time_type; /* date, timestamp or timestamptz */
	PeGoalAbsent absent;
	const char *identities; /* SQL text[] over a row t of snapshots; NULL: not known, or nobody asks */
	List *dates;            /* of DateADT, as int: anchors that were given; NIL: chosen */
	int every;              /* days between anchors; 0: so that windows do not overlap */
	DateADT from;           /* anchors of this day and later */
	DateADT until;
	List *history;              /* of PeHistoryFeature * */
	List *joins;                /* of PeGoalJoin * */
	Bitmapset *outcome_columns; /* of snapshots, that outcomes name */
	int minimum;                /* rows of each outcome that a training needs */
	int tolerance;              /* days, as in PeGoalDays; -1: by the distance of the snapshots */
} PeGoal;

/* ---- goal.c: the declaration ------------------------------------------------------------ */

/* The goal of that name, its sources described as the current user sees them. Raises when there is none. */
extern PeGoal *pe_goal_open(const char *name);

/* ---- goal_options.c ---------------------------------------------------------------------- */

/* Reads options into goal, whose snapshots are open. Raises for unknown names and bad values. */
extern void pe_goal_options(PeGoal *goal, Jsonb *options);

/* Checks what only the columns can tell: expressions, types, names that would collide. */
extern void pe_goal_check(PeGoal *goal);

/* ---- goal_anchors.c ---------------------------------------------------------------------- */

/* What an anchor serves. */
typedef enum PeAnchorUse
{
	PE_ANCHOR_TRAINING,
	PE_ANCHOR_GAP,        /* its window reaches into the time that is validated on */
	PE_ANCHOR_VALIDATION, /* held out, the latest ones */
	PE_ANCHOR_WAITING,    /* its window has not passed */
	PE_ANCHOR_UNOBSERVED  /* its window has, but there is no snapshot to tell what happened by its end */
} PeAnchorUse;

typedef struct PeAnchor
{
	DateADT day;
	DateADT ends;  /* the last day of the window */
	DateADT last;  /* the last day with a snapshot in it; before day: none */
	int snapshots; /* days with a snapshot in it */
	PeAnchorUse use;
} PeAnchor;

/* The days of a goal's snapshots, and the anchors among them. */
typedef struct PeGoalDays
{
	int n_days;
	DateADT *days;    /* ascending */
	DateADT observed; /* outcomes are known up to this day */
	int tolerance;    /* so many days may lie between the last snapshot of a window and its end */
	int n_anchors;
	PeAnchor *anchors; /* the newest first */
	int n_unused;
	PeAnchor *unused; /* those that would be anchors but for their windows, likewise */
} PeGoalDays;

/*
 * The days and the anchors whose windows have passed, the newest share of which is for
 * validation (0: none). Raises when there is no snapshot.
 */
extern PeGoalDays *pe_goal_days(const PeGoal *goal, double share);

/* Of the anchors, how many serve that. */
extern int pe_goal_count_anchors(const PeGoalDays *days, PeAnchorUse use);

/* The window's last day of an anchor. */
extern DateADT pe_goal_window_end(const PeGoal *goal, DateADT anchor);

/* An anchor on that day, its window described from the days. */
extern PeAnchor pe_goal_anchor(const PeGoal *goal, const PeGoalDays *days, DateADT day);

/* The newest day of a snapshot that is at most the given one and at least the other; false: none. */
extern bool pe_goal_day_before(const PeGoalDays *days, DateADT at_most, DateADT at_least, DateADT *day);

/* Raises unless there is a snapshot of that day. */
extern void pe_goal_need_day(const PeGoal *goal, const PeGoalDays *days, DateADT day);

/* date '2026-10-01' and 2026-10-01, whatever DateStyle is. */
extern char *pe_date_sql(DateADT day);
extern char *pe_date_text(DateADT day);

/* Says which days are no anchors though they were named, or because nobody looked at the end of their
 * windows. */
extern void pe_goal_notice_unused(const PeGoal *goal, const PeGoalDays *days);

/* Raises that there is no anchor, and why. */
extern void pe_goal_raise_no_anchor(const PeGoal *goal, const PeGoalDays *days) pg_attribute_noreturn();

/* ---- goal_query.c ------------------------------------------------------------------------ */

/* A training set of these anchors: key, snapshot_date, outcome, the features. */
extern char *pe_goal_training_query(const PeGoal *goal, const PeGoalDays *days, const PeAnchor *anchors,
                                    int n);
/* The same rows of one day without an outcome: what a model of the goal scores. */
extern char *pe_goal_scoring_query(const PeGoal *goal, const PeGoalDays *days, DateADT day);
/* Counts of one anchor: profiles, eligible, happened, not_happened, left_out. */
extern char *pe_goal_count_query(const PeGoal *goal, const PeGoalDays *days, const PeAnchor *anchor);

/* profile_key (text) and outcome of an anchor's profiles, of those of whom it is known. */
extern char *pe_goal_outcome_query(const PeGoal *goal, const PeAnchor *anchor);
/*
 * One row: how many profiles the outcome happened to and how many not, of those still there on
 * the last day of the window; then for each of the columns, how many of both have
 * another value on that day than on the anchor's.
 */
extern char *pe_goal_change_query(const PeGoal *goal, const PeAnchor *anchor, const int *columns, int n);

/* How many of the goal's profiles of a day have more than one row, of the snapshots or, for them, of a join.
 */
extern char *pe_goal_repeated_query(const PeGoal *goal, const PeGoalJoin *join, DateADT day);

/* Runs such a query as the current user; SPI must be connected, and has its rows. */
extern void pe_goal_execute(const char *query);

/* The source as a relation of a FROM clause, under that name. */
extern char *pe_source_as(const PeSource *source, const char *alias);
/* The snapshots likewise, for a condition that wants no day before that one. */
extern char *pe_goal_snapshots_as(const PeGoal *goal, DateADT since, const char *alias);

/* ---- goal_history.c ---------------------------------------------------------------------- */

/* The name of a history feature: spend_delta_7d. */
extern const char *pe_history_name(const char *column, PeHistoryKind kind, int days);
/* "delta 7": false when it is none. */
extern bool pe_history_parse(const char *text, PeHistoryKind *kind, int *days);
extern bool pe_history_needs_number(PeHistoryKind kind);

/* A subquery of key and what the features need from the days up to the anchor; NULL: no history. */
extern char *pe_history_subquery(const PeGoal *goal, const PeGoalDays *days, DateADT anchor);
/* The features as a select list, of the anchor's row s and that subquery, called earlier. */
extern void pe_history_select(StringInfo query, const PeGoal *goal, const PeGoalDays *days, DateADT anchor);

#endif /* PE_GOAL_H */
