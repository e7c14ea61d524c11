/*
 * manifest.h
 *		What an export says it consists of.
 */
#ifndef PE_PLATFORM_MANIFEST_H
#define PE_PLATFORM_MANIFEST_H

#include "platform/pool.h"

typedef struct pe_manifest_file
{
	const char *name; /* without a folder */
	int64_t size;     /* -1: not said */
} pe_manifest_file;

typedef struct pe_manifest
{
	pe_manifest_file *files;
	int count;
	pe_pool pool;
} pe_manifest;

/* manifest...json, as a destination names it? */
bool pe_manifest_name(const char *name);

/* {"exportResults": [{"name": ..., "size": ...}, ...]}; a name repeated or a list without files is
 * PE_CORRUPT. */
pe_status pe_manifest_parse(const pe_env *env, const char *text, size_t length, pe_manifest *manifest,
                            pe_error *err);
void pe_manifest_free(pe_manifest *manifest);

/* The file of that name, NULL when the manifest does not name it. */
const pe_manifest_file *pe_manifest_find(const pe_manifest *manifest, const char *name);

#endif /* PE_PLATFORM_MANIFEST_H */
