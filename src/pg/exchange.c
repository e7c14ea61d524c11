/*
 * exchange.c
 *		The worker's requests: sessions, tokens, messages, and what their replies say.
 *
 * A link is a server under one role's mapping, with at most one session that is used
 * for new requests and maybe older ones whose requests are still under way (after the
 * server or the mapping was altered). An exchange is one request: it owns the body,
 * which must live as long as the transfer.
 */
#include "postgres.h"

#include <time.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "platform/ingest_reply.h"
#include "platform/platform.h"
#include "pg/connection.h"
#include "pg/env.h"
#include "pg/exchange.h"
#include "pg/guc.h"
#include "pg/report.h"

/* Replies are a hundred bytes a message. */
#define MAX_REPLY_BYTES (2 * 1024 * 1024)
/* More entries than that are not a reply to be understood, fewer are counted. */
#define MAX_ENTRIES (4 * PE_CHUNK_KEYS)

/* The calls of a batch and of the look for late failures, one each, beside the sender's requests. */
#define OTHER_CALLS 2
/* Beside connections: the pool's own descriptor, libcurl's two, a secret file and its directory. */
#define OTHER_FILES 8
/* What the server itself opens that is no file: a set of events to wait for, and the like. */
#define SERVERS_OWN 8
/* What the system was short of may be gone before the next request finds out. */
#define SHORT_FOR (60 * PE_SECOND)

typedef struct Exchange
{
	MemoryContext context;
	pe_env env;
	PeLink *link;
	PeSession *session;
	pe_slot *slot; /* NULL: a token, or a call */
	pe_token_form form;
	pe_message_body body;
	bool alone;
	PeLogRow log;
	const pe_call *call; /* NULL: a token for the sender, or messages */
	bool call_token;     /* the token that the call needs first */
	PeCallDone done;
	void *arg;
} Exchange;

PeLink *
pe_link_of(PeWorker *worker, const char *server, Oid owner)
{
	static int next_id = 1;
	int server_id = next_id;
	ListCell *cell;
	PeLink *link;
	MemoryContext caller;

	foreach (cell, worker->links)
	{
		link = lfirst(cell);
		if (strcmp(link->server, server) != 0)
			continue;
		if (link->owner == owner)
			return link;
		server_id = link->server_id;
	}
	caller = MemoryContextSwitchTo(worker->context);
	link = palloc0(sizeof(PeLink));
	link->id = next_id++;
	link->server_id = server_id;
	link->server = pstrdup(server);
	link->owner = owner;
	worker->links = lappend(worker->links, link);
	MemoryContextSwitchTo(caller);
	return link;
}

static PeLink *
link_by_id(PeWorker *worker, int id)
{
	ListCell *cell;

	foreach (cell, worker->links)
		if (((PeLink *) lfirst(cell))->id == id)
			return lfirst(cell);
	elog(ERROR, "the sender asked for an unknown link");
	return NULL;
}

/*
 * The server gives what is not its own files a third of the descriptors that it may have.
 * All of it is reserved at once, so that it closes files of its own in time. Each request
 * may be making a connection, and there may be as many idle ones.
 */
int
pe_exchange_open(PeWorker *worker)
{
	int files = max_safe_fds / 3 - SERVERS_OWN;
	int requests = Max((files - OTHER_FILES) / (PE_HTTP_STARTING_FILES + 1), OTHER_CALLS + 1);
	pe_error err = {0};

	for (int i = 0; i < files; i++)
		ReserveExternalFD();
	pe_check(pe_http_pool_open(&worker->env, requests, &worker->pool, &err), &err);
	pe_connection_pool = worker->pool;
	return requests - OTHER_CALLS;
}

/* The log says it once, however many requests meet with it. */
static void
note_shortage(PeWorker *worker, pe_status status, const char *reason)
{
	if (status != PE_EXHAUSTED && status != PE_OUT_OF_MEMORY)
		return;
	if (worker->short_until == 0)
		ereport(LOG,
		        (errmsg("profenrich: the system is short of descriptors or memory; requests are tried again"),
		         errdetail_log("%s", reason)));
	worker->short_until = pe_worker_now() + SHORT_FOR;
}

void
pe_exchange_look(PeWorker *worker, int64 now)
{
	if (worker->short_until == 0 || worker->short_until > now)
		return;
	worker->short_until = 0;
	ereport(LOG, (errmsg("profenrich: the system is no longer short of descriptors or memory")));
}

static void
close_session(PeSession *session)
{
	pe_connection_close(session->connection);
	pfree(session);
}

/* No new requests by this session; it is closed now or with its last exchange. */
void
pe_link_retire(PeWorker *worker, PeLink *link)
{
	PeSession *session = link->session;
	MemoryContext caller;

	link->session = NULL;
	link->asked = false;
	if (session == NULL)
		return;
	if (session->exchanges == 0)
	{
		close_session(session);
		return;
	}
	session->retired = true;
	caller = MemoryContextSwitchTo(worker->context);
	link->retired = lappend(link->retired, session);
	MemoryContextSwitchTo(caller);
}

/* Without a session, as when it could not be opened, any change of any server or mapping may have mended
 * that. */
void
pe_link_refresh(PeWorker *worker, PeLink *link)
{
	if (link->session != NULL ? !pe_connection_stale(link->session->connection)
	                          : link->changes == pe_connection_changes())
		return;
	link->changes = pe_connection_changes();
	pe_link_retire(worker, link);
	pe_sender_link_changed(worker->sender, link->id, pe_worker_now());
}

static void
release_session(PeLink *link, PeSession *session)
{
	session->exchanges--;
	if (!session->retired || session->exchanges > 0)
		return;
	link->retired = list_delete_ptr(link->retired, session);
	close_session(session);
}

/*
 * Opens a session with the platform. A transaction of its own, because it reads
 * catalogs and may raise: then *reason says why, and the result tells whether trying
 * again can help.
 */
static pe_status
open_session(PeWorker *worker, PeLink *link, char *reason, size_t size)
{
	MemoryContext caller = CurrentMemoryContext;
	PeConnection *volatile connection = NULL;
	volatile pe_status status = PE_OK;

	link->changes = pe_connection_changes();
	PG_TRY();
	{
		StartTransactionCommand();
		PushActiveSnapshot(GetTransactionSnapshot());
		connection = pe_connection_open(link->server, link->owner, worker->context);
		PopActiveSnapshot();
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		ErrorData *edata;
		int category;

		MemoryContextSwitchTo(caller);
		edata = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
		category = ERRCODE_TO_CATEGORY(edata->sqlerrcode);
		status =
		    category == ERRCODE_INSUFFICIENT_RESOURCES ? PE_EXHAUSTED
		    : category == ERRCODE_OPERATOR_INTERVENTION || edata->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE
		        ? PE_UNREACHABLE
		        : PE_CONFIGURATION;
		strlcpy(reason, edata->message, size);
		FreeErrorData(edata);
		connection = NULL;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	if (connection == NULL)
	{
		note_shortage(worker, status, reason);
		return status;
	}
	link->session = MemoryContextAllocZero(worker->context, sizeof(PeSession));
	link->session->connection = connection;
	return PE_OK;
}

static Exchange *
make_exchange(PeWorker *worker, PeLink *link, pe_slot *slot)
{
	MemoryContext context =
	    AllocSetContextCreate(worker->context, "profenrich exchange", ALLOCSET_DEFAULT_SIZES);
	Exchange *exchange = MemoryContextAllocZero(context, sizeof(Exchange));

	exchange->context = context;
	exchange->env = pe_server_env(context);
	exchange->link = link;
	exchange->slot = slot;
	return exchange;
}

static pe_status
start_exchange(Exchange *exchange, pe_http_request *request, pe_error *err)
{
	pe_status status;

	request->owner = exchange;
	status = pe_http_start(pe_platform_http(exchange->session->connection->platform), request, NULL, err);
	if (status == PE_OK)
		exchange->session->exchanges++;
	return status;
}

/*
 * There is no token, for a reason that may pass: each enrichment that waits for one shows
 * it as the last error. One that blocks is told as the reason of the block.
 */
static void
log_no_token(PeWorker *worker, const PeLink *link, const char *reason)
{
	PeLogRow row = {
	    .at = GetCurrentTimestamp(), .shard = -1, .outcome = pe_outcome_name(PE_OUTCOME_NOT_SENT)};
	ListCell *cell;

	snprintf(row.error, sizeof(row.error), "no access token: %s", reason);
	foreach (cell, worker->enrichments)
	{
		const PeQueue *enrichment = lfirst(cell);

		if (enrichment->target == NULL || enrichment->target->owner != link->owner ||
		    strcmp(enrichment->target->server, link->server) != 0)
			continue;
		row.enrichment_id = enrichment->id;
		pe_delivery_log(&row);
	}
}

static void
tell_token(PeWorker *worker, const PeLink *link, pe_status status, const char *reason)
{
	note_shortage(worker, status, reason);
	if (status != PE_OK && status != PE_UNAUTHORISED && status != PE_CONFIGURATION && status != PE_UNTRUSTED)
		log_no_token(worker, link, reason);
	pe_sender_token(worker->sender, link->id, pe_worker_now(), status, reason);
}

/* A new token; the answer comes with its reply, or at once when none can be asked for. */
void
pe_do_token(PeWorker *worker, const pe_action *action)
{
	PeLink *link = link_by_id(worker, action->link);
	char reason[256] = "";
	pe_error err = {0};
	pe_status status;
	Exchange *exchange;
	pe_platform *platform;

	pe_link_refresh(worker, link);
	if (link->session == NULL)
	{
		status = open_session(worker, link, reason, sizeof(reason));
		if (status != PE_OK)
		{
			tell_token(worker, link, status, reason);
			return;
		}
	}
	platform = link->session->connection->platform;
	if (!link->asked && pe_token_valid(platform))
	{
		pe_sender_token(worker->sender, link->id, pe_worker_now(), PE_OK, NULL);
		link->asked = true;
		return;
	}
	link->asked = true;
	pe_token_forget(platform);
	exchange = make_exchange(worker, link, NULL);
	exchange->session = link->session;
	status = pe_token_request(platform, &exchange->form, &err);
	if (status == PE_OK)
		status = start_exchange(exchange, &exchange->form.request, &err);
	if (status != PE_OK)
	{
		pe_token_form_free(&exchange->form);
		MemoryContextDelete(exchange->context);
		tell_token(worker, link, status, err.message);
	}
}

static void
token_reply(PeWorker *worker, Exchange *exchange, pe_http_response *response)
{
	pe_error err = {0};
	pe_status status = pe_token_accept(exchange->session->connection->platform, response, &err);

	pe_token_form_free(&exchange->form);
	/* Neither a token for a session that is not used any more nor its refusal says anything. */
	if (exchange->session->retired)
		pe_sender_token(worker->sender, exchange->link->id, pe_worker_now(), PE_UNREACHABLE, NULL);
	else
		tell_token(worker, exchange->link, status, err.message);
}

static pe_status
transport_of(const pe_http_response *response)
{
	switch (response->failure)
	{
		case PE_HTTP_DONE:
			return PE_OK;
		case PE_HTTP_UNTRUSTED:
			return PE_UNTRUSTED;
		case PE_HTTP_ADDRESS:
		case PE_HTTP_SETTING:
			return PE_CONFIGURATION;
		case PE_HTTP_MEMORY:
			return PE_OUT_OF_MEMORY;
		case PE_HTTP_EXHAUSTED:
			return PE_EXHAUSTED;
		default:
			return PE_UNREACHABLE;
	}
}

/* ---- calls that are not the sender's --------------------------------------------------- */

pe_platform *
pe_link_platform(const PeLink *link)
{
	return link->session != NULL ? link->session->connection->platform : NULL;
}

static pe_status
start_call(Exchange *exchange, pe_error *err)
{
	const PeConnection *connection = exchange->session->connection;
	const pe_call *call = exchange->call;
	char *url = MemoryContextAlloc(exchange->context,
	                               strlen(connection->server.platform_url) + strlen(call->path) + 1);
	pe_header_set headers;
	pe_http_request request = {
	    .method = call->method,
	    .url = url,
	    .body = call->body,
	    .body_length = call->body_length,
	    .max_body = call->max_body,
	    .total_timeout_ms = call->total_timeout_ms,
	};
	const char *type = call->content_type;

	strcpy(url, connection->server.platform_url);
	strcat(url, call->path);
	if (type == NULL && call->body != NULL)
		type = "application/json";
	pe_platform_headers(connection->platform, type, &headers);
	if (call->accept != NULL)
		pe_header_add(&headers, "Accept", call->accept);
	if (call->range != NULL)
		pe_header_add(&headers, "Range", call->range);
	request.headers = headers.headers;
	request.header_count = headers.count;
	exchange->call_token = false;
	return start_exchange(exchange, &request, err);
}

static pe_status
start_call_token(Exchange *exchange, pe_error *err)
{
	pe_status status = pe_token_request(exchange->session->connection->platform, &exchange->form, err);

	exchange->call_token = true;
	if (status == PE_OK)
		status = start_exchange(exchange, &exchange->form.request, err);
	if (status != PE_OK)
		pe_token_form_free(&exchange->form);
	return status;
}

bool
pe_exchange_call(PeWorker *worker, PeLink *link, const pe_call *call, PeCallDone done, void *arg,
                 pe_result *result)
{
	static char reason[256];
	Exchange *exchange;
	pe_error err = {0};

	*result = (pe_result){.reason = reason};
	pe_link_refresh(worker, link);
	if (link->session == NULL)
	{
		result->transport = open_session(worker, link, reason, sizeof(reason));
		if (result->transport != PE_OK)
			return false;
	}
	exchange = make_exchange(worker, link, NULL);
	exchange->session = link->session;
	exchange->call = call;
	exchange->done = done;
	exchange->arg = arg;
	worker->requests++;
	if (pe_token_valid(link->session->connection->platform))
		result->transport = start_call(exchange, &err);
	else
		result->transport = start_call_token(exchange, &err);
	if (result->transport == PE_OK)
		return true;
	note_shortage(worker, result->transport, err.message);
	strlcpy(reason, err.message, sizeof(reason));
	MemoryContextDelete(exchange->context);
	return false;
}

/* Says how a call ended; a refused token is not used again. */
static void
end_call(PeWorker *worker, Exchange *exchange, const pe_http_response *response)
{
	char reason[256] = "";
	pe_result result = {
	    .transport = transport_of(response),
	    .body_sent = response->body_sent,
	    .http_status = response->status,
	    .readable = true,
	    .reason = reason,
	};

	if (result.transport != PE_OK)
		strlcpy(reason, response->reason, sizeof(reason));
	else if (response->status < 200 || response->status >= 300)
	{
		result.retry_after = (int64_t) pe_http_retry_after(response, (int64_t) time(NULL)) * PE_SECOND;
		pe_platform_error_text(response->body, response->body_length, reason, sizeof(reason));
		if (reason[0] == '\0')
			snprintf(reason, sizeof(reason), "the platform answered %d", response->status);
		if (response->status == 401 || response->status == 403)
			pe_token_forget(exchange->session->connection->platform);
	}
	exchange->done(worker, exchange->arg, &result, response);
}

/* True when the call that waited for the token is under way now. */
static bool
call_token_reply(PeWorker *worker, Exchange *exchange, pe_http_response *response)
{
	pe_error err = {0};
	pe_result result;
	pe_status status = pe_token_accept(exchange->session->connection->platform, response, &err);

	pe_token_form_free(&exchange->form);
	if (status == PE_OK)
		status = start_call(exchange, &err);
	if (status == PE_OK)
		return true;
	/* Nothing of the call has left. A credential that is refused is what a refused token would be. */
	result = (pe_result){.transport = status, .reason = err.message};
	if (status == PE_UNAUTHORISED)
		result = (pe_result){.http_status = 401, .reason = err.message};
	exchange->done(worker, exchange->arg, &result, response);
	return false;
}

/* ---- messages --------------------------------------------------------------------------- */

static void
note_message(Exchange *exchange, const PeTarget *target, const PeLoad *load, const PeBuilt *built)
{
	exchange->log.at = GetCurrentTimestamp();
	exchange->log.enrichment_id = target->enrichment_id;
	exchange->log.chunk_id = load->chunk_count > 0 ? load->chunks[0].chunk_id : 0;
	exchange->log.shard = exchange->slot->shard;
	exchange->log.messages = built->sent_count;
	exchange->log.bytes = (int64) exchange->body.length;
}

static pe_status
start_message(PeWorker *worker, Exchange *exchange, const PeTarget *target, pe_error *err)
{
	const PeConnection *connection = exchange->session->connection;
	char *url = psprintf("%s/collection/%s%s", connection->server.collection_url,
	                     exchange->alone ? "" : "batch/", target->inlet_id);
	pe_header_set headers;
	pe_http_request request = {
	    .method = "POST",
	    .url = url,
	    .body = exchange->body.data,
	    .body_length = exchange->body.length,
	    .max_body = MAX_REPLY_BYTES,
	};

	pe_platform_headers(connection->platform, "application/json", &headers);
	request.headers = headers.headers;
	request.header_count = headers.count;
	strlcpy(exchange->log.platform_id, headers.request_id, sizeof(exchange->log.platform_id));
	worker->requests++;
	return start_exchange(exchange, &request, err);
}

/* The request did not come to be; as far as the queue goes that is "not sent". */
static void
not_started(PeWorker *worker, Exchange *exchange, const pe_error *err)
{
	pe_result result = {.transport = err->code != PE_OK ? err->code : PE_UNREACHABLE, .reason = err->message};
	pe_response_summary summary;

	note_shortage(worker, result.transport, err->message);
	pe_sender_response(worker->sender, exchange->slot, pe_worker_now(), &result, &summary);
	exchange->log.outcome = pe_outcome_name(summary.outcome);
	strlcpy(exchange->log.error, err->message, sizeof(exchange->log.error));
	pe_delivery_log(&exchange->log);
}

static bool
begin_body(Exchange *exchange, const PeTarget *target, size_t expected, size_t max_bytes, bool alone)
{
	pe_message_target message = {
	    .schema_id = target->schema_id,
	    .org_id = target->org_id,
	    .dataset_id = target->dataset_id,
	    .flow_id = target->flow_id,
	    .tenant = target->tenant,
	    .enrichment = target->name,
	    .namespace = target->namespace_code,
	    /* with room for keys and values that are a little longer than those before */
	    .expected_bytes = alone || expected == 0 ? 0 : expected + expected / 8 + 4096,
	};

	exchange->alone = alone;
	return pe_message_begin(&exchange->body, &exchange->env, &message, max_bytes, alone, NULL) == PE_OK;
}

void
pe_do_send(PeWorker *worker, const pe_action *action)
{
	pe_slot *slot = action->slot;
	PeQueue *enrichment = pe_queue_of(worker, slot->enrichment, true);
	PeLink *link = link_by_id(worker, slot->link);
	PeLoad *load = enrichment->loads[slot->shard];
	PeBuilt lists;
	pe_built built;
	pe_error err = {0};
	Exchange *exchange;

	if (link->session == NULL || pe_connection_stale(link->session->connection) ||
	    !pe_token_valid(link->session->connection->platform))
	{
		pe_sender_build_failed(worker->sender, slot, pe_worker_now(), true);
		return;
	}
	exchange = make_exchange(worker, link, slot);
	exchange->session = link->session;
	if (enrichment->target == NULL || load == NULL ||
	    !begin_body(exchange, enrichment->target, enrichment->last_bytes, action->max_bytes, action->alone) ||
	    !pe_delivery_build(slot->enrichment, load, action->keys, action->key_count, &exchange->body,
	                       &lists) ||
	    pe_message_end(&exchange->body, NULL) != PE_OK)
	{
		MemoryContextDelete(exchange->context);
		pe_sender_build_failed(worker->sender, slot, pe_worker_now(), false);
		return;
	}
	built = (pe_built){lists.sent,    lists.sent_count,    lists.superseded,     lists.superseded_count,
	                   lists.too_big, lists.too_big_count, exchange->body.length};
	/* Shorter requests after a long one make less room again. */
	enrichment->last_bytes = Max(exchange->body.length, enrichment->last_bytes / 2);
	note_message(exchange, enrichment->target, load, &lists);
	pe_sender_built(worker->sender, slot, pe_worker_now(), &built);
	if (lists.sent_count == 0)
		MemoryContextDelete(exchange->context);
	else if (start_message(worker, exchange, enrichment->target, &err) != PE_OK)
	{
		not_started(worker, exchange, &err);
		MemoryContextDelete(exchange->context);
	}
}

/* Reads a 2xx's body into the result; entries live in the exchange's context. */
static void
read_reply(Exchange *exchange, const pe_http_response *response, pe_result *result, char *reason, size_t size)
{
	pe_ingest_reply reply = {0};
	pe_result_entry *entries;
	pe_status status;

	if (exchange->alone)
		status = pe_ingest_reply_single(&exchange->env, response->body, response->body_length, &reply, NULL);
	else
		status = pe_ingest_reply_batch(&exchange->env, response->body, response->body_length, MAX_ENTRIES,
		                               &reply, NULL);
	if (status != PE_OK)
		return;
	result->readable = true;
	result->single = exchange->alone;
	result->entry_count = reply.count;
	result->reordered = reply.reordered;
	entries = MemoryContextAllocZero(exchange->context, Max(reply.count, 1) * sizeof(pe_result_entry));
	for (int i = 0; i < reply.count; i++)
	{
		entries[i].status = reply.entries[i].status;
		entries[i].message = reply.entries[i].message;
	}
	if (exchange->alone && reply.count == 1 && reply.entries[0].message != NULL)
		strlcpy(reason, reply.entries[0].message, size);
	result->entries = entries;
	if (reply.batch_id != NULL && reply.batch_id[0] != '\0')
		strlcpy(exchange->log.platform_id, reply.batch_id, sizeof(exchange->log.platform_id));
	/* The reply's strings are in the exchange's context and go with it. */
}

static void
message_reply(PeWorker *worker, Exchange *exchange, const pe_http_response *response)
{
	char reason[256] = "";
	pe_result result = {
	    .transport = transport_of(response),
	    .body_sent = response->body_sent,
	    .http_status = response->status,
	    .reason = reason,
	};
	pe_response_summary summary;

	if (result.transport == PE_OK)
		result.retry_after = (int64_t) pe_http_retry_after(response, (int64_t) time(NULL)) * PE_SECOND;
	if (result.transport != PE_OK)
		strlcpy(reason, response->reason, sizeof(reason));
	else if (response->status >= 200 && response->status < 300)
		read_reply(exchange, response, &result, reason, sizeof(reason));
	else
	{
		pe_platform_error_text(response->body, response->body_length, reason, sizeof(reason));
		if (reason[0] == '\0')
			snprintf(reason, sizeof(reason), "the platform answered %d", response->status);
	}
	pe_sender_response(worker->sender, exchange->slot, pe_worker_now(), &result, &summary);
	worker->accepted += summary.accepted;

	exchange->log.http_status = result.transport == PE_OK ? response->status : 0;
	/* An answer for each record is "mixed" only when some of them were not accepted. */
	exchange->log.outcome = pe_outcome_name(
	    summary.outcome == PE_OUTCOME_MIXED && summary.retried + summary.dead == 0 ? PE_OUTCOME_ACCEPTED
	                                                                               : summary.outcome);
	exchange->log.accepted = summary.accepted;
	exchange->log.retried = summary.retried;
	exchange->log.dead = summary.dead;
	exchange->log.latency_ms = (double) response->elapsed_us / 1000;
	if (summary.outcome == PE_OUTCOME_UNKNOWN && reason[0] == '\0')
		strlcpy(reason, "the reply could not be understood", sizeof(reason));
	else if (summary.outcome == PE_OUTCOME_MISCOUNTED)
		strlcpy(reason,
		        result.reordered ? "the reply's entries are in another order than the messages"
		                         : "the reply has another number of entries than messages were sent",
		        sizeof(reason));
	strlcpy(exchange->log.error, reason, sizeof(exchange->log.error));
	pe_delivery_log(&exchange->log);
}

static void
take_replies(PeWorker *worker, PeSession *session)
{
	pe_http *http = pe_platform_http(session->connection->platform);
	pe_http_response response;
	bool last = false;

	while (!last && pe_http_next(http, &response))
	{
		Exchange *exchange = response.owner;
		bool goes_on = false;

		note_shortage(worker, transport_of(&response), response.reason);
		if (exchange->slot != NULL)
			message_reply(worker, exchange, &response);
		else if (exchange->call == NULL)
			token_reply(worker, exchange, &response);
		else if (exchange->call_token)
			goes_on = call_token_reply(worker, exchange, &response);
		else
			end_call(worker, exchange, &response);
		pe_http_response_free(&response);
		/* Closing a retired session ends the client that we are reading from. */
		last = session->retired && session->exchanges == 1;
		release_session(exchange->link, session);
		if (!goes_on)
			MemoryContextDelete(exchange->context);
	}
}

void
pe_exchange_dispatch(PeWorker *worker)
{
	ListCell *cell, *retired;
	pe_error err = {0};
	pe_status status = pe_http_pool_dispatch(worker->pool, &err);

	note_shortage(worker, status, err.message);
	foreach (cell, worker->links)
	{
		PeLink *link = lfirst(cell);
		List *sessions;

		if (link->session != NULL)
			take_replies(worker, link->session);
		if (link->retired == NIL)
			continue;
		sessions = list_copy(link->retired);
		foreach (retired, sessions)
			take_replies(worker, lfirst(retired));
		list_free(sessions);
	}
}

int
pe_exchange_timeout(PeWorker *worker, int timeout)
{
	int wanted = pe_http_pool_timeout_ms(worker->pool);

	return wanted >= 0 && wanted < timeout ? wanted : timeout;
}
