/*
 * value.h
 *		One value of a leaf, as text, as JSON, or compared with another.
 *
 * A value is given as it lies in pe_column.values. Functions that can find a value
 * impossible return what is wrong with it ("a NUL byte", ...), else NULL.
 */
#ifndef PE_VALUE_H
#define PE_VALUE_H

#include "snapshot/buffer.h"
#include "snapshot/schema.h"

/* The most bytes of a decimal: 64, i.e. 153 digits. */
#define PE_DECIMAL_BYTES 64

/* Enough for every scalar but text, bytes and decimals. */
#define PE_VALUE_TEXT 64

const char *pe_value_text(const pe_leaf *leaf, const void *value, pe_buffer *out);
const char *pe_value_json(const pe_leaf *leaf, const void *value, pe_buffer *out);

/* A map's key as a JSON string. */
const char *pe_value_json_key(const pe_leaf *leaf, const void *value, pe_buffer *out);

/* Order by size: numbers as numbers, NaN last, text bytewise, decimals by value. */
int pe_value_compare(const pe_leaf *leaf, const void *a, const void *b);

double pe_float16(const uint8_t *bytes);

/* An integer of any width and sign, when the leaf's meaning is one. UINT64 above INT64_MAX: false. */
bool pe_value_int64(const pe_leaf *leaf, const void *value, int64_t *out);

#endif /* PE_VALUE_H */
