/*
 * load_manifest.h
 *		Is an export complete, by its manifest?
 */
#ifndef PE_LOAD_MANIFEST_H
#define PE_LOAD_MANIFEST_H

#include "postgres.h"

#include "platform/manifest.h"

#define LOAD_MAX_MANIFEST (64 << 20) /* bytes */

#define LOAD_FILE_MISSING (-2)

/* The length of the file of that name; -1 when it is not known, LOAD_FILE_MISSING when it is not there. */
typedef int64 (*load_length_of)(void *ctx, const char *name);

/* Raises unless everything that the manifest names is there, in its length. */
extern void load_check_manifest(const pe_manifest *manifest, const char *name, load_length_of length_of,
                                void *ctx);

#endif /* PE_LOAD_MANIFEST_H */
