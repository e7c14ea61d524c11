/*
 * ingest_reply_plain.c
 *		The common case of a batch's reply, read without a tree of the whole:
 *
 *	{"inletId":"..","batchId":"..","receivedTimeMs":0,"responses":[{"xactionId":".."},...]}
 *
 * A tree of 500 entries cost more than writing the 500 messages. What is accepted here is
 * narrower than JSON (texts of printable ASCII without escapes, whole numbers), and never
 * means anything else than it does to the parser that reads all other replies.
 */
#include "platform/ingest_reply_plain.h"

#define MOST_DIGITS 18

typedef struct reader
{
	const char *at;
	const char *end;
	bool out_of_memory;
} reader;

typedef struct text
{
	const char *start;
	size_t length;
} text;

static void
skip_blanks(reader *r)
{
	while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\r' || *r->at == '\n'))
		r->at++;
}

static bool
take(reader *r, char wanted)
{
	skip_blanks(r);
	if (r->at == r->end || *r->at != wanted)
		return false;
	r->at++;
	return true;
}

static bool
take_text(reader *r, text *found)
{
	if (!take(r, '"'))
		return false;
	found->start = r->at;
	while (r->at < r->end && *r->at >= ' ' && *r->at <= '~' && *r->at != '"' && *r->at != '\\')
		r->at++;
	found->length = (size_t) (r->at - found->start);
	if (r->at == r->end || *r->at != '"')
		return false;
	r->at++;
	return true;
}

static bool
take_number(reader *r, int64_t *number)
{
	const char *start;

	skip_blanks(r);
	start = r->at;
	*number = 0;
	for (; r->at < r->end && *r->at >= '0' && *r->at <= '9' && r->at - start < MOST_DIGITS; r->at++)
		*number = *number * 10 + (*r->at - '0');
	return r->at > start && (*start != '0' || r->at == start + 1);
}

static bool
is(text found, const char *name)
{
	return found.length == strlen(name) && memcmp(found.start, name, found.length) == 0;
}

/* Memory of the reply's pool, or NULL. */
static void *
allocated(reader *r, void *memory)
{
	r->out_of_memory |= memory == NULL;
	return memory;
}

static bool
take_entry(reader *r, pe_pool *pool, pe_ingest_entry *entry)
{
	text name, id;

	if (!take(r, '{') || !take_text(r, &name) || !is(name, "xactionId") || !take(r, ':') ||
	    !take_text(r, &id) || id.length == 0 || !take(r, '}'))
		return false;
	entry->status = 200;
	entry->message = "";
	entry->xaction_id = allocated(r, pe_pool_strndup(pool, id.start, id.length));
	return entry->xaction_id != NULL;
}

static bool
take_entries(reader *r, int max_entries, pe_ingest_reply *reply)
{
	/* Twice: which of the two counts is not for us to say. */
	if (reply->entries != NULL || !take(r, '['))
		return false;
	reply->entries =
	    allocated(r, pe_pool_alloc(&reply->pool, (size_t) max_entries * sizeof(*reply->entries)));
	if (reply->entries == NULL)
		return false;
	do
	{
		if (reply->count == max_entries || !take_entry(r, &reply->pool, &reply->entries[reply->count]))
			return false;
		reply->count++;
	} while (take(r, ','));
	return take(r, ']');
}

static bool
take_member(reader *r, int max_entries, pe_ingest_reply *reply)
{
	text name, value;

	if (!take_text(r, &name) || !take(r, ':'))
		return false;
	if (is(name, "responses"))
		return take_entries(r, max_entries, reply);
	if (is(name, "receivedTimeMs"))
		return reply->received_ms == 0 && take_number(r, &reply->received_ms);
	if (!take_text(r, &value))
		return false;
	if (!is(name, "batchId"))
		return true;
	if (reply->batch_id != NULL)
		return false;
	reply->batch_id = allocated(r, pe_pool_strndup(&reply->pool, value.start, value.length));
	return reply->batch_id != NULL;
}

static bool
take_reply(reader *r, int max_entries, pe_ingest_reply *reply)
{
	if (!take(r, '{'))
		return false;
	do
	{
		if (!take_member(r, max_entries, reply))
			return false;
	} while (take(r, ','));
	if (!take(r, '}'))
		return false;
	skip_blanks(r);
	return r->at == r->end && reply->entries != NULL;
}

pe_status
pe_ingest_reply_plain(const char *body, size_t length, int max_entries, pe_ingest_reply *reply)
{
	reader r = {.at = body, .end = body + length};
	bool well = take_reply(&r, max_entries, reply);

	if (reply->batch_id == NULL)
		reply->batch_id = "";
	return r.out_of_memory ? PE_OUT_OF_MEMORY : well ? PE_OK : PE_BAD_REPLY;
}
