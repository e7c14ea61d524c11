/*
 * report.c
 *		The one place where a pure layer's error becomes an ereport.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"

#include "pg/report.h"

int
pe_sqlstate(pe_status status)
{
	switch (status)
	{
		case PE_OK:
			return ERRCODE_SUCCESSFUL_COMPLETION;
		case PE_CANCELLED:
			return ERRCODE_QUERY_CANCELED;
		case PE_OUT_OF_MEMORY:
			return ERRCODE_OUT_OF_MEMORY;
		case PE_INVALID_OPTION:
			return ERRCODE_INVALID_PARAMETER_VALUE;
		case PE_INVALID_DATA:
			return ERRCODE_DATA_EXCEPTION;
		case PE_NOT_FOUND:
			return ERRCODE_UNDEFINED_OBJECT;
		case PE_CORRUPT:
			return ERRCODE_DATA_CORRUPTED;
		case PE_UNSUPPORTED:
			return ERRCODE_FEATURE_NOT_SUPPORTED;
		case PE_TYPE_MISMATCH:
			return ERRCODE_DATATYPE_MISMATCH;
		case PE_LIMIT:
			return ERRCODE_PROGRAM_LIMIT_EXCEEDED;
		case PE_IO:
			return ERRCODE_IO_ERROR;
		case PE_EXHAUSTED:
			return ERRCODE_INSUFFICIENT_RESOURCES;
		case PE_CONFIGURATION:
			return ERRCODE_CONFIG_FILE_ERROR;
		case PE_UNREACHABLE:
			return ERRCODE_FDW_UNABLE_TO_ESTABLISH_CONNECTION;
		case PE_UNTRUSTED:
			return ERRCODE_FDW_UNABLE_TO_ESTABLISH_CONNECTION;
		case PE_UNAUTHORISED:
			return ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION;
		case PE_REFUSED:
			return ERRCODE_FDW_ERROR;
		case PE_CONFLICT:
			return ERRCODE_DUPLICATE_OBJECT;
		case PE_BAD_REPLY:
			return ERRCODE_FDW_REPLY_HANDLE;
		case PE_INTERNAL:
			return ERRCODE_INTERNAL_ERROR;
	}
	return ERRCODE_INTERNAL_ERROR;
}

const char *
pe_valid_text(const char *text)
{
	size_t length = strlen(text);
	char *copy;

	if (pg_verify_mbstr(GetDatabaseEncoding(), text, (int) length, true))
		return text;
	copy = pnstrdup(text, pg_mbcliplen(text, (int) length, (int) length));
	if (pg_verify_mbstr(GetDatabaseEncoding(), copy, (int) strlen(copy), true))
		return copy;
	for (char *at = copy; *at != '\0'; at++)
	{
		if (IS_HIGHBIT_SET(*at))
			*at = '?';
	}
	return copy;
}

void
pe_raise(const pe_error *err)
{
	pe_raise_as(pe_sqlstate(err->code), err);
}

void
pe_raise_as(int sqlstate, const pe_error *err)
{
	if (err->code == PE_CANCELLED)
	{
		CHECK_FOR_INTERRUPTS();
		ereport(ERROR, (errcode(ERRCODE_QUERY_CANCELED), errmsg("stopped before the work was done")));
	}
	ereport(ERROR, (errcode(sqlstate),
	                errmsg("%s", err->message[0] != '\0' ? pe_valid_text(err->message) : "unknown error"),
	                err->detail[0] != '\0' ? errdetail("%s", pe_valid_text(err->detail)) : 0,
	                err->hint[0] != '\0' ? errhint("%s", pe_valid_text(err->hint)) : 0));
	pg_unreachable();
}

void
pe_check(pe_status status, const pe_error *err)
{
	if (status != PE_OK)
		pe_raise(err);
}

char *
pe_describe_error(const char *message, const char *detail, const char *hint)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoString(&text, message);
	if (detail != NULL && detail[0] != '\0')
		appendStringInfo(&text, "; %s", detail);
	if (hint != NULL && hint[0] != '\0')
		appendStringInfo(&text, " (%s)", hint);
	return text.data;
}
