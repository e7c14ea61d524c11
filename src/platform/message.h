/*
 * message.h
 *		The body of a request that carries profile records, written straight into one
 *		growing buffer: messages of streaming ingestion in their envelopes, or the bare
 *		records of a batch's file, one a line.
 *
 * Values come as JSON text that the caller vouches for (an object without nulls);
 * everything else is escaped here. All text is UTF-8.
 */
#ifndef PE_MESSAGE_H
#define PE_MESSAGE_H

#include "pe_base.h"

/* The platform refuses requests above 1 MB; whether that is 10^6 or 2^20 is not said. */
#define PE_MESSAGE_MAX_BYTES 1000000

/* Where an enrichment's records go. The strings are read by pe_message_begin only. */
typedef struct pe_message_target
{
	const char *schema_id; /* $id of the schema */
	const char *org_id;    /* ...@AdobeOrg */
	const char *dataset_id;
	const char *flow_id;
	const char *tenant;     /* without the leading underscore */
	const char *enrichment; /* object under the tenant's that holds the attributes */
	const char *namespace;  /* identity namespace code of the keys */
	size_t expected_bytes;  /* room to make at once, 0 when unknown */
} pe_message_target;

/* One profile's record. value is NULL for a profile that is retracted. */
typedef struct pe_message_record
{
	const char *key;
	size_t key_length;
	const char *value; /* text of a JSON object */
	size_t value_length;
	int64_t scored_at; /* microseconds since 1970-01-01 UTC */
} pe_message_record;

/* A body under construction; data[0..length) is the finished body after pe_message_end. */
typedef struct pe_message_body
{
	const pe_env *env;
	char *data;
	size_t length;
	size_t capacity;
	size_t max_bytes;
	int messages;
	bool alone; /* one message without the list around it */
	bool lines; /* records without envelopes */
	char *head; /* of each record: envelope up to the tenant's object */
	size_t head_length;
	char *tail; /* of each record: the identity map up to the key */
	size_t tail_length;
	int64_t when_us; /* the time of the record before, and its text */
	char when[64];
	size_t when_length;
} pe_message_body;

/*
 * Starts a body of at most max_bytes. alone makes the body of the single-message
 * call: one message, no list. Free with pe_message_free, also after a failure.
 */
extern pe_status pe_message_begin(pe_message_body *body, const pe_env *env, const pe_message_target *target,
                                  size_t max_bytes, bool alone, pe_error *err);

/*
 * Starts a file of a batch, of at most max_bytes, with room for all of them from the
 * start: of target only tenant, enrichment and namespace count. Needs no pe_message_end.
 */
extern pe_status pe_message_begin_lines(pe_message_body *body, const pe_env *env,
                                        const pe_message_target *target, size_t max_bytes, pe_error *err);

/*
 * Appends a record. When it does not fit any more, the body is left as it was and
 * the result is PE_LIMIT without an error record; a body without messages may be
 * given a record of up to PE_MESSAGE_MAX_BYTES whatever its own limit is.
 */
extern pe_status pe_message_add(pe_message_body *body, const pe_message_record *record, pe_error *err);

/* Closes the list. Nothing can be added afterwards. */
extern pe_status pe_message_end(pe_message_body *body, pe_error *err);

extern void pe_message_free(pe_message_body *body);

/*
 * Writes text as the inside of a JSON string to out, which must have room for
 * 6 * length bytes; returns the bytes written. Bytes that are not UTF-8 become
 * U+FFFD, so that the result is always valid JSON.
 */
extern size_t pe_json_escape(char *out, const char *text, size_t length);

#endif /* PE_MESSAGE_H */
