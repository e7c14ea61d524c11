/*
 * goal_leakage.h
 *		Columns that know the outcome of a goal: because they tell it, or because they
 *		change with it.
 */
#ifndef PE_GOAL_LEAKAGE_H
#define PE_GOAL_LEAKAGE_H

#include "postgres.h"

#include "pg/goal.h"

/* How often a column of the snapshots changes in the window of an anchor. */
typedef struct PeColumnChange
{
	int column;       /* of goal->snapshots */
	double happened;  /* share of those to whom the outcome happened */
	double otherwise; /* share of the others */
	bool suspicious;  /* does it change with the outcome? */
	bool listed;      /* among the features that were looked at */
} PeColumnChange;

/*
 * The changes of all columns that can be compared, but for the key and those that the
 * outcome names, between the latest anchor and the last day of its window; *n of them, 0
 * where there are too few outcomes to tell.
 */
extern PeColumnChange *pe_goal_changes(const PeGoal *goal, const PeGoalDays *days, int *n);

/* Warns of each that changes with the outcome, unless options exclude it from the features. */
extern void pe_goal_warn_changes(const PeGoal *goal, const PeGoalDays *days, Jsonb *options);

#endif /* PE_GOAL_LEAKAGE_H */
