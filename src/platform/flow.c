/*
 * flow.c
 *		The streaming inlet and the flow that carries its records to a data set. Names
 *		are not unique in Flow Service, so what is found by name is also compared by
 *		what it connects; leftovers of the same name are passed over.
 */
#include "platform/call.h"
#include "platform/flow.h"

#define STREAMING_SPEC "bc7b00d6-623a-4dfc-9fdb-f1240aeadaeb"
#define LAKE_SPEC      "c604ff05-7f1a-43c0-8e18-33bf874cb11c"
#define XDM_FLOW_SPEC  "d8a6f005-7eaf-4153-983e-e8574508b877"

/* Is item the one that is looked for? */
typedef bool (*item_matches)(pe_json *item, const void *ctx);

/* The next page's token out of _links.next.href, whose path lacks the base; still encoded. */
static bool
continuation(pe_json *json, pe_text *token)
{
	const char *href = pe_json_text(pe_json_path(json, "_links", "next", "href", NULL));
	const char *start = href != NULL ? strstr(href, "continuationToken=") : NULL;
	size_t length;

	token->length = 0;
	if (start == NULL)
		return false;
	start += strlen("continuationToken=");
	length = strcspn(start, "&#");
	for (size_t i = 0; i < length; i++)
		if ((unsigned char) start[i] <= ' ' || (unsigned char) start[i] >= 0x7F)
			return false;
	pe_text_append(token, start, length);
	return length > 0 && !token->failed;
}

/* id of the first enabled item of kind with this name that matches; "" when there is none. */
static pe_status
find_item(pe_platform *platform, const char *kind, const char *what, const char *name, item_matches matches,
          const void *ctx, char *id, size_t size, pe_error *err)
{
	pe_status status = PE_OK;
	bool more = true;
	pe_text token;

	id[0] = '\0';
	pe_text_init(&token, pe_platform_env(platform));
	for (int page = 0; more && status == PE_OK && id[0] == '\0' && page < PE_MAX_PAGES; page++)
	{
		pe_text path;
		pe_json *json;
		pe_json *items;

		pe_text_init(&path, pe_platform_env(platform));
		pe_text_printf(&path, PE_FLOW "/%s?limit=100", kind);
		if (pe_filterable(name))
		{
			pe_text_puts(&path, "&property=name==");
			pe_text_percent(&path, name);
		}
		if (token.length > 0)
		{
			pe_text_puts(&path, "&continuationToken=");
			pe_text_append(&path, token.data, token.length);
		}
		status = pe_get_text(platform, &path, NULL, what, &json, err);
		items = pe_json_member(json, "items");
		if (status == PE_OK && !pe_json_is_array(items))
			status = pe_fail(err, PE_BAD_REPLY, "the %s has no items", what);
		for (int i = 0; status == PE_OK && i < pe_json_length(items); i++)
		{
			pe_json *item = pe_json_item(items, i);
			const char *found = pe_json_string(item, "name");
			const char *state = pe_json_string(item, "state");

			if (found == NULL || strcmp(found, name) != 0 ||
			    (state != NULL && strcmp(state, "enabled") != 0) || !matches(item, ctx))
				continue;
			if (pe_json_copy(item, "id", id, size) && pe_plain_id(id))
				break;
			id[0] = '\0';
		}
		more = continuation(json, &token);
		if (token.failed)
			status = pe_fail_memory(err);
		pe_json_free(json);
	}
	pe_text_free(&token);
	return status;
}

/* POST body to kind and take the new thing's id. */
static pe_status
create_item(pe_platform *platform, const char *kind, const char *what, pe_text *body, char *id, size_t size,
            pe_error *err)
{
	pe_call call = {.method = "POST", .what = what};
	pe_text path;
	pe_json *json;
	pe_status status;

	pe_text_init(&path, pe_platform_env(platform));
	pe_text_printf(&path, PE_FLOW "/%s", kind);
	status = pe_call_text(platform, &call, &path, body, &json, err);
	if (status == PE_OK && (!pe_json_copy(json, "id", id, size) || !pe_plain_id(id)))
		status = pe_fail(err, PE_BAD_REPLY, "the answer to the %s holds no id", what);
	pe_json_free(json);
	return status;
}

static bool
is_equal(pe_json *text, const char *value)
{
	const char *found = pe_json_text(text);

	return found != NULL && strcmp(found, value) == 0;
}

static bool
is_inlet(pe_json *item, const void *ctx)
{
	return is_equal(pe_json_path(item, "connectionSpec", "id", NULL), STREAMING_SPEC) &&
	       is_equal(pe_json_path(item, "auth", "params", "dataType", NULL), "xdm");
}

/* "scheme://host:port" equal, without case, :443 counting as none? */
static bool
same_origin(const char *left, const char *right)
{
	size_t a = strcspn(left + 8, "/?#") + 8;
	size_t b = strcspn(right + 8, "/?#") + 8;

	if (strncasecmp(left, "https://", 8) == 0 && a > 4 && memcmp(left + a - 4, ":443", 4) == 0)
		a -= 4;
	if (strncasecmp(right, "https://", 8) == 0 && b > 4 && memcmp(right + b - 4, ":443", 4) == 0)
		b -= 4;
	return a == b && strncasecmp(left, right, a) == 0;
}

/*
 * Where records go: always below the configured collection_url, since the token goes
 * there too. An inlet that lives elsewhere is said, not followed.
 */
static pe_status
read_inlet(pe_platform *platform, pe_json *json, pe_inlet *inlet, pe_error *err)
{
	pe_json *params = pe_json_path(pe_json_item(pe_json_member(json, "items"), 0), "auth", "params", NULL);
	const char *base = pe_platform_collection_url(platform);
	const char *url = pe_json_string(params, "inletUrl");

	if (!pe_json_copy(params, "inletId", inlet->inlet_id, sizeof(inlet->inlet_id)) ||
	    !pe_plain_id(inlet->inlet_id))
		return pe_fail(err, PE_BAD_REPLY, "the answer about the streaming connection names no inlet");
	if (url != NULL && (strlen(url) < 9 || strlen(url) > 1000 || !same_origin(url, base)))
	{
		size_t length = strlen(url) > 8 ? strcspn(url + 8, "/?#") + 8 : strlen(url);

		pe_fail(err, PE_CONFIGURATION, "the streaming connection's inlet is not at collection_url");
		if (length < 128 &&
		    strspn(url, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:/-_") >= length)
			pe_error_hint(
			    err, "The platform names %.*s; set the server option collection_url to it if you trust it.",
			    (int) length, url);
		return PE_CONFIGURATION;
	}
	if ((size_t) snprintf(inlet->inlet_url, sizeof(inlet->inlet_url), "%s/collection/%s", base,
	                      inlet->inlet_id) >= sizeof(inlet->inlet_url))
		return pe_fail(err, PE_LIMIT, "collection_url is too long");
	return PE_OK;
}

pe_status
pe_flow_ensure_inlet(pe_platform *platform, const char *name, pe_inlet *inlet, bool *created, pe_error *err)
{
	pe_text body;
	pe_text path;
	pe_json *json;
	pe_status status;

	memset(inlet, 0, sizeof(*inlet));
	*created = false;
	status = find_item(platform, "connections", "list of streaming connections", name, is_inlet, NULL,
	                   inlet->connection_id, sizeof(inlet->connection_id), err);
	if (status == PE_OK && inlet->connection_id[0] == '\0')
	{
		pe_text_init(&body, pe_platform_env(platform));
		pe_text_puts(&body, "{");
		pe_text_member(&body, "name", name);
		pe_text_puts(&body, ",\"connectionSpec\":{\"id\":\"" STREAMING_SPEC "\",\"version\":\"1.0\"},"
		                    "\"auth\":{\"specName\":\"Streaming Connection\",\"params\":{");
		pe_text_member(&body, "sourceId", name);
		pe_text_member(&body, "dataType", "xdm");
		pe_text_member(&body, "name", name);
		pe_text_puts(&body, ",\"authenticationRequired\":true}}}");
		status = create_item(platform, "connections", "new streaming connection", &body, inlet->connection_id,
		                     sizeof(inlet->connection_id), err);
		*created = status == PE_OK;
	}
	if (status != PE_OK)
		return status;
	pe_text_init(&path, pe_platform_env(platform));
	pe_text_printf(&path, PE_FLOW "/connections/%s", inlet->connection_id);
	status = pe_get_text(platform, &path, NULL, "streaming connection", &json, err);
	if (status == PE_OK)
		status = read_inlet(platform, json, inlet, err);
	pe_json_free(json);
	return status;
}

static bool
is_source(pe_json *item, const void *ctx)
{
	return is_equal(pe_json_member(item, "baseConnectionId"), ctx);
}

typedef struct target_of
{
	const char *schema_id;
	const char *dataset_id;
} target_of;

static bool
is_target(pe_json *item, const void *ctx)
{
	const target_of *target = ctx;

	return is_equal(pe_json_path(item, "params", "dataSetId", NULL), target->dataset_id) &&
	       is_equal(pe_json_path(item, "data", "schema", "id", NULL), target->schema_id);
}

typedef struct ends_of
{
	const char *source_id;
	const char *target_id;
} ends_of;

static bool
is_flow(pe_json *item, const void *ctx)
{
	const ends_of *ends = ctx;

	return is_equal(pe_json_item(pe_json_member(item, "sourceConnectionIds"), 0), ends->source_id) &&
	       is_equal(pe_json_item(pe_json_member(item, "targetConnectionIds"), 0), ends->target_id);
}

static pe_status
ensure_source(pe_platform *platform, const char *name, const char *connection_id, char *id, size_t size,
              pe_error *err)
{
	pe_text body;
	pe_status status = find_item(platform, "sourceConnections", "list of source connections", name, is_source,
	                             connection_id, id, size, err);

	if (status != PE_OK || id[0] != '\0')
		return status;
	pe_text_init(&body, pe_platform_env(platform));
	pe_text_puts(&body, "{");
	pe_text_member(&body, "name", name);
	pe_text_member(&body, "baseConnectionId", connection_id);
	/* the specification requires data, the page on streaming leaves it out: an empty object suits both */
	pe_text_puts(&body,
	             ",\"data\":{},\"connectionSpec\":{\"id\":\"" STREAMING_SPEC "\",\"version\":\"1.0\"}}");
	return create_item(platform, "sourceConnections", "new source connection", &body, id, size, err);
}

static pe_status
ensure_target(pe_platform *platform, const char *name, const target_of *target, char *id, size_t size,
              pe_error *err)
{
	pe_text body;
	pe_status status = find_item(platform, "targetConnections", "list of target connections", name, is_target,
	                             target, id, size, err);

	if (status != PE_OK || id[0] != '\0')
		return status;
	pe_text_init(&body, pe_platform_env(platform));
	pe_text_puts(&body, "{");
	pe_text_member(&body, "name", name);
	pe_text_puts(&body, ",\"data\":{\"schema\":{");
	pe_text_member(&body, "id", target->schema_id);
	pe_text_member(&body, "version", "application/vnd.adobe.xed-full+json;version=1.0");
	pe_text_puts(&body, "}},\"params\":{");
	pe_text_member(&body, "dataSetId", target->dataset_id);
	pe_text_puts(&body, "},\"connectionSpec\":{\"id\":\"" LAKE_SPEC "\",\"version\":\"1.0\"}}");
	return create_item(platform, "targetConnections", "new target connection", &body, id, size, err);
}

pe_status
pe_flow_ensure_flow(pe_platform *platform, const char *name, const pe_inlet *inlet, const char *schema_id,
                    const char *dataset_id, char *flow_id, size_t size, bool *created, pe_error *err)
{
	char source[64];
	char target[64];
	target_of wanted = {schema_id, dataset_id};
	ends_of ends = {source, target};
	pe_text body;
	pe_status status;

	*created = false;
	flow_id[0] = '\0';
	status = ensure_source(platform, name, inlet->connection_id, source, sizeof(source), err);
	if (status == PE_OK)
		status = ensure_target(platform, name, &wanted, target, sizeof(target), err);
	if (status == PE_OK)
		status = find_item(platform, "flows", "list of flows", name, is_flow, &ends, flow_id, size, err);
	if (status != PE_OK || flow_id[0] != '\0')
		return status;
	pe_text_init(&body, pe_platform_env(platform));
	pe_text_puts(&body, "{");
	pe_text_member(&body, "name", name);
	pe_text_puts(&body, ",\"flowSpec\":{\"id\":\"" XDM_FLOW_SPEC "\",\"version\":\"1.0\"}");
	pe_text_printf(&body, ",\"sourceConnectionIds\":[\"%s\"],\"targetConnectionIds\":[\"%s\"]}", source,
	               target);
	status = create_item(platform, "flows", "new flow", &body, flow_id, size, err);
	*created = status == PE_OK;
	return status;
}
