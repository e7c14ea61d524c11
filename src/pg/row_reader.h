/*
 * row_reader.h
 *		From the columns of rows, one row after another, to the inputs of a model: what
 *		features.h says of single values, with everything that is the same for every
 *		row worked out beforehand.
 */
#ifndef PE_ROW_READER_H
#define PE_ROW_READER_H

#include "postgres.h"

#include "pg/features.h"

typedef struct PeRowReader PeRowReader;

/*
 * The code of a level's text, which must always be the same for the same text: the
 * reader asks once for texts that come again and again. May ereport.
 */
typedef int32 (*pe_level_coder)(void *arg, int feature, const char *text, size_t length);

/*
 * A reader in the current context. features[n] and inputs[n] must outlive it;
 * columns[n] are their indexes in the row, snapshot that of the day that the row
 * describes, read by snapshot_input, or -1.
 */
extern PeRowReader *pe_row_reader_create(int n, const PeFeature *features, const PeInput *inputs,
                                         const int *columns, int snapshot, const PeInput *snapshot_input,
                                         pe_level_coder coder, void *arg);

/* Numbers, level codes, NaN for missing: out[n]. */
extern void pe_row_read(PeRowReader *reader, const Datum *values, const bool *nulls, double *out);

#endif /* PE_ROW_READER_H */
