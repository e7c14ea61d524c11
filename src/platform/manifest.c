/*
 * manifest.c
 *		What an export says it consists of.
 */
#include <stdlib.h>
#include <strings.h>

#include "platform/json.h"
#include "platform/manifest.h"

bool
pe_manifest_name(const char *name)
{
	size_t length = strlen(name);

	return strncasecmp(name, "manifest", 8) == 0 && length >= 5 &&
	       strcasecmp(name + length - 5, ".json") == 0;
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(((const pe_manifest_file *) a)->name, ((const pe_manifest_file *) b)->name);
}

static pe_status
take_file(pe_manifest *manifest, pe_json *row, pe_error *err)
{
	const char *name = pe_json_string(row, "name");
	pe_manifest_file *file = &manifest->files[manifest->count];

	if (name != NULL && strrchr(name, '/') != NULL)
		name = strrchr(name, '/') + 1;
	if (name == NULL || name[0] == '\0')
		return pe_fail(err, PE_CORRUPT, "the manifest has an entry without a name");
	file->name = pe_pool_strdup(&manifest->pool, name);
	file->size = pe_json_int64_or(row, "size", -1);
	if (file->name == NULL)
		return pe_fail_memory(err);
	manifest->count++;
	return PE_OK;
}

static pe_status
take_files(pe_manifest *manifest, pe_json *rows, pe_error *err)
{
	int count = pe_json_length(rows);
	pe_status status = PE_OK;

	if (count == 0)
		return pe_fail(err, PE_CORRUPT, "the manifest names no file");
	manifest->files = pe_pool_alloc(&manifest->pool, (size_t) count * sizeof(*manifest->files));
	if (manifest->files == NULL)
		return pe_fail_memory(err);
	for (int i = 0; status == PE_OK && i < count; i++)
		status = take_file(manifest, pe_json_item(rows, i), err);
	if (status != PE_OK)
		return status;
	qsort(manifest->files, (size_t) count, sizeof(*manifest->files), by_name);
	for (int i = 1; i < count; i++)
	{
		if (strcmp(manifest->files[i - 1].name, manifest->files[i].name) == 0)
			return pe_fail(err, PE_CORRUPT, "the manifest names file \"%.100s\" twice",
			               manifest->files[i].name);
	}
	return PE_OK;
}

pe_status
pe_manifest_parse(const pe_env *env, const char *text, size_t length, pe_manifest *manifest, pe_error *err)
{
	pe_json *json;
	pe_status status;

	memset(manifest, 0, sizeof(*manifest));
	pe_pool_init(&manifest->pool, env);
	status = pe_json_parse(text, length, 0, "manifest", &json, err);
	if (status == PE_BAD_REPLY)
		err->code = status = PE_CORRUPT;
	if (status == PE_OK)
		status = take_files(manifest, pe_json_member(json, "exportResults"), err);
	pe_json_free(json);
	if (status != PE_OK)
		pe_manifest_free(manifest);
	return status;
}

void
pe_manifest_free(pe_manifest *manifest)
{
	pe_pool_free(&manifest->pool);
	manifest->files = NULL;
	manifest->count = 0;
}

const pe_manifest_file *
pe_manifest_find(const pe_manifest *manifest, const char *name)
{
	pe_manifest_file key = {.name = name};

	if (manifest->count == 0)
		return NULL;
	return bsearch(&key, manifest->files, (size_t) manifest->count, sizeof(*manifest->files), by_name);
}
