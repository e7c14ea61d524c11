/*
 * load_incremental.h
 *		Exports that hold only the profiles that have changed: everybody else is carried
 *		over from the day before.
 */
#ifndef PE_LOAD_INCREMENTAL_H
#define PE_LOAD_INCREMENTAL_H

#include "postgres.h"

#include "pg/load.h"

/* The loaded day that an incremental export goes on from. */
typedef struct LoadBase
{
	bool found; /* false: there is none, and the export has to be a full one */
	DateADT date;
	const char *source; /* what was loaded last into it */
	int64 rows;
	bool compacted;
} LoadBase;

/*
 * Opens the table, and finds the newest loaded day up to date. Nobody else changes the table's days from
 * here to the end of the transaction. The forgotten are held before (pe_suppression_hold).
 */
extern LoadTarget *load_incremental_open(const char *into_table, DateADT date, LoadBase *base);

/*
 * Into the partition aside, which has the export's rows: the base's rows of all other profiles. Raises
 * where it is not known who these are. How many there were.
 */
extern int64 load_incremental_carry_over(const LoadTarget *target, const LoadPlan *plan,
                                         const LoadBase *base);

#endif /* PE_LOAD_INCREMENTAL_H */
