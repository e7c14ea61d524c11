/*
 * json.h
 *		Reading JSON from outside with json-c: bounded before it is parsed, and typed
 *		look-ups that survive whatever is really there. Private to this layer: json-c's
 *		names and the server's cannot meet in one file.
 */
#ifndef PE_PLATFORM_JSON_H
#define PE_PLATFORM_JSON_H

#include <json-c/json.h>

#include "platform/pool.h"

#define PE_JSON_DEPTH  32
#define PE_JSON_MEMORY (64 * 1024 * 1024)

typedef struct json_object pe_json;

/*
 * Parse one whole JSON value, in UTF-8, at most PE_JSON_DEPTH deep, whose tree takes
 * at most about memory bytes (0: PE_JSON_MEMORY); anything else is PE_BAD_REPLY.
 * what names it in the error. Release with pe_json_free.
 */
pe_status pe_json_parse(const char *text, size_t length, size_t memory, const char *what, pe_json **result,
                        pe_error *err);
void pe_json_free(pe_json *json);

/* NULL when object is not an object or has no such member, or when it is null. */
pe_json *pe_json_member(pe_json *object, const char *key);
/* The same along a NULL-terminated list of keys. */
pe_json *pe_json_path(pe_json *object, ...) __attribute__((sentinel));
bool pe_json_is_object(pe_json *json);
bool pe_json_is_array(pe_json *json);
/* 0 when it is not an array; NULL outside of it. */
int pe_json_length(pe_json *array);
pe_json *pe_json_item(pe_json *array, int index);

/* Text of a string without NUL bytes, else NULL. Valid as long as the tree. */
const char *pe_json_text(pe_json *json);
const char *pe_json_string(pe_json *object, const char *key);
/* The member's text, copied to a buffer; false (and "") when it is absent or does not fit. */
bool pe_json_copy(pe_json *object, const char *key, char *buffer, size_t size);
/* The member's text in a pool, "" when absent; NULL when out of memory. */
char *pe_json_dup(pe_pool *pool, pe_json *object, const char *key);
/* A whole number, or a string that holds one. */
bool pe_json_int64(pe_json *object, const char *key, int64_t *value);
int64_t pe_json_int64_or(pe_json *object, const char *key, int64_t otherwise);
/* true, false, or the strings that say so. */
bool pe_json_bool_or(pe_json *object, const char *key, bool otherwise);

#endif /* PE_PLATFORM_JSON_H */
