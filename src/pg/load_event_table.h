/*
 * load_event_table.h
 *		A table of events: whole batches come in and go out of it.
 */
#ifndef PE_LOAD_EVENT_TABLE_H
#define PE_LOAD_EVENT_TABLE_H

#include "postgres.h"

#include "utils/array.h"

#include "pg/load.h"

#define EVENT_BATCH_COLUMN     "event_batch"
#define EVENT_NAMESPACE_COLUMN "profile_namespace"
#define EVENT_KEY_COLUMN       "profile_key"
#define EVENT_MAP_COLUMN       "identity_map"

/* How events find their profiles. */
typedef struct EventKeys
{
	Datum namespaces;     /* text[], the preferred first; 0: none preferred */
	const char *profiles; /* relation of profiles whose identity maps link the ids of a person, or NULL */
} EventKeys;

/*
 * Opens the table, or says where it will be made. One load of a table at a time: a second waits
 * here for the end of the first's transaction. existing has our own columns, too.
 */
extern LoadTarget *load_event_table_open(const char *into_table);
/* Raises when the mapping uses one of our own columns. */
extern void load_event_table_check_mapping(const LoadMapping *mapping);

/* Prepare for keys: the ids of the profiles, collected once. */
extern void load_event_table_link(const EventKeys *keys);

/* Makes the table or adds the plan's new columns. */
extern void load_event_table_shape(LoadTarget *target, const LoadPlan *plan);

/* A table aside of the plan's columns and event_batch, empty; fills their attnum. Its writer. */
extern LoadWriter *load_event_table_aside(const LoadTarget *target, LoadPlan *plan);
/* The rows aside into the table, with their keys; the table aside goes. Closes the writer. */
extern int64 load_event_table_take(const LoadTarget *target, const LoadPlan *plan, const EventKeys *keys,
                                   LoadWriter *writer);
/* Rows of a batch that is no more. */
extern int64 load_event_table_delete(const LoadTarget *target, const char *batch);

#endif /* PE_LOAD_EVENT_TABLE_H */
