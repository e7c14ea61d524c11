/*
 * ingest_reply.h
 *		What streaming ingestion answered: one record's 200, or a batch's 207.
 *
 * This decides what counts as received, so it never guesses: a body that is cut,
 * does not parse or lacks what it must have is PE_BAD_REPLY, and the sender treats
 * that as "unknown" and sends again.
 */
#ifndef PE_PLATFORM_INGEST_REPLY_H
#define PE_PLATFORM_INGEST_REPLY_H

#include "platform/pool.h"

typedef struct pe_ingest_entry
{
	int status;             /* 200 when the entry has none, which means accepted */
	int index;              /* the number at the end of xactionId, -1 when unreadable */
	const char *message;    /* printable, at most 500 bytes, "" when none */
	const char *xaction_id; /* "" when none */
} pe_ingest_entry;

/* Entry i belongs to message i only when count equals the number of messages sent, and is not reordered. */
typedef struct pe_ingest_reply
{
	pe_ingest_entry *entries;
	int count;
	bool reordered;       /* the entries' own numbers say that they stand in another order */
	const char *batch_id; /* of a 207; "" */
	int64_t received_ms;  /* 0 when absent */
	pe_pool pool;
} pe_ingest_reply;

/* Body of a 200 to one message: one entry. */
pe_status pe_ingest_reply_single(const pe_env *env, const char *body, size_t length, pe_ingest_reply *reply,
                                 pe_error *err);
/* Body of a 207 to many. More than max_entries is PE_BAD_REPLY. */
pe_status pe_ingest_reply_batch(const pe_env *env, const char *body, size_t length, int max_entries,
                                pe_ingest_reply *reply, pe_error *err);
void pe_ingest_reply_free(pe_ingest_reply *reply);

#endif /* PE_PLATFORM_INGEST_REPLY_H */
