/*
 * reply_ways.h
 *		The two ways of reading a batch's reply say the same.
 */
#ifndef REPLY_WAYS_H
#define REPLY_WAYS_H

#include <stdlib.h>
#include <string.h>

#include "platform/ingest_reply.h"

static void *
plain_alloc(void *ctx, size_t size)
{
	(void) ctx;
	return malloc(size);
}

static void *
plain_realloc(void *ctx, void *ptr, size_t size)
{
	(void) ctx;
	return realloc(ptr, size);
}

static void
plain_free(void *ctx, void *ptr)
{
	(void) ctx;
	free(ptr);
}

/*
 * Most replies are read in a short way (ingest_reply_plain.c). A member that it does not know
 * makes it leave the same reply to the long way, which must say the same.
 */
static void
compare_ways(const char *body, size_t length, const pe_ingest_reply *reply)
{
	const pe_env plenty = {.allocator = {plain_alloc, plain_realloc, plain_free, NULL}};
	const char *brace = memchr(body, '{', length);
	static const char member[] = "\"unknown\":0,";
	size_t before = brace == NULL ? 0 : (size_t) (brace - body) + 1;
	char *longer = malloc(length + sizeof(member));
	pe_ingest_reply again;
	pe_status status;

	memcpy(longer, body, before);
	memcpy(longer + before, member, sizeof(member) - 1);
	memcpy(longer + before + sizeof(member) - 1, body + before, length - before);
	status = pe_ingest_reply_batch(&plenty, longer, length + sizeof(member) - 1, 500, &again, NULL);
	free(longer);
	if (status != PE_OK || again.count != reply->count || again.reordered != reply->reordered ||
	    again.received_ms != reply->received_ms || strcmp(again.batch_id, reply->batch_id) != 0)
		abort();
	for (int i = 0; i < reply->count; i++)
		if (again.entries[i].status != reply->entries[i].status ||
		    again.entries[i].index != reply->entries[i].index ||
		    strcmp(again.entries[i].message, reply->entries[i].message) != 0 ||
		    strcmp(again.entries[i].xaction_id, reply->entries[i].xaction_id) != 0)
			abort();
	pe_ingest_reply_free(&again);
}

#endif /* REPLY_WAYS_H */
