/*
 * key_set.h
 *		Which keys were met before, for sources of many millions of rows: 12 bytes of
 *		hash a key (so that two different keys meet once in 10^12 sources of a hundred
 *		million), in parts small enough that growing one never delays a cancel.
 */
#ifndef PE_KEY_SET_H
#define PE_KEY_SET_H

#include "postgres.h"

typedef struct PeKeySet PeKeySet;

/* Empty, in the current context. */
extern PeKeySet *pe_key_set_create(void);

/* Adds a key; false when it was there already. */
extern bool pe_key_set_add(PeKeySet *set, const void *key, size_t length);

#endif /* PE_KEY_SET_H */
