/*
 * arguments.h
 *		Arguments of SQL functions that are not STRICT.
 */
#ifndef PE_ARGUMENTS_H
#define PE_ARGUMENTS_H

#include "postgres.h"

#include "fmgr.h"
#include "nodes/pg_list.h"
#include "utils/array.h"

/* Raises when the argument of that number is NULL, naming it. */
extern void pe_need_argument(FunctionCallInfo fcinfo, int number, const char *name);

/* The text argument of that number, palloc'd; raises when it is NULL. */
extern char *pe_text_argument(FunctionCallInfo fcinfo, int number, const char *name);

/* The texts of a text[], none of them null, as char *; 0: NIL. */
extern List *pe_texts_of(Datum array);

/*
 * The list of keys of that number, of a function that without one takes all profiles. Raises when
 * it is NULL: a query that found nobody must not mean everybody.
 */
extern ArrayType *pe_keys_argument(FunctionCallInfo fcinfo, int number, const char *function);

#endif /* PE_ARGUMENTS_H */
