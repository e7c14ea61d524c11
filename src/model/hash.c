/*
 * hash.c
 *		The stable hash of keys and texts, and the artifact's checksum. Both are part
 *		of stored results: neither may ever change.
 */
#include "model/internal.h"

/* Little-endian on every machine. */
static uint64_t
load_word(const uint8_t *bytes, size_t count)
{
	uint64_t word = 0;

	for (size_t i = 0; i < count; i++)
		word |= (uint64_t) bytes[i] << (8 * i);
	return word;
}

uint64_t
pe_hash_bytes(const void *data, size_t length, uint64_t seed)
{
	const uint8_t *bytes = data;
	uint64_t hash = pe_mix64(seed ^ (UINT64_C(0x9e3779b97f4a7c15) * (length + 1)));

	for (; length >= 8; bytes += 8, length -= 8)
		hash = pe_mix64(hash ^ load_word(bytes, 8)) * UINT64_C(0x9e3779b97f4a7c15);
	if (length > 0)
		hash = pe_mix64(hash ^ load_word(bytes, length)) * UINT64_C(0x9e3779b97f4a7c15);
	return pe_mix64(hash);
}

/* CRC-32C (Castagnoli), four bits at a time: the table is 16 entries, a model takes milliseconds. */
uint32_t
pe_crc32c(const uint8_t *bytes, size_t length)
{
	static const uint32_t table[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
	                                   0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
	                                   0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
	uint32_t crc = 0xffffffff;

	for (size_t i = 0; i < length; i++)
	{
		crc ^= bytes[i];
		crc = (crc >> 4) ^ table[crc & 15];
		crc = (crc >> 4) ^ table[crc & 15];
	}
	return ~crc;
}
