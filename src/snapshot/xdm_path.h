/*
 * xdm_path.h
 *		Paths to fields of an XDM record, as users write them.
 *
 * Steps are separated by dots: person.name.firstName. A step that holds a dot or
 * a double quote stands in double quotes, a double quote inside it is doubled:
 * "a.b".c, "say ""hi""". Steps are otherwise taken as written, case and blanks
 * included. What a step means (member, map key, list index) is the schema's
 * business.
 */
#ifndef PE_XDM_PATH_H
#define PE_XDM_PATH_H

#include "pe_base.h"

#define PE_XDM_PATH_MAX_STEPS 64
#define PE_XDM_PATH_MAX_BYTES 8192

typedef struct pe_xdm_step
{
	const char *name; /* unquoted, NUL-terminated, no NUL inside */
	size_t length;
} pe_xdm_step;

/* One allocation; free with pe_xdm_path_free. */
typedef struct pe_xdm_path
{
	int count;
	pe_xdm_step steps[];
} pe_xdm_path;

/*
 * Parse length bytes of UTF-8. PE_INVALID_OPTION with a message that quotes the
 * path and says where it went wrong; PE_LIMIT beyond the bounds above.
 */
pe_status pe_xdm_path_parse(const pe_env *env, const char *text, size_t length, pe_xdm_path **path,
                            pe_error *err);
void pe_xdm_path_free(const pe_env *env, pe_xdm_path *path);

/*
 * Bytes of a step as it is written in a path, quoted if it must be; writes them to
 * out (no terminator) unless out is NULL. The inverse of parsing for every
 * non-empty step.
 */
size_t pe_xdm_step_write(const char *name, size_t length, char *out);

#endif /* PE_XDM_PATH_H */
