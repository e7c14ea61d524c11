/*
 * plan.c
 *		plan(): what refreshing an enrichment now would send, how, for how long, and which
 *		limits it would meet. Sends nothing and changes nothing.
 *
 * The figures come from a refresh that stops short of its first write: the same source,
 * the same merge, and each record built as it would be sent.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "platform/delivery_mode.h"
#include "platform/message.h"
#include "platform/registry.h"
#include "platform/sender.h"
#include "pg/arguments.h"
#include "pg/batch_budget.h"
#include "pg/connection.h"
#include "pg/consent.h"
#include "pg/enrichment_target.h"
#include "pg/env.h"
#include "pg/gate.h"
#include "pg/guc.h"
#include "pg/json_shape.h"
#include "pg/owner.h"
#include "pg/progress.h"
#include "pg/refresh.h"
#include "pg/report.h"
#include "pg/rows.h"

PG_FUNCTION_INFO_V1(pe_plan);

/* Limits of the platform that no row is checked against before it is sent. */
#define MAX_PROFILE_RECORD 100000 /* a larger one is accepted, and then dropped */
#define LISTED_KEYS        5
#define ADVISED_RECORD     10000
#define ADVISED_MAP_KEYS   16
#define MAX_FIELDS         10000
#define MAX_ATTRIBUTES     500

/* The chunk and request that the next key of a shard and of a time to wait would go into. */
typedef struct OpenChunk
{
	struct
	{
		TimestampTz not_before;
		int64 shard; /* as wide as the other: a hash key has no padding */
	} key;
	int keys;
	int64 bytes; /* of the request */
} OpenChunk;

typedef struct DeliveryPlan
{
	Refresh *refresh;
	const PeServer *server;
	HTAB *chunks;
	pe_message_body body;

	/* of what would be sent */
	int64 records;
	int64 waiting;
	int64 requests;
	double bytes;   /* of the records, each in its envelope */
	int64 envelope; /* how much of each that is, which a batch's files do without */
	double request_bytes;
	int64 largest;
	int64 above_message;
	StringInfoData too_large; /* the first keys of these */
	int64 above_profile;
	int64 above_advised;
	int64 wide_maps;
} DeliveryPlan;

/* ---- building the records -------------------------------------------------------------- */

static void
note_too_large(DeliveryPlan *plan, const pe_message_record *record)
{
	plan->largest = Max(plan->largest, (int64) (record->key_length + record->value_length));
	if (plan->above_message++ < LISTED_KEYS)
		appendStringInfo(&plan->too_large, "%s%s", plan->too_large.len > 0 ? ", " : "", record->key);
	else if (plan->above_message == LISTED_KEYS + 1)
		appendStringInfoString(&plan->too_large, ", ...");
}

/* Bytes of one message, as the sender would write it, or -1 when no request holds it; counts what is beyond a
 * limit. */
static int64
message_size(DeliveryPlan *plan, const char *key, const char *value)
{
	pe_message_record record = {
	    .key = key,
	    .key_length = strlen(key),
	    .value = value,
	    .value_length = value != NULL ? strlen(value) : 0,
	    .scored_at = plan->refresh->now +
	                 (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * USECS_PER_SEC,
	};
	pe_error err = {0};
	pe_status status;
	int64 size;

	plan->body.length = 0;
	plan->body.messages = 0;
	status = pe_message_add(&plan->body, &record, &err);
	if (status == PE_LIMIT)
	{
		note_too_large(plan, &record);
		return -1;
	}
	pe_check(status, &err);
	size = plan->body.length;
	plan->above_profile += size > MAX_PROFILE_RECORD;
	plan->above_advised += size > ADVISED_RECORD;
	return size;
}

/* What a streamed record has around it that a line of a file has not: the same for all of an enrichment. */
static int64
envelope_size(DeliveryPlan *plan, const pe_env *env, const pe_message_target *target)
{
	pe_message_record record = {.key = "", .value = "{}", .value_length = strlen("{}")};
	pe_message_body lines;
	pe_error err = {0};
	int64 size;

	pe_check(pe_message_begin_lines(&lines, env, target, PE_MESSAGE_MAX_BYTES, &err), &err);
	pe_check(pe_message_add(&lines, &record, &err), &err);
	plan->body.length = 0;
	plan->body.messages = 0;
	pe_check(pe_message_add(&plan->body, &record, &err), &err);
	size = (int64) plan->body.length - (int64) lines.length;
	pe_message_free(&lines);
	return size;
}

/* Has the value a map of more keys than the platform's queries like? */
static bool
has_wide_map(const PeEnrichment *e, Jsonb *value)
{
	for (int i = 0; i < e->nattributes; i++)
	{
		const char *name = e->attributes[i].name;
		JsonbValue map;

		if (strncmp(e->attributes[i].shape, "map<", 4) == 0 &&
		    getKeyJsonValueFromContainer(&value->root, name, strlen(name), &map) != NULL &&
		    map.type == jbvBinary && JsonContainerSize(map.val.binary.data) >= ADVISED_MAP_KEYS)
			return true;
	}
	return false;
}

/* Puts a record into the chunk of its shard, which ends at 500 keys, and a request, which ends at 1 MB. */
static void
add_to_chunk(DeliveryPlan *plan, int16 shard, TimestampTz not_before, int64 size)
{
	OpenChunk wanted = {.key = {.not_before = not_before, .shard = shard}};
	bool found;
	OpenChunk *chunk = hash_search(plan->chunks, &wanted.key, HASH_ENTER, &found);
	int64 more = 1 + size;

	if (!found || chunk->keys == PE_CHUNK_KEYS)
		chunk->keys = 0;
	if (chunk->keys == 0 || chunk->bytes + more > PE_MESSAGE_MAX_BYTES)
	{
		more = strlen("{\"messages\":[]}") + size;
		chunk->bytes = 0;
		plan->requests++;
	}
	chunk->bytes += more;
	chunk->keys++;
	plan->request_bytes += more;
}

static void
plan_change(DeliveryPlan *plan, TupleTableSlot *change)
{
	char *key = pe_to_utf8(TextDatumGetCString(change->tts_values[CHANGE_KEY]));
	char *value = NULL;
	bool waits = !change->tts_isnull[CHANGE_NOT_BEFORE];
	int64 size;

	if (!change->tts_isnull[CHANGE_VALUE])
	{
		/* Stored, and then sent, as jsonb writes it. */
		Jsonb *stored = pe_refresh_stored_value(change->tts_values[CHANGE_VALUE]);

		plan->wide_maps += has_wide_map(plan->refresh->enrichment, stored);
		value = pe_to_utf8(JsonbToCString(NULL, &stored->root, VARSIZE(stored)));
	}
	size = message_size(plan, key, value);
	if (size < 0)
		return;
	plan->records++;
	plan->bytes += size;
	plan->largest = Max(plan->largest, size);
	plan->waiting += waits;
	add_to_chunk(plan, DatumGetInt16(change->tts_values[CHANGE_SHARD]),
	             waits ? DatumGetTimestampTz(change->tts_values[CHANGE_NOT_BEFORE]) : 0, size);
}

/* Everything noted by the merge, in key order as refresh would queue it. */
static void
plan_changes(DeliveryPlan *plan)
{
	Refresh *refresh = plan->refresh;
	HASHCTL control = {.keysize = sizeof(((OpenChunk *) NULL)->key),
	                   .entrysize = sizeof(OpenChunk),
	                   .hcxt = CurrentMemoryContext};
	TupleTableSlot *change = MakeSingleTupleTableSlot(refresh->change, &TTSOpsMinimalTuple);
	MemoryContext scratch =
	    AllocSetContextCreate(CurrentMemoryContext, "profenrich plan", ALLOCSET_DEFAULT_SIZES);
	MemoryContext before = MemoryContextSwitchTo(scratch);
	pe_env env = pe_server_env(before);
	pe_message_target target;
	pe_error err = {0};

	pe_target_message(refresh->enrichment, &target);
	pe_check(pe_message_begin(&plan->body, &env, &target, PE_MESSAGE_MAX_BYTES, true, &err), &err);
	plan->envelope = envelope_size(plan, &env, &target);
	plan->chunks = hash_create("profenrich plan chunks", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	while (tuplestore_gettupleslot(refresh->changed, true, false, change))
	{
		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(scratch);
		slot_getallattrs(change);
		plan_change(plan, change);
		if (plan->records % 1024 == 0)
			pe_progress_publish("building records", plan->records, refresh->nchanged + refresh->retracted);
	}
	pe_message_free(&plan->body);
	ExecDropSingleTupleTableSlot(change);
	MemoryContextSwitchTo(before);
	MemoryContextDelete(scratch);
}

/* ---- the rows ------------------------------------------------------------------------------ */

static void
put_text(PeRow *row, const char *item, const char *value, bool ok, const char *detail)
{
	pe_row_add(row, CStringGetTextDatum(item));
	if (value != NULL)
		pe_row_add(row, CStringGetTextDatum(value));
	else
		pe_row_add_null(row);
	pe_row_add_bool(row, ok);
	if (detail != NULL)
		pe_row_add(row, CStringGetTextDatum(detail));
	else
		pe_row_add_null(row);
	pe_row_put(row);
}

static void
put_count(PeRow *row, const char *item, int64 value, bool ok, const char *detail)
{
	put_text(row, item, psprintf(INT64_FORMAT, value), ok, detail);
}

/* What becomes of the source's rows; not ok where refresh() would stop. */
static void
put_profiles(PeRow *row, const Refresh *refresh)
{
	const PeEnrichment *e = refresh->enrichment;
	double share = refresh->live > 0 ? (double) refresh->retracted / refresh->live : 0;

	put_count(row, "profiles", refresh->profiles, refresh->usable > 0,
	          refresh->usable > 0 ? "rows of the source"
	                              : "refresh() stops: there is nothing that can be sent");
	put_count(row, "changed", refresh->nchanged, true, "new, or unlike the newest queued value");
	put_count(row, "unchanged", refresh->unchanged, true, NULL);
	put_count(row, "held back", refresh->held_back, true, "changed by too little: min_delta, buckets");
	put_count(row, "retracted", refresh->retracted, share <= e->max_retract,
	          psprintf("%.1f %% of " INT64_FORMAT " profiles; refresh() %s above %.1f %%", 100 * share,
	                   refresh->live, e->gate.on ? "is held" : "stops", 100 * e->max_retract));
	put_count(row, "repeated keys", refresh->repeated_keys,
	          refresh->repeated_keys == 0 || e->duplicate_column != NULL,
	          e->duplicate_column != NULL ? "on_duplicate says which row counts"
	                                      : "refresh() stops when there are any");
	put_count(row, "skipped", refresh->skipped, true, "rows that are not sent, by reason below");
	for (int i = 0; i < refresh->nreasons; i++)
		put_count(row, psprintf("skipped: %s", refresh->reasons[i].reason), refresh->reasons[i].rows,
		          refresh->reasons[i].reason == pe_no_consent, NULL);
	put_text(row, "provisioned", e->provisioned ? "yes" : "no", e->provisioned && e->unprovisioned == NULL,
	         !e->provisioned ? "what is queued waits for provision()"
	         : e->unprovisioned != NULL
	             ? psprintf("attribute \"%s\" is new or of another type: provision() first", e->unprovisioned)
	             : NULL);
}

/* What is cleared everywhere because nothing in the source is called so any more: nobody may have meant that.
 */
static void
put_gone_attributes(PeRow *row, const Refresh *refresh)
{
	put_text(row, "attributes cleared", refresh->gone_attributes != NULL ? refresh->gone_attributes : "none",
	         refresh->gone_attributes == NULL, "sent before, and no column of the source any more");
}

/* How many single fields a record can have. */
static int64
count_fields(const pe_xdm_field *field)
{
	int64 fields = 0;

	check_stack_depth();
	if (field->type != PE_XDM_ARRAY && field->type != PE_XDM_OBJECT)
		return 1;
	for (int i = 0; i < field->item_count; i++)
		fields += count_fields(&field->items[i]);
	return fields;
}

/* How far it moves from the refresh before, and whether the gate would hold it. */
static void
put_measures(PeRow *row, const Refresh *refresh)
{
	const char *reason = pe_gate_reason(refresh);
	ListCell *cell;

	put_text(row, "gate",
	         !refresh->enrichment->gate.on ? "off"
	         : reason != NULL              ? "held"
	                                       : "open",
	         reason == NULL, reason);
	foreach (cell, refresh->measures)
	{
		const PeMeasure *measure = lfirst(cell);
		const char *item = measure->attribute != NULL
		                       ? psprintf("%s of %s", measure->name, measure->attribute)
		                       : psprintf("share %s", measure->name);

		put_text(row, item, psprintf("%.4f", measure->value), measure->value <= measure->limit,
		         isinf(measure->limit) ? "not judged" : psprintf("at most %g", measure->limit));
	}
}

static void
put_limits(PeRow *row, const DeliveryPlan *plan)
{
	const PeEnrichment *e = plan->refresh->enrichment;
	int64 fields = 0;

	for (int i = 0; i < e->nattributes; i++)
		fields += count_fields(pe_json_shape(e->attributes[i].shape));
	put_count(row, "attributes", e->nattributes, true, psprintf("at most %d", MAX_ATTRIBUTES));
	put_count(row, "fields", fields, fields <= MAX_FIELDS, psprintf("at most %d in a record", MAX_FIELDS));
	put_count(row, "records above 1 MB", plan->above_message, plan->above_message == 0,
	          plan->above_message == 0
	              ? "cannot be sent: they become dead letters"
	              : psprintf("cannot be sent: they become dead letters: %s", plan->too_large.data));
	put_count(row, "records above 100 kB", plan->above_profile, plan->above_profile == 0,
	          "the platform accepts and then drops them");
	put_count(row, "records above 10 kB", plan->above_advised, true, "the platform advises less");
	put_count(row, "maps of 16 keys or more", plan->wide_maps, plan->wide_maps == 0,
	          "the platform's queries get slow");
}

static void
put_files(PeRow *row, const DeliveryPlan *plan)
{
	double bytes = plan->bytes - (double) plan->envelope * plan->records;

	put_count(row, "files", (int64) ceil(bytes / (pe_batch_file_size * 1024.0)), true,
	          psprintf("of at most %d kB, uploaded one after the other", pe_batch_file_size));
	put_text(row, "bytes", psprintf("%.0f", bytes), true, "of all files");
	put_text(row, "minutes", NULL, true, "a batch is there when the platform has ingested it");
}

/* Others are asked for only where it matters: that needs the platform. */
static void
put_batches(PeRow *row, const DeliveryPlan *plan, bool batch)
{
	const PeEnrichment *e = plan->refresh->enrichment;
	int64 begun = pe_batches_begun(plan->server);
	int64 others = 0;
	char *wrong = NULL;
	StringInfoData detail;

	batch = batch && plan->records > 0;
	initStringInfo(&detail);
	appendStringInfo(&detail,
	                 "of %d a day for all that feeds the sandbox; " INT64_FORMAT " begun here within a day",
	                 pe_batch_budget, begun);
	if (batch && e->provisioned && !pe_batches_of_others(e, &others, &wrong))
		appendStringInfo(&detail, ", how many by others is not known: %s", wrong);
	else if (batch && e->provisioned)
		appendStringInfo(&detail, ", " INT64_FORMAT " by others", others);
	put_count(row, "batches", batch ? 1 : 0, !batch || begun + others < pe_batch_budget, detail.data);
}

static void
put_requests(PeRow *row, const DeliveryPlan *plan, const pe_throttle_limits *limits)
{
	pe_throttle throttle;

	pe_throttle_init(&throttle, limits, 0);
	put_count(row, "requests", plan->requests, true, "of at most 500 records and 1 MB");
	put_text(row, "bytes", psprintf("%.0f", plan->request_bytes), true, "of all requests");
	put_text(row, "minutes",
	         psprintf("%.1f", pe_streaming_seconds(plan->records, plan->requests, limits) / 60), true,
	         psprintf("to stream them at %g messages and %g requests a second of server \"%s\"",
	                  throttle.limits.messages_per_second, throttle.limits.requests_per_second,
	                  plan->server->name));
}

static void
put_delivery(PeRow *row, const DeliveryPlan *plan)
{
	const PeServer *server = plan->server;
	pe_throttle_limits limits = {server->requests_per_second, server->messages_per_second, 0};
	double seconds = pe_streaming_seconds(plan->records, plan->requests, &limits);
	const char *why;
	pe_mode_limits bounds = {pe_batch_min_keys, pe_batch_max_streaming};
	pe_delivery_mode mode =
	    pe_delivery_mode_choose(plan->refresh->enrichment->mode, &bounds, plan->records, seconds, &why);
	bool batch = mode == PE_MODE_BATCH;
	put_count(row, "messages", plan->records, true, "one for each profile that changed or is retracted");
	put_count(row, "waiting", plan->waiting, true, "of them later: profenrich.resend_gap");
	put_text(row, "bytes per record",
	         plan->records > 0 ? psprintf("%.0f", plan->bytes / plan->records) : NULL, true,
	         "mean, envelope included");
	put_text(row, "largest record", plan->largest > 0 ? psprintf(INT64_FORMAT, plan->largest) : NULL,
	         plan->largest <= MAX_PROFILE_RECORD, "bytes, envelope included");
	put_text(row, "mode", pe_delivery_mode_name(mode), true, why);
	if (batch)
		put_files(row, plan);
	else
		put_requests(row, plan, &limits);
	put_batches(row, plan, batch);
}

/* plan(enrichment) -> (item, value, ok, detail) */
Datum
pe_plan(PG_FUNCTION_ARGS)
{
	char *name = pe_text_argument(fcinfo, 0, "enrichment");
	Refresh *refresh;
	DeliveryPlan plan = {0};
	PeRow row;

	SPI_connect();
	initStringInfo(&plan.too_large);
	refresh = plan.refresh = palloc0(sizeof(Refresh));
	refresh->enrichment = pe_enrichment_load(name, true);
	plan.server = pe_server_load(refresh->enrichment->server);
	pe_progress_begin(PE_PROGRESS_SCORE, name);
	pe_refresh_read_source(refresh);
	pe_refresh_merge(refresh);
	pe_gate_measure(refresh, false);
	plan_changes(&plan);
	tuplestore_end(refresh->changed);
	tuplesort_end(refresh->sorted);
	pe_progress_end();

	pe_rows_begin(fcinfo, &row);
	put_profiles(&row, refresh);
	put_gone_attributes(&row, refresh);
	put_measures(&row, refresh);
	put_delivery(&row, &plan);
	put_limits(&row, &plan);
	SPI_finish();
	return (Datum) 0;
}
