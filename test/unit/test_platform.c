/*
 * test_platform.c
 *		The session: configuration, tokens, headers, links, errors, downloads; and the
 *		small tools below it (JSON, text, pool). Over plain loopback.
 */
#include "loopback.h"
#include "download.h"
#include "reply_ways.h"

#include "platform/call.h"
#include "platform/export.h"
#include "platform/ingest_reply.h"
#include "platform/ingest_reply_plain.h"
#include "platform/registry.h"
#include "platform/session.h"
#include "platform/utf8.h"
#include "platform/xdm_fields.h"

static tap_memory memory;
static pe_env env;
static pe_error err;
static char asked_host[128];

static pe_status
give_secret(void *ctx, const char *host, char *buffer, size_t size, pe_error *error)
{
	const char *secret = ctx;

	snprintf(asked_host, sizeof(asked_host), "%s", host);
	if (secret == NULL)
		return pe_fail(error, PE_CONFIGURATION, "host %s is not one of the secret's", host);
	snprintf(buffer, size, "%s", secret);
	return PE_OK;
}

static pe_platform *
open_session(const pe_env *use, void *secret)
{
	char url[100];
	pe_platform *platform = NULL;
	pe_platform_config config = {.org_id = "0123456789ABCDEF01234567@AdobeOrg",
	                             .client_id = "client-1",
	                             .platform_url = url,
	                             .ims_url = url,
	                             .collection_url = url,
	                             .allow_insecure_loopback = true,
	                             .get_secret = give_secret,
	                             .secret_ctx = secret};

	snprintf(url, sizeof(url), "http://127.0.0.1:%d/", loopback_port);
	(void) pe_platform_open(use, &config, &platform, &err);
	return platform;
}

static void
test_configuration(void)
{
	pe_platform_config good = {.org_id = "A@AdobeOrg", .client_id = "c", .get_secret = give_secret};
	pe_platform *platform = NULL;
	pe_platform_config bad;

	IS_INT(pe_platform_open(&env, &good, &platform, &err), PE_OK, "the least configuration");
	IS_STR(pe_platform_url(platform), PE_DEFAULT_PLATFORM_URL, "default platform URL");
	IS_STR(pe_platform_ims_url(platform), PE_DEFAULT_IMS_URL, "default identity service");
	IS_STR(pe_platform_collection_url(platform), PE_DEFAULT_COLLECTION_URL, "default collection URL");
	pe_platform_close(platform);
#define REFUSED(field, value, text)                                                                          \
	do                                                                                                       \
	{                                                                                                        \
		bad = good;                                                                                          \
		bad.field = value;                                                                                   \
		IS_INT(pe_platform_open(&env, &bad, &platform, &err), PE_CONFIGURATION, "%s", text);                 \
		OK(platform == NULL && err.message[0] != '\0', "and says why: %s", err.message);                     \
	} while (0)
	REFUSED(org_id, NULL, "no organisation");
	REFUSED(org_id, "nonsense", "not an organisation");
	REFUSED(org_id, "a\r\nX: y@AdobeOrg", "a header in the organisation");
	REFUSED(client_id, "", "no client id");
	REFUSED(client_id, "a b", "a blank in the client id");
	REFUSED(sandbox, "My Sandbox", "a sandbox's title");
	REFUSED(platform_url, "http://platform.adobe.io", "a plain URL");
	REFUSED(ims_url, "https://x@y", "a URL with a user");
	REFUSED(collection_url, "collection", "not a URL");
}

static void
test_session(void)
{
	pe_platform *platform = open_session(&env, "s3cret/+&=");
	pe_call call = {.method = "GET", .path = "/data/stats", .what = "test"};
	pe_http_response response;
	char tenant[64];
	int tokens;

	IS_INT(pe_registry_tenant(platform, tenant, sizeof(tenant), &err), PE_OK, "a first call");
	IS_STR(tenant, "acme", "its answer");
	IS_STR(asked_host, "127.0.0.1", "the secret was asked for the host, without port");
	IS_INT(loopback->tokens, 1, "one token");
	OK(strcasestr(loopback->last_head, "\r\nAuthorization: Bearer t0ken-1\r\n") != NULL, "the token is sent");
	OK(strcasestr(loopback->last_head, "\r\nx-api-key: client-1\r\n") != NULL, "and the client id");
	OK(strcasestr(loopback->last_head, "\r\nx-gw-ims-org-id: 0123456789ABCDEF01234567@AdobeOrg\r\n") != NULL,
	   "the org");
	OK(strcasestr(loopback->last_head, "\r\nx-sandbox-name: prod\r\n") != NULL, "the sandbox");
	OK(strcasestr(loopback->last_head, "\r\nx-request-id: ") != NULL, "a request id");
	IS_INT(pe_platform_call(platform, &call, &response, &err), PE_OK, "a second call");
	IS_INT(loopback->tokens, 1, "uses the same token");
	pe_http_response_free(&response);

	loopback->unauthorised = 1;
	IS_INT(pe_platform_call(platform, &call, &response, &err), PE_OK, "a refused token");
	IS_INT(loopback->tokens, 2, "is replaced once");
	pe_http_response_free(&response);
	loopback->unauthorised = 5;
	tokens = loopback->tokens;
	IS_INT(pe_platform_call(platform, &call, &response, &err), PE_UNAUTHORISED, "one that is refused again");
	IS_INT(loopback->tokens, tokens + 1, "is not replaced for ever");
	OK(strstr(err.detail, "401013") != NULL && err.hint[0] != '\0', "the error says so: %s", err.detail);
	OK(strstr(err.detail, "t0ken") == NULL, "without the token");
	pe_http_response_free(&response);
	loopback->unauthorised = 0;

	call.path = "/data/missing";
	IS_INT(pe_platform_call(platform, &call, &response, &err), PE_NOT_FOUND, "a 404");
	OK(strstr(err.detail, "Resource not found: no such thing") != NULL, "with the platform's words");
	pe_http_response_free(&response);

	pe_token_forget(platform);
	IS_INT(pe_platform_authenticate(platform, &err), PE_OK, "authenticate");
	OK(strstr(loopback->last_body, "&client_secret=s3cret%2F%2B%26%3D") != NULL,
	   "the secret goes in the body, encoded");
	OK(strstr(loopback->last_body,
	          "grant_type=client_credentials&client_id=client-1&scope=openid%2CAdobeID%2C") ==
	       loopback->last_body,
	   "with the rest of the form");
	OK(strstr(loopback->last_head, "s3cret") == NULL, "and nowhere in the head");
	pe_platform_close(platform);

	platform = open_session(&env, NULL);
	tokens = loopback->tokens;
	IS_INT(pe_platform_call(platform, &call, &response, &err), PE_CONFIGURATION,
	       "a secret that is not for this host");
	IS_INT(loopback->tokens, tokens, "is not sent");
	pe_http_response_free(&response);
	pe_platform_close(platform);
}

static void
test_tokens(void)
{
	static const struct
	{
		int http;
		const char *body;
		pe_status status;
	} cases[] = {
	    {200, "{\"access_token\":\"abc\",\"token_type\":\"bearer\",\"expires_in\":86399}", PE_OK},
	    {200, "{\"access_token\":\"abc\",\"expires_in\":\"86399\"}", PE_OK},
	    {200, "{\"access_token\":\"abc\",\"expires_in\":86399992}", PE_OK},
	    {200, "{\"access_token\":\"abc\",\"expires_in\":9e30}", PE_BAD_REPLY},
	    {200, "{\"access_token\":\"abc\",\"expires_in\":0}", PE_BAD_REPLY},
	    {200, "{\"access_token\":\"abc\"}", PE_BAD_REPLY},
	    {200, "{\"access_token\":\"a\\r\\nX: y\",\"expires_in\":100}", PE_BAD_REPLY},
	    {200, "{\"access_token\":\"a\\u0000b\",\"expires_in\":100}", PE_BAD_REPLY},
	    {200, "{\"access_token\":\"\",\"expires_in\":100}", PE_BAD_REPLY},
	    {200, "{\"access_token\":{},\"expires_in\":100}", PE_BAD_REPLY},
	    {200, "{\"access_token\":\"abc\",\"token_type\":\"mac\",\"expires_in\":100}", PE_BAD_REPLY},
	    {200, "<html>", PE_BAD_REPLY},
	    {200, "", PE_BAD_REPLY},
	    {400, "{\"error\":\"invalid_client\",\"error_description\":\"bad secret\"}", PE_UNAUTHORISED},
	    {401, "", PE_UNAUTHORISED},
	    {404, "", PE_UNAUTHORISED},
	    {429, "", PE_UNREACHABLE},
	    {500, "oops", PE_UNREACHABLE},
	    {302, "", PE_CONFIGURATION},
	};
	pe_platform *platform = open_session(&env, "x");

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		char body[200];
		pe_http_response response = {
		    .status = cases[i].http, .body = body, .body_length = strlen(cases[i].body)};

		strcpy(body, cases[i].body);
		pe_token_forget(platform);
		IS_INT(pe_token_accept(platform, &response, &err), cases[i].status, "token reply %zu", i);
		IS_INT(pe_token_valid(platform), cases[i].status == PE_OK, "leaves a token or none");
	}
	pe_platform_close(platform);
}

static void
test_hrefs(void)
{
	pe_platform_config config = {.org_id = "A@AdobeOrg", .client_id = "c", .get_secret = give_secret};
	pe_platform *platform;
	const char *path;
	static const char *const good[][2] = {
	    {"https://platform.adobe.io:443/data/foundation/export/files/x-1",
	     "/data/foundation/export/files/x-1"},
	    {"https://platform.adobe.io/data/x?a=b", "/data/x?a=b"},
	    {"HTTPS://Platform.Adobe.IO/data/x", "/data/x"},
	    {"/data/y", "/data/y"},
	};
	static const char *const bad[] = {
	    "https://evil.example/data",
	    "https://platform.adobe.io.evil.example/data",
	    "https://platform.adobe.io:444/data",
	    "https://platform.adobe.io@evil.example/data",
	    "https://evil.example@platform.adobe.io/data",
	    "http://platform.adobe.io/data",
	    "//evil.example/data",
	    "https://platform.adobe.io\\@evil.example/",
	    "https://platform.adobe.io",
	    "https://platform.adobe.io?x",
	    "data/y",
	    "",
	    "https://platform.adobe.io/a b",
	    "https://platform.adobe.io/a\r\nX: y",
	    "javascript:alert(1)",
	};

	OK(pe_platform_open(&env, &config, &platform, &err) == PE_OK, "a session");
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
	{
		IS_INT(pe_platform_href(platform, good[i][0], &path, &err), PE_OK, "%s", good[i][0]);
		IS_STR(path, good[i][1], "its path");
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		OK(pe_platform_href(platform, bad[i], &path, &err) != PE_OK && path == NULL,
		   "link %zu is not followed", i);
	pe_platform_close(platform);

	config.platform_url = "https://gateway.example/adobe";
	OK(pe_platform_open(&env, &config, &platform, &err) == PE_OK, "a gateway with a path");
	IS_INT(pe_platform_href(platform, "https://gateway.example/adobe/data/x", &path, &err), PE_OK,
	       "its link");
	IS_STR(path, "/data/x", "without that path");
	IS_INT(pe_platform_href(platform, "https://gateway.example/other/x", &path, &err), PE_UNTRUSTED,
	       "one beside it");
	pe_platform_close(platform);
}

static void
test_errors(void)
{
	static const struct
	{
		int http;
		const char *body;
		pe_status status;
		const char *detail; /* part of it */
		const char *hint;
	} cases[] = {
	    {403, "{\"error_code\":\"403010\",\"message\":\"Oauth token is missing.\"}", PE_INTERNAL,
	     "Oauth token is missing. (403010)", "report"},
	    {403, "{\"error_code\":\"403003\",\"message\":\"Api Key is invalid\"}", PE_UNAUTHORISED,
	     "Api Key is invalid", "organisation"},
	    {403, "{\"error_code\":403025,\"message\":\"Profile is not valid\"}", PE_UNAUTHORISED, "(403025)",
	     "role"},
	    {400,
	     "{\"type\":\"http://ns.adobe.com/aep/errors/XDM-3005-400\",\"title\":\"Import "
	     "failed\",\"status\":400,\"detail\":\"title\"}",
	     PE_CONFLICT, "Import failed: title (XDM-3005-400)", "another name"},
	    {400,
	     "{\"type\":\"/placeholder/type/"
	     "uri\",\"title\":\"Bad\",\"status\":\"400\",\"report\":{\"message\":\"[id] no\"}}",
	     PE_REFUSED, "Bad: [id] no", ""},
	    {404, "{\"type\":\"http://ns.adobe.com/aep/errors/XDM-1012-404\",\"title\":\"Resource not found\"}",
	     PE_NOT_FOUND, "Resource not found (XDM-1012-404)", "sandbox"},
	    {400, "{\"code\":\"400\",\"message\":\"x\"}", PE_REFUSED, "x (400)", ""},
	    {400, "{\"errorCode\":106,\"errorMessage\":\"empty file\"}", PE_REFUSED, "empty file (106)", ""},
	    {409, "{\"report\":{\"code\":\"NAMESPACE_CODE_CONFLICT\"}}", PE_CONFLICT, "NAMESPACE_CODE_CONFLICT",
	     ""},
	    {412, "", PE_CONFLICT, "", ""},
	    {413, "", PE_LIMIT, "", ""},
	    {414, "", PE_LIMIT, "", ""},
	    {405, "", PE_CONFIGURATION, "", "URLs"},
	    {501, "", PE_CONFIGURATION, "", "URLs"},
	    {302, "", PE_CONFIGURATION, "", "Redirects"},
	    {429, "{}", PE_UNREACHABLE, "", "later"},
	    {503, "<html>busy</html>", PE_UNREACHABLE, "", "later"},
	    {422, "[1,2]", PE_REFUSED, "", ""},
	    {400,
	     "{\"title\":\"a\\u0007b\\u202ec\",\"detail\":\"Bearer abcdefghijklmnopqrstuvwxyz "
	     "eyJhbGciOiJSUzI1NiIsImtpZCI6\"}",
	     PE_REFUSED, "a b", ""},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		char body[400];
		pe_http_response response = {
		    .status = cases[i].http, .body = body, .body_length = strlen(cases[i].body)};

		strcpy(body, cases[i].body);
		IS_INT(pe_platform_error(&response, "thing", &err), cases[i].status, "HTTP %d: %s", cases[i].http,
		       cases[i].body);
		IS_INT(err.code, cases[i].status, "is in the error too");
		OK(strstr(err.detail, cases[i].detail) != NULL, "detail: %s", err.detail);
		OK(strstr(err.hint, cases[i].hint) != NULL, "hint: %s", err.hint);
		OK(strstr(err.detail, "abcdefghij") == NULL && strstr(err.detail, "eyJ") == NULL, "no token");
	}
}

static void
test_printable(void)
{
	char out[16];
	static const struct
	{
		const char *in;
		const char *out;
	} cases[] = {
	    {"plain", "plain"},
	    {"a\r\n\tb", "a b"},
	    {"  lead and trail ", "lead and trail"},
	    {"\x01\x02", ""},
	    {"caf\xC3\xA9", "caf\xC3\xA9"},
	    {"\xC3", "?"},
	    {"\xED\xA0\x80", "???"},
	    {"\xC0\xAF", "??"},
	    {"\xF4\x90\x80\x80", "????"},
	    {"aaaaaaaaaaaaaa\xC3\xA9", "aaaaaaaaaaaaaa"},
	    {"0123456789abcdefgh", "0123456789abcde"},
	    {"x eyJhbGciOiJSUzI1NiIs y", "x [token] y"},
	    {"Bearer is short", "Bearer is short"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		pe_utf8_printable(cases[i].in, strlen(cases[i].in), out, sizeof(out));
		IS_STR(out, cases[i].out, "printable %zu", i);
	}
}

static void
test_text(void)
{
	pe_text text;

	pe_text_init(&text, &env);
	pe_text_json(&text, "a\"b\\c\n\x01\x7f\xC3\xA9\xFF</x>", 14);
	IS_STR(text.data, "\"a\\\"b\\\\c\\n\\u0001\\u007f\xC3\xA9\xEF\xBF\xBD</x\"", "JSON string");
	pe_text_free(&text);
	pe_text_percent(&text, "https://ns.adobe.com/a b~_-.\xC3\xA9");
	IS_STR(text.data, "https%3A%2F%2Fns.adobe.com%2Fa%20b~_-.%C3%A9", "percent-encoding");
	pe_text_free(&text);
	pe_text_puts(&text, "{");
	pe_text_member(&text, "a", "1");
	pe_text_member(&text, "b", "2");
	pe_text_printf(&text, ",\"c\":%d}", 3);
	IS_STR(text.data, "{\"a\":\"1\",\"b\":\"2\",\"c\":3}", "members");
	pe_text_wipe(&text);
	for (int i = 0; i < 10000; i++)
		pe_text_puts(&text, "0123456789");
	IS_INT(text.length, 100000, "growth");
	pe_text_free(&text);
}

static void
test_json(void)
{
	static const char object[] =
	    "{\"n\":5,\"s\":\"1551307525735\",\"d\":3.0,\"f\":3.5,\"t\":\"x\",\"b\":true,\"bs\":"
	    "\"false\",\"e\":\"\","
	    "\"big\":\"99999999999999999999\",\"z\":\"a\\u0000b\",\"nul\":null,\"n\":6}";
	pe_json *json;
	int64_t number;
	char deep[200];
	char *wide;
	static const char *const bad[] = {"",     "{",       "{} {}", "{}x",  "nul", "{\"a\":}", "\"\xFF\"",
	                                  "[1,]", "// x\n1", "NaN",   "null", "[1",  "{\"a\":1", "\0{}"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		IS_INT(pe_json_parse(bad[i], strlen(bad[i]), 0, "thing", &json, &err), PE_BAD_REPLY,
		       "bad JSON %zu: %s", i, err.message);
		OK(json == NULL, "gives nothing");
	}
	IS_INT(pe_json_parse(" {\"a\":1} \r\n\t", strlen(" {\"a\":1} \r\n\t"), 0, "thing", &json, &err), PE_OK,
	       "blanks around");
	pe_json_free(json);
	IS_INT(pe_json_parse("{}\0", 3, 0, "thing", &json, &err), PE_BAD_REPLY, "a NUL behind");
	memset(deep, '[', 100);
	memset(deep + 100, ']', 100);
	IS_INT(pe_json_parse(deep, 200, 0, "thing", &json, &err), PE_BAD_REPLY, "too deep");
	wide = malloc(3000001);
	for (int i = 0; i < 1000000; i++)
		memcpy(wide + 3 * i, "[],", 3);
	wide[0] = '[';
	IS_INT(pe_json_parse(wide, 2999999, 0, "thing", &json, &err), PE_BAD_REPLY, "3 MB that would become 400");
	free(wide);

	IS_INT(pe_json_parse(object, sizeof(object) - 1, 0, "thing", &json, &err), PE_OK, "an object");
	OK(pe_json_int64(json, "n", &number) && number == 6, "the last of duplicates");
	OK(pe_json_int64(json, "s", &number) && number == INT64_C(1551307525735), "a number in a string");
	OK(pe_json_int64(json, "d", &number) && number == 3, "a whole double");
	OK(!pe_json_int64(json, "f", &number) && !pe_json_int64(json, "t", &number) &&
	       !pe_json_int64(json, "e", &number) && !pe_json_int64(json, "big", &number) &&
	       !pe_json_int64(json, "none", &number) && !pe_json_int64(json, "b", &number),
	   "no whole numbers");
	OK(pe_json_bool_or(json, "b", false) && !pe_json_bool_or(json, "bs", true) &&
	       pe_json_bool_or(json, "n", true),
	   "booleans");
	OK(pe_json_string(json, "z") == NULL, "a text with a NUL is none");
	OK(pe_json_string(json, "nul") == NULL && pe_json_member(json, "nul") == NULL, "nor is null");
	OK(pe_json_path(json, "n", "x", "y", NULL) == NULL && pe_json_member(NULL, "x") == NULL,
	   "paths that lead nowhere");
	pe_json_free(json);
}

static bool
check_bytes(void *ctx, const void *data, size_t length)
{
	long *at = ctx;
	const unsigned char *bytes = data;

	for (size_t i = 0; i < length; i++, (*at)++)
		if (bytes[i] != *at % 251)
			return false;
	return true;
}

static bool
accept_all(void *ctx, const void *data, size_t length)
{
	(void) ctx;
	(void) data;
	(void) length;
	return true;
}

static void
test_download(void)
{
	pe_platform *platform = open_session(&env, "x");
	pe_part part = {.file_id = "f", .name = "p", .path = "/data/part", .length = 100000};
	long at = 0;
	int64_t bytes;

	IS_INT(download_part(platform, &part, check_bytes, &at, &bytes, &err), PE_OK, "a part in one range");
	IS_INT(bytes, 100000, "all of it");
	part.path = "/data/part-short";
	at = 0;
	IS_INT(download_part(platform, &part, check_bytes, &at, &bytes, &err), PE_OK,
	       "a server that sends less than asked");
	IS_INT(at, 100000, "all of it");
	part.path = "/data/part-cut-short";
	at = 0;
	IS_INT(download_part(platform, &part, check_bytes, &at, &bytes, &err), PE_OK, "transfers that break: %s",
	       err.message);
	IS_INT(at, 100000, "are taken up where they broke");
	part.path = "/data/part";
	part.length = -1;
	at = 0;
	IS_INT(download_part(platform, &part, check_bytes, &at, &bytes, &err), PE_OK, "a part of unknown length");
	IS_INT(at, 100000, "all of it");
	part.length = 99999;
	at = 0;
	IS_INT(download_part(platform, &part, accept_all, &at, &bytes, &err), PE_CORRUPT,
	       "another length than announced");
	part.path = "/data/whole";
	part.length = 10;
	IS_INT(download_part(platform, &part, accept_all, &at, &bytes, &err), PE_OK, "a server without ranges");
	part.path = "/data/missing";
	IS_INT(download_part(platform, &part, accept_all, &at, &bytes, &err), PE_NOT_FOUND,
	       "a part that is gone");
	part.path = "/data/part";
	at = 5;
	IS_INT(download_part(platform, &part, check_bytes, &at, &bytes, &err), PE_IO, "a sink that stops");
	pe_platform_close(platform);
}

/* A reply of accepted records only is read in a short way, anything else in a long one. */
static void
test_plain_reply(void)
{
	static const char *const usual[] = {
	    "{\"inletId\":\"9b0c\",\"batchId\":\"1565:244\",\"receivedTimeMs\":1565638336705,"
	    "\"responses\":[{\"xactionId\":\"a-0\"},{\"xactionId\":\"a-1\"}]}",
	    " { \"responses\" : [ { \"xactionId\" : \"a-1\" } ,\r\n\t{ \"xactionId\" : \"a-0\" } ] } \n",
	    "{\"responses\":[{\"xactionId\":\"x\"}],\"receivedTimeMs\":0}",
	};
	static const char *const unusual[] = {
	    "{\"responses\":[{\"xactionId\":\"a-0\"}],\"responses\":[{\"xactionId\":\"b-0\"}]}",
	    "{\"responses\":[{\"xactionId\":\"a-0\",\"status\":500}]}",
	    "{\"responses\":[{\"xactionId\":\"a\\u002d0\"}]}",
	    "{\"responses\":[{\"xactionId\":\"a\t0\"}]}",
	    "{\"responses\":[{\"xactionId\":\"\xC3\xA4-0\"}]}",
	    "{\"batchId\":\"a\",\"batchId\":\"b\",\"responses\":[{\"xactionId\":\"a-0\"}]}",
	    "{\"batchId\":7,\"responses\":[{\"xactionId\":\"a-0\"}]}",
	    "{\"receivedTimeMs\":\"12\",\"responses\":[{\"xactionId\":\"a-0\"}]}",
	    "{\"responses\":[]}",
	};
	static const char *const bad[] = {
	    "{\"responses\":[{\"xactionId\":\"a-0\"}]",
	    "{\"responses\":[{\"xactionId\":\"a-0\"}]}}",
	    "{\"responses\":[{\"xactionId\":\"a-0\"},]}",
	    "{\"responses\":[{\"xactionId\":\"a-0\"}],}",
	    "{\"responses\":[{\"xactionId\":\"\"}]}",
	    "{\"responses\":[{\"xactionId\":\"a-0}]}",
	    "{\"responses\":[{\"xactionId\":\"a\"},{\"xactionId\":\"b\"},{\"xactionId\":\"c\"}]}",
	    "{\"receivedTimeMs\":012,\"responses\":[{\"xactionId\":\"a-0\"}]}",
	};
	pe_ingest_reply reply;

	for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++)
	{
		memset(&reply, 0, sizeof(reply));
		pe_pool_init(&reply.pool, &env);
		IS_INT(pe_ingest_reply_plain(usual[i], strlen(usual[i]), 2, &reply), PE_OK, "usual reply %zu", i);
		pe_ingest_reply_free(&reply);
		IS_INT(pe_ingest_reply_batch(&env, usual[i], strlen(usual[i]), 2, &reply, &err), PE_OK, "is read");
		compare_ways(usual[i], strlen(usual[i]), &reply);
		pe_ingest_reply_free(&reply);
	}
	for (size_t i = 0; i < sizeof(unusual) / sizeof(unusual[0]); i++)
	{
		memset(&reply, 0, sizeof(reply));
		pe_pool_init(&reply.pool, &env);
		IS_INT(pe_ingest_reply_plain(unusual[i], strlen(unusual[i]), 2, &reply), PE_BAD_REPLY,
		       "unusual reply %zu", i);
		pe_ingest_reply_free(&reply);
		IS_INT(pe_ingest_reply_batch(&env, unusual[i], strlen(unusual[i]), 2, &reply, &err), PE_OK,
		       "is read all the same");
		pe_ingest_reply_free(&reply);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		IS_INT(pe_ingest_reply_batch(&env, bad[i], strlen(bad[i]), 2, &reply, &err), PE_BAD_REPLY,
		       "bad reply %zu", i);
}

static void
test_ingest(void)
{
	static const char real[] =
	    "{\"inletId\":\"9b0c\",\"batchId\":\"1565638336649:1750:244\",\"receivedTimeMs\":1565638336705,"
	    "\"responses\":[{\"xactionId\":\"9341f8eb-494a-4c89-9879-4d06a58d2dc7-0\",\"status\":400,"
	    "\"message\":\"The 'header' field is mandatory.\"},{\"xactionId\":\"9341f8eb-2dc7-1\"},"
	    "{\"statusCode\":\"503\",\"message\":\"busy\"},{\"xactionId\":\"1565650704337:2124:92:3\"}]}";
	static const char single[] =
	    "{\"inletId\":\"x\",\"xactionId\":\"1532625558467:0001:13\",\"receivedTimeMs\":\"1551307525735\"}";
	static const char *const bad_batches[] = {
	    "",
	    "{}",
	    "[]",
	    "{\"responses\":{}}",
	    "{\"responses\":[1]}",
	    "{\"responses\":[{}]}",
	    "{\"responses\":[{\"status\":\"?\",\"xactionId\":\"a-0\"}]}",
	    "{\"responses\":[{\"status\":null,\"xactionId\":\"a-0\"}]}",
	    "{\"responses\":[{\"status\":0,\"xactionId\":\"a-0\"}]}",
	    "{\"responses\":[{\"message\":\"well\",\"xactionId\":\"a-0\"}]}",
	    "{\"responses\":[{\"xactionId\":\"a-0\"}",
	};
	static const struct
	{
		const char *body;
		bool reordered;
	} orders[] = {
	    {"{\"responses\":[{\"xactionId\":\"a-0\"},{\"xactionId\":\"a-1\"},{\"xactionId\":\"a-2\"}]}", false},
	    {"{\"responses\":[{\"xactionId\":\"a-2\"},{\"xactionId\":\"a-1\"},{\"xactionId\":\"a-0\"}]}", true},
	    {"{\"responses\":[{\"status\":503},{\"xactionId\":\"a-0\"}]}", true},
	    {"{\"responses\":[{\"status\":503},{\"xactionId\":\"a-1\"}]}", false},
	    {"{\"responses\":[{\"xactionId\":\"a:7\"},{\"xactionId\":\"a:0\"}]}", false},
	    {"{\"responses\":[{\"xactionId\":\"a:1\"},{\"xactionId\":\"b:1\"}]}", false},
	    {"{\"responses\":[]}", false},
	};
	static const char two[] = "{\"responses\":[{\"status\":207,\"statusCode\":400,\"xactionId\":\"a\"}]}";
	pe_ingest_reply reply;

	IS_INT(pe_ingest_reply_batch(&env, real, sizeof(real) - 1, 500, &reply, &err), PE_OK, "a recorded reply");
	IS_INT(reply.count, 4, "its entries");
	IS_INT(reply.received_ms, INT64_C(1565638336705), "when");
	OK(reply.entries[0].status == 400 && reply.entries[0].index == 0 &&
	       strstr(reply.entries[0].message, "header") != NULL,
	   "a refused one");
	OK(reply.entries[1].status == 200 && reply.entries[1].index == 1 && reply.entries[1].message[0] == '\0',
	   "an accepted one");
	OK(reply.entries[2].status == 503 && reply.entries[2].index == -1, "statusCode, as a string");
	IS_INT(reply.entries[3].index, 3, "index behind a colon");
	pe_ingest_reply_free(&reply);
	pe_ingest_reply_free(&reply);
	IS_INT(pe_ingest_reply_batch(&env, real, sizeof(real) - 1, 3, &reply, &err), PE_BAD_REPLY,
	       "more entries than messages");
	IS_INT(pe_ingest_reply_batch(&env, real, sizeof(real) - 2, 500, &reply, &err), PE_BAD_REPLY,
	       "cut by one byte");
	for (size_t i = 0; i < sizeof(bad_batches) / sizeof(bad_batches[0]); i++)
		IS_INT(pe_ingest_reply_batch(&env, bad_batches[i], strlen(bad_batches[i]), 500, &reply, &err),
		       PE_BAD_REPLY, "bad batch reply %zu", i);
	IS_INT(pe_ingest_reply_batch(&env, two, sizeof(two) - 1, 5, &reply, &err), PE_OK, "two statuses");
	IS_INT(reply.entries[0].status, 400, "the worse one counts");
	pe_ingest_reply_free(&reply);
	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++)
	{
		IS_INT(pe_ingest_reply_batch(&env, orders[i].body, strlen(orders[i].body), 500, &reply, &err), PE_OK,
		       "order %zu", i);
		IS_INT(reply.reordered, orders[i].reordered, "are the entries of order %zu reordered?", i);
		pe_ingest_reply_free(&reply);
	}

	IS_INT(pe_ingest_reply_single(&env, single, sizeof(single) - 1, &reply, &err), PE_OK, "a single reply");
	OK(reply.count == 1 && reply.entries[0].status == 200 && reply.received_ms == INT64_C(1551307525735),
	   "accepted");
	pe_ingest_reply_free(&reply);
	IS_INT(pe_ingest_reply_single(&env, "{\"status\":200}", 14, &reply, &err), PE_BAD_REPLY,
	       "a single reply without an id");
	IS_INT(pe_ingest_reply_single(&env, "<html>ok</html>", 15, &reply, &err), PE_BAD_REPLY, "a page");
}

static const pe_xdm_field integer_item[] = {{.type = PE_XDM_INTEGER}};
static const pe_xdm_field string_item[] = {{.type = PE_XDM_STRING}};
static const pe_xdm_field number_item[] = {{.type = PE_XDM_NUMBER}};
static const pe_xdm_field reason_members[] = {{.name = "feature", .type = PE_XDM_STRING},
                                              {.name = "value", .type = PE_XDM_STRING},
                                              {.name = "contribution", .type = PE_XDM_NUMBER}};
static const pe_xdm_field reason_item[] = {{.type = PE_XDM_OBJECT, .items = reason_members, .item_count = 3}};
static const pe_xdm_field churn_members[] = {
    {.name = "score", .title = "Churn \"score\"", .type = PE_XDM_INTEGER},
    {.name = "probability", .type = PE_XDM_NUMBER},
    {.name = "scoredAt", .type = PE_XDM_DATETIME},
    {.name = "day", .type = PE_XDM_DATE},
    {.name = "count", .type = PE_XDM_LONG},
    {.name = "active", .type = PE_XDM_BOOLEAN},
    {.name = "bands", .type = PE_XDM_MAP, .items = string_item, .item_count = 1},
    {.name = "percents", .type = PE_XDM_MAP, .items = integer_item, .item_count = 1},
    {.name = "reasons", .type = PE_XDM_ARRAY, .items = reason_item, .item_count = 1},
    {.name = "tags", .type = PE_XDM_ARRAY, .items = string_item, .item_count = 1},
};
static const pe_xdm_field churn[] = {
    {.name = "churn", .type = PE_XDM_OBJECT, .items = churn_members, .item_count = 10}};

static void
test_fields(void)
{
	pe_xdm_field fields[3] = {{.name = "a"}, {.name = "b"}, {.name = "c"}};
	pe_text text;
	pe_json *json;
	pe_pool pool;
	pe_xdm_field *read;
	int count;
	int added = 0;

	IS_INT(pe_xdm_check_fields(churn, 1, &err), PE_OK, "good fields");
	IS_INT(pe_xdm_check_fields(fields, 0, &err), PE_INVALID_OPTION, "none");
	fields[2].name = "A";
	IS_INT(pe_xdm_check_fields(fields, 3, &err), PE_INVALID_OPTION, "the same name in another case");
	fields[2].name = "_x";
	IS_INT(pe_xdm_check_fields(fields, 3, &err), PE_INVALID_OPTION, "a leading underscore");
	fields[2].name = "a.b";
	IS_INT(pe_xdm_check_fields(fields, 3, &err), PE_INVALID_OPTION, "a dot");
	fields[2].name = "caf\xC3\xA9";
	IS_INT(pe_xdm_check_fields(fields, 3, &err), PE_INVALID_OPTION, "a letter beyond ASCII");
	fields[2] = (pe_xdm_field){.name = "m", .type = PE_XDM_MAP, .items = number_item, .item_count = 1};
	IS_INT(pe_xdm_check_fields(fields, 3, &err), PE_INVALID_OPTION, "a map of doubles");
	fields[2] = (pe_xdm_field){.name = "o", .type = PE_XDM_OBJECT};
	IS_INT(pe_xdm_check_fields(fields, 3, &err), PE_INVALID_OPTION, "an empty object");

	pe_text_init(&text, &env);
	pe_xdm_write_members(&text, churn, 1);
	IS_INT(pe_json_parse(text.data, text.length, 0, "fields", &json, &err), PE_OK, "what is written is JSON");
	pe_text_free(&text);
	pe_pool_init(&pool, &env);
	IS_INT(pe_xdm_read_members(&pool, json, &read, &count, &err), PE_OK, "and is read back");
	pe_json_free(json);
	IS_INT(count, 1, "one object");
	IS_INT(read[0].item_count, 10, "of ten");
	for (int i = 0; i < 10; i++)
	{
		IS_STR(read[0].items[i].name, churn_members[i].name, "name of %d", i);
		IS_INT(read[0].items[i].type, churn_members[i].type, "type of %s", churn_members[i].name);
	}
	pe_text_init(&text, &env);
	IS_INT(pe_xdm_missing(churn, 1, read, count, "/base", &text, &added, &err), PE_OK, "nothing is missing");
	IS_INT(added, 0, "from itself");
	IS_INT(pe_xdm_missing(churn, 1, read, 0, "/base", &text, &added, &err), PE_OK, "all is missing");
	IS_INT(added, 1, "as one object");
	OK(strstr(
	       text.data,
	       "{\"op\":\"add\",\"path\":\"/base/churn\",\"value\":{\"title\":\"churn\",\"type\":\"object\"") ==
	       text.data,
	   "the operation");
	pe_text_free(&text);
	text.failed = false;
	added = 0;
	((pe_xdm_field *) read[0].items)[2].name = "somethingElse";
	((pe_xdm_field *) read[0].items)[8].name = "alsoElse";
	IS_INT(pe_xdm_missing(churn, 1, read, count, "/base", &text, &added, &err), PE_OK, "two are missing");
	IS_INT(added, 2, "which are added");
	OK(strstr(text.data, "\"path\":\"/base/churn/properties/scoredAt\"") != NULL &&
	       strstr(text.data, "},{\"op\":\"add\",\"path\":\"/base/churn/properties/reasons\"") != NULL,
	   "below the object");
	pe_text_free(&text);
	((pe_xdm_field *) read[0].items)[1].type = PE_XDM_STRING;
	IS_INT(pe_xdm_missing(churn, 1, read, count, "/base", &text, &added, &err), PE_CONFLICT, "another type");
	OK(strstr(err.message, "\"probability\" is of type string") != NULL, "is named");
	pe_text_free(&text);
	pe_pool_free(&pool);
}

/* Every call that allocates, with memory failing at each of its steps. */
static void
test_failing_allocator(void)
{
	bool done = false;
	bool clean = true;
	int steps = 0;

	for (long fail_at = 1; !done && fail_at < 500; fail_at++, steps++)
	{
		tap_memory failing = {.fail_at = fail_at};
		pe_env failing_env = tap_env(&failing);
		pe_platform *platform = open_session(&failing_env, "secret");
		char tenant[64];
		pe_status status = err.code;

		if (platform != NULL)
		{
			status = pe_registry_tenant(platform, tenant, sizeof(tenant), &err);
			pe_platform_close(platform);
		}
		done = platform != NULL && status == PE_OK;
		clean = clean && failing.live == 0 && (done || status == PE_OUT_OF_MEMORY);
	}
	OK(done && clean, "a session out of memory at each of %d steps", steps);

	done = false;
	for (long fail_at = 1; !done && fail_at < 500; fail_at++, steps++)
	{
		static const char body[] = "{\"responses\":[{\"xactionId\":\"a-0\",\"status\":400,\"message\":\"m\"},"
		                           "{\"xactionId\":\"a-1\"}]}";
		tap_memory failing = {.fail_at = fail_at};
		pe_env failing_env = tap_env(&failing);
		pe_ingest_reply reply;
		pe_status status = pe_ingest_reply_batch(&failing_env, body, sizeof(body) - 1, 10, &reply, &err);

		pe_ingest_reply_free(&reply);
		done = status == PE_OK;
		clean = clean && failing.live == 0 && (done || status == PE_OUT_OF_MEMORY);
	}
	OK(done && clean, "an ingestion reply out of memory");

	done = false;
	for (long fail_at = 1; !done && fail_at < 500; fail_at++, steps++)
	{
		tap_memory failing = {.fail_at = fail_at};
		pe_env failing_env = tap_env(&failing);
		pe_text text;
		pe_pool pool;
		pe_json *json;
		pe_xdm_field *read;
		int count;
		pe_status status = PE_OUT_OF_MEMORY;

		pe_text_init(&text, &failing_env);
		pe_pool_init(&pool, &failing_env);
		pe_xdm_write_members(&text, churn, 1);
		if (!text.failed && pe_json_parse(text.data, text.length, 0, "fields", &json, &err) == PE_OK)
		{
			status = pe_xdm_read_members(&pool, json, &read, &count, &err);
			pe_json_free(json);
		}
		pe_text_free(&text);
		pe_pool_free(&pool);
		done = status == PE_OK;
		clean = clean && failing.live == 0;
	}
	OK(done && clean, "fields out of memory");
}

int
main(void)
{
	loopback_start();
	env = tap_env(&memory);
	test_configuration();
	test_session();
	test_tokens();
	test_hrefs();
	test_errors();
	test_printable();
	test_text();
	test_json();
	test_download();
	test_ingest();
	test_plain_reply();
	test_fields();
	test_failing_allocator();
	IS_INT(memory.live, 0, "nothing leaked");
	loopback_stop();
	return tap_done();
}
