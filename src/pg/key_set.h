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

typedef struct PeKeyHash
{
	uint64 first;
	uint64 second;
} PeKeyHash;

/* Empty, in the current context. */
extern PeKeySet *pe_key_set_create(void);

extern PeKeyHash pe_key_hash(const void *key, size_t length);

/*
 * Adds keys one after another; is_new[i] says whether the i-th was not there yet.
 * Returns how many were new. Many at once, since each lies somewhere else in memory.
 */
extern int pe_key_set_add(PeKeySet *set, const PeKeyHash *keys, int n, bool *is_new);

#endif /* PE_KEY_SET_H */
