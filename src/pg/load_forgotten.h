/*
 * load_forgotten.h
 *		Rows of forgotten profiles, left out of a load.
 */
#ifndef PE_LOAD_FORGOTTEN_H
#define PE_LOAD_FORGOTTEN_H

#include "postgres.h"

#include "executor/tuptable.h"

#include "pg/load.h"

typedef struct LoadForgotten LoadForgotten;

/* What of the plan's columns holds identities; NULL when nobody is forgotten, or none does. */
extern LoadForgotten *load_forgotten_open(const LoadPlan *plan);

/* Has a row, its values not yet stored in the table, an identity of somebody forgotten? */
extern bool load_forgotten_row(const LoadForgotten *forgotten, const TupleTableSlot *slot);

#endif /* PE_LOAD_FORGOTTEN_H */
