/*
 * version.c
 *		Which versions meet in this session: of the extension's SQL, of the library that
 *		is loaded, and of the libraries that it runs with.
 */
#include "postgres.h"

#include "fmgr.h"

#include "platform/http.h"
#include "pg/rows.h"

PG_FUNCTION_INFO_V1(pe_version);

/* version() -> (library, server, http): what is loaded, not what is installed. */
Datum
pe_version(PG_FUNCTION_ARGS)
{
	PeRow row;
	char http[200];

	pe_http_versions(http, sizeof(http));
	pe_rows_begin(fcinfo, &row);
	pe_row_add_text(&row, PE_VERSION);
	pe_row_add_text(&row, PG_VERSION);
	pe_row_add_text(&row, http);
	pe_row_put(&row);
	return (Datum) 0;
}
