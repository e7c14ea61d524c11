/*
 * ingest_reply_plain.h
 *		The common case of a batch's reply, read without a tree of the whole.
 */
#ifndef PE_PLATFORM_INGEST_REPLY_PLAIN_H
#define PE_PLATFORM_INGEST_REPLY_PLAIN_H

#include "platform/ingest_reply.h"

/*
 * Reads a reply whose entries hold a transaction id and nothing else, so that all are
 * accepted, but for the entries' indexes and reordered. PE_BAD_REPLY when there is anything else in
 * it, or it is not quite the JSON that was expected: then it has to be read the long way. Whatever
 * came of it, the reply's pool must be freed.
 */
pe_status pe_ingest_reply_plain(const char *body, size_t length, int max_entries, pe_ingest_reply *reply);

#endif /* PE_PLATFORM_INGEST_REPLY_PLAIN_H */
