/*
 * load_writer.h
 *		Rows into a table that this transaction has just made, in batches.
 */
#ifndef PE_LOAD_WRITER_H
#define PE_LOAD_WRITER_H

#include "postgres.h"

#include "executor/tuptable.h"

/* Rows of a batch: few enough that all their columns stay in the processor's cache. */
#define LOAD_BATCH_ROWS 256

typedef struct LoadWriter LoadWriter;

/*
 * relid is a plain table without indexes and triggers, owned by the caller.
 * filled[attnum - 1] says which columns the caller gives values for; the others get
 * their default. The column numbered constant_attnum is constant in every row, until
 * load_writer_constant says otherwise. trusted: constraints need no check.
 */
extern LoadWriter *load_writer_open(Oid relid, const bool *filled, bool trusted, int constant_attnum,
                                    Datum constant);
/* For the rows that are not flushed yet, and those to come. */
extern void load_writer_constant(LoadWriter *writer, Datum constant);

/*
 * Slot i of the batch being filled, i < LOAD_BATCH_ROWS: write tts_values and
 * tts_isnull (attnum - 1) of the filled columns; all others are kept by the writer.
 * Values live in load_writer_memory until the batch is flushed.
 */
extern TupleTableSlot *load_writer_slot(LoadWriter *writer, int i);
/* The first count slots, for those who fill them column by column. */
extern TupleTableSlot *const *load_writer_slots(LoadWriter *writer, int count);
extern MemoryContext load_writer_memory(LoadWriter *writer);

/* From now on rows of forgotten profiles are left out; forgotten may be NULL. */
struct LoadForgotten;
extern void load_writer_leave_out(LoadWriter *writer, const struct LoadForgotten *forgotten);
extern int64 load_writer_left_out(const LoadWriter *writer);

/* Insert the first rows slots, and forget their memory. */
extern void load_writer_flush(LoadWriter *writer, int rows);
extern int64 load_writer_rows(const LoadWriter *writer);
extern void load_writer_close(LoadWriter *writer);

#endif /* PE_LOAD_WRITER_H */
