/*
 * thrift.c
 *		Thrift's compact protocol, the part Parquet uses: see thrift.h.
 */
#include "snapshot/thrift.h"

static void
fail(pe_thrift *in, bool ended)
{
	in->failed = true;
	in->ended = in->ended || ended;
	in->at = in->end;
}

void
pe_thrift_init(pe_thrift *in, const void *bytes, size_t length)
{
	memset(in, 0, sizeof(*in));
	in->at = bytes;
	in->end = in->at + length;
}

static uint8_t
read_byte(pe_thrift *in)
{
	if (in->at >= in->end)
	{
		fail(in, true);
		return 0;
	}
	return *in->at++;
}

static uint64_t
read_varint(pe_thrift *in)
{
	uint64_t value = 0;

	for (int shift = 0; shift < 64; shift += 7)
	{
		uint8_t byte = read_byte(in);

		value |= (uint64_t) (byte & 0x7f) << shift;
		if ((byte & 0x80) == 0)
			return in->failed ? 0 : value;
	}
	fail(in, false);
	return 0;
}

static int64_t
read_zigzag(pe_thrift *in)
{
	uint64_t value = read_varint(in);

	return (int64_t) (value >> 1) ^ -(int64_t) (value & 1);
}

static void
skip_bytes(pe_thrift *in, uint64_t count)
{
	if (count > (uint64_t) (in->end - in->at))
		fail(in, true);
	else
		in->at += count;
}

static bool
descend(pe_thrift *in)
{
	if (in->failed)
		return false;
	if (in->depth >= PE_THRIFT_MAX_DEPTH)
	{
		fail(in, false);
		return false;
	}
	in->depth++;
	return true;
}

pe_thrift_struct
pe_thrift_begin(pe_thrift *in)
{
	pe_thrift_struct field = {0, PE_THRIFT_STOP};

	(void) descend(in);
	return field;
}

bool
pe_thrift_next(pe_thrift *in, pe_thrift_struct *field)
{
	uint8_t header;
	int delta;

	if (in->failed)
		return false;
	header = read_byte(in);
	field->type = (pe_thrift_type) (header & 0x0f);
	if (in->failed || field->type == PE_THRIFT_STOP)
	{
		in->depth--;
		return false;
	}
	delta = header >> 4;
	field->id = delta != 0 ? field->id + delta : (int16_t) read_zigzag(in);
	if (field->type > PE_THRIFT_UUID || field->id > INT16_MAX)
		fail(in, false);
	return !in->failed;
}

/* The header of a list or set: element type and how many. */
static size_t
read_list_header(pe_thrift *in, pe_thrift_type *type)
{
	uint8_t header = read_byte(in);
	uint64_t count = header >> 4;

	*type = (pe_thrift_type) (header & 0x0f);
	if (count == 15)
		count = read_varint(in);
	if (count > (uint64_t) (in->end - in->at))
	{
		fail(in, true);
		return 0;
	}
	return (size_t) count;
}

static void skip_value(pe_thrift *in, pe_thrift_type type, bool in_list);

static void
skip_list(pe_thrift *in)
{
	pe_thrift_type type;
	size_t count = read_list_header(in, &type);

	if (!descend(in))
		return;
	for (size_t i = 0; i < count && !in->failed; i++)
		skip_value(in, type, true);
	in->depth--;
}

static void
skip_map(pe_thrift *in)
{
	uint64_t count = read_varint(in);
	uint8_t types;

	if (count == 0 || !descend(in))
		return;
	types = read_byte(in);
	for (uint64_t i = 0; i < count && !in->failed; i++)
	{
		const uint8_t *before = in->at;

		skip_value(in, (pe_thrift_type) (types >> 4), true);
		skip_value(in, (pe_thrift_type) (types & 0x0f), true);
		/* Every value takes a byte, so the count cannot outrun the input. */
		if (in->at == before)
			fail(in, false);
	}
	in->depth--;
}

static void
skip_struct(pe_thrift *in)
{
	pe_thrift_struct field = pe_thrift_begin(in);

	while (pe_thrift_next(in, &field))
		skip_value(in, field.type, false);
}

/* Booleans are in the field header, except in lists and maps, where they are a byte. */
static void
skip_value(pe_thrift *in, pe_thrift_type type, bool in_list)
{
	switch (type)
	{
		case PE_THRIFT_TRUE:
		case PE_THRIFT_FALSE:
			if (in_list)
				(void) read_byte(in);
			break;
		case PE_THRIFT_BYTE:
			(void) read_byte(in);
			break;
		case PE_THRIFT_I16:
		case PE_THRIFT_I32:
		case PE_THRIFT_I64:
			(void) read_varint(in);
			break;
		case PE_THRIFT_DOUBLE:
			skip_bytes(in, 8);
			break;
		case PE_THRIFT_BINARY:
			skip_bytes(in, read_varint(in));
			break;
		case PE_THRIFT_LIST:
		case PE_THRIFT_SET:
			skip_list(in);
			break;
		case PE_THRIFT_MAP:
			skip_map(in);
			break;
		case PE_THRIFT_STRUCT:
			skip_struct(in);
			break;
		case PE_THRIFT_UUID:
			skip_bytes(in, 16);
			break;
		default:
			fail(in, false);
			break;
	}
}

void
pe_thrift_skip(pe_thrift *in, const pe_thrift_struct *field)
{
	skip_value(in, field->type, false);
}

int64_t
pe_thrift_int(pe_thrift *in, const pe_thrift_struct *field)
{
	switch (field->type)
	{
		case PE_THRIFT_BYTE:
			return (int8_t) read_byte(in);
		case PE_THRIFT_I16:
		case PE_THRIFT_I32:
		case PE_THRIFT_I64:
			return read_zigzag(in);
		default:
			fail(in, false);
			return 0;
	}
}

int32_t
pe_thrift_int32(pe_thrift *in, const pe_thrift_struct *field)
{
	int64_t value = pe_thrift_int(in, field);

	if (value < INT32_MIN || value > INT32_MAX)
	{
		fail(in, false);
		return 0;
	}
	return (int32_t) value;
}

bool
pe_thrift_bool(pe_thrift *in, const pe_thrift_struct *field)
{
	if (field->type != PE_THRIFT_TRUE && field->type != PE_THRIFT_FALSE)
		fail(in, false);
	return field->type == PE_THRIFT_TRUE;
}

const uint8_t *
pe_thrift_binary(pe_thrift *in, const pe_thrift_struct *field, size_t *length)
{
	const uint8_t *bytes;
	uint64_t count = 0;

	if (field->type != PE_THRIFT_BINARY)
		fail(in, false);
	else
		count = read_varint(in);
	bytes = in->at;
	skip_bytes(in, count);
	*length = in->failed ? 0 : (size_t) count;
	return bytes;
}

bool
pe_thrift_is_struct(pe_thrift *in, const pe_thrift_struct *field)
{
	if (field->type != PE_THRIFT_STRUCT)
		fail(in, false);
	return !in->failed;
}

size_t
pe_thrift_struct_list(pe_thrift *in, const pe_thrift_struct *field)
{
	pe_thrift_type type;
	size_t count;

	if (field->type != PE_THRIFT_LIST)
	{
		fail(in, false);
		return 0;
	}
	count = read_list_header(in, &type);
	if (count > 0 && type != PE_THRIFT_STRUCT)
		fail(in, false);
	(void) descend(in);
	return in->failed ? 0 : count;
}

void
pe_thrift_list_end(pe_thrift *in)
{
	in->depth--;
}
