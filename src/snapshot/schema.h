/*
 * schema.h
 *		The schema as a tree of structs, lists, maps and scalars, whatever way the
 *		writer spelt its lists and maps.
 *
 * Levels follow Dremel: the definition level of an entry says how many of the
 * optional and repeated ancestors are there, the repetition level at which
 * repeated ancestor it continues.
 */
#ifndef PE_SCHEMA_H
#define PE_SCHEMA_H

#include "snapshot/metadata.h"

typedef enum pe_node_kind
{
	PE_NODE_SCALAR,
	PE_NODE_STRUCT,
	PE_NODE_LIST, /* children[0] is the element */
	PE_NODE_MAP   /* children[0] the key (a scalar), children[1] the value */
} pe_node_kind;

/* What a leaf's values mean; the physical type says how they are stored. */
typedef enum pe_meaning
{
	PE_MEANS_NULL, /* a column of nulls only */
	PE_MEANS_BOOL,
	PE_MEANS_INT32,  /* also smaller ones, signed or not */
	PE_MEANS_UINT32, /* in an INT32 */
	PE_MEANS_INT64,
	PE_MEANS_UINT64, /* in an INT64 */
	PE_MEANS_FLOAT,
	PE_MEANS_DOUBLE,
	PE_MEANS_FLOAT16, /* 2 bytes */
	PE_MEANS_DATE,
	PE_MEANS_TIME,      /* in an INT32 or INT64, of unit_digits */
	PE_MEANS_TIMESTAMP, /* in an INT64 of unit_digits; INT96 is made one of 6 digits when decoded */
	PE_MEANS_DECIMAL,   /* INT32, INT64 or big-endian bytes, with scale */
	PE_MEANS_TEXT,
	PE_MEANS_JSON,
	PE_MEANS_UUID,     /* 16 bytes */
	PE_MEANS_INTERVAL, /* 12 bytes: months, days, milliseconds */
	PE_MEANS_BYTES
} pe_meaning;

typedef struct pe_leaf
{
	int index; /* of the column in the file */
	pe_physical physical;
	int32_t type_length;
	pe_meaning meaning;
	int unit_digits;
	int32_t scale;
	uint8_t max_def;
	uint8_t max_rep;
	const struct pe_node *node;
} pe_leaf;

typedef struct pe_node
{
	pe_node_kind kind;
	const struct pe_node *parent; /* NULL for the root */
	pe_slice name;
	bool variant;     /* a struct whose bytes say only together what the value is: not read */
	uint8_t def;      /* an entry with a lower definition level has no such node */
	uint8_t rep;      /* repeated ancestors */
	uint8_t item_def; /* lists and maps: lower than this is empty */
	uint8_t item_rep; /* ... and this continues with another item */
	int child_count;
	struct pe_node **children;
	int first_leaf; /* the subtree's leaves are first_leaf .. end_leaf - 1 */
	int end_leaf;
	pe_leaf *leaf; /* scalars */
} pe_node;

typedef struct pe_schema
{
	pe_node *root; /* a struct */
	pe_leaf *leaves;
	int leaf_count;
} pe_schema;

/* Build the tree in the arena. Names stay slices of the footer. */
pe_status pe_schema_build(pe_arena *arena, const pe_metadata *metadata, pe_schema *schema, pe_error *err);

/* The type a leaf is delivered as unless another is asked for. */
pe_column_type pe_leaf_suggests(const pe_leaf *leaf);

/* Bytes of a decoded value: bool 1; int32_t, float 4; int64_t (also INT96), double 8; pe_slice for bytes. */
size_t pe_leaf_value_size(const pe_leaf *leaf);

/* "bigint", "timestamp", ...: for messages. */
const char *pe_meaning_name(pe_meaning meaning);

/* Write the node's path as a user would, NUL-terminated and cut to size; returns the full length. */
size_t pe_node_path(const pe_node *node, char *out, size_t size);

#endif /* PE_SCHEMA_H */
