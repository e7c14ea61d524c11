/*
 * failed_read.c
 *		Reading the records of a batch that the platform refused.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "pg/env.h"
#include "pg/failed_read.h"

/* Called from a pure layer: nothing here may raise. */
static void
take_record(void *ctx, const pe_failed_record *record)
{
	PeFailedRead *read = ctx;
	const pe_env *env = &read->row_env;
	PeFailedRow *row;

	if (record->key == NULL)
	{
		read->strangers++;
		return;
	}
	if (read->row_count == read->row_capacity)
	{
		int capacity = Max(read->row_capacity * 2, 64);
		PeFailedRow *rows = pe_realloc(env, read->rows, capacity * sizeof(PeFailedRow));

		if (rows == NULL)
		{
			read->out_of_memory = true;
			return;
		}
		read->rows = rows;
		read->row_capacity = capacity;
	}
	row = &read->rows[read->row_count];
	row->key = pe_strndup(env, record->key, strlen(record->key));
	row->scored_at = pe_strndup(env, record->scored_at, strlen(record->scored_at));
	row->reason = pe_strndup(env, record->reason, strlen(record->reason));
	row->outcome = record->outcome;
	if (row->key == NULL || row->scored_at == NULL || row->reason == NULL)
		read->out_of_memory = true;
	else
		read->row_count++;
}

PeFailedRead *
pe_failed_read_begin(MemoryContext parent, const char *batch_id, const PeTarget *target, pe_failed_area first)
{
	MemoryContext context =
	    AllocSetContextCreate(parent, "profenrich refused records", ALLOCSET_DEFAULT_SIZES);
	PeFailedRead *read = MemoryContextAllocZero(context, sizeof(PeFailedRead));

	read->context = context;
	read->env = pe_server_env(context);
	strlcpy(read->batch_id, batch_id, sizeof(read->batch_id));
	read->area = first;
	read->areas = 2;
	read->reader = (pe_failed_reader){
	    .env = &read->env,
	    .namespace = MemoryContextStrdup(context, target->namespace_code),
	    .tenant = MemoryContextStrdup(context, target->tenant),
	    .enrichment = MemoryContextStrdup(context, target->name),
	    .take = take_record,
	    .ctx = read,
	};
	read->row_context = AllocSetContextCreate(context, "profenrich refused rows", ALLOCSET_DEFAULT_SIZES);
	read->row_env = pe_server_env(read->row_context);
	return read;
}

pe_status
pe_failed_read_next(PeFailedRead *read, pe_pool *pool, pe_call *call, pe_error *err)
{
	if (!read->listed)
		return pe_failed_list_request(pool, read->batch_id, read->area, read->list.next, call, err);
	return pe_failed_range_request(pool, &read->list.items[read->file], read->offset, call, err);
}

/* Past the files of a page: to its next page, to the other place where records may be, or to the end. */
static void
next_page(PeFailedRead *read)
{
	if (read->file < read->list.count)
		return;
	read->listed = false;
	read->file = 0;
	if (read->list.next != NULL)
		return;
	pe_failed_list_free(&read->list);
	read->area = read->area == PE_FAILED_BATCH ? PE_FAILED_ROW_ERRORS : PE_FAILED_BATCH;
	read->done = --read->areas == 0;
}

static pe_status
take_list(PeFailedRead *read, pe_platform *platform, const pe_http_response *response, pe_error *err)
{
	pe_failed_list list = {0};
	pe_status status = PE_OK;

	/* There are none, or none any more. */
	if (response->status != 404)
		status = pe_failed_list_read(platform, read->batch_id, read->area, response->body,
		                             response->body_length, &list, err);
	if (status != PE_OK)
	{
		pe_failed_list_free(&list);
		return status;
	}
	pe_failed_list_free(&read->list);
	read->list = list;
	read->listed = true;
	read->file = 0;
	read->offset = 0;
	/* Both places tell of the same records: where one of them has files the other is not needed. */
	if (list.count > 0)
		read->areas = 1;
	next_page(read);
	return PE_OK;
}

static pe_status
take_range(PeFailedRead *read, const pe_http_response *response, pe_error *err)
{
	bool end;
	pe_status status = pe_failed_range_end(&read->list.items[read->file], read->offset, response, &end, err);

	if (status == PE_OK && response->status != 416)
		status = pe_failed_feed(&read->reader, response->body, response->body_length, err);
	if (status == PE_OK && end)
		status = pe_failed_end(&read->reader, err);
	if (status != PE_OK)
		return status;
	if (read->out_of_memory)
		return pe_fail_memory(err);
	read->offset += (int64) response->body_length;
	if (end)
	{
		read->file++;
		read->offset = 0;
		next_page(read);
	}
	return PE_OK;
}

pe_status
pe_failed_read_take(PeFailedRead *read, pe_platform *platform, const pe_http_response *response,
                    pe_error *err)
{
	return read->listed ? take_range(read, response, err) : take_list(read, platform, response, err);
}

void
pe_failed_read_written(PeFailedRead *read)
{
	MemoryContextReset(read->row_context);
	read->rows = NULL;
	read->row_count = read->row_capacity = 0;
}
