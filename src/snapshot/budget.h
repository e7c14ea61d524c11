/*
 * budget.h
 *		An allocator that counts what is held and refuses what is beyond a bound, so
 *		that no combination of sizes allowed one by one adds up to more.
 */
#ifndef PE_BUDGET_H
#define PE_BUDGET_H

#include "pe_base.h"

typedef struct pe_budget
{
	pe_env outer; /* where the memory really comes from */
	uint64_t limit;
	uint64_t used;
	bool exceeded; /* an allocation was refused for the limit */
} pe_budget;

/* The same environment with the budget, which must stay where it is, as its allocator. */
pe_env pe_budget_env(pe_budget *budget, const pe_env *outer, uint64_t limit);

#endif /* PE_BUDGET_H */
