/*
 * test_store.c
 *		Listings and manifests as stores give them: XML that is cut, strange or hostile.
 */
#include <stdlib.h>

#include "platform/manifest.h"
#include "platform/store.h"
#include "platform/xml.h"
#include "tap.h"

static pe_env env;
static pe_error err;

static void
test_xml(void)
{
	static const char page[] =
	    "<?xml version='1.0'?><L><Key>no</KeyX><C a=\"1\"><Key>a&amp;b &#x41;&#246;&#x20AC;&#x1F600;</Key>"
	    "<Size>7</Size></C><C/><C ><Key/></C ><C><Key>cut";
	pe_pool pool;
	pe_xml rest = {page, sizeof(page) - 1};
	pe_xml item;

	pe_pool_init(&pool, &env);
	OK(pe_xml_next(&rest, "C", &item), "an element with an attribute");
	IS_STR(pe_xml_member(&pool, item, "Key"), "a&b A\xC3\xB6\xE2\x82\xAC\xF0\x9F\x98\x80",
	       "its text, entities resolved");
	IS_STR(pe_xml_member(&pool, item, "Size"), "7", "another member");
	IS_STR(pe_xml_member(&pool, item, "Nothing"), "", "none of that name");
	OK(pe_xml_next(&rest, "C", &item) && item.length == 0, "an empty element");
	OK(pe_xml_next(&rest, "C", &item), "one with blanks");
	IS_STR(pe_xml_member(&pool, item, "Key"), "", "with an empty member");
	OK(!pe_xml_next(&rest, "C", &item), "one that is cut off is none");
	item = (pe_xml){"&bogus; &#0; &#xD800; &#x110000; &; & &#1", 41};
	IS_STR(pe_xml_text(&pool, item), "&bogus; &#0; &#xD800; &#x110000; &; & &#1", "unknown entities stay");
	for (size_t length = 0; length < sizeof(page); length++)
	{
		char *exact = malloc(length + 1);

		memcpy(exact, page, length);
		rest = (pe_xml){exact, length};
		while (pe_xml_next(&rest, "C", &item))
			(void) pe_xml_member(&pool, item, "Key");
		free(exact);
	}
	pe_pool_free(&pool);
}

static pe_status
parse(const char *text, pe_manifest *manifest)
{
	return pe_manifest_parse(&env, text, strlen(text), manifest, &err);
}

static void
test_manifest(void)
{
	pe_manifest manifest;

	OK(pe_manifest_name("manifest-1-2.json") && pe_manifest_name("Manifest.JSON") &&
	       !pe_manifest_name("part.json") && !pe_manifest_name("manifest.csv"),
	   "names of manifests");
	IS_INT(parse("{\"flowRunId\": \"r\", \"exportResults\": [{\"sinkPath\": \"x\", \"name\": \"b.parquet\", "
	             "\"size\": 7},"
	             "{\"name\": \"x/a.parquet\", \"size\": \"12\"}, {\"name\": \"c\"}]}",
	             &manifest),
	       PE_OK, "a manifest");
	IS_INT(manifest.count, 3, "of three files");
	OK(pe_manifest_find(&manifest, "a.parquet") != NULL &&
	       pe_manifest_find(&manifest, "a.parquet")->size == 12,
	   "one in a folder");
	OK(pe_manifest_find(&manifest, "c") != NULL && pe_manifest_find(&manifest, "c")->size == -1,
	   "one without a size");
	OK(pe_manifest_find(&manifest, "d") == NULL, "one that is not named");
	pe_manifest_free(&manifest);
	IS_INT(parse("{\"exportResults\": [{\"name\": \"a\"}, {\"name\": \"y/a\"}]}", &manifest), PE_CORRUPT,
	       "a name twice");
	IS_INT(parse("{\"exportResults\": []}", &manifest), PE_CORRUPT, "no file");
	IS_INT(parse("{\"exportResults\": [{\"size\": 1}]}", &manifest), PE_CORRUPT, "no name");
	IS_INT(parse("{\"exportResults\": [7]}", &manifest), PE_CORRUPT, "no object");
	IS_INT(parse("[]", &manifest), PE_CORRUPT, "no manifest");
	IS_INT(parse("{", &manifest), PE_CORRUPT, "no JSON: %s", err.message);
}

static void
test_places(void)
{
	static const struct
	{
		const char *url;
		const char *endpoint;
		const char *host; /* NULL: refused */
	} cases[] = {{"s3://lake/x", NULL, "lake.s3.us-east-1.amazonaws.com"},
	             {"s3://my.lake/x", NULL, "s3.us-east-1.amazonaws.com"},
	             {"s3://lake", "https://minio.example:9000", "minio.example"},
	             {"https://account.blob.core.windows.net/zone/x", NULL, "account.blob.core.windows.net"},
	             {"sftp://files.example:2222/out", NULL, "files.example"},
	             {"sftp://user@files.example/out", NULL, NULL},
	             {"s3://", NULL, NULL},
	             {"https://a/b?sig=1", NULL, NULL}};
	pe_store_config config = {0};
	pe_store *store;
	char host[256];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		config.url = cases[i].url;
		config.endpoint = cases[i].endpoint;
		if (cases[i].host == NULL)
			OK(pe_store_host(&config, host, sizeof(host), &err) != PE_OK, "%s is refused", cases[i].url);
		else
		{
			IS_INT(pe_store_host(&config, host, sizeof(host), &err), PE_OK, "%s", cases[i].url);
			IS_STR(host, cases[i].host, "its host");
		}
	}
	config = (pe_store_config){.url = "sftp://files.example/out", .user = "u"};
	IS_INT(pe_store_open(&env, &config, &store, &err), PE_CONFIGURATION, "no host key: %s", err.message);
	config = (pe_store_config){.url = "s3://lake"};
	IS_INT(pe_store_open(&env, &config, &store, &err), PE_CONFIGURATION, "no user: %s", err.message);
	config = (pe_store_config){.url = "https://account.blob.core.windows.net/"};
	IS_INT(pe_store_open(&env, &config, &store, &err), PE_CONFIGURATION, "no container: %s", err.message);
	config = (pe_store_config){.url = "ftp://x/y", .user = "u"};
	IS_INT(pe_store_open(&env, &config, &store, &err), PE_CONFIGURATION, "not ftp: %s", err.message);
}

int
main(void)
{
	tap_memory memory = {0};

	env = tap_env(&memory);
	test_xml();
	test_manifest();
	test_places();
	IS_INT(memory.live, 0, "nothing is left allocated");
	return tap_done();
}
