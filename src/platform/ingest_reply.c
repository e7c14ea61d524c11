/*
 * ingest_reply.c
 *		What streaming ingestion answered.
 */
#include "platform/ingest_reply.h"
#include "platform/ingest_reply_plain.h"
#include "platform/json.h"
#include "platform/utf8.h"

/* 500 entries with a message each parse into about one megabyte. */
#define REPLY_MEMORY  (16 * 1024 * 1024)
#define MESSAGE_BYTES 501

/* The number behind the last '-' or ':', which is the message's position in clean replies. */
static int
index_of(const char *xaction_id)
{
	const char *end = xaction_id + strlen(xaction_id);
	const char *start = end;
	int index = 0;

	while (start > xaction_id && start[-1] >= '0' && start[-1] <= '9')
		start--;
	if (start == end || end - start > 8 || start == xaction_id || (start[-1] != '-' && start[-1] != ':'))
		return -1;
	for (; start < end; start++)
		index = index * 10 + (*start - '0');
	return index;
}

/* The refusal's text: "message", or what a problem body has instead. */
static const char *
entry_message(pe_pool *pool, pe_json *entry)
{
	static const char *const keys[] = {"message", "detail", "title", "error"};
	char text[MESSAGE_BYTES] = "";
	const char *found = NULL;

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]) && found == NULL; i++)
		found = pe_json_string(entry, keys[i]);
	if (found == NULL)
		found = pe_json_text(pe_json_path(entry, "report", "message", NULL));
	if (found != NULL)
		pe_utf8_printable(found, strlen(found), text, sizeof(text));
	return pe_pool_strdup(pool, text);
}

/*
 * An entry without a status is an accepted one, provided that nothing in it says
 * otherwise: a status that is there but unreadable must not pass for acceptance.
 */
static pe_status
read_entry(pe_pool *pool, pe_json *json, pe_ingest_entry *entry, pe_error *err)
{
	static const char *const keys[] = {"status", "statusCode"};
	int64_t status = 200;
	bool stated = false;

	if (!pe_json_is_object(json))
		return pe_fail(err, PE_BAD_REPLY, "an entry of the ingestion reply is not an object");
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
	{
		int64_t value;

		if (!json_object_object_get_ex(json, keys[i], NULL))
			continue;
		if (!pe_json_int64(json, keys[i], &value) || value < 100 || value > 599)
			return pe_fail(err, PE_BAD_REPLY, "an entry of the ingestion reply has an unreadable status");
		/* of two that disagree the worse one counts */
		if (!stated || value > status)
			status = value;
		stated = true;
	}
	entry->xaction_id = pe_json_dup(pool, json, "xactionId");
	entry->message = entry_message(pool, json);
	if (entry->xaction_id == NULL || entry->message == NULL)
		return pe_fail_memory(err);
	if (!stated && entry->xaction_id[0] == '\0')
		return pe_fail(err, PE_BAD_REPLY,
		               "an entry of the ingestion reply has neither status nor transaction id");
	entry->status = (int) status;
	return PE_OK;
}

pe_status
pe_ingest_reply_single(const pe_env *env, const char *body, size_t length, pe_ingest_reply *reply,
                       pe_error *err)
{
	pe_json *json;
	pe_status status;

	memset(reply, 0, sizeof(*reply));
	pe_pool_init(&reply->pool, env);
	status = pe_json_parse(body, length, REPLY_MEMORY, "ingestion reply", &json, err);
	if (status != PE_OK)
		return status;
	reply->entries = pe_pool_alloc(&reply->pool, sizeof(*reply->entries));
	reply->batch_id = "";
	if (reply->entries == NULL)
		status = pe_fail_memory(err);
	else
		status = read_entry(&reply->pool, json, reply->entries, err);
	if (status == PE_OK && reply->entries[0].xaction_id[0] == '\0')
		status = pe_fail(err, PE_BAD_REPLY, "the ingestion reply has no transaction id");
	if (status == PE_OK)
		reply->entries[0].index = index_of(reply->entries[0].xaction_id);
	reply->received_ms = pe_json_int64_or(json, "receivedTimeMs", 0);
	reply->count = 1;
	pe_json_free(json);
	if (status != PE_OK)
		pe_ingest_reply_free(reply);
	return status;
}

/*
 * Do the entries' numbers contradict their positions? Ids may end in digits that mean
 * nothing; numbers that are all within range and never the same mean what they say.
 */
static bool
is_reordered(const pe_ingest_reply *reply)
{
	bool displaced = false;

	for (int i = 0; i < reply->count; i++)
	{
		if (reply->entries[i].index >= reply->count)
			return false;
		displaced |= reply->entries[i].index >= 0 && reply->entries[i].index != i;
	}
	for (int i = 0; displaced && i < reply->count; i++)
		for (int j = 0; j < i; j++)
			if (reply->entries[i].index >= 0 && reply->entries[i].index == reply->entries[j].index)
				return false;
	return displaced;
}

/* Any reply, by a tree of it. */
static pe_status
read_tree(const pe_env *env, const char *body, size_t length, int max_entries, pe_ingest_reply *reply,
          pe_error *err)
{
	pe_json *json;
	pe_json *responses;
	pe_status status;
	int count;

	memset(reply, 0, sizeof(*reply));
	pe_pool_init(&reply->pool, env);
	status = pe_json_parse(body, length, REPLY_MEMORY, "ingestion reply", &json, err);
	if (status != PE_OK)
		return status;
	responses = pe_json_member(json, "responses");
	count = pe_json_length(responses);
	if (!pe_json_is_array(responses))
		status = pe_fail(err, PE_BAD_REPLY, "the ingestion reply has no list of responses");
	else if (count > max_entries)
		status =
		    pe_fail(err, PE_BAD_REPLY, "the ingestion reply has %d entries, more than the %d messages sent",
		            count, max_entries);
	else if ((reply->entries = pe_pool_alloc(&reply->pool, (size_t) count * sizeof(*reply->entries))) ==
	             NULL ||
	         (reply->batch_id = pe_json_dup(&reply->pool, json, "batchId")) == NULL)
		status = pe_fail_memory(err);
	reply->received_ms = pe_json_int64_or(json, "receivedTimeMs", 0);
	for (int i = 0; i < count && status == PE_OK; i++)
	{
		pe_json *item = pe_json_item(responses, i);

		status = read_entry(&reply->pool, item, &reply->entries[i], err);
		/* accepted entries carry no message: one that does and has no status could mean either */
		if (status == PE_OK && reply->entries[i].message[0] != '\0' &&
		    pe_json_member(item, "status") == NULL && pe_json_member(item, "statusCode") == NULL)
			status =
			    pe_fail(err, PE_BAD_REPLY, "an entry of the ingestion reply has a message but no status");
		reply->count = i + 1;
	}
	pe_json_free(json);
	return status;
}

pe_status
pe_ingest_reply_batch(const pe_env *env, const char *body, size_t length, int max_entries,
                      pe_ingest_reply *reply, pe_error *err)
{
	pe_status status;

	memset(reply, 0, sizeof(*reply));
	pe_pool_init(&reply->pool, env);
	status = pe_ingest_reply_plain(body, length, max_entries, reply);
	if (status == PE_OUT_OF_MEMORY)
		status = pe_fail_memory(err);
	else if (status != PE_OK)
	{
		pe_ingest_reply_free(reply);
		status = read_tree(env, body, length, max_entries, reply, err);
	}
	if (status != PE_OK)
	{
		pe_ingest_reply_free(reply);
		return status;
	}
	for (int i = 0; i < reply->count; i++)
		reply->entries[i].index = index_of(reply->entries[i].xaction_id);
	reply->reordered = is_reordered(reply);
	return PE_OK;
}

void
pe_ingest_reply_free(pe_ingest_reply *reply)
{
	pe_pool_free(&reply->pool);
	reply->entries = NULL;
	reply->count = 0;
	reply->batch_id = "";
}
