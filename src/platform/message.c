/*
 * message.c
 *		Writes the body of a request that carries profile records.
 *
 * A record looks like this, in the envelope of facts the platform asks for:
 *
 *	{"header":{...},"body":{"xdmMeta":{...},"xdmEntity":{
 *		"_tenant":{"enrichment":{<members of the value>,"profileId":key,"scoredAt":"..."}},
 *		"identityMap":{"NS":[{"id":key,"primary":true}]}}}}
 *
 * In a batch's file the entity stands alone on its line.
 *
 * Everything but key, value and time is the same in all records of a request, so
 * it is rendered once: head before the value's members, tail before the second key.
 */
#include "platform/message.h"

#include <time.h>

#define SOURCE_NAME  "profenrich"
#define CONTENT_TYPE "application/vnd.adobe.xed-full+json;version=1"
#define LIST_START   "{\"messages\":["
#define LIST_END     "]}"
#define RECORD_END   "\",\"primary\":true}]}}}}"
#define LINE_END     "\",\"primary\":true}]}}\n"

/* What a record has between the parts that are copied into it, and its time: more than enough. */
#define RECORD_LITERALS 256

/* Length of the well-formed UTF-8 sequence at text, or 0 (overlong, surrogate, cut, stray). */
static size_t
utf8_sequence(const unsigned char *text, size_t left)
{
	unsigned char first = text[0];
	size_t length = first < 0x80   ? 1
	                : first < 0xC2 ? 0
	                : first < 0xE0 ? 2
	                : first < 0xF0 ? 3
	                : first < 0xF5 ? 4
	                               : 0;

	if (length == 0 || length > left)
		return 0;
	for (size_t i = 1; i < length; i++)
		if ((text[i] & 0xC0) != 0x80)
			return 0;
	if ((first == 0xE0 && text[1] < 0xA0) || (first == 0xED && text[1] > 0x9F) ||
	    (first == 0xF0 && text[1] < 0x90) || (first == 0xF4 && text[1] > 0x8F))
		return 0;
	return length;
}

/* Does the byte stand for itself in a JSON string? Those of UTF-8 sequences have to be looked at. */
static bool
is_plain(unsigned char byte)
{
	return byte >= 0x20 && byte < 0x7F && byte != '"' && byte != '\\';
}

size_t
pe_json_escape(char *out, const char *text, size_t length)
{
	static const char hex[] = "0123456789abcdef";
	static const char short_forms[] = "\bb\ff\nn\rr\tt\"\"\\\\";
	const unsigned char *in = (const unsigned char *) text;
	char *start = out;

	for (size_t i = 0; i < length;)
	{
		const char *form = NULL;
		size_t sequence;

		if (is_plain(in[i]))
		{
			*out++ = text[i++];
			continue;
		}
		sequence = utf8_sequence(in + i, length - i);
		if (sequence == 0)
		{
			memcpy(out, "\xEF\xBF\xBD", 3);
			out += 3;
			i++;
			continue;
		}
		for (size_t f = 0; f < sizeof(short_forms) - 1 && sequence == 1; f += 2)
			if ((unsigned char) short_forms[f] == in[i])
				form = &short_forms[f + 1];
		if (form != NULL)
		{
			*out++ = '\\';
			*out++ = *form;
		}
		else if (in[i] < 0x20 || in[i] == 0x7F)
		{
			memcpy(out, "\\u00", 4);
			out[4] = hex[in[i] >> 4];
			out[5] = hex[in[i] & 15];
			out += 6;
		}
		else
		{
			memcpy(out, in + i, sequence);
			out += sequence;
		}
		i += sequence;
	}
	return (size_t) (out - start);
}

/* Room for more bytes at the end of the body. */
static pe_status
reserve(pe_message_body *body, size_t more, pe_error *err)
{
	size_t wanted;
	size_t capacity = body->capacity < 4096 ? 4096 : body->capacity;
	char *grown;

	if (__builtin_add_overflow(body->length, more, &wanted))
		return pe_fail_memory(err);
	if (wanted <= body->capacity)
		return PE_OK;
	while (capacity < wanted)
		if (__builtin_mul_overflow(capacity, (size_t) 2, &capacity))
			return pe_fail_memory(err);
	grown = pe_realloc(body->env, body->data, capacity);
	if (grown == NULL)
		return pe_fail_memory(err);
	body->data = grown;
	body->capacity = capacity;
	return PE_OK;
}

/* Room for so many bytes in all, and no more: a file's size is known beforehand. */
static pe_status
reserve_exactly(pe_message_body *body, size_t bytes, pe_error *err)
{
	body->data = pe_alloc(body->env, bytes);
	if (body->data == NULL)
		return pe_fail_memory(err);
	body->capacity = bytes;
	return PE_OK;
}

static pe_status
append(pe_message_body *body, const char *text, size_t length, pe_error *err)
{
	pe_status status = reserve(body, length, err);

	if (status == PE_OK)
	{
		memcpy(body->data + body->length, text, length);
		body->length += length;
	}
	return status;
}

static pe_status
append_escaped(pe_message_body *body, const char *text, size_t length, pe_error *err)
{
	size_t worst;
	pe_status status;

	if (__builtin_mul_overflow(length, (size_t) 6, &worst))
		return pe_fail_memory(err);
	status = reserve(body, worst, err);
	if (status == PE_OK)
		body->length += pe_json_escape(body->data + body->length, text, length);
	return status;
}

/* Appends alternately literal and escaped strings, ending at a NULL literal. */
static pe_status
append_template(pe_message_body *body, const char *const *pieces, pe_error *err)
{
	pe_status status = PE_OK;

	for (int i = 0; pieces[i] != NULL && status == PE_OK; i++)
		status = i % 2 == 0 ? append(body, pieces[i], strlen(pieces[i]), err)
		                    : append_escaped(body, pieces[i], strlen(pieces[i]), err);
	return status;
}

/* Renders a template aside and hands over the buffer. */
static pe_status
render(const pe_env *env, const char *const *pieces, char **text, size_t *length, pe_error *err)
{
	pe_message_body part = {.env = env};
	pe_status status = append_template(&part, pieces, err);

	if (status != PE_OK)
	{
		pe_free(env, part.data);
		return status;
	}
	*text = part.data;
	*length = part.length;
	return PE_OK;
}

pe_status
pe_message_begin(pe_message_body *body, const pe_env *env, const pe_message_target *target, size_t max_bytes,
                 bool alone, pe_error *err)
{
	const char *head[] = {"{\"header\":{\"schemaRef\":{\"id\":\"",
	                      target->schema_id,
	                      "\",\"contentType\":\"" CONTENT_TYPE "\"},\"imsOrgId\":\"",
	                      target->org_id,
	                      "\",\"datasetId\":\"",
	                      target->dataset_id,
	                      "\",\"flowId\":\"",
	                      target->flow_id,
	                      "\",\"source\":{\"name\":\"" SOURCE_NAME
	                      "\"}},\"body\":{\"xdmMeta\":{\"schemaRef\":{\"id\":\"",
	                      target->schema_id,
	                      "\",\"contentType\":\"" CONTENT_TYPE "\"}},\"xdmEntity\":{\"_",
	                      target->tenant,
	                      "\":{\"",
	                      target->enrichment,
	                      "\":{",
	                      NULL};
	const char *tail[] = {"\"identityMap\":{\"", target->namespace, "\":[{\"id\":\"", NULL};
	pe_status status;

	memset(body, 0, sizeof(*body));
	body->env = env;
	body->max_bytes = max_bytes < PE_MESSAGE_MAX_BYTES ? max_bytes : PE_MESSAGE_MAX_BYTES;
	body->alone = alone;
	status = render(env, head, &body->head, &body->head_length, err);
	if (status == PE_OK)
		status = render(env, tail, &body->tail, &body->tail_length, err);
	if (status == PE_OK && target->expected_bytes > 0)
		status = reserve(body, target->expected_bytes, err);
	if (status == PE_OK && !alone)
		status = append(body, LIST_START, strlen(LIST_START), err);
	return status;
}

pe_status
pe_message_begin_lines(pe_message_body *body, const pe_env *env, const pe_message_target *target,
                       size_t max_bytes, pe_error *err)
{
	const char *head[] = {"{\"_", target->tenant, "\":{\"", target->enrichment, "\":{", NULL};
	const char *tail[] = {"\"identityMap\":{\"", target->namespace, "\":[{\"id\":\"", NULL};
	pe_status status;

	memset(body, 0, sizeof(*body));
	body->env = env;
	body->max_bytes = max_bytes;
	body->lines = true;
	status = render(env, head, &body->head, &body->head_length, err);
	if (status == PE_OK)
		status = render(env, tail, &body->tail, &body->tail_length, err);
	if (status == PE_OK)
		status = reserve_exactly(body, max_bytes, err);
	return status;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* What is between the braces of an object's text; *length is 0 for an empty object. */
static pe_status
members_of(const char *value, size_t value_length, const char **members, size_t *length, pe_error *err)
{
	const char *start = value;
	const char *end = value + value_length;

	while (start < end && is_blank(*start))
		start++;
	while (end > start && is_blank(end[-1]))
		end--;
	if (end - start < 2 || *start != '{' || end[-1] != '}')
		return pe_fail(err, PE_INVALID_DATA, "a value to send is not a JSON object");
	start++;
	end--;
	while (start < end && is_blank(*start))
		start++;
	while (end > start && is_blank(end[-1]))
		end--;
	*members = start;
	*length = (size_t) (end - start);
	return PE_OK;
}

/* RFC 3339, in UTC, to the millisecond: what date-time fields of the platform hold. */
static size_t
format_time(char *out, size_t size, int64_t microseconds)
{
	int64_t seconds = microseconds / 1000000;
	int64_t rest = microseconds % 1000000;
	struct tm parts;
	time_t when;
	int length;

	if (rest < 0)
	{
		rest += 1000000;
		seconds--;
	}
	when = (time_t) seconds;
	if (gmtime_r(&when, &parts) == NULL)
		return 0;
	length =
	    snprintf(out, size, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", parts.tm_year + 1900, parts.tm_mon + 1,
	             parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, (int) (rest / 1000));
	return length < 0 || (size_t) length >= size ? 0 : (size_t) length;
}

/* The text of a time in body->when; records of one refresh mostly have the same one. */
static size_t
scored_at(pe_message_body *body, int64_t microseconds)
{
	if (body->when_length == 0 || body->when_us != microseconds)
	{
		body->when_length = format_time(body->when, sizeof(body->when), microseconds);
		body->when_us = microseconds;
	}
	return body->when_length;
}

static char *
put(char *at, const char *text, size_t length)
{
	memcpy(at, text, length);
	return at + length;
}

#define PUT_LITERAL(at, literal) put(at, literal, sizeof(literal) - 1)

/*
 * Room for a record at the end of the body, whatever has to be escaped in its key. A file has
 * all its room from the start: it is full when what is left may be too little.
 */
static pe_status
reserve_record(pe_message_body *body, size_t key_length, size_t members_length, pe_error *err)
{
	size_t bytes;

	if (__builtin_mul_overflow(key_length, (size_t) 12, &bytes) ||
	    __builtin_add_overflow(bytes, members_length, &bytes) ||
	    __builtin_add_overflow(bytes, body->head_length + body->tail_length + RECORD_LITERALS, &bytes))
		return pe_fail_memory(err);
	if (body->lines && body->messages > 0 && body->length + bytes > body->max_bytes)
		return PE_LIMIT;
	return reserve(body, bytes, err);
}

/* The enrichment's object from its members on, and the identity map. */
static pe_status
append_record(pe_message_body *body, const pe_message_record *record, pe_error *err)
{
	const char *members = "";
	size_t members_length = 0;
	size_t when_length = record->value == NULL ? 0 : scored_at(body, record->scored_at);
	size_t key_length;
	char *at, *key;
	pe_status status = PE_OK;

	if (record->value != NULL)
		status = members_of(record->value, record->value_length, &members, &members_length, err);
	if (status == PE_OK)
		status = reserve_record(body, record->key_length, members_length, err);
	if (status != PE_OK)
		return status;
	at = put(body->data + body->length, body->head, body->head_length);
	at = put(at, members, members_length);
	if (members_length > 0)
		*at++ = ',';
	key = PUT_LITERAL(at, "\"profileId\":\"");
	key_length = pe_json_escape(key, record->key, record->key_length);
	at = PUT_LITERAL(key + key_length, "\"");
	if (when_length > 0)
	{
		at = PUT_LITERAL(at, ",\"scoredAt\":\"");
		at = put(at, body->when, when_length);
		at = PUT_LITERAL(at, "\"");
	}
	at = PUT_LITERAL(at, "}},");
	at = put(at, body->tail, body->tail_length);
	at = put(at, key, key_length);
	at = body->lines ? PUT_LITERAL(at, LINE_END) : PUT_LITERAL(at, RECORD_END);
	body->length = (size_t) (at - body->data);
	return PE_OK;
}

pe_status
pe_message_add(pe_message_body *body, const pe_message_record *record, pe_error *err)
{
	size_t before = body->length;
	size_t limit = body->messages == 0 ? PE_MESSAGE_MAX_BYTES : body->max_bytes;
	pe_status status = PE_OK;

	if (body->alone && body->messages > 0)
		return PE_LIMIT;
	if (body->messages > 0 && !body->lines)
		status = append(body, ",", 1, err);
	if (status == PE_OK)
		status = append_record(body, record, err);
	if (status == PE_OK && body->lines && body->length - before > PE_MESSAGE_MAX_BYTES)
		status = PE_LIMIT;
	if (status == PE_OK && body->length + (body->alone || body->lines ? 0 : strlen(LIST_END)) > limit)
		status = PE_LIMIT;
	if (status == PE_OK)
		body->messages++;
	else
		body->length = before;
	return status;
}

pe_status
pe_message_end(pe_message_body *body, pe_error *err)
{
	return body->alone || body->lines ? PE_OK : append(body, LIST_END, strlen(LIST_END), err);
}

void
pe_message_free(pe_message_body *body)
{
	pe_free(body->env, body->data);
	pe_free(body->env, body->head);
	pe_free(body->env, body->tail);
	body->data = body->head = body->tail = NULL;
	body->length = body->capacity = 0;
}
