/*
 * event_request.c
 *		The arguments of the SQL functions about features of events.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "pg/arguments.h"
#include "pg/event_request.h"

/* The difference of two times within these days, 130,000 years, is a number of microseconds. */
#define FURTHEST_DAY 50000000

/* ---- keys and times ------------------------------------------------------------------- */

static PeEventKeyClass
class_of_type(Oid type)
{
	switch (getBaseType(type))
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
			return PE_EVENT_KEY_INTEGER;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
			return PE_EVENT_KEY_TEXT;
		case NUMERICOID:
			return PE_EVENT_KEY_NUMERIC;
		case UUIDOID:
			return PE_EVENT_KEY_UUID;
		default:
			return (PeEventKeyClass) 0;
	}
}

static PeEventKey
make_key(const PeSource *source, int column, const char *argument)
{
	Form_pg_attribute attribute = TupleDescAttr(source->desc, column);
	PeEventKey key = {NameStr(attribute->attname), column, attribute->atttypid,
	                  class_of_type(attribute->atttypid)};

	if (key.class == 0)
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
		                errmsg("%s: column \"%s\" is %s, which cannot be a key", argument, key.name,
		                       format_type_be(key.type)),
		                errhint("A key is a text, a number or a uuid.")));
	return key;
}

static PeEventMoment
make_moment(const PeSource *source, int column, const char *argument)
{
	Form_pg_attribute attribute = TupleDescAttr(source->desc, column);
	PeEventMoment moment = {NameStr(attribute->attname), column, attribute->atttypid};

	if (!pe_input_init(&moment.input, moment.type, PE_TREAT_AGE))
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
		                errmsg("%s: column \"%s\" is %s, which is no date or time", argument, moment.name,
		                       format_type_be(moment.type)),
		                errhint("Cast it to date, timestamp or timestamptz.")));
	return moment;
}

/* The bytes of a key; buffer has room for an integer. */
const char *
pe_event_key_bytes(const PeEventKey *key, Datum value, int64 *buffer, uint32 *length)
{
	struct varlena *varlena;

	switch (key->class)
	{
		case PE_EVENT_KEY_INTEGER:
			*buffer = getBaseType(key->type) == INT8OID   ? DatumGetInt64(value)
			          : getBaseType(key->type) == INT4OID ? DatumGetInt32(value)
			                                              : DatumGetInt16(value);
			*length = sizeof(*buffer);
			return (const char *) buffer;
		case PE_EVENT_KEY_UUID:
			*length = UUID_LEN;
			return DatumGetPointer(value);
		case PE_EVENT_KEY_NUMERIC:
			value = DirectFunctionCall1(numeric_trim_scale, value); /* 1.0 is 1 */
			break;
		case PE_EVENT_KEY_TEXT:
			break;
	}
	varlena = PG_DETOAST_DATUM_PACKED(value);
	*length = (uint32) VARSIZE_ANY_EXHDR(varlena);
	return VARDATA_ANY(varlena);
}

Datum
pe_event_key_datum(const PeEventKey *key, const char *bytes, uint32 length)
{
	int64 number;

	switch (key->class)
	{
		case PE_EVENT_KEY_INTEGER:
			memcpy(&number, bytes, sizeof(number));
			return getBaseType(key->type) == INT8OID   ? Int64GetDatum(number)
			       : getBaseType(key->type) == INT4OID ? Int32GetDatum((int32) number)
			                                           : Int16GetDatum((int16) number);
		case PE_EVENT_KEY_UUID:
			return PointerGetDatum(bytes);
		case PE_EVENT_KEY_NUMERIC:
		case PE_EVENT_KEY_TEXT:
			break;
	}
	return PointerGetDatum(cstring_to_text_with_len(bytes, (int) length));
}

/* Microseconds since 2000-01-01 in UTC; false for infinity. */
bool
pe_event_time(const PeEventMoment *moment, Datum value, int64 *time)
{
	if (moment->input.kind == PE_INPUT_DATE)
	{
		DateADT day = DatumGetDateADT(value);

		if (day < -FURTHEST_DAY || day > FURTHEST_DAY) /* among them infinity */
			return false;
		*time = (int64) day * USECS_PER_DAY;
		return true;
	}
	*time = DatumGetTimestamp(value);
	return *time >= -FURTHEST_DAY * USECS_PER_DAY && *time <= FURTHEST_DAY * USECS_PER_DAY;
}

Datum
pe_event_moment_datum(const PeEventMoment *moment, int64 time)
{
	if (moment->input.kind == PE_INPUT_DATE)
		return DateADTGetDatum((DateADT) (time / USECS_PER_DAY));
	return TimestampGetDatum(time);
}

int64
pe_event_start_of_day(int64 time)
{
	int64 into = time % USECS_PER_DAY;

	return time - (into < 0 ? into + USECS_PER_DAY : into);
}

/* ---- the request ---------------------------------------------------------------------- */

static void
open_anchors(PeEventRequest *request, const char *text)
{
	const PeSource *anchors = pe_source_open(text, "anchors");

	if (anchors->desc->natts != 2)
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		         errmsg("anchors: %s has %d columns, not two", anchors->name, anchors->desc->natts),
		         errhint("Select the key and the date or time: anchors => 'SELECT crm_id, snapshot_date "
		                 "FROM ...'.")));
	request->anchors = anchors;
	request->anchor_key = make_key(anchors, 0, "anchors");
	request->anchor = make_moment(anchors, 1, "anchors");
	if (request->anchor_key.class != request->key.class)
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
		                errmsg("the key of the events is %s, that of the anchors %s",
		                       format_type_be(request->key.type), format_type_be(request->anchor_key.type)),
		                errhint("Cast one of them in a SELECT.")));
}

/* Which events the most frequent values of a category are taken from: none at the last anchor or later. */
static char *
top_condition(const PeEventRequest *request)
{
	const char *time = quote_identifier(request->time.name);

	if (request->anchors != NULL)
		return psprintf("%s < (SELECT pg_catalog.max(%s) FROM %s)", time,
		                quote_identifier(request->anchor.name), request->anchors->from);
	return psprintf("%s < %s'%s%s'", time,
	                request->time.input.kind == PE_INPUT_DATE         ? "DATE "
	                : getBaseType(request->time.type) == TIMESTAMPOID ? "TIMESTAMP "
	                                                                  : "TIMESTAMPTZ ",
	                DatumGetCString(DirectFunctionCall1(date_out, DateADTGetDatum(request->as_of))),
	                getBaseType(request->time.type) == TIMESTAMPTZOID ? " 00:00:00+00" : "");
}

/* The arguments events, key, event_time, declaration, as_of, anchors from the first on. */
PeEventRequest *
pe_event_request(FunctionCallInfo fcinfo, int first)
{
	PeEventRequest *request = palloc0(sizeof(PeEventRequest));
	PeSource *events = pe_source_open(pe_text_argument(fcinfo, first, "events"), "events");

	request->events = events;
	request->key = make_key(
	    events, pe_source_need_column(events, pe_text_argument(fcinfo, first + 1, "key"), "key"), "events");
	request->time = make_moment(
	    events,
	    pe_source_need_column(events, pe_text_argument(fcinfo, first + 2, "event_time"), "event_time"),
	    "events");
	pe_need_argument(fcinfo, first + 3, "declaration");
	request->declaration = PG_GETARG_JSONB_P(first + 3);
	request->as_of_given = !PG_ARGISNULL(first + 4);
	if (request->as_of_given)
		request->as_of = PG_GETARG_DATEADT(first + 4);
	else
		request->as_of =
		    (DateADT) (pe_event_start_of_day(GetCurrentTransactionStartTimestamp()) / USECS_PER_DAY);
	if (request->as_of < -FURTHEST_DAY || request->as_of > FURTHEST_DAY)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("argument \"as_of\" must be a day within 130,000 years, not infinity")));
	if (!PG_ARGISNULL(first + 5))
	{
		if (request->as_of_given)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			                errmsg("as_of and anchors cannot both be given"),
			                errhint("Anchors say for each key as of when.")));
		open_anchors(request, pe_text_argument(fcinfo, first + 5, "anchors"));
	}
	request->plan = pe_event_plan(events, request->declaration, top_condition(request));
	return request;
}

/* ---- the columns ---------------------------------------------------------------------- */

/* Those before the features: the key, and the anchor where there are anchors. */
int
pe_event_leading_columns(const PeEventRequest *request)
{
	return request->anchors != NULL ? 2 : 1;
}

int
pe_event_column_count(const PeEventRequest *request)
{
	return pe_event_leading_columns(request) + request->plan->n_columns;
}

const char *
pe_event_column_name(const PeEventRequest *request, int column)
{
	int feature = column - pe_event_leading_columns(request);

	if (feature >= 0)
		return request->plan->columns[feature].name;
	if (request->anchors == NULL)
		return request->key.name;
	return column == 0 ? request->anchor_key.name : request->anchor.name;
}

Oid
pe_event_column_type(const PeEventRequest *request, int column)
{
	int feature = column - pe_event_leading_columns(request);

	if (feature >= 0)
		return request->plan->columns[feature].type;
	if (request->anchors == NULL)
		return request->key.type;
	return column == 0 ? request->anchor_key.type : request->anchor.type;
}

const char *
pe_event_column_description(const PeEventRequest *request, int column)
{
	int feature = column - pe_event_leading_columns(request);

	if (feature >= 0)
		return request->plan->columns[feature].description;
	return column == 0 ? "key of the profile" : "the features are as of here";
}

char *
pe_event_type_text(Oid type)
{
	return format_type_extended(type, -1, FORMAT_TYPE_TYPEMOD_GIVEN);
}

/* "crm_id", "orders_30d", ...; with types as a list of column definitions. */
char *
pe_event_column_list(const PeEventRequest *request, bool with_types)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < pe_event_column_count(request); i++)
		appendStringInfo(&list, "%s%s%s%s", i > 0 ? ", " : "",
		                 quote_identifier(pe_event_column_name(request, i)), with_types ? " " : "",
		                 with_types ? pe_event_type_text(pe_event_column_type(request, i)) : "");
	return list.data;
}

/* The caller's column list must be ours: of columns that change places nobody would hear. */
void
pe_event_check_columns(const PeEventRequest *request, TupleDesc desc)
{
	bool same = desc->natts == pe_event_column_count(request);

	for (int i = 0; same && i < desc->natts; i++)
		same = strcmp(NameStr(TupleDescAttr(desc, i)->attname), pe_event_column_name(request, i)) == 0 &&
		       TupleDescAttr(desc, i)->atttypid == pe_event_column_type(request, i);
	if (!same)
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
		                errmsg("the columns are not those that the declaration makes"),
		                errhint("They are AS f(%s). create_event_features() makes a view of them.",
		                        pe_event_column_list(request, true))));
}
