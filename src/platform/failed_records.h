/*
 * failed_records.h
 *		The records that the platform refused after it had taken them: where their files
 *		are, and whose record each line is.
 *
 * A batch that landed lists them under its diagnostics (row_errors), one that failed
 * under failed; streamed messages that did not fit turn up in a failed batch of their
 * data set. Kept for 30 days.
 */
#ifndef PE_PLATFORM_FAILED_RECORDS_H
#define PE_PLATFORM_FAILED_RECORDS_H

#include "platform/outcome.h"
#include "platform/platform.h"

/* Bytes of a file that are asked for at a time. */
#define PE_FAILED_RANGE ((int64_t) 1024 * 1024)
/* A line longer than that is nobody's record: counted as one without identity. */
#define PE_FAILED_LINE ((size_t) 2 * 1024 * 1024)

typedef enum pe_failed_area
{
	PE_FAILED_ROW_ERRORS,
	PE_FAILED_BATCH
} pe_failed_area;

typedef struct pe_failed_file
{
	const char *path; /* of the request that downloads it */
	int64_t length;   /* -1 when the platform did not say */
} pe_failed_file;

typedef struct pe_failed_list
{
	pe_failed_file *items;
	int count;
	const char *next; /* path of the next page, or NULL */
	pe_pool pool;
} pe_failed_list;

/* page: NULL for the first one. */
pe_status pe_failed_list_request(pe_pool *pool, const char *batch_id, pe_failed_area area, const char *page,
                                 pe_call *call, pe_error *err);
/* platform says which links may be followed. Free the list always. */
pe_status pe_failed_list_read(pe_platform *platform, const char *batch_id, pe_failed_area area,
                              const char *body, size_t length, pe_failed_list *list, pe_error *err);
void pe_failed_list_free(pe_failed_list *list);

/* The next bytes of a file. */
pe_status pe_failed_range_request(pe_pool *pool, const pe_failed_file *file, int64_t offset, pe_call *call,
                                  pe_error *err);
/*
 * Was that the file's last part? A reply with the whole file (200) is, and PE_BAD_REPLY
 * unless it was the first.
 */
pe_status pe_failed_range_end(const pe_failed_file *file, int64_t offset, const pe_http_response *response,
                              bool *end, pe_error *err);

/* One refused record. The texts are valid during the callback only. */
typedef struct pe_failed_record
{
	const char *key;       /* NULL: it does not say whose it is */
	const char *scored_at; /* as it was sent, or "" */
	pe_outcome outcome;    /* REFUSED, or what the status in the reason's code means */
	const char *reason;    /* printable, bounded */
} pe_failed_record;

typedef void (*pe_take_failed)(void *ctx, const pe_failed_record *record);

/* Splits what is downloaded into lines and lines into records. */
typedef struct pe_failed_reader
{
	const pe_env *env;
	const char *namespace;  /* of the keys, any case */
	const char *tenant;     /* without the underscore */
	const char *enrichment; /* whose attributes the records carry */
	pe_take_failed take;
	void *ctx;
	char *line; /* begun, not yet ended */
	size_t length;
	size_t capacity;
	bool too_long;
} pe_failed_reader;

/* take must not jump. PE_OUT_OF_MEMORY leaves the reader usable for nothing but its free. */
pe_status pe_failed_feed(pe_failed_reader *reader, const char *bytes, size_t length, pe_error *err);
/* The end of a file, where a line may end without a newline. */
pe_status pe_failed_end(pe_failed_reader *reader, pe_error *err);
void pe_failed_reader_free(pe_failed_reader *reader);

#endif /* PE_PLATFORM_FAILED_RECORDS_H */
