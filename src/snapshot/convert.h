/*
 * convert.h
 *		From a leaf's decoded values to the type a column is delivered as, whole
 *		arrays at a time.
 */
#ifndef PE_CONVERT_H
#define PE_CONVERT_H

#include "snapshot/value.h"

/* Bytes of an item in the arrays of pe_snapshot_vector. */
size_t pe_column_type_size(pe_column_type type);

/* Can the leaf's values be given as this type, at least where they are in its range? */
bool pe_convert_possible(const pe_leaf *leaf, pe_column_type type);

/*
 * Convert count values to out. Text that has to be made lives in the arena; clean
 * says that text is known to be valid. Returns PE_OK, PE_OUT_OF_MEMORY, or
 * PE_TYPE_MISMATCH / PE_INVALID_DATA with *bad the index of the value and *fault
 * what is wrong with it.
 */
pe_status pe_convert(const pe_leaf *leaf, pe_column_type type, const void *values, size_t count, bool clean,
                     pe_arena *arena, void *out, size_t *bad, const char **fault);

/* Move count dense items apart to where nulls is false, from the back; the rest is zeroed. */
void pe_spread(pe_column_type type, void *data, size_t count, const bool *nulls, size_t rows);

#endif /* PE_CONVERT_H */
