/*
 * event_request.h
 *		What the SQL functions about features of events are asked for: where the events
 *		are, as of when, and the columns that come out of it.
 */
#ifndef PE_EVENT_REQUEST_H
#define PE_EVENT_REQUEST_H

#include "postgres.h"

#include "fmgr.h"
#include "utils/date.h"

#include "pg/event_plan.h"

/* How the values of a key column are compared: as bytes, the same for all integers and for all texts. */
typedef enum PeEventKeyClass
{
	PE_EVENT_KEY_INTEGER = 1,
	PE_EVENT_KEY_TEXT,
	PE_EVENT_KEY_NUMERIC,
	PE_EVENT_KEY_UUID
} PeEventKeyClass;

typedef struct PeEventKey
{
	const char *name;
	int column;
	Oid type;
	PeEventKeyClass class;
} PeEventKey;

/* A column of dates or points in time; without a zone they count as UTC. */
typedef struct PeEventMoment
{
	const char *name;
	int column;
	Oid type;
	PeInput input;
} PeEventMoment;

typedef struct PeEventRequest
{
	const PeSource *events;
	PeEventKey key;
	PeEventMoment time;
	Jsonb *declaration;
	bool as_of_given;
	DateADT as_of;
	const PeSource *anchors; /* NULL: everybody at as_of */
	PeEventKey anchor_key;
	PeEventMoment anchor;
	PeEventPlan *plan;
} PeEventRequest;

/* The arguments events, key, event_time, declaration, as_of, anchors from the first on. Raises. */
extern PeEventRequest *pe_event_request(FunctionCallInfo fcinfo, int first);

/* The bytes of a key, equal where keys are; buffer has room for an integer. */
extern const char *pe_event_key_bytes(const PeEventKey *key, Datum value, int64 *buffer, uint32 *length);
extern Datum pe_event_key_datum(const PeEventKey *key, const char *bytes, uint32 length);

/* Microseconds since 2000-01-01 in UTC; false for infinity and what is nearly so far away. */
extern bool pe_event_time(const PeEventMoment *moment, Datum value, int64 *time);
extern Datum pe_event_moment_datum(const PeEventMoment *moment, int64 time);
extern int64 pe_event_start_of_day(int64 time);

/* The columns: those before the features are the key and, where there are anchors, the anchor. */
extern int pe_event_leading_columns(const PeEventRequest *request);
extern int pe_event_column_count(const PeEventRequest *request);
extern const char *pe_event_column_name(const PeEventRequest *request, int column);
extern Oid pe_event_column_type(const PeEventRequest *request, int column);
extern const char *pe_event_column_description(const PeEventRequest *request, int column);
extern char *pe_event_type_text(Oid type);
/* Their names, quoted; with types as a list of column definitions. */
extern char *pe_event_column_list(const PeEventRequest *request, bool with_types);
/* Raises unless the caller's list of columns is ours. */
extern void pe_event_check_columns(const PeEventRequest *request, TupleDesc desc);

#endif /* PE_EVENT_REQUEST_H */
