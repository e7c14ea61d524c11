/*
 * wire_row.h
 *		From a row of an enrichment's source to the key and the JSON that are sent:
 *		what refresh queues and preview shows.
 */
#ifndef PE_WIRE_ROW_H
#define PE_WIRE_ROW_H

#include "postgres.h"

#include "executor/tuptable.h"
#include "lib/stringinfo.h"

#include "pg/enrichment.h"
#include "pg/source.h"

typedef struct PeWireRow PeWireRow;

/* Prepares the columns of e's source, as pe_enrichment_open_source gave it. In the current context. */
extern PeWireRow *pe_wire_row_open(const PeEnrichment *e, const PeSource *source);

/*
 * Sets *key to the identity (in the current context), or to NULL when that is what
 * the platform would not take, or somebody forgotten, and replaces value by the attributes as one JSON
 * object, in the source's column order. Returns NULL, or why the platform would not
 * take the row: a short static text that serves as a counter's name.
 */
extern const char *pe_wire_row_read(PeWireRow *row, TupleTableSlot *slot, char **key, StringInfo value);

#endif /* PE_WIRE_ROW_H */
