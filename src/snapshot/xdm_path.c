/*
 * xdm_path.c
 *		Parsing and writing the dotted paths users name XDM fields with.
 */
#include "snapshot/xdm_path.h"
#include "snapshot/text.h"

typedef struct path_parser
{
	const char *text;
	size_t length;
	size_t at;
	char *out;
} path_parser;

static pe_status
fail_at(const path_parser *in, const char *what, pe_error *err)
{
	int shown = pe_text_clip(in->text, in->length, 200);

	(void) pe_fail(err, PE_INVALID_OPTION, "invalid path \"%.*s\": %s at character %zu", shown, in->text,
	               what, in->at + 1);
	pe_error_hint(err, "Separate steps by dots, and put a step that holds a dot in double quotes.");
	return PE_INVALID_OPTION;
}

/* A step in quotes; at is on the opening one. */
static pe_status
parse_quoted(path_parser *in, pe_error *err)
{
	for (in->at++; in->at < in->length; in->at++)
	{
		if (in->text[in->at] == '"')
		{
			in->at++;
			if (in->at >= in->length || in->text[in->at] != '"')
				return PE_OK;
		}
		*in->out++ = in->text[in->at];
	}
	return fail_at(in, "the closing quote is missing", err);
}

static pe_status
parse_step(path_parser *in, pe_error *err)
{
	if (in->at < in->length && in->text[in->at] == '"')
	{
		pe_status status = parse_quoted(in, err);

		if (status != PE_OK)
			return status;
		if (in->at < in->length && in->text[in->at] != '.')
			return fail_at(in, "a dot is missing after the closing quote", err);
		return PE_OK;
	}
	while (in->at < in->length && in->text[in->at] != '.')
	{
		if (in->text[in->at] == '"')
			return fail_at(in, "unexpected double quote", err);
		*in->out++ = in->text[in->at++];
	}
	return PE_OK;
}

/* All steps into path, whose string area in->out points to. */
static pe_status
parse_steps(path_parser *in, pe_xdm_path *path, pe_error *err)
{
	for (;;)
	{
		pe_xdm_step *step = &path->steps[path->count];
		pe_status status;

		step->name = in->out;
		status = parse_step(in, err);
		if (status != PE_OK)
			return status;
		step->length = (size_t) (in->out - step->name);
		if (step->length == 0)
			return fail_at(in, "a step is empty", err);
		*in->out++ = '\0';
		path->count++;
		if (in->at >= in->length)
			return PE_OK;
		in->at++;
		if (path->count == PE_XDM_PATH_MAX_STEPS)
			return pe_fail(err, PE_LIMIT, "path has more than %d steps", PE_XDM_PATH_MAX_STEPS);
	}
}

pe_status
pe_xdm_path_parse(const pe_env *env, const char *text, size_t length, pe_xdm_path **path, pe_error *err)
{
	path_parser in = {.text = text, .length = length};
	size_t count = 1;
	size_t header;
	pe_xdm_path *result;
	pe_status status;

	*path = NULL;
	if (length > PE_XDM_PATH_MAX_BYTES)
		return pe_fail(err, PE_LIMIT, "path is longer than %d bytes", PE_XDM_PATH_MAX_BYTES);
	if (!pe_text_valid(text, length))
		return pe_fail(err, PE_INVALID_OPTION, "path is not valid UTF-8 text");
	for (size_t i = 0; i < length; i++)
		count += text[i] == '.';
	if (count > PE_XDM_PATH_MAX_STEPS)
		count = PE_XDM_PATH_MAX_STEPS;
	/* Unquoting never lengthens; each step adds its terminator. */
	header = sizeof(pe_xdm_path) + count * sizeof(pe_xdm_step);
	result = pe_alloc(env, header + length + count);
	if (result == NULL)
		return pe_fail_memory(err);
	result->count = 0;
	in.out = (char *) result + header;
	status = parse_steps(&in, result, err);
	if (status != PE_OK)
	{
		pe_free(env, result);
		return status;
	}
	*path = result;
	return PE_OK;
}

void
pe_xdm_path_free(const pe_env *env, pe_xdm_path *path)
{
	pe_free(env, path);
}

size_t
pe_xdm_step_write(const char *name, size_t length, char *out)
{
	bool quote = memchr(name, '.', length) != NULL || memchr(name, '"', length) != NULL;
	size_t written = 0;

	if (!quote)
	{
		if (out != NULL)
			memcpy(out, name, length);
		return length;
	}
	if (out != NULL)
		out[0] = '"';
	written = 1;
	for (size_t i = 0; i < length; i++)
	{
		if (name[i] == '"')
		{
			if (out != NULL)
				out[written] = '"';
			written++;
		}
		if (out != NULL)
			out[written] = name[i];
		written++;
	}
	if (out != NULL)
		out[written] = '"';
	return written + 1;
}
