/*
 * call.h
 *		What the typed calls share: one call whose reply is parsed, and small pieces of
 *		request building. Private to this layer.
 */
#ifndef PE_PLATFORM_CALL_H
#define PE_PLATFORM_CALL_H

#include "platform/json.h"
#include "platform/platform.h"
#include "platform/text.h"

#define PE_CATALOG  "/data/foundation/catalog"
#define PE_REGISTRY "/data/foundation/schemaregistry"
#define PE_FLOW     "/data/foundation/flowservice"
#define PE_EXPORT   "/data/foundation/export"
#define PE_IMPORT   "/data/foundation/import"
#define PE_IDENTITY "/data/core/idnamespace"
#define PE_PROFILE  "/data/core/ups"

/* Pages of one list that are followed at most: a list that never ends is an error. */
#define PE_MAX_PAGES 1000

/* pe_platform_call and pe_json_parse in one; release *json with pe_json_free. */
pe_status pe_call_json(pe_platform *platform, const pe_call *call, pe_json **json, pe_error *err);

/* The same with path and body (which may be NULL) taken from texts, which are freed, failed or not. */
pe_status pe_call_text(pe_platform *platform, pe_call *call, pe_text *path, pe_text *body, pe_json **json,
                       pe_error *err);

/* GET of a path. */
pe_status pe_get_text(pe_platform *platform, pe_text *path, const char *accept, const char *what,
                      pe_json **json, pe_error *err);

/* ["@/dataSets/642d..."] -> the id behind the last slash. */
pe_status pe_created_id(pe_json *json, const char *what, char *id, size_t size, pe_error *err);

/*
 * Was a creation refused in a way that may mean "there is one already"? Older
 * deployments say it with a plain 400, so whoever created looks again.
 */
static inline bool
pe_may_exist(pe_status status)
{
	return status == PE_CONFLICT || status == PE_REFUSED;
}

/* Ids that we put into paths: letters, digits and -_.: only. */
bool pe_plain_id(const char *id);

/*
 * May a list be filtered by this name on the platform? Commas join conditions there
 * and some signs are operators, encoded or not; such a name is looked for in the
 * whole list instead.
 */
static inline bool
pe_filterable(const char *name)
{
	return strpbrk(name, ",!~*|<>=()[]^$+?\"\\") == NULL;
}

/* "key":"value", with a comma in front unless it follows an opening bracket. */
void pe_text_member(pe_text *text, const char *key, const char *value);

#endif /* PE_PLATFORM_CALL_H */
