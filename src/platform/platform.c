/*
 * platform.c
 *		The session: its configuration, its headers, and which links it follows.
 */
#include <ctype.h>
#include <sys/random.h>
#include <time.h>

#include "platform/session.h"
#include "platform/utf8.h"

/* Printable ASCII without blanks, since it becomes a header's value. */
static bool
plain_value(const char *text, size_t max)
{
	size_t length = strlen(text);

	for (const char *p = text; *p != '\0'; p++)
		if ((unsigned char) *p <= ' ' || (unsigned char) *p >= 0x7F)
			return false;
	return length > 0 && length <= max;
}

static pe_status
check_names(const pe_platform_config *config, const char *sandbox, pe_error *err)
{
	const char *org = config->org_id != NULL ? config->org_id : "";
	const char *at = strchr(org, '@');

	if (org[0] == '\0')
	{
		pe_fail(err, PE_CONFIGURATION, "the organisation id is missing");
		pe_error_hint(err, "Set the server option org_id; it looks like 0123456789ABCDEF01234567@AdobeOrg.");
		return PE_CONFIGURATION;
	}
	if (!plain_value(org, 100) || at == NULL || at == org || at[1] == '\0')
	{
		pe_fail(err, PE_CONFIGURATION, "org_id is not an organisation id");
		pe_error_hint(err, "It looks like 0123456789ABCDEF01234567@AdobeOrg.");
		return PE_CONFIGURATION;
	}
	if (config->client_id == NULL || !plain_value(config->client_id, 200))
	{
		pe_fail(err, PE_CONFIGURATION, "the client id is missing or not valid");
		pe_error_hint(err, "Set the user mapping's option client_id.");
		return PE_CONFIGURATION;
	}
	if (!plain_value(sandbox, 100) ||
	    sandbox[strspn(sandbox, "abcdefghijklmnopqrstuvwxyz0123456789-_")] != '\0')
	{
		pe_fail(err, PE_CONFIGURATION, "sandbox is not a sandbox name");
		pe_error_hint(
		    err,
		    "Sandbox names are lower-case letters, digits and hyphens, not titles; the default is \"prod\".");
		return PE_CONFIGURATION;
	}
	return PE_OK;
}

static const char *
or_default(const char *value, const char *otherwise)
{
	return value != NULL && value[0] != '\0' ? value : otherwise;
}

/* A copy of a checked base URL without slashes at its end. */
static pe_status
copy_url(pe_platform *platform, const pe_http_config *http, const char *what, const char *url, char **copy,
         pe_error *err)
{
	pe_status status = pe_http_check_url(http, what, url, err);
	size_t length = strlen(url);

	if (status != PE_OK)
		return status;
	while (length > 0 && url[length - 1] == '/')
		length--;
	*copy = pe_strndup(&platform->env, url, length);
	return *copy != NULL ? PE_OK : pe_fail_memory(err);
}

static pe_status
copy_config(pe_platform *platform, const pe_platform_config *config, const pe_http_config *http,
            pe_error *err)
{
	const char *sandbox = or_default(config->sandbox, PE_DEFAULT_SANDBOX);
	const char *scopes = or_default(config->scopes, PE_DEFAULT_SCOPES);
	pe_status status = check_names(config, sandbox, err);

	if (status == PE_OK)
		status =
		    copy_url(platform, http, "platform_url",
		             or_default(config->platform_url, PE_DEFAULT_PLATFORM_URL), &platform->platform_url, err);
	if (status == PE_OK)
		status = copy_url(platform, http, "ims_url", or_default(config->ims_url, PE_DEFAULT_IMS_URL),
		                  &platform->ims_url, err);
	if (status == PE_OK)
		status = copy_url(platform, http, "collection_url",
		                  or_default(config->collection_url, PE_DEFAULT_COLLECTION_URL),
		                  &platform->collection_url, err);
	if (status != PE_OK)
		return status;
	platform->org_id = pe_strndup(&platform->env, config->org_id, strlen(config->org_id));
	platform->client_id = pe_strndup(&platform->env, config->client_id, strlen(config->client_id));
	platform->sandbox = pe_strndup(&platform->env, sandbox, strlen(sandbox));
	platform->scopes = pe_strndup(&platform->env, scopes, strlen(scopes));
	if (platform->org_id == NULL || platform->client_id == NULL || platform->sandbox == NULL ||
	    platform->scopes == NULL)
		return pe_fail_memory(err);
	platform->get_secret = config->get_secret;
	platform->secret_ctx = config->secret_ctx;
	return PE_OK;
}

pe_status
pe_platform_open(const pe_env *env, const pe_platform_config *config, pe_platform **result, pe_error *err)
{
	pe_http_config http = {
	    .ca_file = config->ca_file,
	    .allow_insecure_loopback = config->allow_insecure_loopback,
	    .allow_private_addresses = config->allow_private_addresses,
	    .connect_timeout_ms = config->connect_timeout_ms,
	    .total_timeout_ms = config->total_timeout_ms,
	    .pool = config->pool,
	};
	pe_platform *platform = pe_calloc(env, 1, sizeof(*platform));
	pe_status status;

	*result = NULL;
	if (platform == NULL)
		return pe_fail_memory(err);
	platform->env = *env;
	status = copy_config(platform, config, &http, err);
	if (status == PE_OK)
		status = pe_http_open(env, &http, &platform->http, err);
	if (status != PE_OK)
	{
		pe_platform_close(platform);
		return status;
	}
	*result = platform;
	return PE_OK;
}

void
pe_platform_close(pe_platform *platform)
{
	pe_env env;

	if (platform == NULL)
		return;
	env = platform->env;
	pe_http_close(platform->http);
	pe_token_forget(platform);
	pe_free(&env, platform->org_id);
	pe_free(&env, platform->sandbox);
	pe_free(&env, platform->platform_url);
	pe_free(&env, platform->ims_url);
	pe_free(&env, platform->collection_url);
	pe_free(&env, platform->client_id);
	pe_free(&env, platform->scopes);
	pe_free(&env, platform);
}

pe_http *
pe_platform_http(pe_platform *platform)
{
	return platform->http;
}

const pe_env *
pe_platform_env(pe_platform *platform)
{
	return &platform->env;
}

const char *
pe_platform_org(const pe_platform *platform)
{
	return platform->org_id;
}

const char *
pe_platform_url(const pe_platform *platform)
{
	return platform->platform_url;
}

const char *
pe_platform_ims_url(const pe_platform *platform)
{
	return platform->ims_url;
}

const char *
pe_platform_collection_url(const pe_platform *platform)
{
	return platform->collection_url;
}

void
pe_header_add(pe_header_set *set, const char *name, const char *value)
{
	if (set->count < (int) (sizeof(set->headers) / sizeof(set->headers[0])))
	{
		set->headers[set->count].name = name;
		set->headers[set->count].value = value;
		set->count++;
	}
}

/* A version 4 UUID; only to find a request in the platform's logs. */
static void
random_id(char *id, size_t size)
{
	uint8_t bytes[16];

	if (getrandom(bytes, sizeof(bytes), GRND_NONBLOCK) != (ssize_t) sizeof(bytes))
	{
		struct timespec now;

		clock_gettime(CLOCK_REALTIME, &now);
		memset(bytes, 0, sizeof(bytes));
		memcpy(bytes, &now.tv_nsec, 4);
		memcpy(bytes + 8, &now.tv_sec, 8);
	}
	bytes[6] = (bytes[6] & 0x0F) | 0x40;
	bytes[8] = (bytes[8] & 0x3F) | 0x80;
	snprintf(id, size, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", bytes[0],
	         bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7], bytes[8], bytes[9],
	         bytes[10], bytes[11], bytes[12], bytes[13], bytes[14], bytes[15]);
}

void
pe_platform_headers(pe_platform *platform, const char *content_type, pe_header_set *set)
{
	set->count = 0;
	random_id(set->request_id, sizeof(set->request_id));
	if (platform->authorization != NULL)
		pe_header_add(set, "Authorization", platform->authorization);
	pe_header_add(set, "x-api-key", platform->client_id);
	pe_header_add(set, "x-gw-ims-org-id", platform->org_id);
	pe_header_add(set, "x-sandbox-name", platform->sandbox);
	pe_header_add(set, "x-request-id", set->request_id);
	if (content_type != NULL)
		pe_header_add(set, "Content-Type", content_type);
}

/* Length of "scheme://host" of url, without :443 behind an https host, and where the rest begins. */
static size_t
origin_length(const char *url, const char **rest)
{
	const char *host = strstr(url, "://");
	size_t length;

	if (host == NULL)
		return 0;
	host += 3;
	length = (size_t) (host - url) + strcspn(host, "/?#");
	*rest = url + length;
	if (strncasecmp(url, "https:", 6) == 0 && length > 4 && memcmp(url + length - 4, ":443", 4) == 0)
		length -= 4;
	return length;
}

pe_status
pe_platform_href(const pe_platform *platform, const char *href, const char **path, pe_error *err)
{
	const char *rest = href;
	const char *own_rest;
	size_t length;
	size_t own = origin_length(platform->platform_url, &own_rest);

	*path = NULL;
	for (const char *p = href; *p != '\0'; p++)
		if ((unsigned char) *p <= ' ' || (unsigned char) *p >= 0x7F || *p == '\\')
			return pe_fail(err, PE_BAD_REPLY, "a link in the platform's answer is not a URL");
	if (href[0] == '/' && href[1] != '/')
	{
		*path = href;
		return PE_OK;
	}
	length = origin_length(href, &rest);
	if (length == 0 || length != own || strncasecmp(href, platform->platform_url, own) != 0 || rest[0] != '/')
	{
		char origin[128];

		pe_utf8_printable(href, length, origin, sizeof(origin));
		return pe_fail(err, PE_UNTRUSTED, "a link in the platform's answer leads elsewhere (%s)",
		               length > 0 ? origin : "no host");
	}
	/* a base URL with a path of its own (a gateway in front) is part of what we prepend */
	if (own_rest[0] != '\0')
	{
		size_t base = strlen(own_rest);

		if (strncmp(rest, own_rest, base) != 0 || rest[base] != '/')
			return pe_fail(err, PE_UNTRUSTED,
			               "a link in the platform's answer leads outside of platform_url");
		rest += base;
	}
	*path = rest;
	return PE_OK;
}
