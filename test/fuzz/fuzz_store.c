/*
 * fuzz_store.c
 *		Listings and manifests of a store: no read beyond them, no text that grows.
 */
#include <stdlib.h>

#include "platform/manifest.h"
#include "platform/xml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void *
take(void *ctx, size_t size)
{
	(void) ctx;
	return malloc(size);
}

static void *
retake(void *ctx, void *ptr, size_t size)
{
	(void) ctx;
	return realloc(ptr, size);
}

static void
give(void *ctx, void *ptr)
{
	(void) ctx;
	free(ptr);
}

static void
read_listing(const pe_env *env, const char *text, size_t size)
{
	static const char *const tags[] = {"Contents", "Blob", "CommonPrefixes"};
	pe_pool pool;

	pe_pool_init(&pool, env);
	for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++)
	{
		pe_xml rest = {text, size};
		pe_xml item;

		while (pe_xml_next(&rest, tags[i], &item))
		{
			char *key = pe_xml_member(&pool, item, "Key");

			if (key != NULL && strlen(key) > item.length)
				abort();
		}
	}
	pe_pool_free(&pool);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	pe_env env = {.allocator = {take, retake, give, NULL}};
	char *text = malloc(size > 0 ? size : 1); /* exactly as long, so that a step too far shows */
	pe_manifest manifest;
	pe_error err;

	memcpy(text, data, size);
	read_listing(&env, text, size);
	if (pe_manifest_parse(&env, text, size, &manifest, &err) == PE_OK)
	{
		for (int i = 0; i < manifest.count; i++)
		{
			if (pe_manifest_find(&manifest, manifest.files[i].name) != &manifest.files[i])
				abort();
		}
		pe_manifest_free(&manifest);
	}
	free(text);
	return 0;
}
