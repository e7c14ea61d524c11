/*
 * load_decode.h
 *		Text of another encoding as UTF-8, piece by piece.
 */
#ifndef PE_LOAD_DECODE_H
#define PE_LOAD_DECODE_H

#include "postgres.h"

typedef struct LoadDecoder LoadDecoder;

/* Up to capacity bytes of the text, 0 at its end. May raise. */
typedef size_t (*load_decode_feed)(void *ctx, void *buffer, size_t capacity);

/*
 * encoding is a name that iconv knows; file, and how many of its bytes come before the text, are for
 * messages. Ends with the current memory context.
 */
extern LoadDecoder *load_decode_open(const char *encoding, const char *file, uint64 before,
                                     load_decode_feed feed, void *ctx);
/* Up to capacity bytes of UTF-8, 0 at the end. Raises on bytes that are none of the encoding. */
extern size_t load_decode_read(LoadDecoder *decoder, void *buffer, size_t capacity);
/* Sooner than with the memory context. */
extern void load_decode_close(LoadDecoder *decoder);

#endif /* PE_LOAD_DECODE_H */
