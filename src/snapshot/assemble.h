/*
 * assemble.h
 *		Rows put together again from the leaves' levels: JSON of subtrees, and the
 *		values that paths find inside lists and maps.
 */
#ifndef PE_ASSEMBLE_H
#define PE_ASSEMBLE_H

#include "snapshot/select.h"

/* Begin a batch: the columns have been read, the plan's places go back to its start. */
void pe_assemble_begin(pe_plan *plan);

/*
 * The JSON of one row, appended to plan->json; *found is false for NULL. Rows must
 * be taken in order. PE_CORRUPT when the leaves do not fit each other, PE_LIMIT
 * for a row beyond PE_SNAPSHOT_MAX_JSON, PE_INVALID_DATA for a value that is
 * impossible: *leaf is then the one, *fault what is wrong.
 */
pe_status pe_assemble_json(pe_plan *plan, bool *found, const pe_leaf **leaf, const char **fault);

/* The smallest value of one row, copied to out (pe_leaf_value_size bytes); *found is false for none. */
pe_status pe_assemble_pick(pe_plan *plan, void *out, bool *found, const pe_leaf **leaf, const char **fault);

/* After the last row of a batch: have the leaves been used up evenly? */
bool pe_assemble_finished(const pe_plan *plan);

#endif /* PE_ASSEMBLE_H */
