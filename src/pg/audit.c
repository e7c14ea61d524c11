/*
 * audit.c
 *		Writing the audit log.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"

#include "pg/audit.h"
#include "pg/owner.h"

char *
pe_audit_text(const char *text)
{
	StringInfoData quoted;

	initStringInfo(&quoted);
	escape_json(&quoted, text);
	return quoted.data;
}

static char *
format_detail(const char *format, va_list arguments)
{
	va_list copy;
	char *text;
	int length;

	va_copy(copy, arguments);
	length = vsnprintf(NULL, 0, format, copy);
	va_end(copy);
	text = palloc(length + 1);
	vsnprintf(text, length + 1, format, arguments);
	return text;
}

void
pe_audit(const char *action, const char *object, const char *detail, ...)
{
	Oid types[5] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	Datum values[5] = {
	    CStringGetTextDatum(GetUserNameFromId(GetSessionUserId(), false)),
	    CStringGetTextDatum(GetUserNameFromId(GetUserId(), false)),
	    CStringGetTextDatum(action),
	};
	char nulls[5] = {' ', ' ', ' ', object != NULL ? ' ' : 'n', detail != NULL ? ' ' : 'n'};

	values[3] = object != NULL ? CStringGetTextDatum(object) : (Datum) 0;
	if (detail != NULL)
	{
		va_list arguments;

		va_start(arguments, detail);
		values[4] = CStringGetTextDatum(format_detail(detail, arguments));
		va_end(arguments);
	}
	SPI_connect();
	pe_owner_execute("INSERT INTO profenrich.audit_log (login_role, acting_role, action, object, detail)"
	                 " VALUES ($1, $2, $3, $4, $5::jsonb)",
	                 5, types, values, nulls, false, 0);
	SPI_finish();
}
