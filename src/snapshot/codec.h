/*
 * codec.h
 *		Decompressing one page.
 */
#ifndef PE_CODEC_H
#define PE_CODEC_H

#include "pe_base.h"

/* Bytes behind a page that decoders may read (never use): whole words past the end. */
#define PE_PAGE_PADDING 16

/* Can this codec be read? Otherwise PE_UNSUPPORTED and a message naming it. */
pe_status pe_codec_check(int32_t codec, pe_error *err);

/*
 * Decompress length bytes into exactly wanted bytes. *out is allocated with
 * PE_PAGE_PADDING zero bytes behind. wanted is a claim from outside: no more is
 * allocated than the codec could make of the input, and what can expand without
 * bound (zstd) grows as it goes.
 */
pe_status pe_codec_decompress(const pe_env *env, int32_t codec, const uint8_t *in, size_t length,
                              size_t wanted, uint8_t **out, pe_error *err);

#endif /* PE_CODEC_H */
