/*
 * load_pages.h
 *		Rows into a heap that this transaction has made, written as whole pages past the
 *		shared buffers: each page is formed once, logged once as an image, and written once.
 */
#ifndef PE_LOAD_PAGES_H
#define PE_LOAD_PAGES_H

#include "postgres.h"

#include "executor/tuptable.h"
#include "utils/rel.h"

typedef struct LoadPages LoadPages;

/*
 * Whether rel may be filled so: a heap of this transaction, whose rows no logical
 * decoding wants to see one by one.
 */
extern bool load_pages_usable(Relation rel);

/* rel stays open and is written by nobody else until load_pages_close. */
extern LoadPages *load_pages_open(Relation rel, CommandId command);
/* Rows from virtual slots, in their order. What it allocates is in the current context. */
extern void load_pages_add(LoadPages *pages, TupleTableSlot *const *slots, int count);
extern void load_pages_close(LoadPages *pages);

#endif /* PE_LOAD_PAGES_H */
