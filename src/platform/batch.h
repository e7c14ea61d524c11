/*
 * batch.h
 *		Batch ingestion: the requests that create, fill and complete a batch and ask what
 *		became of it, and the readers of their replies. Whoever has an event loop sends
 *		them; nothing here blocks.
 *
 * Every request may be repeated: a batch is looked up by its external id before it is
 * created again, files overwrite, completing twice is one.
 */
#ifndef PE_PLATFORM_BATCH_H
#define PE_PLATFORM_BATCH_H

#include "platform/catalog.h"
#include "platform/platform.h"

/* The largest file of a batch; aside from that a file's size is the sender's choice. */
#define PE_BATCH_MAX_FILE ((size_t) 256 * 1024 * 1024)
/* Rows of one page of a list of batches. */
#define PE_BATCH_PAGE 100
/* Replies to all but the creation of a batch are small; this is room for a page of batches. */
#define PE_BATCH_MAX_REPLY (2 * 1024 * 1024)

/*
 * Each fills *call; path and body are in the pool. Ids and names are letters, digits
 * and -_. only, anything else is PE_INVALID_OPTION.
 */

/* JSON lines, diagnostics on, at most error_percent of the records may fail. */
pe_status pe_batch_create_request(pe_pool *pool, const char *dataset_id, const char *external_id,
                                  int error_percent, pe_call *call, pe_error *err);
/* data is borrowed. The same name again overwrites. */
pe_status pe_batch_put_request(pe_pool *pool, const char *batch_id, const char *dataset_id, const char *name,
                               const void *data, size_t length, pe_call *call, pe_error *err);
/* 200 means taken, not ingested: pe_batch_get_request tells. */
pe_status pe_batch_complete_request(pe_pool *pool, const char *batch_id, pe_call *call, pe_error *err);
pe_status pe_batch_abort_request(pe_pool *pool, const char *batch_id, pe_call *call, pe_error *err);

pe_status pe_batch_get_request(pe_pool *pool, const char *batch_id, pe_call *call, pe_error *err);
pe_status pe_batch_find_request(pe_pool *pool, const char *external_id, pe_call *call, pe_error *err);

/* One page of PE_BATCH_PAGE batches, newest first, from start on; NULL and 0 mean any. */
typedef struct pe_batch_query
{
	const char *dataset_id;
	const char *status;
	int64_t created_after_ms;
	int start;
} pe_batch_query;

pe_status pe_batch_list_request(pe_pool *pool, const pe_batch_query *query, pe_call *call, pe_error *err);

/* The id in the reply to a creation. id: at least 64 bytes. */
pe_status pe_batch_created(const pe_env *env, const char *body, size_t length, char *id, size_t size,
                           pe_error *err);
/* The batches in the reply to get, find and list; free the list with pe_batch_list_free. */
pe_status pe_batch_read_list(const pe_env *env, const char *body, size_t length, pe_batch_list *list,
                             pe_error *err);

#endif /* PE_PLATFORM_BATCH_H */
