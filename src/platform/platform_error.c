/*
 * platform_error.c
 *		What a refusal means: three families of error body, one pe_error.
 */
#include "platform/json.h"
#include "platform/platform.h"
#include "platform/utf8.h"

/* Error bodies are small; a large one is not worth its memory. */
#define ERROR_MEMORY (1024 * 1024)

static pe_json *
parse_error_body(const char *body, size_t length)
{
	pe_json *json = NULL;
	pe_error ignored;

	if (body == NULL || length == 0 || length > 64 * 1024 ||
	    pe_json_parse(body, length, ERROR_MEMORY, "error", &json, &ignored) != PE_OK)
		return NULL;
	return json;
}

/* The first of keys that holds a text or a number. */
static bool
first_of(pe_json *json, const char *const *keys, size_t count, char *text, size_t size)
{
	for (size_t i = 0; i < count; i++)
	{
		const char *found = pe_json_string(json, keys[i]);
		int64_t number;

		if (found != NULL && found[0] != '\0')
		{
			pe_utf8_printable(found, strlen(found), text, size);
			return true;
		}
		if (pe_json_int64(json, keys[i], &number))
		{
			snprintf(text, size, "%lld", (long long) number);
			return true;
		}
	}
	return false;
}

#define FIRST_OF(json, keys, text, size) first_of(json, keys, sizeof(keys) / sizeof((keys)[0]), text, size)

static void
error_text(pe_json *json, char *text, size_t size)
{
	static const char *const titles[] = {"title", "error"};
	static const char *const details[] = {"detail", "error_description", "message", "errorMessage"};
	char title[160] = "";
	char detail[300] = "";

	(void) FIRST_OF(json, titles, title, sizeof(title));
	if (!FIRST_OF(json, details, detail, sizeof(detail)))
	{
		static const char *const reports[] = {"detailed-message", "message", "code"};
		pe_json *report = pe_json_member(json, "report");

		(void) FIRST_OF(report, reports, detail, sizeof(detail));
	}
	if (title[0] != '\0' && detail[0] != '\0' && strcmp(title, detail) != 0)
		snprintf(text, size, "%s: %s", title, detail);
	else
		snprintf(text, size, "%s", title[0] != '\0' ? title : detail);
	/* snprintf may have cut a character in two */
	pe_utf8_printable(text, strlen(text), text, size);
}

void
pe_platform_error_text(const char *body, size_t length, char *text, size_t size)
{
	pe_json *json = parse_error_body(body, length);

	text[0] = '\0';
	if (json != NULL)
		error_text(json, text, size);
	pe_json_free(json);
}

void
pe_platform_error_code(const char *body, size_t length, char *code, size_t size)
{
	static const char *const keys[] = {"error_code", "errorCode", "code"};
	pe_json *json = parse_error_body(body, length);
	const char *type = pe_json_string(json, "type");
	const char *name;

	code[0] = '\0';
	if (json == NULL)
		return;
	if (!FIRST_OF(json, keys, code, size))
	{
		/* http://ns.adobe.com/aep/errors/XDM-1012-404 */
		name = type != NULL ? strrchr(type, '/') : NULL;
		if (name != NULL && strchr(name, '-') != NULL)
			pe_utf8_printable(name + 1, strlen(name + 1), code, size);
		else
			(void) first_of(pe_json_member(json, "report"), keys + 2, 1, code, size);
	}
	pe_json_free(json);
}

typedef struct known_code
{
	const char *code;
	pe_status status; /* PE_OK: as the HTTP status says */
	const char *hint;
} known_code;

static const known_code known_codes[] = {
    {"403010", PE_INTERNAL, "No token was sent, which is a fault of this extension; please report it."},
    {"401013", PE_UNAUTHORISED,
     "The token was refused even after a new one was fetched; check org_id and client_id."},
    {"403000", PE_UNAUTHORISED, "Check the user mapping's client_id: the platform saw no API key."},
    {"403003", PE_UNAUTHORISED,
     "The client id does not belong to the organisation in org_id, or the API is not added to its project."},
    {"400003", PE_CONFIGURATION, "Check the server option org_id."},
    {"XDM-3005-400", PE_CONFLICT,
     "Often the title is already used by another resource of the organisation: choose another name."},
};

static const char permissions_hint[] =
    "Add the credential to a role with: Manage Schemas, Manage and View Datasets, Manage Identity "
    "Namespaces, Manage and "
    "View Sources, Manage and View Profiles, View Merge Policies; and check sandbox.";

static pe_status
by_status(const pe_http_response *response, const char *what, pe_error *err)
{
	int http = response->status;

	if (http >= 300 && http < 400)
	{
		pe_fail(err, PE_CONFIGURATION, "the platform redirected the %s (HTTP %d)", what, http);
		pe_error_hint(err, "Redirects are never followed; check the URLs in the server's options.");
		return PE_CONFIGURATION;
	}
	switch (http)
	{
		case 401:
		case 403:
			pe_fail(err, PE_UNAUTHORISED, "the platform does not authorise the %s (HTTP %d)", what, http);
			pe_error_hint(err, "%s", permissions_hint);
			return PE_UNAUTHORISED;
		case 404:
		case 410:
			pe_fail(err, PE_NOT_FOUND, "the platform did not find what the %s asked for (HTTP %d)", what,
			        http);
			pe_error_hint(
			    err, "Check sandbox and the URLs in the server's options; it may also have been deleted.");
			return PE_NOT_FOUND;
		case 405:
		case 501:
			pe_fail(err, PE_CONFIGURATION, "the platform does not offer the %s (HTTP %d)", what, http);
			pe_error_hint(err, "Check the URLs in the server's options.");
			return PE_CONFIGURATION;
		case 409:
		case 412:
			return pe_fail(err, PE_CONFLICT, "the %s conflicts with what the platform has (HTTP %d)", what,
			               http);
		case 413:
		case 414:
			return pe_fail(err, PE_LIMIT, "the platform finds the %s too large (HTTP %d)", what, http);
		case 408:
		case 425:
		case 429:
			pe_fail(err, PE_UNREACHABLE, "the platform asks to slow down on the %s (HTTP %d)", what, http);
			pe_error_hint(err, "Try again later.");
			return PE_UNREACHABLE;
		default:
			break;
	}
	if (http >= 500)
	{
		pe_fail(err, PE_UNREACHABLE, "the platform failed on the %s (HTTP %d)", what, http);
		pe_error_hint(err, "Try again later.");
		return PE_UNREACHABLE;
	}
	if (http >= 400)
		return pe_fail(err, PE_REFUSED, "the platform refused the %s (HTTP %d)", what, http);
	return pe_fail(err, PE_BAD_REPLY, "unexpected answer to the %s (HTTP %d)", what, http);
}

pe_status
pe_platform_error(const pe_http_response *response, const char *what, pe_error *err)
{
	char code[64];
	char text[320];
	pe_status status = by_status(response, what, err);

	pe_platform_error_code(response->body, response->body_length, code, sizeof(code));
	pe_platform_error_text(response->body, response->body_length, text, sizeof(text));
	for (size_t i = 0; i < sizeof(known_codes) / sizeof(known_codes[0]); i++)
		if (strcmp(code, known_codes[i].code) == 0)
		{
			status = known_codes[i].status;
			if (err != NULL)
				err->code = status;
			pe_error_hint(err, "%s", known_codes[i].hint);
		}
	if (text[0] != '\0')
		pe_error_detail(err, "The platform said: %s%s%s%s", text, code[0] != '\0' ? " (" : "", code,
		                code[0] != '\0' ? ")" : "");
	return status;
}
