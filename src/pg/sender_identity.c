/*
 * sender_identity.c
 *		Under which name this cluster sends.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "pg/guc.h"
#include "pg/sender_identity.h"

PG_FUNCTION_INFO_V1(pe_sender_identity_sql);

const char *
pe_sender_identity(void)
{
	static char identity[MAXPGPATH + 48];

	if (pe_sender_identity_setting != NULL && pe_sender_identity_setting[0] != '\0')
		return pe_sender_identity_setting;
	if (identity[0] == '\0')
		snprintf(identity, sizeof(identity), UINT64_FORMAT ":%s:%u", GetSystemIdentifier(), DataDir,
		         MyDatabaseId);
	return identity;
}

Datum
pe_sender_identity_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(pe_sender_identity()));
}
