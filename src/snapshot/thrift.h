/*
 * thrift.h
 *		Reading Thrift's compact protocol from a byte range, without trust: every
 *		read is bounded, a failure is sticky and ends all loops.
 */
#ifndef PE_THRIFT_H
#define PE_THRIFT_H

#include "pe_base.h"

/* Nesting of structs and lists; Parquet's own messages need 8. */
#define PE_THRIFT_MAX_DEPTH 24

typedef enum pe_thrift_type
{
	PE_THRIFT_STOP = 0,
	PE_THRIFT_TRUE = 1,
	PE_THRIFT_FALSE = 2,
	PE_THRIFT_BYTE = 3,
	PE_THRIFT_I16 = 4,
	PE_THRIFT_I32 = 5,
	PE_THRIFT_I64 = 6,
	PE_THRIFT_DOUBLE = 7,
	PE_THRIFT_BINARY = 8,
	PE_THRIFT_LIST = 9,
	PE_THRIFT_SET = 10,
	PE_THRIFT_MAP = 11,
	PE_THRIFT_STRUCT = 12,
	PE_THRIFT_UUID = 13
} pe_thrift_type;

typedef struct pe_thrift
{
	const uint8_t *at;
	const uint8_t *end;
	int depth;
	bool failed; /* the bytes do not parse */
	bool ended;  /* ... because they end too early: more bytes might help */
} pe_thrift;

/* One struct being read: begin, then pe_thrift_next until it is false. */
typedef struct pe_thrift_struct
{
	int id;
	pe_thrift_type type;
} pe_thrift_struct;

void pe_thrift_init(pe_thrift *in, const void *bytes, size_t length);
pe_thrift_struct pe_thrift_begin(pe_thrift *in);

/*
 * Move to the next field: false at the stop byte or on failure. Each field that
 * comes must be read with the matching call below, or with pe_thrift_skip.
 */
bool pe_thrift_next(pe_thrift *in, pe_thrift_struct *field);
void pe_thrift_skip(pe_thrift *in, const pe_thrift_struct *field);

/* These check that the field has a type they can read, and fail otherwise. */
int64_t pe_thrift_int(pe_thrift *in, const pe_thrift_struct *field);
int32_t pe_thrift_int32(pe_thrift *in, const pe_thrift_struct *field);
bool pe_thrift_bool(pe_thrift *in, const pe_thrift_struct *field);
const uint8_t *pe_thrift_binary(pe_thrift *in, const pe_thrift_struct *field, size_t *length);

/* True when the field is a struct: then read it with pe_thrift_begin. */
bool pe_thrift_is_struct(pe_thrift *in, const pe_thrift_struct *field);

/*
 * Enter a list of structs: its length, at most the bytes left (an element is at
 * least one byte). Read each with pe_thrift_begin, then call pe_thrift_list_end.
 */
size_t pe_thrift_struct_list(pe_thrift *in, const pe_thrift_struct *field);
void pe_thrift_list_end(pe_thrift *in);

#endif /* PE_THRIFT_H */
