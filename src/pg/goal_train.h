/*
 * goal_train.h
 *		What a training on a goal learns from, and what it needs.
 */
#ifndef PE_GOAL_TRAIN_H
#define PE_GOAL_TRAIN_H

#include "postgres.h"

#include "pg/goal.h"
#include "pg/train.h"

/*
 * Fills source, target and options of a request from its goal: the training set of the
 * anchors that are learnt from and validated on, the latest of these held out by time. Raises when no window
 * has passed.
 */
extern void pe_goal_take(PeTrainRequest *request, const char *name);

/*
 * Raises when there are fewer rows of either outcome than the goal needs, among those
 * learnt from or, where they are held out by time, among those held out.
 */
extern void pe_goal_check_rows(const PeGoal *goal, int64 happened, int64 not_happened, int64 held_happened,
                               int64 held_not_happened);

#endif /* PE_GOAL_TRAIN_H */
